"""Data frames of any library: what has columns under names, and what any array-like is as an array of numbers.

Nothing is imported for a frame and nothing else is asked of one than its `columns` (an Arrow table's `column_names`),
``frame[name]``, and that NumPy can read it.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import sparse

Array = npt.NDArray[Any]
REAL = "fiub"  # kinds of dtypes


def is_query(x: Any) -> bool:
    """Whether x is a frame that its library has not computed yet, as a LazyFrame of polars."""
    return hasattr(type(x), "collect") and not hasattr(type(x), "__array__")


def is_frame(x: Any) -> bool:
    """Whether x is a data frame."""
    if isinstance(x, (np.ndarray, Mapping)) or sparse.is_sparse(x) or is_query(x):
        return False
    return hasattr(x, "columns")


def has_names(x: Any) -> bool:
    """Whether x is a dict of arrays or a data frame."""
    return is_frame(x) or (isinstance(x, Mapping) and not sparse.is_sparse(x))  # one of whose formats is a dict


def column_names(x: Any) -> list[Any]:
    """The names in a dict of arrays or a data frame; Arrow's tables have the columns themselves as `columns`."""
    return list(x) if isinstance(x, Mapping) else list(getattr(x, "column_names", x.columns))


def by_column(values: Any, names: Sequence[str]) -> Any:
    """The columns of a data frame that have one of the names, as a dict; what is no frame as it is."""
    return {key: values[key] for key in column_names(values) if key in names} if is_frame(values) else values


def check_collected(values: Any, name: str) -> None:
    """Raise for a query."""
    if is_query(values):
        kind = type(values).__name__
        raise TypeError(f"{name} is a {kind}, whose rows are not there yet: pass {name}.collect()")


def as_array(values: Any, name: str) -> Array:
    """An ndarray of any kind, or one sentence on why `values` cannot become one.

    Raises
    ------
    TypeError, ValueError
        For a query, for masked values, and for lists of several lengths.
    """
    check_collected(values, name)
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(
            f"{name} has masked values, whose mask would be lost: fill them first, as with "
            f"{name}.astype(float).filled(numpy.nan)"
        )
    try:
        return np.asarray(values)
    except ValueError:
        if isinstance(values, (list, tuple)):
            _check_lengths(values, name)
        raise


def _check_lengths(values: Any, name: str) -> None:
    """Raise where the rows of nested lists have several lengths."""
    lengths = [len(row) if hasattr(row, "__len__") and not isinstance(row, str) else None for row in values]
    for row, length in enumerate(lengths):
        if length != lengths[0]:
            first, other = ("no list" if n is None else f"{n} values" for n in (lengths[0], length))
            raise ValueError(f"{name} must have rows of one length, but row {row} has {other} and row 0 {first}")
    for row, inner in enumerate(values):
        if isinstance(inner, (list, tuple)):
            _check_lengths(inner, f"{name}[{row}]")


def real_array(values: Any, name: str) -> Array:
    """An ndarray of a real kind, or one sentence on what `values` is instead.

    Objects become float64 where all of them are numbers, and so do the missing values of a column that has a dtype for
    its values (NaN), such as one of nullable bools.
    """
    if type(values) is np.ndarray and values.dtype.kind in REAL:  # a row to predict takes microseconds
        return values
    if sparse.is_sparse(values):
        raise TypeError(f"{name} is a sparse matrix, which it cannot be: pass {name}.toarray()")
    check_collected(values, name)
    framed = is_frame(values) and len(column_names(values)) > 0
    array = as_array(values, name) if not framed or _is_plain(values) else None
    if array is not None and array.dtype.kind in REAL:
        return array
    if array is None or framed:
        return np.column_stack([real_array(values[key], f"{name}[{key!r}]") for key in column_names(values)])
    if array.dtype.kind in "OUST":
        return _real_objects(array, values, name)
    kind = {"c": "complex", "M": "datetime", "m": "duration"}.get(array.dtype.kind, str(array.dtype))
    raise TypeError(f"{name} must hold real numbers, got {kind} data (dtype {array.dtype})")


def _is_plain(frame: Any) -> bool:
    """Whether each column is one of real numbers: a whole frame may turn others, such as dates, into numbers.

    Of a frame that knows its dtypes one column of each is looked at.
    """
    names = column_names(frame)
    kinds = dict(zip(getattr(frame, "dtypes", names), names, strict=True))
    return all(np.asarray(frame[key][:0]).dtype.kind in REAL for key in kinds.values())


def _real_objects(array: Array, values: Any, name: str) -> Array:
    """The array as float64, or one sentence on the first object of it that is no number."""
    if array.dtype.kind != "O" and isinstance(values, (list, tuple)):  # NumPy makes text of numbers beside text
        array = np.asarray(values, object)
    objects = array.ravel().tolist()
    if not isinstance(getattr(values, "dtype", array.dtype), np.dtype):  # a column whose dtype allows for nulls
        objects = [np.nan if is_null(value) else value for value in objects]
    numbers = {kind for kind in set(map(type, objects)) if issubclass(kind, (Real, Decimal, np.bool_))}
    at = next((at for at, value in enumerate(objects) if type(value) not in numbers), None)
    if at is None:
        try:
            return np.array(objects, np.float64).reshape(array.shape)
        except OverflowError:
            raise ValueError(f"{name} must hold real numbers, got one beyond float64's range") from None
    value, shown = objects[at], reprlib.repr(objects[at])
    if not array.ndim:
        raise TypeError(f"{name} must hold real numbers, got {shown}")
    row = at // array[:1].size
    if isinstance(value, (str, bytes)):
        raise TypeError(
            f"{name} must hold real numbers, got text: row {row} holds {shown}; a StringLookup layer makes numbers of "
            f"text"
        )
    hint = ": fill it first, as with fillna" if is_null(value) else f", of type {type(value).__name__}"
    raise TypeError(f"{name} must hold real numbers, but row {row} holds {shown}{hint}")


def is_null(value: Any) -> bool:
    """Whether it stands for a missing value: None, or what pandas has in its place."""
    return value is None or type(value).__name__ in ("NAType", "NaTType")
