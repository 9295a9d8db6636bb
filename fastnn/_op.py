"""What a layer lowers to: steps of the network and parameters, as the engine sees them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy.typing as npt


class Schedule(NamedTuple):
    """How a number depends on the step: fnn_schedule in src_c/fastnn.h.

    `name`: that of the formula (fnn_schedule_code), whose constants are `numbers`, at most six.
    `shares`: bit k says that number k is a share of the steps of a training; 0: all steps are counted from the first.
    `boundaries`, `values`: the bytes of float64 numbers of a schedule of pieces. Bytes are compared at once.
    """

    name: str
    numbers: tuple[float, ...]
    shares: int = 0
    boundaries: bytes = b""
    values: bytes = b""


def constant(value: float) -> Schedule:
    """Return the schedule of a number that is the same at every step."""
    return Schedule("constant", (value,))


class Op(NamedTuple):
    """One step: its name, the activation of its result, its widths, and where its parameters lie (-1: none).

    Names are those of src_c: ``"dense"`` is FNN_OP_DENSE of fastnn.h, ``"relu"`` FNN_RELU of kernels/table.h. An engine
    that is given another name raises.

    `activation`: the activation of the result, or of the gate of a ``"glu"``.
    `mode`: which of several things the op does, where there are several (fnn_column_factor, fnn_encoding,
    fnn_noise_kind).
    `numbers`: up to four constants of the activation, or of what the op does; `vector`: further constants.
    `mean`, `variance`: where the statistics of a normalization lie.
    `seed`: the seed of noise; -1 follows the model's seed. `schedule`: that of its rate, else `numbers` have it.
    `frozen`: whether the op is not trained.
    `activity`: l1 and l2 of the penalty of the output, which counts in the loss; None without a penalty.

    The next fields say what an op reads and where it writes, for layers of more than one op. A layer counts ops from
    this op on; a plan has indices instead, where -1 stands for x, and for no join.

    `input`: how many ops lie between the op that is read and this one; `first`: the first column that is read.
    `source` (of an ``"add"``): how many ops before this op the block begins whose input is added.
    `join`: how many ops after this op the ``"join"`` lies that takes the result, 0 for none; `column`: where in there.
    """

    name: str
    activation: str
    inputs: int
    outputs: int
    kernel: int = -1
    bias: int = -1
    numbers: tuple[float, ...] = ()
    vector: tuple[float, ...] = ()
    mode: str = ""
    mean: int = -1
    variance: int = -1
    input: int = 0
    first: int = 0
    source: int = -1
    join: int = 0
    column: int = 0
    seed: int = -1
    schedule: Schedule | None = None
    frozen: bool = False
    activity: tuple[float, float] | None = None


class ParameterSpec(NamedTuple):
    """Where one parameter of a layer lies in the flat buffer."""

    layer: str
    name: str
    shape: tuple[int, ...]
    offset: int
    trainable: bool

    @property
    def place(self) -> slice:
        """Return the elements of the buffer that hold the parameter."""
        return slice(self.offset, self.offset + math.prod(self.shape))

    def view(self, flat: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the parameter's view of the buffer of weights, or of another buffer of the same layout."""
        return flat[self.place].reshape(self.shape)


class Traits(NamedTuple):
    """What the engine's table says of one op, whatever its widths: fnn_traits in src_c/engine/ops/traits.h."""

    multiplies: bool
    is_noise: bool
    uses_batch: bool


class ParameterSettings(NamedTuple):
    """How one parameter is trained: fnn_parameter_settings in src_c/fastnn.h."""

    multiplier: float = 1.0
    decay: float = 1.0
    l1: float = 0.0
    l2: float = 0.0
    cosines: tuple[float, bool] = (0.0, False)
    second: bool = False
    constraint: str = "unconstrained"
    norm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    trainable: bool = True
