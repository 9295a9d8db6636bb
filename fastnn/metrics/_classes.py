"""Metrics of classes: F scores, and intersection over union of the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn._settings import flag, listed, number
from fastnn.losses._targets import check_labels
from fastnn.metrics._base import EITHER, Array, Metric, State, Value, plain, ratio

_EPSILON = 1e-7
_MOST = 2**13  # most classes: the counts of all their pairs take half a gibibyte


class FBetaScore(Metric):
    """(1 + beta²) precision recall / (beta² precision + recall), of each output.

    Parameters
    ----------
    average : {None, "micro", "macro", "weighted"}, default None
        None gives an array of each output's score, ``"micro"`` the score of the counts of all outputs together,
        ``"macro"`` the mean of the scores, ``"weighted"`` their mean weighted by each output's number of targets.
    beta : float, default 1.0
        How much more recall is worth than precision; more than 0.
    threshold : float, optional
        In (0, 1]: outputs above it are positives. None: the largest output of each row is the positive.
    name : str, default "fbeta_score"

    Notes
    -----
    Targets are rows like the output, or labels, which stand for one-hot rows.

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.FBetaScore(average="macro", beta=2.0)
    >>> metric.update_state([[0, 1, 0], [1, 0, 0]], [[0.1, 0.8, 0.1], [0.3, 0.6, 0.1]])
    >>> round(metric.result(), 4)
    0.2778
    """

    name, engine_name, targets = "fbeta_score", "class_counts", EITHER
    direction = "up"

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if average not in (None, "micro", "macro", "weighted"):
            raise ValueError(f"average must be 'micro', 'macro', 'weighted' or None, got {average!r}")
        self.average, self.beta = average, number("beta", beta, 0)
        self.threshold = None if threshold is None else number("threshold", threshold, 0, 1)
        if not self.beta or self.threshold == 0:
            raise ValueError(f"{'threshold' if self.beta else 'beta'} must be more than 0, got 0")

    def _constants(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return (-1.0 if self.threshold is None else self.threshold,), ()

    def _update(self, t: Array, y: Array, w: State) -> State:
        if self.threshold is None:
            positive = (y >= y.max(axis=1, keepdims=True)) & (np.abs(y) > 1e-9)
        else:
            positive = y > y.dtype.type(self.threshold)
        return np.stack([w @ (positive * t), w @ positive, w @ t], axis=1).reshape(-1)

    def value(self, state: State) -> Value:
        """Return one score, or an array of each output's score."""
        counts = state.reshape(-1, 3)
        right, positives, targets = (counts.sum(axis=0, keepdims=True) if self.average == "micro" else counts).T
        precision, recall = right / (positives + _EPSILON), right / (targets + _EPSILON)
        squared = self.beta**2
        scores = (1 + squared) * precision * recall / (squared * precision + recall + _EPSILON)
        if self.average == "weighted":
            return float((scores * targets).sum() / (targets.sum() + _EPSILON))
        return np.asarray(scores) if self.average is None else float(scores.mean())

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"average": self.average, "beta": self.beta, "threshold": self.threshold, **super().get_config()}


class F1Score(FBetaScore):
    """The F score with beta = 1: the harmonic mean of precision and recall.

    Parameters
    ----------
    average : {None, "micro", "macro", "weighted"}, default None
    threshold : float, optional
    name : str, default "f1_score"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.F1Score(average="macro")
    >>> metric.update_state([[0, 1, 0], [1, 0, 0]], [[0.1, 0.8, 0.1], [0.3, 0.6, 0.1]])
    >>> round(metric.result(), 4)
    0.2222
    """

    name = "f1_score"

    def __init__(self, average: str | None = None, threshold: float | None = None, name: str | None = None) -> None:
        super().__init__(average, 1.0, threshold, name)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {key: value for key, value in super().get_config().items() if key != "beta"}


class IoU(Metric):
    """Intersection over union: TP / (TP + FP + FN), averaged over `target_class_ids`.

    Parameters
    ----------
    num_classes : int
    target_class_ids : sequence of int
        The classes whose values are averaged.
    name : str, default "io_u"
    ignore_class : int, optional
        Rows whose target is this class are left out.
    sparse_y_true : bool, default True
        Whether a target is the number of a class, rather than a one-hot row.
    sparse_y_pred : bool, default True
        Whether the one output is the number of a class; else the class is the place of the largest output.

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.IoU(num_classes=3, target_class_ids=[0, 1])
    >>> metric.update_state([[0], [1], [1]], [[0], [1], [2]])
    >>> round(metric.result(), 4)
    0.75
    """

    name, engine_name, targets = "io_u", "class_matrix", EITHER
    direction = "up"

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
    ) -> None:
        super().__init__(name)
        for argument, value, low in (("num_classes", num_classes, 1), ("ignore_class", ignore_class, -(2**31))):
            wrong = isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value < 2**31
            if wrong and (value is not None or argument == "num_classes"):
                raise ValueError(f"{argument} must be an integer of at least {low}, got {value!r}")
        if num_classes > _MOST:
            raise ValueError(
                f"num_classes must be at most {_MOST}, as the metric counts each pair of classes, got {num_classes}"
            )
        self.num_classes, self.ignore_class = int(num_classes), ignore_class
        self.sparse_y_true = flag("sparse_y_true", sparse_y_true)
        self.sparse_y_pred = flag("sparse_y_pred", sparse_y_pred)
        self.target_class_ids = tuple(int(number("target_class_ids", k, 0, num_classes - 1)) for k in target_class_ids)

    def check_outputs(self, outputs: int) -> None:
        """Raise ValueError unless there is one output, the class, or one for each class, as sparse_y_pred says."""
        wanted = 1 if self.sparse_y_pred else self.num_classes
        if outputs != wanted:
            raise ValueError(
                f"{type(self).__name__} with sparse_y_pred={self.sparse_y_pred} needs {wanted} outputs, got {outputs}"
            )

    def _constants(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        ignored = (0.0, 0.0) if self.ignore_class is None else (1.0, float(self.ignore_class))
        return (float(self.num_classes), float(self.sparse_y_pred), *ignored), ()

    def _targets_for(self, t: Array, y: Array) -> Array:
        if not self.sparse_y_true:
            if t.shape != (len(y), self.num_classes):
                raise ValueError(f"y_true must have shape ({len(y)}, {self.num_classes}), one-hot, got {t.shape}")
            return t.argmax(axis=1)
        if t.size != len(y):
            raise ValueError(f"y_true must hold a class for each of the {len(y)} rows, got shape {t.shape}")
        check_labels(t.reshape(-1), self.num_classes, "y_true", self._label_counts)
        return t.reshape(-1)

    def _label_counts(self, labels: Array) -> Array:
        return np.ones(len(labels)) if self.ignore_class is None else np.asarray(labels != self.ignore_class, float)

    def _update(self, t: Array, y: Array, w: State) -> State:
        self.check_outputs(y.shape[1])
        found = y[:, 0] if self.sparse_y_pred else y.argmax(axis=1)
        counts = self._label_counts(t) != 0
        n = self.num_classes
        inside = counts & (t >= 0) & (t < n) & (found >= 0) & (found < n)
        pairs = t[inside].astype(np.int64) * n + found[inside].astype(np.int64)
        return np.r_[np.bincount(pairs, w[inside], minlength=n * n), (counts & ~inside).sum()]

    may_refuse = True

    def value(self, state: State) -> float:
        """Return the mean over those of the classes that occur."""
        if state[-1]:
            raise ValueError(
                f"metric {self.name!r} needs classes from 0 to {self.num_classes - 1}; some rows have others"
            )
        matrix = state[:-1].reshape(self.num_classes, self.num_classes)
        right, union = matrix.diagonal(), matrix.sum(axis=0) + matrix.sum(axis=1) - matrix.diagonal()
        chosen = np.array(self.target_class_ids, np.int64)
        occurring = union[chosen] > 0
        return float(plain(np.asarray(ratio(ratio(right, union)[chosen].sum(), occurring.sum()))))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config: dict[str, Any] = {"num_classes": self.num_classes, "target_class_ids": listed(self.target_class_ids)}
        config |= {"sparse_y_true": self.sparse_y_true, "sparse_y_pred": self.sparse_y_pred}
        return (
            config | ({} if self.ignore_class is None else {"ignore_class": self.ignore_class}) | super().get_config()
        )


class MeanIoU(IoU):
    """Intersection over union, averaged over all classes; arguments as for :class:`IoU`, without target_class_ids.

    Parameters
    ----------
    num_classes : int
    name : str, default "mean_io_u"
    ignore_class : int, optional
    sparse_y_true, sparse_y_pred : bool, default True

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.MeanIoU(num_classes=3)
    >>> metric.update_state([[0], [1], [1]], [[0], [1], [2]])
    >>> round(metric.result(), 4)
    0.5
    """

    name = "mean_io_u"

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
    ) -> None:
        super().__init__(num_classes, (), name, ignore_class, sparse_y_true, sparse_y_pred)
        self.target_class_ids = tuple(range(self.num_classes))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {key: value for key, value in super().get_config().items() if key != "target_class_ids"}


class OneHotMeanIoU(MeanIoU):
    """:class:`MeanIoU` of one-hot targets and one output a class.

    Parameters
    ----------
    num_classes : int
    name : str, default "one_hot_mean_io_u"
    ignore_class : int, optional
    sparse_y_pred : bool, default False

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.OneHotMeanIoU(num_classes=3)
    >>> metric.update_state([[0, 1, 0], [1, 0, 0]], [[0.1, 0.8, 0.1], [0.3, 0.6, 0.1]])
    >>> round(metric.result(), 4)
    0.25
    """

    name = "one_hot_mean_io_u"

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
    ) -> None:
        super().__init__(num_classes, name, ignore_class, False, sparse_y_pred)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {key: value for key, value in super().get_config().items() if key != "sparse_y_true"}
