"""What ``fit``, ``evaluate`` and ``predict`` print."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastnn._terminal import printable, say


def format_logs(logs: Mapping[str, float]) -> str:
    """``accuracy: 0.9712 - loss: 0.1034``."""
    return " - ".join(
        f"{printable(key)}: {np.round(value, 4)}"  # a metric with several values
        if np.ndim(value)
        else f"{printable(key)}: {value:.4f}"
        if abs(value) > 1e-3
        else f"{printable(key)}: {value:.4e}"
        for key, value in logs.items()
    )


class Reporter:
    """Prints a bar (verbose 1), a line an epoch (2) or nothing (0).

    Parameters
    ----------
    verbose : {0, 1, 2}
    steps : int or None
        Of an epoch; None where only its end will tell.

    Attributes
    ----------
    done : int
        Steps of this epoch so far.
    """

    def __init__(self, verbose: int, steps: int | None) -> None:
        self.verbose, self.steps = verbose, steps
        self.done = 0
        self._bar: Any = None
        self._started = 0.0

    def begin(self, title: str) -> None:
        """Open the bar of an epoch."""
        self._started, self.done = time.perf_counter(), 0
        if self.verbose == 1:
            from tqdm import tqdm

            self._bar = tqdm(
                total=self.steps, desc=title, unit="step", file=sys.stdout, dynamic_ncols=True, mininterval=0.05
            )
        elif self.verbose == 2:
            say(title)

    def update(self, steps_done: int, means: Mapping[str, float]) -> None:
        """Move the bar to this step, with the means so far."""
        self.done = steps_done
        if self._bar is not None:
            self._bar.set_postfix_str(format_logs(means), refresh=False)
            self._bar.update(steps_done - self._bar.n)

    def end(self, logs: Mapping[str, float]) -> None:
        """Close the bar with the final logs, or print the line of the epoch."""
        if self._bar is not None:
            self._bar.set_postfix_str(format_logs(logs), refresh=False)
            self._bar.update(self.done - self._bar.n)
            self.close()
        elif self.verbose == 2:
            seconds = time.perf_counter() - self._started
            each = f"{1e3 * seconds / max(self.done, 1):.3g}ms/step"
            figures = (f"{self.done}/{self.steps or self.done}", f"{seconds:.3g}s", each, format_logs(logs))
            say(" - ".join(filter(None, figures)))

    def close(self) -> None:
        """Leave the bar as it stands, if it is still open."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
