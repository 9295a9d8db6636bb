"""Frozen networks as files, for Python and for libfastnn, with checks in C: src_c/library/file.h has the layout."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn import _file
from fastnn._engine import check_frozen_file
from fastnn._foreign import FROZEN, check_suffix, kind_of_file, path_of
from fastnn._op import Op
from fastnn.data.arrays import RowReader
from fastnn.data.frames import RowAxes
from fastnn.layers import deserialize, serialize
from fastnn.layers._preparation import preparation
from fastnn.plan import Plan

if TYPE_CHECKING:
    from fastnn.layers import Layer

VERSION = 1
_HEAD = struct.Struct("<8sIIQIIQQQQQ56x")
_OP = struct.Struct("<24s24s24sQQqqqqqQqqQ4dQ")
_ALIGNMENT = 64  # bytes: where each part of a file begins
_BFLOAT16, _RAW = 1, 2  # flags


class Frozen(NamedTuple):
    """What a file holds of a predictor.

    Attributes
    ----------
    plan : Plan
        Without layers and without the names of parameters, which the engine does not read.
    parameters : ndarray, shape (size,)
        The flat buffer of the weights.
    reads : RowReader
        How x is read.
    heads : dict or None
        The width of each output by its name, where outputs have names.
    """

    plan: Plan
    parameters: npt.NDArray[Any]
    reads: RowReader
    heads: dict[str, int] | None


# ---- writing ----


def _op_bytes(op: Op) -> bytes:
    names = op.name.encode(), op.activation.encode(), op.mode.encode()
    widths = op.inputs, op.outputs, op.kernel, op.bias, op.mean, op.variance
    places = op.input, op.first, op.source, op.join, op.column
    numbers = (*op.numbers, 0.0, 0.0, 0.0, 0.0)[:4]
    return _OP.pack(*names, *widths, *places, *numbers, len(op.vector))


def _preparing(prepare: Callable[..., Any]) -> list[dict[str, Any]]:
    """Return what a function of :func:`preparation` does, as JSON."""
    held: list[Layer] = prepare.args[0]  # type: ignore[attr-defined]
    return [{"layer": serialize(layer), "names": layer._column_names} for layer in held]


def _description(reads: RowReader, heads: Mapping[str, int] | None) -> bytes:
    """Return what Python needs beside the ops: how x is read, and what the outputs are called."""
    branch_axes = reads.branch_axes
    described = reads._asdict() | {
        "axes": tuple(reads.axes),
        "branch_axes": None if branch_axes is None else {name: tuple(axes) for name, axes in branch_axes.items()},
        "columns": None if reads.columns is None else {name: list(keys) for name, keys in reads.columns.items()},
        "widths": None if reads.widths is None else dict(reads.widths),
        "with_missing": list(reads.with_missing),
        "together": list(reads.together),
        "column_names": {place: list(names) for place, names in reads.column_names.items()},
        "prepare": {name: _preparing(prepare) for name, prepare in (reads.prepare or {}).items()},
    }
    try:
        text = json.dumps({"reads": described, "heads": None if heads is None else dict(heads)})
    except TypeError as error:
        raise ValueError(f"the predictor cannot be saved, as what it knows of x is no JSON: {error}") from error
    return text.encode()


def _parts(frozen: Frozen) -> list[Any]:
    """Return the bytes of a file, one buffer after the other."""
    plan, text = frozen.plan, _description(frozen.reads, frozen.heads)
    constants = np.array([number for op in plan.ops for number in op.vector], "<f8")
    parameters = np.ascontiguousarray(frozen.parameters, frozen.parameters.dtype.newbyteorder("<"))
    parts = [b"".join(map(_op_bytes, plan.ops)), constants.tobytes(), text]
    parts = [part + bytes(-len(part) % _ALIGNMENT) for part in parts]
    size = _HEAD.size + sum(map(len, parts)) + parameters.nbytes
    flags = _BFLOAT16 * plan.bfloat16 + _RAW * bool(frozen.reads.prepare)
    counts = plan.inputs, len(plan.ops), len(constants), len(text), len(parameters)

    def head(checksum: int) -> bytes:
        return _HEAD.pack(FROZEN, VERSION, checksum, size, parameters.itemsize, flags, *counts)

    checksum = zlib.crc32(b"".join([head(0), *parts]))
    checksum = zlib.crc32(parameters.data, checksum)
    return [head(checksum), *parts, parameters.data]


def save(filepath: str | os.PathLike[str], frozen: Frozen) -> None:
    """Write a frozen network to one file; see :meth:`fastnn.Predictor.save`."""
    check_suffix(filepath, own=".fnn")
    parts = _parts(frozen)
    try:
        check_frozen_file(b"".join(parts))
    except ValueError as error:
        raise ValueError(f"the predictor cannot be saved, as its file could not be loaded: {error}") from None
    _file.write(filepath, lambda: parts)


# ---- reading ----


def _name(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("ascii")


def _ops(data: bytes, count: int, constants: npt.NDArray[np.float64]) -> list[Op]:
    ops, start = [], 0
    for fields in _OP.iter_unpack(data[_HEAD.size : _HEAD.size + count * _OP.size]):
        name, activation, mode = map(_name, fields[:3])
        inputs, outputs, kernel, bias, mean, variance, read, first, source, join, column = fields[3:14]
        vector = tuple(constants[start : start + fields[18]].tolist())
        start += fields[18]
        ops.append(
            Op(
                name, activation, inputs, outputs, kernel, bias, fields[14:18], vector, mode, mean, variance,
                read, first, source, join, column,
            )
        )  # fmt: skip
    return ops


def _mapping(value: Any, make: Callable[[Any], Any]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"a dict is needed where it has {str(value)[:40]}")
    return {name: make(one) for name, one in value.items()}


def _axes(value: Any) -> RowAxes:
    told, taken = value
    return RowAxes(None if told is None else tuple(_file.size(axis, "an axis", 1) for axis in told), bool(taken))


def _preparation_of(described: list[dict[str, Any]]) -> Callable[[Any, str], Any]:
    layers = []
    for one in described:
        layer = deserialize(one["layer"])
        if not layer.prepares:
            raise ValueError(f"layer {layer.name!r} reads no raw data")
        names = one["names"]
        layer._column_names = None if names is None else tuple(map(str, names))
        layers.append(layer)
    return preparation(layers)


def _reads(described: dict[str, Any]) -> RowReader:
    columns, widths, axes = described["columns"], described["widths"], described["branch_axes"]
    names, prepare = described["names"], _mapping(described["prepare"], _preparation_of)
    if (columns is None) != (widths is None) or (columns is None) != (axes is None):
        raise ValueError("columns, widths and axes of branches must be there together")
    if columns is not None and (set(columns) != set(widths) or set(columns) != set(axes)):
        raise ValueError("columns, widths and axes must be those of the same branches")
    return RowReader(
        _axes(described["axes"]),
        None if columns is None else _mapping(columns, list),
        None if widths is None else _mapping(widths, lambda width: _file.size(width, "a width", 1)),
        None if axes is None else _mapping(axes, _axes),
        bool(described["missing"]),
        tuple(map(str, described["with_missing"])),
        None if names is None else tuple(map(str, names)),
        prepare or None,
        tuple(map(str, described["together"])),
        _mapping(described["column_names"], lambda known: tuple(map(str, known))),
    )


def parse(data: bytes) -> Frozen:
    """Return what the bytes of a file hold; raise ValueError, or another error of data that are wrong."""
    check_frozen_file(data)
    _, _, _, _, itemsize, flags, inputs, op_count, constant_count, text_size, size = _HEAD.unpack_from(data)
    at = _HEAD.size + op_count * _OP.size
    at += -at % _ALIGNMENT
    constants = np.frombuffer(data, "<f8", constant_count, at)
    at += constants.nbytes + -constants.nbytes % _ALIGNMENT
    described = _file.parse_json(data[at : at + text_size], "its description")
    at += text_size + -text_size % _ALIGNMENT
    dtype = np.dtype("float32" if itemsize == 4 else "float64")
    parameters = np.frombuffer(data, dtype.newbyteorder("<"), size, at)
    ops = tuple(_ops(data, op_count, constants))
    plan = Plan(dtype.name, inputs, ops[-1].outputs, ops, (), size, bool(flags & _BFLOAT16))
    heads, reads = described["heads"], _reads(described["reads"])
    if heads is not None:
        heads = _mapping(heads, lambda width: _file.size(width, "the width of a head", 1))
        if sum(heads.values()) != plan.outputs:
            raise ValueError("its heads must have the outputs of its last step")
    if reads.widths is not None and sum(width or 0 for width in reads.widths.values()) != inputs:
        raise ValueError("its branches must have the columns of x")
    return Frozen(plan, parameters, reads, heads)


def load(filepath: str | os.PathLike[str]) -> Frozen:
    """Return what a file holds; errors as for :func:`fastnn.load_predictor`."""
    filepath = path_of(filepath)
    path = Path(filepath)
    if path.is_dir():
        raise IsADirectoryError(f"{filepath} is a folder: a frozen network is one file, which Predictor.save writes")
    data = path.read_bytes()
    with _file.one_exception(str(filepath), "frozen network", "does not describe a frozen network"):
        if not data.startswith(FROZEN):
            foreign = kind_of_file(data[:512], str(filepath))
            if foreign:
                raise _file.ModelFileError(f"it is {foreign}, and Predictor.save writes such networks")
            if b'"format": "fastnn"' in data[:512]:
                raise _file.ModelFileError("it is a model, which fastnn.load_model reads, and whose freeze gives one")
        try:
            return parse(data)
        except ValueError as error:
            raise _file.ModelFileError(str(error)) from error
