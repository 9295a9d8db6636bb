"""The sums of a run, from which the logs follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import goals
from fastnn._ranks import ALONE, Ranks, current
from fastnn._warnings import warn
from fastnn.callbacks.base import Logs
from fastnn.callbacks.reporter import Reporter
from fastnn.data.feeds import Chunk

Array = npt.NDArray[Any]

_NO_LAYOUT, _NO_SUMS = goals.Layout([], []), np.zeros(1)


class Totals:
    """The sums of a run so far, from which the loss and the metrics follow.

    Parameters
    ----------
    ranks : Ranks, optional
        Whose rows they are sums over; default: those that this thread trains with.
    layout : Layout, optional
        How to read the sums, where that is known.
    """

    def __init__(self, ranks: Ranks | None = None, layout: goals.Layout = _NO_LAYOUT) -> None:
        self._layout, self.sums = layout, _NO_SUMS
        self.ranks = ranks or current()
        self.rows = self.steps = 0
        self.first_nonfinite = -1

    def state(self) -> dict[str, Any]:
        """Return the state that :meth:`resumed` goes on from."""
        return {
            "sums": self.ranks.parts(self.sums),
            "rows": self.rows,
            "steps": self.steps,
            "first_nonfinite": self.first_nonfinite,
        }

    @classmethod
    def resumed(cls, state: dict[str, Any], layout: goals.Layout, ranks: Ranks) -> Totals:
        """Return the totals of an interrupted epoch from their state; `layout` says how its sums are read."""
        totals = cls(ranks, layout)
        totals.sums, totals.rows = ranks.own(state["sums"]), state["rows"]
        totals.steps, totals.first_nonfinite = state["steps"], state["first_nonfinite"]
        return totals

    def read_by(self, layout: goals.Layout) -> None:
        """Say how to read later sums; where the model was compiled otherwise before, earlier sums are forgotten."""
        if layout is not self._layout:
            self._layout, self.sums, self.rows = layout, _NO_SUMS, 0

    def add(self, chunk: Chunk, sums: Array, first_nonfinite: int = -1) -> None:
        """Count what the engine returned for a chunk."""
        if self.first_nonfinite < 0 <= first_nonfinite:
            self.first_nonfinite = self.steps + first_nonfinite
        self.sums = sums if self.sums is _NO_SUMS else self.ranks.merged(self._layout, self.sums, sums)
        self.rows += chunk.rows
        self.steps += chunk.steps

    def means(self) -> Logs:
        """Return the loss and the metrics."""
        if self.ranks is ALONE:
            return self._layout.logs(self.sums, self.rows)
        return self._layout.logs(self.ranks.whole(self._layout, self.sums), self.ranks.rows(self.rows))

    def shown(self) -> Logs:
        """Return the loss and the metrics for a bar: those of the rows of this rank."""
        return self._layout.logs(*self.ranks.shown(self._layout, self.sums, self.rows))

    def watcher(self, chunk: Chunk, reporter: Reporter) -> Callable[[int, Array], None]:
        """Return a function that moves the bar while the engine runs a chunk."""

        def progress(steps_done: int, sums: Array) -> None:
            rows = self.rows + max(1, min(steps_done * chunk.batch, chunk.rows))

            def shown() -> Logs:
                so_far = sums if self.sums is _NO_SUMS else self.ranks.merged(self._layout, self.sums, sums)
                return self._layout.logs(*self.ranks.shown(self._layout, so_far, rows))

            reporter.update(self.steps + steps_done, shown)

        return progress


def warn_if_nonfinite(totals: Totals, epoch: int) -> bool:
    """Warn from which step on the loss was not finite; return whether it was not finite."""
    if totals.first_nonfinite < 0:
        return False
    warn(
        f"the loss is not finite from epoch {epoch + 1}, step {totals.first_nonfinite + 1} on: try a smaller learning "
        f"rate",
        RuntimeWarning,
    )
    return True
