"""Bytes and arrays: the safetensors container with a checksum, written atomically, safe to read from a stranger.

Layout: 8 bytes, the little-endian length of the header; the header, JSON; the arrays, one after the other, in the
header's order. ``__metadata__`` holds strings: ``format``, ``format_version`` and what :mod:`fastnn.saving` puts there,
and ``sha256``, the digest of everything in the file with its own 64 characters as zeros.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import math
import os
import re
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._foreign import kind_of_file, path_of

FORMAT, VERSION = "fastnn", "1"
MAX_HEADER = 100 * 2**20  # bytes, as in safetensors
MAX_DEPTH = 32  # most nested brackets in JSON
MAX_BRACKETS = 2**18  # most brackets in JSON: two bytes of a file may become an object of 64 bytes or more
MAX_AXES = 8  # most axes of an array; the layers' parameters have one or two
_SIZES = {"F32": 4, "F64": 8}  # bytes of an element
DTYPES = {"float32": "F32", "float64": "F64"}
_CODES = {np.dtype(name).newbyteorder("<").str: code for name, code in DTYPES.items()}
_BLANK = "0" * 64
_DIGEST = '"sha256": "{}"'  # in a header; within a string of it the quotation marks would be escaped
_LEFTOVER = re.compile(r"\..+\.fastnn-[0-9a-f]{16}\.tmp", re.DOTALL)
_BRACKETS = re.compile(rb'\\.|["\[\]{}]', re.DOTALL)


class ModelFileError(ValueError):
    """Says that a file is not a whole, unchanged fastnn model.

    Examples
    --------
    >>> import fastnn
    >>> issubclass(fastnn.ModelFileError, ValueError)
    True
    """


# ---- writing ----


def _bytes(array: npt.NDArray[Any]) -> Any:
    """Return the array's memory as bytes, without a copy."""
    return array.reshape(-1).view(np.uint8).data if array.size else b""


def _header(metadata: Mapping[str, str], arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Return the header, with a blank in the place of the digest."""
    header: dict[str, Any] = {
        "__metadata__": {"format": FORMAT, "format_version": VERSION, **metadata, "sha256": _BLANK}
    }
    offset = 0
    for name, array in arrays.items():
        end = offset + array.nbytes
        header[name] = {"dtype": _CODES[array.dtype.str], "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    return text + b" " * (-len(text) % 8)


def parts(metadata: Mapping[str, str], arrays: Mapping[str, npt.NDArray[Any]]) -> list[Any]:
    """Return the bytes of a file, one buffer after the other; arrays are not copied."""
    little = {n: np.ascontiguousarray(a, a.dtype.newbyteorder("<")) for n, a in arrays.items()}
    digest = hashlib.sha256()
    blank = _header(metadata, little)
    length = len(blank).to_bytes(8, "little")
    buffers = [_bytes(array) for array in little.values()]
    for part in (length, blank, *buffers):
        digest.update(part)
    header = blank.replace(_DIGEST.format(_BLANK).encode(), _DIGEST.format(digest.hexdigest()).encode())
    return [length, header, *buffers]


def write(filepath: str | os.PathLike[str], make_parts: Callable[[], list[Any]]) -> None:
    """Write a file whole or not at all: a new file beside it takes its place once that is on the disk.

    Parameters
    ----------
    filepath : path-like
        The path of the file. Of a link, the file that it points to is replaced. A replaced file passes its mode on.
    make_parts : callable
        Returns the bytes of the file, one buffer after the other.
    """
    filepath = path_of(filepath)
    target = Path(os.path.realpath(filepath))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{filepath} cannot be written: there is no folder {target.parent}")
    if target.exists() and not target.is_file():
        raise OSError(f"{filepath} is no regular file, which a model could replace")
    remove_leftovers(target.parent)
    descriptor, temporary = _new_file(target)
    try:
        with os.fdopen(descriptor, "wb") as file:  # the file stays open, and so locked, until it has its name
            for part in make_parts():
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _new_file(target: Path) -> tuple[int, Path]:
    """Return an empty hidden file beside `target`, with its mode from the start, locked as long as it is open."""
    try:
        mode: int | None = target.stat().st_mode & 0o777
    except FileNotFoundError:
        mode = None
    stem = os.fsdecode(os.fsencode(target.name)[:200])  # a name has at most 255 bytes
    while True:
        temporary = target.with_name(f".{stem}.fastnn-{secrets.token_hex(8)}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        descriptor = os.open(temporary, flags, 0o666 if mode is None else mode)
        try:
            if mode is not None:
                os.fchmod(descriptor, mode)  # sets the bits that the umask took away
            with suppress(OSError):  # some file systems have no locks; there nobody removes leftovers
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if temporary.exists():  # otherwise somebody took the file for a leftover before it was locked
                return descriptor, temporary
        except BaseException:
            temporary.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove the hidden files of writers that were killed, which are those that nobody holds a lock on."""
    with suppress(OSError):
        for path in filter(lambda path: _LEFTOVER.fullmatch(path.name), list(folder.iterdir())):
            with suppress(OSError):  # the file may be another user's, or be locked by its writer
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                finally:
                    os.close(descriptor)


# ---- reading ----


@contextmanager
def one_exception(
    path: str, what: str = "whole model of fastnn", broken: str = "does not describe a model"
) -> Iterator[None]:
    """Raise any error within the block as a ModelFileError that names the file, and `what` it is not.

    Of errors that are no ModelFileError it says that the file is `broken`.

    The bytes of a file may fail anywhere: the checksum is no signature, and its maker may have put anything into it.
    """
    try:
        yield
    except ModelFileError as error:
        raise ModelFileError(f"{path} is no {what}: {error}") from error.__cause__
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        raise ModelFileError(f"{path} {broken}: {error}") from error


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ModelFileError("its header names a key twice")
    return result


def _check_brackets(text: bytes, what: str) -> None:
    """Raise where there are too many lists and dicts, or too deeply nested ones, before any of them is made."""
    if text.count(b"[") + text.count(b"{") <= min(MAX_DEPTH, MAX_BRACKETS):
        return
    depth = count = 0
    quoted = False
    for match in _BRACKETS.finditer(text):
        character = match[0]
        if character == b'"':
            quoted = not quoted
        elif quoted or len(character) > 1:
            continue
        elif character in b"[{":
            depth, count = depth + 1, count + 1
            if depth > MAX_DEPTH:
                raise ModelFileError(f"{what} is nested more than {MAX_DEPTH} deep")
            if count > MAX_BRACKETS:
                raise ModelFileError(f"{what} has more than {MAX_BRACKETS} lists and dicts")
        else:
            depth -= 1


def parse_json(text: bytes, what: str, *, finite: bool = True) -> Any:
    """Return JSON without duplicate keys, deep nesting, many brackets or, where `finite`, NaN and infinity."""

    def refuse(number: str) -> Any:
        raise ModelFileError(f"{what} holds {number}, which is no JSON number")

    _check_brackets(text, what)
    try:
        return json.loads(text.decode(), object_pairs_hook=_no_duplicates, parse_constant=refuse if finite else None)
    except UnicodeDecodeError:
        raise ModelFileError(f"{what} is not text") from None
    except ValueError as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{what} is not valid JSON") from None


def size(value: Any, what: str, low: int = 0) -> int:
    """Return the value as a whole number that can be a size; raise an error that says what it is."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value < 2**62:
        raise ModelFileError(f"{what} must be a whole number from {low} to 2**62, got {str(value)[:40]}")
    return value


class Entry(NamedTuple):
    """What the header of a safetensors file says of an array."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def entry_of(name: str, described: Any, most_axes: int, dtypes: Collection[str] | None = None) -> Entry:
    """Return what a header says of one array; raise where it is no such description, or of none of the `dtypes`."""
    if not isinstance(described, dict) or set(described) != {"dtype", "shape", "data_offsets"}:
        raise ModelFileError(f"its header's entry {name[:80]!r} must have dtype, shape and data_offsets")
    dtype, shape, offsets = described["dtype"], described["shape"], described["data_offsets"]
    known = isinstance(dtype, str) and (dtypes is None or dtype in dtypes)
    if not known or not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        raise ModelFileError(f"its header's entry {name[:80]!r} has a dtype, shape or data_offsets of the wrong kind")
    if len(shape) > most_axes:
        raise ModelFileError(f"{name[:80]!r} has {len(shape)} axes, more than {most_axes}")
    lengths = tuple(size(length, f"a length of {name[:80]!r}") for length in shape)
    return Entry(dtype, lengths, size(offsets[0], "an offset"), size(offsets[1], "an offset"))


def _check_entries(header: dict[str, Any], payload: int) -> None:
    """Raise unless arrays lie one after the other, without holes, and fill the file to its last byte."""
    expected = 0
    for name, described in header.items():
        entry = entry_of(name, described, MAX_AXES, _SIZES)
        if entry.start != expected or entry.end - entry.start != _SIZES[entry.dtype] * math.prod(entry.shape):
            raise ModelFileError(f"the bytes of {name[:80]!r} do not lie where its shape says")
        expected = entry.end
    if expected != payload:
        raise ModelFileError(
            f"it is {'cut short' if payload < expected else 'too long'}: its arrays have {expected} bytes, it holds "
            f"{payload}"
        )


def read(path: str | os.PathLike[str]) -> tuple[dict[str, str], dict[str, npt.NDArray[Any]]]:
    """Return the metadata and the arrays of a file whose checksum is right."""
    path = path_of(path)
    place = Path(path)
    if place.is_dir():
        kind = "a SavedModel of TensorFlow" if (place / "saved_model.pb").exists() else "a folder"
        raise IsADirectoryError(f"{path} is {kind}: a model of fastnn is one file, which save writes")
    with place.open("rb") as file, one_exception(str(path)):
        return parse(file, os.fstat(file.fileno()).st_size, str(path))


def parse(
    file: io.BufferedReader | io.BytesIO, total: int, path: str
) -> tuple[dict[str, str], dict[str, npt.NDArray[Any]]]:
    """Return the metadata and the arrays of an open file of `total` bytes, which messages call `path`."""
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > min(MAX_HEADER, total - 8):
        file.seek(0)
        foreign = kind_of_file(file.read(512), path)
        said = f"it is {foreign}" if foreign else "it is cut short or something else: its header does not fit the file"
        raise ModelFileError(said)
    raw = file.read(length)
    header = parse_json(raw, "its header")
    metadata = header.pop("__metadata__", None) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ModelFileError(
            "its header, as of a safetensors file of something else, does not say that it is one: fastnn.load_torch "
            "reads the weights of PyTorch"
        )
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ModelFileError("its header's metadata must be strings")
    if metadata.get("format_version") != VERSION:
        given = metadata.get("format_version")
        raise ModelFileError(f"its format version is {given!r}, and this fastnn reads '{VERSION}'")
    claimed = metadata.get("sha256", "")
    if not re.fullmatch("[0-9a-f]{64}", claimed) or raw.count(claimed.encode()) != 1:
        raise ModelFileError("its header must hold one sha256 of 64 hexadecimal digits")
    _check_entries(header, total - 8 - length)
    at = raw.index(claimed.encode())
    payload = bytearray(total - 8 - length)
    if file.readinto(payload) != len(payload):
        raise ModelFileError("it is cut short")
    digest = hashlib.sha256(prefix)
    for part in (memoryview(raw)[:at], _BLANK.encode(), memoryview(raw)[at + 64 :], payload):
        digest.update(part)
    if digest.hexdigest() != claimed:
        raise ModelFileError("it is damaged: its checksum does not match")
    arrays = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        dtype = np.dtype("<f4" if entry["dtype"] == "F32" else "<f8")
        arrays[name] = np.frombuffer(payload, dtype, count=(end - start) // dtype.itemsize, offset=start).reshape(
            entry["shape"]
        )
    return metadata, arrays
