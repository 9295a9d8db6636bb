"""Several threads on one model, and models that ask each other: whole states, no lost steps, no wait without an end."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import callbacks, layers, optimizers
from fastnn._engine import build_info

WIDTH = 20_000


def together(*calls):
    """Run each call in a thread of its own; return what they raised."""
    errors = [None] * len(calls)

    def run(k):
        try:
            calls[k]()
        except Exception as error:  # noqa: BLE001 (for the caller to look at)
            errors[k] = error

    threads = [threading.Thread(target=run, args=(k,), daemon=True) for k in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread waits without an end"
    return errors


# ---- whole states ----


def constant_model():
    """Return a model whose weights are all one number, before and after each change of all of them."""
    model = fastnn.Sequential([fastnn.Input((1,)), layers.Dense(WIDTH)])
    model.compile(optimizers.SGD(0.001, use_ema=True), "mse")
    model.set_weights([np.zeros((1, WIDTH)), np.zeros(WIDTH)])
    return model


def set_weights(model, value, folder):
    model.set_weights([np.full((1, WIDTH), value), np.full(WIDTH, value)])


def set_weights_of_the_layer(model, value, folder):
    model.layers[-1].set_weights([np.full((1, WIDTH), value), np.full(WIDTH, value)])


def load_weights(model, value, folder):
    other = constant_model()
    set_weights(other, value, folder)
    other.save_weights(folder / "weights")
    model.load_weights(folder / "weights")


def train_on_batch(model, value, folder):
    model.train_on_batch(np.ones((4, 1), np.float32), np.full((4, WIDTH), value, np.float32))


def swap_the_average(model, value, folder):
    train_on_batch(model, value, folder)
    model.optimizer.swap_average_weights()


def restore_a_backup(model, value, folder):

    if not (folder / "backup").exists():
        model.save(folder / "backup")
    train_on_batch(model, value, folder)
    model._restore(folder / "backup")


WRITERS = [set_weights, set_weights_of_the_layer, load_weights, train_on_batch, swap_the_average, restore_a_backup]
READERS = {
    "predict": lambda model: model.predict(np.ones((1, 1), np.float32)) / 2,
    "freeze": lambda model: model.freeze()(np.ones((1, 1), np.float32)) / 2,
    "get_weights": lambda model: np.concatenate([w.ravel() for w in model.get_weights()]),
    "layer.get_weights": lambda model: np.concatenate([w.ravel() for w in model.layers[-1].get_weights()]),
    "pickle": lambda model: np.concatenate([w.ravel() for w in pickle.loads(pickle.dumps(model)).get_weights()]),
    "stack": lambda model: np.concatenate([w.ravel() for w in layers.Residual(model)._initial]),
}


@pytest.mark.parametrize("write", WRITERS)
def test_readers_see_whole_states_while_another_thread_writes(write, tmp_path):
    model, done, torn = constant_model(), threading.Event(), []

    def writing():
        for k in range(200):
            write(model, float(k % 2 + 1), tmp_path)
            if done.is_set():
                return

    def reading():
        try:
            for _ in range(8):
                for name, read in READERS.items():
                    seen = read(model)
                    torn.extend([name] if seen.min() != seen.max() else [])
        finally:
            done.set()

    assert together(writing, reading) == [None, None]
    assert not torn


def test_nobody_sees_the_steps_that_a_fit_takes_back():
    """A fit takes steps back when it finds a NaN in x after the first epoch began."""
    x = np.ones((2**19, 4), np.float32)
    x[-1, -1] = np.nan
    model = fastnn.Sequential([fastnn.Input((4,)), layers.Dense(1)])
    model.compile("adam", "mse")
    row, done, seen = np.ones((1, 4), np.float32), threading.Event(), set()
    before = model.predict(row)

    def looking():
        while not done.is_set():
            seen.update([model.predict(row).item(), model.freeze()(row).item()])

    def fitting():
        try:
            for _ in range(5):
                with pytest.raises(ValueError, match="row 524287"):
                    model.fit(x, x[:, :1], batch_size=2048, verbose=0)
        finally:
            done.set()

    assert together(looking, fitting) == [None, None]
    assert seen == {before.item()}
    assert model.predict(row) == before
    assert model.optimizer.iterations == 0


def test_an_unbuilt_model_that_threads_fit_first_loses_no_step():
    x = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
    for _ in range(30):
        model = fastnn.Sequential([layers.Dense(4, "relu"), layers.Dense(2)])
        model.compile("adam", "mse")
        start = threading.Barrier(3)

        def fit(model=model, start=start):
            start.wait()
            model.fit(x, x[:, :2], epochs=2, verbose=0)

        assert together(fit, fit, fit) == [None] * 3
        assert model.optimizer.iterations == 3 * 2 * 2
        assert model._epochs_done == 3 * 2


FIRST_X, FIRST_Y = np.ones((64, 8), np.float32), np.ones((64, 2), np.float32)


def beside_a_first_fit_that_fails(call):
    """Return a model whose first fit has failed, and what `call` raised.

    The call is made with this model and its x when that fit has built the model and has yet to find an error. The fit
    goes on once the call waits for it, or reads x, which is held up until the fit has failed.
    """
    model = fastnn.Sequential([layers.Dense(4, "relu"), layers.Dense(2)])
    model.compile("adam", "mse")
    built, read, failed = threading.Event(), threading.Event(), threading.Event()

    class Weights:
        """Weights that are fewer than the rows."""

        def __array__(self, dtype=None, copy=None):
            built.set()
            while not (model._home.lock.waiting or read.is_set()):
                time.sleep(0.001)
            return np.ones(3)

    class Rows:
        def __array__(self, dtype=None, copy=None):
            read.set()
            assert failed.wait(30)
            return FIRST_X

    def fails():
        try:
            model.fit(FIRST_X, FIRST_Y, sample_weight=Weights(), verbose=0)
        finally:
            failed.set()

    def calls():
        assert built.wait(30)
        call(model, Rows())

    error, other = together(fails, calls)
    assert "sample_weight" in str(error)
    return model, other


TRAINING = {
    "fit": (lambda m, x: m.fit(x, FIRST_Y, verbose=0), 2),
    "fit, validating": (lambda m, x: m.fit(x, FIRST_Y, validation_split=0.5, verbose=0), 1),
    "train_on_batch": (lambda m, x: m.train_on_batch(x, FIRST_Y), 1),
    "train_on_batch, weighted": (lambda m, x: m.train_on_batch(x, FIRST_Y, np.ones(64)), 1),
}


@pytest.mark.parametrize(("call", "steps"), TRAINING.values(), ids=TRAINING)
def test_training_that_waits_for_a_first_fit_that_fails_begins_anew(call, steps):
    model, error = beside_a_first_fit_that_fails(call)
    assert error is None
    assert model.optimizer.iterations == steps


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x: m.fit(x, FIRST_Y, sample_weight=np.ones(5), verbose=0),
        lambda m, x: m.train_on_batch(x, FIRST_Y, np.ones(5)),
        lambda m, x: m.fit(x, FIRST_Y[:5], verbose=0),
    ],
    ids=["fit", "train_on_batch", "y"],
)
def test_of_two_first_fits_that_fail_each_names_its_own_error(call):
    model, error = beside_a_first_fit_that_fails(call)
    assert "5" in str(error)
    assert not model.built


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x: m.predict(FIRST_X),
        lambda m, x: m.freeze()(FIRST_X),
        lambda m, x: m.evaluate(x, FIRST_Y, verbose=0),
        lambda m, x: m.test_on_batch(x, FIRST_Y),
        lambda m, x: m.set_weights([np.ones((8, 4)), np.ones(4), np.ones((4, 2)), np.ones(2)]),
        lambda m, x: m.forward(FIRST_X),
    ],
    ids=["predict", "freeze", "evaluate", "test_on_batch", "set_weights", "forward"],
)
def test_nobody_sees_the_weights_of_a_first_fit_that_fails(call):
    model, error = beside_a_first_fit_that_fails(call)
    assert "needs a built model" in str(error)
    assert not model.built


# ---- models that ask each other ----


def squared(y_true, y_pred):
    return ((y_pred - y_true) ** 2).mean(axis=1), 2 * (y_pred - y_true) / y_pred.shape[1]


def two_models(action):
    """Return two models; the loss of each does `action` with the other, at its first batch once both came there."""
    both = threading.Barrier(2)
    models = [fastnn.Sequential([fastnn.Input((3,)), layers.Dense(1)]) for _ in range(2)]
    waiting = [True, True]

    def loss_of(k):
        def loss(y_true, y_pred):
            if waiting[k]:
                waiting[k] = False
                both.wait(30)
                action(models[1 - k])
            return squared(y_true, y_pred)

        return loss

    for k in range(2):
        models[k].compile("sgd", loss_of(k))
    return models


X, Y = np.ones((64, 3), np.float32), np.ones((64, 1), np.float32)


@pytest.mark.parametrize(
    "action",
    [lambda m: m.predict(X), lambda m: m.freeze()(X), lambda m: m.get_weights()],
    ids=["predict", "freeze", "get"],
)
def test_losses_of_two_threads_read_each_others_model(action):
    models = two_models(action)
    assert together(*[lambda m=m: m.fit(X, Y, verbose=0) for m in models]) == [None, None]
    assert [m.optimizer.iterations for m in models] == [2, 2]


@pytest.mark.parametrize(
    "action",
    [
        lambda m: m.train_on_batch(X, Y),
        lambda m: m.evaluate(X, Y, verbose=0),
        lambda m: m.set_weights(m.get_weights()),
        lambda m: m.compile("sgd", squared),
        lambda m: pickle.dumps(m),
    ],
    ids=["train", "evaluate", "set", "compile", "pickle"],
)
def test_losses_that_would_wait_for_each_other_for_ever_raise(action):
    models = two_models(action)
    errors = together(*[lambda m=m: m.fit(X, Y, verbose=0) for m in models])
    assert sum("would wait for ever" in str(error) for error in errors) == 1
    for model in models:  # the locks are free again
        model.compile("sgd", "mse")
        model.fit(X, Y, verbose=0)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_callbacks_of_two_threads_evaluate_and_save_each_others_model(optimizer, tmp_path):
    x = np.random.default_rng(0).normal(size=(200, 4))
    models = [fastnn.Sequential([fastnn.Input((4,)), layers.Dense(4, "tanh"), layers.Dense(1)]) for _ in range(2)]
    for model in models:
        model.compile(optimizer, "mse")

    def fit(k):
        def ask(epoch, logs):
            models[1 - k].evaluate(x, x[:, :1], verbose=0)
            models[1 - k].save(tmp_path / f"{k}.fastnn")

        asking = callbacks.LambdaCallback(on_epoch_end=ask)
        models[k].fit(x, x[:, :1], epochs=15, verbose=0, callbacks=[asking])

    assert together(lambda: fit(0), lambda: fit(1)) == [None, None]


@pytest.mark.thread_unsafe(reason="sends the process a signal, which the main thread gets")
def test_a_wait_for_another_thread_ends_with_ctrl_c(ctrl_c):
    model = fastnn.Sequential([fastnn.Input((3,)), layers.Dense(1)])
    held, done = threading.Event(), threading.Event()

    def hold():
        with model._home.lock:
            held.set()
            done.wait(30)

    def interrupt():
        while not model._home.lock.waiting:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    interrupter = threading.Thread(target=interrupt)

    def wait():
        interrupter.start()
        model.predict(X)

    with pytest.raises(KeyboardInterrupt):
        wait()
    done.set()
    holder.join()
    interrupter.join()
    assert model.predict(X).shape == (64, 1)


# ---- a backward pass whose forward is stale ----


def with_new_weights(model):
    return [w + 1 for w in model.get_weights()]


STALE = {
    "apply_gradients": lambda m, folder: m.apply_gradients(),
    "train_on_batch": lambda m, folder: m.train_on_batch(X, Y),
    "fit": lambda m, folder: m.fit(X, Y, verbose=0),
    "set_weights": lambda m, folder: m.set_weights(with_new_weights(m)),
    "layer.set_weights": lambda m, folder: m.layers[-1].set_weights(with_new_weights(m)),
    "load_weights": lambda m, folder: m.load_weights(folder / "weights"),
    "swap_average_weights": lambda m, folder: m.optimizer.swap_average_weights(),
    "finalize": lambda m, folder: m.optimizer.finalize_variable_values(),
    "reset": lambda m, folder: m.reset(),
    "compile and evaluate": lambda m, folder: (m.compile("sgd", "mae"), m.evaluate(X, Y, verbose=0)),
    "sparse rows": lambda m, folder: m.predict(sparse(X)),
}


def sparse(x):
    return pytest.importorskip("scipy.sparse").csr_matrix(x)


@pytest.mark.parametrize("change", STALE)
def test_backward_after_a_change_of_weights_raises(change, tmp_path):
    model = fastnn.Sequential([fastnn.Input((3,)), layers.Dense(1)])
    model.compile(optimizers.SGD(0.1, use_ema=True), "mse")
    model.save_weights(tmp_path / "weights")
    model.train_on_batch(X, Y)
    model.forward(X, training=True)
    model.backward(np.ones_like(Y))
    STALE[change](model, tmp_path)
    with pytest.raises(RuntimeError, match="backward needs a forward pass"):
        model.backward(np.ones_like(Y))
    model.forward(X)
    model.backward(np.ones_like(Y))


def test_what_changes_nothing_leaves_the_forward_pass_valid(tmp_path):
    model = fastnn.Sequential([fastnn.Input((3,)), layers.Dense(4, "tanh"), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.train_on_batch(X, Y)
    model.forward(X)
    model.backward(np.ones_like(Y))
    first = [g.copy() for g in model.gradients]
    for call in (
        lambda: model.backward(np.ones_like(Y)),  # the gradient of another loss of the same outputs
        lambda: model.predict(X[:5]),
        lambda: model.evaluate(X, Y, verbose=0),
        lambda: model.save(tmp_path / "m"),
        lambda: model.freeze(),
    ):
        call()
        model.backward(np.ones_like(Y))
        assert all(np.array_equal(a, b) for a, b in zip(first, model.gradients, strict=True))


# ---- L-BFGS lets go of the model between its iterations ----


def lbfgs_model():
    x = np.random.default_rng(0).normal(size=(80, 4))
    model = fastnn.Sequential([fastnn.Input((4,), dtype="float64"), layers.Dense(8, "tanh"), layers.Dense(1)])
    model.compile("lbfgs", "mse")
    return model, x, np.tanh(x[:, :1])


def test_lbfgs_goes_on_from_the_weights_that_a_callback_sets():
    model, x, y = lbfgs_model()
    start = model.get_weights()

    def back(epoch, logs):
        if epoch == 9:
            model.set_weights(start)

    history = model.fit(x, y, epochs=20, verbose=0, callbacks=[callbacks.LambdaCallback(on_epoch_end=back)]).history
    losses = history["loss"]
    assert len(losses) == 20
    assert losses[10] == losses[0]  # the first iteration starts again
    assert losses[-1] == losses[9]


@pytest.mark.parametrize("change", [lambda m: m.compile("lbfgs", "mae"), lambda m: m.reset()], ids=["compile", "reset"])
def test_lbfgs_ends_where_the_model_becomes_another(change):
    model, x, y = lbfgs_model()
    changing = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: change(model))
    with pytest.raises(RuntimeError, match="compiled or built anew in the middle"):
        model.fit(x, y, epochs=5, verbose=0, callbacks=[changing])
    model.fit(x, y, epochs=2, verbose=0)


# ---- the number of threads ----


@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
@pytest.mark.parametrize("ends", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1)])
def test_overlapping_blocks_of_num_threads_end_at_the_number_before_them(ends):
    if not build_info()["openmp"]:
        pytest.skip("built without OpenMP, as the serial build is: there is one thread")
    fastnn.set_num_threads(5)
    blocks = [fastnn.num_threads(n) for n in (1, 2, 3)]
    for number, block in enumerate(blocks, 1):
        block.__enter__()
        assert fastnn.get_num_threads() == number
    still_open = [0, 1, 2]
    for k in ends:
        blocks[k].__exit__(None, None, None)
        still_open.remove(k)
        assert fastnn.get_num_threads() == (still_open[-1] + 1 if still_open else 5)


@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
def test_a_block_of_num_threads_under_a_limit_of_threadpoolctl_leaves_the_number_before_it():
    limits = pytest.importorskip("threadpoolctl").threadpool_limits
    before = fastnn.get_num_threads()
    with limits(1), fastnn.num_threads(2):
        pass
    assert fastnn.get_num_threads() == before


# ---- everything at once ----


@pytest.mark.slow
def test_some_seconds_of_the_stress_program_find_nothing():
    """A fork in the middle of another thread's change makes the child warn, which is no fault."""
    command = [sys.executable, str(Path(__file__).with_name("stress.py")), "--minutes", "0.1", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-5000:]


@pytest.mark.thread_unsafe(reason="forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_model_that_was_being_changed_when_the_process_forked_says_so_in_the_child():
    model = fastnn.Sequential([fastnn.Input((3,)), layers.Dense(1)])
    held, done = threading.Event(), threading.Event()

    def hold():
        with model._home.lock:
            held.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    child = os.fork()
    if child == 0:
        try:
            with pytest.warns(
                RuntimeWarning, match="in the middle of a change of this model when the process was forked"
            ):
                model.predict(X)
            with warnings.catch_warnings(action="error") if sys.version_info >= (3, 11) else nullcontext():
                model.set_weights(model.get_weights())
                model.predict(X)
            os._exit(0)
        finally:
            os._exit(1)
    done.set()
    holder.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
