"""A block of layers with a connection past it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fastnn.initializers import Initializer
from fastnn.layers._op import OP_ADD, OP_EMBEDDING, Op
from fastnn.layers.base import Layer

if TYPE_CHECKING:
    from fastnn.network import Network


class Residual(Layer):
    """y = x + f(x), f a stack of layers: deep networks of such blocks train well.

    He, Zhang, Ren and Sun, Deep residual learning for image recognition, 2015.

    Parameters
    ----------
    layers : iterable of Layer
        f; its output must be as wide as its input.
    name : str, optional
    dtype : {"float32", "float64", "mixed_bfloat16"}, optional
    input_shape : tuple of int, optional

    Attributes
    ----------
    layers : list of Layer
        Each with a name of its own in the block.

    Examples
    --------
    >>> import fastnn
    >>> block = fastnn.layers.Residual([fastnn.layers.Dense(8, "relu"), fastnn.layers.Dense(4)])
    >>> fastnn.Sequential([fastnn.Input((4,)), block]).count_params()
    76
    """

    def __init__(
        self, layers: Iterable[Layer], name: str | None = None, dtype: Any = None, input_shape: Any = None
    ) -> None:
        super().__init__(name, dtype, input_shape)
        from fastnn.layers import InputLayer, deserialize

        self.layers: list[Layer] = []
        self._features = 0
        for given in layers:
            layer = deserialize(given) if isinstance(given, dict) else given
            if not isinstance(layer, Layer) or isinstance(layer, InputLayer):
                raise TypeError(f"layers must hold fastnn layers other than Input, got {type(layer).__name__}")
            if layer._model is not None or layer._parent is not None or layer in self.layers:
                raise ValueError(f"layer {layer.name!r} belongs to a model already; make a new one for this block")
            self._take(layer)
        if not self.layers:
            raise ValueError("layers must hold at least one layer")
        for layer in self.layers:
            layer._parent = self

    def _take(self, layer: Layer) -> None:
        taken = {other.name for other in self.layers}
        if layer.name is None:
            base = type(layer).__name__.lower()
            numbered = (base if not k else f"{base}_{k}" for k in range(len(taken) + 1))
            layer.name = next(name for name in numbered if name not in taken)
        elif layer.name in taken:
            raise ValueError(f"name {layer.name!r} is taken: layer names must be unique in a block")
        if layer.dtype is not None and self.dtype not in (None, layer.dtype):
            raise ValueError(f"dtype must be the same for all layers of a block, got {self.dtype} and {layer.dtype}")
        self.dtype = self.dtype or layer.dtype
        self.layers.append(layer)

    def attach(self, model: Network | None) -> None:
        """Make the block and its layers part of a model."""
        super().attach(model)
        for layer in self.layers:
            layer.attach(model)

    def build(self, inputs: int) -> int:
        """Settle the shapes of the block's layers; their last must give as many features as came in."""
        features = inputs
        for layer in self.layers:
            features = layer.build(features)
        if features != inputs:
            raise ValueError(
                f"layer {self.name!r} adds its input to its output: the last of its layers must have {inputs} "
                f"features, as the input has, got {features}"
            )
        self._features = inputs
        return inputs

    def parameters(self) -> list[tuple[str, tuple[int, ...], Initializer]]:
        """Those of the block's layers, as layer/parameter."""
        return [
            (f"{layer.name}/{name}", shape, initializer)
            for layer in self.layers
            for name, shape, initializer in layer.parameters()
        ]

    def non_trainable(self) -> frozenset[str]:
        """Those of the block's layers; all while the block is not trained."""
        inner = {f"{layer.name}/{name}" for layer in self.layers for name in layer.non_trainable()}
        return super().non_trainable() | inner

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """The ops of the block's layers, then the addition."""
        ops: list[Op] = []
        for layer in self.layers:
            prefix = f"{layer.name}/"
            own = {name.removeprefix(prefix): at for name, at in offsets.items() if name.startswith(prefix)}
            ops += layer.lower_for_training(own)
        if any(op.code == OP_EMBEDDING for op in ops):
            raise ValueError(f"layer {self.name!r} holds an Embedding, which must be the first layer of a model")
        return [*ops, Op(OP_ADD, 0, self._features, self._features, source=len(ops))]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        from fastnn.layers import serialize

        return super().get_config() | {"layers": [serialize(layer) for layer in self.layers]}
