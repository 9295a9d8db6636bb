"""Random numbers for parameters: from NumPy's Philox generator, so independent of threads, some at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from fastnn._engine import _packed_product
from fastnn._seeds import next_seed

PIECE = 2**20  # numbers that are drawn at a time: some milliseconds


def generator(seed: int | None) -> np.random.Generator:
    """The source of one initializer's numbers; None: with the next seed of the process."""
    return np.random.Generator(np.random.Philox(next_seed() if seed is None else seed))


def filled(shape: tuple[int, ...], draw: Callable[[int], npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """As many numbers as the shape holds, some at a time, so that Ctrl-C need not wait for all of them.

    `draw` gives the next n; how many it is asked for at once does not change them.
    """
    values = np.empty(shape)
    flat = values.reshape(-1)
    for start in range(0, flat.size, PIECE):
        piece = flat[start : start + PIECE]
        piece[:] = draw(piece.size)
    return values


def truncated_normal(generator: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Unit normals, of which those beyond two are drawn again."""
    values = filled(shape, generator.standard_normal)
    flat = values.reshape(-1)
    beyond = [start + np.flatnonzero(np.abs(flat[start : start + PIECE]) > 2) for start in range(0, flat.size, PIECE)]
    outside = np.concatenate([np.empty(0, np.intp), *beyond])
    while outside.size:
        flat[outside] = generator.standard_normal(outside.size)
        outside = outside[np.abs(flat[outside]) > 2]
    return values


def make_orthonormal(vectors: npt.NDArray[np.float64], block: int = 64) -> None:
    """Gram and Schmidt in place, a block of rows at a time, each twice, which is enough (Giraud et al. 2005).

    LAPACK's QR would be the same up to rounding, but its bits change with the number of BLAS threads; those of the
    engine's product do not.
    """
    for start in range(0, len(vectors), block):
        done, panel = vectors[:start], vectors[start : start + block]
        for _ in range(2):
            if start:
                along, inside = np.empty((len(panel), start)), np.empty_like(panel)
                _packed_product(panel, done, along, transposed=True)
                _packed_product(along, done, inside)
                panel -= inside
            for k, row in enumerate(panel):
                row /= math.sqrt(np.square(row).sum())
                rest = panel[k + 1 :]
                rest -= np.multiply.outer((rest * row).sum(axis=1), row)
