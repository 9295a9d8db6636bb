"""``python -m fastnn convert``: a file of a network becomes one of another format, and both answer random rows."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import fastnn
from fastnn._file import ModelFileError
from fastnn._foreign import owner_of
from fastnn.layers._preparation import raw_reader
from fastnn.layers.base import in_line
from fastnn.layers.input import InputLayer
from fastnn.plan import Plan

Array = npt.NDArray[Any]

ROWS = 1000  # on which both sides are compared
_OF_WEIGHTS = ("PyTorch", "safetensors")  # files that hold weights, and no layers


class Answer(NamedTuple):
    """How a written file answers rows.

    Attributes
    ----------
    of : callable
        Takes rows, and returns the outputs side by side.
    by : str
        Who answers, for the report.
    text : str
        What belongs to the file and is no file itself, or a line for the report where something is missing in it.
    """

    of: Callable[[Array], Array]
    by: str
    text: str = ""


class NotComparedError(Exception):
    """Says why one of the two sides cannot answer here."""


# ---- formats: each is written, and returns how the file answers rows ----


def _read_again(path: Path) -> Answer:
    def answer(x: Array) -> Array:
        try:
            return _answers(fastnn.load_model(path, compile=False), x)
        except (ModelFileError, ImportError) as error:
            raise NotComparedError(str(error)) from error

    return Answer(answer, "the file, read again")


def _to_fastnn(model: fastnn.Sequential, path: Path, weights: str | None) -> Answer:
    del weights
    model.save(path)
    return _read_again(path)


def _to_keras(model: fastnn.Sequential, path: Path, weights: str | None) -> Answer:
    del weights
    try:
        model.export_keras(path)
    except ValueError as error:
        model.export_keras(path, training=False)  # raises as well, where it is the network that Keras lacks
        return _read_again(path)._replace(text=f"training    not taken along: {error}")
    return _read_again(path)


def _to_onnx(model: fastnn.Sequential, path: Path, weights: str | None) -> Answer:
    del weights
    model.export_onnx(path)
    if importlib.util.find_spec("onnxruntime") is None:
        return _read_again(path)

    def answer(x: Array) -> Array:
        import onnxruntime

        session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
        types = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
        given = _by_branch(model, x)
        parts = given if isinstance(given, dict) else {"x": given}
        feed = {told.name: parts[told.name].astype(types[told.type]) for told in session.get_inputs()}
        return np.hstack(session.run(None, feed))

    return Answer(answer, "ONNX Runtime")


def _to_c(model: fastnn.Sequential, path: Path, weights: str | None) -> Answer:
    from fastnn.exchange import _to_c

    name = re.sub("[^A-Za-z0-9_]", "_", path.stem)
    usable = re.match("[A-Za-z]", name) and name not in _to_c.RESERVED
    report = model.export_c(path, weights=weights, name=name if usable else f"net_{name}")
    outputs = model._need_engine("convert").plan.outputs
    compiler = next(filter(shutil.which, ("cc", "gcc", "clang")), None)

    def answer(x: Array) -> Array:
        if compiler is None:
            raise NotComparedError("compiling the file needs cc, gcc or clang")
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "net.so"
            command: list[str | Path] = [
                compiler,
                "-std=c99",
                "-O1",
                "-fPIC",
                "-shared",
                "-o",
                library,
                path.resolve(),
                "-lm",
            ]
            if subprocess.run(command, capture_output=True, check=False).returncode:
                raise NotComparedError(f"{compiler} cannot make a library here")
            predict = getattr(ctypes.CDLL(os.fspath(library)), f"{report['name']}_predict")
            real = np.float64 if report["numbers"] == "double" else np.float32
            rows, y = np.ascontiguousarray(x, real), np.empty((len(x), outputs), real)
            workspace = np.empty(report["workspace_bytes"], np.uint8)
            for row, result in zip(rows, y, strict=True):
                predict(*(ctypes.c_void_p(array.ctypes.data) for array in (row, result, workspace)))
        return y

    return Answer(answer, f"{compiler}'s code")


def _to_torch(model: fastnn.Sequential, path: Path, weights: str | None) -> Answer:
    del weights
    text = model.export_torch(path)

    def answer(x: Array) -> Array:
        try:
            return _answers(fastnn.load_torch(path, fastnn.clone_model(model)), x)
        except ValueError as error:
            raise NotComparedError(str(error)) from error

    return Answer(answer, "its weights, read again", text)


FORMATS: dict[str, Callable[[fastnn.Sequential, Path, str | None], Answer]] = {
    ".fastnn": _to_fastnn,
    ".keras": _to_keras,
    ".onnx": _to_onnx,
    ".safetensors": _to_torch,
    ".c": _to_c,
}


# ---- rows ----


def _columns_of_x(plan: Plan, k: int) -> Array | None:
    """Return the columns of x that an op reads as they are; None where it reads something else."""
    op = plan.ops[k]
    if op.input < 0:
        before: Array | None = np.arange(plan.inputs)
    elif plan.ops[op.input].name == "take":
        before = _columns_of_x(plan, op.input)
        if before is not None:
            runs = np.asarray(plan.ops[op.input].vector, int).reshape(-1, 2)
            before = before[np.concatenate([np.arange(first, first + count) for first, count in runs])]
    else:
        return None
    return None if before is None else before[op.first : op.first + op.inputs]


def random_rows(plan: Plan, count: int = ROWS) -> Array:
    """Return rows of normal numbers, and of categories where a network reads such.

    Parameters
    ----------
    plan : Plan
    count : int
        The number of rows.
    """
    generator = np.random.default_rng(0)
    x = generator.normal(size=(count, plan.inputs)).astype(plan.dtype)
    for k, op in enumerate(plan.ops):
        columns = _columns_of_x(plan, k) if op.name in ("embedding", "encode") else None
        if columns is not None:
            x[:, columns] = generator.integers(0, int(op.numbers[0]), (count, len(columns)))
    return x


def _by_branch(model: fastnn.Sequential, x: Array) -> Any:
    """Return rows as a model takes them: a dict of columns where it has branches."""
    shapes = model.input_shape
    if not isinstance(shapes, dict):
        return x.reshape(len(x), *shapes[1:])
    ends = np.cumsum([np.prod(shape[1:], dtype=int) for shape in shapes.values()])
    return dict(zip(shapes, np.split(x, ends[:-1], axis=1), strict=True))


def _answers(model: fastnn.Sequential, x: Array) -> Array:
    """Return what a model predicts, the outputs of heads side by side."""
    y = model.predict(_by_branch(model, x), verbose=0)
    return np.hstack(list(y.values())) if isinstance(y, dict) else np.asarray(y)


# ---- the command ----


def _loaded(path: Path, activation: str | None) -> tuple[fastnn.Sequential, str]:
    """Return the model of a file, compiled where that can be, and a line for the report where something is missing."""
    if owner_of(path) in _OF_WEIGHTS:
        return fastnn.load_torch(path, activation=activation), ""
    if activation:
        raise ValueError(f"activation is for files of weights alone, and {path} says which ones its network has")
    try:
        return fastnn.load_model(path), ""
    except ModelFileError as error:
        try:
            return fastnn.load_model(path, compile=False), f"training    not taken along: {error}"
        except ModelFileError:
            raise error from None


def _difference(model: fastnn.Sequential, answer: Answer) -> str:
    """Return the largest difference of outputs on random rows, or why there is none."""
    raw = raw_reader(model.layers)
    if raw is not None:
        return f"not compared: layer {raw.name!r} reads raw data, and random rows are numbers"
    x = random_rows(model._need_engine("convert").plan)
    try:
        here = _answers(model, x)
    except ValueError as error:  # a layer takes numbers of its own choice, behind others
        return f"not compared: no answer to random rows: {error}"
    try:
        there = answer.of(x)
    except NotComparedError as error:
        return f"not compared: {error}"
    answered = ~(np.isnan(here) & np.isnan(there))
    if not answered.any():
        return "not compared: the network has no answer to random rows"
    apart = np.abs(here.astype(float) - there.astype(float))[answered].max()
    largest = np.nanmax(np.abs(here))
    return f"{apart:.2g} at most on {ROWS:,} random rows, whose outputs reach {largest:.3g}: model and {answer.by}"


def convert(source: Path, target: Path, weights: str | None = None, activation: str | None = None) -> Iterator[str]:
    """Write the network of one file to another, and yield the lines of a report.

    Parameters
    ----------
    source : Path
        Any file that :func:`fastnn.load_model` reads.
    target : Path
        The file to write, whose suffix says in which format: one of :data:`FORMATS`. A file that exists is replaced.
    weights : str, optional
        How C stores matrices: see :meth:`fastnn.Sequential.export_c`.
    activation : str, optional
        What follows each linear layer but the last one, where the source holds weights alone.

    Raises
    ------
    OSError, ValueError, ImportError
        When a file cannot be read, or the other cannot be written; then that is as it was.
    """
    if target.exists() and source.exists() and source.samefile(target):
        raise ValueError(f"{source} and {target} are the same file")
    model, said = _loaded(source, activation)
    parameters = model.count_params()  # raises where the file has no weights
    answer = FORMATS[target.suffix.lower()](model, target, weights)
    layers = [layer for layer in in_line(model.layers) if not isinstance(layer, InputLayer)]
    kinds = Counter(type(layer).__name__ for layer in layers)
    sizes = [path.stat().st_size / 1024 for path in (source, target)]
    yield f"{source} -> {target}"
    yield f"layers      {len(layers)}: {', '.join(f'{n} {kind}' for kind, n in kinds.items())}"
    yield f"parameters  {parameters:,}"
    yield f"size        {sizes[0]:,.1f} KiB -> {sizes[1]:,.1f} KiB"
    yield f"difference  {_difference(model, answer)}"
    yield from filter(None, (said, answer.text))
