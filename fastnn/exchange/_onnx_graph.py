"""The graph of an ONNX file, node after node, in the form of :mod:`fastnn.exchange._onnx_rows`."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from fastnn._file import ModelFileError
from fastnn.exchange._onnx_constants import Constant
from fastnn.exchange._onnx_files import MAX_DEPTH, Function, Graph, Node, Subgraph
from fastnn.exchange._onnx_files import Value as Declared
from fastnn.exchange._onnx_folding import fold
from fastnn.exchange._onnx_formulas import as_formula
from fastnn.exchange._onnx_operators import OPERATORS
from fastnn.exchange._onnx_rows import Applied, Entry, UnfitError
from fastnn.exchange._onnx_tensors import STRING, Tensor, name_of_type
from fastnn.exchange._onnx_values import Context, Flow, Unknown, Value
from fastnn.exchange._protobuf import Budget

OLDEST, NEWEST = 7, 28  # the opsets whose operators mean what this package takes them to mean
MAX_NODES = 2**14


# ---- functions ----


def _inlined(nodes: list[Node], graph: Graph, budget: Budget, depth: int = 0) -> list[Node]:
    """Return nodes with those of functions in the place of their calls."""
    found: list[Node] = []
    for node in nodes:
        function = graph.functions.get((node.domain, node.op))
        if function is None:
            found.append(node)
            continue
        if depth >= MAX_DEPTH:
            raise ModelFileError(f"its functions call each other more than {MAX_DEPTH} deep")
        found += _inlined(_body(node, function, budget), graph, budget, depth + 1)
        if len(found) > MAX_NODES:
            raise ModelFileError(f"it has more than {MAX_NODES} nodes")
    return found


def _body(call: Node, function: Function, budget: Budget) -> list[Node]:
    """Return the nodes of a function, with the names of this call and its attributes."""
    budget.charge(2048 * len(function.nodes), "a function")
    names = {"": ""}
    names |= dict(zip(function.inputs, [*call.inputs, *[""] * len(function.inputs)], strict=False))
    names |= dict(zip(function.outputs, call.outputs, strict=False))
    prefix = f"{call.outputs[0] if call.outputs else ''}/{function.name}/"
    given = {**function.defaults, **call.attributes}

    def named(name: str) -> str:
        return names.get(name, prefix + name)

    body = []
    for node in function.nodes:
        referred = {name: given[outer] for name, outer in node.references.items() if outer in given}
        body.append(
            replace(
                node,
                inputs=[named(name) for name in node.inputs],
                outputs=[named(name) for name in node.outputs],
                attributes={**node.attributes, **referred},
                references={},
            )
        )
    return body


# ---- entries ----


def _entry(declared: Declared, context: Context) -> Flow:
    """Return the value of an input of the graph."""
    if declared.kind or declared.axes is None:
        kind = declared.kind or "tensor of unknown shape"
        raise UnfitError(f"the input {declared.name[:80]!r} is a {kind}, and x is rows of numbers")
    if declared.data_type in (STRING, 14, 15) or not 1 <= declared.data_type <= 16:
        raise UnfitError(f"the input {declared.name[:80]!r} holds {name_of_type(declared.data_type)}, not numbers")
    if not declared.axes or len(declared.axes) > 8:
        raise UnfitError(f"the input {declared.name[:80]!r} has {len(declared.axes)} axes, and x has rows")
    rows, *axes = declared.axes
    if rows is not None and not axes and rows != 1:
        raise UnfitError(
            f"the input {declared.name[:80]!r} is one row of {rows} numbers: export it for a batch of rows"
        )
    if rows is not None:
        context.rows.add(rows)
    if len(axes) > 1 and None in axes:
        raise UnfitError(f"the input {declared.name[:80]!r} has rows of several axes of unknown length")
    width: int | None = 1
    for axis in axes:
        width = None if axis is None or width is None else width * axis
    context.budget.charge(64 * (width or 0), f"rows of shape {tuple(axes)}")
    whole = declared.data_type not in (1, 10, 11, 16)
    return Flow(as_formula(Entry(width, declared.name, tuple(axes), whole)), tuple(axes), whole)


# ---- nodes ----


def _read(node: Node) -> list[str]:
    """Return the names of the inputs whose numbers a node reads."""
    return node.inputs[: {"CastLike": 1, "Shape": 0, "Size": 0}.get(node.op, len(node.inputs))]


class Evaluation:
    """The values of a graph's names, found by going through its nodes in their order.

    Parameters
    ----------
    graph : Graph
    budget : Budget
    """

    def __init__(self, graph: Graph, budget: Budget) -> None:
        self._check_opsets(graph)
        if len(graph.nodes) > MAX_NODES:
            raise ModelFileError(f"it has more than {MAX_NODES} nodes")
        self.nodes = _inlined(graph.nodes, graph, budget)
        self._uses = Counter(name for node in self.nodes for name in _read(node))
        self._uses.update(output.name for output in graph.outputs)
        opsets = {**{k: v for f in graph.functions.values() for k, v in f.opsets.items()}, **graph.opsets}
        self._context = Context(budget, opsets, self._uses)
        self.values: dict[str, Value] = {}
        self.entries: list[Entry] = []
        for tensor in graph.tensors.values():
            self.values[tensor.name] = self._constant(tensor)
        for declared in graph.inputs:
            self._enter(declared)
        for node in self.nodes:
            self._evaluate(node)

    def _check_opsets(self, graph: Graph) -> None:
        opset = graph.opsets.get("", 1 if not graph.opsets else OLDEST)
        if not OLDEST <= opset <= NEWEST:
            raise UnfitError(f"it is of opset {opset}, and fastnn reads those from {OLDEST} to {NEWEST}")
        if graph.sparse:
            raise UnfitError("it has sparse tensors, which fastnn does not read")

    def _constant(self, tensor: Tensor) -> Value:
        if tensor.data_type == STRING:
            return Unknown("texts", label=True)
        return Constant(tensor, self._context.budget)

    def _enter(self, declared: Declared) -> None:
        if declared.name in self.values:
            if isinstance(self.values[declared.name], Flow):
                raise ModelFileError(f"it names the input {declared.name[:80]!r} twice")
            return  # old files name their tensors among the inputs
        try:
            value = _entry(declared, self._context)
        except UnfitError as error:
            self.values[declared.name] = Unknown(str(error))
            return
        self.values[declared.name] = value
        leaf: Any = value.formula.leaf
        self.entries.append(leaf)

    def _evaluate(self, node: Node) -> None:
        inputs = []
        for name in node.inputs:
            if name and name not in self.values:
                raise ModelFileError(f"{node} reads {name[:80]!r}, which nothing before it gives")
            inputs.append(self.values[name] if name else None)
        for name in node.outputs:
            if name and name in self.values:
                raise ModelFileError(f"it gives {name[:80]!r} twice")
        while inputs and inputs[-1] is None:
            inputs.pop()
        found = self._meaning(node, inputs)
        for name, value in zip(node.outputs, [*found, *[Unknown("an output of no use")] * 8], strict=False):
            if name:
                self.values[name] = value
                self._name(name, value)
        for name in node.outputs[len(found) + 8 :]:
            self.values[name] = Unknown("an output of no use")

    def _meaning(self, node: Node, inputs: list[Value | None]) -> list[Value]:
        """Return what a node gives; what no layer computes is an Unknown, which may be of no use to the outputs."""
        unknown = next((value for value in inputs if isinstance(value, Unknown)), None)
        if unknown is not None:
            return [unknown] * len(node.outputs)
        context = self._context
        context.attributes, context.names, context.outputs = node.attributes, node.inputs, len(node.outputs)
        try:
            if node.op == "Constant" and not node.domain:
                return [self._constant_of(node)]
            if inputs and not node.domain and all(value is None or isinstance(value, Constant) for value in inputs):
                constants: Any = inputs
                folded = fold(context, node.op, constants)
                if folded is not None:
                    return [folded]
            meaning = OPERATORS.get((node.domain, node.op))
            if meaning is None:
                return [Unknown(f"{node} is of an operator that no layer has")] * len(node.outputs)
            given = meaning(context, inputs)
            found = given if isinstance(given, list) else [given]
            looked_up = node.op == "OneHot" or (node.op == "Gather" and isinstance(inputs[0], Constant))
            if not looked_up and any(isinstance(value, Flow) and value.cut for value in inputs):
                for value in found:
                    if isinstance(value, Flow):
                        value.cut = True
            return found
        except UnfitError as error:
            return [Unknown(f"{node}: {error}")] * len(node.outputs)
        except (IndexError, ValueError, TypeError, KeyError, ZeroDivisionError, OverflowError) as error:
            if isinstance(error, ModelFileError):
                raise
            return [Unknown(f"{node} has other inputs or attributes than its operator")] * len(node.outputs)

    def _constant_of(self, node: Node) -> Value:
        given = node.attributes
        for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
            if name not in given:
                continue
            value = given[name]
            if isinstance(value, Tensor):
                return self._constant(value)
            if isinstance(value, (Subgraph, str)):
                break
            return self._context.constant(np.asarray(value, np.float32 if "float" in name else np.int64))
        return Unknown("texts", label=True)

    def _name(self, name: str, value: Value) -> None:
        """Make what several nodes read a step, if it is one: they are then about its rows, not about its formula."""
        if not isinstance(value, Flow) or self._uses[name] < 2 or value.formula.leaf is not None or value.cut:
            return
        if len(value.formula.leaves) != 1:
            return
        before = value.formula
        try:
            found = value.rows()
        except UnfitError:
            return  # the nodes that read it may be about something that is one
        if isinstance(found, Applied) and found.function.name == "exponential":
            value.formula = before  # a softmax has the exponential twice
