"""Losses of models whose outputs describe a distribution of each target: its quantiles, or mean and variance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._settings import flag, listed, number
from fastnn.losses._base import Loss, Rows


class Quantile(Loss):
    """The pinball loss, max(q (t - y), (q - 1)(t - y)) averaged: outputs become quantiles of the target.

    Parameters
    ----------
    quantiles : float or sequence of float, default (0.1, 0.5, 0.9)
        The shares q of targets below each quantile, between 0 and 1.
    reduction, name : str
        As for :class:`Loss`.

    Notes
    -----
    A model for n targets and Q quantiles has n Q outputs: all quantiles of the first target, then those of the second,
    and so on; ``predictions.reshape(rows, n, Q)`` takes them apart. y has n columns.

    References
    ----------
    Koenker and Bassett, Regression quantiles, 1978.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(3, input_shape=(4,))])
    >>> model.compile("adam", fastnn.losses.Quantile([0.05, 0.5, 0.95]))
    """

    name = engine_name = "quantile"
    of_differences = True

    def __init__(
        self,
        quantiles: float | Sequence[float] = (0.1, 0.5, 0.9),
        reduction: str = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(reduction, name)
        given = list(quantiles) if isinstance(quantiles, (list, tuple, np.ndarray)) else [quantiles]
        self.quantiles = tuple(number("quantiles", q, 0, 1) for q in given)
        if not self.quantiles:
            raise ValueError("quantiles must hold at least one number")

    def target_columns(self, outputs: int) -> int:
        """Return the number of columns of y: outputs / quantiles."""
        count = len(self.quantiles)
        if outputs % count:
            raise ValueError(
                f"a loss of {count} quantiles needs {count} outputs for each target, got {outputs} outputs"
            )
        return outputs // count

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        q = np.array(self.quantiles)
        e = t[:, :, None] - y.reshape(len(y), -1, len(q))
        return np.maximum(q * e, (q - 1) * e).mean(axis=(1, 2))

    def _constants(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return (), self.quantiles

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"quantiles": listed(self.quantiles), **super().get_config()}


class GaussianNLL(Loss):
    """The negative log-likelihood of a normal distribution whose mean and variance the model gives.

    Parameters
    ----------
    full : bool, default False
        Whether the constant log(2 π)/2 is added.
    epsilon : float, default 1e-6
        The least variance that the model can give.
    reduction, name : str
        As for :class:`Loss`.

    Notes
    -----
    A model for n targets has 2 n outputs: the n means m, then n numbers r that say the variances
    v = log(1 + exp(r)) + epsilon (softplus, which neither overflows nor reaches 0). The loss is the mean over targets
    of (log v + (t - m)²/v) / 2. y has n columns.

    References
    ----------
    Nix and Weigend, Estimating the mean and variance of the target probability distribution, 1994;
    Lakshminarayanan et al., Simple and scalable predictive uncertainty estimation using deep ensembles, 2017.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(2, input_shape=(4,))])
    >>> model.compile("adam", fastnn.losses.GaussianNLL())
    """

    name, engine_name = "gaussian_nll", "gaussian_likelihood"

    def __init__(
        self,
        full: bool = False,
        epsilon: float = 1e-6,
        reduction: str = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(reduction, name)
        self.full, self.epsilon = flag("full", full), number("epsilon", epsilon, 1e-30)

    def target_columns(self, outputs: int) -> int:
        """Return the number of columns of y: half the outputs."""
        if outputs % 2:
            raise ValueError(f"gaussian_nll needs a mean and a variance for each target, got {outputs} outputs")
        return outputs // 2

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        mean, r = np.split(y, 2, axis=1)
        v = np.maximum(r, 0) + np.log1p(np.exp(-np.abs(r))) + self.epsilon
        return ((np.log(v) + np.square(t - mean) / v) / 2 + self._constants()[0][1]).mean(axis=1)

    def _constants(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return (self.epsilon, math.log(2 * math.pi) / 2 if self.full else 0.0), ()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"full": self.full, "epsilon": self.epsilon, **super().get_config()}
