"""Layers of Keras's configurations: stacks, and what all that reads a configuration shares."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastnn import layers
from fastnn._absent import instead_of
from fastnn._file import ModelFileError, parse_json
from fastnn.layers import Layer
from fastnn.layers.preprocessing import SMALLEST_DEVIATION

# Keras divides a column by at least 1e-7; here a column with the variance 0 stays as it is
LEAST_VARIANCE = SMALLEST_DEVIATION**2
_MOST_ENTRIES = 2**20  # commas, and quotation marks, of JSON: each stands for an object of some dozen bytes
MODELS = ("Functional", "Model", "Sequential")
# where Keras's own classes come from: module names begin with one of these
_HOMES = ("keras", "tf_keras", "tensorflow", "builtins")
_RUN = ("Lambda", "TFOpLambda", "SlicingOpLambda")
# the layers whose outputs do not depend on which axis of a row a number lies in
_ELEMENTWISE = (
    "Activation", "ActivityRegularization", "AlphaDropout", "Dropout", "ELU", "GaussianDropout", "GaussianNoise",
    "Identity", "InputLayer", "LeakyReLU", "ReLU", "Rescaling", "ThresholdedReLU",
)  # fmt: skip
_OF_ROWS = ("softmax", "log_softmax", "softmax_v2", "glu")
_ENCODING = ("CategoryEncoding", "Discretization", "IntegerLookup", "StringLookup")

# Keras's operations that are activations, as in a graph that calls keras.ops.gelu
_ACTIVATIONS = {
    "Celu": "celu", "Cos": "cos", "Elu": "elu", "Exp": "exponential", "Gelu": "gelu", "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu", "HardTanh": "hard_tanh", "LeakyRelu": "leaky_relu", "LogSigmoid": "log_sigmoid",
    "Relu": "relu", "Relu6": "relu6", "Selu": "selu", "Sigmoid": "sigmoid", "Silu": "silu", "Softplus": "softplus",
    "Softsign": "softsign", "Squareplus": "squareplus", "Tanh": "tanh",
}  # fmt: skip

Axes = tuple[int | None, ...]  # the axes of a row in Keras, None where nobody knows a length


class Kept(Protocol):
    """What a file holds of layers besides their configurations and weights."""

    def vocabulary(self, path: str) -> list[str] | None:
        """Return the tokens of a lookup, special ones too; None where the file has none."""

    def boundaries(self, path: str, bins: int) -> list[float] | None:
        """Return the boundaries of the bins of a Discretization that was adapted; None where the file has none."""


@dataclass
class Node:
    """A layer of Keras, and what it is here.

    Attributes
    ----------
    name : str
        Its name in Keras.
    kind : str
        Its class in Keras.
    path : str
        Where its state lies in files of Keras 3.
    layer : Layer or None
        What it is here; None where it is a part of something else, as an Add is.
    inner : list of Node
        The layers within, in Keras's order.
    trainable : bool
    given : bool
        Whether its statistics are in its configuration, and so not among its weights.
    """

    name: str
    kind: str
    path: str
    layer: Layer | None = None
    inner: list[Node] = field(default_factory=list)
    trainable: bool = True
    given: bool = False

    def leaves(self) -> Iterable[Node]:
        """Yield the layers within that hold no others, or the layer itself."""
        if self.kind in MODELS:
            for node in self.inner:
                yield from node.leaves()
        else:
            yield self


def json_of(text: bytes, what: str) -> Any:
    """Return JSON that is neither deep nor of very many entries."""
    for character in (b",", b'"'):
        if text.count(character) > _MOST_ENTRIES:
            raise ModelFileError(f"{what} has more than {_MOST_ENTRIES} entries")
    return parse_json(text, what, finite=False)


def told(entry: Any, key: str, kind: type, what: str = "the configuration of a layer") -> Any:
    """Return an entry of a dict that must be there and of this kind."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, kind):
        raise ModelFileError(f"{what} has no {key!r} that is a {kind.__name__}")
    return value


def listed_layers(config: Any) -> list[Any]:
    """Return the configurations of a model's layers; files of Keras before 2.2.3 have the list alone."""
    return config if isinstance(config, list) else told(config, "layers", list, "the configuration of a model")


def snake_case(name: str) -> str:
    """Return the name of a class as Keras 3 writes it in paths."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


class Paths:
    """The places of layers in files of Keras 3: by their classes, which are counted.

    Parameters
    ----------
    prefix : str
        The place of the model that holds the layers.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix, self._counts = prefix, dict[str, int]()

    def of(self, kind: str) -> str:
        """Return the place of the next layer of a class."""
        name = snake_case(kind)
        count = self._counts[name] = self._counts.get(name, -1) + 1
        return f"{self._prefix}layers/{name}_{count}" if count else f"{self._prefix}layers/{name}"


def identify(entry: Any) -> tuple[str, str, dict[str, Any]]:
    """Return name, class and configuration of a layer of Keras; raise where it is none of Keras's own."""
    kind, config = told(entry, "class_name", str), entry.get("config")
    if kind in MODELS and isinstance(config, list):
        config = {"layers": config}
    if not isinstance(config, dict):
        raise ModelFileError(f"the configuration of a {kind[:80]} is no dict")
    name = config.get("name", entry.get("name", ""))
    name = name if isinstance(name, str) and name else snake_case(kind)
    called = f"layer {name[:80]!r}"
    if kind in _RUN:
        raise ModelFileError(f"{called} is a {kind}, a Python function, and nothing of a file is run")
    module, registered = entry.get("module"), entry.get("registered_name")
    foreign = isinstance(module, str) and module.split(".")[0] not in _HOMES
    own = isinstance(registered, str) and ">" in registered and not registered.startswith(("keras", "Keras"))
    if foreign or own or ">" in kind:
        raise ModelFileError(f"{called} is a {kind[:80]} of the user's own, whose Python code is not in the file")
    return name, kind, config


def made(name: str, kind: str, config: dict[str, Any]) -> Layer:
    """Return the layer that a configuration of Keras means; raise where there is none here, and name it."""
    config = {**config, "name": "optimizer_" if name == "optimizer" else name.replace("/", "_")}
    if kind == "Identity":
        kind, config = "Activation", {k: config[k] for k in ("name", "dtype", "trainable") if k in config}
        config["activation"] = "linear"
    elif kind in _ACTIVATIONS:
        constants = {key: value for key, value in config.items() if key not in ("name", "dtype", "trainable")}
        function = {"class_name": _ACTIVATIONS[kind], "config": constants}
        kind, config = "Activation", {"name": config["name"], "activation": function}
    elif kind == "ThresholdedReLU":
        kind, config = "ReLU", {**config, "threshold": config.get("theta", 1.0)}
        del config["theta"]
    try:
        known = layers.deserialize({"class_name": kind, "config": config})
    except (ValueError, TypeError) as error:
        if isinstance(error, ModelFileError):
            raise
        if kind not in layers.__all__ and "is unknown" in str(error):
            instead = instead_of("layers", kind)
            said = f": {instead}" if instead else ", and no layer here is one"
            raise ModelFileError(f"layer {name[:80]!r} is a {kind[:80]}{said}") from None
        raise ModelFileError(f"layer {name[:80]!r} is a {kind} that cannot be made here: {error}") from error
    return known


def leaf(entry: Any, paths: Paths, kept: Kept) -> Node:
    """Return a layer that holds no others, with what it has learned but its weights."""
    name, kind, config = identify(entry)
    node = Node(name, kind, paths.of(kind), trainable=config.get("trainable") is not False)
    if kind == "Discretization" and not config.get("bin_boundaries") and isinstance(config.get("num_bins"), int):
        found = kept.boundaries(node.path, config["num_bins"])
        if found is not None:
            config = {**config, "bin_boundaries": found}
    if kind == "Discretization" and config.get("bin_boundaries"):
        config = {**config, "num_bins": None}  # the boundaries that were found for these bins say it
    if kind == "Normalization" and config.get("axis", -1) in (None, []):
        config = {**config, "axis": -1}  # one mean and one variance, which then hold for each of the columns
    layer: Any = made(name, kind, config)
    if kind == "StringLookup" and layer.num_oov_indices > 1:
        raise ModelFileError(
            f"layer {name[:80]!r} is a StringLookup with {layer.num_oov_indices} indices for unknown words, of which "
            f"Keras picks one by another hash than this library"
        )
    if kind in ("StringLookup", "IntegerLookup") and layer.vocabulary is None:
        tokens = kept.vocabulary(node.path)
        if tokens is None:
            raise ModelFileError(f"layer {name[:80]!r} is a {kind} whose vocabulary the file does not hold")
        layer.set_vocabulary([int(token) for token in tokens] if kind == "IntegerLookup" else tokens)
    node.layer, node.given = layer, kind == "Normalization" and config.get("mean") is not None
    if node.given:
        layer._variance[layer._variance == 0] = LEAST_VARIANCE
    return node


def axes_of_input(config: dict[str, Any]) -> Axes | None:
    """Return the axes of a row from the configuration of a layer that may be the first; None where it does not say."""
    for key in ("batch_shape", "batch_input_shape"):
        shape = config.get(key)
        if isinstance(shape, dict):  # a tuple in Keras 3's wrapping
            shape = shape.get("config", shape).get("items", shape.get("items"))
        if isinstance(shape, list) and shape:
            if not all(n is None or (isinstance(n, int) and not isinstance(n, bool)) for n in shape):
                raise ModelFileError(f"{key} must be a list of numbers, got {str(shape)[:80]}")
            return tuple(shape[1:])
    return None


def input_layer(axes: Axes, name: str | None = None) -> Layer | None:
    """Return the layer that tells these axes; None where the width of a row is not known."""
    if None in axes:
        return None
    return layers.InputLayer(axes or (1,), name=name)


def axes_after(node: Node, config: dict[str, Any], axes: Axes | None) -> Axes | None:
    """Return the axes of a row after a layer, as they are in Keras; raise where the layer means other numbers here."""
    kind = node.kind
    if axes is None:
        axes = (None,)
    if kind == "Embedding":
        return (*axes, config.get("output_dim"))
    if kind in _ENCODING:
        return _encoded(config, axes)
    if kind in ("Flatten", "Reshape"):
        return (None,)
    activation = config.get("activation")
    of_rows = kind == "Activation" and (not isinstance(activation, str) or activation in _OF_ROWS)
    if len(axes) > 1 and (kind not in (*_ELEMENTWISE, *_ACTIVATIONS) or of_rows):
        raise ModelFileError(
            f"layer {node.name[:80]!r} reads rows of several axes, {axes}, as {kind} does in Keras along the last one "
            f"alone: only with a Flatten before it has it the same meaning here"
        )
    return axes


def _encoded(config: dict[str, Any], axes: Axes) -> Axes:
    mode = config.get("output_mode", "multi_hot" if "num_tokens" in config else "int")
    if mode == "int":
        return axes
    return (*axes, None) if mode == "one_hot" and axes not in ((), (1,), (None,)) else (None,)
