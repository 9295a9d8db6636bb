"""fastnn trains and serves dense neural networks on CPUs, through compiled kernels behind a Keras-shaped interface."""

import sys as _sys
from typing import TYPE_CHECKING as _TYPE_CHECKING

from fastnn import _installation as _installation  # isort: skip  # raises where another project's files are mixed in
from fastnn import (
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
from fastnn._registry import absent as _absent
from fastnn._threads import get_num_threads, num_threads, set_num_threads
from fastnn.ensemble import Ensemble
from fastnn.layers import Input
from fastnn.models import Sequential, clone_model
from fastnn.predictor import Predictor
from fastnn.saving import ModelFileError, load_model

__version__ = "0.1.0"

__all__ = [
    "Ensemble",
    "Input",
    "ModelFileError",
    "Predictor",
    "Sequential",
    "activations",
    "callbacks",
    "clone_model",
    "config",
    "constraints",
    "datasets",
    "get_num_threads",
    "initializers",
    "keras",
    "layers",
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

# `import fastnn as tf; tf.keras.Sequential`: the alias is the package itself, and so are its modules, never copies.
keras = _sys.modules[__name__]
_sys.modules[f"{__name__}.keras"] = keras
for _name in ("activations", "callbacks", "config", "constraints", "datasets", "initializers", "layers", "losses",
              "metrics", "models", "optimizers", "optimizers.schedules", "regularizers", "saving",
              "utils"):  # fmt: skip
    _sys.modules[f"{__name__}.keras.{_name}"] = _sys.modules[f"{__name__}.{_name}"]
del _name

if not _TYPE_CHECKING:  # a type checker would take it for leave to use any name

    def __getattr__(name: str) -> object:
        """Raise, saying what there is instead."""
        raise _absent(__name__, name, __all__)
