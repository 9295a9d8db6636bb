"""Tensors of ONNX files: where their numbers lie, and the numbers, a piece at a time."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._file import MAX_AXES, ModelFileError
from fastnn.exchange._protobuf import BYTES, FIXED32, FIXED64, VARINT, Budget, Source, Span

Array = npt.NDArray[Any]

# the numbers that TensorProto.DataType gives element types: the dtype in a file, and the one in memory
_DTYPES = {
    1: ("<f4", "float32"),
    2: ("u1", "uint8"),
    3: ("i1", "int8"),
    4: ("<u2", "uint16"),
    5: ("<i2", "int16"),
    6: ("<i4", "int32"),
    7: ("<i8", "int64"),
    9: ("u1", "bool"),
    10: ("<f2", "float16"),
    11: ("<f8", "float64"),
    12: ("<u4", "uint32"),
    13: ("<u8", "uint64"),
    16: ("<u2", "float32"),  # bfloat16: the upper half of a float32
}
STRING, BFLOAT16 = 8, 16
_OTHERS = {8: "string", 14: "complex64", 15: "complex128", 21: "uint4", 22: "int4", 23: "float4"}
_PIECE = 2**20  # bytes that are read at a time
_LARGEST = 2**40  # more elements than any file holds


class Place(NamedTuple):
    """Bytes of numbers in a file, as they lie in memory, one after the other."""

    source: Source
    span: Span


def name_of_type(number: int) -> str:
    """Return what ONNX calls the element type of this number."""
    if number == BFLOAT16:
        return "bfloat16"
    return _DTYPES[number][1] if number in _DTYPES else _OTHERS.get(number, f"the type of number {number}")


class Tensor:
    """Numbers of a file, read when they are asked for.

    Parameters
    ----------
    name : str
    data_type : int
        Of TensorProto.DataType.
    shape : tuple of int
    places : list of Place
        Where the bytes lie; empty where `values` are given.
    values : ndarray, optional
        The numbers as far as they had to be decoded.
    """

    def __init__(self, name: str, data_type: int, shape: tuple[int, ...], places: list[Place], values: Any) -> None:
        self.name, self.data_type, self.shape = name, data_type, shape
        self._places, self._values = places, values

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the numbers in memory."""
        if self.data_type not in _DTYPES:
            raise ModelFileError(f"the tensor {self.name!r} holds {name_of_type(self.data_type)}, which are no numbers")
        return np.dtype(_DTYPES[self.data_type][1])

    def pieces(self) -> Iterator[Array]:
        """Yield the numbers in their order, some at a time."""
        if self._values is not None:
            yield self._values
            return
        stored = np.dtype(_DTYPES[self.data_type][0])
        for source, (start, end) in self._places:
            for at in range(start, end, _PIECE):  # a piece is a whole number of elements
                yield _in_memory(np.frombuffer(source.read((at, min(at + _PIECE, end))), stored), self.data_type)

    def array(self, budget: Budget) -> Array:
        """Return all numbers."""
        budget.charge(self.size * self.dtype.itemsize, f"the tensor {self.name!r}")
        result = np.empty(self.size, self.dtype)
        at = 0
        for piece in self.pieces():
            result[at : at + piece.size] = piece.reshape(-1)
            at += piece.size
        return result.reshape(self.shape)


def _in_memory(stored: Array, data_type: int) -> Array:
    """Return numbers as they are used, of numbers as they are stored."""
    if data_type == BFLOAT16:
        return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if data_type == 9:
        return stored != 0
    return stored


def read_tensor(source: Source, span: Span, folder: Folder) -> Tensor:
    """Return the tensor that a TensorProto describes, whose numbers are as many as its shape says."""
    source.budget.charge(1024, "a tensor")
    name, data_type, location = "", 0, 0
    dims: list[int] = []
    places: list[Place] = []
    packed: list[Any] = []
    external: dict[str, str] = {}
    kind_of_data = set()
    for number, kind, value in source.fields(span):
        if number == 1:
            dims += [value] if kind == VARINT else source.integers(value, "a shape").tolist()
        elif number == 2 and kind == VARINT:
            data_type = value
        elif number == 8 and kind == BYTES:
            name = source.text(value, "a tensor's name")
        elif number == 14 and kind == VARINT:
            location = value
        elif number == 13 and kind == BYTES:
            external |= [_pair(source, value)]
        elif number in (9, 4, 10) and kind in (BYTES, FIXED32, FIXED64):
            kind_of_data.add(number)
            source.budget.charge(128, "a tensor's parts")
            places.append(Place(source, value))
        elif number in (5, 7, 11):
            kind_of_data.add(number)
            source.budget.charge(128, "a tensor's parts")
            packed.append(value)
    shape = _checked_shape(dims, name)
    if len(kind_of_data) > 1 or (location and kind_of_data):
        raise ModelFileError(f"the tensor {name!r} has its numbers in two places")
    if location:
        places = [folder.place(external, name)]
    found = Tensor(name, data_type, shape, places, None)
    if data_type != STRING:
        found._values = _check(found, source, kind_of_data, packed)
    return found


def _pair(source: Source, span: Span) -> tuple[str, str]:
    texts = {number: source.text(value, "a key") for number, kind, value in source.fields(span) if kind == BYTES}
    return texts.get(1, ""), texts.get(2, "")


def _checked_shape(dims: list[int], name: str) -> tuple[int, ...]:
    signed = [dim - 2**64 if dim >= 2**63 else dim for dim in dims]
    if len(signed) > MAX_AXES or any(not 0 <= dim < _LARGEST for dim in signed) or math.prod(signed) >= _LARGEST:
        raise ModelFileError(f"the tensor {name!r} has the shape {str(signed)[:60]}, which no array can have")
    return tuple(signed)


def _check(tensor: Tensor, source: Source, kind_of_data: set[int], packed: list[Any]) -> Array | None:
    """Raise unless there are as many numbers as the shape says; return those that lie as varints, decoded."""
    name, dtype = tensor.name, tensor.dtype
    if not packed:
        stored = np.dtype(_DTYPES[tensor.data_type][0]).itemsize
        widths = {4: 1, 10: 11}  # the fields of float and double numbers, and their element types
        if any(number in widths and tensor.data_type != widths[number] for number in kind_of_data):
            raise ModelFileError(f"the tensor {name!r} has numbers of another type than {dtype}")
        spans = [place.span for place in tensor._places]
        held = sum(end - start for start, end in spans)
        if held != tensor.size * stored or any((end - start) % stored for start, end in spans):
            raise ModelFileError(f"the tensor {name!r} of shape {tensor.shape} and {dtype} has {held} bytes")
        return None
    parts = [
        np.array([v], np.uint64).view(np.int64) if isinstance(v, int) else source.integers(v, name) for v in packed
    ]
    numbers = np.concatenate(parts)
    if numbers.size != tensor.size:
        raise ModelFileError(f"the tensor {name!r} of shape {tensor.shape} has {numbers.size} numbers")
    source.budget.charge(numbers.size * 8, f"the tensor {name!r}")
    if dtype.kind == "f" and tensor.data_type not in (10, BFLOAT16):
        raise ModelFileError(f"the tensor {name!r} has whole numbers in the place of {dtype}")
    stored_dtype = np.dtype(_DTYPES[tensor.data_type][0])
    if tensor.data_type in (10, BFLOAT16):
        halves = numbers.astype(np.uint16)  # bits, one number each
        return _in_memory(halves.view(np.float16) if tensor.data_type == 10 else halves, tensor.data_type)
    return _in_memory(numbers.astype(stored_dtype), tensor.data_type)


class Folder:
    """The folder that a model's file lies in, whose other files may hold the numbers of its tensors.

    Parameters
    ----------
    path : path-like, optional
        The folder; None where the model is no file.
    budget : Budget
        Grows by twice the bytes of each such file.
    """

    def __init__(self, path: str | os.PathLike[str] | None, budget: Budget) -> None:
        self._path = None if path is None else Path(path)
        self._budget = budget
        self._open: dict[str, Source] = {}

    def close(self) -> None:
        """Close the files that were opened."""
        for source in self._open.values():
            source._file.close()

    def place(self, described: dict[str, str], name: str) -> Place:
        """Return where the numbers of a tensor lie, of ``location``, ``offset`` and ``length`` in its description."""
        location = described.get("location", "")
        if location not in self._open:
            self._open[location] = self._opened(location, name)
        source = self._open[location]
        start = _whole(described.get("offset", "0"), name)
        length = _whole(described["length"], name) if "length" in described else source.size - start
        if start > source.size or length > source.size - start:
            raise ModelFileError(f"the numbers of the tensor {name!r} lie beyond the end of {location!r}")
        return Place(source, (start, start + length))

    def _opened(self, location: str, name: str) -> Source:
        """Return a file in the folder, no part of whose path is a link."""
        parts = PurePosixPath(location).parts
        if self._path is None or not parts or "\0" in location or location.startswith("/") or ".." in parts:
            raise ModelFileError(f"the numbers of the tensor {name!r} lie in {location[:80]!r}, not in its folder")
        descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in parts:
                more = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = more
        except OSError as error:
            os.close(descriptor)
            raise ModelFileError(
                f"the numbers of the tensor {name!r} lie in {location[:80]!r}, which is no file in its folder: "
                f"{error.strerror}"
            ) from None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise ModelFileError(f"the numbers of the tensor {name!r} lie in {location[:80]!r}, which is no file")
        file, size = os.fdopen(descriptor, "rb"), status.st_size
        self._budget.left += 2 * size
        return Source(file, size, self._budget)


def _whole(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ModelFileError(f"the place of the tensor {name!r} is {text[:40]!r}, which is no whole number")
    return int(text)
