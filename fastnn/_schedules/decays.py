"""Schedules that fall, and those of pieces."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fastnn._op import Schedule
from fastnn._schedules.base import LearningRateSchedule, checked_steps, length_of
from fastnn._settings import count, flag, number


class _Decay(LearningRateSchedule):
    """The base of exponential and inverse time decay."""

    _fields = ("initial_learning_rate", "decay_steps", "decay_rate", "staircase")
    initial_learning_rate: float
    decay_rate: float

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int | float | None,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = None,
    ) -> None:
        self._set(name or type(self).__name__, initial_learning_rate=initial_learning_rate, decay_rate=decay_rate)
        self.decay_steps, self.staircase = checked_steps("decay_steps", decay_steps), flag("staircase", staircase)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers that the engine needs, in the order in which it reads them."""
        return (self.initial_learning_rate, length_of(self.decay_steps), self.decay_rate, float(self.staircase))

    @property
    def highest(self) -> float:
        """The greatest number at any step, or a bound of it."""
        return self.initial_learning_rate


class ExponentialDecay(_Decay):
    """initial_learning_rate * decay_rate ** (step / decay_steps).

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int, float or None
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

    @property
    def highest(self) -> float:
        """The greatest number at any step, or a bound of it."""
        return self.initial_learning_rate if self.decay_rate <= 1 else math.inf


class InverseTimeDecay(_Decay):
    """initial_learning_rate / (1 + decay_rate * step / decay_steps).

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int, float or None
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
    boundaries : sequence of int, or sequence of float
        Steps in rising order, or shares of the training.
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

    def __init__(
        self, boundaries: Sequence[int] | Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant"
    ) -> None:
        self.name = name
        self._by_share = len(boundaries) > 0 and all(isinstance(step, (float, np.floating)) for step in boundaries)
        self.boundaries = tuple(
            number("boundaries", step, 0.0, 1.0) if self._by_share else count("boundaries", step, 0, 2**53)
            for step in boundaries
        )
        self.values = tuple(number("values", rate, 0.0) for rate in values)
        if len(self.boundaries) != len(self.values) - 1:
            raise ValueError(
                f"values must hold one more number than boundaries, got {len(self.values)} and {len(self.boundaries)}"
            )
        if any(b <= a for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError(f"boundaries must rise, got {list(self.boundaries)}")
        # made once, as there may be many pieces
        self._table = tuple(np.array(numbers, np.float64).tobytes() for numbers in (self.boundaries, self.values))

    @property
    def numbers(self) -> tuple[float, ...]:
        """No numbers: the boundaries and values are all there is."""
        return ()

    @property
    def highest(self) -> float:
        """The greatest number at any step, or a bound of it."""
        return max(self.values)

    @property
    def lowered(self) -> Schedule:
        """The schedule as the engine knows it."""
        return Schedule(self.engine_name, (), int(self._by_share), *self._table)


class PolynomialDecay(LearningRateSchedule):
    """(initial_learning_rate - end_learning_rate) * (1 - step / decay_steps) ** power + end_learning_rate.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int, float or None, default None
        The steps of the decay; afterwards the rate stays at its end.
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
        decay_steps: int | float | None = None,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        self._set(name, initial_learning_rate=initial_learning_rate, end_learning_rate=end_learning_rate, power=power)
        self.decay_steps, self.cycle = checked_steps("decay_steps", decay_steps), flag("cycle", cycle)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers that the engine needs, in the order in which it reads them."""
        return (
            self.initial_learning_rate,
            length_of(self.decay_steps),
            self.end_learning_rate,
            self.power,
            float(self.cycle),
        )

    @property
    def highest(self) -> float:
        """The greatest number at any step, or a bound of it."""
        return max(self.initial_learning_rate, self.end_learning_rate)
