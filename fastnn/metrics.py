"""Metrics: a value per row, reported as the mean over rows. The engine computes them; the formulas are for users."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn import losses
from fastnn._head import Measure
from fastnn._registry import Registry


class Metric:
    """A mean over rows of a value per row, for predictions of shape (rows, outputs).

    Attributes
    ----------
    name : str
        Keras's name.
    targets : int
        ``losses.DENSE`` or ``losses.LABELS``, as for losses.
    """

    name: ClassVar[str]
    code: ClassVar[int]
    targets: ClassVar[int] = losses.DENSE

    def __call__(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
        """The metric, in float64."""
        y = np.asarray(y_pred, np.float64)
        y = y.reshape(len(y), -1)
        t = np.asarray(y_true)
        return float(self._rows(t.reshape(-1) if self.targets == losses.LABELS else t.reshape(y.shape), y).mean())

    def _rows(self, t: npt.NDArray[Any], y: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        raise NotImplementedError

    def measure(self, weighted: bool = False) -> Measure:
        """What the engine computes."""
        return Measure(self.code, weighted)

    def value(self, state: npt.NDArray[np.float64]) -> float:
        """The metric from the engine's numbers: the sum of weight x value, and that of the weights."""
        return float(state[0] / state[1]) if state[1] else 0.0

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments: none."""
        return {}


class BinaryAccuracy(Metric):
    """Share of outputs whose side of 0.5 is the target's."""

    name, code = "binary_accuracy", 0

    def _rows(self, t: npt.NDArray[Any], y: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        return ((y > 0.5) == t).mean(axis=1)


class CategoricalAccuracy(Metric):
    """Share of rows whose largest output is where the one-hot target is."""

    name, code = "categorical_accuracy", 1

    def _rows(self, t: npt.NDArray[Any], y: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        return np.asarray(y.argmax(axis=1) == t.argmax(axis=1))


class SparseCategoricalAccuracy(Metric):
    """Share of rows whose largest output is the label."""

    name, code, targets = "sparse_categorical_accuracy", 2, losses.LABELS

    def _rows(self, t: npt.NDArray[Any], y: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        return np.asarray(y.argmax(axis=1) == t)


class MeanSquaredError(Metric):
    """Mean of (y - t)²."""

    name, code = "mean_squared_error", 3

    def _rows(self, t: npt.NDArray[Any], y: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        return np.square(y - t).mean(axis=1)


class MeanAbsoluteError(Metric):
    """Mean of abs(y - t)."""

    name, code = "mean_absolute_error", 4

    def _rows(self, t: npt.NDArray[Any], y: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        return np.abs(y - t).mean(axis=1)


_registry: Registry[Metric] = Registry("metric", Metric)
_registry.register(BinaryAccuracy, "binary_accuracy")
_registry.register(CategoricalAccuracy, "categorical_accuracy")
_registry.register(SparseCategoricalAccuracy, "sparse_categorical_accuracy")
_registry.register(MeanSquaredError, "mse", "mean_squared_error")
_registry.register(MeanAbsoluteError, "mae", "mean_absolute_error")


def get(identifier: Any, loss: losses.Loss | None = None, outputs: int = 0) -> Metric:
    """The metric of that name; ``"accuracy"`` becomes the one that fits loss and outputs, as in Keras."""
    if isinstance(identifier, str) and identifier.lower() in ("accuracy", "acc"):
        if loss is None:
            raise ValueError(
                "metric 'accuracy' needs a loss that says what the targets are; name one of its kinds instead"
            )
        if loss.targets == losses.LABELS:
            return SparseCategoricalAccuracy()
        return BinaryAccuracy() if outputs == 1 or loss.name == "binary_crossentropy" else CategoricalAccuracy()
    return _registry.get(identifier)


def log_key(identifier: Any) -> str:
    """The name under which logs show the metric: the string the user gave, or the metric's own."""
    return identifier if isinstance(identifier, str) else str(_registry.get(identifier).name)
