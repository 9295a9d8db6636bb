"""The functions that the C of a network may call: those of ``_to_c_kernels.inc``, and two for each activation."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Elementwise(NamedTuple):
    """An activation that works number by number.

    Attributes
    ----------
    value : str
        y of x, and of the constants.
    slope : str
        dx of dy and v, which is y or, with `from_argument`, x.
    from_argument : bool
        Whether the result does not determine the derivative.
    constants : tuple of str
        The names of the constants, in the order of an op's `numbers`.
    """

    value: str
    slope: str
    from_argument: bool = False
    constants: tuple[str, ...] = ()


# The formulas are those of src_c/kernels/activation.inc.
ELEMENTWISE = {
    "relu": Elementwise("x < 0 ? 0 : x", "v > 0 ? dy : 0"),
    "sigmoid": Elementwise("1 / (1 + M(exp)(-x))", "dy * (v * (1 - v))"),
    "tanh": Elementwise("M(tanh)(x)", "dy * (1 - v * v)"),
    "leaky_relu": Elementwise("x > 0 ? x : slope * x", "v > 0 ? dy : slope * dy", constants=("slope",)),
    "clipped_relu": Elementwise(
        "x > highest ? highest : x <= threshold ? (slope == 0 ? 0 : slope * (x - threshold)) : x",
        "v >= highest ? 0 : v > 0 ? dy : slope * dy",
        constants=("slope", "threshold", "highest"),
    ),
    "elu": Elementwise(
        "x > 0 ? a * x : b * M(expm1)(d * x)", "v > 0 ? dy * a : dy * (d * (v + b))", constants=("a", "b", "d")
    ),
    "softplus": Elementwise("(x < 0 ? 0 : x) + M(log1p)(M(exp)(-M(fabs)(x)))", "-dy * M(expm1)(-v)"),
    "log_sigmoid": Elementwise("(x < 0 ? x : 0) - M(log1p)(M(exp)(-M(fabs)(x)))", "-dy * M(expm1)(v)"),
    "hard_sigmoid": Elementwise(
        "x < -3 ? 0 : x > 3 ? 1 : (x + 3) * ((real)1 / 6)", "v > 0 && v < 1 ? dy * ((real)1 / 6) : 0"
    ),
    "exponential": Elementwise("M(exp)(x)", "dy * v"),
    "hard_tanh": Elementwise("x < -1 ? -1 : x > 1 ? 1 : x", "v > -1 && v < 1 ? dy : 0"),
    "gelu": Elementwise(
        "x * (REAL(0.5) * M(erfc)(x * REAL(-0.70710678118654752)))",
        "dy * (REAL(0.5) * M(erfc)(v * REAL(-0.70710678118654752))"
        " + v * REAL(0.39894228040143268) * M(exp)(REAL(-0.5) * v * v))",
        from_argument=True,
    ),
    "gelu_tanh": Elementwise(
        "x / (1 + M(exp)(-x * (REAL(1.5957691216057307) + REAL(0.071354816272600253) * x * x)))",
        "dy * NET(gelu_tanh_slope)(v)",
        from_argument=True,
    ),
    "silu": Elementwise("x / (1 + M(exp)(-x))", "dy * NET(silu_slope)(v)", from_argument=True),
    "mish": Elementwise("NET(mish_of)(x)", "dy * NET(mish_slope)(v)", from_argument=True),
    "hard_silu": Elementwise(
        "x <= -3 ? 0 : x >= 3 ? x : x * (x + 3) * ((real)1 / 6)",
        "v <= -3 ? 0 : v >= 3 ? dy : dy * (v * ((real)1 / 3) + REAL(0.5))",
        from_argument=True,
    ),
    "softsign": Elementwise("x / (1 + M(fabs)(x))", "dy / ((1 + M(fabs)(v)) * (1 + M(fabs)(v)))", from_argument=True),
    "squareplus": Elementwise("NET(squareplus_of)(x, b)", "dy / (1 + REAL(0.25) * b / (v * v))", constants=("b",)),
    "smooth_clip": Elementwise(
        "x * inverse > REAL(1e10) ? limit : x * inverse < REAL(-1e10) ? -limit : x / M(hypot)(1, x * inverse)",
        "dy / (M(hypot)(1, v * inverse) * (1 + v * inverse * (v * inverse)))",
        from_argument=True,
        constants=("limit", "inverse"),
    ),
    "cos": Elementwise("M(cos)(x)", "-dy * M(sin)(v)", from_argument=True),
}
WHOLE_ROWS = ("softmax", "log_softmax")  # activations that are functions of the .inc

_FORWARD = """/* y = {name}(x); y may be x. */
static void NET({name})(const real *from, real *to, size_t n{parameters}) {{
    for (size_t i = 0; i < n; i++) {{
        const real x = from[i];
        to[i] = {value};
    }}
}}
"""
_BACK = """/* dx = dy {name}'(x), of v = {of}; dx may be dy. */
static void NET({name}_back)(const real *values, const real *slopes, real *to, size_t n{parameters}) {{
    for (size_t i = 0; i < n; i++) {{
        const real v = values[i], dy = slopes[i];
        to[i] = {value};
    }}
}}
"""
_FUNCTION = re.compile(r"^(?:/\*(?:(?!\*/).)*\*/\n)?static [^{;]*?NET\((\w+)\)\(.*?^}\n", re.DOTALL | re.MULTILINE)
_CALLED = re.compile(r"NET\((\w+)\)")


def _of_activation(name: str, activation: Elementwise) -> dict[str, str]:
    """Return the two functions of an activation; constants that only one of them reads are not passed to the other."""
    texts = {}
    for suffix, template, value in (("", _FORWARD, activation.value), ("_back", _BACK, activation.slope)):
        parameters = "".join(f", real {constant}" for constant in used(activation, value))
        of = "x" if activation.from_argument else "y"
        texts[name + suffix] = template.format(name=name, parameters=parameters, value=value, of=of)
    return texts


def used(activation: Elementwise, formula: str) -> tuple[str, ...]:
    """Return the names of the constants that one of the formulas of an activation has."""
    return tuple(name for name in activation.constants if re.search(rf"\b{name}\b", formula))


@functools.cache
def _functions() -> dict[str, str]:
    """Return the text of each function by its name, with what it calls before it."""
    source = Path(__file__).with_name("_to_c_kernels.inc").read_text("utf-8")
    found = {match[1]: match[0] for match in _FUNCTION.finditer(source)}
    for name, activation in ELEMENTWISE.items():
        found.update(_of_activation(name, activation))
    return found


def names() -> list[str]:
    """Return the names of all functions."""
    return list(_functions())


def functions(called: Iterable[str], value: str) -> str:
    """Return the text of these functions and of all that they call, each after those that it calls.

    `value` is the name of the function that VALUE calls, or empty.
    """
    texts, written = _functions(), dict[str, str]()

    def write(name: str) -> None:
        if name not in written:
            text = texts[name]
            for other in [*([value] if value and "VALUE(" in text else []), *_CALLED.findall(text)]:
                if other != name:
                    write(other)
            written[name] = text

    for name in called:
        write(name)
    return "\n".join(written.values())


def translated(text: str, net: str, *, double: bool, weight: str, value: str) -> str:
    """Return C in which the element types, the constants and the names are those of one file.

    Parameters
    ----------
    text : str
        C as in ``_to_c_kernels.inc``.
    net : str
        What the names of the file begin with.
    double : bool
        Whether numbers are ``double``, else ``float``.
    weight : str
        The C type of the elements of matrices.
    value : str
        The expression of the number that such an element w stands for, with ``{}`` in the place of w.
    """
    text = re.sub(r"\bVALUE\(([^()]*)\)", lambda match: value.format(match[1]), text)
    text = re.sub(r"\bREAL\(([^()]*)\)", r"\1" if double else r"\1f", text)
    text = re.sub(r"\bM\((\w+)\)", r"\1" if double else r"\1f", text)
    text = re.sub(r"\bNET\((\w+)\)", rf"{net}_\1", text)
    text = re.sub(r"\bRESTRICT\b", f"{net.upper()}_RESTRICT", text)
    return re.sub(r"\breal\b", "double" if double else "float", re.sub(r"\bweight\b", weight, text))
