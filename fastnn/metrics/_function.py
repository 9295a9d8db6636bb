"""Metrics that are written in Python: a function of y_true and y_pred, called once a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn.data import row_weights
from fastnn.data.frames import as_array, real_array
from fastnn.losses._function import checked_values, name_of
from fastnn.metrics._base import EITHER, Array, Metric, State


class CustomMetric(Metric):
    """A metric that is written in Python, as a mean over rows: derive from it, and write `call`.

    Parameters
    ----------
    name : str, optional
        Default: the name of the class.

    Notes
    -----
    Set the class's `direction` to ``"up"`` or ``"down"`` to say which values are better; where it is None, callbacks
    that compare values ask for a mode.

    Examples
    --------
    >>> import fastnn, numpy as np
    >>> class WithinHalf(fastnn.metrics.CustomMetric):
    ...     direction = "up"
    ...
    ...     def call(self, y_true, y_pred):
    ...         return (abs(y_pred - y_true) < 0.5).mean(axis=1)
    >>> WithinHalf()([[1.0], [2.0]], [[1.2], [3.0]])
    0.5
    """

    engine_name = "function_metric"
    targets = EITHER
    direction: ClassVar[str | None] = None

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        if name is None:
            self.name = type(self).__name__

    def call(self, y_true: Array, y_pred: Array) -> Any:
        """Return the value of each row, or one number for the batch.

        Parameters
        ----------
        y_true : ndarray, shape (rows, target columns of the loss), or (rows,) of int32 classes
        y_pred : ndarray, shape (rows, outputs)
            Predictions in the model's dtype. Both arrays are copies, which may be written to.

        Returns
        -------
        array-like, shape (rows,), or a number
            The metric is the mean over rows, for which each row counts with its weight in ``weighted_metrics``; one
            number counts as the value of every row of the batch, and cannot be weighted.
        """
        raise NotImplementedError(f"{type(self).__name__} must define call(y_true, y_pred)")

    def grown(self, y_true: Array, y_pred: Array, weights: Array | None) -> State:
        """Return the sum of weight x value and the sum of weights over these rows.

        Raises
        ------
        TypeError, ValueError
            Where `call` gives something else, or one number for rows with weights; the message is one sentence.
        """
        rows = len(y_pred)
        values = checked_values(self.call(y_true, y_pred), rows, f"what metric {self.name!r} returns")
        if weights is None:
            return np.array([values.sum() if values.ndim else values * rows, rows], np.float64)
        if values.ndim == 0:
            raise ValueError(
                f"metric {self.name!r} returned one number for the batch, in which rows cannot have weights: "
                f"return a value for each row, shape (rows,)"
            )
        return np.array([(values * weights).sum(), weights.sum(dtype=np.float64)])

    def update_state(
        self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> None:
        """Let the sums grow with more rows; see :meth:`Metric.update_state`. y_true goes to `call` as it is."""
        y, t = np.array(real_array(y_pred, "y_pred", "")), np.array(as_array(y_true, "y_true"))
        if y.ndim == 0:
            raise ValueError("y_pred must have shape (rows, outputs), got a scalar")
        if t.ndim == 0 or len(t) != len(y):
            raise ValueError(f"y_true must have the {len(y)} rows of y_pred, got shape {t.shape}")
        weights = row_weights.sample_weights(sample_weight, len(y), "float64", check_finite=False)
        grown = self.grown(t, y, weights)
        self._state = grown if self._state is None else self._state + grown

    def value(self, state: State) -> float:
        """Return the sum of weight x value, divided by the sum of weights; 0 without a row."""
        return float(state[0] / state[1]) if state[1] else 0.0


class FunctionMetric(CustomMetric):
    """A Python function as a metric. ``compile(metrics=[function])`` means ``metrics=[FunctionMetric(function)]``.

    Parameters
    ----------
    function : callable (y_true, y_pred) -> value
        See :meth:`CustomMetric.call`.
    name : str, optional
        Default: the name of the function.

    Examples
    --------
    >>> import fastnn
    >>> def largest_error(y_true, y_pred):
    ...     return abs(y_pred - y_true).max(axis=1)
    >>> fastnn.metrics.FunctionMetric(largest_error).name
    'largest_error'
    """

    def __init__(self, function: Callable[[Array, Array], Any], name: str | None = None) -> None:
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"function must be a function (y_true, y_pred) -> value, got {function!r}")
        super().__init__(name)
        self.function = function
        if name is None:
            self.name = name_of(function)

    def call(self, y_true: Array, y_pred: Array) -> Any:
        """Return what the function returns."""
        return self.function(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, with the name of the function in place of the function."""
        return {"function": name_of(self.function), **super().get_config()}
