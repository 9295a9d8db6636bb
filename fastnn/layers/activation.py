"""An activation as a layer of its own."""

from __future__ import annotations

from typing import Any

from fastnn import activations
from fastnn.layers._op import OP_ACTIVATION, Op
from fastnn.layers.base import Layer


class Activation(Layer):
    """y = f(x), without parameters. After a linear :class:`Dense` it costs nothing: the two run as one.

    Parameters
    ----------
    activation : str or ActivationFunction
    name : str, optional
    dtype : {"float32", "float64", "mixed_bfloat16"}, optional
    input_shape : tuple of int, optional
    """

    def __init__(self, activation: Any, name: str | None = None, dtype: Any = None, input_shape: Any = None) -> None:
        super().__init__(name, dtype, input_shape)
        self.activation = activations.get(activation)
        self._features = 0

    @property
    def keeps_axes(self) -> bool:  # type: ignore[override]
        """Whether each number is a matter of its own; a softmax is one of whole rows."""
        return "softmax" not in self.activation.name

    def build(self, inputs: int) -> int:
        """As many outputs as inputs."""
        self._features = inputs
        return inputs

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """One activation op."""
        return [Op(OP_ACTIVATION, self.activation.code, self._features, self._features)]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"activation": self.activation.name}
