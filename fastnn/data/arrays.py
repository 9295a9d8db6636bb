"""The user's arrays, checked and brought into the form that the engine reads; an array in that form is not copied."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._engine import all_finite
from fastnn._registry import by_name, nearest_names
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
    in_order,
    in_place,
    is_frame,
    real_array,
    row_in_order,
)

Array = npt.NDArray[Any]
# bytes: rows that would take more after their conversion are converted piece by piece, whenever they are read
LARGE = 2**28
_PIECE = 2**24  # bytes of rows that are looked at or converted at a time, so that Ctrl-C is heard in between


class Deferred:
    """Rows that are converted whenever they are read: those of an array, perhaps in a file, too large to be held twice.

    Parameters
    ----------
    array : ndarray, shape (rows, features)
        An array of any real dtype, byte order and strides.
    dtype : str
        The dtype of the rows that :meth:`read` returns.
    """

    ndim = 2

    def __init__(self, array: Array, dtype: str) -> None:
        self._array, self.dtype = array, np.dtype(dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """The numbers of rows and of features."""
        return self._array.shape

    @property
    def row_bytes(self) -> int:
        """The number of bytes of a converted row."""
        return self.shape[1] * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, rows: slice) -> Deferred:
        return Deferred(self._array[rows], self.dtype.name)

    def read(self, rows: slice | npt.NDArray[np.int64]) -> Array:
        """Return these rows, converted; a copy unless they have the dtype and the layout already."""
        return as_rows(self._array[rows], self.dtype.name)

    def distinct(self) -> Deferred:
        """Return one row where all rows share the same memory; else all of them."""
        return Deferred(distinct(self._array), self.dtype.name)


def pieces(rows: Any) -> Iterator[tuple[int, Any]]:
    """Yield rows as the engine reads them, with the number of the first: deferred rows in pieces, others whole.

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
    """Yield all rows piece by piece, each time with the number of the first; rows that share their memory only once.

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
    """Return slices of the rows, of 16 MiB each, or of one row where a row is larger."""
    step = max(1, _PIECE // max(1, math.prod(rows.shape[1:]) * rows.dtype.itemsize))
    return (slice(start, start + step) for start in range(0, len(rows), step))


def distinct(array: Array) -> Array:
    """Return one row of an array whose rows share the same memory, as numpy.broadcast_to makes it; else the array."""
    return array if len(array) == 0 or array.strides[0] else array[:1]


def copied(array: Array, dtype: Any) -> Array:
    """Return a copy with contiguous, aligned elements of `dtype`."""
    if array.nbytes <= _PIECE:  # a small array is copied at once, in a microsecond
        return np.array(array, dtype, order="C")
    copy = np.empty(array.shape, dtype)
    _fill(copy, array)
    return copy


def _fill(out: Array, array: Array) -> None:
    """Copy elements into `out`, which converts them to its dtype."""
    for some in _slices(out) if out.nbytes > _PIECE else (slice(None),):
        out[some] = array[some]


Rows = Array | SparseRows  # rows as the engine reads them


def as_rows(array: Array, dtype: str, *, defer: bool = False) -> Any:
    """Return the array with contiguous, aligned rows of `dtype`; the array itself where it has them.

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
    # a float64 beyond float32's range becomes infinite, and is reported as infinite later
    with np.errstate(all="ignore"):
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
        What the rows were made of; where it is a frame, the message names the column.
    missing : bool or ndarray of bool, shape (features,), default False
        Where a NaN is a missing value, and no fault.
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
    """Return X as rows of `dtype`.

    Parameters
    ----------
    x : array-like, shape (rows, features)
        An array of any real dtype, order and strides, a data frame of numbers, or a scipy.sparse matrix.
    features : int or None
        The number of features that the model needs; None where it has not been told.
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
        When x cannot be used; the message is one sentence, and nothing has changed.
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
    """Return whether x is one row: a dict with a scalar under each name."""
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
    missing: Mapping[str, Callable[[int], Array]] = MappingProxyType({}),
    together: Collection[str] = (),
) -> tuple[Array, dict[str, int]]:
    """Return the arrays of a dict, or the columns of a frame, side by side in one matrix: the only copy made of them.

    Parameters
    ----------
    x : Mapping of array-likes of shape (rows,) or (rows, features), or a data frame
        A Mapping of scalars is one row.
    columns : Mapping
        For each branch the names in x that the branch takes.
    widths : Mapping
        For each branch the number of features that it needs; None where the data decide.
    dtype : str
    check_finite : bool
    name : str
        The argument's name, for messages.
    prepare : callable, optional
        Returns a branch's numbers, called with the branch's name, its raw data and what messages call these data.
    missing : Mapping
        The branches in which NaN, and None among objects, are missing values, each with what says in which of so many
        columns they are.
    together : collection of str
        The branches whose columns `prepare` gets all at once, as a dict, and not one by one.

    Returns
    -------
    (ndarray of shape (rows, features), dict)
        The branches' columns in the branches' order, and the number of columns of each branch.

    Raises
    ------
    TypeError, ValueError
        When x cannot be used; the message is one sentence, and nothing has changed.
    """
    x = {key: [value] for key, value in x.items()} if is_row(x) else x
    parts = _parts(x, columns, name, prepare, missing, together)
    found = {branch: sum(array.shape[1] for array, *_ in arrays) for branch, arrays in parts.items()}
    for branch, width in widths.items():
        if width is not None and found[branch] != width:
            raise ValueError(f"{name} must have {width} features for the branch {branch!r}, got {found[branch]}")
    each = [part for arrays in parts.values() for part in arrays]
    matrix = np.empty((len(each[0][0]), sum(found.values())), dtype)
    places = [missing.get(branch, _nowhere)(width) for branch, width in found.items()] if check_finite else []
    may_miss = np.concatenate(places) if check_finite else _nowhere(0)
    start = 0
    for array, values, it in each:
        place = slice(start, start + array.shape[1])
        block = matrix[:, place]
        # a float64 beyond float32's range becomes infinite, and is reported as infinite later
        with np.errstate(all="ignore"):
            _fill(block, array)
        if check_finite and array.dtype.kind == "f":
            require_finite(block, it, source=values, missing=may_miss[place])
        start = place.stop
    return matrix, found


def _nowhere(columns: int) -> Array:
    return np.zeros(columns, bool)


def _everywhere(columns: int) -> Array:
    return np.ones(columns, bool)


def _parts(
    x: Any,
    columns: Mapping[str, Sequence[Any]],
    name: str,
    prepare: Callable[[str, Any, str], Any] | None,
    missing: Collection[str],
    together: Collection[str],
) -> dict[str, list[tuple[Array, Any, str]]]:
    """Return for each branch its arrays of two axes, each with the data it was made of and what messages call these.

    Parameters
    ----------
    x, columns, name, prepare, missing, together
        These are the arguments of :func:`named_inputs`.
    """
    there, get = dict.fromkeys(column_names(x)), getter(x, name)
    wanted = {key for keys in columns.values() for key in keys}
    parts: dict[str, list[tuple[Array, Any, str]]] = {branch: [] for branch in columns}
    rows = None
    for branch, keys in columns.items():
        lacking = next((key for key in keys if key not in there), None)
        if lacking is not None:
            near = nearest_names(str(lacking), [str(key) for key in there])
            raise ValueError(f"{name} has no {lacking!r}, which the branch {branch!r} takes; {near}")
        given: list[tuple[Any, str]] = [(get(key), f"{name}[{key!r}]") for key in keys]
        if branch in together:
            given = [(dict(zip(keys, (values for values, _ in given), strict=True)), name)]
        for values, it in given:
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
    """Raise where x is a query, a dict for a model without names (`columns` is None), or a list for one with names.

    Parameters
    ----------
    x : object
    columns : Mapping or None
        For each branch the names that the branch takes; None where the model's input has no names.
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
    """What a frozen model knows of its input, and how it reads it.

    Attributes
    ----------
    axes : RowAxes
        The axes of a row where x is an array.
    columns, widths : Mapping or None
        For each branch the names that it takes, and its number of features; None where the input has no names.
    branch_axes : Mapping or None
        For each branch the axes of a row of its input.
    missing : bool
        Whether NaN, and None among objects, is a missing value in any column.
    with_missing : collection of str
        The branches in which NaN, and None among objects, are missing values.
    names : tuple of str or None
        The names of the columns of a frame in their order, where the model knows them.
    prepare : Mapping or None
        For each branch that reads raw data what makes numbers of them, called with the data and what messages call
        them; under the name ``""`` where the input has no names.
    together : collection of str
        The branches whose columns `prepare` gets all at once.
    column_names : Mapping
        The names of the columns of frames that a dict holds, in their order, by place: ``"x['sizes']"``.
    """

    axes: RowAxes = RowAxes()
    columns: Mapping[str, Sequence[Any]] | None = None
    widths: Mapping[str, int | None] | None = None
    branch_axes: Mapping[str, RowAxes] | None = None
    missing: bool = False
    with_missing: Collection[str] = ()
    names: tuple[str, ...] | None = None
    prepare: Mapping[str, Callable[[Any, str], Any]] | None = None
    together: Collection[str] = ()
    column_names: Mapping[str, Sequence[str]] = MappingProxyType({})

    def __call__(self, x: Any, features: int, dtype: str) -> Array:
        """Return X as rows of `dtype`, shape (rows, features), or (features,) where x is one row without more axes."""
        if sparse.is_sparse(x):
            raise TypeError("x is sparse, which a frozen Predictor cannot read: use the model's predict")
        check_names(x, self.columns, "x")
        if self.columns is not None and has_names(x):
            told = self.columns, self.widths or {}, dtype
            if self.column_names and isinstance(x, Mapping):
                places = {key: f"x[{key!r}]" for key in x}
                x = {key: in_place(x[key], self.column_names, place, place) for key, place in places.items()}
            rows, _ = named_inputs(
                x,
                *told,
                check_finite=False,
                prepare=self._of_branch,
                missing=dict.fromkeys(self.with_missing, _everywhere),
                together=self.together,
            )
            return np.asarray(rows[0] if is_row(x) else rows)
        framed = is_frame(x)
        if self.names is not None and self.columns is None and (framed or features > 1):
            x = in_order(x, self.names) if framed else row_in_order(x, self.names)
        if self.prepare:
            return self._prepared(x, features, dtype)
        x = self.axes.one_axis(x, "x")
        one_row = False
        if not framed and (x if hasattr(x, "ndim") else as_array(x, "x")).ndim == 1:
            x = real_array(x, "x", missing=self.missing)
            one_row = features != 1 or len(x) == 1
            x = x[None, :] if one_row else x[:, None]
        rows = inputs(x, features, dtype, check_finite=False, missing=self.missing)
        return np.asarray(rows[0] if one_row else rows)

    def _of_branch(self, branch: str, values: Any, name: str) -> Any:
        """Return what the engine reads of a branch's data."""
        if self.prepare and branch in self.prepare:
            values = self.prepare[branch](values, name)
        return (self.branch_axes or {})[branch].one_axis(values, name)

    def _prepared(self, x: Any, features: int, dtype: str) -> Array:
        """Return raw data that have no names as rows of `dtype`."""
        if not self.prepare or "" not in self.prepare:
            raise TypeError("x must be a dict of arrays or a data frame, as a branch of the model reads raw data")
        one_row = features > 1 and not is_frame(x) and as_array(x, "x").ndim == 1
        if one_row:  # a list stays one: NumPy would make text of numbers beside text
            x = [x] if isinstance(x, (list, tuple)) else as_array(x, "x")[None, :]
        rows = inputs(self.prepare[""](x, "x"), features, dtype, check_finite=False)
        return np.asarray(rows[0] if one_row else rows)


def gradient(grad: Any, outputs: int, dtype: str) -> Array:
    """Return the gradient of a loss with respect to a model's outputs, as `dtype`.

    Parameters
    ----------
    grad : array-like, shape (rows, outputs)
    outputs : int
    dtype : str

    Raises
    ------
    TypeError, ValueError
        When grad cannot be used; the message is one sentence.
    """
    array = real_array(grad, "grad", "")
    if array.ndim != 2:
        raise ValueError(f"grad must have shape (rows, {outputs}), got {array.shape}")
    return np.ascontiguousarray(as_rows(array, dtype))


def cotangent(u: Any, shape: tuple[int, ...], heads: Mapping[str, int] | None, dtype: str) -> Array:
    """Return what outputs of this shape are multiplied with, as contiguous `dtype`.

    Parameters
    ----------
    u : array-like, or a dict of them by the names of `heads`
    shape : tuple of int
    heads : Mapping or None
        The number of outputs of each head, in their order; None where the outputs have no names.
    dtype : str

    Raises
    ------
    TypeError, ValueError
        When u cannot be used; the message is one sentence.
    """
    if not isinstance(u, Mapping):
        return of_shape(u, "u", shape, dtype)
    if heads is None:
        raise TypeError("u is a dict, but the outputs have no names: pass one array")
    given = zip(by_name(u, list(heads), "u"), heads.items(), strict=True)
    parts = [of_shape(part, f"u[{name!r}]", (*shape[:-1], width), dtype) for part, (name, width) in given]
    return np.concatenate(parts, axis=-1)


def of_shape(values: Any, name: str, shape: tuple[int, ...], dtype: str) -> Array:
    """Return real numbers as contiguous `dtype`; raise where they have another shape. `name` is theirs in messages."""
    if isinstance(values, Mapping):
        raise TypeError(f"{name} must be one array of shape {shape}, got a dict")
    array = real_array(values, name, "")
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    rows = as_rows(array.reshape(1, -1) if array.ndim == 1 else array, dtype)
    return np.ascontiguousarray(rows).reshape(shape)


def split_at(rows: int, fraction: Any) -> int:
    """Return the number of rows that are left for training; the split is Keras's, before shuffling."""
    if isinstance(fraction, bool) or not isinstance(fraction, (int, float, np.number)) or not 0 < fraction < 1:
        raise ValueError(f"validation_split must lie between 0 and 1, got {fraction!r}")
    kept = math.floor(rows * (1 - float(fraction)))
    if kept == 0 or kept == rows:
        raise ValueError(f"validation_split={fraction} leaves no row for one of the two parts of {rows} rows")
    return kept
