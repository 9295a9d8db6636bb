"""Adam and its kin: steps along the mean gradient, divided by the root of the mean square."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fastnn._schedules import LearningRateSchedule
from fastnn._settings import Flag, Setting
from fastnn.optimizers.base import Optimizer, Shared, SharedWithoutDecay, Slot, zeros

if TYPE_CHECKING:
    from typing_extensions import Unpack


class _Moments(Optimizer):
    """The base of Adam and its kin, which share two decays and an epsilon."""

    beta_1 = Setting(high=1.0, open_high=True)
    beta_2 = Setting(high=1.0, open_high=True)
    epsilon = Setting(open_low=True)
    _FIELDS: ClassVar[tuple[str, ...]] = ("beta_1", "beta_2", "epsilon")
    _SECOND: ClassVar[str] = "velocity"

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(learning_rate, **shared)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def rule_slots(self) -> tuple[Slot, ...]:
        """The first moment; the second moment or norm."""
        return zeros("momentum", self._SECOND)

    def numbers(self) -> tuple[float, ...]:
        """The decays beta_1 and beta_2, and epsilon."""
        return (self.beta_1, self.beta_2, self.epsilon)


class Adam(_Moments):
    """Adam (Kingma and Ba 2015, the form at the end of section 2, as in Keras).

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule, default 0.001
    beta_1, beta_2 : float, default 0.9 and 0.999
        The decays of the first and the second moment, in [0, 1).
    epsilon : float, default 1e-7
        Added to the square root of the second moment.
    amsgrad : bool, default False
        Whether to divide by the largest second moment so far (Reddi et al. 2018).
    **shared
        See :class:`Optimizer`.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))])
    >>> model.compile(fastnn.optimizers.Adam(0.002, global_clipnorm=1.0), "mse")
    """

    amsgrad = Flag()
    _FIELDS = (*_Moments._FIELDS, "amsgrad")

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **shared)
        self.amsgrad = amsgrad

    @property
    def engine_name(self) -> str:
        """The engine's name for the rule."""
        return "adam_amsgrad" if self.amsgrad else "adam"

    def rule_slots(self) -> tuple[Slot, ...]:
        """The first and the second moment; with `amsgrad` also the largest second moment."""
        return super().rule_slots() + (zeros("velocity_hat") if self.amsgrad else ())


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule, default 0.001
    weight_decay : float or LearningRateSchedule, default 0.004
    beta_1, beta_2, epsilon, amsgrad
        As for :class:`Adam`.
    **shared
        See :class:`Optimizer`.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))])
    >>> model.compile(fastnn.optimizers.AdamW(0.002, weight_decay=0.01), "mse")
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        weight_decay: float | LearningRateSchedule = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **shared: Unpack[SharedWithoutDecay],
    ) -> None:
        if weight_decay is None:
            raise ValueError("weight_decay must be a number, got None: use Adam")
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **shared)


class Nadam(_Moments):
    """Adam with Nesterov's momentum (Dozat 2015).

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule, default 0.001
    beta_1, beta_2 : float, default 0.9 and 0.999
    epsilon : float, default 1e-7
    **shared
        See :class:`Optimizer`.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))])
    >>> model.compile(fastnn.optimizers.Nadam(0.002), "mse")
    """

    @property
    def engine_name(self) -> str:
        """The engine's name for the rule."""
        return "nadam"


class Adamax(_Moments):
    """Adam with the largest gradient in the place of the second moment (Kingma and Ba 2015, section 7.1).

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule, default 0.001
    beta_1, beta_2 : float, default 0.9 and 0.999
    epsilon : float, default 1e-7
    **shared
        See :class:`Optimizer`.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))])
    >>> model.compile(fastnn.optimizers.Adamax(0.002), "mse")
    """

    _SECOND = "norm"

    @property
    def engine_name(self) -> str:
        """The engine's name for the rule."""
        return "adamax"
