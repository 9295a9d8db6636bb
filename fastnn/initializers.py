"""Initializers draw a parameter's first values from NumPy's Philox generator: they do not depend on threads."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn import _draws
from fastnn._public import Configured, publish
from fastnn._registry import Registry
from fastnn._settings import Description, finite, listed, number

__all__ = [
    "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity", "IdentityInitializer",
    "Initializer", "LecunNormal", "LecunUniform", "Ones", "Orthogonal", "OrthogonalInitializer", "RandomNormal",
    "RandomUniform", "TruncatedNormal", "VarianceScaling", "Zeros", "constant", "get", "glorot_normal",
    "glorot_uniform", "he_normal", "he_uniform", "identity", "lecun_normal", "lecun_uniform", "ones", "orthogonal",
    "random_normal", "random_uniform", "serialize", "truncated_normal", "variance_scaling", "zeros",
]  # fmt: skip


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


def _axes(value: Any, argument: str) -> list[int] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not all(type(axis) is int for axis in value):
        raise TypeError(f"{argument} must be a list of integers or None, got {value!r}")
    return list(value)


class VarianceScaling(Initializer):
    """Elements have mean 0 and variance `scale` / n, so that signals keep their size from layer to layer.

    Parameters
    ----------
    scale : float, default 1.0
        Positive.
    mode : {"fan_in", "fan_out", "fan_avg"}, default "fan_in"
        What n is: the inputs of a unit, its outputs, or the mean of these two numbers.
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}, default "truncated_normal"
        ``"normal"`` is another name of ``"truncated_normal"``. A truncated normal has no values beyond two deviations,
        and is widened so that its variance is the one wanted. A uniform one goes from
        -sqrt(3 scale / n) to sqrt(3 scale / n).
    seed : int, optional
    input_axes, output_axes : list of int, optional
        The axes of the parameter that count as inputs and as outputs; give both or neither. By default the inputs are
        the last axis but one and the outputs the last, each times all axes before these two; of a parameter with one
        axis, this counts as both.

    Raises
    ------
    ValueError
        When an argument is outside of what is listed here, or one of `input_axes` and `output_axes` lacks the other.

    Examples
    --------
    >>> from fastnn import initializers
    >>> initializers.VarianceScaling(2.0, distribution="uniform", seed=1)((3, 2)).shape
    (3, 2)
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        input_axes: list[int] | None = None,
        output_axes: list[int] | None = None,
    ) -> None:
        super().__init__(seed)
        self.scale = number("scale", scale, 0.0, open_low=True)
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"mode must be 'fan_in', 'fan_out' or 'fan_avg', got {mode!r}")
        distribution = "truncated_normal" if distribution == "normal" else distribution
        if distribution not in ("truncated_normal", "untruncated_normal", "uniform"):
            raise ValueError(
                f"distribution must be 'truncated_normal', 'untruncated_normal' or 'uniform', got {distribution!r}"
            )
        self.mode, self.distribution = mode, distribution
        self.input_axes, self.output_axes = _axes(input_axes, "input_axes"), _axes(output_axes, "output_axes")
        if (self.input_axes is None) != (self.output_axes is None):
            raise ValueError("input_axes and output_axes are given both or neither, got one of them")

    def _fans(self, shape: tuple[int, ...]) -> tuple[int, int]:
        if self.input_axes is not None and self.output_axes is not None:
            if not all(-len(shape) <= axis < len(shape) for axis in self.input_axes + self.output_axes):
                raise ValueError(
                    f"input_axes {self.input_axes} and output_axes {self.output_axes} must be axes of the parameter, "
                    f"which has shape {shape}"
                )
            return math.prod(shape[k] for k in self.input_axes), math.prod(shape[k] for k in self.output_axes)
        if len(shape) < 2:
            return (shape[0], shape[0]) if shape else (1, 1)
        before = math.prod(shape[:-2])
        return before * shape[-2], before * shape[-1]

    def _fill(self, values: npt.NDArray[Any], source: Any) -> None:
        fan_in, fan_out = self._fans(values.shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        deviation = math.sqrt(self.scale / max(1.0, fan))
        limit, factor = math.sqrt(3) * deviation, deviation / _draws.TRUNCATED_STDDEV
        draws: dict[str, _draws.Draw] = {
            "uniform": lambda own, n: own.uniform(-limit, limit, n),
            "truncated_normal": lambda own, n: _draws.truncated(own, n) * factor,
            "untruncated_normal": lambda own, n: own.standard_normal(n) * deviation,
        }
        _draws.fill(values, source, draws[self.distribution])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        axes = {"input_axes": self.input_axes, "output_axes": self.output_axes}
        return {"scale": self.scale, "mode": self.mode, "distribution": self.distribution, "seed": self.seed} | axes


class _Preset(VarianceScaling):
    """A :class:`VarianceScaling` with a name of its own: its class sets scale, mode and distribution."""

    preset: ClassVar[tuple[float, str, str]]

    def __init__(
        self, seed: int | None = None, input_axes: list[int] | None = None, output_axes: list[int] | None = None
    ) -> None:
        super().__init__(*self.preset, seed, input_axes, output_axes)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"seed": self.seed, "input_axes": self.input_axes, "output_axes": self.output_axes}


class GlorotUniform(_Preset):
    """Uniform distribution with variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010, eq. 16).

    Parameters
    ----------
    seed, input_axes, output_axes : optional
        As for :class:`VarianceScaling`.

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.Dense(8, "tanh", kernel_initializer=fastnn.initializers.GlorotUniform(seed=1))
    """

    preset = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Preset):
    """Truncated normal with variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010, eq. 12).

    Parameters
    ----------
    seed, input_axes, output_axes : optional
        As for :class:`VarianceScaling`.

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.Dense(8, "tanh", kernel_initializer=fastnn.initializers.GlorotNormal(seed=1))
    """

    preset = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Preset):
    """Uniform distribution with variance 2 / fan_in (He et al. 2015, eq. 10).

    Parameters
    ----------
    seed, input_axes, output_axes : optional
        As for :class:`VarianceScaling`.

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.Dense(8, "relu", kernel_initializer=fastnn.initializers.HeUniform(seed=1))
    """

    preset = (2.0, "fan_in", "uniform")


class HeNormal(_Preset):
    """Truncated normal with variance 2 / fan_in (He et al. 2015, eq. 10).

    Parameters
    ----------
    seed, input_axes, output_axes : optional
        As for :class:`VarianceScaling`.

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.Dense(8, "relu", kernel_initializer=fastnn.initializers.HeNormal(seed=1))
    """

    preset = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Preset):
    """Uniform distribution with variance 1 / fan_in (LeCun et al. 1998, section 4.6).

    Parameters
    ----------
    seed, input_axes, output_axes : optional
        As for :class:`VarianceScaling`.

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.Dense(8, "selu", kernel_initializer=fastnn.initializers.LecunUniform(seed=1))
    """

    preset = (1.0, "fan_in", "uniform")


class LecunNormal(_Preset):
    """Truncated normal with variance 1 / fan_in (LeCun et al. 1998, section 4.6).

    Parameters
    ----------
    seed, input_axes, output_axes : optional
        As for :class:`VarianceScaling`.

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.Dense(8, "selu", kernel_initializer=fastnn.initializers.LecunNormal(seed=1))
    """

    preset = (1.0, "fan_in", "truncated_normal")


class _Function(Initializer):
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


# Names that Keras has for the same classes.
zeros, ones, constant = Zeros, Ones, Constant
random_normal, random_uniform, truncated_normal = RandomNormal, RandomUniform, TruncatedNormal
glorot_normal, glorot_uniform, he_normal, he_uniform = GlorotNormal, GlorotUniform, HeNormal, HeUniform
lecun_normal, lecun_uniform, variance_scaling = LecunNormal, LecunUniform, VarianceScaling
orthogonal = OrthogonalInitializer = Orthogonal
identity = IdentityInitializer = Identity

_registry: Registry[Initializer] = Registry("initializer", Initializer)
for _name in __all__:
    _member = globals().get(_name)  # None for the functions of __all__, which are defined below
    if isinstance(_member, type) and _member is not Initializer:
        _registry.register(_member, _name)
for _class, _name in ((Zeros, "zero"), (Ones, "one"), (RandomNormal, "normal"), (RandomUniform, "uniform")):
    _registry.register(_class, _name)


def get(identifier: Any, argument: str = "initializer") -> Initializer:
    """Return the initializer that a name, class or config means; a Python function (shape, dtype) -> array becomes one.

    Parameters
    ----------
    identifier : str, Initializer, class, dict or callable
        A name, as ``"he_normal"``; an instance; what :func:`serialize` made; a function.
    argument : str
        The name of the argument in error messages.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.initializers.get("ones")((2,))
    array([1., 1.], dtype=float32)
    """
    if callable(identifier) and not isinstance(identifier, (Initializer, type)):
        return _Function(identifier, argument)
    return _registry.get(identifier, argument)


def serialize(initializer: Initializer) -> dict[str, Any]:
    """A JSON-able dict from which :func:`get` makes an equal initializer.

    Parameters
    ----------
    initializer : Initializer

    Examples
    --------
    >>> import fastnn
    >>> fastnn.initializers.serialize(fastnn.initializers.Constant(0.5))
    {'class_name': 'Constant', 'config': {'value': 0.5}}
    """
    return _registry.serialize(initializer)


publish(__name__, __all__)
