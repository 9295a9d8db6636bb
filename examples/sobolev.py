"""A surrogate that learns from derivatives too: as good with a tenth of the rows (Sobolev training).

How much water flows through a borehole, from eight numbers: a usual test of surrogates (Worley, 1987). Programs of
physics often give derivatives beside the value, by an adjoint, at about the price of the value; here a complex step
stands in for one. Training on both (Czarnecki et al., Sobolev training for neural networks, 2017) minimizes the mean of

    (f(x) - y)² + |∂f/∂x - ∂y/∂x|²,   whose gradient is that of 2 (f(x) - y) f(x) + v · ∂f/∂x,   v = 2 (∂f/∂x - ∂y/∂x),

where the factors of f and ∂f/∂x count as constants. ``backward`` gives the gradient of the first term by the weights,
``hvp`` adds that of the second one, the slope of f along v, exactly.

    python examples/sobolev.py [--quick] [--seeds 0 1 2]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import fastnn
from fastnn import layers

BOUNDS = np.array(  # from and to
    [
        [0.05, 0.15],  # radius of the borehole, m
        [100, 50_000],  # radius of influence, m
        [63_070, 115_600],  # transmissivity of the upper aquifer, m²/year
        [990, 1_110],  # its potentiometric head, m
        [63.1, 116],  # transmissivity of the lower aquifer
        [700, 820],  # its head
        [1_120, 1_680],  # length of the borehole, m
        [9_855, 12_045],  # hydraulic conductivity of the borehole, m/year
    ]
)


def flow(x: np.ndarray) -> np.ndarray:
    """Cubic metres of water in a year, for columns between -1 and 1."""
    low, high = BOUNDS.T
    radius, far, upper, upper_head, lower, lower_head, length, conductivity = (low + (high - low) * (x + 1) / 2).T
    ratio = np.log(far / radius)
    resistance = ratio * (1 + 2 * length * upper / (ratio * radius**2 * conductivity) + upper / lower)
    return 2 * np.pi * upper * (upper_head - lower_head) / resistance


def slopes(x: np.ndarray) -> np.ndarray:
    """The derivatives of the flow by each column: imaginary parts of flow(x + i h) / h, free of differences."""
    return np.stack([flow(x + 1e-30j * unit).imag / 1e-30 for unit in np.eye(x.shape[1])], axis=1)


def build(steps: int) -> fastnn.Sequential:
    """Two smooth hidden layers, in float64."""
    hidden = [layers.Dense(64, activation="silu") for _ in range(2)]
    model = fastnn.Sequential([fastnn.Input((8,), dtype="float64"), *hidden, layers.Dense(1)])
    model.compile(fastnn.optimizers.Adam(fastnn.optimizers.schedules.CosineDecay(1e-2, steps)), "mse")
    return model


def sobolev_step(model: fastnn.Sequential, x: np.ndarray, y: np.ndarray, derivatives: np.ndarray) -> None:
    """One optimizer step on the values and the derivatives of these rows."""
    rows = len(x)
    errors = model.forward(x, training=True) - y
    one_each = np.ones_like(errors)
    wrong = model.backward(one_each, weights=False) - derivatives
    model.backward(2 * errors / rows, inputs=False)
    model.hvp(x, 2 * wrong / rows, one_each, accumulate=True)
    model.apply_gradients()


def train(
    x: np.ndarray, y: np.ndarray, derivatives: np.ndarray | None, steps: int, rng: np.random.Generator
) -> fastnn.Sequential:
    """A network trained for so many optimizer steps of 100 rows at most."""
    model = build(steps)
    for _ in range(steps):
        rows = rng.choice(len(x), min(100, len(x)), replace=False)
        if derivatives is None:
            model.train_on_batch(x[rows], y[rows])
        else:
            sobolev_step(model, x[rows], y[rows], derivatives[rows])
    return model


def compare(seed: int, rows: int, steps: int) -> dict[str, float]:
    """The error of each way to train, over the standard deviation of the values, on rows that no training has seen."""
    fastnn.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    x, x_test = rng.uniform(-1, 1, (rows, 8)), rng.uniform(-1, 1, (10_000, 8))
    mean, scale = flow(x).mean(), flow(x).std()
    y, y_test = (flow(x)[:, None] - mean) / scale, (flow(x_test)[:, None] - mean) / scale
    derivatives, derivatives_test = slopes(x) / scale, slopes(x_test) / scale
    few = slice(rows // 10)
    trainings = {
        f"values of {rows} rows": (x, y, None),
        f"values of {rows // 10} rows": (x[few], y[few], None),
        f"values and derivatives of {rows // 10} rows": (x[few], y[few], derivatives[few]),
    }
    errors = {}
    for name, data in trainings.items():
        begun = time.perf_counter()
        model = train(*data, steps, rng)
        seconds = time.perf_counter() - begun
        errors[name] = float(np.sqrt(np.mean((model.forward(x_test) - y_test) ** 2)))
        wrong = model.backward(np.ones((len(x_test), 1)), weights=False) - derivatives_test
        slope = np.sqrt(np.mean(wrong**2) / np.mean(derivatives_test**2))
        print(f"{name:36} error of values {errors[name]:.2%}, of derivatives {slope:.2%}; {seconds:.1f} s")
    return errors


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Train, test, print; return the largest error over that of ten times as many rows without derivatives."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps: to see that it runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="rows and first weights for each (default 0)")
    given = parser.parse_args(arguments)
    ratios = []
    for seed in given.seeds:
        many, _, sobolev = compare(seed, rows=1000, steps=1000 if given.quick else 10_000).values()
        ratios.append(sobolev / many)
        print(f"seed {seed}: with derivatives, a tenth of the rows has {ratios[-1]:.2f} times the error of all rows")
    return {"ratio": max(ratios)}


if __name__ == "__main__":
    main()
