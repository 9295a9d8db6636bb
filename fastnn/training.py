"""Training and evaluation: the part of a model that needs targets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy.typing as npt

from fastnn import _ranks, loop, optimizers
from fastnn._arguments import no_arguments_of_arrays, optional_count, verbosity
from fastnn._fitting import Fitting, batchings, check_together, facts_of_data, facts_of_fit, facts_of_model, wanted
from fastnn._model import Progress, Ready, Run
from fastnn.callbacks import Callback, CallbackList, History
from fastnn.callbacks.base import TRAIN_BATCH_HOOKS, Logs
from fastnn.callbacks.reporter import Reporter
from fastnn.data import arrays, frames
from fastnn.data.feeds import ArrayFeed, BatchFeed, Batching, Samples, gives_batches
from fastnn.feeding import Feeder
from fastnn.layers.base import Layer
from fastnn.optimizers.schedules import LearningRateSchedule

if TYPE_CHECKING:
    from fastnn._model import Kept

Array = npt.NDArray[Any]


class Trainer(Feeder):
    """A compiled network that is trained and evaluated; see :class:`fastnn.Sequential`."""

    def __init__(self, layers: Iterable[Layer] | None = None, name: str | None = None) -> None:
        self.stop_training = self.stop_evaluating = self.stop_predicting = False
        self.history: History | None = None
        self._run: Run | None = None  # the fit that is going on: a callback can save it, and let it go on from there
        super().__init__(layers, name)

    @property
    def _progress(self) -> Progress:
        """Where training stands, without what an optimizer keeps where the engine has no state of one."""
        engine, optimizer = self._engine, self.optimizer
        if engine is None or optimizer is None or not self._has_state_of(optimizer):
            return Progress(0, 1.0, self._seed, self._epochs_done, average_swapped=False)
        kept = int(engine.iterations), float(engine.momentum_product)
        return Progress(*kept, self._seed, self._epochs_done, engine.average_swapped, self._course)

    @_progress.setter
    def _progress(self, value: Progress) -> None:
        self._seed, self._epochs_done = value.seed, value.epochs_done
        engine, optimizer = self._engine, self.optimizer
        if engine is not None and optimizer is not None and self._has_state_of(optimizer):
            engine.iterations, engine.momentum_product = value.iterations, value.momentum_product
            engine.average_swapped, engine.course = value.average_swapped, value.course
            self._course = value.course

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
        drop_remainder: bool = False,
        mixup: float = 0.0,
    ) -> History:
        """Train, `epochs` times over the data.

        Parameters
        ----------
        x : array-like, shape (rows, features), or iterable
            Used in place where it has the model's dtype and contiguous rows, else converted once; converted piece by
            piece, each epoch anew, where that would take more than 256 MiB. A generator, a loader, or an object with
            ``__len__`` and ``__getitem__`` gives batches: x, (x, y) or (x, y, sample_weight). For a model with branches
            a dict of arrays or a data frame, which is copied into one array. The columns of other frames go by their
            names, in any order: the first frame says them, see :attr:`feature_names`.
        y : array-like
            Labels (rows,) for sparse losses, else (rows, outputs). For a model with heads a dict of such, a list in
            their order, or a data frame.
        batch_size : int, optional
            Rows of one optimizer step; the last batch of an epoch may have fewer. Default: 32, or with
            `steps_per_epoch` as many as let those steps go over all rows.
        epochs : int, default 1
            The number of the last epoch, counted from `initial_epoch`.
        verbose : {"auto", 0, 1, 2}
            A bar and a line an epoch, or one bar for many short epochs (auto, 1); lines alone (2); nothing (0).
        callbacks : Callback or sequence of Callback, optional
        validation_split : float, default 0
            This share of the last rows (before shuffling) is held back and evaluated after each epoch.
        validation_data : tuple (x, y) or (x, y, sample_weight), or iterable of batches, optional
        shuffle : bool, default True
            A new order of rows each epoch; of batches, where x has ``__getitem__``; other iterables keep their order.
        class_weight : dict of int to float, or "balanced", optional
            What the rows of a class weigh in the loss and in weighted metrics; a class that is not named weighs 1.
            ``"balanced"`` gives rows / (classes * rows of the class), as in scikit-learn, of the rows that are trained
            on.
        sample_weight : array-like, shape (rows,), optional
            What a row weighs in the loss and in weighted metrics. The loss is the sum of weight x loss, divided by the
            number of rows, as in Keras. For a model with heads a dict of such arrays is taken too.
        initial_epoch : int, default 0
        steps_per_epoch : int, optional
            The number of batches of an epoch; the next epoch goes on where this one ended. Default: a pass over all
            data.
        validation_steps : int, optional
            The number of batches of a validation: the first ones each time; a generator, which cannot go back, gives
            its next ones. Default: all of them.
        validation_batch_size : int, optional
            The batch size of a validation. Default: `batch_size` where it is given, else as for :meth:`evaluate`.
        validation_freq : int or collection of int, default 1
            Validate after every `validation_freq` epochs, or after the epochs listed (counted from 1).
        check_finite : bool, default True
            Look for NaN and infinity in x, y and weights, once; in batches of an iterable as they come; in a large x
            perhaps while the first epoch trains on it, whose steps are then taken back.
        drop_remainder : bool, default False
            Leave out the last batch of each epoch where it is not full, as the gradient of few rows is a rough one;
            with ``shuffle`` these are other rows each time. Keras does this in its datasets. Rows that do not fill one
            batch are one.
        mixup : float, default 0
            Train on mixtures l x_i + (1 - l) x_j of the rows of a batch and the same ones of their targets, with l of
            the distribution Beta(mixup, mixup), another one for each batch (Zhang et al. 2018, arXiv:1710.09412).
            Losses and metrics of the training are those of the mixtures; a row keeps its weight. Labels of classes are
            mixed as their one-hot rows would be, and one that a loss ignores (``ignore_class``) cannot be.

        Returns
        -------
        History

        Raises
        ------
        ValueError, TypeError, RuntimeError
            When an argument cannot be used, with the model as it was; for later batches of an iterable, when these
            come.
        KeyboardInterrupt
            After Ctrl-C, with the weights of the last finished step.
        """
        told = (
            x,
            y,
            batch_size,
            epochs,
            verbose,
            callbacks,
            validation_split,
            validation_data,
            shuffle,
            class_weight,
            sample_weight,
            initial_epoch,
            steps_per_epoch,
            validation_steps,
            validation_batch_size,
            validation_freq,
            check_finite,
            drop_remainder,
            mixup,
        )
        ranks = _ranks.current()
        if ranks is _ranks.ALONE:
            fitting = self._fitting(*told)
            fitting.train()
        else:
            with ranks.call("fit"):
                fitting = self._fitting(*told)
                fitting.train()
        return fitting.history

    def _fitting(
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
        drop_remainder: bool = False,
        mixup: float = 0.0,
    ) -> Fitting:
        """Check the arguments of :meth:`fit`, and return what it is to do."""
        if by_batch := gives_batches(x):
            given = {"validation_split": validation_split or None, "drop_remainder": drop_remainder or None}
            no_arguments_of_arrays(x, batch_size=batch_size, y=y, sample_weight=sample_weight, **given)
        batching, held = batchings(batch_size, steps_per_epoch, validation_batch_size, validation_steps)
        told = initial_epoch, epochs, validation_freq, drop_remainder, mixup, verbose, shuffle
        first, epochs, due, drop, mixed, shown, shuffle = wanted(*told)
        steps, hooks = batching.steps, CallbackList(callbacks)
        with self._as_it_was_on_error(x, y) as built:
            whole = built and not (hooks.given or drop) and steps is None and first < epochs
            check = self._finite_check(x) if check_finite and whole else None
            feed: loop.Feed
            validation: loop.Feed | None = None
            if by_batch:
                feed = self._batch_feed("fit", x, check_finite, "", class_weight, shuffle)
            else:
                now = check is None
                samples = self._samples("fit", x, y, sample_weight, check_finite=check_finite, defer=True, check_x=now)
                if validation_split and validation_data is None:
                    samples, validation = self._held_back(samples, validation_split, held, check_x=now)
                feed = self._training_feed(samples, batching, shuffle, class_weight, drop, hooks.ranks)
            if validation_data is not None:
                validation = self._validation_feed(validation_data, held, check_finite)
            engine, _, optimizer = ready = self._ready("fit")
            if check is not None:
                check.settle(feed, engine, copied=engine.parameters.nbytes * (1 + len(engine.slots)))
            if hooks.given:
                hooks.check_logs(self, validation is not None and any(map(due, range(first, epochs))))
            feed.mixup = mixed
            if isinstance(optimizer, optimizers.LBFGS):
                self._check_lbfgs(optimizer, feed, batching, hooks)
            self._check_batches(ready, feed, steps)
            if hooks.ranks is not _ranks.ALONE:
                self._agree(feed, validation, held.steps, hooks, (first, epochs, steps, shuffle, class_weight))
        known = feed.steps if steps is None else steps
        history = self._begin(hooks, {"epochs": epochs, "steps": known, "verbose": shown})
        validated = None if validation is None else loop.Validation(validation, held.steps, due)
        run = loop.Epochs(self, hooks, shown, known, epochs, validated)
        return Fitting(self, optimizer, run, feed, steps, first, epochs, check, validated, hooks, history)

    def _agree(
        self,
        feed: loop.Feed,
        validation: loop.Feed | None,
        steps: int | None,
        hooks: CallbackList,
        told: tuple[Any, ...],
    ) -> None:
        """Raise on all ranks where these cannot make this fit together, or were given different things for it."""
        ranks, model = hooks.ranks, cast("Kept", self)
        if ranks.exchange is not None:
            check_together(self._goals, self.optimizer, feed)
            ranks.agree(model, facts_of_fit(model, feed, validation, steps, *told), hooks.callbacks)

    def _begin(self, hooks: CallbackList, params: dict[str, Any]) -> History:
        """Tell the callbacks what fit is about to do; return the History among them, or one that joins them."""
        history = hooks.with_history()
        hooks.attach(self, params)
        self.stop_training, self.history = False, history
        return history

    def _check_batches(self, ready: Ready, feed: loop.Feed, steps: int | None) -> None:
        """Raise where batches cannot be mixed, a schedule must know their number, or a metric cannot take the first."""
        if feed.mixup:
            self._check_mixup(feed.first.x if isinstance(feed, BatchFeed) else feed.samples.x)
        if feed.steps is None and steps is None:
            self._check_shares("fit needs steps_per_epoch", ready.optimizer.hyperparameters())
        if self._looked_at is not ready.layout or ready.layout.metrics:
            self._look_at_first_batch(ready, feed)

    def _look_at_first_batch(self, ready: Ready, feed: loop.Feed) -> None:
        """Raise where a metric cannot take the first rows of a feed, while the model can still stay as it was."""
        if not ready.layout.metrics:
            self._looked_at = ready.layout
            return
        samples = feed.first if isinstance(feed, BatchFeed) else feed.samples
        batch = len(samples) if isinstance(feed, BatchFeed) else feed.batch
        if isinstance(samples.x, arrays.Deferred):
            samples = samples.read(slice(0, batch))
        with self._home.lock:
            self._looked_at = None
            self._look_at_first_rows(ready, samples, batch)

    def _finite_check(self, x: Any) -> loop.FiniteCheck | None:
        """Return the check of x that may wait for the engine; None where x is to be looked through at once.

        The engine can check x while it trains, where its sentence would be the same, it reads all of x in the first
        epoch, and nobody sees steps that it takes back. A few rows are sooner looked through.
        """
        if loop.FiniteCheck.is_small(x) or isinstance(self.optimizer, optimizers.LBFGS):
            return None
        if _ranks.current().exchange is not None:  # each rank reads other rows
            return None
        return None if frames.has_names(x) or not self._takes_any_number() else loop.FiniteCheck(self)

    def _check_lbfgs(
        self,
        optimizer: optimizers.LBFGS,
        feed: loop.Feed,
        batching: Batching,
        hooks: CallbackList,
    ) -> None:
        """Raise where L-BFGS cannot do what fit was asked for."""
        if not isinstance(feed, ArrayFeed) or isinstance(feed.samples.x, arrays.Deferred):
            raise ValueError("LBFGS looks at all rows in every step: x must be an array that fits the memory")
        if (batching.rows or feed.rows) < feed.rows or batching.steps is not None:
            raise ValueError("LBFGS looks at all rows in every step: batch_size and steps_per_epoch must be None")
        if hooks.wants(*TRAIN_BATCH_HOOKS):
            raise ValueError("LBFGS has no batches: a callback has a hook for them")
        if any(isinstance(getattr(goal.loss, "label_smoothing", None), LearningRateSchedule) for goal in self._goals):
            raise ValueError("LBFGS needs a loss that is the same at each call: label_smoothing is a schedule")
        lowered = self._need_engine("fit").plan
        optimizer.check(lowered.ops, lowered.parameters, self._parameter_settings())

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
        """Take one optimizer step on these rows.

        Parameters
        ----------
        x, y, sample_weight, class_weight, check_finite
            Arguments as for :meth:`fit`.
        return_dict : bool, default False

        Returns
        -------
        float, list of float or dict
            The batch's loss, or ``[loss, *metrics]``, from before the step.
        """
        _ranks.current().refuse("train_on_batch")
        with self._as_it_was_on_error(x, y):
            if sample_weight is None and class_weight is None:
                samples = Samples(*self._convert("train_on_batch", x, y, check_finite=check_finite))
            else:
                given = self._samples("train_on_batch", x, y, sample_weight, check_finite=check_finite)
                samples = self._weighted(given, class_weight)
            with self._home.lock:
                engine, layout, optimizer = ready = self._ready("train_on_batch")
                if self._looked_at is not layout:
                    self._look_at_first_rows(ready, samples, len(samples))
                rates = optimizer.hyperparameters()
                if self._run is None:
                    self._check_shares("train_on_batch knows no steps to come", rates)
                sums, _ = engine.train(samples.x, samples.y, None, len(samples), rates, None, samples.weights)
        return self._result(layout.logs(sums, len(samples)), return_dict)

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
        """Return the loss, or a list of the loss and the metrics, as means over all rows.

        Parameters
        ----------
        x, y, sample_weight
            Data as for :meth:`fit`.
        batch_size : int, optional
            The number of rows of a batch; default 32, or with `steps` as many as let `steps` batches hold all rows.
            Results depend on it for losses and metrics that are functions, and where a batch's loss is no plain mean
            over its rows (another `reduction`, an `ignore_class`): the loss then is the mean over batches, as in
            ``fit``.
        verbose : {"auto", 0, 1, 2}
        steps : int, optional
            The number of batches to evaluate. Default: all of them.
        callbacks : Callback or sequence of Callback, optional
        return_dict : bool, default False
            Whether to return a dict with the names as keys.
        check_finite : bool, default True

        Returns
        -------
        float, list of float or dict
        """
        with _ranks.current().call("evaluate"):
            logs = self._evaluated(x, y, batch_size, verbose, sample_weight, steps, callbacks, check_finite)
        return self._result(logs, return_dict)

    def _evaluated(
        self,
        x: Any,
        y: Any,
        batch_size: int | None,
        verbose: str | int,
        sample_weight: Any,
        steps: int | None,
        callbacks: Any,
        check_finite: bool,
    ) -> Logs:
        """Return the loss and the metrics that :meth:`evaluate` returns."""
        shown = verbosity(verbose)
        batching = Batching(optional_count("batch_size", batch_size), optional_count("steps", steps))
        hooks = CallbackList(callbacks)
        ranks = hooks.ranks
        self._need_engine("evaluate")
        check = self._finite_check(x) if check_finite and not hooks.given and batching.steps is None else None
        check_x = check is None
        feed = self._feed("evaluate", x, y, sample_weight, batching, check_finite=check_finite, check_x=check_x)
        engine, _, _ = self._ready("evaluate")
        if check is not None:
            check.settle(feed, engine, copied=0)
        if ranks.exchange is not None:
            facts = facts_of_model(cast("Kept", self)) | {"x": facts_of_data(feed), "steps": batching.steps}
            ranks.agree(self, facts, hooks.callbacks)
        steps_shown = feed.steps if batching.steps is None else batching.steps
        hooks.attach(self, {"epochs": 1, "steps": steps_shown, "verbose": shown})
        reporter = Reporter(shown if ranks.rank == 0 else 0, steps_shown)
        reporter.begin("Evaluate")
        try:
            logs = loop.evaluate(self, feed, batching.steps, hooks, reporter, check)
            reporter.end(logs)
        finally:
            reporter.close()
        return logs

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False, check_finite: bool = True
    ) -> Any:
        """Return what :meth:`evaluate` returns, on these rows as one batch, without printing.

        Parameters
        ----------
        x, y, sample_weight, return_dict, check_finite
            Arguments as for :meth:`evaluate`.
        """
        self._need_engine("test_on_batch")
        samples = self._samples("test_on_batch", x, y, sample_weight, check_finite=check_finite)
        with self._home.lock:
            engine, layout, _ = self._ready("test_on_batch")
            sums = engine.evaluate(samples.x, samples.y, None, samples.weights, len(samples))
        return self._result(layout.logs(sums, len(samples)), return_dict)
