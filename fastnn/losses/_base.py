"""What all losses share: reducing one value per row to one per batch."""

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

EPSILON = 1e-7  # Keras's: probabilities are clipped to [EPSILON, 1 - EPSILON]
_REDUCTIONS = {  # the engine's names for them
    "sum_over_batch_size": "sum_over_batch_size",
    "mean": "sum_over_batch_size",
    "sum": "sum",
    "mean_with_sample_weight": "mean_with_sample_weight",
}


def flat_rows(array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """Rows of one axis, whatever axes they have."""
    if not array.ndim:
        raise ValueError(f"{name} must have shape (rows, outputs), got a scalar")
    return array.reshape(len(array), math.prod(array.shape[1:]))


class Loss(Description, Configured):
    """A value per row, reduced to one per batch.

    Parameters
    ----------
    reduction : {"sum_over_batch_size", "mean", "sum", "mean_with_sample_weight"}, default "sum_over_batch_size"
        What the weighted values of a batch, in sum, are divided by: the number of rows; the same; nothing; the sum of
        the rows' weights.
    name : str, optional

    Attributes
    ----------
    name : str
        Keras's name.
    targets : int
        ``DENSE``: y has the shape of the output. ``LABELS``: y holds one integer class a row.
    engine_name : str
        The engine's name for the rule: fnn_loss in src_c.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.losses.MeanSquaredError(reduction="sum")([[1.0], [2.0]], [[1.0], [4.0]])
    4.0
    """

    _area = "Loss"
    compares_outputs = False  # with each other: over one output it is the same for all rows
    name: str
    targets: int = DENSE
    other_targets = ""  # the end of a message on targets of another shape: what to do
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
        """The loss of predictions, in float64.

        Parameters
        ----------
        y_true : array-like
            As ``fit`` takes y: like y_pred, or classes of shape (rows,) where the loss takes them.
        y_pred : array-like, shape (rows, outputs)
        sample_weight : array-like, shape (rows,), optional

        Raises
        ------
        TypeError, ValueError
            In one sentence, as ``fit``.
        """
        t, y, given = self._checked(y_true, y_pred, sample_weight)
        values = self._rows(t, y)
        counts = np.ones(len(y)) if self.target_columns(y.shape[1]) else self._counts(t)
        weights = counts if given is None else counts * given
        divisor = {"sum": 1.0, "sum_over_batch_size": counts.sum(), "mean_with_sample_weight": weights.sum()}
        total, by = float((values * weights).sum()), float(divisor[_REDUCTIONS[self.reduction]])
        return total / by if by else 0.0

    def _checked(self, y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[npt.NDArray[Any], Rows, Rows | None]:
        """Targets as the engine has them, predictions of two axes and weights, all but labels in float64."""
        y = flat_rows(real_array(y_pred, "y_pred"), "y_pred").astype(np.float64)
        t = real_array(y_true, "y_true", TEXT_IN_Y)
        t = flat_rows(t, "y_true") if t.ndim > 2 else t
        t = targets(t, len(y), y.shape[1], self, "float64", check_finite=False, name="y_true", beside="y_pred")
        return t, y, row_weights.sample_weights(sample_weight, len(y), "float64", check_finite=False)

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        raise NotImplementedError

    def _counts(self, labels: npt.NDArray[Any]) -> Rows:
        """1 where a row counts, 0 where its label is ignored."""
        return np.ones(len(labels))

    def target_columns(self, outputs: int) -> int:
        """Columns of y for that many outputs; 0: one label a row."""
        return 0 if self.targets == LABELS else outputs

    def check_targets(self, y: npt.NDArray[Any], name: str) -> None:
        """Raise ValueError, with the argument's name, where targets are outside what the loss is made for."""

    def _constants(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Numbers and vector of the engine's rule; `loss.inc` says which."""
        return (), ()

    def head(self, outputs: int, measures: Sequence[Measure] = ()) -> Head:
        """What the engine minimises over that many columns of the output."""
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
        """The constructor's arguments, without those that have their default."""
        config: dict[str, Any] = {}
        if self.reduction != "sum_over_batch_size":
            config["reduction"] = self.reduction
        if self._own_name is not None:
            config["name"] = self._own_name
        return config
