"""What a call of a model is given, as rows and batches for the engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import _ranks, config, goals, loop, losses, optimizers, plan
from fastnn._arguments import no_arguments_of_arrays
from fastnn._engine import Engine, epoch_order
from fastnn._settings import changes
from fastnn._sparse_rows import SparseRows
from fastnn.compiling import Compiled
from fastnn.data import arrays, row_weights
from fastnn.data.feeds import ArrayFeed, BatchFeed, Batching, Samples, gives_batches
from fastnn.goals import Goal
from fastnn.layers.base import Layer
from fastnn.reading import SETTLED

_BUILT = nullcontext(True)  # where nothing is to be taken back


class Feeder(Compiled):
    """A compiled network that reads x, y and their weights; see :class:`fastnn.Sequential`."""

    def __init__(self, layers: Iterable[Layer] | None = None, name: str | None = None) -> None:
        self._epochs_done = 0
        self._columns_of_y: tuple[tuple[Goal, ...], object, int, int] | None = (
            None  # what :meth:`_columns_to_read` knows
        )
        super().__init__(layers, name)

    def _columns_to_read(self, goals: tuple[Goal, ...], outputs: int) -> int:
        """Return of how many columns an array of numbers is y as the engine reads it; 0 where none is.

        That is settled until the model is compiled anew, or a description changes.
        """
        known, seen = self._columns_of_y, changes.last
        if known is None or known[0] is not goals or known[1] is not seen or known[2] != outputs:
            one = len(goals) == 1 and not goals[0].name
            known = self._columns_of_y = goals, seen, outputs, goals[0].loss.target_columns(outputs) if one else 0
        return known[3]

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
        """Return X and y as the engine reads them; build the model from x where that is still to be done.

        Without `check_x`, x has not been searched for NaN and infinity yet.
        """
        if self._reads_both(x, y, check_x and check_finite, check_finite, names[1]):
            return x, y
        self._need_goals(action)
        learns = action in ("fit", "train_on_batch")
        told = y, check_x and check_finite, check_finite, names, defer, learns
        if learns and not (type(x) is np.ndarray and type(y) is np.ndarray):
            with self._learning(x, y):
                return self._converted_now(None, self._learned(x, names[0]), *told)
        return self._converted_now(None if learns else action, x, *told)

    def _reads_both(self, x: Any, y: Any, check_x: bool, check_y: bool, name: str = "y") -> bool:
        """Return whether x and y are arrays that the engine reads as they are, so that there is nothing to convert."""
        with self._home.lock:  # an engine that another thread may yet give up is not seen here
            engine, aims = self._engine, self._goals
        if engine is None or self._stale or not self._takes_arrays():
            return False
        columns = self._columns_to_read(aims, engine.plan.outputs)
        read = engine.reads(x, engine.plan.inputs, check_x) and engine.reads(y, columns, check_y) and len(x) == len(y)
        if read:
            aims[0].loss.check_targets(y, name)
        return read

    def _converted_now(self, needs: str | None, *told: Any) -> tuple[Any, Any]:
        """Return X and y for the engine that there is, or is built here unless an action `needs` one."""
        with self._home.lock:  # an engine that another thread may yet give up is not seen here
            engine = self._need_engine(needs) if needs else self._engine
            if engine is None:  # with the lock, no other thread builds an engine meanwhile
                return self._converted(None, *told)
        return self._converted(engine, *told)

    def _converted(
        self,
        engine: Engine | None,
        x: Any,
        y: Any,
        check_x: bool,
        check_y: bool,
        names: tuple[str, str],
        defer: bool,
        learns: bool,
    ) -> tuple[Any, Any]:
        """Return X and y for this engine, or for the one that is built here."""
        dtype = engine.plan.dtype if engine else config.variable_dtype(self._policy())
        rows, features = self._inputs(x, dtype, check_finite=check_x, name=names[0], defer=defer, learns=learns)
        if not len(rows):
            raise ValueError(f"{names[0]} must have at least one row, got shape {rows.shape}")
        lowered = engine.plan if engine else plan.lower(self._layers, features, self._policy())
        self._checked(rows, names[0])
        widths = self._widths(lowered.outputs)
        y = y if type(y) is np.ndarray else self._targets_in_place(y, names[1], learns)
        wanted = goals.targets(y, len(rows), self._goals, widths, dtype, check_finite=check_y, names=names)
        if engine is None:
            self._build_as(lowered)
        return rows, wanted

    def _form(self) -> tuple[Any, ...] | None:
        """Return what the conversion of x and y depends on, as :meth:`_form_of_x` does; None without a loss."""
        of_x = self._form_of_x()
        if of_x is None or not self._goals:
            return None
        outputs = self._widths(self._need_engine("fit").plan.outputs)
        wanted = [(goal.name, str(losses.serialize(goal.loss))) for goal in self._goals]
        return (*of_x, *outputs, *wanted)

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
        """Return X, y and the rows' weights as the engine reads them; messages put `of` before their names."""
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
        """Return the samples, all or those of a batch, with the weights of their classes."""
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

    def _as_it_was_on_error(self, x: Any, y: Any = None) -> AbstractContextManager[bool]:
        """Return a context whose value is whether the model was built before.

        A call that fails within leaves an unbuilt model unbuilt. Nor do the names of columns stay that a frame has
        said. No other thread trains a model that may not stay built: it waits here, and then begins with the model as
        it is.
        """
        learning = self._learning(x, y)
        with self._home.lock:
            settled = self.built and learning is SETTLED
        return _BUILT if settled else self._building(learning)

    @contextmanager
    def _building(self, learning: AbstractContextManager[None]) -> Iterator[bool]:
        with learning:
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
        """Return the feed of an iterable of batches."""

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
        batching: Batching,
        *,
        check_finite: bool,
        of: str = "",
        check_x: bool = True,
    ) -> loop.Feed:
        """Return the feed of ``evaluate``, or of a validation."""
        if gives_batches(x):
            no_arguments_of_arrays(x, y=y, sample_weight=sample_weight, batch_size=batching.rows)
            return self._batch_feed(action, x, check_finite, of)
        samples = self._samples(
            action, x, y, sample_weight, check_finite=check_finite, of=of, defer=True, check_x=check_x
        )
        return ArrayFeed(samples, batching.rows_of_a_batch(len(samples)))

    def _training_feed(
        self,
        samples: Samples,
        batching: Batching,
        shuffle: bool,
        class_weight: Mapping[int, float] | str | None,
        drop_remainder: bool,
        ranks: _ranks.Ranks,
    ) -> ArrayFeed:
        """Return the feed of rows to train on."""
        if class_weight is not None:
            samples = self._weighted(samples, class_weight, all_rows=True)
        rows = len(samples.x)
        order = (lambda: epoch_order(rows, self._seed, self._epochs_done)) if shuffle else None
        if ranks is _ranks.ALONE:
            batch = batching.rows_of_a_batch(rows)
        else:
            batch = ranks.rows_of_a_batch(batching.rows_of_a_batch(ranks.rows(rows)))
        return ArrayFeed(samples, batch, order, drop_remainder)

    def _check_mixup(self, x: Any) -> None:
        """Raise where rows of this x, or their targets, cannot be mixed."""
        engine = self._need_engine("fit")
        called = goals.called(self._goals)
        reason = ""
        if any(getattr(goal.loss, "ignore_class", None) is not None for goal in self._goals):
            reason = "the loss has an ignore_class, which a mixture may have a share of: leave these rows out"
        elif called:
            reason = f"{called} is a Python function, which would be shown rows that are not mixed"
        elif isinstance(x, SparseRows):
            reason = "x is sparse: give dense rows"
        elif any(op.name in ("embedding", "encode") for op in engine.plan.ops):
            reason = "the model takes categories, which no mixture is one of"
        elif isinstance(self.optimizer, optimizers.LBFGS):
            reason = "LBFGS needs a loss that is the same at each call"
        if reason:
            raise ValueError(f"mixup cannot mix these rows: {reason}")

    def _held_back(
        self, samples: Samples, fraction: float, batching: Batching, check_x: bool
    ) -> tuple[Samples, ArrayFeed]:
        """Return the first of the samples, and the feed of the last ones, whose share is `validation_split`."""
        kept = arrays.split_at(len(samples), fraction)
        rest = samples.part(slice(kept, None))
        if not check_x:
            arrays.require_finite(rest.x, "x", kept)
        return samples.part(slice(0, kept)), ArrayFeed(rest, batching.rows_of_a_batch(len(rest)))

    def _validation_feed(self, given: Any, batching: Batching, check_finite: bool) -> loop.Feed:
        """Return the feed of the rows of `validation_data`."""
        of = "validation_data's "
        if gives_batches(given):
            return self._batch_feed("fit", given, check_finite, of)
        if isinstance(given, (tuple, list)) and len(given) in (2, 3):
            x, y, weights = (*given, None)[:3]
            return self._feed("fit", x, y, weights, batching, check_finite=check_finite, of=of)
        raise ValueError("validation_data must be (x, y), (x, y, sample_weight) or an iterable of such batches")
