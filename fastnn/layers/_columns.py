"""What layers know of their input's columns by name: a column's statistic belongs to the column, wherever it lies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fastnn.data.frames import in_order, is_frame, listed, text_names
from fastnn.layers.base import Layer, in_line


def as_told(layer: Layer, data: Any) -> tuple[Any, tuple[str, ...] | None]:
    """Return data for a layer to adapt to, and the names of their columns, None where they have none.

    The columns of a frame come in the order in which the layer's model or branch reads them, where these are the same.

    Raises
    ------
    ValueError
        When several columns of a frame have one name.
    """
    names = text_names(data, "data") if is_frame(data) else None
    told = layer._names_told()
    if names is None or told is None or set(told) != set(names):
        return data, names
    return in_order(data, told, "data"), tuple(told)


def in_told_order(layer: Layer, values: Any, name: str) -> Any:
    """Return values with the columns in the order of those that the layer was adapted to, where both have names."""
    known = layer._column_names
    return values if known is None or not is_frame(values) else in_order(values, known, name, f"{layer._called}'s data")


def adapted(layers: Iterable[Layer]) -> Iterator[tuple[Layer, tuple[str, ...]]]:
    """Yield those of the layers that know the names of x's columns, and the names: x reaches them column by column."""
    for layer in in_line(layers):
        if layer._column_names is not None:
            yield layer, layer._column_names
        if not layer.keeps_columns:
            return


def check_order(layers: Iterable[Layer], names: Sequence[Any], reader: str) -> None:
    """Raise where one of the layers was adapted to the same columns in another order than `reader` reads them."""
    for layer, known in adapted(layers):
        if known != tuple(names) and set(known) == set(names):
            raise ValueError(
                f"{layer._called} was adapted to the columns {listed(known)}, and {reader} reads them in "
                f"the order {listed(names)}: adapt it again, to columns in that order"
            )
