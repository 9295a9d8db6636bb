"""When training ends, and what is remembered of it, by scikit-learn's rules for multilayer perceptrons."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from fastnn._terminal import say
from fastnn.callbacks import Callback
from fastnn.callbacks.base import Logs


@dataclass
class Record:
    """What is remembered of the epochs: scikit-learn's attributes without their final underscore.

    Attributes
    ----------
    n_iter : int
        The number of epochs of the last call.
    t : int
        The number of rows that all epochs have trained on.
    loss_curve : list of float
        The loss of each epoch, with the penalty on weights.
    validation_scores : list of float or None
        The score of the validation rows after each epoch; None where there are no such rows.
    best_loss, best_validation_score : float or None
        The least loss, or the best score with early stopping.
    without_progress : int
        The number of epochs since the loss or the score last improved by `tol`.
    stopped : bool
        Whether that has ended the last call.
    best_weights : list of ndarray or None
        The network's weights after the epoch of the best score, with early stopping.
    """

    n_iter: int = 0
    t: int = 0
    loss_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] | None = None
    best_loss: float | None = math.inf
    best_validation_score: float | None = None
    without_progress: int = 0
    stopped: bool = False
    best_weights: Any = None

    def copy(self) -> Record:
        """Return another record of the same epochs."""
        scores = self.validation_scores
        return replace(
            self, loss_curve=self.loss_curve[:], validation_scores=None if scores is None else scores[:], stopped=False
        )


class StoppingRule(Callback):
    """Keeps a record, and ends training once the loss, or the validation score, no longer improves.

    Parameters
    ----------
    record : Record
        What is known so far; changed.
    rows : int
        The number of rows of an epoch.
    incremental : bool
        Whether the call is one of many, each of an epoch.
    tol : float
        The least improvement that counts.
    patience : float
        Training ends after more epochs than this without such an improvement.
    score : callable, optional
        Returns the score of the validation rows.
    early_stopping : bool
        Whether the score decides, and the weights of its best epoch are kept.
    next_rate : callable, optional
        Returns the learning rate of the next epoch from the record.
    lower_rate : bool
        Whether training goes on at a fifth of the learning rate in the place of ending, down to a rate of 1e-6.
    loss_of : callable, optional
        Returns the loss of an epoch from its logs.
    verbose : bool
    """

    def __init__(
        self,
        record: Record,
        rows: int,
        *,
        incremental: bool = False,
        tol: float,
        patience: float,
        score: Callable[[], float] | None = None,
        early_stopping: bool = False,
        next_rate: Callable[[Record], float] | None = None,
        lower_rate: bool = False,
        loss_of: Callable[[Logs], float] = lambda logs: logs["loss"],
        verbose: bool = False,
    ) -> None:
        self.record, self._rows, self._tol, self._patience = record, rows, tol, patience
        self._score, self.early_stopping, self._next_rate = score, early_stopping, next_rate
        self.incremental = incremental
        self._lower_rate, self._loss_of, self._verbose = lower_rate, loss_of, verbose
        record.n_iter = 0
        if score is not None and record.validation_scores is None:
            record.validation_scores = []
        if early_stopping:
            record.best_loss = None
            if record.best_validation_score is None:
                record.best_validation_score = -math.inf

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the record, and decide whether training goes on."""
        record, loss = self.record, self._loss_of(logs or {})
        record.n_iter += 1
        record.t += self._rows
        record.loss_curve.append(loss)
        self._say(f"Iteration {record.n_iter}, loss = {loss:.8f}")
        if self._score is not None and record.validation_scores is not None:
            record.validation_scores.append(self._score())
            self._say(f"Validation score: {record.validation_scores[-1]:f}")
        improved = self._score_improved() if self.early_stopping else self._loss_improved(loss)
        record.without_progress = 0 if improved else record.without_progress + 1
        if self._next_rate is not None:
            self._set_rate(self._next_rate(record))
        if record.without_progress > self._patience:
            self._stop_or_slow_down()

    def _loss_improved(self, loss: float) -> bool:
        record = self.record
        best = math.inf if record.best_loss is None else record.best_loss
        record.best_loss = min(loss, best)
        return not loss > best - self._tol

    def _score_improved(self) -> bool:
        record = self.record
        score, best = (record.validation_scores or [math.nan])[-1], record.best_validation_score
        best = -math.inf if best is None else best
        if score > best:
            record.best_validation_score, record.best_weights = score, self.model.get_weights()
        return not score < best + self._tol

    def _set_rate(self, rate: float) -> None:
        optimizer = self.model.optimizer
        if optimizer is not None:
            optimizer.learning_rate = rate

    def _stop_or_slow_down(self) -> None:
        what = "Validation score" if self.early_stopping else "Training loss"
        reason = f"{what} did not improve more than tol={self._tol:f} for {self._patience} consecutive epochs."
        rate = getattr(self.model.optimizer, "learning_rate", 0.0) if self._lower_rate else 0.0
        if rate > 1e-6:
            self.record.without_progress = 0
            self._set_rate(rate / 5)
            self._say(f"{reason} Setting learning rate to {rate / 5:f}")
            return
        self._say(f"{reason}{' Learning rate too small.' if self._lower_rate else ''} Stopping.")
        self.record.stopped = self.model.stop_training = True

    def _say(self, line: str) -> None:
        if self._verbose:
            say(line)
