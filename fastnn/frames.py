"""Data frames of any library: what has columns under names, and what any array-like is as an array of numbers.

Nothing is imported for a frame and nothing else is asked of one than its `columns` (an Arrow table's `column_names`),
``frame[name]``, and that NumPy can read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import sparse

Array = npt.NDArray[Any]


def is_query(x: Any) -> bool:
    """Whether x is a frame that its library has not computed yet, as a LazyFrame of polars."""
    return hasattr(type(x), "collect") and not hasattr(type(x), "__array__")


def is_frame(x: Any) -> bool:
    """Whether x is a data frame."""
    if isinstance(x, (np.ndarray, Mapping)) or sparse.is_sparse(x) or is_query(x):
        return False
    return hasattr(x, "columns")


def has_names(x: Any) -> bool:
    """Whether x is a dict of arrays or a data frame."""
    return is_frame(x) or (isinstance(x, Mapping) and not sparse.is_sparse(x))  # one of whose formats is a dict


def column_names(x: Any) -> list[Any]:
    """The names in a dict of arrays or a data frame; Arrow's tables have the columns themselves as `columns`."""
    return list(x) if isinstance(x, Mapping) else list(getattr(x, "column_names", x.columns))


def by_column(values: Any, names: Sequence[str]) -> Any:
    """The columns of a data frame that have one of the names, as a dict; what is no frame as it is."""
    return {key: values[key] for key in column_names(values) if key in names} if is_frame(values) else values


def check_collected(values: Any, name: str) -> None:
    """Raise for a query."""
    if is_query(values):
        kind = type(values).__name__
        raise TypeError(f"{name} is a {kind}, whose rows are not there yet: pass {name}.collect()")


def real_array(values: Any, name: str) -> Array:
    """An ndarray of a real kind, or one sentence on what `values` is instead."""
    if sparse.is_sparse(values):
        raise TypeError(f"{name} is a sparse matrix, which it cannot be: pass {name}.toarray()")
    check_collected(values, name)
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        if is_frame(values) and array.ndim == 2 and array.shape[1]:  # numbers and bools, or a column of no numbers
            return np.column_stack([real_array(values[key], f"{name}[{key!r}]") for key in column_names(values)])
        kind = {"c": "complex", "O": "object", "U": "text", "S": "bytes"}.get(array.dtype.kind, str(array.dtype))
        raise TypeError(f"{name} must hold real numbers, got {kind} data (dtype {array.dtype})")
    return array
