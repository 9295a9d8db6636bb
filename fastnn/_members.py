"""The members of an ensemble: what each wants of the engine next, and the calls that do this for all of them at once.

What happens to a member is written down once, as a generator: it yields a :class:`Wish` wherever the engine is to work,
and goes on when that is done. :func:`together` runs the generators of all members, and grants their wishes in one call
into the engine a round.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fastnn import goals, loop
from fastnn._engine import EvaluationTask, Locks, PredictionTask, TrainingTask, run_many
from fastnn._model import Member
from fastnn._totals import Totals
from fastnn.callbacks import CallbackList
from fastnn.callbacks.base import Logs
from fastnn.data.feeds import Chunk, Order, Samples, steps_of

# Epochs of all members in one call into the engine. To note what came of one takes Python about 15 microseconds, and
# Ctrl-C waits until that is done for all.
MOST_EPOCHS = 5000
T = TypeVar("T")


@dataclass(frozen=True)
class Rows:
    """The rows of samples that a member has; the samples may be those of other members too.

    Attributes
    ----------
    samples : Samples
    order : ndarray of int64 or None
        The rows as the member has them, some perhaps several times; None: all.
    batch : int
        The number of rows of a batch.
    drop_remainder : bool
        Whether the last batch is left out where it is not full, nor the only one.
    mixup : float
        The alpha with which training mixes each batch with itself, or 0.
    """

    samples: Samples
    order: Order | None
    batch: int
    drop_remainder: bool = False
    mixup: float = 0.0

    def __len__(self) -> int:
        return len(self.samples if self.order is None else self.order)

    @functools.cached_property
    def chunk(self) -> Chunk:
        """All rows, as one chunk; it counts those of the batches that are not left out."""
        steps = steps_of(len(self), self.batch, self.drop_remainder)
        return Chunk(self.samples, self.order, self.batch, steps, min(len(self), steps * self.batch), self.mixup)

    def batches(self) -> list[Chunk]:
        """Return the rows as a chunk a batch."""
        order = np.arange(len(self), dtype=np.int64) if self.order is None else self.order
        parts = [order[start : start + self.batch] for start in range(0, len(order), self.batch)]
        return [Chunk(self.samples, part, self.batch, 1, len(part)) for part in parts]


class Wish:
    """What a member wants of the engine next.

    Attributes
    ----------
    model : Member
    reads : bool
        Whether the engine only reads the model.
    """

    reads = False

    def __init__(self, model: Member) -> None:
        self.model = model

    def task(self) -> Any:
        """Return the engine's task for the model as it is now, which the caller holds until the task is done."""
        raise NotImplementedError


class Training(Wish):
    """Epochs over rows.

    Attributes
    ----------
    epochs : int
        How many the next task has.
    steps : int
        The steps of an epoch.
    """

    def __init__(self, model: Member, rows: Rows, shuffle: bool) -> None:
        super().__init__(model)
        self.epochs, self._shuffle, self._chunk = 1, shuffle, rows.chunk
        self.steps = self._chunk.steps
        self._layout = goals.Layout([], [])
        self._task: TrainingTask | None = None

    def task(self) -> TrainingTask:
        """Return the task of the next epochs."""
        model, chunk, samples = self.model, self._chunk, self._chunk.samples
        ready = model._ready("fit")
        model._look_at_first_rows(ready, samples, chunk.batch, chunk.order)
        shuffle = (model._seed, model._epochs_done) if self._shuffle else None
        self._layout, rates = ready.layout, ready.optimizer.hyperparameters()
        x, y, weights = samples.x, samples.y, samples.weights
        self._task = TrainingTask(
            ready.engine, x, y, weights, chunk.order, chunk.batch, rates, shuffle, self.epochs, chunk.rows, chunk.mixup
        )
        return self._task

    def take(self) -> list[Totals]:
        """Return the totals of each epoch that has come to its end in the last task, and count these epochs."""
        task, self._task = self._task, None
        if task is None or not task.epochs_done:  # it has not run
            return []
        self.model._epochs_done += task.epochs_done * self._shuffle
        finished = []
        for epoch in range(task.epochs_done):
            totals = Totals(layout=self._layout)
            totals.add(self._chunk, task.sums[epoch], int(task.first_nonfinite[epoch]))
            finished.append(totals)
        return finished


class Evaluation(Wish):
    """The loss and the metrics of rows."""

    def __init__(self, model: Member, chunk: Chunk) -> None:
        super().__init__(model)
        self._chunk = chunk
        self._layout = goals.Layout([], [])
        self._task: EvaluationTask | None = None

    def task(self) -> EvaluationTask:
        """Return the task."""
        ready, samples = self.model._ready("evaluate"), self._chunk.samples
        self._layout = ready.layout
        self._task = EvaluationTask(ready.engine, samples.x, samples.y, samples.weights, self._chunk.order)
        return self._task

    def add_to(self, totals: Totals) -> None:
        """Add what the task has found to totals."""
        if self._task is not None:
            totals.read_by(self._layout)
            totals.add(self._chunk, self._task.sums)

    def alone(self, totals: Totals) -> None:
        """Do without others what has been wished for: the engine calls Python functions for each batch."""
        chunk, samples = self._chunk, self._chunk.samples
        with self.model._home.lock:
            ready = self.model._ready("evaluate")
            x, y, weights = samples.x, samples.y, samples.weights
            sums = ready.engine.evaluate(x, y, None, weights, chunk.batch, False, chunk.order)
        totals.read_by(ready.layout)
        totals.add(chunk, sums)


class Prediction(Wish):
    """The outputs for rows of x, or for those in `order`; they are written to `out`."""

    reads = True

    def __init__(self, model: Member, x: Any, order: Order | None, out: npt.NDArray[Any]) -> None:
        super().__init__(model)
        self._x, self._order, self._out = x, order, out

    def task(self) -> PredictionTask:
        """Return the task."""
        return PredictionTask(self.model._need_engine("predict"), self._x, self._order, self._out)


# ---- what happens to a member ----


def fitted(
    run: loop.Epochs,
    training: Training,
    epochs: int,
    members: int,
    watched: bool,
    validate: Callable[[int], Generator[Wish, None, Logs]],
) -> Generator[Wish, None, None]:
    """Train one of so many members for so many epochs; unless it is `watched`, nobody looks at it between two of them.

    `validate` returns the generator of the validation after an epoch, counted from 0.
    """
    with run.around(None, 0):
        epoch, ended = 0, False
        while epoch < epochs and not ended:
            training.epochs = 1 if watched else min(epochs - epoch, max(1, MOST_EPOCHS // members))
            run.begin(epoch)
            finished: list[Totals] = []
            try:
                yield training
            finally:  # Ctrl-C ends the call into the engine after some of the epochs
                finished = training.take()
                if not watched:
                    for totals in finished:
                        ended = run.end(epoch, totals, {})
                        epoch += 1
            if watched:
                ended = run.end(epoch, finished[0], (yield from validate(epoch)))
                epoch += 1


def evaluated(model: Member, rows: Rows, hooks: CallbackList) -> Generator[Wish, None, Logs]:
    """Return the loss and the metrics of rows, as :func:`fastnn.loop.evaluate` does."""
    totals = Totals()
    by_batch = goals.depend_on_batches(model._goals, rows.samples.weights is not None)
    model.stop_evaluating = False
    with loop.weights_as_before(model):
        hooks.call("on_test_begin", {})
        for chunk in rows.batches() if by_batch else [rows.chunk]:
            wish = Evaluation(model, chunk)
            if goals.called(model._goals):
                wish.alone(totals)
            else:
                yield wish
                wish.add_to(totals)
        logs = totals.means()
        hooks.call("on_test_end", logs)
    return logs


def not_validated() -> Generator[Wish, None, Logs]:
    """Return the logs of no validation."""
    yield from ()
    return {}


# ---- all of them at once ----


def grant(wishes: Sequence[Wish]) -> None:
    """Do what all wish for, in one call into the engine."""
    with Locks(wish.model._home.lock for wish in wishes if not wish.reads):
        run_many([wish.task() for wish in wishes])


def together(generators: Sequence[Generator[Wish, None, T]], after_round: Callable[[], None] | None = None) -> list[T]:
    """Run the generators of different members to their ends, and return what they return.

    An error ends all of them.
    """
    results: dict[int, T] = {}
    going = dict(enumerate(generators))
    try:
        while going:
            wishes = {number: _next(generator, number, results) for number, generator in going.items()}
            going = {number: going[number] for number, wish in wishes.items() if wish is not None}
            if after_round is not None:
                after_round()
            if going:
                grant([wish for wish in wishes.values() if wish is not None])
    except BaseException:
        with ExitStack() as closing:  # all are closed, also where closing one of them raises
            for generator in generators:
                closing.callback(generator.close)
        raise
    return [results[number] for number in range(len(generators))]


def _next(generator: Generator[Wish, None, T], number: int, results: dict[int, T]) -> Wish | None:
    """Return the next wish of a generator; where there is none, note its result."""
    try:
        return next(generator)
    except StopIteration as end:
        results[number] = end.value
        return None
