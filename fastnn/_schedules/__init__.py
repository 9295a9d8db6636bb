"""What :mod:`fastnn.optimizers.schedules` has; it lies here as layers and losses know schedules too."""

from __future__ import annotations

import math
from typing import Any

from fastnn._engine import scheduled
from fastnn._op import Schedule
from fastnn._registry import Registry
from fastnn._schedules.base import Constant as Constant
from fastnn._schedules.base import LearningRateSchedule
from fastnn._schedules.cosines import CosineDecay, CosineDecayRestarts, CosineLog, FlatCosine, OneCycle
from fastnn._schedules.decays import ExponentialDecay, InverseTimeDecay, PiecewiseConstantDecay, PolynomialDecay
from fastnn._settings import Setting, number

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "CosineLog",
    "ExponentialDecay",
    "FlatCosine",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "OneCycle",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "serialize",
]

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
    FlatCosine,
    CosineLog,
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


def get(identifier: Any, argument: str) -> LearningRateSchedule:
    """Return the schedule that an instance or a dict means; raise an error that names the argument."""
    return _registry.get(identifier, argument)


# ---- numbers that may be schedules ----


def number_or_schedule(
    name: str, value: Any, high: float = math.inf, *, open_high: bool = False
) -> float | LearningRateSchedule:
    """Return a number from 0 to `high`, or a schedule of such numbers, from itself or its dict; raise what names it."""
    if not isinstance(value, (LearningRateSchedule, dict)):
        return number(name, value, 0, high, open_high=open_high)
    schedule = get(value, name)
    if schedule.highest > high or (open_high and schedule.highest == high):
        raise ValueError(
            f"{name} must be {'below' if open_high else 'at most'} {high:g}, and this {type(schedule).__name__} goes "
            f"up to {schedule.highest:g}"
        )
    return schedule


def number_and_schedule(value: float | LearningRateSchedule) -> tuple[float, Schedule | None]:
    """Return the number at the first step, and the schedule as the engine knows it, if the number has one."""
    if not isinstance(value, LearningRateSchedule):
        return value, None
    return scheduled(value.lowered, (0, 0), 0), value.lowered


def configured(value: float | LearningRateSchedule | None) -> Any:
    """Return a number, or what :func:`serialize` makes of a schedule."""
    return serialize(value) if isinstance(value, LearningRateSchedule) else value


class ScheduledSetting(Setting):
    """An attribute that holds a number from 0 on, or a schedule of such numbers."""

    def checked(self, value: Any) -> Any:
        """Return the number or the schedule; raise an error that names the attribute."""
        return None if value is None and self.optional else number_or_schedule(self.name, value, self.high)
