"""What readers of other libraries' objects return: layers, and the weights that each of them has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy.typing as npt

from fastnn.layers.base import Layer

Array = npt.NDArray[Any]


class Found(NamedTuple):
    """A network of another library.

    Attributes
    ----------
    layers : list of Layer
        An Input, or branches that begin with one, comes first: a model of these layers is built at once.
    weights : list of tuple
        A layer, or one within one of the layers, and its weights in the order of its parameters.
    feature_names : tuple of str, or None
        The names of the columns of x in their order.
    """

    layers: list[Layer]
    weights: list[tuple[Layer, Sequence[Array]]]
    feature_names: tuple[str, ...] | None = None

    def fill(self) -> None:
        """Set the weights of the layers, which belong to a model that is built."""
        for layer, arrays in self.weights:
            layer.set_weights(arrays)


def names_of(names: Iterable[Any], most: int = 6) -> str:
    """Return the first of the names for a message, and whether there are more."""
    some = list(names)
    return ", ".join(map(str, some[:most])) + (f" and {len(some) - most} more" if len(some) > most else "")
