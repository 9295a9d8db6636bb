"""A model as modules of PyTorch: the text that makes them, and a file of safetensors with their weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn import layers
from fastnn._foreign import path_of
from fastnn._schedules import number_and_schedule
from fastnn.activations import ActivationFunction
from fastnn.exchange import _safetensors
from fastnn.exchange._torch_classes import CLASSES, NEEDS
from fastnn.exchange._torch_names import leaves
from fastnn.layers._columns import OfColumns
from fastnn.layers.base import Layer

Array = npt.NDArray[Any]

HEAD = """# The network {name!r} of fastnn, for PyTorch. Its weights:
#     from safetensors.torch import load_file
#     model.load_state_dict(load_file({file!r}))
"""


class Made(NamedTuple):
    """Modules, each as the text of an expression, with the layers whose parameters they have by the names of these."""

    text: str
    holders: Mapping[str, Layer] = {}  # an empty one is nobody's to change


def text_and_tensors(
    name: str, members: list[Layer], inputs: int, dtype: str, file: str
) -> tuple[str, dict[str, Array]]:
    """Return the text that makes the modules, and the tensors of their ``state_dict``."""
    writer = _Writer(dtype)
    made = writer.sequential(members, inputs)
    lines = [HEAD.format(name=name, file=file), "import torch\nfrom torch import nn\n"]
    lines += [f"\n{CLASSES[used]}" for used in CLASSES if used in writer.used]
    lines.append(f"{chr(10) * bool(writer.used)}model = {made.text}\nmodel.to(torch.{dtype}).eval()")
    known = {id(leaf.layer): leaf for leaf in leaves(members)}
    tensors = {}
    for path, layer in made.holders.items():
        leaf = known[id(layer)]
        for (tensor, _), array in zip(leaf.tensors.items(), layer.get_weights(), strict=True):
            tensors[f"{path}.{tensor}"] = leaf.parameter_of(array)
        tensors |= {f"{path}.{tensor}": array for tensor, array in _added(layer, tensors, path).items()}
    return "\n".join(lines), tensors


def export(path: str | os.PathLike[str], name: str, members: list[Layer], inputs: int, dtype: str) -> str:
    """Write the weights to a file of safetensors, and return the text that makes the modules."""
    text, tensors = text_and_tensors(name, members, inputs, dtype, Path(path_of(path)).name)
    _safetensors.write(path, tensors, {"format": "pt"})
    return text


def _added(layer: Layer, tensors: Mapping[str, Array], path: str) -> dict[str, Array]:
    """Return tensors that PyTorch's module has and the layer has not: a scale of ones, a shift of zeros."""
    if not isinstance(layer, (layers.BatchNormalization, layers.LayerNormalization)):
        return {}
    if not (layer.center or layer.scale) or (isinstance(layer, layers.LayerNormalization) and not layer.center):
        return {}
    like = tensors[f"{path}.{'bias' if layer.center else 'weight'}"]
    return {
        name: np.full_like(like, fill)
        for name, fill, there in (("weight", 1, layer.scale), ("bias", 0, layer.center))
        if not there
    }


class _Writer:
    """Makes the text of modules, and remembers which classes it uses."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.used: set[str] = set()

    def own(self, name: str, *arguments: Any) -> str:
        """Return the call of one of the small classes; arguments that are text stand as they are."""
        self.used |= {name, NEEDS.get(name, name)}
        return f"{name}({', '.join(one if isinstance(one, str) else repr(one) for one in arguments)})"

    def sequential(self, members: Iterable[Layer], width: int, kind: str = "nn.Sequential") -> Made:
        """Return layers one after the other."""
        texts: list[str] = []
        holders: dict[str, Layer] = {}
        for layer in members:
            for made in self.modules(layer, width):
                holders |= {f"{len(texts)}{path and '.'}{path}": holder for path, holder in made.holders.items()}
                texts.append(made.text)
            width = layer.build(width)
        return Made(_call(kind, texts), holders)

    def modules(self, layer: Layer, width: int) -> list[Made]:
        """Return the modules of a layer whose input has so many features."""
        if isinstance(layer, OfColumns):
            layer.build(width)
            taken = list(layer._places)
            if len(taken) < width:
                return [self._some(layer, width, taken)]
        return self._whole(layer, width)

    def _whole(self, layer: Layer, width: int) -> list[Made]:
        """Return the modules of a layer that takes all of its columns; one of the user's may compute anything."""
        own = type(layer).__module__.startswith("fastnn.")
        write = next((write for kind, write in _LAYERS.items() if own and isinstance(layer, kind)), None)
        if write is None:
            raise ValueError(
                f"layer {layer.name!r} is of class {type(layer).__name__}, which no module of PyTorch does"
            )
        return write(self, layer, width)

    def _some(self, layer: OfColumns, width: int, taken: list[int]) -> Made:
        inner = self._whole(layer, len(taken))
        text, holders = inner[0]
        if len(inner) > 1:
            text = _call("nn.Sequential", [made.text for made in inner])
            holders = {
                f"{k}{path and '.'}{path}": one for k, made in enumerate(inner) for path, one in made.holders.items()
            }
        rest = [place for place in range(width) if place not in set(taken)]
        in_place = layer.keeps_columns
        return Made(
            self.own("Columns", text, taken, rest, in_place),
            {f"module{path and '.'}{path}": one for path, one in holders.items()},
        )

    def activation(self, f: ActivationFunction) -> str:
        """Return the module of an activation."""
        numbers = f.get_config()
        if f.name in _FIXED:
            return _FIXED[f.name]
        if f.name == "relu":
            return self._relu(**numbers)
        if f.name == "gelu":
            return "nn.GELU('tanh')" if numbers["approximate"] else "nn.GELU()"
        if f.name in _WITH_CONSTANTS:
            return f"{_WITH_CONSTANTS[f.name]}({', '.join(map(repr, numbers.values()))})"
        return self.own(_OWN_ACTIVATIONS[f.name], *numbers.values())

    def _relu(self, negative_slope: float, max_value: float | None, threshold: float) -> str:
        if threshold == 0 and max_value is None:
            return f"nn.LeakyReLU({negative_slope!r})" if negative_slope else "nn.ReLU()"
        if threshold == 0 and not negative_slope and max_value:
            return f"nn.Hardtanh(0.0, {max_value!r})"
        return self.own("ClippedReLU", negative_slope, threshold, max_value)

    def activations_of(self, f: ActivationFunction) -> list[Made]:
        """Return the module of an activation; none where it is linear."""
        return [] if f.name == "linear" else [Made(self.activation(f))]


_FIXED = {
    "linear": "nn.Identity()",
    "hard_sigmoid": "nn.Hardsigmoid()",
    "hard_silu": "nn.Hardswish()",
    "hard_tanh": "nn.Hardtanh()",
    "log_sigmoid": "nn.LogSigmoid()",
    "log_softmax": "nn.LogSoftmax(-1)",
    "mish": "nn.Mish()",
    "relu6": "nn.ReLU6()",
    "selu": "nn.SELU()",
    "sigmoid": "nn.Sigmoid()",
    "silu": "nn.SiLU()",
    "softmax": "nn.Softmax(-1)",
    "softplus": "nn.Softplus()",
    "softsign": "nn.Softsign()",
    "tanh": "nn.Tanh()",
}
_WITH_CONSTANTS = {"leaky_relu": "nn.LeakyReLU", "elu": "nn.ELU", "celu": "nn.CELU"}
_OWN_ACTIVATIONS = {
    "cos": "Cosine",
    "exponential": "Exponential",
    "smooth_clip": "SmoothClip",
    "squareplus": "Squareplus",
}


def _call(kind: str, texts: list[str]) -> str:
    """Return a call whose arguments have a line each."""
    inner = "".join(f"    {line}\n" for text in texts for line in f"{text},".splitlines())
    return f"{kind}(\n{inner})" if texts else f"{kind}()"


# ---- the layers ----


def _dense(writer: _Writer, layer: Any, width: int) -> list[Made]:
    bias = "" if layer.use_bias else ", bias=False"
    linear = Made(f"nn.Linear({width}, {layer.units}{bias})", {"": layer})
    scaled = [] if layer.parametrization == "standard" else [Made(writer.own("Rescaling", width**-0.5, 0.0))]
    return [*scaled, linear, *writer.activations_of(layer.activation)]


def _batch_normalization(writer: _Writer, layer: Any, width: int) -> list[Made]:
    affine = "" if layer.center or layer.scale else ", affine=False"
    text = f"nn.BatchNorm1d({width}, eps={layer.epsilon!r}, momentum={round(1 - layer.momentum, 12)!r}{affine})"
    return [Made(text, {"": layer})]


def _layer_normalization(writer: _Writer, layer: Any, width: int) -> list[Made]:
    affine = "" if layer.center else ", bias=False" if layer.scale else ", elementwise_affine=False"
    holders = {"": layer} if layer.center or layer.scale else {}
    return [Made(f"nn.LayerNorm({width}, eps={layer.epsilon!r}{affine})", holders)]


def _noise(writer: _Writer, layer: Any, width: int) -> list[Made]:
    rate, _ = number_and_schedule(layer.stddev if isinstance(layer, layers.GaussianNoise) else layer.rate)
    kind = type(layer).__name__
    return [Made(f"nn.{kind}({rate!r})" if "Gaussian" not in kind else writer.own(kind, rate))]


def _glu(writer: _Writer, layer: Any, width: int) -> list[Made]:
    if layer.activation.name == "sigmoid":
        return [Made("nn.GLU()")]
    return [Made(writer.own("GatedUnit", writer.activation(layer.activation)))]


def _branches(writer: _Writer, layer: Any, width: int) -> list[Made]:
    widths = [stack._widths[0] for stack in layer._layers]
    stacks = [writer.sequential(stack._layers, width) for stack, width in zip(layer._layers, widths, strict=True)]
    return [_named("Branches", repr(widths), "branches", stacks, writer)]


def _heads(writer: _Writer, layer: Any, width: int) -> list[Made]:
    stacks = [writer.sequential(stack._layers, width) for stack in layer._layers]
    return [_named("Heads", repr([str(stack.name) for stack in layer._layers]), "heads", stacks, writer)]


def _named(kind: str, first: str, attribute: str, stacks: list[Made], writer: _Writer) -> Made:
    writer.own(kind)
    holders = {f"{attribute}.{k}.{path}": one for k, made in enumerate(stacks) for path, one in made.holders.items()}
    return Made(
        _call(kind, [first, _call("", [made.text for made in stacks]).replace("(", "[", 1)[:-1] + "]"]), holders
    )


def _residual(writer: _Writer, layer: Any, width: int) -> list[Made]:
    writer.own("Residual")
    return [writer.sequential(layer._layers, width, "Residual")]


def _robust(writer: _Writer, layer: Any, width: int) -> list[Made]:
    clip = [] if layer.clip is None else [Made(writer.own("SmoothClip", layer.clip))]
    return [Made(writer.own("CenteredScale", list(layer.center), list(layer.factor))), *clip]


def _impute(writer: _Writer, layer: Any, width: int) -> list[Made]:
    values = list(layer.fill_value) * (width if len(layer.fill_value) == 1 else 1)
    return [Made(writer.own("Impute", values, layer.add_indicator))]


def _encoding(writer: _Writer, tokens: int, mode: str) -> Made:
    return Made(writer.own("CategoryEncoding", tokens, repr(mode), f"torch.{writer.dtype}"))


def _discretization(writer: _Writer, layer: Any, width: int) -> list[Made]:
    bounds = list(layer.bin_boundaries)
    columns = [] if layer.output_mode == "int" else [_encoding(writer, len(bounds) + 1, layer.output_mode)]
    return [Made(writer.own("Discretization", bounds)), *columns]


def _target_scaling(writer: _Writer, layer: Any, width: int) -> list[Made]:
    numbers = layer._statistics(width)
    parts = [list(numbers[k * width : (k + 1) * width]) for k in range(4)]
    texts = [repr(part).replace("inf", "torch.inf") for part in parts]
    return [Made(writer.own("TargetScaling", *texts))]


def _periodic(writer: _Writer, layer: Any, width: int) -> list[Made]:
    made = writer.own(
        "PeriodicEmbedding", width, layer.frequencies, layer.units, layer.phases, layer.densely_connected,
        layer.share_weights, writer.activation(layer.activation),
    )  # fmt: skip
    return [Made(made, {"": layer})]


def _piecewise(writer: _Writer, layer: Any, width: int) -> list[Made]:
    edges, each = [list(column) for column in layer.bin_edges], layer._most + layer.linear
    if layer.units is None:
        return [Made(writer.own("PiecewiseLinearEncoding", edges, None, False))]
    mapped = writer.own("GroupedLinear", width, each, layer.units, False, writer.activation(layer.activation))
    return [Made(writer.own("PiecewiseLinearEncoding", edges, each, layer.linear)), Made(mapped, {"": layer})]


def _ensemble_dense(writer: _Writer, layer: Any, width: int) -> list[Made]:
    f, inputs = writer.activation(layer.activation), width // layer.members
    if layer.sharing == "adapted":
        return [Made(writer.own("EnsembleDense", layer.members, inputs, layer.units, f), {"": layer})]
    shared = layer.sharing == "full"
    return [Made(writer.own("GroupedLinear", layer.members, inputs, layer.units, shared, f), {"": layer})]


_LAYERS: dict[type[Layer], Callable[[_Writer, Any, int], list[Made]]] = {
    layers.InputLayer: lambda w, layer, width: [],
    layers.Activation: lambda w, layer, width: w.activations_of(layer.activation),
    layers.ActivityRegularization: lambda w, layer, width: [],
    layers.BatchNormalization: _batch_normalization,
    layers.Branches: _branches,
    layers.CategoryEncoding: lambda w, layer, width: [_encoding(w, layer.num_tokens, layer.output_mode)],
    layers.Dense: _dense,
    layers.Discretization: _discretization,
    layers.Dropout: _noise,
    layers.AlphaDropout: _noise,
    layers.GaussianDropout: _noise,
    layers.GaussianNoise: _noise,
    layers.Embedding: lambda w, layer, width: [
        Made(w.own("Embedding", layer.input_dim, layer.output_dim), {"": layer})
    ],
    layers.EnsembleDense: _ensemble_dense,
    layers.EnsembleMean: lambda w, layer, width: [Made(w.own("EnsembleMean", layer.members))],
    layers.EnsembleScale: lambda w, layer, width: [Made(w.own("EnsembleScale", layer.members, width), {"": layer})],
    layers.Flatten: lambda w, layer, width: [Made("nn.Flatten()")],
    layers.GLU: _glu,
    layers.Heads: _heads,
    layers.Impute: _impute,
    layers.LayerNormalization: _layer_normalization,
    layers.LinearEmbedding: lambda w, layer, width: [
        Made(w.own("LinearEmbedding", width, layer.units, w.activation(layer.activation)), {"": layer})
    ],
    layers.Normalization: lambda w, layer, width: [Made(w.own("Normalization", width, layer.invert), {"": layer})],
    layers.ParametricActivation: lambda w, layer, width: [
        Made(w.own("ParametricActivation", width, w.activation(layer.activation)), {"": layer})
    ],
    layers.PeriodicEmbedding: _periodic,
    layers.PiecewiseLinearEncoding: _piecewise,
    layers.PReLU: lambda w, layer, width: [Made(f"nn.PReLU({width})", {"": layer})],
    layers.Rescaling: lambda w, layer, width: [Made(w.own("Rescaling", layer.scale, layer.offset))],
    layers.Reshape: lambda w, layer, width: [
        Made("nn.Flatten()"),
        Made(f"nn.Unflatten(1, {tuple(layer._axes)!r})"),
    ],
    layers.Residual: _residual,
    layers.RMSNormalization: lambda w, layer, width: [Made(f"nn.RMSNorm({width}, eps={layer.epsilon!r})", {"": layer})],
    layers.QuantileNormalization: lambda w, layer, width: [Made(w.own("QuantileNormalization", layer.knots.tolist()))],
    layers.RobustNormalization: _robust,
    layers.Scale: lambda w, layer, width: [Made(w.own("Scale", width), {"": layer})],
    layers.Stack: lambda w, layer, width: [w.sequential(layer._layers, width)],
    layers.TargetScaling: _target_scaling,
    layers.UnitNormalization: lambda w, layer, width: [Made(w.own("UnitNormalization"))],
}
