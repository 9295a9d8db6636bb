"""Members of an ensemble train as they would alone."""

import signal
import threading

import numpy as np
import pytest

import fastnn
from fastnn import _engine, layers


def members(count=5, seed=3):
    fastnn.utils.set_random_seed(seed)
    models = []
    for k in range(count):
        stack = [layers.Dense(4 + k, "relu"), layers.Dense(1, "sigmoid")]
        models.append(fastnn.Sequential([fastnn.Input((6,)), *stack]))
        models[-1].compile(
            fastnn.optimizers.Adam(1e-3 * (k + 1)), "binary_crossentropy" if k % 2 else "mse", metrics=["mae"]
        )
    return models


def table(rows=203):
    x = np.random.default_rng(0).normal(size=(rows, 6)).astype("float32")
    return x, (x.sum(axis=1, keepdims=True) > 0).astype("float32")


@pytest.mark.thread_unsafe(reason="seeds and threads are the process's")
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_to_the_same_bits_as_alone(threads):
    x, y = table()
    alone, together = members(), members()
    expected = [model.fit(x, y, batch_size=16, epochs=3, verbose=0).history for model in alone]
    with fastnn.num_threads(threads):
        histories = fastnn.Ensemble(together).fit(x, y, batch_size=16, epochs=3, verbose=0)
    assert [history.history for history in histories] == expected
    for model, other in zip(alone, together, strict=True):
        for view, twin in zip(model.weights, other.weights, strict=True):
            np.testing.assert_array_equal(view, twin)
        assert model._engine.iterations == other._engine.iterations


def test_predict_and_evaluate(capsys):
    x, y = table()
    ensemble = fastnn.Ensemble(members(3))
    ensemble.fit(x, y, verbose=2)
    assert "mean loss of 3 models" in capsys.readouterr().out
    assert ensemble.predict(x).shape == (3, 203, 1)
    np.testing.assert_array_equal(ensemble.predict(x)[1], ensemble.models[1].predict(x))
    assert ensemble.evaluate(x, y)[2] == ensemble.models[2].evaluate(x, y, verbose=0)


def test_bad_arguments_change_nothing():
    x, y = table()
    with pytest.raises(ValueError, match="at least one model"):
        fastnn.Ensemble([])
    with pytest.raises(TypeError, match="Sequential models, got str"):
        fastnn.Ensemble(["adam"])
    model = members(1)[0]
    with pytest.raises(ValueError, match="different objects"):
        fastnn.Ensemble([model, model])
    unbuilt = fastnn.Sequential([layers.Dense(1)])
    unbuilt.compile("adam", "mse")
    with pytest.raises(ValueError, match="finite"):
        fastnn.Ensemble([unbuilt, model]).fit(np.full_like(x, np.nan), y, verbose=0)
    assert not unbuilt.built
    with pytest.raises(RuntimeError, match="compiled model"):
        fastnn.Ensemble([model, fastnn.Sequential([layers.Dense(1, input_shape=(6,))])]).fit(x, y, verbose=0)


@pytest.mark.parametrize("rows", [0, 1, 2, 5, 1000])
def test_an_order_of_rows_is_fisher_and_yates_with_philox(rows):
    seed, epoch = 2**63 + 11, 7
    words = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(rows).tolist()
    expected = list(range(rows))
    for word, i in zip(words, range(rows - 1, 0, -1), strict=False):
        j = word * (i + 1) >> 64
        expected[i], expected[j] = expected[j], expected[i]
    assert _engine.epoch_order(rows, seed, epoch).tolist() == expected
    assert sorted(expected) == list(range(rows))


def test_any_place_of_an_order_is_as_likely_as_any_other():
    orders = np.stack([_engine.epoch_order(5, 1, epoch) for epoch in range(20_000)])
    for place in range(5):  # 4,000 draws are expected at each place, with a standard deviation of 57
        assert np.abs(np.bincount(orders[:, place], minlength=5) - 4000).max() < 4.5 * 57


@pytest.mark.slow
@pytest.mark.thread_unsafe(reason="sends this process a signal")
# a wide one keeps its thread busy after the calling thread has finished its share
@pytest.mark.parametrize("width", [8, 600])
def test_ctrl_c_ends_it_soon(width, ctrl_c):
    x, y = table(200_000)
    wide = fastnn.Sequential([fastnn.Input((6,)), layers.Dense(width, "relu"), layers.Dense(1, "sigmoid")])
    wide.compile("adam", "mse")
    ensemble = fastnn.Ensemble([*members(7 if width == 8 else 1), wide])
    ensemble.fit(x[:100], y[:100], verbose=0)
    timer = threading.Timer(0.6, signal.raise_signal, [ctrl_c])
    timer.start()
    with fastnn.num_threads(2), pytest.raises(KeyboardInterrupt):
        ensemble.fit(x, y, batch_size=1, epochs=50, verbose=0)  # this would take minutes, if nothing stopped it
    assert wide.optimizer.iterations < 10_000_000
    assert np.isfinite(ensemble.predict(x[:10])).all()
