"""Metrics that count how many positives and negatives lie above thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastnn._registry import nearest_names
from fastnn._settings import flag, listed, number
from fastnn.metrics._base import EITHER, Array, Metric, State, Value, plain, ratio

_EPSILON = 1e-7
_MOST = 2**20  # most thresholds
_BELOW_ALL = -1e10  # the value of an output outside the largest k; as a threshold, it has only the largest k above it


class Counts(NamedTuple):
    """How many targets are 1 above, 0 above, 0 below and 1 below each threshold: arrays of shape (..., thresholds)."""

    true_positives: State
    false_positives: State
    true_negatives: State
    false_negatives: State


class ThresholdMetric(Metric):
    """Counts, for targets 0 and for targets 1, how many outputs passed how many of the thresholds.

    `thresholds` is the sorted list. `even` says that its steps have the same length, from 0 (or just below it) to 1, so
    that one multiplication finds the last threshold an output passed, as in Keras.
    """

    engine_name, targets = "threshold_counts", EITHER
    multi_label = False
    from_logits = False
    top_k: int | None = None
    class_id: int | None = None

    @property
    def may_refuse(self) -> bool:  # type: ignore[override]
        """Whether outputs outside of 0 to 1 raise: they do where thresholds are even steps from 0 to 1."""
        return self._even and not self.from_logits

    def _set_thresholds(self, thresholds: Sequence[float], even: bool) -> None:
        self._thresholds, self._even = tuple(thresholds), even

    def _set_columns(self, top_k: Any, class_id: Any) -> None:
        for name, value, low in (("top_k", top_k, 1), ("class_id", class_id, 0)):
            wrong = isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low
            if value is not None and wrong:
                raise ValueError(f"{name} must be an integer of at least {low} or None, got {value!r}")
            setattr(self, name, None if value is None else int(value))

    def check_outputs(self, outputs: int) -> None:
        """Raise ValueError where class_id is none of the outputs, or top_k is more than there are."""
        if self.class_id is not None and self.class_id >= outputs:
            raise ValueError(f"class_id must be below the number of outputs, {outputs}, got {self.class_id}")
        if self.top_k is not None and self.top_k > outputs:
            raise ValueError(f"top_k must be at most the number of outputs, {outputs}, got {self.top_k}")

    def _constants(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        even = float(len(self._thresholds)) if self._even else 0.0
        column = -1.0 if self.class_id is None else float(self.class_id)
        flags = float(self.multi_label) + 2 * float(self.from_logits)
        return (even, column, float(self.top_k or 0), flags), () if self._even else self._thresholds

    def _passed(self, y: Array) -> Array:
        """Return how many thresholds each output is above."""
        if not self._even:
            return np.searchsorted(np.array(self._thresholds, y.dtype), y, side="left")
        return np.maximum(np.ceil(y * y.dtype.type(len(self._thresholds) - 1)), 1).astype(np.int64)

    def _update(self, t: Array, y: Array, w: State) -> State:
        self.check_outputs(y.shape[1])
        if self.from_logits:
            y = 1 / (1 + np.exp(-y))
        outside = ~((y >= 0) & (y <= 1)) if self._even else np.zeros(y.shape, bool)
        if self.top_k is not None:
            order = np.argsort(-y, axis=1, kind="stable")[:, : self.top_k]
            kept = np.full_like(y, _BELOW_ALL)
            np.put_along_axis(kept, order, np.take_along_axis(y, order, axis=1), axis=1)
            y = kept
        columns = slice(None) if self.class_id is None else slice(self.class_id, self.class_id + 1)
        y, t, outside = y[:, columns], t[:, columns], outside[:, columns]
        weights = np.broadcast_to(w[:, None], y.shape)
        width = len(self._thresholds) + 1
        place = np.where(outside, 0, self._passed(np.where(outside, 0, y))) + width * (t != 0)
        if self.multi_label:
            place = place + 2 * width * np.arange(y.shape[1])
        size = 2 * width * (y.shape[1] if self.multi_label else 1)
        counts = np.bincount(place[~outside], weights[~outside], minlength=size)
        return np.r_[counts, np.where(np.isnan(y), np.nan, weights)[outside].sum()]

    def _counts(self, state: State) -> Counts:
        """Return the counts at each threshold; with several labels, for each of the labels."""
        if state[-1] > 0:
            raise ValueError(
                f"metric {self.name!r} needs predictions from 0 to 1, got {state[-1]:g} outside: end the model with a "
                f"sigmoid or softmax, or pass from_logits=True where the metric has it"
            )
        width = len(self._thresholds) + 1
        passed = state[:-1].reshape(-1, 2, width) + (math.nan if math.isnan(state[-1]) else 0.0)
        above = passed[..., ::-1].cumsum(axis=-1)[..., ::-1][..., 1:]
        below = passed.sum(axis=-1, keepdims=True) - above
        if not self.multi_label:
            above, below = above[0], below[0]
        return Counts(above[..., 1, :], above[..., 0, :], below[..., 0, :], below[..., 1, :])


class _AtThresholds(ThresholdMetric):
    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self._set_columns(top_k, class_id)
        several = isinstance(thresholds, (list, tuple, np.ndarray))
        default = 0.5 if top_k is None else _BELOW_ALL
        given = [default] if thresholds is None else list(thresholds) if several else [thresholds]  # type: ignore[arg-type]
        if not given:
            raise ValueError("thresholds must hold at least one number")
        lowest = _BELOW_ALL if thresholds is None else 0.0
        values = tuple(number("thresholds", value, lowest, 1) for value in given)
        self.thresholds = values if several else None if thresholds is None else values[0]
        self._order = np.argsort(np.argsort(values, kind="stable"), kind="stable")
        self._set_thresholds(sorted(values), False)

    def _of(self, counts: Counts) -> State:
        raise NotImplementedError

    def value(self, state: State) -> Value:
        """Return a number for one threshold, an array for several."""
        return plain(self._of(self._counts(state))[self._order])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"thresholds": listed(self.thresholds), "top_k": self.top_k, "class_id": self.class_id}
        return {**{key: value for key, value in own.items() if value is not None}, **super().get_config()}


class Precision(_AtThresholds):
    """True positives / (true positives + false positives).

    Parameters
    ----------
    thresholds : float or sequence of float, default 0.5
        Numbers from 0 to 1; an output above a threshold is a positive. For several, the value is an array.
    top_k : int, optional
        Only the k largest outputs of a row can be positives; if `thresholds` is None, these k are.
    class_id : int, optional
        The only output that counts; default: all do.
    name : str, default "precision"

    Notes
    -----
    Targets are rows like the output, or labels, which stand for one-hot rows.

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.Precision()
    >>> metric.update_state([[0], [1], [1]], [[0.2], [0.7], [0.4]])
    >>> metric.result()
    1.0
    """

    name = "precision"
    direction = "up"

    def _of(self, counts: Counts) -> State:
        return np.asarray(ratio(counts.true_positives, counts.true_positives + counts.false_positives))


class Recall(_AtThresholds):
    """True positives / (true positives + false negatives); arguments as for :class:`Precision`.

    Parameters
    ----------
    thresholds : float or sequence of float, default 0.5
    top_k : int, optional
    class_id : int, optional
    name : str, default "recall"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.Recall()
    >>> metric.update_state([[0], [1], [1]], [[0.2], [0.7], [0.4]])
    >>> metric.result()
    0.5
    """

    name = "recall"
    direction = "up"

    def _of(self, counts: Counts) -> State:
        return np.asarray(ratio(counts.true_positives, counts.true_positives + counts.false_negatives))


class _Count(_AtThresholds):
    def __init__(self, thresholds: float | Sequence[float] | None = None, name: str | None = None) -> None:
        super().__init__(thresholds, None, None, name)

    def _of(self, counts: Counts) -> State:
        return np.asarray(getattr(counts, type(self).name))


class TruePositives(_Count):
    """Outputs above the threshold (default 0.5) whose target is 1.

    Parameters
    ----------
    thresholds : float or sequence of float, default 0.5
        Several give an array of results.
    name : str, default "true_positives"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.TruePositives()
    >>> metric.update_state([[0], [1], [1]], [[0.2], [0.7], [0.4]])
    >>> metric.result()
    1.0
    """

    name = "true_positives"
    direction = "up"


class FalsePositives(_Count):
    """Outputs above the threshold (default 0.5) whose target is 0.

    Parameters
    ----------
    thresholds : float or sequence of float, default 0.5
        Several give an array of results.
    name : str, default "false_positives"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.FalsePositives()
    >>> metric.update_state([[0], [1], [1]], [[0.2], [0.7], [0.4]])
    >>> metric.result()
    0.0
    """

    name = "false_positives"


class TrueNegatives(_Count):
    """Outputs not above the threshold (default 0.5) whose target is 0.

    Parameters
    ----------
    thresholds : float or sequence of float, default 0.5
        Several give an array of results.
    name : str, default "true_negatives"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.TrueNegatives()
    >>> metric.update_state([[0], [1], [1]], [[0.2], [0.7], [0.4]])
    >>> metric.result()
    1.0
    """

    name = "true_negatives"
    direction = "up"


class FalseNegatives(_Count):
    """Outputs not above the threshold (default 0.5) whose target is 1.

    Parameters
    ----------
    thresholds : float or sequence of float, default 0.5
        Several give an array of results.
    name : str, default "false_negatives"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.FalseNegatives()
    >>> metric.update_state([[0], [1], [1]], [[0.2], [0.7], [0.4]])
    >>> metric.result()
    1.0
    """

    name = "false_negatives"


def _count_of_thresholds(value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= _MOST:
        raise ValueError(f"num_thresholds must be an integer of at least {least} and at most 2**20, got {value!r}")
    return int(value)


def _steps(count: int) -> list[float]:
    """Return the even thresholds inside (0, 1)."""
    return [(k + 1) / (count - 1) for k in range(count - 2)]


class _BestUnder(ThresholdMetric):
    """The best value of one rate over those thresholds where another rate reaches a bound."""

    argument: str
    rates: tuple[str, str]  # the name of the bounded rate, and of the reported rate

    def __init__(
        self, bound: float, num_thresholds: int = 200, class_id: int | None = None, name: str | None = None
    ) -> None:
        super().__init__(name)
        self.bound = number(self.argument, bound, 0, 1)
        self.num_thresholds = _count_of_thresholds(num_thresholds, 1)
        self._set_columns(None, class_id)
        if self.num_thresholds == 1:
            self._set_thresholds([0.5], False)
        else:
            self._set_thresholds([0.0, *_steps(self.num_thresholds), 1.0], True)

    def value(self, state: State) -> float:
        """Return the reported rate; 0 where the bound is never reached."""
        c = self._counts(state)
        rates = {
            "sensitivity": ratio(c.true_positives, c.true_positives + c.false_negatives),
            "specificity": ratio(c.true_negatives, c.true_negatives + c.false_positives),
            "precision": ratio(c.true_positives, c.true_positives + c.false_positives),
        }
        bounded, reported = (rates[name] for name in self.rates)
        return float(np.where(bounded >= self.bound, reported, 0).max())

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = {self.argument: self.bound, "num_thresholds": self.num_thresholds}
        return config | ({} if self.class_id is None else {"class_id": self.class_id}) | super().get_config()


class SensitivityAtSpecificity(_BestUnder):
    """The largest TP / (TP + FN) over thresholds where TN / (TN + FP) is at least `specificity`.

    Parameters
    ----------
    specificity : float
    num_thresholds : int, default 200
    class_id : int, optional
    name : str, default "sensitivity_at_specificity"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.SensitivityAtSpecificity(specificity=0.5)
    >>> metric.update_state([[0], [1], [1]], [[0.2], [0.7], [0.4]])
    >>> round(metric.result(), 4)
    1.0
    """

    name, argument, rates = "sensitivity_at_specificity", "specificity", ("specificity", "sensitivity")
    direction = "up"

    def __init__(
        self, specificity: float, num_thresholds: int = 200, class_id: int | None = None, name: str | None = None
    ) -> None:
        super().__init__(specificity, num_thresholds, class_id, name)


class SpecificityAtSensitivity(_BestUnder):
    """The largest TN / (TN + FP) over thresholds where TP / (TP + FN) is at least `sensitivity`.

    Parameters
    ----------
    sensitivity : float
    num_thresholds : int, default 200
    class_id : int, optional
    name : str, default "specificity_at_sensitivity"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.SpecificityAtSensitivity(sensitivity=0.5)
    >>> metric.update_state([[0], [1], [1]], [[0.2], [0.7], [0.4]])
    >>> round(metric.result(), 4)
    1.0
    """

    name, argument, rates = "specificity_at_sensitivity", "sensitivity", ("sensitivity", "specificity")
    direction = "up"

    def __init__(
        self, sensitivity: float, num_thresholds: int = 200, class_id: int | None = None, name: str | None = None
    ) -> None:
        super().__init__(sensitivity, num_thresholds, class_id, name)


class PrecisionAtRecall(_BestUnder):
    """The largest precision over thresholds where recall is at least `recall`.

    Parameters
    ----------
    recall : float
    num_thresholds : int, default 200
    class_id : int, optional
    name : str, default "precision_at_recall"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.PrecisionAtRecall(recall=0.5)
    >>> metric.update_state([[0], [1], [1]], [[0.2], [0.7], [0.4]])
    >>> round(metric.result(), 4)
    1.0
    """

    name, argument, rates = "precision_at_recall", "recall", ("sensitivity", "precision")
    direction = "up"

    def __init__(
        self, recall: float, num_thresholds: int = 200, class_id: int | None = None, name: str | None = None
    ) -> None:
        super().__init__(recall, num_thresholds, class_id, name)


class RecallAtPrecision(_BestUnder):
    """The largest recall over thresholds where precision is at least `precision`.

    Parameters
    ----------
    precision : float
    num_thresholds : int, default 200
    class_id : int, optional
    name : str, default "recall_at_precision"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.RecallAtPrecision(precision=0.8)
    >>> metric.update_state([[0], [1], [1]], [[0.2], [0.7], [0.4]])
    >>> round(metric.result(), 4)
    1.0
    """

    name, argument, rates = "recall_at_precision", "precision", ("precision", "sensitivity")
    direction = "up"

    def __init__(
        self, precision: float, num_thresholds: int = 200, class_id: int | None = None, name: str | None = None
    ) -> None:
        super().__init__(precision, num_thresholds, class_id, name)


class AUC(ThresholdMetric):
    """The area under a curve that has a point for each threshold.

    Parameters
    ----------
    num_thresholds : int, default 200
        The number of thresholds, in even steps; more of them come closer to the exact area.
    curve : {"ROC", "PR"}, default "ROC"
        Recall against the rate of false positives, or precision against recall.
    summation_method : {"interpolation", "minoring", "majoring"}, default "interpolation"
        The height of a strip between two thresholds: the mean of its ends, the lower or the higher one. For ``"PR"``,
        ``"interpolation"`` interpolates the true positives.
    name : str, default "auc"
    thresholds : sequence of float, optional
        Thresholds from 0 to 1, instead of even steps.
    multi_label : bool, default False
        Whether the value is the mean of the areas of all outputs, instead of one area of all outputs together.
    num_labels : int, optional
        The number of outputs, accepted with `multi_label` as in Keras.
    label_weights : sequence of float, optional
        The weights of the outputs in the mean that `multi_label` asks for.
    from_logits : bool, default False
        Whether predictions are logits, of which the metric takes the sigmoid.

    References
    ----------
    Davis and Goadrich, The relationship between precision-recall and ROC curves, 2006, for the interpolation of PR.

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.AUC()
    >>> metric.update_state([[0], [1], [1]], [[0.2], [0.7], [0.4]])
    >>> round(metric.result(), 4)
    1.0
    """

    name = "auc"
    direction = "up"

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ) -> None:
        super().__init__(name)
        for argument, value, known in (
            ("curve", curve, ("ROC", "PR")),
            ("summation_method", summation_method, ("interpolation", "minoring", "majoring")),
        ):
            if value not in known:
                raise ValueError(f"{argument} {value!r} is unknown; {nearest_names(str(value), list(known))}")
        self.curve, self.summation_method = curve, summation_method
        self.multi_label, self.from_logits = flag("multi_label", multi_label), flag("from_logits", from_logits)
        if (num_labels is not None or label_weights is not None) and not multi_label:
            given = "num_labels" if num_labels is not None else "label_weights"
            raise ValueError(f"{given} needs multi_label=True")
        self.num_labels = num_labels
        self.label_weights = (
            None if label_weights is None else tuple(number("label_weights", weight, 0) for weight in label_weights)
        )
        self.thresholds = (
            None if thresholds is None else tuple(sorted(number("thresholds", t, 0, 1) for t in thresholds))
        )
        count = _count_of_thresholds(num_thresholds, 2) if thresholds is None else len(thresholds) + 2
        self.num_thresholds = count
        inside = _steps(count) if self.thresholds is None else self.thresholds
        self._set_thresholds([-_EPSILON, *inside, 1 + _EPSILON], self.thresholds is None)

    def check_outputs(self, outputs: int) -> None:
        """Raise ValueError where num_labels or label_weights do not fit the outputs."""
        given = self.num_labels if self.num_labels is not None else outputs
        weights = outputs if self.label_weights is None else len(self.label_weights)
        if given != outputs or weights != outputs:
            wrong = "num_labels" if given != outputs else "label_weights"
            raise ValueError(f"{wrong} must fit the {outputs} outputs, got {given if given != outputs else weights}")

    def value(self, state: State) -> float:
        """Return the area; for several labels, the mean of their areas."""
        counts = self._counts(state)
        if self.curve == "PR" and self.summation_method == "interpolation":
            areas = self._interpolated(counts)
        else:
            recall = ratio(counts.true_positives, counts.true_positives + counts.false_negatives)
            if self.curve == "ROC":
                x, y = ratio(counts.false_positives, counts.false_positives + counts.true_negatives), recall
            else:
                x, y = recall, ratio(counts.true_positives, counts.true_positives + counts.false_positives)
            ends = y[..., :-1], y[..., 1:]
            heights = {
                "interpolation": (ends[0] + ends[1]) / 2,
                "minoring": np.minimum(*ends),
                "majoring": np.maximum(*ends),
            }
            areas = (-np.diff(x, axis=-1) * heights[self.summation_method]).sum(axis=-1)
        return float(np.average(areas, weights=self.label_weights)) if self.multi_label else float(areas)

    @staticmethod
    def _interpolated(counts: Counts) -> State:
        """Return the area of precision (a + b p) / p over recall: true positives a + b p are linear in positives p."""
        tp, p = counts.true_positives, counts.true_positives + counts.false_positives
        steps, widths = tp[..., :-1] - tp[..., 1:], p[..., :-1] - p[..., 1:]
        slope = ratio(steps, np.maximum(widths, 0))
        intercept = tp[..., 1:] - slope * p[..., 1:]
        both = (p[..., :-1] > 0) & (p[..., 1:] > 0)
        logarithm = np.log(np.where(both, ratio(p[..., :-1], p[..., 1:]), 1))
        return np.asarray(
            ratio(slope * (steps + intercept * logarithm), tp[..., 1:] + counts.false_negatives[..., 1:]).sum(axis=-1)
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config: dict[str, Any] = {"curve": self.curve, "summation_method": self.summation_method}
        config |= {"multi_label": self.multi_label, "from_logits": self.from_logits}
        if self.thresholds is None:
            config["num_thresholds"] = self.num_thresholds
        else:
            config["thresholds"] = listed(self.thresholds)
        for name in ("num_labels", "label_weights"):
            if getattr(self, name) is not None:
                config[name] = listed(getattr(self, name))
        return config | super().get_config()
