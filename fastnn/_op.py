"""What a layer lowers to: one step of the network as the engine sees it."""

from __future__ import annotations

from typing import NamedTuple

OP_DENSE = 0
OP_ACTIVATION = 1
OP_DROPOUT = 2
OP_GAUSSIAN = 3
OP_LAYER_NORMALIZATION = 4
OP_BATCH_NORMALIZATION = 5
OP_ADD = 6
OP_COLUMNS = 7
OP_PRELU = 8
OP_EMBEDDING = 9
OP_JOIN = 10
OP_DISCRETIZE = 12
OP_ENCODE = 13
OP_GLU = 14
OP_IMPUTE = 15

# What OP_COLUMNS multiplies a column by: a number, 1 / its deviation, or its deviation.
RULE_SCALE, RULE_DIVIDE, RULE_MULTIPLY = 0, 2, 3


# What OP_ENCODE makes of categories.
ENCODINGS = {"one_hot": 0, "multi_hot": 1, "count": 2}


class Op(NamedTuple):
    """One step: its code, the activation of its result, its widths, and where its parameters lie (-1: none).

    `activation`: of an OP_GLU, that of its gate. `numbers`: up to four constants of the activation, or of another rule
    that the code stands for.
    `vector`: more of them. `mean`, `variance`: where the statistics of a normalization lie.
    `seed` (of noise): -1 to follow the model's.
    `frozen`: not trained.
    `activity`: l1 and l2 of the penalty of its output, which counts in the loss; None without.

    What an op reads and where it writes, for layers that are more than one op after the other. A layer counts ops from
    this one on; a plan has indices instead, and -1 for x and for no join.

    `input`: how many ops before the one before this the op lies that it reads; `first`: from this column on.
    `source` (of OP_ADD): how many ops before this one the block begins whose input is added.
    `join`: how many ops after this one the OP_JOIN lies that takes its result, 0 for none; `column`: where in there.
    """

    code: int
    activation: int
    inputs: int
    outputs: int
    kernel: int = -1
    bias: int = -1
    numbers: tuple[float, ...] = ()
    vector: tuple[float, ...] = ()
    mean: int = -1
    variance: int = -1
    input: int = 0
    first: int = 0
    source: int = -1
    join: int = 0
    column: int = 0
    seed: int = -1
    frozen: bool = False
    activity: tuple[float, float] | None = None


class Rule(NamedTuple):
    """How one parameter is trained: fnn_rule in src_c/fastnn.h."""

    multiplier: float = 1.0
    l1: float = 0.0
    l2: float = 0.0
    cosines: tuple[float, bool] = (0.0, False)
    decays: bool = True
    second: bool = False
    constraint: int = 0
    norm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    trainable: bool = True
