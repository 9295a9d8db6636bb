"""The arrays of a scipy.sparse matrix as sparse rows, checked once and read in place by the engine."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._engine import SPARSE_COLUMN, SPARSE_STARTS, SPARSE_UNSORTED, check_sparse
from fastnn._sparse_rows import SparseRows

Array = npt.NDArray[Any]
MAX_COLUMNS = 2**31 - 1


def is_sparse(x: Any) -> bool:
    """Return whether x is a matrix or an array of scipy.sparse, without importing scipy.sparse."""
    module = sys.modules.get("scipy.sparse")
    return module is not None and bool(module.issparse(x))


def _arrays(matrix: Any, name: str) -> tuple[Array, Array, Array]:
    """Return starts, columns and values of a CSR matrix, with the right kinds and lengths."""
    starts, columns, values = (np.asarray(getattr(matrix, key)) for key in ("indptr", "indices", "data"))
    one_axis = starts.ndim == columns.ndim == values.ndim == 1
    if not one_axis or starts.dtype.kind not in "iu" or columns.dtype.kind not in "iu":
        raise ValueError(f"{name}'s indptr, indices and data must be one-dimensional, the first two of integers")
    if len(columns) != len(values):
        raise ValueError(f"{name}'s indices and data must be of one length, got {len(columns)} and {len(values)}")
    if len(starts) != matrix.shape[0] + 1:
        raise ValueError(f"{name}'s indptr must hold {matrix.shape[0] + 1} numbers, one more than rows")
    if columns.dtype.itemsize > 4 and len(columns) and not 0 <= columns.min() <= columns.max() <= MAX_COLUMNS:
        raise ValueError(f"{name}'s indices must lie between 0 and {matrix.shape[1] - 1}")
    # Starts are copied, so that nobody changes them while the engine runs; columns are checked again by the engine.
    return np.array(starts, np.int64), _in_place(columns, np.int32), values


def _in_place(array: Array, dtype: Any) -> Array:
    """Return the array where the engine can read it as it is, else a copy."""
    return np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"])


def _check_places(x: Any, name: str) -> None:
    """Raise where entries lie outside the matrix: scipy converts without a check, and out of bounds of memory."""
    rows, columns = x.shape
    if x.format == "coo":
        _check_bounds(x.row, rows, f"{name}'s row")
        _check_bounds(x.col, columns, f"{name}'s col")
    elif x.format in ("csc", "bsr"):
        height, width = (1, 1) if x.format == "csc" else x.blocksize
        lines, across = (columns, rows) if x.format == "csc" else (rows // height, columns // width)
        _check_bounds(x.indices, across, f"{name}'s indices")
        starts = np.asarray(x.indptr)
        rises = len(starts) == lines + 1 and starts[0] >= 0 and not (starts[1:] < starts[:-1]).any()
        if not rises or starts[-1] > min(len(x.indices), len(x.data)):
            raise ValueError(f"{name}'s indptr must rise from 0 to at most the number of its entries, {len(x.indices)}")


def _check_bounds(places: Any, length: int, name: str) -> None:
    places = np.asarray(places)
    if len(places) and not 0 <= places.min() <= places.max() < length:
        raise ValueError(f"{name} must lie between 0 and {length - 1}")


def from_scipy(x: Any, dtype: str, name: str) -> SparseRows:
    """Return the rows of a scipy.sparse matrix; they are its own arrays where these are CSR, sorted and of `dtype`.

    Parameters
    ----------
    x : scipy.sparse matrix or array, shape (rows, features)
        A matrix in another format than CSR is converted once; entries at the same place are added up.
    dtype : str
    name : str
        The argument's name, for messages.

    Raises
    ------
    TypeError, ValueError
        When x holds no real numbers, or its arrays contradict each other.
    """
    if x.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got a sparse matrix of dtype {x.dtype}")
    if len(x.shape) != 2:
        hint = "; reshape(1, -1) makes one row of it" if len(x.shape) == 1 else ""
        raise ValueError(f"{name} must have two axes (rows, features), got a sparse array of shape {x.shape}{hint}")
    if x.shape[1] > MAX_COLUMNS:
        raise ValueError(f"{name} must have fewer than 2**31 features, got {x.shape[1]}")
    _check_places(x, name)
    matrix = x.tocsr()
    starts, columns, values = _arrays(matrix, name)
    form = check_sparse(starts, columns, x.shape[1])
    if form == SPARSE_STARTS:
        raise ValueError(f"{name}'s indptr must rise from 0 to at most the number of its entries, {len(columns)}")
    if form == SPARSE_COLUMN:
        raise ValueError(f"{name}'s indices must lie between 0 and {x.shape[1] - 1}")
    if form == SPARSE_UNSORTED:
        from scipy.sparse import csr_matrix

        matrix = csr_matrix((values, columns, starts), x.shape, copy=True)
        matrix.sum_duplicates()
        starts, columns, values = _arrays(matrix, name)
    # a float64 beyond float32's range becomes infinite, and is reported as infinite later
    with np.errstate(over="ignore"):
        return SparseRows(starts, columns, _in_place(values, dtype), x.shape[1])
