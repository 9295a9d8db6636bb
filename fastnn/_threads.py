"""How OpenMP's threads wait, and the number of threads that are allowed for a while."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _bounded_waiting() -> Iterator[None]:
    """Let GNU OpenMP, if it gets loaded in here, spin for about 0.1 ms before its threads sleep, instead of several ms.

    GNU OpenMP reads its settings when it is loaded. A thread that spins for long beside busy processes uses up its
    share of the core, and the next call waits for another share. Settings of the user are left as they are.
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
    """Allow the engine at most `n` threads within a ``with`` block, in the whole process; then as many as before.

    Where several blocks are open, one within another or in several Python threads, the one opened last counts until it
    ends; after all of them the number is the one before the first. In a forked child no block is open.

    Parameters
    ----------
    n : int
        The number of threads, from 1 to 256.

    Raises
    ------
    ValueError
        When n is no number of threads.

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
