"""Derivatives along directions and second derivatives of a frozen model: of every layer, in every type and grouping."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_cases import PAIRS, built
from test_derivatives import NETWORKS, frozen, matrix, rows_for

import fastnn
from fastnn import layers

STEP = 1e-5
# The error of central differences is about 1e-10 of third derivatives, and 1e-16 / 1e-5 of rounding.
NEAR = {"rtol": 1e-6, "atol": 1e-6}
kinds = pytest.mark.parametrize("kind", NETWORKS)


def directions_for(predictor, rows, seed=2):
    return np.random.default_rng(seed).normal(size=(rows, predictor.inputs)).astype(predictor.dtype)


def check(predictor, x, v, u):
    """Hold all of it to central differences, and to what must be equal."""
    y, tangent = predictor.jvp(x, v)
    np.testing.assert_array_equal(matrix(y), matrix(predictor(x)))
    difference = (matrix(predictor(x + STEP * v)) - matrix(predictor(x - STEP * v))) / (2 * STEP)
    np.testing.assert_allclose(matrix(tangent), difference, **NEAR)
    gradient = predictor.vjp(x, u)[1]
    np.testing.assert_allclose((u * matrix(tangent)).sum(1), (gradient * v).sum(1), rtol=1e-10, atol=1e-10)
    y, product = predictor.hvp(x, v, u)
    np.testing.assert_array_equal(matrix(y), matrix(predictor(x)))
    difference = (predictor.vjp(x + STEP * v, u)[1] - predictor.vjp(x - STEP * v, u)[1]) / (2 * STEP)
    np.testing.assert_allclose(product, difference, **NEAR)


@kinds
def test_directions_of_every_network(kind):
    _, predictor = frozen(kind)
    x, u = rows_for(predictor, 7)
    check(predictor, x, directions_for(predictor, 7), u)


ELEMENTS = ["tanh", "gelu", "swish", "softplus", "elu", "mish", "softmax", "log_softmax", "sigmoid", "relu"]
INNER = {
    "dense": lambda f: layers.Dense(6, f),
    "activation": layers.Activation,
    "glu": lambda f: layers.Stack([layers.Dense(12), layers.GLU("gelu")]),
    "parametric": lambda f: layers.ParametricActivation("swish"),
    "norm": lambda f: layers.LayerNormalization(),
    "rms": lambda f: layers.RMSNormalization(),
    "batch": lambda f: layers.BatchNormalization(),
    "residual": lambda f: layers.Residual([layers.Dense(6, f), layers.Dense(6)]),
    "deep residual": lambda f: layers.Residual([layers.LayerNormalization(), layers.Residual([layers.Dense(6, f)])]),
    "waves": lambda f: layers.Stack([layers.PeriodicEmbedding(3, 2), layers.Flatten(), layers.Dense(6, f)]),
    "scale": lambda f: layers.Scale(),
}


@pytest.mark.filterwarnings("ignore:softmax over one unit")
@settings(max_examples=40)
@given(
    stack=st.lists(st.tuples(st.sampled_from(sorted(INNER)), st.sampled_from(ELEMENTS)), min_size=1, max_size=5),
    outputs=st.integers(1, 9),
    rows=st.integers(1, 60),
    seed=st.integers(0, 99),
)
def test_directions_of_random_stacks(stack, outputs, rows, seed):
    inner = [INNER[kind](activation) for kind, activation in stack]
    model = fastnn.Sequential([fastnn.Input((4,), dtype="float64"), layers.Dense(6), *inner, layers.Dense(outputs)])
    random = np.random.default_rng(seed)
    for weight in model.weights:
        some = random.normal(size=weight.shape)
        weight[...] = 1 + 0.5 * np.tanh(some) if weight.ndim == 1 else some / np.sqrt(len(weight))
    predictor = model.freeze()
    x, v, u = (random.normal(size=(rows, columns)) for columns in (4, 4, outputs))
    v, u = v / np.linalg.norm(v, axis=1, keepdims=True), u / np.linalg.norm(u, axis=1, keepdims=True)
    gradient, tangent = predictor.vjp(x, u)[1], predictor.jvp(x, v)[1]
    size = 1 + np.abs(gradient).max()
    np.testing.assert_allclose((u * tangent).sum(1), (gradient * v).sum(1), rtol=1e-9, atol=1e-11 * size)
    product = predictor.hvp(x, v, u)[1]
    y, hessian = predictor.hessian(x)
    one = np.zeros((rows, outputs))
    one[:, 0] = 1
    alone = predictor.hvp(x, v, one)[1]
    np.testing.assert_array_equal(y, predictor(x))
    np.testing.assert_array_equal(hessian, hessian.transpose(0, 2, 1))
    size = 1 + np.abs(hessian).max() + np.abs(product).max()
    np.testing.assert_allclose(np.einsum("rij,rj->ri", hessian, v), alone, rtol=1e-8, atol=1e-11 * size)
    # Differences from both sides agree, unless a kink of relu, or a sharp bend, lies between them.
    forth = (predictor.vjp(x + STEP * v, u)[1] - gradient) / STEP
    back = (gradient - predictor.vjp(x - STEP * v, u)[1]) / STEP
    smooth = np.abs(forth - back).max(axis=1) < 1e-3 * size
    np.testing.assert_allclose(product[smooth], (forth + back)[smooth] / 2, rtol=1e-5, atol=1e-5 * size)


@pytest.mark.filterwarnings("ignore:softmax over one unit")
@pytest.mark.parametrize(("name", "k"), PAIRS)
def test_directions_of_every_layer(name, k):
    model, x = built(name, k, "float64")
    predictor = model.freeze()
    y = matrix(predictor(x))
    v, u = directions_for(predictor, len(y)), np.random.default_rng(3).normal(size=y.shape)
    answer, tangent = predictor.jvp(x, v)
    np.testing.assert_array_equal(matrix(answer), y)
    gradient = predictor.vjp(x, u)[1]
    np.testing.assert_allclose((u * matrix(tangent)).sum(1), (gradient * v).sum(1), rtol=1e-10, atol=1e-10)
    product = predictor.hvp(x, v, u)[1]
    assert np.isfinite(product).all()
    if isinstance(x, np.ndarray) and x.shape == v.shape and x.dtype == np.float64:
        forth, back = ((predictor.vjp(x + s * STEP * v, u)[1] - gradient) / (s * STEP) for s in (1, -1))
        # elsewhere x lies at a kink, an edge or a knot
        smooth = (np.abs(forth - back) < 1e-3 * (1 + np.abs(product))) & (np.abs(forth) < 1e3)
        np.testing.assert_allclose(product[smooth], (forth + back)[smooth] / 2, **NEAR)


@kinds
def test_float32_is_float64_rounded(kind):
    (_, single), (_, double) = frozen(kind, "float32"), frozen(kind)
    x, u = rows_for(single, 50)
    v = directions_for(single, 50)
    wide = [array.astype("f8") for array in (x, v, u)]
    # Weights are those of float64 rounded: outputs of hundreds of terms differ by some 1e-6 of their sizes.
    np.testing.assert_allclose(matrix(single.jvp(x, v)[1]), matrix(double.jvp(*wide[:2])[1]), rtol=2e-3, atol=2e-4)
    expected = double.hvp(*wide)[1]
    np.testing.assert_allclose(single.hvp(x, v, u)[1], expected, rtol=5e-3, atol=5e-4 * (1 + np.abs(expected).max()))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@kinds
def test_a_row_has_the_same_bits_alone_and_among_others(kind, dtype):
    _, predictor = frozen(kind, dtype)
    x, u = rows_for(predictor, 60)
    v = directions_for(predictor, 60)
    tangent, product = matrix(predictor.jvp(x, v)[1]), predictor.hvp(x, v, u)[1]
    hessian, jacobian = predictor.hessian(x)[1], predictor.jacobian(x)[1]
    for some in (slice(3, 4), slice(0, 2), slice(5, 35), slice(0, 59)):
        np.testing.assert_array_equal(matrix(predictor.jvp(x[some], v[some])[1]), tangent[some])
        np.testing.assert_array_equal(predictor.hvp(x[some], v[some], u[some])[1], product[some])
        np.testing.assert_array_equal(predictor.hessian(x[some])[1], hessian[some])
        np.testing.assert_array_equal(predictor.jacobian(x[some])[1], jacobian[some])
    np.testing.assert_array_equal(predictor.hvp(x[7], v[7], u[7])[1], product[7])
    np.testing.assert_array_equal(predictor.hessian(x[7])[1], hessian[7])
    wide = np.zeros((60, x.shape[1] + 3), dtype)
    wide[:, 1:-2] = x
    np.testing.assert_array_equal(predictor.hvp(wide[:, 1:-2], v, u)[1], product)


@pytest.mark.thread_unsafe(reason="sets the number of threads")
@pytest.mark.parametrize("kind", ["dense", "large", "residual"])
def test_bits_do_not_depend_on_threads(kind):
    _, predictor = frozen(kind, "float32")
    x, u = rows_for(predictor, 1500)
    v, answers = directions_for(predictor, 1500), []
    for threads in (1, 2, 3):
        with fastnn.num_threads(threads):
            answers.append((predictor.jvp(x, v)[1], predictor.hvp(x, v, u)[1], predictor.hessian(x[:300])[1]))
    for other in answers[1:]:
        for one, two in zip(answers[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("inputs", [1, 17, 48, 49, 130])
def test_hessians_of_few_and_many_inputs(inputs):
    model = fastnn.Sequential([fastnn.Input((inputs,), dtype="float64"), layers.Dense(9, "tanh"), layers.Dense(2)])
    predictor = model.freeze()
    x, _ = rows_for(predictor, 3)
    kernel, bias, last, _ = model.get_weights()
    y = np.tanh(x @ kernel + bias)
    for output in (0, 1):
        second = -2 * y * (1 - y**2) * last[:, output]
        # Sums of nine terms of about 1.
        expected = np.einsum("ih,rh,jh->rij", kernel, second, kernel)
        np.testing.assert_allclose(predictor.hessian(x, output)[1], expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(predictor.hessian(x[1], output)[1], expected[1], rtol=1e-12, atol=1e-14)


def test_jacobians_by_columns():
    model = fastnn.Sequential([fastnn.Input((2,), dtype="float64"), layers.Dense(9, "tanh"), layers.Dense(60)])
    predictor = model.freeze()
    x, _ = rows_for(predictor, 100)
    y, jacobian = predictor.jacobian(x)
    kernel, bias, last, _ = model.get_weights()
    np.testing.assert_array_equal(y, predictor(x))
    slopes = 1 - np.tanh(x @ kernel + bias) ** 2
    np.testing.assert_allclose(jacobian, np.einsum("rh,ih,ho->roi", slopes, kernel, last), rtol=1e-12, atol=1e-14)


def test_kinks_have_no_second_derivative():
    stack = [layers.Dense(7, "relu"), layers.LeakyReLU(0.1), layers.PReLU(), layers.Dense(2)]
    predictor = fastnn.Sequential([fastnn.Input((3,), dtype="float64"), *stack]).freeze()
    x = np.zeros((2, 3))  # all arguments are 0
    assert not predictor.hessian(x)[1].any()
    assert not predictor.hvp(x, np.ones((2, 3)), np.ones((2, 2)))[1].any()


def test_outs_take_the_results():
    _, predictor = frozen("dense")
    x, u = rows_for(predictor, 4)
    v = directions_for(predictor, 4)
    for name, arguments, shape in (("jvp", (x, v), (4, 3)), ("hvp", (x, v, u), (4, 5)), ("hessian", (x, 2), (4, 5, 5))):
        function = getattr(predictor, name)
        expected, y, other = function(*arguments), np.empty((4, 3)), np.empty(shape)
        assert function(*arguments, out=(y, None))[0] is y
        assert function(*arguments, out=[None, other])[1] is other
        np.testing.assert_array_equal(y, expected[0])
        np.testing.assert_array_equal(other, expected[1])


def test_bad_arguments_are_named():
    _, predictor = frozen("dense")
    x, u = rows_for(predictor, 4)
    v = directions_for(predictor, 4)
    memory = np.zeros(200)
    y, tangent, product = memory[:12].reshape(4, 3), memory[12:24].reshape(4, 3), memory[24:44].reshape(4, 5)
    for name, arguments, error, match in (
        ("jvp", (x[:, :4], v), ValueError, "x must have 5 features a row"),
        ("jvp", (x, v[:, :2]), ValueError, r"v must have shape \(4, 5\), got \(4, 2\)"),
        ("jvp", (x[0], v), ValueError, r"v must have shape \(5,\), got \(4, 5\)"),
        ("jvp", (x, [["a"] * 5] * 4), TypeError, "v must hold real numbers"),
        ("jvp", (x, v, y), TypeError, r"out must be a tuple \(outputs, tangent\) of two arrays"),
        ("jvp", (x, v, (None, product)), ValueError, r"out\[1\] must be .* shape \(4, 3\)"),
        ("jvp", (x, v, (y, y)), ValueError, r"out\[1\] must not share memory with out\[0\]"),
        ("jvp", (x, product, (None, memory[30:42].reshape(4, 3))), ValueError, "must not share memory with v"),
        ("hvp", (x, v, u[:, :2]), ValueError, r"u must have shape \(4, 3\), got \(4, 2\)"),
        ("hvp", (x, u, u), ValueError, r"v must have shape \(4, 5\), got \(4, 3\)"),
        ("jvp", (x, {"a": v}), TypeError, r"v must be one array of shape \(4, 5\), got a dict"),
        ("hvp", (x, v, {"a": u}), TypeError, "u is a dict, but the outputs have no names"),
        ("hvp", (x, v, u, (y,)), TypeError, r"out must be a tuple \(outputs, product\)"),
        ("hvp", (x, product, u, (y, product)), ValueError, r"out\[1\] must not share memory with v"),
        ("hvp", (x, v, tangent, (tangent, product)), ValueError, r"out\[0\] must not share memory with u"),
        ("hessian", (x, 3), ValueError, "output must lie between 0 and 2, as the network has 3 outputs, got 3"),
        ("hessian", (x, 0, (y, product)), ValueError, r"out\[1\] must be .* shape \(4, 5, 5\)"),
    ):
        with pytest.raises(error, match=match):
            getattr(predictor, name)(*arguments)
    assert not memory.any()


def test_heads_have_tangents_by_name():
    _, predictor = frozen("heads")
    x, u = rows_for(predictor, 3)
    v = directions_for(predictor, 3)
    y, tangent = predictor.jvp(x, v)
    assert list(y) == list(tangent) == ["mean", "other"]
    assert (tangent["mean"].shape, tangent["other"].shape) == ((3, 2), (3, 3))
    named = predictor.hvp(x, v, {"mean": u[:, :2], "other": u[:, 2:]})[1]
    np.testing.assert_array_equal(named, predictor.hvp(x, v, u)[1])


def test_no_rows():
    _, predictor = frozen("dense")
    none = np.empty((0, 5))
    assert predictor.jvp(none, none)[1].shape == (0, 3)
    assert predictor.hvp(none, none, np.empty((0, 3)))[1].shape == (0, 5)
    assert predictor.hessian(none)[1].shape == (0, 5, 5)


RECORDED = json.loads((Path(__file__).parent / "reference" / "derivatives.json").read_text())


@pytest.mark.parametrize("name", RECORDED["networks"])
def test_values_are_those_of_jax(name):
    network = RECORDED["networks"][name]
    inputs = len(RECORDED["x"][0])
    model = fastnn.Sequential([fastnn.Input((inputs,), dtype="float64"), *map(layers.deserialize, network["layers"])])
    for weight, values in zip(model.weights, network["weights"], strict=True):
        weight[...] = values
    predictor = model.freeze()
    x, v = np.array(RECORDED["x"]), np.array(RECORDED["v"])
    u = np.array(RECORDED["u"])[:, : predictor.outputs]
    # Both compute in float64; sums of some tens of terms in another order.
    close = {"rtol": 1e-9, "atol": 1e-11}
    np.testing.assert_allclose(predictor(x), network["y"], **close)
    np.testing.assert_allclose(predictor.vjp(x, u)[1], network["vjp"], **close)
    np.testing.assert_allclose(predictor.jvp(x, v)[1], network["jvp"], **close)
    np.testing.assert_allclose(predictor.jacobian(x)[1], network["jacobian"], **close)
    np.testing.assert_allclose(predictor.hvp(x, v, u)[1], network["hvp"], **close)
    np.testing.assert_allclose(predictor.hessian(x)[1], network["hessian"], **close)
