"""A layer that adds a penalty of its outputs to the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastnn._op import Op
from fastnn.layers.base import Layer, Shared
from fastnn.regularizers import L1L2

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ActivityRegularization(Layer):
    """y = x, with a penalty that is part of the loss: ``(l1 * sum(abs(y)) + l2 * sum(y**2)) / rows`` of each batch.

    Parameters
    ----------
    l1, l2 : float, default 0
    **shared
        See :class:`Layer`.

    Notes
    -----
    The penalty is that of ``activity_regularizer=L1L2(l1, l2)`` of the layer before it, at the same cost.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.ActivityRegularization(l1=0.5, input_shape=(2,))])
    >>> model.compile("sgd", "mse")
    >>> model.evaluate([[3.0, -1.0]], [[3.0, -1.0]], verbose=0)
    2.0
    """

    takes_activity_regularizer = keeps_axes = True

    def __init__(
        self,
        l1: float = 0.0,
        l2: float = 0.0,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(activity_regularizer=L1L2(l1, l2), **shared)
        self._features = 0

    @property
    def l1(self) -> float:
        """The factor of the absolute values."""
        return 0.0 if self._activity is None else self._activity.l1

    @l1.setter
    def l1(self, value: float) -> None:
        self.activity_regularizer = L1L2(value, self.l2)

    @property
    def l2(self) -> float:
        """The factor of the squares."""
        return 0.0 if self._activity is None else self._activity.l2

    @l2.setter
    def l2(self, value: float) -> None:
        self.activity_regularizer = L1L2(self.l1, value)

    def build(self, inputs: int) -> int:
        """Return the number of outputs, as many as inputs."""
        self._features = inputs
        return inputs

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return an activation op that changes nothing, for the penalty to stand at."""
        return [Op("activation", "linear", self._features, self._features)]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config.pop("activity_regularizer", None)
        return config | {"l1": self.l1, "l2": self.l2}
