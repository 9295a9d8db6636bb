"""Where the arrays of a model lie in Keras's files, by layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fastnn._file import ModelFileError
from fastnn.exchange._hdf5 import Tree, Variable
from fastnn.exchange._keras_layers import LEAST_VARIANCE, MODELS, Node
from fastnn.exchange._zip import Archive

_DEEPEST = 32  # models within each other
_MOST_TOKENS = 2**18  # tokens of a vocabulary: a few bytes of a file become an object of a hundred
# what Keras calls parameters: where a name is one of these it must be that of the parameter that gets the array
_NAMES = frozenset({
    "alpha", "beta", "bias", "count", "embeddings", "gamma", "kernel", "mean", "moving_mean", "moving_variance",
    "scale", "variance",
})  # fmt: skip
_KERAS_NAMES = {("RMSNormalization", "gamma"): "scale"}


class Place(NamedTuple):
    """A parameter of a layer, and the array that it is to have."""

    node: Node
    parameter: str
    variable: Variable

    @property
    def view(self) -> npt.NDArray[Any]:
        """The parameter's memory, once the model is built."""
        return self.node.layer._weight(self.parameter)  # type: ignore[union-attr]

    def values(self) -> npt.NDArray[Any]:
        """Return the array."""
        found = self.variable.read()
        of_variance = self.node.kind == "Normalization" and self.parameter == "variance"
        return np.where(found == 0, LEAST_VARIANCE, found) if of_variance else found


class Store(Protocol):
    """The arrays of a file."""

    def places(self, nodes: Sequence[Node]) -> list[Place]:
        """Return the array of each parameter of layers whose shapes are settled."""

    def vocabulary(self, path: str) -> list[str] | None:
        """See :class:`fastnn.exchange._keras_layers.Kept`."""

    def boundaries(self, path: str, bins: int) -> list[float] | None:
        """See :class:`fastnn.exchange._keras_layers.Kept`."""

    def state(self) -> list[Variable]:
        """Return the arrays of the optimizer in their order; none where the file has none."""


def leaves(nodes: Iterable[Node]) -> Iterator[Node]:
    """Yield the layers that hold no others, in Keras's order."""
    for node in nodes:
        yield from node.leaves()


def expected(node: Node) -> list[tuple[str, tuple[int, ...]]]:
    """Return names and shapes of a layer's parameters, as far as Keras's files hold them."""
    if node.layer is None or node.given:
        return []
    return [(name, shape) for name, shape, _ in node.layer.parameters()]


def _paired(node: Node, variables: Sequence[Variable], names: Sequence[str] = ()) -> list[Place]:
    """Return the parameters of a layer with these arrays; raise where they are not the layer's.

    `names` are those that the file gives the arrays, where it does.
    """
    wanted = expected(node)
    if not wanted:
        return []
    if node.kind == "Normalization" and len(variables) == 3:
        variables = variables[:2]  # the third counts rows
    shapes = [shape for _, shape in wanted]
    found = [variable.shape for variable in variables]
    of_all_columns = node.kind == "Normalization" and found == [(), ()]
    if shapes != found and not of_all_columns:
        raise ModelFileError(
            f"layer {node.name[:80]!r} has weights of shapes {shapes}, and the file {str(found)[:200]}"
        )
    for (parameter, _), variable in zip(wanted, variables, strict=True):
        if variable.dtype.kind != "f" or variable.dtype.itemsize < 4:
            raise ModelFileError(f"{variable.path[:80]!r} is {variable.dtype}, and weights here are float32 or float64")
        keras = _KERAS_NAMES.get((node.kind, parameter), parameter)
        given = variable.path.rpartition("/")[2].partition(":")[0]
        if names and given in _NAMES and given != keras:
            raise ModelFileError(f"layer {node.name[:80]!r} has {keras!r} where the file has {given!r}")
    return [Place(node, parameter, variable) for (parameter, _), variable in zip(wanted, variables, strict=True)]


class OfKeras3:
    """The arrays of ``.keras`` and of Keras 3's ``.weights.h5``: those of a layer lie at the layer's place.

    Parameters
    ----------
    tree : Tree
    archive : Archive, optional
        What holds vocabularies.
    """

    def __init__(self, tree: Tree, archive: Archive | None = None) -> None:
        self._tree, self._archive = tree, archive
        # the name that versions before 2.14 have
        self._older = "layers" not in tree and "_layer_checkpoint_dependencies" in tree

    def _variables(self, path: str) -> list[Variable]:
        """Return the arrays at the place of a layer, or of the optimizer."""
        place = path.replace("layers/", "_layer_checkpoint_dependencies/") if self._older else path
        count = len(self._tree.children(f"{place}/vars"))
        found = [self._tree.variable(f"{place}/vars/{k}") for k in range(count)]
        if None in found:
            raise ModelFileError(f"{place[:80]!r} does not hold its {count} arrays under their numbers")
        return [variable for variable in found if variable is not None]

    def places(self, nodes: Sequence[Node]) -> list[Place]:
        """Return the array of each parameter of layers whose shapes are settled."""
        return [
            place for node in leaves(nodes) if expected(node) for place in _paired(node, self._variables(node.path))
        ]

    def check_number(self, nodes: Sequence[Node]) -> None:
        """Raise where the file holds another number of layers with arrays than there are."""
        wanted = sum(bool(expected(node)) for node in leaves(nodes))
        held = self._count("_layer_checkpoint_dependencies" if self._older else "layers")
        if wanted != held:
            raise ModelFileError(f"it holds the weights of {held} layers, and the model has {wanted} with weights")

    def _count(self, path: str, depth: int = 0) -> int:
        """Return how many layers below a place have arrays of floating-point numbers."""
        found = 0
        for name in self._tree.children(path) if depth < _DEEPEST else ():
            place = f"{path}/{name}"
            adapted = name.startswith("discretization")  # Keras 2 keeps the data of its bins there
            found += bool(self._tree.children(f"{place}/vars")) and not adapted
            found += self._count(f"{place}/{path.rpartition('/')[2]}", depth + 1)
        return found

    def vocabulary(self, path: str) -> list[str] | None:
        """Return the tokens of a lookup, special ones too; None where the file has none."""
        name = f"assets/{path}/vocabulary.txt"
        if self._archive is None or name not in self._archive:
            return None
        text = self._archive.text(name)
        if text.count(b"\n") >= _MOST_TOKENS:
            raise ModelFileError(f"{name[:80]!r} has more than {_MOST_TOKENS} tokens")
        return text.decode("utf-8").split("\n")

    def boundaries(self, path: str, bins: int) -> list[float] | None:
        """Return the boundaries of the bins of a Discretization that was adapted; None where the file has none."""
        found = self._variables(path)
        return _boundaries(found[0].read(), bins) if len(found) == 1 and len(found[0].shape) == 2 else None

    def state(self) -> list[Variable]:
        """Return the arrays of the optimizer in their order; none where the file has none."""
        return self._variables("optimizer")


class OfKeras2:
    """The arrays of ``.h5``: those of a layer lie in a group of its name, in the order of a list of names.

    Parameters
    ----------
    tree : Tree
    root : str
        The group of the layers.
    """

    def __init__(self, tree: Tree, root: str) -> None:
        self._tree, self._root = tree, root

    def _variables(self, path: str) -> list[Variable]:
        found = []
        for name in self._tree.names(path, "weight_names") or ():
            variable = self._tree.variable(f"{path}/{name}")
            if variable is None:
                raise ModelFileError(f"{path[:80]!r} names {name[:80]!r}, which it does not hold")
            found.append(variable)
        return found

    def places(self, nodes: Sequence[Node]) -> list[Place]:
        """Return the array of each parameter of layers whose shapes are settled."""
        found = []
        for node in nodes:
            order = in_order(node)
            if not order:
                continue
            variables = self._variables(f"{self._root}/{node.name}")
            counts = {id(inner): len(expected(inner)) for inner in leaves([node])}
            if node.kind == "Normalization" and not node.given and len(variables) == 3:
                order = [*order, (node, 2)]
            if len(order) != len(variables):
                raise ModelFileError(
                    f"layer {node.name[:80]!r} has {len(order)} weights, and the file {len(variables)}"
                )
            own: dict[int, dict[int, Variable]] = {key: {} for key in counts}
            for (inner, k), variable in zip(order, variables, strict=True):
                own[id(inner)][k] = variable
            for inner in leaves([node]):
                arrays = own[id(inner)]
                found += _paired(inner, [arrays[k] for k in sorted(arrays)], ["named"])
        return found

    def vocabulary(self, path: str) -> None:
        """Return None: such files hold the vocabularies of configurations alone."""

    def boundaries(self, path: str, bins: int) -> None:
        """Return None, as for vocabularies."""

    def state(self) -> list[Variable]:
        """Return the arrays of the optimizer in their order; none where the file has none."""
        return self._variables("optimizer_weights")


def in_order(node: Node) -> list[tuple[Node, int]]:
    """Return the weights of a layer in the order of Keras 2: in each model those that are trained come first.

    A weight is the layer that holds no others, and the number of the weight in it.
    """
    return [*_weights(node, True, node.trainable), *_weights(node, False, node.trainable)]


def _weights(node: Node, trained: bool, trainable: bool) -> list[tuple[Node, int]]:
    if node.kind in MODELS:
        if not trainable:  # all of them at once, layer by layer
            return [] if trained else [weight for inner in node.inner for weight in _all_weights(inner)]
        return [weight for inner in node.inner for weight in _weights(inner, trained, inner.trainable)]
    fixed = set() if node.layer is None else node.layer.non_trainable()
    return [(node, k) for k, (name, _) in enumerate(expected(node)) if (trainable and name not in fixed) == trained]


def _all_weights(node: Node) -> list[tuple[Node, int]]:
    return [(inner, k) for inner in leaves([node]) for k in range(len(expected(inner)))]


def _boundaries(summary: npt.NDArray[Any], bins: int) -> list[float]:
    """Return the boundaries that Keras 2 finds in the summary (values, weights) of data that a layer was adapted to."""
    if summary.shape[0] != 2 or summary.shape[1] == 0 or not 1 <= bins <= _MOST_TOKENS:
        raise ModelFileError("the summary of a Discretization must have shape (2, values)")
    share = 1.0 / bins
    if summary.shape[1] * share < 1:
        return list(map(float, summary[0, :-1]))
    with np.errstate(all="ignore"):
        cumulated = np.cumsum(summary[1])
        found = np.interp(share + np.arange(0.0, 1.0, share), cumulated / cumulated[-1], summary[0])
        return list(map(float, found[:-1].astype(np.float32)))


def fill(places: Iterable[Place]) -> None:
    """Read the arrays into the parameters, one after the other."""
    for place in places:
        with np.errstate(over="ignore"):
            place.view[...] = place.values()
