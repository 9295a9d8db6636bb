"""How raw data, such as text, pass through the layers that make numbers of them before the engine runs."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable
from typing import Any

from fastnn.layers.base import Layer, in_line


def raw_reader(layers: Iterable[Layer]) -> Layer | None:
    """Return a layer among these, or within them, that reads raw data; None where there is none."""
    for layer in layers:
        found = layer if layer.prepares else raw_reader(layer._layers)
        if found is not None:
            return found
    return None


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
