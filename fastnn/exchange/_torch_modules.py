"""What each module of PyTorch is here: layers and their weights.

A module is known by the name of its class and read from its public attributes; this file imports no PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import activations, layers
from fastnn._registry import nearest_names
from fastnn.layers.base import Layer

Array = npt.NDArray[Any]


def array_of(tensor: Any) -> Array:
    """Return a tensor's numbers in float32 or float64; numbers of 16 bits become float32 exactly."""
    values = tensor.detach().cpu()
    wide = str(values.dtype) in ("torch.float32", "torch.float64")
    return np.array((values if wide else values.float()).numpy())


class Chain:
    """Layers one after the other, as modules are read.

    Attributes
    ----------
    inputs, width : int or None
        The features of a row at the start and after the layers so far; None as long as no module says them.
    layers : list of Layer
    weights : list of tuple
        Layers with weights, and these.
    names : set of str
        The names of layers so far, in residual blocks and around them.
    """

    def __init__(self, width: int | None = None, names: set[str] | None = None) -> None:
        self.inputs = self.width = width
        self.names = {"optimizer"} if names is None else names  # the optimizer's state has that one in files
        self.layers: list[Layer] = []
        self.weights: list[tuple[Layer, Sequence[Array]]] = []
        self._growth = 1  # how many features follow from one of x, where it begins with an Embedding
        self._unknown: list[Callable[[int], None]] = []  # what waits for the width

    def free_name(self, wanted: str) -> str:
        """Return the name, with a number after it where a layer has it already; a child may run several times."""
        free, k = wanted, 1
        while free in self.names:
            free, k = f"{wanted}_{k}", k + 1
        self.names.add(free)
        return free

    def need(self, width: int, path: str) -> None:
        """Take note that a module reads so many features; raise where there are others."""
        if self.width is None:
            if width % self._growth:
                raise ValueError(f"module {path!r} reads {width} features, which an Embedding before it does not give")
            self.inputs, self.width = width // self._growth, width
        if self.width != width:
            raise ValueError(f"module {path!r} reads {width} features, and those before it give {self.width}")

    def add(self, layer: Layer, arrays: Sequence[Array] = ()) -> None:
        """Append a layer with its weights."""
        self.layers.append(layer)
        if len(arrays):
            self.weights.append((layer, arrays))

    def activate(self, activation: Any) -> None:
        """Append an activation, which becomes part of a linear Dense before it."""
        last = self.layers[-1] if self.layers else None
        if isinstance(last, layers.Dense) and last.activation is activations.linear:
            last.activation = activations.get(activation)
        else:
            self.add(layers.Activation(activation))


# ---- modules with weights ----


def _linear(chain: Chain, module: Any, path: str) -> None:
    chain.need(module.in_features, path)
    bias = [] if module.bias is None else [array_of(module.bias)]
    layer = layers.Dense(module.out_features, use_bias=bool(bias))
    chain.add(layer, [array_of(module.weight).T, *bias])
    chain.width = module.out_features


def _batch_norm(chain: Chain, module: Any, path: str) -> None:
    chain.need(module.num_features, path)
    if not module.track_running_stats or module.momentum is None:
        what = "track_running_stats=False" if not module.track_running_stats else "momentum=None"
        raise ValueError(f"module {path!r} is a BatchNorm1d with {what}, which BatchNormalization has not")
    affine = [array_of(module.weight), array_of(module.bias)] if module.affine else []
    layer = layers.BatchNormalization(
        momentum=1 - module.momentum, epsilon=module.eps, center=module.affine, scale=module.affine
    )
    chain.add(layer, [*affine, array_of(module.running_mean), array_of(module.running_var)])


def _normalized_width(module: Any, path: str) -> int:
    shape = tuple(module.normalized_shape)
    if len(shape) != 1:
        raise ValueError(f"module {path!r} normalizes over axes of shape {shape}, and rows have one axis here")
    return int(shape[0])


def _layer_norm(chain: Chain, module: Any, path: str) -> None:
    chain.need(_normalized_width(module, path), path)
    arrays = [array_of(one) for one in (module.weight, module.bias) if one is not None]
    has_bias, has_weight = module.bias is not None, module.weight is not None
    chain.add(layers.LayerNormalization(epsilon=module.eps, center=has_bias, scale=has_weight), arrays)


def _rms_norm(chain: Chain, module: Any, path: str) -> None:
    width = _normalized_width(module, path)
    chain.need(width, path)
    known = module.weight is not None
    weight = array_of(module.weight) if known else np.ones(width)
    # without an epsilon PyTorch adds that of the element type
    epsilon = float(np.finfo(weight.dtype if known else np.float32).eps) if module.eps is None else module.eps
    layer = layers.RMSNormalization(epsilon=epsilon)
    layer.trainable = known
    chain.add(layer, [weight])


def _prelu(chain: Chain, module: Any, path: str) -> None:
    slopes = array_of(module.weight)
    if len(slopes) > 1:
        chain.need(len(slopes), path)
    if chain.width is None:
        raise ValueError(f"module {path!r} is a PReLU whose number of features nothing says: give input_shape")
    chain.add(layers.PReLU(), [np.broadcast_to(slopes, (chain.width,))])


def _embedding(chain: Chain, module: Any, path: str) -> None:
    if module.max_norm is not None:
        raise ValueError(f"module {path!r} is an Embedding with max_norm, which Embedding has not")
    if any(not isinstance(layer, layers.Flatten) for layer in chain.layers):
        raise ValueError(f"module {path!r} is an Embedding after other modules, and must be the first here")
    chain.add(layers.Embedding(module.num_embeddings, module.embedding_dim), [array_of(module.weight)])
    if chain.width is None:
        chain._growth = module.embedding_dim
    else:
        chain.width *= module.embedding_dim


# ---- activations ----

FIXED = {
    "Hardsigmoid": "hard_sigmoid",
    "Hardswish": "hard_silu",
    "LogSigmoid": "log_sigmoid",
    "LogSoftmax": "log_softmax",
    "Mish": "mish",
    "ReLU": "relu",
    "ReLU6": "relu6",
    "SELU": "selu",
    "SiLU": "silu",
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
    "Softsign": "softsign",
    "Tanh": "tanh",
}
_WITH_CONSTANTS: dict[str, Callable[[Any], Any]] = {
    "CELU": lambda module: activations.CELU(module.alpha),
    "ELU": lambda module: activations.ELU(module.alpha),
    "GELU": lambda module: activations.GELU(module.approximate == "tanh"),
    "LeakyReLU": lambda module: activations.LeakyReLU(module.negative_slope),
}


def _of_features(module: Any, path: str) -> None:
    """Raise unless the axis of a module is that of the features."""
    if module.dim not in (-1, 1, None):
        raise ValueError(f"module {path!r} is a {type(module).__name__} over dim={module.dim}, not over the features")


def _softplus(chain: Chain, module: Any, path: str) -> None:
    beta = module.beta
    if beta != 1:
        chain.add(layers.Rescaling(beta))
    chain.activate("softplus")
    if beta != 1:
        chain.add(layers.Rescaling(1 / beta))


def _hardtanh(chain: Chain, module: Any, path: str) -> None:
    low, high = module.min_val, module.max_val
    if (low, high) == (-1, 1):
        chain.activate("hard_tanh")
    elif low == 0:
        chain.activate(activations.ReLU(max_value=high))
    else:
        half, middle = (high - low) / 2, (high + low) / 2
        chain.add(layers.Rescaling(1 / half, -middle / half))
        chain.activate("hard_tanh")
        chain.add(layers.Rescaling(half, middle))


def _softmin(chain: Chain, module: Any, path: str) -> None:
    _of_features(module, path)
    chain.add(layers.Rescaling(-1.0))
    chain.activate("softmax")


def _glu(chain: Chain, module: Any, path: str) -> None:
    _of_features(module, path)
    chain.add(layers.GLU())
    chain.width = None if chain.width is None else chain.width // 2


# ---- modules without weights ----


def _dropout(chain: Chain, module: Any, path: str) -> None:
    kind = layers.AlphaDropout if kind_of(module) == "AlphaDropout" else layers.Dropout
    if module.p >= 1:
        raise ValueError(f"module {path!r} drops all elements (p={module.p}): rates are below 1 here")
    chain.add(kind(module.p))


def _flatten(chain: Chain, module: Any, path: str) -> None:
    if module.start_dim != 1 or module.end_dim not in (-1, 1):
        raise ValueError(f"module {path!r} is a Flatten of other axes than all of a row's")
    if not isinstance(chain.layers[-1] if chain.layers else None, layers.Embedding):  # whose rows are flat here
        chain.add(layers.Flatten())


def _unflatten(chain: Chain, module: Any, path: str) -> None:
    shape = tuple(module.unflattened_size)
    if module.dim not in (1, -1) or not all(isinstance(length, int) for length in shape):
        raise ValueError(f"module {path!r} is an Unflatten of another axis than the features")
    if -1 not in shape:
        chain.need(math.prod(shape), path)
    chain.add(layers.Reshape(shape))


_MODULES: dict[str, Callable[[Chain, Any, str], None]] = {
    "AlphaDropout": _dropout,
    "BatchNorm1d": _batch_norm,
    "Dropout": _dropout,
    "Embedding": _embedding,
    "Flatten": _flatten,
    "GLU": _glu,
    "Hardtanh": _hardtanh,
    "Identity": lambda chain, module, path: None,
    "LayerNorm": _layer_norm,
    "Linear": _linear,
    "PReLU": _prelu,
    "RMSNorm": _rms_norm,
    "Softmin": _softmin,
    "Softplus": _softplus,
    "Unflatten": _unflatten,
}
KNOWN = sorted({*FIXED, *_WITH_CONSTANTS, *_MODULES, "Sequential"})


def kind_of(module: Any) -> str:
    """Return the name of the class of PyTorch whose forward a module runs; empty where that is the user's own."""
    kind: Any
    for kind in type(module).__mro__:
        if kind.__module__.startswith("torch.nn.modules.") and kind.__name__ != "Module":
            return kind.__name__ if getattr(type(module), "forward", None) is kind.forward else ""
    return ""


def append(chain: Chain, module: Any, path: str, *, named: bool) -> None:
    """Append what one module does, as a layer of the name `path` where that is to be the name.

    Raises
    ------
    ValueError
        When the module has no twin; the message names it.
    """
    kind = kind_of(module)
    before = len(chain.layers)
    if kind in FIXED:
        if hasattr(module, "dim"):
            _of_features(module, path)
        chain.activate(FIXED[kind])
    elif kind in _WITH_CONSTANTS:
        chain.activate(_WITH_CONSTANTS[kind](module))
    elif kind in _MODULES:
        _MODULES[kind](chain, module, path)
    else:
        called = type(module).__name__
        near = nearest_names(called, KNOWN)
        near = near if near.startswith("did") else "docs/interchange.md lists those that have a twin"
        if called in KNOWN:
            near = f"it is that of {type(module).__module__}, and only those of torch.nn have a twin"
        raise ValueError(f"module {path!r} is a {called}, which no layer of fastnn does; {near}")
    trained = [parameter.requires_grad for parameter in module.parameters()]
    if trained and not any(trained) and kind != "BatchNorm1d":  # whose statistics still move there, and would not here
        for layer in chain.layers[before:]:
            layer.trainable = False
    parts = path.split(".")
    if named and len(chain.layers) == before + 1 and not all(part.isdecimal() for part in parts):
        chain.layers[-1].name = chain.free_name("_".join(parts))
