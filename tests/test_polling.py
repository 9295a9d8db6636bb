"""Every call that takes long lets Python look at signals on its way, after each piece of its work.

No test here reads a clock: the engine looks in after every piece where the seconds between two looks are set to 0, and
counts its looks; their least number follows from the work of a call and from the work of a piece.
"""

import signal
import sys
import threading
import time

import numpy as np
import pytest

import fastnn
from fastnn import _draws, _engine, initializers, layers, predictor
from fastnn._engine import all_finite

pytestmark = pytest.mark.thread_unsafe(reason="signals, which the main thread gets, and how often it looks at them")


@pytest.fixture
def looks():
    """Return a function that says how often Python has looked into runs so far: after each piece of their work."""
    modules = (_engine, predictor)
    seconds = [module._polling(0)[0] for module in modules]
    yield lambda: sum(module._polling()[1] for module in modules)
    for module, before in zip(modules, seconds, strict=True):
        module._polling(before)


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


def vjp(model, count):
    predictor = model.freeze()
    u = np.ones((count, predictor.outputs), np.float32)
    return lambda: predictor.vjp(rows(count), u)


def jacobian(model, count):
    predictor = model.freeze()
    return lambda: predictor.jacobian(rows(count))


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


# Rows and width for which a step of fit waits with its update until all gradients are there.
WAITS, WIDE = 4096, 1100
# The work between two looks at most, in multiply-adds, or in numbers that are looked at.
SMALL = 2**22  # some milliseconds on a slow core
LARGE = 2**29  # a piece of rows of a large layer, a tenth of a second


def work(model, count):
    """Return the multiply-adds of a forward pass."""
    return count * sum(weight.size for weight in model.get_weights() if weight.ndim == 2)


def of_rows(prepare, model, count, piece, passes=1):
    return prepare(model, count), passes * work(model, count) / piece


# Each entry makes a call, and says into how many pieces its work is cut at least.
CALLS = {
    "predict, large": lambda: of_rows(predict, network(1024), 2000, LARGE),
    "predict, small": lambda: of_rows(predict, network(64), 10_000, SMALL),
    "Predictor, large": lambda: of_rows(freeze, network(1024), 2000, LARGE),
    "Predictor, on the stack": lambda: of_rows(freeze, network(64), 10_000, SMALL),
    "Predictor, a graph": lambda: of_rows(freeze, residual(64), 10_000, SMALL),
    "vjp, large": lambda: of_rows(vjp, network(1024), 1000, LARGE, 2),
    "vjp, small": lambda: of_rows(vjp, network(64), 10_000, SMALL, 2),
    "jacobian": lambda: of_rows(jacobian, residual(64), 10_000, SMALL, 2),
    "forward, large": lambda: of_rows(forward, network(1024), 2000, LARGE),
    "forward, small": lambda: of_rows(forward, network(64, 1), 10_000, SMALL),
    "backward, large": lambda: of_rows(backward, network(1024), 1000, LARGE, 2),
    "backward, small": lambda: of_rows(backward, network(64, 1), 10_000, SMALL, 2),
    "a step, large": lambda: of_rows(fit, network(1024), 700, LARGE, 3),
    "a step whose gradients wait": lambda: of_rows(fit, network(WIDE), WAITS, LARGE, 3),
    "a step, small": lambda: of_rows(fit, network(64, 1), 10_000, SMALL, 3),
    "evaluate, large": lambda: of_rows(evaluate, network(1024), 2000, LARGE),
    "evaluate, small": lambda: of_rows(evaluate, network(64), 10_000, SMALL),
    "a penalty of cosines": lambda: (
        evaluate(network(4000, 1, kernel_regularizer=fastnn.regularizers.OrthogonalRegularizer(0.01, "columns")), 10),
        4000 / 48,  # blocks of 48 columns, each compared with all columns
    ),
    "a look for NaN": lambda: (lambda: all_finite(rows(2**16, 256)), 2**24 / SMALL),
}


@pytest.mark.parametrize("prepare", CALLS.values(), ids=CALLS)
def test_a_long_call_looks_at_signals_after_each_piece_of_its_work(prepare, looks):
    with fastnn.num_threads(1):
        call, pieces = prepare()
        before = looks()
        call()
    assert looks() - before >= pieces > 3


@pytest.mark.parametrize("prepare", CALLS.values(), ids=CALLS)
def test_a_long_call_on_two_threads_looks_at_signals(prepare, looks):
    """Only the calling thread looks, and the threads decide how many pieces it gets."""
    with fastnn.num_threads(2):
        call, pieces = prepare()
        before, calls = looks(), 0
        while looks() - before < pieces and calls < 50:
            call()
            calls += 1
    assert looks() - before >= pieces


def events(call):
    """Return how often Python calls a function during a call: between functions it looks at signals."""
    seen = []
    sys.setprofile(lambda frame, event, argument: seen.append(event))
    try:
        call()
    finally:
        sys.setprofile(None)
    return len(seen)


def adapt(layer):
    return lambda pieces: layer.adapt(np.random.default_rng(0).random((pieces, 2**20)).reshape(-1, 4))


def draw(name):
    return lambda pieces: initializers.get(name)((64 * pieces, 64 * pieces), "float32")


IN_PYTHON = {
    **{name: draw(name) for name in ("glorot_uniform", "glorot_normal", "random_normal", "orthogonal")},
    "adapt of Discretization": pytest.param(adapt(layers.Discretization(num_bins=9)), marks=pytest.mark.slow),
    "adapt of Normalization": adapt(layers.Normalization()),
    "adapt of Impute": adapt(layers.Impute()),
}


@pytest.mark.parametrize("call", IN_PYTHON.values(), ids=IN_PYTHON)
def test_what_takes_long_in_python_goes_piece_by_piece(call, monkeypatch):
    monkeypatch.setattr(_draws, "PIECE", 64 * 64)
    one, three = (events(lambda pieces=pieces: call(pieces)) for pieces in (1, 3))
    assert three - one >= 2


@pytest.fixture
def interrupt_at_look(ctrl_c, looks):
    """Return a function interrupt(count): Ctrl-C comes once Python has looked into runs `count` more times."""
    interrupters = []

    def interrupt(count):
        last = looks() + count

        def wait():
            while looks() < last:
                time.sleep(0.001)
            signal.raise_signal(ctrl_c)

        interrupters.append(threading.Thread(target=wait, daemon=True))
        interrupters[-1].start()

    yield interrupt
    for thread in interrupters:
        thread.join(60)


def test_rows_of_no_width_in_memory_do_not_run_for_ever(interrupt_at_look):
    endless = np.broadcast_to(np.ones(4, np.float32), (2**40, 4))
    interrupt_at_look(1)
    with pytest.raises(KeyboardInterrupt):
        all_finite(endless)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 300])
def test_a_long_step_that_is_interrupted_leaves_whole_steps(count, interrupt_at_look):
    """In the first step and in a later one, no weight changes before the last gradient is there."""
    x, y = np.random.default_rng(0).random((WAITS, 64), np.float32), np.ones((WAITS, 1), np.float32)
    model, other = network(WIDE), network(WIDE)
    other.set_weights(model.get_weights())
    interrupt_at_look(count)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=WAITS, epochs=1000, shuffle=False, verbose=0)
    if model._engine.iterations:
        other.fit(x, y, batch_size=WAITS, epochs=model._engine.iterations, shuffle=False, verbose=0)
    for found, weight in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(found, weight)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "nadam", "lion"])
def test_a_step_whose_gradients_wait_has_the_bits_of_one_whose_do_not(optimizer):
    """A step of fit whose gradients are kept, beside forward, backward and apply_gradients.

    The number of rows is a power of two, so that the gradient of the loss is the same however it is divided by them.
    """
    fastnn.utils.set_random_seed(0)
    x, y = np.random.default_rng(0).random((WAITS, 64), np.float32), np.ones((WAITS, 1), np.float32)
    kept, plain = network(WIDE), network(WIDE)
    plain.set_weights(kept.get_weights())
    for model in (kept, plain):
        model.compile(optimizer, "mse")
    kept.fit(x, y, batch_size=WAITS, epochs=1, shuffle=False, verbose=0)
    plain.backward(2 * (plain.forward(x, training=True) - y) / np.float32(WAITS))
    plain.apply_gradients()
    for left, right in zip(kept.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
