"""What nodes mean that compute number by number, as formulas."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn import activations
from fastnn.activations import ActivationFunction
from fastnn.exchange import _onnx_formulas as formulas
from fastnn.exchange._onnx_constants import Constant
from fastnn.exchange._onnx_formulas import Formula, as_formula
from fastnn.exchange._onnx_patterns import elu, formula_of, leaky_relu
from fastnn.exchange._onnx_rows import Sloped, UnfitError, settle
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
    number,
)

Meaning = Callable[[Context, Inputs], Value | list[Value]]


def _once(context: Context, place: int, x: Flow) -> list[Flow]:
    return [x] if context.uses.get(context.names[place], 0) == 1 else []


# ---- arithmetic ----


def binary(operation: Callable[[Formula, Formula], Formula]) -> Meaning:
    """Return the meaning of a node that combines two values, of which one may be a constant."""

    def meaning(context: Context, inputs: Inputs) -> Value:
        a, b = inputs
        if isinstance(a, Flow) and isinstance(b, Flow):
            x, y = flow(a), flow(b)
            return _of_two(operation, x, y)
        place = 0 if isinstance(b, Constant) else 1
        x = flow(inputs[place])
        other = as_formula(coefficient(constant(inputs[1 - place]), x, context.budget))

        def of(q: Formula) -> Formula:
            return operation(q, other) if place == 0 else operation(other, q)

        return _of_one(x, of, _once(context, place, x))

    return meaning


def _of_two(operation: Callable[[Formula, Formula], Formula], x: Flow, y: Flow) -> Flow:
    axes = axes_of_both(x, y)
    try:
        formula = operation(x.formula, y.formula)
    except UnfitError:
        return elementwise(operation(x.step, y.step), axes)
    return elementwise(formula, axes, again=lambda: operation(x.step, y.step))


def _of_one(x: Flow, function: Callable[[Formula], Formula], once: Sequence[Flow] | None = None) -> Flow:
    """Return a function of x; where its formula is the one of no layer, x becomes a step first.

    Functions that meet x with a constant give `once`, which :func:`elementwise` takes; others need one formula for all
    columns, and of one step.
    """
    try:
        if once is None and (x.formula.has_vectors or len(x.formula.leaves) > 1):
            x.rows()
        formula = function(x.formula)
    except UnfitError:
        return elementwise(function(x.step), x.axes, once or ())
    return elementwise(formula, x.axes, once or (), None if x.formula.leaf else lambda: function(x.step))


def quotient(a: Formula, b: Formula) -> Formula:
    if set(b.terms) == {formulas.CONSTANT}:
        (divisor,) = b.terms.values()
        if not np.all(divisor):
            raise UnfitError("it divides by zero")
        return a * (1 / divisor)
    return a * _power(b, -1.0)


def _power(q: Formula, exponent: float) -> Formula:
    if q.has_vectors:
        raise UnfitError("it takes a power of columns with factors of their own")
    return formulas.power(q, exponent)


def larger(a: Formula, b: Formula) -> Formula:
    return _offlow(formulas.maximum, a, b)


def smaller(a: Formula, b: Formula) -> Formula:
    return _offlow(formulas.minimum, a, b)


def _offlow(function: Callable[[Formula, Formula], Formula], a: Formula, b: Formula) -> Formula:
    """Apply a function that needs one coefficient for all columns, and one of its arguments to be the number."""
    if a.has_vectors or b.has_vectors or len((a - b).leaves) > 1:
        raise UnfitError("it compares columns with numbers of their own, or rows of two layers")
    return function(b, a) if a.number is not None else function(a, b)


def several(operation: Callable[[Formula, Formula], Formula]) -> Meaning:
    two = binary(operation)

    def meaning(context: Context, inputs: Inputs) -> Value:
        names = context.names
        result: Any = inputs[0]
        if len(inputs) == 1:
            return flow(result)
        for place, other in enumerate(inputs[1:], 1):
            context.names = [names[0] if place == 1 else "", names[place]]
            result = two(context, [result, other])
        return result

    return meaning


def unary(function: Callable[[Formula], Formula]) -> Meaning:
    """Return the meaning of a node that applies a function to each number."""

    def meaning(context: Context, inputs: Inputs) -> Value:
        return _of_one(flow(inputs[0]), function)

    return meaning


def compared(larger: int) -> Meaning:
    """Return the meaning of a comparison: 1 where the input of number `larger` is the larger one, else 0."""
    difference = binary(lambda a, b: formulas.positive(a - b if larger == 0 else b - a))

    def meaning(context: Context, inputs: Inputs) -> Value:
        try:
            found = flow(difference(context, inputs))  # type: ignore[arg-type]  # one value
        except UnfitError:
            return Unknown("a comparison", label=True)
        return Flow(found.formula, found.axes, whole=True, flag=True)

    return meaning


def not_(context: Context, inputs: Inputs) -> Value:
    x = flow(inputs[0])
    return Flow(-x.formula + 1.0, x.axes, whole=True, flag=True)


def where(context: Context, inputs: Inputs) -> Value:
    """Where: b + (a - b) c, for a comparison c."""
    chosen = flow(inputs[0])
    if not chosen.flag:
        raise UnfitError("it chooses by something else than a comparison")
    a, b = (
        value.formula if isinstance(value, Flow) else as_formula(coefficient(constant(value), chosen, context.budget))
        for value in inputs[1:3]
    )
    flows = [value for value in inputs[1:3] if isinstance(value, Flow)]
    axes = chosen.axes
    for one in flows:
        axes = axes_of_both(one, chosen)
    whole = all(one.whole for one in flows)
    return Flow(b + chosen.formula * (a - b), axes, whole, any(one.cut for one in flows))


def activation(function: ActivationFunction) -> Meaning:
    return unary(lambda q: formula_of(function, q))


def power(context: Context, inputs: Inputs) -> Value:
    x, exponent = flow(inputs[0]), number(inputs[1])
    return _of_one(x, lambda q: formulas.power(q, exponent))


def clip(context: Context, inputs: Inputs) -> Value:
    """Clip, whose limits are inputs since opset 11."""
    x = flow(inputs[0])
    low, high = context.attribute("min", -math.inf), context.attribute("max", math.inf)
    if len(inputs) > 1 and inputs[1] is not None:
        low = number(inputs[1])
    if len(inputs) > 2 and inputs[2] is not None:
        high = number(inputs[2])
    if low > high:
        raise UnfitError(f"its limits are {low} and {high}")
    return _of_one(x, lambda q: formulas.clip(q, low, high))


def with_attributes(make: Callable[[Context], Callable[[Formula], Formula]]) -> Meaning:
    def meaning(context: Context, inputs: Inputs) -> Value:
        return _of_one(flow(inputs[0]), make(context))

    return meaning


def of_elu(context: Context) -> Callable[[Formula], Formula]:
    alpha = context.attribute("alpha", 1.0)
    return lambda q: elu(q, alpha)


def of_celu(context: Context) -> Callable[[Formula], Formula]:
    alpha = context.attribute("alpha", 1.0)
    if alpha == 0:
        raise UnfitError("its alpha is 0")
    return lambda q: elu(q, alpha, inner=1 / alpha)


def of_selu(context: Context) -> Callable[[Formula], Formula]:
    alpha = context.attribute("alpha", activations.SELU_ALPHA)
    gamma = context.attribute("gamma", activations.SELU_SCALE)
    return lambda q: elu(q, alpha, gamma)


def of_leaky_relu(context: Context) -> Callable[[Formula], Formula]:
    slope = context.attribute("alpha", 0.01)
    return lambda q: leaky_relu(q, slope)


def of_hard_sigmoid(context: Context) -> Callable[[Formula], Formula]:
    alpha, beta = context.attribute("alpha", 0.2), context.attribute("beta", 0.5)
    return lambda q: formulas.clip(q * alpha + beta, 0, 1)


def of_swish(context: Context) -> Callable[[Formula], Formula]:
    alpha = context.attribute("alpha", 1.0)
    return lambda q: q * formulas.sigmoid(q * alpha)


def of_gelu(context: Context) -> Callable[[Formula], Formula]:
    how = context.attribute("approximate", "none")
    if how not in ("none", "tanh"):
        raise UnfitError(f"its approximate is {how!r}")
    return lambda q: formula_of(activations.GELU(how == "tanh"), q)


def prelu(context: Context, inputs: Inputs) -> Value:
    x, slope = flow(inputs[0]), constant(inputs[1])
    alpha = coefficient(slope, x, context.budget)
    if isinstance(alpha, float):
        return _of_one(x, lambda q: leaky_relu(q, alpha))
    rows = x.rows()
    settle(rows, len(alpha))
    return Flow(as_formula(Sloped(len(alpha), rows, alpha)), x.axes)
