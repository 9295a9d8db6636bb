"""Initializers whose variance follows from the numbers of a unit's inputs and outputs."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy.typing as npt

from fastnn import _draws
from fastnn._settings import number
from fastnn.initializers._base import Initializer


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


class Preset(VarianceScaling):
    """A :class:`VarianceScaling` with a name of its own: its class sets scale, mode and distribution."""

    preset: ClassVar[tuple[float, str, str]]

    def __init__(
        self, seed: int | None = None, input_axes: list[int] | None = None, output_axes: list[int] | None = None
    ) -> None:
        super().__init__(*self.preset, seed, input_axes, output_axes)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"seed": self.seed, "input_axes": self.input_axes, "output_axes": self.output_axes}


class GlorotUniform(Preset):
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


class GlorotNormal(Preset):
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


class HeUniform(Preset):
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


class HeNormal(Preset):
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


class LecunUniform(Preset):
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


class LecunNormal(Preset):
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
