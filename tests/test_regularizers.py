"""Penalties and constraints: their formulas, their gradients, and what they do in training."""

import numpy as np
import pytest
from bits import same_on_any_threads

import fastnn
from fastnn import constraints, layers, regularizers

PENALTIES = {
    "l1": (regularizers.L1(0.03), lambda w: 0.03 * np.abs(w).sum()),
    "l2": (regularizers.L2(0.02), lambda w: 0.02 * (w * w).sum()),
    "l1_l2": (regularizers.L1L2(0.01, 0.04), lambda w: 0.01 * np.abs(w).sum() + 0.04 * (w * w).sum()),
}


def norm_rule(low, high, rate, axis):
    def apply(w):
        norm = np.sqrt((w * w).sum(axis=axis, keepdims=True))
        return w * (rate * np.clip(norm, low, high) + (1 - rate) * norm) / (1e-7 + norm)

    return apply


# Arguments that have the axes of a kernel; a bias has one axis.
CONSTRAINTS = {
    "max": (lambda axis: constraints.MaxNorm(0.7, axis), lambda axis: norm_rule(0, 0.7, 1, axis)),
    "unit": (constraints.UnitNorm, lambda axis: norm_rule(1, 1, 1, axis)),
    "min_max": (
        lambda axis: constraints.MinMaxNorm(0.5, 0.8, 0.4, axis),
        lambda axis: norm_rule(0.5, 0.8, 0.4, axis),
    ),
    "non_negative": (lambda axis: constraints.NonNeg(), lambda axis: lambda w: np.maximum(w, 0)),
}


def trained(widths, dtype="float64", optimizer="sgd", batch=None, **arguments):
    """Return a model of two layers, the second with the arguments; where there is a batch size, it was fitted."""
    generator = np.random.default_rng(widths)
    x, y = generator.normal(size=(40, widths[0])).astype(dtype), generator.normal(size=(40, widths[2])).astype(dtype)
    model = fastnn.Sequential(
        [
            fastnn.Input((widths[0],), dtype=dtype),
            layers.Dense(widths[1], "tanh"),
            layers.Dense(widths[2], **arguments),
        ]
    )
    for view in model.weights:
        view[...] = generator.normal(size=view.shape)
    model.compile(optimizer, "mse")
    model._seed = 0
    if batch:
        model.fit(x, y, batch_size=batch, epochs=2, verbose=0)
    return model, x, y


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_are_their_formulas(name):
    penalty, formula = PENALTIES[name]
    w = np.random.default_rng(0).normal(size=(13, 7))
    assert penalty(w) == pytest.approx(formula(w), rel=1e-13)
    again = regularizers.get(regularizers.serialize(penalty))
    assert again.get_config() == penalty.get_config()
    assert regularizers.get(name)(w) > 0 or name == "l1_l2"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("widths", [(3, 5, 2), (20, 77, 131), (4, 700, 800)])
@pytest.mark.parametrize("name", PENALTIES)
def test_the_loss_holds_the_penalty(name, widths, dtype):
    penalty, formula = PENALTIES[name]
    given = {"kernel_regularizer": penalty, "bias_regularizer": penalty}
    model, x, y = trained(widths, dtype, **given)
    plain, _, _ = trained(widths, dtype)
    kernel, bias = (w.astype(np.float64) for w in model.get_weights()[2:])
    expected = plain.evaluate(x, y, verbose=0) + formula(kernel) + formula(bias)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=tolerance)
    assert model.train_on_batch(x, y) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("name", PENALTIES)
def test_gradients_with_penalties_by_central_differences(name):
    penalty, _ = PENALTIES[name]
    model, x, y = trained((3, 9, 4), kernel_regularizer=penalty, bias_regularizer=penalty)
    engine, _, _ = model._ready("test")
    engine.batch_gradient(x, y)
    analytic = [g.copy() for g in model.gradients]
    for view, gradient in zip(model.weights, analytic, strict=True):
        for index in np.ndindex(*view.shape):
            old, h = view[index], 1e-6
            view[index] = old + h
            above = model.evaluate(x, y, verbose=0)
            view[index] = old - h
            below = model.evaluate(x, y, verbose=0)
            view[index] = old
            # The error of central differences is of h², and the rounding of the loss divided by h.
            assert gradient[index] == pytest.approx((above - below) / (2 * h), rel=1e-5, abs=1e-7)


def test_every_layer_with_parameters_takes_penalties_and_constraints(tmp_path):
    l2, non_negative = regularizers.L2(0.1), constraints.NonNeg()
    model = fastnn.Sequential(
        [
            fastnn.Input((2,)),
            layers.Embedding(5, 3, embeddings_regularizer=l2, embeddings_constraint=non_negative),
            layers.BatchNormalization(gamma_regularizer=l2, beta_regularizer=l2, gamma_constraint=non_negative),
            layers.LayerNormalization(gamma_regularizer=l2, beta_regularizer=l2, beta_constraint=non_negative),
            layers.Residual([layers.Dense(6, kernel_regularizer="l2", bias_constraint="non_neg")]),
            layers.PReLU(alpha_regularizer=l2, alpha_constraint=non_negative),
        ]
    )
    for view in model.trainable_weights:
        view[...] = np.random.default_rng(view.size).normal(size=view.shape)
    x, y = np.array([[0, 1], [2, 4], [3, 3], [1, 0]]), np.zeros((4, 6), np.float32)
    model.compile("sgd", "mse")
    model.save(tmp_path / "model.fastnn")
    assert fastnn.load_model(tmp_path / "model.fastnn").get_config() == model.get_config()
    dense = model.layers[4].layers[0]
    held = {f"{layer}/{name}": view for (layer, name), view in model._home.views.items()}
    expected = 0.01 * np.square(dense.kernel).sum()
    for name in ("embedding/embeddings", "batch_normalization/gamma", "batch_normalization/beta",
                 "layer_normalization/gamma", "layer_normalization/beta", "p_re_lu/alpha"):  # fmt: skip
        expected += 0.1 * np.square(held[name]).sum()
    with_penalties = model.evaluate(x, y, verbose=0)
    for layer in (*model.layers, dense):
        for argument in layer._penalties:
            if argument.endswith("regularizer"):
                setattr(layer, argument, None)
    model.compile("sgd", "mse")
    assert with_penalties - model.evaluate(x, y, verbose=0) == pytest.approx(float(expected), rel=1e-5)
    model.train_on_batch(x, y)
    for name in ("embedding/embeddings", "batch_normalization/gamma", "layer_normalization/beta", "p_re_lu/alpha"):
        assert held[name].min() >= 0
    assert dense.bias.min() >= 0


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 1)], ids=str)
@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraints_are_their_formulas(name, axis):
    constraint, formula = CONSTRAINTS[name][0](axis), CONSTRAINTS[name][1](axis)
    w = np.random.default_rng(1).normal(size=(13, 7))
    np.testing.assert_allclose(constraint(w), formula(w), rtol=1e-13)
    again = constraints.get(constraints.serialize(constraint))
    assert again.get_config() == constraint.get_config()


@pytest.mark.parametrize("shared", [{}, {"global_clipnorm": 0.5}], ids=["fused", "stored"])
@pytest.mark.parametrize("widths", [(3, 5, 2), (20, 77, 131), (4, 700, 800)])
@pytest.mark.parametrize("axis", [0, 1, (0, 1)], ids=str)
@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraints_follow_each_step(name, axis, widths, shared):
    bias_axis = 0
    given = {
        "kernel_constraint": CONSTRAINTS[name][0](axis),
        "bias_constraint": CONSTRAINTS[name][0](bias_axis),
    }
    bound, x, y = trained(widths, optimizer=fastnn.optimizers.SGD(0.1, **shared), **given)
    free, _, _ = trained(widths, optimizer=fastnn.optimizers.SGD(0.1, **shared))
    for _ in range(2):
        bound.train_on_batch(x, y)
        free.train_on_batch(x, y)
        kernel, bias = free.weights[2:]
        kernel[...], bias[...] = CONSTRAINTS[name][1](axis)(kernel), CONSTRAINTS[name][1](bias_axis)(bias)
        for a, b in zip(bound.get_weights(), free.get_weights(), strict=True):
            # Squares are summed in another order.
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
def test_bits_do_not_depend_on_threads():
    given = {
        "kernel_regularizer": regularizers.L1L2(0.01, 0.02),
        "kernel_constraint": constraints.MaxNorm(1.5),
        "bias_constraint": "non_neg",
    }

    def run():
        model, _x, _y = trained((30, 190, 170), "float32", fastnn.optimizers.Adam(clipnorm=0.1), batch=10, **given)
        return [*model.get_weights(), model.history.history["loss"]]

    same_on_any_threads(run)


def test_layers_that_are_not_trained_are_left_alone():
    optimizer = fastnn.optimizers.Adam(weight_decay=0.1, use_ema=True, ema_overwrite_frequency=1)
    model, x, y = trained((3, 5, 2), optimizer=optimizer, kernel_constraint="unit_norm", kernel_regularizer="l2")
    model.layers[2].trainable = False
    model.compile(optimizer, "mse")
    before = model.get_weights()
    plain, _, _ = trained((3, 5, 2))
    assert model.evaluate(x, y, verbose=0) == plain.evaluate(x, y, verbose=0)  # evaluate adds no penalty, as in Keras
    model.fit(x, y, epochs=2, verbose=0)
    optimizer.finalize_variable_values()
    for k in (2, 3):
        np.testing.assert_array_equal(model.get_weights()[k], before[k])
    assert not np.array_equal(model.get_weights()[0], before[0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: regularizers.L2(-1), ValueError, "l2 must be at least 0, got -1"),
        (lambda: layers.Dense(2, kernel_regularizer="l3"), ValueError, "kernel_regularizer 'l3' is unknown"),
        (lambda: layers.Dense(2, kernel_regularizer=lambda w: 0), TypeError, "kernel_regularizer must be the name"),
        (lambda: constraints.MinMaxNorm(2, 1), ValueError, "min_value must be at most max_value"),
        (lambda: constraints.MaxNorm(axis="rows"), TypeError, "axis must be an integer or several"),
        (lambda: trained((3, 4, 2), batch=8, bias_constraint=constraints.MaxNorm(axis=1)), ValueError, "with 1 axis"),
    ],
)
def test_bad_arguments_get_one_sentence(call, error, message):
    with pytest.raises(error, match=message):
        call()
