"""The engine's ops as nodes of ONNX: products, normalizations, and what becomes of columns by weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastnn._op import Op
from fastnn.exchange._to_onnx_activations import OF_ROWS, activate, cosine, sine
from fastnn.exchange._to_onnx_graph import Graph, Rows

# the nodes of an op that reads one tensor of real numbers
Writer = Callable[[Graph, Op, Rows], Rows]

_FAR = 16.0  # deviations from 0 beyond which a mean is subtracted first, and not folded into the shift


def _activated(graph: Graph, op: Op, x: str) -> Rows:
    """Return the op's activation of x."""
    return Rows(activate(graph, x, op.activation, op.numbers), op.outputs)


def dense(graph: Graph, op: Op, x: Rows) -> Rows:
    """Return f(x W + b)."""
    kernel = graph.parameter(op.kernel)
    if op.bias >= 0:
        return _activated(graph, op, graph.node("Gemm", x.name, kernel, graph.parameter(op.bias)))
    return _activated(graph, op, graph.node("MatMul", x.name, kernel))


def activation(graph: Graph, op: Op, x: Rows) -> Rows:
    """Return f(x), of rows of any axes unless f is of whole rows."""
    x = graph.flat(x) if op.activation in OF_ROWS else x
    return _activated(graph, op, x.name)._replace(axes=x.axes)


def glu(graph: Graph, op: Op, x: Rows) -> Rows:
    """Return a f(b), x = (a, b)."""
    a, b = graph.split("Split", 2, x.name, graph.whole(op.outputs, op.outputs), axis=1)
    return Rows(graph.node("Mul", a, activate(graph, b, op.activation, op.numbers)), op.outputs)


def blend(graph: Graph, op: Op, x: Rows) -> Rows:
    """Return (1 - alpha) x + alpha f(x)."""
    alpha = graph.parameter(op.kernel)
    rest = graph.constant(1 - graph.values(op.kernel), part="one_minus_alpha")
    share = graph.node("Mul", activate(graph, x.name, op.activation, op.numbers), alpha)
    return Rows(graph.node("Add", graph.node("Mul", x.name, rest), share), op.outputs)


def prelu(graph: Graph, op: Op, x: Rows) -> Rows:
    """Return x where x > 0, else alpha x."""
    alpha = graph.parameter(op.kernel)
    if not graph.is_double:
        return Rows(graph.node("PRelu", x.name, alpha), op.outputs)
    below = graph.node("Mul", x.name, alpha)
    return Rows(graph.node("Where", graph.node("Greater", x.name, 0.0), x.name, below), op.outputs)


# ---- normalizations ----


def _scaled(graph: Graph, op: Op, y: str, axes: tuple[int, ...] = ()) -> Rows:
    """Return y gamma + beta, as far as there are such."""
    if op.kernel >= 0:
        y = graph.node("Mul", y, graph.parameter(op.kernel, axes))
    if op.bias >= 0:
        y = graph.node("Add", y, graph.parameter(op.bias, axes))
    return Rows(y, op.outputs, axes=axes)


def layer_normalization(graph: Graph, op: Op, x: Rows) -> Rows:
    """Return (x - mean) / sqrt(variance + epsilon) gamma + beta; the mean is 0 where the op does not center."""
    epsilon, centered = op.numbers[0], op.numbers[1] != 0
    native = graph.opset >= 17 if centered else graph.opset >= 23
    if native and not graph.is_double:
        gamma = graph.parameter(op.kernel) if op.kernel >= 0 else graph.constant(np.ones(op.outputs), part="gamma")
        beta = [graph.parameter(op.bias)] if op.bias >= 0 else []
        name = "LayerNormalization" if centered else "RMSNormalization"
        return Rows(graph.node(name, x.name, gamma, *beta, axis=-1, epsilon=epsilon), op.outputs)
    apart = x.name
    if centered:
        apart = graph.node("Sub", x.name, graph.reduce("ReduceMean", x.name, 1, keepdims=True))
    variance = graph.reduce("ReduceMean", graph.node("Mul", apart, apart), 1, keepdims=True)
    deviation = graph.node("Sqrt", graph.node("Add", variance, epsilon))
    return _scaled(graph, op, graph.node("Div", apart, deviation))


def unit_normalization(graph: Graph, op: Op, x: Rows) -> Rows:
    """Return x / sqrt(sum(x^2) + 1e-24)."""
    squares = graph.reduce("ReduceSum", graph.node("Mul", x.name, x.name), 1, keepdims=True)
    return Rows(graph.node("Div", x.name, graph.node("Sqrt", graph.node("Add", squares, 1e-24))), op.outputs)


def batch_normalization(graph: Graph, op: Op, x: Rows) -> Rows:
    """Return (x - mean) / sqrt(variance + epsilon) gamma + beta, with the moving statistics.

    Runtimes fold the mean into the shift. Where it is many deviations from 0 that loses digits, and it is subtracted.
    """
    epsilon = op.numbers[0]
    mean, variance = graph.values(op.mean), graph.values(op.variance).astype(np.float64)
    factor = 1 / np.sqrt(variance + epsilon)
    if not graph.is_double and (np.abs(mean) * factor <= _FAR).all():
        gamma = graph.parameter(op.kernel) if op.kernel >= 0 else graph.constant(np.ones(op.outputs), part="gamma")
        beta = graph.parameter(op.bias) if op.bias >= 0 else graph.constant(np.zeros(op.outputs), part="beta")
        statistics = graph.parameter(op.mean), graph.parameter(op.variance)
        y = graph.node("BatchNormalization", x.name, gamma, beta, *statistics, epsilon=epsilon)
        return Rows(y, op.outputs)
    apart = graph.node("Sub", x.name, graph.parameter(op.mean))
    factor = factor.astype(graph.dtype) * (graph.values(op.kernel) if op.kernel >= 0 else graph.dtype.type(1))
    y = graph.node("Mul", apart, graph.constant(factor, part="factor"))
    return _scaled(graph, op._replace(kernel=-1), y)


def columns(graph: Graph, op: Op, x: Rows) -> Rows:
    """Return (x - mean) factor gamma + beta, column by column, of rows of any axes."""
    epsilon, scale, offset = op.numbers
    x = x if op.mode == "scale" else graph.flat(x)
    y = x.name if op.mean < 0 else graph.node("Sub", x.name, graph.parameter(op.mean))
    if op.mode != "scale":
        variance = graph.values(op.variance).astype(np.float64)
        deviation = np.maximum(np.where(variance == 0, 1, np.sqrt(variance)), epsilon)
        factor = deviation if op.mode == "multiply" else 1 / deviation
        y = graph.node("Mul", y, graph.constant(factor, part="factor"))
    elif scale != 1:
        y = graph.node("Mul", y, scale)
    if op.bias < 0 and offset:
        y = graph.node("Add", y, offset)
    return _scaled(graph, op, y, x.axes)


def center(graph: Graph, op: Op, x: Rows) -> Rows:
    """Return (x - center) factor."""
    centers, factors = op.vector[: op.inputs], op.vector[op.inputs :]
    largest = np.finfo(graph.dtype).max  # so that 0 times the factor is 0
    apart = graph.node("Sub", x.name, graph.constant(centers, part="center"))
    factor = graph.constant(np.minimum(factors, float(largest)), part="factor")
    return Rows(graph.node("Mul", apart, factor), op.outputs)


def unscale(graph: Graph, op: Op, x: Rows) -> Rows:
    """Return mean + deviation x, from low to high."""
    mean, deviation, low, high = np.reshape(op.vector, (4, op.outputs))
    product = graph.node("Mul", x.name, graph.constant(deviation, part="deviation"))
    y = graph.node("Add", product, graph.constant(mean, part="mean"))
    if np.isfinite(low).any():
        y = graph.node("Max", y, graph.constant(low, part="low"))
    if np.isfinite(high).any():
        y = graph.node("Min", y, graph.constant(high, part="high"))
    return Rows(y, op.outputs)


# ---- several numbers of each column, and groups of columns ----


def expand(graph: Graph, op: Op, x: Rows) -> Rows:
    """Return f(factor x_j w + b), several numbers of each column side by side, or of each repeat of the columns."""
    factor, each = op.vector[3], int(op.vector[4])
    repeats = op.outputs // op.inputs // each
    y = x.name if factor == 1 else graph.node("Mul", x.name, factor)
    axes: tuple[int, ...] = (op.inputs, each) if each > 1 else (op.inputs,)
    y = graph.unsqueeze(y, 2) if each > 1 else y
    if repeats > 1:
        axes, y = (repeats, *axes), graph.unsqueeze(y, 1)
    y = graph.node("Mul", y, graph.parameter(op.kernel, axes))
    if op.bias >= 0:
        y = graph.node("Add", y, graph.parameter(op.bias, axes))
    return _activated(graph, op, y)._replace(axes=axes if len(axes) > 1 else ())


def waves(graph: Graph, op: Op, x: Rows) -> Rows:
    """Return the cosines of each group of columns, then their sines, and so on."""
    each = int(op.numbers[0])
    count = op.inputs // each
    apart = graph.apart(x, count, each)
    both = graph.node("Concat", cosine(graph, apart), sine(graph, apart), axis=2)
    return Rows(both, op.outputs, axes=(count, 2 * each))


def groups(graph: Graph, op: Op, x: Rows) -> Rows:
    """Return f(x_g W_g + b_g) for groups of columns, of which each has a W and b, or all share them."""
    rows, units, biases, count = (int(number) for number in op.vector)
    inputs = op.inputs // count
    apart = graph.apart(x, count, inputs)
    kernel = graph.parameter(op.kernel, (count, inputs, units) if rows == op.inputs and count > 1 else ())
    if rows < op.inputs or count == 1:  # one W of all
        y = graph.node("MatMul", apart, kernel)
    elif graph.is_double:  # ONNX Runtime up to 1.23 makes one node of the three below, which is of float32 alone
        y = graph.node("Einsum", apart, kernel, equation="ngi,gio->ngo")
    else:
        turned = graph.node("Transpose", apart, perm=[1, 0, 2])
        y = graph.node("Transpose", graph.node("MatMul", turned, kernel), perm=[1, 0, 2])
    if op.bias >= 0:
        y = graph.node("Add", y, graph.parameter(op.bias, (units,) if biases == units else (count, units)))
    return _activated(graph, op, y)._replace(axes=(count, units))


def mean(graph: Graph, op: Op, x: Rows) -> Rows:
    """Return the mean of the members."""
    members = graph.apart(x, op.inputs // op.outputs, op.outputs)
    return Rows(graph.reduce("ReduceMean", members, 1), op.outputs)


def alike(graph: Graph, ops: list[Op], x: Rows) -> Rows:
    """Return f of each of the groups of columns that these ops read one after the other, side by side."""
    axes = len(ops), ops[0].inputs
    return _activated(graph, ops[0], graph.apart(x, *axes))._replace(width=x.width, axes=axes)


# those that take rows of several axes as they are
OF_ANY_AXES = ("activation", "columns", "waves", "groups", "mean")

WRITERS: dict[str, Writer] = {
    "dense": dense,
    "activation": activation,
    "glu": glu,
    "blend": blend,
    "prelu": prelu,
    "layer_normalization": layer_normalization,
    "unit_normalization": unit_normalization,
    "batch_normalization": batch_normalization,
    "columns": columns,
    "center": center,
    "unscale": unscale,
    "expand": expand,
    "waves": waves,
    "groups": groups,
    "mean": mean,
}
