"""Files of safetensors that others have written: checked whole before a tensor is read, and read tensor by tensor.

Layout: 8 bytes, the little-endian length of the header; the header, JSON, which says of each tensor its element type,
its shape and where its bytes lie; the bytes, without gaps (https://github.com/huggingface/safetensors).
:mod:`fastnn._file` has the same container with a checksum, for the models of fastnn.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import _file
from fastnn._file import Entry, ModelFileError
from fastnn._foreign import kind_of_file

Array = npt.NDArray[Any]
MAX_HEADER = 2**23  # bytes: a header becomes text of up to four bytes a character, and then objects
MAX_COMMAS = 2**20  # most items in the header's lists and dicts
MAX_AXES = 32
# bytes of an element; other types are passed over, and refused where they are read
_SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2, "U32": 4,
    "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
_WHOLE = "whole safetensors file"
_FLOATS = {"F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8"}


def _state_of(descriptor: int) -> tuple[int, int, int]:
    """Return by what an open file is known to be the one that it was."""
    state = os.fstat(descriptor)
    return state.st_ino, state.st_size, state.st_mtime_ns


class Tensors:
    """The tensors of a file, by name, in the order in which their bytes lie.

    Parameters
    ----------
    path : path-like

    Attributes
    ----------
    metadata : dict of str
    entries : dict of str to Entry

    Raises
    ------
    ModelFileError
        When the file is none of safetensors, or its header does not describe its bytes.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        with self._path.open("rb") as file, _file.one_exception(str(path), _WHOLE, f"is no {_WHOLE}"):
            self._state = _state_of(file.fileno())
            total = self._state[1]
            prefix = file.read(8)
            length = int.from_bytes(prefix, "little")
            if len(prefix) < 8 or length > total - 8:
                file.seek(0)
                start = file.read(512)
                foreign = "" if start[8:9] == b"{" else kind_of_file(start, str(path))
                raise ModelFileError(f"it is {foreign}" if foreign else "its header does not fit the file")
            if length > MAX_HEADER:
                raise ModelFileError(f"its header has {length} bytes, more than {MAX_HEADER}")
            text = file.read(length)
            self._begin = 8 + length
            self.metadata, self.entries = _parsed(text, total - self._begin)

    def __getitem__(self, name: str) -> Array:
        """Return a tensor's numbers as float32 or float64; those of 16 bits become float32 exactly."""
        entry = self.entries[name]
        if entry.dtype not in _FLOATS:
            kind = entry.dtype[:20]
            raise ModelFileError(f"{self._path} has {name[:80]!r} of element type {kind}, and weights are floats")
        buffer = bytearray(entry.end - entry.start)
        with self._path.open("rb") as file:
            file.seek(self._begin + entry.start)
            if _state_of(file.fileno()) != self._state or file.readinto(buffer) != len(buffer):
                raise ModelFileError(f"{self._path} has changed while it was read")
        array = np.frombuffer(buffer, _FLOATS[entry.dtype]).reshape(entry.shape)
        if entry.dtype == "BF16":
            return (array.astype(np.uint32) << 16).view(np.float32)
        return np.asarray(array, np.float64 if entry.dtype == "F64" else np.float32)


def _parsed(text: bytes, payload: int) -> tuple[dict[str, str], dict[str, Entry]]:
    """Return what a header says; raise unless its tensors fill the bytes after it without gaps."""
    if text.count(b",") > MAX_COMMAS:
        raise ModelFileError(f"its header has more than {MAX_COMMAS} items")
    header = _file.parse_json(text, "its header")
    if not isinstance(header, dict):
        raise ModelFileError("its header must be a dict of tensors")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ModelFileError("its header's metadata must be strings")
    entries = {name: _entry(name, described) for name, described in header.items()}
    expected = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != expected:
            raise ModelFileError(f"the bytes of {name[:80]!r} do not begin where those of another tensor end")
        expected = entry.end
    if expected != payload:
        raise ModelFileError(f"its tensors have {expected} bytes, and it holds {payload}")
    return metadata, entries


def _entry(name: str, described: Any) -> Entry:
    entry = _file.entry_of(name, described, MAX_AXES)
    known = _SIZES.get(entry.dtype)
    length = entry.end - entry.start
    if length < 0 or (known is not None and length != known * math.prod(entry.shape)):
        raise ModelFileError(f"the bytes of {name[:80]!r} are not as many as its shape says")
    return entry


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write a file whole or not at all.

    Parameters
    ----------
    path : path-like
    arrays : dict of str to ndarray
        Of float32 or float64.
    metadata : dict of str to str
    """
    little = {name: np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for name, array in arrays.items()}
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, array in little.items():
        end, dtype = offset + array.nbytes, "F64" if array.dtype.itemsize == 8 else "F32"
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    _file.write(path, lambda: [len(text).to_bytes(8, "little"), text, *(array.tobytes() for array in little.values())])
