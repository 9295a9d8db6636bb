"""Where a bar is drawn again and again: a terminal, a notebook; or nowhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Protocol

from fastnn._terminal import put, writing

_BAR = 30  # characters, at most
_SHORTEST = 8


class Screen(Protocol):
    """Shows the state of now in the place of the one before; `final` stays."""

    def show(self, title: str, share: float | None, parts: Sequence[str]) -> None:
        """A title, the share that is done (None: unknown), and figures."""

    def final(self, text: str) -> None:
        """The last state, as one line."""

    def leave(self) -> None:
        """The last state that was shown stays as it is."""


def screen() -> Screen | None:
    """The screen of standard output; None of a file, a pipe or nothing, in which each state would be a line."""
    stream = sys.stdout
    if type(stream).__module__.startswith("ipykernel"):
        return Notebook()
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except (AttributeError, OSError, ValueError):  # no stream; no terminal; closed
        return None
    if os.environ.get("TERM") == "dumb":
        return None
    return Terminal(columns or 80, lines or 24)  # 0: a terminal that does not know its size


def drawn(share: float | None, room: int) -> str:
    """``[=====>....]`` in so many characters; nothing where there is too little room, or nothing known."""
    length = min(room - 2, _BAR)
    if share is None or length < _SHORTEST:
        return ""
    done = int(share * length)
    return f"[{('=' * done + '>')[:length].ljust(length, '.')}]"


def wrapped(parts: Sequence[str], columns: int) -> list[str]:
    """The parts in rows of so many characters; one that is longer is cut into several."""
    rows = [""]
    for part in parts:
        if rows[-1] and len(rows[-1]) + 3 + len(part) <= columns:
            rows[-1] += f" - {part}"
        else:
            cut = [part[k : k + columns] for k in range(0, len(part), columns)]
            rows = (rows if rows[-1] else []) + cut
    return rows


class Terminal:
    """Rows that are overwritten; the bar gives way to figures, and figures that need more than a row get more."""

    def __init__(self, columns: int, lines: int) -> None:
        self._columns, self._lines = columns - 1, lines  # in the last column some terminals begin a new row
        self._rows = 0  # how many are shown

    def show(self, title: str, share: float | None, parts: Sequence[str]) -> None:
        """See :class:`Screen`."""
        rows = wrapped([title, *parts], self._columns)
        if len(rows) >= self._lines:  # the first of them would leave the screen, and stay above it
            return
        room = self._columns - len(rows[0]) - 1
        if len(rows) == 1 and drawn(share, room):
            rows = [" ".join([title, drawn(share, room), " - ".join(parts)])]
        back = f"\x1b[{len(rows) - 1}A" if len(rows) > 1 else ""
        with writing.lock:
            put(
                "\n".join(rows) + back + "\r", self
            )  # whatever a user prints next is not below, where it would be erased
            self._rows = len(rows)

    def final(self, text: str) -> None:
        """See :class:`Screen`."""
        put(f"{text}\n")

    def leave(self) -> None:
        """See :class:`Screen`."""
        with writing.lock:
            left, self._rows = self._rows, 0
            put("\n" * left)

    def erased(self) -> str:
        """See :class:`fastnn._terminal.Drawing`."""
        rows, self._rows = self._rows, 0
        return "\r\x1b[J" if rows else ""


class Notebook:
    """One output of a cell, which is replaced; a page that is made of the notebook shows its last state alone."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, title: str, share: float | None, parts: Sequence[str]) -> None:
        """See :class:`Screen`."""
        self._display(" ".join(filter(None, [title, drawn(share, _BAR), " - ".join(parts)])))

    def final(self, text: str) -> None:
        """See :class:`Screen`."""
        if self._handle is None:  # an epoch that was too short to be shown before its end
            put(f"{text}\n")
        else:
            self._display(text)

    def leave(self) -> None:
        """See :class:`Screen`."""

    def _display(self, text: str) -> None:
        if self._handle is None:
            from IPython.display import display

            self._handle = display({"text/plain": text}, raw=True, display_id=True)
        else:
            self._handle.update({"text/plain": text}, raw=True)
