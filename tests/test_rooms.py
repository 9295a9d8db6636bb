"""The arrows between the rooms of fastnn that import-linter does not see: those of Cython, and names of a model."""

import ast
import re
from pathlib import Path

import pytest

import fastnn
from fastnn import _model

FASTNN = Path(fastnn.__file__).parent

# What each extension module may import from the package: what tells it what to do, and nothing that runs it.
KNOWN = {
    "_engine": {
        "fastnn._blas",
        "fastnn._c",
        "fastnn._op",
        "fastnn._registry",
        "fastnn._sparse_rows",
        "fastnn._warnings",
    },
    "predictor": {
        "fastnn._c",
        "fastnn._engine",
        "fastnn._frozen",
        "fastnn._op",
        "fastnn._small_weights",
        "fastnn.data.arrays",
    },
}
ASKING = [*sorted(FASTNN.glob("callbacks/*.py")), *(FASTNN / f"{name}.py" for name in ("loop", "_stored", "ensemble"))]
HOLDING_A_MODEL = {"model", "saved", "_model", "m"}  # names of variables that hold a model in these files


@pytest.mark.parametrize("module", KNOWN)
def test_an_extension_module_knows_nothing_above_it(module):
    sources = [FASTNN / f"{module}.pyx", *(FASTNN.glob("*.pxi") if module == "_engine" else ())]
    if not all(source.exists() for source in sources):
        pytest.skip("fastnn is installed without its sources")
    found = set()
    for source in sources:
        found |= set(re.findall(r"^\s*(?:from|import|cimport)\s+(fastnn[\w.]*)", source.read_text(), re.MULTILINE))
    assert found <= KNOWN[module]


@pytest.mark.thread_unsafe(reason="CPython 3.11 parses Python in one thread at a time")
@pytest.mark.parametrize("path", ASKING, ids=lambda path: path.stem)
def test_a_model_is_asked_for_nothing_but_what_is_written_down(path):
    written = {
        name for kind in (_model.Model, _model.Member, _model.Kept) for name in [*vars(kind), *kind.__annotations__]
    }
    asked = {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr.startswith("_")
        and getattr(node.value, "attr", getattr(node.value, "id", None)) in HOLDING_A_MODEL
    }  # fmt: skip
    assert asked <= written
