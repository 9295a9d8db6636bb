"""A layer for a table of columns of categories: columns of zeros and ones for few values, embeddings for many."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn import initializers
from fastnn._op import Op
from fastnn._registry import nearest_names
from fastnn._settings import count
from fastnn.constraints import Constraint
from fastnn.data import values as data_values
from fastnn.data.feeds import gathered
from fastnn.data.frames import as_array, column_names, columns, is_frame, native, real_array
from fastnn.data.values import Value, Vocabulary, checked_value
from fastnn.layers._columns import OfColumns, as_told, in_told_order, side_by_side
from fastnn.layers.base import NotYetError, Parameter, Shared, check_width
from fastnn.layers.categories import LARGEST, encode_op
from fastnn.layers.embedding import fill_unseen
from fastnn.regularizers import Regularizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

Array = npt.NDArray[Any]
BINARY = ("sign", "one_hot")
NO_COLUMN = -1  # instead of a place among the columns of zeros and ones
ENTRIES = 2  # the entries of an embedding that come before those of the values: for unknown and for missing ones


class CategoricalEmbedding(OfColumns):
    """Turns columns of categories, each with a vocabulary of its own, into numbers: the first layer for such a table.

    A column with at most `one_hot_limit` values becomes one column a value, which is 1 where a row has the value and
    else 0: all are 0 for a missing or unknown value. A column with more values becomes the `units` numbers that an
    embedding has for the value; missing and unknown values have embeddings of their own, see :meth:`fill_unseen`.

    Parameters
    ----------
    one_hot_limit : int, default 9
        The most values of a column that becomes columns of zeros and ones; 0 makes embeddings of all columns.
    units : int, default 8
        The numbers of an embedding.
    binary : {"sign", "one_hot"}, default "sign"
        What becomes of a column with two values, within the limit: with "sign" one column, which is -1 for the first
        value, 1 for the second, and 0 for a missing or unknown one.
    embeddings_initializer : str or Initializer, default "uniform"
    embeddings_regularizer : str or Regularizer, optional
    embeddings_constraint : str or Constraint, optional
    vocabularies : sequence of sequences, optional
        The values of each column that the layer takes, instead of :meth:`adapt`.
    columns : sequence of int or str, optional
        The columns of categories, by index or, in data frames, by name; None: all. The other columns hold numbers, and
        come first in the output.
    **shared
        See :class:`Layer`.

    Attributes
    ----------
    vocabularies : tuple of tuples, or None
        The values of each column that the layer takes, in their order; None before adapt.
    embeddings : ndarray, shape (entries, units), or None
        The embeddings of all columns that have such: for one column after the other that of unknown values, that of
        missing values, and those of the vocabulary. A view: writing to it changes the model. None where no column has
        an embedding.

    Notes
    -----
    The layer must be the first of a model or of a branch, which then takes all columns of its branch. A value is text,
    a number or a bool; None, NaN and NA are missing values. The layer looks values up once, before the engine runs. It
    gives first the columns of signs, then those of zeros and ones, then the embeddings, each in the order of the
    columns of x. The defaults of the first two arguments are those of RealMLP (Holzmüller, Grinsztajn and
    Steinwart, Better by default, 2024), where a missing value counts as one of the nine.

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.CategoricalEmbedding()
    >>> layer.adapt([["red", "yes"], ["green", "no"], ["blue", None]])
    >>> layer.vocabularies
    (('blue', 'green', 'red'), ('no', 'yes'))
    >>> fastnn.Sequential([fastnn.Input((2,)), layer]).predict([["red", "no"], ["pink", None]])
    array([[-1.,  0.,  0.,  1.],
           [ 0.,  0.,  0.,  0.]], dtype=float32)
    """

    keeps_width = False
    prepares = True
    reads_together = True
    embeddings_regularizer: Regularizer | None
    embeddings_constraint: Constraint | None

    def __init__(
        self,
        one_hot_limit: int = 9,
        units: int = 8,
        binary: str = "sign",
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        vocabularies: Any = None,
        columns: Any = None,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(columns, **shared)
        self.one_hot_limit = count("one_hot_limit", one_hot_limit, 0, LARGEST)
        self.units = check_width("units", units)
        if not isinstance(binary, str) or binary not in BINARY:
            near = nearest_names(binary, list(BINARY)) if isinstance(binary, str) else f"known are {', '.join(BINARY)}"
            raise ValueError(f"binary {binary!r} is unknown; {near}")
        self.binary = binary
        self.embeddings_initializer = initializers.get(embeddings_initializer, "embeddings_initializer")
        self._set_penalties(embeddings_regularizer=embeddings_regularizer, embeddings_constraint=embeddings_constraint)
        self.vocabularies: tuple[tuple[Value, ...], ...] | None = None
        self._known: tuple[Vocabulary, ...] = ()
        if vocabularies is not None:
            self._take_vocabularies(_checked(vocabularies))

    # ---- the vocabularies ----

    def _vocabularies(self) -> tuple[Vocabulary, ...]:
        if self.vocabularies is None:
            raise NotYetError(f"{self._called} has no vocabularies yet: call adapt before the model is built")
        return self._known

    def _take_vocabularies(self, found: Iterable[Iterable[Value]]) -> None:
        """Hold the values of each column; nothing changes where they are more than the layer can have."""
        known = tuple(map(Vocabulary, found))
        entries = sum(len(column) + ENTRIES for column in known if len(column) > self.one_hot_limit)
        if entries > LARGEST:
            raise ValueError(f"the columns' values must be at most 2**24 with an embedding, got {entries}")
        vars(self).update(vocabularies=tuple(column.values for column in known), _known=known)

    def adapt(self, data: Any) -> None:
        """Find the values of each column, in rising order, numbers before text.

        Parameters
        ----------
        data : array-like, shape (rows, columns), or (rows,) of one column, or iterable of such batches
            Text, numbers and bools, in any mixture, of which None, NaN and NA are missing; a categorical has the values
            that occur in it. The batches of a generator are held in memory together. Columns that the layer does not
            take may hold anything. A data frame's columns are known by their names from then on, in the layer's model
            too, see :attr:`Sequential.feature_names`.

        Raises
        ------
        ValueError, TypeError
            When `data` cannot be used, in one sentence that names the column; the layer is as it was then.
        """
        if self._built:
            raise ValueError(f"{self._called} belongs to a model that is built: call adapt before")
        data, names = as_told(self, native(gathered(data, "data")))
        given, places = self._read(data, "data")
        if not len(given[0][1]):
            raise ValueError("data must have at least one row")
        found = [data_values.distinct(given[place][1], given[place][0]) for place in places]
        self._take_vocabularies(found)
        vars(self)["_column_names"] = names

    def _read(self, values: Any, name: str) -> tuple[list[tuple[str, Any]], tuple[int, ...]]:
        """Return what messages call each column, and the column; and the places of those that the layer takes."""
        given = _each_column(values, name)
        named = isinstance(values, Mapping) or is_frame(values)
        names = column_names(values) if named else self._names_of(len(given))
        return given, self._places_in(len(given), names)

    def _kinds(self) -> dict[str, list[int]]:
        """Return which of the columns become signs, which zeros and ones, and which embeddings, in this order."""
        kinds: dict[str, list[int]] = {"sign": [], "one_hot": [], "embedding": []}
        for place, known in enumerate(self._vocabularies()):
            few = len(known) <= self.one_hot_limit
            kind = "embedding" if not few else "sign" if len(known) == 2 and self.binary == "sign" else "one_hot"
            kinds[kind].append(place)
        return kinds

    def _sizes(self) -> tuple[int, int]:
        """Return the number of columns of zeros and ones, and that of entries of the embeddings."""
        known, kinds = self._vocabularies(), self._kinds()
        one_hot = sum(len(known[place]) for place in kinds["one_hot"])
        return one_hot, sum(len(known[place]) + ENTRIES for place in kinds["embedding"])

    # ---- lookups ----

    def prepare(self, values: Any, name: str = "x") -> Array:
        """Return the numbers of each row's values, as the engine gets them.

        Parameters
        ----------
        values : array-like, shape (rows, columns), or (rows,) of one column
        name : str
            What error messages call `values`.

        Returns
        -------
        ndarray, shape (rows, columns)
            In the places of the columns of categories those of signs (-1, 0, 1), then those of places among all columns
            of zeros and ones (-1: none), then those of places among all embeddings: the vocabularies of the columns of
            a kind lie one after the other. Of float32, or of float64 beside columns of numbers.
        """
        known = self._vocabularies()
        given, places = self._read(in_told_order(self, native(values), name), name)
        if len(places) != len(known):
            raise ValueError(f"{name} must have {len(known)} columns for {self._called}, got {len(places)}")
        rows, rest = len(given[0][1]), sorted(set(range(len(given))) - set(places))
        prepared = np.empty((rows, len(given)), np.float64 if rest else np.float32)
        numbers = ((place, real_array(given[place][1], given[place][0])) for place in rest)
        codes = zip(places, self._codes([given[place] for place in places]), strict=True)
        for place, column in itertools.chain(numbers, codes):
            if len(column) != rows:
                raise ValueError(f"{name} must have as many rows in each column, got {rows} and {len(column)}")
            prepared[:, place] = column
        return prepared

    def _codes(self, given: list[tuple[str, Any]]) -> Iterator[Array]:
        """Yield the numbers of each column of categories, kind after kind."""
        known = self._vocabularies()
        for member, numbers in self.numbers():
            it, column = given[member]
            yield numbers[known[member].find(column, it)]  # MISSING and UNKNOWN count from the end

    def numbers(self) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        """Yield which of the columns that the layer takes comes next for the engine, and the numbers of its values.

        After the numbers of the values come that of a value out of the vocabulary, and that of a missing one.
        """
        known = self._vocabularies()
        for kind, members in self._kinds().items():
            offset = 0
            for member in members:
                yield member, _numbers_of(len(known[member]), kind, offset)
                offset += len(known[member]) + (ENTRIES if kind == "embedding" else 0)

    def __call__(self, values: Any) -> Array:
        """Return the layer's output for these values: what a layer after it can be adapted to.

        Parameters
        ----------
        values : array-like, shape (rows, columns), or (rows,) of one column

        Returns
        -------
        ndarray, shape (rows, outputs)
            Of float32, or of float64 where columns of numbers or the model's weights are.

        Raises
        ------
        ValueError
            Where a column has an embedding, and the layer's model is not built.
        """
        prepared, kinds = self.prepare(values, "values"), self._kinds()
        _, places = self._read(in_told_order(self, native(values), "values"), "values")
        rest = np.delete(prepared, places, axis=1)
        ends = np.cumsum([len(kinds["sign"]), len(kinds["one_hot"])])
        signs, columns, entries = np.split(prepared[:, places], ends, axis=1)
        ones = np.zeros((len(prepared), self._sizes()[0]), np.float32)
        row, column = np.nonzero(columns != NO_COLUMN)
        ones[row, columns[row, column].astype(np.int64)] = 1
        parts = [rest, signs, ones]
        if kinds["embedding"]:
            parts.append(self._weight("embeddings")[entries.astype(np.int64)].reshape(len(prepared), -1))
        return np.hstack(parts)

    def fill_unseen(self, data: Any) -> None:
        """Give each embedding that no row of data has the mean of those that rows have, after the training.

        Training leaves an embedding where it began whose value is in no row: always that of unknown values, and that of
        missing ones where none is missing. With the mean of the column's embeddings, each as often as rows have it, a
        row of an unknown value is answered as a row of the column is on average.

        Parameters
        ----------
        data : array-like, shape (rows, columns), or (rows,) of one column
            The rows that the model was trained on.

        Raises
        ------
        ValueError, TypeError
            When the layer's model is not built, or `data` cannot be used; the embeddings are as they were then.

        Examples
        --------
        >>> import fastnn
        >>> layer = fastnn.layers.CategoricalEmbedding(one_hot_limit=1, units=1, vocabularies=[["a", "b"]])
        >>> model = fastnn.Sequential([fastnn.Input((1,)), layer])
        >>> layer.set_weights([[[9.0], [9.0], [0.0], [4.0]]])  # those of unknown and missing values, of "a", and of "b"
        >>> layer.fill_unseen(["a", "b", "a", "a"])
        >>> layer.embeddings
        array([[1.],
               [1.],
               [0.],
               [4.]], dtype=float32)
        """
        kinds, known = self._kinds(), self._vocabularies()
        if not kinds["embedding"]:
            return
        table = self._weight("embeddings")
        prepared = self.prepare(data, "data")
        _, places = self._read(in_told_order(self, native(data), "data"), "data")
        entries = prepared[:, places][:, len(kinds["sign"]) + len(kinds["one_hot"]) :]
        with self._home.setting_weights() if self._home else nullcontext():
            fill_unseen(table, entries, [len(known[place]) + ENTRIES for place in kinds["embedding"]])

    # ---- the layer ----

    def build_taken(self, inputs: int) -> int:
        """Return the number of columns that become of those with vocabularies, of which there must be `inputs`."""
        known, kinds = self._vocabularies(), self._kinds()
        if inputs != len(known):
            raise ValueError(f"{self._called} has vocabularies for {len(known)} columns, its input has {inputs}")
        return len(kinds["sign"]) + self._sizes()[0] + len(kinds["embedding"]) * self.units

    def parameters(self) -> list[Parameter]:
        """Return the embeddings of all columns that have such, of shape (entries, units)."""
        entries = 0 if self.vocabularies is None else self._sizes()[1]
        return [Parameter("embeddings", (entries, self.units), self.embeddings_initializer)] if entries else []

    def lower_taken(self, offsets: dict[str, int]) -> list[Op]:
        """Return an op for each kind of columns that there is, and where there are several the op that joins them."""
        signs, ones, embedded = map(len, self._kinds().values())
        one_hot, entries = self._sizes()
        ops = {}
        if signs:
            ops[0] = Op("activation", "linear", signs, signs)
        if one_hot:
            ops[signs] = encode_op("multi_hot", ones, one_hot, skips=True)
        if embedded:
            numbers, at = (float(entries),), offsets["embeddings"]
            ops[signs + ones] = Op("embedding", "linear", embedded, embedded * self.units, at, numbers=numbers)
        if len(ops) == 1:
            return [op._replace(first=start) for start, op in ops.items()]
        return side_by_side([[op] for op in ops.values()], ops)

    @property
    def embeddings(self) -> Array | None:
        """The embeddings of all columns that have such, a view of shape (entries, units), or None."""
        return self._weight("embeddings") if self.parameters() else None

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; `vocabularies` are those in use."""
        known = self.vocabularies
        return super().get_config() | {
            "one_hot_limit": self.one_hot_limit,
            "units": self.units,
            "binary": self.binary,
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
            "vocabularies": None if known is None else [list(values) for values in known],
        }


def _numbers_of(count: int, kind: str, offset: int) -> npt.NDArray[np.int64]:
    """Return the numbers of `count` values, of unknown and of missing ones; `offset` is that of the kind's first."""
    if kind == "sign":
        return np.array([-1, 1, 0, 0])
    if kind == "one_hot":
        return np.append(np.arange(count) + offset, [NO_COLUMN, NO_COLUMN])
    return np.append(np.arange(count) + offset + ENTRIES, [offset, offset + 1])


def _each_column(values: Any, name: str) -> list[tuple[str, Any]]:
    """Return what messages call each column, and the column, of a frame, a dict of columns or an array of them."""
    if isinstance(values, Mapping):
        return [part for key, column in values.items() for part in _each_column(column, f"{name}[{key!r}]")]
    if is_frame(values) and column_names(values):
        return list(columns(values, name))
    if isinstance(values, (list, tuple)):
        as_array(values, name)  # raises where rows have different lengths
        values = np.array(values, object)  # beside text, NumPy would make text of numbers
    axes = getattr(values, "ndim", None)
    if axes is None:
        axes = as_array(values, name).ndim
    if axes == 1:
        return [(name, values)]
    if axes != 2 or not values.shape[1]:
        raise ValueError(f"{name} must have shape (rows,) or (rows, columns), got {values.shape}")
    array = as_array(values, name)
    return [(f"column {place} of {name}", array[:, place]) for place in range(array.shape[1])]


def _checked(vocabularies: Any) -> list[list[Value]]:
    """Return the values given for each column; raise where they cannot be used."""
    if isinstance(vocabularies, (str, bytes, Mapping)) or not isinstance(vocabularies, Iterable):
        kind = type(vocabularies).__name__
        raise TypeError(f"vocabularies must be a list with the values of each column, got {kind}")
    checked = []
    for place, values in enumerate(vocabularies):
        name = f"vocabularies[{place}]"
        if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
            raise TypeError(f"{name} must be a list of values, got {type(values).__name__}")
        column = [checked_value(value, name) for value in values]
        if len(set(column)) < len(column):
            twice = next(value for k, value in enumerate(column) if value in column[:k])
            raise ValueError(f"{name} must hold each value once, got {twice!r} more than once")
        checked.append(column)
    if not checked:
        raise ValueError("vocabularies must hold the values of at least one column")
    return checked
