"""The table that ``summary`` prints, and notebooks show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import numpy.typing as npt

from fastnn._terminal import printable

_TITLES = ("Layer (type)", "Output shape", "Activation", "Parameters")


def table(name: str, rows: Sequence[Sequence[str]], weights: Sequence[npt.NDArray[Any]] | None) -> Iterator[str]:
    """Return the lines of a model's table.

    Parameters
    ----------
    name : str
        The model's name.
    rows : sequence of sequence of str
        A row for each layer, with the columns that the titles name.
    weights : sequence of ndarray, or None
        The model's weights; None where it has none yet.
    """
    shown = [tuple(map(printable, row)) for row in rows]
    widths = [max(len(row[k]) for row in [_TITLES, *shown]) for k in range(len(_TITLES))]

    def line(cells: Sequence[str]) -> str:
        *left, last = cells
        padded = [cell.ljust(width) for cell, width in zip(left, widths, strict=False)]
        return "  ".join([*padded, last.rjust(widths[-1])])

    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    yield from (f"Model: {printable(name)}", rule, line(_TITLES), rule, *map(line, shown), rule, _total(weights))


def table_of_html(name: str, rows: Sequence[Sequence[str]], weights: Sequence[npt.NDArray[Any]] | None) -> str:
    """Return a model's table for a notebook; the parameters are those of :func:`table`."""

    def cells(kind: str, texts: Sequence[str]) -> str:
        sides = ["left"] * (len(texts) - 1) + ["right"]
        shown = [
            f'<{kind} style="text-align:{side};white-space:pre">{escape(printable(text))}</{kind}>'
            for side, text in zip(sides, texts, strict=True)
        ]
        return f"<tr>{''.join(shown)}</tr>"

    body = "".join(cells("td", row) for row in rows)
    return (
        f"<table><caption>{escape(printable(name))}: {_total(weights)}</caption>"
        f"<thead>{cells('th', _TITLES)}</thead><tbody>{body}</tbody></table>"
    )


def _total(weights: Sequence[npt.NDArray[Any]] | None) -> str:
    if weights is None:
        return "Not built yet"
    total, size = sum(array.size for array in weights), sum(array.nbytes for array in weights)
    return f"Parameters: {total:,} ({size / 1024:,.1f} KiB)"
