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

    Attributes
    ----------
    width : int
        The number of columns that the layers give.
    places : list of int
        For each of scikit-learn's columns the one of the layers' that holds it.
    layers : list of Layer
    weights : list of tuple
        Layers with weights, and these.
    """

    def __init__(self, width: int, places: Iterable[int], first: Layer) -> None:
        self.width = width
        self.places = list(places)
        self.layers: list[Layer] = [first]
        self.weights: list[tuple[Layer, Sequence[Array]]] = []

    @classmethod
    def of(cls, width: int, dtype: str) -> Columns:
        """Return rows as they are at the start."""
        return cls(width, range(width), layers.Input((width,), dtype=dtype))

    @property
    def in_order(self) -> bool:
        """Whether the layers give scikit-learn's columns, and no other ones, in scikit-learn's order."""
        return self.places == list(range(self.width))

    def rows_for(self, kernel: Array) -> Array:
        """Return a kernel for the layers' columns, where `kernel` is one for scikit-learn's."""
        rows = np.zeros((self.width, kernel.shape[1]), kernel.dtype)
        np.add.at(rows, self.places, kernel)
        return rows

    def apply(self, steps: Sequence[Any]) -> None:
        """Add the layers that do what the steps do, to all columns."""
        before, rest = _split(steps)
        if before:
            (self.places,) = self.look_up([(self.places, before)])
        self.places = self.compute(self.places, rest)

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
            Where the columns that each group becomes lie; those of no group come first, in their order.
        """
        if len(self.layers) > 1:
            raise ValueError("estimator has an encoder after another step, where it reads no raw values: put it first")
        tables: dict[int, Table] = {}
        for places, steps in groups:
            for place, table in zip(places, tables_of(steps), strict=True):
                if place in tables:
                    raise ValueError(f"estimator encodes column {place} twice: fit it to a data frame with names")
                tables[place] = table
        taken = sorted(tables)
        ordered = [tables[place] for place in taken]
        left = self.width - len(taken)
        some = None if left == 0 else taken
        plain = all(table.is_one_hot for table in ordered)
        layer, sizes = _one_hot(ordered, some) if plain else self._table(ordered, some)
        self.layers.append(layer)
        starts = dict(zip(taken, itertools.accumulate([left, *sizes[:-1]]), strict=True))
        self.width = left + sum(sizes)
        return [[starts[p] + k for p in places for k in range(tables[p].size)] for places, _ in groups]

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

    def compute(self, places: list[int], steps: Sequence[Any]) -> list[int]:
        """Add the layers that do what the steps do to the columns in these places; return where the results lie."""
        for step in steps:
            kind = kind_of(step)
            if kind == "SimpleImputer":
                places = self._impute(places, step)
            elif kind in SCALERS:
                self._scale(places, step, kind)
            elif is_encoder(step):
                raise ValueError(f"estimator has {kind} after another step, where it reads no raw values: put it first")
            else:
                known = ", ".join(KNOWN)
                raise TypeError(f"estimator has the step {type(step).__name__}, which no layer does; known are {known}")
        return places

    def _scale(self, places: list[int], step: Any, kind: str) -> None:
        """Add y = factor (x - center) for each column, and the limits of a MinMaxScaler that has such."""
        order = np.argsort(places)
        columns = None if len(set(places)) == self.width else [places[k] for k in order]
        center, factor = _center_and_factor(step, kind, len(places))
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

    def _impute(self, places: list[int], step: Any) -> list[int]:
        """Add the layer that fills missing values in; it must be the first to compute, and fills in all columns."""
        check_imputer(step)
        if len(self.layers) > 1 or places != list(range(self.width)):
            raise ValueError(
                "estimator has a SimpleImputer that is not the first step for all columns: put it first, or fit a "
                "ColumnTransformer to a data frame, where it may be the first for some"
            )
        fill = np.asarray(step.statistics_, np.float64)
        there = np.isfinite(fill)
        indicator = getattr(step, "indicator_", None)
        fill = np.where(there, fill, 0.0)  # scikit-learn drops a column without a value
        self.layers.append(layers.Impute("constant", fill, add_indicator=indicator is not None))
        found = list(np.flatnonzero(there))
        if indicator is not None:
            found += [self.width + k for k in indicator.features_]
            self.width *= 2
        return [int(place) for place in found]


def _one_hot(tables: list[Table], columns: list[int] | None) -> tuple[Layer, list[int]]:
    """Return the layer for columns of zeros and ones, and the number of columns for each table."""
    sizes = [table.size for table in tables]
    ordered = [[table.values[k] for k in np.argsort(table.rows.argmax(1)) if table.rows[k].any()] for table in tables]
    most = max(map(len, ordered))
    return layers.CategoricalEmbedding(most, 1, "one_hot", vocabularies=ordered, columns=columns), sizes


def _center_and_factor(step: Any, kind: str, width: int) -> tuple[Array, Array]:
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
    found = []
    for name, step, columns in transformer.transformers_:
        if isinstance(step, str) and step == "drop":
            continue
        places = _places(columns, transformer)
        nothing = isinstance(step, str) or (kind_of(step) == "FunctionTransformer" and step.func is None)
        if places:
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
    stacks, taken, places, width = {}, {}, list[int](), 0
    weights: list[tuple[Layer, Sequence[Array]]] = []
    for group in _groups(transformer, flat):
        columns = Columns.of(len(group.places), dtype)
        columns.apply(group.steps)
        stacks[group.name], taken[group.name] = columns.layers, [str(names[place]) for place in group.places]
        places += [width + place for place in columns.places]
        width += columns.width
        weights += columns.weights
    joined = Columns(width, places, layers.Branches(stacks, taken, dtype=dtype))
    joined.weights = weights
    return joined


def in_one_row(transformer: Any, dtype: str, flat: Any) -> Columns:
    """Return the layers of a ColumnTransformer that knows its columns by place: each layer takes some of them."""
    columns, groups = Columns.of(int(transformer.n_features_in_), dtype), _groups(transformer, flat)
    used = [place for group in groups for place in group.places]
    if len(set(used)) < len(used):
        raise ValueError(
            "estimator has a ColumnTransformer that uses a column twice: fit it to a data frame with names"
        )
    encoded = {k: _split(group.steps) for k, group in enumerate(groups) if _split(group.steps)[0]}
    before = columns.width
    found = columns.look_up([(groups[k].places, encoded[k][0]) for k in encoded]) if encoded else []
    gone = {place for k in encoded for place in groups[k].places}
    moved = {old: new for new, old in enumerate(place for place in range(before) if place not in gone)}
    starts = dict(zip(encoded, found, strict=True))
    columns.places = []
    for k, group in enumerate(groups):
        places = starts[k] if k in encoded else [moved[place] for place in group.places]
        columns.places += columns.compute(places, encoded[k][1] if k in encoded else group.steps)
    return columns
