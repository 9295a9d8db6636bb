"""Optimizers: the rule that turns gradients into new weights. The engine applies it; see src_c/optimizer.inc."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn._registry import Registry


def _number(name: str, value: Any, low: float, high: float, *, open_low: bool = False) -> float:
    """`value` as a float within [low, high), or a ValueError that says what is needed."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    number = float(value)
    if not (math.isfinite(number) and low <= number < high) or (open_low and number == low):
        bound = f"at least {low:g}" if not open_low else f"greater than {low:g}"
        raise ValueError(
            f"{name} must be {bound}{f' and below {high:g}' if math.isfinite(high) else ''}, got {value!r}"
        )
    return number


class _Setting:
    """A number of an optimizer: writable at any time, checked when it is set."""

    def __init__(self, low: float = 0.0, high: float = math.inf, *, open_low: bool = False) -> None:
        self.low, self.high, self.open_low = low, high, open_low

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else instance.__dict__[self.name]

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.name] = _number(self.name, value, self.low, self.high, open_low=self.open_low)


class Optimizer:
    """Base of all optimizers.

    Attributes
    ----------
    learning_rate : float
        Writable between epochs and batches.
    slots : tuple of str
        Names of the state kept per parameter.
    """

    learning_rate = _Setting()

    @property
    def code(self) -> int:
        """The engine's number for the rule."""
        raise NotImplementedError

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the state kept per parameter."""
        raise NotImplementedError

    def hyperparameters(self) -> npt.NDArray[np.float64]:
        """The numbers that the engine needs, in its order."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        raise NotImplementedError


class SGD(Optimizer):
    """Gradient descent, θ ← θ - α∇J; with momentum as in Keras (Polyak 1964), or Nesterov's (Sutskever et al. 2013).

    Parameters
    ----------
    learning_rate : float, default 0.01
    momentum : float, default 0
        In [0, 1).
    nesterov : bool, default False

    Examples
    --------
    >>> from fastnn.optimizers import SGD
    >>> SGD(0.1, momentum=0.9).learning_rate
    0.1
    """

    momentum = _Setting(high=1.0)
    _SLOTS: ClassVar[tuple[str, ...]] = ("momentum",)

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.0, nesterov: bool = False) -> None:
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.nesterov = bool(nesterov)

    @property
    def code(self) -> int:
        """The engine's number for the rule."""
        return 0 if not self.momentum else 2 if self.nesterov else 1

    @property
    def slots(self) -> tuple[str, ...]:
        """``("momentum",)`` where there is momentum, else nothing."""
        return self._SLOTS if self.momentum else ()

    def hyperparameters(self) -> npt.NDArray[np.float64]:
        """Learning rate and momentum."""
        return np.array([self.learning_rate, self.momentum])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"learning_rate": self.learning_rate, "momentum": self.momentum, "nesterov": self.nesterov}


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, the form at the end of section 2, as in Keras).

    Parameters
    ----------
    learning_rate : float, default 0.001
    beta_1, beta_2 : float, default 0.9 and 0.999
        Decay of the first and second moment, in [0, 1).
    epsilon : float, default 1e-7
        Added to the square root of the second moment.
    """

    beta_1 = _Setting(high=1.0)
    beta_2 = _Setting(high=1.0)
    epsilon = _Setting(open_low=True)

    def __init__(
        self, learning_rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7
    ) -> None:
        self.learning_rate = learning_rate
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    @property
    def code(self) -> int:
        """The engine's number for the rule."""
        return 3

    @property
    def slots(self) -> tuple[str, ...]:
        """First and second moment."""
        return ("m", "v")

    def hyperparameters(self) -> npt.NDArray[np.float64]:
        """Learning rate, beta_1, beta_2, epsilon."""
        return np.array([self.learning_rate, self.beta_1, self.beta_2, self.epsilon])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "learning_rate": self.learning_rate,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }


_registry: Registry[Optimizer] = Registry("optimizer", Optimizer)
_registry.register(SGD)
_registry.register(Adam)


def get(identifier: Any) -> Optimizer:
    """The optimizer of that name, with its defaults."""
    return _registry.get(identifier)


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """A JSON-able dict from which :func:`get` makes an equal optimizer."""
    return _registry.serialize(optimizer)
