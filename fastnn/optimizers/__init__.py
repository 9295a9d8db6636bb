"""Optimizers: rules that turn gradients into new weights. The engine applies them (src_c/kernels/optimizer.inc)."""

from __future__ import annotations

from typing import Any

from fastnn._public import publish
from fastnn._registry import Registry
from fastnn.optimizers import schedules
from fastnn.optimizers.adam import Adam, Adamax, AdamW, Nadam
from fastnn.optimizers.base import Optimizer
from fastnn.optimizers.first_order import SGD, Adadelta, Adagrad, Lion, RMSprop
from fastnn.optimizers.lbfgs import LBFGS
from fastnn.optimizers.matrix import Adafactor, Muon

__all__ = [
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Muon",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "get",
    "schedules",
    "serialize",
]

_registry: Registry[Optimizer] = Registry("optimizer", Optimizer)
for _optimizer in (SGD, Adam, AdamW, Nadam, Adamax, RMSprop, Adagrad, Adadelta, Lion, LBFGS, Adafactor, Muon):
    _registry.register(_optimizer)


def get(identifier: Any) -> Optimizer:
    """Return the optimizer that `identifier` means; a name means its defaults.

    Parameters
    ----------
    identifier : str, Optimizer, class or dict
        A name, as ``"adam"``; an instance; what :func:`serialize` made.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.optimizers.get("adam").learning_rate
    0.001
    """
    optimizer = _registry.get(identifier)
    if type(optimizer).engine_name is Optimizer.engine_name:
        raise TypeError(
            f"optimizer must have one of the rules that the engine knows; {type(optimizer).__name__} has none: derive "
            f"from one of fastnn.optimizers, or change the weights by a loop of your own"
        )
    return optimizer


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """Return a JSON-able dict from which :func:`get` makes an equal optimizer.

    Parameters
    ----------
    optimizer : Optimizer

    Examples
    --------
    >>> import fastnn
    >>> fastnn.optimizers.serialize(fastnn.optimizers.Lion())["class_name"]
    'Lion'
    """
    return _registry.serialize(optimizer)


publish(__name__, __all__)
