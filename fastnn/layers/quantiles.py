"""A normalization that makes any distribution a normal one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._op import Op
from fastnn._seeds import next_seed
from fastnn._settings import count, listed, number
from fastnn.data.frames import real_array
from fastnn.layers._columns import AdaptedColumns, evenly
from fastnn.layers.base import Shared

if TYPE_CHECKING:
    from typing_extensions import Unpack


class QuantileNormalization(AdaptedColumns):
    """y = z(p), where the share p of a column's data lies below x, and of a normal distribution below z(p).

    So each column has a normal distribution, whatever its own is: no value is an outlier, and order alone counts.

    Parameters
    ----------
    quantiles : int, default 1000
        The most quantiles of a column that :meth:`adapt` keeps: it takes no more than there are rows. Between two of
        them p is linear in x.
    noise : float, default 0
        The standard deviation of normal noise that adapt adds to the data, in that of each column. A little noise, as
        1e-3, spreads equal values, so that the quantiles between them are apart; without noise a column with two values
        becomes -5.2 and 5.2.
    columns : sequence of int or str, optional
        The columns that are normalized, by index or by a frame's names; the others stay as they are. Default: all.
    seed : int, optional
        Of the noise; None draws a seed.
    knots : array-like, shape (columns, quantiles), optional
        The quantiles of each column that is taken, which rise, in place of a call of adapt.
    **shared
        See :class:`Layer`.

    Attributes
    ----------
    knots : ndarray of float64, or None
        The quantiles 0, 1 / (n - 1), ..., 1 of each column, read-only; None before adapt.

    Notes
    -----
    It computes what QuantileTransformer of scikit-learn does with ``output_distribution="normal"``: x below all data
    becomes -5.2, x above all becomes 5.2, and where several quantiles are equal to x, p lies in the middle of their
    shares. In a column of equal values these become 0. Gorishniy, Rubachev, Khrulkov and Babenko add noise for data
    with equal values (Revisiting deep learning models for tabular data, 2021). The quantiles are constants of the
    model: they are not trained, and are part of its configuration, in files too.

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.QuantileNormalization()
    >>> layer.adapt([[0.0], [1.0], [10.0], [100.0], [1000.0]])
    >>> fastnn.Sequential([fastnn.Input((1,)), layer]).predict([[1.0], [10.0], [550.0]]).round(2)
    array([[-0.67],
           [ 0.  ],
           [ 1.15]], dtype=float32)
    """

    keeps_width = True

    def __init__(
        self,
        quantiles: int = 1000,
        noise: float = 0.0,
        columns: Any = None,
        seed: int | None = None,
        knots: Any = None,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(columns, **shared)
        self.quantiles = count("quantiles", quantiles, 1)
        self.noise = number("noise", noise, 0)
        self.seed = None if seed is None else count("seed", seed, 0, 2**63)
        self.knots = None if knots is None else _checked_knots(knots)

    def adapt(self, data: Any) -> None:
        """Take the quantiles of each column of `data`, in place of those so far.

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
        kept = min(self.quantiles, len(taken.array))
        generator = np.random.default_rng(next_seed() if self.seed is None else self.seed) if self.noise else None
        found = []
        for called, column in taken.columns():
            if generator is not None:
                column = column + self.noise * column.std() * generator.standard_normal(len(column))
            found.append(evenly(column, kept, called))
        vars(self).update(knots=_read_only(np.array(found)), _column_names=taken.names, _taken_names=taken.own_names)

    def build_taken(self, inputs: int) -> int:
        """Return the number of outputs, as many as inputs; raise where the layer was adapted to other columns."""
        self._constants("knots", inputs)
        return inputs

    def lower_taken(self, offsets: dict[str, int]) -> list[Op]:
        """Return the one op of the layer."""
        width = len(self._places)
        knots = self._constants("knots", width)
        numbers, vector = (float(knots.shape[1]),), tuple(knots.ravel().tolist())
        return [Op("quantiles", "linear", width, width, numbers=numbers, vector=vector)]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; `knots` are the quantiles in use."""
        return super().get_config() | {
            "quantiles": self.quantiles,
            "noise": self.noise,
            "seed": self.seed,
            "knots": listed(self.knots),
        }


def _read_only(array: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    array.flags.writeable = False
    return array


def _checked_knots(values: Any) -> npt.NDArray[np.float64]:
    array = real_array(values, "knots", "").astype(np.float64)
    if array.ndim != 2 or not array.size or not np.isfinite(array).all() or (np.diff(array) < 0).any():
        raise ValueError(
            f"knots must be finite numbers of shape (columns, quantiles) that rise in each row, got shape {array.shape}"
        )
    return _read_only(array)
