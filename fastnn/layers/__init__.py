"""The layers of a network. Each describes itself and lowers to the engine's ops; none holds numbers of its own."""

from __future__ import annotations

from typing import Any

from fastnn._registry import Registry
from fastnn.layers.activation import Activation
from fastnn.layers.base import Layer
from fastnn.layers.dense import Dense
from fastnn.layers.input import Input, InputLayer

__all__ = ["Activation", "Dense", "Input", "InputLayer", "Layer", "deserialize", "serialize"]

_registry: Registry[Layer] = Registry("layer", Layer)
for _layer in (InputLayer, Dense, Activation):
    _registry.register(_layer)


def serialize(layer: Layer) -> dict[str, Any]:
    """A JSON-able dict from which :func:`deserialize` makes an equal layer."""
    return _registry.serialize(layer)


def deserialize(config: dict[str, Any]) -> Layer:
    """The layer that :func:`serialize` described."""
    return _registry.get(config)
