"""Losses and metrics that are Python functions, which are called between a batch's forward and backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._head import Head
from fastnn.goals import Goal
from fastnn.losses import CustomLoss
from fastnn.losses._gradients import warn_of_wrong_gradient
from fastnn.metrics import CustomMetric, Metric

Array = npt.NDArray[Any]


class Batch(NamedTuple):
    """A batch on its way through the engine; the arrays are views of the engine's memory.

    Attributes
    ----------
    rows : slice or ndarray of int64
        The rows of the data that are in the batch.
    output : ndarray, shape (rows, outputs)
    gradient : ndarray, shape (rows, outputs), or None
        The gradient of the loss with respect to the output, where it is wanted; the engine's own losses have filled
        theirs.
    losses : ndarray of float64, shape (heads, rows)
        The loss of each row, times the row's weight.
    divisors : ndarray of float64, shape (heads,)
        What the sum of each head's losses is divided by.
    sums : ndarray of float64
        The sums of the run so far, as :meth:`fastnn._engine.Engine.compile` lays them out.
    """

    rows: slice | npt.NDArray[np.int64]
    output: Array
    gradient: Array | None
    losses: Array
    divisors: Array
    sums: Array


class Place(NamedTuple):
    """A head with functions: its number, its columns of the output, and its columns of targets or of labels."""

    head: int
    columns: slice
    targets: slice | int


class Functions:
    """The functions of a model, which the engine calls once a batch.

    Parameters
    ----------
    goals : sequence of Goal
    heads : sequence of Head
        What the engine knows of the heads.
    measured : sequence of (Metric, int)
        Metrics in Python, each with the number of its state.
    states : sequence of slice
        Where each state lies in the sums.
    """

    def __init__(
        self,
        goals: Sequence[Goal],
        heads: Sequence[Head],
        measured: Sequence[tuple[Metric, int]],
        states: Sequence[slice],
    ) -> None:
        self._checked = False  # whether the gradients of the losses were checked, as they are at the first batch
        metrics = {index: metric for metric, index in measured}
        column = target = label = index = 0
        self._pair = len({head.target_columns == 0 for head in heads}) == 2
        self._losses: list[tuple[Place, CustomLoss, float]] = []
        self._metrics: list[tuple[Place, CustomMetric, slice, bool]] = []
        for h, (goal, head) in enumerate(zip(goals, heads, strict=True)):
            wide = head.target_columns
            place = Place(h, slice(column, column + head.columns), slice(target, target + wide) if wide else label)
            if isinstance(goal.loss, CustomLoss):
                self._losses.append((place, goal.loss, goal.weight))
            for measure in head.measures:
                metric = metrics[index]
                if isinstance(metric, CustomMetric):
                    self._metrics.append((place, metric, states[index], measure.weighted))
                index += 1
            column, target, label = column + head.columns, target + wide, label + (not wide)

    def __bool__(self) -> bool:
        return bool(self._losses or self._metrics)

    def __call__(self, y: Any, weights: Array | None, *parts: Any) -> None:
        """Write the losses and gradients of the batch into the engine's memory, and let the metrics grow.

        Parameters
        ----------
        y, weights
            Targets and weights of all rows, as :meth:`fastnn._engine.Engine.train` takes them.
        parts
            The fields of a :class:`Batch`.
        """
        batch = Batch(*parts)
        for place, loss, weight in self._losses:
            found = loss.evaluated(self._targets(y, place, batch), self._outputs(place, batch))
            if batch.gradient is not None and not self._checked:
                self._check(y, place, batch, loss, found)
            self._take_loss(batch, place, loss, weight, found, _weights_of(weights, place, batch))
        self._checked = self._checked or batch.gradient is not None
        for place, metric, state, weighted in self._metrics:
            rows = _weights_of(weights, place, batch) if weighted else None
            batch.sums[state] += metric.grown(self._targets(y, place, batch), self._outputs(place, batch), rows)

    def _check(
        self, y: Any, place: Place, batch: Batch, loss: CustomLoss, found: tuple[npt.NDArray[np.float64], Array]
    ) -> None:
        """Warn where a gradient is not the gradient of its loss."""
        warn_of_wrong_gradient(
            loss, lambda: (self._targets(y, place, batch), self._outputs(place, batch)), (found[0], found[1].copy())
        )

    @staticmethod
    def _take_loss(
        batch: Batch,
        place: Place,
        loss: CustomLoss,
        weight: float,
        found: tuple[npt.NDArray[np.float64], Array],
        rows: Array | None,
    ) -> None:
        """Write the loss and the gradient of one head."""
        values, gradient = found
        divisor = float(batch.divisors[place.head])
        factors: Any
        if values.ndim == 0:
            if rows is not None:
                loss.check_weights(values)
            batch.losses[place.head] = 0  # the sum of these, divided by divisor, is the loss of the batch
            batch.losses[place.head, 0] = values * divisor
            factors = weight
        else:
            factors = weight / divisor if divisor else 0.0
            if rows is not None:
                values = values * rows
                factors = (factors * rows)[:, None]
            batch.losses[place.head] = values
        if batch.gradient is not None:
            np.multiply(gradient, factors, out=batch.gradient[:, place.columns], casting="unsafe")

    def _targets(self, y: Any, place: Place, batch: Batch) -> Array:
        """Return a copy of what a head's y holds for the batch."""
        if isinstance(place.targets, slice):
            return np.array((y[0] if self._pair else y)[batch.rows, place.targets])
        labels = y[1] if self._pair else y
        return np.array(labels[batch.rows] if labels.ndim == 1 else labels[batch.rows, place.targets])

    @staticmethod
    def _outputs(place: Place, batch: Batch) -> Array:
        return np.array(batch.output[:, place.columns])


def _weights_of(weights: Array | None, place: Place, batch: Batch) -> Array | None:
    """Return the weights of the batch's rows for a head; None where all are 1."""
    if weights is None:
        return None
    several = weights.ndim == 2 and weights.shape[1] > 1
    return np.asarray(weights[batch.rows, place.head] if several else weights.reshape(-1)[batch.rows], np.float64)
