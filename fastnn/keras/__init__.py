"""Keras's paths to the public names of fastnn: ``from fastnn.keras import layers``, ``import fastnn as tf``."""

import fastnn.keras.optimizers.schedules as _schedules  # noqa: F401  # takes the place of fastnn.optimizers.schedules
from fastnn import (
    Ensemble,
    Input,
    ModelFileError,
    Predictor,
    Sequential,
    __version__,
    clone_model,
    from_sklearn,
    from_torch,
    get_num_threads,
    load_keras,
    load_model,
    num_threads,
    set_num_threads,
)
from fastnn._public import publish as _publish
from fastnn.keras import (
    activations,
    callbacks,
    config,
    constraints,
    datasets,
    initializers,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    regularizers,
    saving,
    utils,
)

__all__ = [
    "Ensemble",
    "Input",
    "ModelFileError",
    "Predictor",
    "Sequential",
    "__version__",
    "activations",
    "callbacks",
    "clone_model",
    "config",
    "constraints",
    "datasets",
    "from_sklearn",
    "from_torch",
    "get_num_threads",
    "initializers",
    "layers",
    "load_keras",
    "load_model",
    "losses",
    "metrics",
    "models",
    "num_threads",
    "optimizers",
    "regularizers",
    "saving",
    "set_num_threads",
    "utils",
]

_publish(__name__, __all__)
