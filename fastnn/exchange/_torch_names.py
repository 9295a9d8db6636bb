"""Which of PyTorch's tensors is which parameter: both ways, for all layers that have a twin among its modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy.typing as npt

from fastnn import layers
from fastnn.layers.base import Layer

Array = npt.NDArray[Any]

# The names that PyTorch's modules have for parameters; those of other layers keep their names.
_NAMES: dict[type[Layer], dict[str, str]] = {
    layers.Dense: {"kernel": "weight"},
    layers.Embedding: {"embeddings": "weight"},
    layers.PReLU: {"alpha": "weight"},
    layers.LayerNormalization: {"gamma": "weight", "beta": "bias"},
    layers.RMSNormalization: {"gamma": "weight"},
    layers.BatchNormalization: {
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    },
}


class Leaf(NamedTuple):
    """A layer with parameters of its own.

    Attributes
    ----------
    path : str
        The names of the layers that it lies in, and its own, with dots.
    layer : Layer
    tensors : dict of str to tuple of int
        The shapes of PyTorch's tensors by their names, in the order of the parameters.
    """

    path: str
    layer: Layer
    tensors: dict[str, tuple[int, ...]]

    def parameter_of(self, tensor: Array) -> Array:
        """Return a parameter as it is here, where `tensor` is PyTorch's, or the other way round."""
        return tensor.T if isinstance(self.layer, layers.Dense) and tensor.ndim == 2 else tensor


def leaves(members: Iterable[Layer], path: str = "") -> Iterator[Leaf]:
    """Yield the layers with parameters, those within others too, in the order of a model's weights."""
    for layer in members:
        name = f"{path}{layer.name}"
        if layer._layers:
            yield from leaves(layer._layers, f"{name}.")
        elif parameters := layer.parameters():
            known = _NAMES.get(type(layer), {})
            turned = isinstance(layer, layers.Dense)
            shapes = {
                known.get(one.name, one.name): one.shape[::-1] if turned and len(one.shape) == 2 else one.shape
                for one in parameters
            }
            yield Leaf(name, layer, shapes)
