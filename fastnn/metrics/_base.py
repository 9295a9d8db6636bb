"""What all metrics share: numbers that grow row by row, and the value computed from them."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn._head import DENSE, LABELS, Measure
from fastnn._public import Configured
from fastnn._settings import Description
from fastnn.data import row_weights
from fastnn.data.frames import TEXT_IN_Y, real_array
from fastnn.losses._base import flat_rows
from fastnn.losses._targets import check_labels

Array = npt.NDArray[Any]
State = npt.NDArray[np.float64]
Value = float | npt.NDArray[np.float64]

EITHER = 2  # targets are rows like the output, or one label a row, which stands for a one-hot row


class Metric(Description, Configured):
    """A metric: numbers that grow with each row, and a value that is computed from them.

    In a model the engine keeps the numbers of each epoch; a metric that is called alone keeps its own, as in Keras.

    Parameters
    ----------
    name : str, optional
        The name under which logs show the metric.

    Attributes
    ----------
    name : str
        Keras's name for the metric, unless another one was given.
    targets : int
        What y_true holds: ``losses.DENSE``, ``losses.LABELS``, or ``EITHER`` of them.
    engine_name : str
        The engine's name for the metric: fnn_metric in src_c.
    direction : {"down", "up"}
        Whether a lower or a higher value is better; None where that is not known.

    Examples
    --------
    >>> metric = fastnn.metrics.BinaryAccuracy()
    >>> metric.update_state([[1], [0]], [[0.9], [0.6]])
    >>> metric.result()
    0.5
    """

    _area = "Metric"
    name: str
    engine_name: ClassVar[str]
    targets: ClassVar[int] = DENSE
    direction: ClassVar[str | None] = "down"
    compares_outputs = False  # whether it compares a row's outputs, so that one output alone tells nothing
    may_refuse = False  # whether its value raises for some outputs or targets

    def __init__(self, name: str | None = None) -> None:
        if not isinstance(name, (str, type(None))):
            raise TypeError(f"name must be a string, got {type(name).__name__}")
        self._own_name = name
        if name is not None:
            self.name = name
        self._state: State | None = None

    def add_weight(self, *arguments: Any, **named: Any) -> Any:
        """Raise TypeError: a metric in Python keeps no variables here.

        Parameters
        ----------
        arguments, named : ignored
            The arguments that the method has in Keras.
        """
        raise TypeError(
            f"{type(self).__name__} keeps variables with add_weight, as a Metric of Keras: derive from "
            f"fastnn.metrics.CustomMetric, whose call(y_true, y_pred) gives a value for each row"
        )

    def __call__(
        self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> Value:
        """Update with these rows, and return the value of all rows so far."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()

    def update_state(
        self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> None:
        """Let the numbers grow with more rows.

        Parameters
        ----------
        y_true : array-like
            Targets in the shape of y_pred; for a metric that takes labels, these in shape (rows,).
        y_pred : array-like, shape (rows, outputs)
        sample_weight : array-like, shape (rows,), optional

        Raises
        ------
        TypeError, ValueError
            When shapes do not fit together, or an argument holds no real numbers; the metric has not changed then.
        """
        y = flat_rows(real_array(y_pred, "y_pred", ""), "y_pred")
        y = y if y.dtype.kind == "f" else y.astype(np.float64)
        t = self._targets_for(real_array(y_true, "y_true", TEXT_IN_Y), y)
        w = row_weights.sample_weights(sample_weight, len(y), "float64", check_finite=False)
        grown = self._update(t, y, np.ones(len(y)) if w is None else w)
        if self._state is not None and self._state.shape != grown.shape:
            raise ValueError(f"y_pred has another number of outputs than before: got {y.shape[1]}; call reset_state")
        self._state = grown if self._state is None else self.merged(self._state, grown)

    def _targets_for(self, t: Array, y: Array) -> Array:
        labels = self.targets == LABELS or (self.targets == EITHER and t.size == len(y) and y.shape[1] > 1)
        if labels:
            t = t.reshape(-1)
        if t.ndim == 0 or len(t) != len(y) or (not labels and t.size != y.size):
            raise ValueError(f"y_true must have the shape of y_pred, {y.shape}, got {t.shape}")
        if labels:
            check_labels(t, y.shape[1], "y_true", self._label_counts)
        if labels and self.targets == EITHER:
            return np.asarray(t[:, None] == np.arange(y.shape[1]), np.float64)
        return t if labels else t.reshape(y.shape)

    def _label_counts(self, labels: Array) -> Array:
        """Return 1 for each row that counts, 0 for each row whose label is ignored."""
        return np.ones(len(labels))

    def result(self) -> Value:
        """Return the value of all rows since the last reset; 0 where there were none."""
        return 0.0 if self._state is None else self.value(self._state)

    def reset_state(self) -> None:
        """Forget all rows."""
        self._state = None

    def _update(self, t: Array, y: Array, w: State) -> State:
        """Return what the numbers grow by for these rows: the formula of what the engine computes."""
        raise NotImplementedError

    def merged(self, state: State, more: State) -> State:
        """Return the numbers of all rows from the numbers of two sets of rows."""
        return state + more

    def value(self, state: State) -> Value:
        """Return the metric's value, computed from its numbers."""
        raise NotImplementedError

    def _constants(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the constants and the vector of the engine's metric; src_c/kernels/metric.inc says what they mean."""
        return (), ()

    def measure(self, weighted: bool = False) -> Measure:
        """Return the description of what the engine computes.

        Parameters
        ----------
        weighted : bool, default False
            Whether each row counts with its weight.
        """
        numbers, vector = self._constants()
        return Measure(self.engine_name, weighted, numbers, vector)

    def check_outputs(self, outputs: int) -> None:
        """Raise ValueError where the metric does not fit that many outputs."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {} if self._own_name is None else {"name": self._own_name}


def ratio(a: Any, b: Any) -> Any:
    """Return ``a / b``, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=np.asarray(b) != 0)


def plain(values: npt.NDArray[np.float64]) -> Value:
    """Return one value as a float, several as an array."""
    return float(values.reshape(-1)[0]) if values.size == 1 else values
