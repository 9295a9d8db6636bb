"""What prunes an ensemble that shares its weights: where in a model it lies, and which members do best together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastnn.sequential import Sequential


def best_together(each: Any, most: int, loss: Callable[[Any], float], *, exact: bool) -> list[int]:
    """Return at most so many members whose mean has the least loss, one chosen after the other; in rising order.

    Parameters
    ----------
    each : ndarray, shape (rows, members, outputs)
    most : int
    loss : callable
        Of a mean, (rows, outputs).
    exact : bool
        Whether as many as `most` are chosen, though the loss rises.
    """
    chosen: list[int] = []
    best = float("inf")
    while len(chosen) < most:
        left = [member for member in range(each.shape[1]) if member not in chosen]
        found = [loss(each[:, [*chosen, member]].mean(axis=1)) for member in left]
        if chosen and not exact and min(found) >= best:
            break
        best = min(found)
        chosen.append(left[found.index(best)])
    return sorted(chosen)


def ends_of_members(model: Sequential) -> tuple[int, int]:
    """Return the places of the layers that begin and end an ensemble of members; raise where there is none."""
    if not isinstance(model, Sequential):
        raise TypeError(f"model must be a Sequential model, got {type(model).__name__}")
    kinds = [type(layer).__name__ for layer in model.layers]
    if "EnsembleScale" not in kinds or "EnsembleMean" not in kinds:
        raise ValueError("model must have an EnsembleScale and an EnsembleMean among its layers to be pruned")
    if not model.built or model.loss is None:
        raise ValueError("model must be built and compiled to be pruned: train it first")
    first, last = kinds.index("EnsembleScale"), kinds.index("EnsembleMean")
    strange = next((one for one in model.layers[first:last] if one.weights and not hasattr(one, "weights_of")), None)
    if strange is not None:
        raise ValueError(f"model cannot be pruned: layer {strange.name!r} has weights that are of no member")
    return first, last


def part_of(described: list[dict[str, Any]], inputs: int) -> Sequential:
    """Return a built model of some layers, described by their configurations."""
    part = Sequential.from_config({"layers": described})
    if not part.built:
        part.build((None, inputs))
    return part
