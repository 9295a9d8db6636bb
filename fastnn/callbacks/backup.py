"""The backup of a training: a model file, and beside it a file that says where the run was."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import _file, _ranks
from fastnn._file import ModelFileError
from fastnn._foreign import path_of
from fastnn._model import Run
from fastnn._settings import flag
from fastnn.callbacks.base import Callback, Logs
from fastnn.callbacks.checkpoint import _Counter, _frequency

_ARRAY = "__array__"  # the key under which JSON names an array of the file


def _parts_of(state: dict[str, Any]) -> list[Any]:
    """Return the bytes of a file that holds JSON's types and arrays of floating-point numbers."""
    arrays: dict[str, npt.NDArray[Any]] = {}

    def other(value: Any) -> Any:
        if isinstance(value, np.generic):
            return value.item()
        if not isinstance(value, np.ndarray) or value.dtype.name not in _file.DTYPES:
            given = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
            known = " and ".join(_file.DTYPES)
            raise TypeError(f"the state of a callback may hold numbers, strings and arrays of {known}, got {given}")
        name = str(len(arrays))
        arrays[name] = value
        return {_ARRAY: name}

    text = json.dumps(state, default=other)  # made first, as this finds the arrays
    return _file.parts({"state": text}, arrays)


def _read_state(path: Path) -> dict[str, Any]:
    """Return the state in a file of :func:`_parts_of`; raise ModelFileError where it is damaged or missing."""

    def restored(value: Any) -> Any:
        if isinstance(value, list):
            return [restored(one) for one in value]
        if not isinstance(value, dict):
            return value
        return arrays[value[_ARRAY]].copy() if set(value) == {_ARRAY} else {k: restored(v) for k, v in value.items()}

    try:
        metadata, arrays = _file.read(path)
        with _file.one_exception(str(path)):
            state: dict[str, Any] = restored(_file.parse_json(metadata["state"].encode(), "its state", finite=False))
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error}") from error
    return state


class BackupAndRestore(Callback):
    """Lets a training that was killed go on where it was, when the same ``fit`` is called again.

    After each epoch the whole state is written to two files, atomically: weights, optimizer, the place in the data and
    in the random numbers, and what the other callbacks know, such as the patience of :class:`EarlyStopping`. A new
    ``fit`` begins with the epoch after the backup, and gives the bits that the training would have given.

    Parameters
    ----------
    backup_dir : path-like
        A folder for this training alone; it is made where it does not exist.
    save_freq : "epoch" or int, default "epoch"
        A number of batches writes files within epochs too, and makes ``fit`` run batch by batch; a training restored
        within an epoch goes on with its next batch.
    double_checkpoint : bool, default False
        Whether to keep the files before the last ones as well, and to use these where the last ones are damaged.
    delete_checkpoint : bool, default True
        Whether to remove the files once the training has ended.

    Notes
    -----
    The callback is called after all others, wherever it stands in the list. It saves the state of a callback of one's
    own that has ``get_state`` and ``set_state``. Where several ranks train together, rank 0 writes the files and every
    rank reads them: all need the callback, and a folder on a disk that all see. A generator must be a new one, and is
    read up to where the training was. L-BFGS, which forgets its past steps, and sources of data with random numbers of
    their own are not restored to the bit.

    Examples
    --------
    >>> keeper = BackupAndRestore("backup")
    """

    _comes_last = _writes = _of_all_ranks = True

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        self.backup_dir = Path(path_of(backup_dir, "backup_dir", "a folder"))
        self.double_checkpoint = flag("double_checkpoint", double_checkpoint)
        self.delete_checkpoint = flag("delete_checkpoint", delete_checkpoint)
        self._number = 0  # the number of the last backup
        self._within: tuple[Path, dict[str, Any]] | None = None  # the state from which an interrupted epoch is to go on
        self._counter = counter = _Counter(_frequency(save_freq))
        if counter.every is None:
            return

        def on_train_batch_end(batch: int, logs: Logs | None = None) -> None:
            if counter.due(batch):
                self._save()

        self.on_train_batch_end = on_train_batch_end  # type: ignore[method-assign]  # else epochs run in one call

    def get_state(self) -> dict[str, Any]:
        """Return the number of batches since the last files."""
        return self._counter.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on counting batches."""
        self._counter.set_state(state)

    def _files(self) -> dict[int, list[Path]]:
        """Return the files of each backup by its number, the newest first."""
        found: dict[int, list[Path]] = {}
        for path in self.backup_dir.glob("backup-*"):
            match = re.fullmatch(r"backup-(\d+)-epoch-\d+\.(fastnn|state)", path.name)
            if match:
                found.setdefault(int(match[1]), []).append(path)
        return dict(sorted(found.items(), reverse=True))

    def _backups(self) -> list[tuple[int, Path]]:
        """Return the number and the model file of each backup, the newest first."""
        return [(k, path) for k, paths in self._files().items() for path in paths if path.suffix == ".fastnn"]

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Restore the state of a training that was killed."""
        self._counter.reset()
        self._within = None
        backups = self._backups()
        self._number = max(self._files(), default=0)
        for _, path in backups:
            try:
                state = _read_state(path.with_suffix(".state"))
                self.model._restore(path)
            except ModelFileError:
                if path == backups[-1][1]:
                    raise
                continue
            self._run().resume(state)
            self._within = (path, state) if state["totals"] else None
            return
        if self._writes_here():
            self.backup_dir.mkdir(parents=True, exist_ok=True)
        _parts_of(self._run().state())  # a state that cannot be written raises here, before the first epoch

    @staticmethod
    def _writes_here() -> bool:
        """Return whether this process writes the files: of several ranks, which all make the state, rank 0 does."""
        return _ranks.current().rank == 0

    def _run(self) -> Run:
        if self.model._run is None:
            raise RuntimeError("BackupAndRestore backs up a fit: its hooks cannot be called outside one")
        return self.model._run

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Undo what hooks did when the interrupted epoch began, such as setting a new learning rate."""
        if self._within:
            path, state = self._within
            self.model._restore(path)
            self._run().resume_callbacks(state)
        self._within = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the state."""
        self._save()

    def _save(self) -> None:
        state = self._run().state()
        if not self._writes_here():
            return
        self._number += 1
        path = self.backup_dir / f"backup-{self._number:06d}-epoch-{state['epoch']:06d}.fastnn"
        _file.write(path.with_suffix(".state"), lambda: _parts_of(state))
        self.model.save(path)  # written last: a model file says that its backup is whole
        kept = [number for number, _ in self._backups()][: 2 if self.double_checkpoint else 1]
        self._remove(kept)

    def _remove(self, kept: list[int]) -> None:
        """Remove the files of other backups; the model file first, as without it the other file is no backup."""
        for number, paths in self._files().items():
            for path in sorted(paths):
                if number not in kept:
                    path.unlink(missing_ok=True)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Remove the files, and the folder where nothing else is in it."""
        if not self.delete_checkpoint or not self._writes_here():
            return
        self._remove([])
        _file.remove_leftovers(self.backup_dir)
        if self.backup_dir.is_dir() and not any(self.backup_dir.iterdir()):
            self.backup_dir.rmdir()
