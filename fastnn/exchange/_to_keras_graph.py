"""The graph of a Keras model: its layers and operations, in Keras's order, under the names that its files give them.

Keras finds the weights of a file by the place of their layer among all layers, and an optimizer's state by the place of
the parameter among all that are trained. Both follow from how Keras sorts a graph: see :meth:`Graph.in_order`.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn.exchange._keras_layers import snake_case

LAYERS = "keras.layers"
# Keras's own files name the classes of operations by these modules, as those have no public name.
ARRAY_OPERATIONS, NETWORK_OPERATIONS = "keras.src.ops.numpy", "keras.src.ops.nn"
OPERATIONS = (
    "arctan", "celu", "cos", "gelu", "isnan", "maximum", "minimum", "sin", "split", "squareplus", "take", "where",
)  # fmt: skip


class Variable(NamedTuple):
    """A variable of a Keras layer.

    Attributes
    ----------
    name : str
        Keras's name of the variable in its layer.
    values : ndarray
    parameter : str or None
        The path ``layer/name`` of the parameter here whose numbers the variable holds, perhaps in another shape; None
        where there is none.
    trained : bool
        Whether the optimizer changes it.
    """

    name: str
    values: npt.NDArray[Any]
    parameter: str | None
    trained: bool


class Tensor(NamedTuple):
    """What a node gives: the shape of a row, the element type, and which of several outputs it is."""

    node: Node
    shape: tuple[int, ...]
    dtype: str
    output: int = 0

    @property
    def width(self) -> int:
        """The number of elements of a row."""
        return math.prod(self.shape)

    def reference(self) -> dict[str, Any]:
        """Return how the configuration of another node names this tensor."""
        history = [self.node.name, 0, self.output]
        config = {"shape": [None, *self.shape], "dtype": self.dtype, "keras_history": history}
        return {"class_name": "__keras_tensor__", "config": config}


@dataclass(eq=False)
class Node:
    """A layer or an operation of a Keras model, and what it is called with.

    Attributes
    ----------
    module, kind : str
        Where Keras finds the class, and its name.
    name : str
        Unique in the model.
    config : dict
        The arguments of the class's constructor.
    arguments : tuple
        The arguments of the call: tensors, lists of tensors, numbers and arrays.
    variables : tuple of Variable
    """

    module: str
    kind: str
    name: str
    config: dict[str, Any]
    arguments: tuple[Any, ...] = ()
    variables: tuple[Variable, ...] = ()

    @property
    def is_layer(self) -> bool:
        """Whether the node is a layer, not an operation."""
        return self.module == LAYERS

    @property
    def inputs(self) -> list[Tensor]:
        """The tensors among the arguments, in their order."""
        found: list[Tensor] = []
        for argument in self.arguments:
            several = argument if isinstance(argument, list) else [argument]
            found += [one for one in several if isinstance(one, Tensor)]
        return found

    def described(self) -> dict[str, Any]:
        """Return the node's entry in a configuration, as a Sequential has it."""
        registered = None if self.is_layer else self.kind
        return {
            "module": self.module,
            "class_name": self.kind,
            "config": self.config,
            "registered_name": registered,
        }

    def described_in_graph(self) -> dict[str, Any]:
        """Return the node's entry in the configuration of a graph, which says what it is called with."""
        call = [{"args": [_plain(one) for one in self.arguments], "kwargs": {}}] if self.arguments else []
        return self.described() | {"name": self.name, "inbound_nodes": call}


def _plain(value: Any) -> Any:
    """Return an argument of a call as Keras writes it."""
    if isinstance(value, Tensor):
        return value.reference()
    if isinstance(value, np.ndarray):
        return {"class_name": "__numpy__", "config": {"value": value.tolist(), "dtype": value.dtype.name}}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def valid_name(name: str) -> str:
    """Return the name of a layer as Keras can have it: TensorFlow knows letters, digits and a few signs.

    The names of operations are kept for them, as Keras numbers these itself.
    """
    plain = re.sub("[^A-Za-z0-9_.>-]", "_", name)
    plain = plain if plain[:1].isalnum() else f"layer{plain}"
    return f"{plain}_layer" if re.fullmatch(rf"({'|'.join(OPERATIONS)})(_\d+)?", plain) else plain


@dataclass
class Graph:
    """Nodes that make one model.

    Attributes
    ----------
    inputs : dict of str to Tensor
        The model's inputs by name, or one without a name.
    outputs : dict of str to Tensor
        The model's outputs by name, or one without a name.
    """

    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)
    _operations: dict[str, int] = field(default_factory=dict)  # the last number of each kind

    def reserve(self, name: str) -> None:
        """Keep a name for an input or an output."""
        self._taken.add(name)

    def free_name(self, wanted: str, *others: str) -> str:
        """Return the first of the names that no node has, else the last one with a number; take it.

        A layer gets it as Keras can have it, see :func:`valid_name`.
        """
        names = [valid_name(name) for name in (wanted, *others)]
        numbered = (f"{names[-1]}_{k}" for k in itertools.count(1))
        name = next(name for name in itertools.chain(names, numbered) if name not in self._taken)
        self._taken.add(name)
        return name

    def number(self, operation: str) -> str:
        """Return a name for an operation, by which the file knows it."""
        self._operations[operation] = count = self._operations.get(operation, -1) + 1
        return f"{operation}_{count}" if count else operation

    def in_order(self) -> list[Node]:
        """Return the nodes as Keras sorts them: those farthest from the outputs first.

        Nodes that are equally far come in the order in which a search finds them that starts from the outputs, sorted
        by their names, and goes from each node to its inputs, the first input first.
        """
        found: dict[Node, int] = {}  # in the order in which the search finds them
        done: dict[Node, None] = {}  # in the order in which it leaves them: each after all of its inputs
        for _, tensor in sorted(self.outputs.items()):
            waiting = [(tensor.node, False)]
            while waiting:
                node, left = waiting.pop()
                if left:
                    done[node] = None
                elif node not in found:
                    found[node] = len(found)
                    waiting.append((node, True))
                    waiting += [(one.node, False) for one in reversed(node.inputs)]
        far = dict.fromkeys(done, 0)
        for node in reversed(done):
            for tensor in node.inputs:
                far[tensor.node] = max(far[tensor.node], far[node] + 1)
        unused = [tensor.node for tensor in self.inputs.values() if tensor.node not in far]
        places = found | dict.fromkeys(unused, -1)
        far |= dict.fromkeys(unused, 0)
        return sorted(far, key=lambda node: (-far[node], places[node]))

    def in_line(self) -> bool:
        """Whether the model is a stack of layers, one input and one output without names."""
        if set(self.inputs) != {""} or set(self.outputs) != {""}:
            return False
        nodes = self.in_order()
        return self.outputs[""].node is nodes[-1] and all(
            after.is_layer and len(after.arguments) == 1 and after.arguments[0] == tensor
            for tensor, after in zip(map(_output_of, nodes, nodes[1:]), nodes[1:], strict=True)
        )

    def described(self, name: str, policy: str) -> dict[str, Any]:
        """Return the configuration of the model: a Sequential where it is a stack, else a Functional."""
        nodes = self.in_order()
        if self.in_line():
            shape = [None, *self.inputs[""].shape]
            config = {"name": valid_name(name), "dtype": policy, "layers": [n.described() for n in nodes]}
            return {
                "module": "keras",
                "class_name": "Sequential",
                "config": config | {"build_input_shape": shape},
                "registered_name": None,
                "build_config": {"input_shape": shape},
            }
        config = {
            "name": valid_name(name),
            "layers": [node.described_in_graph() for node in nodes],
            "input_layers": _places(self.inputs),
            "output_layers": _places(self.outputs),
        }
        return {
            "module": "keras.src.models.functional",
            "class_name": "Functional",
            "config": config,
            "registered_name": "Functional",
        }

    def variables(self) -> dict[str, Variable]:
        """Return all variables by their place in the file, in Keras's order."""
        numbers: dict[str, int] = {}
        found: dict[str, Variable] = {}
        for node in self.in_order():
            if node.is_layer:
                kind = snake_case(node.kind)
                number = numbers[kind] = numbers.get(kind, -1) + 1
                group = f"layers/{kind}_{number}" if number else f"layers/{kind}"
                found |= {f"{group}/vars/{k}": variable for k, variable in enumerate(node.variables)}
        return found


def _output_of(node: Node, after: Node) -> Tensor | None:
    """Return the tensor that the next node reads, if that is one of `node`."""
    return next((tensor for tensor in after.inputs if tensor.node is node), None)


def _places(tensors: dict[str, Tensor]) -> Any:
    """Return where tensors come from, as a configuration says it: a dict by name, or a list of one without a name."""
    places = {name: [tensor.node.name, 0, tensor.output] for name, tensor in tensors.items()}
    return [places[""]] if set(places) == {""} else places
