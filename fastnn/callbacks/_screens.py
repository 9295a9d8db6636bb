"""The places where a bar can be drawn again and again: a terminal, and a notebook."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Protocol

from fastnn._terminal import put, writing

_BAR = 30  # most characters
_SHORTEST = 8


class Screen(Protocol):
    """Shows the latest state in the place of the one before; the state given to `final` stays."""

    def show(self, title: str, share: float | None, parts: Sequence[str]) -> None:
        """Show a title, the share that is done (None: unknown), and figures."""

    def final(self, text: str) -> None:
        """Show the last state, as one line."""

    def leave(self) -> None:
        """Leave the last state that was shown as it is."""


def screen() -> Screen | None:
    """Return the screen of standard output; None for a file, a pipe or nothing, where each state would be a line."""
    stream = sys.stdout
    if type(stream).__module__.startswith("ipykernel"):
        return Notebook()
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except (AttributeError, OSError, ValueError):  # no stream, no terminal, or a closed stream
        return None
    if os.environ.get("TERM") == "dumb":
        return None
    return Terminal(columns or 80, lines or 24)  # a terminal that does not know its size says 0


def drawn(share: float | None, room: int) -> str:
    """Return ``[=====>....]`` of `room` characters; empty where there is too little room, or the share is unknown."""
    length = min(room - 2, _BAR)
    if share is None or length < _SHORTEST:
        return ""
    done = int(share * length)
    return f"[{('=' * done + '>')[:length].ljust(length, '.')}]"


def wrapped(parts: Sequence[str], columns: int) -> list[str]:
    """Return the parts in rows of `columns` characters; a part that is longer is cut into several rows."""
    rows = [""]
    for part in parts:
        if rows[-1] and len(rows[-1]) + 3 + len(part) <= columns:
            rows[-1] += f" - {part}"
        else:
            cut = [part[k : k + columns] for k in range(0, len(part), columns)]
            rows = (rows if rows[-1] else []) + cut
    return rows


class Terminal:
    """Rows that are overwritten; the bar gives way to figures, which get more rows where they need them."""

    def __init__(self, columns: int, lines: int) -> None:
        self._columns, self._lines = columns - 1, lines  # in the last column some terminals begin a new row
        self._rows = 0  # the number of rows that are shown

    def show(self, title: str, share: float | None, parts: Sequence[str]) -> None:
        """Show a state; see :class:`Screen`."""
        rows = wrapped([title, *parts], self._columns)
        if len(rows) >= self._lines:  # the first row would leave the screen, and stay above it
            return
        room = self._columns - len(rows[0]) - 1
        if len(rows) == 1 and drawn(share, room):
            rows = [" ".join([title, drawn(share, room), " - ".join(parts)])]
        back = f"\x1b[{len(rows) - 1}A" if len(rows) > 1 else ""
        with writing.lock:
            put(
                "\n".join(rows) + back + "\r", self
            )  # the cursor is left in the first row: what a user prints next is not below it, where it would be erased
            self._rows = len(rows)

    def final(self, text: str) -> None:
        """Show the last state; see :class:`Screen`."""
        put(f"{text}\n")

    def leave(self) -> None:
        """Leave the last state; see :class:`Screen`."""
        with writing.lock:
            left, self._rows = self._rows, 0
            put("\n" * left)

    def erased(self) -> str:
        """Return what erases the rows; see :class:`fastnn._terminal.Drawing`."""
        rows, self._rows = self._rows, 0
        return "\r\x1b[J" if rows else ""


class Notebook:
    """One output of a cell, which is replaced; a page made of the notebook shows only its last state."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, title: str, share: float | None, parts: Sequence[str]) -> None:
        """Show a state; see :class:`Screen`."""
        self._display(" ".join(filter(None, [title, drawn(share, _BAR), " - ".join(parts)])))

    def final(self, text: str) -> None:
        """Show the last state; see :class:`Screen`."""
        if self._handle is None:  # the epoch was too short to be shown before its end
            put(f"{text}\n")
        else:
            self._display(text)

    def leave(self) -> None:
        """Leave the last state; see :class:`Screen`."""

    def _display(self, text: str) -> None:
        if self._handle is None:
            from IPython.display import display

            self._handle = display({"text/plain": text}, raw=True, display_id=True)
        else:
            self._handle.update({"text/plain": text}, raw=True)
