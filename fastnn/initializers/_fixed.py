"""Initializers that draw no numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._settings import finite, listed, number
from fastnn.initializers._base import Initializer


class Constant(Initializer):
    """Every element is `value` (default 0), or the elements are those of an array.

    Parameters
    ----------
    value : float or array-like, default 0
        Finite numbers; an array has the shape of the parameter, or one that broadcasts to it.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.initializers.Constant(0.5)((2,))
    array([0.5, 0.5], dtype=float32)
    >>> fastnn.layers.Dense(2, bias_initializer=fastnn.initializers.Constant([0.1, 0.9])).bias_initializer.value
    array([0.1, 0.9])
    """

    random = False

    def __init__(self, value: Any = 0.0) -> None:
        super().__init__()
        array = np.asarray(value)
        self.value: float | npt.NDArray[np.float64] = finite(array) if array.ndim else number("value", value, -math.inf)

    def _fill(self, values: npt.NDArray[Any], source: Any) -> None:
        try:
            values[...] = np.broadcast_to(self.value, values.shape)
        except ValueError:
            shapes = f"{np.shape(self.value)}, the parameter {values.shape}"
            raise ValueError(f"value of Constant has shape {shapes}") from None

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"value": listed(self.value)}


class Zeros(Constant):
    """Every element is 0.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.initializers.Zeros()((2,))
    array([0., 0.], dtype=float32)
    """

    def __init__(self) -> None:
        super().__init__(0.0)

    def get_config(self) -> dict[str, Any]:
        """No arguments."""
        return {}


class Ones(Zeros):
    """Every element is 1.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.initializers.Ones()((2,))
    array([1., 1.], dtype=float32)
    """

    def __init__(self) -> None:
        super().__init__()
        self.value = 1.0


class Identity(Initializer):
    """The identity matrix times `gain` (1); a parameter that is not square has `gain` on its main diagonal, else 0.

    Raises ValueError where the parameter does not have two axes.

    Parameters
    ----------
    gain : float, default 1

    Examples
    --------
    >>> import fastnn
    >>> fastnn.initializers.Identity()((2, 2))
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """

    random = False

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = number("gain", gain, -math.inf)

    def _fill(self, values: npt.NDArray[Any], source: Any) -> None:
        if values.ndim != 2:
            raise ValueError(f"Identity needs a parameter of two axes, got one of shape {values.shape}")
        values[...] = self.gain * np.eye(*values.shape)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"gain": self.gain}
