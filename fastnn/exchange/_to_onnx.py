"""Models as ONNX: one graph that holds the weights, the preprocessing, and the names of inputs and outputs."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastnn import _file, config, plan
from fastnn._model import Exported
from fastnn._op import Op
from fastnn._version import __version__
from fastnn.exchange._to_onnx_columns import discretize, embedding, encode, impute, piecewise, quantiles
from fastnn.exchange._to_onnx_graph import Graph, Rows, Value
from fastnn.exchange._to_onnx_inputs import Input, Source, read
from fastnn.exchange._to_onnx_ops import OF_ANY_AXES, WRITERS, alike
from fastnn.layers import Residual
from fastnn.layers.base import Layer
from fastnn.layers.container import Container, Parallel

OLDEST, NEWEST = 13, 28
_LARGEST = 2**31 - 2**20  # bytes of constants: a message of protobuf has less than 2 GiB

_OF_REAL = WRITERS | {"impute": impute, "discretize": discretize, "quantiles": quantiles, "piecewise": piecewise}
_OF_CATEGORIES = {"embedding": embedding, "encode": encode}
_PASSED_ON = ("dropout", "gaussian")  # do nothing outside training
_OF_COLUMNS = ("join", "take", "add")  # read what others have made, as it lies
KNOWN = {*_OF_REAL, *_OF_CATEGORIES, *_PASSED_ON, *_OF_COLUMNS}  # all ops


def save(model: Exported, filepath: str | os.PathLike[str], opset: int) -> None:
    """Write a model as ONNX; see :meth:`fastnn.Sequential.export_onnx`."""
    try:
        import onnx
    except ImportError:
        raise ImportError("export_onnx needs onnx: pip install 'fastnn-cpu[onnx]'") from None
    newest = min(NEWEST, onnx.defs.onnx_opset_version())
    if isinstance(opset, bool) or not isinstance(opset, (int, np.integer)):
        raise TypeError(f"opset must be an integer, got {type(opset).__name__}")
    if not OLDEST <= opset <= newest:
        raise ValueError(f"opset must lie between {OLDEST} and {newest}, got {opset}")
    with model._home.lock:
        _file.write(filepath, lambda: [_described(model, int(opset)).SerializeToString(deterministic=True)])


def _check_size(count: int) -> None:
    """Raise where constants of so many bytes are more than one message can hold."""
    if count > _LARGEST:
        raise ValueError(
            f"export_onnx needs weights of less than 2 GiB, which is what one file of ONNX holds, got {count:,} bytes"
        )


def _described(model: Exported, opset: int) -> Any:
    """Return the model as a message of ONNX; the caller holds the model's lock."""
    engine = model._need_engine("export_onnx")
    model._heed_changes()
    held = engine.plan
    policy = config.MIXED if held.bfloat16 else held.dtype
    lowered = plan.lower(model.layers, held.inputs, policy)
    _check_size(engine.parameters.nbytes)  # before any of them is copied
    ops = plan.link([op for placed in lowered.layers for op in placed.ops])
    graph = Graph(lowered.dtype, opset, lowered.parameters, engine.parameters)
    sources = list(_sources(model, lowered.inputs))
    outputs = ["y"] if model._heads is None else list(model._heads.outputs)
    inputs: list[Input] = []
    x: Value = ()
    for source in sources:
        found, value = read(graph, source, ops)
        inputs += found
        x += value
    results = _Walk(graph, ops, list(_places(model.layers, lowered)), x, model._heads is not None).outputs()
    names = [graph.free(name, "_output") for name in outputs]
    ends = _ended(graph, [graph.flat(graph.real(graph.one(value))) for value in results], names)
    _check_size(sum(len(constant.raw_data) for constant in graph.constants.values()))
    return _message(model, graph, inputs, ends, _metadata(model, inputs, names))


def _sources(model: Exported, inputs: int) -> Iterator[Source]:
    """Yield what the model reads under names of their own: its branches, or x."""
    branches = model._branches
    if branches is None:
        names = model.feature_names or ()
        yield Source("x", "", model.layers, 0, inputs, model.input_shape[1:], tuple(map(str, names)))
        return
    start = 0
    for stack in branches._layers:
        name = str(stack.name)
        width = stack._widths[0]
        axes = stack.input_axes or (width,)
        keys = branches.columns[name]
        known = tuple(map(str, keys)) if len(keys) == width else model.column_names.get(f"x[{keys[0]!r}]", ())
        yield Source(name, f"{branches.name}/{name}", stack._layers, start, width, axes, known)
        start += width


def _places(layers: Sequence[Layer], lowered: plan.Plan) -> Iterator[str]:
    """Yield what the names of the nodes of each op begin with: the name of its layer, after those around it."""
    for layer, placed in zip(layers, lowered.layers, strict=True):
        offsets = {spec.name: spec.offset for spec in placed.parameters}
        yield from _places_in(layer, str(layer.name), offsets)


def _places_in(layer: Layer, place: str, offsets: dict[str, int]) -> Iterator[str]:
    if not isinstance(layer, Container):
        yield from [place] * len(layer.lower(offsets))
        return
    own = layer.offsets_within(offsets)
    for inner in layer._layers:
        here = f"{place}/{inner.name}"
        within = list(_places_in(inner, here, own[str(inner.name)]))
        yield from within or [here] * isinstance(layer, Parallel)  # a branch without ops is copied
    if isinstance(layer, (Parallel, Residual)):
        yield place  # the join, or the addition


class _Walk:
    """Ops one after the other, as nodes of a graph.

    Parameters
    ----------
    graph : Graph
    ops : list of Op
        With indices of what they read.
    places : list of str
        What the names of the nodes of each op begin with.
    x : Value
        The columns of x.
    has_heads : bool
        Whether the last op joins the outputs of heads, which stay apart here.
    """

    def __init__(self, graph: Graph, ops: list[Op], places: list[str], x: Value, has_heads: bool) -> None:
        self.graph, self.ops, self.places, self.x, self.has_heads = graph, ops, places, x, has_heads
        self.results: list[Value] = []
        parts: dict[int, list[int]] = defaultdict(list)
        for k, op in enumerate(ops):
            if op.join >= 0:
                parts[op.join].append(k)
        self.parts = {at: sorted(some, key=lambda k: ops[k].column) for at, some in parts.items()}
        self.together = {at: some for at, some in self.parts.items() if self._are_alike(some)}

    def _are_alike(self, some: list[int]) -> bool:
        """Whether ops are one activation of columns that lie side by side, as those of members are."""
        first = self.ops[some[0]]
        alike = [
            first._replace(
                first=first.first + k * first.inputs, column=first.column + k * first.inputs, input=first.input
            )
            for k in range(len(some))
        ]
        plain = first.name == "activation" and first.activation != "linear"
        same = [self.ops[k]._replace(join=first.join, activity=first.activity) for k in some]
        return len(some) > 1 and plain and same == alike

    def outputs(self) -> list[Value]:
        """Append the nodes of all ops, and return the outputs: one of each head."""
        skipped = {k for some in self.together.values() for k in some}
        for k, op in enumerate(self.ops):
            self.graph.place = self.places[k]
            self.results.append(() if k in skipped else self._result(k, op))
        if not self.ops:
            return [self.x]
        last = len(self.ops) - 1
        return [self.results[k] for k in self.parts[last]] if self.has_heads else [self.results[last]]

    def _read(self, at: int, first: int, width: int) -> Value:
        return self.graph.part(self.x if at < 0 else self.results[at], first, width)

    def _result(self, k: int, op: Op) -> Value:
        graph = self.graph
        if op.name == "join":
            return self._joined(k)
        value = self._read(op.input, op.first, op.inputs)
        if op.name in _PASSED_ON or (op.name == "activation" and op.activation == "linear"):
            return value
        if op.name == "take":
            return self._taken(op, value)
        if op.name in _OF_CATEGORIES:
            return (_OF_CATEGORIES[op.name](graph, op, graph.flat(graph.one(value))),)
        x = graph.real(graph.one(value))
        if op.name in OF_ANY_AXES:
            return (WRITERS[op.name](graph, op, x),)
        x = graph.flat(x)
        if op.name == "add":
            source = self.ops[op.source]
            added = graph.flat(graph.real(graph.one(self._read(source.input, source.first, op.inputs))))
            return (Rows(graph.node("Add", x.name, added.name), op.outputs),)
        return (_OF_REAL[op.name](graph, op, x),)

    def _joined(self, k: int) -> Value:
        """Return the results of the ops whose join this is, side by side."""
        some = self.parts[k]
        if k in self.together:
            ops = [self.ops[part] for part in some]
            width = sum(op.inputs for op in ops)
            x = self.graph.real(self.graph.one(self._read(ops[0].input, ops[0].first, width)))
            return (alike(self.graph, ops, x),)
        return tuple(rows for part in some for rows in self.results[part])

    def _taken(self, op: Op, value: Value) -> Value:
        """Return runs of columns: as tensors of their own where they are few."""
        runs = np.reshape(np.asarray(op.vector, np.int64), (-1, 2)).tolist()
        starts = set(np.cumsum([0, *(rows.width for rows in value)]).tolist())
        if len(runs) == 1 or all({first, first + count} <= starts for first, count in runs):
            return tuple(rows for first, count in runs for rows in self.graph.part(value, first, count))
        return self.graph.gather(value, [place for first, count in runs for place in range(first, first + count)])


def _ended(graph: Graph, results: list[Rows], names: list[str]) -> list[tuple[str, int]]:
    """Give the outputs their names, and return each name with the number of columns."""
    given = [rows.name for rows in results]
    for rows, name in zip(results, names, strict=True):
        tensor = rows.name
        if given.count(tensor) > 1 or not graph.makes(tensor):  # that of several outputs, or an input
            graph.place = name
            tensor = graph.node("Identity", tensor)
        graph.rename(tensor, name)
    return [(name, rows.width) for rows, name in zip(results, names, strict=True)]


def _metadata(model: Exported, inputs: list[Input], outputs: list[str]) -> dict[str, str]:
    """Return what is known of columns, as JSON by the names of inputs and outputs."""
    known = model.column_names
    heads = [] if model._heads is None else list(model._heads.outputs)
    places = [f"y[{head!r}]" for head in heads] or ["y"]
    told = {
        "input_columns": {given.name: given.columns for given in inputs if given.columns},
        "output_columns": {name: known[place] for name, place in zip(outputs, places, strict=True) if place in known},
    }
    return {key: json.dumps(names) for key, names in told.items() if names}


def _message(
    model: Exported, graph: Graph, inputs: list[Input], ends: list[tuple[str, int]], metadata: dict[str, str]
) -> Any:
    """Return the whole message."""
    from onnx import helper

    element = helper.np_dtype_to_tensor_dtype(graph.dtype)
    made = helper.make_graph(
        graph.nodes,
        model.name,
        [given.described(graph) for given in inputs],
        [helper.make_tensor_value_info(name, element, ["rows", width]) for name, width in ends],
        list(graph.constants.values()),
    )
    opsets = [helper.make_opsetid("", graph.opset)]
    if graph.ml_opset:
        opsets.append(helper.make_opsetid("ai.onnx.ml", graph.ml_opset))
    message = helper.make_model(
        made,
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="fastnn",
        producer_version=__version__,
        doc_string=f"{model.name}, a network of fastnn {__version__}",
    )
    helper.set_model_props(message, metadata)
    return message
