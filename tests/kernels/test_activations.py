"""Every activation that is registered: its formula, its error in ulp, its derivatives, its edges.

A new activation needs an entry in EXACT; all other tests take it from the registry.
"""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import activations, layers

PLAIN = [member() if isinstance(member, type) else member for member in activations._registry.members()]
WITH_CONSTANTS = [
    activations.ReLU(0.1, 1.5, 0.5),
    activations.ReLU(max_value=2.0),
    activations.ReLU(threshold=0.7),
    activations.ReLU(negative_slope=0.3),
    activations.LeakyReLU(0.01),
    activations.LeakyReLU(0.0),
    activations.ELU(0.4),
    activations.CELU(0.3),
    activations.CELU(2.5),
    activations.Squareplus(0.3),
    activations.SmoothClip(0.7),
    activations.GELU(approximate=True),
]
ALL = PLAIN + WITH_CONSTANTS
pytestmark = pytest.mark.filterwarnings("ignore:softmax over one unit")
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
every = pytest.mark.parametrize("activation", ALL, ids=repr)


def sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


def softplus(x):
    return mpmath.log1p(mpmath.exp(x)) if x < 0 else x + mpmath.log1p(mpmath.exp(-x))


def gelu_argument(x):
    return mpmath.sqrt(8 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3)


def hard_sigmoid(x):
    return min(max((x + 3) / 6, mpmath.mpf(0)), mpmath.mpf(1))


def bent(a, b, d):
    """Return a x above 0, and b (exp(d x) - 1) below."""
    return lambda x: a * x if x > 0 else b * mpmath.expm1(d * x)


SCALE, ALPHA = mpmath.mpf(activations.SELU_SCALE), mpmath.mpf(activations.SELU_ALPHA)
# For each activation its formula in numbers of 50 digits, and the bound of src_c/kernels/activation.inc in ulp.
EXACT = {
    "linear": (lambda x: x, 0),
    "relu": (lambda x: max(x, mpmath.mpf(0)), 0),
    "leaky_relu": (lambda x: x if x > 0 else mpmath.mpf(0.2) * x, 1),
    "relu6": (lambda x: min(max(x, mpmath.mpf(0)), mpmath.mpf(6)), 0),
    "sigmoid": (sigmoid, 4),
    "tanh": (mpmath.tanh, 4),
    "elu": (bent(1, 1, 1), 4),
    "selu": (bent(SCALE, SCALE * ALPHA, 1), 4),
    "celu": (bent(1, 1, 1), 4),
    "softplus": (softplus, 4),
    "hard_sigmoid": (hard_sigmoid, 2),
    "exponential": (mpmath.exp, 4),
    "hard_tanh": (lambda x: min(max(x, mpmath.mpf(-1)), mpmath.mpf(1)), 0),
    "log_sigmoid": (lambda x: -softplus(-x), 4),
    "gelu": (lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2, 8),
    "gelu_tanh": (lambda x: x * sigmoid(gelu_argument(x)), 4),
    "silu": (lambda x: x * sigmoid(x), 4),
    "mish": (lambda x: x * mpmath.tanh(softplus(x)), 4),
    "hard_silu": (lambda x: x * hard_sigmoid(x), 3),
    "softsign": (lambda x: x / (1 + abs(x)), 4),
    "squareplus": (lambda x: (x + mpmath.sqrt(x * x + 4)) / 2, 4),
    "smooth_clip": (lambda x: x / mpmath.sqrt(1 + (x / 3) ** 2), 4),
    "cos": (mpmath.cos, 4),
}
ELEMENTWISE = [f for f in [*PLAIN, activations.GELU(True)] if f.elementwise]


def exact(activation):
    return EXACT["gelu_tanh" if activation.engine_name == "gelu_tanh" else activation.name]


def single(activation, dtype, features=1):
    return fastnn.Sequential([layers.Activation(activation, input_shape=(features,), dtype=dtype)])


def ulp(value, dtype):
    return float(np.spacing(np.asarray(abs(float(value)), dtype)))


def move_from_corners(x):
    """Move what lies where a derivative jumps, in place."""
    for corner in (-3, -1, 0, 0.5, 0.7, 1, 1.5, 2, 3, 6):
        x[np.abs(x - corner) < 1e-3] += 0.01


@dtypes
@pytest.mark.parametrize("activation", ELEMENTWISE, ids=repr)
def test_error_in_ulp(activation, dtype):
    magnitudes = np.concatenate([np.geomspace(1e-6, 80, 300), np.linspace(0.01, 20, 300)])
    x = np.concatenate([magnitudes, -magnitudes]).astype(dtype)
    function, bound = exact(activation)
    tiny = 64 * float(np.finfo(dtype).tiny)
    with mpmath.workdps(50):
        for value, result in zip(x, single(activation, dtype).predict(x[:, None])[:, 0], strict=True):
            z = mpmath.mpf(float(value))
            expected = function(z)
            allowed = bound
            if activation.engine_name == "gelu_tanh":  # the rounding of exp's large argument is enlarged
                allowed = bound * (1 + abs(float(gelu_argument(z))))
            error = abs(mpmath.mpf(float(result)) - expected)
            assert error <= max(allowed * ulp(expected, dtype), 0 if abs(expected) > tiny else tiny), value


@dtypes
@pytest.mark.parametrize("activation", ELEMENTWISE, ids=repr)
def test_error_of_the_derivative(activation, dtype):
    generator = np.random.default_rng(0)
    x = np.concatenate([4 * generator.normal(size=300), np.geomspace(1e-3, 60, 50), -np.geomspace(1e-3, 60, 50)])
    x = x.astype(dtype)[:, None]
    model = single(activation, dtype)
    model.forward(x)
    function, _ = exact(activation)
    with mpmath.workdps(50):
        for value, slope in zip(x[:, 0], model.backward(np.ones_like(x))[:, 0], strict=True):
            expected = mpmath.diff(function, mpmath.mpf(float(value)))
            # The bound is three ulp of 1, or for exp three of the derivative itself; selu's derivative of up to 1.76
            # counts as 1.
            assert abs(float(slope) - float(expected)) <= 3 * np.finfo(dtype).eps * max(1.0, abs(float(expected)))


@settings(max_examples=60)
@given(
    activation=st.sampled_from(ALL),
    rows=st.integers(1, 50),
    columns=st.integers(1, 70),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_formula_in_every_path(activation, rows, columns, dtype):
    generator = np.random.default_rng([rows, columns])
    x = (3 * generator.normal(size=(rows, columns))).astype(dtype)
    dy = generator.normal(size=(rows, columns)).astype(dtype)
    dense = layers.Dense(columns, activation, kernel_initializer="identity")
    alone, fused = single(activation, dtype, columns), fastnn.Sequential([fastnn.Input((columns,), dtype=dtype), dense])
    y = alone.predict(x)
    # The bound is eight ulp of values and sums of up to some tens; the NumPy formula has errors of its own.
    np.testing.assert_allclose(y, activation(x), rtol=2e-5 if dtype == "float32" else 4e-14, atol=1e-6)
    gradients = []
    for model in (alone, fused):
        for other in (model.predict(x), model.freeze()(x), model.forward(x)):
            np.testing.assert_array_equal(other, y)
        gradients.append(model.backward(dy))
    np.testing.assert_array_equal(*gradients)


@every
@pytest.mark.parametrize("columns", [1, 7, 16, 33])
def test_derivative_by_central_differences(activation, columns):
    generator = np.random.default_rng(columns)
    x, dy = 2 * generator.normal(size=(40, columns)), generator.normal(size=(40, columns))
    move_from_corners(x)
    model, step = single(activation, "float64", columns), 1e-5
    model.forward(x)
    gradient = model.backward(dy)
    for j in range(columns):
        e = step * (np.arange(columns) == j)
        difference = ((model.predict(x + e) - model.predict(x - e)) * dy).sum(axis=1) / (2 * step)
        # Truncation is step² times a third derivative, which is 400 for exp at 6; rounding is 1e-16 / step.
        np.testing.assert_allclose(gradient[:, j], difference, rtol=1e-6, atol=1e-7)


@dtypes
@every
def test_what_is_no_number_stays_none(activation, dtype):
    for columns in (1, 5, 16, 40):
        x = np.linspace(-2, 2, 3 * columns).reshape(3, columns).astype(dtype)
        clean = single(activation, dtype, columns).predict(x)
        x[1, columns // 2] = np.nan
        y = single(activation, dtype, columns).predict(x)
        assert np.isnan(y[1, columns // 2])
        changed = np.isnan(y)
        assert changed.sum() == (1 if activation.elementwise else columns)
        np.testing.assert_array_equal(y[~changed], clean[~changed])


# Answers at minus infinity, infinity, -1e30 and 1e30 are Keras's (on TensorFlow): 0 times infinity is no number.
EDGES = {
    "linear": [-np.inf, np.inf, -1e30, 1e30],
    "relu": [0, np.inf, 0, 1e30],
    "leaky_relu": [-np.inf, np.inf, -2e29, 1e30],
    "relu6": [0, 6, 0, 6],
    "elu": [-1, np.inf, -1, 1e30],
    "selu": [-1.7580993, np.inf, -1.7580993, 1.050701e30],
    "celu": [-1, np.inf, -1, 1e30],
    "gelu": [np.nan, np.inf, 0, 1e30],
    "silu": [np.nan, np.inf, 0, 1e30],
    "mish": [np.nan, np.inf, 0, 1e30],
    "sigmoid": [0, 1, 0, 1],
    "hard_sigmoid": [0, 1, 0, 1],
    "hard_silu": [np.nan, np.inf, 0, 1e30],
    "tanh": [-1, 1, -1, 1],
    "softplus": [0, np.inf, 0, 1e30],
    "softsign": [np.nan, np.nan, -1, 1],
    "smooth_clip": [-3, 3, -3, 3],
    "cos": [np.nan, np.nan],  # of so large numbers: test_cosine_of_large_numbers
    "squareplus": [0, np.inf, 1e-30, 1e30],  # Keras squares out of range: infinity for both of the last
    "exponential": [0, np.inf, 0, np.inf],
    "hard_tanh": [-1, 1, -1, 1],
    "log_sigmoid": [-np.inf, 0, -1e30, 0],
}


@pytest.mark.parametrize("activation", ELEMENTWISE, ids=repr)
@dtypes
def test_edges_are_those_of_keras(activation, dtype):
    x = np.array([-np.inf, np.inf, -1e30, 1e30], dtype)[:, None]
    expected = np.array(EDGES[activation.name])
    if dtype == "float64" and activation.name == "exponential":
        expected = np.array([0, np.inf, 0, np.inf])
    np.testing.assert_allclose(single(activation, dtype).predict(x)[: len(expected), 0], expected, rtol=1e-6)
    model = single(activation, dtype)
    model.forward(x[2:])
    assert not np.isnan(model.backward(np.ones((2, 1)))).any()


@dtypes
def test_cosine_of_large_numbers(dtype):
    limit = 12000 if dtype == "float32" else 5e7
    generator = np.random.default_rng(0)
    zeros = (generator.integers(0, limit / np.pi, 300) + 0.5) * np.pi
    x = np.concatenate([zeros, generator.uniform(-limit, limit, 700)]).astype(dtype)[:, None]
    model = single("cos", dtype)
    y = model.forward(x)[:, 0]
    slope = model.backward(np.ones_like(x))[:, 0]
    with mpmath.workdps(50):
        exact = list(map(mpmath.mpf, map(float, x[:, 0])))
        errors = [abs(float(found) - mpmath.cos(v)) for found, v in zip(y, exact, strict=True)]
        errors += [abs(float(found) + mpmath.sin(v)) for found, v in zip(slope, exact, strict=True)]
    assert max(errors) <= 2 * np.finfo(dtype).eps  # the bound of src_c/kernels/activation.inc
    beyond = model.predict(np.geomspace(limit, 1e38, 1000, dtype=dtype)[:, None])
    assert abs(beyond).max() <= 1 + np.finfo(dtype).eps


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@dtypes
@pytest.mark.parametrize("columns", [1, 2, 10, 16, 17, 100, 1000])
def test_rows_of_any_width(name, dtype, columns):
    generator = np.random.default_rng(columns)
    x = (10 * generator.normal(size=(9, columns))).astype(dtype)
    dy = generator.normal(size=x.shape).astype(dtype)
    model = single(name, dtype, columns)
    wide = x.astype(np.float64)
    y, p = activations.get(name)(wide), activations.softmax(wide)
    expected = p * (dy - (dy * p).sum(1, keepdims=True)) if name == "softmax" else dy - p * dy.sum(1, keepdims=True)
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-13, "atol": 1e-13}
    np.testing.assert_allclose(model.forward(x), y, **close)
    np.testing.assert_allclose(model.backward(dy), expected, **close)
    apart = np.full((9, columns), -np.inf, dtype)
    apart[:, columns // 2] = 3
    one = single(name, dtype, columns).predict(apart)
    np.testing.assert_array_equal(one, activations.get(name)(apart))


@given(
    rows=st.integers(1, 40), columns=st.integers(1, 40), activation=st.sampled_from([f for f in ALL if f.elementwise])
)
@settings(max_examples=40)
def test_gated_linear_unit(rows, columns, activation):
    generator = np.random.default_rng([rows, columns])
    x, dy = generator.normal(size=(rows, 2 * columns)), generator.normal(size=(rows, columns))
    model = fastnn.Sequential([fastnn.Input((2 * columns,), dtype="float64"), layers.GLU(activation)])
    gate, alone = x[:, columns:], single(activation, "float64", columns)
    f = alone.forward(gate)
    for y in (model.predict(x), model.freeze()(x), model.forward(x)):
        np.testing.assert_allclose(y, x[:, :columns] * activation(gate), rtol=1e-13, atol=1e-14)
    expected = np.hstack([dy * f, alone.backward(dy * x[:, :columns])])
    np.testing.assert_allclose(model.backward(dy), expected, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(activations.glu(x), x[:, :columns] * activations.sigmoid(gate), rtol=1e-15)


# ---- second derivatives ----


@dtypes
@pytest.mark.parametrize("activation", ELEMENTWISE, ids=repr)
def test_error_of_the_second_derivative(activation, dtype):
    x = 2 * np.random.default_rng(0).normal(size=150)
    x = np.concatenate([x, np.geomspace(1e-3, 60, 30), -np.geomspace(1e-3, 60, 30)])
    move_from_corners(x)
    x = np.append(x, [500.0, -500.0] if activation.name != "exponential" else []).astype(dtype)[:, None]
    ones = np.ones_like(x)
    second = single(activation, dtype).freeze().hvp(x, ones, ones)[1]
    function, _ = exact(activation)
    with mpmath.workdps(50):
        for value, found in zip(x[:, 0], second[:, 0], strict=True):
            expected = mpmath.diff(function, mpmath.mpf(float(value)), 2)
            # Six ulp of 1, or of the value: products of a few factors that are each off by one or two.
            assert abs(float(found) - float(expected)) <= 6 * np.finfo(dtype).eps * max(1.0, abs(float(expected))), (
                value
            )


@pytest.mark.parametrize("activation", ALL, ids=repr)
@pytest.mark.parametrize("columns", [1, 7, 33])
def test_second_derivative_by_central_differences(activation, columns):
    generator = np.random.default_rng(columns)
    x, v, u = 2 * generator.normal(size=(40, columns)), *generator.normal(size=(2, 40, columns))
    move_from_corners(x)
    predictor, step = single(activation, "float64", columns).freeze(), 1e-5
    difference = (predictor.vjp(x + step * v, u)[1] - predictor.vjp(x - step * v, u)[1]) / (2 * step)
    # Truncation is step² times a fourth derivative, which is 400 for exp at 6; rounding is 1e-16 / step.
    np.testing.assert_allclose(predictor.hvp(x, v, u)[1], difference, rtol=1e-6, atol=1e-7)
    difference = (predictor(x + step * v) - predictor(x - step * v)) / (2 * step)
    np.testing.assert_allclose(predictor.jvp(x, v)[1], difference, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("columns", [2, 10, 16, 17, 100])
@dtypes
def test_tangents_of_rows_of_any_width(columns, dtype):
    generator = np.random.default_rng(columns)
    x, v, u = (3 * generator.normal(size=(3, 9, columns))).astype(dtype)
    p = activations.softmax(x.astype("float64"))
    apart = v - (p * v).sum(1, keepdims=True), u - (p * u).sum(1, keepdims=True)
    product = apart[0] * apart[1]
    # Terms of at most some hundreds, rounded.
    close = {"rtol": 1e-4, "atol": 1e-4} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-12}
    soft, logs = (single(name, dtype, columns).freeze() for name in ("softmax", "log_softmax"))
    np.testing.assert_allclose(soft.jvp(x, v)[1], p * apart[0], **close)
    np.testing.assert_allclose(logs.jvp(x, v)[1], apart[0], **close)
    expected = p * (product - (p * product).sum(1, keepdims=True))
    np.testing.assert_allclose(soft.hvp(x, v, u)[1], expected, **close)
    np.testing.assert_allclose(logs.hvp(x, v, u)[1], -p * apart[0] * u.sum(1, keepdims=True), **close)


@dtypes
# exp overflows itself, and cos does not know its phase there
@pytest.mark.parametrize("activation", [f for f in ELEMENTWISE if f.name not in ("exponential", "cos")], ids=repr)
def test_far_out_nothing_is_lost(activation, dtype):
    """Neither an overflow nor 0 times infinity on the way makes a number of no number."""
    x = np.array([1e4, -1e4, 1e15, -1e15, 1e30, -1e30], dtype)[:, None]
    ones = np.ones_like(x)
    second = single(activation, dtype).freeze().hvp(x, ones, ones)[1]
    np.testing.assert_allclose(second, 0, atol=1e-9)
