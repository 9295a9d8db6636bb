"""What layers know of their input's columns: their names, and which of them a layer takes.

A column's statistic belongs to the column, wherever it lies.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._engine import Lock
from fastnn._op import Op
from fastnn._registry import nearest_names
from fastnn.data.feeds import gathered
from fastnn.data.frames import column_names, columns, in_order, is_frame, listed, real_array, row_pieces, text_names
from fastnn.layers._home import Home
from fastnn.layers.base import Layer, NotYetError, SharedWithPenalty, in_line

if TYPE_CHECKING:
    from typing_extensions import Unpack


def as_told(layer: Layer, data: Any) -> tuple[Any, tuple[str, ...] | None]:
    """Return data for a layer to adapt to, and the names of their columns, None where they have none.

    The columns of a frame come in the order in which the layer's model or branch reads them, where these are the same.

    Raises
    ------
    ValueError
        When several columns of a frame have one name.
    """
    names = text_names(data, "data") if is_frame(data) else None
    told = layer._names_told()
    if names is None or told is None or set(told) != set(names):
        return data, names
    return in_order(data, told, "data"), tuple(told)


def in_told_order(layer: Layer, values: Any, name: str) -> Any:
    """Return values with the columns in the order of those that the layer was adapted to, where both have names."""
    known = layer._column_names
    return values if known is None or not is_frame(values) else in_order(values, known, name, f"{layer._called}'s data")


def adapted(layers: Iterable[Layer]) -> Iterator[tuple[Layer, tuple[str, ...]]]:
    """Yield those of the layers that know the names of x's columns, and the names: x reaches them column by column."""
    for layer in in_line(layers):
        if layer._column_names is not None:
            yield layer, layer._column_names
        if not layer.keeps_columns:
            return


def check_order(layers: Iterable[Layer], names: Sequence[Any], reader: str) -> None:
    """Raise where one of the layers was adapted to the same columns in another order than `reader` reads them."""
    for layer, known in adapted(layers):
        if known != tuple(names) and set(known) == set(names):
            raise ValueError(
                f"{layer._called} was adapted to the columns {listed(known)}, and {reader} reads them in "
                f"the order {listed(names)}: adapt it again, to columns in that order"
            )


def names_at(layers: Iterable[Layer], layer: Layer, names: Sequence[Any] | None) -> Sequence[Any] | None:
    """Return the names of the columns that reach one of the layers; None where nobody says them, or of a column.

    Parameters
    ----------
    layers : iterable of Layer
        Layers one after the other.
    layer : Layer
        The one of them that is asked for.
    names : sequence or None
        The names of the columns that the first of the layers reads, as far as they are known.
    """
    for other in layers:
        if other is layer:
            break
        names = other.names_after(other._column_names if names is None else names)
    return names


class Line(list[Layer]):
    """Layers one after the other, of no model, that know the names of the columns which the first of them reads.

    Parameters
    ----------
    layers : iterable of Layer
        Layers that belong to no model.
    names : list or tuple of str, or None
    """

    def __init__(self, layers: Iterable[Layer], names: Any) -> None:
        super().__init__(layers)
        home = Home(Lock(), names_at=self._names_at)
        home.feature_names = tuple(names) if isinstance(names, (list, tuple)) else None
        for layer in self:
            layer.attach(home)

    def _names_at(self, layer: Layer) -> Sequence[Any] | None:
        return names_at(self, layer, layer._home.feature_names if layer._home else None)


# ---- some of the columns ----

_TOGETHER = 2**20  # at most this many numbers of whole columns are copied at a time, and at least one column


def take(places: Sequence[int], inputs: int) -> Op:
    """Return the op that puts those columns of its input side by side, in this order."""
    runs: list[list[int]] = []
    for place in places:
        if runs and sum(runs[-1]) == place:
            runs[-1][1] += 1
        else:
            runs.append([place, 1])
    return Op("take", "linear", inputs, len(places), vector=tuple(float(number) for run in runs for number in run))


def side_by_side(stacks: Iterable[Sequence[Op]], starts: Iterable[int]) -> list[Op]:
    """Return the ops of stacks on one input, each of which reads from its column of `starts` on, and their join.

    A stack is ops one after the other, of which at least the last one gives what is joined.
    """
    ops: list[Op] = []
    ends: list[int] = []
    for stack, start in zip(stacks, starts, strict=True):
        for k, op in enumerate(stack):
            reads_input = op.input == k and op.name != "join"
            ops.append(op._replace(input=len(ops), first=op.first + start) if reads_input else op)
        ends.append(len(ops) - 1)
    column = 0
    for end in ends:
        ops[end] = ops[end]._replace(join=len(ops) - end, column=column)
        column += ops[end].outputs
    return [*ops, Op("join", "linear", column, column)]


def _checked_columns(columns: Any) -> tuple[int | str, ...] | None:
    """Return the argument `columns` as it is held; raise where it cannot be a list of names and indices."""
    if columns is None:
        return None
    if isinstance(columns, (str, bytes, Mapping, Set)) or not isinstance(columns, Iterable):
        raise TypeError(f"columns must be a list of names or indices, got {columns!r:.80}")
    found: list[int | str] = []
    for column in columns:
        if isinstance(column, (bool, np.bool_)) or not isinstance(column, (int, np.integer, str)):
            raise TypeError(f"columns must hold names or indices, got {column!r:.80}")
        if not isinstance(column, str) and column < 0:
            raise ValueError(f"columns must hold indices of at least 0, got {column}")
        found.append(str(column) if isinstance(column, str) else int(column))
    if not found:
        raise ValueError("columns must hold at least one name or index, or be None for all columns")
    if len(set(found)) < len(found):
        twice = next(column for k, column in enumerate(found) if column in found[:k])
        raise ValueError(f"columns must be different columns, got {twice!r} twice")
    return tuple(found)


class Taken(NamedTuple):
    """The columns of data that a layer takes, to be adapted to.

    Attributes
    ----------
    array : ndarray, shape (rows, columns)
        Real numbers; it may hold other columns too.
    places : sequence of int
        Where in a row of the array the columns lie.
    called : list of str
        What messages call each of the columns.
    names : tuple of str or None
        The names of all columns of the data, None where they have none.
    own_names : tuple of str or None
        The names of these columns.
    missing : bool
        Whether a NaN is a missing value.
    """

    array: npt.NDArray[Any]
    places: Sequence[int]
    called: list[str]
    names: tuple[str, ...] | None
    own_names: tuple[str, ...] | None
    missing: bool

    def checked(self) -> Taken:
        """Return these columns; raise where they are no rows of numbers, or no row."""
        if self.array.ndim != 2 or not self.array.size:
            raise ValueError(f"data must have shape (rows, features) and at least one row, got {self.array.shape}")
        return self

    def pieces(self) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
        """Yield the columns in pieces of rows, with the number of each piece's first row; raise at what is not finite.

        Nothing that is as large as the data is copied, which may be a file that is larger than memory.
        """
        for first, piece in row_pieces(self.array):
            wide = (piece if len(self.places) == piece.shape[1] else piece[:, self.places]).astype(np.float64)
            self._check_finite(wide, first, 0)
            yield first, wide

    def columns(self) -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
        """Yield what messages call each column, and a copy of the whole column; raise at what is not finite.

        Columns are copied a few at a time.
        """
        width = max(1, _TOGETHER // len(self.array))
        for start in range(0, len(self.places), width):
            some = self.array[:, self.places[start : start + width]].astype(np.float64)
            self._check_finite(some, 0, start)
            yield from zip(self.called[start : start + width], np.ascontiguousarray(some.T), strict=True)

    def _check_finite(self, values: npt.NDArray[np.float64], row: int, column: int) -> None:
        """Raise where values are not finite, the first of which lies in this row and in this one of the columns."""
        finite = np.isfinite(values)
        if self.missing:
            finite |= np.isnan(values)
        if not finite.all():
            i, j = np.argwhere(~finite)[0]
            if self.missing:
                raise ValueError(f"data must not be infinite, but row {row + i} is in column {self.called[column + j]}")
            raise ValueError(
                f"data must be finite, but row {row + i} holds {values[i, j]} in column {self.called[column + j]}, "
                f"which would make all of the column NaN: leave such rows out, or fill them first, with an Impute "
                f"layer before this one, which is then adapted to what that gives"
            )


class OfColumns(Layer):
    """The base of layers that take some of the columns of their input and leave the others as they are.

    A layer of this family says what it makes of the columns that it takes, as if these were all: see
    :meth:`build_taken` and :meth:`lower_taken`. They come in the order in which they lie in the input, whatever the
    order in `columns`. Where the layer gives as many columns as it takes, each stays in its place; else the columns
    that it leaves come first, in their order, and then what it makes of the others.

    Parameters
    ----------
    columns : sequence of int or str, optional
        The columns that the layer takes, by index or by name; None: all.
    **shared
        See :class:`Layer`.
    """

    # the names of the columns that are taken, where the layer was adapted to a frame that has names
    _taken_names: tuple[str, ...] | None = None
    keeps_width: ClassVar[bool]  # whether a column that is taken becomes one column
    columns: tuple[int | str, ...] | None
    _KEPT = Layer._KEPT | {"_inputs", "_outputs", "_places", "_built_names"}

    def __init__(self, columns: Any = None, **shared: Unpack[SharedWithPenalty]) -> None:
        super().__init__(**shared)
        self.columns = _checked_columns(columns)
        self._inputs = self._outputs = 0
        self._places: tuple[int, ...] = ()  # where the columns that are taken lie, in rising order
        # the names of all columns of the input when the layer was built last
        self._built_names: tuple[Any, ...] | None = None

    @abstractmethod
    def build_taken(self, inputs: int) -> int:
        """Settle the parameters' shapes for `inputs` columns that are taken; return how many columns become of them."""

    @abstractmethod
    def lower_taken(self, offsets: dict[str, int]) -> list[Op]:
        """Return the engine's ops, of which the first ones read the columns that are taken, and nothing else."""

    @property
    def keeps_columns(self) -> bool:
        """Whether the columns of the output are those of the input, each in its place."""
        return self.keeps_width

    def names_after(self, names: Sequence[Any] | None) -> Sequence[Any] | None:
        """Return the names of the columns of the output; None for each column that the layer makes."""
        if names is None or self.keeps_width or len(names) != self._inputs:
            return super().names_after(names)
        rest = [name for place, name in enumerate(names) if place not in self._places]
        return [*rest, *[None] * (self._outputs - len(rest))]

    def build(self, inputs: int) -> int:
        """Return the number of outputs: of columns that the layer leaves, and of those that it makes."""
        names = self._names_of(inputs)
        places = self._places_in(inputs, names)
        if self._built and places != self._places:
            raise ValueError(
                f"{self._called} takes the columns {listed(self.columns or ())}, which are the columns "
                f"{listed(self._places)} of its input, and would be {listed(places)} by these names"
            )
        self._check_taken(places, names)
        self._inputs, self._places = inputs, places
        self._built_names = None if names is None else tuple(names)
        self._outputs = inputs - len(places) + self.build_taken(len(places))
        return self._outputs

    def forget_names(self) -> None:
        """Forget the names of the columns that the layer was adapted to, and of those that it takes."""
        self._column_names = self._taken_names = None

    def _check_change(self, name: str, value: Any) -> None:
        """Raise where the layer cannot take other columns any more, or its model rules the change out."""
        if name == "columns" and self._built:
            raise ValueError(f"columns of {self._called} cannot be set once the model is built: make a new layer")
        super()._check_change(name, value)

    def _check_taken(self, places: Sequence[int], names: Sequence[Any] | None) -> None:
        """Raise where columns of other names lie in the places of those that the layer was adapted to."""
        known = self._taken_names
        if known is None or names is None or len(known) != len(places):
            return
        here = [names[place] for place in places]
        if any(name not in (None, own) for name, own in zip(here, known, strict=True)):
            raise ValueError(
                f"{self._called} was adapted to the columns {listed(known)}, and takes {listed(here)}: adapt it again, "
                f"to columns in that order"
            )

    def _names_of(self, inputs: int) -> Sequence[Any] | None:
        """Return the names of the layer's input, which has `inputs` columns; None where nobody says them."""
        told = self._names_told()
        # adapted to x as it is before the layers before this one, a layer reads other columns than it was adapted to
        names = told if told is not None and len(told) == inputs else self._column_names or told
        if names is None and self._built:  # they were forgotten, and the columns are where they were
            names = self._built_names
        return names if names is not None and len(names) == inputs else None

    def _places_in(self, inputs: int, names: Sequence[Any] | None) -> tuple[int, ...]:
        """Return where the columns that the layer takes lie among `inputs` columns, in rising order."""
        if self.columns is None:
            return tuple(range(inputs))
        places = [self._place_of(column, inputs, names) for column in self.columns]
        if len(set(places)) < len(places):
            twice = next(c for k, c in enumerate(self.columns) if places[k] in places[:k])
            raise ValueError(f"columns of {self._called} must be different columns, got {twice!r} twice")
        return tuple(sorted(places))

    def _place_of(self, column: int | str, inputs: int, names: Sequence[Any] | None) -> int:
        if isinstance(column, int):
            if column >= inputs:
                raise ValueError(
                    f"columns of {self._called} must hold indices below {inputs}, the number of columns of its input, "
                    f"got {column}"
                )
            return column
        if names is None:
            raise NotYetError(
                f"{self._called} takes the column {column!r} by name, but the columns of its input have no names: give "
                f"indices, or, to one of the first layers of a model, names by a data frame or by feature_names"
            )
        if column not in names:
            near = nearest_names(column, [name for name in names if isinstance(name, str)])
            raise ValueError(f"{self._called} takes the column {column!r}, which its input has not; {near}")
        return list(names).index(column)

    def taken_from(self, data: Any, *, missing: bool = False) -> Taken:
        """Return data to adapt to, as an array of rows in which the columns lie that the layer takes.

        With `missing`, NaN and None are missing values.

        Raises
        ------
        ValueError, TypeError
            When `data` holds no rows of numbers, or not the columns that the layer takes.
        """
        data, names = as_told(self, gathered(data, "data"))
        if self.columns is not None and is_frame(data):  # the other columns may hold anything
            there, some = column_names(data), list(columns(data, "data"))
            places = self._places_in(len(some), there)
            arrays = [real_array(some[place][1], some[place][0], missing=missing) for place in places]
            called = [repr(there[place]) for place in places]
            own = None if names is None else tuple(names[place] for place in places)
            return Taken(np.column_stack(arrays), range(len(arrays)), called, names, own, missing).checked()
        array = real_array(data, "data", missing=missing)
        array = array[:, None] if array.ndim == 1 else array
        width, told = array.shape[-1] if array.ndim == 2 else 0, self._names_told()
        places = self._places_in(width, told if told and len(told) == width else None) if width else ()
        return Taken(array, places, list(map(str, places)), names, names, missing).checked()

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return the ops for the columns that are taken, between those that take columns out and put them back."""
        inputs, places, ops = self._inputs, self._places, self.lower_taken(offsets)
        rest = [place for place in range(inputs) if place not in set(places)]
        if not rest:
            return ops
        joined = side_by_side([[take(rest, inputs)], [take(places, inputs), *ops]], [0, 0])
        if not self.keeps_width:
            return joined
        lies = {place: k for k, place in enumerate([*rest, *places])}
        return [*joined, take([lies[place] for place in range(inputs)], inputs)]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | ({} if self.columns is None else {"columns": list(self.columns)})


def missing_columns(layers: Iterable[Layer], inputs: int) -> npt.NDArray[np.bool_]:
    """Return which of `inputs` columns may hold NaN: those that the first layers to compute fill in."""
    found, behind = np.zeros(inputs, bool), np.arange(inputs)  # the columns of x behind a layer's columns; -1: none
    names: Sequence[Any] | None = None
    for layer in in_line(layers):
        if layer.idle:
            continue
        if not isinstance(layer, OfColumns) or not layer.takes_missing:
            break
        names = layer._names_of(len(behind)) if names is None else names
        places = layer._places_in(len(behind), names)
        taken = behind[list(places)]
        found[taken[taken >= 0]] = True
        if not layer.keeps_width:  # the others come first
            rest, made = [place for place in range(len(behind)) if place not in set(places)], 2 * len(places)
            behind = np.concatenate([behind[rest], np.full(made, -1)])
            names = None if names is None else [*(names[place] for place in rest), *[None] * made]
    return found


def evenly(column: npt.NDArray[np.float64], count: int, called: str) -> npt.NDArray[np.float64]:
    """Return the quantiles 0, 1 / (count - 1), ..., 1 of a column of numbers, linear between two of the sorted numbers.

    Their places among the numbers are fractions of whole numbers: a quantile that falls on a number is that number, so
    that those of equal numbers are equal. (The places of numpy.quantile are rounded.) One quantile is the least number.
    """
    numbers, gaps = np.sort(column), max(count - 1, 1)
    with np.errstate(over="ignore"):
        finite = np.isfinite(numbers[-1] - numbers[0])
    if not finite:
        raise ValueError(f"data must have differences within float64's range: scale column {called} down first")
    low, over = np.divmod(np.arange(count, dtype=np.int64) * (len(numbers) - 1), gaps)
    above = numbers[np.minimum(low + 1, len(numbers) - 1)]
    return np.minimum(numbers[low] + (above - numbers[low]) * (over / gaps), above)


class AdaptedColumns(OfColumns):
    """The base of layers of columns with constants, which :meth:`adapt` finds in the values of each column.

    The constants are not trained, and are part of the layer's configuration, in files too.
    """

    def _begin_to_adapt(self, data: Any, *, missing: bool = False) -> Taken:
        """Return the columns of data that the layer takes; raise where it cannot be adapted any more."""
        if self._built:
            raise ValueError(f"{self._called} belongs to a model that is built: call adapt before")
        return self.taken_from(data, missing=missing)

    def _constants(self, name: str, inputs: int) -> Any:
        """Return the constants of this name, of which there is one, or one row, for each of `inputs` columns."""
        held = getattr(self, name)
        if held is None:
            raise NotYetError(f"{self._called} has no {name} yet: call adapt before the model is built")
        if len(held) != inputs:
            raise ValueError(f"{self._called} has {name} for {len(held)} columns, and takes {inputs}")
        return held
