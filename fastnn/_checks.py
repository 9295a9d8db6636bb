"""Checks of arguments that many descriptions share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def check_number(name: str, value: Any, low: float, high: float = math.inf) -> float:
    """`value` as a float in [low, high), or an error that names the argument."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    if not low <= value < high:
        limit = f"at least {low:g}" if math.isinf(high) else f"from {low:g} to below {high:g}"
        raise ValueError(f"{name} must be {limit}, got {value}")
    return float(value)
