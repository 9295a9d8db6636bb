"""Warnings that name the user's line."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from types import FrameType

_PACKAGE = f"{Path(__file__).parent}{os.sep}"


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn about the user's line that called into the package, however deep the call is by now."""
    level = 1
    caller: FrameType | None = sys._getframe()
    while caller is not None and caller.f_code.co_filename.startswith(_PACKAGE):
        level, caller = level + 1, caller.f_back
    try:
        warnings.warn(message, category, stacklevel=level)
    except ValueError:
        if not getattr(sys.stderr, "closed", False):  # a closed stream shows no warning, and must not end a training
            raise
