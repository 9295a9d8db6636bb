"""Trains fastnn beside PyTorch, scikit-learn and LightGBM in one process, imported in every order: 24 processes.

Each of them has an OpenMP library: that of its wheel, or the system's. Each trains on one thread and on two, fastnn
before and after the others; its weights must be the same in all processes. As a command: `python tests/neighbours.py`,
in an environment with all four. A repaired wheel of fastnn-cpu brings its own OpenMP.
"""

import argparse
import itertools
import re
import subprocess
import sys
from pathlib import Path

NAMES = ("fastnn", "torch", "sklearn", "lightgbm")
SECONDS = 300  # a process that takes longer hangs


def rows():
    """Return x and y to train on."""
    import numpy as np

    random = np.random.default_rng(0)
    x = random.normal(size=(4000, 20)).astype(np.float32)
    return x, x @ random.normal(size=20).astype(np.float32)


def train_fastnn(x, y, threads):
    """Return a digest of the weights after two epochs."""
    import zlib

    import fastnn

    fastnn.utils.set_random_seed(0)
    layers = fastnn.layers
    model = fastnn.Sequential(
        [fastnn.Input((20,)), layers.Dense(128, "relu"), layers.Dense(128, "relu"), layers.Dense(1)]
    )
    model.compile("adam", "mse")
    with fastnn.num_threads(threads):
        model.fit(x, y, batch_size=512, epochs=2, verbose=0)
        model.predict(x, verbose=0)
    return zlib.crc32(b"".join(weights.tobytes() for weights in model.get_weights()))


def train_torch(x, y, threads):
    """Take ten steps."""
    import torch

    torch.set_num_threads(threads)
    model = torch.nn.Sequential(torch.nn.Linear(20, 128), torch.nn.ReLU(), torch.nn.Linear(128, 1))
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(10):
        optimizer.zero_grad()
        loss = ((model(torch.from_numpy(x))[:, 0] - torch.from_numpy(y)) ** 2).mean()
        loss.backward()
        optimizer.step()
    assert bool(torch.isfinite(loss))


def train_sklearn(x, y, threads):
    """Boost ten trees, which scikit-learn does with OpenMP."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads):
        assert HistGradientBoostingRegressor(max_iter=10).fit(x, y).score(x, y) > 0


def train_lightgbm(x, y, threads):
    """Boost ten trees."""
    import lightgbm

    model = lightgbm.LGBMRegressor(n_estimators=10, n_jobs=threads, verbose=-1).fit(x, y)
    assert model.score(x, y) > 0


def train_in_order(names):
    """Import in this order, train, and print digests of fastnn's weights and the OpenMP libraries in the process."""
    import importlib

    for name in names:
        importlib.import_module(name)
    x, y = rows()
    digests = []
    for threads in (1, 2):
        digests.append(train_fastnn(x, y, threads))
        for name in names:
            globals()[f"train_{name}"](x, y, threads)
        digests.append(train_fastnn(x, y, threads))
    maps = Path("/proc/self/maps").read_text()
    print(*digests, *sorted(set(re.findall(r"\S*/(lib(?:gomp|omp|iomp5)\S*)", maps))))


def main():
    """Train in every order, or in the one that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--order", nargs="+", choices=NAMES, help="this order alone, in this process")
    options = parser.parse_args()
    if options.order:
        train_in_order(options.order)
        return
    digests, failures = set(), []
    for order in itertools.permutations(NAMES):
        command = [sys.executable, __file__, "--order", *order]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
        words = done.stdout.split()
        numbers = {word for word in words if word.isdigit()}
        digests |= numbers
        if done.returncode or len(digests) != 1:
            failures.append(" ".join(order))
        print(" ".join(order), "|", *(word for word in words if not word.isdigit()), done.stderr[-400:], flush=True)
    if failures:
        raise SystemExit(f"{len(failures)} orders failed, or gave other weights: {'; '.join(failures)}")
    print("fastnn's weights are the same in all 24 orders, on one thread and on two")


if __name__ == "__main__":
    main()
