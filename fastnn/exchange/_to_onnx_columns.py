"""The engine's ops on raw columns as nodes of ONNX: missing numbers, bins, quantiles, categories."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastnn._op import Op
from fastnn.exchange._to_onnx_activations import polynomials
from fastnn.exchange._to_onnx_graph import INVALID, Array, Graph, Rows

_AT_ONCE = 64  # constants of a column that are compared with x at once; more are searched in two steps
_LEAST = 1e-7  # the least share of a column's data, as in src_c/engine/ops/columns.inc

# Coefficients of the inverse of the normal distribution's function by rising powers: AS 241 (Wichura 1988).
_MIDDLE = (
    (3.38713287279636660800e0, 1.33141667891784377450e2, 1.97159095030655144270e3, 1.37316937655094611250e4,
     4.59219539315498714570e4, 6.72657709270087008530e4, 3.34305755835881281050e4, 2.50908092873012267270e3),
    (1.0, 4.23133307016009112520e1, 6.87187007492057908300e2, 5.39419602142475110770e3,
     2.12137943015865958670e4, 3.93078958000927106100e4, 2.87290857357219426740e4, 5.22649527885285456100e3),
)  # fmt: skip
_TAIL = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)  # fmt: skip


def impute(graph: Graph, op: Op, x: Rows) -> Rows:
    """Return x with its column's value in the place of NaN; of twice as many columns, the others say where NaN was."""
    missing = graph.node("IsNaN", x.name)
    y = graph.node("Where", missing, graph.constant(op.vector, part="fill_value"), x.name)
    if op.outputs > op.inputs:
        y = graph.node("Concat", y, graph.cast(missing, graph.dtype), axis=1)
    return Rows(y, op.outputs)


# ---- places among constants in rising order ----


def _count(graph: Graph, x: str, table: str) -> str:
    """Return how many of the last axis of a table are not above x, whose last axis has length 1."""
    return graph.reduce("ReduceSum", graph.cast(graph.node("GreaterOrEqual", x, table), np.int64), 2)


def places(graph: Graph, x: str, table: Array, dtype: np.dtype[Any]) -> str:
    """Return, for rows of numbers x, how many of its column's constants are not above each of them.

    Parameters
    ----------
    graph : Graph
    x : str
    table : ndarray, shape (columns, constants), or (1, constants) where all columns share them
        In rising order along the rows.
    dtype : numpy.dtype
        That of x and of the comparisons.
    """
    columns, count = table.shape
    x = graph.unsqueeze(x, 2)
    if count <= _AT_ONCE:
        return _count(graph, x, graph.constant(table, dtype, "boundaries"))
    each = math.isqrt(count - 1) + 1  # constants of a block, and about as many blocks
    blocks = -(-count // each)
    padded = np.full((columns, blocks * each), np.inf)
    padded[:, :count] = table
    begun = _count(graph, x, graph.constant(padded[:, ::each], dtype, "block_starts"))
    block = graph.node("Max", graph.node("Sub", begun, graph.constant(1, np.int64)), graph.constant(0, np.int64))
    row = graph.node("Add", block, graph.constant(np.arange(columns) * blocks, np.int64)) if columns > 1 else block
    within = graph.node("Gather", graph.constant(padded.reshape(-1, each), dtype, "blocks"), row)
    before = graph.node("Mul", block, graph.constant(each, np.int64))
    return graph.node("Add", before, _count(graph, x, within))


def discretize(graph: Graph, op: Op, x: Rows) -> Rows:
    """Return the bin of each number: how many boundaries are not above it; a NaN has none."""
    boundaries = np.asarray(op.vector, graph.dtype)[None, :]
    bins = places(graph, x.name, boundaries, graph.dtype) if op.vector else graph.constant(0, np.int64)
    whole = graph.node("Where", graph.node("IsNaN", x.name), graph.constant(INVALID, np.int64), bins)
    return Rows(whole, op.outputs, "whole", len(op.vector) + 1, may_be_invalid=True)


# ---- quantiles ----


class _Shares(NamedTuple):
    """The distinct quantiles of columns, and the shares of the data at them, each of shape (columns, quantiles + 1).

    The first of each column stands for all numbers below the others.
    """

    knots: Array
    at: Array  # the share where x is the quantile
    after: Array  # the share just above it
    slope: Array  # by how much the share rises with x from there on


def _shares(knots: Array) -> _Shares:
    """Return the shares of columns whose quantiles these are, in rising order along the rows."""
    columns, count = knots.shape
    gaps = max(count - 1, 1)
    found = _Shares(*(np.zeros((columns, count + 1)) for _ in range(4)))
    found.knots[...] = np.inf
    found.knots[:, 0] = -np.inf
    for j, column in enumerate(knots):
        values, firsts = np.unique(column, return_index=True)
        lasts = np.append(firsts[1:], count) - 1
        some = slice(1, len(values) + 1)
        found.knots[j, some] = values
        found.at[j, some], found.after[j, some] = (firsts + lasts) / 2 / gaps, lasts / gaps
        found.slope[j, 1 : len(values)] = 1 / np.diff(values) / gaps
        found.at[j, 1], found.at[j, len(values)] = (0.0, 1.0) if len(values) > 1 else (0.5, 0.5)
        found.after[j, len(values)] = 1.0
    return found


def quantiles(graph: Graph, op: Op, x: Rows) -> Rows:
    """Return z(p), where the share p of the data of its column lies below x, in float64 as the engine does."""
    knots = np.reshape(np.asarray(op.vector, graph.dtype).astype(np.float64), (op.inputs, -1))
    shares, double = _shares(knots), np.dtype(np.float64)
    wide = x.name if graph.is_double else graph.cast(x.name, double)
    low, high = np.nextafter(knots[:, 0], -np.inf), np.nextafter(knots[:, -1], np.inf)
    wide = graph.node("Max", wide, graph.constant(low, double, "low"))  # so that no infinity is multiplied
    wide = graph.node("Min", wide, graph.constant(high, double, "high"))
    last = places(graph, wide, shares.knots[:, 1:], double)
    if op.inputs > 1:
        width = shares.knots.shape[1]
        last = graph.node("Add", last, graph.constant(np.arange(op.inputs) * width, np.int64))
    finite = np.where(np.isfinite(shares.knots), shares.knots, low[:, None])
    knot, after, slope = (
        graph.node("Gather", graph.constant(table.ravel(), double, part), last)
        for part, table in (("knots", finite), ("shares", shares.after), ("slopes", shares.slope))
    )
    share = graph.node("Add", after, graph.node("Mul", graph.node("Sub", wide, knot), slope))
    if (shares.at != shares.after).any():  # several quantiles are equal
        at = graph.node("Gather", graph.constant(shares.at.ravel(), double, "shares_at"), last)
        share = graph.node("Where", graph.node("Equal", wide, knot), at, share)
    score = _normal_quantile(graph, share)
    return Rows(score if graph.is_double else graph.cast(score, graph.dtype), op.outputs)


def _normal_quantile(graph: Graph, p: str) -> str:
    """Return the inverse of the normal distribution's function, for shares drawn to 1e-7 and 1 - 1e-7."""

    def of(value: float) -> str:
        return graph.constant(value, np.float64)

    p = graph.node("Clip", p, of(_LEAST), of(1 - _LEAST))
    q = graph.node("Sub", p, of(0.5))
    central = graph.node("LessOrEqual", graph.node("Abs", q), of(0.425))
    inner = graph.node("Sub", of(0.180625), graph.node("Mul", q, q))
    less = graph.node("Min", p, graph.node("Sub", of(1.0), p))
    outer = graph.node("Sub", graph.node("Sqrt", graph.node("Neg", graph.node("Log", less))), of(1.6))
    sums = polynomials(graph, graph.node("Where", central, inner, outer), [*_MIDDLE, *_TAIL])
    middle, tail = graph.node("Div", sums[0], sums[1]), graph.node("Div", sums[2], sums[3])
    middle, tail = graph.node("Mul", q, middle), graph.node("Mul", graph.node("Sign", q), tail)
    return graph.node("Where", central, middle, tail)


# ---- how far x has come in bins ----


class _Bins(NamedTuple):
    """The bins of the op's columns of outputs: which input each is of, where it begins and how wide it is, and bounds.

    e is 0 unless x reaches `reached`, and 1 where x is beyond `passed`.
    """

    column: Array
    low: Array
    width: Array
    reached: Array
    passed: Array


def _bins(op: Op, dtype: np.dtype[Any]) -> _Bins:
    """Return the bins, as the op's constants say them: the edges of each column after their number."""
    each, beside = (int(op.numbers[0]), op.numbers[1] != 0) if op.numbers else (0, False)
    rows: list[tuple[float, ...]] = []
    at = 0
    for column in range(op.inputs):
        end = at + 1 + int(op.vector[at])
        edges = np.array(op.vector[at + 1 : end])
        seen = edges.astype(dtype).astype(np.float64)  # as x is compared with them
        at, bins = end, len(edges) - 1
        if beside:
            rows.append((column, 0.0, 1.0, -np.inf, np.inf))
        for t in range(bins):
            reached, passed = seen[t] if t else -np.inf, seen[t + 1] if t < bins - 1 else np.inf
            rows.append((column, edges[t], edges[t + 1] - edges[t], reached, passed))
        rows += [(column, 0.0, 1.0, np.nan, np.inf)] * (each - bins)  # columns of zeros: x reaches no NaN
    return _Bins(*np.transpose(rows))


def piecewise(graph: Graph, op: Op, x: Rows) -> Rows:
    """Return how far x has come in each bin of its column, in float64 as the engine does."""
    bins, double = _bins(op, graph.dtype), np.dtype(np.float64)
    wide = x.name if graph.is_double else graph.cast(x.name, double)
    wide = graph.node("Gather", wide, graph.constant(bins.column, np.int64, "columns"), axis=1)
    # a NaN reaches the first bin alone, as it does in the engine
    seen = graph.node("Where", graph.node("IsNaN", wide), graph.constant(-np.inf, double), wide)
    low, width, reached, passed = (
        graph.constant(values, double, part)
        for part, values in zip(("low", "width", "reached", "passed"), bins[1:], strict=True)
    )
    e = graph.node("Div", graph.node("Sub", wide, low), width)
    one, zero = graph.constant(1.0, double), graph.constant(0.0, double)
    e = graph.node("Where", graph.node("Greater", seen, passed), one, e)
    e = graph.node("Where", graph.node("GreaterOrEqual", seen, reached), e, zero)
    return Rows(e if graph.is_double else graph.cast(e, graph.dtype), op.outputs)


# ---- categories ----


def _whole(graph: Graph, x: Rows, count: int) -> Rows:
    """Return categories as int64, none of which lies above `count`; INVALID or `count` stands for what is none."""
    if x.kind == "real":
        inside = graph.node("Clip", x.name, -1.0, float(count))
        whole = graph.node("Equal", inside, graph.node("Floor", x.name))
        return Rows(graph.cast(graph.node("Where", whole, inside, -1.0), np.int64), x.width, "whole")
    if x.categories is None or x.categories > count:
        limits = graph.constant(INVALID, np.int64), graph.constant(count, np.int64)
        return Rows(graph.node("Clip", x.name, *limits), x.width, "whole")
    return x


def embedding(graph: Graph, op: Op, x: Rows) -> Rows:
    """Return rows of a table, side by side, and NaN in the place of a row that there is none of."""
    index = _whole(graph, x, int(op.numbers[0]))
    if index.categories is None or index.may_be_invalid:  # one more row, which is also that of the number -1
        rows = graph.values(op.kernel)
        nan = np.full((1, rows.shape[1]), np.nan, rows.dtype)
        table = graph.constant(np.concatenate([rows, nan]), part="embeddings_and_nan")
    else:
        table = graph.parameter(op.kernel)
    rows_of_table = graph.node("Gather", table, index.name)
    return Rows(rows_of_table, op.outputs, axes=(op.inputs, op.outputs // op.inputs))


def encode(graph: Graph, op: Op, x: Rows) -> Rows:
    """Return a column for each category: 1 where a row has it, or how often; NaN for what is no category."""
    tokens, several = int(op.numbers[0]), x.width > 1
    dtype = np.dtype(np.int64) if x.kind == "whole" else graph.dtype
    index = graph.unsqueeze(x.name, 2) if several else x.name
    categories = graph.constant(np.arange(tokens), dtype, "categories")
    marks = graph.cast(graph.node("Equal", index, categories), graph.dtype)
    if x.categories is None or x.categories > tokens:
        invalid = graph.node("Equal", graph.reduce("ReduceSum", marks, 1 + several, keepdims=True), 0.0)
        marks = graph.node("Where", invalid, np.nan, marks)
    elif x.may_be_invalid:
        marks = graph.node("Where", graph.node("Equal", index, graph.constant(INVALID, np.int64)), np.nan, marks)
    if several and op.mode == "one_hot":
        return Rows(marks, op.outputs, axes=(op.inputs, tokens))
    if several:
        counts = graph.reduce("ReduceSum", marks, 1)
        marks = counts if op.mode == "count" else graph.node("Min", counts, 1.0)
    return Rows(marks, op.outputs)
