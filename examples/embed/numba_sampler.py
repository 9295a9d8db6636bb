"""Numba: a frozen network and its gradient in a compiled loop, here a Hamiltonian Monte Carlo sampler.

The landscape of landscape.py is taken as an energy: points are drawn with the density exp(-height / T) over the square.
A draw is ten leaps along the slope, each with one call of `fnn_vjp`, which gives value and gradient; neither Python nor
its lock has a part in it. The means of all draws are compared with sums over a grid.

    python examples/embed/numba_sampler.py     # needs Numba
"""

from __future__ import annotations

import ctypes
import time

import numba
import numpy as np
from landscape import learn

import fastnn

TEMPERATURE, LEAPS, LEAP, EDGE = 3.0, 10, 0.4, 5.0

# int fnn_vjp(predictor, x, rows, u, y, gradient): Numba calls functions of ctypes, and takes arrays by `.ctypes`.
fnn_vjp = ctypes.CDLL(fastnn.predictor.get_library()).fnn_vjp
fnn_vjp.argtypes = [ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_void_p] * 3]
fnn_vjp.restype = ctypes.c_int


@numba.njit(nogil=True)
def sample(address: int, draws: int, seed: int) -> np.ndarray:
    """Points (draws, 2) of a chain that begins in the middle; `address` is that of the predictor."""
    np.random.seed(seed)  # noqa: NPY002  Numba's own generator
    one, value, slope = np.ones(1), np.empty(1), np.empty(2)
    place, chain = np.zeros(2), np.empty((draws, 2))
    failed = fnn_vjp(address, place.ctypes, 1, one.ctypes, value.ctypes, slope.ctypes)
    height, start_slope = value[0], slope.copy()
    for k in range(draws):
        point, speed = place.copy(), np.random.standard_normal(2)  # noqa: NPY002
        energy = height / TEMPERATURE + np.sum(speed**2) / 2
        slope[:] = start_slope
        for _ in range(LEAPS):
            speed -= LEAP / 2 * slope / TEMPERATURE
            point += LEAP * speed
            failed |= fnn_vjp(address, point.ctypes, 1, one.ctypes, value.ctypes, slope.ctypes)
            speed -= LEAP / 2 * slope / TEMPERATURE
        inside = np.max(np.abs(point)) <= EDGE
        if inside and np.log(np.random.random()) < energy - value[0] / TEMPERATURE - np.sum(speed**2) / 2:  # noqa: NPY002
            place, height, start_slope = point, value[0], slope.copy()
        chain[k] = place
    if failed:
        raise MemoryError
    return chain


def by_grid(network: fastnn.predictor.Predictor) -> np.ndarray:
    """Means and mean squares of x and y under the same density, by a grid of 400 x 400 points."""
    side = (np.arange(400) + 0.5) / 200 * EDGE - EDGE
    points = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    weights = np.exp(-network(points)[:, 0] / TEMPERATURE)
    return np.concatenate([weights @ points, weights @ points**2]) / weights.sum()


def main(epochs: int = 100, draws: int = 100_000) -> dict:
    """Learn, draw, compare, print; return the figures."""
    network = learn(epochs)
    sample(network.address, 1, 0)  # compiles
    begun = time.perf_counter()
    chain = sample(network.address, draws, 1)
    seconds = time.perf_counter() - begun
    drawn = np.concatenate([chain.mean(axis=0), (chain**2).mean(axis=0)])
    exact = by_grid(network)
    print(f"{draws} draws of {LEAPS} gradients in {seconds:.2f} s: {seconds / draws / LEAPS * 1e6:.2f} µs a gradient")
    print(f"means of x, y, x², y²: {drawn.round(2)} drawn, {exact.round(2)} by the grid")
    return {"drawn": drawn, "exact": exact, "moved": float(np.mean(np.any(np.diff(chain, axis=0) != 0, axis=1)))}


if __name__ == "__main__":
    main()
