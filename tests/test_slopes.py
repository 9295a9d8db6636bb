"""Gradients by the parameters of a slope, uᵀ ∂y/∂x v, which losses on derivatives need."""

import numpy as np
import pytest

import fastnn
from fastnn import layers

STACKS = {
    "one": lambda: [layers.Dense(3)],
    "smooth": lambda: [layers.Dense(8, "tanh"), layers.Dense(6, "gelu"), layers.Dense(3, "softplus")],
    "without bias": lambda: [layers.Dense(8, "tanh", use_bias=False), layers.Dense(3, use_bias=False)],
    "rows": lambda: [layers.Dense(8, "softmax"), layers.Dense(3, "log_softmax")],
    "residual": lambda: [layers.Dense(6, "swish"), layers.Residual([layers.Dense(6, "tanh"), layers.Dense(6)])],
    "nothing to train": lambda: [layers.Dense(6, "tanh"), layers.Rescaling(2.0), layers.Dropout(0.5), layers.Dense(1)],
    "gated": lambda: [layers.Dense(8), layers.GLU("tanh"), layers.Dense(2)],
    "normalized": lambda: [
        layers.Dense(8),
        layers.LayerNormalization(center=False, scale=False),
        layers.UnitNormalization(),
        layers.Dense(2),
    ],
    "large": lambda: [layers.Dense(600, "tanh"), layers.Dense(450, "tanh"), layers.Dense(1)],
    "heads": lambda: [layers.Dense(8, "tanh"), layers.Heads({"a": [layers.Dense(2, "tanh")], "b": [layers.Dense(1)]})],
}
stacks = pytest.mark.parametrize("stack", STACKS)


def model_of(stack, dtype="float64"):
    model = fastnn.Sequential([fastnn.Input((4,), dtype=dtype), *STACKS[stack]()])
    random = np.random.default_rng(0)
    for weight in model.weights:
        some = random.normal(size=weight.shape)
        weight[...] = some if weight.ndim == 1 else some / np.sqrt(len(weight))
    return model


def rows_for(model, rows, dtype="float64"):
    outputs = model.freeze().outputs
    return [np.random.default_rng(k).normal(size=(rows, n)).astype(dtype) for k, n in enumerate((4, 4, outputs))]


@stacks
def test_the_gradients_are_those_of_differences(stack):
    model, step = model_of(stack), 1e-5
    x, v, u = rows_for(model, 7)
    expected = model.freeze().hvp(x, v, u)
    y, product = model.hvp(x, v, u)
    for got, wanted in ((y, expected[0]), (product, expected[1])):
        pairs = [(got[name], wanted[name]) for name in got] if isinstance(got, dict) else [(got, wanted)]
        for one, other in pairs:
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
    found = model.flat_gradients.copy()
    # The slope by differences from both sides has gradients that backward gives: off by about step² and 1e-16 / step.
    rows = np.concatenate([x + step * v, x - step * v])
    model.forward(rows)
    grad = np.concatenate([u, -u]) / (2 * step)
    if isinstance(y, dict):
        grad = {"a": grad[:, :2], "b": grad[:, 2:]}
    model.backward(grad, inputs=False)
    np.testing.assert_allclose(found, model.flat_gradients, rtol=1e-5, atol=1e-6 * np.abs(found).max())


@pytest.mark.parametrize("rows", [1, 191, 192, 193, 500])
def test_sums_over_many_rows(rows):
    model = model_of("smooth")
    x, v, u = rows_for(model, rows)
    y, product = model.hvp(x, v, u)
    together, sums = model.flat_gradients.copy(), 0
    for start in range(0, rows, 100):
        some = slice(start, start + 100)
        answers = model.hvp(x[some], v[some], u[some])
        np.testing.assert_array_equal(answers[0], y[some])
        np.testing.assert_array_equal(answers[1], product[some])
        sums = sums + model.flat_gradients
    # Sums of hundreds of rows in another order.
    np.testing.assert_allclose(together, sums, rtol=1e-10, atol=1e-11)


def test_float32_is_float64_rounded():
    single, double = model_of("smooth", "float32"), model_of("smooth")
    x, v, u = rows_for(single, 64, "float32")
    single.hvp(x, v, u)
    double.hvp(*(array.astype("float64") for array in (x, v, u)))
    # Sums of 64 rows of terms of about 1.
    for one, other in zip(single.gradients, double.gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_accumulate_adds_to_the_gradients_that_are_there():
    model = model_of("smooth")
    x, v, u = rows_for(model, 9)
    model.hvp(x, v, u)
    slopes = model.flat_gradients.copy()
    model.forward(x)
    model.backward(u)
    losses = model.flat_gradients.copy()
    model.hvp(x, v, u, accumulate=True)
    np.testing.assert_allclose(model.flat_gradients, losses + slopes, rtol=1e-12, atol=1e-14)
    model.hvp(x, v, u)
    np.testing.assert_array_equal(model.flat_gradients, slopes)


def test_layers_that_are_not_trained_have_no_gradient():
    fixed = [layers.Dense(5, "tanh"), layers.BatchNormalization()]
    for layer in fixed:
        layer.trainable = False
    model = fastnn.Sequential([fastnn.Input((4,), dtype="float64"), *fixed, layers.Dense(3)])
    x, v, u = rows_for(model, 5)
    model.hvp(x, v, u)
    slopes = dict(zip([weight.shape for weight in model.weights], model.gradients, strict=True))
    assert not slopes[4, 5].any()
    kernel = fixed[0].kernel
    moves = (1 - np.tanh(x @ kernel) ** 2) * (v @ kernel) / np.sqrt(1 + 1e-3)  # how the last layer's inputs change
    np.testing.assert_allclose(slopes[5, 3], moves.T @ u, rtol=1e-12, atol=1e-14)


def test_a_penalty_on_slopes_is_learned_in_float32():
    """The gradient penalty of WGAN-GP: the slopes of the network come to have length 1."""
    model = fastnn.Sequential([fastnn.Input((2,)), layers.Dense(16, "tanh"), layers.Dense(1)])
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight[...] = 0.3 * random.normal(size=weight.shape)
    model.compile(fastnn.optimizers.Adam(0.01))
    x, ones = random.uniform(-1, 1, (128, 2)).astype("float32"), np.ones((128, 1), "float32")

    def slopes():
        model.forward(x)
        return model.backward(ones, weights=False)

    def penalty():
        return np.mean((np.linalg.norm(slopes(), axis=1) - 1) ** 2)

    before = penalty()
    for _ in range(300):
        gradient = slopes()
        length = np.linalg.norm(gradient, axis=1, keepdims=True)
        model.hvp(x, 2 * (length - 1) * gradient / length / len(x), ones)
        model.apply_gradients()
    assert penalty() < before / 20


def test_what_it_cannot_do_is_named():
    model = model_of("smooth")
    x, v, u = rows_for(model, 5)
    model.hvp(x, v, u)
    before = model.flat_gradients.copy()
    for arguments, error, match in (
        ((x[:, :3], v, u), ValueError, "x must have 4 features a row"),
        ((x, v[:4], u), ValueError, r"v must have shape \(5, 4\), got \(4, 4\)"),
        ((x, v, u[:, :1]), ValueError, r"u must have shape \(5, 3\), got \(5, 1\)"),
        ((x, v, {"a": u}), TypeError, "u is a dict, but the outputs have no names"),
        ((x, v, u, "yes"), TypeError, "accumulate"),
    ):
        with pytest.raises(error, match=match):
            model.hvp(*arguments)
    np.testing.assert_array_equal(model.flat_gradients, before)
    other = fastnn.Sequential([fastnn.Input((4,)), layers.LayerNormalization(name="scale"), layers.Dense(1)])
    with pytest.raises(NotImplementedError, match="layer 'scale' has 'gamma', which is trained"):
        other.hvp(x, v, u[:, :1])
