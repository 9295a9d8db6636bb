"""What the fitted encoders of scikit-learn make of each value of a column, as tables."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn.data.values import is_missing

Array = npt.NDArray[Any]
# the last only where y is a number or one of two classes: a column that becomes several has no place of its own
ENCODERS = ("OneHotEncoder", "OrdinalEncoder", "TargetEncoder")


def kind_of(step: Any) -> str:
    """Return the name of the class where that is one of scikit-learn's own; empty elsewhere."""
    kind = type(step)
    return kind.__name__ if kind.__module__.startswith("sklearn.") else ""


class Table(NamedTuple):
    """What an encoder makes of a column.

    Attributes
    ----------
    values : list
        The values that the column is known to have, without a missing one.
    rows : ndarray, shape (values, size)
        What becomes of each value.
    unknown, missing : ndarray, shape (size,)
        What becomes of any other value, and of a missing one; NaN where the encoder raises.
    """

    values: list[Any]
    rows: Array
    unknown: Array
    missing: Array

    @property
    def size(self) -> int:
        """The number of columns that the column becomes."""
        return int(self.rows.shape[1])

    @property
    def is_one_hot(self) -> bool:
        """Whether each column stands for one value, and no column for any other value or a missing one."""
        ones = ((self.rows == 0) | (self.rows == 1)).all() and (self.rows.sum(axis=0) == 1).all()
        return bool(ones and (self.rows.sum(axis=1) <= 1).all() and not self.unknown.any() and not self.missing.any())


def is_encoder(step: Any) -> bool:
    """Return whether the object is an encoder of scikit-learn's own."""
    return kind_of(step) in ENCODERS


def check_imputer(step: Any) -> None:
    """Raise where a SimpleImputer fills in something else than what is missing here."""
    if not is_missing(step.missing_values):
        raise ValueError(
            f"estimator has a SimpleImputer with missing_values={step.missing_values!r}; here NaN and None are missing"
        )
    if not hasattr(step, "statistics_"):
        raise ValueError("estimator must be fitted, but a SimpleImputer of it has no statistics_: call fit first")


def tables_of(steps: Sequence[Any]) -> list[Table]:
    """Return a table for each column; the last of the steps is an encoder, before which only imputers may stand."""
    *before, encoder = steps
    if not hasattr(encoder, "categories_"):
        raise ValueError(f"estimator must be fitted, but a {type(encoder).__name__} has no categories_: call fit first")
    for step in before:
        if kind_of(step) != "SimpleImputer" or len(before) > 1:
            raise ValueError(
                f"estimator has {type(step).__name__} before an encoder; only a SimpleImputer may stand there"
            )
    encoded, sizes = _encoded(encoder), _sizes(encoder)
    ends = np.cumsum(sizes)
    parts = np.split(encoded, ends[:-1], axis=1)
    if ends[-1] != encoded.shape[1]:
        raise ValueError(f"estimator has a {type(encoder).__name__} whose columns do not belong to one column each")
    fills: Sequence[Any] = ()
    if before:
        check_imputer(before[0])
        fills = before[0].statistics_
        if getattr(before[0], "indicator_", None) is not None or len(fills) != len(encoder.categories_):
            raise ValueError(
                "estimator has a SimpleImputer that adds or drops columns before an encoder; no layer does"
            )
    return [_table(encoder, place, parts[place], fills[place : place + 1]) for place in range(len(sizes))]


def _encoded(encoder: Any) -> Array:
    """Return what becomes of the categories, column by column: row k has the k-th of each column, or its last."""
    categories = encoder.categories_
    numbers = all(values.dtype.kind in "biuf" for values in categories)
    rows = np.empty((max(map(len, categories)), len(categories)), np.float64 if numbers else object)
    for place, values in enumerate(categories):
        rows[:, place] = values[np.minimum(np.arange(len(rows)), len(values) - 1)]
    nameless = copy.copy(encoder)
    vars(nameless).pop("feature_names_in_", None)  # it would warn that an array has no names
    encoded = nameless.transform(rows)
    return np.asarray(encoded.toarray() if hasattr(encoded, "toarray") else encoded, np.float64)


def _sizes(encoder: Any) -> list[int]:
    """Return the number of columns that each column becomes."""
    if type(encoder).__name__ != "OneHotEncoder":
        return [1] * len(encoder.categories_)
    sizes = []
    rare = getattr(encoder, "infrequent_categories_", [None] * len(encoder.categories_))
    for place, values in enumerate(encoder.categories_):
        together = rare[place]
        kept = len(values) if together is None else len(values) - len(together) + 1
        dropped = encoder.drop_idx_ is not None and encoder.drop_idx_[place] is not None
        sizes.append(kept - int(dropped))
    return sizes


def _table(encoder: Any, place: int, encoded: Array, fill: Sequence[Any]) -> Table:
    """Return the table of a column; `fill` holds what an imputer before the encoder fills in, where there is one."""
    categories = encoder.categories_[place]
    encoded = encoded[: len(categories)]
    unknown = _unknown(encoder, place, encoded)
    there = np.array([not is_missing(value) for value in categories], bool)
    if np.sum(~there) > (len(fill) == 0):
        raise ValueError(
            "estimator has an encoder that knows None and NaN apart, as behind a SimpleImputer of the other one, and "
            "both are the one missing value here: fit it to data with one of them"
        )
    missing = encoded[~there][0] if not there.all() else unknown
    if len(fill):
        same = [k for k, value in enumerate(categories) if there[k] and value == fill[0]]
        missing = encoded[same[0]] if same else unknown
    values = [value.item() if isinstance(value, np.generic) else value for value in categories[there]]
    return Table(values, encoded[there], unknown, missing)


def _unknown(encoder: Any, place: int, encoded: Array) -> Array:
    """Return what the encoder makes of a value that it does not know; NaN where it raises."""
    kind, size = type(encoder).__name__, encoded.shape[1]
    if kind == "TargetEncoder":
        return np.full(size, encoder.target_mean_, np.float64)
    if encoder.handle_unknown == "error":
        return np.full(size, np.nan)
    if kind == "OrdinalEncoder":
        return np.full(size, encoder.unknown_value, np.float64)
    rare = getattr(encoder, "infrequent_categories_", None)
    if encoder.handle_unknown != "ignore" and rare is not None and rare[place] is not None:
        return encoded[list(encoder.categories_[place]).index(rare[place][0])]
    return np.zeros(size)
