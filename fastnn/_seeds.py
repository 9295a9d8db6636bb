"""The process-wide source of seeds: of initial weights, of orders of rows, of noise."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np


class _Source(NamedTuple):
    """Seeds: the n-th is a function of the entropy and of n. It needs no lock, as counting on is one step to Python."""

    entropy: Any
    numbers: Iterator[int]
    process: int | None  # whose entropy it is; None: every process that inherits it goes on with the same seeds


def _fresh_source() -> _Source:
    return _Source(np.random.SeedSequence().entropy, itertools.count(), os.getpid())


_source = _fresh_source()


def set_random_seed(seed: int) -> None:
    """Start the process-wide source of seeds anew: models built after it start, and shuffle, the same way every time.

    Without it every process draws seeds of its own, a forked one too. With it a process that is forked afterwards goes
    on from where its parent was: so do all children of one parent, whose models are then alike.

    Parameters
    ----------
    seed : int
        Not negative.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.utils.set_random_seed(42)
    """
    global _source
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed must be a non-negative integer, got {seed!r}")
    _source = _Source(int(seed), itertools.count(), None)


def next_seed() -> int:
    """The next 62-bit seed of the process-wide source."""
    global _source
    if _source.process not in (None, os.getpid()):  # forked: not the parent's seeds once more
        _source = _fresh_source()
    source = _source
    child = np.random.SeedSequence(source.entropy, spawn_key=(next(source.numbers),))
    return int(child.generate_state(1, np.uint64)[0] >> np.uint64(2))
