"""Validation: each one looks at the same rows, so that its numbers can be compared."""

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
    """The same by their numbers."""

    def __len__(self):
        return 5

    def __getitem__(self, k):
        return list(Loader())[k]


VALIDATIONS = {  # with the loss of the first two batches
    "arrays": ({"validation_data": (ROWS, ZEROS), "validation_batch_size": 2}, 2.5),
    "split": ({"validation_split": 0.5, "validation_batch_size": 2}, 7.5),
    "loader": ({"validation_data": Loader()}, 2.5),
    "indexed": ({"validation_data": Indexed()}, 2.5),
}


def fit(kind, hook=None, **arguments):
    """The losses of the validations of a model whose weights never move."""
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
