"""How fast does it answer? A single row and a thousand at once, through `predict` and through a frozen model."""

import numpy as np
import pytest

import fastnn


@pytest.mark.parametrize("rows", [1, 1000])
@pytest.mark.parametrize("widths", [(32, 64, 64, 1), (784, 128, 128, 10)], ids=str)
@pytest.mark.parametrize("frozen", [False, True], ids=["predict", "frozen"])
def test_predict(benchmark, frozen, widths, rows):
    layers = [fastnn.layers.Dense(n, "relu") for n in widths[1:-1]]
    model = fastnn.Sequential([fastnn.Input((widths[0],)), *layers, fastnn.layers.Dense(widths[-1])])
    x = np.random.default_rng(0).random((rows, widths[0]), np.float32)
    benchmark(model.freeze() if frozen else model.predict, x)
