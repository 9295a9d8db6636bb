"""The values between a graph's nodes: constants, what depends on the rows of x, and what no network computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastnn.exchange._onnx_constants import Constant
from fastnn.exchange._onnx_formulas import Coefficient, Formula, as_formula
from fastnn.exchange._onnx_patterns import as_rows
from fastnn.exchange._onnx_rows import Product, Rows, UnfitError, settle
from fastnn.exchange._protobuf import Budget

ROWS = 2**31 - 19  # stands for the number of rows in shapes that a graph computes
# constants of formulas, as they are before 16 bits round them
_KNOWN = (math.sqrt(0.5), math.sqrt(2), math.sqrt(2 / math.pi), 0.044715, math.sqrt(2 / math.pi) * 0.044715, 1 / 6)


@dataclass(eq=False)
class Flow:
    """Numbers of each row: their formula, and the axes of a row, without the one of rows."""

    formula: Formula
    axes: tuple[int | None, ...]
    whole: bool = False  # whether the numbers are integers
    cut: bool = False  # whether digits after the point were cut off
    flag: bool = False  # whether the numbers are 0 and 1, of a comparison
    again: Callable[[], Formula] | None = None  # the formula once more, of inputs that have become steps

    @property
    def width(self) -> int | None:
        """The number of numbers in a row."""
        return None if None in self.axes else math.prod(axis or 0 for axis in self.axes)

    @property
    def step(self) -> Formula:
        """The formula of the numbers as they are given by a step."""
        return as_formula(self.rows())

    def rows(self) -> Rows:
        """Return the step that gives the numbers, which later formulas then are of."""
        if self.cut:
            raise UnfitError("numbers whose digits after the point are cut off")
        try:
            found = as_rows(self.formula)
        except UnfitError:
            if self.again is None:
                raise
            again, self.again = self.again, None
            found = as_rows(again())
        self.formula, self.again = as_formula(found), None
        if self.width is not None:
            settle(found, self.width)
        elif found.width is not None:
            self.axes = (found.width,)
        return found

    def settled(self, width: int) -> None:
        """Note how wide the rows are, where the file did not say it."""
        if self.width is None:
            for leaf in self.formula.leaves:
                settle(leaf, width)
            self.axes = (width,)


@dataclass(eq=False)
class Unknown:
    """A value that no layer computes, and why; `label` where it is made of predictions, as a class of probabilities."""

    why: str
    label: bool = False


Value = Constant | Flow | Unknown


@dataclass
class Context:
    """What the meaning of a node depends on besides its inputs."""

    budget: Budget
    opsets: dict[str, int]
    uses: dict[str, int]
    rows: set[int] = field(default_factory=set)  # the numbers of rows that the graph's inputs have in the file
    attributes: dict[str, Any] = field(default_factory=dict)  # those of the node at hand
    names: list[str] = field(default_factory=list)  # of its inputs
    outputs: int = 1

    @property
    def opset(self) -> int:
        """The version of ONNX's own operators."""
        return self.opsets.get("", 1)

    def constant(self, values: Any) -> Constant:
        """Return an array as a value."""
        return Constant(np.asarray(values), self.budget)

    def attribute(self, name: str, default: Any) -> Any:
        """Return an attribute of the node, which must be of the type of `default`; numbers may be of either type."""
        value = self.attributes.get(name, default)
        if isinstance(default, float) and isinstance(value, (int, float)):
            if not math.isfinite(value) and math.isfinite(default):
                raise UnfitError(f"its attribute {name} is {value}")
            return float(value)
        if default is not None and not isinstance(value, type(default)):
            raise UnfitError(f"its attribute {name} is a {type(value).__name__}, not a {type(default).__name__}")
        return value


def flow(value: Value | None) -> Flow:
    """Return a value that depends on the rows of x; raise where it is another."""
    if isinstance(value, Flow):
        return value
    if isinstance(value, Unknown):
        raise UnfitError(value.why)
    raise UnfitError("it reads a constant where it should read the rows of x")


def constant(value: Value | None) -> Constant:
    """Return a value that the file holds; raise where it is another."""
    if isinstance(value, Constant):
        return value
    if isinstance(value, Unknown):
        raise UnfitError(value.why)
    raise UnfitError("it needs a constant where it reads what depends on the rows of x")


def integers(value: Value | None) -> list[int]:
    """Return the whole numbers of a constant, as axes are given."""
    found = constant(value)
    if found.dtype.kind not in "iu" or found.size > 64:
        raise UnfitError("it needs some whole numbers")
    return [int(number) for number in found.array().reshape(-1)]


def number(value: Value | None) -> float:
    """Return the one number of a constant."""
    found = constant(value)
    if found.size != 1 or found.dtype.kind not in "fiub":
        raise UnfitError(f"it needs one number, and gets the shape {found.shape}")
    single = float(found.array().reshape(-1)[0])
    if found.rounded:
        for exact in _KNOWN:
            if abs(single - exact) < abs(exact) * 2**-8 and single in (float(np.float16(exact)), _bfloat16(exact)):
                return exact
    if not math.isfinite(single) and not math.isinf(single):
        raise UnfitError("it has a NaN among its constants")
    return single


def _bfloat16(value: float) -> float:
    """Return a number rounded to bfloat16."""
    bits = int(np.float32(value).view(np.uint32))
    return float(np.uint32((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).view(np.float32))


def coefficient(given: Constant, of: Flow, budget: Budget) -> Coefficient:
    """Return a constant as it meets the numbers of each row: one number, or one for each of them."""
    if given.size == 1:
        if len(given.shape) > 1 + len(of.axes):
            raise UnfitError(f"its constant of shape {given.shape} has more axes than what it meets")
        return number(given)
    if given.dtype.kind not in "fiub":
        raise UnfitError(f"its constant is of {given.dtype}")
    shape = (1,) * (1 + len(of.axes) - len(given.shape)) + given.shape
    if len(shape) > 1 + len(of.axes) or shape[0] != 1 or not given.size:
        raise UnfitError(f"its constant of shape {given.shape} has numbers for each row")
    if of.width is None:
        of.settled(shape[-1])
    axes = tuple(axis or 0 for axis in of.axes)
    if axes == (1,) and of.formula.per_row:
        axes = shape[1:]
    if any(length not in (1, axis) for length, axis in zip(shape[1:], axes, strict=True)):
        raise UnfitError(f"its constant of shape {given.shape} meets rows of shape {axes}")
    budget.charge(16 * math.prod(axes), "a constant")
    vector = np.broadcast_to(given.array().reshape(shape[1:]), axes).reshape(-1).astype(np.float64)
    if not np.isfinite(vector).all():
        raise UnfitError("it has infinity or NaN among its constants")
    return vector


def axes_of_both(a: Flow, b: Flow) -> tuple[int | None, ...]:
    """Return the axes of an elementwise result of two values; raise where one is repeated along the other."""
    for one, other in ((a, b), (b, a)):
        if one.width is None and other.width is not None and len(other.axes) == 1:
            one.settled(other.width)
        if one.axes == (1,) and one.formula.per_row and len(other.axes) == 1:
            return other.axes
    if a.axes != b.axes:
        raise UnfitError(f"it joins rows of shape {a.axes} and rows of shape {b.axes}")
    return a.axes


def elementwise(
    formula: Formula,
    axes: tuple[int | None, ...],
    once: Iterable[Flow] = (),
    again: Callable[[], Formula] | None = None,
) -> Flow:
    """Return the result of an elementwise node.

    A sum of rows becomes a step at once, and so does what is added to a product without a bias that nothing else reads:
    such values are those in `once`. What `again` returns is the formula where the inputs of the node are steps.
    """
    vector = next((len(c) for c in formula.terms.values() if isinstance(c, np.ndarray)), None)
    if vector is not None and axes == (1,):
        axes = (vector,)
    result = Flow(formula, axes, again=again)
    linear = all(len(m) <= 1 and all(isinstance(f, Rows) and e == 1 for f, e in m) for m in formula.terms)
    bare = any(isinstance(leaf, Product) and leaf.bias is None for leaf in (one.formula.leaf for one in once))
    if linear and (len(formula.leaves) > 1 or bare):
        result.rows()
    return result
