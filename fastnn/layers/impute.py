"""A layer that fills in missing values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._op import Op
from fastnn._registry import nearest_names
from fastnn._settings import flag, listed
from fastnn.data.frames import column_names, is_frame, real_array
from fastnn.layers._columns import AdaptedColumns, in_told_order
from fastnn.layers.base import NotYetError, Shared

if TYPE_CHECKING:
    from typing_extensions import Unpack


STRATEGIES = ("median", "mean", "most_frequent", "constant")


class Impute(AdaptedColumns):
    """Fills in missing values: y = x, or the value of its column where x is NaN.

    Where the layer is the first one to compute, in a model or a branch, or follows only layers of its kind there, x may
    hold NaN, and None among objects, in the columns that it takes.

    Parameters
    ----------
    strategy : {"median", "mean", "most_frequent", "constant"}, default "median"
        The statistic of a column's present values that :meth:`adapt` finds; of several values that are most frequent,
        it takes the smallest. With ``"constant"`` nothing is looked for.
    fill_value : float or sequence of float, optional
        With ``"constant"`` the value for all columns, or a value for each column that the layer takes; default 0. With
        another strategy it takes the place of a call of adapt.
    add_indicator : bool, default False
        Whether y gets one more column for each column that the layer takes, which is 1 where x is missing a value, else
        0. They come last; before them the columns that are filled, and first of all those that the layer leaves.
    columns : sequence of int or str, optional
        The columns that are filled, by index or by a frame's names; the others stay as they are. Default: all.
    **shared
        See :class:`Layer`.

    Attributes
    ----------
    fill_value : tuple of float, or None
        One value for all columns, or a value for each; None before adapt.

    Notes
    -----
    The values are constants of the model: they are not trained, and are part of its configuration, in files too. The
    arguments' names are those of scikit-learn's SimpleImputer, which adds indicators only for columns that lack values
    in the data it has seen.

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.Impute(add_indicator=True)
    >>> layer.adapt([[1.0], [None], [5.0], [2.0]])
    >>> fastnn.Sequential([fastnn.Input((1,)), layer]).predict([[float("nan")], [7.0]])
    array([[2., 1.],
           [7., 0.]], dtype=float32)
    """

    takes_missing = True

    def __init__(
        self,
        strategy: str = "median",
        fill_value: Any = None,
        add_indicator: bool = False,
        columns: Any = None,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(columns, **shared)
        if not isinstance(strategy, str) or strategy not in STRATEGIES:
            near = nearest_names(strategy, list(STRATEGIES)) if isinstance(strategy, str) else f"known are {STRATEGIES}"
            raise ValueError(f"strategy {strategy!r} is unknown; {near}")
        self.strategy = strategy
        self.add_indicator = flag("add_indicator", add_indicator)
        if fill_value is None and strategy == "constant":
            fill_value = 0.0
        self.fill_value: tuple[float, ...] | None = None if fill_value is None else _fill_values(fill_value)

    def adapt(self, data: Any) -> None:
        """Find the value that takes the place of missing values in each column.

        Parameters
        ----------
        data : array-like, shape (rows, features), or (rows,) of one feature, or iterable of such batches
            Numbers, NaN and None; at least one number in each column that the layer takes. The batches of a generator
            are held in memory together. A data frame's columns are known by their names from then on, in the layer's
            model too, see :attr:`Sequential.feature_names`.

        Raises
        ------
        ValueError, TypeError
            When `data` cannot be used, in one sentence; the layer is as it was then.
        """
        if self.strategy == "constant":
            raise ValueError(f"{self._called} fills in a constant: adapt() would have no effect")
        taken = self._begin_to_adapt(data, missing=True)
        found = []
        for called, column in taken.columns():
            found.append(_center(column, self.strategy))
            if np.isnan(found[-1]):
                raise ValueError(f"data must hold at least one number in each column, but column {called} has none")
        vars(self).update(fill_value=tuple(found), _column_names=taken.names, _taken_names=taken.own_names)

    def __call__(self, values: Any) -> npt.NDArray[np.float64]:
        """Return the layer's output for these numbers, without a model: what a layer after it can be adapted to.

        Parameters
        ----------
        values : array-like, shape (rows, features), or (rows,) of one feature

        Returns
        -------
        ndarray of float64, shape (rows, features), or with indicators more
        """
        values = in_told_order(self, values, "values")
        array = real_array(values, "values", missing=True).astype(np.float64)
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim != 2:
            raise ValueError(f"values must have shape (rows, features), got {array.shape}")
        width = array.shape[1]
        names = column_names(values) if is_frame(values) else self._names_of(width)
        places = list(self._places_in(width, names))
        taken, there = array[:, places], ~np.isnan(array[:, places])
        filled = np.where(there, taken, self._fill_for(len(places)))
        if self.add_indicator:
            return np.hstack([np.delete(array, places, axis=1), filled, ~there])
        array[:, places] = filled
        return array

    @property
    def keeps_width(self) -> bool:  # type: ignore[override]
        """Whether a column that is taken becomes one column."""
        return not self.add_indicator

    def _fill_for(self, inputs: int) -> tuple[float, ...]:
        """Return a value for each of `inputs` columns."""
        if self.fill_value is None:
            raise NotYetError(f"{self._called} has no fill_value yet: call adapt before the model is built")
        if len(self.fill_value) not in (1, inputs):
            raise ValueError(f"{self._called} has values for {len(self.fill_value)} columns, and takes {inputs}")
        return self.fill_value if len(self.fill_value) == inputs else self.fill_value * inputs

    def build_taken(self, inputs: int) -> int:
        """Return the number of outputs: as many as inputs, or twice as many with indicators."""
        self._fill_for(inputs)
        return 2 * inputs if self.add_indicator else inputs

    def lower_taken(self, offsets: dict[str, int]) -> list[Op]:
        """Return the one op of the layer."""
        width = len(self._places)
        return [Op("impute", "linear", width, 2 * width if self.add_indicator else width, vector=self._fill_for(width))]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; `fill_value` is the value in use."""
        return super().get_config() | {
            "strategy": self.strategy,
            "fill_value": listed(self.fill_value),
            "add_indicator": self.add_indicator,
        }


def _fill_values(values: Any) -> tuple[float, ...]:
    array = np.atleast_1d(np.asarray(values))
    if array.dtype.kind not in "fiu":
        raise TypeError(f"fill_value must be a real number or one for each column, got {values!r}")
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"fill_value must be a finite number or one for each column, got {values!r}")
    return tuple(float(value) for value in array)


def _center(column: npt.NDArray[Any], strategy: str) -> float:
    """Return the median, the mean or the most frequent of the numbers in a column; NaN where it holds none."""
    there = column[~np.isnan(column)].astype(np.float64)
    if not there.size:
        return float("nan")
    if strategy == "median":
        return float(np.median(there))
    if strategy == "mean":
        return float(there[0] + (there - there[0]).mean())
    values, counts = np.unique(there, return_counts=True)
    return float(values[np.argmax(counts)])
