"""Numbers and flags of a description, checked when they are set; those that may change at any time as attributes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def number(
    name: str, value: Any, low: float, high: float = math.inf, *, open_low: bool = False, open_high: bool = False
) -> float:
    """`value` as a finite float from `low` to `high`, but not an end that is open, or an error that says so."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    outside = not low <= value <= high or not math.isfinite(value)
    if outside or (open_low and value == low) or (open_high and value == high):
        raise ValueError(f"{name} must be {_range(low, high, open_low, open_high)}, got {value}")
    return float(value)


def _range(low: float, high: float, open_low: bool, open_high: bool) -> str:
    """A range in words."""
    above = "" if math.isinf(low) else f"{'greater than' if open_low else 'at least'} {low:g}"
    below = "" if math.isinf(high) else f"{'below' if open_high else 'at most'} {high:g}"
    if above and below and not open_low:
        return f"from {low:g} to {'below ' if open_high else ''}{high:g}"
    return " and ".join(filter(None, (above, below))) or "finite"


def flag(name: str, value: Any) -> bool:
    """`value` as a bool, or an error: what is merely true, as the string "False" is, is no answer."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def count(name: str, value: Any, low: int, limit: int = 2**31) -> int:
    """`value` as an integer within [low, limit), or an error that says what is needed."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}")
    if not low <= value < limit:
        raise ValueError(f"{name} must be at least {low}{f' and below {limit}' if value >= limit else ''}, got {value}")
    return int(value)


class _Checked:
    """An attribute that is checked whenever it is set."""

    name: str

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else instance.__dict__[self.name]

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.name] = self._checked(value)

    def _checked(self, value: Any) -> Any:
        raise NotImplementedError


class Flag(_Checked):
    """An attribute that is True or False."""

    def _checked(self, value: Any) -> bool:
        return flag(self.name, value)


class Setting(_Checked):
    """An attribute that holds a number.

    Parameters
    ----------
    low, high : float, default 0 and infinity
        The number lies from `low` to `high`.
    open_low, open_high : bool, default False
        It is not that end itself.
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
        open_high: bool = False,
        optional: bool = False,
        whole: bool = False,
    ) -> None:
        self.low, self.high, self.open_low, self.open_high = low, high, open_low, open_high
        self.optional, self.whole = optional, whole

    def _checked(self, value: Any) -> float | None:
        if value is None and self.optional:
            return None
        if self.whole:
            return count(self.name, value, int(self.low), 2**31 if math.isinf(self.high) else int(self.high) + 1)
        return number(self.name, value, self.low, self.high, open_low=self.open_low, open_high=self.open_high)
