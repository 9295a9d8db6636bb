"""Checks of arguments that several calls share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastnn._settings import count


def optional_count(name: str, value: Any) -> int | None:
    """As :func:`fastnn._settings.count`, from 1 on; None stays None."""
    return None if value is None else count(name, value, 1)


def no_arguments_of_arrays(x: Any, **given: Any) -> None:
    """Raise where arguments are given that go with arrays, while x gives whole batches."""
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name} must not be given where x gives batches, as a {type(x).__name__} does")


def validation_due(frequency: Any) -> Callable[[int], bool]:
    """Whether an epoch (counted from 0) is followed by a validation."""
    if isinstance(frequency, (list, tuple, set, frozenset, range)):
        return lambda epoch: epoch + 1 in frequency
    every = count("validation_freq", frequency, 1)
    return lambda epoch: (epoch + 1) % every == 0


def verbosity(verbose: Any) -> int:
    """What is printed: nothing (0), a bar (1) or a line an epoch (2); ``"auto"`` is a bar."""
    if verbose == "auto":
        return 1
    if verbose not in (0, 1, 2):
        raise ValueError(f"verbose must be 'auto', 0, 1 or 2, got {verbose!r}")
    return int(verbose)
