"""A normalization that outliers do not spoil."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._op import Op
from fastnn._settings import listed, number
from fastnn.activations import SmoothClip
from fastnn.data.frames import real_array
from fastnn.layers._columns import AdaptedColumns, evenly
from fastnn.layers.base import Shared

if TYPE_CHECKING:
    from typing_extensions import Unpack


class RobustNormalization(AdaptedColumns):
    """z = factor (x - center), then y = z / sqrt(1 + (z / clip)^2), column by column.

    The center is the median of a column, and the factor 1 / (q - p), where a quarter of the values lies below p and a
    quarter above q. A value far from the others changes neither, and becomes at most `clip`. Holzmüller, Grinsztajn and
    Steinwart, Better by default: strong pre-tuned MLPs and boosted trees on tabular data, 2024 (arXiv 2407.04491).

    Parameters
    ----------
    columns : sequence of int or str, optional
        The columns that are normalized, by index or by a frame's names; the others stay as they are. Default: all.
    clip : float, optional
        The size that no y reaches, default 3; None: y = z.
    center, factor : sequence of float, optional
        A number for each column that is taken; give both, in place of a call of :meth:`adapt`, or neither.
    **shared
        See :class:`Layer`.

    Attributes
    ----------
    center, factor : tuple of float, or None
        The numbers in use; None before adapt.

    Notes
    -----
    Where q = p, as in a column with mostly one value, the factor is 2 / (max - min); where all values are equal it is
    0, and so are all y. The numbers are constants of the model: they are not trained, and are part of its
    configuration, in files too.

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.RobustNormalization(clip=None)
    >>> layer.adapt([[1.0], [2.0], [3.0], [4.0], [1000.0]])
    >>> layer.center, layer.factor
    ((3.0,), (0.5,))
    >>> fastnn.Sequential([fastnn.Input((1,)), layer]).predict([[2.0]])
    array([[-0.5]], dtype=float32)
    """

    keeps_width = True

    def __init__(
        self,
        columns: Any = None,
        clip: float | None = 3.0,
        center: Any = None,
        factor: Any = None,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(columns, **shared)
        self.clip = None if clip is None else number("clip", clip, 0, open_low=True)
        if (center is None) != (factor is None):
            missing = "factor" if factor is None else "center"
            raise ValueError(f"{missing} is missing: give both center and factor, or neither and call adapt")
        self.center = None if center is None else _numbers("center", center)
        self.factor = None if factor is None else _numbers("factor", factor)
        if self.center is not None and self.factor is not None and len(self.center) != len(self.factor):
            raise ValueError(f"center and factor must be of one length, got {len(self.center)} and {len(self.factor)}")

    def adapt(self, data: Any) -> None:
        """Take the center and the factor of each column of `data`, in place of those so far.

        Parameters
        ----------
        data : array-like, shape (rows, features), or (rows,) of one feature, or iterable of such batches
            At least one row; finite numbers in the columns that the layer takes. All rows are looked at, some columns
            at a time; the batches of a generator are held in memory together. A data frame's columns are known by their
            names from then on, in the layer's model too, see :attr:`Sequential.feature_names`.

        Raises
        ------
        ValueError, TypeError
            When `data` cannot be used, in one sentence; the layer is as it was then.
        """
        taken = self._begin_to_adapt(data)
        found = [_center_and_factor(column, called) for called, column in taken.columns()]
        centers, factors = zip(*found, strict=True)
        vars(self).update(center=centers, factor=factors, _column_names=taken.names, _taken_names=taken.own_names)

    def build_taken(self, inputs: int) -> int:
        """Return the number of outputs, as many as inputs; raise where the layer was adapted to other columns."""
        self._constants("center", inputs)
        return inputs

    def lower_taken(self, offsets: dict[str, int]) -> list[Op]:
        """Return the op that centers and scales, and the one that clips."""
        width = len(self._places)
        constants = (*self._constants("center", width), *self._constants("factor", width))
        ops = [Op("center", "linear", width, width, vector=constants)]
        if self.clip is not None:
            clip = SmoothClip(self.clip)
            ops.append(Op("activation", clip.engine_name, width, width, numbers=clip.numbers))
        return ops

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; `center` and `factor` are the numbers in use."""
        return super().get_config() | {
            "clip": self.clip,
            "center": listed(self.center),
            "factor": listed(self.factor),
        }


def _numbers(name: str, values: Any) -> tuple[float, ...]:
    array = real_array(values, name, "").astype(np.float64)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"{name} must be a list of finite numbers, one a column, got {values!r:.80}")
    return tuple(array.tolist())


def _center_and_factor(column: npt.NDArray[np.float64], called: str) -> tuple[float, float]:
    """Return the median of a column, and what the distances from it are multiplied with."""
    low, first, center, third, high = evenly(column, 5, called)
    span = third - first if third > first else (high - low) / 2
    with np.errstate(over="ignore"):
        factor = 1 / span if span > 0 else np.float64(0)
    if not np.isfinite(factor):
        raise ValueError(f"data must have differences within float64's range: scale column {called} up first")
    return float(center), float(factor)
