"""Files of Keras: ``.keras`` of Keras 3 and ``.h5`` of Keras 2 and 3, recognized by what is in them.

A file says which layers there are in JSON, and holds their arrays as HDF5. Nothing in it is run, and what it asks for
is bounded by what it holds before anything is made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastnn import activations
from fastnn._draws import undrawn
from fastnn._file import ModelFileError, one_exception
from fastnn._foreign import path_of
from fastnn._model import Kept
from fastnn._stored import AnyModel
from fastnn.exchange import _keras_graph, _keras_into, _keras_training
from fastnn.exchange._hdf5 import Tree
from fastnn.exchange._keras_layers import MODELS, Node, json_of, told
from fastnn.exchange._keras_weights import OfKeras2, OfKeras3, Place, Store, fill, leaves
from fastnn.exchange._zip import Archive
from fastnn.layers import Heads, InputLayer, Layer
from fastnn.layers._columns import OfColumns
from fastnn.layers.base import NotYetError
from fastnn.layers.container import Container, Parallel

_CALLED = "model of Keras that can be read here"
_GIVEN = 2**23  # bytes of statistics that a configuration may give without holding them one by one
_MOST_COLUMNS = 2**20  # columns that a normalization may have
_ARCHIVED = b"PK\x03\x04"


class _Content(NamedTuple):
    """What a file says of a model.

    Attributes
    ----------
    kind : str
        The model's class in Keras.
    config : dict or list
        The configuration of its layers.
    compiled : dict or None
        What it was compiled with.
    version : str
        The version of Keras that wrote the file; empty where the file does not say.
    store : Store
        Its arrays.
    build_shape : list or None
        The shape of x for which it was built, where the file says it.
    """

    kind: str
    config: Any
    compiled: dict[str, Any] | None
    version: str
    store: Store
    build_shape: Any


def load(filepath: str | os.PathLike[str], kind: type[AnyModel], objects: Mapping[str, Any] | None) -> AnyModel:
    """Return the model of a file, as an instance of this class; see :func:`fastnn.load_keras`.

    Without `objects`, the user's losses and metrics by name, the model is not compiled.
    """
    path = Path(path_of(filepath))
    with path.open("rb") as file, one_exception(str(filepath), _CALLED), _opened(file) as content:
        return _made(content, kind, objects)


def load_weights(model: Kept, filepath: str | os.PathLike[str]) -> None:
    """Set the weights of a model from a file of Keras; see :meth:`fastnn.Sequential.load_weights`."""
    path = Path(path_of(filepath))
    with (
        path.open("rb") as file,
        one_exception(str(filepath), "file of weights of Keras that fits"),
        _tree(file) as tree,
        model._naming,
        model._home.setting_weights(),
    ):
        model._need_engine("load_weights")
        _keras_into.set_weights(model, *tree)


@contextmanager
def _tree(file: Any) -> Iterator[tuple[Tree, Archive | None]]:
    """Yield the arrays of an open file, and the archive that they lie in, where they do; within the block."""
    size = os.fstat(file.fileno()).st_size
    start = file.read(4)
    archive = Archive(file, size) if start == _ARCHIVED else None
    weights, length = (file, size) if archive is None else archive.open("model.weights.h5")
    try:
        yield Tree(weights, length), archive
    finally:
        weights.close()


@contextmanager
def _opened(file: Any) -> Iterator[_Content]:
    """Yield what an open file says; its arrays can be read within the block."""
    with _tree(file) as (tree, archive):
        yield _of_hdf5(tree) if archive is None else _of_archive(archive, tree)


def _of_archive(archive: Archive, tree: Tree) -> _Content:
    described = json_of(archive.text("config.json"), "its config.json")
    kind = told(described, "class_name", str, "its config.json")
    known = json_of(archive.text("metadata.json"), "its metadata.json") if "metadata.json" in archive else None
    version = known.get("keras_version") if isinstance(known, dict) else None
    compiled = described.get("compile_config")
    build = described.get("build_config")
    return _Content(
        kind,
        described.get("config"),
        compiled if isinstance(compiled, dict) and compiled.get("optimizer") else None,
        version if isinstance(version, str) else "",
        OfKeras3(tree, archive),
        build.get("input_shape") if isinstance(build, dict) else None,
    )


def _of_hdf5(tree: Tree) -> _Content:
    text = tree.text("", "model_config")
    if text is None:
        weights = "layers" in tree or tree.names("", "layer_names") is not None
        raise ModelFileError(
            "it holds weights and no layers: load_weights of a model of these layers reads it"
            if weights
            else "it is a file of HDF5, and does not say which layers there are"
        )
    described = json_of(text, "its configuration")
    trained = tree.text("", "training_config")
    compiled = None if trained is None else json_of(trained, "its training configuration")
    version = tree.text("", "keras_version") or b""
    root = "model_weights" if "model_weights" in tree else ""
    return _Content(
        told(described, "class_name", str, "its configuration"),
        described.get("config"),
        compiled if isinstance(compiled, dict) else None,
        version.decode(errors="replace"),
        OfKeras2(tree, root),
        None,
    )


def _made(content: _Content, kind: type[AnyModel], objects: Mapping[str, Any] | None) -> AnyModel:
    if content.kind not in MODELS:
        raise ModelFileError(f"it is a {content.kind[:80]}, whose Python code is not in the file")
    nodes, layers = _keras_graph.described(content.kind, content.config, "", content.store)
    _check_functions(nodes, content.version)
    places = _settled(nodes, layers, content)
    name = content.config.get("name") if isinstance(content.config, dict) else None
    with undrawn(), np.errstate(over="ignore", invalid="ignore"):  # the arrays come next
        model = kind(layers, name=name if isinstance(name, str) else None)  # type: ignore[call-arg]
    if places and not model.built:
        _say_why_not_built(model, layers)
    fill(places)
    if objects is not None and content.compiled is not None:
        outputs = len(layers[-1].layers) if layers and isinstance(layers[-1], Heads) else 1
        places_of_outputs = _places_of_outputs(content.config, outputs)
        legacy = _keras_training.compile_as_told(model, content.compiled, content.version, objects, places_of_outputs)
        if model.built:
            _keras_training.restore(model, nodes, content.store.state(), content.version, legacy=legacy)
    return model


def _check_functions(nodes: Sequence[Node], version: str) -> None:
    """Raise where an activation has the name of one here, and was another function in the Keras that wrote the file."""
    for node in leaves(nodes) if version.startswith(("1.", "2.")) else ():
        if getattr(node.layer, "activation", None) == activations.get("hard_sigmoid"):
            raise ModelFileError(
                f"layer {node.name[:80]!r} has the hard_sigmoid of Keras 2, clip(0.2 x + 0.5, 0, 1), and here it is "
                f"that of Keras 3, clip(x / 6 + 0.5, 0, 1)"
            )


def _places_of_outputs(config: Any, outputs: int) -> list[int]:
    """Return the place of each output in Keras's lists of losses: outputs of a dict are there by their sorted keys."""
    named = config.get("output_layers") if isinstance(config, dict) else None
    if not isinstance(named, dict) or len(named) != outputs:
        return list(range(outputs))
    order = sorted(named)
    return [order.index(key) for key in named]


def _say_why_not_built(model: Kept, layers: Sequence[Layer]) -> None:
    """Raise what keeps a model whose widths are all known from being built, as rows of several axes at its end."""
    try:
        model._build(layers[0].input_features)
    except NotYetError as error:
        raise ModelFileError(str(error)) from error


def _settled(nodes: Sequence[Node], layers: list[Layer], content: _Content) -> list[Place]:
    """Return the arrays that the layers are to have, once the shapes are settled; memory is not asked for yet."""
    features = layers[0].input_features if layers else None
    if features is None:
        features = _told_width(content)
        if features is None:
            return []
        layers.insert(0, InputLayer((features,)))
    _check_widths(layers, features)
    for layer in layers:
        features = layer.build(features)
    given = sum(
        shape[0] for node in leaves(nodes) if node.given and node.layer for _, shape, _ in node.layer.parameters()
    )
    if 8 * given > _GIVEN:
        raise ModelFileError("it gives one number as the statistics of too many columns")
    return content.store.places(nodes)


def _check_widths(layers: Sequence[Layer], features: int) -> int:
    """Return the width after these layers; raise where a layer would list the places of more columns than a file holds.

    A width alone costs nothing, and a file may name any: whether its arrays are as wide is known once all is built.
    """
    for layer in layers:
        if isinstance(layer, Parallel):
            each = [_check_widths(stack._layers, stack.input_features or features) for stack in layer.layers]
            features = sum(each)
        elif isinstance(layer, Container):
            features = _check_widths(layer.layers, features)
        else:
            if isinstance(layer, OfColumns) and features > _MOST_COLUMNS:
                raise ModelFileError(f"layer {layer.name!r} reads {features} columns, more than {_MOST_COLUMNS}")
            features = layer.build(features)
    return features


def _told_width(content: _Content) -> int | None:
    """Return the width of x where no layer tells it; None where the model was not built."""
    config = content.config if isinstance(content.config, dict) else {}
    for shape in (config.get("build_input_shape"), content.build_shape):
        if isinstance(shape, list) and len(shape) == 2 and isinstance(shape[1], int):
            return shape[1]
    return None
