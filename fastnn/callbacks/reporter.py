"""What ``fit``, ``evaluate`` and ``predict`` print."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastnn._terminal import printable, say
from fastnn.callbacks._screens import Screen, screen

INTERVAL = 0.1  # seconds before the first state of an epoch is shown, and between two states
# Epochs of fewer than SHORT seconds share one bar, once they have had lines for so many seconds, or so many lines.
SHORT, FIRST_SECONDS, FIRST_LINES = 0.25, 1.0, 100


def format_log(key: str, value: Any) -> str:
    """Return ``accuracy: 0.9712``; for a metric with several values ``f1_score: [0.5000 0.2500]``."""
    if np.ndim(value):
        return f"{printable(key)}: [{' '.join(f'{one:.4f}' for one in np.ravel(value))}]"
    return f"{printable(key)}: {value:.4f}" if abs(value) > 1e-3 else f"{printable(key)}: {value:.4e}"


def format_logs(logs: Mapping[str, Any]) -> str:
    """Return ``accuracy: 0.9712 - loss: 0.1034``."""
    return " - ".join(_figures(logs))


def format_duration(seconds: float) -> str:
    """Return ``411us``, ``8.22ms``, ``12.3s``, ``3min 5s``, ``1h 2min``: three digits, or two units."""
    for factor, unit in ((1e6, "us"), (1e3, "ms")):
        if 0 < factor * seconds < 999.5:  # a number that would be rounded to 1000 is given in the next unit
            return f"{factor * seconds:.3g}{unit}"
    if seconds < 60:
        return f"{seconds:.3g}s"
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}min" if hours else f"{minutes}min {left}s"


def _figures(logs: Mapping[str, Any]) -> list[str]:
    return [format_log(key, value) for key, value in logs.items()]


def _whole(seconds: float) -> str:
    return format_duration(round(seconds))


class Reporter:
    """Shows a bar and then a line (verbose 1), a line an epoch (2) or nothing (0).

    Parameters
    ----------
    verbose : {0, 1, 2}
    steps : int or None
        The steps of an epoch; None where they are not known before its end.

    Attributes
    ----------
    done : int
        The steps of this epoch so far.
    """

    def __init__(self, verbose: int, steps: int | None) -> None:
        self.verbose, self.steps = verbose, steps
        self.done = 0
        self._title = ""
        self._screen: Screen | None = None
        self._started = self._shown = 0.0

    @property
    def live(self) -> bool:
        """Whether standard output has a place for a bar that moves."""
        return self._screen is not None

    def begin(self, title: str) -> None:
        """Begin an epoch, or another run of steps."""
        self._title, self.done = title, 0
        self._started = self._shown = time.perf_counter()
        self._screen = screen() if self.verbose == 1 else None
        if self.verbose == 2:
            say(title)

    def update(self, steps_done: int, means: Callable[[], Mapping[str, Any]]) -> None:
        """Move the bar to this step, with the means so far, where the state shown is older than INTERVAL."""
        self.done = steps_done
        now = time.perf_counter()
        if self._screen is not None and now - self._shown >= INTERVAL:
            self._shown = now
            self._screen.show(*self._state(now, means()))

    def _state(self, now: float, means: Mapping[str, Any]) -> tuple[str, float | None, list[str]]:
        """Return the title, the share that is done, and the figures."""
        share = None if not self.steps else min(self.done / self.steps, 1.0)
        return f"{self._title}: {self.done}/{self.steps or '?'}", share, [_whole(now - self._started), *_figures(means)]

    def end(self, logs: Mapping[str, Any]) -> None:
        """Print the line with the final logs in the place of the bar."""
        if not self.verbose:
            return
        line = self._line(logs)
        if self._screen is None:
            say(line)
        else:
            self._screen.final(line)
        self._screen = None

    def _line(self, logs: Mapping[str, Any]) -> str:
        """Return the line that stays of an epoch."""
        seconds = time.perf_counter() - self._started
        each = f"{format_duration(seconds / max(self.done, 1))}/step"
        figures = (f"{self.done}/{self.steps or self.done}", format_duration(seconds), each, format_logs(logs))
        line = " - ".join(filter(None, figures))
        return line if self.verbose == 2 else f"{self._title}: {line}"

    def close(self) -> None:
        """Leave the bar as it stands, where an error has ended the epoch."""
        if self._screen is not None:
            self._screen.leave()
            self._screen = None


class EpochReporter(Reporter):
    """The reporter of a training: a bar and a line for each epoch, then one bar for all the short epochs that are left.

    Without a place for a bar that moves, as in a file, each epoch has its line, however many there are.

    Parameters
    ----------
    verbose, steps
        See :class:`Reporter`.
    epochs : int
        The number of the last epoch.
    """

    def __init__(self, verbose: int, steps: int | None, epochs: int) -> None:
        super().__init__(verbose, steps)
        self._epochs, self._epoch, self._lines = epochs, 0, 0
        self._first, self._from = 0.0, 0  # when the first epoch began, and its number
        self._together = self._runs = False  # whether epochs share a bar; whether one of them runs
        self._logs: Mapping[str, Any] = {}
        self._latest = ""  # the logs and the line of the last epoch that has ended, in whose place the shared bar is

    def begin_epoch(self, epoch: int) -> None:
        """Begin an epoch, counted from 0."""
        self._epoch, self._runs = epoch, True
        title = f"Epoch {epoch + 1}/{self._epochs}"
        if self._together:
            self._title, self.done, self._started = title, 0, time.perf_counter()
            return
        self.begin(title)
        if not self._lines:
            self._first, self._from = self._started, epoch
        seconds = self._started - self._first
        late = seconds >= FIRST_SECONDS or self._lines >= FIRST_LINES
        self._together = late and self.live and seconds < SHORT * self._lines

    def _state(self, now: float, means: Mapping[str, Any]) -> tuple[str, float | None, list[str]]:
        if not self._together:
            return super()._state(now, means)
        begun = self._epoch + (min(self.done / self.steps, 1.0) if self.steps else 0.0)
        epochs, seconds = begun - self._from, now - self._first
        left = (self._epochs - begun) * seconds / epochs if epochs else 0.0
        figures = _figures({**self._logs, **means})  # those of a validation stay until the next one
        return self._title, begun / self._epochs, [_whole(seconds), f"{_whole(left)} left", *figures]

    def end(self, logs: Mapping[str, Any]) -> None:
        """Print the epoch's line, or move the bar that it shares."""
        self._runs, self._lines = False, self._lines + 1
        if not self._together or self._screen is None:
            super().end(logs)
            return
        self._latest, self._logs = self._line(logs), logs
        now = time.perf_counter()
        if now - self._shown >= INTERVAL:
            self._shown = now
            self._screen.show(*self._state(now, logs))

    def close(self) -> None:
        """Leave the line of the last epoch in the place of the shared bar; where an error has ended it, the bar."""
        if self._screen is not None and self._latest and not self._runs:
            self._screen.final(self._latest)
            self._screen = None
        super().close()
