"""Callbacks that write the logs to a file or to another tool."""

from __future__ import annotations

import csv
import os
import secrets
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from fastnn._foreign import path_of
from fastnn._settings import count, flag
from fastnn.callbacks._logs import plain, scalars
from fastnn.callbacks.base import Callback, Logs


class CSVLogger(Callback):
    """Writes the logs of each epoch as a line of a CSV file; a value for each class is one cell, ``[0.5, 0.25]``.

    Parameters
    ----------
    filename : path-like
    separator : str, default ","
        One character, which stands between cells.
    append : bool, default False
        Whether to go on at the end of an existing file, without a second header, instead of replacing it.

    Examples
    --------
    >>> logger = CSVLogger("training.csv")
    """

    _reads_state = False
    _writes = first_rank_only = True

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        if not isinstance(separator, str) or len(separator) != 1:
            raise ValueError(f"separator must be one character, got {separator!r}")
        self.filename = Path(path_of(filename, "filename"))
        self.separator, self.append = separator, flag("append", append)
        self.keys: list[str] | None = None
        self._begins = False  # whether the file is to be emptied before the next line

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Prepare to start the file anew; a training that is resumed keeps the file, which must be writable."""
        self.keys, self._begins = None, not self.append
        with self.filename.open("a", encoding="utf-8"):
            pass

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Empty the file before the first line, unless lines are appended or the training is resumed."""
        self._start()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Empty the file likewise where there was no epoch."""
        self._start()

    def _start(self) -> None:
        if self._begins:
            self.filename.write_text("", encoding="utf-8")
        self._begins = False

    def get_state(self) -> dict[str, Any]:
        """Return the columns, and the length of the file."""
        return {"keys": self.keys, "size": self.filename.stat().st_size if self.filename.exists() else 0}

    def set_state(self, state: dict[str, Any]) -> None:
        """Cut the file after the lines of the epochs that are not trained anew."""
        self.keys, self._begins = state["keys"], False
        if self.filename.exists() and self.filename.stat().st_size > state["size"]:
            os.truncate(self.filename, state["size"])

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write a line; its columns are the first epoch's logs, and ``val_`` columns if it had no validation."""
        logs = logs or {}
        if self.keys is None:
            self.keys = sorted(logs)
            if not any(key.startswith("val_") for key in self.keys):
                self.keys += [f"val_{key}" for key in self.keys]
        with self.filename.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=self.separator)
            if file.tell() == 0:
                writer.writerow(["epoch", *self.keys])
            writer.writerow([epoch, *(plain(logs.get(key, "NA")) for key in self.keys)])


class TensorBoard(Callback):
    """Writes the logs for TensorBoard: epochs under ``train`` and ``validation`` in the folder.

    It needs tensorboardX, or the writer of PyTorch: ``pip install 'fastnn-cpu[tensorboard]'``.

    Parameters
    ----------
    log_dir : path-like, default "logs"
    histogram_freq : int, default 0
        Write a histogram of each parameter after every `histogram_freq` epochs; 0: never.
    write_steps_per_second : bool, default False
    update_freq : {"epoch", "batch"} or int, default "epoch"
        ``"batch"``, or a number of batches, also writes loss and metrics that often; ``fit`` then runs batch by batch.

    Notes
    -----
    Names of scalars are Keras's: ``epoch_loss``, ``batch_loss``, ``epoch_learning_rate``; a metric with a value for
    each class becomes ``epoch_f1_score_0``, ``epoch_f1_score_1`` and so on. Each ``fit`` writes files of its own.
    Graphs, images, embeddings and profiles, which Keras's callback writes as well, are not written.

    Examples
    --------
    >>> board = TensorBoard("logs/first")  # doctest: +SKIP
    """

    _reads_state = False
    _writes = first_rank_only = True

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
    ) -> None:
        self.log_dir = Path(path_of(log_dir, "log_dir", "a folder"))
        self.histogram_freq = count("histogram_freq", histogram_freq, 0)
        self.write_steps_per_second = flag("write_steps_per_second", write_steps_per_second)
        if isinstance(update_freq, str) and update_freq not in ("epoch", "batch"):
            raise ValueError(f"update_freq must be 'epoch', 'batch' or a number of batches, got {update_freq!r}")
        self._writer_class = _summary_writer()
        self._writers: dict[str, Any] = {}
        self._batches, self._started, self._steps = 0, 0.0, 0
        if update_freq == "epoch":
            return
        every = 1 if isinstance(update_freq, str) else count("update_freq", update_freq, 1)

        def on_train_batch_end(batch: int, logs: Logs | None = None) -> None:
            self._batches += 1
            if self._batches % every == 0:
                self._scalars("train", "batch", logs or {}, self._batches - 1)

        self.on_train_batch_end = on_train_batch_end  # type: ignore[method-assign]  # else epochs run in one call

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Count batches from the first one."""
        self._batches = 0

    def get_state(self) -> dict[str, Any]:
        """Return the number of batches so far."""
        return {"batches": self._batches}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on counting batches from the saved number; files are new ones."""
        self._batches = state["batches"]

    def _writer(self, kind: str) -> Any:
        if kind not in self._writers:
            # Writers name a file after the second and the host: another file of that second would overwrite it.
            suffix = f".{secrets.token_hex(8)}"
            self._writers[kind] = self._writer_class(str(self.log_dir / kind), filename_suffix=suffix)
        return self._writers[kind]

    def _scalars(self, kind: str, prefix: str, values: Logs, step: int) -> None:
        for name, value in scalars(values):
            self._writer(kind).add_scalar(f"{prefix}_{name}", value, step)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Note the time at which the epoch starts."""
        self._started, self._steps = time.perf_counter(), self._iterations()

    def _iterations(self) -> int:
        engine = self.model._engine
        return 0 if engine is None else int(engine.iterations)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the scalars, and the histograms where they are due."""
        logs = logs or {}
        train = {key: value for key, value in logs.items() if not key.startswith("val_")}
        rate = getattr(self.model.optimizer, "learning_rate", None)  # L-BFGS has no learning rate
        if rate is not None:
            train["learning_rate"] = float(rate)
        if self.write_steps_per_second:
            train["steps_per_second"] = (self._iterations() - self._steps) / (time.perf_counter() - self._started)
        self._scalars("train", "epoch", train, epoch)
        held = {key.removeprefix("val_"): value for key, value in logs.items() if key.startswith("val_")}
        self._scalars("validation", "epoch", held, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for (layer, name), view in self.model._home.views.items():
                self._writer("train").add_histogram(f"{layer}/{name}/histogram", view.copy(), epoch)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the files."""
        self._interrupted()

    def _interrupted(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}


def _summary_writer() -> Any:
    from importlib.util import find_spec

    if find_spec("tensorboardX"):
        return import_module("tensorboardX").SummaryWriter
    if find_spec("torch") and find_spec("tensorboard"):
        return import_module("torch.utils.tensorboard").SummaryWriter
    raise ImportError("TensorBoard needs a writer: pip install 'fastnn-cpu[tensorboard]', or PyTorch with tensorboard")


class MLflowLogger(Callback):
    """Writes parameters and logs to the active MLflow run, or to one that it starts and ends.

    It needs MLflow: ``pip install 'fastnn-cpu[mlflow]'``.

    Parameters
    ----------
    log_model : bool, default False
        Attach the trained model's file to the run as ``model.fastnn``.

    Examples
    --------
    >>> logger = MLflowLogger()  # doctest: +SKIP
    """

    _writes = first_rank_only = True

    def __init__(self, log_model: bool = False) -> None:
        try:
            self._mlflow: Any = import_module("mlflow")
        except ImportError:
            raise ImportError("MLflowLogger needs MLflow: pip install 'fastnn-cpu[mlflow]'") from None
        self.log_model = flag("log_model", log_model)
        self._own_run = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Write the training's parameters: the optimizer's arguments, the loss, epochs and steps."""
        self._own_run = self._mlflow.active_run() is None
        if self._own_run:
            self._mlflow.start_run()
        compiled: Any = self.model.get_compile_config()
        optimizer = compiled["optimizer"]
        parameters = {f"optimizer_{key}": value for key, value in optimizer["config"].items() if value is not None}
        self._mlflow.log_params(
            {"optimizer": optimizer["class_name"], "epochs": self.params["epochs"], "steps": self.params["steps"]}
            | {"parameters": self.model.count_params()}
            | parameters
        )

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the logs as metrics of step `epoch`; values for the classes are named ``f1_score_0`` and so on."""
        self._mlflow.log_metrics(dict(scalars(logs or {})), step=epoch)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Attach the model, and end the run where this callback started it."""
        if self.log_model:
            import tempfile

            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.fastnn"
                self.model.save(path)
                self._mlflow.log_artifact(str(path))
        if self._own_run:
            self._mlflow.end_run()
            self._own_run = False

    def _interrupted(self) -> None:
        if self._own_run:
            self._mlflow.end_run("FAILED")
            self._own_run = False
