"""What a layer lowers to: one step of the network as the engine sees it."""

from __future__ import annotations

from typing import NamedTuple

OP_DENSE = 0
OP_ACTIVATION = 1


class Op(NamedTuple):
    """One step: its code, the activation applied to its result, its widths, and where its parameters lie (-1: none).

    `numbers`: up to four constants of the activation, or of another rule that the code stands for.
    """

    code: int
    activation: int
    inputs: int
    outputs: int
    kernel: int = -1
    bias: int = -1
    numbers: tuple[float, ...] = ()
