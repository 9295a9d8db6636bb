"""Validation: each one looks at the same rows; what callbacks need of it, or of the optimizer, is known beforehand."""

import numpy as np
import pytest

import fastnn
from fastnn import callbacks, layers

ROWS = np.arange(1, 11, dtype=np.float32)[:, None]
ZEROS = np.zeros((10, 1))


class Loader:
    """Batches of two rows that can be read again and again."""

    def __iter__(self):
        return ((ROWS[k : k + 2], np.zeros((2, 1))) for k in range(0, 10, 2))


class Indexed:
    """Batches of two rows by their numbers."""

    def __len__(self):
        return 5

    def __getitem__(self, k):
        return list(Loader())[k]


VALIDATIONS = {  # kinds of validation data, each with the loss over its first two batches
    "arrays": ({"validation_data": (ROWS, ZEROS), "validation_batch_size": 2}, 2.5),
    "split": ({"validation_split": 0.5, "validation_batch_size": 2}, 7.5),
    "loader": ({"validation_data": Loader()}, 2.5),
    "indexed": ({"validation_data": Indexed()}, 2.5),
}


def fit(kind, hook=None, **arguments):
    """Return the losses of the validations of a model whose weights never move."""
    model = fastnn.Sequential([layers.Dense(1, use_bias=False, kernel_initializer="ones", input_shape=(1,))])
    model.compile(fastnn.optimizers.SGD(0.0), "mae")
    history = model.fit(ROWS, ZEROS, epochs=4, verbose=0, callbacks=hook, **VALIDATIONS[kind][0], **arguments)
    return history.history["val_loss"]


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("kind", ["arrays", "split", "loader", "indexed"])
def test_validation_steps_are_the_first_batches_each_time(kind, watched):
    hook = callbacks.LambdaCallback(on_test_batch_end=lambda batch, logs: None) if watched else None
    assert fit(kind, hook, validation_steps=2) == [VALIDATIONS[kind][1]] * 4


@pytest.mark.parametrize("kind", ["arrays", "split", "loader", "indexed"])
def test_a_validation_after_one_that_was_stopped_begins_with_the_first_batch(kind):
    class Stop(callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            self.model.stop_evaluating = batch == 1

    assert fit(kind, Stop()) == [VALIDATIONS[kind][1]] * 4


def test_a_generator_cannot_go_back():
    twice = (batch for _ in range(2) for batch in Loader())
    model = fastnn.Sequential([layers.Dense(1, use_bias=False, kernel_initializer="ones", input_shape=(1,))])
    model.compile(fastnn.optimizers.SGD(0.0), "mae")
    history = model.fit(ROWS, ZEROS, epochs=4, verbose=0, validation_data=twice, validation_steps=2)
    assert history.history["val_loss"] == [2.5, 6.5, 5.5, 4.5]


def test_early_stopping_compares_the_same_rows():
    model = fastnn.Sequential([layers.Dense(1, use_bias=False, kernel_initializer="ones", input_shape=(1,))])
    model.compile(fastnn.optimizers.SGD(0.0), "mae")
    falling = ROWS[::-1].copy()
    history = model.fit(
        falling, ZEROS, epochs=5, verbose=0, validation_data=(falling, ZEROS), validation_steps=1,
        validation_batch_size=2, callbacks=callbacks.EarlyStopping(patience=1),
    )  # fmt: skip
    assert history.history["val_loss"] == [9.5, 9.5]


# ---- callbacks, where not each epoch is followed by a validation ----


def tensor_board(folder):
    pytest.importorskip("tensorboardX")
    return callbacks.TensorBoard(folder / "logs")


WATCHERS = {
    "early stopping": lambda folder: callbacks.EarlyStopping(patience=1),
    "plateau": lambda folder: callbacks.ReduceLROnPlateau(patience=1),
    "best checkpoint": lambda folder: callbacks.ModelCheckpoint(folder / "best.fastnn", save_best_only=True),
    "named checkpoint": lambda folder: callbacks.ModelCheckpoint(folder / "{epoch}-{val_loss:.1f}.fastnn"),
    "named weights": lambda folder: callbacks.ModelCheckpoint(
        folder / "{val_loss:.1f}-{epoch}.fastnn", save_weights_only=True, save_best_only=True
    ),
    "CSV": lambda folder: callbacks.CSVLogger(folder / "log.csv"),
    "TensorBoard": tensor_board,
}


def fit_rarely(hooks, **arguments):
    """Fit a model whose weight is the number of the epoch, and whose validation loss is 5.5 times as much."""
    model = fastnn.Sequential([layers.Dense(1, use_bias=False, input_shape=(1,))])
    model.compile(fastnn.optimizers.SGD(0.0), "mae")
    setter = callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: model.set_weights([[[epoch + 1]]]))
    held = {"validation_data": (ROWS, ZEROS), "verbose": 0}
    model.fit(ROWS, ZEROS, callbacks=[setter, *hooks], **(held | arguments))
    return model


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("beside", [[], [callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None)]])
@pytest.mark.parametrize(("frequency", "validated"), [(2, [2, 4]), ({1, 4}, [1, 4]), ([3], [3])])
@pytest.mark.parametrize("kind", WATCHERS)
def test_callbacks_wait_for_the_next_validation(kind, frequency, validated, beside, tmp_path):
    watcher = WATCHERS[kind](tmp_path)
    model = fit_rarely([watcher, *beside], epochs=4, validation_freq=frequency)
    assert model.history.history["val_loss"] == [5.5 * k for k in validated]
    files = sorted(path.name for path in tmp_path.iterdir())
    if kind == "early stopping":  # epochs between validations do not count as epochs without improvement
        assert watcher.stopped_epoch == (3 if len(validated) > 1 else 0)
    elif kind == "plateau":
        assert watcher.wait == len(validated) - 1
        assert watcher.best == 5.5 * validated[0]
    elif kind == "best checkpoint":
        assert fastnn.load_model(tmp_path / files[0]).get_weights()[0] == validated[0]
    elif kind == "named checkpoint":
        assert files == [f"{k}-{5.5 * k:.1f}.fastnn" for k in validated]
    elif kind == "named weights":
        assert files == [f"{5.5 * validated[0]:.1f}-{validated[0]}.fastnn"]
    elif kind == "CSV":
        lines = (tmp_path / "log.csv").read_text().splitlines()
        assert [line.split(",")[-1] for line in lines[1:]] == [
            str(5.5 * k) if k in validated else "NA" for k in range(1, 5)
        ]


@pytest.mark.parametrize("never", [{"validation_freq": 9}, {"validation_freq": [1], "initial_epoch": 1}])
@pytest.mark.parametrize("kind", list(WATCHERS)[:5])
def test_a_validation_that_never_comes_is_named_before_the_first_step(kind, never, tmp_path):
    begun = []
    hooks = [WATCHERS[kind](tmp_path), callbacks.LambdaCallback(on_train_begin=begun.append)]
    if kind.startswith("named"):
        with pytest.raises(KeyError, match="names 'val_loss', which is not in the logs"):
            fit_rarely(hooks, epochs=4, **never)
        assert not begun
    else:
        with pytest.warns(UserWarning, match="'val_loss', which will not be in the logs; no validation comes before"):
            fit_rarely(hooks, epochs=4, **never)


# ---- what else is known before the first step ----

SCHEDULE = fastnn.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
IMPOSSIBLE = {
    "plateau of a schedule": (lambda: callbacks.ReduceLROnPlateau("loss"), fastnn.optimizers.SGD(SCHEDULE), TypeError),
    "plateau of L-BFGS": (lambda: callbacks.ReduceLROnPlateau("loss"), "lbfgs", AttributeError),
    "scheduler": (
        lambda: callbacks.LearningRateScheduler(lambda epoch: 0.1),
        fastnn.optimizers.SGD(SCHEDULE),
        TypeError,
    ),
    "no average": (callbacks.SwapEMAWeights, "sgd", ValueError),
    "no folder": (lambda: callbacks.CSVLogger("missing/log.csv"), "sgd", FileNotFoundError),
    "no folder to go on in": (lambda: callbacks.CSVLogger("missing/log.csv", append=True), "sgd", FileNotFoundError),
}


@pytest.mark.parametrize(("make", "optimizer", "error"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_a_callback_cannot_do_is_said_before_the_first_step(make, optimizer, error):
    model = fastnn.Sequential([layers.Dense(1, input_shape=(1,))])
    model.compile(optimizer, "mse")
    before = model.get_weights()
    with pytest.raises(error):
        model.fit(ROWS, ZEROS, verbose=0, callbacks=make())
    for ours, was in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, was)
