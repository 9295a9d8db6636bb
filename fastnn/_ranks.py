"""Who trains beside this process: nobody, or the other ranks of a data-parallel training.

The loops and the callbacks ask ``current()`` and never which of the two it is. `fastnn.distributed` has the other
answers; it enters them here, so that nothing imports it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from fastnn import goals
    from fastnn._model import Model
    from fastnn.callbacks import Callback
    from fastnn.data.feeds import Chunk

    Array = npt.NDArray[Any]
    Sums = npt.NDArray[np.float64]


_NOTHING = nullcontext()


class Exchange(Protocol):
    """How the engine reaches the other ranks in the middle of a step.

    Attributes
    ----------
    shards, first, count : int
        In how many shards the rows of a batch are cut, and those that this rank holds: `count` from `first` on.
    sharded : bool
        Whether x has the rows of this rank alone.
    shares : tuple (rank, ranks) or None
        Whose share of the parameters this rank updates; None: it updates all.
    moments : {"batch", "shard"}
        Of which rows batch normalization takes its moments.
    """

    shards: int
    first: int
    count: int
    sharded: bool
    shares: tuple[int, int] | None
    moments: str

    def total(self, parts: Array) -> None:
        """Make ``parts[0]``, shape (n,), the sum over the nodes of all ranks, of which `parts` has this rank's."""

    def share_total(self, parts: Array) -> None:
        """Do what :meth:`total` does, for the elements that this rank updates."""

    def gather(self, array: Array) -> None:
        """Give every rank the share that each rank has of an array of the parameters' layout."""


class Ranks:
    """One process alone: what loops and callbacks ask of the ranks of a training, answered for one.

    Attributes
    ----------
    rank, size : int
    exchange : Exchange or None
        What the engine is given; None: it trains as ever.
    sharded : bool
        Whether each rank was given rows of its own.
    shares_rows : bool
        Whether each rank was given all rows, of which each evaluates some.
    shards : range
        The shards of this rank, of a batch or of the batches of an evaluation.
    all_shards : int
    """

    rank, size = 0, 1
    exchange: Exchange | None = None
    sharded = shares_rows = False
    shards, all_shards = range(1), 1

    def __reduce__(self) -> str:
        """Let ALONE be one object in every process; pickle refuses a group, which is not that object."""
        return "ALONE"

    # ---- calls ----

    def call(self, kind: str) -> AbstractContextManager[None]:
        """Return the context of a call of all ranks, of which an error on one rank ends those of the others."""
        return _NOTHING

    def agree(self, model: Model, facts: dict[str, Any], callbacks: Sequence[Callback] = ()) -> None:
        """Raise on all ranks where these were given something else; give each the state that rank 0's model has."""

    def refuse(self, call: str) -> None:
        """Raise where ranks train together, and this call would be of one of them alone."""

    def check_start(self, epoch: int, step: int) -> None:
        """Raise on all ranks where these would not begin with the same epoch and step, as after a backup."""

    def any(self, flag: bool) -> bool:
        """Return whether a flag is set on any of the ranks."""
        return flag

    # ---- rows and sums ----

    def rows_of_a_batch(self, rows: int) -> int:
        """Return how many of the rows of a batch x of this rank has."""
        return rows

    def batches(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """Yield the batches of an iterable for as long as all ranks have one of as many rows."""
        return chunks

    def merged(self, layout: goals.Layout, sums: Sums, more: Sums) -> Sums:
        """Return the sums over both sets of rows."""
        return layout.merged(sums, more)

    def whole(self, layout: goals.Layout, sums: Sums) -> Sums:
        """Return the sums over the rows of all ranks."""
        return sums

    def united(self, layout: goals.Layout, parts: Sequence[tuple[Sums, int]]) -> tuple[Sums, int]:
        """Return the sums over the rows of all ranks, and their number, of those of each part of this rank's."""
        return parts[0]

    def shown(self, layout: goals.Layout, sums: Sums, rows: int) -> tuple[Sums, int]:
        """Return sums and their number of rows for a bar, which asks no other rank."""
        return sums, rows

    def parts(self, sums: Sums) -> Sums:
        """Return the sums of the shards of all ranks, for a file from which any number of ranks can go on."""
        return sums

    def own(self, sums: Sums) -> Sums:
        """Return what this rank has of the result of :meth:`parts`."""
        return sums

    def rows(self, rows: int) -> int:
        """Return the rows of all ranks, of which this one has `rows`."""
        return rows

    def earliest(self, step: int) -> int:
        """Return the first of a step that each rank says; -1 where no rank has one."""
        return step

    def predicted(self, rows: int) -> slice:
        """Return which of the rows of a prediction are computed here."""
        return slice(0, rows)

    def outputs(self, out: Array) -> None:
        """Fill in the rows of a prediction that other ranks have computed."""

    # ---- callbacks ----

    def alone(self) -> AbstractContextManager[None]:
        """Return the context of a hook, whose calls are those of this process alone."""
        return _NOTHING

    def calls(self, callback: Callback) -> bool:
        """Return whether the hooks of a callback are called on this rank."""
        return True

    def ready_for(self, hook: str) -> None:
        """Bring here what callbacks may read in a hook, and what other ranks hold."""

    def state(self) -> dict[str, Any]:
        """Return what of the ranks the bits of a training depend on."""
        return {}

    def check(self, state: dict[str, Any]) -> None:
        """Raise where a training with this :meth:`state` would go on with other bits."""
        if state:
            raise ValueError(
                f"the backup is that of a training by several ranks: go on within data_parallel("
                f"{', '.join(f'{name}={value!r}' for name, value in state.items())})"
            )


ALONE = Ranks()
_current: ContextVar[Ranks] = ContextVar("ranks of a training", default=ALONE)


current: Callable[[], Ranks] = _current.get  # the ranks that this thread trains with


@contextmanager
def together(ranks: Ranks) -> Iterator[None]:
    """Let calls within a ``with`` block, in this thread, be those of these ranks."""
    token = _current.set(ranks)
    try:
        yield
    finally:
        _current.reset(token)
