"""Random numbers for parameters, drawn some at a time from NumPy's Philox generator: they do not depend on threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import numpy.typing as npt

from fastnn._engine import _packed_product
from fastnn._seeds import next_seed, skip_seed

PIECE = 2**20  # numbers that are drawn at a time, which takes some milliseconds
# The standard deviation of a standard normal cut off at -2 and 2; drawn numbers are divided by it, as in Keras.
TRUNCATED_STDDEV = 0.87962566103423978

# whether values that would be drawn are zeros: a block of undrawn() is open in this thread
_of_zeros: ContextVar[bool] = ContextVar("parameters are zeros", default=False)


@contextmanager
def undrawn() -> Iterator[None]:
    """Make parameters zeros within a ``with`` block, whose caller sets them next; later seeds stay the same."""
    token = _of_zeros.set(True)
    try:
        yield
    finally:
        _of_zeros.reset(token)


def is_passed_by(seed: int | None) -> bool:
    """Return whether a block of :func:`undrawn` is open; an initializer without a seed then passes by its next one."""
    passed = _of_zeros.get()
    if passed and seed is None:
        skip_seed()
    return passed


def generator(seed: int | None) -> np.random.Generator:
    """Return the source of one initializer's numbers; for None its seed is the next seed of the process."""
    return np.random.Generator(np.random.Philox(next_seed() if seed is None else seed))


def filled(shape: tuple[int, ...], draw: Callable[[int], npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Return as many numbers as the shape holds, drawn some at a time, so that Ctrl-C need not wait for all of them.

    `draw(n)` returns the next n numbers, which do not depend on how many are drawn at once.
    """
    values = np.empty(shape)
    flat = values.reshape(-1)
    for start in range(0, flat.size, PIECE):
        piece = flat[start : start + PIECE]
        piece[:] = draw(piece.size)
    return values


def truncated_normal(generator: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return standard normal numbers; those beyond two are drawn again."""
    values = filled(shape, generator.standard_normal)
    flat = values.reshape(-1)
    beyond = [start + np.flatnonzero(np.abs(flat[start : start + PIECE]) > 2) for start in range(0, flat.size, PIECE)]
    outside = np.concatenate([np.empty(0, np.intp), *beyond])
    while outside.size:
        flat[outside] = generator.standard_normal(outside.size)
        outside = outside[np.abs(flat[outside]) > 2]
    return values


def make_orthonormal(vectors: npt.NDArray[np.float64], block: int = 64) -> None:
    """Make the rows orthonormal in place, as Gram and Schmidt do, a block of rows at a time.

    Each block is made orthogonal twice, which is enough (Giraud et al. 2005). LAPACK's QR would give the same numbers
    up to rounding, but its bits change with the number of BLAS threads; the bits of the engine's product do not.
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
