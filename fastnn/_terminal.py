"""Output for people, on a standard output of any kind or none; forks are safe, and text holds no terminal commands."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

_PLAIN = str.maketrans({"─": "-", "━": "-", "│": "|", "█": "#", "…": "...", "×": "x", "µ": "u"})


def printable(text: str) -> str:
    r"""Return the text with each unprintable character as an escape: a terminal would obey the ``\x1b`` in a name.

    Examples
    --------
    >>> printable("a\tb")
    'a\\tb'
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def encodable(text: str, encoding: str | None) -> str:
    """Return the text in characters that this encoding has: lines and bars become ASCII, other characters escapes."""
    encoding = encoding or "utf-8"  # a stream without an encoding, in memory, keeps the text as it is
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text


class Drawing(Protocol):
    """Rows on a terminal that the next output overwrites."""

    def erased(self) -> str:
        """Return the text that takes the rows away."""


class _Writing:
    """The lock of the thread that writes, for which a fork waits, and the rows that are drawn.

    In a process forked while another thread writes, the stream's buffer would stay locked for ever. Where a write does
    not end, as nobody reads the pipe, the fork goes on after a second all the same.
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
        self.drawn: tuple[Drawing, Any] | None = None  # the rows, and the stream on which they are drawn


writing = _Writing()


def put(text: str, drawing: Drawing | None = None) -> None:
    """Write what standard output can show of a text, in place of rows that are drawn there.

    Where there is no standard output, where it is closed, or nobody reads it any more, the text is lost: this must not
    end a training.

    Parameters
    ----------
    text : str
    drawing : Drawing, optional
        Given where the text is rows that the next output overwrites.
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
            if hasattr(stream, "flush"):  # a user's own stream may have nothing but write
                stream.flush()
        except (OSError, ValueError):  # a broken pipe or a full disk; a closed file
            return


_silent: ContextVar[bool] = ContextVar("whether nothing is said", default=False)


@contextmanager
def silenced(silent: bool) -> Iterator[None]:
    """Say nothing within a ``with`` block, in this thread, where `silent` is set: another process says it."""
    token = _silent.set(silent)
    try:
        yield
    finally:
        _silent.reset(token)


def say(text: str) -> None:
    """Print a line on standard output; print nothing where there is none, as in a service or under pythonw.

    Parameters
    ----------
    text : str
    """
    if not _silent.get():
        put(f"{text}\n")
