"""Numbers of a description that may be changed at any time, checked when they are set."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def number(name: str, value: Any, low: float, high: float, *, open_low: bool = False) -> float:
    """`value` as a float within [low, high), or an error that says what is needed."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    result = float(value)
    if not (math.isfinite(result) and low <= result < high) or (open_low and result == low):
        bound = f"at least {low:g}" if not open_low else f"greater than {low:g}"
        if math.isinf(low):
            bound = "finite"
        raise ValueError(
            f"{name} must be {bound}{f' and below {high:g}' if math.isfinite(high) else ''}, got {value!r}"
        )
    return result


def count(name: str, value: Any, low: int, limit: int = 2**31) -> int:
    """`value` as an integer within [low, limit), or an error that says what is needed."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}")
    if not low <= value < limit:
        raise ValueError(f"{name} must be at least {low}{f' and below {limit}' if value >= limit else ''}, got {value}")
    return int(value)


class Setting:
    """An attribute that holds a number.

    Parameters
    ----------
    low, high : float, default 0 and infinity
        The number lies in [low, high).
    open_low : bool, default False
        It is not `low` either.
    optional : bool, default False
        None is allowed too.
    whole : bool, default False
        It is an integer.
    """

    def __init__(
        self,
        low: float = 0.0,
        high: float = math.inf,
        *,
        open_low: bool = False,
        optional: bool = False,
        whole: bool = False,
    ) -> None:
        self.low, self.high, self.open_low, self.optional, self.whole = low, high, open_low, optional, whole

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else instance.__dict__[self.name]

    def __set__(self, instance: Any, value: Any) -> None:
        if value is None and self.optional:
            checked: Any = None
        elif self.whole:
            checked = count(self.name, value, int(self.low))
        else:
            checked = number(self.name, value, self.low, self.high, open_low=self.open_low)
        instance.__dict__[self.name] = checked
