"""Weights to start from that follow from rows of data: kernels of one scale, biases at points of the data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._engine import Engine
from fastnn._op import ParameterSpec
from fastnn._registry import nearest_names
from fastnn.layers import Dense
from fastnn.layers.base import Layer
from fastnn.plan import Plan, argument, argument_input

Array = npt.NDArray[Any]
KERNELS, BIASES = ("std",), ("he+5",)
POINTS = 5  # rows of which "he+5" takes a mean
LEAST = 0.1  # of the deviation that an argument would have if the inputs were uncorrelated: "std" takes no less


def check_start(name: str, value: Any, known: tuple[str, ...]) -> None:
    """Raise unless `value` is None, or names a way to start."""
    if value is not None and value not in known:
        near = nearest_names(str(value), list(known))
        raise ValueError(f"{name} must be {' or '.join(map(repr, known))}, or None, got {value!r}; {near}")


def _dense_layers(layers: Iterable[Layer], path: str = "") -> Iterator[str]:
    """Yield the path, as parameters have it, of each Dense layer among these and within them."""
    for layer in layers:
        own = f"{path}{layer.name}/"
        if isinstance(layer, Dense):
            yield own
        yield from _dense_layers(layer._layers, own)


def started(
    plan: Plan,
    layers: Iterable[Layer],
    parameters: Array,
    x: Array,
    kernel: str | None,
    bias: str | None,
    generator: np.random.Generator,
) -> Array:
    """Return all parameters, of which kernels and biases of Dense layers now fit the rows of x.

    Layer after layer, each in the network whose earlier layers have been changed already, the engine computes the
    argument z = x W of shape (rows, units). Parameters that are not trained stay.

    - ``"std"`` divides column j of W by the standard deviation d_j of z_j, so that the variance of x W_j becomes 1. If
      the columns of x were uncorrelated, with deviations c, d_j would be u_j = sqrt(sum_i (c_i W_ij)^2). Where the
      terms of x W_j cancel each other in these rows, as they may where few of the rows differ, d_j is close to 0, and
      the terms would become huge, which cancel in no other row: W_j is divided by no less than u_j / 10. A column whose
      deviation is no more than rounding stays.
    - ``"he+5"`` takes for each unit five rows at random, and shares that are exponentially distributed and add up to 1,
      and sets the bias to minus the weighted mean of z_j in these rows: the argument is 0 within the data.

    Parameters
    ----------
    plan : Plan
    layers : iterable of Layer
        The layers that were lowered to the plan.
    parameters : ndarray
        The flat buffer of the parameters, which stays as it is.
    x : ndarray, shape (rows, plan.inputs)
    kernel : {"std", None}
    bias : {"he+5", None}
    generator : numpy.random.Generator

    Raises
    ------
    ValueError
        When an argument is not finite.
    """
    flat = np.array(parameters)
    dense, places = set(_dense_layers(layers)), {spec.offset: spec for spec in plan.parameters}
    for k, op in enumerate(plan.ops):
        spec = places.get(op.kernel)
        if op.name != "dense" or spec is None or not spec.trainable or _path(spec) not in dense:
            continue
        z = _answers(argument(plan, k), flat, x)
        if not np.isfinite(z).all():
            raise ValueError(
                f"x must be finite, but the argument of the layer {_path(spec)[:-1]!r} is not: clean the data"
            )
        if kernel is not None:
            deviation = z.std(axis=0)
            # where all rows agree up to rounding, there is nothing to scale
            same = deviation <= 100 * np.finfo(plan.dtype).eps * np.abs(z).max(axis=0)
            spread = _answers(argument_input(plan, k), flat, x).std(axis=0)
            uncorrelated = np.sqrt(spread**2 @ spec.view(flat).astype(np.float64) ** 2)
            deviation = np.where(same, 1, np.maximum(deviation, LEAST * uncorrelated))
            spec.view(flat)[...] /= deviation
            z /= deviation
        if bias is not None and op.bias >= 0:
            rows = generator.integers(0, len(z), (POINTS, op.outputs))
            shares = generator.exponential(size=(POINTS, op.outputs))
            points = np.take_along_axis(z, rows, axis=0)
            places[op.bias].view(flat)[...] = -(points * shares).sum(axis=0) / shares.sum(axis=0)
    return flat


def _path(spec: ParameterSpec) -> str:
    """Return the path of the layer that has a parameter."""
    return f"{spec.layer}/{spec.name}".rpartition("/")[0] + "/"


def _answers(plan: Plan, parameters: Array, x: Array) -> npt.NDArray[np.float64]:
    """Return what a network of this plan gives with these parameters."""
    engine = Engine(plan)
    engine.parameters[...] = parameters
    out = np.empty((len(x), plan.outputs), plan.dtype)
    engine.predict(x, out)
    return out.astype(np.float64)
