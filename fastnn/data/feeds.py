"""Feeds of a run: its rows come from arrays in memory or on disk, or from an iterable of batches."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._warnings import warn
from fastnn.data.arrays import Deferred
from fastnn.data.frames import as_array, column_names, is_frame, listed, native

Array = npt.NDArray[Any]
Order = npt.NDArray[np.int64]
PIECE = 2**25  # bytes of rows that are read and converted at a time


def gives_batches(x: Any) -> bool:
    """Return whether x is a generator, a loader or another source of batches, not an array, a frame or a dict."""
    if isinstance(x, (np.ndarray, Sequence, Mapping)):
        return False
    if hasattr(x, "shape") or hasattr(x, "__array__") or hasattr(x, "__dlpack__"):
        return False
    return hasattr(x, "__iter__") or (hasattr(x, "__getitem__") and hasattr(x, "__len__"))


def gathered(data: Any, name: str) -> Any:
    """Return the batches of a generator, or of another source of them, as one array or frame; other data as they are.

    Of a batch that is a tuple, as for ``fit``, the first item counts.

    Parameters
    ----------
    data : array-like, or iterable of array-likes or frames
    name : str
        What messages call the data.

    Raises
    ------
    ValueError, TypeError
        When there is no batch, or when batches do not fit together.
    """
    if not gives_batches(data):
        return data
    source = (data[k] for k in range(len(data))) if not hasattr(data, "__iter__") else data
    batches = [batch[0] if isinstance(batch, tuple) else batch for batch in source]
    if not batches:
        raise ValueError(f"{name} must give at least one batch, but the {type(data).__name__} gives none")
    if is_frame(batches[0]):
        return _one_frame(batches, name)
    arrays = [as_array(batch, f"batch {k} of {name}") for k, batch in enumerate(batches)]
    for k, array in enumerate(arrays):
        if array.ndim == 0 or array.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                f"{name} must give batches of rows of one shape, got {arrays[0].shape} and as batch {k} {array.shape}"
            )
    kinds = {array.dtype.kind in "US" for array in arrays}
    return np.concatenate([array.astype(object) for array in arrays] if len(kinds) > 1 else arrays)


def _one_frame(batches: list[Any], name: str) -> Any:
    """Return the rows of frames of one kind as one frame."""
    kinds = sorted({type(batch).__module__.partition(".")[0] for batch in batches})
    module, names = sys.modules.get(kinds[0]), column_names(batches[0])
    join = getattr(module, "concat", None) or getattr(module, "concat_tables", None)
    if len(kinds) > 1 or join is None:
        raise TypeError(f"{name} must give frames of pandas, polars or Arrow, and of one of them, got {kinds}")
    for k, batch in enumerate(batches):
        if column_names(batch) != names:
            raise ValueError(
                f"{name} must give frames with the same columns, got {listed(names)} and as batch {k} "
                f"{listed(column_names(batch))}"
            )
    return join([native(batch) for batch in batches])


class Batching(NamedTuple):
    """What a call was told of its batches.

    Attributes
    ----------
    rows : int or None
        Rows of a batch.
    steps : int or None
        How many batches.
    """

    rows: int | None = None
    steps: int | None = None

    def rows_of_a_batch(self, samples: int) -> int:
        """Return `rows`; without them as many as let `steps` batches hold all samples, as in Keras; without both 32."""
        return self.rows or (32 if self.steps is None else max(1, -(-samples // self.steps)))


def steps_of(rows: int, batch: int, drop_remainder: bool) -> int:
    """Return the number of batches of so many rows; the last one may be left out where it is not full, nor the only."""
    return max(1, rows // batch) if drop_remainder else -(-rows // batch)


@dataclass(slots=True, eq=False)
class Samples:
    """Rows as the engine reads them; nothing is changed in them once they are made.

    Attributes
    ----------
    x : ndarray, Deferred or other rows, shape (rows, features)
    y : ndarray, or tuple of ndarray, or None
        The targets; None for a prediction.
    weights : ndarray or None
        The rows' weights; None where all are 1.
    """

    x: Any
    y: Any = None
    weights: Array | None = None

    def __len__(self) -> int:
        return len(self.x)

    def part(self, rows: slice) -> Samples:
        """Return some of the rows, as views."""
        return Samples(self.x[rows], _taken(self.y, rows), None if self.weights is None else self.weights[rows])

    def read(self, rows: slice | Order) -> Samples:
        """Return some of the rows of a deferred x, converted."""
        return Samples(self.x.read(rows), _taken(self.y, rows), None if self.weights is None else self.weights[rows])


def _taken(y: Any, rows: slice | Order) -> Any:
    return tuple(part[rows] for part in y) if isinstance(y, tuple) else None if y is None else y[rows]


class Chunk(NamedTuple):
    """The rows of one call into the engine: `steps` batches of `batch` rows, the last perhaps shorter.

    `order` says which of the samples' rows are taken, and in which order; None takes all rows as they lie. `mixup` is
    the alpha with which each batch is mixed with itself, or 0.
    """

    samples: Samples
    order: Order | None
    batch: int
    steps: int
    rows: int
    mixup: float = 0.0


class ArrayFeed:
    """Batches of rows in memory, or in a file that is mapped into memory.

    Parameters
    ----------
    samples : Samples
    batch : int
        The number of rows of a step.
    order : callable, optional
        Returns the order of rows for the next pass over the data; without it rows are taken as they lie.
    drop_remainder : bool
        Whether the last batch of a pass is left out where it is not full.
    """

    def __init__(
        self,
        samples: Samples,
        batch: int,
        order: Callable[[], Order] | None = None,
        drop_remainder: bool = False,
    ) -> None:
        self.samples, self.batch, self._next_order = samples, batch, order
        self.shuffled, self.drop_remainder = order is not None, drop_remainder
        self.mixup = 0.0  # of the batches of a training
        self.rows = len(samples.x)
        self.steps = steps_of(self.rows, batch, drop_remainder)
        self.passes = 0  # passes over the data that have reached their end
        self._at = 0  # the number of the next step within this pass
        self._order: Order | None = None
        self._resumed = False
        x = samples.x  # whose rows, where they are still to be converted, are read in pieces
        self._most = max(1, PIECE // (batch * x.row_bytes)) if isinstance(x, Deferred) else self.steps

    def epoch(self, steps: int | None = None, most: int | None = None) -> Iterator[Chunk]:
        """Yield the next `steps` batches (default: one pass from the first to the last), in chunks of at most `most`.

        As in Keras, an epoch of `steps` batches that ended before the end of the data is followed by one that goes on
        from there, and the end of the data ends an epoch.
        """
        begins = not self._resumed and (steps is None or self._at == 0)
        self._at = 0 if begins else self._at
        if begins or self._resumed:
            self._order = self._next_order() if self._next_order else None
        self._resumed = False
        wanted = self.steps - self._at if steps is None else steps
        most = self._most if most is None else min(most, self._most)
        while wanted and self._at < self.steps:
            count = wanted if steps is None and wanted <= most else min(wanted, most, self.steps - self._at)
            chunk = self._chunk(count)
            self._at += count
            wanted -= count
            yield chunk
        if self._at == self.steps:
            self._at, self.passes = 0, self.passes + 1
        if wanted:
            warn_of_end(wanted)

    def rewind(self) -> None:
        """Let the next epoch begin with the first batch, wherever the last epoch ended."""
        self._at, self._resumed = 0, False

    def position(self) -> dict[str, int]:
        """Return where the next batch comes from, as :meth:`resume` takes it."""
        return {"at": self._at}

    def resume(self, position: dict[str, int]) -> None:
        """Let the next epoch go on from that position; `order` must return the order of the interrupted pass again."""
        self._at, self._resumed = position["at"], True

    def _chunk(self, steps: int) -> Chunk:
        samples, order = self.samples, self._order
        start, rows = self._at * self.batch, self.rows
        end = start + steps * self.batch
        end = rows if end > rows else end
        if order is not None and end - start < rows:
            order = order[start:end]
        if isinstance(samples.x, Deferred):
            samples, order = samples.read(slice(start, end) if order is None else order), None
        elif order is None and end - start < rows:
            samples = samples.part(slice(start, end))
        return Chunk(samples, order, self.batch, steps, end - start, self.mixup)


class BatchFeed:
    """Batches of an iterable: a generator, a loader, or an object with ``__len__`` and ``__getitem__``.

    Parameters
    ----------
    source : iterable
        It gives x, (x, y) or (x, y, sample_weight). Its ``on_epoch_begin`` and ``on_epoch_end`` are called where it has
        them.
    convert : callable
        Returns the Samples of a batch, called with the batch and what messages call it.
    order : callable, optional
        Returns an order of batches, called with their number, for a source that has ``__getitem__``.

    Raises
    ------
    ValueError
        When the source gives no batch, or when its first batch cannot be used.
    """

    def __init__(
        self, source: Any, convert: Callable[[Any, str], Samples], order: Callable[[int], Order] | None = None
    ) -> None:
        self._source, self._convert, self._next_order = source, convert, order
        self.shuffled = order is not None
        self.mixup = 0.0  # of the batches of a training
        self._indexed = hasattr(source, "__getitem__")
        self.steps = self._count()
        self.passes = 0
        # batches drawn in this pass, batches drawn in all, and epochs that have ended
        self._taken = self._drawn = self._epochs = 0
        self._resumed = False
        self._iterator: Iterator[Any] | None = None if self._indexed else iter(source)
        first = source[0] if self._indexed and self.steps != 0 else next(self._iterator or iter(()), None)
        if first is None:
            raise ValueError(f"x must give at least one batch, but the {type(source).__name__} gives none")
        self.first = convert(first, "the first batch")
        self._held: list[Samples] = [] if self._indexed else [self.first]
        # False for a generator, which cannot start again
        self._goes_back = self._indexed or self._iterator is not source

    def _count(self) -> int | None:
        """Return the number of batches; None where it is not known."""
        if hasattr(self._source, "num_batches"):
            count = self._source.num_batches
        else:
            try:
                count = len(self._source)
            except TypeError:  # a generator, or a loader that does not know its length
                return None
        return None if count is None else int(count)

    def _batches(self, start: int = 0) -> Iterator[Any]:
        """Return an iterator over one pass, from batch number `start` on."""
        if not self._indexed:
            return itertools.islice(self._source, start, None) if start else iter(self._source)
        if self.steps is None:
            return (self._source[k] for k in itertools.count(start))
        order = self._next_order(self.steps) if self._next_order else np.arange(self.steps)
        return (self._source[int(k)] for k in order[start:])

    def epoch(self, steps: int | None = None, most: int | None = None) -> Iterator[Chunk]:
        """Yield the next `steps` batches (default: all), one a chunk; passes go on as in :meth:`ArrayFeed.epoch`."""
        self._tell("on_epoch_begin")
        if self._resumed:
            self._go_on()
        elif self._iterator is None or (steps is None and not self._held):
            self._iterator, self._taken = self._batches(), 0
        done = 0
        ended = False
        while done != steps:
            if self._held:
                samples = self._held.pop()
            else:
                batch = next(self._iterator or iter(()), None)
                if batch is None:
                    ended = True
                    break
                samples = self._convert(batch, f"batch {self._taken}")
            self._taken += 1
            self._drawn += 1
            done += 1
            yield Chunk(samples, None, len(samples), 1, len(samples), self.mixup)
        empty = ended and not self._taken
        if ended or self._taken == self.steps:
            self._iterator, self._taken, self.passes = None, 0, self.passes + 1
        self._epochs += 1
        self._tell("on_epoch_end")
        if empty or (ended and steps is not None):
            warn_of_end(None if steps is None else steps - done)

    def rewind(self) -> None:
        """Let the next epoch begin with the first batch, wherever the last epoch ended; a generator only goes on."""
        if self._goes_back and (self._taken or self._resumed):
            self._iterator, self._held, self._taken, self._resumed = None, [], 0, False

    def position(self) -> dict[str, int]:
        """Return where the next batch comes from, as :meth:`resume` takes it."""
        return {"taken": self._taken, "drawn": self._drawn, "epochs": self._epochs}

    def resume(self, position: dict[str, int]) -> None:
        """Let the next epoch of a new source go on from that position.

        The source is told of the epochs that have ended. A generator is read from its start to the next batch, any
        other source from the start of the pass.
        """
        self._taken, self._drawn, self._epochs = position["taken"], position["drawn"], position["epochs"]
        for _ in range(self._epochs):
            self._tell("on_epoch_begin")
            self._tell("on_epoch_end")
        self._resumed = True

    def _go_on(self) -> None:
        self._resumed = False
        if self._goes_back:
            self._held, self._iterator = [], self._batches(self._taken)
        elif self._drawn:
            self._held = []  # held was the source's first batch
            self._iterator = itertools.islice(self._source, self._drawn - 1, None)

    def _tell(self, hook: str) -> None:
        function = getattr(self._source, hook, None)
        if function is not None:
            function()


def warn_of_end(missing: int | None) -> None:
    """Warn that an epoch is shorter than asked for, because the data ended."""
    short = "" if missing is None else f", {missing} steps before the end of the epoch"
    warn(f"the data ran out{short}: give a source that yields steps_per_epoch * epochs batches, or fewer steps")
