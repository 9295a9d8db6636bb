"""Columns of a table: what kind a raw column is, and the numbers or codes that a network gets in its place.

Each class stands for one kind of column. An object learns from the column that ``fit`` was given, and then reads the
same column of any other table; its configuration is plain JSON.
"""

from __future__ import annotations

import datetime
import math
import reprlib
from collections.abc import Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn.data import frames
from fastnn.data.values import UNKNOWN, Value, Vocabulary, distinct

Array = npt.NDArray[Any]
SPECIAL = 2  # the codes before those of values: 0 of a value that was not there in fit, 1 of a missing one
_SECONDS_A_DAY = 86_400.0
_NUMBERS = (Real, Decimal, np.bool_)
_TEXTS = (str,)
_TIMES = (datetime.date, np.datetime64)  # a datetime is a date
_DURATIONS = (datetime.timedelta, np.timedelta64, datetime.time)  # a time of day is one since midnight


def is_missing(value: Any) -> bool:
    """Return whether a value stands for a missing one: None, NaN, or what pandas puts in their place."""
    return frames.is_null(value) or (isinstance(value, float) and math.isnan(value))


# ---- raw values ----


def raw(values: Any, called: str) -> Array:
    """Return a column as an array of numbers, booleans, times, durations or objects; objects may be missing.

    Times with a zone become those of UTC, and periods of pandas their first moment.
    """
    dtype = getattr(values, "dtype", None)
    if type(dtype).__name__ == "PeriodDtype":
        values = values.dt.to_timestamp()
    if getattr(dtype, "tz", None) is not None and hasattr(values, "dt"):  # NumPy's times have no zone
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    array = frames.as_array(values, called)
    if array.ndim != 1:
        raise ValueError(f"{called} must hold one value a row, got rows of shape {array.shape[1:]}")
    return array.astype(object) if array.dtype.kind in "UST" else array


def _kinds(array: Array, called: str) -> str:
    """Return of an array of objects which kind all of them are; raise where a column of them cannot be read."""
    kinds = {type(value) for value in array.tolist() if not is_missing(value)}
    if all(issubclass(kind, (bool, np.bool_)) for kind in kinds):
        return "booleans" if kinds else "numbers"
    if all(issubclass(one, _TIMES) or hasattr(one, "to_timestamp") for one in kinds):  # a period has that
        return "times"
    for kind, of in (("numbers", _NUMBERS), ("durations", _DURATIONS)):
        if all(issubclass(one, of) for one in kinds):
            return kind
    strange = tuple(kind for kind in kinds if not issubclass(kind, (*_TEXTS, *_NUMBERS)))
    if strange:
        row = next(row for row, value in enumerate(array.tolist()) if isinstance(value, strange))
        raise TypeError(
            f"{called} holds {reprlib.repr(array[row])} in row {row}, of type {type(array[row]).__name__}, but an "
            f"argument must be a string or a real number, or a date"
        )
    return "texts"


def distinct_objects(values: Any, called: str) -> set[Any]:
    """Return the values that are there in a raw column, whatever their kind, without missing ones."""
    return {value for value in raw(values, called).tolist() if not is_missing(value)}


def kind_of(array: Array, dtype: Any, called: str) -> str:
    """Return what a raw column holds: "numbers", "booleans", "texts", "times" or "durations"."""
    if hasattr(dtype, "categories") or type(dtype).__name__ in ("Categorical", "Enum", "DictionaryType"):
        return "texts"
    known = {"b": "booleans", "M": "times", "m": "durations", "O": ""}
    kind = known.get(array.dtype.kind, "numbers" if array.dtype.kind in frames.REAL else None)
    if kind is None:
        raise TypeError(f"{called} must hold real numbers, strings or dates, got dtype {array.dtype}")
    return kind or _kinds(array, called)


def real_numbers(values: Any, called: str) -> Array:
    """Return a raw column of numbers as float64, a missing one as NaN."""
    return frames.real_array(values, called, "", missing=True).astype(np.float64, copy=False)


def _as_times(array: Array) -> Array:
    """Return times as an array of NumPy, a missing one as NaT."""
    if array.dtype.kind == "M":
        return array.astype("datetime64[us]", copy=False)
    return np.array([_as_time(value) for value in array.tolist()], "datetime64[us]")


def _as_time(value: Any) -> Any:
    """Return a date or a time as NumPy has it, without a zone: that of UTC."""
    if is_missing(value):
        return np.datetime64("NaT")
    if hasattr(value, "to_timestamp"):
        value = value.to_timestamp()
    if getattr(value, "tzinfo", None) is not None:
        value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return np.datetime64(value, "us")


def _as_duration(value: Any) -> Any:
    """Return a duration as NumPy has it; of a time of day that since midnight, whatever its zone."""
    if is_missing(value):
        return np.timedelta64("NaT", "us")
    if isinstance(value, datetime.time):
        seconds = 3600 * value.hour + 60 * value.minute + value.second
        return np.timedelta64(1_000_000 * seconds + value.microsecond, "us")
    return np.timedelta64(value, "us")


def _whole(array: Array) -> Array:
    """Return times or durations in their own unit as float64; NaN for a missing one."""
    return np.where(np.isnat(array), np.nan, array.view(np.int64))


# ---- kinds of columns ----


class Column:
    """The base of all kinds.

    Attributes
    ----------
    kind : str
    parts : tuple of str
        The names of the columns of numbers that stand for this one; empty for categories.
    """

    kind: ClassVar[str]
    parts: ClassVar[tuple[str, ...]] = ()

    def numbers(self, values: Any, called: str) -> list[Array]:
        """Return the columns of float64 that stand for a raw column, in which NaN is a missing value."""
        return []

    def get_config(self) -> dict[str, Any]:
        """Return what the column has learned, as JSON."""
        return {"kind": self.kind}


class NumberColumn(Column):
    """A column of numbers."""

    kind, parts = "numbers", ("value",)

    def numbers(self, values: Any, called: str) -> list[Array]:
        """Return the numbers."""
        return [real_numbers(values, called)]


class DurationColumn(Column):
    """A column of durations, as seconds; a time of day is the duration since midnight."""

    kind, parts = "durations", ("seconds",)

    def numbers(self, values: Any, called: str) -> list[Array]:
        """Return the seconds."""
        array = raw(values, called)
        _check_kind(array, called, "durations")
        if array.dtype.kind != "m":
            array = np.array([_as_duration(one) for one in array.tolist()])
        return [_whole(array.astype("timedelta64[us]")) / 1e6]


class TimeColumn(Column):
    """A column of dates or times: days since 1970 with a fraction, the year, month, day, weekday and hour."""

    kind, parts = "times", ("days", "year", "month", "day", "weekday", "hour")

    def numbers(self, values: Any, called: str) -> list[Array]:
        """Return the numbers of all parts."""
        array = raw(values, called)
        _check_kind(array, called, "times")
        times = _as_times(array)
        days = times.astype("datetime64[D]")
        months, years = days.astype("datetime64[M]"), days.astype("datetime64[Y]")
        since = _whole(times) / (_SECONDS_A_DAY * 1e6)
        first = np.floor(since)
        return [
            since,
            _whole(years) + 1970,
            _whole(months - years.astype("datetime64[M]")) + 1,
            _whole(days - months.astype("datetime64[D]")) + 1,
            (first + 3) % 7,  # 1970 began on a Thursday; Monday is 0
            np.floor((since - first) * 24),
        ]


def _check_kind(array: Array, called: str, wanted: str) -> None:
    """Raise where a raw column is of another kind than in fit; a column without a value is of any kind."""
    found = kind_of(array, None, called)
    if found != wanted and not all(map(is_missing, array.tolist())):
        raise TypeError(f"{called} must hold {wanted}, as in fit, got {found}")


class CategoryColumn(Column):
    """A column of categories: each value of fit has a code from 2 on; others have the code 0, and missing ones 1.

    Parameters
    ----------
    values : sequence of str, int, float or bool
    """

    kind = "categories"

    def __init__(self, values: Sequence[Value]) -> None:
        self._known = Vocabulary(values)

    @property
    def values(self) -> tuple[Value, ...]:
        """The values that fit has seen."""
        return self._known.values

    def codes(self, values: Any, called: str) -> Array:
        """Return the codes of a raw column."""
        return self._known.find(values, called) - UNKNOWN

    def get_config(self) -> dict[str, Any]:
        """Return the values."""
        return {"kind": self.kind, "values": list(self.values)}


KINDS: dict[str, type[Column]] = {one.kind: one for one in (NumberColumn, DurationColumn, TimeColumn, CategoryColumn)}


def learned(values: Any, called: str) -> Column:
    """Return the column that has learned from a raw column of ``fit``."""
    array = raw(values, called)
    kind = kind_of(array, getattr(values, "dtype", getattr(values, "type", None)), called)
    return CategoryColumn(distinct(values, called)) if kind in ("texts", "booleans") else KINDS[kind]()


def from_config(config: dict[str, Any]) -> Column:
    """Return the column of a configuration."""
    arguments = {key: value for key, value in config.items() if key != "kind"}
    return KINDS[config["kind"]](**arguments)
