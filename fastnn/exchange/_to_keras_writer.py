"""What turns layers into a graph of Keras: :class:`Writer`, and what the writers of single layers share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastnn import activations, layers
from fastnn._settings import known_class
from fastnn.exchange._keras_layers import snake_case
from fastnn.exchange._to_keras_graph import (
    ARRAY_OPERATIONS,
    LAYERS,
    NETWORK_OPERATIONS,
    Graph,
    Node,
    Tensor,
    Variable,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from fastnn.activations import ActivationFunction
    from fastnn.layers import Layer

# The activations that Keras finds by the names that they have here, as long as their constants are the defaults.
_BY_NAME = frozenset(
    {
        "celu", "elu", "exponential", "gelu", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu", "linear",
        "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softmax", "softplus",
        "softsign", "squareplus", "tanh",
    }
)  # fmt: skip
# layers that read whole numbers as they are
_READ_WHOLE = frozenset(
    {
        layers.Branches, layers.Embedding, layers.CategoryEncoding, layers.Flatten, layers.Reshape, layers.StringLookup,
        layers.IntegerLookup,
    }
)  # fmt: skip
WHOLE = ("int32", "int64")
# Arguments that the first of Keras 3 lack, and where None says nothing.
_SINCE_LATER = ("gradient_accumulation_steps", "ignore_class", "input_axes", "loss_scale_factor", "output_axes")
_OLDER_NAMES = {"Identity": "IdentityInitializer", "Orthogonal": "OrthogonalInitializer"}  # which all of Keras 3 know


def without(part: str, why: str) -> ValueError:
    """Return the error that says what Keras lacks."""
    return ValueError(f"export_keras cannot write {part}: {why}")


def described(module: str, serialized: dict[str, Any]) -> dict[str, Any]:
    """Return what a registry here makes of an object as Keras writes the same object."""
    name, config = serialized["class_name"], serialized["config"]
    if name == "RandomSign":
        raise without("the initializer RandomSign", "Keras has no such initializer")
    unsaid = [key for key in _SINCE_LATER if key in config and config[key] is None]
    return {
        "module": f"keras.{module}",
        "class_name": _OLDER_NAMES.get(name, name),
        "config": {key: value for key, value in config.items() if key not in unsaid},
        "registered_name": None,
    }


class Writer:
    """Turns layers into nodes of a graph.

    Parameters
    ----------
    arrays : dict of str to ndarray
        The parameters of the model by path ``layer/name``.
    policy : str
        The model's dtype policy.
    element : str
        The element type of its weights.
    trains : bool
        Whether the file says how to train further, so that what training alone depends on must be the same.
    writers : dict of type to callable
        What writes a layer of each class: it takes this object, the layer's place and what the layer reads.
    """

    def __init__(
        self,
        arrays: dict[str, npt.NDArray[Any]],
        policy: str,
        element: str,
        trains: bool,
        writers: Mapping[type, LayerWriter],
    ) -> None:
        self.arrays, self.policy, self.element, self.trains = arrays, policy, element, trains
        self._writers = writers
        self.graph = Graph()
        self.names: dict[str, str] = {}  # the names in Keras of the layers that lie in no block

    def name(self, stack: Sequence[Layer], inputs: Iterable[str], outputs: Iterable[str]) -> None:
        """Let the inputs, the outputs and the layers that lie in no block keep their names, as far as these differ."""
        for name in {*inputs, *outputs}:
            self.graph.reserve(name)
        self.names = {str(layer.name): self.graph.free_name(str(layer.name)) for layer in stack}

    # ---- nodes ----

    def input(self, key: str, name: str, shape: tuple[int, ...], stack: Sequence[Layer]) -> Tensor:
        """Return an input of the model, with the dtype that the first of these layers reads."""
        dtype = _dtype_of(first_reader(stack), self.element)
        config = {"batch_shape": [None, *shape], "dtype": dtype, "sparse": False, "name": name}
        tensor = Tensor(Node(LAYERS, "InputLayer", name, config), shape, dtype)
        self.graph.inputs[key] = tensor
        return tensor

    def layer(
        self,
        kind: str,
        name: str,
        config: dict[str, Any],
        arguments: Sequence[Any],
        shape: tuple[int, ...],
        variables: Iterable[Variable] = (),
        *,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> Tensor:
        """Return what a new layer of Keras gives."""
        held = tuple(variables)
        shared: dict[str, Any] = {"name": name, "dtype": self.policy if dtype is None else dtype}
        shared |= {"trainable": trainable} if held else {}  # some layers without variables do not take the argument
        node = Node(LAYERS, kind, name, shared | config, tuple(arguments), held)
        return Tensor(node, shape, self.element if dtype is None else dtype)

    def operation(
        self,
        kind: str,
        config: dict[str, Any],
        arguments: Sequence[Any],
        shape: tuple[int, ...],
        module: str = ARRAY_OPERATIONS,
    ) -> Tensor:
        """Return what a new operation of Keras gives."""
        name = self.graph.number(snake_case(kind))
        return Tensor(Node(module, kind, name, config, tuple(arguments)), shape, self.element)

    def helper(self, kind: str, place: Place, config: dict[str, Any], x: Any, shape: tuple[int, ...]) -> Tensor:
        """Return what a new layer without weights gives that is one of several in the place of one layer here."""
        name = self.graph.free_name(f"{place.name}_{snake_case(kind)}")
        return self.layer(kind, name, config, [x], shape)

    def variable(
        self, place: Place, parameter: str, shape: tuple[int, ...] | None = None, name: str | None = None
    ) -> Variable:
        """Return the variable that holds a parameter of a layer, perhaps in another shape and under another name."""
        path = f"{place.path}/{parameter}"
        values = self.arrays[path]
        trained = place.trainable and parameter not in place.layer.non_trainable()
        held = values if shape is None else values.reshape(shape)
        return Variable(parameter if name is None else name, held, path, trained)

    # ---- layers one after the other ----

    def stack(self, stack: Sequence[Layer], x: Any, path: str = "", trainable: bool = True) -> Tensor:
        """Return what layers one after the other make of a tensor; `path` is that of the block that holds them."""
        for layer in stack:
            x = self.written(layer, x, path, trainable)
        return x

    def written(self, layer: Layer, x: Any, path: str = "", trainable: bool = True) -> Tensor:
        """Return what a layer makes of a tensor; Branches make theirs of inputs, so that x is None before them."""
        kind, inner = known_class(type(layer)), f"{path}/{layer.name}" if path else str(layer.name)
        if kind is layers.InputLayer:
            return x
        if layer.in_line:
            return self.stack(layer._layers, x, inner, trainable and layer.trainable)
        write = self._writers.get(kind)
        if write is None:
            raise without(
                f"{kind.__name__} {layer.name!r}", "Keras has no such layer, nor layers that compute the same"
            )
        place = Place(self, layer, inner, trainable and layer.trainable)
        return write(self, place, x if kind in _READ_WHOLE else self.numbers(x))

    def numbers(self, x: Tensor) -> Tensor:
        """Return a tensor of the model's element type, where x may be one of whole numbers."""
        if x.dtype not in WHOLE:
            return x
        name = self.graph.free_name(f"{x.node.name}_as_numbers")
        return self.layer("Rescaling", name, {"scale": 1.0, "offset": 0.0}, [x], x.shape)

    def flat(self, place: Place, x: Tensor) -> Tensor:
        """Return rows of one axis."""
        if len(x.shape) == 1:
            return x
        tensor = self.helper("Flatten", place, {}, x, (x.width,))
        return tensor if x.dtype not in WHOLE else tensor._replace(dtype=x.dtype)

    def activated(self, place: Place, f: ActivationFunction, x: Tensor) -> Tensor:
        """Return f(x), by an activation of Keras, by a layer that has the constants, or by operations."""
        name, constants = activation_name(f), f.get_config()
        if name is not None:
            return x if name == "linear" else self.helper("Activation", place, {"activation": name}, x, x.shape)
        if f.name in ("relu", "leaky_relu", "elu"):
            kind = {"relu": "ReLU", "leaky_relu": "LeakyReLU", "elu": "ELU"}[f.name]
            return self.helper(kind, place, constants, x, x.shape)
        if f.name == "smooth_clip":  # x / sqrt(1 + (x / limit)^2) = limit sin(arctan(x / limit)), at any size of x
            limit = constants["limit"]
            small = self.helper("Rescaling", place, {"scale": 1 / limit, "offset": 0.0}, x, x.shape)
            angle = self.operation("Arctan", {}, [small], x.shape)
            sine = self.operation("Sin", {}, [angle], x.shape)
            return self.helper("Rescaling", place, {"scale": limit, "offset": 0.0}, sine, x.shape)
        if f.name == "cos":
            return self.operation("Cos", {}, [x], x.shape)
        kind = {"celu": "Celu", "gelu": "Gelu", "squareplus": "Squareplus"}[f.name]
        return self.operation(kind, constants, [x], x.shape, NETWORK_OPERATIONS)

    def with_penalty(self, place: Place, x: Tensor) -> Tensor:
        """Return x after a layer that has the activity regularizer of a layer here, where that has one."""
        penalty = place.layer.activity_regularizer
        if penalty is None:
            return x
        numbers = {"l1": penalty.l1, "l2": penalty.l2}
        return self.helper("ActivityRegularization", place, numbers, x, x.shape)


class Place:
    """A layer here that is being written: where it stands, and what Keras shall call it.

    Attributes
    ----------
    layer : Layer
    path : str
        ``block/layer`` in the model.
    name : str
        The name in Keras.
    trainable : bool
        Whether the layer and all blocks around it are trained.
    """

    def __init__(self, writer: Writer, layer: Any, path: str, trainable: bool) -> None:
        self.layer, self.path, self.trainable = layer, path, trainable
        known = writer.names.get(path)
        self.name = known or writer.graph.free_name(str(layer.name), path.replace("/", "_"))

    def config(self, *without: str) -> dict[str, Any]:
        """Return the layer's own configuration with all objects as Keras writes them."""
        config = {k: v for k, v in self.layer.get_config().items() if k not in (*_OWN, *without)}
        for key, value in config.items():
            if isinstance(value, dict) and "class_name" in value:
                module = next((module for end, module in _MODULES.items() if key.endswith(end)), None)
                if module is not None:
                    config[key] = described(module, value)
        return config


# Keys of configurations here which a file of Keras has in other places, or does not have.
_OWN = ("name", "dtype", "trainable", "input_shape", "learning_rate_multiplier", "weight_decay_multiplier", "columns")
_MODULES = {"_initializer": "initializers", "_regularizer": "regularizers", "_constraint": "constraints"}


def activation_name(f: ActivationFunction) -> str | None:
    """Return Keras's name of an activation; None where Keras has none with these constants."""
    serialized = activations.serialize(f)
    return serialized if isinstance(serialized, str) and serialized in _BY_NAME else None


def first_reader(stack: Sequence[Layer]) -> Layer | None:
    """Return the layer that reads x first, raw data too; None where none does."""
    for layer in stack:
        found = first_reader(layer._layers) if layer.in_line else layer if layer.prepares or not layer.idle else None
        if found is not None:
            return found
    return None


def _dtype_of(reader: Layer | None, element: str) -> str:
    """Return the element type of rows that this layer reads."""
    if isinstance(reader, layers.StringLookup):
        return "string"
    if isinstance(reader, layers.IntegerLookup):
        return "int64"
    return "int32" if isinstance(reader, (layers.Embedding, layers.CategoryEncoding)) else element


LayerWriter = Callable[[Writer, Place, Any], Tensor]
