"""The user's targets, checked and brought into the form that the loss reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._engine import are_within
from fastnn._head import LABELS
from fastnn.data.arrays import Array, as_rows, copied, distinct, looked_at, require_finite
from fastnn.data.frames import TEXT_IN_Y, real_array

if TYPE_CHECKING:
    from fastnn.losses._base import Loss


def _labels(y: Array, classes: int, loss: Loss, name: str) -> npt.NDArray[np.int32]:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise ValueError(
            f"{name} must hold one integer class a row, shape (rows,), for sparse_categorical_crossentropy, got shape "
            f"{y.shape}; one-hot rows need categorical_crossentropy"
        )
    for start, some in looked_at(y):
        check_labels(some, classes, name, loss._counts, start)
    if y.dtype == np.int32 and y.flags.c_contiguous and y.flags.aligned:
        return y
    return copied(y, np.int32)


def check_labels(
    y: Array, classes: int, name: str, counts: Callable[[Array], Array] = np.ones_like, first: int = 0
) -> None:
    """Raise ValueError where a label is no class; `first` is the number of the first row.

    Parameters
    ----------
    y : ndarray, shape (rows,)
    classes : int
        Labels are whole numbers from 0 to `classes` - 1.
    name : str
        What the message calls `y`.
    counts : callable, optional
        Returns 0 for each label that is ignored, which may be any whole number; called with the labels.
    first : int, default 0
    """
    if not y.size or (y.dtype.kind == "i" and are_within(y, 0, classes - 1)):
        return
    if y.dtype.kind == "f":
        whole = np.isfinite(y) & (y == np.floor(y))
        if not whole.all():
            row = int(np.argmin(whole))
            raise ValueError(f"{name} must hold integer class labels, but row {first + row} is {y[row]}")
    if y.min() < 0 or y.max() >= classes:
        outside = ((y < 0) | (y >= classes)) & (counts(y) != 0)
        if outside.any():
            row = int(np.argmax(outside))
            raise ValueError(f"{name} must hold labels from 0 to {classes - 1}, but row {first + row} is {y[row]}")


def targets(
    y: Any,
    rows: int,
    outputs: int,
    loss: Loss,
    dtype: str,
    *,
    check_finite: bool,
    name: str = "y",
    beside: str = "x",
) -> Array:
    """Return Y as the loss needs it: int32 labels, or rows of `dtype`; messages say that `beside` has the rows.

    Raises
    ------
    TypeError, ValueError
        When y cannot be used; the message is one sentence, and nothing has changed.
    """
    if y is None:
        raise ValueError(f"{name} is missing: the loss {loss.name} needs targets")
    array = real_array(y, name, TEXT_IN_Y)
    if array.ndim == 0 or len(array) != rows:
        given = "a scalar" if array.ndim == 0 else f"{len(array)} rows"
        raise ValueError(f"{beside} and {name} must have the same number of rows, got {rows} rows and {given}")
    if loss.targets == LABELS:
        return _labels(array, outputs, loss, name)
    columns = loss.target_columns(outputs)
    if array.ndim == 1 and columns == 1:
        array = array[:, None]
    if array.shape != (rows, columns):
        like = "like the model's output" if columns == outputs else f"for {loss.name} and {outputs} outputs"
        hint = "; integer labels need sparse_categorical_crossentropy" if array.ndim == 1 else ""
        raise ValueError(
            f"{name} must have shape ({rows}, {columns}) {like}, got {array.shape}{loss.other_targets or hint}"
        )
    converted = as_rows(array, dtype)
    if check_finite and array.dtype.kind == "f":
        require_finite(converted, name, source=y)
    if rows:
        loss.check_targets(distinct(converted), name)
    return converted
