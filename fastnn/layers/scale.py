"""The layer that weighs columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastnn import initializers
from fastnn._op import Op
from fastnn.constraints import Constraint
from fastnn.layers.base import Layer, Parameter, SharedWithPenalty
from fastnn.regularizers import Regularizer

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Scale(Layer):
    """y_j = s_j x_j: a factor for each column, which is learned.

    At the start of a network for tables the factors learn which columns matter; Holzmüller, Grinsztajn and Steinwart,
    Better by default: strong pre-tuned MLPs and boosted trees on tabular data, 2024, train them at six times the
    learning rate.

    Parameters
    ----------
    scale_initializer : str or Initializer, default "ones"
    scale_regularizer : str or Regularizer, optional
    scale_constraint : str or Constraint, optional
    **shared
        See :class:`Layer`.

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.Scale(scale_initializer=fastnn.initializers.Constant(0.5))
    >>> fastnn.Sequential([fastnn.Input((2,)), layer]).predict([[-1.0, 2.0]])
    array([[-0.5,  1. ]], dtype=float32)
    """

    takes_activity_regularizer = True
    scale_regularizer: Regularizer | None
    scale_constraint: Constraint | None

    def __init__(
        self,
        scale_initializer: Any = "ones",
        scale_regularizer: Any = None,
        scale_constraint: Any = None,
        **shared: Unpack[SharedWithPenalty],
    ) -> None:
        super().__init__(**shared)
        self.scale_initializer = initializers.get(scale_initializer, "scale_initializer")
        self._set_penalties(scale_regularizer=scale_regularizer, scale_constraint=scale_constraint)
        self._features = 0

    def build(self, inputs: int) -> int:
        """Return the number of outputs, as many as inputs."""
        self._features = inputs
        return inputs

    def parameters(self) -> list[Parameter]:
        """Return the factors, of shape (features,)."""
        return [Parameter("scale", (self._features,), self.scale_initializer)]

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return the one op of the layer."""
        features = self._features
        return [Op("columns", "linear", features, features, offsets["scale"], mode="scale", numbers=(0.0, 1.0, 0.0))]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"scale_initializer": initializers.serialize(self.scale_initializer)}
