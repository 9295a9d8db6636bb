"""Files of ONNX: the messages of onnx.proto3 that a network is made of, read without the onnx package.

What a file says is checked here as far as its bytes go: sizes, names, numbers that are as many as shapes say. What the
nodes mean is the business of :mod:`fastnn.exchange._onnx_graph`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from fastnn._file import ModelFileError
from fastnn.exchange._onnx_tensors import Folder, Tensor, read_tensor
from fastnn.exchange._protobuf import BYTES, FIXED32, VARINT, Budget, Source, Span

MAX_DEPTH = 8  # most functions that call each other


class Subgraph:
    """Stands for a graph within a node, as If and Loop have one; nothing of it is read."""


@dataclass
class Node:
    """A node of a graph: what it computes, of which values, under which names."""

    op: str = ""
    domain: str = ""
    name: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)  # attributes that are those of the function around

    def __str__(self) -> str:
        """What messages call the node."""
        called = self.name or (self.outputs[0] if self.outputs else "")
        return f"node {called[:80]!r} ({self.domain + '.' if self.domain else ''}{self.op})"


@dataclass
class Value:
    """An input or output of a graph: its name, element type and axes; an axis of unknown length is None."""

    name: str = ""
    kind: str = ""  # of values that are no tensors: "sequence", "map", ...
    data_type: int = 0
    axes: list[int | None] | None = None


@dataclass
class Function:
    """A function of a model's file: nodes with names of their own."""

    name: str = ""
    domain: str = ""
    overload: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    defaults: dict[str, Any] = field(default_factory=dict)
    opsets: dict[str, int] = field(default_factory=dict)


@dataclass
class Graph:
    """What a file holds: nodes in the order in which they run, and the numbers that it comes with."""

    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    functions: dict[tuple[str, str], Function] = field(default_factory=dict)
    opsets: dict[str, int] = field(default_factory=dict)
    sparse: bool = False


class Reader:
    """Reads the messages of one file.

    Parameters
    ----------
    file : binary file
    size : int
        Its bytes.
    folder : path-like or None
        Where further files with its numbers may lie.
    """

    def __init__(self, file: BinaryIO, size: int, folder: str | os.PathLike[str] | None) -> None:
        self.budget = Budget(size)
        self.folder = Folder(folder, self.budget)
        self._source = Source(file, size, self.budget)

    def model(self) -> Graph:
        """Return the graph of a ModelProto."""
        graph = Graph()
        found: list[Span] = []
        for number, kind, value in self._source.fields((0, self._source.size)):
            if number == 7 and kind == BYTES:
                found.append(value)
            elif number == 8 and kind == BYTES:
                self._opset(value, graph.opsets)
            elif number == 25 and kind == BYTES:
                function = self._function(value)
                graph.functions[function.domain, function.name] = function
        if len(found) != 1:
            raise ModelFileError(f"it holds {len(found)} graphs in the place of one")
        self._graph(found[0], graph)
        return graph

    def _opset(self, span: Span, opsets: dict[str, int]) -> None:
        domain, version = "", 0
        for number, kind, value in self._source.fields(span):
            if number == 1 and kind == BYTES:
                domain = self._text(value)
            elif number == 2 and kind == VARINT:
                version = value
        opsets["" if domain == "ai.onnx" else domain] = version

    def _text(self, span: Span) -> str:
        return self._source.text(span, "a name")

    def _graph(self, span: Span, graph: Graph) -> None:
        for number, kind, value in self._source.fields(span):
            if kind != BYTES:
                continue
            if number == 1:
                graph.nodes.append(self._node(value))
            elif number == 5:
                tensor = read_tensor(self._source, value, self.folder)
                if tensor.name in graph.tensors:
                    raise ModelFileError(f"it names the tensor {tensor.name[:80]!r} twice")
                graph.tensors[tensor.name] = tensor
            elif number == 11:
                graph.inputs.append(self._value(value))
            elif number == 12:
                graph.outputs.append(self._value(value))
            elif number == 15:
                graph.sparse = True

    def _node(self, span: Span) -> Node:
        self._source.budget.charge(2048, "a node")
        node = Node()
        for number, kind, value in self._source.fields(span):
            if kind != BYTES:
                continue
            if number == 1:
                node.inputs.append(self._text(value))
            elif number == 2:
                node.outputs.append(self._text(value))
            elif number == 3:
                node.name = self._text(value)
            elif number == 4:
                node.op = self._text(value)
            elif number == 5:
                self._attribute(value, node)
            elif number == 7:
                domain = self._text(value)
                node.domain = "" if domain == "ai.onnx" else domain
        return node

    def _attribute(self, span: Span, node: Node) -> None:
        """Read an AttributeProto into the attributes of a node, or into its references."""
        self._source.budget.charge(512, "an attribute")
        name, reference, kind_number = "", "", 0
        single: dict[int, Any] = {}
        several: dict[int, list[Any]] = {}
        for number, kind, value in self._source.fields(span):
            if number == 1 and kind == BYTES:
                name = self._text(value)
            elif number == 21 and kind == BYTES:
                reference = self._text(value)
            elif number == 20 and kind == VARINT:
                kind_number = value
            elif number in (2, 3, 4, 5, 6):
                single[number] = self._single(number, kind, value)
            elif number in (7, 8, 9):
                several.setdefault(number, []).extend(self._several(number, kind, value))
            elif number in (10, 11, 15, 22, 23):
                single[number] = Subgraph()  # lists of tensors and graphs, types, sparse tensors
        if name in node.attributes or name in node.references:
            raise ModelFileError(f"{node} has the attribute {name[:80]!r} twice")
        if reference:
            node.references[name] = reference
            return
        field_of = {1: 2, 2: 3, 3: 4, 4: 5, 5: 6, 6: 7, 7: 8, 8: 9}.get(kind_number)
        if field_of in (7, 8, 9):
            node.attributes[name] = several.get(field_of, [])
        elif field_of in (2, 3):
            node.attributes[name] = single.get(field_of, 0.0 if field_of == 2 else 0)
        else:
            held = {**single, **several}
            node.attributes[name] = held.get(field_of or 0, next(iter(held.values()), Subgraph()))

    def _single(self, number: int, kind: int, value: Any) -> Any:
        wanted = {2: FIXED32, 3: VARINT}.get(number, BYTES)
        if kind != wanted:
            raise ModelFileError("an attribute has a value of the wrong kind")
        if number == 2:
            return float(np.frombuffer(self._source.read(value), "<f4")[0])
        if number == 3:
            return value - 2**64 if value >= 2**63 else value
        if number == 4:
            return self._source.text(value, "an attribute")
        if number == 5:
            return read_tensor(self._source, value, self.folder)
        return Subgraph()

    def _several(self, number: int, kind: int, value: Any) -> list[Any]:
        """Return the numbers or texts of one field of a list, which may be packed."""
        if number == 9 and kind == BYTES:
            return [self._source.text(value, "an attribute")]
        if number == 8 and kind == VARINT:
            self._source.budget.charge(64, "an attribute")
            return [value - 2**64 if value >= 2**63 else value]
        if number == 8 and kind == BYTES:
            numbers = self._source.integers(value, "an attribute")
            self._source.budget.charge(64 * numbers.size, "an attribute")
            return numbers.tolist()
        if number == 7 and kind in (FIXED32, BYTES) and (value[1] - value[0]) % 4 == 0:
            self._source.budget.charge(16 * (value[1] - value[0]), "an attribute")
            return np.frombuffer(self._source.read(value), "<f4").tolist()
        raise ModelFileError("an attribute has a value of the wrong kind")

    def _value(self, span: Span) -> Value:
        """Return what a ValueInfoProto says."""
        self._source.budget.charge(1024, "an input or output")
        value = Value()
        for number, kind, inner in self._source.fields(span):
            if number == 1 and kind == BYTES:
                value.name = self._text(inner)
            elif number == 2 and kind == BYTES:
                for which, of_kind, at in self._source.fields(inner):
                    if which == 1 and of_kind == BYTES:
                        self._tensor_type(at, value)
                    elif of_kind == BYTES and which != 6:
                        value.kind = {4: "sequence", 5: "map", 9: "optional", 8: "sparse tensor"}.get(which, "other")
        return value

    def _tensor_type(self, span: Span, value: Value) -> None:
        for number, kind, inner in self._source.fields(span):
            if number == 1 and kind == VARINT:
                value.data_type = inner
            elif number == 2 and kind == BYTES:
                axes: list[int | None] = []
                for which, of_kind, dim in self._source.fields(inner):
                    if which == 1 and of_kind == BYTES:
                        self._source.budget.charge(64, "a shape")
                        axes.append(self._length(dim))
                value.axes = axes

    def _length(self, span: Span) -> int | None:
        length = None
        for number, kind, value in self._source.fields(span):
            if number == 1 and kind == VARINT:
                length = value if 0 < value < 2**40 else None  # some exporters write 0 or -1 for an unknown length
        return length

    def _function(self, span: Span) -> Function:
        self._source.budget.charge(2048, "a function")
        function, texts = Function(), {1: "name", 10: "domain", 13: "overload"}
        lists: dict[int, Callable[[str], None]] = {4: function.inputs.append, 5: function.outputs.append}
        holder = Node()
        for number, kind, value in self._source.fields(span):
            if kind != BYTES:
                continue
            if number in texts:
                setattr(function, texts[number], self._text(value))
            elif number in lists:
                lists[number](self._text(value))
            elif number == 7:
                function.nodes.append(self._node(value))
            elif number == 9:
                self._opset(value, function.opsets)
            elif number == 11:
                self._attribute(value, holder)
        function.defaults = holder.attributes
        return function
