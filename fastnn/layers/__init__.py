"""The layers of a network. Each describes itself and lowers to ops of the engine; the model holds all numbers."""

from __future__ import annotations

from fastnn._public import publish
from fastnn.layers._configurations import _registry, deserialize, serialize
from fastnn.layers.activation import ELU, GLU, Activation, LeakyReLU, ReLU, Softmax
from fastnn.layers.base import Layer
from fastnn.layers.branches import Branches
from fastnn.layers.categorical import CategoricalEmbedding
from fastnn.layers.categories import CategoryEncoding, Discretization
from fastnn.layers.column_embedding import LinearEmbedding, PeriodicEmbedding
from fastnn.layers.container import Stack
from fastnn.layers.dense import Dense
from fastnn.layers.embedding import Embedding
from fastnn.layers.heads import Heads
from fastnn.layers.impute import Impute
from fastnn.layers.input import Input, InputLayer
from fastnn.layers.lookup import IntegerLookup, StringLookup
from fastnn.layers.members import EnsembleDense, EnsembleMean, EnsembleScale
from fastnn.layers.noise import AlphaDropout, Dropout, GaussianDropout, GaussianNoise
from fastnn.layers.normalization import BatchNormalization, LayerNormalization, RMSNormalization, UnitNormalization
from fastnn.layers.parametric_activation import ParametricActivation
from fastnn.layers.piecewise import PiecewiseLinearEncoding
from fastnn.layers.prelu import PReLU
from fastnn.layers.preprocessing import Normalization, Rescaling
from fastnn.layers.quantiles import QuantileNormalization
from fastnn.layers.regularization import ActivityRegularization
from fastnn.layers.residual import Residual
from fastnn.layers.robust import RobustNormalization
from fastnn.layers.scale import Scale
from fastnn.layers.shape import Flatten, Reshape
from fastnn.layers.targets import TargetScaling

__all__ = [
    "ELU",
    "GLU",
    "Activation",
    "ActivityRegularization",
    "AlphaDropout",
    "BatchNormalization",
    "Branches",
    "CategoricalEmbedding",
    "CategoryEncoding",
    "Dense",
    "Discretization",
    "Dropout",
    "Embedding",
    "EnsembleDense",
    "EnsembleMean",
    "EnsembleScale",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "Heads",
    "Impute",
    "Input",
    "InputLayer",
    "IntegerLookup",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "LinearEmbedding",
    "Normalization",
    "PReLU",
    "ParametricActivation",
    "PeriodicEmbedding",
    "PiecewiseLinearEncoding",
    "QuantileNormalization",
    "RMSNormalization",
    "ReLU",
    "Rescaling",
    "Reshape",
    "Residual",
    "RobustNormalization",
    "Scale",
    "Softmax",
    "Stack",
    "StringLookup",
    "TargetScaling",
    "UnitNormalization",
    "deserialize",
    "serialize",
]

for _layer in (
    InputLayer,
    Dense,
    Activation,
    ActivityRegularization,
    AlphaDropout,
    BatchNormalization,
    Branches,
    CategoricalEmbedding,
    CategoryEncoding,
    Discretization,
    Flatten,
    IntegerLookup,
    Reshape,
    StringLookup,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    Heads,
    Impute,
    LayerNormalization,
    Embedding,
    EnsembleDense,
    EnsembleMean,
    EnsembleScale,
    LinearEmbedding,
    Normalization,
    ParametricActivation,
    PeriodicEmbedding,
    PReLU,
    PiecewiseLinearEncoding,
    QuantileNormalization,
    Rescaling,
    Residual,
    RobustNormalization,
    RMSNormalization,
    Scale,
    TargetScaling,
    UnitNormalization,
    ReLU,
    LeakyReLU,
    ELU,
    Softmax,
    GLU,
):
    _registry.register(_layer)
_registry.register(Stack, "Sequential")  # The name that Keras has for a model within a model.


publish(__name__, __all__)
