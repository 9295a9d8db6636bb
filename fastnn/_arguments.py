"""Checks of arguments that several calls share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def count_argument(name: str, value: Any, low: int) -> int:
    """`value` as an integer of at least `low`, or an error that names the argument."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")
    return int(value)


def optional_count(name: str, value: Any) -> int | None:
    """As :func:`count_argument`, from 1 on; None stays None."""
    return None if value is None else count_argument(name, value, 1)


def no_arguments_of_arrays(x: Any, **given: Any) -> None:
    """Raise where arguments are given that go with arrays, while x gives whole batches."""
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name} must not be given where x gives batches, as a {type(x).__name__} does")


def validation_due(frequency: Any) -> Callable[[int], bool]:
    """Whether an epoch (counted from 0) is followed by a validation."""
    if isinstance(frequency, (list, tuple, set, frozenset, range)):
        return lambda epoch: epoch + 1 in frequency
    every = count_argument("validation_freq", frequency, 1)
    return lambda epoch: (epoch + 1) % every == 0
