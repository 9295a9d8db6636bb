"""Loads the engine, before any other module does: with what OpenMP reads as it is loaded, and what is said without it.

The package imports this module ahead of all that need the engine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module


@contextmanager
def _bounded_waiting() -> Iterator[None]:
    """Let GNU OpenMP, if it gets loaded in here, spin for about 0.1 ms before its threads sleep, instead of several ms.

    GNU OpenMP reads its settings when it is loaded. A thread that spins for long beside busy processes uses up its
    share of the core, and the next call waits for another share. Settings of the user are left as they are.
    """
    if any(name in os.environ for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")):
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = "10000"
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]


@contextmanager
def _named_openmp() -> Iterator[None]:
    """Say what to install where the system's loader does not find the OpenMP library that the engine was built with."""
    try:
        yield
    except ImportError as error:
        if not (found := re.search(r"\blib(?:gomp|omp|iomp5)\b[\w.-]*", str(error))):
            raise
        raise ImportError(
            f"fastnn was built with the OpenMP library {found[0]}, which this system does not have or cannot load: "
            f"install it (Debian, Ubuntu: apt install libgomp1; Fedora: dnf install libgomp; Alpine: apk add libgomp; "
            f"macOS: brew install libomp), or a wheel of fastnn-cpu, which brings its own ({error})"
        ) from error


with _bounded_waiting(), _named_openmp():
    import_module("fastnn._engine")
