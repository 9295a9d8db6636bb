"""The products of packed operands, in float32, float64 and bfloat16, beside NumPy, on the picked instruction set.

And those of float32 in the processor's matrix unit, if it has one: "unit".
"""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastnn
from fastnn import layers
from fastnn._engine import _packed_product, build_info

sizes = st.integers(1, 40) | st.integers(1, 300)
UNIT = ["unit"] if build_info()["matrix_unit"] else []
kinds = pytest.mark.parametrize("kind", ["float32", "float64", "bfloat16", *UNIT])
forms = pytest.mark.parametrize(
    ("by_depth", "transposed"), [(False, False), (True, False), (False, True), (True, True)]
)


def rounded(x):
    """Return the nearest bfloat16 of each float32, ties to even."""
    bits = x.view(np.uint32)
    return np.where(np.isnan(x), x, ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).view(np.float32))


def dtype_of(kind):
    return np.float64 if kind == "float64" else np.float32


def way_of(kind):
    return {"bf16": kind == "bfloat16", "unit": kind == "unit"}


def operands(generator, kind, rows, depth, columns):
    """Return A, B and bias of a product; the sizes of their values differ, so that a swap would show."""
    a, b, bias = generator.normal(size=(rows, depth)), generator.normal(size=(depth, columns)), 3 + np.arange(columns)
    return a.astype(dtype_of(kind)), (0.1 * b).astype(dtype_of(kind)), bias.astype(dtype_of(kind))


def apart(x):
    """Return the same values in rows that lie further apart, with NaN between them."""
    wide = np.full((x.shape[0], x.shape[1] + 3), np.nan, x.dtype)
    wide[:, : x.shape[1]] = x
    return wide[:, : x.shape[1]]


def product(a, b, kind, *, by_depth=False, transposed=False, **options):
    """Return the kernel's A @ B for operands in the layout it wants; check that it writes nothing else."""
    wide = np.full((a.shape[0] + 1, b.shape[1] + 5), 777, a.dtype)
    a, b = apart(a.T if by_depth else a), apart(b.T if transposed else b)
    _packed_product(a, b, wide[:-1, :-5], by_depth=by_depth, transposed=transposed, **way_of(kind), **options)
    assert (wide[-1] == 777).all()
    assert (wide[:, -5:] == 777).all()
    return wide[:-1, :-5].copy()


def check(a, b, bias, kind, relu, **form):
    ours = product(a, b, kind, bias=bias, relu=relu, **form)
    if kind == "bfloat16":
        a, b = rounded(a), rounded(b)
    a, b, start = a.astype(np.float64), b.astype(np.float64), 0.0 if bias is None else bias.astype(np.float64)
    exact, magnitude = a @ b + start, np.abs(a) @ np.abs(b) + np.abs(start)
    # A chain of n additions is off by at most n ulp of the sum of magnitudes (Higham, Accuracy and Stability, 3.1). The
    # unit adds six sums for 32 products, rounded once each, and leaves out 2**-22.
    roundings = 2 + (6 * np.ceil(a.shape[1] / 32) if kind == "unit" else a.shape[1])
    bound = roundings * np.finfo(dtype_of(kind)).eps * magnitude
    assert (np.abs(ours - (np.maximum(exact, 0) if relu else exact)) <= bound).all()


@kinds
@given(
    rows=sizes, depth=sizes, columns=sizes, by_depth=st.booleans(), transposed=st.booleans(), bias=st.booleans(),
    relu=st.booleans(),
)  # fmt: skip
def test_packed_product_is_the_product(kind, rows, depth, columns, by_depth, transposed, bias, relu):
    a, b, start = operands(np.random.default_rng([rows, depth, columns]), kind, rows, depth, columns)
    check(a, b, start if bias else None, kind, relu, by_depth=by_depth, transposed=transposed)


# Past one block of rows (at most 528), of columns (1024) and of the depth (256 units), as simd.h has them.
@kinds
@forms
@pytest.mark.parametrize(("rows", "depth", "columns"), [(563, 777, 131), (1201, 515, 1237), (5, 1025, 2100)])
def test_packed_product_past_its_blocks(kind, by_depth, transposed, rows, depth, columns):
    a, b, bias = operands(np.random.default_rng(0), kind, rows, depth, columns)
    check(a, b, bias, kind, True, by_depth=by_depth, transposed=transposed)


@kinds
@forms
def test_bits_do_not_depend_on_how_a_product_is_split(kind, by_depth, transposed):
    generator = np.random.default_rng(1)
    rows, depth, columns = 601, 531, 1103
    a, b, bias = operands(generator, kind, rows, depth, columns)
    options = {"bias": bias, "relu": True, "by_depth": by_depth, "transposed": transposed}
    whole = product(a, b, kind, **options)
    parts = np.zeros_like(whole)
    laid_out = [np.ascontiguousarray(x.T if t else x) for x, t in ((a, by_depth), (b, transposed))]
    row_cuts = [0, *np.sort(generator.choice(np.arange(1, rows), 3, replace=False)).tolist(), rows]
    column_cuts = [0, *np.sort(generator.choice(np.arange(1, columns), 3, replace=False)).tolist(), columns]
    for row_range in pairwise(row_cuts):
        for column_range in pairwise(column_cuts):
            _packed_product(*laid_out, parts, **way_of(kind), row_range=row_range, column_range=column_range, **options)
    np.testing.assert_array_equal(parts.view(np.uint8), whole.view(np.uint8))


@kinds
@forms
@given(rows=sizes, columns=sizes, front=st.integers(0, 100), depth=st.integers(0, 600))
def test_a_part_of_the_depth_is_a_product_of_its_own(kind, by_depth, transposed, rows, columns, front, depth):
    a, b, bias = operands(np.random.default_rng([rows, depth]), kind, rows, front + depth + 5, columns)
    inside = slice(front, front + depth)
    options = {"bias": bias, "by_depth": by_depth, "transposed": transposed}
    expected = product(a[:, inside], b[inside], kind, **options)
    a[:, :front] = b[front + depth :] = np.nan
    np.testing.assert_array_equal(product(a, b, kind, depth_range=(front, front + depth), **options), expected)


@kinds
def test_a_part_of_a_product_writes_nothing_else(kind):
    a, b, _ = operands(np.random.default_rng(2), kind, 50, 20, 90)
    c = np.full((50, 90), 777, dtype_of(kind))
    _packed_product(a, b, c, **way_of(kind), row_range=(7, 30), column_range=(11, 75))
    inside = np.zeros(c.shape, bool)
    inside[7:30, 11:75] = True
    assert ((c == 777) != inside).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(rows=sizes, inputs=st.integers(1, 150), units=st.integers(2, 150))  # a single column is summed in another order
def test_bits_are_those_of_the_products_of_a_network(dtype, rows, inputs, units):
    of_unit = UNIT and dtype == "float32" and rows >= 128 and min(inputs, units) >= 32 and inputs * units >= 2**13
    x, kernel, bias = operands(np.random.default_rng([rows, inputs, units]), dtype, rows, inputs, units)
    model = fastnn.Sequential([fastnn.Input((inputs,), dtype=dtype), layers.Dense(units, "relu")])
    model.set_weights([kernel, bias])
    expected = product(x, kernel, "unit" if of_unit else dtype, bias=bias, relu=True)
    np.testing.assert_array_equal(expected, model.predict(x, verbose=0))


@kinds
def test_without_depth_the_bias_is_left_and_without_rows_or_columns_nothing_is_written(kind):
    dtype = dtype_of(kind)
    bias = np.array([-1, 2, -3], dtype)
    nothing = product(np.zeros((4, 0), dtype), np.zeros((0, 3), dtype), kind, bias=bias, relu=True)
    np.testing.assert_array_equal(nothing, np.tile(np.maximum(bias, 0), (4, 1)))
    assert (product(np.zeros((4, 0), dtype), np.zeros((0, 3), dtype), kind) == 0).all()
    assert product(np.zeros((0, 5), dtype), np.zeros((5, 3), dtype), kind).shape == (0, 3)
    assert product(np.zeros((4, 5), dtype), np.zeros((5, 0), dtype), kind).shape == (4, 0)


@kinds
@forms
def test_nan_and_infinity_stay_in_their_rows_and_columns(kind, by_depth, transposed):
    a, b, _ = operands(np.random.default_rng(3), kind, 31, 267, 45)
    # A NaN whose only mantissa bit is the lowest: cut in half, this float32 would be an infinity.
    smallest_nan = np.array([0x7F800001], np.uint32).view(np.float32)[0] if kind != "float64" else np.nan
    a[3, 266], a[4, 5], b[7, 44] = np.inf, smallest_nan, -np.inf
    ours = product(a, b, kind, by_depth=by_depth, transposed=transposed)
    with np.errstate(invalid="ignore"):
        expected = a.astype(np.float64) @ b.astype(np.float64)
    if kind == "unit":  # the unit computes infinity minus infinity's first part
        np.testing.assert_array_equal(np.isnan(ours), ~np.isfinite(expected))
    else:
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(expected))
        np.testing.assert_array_equal(np.isinf(ours), np.isinf(expected))
    assert np.isfinite(expected).sum() == 29 * 44


@forms
def test_bfloat16_is_rounded_to_nearest_even(by_depth, transposed):
    bits = np.random.default_rng(4).integers(0x3F000000, 0x40000000, 4000, dtype=np.uint32)
    bits[:4] = 0x3F808000, 0x3F818000, 0x3F808001, 0x3FFFFFFF  # two ties, one above, one that carries into the exponent
    x = (bits.view(np.float32) * np.tile([1, -1], 2000).astype(np.float32))[:, None]
    one = np.ones((1, 1), np.float32)
    form = {"by_depth": by_depth, "transposed": transposed}
    np.testing.assert_array_equal(product(x, one, "bfloat16", **form), rounded(x))
    np.testing.assert_array_equal(product(one, x.T.copy(), "bfloat16", **form), rounded(x).T)
    assert rounded(x)[:4, 0].tolist() == [1.0, -1.015625, 1.0078125, -2.0]


@pytest.mark.skipif(not UNIT, reason="this processor or build has no matrix unit")
@forms
def test_split_elements_are_as_exact_as_float32(by_depth, transposed):
    """Three bfloat16 hold every bit of a float32, so products keep its precision over the range of exponents."""
    generator = np.random.default_rng(5)
    form = {"by_depth": by_depth, "transposed": transposed}
    x = (generator.normal(size=(300, 1)) * 2.0 ** generator.integers(-100, 120, (300, 1))).astype(np.float32)
    x[:4, 0] = np.finfo(np.float32).max, -np.finfo(np.float32).max, 2.0**-126, 0
    ones = np.ones((1, 40), np.float32)
    np.testing.assert_array_equal(product(x, ones, "unit", **form), np.tile(x, (1, 40)))  # no bit is lost
    a, b, _ = operands(generator, "unit", 400, 900, 300)
    exact, magnitude = a.astype(np.float64) @ b.astype(np.float64), np.abs(a).astype(np.float64) @ np.abs(b)
    errors = [np.abs(product(a, b, kind, **form) - exact) / magnitude for kind in ("unit", "float32")]
    assert errors[0].max() < errors[1].max()
    assert np.sqrt((errors[0] ** 2).mean()) < np.sqrt((errors[1] ** 2).mean())
