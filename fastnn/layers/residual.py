"""A block of layers with a connection past it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fastnn._op import Op
from fastnn.layers.base import Layer, Shared
from fastnn.layers.container import Stack

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Residual(Stack):
    """y = x + f(x), where f is a stack of layers: deep networks of such blocks train well.

    He, Zhang, Ren and Sun, Deep residual learning for image recognition, 2015.

    Parameters
    ----------
    layers : iterable of Layer
        The layers of f, whose output must be as wide as its input.
    **shared
        See :class:`Layer`.

    Attributes
    ----------
    layers : list of Layer
        The layers of f, each with a name of its own in the block.

    Examples
    --------
    >>> import fastnn
    >>> block = fastnn.layers.Residual([fastnn.layers.Dense(8, "relu"), fastnn.layers.Dense(4)])
    >>> fastnn.Sequential([fastnn.Input((4,)), block]).count_params()
    76
    """

    in_line = idle = must_be_last = False

    def __init__(
        self,
        layers: Iterable[Layer],
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(layers, **shared)
        if not self._layers:
            raise ValueError("layers must hold at least one layer")

    def build(self, inputs: int) -> int:
        """Settle the shapes of the block's layers, the last of which must give as many features as the block reads."""
        features = self.build_alone(inputs)
        if features != inputs:
            raise ValueError(
                f"layer {self.name!r} adds its input to its output: the last of its layers must have {inputs} "
                f"features, as the input has, got {features}"
            )
        return inputs

    def axes_after(self, axes: tuple[int, ...], outputs: int) -> tuple[int, ...]:
        """Return one axis: the output is the sum of two rows of one axis."""
        return Layer.axes_after(self, axes, outputs)

    def names_after(self, names: Sequence[Any] | None) -> None:
        """Return None: a sum has no name."""

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return the ops of the block's layers, then the addition."""
        ops = super().lower(offsets)
        if any(op.name == "embedding" for op in ops):
            raise ValueError(f"layer {self.name!r} holds an Embedding, which must be the first layer of a model")
        width = self._widths[0]
        return [*ops, Op("add", "linear", width, width, source=len(ops))]
