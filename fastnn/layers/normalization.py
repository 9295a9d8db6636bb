"""Layers that normalize rows or columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastnn import initializers
from fastnn._op import Op
from fastnn._settings import flag, number
from fastnn.constraints import Constraint
from fastnn.initializers import Initializer
from fastnn.layers.base import Layer, Parameter, SharedWithPenalty, check_axis
from fastnn.regularizers import Regularizer

if TYPE_CHECKING:
    from typing_extensions import Unpack


class _Scaled(Layer):
    """The base of normalizations, which are followed by y gamma + beta."""

    takes_activity_regularizer = True

    def __init__(
        self,
        axis: Any,
        epsilon: Any,
        **shared: Unpack[SharedWithPenalty],
    ) -> None:
        super().__init__(**shared)
        check_axis(axis)
        self.epsilon = number("epsilon", epsilon, 0)
        self.center = self.scale = True
        self.gamma_initializer: Initializer = initializers.get("ones", "gamma_initializer")
        self.beta_initializer: Initializer = initializers.get("zeros", "beta_initializer")
        self._features = 0

    def _set(self, center: Any, scale: Any, gamma_initializer: Any, beta_initializer: Any) -> None:
        self.center, self.scale = flag("center", center), flag("scale", scale)
        self.gamma_initializer = initializers.get(gamma_initializer, "gamma_initializer")
        self.beta_initializer = initializers.get(beta_initializer, "beta_initializer")

    def build(self, inputs: int) -> int:
        """Return the number of outputs, as many as inputs."""
        self._features = inputs
        return inputs

    def parameters(self) -> list[Parameter]:
        """Return gamma and beta, as far as the layer has them."""
        shape = (self._features,)
        gamma = [Parameter("gamma", shape, self.gamma_initializer)] if self.scale else []
        beta = [Parameter("beta", shape, self.beta_initializer)] if self.center else []
        return [*gamma, *beta]

    def _op(self, name: str, offsets: dict[str, int], second: float) -> Op:
        features, gamma, beta = self._features, offsets.get("gamma", -1), offsets.get("beta", -1)
        return Op(name, "linear", features, features, gamma, beta, (self.epsilon, second))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "gamma_initializer": initializers.serialize(self.gamma_initializer),
            "beta_initializer": initializers.serialize(self.beta_initializer),
        }


class LayerNormalization(_Scaled):
    """Gives each row mean 0 and variance 1, then scales and shifts: y = (x - mean) / deviation gamma + beta.

    Ba, Kiros and Hinton, Layer normalization, 2016.

    Parameters
    ----------
    axis : int, default -1
        The axis of the features; a row has no other axis.
    epsilon : float, default 1e-3
        Added to the variance. (PyTorch's default is 1e-5.)
    center : bool, default True
        Whether there is a beta, of shape (features,).
    scale : bool, default True
        Whether there is a gamma, of shape (features,).
    beta_initializer : str or Initializer, default "zeros"
    gamma_initializer : str or Initializer, default "ones"
    beta_regularizer, gamma_regularizer : str or Regularizer, optional
    beta_constraint, gamma_constraint : str or Constraint, optional
    **shared
        See :class:`Layer`.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.LayerNormalization()])
    >>> model.predict([[1.0, 3.0]]).round(3)
    array([[-1.,  1.]], dtype=float32)
    """

    beta_regularizer: Regularizer | None
    gamma_regularizer: Regularizer | None
    beta_constraint: Constraint | None
    gamma_constraint: Constraint | None

    def __init__(
        self,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **shared: Unpack[SharedWithPenalty],
    ) -> None:
        super().__init__(axis, epsilon, **shared)
        self._set(center, scale, gamma_initializer, beta_initializer)
        self._set_penalties(
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
        )

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return the one op of the layer."""
        return [self._op("layer_normalization", offsets, 1.0)]


class RMSNormalization(_Scaled):
    """y = gamma x / sqrt(mean(x²) + epsilon), where the mean is over the features of a row.

    Zhang and Sennrich, Root mean square layer normalization, 2019.

    Parameters
    ----------
    axis : int, default -1
        The axis of the features; a row has no other axis.
    epsilon : float, default 1e-6
        Added to the mean of the squares.
    **shared
        See :class:`Layer`.

    Notes
    -----
    The parameter is called ``scale`` in Keras and ``gamma`` here.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.RMSNormalization()])
    >>> model.predict([[3.0, 4.0]]).round(3)
    array([[0.849, 1.131]], dtype=float32)
    """

    def __init__(
        self,
        axis: int = -1,
        epsilon: float = 1e-6,
        **shared: Unpack[SharedWithPenalty],
    ) -> None:
        super().__init__(axis, epsilon, **shared)
        self.center = False

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return the one op of the layer."""
        return [self._op("layer_normalization", offsets, 0.0)]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return Layer.get_config(self) | {"epsilon": self.epsilon}


class UnitNormalization(Layer):
    """y = x / sqrt(sum(x²) + 1e-24), where the sum is over the features of a row: rows of length 1.

    Parameters
    ----------
    axis : int, default -1
        The axis of the features; a row has no other axis.
    **shared
        See :class:`Layer`.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.UnitNormalization()])
    >>> model.predict([[3.0, 4.0]]).round(3)
    array([[0.6, 0.8]], dtype=float32)
    """

    takes_activity_regularizer = True

    def __init__(self, axis: int = -1, **shared: Unpack[SharedWithPenalty]) -> None:
        super().__init__(**shared)
        check_axis(axis)
        self._features = 0

    def build(self, inputs: int) -> int:
        """Return the number of outputs, as many as inputs."""
        self._features = inputs
        return inputs

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return the one op of the layer."""
        return [Op("unit_normalization", "linear", self._features, self._features)]


class BatchNormalization(_Scaled):
    """Gives each column mean 0 and variance 1 over the batch, then scales and shifts the columns.

    Outside of training (and while the layer is not trainable) moving statistics take the place of the batch's: at each
    step ``moving = moving * momentum + statistic * (1 - momentum)``, with the biased variance, as in Keras. Ioffe and
    Szegedy, Batch normalization, 2015.

    Parameters
    ----------
    axis : int, default -1
        The axis of the features; a row has no other axis.
    momentum : float, default 0.99
    epsilon : float, default 1e-3
        Added to the variance.
    center : bool, default True
        Whether there is a beta, of shape (features,).
    scale : bool, default True
        Whether there is a gamma, of shape (features,).
    beta_initializer : str or Initializer, default "zeros"
    gamma_initializer : str or Initializer, default "ones"
    beta_regularizer, gamma_regularizer : str or Regularizer, optional
    beta_constraint, gamma_constraint : str or Constraint, optional
    moving_mean_initializer : str or Initializer, default "zeros"
    moving_variance_initializer : str or Initializer, default "ones"
    **shared
        See :class:`Layer`.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.BatchNormalization()])
    >>> model.predict([[2.0, 4.0]]).round(3)
    array([[1.999, 3.998]], dtype=float32)
    """

    beta_regularizer: Regularizer | None
    gamma_regularizer: Regularizer | None
    beta_constraint: Constraint | None
    gamma_constraint: Constraint | None

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **shared: Unpack[SharedWithPenalty],
    ) -> None:
        super().__init__(axis, epsilon, **shared)
        self.momentum = number("momentum", momentum, 0, 1)
        self._set(center, scale, gamma_initializer, beta_initializer)
        self._set_penalties(
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
        )
        self.moving_mean_initializer = initializers.get(moving_mean_initializer, "moving_mean_initializer")
        self.moving_variance_initializer = initializers.get(moving_variance_initializer, "moving_variance_initializer")

    def parameters(self) -> list[Parameter]:
        """Return gamma and beta, as far as the layer has them, then the moving mean and variance."""
        shape = (self._features,)
        return [
            *super().parameters(),
            Parameter("moving_mean", shape, self.moving_mean_initializer),
            Parameter("moving_variance", shape, self.moving_variance_initializer),
        ]

    def non_trainable(self) -> frozenset[str]:
        """Return the names of the moving statistics; all names while the layer is not trained."""
        return super().non_trainable() | {"moving_mean", "moving_variance"}

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return the one op of the layer."""
        op = self._op("batch_normalization", offsets, self.momentum)
        return [op._replace(mean=offsets["moving_mean"], variance=offsets["moving_variance"])]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {
            "momentum": self.momentum,
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
        }
