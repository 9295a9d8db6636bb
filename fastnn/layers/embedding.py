"""A layer that puts rows of a table in the place of whole numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn import initializers
from fastnn._op import Op
from fastnn.constraints import Constraint
from fastnn.layers.base import Layer, Parameter, SharedWithPenalty, check_width
from fastnn.layers.categories import LARGEST, check_categories
from fastnn.regularizers import Regularizer

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Embedding(Layer):
    """The first layer for columns of whole numbers: each number k becomes row k of a table, side by side.

    Parameters
    ----------
    input_dim : int
        Rows of the table, at most 2**24; the numbers in x go from 0 to input_dim - 1.
    output_dim : int
        Columns of the table. A row of x with n numbers gives n * output_dim features.
    embeddings_initializer : str or Initializer, default "uniform"
    embeddings_regularizer : str or Regularizer, optional
    embeddings_constraint : str or Constraint, optional
    **shared
        See :class:`Layer`.

    Notes
    -----
    All columns share the table. A number outside the table is an error in fit, evaluate and predict; the frozen
    predictor, which checks nothing, gives NaN for such a number.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Embedding(10, 3)])
    >>> model.predict([[1, 9]]).shape
    (1, 6)
    """

    takes_activity_regularizer = True
    embeddings_regularizer: Regularizer | None
    embeddings_constraint: Constraint | None

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        **shared: Unpack[SharedWithPenalty],
    ) -> None:
        super().__init__(**shared)
        self.input_dim, self.output_dim = check_width("input_dim", input_dim), check_width("output_dim", output_dim)
        if self.input_dim > LARGEST:
            raise ValueError(f"input_dim must be at most 2**24, got {input_dim}")
        self.embeddings_initializer = initializers.get(embeddings_initializer, "embeddings_initializer")
        self._set_penalties(embeddings_regularizer=embeddings_regularizer, embeddings_constraint=embeddings_constraint)
        self._features = 0

    def build(self, inputs: int) -> int:
        """Return the number of outputs: `output_dim` for each input."""
        self._features = inputs
        return inputs * self.output_dim

    def parameters(self) -> list[Parameter]:
        """Return the table, of shape (input_dim, output_dim)."""
        return [Parameter("embeddings", (self.input_dim, self.output_dim), self.embeddings_initializer)]

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return the one op of the layer."""
        width = self._features * self.output_dim
        return [
            Op("embedding", "linear", self._features, width, offsets["embeddings"], numbers=(float(self.input_dim),)),
        ]

    def check_rows(self, rows: npt.NDArray[Any], name: str, first: int = 0) -> None:
        """Raise one sentence where a number is not the place of a row of the table."""
        check_categories(rows, self.input_dim, self, name, first)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
        }


def fill_unseen(table: npt.NDArray[Any], numbers: npt.NDArray[Any], sizes: Iterable[int]) -> None:
    """Give the entries of a table that no row has the mean of those that rows have, each as often as rows have it.

    Parameters
    ----------
    table : ndarray, shape (entries, units)
        Changed in place.
    numbers : ndarray of whole numbers
        The entries that rows have.
    sizes : iterable of int
        The entries of each column: its mean is that of its own entries. Those of one column follow those of another.
    """
    counts = np.bincount(numbers.ravel().astype(np.int64), minlength=len(table))
    start = 0
    for size in sizes:
        entries, times = table[start : start + size], counts[start : start + size]
        if times.any():
            entries[times == 0] = np.average(entries.astype(np.float64), axis=0, weights=times)
        start += size
