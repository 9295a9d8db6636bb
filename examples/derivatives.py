"""Derivatives: two surrogates within SciPy, which asks them for slopes and curvatures as well as for values.

A surrogate is a network that was trained on the answers of something slower: a simulation, an experiment, a formula. A
frozen model gives its derivatives by its inputs for about the price of its value, so what needs them need not guess
them from differences.

1. The lowest point of Hartmann's function of six variables, which is known. `minimize(jac=True)` descends from twenty
   places; the best of them is then refined by Newton's method with products of the second derivatives.
2. The Brusselator, a reaction that swings while its substances diffuse along a pipe (Hairer & Wanner, Solving Ordinary
   Differential Equations II, IV.1). The network is the reaction in each cell of the pipe; `solve_ivp(jac=)` needs the
   Jacobian of all cells, which is one call.

    python examples/derivatives.py [--quick]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy import sparse
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

import fastnn
from fastnn import layers

HEIGHTS = np.array([1.0, 1.2, 3.0, 3.2])
WIDTHS = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
CENTRES = np.array([
    [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
    [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
    [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
    [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
])  # fmt: skip
LOWEST = -3.32237  # of Hartmann's function, at (0.202, 0.150, 0.477, 0.275, 0.312, 0.657)


def hartmann(x: np.ndarray) -> np.ndarray:
    """-Σ_k heights_k exp(-Σ_i widths_ki (x_i - centres_ki)²), for rows of six numbers between 0 and 1."""
    distances = np.sum(WIDTHS * (x[:, None, :] - CENTRES) ** 2, axis=-1)
    return -np.exp(-distances) @ HEIGHTS


def reaction(cells: np.ndarray) -> np.ndarray:
    """How fast the two substances of each cell are made: (1 + u²v - 4u, 3u - u²v)."""
    u, v = cells.T
    return np.column_stack([1 + u * u * v - 4 * u, 3 * u - u * u * v])


def surrogate(x: np.ndarray, y: np.ndarray, activation: str, epochs: int) -> fastnn.predictor.Predictor:
    """A frozen network that has learnt y of x; layers scale both, so derivatives are in the units of x and y."""
    inputs, outputs = layers.Normalization(input_shape=x.shape[1:], dtype="float64"), layers.TargetScaling(clip=False)
    inputs.adapt(x)
    outputs.adapt(y)
    hidden = [layers.Dense(64, activation) for _ in range(2)]
    model = fastnn.Sequential([inputs, *hidden, layers.Dense(y.shape[1]), outputs])
    rate = fastnn.optimizers.schedules.CosineDecay(0.01, epochs * -(-len(x) // 64))
    model.compile(fastnn.optimizers.Adam(rate), "mse")
    model.fit(x, y, batch_size=64, epochs=epochs, verbose=0)
    return model.freeze()


def lowest_point(epochs: int, generator: np.random.Generator) -> dict[str, float]:
    """Part 1."""
    x = generator.random((20_000, 6))
    network = surrogate(x, hartmann(x)[:, None], "silu", epochs)

    starts = generator.random((20, 6))
    bounds = [(0, 1)] * 6
    found = [
        minimize(network.value_and_gradient, start, jac=True, method="L-BFGS-B", bounds=bounds) for start in starts
    ]
    best = min(found, key=lambda one: one.fun)
    # A Hessian times a direction, without the Hessian: the curvature of output 0, which is all there is.
    curvature = lambda at, direction: network.hvp(at, direction, [1.0])[1]  # noqa: E731
    refined = minimize(
        network.value_and_gradient, best.x, jac=True, hessp=curvature, method="trust-ncg", options={"gtol": 1e-9}
    )
    guessed = minimize(lambda at: network(at)[0], starts[0], method="L-BFGS-B", bounds=bounds)  # by differences
    reached = float(hartmann(refined.x[None])[0])
    print(f"Hartmann's function at the surrogate's lowest point: {reached:.4f}; the lowest that there is: {LOWEST:.4f}")
    slope = float(np.abs(refined.jac).max())
    print(f"the best of 20 descents needed {refined.nit} steps of Newton's method more; slope left: {slope:.0e}")
    print(f"the first descent: {found[0].nfev} calls with the gradient, {guessed.nfev} of values alone")
    return {
        "reached": reached,
        "slope": slope,
        "calls": found[0].nfev,
        "guessed": guessed.nfev,
    }


def brusselator(epochs: int, cells: int, generator: np.random.Generator) -> dict[str, float]:
    """Part 2: 2 x `cells` equations."""
    x = generator.uniform([0.2, 0.8], [3.2, 4.4], (10_000, 2))
    network = surrogate(x, reaction(x), "tanh", epochs)

    place = np.arange(1, cells + 1) / (cells + 1)
    start = np.column_stack([1 + np.sin(2 * np.pi * place), np.full(cells, 3.0)]).ravel()
    per_cell = 0.02 * (cells + 1) ** 2
    ones = np.ones(cells)
    neighbours = sparse.diags_array([ones[1:], -2 * ones, ones[1:]], offsets=[-1, 0, 1])
    diffusion = per_cell * sparse.kron(neighbours, sparse.eye_array(2), format="csc")
    ends = np.zeros((cells, 2))
    ends[[0, -1]] = per_cell * np.array([1.0, 3.0])  # what flows in from both ends

    def rates(made, state):
        return diffusion @ state + (ends + made(state.reshape(cells, 2))).ravel()

    def jacobian(_, state):
        blocks = network.jacobian(state.reshape(cells, 2))[1]  # (cells, 2, 2): a cell's reaction knows its cell alone
        return diffusion + sparse.block_diag(blocks, format="csc")

    def solve(made, jac=None):
        begun = time.perf_counter()
        answer = solve_ivp(lambda _, state: rates(made, state), (0, 10), start, "BDF", jac=jac, rtol=1e-5, atol=1e-7)
        return answer, time.perf_counter() - begun

    true, _ = solve(reaction)
    guessed, slow = solve(network)
    given, fast = solve(network, jacobian)
    error = float(np.abs(given.y[:, -1] - true.y[:, -1]).max())
    print(f"Brusselator, {2 * cells} equations: at the end the state is within {error:.4f} of the true reaction's")
    print(f"{fast * 1e3:.0f} ms with the network's Jacobian, {slow * 1e3:.0f} ms with one of differences")
    return {"error": error, "same": float(np.abs(given.y[:, -1] - guessed.y[:, -1]).max()), "slow": slow, "fast": fast}


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Train, use, print; return the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few epochs: to see that it runs")
    quick = parser.parse_args(arguments).quick
    fastnn.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    figures = lowest_point(40 if quick else 150, generator)
    return figures | brusselator(25 if quick else 150, 50 if quick else 200, generator)


if __name__ == "__main__":
    main()
