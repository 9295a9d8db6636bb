"""The values of logs: numbers, and arrays where a metric gives a value for each class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np


def number_of(value: Any) -> float:
    """Return the number that stands for a log: the log, or its mean over classes, as ``average="macro"`` gives."""
    return float(np.mean(value))


def plain(value: Any) -> Any:
    """Return the value as JSON has it: arrays become lists."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def scalars(logs: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the logs as single numbers: ``f1_score_0``, ``f1_score_1`` and so on, where there is one for each class."""
    for key, value in logs.items():
        numbers = np.ravel(value)
        for k, number in enumerate(numbers):
            yield (key if len(numbers) == 1 else f"{key}_{k}"), float(number)


def better(value: float, than: float | None, sign: int, min_delta: float = 0.0) -> bool:
    """Return whether a value is better than another by more than `min_delta`: higher (`sign` 1), or lower (-1).

    Any number is better than None or NaN; NaN is not better than anything.
    """
    if np.isnan(value):
        return False
    return than is None or bool(np.isnan(than)) or sign * value - min_delta > sign * than
