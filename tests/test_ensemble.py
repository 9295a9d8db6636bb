"""Members of an ensemble train as they would alone."""

import signal
import threading
import time

import numpy as np
import pytest

import fastnn
from fastnn import layers


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


@pytest.mark.slow
@pytest.mark.thread_unsafe(reason="sends this process a signal")
def test_ctrl_c_ends_it_soon():
    x, y = table(200_000)
    ensemble = fastnn.Ensemble(members(8))
    ensemble.fit(x[:100], y[:100], verbose=0)
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        ensemble.fit(x, y, batch_size=1, epochs=50, verbose=0)
    assert time.perf_counter() - started < 2
    assert np.isfinite(ensemble.predict(x[:10])).all()
