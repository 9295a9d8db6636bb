"""Losses: what training minimises. The engine computes them; the formulas here are for users and tests."""

from __future__ import annotations

from typing import Any

from fastnn._head import DENSE, LABELS
from fastnn._public import publish
from fastnn._registry import Registry
from fastnn.losses._base import Loss
from fastnn.losses._crossentropy import (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    SparseCategoricalCrossentropy,
)
from fastnn.losses._distribution import GaussianNLL, Quantile
from fastnn.losses._elementwise import (
    CategoricalHinge,
    CosineSimilarity,
    HalfMeanSquaredError,
    Hinge,
    Huber,
    KLDivergence,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    SquaredHinge,
)
from fastnn.losses._function import CustomLoss, FunctionLoss
from fastnn.losses._overlap import Dice, Tversky

__all__ = [
    "DENSE",
    "LABELS",
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "CustomLoss",
    "Dice",
    "FunctionLoss",
    "GaussianNLL",
    "HalfMeanSquaredError",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "Quantile",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "Tversky",
    "get",
    "serialize",
]

_registry: Registry[Loss] = Registry("loss", Loss, computed=("call", "__call__", "_rows"), custom=CustomLoss)
for _loss, *_names in (
    (MeanSquaredError, "mse"),
    (HalfMeanSquaredError, "half_mse"),
    (MeanAbsoluteError, "mae"),
    (MeanAbsolutePercentageError, "mape"),
    (MeanSquaredLogarithmicError, "msle"),
    (Huber, "huber"),
    (LogCosh, "logcosh"),
    (Poisson,),
    (KLDivergence, "kld", "kullback_leibler_divergence"),
    (Hinge,),
    (SquaredHinge,),
    (CategoricalHinge,),
    (CosineSimilarity,),
    (BinaryCrossentropy, "bce"),
    (BinaryFocalCrossentropy,),
    (CategoricalCrossentropy,),
    (CategoricalFocalCrossentropy,),
    (SparseCategoricalCrossentropy,),
    (Quantile, "pinball"),
    (GaussianNLL,),
    (Tversky,),
    (Dice,),
):
    _registry.register(_loss, _loss.name, *_names)


def get(identifier: Any) -> Loss:
    """Return the loss that `identifier` means; a function (y_true, y_pred) -> (loss, gradient) becomes a FunctionLoss.

    Parameters
    ----------
    identifier : str, Loss, class, dict or callable
        A name, as ``"mse"``; an instance; what :func:`serialize` made; a function.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.losses.get("mse")([[1.0]], [[3.0]])
    4.0
    """
    if callable(identifier) and not isinstance(identifier, (Loss, type)):
        return FunctionLoss(identifier)
    return _registry.get(identifier)


def serialize(loss: Loss) -> dict[str, Any]:
    """Return a JSON-able dict from which :func:`get` makes an equal loss; it does not hold the code of one in Python.

    Parameters
    ----------
    loss : Loss

    Examples
    --------
    >>> import fastnn
    >>> fastnn.losses.serialize(fastnn.losses.Huber(0.5))
    {'class_name': 'Huber', 'config': {'delta': 0.5}}
    """
    if isinstance(loss, CustomLoss):
        return {"class_name": type(loss).__name__, "config": loss.get_config()}
    return _registry.serialize(loss)


publish(__name__, __all__)
