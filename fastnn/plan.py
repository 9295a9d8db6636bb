"""The only lowering: layers to a flat list of operations and a layout of the parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from fastnn import config
from fastnn.layers._op import OP_ACTIVATION, OP_ADD, OP_DENSE, OP_EMBEDDING, Op

if TYPE_CHECKING:
    from fastnn.layers import Layer

ALIGNMENT = 64  # bytes: every parameter starts on a cache line
LINEAR = 0
_LARGEST = 2**62  # elements of all parameters together, so that sizes in bytes fit 64 bits


class ParameterSpec(NamedTuple):
    """Where one parameter of a layer lies in the flat buffer."""

    layer: str
    name: str
    shape: tuple[int, ...]
    offset: int
    trainable: bool


@dataclass(frozen=True)
class Plan:
    """A network as the engine runs it.

    Attributes
    ----------
    dtype : str
        ``"float32"`` or ``"float64"``.
    inputs, outputs : int
        Features of a row of x, and of a row of the result.
    ops : tuple of Op
        What is done to a row, in order.
    parameters : tuple of ParameterSpec
        The layout of the flat parameter buffer.
    size : int
        Elements of that buffer, with the padding between parameters.
    bfloat16 : bool
        Whether large products round their operands to bfloat16.
    """

    dtype: str
    inputs: int
    outputs: int
    ops: tuple[Op, ...]
    parameters: tuple[ParameterSpec, ...]
    size: int
    bfloat16: bool = False


def _fuse(ops: Sequence[Op]) -> list[Op]:
    """Let a dense op apply the activation that follows it; an activation that does nothing is dropped.

    The result of an op that is added to a later one stays as it is, and the source of that addition becomes an index.
    """
    fused: list[Op] = []
    sources = {k - op.source - 1 for k, op in enumerate(ops) if op.code == OP_ADD}
    index = {-1: -1}  # of the fused op that holds the result of each op
    for k, op in enumerate(ops):
        free = k - 1 not in sources
        if op.code == OP_ACTIVATION and fused and op.activation == LINEAR and not op.numbers:
            pass
        elif (
            free
            and op.code == OP_ACTIVATION
            and fused
            and fused[-1].code == OP_DENSE
            and fused[-1].activation == LINEAR
        ):
            fused[-1] = fused[-1]._replace(activation=op.activation)
        else:
            fused.append(op._replace(source=index[k - op.source - 1]) if op.code == OP_ADD else op)
        index[k] = len(fused) - 1
    return fused


def lower(layers: Sequence[Layer], inputs: int, policy: str) -> Plan:
    """Lay the parameters of built layers out and turn the layers into ops.

    Parameters
    ----------
    layers : sequence of Layer
        In the order of the data; their names are unique.
    inputs : int
        Features of a row of x.
    policy : {"float32", "float64", "mixed_bfloat16"}

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        When the parameters together are more than can be addressed, or when there is no layer to run.
    """
    dtype = config.variable_dtype(policy)
    line = ALIGNMENT // (8 if dtype == "float64" else 4)
    parameters: list[ParameterSpec] = []
    ops: list[Op] = []
    offset, features = 0, inputs
    for layer in layers:
        outputs = layer.build(features)
        offsets: dict[str, int] = {}
        for name, shape, _ in layer.parameters():
            count = 1
            for length in shape:
                count *= length
            parameters.append(ParameterSpec(str(layer.name), name, shape, offset, name not in layer.non_trainable()))
            offsets[name] = offset
            offset += -(-count // line) * line
            if offset > _LARGEST:
                raise ValueError(
                    f"layer {layer.name!r} needs {name} of shape {shape}: all parameters together would be more than "
                    f"2**62 elements, which cannot be addressed"
                )
        ops += layer.lower_for_training(offsets)
        features = outputs
    if not ops:
        raise ValueError("the model has no layer that computes anything: add a Dense or an Activation layer")
    if any(op.code == OP_EMBEDDING for op in ops[1:]):
        raise ValueError("Embedding must be the first layer of the model: it takes whole numbers from x")
    return Plan(dtype, inputs, features, tuple(_fuse(ops)), tuple(parameters), offset, policy == config.MIXED)
