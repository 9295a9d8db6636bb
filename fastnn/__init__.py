"""fastnn trains and serves dense neural networks on CPUs, through compiled kernels behind a Keras-shaped interface."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from fastnn import _installation as _installation  # isort: skip  # raises where another project's files are mixed in
from fastnn import _loading as _loading  # isort: skip  # ahead of all that need the engine
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
from fastnn._public import publish as _publish
from fastnn._threads import get_num_threads, num_threads, set_num_threads
from fastnn._version import __version__ as __version__
from fastnn.ensemble import Ensemble
from fastnn.layers import Input
from fastnn.models import (
    Sequential,
    clone_model,
    from_sklearn,
    from_torch,
    load_keras,
    load_onnx,
    load_predictor,
    load_torch,
    load_transformers_head,
)
from fastnn.predictor import Predictor
from fastnn.saving import ModelFileError, load_model

if _TYPE_CHECKING:  # at run time imported when it is asked for: `import fastnn as tf; tf.keras.Sequential`
    from fastnn import distributed, keras, sklearn, tabular

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
    "distributed",
    "from_sklearn",
    "from_torch",
    "get_num_threads",
    "initializers",
    "keras",
    "layers",
    "load_keras",
    "load_model",
    "load_onnx",
    "load_predictor",
    "load_torch",
    "load_transformers_head",
    "losses",
    "metrics",
    "models",
    "num_threads",
    "optimizers",
    "regularizers",
    "saving",
    "set_num_threads",
    "sklearn",
    "tabular",
    "utils",
]

_publish(__name__, __all__, later=("distributed", "keras", "sklearn", "tabular"))
