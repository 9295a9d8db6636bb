"""Layers as Keras has them: for each layer here the layers of Keras that compute the same, with its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import activations, layers
from fastnn._schedules import LearningRateSchedule, number_and_schedule
from fastnn._settings import known_class
from fastnn.exchange._to_keras_graph import (
    ARRAY_OPERATIONS,
    LAYERS,
    NETWORK_OPERATIONS,
    Graph,
    Node,
    Tensor,
    Variable,
    snake_case,
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
_WHOLE = ("int32", "int64")
_INITIALIZER_ARGUMENTS = ("input_axes", "output_axes")  # those that Keras has only had since 3.15


def without(part: str, why: str) -> ValueError:
    """Return the error that says what Keras lacks."""
    return ValueError(f"export_keras cannot write {part}: {why}")


def described(module: str, serialized: dict[str, Any]) -> dict[str, Any]:
    """Return what a registry here makes of an object as Keras writes the same object."""
    name, config = serialized["class_name"], serialized["config"]
    return {"module": f"keras.{module}", "class_name": name, "config": config, "registered_name": None}


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
    """

    def __init__(self, arrays: dict[str, npt.NDArray[Any]], policy: str, element: str, trains: bool) -> None:
        self.arrays, self.policy, self.element, self.trains = arrays, policy, element, trains
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
        name = self.graph.free_name(snake_case(kind))
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
        write = WRITERS.get(kind)
        if write is None:
            raise without(
                f"{kind.__name__} {layer.name!r}", "Keras has no such layer, nor layers that compute the same"
            )
        place = Place(self, layer, inner, trainable and layer.trainable)
        return write(self, place, x if kind in _TAKE_WHOLE else self.numbers(x))

    def numbers(self, x: Tensor) -> Tensor:
        """Return a tensor of the model's element type, where x may be one of whole numbers."""
        if x.dtype not in _WHOLE:
            return x
        name = self.graph.free_name(f"{x.node.name}_as_numbers")
        return self.layer("Rescaling", name, {"scale": 1.0, "offset": 0.0}, [x], x.shape)

    def flat(self, place: Place, x: Tensor) -> Tensor:
        """Return rows of one axis."""
        if len(x.shape) == 1:
            return x
        tensor = self.helper("Flatten", place, {}, x, (x.width,))
        return tensor if x.dtype not in _WHOLE else tensor._replace(dtype=x.dtype)

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
                    config[key] = described(module, _known_to_all(value))
        return config


# Keys of configurations here which a file of Keras has in other places, or does not have.
_OWN = ("name", "dtype", "trainable", "input_shape", "learning_rate_multiplier", "weight_decay_multiplier", "columns")
_MODULES = {"_initializer": "initializers", "_regularizer": "regularizers", "_constraint": "constraints"}


def _known_to_all(serialized: dict[str, Any]) -> dict[str, Any]:
    """Return an initializer's description without arguments that older Keras lacks, where these say nothing."""
    config = serialized["config"]
    unsaid = [key for key in _INITIALIZER_ARGUMENTS if key in config and config[key] is None]
    return serialized | {"config": {key: value for key, value in config.items() if key not in unsaid}}


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


# ---- layers that Keras has too ----


def _same(kind: str) -> Callable[[Writer, Place, Tensor], Tensor]:
    """Return a writer of a layer that Keras has under a name, with the same arguments; rows keep their shape."""

    def write(writer: Writer, place: Place, x: Tensor) -> Tensor:
        variables = [writer.variable(place, name) for name, _, _ in place.layer.parameters()]
        config, trainable = place.config(), place.trainable
        return writer.layer(kind, place.name, config, [x], x.shape, variables, trainable=trainable)

    return write


def _dense(writer: Writer, place: Place, x: Tensor) -> Tensor:
    layer: layers.Dense = place.layer
    if layer.parametrization == "ntk":
        factor = {"scale": layer._inputs**-0.5, "offset": 0.0}
        x = writer.helper("Rescaling", place, factor, x, x.shape)
    variables = [writer.variable(place, name) for name, _, _ in layer.parameters()]
    name = activation_name(layer.activation)
    left_out = ("parametrization",) if name is not None else ("parametrization", "activity_regularizer")
    config = place.config(*left_out) | {"activation": "linear" if name is None else name}
    shape, trainable = (layer.units,), place.trainable
    y = writer.layer("Dense", place.name, config, [x], shape, variables, trainable=trainable)
    return y if name is not None else writer.with_penalty(place, writer.activated(place, layer.activation, y))


def _activation(writer: Writer, place: Place, x: Tensor) -> Tensor:
    layer: layers.Activation = place.layer
    name = activation_name(layer.activation)
    if name is not None:
        config = place.config() | {"activation": name}
        return writer.layer("Activation", place.name, config, [x], x.shape, trainable=place.trainable)
    return writer.with_penalty(place, writer.activated(place, layer.activation, x))


def _noise(kind: str, rate: str) -> Callable[[Writer, Place, Tensor], Tensor]:
    """Return a writer of a layer of noise; a file that is not for training has the first rate of a schedule."""

    def write(writer: Writer, place: Place, x: Tensor) -> Tensor:
        value, config = getattr(place.layer, rate), place.config()
        if isinstance(value, LearningRateSchedule):
            if writer.trains:
                raise without(
                    f"the schedule {type(value).__name__} of {kind} {place.layer.name!r}",
                    f"Keras's {rate} is a number; training=False writes the one of the first step",
                )
            config[rate] = number_and_schedule(value)[0]
        return writer.layer(kind, place.name, config, [x], x.shape, trainable=place.trainable)

    return write


def _flatten(writer: Writer, place: Place, x: Tensor) -> Tensor:
    y = writer.layer("Flatten", place.name, {}, [x], (x.width,))
    return y._replace(dtype=x.dtype) if x.dtype in _WHOLE else y


def _reshape(writer: Writer, place: Place, x: Tensor) -> Tensor:
    axes = place.layer._axes
    y = writer.layer("Reshape", place.name, {"target_shape": list(axes)}, [x], axes)
    return y._replace(dtype=x.dtype) if x.dtype in _WHOLE else y


def _embedding(writer: Writer, place: Place, x: Tensor) -> Tensor:
    layer: layers.Embedding = place.layer
    variables, shape = [writer.variable(place, "embeddings")], (*x.shape, layer.output_dim)
    config, trainable = place.config(), place.trainable
    y = writer.layer("Embedding", place.name, config, [x], shape, variables, trainable=trainable)
    return writer.flat(place, y)


def _normalization(writer: Writer, place: Place, x: Tensor) -> Tensor:
    """Columns that the layer leaves have mean 0 and variance 1 in Keras's layer, which takes all of them."""
    layer: layers.Normalization = place.layer
    mean, variance = np.zeros(x.width, writer.element), np.ones(x.width, writer.element)
    places = list(layer._places)
    own = writer.arrays[f"{place.path}/variance"]
    mean[places], variance[places] = writer.arrays[f"{place.path}/mean"], np.where(own == 0, 1, own)
    config: dict[str, Any] = {"axis": -1, "invert": layer.invert}
    if layer._given:
        given = {"mean": mean.tolist(), "variance": variance.tolist()}
        return writer.layer("Normalization", place.name, config | given, [x], x.shape)
    statistics = {"mean": mean, "variance": variance, "count": np.zeros((), np.int64)}
    held = [Variable(name, array, None, False) for name, array in statistics.items()]
    return writer.layer("Normalization", place.name, config, [x], x.shape, held)


# ---- categories ----


def _as_columns(writer: Writer, place: Place, kind: str, config: dict[str, Any], x: Tensor, tokens: int) -> Tensor:
    """Return what a layer makes of categories: indices, or the columns of categories side by side."""
    mode = place.layer.output_mode if hasattr(place.layer, "output_mode") else "int"
    # the element type to which Keras rounds numbers before it looks for their bins
    dtype = writer.element if kind == "Discretization" else "int64" if mode == "int" else None
    if mode == "int":
        return writer.layer(kind, place.name, config, [x], x.shape, dtype=dtype)._replace(dtype="int64")
    several = mode == "one_hot" and x.width > 1
    y = writer.layer(kind, place.name, config, [x], (*x.shape, tokens) if several else (tokens,), dtype=dtype)
    return writer.flat(place, y)


def _category_encoding(writer: Writer, place: Place, x: Tensor) -> Tensor:
    layer: layers.CategoryEncoding = place.layer
    return _as_columns(writer, place, "CategoryEncoding", place.config(), x, layer.num_tokens)


def _discretization(writer: Writer, place: Place, x: Tensor) -> Tensor:
    bounds = list(place.layer._bounds())
    config = place.config("num_bins", "epsilon") | {"bin_boundaries": bounds}
    return _as_columns(writer, place, "Discretization", config, x, len(bounds) + 1)


def _lookup(kind: str) -> Callable[[Writer, Place, Tensor], Tensor]:
    """Return a writer of a lookup, whose vocabulary is part of the configuration."""

    def write(writer: Writer, place: Place, x: Tensor) -> Tensor:
        layer: Any = place.layer
        if kind == "StringLookup" and layer.num_oov_indices > 1:
            raise without(
                f"StringLookup {layer.name!r} with num_oov_indices={layer.num_oov_indices}",
                "Keras shares unknown words out among several indices by another hash",
            )
        config = place.config() | {"vocabulary": layer.get_vocabulary(include_special_tokens=False)}
        return _as_columns(writer, place, kind, config, x, layer._depth())

    return write


# ---- blocks ----


def _branches(writer: Writer, place: Place, x: Any) -> Tensor:
    found = []
    for stack in place.layer.layers:
        name, shape = str(stack.name), stack.input_axes or (stack._widths[0],)
        own = writer.input(name, name, shape, stack._layers)
        path, trainable = f"{place.path}/{name}", place.trainable and stack.trainable
        found.append(writer.numbers(writer.stack(stack._layers, own, path, trainable)))
    if len(found) == 1:
        return found[0]
    width = sum(one.width for one in found)
    return writer.layer("Concatenate", place.name, {"axis": -1}, [found], (width,))


def _heads(writer: Writer, place: Place, x: Tensor) -> Tensor:
    """Keras calls an output as its last layer is called, so that this gets the name of the head."""
    for stack in place.layer.layers:
        name = str(stack.name)
        path, trainable = f"{place.path}/{name}", place.trainable and stack.trainable
        y = writer.numbers(writer.stack(stack._layers, x, path, trainable))
        if y.node is x.node or not y.node.is_layer:
            y = writer.layer("Activation", name, {"activation": "linear"}, [y], y.shape)
        if name not in writer.graph.inputs:
            y.node.name = y.node.config["name"] = name
        writer.graph.outputs[name] = y
    return x


def _residual(writer: Writer, place: Place, x: Tensor) -> Tensor:
    y = writer.numbers(writer.stack(place.layer.layers, x, place.path, place.trainable))
    return writer.layer("Add", place.name, {}, [[x, y]], x.shape)


WRITERS: dict[type, Callable[[Writer, Place, Tensor], Tensor]] = {
    layers.Dense: _dense,
    layers.Activation: _activation,
    layers.ReLU: _same("ReLU"),
    layers.LeakyReLU: _same("LeakyReLU"),
    layers.ELU: _same("ELU"),
    layers.Softmax: _same("Softmax"),
    layers.PReLU: _same("PReLU"),
    layers.ActivityRegularization: _same("ActivityRegularization"),
    layers.Dropout: _noise("Dropout", "rate"),
    layers.AlphaDropout: _noise("AlphaDropout", "rate"),
    layers.GaussianDropout: _noise("GaussianDropout", "rate"),
    layers.GaussianNoise: _noise("GaussianNoise", "stddev"),
    layers.BatchNormalization: _same("BatchNormalization"),
    layers.LayerNormalization: _same("LayerNormalization"),
    layers.RMSNormalization: _same("RMSNormalization"),
    layers.UnitNormalization: _same("UnitNormalization"),
    layers.Rescaling: _same("Rescaling"),
    layers.Normalization: _normalization,
    layers.Flatten: _flatten,
    layers.Reshape: _reshape,
    layers.Embedding: _embedding,
    layers.CategoryEncoding: _category_encoding,
    layers.Discretization: _discretization,
    layers.StringLookup: _lookup("StringLookup"),
    layers.IntegerLookup: _lookup("IntegerLookup"),
    layers.Residual: _residual,
    layers.Branches: _branches,
    layers.Heads: _heads,
}
# layers that read whole numbers as they are
_TAKE_WHOLE = frozenset(
    {
        layers.Branches, layers.Embedding, layers.CategoryEncoding, layers.Flatten, layers.Reshape, layers.StringLookup,
        layers.IntegerLookup,
    }
)  # fmt: skip
