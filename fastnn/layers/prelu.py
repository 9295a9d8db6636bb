"""A rectifier whose slope is learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastnn import initializers
from fastnn._op import Op
from fastnn.constraints import Constraint
from fastnn.layers.base import Layer, Parameter, SharedWithPenalty
from fastnn.regularizers import Regularizer

if TYPE_CHECKING:
    from typing_extensions import Unpack


class PReLU(Layer):
    """y = x where x > 0, else alpha x, with an alpha for each feature.

    He, Zhang, Ren and Sun, Delving deep into rectifiers, 2015.

    Parameters
    ----------
    alpha_initializer : str or Initializer, default "zeros"
    alpha_regularizer : str or Regularizer, optional
    alpha_constraint : str or Constraint, optional
    **shared
        See :class:`Layer`.

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.PReLU(alpha_initializer=fastnn.initializers.Constant(0.1))
    >>> fastnn.Sequential([fastnn.Input((2,)), layer]).predict([[-1.0, 2.0]]).round(3)
    array([[-0.1,  2. ]], dtype=float32)
    """

    takes_activity_regularizer = True
    alpha_regularizer: Regularizer | None
    alpha_constraint: Constraint | None

    def __init__(
        self,
        alpha_initializer: Any = "zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        **shared: Unpack[SharedWithPenalty],
    ) -> None:
        super().__init__(**shared)
        self.alpha_initializer = initializers.get(alpha_initializer, "alpha_initializer")
        self._set_penalties(alpha_regularizer=alpha_regularizer, alpha_constraint=alpha_constraint)
        self._features = 0

    def build(self, inputs: int) -> int:
        """Return the number of outputs, as many as inputs."""
        self._features = inputs
        return inputs

    def parameters(self) -> list[Parameter]:
        """Return alpha, of shape (features,)."""
        return [Parameter("alpha", (self._features,), self.alpha_initializer)]

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return the one op of the layer."""
        return [Op("prelu", "linear", self._features, self._features, offsets["alpha"])]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"alpha_initializer": initializers.serialize(self.alpha_initializer)}
