"""A small classifier, its rows, and a callback that watches: for the tests of what training is given."""

import numpy as np

import fastnn
from fastnn import layers

X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
Y = np.arange(20) % 4


def network(seed=0, **compile_arguments):
    fastnn.utils.set_random_seed(seed)
    model = fastnn.Sequential([layers.Dense(5, "tanh", input_shape=(3,)), layers.Dense(4, "softmax")])
    given = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
    model.compile(**(given | compile_arguments))
    return model


def same(a, b):
    for left, right in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


class Watcher(fastnn.callbacks.Callback):
    """Writes down which of its hooks are called."""

    def __init__(self):
        self.calls = []

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(f"epoch {epoch}")

    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append(f"begin {batch}")

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(f"end {batch}")

    def on_test_batch_end(self, batch, logs=None):
        self.calls.append(f"test {batch}")
