"""Where the rows of a run come from: arrays in memory or on disk, or an iterable of batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._warnings import warn
from fastnn.data import Deferred

Array = npt.NDArray[Any]
Order = npt.NDArray[np.int64]
PIECE = 2**25  # bytes of rows that are read and converted at a time


def gives_batches(x: Any) -> bool:
    """Whether x is a generator, a loader or another source of batches, rather than an array, a frame or a dict."""
    if isinstance(x, (np.ndarray, Sequence, Mapping)):
        return False
    if any(hasattr(x, attribute) for attribute in ("shape", "__array__", "__dlpack__")):
        return False
    return hasattr(x, "__iter__") or (hasattr(x, "__getitem__") and hasattr(x, "__len__"))


def rows_of_a_batch(rows: int, batch: int | None, steps: int | None) -> int:
    """What `batch` says; without it so many that `steps` batches hold all rows, as in Keras; without both 32."""
    return batch or (32 if steps is None else max(1, -(-rows // steps)))


@dataclass(frozen=True)
class Samples:
    """Rows as the engine reads them.

    Attributes
    ----------
    x : ndarray, Deferred or other rows, shape (rows, features)
    y : ndarray, or tuple of ndarray, or None
        Targets; None for a prediction.
    weights : ndarray or None
        Of the rows; None: all 1.
    """

    x: Any
    y: Any = None
    weights: Array | None = None

    def __len__(self) -> int:
        return len(self.x)

    def part(self, rows: slice) -> Samples:
        """Some of the rows, as views."""
        return Samples(self.x[rows], _taken(self.y, rows), None if self.weights is None else self.weights[rows])

    def read(self, rows: slice | Order) -> Samples:
        """Some of the rows of deferred x, converted."""
        return Samples(self.x.read(rows), _taken(self.y, rows), None if self.weights is None else self.weights[rows])


def _taken(y: Any, rows: slice | Order) -> Any:
    return tuple(part[rows] for part in y) if isinstance(y, tuple) else None if y is None else y[rows]


@dataclass(frozen=True)
class Chunk:
    """The rows of one call into the engine: `steps` batches of `batch` rows, the last perhaps shorter.

    `order` says which of the samples' rows, and in which order; None: all as they lie.
    """

    samples: Samples
    order: Order | None
    batch: int
    steps: int
    rows: int


class ArrayFeed:
    """Batches of rows in memory, or in a file that is mapped into memory.

    Parameters
    ----------
    samples : Samples
    batch : int
        Rows of a step.
    order : callable, optional
        Gives the order of rows of the next pass over the data; without it they are taken as they lie.
    """

    def __init__(self, samples: Samples, batch: int, order: Callable[[], Order] | None = None) -> None:
        self.samples, self.batch, self._next_order = samples, batch, order
        self.shuffled = order is not None
        self.steps = -(-len(samples) // batch)
        self.passes = 0  # over the data, to their end
        self._at = 0  # the next step of this pass
        self._order: Order | None = None

    def epoch(self, steps: int | None = None, most: int | None = None) -> Iterator[Chunk]:
        """The next `steps` batches (default: a pass from the first to the last), at most `most` a chunk.

        As in Keras, a pass goes on in the next epoch where `steps` ended the last one before its end, and the end of
        the data ends an epoch.
        """
        if steps is None or self._at == 0:
            self._at, self._order = 0, self._next_order() if self._next_order else None
        wanted = self.steps if steps is None else steps
        most = min(most or self.steps, self._steps_of_a_piece())
        while wanted and self._at < self.steps:
            count = min(wanted, most, self.steps - self._at)
            yield self._chunk(count)
            self._at += count
            wanted -= count
        if self._at == self.steps:
            self._at, self.passes = 0, self.passes + 1
        if wanted:
            warn_of_end(wanted)

    def rewind(self) -> None:
        """Let the next epoch begin with the first batch, wherever the last one ended."""
        self._at = 0

    def _steps_of_a_piece(self) -> int:
        x = self.samples.x
        return max(1, PIECE // (self.batch * x.row_bytes)) if isinstance(x, Deferred) else self.steps

    def _chunk(self, steps: int) -> Chunk:
        start = self._at * self.batch
        end = min(start + steps * self.batch, len(self.samples))
        order = None if self._order is None else self._order[start:end]
        rows = slice(start, end)
        if isinstance(self.samples.x, Deferred):
            samples, order = self.samples.read(rows if order is None else order), None
        else:
            samples = self.samples if order is not None else self.samples.part(rows)
        return Chunk(samples, order, self.batch, steps, end - start)


class BatchFeed:
    """Batches that an iterable gives: a generator, a loader, or an object with ``__len__`` and ``__getitem__``.

    Parameters
    ----------
    source : iterable
        Of x, (x, y) or (x, y, sample_weight). Its ``on_epoch_begin`` and ``on_epoch_end`` are called where it has them.
    convert : callable
        Makes Samples of a batch, given what to call it.
    order : callable, optional
        Gives the order of so many batches, for a source that has ``__getitem__``.

    Raises
    ------
    ValueError
        When it gives no batch, or when its first is not as it must be.
    """

    def __init__(
        self, source: Any, convert: Callable[[Any, str], Samples], order: Callable[[int], Order] | None = None
    ) -> None:
        self._source, self._convert, self._next_order = source, convert, order
        self.shuffled = order is not None
        self._indexed = hasattr(source, "__getitem__")
        self.steps = self._count()
        self.passes = 0
        self._taken = 0
        self._iterator: Iterator[Any] | None = None if self._indexed else iter(source)
        first = source[0] if self._indexed and self.steps != 0 else next(self._iterator or iter(()), None)
        if first is None:
            raise ValueError(f"x must give at least one batch, but the {type(source).__name__} gives none")
        self.first = convert(first, "the first batch")
        self._held: list[Samples] = [] if self._indexed else [self.first]

    def _count(self) -> int | None:
        """The number of batches, where it is known."""
        if hasattr(self._source, "num_batches"):
            count = self._source.num_batches
        else:
            try:
                count = len(self._source)
            except TypeError:  # a generator, or a loader that cannot tell
                return None
        return None if count is None else int(count)

    def _batches(self) -> Iterator[Any]:
        if not self._indexed:
            return iter(self._source)
        if self.steps is None:
            return (self._source[k] for k in itertools.count())
        order = self._next_order(self.steps) if self._next_order else None
        return (self._source[int(k)] for k in (range(self.steps) if order is None else order))

    def epoch(self, steps: int | None = None, most: int | None = None) -> Iterator[Chunk]:
        """The next `steps` batches (default: all), one a chunk; as for :meth:`ArrayFeed.epoch`."""
        self._tell("on_epoch_begin")
        if self._iterator is None or (steps is None and not self._held):
            self._iterator, self._taken = self._batches(), 0
        done = 0
        ended = False
        while done != steps:
            if self._held:
                samples = self._held.pop()
            else:
                batch = next(self._iterator, None)
                if batch is None:
                    ended = True
                    break
                samples = self._convert(batch, f"batch {self._taken}")
            self._taken += 1
            done += 1
            yield Chunk(samples, None, len(samples), 1, len(samples))
        if ended or self._taken == self.steps:
            self._iterator, self.passes = None, self.passes + 1
        self._tell("on_epoch_end")
        if ended and (steps is not None or not done):
            warn_of_end(None if steps is None else steps - done)

    def rewind(self) -> None:
        """Let the next epoch begin with the first batch, wherever the last one ended; a generator only goes on."""
        if self._taken and (self._indexed or self._iterator is not self._source):
            self._iterator, self._held, self._taken = None, [], 0

    def _tell(self, hook: str) -> None:
        function = getattr(self._source, hook, None)
        if function is not None:
            function()


def warn_of_end(missing: int | None) -> None:
    """Say that an epoch is shorter than it was to be, because the data ended."""
    short = "" if missing is None else f", {missing} steps before the end of the epoch"
    warn(f"the data ran out{short}: give a source that yields steps_per_epoch * epochs batches, or fewer steps")
