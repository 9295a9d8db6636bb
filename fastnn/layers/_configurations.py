"""Layers as dicts, and the layers that dicts describe; the package registers its classes here."""

from __future__ import annotations

from typing import Any

from fastnn._registry import Registry
from fastnn.layers._of_keras import arguments_of
from fastnn.layers.base import Layer

_registry: Registry[Layer] = Registry("layer", Layer)
_ATTRIBUTES = ("trainable", "learning_rate_multiplier")  # in configurations, but no arguments of constructors


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
