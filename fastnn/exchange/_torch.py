"""Modules of PyTorch, read in the order in which their children run.

Nothing here imports PyTorch unless the object is one of its modules. The order is that of PyTorch's own trace of
``forward`` (``torch.fx``), and where that cannot be traced, the order of the children. What comes of it is held to what
the module answers on random rows.
"""

from __future__ import annotations

import copy
import operator
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn import layers
from fastnn.exchange._network import Found
from fastnn.exchange._torch_modules import Chain, append, kind_of

Array = npt.NDArray[Any]
ROWS = 16  # random rows on which the module and the model are compared

# functions and methods of tensors that are modules too, with the arguments that both have
_FUNCTIONS = {
    "celu": "CELU", "elu": "ELU", "gelu": "GELU", "glu": "GLU", "hardsigmoid": "Hardsigmoid", "hardswish": "Hardswish",
    "hardtanh": "Hardtanh", "leaky_relu": "LeakyReLU", "log_softmax": "LogSoftmax", "logsigmoid": "LogSigmoid",
    "mish": "Mish", "relu": "ReLU", "relu6": "ReLU6", "relu_": "ReLU", "selu": "SELU", "sigmoid": "Sigmoid",
    "silu": "SiLU", "softmax": "Softmax", "softmin": "Softmin", "softplus": "Softplus", "softsign": "Softsign",
    "tanh": "Tanh",
}  # fmt: skip
_OWN = {"exp": "exponential", "cos": "cos"}  # functions that no module does
_SAME = ("contiguous", "squeeze", "clone", "detach")  # of rows of one axis; the comparison finds other uses
_TO_ROWS = ("flatten", "view", "reshape")
_IGNORED = ("inplace", "_stacklevel", "dtype")


class Residual(NamedTuple):
    """y = x + f(x)."""

    path: str
    inner: list[Any]


class Step(NamedTuple):
    """A module, or the name of an activation, what messages call it, and whether that is the name of a child."""

    path: str
    module: Any
    is_child: bool = False


class _NotTraced(Exception):  # noqa: N818  # says that there is no trace, and the children's order counts
    pass


def read(module: Any, input_shape: Any) -> Found:
    """Return the layers and weights of a module; see :func:`fastnn.from_torch`."""
    torch = sys.modules.get("torch")
    module = getattr(module, "_orig_mod", module)  # of a compiled module
    if torch is None or not isinstance(module, torch.nn.Module):
        hint = ": load_torch reads files" if isinstance(module, (str, bytes)) or hasattr(module, "__fspath__") else ""
        raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}{hint}")
    if isinstance(module, torch.jit.ScriptModule):
        raise ValueError(
            "module is compiled by TorchScript, and no longer says its layers: give the one it was made of"
        )
    _check_parameters(module)
    axes = None if input_shape is None else layers.Input(input_shape).input_axes
    chain = Chain(None if axes is None else int(np.prod(axes)))
    try:
        steps = _traced(module)
    except _NotTraced:
        steps = list(_children(module))
    _read_steps(chain, steps)
    if chain.inputs is None:
        raise ValueError("module does not say how many features a row has: give input_shape=(features,)")
    floats = {str(one.dtype) for one in module.parameters() if one.is_floating_point()}
    dtype = "float64" if floats and floats <= {"torch.float64"} else "float32"
    first = layers.Input(axes or (chain.inputs,), dtype=dtype)
    return Found([first, *(chain.layers or [layers.Activation("linear")])], chain.weights)


def _check_parameters(module: Any) -> None:
    """Raise where parameters have no numbers yet, or two modules share one."""
    seen: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if "Uninitialized" in type(parameter).__name__:
            raise ValueError(f"module has the parameter {name!r} without a shape: let it see a batch first")
        if parameter.is_complex():
            raise ValueError(f"module has the parameter {name!r} of complex numbers, which no layer has")
        other = seen.setdefault(id(parameter), name)
        if other != name:
            raise ValueError(f"module has one parameter for {other!r} and {name!r}; each layer has weights of its own")


def _read_steps(chain: Chain, steps: list[Any]) -> None:
    seen = set()
    for step in steps:
        if isinstance(step, Residual):
            inner = Chain(chain.width, chain.names)
            _read_steps(inner, step.inner)
            if inner.inputs is None:
                raise ValueError(
                    f"module adds a row to itself at {step.path!r} before its width is known: give input_shape"
                )
            chain.need(inner.inputs, step.path)
            chain.add(layers.Residual(inner.layers or [layers.Activation("linear")]))
            chain.weights += inner.weights
        elif isinstance(step.module, str):
            chain.activate(step.module)
        else:
            if id(step.module) in seen and next(step.module.parameters(), None) is not None:
                raise ValueError(f"module runs {step.path!r} twice; each layer has weights of its own")
            seen.add(id(step.module))
            append(chain, step.module, step.path, named=step.is_child)


def _children(module: Any, path: str = "") -> Iterator[Step]:
    """Yield the modules without children, in their order."""
    kind, own = kind_of(module), dict(module.named_parameters(recurse=False))
    inner = list(module._modules.items())
    if kind and kind not in ("Sequential", "ModuleList", "ModuleDict"):
        yield Step(path or kind, module, bool(path))
        return
    if own:
        called, name = type(module).__name__, next(iter(own))
        raise ValueError(
            f"module {path or called!r} has the parameter {name!r} of its own, which no layer of fastnn has"
        )
    if not inner and not kind:
        yield Step(path or type(module).__name__, module)  # which is named as one that no layer does
    for name, child in inner:
        if child is not None:
            yield from _children(child, f"{path}.{name}" if path else name)


def _twin(module: Any) -> Any:
    """Return a copy of a module, which may be training."""
    try:
        return copy.deepcopy(module)
    except Exception as error:
        raise ValueError(f"module must be one that copy.deepcopy copies, but that raises {error}") from error


# ---- the trace ----


def _traced(module: Any) -> list[Any]:
    """Return the steps of a module in the order in which its ``forward`` runs them."""
    if kind_of(module) not in ("", "Sequential"):
        raise _NotTraced
    fx = import_module("torch.fx")
    try:
        graph = fx.Tracer().trace(_twin(module).train())  # so that its functions of dropout show
    except Exception as error:  # whatever a user's forward may raise at a stand-in for a tensor
        raise _NotTraced from error
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    (output,) = (node.args[0] for node in graph.nodes if node.op == "output")
    if len(inputs) != 1 or not isinstance(output, fx.Node):
        given = f"takes {len(inputs)} inputs" if len(inputs) != 1 else f"returns a {type(output).__name__}"
        raise ValueError(f"module must take one tensor and return one, but its forward {given}")
    return _steps_between(output, inputs[0], module)


def _goes_on(node: Any) -> bool:
    """Return whether an argument of a graph's node is a node with another one before it."""
    return getattr(node, "op", "placeholder") != "placeholder" and bool(node.args)


def _steps_between(node: Any, start: Any, module: Any) -> list[Any]:
    """Return the steps by which a node of a graph follows from another one."""
    steps: list[Any] = []
    while node is not start:
        if not _goes_on(node):
            raise ValueError(f"module computes {str(node)!r} beside the way from its input to its output")
        step, before = _step(node, module)
        steps = [*step, *steps]
        node = before
    return steps


def _step(node: Any, module: Any) -> tuple[list[Any], Any]:
    """Return what a node does, and the node before it."""
    before = node.args[0]
    if node.op == "call_module":
        return [Step(node.target, module.get_submodule(node.target), True)], before
    if node.op not in ("call_function", "call_method"):
        raise ValueError(f"module reads {str(node.target)!r} in its forward, which no layer of fastnn has")
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    if node.target in (operator.add, operator.iadd) or name in ("add", "add_"):
        return _sum(node, module)
    if name in _OWN:
        return [Step(name, _OWN[name])], before
    if name in _SAME:
        return [], before
    nn = sys.modules["torch"].nn
    if name in _TO_ROWS:
        return [Step(node.name, nn.Flatten())], before
    if name == "dropout":
        rate = node.kwargs.get("p", node.args[1] if len(node.args) > 1 else 0.5)
        active = node.kwargs.get("training", node.args[2] if len(node.args) > 2 else True)
        return [Step(node.name, nn.Dropout(rate if active else 0.0))], before
    if name not in _FUNCTIONS:
        raise ValueError(f"module calls {name!r} in its forward, which no layer of fastnn does")
    named = {key: value for key, value in node.kwargs.items() if key not in _IGNORED}
    limit = 1 if "softm" in name else None  # what follows the dim is no argument of the module
    return [Step(node.name, getattr(nn, _FUNCTIONS[name])(*node.args[1:][:limit], **named))], before


def _sum(node: Any, module: Any) -> tuple[list[Any], Any]:
    """Return the block y = x + f(x) that a sum is, and the node x."""
    if len(node.args) != 2 or not all(hasattr(one, "op") for one in node.args) or node.kwargs:
        raise ValueError("module adds something else than two rows in its forward, which no layer of fastnn does")
    for x, y in (node.args, node.args[::-1]):
        if _follows(y, x, module):
            return [Residual(str(node.name), _steps_between(y, x, module))], x
    raise ValueError("module adds two rows of which none follows from the other, which no layer of fastnn does")


def _follows(node: Any, other: Any, module: Any) -> bool:
    """Return whether a node follows from another one, over what layers do."""
    while node is not other:
        if not _goes_on(node):
            return False
        _, node = _step(node, module)
    return True


# ---- the comparison ----


def check(module: Any, predict: Callable[[Array], Array], found: Found) -> None:
    """Raise where a module answers something else than the model that was made of it, on random rows.

    Parameters
    ----------
    module : torch.nn.Module
        It is copied, as it may be training.
    predict : callable
        Returns what the model answers.
    found : Found
        What was read of the module.

    Raises
    ------
    ValueError
        When the answers differ by more than rounding.
    """
    torch = sys.modules["torch"]
    twin = _twin(getattr(module, "_orig_mod", module)).cpu().double().eval()
    random, axes = np.random.default_rng(0), found.layers[0].input_axes or ()
    first = next((one for one in found.layers[1:] if not isinstance(one, layers.Flatten)), None)
    whole = isinstance(first, layers.Embedding)
    rows = (
        random.integers(0, first.input_dim, (ROWS, *axes))
        if isinstance(first, layers.Embedding)
        else random.normal(size=(ROWS, *axes))
    )
    try:
        with torch.no_grad():
            answer = twin(torch.from_numpy(rows))
        wanted = answer.numpy().reshape(ROWS, -1)
    except Exception as error:
        raise ValueError(
            f"module cannot be compared with its layers: on rows of shape {rows.shape} it raises {error}"
        ) from error
    got = np.asarray(predict(rows if whole else rows.astype(np.float64)), np.float64)
    if got.shape != wanted.shape:
        raise ValueError(
            f"module gives {wanted.shape[1]} numbers a row, and its children in their order give {got.shape[1]}"
        )
    # float32 has 7 digits, of sums that may be larger than the answer
    apart = np.abs(got - wanted) > 1e-4 * max(1.0, float(np.abs(wanted).max()))
    different = apart | (np.isnan(got) != np.isnan(wanted))
    if different.any():
        row, column = np.argwhere(different)[0]
        raise ValueError(
            f"module does something else than its children in their order: on a random row its output {column} is "
            f"{wanted[row, column]:.6g}, and that of the children {got[row, column]:.6g}"
        )
