"""Public helpers: seeds, one-hot encodings of labels, and a check of losses that are written in Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._public import publish
from fastnn._seeds import set_random_seed
from fastnn._settings import count
from fastnn.data.frames import TEXT_IN_Y, as_array
from fastnn.losses._gradients import largest_error

__all__ = ["check_gradient", "set_random_seed", "to_categorical"]


def check_gradient(
    loss: Any, y_true: npt.ArrayLike | None = None, y_pred: npt.ArrayLike | None = None, tolerance: float = 1e-3
) -> float:
    """Compare the gradient that a loss in Python returns with central differences of the loss, in float64.

    Parameters
    ----------
    loss : callable (y_true, y_pred) -> (loss, gradient), or CustomLoss
    y_true : array-like, shape (rows, columns), or (rows,) of classes, optional
        Targets, given together with `y_pred`. Default: a few targets from 0.1 to 0.9, or classes where the loss wants
        classes.
    y_pred : array-like, shape (rows, outputs), optional
        Predictions at which the loss has a derivative; the absolute error has none where y_pred equals y_true. The loss
        is called twice for each element.
    tolerance : float, default 1e-3
        The largest relative error that passes. A loss that rounds to float32 inside needs more.

    Returns
    -------
    float
        The largest relative error of an element; an element below a thousandth of the largest one is compared with
        that.

    Raises
    ------
    ValueError
        When the error is above `tolerance`, with the element and both numbers; when the loss returns no loss and
        gradient, as for :class:`fastnn.losses.CustomLoss`.

    Examples
    --------
    >>> def squared(y_true, y_pred):
    ...     error = y_pred - y_true
    ...     return (error**2).sum(axis=1), 2 * error
    >>> fastnn.utils.check_gradient(squared) < 1e-6
    True
    """
    return largest_error(loss, y_true, y_pred, tolerance)


def to_categorical(x: npt.ArrayLike, num_classes: int | None = None) -> npt.NDArray[np.float32]:
    """Return one-hot rows of class labels.

    Parameters
    ----------
    x : array-like of int, of any shape
        Labels from 0 to `num_classes` - 1; whole floats are taken too. A last axis of length 1, behind other axes, is
        left out: (rows, 1) is read as (rows,).
    num_classes : int, optional
        The number of classes; default: the largest label + 1.

    Returns
    -------
    ndarray of float32, shape (rows, num_classes)
        For x of more axes, the shape has all of these axes and then the classes.

    Raises
    ------
    TypeError
        When labels or `num_classes` are no whole numbers.
    ValueError
        When a label is negative or not below `num_classes`, or when `num_classes` is below 1.

    Examples
    --------
    >>> to_categorical([0, 2])
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    labels = as_array(x, "x")
    if labels.dtype.kind == "f" and (bad := labels[~((labels == np.rint(labels)) & (np.abs(labels) < 2**53))]).size:
        raise TypeError(f"x must hold whole class labels, got {bad[0]}")
    if labels.size and labels.dtype.kind not in "iubf":
        text = f"; {TEXT_IN_Y}" if labels.dtype.kind in "OUST" else ""
        raise TypeError(f"x must hold integer class labels, got dtype {labels.dtype}{text}")
    shape = labels.shape[:-1] if labels.ndim > 1 and labels.shape[-1] == 1 else labels.shape
    labels = labels.reshape(-1).astype(np.int64)
    classes = int(labels.max(initial=-1)) + 1 if num_classes is None else count("num_classes", num_classes, 1)
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        first = int(labels[(labels < 0) | (labels >= classes)][0])
        raise ValueError(f"x holds the label {first}; with num_classes={classes} labels go from 0 to {classes - 1}")
    out = np.zeros((labels.size, classes), np.float32)
    out[np.arange(labels.size), labels] = 1
    return out.reshape(*shape, classes)


publish(__name__, __all__)
