"""What y is: how it becomes the targets of a network, and how the network's outputs become answers.

Each class stands for one kind of y. It says how many outputs the network has, which activation they have, and which
loss fits, where the user chooses none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_softmax, logsumexp, softmax, xlogy
from sklearn.utils import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from fastnn import losses
from fastnn._head import LABELS
from fastnn._warnings import warn

Array = npt.NDArray[Any]
# Losses that compare the outputs of a row with each other, so that there must be an output for each class.
OF_CLASSES = (
    losses.CategoricalCrossentropy,
    losses.CategoricalFocalCrossentropy,
    losses.CategoricalHinge,
    losses.CosineSimilarity,
    losses.KLDivergence,
)
OF_EACH_CLASS = (losses.BinaryCrossentropy, losses.BinaryFocalCrossentropy)  # each output says yes or no to its class
MARGINS = (losses.Hinge, losses.CategoricalHinge)  # outputs are above 0 for yes, and no probabilities
OF_NUMBERS = (losses.GaussianNLL, losses.Quantile)  # losses with several outputs for each target


def _weighted_mean(values: Array, weights: Array | None) -> float:
    return float(np.average(values, weights=weights))


def weights_of_classes(given: Any, y: Array, weights: Array) -> Array:
    """Return what the class of each row weighs.

    Parameters
    ----------
    given : dict of class to float, "balanced", or list of such
        A list has one for each column of y. "balanced" gives all classes the same sum of weights.
    y : ndarray, shape (rows,) or (rows, targets)
    weights : ndarray, shape (rows,)
        What the rows weigh besides.
    """
    if isinstance(given, str) and y.ndim == 1:
        _, places = np.unique(y, return_inverse=True)
        sums = np.bincount(places, weights)
        with np.errstate(divide="ignore"):  # a class of rows without weight weighs nothing
            return np.where(sums > 0, weights.sum() / (np.count_nonzero(sums) * sums), 0.0)[places]
    if y.ndim == 1 or isinstance(given, dict):
        return np.asarray(compute_sample_weight(given, y))
    each = given if isinstance(given, (list, tuple)) else [given] * y.shape[1]
    if len(each) != y.shape[1]:
        raise ValueError(f"class_weight must have one for each of {y.shape[1]} columns of y, got {len(each)}")
    return np.prod([weights_of_classes(one, column, weights) for one, column in zip(each, y.T, strict=True)], axis=0)


def link_of(loss: Any) -> str:
    """Return the name of the function that makes probabilities of the outputs that a loss asks for.

    Returns
    -------
    str
        "sigmoid" or "softmax" for logits; "margin" where nothing makes probabilities of them; "" where they are such.
    """
    if isinstance(loss, MARGINS):
        return "margin"
    if not getattr(loss, "from_logits", False):
        return ""
    return "sigmoid" if isinstance(loss, OF_EACH_CLASS) else "softmax"


def places_of(y: Array, classes: Array) -> npt.NDArray[np.int32]:
    """Return the place of each label in `classes`, which are sorted and hold them all."""
    return np.searchsorted(classes, y).astype(np.int32)


class Targets:
    """One kind of y.

    Attributes
    ----------
    outputs : int
        The number of the network's outputs.
    activation : str
        The activation of the last layer.
    names : tuple of str
        The names of the network's heads; empty where it has one output without a name.
    """

    outputs: int
    activation: str
    names: tuple[str, ...] = ()

    def loss(self, given: Any) -> Any:
        """Return the loss: the one that the user gave, or the one that fits."""
        raise NotImplementedError

    def loss_weight(self, given: Any) -> float | None:
        """Return the factor of the loss, with which it is the sum over outputs that scikit-learn minimises."""
        return None

    def measures(self, given: Any) -> list[str] | None:
        """Return the names of metrics that :meth:`loss_of` needs."""
        return None

    def loss_of(self, given: Any, y: Array, weights: Array | None) -> Callable[[Mapping[str, float]], float]:
        """Return what makes the loss that is reported of an epoch's logs."""
        return lambda logs: logs["loss"]

    def check(self, y: Array, *, all_of_them: bool = False) -> None:
        """Raise where y is of another kind, has classes that are not known, or not `all_of_them`."""
        raise NotImplementedError

    def encoded(self, y: Array, loss: Any, dtype: str) -> Any:
        """Return y as the network's targets."""
        raise NotImplementedError

    def probabilities(self, outputs: Any, link: Any) -> Any:
        """Return the probability of each class."""
        raise NotImplementedError

    def log_probabilities(self, outputs: Any, link: Any) -> Any:
        """Return the logarithm of :meth:`probabilities`, finite where the outputs are logits."""
        return np.log(self.probabilities(outputs, link))

    def margins(self, outputs: Any) -> Any:
        """Return what ``decision_function`` returns, of outputs that are above 0 for yes."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Return plain values and arrays, of which :func:`targets_of_state` makes the same targets."""
        return {"kind": type(self).__name__, **vars(self)}

    def answers(self, outputs: Any, link: Any) -> Array:
        """Return what ``predict`` returns."""
        raise NotImplementedError

    def score(self, outputs: Any, y: Array, weights: Array | None, link: Any) -> float:
        """Return the accuracy, or R² for numbers."""
        hits = self.answers(outputs, link) == y
        return _weighted_mean(hits if hits.ndim == 1 else hits.all(axis=1), weights)


class Labels(Targets):
    """The base of a column of labels.

    Parameters
    ----------
    classes : ndarray, shape (classes,)
        All labels, sorted.
    """

    def __init__(self, classes: Array) -> None:
        self.classes = classes

    def check(self, y: Array, *, all_of_them: bool = False) -> None:
        if y.ndim != 1:
            raise ValueError(f"y must be one label a row, as in the first call, got shape {y.shape}")
        found = np.unique(y)
        if all_of_them and not np.array_equal(found, self.classes):
            raise ValueError(
                f"warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self.classes}, `y` has {found}"
            )
        if len(np.setdiff1d(found, self.classes)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes}. 'y' has {found}."
            )


class TwoClasses(Labels):
    """Labels of two classes (or one), a single output: the probability of the second class."""

    outputs, activation = 1, "sigmoid"

    def loss(self, given: Any) -> Any:
        return loss_of_classes("binary_crossentropy" if given is None else given)

    def encoded(self, y: Array, loss: Any, dtype: str) -> Any:
        return (places_of(y, self.classes) if len(self.classes) > 1 else np.zeros(len(y))).astype(dtype)

    def probabilities(self, outputs: Any, link: Any) -> Any:
        if len(self.classes) == 1:
            return np.ones_like(outputs)
        second = expit(outputs) if link else outputs.clip(0, 1)
        return np.hstack([1 - second, second])

    def log_probabilities(self, outputs: Any, link: Any) -> Any:
        if not link or len(self.classes) == 1:
            return super().log_probabilities(outputs, link)
        return np.hstack([-np.logaddexp(0, outputs), -np.logaddexp(0, -outputs)])

    def margins(self, outputs: Any) -> Any:
        return outputs[:, 0]

    def answers(self, outputs: Any, link: Any) -> Array:
        second = outputs[:, 0] > (0 if link else 0.5)
        return self.classes[second.astype(np.intp) if len(self.classes) > 1 else np.zeros(len(outputs), np.intp)]


class ManyClasses(Labels):
    """Labels of several classes, an output for each: its probability.

    Parameters
    ----------
    classes : ndarray, shape (classes,)
        All labels, sorted.
    activation : str, default "softmax"
        "sigmoid" where each output says yes or no to its class: rows sum to 1 once they are divided by their sums.
    """

    def __init__(self, classes: Array, activation: str = "softmax") -> None:
        super().__init__(classes)
        self.outputs, self.activation = len(classes), activation

    def loss(self, given: Any) -> Any:
        return loss_of_classes("sparse_categorical_crossentropy" if given is None else given)

    def encoded(self, y: Array, loss: Any, dtype: str) -> Any:
        places = places_of(y, self.classes)
        return places if loss.targets == LABELS else np.eye(self.outputs, dtype=dtype)[places]

    def probabilities(self, outputs: Any, link: Any) -> Any:
        if link == "softmax":
            return softmax(outputs, axis=1)
        each = expit(outputs) if link else outputs.clip(0)
        sums = each.sum(axis=1, keepdims=True)
        return np.divide(each, sums, out=np.full_like(each, 1 / self.outputs), where=sums > 0)

    def log_probabilities(self, outputs: Any, link: Any) -> Any:
        if link == "sigmoid":  # p is 1 / (1 + exp(-outputs)), over the sum
            logs = -np.logaddexp(0, -outputs)
            return logs - logsumexp(logs, axis=1, keepdims=True)
        return log_softmax(outputs, axis=1) if link else np.log(self.probabilities(outputs, link))

    def margins(self, outputs: Any) -> Any:
        return outputs if len(self.classes) > 2 else outputs[:, -1] - outputs[:, 0]

    def answers(self, outputs: Any, link: Any) -> Array:
        return self.classes[outputs.argmax(axis=1)]


class Indicators(Targets):
    """Several labels of which any may hold: a column of 0 and 1, and an output, for each.

    Parameters
    ----------
    columns : int
    """

    activation = "sigmoid"

    def __init__(self, columns: int) -> None:
        self.outputs, self.classes = columns, np.arange(columns)

    def check(self, y: Array, *, all_of_them: bool = False) -> None:
        if y.ndim != 2 or y.shape[1] != self.outputs or not np.isin(y, (0, 1)).all():
            raise ValueError(f"y must be {self.outputs} columns of 0 and 1, as in the first call, got shape {y.shape}")

    def loss(self, given: Any) -> Any:
        loss = loss_of_classes("binary_crossentropy" if given is None else given)
        if _compares_classes(loss):
            columns = f"{self.outputs} columns of 0 and 1, of which any may hold"
            raise ValueError(f"loss={given!r} needs y with one class a row, got {columns}")
        return loss

    def loss_weight(self, given: Any) -> float | None:
        return float(self.outputs) if given is None else None

    def encoded(self, y: Array, loss: Any, dtype: str) -> Any:
        return np.ascontiguousarray(y, dtype)

    def probabilities(self, outputs: Any, link: Any) -> Any:
        return expit(outputs) if link else outputs.clip(0, 1)

    def log_probabilities(self, outputs: Any, link: Any) -> Any:
        return -np.logaddexp(0, -outputs) if link else np.log(self.probabilities(outputs, link))

    def margins(self, outputs: Any) -> Any:
        return outputs

    def answers(self, outputs: Any, link: Any) -> Array:
        return (outputs > (0 if link else 0.5)).astype(np.int64)


class SeveralTargets(Targets):
    """Several columns of labels, each with classes and a head of its own.

    Parameters
    ----------
    classes : sequence of ndarray
        The classes of each column.
    given : str or Loss, optional
        The loss that the user gave.
    """

    activation = "softmax"

    def __init__(self, classes: Sequence[Array], given: Any = None) -> None:
        self.columns: list[Targets] = [class_target(one, given) for one in classes]
        self.classes, self._given = list(classes), given
        self.outputs = sum(one.outputs for one in self.columns)
        self.names = tuple(f"target_{place}" for place in range(len(classes)))

    def under(self, names: Sequence[str]) -> SeveralTargets:
        """Return the same targets for a network whose heads have these names."""
        other = SeveralTargets(self.classes, self._given)
        other.names = tuple(names)
        return other

    def check(self, y: Array, *, all_of_them: bool = False) -> None:
        if y.ndim != 2 or y.shape[1] != len(self.columns):
            raise ValueError(f"y must have {len(self.columns)} columns, as in the first call, got shape {y.shape}")
        for one, column in zip(self.columns, y.T, strict=True):
            one.check(column, all_of_them=all_of_them)

    def loss(self, given: Any) -> Any:
        return {name: one.loss(given) for name, one in zip(self.names, self.columns, strict=True)}

    def encoded(self, y: Array, loss: Any, dtype: str) -> Any:
        each = enumerate(zip(self.names, self.columns, strict=True))
        return {name: one.encoded(y[:, place], loss[name], dtype) for place, (name, one) in each}

    def _each(self, method: str, outputs: Mapping[str, Any], link: Mapping[str, Any]) -> list[Any]:
        """Return what a method of each column says of the outputs of its head."""
        each = zip(self.names, self.columns, strict=True)
        return [getattr(one, method)(outputs[name], link[name]) for name, one in each]

    def probabilities(self, outputs: Any, link: Any) -> Any:
        return self._each("probabilities", outputs, link)

    def log_probabilities(self, outputs: Any, link: Any) -> Any:
        return self._each("log_probabilities", outputs, link)

    def margins(self, outputs: Any) -> Any:
        return [one.margins(outputs[name]) for name, one in zip(self.names, self.columns, strict=True)]

    def state(self) -> dict[str, Any]:
        return super().state() | {"columns": [one.state() for one in self.columns]}

    def answers(self, outputs: Any, link: Any) -> Array:
        found = self._each("answers", outputs, link)
        alike = len({one.dtype.kind for one in found}) == 1  # NumPy would make text of numbers beside text
        return np.stack(found if alike else [one.astype(object) for one in found], axis=1)


def loss_of_classes(given: Any) -> Any:
    """Return a loss; raise ValueError for one that is of numbers, not of classes."""
    loss = losses.get(given)
    if isinstance(loss, OF_NUMBERS):
        raise ValueError(f"loss must be one for classes, got {given!r}, which is for numbers")
    return loss


def _compares_classes(loss: Any) -> bool:
    return isinstance(loss, OF_CLASSES) or loss.targets == LABELS


def class_target(classes: Array, given: Any = None) -> TwoClasses | ManyClasses:
    """Return the kind of one column of labels, for the loss that the user gave, or for the one that fits."""
    loss = None if given is None else loss_of_classes(given)
    if len(classes) <= 2 and (loss is None or not _compares_classes(loss)):
        return TwoClasses(classes)
    return ManyClasses(classes, "sigmoid" if isinstance(loss, OF_EACH_CLASS) else "softmax")


def same_classes(given: Any, known: Any) -> bool:
    """Return whether `given` are the classes that are known, in whatever order; lists for several targets."""
    if not isinstance(known, list):
        return np.array_equal(np.unique(given), known)
    return len(given) == len(known) and all(
        np.ndim(one) == 1 and np.array_equal(np.unique(one), own) for one, own in zip(given, known, strict=True)
    )


def targets_of_classes(y: Array, classes: Any, given: Any) -> Targets:
    """Return what y is, of which each value is a class.

    Parameters
    ----------
    y : ndarray, shape (rows,) or (rows, targets)
    classes : array-like, or list of such, optional
        All classes, where y has perhaps some of them; for several targets a list of the classes of each.
    given : str or Loss, optional
        The loss that the user gave.
    """
    if y.ndim > 1:
        return _of_columns(y, classes, given)
    if y.dtype.kind not in "biuU":
        check_classification_targets(y)
    return class_target(np.unique(y if classes is None else classes), given)


def _of_columns(y: Array, classes: Any, given: Any) -> Targets:
    """Return what columns of classes are: of 0 and 1, of which any may hold, or targets of their own."""
    if classes is not None and len(classes) == y.shape[1] and all(np.ndim(one) == 1 for one in classes):
        return SeveralTargets([np.unique(one) for one in classes], given)
    columns = [np.array(column.tolist()) if y.dtype == object else column for column in y.T]
    alike = len({column.dtype.kind for column in columns}) == 1
    if alike and type_of_target(y, input_name="y") == "multilabel-indicator" and np.isin(y, (0, 1)).all():
        return Indicators(y.shape[1])
    for column in columns:
        check_classification_targets(column)
    if classes is not None:
        raise ValueError(f"classes must be a list of the classes of each of {len(columns)} targets, got {classes!r}")
    return SeveralTargets([np.unique(column) for column in columns], given)


class Numbers(Targets):
    """One or several numbers a row.

    Parameters
    ----------
    columns : int
    flat : bool
        Whether y had one axis, as answers have then.
    """

    def __init__(self, columns: int, flat: bool, given: Any) -> None:
        self.columns, self.flat = columns, flat
        loss = self.loss(given)
        self.quantiles: tuple[float, ...] = getattr(loss, "quantiles", ())
        self.has_variance = isinstance(loss, losses.GaussianNLL)
        self._least_variance = loss.epsilon if isinstance(loss, losses.GaussianNLL) else 0.0
        self.outputs = columns * (len(self.quantiles) if self.quantiles else 2 if self.has_variance else 1)
        self.activation = "exponential" if isinstance(loss, losses.Poisson) else "linear"

    def loss(self, given: Any) -> Any:
        if given == "squared_error":
            return losses.HalfMeanSquaredError()
        return losses.Poisson(epsilon=1e-30) if given == "poisson" else losses.get(given)

    def loss_weight(self, given: Any) -> float | None:
        return float(self.columns) if given == "poisson" else None

    def encoded(self, y: Array, loss: Any, dtype: str) -> Any:
        return np.ascontiguousarray(y.reshape(len(y), -1), dtype)

    def check(self, y: Array, *, all_of_them: bool = False) -> None:
        columns = 1 if y.ndim == 1 else y.shape[1]
        if columns != self.columns:
            raise ValueError(f"y must have {self.columns} columns, as in the first call, got {columns}")
        if self.activation == "exponential" and y.min() < 0:
            warn(f"the Poisson loss is for y of at least 0, got {y.min():g}: outputs of such rows go down to 0")

    def measures(self, given: Any) -> list[str] | None:
        return ["mse"] if given == "squared_error" and self.columns > 1 else None

    def loss_of(self, given: Any, y: Array, weights: Array | None) -> Callable[[Mapping[str, float]], float]:
        """Return what makes scikit-learn's loss of an epoch's logs.

        Of several numbers scikit-learn minimises the sum of halved squares, as is done here, and speaks of their mean.
        Its Poisson deviance has the mean of t log t - t beside our loss.
        """
        if self.measures(given):
            surplus = (self.columns - 1) / 2
            return lambda logs: logs["loss"] - surplus * logs["mse"]
        if given == "poisson":
            counts = np.maximum(y, 0)
            constant = float(np.average(xlogy(counts, counts) - y, axis=0, weights=weights).sum())
            return lambda logs: logs["loss"] + constant
        return super().loss_of(given, y, weights)

    def _shaped(self, values: Array) -> Array:
        return values[:, 0] if self.flat and self.columns == 1 else values

    def answers(self, outputs: Any, link: Any) -> Array:
        """Return the numbers: of quantiles the one nearest to the median, of a distribution its mean."""
        if self.quantiles:
            middle = int(np.argmin(np.abs(np.array(self.quantiles) - 0.5)))
            outputs = outputs[:, middle :: len(self.quantiles)]
        return self._shaped(outputs[:, : self.columns])

    def all_quantiles(self, outputs: Array) -> Array:
        """Return the quantiles, none of which is below a lower one: (rows, quantiles) or (rows, targets, quantiles)."""
        found = outputs.reshape(len(outputs), self.columns, -1)
        values = np.empty_like(found)
        values[..., np.argsort(self.quantiles)] = np.sort(found, axis=2)
        return values[:, 0] if self.flat and self.columns == 1 else values

    def deviations(self, outputs: Array) -> Array:
        """Return the standard deviations that the outputs say."""
        return self._shaped(
            np.sqrt(np.logaddexp(0, outputs[:, self.columns :]) + self._least_variance).astype(outputs.dtype)
        )

    def score(self, outputs: Any, y: Array, weights: Array | None, link: Any) -> float:
        """Return R², the mean over targets."""
        rows = (len(y), -1)
        wanted, got = y.reshape(rows).astype(np.float64), self.answers(outputs, link).reshape(rows)
        residual = np.average((wanted - got) ** 2, axis=0, weights=weights)
        mean = np.average(wanted, axis=0, weights=weights)
        spread = np.average((wanted - mean) ** 2, axis=0, weights=weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.where(spread > 0, 1 - residual / spread, np.where(residual > 0, 0.0, 1.0))
        return float(values.mean())


KINDS: dict[str, type[Targets]] = {
    kind.__name__: kind for kind in (TwoClasses, ManyClasses, Indicators, SeveralTargets, Numbers)
}


def targets_of_state(state: Mapping[str, Any]) -> Targets:
    """Return the targets whose :meth:`Targets.state` this is."""
    attributes = dict(state)
    targets = object.__new__(KINDS[attributes.pop("kind")])
    targets.__dict__ = attributes
    if isinstance(targets, SeveralTargets):
        targets.columns = [targets_of_state(one) for one in attributes["columns"]]
    return targets
