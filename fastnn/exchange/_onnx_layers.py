"""Layers of the steps that a graph has, and the weights that they get."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastnn import layers
from fastnn.exchange._onnx_constants import Constant
from fastnn.exchange._onnx_patterns import as_product
from fastnn.exchange._onnx_rows import (
    Added,
    Affine,
    Applied,
    Blended,
    Embedded,
    Entry,
    Gated,
    Joined,
    Normalized,
    OneHot,
    Product,
    Rows,
    Sloped,
    Step,
    Taken,
    UnfitError,
)
from fastnn.exchange._protobuf import Budget
from fastnn.layers import Layer

MAX_STEPS = 1024  # most steps that follow each other


class Weights:
    """What the parameters of a layer are set to, by their names."""

    def __init__(self, layer: Layer, values: dict[str, Any]) -> None:
        self._layer, self._values = layer, values

    def set(self) -> None:
        """Write the values to the layer's parameters, once its model is built."""
        names = [name for name, _, _ in self._layer.parameters()]
        for name, view in zip(names, self._layer.weights, strict=True):
            given = self._values[name]
            kernel, scale = given if isinstance(given, tuple) else (given, 1.0)
            with np.errstate(over="ignore", invalid="ignore"):
                if isinstance(kernel, Constant):
                    kernel.copy_to(view, scale)
                else:
                    view[...] = kernel


class Builder:
    """Makes layers of steps.

    Parameters
    ----------
    budget : Budget
        What the parameters are charged to.
    dtype : str
        Of the model.
    """

    def __init__(self, budget: Budget, dtype: str) -> None:
        self.weights: list[Weights] = []
        self._budget, self._dtype = budget, dtype
        self._depths: dict[Rows, int] = {}
        self._below: dict[Rows, Rows | None] = {}

    # ---- which steps every row goes through ----

    def below(self, node: Rows) -> Rows | None:
        """Return the last step before this one that all of its rows go through; None for an input and a join."""
        self.depth(node)
        return self._below[node]

    def depth(self, node: Rows) -> int:
        """Return how many steps all rows go through up to this one."""
        waiting = [node]
        while waiting:
            top = waiting[-1]
            first = [source for source in top.sources if source not in self._depths]
            if first and not isinstance(top, Joined):
                waiting += first
                continue
            waiting.pop()
            if top not in self._depths:
                below = None if isinstance(top, (Joined, Entry)) else self._before(top)
                self._below[top] = below
                self._depths[top] = 0 if below is None else 1 + self._depths[below]
                if self._depths[top] > MAX_STEPS:
                    raise UnfitError(f"it has more than {MAX_STEPS} layers")
        return self._depths[node]

    def _before(self, node: Any) -> Rows:
        if isinstance(node, Step):
            return node.x
        found = self._common(node.x, node.y)
        if found is None:
            raise UnfitError("it adds rows that come from different inputs")
        return found

    def _common(self, a: Rows, b: Rows) -> Rows | None:
        """Return the last step that the rows of both go through."""
        x: Rows | None = a
        y: Rows | None = b
        while x is not y and x is not None and y is not None:
            if self.depth(x) >= self.depth(y):
                x = self._below[x]
            else:
                y = self._below[y]
        return x if x is y else None

    def common(self, nodes: list[Rows]) -> Rows:
        """Return the last step that the rows of all go through."""
        found: Rows | None = nodes[0]
        for node in nodes[1:]:
            found = None if found is None else self._common(found, node)
        if found is None:
            raise UnfitError("its outputs come from different inputs: name one of them as output")
        return found

    # ---- chains of layers ----

    def chain(self, node: Rows, source: Rows | None) -> list[Layer]:
        """Return the layers between two steps; with None as the source those from the inputs on."""
        found: list[Layer] = []
        at: Rows | None = node
        while at is not source:
            if len(found) > MAX_STEPS:
                raise UnfitError(f"it has more than {MAX_STEPS} layers")
            at = self._simpler(at, source)
            if at is source:
                break
            if isinstance(at, Taken):
                raise UnfitError("it needs columns in an order of its own, or some of them")
            if isinstance(at, Entry):
                found += self._input(at)[::-1]
                at = None
            elif isinstance(at, Joined):
                found.append(self._branches(at))
                at = None
            elif isinstance(at, Added):
                found.append(self._residual(at))
                at = self.below(at)
            elif isinstance(at, Step):
                layer, at = self._layer(at, source)
                found.append(layer)
            if at is None and source is not None:
                raise UnfitError("it joins rows in a way that no layer does")
        return found[::-1]

    def _simpler(self, node: Any, source: Rows | None) -> Any:
        """Return a step that gives the same rows after the source and is a layer, where this one is none."""
        if isinstance(node, Affine) and node.x is not source:
            product = as_product(node)
            node = node if product is None else product
        if isinstance(node, Added) and self._common(node.x, node.y) not in (node.x, node.y):
            return self._added_products(node)
        if isinstance(node, Taken):
            return self._taken(node)
        if isinstance(node, Product) and isinstance(node.x, (Taken, Joined)):
            return self._of_taken(node)
        if isinstance(node, Joined):
            return self._in_order(node)
        return node

    def _added_products(self, node: Added) -> Rows:
        """Return x V + x W as x (V + W)."""
        x, y = as_product(node.x), as_product(node.y)
        if x is None or y is None or x.x is not y.x:
            raise UnfitError("it adds rows that go through layers of their own, none of which is the other's input")
        self._budget.charge(24 * x.kernel.size, "a product")
        kernel = x.kernel.array() * np.asarray(x.scale, np.float64) + y.kernel.array() * y.scale
        some = [one.bias for one in (x, y) if one.bias is not None]
        return Product(x.width, x.x, Constant(kernel, self._budget), 1.0, sum(some) if some else None)  # type: ignore[arg-type]

    def _taken(self, node: Taken) -> Rows:
        """Return some columns of x as the columns of a narrower step."""
        x, at = as_product(node.x) or node.x, list(node.places)
        if isinstance(x, Product):
            self._budget.charge(8 * len(at) * x.kernel.shape[0], "a product")
            scale = x.scale[at] if isinstance(x.scale, np.ndarray) else x.scale
            kernel = Constant(np.ascontiguousarray(x.kernel.array()[:, at]), self._budget)
            return Product(node.width, x.x, kernel, scale, None if x.bias is None else x.bias[at])
        if isinstance(x, Applied) and x.function.elementwise:
            return Applied(node.width, Taken(node.width, x.x, node.places), x.function)
        if isinstance(x, Affine):
            scale, shift = (v[at] if isinstance(v, np.ndarray) else v for v in (x.scale, x.shift))
            return Affine(node.width, Taken(node.width, x.x, node.places), scale, shift)
        raise UnfitError("it takes some columns, which only the columns of a Dense and of an input can be")

    def _of_taken(self, node: Product) -> Rows:
        """Return a product of some columns of x as a product of all of them, with zeros for the others."""
        taken: Any = self._in_order(node.x) if isinstance(node.x, Joined) else node.x
        if isinstance(taken, Joined):
            return node
        width, units = taken.x.width or 0, node.kernel.shape[1]
        self._budget.charge(8 * width * units, "a product")
        kernel = np.zeros((width, units), node.kernel.dtype)
        np.add.at(kernel, list(taken.places), node.kernel.array())
        return Product(node.width, taken.x, Constant(kernel, self._budget), node.scale, node.bias)

    # ---- layers ----

    def _keep(self, layer: Layer, **values: Any) -> Layer:
        if values:
            self.weights.append(Weights(layer, values))
        return layer

    def _layer(self, node: Step, source: Rows | None) -> tuple[Layer, Rows]:
        """Return the layer of a step, and the step before it; an activation is part of a Dense after the source."""
        if isinstance(node, Applied) and node.x is source:
            return layers.Activation(node.function), node.x
        if isinstance(node, Applied):
            before = self._simpler(node.x, source)
            if isinstance(before, Product):
                return self._dense(before, node.function), before.x
            return layers.Activation(node.function), node.x
        return _LAYERS[type(node)](self, node), node.x

    def _dense(self, node: Product, function: Any = None) -> Layer:
        item = np.dtype(self._dtype).itemsize
        self._budget.charge(item * node.kernel.size, "a Dense")
        layer = layers.Dense(node.kernel.shape[1], function, use_bias=node.bias is not None)
        bias = {} if node.bias is None else {"bias": node.bias}
        return self._keep(layer, kernel=(node.kernel, node.scale), **bias)

    def _affine(self, node: Affine) -> Layer:
        scale, shift = node.scale, node.shift
        if not isinstance(scale, np.ndarray) and not isinstance(shift, np.ndarray):
            return layers.Rescaling(scale, shift)
        if not np.any(shift):
            return self._keep(layers.Scale(), scale=scale)
        if isinstance(node.x, (Entry, Taken)) and np.all(scale > np.float64(1e-15)) and np.all(scale < np.float64(1e7)):
            deviation = 1 / np.broadcast_to(scale, np.broadcast_shapes(np.shape(scale), np.shape(shift)))
            return layers.Normalization(mean=-shift * deviation, variance=deviation**2)
        layer = layers.BatchNormalization(epsilon=0.0)
        layer.trainable = False
        return self._keep(layer, gamma=scale, beta=shift, moving_mean=0.0, moving_variance=1.0)

    def _normalized(self, node: Normalized) -> Layer:
        given = {name: vector for name, vector in node.parameters.items() if vector is not None}
        if node.kind == "unit":
            return layers.UnitNormalization()
        if node.kind == "batch":
            return self._keep(layers.BatchNormalization(epsilon=node.epsilon, momentum=node.momentum), **given)
        if node.kind == "layer":
            layer = layers.LayerNormalization(epsilon=node.epsilon, center="beta" in given, scale="gamma" in given)
            return self._keep(layer, **given)
        return self._keep(layers.RMSNormalization(epsilon=node.epsilon), **given)

    def _embedding(self, node: Embedded) -> Layer:
        rows, columns = node.table.shape
        self._budget.charge(np.dtype(self._dtype).itemsize * rows * columns, "an Embedding")
        return self._keep(layers.Embedding(rows, columns), embeddings=node.table)

    def _residual(self, node: Added) -> Layer:
        skip = self.below(node)
        inner = node.y if skip is node.x else node.x
        return layers.Residual(self.chain(inner, skip))

    # ---- inputs ----

    def _input(self, entry: Entry) -> list[Layer]:
        axes = tuple(axis or 0 for axis in entry.axes) or (1,)
        if entry.width is None or 0 in axes:
            raise UnfitError(f"the file does not say how wide the rows of {entry.name[:80]!r} are")
        start = layers.Input(axes, dtype=self._dtype)
        return [start] if len(axes) == 1 else [start, layers.Flatten()]

    def _start(self, part: Rows) -> Any:
        """Return what a branch begins with: an input, columns of one, or several inputs side by side."""
        at: Any = part
        while True:
            before = self.below(at)
            if before is None or (isinstance(at, Taken) and isinstance(before, Entry)):
                return at
            at = before

    def _in_order(self, node: Joined) -> Rows:
        """Return a join whose branches begin with the columns of their input in order, and take columns after it."""
        starts = [self._start(part) for part in node.parts]

        def place(k: int) -> tuple[int, int, int]:
            start = starts[k]
            entry = start.x if isinstance(start, Taken) else start
            first = next((j for j, other in enumerate(starts) if entry in (other, getattr(other, "x", None))), k)
            return first, start.places[0] if isinstance(start, Taken) else -1, k

        order = sorted(range(len(starts)), key=place)
        if order == list(range(len(starts))):
            return node
        ends = np.cumsum([0, *(node.parts[k].width or 0 for k in order)])
        where = {k: list(range(ends[j], ends[j + 1])) for j, k in enumerate(order)}
        places = tuple(column for k in range(len(starts)) for column in where[k])
        return Taken(node.width, Joined(node.width, tuple(node.parts[k] for k in order)), places)

    def _branches(self, node: Joined) -> Layer:
        branches: dict[str, list[Layer]] = {}
        columns: dict[str, list[str]] = {}
        used: dict[Any, int] = {}
        for part in node.parts:
            start = self._start(part)
            name, reads = self._read(start, used, branches)
            if reads is not None:
                columns[name] = reads
            inner = self.chain(part, start)
            branches[name] = [layers.Input((start.width,)), *inner]
        for entry, end in used.items():
            if isinstance(entry, Entry) and end not in (-1, entry.width):
                raise UnfitError(f"it reads columns of {entry.name[:80]!r} in an order of its own, or not all of them")
        return layers.Branches(branches, columns or None, dtype=self._dtype)

    def _read(self, start: Any, used: dict[Any, int], taken: Iterable[str]) -> tuple[str, list[str] | None]:
        """Return the name of a branch that begins there, and the inputs that it reads, where they have other names."""
        if isinstance(start, Entry):
            name = _free(start.name, taken)
            used[start] = -1
            self._input(start)
            return name, None if name == start.name else [start.name]
        if isinstance(start, Taken) and isinstance(start.x, Entry):
            entry = start.x
            first = used.get(entry, 0)
            if start.places != tuple(range(first, first + len(start.places))):
                raise UnfitError(
                    f"it reads columns of {entry.name[:80]!r} in an order of its own, or some of them twice"
                )
            used[entry] = first + len(start.places)
            return _free(f"{entry.name}_{first}", taken), None
        if isinstance(start, Joined) and all(isinstance(part, Entry) for part in start.parts):
            names = [part.name for part in start.parts]  # type: ignore[attr-defined]
            return _free("_".join(names), taken), names
        raise UnfitError("it joins rows in a way that no layer does")

    def heads(self, outputs: dict[str, Rows]) -> list[Layer]:
        """Return the layers of a model with these outputs."""
        if len(outputs) == 1:
            found = self.chain(next(iter(outputs.values())), None)
            return [*found, layers.Activation("linear")] if all(layer.idle for layer in found) else found
        trunk = self.common(list(outputs.values()))
        stacks = {
            _free(name, ()): self.chain(node, trunk) or [layers.Activation("linear")] for name, node in outputs.items()
        }
        return [*self.chain(trunk, None), layers.Heads(stacks)]


def _free(name: str, taken: Iterable[str]) -> str:
    """Return a name for a branch or head, which has no slash, that is not taken yet."""
    plain = name.replace("/", "_").strip() or "x"
    others = set(taken)
    return next(n for n in (plain, *(f"{plain}_{k}" for k in range(1, len(others) + 2))) if n not in others)


_LAYERS: dict[type[Rows], Callable[[Builder, Any], Layer]] = {
    Product: Builder._dense,
    Affine: Builder._affine,
    Normalized: Builder._normalized,
    Sloped: lambda builder, node: builder._keep(layers.PReLU(), alpha=node.alpha),
    Blended: lambda builder, node: builder._keep(layers.ParametricActivation(node.function), alpha=node.alpha),
    Gated: lambda builder, node: layers.GLU(node.function),
    Embedded: Builder._embedding,
    OneHot: lambda builder, node: layers.CategoryEncoding(node.categories, output_mode="one_hot"),
}
