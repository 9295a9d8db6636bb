"""Rows of which only the nonzero entries are stored, as the engine reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class SparseRows:
    """The rows of a matrix of which only the nonzero entries are stored (CSR).

    Parameters
    ----------
    starts : ndarray of int64, shape (rows + 1,)
        Row i has the entries ``starts[i]`` to ``starts[i + 1] - 1``.
    columns : ndarray of int32, shape (entries,)
        The column of each entry; columns rise within a row.
    values : ndarray of float32 or float64, shape (entries,)
    features : int

    Notes
    -----
    Only :func:`fastnn.data.sparse.from_scipy` makes these rows: it has checked the arrays and has copied `starts`, and
    the engine trusts both.
    """

    __slots__ = ("_most", "columns", "features", "starts", "values")

    def __init__(self, starts: Array, columns: Array, values: Array, features: int) -> None:
        self.starts, self.columns, self.values, self.features = starts, columns, values, features
        self._most: tuple[int, int] = (0, 0)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, rows: slice) -> SparseRows:
        first, end, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(f"sparse rows are sliced in steps of 1, got {step}")
        return SparseRows(self.starts[first : max(first, end) + 1], self.columns, self.values, self.features)

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and of features."""
        return len(self), self.features

    ndim = 2

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the values."""
        return self.values.dtype

    @property
    def entries(self) -> int:
        """The number of values that are stored for these rows."""
        return int(self.starts[-1] - self.starts[0])

    def most_entries(self, rows: int, among: npt.NDArray[np.int64] | None = None) -> int:
        """Return the largest number of entries that any `rows` of the rows have together.

        `among` are the rows that count, as often as they are there; None: each row once.
        """
        if among is not None:
            return _largest(np.diff(self.starts)[among], rows)
        if self._most[0] != rows:
            self._most = rows, _largest(np.diff(self.starts), rows)
        return self._most[1]


def _largest(counts: Array, number: int) -> int:
    """Return the sum of the `number` largest counts."""
    if number < len(counts):
        counts = np.partition(counts, len(counts) - number)[len(counts) - number :]
    return int(counts.sum())
