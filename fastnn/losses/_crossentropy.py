"""Cross-entropies: of one probability, of a distribution over classes, and their focal forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._engine import are_within
from fastnn._head import LABELS, Head, Measure
from fastnn._schedules import LearningRateSchedule, configured, number_and_schedule, number_or_schedule
from fastnn._settings import flag, listed, number
from fastnn.losses._base import EPSILON, Loss, Rows


class _Crossentropy(Loss):
    def __init__(
        self, from_logits: bool = False, reduction: str = "sum_over_batch_size", name: str | None = None
    ) -> None:
        super().__init__(reduction, name)
        self.from_logits = flag("from_logits", from_logits)
        self.engine_name = type(self).name + "_logits" * self.from_logits

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"from_logits": self.from_logits, **super().get_config()}


class _SmoothedCrossentropy(_Crossentropy):
    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float | LearningRateSchedule = 0.0,
        reduction: str = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(from_logits, reduction, name)
        self.label_smoothing = number_or_schedule("label_smoothing", label_smoothing, 1)

    @property
    def _smoothing(self) -> float:
        """The label smoothing, of a schedule that of the first step."""
        return number_and_schedule(self.label_smoothing)[0]

    def _smooth(self, t: Rows, classes: int) -> Rows:
        return t * (1 - self._smoothing) + self._smoothing / classes

    def _constants(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return (self._smoothing,), ()

    def head(self, outputs: int, measures: Sequence[Measure] = ()) -> Head:
        """Return the description of what the engine minimizes over that many columns of the output."""
        return super().head(outputs, measures)._replace(smoothing=number_and_schedule(self.label_smoothing)[1])

    def check_targets(self, y: npt.NDArray[Any], name: str) -> None:
        """Raise ValueError where targets are not probabilities."""
        if are_within(y, 0, 1):
            return
        outside = (y < 0) | (y > 1)
        if outside.any():
            row = int(np.argmax(outside.any(axis=1)))
            raise ValueError(f"{name} must lie between 0 and 1 for {self.name}, but row {row} is {y[row]}")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"label_smoothing": configured(self.label_smoothing), **super().get_config()}


def _sigmoid(z: Rows) -> Rows:
    e = np.exp(-np.abs(z))
    return np.where(z < 0, e, 1) / (1 + e)


def _softmax(z: Rows) -> Rows:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


class BinaryCrossentropy(_SmoothedCrossentropy):
    """Mean over outputs of -t log p - (1 - t) log(1 - p).

    Parameters
    ----------
    from_logits : bool, default False
        Whether the model's outputs are logits z, with p = sigmoid(z). After a sigmoid as last activation the engine
        works on the logits in either case.
    label_smoothing : float or LearningRateSchedule, default 0
        s in [0, 1]: targets become t (1 - s) + s/2.
    reduction, name : str
        As for :class:`Loss`.

    Examples
    --------
    >>> import fastnn
    >>> round(fastnn.losses.BinaryCrossentropy()([[0], [1], [1]], [[0.2], [0.7], [0.4]]), 4)
    0.4987
    """

    name = "binary_crossentropy"

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        t = self._smooth(t, 2)
        if self.from_logits:
            return (np.maximum(y, 0) - y * t + np.log1p(np.exp(-np.abs(y)))).mean(axis=1)
        p = np.clip(y, EPSILON, 1 - EPSILON)
        return -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean(axis=1)


class CategoricalCrossentropy(_SmoothedCrossentropy):
    """-Σ t_j log p_j for target distributions t, e.g. one-hot rows.

    Parameters
    ----------
    from_logits : bool, default False
        Whether the model's outputs are logits, with p their softmax.
    label_smoothing : float or LearningRateSchedule, default 0
        s in [0, 1]: targets become t (1 - s) + s / outputs.
    reduction, name : str
        As for :class:`Loss`.

    Examples
    --------
    >>> import fastnn
    >>> round(fastnn.losses.CategoricalCrossentropy(label_smoothing=0.1)([[0, 1, 0]], [[0.1, 0.8, 0.1]]), 4)
    0.3618
    """

    compares_outputs = True

    name = "categorical_crossentropy"

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        t = self._smooth(t, y.shape[1])
        if self.from_logits:
            shifted = y - y.max(axis=1, keepdims=True)
            return -(t * (shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))).sum(axis=1)
        return -(t * np.log(np.clip(y / y.sum(axis=1, keepdims=True), EPSILON, 1 - EPSILON))).sum(axis=1)


class SparseCategoricalCrossentropy(_Crossentropy):
    """-log p_label for integer labels from 0 to outputs - 1.

    Parameters
    ----------
    from_logits : bool, default False
        Whether the model's outputs are logits, with p their softmax.
    ignore_class : int, optional
        Rows with this label, which may be any integer, are left out: the loss is the mean over the other rows. Where
        the label is no class of the outputs, metrics leave these rows out as well.
    reduction, name : str
        As for :class:`Loss`.

    Examples
    --------
    >>> import fastnn
    >>> round(fastnn.losses.SparseCategoricalCrossentropy()([1, 0], [[0.1, 0.8, 0.1], [0.3, 0.6, 0.1]]), 4)
    0.7136
    """

    compares_outputs = True

    name, targets = "sparse_categorical_crossentropy", LABELS

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(from_logits, reduction, name)
        if ignore_class is not None and (
            isinstance(ignore_class, bool) or not isinstance(ignore_class, (int, np.integer))
        ):
            raise TypeError(f"ignore_class must be an integer or None, got {type(ignore_class).__name__}")
        self.ignore_class = None if ignore_class is None else int(ignore_class)
        if self.ignore_class is not None and not -(2**31) <= self.ignore_class < 2**31:
            raise ValueError(f"ignore_class must fit 32 bits, got {ignore_class}")

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        counts = self._counts(t)
        if not self.from_logits:
            y = np.log(np.clip(y, EPSILON, 1 - EPSILON))
        shifted = y - y.max(axis=1, keepdims=True)
        labels = np.where(counts != 0, t, 0).astype(np.int64)
        return counts * (np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(y)), labels])

    def _counts(self, labels: npt.NDArray[Any]) -> Rows:
        return (
            (labels != self.ignore_class).astype(np.float64) if self.ignore_class is not None else np.ones(len(labels))
        )

    def _constants(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return ((1.0, float(self.ignore_class)), ()) if self.ignore_class is not None else ((), ())

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        return config if self.ignore_class is None else {"ignore_class": self.ignore_class, **config}


class BinaryFocalCrossentropy(_SmoothedCrossentropy):
    """Mean over outputs of (1 - p_t)^gamma times the binary cross-entropy, where p_t = t p + (1 - t)(1 - p).

    Parameters
    ----------
    apply_class_balancing : bool, default False
        Whether to multiply by t alpha + (1 - t)(1 - alpha).
    alpha : float, default 0.25
    gamma : float, default 2.0
        How much easy rows are played down; at least 0.
    from_logits : bool, default False
    label_smoothing : float or LearningRateSchedule, default 0
    reduction, name : str
        As for :class:`Loss`.

    References
    ----------
    Lin et al., Focal loss for dense object detection, 2017, equation 5.

    Examples
    --------
    >>> import fastnn
    >>> round(fastnn.losses.BinaryFocalCrossentropy(gamma=1.0)([[0], [1], [1]], [[0.2], [0.7], [0.4]]), 4)
    0.2338
    """

    name = "binary_focal_crossentropy"

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float | LearningRateSchedule = 0.0,
        reduction: str = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, reduction, name)
        self.apply_class_balancing = flag("apply_class_balancing", apply_class_balancing)
        self.alpha, self.gamma = number("alpha", alpha, 0, 1), number("gamma", gamma, 0)

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        y, t = _sigmoid(y) if self.from_logits else y, self._smooth(t, 2)
        p = np.clip(y, EPSILON, 1 - EPSILON)
        entropy = -(t * np.log(p) + (1 - t) * np.log(1 - p))
        balance = t * self.alpha + (1 - t) * (1 - self.alpha) if self.apply_class_balancing else 1.0
        return (balance * (1 - t * y - (1 - t) * (1 - y)) ** self.gamma * entropy).mean(axis=1)

    def _constants(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return (self._smoothing, self.gamma, self.alpha, float(self.apply_class_balancing)), ()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"apply_class_balancing": self.apply_class_balancing, "alpha": self.alpha, "gamma": self.gamma}
        return {**own, **super().get_config()}


class CategoricalFocalCrossentropy(_SmoothedCrossentropy):
    """-Σ alpha_j (1 - p_j)^gamma t_j log p_j.

    Parameters
    ----------
    alpha : float or sequence of float, default 0.25
        One number for all classes, or one for each class.
    gamma : float, default 2.0
        At least 0.
    from_logits : bool, default False
    label_smoothing : float or LearningRateSchedule, default 0
    reduction, name : str
        As for :class:`Loss`.

    References
    ----------
    Lin et al., Focal loss for dense object detection, 2017.

    Examples
    --------
    >>> import fastnn
    >>> round(fastnn.losses.CategoricalFocalCrossentropy()([[0, 1, 0]], [[0.1, 0.8, 0.1]]), 4)
    0.0022
    """

    compares_outputs = True

    name = "categorical_focal_crossentropy"

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float | LearningRateSchedule = 0.0,
        reduction: str = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, reduction, name)
        several = isinstance(alpha, (list, tuple, np.ndarray))
        self.alpha: float | tuple[float, ...] = (
            tuple(number("alpha", value, 0) for value in alpha)  # type: ignore[union-attr]
            if several
            else number("alpha", alpha, 0)
        )
        self.gamma = number("gamma", gamma, 0)

    def target_columns(self, outputs: int) -> int:
        """Return the number of columns of y: as many as outputs; raise where alpha is a sequence of another length."""
        if isinstance(self.alpha, tuple) and len(self.alpha) != outputs:
            raise ValueError(f"alpha must hold one number for each of the {outputs} outputs, got {len(self.alpha)}")
        return outputs

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        t = self._smooth(t, y.shape[1])
        p = _softmax(y) if self.from_logits else y / y.sum(axis=1, keepdims=True)
        q = np.clip(p, EPSILON, 1 - EPSILON)
        return -(np.asarray(self.alpha) * (1 - q) ** self.gamma * t * np.log(q)).sum(axis=1)

    def _constants(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        several = isinstance(self.alpha, tuple)
        numbers = (self._smoothing, self.gamma, 0.0 if several else float(self.alpha))  # type: ignore[arg-type]
        return numbers, self.alpha if isinstance(self.alpha, tuple) else ()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"alpha": listed(self.alpha), "gamma": self.gamma, **super().get_config()}
