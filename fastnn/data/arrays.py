"""The user's arrays, checked and brought into the form the engine reads. What is right already is used as it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._engine import all_finite
from fastnn._registry import nearest_names
from fastnn._sparse_rows import SparseRows
from fastnn.data import sparse
from fastnn.data.frames import (
    RowAxes,
    as_array,
    called,
    check_collected,
    column_names,
    getter,
    has_names,
    is_frame,
    real_array,
)

Array = npt.NDArray[Any]
LARGE = 2**28  # bytes: what would take more once it is converted is converted piece by piece, whenever it is read
_PIECE = 2**24  # bytes of rows that are looked at or converted at a time: Ctrl-C comes through in between


class Deferred:
    """Rows that are converted when they are read: an array, perhaps in a file, that is too large to be held twice.

    Parameters
    ----------
    array : ndarray, shape (rows, features)
        Of any real dtype, byte order and strides.
    dtype : str
        What :meth:`read` gives.
    """

    ndim = 2

    def __init__(self, array: Array, dtype: str) -> None:
        self._array, self.dtype = array, np.dtype(dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and features."""
        return self._array.shape

    @property
    def row_bytes(self) -> int:
        """Bytes of a converted row."""
        return self.shape[1] * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, rows: slice) -> Deferred:
        return Deferred(self._array[rows], self.dtype.name)

    def read(self, rows: slice | npt.NDArray[np.int64]) -> Array:
        """The rows, converted; a copy unless they are right as they are."""
        return as_rows(self._array[rows], self.dtype.name)

    def distinct(self) -> Deferred:
        """One row where all rows are the same memory; else all of them."""
        return Deferred(distinct(self._array), self.dtype.name)


def pieces(rows: Any) -> Iterator[tuple[int, Any]]:
    """The rows as the engine reads them, with the number of the first: at once, or bit by bit where they are deferred.

    Parameters
    ----------
    rows : ndarray, Deferred or other rows
    """
    if not isinstance(rows, Deferred):
        yield 0, rows
        return
    for some in _slices(rows):
        yield some.start, rows.read(some)


def looked_at(rows: Array | Deferred) -> Iterator[tuple[int, Array]]:
    """All rows piece by piece, with the number of the first, for whoever looks at each; equal ones of no memory once.

    Parameters
    ----------
    rows : ndarray or Deferred
    """
    if isinstance(rows, np.ndarray) and 0 < rows.nbytes <= _PIECE:
        yield 0, rows
        return
    rows = rows.distinct() if isinstance(rows, Deferred) else distinct(rows)
    for some in _slices(rows):
        yield some.start, rows.read(some) if isinstance(rows, Deferred) else rows[some]


def _slices(rows: Array | Deferred) -> Iterator[slice]:
    """Pieces of the rows."""
    step = max(1, _PIECE // max(1, math.prod(rows.shape[1:]) * rows.dtype.itemsize))
    return (slice(start, start + step) for start in range(0, len(rows), step))


def distinct(array: Array) -> Array:
    """One row of an array in which all are the same memory, as numpy.broadcast_to makes it; else the array."""
    return array if len(array) == 0 or array.strides[0] else array[:1]


def copied(array: Array, dtype: Any) -> Array:
    """A copy of contiguous, aligned elements of `dtype`."""
    if array.nbytes <= _PIECE:  # which takes a microsecond
        return np.array(array, dtype, order="C")
    copy = np.empty(array.shape, dtype)
    _fill(copy, array)
    return copy


def _fill(out: Array, array: Array) -> None:
    """Copy elements, converting them."""
    for some in _slices(out) if out.nbytes > _PIECE else (slice(None),):
        out[some] = array[some]


Rows = Array | SparseRows  # as the engine reads them


def as_rows(array: Array, dtype: str, *, defer: bool = False) -> Any:
    """The array with contiguous, aligned rows of `dtype`; itself where it is that already.

    Parameters
    ----------
    array : ndarray, shape (rows, features)
    dtype : str
    defer : bool, default False
        Whether rows that would take more than 256 MiB may be converted later, piece by piece.

    Returns
    -------
    ndarray or Deferred, shape (rows, features)
    """
    ready = (
        array.dtype == np.dtype(dtype)
        and array.dtype.isnative
        and array.flags.aligned
        and (array.shape[1] == 1 or array.strides[1] == array.itemsize)
        and array.strides[0] % array.itemsize == 0
    )
    if ready:
        return array
    if defer and array.size * np.dtype(dtype).itemsize > LARGE:
        return Deferred(array, dtype)
    with np.errstate(all="ignore"):  # a float64 beyond float32's range becomes infinite, and is reported as such
        return copied(array, dtype)


def _not_finite(name: str, row: int, dtype: Any, *, missing: bool = False) -> ValueError:
    needed, nan = ("finite or, where missing, NaN", "") if missing else ("finite", "a NaN, ")
    return ValueError(
        f"{name} must be {needed}, but row {row} holds {nan}an infinity or a number beyond {dtype}'s range; "
        f"clean the data, or pass check_finite=False"
    )


def require_finite(rows: Any, name: str, first: int = 0, source: Any = None, missing: Any = False) -> None:
    """Raise ValueError where rows, as :func:`inputs` gives them, hold a NaN or an infinity.

    Parameters
    ----------
    rows : ndarray, SparseRows or Deferred
    name : str
        The argument's name, for the message.
    first : int, default 0
        The number that the first of the rows has in the argument.
    source : optional
        What they were made of: the columns of a frame have names.
    missing : bool or ndarray of bool, shape (features,), default False
        Where a NaN is a missing value, which is no fault.
    """
    if isinstance(rows, SparseRows):
        begin, end = rows.starts[0], rows.starts[-1]
        for start, values in looked_at(rows.values[begin:end]):
            if not all_finite(values):
                entry = begin + start + np.argmin(np.isfinite(values))
                raise _not_finite(name, first + int(np.searchsorted(rows.starts, entry, "right")) - 1, rows.dtype)
        return
    for start, array in looked_at(rows):
        if not all_finite(array):
            wrong = np.argwhere(~np.isfinite(array) & ~(np.isnan(array) & missing))
            if not len(wrong):
                continue
            row, place = wrong[0]
            may_miss = bool(np.broadcast_to(missing, array.shape[1])[place])
            raise _not_finite(called(source, name, place), first + start + int(row), array.dtype, missing=may_miss)


def inputs(
    x: Any,
    features: int | None,
    dtype: str,
    *,
    check_finite: bool,
    name: str = "x",
    defer: bool = False,
    missing: bool = False,
) -> Any:
    """X as rows of `dtype`.

    Parameters
    ----------
    x : array-like, shape (rows, features)
        Any real dtype, order and stride; a data frame of numbers works as well, and a scipy.sparse matrix.
    features : int or None
        What the model needs; None where it has not been told.
    dtype : str
    check_finite : bool
    name : str
        The argument's name, for messages.
    defer : bool, default False
        Whether rows that would take more than 256 MiB may be converted later, piece by piece.
    missing : bool, default False
        Whether None among objects becomes NaN.

    Returns
    -------
    ndarray, SparseRows or Deferred, shape (rows, features)

    Raises
    ------
    TypeError, ValueError
        In one sentence, before anything changes.
    """
    array = sparse.from_scipy(x, dtype, name) if sparse.is_sparse(x) else real_array(x, name, missing=missing)
    if array.ndim != 2:
        hint = "; [None, :] makes one row of it, [:, None] rows of one feature" if array.ndim == 1 else ""
        raise ValueError(f"{name} must have two axes (rows, features), got shape {array.shape}{hint}")
    if features is not None and array.shape[1] != features:
        raise ValueError(
            f"{name} must have {features} features a row, as the model was built for, got {array.shape[1]}"
        )
    if array.shape[1] == 0:
        raise ValueError(f"{name} must have at least one feature, got shape {array.shape}")
    if isinstance(array, SparseRows):
        if check_finite:
            require_finite(array, name)
        return array
    rows = as_rows(array, dtype, defer=defer)
    if check_finite and array.dtype.kind == "f":
        require_finite(rows, name, source=x)
    return rows


def is_row(x: Any) -> bool:
    """Whether x is one row: a dict with a scalar under each name."""
    return isinstance(x, Mapping) and bool(x) and all(map(_is_scalar, x.values()))


def _is_scalar(value: Any) -> bool:
    if hasattr(value, "ndim"):
        return bool(value.ndim == 0)
    array_like = hasattr(value, "__len__") or hasattr(value, "__array__") or hasattr(value, "__dlpack__")
    return isinstance(value, (str, bytes)) or not array_like


def named_inputs(
    x: Any,
    columns: Mapping[str, Sequence[Any]],
    widths: Mapping[str, int | None],
    dtype: str,
    *,
    check_finite: bool,
    name: str = "x",
    prepare: Callable[[str, Any, str], Any] | None = None,
    missing: Collection[str] = (),
) -> tuple[Array, dict[str, int]]:
    """The arrays of a dict, or the columns of a data frame, side by side in one matrix, the one copy made of them.

    Parameters
    ----------
    x : Mapping of array-likes of shape (rows,) or (rows, features), or a data frame
        A Mapping of scalars is one row.
    columns : Mapping
        For each branch the names in x that it takes.
    widths : Mapping
        For each branch the features that it needs; None where the data decide.
    dtype : str
    check_finite : bool
    name : str
        The argument's name, for messages.
    prepare : callable, optional
        Of the name of a branch, raw data of its and what to call those: the numbers that it computes with.
    missing : collection of str
        The branches that take NaN for a missing value, and None among objects.

    Returns
    -------
    (ndarray of shape (rows, features), dict)
        The branches' columns in their order, and how many each has.

    Raises
    ------
    TypeError, ValueError
        In one sentence, before anything changes.
    """
    parts = _parts({key: [value] for key, value in x.items()} if is_row(x) else x, columns, name, prepare, missing)
    found = {branch: sum(array.shape[1] for array, *_ in arrays) for branch, arrays in parts.items()}
    for branch, width in widths.items():
        if width is not None and found[branch] != width:
            raise ValueError(f"{name} must have {width} features for the branch {branch!r}, got {found[branch]}")
    each = [(*part, branch in missing) for branch, arrays in parts.items() for part in arrays]
    matrix = np.empty((len(each[0][0]), sum(found.values())), dtype)
    start = 0
    for array, values, it, may_miss in each:
        block = matrix[:, start : start + array.shape[1]]
        with np.errstate(all="ignore"):  # as in as_rows
            _fill(block, array)
        if check_finite and array.dtype.kind == "f":
            require_finite(block, it, source=values, missing=may_miss)
        start += array.shape[1]
    return matrix, found


def _parts(
    x: Any,
    columns: Mapping[str, Sequence[Any]],
    name: str,
    prepare: Callable[[str, Any, str], Any] | None,
    missing: Collection[str],
) -> dict[str, list[tuple[Array, Any, str]]]:
    """What each branch takes of a dict or a frame: arrays of two axes, what they were made of, what those are called.

    Parameters
    ----------
    x, columns, name, prepare, missing
        As for :func:`named_inputs`.
    """
    there, get = dict.fromkeys(column_names(x)), getter(x, name)
    wanted = {key for keys in columns.values() for key in keys}
    parts: dict[str, list[tuple[Array, Any, str]]] = {branch: [] for branch in columns}
    rows = None
    for branch, keys in columns.items():
        for key in keys:
            if key not in there:
                near = nearest_names(str(key), [str(k) for k in there])
                raise ValueError(f"{name} has no {key!r}, which the branch {branch!r} takes; {near}")
            values, it = get(key), f"{name}[{key!r}]"
            numbers = values if prepare is None else prepare(branch, values, it)
            array = real_array(numbers, it, missing=branch in missing)
            array = array[:, None] if array.ndim == 1 else array
            if array.ndim != 2 or not array.shape[1]:
                raise ValueError(f"{it} must have shape (rows,) or (rows, features), got {array.shape}")
            rows = len(array) if rows is None else rows
            if len(array) != rows:
                raise ValueError(f"{name} must have as many rows under each name, got {rows} and {len(array)}")
            parts[branch].append((array, values, it))
    unused = next((key for key in there if key not in wanted), None) if isinstance(x, Mapping) else None
    if unused is not None:
        near = nearest_names(str(unused), list(map(str, wanted)))
        raise ValueError(f"{name} holds {unused!r}, which no branch takes; {near}")
    return parts


def check_names(x: Any, columns: Mapping[str, Sequence[Any]] | None, name: str) -> None:
    """Raise for a query, for a dict where nothing has a name (`columns` is None), for a list of arrays where all have.

    Parameters
    ----------
    x : object
    columns : Mapping or None
        For each branch the names that it takes.
    name : str
        The argument's name, for messages.
    """
    check_collected(x, name)
    if columns is None and isinstance(x, Mapping) and not sparse.is_sparse(x):
        raise TypeError(f"{name} is a dict, which needs a model that starts with Branches")
    if columns is not None and isinstance(x, (list, tuple)) and any(np.ndim(part) > 1 for part in x[:2]):
        wanted = ", ".join(repr(key) for keys in columns.values() for key in keys)
        raise TypeError(f"{name} is a list of arrays, but a model with branches needs a dict of them with {wanted}")


class RowReader(NamedTuple):
    """How a frozen model reads what it is given.

    Attributes
    ----------
    axes : RowAxes
        Of an array's rows.
    columns, widths : Mapping or None
        For each branch the names that it takes, and how many features; None where nothing has a name.
    branch_axes : Mapping or None
        For each branch the axes of its rows.
    missing : bool
        Whether None among objects, as NaN, is a missing value somewhere.
    with_missing : collection of str
        The branches where it is.
    """

    axes: RowAxes = RowAxes()
    columns: Mapping[str, Sequence[Any]] | None = None
    widths: Mapping[str, int | None] | None = None
    branch_axes: Mapping[str, RowAxes] | None = None
    missing: bool = False
    with_missing: Collection[str] = ()

    def __call__(self, x: Any, features: int, dtype: str) -> Array:
        """X as rows of `dtype`, shape (rows, features); of shape (features,) where it is one row without an axis."""
        if sparse.is_sparse(x):
            raise TypeError("x is sparse, which a frozen Predictor cannot read: use the model's predict")
        check_names(x, self.columns, "x")
        axes = self.branch_axes or {}
        if self.columns is not None and has_names(x):
            told = self.columns, self.widths or {}, dtype
            rows, _ = named_inputs(
                x,
                *told,
                check_finite=False,
                prepare=lambda branch, *it: axes[branch].one_axis(*it),
                missing=self.with_missing,
            )
            return np.asarray(rows[0] if is_row(x) else rows)
        x = self.axes.one_axis(x, "x")
        one_row = False
        if not is_frame(x) and (x if hasattr(x, "ndim") else as_array(x, "x")).ndim == 1:
            x = real_array(x, "x", missing=self.missing)
            one_row = features != 1 or len(x) == 1
            x = x[None, :] if one_row else x[:, None]
        rows = inputs(x, features, dtype, check_finite=False, missing=self.missing)
        return np.asarray(rows[0] if one_row else rows)


def gradient(grad: Any, outputs: int, dtype: str) -> Array:
    """The gradient of a loss by a model's outputs, as `dtype`.

    Parameters
    ----------
    grad : array-like, shape (rows, outputs)
    outputs : int
    dtype : str

    Raises
    ------
    TypeError, ValueError
        In one sentence.
    """
    array = real_array(grad, "grad", "")
    if array.ndim != 2:
        raise ValueError(f"grad must have shape (rows, {outputs}), got {array.shape}")
    return np.ascontiguousarray(as_rows(array, dtype))


def split_at(rows: int, fraction: Any) -> int:
    """The number of rows that are left for training, as Keras splits (before shuffling)."""
    if isinstance(fraction, bool) or not isinstance(fraction, (int, float, np.number)) or not 0 < fraction < 1:
        raise ValueError(f"validation_split must lie between 0 and 1, got {fraction!r}")
    kept = math.floor(rows * (1 - float(fraction)))
    if kept == 0 or kept == rows:
        raise ValueError(f"validation_split={fraction} leaves no row for one of the two parts of {rows} rows")
    return kept
