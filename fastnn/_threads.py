"""How OpenMP's threads wait, and how many of them there may be for a while."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _bounded_waiting() -> Iterator[None]:
    """Let GNU OpenMP, if it is loaded in here, spin for about 0.1 ms before its threads sleep, instead of several ms.

    It reads its settings when it is loaded. A thread that spins for long under busy neighbours uses up its share of the
    core, and the next call waits until it gets another one. What the user has set stays.
    """
    if any(name in os.environ for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")):
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = "10000"
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]


__all__ = ["get_num_threads", "num_threads", "set_num_threads"]

with _bounded_waiting():
    from fastnn._engine import close_block, get_num_threads, open_block, set_num_threads


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """Allow the engine at most `n` threads within a ``with`` block, for the whole process; then as many as before.

    Where several are open, one in another or in several Python threads, the one that was opened last counts, until it
    ends; after all of them the number is the one before the first. In a forked child none is open.

    Parameters
    ----------
    n : int
        1 to 256.

    Raises
    ------
    ValueError
        When n is something else.

    Examples
    --------
    >>> import fastnn
    >>> with fastnn.num_threads(1):
    ...     fastnn.get_num_threads()
    1
    """
    block = open_block(n)
    try:
        yield
    finally:
        close_block(block)
