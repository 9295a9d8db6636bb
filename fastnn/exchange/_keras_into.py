"""Weights of Keras's files into a model that is there: in the order of its layers, or by their names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fastnn._engine import fill_all
from fastnn._file import ModelFileError
from fastnn._model import Kept
from fastnn._registry import nearest_names
from fastnn.exchange._hdf5 import Archive, Tree
from fastnn.exchange._keras_layers import Node, Paths
from fastnn.exchange._keras_weights import OfKeras2, OfKeras3, Store, expected, leaves
from fastnn.layers import InputLayer, Layer, Residual, Stack
from fastnn.layers.container import Container

_MOST_GROUPS = 2**12  # groups of layers that are looked at for their names


def set_weights(model: Kept, tree: Tree, archive: Archive | None) -> None:
    """Set all weights of a model that is built, whose lock the caller holds, or none where one does not fit."""
    layers: Sequence[Layer] = model.layers  # type: ignore[attr-defined]
    in_order = all(type(layer) is Stack or not isinstance(layer, Container) for layer in _all(layers))
    nodes = list(_nodes(layers, Paths("")))
    store: Store
    if archive is None and "layers" not in tree and "_layer_checkpoint_dependencies" not in tree:
        root = "model_weights" if "model_weights" in tree else ""
        names = tree.names(root, "layer_names")
        if names is None:
            raise ModelFileError("it does not say whose weights it holds: it has no layers and no layer_names")
        held = [name for name in names if tree.names(f"{root}/{name}", "weight_names")]
        _name_as_held(nodes, held, in_order)
        store = OfKeras2(tree, root)
    else:
        if not in_order:
            _place_by_name(nodes, _places_by_name(tree))
        store = OfKeras3(tree, archive)
    places = store.places(nodes)
    if in_order and isinstance(store, OfKeras3):
        store.check_all_read(nodes)
    fill_all([place.view for place in places], [place.variable.read().astype(place.view.dtype) for place in places])


def _all(layers: Iterable[Layer]) -> Iterator[Layer]:
    """Yield layers and the layers within them."""
    for layer in layers:
        yield layer
        yield from _all(layer._layers)


def _nodes(layers: Iterable[Layer], paths: Paths) -> Iterator[Node]:
    """Yield the layers as Keras counts them: those of branches, residual blocks and heads are layers of the model."""
    for layer in layers:
        if isinstance(layer, InputLayer):
            continue
        if type(layer) is Stack:
            node = Node(str(layer.name), "Sequential", paths.of("Sequential"), layer, trainable=layer.trainable)
            node.inner = list(_nodes(layer.layers, Paths(f"{node.path}/")))
            yield node
        elif isinstance(layer, Residual):
            yield from _nodes(layer.layers, paths)
        elif isinstance(layer, Container):
            for stack in layer.layers:
                yield from _nodes(stack._layers, paths)
        else:
            kind = type(layer).__name__
            given = bool(getattr(layer, "_given", False)) and kind == "Normalization"
            yield Node(str(layer.name), kind, paths.of(kind), layer, trainable=layer.trainable, given=given)


def _with_weights(nodes: Iterable[Node]) -> list[Node]:
    return [node for node in nodes if any(expected(inner) for inner in leaves([node]))]


def _name_as_held(nodes: Iterable[Node], held: list[str], in_order: bool) -> None:
    """Give the layers with weights the names that these have in the file."""
    wanted = _with_weights(nodes)
    if not in_order:
        for node in wanted:
            _check_name(node, held)
        return
    if len(wanted) != len(held):
        raise ModelFileError(
            f"it holds the weights of {len(held)} layers, and the model has {len(wanted)} with weights"
        )
    for node, name in zip(wanted, held, strict=True):
        node.name = name


def _check_name(node: Node, names: Iterable[str]) -> None:
    if node.name not in names:
        raise ModelFileError(
            f"it holds no weights of layer {node.name[:80]!r}; {nearest_names(node.name, list(names))}"
        )


def _places_by_name(tree: Tree) -> dict[str, str]:
    """Return the place of each layer of the model by its name, where the file has names."""
    found: dict[str, str] = {}
    places = tree.children("layers")[:_MOST_GROUPS]
    for place in places:
        name = tree.text(f"layers/{place}/vars", "name")
        if name is not None:
            found[name.decode("utf-8", "replace")] = f"layers/{place}"
    if len(found) != len(places):
        raise ModelFileError(
            "it does not name its layers, as a model with branches, residual blocks or heads needs: load_keras reads "
            "whole models, with their layers"
        )
    return found


def _place_by_name(nodes: Iterable[Node], places: dict[str, str]) -> None:
    for node in _with_weights(nodes):
        _check_name(node, places)
        _move(node, node.path, places[node.name])


def _move(node: Node, before: str, after: str) -> None:
    node.path = after + node.path[len(before) :]
    for inner in node.inner:
        _move(inner, before, after)
