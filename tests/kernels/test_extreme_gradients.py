"""Gradients, weights and rows whose squares are out of range: steps and norms beside formulas in a wider type."""

import numpy as np
import pytest
from optimizer_formulas import RULES

import fastnn
from fastnn import constraints, layers, losses, optimizers, regularizers

SHARES = np.array([[1.0, -0.5, 0.25], [-2.0, 0.125, 1.0], [0.5, 1.5, -1.0], [0.75, -0.25, 0.375]])
MAGNITUDES = {
    "float32": [1e-30, 1e-22, 1e-15, 1.0, 1e15, 2e19, 2e26, 1e38],
    "float64": [1e-300, 1e-160, 1e-100, 1.0, 1e100, 2e160, 1e250, 5e307],
}
CASES = [(dtype, magnitude) for dtype, magnitudes in MAGNITUDES.items() for magnitude in magnitudes]


def dense(dtype, optimizer, **given):
    model = fastnn.Sequential([fastnn.Input((4,), dtype=dtype), layers.Dense(3, kernel_initializer="zeros", **given)])
    model.compile(optimizer, "mse")
    model._ready("test")
    return model


def step(model, *gradients):
    for view, gradient in zip(model.gradients, gradients, strict=True):
        view[...] = gradient
    model.apply_gradients()
    return model.get_weights()


@pytest.mark.skipif(np.finfo(np.longdouble).maxexp < 2**11, reason="long double has the range of double here")
@pytest.mark.parametrize(("dtype", "magnitude"), CASES)
@pytest.mark.parametrize("name", RULES)
def test_steps_at_any_scale_are_the_formula(name, dtype, magnitude):
    rule, make = RULES[name]
    optimizer = make(weight_decay=0.0)
    model = dense(dtype, optimizer)
    gradients = [(magnitude * shares).astype(dtype) for shares in (SHARES, SHARES[1])]
    expected, states = [np.zeros(g.shape, np.longdouble) for g in gradients], [{}, {}]
    rate = np.longdouble(optimizer.learning_rate)
    for t in (1, 2, 3):
        weights = step(model, *gradients)
        wide = zip(expected, gradients, states, strict=True)
        expected = [rule(optimizer, p, g.astype(np.longdouble), s, rate, t) for p, g, s in wide]
    for found, wanted in zip(weights, expected, strict=True):
        np.testing.assert_allclose(found, wanted.astype(dtype), rtol=2e-4 if dtype == "float32" else 1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name in RULES if not name.startswith(("sgd", "momentum", "nesterov"))])
def test_an_extreme_gradient_leaves_a_state_that_works(name, dtype):
    model = dense(dtype, RULES[name][1]())
    step(model, *[MAGNITUDES[dtype][-1] * shares for shares in (SHARES, SHARES[1])])
    before = model.get_weights()
    after = step(model, SHARES, SHARES[1])
    for held, weights in zip(before, after, strict=True):
        assert np.isfinite(weights).all()
        assert abs(weights - held).max() <= 1


@pytest.mark.parametrize(
    "name", ["adam", "amsgrad", "nadam", "adamax", "rmsprop", "rmsprop_both", "adagrad", "adadelta"]
)
def test_an_infinite_gradient_counts_as_the_largest_and_a_nan_stays_one(name):
    largest, infinite = (dense("float32", RULES[name][1]()) for _ in range(2))
    found = step(infinite, [[np.inf, -np.inf, np.nan]] * 4, np.zeros(3))[0]
    wanted = step(largest, [[3e38, -3e38, 1.0]] * 4, np.zeros(3))[0]
    np.testing.assert_array_equal(found[:, :2], wanted[:, :2])
    assert np.isnan(found[:, 2]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["adam", "nadam", "adamax", "rmsprop", "adagrad", "adadelta"])
def test_nothing_moves_without_gradients_and_epsilon(name, dtype):
    optimizer = {
        "adagrad": lambda: optimizers.Adagrad(initial_accumulator_value=0.0, epsilon=1e-300),
    }.get(name, lambda: type(RULES[name][1]())(epsilon=1e-300))()
    assert not step(dense(dtype, optimizer), np.zeros((4, 3)), np.zeros(3))[0].any()


# ---- norms ----


@pytest.mark.parametrize(("dtype", "magnitude"), CASES)
@pytest.mark.parametrize("clipped", ["clipnorm", "global_clipnorm"])
def test_clipping_by_norms_at_any_scale(clipped, dtype, magnitude):
    if magnitude > 1e300:
        magnitude = 1e300  # the norms themselves are finite
    for limit in (0.25 * magnitude, 1.0):
        model = dense(dtype, optimizers.SGD(1.0, **{clipped: limit}))
        gradients = [magnitude * shares.astype(np.longdouble) for shares in (SHARES, SHARES[1])]
        found = step(model, *[g.astype(dtype) for g in gradients])
        norms = [np.sqrt((g * g).sum()) for g in gradients]
        if clipped == "global_clipnorm":
            norms = [np.sqrt(norms[0] ** 2 + norms[1] ** 2)] * 2
        for weights, gradient, norm in zip(found, gradients, norms, strict=True):
            wanted = -gradient * np.minimum(1, limit / norm)
            np.testing.assert_allclose(weights, wanted.astype(dtype), rtol=1e-5 if dtype == "float32" else 1e-12)


def test_a_gradient_that_is_not_finite_has_no_norm():
    for dtype in MAGNITUDES:
        for value in (np.inf, np.nan):
            model = dense(dtype, optimizers.SGD(1.0, clipnorm=1.0))
            assert np.isnan(step(model, np.where(SHARES == 1, value, SHARES), SHARES[1])[0]).all()


@pytest.mark.parametrize("magnitude", [1e-30, 1.0, 1e18, 1e25])
@pytest.mark.parametrize("axis", [0, 1, [0, 1]])
@pytest.mark.parametrize("make", [constraints.UnitNorm, constraints.MaxNorm, constraints.MinMaxNorm])
def test_constraints_of_norms_at_any_scale(make, axis, magnitude):
    for dtype, scale in (("float32", magnitude), ("float64", magnitude**8)):
        constraint = make(axis=axis)
        model = dense(dtype, "sgd", kernel_constraint=constraint)
        kernel = (scale * SHARES).astype(dtype)
        model.set_weights([kernel, np.zeros(3)])
        found = step(model, 0.0, 0.0)[0]
        wide = kernel.astype(np.longdouble)
        norms = np.sqrt((wide * wide).sum(axis=tuple(np.atleast_1d(axis)), keepdims=True))
        low, high, rate = constraint.norm
        wanted = wide * (rate * np.clip(norms, low, high) + (1 - rate) * norms) / (1e-7 + norms)
        for values in (found, constraint(kernel)):
            np.testing.assert_allclose(values, wanted.astype(dtype), rtol=1e-5 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1.0, 1e18, 1e25, 1e160, 1e300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cosines_at_any_scale(dtype, scale):
    if dtype == "float32" and not 1e-37 < scale < 1e37:
        pytest.skip("beyond float32")
    t, shares = SHARES[2:].astype(dtype), SHARES[:2].astype(dtype)
    y = shares * shares.dtype.type(scale)
    cosine = ((shares * t).sum(axis=1) / np.sqrt((shares**2).sum(axis=1) * (t**2).sum(axis=1))).mean()
    wanted = cosine if scale > 1e-7 else 0  # a norm below 1e-7 counts as 1e-7
    loss = losses.CosineSimilarity()
    model = fastnn.Sequential([fastnn.Input((3,), dtype=dtype), layers.Rescaling(1.0)])
    model.compile("sgd", loss, metrics=["cosine_similarity"])
    found = [-loss(t, y), fastnn.metrics.CosineSimilarity()(t, y)]
    value, metric = model.evaluate(y, t, verbose=0)
    np.testing.assert_allclose([*found, -value, metric], wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e150, 1e200, 1e300])
@pytest.mark.parametrize("make", [layers.LayerNormalization, layers.RMSNormalization])
def test_rows_are_normalized_at_any_scale(make, scale):
    layer = make(epsilon=0.0)
    model = fastnn.Sequential([fastnn.Input((3,), dtype="float64"), layer])
    wide = SHARES.astype(np.longdouble)
    wide = wide - wide.mean(axis=1, keepdims=True) if make is layers.LayerNormalization else wide
    wanted = (wide / np.sqrt((wide * wide).mean(axis=1, keepdims=True))).astype(np.float64)
    np.testing.assert_allclose(model.predict(scale * SHARES), wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("regularizer", [regularizers.L2(0.01), regularizers.L1L2(0.01, 0.01)])
def test_penalties_of_large_weights_do_not_overflow_on_the_way(regularizer):
    kernel = np.full((40, 50), 1e22, np.float32)
    model = fastnn.Sequential([fastnn.Input((40,)), layers.Dense(50, kernel_regularizer=regularizer)])
    model.compile("sgd", "mse")
    model.set_weights([kernel, np.zeros(50)])
    penalty = model.evaluate(np.zeros((1, 40)), np.zeros((1, 50)), verbose=0)
    np.testing.assert_allclose(penalty, 2000 * 0.01 * 1e44, rtol=1e-5)
