"""What nodes mean that move numbers of a row, or say only how they lie."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn import activations
from fastnn.exchange import _onnx_formulas as formulas
from fastnn.exchange._onnx_constants import Constant
from fastnn.exchange._onnx_folding import slices
from fastnn.exchange._onnx_formulas import as_formula
from fastnn.exchange._onnx_patterns import applied, as_product, joined, taken
from fastnn.exchange._onnx_rows import Applied, Embedded, Entry, OneHot, Product, Rows, Taken, UnfitError, settle
from fastnn.exchange._onnx_values import ROWS, Context, Flow, Unknown, Value, constant, flow, integers

Inputs = list[Value | None]


def same(context: Context, inputs: Inputs) -> Value:
    """Identity, and Dropout as it is outside of training."""
    if len(inputs) > 2 and isinstance(inputs[2], Constant) and np.any(inputs[2].array()):
        raise UnfitError("it drops numbers, as in training")
    return inputs[0] if isinstance(inputs[0], Constant) else flow(inputs[0])


def cast(context: Context, inputs: Inputs) -> Value:
    """Cast: numbers stay, but for the digits after the point where integers are made of others."""
    x, to = flow(inputs[0]), context.attribute("to", 0)
    if x.flag or to in (1, 10, 11, 16):
        return Flow(x.formula, x.axes, x.flag, x.cut, x.flag)
    if to not in (2, 3, 4, 5, 6, 7, 12, 13):
        raise UnfitError("it makes no numbers of numbers")
    return Flow(x.formula, x.axes, whole=True, cut=x.cut or not x.whole)


def _of_axes(x: Flow, axes: tuple[int | None, ...]) -> Flow:
    return Flow(x.formula, axes, x.whole, x.cut, x.flag)


def _target(context: Context, x: Flow, shape: list[int]) -> tuple[int, ...]:
    """Return the axes of a row after a Reshape to this shape."""
    if not shape or not (shape[0] in (0, -1, ROWS) or shape[0] in context.rows):
        raise UnfitError(f"its shape {shape} does not begin with the axis of rows")
    lengths = []
    for k, length in enumerate(shape[1:]):
        copied = x.axes[k] if length == 0 and k < len(x.axes) else length
        if copied is None or copied == ROWS or copied < -1 or (copied == -1 and shape[0] == -1):
            raise UnfitError(f"its shape {shape} mixes rows")
        lengths.append(copied)
    known = math.prod(length for length in lengths if length != -1)
    if x.width is None and -1 not in lengths:
        x.settled(known)
    width = x.width
    if width is None or not known or width % known or lengths.count(-1) > 1:
        raise UnfitError(f"it makes the shape {shape} of rows of shape {x.axes}")
    axes = tuple(width // known if length == -1 else length for length in lengths)
    if math.prod(axes) != width or len(axes) > 7:
        raise UnfitError(f"it makes the shape {shape} of rows of shape {x.axes}, which mixes rows")
    return axes


def reshape(context: Context, inputs: Inputs) -> Value:
    """Reshape."""
    x = flow(inputs[0])
    shape = integers(inputs[1]) if len(inputs) > 1 else context.attribute("shape", [])
    if shape == [0, -1] and len(x.axes) == 1:
        return x
    return _of_axes(x, _target(context, x, shape))


def flatten(context: Context, inputs: Inputs) -> Value:
    """Flatten: rows of one axis."""
    x, axis = flow(inputs[0]), context.attribute("axis", 1)
    if axis not in (1, -len(x.axes)):
        raise UnfitError(f"its axis is {axis}, which mixes rows")
    return x if len(x.axes) == 1 else _of_axes(x, (x.width,))


def _row_axes(context: Context, inputs: Inputs, rank: int) -> list[int] | None:
    """Return axes that are given as an input or attribute, counted without the one of rows; None for no axes."""
    given = integers(inputs[1]) if len(inputs) > 1 and inputs[1] is not None else context.attributes.get("axes")
    if given is None:
        return None
    if not isinstance(given, list) or any(not isinstance(axis, int) or not -rank <= axis < rank for axis in given):
        raise UnfitError(f"its axes are {given!r:.40}, of {rank}")
    found = sorted(axis % rank - 1 for axis in given)
    if found and found[0] < 0:
        raise UnfitError("it works on the axis of rows")
    return found


def squeeze(context: Context, inputs: Inputs) -> Value:
    """Squeeze."""
    x = flow(inputs[0])
    axes = _row_axes(context, inputs, 1 + len(x.axes))
    axes = [k for k, length in enumerate(x.axes) if length == 1] if axes is None else axes
    if any(x.axes[axis] not in (1, None) for axis in axes):
        raise UnfitError(f"it takes axes out of rows of shape {x.axes} that are not 1")
    if None in [x.axes[axis] for axis in axes]:
        x.settled(1)
    return _of_axes(x, tuple(length for k, length in enumerate(x.axes) if k not in axes))


def unsqueeze(context: Context, inputs: Inputs) -> Value:
    """Unsqueeze."""
    x = flow(inputs[0])
    given = integers(inputs[1]) if len(inputs) > 1 else context.attribute("axes", [])
    axes = _row_axes(context, inputs, 1 + len(x.axes) + len(given)) or []
    if None in x.axes or len(x.axes) + len(axes) > 7:
        raise UnfitError("it gives rows of unknown width more axes")
    lengths = list(x.axes)
    for axis in axes:
        lengths.insert(axis, 1)
    return _of_axes(x, tuple(lengths))


def transpose(context: Context, inputs: Inputs) -> Value:
    """Transpose, of axes whose order does not matter."""
    x = flow(inputs[0])
    rank = 1 + len(x.axes)
    order = context.attribute("perm", list(range(rank))[::-1])
    if sorted(order) != list(range(rank)) or order[0] != 0:
        raise UnfitError("it moves the axis of rows")
    moved = [axis for axis in order[1:] if x.axes[axis - 1] != 1]
    if moved != sorted(moved):
        raise UnfitError("it changes the order of the numbers in a row")
    return _of_axes(x, tuple(x.axes[axis - 1] for axis in order[1:]))


def expand(context: Context, inputs: Inputs) -> Value:
    """Expand, to the shape that is there."""
    x, shape = flow(inputs[0]), integers(inputs[1])
    if x.formula.per_row and x.axes == (1,) and len(shape) == 2 and shape[1] > 0:
        return _of_axes(x, (shape[1],))
    lengths = [length for length in shape[-len(x.axes) :] if x.axes] if len(shape) == 1 + len(x.axes) else shape
    if len(lengths) > len(x.axes) or any(
        length not in (1, axis) for length, axis in zip(lengths[::-1], x.axes[::-1], strict=False)
    ):
        raise UnfitError("it repeats numbers")
    return x


def shape(context: Context, inputs: Inputs) -> Value:
    """The shape, with :data:`ROWS` for the number of rows."""
    x = flow(inputs[0])
    if None in x.axes:
        return Unknown("a width that the file does not say")
    whole = [ROWS, *x.axes]
    return context.constant(np.array(whole[context.attribute("start", 0) : context.attributes.get("end")], np.int64))


# ---- columns ----


def _places(context: Context, x: Flow) -> Any:
    """Return the places of the numbers of a row, in its shape."""
    if x.width is None:
        raise UnfitError("it takes columns of rows of unknown width")
    context.budget.charge(128 * x.width, "the columns of a row")
    return np.arange(x.width).reshape([axis or 0 for axis in x.axes])


def _part(x: Flow, places: Any) -> Flow:
    if not places.size:
        raise UnfitError("it takes no columns")
    found = taken(x.formula.leaf or x.rows(), tuple(places.reshape(-1).tolist()))
    return Flow(as_formula(found), places.shape, x.whole, x.cut)


def slice_(context: Context, inputs: Inputs) -> Value:
    """Slice, of columns."""
    x = flow(inputs[0])
    index = slices(context, inputs, 1 + len(x.axes))
    first = index[0]
    if (first.start or 0) != 0 or (first.step or 1) != 1 or (first.stop is not None and first.stop < ROWS):
        raise UnfitError("it takes some of the rows")
    return _part(x, _places(context, x)[index[1:]])


def _column_axis(context: Context, x: Flow, default: int) -> int:
    """Return the node's axis, counted without the one of rows."""
    axis, rank = context.attribute("axis", default), 1 + len(x.axes)
    if not -rank <= axis < rank:
        raise UnfitError(f"its axis is {axis}, of {rank}")
    if axis % rank == 0:
        raise UnfitError("it works on the axis of rows")
    return int(axis % rank - 1)


def split(context: Context, inputs: Inputs) -> list[Value]:
    """Split, of columns: as long as `split` says, or equal parts."""
    x = flow(inputs[0])
    axis, places = _column_axis(context, x, 0), _places(context, x)
    length, count = places.shape[axis], context.outputs
    given = integers(inputs[1]) if len(inputs) > 1 and inputs[1] is not None else context.attributes.get("split")
    if given is None:
        part = -(-length // count)
        given = [min(part, length - part * k) for k in range(count)]
    if len(given) != count or sum(given) != length or min(given) <= 0:
        raise UnfitError(f"its parts {given!r:.40} are not {count} of {length} columns")
    return [_part(x, piece) for piece in np.split(places, np.cumsum(given)[:-1], axis)]


def gather(context: Context, inputs: Inputs) -> Value:
    """Gather: columns of rows by their places, or rows of a table by the numbers of x."""
    if isinstance(inputs[0], Constant):
        return _embedding(context, inputs[0], flow(inputs[1]))
    x, at = flow(inputs[0]), constant(inputs[1])
    axis, places = _column_axis(context, x, 0), _places(context, x)
    if at.dtype.kind not in "iu" or not at.size or len(at.shape) > 4:
        raise UnfitError("its places are no whole numbers")
    chosen, length = at.array(), places.shape[axis]
    if chosen.min() < -length or chosen.max() >= length:
        raise UnfitError(f"its places go from {chosen.min()} to {chosen.max()}, of {length}")
    context.budget.charge(128 * chosen.size * (places.size // length), "the columns of a row")
    return _part(x, np.take(places, chosen, axis))


def _entry(x: Rows) -> bool:
    return isinstance(x, Entry) or (isinstance(x, Taken) and isinstance(x.x, Entry))


def _embedding(context: Context, table: Constant, at: Flow) -> Flow:
    if context.attribute("axis", 0) != 0 or len(table.shape) != 2 or table.dtype.kind != "f" or not table.size:
        raise UnfitError(f"it takes something else than rows of a table, of shape {table.shape}")
    leaf = at.formula.leaf or _wrapped(at, table.shape[0])
    if leaf is None and _is_drawn_in(at, table):
        leaf, table = at.formula.leaves[0], Constant(table.array()[:-1], table.budget)
    if leaf is None or not _entry(leaf) or leaf.width is None:
        raise UnfitError("its places in the table are computed, not read from an input")
    settle(leaf, at.width or 0)
    context.budget.charge(16 * leaf.width * table.shape[1], "rows of embeddings")
    found = Embedded(leaf.width * table.shape[1], leaf, table)
    return Flow(as_formula(found), (*at.axes, table.shape[1]))


def _wrapped(at: Flow, rows: int) -> Rows | None:
    """Return the numbers k of which these are k where it is not negative, else k + rows: places as NumPy has them."""
    leaves = at.formula.leaves
    if len(leaves) != 1:
        return None
    k = as_formula(leaves[0])
    return leaves[0] if at.formula.same_as(k + (-formulas.positive(k) + 1.0) * float(rows)) else None


def _is_drawn_in(at: Flow, table: Constant) -> bool:
    """Whether numbers that are no places lie at one more row of a table, which is NaN: as fastnn exports its own."""
    leaves, last = at.formula.leaves, table.shape[0] - 1
    drawn_in = len(leaves) == 1 and at.formula.same_as(formulas.clip(as_formula(leaves[0]), -1.0, float(last)))
    return drawn_in and last > 0 and bool(np.isnan(table.array()[-1]).all())


def one_hot(context: Context, inputs: Inputs) -> Value:
    """OneHot, of whole numbers of x."""
    at, depth, values = flow(inputs[0]), integers(inputs[1]), constant(inputs[2])
    leaf = at.formula.leaf
    if (
        values.size != 2
        or values.array().tolist() != [0, 1]
        or context.attribute("axis", -1) not in (-1, 1 + len(at.axes))
    ):
        raise UnfitError("it gives something else than a last axis of zeros and a one")
    if leaf is None or not _entry(leaf) or leaf.width != 1 or len(depth) != 1 or depth[0] < 1:
        raise UnfitError("its places are not those of one column of an input")
    context.budget.charge(8 * depth[0], "a OneHot")
    return Flow(as_formula(OneHot(depth[0], leaf, depth[0])), (*at.axes, depth[0]))


def concat(context: Context, inputs: Inputs) -> Value:
    """Concat, of columns."""
    parts = [flow(part) for part in inputs]
    rank = 1 + len(parts[0].axes)
    axis = context.attribute("axis", 1)
    if not -rank <= axis < rank or axis % rank == 0 or any(len(part.axes) != rank - 1 for part in parts):
        raise UnfitError("it joins rows, or shapes that do not fit each other")
    at = axis % rank - 1
    if any(length != 1 for part in parts for length in part.axes[:at]):
        raise UnfitError("it joins in the midst of a row")
    if len({part.axes[at + 1 :] for part in parts}) > 1:
        raise UnfitError("it joins shapes that do not fit each other")
    pair = _two_classes(context, parts)
    if pair is not None:
        return pair
    together = joined(tuple(part.rows() for part in parts))
    lengths = [part.axes[at] for part in parts]
    total = None if None in lengths else sum(length or 0 for length in lengths)
    whole = all(part.whole for part in parts)
    return Flow(as_formula(together), (*parts[0].axes[:at], total, *parts[0].axes[at + 1 :]), whole)


def _two_classes(context: Context, parts: list[Flow]) -> Flow | None:
    """Return the softmax of 0 and z for the columns 1 - sigmoid(z) and sigmoid(z), as for two classes."""
    if len(parts) != 2 or any(part.axes != (1,) for part in parts):
        return None
    second = parts[1].formula
    leaves = second.leaves
    if len(leaves) != 1 or not parts[0].formula.same_as(-second + 1.0):
        return None
    if isinstance(leaves[0], Applied) and leaves[0].function is activations.sigmoid and second.leaf is leaves[0]:
        return Flow(as_formula(applied(_beside_zero(context, leaves[0].x), activations.softmax)), (2,))
    for monomial in second.terms:
        for factor, _ in monomial:
            if isinstance(factor, formulas.Atom) and second.same_as(formulas.sigmoid(factor.of)):
                z = Flow(factor.of, (1,)).rows()
                return Flow(as_formula(applied(_beside_zero(context, z), activations.softmax)), (2,))
    return None


def _beside_zero(context: Context, z: Rows) -> Rows:
    """Return a column of zeros and the column z."""
    columns, product = np.array([[0.0, 1.0]]), as_product(z)
    if product is None:
        return Product(2, z, context.constant(columns), 1.0, None)
    context.budget.charge(16 * product.kernel.size, "a product")
    kernel = (product.kernel.array().astype(np.float64) * product.scale) @ columns
    bias = None if product.bias is None else np.array([0.0, float(product.bias[0])])
    return Product(2, product.x, context.constant(kernel), 1.0, bias)
