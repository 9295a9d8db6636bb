"""What ``fit``, ``evaluate`` and ``predict`` print."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastnn._terminal import printable, say
from fastnn.callbacks._screens import Screen, screen

INTERVAL = 0.1  # seconds before the first state of an epoch is shown, and between two states


def format_log(key: str, value: Any) -> str:
    """Return ``accuracy: 0.9712``; for a metric with several values ``f1_score: [0.5000 0.2500]``."""
    if np.ndim(value):
        return f"{printable(key)}: [{' '.join(f'{one:.4f}' for one in np.ravel(value))}]"
    return f"{printable(key)}: {value:.4f}" if abs(value) > 1e-3 else f"{printable(key)}: {value:.4e}"


def format_logs(logs: Mapping[str, Any]) -> str:
    """Return ``accuracy: 0.9712 - loss: 0.1034``."""
    return " - ".join(format_log(key, value) for key, value in logs.items())


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
            share = None if not self.steps else min(steps_done / self.steps, 1.0)
            seconds = round(now - self._started)
            parts = [format_duration(seconds), *(format_log(key, value) for key, value in means().items())]
            self._screen.show(f"{self._title}: {steps_done}/{self.steps or '?'}", share, parts)

    def end(self, logs: Mapping[str, Any]) -> None:
        """Print the line with the final logs in the place of the bar."""
        if not self.verbose:
            return
        seconds = time.perf_counter() - self._started
        each = f"{format_duration(seconds / max(self.done, 1))}/step"
        figures = (f"{self.done}/{self.steps or self.done}", format_duration(seconds), each, format_logs(logs))
        line = " - ".join(filter(None, figures))
        line = line if self.verbose == 2 else f"{self._title}: {line}"
        if self._screen is None:
            say(line)
        else:
            self._screen.final(line)
        self._screen = None

    def close(self) -> None:
        """Leave the bar as it stands, where an error has ended the epoch."""
        if self._screen is not None:
            self._screen.leave()
            self._screen = None
