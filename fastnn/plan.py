"""The only lowering: layers become a flat list of ops, and a layout of the parameters."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from fastnn import config
from fastnn._op import Op, ParameterSettings, ParameterSpec
from fastnn.layers._preparation import check_preparation
from fastnn.layers.base import NotYetError
from fastnn.layers.input import InputLayer

if TYPE_CHECKING:
    from fastnn.layers import Layer
    from fastnn.optimizers import Optimizer

ALIGNMENT = 64  # bytes: every parameter starts on a cache line
_LARGEST = 2**62  # most elements of all parameters together, so that sizes in bytes fit 64 bits


class Placed(NamedTuple):
    """One layer in a plan: its input, its output, its parameters and its ops.

    Attributes
    ----------
    inputs : int or Mapping
        The number of features of a row of its input; by branch where the first layer has branches.
    axes : tuple of int
        The axes of a row of its input.
    offset : int
        Where the layer's parameters begin in the flat buffer.
    outputs : int
        The number of features of a row of its output.
    axes_after : tuple of int
        The axes of a row of its output.
    parameters : tuple of ParameterSpec
    end : int
        Where the parameters of the next layer begin.
    ops : tuple of Op
        The ops with places as the layer counts them: a plan gives them other indices, and fuses some.
    """

    inputs: int | Mapping[str, int]
    axes: tuple[int, ...]
    offset: int
    outputs: int
    axes_after: tuple[int, ...]
    parameters: tuple[ParameterSpec, ...]
    end: int
    ops: tuple[Op, ...]

    @property
    def outline(self) -> tuple[Any, ...]:
        """What other layers and the memory depend on: a layer that keeps its outline may change in other ways."""
        shapes = [spec.shape for spec in self.parameters]
        return self.outputs, self.axes_after, shapes, [op.name for op in self.ops]


@dataclass(frozen=True)
class Plan:
    """A network as the engine runs it.

    Attributes
    ----------
    dtype : str
        ``"float32"`` or ``"float64"``.
    inputs, outputs : int
        The numbers of features of a row of x, and of a row of the result.
    ops : tuple of Op
        What is done to a row, in order.
    parameters : tuple of ParameterSpec
        The layout of the flat parameter buffer.
    size : int
        The number of elements of that buffer, with the padding between parameters.
    bfloat16 : bool
        Whether large products round their operands to bfloat16.
    layers : tuple of Placed
        The place of each layer, in the order of the layers; the engine does not read them.
    """

    dtype: str
    inputs: int
    outputs: int
    ops: tuple[Op, ...]
    parameters: tuple[ParameterSpec, ...]
    size: int
    bfloat16: bool = False
    layers: tuple[Placed, ...] = field(default=(), compare=False)

    @property
    def form(self) -> tuple[Any, ...]:
        """What the memory of weights and of rows depends on."""
        layout = tuple((spec.shape, spec.offset) for spec in self.parameters)
        return (self.dtype, self.bfloat16, self.inputs, self.outputs, layout)

    def joined(self) -> list[int]:
        """The indices of the ops whose outputs the last op joins, in the order of their columns."""
        last = len(self.ops) - 1
        return sorted((k for k, op in enumerate(self.ops) if op.join == last), key=lambda k: self.ops[k].column)


def link(ops: Sequence[Op]) -> list[Op]:
    """Return the ops with indices instead of distances, of what they read and of their joins."""
    linked = []
    for k, op in enumerate(ops):
        join = k + op.join if op.join else -1
        source = k - op.source if op.source >= 0 else -1
        linked.append(op._replace(input=max(k - 1 - op.input, -1), source=source, join=join))
    return linked


def _sum(one: tuple[float, float] | None, other: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return the sum of two penalties of the same values."""
    return (one[0] + other[0], one[1] + other[1]) if one and other else one or other


def _reads_whole_numbers(op: Op, linked: Sequence[Op]) -> bool:
    """Return whether what the op reads is x, or the numbers of bins, or columns taken of these."""
    while op.input >= 0 and linked[op.input].name == "take":
        op = linked[op.input]
    return op.input < 0 or linked[op.input].name == "discretize"


def _fuse(ops: Sequence[Op]) -> list[Op]:
    """Let a dense op apply the activation that follows it, and drop activations that do nothing.

    A result that other ops read too, or that has a penalty, stays. The penalty of a result that is dropped becomes a
    penalty of the equal result that stays.
    """
    if not any(op.name == "activation" for op in ops):
        return list(ops)
    readers = Counter(op.input for op in ops if op.name != "join")
    readers.update(ops[op.source].input for op in ops if op.source >= 0)
    fused: list[Op] = []
    index = {-1: -1}  # for each op, the index of the fused op that holds its result
    place = {-1: -1}  # for each op, the index of the first fused op that is not before it
    for k, op in enumerate(ops):
        place[k] = len(fused)
        follows = op.name == "activation" and op.input >= 0 and not op.first
        before = fused[index[op.input]] if follows else op
        alone = before.name == "dense" and before.activation == "linear" and before.activity is None
        if follows and op.activation == "linear" and op.join < 0:
            index[k] = index[op.input]
            fused[index[k]] = before._replace(activity=_sum(before.activity, op.activity))
        elif follows and alone and readers[op.input] == 1:
            index[k] = index[op.input]
            fused[index[k]] = before._replace(
                activation=op.activation, numbers=op.numbers, join=op.join, column=op.column, activity=op.activity
            )
        else:
            index[k] = len(fused)
            fused.append(op._replace(input=index[op.input]))
    return [op._replace(source=place[op.source], join=index[op.join]) for op in fused]


def place(layer: Layer, inputs: int | Mapping[str, int], axes: tuple[int, ...], offset: int, dtype: str) -> Placed:
    """Lower one layer: settle its shapes, lay its parameters out from `offset` on, and turn it into ops.

    Raises
    ------
    ValueError
        When the layer's rows would be empty, or the parameters up to its last are more than can be addressed; errors of
        the layer itself pass through.
    """
    line = ALIGNMENT // (8 if dtype == "float64" else 4)
    outputs = layer.build(inputs)  # type: ignore[arg-type]
    if not 1 <= outputs < _LARGEST:
        needed = "at least 1 feature" if outputs < 1 else "fewer than 2**62 features"
        raise ValueError(f"layer {layer.name!r} must give {needed} a row, got {outputs}")
    axes_after = layer.axes_after(axes, outputs)
    parameters, end = [], offset
    fixed = layer.non_trainable()
    for name, shape, _ in layer.parameters():
        parameters.append(ParameterSpec(str(layer.name), name, shape, end, name not in fixed))
        end += -(-math.prod(shape) // line) * line
        if end > _LARGEST:
            raise ValueError(
                f"layer {layer.name!r} needs {name} of shape {shape}: all parameters together would be more than "
                f"2**62 elements, which cannot be addressed"
            )
    ops = layer.lower_for_training({spec.name: spec.offset for spec in parameters})
    return Placed(inputs, axes, offset, outputs, axes_after, tuple(parameters), end, tuple(ops))


def lower(layers: Sequence[Layer], inputs: int | Mapping[str, int], policy: str) -> Plan:
    """Lay out the parameters of built layers, and turn the layers into ops.

    Parameters
    ----------
    layers : sequence of Layer
        The layers in the order in which data pass them; their names are unique.
    inputs : int or Mapping
        The number of features of a row of x, or of each branch where the first layer has branches.
    policy : {"float32", "float64", "mixed_bfloat16"}

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        When rows are empty, before or after a layer; when the parameters together are more than can be addressed.
    NotYetError
        When there is no layer besides an Input, a layer is not adapted, or the last rows have several axes.
    """
    if all(isinstance(layer, InputLayer) for layer in layers):
        raise NotYetError(f"the model has no layer{' beside its Input' if layers else ''}: add one")
    dtype = config.variable_dtype(policy)
    widths = dict(inputs) if isinstance(inputs, Mapping) else {"": inputs}
    if min(widths.values()) < 1:
        raise ValueError(f"inputs must be at least 1 feature a row, got {inputs}")
    columns = sum(widths.values())
    if columns >= _LARGEST:
        raise ValueError(f"inputs must be fewer than 2**62 features a row, got {columns}")
    check_preparation(layers, raw=True)
    placed: list[Placed] = []
    features, axes, offset = inputs, layers[0].input_axes or (columns,), 0
    for layer in layers:
        placed.append(place(layer, features, axes, offset, dtype))
        features, axes, offset = placed[-1].outputs, placed[-1].axes_after, placed[-1].end
    if len(axes) > 1:
        raise NotYetError(f"the model's last layer must give rows of one axis, got {axes}: add a Flatten")
    outputs = placed[-1].outputs
    ops = [op for one in placed for op in one.ops]
    if not ops:  # no layer changes a row, and so the engine does not either
        ops.append(Op("activation", "linear", columns, outputs))
    means = [k for k, op in enumerate(ops) if op.name == "mean"]
    if means and any(op.name != "unscale" for op in ops[means[0] + 1 :]):
        raise ValueError("EnsembleMean must be the last layer of the model, or the last but a TargetScaling")
    linked = link(ops)
    if any(op.name == "embedding" and not _reads_whole_numbers(op, linked) for op in linked):
        raise ValueError(
            "Embedding must be the first layer of the model, or follow a Discretization: it takes whole numbers"
        )
    parameters = tuple(spec for one in placed for spec in one.parameters)
    fused = tuple(_fuse(linked))
    return Plan(dtype, columns, outputs, fused, parameters, offset, policy == config.MIXED, tuple(placed))


def argument(plan: Plan, k: int) -> Plan:
    """Return the part of a network that computes x W, the argument of its dense op k without the bias."""
    return _part(plan, k, plan.ops[k]._replace(activation="linear", numbers=(), bias=-1, activity=None))


def argument_input(plan: Plan, k: int) -> Plan:
    """Return the part of a network that computes x, what its dense op k multiplies with W."""
    op = plan.ops[k]
    return _part(plan, k, Op("activation", "linear", op.inputs, op.inputs, input=op.input, first=op.first))


def _part(plan: Plan, k: int, last: Op) -> Plan:
    """Return the part of a network that leads to its op k, with another op in the place of that.

    The part has the parameters of the whole network, in the same layout.
    """
    ops, needed, waiting = plan.ops, set[int](), [k]
    while waiting:
        at = waiting.pop()
        if at >= 0 and at not in needed:
            needed.add(at)
            waiting += [ops[at].input, ops[at].source, *(j for j, op in enumerate(ops) if op.join == at)]
    index = {-1: -1} | {at: place for place, at in enumerate(sorted(needed))}
    part = []
    for at in sorted(needed):
        op = last if at == k else ops[at]
        joins = op.join in needed
        part.append(
            op._replace(
                input=index[op.input],
                source=index[op.source],
                join=index[op.join] if joins else -1,
                column=op.column if joins else 0,
            )
        )
    return Plan(plan.dtype, plan.inputs, last.outputs, tuple(part), plan.parameters, plan.size, plan.bfloat16)


def parameter_settings(
    layers: Sequence[Layer], parameters: Sequence[ParameterSpec], optimizer: Optimizer | None
) -> list[ParameterSettings]:
    """Return how each of the parameters is trained, as the layers and the optimizer say."""
    told = {
        (str(layer.name), name): settings for layer in layers for name, settings in layer.parameter_settings().items()
    }
    fixed = {(str(layer.name), name) for layer in layers for name in layer.non_trainable()}
    result = []
    for spec in parameters:
        path = f"{spec.layer}/{spec.name}"
        settings = told[spec.layer, spec.name]
        decay = settings.decay if optimizer is not None and optimizer.decays(path) else 0.0
        second = optimizer is not None and optimizer.uses_second_rule(path, spec.shape)
        trainable = (spec.layer, spec.name) not in fixed
        if (decay, second, trainable) != (settings.decay, settings.second, settings.trainable):
            settings = settings._replace(decay=decay, second=second, trainable=trainable)
        result.append(settings)
    return result
