"""Layers as Keras has them: for each of those that Keras has too, what stands for it in a file."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import layers
from fastnn._schedules import LearningRateSchedule, number_and_schedule
from fastnn.exchange._to_keras_graph import Tensor, Variable, valid_name
from fastnn.exchange._to_keras_writer import WHOLE, LayerWriter, Place, Writer, activation_name, without

# ---- layers that Keras has too ----


def _same(kind: str) -> LayerWriter:
    """Return a writer of a layer that Keras has under a name, with the same arguments; rows keep their shape."""

    def write(writer: Writer, place: Place, x: Tensor) -> Tensor:
        variables = [writer.variable(place, name) for name, _, _ in place.layer.parameters()]
        config, trainable = place.config(), place.trainable
        return writer.layer(kind, place.name, config, [x], x.shape, variables, trainable=trainable)

    return write


def _dense(writer: Writer, place: Place, x: Tensor) -> Tensor:
    layer: layers.Dense = place.layer
    if layer.parametrization == "ntk":
        factor = {"scale": layer._inputs**-0.5, "offset": 0.0}
        x = writer.helper("Rescaling", place, factor, x, x.shape)
    variables = [writer.variable(place, name) for name, _, _ in layer.parameters()]
    name = activation_name(layer.activation)
    left_out = ("parametrization",) if name is not None else ("parametrization", "activity_regularizer")
    config = place.config(*left_out) | {"activation": "linear" if name is None else name}
    shape, trainable = (layer.units,), place.trainable
    y = writer.layer("Dense", place.name, config, [x], shape, variables, trainable=trainable)
    return y if name is not None else writer.with_penalty(place, writer.activated(place, layer.activation, y))


def _activation(writer: Writer, place: Place, x: Tensor) -> Tensor:
    layer: layers.Activation = place.layer
    name = activation_name(layer.activation)
    if name is not None:
        config = place.config() | {"activation": name}
        return writer.layer("Activation", place.name, config, [x], x.shape, trainable=place.trainable)
    return writer.with_penalty(place, writer.activated(place, layer.activation, x))


def _noise(kind: str, rate: str) -> LayerWriter:
    """Return a writer of a layer of noise; a file that is not for training has the first rate of a schedule."""

    def write(writer: Writer, place: Place, x: Tensor) -> Tensor:
        value, config = getattr(place.layer, rate), place.config()
        if isinstance(value, LearningRateSchedule):
            if writer.trains:
                raise without(
                    f"the schedule {type(value).__name__} of {kind} {place.layer.name!r}",
                    f"Keras's {rate} is a number; training=False writes the one of the first step",
                )
            config[rate] = number_and_schedule(value)[0]
        return writer.layer(kind, place.name, config, [x], x.shape, trainable=place.trainable)

    return write


def _flatten(writer: Writer, place: Place, x: Tensor) -> Tensor:
    y = writer.layer("Flatten", place.name, {}, [x], (x.width,))
    return y._replace(dtype=x.dtype) if x.dtype in WHOLE else y


def _reshape(writer: Writer, place: Place, x: Tensor) -> Tensor:
    axes = place.layer._axes
    y = writer.layer("Reshape", place.name, {"target_shape": list(axes)}, [x], axes)
    return y._replace(dtype=x.dtype) if x.dtype in WHOLE else y


def _embedding(writer: Writer, place: Place, x: Tensor) -> Tensor:
    layer: layers.Embedding = place.layer
    variables, shape = [writer.variable(place, "embeddings")], (*x.shape, layer.output_dim)
    config, trainable = place.config(), place.trainable
    y = writer.layer("Embedding", place.name, config, [x], shape, variables, trainable=trainable)
    return writer.flat(place, y)


def _normalization(writer: Writer, place: Place, x: Tensor) -> Tensor:
    """Columns that the layer leaves have mean 0 and variance 1 in Keras's layer, which takes all of them."""
    layer: layers.Normalization = place.layer
    mean, variance = np.zeros(x.width, writer.element), np.ones(x.width, writer.element)
    places = list(layer._places)
    own = writer.arrays[f"{place.path}/variance"]
    mean[places], variance[places] = writer.arrays[f"{place.path}/mean"], np.where(own == 0, 1, own)
    config: dict[str, Any] = {"axis": -1, "invert": layer.invert}
    if layer._given:
        given = {"mean": mean.tolist(), "variance": variance.tolist()}
        return writer.layer("Normalization", place.name, config | given, [x], x.shape)
    statistics = {"mean": mean, "variance": variance, "count": np.zeros((), np.int64)}
    held = [Variable(name, array, None, False) for name, array in statistics.items()]
    return writer.layer("Normalization", place.name, config, [x], x.shape, held)


# ---- categories ----


def _as_columns(writer: Writer, place: Place, kind: str, config: dict[str, Any], x: Tensor, tokens: int) -> Tensor:
    """Return what a layer makes of categories: indices, or the columns of categories side by side."""
    mode = place.layer.output_mode if hasattr(place.layer, "output_mode") else "int"
    # the element type to which Keras rounds numbers before it looks for their bins
    dtype = writer.element if kind == "Discretization" else "int64" if mode == "int" else None
    if mode == "int":
        return writer.layer(kind, place.name, config, [x], x.shape, dtype=dtype)._replace(dtype="int64")
    several = mode == "one_hot" and x.width > 1
    y = writer.layer(kind, place.name, config, [x], (*x.shape, tokens) if several else (tokens,), dtype=dtype)
    return writer.flat(place, y)


def _category_encoding(writer: Writer, place: Place, x: Tensor) -> Tensor:
    layer: layers.CategoryEncoding = place.layer
    return _as_columns(writer, place, "CategoryEncoding", place.config(), x, layer.num_tokens)


def _discretization(writer: Writer, place: Place, x: Tensor) -> Tensor:
    bounds = list(place.layer._bounds())
    config = place.config("num_bins", "epsilon") | {"bin_boundaries": bounds}
    return _as_columns(writer, place, "Discretization", config, x, len(bounds) + 1)


def _lookup(kind: str) -> LayerWriter:
    """Return a writer of a lookup, whose vocabulary is part of the configuration."""

    def write(writer: Writer, place: Place, x: Tensor) -> Tensor:
        layer: Any = place.layer
        if kind == "StringLookup" and layer.num_oov_indices > 1:
            raise without(
                f"StringLookup {layer.name!r} with num_oov_indices={layer.num_oov_indices}",
                "Keras shares unknown words out among several indices by another hash",
            )
        config = place.config() | {"vocabulary": layer.get_vocabulary(include_special_tokens=False)}
        return _as_columns(writer, place, kind, config, x, layer._depth())

    return write


# ---- blocks ----


def _branches(writer: Writer, place: Place, x: Any) -> Tensor:
    found = []
    for stack in place.layer.layers:
        name, shape = str(stack.name), stack.input_axes or (stack._widths[0],)
        own = writer.input(name, name, shape, stack._layers)
        path, trainable = f"{place.path}/{name}", place.trainable and stack.trainable
        found.append(writer.numbers(writer.stack(stack._layers, own, path, trainable)))
    if len(found) == 1:
        return found[0]
    width = sum(one.width for one in found)
    return writer.layer("Concatenate", place.name, {"axis": -1}, [found], (width,))


def _heads(writer: Writer, place: Place, x: Tensor) -> Tensor:
    """Keras calls an output as its last layer is called, so that this gets the name of the head."""
    for stack in place.layer.layers:
        name = str(stack.name)
        path, trainable = f"{place.path}/{name}", place.trainable and stack.trainable
        y = writer.numbers(writer.stack(stack._layers, x, path, trainable))
        own = name not in writer.graph.inputs and valid_name(name) == name
        if y.node is x.node or not y.node.is_layer:
            called = name if own else writer.graph.free_name(name, path.replace("/", "_"))
            y = writer.layer("Activation", called, {"activation": "linear"}, [y], y.shape)
        elif own:
            y.node.name = y.node.config["name"] = name
        writer.graph.outputs[name] = y
    return x


def _residual(writer: Writer, place: Place, x: Tensor) -> Tensor:
    y = writer.numbers(writer.stack(place.layer.layers, x, place.path, place.trainable))
    return writer.layer("Add", place.name, {}, [[x, y]], x.shape)


WRITERS: dict[type, LayerWriter] = {
    layers.Dense: _dense,
    layers.Activation: _activation,
    layers.ReLU: _same("ReLU"),
    layers.LeakyReLU: _same("LeakyReLU"),
    layers.ELU: _same("ELU"),
    layers.Softmax: _same("Softmax"),
    layers.PReLU: _same("PReLU"),
    layers.ActivityRegularization: _same("ActivityRegularization"),
    layers.Dropout: _noise("Dropout", "rate"),
    layers.AlphaDropout: _noise("AlphaDropout", "rate"),
    layers.GaussianDropout: _noise("GaussianDropout", "rate"),
    layers.GaussianNoise: _noise("GaussianNoise", "stddev"),
    layers.BatchNormalization: _same("BatchNormalization"),
    layers.LayerNormalization: _same("LayerNormalization"),
    layers.RMSNormalization: _same("RMSNormalization"),
    layers.UnitNormalization: _same("UnitNormalization"),
    layers.Rescaling: _same("Rescaling"),
    layers.Normalization: _normalization,
    layers.Flatten: _flatten,
    layers.Reshape: _reshape,
    layers.Embedding: _embedding,
    layers.CategoryEncoding: _category_encoding,
    layers.Discretization: _discretization,
    layers.StringLookup: _lookup("StringLookup"),
    layers.IntegerLookup: _lookup("IntegerLookup"),
    layers.Residual: _residual,
    layers.Branches: _branches,
    layers.Heads: _heads,
}
