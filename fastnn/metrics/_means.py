"""Metrics that are the mean over rows of one value a row: accuracies, and the values of losses."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from fastnn import losses
from fastnn._head import LABELS, Measure
from fastnn._settings import number
from fastnn.metrics._base import Array, Metric, State, ratio


class MeanMetric(Metric):
    """The (weighted) mean over rows of one value a row."""

    def _rows(self, t: Array, y: State) -> Array:
        raise NotImplementedError

    def _counts(self, t: Array, rows: int) -> State:
        return np.ones(rows)

    def _update(self, t: Array, y: Array, w: State) -> State:
        counts = w * self._counts(t, len(y))
        return np.array([(counts * self._rows(t, y)).sum(), counts.sum()])

    def value(self, state: State) -> float:
        """Return the sum of weight x value, divided by the sum of weights; 0 without a row."""
        return float(state[0] / state[1]) if state[1] else 0.0


class BinaryAccuracy(MeanMetric):
    """Share of outputs for which (output > threshold) equals the target, 0 or 1.

    Parameters
    ----------
    name : str, default "binary_accuracy"
    threshold : float, default 0.5

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.BinaryAccuracy()
    >>> metric.update_state([[0], [1], [1]], [[0.2], [0.7], [0.4]])
    >>> round(metric.result(), 4)
    0.6667
    """

    name = engine_name = "binary_accuracy"
    direction = "up"

    def __init__(self, name: str | None = None, threshold: float = 0.5) -> None:
        super().__init__(name)
        self.threshold = number("threshold", threshold, -math.inf)

    def _rows(self, t: Array, y: State) -> Array:
        return np.asarray(((y > self.threshold) == t).mean(axis=1))

    def _constants(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return (self.threshold,), ()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"threshold": self.threshold, **super().get_config()}


class CategoricalAccuracy(MeanMetric):
    """Share of rows whose largest output stands where the one-hot target has its 1.

    Parameters
    ----------
    name : str, default "categorical_accuracy"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.CategoricalAccuracy()
    >>> metric.update_state([[0, 1, 0], [1, 0, 0]], [[0.1, 0.8, 0.1], [0.3, 0.6, 0.1]])
    >>> metric.result()
    0.5
    """

    compares_outputs = True

    name = engine_name = "categorical_accuracy"
    direction = "up"

    def _rows(self, t: Array, y: State) -> Array:
        return np.asarray(y.argmax(axis=1) == t.argmax(axis=1))


class SparseCategoricalAccuracy(MeanMetric):
    """Share of rows whose largest output stands at the label.

    Parameters
    ----------
    name : str, default "sparse_categorical_accuracy"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.SparseCategoricalAccuracy()
    >>> metric.update_state([1, 0], [[0.1, 0.8, 0.1], [0.3, 0.6, 0.1]])
    >>> metric.result()
    0.5
    """

    compares_outputs = True

    name, engine_name, targets = "sparse_categorical_accuracy", "categorical_accuracy", LABELS
    direction = "up"

    def _rows(self, t: Array, y: State) -> Array:
        return np.asarray(y.argmax(axis=1) == t)


class TopKCategoricalAccuracy(MeanMetric):
    """Share of rows with fewer than k outputs larger than the output where the one-hot target has its 1.

    Parameters
    ----------
    k : int, default 5
    name : str, default "top_k_categorical_accuracy"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.TopKCategoricalAccuracy(k=2)
    >>> metric.update_state([[0, 1, 0], [1, 0, 0]], [[0.1, 0.8, 0.1], [0.3, 0.6, 0.1]])
    >>> metric.result()
    1.0
    """

    compares_outputs = True

    name, engine_name = "top_k_categorical_accuracy", "top_k_accuracy"
    direction = "up"

    def __init__(self, k: int = 5, name: str | None = None) -> None:
        super().__init__(name)
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
            raise ValueError(f"k must be an integer of at least 1, got {k!r}")
        self.k = int(k)

    def _rows(self, t: Array, y: State) -> Array:
        right = y[np.arange(len(y)), t.astype(np.intp) if self.targets == LABELS else t.argmax(axis=1)]
        return np.isfinite(right) & ((y > right[:, None]).sum(axis=1) < self.k)

    def _constants(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return (float(self.k),), ()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"k": self.k, **super().get_config()}


class SparseTopKCategoricalAccuracy(TopKCategoricalAccuracy):
    """Share of rows with fewer than k outputs larger than the output at the label.

    Parameters
    ----------
    k : int, default 5
    name : str, default "sparse_top_k_categorical_accuracy"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.SparseTopKCategoricalAccuracy(k=2)
    >>> metric.update_state([1, 0], [[0.1, 0.8, 0.1], [0.3, 0.6, 0.1]])
    >>> metric.result()
    1.0
    """

    name, targets = "sparse_top_k_categorical_accuracy", LABELS


class LossMetric(MeanMetric):
    """The mean over rows of a loss, without the loss's reduction."""

    engine_name = "mean_loss"
    loss_class: ClassVar[type[losses.Loss]]

    def __init__(self, name: str | None = None, **arguments: Any) -> None:
        super().__init__(name)
        self._arguments = arguments
        self.loss = self.loss_class(**arguments)

    def _rows(self, t: Array, y: State) -> Array:
        return self.loss._rows(t.astype(np.float64) if self.targets != LABELS else t, y.astype(np.float64))

    def _counts(self, t: Array, rows: int) -> State:
        return self.loss._counts(t) if self.targets == LABELS else np.ones(rows)

    def _label_counts(self, labels: Array) -> Array:
        return self.loss._counts(labels)

    def measure(self, weighted: bool = False) -> Measure:
        """Return the description of what the engine computes."""
        numbers, vector = self.loss._constants()
        return Measure(self.engine_name, weighted, numbers, vector, self.loss.engine_name)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**self._arguments, **super().get_config()}


class MeanSquaredError(LossMetric):
    """Mean of (y - t)².

    Parameters
    ----------
    name : str, default "mean_squared_error"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.MeanSquaredError()
    >>> metric.update_state([[1.0], [2.0]], [[1.5], [2.0]])
    >>> round(metric.result(), 4)
    0.125
    """

    name, loss_class = "mean_squared_error", losses.MeanSquaredError


class RootMeanSquaredError(LossMetric):
    """The root of the mean of (y - t)².

    Parameters
    ----------
    name : str, default "root_mean_squared_error"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.RootMeanSquaredError()
    >>> metric.update_state([[1.0], [2.0]], [[1.5], [2.0]])
    >>> round(metric.result(), 4)
    0.3536
    """

    name, loss_class = "root_mean_squared_error", losses.MeanSquaredError

    def value(self, state: State) -> float:
        """Return the root of the mean."""
        return math.sqrt(super().value(state))


class MeanAbsoluteError(LossMetric):
    """Mean of abs(y - t).

    Parameters
    ----------
    name : str, default "mean_absolute_error"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.MeanAbsoluteError()
    >>> metric.update_state([[1.0], [2.0]], [[1.5], [2.0]])
    >>> round(metric.result(), 4)
    0.25
    """

    name, loss_class = "mean_absolute_error", losses.MeanAbsoluteError


class MeanAbsolutePercentageError(LossMetric):
    """Mean of 100 abs(y - t) / max(abs(t), 1e-7).

    Parameters
    ----------
    name : str, default "mean_absolute_percentage_error"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.MeanAbsolutePercentageError()
    >>> metric.update_state([[1.0], [2.0]], [[1.5], [2.0]])
    >>> round(metric.result(), 4)
    25.0
    """

    name, loss_class = "mean_absolute_percentage_error", losses.MeanAbsolutePercentageError


class MeanSquaredLogarithmicError(LossMetric):
    """Mean of (log(1 + y) - log(1 + t))².

    Parameters
    ----------
    name : str, default "mean_squared_logarithmic_error"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.MeanSquaredLogarithmicError()
    >>> metric.update_state([[1.0], [2.0]], [[1.5], [2.0]])
    >>> round(metric.result(), 4)
    0.0249
    """

    name, loss_class = "mean_squared_logarithmic_error", losses.MeanSquaredLogarithmicError


class LogCoshError(LossMetric):
    """Mean of log cosh(y - t).

    Parameters
    ----------
    name : str, default "logcosh"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.LogCoshError()
    >>> metric.update_state([[1.0], [2.0]], [[1.5], [2.0]])
    >>> round(metric.result(), 4)
    0.0601
    """

    name, loss_class = "logcosh", losses.LogCosh


class CosineSimilarity(LossMetric):
    """Mean of the cosine of the angle between y and t: 1 for the same direction, unlike the loss.

    Parameters
    ----------
    name : str, default "cosine_similarity"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.CosineSimilarity()
    >>> metric.update_state([[1.0, 0.0]], [[1.0, 1.0]])
    >>> round(metric.result(), 4)
    0.7071
    """

    compares_outputs = True

    name, loss_class = "cosine_similarity", losses.CosineSimilarity
    direction = "up"

    def value(self, state: State) -> float:
        """Return minus the mean of the loss, whose values are minus the cosines."""
        return -super().value(state)


class Poisson(LossMetric):
    """Mean of y - t log(y + 1e-7).

    Parameters
    ----------
    name : str, default "poisson"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.Poisson()
    >>> metric.update_state([[1.0], [2.0]], [[1.5], [2.0]])
    >>> round(metric.result(), 4)
    0.8541
    """

    name, loss_class = "poisson", losses.Poisson


class KLDivergence(LossMetric):
    """Mean over rows of Σ t log(t / y).

    Parameters
    ----------
    name : str, default "kl_divergence"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.KLDivergence()
    >>> metric.update_state([[0, 1, 0], [1, 0, 0]], [[0.1, 0.8, 0.1], [0.3, 0.6, 0.1]])
    >>> round(metric.result(), 4)
    0.7136
    """

    name, loss_class = "kl_divergence", losses.KLDivergence


class Hinge(LossMetric):
    """Mean of max(1 - s y, 0), where s is -1 or 1 for the target; see :class:`fastnn.losses.Hinge`.

    Parameters
    ----------
    name : str, default "hinge"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.Hinge()
    >>> metric.update_state([[0], [1], [1]], [[0.2], [0.7], [0.4]])
    >>> round(metric.result(), 4)
    0.7
    """

    name, loss_class = "hinge", losses.Hinge


class SquaredHinge(LossMetric):
    """Mean of max(1 - s y, 0)², where s is -1 or 1 for the target; see :class:`fastnn.losses.Hinge`.

    Parameters
    ----------
    name : str, default "squared_hinge"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.SquaredHinge()
    >>> metric.update_state([[0], [1], [1]], [[0.2], [0.7], [0.4]])
    >>> round(metric.result(), 4)
    0.63
    """

    name, loss_class = "squared_hinge", losses.SquaredHinge


class CategoricalHinge(LossMetric):
    """Mean over rows of max(1 + max (1 - t) y - Σ t y, 0).

    Parameters
    ----------
    name : str, default "categorical_hinge"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.CategoricalHinge()
    >>> metric.update_state([[0, 1, 0], [1, 0, 0]], [[0.1, 0.8, 0.1], [0.3, 0.6, 0.1]])
    >>> round(metric.result(), 4)
    0.8
    """

    name, loss_class = "categorical_hinge", losses.CategoricalHinge


class BinaryCrossentropy(LossMetric):
    """Mean of the binary cross-entropy; arguments as for :class:`fastnn.losses.BinaryCrossentropy`.

    Parameters
    ----------
    name : str, default "binary_crossentropy"
    from_logits : bool, default False
    label_smoothing : float, default 0

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.BinaryCrossentropy()
    >>> metric.update_state([[0], [1], [1]], [[0.2], [0.7], [0.4]])
    >>> round(metric.result(), 4)
    0.4987
    """

    name, loss_class = "binary_crossentropy", losses.BinaryCrossentropy

    def __init__(self, name: str | None = None, from_logits: bool = False, label_smoothing: float = 0.0) -> None:
        super().__init__(name, from_logits=from_logits, label_smoothing=label_smoothing)


class CategoricalCrossentropy(LossMetric):
    """Mean of the categorical cross-entropy; arguments as for :class:`fastnn.losses.CategoricalCrossentropy`.

    Parameters
    ----------
    name : str, default "categorical_crossentropy"
    from_logits : bool, default False
    label_smoothing : float, default 0

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.CategoricalCrossentropy()
    >>> metric.update_state([[0, 1, 0], [1, 0, 0]], [[0.1, 0.8, 0.1], [0.3, 0.6, 0.1]])
    >>> round(metric.result(), 4)
    0.7136
    """

    compares_outputs = True

    name, loss_class = "categorical_crossentropy", losses.CategoricalCrossentropy

    def __init__(self, name: str | None = None, from_logits: bool = False, label_smoothing: float = 0.0) -> None:
        super().__init__(name, from_logits=from_logits, label_smoothing=label_smoothing)


class SparseCategoricalCrossentropy(LossMetric):
    """Mean of the sparse cross-entropy; arguments as for :class:`fastnn.losses.SparseCategoricalCrossentropy`.

    Parameters
    ----------
    name : str, default "sparse_categorical_crossentropy"
    from_logits : bool, default False
    ignore_class : int, optional

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.SparseCategoricalCrossentropy()
    >>> metric.update_state([1, 0], [[0.1, 0.8, 0.1], [0.3, 0.6, 0.1]])
    >>> round(metric.result(), 4)
    0.7136
    """

    compares_outputs = True

    name, loss_class, targets = "sparse_categorical_crossentropy", losses.SparseCategoricalCrossentropy, LABELS

    def __init__(self, name: str | None = None, from_logits: bool = False, ignore_class: int | None = None) -> None:
        super().__init__(name, from_logits=from_logits, ignore_class=ignore_class)


class R2Score(Metric):
    """The coefficient of determination 1 - Σ (t - y)² / Σ (t - mean t)² of each output, averaged.

    Parameters
    ----------
    class_aggregation : {"uniform_average", "variance_weighted_average", None}, default "uniform_average"
        How the scores of several outputs become one; None gives an array of the scores.
    num_regressors : int, default 0
        The number of features, for the adjusted score; 0 gives the score that is not adjusted.
    name : str, default "r2_score"

    Examples
    --------
    >>> import fastnn
    >>> metric = fastnn.metrics.R2Score()
    >>> metric.update_state([[1.0], [2.0], [3.0]], [[1.5], [2.0], [3.0]])
    >>> metric.result()
    0.875
    """

    name, engine_name = "r2_score", "squares"
    direction = "up"

    def __init__(
        self, class_aggregation: str | None = "uniform_average", num_regressors: int = 0, name: str | None = None
    ) -> None:
        super().__init__(name)
        if class_aggregation not in (None, "uniform_average", "variance_weighted_average"):
            raise ValueError(
                f"class_aggregation must be 'uniform_average', 'variance_weighted_average' or None, got "
                f"{class_aggregation!r}"
            )
        if isinstance(num_regressors, bool) or not isinstance(num_regressors, (int, np.integer)) or num_regressors < 0:
            raise ValueError(f"num_regressors must be an integer of at least 0, got {num_regressors!r}")
        self.class_aggregation, self.num_regressors = class_aggregation, int(num_regressors)

    def _update(self, t: Array, y: Array, w: State) -> State:
        first, t, y = (a.astype(np.float64) for a in (t[:1].sum(axis=0), t, y))
        apart, error = t - first, y - t  # targets far larger than their differences lose no digits so
        mean = ratio(w @ apart, w.sum())
        sums = np.stack([first, mean, w @ (apart - mean) ** 2, w @ (error * error)], axis=1)
        return np.r_[sums.reshape(-1), w.sum(), len(y)]

    def merged(self, state: State, more: State) -> State:
        """Merge means by their weights; the sums of squares about them grow by the squared distance of the means."""
        if not state[-1] or not more[-1]:
            return state if state[-1] else more
        both, old, new = state + more, state[:-2].reshape(-1, 4), more[:-2].reshape(-1, 4)
        apart, share = new[:, 0] - old[:, 0] + (new[:, 1] - old[:, 1]), float(ratio(more[-2], both[-2]))
        columns = both[:-2].reshape(-1, 4)
        columns[:, 0] = old[:, 0]
        columns[:, 1] = old[:, 1] + share * apart
        columns[:, 2] += state[-2] * share * apart**2
        return both

    def value(self, state: State) -> Any:
        """Return the score; an output whose targets are all equal scores 1 where it always meets them, else 0."""
        if not state[-2]:
            return 0.0
        _, _, variation, errors = state[:-2].reshape(-1, 4).T
        scores = np.where(variation == 0, errors == 0, 1 - ratio(errors, variation))
        if self.class_aggregation is None:
            score: Any = scores
        elif self.class_aggregation == "uniform_average" or not variation.any():
            score = scores.mean()
        else:
            score = (variation * scores).sum() / variation.sum()
        left = state[-1] - self.num_regressors - 1
        if self.num_regressors and left > 0:
            score = 1 - (1 - score) * (state[-1] - 1) / left
        return score if self.class_aggregation is None else float(score)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"class_aggregation": self.class_aggregation, "num_regressors": self.num_regressors}
        return {**own, **super().get_config()}
