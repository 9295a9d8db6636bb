"""Kernels of frozen networks in bfloat16 or int8: how they are rounded, and what a network of them keeps besides."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._engine import Engine, aligned_zeros, op_traits
from fastnn._op import Op
from fastnn._registry import nearest_names
from fastnn.plan import ALIGNMENT, Plan

Array = npt.NDArray[Any]

# How many inputs of a column lie side by side, the bytes of a number, and the bytes that a column has besides, for its
# scale and its sum.
SMALL = {"bfloat16": (2, 2, 0), "int8": (4, 1, 12)}


def is_rounded(inputs: int, outputs: int, weights: str) -> bool:
    """Return whether a kernel of this shape is rounded: where that makes it smaller than it is in float32.

    It is filled up to columns of 16, and to whole groups of inputs, with every instruction set: if that counted as it
    is with the one at hand, answers would differ from machine to machine.
    """
    side_by_side, size, besides = SMALL[weights]
    filled = -(-inputs // side_by_side) * side_by_side * -(-outputs // 16) * 16
    return size * filled + besides * outputs < 4 * inputs * outputs


def to_bfloat16(values: Array) -> npt.NDArray[np.uint16]:
    """Return the upper halves of float32 numbers, rounded to nearest, ties to even; a NaN stays one."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(values), (bits >> np.uint32(16)) | np.uint32(0x40), rounded).astype(np.uint16)


def to_int8(values: Array, inputs: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return numbers from -127 to 127, and the scale of each column of each matrix of `inputs` rows.

    Parameters
    ----------
    values : ndarray, shape (matrices * inputs, columns)
    inputs : int

    Returns
    -------
    numbers : ndarray, shape (matrices * inputs, columns)
    scales : ndarray, shape (matrices, columns)
    """
    stacked = values.astype(np.float64).reshape(-1, inputs, values.shape[1])
    scales = (np.abs(stacked).max(axis=1) / 127).astype(np.float32)
    divisors = np.where(scales > 0, scales, 1)[:, None].astype(np.float64)
    return np.rint(np.clip(stacked / divisors, -127, 127)).astype(np.int8).reshape(values.shape), scales


class Rounded(NamedTuple):
    """A kernel that is rounded.

    Attributes
    ----------
    numbers : ndarray, shape (inputs, outputs)
        The upper halves of float32 numbers as uint16, or int8.
    scales : ndarray, shape (outputs,), or None
        For int8 what each number of a column stands for.
    """

    numbers: Array
    scales: Array | None = None


class Ordered(NamedTuple):
    """A rounded kernel in the order in which the engine multiplies: fnn_small_weights in src_c/kernels/table.h.

    Attributes
    ----------
    numbers : ndarray
    scales, sums : ndarray, shape (outputs,), or None
        For int8 also the sum of the numbers of each column.
    shape : tuple of int
        (inputs, outputs).
    inputs, lanes : int
        What the order depends on: how many inputs lie side by side, and the columns of a vector.
    """

    numbers: Array
    scales: Array | None
    sums: Array | None
    shape: tuple[int, int]
    inputs: int
    lanes: int

    @property
    def bytes(self) -> int:
        """The memory that the kernel needs."""
        return sum(array.nbytes for array in (self.numbers, self.scales, self.sums) if array is not None)


_GROUP_VECTORS = 8  # FNN_GROUP_VECTORS


def _blocks(numbers: Array, shape: tuple[int, int], inputs: int, lanes: int) -> Iterator[tuple[Array, int]]:
    """Yield what each group of columns has of ordered numbers, (steps, columns, inputs), and its first column."""
    steps, vectors = -(-shape[0] // inputs), -(-shape[1] // lanes)
    groups, start = -(-vectors // _GROUP_VECTORS), 0
    for group in range(groups):
        first, end = vectors * group // groups * lanes, vectors * (group + 1) // groups * lanes
        size = steps * (end - first) * inputs
        yield numbers[start : start + size].reshape(steps, end - first, inputs), first
        start += size


def ordered(kernel: Rounded, inputs: int, lanes: int) -> Ordered:
    """Return a kernel in the order that these two numbers say."""
    shape = kernel.numbers.shape
    steps, vectors = -(-shape[0] // inputs), -(-shape[1] // lanes)
    numbers = aligned_zeros(steps * inputs * vectors * lanes, kernel.numbers.dtype)
    for block, first in _blocks(numbers, shape, inputs, lanes):
        part = kernel.numbers[:, first : first + block.shape[1]]
        for k in range(inputs):
            rows = part[k::inputs]
            block[: len(rows), : rows.shape[1], k] = rows
    sums = None if kernel.scales is None else kernel.numbers.sum(axis=0, dtype=np.float64)
    return Ordered(numbers, kernel.scales, sums, shape, inputs, lanes)


def unordered(kernel: Ordered) -> Rounded:
    """Return the kernel that :func:`ordered` was given."""
    numbers = np.empty(kernel.shape, kernel.numbers.dtype)
    for block, first in _blocks(kernel.numbers, kernel.shape, kernel.inputs, kernel.lanes):
        part = numbers[:, first : first + block.shape[1]]
        for k in range(kernel.inputs):
            part[k :: kernel.inputs] = block[: len(part[k :: kernel.inputs]), : part.shape[1], k]
    return Rounded(numbers, kernel.scales)


# ---- networks ----


def _rounded_kernel(values: Array, weights: str, layer: str) -> Rounded:
    if weights == "bfloat16":
        return Rounded(to_bfloat16(values))
    if not np.isfinite(values).all():
        raise ValueError(f"weights='int8' needs finite weights, and the kernel of layer {layer!r} has NaN or infinity")
    numbers, scales = to_int8(values, len(values))
    return Rounded(numbers, scales[0])


def _places(plan: Plan, weights: str) -> dict[int, int]:
    """Return the ops whose kernels are rounded, and the parameters of the plan that these are.

    These are kernels of products that no other op uses in another way.
    """
    found = {spec.offset: k for k, spec in enumerate(plan.parameters) if math.prod(spec.shape)}
    uses = Counter(offset for op in plan.ops for offset in (op.kernel, op.bias, op.mean, op.variance))
    places = {}
    for k, op in enumerate(plan.ops):
        place = found.get(op.kernel)
        if place is None or not op_traits(op.name).multiplies or uses[op.kernel] > 1:
            continue
        shape = plan.parameters[place].shape
        if shape == (op.inputs, op.outputs) and is_rounded(*shape, weights):
            places[k] = place
    return places


def _without(plan: Plan, parameters: Array, removed: Mapping[int, int]) -> tuple[Plan, Array]:
    """Return the plan and the parameters without the kernels of some ops: `removed` has the parameter of each op."""
    line, end, moved = ALIGNMENT // np.dtype(plan.dtype).itemsize, 0, {}
    starts, kept = [spec.offset for spec in plan.parameters], []
    for k, spec in enumerate(plan.parameters):
        if k not in removed.values():
            moved[k] = end
            kept.append(spec._replace(offset=end))
            end += -(-math.prod(spec.shape) // line) * line

    def place(offset: int) -> int:
        if offset < 0:
            return -1
        k = bisect_right(starts, offset) - 1
        return moved[k] + offset - starts[k]

    ops = tuple(_moved(op._replace(kernel=-1) if k in removed else op, place) for k, op in enumerate(plan.ops))
    left = np.zeros(end, plan.dtype)
    for k, start in moved.items():
        size = math.prod(plan.parameters[k].shape)
        left[start : start + size] = parameters[starts[k] : starts[k] + size]
    return replace(plan, ops=ops, parameters=tuple(kept), size=end, layers=()), left


def _moved(op: Op, place: Any) -> Op:
    return op._replace(kernel=place(op.kernel), bias=place(op.bias), mean=place(op.mean), variance=place(op.variance))


def rounded(engine: Engine, weights: str) -> Engine:
    """Return an engine for answers alone that has the kernels of dense layers of another one, rounded.

    Raises
    ------
    ValueError
        When a kernel that is to be int8 holds a NaN or an infinity.
    """
    with engine.lock.reading():
        plan, parameters = engine.plan, engine.parameters
        places = _places(plan, weights)
        kernels = {}
        for k, place in places.items():
            spec = plan.parameters[place]
            values = parameters[spec.offset : spec.offset + math.prod(spec.shape)].reshape(spec.shape)
            kernels[k] = _rounded_kernel(values, weights, spec.layer)
        smaller, left = _without(plan, parameters, places)
    return with_kernels(smaller, left, weights, kernels)


def with_kernels(plan: Plan, parameters: Array, weights: str, kernels: Mapping[int, Rounded]) -> Engine:
    """Return an engine of a plan without the kernels of some ops, and these rounded kernels."""
    engine = Engine(plan)
    engine.parameters[:] = parameters
    inputs, lanes = engine.small_order(weights)
    engine.take_kernels(weights, {k: ordered(kernel, inputs, lanes) for k, kernel in kernels.items()})
    return engine


def weight_bytes(engine: Engine) -> int:
    """Return the bytes of the parameters of an engine, rounded kernels among them."""
    plan = engine.plan
    own = sum(math.prod(spec.shape) for spec in plan.parameters) * np.dtype(plan.dtype).itemsize
    if not plan.parameters:  # a network from a file has all weights in one buffer, with the room between them
        own = engine.parameters.nbytes
    return int(own + sum(kernel.bytes for kernel in engine.kernels.values()))


def check_weights(weights: str | None, dtype: str) -> str:
    """Return how kernels are kept, one of the element type of the network, bfloat16 and int8."""
    if weights is None or (isinstance(weights, str) and weights == dtype):
        return dtype
    allowed = [dtype, *SMALL]
    if not isinstance(weights, str) or weights not in allowed:
        near = f"; {nearest_names(weights, allowed)}" if isinstance(weights, str) else ""
        raise ValueError(f"weights must be one of {', '.join(map(repr, allowed))}, got {weights!r}{near}")
    if dtype != "float32":
        raise ValueError(f"weights={weights!r} needs a model of float32, and this one is {dtype}")
    return weights


def freeze(
    engine: Engine, weights: str | None, rows: Array | None, answers: Callable[[Engine], Callable[[Array], Array]]
) -> tuple[Engine, dict[str, Any]]:
    """Return the engine that a Predictor is to freeze, and what its report says.

    Parameters
    ----------
    engine : Engine
    weights : str, optional
        One of those of :func:`check_weights`.
    rows : ndarray, shape (rows, inputs), optional
        Rows as the engine reads them, on which outputs are compared.
    answers : callable
        Makes of an engine a function from rows to outputs.
    """
    kind = check_weights(weights, engine.plan.dtype)
    exact = engine if rows is None else engine.freeze()[0]  # nothing changes it between the two answers
    small = exact if kind == engine.plan.dtype else rounded(exact, kind)
    told = report(exact, small)
    if rows is not None and len(rows):
        before, after = (answers(one)(rows).astype(np.float64) for one in (exact, small))
        changes = np.abs(after - before)
        told |= {"largest_change": float(changes.max()), "mean_change": float(changes.mean())}
    return small, told


def report(exact: Engine, small: Engine) -> dict[str, Any]:
    """Return what a Predictor of `small` reports, whose weights are those of `exact`, rounded, before rows are seen."""
    return {
        "weights": small.weights,
        "bytes_before": weight_bytes(exact),
        "bytes_after": weight_bytes(small),
        "largest_change": None,
        "mean_change": None,
    }
