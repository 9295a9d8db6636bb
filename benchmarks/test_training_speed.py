"""How fast does it train? One epoch of fastnn alone: `python -m pytest benchmarks --benchmark-only`.

Beside PyTorch, JAX, Keras and the others: `python benchmarks/compare.py`.
"""

import numpy as np
import pytest

import fastnn


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [32, 256])
def test_one_epoch(benchmark, batch, threads):
    generator = np.random.default_rng(0)
    x, y = generator.random((60_000, 784), dtype=np.float32), generator.integers(0, 10, 60_000)
    hidden = [fastnn.layers.Dense(128, activation="relu") for _ in range(2)]
    model = fastnn.Sequential([fastnn.Input((784,)), *hidden, fastnn.layers.Dense(10, activation="softmax")])
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(threads)
    try:
        benchmark.pedantic(model.fit, (x, y), {"verbose": 0, "batch_size": batch}, rounds=3, warmup_rounds=1)
    finally:
        fastnn.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2])
def test_networks_for_leave_one_out(benchmark, threads):
    """500 networks, each on all rows but one."""
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(500, 20)).astype(np.float32), generator.normal(size=(500, 1)).astype(np.float32)
    rows = [np.delete(np.arange(500), k) for k in range(500)]

    def network():
        hidden = [fastnn.layers.Dense(32, activation="relu") for _ in range(2)]
        model = fastnn.Sequential([fastnn.Input((20,)), *hidden, fastnn.layers.Dense(1)])
        model.compile(optimizer="adam", loss="mse")
        return model

    def new():
        return (fastnn.Ensemble([network() for _ in rows]),), {}

    def fit(ensemble):
        ensemble.fit(x, y, epochs=100, rows=rows, verbose=0)

    with fastnn.num_threads(threads):
        benchmark.pedantic(fit, setup=new, rounds=3)
