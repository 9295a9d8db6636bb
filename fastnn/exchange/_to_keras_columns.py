"""Layers that Keras lacks, as layers and operations of Keras that compute the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import activations, initializers, layers
from fastnn.exchange._to_keras_writer import LayerWriter, Place, Writer, described, without

if TYPE_CHECKING:
    from fastnn.activations import ActivationFunction
    from fastnn.exchange._to_keras_graph import Tensor
    from fastnn.initializers import Initializer


def _product(
    writer: Writer,
    place: Place,
    equation: str,
    x: Tensor,
    shape: tuple[int, ...],
    kernel: tuple[str, tuple[int, ...]],
    bias: tuple[str, str, tuple[int, ...]] | None = None,
    *,
    name: str | None = None,
    penalties: dict[str, Any] | None = None,
) -> Tensor:
    """Return what an EinsumDense gives: the sum of products of x and a parameter, plus another parameter.

    Parameters
    ----------
    kernel : tuple
        The name of the parameter here, and the shape that it has there.
    bias : tuple, optional
        The same of another parameter, with the axes of the result that it has in between.
    name : str, optional
        The name of Keras's layer, where it is not the first of its place.
    penalties : dict, optional
        Regularizers and constraints.
    """
    starts = {parameter.name: parameter.initializer for parameter in place.layer.parameters()}
    config: dict[str, Any] = {"equation": equation, "output_shape": list(shape), "bias_axes": bias and bias[1]}
    config |= {"kernel_initializer": _initializer(starts[kernel[0]])} | (penalties or {})
    variables = [writer.variable(place, *kernel, name="kernel")]
    if bias is not None:
        config["bias_initializer"] = _initializer(starts[bias[0]])
        variables.append(writer.variable(place, bias[0], bias[2], name="bias"))
    called = place.name if name is None else writer.graph.free_name(f"{place.name}_{name}")
    return writer.layer("EinsumDense", called, config, [x], shape, variables, trainable=place.trainable)


def _initializer(initializer: Initializer) -> dict[str, Any]:
    """Return an initializer as Keras writes it; of those that draw for several kernels at once, what they draw by."""
    own = getattr(initializer, "initializer", initializer)
    return described("initializers", initializers.serialize(own))


def _penalties(place: Place, parameter: str) -> dict[str, Any]:
    """Return the regularizer and the constraint of a parameter, as those of a kernel."""
    config, ends = place.config(), ("regularizer", "constraint")
    return {f"kernel_{end}": config[f"{parameter}_{end}"] for end in ends if f"{parameter}_{end}" in config}


def _activated(writer: Writer, place: Place, f: ActivationFunction, x: Tensor) -> Tensor:
    """Return f(x) as rows of one axis."""
    return writer.flat(place, writer.activated(place, f, x))


def _joined(writer: Writer, place: Place, parts: list[Tensor]) -> Tensor:
    """Return tensors side by side, along their last axis."""
    shape = (*parts[0].shape[:-1], sum(part.shape[-1] for part in parts))
    return writer.helper("Concatenate", place, {"axis": -1}, parts, shape)


def _taken(writer: Writer, x: Tensor, columns: Sequence[int]) -> Tensor:
    """Return some columns of x, in this order."""
    return writer.operation("Take", {"axis": -1}, [x, list(columns)], (len(columns),))


def _of_columns(write: LayerWriter) -> LayerWriter:
    """Return a writer of a layer that takes some of the columns; `write` is given these, as if they were all."""

    def whole(writer: Writer, place: Place, x: Tensor) -> Tensor:
        layer: Any = place.layer
        places = list(layer._places)
        rest = [column for column in range(x.width) if column not in set(places)]
        if not rest:
            return writer.with_penalty(place, write(writer, place, x))
        made = write(writer, place, _taken(writer, x, places))
        joined = _joined(writer, place, [_taken(writer, x, rest), made])
        if layer.keeps_width:
            lies = {column: k for k, column in enumerate([*rest, *places])}
            joined = _taken(writer, joined, [lies[column] for column in range(x.width)])
        return writer.with_penalty(place, joined)

    return whole


# ---- factors and embeddings of columns ----


def _scale(writer: Writer, place: Place, x: Tensor) -> Tensor:
    kernel, penalties = ("scale", x.shape), _penalties(place, "scale")
    return writer.with_penalty(place, _product(writer, place, "ab,b->ab", x, x.shape, kernel, penalties=penalties))


def _parametric_activation(writer: Writer, place: Place, x: Tensor) -> Tensor:
    """X + alpha (f(x) - x)."""
    layer: layers.ParametricActivation = place.layer
    bent = writer.activated(place, layer.activation, x)
    apart = writer.helper("Subtract", place, {}, [bent, x], x.shape)
    kernel, penalties = ("alpha", x.shape), _penalties(place, "alpha")
    some = _product(writer, place, "ab,b->ab", apart, x.shape, kernel, penalties=penalties)
    return writer.with_penalty(place, writer.helper("Add", place, {}, [x, some], x.shape))


def _glu(writer: Writer, place: Place, x: Tensor) -> Tensor:
    layer: layers.GLU = place.layer
    half = (x.width // 2,)
    a = writer.operation("Split", {"indices_or_sections": 2, "axis": -1}, [x], half)
    gate = writer.activated(place, layer.activation, a._replace(output=1))
    return writer.with_penalty(place, writer.layer("Multiply", place.name, {}, [[a, gate]], half))


def _linear_embedding(writer: Writer, place: Place, x: Tensor) -> Tensor:
    layer: layers.LinearEmbedding = place.layer
    shape = (x.width, layer.units)
    y = _product(writer, place, "ab,bc->abc", x, shape, ("kernel", shape), ("bias", "bc", shape))
    return _activated(writer, place, layer.activation, y)


def _periodic_embedding(writer: Writer, place: Place, x: Tensor) -> Tensor:
    layer: layers.PeriodicEmbedding = place.layer
    columns, units = x.width, layer.units
    turns = writer.helper("Rescaling", place, {"scale": 2 * math.pi, "offset": 0.0}, x, x.shape)
    shape = (columns, layer.frequencies)
    phases = ("phases", "bc", shape) if layer.phases else None
    angles = _product(writer, place, "ab,bc->abc", turns, shape, ("frequencies", shape), phases, name="frequencies")
    waves = writer.operation("Cos", {}, [angles], shape)
    if not layer.phases:
        waves = _joined(writer, place, [waves, writer.operation("Sin", {}, [angles], shape)])
    y = _mapped(writer, place, waves, units, 1 if layer.share_weights else columns)
    made = _activated(writer, place, layer.activation, y)
    return _joined(writer, place, [x, made]) if layer.densely_connected else made


def _mapped(writer: Writer, place: Place, x: Tensor, units: int, maps: int) -> Tensor:
    """Return what a map of the last axis gives, one for each of the axis before, or one for all."""
    groups, each = x.shape
    shape = (groups, units)
    if maps == 1 and groups > 1:
        return _product(writer, place, "abc,cd->abd", x, shape, ("kernel", (each, units)), ("bias", "d", (units,)))
    kernel = ("kernel", (groups, each, units))
    return _product(writer, place, "abc,bcd->abd", x, shape, kernel, ("bias", "bd", shape))


# ---- constants of columns ----


def _robust_normalization(writer: Writer, place: Place, x: Tensor) -> Tensor:
    """A Normalization divides by a root, and so a factor becomes 1 / factor²; a factor of 0 stays one."""
    layer: layers.RobustNormalization = place.layer
    factor = np.array(layer.factor)
    variance = np.divide(1.0, factor**2, out=np.ones_like(factor), where=factor != 0)
    config = {"axis": -1, "mean": list(layer.center or ()), "variance": variance.tolist()}
    y = writer.layer("Normalization", place.name, config, [x], x.shape)
    if (factor == 0).any():
        kept = {"scale": (factor != 0).astype(float).tolist(), "offset": 0.0}
        y = writer.helper("Rescaling", place, kept, y, x.shape)
    return y if layer.clip is None else writer.activated(place, activations.SmoothClip(layer.clip), y)


def _impute(writer: Writer, place: Place, x: Tensor) -> Tensor:
    layer: layers.Impute = place.layer
    fill = np.array(layer._fill_for(x.width), writer.element)
    missing = writer.operation("Isnan", {}, [x], x.shape)._replace(dtype="bool")
    filled = writer.operation("Where", {}, [missing, fill, x], x.shape)
    if not layer.add_indicator:
        return filled
    ones, zeros = np.ones_like(fill), np.zeros_like(fill)
    return _joined(writer, place, [filled, writer.operation("Where", {}, [missing, ones, zeros], x.shape)])


def _target_scaling(writer: Writer, place: Place, x: Tensor) -> Tensor:
    layer: layers.TargetScaling = place.layer
    if writer.trains:
        raise without(
            f"the training of TargetScaling {layer.name!r}",
            "Keras's loss would be that of other units; training=False leaves it out",
        )
    mean, deviation, low, high = np.array(layer._statistics(x.width)).reshape(4, x.width)
    config = {"axis": -1, "mean": mean.tolist(), "variance": (deviation**2).tolist(), "invert": True}
    y = writer.layer("Normalization", place.name, config, [x], x.shape)
    for bounds, kind in ((low, "Maximum"), (high, "Minimum")):
        if np.isfinite(bounds).any():
            y = writer.operation(kind, {}, [y, bounds.astype(writer.element)], x.shape)
    return y


# ---- ensembles that share weights ----


def _by_member(writer: Writer, place: Place, x: Tensor, members: int) -> Tensor:
    """Return the columns of each member as a row of its own."""
    shape = (members, x.width // members)
    return writer.helper("Reshape", place, {"target_shape": list(shape)}, x, shape)


def _ensemble_scale(writer: Writer, place: Place, x: Tensor) -> Tensor:
    layer: layers.EnsembleScale = place.layer
    shape, penalties = (layer.members, x.width), _penalties(place, "scale")
    y = _product(writer, place, "ab,cb->acb", x, shape, ("scale", shape), penalties=penalties)
    return writer.with_penalty(place, writer.flat(place, y))


def _ensemble_dense(writer: Writer, place: Place, x: Tensor) -> Tensor:
    layer: layers.EnsembleDense = place.layer
    rows = _by_member(writer, place, x, layer.members)
    inputs, outputs = rows.shape, (layer.members, layer.units)
    if layer.sharing != "adapted":
        y = _mapped(writer, place, rows, layer.units, 1 if layer.sharing == "full" else layer.members)
        return writer.with_penalty(place, _activated(writer, place, layer.activation, y))
    before = _product(writer, place, "abc,bc->abc", rows, inputs, ("scale_in", inputs), name="scale_in")
    kernel = ("kernel", (inputs[1], layer.units))
    between = _product(writer, place, "abc,cd->abd", before, outputs, kernel)
    scale, bias = ("scale_out", outputs), ("bias", "bc", outputs)
    after = _product(writer, place, "abc,bc->abc", between, outputs, scale, bias, name="scale_out")
    return writer.with_penalty(place, _activated(writer, place, layer.activation, after))


def _ensemble_mean(writer: Writer, place: Place, x: Tensor) -> Tensor:
    layer: layers.EnsembleMean = place.layer
    if writer.trains:
        raise without(
            f"the training of EnsembleMean {layer.name!r}",
            "Keras's loss would be that of the mean, not that of each member; training=False leaves it out",
        )
    rows = _by_member(writer, place, x, layer.members)
    return writer.layer("GlobalAveragePooling1D", place.name, {}, [rows], rows.shape[1:])


WRITERS: dict[type, LayerWriter] = {
    layers.EnsembleDense: _ensemble_dense,
    layers.EnsembleMean: _ensemble_mean,
    layers.EnsembleScale: _ensemble_scale,
    layers.GLU: _glu,
    layers.Impute: _impute,
    layers.LinearEmbedding: _of_columns(_linear_embedding),
    layers.ParametricActivation: _parametric_activation,
    layers.PeriodicEmbedding: _of_columns(_periodic_embedding),
    layers.RobustNormalization: _of_columns(_robust_normalization),
    layers.Scale: _scale,
    layers.TargetScaling: _target_scaling,
}
