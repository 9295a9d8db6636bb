"""What the workers of a search tell of themselves: how many threads fastnn uses there."""

import os

import numpy as np

from fastnn._engine import build_info

# Wide enough that the engine wants all threads it may have.
ROWS = np.random.default_rng(0).normal(size=(4000, 64)).astype(np.float32)
ANSWERS = ROWS[:, :4].sum(axis=1) + np.sin(3 * ROWS[:, 5])


def measure(net):
    """Return a function that fits the network and tells the process, the threads allowed, and the threads it started.

    It is a function within a function, which cloudpickle sends whole: workers have no tests to import.
    """
    x, y = ROWS, ANSWERS

    def in_worker(delay=0.0):
        import os
        import time
        from pathlib import Path

        import fastnn

        def threads():
            return len(list(Path("/proc/self/task").glob("*")))  # 0 where it is not Linux

        time.sleep(delay)  # so that no worker does all of them
        before = threads()
        net.fit(x, y)
        return os.getpid(), fastnn.get_num_threads(), threads() - before + 1

    return in_worker


def builder():
    """Return a function that builds a network, within a function for the same reason."""

    def build(inputs, outputs, units=8):
        import fastnn

        layers = fastnn.layers
        dense = layers.Dense(units, "relu")
        return fastnn.Sequential([fastnn.Input((inputs,)), dense, layers.Dense(outputs, "softmax")])

    return build


def share(jobs):
    """Return how many threads joblib gives each of so many workers; the user's own setting goes first."""
    import joblib

    own = int(os.environ.get("OMP_NUM_THREADS", 0)) or max(1, joblib.cpu_count() // jobs)
    return own if build_info()["openmp"] else 1
