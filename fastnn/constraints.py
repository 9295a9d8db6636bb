"""What parameters are held to after each step. The engine does so; see src_c/engine/update/update.inc."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn._public import Configured, publish
from fastnn._registry import Registry
from fastnn._settings import Description, number

__all__ = [
    "Constraint",
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "UnitNorm",
    "get",
    "max_norm",
    "min_max_norm",
    "non_neg",
    "serialize",
    "unit_norm",
]

EPSILON = 1e-7  # added to a norm before dividing by it


class Constraint(Description, Configured):
    """Base of all constraints. Calling one with an array gives the array that satisfies it.

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.Dense(1, kernel_constraint="non_neg")
    """

    def __call__(self, w: npt.ArrayLike) -> npt.NDArray[Any]:
        """`w`, changed as the constraint asks."""
        raise NotImplementedError

    def engine_name(self, shape: tuple[int, ...]) -> str:
        """The engine's name for the constraint on a parameter of this shape: fnn_constraint in src_c."""
        raise NotImplementedError

    @property
    def norm(self) -> tuple[float, float, float]:
        """The least and the greatest norm and the rate, for the engine."""
        return (0.0, 0.0, 0.0)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {}


class NonNeg(Constraint):
    """No parameter is below 0.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.constraints.NonNeg()([-1.0, 2.0])
    array([0., 2.])
    """

    def __call__(self, w: npt.ArrayLike) -> npt.NDArray[Any]:
        """``max(w, 0)``."""
        return np.maximum(np.asarray(w), 0)

    def engine_name(self, shape: tuple[int, ...]) -> str:
        """The same for every shape."""
        return "non_negative"


class _Norm(Constraint):
    """A norm along `axis` is drawn to a range: w * desired / (1e-7 + norm)."""

    _FIELDS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, axis: int | Sequence[int]) -> None:
        axes = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
        if not axes or not all(isinstance(a, (int, np.integer)) and not isinstance(a, bool) for a in axes):
            raise TypeError(f"axis must be an integer or several, got {axis!r}")
        self.axis: int | list[int] = [int(a) for a in axes] if isinstance(axis, (tuple, list)) else int(axes[0])

    def _axes(self, dimensions: int) -> tuple[int, ...]:
        given = self.axis if isinstance(self.axis, list) else [self.axis]
        if any(not -dimensions <= a < dimensions for a in given):
            raise ValueError(
                f"axis of {type(self).__name__} must be from {-dimensions} to {dimensions - 1} for a parameter with "
                f"{dimensions} {'axis' if dimensions == 1 else 'axes'}, got {self.axis}"
            )
        return tuple(sorted({a % dimensions for a in given}))

    def __call__(self, w: npt.ArrayLike) -> npt.NDArray[Any]:
        """`w` with its norms in the range."""
        array = np.asarray(w)
        low, high, rate = self.norm
        axes = self._axes(array.ndim)
        largest = np.max(np.abs(array), axis=axes, keepdims=True, initial=EPSILON)  # in units of which all have squares
        norms = largest * np.sqrt(np.sum(np.square(array / largest), axis=axes, keepdims=True))
        desired = rate * np.clip(norms, low, high) + (1 - rate) * norms
        return np.asarray(array * (desired / (EPSILON + norms)))

    def engine_name(self, shape: tuple[int, ...]) -> str:
        """Which norms."""
        axes = self._axes(len(shape))
        return "whole_norm" if len(axes) == len(shape) else "column_norm" if axes == (0,) else "row_norm"

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {field: getattr(self, field) for field in (*self._FIELDS, "axis")}


class MaxNorm(_Norm):
    """Norms are at most `max_value` (Srivastava et al. 2014).

    Parameters
    ----------
    max_value : float, default 2
    axis : int or sequence of int, default 0
        Along which norms are taken: of a kernel (inputs, units), 0 is the weights that lead to one unit.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.constraints.MaxNorm(1.0)([[3.0, 0.3], [4.0, 0.4]]).round(3)
    array([[0.6, 0.3],
           [0.8, 0.4]])
    """

    _FIELDS = ("max_value",)

    def __init__(self, max_value: float = 2, axis: int | Sequence[int] = 0) -> None:
        super().__init__(axis)
        self.max_value = number("max_value", max_value, 0.0)

    @property
    def norm(self) -> tuple[float, float, float]:
        """From 0 to `max_value`."""
        return (0.0, self.max_value, 1.0)


class UnitNorm(_Norm):
    """Norms are 1.

    Parameters
    ----------
    axis : int or sequence of int, default 0
        As for :class:`MaxNorm`.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.constraints.UnitNorm()([[3.0, 0.3], [4.0, 0.4]]).round(3)
    array([[0.6, 0.6],
           [0.8, 0.8]])
    """

    def __init__(self, axis: int | Sequence[int] = 0) -> None:
        super().__init__(axis)

    @property
    def norm(self) -> tuple[float, float, float]:
        """1."""
        return (1.0, 1.0, 1.0)


class MinMaxNorm(_Norm):
    """Norms move to the range from `min_value` to `max_value`.

    Parameters
    ----------
    min_value, max_value : float, default 0 and 1
    rate : float, default 1
        The share of the way that is gone at each step.
    axis : int or sequence of int, default 0
        As for :class:`MaxNorm`.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.constraints.MinMaxNorm(1.0, 2.0)([[3.0, 0.3], [4.0, 0.4]]).round(3)
    array([[1.2, 0.6],
           [1.6, 0.8]])
    """

    _FIELDS = ("min_value", "max_value", "rate")

    def __init__(
        self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: int | Sequence[int] = 0
    ) -> None:
        super().__init__(axis)
        self.min_value = number("min_value", min_value, 0.0)
        self.max_value = number("max_value", max_value, 0.0)
        self.rate = number("rate", rate, 0.0, 1.0)
        if self.min_value > self.max_value:
            raise ValueError(f"min_value must be at most max_value, got {min_value} and {max_value}")

    @property
    def norm(self) -> tuple[float, float, float]:
        """The range and the rate."""
        return (self.min_value, self.max_value, self.rate)


# Keras's other names.
max_norm, min_max_norm, non_neg, unit_norm = MaxNorm, MinMaxNorm, NonNeg, UnitNorm

_registry: Registry[Constraint] = Registry("constraint", Constraint, computed=("__call__",))
_registry.register(MaxNorm, "max_norm")
_registry.register(NonNeg, "non_neg")
_registry.register(UnitNorm, "unit_norm")
_registry.register(MinMaxNorm, "min_max_norm")


def get(identifier: Any, argument: str = "constraint") -> Constraint | None:
    """The constraint of that name; None for None.

    Parameters
    ----------
    identifier : str, Constraint, class, dict or None
        A name, as ``"non_neg"``; an instance; what :func:`serialize` made.
    argument : str
        What messages call it.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.constraints.get("non_neg")([-1.0, 2.0])
    array([0., 2.])
    """
    return None if identifier is None else _registry.get(identifier, argument)


def serialize(constraint: Constraint | None) -> dict[str, Any] | None:
    """A JSON-able dict from which :func:`get` makes an equal constraint; None for None.

    Parameters
    ----------
    constraint : Constraint or None

    Examples
    --------
    >>> import fastnn
    >>> fastnn.constraints.serialize(fastnn.constraints.MaxNorm(3))
    {'class_name': 'MaxNorm', 'config': {'max_value': 3.0, 'axis': 0}}
    """
    return None if constraint is None else _registry.serialize(constraint)


publish(__name__, __all__)
