"""Initializers that draw from a distribution of their own, whatever the parameter's shape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import _draws
from fastnn._settings import number
from fastnn.initializers._base import Initializer


class RandomNormal(Initializer):
    """Draws from the normal distribution with the given mean (0) and standard deviation (0.05).

    Parameters
    ----------
    mean : float, default 0
    stddev : float, default 0.05
    seed : int, optional
        The same seed gives the same numbers; default: other numbers at each call.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.initializers.RandomNormal(stddev=0.1, seed=1)((3, 2)).shape
    (3, 2)
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.mean, self.stddev = number("mean", mean, -math.inf), number("stddev", stddev, 0.0)

    def _fill(self, values: npt.NDArray[Any], source: Any) -> None:
        _draws.fill(values, source, lambda own, n: self.mean + self.stddev * own.standard_normal(n))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"mean": self.mean, "stddev": self.stddev, "seed": self.seed}


class RandomUniform(Initializer):
    """Draws from the uniform distribution between `minval` (-0.05) and `maxval` (0.05).

    Parameters
    ----------
    minval, maxval : float, default -0.05 and 0.05
    seed : int, optional
        The same seed gives the same numbers; default: other numbers at each call.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.initializers.RandomUniform(-1, 1, seed=1)((3, 2)).shape
    (3, 2)
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.minval, self.maxval = number("minval", minval, -math.inf), number("maxval", maxval, -math.inf)
        if self.minval > self.maxval:
            raise ValueError(f"minval must be at most maxval, got {minval} and {maxval}")

    def _fill(self, values: npt.NDArray[Any], source: Any) -> None:
        _draws.fill(values, source, lambda own, n: own.uniform(self.minval, self.maxval, n))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"minval": self.minval, "maxval": self.maxval, "seed": self.seed}


class RandomSign(Initializer):
    """Draws -1 or 1, each with probability 1/2.

    So the members of an ensemble that shares its weights differ most at the start, while sums over the inputs keep
    their size (Wen, Tran and Ba 2020, BatchEnsemble; TabM, arXiv:2410.24210).

    Parameters
    ----------
    seed : int, optional
        The same seed gives the same numbers; default: other numbers at each call.

    Examples
    --------
    >>> import fastnn
    >>> bool((abs(fastnn.initializers.RandomSign(seed=1)((3, 2))) == 1).all())
    True
    >>> layer = fastnn.layers.EnsembleScale(8, scale_initializer="random_sign")
    """

    def _fill(self, values: npt.NDArray[Any], source: Any) -> None:
        _draws.fill(values, source, lambda own, n: np.where(own.random(n) < 0.5, -1.0, 1.0))


class TruncatedNormal(Initializer):
    """Draws from the normal distribution with the given mean (0) and standard deviation (0.05), cut off.

    A number more than two deviations from the mean is drawn anew. As in Keras, `stddev` is the deviation before this
    cut; the drawn numbers have a deviation of 0.88 `stddev`.

    Parameters
    ----------
    mean : float, default 0
    stddev : float, default 0.05
    seed : int, optional
        The same seed gives the same numbers; default: other numbers at each call.

    Examples
    --------
    >>> import fastnn
    >>> bool(abs(fastnn.initializers.TruncatedNormal(stddev=0.1, seed=1)((100,))).max() <= 0.2)
    True
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.mean, self.stddev = number("mean", mean, -math.inf), number("stddev", stddev, 0.0)

    def _fill(self, values: npt.NDArray[Any], source: Any) -> None:
        _draws.fill(values, source, lambda own, n: self.mean + self.stddev * _draws.truncated(own, n))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"mean": self.mean, "stddev": self.stddev, "seed": self.seed}


class Orthogonal(Initializer):
    """A random matrix, times `gain` (1), whose rows or columns, whichever are fewer, are orthonormal.

    The matrix is Q of the QR decomposition of a normal matrix, with R's diagonal positive, so that every such matrix is
    equally likely (Saxe, McClelland and Ganguli 2014; Mezzadri 2007). Axes before the last count as one. Raises
    ValueError where the parameter has fewer than two axes.

    Parameters
    ----------
    gain : float, default 1
    seed : int, optional
        The same seed gives the same numbers; default: other numbers at each call.

    Examples
    --------
    >>> import fastnn
    >>> kernel = fastnn.initializers.Orthogonal(seed=1)((3, 2))
    >>> bool(abs(kernel.T @ kernel - [[1, 0], [0, 1]]).max() < 1e-6)
    True
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        super().__init__(seed)
        self.gain = number("gain", gain, -math.inf)

    def _fill(self, values: npt.NDArray[Any], source: Any) -> None:
        if values.ndim < 2:
            raise ValueError(f"Orthogonal needs a parameter of at least two axes, got one of shape {values.shape}")
        rows, columns = math.prod(values.shape[:-1]), values.shape[-1]
        vectors = np.empty((min(rows, columns), max(rows, columns)))
        _draws.fill(vectors, source, _draws.normal)
        _draws.make_orthonormal(vectors)
        values[...] = self.gain * (vectors if rows < columns else vectors.T).reshape(values.shape)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"gain": self.gain, "seed": self.seed}
