"""Lines for people: on any standard output, or none, and never a command to a terminal."""

from __future__ import annotations

import sys

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
    encoding = encoding or "ascii"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text


def say(text: str) -> None:
    """Print a line on standard output; nowhere where there is none, as in a service or under pythonw.

    Parameters
    ----------
    text : str
    """
    if sys.stdout is not None:
        print(encodable(text, getattr(sys.stdout, "encoding", "utf-8")), file=sys.stdout)  # noqa: T201 (what it is for)
