"""What all schedules share: arguments in steps, the call, and what the engine asks them."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fastnn._engine import scheduled
from fastnn._op import Schedule, constant
from fastnn._public import Configured
from fastnn._settings import Description, count, listed, number

Steps = int | float | None  # a number of steps, a share of a training's steps, or None for all of them


class Share(float):
    """A number for the engine that is a share of a training's steps."""


def checked_steps(name: str, value: Any, low: int = 1) -> Steps:
    """Return an argument in steps as it is held; raise an error that names it."""
    if value is None:
        return None
    if isinstance(value, (float, np.floating)):
        if not (0 <= value <= 1 and (value > 0 or low == 0)):
            raise ValueError(
                f"{name} must be a whole number of steps, or a share of the training from 0 to 1, got {value}"
            )
        return float(value)
    return count(name, value, low)


def length_of(steps: Steps) -> float:
    """Return an argument in steps as a number for the engine."""
    return float(steps) if isinstance(steps, int) else Share(1.0 if steps is None else steps)


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
    name: str

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers that the engine needs, in the order in which it reads them."""
        raise NotImplementedError

    @property
    def highest(self) -> float:
        """The greatest number that the schedule gives at any step, or a bound of it."""
        raise NotImplementedError

    @property
    def lowered(self) -> Schedule:
        """The schedule as the engine knows it."""
        numbers = self.numbers
        shares = sum(1 << k for k, value in enumerate(numbers) if isinstance(value, Share))
        return Schedule(self.engine_name, numbers, shares)

    def __call__(self, step: int, steps: int | None = None) -> float:
        """Return the number at `step`, counted from 0.

        Parameters
        ----------
        step : int
        steps : int, optional
            The number of steps of the training; a schedule by share needs it.
        """
        lowered, at = self.lowered, count("step", step, 0, 2**53)
        if steps is None and lowered.shares:
            raise ValueError(f"steps is missing: this {type(self).__name__} goes by the share of the training's steps")
        return scheduled(lowered, (0, 0 if steps is None else count("steps", steps, 1, 2**53)), at)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {field: listed(getattr(self, field)) for field in (*self._fields, "name")}

    def _set(self, name: str, **rates: Any) -> None:
        self.name = name
        for field, value in rates.items():
            setattr(self, field, number(field, value, 0.0))


class Constant(LearningRateSchedule):
    """The same rate at every step, as a plain number means it."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate

    @property
    def numbers(self) -> tuple[float, ...]:
        return (self.learning_rate,)

    @property
    def highest(self) -> float:
        return self.learning_rate

    @property
    def lowered(self) -> Schedule:
        return constant(self.learning_rate)
