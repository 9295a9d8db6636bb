"""Penalties on parameters that are added to the loss. The engine adds their gradients; see src_c/update.inc."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._registry import Registry, check_known_method
from fastnn._settings import number


def _weight(name: str, value: Any) -> float:
    return number(name, 0.0 if value is None else value, 0.0, math.inf)


class Regularizer:
    """Base of all penalties. Calling one with an array gives the penalty (a float, summed in float64).

    Attributes
    ----------
    l1, l2 : float
        The penalty is ``l1 * sum(abs(x)) + l2 * sum(x**2)``.

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.Dense(1, kernel_regularizer="l2")
    """

    l1 = 0.0
    l2 = 0.0

    def __call__(self, x: npt.ArrayLike) -> float:
        """The penalty of `x`."""
        values = np.asarray(x, np.float64)
        return float(self.l1 * np.abs(values).sum() + self.l2 * np.square(values).sum())

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        raise NotImplementedError


class L1(Regularizer):
    """``l1 * sum(abs(x))``: drives parameters to zero.

    Parameters
    ----------
    l1 : float, default 0.01

    Examples
    --------
    >>> import fastnn
    >>> fastnn.regularizers.L1(0.5)([1.0, -2.0])
    1.5
    """

    def __init__(self, l1: float = 0.01) -> None:
        self.l1 = _weight("l1", 0.01 if l1 is None else l1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"l1": self.l1}


class L2(Regularizer):
    """``l2 * sum(x**2)``: keeps parameters small.

    Parameters
    ----------
    l2 : float, default 0.01

    Examples
    --------
    >>> from fastnn.regularizers import L2
    >>> L2(0.5)([1.0, 2.0])
    2.5
    """

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = _weight("l2", 0.01 if l2 is None else l2)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"l2": self.l2}


class L1L2(Regularizer):
    """``l1 * sum(abs(x)) + l2 * sum(x**2)``.

    Parameters
    ----------
    l1, l2 : float, default 0

    Examples
    --------
    >>> import fastnn
    >>> fastnn.regularizers.L1L2(l1=0.5, l2=1.0)([1.0, -2.0])
    6.5
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1, self.l2 = _weight("l1", l1), _weight("l2", l2)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"l1": self.l1, "l2": self.l2}


_registry: Registry[Regularizer] = Registry("regularizer", Regularizer)
_registry.register(L1, "l1")
_registry.register(L2, "l2")
_registry.register(L1L2, "l1_l2")


def get(identifier: Any, argument: str = "regularizer") -> Regularizer | None:
    """The regularizer of that name; None for None.

    Parameters
    ----------
    identifier : str, Regularizer, class, dict or None
        A name, as ``"l2"``; an instance; what :func:`serialize` made.
    argument : str
        What messages call it.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.regularizers.get("l2")([1.0, -2.0])
    0.05
    """
    if identifier is None:
        return None
    regularizer = _registry.get(identifier, argument)
    check_known_method(regularizer, "__call__", argument)
    return regularizer


def serialize(regularizer: Regularizer | None) -> dict[str, Any] | None:
    """A JSON-able dict from which :func:`get` makes an equal regularizer; None for None.

    Parameters
    ----------
    regularizer : Regularizer or None

    Examples
    --------
    >>> import fastnn
    >>> fastnn.regularizers.serialize(fastnn.regularizers.L2(0.5))
    {'class_name': 'L2', 'config': {'l2': 0.5}}
    """
    return None if regularizer is None else _registry.serialize(regularizer)
