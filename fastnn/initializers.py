"""How parameters start: Keras's initializers, drawn from NumPy's Philox generator, so independent of threads."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn import utils
from fastnn._registry import Registry

# Standard deviation of a unit normal cut off at two: the factor by which Keras widens its truncated normals.
TRUNCATED_STDDEV = 0.87962566103423978


def _generator(seed: int | None) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(utils.next_seed() if seed is None else seed))


def _truncated_normal(generator: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    values = generator.standard_normal(shape)
    outside = np.abs(values) > 2
    while outside.any():
        values[outside] = generator.standard_normal(int(outside.sum()))
        outside = np.abs(values) > 2
    return values


class Initializer:
    """Makes the first values of a parameter.

    Parameters
    ----------
    seed : int, optional
        The same seed gives the same values at every call; default: the next number of the seed source that
        :func:`fastnn.utils.set_random_seed` sets.
    """

    random: ClassVar[bool] = True

    def __init__(self, seed: int | None = None) -> None:
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0):
            raise ValueError(f"seed must be a non-negative integer or None, got {seed!r}")
        self.seed = None if seed is None else int(seed)

    def __call__(self, shape: tuple[int, ...], dtype: str = "float32") -> npt.NDArray[Any]:
        """An array of this shape and dtype; values are drawn in float64 and rounded."""
        return self._draw(tuple(shape), _generator(self.seed) if self.random else None).astype(dtype)

    def _draw(self, shape: tuple[int, ...], generator: Any) -> npt.NDArray[np.float64]:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"seed": self.seed} if self.random else {}


class Constant(Initializer):
    """Every element is `value` (default 0)."""

    random = False

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.value = float(value)

    def _draw(self, shape: tuple[int, ...], generator: Any) -> npt.NDArray[np.float64]:
        return np.full(shape, self.value)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"value": self.value}


class Zeros(Constant):
    """Every element is 0."""

    def __init__(self) -> None:
        super().__init__(0.0)

    def get_config(self) -> dict[str, Any]:
        """No arguments."""
        return {}


class Ones(Zeros):
    """Every element is 1."""

    def __init__(self) -> None:
        super().__init__()
        self.value = 1.0


class RandomNormal(Initializer):
    """Normal with the given mean (0) and standard deviation (0.05)."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.mean, self.stddev = float(mean), float(stddev)

    def _draw(self, shape: tuple[int, ...], generator: Any) -> npt.NDArray[np.float64]:
        return self.mean + self.stddev * generator.standard_normal(shape)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"mean": self.mean, "stddev": self.stddev, "seed": self.seed}


class RandomUniform(Initializer):
    """Uniform between `minval` (-0.05) and `maxval` (0.05)."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.minval, self.maxval = float(minval), float(maxval)

    def _draw(self, shape: tuple[int, ...], generator: Any) -> npt.NDArray[np.float64]:
        return generator.uniform(self.minval, self.maxval, shape)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"minval": self.minval, "maxval": self.maxval, "seed": self.seed}


class _Scaled(Initializer):
    """Zero mean, variance scale / fan: the scheme that Glorot, He and LeCun share."""

    scale: ClassVar[float]
    fan: ClassVar[str]
    uniform: ClassVar[bool]

    def _draw(self, shape: tuple[int, ...], generator: Any) -> npt.NDArray[np.float64]:
        fan_in, fan_out = (shape[0], shape[-1]) if shape else (1, 1)
        fan = (fan_in + fan_out) / 2 if self.fan == "average" else fan_in
        variance = self.scale / max(1.0, fan)
        if self.uniform:
            limit = math.sqrt(3 * variance)
            return generator.uniform(-limit, limit, shape)
        return _truncated_normal(generator, shape) * (math.sqrt(variance) / TRUNCATED_STDDEV)


class GlorotUniform(_Scaled):
    """Uniform, variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010, eq. 16)."""

    scale, fan, uniform = 1.0, "average", True


class GlorotNormal(_Scaled):
    """Truncated normal, variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010, eq. 12)."""

    scale, fan, uniform = 1.0, "average", False


class HeUniform(_Scaled):
    """Uniform, variance 2 / fan_in (He et al. 2015, eq. 10)."""

    scale, fan, uniform = 2.0, "in", True


class HeNormal(_Scaled):
    """Truncated normal, variance 2 / fan_in (He et al. 2015, eq. 10)."""

    scale, fan, uniform = 2.0, "in", False


class LecunUniform(_Scaled):
    """Uniform, variance 1 / fan_in (LeCun et al. 1998, section 4.6)."""

    scale, fan, uniform = 1.0, "in", True


class LecunNormal(_Scaled):
    """Truncated normal, variance 1 / fan_in (LeCun et al. 1998, section 4.6)."""

    scale, fan, uniform = 1.0, "in", False


_registry: Registry[Initializer] = Registry("initializer", Initializer)
for _class, _name in (
    (Zeros, "zeros"), (Ones, "ones"), (Constant, "constant"), (RandomNormal, "random_normal"),
    (RandomUniform, "random_uniform"), (GlorotUniform, "glorot_uniform"), (GlorotNormal, "glorot_normal"),
    (HeUniform, "he_uniform"), (HeNormal, "he_normal"), (LecunUniform, "lecun_uniform"), (LecunNormal, "lecun_normal"),
):  # fmt: skip
    _registry.register(_class, _name)


def get(identifier: Any, argument: str = "initializer") -> Initializer:
    """The initializer of that name."""
    return _registry.get(identifier, argument)


def serialize(initializer: Initializer) -> dict[str, Any]:
    """A JSON-able dict from which :func:`get` makes an equal initializer."""
    return _registry.serialize(initializer)
