"""Schedules along cosine waves."""

from __future__ import annotations

import math
from typing import ClassVar

from fastnn._schedules.base import LearningRateSchedule, Share, checked_steps, length_of
from fastnn._settings import count, number


class CosineDecay(LearningRateSchedule):
    """Falls along half a cosine wave, perhaps after a rise in a straight line (Loshchilov and Hutter 2017, eq. 5).

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int, float or None, default None
        The steps of the fall; afterwards the rate stays at its end. None: those that follow the rise.
    alpha : float, default 0.0
        The last rate, as a share of the rate at which the fall begins.
    name : str, default "CosineDecay"
    warmup_target : float, optional
        The rate at which the rise from `initial_learning_rate` ends; None leaves the rise out.
    warmup_steps : int or float, default 0
        The steps of the rise.

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
        decay_steps: int | float | None = None,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int | float = 0,
    ) -> None:
        self._set(name, initial_learning_rate=initial_learning_rate, alpha=alpha)
        self.decay_steps = checked_steps("decay_steps", decay_steps)
        self.warmup_target = None if warmup_target is None else number("warmup_target", warmup_target, 0.0)
        rise = checked_steps("warmup_steps", warmup_steps, 0)
        self.warmup_steps: int | float = 0 if rise is None else rise

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers that the engine needs, in the order in which it reads them."""
        target = -1.0 if self.warmup_target is None else self.warmup_target
        length, end = (0.0, Share(1.0)) if self.decay_steps is None else (length_of(self.decay_steps), 0.0)
        return (self.initial_learning_rate, length, self.alpha, target, length_of(self.warmup_steps), end)

    @property
    def highest(self) -> float:
        """The greatest number at any step, or a bound of it."""
        return max(self.initial_learning_rate, self.warmup_target or 0.0) * max(1.0, self.alpha)


class CosineDecayRestarts(LearningRateSchedule):
    """Cosine waves one after the other, each `t_mul` times as long and `m_mul` times as high as the last (SGDR).

    Parameters
    ----------
    initial_learning_rate : float
    first_decay_steps : int, float or None
        The steps of the first wave.
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
        first_decay_steps: int | float | None,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ) -> None:
        self._set(name, initial_learning_rate=initial_learning_rate, m_mul=m_mul, alpha=alpha)
        self.first_decay_steps = checked_steps("first_decay_steps", first_decay_steps)
        self.t_mul = number("t_mul", t_mul, 1.0)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers that the engine needs, in the order in which it reads them."""
        return (self.initial_learning_rate, length_of(self.first_decay_steps), self.t_mul, self.m_mul, self.alpha)

    @property
    def highest(self) -> float:
        """The greatest number at any step, or a bound of it."""
        return self.initial_learning_rate * max(1.0, self.alpha) if self.m_mul <= 1 else math.inf


class OneCycle(LearningRateSchedule):
    """Rises along half a cosine wave, then falls along another one to almost nothing (Smith and Topin 2018).

    Keras has no such schedule; the defaults are those that users of the paper settled on.

    Parameters
    ----------
    max_learning_rate : float
    total_steps : int, float or None, default None
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
        total_steps: int | float | None = None,
        warmup_fraction: float = 0.3,
        initial_divisor: float = 25.0,
        final_divisor: float = 1e4,
        name: str = "OneCycle",
    ) -> None:
        self._set(name, max_learning_rate=max_learning_rate)
        self.total_steps = checked_steps("total_steps", total_steps)
        self.warmup_fraction = number("warmup_fraction", warmup_fraction, 0.0, 1.0)
        self.initial_divisor = number("initial_divisor", initial_divisor, 0.0, open_low=True)
        self.final_divisor = number("final_divisor", final_divisor, 0.0, open_low=True)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers that the engine needs, in the order in which it reads them."""
        first = self.max_learning_rate / self.initial_divisor
        rates = (first, self.max_learning_rate, first / self.final_divisor)
        total = length_of(self.total_steps)
        if isinstance(total, Share):
            return (*rates, Share(self.warmup_fraction * total), Share((1 - self.warmup_fraction) * total))
        rise = float(round(self.warmup_fraction * total))
        return (*rates, rise, total - rise)

    @property
    def highest(self) -> float:
        """The greatest number at any step, or a bound of it."""
        first = self.max_learning_rate / self.initial_divisor
        return max(self.max_learning_rate, first, first / self.final_divisor)


class _OfTraining(LearningRateSchedule):
    """The base of schedules that are made for the share t of a training: step / decay_steps, at most 1."""

    _fields: ClassVar[tuple[str, ...]] = ("value", "decay_steps")
    value: float

    def _set_value(self, value: float, decay_steps: int | float | None, name: str | None) -> None:
        self._set(name or type(self).__name__, value=value)
        self.decay_steps = checked_steps("decay_steps", decay_steps)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers that the engine needs, in the order in which it reads them."""
        return (self.value, length_of(self.decay_steps))

    @property
    def highest(self) -> float:
        """The greatest number at any step, or a bound of it."""
        return self.value


class FlatCosine(_OfTraining):
    """The value for the first half of the training, then value / 2 (1 + cos(pi (2 t - 1))), which falls to 0.

    Here t is the share of the training that is done: step / decay_steps. RealMLP lets its dropout and its weight decay
    go so (``flat_cos`` of Holzmüller et al. 2024, arXiv:2407.04491).

    Parameters
    ----------
    value : float
    decay_steps : int, float or None, default None
        The steps up to t = 1.
    name : str, optional

    Examples
    --------
    >>> import fastnn
    >>> rate = fastnn.optimizers.schedules.FlatCosine(0.25)
    >>> rate(50, steps=100), rate(75, steps=100), rate(100, steps=100)
    (0.25, 0.125, 0.0)
    >>> dropout = fastnn.layers.Dropout(rate)
    """

    engine_name = "flat_cosine"

    def __init__(self, value: float, decay_steps: int | float | None = None, name: str | None = None) -> None:
        self._set_value(value, decay_steps, name)


class CosineLog(_OfTraining):
    """value / 2 (1 - cos(2 pi log2(1 + (2**cycles - 1) t))): waves from 0 up to the value and back to 0.

    Each of the waves takes about twice as many steps as the one before. Here t is the share of the training that is
    done: step / decay_steps. RealMLP lets its learning rate go so, with four waves (``coslog4`` of Holzmüller et al.
    2024, arXiv:2407.04491).

    Parameters
    ----------
    value : float
    cycles : int, default 4
        The number of waves, at most 50.
    decay_steps : int, float or None, default None
        The steps up to t = 1.
    name : str, optional

    Examples
    --------
    >>> import fastnn
    >>> rate = fastnn.optimizers.schedules.CosineLog(0.04, cycles=1)
    >>> rate(0, steps=100), round(rate(41, steps=100), 4), round(rate(100, steps=100), 4)
    (0.0, 0.04, 0.0)
    >>> optimizer = fastnn.optimizers.Adam(rate)
    """

    engine_name = "cosine_log"
    _fields = ("value", "cycles", "decay_steps")

    def __init__(
        self, value: float, cycles: int = 4, decay_steps: int | float | None = None, name: str | None = None
    ) -> None:
        self._set_value(value, decay_steps, name)
        self.cycles = count("cycles", cycles, 1, 51)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers that the engine needs, in the order in which it reads them."""
        return (*super().numbers, float(self.cycles))
