"""Random numbers for parameters, drawn in pieces from NumPy's Philox generator: they do not depend on threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._engine import _packed_product, get_num_threads
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


def source(seed: int | None) -> np.random.Philox:
    """Return the source of one initializer's numbers; for None its seed is the next seed of the process."""
    return np.random.Philox(next_seed() if seed is None else seed)


Draw = Callable[[np.random.Generator, int], npt.NDArray[np.float64]]
normal = np.random.Generator.standard_normal


def fill(values: npt.NDArray[Any], source: np.random.Philox, draw: Draw) -> None:
    """Fill a contiguous array with numbers drawn by all threads, a piece at a time.

    `draw(generator, n)` returns n numbers from a generator. Each piece has a stream of its own, the k-th begins k 2^128
    numbers after the first: so the numbers do not depend on threads. Between two pieces Ctrl-C ends the drawing.
    """
    flat = values.reshape(-1)
    pieces = range(-(-flat.size // PIECE))

    def fill_piece(k: int) -> None:
        piece = flat[k * PIECE : (k + 1) * PIECE]
        piece[:] = draw(np.random.Generator(source.jumped(k)), piece.size)

    if len(pieces) == 1:
        fill_piece(0)
    elif pieces:
        with ThreadPoolExecutor(min(get_num_threads(), len(pieces))) as pool:
            drawn = [pool.submit(fill_piece, k) for k in pieces]
            try:
                for each in drawn:
                    each.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def truncated(generator: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    """Return so many standard normal numbers; those beyond two are drawn again."""
    values = generator.standard_normal(count)
    outside = np.flatnonzero(np.abs(values) > 2)
    while outside.size:
        values[outside] = generator.standard_normal(outside.size)
        outside = outside[np.abs(values[outside]) > 2]
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
