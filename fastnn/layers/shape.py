"""Layers that change the axes of a row; the numbers stay where they are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fastnn._op import Op
from fastnn.layers.base import Layer, Shared

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Flatten(Layer):
    """Turns rows of several axes into rows of one, the last axis moving fastest. Costs nothing.

    Parameters
    ----------
    data_format : {None, "channels_last"}
        Accepted as in Keras; the numbers stay in the order in which they lie in memory.
    **shared
        See :class:`Layer`.

    Examples
    --------
    >>> import fastnn, numpy as np
    >>> from fastnn import layers
    >>> model = fastnn.Sequential([fastnn.Input((28, 28)), layers.Flatten(), layers.Dense(10)])
    >>> model.predict(np.zeros((5, 28, 28))).shape
    (5, 10)
    """

    idle = takes_axes = True

    def __init__(
        self,
        data_format: str | None = None,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(**shared)
        if data_format not in (None, "channels_last"):
            raise ValueError(f"data_format must be None or 'channels_last', got {data_format!r}")

    def build(self, inputs: int) -> int:
        """Return the number of outputs, as many as inputs."""
        return inputs

    def axes_after(self, axes: tuple[int, ...], outputs: int) -> tuple[int, ...]:
        """Return one axis, of all features."""
        return (outputs,)

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return no op: the engine has nothing to compute."""
        return []


class Reshape(Layer):
    """Gives rows other axes, with the numbers in the same order. Costs nothing.

    Parameters
    ----------
    target_shape : tuple of int
        The axes of a row, without the axis of rows; one length may be -1, which stands for what is left. Only layers
        that treat each number by itself (:class:`Activation`, dropout and noise, :class:`Rescaling`) may follow rows of
        several axes, before a :class:`Flatten` or another Reshape.
    **shared
        See :class:`Layer`.

    Examples
    --------
    >>> import fastnn, numpy as np
    >>> from fastnn import layers
    >>> model = fastnn.Sequential([fastnn.Input((4, 3)), layers.Reshape((12,)), layers.Dense(2)])
    >>> model.predict(np.zeros((5, 4, 3))).shape
    (5, 2)
    """

    idle = takes_axes = True

    def __init__(self, target_shape: Any, **shared: Unpack[Shared]) -> None:
        super().__init__(**shared)
        target = tuple(target_shape) if isinstance(target_shape, (tuple, list)) else (target_shape,)
        whole = all(isinstance(length, int) and not isinstance(length, bool) for length in target)
        if not target or not whole or min(target) < -1 or 0 in target or target.count(-1) > 1:
            raise ValueError(f"target_shape must hold lengths of at least 1 and at most one -1, got {target_shape!r}")
        self.target_shape = target
        self._axes: tuple[int, ...] = target

    def build(self, inputs: int) -> int:
        """Return the number of outputs, as many as inputs, which the axes must hold."""
        known = math.prod(length for length in self.target_shape if length != -1)
        if inputs % known or (-1 not in self.target_shape and known != inputs):
            raise ValueError(f"layer {self.name!r} cannot make {self.target_shape} of {inputs} features")
        self._axes = tuple(inputs // known if length == -1 else length for length in self.target_shape)
        return inputs

    def axes_after(self, axes: tuple[int, ...], outputs: int) -> tuple[int, ...]:
        """Return the axes of `target_shape`."""
        return self._axes

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return no op: the engine has nothing to compute."""
        return []

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"target_shape": list(self.target_shape)}
