"""Sets of rows, one for each member of an ensemble, checked and as the engine reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Order = npt.NDArray[np.int64]


def row_sets(given: Any, members: int, rows: int, name: str, *, may_be_all: bool = False) -> list[Order | None]:
    """Return the rows of each member: numbers of rows, some perhaps several times, or None for all rows.

    Members that are given the same object share what is made of it.

    Parameters
    ----------
    given : sequence of array-like or None
        For each member numbers of rows, or a bool for each row; None stands for all rows where they `may_be_all`.
    members : int
    rows : int
        The number of rows that there are.
    name : str
        What messages call `given`.

    Raises
    ------
    TypeError, ValueError, IndexError
        When the sets cannot be used; the message is one sentence.
    """
    if given is None and may_be_all:
        return [None] * members
    if isinstance(given, (str, bytes, dict, set)) or not hasattr(given, "__len__"):
        raise TypeError(f"{name} must be a sequence with the rows of each member, got {type(given).__name__}")
    if len(given) != members:
        raise ValueError(f"{name} must hold the rows of each of the {members} members, got {len(given)} sets")
    done: dict[int, Order | None] = {}
    one_of_each = list(given)
    for k, one in enumerate(one_of_each):
        if id(one) not in done:
            done[id(one)] = None if one is None and may_be_all else _rows(one, rows, f"{name}[{k}]")
    return [done[id(one)] for one in one_of_each]


def _rows(given: Any, rows: int, name: str) -> Order:
    """Return the numbers of a member's rows."""
    array = np.asarray(given)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{name} must hold at least one row, in one axis, got shape {array.shape}")
    if array.dtype == bool:
        if len(array) != rows:
            raise ValueError(f"{name} must hold a bool for each of the {rows} rows of x, got {len(array)}")
        if not array.any():
            raise ValueError(f"{name} must hold at least one row, and all of its bools are False")
        return np.flatnonzero(array).astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold numbers of rows, or a bool for each row, got {array.dtype}")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= rows:
        raise IndexError(f"{name} must hold rows from 0 to {rows - 1}, got {low if low < 0 else high}")
    return np.array(array, np.int64)
