"""Optimizers that treat a kernel as a matrix; see src_c/engine/update/adafactor.inc and muon.inc."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastnn._schedules import LearningRateSchedule
from fastnn._settings import Flag, Setting
from fastnn.optimizers.base import Optimizer, Shared, SharedWithoutDecay, Slot, zeros

if TYPE_CHECKING:
    from typing_extensions import Unpack

_MOST_ITERATIONS = 20


class Adafactor(Optimizer):
    """Adam's step with the second moment of a kernel from means of its rows and columns (Shazeer and Stern 2018).

    For a kernel Adafactor keeps inputs + units numbers, where Adam keeps 2 * inputs * units. The formulas are Keras's.

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule, default 0.001
        The step at time t is at most 1 / sqrt(t), times the root mean square of the parameter.
    beta_2_decay : float, default -0.8
        The second moment decays by 1 - t**beta_2_decay at step t; at most 0.
    epsilon_1 : float, default 1e-30
        Added to the squares of gradients.
    epsilon_2 : float, default 1e-3
        The least root mean square of a parameter that is used for its step.
    clip_threshold : float, default 1.0
        The greatest root mean square of a step, before it is multiplied by the learning rate.
    relative_step : bool, default True
        Accepted without effect, as in Keras: the learning rate is limited to 1 / sqrt(t) either way.
    **shared
        See :class:`Optimizer`.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))])
    >>> model.compile(fastnn.optimizers.Adafactor(0.01), "mse")
    """

    beta_2_decay = Setting(low=-math.inf, high=0.0)
    epsilon_1 = Setting(open_low=True)
    epsilon_2 = Setting()
    clip_threshold = Setting(open_low=True)
    relative_step = Flag()
    _FIELDS = ("beta_2_decay", "epsilon_1", "epsilon_2", "clip_threshold", "relative_step")

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        beta_2_decay: float = -0.8,
        epsilon_1: float = 1e-30,
        epsilon_2: float = 1e-3,
        clip_threshold: float = 1.0,
        relative_step: bool = True,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(learning_rate, **shared)
        self.beta_2_decay, self.epsilon_1, self.epsilon_2 = beta_2_decay, epsilon_1, epsilon_2
        self.clip_threshold, self.relative_step = clip_threshold, relative_step

    @property
    def engine_name(self) -> str:
        """The engine's name for the rule."""
        return "adafactor"

    def rule_slots(self) -> tuple[Slot, ...]:
        """The means of rows and of columns; the second moment of a vector."""
        return zeros("r", "c", "velocity")

    def slot_shape(self, slot: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the rows or the columns of a matrix; the whole shape of a vector."""
        if slot in ("r", "c"):
            return (shape[0 if slot == "r" else 1],) if len(shape) == 2 else (0,)
        return (0,) if slot == "velocity" and len(shape) == 2 else shape

    def numbers(self) -> tuple[float, ...]:
        """The decay, the epsilons and the threshold."""
        return (self.beta_2_decay, self.epsilon_1, self.epsilon_2, self.clip_threshold)


class Muon(Optimizer):
    """Steps along the momentum with all its singular values drawn to 1 (Jordan et al. 2024), as in Keras.

    Kernels follow this rule; vectors, embeddings and the layers of `exclude_layers` follow Adam's. The output layer
    trains better with Adam: name it in `exclude_layers`.

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule, default 0.001
    adam_beta_1, adam_beta_2 : float, default 0.9 and 0.999
    adam_weight_decay : float, optional, default 0.004
        The weight decay of parameters that follow Adam.
    epsilon : float, default 1e-7
        Adam's epsilon.
    weight_decay : float or LearningRateSchedule, optional, default 0.004
        The weight decay of parameters that follow Muon.
    exclude_layers : sequence of str, optional
        Strings; a parameter whose ``layer/name`` contains one of them follows Adam.
    exclude_embeddings : bool, default True
        Whether parameters whose ``layer/name`` contains "embedding" follow Adam.
    muon_a, muon_b, muon_c : float, default 3.4445, -4.7750 and 2.0315
        In each iteration x becomes a x + (b A + c A A) x, with A = x xᵀ.
    adam_lr_ratio : float, default 1
        The learning rate of Adam, divided by the learning rate of Muon.
    momentum : float, default 0.95
    ns_steps : int, default 5
        The number of iterations, at most 20.
    nesterov : bool, default True
    rms_rate : float, optional, default 0.2
        A step is multiplied by rms_rate * sqrt(larger side of the kernel), which makes it as large as a step of Adam
        (Liu et al. 2025); None leaves it as it is.
    **shared
        See :class:`Optimizer`.

    Notes
    -----
    In Keras the strings of `exclude_layers` are regular expressions; here each string is searched for as it stands.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))])
    >>> model.compile(fastnn.optimizers.Muon(0.01), "mse")
    """

    adam_beta_1 = Setting(high=1.0, open_high=True)
    adam_beta_2 = Setting(high=1.0, open_high=True)
    adam_weight_decay = Setting(optional=True)
    epsilon = Setting(open_low=True)
    adam_lr_ratio = Setting()
    momentum = Setting(high=1.0)
    rms_rate = Setting(optional=True)
    muon_a = Setting(low=-math.inf)
    muon_b = Setting(low=-math.inf)
    muon_c = Setting(low=-math.inf)
    nesterov = Flag()
    exclude_embeddings = Flag()
    exclude_layers: Sequence[str] = ()
    ns_steps = Setting(high=_MOST_ITERATIONS, whole=True)
    _RULES = ("weight_decay_exclusions", "exclude_layers", "exclude_embeddings")
    _FIELDS = (
        "adam_beta_1", "adam_beta_2", "adam_weight_decay", "epsilon", "exclude_layers", "exclude_embeddings", "muon_a",
        "muon_b", "muon_c", "adam_lr_ratio", "momentum", "ns_steps", "nesterov", "rms_rate",
    )  # fmt: skip

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        adam_beta_1: float = 0.9,
        adam_beta_2: float = 0.999,
        adam_weight_decay: float | None = 0.004,
        epsilon: float = 1e-7,
        weight_decay: float | LearningRateSchedule | None = 0.004,
        exclude_layers: Sequence[str] | None = None,
        exclude_embeddings: bool = True,
        muon_a: float = 3.4445,
        muon_b: float = -4.7750,
        muon_c: float = 2.0315,
        adam_lr_ratio: float = 1,
        momentum: float = 0.95,
        ns_steps: int = 5,
        nesterov: bool = True,
        rms_rate: float | None = 0.2,
        **shared: Unpack[SharedWithoutDecay],
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **shared)
        self.adam_beta_1, self.adam_beta_2, self.epsilon = adam_beta_1, adam_beta_2, epsilon
        self.adam_weight_decay, self.adam_lr_ratio = adam_weight_decay, adam_lr_ratio
        self.muon_a, self.muon_b, self.muon_c = muon_a, muon_b, muon_c
        self.momentum, self.nesterov, self.rms_rate = momentum, nesterov, rms_rate
        self.ns_steps = ns_steps
        names = () if exclude_layers is None else tuple(exclude_layers)
        if isinstance(exclude_layers, str) or not all(isinstance(name, str) and name for name in names):
            raise TypeError(f"exclude_layers must be a list of non-empty strings, got {exclude_layers!r}")
        self.exclude_layers, self.exclude_embeddings = names, exclude_embeddings

    @property
    def engine_name(self) -> str:
        """The engine's name for the rule."""
        return "muon"

    def uses_second_rule(self, path: str, shape: tuple[int, ...]) -> bool:
        """Return whether the parameter ``layer/name`` follows Adam."""
        embedding = self.exclude_embeddings and "embedding" in path.lower()
        return len(shape) != 2 or embedding or any(name in path for name in self.exclude_layers)

    def rule_slots(self) -> tuple[Slot, ...]:
        """The momentum, and the second moment of parameters that follow Adam."""
        return zeros("momentum", "velocity")

    def numbers(self) -> tuple[float, ...]:
        """The numbers of muon.inc, then Adam's."""
        rate = -1.0 if self.rms_rate is None else self.rms_rate
        own = (self.momentum, float(self.nesterov), self.muon_a, self.muon_b, self.muon_c, rate, float(self.ns_steps))
        adam = (self.adam_beta_1, self.adam_beta_2, self.epsilon, self.adam_lr_ratio, self.adam_weight_decay or 0.0)
        return (*own, *adam)
