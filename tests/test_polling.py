"""Every call that takes long lets Python look at signals on its way: signals that keep coming are counted.

A signal's handler runs in Python between two of its instructions, or when code in C asks for it. So a call during which
a handler runs several times asks, again and again.
"""

import signal
import threading

import numpy as np
import pytest

import fastnn
from fastnn import layers
from fastnn._engine import all_finite

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signals that a timer sends"),
    pytest.mark.thread_unsafe(reason="signals, which the main thread gets"),
]


@pytest.fixture
def looks():
    """Signals that are handled, a list that grows; one is sent every few milliseconds."""
    seen = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    yield seen
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def network(width, depth=2, inputs=64, **settings):
    stack = [layers.Dense(width, "relu", **settings) for _ in range(depth)]
    model = fastnn.Sequential([fastnn.Input((inputs,)), *stack, layers.Dense(1)])
    model.compile("adam", "mse")
    return model


def rows(count, inputs=64):
    return np.broadcast_to(np.linspace(0, 1, inputs, dtype=np.float32), (count, inputs))


def predict(model, count):
    return lambda: model.predict(rows(count), verbose=0)


def freeze(model, count):
    predictor = model.freeze()
    return lambda: predictor(rows(count))


def forward(model, count):
    return lambda: model.forward(rows(count))


def backward(model, count):
    output = model.forward(rows(count))
    return lambda: model.backward(np.ones_like(output))


def fit(model, count):
    return lambda: model.fit(rows(count), np.ones((count, 1)), batch_size=count, epochs=1, verbose=0)


def evaluate(model, count):
    return lambda: model.evaluate(rows(count), np.ones(count), verbose=0)


def residual(width):
    block = layers.Residual([layers.Dense(width, "relu")])
    return fastnn.Sequential([fastnn.Input((64,)), layers.Dense(width, "relu"), block, layers.Dense(1)])


CALLS = {
    "predict, large": lambda: predict(network(1024), 16_000),
    "predict, small": lambda: predict(network(64), 1_000_000),
    "Predictor, large": lambda: freeze(network(1024), 16_000),
    "Predictor, on the stack": lambda: freeze(network(64), 1_000_000),
    "Predictor, a graph": lambda: freeze(residual(64), 1_000_000),
    "forward, large": lambda: forward(network(1024), 12_000),
    "forward, small": lambda: forward(network(64, 1), 300_000),
    "backward": lambda: backward(network(1024), 6_000),
    "a step, large": lambda: fit(network(1024), 6_000),
    "a step, small": lambda: fit(network(64, 1), 300_000),
    "evaluate": lambda: evaluate(network(64), 1_000_000),
    "a penalty of cosines": lambda: evaluate(
        network(20_000, 1, kernel_regularizer=fastnn.regularizers.OrthogonalRegularizer(0.01, "columns")), 10
    ),
    "a look for NaN": lambda: lambda: all_finite(rows(2**22, 256)),
    "build": lambda: lambda: network(4000, inputs=4000).get_weights(),
    "adapt": lambda: lambda: layers.Discretization(num_bins=9).adapt(np.random.default_rng(0).random(20_000_000)),
}


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("prepare", CALLS.values(), ids=CALLS)
def test_a_long_call_looks_at_signals_again_and_again(prepare, threads, looks):
    with fastnn.num_threads(threads):
        call = prepare()
        looks.clear()
        call()
    assert len(looks) >= 3  # one would be that of the return to Python


def test_rows_of_no_width_in_memory_do_not_run_for_ever(ctrl_c):
    endless = np.broadcast_to(np.ones(4, np.float32), (2**40, 4))
    timer = threading.Timer(0.05, signal.raise_signal, [ctrl_c])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        all_finite(endless)
    timer.join()


@pytest.mark.slow
def test_a_long_step_that_is_interrupted_leaves_whole_steps(ctrl_c):
    """Of such a step no weight changes before the last gradient is there."""
    count = 2500
    x, y = np.random.default_rng(0).random((count, 64), np.float32), np.ones((count, 1), np.float32)
    model, other = network(1400), network(1400)
    other.set_weights(model.get_weights())
    timer = threading.Timer(0.1, signal.raise_signal, [ctrl_c])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=count, epochs=1000, shuffle=False, verbose=0)
    timer.join()
    if model._engine.iterations:
        other.fit(x, y, batch_size=count, epochs=model._engine.iterations, shuffle=False, verbose=0)
    for found, weight in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(found, weight)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "nadam", "lion"])
def test_a_step_whose_gradients_wait_is_the_step_of_one_whose_do_not(optimizer):
    """A step of fit whose gradients are kept, beside forward, backward and apply_gradients."""
    inner, count = 1400, 2500
    x = np.random.default_rng(0).random((count, 64), np.float32)
    y = np.ones((count, 1), np.float32)
    stored, plain = network(inner), network(inner)
    plain.set_weights(stored.get_weights())
    for model in (stored, plain):
        model.compile(optimizer, "mse")
    stored.fit(x, y, batch_size=count, epochs=1, shuffle=False, verbose=0)
    sums = plain.forward(x, training=True)
    plain.backward((2 * (sums - y) / count).astype(np.float32))
    plain.apply_gradients()
    left, right = (np.concatenate([w.ravel() for w in model.get_weights()]) for model in (stored, plain))
    # Where a gradient is about 0, the rounding of its sum decides on a step of these optimizers.
    assert np.isclose(left, right, rtol=1e-5, atol=1e-7).mean() > 0.999
    assert abs(left - right).max() < 0.01
