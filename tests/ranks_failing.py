"""A training on several ranks of which rank 1 fails, in the way that the argument says."""

import os
import signal
import sys

import numpy as np

import fastnn
from fastnn.distributed import data_parallel, rank

KIND = sys.argv[1]
X = np.linspace(0, 1, 200, dtype=np.float32).reshape(50, 4)


class Failing(fastnn.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1 and rank() == 1:
            fail("hook")


def fail(place):
    """End rank 1, where this is the place."""
    if rank() != 1 or not KIND.startswith(place):
        return
    how = KIND.split("-")[1]
    if how == "error":
        raise KeyError("no such thing")
    if how == "exit":
        sys.exit(3)
    os.kill(os.getpid(), {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}[how])


fail("before")
model = fastnn.Sequential(
    [fastnn.Input((4,)), fastnn.layers.Dense(7 + (KIND == "models" and rank() == 2)), fastnn.layers.Dense(1)]
)
model.compile("adam", "mse")
with data_parallel():
    fail("within")
    model.fit(X, X[:, :1], epochs=3, verbose=0, callbacks=Failing())
print("ended well", flush=True)
