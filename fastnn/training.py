"""Training and evaluation: what a model does with targets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import config, goals, loop, losses, optimizers, plan
from fastnn._arguments import no_arguments_of_arrays, optional_count, validation_due, verbosity
from fastnn._engine import Engine, epoch_order
from fastnn._model import Progress, Run
from fastnn._settings import count, flag
from fastnn.callbacks import Callback, CallbackList, History
from fastnn.callbacks.base import TRAIN_BATCH_HOOKS, Logs
from fastnn.callbacks.reporter import Reporter
from fastnn.compiling import Compiled
from fastnn.data import arrays, frames, row_weights
from fastnn.data.feeds import ArrayFeed, BatchFeed, Samples, gives_batches, rows_of_a_batch
from fastnn.layers.base import Layer

Array = npt.NDArray[Any]


class Trainer(Compiled):
    """A compiled network that is trained and evaluated; see :class:`fastnn.Sequential`."""

    def __init__(self, layers: Iterable[Layer] | None = None, name: str | None = None) -> None:
        self.stop_training = self.stop_evaluating = self.stop_predicting = False
        self.history: History | None = None
        self._epochs_done = 0
        self._run: Run | None = None  # of fit, within it: what a callback can save, and go on from
        super().__init__(layers, name)

    @property
    def _progress(self) -> Progress:
        """Where training stands, without what an optimizer keeps where the engine has no state of one."""
        engine, optimizer = self._engine, self.optimizer
        if engine is None or optimizer is None or not self._has_state_of(optimizer):
            return Progress(0, 1.0, self._seed, self._epochs_done, average_swapped=False)
        kept = int(engine.iterations), float(engine.momentum_product)
        return Progress(*kept, self._seed, self._epochs_done, engine.average_swapped)

    @_progress.setter
    def _progress(self, value: Progress) -> None:
        self._seed, self._epochs_done = value.seed, value.epochs_done
        engine, optimizer = self._engine, self.optimizer
        if engine is not None and optimizer is not None and self._has_state_of(optimizer):
            engine.iterations, engine.momentum_product = value.iterations, value.momentum_product
            engine.average_swapped = value.average_swapped

    # ---- what a call is given ----

    def _convert(
        self,
        action: str,
        x: Any,
        y: Any,
        *,
        check_finite: bool,
        names: tuple[str, str] = ("x", "y"),
        defer: bool = False,
        check_x: bool = True,
    ) -> tuple[Any, Any]:
        """X and y as the engine reads them, building the model from x where that is still to be done.

        Without `check_x` nobody has looked for NaN and infinity in x yet.
        """
        self._need_goals(action)
        with self._home.lock:  # an engine that another thread may yet give up is not seen
            engine = self._engine if action in ("fit", "train_on_batch") else self._need_engine(action)
            if engine is None:  # and no other thread builds one meanwhile
                return self._converted(None, x, y, check_x and check_finite, check_finite, names, defer)
        return self._converted(engine, x, y, check_x and check_finite, check_finite, names, defer)

    def _converted(
        self,
        engine: Engine | None,
        x: Any,
        y: Any,
        check_x: bool,
        check_y: bool,
        names: tuple[str, str],
        defer: bool,
    ) -> tuple[Any, Any]:
        """X and y for this engine, or for the one that is built here."""
        policy = self._policy()
        dtype = engine.plan.dtype if engine else config.variable_dtype(policy)
        rows, features = self._inputs(x, dtype, check_finite=check_x, name=names[0], defer=defer)
        if not len(rows):
            raise ValueError(f"{names[0]} must have at least one row, got shape {rows.shape}")
        lowered = engine.plan if engine else plan.lower(self._layers, features, policy)
        self._checked(rows, names[0])
        widths = self._widths(lowered.outputs)
        wanted = goals.targets(y, len(rows), self._goals, widths, dtype, check_finite=check_y, names=names)
        if engine is None:
            self._build_as(lowered)
        return rows, wanted

    def _form(self) -> tuple[Any, ...] | None:
        """What the conversion of x and y depends on; None where the model is not built, or has no loss."""
        engine, branches = self._engine, self._branches
        if engine is None or not self._goals:
            return None
        taken = [] if branches is None else [str(branches.columns), str(branches.built_widths)]
        outputs = self._widths(engine.plan.outputs)
        wanted = [(goal.name, str(losses.serialize(goal.loss))) for goal in self._goals]
        return (engine.plan.dtype, engine.plan.inputs, *taken, *outputs, *wanted)

    def _samples(
        self,
        action: str,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        check_finite: bool,
        of: str = "",
        defer: bool = False,
        check_x: bool = True,
    ) -> Samples:
        """X, y and the weights of rows as the engine reads them; `of` is what messages put before the names."""
        names = (f"{of}x", f"{of}y")
        rows, wanted = self._convert(action, x, y, check_finite=check_finite, names=names, defer=defer, check_x=check_x)
        if sample_weight is None:
            return Samples(rows, wanted)
        weights = goals.sample_weights(
            sample_weight, len(rows), self._goals, self.dtype, check_finite=check_finite, name=f"{of}sample_weight"
        )
        if weights is not None and action in ("fit", "train_on_batch") and not of.startswith("validation"):
            row_weights.warn_of_negative(weights, f"{of}sample_weight")
        return Samples(rows, wanted, weights)

    def _weighted(self, samples: Samples, class_weight: Any, *, all_rows: bool = False) -> Samples:
        """The samples, all or those of a batch, with the weights of their classes."""
        if class_weight is None:
            return samples
        if isinstance(class_weight, str) and not all_rows:
            raise ValueError(
                f"class_weight={class_weight!r} needs all rows at once, in arrays: for batches give a dict of class to "
                f"weight"
            )
        if samples.weights is not None:
            raise ValueError("class_weight and sample_weight must not be given both: multiply them into sample_weight")
        if len(self._goals) > 1:
            raise ValueError("class_weight needs a model with one output: give sample_weight for each head")
        outputs = self._need_engine("class_weight").plan.outputs
        weights = row_weights.class_weights(class_weight, samples.y, outputs, self.dtype)
        row_weights.warn_of_negative(weights, "class_weight")
        return Samples(samples.x, samples.y, weights)

    @contextmanager
    def _as_it_was_on_error(self) -> Iterator[bool]:
        """Whether the model was built before; a call that fails within leaves one that was not so.

        No other thread trains a model that may not stay built: it waits here, and begins with what there is then.
        """
        with self._home.lock:
            built = self.built
            if not built:
                try:
                    yield False
                except BaseException:
                    if self._engine is not None:
                        self._engine.give_up()
                        self._forget_weights()
                    raise
        if built:
            yield True

    def _batch_feed(
        self,
        action: str,
        source: Any,
        check_finite: bool,
        of: str = "",
        class_weight: Any = None,
        shuffle: bool = False,
    ) -> BatchFeed:
        """The feed of an iterable of batches."""

        def convert(batch: Any, name: str) -> Samples:
            parts = tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
            if not 1 <= len(parts) <= 3:
                raise ValueError(f"{of}{name} must be x, (x, y) or (x, y, sample_weight), got {len(parts)} parts")
            x, y, weights = (*parts, None, None)[:3]
            samples = self._samples(action, x, y, weights, check_finite=check_finite, of=f"{of}{name}'s ")
            return self._weighted(samples, class_weight)

        def order(batches: int) -> npt.NDArray[np.int64]:
            return epoch_order(batches, self._seed, self._epochs_done)

        return BatchFeed(source, convert, order if shuffle else None)

    def _feed(
        self,
        action: str,
        x: Any,
        y: Any,
        sample_weight: Any,
        taken: Any,
        *,
        check_finite: bool,
        of: str = "",
        check_x: bool = True,
    ) -> loop.Feed:
        """Where the rows of ``evaluate``, or of a validation, come from; `taken`: batch_size and steps."""
        if gives_batches(x):
            no_arguments_of_arrays(x, y=y, sample_weight=sample_weight, batch_size=taken[0])
            return self._batch_feed(action, x, check_finite, of)
        samples = self._samples(
            action, x, y, sample_weight, check_finite=check_finite, of=of, defer=True, check_x=check_x
        )
        return ArrayFeed(samples, rows_of_a_batch(len(samples), *taken))

    def _fit_feeds(
        self,
        x: Any,
        y: Any,
        weights: Any,
        class_weight: Any,
        taken: Any,
        shuffle: bool,
        held: Any,
        check_finite: bool,
        check_x: bool,
    ) -> tuple[loop.Feed, loop.Feed | None]:
        """Where the rows to train on come from, and those to validate on, if any.

        `taken`: batch_size and steps_per_epoch. `held`: validation_split and validation_data, then the same two of the
        validation.
        """
        fraction, given, *validation_taken = held
        feed: loop.Feed
        validation: loop.Feed | None = None
        if gives_batches(x):
            no_arguments_of_arrays(x, y=y, sample_weight=weights, validation_split=fraction or None)
            feed = self._batch_feed("fit", x, check_finite, "", class_weight, shuffle)
        else:
            samples = self._samples("fit", x, y, weights, check_finite=check_finite, defer=True, check_x=check_x)
            if fraction and given is None:
                kept = arrays.split_at(len(samples), fraction)
                rest = samples.part(slice(kept, None))
                if not check_x:
                    arrays.require_finite(rest.x, "x", kept)
                validation = ArrayFeed(rest, rows_of_a_batch(len(rest), *validation_taken))
                samples = samples.part(slice(0, kept))
            samples = self._weighted(samples, class_weight, all_rows=True)
            rows = len(samples)
            batch = rows_of_a_batch(rows, *taken)
            feed = ArrayFeed(samples, batch, lambda: epoch_order(rows, self._seed, self._epochs_done))
            if not shuffle:
                feed = ArrayFeed(samples, batch)
        if given is not None:
            if gives_batches(given):
                validation = self._batch_feed("fit", given, check_finite, "validation_data's ")
            elif isinstance(given, (tuple, list)) and len(given) in (2, 3):
                held_x, held_y, held_weights = (*given, None)[:3]
                parts, of = (held_x, held_y, held_weights), "validation_data's "
                validation = self._feed("fit", *parts, validation_taken, check_finite=check_finite, of=of)
            else:
                raise ValueError("validation_data must be (x, y), (x, y, sample_weight) or an iterable of such batches")
        return feed, validation

    # ---- training ----

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Callback | Sequence[Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | str | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Iterable[int] = 1,
        check_finite: bool = True,
    ) -> History:
        """Train, `epochs` times over the data.

        Parameters
        ----------
        x : array-like, shape (rows, features), or iterable
            Used in place where it has the model's dtype and contiguous rows, else converted once; converted piece by
            piece, each epoch anew, where that would take more than 256 MiB. A generator, a loader, or an object with
            ``__len__`` and ``__getitem__`` gives batches: x, (x, y) or (x, y, sample_weight). For a model with branches
            a dict of arrays or a data frame, which is copied into one array.
        y : array-like
            Labels (rows,) for sparse losses, else (rows, outputs). For a model with heads a dict of such, a list in
            their order, or a data frame.
        batch_size : int, optional
            Rows of one optimizer step; the last batch of an epoch may have fewer. Default: 32, or with
            `steps_per_epoch` as many as let those steps go over all rows.
        epochs : int, default 1
            The number of the last epoch, counted from `initial_epoch`.
        verbose : {"auto", 0, 1, 2}
            A bar (auto, 1), a line an epoch (2), nothing (0).
        callbacks : Callback or sequence of Callback, optional
        validation_split : float, default 0
            This share of the last rows (before shuffling) is held back and evaluated after each epoch.
        validation_data : tuple (x, y) or (x, y, sample_weight), or iterable of batches, optional
        shuffle : bool, default True
            A new order of rows each epoch; of batches, where x has ``__getitem__``; other iterables keep their order.
        class_weight : dict of int to float, or "balanced", optional
            What the rows of a class weigh in the loss and in weighted metrics; a class that is not named weighs 1.
            ``"balanced"``: rows / (classes * rows of the class), as in scikit-learn, of the rows that are trained on.
        sample_weight : array-like, shape (rows,), optional
            What a row weighs in the loss and in weighted metrics. The loss is the sum of weight x loss by the number of
            rows, as in Keras. For a model with heads also a dict of such.
        initial_epoch : int, default 0
        steps_per_epoch : int, optional
            Batches of an epoch; the next epoch goes on where this one ended. Default: all of the data.
        validation_steps : int, optional
            Batches of a validation: the first ones, each time the same; a generator, which cannot go back, gives its
            next ones. Default: all of them.
        validation_batch_size : int, optional
            Default: `batch_size` where it is given, else as for :meth:`evaluate`.
        validation_freq : int or collection of int, default 1
            Validate after every so many epochs, or after those (counted from 1).
        check_finite : bool, default True
            Look for NaN and infinity in x, y and weights, once; in batches of an iterable when they come; in a large x
            perhaps while the first epoch trains on it, whose steps are then taken back.

        Returns
        -------
        History

        Raises
        ------
        ValueError, TypeError, RuntimeError
            In one sentence, with the model as it was; what a later batch of an iterable lacks, when it comes.
        KeyboardInterrupt
            After Ctrl-C, with the weights of the last finished step.
        """
        if batch_size is not None and gives_batches(x):
            no_arguments_of_arrays(x, batch_size=batch_size)
        batch = optional_count("batch_size", batch_size)
        held_batch = optional_count("validation_batch_size", validation_batch_size) or batch
        epochs, first = count("epochs", epochs, 0), count("initial_epoch", initial_epoch, 0)
        steps = optional_count("steps_per_epoch", steps_per_epoch)
        validation_steps = optional_count("validation_steps", validation_steps)
        due = validation_due(validation_freq)
        shown = verbosity(verbose)
        shuffle = flag("shuffle", shuffle)
        hooks = CallbackList(callbacks)
        before = self.history, self.stop_training
        # The first epoch can look at x while it trains: it sees all of x, and nobody sees steps that it takes back.
        may_wait = check_finite and not hooks.callbacks and steps is None and first < epochs
        may_wait = may_wait and not frames.has_names(x)  # a sentence says which column of x
        with self._as_it_was_on_error() as built:
            may_wait = may_wait and built and self._takes_any_number()
            may_wait = may_wait and not isinstance(self.optimizer, optimizers.LBFGS)
            taken = (batch, steps)
            held = (validation_split, validation_data, held_batch, validation_steps)
            feed, validation = self._fit_feeds(
                x, y, sample_weight, class_weight, taken, shuffle, held, check_finite, not may_wait
            )
            engine, _, optimizer = self._ready("fit")
            state = engine.parameters.nbytes * (1 + len(engine.slots))
            waits = may_wait and loop.check_later(engine, feed, state)
            validated = validation is not None and any(map(due, range(first, epochs)))
            hooks.check_logs(self, validated)
            if isinstance(optimizer, optimizers.LBFGS):
                self._check_lbfgs(optimizer, feed, batch_size, steps, hooks)

        history = next((c for c in hooks.callbacks if isinstance(c, History)), None) or History()
        if history not in hooks.callbacks:
            hooks.callbacks.append(history)
        steps_shown = feed.steps if steps is None else steps
        hooks.attach(self, {"epochs": epochs, "steps": steps_shown, "verbose": shown})
        self._looked_at = None
        self.stop_training, self.history = False, history
        run = loop.Epochs(self, hooks, (shown, steps_shown), epochs, validation, validation_steps, due)
        if isinstance(optimizer, optimizers.LBFGS):
            run.minimize(optimizer, feed, first)
        elif waits:
            run.train_checking(feed, first, *before)
        else:
            run.train(feed, steps, first)
        return history

    def _check_lbfgs(
        self,
        optimizer: optimizers.LBFGS,
        feed: loop.Feed,
        batch_size: int | None,
        steps: int | None,
        hooks: CallbackList,
    ) -> None:
        """Raise where L-BFGS cannot do what fit was asked for."""
        if not isinstance(feed, ArrayFeed) or isinstance(feed.samples.x, arrays.Deferred):
            raise ValueError("LBFGS looks at all rows in every step: x must be an array that fits the memory")
        if (batch_size is not None and batch_size < len(feed.samples)) or steps is not None:
            raise ValueError("LBFGS looks at all rows in every step: batch_size and steps_per_epoch must be None")
        if hooks.wants(*TRAIN_BATCH_HOOKS):
            raise ValueError("LBFGS has no batches: a callback has a hook for them")
        lowered = self._need_engine("fit").plan
        optimizer.check(lowered.ops, lowered.parameters, self._rules())

    def _result(self, logs: Logs, return_dict: bool) -> Any:
        if return_dict:
            return logs
        values = list(logs.values())
        return values if len(values) > 1 else values[0]

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
        check_finite: bool = True,
    ) -> Any:
        """One optimizer step on these rows.

        Parameters
        ----------
        x, y, sample_weight, class_weight, check_finite
            As for :meth:`fit`.
        return_dict : bool, default False

        Returns
        -------
        float, list of float or dict
            This batch's loss, or [loss, *metrics], before the step.
        """
        if sample_weight is None and class_weight is None:
            xs, ys = self._convert("train_on_batch", x, y, check_finite=check_finite)
            weights = None
        else:
            with self._as_it_was_on_error():
                samples = self._weighted(
                    self._samples("train_on_batch", x, y, sample_weight, check_finite=check_finite), class_weight
                )
            xs, ys, weights = samples.x, samples.y, samples.weights
        with self._running("train_on_batch") as ready:
            self._look_at_first_rows(ready, Samples(xs, ys, weights), len(xs))
            rates = ready.optimizer.hyperparameters()
            sums, _ = ready.engine.train(xs, ys, None, len(xs), rates, None, weights)
        return self._result(ready.layout.logs(sums, len(xs)), return_dict)

    # ---- evaluation ----

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Callback | Sequence[Callback] | None = None,
        return_dict: bool = False,
        check_finite: bool = True,
    ) -> Any:
        """The loss, or a list of the loss and the metrics, as means over all rows.

        Parameters
        ----------
        x, y, sample_weight
            As for :meth:`fit`.
        batch_size : int, optional
            Rows of a batch; default 32, or with `steps` as many as let those go over all rows. Results depend on it
            for losses and metrics that are functions, and where a batch's loss is no plain mean over its rows (another
            `reduction`, an `ignore_class`): the loss is the mean over batches then, as in ``fit``.
        verbose : {"auto", 0, 1, 2}
        steps : int, optional
            Batches to look at. Default: all of them.
        callbacks : Callback or sequence of Callback, optional
        return_dict : bool, default False
            Return a dict with the names as keys.
        check_finite : bool, default True

        Returns
        -------
        float, list of float or dict
        """
        shown = verbosity(verbose)
        wanted = optional_count("steps", steps)
        hooks = CallbackList(callbacks)
        self._need_engine("evaluate")
        taken = (optional_count("batch_size", batch_size), wanted)
        may_wait = check_finite and not hooks.callbacks and wanted is None and self._takes_any_number()
        may_wait = may_wait and not frames.has_names(x)  # as in fit
        feed = self._feed("evaluate", x, y, sample_weight, taken, check_finite=check_finite, check_x=not may_wait)
        engine, _, _ = self._ready("evaluate")
        waits = may_wait and loop.check_later(engine, feed, 0)
        steps_shown = feed.steps if wanted is None else wanted
        hooks.attach(self, {"epochs": 1, "steps": steps_shown, "verbose": shown})
        reporter = Reporter(shown, steps_shown)
        reporter.begin("Evaluate")
        try:
            logs = loop.evaluate(self, feed, wanted, hooks, reporter, waits)
            reporter.end(logs)
        finally:
            reporter.close()
        return self._result(logs, return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False, check_finite: bool = True
    ) -> Any:
        """As :meth:`evaluate`, on these rows as one batch, without printing.

        Parameters
        ----------
        x, y, sample_weight, return_dict, check_finite
            As for :meth:`evaluate`.
        """
        self._need_engine("test_on_batch")
        samples = self._samples("test_on_batch", x, y, sample_weight, check_finite=check_finite)
        with self._running("test_on_batch") as (engine, layout, _):
            sums = engine.evaluate(samples.x, samples.y, None, samples.weights, len(samples))
        return self._result(layout.logs(sums, len(samples)), return_dict)
