"""A model's way to other programs: the methods of :class:`fastnn.Sequential` that write formats of others."""

from __future__ import annotations

from fastnn.training import Trainer


class Exports(Trainer):
    """A model that writes itself in formats of others; :mod:`fastnn.exchange` has the formats."""
