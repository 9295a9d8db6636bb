"""Data frames of any library, which have columns under names, and any array-like as an array of numbers.

No library is imported for a frame. A frame is asked for nothing but its `columns` (an Arrow table for its
`column_names`), for ``frame[name]`` (``frame.iloc`` of pandas, where a name may occur twice), and for ``frame[names]``
(``select`` of Arrow) where its columns lie in another order than a model knows; NumPy must be able to read a column.
"""

from __future__ import annotations

import datetime
import math
import reprlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._registry import nearest_names
from fastnn.data import sparse

Array = npt.NDArray[Any]
REAL = "fiub"  # kinds of dtypes that hold real numbers


def is_query(x: Any) -> bool:
    """Return whether x is a frame that its library has not computed yet, such as a LazyFrame of polars."""
    return hasattr(type(x), "collect") and not hasattr(type(x), "__array__")


def native(x: Any) -> Any:
    """Return the frame or column that narwhals wraps; anything else as it is."""
    return x.to_native() if hasattr(type(x), "to_native") else x


def is_frame(x: Any) -> bool:
    """Return whether x is a data frame."""
    if isinstance(x, (np.ndarray, Mapping)) or sparse.is_sparse(x) or is_query(x):
        return False
    return _has(x, "columns")


def _has(x: Any, attribute: str) -> bool:
    """Return whether x or its class has an attribute; labels of a Series and columns of a frame do not count."""
    return hasattr(type(x), attribute) or attribute in getattr(x, "__dict__", ())


def has_names(x: Any) -> bool:
    """Return whether x is a dict of arrays or a data frame."""
    # one of scipy's sparse formats is a Mapping
    return is_frame(x) or (isinstance(x, Mapping) and not sparse.is_sparse(x))


def _is_table(frame: Any) -> bool:
    """Return whether a frame is a table of Arrow, whose `columns` are the columns themselves."""
    return _has(frame, "column_names")


def column_names(x: Any) -> list[Any]:
    """Return the names in a dict of arrays or a data frame."""
    if isinstance(x, Mapping):
        return list(x)
    names = x.column_names if _is_table(x) else x.columns
    return names.tolist() if hasattr(names, "tolist") else list(names)  # pandas is five times as fast with tolist


class _Columns:
    """The columns of a frame by their place: in frames of pandas and Arrow several columns may share a name.

    Parameters
    ----------
    frame : data frame
    name : str
        What messages call the frame.
    """

    def __init__(self, frame: Any, name: str) -> None:
        self._frame, self._name = frame, name
        self.names = column_names(frame)
        self._counts = Counter(self.names)

    def called(self, place: int) -> str:
        """Return what messages call the column at a place."""
        key = self.names[place]
        return f"{self._name}[{key!r}]" if self._counts[key] == 1 else f"column {place} of {self._name} ({key!r})"

    def at(self, place: int) -> Any:
        """Return the column at a place."""
        key = self.names[place]
        if isinstance(key, str) and self._counts[key] == 1:  # the faster way where the name occurs once
            return self._frame[key]
        if _has(self._frame, "iloc"):
            return self._frame.iloc[:, place]
        return self._frame.columns[place] if _is_table(self._frame) else self._frame[key]

    def are_plain(self) -> bool:
        """Return whether each column holds a real number a row, so that NumPy may read the frame as a whole.

        NumPy might turn other columns, such as dates, into numbers. Where a frame knows its dtypes, one column of each
        is looked at. A frame that has both unsigned integers of 64 bits and signed ones is not plain: polars may make
        integers of 128 bits of them, which NumPy lacks.
        """
        found, places = set(), range(len(self.names))
        kinds = dict(zip(getattr(self._frame, "dtypes", places), places, strict=True))
        for dtype, place in kinds.items():
            if isinstance(dtype, np.dtype) and dtype.kind in REAL:  # a column of pandas that is an array of NumPy
                found.add(dtype.kind if dtype != np.uint64 else "uint64")
                continue
            few = self.at(place)[:0]
            probe = as_array(few, self.called(place))
            # nulls in such a column become some number
            coded = hasattr(dtype, "categories") or _dictionary(few) is not None
            if coded or probe.dtype.kind not in REAL or probe.ndim != 1:
                return False
            found.add(probe.dtype.kind if probe.dtype != np.uint64 else "uint64")
        return not {"uint64", "i"} <= found

    def of(self, key: Any) -> Any:
        """Return the column of a name; raise ValueError where several columns have the name."""
        if self._counts[key] > 1:
            raise _several(self._name, key, self._counts[key])
        return self._frame[key] if isinstance(key, str) else self.at(self.names.index(key))


def _several(name: str, key: Any, count: int) -> ValueError:
    return ValueError(f"{name} has {count} columns named {key!r}: give each a name of its own")


# ---- columns in the order of names ----


def _are_text(names: list[Any]) -> bool:
    return all(issubclass(kind, str) for kind in set(map(type, names)))


def text_names(frame: Any, name: str = "x") -> tuple[str, ...] | None:
    """Return the names of a frame's columns where they are text, and None where any of them is not, or none is there.

    Parameters
    ----------
    frame : data frame
    name : str, default "x"
        What messages call the frame.

    Raises
    ------
    ValueError
        When several columns have one name.
    """
    names = column_names(frame)
    if not names or not _are_text(names):
        return None
    if len(set(names)) < len(names):
        raise _several(name, *Counter(names).most_common(1)[0])
    return tuple(map(str, names))


def in_order(frame: Any, names: Sequence[str], name: str = "x", known_as: str = "feature_names") -> Any:
    """Return a frame with its columns in the order of `names`, whatever their order in the frame.

    The frame itself is returned where its columns lie so already, which takes one comparison of lists, and where a name
    in it is no text: such a frame goes by the places of its columns.

    Parameters
    ----------
    frame : data frame
    names : sequence of str
    name : str, default "x"
        What messages call the frame.
    known_as : str, default "feature_names"
        What messages call the `names`.

    Raises
    ------
    ValueError
        When the frame lacks one of the names, has another one besides, or has one twice.

    Examples
    --------
    >>> import pandas
    >>> list(in_order(pandas.DataFrame({"b": [1], "a": [2]}), ("a", "b")).columns)
    ['a', 'b']
    """
    there = column_names(frame)
    if there == list(names) or not _are_text(there):
        return frame
    known, found = set(names), set(there)
    lacks = [key for key in names if key not in found]
    others = [str(key) for key in dict.fromkeys(there) if key not in known]
    if lacks or others:
        parts = [f"lacks {listed(lacks)}"] * bool(lacks) + [f"has {listed(others)} besides"] * bool(others)
        wanted = lacks or list(names)
        near = f"; {nearest_names(others[0], wanted)}" if others and len(wanted) <= _MOST_NAMED else ""
        raise ValueError(f"{name} must have the columns of {known_as}, but {' and '.join(parts)}{near}")
    if len(found) < len(there):
        raise _several(name, *Counter(there).most_common(1)[0])
    return frame.select(list(names)) if _is_table(frame) else frame[list(names)]


def in_place(values: Any, known: Mapping[str, Sequence[str]], place: str, name: str) -> Any:
    """Return a frame with its columns in the order that is known of frames in its place; anything else as it is.

    Parameters
    ----------
    values : data frame or anything else
    known : Mapping
        For each place the names of the columns.
    place : str
        What the frame stands for, such as ``"y"``.
    name : str
        What messages call the frame.
    """
    if place not in known or not is_frame(values):
        return values
    return in_order(values, known[place], name, f"column_names[{place!r}]")


def row_in_order(row: Any, names: Sequence[str], name: str = "x") -> Any:
    """Return a row of a frame of pandas, a Series with the columns' names as its labels, in the order of `names`.

    Anything else, and a Series with other labels than text, is returned as it is; errors are those of :func:`in_order`.
    """
    if not (_has(row, "to_frame") and _has(row, "index")) or row.index.tolist() == list(names):
        return row
    return row if not _are_text(row.index.tolist()) else in_order(row.to_frame().T, names, name).iloc[0]


_MOST_NAMED = 10  # messages list at most so many columns


def listed(names: Sequence[Any]) -> str:
    """Return the names as a message has them."""
    shown = list(map(repr, names[:_MOST_NAMED]))
    left = len(names) - len(shown)
    return ", ".join(shown) + (f" and {left} more" if left else "")


def columns(frame: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield what messages call each column of a frame, and the column; messages call the frame `name`."""
    those = _Columns(frame, name)
    return ((those.called(place), those.at(place)) for place in range(len(those.names)))


def plain_columns(frame: Any, name: str) -> list[tuple[str, Any]]:
    """Return :func:`columns`, those of pandas as the arrays of NumPy that they are, of which a piece takes no time."""
    matrix = _matrix(frame)
    if matrix is None:
        return [(called, _as_it_lies(values)) for called, values in columns(frame, name)]
    those = _Columns(frame, name)
    return [(those.called(place), matrix[:, place]) for place in range(len(those.names))]


def _matrix(frame: Any) -> Array | None:
    """Return the numbers of a small frame of pandas, all of one dtype, for which it is asked once."""
    kinds = set(frame.dtypes.tolist()) if hasattr(type(frame), "iloc") else set()
    dtype = kinds.pop() if len(kinds) == 1 else None
    plain = isinstance(dtype, np.dtype) and dtype.kind in REAL
    return frame.to_numpy() if plain and frame.size <= _MOST_AT_ONCE else None


_MOST_AT_ONCE = 2**20  # numbers, of which pandas may make a copy where they do not lie side by side


def _as_it_lies(values: Any) -> Any:
    """Return the array of a column of pandas that is one of NumPy; any other column as it is."""
    is_plain = isinstance(getattr(values, "dtype", None), np.dtype) and hasattr(type(values), "iloc")
    return values.to_numpy() if is_plain else values


def called(values: Any, name: str, place: int) -> str:
    """Return what messages call a column of `values`: by its own name where they are a frame, else by `name`."""
    return _Columns(values, name).called(place) if is_frame(values) else name


def getter(values: Any, name: str) -> Callable[[Any], Any]:
    """Return a function that returns the column of a name in a dict of arrays or a data frame.

    The function raises ValueError where several columns of a frame have the name.
    """
    return values.__getitem__ if isinstance(values, Mapping) else _Columns(values, name).of


def by_column(values: Any, names: Sequence[str], name: str) -> Any:
    """Return those columns of a data frame that have one of the names, as a dict; anything but a frame as it is."""
    if not is_frame(values):
        return values
    get = getter(values, name)
    return {key: get(key) for key in dict.fromkeys(column_names(values)) if key in names}


def check_collected(values: Any, name: str) -> None:
    """Raise where `values` are a query, which its library has yet to compute."""
    if is_query(values):
        kind = type(values).__name__
        raise TypeError(f"{name} is a {kind}, whose rows are not there yet: pass what its collect() gives")


def as_array(values: Any, name: str) -> Array:
    """Return an ndarray of any kind; raise one sentence on why `values` cannot become one.

    Raises
    ------
    TypeError, ValueError
        For a query, for sparse and masked values, for lists of several lengths, and for what NumPy cannot read.
    """
    check_collected(values, name)
    if sparse.is_sparse(values):
        raise TypeError(f"{name} is a sparse matrix, which it cannot be: pass what its toarray() gives")
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(f"{name} has masked values, whose mask would be lost: fill them first, as with its filled()")
    try:
        if not hasattr(values, "__array__") and hasattr(values, "__dlpack__"):
            return np.from_dlpack(values)
        own = native(values)
        if hasattr(type(own), "to_physical"):  # of polars, whose text NumPy would make as wide as the longest
            return np.asarray(own.to_numpy())
        codes = _dictionary(values)
        return np.asarray(values if codes is None else codes.cast(codes.type.value_type))
    except MemoryError:
        raise
    except Exception as error:  # the library that the values are from may raise anything
        if isinstance(values, (list, tuple)):
            _check_lengths(values, name)
        kind = type(values).__name__
        raise TypeError(f"{name} must be what NumPy can read, but of this {kind} it says: {error}") from error


def _dictionary(values: Any) -> Any:
    """Return the Arrow column that holds places in a dictionary, or None; NumPy reads its nulls as some value."""
    own = native(values)
    return own if _has(own, "type") and hasattr(own.type, "index_type") else None


def _check_lengths(values: Any, name: str) -> None:
    """Raise where the rows of nested lists have different lengths."""
    lengths = [len(row) if hasattr(row, "__len__") and not isinstance(row, str) else None for row in values]
    for row, length in enumerate(lengths):
        if length != lengths[0]:
            first, other = ("no list" if n is None else f"{n} values" for n in (lengths[0], length))
            raise ValueError(f"{name} must have rows of one length, but row {row} has {other} and row 0 {first}")
    for row, inner in enumerate(values):
        if isinstance(inner, (list, tuple)):
            _check_lengths(inner, f"{name}[{row}]")


class RowAxes(NamedTuple):
    """The axes that a row may have where a model, or a branch of one, reads rows.

    Attributes
    ----------
    told : tuple of int or None
        The shape of a row that an Input gives; None without one.
    taken : bool
        Whether rows of several axes are taken, as a Flatten takes them.
    """

    told: tuple[int, ...] | None = None
    taken: bool = False

    def check(self, axes: tuple[int, ...], name: str) -> None:
        """Raise where rows cannot have these axes, which are more than one."""
        if self.told is not None and len(self.told) > 1 and self.told != axes:
            raise ValueError(f"{name} must have rows of shape {self.told}, got {axes}")
        if not self.taken:
            raise ValueError(
                f"{name} must have two axes (rows, features), got rows of shape {axes}: start the model with a Flatten"
            )

    def one_axis(self, values: Any, name: str) -> Any:
        """Return rows of several axes as rows of one, a view where they are contiguous; other rows as they are."""
        if is_frame(values) or sparse.is_sparse(values):
            return values
        array = values if hasattr(values, "ndim") else as_array(values, name)
        if array.ndim <= 2:
            return array if array is values or array.dtype.kind in REAL else values
        axes = tuple(array.shape[1:])
        self.check(axes, name)
        return as_array(array, name).reshape(len(array), math.prod(axes))


TEXT_IN_X = "a StringLookup layer makes numbers of text, in a branch of its own (Branches) beside columns of numbers"
TEXT_IN_Y = (
    "number the classes first, as with classes, y = numpy.unique(y, return_inverse=True), or by calling "
    "StringLookup(vocabulary=classes, num_oov_indices=0) on them"
)


_TIMES, _DURATIONS = (datetime.date, datetime.time, np.datetime64), (datetime.timedelta, np.timedelta64)
_OF_TIMES = ": make numbers of dates and times first, such as the year, the weekday, or the hours since one of them"
_OF_DURATIONS = ": make numbers of durations first, such as how many days or seconds they last"


def row_pieces(array: Array, numbers: int = 2**20) -> Iterator[tuple[int, Array]]:
    """Yield an array in pieces of rows, of about `numbers` numbers each, with the number of each piece's first row.

    Code that looks at an array in pieces needs no memory for a second array, such as a converted copy of a large file.
    """
    step = max(1, numbers // max(1, array[:1].size))
    for first in range(0, len(array), step):
        yield first, array[first : first + step]


def real_array(values: Any, name: str, text: str = TEXT_IN_X, *, missing: bool = False) -> Array:
    """Return an ndarray of a real kind; raise one sentence on what `values` are instead.

    Objects become float64 where all of them are numbers. In a column whose own dtype allows for missing values, such as
    one of nullable bools, these become NaN; with `missing` they do in any array of objects.

    Parameters
    ----------
    values : array-like, or data frame of columns that hold a number a row
    name : str
        The argument's name, for messages.
    text : str
        What the message says to do with text.
    missing : bool, default False
        Whether None, and what pandas puts in its place, becomes NaN in any array of objects.
    """
    # the shortest way, as a row to predict takes microseconds
    if type(values) is np.ndarray and values.dtype.kind in REAL:
        return values
    check_collected(values, name)
    values = native(values)  # the frame itself knows its dtypes, of which narwhals shows others
    framed = _Columns(values, name) if is_frame(values) else None
    if framed is not None and not framed.names:
        return np.empty((len(values), 0))
    array = as_array(values, name) if framed is None or framed.are_plain() else None
    if array is not None and array.dtype.kind in REAL:
        return array
    if array is None or framed is not None:
        return _column_by_column(values, name, text, missing)
    if array.dtype.kind in "OUST":
        return _real_objects(array, values, name, text, missing)
    if array.dtype.names:
        raise TypeError(
            f"{name} must hold real numbers, got a structured array: make columns of its fields, as with "
            f"numpy.lib.recfunctions.structured_to_unstructured"
        )
    kind, hint = {"c": ("complex", ""), "M": ("datetime", _OF_TIMES), "m": ("duration", _OF_DURATIONS)}.get(
        array.dtype.kind, (str(array.dtype), "")
    )
    raise TypeError(f"{name} must hold real numbers, got {kind} data (dtype {array.dtype}){hint}")


def _column_by_column(frame: Any, name: str, text: str, missing: bool) -> Array:
    """Return the columns of a frame side by side, each of them converted by itself."""
    arrays = []
    for it, values in columns(frame, name):
        array = real_array(values, it, text, missing=missing)
        if array.ndim != 1:
            raise ValueError(
                f"{it} must hold one number a row, got rows of shape {array.shape[1:]}: make columns of them, or give "
                f"it a branch of its own (Branches)"
            )
        arrays.append(array)
    return np.column_stack(arrays)


def _real_objects(array: Array, values: Any, name: str, text: str, missing: bool) -> Array:
    """Return the array as float64; raise one sentence on its first object that is no number."""
    if array.dtype.kind != "O" and isinstance(values, (list, tuple)):  # beside text, NumPy makes text of numbers
        array = np.asarray(values, object)
    objects = array.ravel().tolist()
    dtype = getattr(values, "dtype", getattr(values, "type", array.dtype))
    if missing or not isinstance(dtype, np.dtype):  # the column's own dtype (Arrow's type) allows for nulls
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
        raise TypeError(f"{name} must hold real numbers, got text: row {row} holds {shown}" + (text and f"; {text}"))
    hint = f", of type {type(value).__name__}"
    if is_null(value):
        hint = ": fill it first, as with fillna"
    elif isinstance(value, (list, tuple, np.ndarray)):
        hint += ": make columns of them, as with numpy.stack"
    elif isinstance(value, _TIMES) or type(value).__name__ == "Period":  # pandas has a class of this name
        hint += _OF_TIMES
    elif isinstance(value, _DURATIONS):
        hint += _OF_DURATIONS
    raise TypeError(f"{name} must hold real numbers, but row {row} holds {shown}{hint}")


def is_null(value: Any) -> bool:
    """Return whether a value stands for a missing one: None, or what pandas puts in its place."""
    return value is None or type(value).__name__ in ("NAType", "NaTType")
