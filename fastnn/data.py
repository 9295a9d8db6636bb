"""The user's arrays, checked and brought into the form the engine reads. What is right already is used as it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn import sparse
from fastnn._engine import all_finite
from fastnn._head import LABELS
from fastnn._registry import nearest_names
from fastnn.frames import column_names, real_array
from fastnn.sparse import SparseRows

if TYPE_CHECKING:
    from fastnn import losses

Array = npt.NDArray[Any]
LARGE = 2**28  # bytes: what would take more once it is converted is converted piece by piece, whenever it is read
_PIECE = 2**24  # bytes of rows that are checked at a time


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
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(self._array[rows], self.dtype)


def pieces(rows: Any) -> Iterator[tuple[int, Any]]:
    """The rows as the engine reads them, with the number of the first: at once, or bit by bit where they are deferred.

    Parameters
    ----------
    rows : ndarray, Deferred or other rows
    """
    if not isinstance(rows, Deferred):
        yield 0, rows
        return
    step = max(1, _PIECE // rows.row_bytes)
    for start in range(0, len(rows), step):
        yield start, rows.read(slice(start, start + step))


Rows = Array | SparseRows  # as the engine reads them


def _as_rows(array: Array, dtype: str, *, defer: bool = False) -> Any:
    """The array with contiguous, aligned rows of `dtype`; itself where it is that already."""
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
    with np.errstate(over="ignore"):  # a float64 beyond float32's range becomes infinite, and is reported as such
        return np.ascontiguousarray(array, dtype)


def _not_finite(name: str, row: int, dtype: Any) -> ValueError:
    return ValueError(
        f"{name} must be finite, but row {row} holds a NaN, an infinity or a number beyond {dtype}'s range; "
        f"clean the data, or pass check_finite=False"
    )


def require_finite(rows: Any, name: str, first: int = 0) -> None:
    """Raise ValueError where rows, as :func:`inputs` gives them, hold a NaN or an infinity.

    Parameters
    ----------
    rows : ndarray, SparseRows or Deferred
    name : str
        The argument's name, for the message.
    first : int, default 0
        The number that the first of the rows has in the argument.
    """
    if isinstance(rows, SparseRows):
        start, end = rows.starts[0], rows.starts[-1]
        values = rows.values[start:end]
        if len(values) and not all_finite(values):
            entry = start + np.argmin(np.isfinite(values))
            raise _not_finite(name, first + int(np.searchsorted(rows.starts, entry, "right")) - 1, rows.dtype)
        return
    for start, array in pieces(rows):
        if len(array) and not all_finite(array):
            row = int(np.isfinite(array).all(axis=1).argmin())
            raise _not_finite(name, first + start + row, array.dtype)


def inputs(
    x: Any,
    features: int | None,
    dtype: str,
    *,
    check_finite: bool,
    name: str = "x",
    defer: bool = False,
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

    Returns
    -------
    ndarray, SparseRows or Deferred, shape (rows, features)

    Raises
    ------
    TypeError, ValueError
        In one sentence, before anything changes.
    """
    array = sparse.from_scipy(x, dtype, name) if sparse.is_sparse(x) else real_array(x, name)
    if array.ndim != 2:
        hint = f"; one row is {name}[None, :], one feature is {name}[:, None]" if array.ndim == 1 else ""
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
    rows = _as_rows(array, dtype, defer=defer)
    if check_finite and array.dtype.kind == "f":
        require_finite(rows, name)
    return rows


def named_inputs(
    x: Any,
    columns: Mapping[str, Sequence[str]],
    widths: Mapping[str, int | None],
    dtype: str,
    *,
    check_finite: bool,
    name: str = "x",
    prepare: Callable[[str, Any, str], Any] | None = None,
) -> tuple[Array, dict[str, int]]:
    """The arrays of a dict, or the columns of a data frame, side by side in one matrix, the one copy made of them.

    Parameters
    ----------
    x : Mapping of array-likes of shape (rows,) or (rows, features), or a data frame
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

    Returns
    -------
    (ndarray of shape (rows, features), dict)
        The branches' columns in their order, and how many each has.

    Raises
    ------
    TypeError, ValueError
        In one sentence, before anything changes.
    """
    there = column_names(x)
    wanted = [key for keys in columns.values() for key in keys]
    unused = [key for key in there if key not in wanted]
    parts: dict[str, list[Array]] = {branch: [] for branch in columns}
    rows = None
    for branch, keys in columns.items():
        for key in keys:
            if key not in there:
                near = nearest_names(str(key), [str(k) for k in there])
                raise ValueError(f"{name} has no {key!r}, which the branch {branch!r} takes; {near}")
            values, called = x[key], f"{name}[{key!r}]"
            array = real_array(values if prepare is None else prepare(branch, values, called), called)
            array = array[:, None] if array.ndim == 1 else array
            if array.ndim != 2 or not array.shape[1]:
                raise ValueError(f"{name}[{key!r}] must have shape (rows,) or (rows, features), got {array.shape}")
            rows = len(array) if rows is None else rows
            if len(array) != rows:
                raise ValueError(f"{name} must have as many rows under each name, got {rows} and {len(array)}")
            parts[branch].append(array)
    if unused and isinstance(x, Mapping):
        raise ValueError(f"{name} holds {unused[0]!r}, which no branch takes; {nearest_names(str(unused[0]), wanted)}")
    found = {branch: sum(array.shape[1] for array in arrays) for branch, arrays in parts.items()}
    for branch, width in widths.items():
        if width is not None and found[branch] != width:
            raise ValueError(f"{name} must have {width} features for the branch {branch!r}, got {found[branch]}")
    matrix = np.empty((rows or 0, sum(found.values())), dtype)
    start = 0
    for branch, arrays in parts.items():
        for array in arrays:
            block = matrix[:, start : start + array.shape[1]]
            with np.errstate(over="ignore"):  # as in _as_rows
                block[...] = array
            if check_finite and array.dtype.kind == "f":
                require_finite(block, f"{name}[{branch!r}]")
            start += array.shape[1]
    return matrix, found


def _labels(y: Array, classes: int, loss: losses.Loss, name: str) -> npt.NDArray[np.int32]:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise ValueError(
            f"{name} must hold one integer class a row, shape (rows,), for sparse_categorical_crossentropy, got shape "
            f"{y.shape}; one-hot rows need categorical_crossentropy"
        )
    if y.dtype.kind == "f":
        whole = np.isfinite(y) & (y == np.floor(y))
        if not whole.all():
            row = int(np.argmin(whole))
            raise ValueError(f"{name} must hold integer class labels, but row {row} is {y[row]}")
    if len(y) and (y.min() < 0 or y.max() >= classes):
        outside = ((y < 0) | (y >= classes)) & (loss._counts(y) != 0)
        if outside.any():
            row = int(np.argmax(outside))
            raise ValueError(f"{name} must hold labels from 0 to {classes - 1}, but row {row} is {y[row]}")
    return np.ascontiguousarray(y, np.int32)


def targets(
    y: Any,
    rows: int,
    outputs: int,
    loss: losses.Loss,
    dtype: str,
    *,
    check_finite: bool,
    name: str = "y",
    beside: str = "x",
) -> Array:
    """Y as the loss needs it: int32 labels, or rows of `dtype` like the output. `beside` has the rows, for messages.

    Raises
    ------
    TypeError, ValueError
        In one sentence, before anything changes.
    """
    if y is None:
        raise ValueError(f"{name} is missing: the loss {loss.name} needs targets")
    array = real_array(y, name)
    if array.ndim == 0 or len(array) != rows:
        given = "a scalar" if array.ndim == 0 else f"{len(array)} rows"
        raise ValueError(f"{beside} and {name} must have the same number of rows, got {rows} rows and {given}")
    if loss.targets == LABELS:
        return _labels(array, outputs, loss, name)
    columns = loss.target_columns(outputs)
    if array.ndim == 1 and columns == 1:
        array = array[:, None]
    if array.shape != (rows, columns):
        like = "like the model's output" if columns == outputs else f"for {loss.name} and {outputs} outputs"
        hint = "; integer labels need sparse_categorical_crossentropy" if array.ndim == 1 else ""
        raise ValueError(
            f"{name} must have shape ({rows}, {columns}) {like}, got {array.shape}{loss.other_targets or hint}"
        )
    converted = _as_rows(array, dtype)
    if check_finite and array.dtype.kind == "f":
        require_finite(converted, name)
    if rows:
        loss.check_targets(converted, name)
    return converted


def sample_weights(
    weights: Any, rows: int, dtype: str, *, check_finite: bool, name: str = "sample_weight"
) -> Array | None:
    """A weight for each row, as `dtype`; None stays None.

    Parameters
    ----------
    weights : array-like, shape (rows,) or (rows, 1), or None
    rows : int
    dtype : str
    check_finite : bool
    name : str

    Raises
    ------
    TypeError, ValueError
        In one sentence.
    """
    if weights is None:
        return None
    array = real_array(weights, name)
    if array.shape == (rows, 1):
        array = array[:, 0]
    if array.shape != (rows,):
        raise ValueError(f"{name} must hold one number a row, shape ({rows},), got {array.shape}")
    converted = np.ascontiguousarray(array, dtype)
    if check_finite:
        require_finite(converted[:, None], name)
    return converted


def class_weights(weights: Any, y: Any, outputs: int, dtype: str) -> Array:
    """The weight of each row, from those of the classes; a class that is not named weighs 1, as in Keras.

    Parameters
    ----------
    weights : dict of int to float
        Classes may be bools or whole floats as well.
    y : ndarray
        Converted targets: labels (rows,), one-hot (rows, classes), or (rows, 1) of 0 and 1. It may lack classes.
    outputs : int
        Columns of the model's output.
    dtype : str

    Raises
    ------
    TypeError, ValueError
        In one sentence.
    """
    if not isinstance(weights, Mapping):
        raise TypeError(f"class_weight must be a dict of class to weight, got {type(weights).__name__}")
    labels = y if y.ndim == 1 else y.argmax(axis=1) if y.shape[1] > 1 else np.rint(y[:, 0])
    if not 0 <= labels.min() <= labels.max() < 2**31:
        raise ValueError(f"class_weight needs classes in y, counted from 0, but y goes from {y.min()} to {y.max()}")
    table = np.ones(max(outputs, int(labels.max()) + 1, 2), dtype)
    for label, weight in weights.items():
        if not isinstance(label, (int, float, np.integer, np.floating, np.bool_)) or not float(label).is_integer():
            raise TypeError(f"class_weight must have class numbers as its keys, got {label!r}")
        label = int(label)
        if isinstance(weight, bool) or not isinstance(weight, (int, float, np.number)) or not math.isfinite(weight):
            raise ValueError(f"class_weight of class {label} must be a finite number, got {weight!r}")
        if not 0 <= label < len(table):
            raise ValueError(f"class_weight names class {label}, but the classes go from 0 to {len(table) - 1}")
        table[label] = weight
    return np.asarray(table[labels.astype(np.intp)])


def split_at(rows: int, fraction: Any) -> int:
    """The number of rows that are left for training, as Keras splits (before shuffling)."""
    if isinstance(fraction, bool) or not isinstance(fraction, (int, float, np.number)) or not 0 < fraction < 1:
        raise ValueError(f"validation_split must lie between 0 and 1, got {fraction!r}")
    kept = math.floor(rows * (1 - float(fraction)))
    if kept == 0 or kept == rows:
        raise ValueError(f"validation_split={fraction} leaves no row for one of the two parts of {rows} rows")
    return kept
