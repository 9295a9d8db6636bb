"""Stress: threads and forked children that train, serve, save and change the same few models, and what must hold then.

    python tests/stress.py --minutes 60

The columns of each model's weights are alike in every whole state, so that a prediction, a frozen copy or a file that
saw half of a change can be told. A part that makes no progress for --patience seconds is a hang: every thread's stack
is printed, and the command ends with 1, as it does after the first thing that does not hold.
"""

from __future__ import annotations

import argparse
import faulthandler
import io
import os
import pickle
import random
import sys
import tempfile
import threading
import time
import traceback
import warnings
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

import numpy as np

import fastnn
from fastnn import callbacks, layers, optimizers

WIDTH, ROWS = 2000, 64
X = np.ones((ROWS, 1), np.float32)
FORKS = hasattr(os, "fork")


def squared(y_true, y_pred):
    """A loss in Python, which lets others predict in the middle of a step."""
    error = y_pred - y_true
    return (error**2).mean(axis=1), 2 * error / error.shape[1]


def new_model(loss: object = "mse", optimizer: object = None) -> fastnn.Sequential:
    """Return a model in which all columns are alike, whatever it is trained on."""
    zeros = {"kernel_initializer": "zeros", "bias_initializer": "zeros"}
    model = fastnn.Sequential([fastnn.Input((1,)), layers.Dense(WIDTH, **zeros)])
    model.compile(optimizer or optimizers.SGD(0.01, use_ema=True), loss)
    return model


def check(values: object, what: str) -> None:
    """Raise where columns differ: such values belong to no whole state."""
    values = np.asarray(values)
    if not np.array_equal(values, np.broadcast_to(values[..., :1], values.shape), equal_nan=True):
        raise AssertionError(f"{what} saw half of a change: from {values.min()} to {values.max()}")


def check_weights(weights: list, what: str) -> None:
    """Check the kernel and the bias of a model."""
    for values in weights:
        check(values.reshape(1, -1), what)


class Stress:
    """The models, the threads, and the faults that were found."""

    def __init__(self, seed: int, folder: Path, patience: float) -> None:
        self.folder, self.patience, self.seed = folder, patience, seed
        self.models = [new_model(), new_model(squared), new_model(optimizer="adam"), new_model(self.asking)]
        self.random = threading.local()
        self.done = threading.Event()
        self.forked = False
        self.failure = ""
        self.beats: dict[str, tuple[float, str]] = {}
        self.counts: dict[str, int] = {}

    def model(self) -> fastnn.Sequential:
        """Return one of the models."""
        return self.random.choose.choice(self.models)

    def asking(self, y_true, y_pred):
        """A loss that asks another model, which a forked child may see half changed; a warning tells of that."""
        answer = self.models[0].predict(X[:1], verbose=0)
        if not self.forked:
            check(answer, "a loss")
        return squared(y_true, y_pred)

    # ---- what threads do ----

    def fit(self) -> None:
        """Fit with a bar, and with a number of targets that changes from call to call."""
        value = self.random.choose.uniform(-1, 1)
        epochs = self.random.choose.randint(1, 3)
        with redirect_stdout(io.StringIO()) if self.random.quiet else nullcontext():
            self.model().fit(X, np.full((ROWS, WIDTH), value, np.float32), batch_size=16, epochs=epochs, verbose=1)

    def fit_with_callbacks(self) -> None:
        """Fit with callbacks that ask another model, and save it."""
        other, path = self.model(), self.folder / f"{threading.get_ident()}.fastnn"

        def ask(epoch, logs):
            other.evaluate(X, np.zeros((ROWS, WIDTH), np.float32), verbose=0)
            other.save(path)

        asking = callbacks.LambdaCallback(on_epoch_end=ask)
        self.model().fit(X, np.zeros((ROWS, WIDTH), np.float32), epochs=2, verbose=0, callbacks=[asking])

    def fit_what_is_refused(self) -> None:
        """Fit with NaN in x, which is found before the first step or makes fit take its steps back."""
        x = X.copy()
        x[-1] = np.nan
        try:
            self.model().fit(x, np.zeros((ROWS, WIDTH), np.float32), verbose=0)
        except ValueError:
            return
        raise AssertionError("NaN in x was not refused")

    def train_on_batch(self) -> None:
        """Train for one step."""
        self.model().train_on_batch(X, np.ones((ROWS, WIDTH), np.float32))

    def predict(self) -> None:
        """Predict few rows and many rows."""
        for rows in (1, ROWS):
            check(self.model().predict(X[:rows]), "predict")

    def freeze(self) -> None:
        """Freeze a model, and ask the frozen one."""
        check(self.model().freeze()(X), "freeze")

    def get_weights(self) -> None:
        """Read the weights of the model and of its layer."""
        model = self.model()
        check_weights(model.get_weights(), "get_weights")
        check_weights(model.layers[-1].get_weights(), "layer.get_weights")

    def set_weights(self) -> None:
        """Set all weights to one number."""
        value = self.random.choose.uniform(-1, 1)
        self.model().set_weights([np.full((1, WIDTH), value), np.full(WIDTH, value)])

    def save_and_load(self) -> None:
        """Save a model to a file of this thread, and load the file into another model."""
        path = self.folder / f"{threading.get_ident()}.fastnn"
        self.model().save(path)
        check_weights(fastnn.load_model(path, {"squared": squared, "asking": squared}).get_weights(), "save")
        self.model().load_weights(path)

    def copy(self) -> None:
        """Copy a model by pickle, unless its loss is a method of this object, which cannot be pickled."""
        check_weights(pickle.loads(pickle.dumps(self.models[0])).get_weights(), "pickle")

    def compile_anew(self) -> None:
        """Compile a model anew with the loss it had."""
        k = self.random.choose.randrange(3)
        self.models[k].compile(self.random.choose.choice(["sgd", "adam", "rmsprop"]), ["mse", squared, "mse"][k])

    def number_of_threads(self) -> None:
        """Use another number of threads for a while."""
        with fastnn.num_threads(self.random.choose.randint(1, 3)):
            self.predict()

    def fork(self) -> None:
        """Fork a child that predicts, trains and ends, and must not hang."""
        model = self.model()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                faulthandler.dump_traceback_later(self.patience, exit=True)
                warnings.simplefilter("ignore")  # warnings of models that other threads are changing
                self.forked = True
                model.predict(X, verbose=0)
                with redirect_stdout(io.StringIO()):
                    model.fit(X, np.ones((ROWS, WIDTH), np.float32), epochs=2, verbose=1)
                alone = new_model()
                alone.fit(X, np.ones((ROWS, WIDTH), np.float32), verbose=0)
                check(alone.predict(X), "a forked child")
                code = 0
            except BaseException:  # noqa: BLE001 (the child must end here, whatever it was)
                traceback.print_exc()
            finally:
                os._exit(code)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
            raise AssertionError("a forked child failed; what it found stands above")

    # ---- the run ----

    ACTIONS = (
        "fit", "fit_with_callbacks", "fit_what_is_refused", "train_on_batch", "predict", "freeze", "get_weights",
        "set_weights", "save_and_load", "copy", "compile_anew", "number_of_threads",
    )  # fmt: skip

    def work(self, number: int, quiet: bool) -> None:
        """Run the actions of one thread, one after another, until somebody has found a fault."""
        self.random.choose = random.Random(1000 * self.seed + number)
        self.random.quiet = quiet
        actions = ["fork"] if number == 0 and FORKS else list(self.ACTIONS)
        name = threading.current_thread().name
        try:
            while not self.done.is_set():
                action = self.random.choose.choice(actions)
                self.beats[name] = (time.monotonic(), action)
                try:
                    getattr(self, action)()
                except RuntimeError as error:
                    if "would wait for ever" not in str(error):
                        raise
                self.counts[action] = self.counts.get(action, 0) + 1
        except BaseException:  # noqa: BLE001 (reported by run)
            self.failure = self.failure or traceback.format_exc()
            self.done.set()

    def run(self, threads: int, seconds: float) -> str:
        """Run for this long; return the first fault that was found, or an empty string."""
        workers = [
            threading.Thread(target=self.work, args=(k, k % 2 == 0), name=f"worker {k}", daemon=True)
            for k in range(threads)
        ]
        end = time.monotonic() + seconds
        for worker in workers:
            worker.start()
        while not self.done.wait(0.2) and time.monotonic() < end:
            self._look_for_a_hang()
        self.done.set()
        while any(worker.is_alive() for worker in workers) and not self._look_for_a_hang():
            time.sleep(0.05)
        return self.failure

    def _look_for_a_hang(self) -> bool:
        for name, (since, action) in list(self.beats.items()):
            if time.monotonic() - since > self.patience and name in {t.name for t in threading.enumerate()}:
                faulthandler.dump_traceback(all_threads=True)
                self.failure = self.failure or f"{name} hangs in {action}"
                self.done.set()
                return True
        return False


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 where nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=6)
    parser.add_argument("--patience", type=float, default=60.0, help="seconds without progress that are a hang")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    faulthandler.enable()
    with tempfile.TemporaryDirectory() as folder:
        stress = Stress(given.seed, Path(folder), given.patience)
        failure = stress.run(given.threads, 60 * given.minutes)
    done = ", ".join(f"{count} {action}" for action, count in sorted(stress.counts.items()))
    print(f"\n{failure or 'nothing found'}\n{done}", file=sys.stderr)  # noqa: T201 (what the command is for)
    return 1 if failure else 0


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # threads that hang would keep the process
