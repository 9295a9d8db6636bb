"""Numbers that depend on the step. The engine evaluates them, once a step; see src_c/engine/update/step.c.

Pass one as an optimizer's `learning_rate` or `weight_decay`, as the `rate` of a layer of noise, or as the
`label_smoothing` of a loss. Calling it gives the number at a step, counted from 0.

An argument in steps, such as `decay_steps`, is a whole number, or a share of the training: a float from 0 to 1, or None
for all of it. A schedule with a share counts the steps from the begin of each ``fit``, which has epochs times steps an
epoch of them; with ``initial_epoch`` the epochs before it count as done. A schedule without a share counts the steps of
the optimizer, over all fits, as in Keras.
"""

from fastnn._public import publish
from fastnn._schedules import (
    CosineDecay,
    CosineDecayRestarts,
    CosineLog,
    ExponentialDecay,
    FlatCosine,
    InverseTimeDecay,
    LearningRateSchedule,
    OneCycle,
    PiecewiseConstantDecay,
    PolynomialDecay,
    deserialize,
    serialize,
)
from fastnn._schedules import _registry as _registry

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "CosineLog",
    "ExponentialDecay",
    "FlatCosine",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "OneCycle",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "serialize",
]

publish(__name__, __all__)
