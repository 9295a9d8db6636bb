"""Fitted preprocessing of scikit-learn as layers, and where its columns lie among those of the layers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn import layers
from fastnn.exchange._encoders import Table, check_imputer, is_encoder, kind_of, tables_of
from fastnn.layers.base import Layer
from fastnn.layers.categories import LARGEST
from fastnn.layers.preprocessing import SMALLEST_DEVIATION

Array = npt.NDArray[Any]
SCALERS = ("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler")
KNOWN = (*SCALERS, "SimpleImputer", "OneHotEncoder", "OrdinalEncoder", "TargetEncoder", "ColumnTransformer")


class Columns:
    """Rows on their way through layers: which layers there are, and where the columns of scikit-learn lie.

    A column of rows is known by a number that it keeps, wherever a layer puts it.

    Attributes
    ----------
    layout : list of int
        The numbers of the columns that the layers give, in their order.
    members : list of int
        The numbers of scikit-learn's columns, in scikit-learn's order.
    layers : list of Layer
    weights : list of tuple
        Layers with weights, and these.
    """

    def __init__(self, width: int, first: Layer) -> None:
        self.layout = list(range(width))
        self.members = list(range(width))
        self._made = width  # how many numbers are taken
        self.layers: list[Layer] = [first]
        self.weights: list[tuple[Layer, Sequence[Array]]] = []

    @classmethod
    def of(cls, width: int, dtype: str) -> Columns:
        """Return rows as they are at the start."""
        return cls(width, layers.Input((width,), dtype=dtype))

    @property
    def places(self) -> list[int]:
        """Where scikit-learn's columns lie among those that the layers give."""
        return self._places_of(self.members)

    @property
    def in_order(self) -> bool:
        """Whether the layers give scikit-learn's columns, and no other ones, in scikit-learn's order."""
        return self.members == self.layout

    def rows_for(self, kernel: Array) -> Array:
        """Return a kernel for the layers' columns, where `kernel` is one for scikit-learn's."""
        rows = np.zeros((len(self.layout), kernel.shape[1]), kernel.dtype)
        np.add.at(rows, self.places, kernel)
        return rows

    def apply(self, steps: Sequence[Any]) -> None:
        """Add the layers that do what the steps do, to all columns."""
        before, rest = _split(steps)
        if before:
            (self.members,) = self.look_up([(self.members, before)])
        self.members = self.compute(self.members, rest)

    def _places_of(self, members: Iterable[int]) -> list[int]:
        places = {member: place for place, member in enumerate(self.layout)}
        return [places[member] for member in members]

    def _new(self, count: int) -> list[int]:
        """Return the numbers of columns that a layer makes."""
        self._made += count
        return list(range(self._made - count, self._made))

    # ---- categories ----

    def look_up(self, groups: list[tuple[list[int], list[Any]]]) -> list[list[int]]:
        """Add the layer that encodes columns of raw values; it must be the first to compute.

        Parameters
        ----------
        groups : list of tuple
            Columns, and the steps that encode them, of which the last is the encoder.

        Returns
        -------
        list of list of int
            The columns that each group becomes; those of no group come first, in their order.
        """
        if len(self.layers) > 1:
            raise ValueError("estimator has an encoder after another step, where it reads no raw values: put it first")
        tables: dict[int, Table] = {}
        for members, steps in groups:
            tables |= zip(members, tables_of(steps), strict=True)
        taken = [member for member in self.layout if member in tables]
        rest = [member for member in self.layout if member not in tables]
        ordered = [tables[member] for member in taken]
        some = self._places_of(taken) if rest else None
        plain = all(table.is_one_hot for table in ordered)
        layer, sizes = _one_hot(ordered, some) if plain else self._table(ordered, some)
        self.layers.append(layer)
        made = {member: self._new(size) for member, size in zip(taken, sizes, strict=True)}
        self.layout = [*rest, *(one for member in taken for one in made[member])]
        return [[one for member in members for one in made[member][: tables[member].size]] for members, _ in groups]

    def _table(self, tables: list[Table], columns: list[int] | None) -> tuple[Layer, list[int]]:
        """Return the layer that holds what each value becomes as an embedding, and the columns that each table takes.

        All embeddings of a layer are of one width: short ones end with columns of zeros, which nothing reads.
        """
        units = max(table.size for table in tables)
        entries = sum(len(table.values) + 2 for table in tables)
        if entries * units > LARGEST:
            raise ValueError(
                f"estimator has an encoder with {entries - 2 * len(tables)} categories, of up to {units} columns each, "
                f"whose table would have more than 2**24 numbers: use handle_unknown='ignore'"
            )
        vocabularies = [table.values for table in tables]
        layer = layers.CategoricalEmbedding(0, units, "one_hot", vocabularies=vocabularies, columns=columns)
        layer.trainable = False  # the numbers stand for the categories
        embeddings = np.zeros((entries, units))
        at = 0
        for table in tables:
            held = np.vstack([table.unknown, table.missing, table.rows])
            embeddings[at : at + len(held), : table.size] = held
            at += len(held)
        self.weights.append((layer, [embeddings]))
        return layer, [units] * len(tables)

    # ---- numbers ----

    def compute(self, members: list[int], steps: Sequence[Any]) -> list[int]:
        """Add the layers that do what the steps do to these columns; return the columns that become of them."""
        for step in steps:
            kind = kind_of(step)
            if kind == "SimpleImputer":
                members = self._impute(members, step)
            elif kind in SCALERS:
                self._scale(members, step, kind)
            elif is_encoder(step):
                raise ValueError(f"estimator has {kind} after another step, where it reads no raw values: put it first")
            else:
                known = ", ".join(KNOWN)
                raise TypeError(f"estimator has the step {type(step).__name__}, which no layer does; known are {known}")
        return members

    def _taken(self, members: list[int]) -> tuple[npt.NDArray[np.intp], list[int] | None]:
        """Return the order in which columns lie, and where they lie, None where they are all that there are."""
        places = self._places_of(members)
        order = np.argsort(places)
        return order, None if len(members) == len(self.layout) else [places[k] for k in order]

    def _scale(self, members: list[int], step: Any, kind: str) -> None:
        """Add y = factor (x - center) for each column, and the limits of a MinMaxScaler that has such."""
        order, columns = self._taken(members)
        center, factor = center_and_factor(step, kind, len(members))
        center, factor = center[order], factor[order]
        if not (np.isfinite(center).all() and np.isfinite(factor).all()):
            raise ValueError(f"estimator has a {kind} whose statistics are not finite: train it without such columns")
        scale = 1 / factor if np.all(factor) else np.zeros(1)
        if kind == "StandardScaler" and (scale >= SMALLEST_DEVIATION).all():
            self.layers.append(layers.Normalization(mean=center, variance=scale**2, columns=columns))
            return
        clip = kind == "MinMaxScaler" and step.clip
        if clip:
            low, high = map(float, step.feature_range)
            center = center + low / factor  # ReLU begins at 0
        self.layers.append(layers.RobustNormalization(columns, clip=None, center=center, factor=factor))
        if clip:
            if columns is not None:
                raise ValueError("estimator has a MinMaxScaler with clip=True beside other columns: fit it to a frame")
            self.layers.append(layers.ReLU(max_value=high - low))
            if low:
                self.layers.append(layers.Rescaling(1.0, low))

    def _impute(self, members: list[int], step: Any) -> list[int]:
        """Add the layer that fills missing values in; nothing but such layers may come before it."""
        check_imputer(step)
        if not all(isinstance(layer, layers.Impute) for layer in self.layers[1:]):
            raise ValueError(
                "estimator has a SimpleImputer after another step: put it first, or fit the transformer to a frame"
            )
        order, columns = self._taken(members)
        fill = np.asarray(step.statistics_, np.float64)
        there = np.isfinite(fill)  # scikit-learn drops a column without a value
        indicator = getattr(step, "indicator_", None)
        filled = np.where(there, fill, 0.0)[order]
        self.layers.append(layers.Impute("constant", filled, add_indicator=indicator is not None, columns=columns))
        kept = [member for member, known in zip(members, there, strict=True) if known]
        if indicator is None:
            return kept
        lie = [members[k] for k in order]
        marks = dict(zip(lie, self._new(len(lie)), strict=True))
        self.layout = [*(member for member in self.layout if member not in marks), *lie, *marks.values()]
        return [*kept, *(marks[members[k]] for k in indicator.features_)]


def _one_hot(tables: list[Table], columns: list[int] | None) -> tuple[Layer, list[int]]:
    """Return the layer for columns of zeros and ones, and the number of columns for each table."""
    sizes = [table.size for table in tables]
    ordered = [[table.values[k] for k in np.argsort(table.rows.argmax(1)) if table.rows[k].any()] for table in tables]
    most = max(map(len, ordered))
    return layers.CategoricalEmbedding(most, 1, "one_hot", vocabularies=ordered, columns=columns), sizes


def center_and_factor(step: Any, kind: str, width: int) -> tuple[Array, Array]:
    """Return the numbers of y = factor (x - center) for each column."""
    if not hasattr(step, "scale_"):
        raise ValueError(f"estimator must be fitted, but a {kind} of it has no scale_: call fit first")
    none, one = np.zeros(width), np.ones(width)
    if kind == "MinMaxScaler":
        return -step.min_ / step.scale_, np.array(step.scale_, np.float64)
    scale = one if step.scale_ is None else np.array(step.scale_, np.float64)
    if kind == "StandardScaler":
        return (np.array(step.mean_, np.float64) if step.with_mean else none), 1 / (scale if step.with_std else one)
    if kind == "RobustScaler":
        return none if step.center_ is None else np.array(step.center_, np.float64), 1 / scale
    return none, 1 / scale


def _split(steps: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Return the steps up to the first encoder, none where there is none, and those after it."""
    first = next((k for k, step in enumerate(steps) if is_encoder(step)), -1)
    return list(steps[: first + 1]), list(steps[first + 1 :])


# ---- several groups of columns ----


class Group(NamedTuple):
    """Columns with the steps that a ColumnTransformer has for them."""

    name: str
    places: list[int]
    steps: list[Any]


def _groups(transformer: Any, flat: Any) -> list[Group]:
    """Return the groups of columns, without those that are dropped."""
    if not hasattr(transformer, "transformers_"):
        raise ValueError("estimator must be fitted, but its ColumnTransformer has no transformers_: call fit first")
    if transformer.transformer_weights:
        raise ValueError("estimator has a ColumnTransformer with transformer_weights, which no layer has")
    found, rest = [], dict.fromkeys(range(int(transformer.n_features_in_)))
    for name, step, columns in transformer.transformers_:
        # versions say in different ways which columns remain, and some warn of that
        places = list(rest) if name == "remainder" else _places(columns, transformer)
        rest = dict.fromkeys(place for place in rest if place not in set(places))
        dropped = isinstance(step, str) and step == "drop"
        nothing = isinstance(step, str) or (kind_of(step) == "FunctionTransformer" and step.func is None)
        if places and not dropped:
            found.append(Group(str(name).replace("/", "_"), places, [] if nothing else flat(step)))
    return found


def _places(columns: Any, transformer: Any) -> list[int]:
    """Return the places of columns as a ColumnTransformer may name them: names, indices, a slice or a mask."""
    count, names = int(transformer.n_features_in_), list(getattr(transformer, "feature_names_in_", ()))
    if isinstance(columns, slice):
        edges = [names.index(edge) if isinstance(edge, str) else edge for edge in (columns.start, columns.stop)]
        if isinstance(columns.stop, str):
            edges[1] += 1  # a slice of names has its last name
        return list(range(count)[slice(edges[0], edges[1], columns.step)])
    listed: list[Any] = [columns] if isinstance(columns, (str, int, np.integer)) else list(columns)
    if listed and all(isinstance(one, (bool, np.bool_)) for one in listed):
        return [int(place) for place in np.flatnonzero(listed)]
    return [names.index(one) if isinstance(one, str) else int(one) % count for one in listed]


def in_branches(transformer: Any, dtype: str, flat: Any) -> Columns:
    """Return the layers of a ColumnTransformer that knows its columns by name: a branch for each group of columns."""
    names = list(transformer.feature_names_in_)
    stacks, taken, members, width = {}, {}, list[int](), 0
    weights: list[tuple[Layer, Sequence[Array]]] = []
    for group in _groups(transformer, flat):
        columns = Columns.of(len(group.places), dtype)
        columns.apply(group.steps)
        stacks[group.name], taken[group.name] = columns.layers, [str(names[place]) for place in group.places]
        members += [width + place for place in columns.places]
        width += len(columns.layout)
        weights += columns.weights
    joined = Columns(width, layers.Branches(stacks, taken, dtype=dtype))
    joined.members, joined.weights = members, weights
    return joined


def in_one_row(transformer: Any, dtype: str, flat: Any) -> Columns:
    """Return the layers of a ColumnTransformer that knows its columns by place: each layer takes some of them."""
    columns, groups = Columns.of(int(transformer.n_features_in_), dtype), _groups(transformer, flat)
    used = [place for group in groups for place in group.places]
    if len(set(used)) < len(used):
        raise ValueError(
            "estimator has a ColumnTransformer that uses a column twice: fit it to a data frame with names"
        )
    members, left = [group.places for group in groups], [group.steps for group in groups]
    encoded = [k for k, steps in enumerate(left) if _split(steps)[0]]
    if encoded:
        for k, found in zip(encoded, columns.look_up([(members[k], _split(left[k])[0]) for k in encoded]), strict=True):
            members[k], left[k] = found, _split(left[k])[1]
    for k, steps in enumerate(left):  # all that fills in, before anything computes
        imputers = list(itertools.takewhile(lambda step: kind_of(step) == "SimpleImputer", steps))
        members[k], left[k] = columns.compute(members[k], imputers), steps[len(imputers) :]
    members = [columns.compute(some, steps) for some, steps in zip(members, left, strict=True)]
    columns.members = [member for some in members for member in some]
    return columns
