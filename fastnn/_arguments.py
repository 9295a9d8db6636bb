"""Checks of arguments that several calls share."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import numpy as np

from fastnn._settings import count


def optional_count(name: str, value: Any) -> int | None:
    """Return a count as :func:`fastnn._settings.count` checks it, from 1 on; None stays None."""
    return None if value is None else count(name, value, 1)


def counts_of_each(name: str, value: Any, members: int, low: int) -> list[int]:
    """Return a count for each member of an ensemble, from `low` on: one number stands for all, a sequence has each."""
    if not isinstance(value, (list, tuple, np.ndarray)):
        return [count(name, value, low)] * members
    if len(value) != members:
        raise ValueError(f"{name} must be one number or a number for each of the {members} members, got {len(value)}")
    return [count(f"{name}[{k}]", one, low) for k, one in enumerate(value)]


def no_arguments_of_arrays(x: Any, **given: Any) -> None:
    """Raise where arguments that go with arrays are given, while x gives whole batches."""
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name} must not be given where x gives batches, as a {type(x).__name__} does")


def validation_due(frequency: Any) -> Callable[[int], bool]:
    """Return a function that says whether a validation follows an epoch, counted from 0."""
    if isinstance(frequency, (list, tuple, set, frozenset, range)):
        return partial(_is_listed, frequency)
    return partial(_is_due, count("validation_freq", frequency, 1))


def _is_listed(epochs: Collection[int], epoch: int) -> bool:
    return epoch + 1 in epochs


def _is_due(every: int, epoch: int) -> bool:
    return (epoch + 1) % every == 0


def verbosity(verbose: Any) -> int:
    """Return what is printed: nothing (0), a bar (1) or a line an epoch (2); ``"auto"`` means a bar."""
    if verbose == "auto":
        return 1
    if verbose not in (0, 1, 2):
        raise ValueError(f"verbose must be 'auto', 0, 1 or 2, got {verbose!r}")
    return int(verbose)
