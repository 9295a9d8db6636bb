"""Weights of Keras's files into a model that is there: in the order of its layers, or by their names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fastnn._engine import fill_all
from fastnn._file import ModelFileError
from fastnn._model import Kept
from fastnn._registry import nearest_names
from fastnn.exchange import _keras_graph
from fastnn.exchange._hdf5 import Tree
from fastnn.exchange._keras_layers import Node, Paths, json_of, told
from fastnn.exchange._keras_weights import OfKeras2, OfKeras3, Store, expected, leaves
from fastnn.exchange._zip import Archive
from fastnn.layers import InputLayer, Layer, Residual, Stack
from fastnn.layers.container import Container

_MOST_GROUPS = 2**12  # groups of layers that are looked at for their names


def set_weights(model: Kept, tree: Tree, archive: Archive | None) -> None:
    """Set all weights of a model that is built, whose lock the caller holds, or none where one does not fit."""
    layers: Sequence[Layer] = model.layers  # type: ignore[attr-defined]
    in_order = all(type(layer) is Stack or not isinstance(layer, Container) for layer in _all(layers))
    nodes = list(_nodes(layers, "", tree))
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
        store = OfKeras3(tree, archive)
        if archive is not None and "config.json" in archive:
            nodes = list(leaves(nodes))
            _place_as_described(nodes, _described(archive, store), tree, in_order)
        elif in_order:
            store.check_number(nodes)
        else:
            _place_by_name(nodes, _places_by_name(tree))
    places = store.places(nodes)
    fill_all([place.view for place in places], [place.values().astype(place.view.dtype) for place in places])


def _described(archive: Archive, store: Store) -> list[Node]:
    """Return the layers of an archive that hold no others, as its configuration says."""
    told_all = json_of(archive.text("config.json"), "its config.json")
    kind, config = told(told_all, "class_name", str, "its config.json"), told_all.get("config")
    return list(leaves(_keras_graph.described(kind, config, "", store)[0]))


def _place_as_described(nodes: list[Node], known: list[Node], tree: Tree, in_order: bool) -> None:
    """Give the layers with weights the places of those in the file: one after the other, or by their names."""
    wanted = _with_weights(nodes)
    held = [node for node in known if node.kind != "Discretization" and tree.children(f"{node.path}/vars")]
    if not in_order:
        _place_by_name(wanted, {node.name: node.path for node in held})
        return
    if len(wanted) != len(held):
        raise ModelFileError(_other_number(len(held), len(wanted)))
    for node, own in zip(wanted, held, strict=True):
        node.path = own.path


def _all(layers: Iterable[Layer]) -> Iterator[Layer]:
    """Yield layers and the layers within them."""
    for layer in layers:
        yield layer
        yield from _all(layer._layers)


def _nodes(layers: Iterable[Layer], prefix: str, tree: Tree, paths: Paths | None = None) -> Iterator[Node]:
    """Yield the layers as Keras counts them: those of branches, residual blocks and heads are layers of the model."""
    paths = Paths(prefix) if paths is None else paths
    held = tree.children(f"{prefix}layers")
    # a model within a model may have been a graph in Keras
    model = "Functional" if "functional" in held and "sequential" not in held else "Sequential"
    for layer in layers:
        if isinstance(layer, InputLayer):
            continue
        if type(layer) is Stack:
            node = Node(str(layer.name), model, paths.of(model), layer, trainable=layer.trainable)
            node.inner = list(_nodes(layer.layers, f"{node.path}/", tree))
            yield node
        elif isinstance(layer, Residual):
            yield from _nodes(layer.layers, prefix, tree, paths)
        elif isinstance(layer, Container):
            for stack in layer.layers:
                yield from _nodes(stack._layers, prefix, tree, paths)
        else:
            kind = type(layer).__name__
            given = bool(getattr(layer, "_given", False)) and kind == "Normalization"
            yield Node(str(layer.name), kind, paths.of(kind), layer, trainable=layer.trainable, given=given)


def _with_weights(nodes: Iterable[Node]) -> list[Node]:
    return [node for node in nodes if any(expected(inner) for inner in leaves([node]))]


def _other_number(held: int, wanted: int) -> str:
    return f"it holds the weights of {held} layers, and the model has {wanted} with weights"


def _name_as_held(nodes: Iterable[Node], held: list[str], in_order: bool) -> None:
    """Give the layers with weights the names that these have in the file."""
    wanted = _with_weights(nodes)
    if not in_order:
        _check_names_differ(wanted)
        for node in wanted:
            _check_name(node, held)
        return
    if len(wanted) != len(held):
        raise ModelFileError(_other_number(len(held), len(wanted)))
    for node, name in zip(wanted, held, strict=True):
        node.name = name


def _check_names_differ(nodes: Sequence[Node]) -> None:
    names = [node.name for node in nodes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ModelFileError(
            f"weights go by the names of layers in a model with branches, residual blocks or heads, and this model has "
            f"two layers {twice[:80]!r}: load_keras reads whole models, with their layers"
        )


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
    wanted = _with_weights(nodes)
    _check_names_differ(wanted)
    for node in wanted:
        _check_name(node, places)
        _move(node, node.path, places[node.name])


def _move(node: Node, before: str, after: str) -> None:
    node.path = after + node.path[len(before) :]
    for inner in node.inner:
        _move(inner, before, after)
