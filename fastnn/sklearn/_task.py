"""A network of an estimator, with what it is to be trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import config
from fastnn.models import Sequential
from fastnn.sklearn._targets import Targets, link_of

Array = npt.NDArray[Any]


@dataclass
class Task:
    """A network, and what it is to be trained on.

    Attributes
    ----------
    model : Sequential
        The network, compiled.
    x : ndarray, sparse matrix or frame
    y : ndarray or dict of ndarray
        The network's targets.
    weights : ndarray or None
        The rows' weights, 1 on average.
    mean_weight : float
        The average of the weights as they were given: the factor of the number of rows that they stand for.
    targets : Targets
        What y is.
    held : tuple or None
        X, y and weights of the rows that are validated on, with y as the user has it.
    batch_size : int or None
    epochs : int
    shuffle : bool
    callbacks : list of Callback
    is_new : bool
        Whether the network has been built for this training, not by an earlier one.
    options : dict
        Further arguments of the network's ``fit``.
    rows : ndarray of int or None
        The numbers of the rows that are trained on; None where no row is held back for validation.
    undo : list of callable
        They are called where the training of a network that is not new fails, and take back what has been set of it.
    """

    model: Sequential
    x: Any
    y: Any
    weights: Array | None
    mean_weight: float
    targets: Targets
    held: tuple[Any, Array, Array | None] | None
    batch_size: int | None
    epochs: int
    shuffle: bool
    is_new: bool
    callbacks: list[Any] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    rows: Array | None = None
    undo: list[Callable[[], None]] = field(default_factory=list)

    def validation(self) -> tuple[Any, ...]:
        """Return the rows that are validated on as the network's ``fit`` takes them; there must be some."""
        x, y, weights = self.held or (None, np.empty(0), None)
        targets = self.targets.encoded(y, self.model.loss, dtype_of(self.model))
        return (x, targets) if weights is None else (x, targets, weights)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the network's ``fit``."""
        return {
            "x": self.x,
            "y": self.y,
            "batch_size": self.batch_size,
            "epochs": self.epochs,
            "verbose": 0,
            "callbacks": self.callbacks,
            "shuffle": self.shuffle,
            "sample_weight": self.weights,
            "check_finite": False,
        } | self.options


@contextmanager
def as_it_was_on_error(task: Task) -> Iterator[None]:
    """Give a network that an earlier call has trained its state back where the block fails."""
    if task.is_new:
        yield
        return
    model = task.model
    engine, progress = model._need_engine("fit"), model._progress
    kept, optimizer = engine.snapshot(), model.optimizer
    rate: Any = getattr(optimizer, "learning_rate", None)
    try:
        yield
    except BaseException:
        for undo in task.undo:
            undo()
        engine.restore(kept)
        model._progress = progress
        if optimizer is not None and getattr(optimizer, "learning_rate", None) is not rate:  # a callback has set it
            optimizer.learning_rate = rate
        raise


def dtype_of(model: Sequential) -> str:
    """Return the dtype of a network, built or not."""
    return model.dtype if model.built else config.floatx()


def link_of_model(model: Sequential) -> Any:
    """Return what makes probabilities of a network's outputs; for one with heads a dict of that by their names."""
    loss: Any = model.loss
    return {name: link_of(one) for name, one in loss.items()} if isinstance(loss, dict) else link_of(loss)
