"""The examples that embed a frozen network, for tests that import them."""

import importlib
import sys
from contextlib import contextmanager
from pathlib import Path

EMBED = Path(__file__).parents[1] / "examples" / "embed"


@contextmanager
def imported_examples():
    """Return a context whose value is a function that imports an example by name."""
    sys.path.insert(0, str(EMBED))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(EMBED))
