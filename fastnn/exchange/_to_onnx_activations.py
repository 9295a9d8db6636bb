"""Activations as nodes of ONNX: one node where ONNX has the function, else its formula.

The formulas are those of src_c/kernels/activation.inc. Of float64 runtimes have the simple functions alone, and
attributes of nodes are float32: so a model of float64 has formulas throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn.exchange._to_onnx_graph import Graph

Numbers = tuple[float, ...]
Function = Callable[[Graph, str, Numbers], str]

# The tail of the normal distribution over exp(-a^2 / 2), times (a + 5), by t = (a - 5) / (a + 5): the polynomial of
# tail_over_bell in src_c/kernels/base/elementary.inc, whose highest power comes first.
_TAIL = (
    -1.49670159451461043e-10, 1.77992574115252822e-9, 7.66251844253481918e-9, -9.38328942298160547e-9,
    -6.59833805756738953e-8, 4.23486886510800386e-8, 4.33208145094611436e-7, -3.36655343400617907e-7,
    -2.76931789406582283e-6, 3.98091325394834108e-6, 0.0000166812357605362047, -0.0000497628152960913993,
    -0.0000593757337857678798, 0.000544899064544392937, -0.000797869397552774827, -0.00299337677043635441,
    0.0207950667998005039, -0.0691186387063174347, 0.165020366170388522, -0.313533156671304262,
    0.495305615969976345, -0.665382502890056703, 0.769193049750062959,
)  # fmt: skip
_TAIL_LOWEST = 38.6  # beyond it the tail is below the smallest number


def activate(graph: Graph, x: str, name: str, numbers: Numbers) -> str:
    """Return f(x) for the activation that the engine calls `name`; for the linear one x itself."""
    return ACTIVATIONS[name](graph, x, numbers)


def _node(operator: str, **attributes: Any) -> Function:
    return lambda graph, x, numbers: graph.node(operator, x, **attributes)


def _leaky_relu(graph: Graph, x: str, numbers: Numbers) -> str:
    (slope,) = numbers
    if not graph.is_double:
        return graph.node("LeakyRelu", x, alpha=slope)
    return graph.node("Where", graph.node("Greater", x, 0.0), x, graph.node("Mul", x, slope))


def _clipped_relu(graph: Graph, x: str, numbers: Numbers) -> str:
    slope, threshold, highest = numbers
    if not slope and not threshold:
        return graph.node("Clip", x, 0.0, highest)
    above = graph.node("Min", x, highest) if math.isfinite(highest) else x
    below: str | float = 0.0
    if slope:
        below = graph.node("Mul", graph.node("Sub", x, threshold), slope)
    return graph.node("Where", graph.node("LessOrEqual", x, threshold), below, above)


def _elu(graph: Graph, x: str, numbers: Numbers) -> str:
    a, b, d = numbers
    if not graph.is_double and a == d == 1:
        return graph.node("Elu", x, alpha=b)
    if not graph.is_double and d == 1:
        return graph.node("Selu", x, alpha=b / a, gamma=a)
    if not graph.is_double:  # a = b d = 1
        return graph.node("Celu", x, alpha=b)
    low = graph.node("Min", x, 0.0)
    power = graph.node("Exp", graph.node("Mul", low, d) if d != 1 else low)
    below = graph.node("Mul", graph.node("Sub", power, 1.0), b)
    above = graph.node("Mul", x, a) if a != 1 else x
    return graph.node("Where", graph.node("Greater", x, 0.0), above, below)


def _softplus(graph: Graph, x: str, numbers: Numbers = ()) -> str:
    """Return log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|))."""
    if not graph.is_double:
        return graph.node("Softplus", x)
    bend = graph.node("Log", graph.node("Add", graph.node("Exp", graph.node("Neg", graph.node("Abs", x))), 1.0))
    return graph.node("Add", graph.node("Relu", x), bend)


def _log_sigmoid(graph: Graph, x: str, numbers: Numbers) -> str:
    return graph.node("Neg", _softplus(graph, graph.node("Neg", x)))


def _hard_sigmoid(graph: Graph, x: str, numbers: Numbers) -> str:
    if not graph.is_double:
        return graph.node("HardSigmoid", x, alpha=1 / 6, beta=0.5)
    line = graph.node("Add", graph.node("Mul", x, 1 / 6), 0.5)
    return graph.node("Clip", line, 0.0, 1.0)


def _hard_silu(graph: Graph, x: str, numbers: Numbers) -> str:
    if graph.opset >= 14 and not graph.is_double:
        return graph.node("HardSwish", x)
    return graph.node("Mul", x, _hard_sigmoid(graph, x, numbers))


def _gelu(graph: Graph, x: str, numbers: Numbers) -> str:
    if graph.is_double:
        return _gelu_of_double(graph, x)
    if graph.opset >= 20:
        return graph.node("Gelu", x)
    error = graph.node("Erf", graph.node("Div", x, math.sqrt(2)))  # runtimes know the formula in this order
    return graph.node("Mul", graph.node("Mul", x, graph.node("Add", error, 1.0)), 0.5)


def _gelu_of_double(graph: Graph, x: str) -> str:
    """Return x F(x) without Erf, which runtimes have of float32 alone; the tail of F is that of |x|."""
    size = graph.node("Min", graph.node("Abs", x), _TAIL_LOWEST)
    above = graph.node("Add", size, 5.0)
    t = graph.node("Div", graph.node("Sub", size, 5.0), above)
    bell = graph.node("Exp", graph.node("Mul", graph.node("Mul", size, size), -0.5))
    tail = graph.node("Mul", bell, graph.node("Div", polynomials(graph, t, [_TAIL[::-1]])[0], above))
    share = graph.node("Where", graph.node("Less", x, 0.0), tail, graph.node("Sub", 1.0, tail))
    return graph.node("Mul", x, share)


def polynomials(graph: Graph, x: str, coefficients: Sequence[Numbers]) -> list[str]:
    """Return polynomials of each number of float64 of rows x, whose coefficients rise with the power."""
    exponents = graph.constant(np.arange(len(coefficients[0])), np.float64)
    powers = graph.node("Pow", graph.unsqueeze(x, -1), exponents)
    sums = graph.node("MatMul", powers, graph.constant(np.transpose(coefficients), np.float64, "coefficients"))
    return [graph.node("Gather", sums, graph.constant(k, np.int64), axis=-1) for k in range(len(coefficients))]


def _gelu_tanh(graph: Graph, x: str, numbers: Numbers) -> str:
    if graph.opset >= 20 and not graph.is_double:
        return graph.node("Gelu", x, approximate="tanh")
    cubic = graph.node("Mul", graph.node("Mul", x, x), 0.044715 * math.sqrt(8 / math.pi))
    twice = graph.node("Mul", x, graph.node("Add", cubic, math.sqrt(8 / math.pi)))
    return graph.node("Mul", x, graph.node("Sigmoid", twice))


def _silu(graph: Graph, x: str, numbers: Numbers) -> str:
    if graph.is_double:  # of the formula below ONNX Runtime up to 1.23 makes a node that is of float32 alone
        return graph.node("Div", x, graph.node("Add", graph.node("Exp", graph.node("Neg", x)), 1.0))
    return graph.node("Mul", x, graph.node("Sigmoid", x))


def _mish(graph: Graph, x: str, numbers: Numbers) -> str:
    if graph.opset >= 18 and not graph.is_double:
        return graph.node("Mish", x)
    return graph.node("Mul", x, graph.node("Tanh", _softplus(graph, x)))


def _softsign(graph: Graph, x: str, numbers: Numbers) -> str:
    if not graph.is_double:
        return graph.node("Softsign", x)
    return graph.node("Div", x, graph.node("Add", graph.node("Abs", x), 1.0))


def _squareplus(graph: Graph, x: str, numbers: Numbers) -> str:
    """Return (x + r) / 2, r = sqrt(x^2 + b), as max(x, 0) + b / (2 (r + |x|)), whose digits do not cancel."""
    (b,) = numbers
    root = graph.node("Sqrt", graph.node("Add", graph.node("Mul", x, x), b))
    small = graph.node("Div", b / 2, graph.node("Add", root, graph.node("Abs", x)))
    return graph.node("Add", graph.node("Relu", x), small)


def _smooth_clip(graph: Graph, x: str, numbers: Numbers) -> str:
    limit, inverse = numbers
    far = limit * (2.0**500 if graph.is_double else 2.0**60)  # infinity / infinity would be no number
    far = min(far, float(np.finfo(graph.dtype).max))
    bounded = graph.node("Clip", x, -far, far)
    u = graph.node("Mul", bounded, inverse)
    return graph.node("Div", bounded, graph.node("Sqrt", graph.node("Add", graph.node("Mul", u, u), 1.0)))


OF_ROWS = ("softmax", "log_softmax")  # a number of the result depends on the whole last axis


def cosine(graph: Graph, x: str, numbers: Numbers = ()) -> str:
    """Return the cosines of x; in float64, of which ONNX Runtime up to 1.23 has none, by a series."""
    if not graph.is_double:
        return graph.node("Cos", x)
    turns = graph.node("Mul", x, 0.5 / math.pi)
    part = graph.node("Sub", turns, graph.node("Round", turns))  # from -1/2 to 1/2
    terms = [(-4 * math.pi**2) ** k / math.factorial(2 * k) for k in range(15)]  # of squares of part
    return polynomials(graph, graph.node("Mul", part, part), [tuple(terms)])[0]


def sine(graph: Graph, x: str) -> str:
    """Return the sines of x."""
    return graph.node("Sin", x) if not graph.is_double else cosine(graph, graph.node("Sub", x, math.pi / 2))


ACTIVATIONS: dict[str, Function] = {
    "linear": lambda graph, x, numbers: x,
    "relu": _node("Relu"),
    "sigmoid": _node("Sigmoid"),
    "tanh": _node("Tanh"),
    "softmax": _node("Softmax", axis=-1),
    "log_softmax": _node("LogSoftmax", axis=-1),
    "leaky_relu": _leaky_relu,
    "clipped_relu": _clipped_relu,
    "elu": _elu,
    "softplus": _softplus,
    "hard_sigmoid": _hard_sigmoid,
    "exponential": _node("Exp"),
    "hard_tanh": lambda graph, x, numbers: graph.node("Clip", x, -1.0, 1.0),
    "log_sigmoid": _log_sigmoid,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": _silu,
    "mish": _mish,
    "hard_silu": _hard_silu,
    "softsign": _softsign,
    "squareplus": _squareplus,
    "smooth_clip": _smooth_clip,
    "cos": cosine,
}
