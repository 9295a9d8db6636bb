"""Columns of numbers as places in bins."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._op import Op
from fastnn._settings import count, number
from fastnn.data.frames import as_array, real_array
from fastnn.layers._columns import AdaptedColumns, evenly
from fastnn.layers.base import Shared

if TYPE_CHECKING:
    from typing_extensions import Unpack

Edges = tuple[tuple[float, ...], ...]


class PiecewiseLinearEncoding(AdaptedColumns):
    """Turns a column of numbers into a column for each of its bins, which says how far x has come in the bin.

    For edges b_0 < b_1 < ... < b_n of a column's bins, bin t becomes e_t = (x - b_{t-1}) / (b_t - b_{t-1}), or 0 where
    x is below the bin, and 1 where it is above; the first e goes on below its bin, and the last above. Gorishniy,
    Rubachev and Babenko, On embeddings for numerical features in tabular deep learning, 2022 (arXiv 2203.05556).

    Parameters
    ----------
    bins : int, default 48
        The most bins of a column that :meth:`adapt` makes.
    columns : sequence of int or str, optional
        The columns that are encoded, by index or by a frame's names; the others come first, unchanged. Default: all.
    bin_edges : sequence of sequences of float, optional
        The edges of each column that is encoded, at least two, in rising order; in place of a call of adapt.
    **shared
        See :class:`Layer`.

    Attributes
    ----------
    bin_edges : tuple of tuples of float, or None
        The edges in use of each column; None before adapt.

    Notes
    -----
    A column of equal values c has the edges c and c + 1. The edges are constants of the model: they are not trained,
    and are part of its configuration, in files too.

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.PiecewiseLinearEncoding(2)
    >>> layer.adapt([[0.0], [1.0], [2.0], [3.0], [10.0]])
    >>> layer.bin_edges
    ((0.0, 2.0, 10.0),)
    >>> fastnn.Sequential([fastnn.Input((1,)), layer]).predict([[-1.0], [1.0], [4.0], [18.0]])
    array([[-0.5 ,  0.  ],
           [ 0.5 ,  0.  ],
           [ 1.  ,  0.25],
           [ 1.  ,  2.  ]], dtype=float32)
    """

    keeps_width = False

    def __init__(
        self,
        bins: int = 48,
        columns: Any = None,
        bin_edges: Any = None,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(columns, **shared)
        self.bins = count("bins", bins, 1, 2**24)
        self.bin_edges: Edges | None = None if bin_edges is None else _checked_edges(bin_edges)

    def adapt(
        self, data: Any, y: Any = None, *, min_samples_leaf: int = 64, min_impurity_decrease: float = 1e-4
    ) -> None:
        """Find the edges of each column's bins: quantiles, or the splits of a small tree that tells y by the column.

        Parameters
        ----------
        data : array-like, shape (rows, features), or (rows,) of one feature
            At least one row; finite numbers in the columns that the layer takes. All rows are looked at, some columns
            at a time. A data frame's columns are known by their names from then on, in the layer's model too, see
            :attr:`Sequential.feature_names`.
        y : array-like, shape (rows,), optional
            Without y, each bin has about the same number of rows; equal values are in one bin. With y, the edges are
            the least value, the greatest, and the splits of a decision tree of scikit-learn, which must be installed.
            Text, bools and whole numbers are classes; floats are numbers.
        min_samples_leaf : int, default 64
        min_impurity_decrease : float, default 1e-4
            Of the tree: the least rows of a bin, and how much a split must gain.

        Raises
        ------
        ValueError, TypeError
            When `data` or y cannot be used, in one sentence; the layer is as it was then.
        """
        taken = self._begin_to_adapt(data)
        if y is None:
            found = [np.unique(evenly(column, self.bins + 1, called)) for called, column in taken.columns()]
        else:
            rows = len(taken.array)
            tree = _tree_for(y, rows, self.bins, min_samples_leaf, min_impurity_decrease)
            found = [tree(column) for _, column in taken.columns()]
        edges = tuple(tuple((values if len(values) > 1 else values[0] + [0.0, 1.0]).tolist()) for values in found)
        vars(self).update(bin_edges=_checked_edges(edges), _column_names=taken.names, _taken_names=taken.own_names)

    def build_taken(self, inputs: int) -> int:
        """Return the number of bins of all columns; raise where the layer was adapted to other columns."""
        edges = self._constants("bin_edges", inputs)
        return sum(len(column) - 1 for column in edges)

    def lower_taken(self, offsets: dict[str, int]) -> list[Op]:
        """Return the one op of the layer."""
        width = len(self._places)
        edges: Edges = self._constants("bin_edges", width)
        vector = tuple(itertools.chain.from_iterable((float(len(column)), *column) for column in edges))
        return [Op("piecewise", "linear", width, sum(len(column) - 1 for column in edges), vector=vector)]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; `bin_edges` are the edges in use."""
        edges = None if self.bin_edges is None else list(map(list, self.bin_edges))
        return super().get_config() | {"bins": self.bins, "bin_edges": edges}


def _checked_edges(values: Any) -> Edges:
    """Return the edges of bins as they are held; raise where they make no bins."""
    if isinstance(values, (str, dict)) or not isinstance(values, Iterable):
        raise TypeError(f"bin_edges must be a list of lists of numbers, one a column, got {values!r:.80}")
    found = []
    for k, given in enumerate(values):
        edges = real_array(given, f"bin_edges[{k}]", "").astype(np.float64)
        with np.errstate(over="ignore"):
            widths = np.diff(edges) if edges.ndim == 1 else np.zeros(1)
        if edges.ndim != 1 or len(edges) < 2 or not (widths > 0).all() or not np.isfinite(widths).all():
            raise ValueError(f"bin_edges[{k}] must be at least two finite numbers that rise, got {given!r:.80}")
        found.append(tuple(edges.tolist()))
    if not found:
        raise ValueError("bin_edges must be the edges of at least one column")
    return tuple(found)


def _tree_for(y: Any, rows: int, bins: int, min_samples_leaf: int, min_impurity_decrease: float) -> Any:
    """Return a function that gives the edges of a column's bins: the splits of a tree that tells y by the column."""
    labels = as_array(y, "y")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (rows,):
        raise ValueError(f"y must have shape ({rows},), one value for each row of data, got {labels.shape}")
    settings = {
        "max_leaf_nodes": max(bins, 2),
        "min_samples_leaf": count("min_samples_leaf", min_samples_leaf, 1),
        "min_impurity_decrease": number("min_impurity_decrease", min_impurity_decrease, 0),
        "random_state": 0,
    }
    try:
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
    except ImportError:
        raise ImportError("adapt needs scikit-learn for y: pip install 'fastnn-cpu[sklearn]'") from None
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise ValueError(f"y must be finite, but row {int(np.argmin(np.isfinite(labels)))} holds a NaN or infinity")
        tree = DecisionTreeRegressor(**settings)
    else:
        labels = np.unique(labels.astype(str) if labels.dtype.kind == "O" else labels, return_inverse=True)[1]
        tree = DecisionTreeClassifier(**settings)

    def edges(column: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if bins == 1:
            return np.unique([column.min(), column.max()])
        grown = tree.fit(column[:, None], labels).tree_
        splits = grown.threshold[grown.children_left != grown.children_right]
        return np.unique([column.min(), column.max(), *splits])

    return edges
