"""How raw data, such as text, pass through the layers that make numbers of them before the engine runs."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fastnn.layers.base import Layer, in_line


def raw_readers(layers: Iterable[Layer]) -> Iterator[Layer]:
    """Yield the layers among these, and within them, that read raw data."""
    for layer in layers:
        if layer.prepares:
            yield layer
        yield from raw_readers(layer._layers)


def raw_reader(layers: Iterable[Layer]) -> Layer | None:
    """Return a layer among these, or within them, that reads raw data; None where there is none."""
    return next(raw_readers(layers), None)


def form_of(layer: Layer) -> tuple[Any, ...]:
    """Return what the numbers depend on that a layer makes of raw data: equal forms give equal numbers."""
    arguments = {name: value for name, value in layer.get_config().items() if name != "name"}
    return type(layer), layer._column_names, _hashable(arguments)


def _hashable(value: Any) -> Any:
    """Return lists and dicts of a configuration as tuples."""
    if isinstance(value, dict):
        return tuple((name, _hashable(one)) for name, one in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def prepared(layers: Iterable[Layer], values: Any, name: str) -> Any:
    """Return raw data as the first layer that computes gets them."""
    for layer in layers:
        if layer.in_line:
            values = prepared(layer._layers, values, name)
        elif layer.prepares:
            values = layer.prepare(values, name)
        if not layer.idle:
            break
    return values


def preparation(layers: Iterable[Layer]) -> Callable[[Any, str], Any]:
    """Return :func:`prepared` with copies of those of the layers that prepare: a function which can be pickled."""
    copies = [copy.copy(layer) for layer in in_line(layers) if layer.prepares]
    for layer in copies:
        layer._home = layer._parent = None
    return functools.partial(prepared, copies)


def check_preparation(layers: Iterable[Layer], *, raw: bool) -> None:
    """Raise where a layer that reads raw data does not get them; `raw` says that the first of the layers does."""
    for layer in in_line(layers):
        if layer.prepares and not raw:
            raise ValueError(f"layer {layer.name!r} must be the first of a model or of a branch: it reads raw data")
        raw = raw and layer.idle
