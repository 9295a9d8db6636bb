"""The number of threads that the engine may use, and another one for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastnn._engine import close_block, get_num_threads, open_block, set_num_threads

__all__ = ["get_num_threads", "num_threads", "set_num_threads"]


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
