"""The rules of the house that a look at the source can hold: sizes, and what the C of each folder may name."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src_c"
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 600, 60
PYTHON = [path for folder in ("fastnn", "tests", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")]
CYTHON = [path for suffix in ("pyx", "pxi", "pxd") for path in (ROOT / "fastnn").rglob("*." + suffix)]
C = [path for path in SOURCES.rglob("*") if path.suffix in (".c", ".h", ".inc")]

pytestmark = [
    pytest.mark.skipif(not SOURCES.exists(), reason="needs the source beside the tests"),
    pytest.mark.thread_unsafe(reason="CPython 3.11 parses Python in one thread at a time"),
]


def names(paths):
    return pytest.mark.parametrize("path", sorted(paths), ids=lambda path: str(path.relative_to(ROOT)))


def code(path):
    """The C of a file without its comments and strings, which may name anything; lines stay where they are."""
    blank = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)
    return blank.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), path.read_text())


def functions_of_c(path):
    """(name, lines) of each function: from the line at the margin where its type stands to the brace at the margin."""
    lines, found, begin = code(path).splitlines(), [], 0
    for number, line in enumerate(lines):
        if re.match(r"[A-Za-z_]", line):
            begin = number
        elif line.rstrip() == "}":
            name = re.search(r"(FN\(\w+\)|\w+)\)?\s*\(", " ".join(lines[begin : number + 1]))
            found.append((name[1] if name else lines[begin], number - begin + 1))
    return found


def functions_of_python(path):
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [
        (node.name, node.end_lineno - node.lineno + 1 - (documented(node) if node.body else 0))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, kinds)
    ]


def documented(node):
    """Lines of a function's docstring, which may be long: it is read apart from the code."""
    first = node.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(getattr(first, "value", None), ast.Constant)
    return first.end_lineno - first.lineno + 1 if is_docstring else 0


@names(PYTHON + CYTHON + C)
def test_a_file_is_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES


@names(C)
def test_a_function_of_c_fits_a_screen(path):
    assert [each for each in functions_of_c(path) if each[1] > MOST_LINES_OF_A_FUNCTION] == []


@names(PYTHON)
def test_a_function_of_python_fits_a_screen(path):
    assert [each for each in functions_of_python(path) if each[1] > MOST_LINES_OF_A_FUNCTION] == []


@names(path for path in C if "engine/ops" not in path.as_posix() and path.name != "fastnn.h")
def test_an_op_is_known_to_its_row_alone(path):
    """Everybody else asks the table of ops what they need to know of one."""
    assert re.findall(r"\bFNN_OP_[A-Z_]+\b", code(path)) == []


@names((SOURCES / "kernels").rglob("*.*"))
def test_kernels_are_pure(path):
    """No allocation, no errno, no output, no thread; no model, no op and no phase."""
    forbidden = (
        r"\b(malloc|calloc|realloc|aligned_alloc|free|errno|f?printf|abort|exit|omp_\w+|fnn_model|fnn_op|fnn_run)\b"
    )
    assert re.findall(forbidden, code(path)) == []
    assert not re.search(r'#include "(fastnn\.h|engine/|host/)', path.read_text())


@names((SOURCES / "host").rglob("*.*"))
def test_the_host_knows_no_network(path):
    assert re.findall(r"\bfnn_(model|op|head|measure)\b", code(path)) == []
    assert not re.search(r'#include "engine/', path.read_text())


@names(path for path in C if path.suffix != ".h")
def test_engine_and_kernels_print_nothing_and_end_nothing(path):
    assert re.findall(r"\b(printf|puts|abort|exit|assert)\s*\(", code(path)) == []
