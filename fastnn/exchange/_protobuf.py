"""Messages of Protocol Buffers, read from a file a field at a time, so that only what is asked for is ever in memory.

A message is a row of fields. A field is a tag, ``number << 3 | kind``, and a value: a varint (kind 0), 8 bytes (1), a
length with as many bytes (2: text, a message within, packed numbers), or 4 bytes (5). Kinds 3 and 4, groups, are of
formats long gone. See https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from fastnn._file import ModelFileError

Span = tuple[int, int]  # where in a file bytes lie: the first, and the one after the last

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WINDOW = 2**16  # bytes of the file that are held for the next fields
_PIECE = 2**20  # bytes of packed numbers that are decoded at a time
MAX_FIELDS = 2**21  # most fields that are read of a file, which take some seconds
MAX_TEXT = 2**12  # most bytes of a name
SLACK = 2**25  # bytes that what is made of a file may take beyond twice the file's own


class Budget:
    """How much memory may go into what a file is read as: twice its bytes and :data:`SLACK`.

    Parameters
    ----------
    size : int
        The bytes of the file.
    """

    def __init__(self, size: int) -> None:
        self.left = 2 * size + SLACK

    def charge(self, size: int, what: str) -> None:
        """Note that `size` bytes are about to be taken; raise where they are too many."""
        if size > self.left:
            raise ModelFileError(f"{what} would take far more memory than the file has bytes")
        self.left -= size


class Source:
    """A file whose fields are read.

    Parameters
    ----------
    file : binary file
    size : int
        Its bytes.
    budget : Budget
        What everything that is made of the file is charged to.
    """

    def __init__(self, file: BinaryIO, size: int, budget: Budget) -> None:
        self.size, self.budget = size, budget
        self._file = file
        self._held: Span = (0, 0)
        self._window = b""
        self._fields = 0

    def read(self, span: Span) -> bytes:
        """Return the bytes of a span."""
        start, end = span
        self._file.seek(start)
        data = self._file.read(end - start)
        if len(data) != end - start:
            raise ModelFileError("it is cut short")
        return data

    def _see(self, at: int) -> None:
        """Hold the bytes from `at` on."""
        self._held = at, min(at + _WINDOW, self.size)
        self._window = self.read(self._held)

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """Return the varint that begins at `at`, and where the next field begins."""
        value = shift = 0
        first, last = self._held
        while at < end:
            if not first <= at < last:
                self._see(at)
                first, last = self._held
            byte = self._window[at - first]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & (2**64 - 1), at
            shift += 7
            if shift > 63:
                break
        raise ModelFileError("a number in it has no end")

    def fields(self, span: Span) -> Iterator[tuple[int, int, Any]]:
        """Yield number, kind and value of each field of a message; the value is an int for varints, else a span."""
        at, end = span
        while at < end:
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise ModelFileError(f"it has more than {MAX_FIELDS} fields")
            tag, at = self.varint(at, end)
            number, kind = tag >> 3, tag & 7
            value: Any
            if kind == VARINT:
                value, at = self.varint(at, end)
                yield number, kind, value
                continue
            if kind == BYTES:
                length, at = self.varint(at, end)
            elif kind in (FIXED64, FIXED32):
                length = 8 if kind == FIXED64 else 4
            else:
                raise ModelFileError(f"a field has the kind {kind}, which no message of today has")
            if length > end - at:
                raise ModelFileError("it is cut short: a field ends after its message")
            value = at, at + length
            at += length
            yield number, kind, value

    def text(self, span: Span, what: str) -> str:
        """Return the text of a span, which is a name of something."""
        if span[1] - span[0] > MAX_TEXT:
            raise ModelFileError(f"{what} has more than {MAX_TEXT} bytes")
        self.budget.charge(128 + 4 * (span[1] - span[0]), what)
        try:
            return self.read(span).decode()
        except UnicodeDecodeError:
            raise ModelFileError(f"{what} is not text") from None

    def integers(self, span: Span, what: str) -> npt.NDArray[np.int64]:
        """Return the varints that lie packed in a span, as signed numbers."""
        pieces, carried, start = [], b"", span[0]
        while start < span[1]:
            stop = min(start + _PIECE, span[1])
            data = carried + self.read((start, stop))
            whole = len(data) if data[-1] < 128 else _ends(data)
            if len(data) - whole > 10:
                raise ModelFileError(f"a number of {what} has no end")
            numbers = _unpacked(data[:whole], what)
            self.budget.charge(2 * numbers.nbytes, what)
            pieces.append(numbers)
            carried, start = data[whole:], stop
        if carried:
            raise ModelFileError(f"a number of {what} has no end")
        return np.concatenate(pieces) if pieces else np.empty(0, np.int64)


def _ends(data: bytes) -> int:
    """Return the number of bytes up to the end of the last whole varint."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) < 128)
    return int(ends[-1]) + 1 if len(ends) else 0


def _unpacked(data: bytes, what: str) -> npt.NDArray[np.int64]:
    """Return the numbers of whole varints: each byte has 7 bits of one, the lowest first."""
    raw = np.frombuffer(data, np.uint8)
    if not len(raw):
        return np.empty(0, np.int64)
    last = np.flatnonzero(raw < 128)
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    if lengths.max() > 10:
        raise ModelFileError(f"a number of {what} has no end")
    result = np.zeros(len(last), np.uint64)
    for place in range(int(lengths.max())):
        longer = lengths > place
        bits = (raw[first[longer] + place] & np.uint8(127)).astype(np.uint64)
        result[longer] |= bits << np.uint64(7 * place)
    return result.view(np.int64)
