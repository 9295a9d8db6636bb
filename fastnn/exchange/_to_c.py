"""A network as plain C: one file of C99 and its header, which need ``<math.h>`` and nothing else."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn import _file
from fastnn._engine import Engine
from fastnn._foreign import path_of
from fastnn.exchange import _to_c_kernels as kernels
from fastnn.exchange._to_c_constants import WEIGHTS, Constants
from fastnn.exchange._to_c_network import Network
from fastnn.exchange._to_c_program import lay_out, render
from fastnn.plan import Plan
from fastnn.predictor import Predictor

Array = npt.NDArray[Any]

_WORDS = """
alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const const_cast constexpr
continue decltype default delete do double dynamic_cast else enum explicit export extern false float for friend goto if
inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public register
reinterpret_cast restrict return short signed sizeof static static_assert static_cast struct switch template this
thread_local throw true try typedef typeid typename typeof union unsigned using virtual void volatile wchar_t while xor
xor_eq
"""
RESERVED = frozenset(_WORDS.split())  # the words of C and of C++
_INCLUDED = ("math", "stddef", "stdint")  # the headers that the file includes


_HEADER = """\
{about}
#ifndef {NET}_NETWORK_H
#define {NET}_NETWORK_H

#define {NET}_INPUTS {inputs}
#define {NET}_OUTPUTS {outputs}
#define {NET}_WORKSPACE {workspace}
{size}
#ifdef __cplusplus
extern "C" {{
#endif

/* y = the outputs for one row x.
 *     x          {NET}_INPUTS numbers, which are only read
 *     y          {NET}_OUTPUTS numbers, all of which are written
 *     workspace  room for {NET}_WORKSPACE numbers, whatever they are; on the stack, for example
 * The three do not overlap. Nothing but constants is read besides, and nothing is allocated: any number of threads may
 * call the function at once, each with a y and a workspace of its own. */
void {net}_predict(const {real} *x, {real} *y, {real} *workspace);
{gradient}
#ifdef __cplusplus
}}
#endif

#endif
"""
_GRADIENT = """
/* y = the outputs for one row x, and dx = the gradient by x of the sum of all dy[j] y[j]: with 1 at one dy and 0 at the
 * others that of one output.
 *     x          {NET}_INPUTS numbers, which are only read
 *     dy         {NET}_OUTPUTS numbers, which are only read
 *     y          {NET}_OUTPUTS numbers, all of which are written
 *     dx         {NET}_INPUTS numbers, all of which are written; 0 where y has no gradient, as by categories
 *     workspace  room for {NET}_GRADIENT_WORKSPACE numbers
 * No two overlap; threads as above. */
void {net}_gradient(const {real} *x, const {real} *dy, {real} *y, {real} *dx, {real} *workspace);
"""


class Source(NamedTuple):
    """What is written as C.

    Attributes
    ----------
    plan : Plan
    parameters : ndarray
        The flat buffer of the parameters, which nobody changes.
    title : str
        The name of the model.
    inputs, outputs : dict
        The number of columns of each branch and of each head; one entry of the name ``""`` without these.
    columns : sequence of str, optional
        The names of the columns of x.
    rows : ndarray, optional
        Rows on which the change by the storage of weights is measured.
    """

    plan: Plan
    parameters: Array
    title: str
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    columns: tuple[str, ...] | None
    rows: Array | None


def write(
    filepath: str | os.PathLike[str], source: Source, weights: str | None, gradient: bool, name: str | None
) -> dict[str, Any]:
    """Write the C file and its header; see :meth:`fastnn.Sequential.export_c`."""
    path = _checked_path(filepath)
    net = _checked_name(path.stem if name is None else name, "the stem of filepath" if name is None else "name")
    file = _File(source, net, _checked_weights(source.plan.dtype, weights), gradient)
    header = path.with_suffix(".h")
    _write_both({header: file.header(), path: file.code(header.name)})
    return file.report()


def _write_both(texts: Mapping[Path, str]) -> None:
    """Write two files; where the second cannot be written, the first is as it was."""
    (first, text), (second, other) = texts.items()
    before = first.read_bytes() if first.is_file() else None
    _file.write(first, lambda: [text.encode("ascii")])
    try:
        _file.write(second, lambda: [other.encode("ascii")])
    except BaseException:
        if before is None:
            first.unlink()
        else:
            _file.write(first, lambda: [before])
        raise


def _checked_path(filepath: str | os.PathLike[str]) -> Path:
    path = Path(path_of(filepath))
    if path.suffix != ".c":
        raise ValueError(f"filepath must end in .c, got {str(path)!r}")
    if path.stem in _INCLUDED:
        raise ValueError(
            f"filepath must have another name, got {str(path)!r}: its header would hide that of C's library"
        )
    if not re.fullmatch("[A-Za-z0-9_.+-]+", path.name):
        raise ValueError(
            f"filepath must have a name of letters, digits and any of _.+-, by which C includes its header, got "
            f"{path.name!r}"
        )
    return path


def _checked_name(name: str, what: str) -> str:
    """Return a name that C and C++ accept for variables."""
    if not isinstance(name, str) or not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name):
        instead = "" if what == "name" else ": give another one as name="
        raise ValueError(f"{what} must be a letter, then letters, digits and underscores, got {name!r}{instead}")
    if name in RESERVED:
        raise ValueError(f"{what} must be no word of C or C++, got {name!r}: give another one as name=")
    return name


def _checked_weights(dtype: str, weights: str | None) -> str:
    allowed = [kind for kind in WEIGHTS if kind != "float64" or dtype == "float64"]
    if weights is None:
        return dtype
    if weights not in allowed:
        raise ValueError(f"weights must be one of {', '.join(map(repr, allowed))}, got {weights!r}")
    return weights


def _comment(text: str) -> str:
    """Return text that can stand in a comment, whoever wrote it."""
    return re.sub(r"[^A-Za-z0-9_ .,:;()\[\]+=<>%#@!$&'-]", "_", text)[:80]


class _Function(NamedTuple):
    """A function of the file: its statements, and what the workspace must hold for it."""

    statements: list[str]
    called: list[str]
    workspace: int


class _File:
    """One network as C."""

    def __init__(self, source: Source, net: str, weights: str, gradient: bool) -> None:
        self._source, self._net, self._weights = source, net, weights
        self._double = weights == "float64"
        self._constants = Constants(source.parameters, np.float64 if self._double else np.float32, weights)
        self._predict = self._function(backward=False)
        self._gradient = self._function(backward=True) if gradient else None

    def _function(self, *, backward: bool) -> _Function:
        network = Network(self._source.plan, self._constants)
        network.forward()
        if backward:
            network.backward()
        calls = network.program.calls
        expressions, size = lay_out(calls)
        statements = render(calls, expressions, "" if self._double else "f")
        return _Function(statements, [call.function for call in calls], max(size, 1))

    def _translated(self, text: str) -> str:
        stored = WEIGHTS[self._weights]
        value = stored.value.replace("real", "double" if self._double else "float")
        value = re.sub(r"NET\((\w+)\)", rf"{self._net}_\1", value)
        kind = stored.kind.replace("real", "double" if self._double else "float")
        return kernels.translated(text, self._net, double=self._double, weight=kind, value=value)

    # ---- the two files ----

    def header(self) -> str:
        """Return the text of the header."""
        plan, gradient = self._source.plan, self._gradient
        told = {
            "NET": self._net.upper(),
            "net": self._net,
            "real": "double" if self._double else "float",
            "about": self._about(),
            "inputs": plan.inputs,
            "outputs": plan.outputs,
            "workspace": self._predict.workspace,
        }
        size, declared = "", ""
        if gradient is not None:
            size = f"#define {told['NET']}_GRADIENT_WORKSPACE {gradient.workspace}\n"
            declared = _GRADIENT.format(**told)
        return _HEADER.format(**told, size=size, gradient=declared)

    def _about(self) -> str:
        """Return the comment at the head of the header."""
        source, real = self._source, "double" if self._double else "float"
        lines = [
            f"The network {_comment(source.title)!r} as plain C, which fastnn has written: C99, or C++.",
            "",
            f"Numbers are {real}; matrices are stored as {self._weights}. Constants: {self._constants.bytes} bytes.",
            "Sums have another order than fastnn's: an output differs from fastnn's by about 1e-5 of its size at most,",
            "in double 1e-12, besides what the storage of weights changes. A row of x, and of y:",
            "",
            *self._columns("x", source.inputs, source.columns),
            *self._columns("y", source.outputs, None),
        ]
        return "/* " + "\n * ".join(lines).replace(" \n", "\n") + " */"

    @staticmethod
    def _columns(row: str, widths: Mapping[str, int], names: tuple[str, ...] | None) -> list[str]:
        """Return lines that say what lies where in a row."""
        lines, first = [], 0
        for name, width in widths.items():
            place = f"{row}[{first}]" if width == 1 else f"{row}[{first}] ... {row}[{first + width - 1}]"
            lines.append(f"    {place}" + (f"  {_comment(name)}" if name else ""))
            first += width
        if names is not None and len(names) == first:
            lines = [f"    {row}[{k}]  {_comment(str(name))}" for k, name in enumerate(names)]
        return lines

    def code(self, header: str) -> str:
        """Return the text of the C file."""
        net, upper, real = self._net, self._net.upper(), "double" if self._double else "float"
        called = [*self._predict.called, *(self._gradient.called if self._gradient else [])]
        restrict = f"{upper}_RESTRICT"
        head = f'/* See {header}. */\n#include "{header}"\n\n'
        parts = [
            "#include <math.h>\n#include <stddef.h>\n#include <stdint.h>\n",
            f"#ifdef __cplusplus\n#define {restrict} __restrict\n#else\n#define {restrict} restrict\n#endif\n",
            self._constants.text(),
            kernels.functions(dict.fromkeys(called), "value" if self._weights == "bfloat16" else ""),
            self._definition(f"void {net}_predict(const {real} *x, {real} *y, {real} *workspace)", self._predict),
        ]
        if self._gradient:
            arguments = f"const {real} *x, const {real} *dy, {real} *y, {real} *dx, {real} *workspace"
            parts.append(self._definition(f"void {net}_gradient({arguments})", self._gradient))
        return head + self._translated("\n".join(parts))

    @staticmethod
    def _definition(declaration: str, function: _Function) -> str:
        body = [f"    {line}" for line in function.statements]
        if not any("workspace" in line for line in body):
            body.append("    (void)workspace;")
        return "\n".join([declaration + " {", *body, "}", ""])

    # ---- the report ----

    def report(self) -> dict[str, Any]:
        """Return sizes, and how far the storage of weights changes the outputs for the rows."""
        element = 8 if self._double else 4
        return {
            "name": self._net,
            "numbers": "double" if self._double else "float",
            "parameters": sum(math.prod(spec.shape) for spec in self._source.plan.parameters),
            "constant_bytes": self._constants.bytes,
            "workspace_bytes": element * self._predict.workspace,
            "gradient_workspace_bytes": element * self._gradient.workspace if self._gradient else 0,
            **self._changes(),
        }

    def _changes(self) -> dict[str, float | None]:
        rows = self._source.rows
        if rows is None or not len(rows):
            return {"largest_change": None, "mean_change": None}
        exact = self._outputs(self._source.parameters, rows)
        stored = self._outputs(self._constants.as_stored, rows)
        changes = np.abs(exact.astype(np.float64) - stored.astype(np.float64))
        return {"largest_change": float(changes.max()), "mean_change": float(changes.mean())}

    def _outputs(self, parameters: Array, rows: Array) -> Array:
        engine = Engine(self._source.plan)
        engine.parameters[...] = parameters
        return np.asarray(Predictor(engine)(rows))
