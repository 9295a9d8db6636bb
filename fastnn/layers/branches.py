"""Several named inputs, each through layers of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._op import Op
from fastnn._registry import nearest_names
from fastnn.data.frames import RowAxes
from fastnn.layers._columns import check_order
from fastnn.layers._preparation import prepared, raw_reader
from fastnn.layers.base import Layer, NameAndType, row_axes
from fastnn.layers.container import Parallel

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Branches(Parallel):
    """The first layer of a model with several inputs: a small stack of layers for each input, joined side by side.

    The model takes x as a dict of arrays or a data frame, and copies it into one matrix; see `columns`. An array of
    shape (rows, features) is taken as well: the branches' columns side by side, in their order.

    Parameters
    ----------
    branches : dict
        A list of layers, which may be empty, or a Sequential under the name of each input. An ``Input`` at the start of
        a list says how wide the input is; else the data do. The branch holds a copy of a Sequential, with its weights.
        A tuple of names makes one branch that takes all of these inputs, side by side; its name joins them with ``_``.
    columns : dict, optional
        For each branch the list of names in x whose columns it takes, side by side; by default a branch takes the input
        that has its name. Names in a pandas frame with several levels of columns are tuples.
    **shared
        See :class:`Layer`.

    Notes
    -----
    An array of shape (rows,) is one column. Whole numbers for an Embedding stay exact up to 2**24 in float32. The layer
    itself costs nothing: a branch reads its columns where they are and writes into those of the joined row.

    Examples
    --------
    >>> import fastnn
    >>> from fastnn import layers
    >>> branches = {"size": [layers.Input((2,)), layers.Dense(4)], "kind": [layers.Input((1,)), layers.Embedding(3, 2)]}
    >>> model = fastnn.Sequential([layers.Branches(branches), layers.Dense(1)])
    >>> model.predict({"size": [[0.5, 1.0]], "kind": [2]}).shape
    (1, 1)

    Two columns of a data frame are one branch, and a row may be a dict of scalars:

    >>> numbers = layers.Normalization(mean=[40.0, 2.0], variance=[100.0, 1.0])
    >>> branches = layers.Branches({("age", "income"): [numbers], "kind": [layers.Embedding(3, 2)]})
    >>> model = fastnn.Sequential([branches, layers.Dense(1)])
    >>> model.build({"age_income": 2, "kind": 1})
    >>> model.predict({"age": 31, "income": 2.5, "kind": 0}).shape
    (1, 1)
    """

    reads_raw = True

    def __init__(self, branches: Any, columns: Any = None, **shared: Unpack[NameAndType]) -> None:
        columns = {} if columns is None else columns
        if isinstance(branches, Mapping) and isinstance(columns, Mapping):
            branches, columns = _named(branches, columns)
        super().__init__(branches, "branches", **shared)
        self._given_columns = self._check_columns(columns)
        for stack, names in zip(self._layers, self.columns.values(), strict=True):
            check_order(stack._layers, names, f"the branch {stack.name!r}")
        readers = {str(stack.name): raw_reader([stack]) for stack in self._layers}
        # the branches that read all of their columns at once, as each column has a vocabulary of its own
        self.together = frozenset(
            name for name, reader in readers.items() if reader is not None and reader.reads_together
        )
        widths = [stack.input_features for stack in self._layers]
        self.input_features = None if None in widths else sum(w or 0 for w in widths)

    def _check_columns(self, columns: Any) -> dict[str, list[Any]]:
        if not isinstance(columns, Mapping):
            raise TypeError(f"columns must be a dict of lists of names, got {type(columns).__name__}")
        branches = [str(stack.name) for stack in self._layers]
        for branch, names in columns.items():
            if branch not in branches:
                raise ValueError(
                    f"columns names the branch {branch!r}, which is none; {nearest_names(str(branch), branches)}"
                )
            listed = isinstance(names, (list, tuple)) and len(names) > 0
            if not listed or not all(isinstance(name, (str, int, tuple, list)) for name in names):
                raise TypeError(f"columns[{branch!r}] must be a list of names, got {names!r}")
        # In a JSON file, tuples of names on several levels are lists.
        return {
            branch: [tuple(name) if isinstance(name, list) else name for name in names]
            for branch, names in columns.items()
        }

    @property
    def columns(self) -> dict[str, list[Any]]:
        """The names in x that each branch takes."""
        names = [str(stack.name) for stack in self._layers]
        return {name: list(self._given_columns.get(name, (name,))) for name in names}

    def names_within(self, layer: Layer) -> list[Any]:
        """Return the names in x that the branch takes which is this layer."""
        return self.columns[str(layer.name)]

    @property
    def widths(self) -> dict[str, int | None]:
        """The number of columns that each branch takes, None where only the data will tell."""
        return {str(stack.name): stack.input_features for stack in self._layers}

    @property
    def built_widths(self) -> dict[str, int | None]:
        """The number of columns that each branch takes, once the layer is built."""
        return {str(stack.name): stack._widths[0] for stack in self._layers}

    @property
    def axes(self) -> dict[str, RowAxes]:
        """The axes that the rows of each branch may have."""
        return {str(stack.name): row_axes(stack._layers, stack.input_axes) for stack in self._layers}

    def build(self, inputs: int | Mapping[str, int]) -> int:
        """Settle the shapes for rows of `inputs` features in all, or for the width that `inputs` gives each branch."""
        given = dict(inputs) if isinstance(inputs, Mapping) else self._shared_out(inputs)
        outputs = 0
        for stack in self._layers:
            width = given[str(stack.name)]
            if stack.input_features not in (None, width):
                raise ValueError(f"branch {stack.name!r} was made for {stack.input_features} features, got {width}")
            outputs += stack.build_alone(width)
        return outputs

    def _shared_out(self, inputs: int) -> dict[str, int]:
        """Return each branch's width in a row of `inputs` features; the one branch without a width gets the rest."""
        known = self.widths
        if self._built:
            known = self.built_widths
        unknown = [name for name, width in known.items() if width is None]
        total = sum(width or 0 for width in known.values())
        if len(unknown) > 1 or (not unknown and total != inputs) or (unknown and total >= inputs):
            said = ", ".join(f"{name!r}: {width or '?'}" for name, width in known.items())
            raise ValueError(
                f"layer {self.name!r} cannot tell which of {inputs} features belong to which branch ({said}): start "
                f"each branch with an Input, or pass x as a dict"
            )
        return {name: width if width is not None else inputs - total for name, width in known.items()}

    def prepared(self, branch: str, values: Any, name: str) -> Any:
        """Return raw data of a branch as its first layer that computes gets them, with one axis a row."""
        stack = next(stack for stack in self._layers if stack.name == branch)
        return row_axes(stack._layers, stack.input_axes).one_axis(prepared(stack._layers, values, name), name)

    @property
    def with_missing(self) -> dict[str, Callable[[int], npt.NDArray[np.bool_]]]:
        """For each branch with missing values, what says in which of so many columns a NaN is one."""
        return {str(stack.name): stack.missing_columns for stack in self._layers if stack.takes_missing}

    @property
    def takes_missing(self) -> bool:  # type: ignore[override]
        """Whether a NaN is a missing value for at least one branch."""
        return bool(self.with_missing)

    def missing_columns(self, inputs: int) -> npt.NDArray[np.bool_]:
        """Return in which of `inputs` columns, in the order of the branches, a NaN is a missing value."""
        widths = self._shared_out(inputs)
        return np.concatenate([stack.missing_columns(widths[str(stack.name)]) for stack in self._layers])

    def check_rows(self, rows: npt.NDArray[Any], name: str, first: int = 0) -> None:
        """Raise where the first layer of a branch cannot read that branch's columns."""
        start = 0
        for stack in self._layers:
            end = start + stack._widths[0]
            stack.check_rows(rows[:, start:end], f"{name}[{stack.name!r}]", first)
            start = end

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return the ops of the branches, each of which reads columns of its own, and the op that joins them."""
        starts, start = [], 0
        for stack in self._layers:
            starts.append(start)
            start += stack._widths[0]
        return self._lower_joined(offsets, starts)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = {k: v for k, v in super().get_config().items() if k != "input_shape"}
        widths = self.built_widths if self._built else self.widths
        config["branches"] = {str(stack.name): stack.serialized(widths[str(stack.name)]) for stack in self._layers}
        given = {branch: list(names) for branch, names in self._given_columns.items()}
        return config | ({"columns": given} if given else {})


def _named(branches: Mapping[Any, Any], columns: Mapping[str, Any]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """Return branches by name, and the columns that each takes: a tuple of columns becomes one name that joins them."""
    named, taken = {}, dict(columns)
    for key, stack in branches.items():
        several = isinstance(key, tuple) and len(key) > 0 and all(isinstance(name, (str, int)) for name in key)
        name = "_".join(map(str, key)) if several else key
        if name in named or (several and name in columns):
            raise ValueError(f"branches must have a name each, but {name!r} stands for two: give columns={{...}}")
        named[name] = stack
        if several:
            taken[name] = list(key)
    return named, taken
