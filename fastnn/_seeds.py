"""The process-wide source of seeds for initial weights, orders of rows and noise."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np


class _Source(NamedTuple):
    """Seeds, the n-th a function of the entropy and n; no lock is needed, as Python takes the next n in one step."""

    entropy: Any
    numbers: Iterator[int]
    # the process that the entropy is for; None: any process that inherits it goes on with the same seeds
    process: int | None


def _fresh_source() -> _Source:
    return _Source(np.random.SeedSequence().entropy, itertools.count(), os.getpid())


_source = _fresh_source()
_of_block: ContextVar[_Source | None] = ContextVar("seeds of a block", default=None)


def set_random_seed(seed: int) -> None:
    """Start the process-wide source of seeds anew: models built later start, and shuffle, in the same way every time.

    Without this call every process draws its own seeds, a forked one too. After it, a process that is forked goes on
    from where its parent was: so do all children of one parent, whose models are then alike.

    Parameters
    ----------
    seed : int
        A whole number, not negative.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.utils.set_random_seed(42)
    """
    global _source
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed must be a non-negative integer, got {seed!r}")
    _source = _Source(int(seed), itertools.count(), None)


def set_seed() -> int | None:
    """Return what :func:`set_random_seed` was called with last; None where this process draws its own seeds."""
    return _source.entropy if _source.process is None else None


@contextmanager
def seeds_from(seed: int) -> Iterator[None]:
    """Take the seeds of what is made within a ``with`` block from a source of its own, in this thread alone."""
    token = _of_block.set(_Source(seed, itertools.count(), None))
    try:
        yield
    finally:
        _of_block.reset(token)


def _current() -> _Source:
    """Return the source of the block of :func:`seeds_from` that is open here, or of the process."""
    global _source
    if _source.process not in (None, os.getpid()):  # in a forked process, which must not draw its parent's seeds again
        _source = _fresh_source()
    return _of_block.get() or _source


def next_seed() -> int:
    """Return the next 62-bit seed: of the block of :func:`seeds_from` that is open here, or of the process."""
    source = _current()
    return _seed(source.entropy, next(source.numbers))


@functools.lru_cache(maxsize=1024)
def _seed(entropy: Any, number: int) -> int:
    """Return the seed with this number; estimators, which draw weights of their own, always ask for those of 0."""
    child = np.random.SeedSequence(entropy, spawn_key=(number,))
    return int(child.generate_state(1, np.uint64)[0] >> np.uint64(2))


def skip_seed() -> None:
    """Leave the next seed out, so that later ones are what they would be."""
    next(_current().numbers)
