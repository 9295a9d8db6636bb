"""The graph of an ONNX file as it is written: nodes, constants, and tensors with a row for each row of x."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._op import ParameterSpec

if TYPE_CHECKING:
    import onnx

Array = npt.NDArray[Any]
INVALID = -1  # a whole number in the place of what is no category: what is made of it is NaN
NO_COLUMN = -2  # a whole number that sets no column, where categories become columns
_FEW = 8  # constants of at most so many numbers are named by these, and one stands for all equal ones
_ML = "ai.onnx.ml"


class Rows(NamedTuple):
    """A tensor of the graph that has a row for each row of x.

    Attributes
    ----------
    name : str
        The tensor's name.
    width : int
        The number of its columns.
    kind : {"real", "float64", "whole", "text"}
        Whether it holds numbers of the model's dtype, those of float64, categories as int64, or text.
    categories : int or None
        How many categories there are, which are whole numbers below that, where it is known; INVALID and NO_COLUMN may
        stand in the place of one.
    may_be_invalid : bool
        Of categories whose number is known: whether INVALID may be among them.
    axes : tuple of int
        Of a tensor whose rows have several axes: these. The columns are what its numbers are in order.
    """

    name: str
    width: int
    kind: str = "real"
    categories: int | None = None
    may_be_invalid: bool = False
    axes: tuple[int, ...] = ()


# tensors side by side, which become one where a node needs one
Value = tuple[Rows, ...]


class Graph:
    """Nodes and constants of a graph, with names that say where they come from.

    Parameters
    ----------
    dtype : {"float32", "float64"}
        The dtype of the model's numbers.
    opset : int
        The version of ONNX's operators that nodes are made of.
    parameters : sequence of ParameterSpec
        Where the model's parameters lie in `memory`.
    memory : ndarray
        The buffer of the parameters.

    Attributes
    ----------
    place : str
        The layer whose nodes come next; names begin with it.
    ml_opset : int
        The version of the operators in the domain ai.onnx.ml that is needed; 0 where none is.
    """

    def __init__(self, dtype: str, opset: int, parameters: Sequence[ParameterSpec], memory: Array) -> None:
        from onnx import helper, numpy_helper

        self.dtype, self.opset, self.place, self.ml_opset = np.dtype(dtype), opset, "", 0
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._make_node, self._make_tensor = helper.make_node, numpy_helper.from_array
        self._element = helper.np_dtype_to_tensor_dtype
        self._specs = {spec.offset: spec for spec in parameters}
        self._memory = memory
        self._names: dict[str, int] = {}  # how often a name was asked for
        self._equal: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._joined: dict[tuple[str, ...], Rows] = {}
        self._flat: dict[str, str] = {}  # tensors whose rows have several axes, with one

    @property
    def is_double(self) -> bool:
        """Whether the model's numbers are float64."""
        return self.dtype == np.float64

    # ---- constants ----

    def free(self, name: str, instead: str = "") -> str:
        """Return the name; where it is taken, with `instead` after it, or a number."""
        if name in self._names and instead:
            return self.free(f"{name}{instead}")
        count = self._names[name] = self._names.get(name, -1) + 1
        return self.free(f"{name}_{count}") if count else name

    def constant(self, values: Any, dtype: Any = None, part: str = "constant") -> str:
        """Return the name of a constant with these values, of the model's dtype unless another is given.

        A few numbers are named by what they are; more are called `part` of the layer.
        """
        array = np.asarray(values, self.dtype if dtype is None else dtype)
        key = array.dtype.name, array.shape, array.tobytes()
        if key not in self._equal:
            few = str(array) if not array.ndim else str(array.tolist())
            name = self.free(f"constants/{array.dtype}/{few}" if array.size <= _FEW else f"{self.place}/{part}")
            self.constants[name] = self._make_tensor(array, name)
            self._equal[key] = name
        return self._equal[key]

    def whole(self, *numbers: int) -> str:
        """Return the name of a constant of one axis of int64, as shapes, axes and places are."""
        return self.constant(numbers, np.int64)

    def values(self, offset: int) -> Array:
        """Return the values of the parameter that lies there."""
        return self._specs[offset].view(self._memory)

    def parameter(self, offset: int, shape: tuple[int, ...] = ()) -> str:
        """Return the name of the constant that holds the parameter which lies there, in another shape where told."""
        spec = self._specs[offset]
        name = f"{spec.layer}/{spec.name}"
        array = self.values(offset)
        if shape and shape != array.shape:
            name, array = f"{name}/{list(shape)}", array.reshape(shape)
        if name not in self.constants:
            self.constants[name] = self._make_tensor(np.ascontiguousarray(array), name)
        return name

    # ---- nodes ----

    def node(self, operator: str, *inputs: str | float, domain: str = "", **attributes: Any) -> str:
        """Append a node and return the name of its result, which is the node's own; numbers become constants."""
        return self.split(operator, 1, *inputs, domain=domain, **attributes)[0]

    def split(self, operator: str, count: int, *inputs: str | float, domain: str = "", **attributes: Any) -> list[str]:
        """Append a node of several results and return their names."""
        name = self.free(f"{self.place}/{operator}")
        results = [name] if count == 1 else [f"{name}/{k}" for k in range(count)]
        read = [given if isinstance(given, str) else self.constant(given) for given in inputs]
        self.nodes.append(self._make_node(operator, read, results, name=name, domain=domain, **attributes))
        return results

    def label_encoder(self, x: str, version: int = 3, **attributes: Any) -> str:
        """Append a lookup of values, for which this version of the operators of ai.onnx.ml is needed."""
        self.ml_opset = max(self.ml_opset, version)
        return self.node("LabelEncoder", x, domain=_ML, **attributes)

    def tensor(self, values: Any, dtype: Any) -> onnx.TensorProto:
        """Return values as an attribute of a node holds them."""
        return self._make_tensor(np.asarray(values, dtype))

    def cast(self, x: str, dtype: Any) -> str:
        """Return the tensor as numbers of another dtype."""
        return self.node("Cast", x, to=self._element(np.dtype(dtype)))

    def reduce(self, operator: str, x: str, axis: int, *, keepdims: bool = False) -> str:
        """Return sums, means or the like along an axis.

        The axis counts from the first one: of a tensor without rows, ONNX Runtime up to 1.23 takes no other.
        """
        by_input = self.opset >= (13 if operator == "ReduceSum" else 18)
        if by_input:
            return self.node(operator, x, self.whole(axis), keepdims=int(keepdims))
        return self.node(operator, x, axes=[axis], keepdims=int(keepdims))

    def unsqueeze(self, x: str, axis: int) -> str:
        """Return the tensor with one more axis, of length 1."""
        return self.node("Unsqueeze", x, self.whole(axis))

    def reshape(self, x: str, *lengths: int) -> str:
        """Return the tensor with other axes in a row; 0 stands for the length it has."""
        return self.node("Reshape", x, self.whole(0, *lengths))  # 0: as many rows as there are

    # ---- rows ----

    def apart(self, rows: Rows, *axes: int) -> str:
        """Return rows as a tensor whose rows have these axes."""
        return rows.name if rows.axes == axes else self.reshape(rows.name, *axes)

    def flat(self, rows: Rows) -> Rows:
        """Return rows as a tensor whose rows have one axis."""
        if not rows.axes:
            return rows
        if rows.name not in self._flat:
            self._flat[rows.name] = self.reshape(rows.name, rows.width)
        return rows._replace(name=self._flat[rows.name], axes=())

    def real(self, rows: Rows) -> Rows:
        """Return numbers as those of the model's dtype; NaN in the place of categories that are none."""
        if rows.kind == "real":
            return rows
        numbers = self.cast(rows.name, self.dtype)
        if rows.may_be_invalid:
            invalid = self.node("Equal", rows.name, self.constant(INVALID, np.int64))
            numbers = self.node("Where", invalid, np.nan, numbers)
        return Rows(numbers, rows.width, axes=rows.axes)

    def one(self, value: Value) -> Rows:
        """Return tensors that lie side by side as one, which is of real numbers unless all of them are categories."""
        if len(value) == 1:
            return value[0]
        key = tuple(rows.name for rows in value)
        if key not in self._joined:
            whole = all(rows.kind == "whole" for rows in value)
            parts = tuple(map(self.flat, value if whole else map(self.real, value)))
            name = self.node("Concat", *(rows.name for rows in parts), axis=1)
            width = sum(rows.width for rows in parts)
            self._joined[key] = Rows(name, width)
            if whole:
                counts = [rows.categories for rows in parts]
                most = None if None in counts else max(count or 0 for count in counts)
                invalid = any(rows.may_be_invalid for rows in parts)
                self._joined[key] = Rows(name, width, "whole", most, invalid)
        return self._joined[key]

    def part(self, value: Value, first: int, width: int) -> Value:
        """Return some of the columns of tensors that lie side by side: whole tensors are passed on as they are."""
        found: list[Rows] = []
        start = 0
        for rows in value:
            low, high = max(first - start, 0), min(first + width - start, rows.width)
            if low < high:
                found.append(rows if high - low == rows.width else self._slice(rows, low, high))
            start += rows.width
        return tuple(found)

    def _slice(self, rows: Rows, low: int, high: int) -> Rows:
        rows = self.flat(rows)
        name = self.node("Slice", rows.name, self.whole(low), self.whole(high), self.whole(1))
        return rows._replace(name=name, width=high - low)

    def gather(self, value: Value, places: Sequence[int]) -> Value:
        """Return columns of tensors that lie side by side, in the order of their places."""
        rows = self.flat(self.one(value))
        return (rows._replace(name=self.node("Gather", rows.name, self.whole(*places), axis=1), width=len(places)),)

    def rename(self, tensor: str, name: str) -> None:
        """Give the result of a node, which is an output of the graph, its name, wherever it is read."""
        for node in self.nodes:
            for k, result in enumerate(node.output):
                if result == tensor:
                    node.output[k] = name
            for k, read in enumerate(node.input):
                if read == tensor:
                    node.input[k] = name

    def makes(self, tensor: str) -> bool:
        """Whether a node of the graph makes the tensor, which is no input then."""
        return any(tensor in node.output for node in self.nodes)
