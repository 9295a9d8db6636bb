"""The inputs of an ONNX graph, and lookups: raw columns of text and numbers become the numbers that the engine gets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastnn._op import Op
from fastnn.exchange._to_onnx_graph import INVALID, NO_COLUMN, Graph, Rows, Value
from fastnn.layers import CategoricalEmbedding, IntegerLookup, StringLookup
from fastnn.layers.base import Layer

if TYPE_CHECKING:
    import onnx

_UNKNOWN = (
    -3
)  # a whole number in the place of one that a vocabulary lacks, where a further formula says what becomes of it


class Input(NamedTuple):
    """An input of the graph.

    Attributes
    ----------
    name : str
    kind : {"real", "whole", "text", "float64"}
        What it holds: numbers of the model's dtype, int64, text, or numbers of float64.
    axes : tuple of int
        The shape of a row.
    columns : tuple of str
        The names of its columns; empty where they are not known.
    """

    name: str
    kind: str
    axes: tuple[int, ...]
    columns: tuple[str, ...] = ()

    def described(self, graph: Graph) -> onnx.ValueInfoProto:
        """Return the input as the graph lists it."""
        from onnx import TensorProto, helper

        element = {
            "real": TensorProto.DOUBLE if graph.is_double else TensorProto.FLOAT,
            "float64": TensorProto.DOUBLE,
            "whole": TensorProto.INT64,
            "text": TensorProto.STRING,
        }[self.kind]
        told = f"columns: {json.dumps(self.columns)}" if self.columns else ""
        return helper.make_tensor_value_info(self.name, element, ["rows", *self.axes], told)


class Source(NamedTuple):
    """What the model reads under one name: a branch, or x.

    Attributes
    ----------
    name : str
    place : str
        What the names of nodes begin with.
    layers : sequence of Layer
        The layers that read it.
    start, width : int
        Where its columns lie in a row of x, and how many they are.
    axes : tuple of int
        The shape of a row.
    columns : tuple of str
        The names of its columns; empty where they are not known.
    """

    name: str
    place: str
    layers: Sequence[Layer]
    start: int
    width: int
    axes: tuple[int, ...]
    columns: tuple[str, ...]


def read(graph: Graph, source: Source, ops: Sequence[Op]) -> tuple[list[Input], Value]:
    """Return the inputs for what the model reads under a name, and the columns as the first op gets them.

    `ops` are those of the model.
    """
    raw = list(_raw_layers(source.layers, source.place))
    graph.place = source.place
    inputs = list(_inputs(graph, source, raw[0][1] if raw else None, ops))
    value = tuple(_rows(graph, one) for one in inputs)
    for place, layer in raw:
        graph.place = place
        if isinstance(layer, CategoricalEmbedding):
            value = _of_columns(graph, layer, value)
        else:
            value = (_looked_up(graph, layer, graph.one(value)),)
    return inputs, value


def _raw_layers(layers: Sequence[Layer], place: str) -> Iterator[tuple[str, Any]]:
    """Yield the layers that read raw data, one after the other, each after its place."""
    for layer in layers:
        here = "/".join(filter(None, (place, str(layer.name))))
        if layer.in_line:
            yield from _raw_layers(layer._layers, here)
        elif layer.prepares:
            yield here, layer
        if not layer.idle:
            return


def _inputs(graph: Graph, source: Source, reader: Layer | None, ops: Sequence[Op]) -> Iterator[Input]:
    """Yield the one input of a source, or one for each of its columns where these are not of one kind."""
    kinds = _kinds(graph, source, reader, ops)
    if len(set(kinds)) == 1:
        yield Input(graph.free(source.name), kinds[0], source.axes, source.columns)
        return
    for k, kind in enumerate(kinds):
        name = source.columns[k] if source.columns else f"{source.name}_{k}"
        yield Input(graph.free(name), kind, (1,), (name,))


def _kinds(graph: Graph, source: Source, reader: Layer | None, ops: Sequence[Op]) -> list[str]:
    """Return the kind of each column."""
    if isinstance(reader, CategoricalEmbedding):
        kinds = ["real"] * source.width
        for place, values in zip(reader._places, reader.vocabularies or (), strict=True):
            kinds[place] = _kind_of(graph, reader, values, source.columns[place] if source.columns else str(place))
        if set(kinds) == {"real", "float64"}:
            return ["float64"] * source.width
        return kinds
    text = isinstance(reader, StringLookup)
    whole = isinstance(reader, IntegerLookup) or _reads_categories(source, ops)
    return ["text" if text else "whole" if whole else "real"] * source.width


def _kind_of(graph: Graph, layer: Layer, values: Sequence[Any], column: str) -> str:
    """Return what a column with these values holds; raise where it is text and numbers, of which a tensor has one."""
    text = [isinstance(value, str) for value in values]
    if any(text) and not all(text):
        raise ValueError(
            f"{layer._called} cannot be exported: column {column!r} has text and numbers as values, and a tensor of "
            f"ONNX holds one of the two: make text of all"
        )
    if any(text):
        return "text"
    numbers = np.array([float(value) for value in values])
    return "real" if (numbers.astype(graph.dtype) == numbers).all() else "float64"


def _reads_categories(source: Source, ops: Sequence[Op]) -> bool:
    """Whether nothing but categories is made of the source's columns."""
    end = source.start + source.width
    readers = {op.name for op in ops if op.input < 0 and op.first < end and source.start < op.first + op.inputs}
    readers -= {"join"}
    return bool(readers) and readers <= {"embedding", "encode"}


def _rows(graph: Graph, given: Input) -> Rows:
    """Return an input as rows of one axis."""
    width = int(np.prod(given.axes))
    name = graph.reshape(given.name, width) if len(given.axes) > 1 else given.name
    return Rows(name, width, given.kind)


# ---- lookups ----


def _looked_up(graph: Graph, layer: StringLookup | IntegerLookup, x: Rows) -> Rows:
    """Return the index of each token."""
    tokens, spread = list(layer.vocabulary or ()), layer.num_oov_indices
    special = layer.vocabulary_size() - len(tokens)
    indices = [special + place for place in range(len(tokens))]
    if layer.mask_token is not None:
        tokens.append(layer.mask_token)
        indices.append(0 if layer.output_mode == "int" else NO_COLUMN)
    first = special - spread  # the first of the indices of unknown tokens
    if spread > 1 and isinstance(layer, StringLookup):
        raise ValueError(
            f"{layer._called} cannot be exported with num_oov_indices={spread}: the CRC-32 of an unknown token says "
            f"which it gets, and ONNX cannot compute that: make the layer with num_oov_indices=1"
        )
    if isinstance(layer, StringLookup):
        default = first if spread else INVALID
        name = graph.label_encoder(x.name, keys_strings=tokens, values_int64s=indices, default_int64=default)
    else:
        default = {0: INVALID, 1: first}.get(spread, _UNKNOWN)
        name = graph.label_encoder(x.name, keys_int64s=tokens, values_int64s=indices, default_int64=default)
    if default == _UNKNOWN:
        unknown = graph.node("Equal", name, graph.constant(_UNKNOWN, np.int64))
        other = graph.node("Mod", x.name, graph.constant(spread, np.int64))
        other = graph.node("Add", other, graph.constant(first, np.int64)) if first else other
        name = graph.node("Where", unknown, other, name)
    return Rows(name, x.width, "whole", layer.vocabulary_size(), may_be_invalid=not spread)


def _of_columns(graph: Graph, layer: CategoricalEmbedding, value: Value) -> Value:
    """Return the columns as the engine gets them: those of categories as numbers, in the order of their kinds."""
    each = _each_column(graph, value)
    order, signs = list(layer._places), set(_signs(layer))
    found = list(each)
    for place, (member, numbers) in zip(order, layer.numbers(), strict=True):
        column = each[order[member]]
        values = (layer.vocabularies or ())[member]
        name = _found(graph, column, values, numbers.tolist())
        rows = Rows(name, 1, "whole", int(numbers.max()) + 1)
        found[place] = graph.real(rows) if member in signs else rows
    return tuple(found)


def _signs(layer: CategoricalEmbedding) -> list[int]:
    """Return which of the columns that the layer takes become signs."""
    return layer._kinds()["sign"]


def _each_column(graph: Graph, value: Value) -> list[Rows]:
    """Return each column by itself."""
    rows = graph.one(value) if len(value) == 1 else None
    if rows is None or rows.width == 1:
        return list(value)
    names = graph.split("Split", rows.width, rows.name, graph.whole(*[1] * rows.width), axis=1)
    return [rows._replace(name=name, width=1) for name in names]


def _found(graph: Graph, column: Rows, values: Sequence[Any], numbers: list[int]) -> str:
    """Return the number of each value of a column; the last two of `numbers` are of unknown and of missing values.

    Text has no missing values in ONNX: the empty text stands for them, unless it is a value.
    """
    *known, unknown, missing = numbers
    keys: list[Any] = list(values)
    if column.kind == "text":
        if "" not in keys:
            keys, known = [*keys, ""], [*known, missing]
        return graph.label_encoder(column.name, keys_strings=keys, values_int64s=known, default_int64=unknown)
    dtype = np.dtype(np.float64) if column.kind == "float64" else graph.dtype
    x = column.name if column.kind != "whole" else graph.cast(column.name, dtype)
    return graph.label_encoder(
        x,
        4,
        keys_tensor=graph.tensor([*map(float, keys), np.nan], dtype),
        values_tensor=graph.tensor([*known, missing], np.int64),
        default_tensor=graph.tensor([unknown], np.int64),
    )
