"""Refused memory: the n-th allocation of a call, for every n, is a MemoryError that leaves the model as it was.

Python's own allocator refuses, by a hook of its tests, so that every place where an object is made takes its turn.
"""

import pickle
import re

import numpy as np
import pytest

import fastnn
from fastnn import layers, optimizers

testcapi = pytest.importorskip("_testcapi", reason="this Python comes without its own tests' hooks")
pytestmark = pytest.mark.thread_unsafe(reason="refuses memory to the whole process")

X = np.random.default_rng(0).normal(size=(24, 6)).astype(np.float32)
Y = X[:, :2].copy()
MORE_X, MORE_Y = np.tile(X, (8, 1)), np.tile(Y, (8, 1))
SPARSE = pytest.importorskip("scipy.sparse").csr_matrix(X * (X > 0.5))


def squared(y_true, y_pred):
    error = y_pred - y_true
    return (error * error).mean(1), 2 * error / error.shape[1]


def trained(loss="mse"):
    kernels = [fastnn.initializers.GlorotUniform(seed) for seed in (1, 2)]
    model = fastnn.Sequential(
        [
            fastnn.Input((6,)),
            layers.Dense(8, "tanh", kernel_initializer=kernels[0]),
            layers.Dense(2, kernel_initializer=kernels[1]),
        ]
    )
    model._seed = 5
    model.compile(optimizers.Adam(0.01), loss, metrics=["mae"])
    model.fit(X, Y, verbose=0)
    return model


def after(*actions, loss="mse"):
    """Return a function that makes a trained model and does these actions to it."""

    def make():
        model = trained(loss)
        for action in actions:
            action(model)
        return model

    return make


def freeze_a_layer(model):
    model.layers[0].trainable = False
    model.compile(model.optimizer, "mse")


OTHER = trained()
NEW_WEIGHTS = [w + 1 for w in trained().get_weights()]
CALLS = {
    "fit": (trained, lambda m, path: m.fit(X, Y, verbose=0)),
    "fit of sparse rows after dense": (after(lambda m: m.predict(X)), lambda m, path: m.fit(SPARSE, Y, verbose=0)),
    "fit of larger batches": (
        trained,
        lambda m, path: m.fit(MORE_X, MORE_Y, batch_size=128, verbose=0),
    ),
    "fit with another optimizer": (
        after(lambda m: m.compile("sgd", "mae")),
        lambda m, path: m.fit(X, Y, verbose=0),
    ),
    "fit with a frozen layer": (after(freeze_a_layer), lambda m, path: m.fit(X, Y, verbose=0)),
    "fit with a loss in Python": (after(loss=squared), lambda m, path: m.fit(X, Y, verbose=0)),
    "evaluate with a loss in Python": (after(loss=squared), lambda m, path: m.evaluate(X, Y, verbose=0)),
    "train_on_batch": (trained, lambda m, path: m.train_on_batch(X, Y)),
    "evaluate": (trained, lambda m, path: m.evaluate(X, Y, verbose=0)),
    "predict": (trained, lambda m, path: m.predict(X)),
    "predict of sparse rows": (trained, lambda m, path: m.predict(SPARSE)),
    "freeze": (trained, lambda m, path: m.freeze()(X)),
    "forward": (trained, lambda m, path: m.forward(X)),
    "forward of sparse rows": (trained, lambda m, path: m.forward(SPARSE)),
    "backward": (after(lambda m: m.forward(X)), lambda m, path: m.backward(Y)),
    "apply_gradients": (
        after(lambda m: m.forward(X), lambda m: m.backward(Y)),
        lambda m, path: m.apply_gradients(),
    ),
    "apply_gradients that are given": (trained, lambda m, path: m.apply_gradients(m.flat_weights)),
    "blend": (trained, lambda m, path: m.blend(OTHER, 0.5)),
    "flat_weights": (trained, lambda m, path: setattr(m, "flat_weights", m.flat_weights[::-1])),
    "compile": (trained, lambda m, path: m.compile(m.optimizer, "mae", metrics=["mse"])),
    "set_weights": (trained, lambda m, path: m.set_weights(NEW_WEIGHTS)),
    "load_weights": (trained, lambda m, path: m.load_weights(path)),
    "save": (trained, lambda m, path: m.save(f"{path}.other")),
    "pickle": (trained, lambda m, path: pickle.loads(pickle.dumps(m))),
}


def state(model):
    """Return all that training changes."""
    engine = model._engine
    slots = tuple(slot.tobytes() for slot in engine.slots)
    return engine.parameters.tobytes(), slots, engine.iterations, engine.momentum_product


def goes_on(model):
    """Return what two more epochs make of the model."""
    model.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    return model.predict(X).tobytes(), state(model)


def refused(call, first, count):
    """Return what the call raises where `count` allocations from number `first` on are refused."""
    testcapi.set_nomemory(first, first + count)
    try:
        call()
    except BaseException as error:  # noqa: BLE001 (the test looks at it, once there is memory again)
        return error
    finally:
        testcapi.remove_mem_hooks()
    return None


def check_refusals(name, step, folder, count=1):
    make, call = CALLS[name]
    path = str(folder / "weights.fastnn")
    other = trained()
    other.set_weights(NEW_WEIGHTS)
    other.save_weights(path)
    before, done = make(), make()
    states = {state(before): {goes_on(before)}}
    call(done, path)
    states.setdefault(state(done), set()).add(goes_on(done))
    passed, number = 0, 1
    while passed < 3:
        model = make()
        error = refused(lambda: call(model, path), number, count)  # noqa: B023 (called at once)
        number += step
        passed += error is None
        if error is None:
            continue
        # Some functions of NumPy and Python forget to raise MemoryError, or raise another error.
        theirs = re.search("without (setting an )?exception|not PosixPath|can't allocate|Can't pickle", str(error))
        assert isinstance(error, MemoryError) or theirs, repr(error)
        assert model._engine.parameters.tobytes() in {held[0] for held in states}
        assert goes_on(model) in set().union(*states.values())


# generators that end by a refused allocation
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", CALLS)
def test_some_refused_allocations_leave_a_model_as_it_was(name, tmp_path):
    check_refusals(name, 11, tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", CALLS)
def test_each_refused_allocation_leaves_a_model_as_it_was(name, tmp_path):
    check_refusals(name, 1, tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_allocations_refused_in_a_row_during_a_loss_in_python_do_not_crash(tmp_path):
    """The except clause that keeps a loss's exception may itself get no memory for its objects."""
    check_refusals("fit with a loss in Python", 1, tmp_path, 25)
