"""What of the facts of several ranks differs, as a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MOST_SHOWN = 60  # characters of a value


def difference(facts: Sequence[dict[str, Any]]) -> str:
    """Return a sentence that names the first fact in which ranks differ from rank 0, and these ranks; else ``""``.

    Parameters
    ----------
    facts : sequence of dict
        JSON's types, a dict for each rank.

    Examples
    --------
    >>> difference([{"layers": [{"units": 8}]}, {"layers": [{"units": 9}]}])
    'the ranks were given different things: layers[0].units is 8 on rank 0, and 9 on rank 1'
    """
    for rank, one in enumerate(facts):
        found = _first(facts[0], one, "")
        if found is None:
            continue
        path, first, other = found
        return (
            f"the ranks were given different things: {path} is {_shown(first)} on rank 0, and {_shown(other)} on rank "
            f"{rank}"
        )
    return ""


_NOTHING = object()


def _first(one: Any, other: Any, path: str) -> tuple[str, Any, Any] | None:
    """Return the path of the first difference, and both values there."""
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() == other.keys() == {"class_name", "config"} and one["class_name"] == other["class_name"]:
            return _first(one["config"], other["config"], path)
        for key in [*one, *(key for key in other if key not in one)]:
            found = _first(one.get(key, _NOTHING), other.get(key, _NOTHING), f"{path}.{key}" if path else key)
            if found:
                return found
        return None
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for k, (left, right) in enumerate(zip(one, other, strict=True)):
            found = _first(left, right, f"{path}[{k}]")
            if found:
                return found
        return None
    return None if one == other or (one != one and other != other) else (path, one, other)


def _shown(value: Any) -> str:
    if value is _NOTHING:
        return "not there"
    if isinstance(value, list) and len(repr(value)) > MOST_SHOWN:
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."
