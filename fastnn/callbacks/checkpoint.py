"""Callbacks that write the model to files."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from fastnn._settings import count, flag, number
from fastnn._terminal import say
from fastnn.callbacks._logs import number_of
from fastnn.callbacks.base import Callback, Logs
from fastnn.callbacks.monitor import Monitor


def _frequency(save_freq: Any) -> int | None:
    """Batches between two files; None for a file after each epoch."""
    if isinstance(save_freq, str):
        if save_freq != "epoch":
            raise ValueError(f"save_freq must be 'epoch' or a number of batches, got {save_freq!r}")
        return None
    return count("save_freq", save_freq, 1)


class _Counter:
    """Says when so many batches have gone by, over the ends of epochs."""

    def __init__(self, every: int) -> None:
        self.every, self.seen, self.last = every, 0, -1

    def due(self, batch: int) -> bool:
        self.seen += batch + 1 if batch <= self.last else batch - self.last
        self.last = batch
        if self.seen < self.every:
            return False
        self.seen = 0
        return True


class ModelCheckpoint(Monitor):
    """Writes the model, or its weights, to a file after each epoch or after so many batches.

    Parameters
    ----------
    filepath : path-like
        May hold ``{epoch}``, ``{batch}`` and the keys of the logs, with formats, as
        ``"{epoch:02d}-{val_loss:.3f}.fastnn"``; of a log with a value for each class, their mean. Folders that do
        not exist are made. :func:`fastnn.load_model` reads the files.
    monitor : str, default "val_loss"
        For `save_best_only`.
    verbose : {0, 1}, default 0
    save_best_only : bool, default False
        Write only what is better than what was written before; NaN never is.
    save_weights_only : bool, default False
        Write no optimizer state; :meth:`fastnn.Sequential.load_weights` reads the file.
    mode : {"auto", "min", "max"}, default "auto"
    save_freq : "epoch" or int, default "epoch"
        A number of batches makes ``fit`` run batch by batch.
    initial_value_threshold : float, optional
        With `save_best_only`, what the first file must be better than.

    Examples
    --------
    >>> keeper = ModelCheckpoint("best.fastnn", save_best_only=True)
    """

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
        self.filepath, self.verbose = os.fspath(filepath), verbose
        self.save_best_only = flag("save_best_only", save_best_only)
        self.save_weights_only = flag("save_weights_only", save_weights_only)
        self.save_freq = save_freq
        if initial_value_threshold is not None:
            self.best = number("initial_value_threshold", initial_value_threshold, -math.inf)
        self._epoch = 0
        every = _frequency(save_freq)
        if every is None:
            return
        counter = _Counter(every)

        def on_train_batch_end(batch: int, logs: Logs | None = None) -> None:
            if counter.due(batch):
                self._save(self._epoch, batch, logs)

        self.on_train_batch_end = on_train_batch_end  # type: ignore[method-assign]  # else epochs run in one call

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Note the epoch."""
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the file."""
        if self.save_freq == "epoch":
            self._save(epoch, None, logs)

    def _path(self, epoch: int, batch: int | None, logs: Logs) -> Path:
        fields: Logs = {"epoch": epoch + 1} | ({} if batch is None else {"batch": batch + 1})
        fields |= {key: number_of(value) if np.ndim(value) else value for key, value in logs.items()}
        try:
            return Path(self.filepath.format(**fields))
        except KeyError as error:
            raise KeyError(
                f"filepath {self.filepath!r} names {error}, which is not in the logs; there are {', '.join(fields)}"
            ) from None

    def _save(self, epoch: int, batch: int | None, logs: Logs | None) -> None:
        path = self._path(epoch, batch, logs or {})
        if not self._wanted(epoch, path, logs or {}):
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
        if current is None:  # as in Keras: better saved than lost
            return True
        was = "None" if self.best is None else f"{self.best:.5f}"
        better = self.better(current, self.best)
        if self.verbose > 0:
            change = f"improved from {was} to {current:.5f}, saving model to {path}"
            say(f"\nEpoch {epoch + 1}: {self.monitor} {change if better else f'did not improve from {was}'}")
        self.best = current if better else self.best
        return better


class BackupAndRestore(Callback):
    """Lets a training that was killed go on where it was, when the same ``fit`` is called again.

    After each epoch the whole state (weights, optimizer, position in the random numbers) is written to a file,
    atomically; a new ``fit`` begins with the epoch after it and gives the bits that the training would have given.
    State of other callbacks, as the patience of :class:`EarlyStopping`, begins anew, as in Keras.

    Parameters
    ----------
    backup_dir : path-like
        A folder for this training alone; it is made where it does not exist.
    save_freq : "epoch" or int, default "epoch"
        A number of batches writes files within epochs too, and makes ``fit`` run batch by batch; a training restored
        within an epoch begins the epoch anew, with the weights it had.
    double_checkpoint : bool, default False
        Keep the file before the last as well, and take it where the last is damaged.
    delete_checkpoint : bool, default True
        Remove the files once the training has ended.

    Examples
    --------
    >>> keeper = BackupAndRestore("backup")
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        if not os.fspath(backup_dir):
            raise ValueError("backup_dir must name a folder, got an empty string")
        self.backup_dir = Path(backup_dir)
        self.double_checkpoint = flag("double_checkpoint", double_checkpoint)
        self.delete_checkpoint = flag("delete_checkpoint", delete_checkpoint)
        self._epoch = self._number = 0
        every = _frequency(save_freq)
        if every is None:
            return
        counter = _Counter(every)

        def on_train_batch_end(batch: int, logs: Logs | None = None) -> None:
            if counter.due(batch):
                self._save()

        self.on_train_batch_end = on_train_batch_end  # type: ignore[method-assign]  # else epochs run in one call

    def _files(self) -> list[tuple[int, int, Path]]:
        """Number, epoch and path of each file, the newest first."""
        found = []
        for path in self.backup_dir.glob("backup-*.fastnn"):
            match = re.fullmatch(r"backup-(\d+)-epoch-(\d+)\.fastnn", path.name)
            if match:
                found.append((int(match[1]), int(match[2]), path))
        return sorted(found, reverse=True)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Restore the state of a training that was killed."""
        from fastnn import saving

        files = self._files()
        for written, epoch, path in files:
            try:
                saving.restore(self.model, path)
            except saving.ModelFileError:
                if path == files[-1][2]:
                    raise
                continue
            self._number, self._epoch = written, epoch
            self.model._initial_epoch = epoch
            return

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the state."""
        self._epoch = epoch + 1
        self._save()

    def _save(self) -> None:
        self.backup_dir.mkdir(parents=True, exist_ok=True)
        self._number += 1
        self.model.save(self.backup_dir / f"backup-{self._number:06d}-epoch-{self._epoch:06d}.fastnn")
        for _, _, old in self._files()[2 if self.double_checkpoint else 1 :]:
            old.unlink(missing_ok=True)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Remove the files, and the folder where nothing else is in it."""
        if not self.delete_checkpoint:
            return
        for _, _, path in self._files():
            path.unlink(missing_ok=True)
        if self.backup_dir.is_dir() and not any(self.backup_dir.iterdir()):
            self.backup_dir.rmdir()
