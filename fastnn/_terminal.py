"""Lines for people: on any standard output, or none, over forks, and never a command to a terminal."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any, Protocol

_PLAIN = str.maketrans({"─": "-", "━": "-", "│": "|", "█": "#", "…": "...", "×": "x", "µ": "u"})


def printable(text: str) -> str:
    r"""The text with what is no printable character as an escape: ``\x1b`` of a name would be obeyed by a terminal.

    Examples
    --------
    >>> printable("a\tb")
    'a\\tb'
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def encodable(text: str, encoding: str | None) -> str:
    """The text in characters that this encoding has: lines and bars in ASCII, others as escapes."""
    encoding = encoding or "utf-8"  # a stream in memory keeps the text as it is
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text


class Drawing(Protocol):
    """Rows of a terminal that are overwritten by what is written next."""

    def erased(self) -> str:
        """What takes them away."""


class _Writing:
    """The lock of whoever writes, which a fork waits for; and what is drawn.

    A process that is forked while another thread writes would have the stream's buffer locked for ever. Where a write
    does not end, as nobody reads the pipe, the fork goes on after a second all the same.
    """

    def __init__(self) -> None:
        self._forking = threading.local()
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._wait, after_in_parent=self._go_on, after_in_child=self._renew)

    def _wait(self) -> None:
        self._forking.held = self.lock.acquire(timeout=1)

    def _go_on(self) -> None:
        if self._forking.held:
            self.lock.release()

    def _renew(self) -> None:
        self.lock = threading.RLock()
        self.drawn: tuple[Drawing, Any] | None = None  # and on which stream


writing = _Writing()


def put(text: str, drawing: Drawing | None = None) -> None:
    """Write to standard output what it can show, in the place of rows that are drawn there.

    Where there is none, where it is closed, or nobody reads it any more, the text is lost: it must not end a training.

    Parameters
    ----------
    text : str
    drawing : Drawing, optional
        Of which the text is the rows.
    """
    stream = sys.stdout
    if stream is None:
        return
    with writing.lock:
        if writing.drawn and writing.drawn[1] is stream:
            text = writing.drawn[0].erased() + text
        writing.drawn = (drawing, stream) if drawing else None
        try:
            stream.write(encodable(text, getattr(stream, "encoding", None)))
            if hasattr(stream, "flush"):  # not so what a user has put there, which only writes
                stream.flush()
        except (OSError, ValueError):  # a broken pipe, a full disk; a closed file
            return


def say(text: str) -> None:
    """Print a line on standard output; nowhere where there is none, as in a service or under pythonw.

    Parameters
    ----------
    text : str
    """
    put(f"{text}\n")
