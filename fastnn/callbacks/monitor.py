"""Callbacks that watch one of the logs."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._model import Model
from fastnn._registry import nearest_names
from fastnn._settings import count, flag, number
from fastnn._terminal import say
from fastnn._warnings import warn
from fastnn.callbacks._logs import better, number_of
from fastnn.callbacks.base import Callback, Logs


class Monitor(Callback):
    """The base of callbacks that watch one of the logs.

    NaN is never better than a number or than None, so that the first number is the best so far, whatever came before
    it. A metric with a value for each class, as ``F1Score()``, counts with the mean over the classes.

    Parameters
    ----------
    monitor : str
        A key of the logs.
    mode : {"auto", "min", "max"}
        Whether a lower or a higher value is better; ``"auto"`` asks the metric.
    min_delta : float, default 0
        A change of less than this does not count.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if not isinstance(monitor, str):
            raise TypeError(f"monitor must be the name of a log, got {type(monitor).__name__}")
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode must be 'auto', 'min' or 'max', got {mode!r}")
        self.monitor, self.mode = monitor, mode
        self.min_delta = abs(number("min_delta", min_delta, -math.inf))
        self.best: float | None = None

    def _check_logs(self, model: Model, of_epochs: Sequence[str], of_batches: Sequence[str]) -> None:
        """Warn where the watched log will not be there; raise where nobody can tell which of its values are better."""
        self._warned = self.monitor not in of_epochs
        if not self._warned:
            self._sign(model)
            return
        near = nearest_names(self.monitor, list(of_epochs))
        if self.monitor.startswith("val_") and not any(name.startswith("val_") for name in of_epochs):
            near = "no validation comes before them"
        warn(f"{type(self).__name__} watches {self.monitor!r}, which will not be in the logs; {near}")

    def _sign(self, model: Model) -> int:
        """Return 1 where a higher value is better, -1 where a lower value is."""
        if self.mode != "auto":
            return 1 if self.mode == "max" else -1
        key = self.monitor.removeprefix("val_")
        direction = "down" if key == "loss" or key.endswith("_loss") else model._metric_direction(key)
        if direction is None:
            raise ValueError(
                f"{type(self).__name__} cannot tell whether more or less of {self.monitor!r} is better: pass "
                f"mode='max' or mode='min'"
            )
        return 1 if direction == "up" else -1

    def better(self, value: float, than: float | None) -> bool:
        """Return whether `value` is better than another by more than `min_delta`; NaN never is, numbers beat None."""
        return better(value, than, self._sign(self.model), self.min_delta)

    def value(self, logs: Logs | None) -> float | None:
        """Return the log that is watched; for a log with a value for each class, the mean.

        Return None where the log is not there, and warn, unless it is a validation's log and no validation was due.
        """
        logs = logs or {}
        found = logs.get(self.monitor)
        if found is not None:
            return number_of(found)
        if not self._warned and not self._waits_for_validation(logs):
            warn(
                f"{type(self).__name__} watches {self.monitor!r}, which is not in the logs; there are {', '.join(logs)}"
            )
        return None

    def _waits_for_validation(self, logs: Logs) -> bool:
        """Return whether a validation's log is watched, and these are the logs of an epoch without one."""
        return self.monitor.startswith("val_") and self._between_validations(logs)


class EarlyStopping(Monitor):
    """Ends training when a log has stopped improving.

    Parameters
    ----------
    monitor : str, default "val_loss"
    min_delta : float, default 0
        A change of less than this is no improvement.
    patience : int, default 0
        The number of epochs without improvement after which training ends.
    verbose : {0, 1}, default 0
    mode : {"auto", "min", "max"}, default "auto"
    baseline : float, optional
        An epoch counts as an improvement only where it is better than this value as well.
    restore_best_weights : bool, default False
        Whether to give the model the weights of its best epoch at the end, instead of those of the last.
    start_from_epoch : int, default 0
        The first epoch that is looked at, counted from 0.
    ties : {"first", "last"}, default "first"
        Which of the epochs with the best value is the best epoch: the last one has been trained for longer, and where
        values are few, as an accuracy on few rows, many epochs share one. Patience counts from the first in either
        case. Keras takes the first.

    Attributes
    ----------
    best, best_epoch, stopped_epoch, wait
        The best value and its epoch, the epoch that ended training, and the epochs without improvement, as in Keras.

    Examples
    --------
    >>> stopper = EarlyStopping(patience=3, restore_best_weights=True)
    """

    _reads_state = False
    _STATE = ("wait", "stopped_epoch", "best_epoch", "best", "best_weights")

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
        ties: str = "first",
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if ties not in ("first", "last"):
            raise ValueError(f"ties must be 'first' or 'last', got {ties!r}")
        self.ties = ties
        self.patience = count("patience", patience, 0)
        self.verbose = verbose
        self.baseline = None if baseline is None else number("baseline", baseline, -math.inf)
        self.restore_best_weights = flag("restore_best_weights", restore_best_weights)
        self.start_from_epoch = count("start_from_epoch", start_from_epoch, 0)
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best_weights: list[npt.NDArray[Any]] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget what an earlier training has seen."""
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best, self.best_weights = None, None

    def get_state(self) -> dict[str, Any]:
        """Return what was best, and how long ago."""
        return {name: getattr(self, name) for name in self._STATE}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on waiting from a saved state."""
        for name in self._STATE:  # a file may hold other names
            setattr(self, name, state[name])

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare the log, and end training where it has stopped improving."""
        current = self.value(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        improved = self.better(current, self.best)
        is_best = improved or (self.ties == "last" and current == self.best)
        if is_best:
            self.best_epoch = epoch
        if self.restore_best_weights and (is_best or self.best_weights is None):  # NaN at first is the best so far
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if improved:
            self.best = current
            if self.baseline is None or self.better(current, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Restore the best weights, where that was asked for."""
        if self.stopped_epoch > 0 and self.verbose > 0:
            say(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose > 0:
                say(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)


class ReduceLROnPlateau(Monitor):
    """Multiplies the learning rate by a factor when a log has stopped improving.

    Parameters
    ----------
    monitor : str, default "val_loss"
    factor : float, default 0.1
        What the rate is multiplied by, below 1.
    patience : int, default 10
        The number of epochs without improvement after which the rate is reduced.
    verbose : {0, 1}, default 0
    mode : {"auto", "min", "max"}, default "auto"
    min_delta : float, default 1e-4
        A change of less than this is no improvement.
    cooldown : int, default 0
        The number of epochs after a reduction that are not counted.
    min_lr : float, default 0
        The least rate that a reduction may give.

    Notes
    -----
    The learning rate becomes one of the logs, ``"learning_rate"``.

    Examples
    --------
    >>> reducer = ReduceLROnPlateau(factor=0.5, patience=2)
    """

    _reads_state = False
    _STATE = ("best", "wait", "cooldown_counter")
    _adds_logs = ("learning_rate",)

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 0.0001,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.factor = number("factor", factor, -math.inf)
        if not 0 < self.factor < 1:
            raise ValueError(f"factor must lie between 0 and 1, got {factor}")
        self.patience = count("patience", patience, 0)
        self.verbose = verbose
        self.cooldown = count("cooldown", cooldown, 0)
        self.min_lr = number("min_lr", min_lr, -math.inf)
        self.wait = self.cooldown_counter = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget what an earlier training has seen; raise where the rate cannot be set, as with a schedule."""
        optimizer: Any = self.model.optimizer
        optimizer.learning_rate = _rate(optimizer)
        self.best, self.wait, self.cooldown_counter = None, 0, 0

    def get_state(self) -> dict[str, Any]:
        """Return what was best, and how long ago."""
        return {name: getattr(self, name) for name in self._STATE}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on waiting from a saved state."""
        for name in self._STATE:  # a file may hold other names
            setattr(self, name, state[name])

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare the log, and reduce the rate where it has stopped improving."""
        logs = {} if logs is None else logs
        logs["learning_rate"] = _rate(self.model.optimizer)
        current = self.value(logs)
        if current is None:
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self.better(current, self.best):
            self.best, self.wait = current, 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        optimizer: Any = self.model.optimizer
        old = _rate(optimizer)
        if old <= float(np.float32(self.min_lr)):
            return
        optimizer.learning_rate = max(old * self.factor, self.min_lr)
        if self.verbose > 0:
            say(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {optimizer.learning_rate}.")
        self.cooldown_counter, self.wait = self.cooldown, 0

    def in_cooldown(self) -> bool:
        """Return whether epochs are not counted now."""
        return self.cooldown_counter > 0


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch.

    Parameters
    ----------
    schedule : callable
        Called with the epoch (from 0) and the learning rate, or with the epoch alone where it takes one argument;
        returns the new rate, a float.
    verbose : {0, 1}, default 0

    Notes
    -----
    The learning rate becomes one of the logs, ``"learning_rate"``. The schedules in
    ``fastnn.optimizers.schedules`` change it at each step.

    Examples
    --------
    >>> scheduler = LearningRateScheduler(lambda epoch, rate: rate * 0.9)
    """

    _reads_state = False
    _adds_logs = ("learning_rate",)

    def __init__(self, schedule: Any, verbose: int = 0) -> None:
        if not callable(schedule):
            raise TypeError(f"schedule must be a function of epoch and learning rate, got {type(schedule).__name__}")
        self.schedule, self.verbose = schedule, verbose
        self._takes_rate = _takes(schedule, 0, 0.0) or not _takes(schedule, 0)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Set the rate."""
        optimizer: Any = self.model.optimizer
        rate = self.schedule(epoch, _rate(optimizer)) if self._takes_rate else self.schedule(epoch)
        if isinstance(rate, bool) or not isinstance(rate, (float, np.floating)) or not math.isfinite(rate):
            raise ValueError(f"schedule must return a finite float for epoch {epoch}, got {rate!r}")
        optimizer.learning_rate = float(rate)
        if self.verbose > 0:
            say(f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {float(rate)}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the rate into the logs."""
        if logs is not None:
            logs["learning_rate"] = _rate(self.model.optimizer)


def _takes(function: Callable[..., Any], *arguments: Any) -> bool:
    """Return whether the function can be called so; a built-in one that has no signature counts as if it can."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def _rate(optimizer: Any) -> float:
    return float(optimizer.learning_rate)
