"""Nodes whose inputs are all constants: they are computed once, when the file is read."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.exchange._onnx_constants import Array, Constant
from fastnn.exchange._onnx_rows import UnfitError
from fastnn.exchange._onnx_tensors import Tensor, name_of_type
from fastnn.exchange._onnx_values import ROWS, Context, constant, integers

_DTYPES = {
    1: "f4",
    2: "u1",
    3: "i1",
    4: "u2",
    5: "i2",
    6: "i4",
    7: "i8",
    9: "?",
    10: "f2",
    11: "f8",
    12: "u4",
    13: "u8",
}
_BINARY: dict[str, Callable[..., Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Max": np.maximum,
    "Min": np.minimum,
    "Pow": np.power,
    "Equal": np.equal,
    "Greater": np.greater,
    "Less": np.less,
    "And": np.logical_and,
    "Or": np.logical_or,
}
_UNARY: dict[str, Callable[..., Array]] = {
    "Neg": np.negative,
    "Abs": np.abs,
    "Sqrt": np.sqrt,
    "Reciprocal": np.reciprocal,
    "Exp": np.exp,
    "Log": np.log,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Not": np.logical_not,
}


def _binary(context: Context, op: str, a: Constant, b: Constant) -> Constant:
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise UnfitError(f"its constants of shapes {a.shape} and {b.shape} do not fit") from None
    context.budget.charge(16 * math.prod(shape), "what a node computes of constants")
    x, y = a.array(), b.array()
    if op == "Div":
        if x.dtype.kind in "iu":
            if not np.all(y):
                raise UnfitError("it divides by zero")
            return context.constant(x // y)
        return context.constant(x / y)
    if op == "Pow" and x.dtype.kind in "iu":
        x = x.astype(np.float64)
    return context.constant(_BINARY[op](x, y).astype(np.result_type(x, y) if op in _KEEP else bool))


_KEEP = ("Add", "Sub", "Mul", "Max", "Min", "Pow")


def _unary(context: Context, op: str, a: Constant) -> Constant:
    context.budget.charge(8 * a.size, "what a node computes of constants")
    return context.constant(_UNARY[op](a.array()))


def _cast(context: Context, a: Constant) -> Constant:
    to = context.attribute("to", 0)
    if to == 16 and a.dtype.kind == "f":
        return a
    if to not in _DTYPES:
        raise UnfitError(f"it makes {name_of_type(to)} of numbers")
    target = np.dtype(_DTYPES[to])
    if a.dtype == target or (a.dtype.kind == "f" and target.kind == "f" and not a.rounded):
        return a
    context.budget.charge(target.itemsize * a.size, "a Cast")
    return context.constant(a.array().astype(target))


def _axes(context: Context, inputs: list[Constant | None], rank: int) -> list[int]:
    """Return the axes of a Squeeze or Unsqueeze, which are an input since opset 13."""
    given = integers(inputs[1]) if len(inputs) > 1 and inputs[1] is not None else context.attribute("axes", [])
    if any(not isinstance(axis, int) or not -rank <= axis < rank for axis in given):
        raise UnfitError(f"its axes are {given!r:.40}, of {rank}")
    return sorted(axis % rank for axis in given)


def _squeeze(context: Context, inputs: list[Constant | None]) -> Constant:
    a = constant(inputs[0])
    axes = _axes(context, inputs, max(len(a.shape), 1)) or [k for k, length in enumerate(a.shape) if length == 1]
    if any(axis >= len(a.shape) or a.shape[axis] != 1 for axis in axes):
        raise UnfitError(f"it takes axes out of the shape {a.shape} that are not 1")
    return a.reshape(tuple(length for k, length in enumerate(a.shape) if k not in axes))


def _unsqueeze(context: Context, inputs: list[Constant | None]) -> Constant:
    a = constant(inputs[0])
    count = len(integers(inputs[1])) if len(inputs) > 1 else len(context.attribute("axes", []))
    if len(a.shape) + count > 8:
        raise UnfitError("it makes more than 8 axes")
    axes = _axes(context, inputs, len(a.shape) + count)
    shape = list(a.shape)
    for axis in axes:
        shape.insert(axis, 1)
    return a.reshape(tuple(shape))


def _reshape(context: Context, a: Constant, shape: list[int]) -> Constant:
    if len(shape) > 8:
        raise UnfitError("it makes more than 8 axes")
    target = [a.shape[k] if length == 0 and k < len(a.shape) else length for k, length in enumerate(shape)]
    known = math.prod(length for length in target if length != -1)
    if target.count(-1) > 1 or min(target, default=0) < -1 or (-1 in target and (not known or a.size % known)):
        raise UnfitError(f"it makes the shape {target} of {a.shape}")
    whole = tuple(a.size // known if length == -1 else length for length in target)
    if math.prod(whole) != a.size:
        raise UnfitError(f"it makes the shape {target} of {a.shape}")
    return a.reshape(whole)


def _transpose(context: Context, a: Constant) -> Constant:
    order = context.attribute("perm", list(range(len(a.shape)))[::-1])
    if sorted(order) != list(range(len(a.shape))):
        raise UnfitError(f"its perm is {order!r:.40}, of {len(a.shape)} axes")
    if order == [1, 0]:
        return a.transpose()
    return context.constant(a.array().transpose(order))


def _gather(context: Context, a: Constant, places: Constant) -> Constant:
    axis = context.attribute("axis", 0)
    rank = len(a.shape)
    if not -rank <= axis < rank or places.dtype.kind not in "iu" or not places.size:
        raise UnfitError("its places are no places of its constant")
    length = a.shape[axis]
    at = places.array()
    if at.min() < -length or at.max() >= length:
        raise UnfitError(f"its places go from {at.min()} to {at.max()}, of {length}")
    context.budget.charge(8 * places.size * max(a.size // max(length, 1), 1), "a Gather")
    return context.constant(np.take(a.array(), at, axis))


def _slice(context: Context, inputs: list[Constant | None]) -> Constant:
    a = constant(inputs[0])
    index = slices(context, inputs, len(a.shape))
    return context.constant(a.array()[index])


def slices(context: Context, inputs: list[Any], rank: int) -> tuple[slice, ...]:
    """Return the slices that a Slice takes, one for each of `rank` axes; before opset 10 they are attributes."""
    if len(inputs) > 1:
        given = [None if value is None else integers(value) for value in inputs[1:]]
    else:
        given = [context.attribute("starts", []), context.attribute("ends", []), context.attributes.get("axes")]
    starts, ends, axes, steps = [*given, None, None, None][:4]
    if not isinstance(starts, list) or not isinstance(ends, list):
        raise UnfitError("it lacks starts or ends")
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise UnfitError("its starts, ends, axes and steps do not fit each other")
    index = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if not -rank <= axis < rank:
            raise UnfitError(f"its axis is {axis}, of {rank}")
        index[axis] = slice(start, None if step < 0 and end < -(2**31) else end, step)
    return tuple(index)


def _concat(context: Context, inputs: list[Constant]) -> Constant:
    axis = context.attribute("axis", 0)
    ranks = {len(a.shape) for a in inputs}
    if len(ranks) != 1 or not -min(ranks) <= axis < min(ranks):
        raise UnfitError("its constants have other axes than each other")
    context.budget.charge(8 * sum(a.size for a in inputs), "a Concat")
    try:
        return context.constant(np.concatenate([a.array() for a in inputs], axis))
    except ValueError:
        raise UnfitError("its constants have other shapes than each other") from None


def _check_made(shape: list[int]) -> None:
    """Raise where a shape is none of an array that stands in a model, as one with the number of rows in it."""
    if any(length >= ROWS for length in shape):
        raise UnfitError("it makes numbers for each row that do not come from x")
    if any(length < 0 for length in shape) or len(shape) > 8:
        raise UnfitError("it makes no array")


def _filled(context: Context, shape: list[int]) -> Constant:
    _check_made(shape)
    given = context.attributes.get("value")
    value = given.array(context.budget).reshape(-1) if isinstance(given, Tensor) else np.zeros(1, np.float32)
    if value.size != 1:
        raise UnfitError("it makes no array")
    context.budget.charge(value.dtype.itemsize * math.prod(shape), "a ConstantOfShape")
    return context.constant(np.full(shape, value[0]))


def _expand(context: Context, a: Constant, shape: list[int]) -> Constant:
    _check_made(shape)
    try:
        whole = np.broadcast_shapes(a.shape, tuple(shape))
    except ValueError:
        raise UnfitError(f"it makes the shape {shape} of {a.shape}") from None
    context.budget.charge(a.dtype.itemsize * math.prod(whole), "an Expand")
    return context.constant(np.array(np.broadcast_to(a.array(), whole)))


def _reduced(context: Context, op: str, a: Constant, axes: list[int]) -> Constant:
    if not axes or any(not -len(a.shape) <= axis < len(a.shape) for axis in axes):
        axes = list(range(len(a.shape)))
    keep = bool(context.attribute("keepdims", 1))
    functions: dict[str, Any] = {"ReduceSum": np.sum, "ReduceProd": np.prod, "ReduceMean": np.mean, "ReduceMax": np.max}
    if not a.size:
        raise UnfitError("it reads no numbers")
    return context.constant(functions[op](a.array(), axis=tuple({axis % len(a.shape) for axis in axes}), keepdims=keep))


def fold(context: Context, op: str, inputs: list[Constant | None]) -> Constant | None:
    """Return what a node of ONNX's own operators computes of constants; None where this module does not know it."""
    if not inputs or inputs[0] is None:
        return None
    first = inputs[0]
    second = inputs[1] if len(inputs) > 1 else None
    with np.errstate(all="ignore"):
        if (op in _BINARY or op == "Div") and len(inputs) == 2 and second is not None:
            return _binary(context, op, first, second)
        if op in _UNARY:
            return _unary(context, op, first)
        if op in ("ReduceSum", "ReduceProd", "ReduceMean", "ReduceMax"):
            given = integers(second) if second is not None else context.attribute("axes", [])
            return _reduced(context, op, first, given)
    if op == "Shape":
        return context.constant(np.array(first.shape, np.int64))
    if op == "Size":
        return context.constant(np.array(first.size, np.int64))
    if op in ("Identity", "Dropout", "CastLike"):
        return first
    if op == "ConstantOfShape":
        return _filled(context, integers(first))
    if op == "Concat" and None not in inputs:
        return _concat(context, [constant(a) for a in inputs])
    of_two: dict[str, Callable[[], Constant]] = {
        "Reshape": lambda: _reshape(context, first, integers(second)),
        "Expand": lambda: _expand(context, first, integers(second)),
        "Gather": lambda: _gather(context, first, constant(second)),
    }
    of_all: dict[str, Callable[[], Constant]] = {
        "Cast": lambda: _cast(context, first),
        "Transpose": lambda: _transpose(context, first),
        "Squeeze": lambda: _squeeze(context, inputs),
        "Unsqueeze": lambda: _unsqueeze(context, inputs),
        "Flatten": lambda: _flattened(context, first),
        "Slice": lambda: _slice(context, inputs),
    }
    if op in of_two and second is not None:
        return of_two[op]()
    return of_all[op]() if op in of_all else None


def _flattened(context: Context, a: Constant) -> Constant:
    axis = context.attribute("axis", 1)
    if not -len(a.shape) <= axis <= len(a.shape):
        raise UnfitError(f"its axis is {axis}, of {len(a.shape)}")
    at = axis + len(a.shape) if axis < 0 else axis
    return a.reshape((math.prod(a.shape[:at]), math.prod(a.shape[at:])))
