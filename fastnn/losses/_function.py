"""Losses that are written in Python: a function of y_true and y_pred that returns a loss and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._head import DENSE, LABELS
from fastnn._settings import count
from fastnn.losses._base import Loss

Array = npt.NDArray[Any]


def name_of(function: Callable[..., Any]) -> str:
    """Return what logs and messages call a function."""
    return str(getattr(function, "__name__", type(function).__name__))


def checked_values(values: Any, rows: int, what: str) -> npt.NDArray[np.float64]:
    """Return a number for each of the rows, or one number for all of them, in float64.

    Raises
    ------
    TypeError, ValueError
        Where `values` are neither; `what` begins the sentence.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what} must be real numbers, got dtype {array.dtype}")
    if array.shape not in ((), (rows,)):
        raise ValueError(
            f"{what} must be a number for each row, shape ({rows},), or one for the batch, got shape {array.shape}"
        )
    return array.astype(np.float64)


class CustomLoss(Loss):
    """A loss that is written in Python: derive from it, and write `call`.

    The engine calls it once a batch, between the forward pass and the backward pass; everything else runs in C. After
    `compile` the first batch that is trained on calls it once more, to warn of a gradient that is wrong.

    Parameters
    ----------
    reduction : str, default "sum_over_batch_size"
        How the losses of a batch's rows become one number, see :class:`Loss`. One number for the batch stays as it is.
    name : str, optional
        Default: the name of the class.
    target_columns : int, optional
        The number of columns of y. Default: as many as the model has outputs. 0: y holds one integer class a row.

    Notes
    -----
    In ``fit`` an exception from `call` leaves the model as the last batch left it. The engine does not know what `call`
    computes: a training is reproducible to the bit only where `call` is.

    Examples
    --------
    >>> import fastnn
    >>> class Scaled(fastnn.losses.CustomLoss):
    ...     def __init__(self, factor=1.0, **settings):
    ...         super().__init__(**settings)
    ...         self.factor = factor
    ...
    ...     def call(self, y_true, y_pred):
    ...         error = y_pred - y_true
    ...         return self.factor * (error**2).sum(axis=1), 2 * self.factor * error
    ...
    ...     def get_config(self):
    ...         return {"factor": self.factor, **super().get_config()}
    >>> Scaled(2.0)([[1.0], [2.0]], [[1.0], [1.0]])
    1.0
    """

    engine_name = "function_loss"

    other_targets = "; other targets need target_columns=..., of FunctionLoss or CustomLoss, 0 for integer labels"

    def __init__(
        self, reduction: str = "sum_over_batch_size", name: str | None = None, target_columns: int | None = None
    ) -> None:
        super().__init__(reduction, name)
        if name is None:
            self.name = type(self).__name__
        self._columns = None if target_columns is None else count("target_columns", target_columns, 0)
        self.targets = LABELS if self._columns == 0 else DENSE

    def call(self, y_true: Array, y_pred: Array) -> tuple[Any, Any]:
        """Return the loss and its gradient.

        Parameters
        ----------
        y_true : ndarray, shape (rows, target_columns), or (rows,) of int32 classes
        y_pred : ndarray, shape (rows, outputs)
            Predictions in the model's dtype. Both arrays are copies, which may be written to.

        Returns
        -------
        loss : array-like, shape (rows,), or a number
            The loss of each row, or one number for the batch: a mean over its rows, which cannot be weighted.
        gradient : array-like, shape (rows, outputs)
            The derivative of the row's loss, or of the batch's one number, by each element of y_pred.
        """
        raise NotImplementedError(f"{type(self).__name__} must define call(y_true, y_pred)")

    def evaluated(self, y_true: Array, y_pred: Array) -> tuple[npt.NDArray[np.float64], Array]:
        """Return what `call` returns, once it is checked.

        Raises
        ------
        TypeError, ValueError
            Where `call` returned no loss and gradient; the message is one sentence.
        """
        rows, shape = len(y_pred), y_pred.shape
        returned: Any = self.call(y_true, y_pred)
        if not isinstance(returned, (tuple, list)) or len(returned) != 2:
            given = f"{len(returned)} values" if isinstance(returned, (tuple, list)) else type(returned).__name__
            raise TypeError(f"loss {self.name!r} must return a pair (loss, gradient), got {given}")
        values = checked_values(returned[0], rows, f"the loss that {self.name!r} returns")
        gradient = np.asarray(returned[1])
        if gradient.dtype.kind not in "fiub":
            raise TypeError(f"the gradient that {self.name!r} returns must be real numbers, got dtype {gradient.dtype}")
        if gradient.shape != shape:
            raise ValueError(
                f"the gradient that {self.name!r} returns must have the shape of y_pred, {shape}, got {gradient.shape}"
            )
        return values, gradient

    def check_weights(self, values: npt.NDArray[np.float64]) -> None:
        """Raise ValueError where rows have weights but the loss is one number."""
        if values.ndim == 0:
            raise ValueError(
                f"loss {self.name!r} returned one number for the batch, in which rows cannot have weights: "
                f"return a loss for each row, shape (rows,)"
            )

    def __call__(
        self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> float:
        """Return the loss of predictions of shape (rows, outputs), in float64; see :class:`Loss`."""
        t, y, weights = self._checked(y_true, y_pred, sample_weight)
        values, _ = self.evaluated(t, y)
        if weights is not None:
            self.check_weights(values)
        if values.ndim == 0:
            return float(values)
        weights = np.ones(len(y)) if weights is None else weights
        divisor = {"sum": 1.0, "mean_with_sample_weight": float(weights.sum())}.get(self.reduction, len(y))
        return float((values * weights).sum()) / divisor if divisor else 0.0

    def target_columns(self, outputs: int) -> int:
        """Return the number of columns of y for that many outputs; 0 stands for one class a row."""
        return outputs if self._columns is None else self._columns

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, without those that have their default."""
        columns = {} if self._columns is None else {"target_columns": self._columns}
        return super().get_config() | columns


class FunctionLoss(CustomLoss):
    """A Python function as a loss. ``compile(loss=function)`` means ``compile(loss=FunctionLoss(function))``.

    Parameters
    ----------
    function : callable (y_true, y_pred) -> (loss, gradient)
        See :meth:`CustomLoss.call`.
    reduction, target_columns
        See :class:`CustomLoss`.
    name : str, optional
        Default: the name of the function.

    Examples
    --------
    >>> import fastnn
    >>> def squared(y_true, y_pred):
    ...     error = y_pred - y_true
    ...     return (error**2).mean(axis=1), 2 * error / error.shape[1]
    >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(3,))])
    >>> model.compile("adam", loss=squared)
    """

    def __init__(
        self,
        function: Callable[[Array, Array], tuple[Any, Any]],
        reduction: str = "sum_over_batch_size",
        name: str | None = None,
        target_columns: int | None = None,
    ) -> None:
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"function must be a function (y_true, y_pred) -> (loss, gradient), got {function!r}")
        super().__init__(reduction, name, target_columns)
        self.function = function
        if name is None:
            self.name = name_of(function)

    def call(self, y_true: Array, y_pred: Array) -> tuple[Any, Any]:
        """Return what the function returns."""
        return self.function(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, with the function's name in place of the function."""
        return {"function": name_of(self.function), **super().get_config()}
