"""What happens between epochs and batches."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnn.models import Sequential

Logs = dict[str, float]


class Callback:
    """Base of all callbacks: override what is of interest.

    A batch hook that is overridden makes ``fit`` run batch by batch; without one an epoch is one call into the engine.
    Set ``self.model.stop_training = True`` to end training after this epoch.

    Attributes
    ----------
    model : Sequential
    params : dict
        ``epochs``, ``steps``, ``verbose``.

    Examples
    --------
    >>> class Printer(Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         print(epoch, logs["loss"])
    """

    model: Sequential
    params: dict[str, Any]

    def set_model(self, model: Sequential) -> None:
        """Called first, with the model."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called first, with the parameters of ``fit``."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Called before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Called at the end, also when Ctrl-C or an error ended training."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Called before an epoch (counted from 0)."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Called after an epoch and its validation; `logs` holds ``loss``, the metrics and their ``val_`` twins."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a batch."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a batch; `logs` holds the means of the epoch so far."""


class History(Callback):
    """Collects the logs of each epoch; ``fit`` returns one.

    Attributes
    ----------
    epoch : list of int
    history : dict of str to list of float
    """

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Append the logs."""
        self.epoch.append(epoch)
        for key, value in (logs or {}).items():
            self.history.setdefault(key, []).append(value)


class CallbackList:
    """Calls the hooks of several callbacks in their order."""

    def __init__(self, callbacks: Iterable[Callback], model: Sequential, params: dict[str, Any]) -> None:
        self.callbacks: Sequence[Callback] = list(callbacks)
        for callback in self.callbacks:
            callback.set_model(model)
            callback.set_params(params)

    @property
    def wants_batches(self) -> bool:
        """Whether some callback overrides a batch hook."""
        hooks = ("on_train_batch_begin", "on_train_batch_end")
        return any(
            getattr(type(c), hook, None) is not getattr(Callback, hook) for c in self.callbacks for hook in hooks
        )

    def call(self, hook: str, *arguments: Any) -> None:
        """Call one hook of every callback."""
        for callback in self.callbacks:
            getattr(callback, hook)(*arguments)


def format_logs(logs: Logs) -> str:
    """``accuracy: 0.9712 - loss: 0.1034``."""
    return " - ".join(
        f"{key}: {value:.4f}" if abs(value) > 1e-3 else f"{key}: {value:.4e}" for key, value in logs.items()
    )


class Reporter:
    """What ``fit`` and ``evaluate`` print: a bar (1), a line an epoch (2) or nothing (0)."""

    def __init__(self, verbose: int, steps: int, keys: Sequence[str]) -> None:
        self.verbose, self.steps, self.keys = verbose, steps, keys
        self._bar: Any = None
        self._started = 0.0

    def begin(self, title: str) -> None:
        """Open the bar of an epoch."""
        self._started = time.perf_counter()
        if self.verbose == 1:
            from tqdm import tqdm

            self._bar = tqdm(
                total=self.steps, desc=title, unit="step", file=sys.stdout, dynamic_ncols=True, mininterval=0.05
            )
        elif self.verbose == 2:
            print(title, file=sys.stdout)  # noqa: T201 (what verbose=2 is for)

    def update(self, steps_done: int, means: Sequence[float]) -> None:
        """Move the bar to this step, with the means so far."""
        if self._bar is not None:
            self._bar.set_postfix_str(format_logs(dict(zip(self.keys, means, strict=True))), refresh=False)
            self._bar.update(steps_done - self._bar.n)

    def end(self, logs: Logs) -> None:
        """Close the bar with the final logs, or print the line of the epoch."""
        if self._bar is not None:
            self._bar.set_postfix_str(format_logs(logs), refresh=False)
            self._bar.update(self.steps - self._bar.n)
            self.close()
        elif self.verbose == 2:
            seconds = time.perf_counter() - self._started
            each = f"{1e3 * seconds / max(self.steps, 1):.3g}ms/step"
            print(f"{self.steps}/{self.steps} - {seconds:.3g}s - {each} - {format_logs(logs)}", file=sys.stdout)  # noqa: T201

    def close(self) -> None:
        """Leave the bar as it stands, if it is still open."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
