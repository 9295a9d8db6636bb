"""An activation whose strength is learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastnn import activations, initializers
from fastnn._op import Op
from fastnn.activations import ActivationFunction
from fastnn.constraints import Constraint
from fastnn.layers.base import Layer, Parameter, SharedWithPenalty
from fastnn.regularizers import Regularizer

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ParametricActivation(Layer):
    """y_j = x_j + alpha_j (f(x_j) - x_j): an activation f for each column as strong as its alpha, which is learned.

    With an alpha of 1 it is f, with 0 the identity (Holzmüller, Grinsztajn and Steinwart, Better by default, 2024).

    Parameters
    ----------
    activation : str, ActivationFunction or config
        f, which must work element by element.
    alpha_initializer : str or Initializer, default "ones"
    alpha_regularizer : str or Regularizer, optional
    alpha_constraint : str or Constraint, optional
    **shared
        See :class:`Layer`.

    Raises
    ------
    ValueError
        When f needs whole rows, as softmax does.

    Examples
    --------
    >>> import fastnn
    >>> half = fastnn.layers.ParametricActivation("relu", fastnn.initializers.Constant(0.5))
    >>> fastnn.Sequential([fastnn.Input((2,)), half]).predict([[-1.0, 2.0]])
    array([[-0.5,  2. ]], dtype=float32)
    """

    takes_activity_regularizer = True
    alpha_regularizer: Regularizer | None
    alpha_constraint: Constraint | None

    def __init__(
        self,
        activation: Any,
        alpha_initializer: Any = "ones",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        **shared: Unpack[SharedWithPenalty],
    ) -> None:
        super().__init__(**shared)
        self.activation: ActivationFunction = activations.get(activation)
        if not self.activation.elementwise:
            raise ValueError(
                f"activation must work element by element in a ParametricActivation, got {self.activation.name!r}"
            )
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
        f, features = self.activation, self._features
        return [Op("blend", f.engine_name, features, features, offsets["alpha"], numbers=f.numbers)]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {
            "activation": activations.serialize(self.activation),
            "alpha_initializer": initializers.serialize(self.alpha_initializer),
        }
