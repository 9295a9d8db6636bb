"""The kernels of the picked instruction set (FASTNN_ISA picks another) beside NumPy, through one-layer models."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import layers
from fastnn._engine import all_finite

sizes = st.integers(1, 70) | st.integers(1, 300)


def dense(inputs, units, dtype="float64", activation=None):
    return fastnn.Sequential([fastnn.Input((inputs,), dtype=dtype), layers.Dense(units, activation)])


def filled(model, generator):
    for view in model.weights:
        view[...] = generator.normal(size=view.shape)
    return model


@given(rows=sizes, inputs=sizes, units=sizes, dtype=st.sampled_from(["float32", "float64"]))
def test_forward_is_the_product(rows, inputs, units, dtype):
    generator = np.random.default_rng([rows, inputs, units])
    model = filled(dense(inputs, units, dtype), generator)
    x = generator.normal(size=(rows, inputs)).astype(dtype)
    kernel, bias = (w.astype(np.float64) for w in model.get_weights())
    exact = x.astype(np.float64) @ kernel + bias
    # A chain of n additions is off by at most n ulp of the sum of magnitudes (Higham, Accuracy and Stability, 3.1).
    bound = (inputs + 2) * np.finfo(dtype).eps * (np.abs(x.astype(np.float64)) @ np.abs(kernel) + np.abs(bias))
    assert (np.abs(model.predict(x) - exact) <= bound).all()


@example(rows=61, inputs=1100, units=50, relu=True, dtype="float32")  # the depth is cut into blocks
@given(
    rows=st.integers(2, 100),
    inputs=st.integers(1, 1200),
    units=st.integers(2, 70),
    relu=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_rows_have_the_bits_that_they_have_alone(rows, inputs, units, relu, dtype):
    """Many rows use copies of panels of the kernel, a block of the depth each; one row reads it in place."""
    generator = np.random.default_rng([rows, inputs, units])
    model = filled(dense(inputs, units, dtype, "relu" if relu else None), generator)
    x = generator.normal(size=(rows, inputs)).astype(dtype)
    found = model.predict(x)
    for i in {0, rows // 2, rows - 1}:
        np.testing.assert_array_equal(model.predict(x[i : i + 1]), found[i : i + 1])


# more than two blocks of the input gradient's depth, with vectors of any length
@example(rows=70, inputs=50, units=2100)
# the last columns take half a vector, alone and beside a whole one, over two blocks of the gradient's depth
@example(rows=200, inputs=64, units=100)
@example(rows=200, inputs=100, units=10)
@given(rows=sizes, inputs=sizes, units=sizes)
def test_gradients_are_the_products(rows, inputs, units):
    generator = np.random.default_rng([rows, inputs, units])
    model = filled(dense(inputs, units), generator)
    x, dy = generator.normal(size=(rows, inputs)), generator.normal(size=(rows, units))
    model.forward(x)
    dx = model.backward(dy)
    kernel_gradient, bias_gradient = model.gradients
    # Float64 sums in another order: a few ulp of the terms' magnitude.
    np.testing.assert_allclose(kernel_gradient, x.T @ dy, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(bias_gradient, dy.sum(axis=0), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(dx, dy @ model.weights[0].T, rtol=1e-11, atol=1e-11)


@given(rows=sizes, inputs=sizes, relu=st.booleans(), dtype=st.sampled_from(["float32", "float64"]))
def test_a_kernel_of_one_column(rows, inputs, relu, dtype):
    generator = np.random.default_rng([rows, inputs])
    model = filled(dense(inputs, 1, dtype, "relu" if relu else None), generator)
    x, dy = generator.normal(size=(rows, inputs)).astype(dtype), generator.normal(size=(rows, 1)).astype(dtype)
    kernel, bias = (w.astype(np.float64) for w in model.get_weights())
    exact = x.astype(np.float64) @ kernel + bias
    # Float64 sums in another order: a few ulp of the terms' magnitude.
    bound = (inputs + 2) * np.finfo(dtype).eps * (np.abs(x.astype(np.float64)) @ np.abs(kernel) + np.abs(bias))
    found = model.predict(x)
    assert (np.abs(found - (np.maximum(exact, 0) if relu else exact)) <= bound).all()
    for i in {0, rows // 2, rows - 1}:  # a row's bits do not depend on other rows
        np.testing.assert_array_equal(model.predict(x[i : i + 1]), found[i : i + 1])
    model.forward(x)
    model.backward(dy)
    dz = np.where(relu & (found <= 0), 0, dy).astype(np.float64)
    wanted, magnitude = x.T.astype(np.float64) @ dz, np.abs(x.T.astype(np.float64)) @ np.abs(dz)
    assert (np.abs(model.gradients[0] - wanted) <= (rows + 2) * np.finfo(dtype).eps * magnitude).all()


@settings(max_examples=50)
@example(inputs=1100, units=40, zeros=0.5, dtype="float32")  # the row is cut into three blocks
@given(
    inputs=st.integers(1, 700),
    units=st.integers(2, 300),
    zeros=st.sampled_from([0.0, 0.3, 0.45, 0.7, 0.98, 1.0]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_one_row_with_zeros(inputs, units, zeros, dtype):
    """Rows of the kernel whose factor is zero are not read; the sums are those of the same row among other rows."""
    generator = np.random.default_rng([inputs, units])
    model = filled(dense(inputs, units, dtype, "relu"), generator)
    x = generator.normal(size=(3, inputs)).astype(dtype)
    x[generator.random(x.shape) < zeros] = 0
    x[0, -1] = -0.0
    frozen = model.freeze()
    for i in range(3):
        np.testing.assert_array_equal(frozen(x[i : i + 1]), model.predict(x)[i : i + 1])
    x[0, 0] = np.nan
    assert np.isnan(frozen(x[:1])).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [3, 40, 130])
def test_large_layers_are_the_products_as_well(rows, dtype):
    generator = np.random.default_rng(rows)
    model = filled(dense(700, 800, dtype), generator)
    x, dy = generator.normal(size=(rows, 700)).astype(dtype), generator.normal(size=(rows, 800)).astype(dtype)
    tolerance = {"rtol": 1e-3, "atol": 1e-2} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-10}
    kernel, bias = model.weights
    np.testing.assert_allclose(model.predict(x), x @ kernel + bias, **tolerance)
    np.testing.assert_allclose(model.forward(x), x @ kernel + bias, **tolerance)
    np.testing.assert_allclose(model.backward(dy), dy @ kernel.T, **tolerance)
    np.testing.assert_allclose(model.gradients[0], x.T @ dy, **tolerance)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_softmax_and_its_loss_are_stable(scale):
    generator = np.random.default_rng(0)
    x = (scale * generator.normal(size=(50, 11))).astype(np.float64)
    model = fastnn.Sequential([layers.Activation("softmax", input_shape=(11,), dtype="float64")])
    y = model.predict(x)
    np.testing.assert_allclose(y, fastnn.activations.softmax(x), rtol=1e-13, atol=1e-300)
    labels = generator.integers(0, 11, 50)
    model.compile("sgd", "sparse_categorical_crossentropy")
    exact = fastnn.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, x)
    assert model.evaluate(x, labels, verbose=0) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("loss", ["mse", "half_mse", "binary_crossentropy", "categorical_crossentropy"])
@pytest.mark.parametrize("metric", ["mse", "mae", "binary_accuracy", "categorical_accuracy"])
def test_losses_and_metrics_are_their_formulas(loss, metric):
    generator = np.random.default_rng(1)
    x, y = generator.dirichlet(np.ones(4), 77), np.eye(4)[generator.integers(0, 4, 77)]
    model = fastnn.Sequential([layers.Activation("linear", input_shape=(4,), dtype="float64")])
    model.compile("sgd", loss, metrics=[metric])
    expected = [fastnn.losses.get(loss)(y, x), fastnn.metrics.get(metric)(y, x)]
    np.testing.assert_allclose(model.evaluate(x, y, verbose=0), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [1, 3, 20])
@pytest.mark.parametrize("rows", [1, 16, 37])
def test_binary_crossentropy_of_some_rows(rows, columns, dtype):
    generator = np.random.default_rng([rows, columns])
    model = filled(dense(4, columns, dtype, "sigmoid"), generator)
    smoothing = 0.1
    loss = fastnn.losses.BinaryCrossentropy(label_smoothing=smoothing)
    model.compile(fastnn.optimizers.SGD(1.0), loss)
    x, weights = generator.normal(scale=9, size=(rows, 4)).astype(dtype), generator.random(rows).astype(dtype)
    y = generator.integers(0, 2, (rows, columns)).astype(dtype)
    kernel, bias = (w.astype(np.float64) for w in model.get_weights())
    z, t = x.astype(np.float64) @ kernel + bias, y * (1 - smoothing) + smoothing / 2
    values = (np.maximum(z, 0) - z * t + np.log1p(np.exp(-np.abs(z)))).mean(axis=1)
    dz = (1 / (1 + np.exp(-z)) - t) / columns * weights[:, None] / rows
    # Logits of up to about 60, from chains of four products, are off by some ulp of 60.
    tolerance = 500 * np.finfo(dtype).eps
    np.testing.assert_allclose(model.train_on_batch(x, y, sample_weight=weights), values @ weights / rows, tolerance)
    np.testing.assert_allclose(model.get_weights()[0], kernel - x.T @ dz, rtol=0, atol=tolerance * 10)


@pytest.mark.parametrize("size", [1, 15, 4096, 70_000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_finite_check_finds_the_one(size, dtype):
    x = np.ones((size, 1), dtype)
    assert all_finite(x)
    for bad in (np.nan, np.inf, -np.inf):
        for place in (0, size // 2, size - 1):
            y = x.copy()
            y[place] = bad
            assert not all_finite(y)
            assert not all_finite(np.hstack([x, y, x])[:, 1:])  # rows with gaps between them
            assert all_finite(np.hstack([x, y])[:, :1])


def test_finite_check_of_no_rows():
    assert all_finite(np.zeros((0, 3)))  # numpy gives an empty array strides of zero


def one_weight(optimizer, steps, gradient=0.5, start=1.0):
    """Return a single weight w with loss slope `gradient`, after each step."""
    model = fastnn.Sequential([layers.Dense(1, use_bias=False, input_shape=(1,), dtype="float64")])
    model.set_weights([[[start]]])
    model.compile(optimizer, "mse")
    values = []
    for _ in range(steps):
        model.forward([[1.0]])
        model.backward([[gradient]])
        model.apply_gradients()
        values.append(float(model.weights[0][0, 0]))
    return values


def test_gradient_descent_by_hand():
    assert one_weight(fastnn.optimizers.SGD(0.1), 2) == pytest.approx([0.95, 0.90])


def test_momentum_and_nesterov_by_hand():
    # velocity: -0.05, then 0.9 * -0.05 - 0.05 = -0.095
    assert one_weight(fastnn.optimizers.SGD(0.1, momentum=0.9), 2) == pytest.approx([0.95, 0.855])
    # look-ahead: 0.9 * -0.05 - 0.05 = -0.095, then 0.9 * -0.095 - 0.05 = -0.1355
    assert one_weight(fastnn.optimizers.SGD(0.1, momentum=0.9, nesterov=True), 2) == pytest.approx([0.905, 0.7695])


def test_first_three_adam_steps_by_hand():
    # With a constant gradient g, m_t = (1 - 0.9^t) g and v_t = (1 - 0.999^t) g^2: each step is lr g / (g + eps').
    expected, w = [], 1.0
    for t in (1, 2, 3):
        correction = np.sqrt(1 - 0.999**t)
        w -= 0.001 * correction / (1 - 0.9**t) * (1 - 0.9**t) * 0.5 / (correction * 0.5 + 1e-7)
        expected.append(w)
    assert one_weight("adam", 3) == pytest.approx(expected, rel=1e-12)


@example(rows=9, inputs=33, units=17, dtype="float64")
@given(rows=st.integers(2, 12), inputs=sizes, units=st.integers(2, 300), dtype=st.sampled_from(["float32", "float64"]))
def test_input_gradients_have_the_bits_that_they_have_among_others(rows, inputs, units, dtype):
    """For few rows blocks of the kernel are transposed in registers, for more rows the rows are."""
    generator = np.random.default_rng([rows, inputs, units])
    model = filled(dense(inputs, units, dtype), generator)
    kernel = model.get_weights()[0].astype(np.float64)
    x = np.zeros((60, inputs), dtype)
    grad = generator.normal(size=(60, units)).astype(dtype)
    model.forward(x)
    among = model.backward(grad)
    exact = grad.astype(np.float64) @ kernel.T
    bound = (units + 2) * np.finfo(dtype).eps * (np.abs(grad.astype(np.float64)) @ np.abs(kernel.T))
    assert (np.abs(among - exact) <= bound).all()
    for some in (slice(0, 1), slice(3, 3 + rows)):
        model.forward(x[some])
        np.testing.assert_array_equal(model.backward(grad[some]), among[some])
