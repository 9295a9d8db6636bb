"""Several heads and weights of rows, at the engine: what each head minimises is what it would alone."""

import numpy as np
import pytest

import fastnn
from fastnn import layers, losses, metrics, optimizers

ROWS, FEATURES = 50, 5
GENERATOR = np.random.default_rng(7)
X = GENERATOR.normal(size=(ROWS, FEATURES))
LABELS = GENERATOR.integers(0, 3, ROWS).astype(np.int32)
TARGETS = GENERATOR.normal(size=(ROWS, 2))
WEIGHTS = GENERATOR.uniform(0, 2, size=(ROWS, 2))


def engine_of(*heads, outputs=5, seed=0):
    model = fastnn.Sequential(
        [
            layers.Dense(7, "tanh", input_shape=(FEATURES,), dtype="float64", kernel_initializer=normal(seed)),
            layers.Dense(outputs, kernel_initializer=normal(seed + 1)),
        ]
    )
    model._engine.compile(heads)
    return model._engine


def normal(seed):
    return fastnn.initializers.HeNormal(seed)


def two_heads(**changes):
    first = losses.SparseCategoricalCrossentropy(from_logits=True).head(
        3, [metrics.get("sparse_categorical_accuracy").measure()]
    )
    second = losses.MeanSquaredError().head(2, [metrics.get("mae").measure(weighted=True)])
    return first._replace(weight=0.5, **changes), second._replace(weight=2.0, **changes)


def test_two_heads_are_the_weighted_sum_of_both():
    engine = engine_of(*two_heads())
    z = np.empty((ROWS, 5))
    engine.predict(X, z)
    expected = [
        losses.SparseCategoricalCrossentropy(from_logits=True)(LABELS, z[:, :3]),
        losses.MeanSquaredError()(TARGETS, z[:, 3:]),
    ]
    for sums in (engine.evaluate(X, (TARGETS, LABELS)), engine.batch_gradient(X, (TARGETS, LABELS))):
        # Float64 sums of a hundred terms in another order.
        np.testing.assert_allclose(sums[1:3] / ROWS, expected, rtol=1e-12)
        np.testing.assert_allclose(sums[0] / ROWS, 0.5 * expected[0] + 2 * expected[1], rtol=1e-12)
        accuracy, error = (sums[state] for state in engine.states)
        np.testing.assert_allclose(accuracy, [(z[:, :3].argmax(axis=1) == LABELS).sum(), ROWS])
        np.testing.assert_allclose(error, [np.abs(z[:, 3:] - TARGETS).mean(axis=1).sum(), ROWS], rtol=1e-12)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("shape", ["rows", "heads"])
def test_the_gradient_of_weighted_heads_is_that_of_their_loss(reduction, shape):
    engine = engine_of(*two_heads(reduction=reduction))
    weights = WEIGHTS if shape == "heads" else WEIGHTS[:, 0].copy()
    y = (TARGETS, LABELS)
    engine.batch_gradient(X, y, weights=weights)
    gradient = engine.gradients.copy()
    indices = np.random.default_rng(0).choice(len(gradient), 20, replace=False)
    for k in indices:
        ends = []
        for step in (1e-6, -2e-6):
            engine.parameters[k] += step
            ends.append(engine.evaluate(X, y, weights=weights)[0] / ROWS)
        engine.parameters[k] += 1e-6
        # A central difference with step h errs by h^2 of the third derivative, and by 1e-16 / h of the loss.
        assert abs((ends[0] - ends[1]) / 2e-6 - gradient[k]) < 1e-7 * max(1, abs(ends[0]))


@pytest.mark.parametrize(
    ("reduction", "divisor"),
    [("sum_over_batch_size", ROWS), ("sum", 1), ("mean_with_sample_weight", WEIGHTS[:, 0].sum())],
)
def test_weights_and_reduction(reduction, divisor):
    head = losses.MeanSquaredError().head(2, [metrics.get("mae").measure(weighted) for weighted in (False, True)])
    engine = engine_of(head._replace(reduction=reduction), outputs=2)
    z = np.empty((ROWS, 2))
    engine.predict(X, z)
    w = WEIGHTS[:, 0].copy()
    rows = np.square(z - TARGETS).mean(axis=1)
    sums = engine.evaluate(X, TARGETS, weights=w)
    np.testing.assert_allclose(sums[0] / ROWS, (w * rows).sum() / divisor, rtol=1e-12)
    absolute = np.abs(z - TARGETS).mean(axis=1)
    np.testing.assert_allclose(sums[engine.states[0]], [absolute.sum(), ROWS], rtol=1e-12)
    np.testing.assert_allclose(sums[engine.states[1]], [(w * absolute).sum(), w.sum()], rtol=1e-12)
    np.testing.assert_allclose(engine.batch_gradient(X, TARGETS, weights=w), sums, rtol=1e-12)


def test_a_weight_of_two_is_the_row_twice():
    head = losses.MeanSquaredError().head(2)
    weights = np.ones(ROWS)
    weights[:3] = 2
    engine = engine_of(head, outputs=2)
    engine.batch_gradient(X, TARGETS, weights=weights)
    weighted = engine.gradients.copy()
    order = np.r_[np.arange(ROWS), :3]
    engine.batch_gradient(X[order], TARGETS[order])
    np.testing.assert_allclose(engine.gradients * len(order) / ROWS, weighted, rtol=1e-10, atol=1e-15)


def test_rows_of_weights_follow_the_order_of_rows():
    head = losses.MeanSquaredError().head(2)
    order = np.random.default_rng(1).permutation(ROWS)
    rate = optimizers.SGD(0.1).hyperparameters()
    plain, shuffled = engine_of(head, outputs=2), engine_of(head, outputs=2)
    w = WEIGHTS[:, 0].copy()
    plain.train(X[order], TARGETS[order], None, 8, rate, weights=w[order])
    shuffled.train(X, TARGETS, order, 8, rate, weights=w)
    np.testing.assert_array_equal(plain.parameters, shuffled.parameters)


def test_bad_arrays_are_named():
    engine = engine_of(*two_heads())
    with pytest.raises(ValueError, match=r"heads must take the 5 columns of the output, got \[3\]"):
        engine.compile(two_heads()[:1])
    with pytest.raises(ValueError, match="takes 1 target columns for 5 outputs"):
        engine.compile([losses.Quantile([0.1] * 5).head(5, [metrics.get("mae").measure()])])
    with pytest.raises(TypeError, match=r"y must be a pair \(targets, labels\)"):
        engine.evaluate(X, TARGETS)
    with pytest.raises(ValueError, match="the same number of rows, got 50 and 49"):
        engine.evaluate(X, (TARGETS, LABELS[1:]))
    with pytest.raises(ValueError, match=r"weights must have shape \(50,\) or \(50, 2\), got \(50, 3\)"):
        engine.evaluate(X, (TARGETS, LABELS), weights=np.ones((50, 3)))


@pytest.mark.parametrize("argument", ["metrics", "weighted_metrics"])
def test_a_dict_of_metrics_may_hold_single_ones(argument):
    heads = fastnn.Sequential(
        [layers.Dense(4, input_shape=(4,)), layers.Heads({"a": [layers.Dense(1)], "b": [layers.Dense(1, "sigmoid")]})]
    )
    heads.compile("sgd", {"a": "mse", "b": "binary_crossentropy"}, **{argument: {"b": "accuracy"}})
    assert heads.metrics_names == ["loss", "a_loss", "b_loss", "b_accuracy"]
    single = fastnn.Sequential([layers.Dense(1, "sigmoid", input_shape=(4,))])
    single.compile("sgd", {"output": "binary_crossentropy"}, **{argument: {"output": "accuracy"}})
    assert single.metrics_names == ["loss", "accuracy"]
    with pytest.raises(ValueError, match=rf"^{argument} must hold one entry for the model's one output, got 2: "):
        single.compile("sgd", "mse", **{argument: {"a": "mae", "b": "mae"}})
