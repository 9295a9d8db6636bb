"""Activation functions: what the engine calls them, and their formulas in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._registry import Registry

FloatArray = npt.NDArray[np.floating[Any]]


class ActivationFunction:
    """A function that the engine can apply to the result of a layer.

    Parameters
    ----------
    name : str
        The name it is looked up by.
    code : int
        The engine's number for it.
    formula : callable
        The same function in NumPy.

    Examples
    --------
    >>> from fastnn import activations
    >>> activations.relu([-1.0, 2.0])
    array([0., 2.])
    """

    def __init__(self, name: str, code: int, formula: Callable[[FloatArray], FloatArray]) -> None:
        self.name = name
        self.code = code
        self._formula = formula

    def __call__(self, x: npt.ArrayLike) -> FloatArray:
        """f(x), element by element (softmax: over the last axis); floating dtypes are kept, others become float64."""
        values = np.asarray(x)
        if values.dtype.kind != "f":
            values = values.astype(np.float64)
        return self._formula(values)

    def __repr__(self) -> str:
        return f"<activation {self.name}>"


def _sigmoid(x: FloatArray) -> FloatArray:
    e = np.exp(-np.abs(x))  # never overflows
    return np.where(x < 0, e, 1) / (1 + e)


def _softmax(x: FloatArray) -> FloatArray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


linear = ActivationFunction("linear", 0, lambda x: x.copy())
relu = ActivationFunction("relu", 1, lambda x: np.maximum(x, 0))
sigmoid = ActivationFunction("sigmoid", 2, _sigmoid)
tanh = ActivationFunction("tanh", 3, np.tanh)
softmax = ActivationFunction("softmax", 4, _softmax)

_registry: Registry[ActivationFunction] = Registry("activation", ActivationFunction)
for _activation in (linear, relu, sigmoid, tanh, softmax):
    _registry.register(_activation)


def get(identifier: Any) -> ActivationFunction:
    """The activation of that name; ``None`` is linear."""
    return linear if identifier is None else _registry.get(identifier)
