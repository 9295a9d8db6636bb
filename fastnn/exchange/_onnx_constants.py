"""Numbers that a graph comes with: arrays, or tensors of the file that are read when the model's memory is there."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn.exchange._onnx_tensors import Tensor
from fastnn.exchange._protobuf import Budget

Array = npt.NDArray[Any]


class Constant:
    """An array of a graph.

    Parameters
    ----------
    held : ndarray or Tensor
    budget : Budget
        What an array that has to be read is charged to.
    shape : tuple of int, optional
        The shape, where it is not the one of `held`.
    transposed : bool
        Whether this is the transpose of a matrix of that shape.
    """

    def __init__(
        self, held: Array | Tensor, budget: Budget, shape: tuple[int, ...] | None = None, transposed: bool = False
    ) -> None:
        self._held, self.budget, self._transposed = held, budget, transposed
        self._stored = held.shape if shape is None else shape
        self.shape: tuple[int, ...] = self._stored[::-1] if transposed else self._stored

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the numbers."""
        return self._held.dtype

    @property
    def size(self) -> int:
        """The number of numbers."""
        return self._held.size

    @property
    def rounded(self) -> bool:
        """Whether the numbers have been rounded to 16 bits."""
        return self.dtype == np.float16 or (isinstance(self._held, Tensor) and self._held.data_type == 16)

    def array(self) -> Array:
        """Return the numbers, not to be written to."""
        if isinstance(self._held, Tensor):
            self._held = self._held.array(self.budget)
        array = self._held.reshape(self._stored)
        return array.T if self._transposed else array

    def transpose(self) -> Constant:
        """Return the transpose of a matrix, of which nothing is read yet."""
        return Constant(self._held, self.budget, self._stored, not self._transposed)

    def reshape(self, shape: tuple[int, ...]) -> Constant:
        """Return the numbers in the same order in another shape of the same size."""
        if self._transposed:
            return Constant(self.array(), self.budget).reshape(shape)
        return Constant(self._held, self.budget, shape)

    def copy_to(self, view: Array, scale: Any = 1.0) -> None:
        """Write a matrix times `scale`, one factor or one a column, to an array of its shape, some rows at a time."""
        target = view.T if self._transposed else view
        factors = np.broadcast_to(np.asarray(scale, np.float64), view.shape)
        factors = factors.T if self._transposed else factors
        plain = np.ndim(scale) == 0 and scale == 1
        flat, at = target.shape, 0
        pieces = self._held.pieces() if isinstance(self._held, Tensor) else [self._held]
        for piece in pieces:
            for numbers in _of_rows(piece.reshape(-1), at, flat[1]):
                row, column = divmod(at, flat[1])
                rows = max(numbers.size // flat[1], 1)
                place = (slice(row, row + rows), slice(column, column + numbers.size // rows))
                block = numbers.reshape(rows, -1)
                target[place] = block if plain else block * factors[place]
                at += numbers.size


def _of_rows(numbers: Array, at: int, width: int) -> list[Array]:
    """Return numbers, the first of which is the one of place `at` in a matrix, as parts of a row and whole rows."""
    head = min(-at % width, len(numbers))
    whole = (len(numbers) - head) // width * width
    cuts = [0, head, head + whole, len(numbers)]
    return [numbers[a:b] for a, b in pairwise(cuts) if b > a]
