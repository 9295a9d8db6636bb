"""Losses: what training minimises. The engine computes them; the formulas here are for users and tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn._head import Head, Measure
from fastnn._registry import Registry

DENSE, LABELS = 0, 1  # targets: a row of numbers like the output, or one class label
EPSILON = 1e-7  # Keras's: probabilities are clipped to [EPSILON, 1 - EPSILON]


class Loss:
    """A mean over rows of a value per row.

    Attributes
    ----------
    name : str
        Keras's name.
    targets : int
        ``DENSE``: y has the shape of the output. ``LABELS``: y holds one integer class a row.
    """

    name: ClassVar[str]
    targets: ClassVar[int] = DENSE
    code: int

    def __call__(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
        """The loss of predictions of shape (rows, outputs), in float64."""
        y = np.asarray(y_pred, np.float64)
        y = y.reshape(len(y), -1)
        t = np.asarray(y_true)
        rows = self._rows(t.reshape(-1) if self.targets == LABELS else t.astype(np.float64).reshape(y.shape), y)
        return float(rows.mean())

    def _rows(self, t: npt.NDArray[Any], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        raise NotImplementedError

    def target_columns(self, outputs: int) -> int:
        """Columns of y for that many outputs; 0: one label a row."""
        return 0 if self.targets == LABELS else outputs

    def head(self, outputs: int, measures: Sequence[Measure] = ()) -> Head:
        """What the engine minimises over that many columns of the output."""
        return Head(self.code, outputs, self.target_columns(outputs), measures=tuple(measures))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {}


class MeanSquaredError(Loss):
    """Mean over outputs of (y - t)²."""

    name, code = "mean_squared_error", 0

    def _rows(self, t: npt.NDArray[Any], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.square(y - t).mean(axis=1)


class HalfMeanSquaredError(Loss):
    """The textbook cost J = 1/(2m) Σ (h - y)², summed over outputs, m the number of rows."""

    name, code = "half_mean_squared_error", 1

    def _rows(self, t: npt.NDArray[Any], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.square(y - t).sum(axis=1) / 2


class _Crossentropy(Loss):
    codes: ClassVar[tuple[int, int]]

    def __init__(self, from_logits: bool = False) -> None:
        if not isinstance(from_logits, (bool, np.bool_)):
            raise TypeError(f"from_logits must be a bool, got {type(from_logits).__name__}")
        self.from_logits = bool(from_logits)
        self.code = self.codes[self.from_logits]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"from_logits": self.from_logits}


class BinaryCrossentropy(_Crossentropy):
    """Mean over outputs of -t log p - (1 - t) log(1 - p).

    Parameters
    ----------
    from_logits : bool, default False
        The model's outputs are logits z, with p = sigmoid(z). With a sigmoid as last activation the engine works on the
        logits anyway.
    """

    name, codes = "binary_crossentropy", (2, 5)

    def _rows(self, t: npt.NDArray[Any], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if self.from_logits:
            return (np.maximum(y, 0) - y * t + np.log1p(np.exp(-np.abs(y)))).mean(axis=1)
        p = np.clip(y, EPSILON, 1 - EPSILON)
        return -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean(axis=1)


class CategoricalCrossentropy(_Crossentropy):
    """-Σ t_j log p_j for target distributions t, e.g. one-hot rows.

    Parameters
    ----------
    from_logits : bool, default False
        The model's outputs are logits, with p their softmax.
    """

    name, codes = "categorical_crossentropy", (3, 6)

    def _rows(self, t: npt.NDArray[Any], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if self.from_logits:
            shifted = y - y.max(axis=1, keepdims=True)
            return -(t * (shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))).sum(axis=1)
        return -(t * np.log(np.clip(y / y.sum(axis=1, keepdims=True), EPSILON, 1 - EPSILON))).sum(axis=1)


class SparseCategoricalCrossentropy(_Crossentropy):
    """-log p_label for integer labels from 0 to outputs - 1.

    Parameters
    ----------
    from_logits : bool, default False
        The model's outputs are logits, with p their softmax.
    """

    name, codes, targets = "sparse_categorical_crossentropy", (4, 7), LABELS

    def _rows(self, t: npt.NDArray[Any], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if not self.from_logits:
            y = np.log(np.clip(y, EPSILON, 1 - EPSILON))
        shifted = y - y.max(axis=1, keepdims=True)
        return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(y)), t.astype(np.int64)]


__all__ = [
    "BinaryCrossentropy", "CategoricalCrossentropy", "HalfMeanSquaredError", "Loss", "MeanSquaredError",
    "SparseCategoricalCrossentropy", "get", "serialize",
]  # fmt: skip

_registry: Registry[Loss] = Registry("loss", Loss)
_registry.register(MeanSquaredError, "mse", "mean_squared_error")
_registry.register(HalfMeanSquaredError, "half_mse", "half_mean_squared_error")
_registry.register(BinaryCrossentropy, "bce", "binary_crossentropy")
_registry.register(CategoricalCrossentropy, "categorical_crossentropy")
_registry.register(SparseCategoricalCrossentropy, "sparse_categorical_crossentropy")


def get(identifier: Any) -> Loss:
    """The loss of that name."""
    return _registry.get(identifier)


def serialize(loss: Loss) -> dict[str, Any]:
    """A JSON-able dict from which :func:`get` makes an equal loss."""
    return _registry.serialize(loss)
