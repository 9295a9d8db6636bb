"""The sums over the ranks in the middle of a step: in one fixed order, or in that of the MPI library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._engine import add, share_of, tree_nodes
from fastnn.distributed._bfloat16 import Rounding
from fastnn.distributed._wire import PIECE, Wire

Array = npt.NDArray[Any]
Node = tuple[int, int]  # the first of its shards, and the first that is not one of its

SMALL = 2**16  # bytes of a rank's parts below which every rank gets all of them: one message in the place of two


class Exchange:
    """What the engine calls in the middle of a step, with sums over fixed shards of rows in one fixed tree.

    The rows of a batch are cut in `shards` shards; a node of the tree is the sum over the shards a ... b - 1, and is
    that of [a, m) plus that of [m, b), with m = (a + b) // 2. A rank has the largest nodes within its own shards. So
    the order of all additions is the same however many ranks there are.

    Parameters
    ----------
    wire : Wire
    shards : int
        A multiple of the number of ranks.
    sharded : bool
    shares : bool
        Whether each rank updates its share of the parameters.
    moments : {"batch", "shard"}
    """

    def __init__(self, wire: Wire, shards: int, sharded: bool, shares: bool, moments: str) -> None:
        self._wire = wire
        self.shards, self.count = shards, shards // wire.size
        self.first = wire.rank * self.count
        self.sharded, self.moments = sharded, moments
        self.shares = (wire.rank, wire.size) if shares else None
        self._nodes: list[list[Node]] = [tree_nodes(shards, r * self.count, self.count) for r in range(wire.size)]
        self._most = max(map(len, self._nodes))
        self._room = np.empty(0, np.uint8)

    def total(self, parts: Array) -> None:
        """Make ``parts[0]``, shape (n,), the sum over the nodes of all ranks, of which `parts` has this rank's."""
        if self._wire.size == 1:
            return  # its one node is the root of the tree
        if parts.shape[1] * parts.itemsize <= SMALL:
            self._total_of_few(parts)
        else:
            self.share_total(parts)
            self.gather(parts[0])

    def _total_of_few(self, parts: Array) -> None:
        sent = np.zeros((self._most, parts.shape[1]), parts.dtype)
        sent[: len(parts)] = parts
        every = self._wire.numbers(sent)
        self._summed(
            {node: rows[k] for nodes, rows in zip(self._nodes, every, strict=True) for k, node in enumerate(nodes)},
            parts[0],
        )

    def share_total(self, parts: Array) -> None:
        """Do what :meth:`total` does, for the elements that this rank updates."""
        own = self._nodes[self._wire.rank]
        for piece, rows in self._delivered(list(parts[: len(own)]), self._ranges(parts)):
            found = {self._nodes[rank][number]: row for (rank, number), row in rows.items()}
            found |= {node: parts[number, piece] for number, node in enumerate(own)}
            self._summed(found, parts[0, piece])

    def _delivered(
        self, nodes: list[Array], ranges: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[slice, dict[tuple[int, int], Array]]]:
        """Send every rank its share of this rank's nodes, each of shape (n,), a piece at a time.

        Yields where a piece of this rank's own share lies, and that piece of the other ranks' nodes, by rank and number
        of the node.
        """
        wire, dtype = self._wire, nodes[0].dtype
        start, end = ranges[wire.rank]
        step = PIECE // dtype.itemsize
        for k in range(0, max(one[1] - one[0] for one in ranges), step):
            low, high = min(start + k, end), min(start + k + step, end)
            rows = self._rows(high - low, dtype)
            sent = [
                (rank, node[min(first + k, last) : min(first + k + step, last)])
                for rank, (first, last) in enumerate(ranges)
                for node in nodes
                if rank != wire.rank and first + k < last
            ]
            wire.deliver(sent, [(rank, row) for (rank, _), row in rows.items() if len(row)])
            yield slice(low, high), rows

    def _ranges(self, parts: Array) -> list[tuple[int, int]]:
        size = self._wire.size
        return [share_of(parts.shape[-1], rank, size, parts.itemsize) for rank in range(size)]

    def _rows(self, length: int, dtype: Any) -> dict[tuple[int, int], Array]:
        """Return room for the nodes of the other ranks, by rank and number of the node."""
        others = [(r, k) for r, nodes in enumerate(self._nodes) if r != self._wire.rank for k in range(len(nodes))]
        wanted = len(others) * length * dtype.itemsize
        if self._room.nbytes < wanted:
            self._room = np.empty(wanted, np.uint8)
        room = self._room[:wanted].view(dtype)
        return {other: room[k * length : (k + 1) * length] for k, other in enumerate(others)}

    def _summed(self, found: dict[Node, Array], out: Array) -> None:
        """Fill `out` with the sum of the nodes, two or more, in the order of the tree; the nodes may be overwritten."""

        def node(low: int, high: int, into: Array | None) -> Array:
            if (low, high) in found:
                return found[low, high]
            middle = (low + high) // 2
            left, right = node(low, middle, None), node(middle, high, None)
            into = left if into is None else into
            add(left, right, into)
            return into

        node(0, self.shards, out)

    def gather(self, array: Array) -> None:
        """Give every rank the share that each rank has of an array of the parameters' layout."""
        self._wire.gather(array, self._ranges(array))


class FastExchange(Exchange):
    """The same with the MPI library's own sums, and a shard for each rank: the order of the sums is the library's.

    Parameters
    ----------
    wire : Wire
    sharded : bool
    shares : bool
    moments : {"batch", "shard"}
    rounds : bool
        Whether gradients are sent as bfloat16, in half the bytes; what rounding takes away is added to the next ones.
    """

    def __init__(self, wire: Wire, sharded: bool, shares: bool, moments: str, rounds: bool) -> None:
        super().__init__(wire, wire.size, sharded, shares, moments)
        self._rounding: Rounding | None = Rounding() if rounds else None

    def total(self, parts: Array) -> None:
        """Make ``parts[0]``, shape (n,), the sum over the ranks."""
        if self._wire.size > 1 and self._rounds(parts):
            self._share_of_rounded(parts)
            self._gather_rounded(parts[0])
        else:
            self._wire.sum(parts[0])

    def share_total(self, parts: Array) -> None:
        """Do what :meth:`total` does, for the elements that this rank updates."""
        if self._rounds(parts):
            self._share_of_rounded(parts)
        else:
            super().share_total(parts)

    def _rounds(self, parts: Array) -> bool:
        return self._rounding is not None and parts.dtype == np.float32 and parts.shape[1] * parts.itemsize > SMALL

    def _share_of_rounded(self, parts: Array) -> None:
        """Send this rank's gradients as bfloat16, and sum up the share of this rank."""
        rounding = self._rounding
        assert rounding is not None
        for piece, rows in self._delivered([rounding.rounded("sent", parts[0])], self._ranges(parts)):
            for row in rows.values():
                add(parts[0, piece], rounding.widened(row), parts[0, piece])

    def _gather_rounded(self, array: Array) -> None:
        """Give every rank the rounded sums of all shares, this rank too: all ranks go on with the same numbers."""
        rounding, ranges = self._rounding, self._ranges(array)
        assert rounding is not None
        start, end = ranges[self._wire.rank]
        rounded = np.empty(len(array), np.uint16)
        rounded[start:end] = rounding.rounded("summed", array[start:end])
        self._wire.gather(rounded, ranges)
        array[...] = rounding.widened(rounded)


def shards_of(ranks: int, wanted: int | None) -> int:
    """Return the number of shards: `wanted`, else 8 or the least common multiple of 8 and the ranks.

    Raises
    ------
    ValueError
        When ranks cannot hold equally many of the wanted shards.
    """
    if wanted is None:
        return int(np.lcm(8, ranks))
    if wanted % ranks:
        raise ValueError(
            f"shards must be a multiple of the {ranks} ranks, got {wanted}: give shards={int(np.lcm(wanted, ranks))}"
        )
    return wanted
