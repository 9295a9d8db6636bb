"""Penalties on parameters, which are added to the loss; the engine has their gradients (src_c/engine/update/)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._public import Configured, publish
from fastnn._registry import Registry, nearest_names
from fastnn._settings import Description, number

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "OrthogonalRegularizer",
    "Regularizer",
    "get",
    "l1",
    "l1_l2",
    "l2",
    "orthogonal_regularizer",
    "serialize",
]


def _weight(name: str, value: Any) -> float:
    return number(name, 0.0 if value is None else value, 0.0)


class Regularizer(Description, Configured):
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

    def cosines(self, shape: tuple[int, ...], parameter: str) -> tuple[float, bool]:
        """Return the weight of each absolute cosine between two vectors, and whether the vectors are the columns.

        An error about the shape calls the parameter `parameter`.
        """
        return (0.0, False)


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


# The least squared norm: a shorter vector is divided by the root of this, 1e-7, as in Keras.
_LEAST_SQUARE = 1e-14


class OrthogonalRegularizer(Regularizer):
    """``factor * mean(abs(cos(u, v)))`` over all pairs u, v of rows (or columns): draws them to right angles.

    The parameter must have two axes, as a kernel has: in one of shape (inputs, units) a row holds the weights of an
    input, a column the weights of a unit. There must be at least two vectors. A vector shorter than 1e-7 is divided by
    1e-7 instead of its norm.

    Parameters
    ----------
    factor : float, default 0.01
    mode : {"rows", "columns"}, default "rows"

    Raises
    ------
    ValueError
        When an argument is out of its range; when the parameter of a model that is built, or the array that the
        regularizer is called with, has another shape.

    Notes
    -----
    With n vectors of d elements, the engine computes two matrix products of n * n * d multiplications at each step. The
    penalty is the one that Keras has.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.regularizers.OrthogonalRegularizer(0.5)([[1.0, 0.0], [3.0, 4.0]])
    0.3
    >>> layer = fastnn.layers.Dense(8, kernel_regularizer=fastnn.regularizers.OrthogonalRegularizer(mode="columns"))
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        self.factor = number("factor", factor, 0.0)
        if mode not in ("rows", "columns"):
            raise ValueError(f"mode {mode!r} is unknown; {nearest_names(str(mode), ['rows', 'columns'])}")
        self.mode = mode

    def __call__(self, x: npt.ArrayLike) -> float:
        """The penalty of `x`."""
        values = np.asarray(x, np.float64)
        weight, by_columns = self.cosines(values.shape, "x")
        vectors = values.T if by_columns else values
        squares = np.square(vectors).sum(axis=1, keepdims=True)
        vectors = vectors / np.sqrt(np.maximum(squares, _LEAST_SQUARE))
        products = np.abs(vectors @ vectors.T)
        np.fill_diagonal(products, 0)
        return float(weight * products.sum())

    def cosines(self, shape: tuple[int, ...], parameter: str) -> tuple[float, bool]:
        """Return the weight of each absolute cosine between two vectors, and whether the vectors are the columns."""
        if len(shape) != 2:
            raise ValueError(
                f"OrthogonalRegularizer needs a parameter with two axes, as a kernel; {parameter} has shape {shape}: "
                f"use L1, L2 or L1L2"
            )
        by_columns = self.mode == "columns"
        count = shape[by_columns]
        if count < 2:
            raise ValueError(
                f"OrthogonalRegularizer needs at least two {self.mode} to compare; {parameter} has shape {shape}"
            )
        return (self.factor / (count * (count - 1)), by_columns)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"factor": self.factor, "mode": self.mode}


# Names that Keras has for the same classes.
l1, l2, l1_l2, orthogonal_regularizer = L1, L2, L1L2, OrthogonalRegularizer

_registry: Registry[Regularizer] = Registry("regularizer", Regularizer, computed=("__call__",))
_registry.register(L1, "l1")
_registry.register(L2, "l2")
_registry.register(L1L2, "l1_l2")
_registry.register(OrthogonalRegularizer, "orthogonal_regularizer")


def get(identifier: Any, argument: str = "regularizer") -> Regularizer | None:
    """Return the regularizer that `identifier` means; None for None.

    Parameters
    ----------
    identifier : str, Regularizer, class, dict or None
        A name, as ``"l2"``; an instance; what :func:`serialize` made.
    argument : str
        The name of the argument in error messages.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.regularizers.get("l2")([1.0, -2.0])
    0.05
    """
    return None if identifier is None else _registry.get(identifier, argument)


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


publish(__name__, __all__)
