"""Layers as dicts, and the layers that dicts describe; the package registers its classes here."""

from __future__ import annotations

from typing import Any

from fastnn._registry import Registry
from fastnn.layers._of_keras import arguments_of
from fastnn.layers.base import Layer

_registry: Registry[Layer] = Registry("layer", Layer)
# keys of configurations that are no arguments of constructors
_ATTRIBUTES = ("trainable", "learning_rate_multiplier", "weight_decay_multiplier")


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
    """Return the layer that :func:`serialize` described, or that Keras described, where fastnn has that layer.

    Parameters
    ----------
    config : dict
        Configurations of Keras 2 and 3 are taken too, with ``batch_shape``, policies as dicts, and arguments that the
        layer lacks here, as long as their values mean what the layer does anyway.

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
        if value is not getattr(layer, name):  # setting a container's attribute sets it for all its layers
            setattr(layer, name, value)
    return layer
