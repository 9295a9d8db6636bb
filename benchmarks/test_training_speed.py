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
