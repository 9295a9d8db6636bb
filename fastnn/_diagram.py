"""The drawing of a network: boxes from its input to its output, as SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from fastnn._foreign import path_of
from fastnn._public import Described
from fastnn._terminal import printable
from fastnn.layers import Residual
from fastnn.layers.base import Layer
from fastnn.layers.container import Parallel, Stack

# Lengths are pixels. A letter of the font is about 0.6 of its size wide, digits and capitals a little more.
_LETTER, _LINE, _MARGIN, _GAP = 7.2, 16, 10, 22
# Colours of the page's text let a drawing fit a dark page and a light one.
_STYLE = (
    "text{font:12px ui-sans-serif,system-ui,sans-serif;text-anchor:middle;fill:currentColor}"
    ".title{font-weight:600}.about{opacity:.7}"
    ".box{fill:currentColor;fill-opacity:.06;stroke:currentColor;stroke-opacity:.5}"
    ".group{fill:none;stroke:currentColor;stroke-opacity:.35;stroke-dasharray:4 3}"
    ".line{fill:none;stroke:currentColor;stroke-opacity:.6}.head{fill:currentColor;fill-opacity:.6}"
)


@dataclass(frozen=True)
class _Piece:
    """A part of the drawing: its size, and the elements of it where its upper left corner lies at (x, y).

    Lines reach a piece in the middle of its upper edge, and leave it in the middle of its lower edge.
    """

    width: float
    height: float
    elements: Callable[[float, float], Iterator[str]]


def _arrow(x: float, y: float, to_y: float) -> Iterator[str]:
    yield f'<path class="line" d="M{x:.1f} {y:.1f}V{to_y - 5:.1f}"/>'
    yield f'<path class="head" d="M{x - 4:.1f} {to_y - 6:.1f}h8l-4 6z"/>'


def _text(x: float, y: float, kind: str, text: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(printable(text))}</text>'


def _box(title: str, *about: str) -> _Piece:
    """Return a box with a title and lines about it."""
    lines = [line for line in about if line]
    width = max(len(printable(line)) for line in (title, *lines)) * _LETTER + 2 * _MARGIN
    height = _LINE * (1 + len(lines)) + _MARGIN

    def elements(x: float, y: float) -> Iterator[str]:
        yield f'<rect class="box" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="5"/>'
        for k, line in enumerate((title, *lines)):
            yield _text(x + width / 2, y + _LINE * (k + 1), "about" if k else "title", line)

    return _Piece(width, height, elements)


def _column(pieces: Sequence[_Piece]) -> _Piece:
    """Return pieces below each other, with arrows between them."""
    width = max(piece.width for piece in pieces)
    height = sum(piece.height for piece in pieces) + _GAP * (len(pieces) - 1)

    def elements(x: float, y: float) -> Iterator[str]:
        middle = x + width / 2
        for k, piece in enumerate(pieces):
            if k:
                yield from _arrow(middle, y, y + _GAP)
                y += _GAP
            yield from piece.elements(middle - piece.width / 2, y)
            y += piece.height

    return _Piece(width, height, elements)


def _beside(pieces: Sequence[_Piece], title: str, about: str) -> _Piece:
    """Return pieces beside each other: a line forks to them all, and a line joins what leaves them."""
    head = _box(title, about)
    inner = sum(piece.width for piece in pieces) + _GAP * (len(pieces) - 1)
    width, tallest = max(inner, head.width), max(piece.height for piece in pieces)
    height = head.height + tallest + 2 * _GAP

    def elements(x: float, y: float) -> Iterator[str]:
        middle, top, bottom = x + width / 2, y + head.height, y + height
        yield from head.elements(middle - head.width / 2, y)
        left = middle - inner / 2
        for piece in pieces:
            at = left + piece.width / 2
            yield f'<path class="line" d="M{middle:.1f} {top:.1f}V{top + _GAP / 2:.1f}H{at:.1f}"/>'
            yield from _arrow(at, top + _GAP / 2, top + _GAP)
            yield from piece.elements(left, top + _GAP)
            end = f"M{at:.1f} {top + _GAP + piece.height:.1f}V{bottom - _GAP / 2:.1f}H{middle:.1f}V{bottom:.1f}"
            yield f'<path class="line" d="{end}"/>'
            left += piece.width + _GAP

    return _Piece(width, height, elements)


def _group(inner: _Piece, title: str, about: str, *, added: bool) -> _Piece:
    """Return a piece in a dashed frame with a title; `added`: with a line past it, to a sum at its end."""
    side = _GAP if added else 0
    width = max(inner.width + 2 * _MARGIN + 2 * side, (len(printable(title)) + len(about) + 2) * _LETTER + 2 * _MARGIN)
    above, below = _LINE + _MARGIN, _GAP + 9 if added else 0
    height = inner.height + above + below + _MARGIN

    def elements(x: float, y: float) -> Iterator[str]:
        middle, top = x + width / 2, y + above
        end = top + inner.height
        yield f'<rect class="group" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="8"/>'
        yield _text(middle, y + _LINE, "about", f"{title}  {about}".strip())
        yield from inner.elements(middle - inner.width / 2, top)
        if added:
            right, sum_at = x + width - _MARGIN - side / 2, end + _GAP
            yield from _arrow(middle, end, sum_at)
            yield f'<circle class="box" cx="{middle:.1f}" cy="{sum_at + 9:.1f}" r="9"/>'
            yield _text(middle, sum_at + 13, "title", "+")
            past = f"M{middle:.1f} {top - 4:.1f}H{right:.1f}V{sum_at + 9:.1f}H{middle + 9:.1f}"
            yield f'<path class="line" d="{past}"/>'

    return _Piece(width, height, elements)


def _count(layer: Layer) -> str:
    count = layer.summary_count()
    return "" if count == "0" else f"{count} parameters"


def _of_layer(layer: Layer, shape: str) -> _Piece:
    """Return the piece of a layer; `shape` is what a row has after it."""
    title, kind = str(layer.name), type(layer).__name__
    if isinstance(layer, Parallel):
        stacks = [_group(_of_stack(stack), str(stack.name), "", added=False) for stack in layer._layers]
        return _beside(stacks, title, f"{kind} → {shape}")
    if isinstance(layer, Stack) and layer.layers:
        return _group(_of_stack(layer), title, kind, added=isinstance(layer, Residual))
    activation = layer.summary_activation()
    named = kind if activation in ("", "linear") else f"{kind}, {activation}"
    return _box(title, f"{named} → {shape}", _count(layer))


def _of_stack(stack: Stack) -> _Piece:
    widths = [*stack._inner_widths, *["?"] * len(stack.layers)]
    pieces = [_of_layer(layer, str(width)) for layer, width in zip(stack.layers, widths, strict=False)]
    return _column(pieces) if pieces else _box("as it is")


class Diagram(Described):
    """A network as boxes; notebooks show it, and :meth:`save` writes it.

    Made by :meth:`fastnn.Sequential.plot`.

    Parameters
    ----------
    title : str
        What the drawing is called, for readers who cannot see it.
    inputs : str
        What a row has at the input.
    layers : sequence of (Layer, str)
        The layers, each with what a row has after it.

    Attributes
    ----------
    svg : str
        The drawing: text that browsers and notebooks show, in the colour of the text around it.

    Examples
    --------
    >>> import fastnn
    >>> diagram = fastnn.Sequential([fastnn.Input((4,)), fastnn.layers.Dense(3)]).plot()
    >>> diagram.svg[:4]
    '<svg'
    """

    def __init__(self, title: str, inputs: str, layers: Sequence[tuple[Layer, str]]) -> None:
        shown = [_of_layer(layer, shape) for layer, shape in layers]
        whole = _column([_box("x", inputs), *shown, _box("y")])
        width, height = whole.width + 2 * _MARGIN, whole.height + 2 * _MARGIN
        self._title, self._size = title, (round(width), round(height))
        size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>'
        about = f"<title>{escape(printable(title))}</title><style>{_STYLE}</style>"
        self.svg = "\n".join([head, about, *whole.elements(_MARGIN, _MARGIN), "</svg>"])

    def _facts(self) -> str:
        return f"{self._title!r}, {self._size[0]} x {self._size[1]} pixels"

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> None:
        """Write the drawing to a file.

        Parameters
        ----------
        path : str or Path
            Its name ends in ``.svg``.

        Raises
        ------
        ValueError
            When the name ends in anything else.
        """
        place = Path(path_of(path, "path"))
        if place.suffix.lower() != ".svg":
            raise ValueError(f"path must end in .svg, got {str(place)!r}: other programs make pixels of that")
        place.write_text(self.svg + "\n", encoding="utf-8")
