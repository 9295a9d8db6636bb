"""The entry of a model that says how wide the rows of x are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastnn._op import Op
from fastnn.layers.base import Layer, Shared, axes_of

if TYPE_CHECKING:
    from typing_extensions import Unpack


class InputLayer(Layer):
    """The first entry of a model whose input width is known.

    Parameters
    ----------
    shape : tuple of int
        The shape ``(features,)`` of a row, without the axis of rows; several axes, as of images, before a
        :class:`Flatten`.
    **shared
        See :class:`Layer`.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.Sequential([fastnn.layers.InputLayer((4,)), fastnn.layers.Dense(2)]).built
    True
    """

    idle = keeps_axes = True

    def __init__(self, shape: Any = None, **shared: Unpack[Shared]) -> None:
        shared["input_shape"] = axes_of(shared.get("input_shape") if shape is None else shape, "shape")
        super().__init__(**shared)

    def build(self, inputs: int) -> int:
        """Return the number of outputs: as many as inputs."""
        return inputs

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return no op: the engine has nothing to compute."""
        return []


def Input(shape: Any, name: str | None = None, dtype: Any = None) -> InputLayer:  # noqa: N802 (Keras's name)
    """Return the :class:`InputLayer` for rows of ``shape = (features,)``.

    Parameters
    ----------
    shape : tuple of int
        The shape ``(features,)`` of a row, without the axis of rows; several axes before a :class:`Flatten`.
    name : str, optional
    dtype : {"float32", "float64", "mixed_bfloat16"}, optional

    Examples
    --------
    >>> import fastnn
    >>> fastnn.Sequential([fastnn.Input((4,)), fastnn.layers.Dense(2)]).built
    True
    """
    return InputLayer(shape, name=name, dtype=dtype)
