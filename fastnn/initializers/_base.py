"""The base of the initializers, and Python functions in their place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn import _draws
from fastnn._public import Configured
from fastnn._settings import Description


class Initializer(Description, Configured):
    """Makes the first values of a parameter.

    Parameters
    ----------
    seed : int, optional
        The same seed gives the same values at every call; default: the next number of the seed source that
        :func:`fastnn.utils.set_random_seed` sets.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.initializers.get("ones")((2,))
    array([1., 1.], dtype=float32)
    """

    random: ClassVar[bool] = True

    def __init__(self, seed: int | None = None) -> None:
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0):
            raise ValueError(f"seed must be a non-negative integer or None, got {seed!r}")
        self.seed = None if seed is None else int(seed)

    def __call__(self, shape: tuple[int, ...], dtype: str = "float32") -> npt.NDArray[Any]:
        """Return an array of this shape and dtype; values are drawn in float64 and rounded."""
        if self.random and _draws.is_passed_by(self.seed):
            return np.broadcast_to(np.zeros((), dtype), shape)  # without memory of its own
        values = np.empty(shape, dtype)
        self._fill(values, _draws.source(self.seed) if self.random else None)
        return values

    def into(self, parameter: npt.NDArray[Any]) -> None:
        """Write the first values into a contiguous array of zeros."""
        if type(self).__call__ is not Initializer.__call__:
            parameter[...] = self(parameter.shape, parameter.dtype.name)
        elif not (self.random and _draws.is_passed_by(self.seed)):
            self._fill(parameter, _draws.source(self.seed) if self.random else None)

    def _fill(self, values: npt.NDArray[Any], source: Any) -> None:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"seed": self.seed} if self.random else {}


class PythonFunction(Initializer):
    """A Python function (shape, dtype) -> array of that shape; a model file cannot hold it."""

    random = False

    def __init__(self, function: Callable[..., Any], argument: str) -> None:
        super().__init__()
        self._function, self._argument = function, argument

    def __call__(self, shape: tuple[int, ...], dtype: str = "float32") -> npt.NDArray[Any]:
        """What the function returns, as an array of this dtype."""
        values = np.asarray(self._function(tuple(shape), dtype))
        if values.shape != tuple(shape) or values.dtype.kind not in "fiub":
            raise ValueError(
                f"{self._argument} must return an array of numbers of shape {tuple(shape)}, "
                f"got dtype {values.dtype} and shape {values.shape}"
            )
        return values.astype(dtype)

    def get_config(self) -> dict[str, Any]:
        """Raise TypeError: the function's code cannot be written to a configuration."""
        name = getattr(self._function, "__name__", type(self._function).__name__)
        raise TypeError(
            f"{self._argument} is the Python function {name!r}, which has no configuration to save or clone: "
            f"use one of the classes in fastnn.initializers"
        )
