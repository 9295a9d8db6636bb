"""Metrics tell people how good a model is. The engine computes them; the formulas in Python are for users and tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from fastnn import losses
from fastnn._public import publish
from fastnn._registry import Registry
from fastnn.metrics._base import EITHER, Metric
from fastnn.metrics._classes import F1Score, FBetaScore, IoU, MeanIoU, OneHotMeanIoU
from fastnn.metrics._function import CustomMetric, FunctionMetric
from fastnn.metrics._means import (
    BinaryAccuracy,
    BinaryCrossentropy,
    CategoricalAccuracy,
    CategoricalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    R2Score,
    RootMeanSquaredError,
    SparseCategoricalAccuracy,
    SparseCategoricalCrossentropy,
    SparseTopKCategoricalAccuracy,
    SquaredHinge,
    TopKCategoricalAccuracy,
)
from fastnn.metrics._temperatures import TemperatureScaledCrossentropy
from fastnn.metrics._thresholds import (
    AUC,
    FalseNegatives,
    FalsePositives,
    Precision,
    PrecisionAtRecall,
    Recall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
    TrueNegatives,
    TruePositives,
)

__all__ = [
    "AUC",
    "EITHER",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "CustomMetric",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "FunctionMetric",
    "Hinge",
    "IoU",
    "KLDivergence",
    "LogCoshError",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanIoU",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Metric",
    "OneHotMeanIoU",
    "Poisson",
    "Precision",
    "PrecisionAtRecall",
    "R2Score",
    "Recall",
    "RecallAtPrecision",
    "RootMeanSquaredError",
    "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity",
    "SquaredHinge",
    "TemperatureScaledCrossentropy",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "get",
    "serialize",
]

_BY_LOSS = ("accuracy", "acc")  # names of the kind of accuracy that fits the loss
_registry: Registry[Metric] = Registry(
    "metric", Metric, _BY_LOSS, computed=("update_state", "result", "_update"), custom=CustomMetric
)
_ALIASES = {
    MeanSquaredError: ("mse",),
    MeanAbsoluteError: ("mae",),
    MeanAbsolutePercentageError: ("mape",),
    MeanSquaredLogarithmicError: ("msle",),
    RootMeanSquaredError: ("rmse",),
    LogCoshError: ("log_cosh",),
    KLDivergence: ("kld",),
    BinaryCrossentropy: ("bce",),
}
_UNNAMED = (Metric, CustomMetric, FunctionMetric)
for _name in __all__:
    _member = globals().get(_name)  # None for the functions of __all__, which are defined below
    if isinstance(_member, type) and issubclass(_member, Metric) and _member not in _UNNAMED:
        _registry.register(_member, _member.name, *_ALIASES.get(_member, ()))


def get(identifier: Any, loss: losses.Loss | None = None, outputs: int = 0) -> Metric:
    """Return the metric that `identifier` means; ``"accuracy"`` is the one that fits loss and outputs, as in Keras.

    A Python function (y_true, y_pred) -> value becomes a :class:`FunctionMetric`.

    Parameters
    ----------
    identifier : str, Metric, class, dict or callable
        A name, as ``"auc"``; an instance; what :func:`serialize` made; a function.
    loss : Loss, optional
        Only ``"accuracy"`` needs it.
    outputs : int
        The number of the model's output columns; only ``"accuracy"`` needs it.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.metrics.get("accuracy", fastnn.losses.get("binary_crossentropy"), outputs=1).name
    'binary_accuracy'
    """
    if isinstance(identifier, str) and identifier.lower() in _BY_LOSS:
        if loss is None:
            raise ValueError(
                "metric 'accuracy' needs a loss that says what the targets are; name one of its kinds instead"
            )
        if loss.targets == losses.LABELS:
            return SparseCategoricalAccuracy()
        return BinaryAccuracy() if outputs == 1 else CategoricalAccuracy()
    if callable(identifier) and not isinstance(identifier, (Metric, type)):
        return FunctionMetric(identifier)
    return _registry.get(identifier)


def fit_to(identifier: Any, loss: losses.Loss, outputs: int | None) -> Metric:
    """Return the metric that `identifier` means for a model with this loss; raise ValueError where the two do not fit.

    Parameters
    ----------
    identifier : str, Metric or dict
    loss : Loss
    outputs : int or None
        The number of the model's output columns; None where the model has not been built.
    """
    metric = get(identifier, loss, 2 if outputs is None else outputs)
    if isinstance(metric, CustomMetric):  # it gets the targets that the loss takes
        return metric
    if metric.targets not in (EITHER, loss.targets):
        needs = "integer labels" if metric.targets == losses.LABELS else "targets shaped like the output"
        raise ValueError(f"metric {metric.name!r} needs {needs}, which the loss {loss.name!r} does not use")
    if outputs is not None:
        columns = loss.target_columns(outputs)
        if columns not in (0, outputs):
            raise ValueError(
                f"metric {metric.name!r} needs targets shaped like the output, but {loss.name} takes {columns} target "
                f"columns for {outputs} outputs"
            )
        metric.check_outputs(outputs)
    return metric


def log_key(identifier: Any) -> str:
    """Return the name under which logs show the metric: the string the user gave, or the metric's own name."""
    return identifier if isinstance(identifier, str) else str(get(identifier).name)


def log_keys(identifiers: Iterable[Any]) -> list[str]:
    """Return the names of several metrics; the second metric of a name gets ``_1`` after it, the third ``_2``."""
    keys: dict[str, None] = {}
    numbers: dict[str, int] = {}  # for each name, the least number after it that may be free
    for identifier in identifiers:
        key = log_key(identifier)
        for k in itertools.count(numbers.get(key, 0)):
            name = f"{key}_{k}" if k else key
            if name not in keys:
                keys[name], numbers[key] = None, k + 1
                break
    return list(keys)


def serialize(metric: Metric) -> dict[str, Any]:
    """Return a JSON-able dict from which :func:`get` makes an equal metric; it does not hold the code of one in Python.

    Parameters
    ----------
    metric : Metric

    Examples
    --------
    >>> import fastnn
    >>> fastnn.metrics.serialize(fastnn.metrics.F1Score("macro"))
    {'class_name': 'F1Score', 'config': {'average': 'macro', 'threshold': None}}
    """
    if isinstance(metric, CustomMetric):
        return {"class_name": type(metric).__name__, "config": metric.get_config()}
    return _registry.serialize(metric)


publish(__name__, __all__)
