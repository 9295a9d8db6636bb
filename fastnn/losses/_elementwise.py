"""Losses that compare an output with its target, element by element or as directions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._settings import number
from fastnn.losses._base import EPSILON, Loss, Rows


class MeanSquaredError(Loss):
    """Mean over outputs of (y - t)².

    Parameters
    ----------
    reduction, name : str
        As for :class:`Loss`.

    Examples
    --------
    >>> import fastnn
    >>> round(fastnn.losses.MeanSquaredError()([[1.0], [2.0]], [[1.5], [2.0]]), 4)
    0.125
    """

    name = engine_name = "mean_squared_error"
    of_differences = True

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        return np.square(y - t).mean(axis=1)


class HalfMeanSquaredError(Loss):
    """The textbook cost J = 1/(2m) Σ (h - y)², summed over outputs, where m is the number of rows.

    Parameters
    ----------
    reduction, name : str
        As for :class:`Loss`.

    Examples
    --------
    >>> import fastnn
    >>> round(fastnn.losses.HalfMeanSquaredError()([[1.0], [2.0]], [[1.5], [2.0]]), 4)
    0.0625
    """

    name = engine_name = "half_mean_squared_error"
    of_differences = True

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        return np.square(y - t).sum(axis=1) / 2


class MeanAbsoluteError(Loss):
    """Mean over outputs of abs(y - t).

    Parameters
    ----------
    reduction, name : str
        As for :class:`Loss`.

    Examples
    --------
    >>> import fastnn
    >>> round(fastnn.losses.MeanAbsoluteError()([[1.0], [2.0]], [[1.5], [2.0]]), 4)
    0.25
    """

    name = engine_name = "mean_absolute_error"
    of_differences = True

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        return np.abs(y - t).mean(axis=1)


class MeanAbsolutePercentageError(Loss):
    """Mean over outputs of 100 abs(y - t) / max(abs(t), 1e-7).

    Parameters
    ----------
    reduction, name : str
        As for :class:`Loss`.

    Examples
    --------
    >>> import fastnn
    >>> round(fastnn.losses.MeanAbsolutePercentageError()([[1.0], [2.0]], [[1.5], [2.0]]), 4)
    25.0
    """

    name = engine_name = "mean_absolute_percentage_error"

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        return 100 * (np.abs(y - t) / np.maximum(np.abs(t), EPSILON)).mean(axis=1)


class MeanSquaredLogarithmicError(Loss):
    """Mean over outputs of (log(1 + y) - log(1 + t))², with y and t at least 1e-7.

    Parameters
    ----------
    reduction, name : str
        As for :class:`Loss`.

    Examples
    --------
    >>> import fastnn
    >>> round(fastnn.losses.MeanSquaredLogarithmicError()([[1.0], [2.0]], [[1.5], [2.0]]), 4)
    0.0249
    """

    name = engine_name = "mean_squared_logarithmic_error"

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        return np.square(np.log1p(np.maximum(y, EPSILON)) - np.log1p(np.maximum(t, EPSILON))).mean(axis=1)


class Huber(Loss):
    """Mean over outputs of e²/2 where abs(e) <= delta, else delta abs(e) - delta²/2; e = y - t.

    Parameters
    ----------
    delta : float, default 1.0
        Where the parabola becomes a line; more than 0.
    reduction, name : str
        As for :class:`Loss`.

    References
    ----------
    P. J. Huber, Robust estimation of a location parameter, 1964.

    Examples
    --------
    >>> import fastnn
    >>> round(fastnn.losses.Huber(0.2)([[1.0], [2.0]], [[1.5], [2.0]]), 4)
    0.04
    """

    name, engine_name = "huber_loss", "huber"
    of_differences = True

    def __init__(self, delta: float = 1.0, reduction: str = "sum_over_batch_size", name: str | None = None) -> None:
        super().__init__(reduction, name)
        self.delta = number("delta", delta, 0)
        if not self.delta:
            raise ValueError("delta must be more than 0, got 0")

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        e = np.abs(y - t)
        return np.where(e <= self.delta, e * e / 2, self.delta * e - self.delta**2 / 2).mean(axis=1)

    def _constants(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return (self.delta,), ()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"delta": self.delta, **super().get_config()}


class LogCosh(Loss):
    """Mean over outputs of log cosh(y - t).

    Parameters
    ----------
    reduction, name : str
        As for :class:`Loss`.

    Examples
    --------
    >>> import fastnn
    >>> round(fastnn.losses.LogCosh()([[1.0], [2.0]], [[1.5], [2.0]]), 4)
    0.0601
    """

    name = engine_name = "log_cosh"
    of_differences = True

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        e = np.abs(y - t)
        return (e + np.log1p(np.exp(-2 * e)) - math.log(2)).mean(axis=1)


class Poisson(Loss):
    """Mean over outputs of y - t log(y + epsilon): the Poisson likelihood of counts t for rates y.

    Parameters
    ----------
    reduction, name : str
        As for :class:`Loss`.
    epsilon : float, default 1e-7
        What keeps the logarithm finite, which rates that are not much larger feel; at least 1e-30. Keras lacks this
        argument.

    Examples
    --------
    >>> import fastnn
    >>> round(fastnn.losses.Poisson()([[1.0], [2.0]], [[1.5], [2.0]]), 4)
    0.8541
    """

    name = engine_name = "poisson"

    def __init__(
        self, reduction: str = "sum_over_batch_size", name: str | None = None, *, epsilon: float = EPSILON
    ) -> None:
        super().__init__(reduction, name)
        self.epsilon = number("epsilon", epsilon, 1e-30)

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        return (y - t * np.log(y + self.epsilon)).mean(axis=1)

    def _constants(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return (self.epsilon,), ()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        return config if self.epsilon == EPSILON else {"epsilon": self.epsilon, **config}


class KLDivergence(Loss):
    """Sum over outputs of t log(t / y), with t and y between 1e-7 and 1.

    Parameters
    ----------
    reduction, name : str
        As for :class:`Loss`.

    Examples
    --------
    >>> import fastnn
    >>> round(fastnn.losses.KLDivergence()([[0.5, 0.5]], [[0.9, 0.1]]), 4)
    0.5108
    """

    name = engine_name = "kl_divergence"

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        p, q = np.clip(t, EPSILON, 1), np.clip(y, EPSILON, 1)
        return (p * np.log(p / q)).sum(axis=1)


class Hinge(Loss):
    """Mean over outputs of max(1 - s y, 0), where the side s is t for t of -1 and 1, and -1 for t = 0.

    Parameters
    ----------
    reduction, name : str
        As for :class:`Loss`.

    Examples
    --------
    >>> import fastnn
    >>> round(fastnn.losses.Hinge()([[0], [1], [1]], [[0.2], [0.7], [0.4]]), 4)
    0.7
    """

    name = engine_name = "hinge"

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        return np.maximum(1 - np.where(t == 0, -1, t) * y, 0).mean(axis=1)

    def check_targets(self, y: npt.NDArray[Any], name: str) -> None:
        """Raise ValueError unless targets are -1 and 1, or 0 and 1."""
        if not (np.isin(y, (-1, 1)).all() or np.isin(y, (0, 1)).all()):
            raise ValueError(f"{name} must hold -1 and 1, or 0 and 1, for {self.name}, got {np.unique(y)[:5].tolist()}")


class SquaredHinge(Hinge):
    """Mean over outputs of max(1 - s y, 0)², with s as for :class:`Hinge`.

    Parameters
    ----------
    reduction, name : str
        As for :class:`Loss`.

    Examples
    --------
    >>> import fastnn
    >>> round(fastnn.losses.SquaredHinge()([[0], [1], [1]], [[0.2], [0.7], [0.4]]), 4)
    0.63
    """

    name = engine_name = "squared_hinge"

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        return np.square(np.maximum(1 - np.where(t == 0, -1, t) * y, 0)).mean(axis=1)


class CategoricalHinge(Loss):
    """max(1 + max (1 - t) y - Σ t y, 0) for one-hot targets t: the margin of the right class to the next one.

    Parameters
    ----------
    reduction, name : str
        As for :class:`Loss`.

    Examples
    --------
    >>> import fastnn
    >>> round(fastnn.losses.CategoricalHinge()([[0, 1, 0], [1, 0, 0]], [[0.1, 0.8, 0.1], [0.3, 0.6, 0.1]]), 4)
    0.8
    """

    name = engine_name = "categorical_hinge"

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        return np.maximum(1 + ((1 - t) * y).max(axis=1) - (t * y).sum(axis=1), 0)


class CosineSimilarity(Loss):
    """-Σ t y / (abs(t) abs(y)), from -1 (the same direction) to 1; a norm below 1e-7 counts as 1e-7.

    Parameters
    ----------
    reduction, name : str
        As for :class:`Loss`.

    Examples
    --------
    >>> import fastnn
    >>> round(fastnn.losses.CosineSimilarity()([[1.0, 0.0]], [[1.0, 1.0]]), 4)
    -0.7071
    """

    compares_outputs = True

    name = engine_name = "cosine_similarity"

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        units = [
            np.maximum(abs(rows).max(axis=1, keepdims=True), EPSILON) for rows in (t, y)
        ]  # elements divided by these have squares in range
        t, y = t / units[0], y / units[1]
        norms = [
            np.maximum(np.linalg.norm(rows, axis=1), EPSILON / unit[:, 0])
            for rows, unit in zip((t, y), units, strict=True)
        ]
        return -(t * y).sum(axis=1) / (norms[0] * norms[1])
