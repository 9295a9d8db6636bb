"""A function in C as a list of calls on vectors, and where in memory these lie."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np


@dataclasses.dataclass(eq=False)
class Memory:
    """A vector in memory.

    Attributes
    ----------
    size : int
        The number of its elements.
    name : str
        The name of the argument of the C function that it is; empty for a place in the workspace, or a result that has
        no name yet.
    """

    size: int
    name: str = ""


class Vector(NamedTuple):
    """Consecutive elements of a memory."""

    memory: Memory
    first: int
    size: int

    def part(self, first: int, size: int) -> Vector:
        """Return some elements of the vector."""
        return Vector(self.memory, self.first + first, size)

    @property
    def is_whole(self) -> bool:
        """Whether the vector is all of its memory."""
        return self.first == 0 and self.size == self.memory.size


class Double(float):
    """A number that is a double in C, whatever the element type of the network."""


class Constant(NamedTuple):
    """The name of an array of the file; it has no memory of its own, and nobody writes it."""

    name: str


Argument = Vector | Constant | int | float | None


class Call(NamedTuple):
    """A call of a function in C.

    Attributes
    ----------
    function : str
        Its name without that of the file.
    arguments : tuple
        What it is called with, the result among them.
    result : Vector
        What it writes.
    over : Vector or None
        The argument whose memory the result may take.
    """

    function: str
    arguments: tuple[Argument, ...]
    result: Vector
    over: Vector | None


class Program:
    """The calls of one function in C, in order."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def new(self, size: int) -> Vector:
        """Return a vector that no call has written yet."""
        return Vector(Memory(size), 0, size)

    def call(self, function: str, *arguments: Argument, result: Vector, over: Vector | None = None) -> None:
        """Add a call; `result`, one of the arguments, may take the memory of `over` if nobody reads that later."""
        self.calls.append(Call(function, arguments, result, over))


class _Place:
    """Memories that share a place in the workspace, and the calls from the first to the last that know one of them."""

    def __init__(self, memory: Memory, at: int) -> None:
        self.size, self.first, self.last, self.start = memory.size, at, at, 0
        self.name = memory.name


def _vectors(call: Call) -> Iterator[Vector]:
    yield from (argument for argument in call.arguments if isinstance(argument, Vector))


def _places(calls: Sequence[Call]) -> dict[Memory, _Place]:
    """Return the place of each memory; a result that may take the memory of an argument does so."""
    last = {vector.memory: at for at, call in enumerate(calls) for vector in _vectors(call)}
    places: dict[Memory, _Place] = {}
    for at, call in enumerate(calls):
        for vector in _vectors(call):
            place = places.get(vector.memory)
            if place is None and vector == call.result and vector.is_whole and call.over is not None:
                place = _shared(places, call.over, vector, ends=last[call.over.memory] == at)
            if place is None:
                place = _Place(vector.memory, at)
            place.last = max(place.last, last[vector.memory])
            places[vector.memory] = place
    return places


def _shared(places: dict[Memory, _Place], over: Vector, result: Vector, *, ends: bool) -> _Place | None:
    """Return the place of an argument for the result too, where the argument ends here; else None."""
    place = places[over.memory]
    fits = ends and over.is_whole and place.size == result.size and not (place.name and result.memory.name)
    if not fits or place.name == "x" or place.name == "dy":
        return None
    place.name = place.name or result.memory.name
    return place


def lay_out(calls: Sequence[Call]) -> tuple[dict[Memory, str], int]:
    """Return the C expression of each memory, and how many elements the workspace has.

    Places that are used at different times overlap: the first that fits is taken, in the order of the calls.
    """
    places = _places(calls)
    placed: list[_Place] = []
    for place in dict.fromkeys(places.values()):
        if not place.name:
            beside = [other for other in placed if other.first <= place.last and place.first <= other.last]
            for other in sorted(beside, key=lambda other: other.start):
                if place.start + place.size <= other.start:
                    break
                place.start = max(place.start, other.start + other.size)
            placed.append(place)
    size = max((place.start + place.size for place in placed), default=0)
    expressions = {
        memory: place.name or ("workspace" if not place.start else f"workspace + {place.start}")
        for memory, place in places.items()
    }
    return expressions, size


def render(calls: Sequence[Call], expressions: dict[Memory, str], number: str) -> list[str]:
    """Return the calls as statements in C.

    Parameters
    ----------
    calls : sequence of Call
    expressions : dict
        The C expression of each memory.
    number : {"f", ""}
        The suffix of constants of the element type.
    """

    def text(argument: Argument) -> str:
        if argument is None:
            return "NULL"
        if isinstance(argument, Constant):
            return f"NET({argument.name})"
        if isinstance(argument, Vector):
            base, plus, start = expressions[argument.memory].partition(" + ")
            at = argument.first + (int(start) if plus else 0)
            return f"{base} + {at}" if at else base
        if isinstance(argument, float):
            return literal(argument, "" if isinstance(argument, Double) else number)
        return str(argument)

    return [f"NET({call.function})({', '.join(map(text, call.arguments))});" for call in calls]


def literal(value: float, suffix: str) -> str:
    """Return a number as a C constant, in the fewest decimal digits that give its bits again.

    Hexadecimal constants would say the same bits, but C++ has them from C++17 on only.
    """
    if math.isfinite(value):
        return str(np.float32(value) if suffix else np.float64(value)) + suffix
    return "NAN" if math.isnan(value) else "INFINITY" if value > 0 else "-INFINITY"
