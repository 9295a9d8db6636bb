"""Columns of numbers as places in bins."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn import activations
from fastnn._op import Op
from fastnn._settings import count, flag, number
from fastnn.data.frames import as_array, real_array
from fastnn.initializers import Initializer
from fastnn.layers._columns import AdaptedColumns, evenly
from fastnn.layers.base import Parameter, Shared, check_width
from fastnn.layers.column_embedding import elementwise, groups, like_torch

if TYPE_CHECKING:
    from typing_extensions import Unpack

Edges = tuple[tuple[float, ...], ...]


class PiecewiseLinearEncoding(AdaptedColumns):
    """Turns a column of numbers into a column for each of its bins, which says how far x has come in the bin.

    For edges b_0 < b_1 < ... < b_n of a column's bins, bin t becomes e_t = (x - b_{t-1}) / (b_t - b_{t-1}), or 0 where
    x is below the bin, and 1 where it is above; the first e goes on below its bin, and the last above. Gorishniy,
    Rubachev and Babenko, On embeddings for numerical features in tabular deep learning, 2022 (arXiv 2203.05556).

    With `units`, a map of its own makes y_j = f(e W_j + b_j) of the bins e of each column x_j, and the result is y_1,
    y_2, ... side by side: the embedding "Q" or "T" of the paper, or with ``activation="relu"`` "QR" or "TR".

    Parameters
    ----------
    bins : int, default 48
        The most bins of a column that :meth:`adapt` makes.
    units : int, optional
        Numbers y of a column; None: the bins themselves.
    activation : str, ActivationFunction or config, optional
        f, which must work element by element; default linear.
    linear : bool, default False
        Whether y_j = f(x_j w_j + e W_j + b_j), where W_j starts at 0: training begins with a :class:`LinearEmbedding`
        and bends it, as for TabM (Gorishniy, Kotelnikov and Babenko, TabM: advancing tabular deep learning with
        parameter-efficient ensembling, 2024).
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
    With `units` the parameters are ``"kernel"``, of shape (columns * m, units), and ``"bias"``, of shape (columns *
    units,), where m is the largest number of bins of a column, and one more with `linear`. The kernel has W_1, W_2, ...
    one below the other, each with w_j as its first row if there is one, and with rows after those of its bins that
    change nothing. Both start uniform between -1 / sqrt(n) and 1 / sqrt(n), n = m, or with `linear` n = `units`.

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
        units: int | None = None,
        activation: Any = None,
        linear: bool = False,
        columns: Any = None,
        bin_edges: Any = None,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(columns, **shared)
        self.bins = count("bins", bins, 1, 2**24)
        self.units = None if units is None else check_width("units", units)
        self.activation = elementwise(activation, "PiecewiseLinearEncoding")
        self.linear = flag("linear", linear)
        if self.units is None and (self.linear or self.activation is not activations.linear):
            argument = "linear" if self.linear else "activation"
            raise ValueError(f"{argument} is of the map that units make: give units too")
        self.bin_edges: Edges | None = None if bin_edges is None else _checked_edges(bin_edges)

    def adapt(
        self, data: Any, y: Any = None, *, min_samples_leaf: int = 64, min_impurity_decrease: float = 1e-4
    ) -> None:
        """Find the edges of each column's bins: quantiles, or the splits of a small tree that tells y by the column.

        Parameters
        ----------
        data : array-like, shape (rows, features), or (rows,) of one feature, or iterable of such batches
            At least one row; finite numbers in the columns that the layer takes. All rows are looked at, some columns
            at a time; the batches of a generator are held in memory together. A data frame's columns are known by their
            names from then on, in the layer's model too, see :attr:`Sequential.feature_names`.
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

    @property
    def _most(self) -> int:
        """The largest number of bins of a column; 0 before adapt."""
        return max((len(column) - 1 for column in self.bin_edges or ()), default=0)

    def build_taken(self, inputs: int) -> int:
        """Return the number of bins of all columns, or of `units`; raise where the layer has edges of other columns."""
        edges = self._constants("bin_edges", inputs)
        return sum(len(column) - 1 for column in edges) if self.units is None else inputs * self.units

    def parameters(self) -> list[Parameter]:
        """Return the kernel and the bias of the maps, where there are `units`."""
        if self.units is None:
            return []
        columns, each = len(self.bin_edges or ()), self._most + self.linear
        start: Initializer = like_torch(self.units if self.linear else max(each, 1))
        kernel = _AboveZeros(start, each) if self.linear else start
        shape = (columns * each, self.units)
        return [Parameter("kernel", shape, kernel), Parameter("bias", (columns * self.units,), start)]

    def lower_taken(self, offsets: dict[str, int]) -> list[Op]:
        """Return the op that finds bins, and with `units` the one that maps them."""
        columns, units, f = len(self._places), self.units, self.activation
        edges: Edges = self._constants("bin_edges", columns)
        vector = tuple(itertools.chain.from_iterable((float(len(column)), *column) for column in edges))
        if units is None:
            return [Op("piecewise", "linear", columns, sum(len(column) - 1 for column in edges), vector=vector)]
        width = columns * (self._most + self.linear)
        numbers = (float(self._most), float(self.linear))
        return [
            Op("piecewise", "linear", columns, width, numbers=numbers, vector=vector),
            groups(width, columns * units, columns, columns, offsets["kernel"], offsets["bias"], f),
        ]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; `bin_edges` are the edges in use."""
        edges = None if self.bin_edges is None else list(map(list, self.bin_edges))
        return super().get_config() | {
            "bins": self.bins,
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "linear": self.linear,
            "bin_edges": edges,
        }


class _AboveZeros(Initializer):
    """The first of every `each` rows from another initializer, the others 0."""

    def __init__(self, first: Initializer, each: int) -> None:
        super().__init__()
        self.first, self.each = first, each

    def _fill(self, values: npt.NDArray[Any], source: Any) -> None:
        drawn = np.empty_like(values[:: self.each])
        self.first._fill(drawn, source)
        values[...] = 0
        values[:: self.each] = drawn


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
