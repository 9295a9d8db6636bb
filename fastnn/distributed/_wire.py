"""What ranks send each other, through mpi4py; every wait hears of a rank that has failed, so that none is endless."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn.distributed._news import news

Array = npt.NDArray[Any]
Message = tuple[int, Array]  # the other rank, and contiguous elements that are sent to it or come from it

PIECE = 2**25  # bytes of a message: MPI counts elements in 31 bits, and a piece is summed while the next one comes
LISTEN = 32  # looks at the requests between two looks for news of a failed rank

_give_way: Callable[[], Any] = getattr(os, "sched_yield", lambda: time.sleep(0))  # several ranks may share a core


class Wire:
    """The rank of a process without others.

    Attributes
    ----------
    rank, size : int
    """

    rank, size = 0, 1

    @property
    def broken(self) -> bool:
        """Whether a rank has failed: nothing is sent any more."""
        return False

    def numbers(self, values: Array) -> Array:
        """Return the arrays of all ranks, of one shape and dtype, one after the other along a new first axis."""
        return values[None].copy()

    def texts(self, text: bytes) -> list[bytes]:
        """Return the bytes of each rank."""
        return [text]

    def broadcast(self, array: Array) -> None:
        """Fill a contiguous array with that of rank 0."""

    def deliver(self, sent: Iterable[Message], received: Iterable[Message]) -> None:
        """Send arrays, fill those that come from other ranks, and wait for both; order counts between two ranks."""

    def sum(self, array: Array) -> None:
        """Make a contiguous array the sum of those of all ranks, in the order that the MPI library likes."""

    def gather(self, array: Array, ranges: Sequence[tuple[int, int]]) -> None:
        """Fill a contiguous array (n,): elements ``ranges[r]`` with those of rank r."""
        for k in range(0, max(end - start for start, end in ranges), PIECE // array.itemsize):
            cut = [array[start + k : min(end, start + k + PIECE // array.itemsize)] for start, end in ranges]
            others = [rank for rank in range(self.size) if rank != self.rank]
            sent = [(rank, cut[self.rank]) for rank in others if len(cut[self.rank])]
            self.deliver(sent, [(rank, cut[rank]) for rank in others if len(cut[rank])])

    def fail(self, sentence: str) -> None:
        """Tell all ranks that this one has failed."""

    def close(self) -> None:
        """Give back what the wire holds of the MPI library."""


class MPIWire(Wire):
    """The ranks of a communicator of mpi4py.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
    """

    def __init__(self, comm: Any) -> None:
        from mpi4py import MPI

        self._mpi, self._news = MPI, news()
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self._check()
        self._data, request = comm.Idup()
        self._wait([request])

    @property
    def broken(self) -> bool:
        """Whether a rank has failed: nothing is sent any more."""
        return self._news.broken

    def _wait(self, requests: list[Any]) -> None:
        """Wait for requests; raise RuntimeError where a rank has failed, or cannot be reached."""
        looks = 0
        try:
            while not self._mpi.Request.Testall(requests):
                looks += 1
                if looks % LISTEN == 0:
                    self._news.listen()
                _give_way()
        except self._mpi.Exception as error:
            self.fail(f"it cannot reach another rank: {error}")
            raise RuntimeError(f"rank {self.rank} cannot reach another rank: {error}") from None

    def _check(self) -> None:
        if self.broken:
            raise RuntimeError("the ranks are no longer in step, as one of them has failed: start the program again")

    def numbers(self, values: Array) -> Array:
        """Return the arrays of all ranks, of one shape and dtype, one after the other along a new first axis."""
        self._check()
        every = np.empty((self.size, *values.shape), values.dtype)
        sent = np.ascontiguousarray(values)
        self._wait([self._data.Iallgather([sent, self._mpi.BYTE], [every, self._mpi.BYTE])])
        return every

    def texts(self, text: bytes) -> list[bytes]:
        """Return the bytes of each rank."""
        lengths = self.numbers(np.array(len(text)))
        every = np.empty(int(lengths.sum()), np.uint8)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        places = [every, lengths.tolist(), starts[:-1].tolist(), self._mpi.BYTE]
        self._wait([self._data.Iallgatherv([np.frombuffer(text, np.uint8), self._mpi.BYTE], places)])
        return [every[start:end].tobytes() for start, end in pairwise(starts)]

    def broadcast(self, array: Array) -> None:
        """Fill a contiguous array with that of rank 0."""
        self._check()
        flat = array.reshape(-1)
        for start in range(0, len(flat), PIECE // array.itemsize):
            self._wait(
                [self._data.Ibcast([flat[start : start + PIECE // array.itemsize].view(np.uint8), self._mpi.BYTE])]
            )

    def deliver(self, sent: Iterable[Message], received: Iterable[Message]) -> None:
        """Send arrays, fill those that come from other ranks, and wait for both; order counts between two ranks."""
        self._check()
        byte = self._mpi.BYTE
        requests = [self._data.Irecv([array.view(np.uint8), byte], rank) for rank, array in received]
        requests += [self._data.Isend([array.view(np.uint8), byte], rank) for rank, array in sent]
        self._wait(requests)

    def sum(self, array: Array) -> None:
        """Make a contiguous array the sum of those of all ranks, in the order that the MPI library likes."""
        self._check()
        for start in range(0, len(array), PIECE // array.itemsize):
            part = array[start : start + PIECE // array.itemsize]
            self._wait([self._data.Iallreduce(self._mpi.IN_PLACE, part)])

    def fail(self, sentence: str) -> None:
        """Tell all ranks that this one has failed."""
        self._news.fail(sentence)

    def close(self) -> None:
        """Give back what the wire holds of the MPI library."""
        if not self.broken:
            self._data.Free()
