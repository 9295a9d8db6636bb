"""Variances of numbers that are large beside their differences keep their digits, wherever one is computed."""

import numpy as np
import pytest
from bits import same_on_any_threads

import fastnn
from fastnn import layers, metrics

OFFSETS = [("float32", 1e4), ("float64", 1e9)]
ROWS = 1000


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape)


def wide_r2(t, y, weights=None):
    t, y = (np.asarray(a, np.longdouble) for a in (t, y))
    w = np.ones(len(t), np.longdouble) if weights is None else weights.astype(np.longdouble)
    mean = (w @ t) / w.sum()
    return (1 - (w @ (t - y) ** 2) / (w @ (t - mean) ** 2)).astype(float)


def identity(dtype, columns=2, **compiled):
    model = fastnn.Sequential([fastnn.Input((columns,), dtype=dtype), layers.Rescaling(1.0)])
    model.compile("sgd", "mse", **compiled)
    return model


# ---- metrics ----


@pytest.mark.parametrize(("dtype", "offset"), OFFSETS)
@pytest.mark.parametrize("weighted", [False, True])
def test_r2_of_targets_far_from_zero(dtype, offset, weighted):
    t = (offset + noise(ROWS, 2)).astype(dtype)
    y = (t + 0.1 * noise(ROWS, 2)[::-1]).astype(dtype)
    weights = np.random.default_rng(1).random(ROWS).astype(dtype) if weighted else None
    wanted = wide_r2(t, y, weights)
    alone, parts = metrics.R2Score(None), metrics.R2Score(None)
    alone.update_state(t, y, weights)
    for some in np.array_split(np.arange(ROWS), 7):
        parts.update_state(t[some], y[some], None if weights is None else weights[some])
    metric = {"weighted_metrics" if weighted else "metrics": [metrics.R2Score(None)]}
    model = identity(dtype, **metric)
    _, whole = model.evaluate(y, t, sample_weight=weights, batch_size=ROWS, verbose=0)
    batches = [tuple(a[k : k + 130] for a in (y, t, weights) if a is not None) for k in range(0, ROWS, 130)]
    _, streamed = model.evaluate(iter(batches), verbose=0)
    for found in (alone.result(), parts.result(), whole, streamed):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
def test_r2_has_the_same_bits_on_any_threads():
    t = 1e9 + noise(5000, 3)
    model = identity("float64", 3, metrics=["r2_score"])
    same_on_any_threads(lambda: model.evaluate(t + 0.1, t, verbose=0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("aggregation", ["uniform_average", "variance_weighted_average"])
def test_r2_of_a_constant_is_one_if_it_is_met_and_else_zero(dtype, aggregation):
    for value in (0.3, 100.7, 1.7e9):
        t = np.full((10, 2), value, dtype)
        metric = metrics.R2Score(aggregation)
        assert metric(t, t) == 1
        metric.reset_state()
        assert metric(t, t + np.asarray(200, dtype)) == 0
        model = identity(dtype, metrics=[metrics.R2Score(aggregation)])
        assert model.evaluate(t, t, verbose=0)[1] == 1
        assert model.evaluate(t + np.asarray(200, dtype), t, verbose=0)[1] == 0


def test_r2_of_rows_without_weight_counts_the_others():
    t, y = 1e9 + noise(20, 1), 1e9 + noise(20, 1)[::-1]
    weights = np.arange(20) % 2.0
    weights[:3] = 0
    model = identity("float64", 1, weighted_metrics=["r2_score"])
    found = model.evaluate(y, t, sample_weight=weights, verbose=0)[1]
    np.testing.assert_allclose(found, wide_r2(t, y, weights)[0], rtol=1e-12)


@pytest.mark.parametrize(("dtype", "offset"), OFFSETS)
@pytest.mark.parametrize("name", ["mse", "rmse", "mae", "logcosh"])
def test_errors_of_large_numbers_are_those_of_their_difference(name, dtype, offset):
    t = (offset + noise(ROWS, 2)).astype(dtype)
    y = (t + 0.1 * noise(ROWS, 2)[::-1]).astype(dtype)
    apart = y.astype(float) - t.astype(float)
    formulas = {"mse": apart**2, "rmse": apart**2, "mae": abs(apart), "logcosh": np.log(np.cosh(apart))}
    wanted = formulas[name].mean() ** (0.5 if name == "rmse" else 1)
    model = identity(dtype, metrics=[name])
    np.testing.assert_allclose(model.evaluate(y, t, verbose=0)[1], wanted, rtol=1e-9)


@pytest.mark.parametrize(("dtype", "offset"), OFFSETS)
@pytest.mark.parametrize("shape", [(ROWS, 1), (ROWS, 5)])
def test_logits_far_from_zero_have_the_loss_of_their_differences(dtype, offset, shape):
    logits = (offset + noise(ROWS, 5)).astype(dtype)
    labels = np.arange(ROWS) % 5
    model = fastnn.Sequential([fastnn.Input((5,), dtype=dtype), layers.Rescaling(1.0)])
    model.compile("sgd", fastnn.losses.SparseCategoricalCrossentropy(from_logits=True))
    wide = logits.astype(np.longdouble) - logits.max(axis=1, keepdims=True)
    wanted = (np.log(np.exp(wide).sum(axis=1)) - wide[np.arange(ROWS), labels]).mean()
    np.testing.assert_allclose(model.evaluate(logits, labels, verbose=0), float(wanted), rtol=1e-6)


# ---- adapt ----


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e9])
def test_adapt_finds_the_variance_of_any_columns(offset):
    x = offset + noise(ROWS, 3)
    layer = layers.Normalization()
    layer.adapt(x)
    model = fastnn.Sequential([fastnn.Input((3,), dtype="float64"), layer])
    wide = x.astype(np.longdouble)
    wanted = (wide - wide.mean(axis=0)) / wide.std(axis=0)
    np.testing.assert_allclose(model.predict(x), wanted.astype(float), rtol=1e-9, atol=3e-7)


@pytest.mark.parametrize("rows", [1, 3, ROWS])
@pytest.mark.parametrize("value", [0.1, 1e4 + 0.1, 1.7e9 + 0.1, -1e-30])
def test_a_constant_column_becomes_zero_and_changes_of_it_are_passed_on(rows, value):
    for dtype in ("float32", "float64"):
        x = np.full((rows, 1), value, dtype)
        layer = layers.Normalization(dtype=dtype)
        layer.adapt(x)
        assert layer.variance in (None, 0)
        inverse = layers.Normalization(mean=x[0], variance=[0.0], invert=True)
        model = fastnn.Sequential([fastnn.Input((1,), dtype=dtype), layer])
        there = np.concatenate([x[:1], x[:1] + np.asarray(1, dtype)])
        passed = there - x[0]
        np.testing.assert_array_equal(model.predict(there), passed)
        back = fastnn.Sequential([fastnn.Input((1,), dtype=dtype), inverse])
        np.testing.assert_array_equal(back.predict(passed), passed + x[0])


def test_a_column_that_spreads_too_far_is_named():
    with pytest.raises(ValueError, match="scale column 1 down"):
        layers.Normalization().adapt([[1.0, 1e300], [2.0, -1e300]])


# ---- batch and row statistics ----


def normalized(x, axis, epsilon=1e-3):
    wide = x.astype(np.longdouble)
    wide = wide - wide.mean(axis=axis, keepdims=True)
    return (wide / np.sqrt((wide * wide).mean(axis=axis, keepdims=True) + epsilon)).astype(np.float64)


@pytest.mark.parametrize(("dtype", "offset"), OFFSETS)
@pytest.mark.parametrize("make", [layers.BatchNormalization, layers.LayerNormalization])
def test_statistics_of_batches_and_rows_far_from_zero(make, dtype, offset):
    x = (offset + noise(300, 70)).astype(dtype)
    layer = make(**({"momentum": 0.0} if make is layers.BatchNormalization else {}))
    model = fastnn.Sequential([fastnn.Input((70,), dtype=dtype), layer])
    model.compile("sgd", "mse")
    found = model.forward(x, training=True)
    # The mean is rounded to the type: its error moves a whole column or row.
    step = np.spacing(np.asarray(offset, dtype))
    np.testing.assert_allclose(found, normalized(x, 0 if make is layers.BatchNormalization else 1), atol=float(step))
    if make is layers.BatchNormalization:
        wide = x.astype(np.longdouble)
        np.testing.assert_allclose(layer.weights[2], wide.mean(axis=0).astype(float), atol=float(step))
        np.testing.assert_allclose(layer.weights[3], wide.var(axis=0).astype(float), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", [layers.BatchNormalization, layers.LayerNormalization])
@pytest.mark.parametrize("value", [0.1, 1e4 + 0.1, 1.7e9 + 0.1])
def test_equal_numbers_have_variance_zero(make, dtype, value):
    model = fastnn.Sequential([fastnn.Input((33,), dtype=dtype), make()])
    model.compile("sgd", "mse")
    assert not model.forward(np.full((77, 33), value, dtype), training=True).any()
