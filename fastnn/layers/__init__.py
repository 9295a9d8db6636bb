"""The layers of a network. Each describes itself and lowers to the engine's ops; none holds numbers of its own."""

from __future__ import annotations

from typing import Any

from fastnn._public import publish
from fastnn._registry import Registry
from fastnn.layers._of_keras import arguments_of
from fastnn.layers.activation import ELU, GLU, Activation, LeakyReLU, ReLU, Softmax
from fastnn.layers.base import Layer
from fastnn.layers.branches import Branches
from fastnn.layers.categories import CategoryEncoding, Discretization
from fastnn.layers.container import Stack
from fastnn.layers.dense import Dense
from fastnn.layers.embedding import Embedding
from fastnn.layers.heads import Heads
from fastnn.layers.impute import Impute
from fastnn.layers.input import Input, InputLayer
from fastnn.layers.lookup import IntegerLookup, StringLookup
from fastnn.layers.noise import AlphaDropout, Dropout, GaussianDropout, GaussianNoise
from fastnn.layers.normalization import BatchNormalization, LayerNormalization, RMSNormalization
from fastnn.layers.prelu import PReLU
from fastnn.layers.preprocessing import Normalization, Rescaling
from fastnn.layers.regularization import ActivityRegularization
from fastnn.layers.residual import Residual
from fastnn.layers.shape import Flatten, Reshape

__all__ = [
    "ELU",
    "GLU",
    "Activation",
    "ActivityRegularization",
    "AlphaDropout",
    "BatchNormalization",
    "Branches",
    "CategoryEncoding",
    "Dense",
    "Discretization",
    "Dropout",
    "Embedding",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "Heads",
    "Impute",
    "Input",
    "InputLayer",
    "IntegerLookup",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Normalization",
    "PReLU",
    "RMSNormalization",
    "ReLU",
    "Rescaling",
    "Reshape",
    "Residual",
    "Softmax",
    "Stack",
    "StringLookup",
    "deserialize",
    "serialize",
]

_ATTRIBUTES = ("trainable", "learning_rate_multiplier")  # in configurations, but no arguments of constructors
_registry: Registry[Layer] = Registry("layer", Layer)
for _layer in (
    InputLayer,
    Dense,
    Activation,
    ActivityRegularization,
    AlphaDropout,
    BatchNormalization,
    Branches,
    CategoryEncoding,
    Discretization,
    Flatten,
    IntegerLookup,
    Reshape,
    StringLookup,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    Heads,
    Impute,
    LayerNormalization,
    Embedding,
    Normalization,
    PReLU,
    Rescaling,
    Residual,
    RMSNormalization,
    ReLU,
    LeakyReLU,
    ELU,
    Softmax,
    GLU,
):
    _registry.register(_layer)
_registry.register(Stack, "Sequential")  # Keras's name of a model within a model


def serialize(layer: Layer) -> dict[str, Any]:
    """A JSON-able dict from which :func:`deserialize` makes an equal layer.

    Parameters
    ----------
    layer : Layer

    Examples
    --------
    >>> import fastnn
    >>> fastnn.layers.serialize(fastnn.layers.Rescaling(0.5))["class_name"]
    'Rescaling'
    """
    return _registry.serialize(layer)


def deserialize(config: dict[str, Any]) -> Layer:
    """The layer that :func:`serialize` described, or that Keras did, where it is one that there is here.

    Parameters
    ----------
    config : dict
        Also as Keras 2 and 3 write it: ``batch_shape``, policies as dicts, and what a layer has not here, as long as
        it says what the layer does anyway.

    Examples
    --------
    >>> import fastnn
    >>> config = fastnn.layers.serialize(fastnn.layers.Dense(3, "relu"))
    >>> fastnn.layers.deserialize(config).units
    3
    """
    arguments = config.get("config") if isinstance(config, dict) else None
    if not isinstance(arguments, dict):
        return _registry.get(config)
    kind = _registry.kind_of(config)
    arguments = arguments if kind is None else arguments_of(kind, arguments, _ATTRIBUTES)
    attributes = {key: arguments[key] for key in _ATTRIBUTES if key in arguments}
    layer = _registry.get(config | {"config": {k: v for k, v in arguments.items() if k not in attributes}})
    for name, value in attributes.items():
        if value is not getattr(layer, name):  # of a container it would be that of all its layers
            setattr(layer, name, value)
    return layer


publish(__name__, __all__)
