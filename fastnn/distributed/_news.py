"""What ranks hear of each other's end, whatever they wait for: an error, or that one has left the program."""

from __future__ import annotations

import atexit
import sys
import time
from functools import cache
from typing import Any

_FAILED, _LEFT, _ENDS = 30_011, 30_012, 30_013  # tags of messages among all ranks of the program
PATIENCE = 5.0  # seconds for which a rank waits on after another has left: what that one sent last may be on its way
FAREWELL = 10.0  # seconds that a rank whose program ends by an error waits for the others to end as well


class News:
    """The end of any rank of the program, told to all others.

    Attributes
    ----------
    broken : bool
        Whether a rank has failed, here or elsewhere, while others count on it. Requests may be left unanswered then,
        and the MPI library would wait for them at its end: the program ends by an abort.
    """

    def __init__(self) -> None:
        from mpi4py import MPI

        self._mpi, self._world = MPI, MPI.COMM_WORLD
        self.rank, self.size, self.broken = self._world.Get_rank(), self._world.Get_size(), False
        self._uncaught = False  # whether an error ends this program, while nobody may count on it any more
        self._outgoing: list[Any] = []  # what must stay in memory until it is sent
        self._left: dict[int, float] = {}  # when this rank has heard that another has left
        atexit.register(self._leave)  # called before the end of the MPI library, which waits for all ranks
        outer = sys.excepthook

        def uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
            outer(kind, error, trace)
            self._uncaught = True
            self._tell(_FAILED, sentence_of(error))

        sys.excepthook = uncaught

    def fail(self, sentence: str) -> None:
        """Tell all ranks that this one has failed while they count on it."""
        if not self.broken:
            self._tell(_FAILED, sentence)
            self.broken = True

    def listen(self) -> None:
        """Raise RuntimeError where a rank has failed, or has left the program some seconds ago."""
        failed = self._heard(_FAILED)
        if failed is not None:
            self.broken = True
            raise RuntimeError(f"rank {failed[0]} failed: {failed[1]}")
        left = self._heard(_LEFT)
        if left is not None:
            self._left[left[0]] = time.monotonic()
        for rank, when in self._left.items():
            if time.monotonic() - when > PATIENCE:
                self.broken = True
                raise RuntimeError(f"rank {rank} has left the program, and this rank waits for it")

    def _tell(self, tag: int, text: str = "") -> None:
        held = bytearray(text.encode()[:4000])
        others = [rank for rank in range(self.size) if rank != self.rank]
        self._outgoing += [(held, self._world.Isend([held, self._mpi.BYTE], rank, tag)) for rank in others]

    def _heard(self, tag: int) -> tuple[int, str] | None:
        """Return who has sent a message with this tag, and its text; None where none has come."""
        status = self._mpi.Status()
        if not self._world.Iprobe(self._mpi.ANY_SOURCE, tag, status):
            return None
        text = bytearray(status.Get_count(self._mpi.BYTE))
        self._world.Recv([text, self._mpi.BYTE], status.Get_source(), tag)
        return status.Get_source(), text.decode(errors="replace")

    def _leave(self) -> None:
        """Say that this rank leaves; after a failure end all ranks, once they have come to their end, or will not."""
        self._tell(_ENDS if self.broken or self._uncaught else _LEFT)
        if not self.broken:
            return
        left, until = self.size - 1, time.monotonic() + FAREWELL
        while left and time.monotonic() < until:
            if self._heard(_ENDS) is None:
                time.sleep(0.001)
            else:
                left -= 1
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        self._world.Abort(1)


@cache
def news() -> News:
    """Return what tells of the end of ranks, from the first call on."""
    return News()


def sentence_of(error: BaseException) -> str:
    """Return an error as other ranks read of it, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
