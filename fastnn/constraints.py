"""Constraints that parameters are held to after each step; the engine applies them (src_c/engine/update/update.inc)."""

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

EPSILON = 1e-7  # a norm is divided by after this is added to it


class Constraint(Description, Configured):
    """Base of all constraints. Calling one with an array gives the array that satisfies it.

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.Dense(1, kernel_constraint="non_neg")
    """

    def __call__(self, w: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return `w` changed so that it satisfies the constraint."""
        raise NotImplementedError

    def engine_name(self, shape: tuple[int, ...]) -> str:
        """Return the engine's name for the constraint on a parameter of this shape: fnn_constraint in src_c."""
        raise NotImplementedError

    @property
    def norm(self) -> tuple[float, float, float]:
        """The least norm, the greatest norm and the rate, as the engine takes them."""
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
        """Return the engine's name, which does not depend on the shape."""
        return "non_negative"


class _Norm(Constraint):
    """w * desired / (1e-7 + norm), where a norm along `axis` is drawn into a range: base of constraints of norms."""

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
        """Return `w` with its norms drawn into the range."""
        array = np.asarray(w)
        low, high, rate = self.norm
        axes = self._axes(array.ndim)
        # Squares of array / largest are finite.
        largest = np.max(np.abs(array), axis=axes, keepdims=True, initial=EPSILON)
        norms = largest * np.sqrt(np.sum(np.square(array / largest), axis=axes, keepdims=True))
        desired = rate * np.clip(norms, low, high) + (1 - rate) * norms
        return np.asarray(array * (desired / (EPSILON + norms)))

    def engine_name(self, shape: tuple[int, ...]) -> str:
        """Return the engine's name for norms of the whole parameter, of its columns or of its rows."""
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
        The axis or axes along which a norm is taken: 0 in a kernel of shape (inputs, units) takes one norm a unit.

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
        """The norm lies between 0 and `max_value`."""
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
        """The norm is 1."""
        return (1.0, 1.0, 1.0)


class MinMaxNorm(_Norm):
    """Norms move to the range from `min_value` to `max_value`.

    Parameters
    ----------
    min_value, max_value : float, default 0 and 1
    rate : float, default 1
        The share of its distance to the range that a norm moves at each step.
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
        """The norm lies between `min_value` and `max_value`, and moves there at `rate`."""
        return (self.min_value, self.max_value, self.rate)


# Names that Keras has for the same classes.
max_norm, min_max_norm, non_neg, unit_norm = MaxNorm, MinMaxNorm, NonNeg, UnitNorm

_registry: Registry[Constraint] = Registry("constraint", Constraint, computed=("__call__",))
_registry.register(MaxNorm, "max_norm")
_registry.register(NonNeg, "non_neg")
_registry.register(UnitNorm, "unit_norm")
_registry.register(MinMaxNorm, "min_max_norm")


def get(identifier: Any, argument: str = "constraint") -> Constraint | None:
    """Return the constraint that `identifier` means; None for None.

    Parameters
    ----------
    identifier : str, Constraint, class, dict or None
        A name, as ``"non_neg"``; an instance; what :func:`serialize` made.
    argument : str
        The name of the argument in error messages.

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
