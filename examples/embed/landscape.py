"""The network that the programs of this folder work with: a landscape over two numbers, with four valleys.

It has learnt √(1 + h) of Himmelblau's function h(x, y) = (x² + y - 11)² + (x + y² - 7)² over -5 <= x, y <= 5. h is zero
at (3, 2), (-2.805, 3.131), (-3.779, -3.283) and (3.584, -1.848), so the floor of each valley is near 1.

    python examples/embed/landscape.py landscape.fnn     # trains it, and writes the file for C, C++ and Fortran
"""

from __future__ import annotations

import sys

import numpy as np

import fastnn
from fastnn import layers

VALLEYS = np.array([[3.0, 2.0], [-2.805118, 3.131313], [-3.779310, -3.283186], [3.584428, -1.848127]])


def height(points: np.ndarray) -> np.ndarray:
    """√(1 + h) of rows (x, y)."""
    x, y = points.T
    return np.sqrt(1 + (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2)


def learn(epochs: int = 100) -> fastnn.predictor.Predictor:
    """Train 2-64-64-1 on 10,000 points, in float64; the frozen network."""
    fastnn.utils.set_random_seed(0)
    points = np.random.default_rng(0).uniform(-5, 5, (10_000, 2))
    inputs, output = layers.Normalization(input_shape=(2,), dtype="float64"), layers.TargetScaling(clip=False)
    inputs.adapt(points)
    output.adapt(height(points)[:, None])
    model = fastnn.Sequential([inputs, layers.Dense(64, "silu"), layers.Dense(64, "silu"), layers.Dense(1), output])
    rate = fastnn.optimizers.schedules.CosineDecay(0.01, epochs * -(-len(points) // 64))
    model.compile(fastnn.optimizers.Adam(rate), "mse")
    model.fit(points, height(points)[:, None], batch_size=64, epochs=epochs, verbose=0)
    return model.freeze()


if __name__ == "__main__":
    learn().save(sys.argv[1])
