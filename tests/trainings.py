"""A small training, how it is ended, and all that it leaves: for the tests of interruptions."""

import numpy as np

import fastnn
from fastnn import callbacks, layers, optimizers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(22, 3)).astype(np.float32)
Y = (X.sum(axis=1, keepdims=True) + 0.1 * RNG.normal(size=(22, 1))).astype(np.float32)
HELD = RNG.normal(size=(8, 3)).astype(np.float32), RNG.normal(size=(8, 1)).astype(np.float32)
FAST = {"learning_rate": 0.05}
EMA = {"use_ema": True, "ema_momentum": 0.7}


class KilledError(Exception):
    pass


def network(optimizer=None, seed=0, **compiled):
    fastnn.utils.set_random_seed(seed)
    model = fastnn.Sequential(
        [layers.Dense(4, "tanh", input_shape=(3,)), layers.BatchNormalization(), layers.Dropout(0.2), layers.Dense(1)]
    )
    model.compile(optimizer or optimizers.Adam(**FAST), "mse", metrics=["mae"], **compiled)
    return model


def all_state(model):
    """Return weights, slots, counters and random numbers: all that further training depends on."""
    engine = model._engine
    arrays = [engine.parameters, *engine.slots]
    return [array.tobytes() for array in arrays], engine.iterations, model._seed, model._epochs_done


class Kill(callbacks.Callback):
    """Raises at the n-th call of a hook."""

    def __init__(self, hook, time, error=KilledError):
        self.left = time

        def raising(*arguments):
            self.left -= 1
            if self.left == 0:
                raise error

        setattr(self, hook, raising)
