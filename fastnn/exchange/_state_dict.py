"""A state_dict of PyTorch: which of its tensors belong together, and to which layer."""

from __future__ import annotations

import itertools
import os
import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn import layers
from fastnn._file import ModelFileError
from fastnn._foreign import owner_of, path_of
from fastnn.exchange._network import Found, names_of
from fastnn.exchange._safetensors import Tensors
from fastnn.exchange._torch_names import Leaf, leaves
from fastnn.layers.base import Layer

Array = npt.NDArray[Any]
WRAPPED = ("state_dict", "model_state_dict", "model")  # keys under which checkpoints hold a state_dict
IGNORED = ("num_batches_tracked",)
POSITIONS = ("module", "branches", "heads")  # parts of names in what export_torch writes, where numbers say the order
MOST_GROUPS = 4096  # of whose order a chain is sought


class Group(NamedTuple):
    """The tensors of one module.

    Attributes
    ----------
    name : str
        The module's name.
    shapes : dict of str to tuple of int
        The shapes of its tensors.
    """

    name: str
    shapes: dict[str, tuple[int, ...]]

    @property
    def signature(self) -> frozenset[tuple[str, tuple[int, ...]]]:
        """What decides whether the tensors fit a layer."""
        return frozenset(self.shapes.items())

    @property
    def pattern(self) -> str:
        """The name without its numbers: modules of one pattern come in the order of these.

        Modules that lie in Sequentials alone, or in what export_torch puts in their place, are of one pattern.
        """
        parts = [re.sub(r"\d+", "#", part) for part in self.name.split(".") if part not in POSITIONS]
        return "#" if set(parts) <= {"#"} else ".".join(parts)

    def __str__(self) -> str:
        return f"{self.name or 'module'} ({said(self.shapes)})"


class State:
    """The tensors of a file.

    Parameters
    ----------
    path : path-like

    Attributes
    ----------
    groups : list of Group
        The modules, in the order of the file where that is the order in which they were made; else by their names.
    in_order : bool
        Whether the file has that order.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path_of(path)
        self.in_order = owner_of(path) == "PyTorch"
        self._tensors: Any = _loaded(self.path) if self.in_order else Tensors(self.path)
        held: Any = getattr(self._tensors, "entries", self._tensors)
        shapes = {name: one.shape for name, one in held.items()}
        names = list(shapes) if self.in_order else sorted(shapes, key=natural)
        found: dict[str, dict[str, tuple[int, ...]]] = {}
        for name in names:
            module, _, tensor = name.rpartition(".")
            if tensor not in IGNORED:
                found.setdefault(module, {})[tensor] = tuple(shapes[name])
        self.groups = [Group(*item) for item in found.items()]

    def array(self, group: Group, tensor: str) -> Array:
        """Return a tensor of a group, of float32 or float64."""
        array: Array = self._tensors[f"{group.name}.{tensor}" if group.name else tensor]
        return array

    @property
    def dtype(self) -> str:
        """The element type of a model that has all of the file's numbers."""
        if self.in_order:
            found = {str(tensor.dtype) for tensor in self._tensors.values()}
        else:
            found = {"float64" if entry.dtype == "F64" else "float32" for entry in self._tensors.entries.values()}
        return "float64" if found == {"float64"} else "float32"


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return by what a name is sorted, so that layer 2 comes before layer 10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdecimal() and len(part) < 19 else (1, 0, part) for part in parts]


def said(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return shapes for a message."""
    return names_of(f"{name[:40]} {shape}" for name, shape in shapes.items())


def _loaded(path: str) -> dict[str, Array]:
    """Return the tensors of a file that torch.save has written, which PyTorch reads without running anything in it."""
    try:
        torch = import_module("torch")
    except ImportError:
        raise ImportError(
            f"{path} is a file of torch.save, which needs PyTorch to be read: pip install 'fastnn-cpu[torch]', "
            f"or save the weights there with safetensors.torch.save_file"
        ) from None
    from fastnn.exchange._torch_modules import array_of

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelFileError(
            f"{path} is damaged, or holds more than weights, which would run code to be read: save module.state_dict() "
            f"there"
        ) from error
    except Exception as error:  # whatever a damaged file makes PyTorch raise
        if "TorchScript" in str(error):
            raise ModelFileError(
                f"{path} is an archive of TorchScript, which holds code: save module.state_dict() there"
            ) from error
        raise ModelFileError(f"{path} is no whole file of torch.save: {error!r:.200}") from error
    for key in WRAPPED:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise ModelFileError(f"{path} holds a {type(state).__name__}, and no state_dict")
    return {name: array_of(tensor) for name, tensor in state.items() if hasattr(tensor, "is_floating_point")}


# ---- into a model ----


def arrays_for(state: State, members: Iterable[Layer]) -> list[Array]:
    """Return the weights of a model of these layers, in their order.

    Modules belong to layers by their names where all names are those of layers; else each to one whose parameters have
    the shapes of its tensors, several of one shape in their order.

    Raises
    ------
    ValueError
        When a layer has no module, a module no layer, or the file does not say which of several comes first.
    """
    known = list(leaves(members))
    by_name = {group.name.replace(".", "_"): group for group in state.groups}
    named = [by_name.get(leaf.path.replace(".", "_")) for leaf in known]
    of_names = [
        (leaf, group) for leaf, group in zip(known, named, strict=True) if group is not None and _fits(group, leaf)
    ]
    pairs = of_names if len(of_names) == len(known) == len(state.groups) else _paired(state, known)
    arrays = []
    for leaf, group in pairs:
        for tensor in set(group.shapes) - set(leaf.tensors):
            if not (state.array(group, tensor) == (tensor == "weight")).all():
                raise ValueError(f"{state.path} has {group.name}.{tensor}, which layer {leaf.path!r} has not")
        for (tensor, _), parameter in zip(leaf.tensors.items(), leaf.layer.parameters(), strict=True):
            array = leaf.parameter_of(state.array(group, tensor))
            arrays.append(np.broadcast_to(array, parameter.shape))
    return arrays


def _fits(group: Group, leaf: Leaf) -> bool:
    """Return whether a module's tensors are those of a layer, or have but a scale of ones or a shift of zeros more."""
    if isinstance(leaf.layer, layers.PReLU) and group.shapes == {"weight": (1,)}:
        return True
    more = set(group.shapes) - set(leaf.tensors)
    if more and isinstance(leaf.layer, (layers.BatchNormalization, layers.LayerNormalization)):
        width = next(iter(leaf.tensors.values()))
        return more <= {"weight", "bias"} and group.shapes == leaf.tensors | dict.fromkeys(more, width)
    return group.shapes == leaf.tensors


def _paired(state: State, known: Sequence[Leaf]) -> list[tuple[Leaf, Group]]:
    """Return each layer with its module, found by the shapes and the order of both."""
    left, pairs, taken = list(state.groups), list[tuple[Leaf, Group]](), dict[Any, list[Group]]()
    for leaf in known:
        group = next((one for one in left if _fits(one, leaf)), None)
        if group is None:
            raise ValueError(
                f"{state.path} has no module for layer {leaf.path!r}, which needs {said(leaf.tensors)}; left are "
                f"{names_of(left, 3) or 'none'}"
            )
        left.remove(group)
        pairs.append((leaf, group))
        taken.setdefault(group.signature, []).append(group)
    if left:
        raise ValueError(f"{state.path} has modules that no layer of the model takes: {names_of(left, 3)}")
    for several in taken.values():
        if not _are_in_order(state, several):
            raise ValueError(
                f"{state.path} does not say which comes first of {names_of(group.name for group in several)}, "
                f"whose shapes are the same: give the layers of the model these names"
            )
    return pairs


def _are_in_order(state: State, several: Sequence[Group]) -> bool:
    """Return whether the order of modules is sure: that of the numbers in their names, or of a file that has one.

    A file in which the two differ may be of a module that makes its children in another order than it calls them.
    """
    if len({group.pattern for group in several}) > 1:
        return state.in_order
    names = [group.name for group in several]
    return names == sorted(names, key=natural)


# ---- without a model ----


def derived(state: State, activation: Any, output_activation: Any) -> Found:
    """Return the layers that a file's shapes tell: linear layers, one after the other.

    Raises
    ------
    ValueError
        When there are other modules, or their order or activation is not known.
    """
    if not state.groups:
        raise ValueError(f"{state.path} holds no tensors")
    for group in state.groups:
        weight, bias = group.shapes.get("weight", ()), group.shapes.get("bias")
        if len(weight) != 2 or set(group.shapes) - {"weight", "bias"} or bias not in (None, weight[:1]):
            raise ValueError(
                f"{state.path} has the module {group}, which is no linear layer: give model=, of the same layers"
            )
    ordered = state.groups if len(state.groups) == 1 else _chain(state)
    if activation is None and len(ordered) > 1:
        raise ValueError(
            f"{state.path} has {len(ordered)} linear layers, and does not say what lies between them: "
            f"load_torch(path, activation=...) does"
        )
    first = layers.Input((ordered[0].shapes["weight"][1],), dtype=state.dtype)
    members, weights = [], list[tuple[Layer, Sequence[Array]]]()
    for group in ordered:
        function = output_activation if group is ordered[-1] else activation
        layer = layers.Dense(group.shapes["weight"][0], function, use_bias="bias" in group.shapes)
        arrays = [state.array(group, tensor) for tensor in ("weight", "bias") if tensor in group.shapes]
        members.append(layer)
        weights.append((layer, [array.T for array in arrays]))
    return Found([first, *members], weights)


def _chain(state: State) -> list[Group]:
    """Return the linear layers in the order in which each reads what the one before it gives."""
    groups = state.groups
    one_pattern = len({group.pattern for group in groups}) == 1
    chains = [groups] if _are_in_order(state, groups) else _chains(groups, any_order=one_pattern)
    fitting = [chain for chain in chains if all(_follows(b, a) for a, b in itertools.pairwise(chain))]
    if len(fitting) != 1:
        why = "follow each other in more than one order" if fitting else "do not follow each other"
        raise ValueError(
            f"{state.path} has linear layers that {why}, by their shapes: {names_of(groups, 4)}; give model=, of the "
            f"same layers"
        )
    return fitting[0]


def _follows(group: Group, before: Group) -> bool:
    return group.shapes["weight"][1] == before.shapes["weight"][0]


def _chains(groups: Sequence[Group], any_order: bool, most: int = 2) -> list[list[Group]]:
    """Return up to `most` orders in which all groups follow each other, those of one pattern by their numbers.

    With `any_order` these numbers do not count.
    """
    if len(groups) > MOST_GROUPS:
        raise ValueError(f"the order of {len(groups)} linear layers is not sought: give model=, of the same layers")
    found: list[list[Group]] = []
    steps = 0
    open_chains: list[list[Group]] = [[]]
    while open_chains and len(found) < most:
        steps += 1
        if steps > 4 * MOST_GROUPS:
            raise ValueError("the order of linear layers is not found by their shapes: give model=, of the same layers")
        chain = open_chains.pop()
        if len(chain) == len(groups):
            found.append(chain)
            continue
        started, seen = {id(group) for group in chain}, set()
        for group in groups:
            if id(group) in started or (group.pattern in seen and not any_order):
                continue
            seen.add(group.pattern)  # the first of its pattern that is left
            if not chain or _follows(group, chain[-1]):
                open_chains.append([*chain, group])
    return found
