"""Raw tables as what a network reads: a matrix of scaled numbers and of the codes of categories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._warnings import warn
from fastnn.data import frames
from fastnn.layers import RobustNormalization
from fastnn.tabular import _columns
from fastnn.tabular._columns import SPECIAL, CategoryColumn, Column

Array = npt.NDArray[Any]
PIECE = 2**18  # numbers that are scaled at once: the copies lie in a near cache, and a large table is not copied whole
FARTHEST = 1e6  # from 0 a scaled number may lie, whose square float32 holds
FEWEST = 20  # in fewer rows, values that differ in all of them say nothing


class Table(NamedTuple):
    """The raw columns of a frame, or of an array.

    Attributes
    ----------
    columns : list of (str, array-like)
        What messages call each column, and the column.
    rows : int
    """

    columns: list[tuple[str, Any]]
    rows: int

    @classmethod
    def of(cls, values: Any) -> Table:
        """Return the columns of a frame, or of an array of two axes, in their order."""
        if frames.is_frame(values):
            return cls(frames.plain_columns(values, "X"), len(values))
        return cls([(f"column {place} of X", values[:, place]) for place in range(values.shape[1])], len(values))


class Statistics(NamedTuple):
    """What scales a column of numbers: (x - centre) * factor, of a missing x the median, of an infinite one an end.

    Attributes
    ----------
    median, low, high : float
        Of the finite numbers of fit.
    centre, factor : float
    """

    median: float
    low: float
    high: float
    centre: float
    factor: float


def _statistics(values: Array, scaling: str) -> Statistics | None:
    """Return what scales numbers, of which a missing one is NaN; None where no two finite numbers differ."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    low, high = float(finite.min()), float(finite.max())
    if low == high:
        return None
    median = float(np.median(finite))
    if finite.size < values.size:
        values = np.clip(np.where(np.isnan(values), median, values), low, high)
    if scaling == "standard":
        return Statistics(median, low, high, float(values.mean()), 1 / float(values.std()))
    layer = RobustNormalization(clip=None)
    layer.adapt(values)
    assert layer.center is not None
    assert layer.factor is not None
    return Statistics(median, low, high, layer.center[0], layer.factor[0])


class Number(NamedTuple):
    """A column of numbers that the network reads.

    Attributes
    ----------
    place : int
        The place of the values among the numbers of all raw columns.
    flag : bool
        Whether the network reads 1 where the value is missing and else 0, not the value.
    statistics : Statistics
    """

    place: int
    flag: bool
    statistics: Statistics

    def read(self, raw: Sequence[Array], piece: slice) -> Array:
        """Return the numbers of a piece of rows, before they are scaled."""
        values = raw[self.place][piece]
        return np.isnan(values).astype(np.float64) if self.flag else values


class Category(NamedTuple):
    """A column of categories that the network reads as columns of numbers, or as the place of an embedding.

    Attributes
    ----------
    place : int
        The place of the raw column.
    table : list of list of float
        For each code, those of unknown and of missing values first, the numbers that stand for it.
    """

    place: int
    table: list[list[float]]


class Preparation:
    """What makes a network's input of the columns of a table, as ``fit`` has seen them.

    Parameters
    ----------
    columns : sequence of Column
        One for each raw column.
    numbers : sequence of Number
        The columns of numbers that the network reads.
    few : sequence of Category
        The columns of few categories, which become columns of scaled numbers.
    many : sequence of int
        The places of the raw columns of many categories, which become places among all embeddings.
    limit : float or None
        Scaled numbers x become x / sqrt(1 + (x / limit)^2), which is between -limit and limit.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        numbers: Sequence[Number],
        few: Sequence[Category],
        many: Sequence[int],
        limit: float | None,
    ) -> None:
        self.columns, self.numbers, self.few, self.many = list(columns), list(numbers), list(few), list(many)
        self.limit = limit
        self._statistics = np.array([each.statistics for each in self.numbers], np.float64).reshape(-1, 5).T
        self._tables = {each.place: np.array(each.table, np.float32) for each in self.few}
        self.sizes = [SPECIAL + len(self._values(place)) for place in self.many]  # the embeddings of each column
        first = 0
        for place, entries in zip(self.many, self.sizes, strict=True):
            self._tables[place] = np.arange(first, first + entries, dtype=np.float32)[:, None]
            first += entries
        self.entries = first
        self.widths = len(self.numbers), sum(self._tables[each.place].shape[1] for each in self.few), len(self.many)
        if not any(self.widths):
            self.widths = 1, 0, 0  # a network needs a column, even where none says anything

    def _values(self, place: int) -> Sequence[Any]:
        """Return the values of a column of categories."""
        column = self.columns[place]
        assert isinstance(column, CategoryColumn)
        return column.values

    # ---- learning ----

    @classmethod
    def learned(cls, table: Table, scaling: str, limit: float | None, most: int) -> Preparation:
        """Return what has learned from the table of ``fit``; warn of columns that say nothing.

        Parameters
        ----------
        table : Table
        scaling : {"robust", "standard"}
            "robust" takes the median and the range between the quartiles, or half of the whole range where that is
            zero; "standard" takes the mean and the standard deviation.
        limit : float or None
        most : int
            The most values of a column that becomes columns of numbers.
        """
        columns = [_columns.learned(values, called) for called, values in table.columns]
        numbers: list[Number] = []
        few: list[Category] = []
        many: list[int] = []
        place = 0
        for at, (column, (called, values)) in enumerate(zip(columns, table.columns, strict=True)):
            if isinstance(column, CategoryColumn):
                codes = column.codes(values, called)
                if not _says_something(column, codes, called):
                    continue
                if len(column.values) <= most:
                    few.append(Category(at, _table_of(codes, len(column.values), scaling, limit)))
                else:
                    many.append(at)
                continue
            used = len(numbers)
            parts = column.numbers(values, called)
            for part, each in enumerate(parts, place):
                found = _statistics(each, scaling)
                numbers += [] if found is None else [Number(part, False, found)]
            found = _statistics(np.isnan(parts[0]).astype(np.float64), scaling)  # all parts are missing together
            numbers += [] if found is None else [Number(place, True, found)]
            place += len(parts)
            if used == len(numbers):
                warn(f"{called} is constant, and is left out")
            elif column.kind == "numbers":
                _warn_of_counter(parts[0], called)
        return cls(columns, numbers, few, many, limit)

    # ---- reading ----

    def __call__(self, table: Table) -> Array:
        """Return what the network reads in the place of raw columns.

        Returns
        -------
        ndarray of float32, shape (rows, sum of `widths`)
            The scaled numbers, those of columns of few categories, and places of embeddings, which float32 holds
            exactly.
        """
        out = np.zeros((table.rows, sum(self.widths)), np.float32)
        raw: list[Array] = []
        for column, (called, values) in zip(self.columns, table.columns, strict=True):
            if not isinstance(column, CategoryColumn):
                raw += column.numbers(values, called)
        self._write_scaled(raw, out[:, : len(self.numbers)])
        at = self.widths[0]
        for place, numbers in self._tables.items():
            column, (called, values) = self.columns[place], table.columns[place]
            assert isinstance(column, CategoryColumn)
            out[:, at : at + numbers.shape[1]] = numbers[column.codes(values, called)]
            at += numbers.shape[1]
        return out

    def _write_scaled(self, raw: Sequence[Array], out: Array) -> None:
        """Write the scaled numbers side by side."""
        step = max(1, PIECE // max(1, len(self.numbers)))
        for first in range(0, len(out) if self.numbers else 0, step):
            piece = slice(first, first + step)
            out[piece] = self._scaled_piece(np.stack([each.read(raw, piece) for each in self.numbers], axis=1))

    def _scaled_piece(self, x: Array) -> Array:
        median, low, high, centre, factor = self._statistics
        missing = np.isnan(x)
        if missing.any():
            x = np.where(missing, median, x)
        if np.isinf(x).any():
            x = np.where(np.isinf(x), np.where(x > 0, high, low), x)
        with np.errstate(over="ignore"):  # a later number may be far beyond those of fit: it is bounded next
            return clipped((x - centre) * factor, self.limit)

    def sources(self) -> list[int]:
        """Return the place of the raw column behind each column that the network reads."""
        behind = [at for at, column in enumerate(self.columns) for _ in column.parts]
        categories = [place for place, numbers in self._tables.items() for _ in range(numbers.shape[1])]
        return [behind[each.place] for each in self.numbers] + categories

    # ---- files ----

    def get_config(self) -> dict[str, Any]:
        """Return all that was learned, as JSON."""
        return {
            "columns": [column.get_config() for column in self.columns],
            "numbers": [[each.place, each.flag, *each.statistics] for each in self.numbers],
            "few": [list(each) for each in self.few],
            "many": self.many,
            "limit": self.limit,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Preparation:
        """Return the preparation of a configuration."""
        numbers = [
            Number(int(place), bool(flag), Statistics(*map(float, statistics)))
            for place, flag, *statistics in config["numbers"]
        ]
        columns = [_columns.from_config(each) for each in config["columns"]]
        return cls(columns, numbers, [Category(*each) for each in config["few"]], config["many"], config["limit"])


def clipped(x: Array, limit: float | None) -> Array:
    """Return x / sqrt(1 + (x / limit)^2), which is between -limit and limit; without a limit x, up to FARTHEST."""
    x = np.clip(x, -FARTHEST, FARTHEST)
    return x if limit is None else x / np.sqrt(1 + (x / limit) ** 2)


def _table_of(codes: Array, count: int, scaling: str, limit: float | None) -> list[list[float]]:
    """Return the numbers that stand for each code of a column of few categories.

    A value is a 1 in a column of its own, of two values one is -1 and the other 1 in a single column, and unknown and
    missing ones are 0, before each column is scaled as one of numbers.
    """
    one_hot = np.eye(SPECIAL + count)[:, SPECIAL:]
    if count == 2:
        one_hot = one_hot[:, 1:] - one_hot[:, :1]
    columns = []
    for numbers in one_hot.T:
        found = _statistics(numbers[codes], scaling)
        assert found is not None  # at least two codes occur, of which one has another number
        columns.append(clipped((numbers - found.centre) * found.factor, limit))
    return np.stack(columns, axis=1).tolist()


def _says_something(column: CategoryColumn, codes: Array, called: str) -> bool:
    """Return whether the network is to read a column of categories; warn where it is not."""
    count, rows = len(column.values), len(codes)
    if count == rows and rows >= FEWEST:
        warn(f"{called} has another value in each row, so that no new row can have one of them, and is left out")
        return False
    if count > 1 or (count == 1 and (codes < SPECIAL).any()):
        return True
    warn(f"{called} is constant, and is left out")
    return False


def _warn_of_counter(values: Array, called: str) -> None:
    """Warn of whole numbers that count the rows."""
    rows = len(values)
    if rows < FEWEST or np.ptp(values) != rows - 1 or (values != np.floor(values)).any():
        return
    if len(np.unique(values)) == rows:
        warn(f"{called} counts the rows: a number that is unique to each row says nothing of new ones")
