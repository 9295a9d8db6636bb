"""Callbacks that write the model to files."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np

from fastnn._foreign import check_suffix, path_of
from fastnn._model import Model
from fastnn._registry import nearest_names
from fastnn._settings import count, flag, number
from fastnn._terminal import say
from fastnn.callbacks._logs import number_of
from fastnn.callbacks.base import Logs
from fastnn.callbacks.monitor import Monitor


def _frequency(save_freq: Any) -> int | None:
    """Return the number of batches between two files; None for a file after each epoch."""
    if isinstance(save_freq, str):
        if save_freq != "epoch":
            raise ValueError(f"save_freq must be 'epoch' or a number of batches, got {save_freq!r}")
        return None
    return count("save_freq", save_freq, 1)


class _Counter:
    """Says when `every` batches have gone by, across the ends of epochs; never where `every` is None."""

    def __init__(self, every: int | None) -> None:
        self.every = every
        self.reset()

    def reset(self) -> None:
        self.seen, self.last = 0, -1

    def due(self, batch: int) -> bool:
        self.seen += batch + 1 if batch <= self.last else batch - self.last
        self.last = batch
        if self.every is None or self.seen < self.every:
            return False
        self.seen = 0
        return True

    def get_state(self) -> dict[str, Any]:
        return {"seen": self.seen, "last": self.last}

    def set_state(self, state: dict[str, Any]) -> None:
        self.seen, self.last = state["seen"], state["last"]


class ModelCheckpoint(Monitor):
    """Writes the model, or its weights, to a file after each epoch or after so many batches.

    Parameters
    ----------
    filepath : path-like
        The path may hold ``{epoch}``, ``{batch}`` and the keys of the logs, with formats, as
        ``"{epoch:02d}-{val_loss:.3f}.fastnn"``; a log with a value for each class gives their mean. Missing folders are
        made. :func:`fastnn.load_model` reads the files.
    monitor : str, default "val_loss"
        The log that `save_best_only` compares. After an epoch without a validation (``validation_freq``) no file is
        written where this or `filepath` names a log of a validation.
    verbose : {0, 1}, default 0
    save_best_only : bool, default False
        Whether to write only what is better than everything written before; NaN never is.
    save_weights_only : bool, default False
        Whether to leave out the optimizer state; :meth:`fastnn.Sequential.load_weights` reads the file.
    mode : {"auto", "min", "max"}, default "auto"
    save_freq : "epoch" or int, default "epoch"
        When to write: after each epoch, or after every so many batches, which makes ``fit`` run batch by batch.
    initial_value_threshold : float, optional
        With `save_best_only`, the value that the first file must improve on.

    Examples
    --------
    >>> keeper = ModelCheckpoint("best.fastnn", save_best_only=True)
    """

    _writes = first_rank_only = True

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        check_suffix(filepath)
        self.filepath, self.verbose = path_of(filepath), verbose
        self.save_best_only = flag("save_best_only", save_best_only)
        self.save_weights_only = flag("save_weights_only", save_weights_only)
        self.save_freq = save_freq
        if initial_value_threshold is not None:
            self.best = number("initial_value_threshold", initial_value_threshold, -math.inf)
        self._epoch = 0
        self._counter = counter = _Counter(_frequency(save_freq))
        if counter.every is None:
            return

        def on_train_batch_end(batch: int, logs: Logs | None = None) -> None:
            if counter.due(batch):
                self._save(self._epoch, batch, logs)

        self.on_train_batch_end = on_train_batch_end  # type: ignore[method-assign]  # else epochs run in one call

    def _check_logs(self, model: Model, of_epochs: Sequence[str], of_batches: Sequence[str]) -> None:
        """Raise where the path needs a log that will not be there, or the log to compare does not fit."""
        if self.save_freq == "epoch":
            self._path(0, None, dict.fromkeys(of_epochs, 0.5))
        else:
            self._path(0, 0, dict.fromkeys(of_batches, 0.5))
        if self.save_best_only:
            super()._check_logs(model, of_epochs if self.save_freq == "epoch" else of_batches, of_batches)

    def get_state(self) -> dict[str, Any]:
        """Return what was best, and the number of batches since the last file."""
        return {"best": self.best, **self._counter.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on comparing, and counting batches."""
        self.best = state["best"]
        self._counter.set_state(state)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Note the epoch."""
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the file, where it is due."""
        if self.save_freq == "epoch":
            self._save(epoch, None, logs)

    def _between_validations(self, logs: Logs) -> bool:
        """Return whether these are an epoch's logs without a validation; logs of batches never are."""
        return self.save_freq == "epoch" and super()._between_validations(logs)

    def _names_a_validation(self) -> bool:
        """Return whether the path has a field for a log of a validation."""
        return any((field or "").startswith("val_") for _, field, _, _ in Formatter().parse(self.filepath))

    def _path(self, epoch: int, batch: int | None, logs: Logs) -> Path:
        fields: Logs = {"epoch": epoch + 1} | ({} if batch is None else {"batch": batch + 1})
        fields |= {key: number_of(value) if np.ndim(value) else value for key, value in logs.items()}
        try:
            return Path(self.filepath.format(**fields))
        except KeyError as error:
            near = nearest_names(str(error.args[0]), list(fields))
            raise KeyError(f"filepath {self.filepath!r} names {error}, which is not in the logs; {near}") from None
        except (ValueError, IndexError, AttributeError, TypeError) as error:
            raise ValueError(
                f"filepath {self.filepath!r} must hold names of logs in braces, as {{epoch:02d}}: {error}"
            ) from None

    def _save(self, epoch: int, batch: int | None, logs: Logs | None) -> None:
        logs = logs or {}
        if self._names_a_validation() and self._between_validations(logs):
            return
        path = self._path(epoch, batch, logs)
        if not self._wanted(epoch, path, logs):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        (self.model.save_weights if self.save_weights_only else self.model.save)(path)
        if self.verbose > 0:
            say(f"\nEpoch {epoch + 1}: finished saving model to {path}")

    def _wanted(self, epoch: int, path: Path, logs: Logs) -> bool:
        if not self.save_best_only:
            if self.verbose > 0:
                say(f"\nEpoch {epoch + 1}: saving model to {path}")
            return True
        current = self.value(logs)
        if current is None:  # as in Keras, better saved than lost, but not over a file that a validation found better
            return not self._waits_for_validation(logs)
        was = "None" if self.best is None else f"{self.best:.5f}"
        better = self.better(current, self.best)
        if self.verbose > 0:
            change = f"improved from {was} to {current:.5f}, saving model to {path}"
            say(f"\nEpoch {epoch + 1}: {self.monitor} {change if better else f'did not improve from {was}'}")
        self.best = current if better else self.best
        return better
