"""What nodes mean that compute with whole rows: products, softmax, means and normalizations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn import activations
from fastnn.activations import ActivationFunction
from fastnn.exchange._onnx_constants import Constant
from fastnn.exchange._onnx_elementwise import Meaning
from fastnn.exchange._onnx_formulas import Formula, as_formula
from fastnn.exchange._onnx_patterns import applied, as_product
from fastnn.exchange._onnx_rows import Applied, Normalized, Product, Rows, UnfitError, settle
from fastnn.exchange._onnx_shapes import Inputs
from fastnn.exchange._onnx_values import (
    Context,
    Flow,
    Unknown,
    Value,
    axes_of_both,
    coefficient,
    constant,
    elementwise,
    flow,
)

# ---- products ----


def product(context: Context, x: Flow, kernel: Constant, scale: float) -> tuple[Product, tuple[int | None, ...]]:
    if len(kernel.shape) != 2 or kernel.dtype.kind not in "f" or not kernel.size:
        raise UnfitError(f"it multiplies by an array of {kernel.dtype} of shape {kernel.shape}, which is no kernel")
    if not x.axes or any(axis != 1 for axis in x.axes[:-1]):
        raise UnfitError(f"it multiplies rows of shape {x.axes}, and a Dense needs one axis")
    rows = x.rows()
    settle(rows, kernel.shape[0])
    return Product(kernel.shape[1], rows, kernel, scale, None), (*x.axes[:-1], kernel.shape[1])


def matmul(context: Context, inputs: Inputs) -> Value:
    if isinstance(inputs[0], Flow) and isinstance(inputs[1], Flow):
        raise UnfitError("it multiplies two matrices that depend on x, as in attention")
    found, axes = product(context, flow(inputs[0]), constant(inputs[1]), context.attribute("alpha", 1.0))
    return Flow(as_formula(found), axes)


def gemm(context: Context, inputs: Inputs) -> Value:
    """Alpha x W + beta C, where W may be given transposed."""
    if context.attribute("transA", 0):
        raise UnfitError("its first matrix is transposed")
    x, kernel = flow(inputs[0]), constant(inputs[1])
    if len(kernel.shape) != 2:
        raise UnfitError(f"it multiplies by an array of shape {kernel.shape}, which is no kernel")
    if context.attribute("transB", 0):
        kernel = kernel.transpose()
    found, axes = product(context, x, kernel, context.attribute("alpha", 1.0))
    result = Flow(as_formula(found), axes)
    if len(inputs) < 3 or inputs[2] is None:
        return result
    beta = context.attribute("beta", 1.0)
    if isinstance(inputs[2], Flow):
        other = flow(inputs[2])
        return elementwise(result.formula + other.formula * beta, axes_of_both(result, other))
    bias = coefficient(constant(inputs[2]), result, context.budget)
    found.bias = np.broadcast_to(np.asarray(bias * beta, np.float64), (kernel.shape[1],))
    return result


# ---- rows as a whole ----


def _check_last_axis(context: Context, x: Flow, axis: int) -> None:
    rank = 1 + len(x.axes)
    if not x.axes or axis not in (-1, rank - 1) or any(length != 1 for length in x.axes[:-1]):
        raise UnfitError(f"it works on axis {axis} of rows of shape {x.axes}, and not on whole rows")


def softmax(function: ActivationFunction) -> Meaning:
    def meaning(context: Context, inputs: Inputs) -> Value:
        x = flow(inputs[0])
        _check_last_axis(context, x, context.attribute("axis", 1 if context.opset < 13 else -1))
        return Flow(as_formula(applied(x.rows(), function)), x.axes)

    return meaning


def reduction(function: Callable[[Formula, float], Formula]) -> Meaning:
    """Return the meaning of a node that gives one number a row."""

    def meaning(context: Context, inputs: Inputs) -> Value:
        x = flow(inputs[0])
        given: Any = context.attributes.get("axes")
        if len(inputs) > 1 and inputs[1] is not None:
            given = constant(inputs[1]).array().reshape(-1).tolist()
        if not isinstance(given, list) or len(given) != 1:
            raise UnfitError(f"it works on the axes {given!r:.40}, and not on whole rows")
        _check_last_axis(context, x, given[0])
        if x.width is None:
            raise UnfitError("it works on rows of unknown width")
        if x.formula.has_vectors or len(x.formula.leaves) > 1:
            x.rows()
        formula = function(x.formula, float(x.width))
        return Flow(formula, (1,) * len(x.axes) if context.attribute("keepdims", 1) else (1,) * (len(x.axes) - 1))

    return meaning


def _vector(given: Value | None, width: int) -> Any:
    found = constant(given)
    if found.size != width or found.dtype.kind != "f":
        raise UnfitError(f"its parameters have the shape {found.shape}, and its rows {width} numbers")
    values = found.array().reshape(-1).astype(np.float64)
    if not np.isfinite(values).all():
        raise UnfitError("it has infinity or NaN among its parameters")
    return values


def batch_normalization(context: Context, inputs: Inputs) -> list[Value]:
    x = flow(inputs[0])
    if context.attribute("training_mode", 0):
        raise UnfitError("it is in training mode")
    width = constant(inputs[1]).size
    if x.width is None:
        x.settled(width)
    if len(x.axes) != 1:
        raise UnfitError(f"it normalizes rows of shape {x.axes}, as of images")
    rows = x.rows()
    settle(rows, width)
    parameters = {
        name: _vector(given, width)
        for name, given in zip(("gamma", "beta", "moving_mean", "moving_variance"), inputs[1:5], strict=True)
    }
    if np.any(parameters["moving_variance"] < 0):
        raise UnfitError("it has a negative variance")
    epsilon = context.attribute("epsilon", 1e-5)
    momentum = context.attribute("momentum", 0.9)
    if not 0 <= momentum <= 1:
        raise UnfitError(f"its momentum is {momentum}")
    found = Normalized(width, rows, "batch", _not_negative(epsilon), dict(parameters), momentum)
    return [Flow(as_formula(found), x.axes), *[Unknown("statistics of a batch")] * (context.outputs - 1)]


def _not_negative(epsilon: float) -> float:
    if not 0 <= epsilon < math.inf:
        raise UnfitError(f"its epsilon is {epsilon}")
    return epsilon


def row_normalization(kind: str, default: float = 1e-5, skips: bool = False) -> Meaning:
    """Return the meaning of LayerNormalization and its like: x, γ and β; after a sum of two rows where it `skips`."""

    def meaning(context: Context, inputs: Inputs) -> list[Value]:
        x = flow(inputs[0])
        scale, *others = inputs[2:] if skips else inputs[1:]
        if skips:
            other = flow(inputs[1])
            added = x.formula + other.formula
            if len(others) > (1 if kind == "layer" else 0) and others[-1] is not None:
                added = added + as_formula(coefficient(constant(others[-1]), x, context.budget))
                others = others[:-1]
            x = elementwise(added, axes_of_both(x, other))
        axis = context.attribute("axis", -1)
        if x.width is None:
            x.settled(constant(scale).size)
        _check_last_axis(context, x, axis)
        rows, width = x.rows(), x.width or 0
        parameters = {"gamma": _vector(scale, width)}
        if kind == "layer":
            parameters["beta"] = _vector(others[0], width) if others and others[0] is not None else None
        epsilon = _not_negative(context.attribute("epsilon", default))
        found = Flow(as_formula(Normalized(width, rows, kind, epsilon, parameters)), x.axes)
        rest: list[Value] = [Unknown("statistics of rows")] * (context.outputs - 1)
        if skips and context.outputs == 4:
            rest[-1] = x
        return [found, *rest]

    return meaning


def unit(context: Context, inputs: Inputs) -> Value:
    """LpNormalization."""
    if context.attribute("p", 2) != 2:
        raise UnfitError("its norm is the sum of absolute values, and fastnn has the Euclidean one")
    return _of_length_one(context, flow(inputs[0]), context.attribute("axis", -1))


def normalizer(context: Context, inputs: Inputs) -> Value:
    """Normalizer, whose L1 changes nothing where a row's sum is 1 already."""
    x, norm = flow(inputs[0]), context.attribute("norm", "MAX")
    if norm == "L1" and _sums_to_one(x.formula.leaf):
        return x
    if norm != "L2":
        raise UnfitError(f"its norm is {norm!r:.20}, and fastnn has the Euclidean one")
    return _of_length_one(context, x, -1)


def _of_length_one(context: Context, x: Flow, axis: int) -> Flow:
    _check_last_axis(context, x, axis)
    rows = x.rows()
    return Flow(as_formula(Normalized(rows.width, rows, "unit", 0.0, {})), x.axes)


def _sums_to_one(rows: Rows | None) -> bool:
    """Whether the numbers of each row are probabilities already, whose sum is 1."""
    if not isinstance(rows, Applied):
        return False
    z = as_product(rows.x)
    if rows.function is not activations.sigmoid or z is None or z.width != 2:
        return rows.function is activations.softmax
    first, second = (z.kernel.array() * z.scale).T
    bias = np.zeros(2) if z.bias is None else z.bias
    return bool(np.array_equal(first, -second) and bias[0] == -bias[1])  # sigmoid(-z) + sigmoid(z) = 1
