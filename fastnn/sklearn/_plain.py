"""What scikit-learn's checks would return, in a fraction of their time: X and y as they are, and random numbers."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.random.bit_generator import ISeedSequence
from sklearn.utils import check_random_state

from fastnn._engine import all_finite
from fastnn.data import frames, sparse

FLOATS = (np.float64, np.float32)  # dtypes of X that are kept; others become the first
TIMES = (datetime.date, datetime.time, datetime.timedelta)
TEXT_IN_X = "make numbers of it first, as with a OneHotEncoder in a ColumnTransformer, or use fastnn.tabular"


def check_kind(values: Any, name: str, text: str | None = TEXT_IN_X) -> None:
    """Raise one sentence where values are a query, or dates, times or durations, of which scikit-learn makes numbers.

    Parameters
    ----------
    values : array-like
    name : str
        What messages call them.
    text : str or None
        What the message says to do with text; with None the values may be anything but a query.
    """
    frames.check_collected(values, name)
    knows_its_kind = hasattr(values, "dtype") or hasattr(values, "type")
    if text is None or not knows_its_kind or sparse.is_sparse(values) or not getattr(values, "ndim", 1):
        return
    array = frames.as_array(values[:1], name)
    if array.dtype.kind in "mM" or (array.dtype.kind == "O" and isinstance(next(iter(array.flat), None), TIMES)):
        frames.real_array(values, name, text)


def is_plain(x: Any) -> bool:
    """Return whether x is rows of finite floats, so that scikit-learn's check would return it as it is."""
    return (
        type(x) is np.ndarray
        and x.dtype in FLOATS
        and x.flags.c_contiguous
        and x.flags.aligned  # arrays that come from another process may lie anywhere
        and x.ndim == 2
        and x.size > 0
        and all_finite(x)
    )


def plain_rows(x: Any) -> Any:
    """Return what scikit-learn's check would make of x, where that is rows of finite floats; else None.

    Arrays of integers, lists of rows and arrays that do not lie row by row are converted.
    """
    if type(x) is list and x and type(x[0]) in (list, tuple):
        x = np.asarray(x)
    if type(x) is not np.ndarray or x.ndim != 2:
        return None
    if x.dtype.kind in "biu":
        x = x.astype(np.float64)
    elif x.dtype in FLOATS and not (x.flags.c_contiguous and x.flags.aligned):
        x = np.array(x, order="C")
    return x if is_plain(x) else None


def is_plain_column(y: Any) -> bool:
    """Return whether y is a column of finite numbers, so that scikit-learn's check would return it as it is."""
    if type(y) is not np.ndarray or y.ndim != 1:
        return False
    return y.dtype.kind in "biu" or (y.dtype in FLOATS and bool(np.isfinite(y).all()))


class _Blank(ISeedSequence):
    """Seeds of zeros, for a generator that is seeded next."""

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> npt.NDArray[Any]:
        """Return zeros."""
        return np.zeros(n_words, dtype)


_BLANK = _Blank()


def random_numbers(seed: Any) -> np.random.RandomState:
    """Return what ``check_random_state`` does; for a whole number without the seeds that NumPy makes for no use."""
    if not isinstance(seed, (int, np.integer)):
        return check_random_state(seed)
    numbers = np.random.RandomState(np.random.MT19937(_BLANK))  # type: ignore[arg-type]  # any ISeedSequence
    numbers.seed(seed)
    return numbers
