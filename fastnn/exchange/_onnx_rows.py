"""What a graph computes of each row, a step for each layer that fastnn has: the form that patterns are brought into.

A step knows the steps whose rows it reads. Two steps are equal only if they are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn.activations import ActivationFunction
from fastnn.exchange._onnx_constants import Constant

Vector = npt.NDArray[np.float64]


@dataclass(eq=False)
class Rows:
    """Rows that a step gives, `width` numbers each; None where the file does not say how many."""

    width: int | None

    @property
    def sources(self) -> tuple[Rows, ...]:
        """The steps whose rows this one reads."""
        return ()


@dataclass(eq=False)
class Entry(Rows):
    """The rows of an input of the graph."""

    name: str
    axes: tuple[int | None, ...]
    whole: bool  # whether the rows are whole numbers


@dataclass(eq=False)
class Step(Rows):
    """A step that reads the rows of one other."""

    x: Rows

    @property
    def sources(self) -> tuple[Rows, ...]:
        """The step whose rows this one reads."""
        return (self.x,)


@dataclass(eq=False)
class Taken(Step):
    """Some columns of x, by their places."""

    places: tuple[int, ...]


@dataclass(eq=False)
class Product(Step):
    """x W scale + bias; the kernel is read from the file when the model is there."""

    kernel: Constant
    scale: float | Vector
    bias: Vector | None


@dataclass(eq=False)
class Applied(Step):
    """f(x), for an activation f."""

    function: ActivationFunction


@dataclass(eq=False)
class Affine(Step):
    """x scale + shift, column by column."""

    scale: float | Vector
    shift: float | Vector


@dataclass(eq=False)
class Normalized(Step):
    """A normalization: the kind of layer, its epsilon, and its parameters by their names; None is left out."""

    kind: str
    epsilon: float
    parameters: dict[str, Vector | None]
    momentum: float = 0.99


@dataclass(eq=False)
class Sloped(Step):
    """x where it is positive, else alpha x."""

    alpha: Vector


@dataclass(eq=False)
class Blended(Step):
    """x + alpha (f(x) - x)."""

    function: ActivationFunction
    alpha: Vector


@dataclass(eq=False)
class Gated(Step):
    """a f(b), for the halves a and b of x."""

    function: ActivationFunction


@dataclass(eq=False)
class Embedded(Step):
    """Rows of a table in the place of whole numbers."""

    table: Constant


@dataclass(eq=False)
class OneHot(Step):
    """Columns of zeros and a one in the place of whole numbers."""

    categories: int


@dataclass(eq=False)
class Added(Rows):
    """x + y."""

    x: Rows
    y: Rows

    @property
    def sources(self) -> tuple[Rows, ...]:
        """The two steps whose rows are added."""
        return self.x, self.y


@dataclass(eq=False)
class Joined(Rows):
    """The rows of several steps side by side."""

    parts: tuple[Rows, ...]

    @property
    def sources(self) -> tuple[Rows, ...]:
        """The steps whose rows lie side by side."""
        return self.parts


class UnfitError(ValueError):
    """Says why nothing that fastnn has computes what a graph does."""


def settle(rows: Any, width: int) -> None:
    """Note how wide rows are, of whom the file did not say it; raise where it said something else."""
    if rows.width is None:
        rows.width = width
        if isinstance(rows, Entry):
            rows.axes = (width,)
        elif isinstance(rows, (Applied, Affine, Added)):
            for source in rows.sources:
                settle(source, width)
    elif rows.width != width:
        raise UnfitError(f"it needs rows of {width} numbers, and gets {rows.width}")
