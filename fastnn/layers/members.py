"""Layers of ensembles that share weights: their members are columns of one network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn import activations, initializers
from fastnn._op import Op
from fastnn._registry import nearest_names
from fastnn.activations import ActivationFunction
from fastnn.constraints import Constraint
from fastnn.initializers import Initializer
from fastnn.layers._columns import side_by_side
from fastnn.layers.base import Layer, Parameter, Shared, SharedWithPenalty, check_width
from fastnn.regularizers import Regularizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

SHARING = ("adapted", "full", "none")


def _of_a_member(layer: Layer, inputs: int, members: int) -> int:
    """Return the number of columns of each member; raise where the columns are not as many for each."""
    if inputs % members:
        raise ValueError(
            f"{layer._called} is of {members} members, whose columns its input must have side by side, got {inputs}: "
            f"begin the ensemble with an EnsembleScale"
        )
    return inputs // members


class _OfEach(Initializer):
    """Makes the rows of a kernel for each of `members`, as if each had a kernel of its own."""

    random = False

    def __init__(self, initializer: Initializer, members: int) -> None:
        super().__init__()
        self.initializer, self.members = initializer, members

    def __call__(self, shape: tuple[int, ...], dtype: str = "float32") -> npt.NDArray[Any]:
        """Return an array of this shape and dtype."""
        each = (shape[0] // self.members, *shape[1:])
        return np.concatenate([self.initializer(each, dtype) for _ in range(self.members)])


def of_members(values: npt.NDArray[Any], members: int, chosen: Sequence[int]) -> npt.NDArray[Any]:
    """Return those rows, or numbers, of an array that belong to the chosen ones of its members."""
    each = values.reshape(members, -1, *values.shape[1:])
    return np.concatenate([each[member] for member in chosen])


class EnsembleScale(Layer):
    """y_k = x r_k for each of `members`, side by side: where an ensemble that shares weights begins.

    Each member sees the columns of x times factors of its own, which are learned (Gorishniy, Kotelnikov and Babenko,
    TabM, 2024). :class:`EnsembleDense` layers follow, and :class:`EnsembleMean` ends the ensemble.

    Parameters
    ----------
    members : int
    scale_initializer : str or Initializer, optional
        Default: normal with mean 0 and deviation 1, so that members differ from the start; ``"random_sign"`` also
        keeps the size of each column.
    scale_regularizer : str or Regularizer, optional
    scale_constraint : str or Constraint, optional
    **shared
        See :class:`Layer`.

    Notes
    -----
    The parameter ``"scale"`` has the shape (members, inputs).

    Examples
    --------
    The network "TabM-mini": members that differ in their factors at the start and in their maps at the end alone.

    >>> import fastnn
    >>> from fastnn import layers
    >>> hidden = layers.EnsembleDense(64, 8, "relu", sharing="full")
    >>> heads = layers.EnsembleDense(1, 8, sharing="none")
    >>> stack = [layers.EnsembleScale(8), hidden, heads, layers.EnsembleMean(8)]
    >>> fastnn.Sequential([fastnn.Input((5,)), *stack]).output_shape
    (None, 1)
    """

    takes_activity_regularizer = True
    scale_regularizer: Regularizer | None
    scale_constraint: Constraint | None

    def __init__(
        self,
        members: int,
        scale_initializer: Any = None,
        scale_regularizer: Any = None,
        scale_constraint: Any = None,
        **shared: Unpack[SharedWithPenalty],
    ) -> None:
        super().__init__(**shared)
        self.members = check_width("members", members)
        start = initializers.RandomNormal(0.0, 1.0) if scale_initializer is None else scale_initializer
        self.scale_initializer = initializers.get(start, "scale_initializer")
        self._set_penalties(scale_regularizer=scale_regularizer, scale_constraint=scale_constraint)
        self._inputs = 0

    def build(self, inputs: int) -> int:
        """Return the number of outputs, as many as inputs for each member."""
        self._inputs = inputs
        return self.members * inputs

    def parameters(self) -> list[Parameter]:
        """Return the factors, of shape (members, inputs)."""
        return [Parameter("scale", (self.members, self._inputs), self.scale_initializer)]

    def weights_of(self, chosen: Sequence[int]) -> list[npt.NDArray[Any]]:
        """Return the weights of a layer of some of the members alone."""
        return [of_members(self._weight("scale"), self.members, chosen)]

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return the one op of the layer."""
        outputs = self.members * self._inputs
        vector = (self.members, self._inputs, outputs, 1.0, 1)
        return [Op("expand", "linear", self._inputs, outputs, offsets["scale"], vector=vector)]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        scale = initializers.serialize(self.scale_initializer)
        return super().get_config() | {"members": self.members, "scale_initializer": scale}


class EnsembleDense(Layer):
    """A dense layer for each of `members`, whose columns lie side by side, with weights that members share.

    For the columns x_k of member k, y_k = f(((x_k r_k) W) s_k + b_k) with one W and vectors r_k, s_k and b_k of the
    member's own (Wen, Tran and Ba, BatchEnsemble, 2020; Gorishniy, Kotelnikov and Babenko, TabM, 2024).

    Parameters
    ----------
    units : int
        Outputs of a member.
    members : int
    activation : str, ActivationFunction or config, optional
        f, for each member's outputs by themselves; default linear.
    sharing : {"adapted", "full", "none"}, default "adapted"
        What the members share: "adapted" is the formula above; "full" f(x_k W + b), one W and b for all of them; "none"
        f(x_k W_k + b_k), as at the end of an ensemble.
    kernel_initializer : str or Initializer, default "glorot_uniform"
    bias_initializer : str or Initializer, default "zeros"
    **shared
        See :class:`Layer`.

    Raises
    ------
    ValueError
        When the width of the input is no multiple of `members`.

    Notes
    -----
    The parameters are ``"kernel"``, W of shape (inputs of a member, units), or where nothing is shared all W_k one
    below the other; ``"bias"`` of shape (members * units,), or where all is shared (units,); and of adapted members
    ``"scale_in"`` and ``"scale_out"``, r of shape (inputs,) and s of shape (members * units,), which start at 1.

    Examples
    --------
    The network "TabM" of 16 members:

    >>> import fastnn
    >>> from fastnn import layers
    >>> hidden = [layers.EnsembleDense(64, 16, "relu") for _ in range(2)]
    >>> heads = layers.EnsembleDense(3, 16, "softmax", sharing="none")
    >>> stack = [layers.EnsembleScale(16), *hidden, heads, layers.EnsembleMean(16)]
    >>> fastnn.Sequential([fastnn.Input((5,)), *stack]).output_shape
    (None, 3)
    """

    takes_activity_regularizer = True

    def __init__(
        self,
        units: int,
        members: int,
        activation: Any = None,
        sharing: str = "adapted",
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **shared: Unpack[SharedWithPenalty],
    ) -> None:
        super().__init__(**shared)
        self.units = check_width("units", units)
        self.members = check_width("members", members)
        self.activation: ActivationFunction = activations.get(activation)
        if sharing not in SHARING:
            nearest = nearest_names(str(sharing), list(SHARING))
            raise ValueError(f"sharing must say what the members share, got {sharing!r}; {nearest}")
        self.sharing = sharing
        self.kernel_initializer = initializers.get(kernel_initializer, "kernel_initializer")
        self.bias_initializer = initializers.get(bias_initializer, "bias_initializer")
        self._inputs = 0

    def build(self, inputs: int) -> int:
        """Return the number of outputs, `units` for each member."""
        _of_a_member(self, inputs, self.members)
        self._inputs = inputs
        return self.members * self.units

    def parameters(self) -> list[Parameter]:
        """Return the parameters in the order of the formula."""
        inputs, outputs, alone = self._inputs, self.members * self.units, self.sharing == "none"
        kernel = (inputs if alone else inputs // self.members, self.units)
        start = _OfEach(self.kernel_initializer, self.members) if alone else self.kernel_initializer
        bias = (self.units if self.sharing == "full" else outputs,)
        found = [Parameter("kernel", kernel, start), Parameter("bias", bias, self.bias_initializer)]
        if self.sharing != "adapted":
            return found
        ones = initializers.Ones()
        return [Parameter("scale_in", (inputs,), ones), found[0], Parameter("scale_out", (outputs,), ones), found[1]]

    def weights_of(self, chosen: Sequence[int]) -> list[npt.NDArray[Any]]:
        """Return the weights of a layer of some of the members alone."""
        shared = {"adapted": {"kernel"}, "full": {"kernel", "bias"}, "none": set[str]()}[self.sharing]
        held = {name: self._weight(name) for name, *_ in self.parameters()}
        return [v.copy() if name in shared else of_members(v, self.members, chosen) for name, v in held.items()]

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return the ops of the products and of the factors before and after them."""
        inputs, outputs, f = self._inputs, self.members * self.units, self.activation
        adapted, kernel, bias = self.sharing == "adapted", offsets["kernel"], offsets["bias"]
        within = f if f.elementwise and not adapted else activations.linear
        shared = {"full": self.units}.get(self.sharing, outputs)
        rows = inputs if self.sharing == "none" else inputs // self.members
        ops = [
            Op(
                "groups", within.engine_name, inputs, outputs, kernel, -1 if adapted else bias, within.numbers,
                vector=(rows, self.units, shared, self.members),
            )
        ]  # fmt: skip
        if adapted:
            numbers = (0.0, 1.0, 0.0)
            before = Op("columns", "linear", inputs, inputs, offsets["scale_in"], mode="scale", numbers=numbers)
            after = Op("columns", "linear", outputs, outputs, offsets["scale_out"], bias, mode="scale", numbers=numbers)
            ops = [before, *ops, after]
        if not f.elementwise:  # whole rows of a member
            alone = Op("activation", f.engine_name, self.units, self.units, numbers=f.numbers)
            return [*ops, *side_by_side([[alone]] * self.members, range(0, outputs, self.units))]
        return ops if within is f else [*ops, Op("activation", f.engine_name, outputs, outputs, numbers=f.numbers)]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {
            "units": self.units,
            "members": self.members,
            "activation": activations.serialize(self.activation),
            "sharing": self.sharing,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
        }


class EnsembleMean(Layer):
    """The mean of the outputs of `members`, which each learn by themselves: the end of an ensemble.

    It is the last layer of the model, but for a :class:`TargetScaling`.

    Predictions and metrics are those of the mean. The loss is the mean of the members' losses, each of that member's
    outputs, so that a member need not make up for the faults of others (Gorishniy, Kotelnikov and Babenko, TabM, 2024).

    Parameters
    ----------
    members : int
    **shared
        See :class:`Layer`.

    Raises
    ------
    ValueError
        When the width of the input is no multiple of `members`; when the model's loss is a function in Python.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.Sequential([fastnn.Input((4,)), fastnn.layers.EnsembleMean(2)]).predict([[1.0, 2.0, 3.0, 6.0]])
    array([[2., 4.]], dtype=float32)
    """

    def __init__(self, members: int, **shared: Unpack[Shared]) -> None:
        super().__init__(**shared)
        self.members = check_width("members", members)
        self._outputs = 0

    def build(self, inputs: int) -> int:
        """Return the number of outputs of a member."""
        self._outputs = _of_a_member(self, inputs, self.members)
        return self._outputs

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return the one op of the layer."""
        return [Op("mean", "linear", self.members * self._outputs, self._outputs)]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"members": self.members}
