"""What y is: how it becomes the targets of a network, and how the network's outputs become answers.

Each class stands for one kind of y. It says how many outputs the network has, which activation they have, and which
loss fits, where the user chooses none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_softmax, softmax, xlogy

from fastnn import losses
from fastnn._head import LABELS

Array = npt.NDArray[Any]


def _weighted_mean(values: Array, weights: Array | None) -> float:
    return float(np.average(values, weights=weights))


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

    def check(self, y: Array, *, all_of_them: bool = False) -> None:
        """Raise where y is of another kind, has classes that are not known, or not `all_of_them`."""
        raise NotImplementedError

    def encoded(self, y: Array, loss: Any, dtype: str) -> Any:
        """Return y as the network's targets."""
        raise NotImplementedError

    def probabilities(self, outputs: Any, logits: Any) -> Any:
        """Return the probability of each class."""
        raise NotImplementedError

    def log_probabilities(self, outputs: Any, logits: Any) -> Any:
        """Return the logarithm of :meth:`probabilities`, finite where the network gives logits."""
        return np.log(self.probabilities(outputs, logits))

    def answers(self, outputs: Any, logits: Any) -> Array:
        """Return what ``predict`` returns."""
        raise NotImplementedError

    def score(self, outputs: Any, y: Array, weights: Array | None, logits: Any) -> float:
        """Return the accuracy, or R² for numbers."""
        hits = self.answers(outputs, logits) == y
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
        return losses.get("binary_crossentropy" if given is None else given)

    def encoded(self, y: Array, loss: Any, dtype: str) -> Any:
        return (places_of(y, self.classes) if len(self.classes) > 1 else np.zeros(len(y))).astype(dtype)

    def probabilities(self, outputs: Any, logits: Any) -> Any:
        if len(self.classes) == 1:
            return np.ones_like(outputs)
        second = expit(outputs) if logits else outputs
        return np.hstack([1 - second, second])

    def log_probabilities(self, outputs: Any, logits: Any) -> Any:
        if not logits or len(self.classes) == 1:
            return super().log_probabilities(outputs, logits)
        return np.hstack([-np.logaddexp(0, outputs), -np.logaddexp(0, -outputs)])

    def answers(self, outputs: Any, logits: Any) -> Array:
        second = outputs[:, 0] > (0 if logits else 0.5)
        return self.classes[second.astype(np.intp) if len(self.classes) > 1 else np.zeros(len(outputs), np.intp)]


class ManyClasses(Labels):
    """Labels of several classes, an output for each: its probability."""

    activation = "softmax"

    def __init__(self, classes: Array) -> None:
        super().__init__(classes)
        self.outputs = len(classes)

    def loss(self, given: Any) -> Any:
        return losses.get("sparse_categorical_crossentropy" if given is None else given)

    def encoded(self, y: Array, loss: Any, dtype: str) -> Any:
        places = places_of(y, self.classes)
        return places if loss.targets == LABELS else np.eye(self.outputs, dtype=dtype)[places]

    def probabilities(self, outputs: Any, logits: Any) -> Any:
        return softmax(outputs, axis=1) if logits else outputs

    def log_probabilities(self, outputs: Any, logits: Any) -> Any:
        return log_softmax(outputs, axis=1) if logits else np.log(outputs)

    def answers(self, outputs: Any, logits: Any) -> Array:
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
        return losses.get("binary_crossentropy" if given is None else given)

    def loss_weight(self, given: Any) -> float | None:
        return float(self.outputs) if given is None else None

    def encoded(self, y: Array, loss: Any, dtype: str) -> Any:
        return np.ascontiguousarray(y, dtype)

    def probabilities(self, outputs: Any, logits: Any) -> Any:
        return expit(outputs) if logits else outputs

    def answers(self, outputs: Any, logits: Any) -> Array:
        return (outputs > (0 if logits else 0.5)).astype(np.int64)


class SeveralTargets(Targets):
    """Several columns of labels, each with classes and a head of its own.

    Parameters
    ----------
    classes : sequence of ndarray
        The classes of each column.
    """

    activation = "softmax"

    def __init__(self, classes: Sequence[Array]) -> None:
        self.columns = [class_target(one) for one in classes]
        self.classes = list(classes)
        self.outputs = sum(one.outputs for one in self.columns)
        self.names = tuple(f"target_{place}" for place in range(len(classes)))

    def under(self, names: Sequence[str]) -> SeveralTargets:
        """Return the same targets for a network whose heads have these names."""
        other = SeveralTargets(self.classes)
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

    def _each(self, method: str, outputs: Mapping[str, Any], logits: Mapping[str, Any]) -> list[Any]:
        """Return what a method of each column says of the outputs of its head."""
        each = zip(self.names, self.columns, strict=True)
        return [getattr(one, method)(outputs[name], logits[name]) for name, one in each]

    def probabilities(self, outputs: Any, logits: Any) -> Any:
        return self._each("probabilities", outputs, logits)

    def log_probabilities(self, outputs: Any, logits: Any) -> Any:
        return self._each("log_probabilities", outputs, logits)

    def answers(self, outputs: Any, logits: Any) -> Array:
        return np.stack(self._each("answers", outputs, logits), axis=1)


def class_target(classes: Array) -> TwoClasses | ManyClasses:
    """Return the kind of one column of labels."""
    return TwoClasses(classes) if len(classes) <= 2 else ManyClasses(classes)


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
        named = {"squared_error": losses.HalfMeanSquaredError}.get(given) if isinstance(given, str) else None
        return named() if named else losses.get(given)

    def loss_weight(self, given: Any) -> float | None:
        return float(self.columns) if isinstance(given, str) and given == "poisson" else None

    def encoded(self, y: Array, loss: Any, dtype: str) -> Any:
        return np.ascontiguousarray(y.reshape(len(y), -1), dtype)

    def check(self, y: Array, *, all_of_them: bool = False) -> None:
        columns = 1 if y.ndim == 1 else y.shape[1]
        if columns != self.columns:
            raise ValueError(f"y must have {self.columns} columns, as in the first call, got {columns}")

    def constant(self, y: Array, weights: Array | None) -> float:
        """Return what scikit-learn's Poisson deviance has beside our loss: the mean of y log y - y, of all columns."""
        if self.activation != "exponential":
            return 0.0
        return float(np.average(xlogy(y, y) - y, axis=0, weights=weights).sum())

    def _shaped(self, values: Array) -> Array:
        return values[:, 0] if self.flat and self.columns == 1 else values

    def answers(self, outputs: Any, logits: Any) -> Array:
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

    def score(self, outputs: Any, y: Array, weights: Array | None, logits: Any) -> float:
        """Return R², the mean over targets."""
        rows = (len(y), -1)
        wanted, got = y.reshape(rows).astype(np.float64), self.answers(outputs, logits).reshape(rows)
        residual = np.average((wanted - got) ** 2, axis=0, weights=weights)
        mean = np.average(wanted, axis=0, weights=weights)
        spread = np.average((wanted - mean) ** 2, axis=0, weights=weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.where(spread > 0, 1 - residual / spread, np.where(residual > 0, 0.0, 1.0))
        return float(values.mean())
