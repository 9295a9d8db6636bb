"""Losses that compare what a row's outputs and its targets have in common with what either has alone."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from fastnn._settings import number
from fastnn.losses._base import EPSILON, Loss, Rows


class _Overlap(Loss):
    """What both losses share: the formula over the columns of a row."""

    engine_name = "tversky"
    alpha: float = 0.5
    beta: float = 0.5
    _epsilon = EPSILON

    def __init__(self, axis: int, reduction: str, name: str | None) -> None:
        super().__init__(reduction, name)
        if isinstance(axis, bool) or axis not in (-1, 1):
            raise ValueError(
                f"axis must be -1, the outputs of a row, got {axis!r}: each row has a loss of its own here, where None "
                f"would make one of the batch"
            )
        self.axis = int(axis)

    def _rows(self, t: npt.NDArray[Any], y: Rows) -> Rows:
        both = (t * y).sum(axis=1)
        alone = self.alpha * (t * (1 - y)).sum(axis=1) + self.beta * ((1 - t) * y).sum(axis=1)
        return 1 - both / (both + alone + self._epsilon)

    def _constants(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return (self.alpha, self.beta, self._epsilon), ()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"axis": self.axis, **super().get_config()}


class Tversky(_Overlap):
    """1 - b / (b + alpha Σ t_j (1 - y_j) + beta Σ (1 - t_j) y_j + 1e-7), b = Σ t_j y_j, over the outputs j of a row.

    For targets of which few are 1, as the labels of a text: alpha is the price of a 1 that was missed, beta the price
    of a 1 too many (Salehi, Erdogmus and Gholipour 2017).

    Parameters
    ----------
    alpha, beta : float, default 0.5
        Not negative.
    reduction, name : str
        As for :class:`Loss`.
    axis : int, default -1
        The axis of a row's outputs, also called 1; no other is taken. Keras's default, None, makes one loss of a batch.

    Examples
    --------
    >>> import fastnn
    >>> round(fastnn.losses.Tversky(alpha=0.3, beta=0.7)([[1, 0, 1, 0]], [[0.9, 0.2, 0.4, 0.1]]), 4)
    0.2442
    """

    name = "tversky"

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str = "sum_over_batch_size",
        name: str | None = None,
        axis: int = -1,
    ) -> None:
        super().__init__(axis, reduction, name)
        self.alpha, self.beta = number("alpha", alpha, 0), number("beta", beta, 0)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"alpha": self.alpha, "beta": self.beta, **super().get_config()}


class Dice(_Overlap):
    """1 - 2 Σ t_j y_j / (Σ t_j + Σ y_j + 1e-7) over the outputs j of a row: :class:`Tversky` with alpha = beta = 1/2.

    Parameters
    ----------
    reduction, name : str
        As for :class:`Loss`.
    axis : int, default -1
        As for :class:`Tversky`.

    Examples
    --------
    >>> import fastnn
    >>> round(fastnn.losses.Dice()([[1, 0, 1, 0]], [[0.9, 0.2, 0.4, 0.1]]), 4)
    0.2778
    """

    name = "dice"
    _epsilon = EPSILON / 2

    def __init__(self, reduction: str = "sum_over_batch_size", name: str | None = None, axis: int = -1) -> None:
        super().__init__(axis, reduction, name)
