"""Learning rates that depend on the step. The engine evaluates them, once a step; see src_c/engine/update/step.c.

Pass one as an optimizer's `learning_rate`. Calling it gives the rate at a step, counted from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn._engine import learning_rate as rate_at
from fastnn._public import Configured, publish
from fastnn._registry import Registry
from fastnn._settings import Description, count, flag, listed, number

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "OneCycle",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "serialize",
]

_NO_TABLE = np.zeros(0)


class LearningRateSchedule(Description, Configured):
    """The base of all schedules.

    Attributes
    ----------
    name : str
        Accepted as in Keras, without a meaning here.

    Examples
    --------
    >>> import fastnn
    >>> rate = fastnn.optimizers.schedules.CosineDecay(0.1, decay_steps=1000)
    >>> optimizer = fastnn.optimizers.SGD(rate)
    """

    engine_name: ClassVar[str] = "constant"
    _fields: ClassVar[tuple[str, ...]] = ()
    # In a schedule of pieces, the last step of each piece but the last, and the rate of each piece.
    table: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] = (_NO_TABLE, _NO_TABLE)
    name: str

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers that the engine needs, in the order in which it reads them."""
        raise NotImplementedError

    def __call__(self, step: int) -> float:
        """Return the learning rate at `step`, counted from 0."""
        return rate_at(self.engine_name, self.numbers, *self.table, count("step", step, 0, 2**62))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {field: listed(getattr(self, field)) for field in (*self._fields, "name")}

    def _set(self, name: str, **rates: Any) -> None:
        self.name = name
        for field, value in rates.items():
            setattr(self, field, number(field, value, 0.0))


class _Constant(LearningRateSchedule):
    """The same rate at every step, as a plain number means it."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate

    @property
    def numbers(self) -> tuple[float, ...]:
        return (self.learning_rate,)


class _Decay(LearningRateSchedule):
    """The base of exponential and inverse time decay."""

    _fields = ("initial_learning_rate", "decay_steps", "decay_rate", "staircase")
    initial_learning_rate: float
    decay_rate: float

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = None,
    ) -> None:
        self._set(name or type(self).__name__, initial_learning_rate=initial_learning_rate, decay_rate=decay_rate)
        self.decay_steps, self.staircase = count("decay_steps", decay_steps, 1), flag("staircase", staircase)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers that the engine needs, in the order in which it reads them."""
        return (self.initial_learning_rate, self.decay_steps, self.decay_rate, float(self.staircase))


class ExponentialDecay(_Decay):
    """initial_learning_rate * decay_rate ** (step / decay_steps).

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
    decay_rate : float
    staircase : bool, default False
        Whether step / decay_steps is rounded down.
    name : str, optional

    Examples
    --------
    >>> from fastnn.optimizers import schedules
    >>> schedules.ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5)(20)
    0.025
    """

    engine_name = "exponential_decay"


class InverseTimeDecay(_Decay):
    """initial_learning_rate / (1 + decay_rate * step / decay_steps).

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
    decay_rate : float
    staircase : bool, default False
        Whether step / decay_steps is rounded down.
    name : str, optional

    Examples
    --------
    >>> import fastnn
    >>> fastnn.optimizers.schedules.InverseTimeDecay(0.1, decay_steps=10, decay_rate=1.0)(10)
    0.05
    """

    engine_name = "inverse_time_decay"


class PiecewiseConstantDecay(LearningRateSchedule):
    """values[0] up to and including step boundaries[0], then values[1] up to boundaries[1], and so on.

    Parameters
    ----------
    boundaries : sequence of int
        Steps in rising order.
    values : sequence of float
        The rates, one more than there are boundaries.
    name : str, default "PiecewiseConstant"

    Examples
    --------
    >>> import fastnn
    >>> rate = fastnn.optimizers.schedules.PiecewiseConstantDecay([10, 20], [0.1, 0.01, 0.001])
    >>> rate(10), rate(11), rate(21)
    (0.1, 0.01, 0.001)
    """

    engine_name = "piecewise_constant_decay"
    _fields = ("boundaries", "values")

    def __init__(self, boundaries: Sequence[int], values: Sequence[float], name: str = "PiecewiseConstant") -> None:
        self.name = name
        self.boundaries = tuple(count("boundaries", step, 0, 2**53) for step in boundaries)
        self.values = tuple(number("values", rate, 0.0) for rate in values)
        if len(self.boundaries) != len(self.values) - 1:
            raise ValueError(
                f"values must hold one more number than boundaries, got {len(self.values)} and {len(self.boundaries)}"
            )
        if any(b <= a for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError(f"boundaries must rise, got {list(self.boundaries)}")
        self.table = (np.array(self.boundaries, np.float64), np.array(self.values, np.float64))
        for array in self.table:
            array.flags.writeable = False

    @property
    def numbers(self) -> tuple[float, ...]:
        """No numbers: the table has them."""
        return ()


class PolynomialDecay(LearningRateSchedule):
    """(initial_learning_rate - end_learning_rate) * (1 - step / decay_steps) ** power + end_learning_rate.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
        The number of steps of the decay; afterwards the rate stays at its end.
    end_learning_rate : float, default 0.0001
    power : float, default 1.0
    cycle : bool, default False
        Whether steps beyond `decay_steps` go on decaying, over twice, thrice ... as many steps, instead.
    name : str, default "PolynomialDecay"

    Examples
    --------
    >>> import fastnn
    >>> fastnn.optimizers.schedules.PolynomialDecay(0.1, decay_steps=10, end_learning_rate=0.0)(5)
    0.05
    """

    engine_name = "polynomial_decay"
    _fields = ("initial_learning_rate", "decay_steps", "end_learning_rate", "power", "cycle")
    initial_learning_rate: float
    end_learning_rate: float
    power: float

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        self._set(name, initial_learning_rate=initial_learning_rate, end_learning_rate=end_learning_rate, power=power)
        self.decay_steps, self.cycle = count("decay_steps", decay_steps, 1), flag("cycle", cycle)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers that the engine needs, in the order in which it reads them."""
        return (
            self.initial_learning_rate,
            self.decay_steps,
            self.end_learning_rate,
            self.power,
            float(self.cycle),
        )


class CosineDecay(LearningRateSchedule):
    """Falls along half a cosine wave, perhaps after a rise in a straight line (Loshchilov and Hutter 2017, eq. 5).

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
        The number of steps of the fall; afterwards the rate stays at its end.
    alpha : float, default 0.0
        The last rate, as a share of the rate at which the fall begins.
    name : str, default "CosineDecay"
    warmup_target : float, optional
        The rate at which the rise from `initial_learning_rate` ends; None leaves the rise out.
    warmup_steps : int, default 0
        The number of steps of the rise.

    Examples
    --------
    >>> import fastnn
    >>> round(fastnn.optimizers.schedules.CosineDecay(0.1, decay_steps=10)(5), 6)
    0.05
    """

    engine_name = "cosine_decay"
    _fields = ("initial_learning_rate", "decay_steps", "alpha", "warmup_target", "warmup_steps")
    initial_learning_rate: float
    alpha: float

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        self._set(name, initial_learning_rate=initial_learning_rate, alpha=alpha)
        self.decay_steps = count("decay_steps", decay_steps, 1)
        self.warmup_target = None if warmup_target is None else number("warmup_target", warmup_target, 0.0)
        self.warmup_steps = count("warmup_steps", warmup_steps, 0)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers that the engine needs, in the order in which it reads them."""
        target = -1.0 if self.warmup_target is None else self.warmup_target
        return (self.initial_learning_rate, self.decay_steps, self.alpha, target, self.warmup_steps)


class CosineDecayRestarts(LearningRateSchedule):
    """Cosine waves one after the other, each `t_mul` times as long and `m_mul` times as high as the last (SGDR).

    Parameters
    ----------
    initial_learning_rate : float
    first_decay_steps : int
    t_mul : float, default 2.0
        At least 1.
    m_mul : float, default 1.0
    alpha : float, default 0.0
        The lowest rate, as a share of the initial one.
    name : str, default "SGDRDecay"

    Examples
    --------
    >>> import fastnn
    >>> rate = fastnn.optimizers.schedules.CosineDecayRestarts(0.1, first_decay_steps=10)
    >>> rate(0), rate(10)
    (0.1, 0.1)
    """

    engine_name = "cosine_decay_restarts"
    _fields = ("initial_learning_rate", "first_decay_steps", "t_mul", "m_mul", "alpha")
    initial_learning_rate: float
    m_mul: float
    alpha: float

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: int,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ) -> None:
        self._set(name, initial_learning_rate=initial_learning_rate, m_mul=m_mul, alpha=alpha)
        self.first_decay_steps = count("first_decay_steps", first_decay_steps, 1)
        self.t_mul = number("t_mul", t_mul, 1.0)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers that the engine needs, in the order in which it reads them."""
        return (self.initial_learning_rate, self.first_decay_steps, self.t_mul, self.m_mul, self.alpha)


class OneCycle(LearningRateSchedule):
    """Rises along half a cosine wave, then falls along another one to almost nothing (Smith and Topin 2018).

    Keras has no such schedule; the defaults are those that users of the paper settled on.

    Parameters
    ----------
    max_learning_rate : float
    total_steps : int
    warmup_fraction : float, default 0.3
        The share of the steps in which the rate rises.
    initial_divisor : float, default 25
        The first rate is max_learning_rate / initial_divisor,
    final_divisor : float, default 10000
        and the last rate is the first one divided by final_divisor.
    name : str, default "OneCycle"

    Examples
    --------
    >>> from fastnn.optimizers import schedules
    >>> schedules.OneCycle(0.1, total_steps=100)(30)
    0.1
    """

    engine_name = "one_cycle"
    _fields = ("max_learning_rate", "total_steps", "warmup_fraction", "initial_divisor", "final_divisor")
    max_learning_rate: float

    def __init__(
        self,
        max_learning_rate: float,
        total_steps: int,
        warmup_fraction: float = 0.3,
        initial_divisor: float = 25.0,
        final_divisor: float = 1e4,
        name: str = "OneCycle",
    ) -> None:
        self._set(name, max_learning_rate=max_learning_rate)
        self.total_steps = count("total_steps", total_steps, 1)
        self.warmup_fraction = number("warmup_fraction", warmup_fraction, 0.0, 1.0)
        self.initial_divisor = number("initial_divisor", initial_divisor, 0.0, open_low=True)
        self.final_divisor = number("final_divisor", final_divisor, 0.0, open_low=True)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers that the engine needs, in the order in which it reads them."""
        first = self.max_learning_rate / self.initial_divisor
        rise = float(round(self.warmup_fraction * self.total_steps))
        return (first, self.max_learning_rate, first / self.final_divisor, rise, self.total_steps - rise)


_registry: Registry[LearningRateSchedule] = Registry(
    "learning rate schedule", LearningRateSchedule, computed=("__call__",)
)
for _schedule in (
    ExponentialDecay,
    InverseTimeDecay,
    PiecewiseConstantDecay,
    PolynomialDecay,
    CosineDecay,
    CosineDecayRestarts,
    OneCycle,
):
    _registry.register(_schedule)


def deserialize(config: dict[str, Any]) -> LearningRateSchedule:
    """Return the schedule that :func:`serialize` described.

    Parameters
    ----------
    config : dict

    Examples
    --------
    >>> import fastnn
    >>> config = fastnn.optimizers.schedules.serialize(fastnn.optimizers.schedules.CosineDecay(0.1, 10))
    >>> fastnn.optimizers.schedules.deserialize(config)(0)
    0.1
    """
    return _registry.get(config, "learning_rate")


def serialize(learning_rate_schedule: LearningRateSchedule) -> dict[str, Any]:
    """Return a JSON-able dict from which :func:`deserialize` makes an equal schedule.

    Parameters
    ----------
    learning_rate_schedule : LearningRateSchedule

    Examples
    --------
    >>> import fastnn
    >>> fastnn.optimizers.schedules.serialize(fastnn.optimizers.schedules.CosineDecay(0.1, 10))["class_name"]
    'CosineDecay'
    """
    return _registry.serialize(learning_rate_schedule)


publish(__name__, __all__)
