"""What all losses share: a value for each row, and the reduction of these values to one for each batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._head import DENSE, LABELS, Head, Measure
from fastnn._public import Configured
from fastnn._registry import nearest_names
from fastnn._settings import Description
from fastnn.data import row_weights
from fastnn.data.frames import TEXT_IN_Y, real_array
from fastnn.losses._targets import targets

Rows = npt.NDArray[np.float64]

EPSILON = 1e-7  # probabilities are clipped to [EPSILON, 1 - EPSILON], as in Keras
_REDUCTIONS = {  # the engine's names for the reductions
    "sum_over_batch_size": "sum_over_batch_size",
    "mean": "sum_over_batch_size",
    "sum": "sum",
    "mean_with_sample_weight": "mean_with_sample_weight",
}


def flat_rows(array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """Return rows of several axes as rows of one."""
    if not array.ndim:
        raise ValueError(f"{name} must have shape (rows, outputs), got a scalar")
    return array.reshape(len(array), math.prod(array.shape[1:]))


class Loss(Description, Configured):
    """A value per row, reduced to one per batch.

    Parameters
    ----------
    reduction : {"sum_over_batch_size", "mean", "sum", "mean_with_sample_weight"}, default "sum_over_batch_size"
        What the sum of a batch's weighted values is divided by: the number of rows for ``"sum_over_batch_size"`` and
        ``"mean"``, nothing for ``"sum"``, the sum of the rows' weights for ``"mean_with_sample_weight"``.
    name : str, optional

    Attributes
    ----------
    name : str
        Keras's name for the loss, unless another one was given.
    targets : int
        ``DENSE`` where y has the shape of the output, ``LABELS`` where y holds one integer class a row.
    engine_name : str
        The engine's name for the loss: fnn_loss in src_c.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.losses.MeanSquaredError(reduction="sum")([[1.0], [2.0]], [[1.0], [4.0]])
    4.0
    """

    _area = "Loss"
    compares_outputs = False  # whether it compares a row's outputs, so that one output alone tells nothing
    of_differences = False  # whether it is a function of output - target, so that both may have another unit
    name: str
    targets: int = DENSE
    other_targets = ""  # what to do about targets of another shape: the end of a message
    engine_name: str

    def __init__(self, reduction: str = "sum_over_batch_size", name: str | None = None) -> None:
        if not isinstance(reduction, str) or reduction not in _REDUCTIONS:
            hint = nearest_names(str(reduction), list(_REDUCTIONS))
            raise ValueError(f"reduction must name how a batch's values become one number, got {reduction!r}; {hint}")
        self.reduction = reduction
        if not isinstance(name, (str, type(None))):
            raise TypeError(f"name must be a string, got {type(name).__name__}")
        self._own_name = name
        if name is not None:
            self.name = name

    def __call__(
        self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> float:
        """Return the loss of predictions, in float64.

        Parameters
        ----------
        y_true : array-like
            Targets as ``fit`` takes y: like y_pred, or classes of shape (rows,) where the loss takes classes.
        y_pred : array-like, shape (rows, outputs)
        sample_weight : array-like, shape (rows,), optional

        Raises
        ------
        TypeError, ValueError
            When an argument cannot be used, with the sentence that ``fit`` raises.
        """
        t, y, given = self._checked(y_true, y_pred, sample_weight)
        values = self._rows(t, y)
        counts = np.ones(len(y)) if self.target_columns(y.shape[1]) else self._counts(t)
        weights = counts if given is None else counts * given
        divisor = {"sum": 1.0, "sum_over_batch_size": counts.sum(), "mean_with_sample_weight": weights.sum()}
        total, by = float((values * weights).sum()), float(divisor[_REDUCTIONS[self.reduction]])
        return total / by if by else 0.0

    def _checked(self, y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[npt.NDArray[Any], Rows, Rows | None]:
        """Return targets as the engine has them, predictions of two axes and weights, all but labels in float64."""
        y = flat_rows(real_array(y_pred, "y_pred"), "y_pred").astype(np.float64)
        t = real_array(y_true, "y_true", TEXT_IN_Y)
        t = flat_rows(t, "y_true") if t.ndim > 2 else t
        t = targets(t, len(y), y.shape[1], self, "float64", check_finite=False, name="y_true", beside="y_pred")
        return t, y, row_weights.sample_weights(sample_weight, len(y), "float64", check_finite=False)

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        raise NotImplementedError

    def _counts(self, labels: npt.NDArray[Any]) -> Rows:
        """Return 1 for each row that counts, 0 for each row whose label is ignored."""
        return np.ones(len(labels))

    def target_columns(self, outputs: int) -> int:
        """Return the number of columns of y for that many outputs; 0 stands for one label a row."""
        return 0 if self.targets == LABELS else outputs

    def check_targets(self, y: npt.NDArray[Any], name: str) -> None:
        """Raise ValueError, with the argument's name, where targets are outside what the loss is made for."""

    def _constants(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the constants and the vector of the engine's loss; src_c/kernels/loss.inc says what they mean."""
        return (), ()

    def head(self, outputs: int, measures: Sequence[Measure] = ()) -> Head:
        """Return the description of what the engine minimizes over that many columns of the output."""
        numbers, vector = self._constants()
        return Head(
            self.engine_name,
            outputs,
            self.target_columns(outputs),
            reduction=_REDUCTIONS[self.reduction],
            numbers=numbers,
            vector=vector,
            measures=tuple(measures),
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, without those that have their default."""
        config: dict[str, Any] = {}
        if self.reduction != "sum_over_batch_size":
            config["reduction"] = self.reduction
        if self._own_name is not None:
            config["name"] = self._own_name
        return config
