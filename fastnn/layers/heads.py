"""The layer of a model with several named outputs."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._op import Op
from fastnn._registry import by_name
from fastnn.data.frames import real_array
from fastnn.layers.base import NameAndType
from fastnn.layers.container import Parallel

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Heads(Parallel):
    """The last layer of a model with several outputs: a small stack of layers for each output, all on the same input.

    Parameters
    ----------
    heads : dict
        A list of layers or a Sequential under the name of each output. The head holds a copy of a Sequential, with its
        weights.
    **shared
        See :class:`Layer`.

    Notes
    -----
    y, losses, ``loss_weights``, metrics and predictions are dicts with the heads' names. The gradients of all heads are
    summed in their order.

    Examples
    --------
    >>> import fastnn
    >>> from fastnn import layers
    >>> heads = layers.Heads({"price": [layers.Dense(1)], "kind": [layers.Dense(3, "softmax")]})
    >>> model = fastnn.Sequential([layers.Input((2,)), layers.Dense(4, "relu"), heads])
    >>> {name: output.shape for name, output in model.predict([[0.5, 1.0]]).items()}
    {'price': (1, 1), 'kind': (1, 3)}
    """

    must_be_last = True

    def __init__(self, heads: Any, **shared: Unpack[NameAndType]) -> None:
        super().__init__(heads, "heads", **shared)

    def build(self, inputs: int) -> int:
        """Settle the shapes of the heads, and return the sum of their numbers of outputs."""
        for stack in self._layers:
            if stack.input_features not in (None, inputs):
                raise ValueError(f"head {stack.name!r} was made for {stack.input_features} features, got {inputs}")
        return sum(stack.build_alone(inputs) for stack in self._layers)

    def split(self, rows: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """Return the columns of each head, as views of `rows`."""
        ends = list(itertools.accumulate(self.outputs.values()))
        return {name: rows[:, end - width : end] for (name, width), end in zip(self.outputs.items(), ends, strict=True)}

    def joined(self, values: Any, argument: str) -> npt.NDArray[Any]:
        """Return one matrix from an array for each head: the inverse of :meth:`split`."""
        names = list(self.outputs)
        given = zip(names, by_name(values, names, argument), strict=True)
        arrays = [real_array(array, f"{argument}[{name!r}]", "") for name, array in given]
        for array, (name, width) in zip(arrays, self.outputs.items(), strict=True):
            if array.ndim != 2 or array.shape[1] != width or len(array) != len(arrays[0]):
                raise ValueError(f"{argument}[{name!r}] must have shape (rows, {width}), got {array.shape}")
        return np.concatenate(arrays, axis=1)

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return the ops of the heads, each of which reads the layer's input, and the op that joins them."""
        return self._lower_joined(offsets, [0] * len(self._layers))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {
            "heads": {str(stack.name): stack.serialized(stack.input_features) for stack in self._layers}
        }
