"""Gradient descent, and optimizers that scale its step element by element."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastnn._schedules import LearningRateSchedule
from fastnn._settings import Flag, Setting
from fastnn.optimizers.base import Optimizer, Shared, Slot, zeros

if TYPE_CHECKING:
    from typing_extensions import Unpack


class SGD(Optimizer):
    """Gradient descent, θ ← θ - α∇J; with momentum as in Keras (Polyak 1964), or Nesterov's (Sutskever et al. 2013).

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule, default 0.01
    momentum : float, default 0
        The share of the last step that is added to the next one, in [0, 1].
    nesterov : bool, default False
    **shared
        See :class:`Optimizer`.

    Examples
    --------
    >>> from fastnn.optimizers import SGD
    >>> SGD(0.1, momentum=0.9).learning_rate
    0.1
    """

    momentum = Setting(high=1.0)
    nesterov = Flag()
    _FIELDS = ("momentum", "nesterov")

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(learning_rate, **shared)
        self.momentum = momentum
        self.nesterov = nesterov

    @property
    def engine_name(self) -> str:
        """The engine's name for the rule."""
        return "sgd" if not self.momentum else "sgd_nesterov" if self.nesterov else "sgd_momentum"

    def rule_slots(self) -> tuple[Slot, ...]:
        """The slot ``momentum``, where there is momentum."""
        return zeros("momentum") if self.momentum else ()

    def numbers(self) -> tuple[float, ...]:
        """The momentum."""
        return (self.momentum,)


class RMSprop(Optimizer):
    """Divides the gradient by the root of its mean square (Hinton 2012).

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule, default 0.001
    rho : float, default 0.9
        The decay of the mean square, in [0, 1].
    momentum : float, default 0
    epsilon : float, default 1e-7
        Added to the mean square, under the root.
    centered : bool, default False
        Whether to divide by the standard deviation instead: the squared mean is subtracted under the root.
    **shared
        See :class:`Optimizer`.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))])
    >>> model.compile(fastnn.optimizers.RMSprop(0.001, momentum=0.9), "mse")
    """

    rho = Setting(high=1.0)
    momentum = Setting(high=1.0)
    epsilon = Setting(open_low=True)
    centered = Flag()
    _FIELDS = ("rho", "momentum", "epsilon", "centered")

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(learning_rate, **shared)
        self.rho, self.momentum, self.epsilon, self.centered = rho, momentum, epsilon, centered

    @property
    def engine_name(self) -> str:
        """The engine's name for the rule."""
        return "rmsprop" + "_centered" * self.centered + "_momentum" * (self.momentum > 0)

    def rule_slots(self) -> tuple[Slot, ...]:
        """The mean square; the momentum and the mean, where they are used."""
        names = ["velocity"] + ["momentum"] * (self.momentum > 0) + ["average_gradient"] * self.centered
        return zeros(*names)

    def numbers(self) -> tuple[float, ...]:
        """The decay rho, epsilon and the momentum."""
        return (self.rho, self.epsilon, self.momentum)


class Adagrad(Optimizer):
    """Divides the gradient by the root of the sum of its squares so far (Duchi, Hazan and Singer 2011).

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule, default 0.001
    initial_accumulator_value : float, default 0.1
        The value that the sum starts from.
    epsilon : float, default 1e-7
        Added to the sum, under the root.
    **shared
        See :class:`Optimizer`.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))])
    >>> model.compile(fastnn.optimizers.Adagrad(0.05), "mse")
    """

    initial_accumulator_value = Setting()
    epsilon = Setting(open_low=True)
    _FIELDS = ("initial_accumulator_value", "epsilon")

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(learning_rate, **shared)
        self.initial_accumulator_value, self.epsilon = initial_accumulator_value, epsilon

    @property
    def engine_name(self) -> str:
        """The engine's name for the rule."""
        return "adagrad"

    def rule_slots(self) -> tuple[Slot, ...]:
        """The sum of squares."""
        return (Slot("accumulator", self.initial_accumulator_value),)

    def numbers(self) -> tuple[float, ...]:
        """Epsilon."""
        return (self.epsilon,)


class Adadelta(Optimizer):
    """Steps by the root mean square of earlier steps over that of the gradients (Zeiler 2012).

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule, default 0.001
        The paper uses 1.0.
    rho : float, default 0.95
    epsilon : float, default 1e-7
        Added to both mean squares, under their roots.
    **shared
        See :class:`Optimizer`.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))])
    >>> model.compile(fastnn.optimizers.Adadelta(1.0), "mse")
    """

    rho = Setting(high=1.0)
    epsilon = Setting(open_low=True)
    _FIELDS = ("rho", "epsilon")

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(learning_rate, **shared)
        self.rho, self.epsilon = rho, epsilon

    @property
    def engine_name(self) -> str:
        """The engine's name for the rule."""
        return "adadelta"

    def rule_slots(self) -> tuple[Slot, ...]:
        """The mean squares of the gradients and of the steps."""
        return zeros("accumulated_grad", "accumulated_delta_var")

    def numbers(self) -> tuple[float, ...]:
        """The decay rho and epsilon."""
        return (self.rho, self.epsilon)


class Lion(Optimizer):
    """Steps of equal size in each element, along the sign of an interpolated momentum (Chen et al. 2023).

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule, default 0.001
    beta_1 : float, default 0.9
        The share of the momentum in the interpolation whose sign is taken, in (0, 1].
    beta_2 : float, default 0.99
        The decay of the momentum.
    **shared
        See :class:`Optimizer`.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))])
    >>> model.compile(fastnn.optimizers.Lion(1e-4, weight_decay=0.1), "mse")
    """

    beta_1 = Setting(high=1.0, open_low=True)
    beta_2 = Setting(high=1.0)
    _FIELDS = ("beta_1", "beta_2")

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(learning_rate, **shared)
        self.beta_1, self.beta_2 = beta_1, beta_2

    @property
    def engine_name(self) -> str:
        """The engine's name for the rule."""
        return "lion"

    def rule_slots(self) -> tuple[Slot, ...]:
        """The momentum."""
        return zeros("momentum")

    def numbers(self) -> tuple[float, ...]:
        """The decays beta_1 and beta_2."""
        return (self.beta_1, self.beta_2)
