"""Losses and metrics that are Python functions: what happens between the forward and the backward pass of a batch."""

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
    """A batch on its way through the engine, whose memory the arrays show.

    Attributes
    ----------
    rows : slice or ndarray of int64
        Which rows of the data it has.
    output : ndarray, shape (rows, outputs)
    gradient : ndarray, shape (rows, outputs), or None
        Of the loss by the output, where it is wanted; that of the engine's own losses is there already.
    losses : ndarray of float64, shape (heads, rows)
        With the rows' weights.
    divisors : ndarray of float64, shape (heads,)
        Of the sums of those.
    sums : ndarray of float64
        Those of the run so far, see :meth:`fastnn._engine.Engine.compile`.
    """

    rows: slice | npt.NDArray[np.int64]
    output: Array
    gradient: Array | None
    losses: Array
    divisors: Array
    sums: Array


class Place(NamedTuple):
    """A head with functions: its number, its columns of the output, and its columns of targets or its one of labels."""

    head: int
    columns: slice
    targets: slice | int


class Functions:
    """The functions of a model, which the engine calls once a batch.

    Parameters
    ----------
    goals : sequence of Goal
    heads : sequence of Head
        What the engine knows of them.
    measured : sequence of (Metric, int)
        The metrics, each with the index of its state.
    states : sequence of slice
        Where the states lie among the sums.
    """

    def __init__(
        self,
        goals: Sequence[Goal],
        heads: Sequence[Head],
        measured: Sequence[tuple[Metric, int]],
        states: Sequence[slice],
    ) -> None:
        self._checked = False  # the gradients of the losses, at the first batch
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
        """Put the losses and gradients of the batch where they belong, and let the metrics grow.

        Parameters
        ----------
        y, weights
            Of all rows, as for :meth:`fastnn._engine.Engine.train`.
        parts
            Of a :class:`Batch`.
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
        """Warn of a gradient that is not the loss's."""
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
        """The loss and the gradient of one head."""
        values, gradient = found
        divisor = float(batch.divisors[place.head])
        factors: Any
        if values.ndim == 0:
            if rows is not None:
                loss.check_weights(values)
            batch.losses[place.head] = 0  # whose sum, by the divisor, is the loss of the batch
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
        """A copy of what the head's y holds for the batch."""
        if isinstance(place.targets, slice):
            return np.array((y[0] if self._pair else y)[batch.rows, place.targets])
        labels = y[1] if self._pair else y
        return np.array(labels[batch.rows] if labels.ndim == 1 else labels[batch.rows, place.targets])

    @staticmethod
    def _outputs(place: Place, batch: Batch) -> Array:
        return np.array(batch.output[:, place.columns])


def _weights_of(weights: Array | None, place: Place, batch: Batch) -> Array | None:
    """The weights of the batch's rows for a head."""
    if weights is None:
        return None
    several = weights.ndim == 2 and weights.shape[1] > 1
    return np.asarray(weights[batch.rows, place.head] if several else weights.reshape(-1)[batch.rows], np.float64)
