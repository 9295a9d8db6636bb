"""Derivatives of a frozen model by its inputs are those of its outputs, for every layer, from any thread."""

import ctypes
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import layers
from fastnn.predictor import get_include


def plain(*stack):
    return lambda dtype: [fastnn.Input((5,), dtype=dtype), *(make() for make in stack)]


def dense(units, activation=None):
    return lambda: layers.Dense(units, activation)


def branches(dtype):
    inner = {
        "a": [layers.Input((2,), dtype=dtype), layers.Dense(4, "gelu")],
        "b": [layers.Input((3,), dtype=dtype), layers.Dense(3, "tanh")],
    }
    return [layers.Branches(inner), layers.Dense(4)]


def heads(dtype):
    both = {"mean": [layers.Dense(2)], "other": [layers.Dense(3), layers.LayerNormalization()]}
    return [fastnn.Input((5,), dtype=dtype), layers.Dense(7, "tanh"), layers.Heads(both)]


def residual(dtype):
    inner = [layers.Dense(6, "tanh"), layers.Residual([layers.Dense(6, "softplus")]), layers.Dense(6)]
    return [fastnn.Input((5,), dtype=dtype), layers.Dense(6, "swish"), layers.Residual(inner), layers.Dense(2)]


NETWORKS = {
    "dense": plain(dense(9, "tanh"), dense(4, "sigmoid"), dense(3)),
    "one output": plain(dense(9, "gelu"), dense(1)),
    "softmax": plain(dense(9, "selu"), dense(5, "softmax")),
    "one activation": plain(lambda: layers.Activation("tanh")),
    "noise": plain(
        lambda: layers.Dropout(0.5), dense(4, "tanh"), lambda: layers.GaussianNoise(0.3), dense(2), layers.Flatten
    ),
    "normalizations": plain(
        layers.BatchNormalization,
        dense(8, "elu"),
        layers.LayerNormalization,
        dense(8, "tanh"),
        layers.RMSNormalization,
        layers.UnitNormalization,
    ),
    "prelu": plain(dense(8), layers.PReLU, dense(2)),
    "parametric": plain(dense(8), lambda: layers.ParametricActivation("tanh"), layers.Scale, dense(2)),
    "glu": plain(dense(8), lambda: layers.GLU("tanh"), dense(2)),
    "columns": plain(lambda: layers.PeriodicEmbedding(4, 3), layers.Flatten, dense(3)),
    "linear columns": plain(lambda: layers.LinearEmbedding(3, activation="tanh"), layers.Flatten, dense(3)),
    "members": plain(
        lambda: layers.EnsembleScale(3), lambda: layers.EnsembleDense(4, 3, "tanh"), lambda: layers.EnsembleMean(3)
    ),
    "large": plain(dense(600, "tanh"), dense(512, "tanh"), dense(2)),
    "residual": residual,
    "branches": branches,
    "heads": heads,
}


def frozen(kind, dtype="float64"):
    """Return a frozen network of this kind with random weights."""
    model = fastnn.Sequential(NETWORKS[kind](dtype))
    randomize(model)
    return model, model.freeze()


def randomize(model):
    random = np.random.default_rng(0)
    for weight in model.weights:
        some = random.normal(size=weight.shape)
        weight[...] = 1 + 0.5 * np.tanh(some) if weight.ndim == 1 else some / np.sqrt(len(weight))


def matrix(answer):
    """Return outputs as one array, side by side where they have names."""
    return np.concatenate(list(answer.values()), axis=-1) if isinstance(answer, dict) else answer


def rows_for(predictor, rows, seed=1):
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, predictor.inputs)).astype(predictor.dtype)
    return x, random.normal(size=(rows, predictor.outputs)).astype(predictor.dtype)


def central(predictor, x, step=1e-5):
    """Return the Jacobian (rows, outputs, inputs) by central differences, to about step ** 2."""
    columns = []
    for j in range(x.shape[1]):
        move = np.zeros(x.shape[1])
        move[j] = step
        columns.append((matrix(predictor(x + move)) - matrix(predictor(x - move))) / (2 * step))
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_gradient_is_that_of_central_differences(kind):
    _, predictor = frozen(kind)
    x, u = rows_for(predictor, 7)
    y, gradient = predictor.vjp(x, u)
    np.testing.assert_array_equal(matrix(y), matrix(predictor(x)))
    # The error of the differences is about 1e-10 of third derivatives, and 1e-16 / 1e-5 of rounding.
    np.testing.assert_allclose(gradient, np.einsum("ro,roi->ri", u, central(predictor, x)), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", NETWORKS)
def test_float32_is_float64_rounded(kind):
    (_, single), (_, double) = frozen(kind, "float32"), frozen(kind)
    x, u = rows_for(single, 50)
    # Weights are those of float64 rounded: outputs of hundreds of terms differ by some 1e-6 of their sizes.
    np.testing.assert_allclose(single.vjp(x, u)[1], double.vjp(x.astype("f8"), u.astype("f8"))[1], rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_row_has_the_same_bits_alone_and_among_others(kind, dtype):
    _, predictor = frozen(kind, dtype)
    x, u = rows_for(predictor, 60)
    gradient = predictor.vjp(x, u)[1]
    for some in (slice(3, 4), slice(0, 2), slice(5, 35), slice(0, 59)):
        np.testing.assert_array_equal(predictor.vjp(x[some], u[some])[1], gradient[some])
    np.testing.assert_array_equal(predictor.vjp(x[7], u[7])[1], gradient[7])
    wide = np.zeros((60, x.shape[1] + 3), dtype)
    wide[:, 1:-2] = x
    np.testing.assert_array_equal(predictor.vjp(wide[:, 1:-2], u)[1], gradient)


ACTIVATIONS = ["linear", "relu", "tanh", "gelu", "swish", "mish", "softmax", "elu"]
STRAIGHT = {  # Dense layers in a row, through which a few rows take a way of their own; some are too many, or too wide
    **{name: [(17, name), (5, name)] for name in ACTIVATIONS},
    "one output": [(64, "relu"), (64, "relu"), (1, None)],
    "one layer": [(3, "sigmoid")],
    "one number": [(1, "tanh")],
    "eight layers": [(9, "softplus")] * 7 + [(2, None)],
    "nine layers": [(9, "softplus")] * 8 + [(2, None)],
    "wide": [(3000, "relu"), (2, "tanh")],
    "too wide": [(9000, "tanh"), (2, None)],
    "noise": [(6, "tanh"), None, (6, "relu"), None, (2, None)],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", STRAIGHT)
@pytest.mark.parametrize("use_bias", [True, False])
def test_a_few_rows_have_the_bits_of_many(kind, dtype, use_bias):
    stack = [layers.Dropout(0.3) if of is None else layers.Dense(*of, use_bias=use_bias) for of in STRAIGHT[kind]]
    model = fastnn.Sequential([fastnn.Input((5,), dtype=dtype), *stack])
    randomize(model)
    predictor = model.freeze()
    generator = np.random.default_rng(3)
    x = generator.normal(size=(70, 5)).astype(dtype)
    u = generator.normal(size=(70, model.output_shape[-1])).astype(dtype)
    last = u.shape[1] - 1
    wanted = [predictor.vjp(x, u), predictor.value_and_gradient(x, output=last), predictor.jacobian(x)]
    for rows in [*range(1, 12), 17]:
        wide = np.zeros((rows, 9), dtype)
        wide[:, 2:7] = x[:rows]
        for some_x in (x[:rows], wide[:, 2:7]):
            found = [
                predictor.vjp(some_x, u[:rows]),
                predictor.value_and_gradient(some_x, output=last),
                predictor.jacobian(some_x),
            ]
            for some, all_rows in zip(found, wanted, strict=True):
                for one, other in zip(some, all_rows, strict=True):
                    np.testing.assert_array_equal(one, other[:rows])


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_gradient_is_that_of_backward(kind):
    model, predictor = frozen(kind)
    x, u = rows_for(predictor, 9)
    y = model.forward(x)
    if isinstance(y, dict):
        parts = np.split(u, np.cumsum([part.shape[1] for part in y.values()])[:-1], axis=1)
        grad = dict(zip(y, parts, strict=True))
    else:
        grad = u
    # The same sums; kernels of many rows may be cut into parts, whose sums are rounded otherwise.
    np.testing.assert_allclose(predictor.vjp(x, u)[1], model.backward(grad), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_the_jacobian_has_the_gradients_of_all_outputs(kind, dtype):
    _, predictor = frozen(kind, dtype)
    x, _ = rows_for(predictor, 70)
    outputs = predictor.outputs
    y, jacobian = predictor.jacobian(x)
    assert jacobian.shape == (70, outputs, 5)
    for j in range(outputs):
        u = np.tile(np.eye(outputs, dtype=dtype)[j], (70, 1))
        expected = predictor.vjp(x, u)
        np.testing.assert_array_equal(matrix(y), matrix(expected[0]))
        if outputs <= 5:
            np.testing.assert_array_equal(jacobian[:, j], expected[1])
        else:  # by columns: the same sums in another order
            close = {"rtol": 1e-4, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-11, "atol": 1e-13}
            np.testing.assert_allclose(jacobian[:, j], expected[1], **close)
    for some in (slice(2, 3), slice(4, 9)):
        np.testing.assert_array_equal(predictor.jacobian(x[some])[1], jacobian[some])
    out = np.empty((outputs, 5), dtype)
    assert predictor.jacobian(x[3], out=(None, out))[1] is out
    np.testing.assert_array_equal(out, jacobian[3])


@pytest.mark.parametrize("outputs", [1, 17, 48, 49, 130])
def test_jacobians_of_few_and_many_outputs(outputs):
    model = fastnn.Sequential([fastnn.Input((3,), dtype="float64"), layers.Dense(9, "tanh"), layers.Dense(outputs)])
    predictor = model.freeze()
    x, _ = rows_for(predictor, 4)
    jacobian = predictor.jacobian(x)[1]
    kernel, bias, last, _ = model.get_weights()
    slopes = 1 - np.tanh(x @ kernel + bias) ** 2
    # Sums of nine terms of about 1.
    np.testing.assert_allclose(jacobian, np.einsum("rh,ih,ho->roi", slopes, kernel, last), rtol=1e-12, atol=1e-14)


SMOOTH = ["tanh", "gelu", "swish", "softplus", "sigmoid", "selu", "mish", "softsign"]
PIECES = {
    "dense": lambda draw, width: [layers.Dense(draw(st.integers(1, 20)), draw(st.sampled_from(SMOOTH)))],
    "linear": lambda draw, width: [layers.Dense(draw(st.integers(1, 70)))],
    "activation": lambda draw, width: [layers.Activation(draw(st.sampled_from([*SMOOTH, "softmax", "log_softmax"])))],
    "batch normalization": lambda draw, width: [layers.BatchNormalization()],
    "layer normalization": lambda draw, width: [layers.Dense(6), layers.LayerNormalization(center=draw(st.booleans()))],
    "rms normalization": lambda draw, width: [layers.RMSNormalization()],
    "dropout": lambda draw, width: [layers.Dropout(0.3)],
    "residual": lambda draw, width: [layers.Residual([layers.Dense(8, "tanh"), layers.Dense(width)])],
}


@st.composite
def stacks(draw):
    """Draw layers that have a derivative everywhere."""
    stack, width = [fastnn.Input((5,), dtype="float64")], 5
    for name in draw(st.lists(st.sampled_from(sorted(PIECES)), min_size=1, max_size=5)):
        more = PIECES[name](draw, width)
        stack += more
        width = next((layer.units for layer in reversed(more) if isinstance(layer, layers.Dense)), width)
    if draw(st.booleans()):
        stack.append(layers.Heads({"a": [layers.Dense(2, "tanh")], "b": [layers.Dense(1)]}))
    return stack


@pytest.mark.filterwarnings("ignore:softmax over one unit")
@settings(deadline=None, max_examples=60)
@given(stack=stacks(), rows=st.integers(1, 4))
def test_random_stacks(stack, rows):
    model = fastnn.Sequential(stack)
    randomize(model)
    predictor = model.freeze()
    x, u = rows_for(predictor, rows, seed=rows)
    y, gradient = predictor.vjp(x, u)
    np.testing.assert_array_equal(matrix(y), matrix(predictor(x)))
    # A normalization of one number, or of nearly equal ones, makes the second derivative, and with it the error, large.
    expected = np.einsum("ro,roi->ri", u, central(predictor, x))
    scale = 1 + np.abs(expected).max()
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5 * scale)


RAW = np.random.default_rng(3).normal(size=(200, 5)) * [1, 2, 3, 4, 5] + 1
PREPARED = {
    "Normalization": lambda: layers.Normalization(),
    "RobustNormalization": lambda: layers.RobustNormalization(),
    "QuantileNormalization": lambda: layers.QuantileNormalization(),
    "PiecewiseLinearEncoding": lambda: layers.PiecewiseLinearEncoding(4),
    "Impute": lambda: layers.Impute(),
    "Rescaling": lambda: layers.Rescaling(0.25, offset=-1.0),
}


@pytest.mark.parametrize("kind", PREPARED)
def test_preparation_of_numbers_passes_derivatives_through(kind):
    prepares = PREPARED[kind]()
    if hasattr(prepares, "adapt"):
        prepares.adapt(RAW)
    stack = [prepares, *([layers.Flatten()] if kind == "PiecewiseLinearEncoding" else [])]
    model = fastnn.Sequential([fastnn.Input((5,), dtype="float64"), *stack, layers.Dense(6, "tanh"), layers.Dense(2)])
    predictor = model.freeze()
    x, u = RAW[:6] + 0.0123, np.ones((6, 2))  # no knot and no edge lies within a step of these
    gradient = predictor.vjp(x, u)[1]
    # Second derivatives jump at knots, and are about 1 between them.
    np.testing.assert_allclose(gradient, central(predictor, x, 1e-6).sum(axis=1), rtol=1e-5, atol=1e-7)


def test_embeddings_beside_numbers():
    branches = {
        "city": [layers.Input((2,), dtype="float64"), layers.Embedding(6, 3), layers.Flatten()],
        "size": [layers.Input((3,), dtype="float64"), layers.Dense(4, "tanh")],
        "level": [layers.Input((1,), dtype="float64"), layers.Discretization([-0.5, 0.5], output_mode="one_hot")],
    }
    model = fastnn.Sequential([layers.Branches(branches), layers.Dense(5, "gelu"), layers.Dense(2)])
    predictor = model.freeze()
    random = np.random.default_rng(0)
    x = {"city": random.integers(0, 6, (7, 2)), "size": random.normal(size=(7, 3)), "level": random.normal(size=(7, 1))}
    y, gradient = predictor.vjp(x, np.ones((7, 2)))
    np.testing.assert_array_equal(y, predictor(x))
    assert gradient.shape == (7, 6)
    assert not gradient[:, [0, 1, 5]].any()  # categories and bins
    for j in range(3):
        move = np.eye(3)[j] * 1e-5
        higher, lower = (predictor({**x, "size": x["size"] + sign * move}).sum(axis=1) for sign in (1, -1))
        np.testing.assert_allclose(gradient[:, 2 + j], (higher - lower) / 2e-5, rtol=1e-6, atol=1e-7)


def test_outputs_in_the_units_of_targets():
    model = fastnn.Sequential([fastnn.Input((5,), dtype="float64"), layers.Dense(6, "tanh"), layers.Dense(2)])
    scaling = layers.TargetScaling(clip=True)
    targets = np.random.default_rng(1).normal(size=(50, 2)) * [1, 100] + [0, 7]
    scaling.adapt(targets)
    model.add(scaling)
    predictor = model.freeze()
    x, u = rows_for(predictor, 40)
    expected = np.einsum("ro,roi->ri", u, central(predictor, x))
    np.testing.assert_allclose(predictor.vjp(x, u)[1], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["relu", "leaky_relu", "relu6", "hard_tanh", "hard_sigmoid"])
def test_kinks_have_the_derivative_of_training(kind):
    model = fastnn.Sequential([fastnn.Input((1,), dtype="float64"), layers.Activation(kind)])
    x = np.array([[-6.0], [-3.0], [-1.0], [0.0], [1.0], [3.0], [6.0]])
    u = np.ones_like(x)
    model.forward(x)
    np.testing.assert_array_equal(model.freeze().vjp(x, u)[1], model.backward(u))


@pytest.mark.parametrize("kind", ["dense", "one output", "heads"])
def test_value_and_gradient_is_the_row_of_an_output(kind):
    _, predictor = frozen(kind)
    x, _ = rows_for(predictor, 6)
    for output in range(predictor.outputs):
        u = np.zeros((6, predictor.outputs))
        u[:, output] = 1
        y, expected = predictor.vjp(x, u)
        value, gradient = predictor.value_and_gradient(x, output)
        np.testing.assert_array_equal(value, matrix(y)[:, output])
        np.testing.assert_array_equal(gradient, expected)
        value, gradient = predictor.value_and_gradient(x[2], output)
        assert type(value) is np.float64
        assert value == matrix(y)[2, output]
        np.testing.assert_array_equal(gradient, expected[2])


def test_scipy_minimizes_with_it():
    _, predictor = frozen("one output")
    start = np.full(5, 0.3)
    found = scipy.optimize.minimize(predictor.value_and_gradient, start, jac=True, bounds=[(-1, 1)] * 5)
    assert found.success
    assert found.fun < predictor(start)[0]


@pytest.mark.thread_unsafe(reason="sets the number of threads")
@pytest.mark.parametrize("kind", ["dense", "large", "residual"])
def test_bits_do_not_depend_on_threads(kind):
    _, predictor = frozen(kind, "float32")
    x, u = rows_for(predictor, 3000)
    answers = []
    for threads in (1, 2, 3):
        with fastnn.num_threads(threads):
            answers.append(predictor.vjp(x, u)[1])
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])


def test_many_threads_at_once():
    _, predictor = frozen("residual", "float32")
    x, u = rows_for(predictor, 400)
    expected = predictor.vjp(x, u)[1]
    with ThreadPoolExecutor(8) as pool:
        for k, (_, row) in enumerate(pool.map(predictor.vjp, x, u)):
            np.testing.assert_array_equal(row, expected[k])


def test_outs_take_the_results():
    _, predictor = frozen("dense")
    x, u = rows_for(predictor, 4)
    y, gradient = np.empty((4, 3)), np.empty((4, 5))
    results = predictor.vjp(x, u, out=(y, gradient))
    assert results[0] is y
    assert results[1] is gradient
    expected = predictor.vjp(x, u)
    for some in ((None, gradient), [y, None], (None, None)):
        gradient[...] = 0
        for got, wanted in zip(predictor.vjp(x, u, out=some), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)
    value = np.empty(4)
    assert predictor.value_and_gradient(x, 2, out=(value, None))[0] is value
    np.testing.assert_array_equal(value, y[:, 2])
    scalar = np.empty(())
    assert predictor.value_and_gradient(x[0], 1, out=(scalar, gradient[0]))[0] is scalar
    assert scalar == y[0, 1]


def test_bad_arguments_are_named():
    _, predictor = frozen("dense")
    x, u = rows_for(predictor, 4)
    memory = np.zeros(100)
    y, gradient = memory[:12].reshape(4, 3), memory[12:32].reshape(4, 5)
    for arguments, error, match in (
        ((x[:, :4], u), ValueError, "x must have 5 features a row"),
        ((x, u[:, :2]), ValueError, r"u must have shape \(4, 3\), got \(4, 2\)"),
        ((x, u[0]), ValueError, r"u must have shape \(4, 3\), got \(3,\)"),
        ((x, [["a", "b", "c"]] * 4), TypeError, "u must hold real numbers"),
        ((x, {"a": u}), TypeError, "u is a dict, but the outputs have no names"),
        ((x, u, y), TypeError, r"out must be a tuple \(outputs, gradient\) of two arrays"),
        ((x, u, (y,)), TypeError, "got 1 of them"),
        ((x, u, (y, y)), ValueError, r"out\[1\] must be .* shape \(4, 5\), got float64 of shape \(4, 3\)"),
        ((x, u, (y.T, None)), ValueError, r"out\[0\] must be .* shape \(4, 3\)"),
        ((x, u, ([], None)), TypeError, r"out\[0\] must be a NumPy array, got list"),
        ((x, u, (y, memory[10:30].reshape(4, 5))), ValueError, r"out\[1\] must not share memory with out\[0\]"),
        ((x, u, (u, None)), ValueError, r"out\[0\] must not share memory with u"),
        ((gradient, u, (None, gradient)), ValueError, r"out\[1\] must not share memory with x"),
    ):
        with pytest.raises(error, match=match):
            predictor.vjp(*arguments)
    assert not memory.any()
    for output, error, match in (
        (3, ValueError, "output must lie between 0 and 2, as the network has 3 outputs, got 3"),
        (-1, ValueError, "got -1"),
        ("a", TypeError, "output must be the number of an output, got 'a'"),
        (True, TypeError, "output must be the number of an output, got True"),
    ):
        with pytest.raises(error, match=match):
            predictor.value_and_gradient(x, output)


def test_u_by_heads_and_lists():
    _, predictor = frozen("heads")
    x, u = rows_for(predictor, 3)
    y, gradient = predictor.vjp(x, u)
    assert list(y) == ["mean", "other"]
    named = predictor.vjp(x, {"other": u[:, 2:], "mean": u[:, :2].tolist()})
    np.testing.assert_array_equal(named[1], gradient)
    np.testing.assert_array_equal(predictor.vjp(x[0], {"mean": u[0, :2], "other": u[0, 2:]})[1], gradient[0])
    with pytest.raises(ValueError, match="u has nothing for 'other'"):
        predictor.vjp(x, {"mean": u})
    with pytest.raises(ValueError, match=r"u\['other'\] must have shape \(3, 3\), got \(3, 2\)"):
        predictor.vjp(x, {"mean": u[:, :2], "other": u[:, :2]})
    np.testing.assert_array_equal(predictor.vjp(x.tolist(), u.astype(">f8"))[1], gradient)


def test_no_rows():
    _, predictor = frozen("dense")
    y, gradient = predictor.vjp(np.empty((0, 5)), np.empty((0, 3)))
    assert (y.shape, gradient.shape) == ((0, 3), (0, 5))


# The header as fastnn had it before derivatives: a program that was compiled with it goes on working.
BEFORE = """
#include <stddef.h>
typedef struct fnn_predictor fnn_predictor;
struct fnn_predictor {
    int (*run)(const fnn_predictor *predictor, const void *x, ptrdiff_t x_stride, size_t rows, void *y);
    size_t inputs, outputs;
    int is_double;
    /* fastnn's own */
    int (*run_watched)(const fnn_predictor *predictor, const void *x, ptrdiff_t x_stride, size_t rows, void *y,
                       const void *progress);
    int rows_per_tile;
    size_t stride;
    const int *threads;
    const void *model;
};
"""
CALLER_BEFORE = """
long answer(size_t address, const void *x, void *y, size_t rows) {
    const fnn_predictor *p = (const fnn_predictor *)address;
    const int status = p->run(p, x, (ptrdiff_t)p->inputs, rows, y);
    return status ? -1 : (long)(p->inputs * 10000 + p->outputs * 10 + (p->is_double != 0));
}
"""
CALLER = """
#include "fastnn_predictor.h"
/* Bits of what is wrong; 0: nothing. */
long differentiate(size_t address, const void *x, const void *u, void *y, void *gradient, void *other, size_t rows) {
    const fnn_predictor *p = (const fnn_predictor *)address;
    const ptrdiff_t stride = (ptrdiff_t)p->inputs;
    long wrong = p->version < 2 || p->size < sizeof *p;
    wrong |= 2 * (p->vjp(p, x, stride, rows, u, y, gradient) != 0);
    wrong |= 4 * (p->vjp(p, x, stride, rows, u, NULL, other) != 0); /* y is not wanted */
    return wrong;
}
"""


def compiled(folder, source, name):
    """Compile a function of C, and return it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    own = Path(tempfile.mkdtemp(dir=folder))
    (own / "caller.c").write_text(source)
    include = f"-I{get_include()}"
    command = [compiler, "-std=c99", "-Wall", "-Werror", "-shared", "-fPIC", include, "caller.c", "-o", "caller.so"]
    subprocess.run(command, cwd=own, check=True, capture_output=True)
    function = getattr(ctypes.CDLL(str(own / "caller.so")), name)
    function.restype = ctypes.c_long
    return function


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_programs_with_the_header_before_go_on_working(dtype, tmp_path):
    answer = compiled(tmp_path, BEFORE + CALLER_BEFORE, "answer")
    _, predictor = frozen("dense", dtype)
    x, _ = rows_for(predictor, 7)
    y = np.empty((7, 3), dtype)
    answer.argtypes = [ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    assert answer(predictor.address, x.ctypes.data, y.ctypes.data, 7) == 50030 + (dtype == "float64")
    np.testing.assert_array_equal(y, predictor(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 300])
def test_a_c_program_differentiates(dtype, rows, tmp_path):
    differentiate = compiled(tmp_path, CALLER, "differentiate")
    _, predictor = frozen("dense", dtype)
    x, u = rows_for(predictor, rows)
    y, gradient, other = np.empty((rows, 3), dtype), np.empty((rows, 5), dtype), np.empty((rows, 5), dtype)
    differentiate.argtypes = [ctypes.c_size_t, *[ctypes.c_void_p] * 5, ctypes.c_size_t]
    data = [array.ctypes.data for array in (x, u, y, gradient, other)]
    assert differentiate(predictor.address, *data, rows) == 0
    expected = predictor.vjp(x, u)
    for got, wanted in ((y, expected[0]), (gradient, expected[1]), (other, expected[1])):
        np.testing.assert_array_equal(got, wanted)
