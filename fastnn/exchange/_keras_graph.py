"""Models of Keras as lists of layers: stacks, and those graphs that branches, residual blocks and heads express.

A graph is read from its outputs back to its inputs. A layer with one input goes in front of what was found so far; the
sum of a tensor and of what comes from it is a residual block; what joins inputs side by side are branches, and with
them the model begins; from the last tensor that all outputs come from, each is a head.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from fastnn._file import ModelFileError
from fastnn.exchange._keras_layers import (
    MODELS,
    Axes,
    Kept,
    Node,
    Paths,
    axes_after,
    axes_of_input,
    identify,
    input_layer,
    leaf,
    listed_layers,
    told,
)
from fastnn.layers import Branches, Heads, Layer, Residual, Stack
from fastnn.layers.base import in_line

_MOST_LAYERS = 2**12  # layers of a model: a few bytes of a configuration become an object of some KiB
_DEEPEST = 32  # models, or residual blocks, within each other
_ADDITIONS = ("__operators__.add", "math.add")  # a + b as tf.keras writes it
_RANDOM = ("AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise")


def described(kind: str, config: Any, prefix: str, kept: Kept, depth: int = 0) -> tuple[list[Node], list[Layer]]:
    """Return the layers of a model: as Keras counts them, and as a list of layers here.

    Parameters
    ----------
    kind : str
        The model's class in Keras.
    config : dict or list
        The model's configuration.
    prefix : str
        Where the model's state lies in files of Keras 3.
    kept : Kept
        What the file holds of layers besides configurations and weights.
    depth : int
        How many models the model lies in.
    """
    if len(listed_layers(config)) > _MOST_LAYERS:
        raise ModelFileError(f"it has more than {_MOST_LAYERS} layers")
    if depth > _DEEPEST:
        raise ModelFileError(f"it has more than {_DEEPEST} models within each other")
    if kind == "Sequential":
        return _sequence(config, prefix, kept, depth)
    graph = _Graph(config, prefix, kept, depth)
    return graph.nodes, graph.layers()


def _model(entry: Any, paths: Paths, kept: Kept, depth: int) -> Node:
    """Return a model within a model as a layer."""
    name, kind, config = identify(entry)
    node = Node(name, kind, paths.of(kind), trainable=config.get("trainable") is not False)
    node.inner, found = described(kind, config, f"{node.path}/", kept, depth + 1)
    if any(isinstance(layer, (Branches, Heads)) for layer in found):
        raise ModelFileError(f"layer {name[:80]!r} is a model with several inputs or outputs within another model")
    node.layer = Stack(found, name=name.replace("/", "_"))
    return node


def _sequence(config: Any, prefix: str, kept: Kept, depth: int) -> tuple[list[Node], list[Layer]]:
    paths, nodes, found = Paths(prefix), list[Node](), list[Layer]()
    axes: Axes | None = None
    for entry in listed_layers(config):
        name, kind, inner = identify(entry)
        said = axes_of_input(inner)
        if kind == "InputLayer":
            if nodes or axes is not None:
                raise ModelFileError(f"layer {name[:80]!r} is an Input in the midst of a model")
            axes = said
            first = None if axes is None else input_layer(axes)
            found += [] if first is None else [first]
            continue
        if kind in MODELS:
            node = _model(entry, paths, kept, depth)
        else:
            node = leaf(entry, paths, kept)
            axes = axes_after(node, inner, said if axes is None and not nodes else axes)
        nodes.append(node)
        if node.layer is not None:
            found.append(node.layer)
    return nodes, found


class _Step(NamedTuple):
    """A stage of a chain: a layer, or the layers of a residual block."""

    name: str
    block: list[_Step] | None = None


class _Graph:
    """A functional model of Keras."""

    def __init__(self, config: Any, prefix: str, kept: Kept, depth: int) -> None:
        paths = Paths(prefix)
        self.nodes: list[Node] = []
        self._node: dict[str, Node] = {}
        self._config: dict[str, dict[str, Any]] = {}
        self._sources: dict[str, list[str]] = {}
        for entry in listed_layers(config):
            self._take(entry, paths, kept, depth)
        inputs = _tensors(config.get("input_layers"), "input_layers")
        self._inputs = [name for _, name in inputs]
        self._key = inputs[0][0] if len(inputs) == 1 else None  # x is a dict with this key
        self._outputs = _tensors(config.get("output_layers"), "output_layers")
        for name in (*self._inputs, *(name for _, name in self._outputs)):
            self._check_known(name)
        if not self._outputs or not all(self._node[name].kind == "InputLayer" for name in self._inputs):
            raise ModelFileError("its graph has no outputs, or an input that is no Input")
        self._levels = self._ordered()
        self._placed: set[str] = set()

    def _take(self, entry: Any, paths: Paths, kept: Kept, depth: int) -> None:
        """Take note of a layer and of what it reads."""
        entry = _plain_addition(entry)
        name, kind, config = identify(entry)
        if kind in MODELS:
            node = _model(entry, paths, kept, depth)
        elif kind in ("InputLayer", "Add", "Concatenate"):
            node = Node(name, kind, paths.of(kind))
        else:
            node = leaf(entry, paths, kept)
        if name in self._node:
            raise ModelFileError(f"its graph has two layers {name[:80]!r}")
        calls = entry.get("inbound_nodes") or []
        if not isinstance(calls, list) or len(calls) > 1:
            raise ModelFileError(f"layer {name[:80]!r} is shared, and a layer here has one place in a model")
        self._sources[name] = [] if kind == "InputLayer" else _read_by(calls, node)
        if kind != "InputLayer" and not self._sources[name]:
            raise ModelFileError(f"layer {name[:80]!r} reads nothing")
        self._node[name], self._config[name] = node, config
        self.nodes.append(node)

    def _check_known(self, name: str) -> None:
        if name not in self._node:
            raise ModelFileError(f"its graph names a layer {name[:80]!r}, which it does not have")

    def _ordered(self) -> dict[str, int]:
        """Return the number of layers on the longest way from an input to each layer; raise where there is a loop."""
        readers: dict[str, list[str]] = {name: [] for name in self._node}
        waiting = {}
        for name, sources in self._sources.items():
            for source in sources:
                self._check_known(source)
                readers[source].append(name)
            waiting[name] = len(sources)
        levels = {name: 0 for name, count in waiting.items() if not count}
        ready = list(levels)
        while ready:
            name = ready.pop()
            for reader in readers[name]:
                waiting[reader] -= 1
                levels[reader] = max(levels.get(reader, 0), levels[name] + 1)
                if not waiting[reader]:
                    ready.append(reader)
        if any(waiting.values()):
            raise ModelFileError("its graph has a loop")
        return levels

    # ---- from outputs to inputs ----

    def _only_source(self, name: str) -> str:
        sources = self._sources[name]
        if len(sources) != 1:
            kind = self._node[name].kind
            raise ModelFileError(
                f"layer {name[:80]!r} is a {kind[:80]} of {len(sources)} inputs, and no layer here has several"
            )
        return sources[0]

    def _shortcut(self, name: str) -> tuple[str, str]:
        """Return the two inputs of an Add: the one that the other comes from, and that other one."""
        sources = self._sources[name]
        if len(sources) != 2:
            raise ModelFileError(f"layer {name[:80]!r} adds {len(sources)} tensors, and a Residual two")
        first, second = sorted(sources, key=lambda source: self._levels[source])
        return first, second

    def _spine(self, end: str) -> list[str]:
        """Return the tensors that all ways from the inputs to a tensor lead through, from that tensor on."""
        found = [end]
        while True:
            kind = self._node[found[-1]].kind
            if kind in ("InputLayer", "Concatenate"):
                return found
            found.append(self._shortcut(found[-1])[0] if kind == "Add" else self._only_source(found[-1]))

    def _chain(self, end: str, start: str, depth: int = 0) -> list[_Step]:
        """Return the layers between two tensors; raise where the last does not come from the first alone."""
        if depth > _DEEPEST:
            raise ModelFileError(f"it has more than {_DEEPEST} residual blocks within each other")
        steps, here = list[_Step](), end
        while here != start:
            kind = self._node[here].kind
            if kind in ("InputLayer", "Concatenate") or self._levels[here] <= self._levels[start]:
                raise ModelFileError(
                    f"its graph joins {end[:80]!r} and {start[:80]!r} in a way that no Residual, no Branches and no "
                    f"Heads express"
                )
            if here in self._placed:
                raise ModelFileError(f"layer {here[:80]!r} is read in a way that no Residual and no Heads express")
            self._placed.add(here)
            if kind == "Add":
                first, second = self._shortcut(here)
                steps.append(_Step(here, self._chain(second, first, depth + 1)))
                here = first
            else:
                steps.append(_Step(here))
                here = self._only_source(here)
        return steps[::-1]

    # ---- layers of this library ----

    def layers(self) -> list[Layer]:
        """Return the model as a list of layers."""
        ends = [name for _, name in self._outputs]
        spines = [self._spine(end) for end in ends]
        common = [name for name in spines[0] if all(name in spine for spine in spines[1:])]
        if not common:
            raise ModelFileError(
                "its outputs come from different inputs: there is no tensor that all of them come from"
            )
        if len(ends) == 1:
            common = [ends[0]]
        start = spines[0][-1]
        axes: Axes | None = (None,)
        if self._node[start].kind == "Concatenate":
            found = [self._branches(start)]
        else:
            axes = self._axes_of(start)
            told_input = input_layer(axes or (), start.replace("/", "_"))
            found = [] if told_input is None else [told_input]
            if self._key is not None and len(axes) == 1:
                found = [Branches({self._key: found})]
        self._check_inputs(start)
        own, axes = self._made(self._chain(common[0], start), axes)
        found += own
        if len(ends) > 1 or self._outputs[0][0] is not None:
            heads = {}
            for end, name in zip(ends, _free_names([key or end for key, end in self._outputs]), strict=True):
                heads[name], _ = self._made(self._chain(end, common[0]), axes)
            found.append(Heads(heads))
        left = [name for name in self._node if name not in self._placed and self._node[name].kind != "InputLayer"]
        if left:
            raise ModelFileError(f"layer {left[0][:80]!r} has no place between the inputs and the outputs of its graph")
        return found

    def _check_inputs(self, start: str) -> None:
        if self._node[start].kind == "InputLayer" and len(self._inputs) > 1:
            other = next(name for name in self._inputs if name != start)
            raise ModelFileError(f"its inputs {start[:80]!r} and {other[:80]!r} are not joined by a Concatenate")

    def _axes_of(self, name: str) -> Axes:
        axes = axes_of_input(self._config[name])
        if axes is None:
            raise ModelFileError(f"the Input {name[:80]!r} does not say its shape")
        return axes

    def _made(self, steps: list[_Step], axes: Axes | None) -> tuple[list[Layer], Axes | None]:
        """Return the layers of a chain, and the axes of a row after them."""
        found = list[Layer]()
        for step in steps:
            node = self._node[step.name]
            if step.block is not None:
                inner, _ = self._made(step.block, axes)
                alone = inner or [_identity()]
                found.append(Residual(alone, name=step.name.replace("/", "_")))
                continue
            if node.layer is None:
                raise ModelFileError(f"layer {step.name[:80]!r} has no place in a chain of layers")
            found.append(node.layer)
            axes = (None,) if node.kind in MODELS else axes_after(node, self._config[step.name], axes)
        return found, axes

    def _branches(self, join: str) -> Layer:
        """Return the inputs that a Concatenate joins, each with the layers between."""
        self._check_axis(join)
        stacks: list[tuple[list[str], list[Layer]]] = []
        for source in self._flat_sources(join):
            spine = self._spine(source)
            begin = spine[-1]
            if self._node[begin].kind == "Concatenate":
                self._check_axis(begin)
                inputs = self._sources[begin]
                if not all(self._node[name].kind == "InputLayer" for name in inputs):
                    raise ModelFileError(f"layer {begin[:80]!r} joins tensors before layer {join[:80]!r} joins others")
                self._place(begin)
                axes: Axes = (self._joined_width(inputs),)
            else:
                inputs, axes = [begin], self._axes_of(begin)
            told_input = input_layer(axes)
            own, after = self._made(self._chain(source, begin), axes)
            if after is not None and len(after) > 1:
                raise ModelFileError(f"layer {join[:80]!r} joins rows of several axes: only with a Flatten before it")
            stacks.append((inputs, [*([] if told_input is None else [told_input]), *own]))
        self._place(join)
        read = {name for inputs, _ in stacks for name in inputs}
        unread = [name for name in self._inputs if name not in read]
        if unread:
            raise ModelFileError(
                f"its input {unread[0][:80]!r} is not joined with the others at their first Concatenate"
            )
        names = _free_names(["_".join(inputs) for inputs, _ in stacks])
        columns = {name: inputs for name, (inputs, _) in zip(names, stacks, strict=True) if inputs != [name]}
        branches = {name: stack for name, (_, stack) in zip(names, stacks, strict=True)}
        return Branches(branches, columns or None, name=join.replace("/", "_"))

    def _place(self, name: str) -> None:
        if name in self._placed:
            raise ModelFileError(f"layer {name[:80]!r} is read in a way that no Branches express")
        self._placed.add(name)

    def _flat_sources(self, join: str) -> list[str]:
        """Return what a Concatenate joins; those that it joins of other Concatenates count one by one."""
        found, waiting = list[str](), [join]
        while waiting:
            name = waiting.pop()
            if self._node[name].kind != "Concatenate":
                found.append(name)
                continue
            if name != join:
                self._check_axis(name)
                self._place(name)
            waiting += self._sources[name][::-1]
        return found

    def _joined_width(self, inputs: list[str]) -> int | None:
        widths = [(self._axes_of(name) or (1,)) for name in inputs]
        if any(len(axes) != 1 or axes[0] is None for axes in widths):
            return None
        return sum(axes[0] or 0 for axes in widths)

    def _check_axis(self, name: str) -> None:
        if self._config[name].get("axis", -1) not in (-1, 1):
            raise ModelFileError(f"layer {name[:80]!r} joins along another axis than the last")


def _identity() -> Layer:
    from fastnn.layers import Activation

    return Activation("linear")


def _free_names(wanted: list[str]) -> list[str]:
    """Return the names, with a number after one that stands there a second time."""
    found: list[str] = []
    for name in wanted:
        base = name.replace("/", "_")
        free, k = base, 1
        while free in found:
            free, k = f"{base}_{k}", k + 1
        found.append(free)
    return found


def _plain_addition(entry: Any) -> Any:
    """Return the layer that tf.keras makes of a + b as an Add; any other layer as it is."""
    config = entry.get("config") if isinstance(entry, dict) else None
    if not isinstance(config, dict) or entry.get("class_name") != "TFOpLambda":
        return entry
    if config.get("function") not in _ADDITIONS:
        return entry
    calls = []
    for call in entry.get("inbound_nodes") or []:
        first = call[0] if isinstance(call, list) and call and isinstance(call[0], list) else call
        if not isinstance(first, list) or len(first) != 4 or not isinstance(first[3], dict):
            raise ModelFileError(f"layer {str(config.get('name'))[:80]!r} adds something else than two tensors")
        calls.append([first[:3], first[3].get("y")])
    return {**entry, "class_name": "Add", "inbound_nodes": calls}


def _tensors(value: Any, what: str) -> list[tuple[str | None, str]]:
    """Return key, where there is one, and layer of each of a model's inputs or outputs."""
    if isinstance(value, dict):
        return [(str(key), _tensor(one, what)) for key, one in value.items()]
    if isinstance(value, list) and value and isinstance(value[0], str):
        value = [value]
    if not isinstance(value, list):
        raise ModelFileError(f"its graph has no {what}")
    return [(None, _tensor(one, what)) for one in value]


def _tensor(value: Any, what: str) -> str:
    """Return the layer that a reference [layer, call, output, ...] names.

    A layer is called once. That call of a model is the second one in Keras, where the model's own graph is the first.
    """
    whole = isinstance(value, list) and len(value) > 2 and isinstance(value[0], str)
    if not whole or value[1:3] not in ([0, 0], [1, 0]):
        raise ModelFileError(f"{what} must name the one output of a layer, got {str(value)[:80]}")
    return value[0]


def _read_by(calls: list[Any], node: Node) -> list[str]:
    """Return the layers whose outputs the one call of a layer reads."""
    what = f"layer {node.name[:80]!r}"
    if not calls:
        return []
    call = calls[0]
    found: list[str] = []
    if isinstance(call, dict):  # Keras 3, whose fit and predict set `training` themselves, whatever a call has said
        options = call.get("kwargs") or {}
        _check_options(
            {k: v for k, v in options.items() if k != "training"} if isinstance(options, dict) else options, node
        )
        for argument in told(call, "args", list, what):
            for one in argument if isinstance(argument, list) else [argument]:
                if not isinstance(one, dict) or one.get("class_name") != "__keras_tensor__":
                    raise ModelFileError(f"{what} reads {str(one)[:80]}, which is no output of a layer")
                found.append(_tensor(told(one, "config", dict, what).get("keras_history"), what))
        return found
    if not isinstance(call, list):
        raise ModelFileError(f"{what} has an inbound node that is no list")
    for one in [call] if call and isinstance(call[0], str) else call:
        found.append(_tensor(one, what))
        if len(one) > 3:
            _check_options(one[3] or {}, node)
    return found


def _check_options(options: Any, node: Node) -> None:
    """Raise where a layer was called in a way that means something else than a layer here does."""
    for key, value in options.items() if isinstance(options, dict) else [("options", options)]:
        if value is None or (key == "training" and value is False and _is_fixed(node)):
            continue
        raise ModelFileError(
            f"layer {node.name[:80]!r} was called with {key[:80]}={str(value)[:80]}, which it cannot be here"
        )


def _is_fixed(node: Node) -> bool:
    """Return whether a layer computes the same in training as in inference."""
    for one in in_line([] if node.layer is None else [node.layer]):
        kind = type(one).__name__
        if kind in _RANDOM or (kind == "BatchNormalization" and one.trainable):
            return False
    return True
