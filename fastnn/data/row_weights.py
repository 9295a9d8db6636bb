"""Weights of rows in a loss, from the user's number for each row or each class, checked and converted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastnn._warnings import warn
from fastnn.data.arrays import Array, as_rows, require_finite
from fastnn.data.frames import real_array


def sample_weights(
    weights: Any, rows: int, dtype: str, *, check_finite: bool, name: str = "sample_weight"
) -> Array | None:
    """Return a weight for each row, as `dtype`; None stays None.

    Parameters
    ----------
    weights : array-like, shape (rows,) or (rows, 1), or None
    rows : int
    dtype : str
    check_finite : bool
    name : str

    Raises
    ------
    TypeError, ValueError
        When the weights cannot be used; the message is one sentence.
    """
    if weights is None:
        return None
    array = real_array(weights, name, "")
    if array.shape == (rows, 1):
        array = array[:, 0]
    if array.shape != (rows,):
        raise ValueError(f"{name} must hold one number a row, shape ({rows},), got {array.shape}")
    converted = as_rows(array[:, None], dtype)
    if check_finite:
        require_finite(converted, name)
    return np.asarray(converted[:, 0])


def class_weights(weights: Any, y: Any, outputs: int, dtype: str) -> Array:
    """Return the weight of each row from the weights of classes; a class that is not named weighs 1, as in Keras.

    Parameters
    ----------
    weights : dict of int to float, or "balanced"
        Classes may be bools or whole floats as well. ``"balanced"`` gives a class the weight rows / (classes * rows of
        the class), counting the classes that y holds, as in scikit-learn.
    y : ndarray
        Converted targets: labels (rows,), one-hot (rows, classes), or (rows, 1) of 0 and 1. Some classes may not occur.
    outputs : int
        The number of columns of the model's output.
    dtype : str

    Raises
    ------
    TypeError, ValueError
        When the weights cannot be used; the message is one sentence.
    """
    if not isinstance(weights, Mapping) and weights != "balanced":
        given = repr(weights) if isinstance(weights, str) else type(weights).__name__
        raise TypeError(f"class_weight must be a dict of class to weight, or 'balanced', got {given}")
    labels = y if y.ndim == 1 else y.argmax(axis=1) if y.shape[1] > 1 else np.rint(y[:, 0])
    if not 0 <= labels.min() <= labels.max() < 2**31:
        raise ValueError(f"class_weight needs classes in y, counted from 0, but y goes from {y.min()} to {y.max()}")
    table = np.ones(max(outputs, int(labels.max()) + 1, 2), dtype)
    if not isinstance(weights, Mapping):
        present, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
        return np.asarray(len(labels) / (len(present) * counts), dtype)[places]
    for label, weight in weights.items():
        if not isinstance(label, (int, float, np.integer, np.floating, np.bool_)) or not float(label).is_integer():
            raise TypeError(f"class_weight must have class numbers as its keys, got {label!r}")
        label = int(label)
        if isinstance(weight, bool) or not isinstance(weight, (int, float, np.number)) or not math.isfinite(weight):
            raise ValueError(f"class_weight of class {label} must be a finite number, got {weight!r}")
        if not 0 <= label < len(table):
            raise ValueError(f"class_weight names class {label}, but the classes go from 0 to {len(table) - 1}")
        table[label] = weight
    return np.asarray(table[labels.astype(np.intp)])


def warn_of_negative(weights: Array, name: str) -> None:
    """Warn where rows that train have negative weights: their loss has no bound below."""
    if weights.size and weights.min() < 0:
        at = int(np.argmax(weights.min(axis=tuple(range(1, weights.ndim))) < 0))
        warn(
            f"{name} has negative weights, the first in row {at}: such rows drive the outputs away from their targets, "
            f"without bound where they outweigh the others"
        )
