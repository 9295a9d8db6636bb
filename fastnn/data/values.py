"""Columns of categories: the values that occur in a column, and the place of each row's value among known ones.

A value is text, a number or a bool; None, NaN and what pandas and polars put in their place are missing values. The
categories of a categorical of pandas that are nothing of these, such as intervals, stand for their text. Values are
compared as Python compares them, so that 1, 1.0 and True are one value, and 1 and "1" are two. Whatever is done for
each row is a loop in C: a lookup in a dict, or the one that pandas has.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable
from itertools import compress, repeat
from operator import is_
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn.data.frames import as_array, is_null, native

Array = npt.NDArray[Any]
Places = npt.NDArray[np.int64]
Value = str | int | float  # a bool is an int
MISSING, UNKNOWN = -1, -2  # instead of the place of a value

_NUMBERS = (int, float, np.number, np.bool_)


class Vocabulary:
    """The values that a column is known to have, and their places.

    Parameters
    ----------
    values : iterable of str, int, float or bool
        Each value once; numbers are finite.
    """

    def __init__(self, values: Iterable[Value] = ()) -> None:
        self.values = tuple(values)
        # NumPy's NaN is one object, as None is: looked up as values are, which of those that are left takes a loop
        self._places: dict[Any, int] = dict.fromkeys((None, np.nan), MISSING)
        self._places |= {value: place for place, value in enumerate(self.values)}
        self._has_text = any(isinstance(value, str) for value in self.values)
        self._has_numbers = any(not isinstance(value, str) for value in self.values)

    def __len__(self) -> int:
        return len(self.values)

    def find(self, column: Any, name: str) -> Places:
        """Return the place of each row's value: from 0 on, MISSING or UNKNOWN.

        Parameters
        ----------
        column : array-like, shape (rows,)
        name : str
            What messages call the column.

        Raises
        ------
        TypeError
            When the column holds numbers and all known values are text, or the other way round: nothing could be found,
            though the values may look the same. When it holds what is no value at all.
        """
        coded = _coded(column, name)
        if coded is None:
            return self._find(_listed(column, name), name)
        codes, values = coded
        return np.append(self._find(values, name), MISSING)[codes]  # -1 takes the last

    def _find(self, values: list[Any], name: str) -> Places:
        try:
            found = np.fromiter(map(self._places.get, values, repeat(UNKNOWN)), np.int64, len(values))
        except TypeError:  # a value without a hash
            value = next(value for value in values if type(value).__hash__ is None)
            raise _no_value(name, value) from None
        outside = found == UNKNOWN
        if outside.any():
            found[outside] = self._outside(list(compress(values, outside)), name)
        return found

    def _outside(self, values: list[Any], name: str) -> Places:
        """Return MISSING or UNKNOWN for each of some values that are not in the vocabulary."""
        found, kinds = np.full(len(values), UNKNOWN), list(map(type, values))
        for kind in set(kinds):
            these = np.fromiter(map(is_, kinds, repeat(kind)), bool, len(kinds))
            first = values[int(np.argmax(these))]
            if is_null(first):
                found[these] = MISSING
                continue
            if issubclass(kind, (float, np.floating)):
                missing = np.isnan(np.array(list(compress(values, these)), np.float64))
                found[np.flatnonzero(these)[missing]] = MISSING
                if missing.all():
                    continue
            self._check_kind(kind, first, name)
        return found

    def _check_kind(self, kind: type, value: Any, name: str) -> None:
        """Raise where no known value of the column is of the same kind as `value`."""
        if not issubclass(kind, (str, *_NUMBERS)):
            raise _no_value(name, value)
        other = self._has_numbers if issubclass(kind, str) else self._has_text
        same = self._has_text if issubclass(kind, str) else self._has_numbers
        if other and not same:
            known, given = ("numbers", "text") if issubclass(kind, str) else ("text", "numbers")
            raise TypeError(
                f"{name} must hold {known}, as the data did to which the layer was adapted, but it holds {given}: "
                f"{reprlib.repr(value)}"
            )


def distinct(column: Any, name: str) -> list[Value]:
    """Return the values that occur in a column, numbers before text and each in rising order, without missing ones.

    Parameters
    ----------
    column : array-like, shape (rows,)
    name : str
        What messages call the column.

    Raises
    ------
    TypeError, ValueError
        When the column holds what is no value: neither text nor a finite number.
    """
    coded = _coded(column, name)
    values = _listed(column, name) if coded is None else coded[1]
    try:
        found = dict.fromkeys(values)
    except TypeError:
        raise _no_value(name, next(value for value in values if type(value).__hash__ is None)) from None
    checked = {checked_value(value, name): None for value in found if not is_missing(value)}
    return sorted(checked, key=lambda value: (isinstance(value, str), value))


def checked_value(value: Any, name: str) -> Value:
    """Return a value as Python holds it; raise where it is none."""
    if isinstance(value, str):
        return str(value)
    if not isinstance(value, _NUMBERS) or isinstance(value, np.complexfloating):
        raise _no_value(name, value)
    number: int | float = value.item() if isinstance(value, np.generic) else value
    if not math.isfinite(number):
        raise ValueError(f"{name} must hold text or finite numbers as categories, got {number}")
    return number


def is_missing(value: Any) -> bool:
    """Return whether a value is a missing one: None, NaN, or what pandas puts in their place."""
    return is_null(value) or (isinstance(value, (float, np.floating)) and math.isnan(value))


def _no_value(name: str, value: Any) -> TypeError:
    hint = ": decode it first, as with numpy.strings.decode" if isinstance(value, bytes) else ""
    return TypeError(
        f"{name} must hold text, whole numbers or bools as categories, but it holds {reprlib.repr(value)}, of type "
        f"{type(value).__name__}{hint}"
    )


def _coded(column: Any, name: str) -> tuple[Array, list[Any]] | None:
    """Return of a column of pandas the values that occur, and each row's place among them, -1 for missing; else None.

    pandas finds them faster than a lookup of each row's object would, above all in categoricals and columns of Arrow.
    """
    column = native(column)
    if not hasattr(type(column), "factorize"):
        return None
    try:
        codes, values = column.factorize()
    except TypeError:  # a value without a hash, which is told of where values are listed
        return None
    if hasattr(values.dtype, "ordered"):  # a categorical
        return codes, [one if isinstance(one, (str, *_NUMBERS)) else str(one) for one in values.tolist()]
    return codes, _listed(values, name)


def _listed(column: Any, name: str) -> list[Any]:
    """Return the objects of a column, in which a number of NumPy is one of Python."""
    column = native(column)
    if hasattr(type(column), "to_list") and not hasattr(type(column), "factorize"):
        column = column.to_list()  # of polars, of whose text NumPy makes an array as wide as the longest
    # beside text, NumPy would make text of numbers
    array = np.array(column, object) if isinstance(column, (list, tuple)) else as_array(column, name)
    if array.ndim != 1:
        raise ValueError(f"{name} must hold one value a row, got rows of shape {array.shape[1:]}")
    if array.dtype.kind in "mMcVS":
        hint = ": make text or whole numbers of it first" if array.dtype.kind in "mM" else ""
        raise TypeError(f"{name} must hold text, whole numbers or bools as categories, got dtype {array.dtype}{hint}")
    if array.dtype.kind == "f":
        missing = np.isnan(array)
        if missing.any():  # None is one object, and each NaN one of its own
            objects = array.astype(object)
            objects[missing] = None
            return list(objects)
    listed: list[Any] = array.tolist()
    return listed
