"""Attributes of HDF5 files that are texts, read from the file's bytes.

The library for HDF5 believes what a damaged file says of a text's length, and of where the next text lies: it asks for
that much memory, or looks for ever. These few structures are therefore read here, each number of them checked before it
is used (HDF5 File Format Specification, version 3.0: II.A superblock, IV.A.1 object headers, IV.A.2.m attributes, III.E
global heap).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import IO, NamedTuple

from fastnn._file import ModelFileError

_MOST_BLOCKS = 2**8  # pieces of an object's header
_MOST_OBJECTS = 2**17  # texts of a collection
_ATTRIBUTE, _CONTINUATION, _MANY_ATTRIBUTES = 0x0C, 0x10, 0x15
_NOWHERE = 2**64 - 1
_FIXED, _ANY_LENGTH = 3, 9  # classes of types


class Attribute(NamedTuple):
    """An attribute that is a text, or a list of texts.

    Attributes
    ----------
    texts : list of bytes
    single : bool
        Whether it is one text, and no list.
    """

    texts: list[bytes]
    single: bool


def _damaged(what: str) -> ModelFileError:
    return ModelFileError(f"its HDF5 part is damaged: {what}")


class Texts:
    """The attributes of an HDF5 file.

    Parameters
    ----------
    file : binary file
    size : int
        The size of the file in bytes.
    most : int
        How many bytes the texts of one attribute may have.
    most_texts : int
        How many texts an attribute may have.
    """

    def __init__(self, file: IO[bytes], size: int, most: int, most_texts: int) -> None:
        self._file, self._size, self._most, self._most_texts = file, size, most, most_texts
        self._collections: dict[int, dict[int, tuple[int, int]]] = {}
        start = self._bytes(0, 16)
        widths = start[13:15] if start[8] < 2 else start[9:11]
        if widths != b"\x08\x08":
            raise _damaged("its addresses do not have eight bytes")

    def _bytes(self, at: int, count: int) -> bytes:
        """Return bytes of the file; raise where it does not have them."""
        if count > self._size or at > self._size - count:
            raise _damaged("it is cut short, or points beyond its end")
        self._file.seek(at)
        found = self._file.read(count)
        if len(found) != count:
            raise _damaged("it is cut short")
        return found

    # ---- object headers ----

    def attribute(self, address: int, name: str) -> Attribute | None:
        """Return the attribute of the object whose header lies at this address; None where it has none of the name.

        Raises
        ------
        ModelFileError
            When the attribute is no text, or the file is damaged.
        """
        wanted = name.encode()
        for kind, flags, data in self._messages(address):
            if kind == _MANY_ATTRIBUTES and self._are_elsewhere(data):
                raise ModelFileError("it keeps its attributes as the newest HDF5 does, and Keras does not")
            if kind == _ATTRIBUTE:
                if flags & 2:
                    raise _damaged("an attribute is shared")
                found = self._parsed(data, wanted)
                if found is not None:
                    return found
        return None

    @staticmethod
    def _are_elsewhere(data: bytes) -> bool:
        """Return whether attributes lie in a heap of their own, by the message about them."""
        at = 4 if len(data) > 1 and data[1] & 1 else 2
        return len(data) >= at + 8 and struct.unpack_from("<Q", data, at)[0] != _NOWHERE

    def _messages(self, address: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield kind, flags and content of each message of an object's header."""
        prefix = self._bytes(address, 16)
        if prefix[:4] == b"OHDR":
            flags = prefix[5]
            at = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
            width = 1 << (flags & 3)
            block = at + width, int.from_bytes(self._bytes(at, width), "little")
            layout = struct.Struct("<BHB2x" if flags & 4 else "<BHB")
        elif prefix[0] == 1:
            block, layout = (address + 16, struct.unpack_from("<I", prefix, 8)[0]), struct.Struct("<HHB3x")
        else:
            raise _damaged("an object has no header")
        blocks, seen = [block], set[int]()
        while blocks:
            start, length = blocks.pop()
            if start in seen or len(seen) >= _MOST_BLOCKS:
                raise _damaged("the header of an object goes round, or never ends")
            seen.add(start)
            content = self._bytes(start, length)
            if layout.size < 8 and content[:4] == b"OCHK":
                content = content[4:-4]
            at = 0
            while at + layout.size <= len(content):
                kind, count, flags = layout.unpack_from(content, at)
                at += layout.size
                data = content[at : at + count]
                if len(data) < count:
                    raise _damaged("a message of a header is cut short")
                at += count
                if kind == _CONTINUATION and count >= 16:
                    blocks.append(struct.unpack_from("<QQ", data))
                yield kind, flags, data

    # ---- attributes ----

    def _parsed(self, data: bytes, wanted: bytes) -> Attribute | None:
        """Return the attribute of a message where it has the name."""
        if len(data) < 9:
            raise _damaged("an attribute is cut short")
        version, flags, *sizes = struct.unpack_from("<BBHHH", data)
        if version not in (1, 2, 3) or (version > 1 and flags):
            raise _damaged("an attribute is of an unknown kind")
        at, parts = 9 if version == 3 else 8, []
        for size in sizes:
            part = data[at : at + size]
            if len(part) < size:
                raise _damaged("an attribute is cut short")
            parts.append(part)
            at += size + (-size % 8 if version == 1 else 0)
        name, kind, space = parts
        if name.rstrip(b"\0") != wanted:
            return None
        lengths = _lengths(space)
        count = 0 if lengths is None else math.prod(lengths)
        if count > self._most_texts:
            raise ModelFileError(f"its attribute {wanted.decode()!r} has more than {self._most_texts} texts")
        return Attribute(self._texts(kind, data[at:], count, wanted.decode()), lengths == [])

    def _texts(self, kind: bytes, data: bytes, count: int, name: str) -> list[bytes]:
        """Return the texts of an attribute of this type."""
        if count == 0:
            return []
        if len(kind) < 8:
            raise _damaged("a type is cut short")
        of, bits, size = kind[0] & 15, kind[1], struct.unpack_from("<I", kind, 4)[0]
        if of == _FIXED and 0 < size <= len(data) // count:
            return [data[k * size : (k + 1) * size].rstrip(b"\0") for k in range(count)]
        if of != _ANY_LENGTH or bits & 15 != 1:
            raise ModelFileError(f"its attribute {name!r} is no text")
        if len(data) < 16 * count:
            raise _damaged("an attribute is cut short")
        places = [struct.unpack_from("<IQI", data, 16 * k) for k in range(count)]
        # several places may name one text, so that a short list of them is long once it is read
        if sum(length for length, _, _ in places) > self._most:
            raise ModelFileError(f"its attribute {name!r} is a list of very long texts")
        return [self._text(*place) for place in places]

    # ---- the heap of texts ----

    def _text(self, length: int, collection: int, number: int) -> bytes:
        """Return a text of a collection."""
        if length == 0:
            return b""
        if collection not in self._collections:
            self._collections[collection] = self._objects(collection)
        start, size = self._collections[collection].get(number, (0, 0))
        if length > size:
            raise _damaged("a text is longer than its place")
        return self._bytes(start, length).partition(b"\0")[0]

    def _objects(self, address: int) -> dict[int, tuple[int, int]]:
        """Return place and size of each text of the collection at an address, by its number."""
        start = self._bytes(address, 16)
        size = struct.unpack_from("<Q", start, 8)[0]
        if start[:5] != b"GCOL\x01" or size > self._size - address:
            raise _damaged("a collection of texts is not where it should be")
        found: dict[int, tuple[int, int]] = {}
        at, end = address + 16, address + size
        while at + 16 <= end:
            number, _, length = struct.unpack("<HH4xQ", self._bytes(at, 16))
            if number == 0:
                break
            if length > end - at - 16 or len(found) >= _MOST_OBJECTS:
                raise _damaged("a collection of texts is longer than its place")
            found[number] = at + 16, length
            at += 16 + length + -length % 8
        return found


def _lengths(space: bytes) -> list[int] | None:
    """Return the lengths of the axes of a dataspace, none for a single value; None where it holds nothing."""
    if len(space) < 4 or space[0] not in (1, 2):
        raise _damaged("a dataspace is of an unknown kind")
    rank, at = space[1], 8 if space[0] == 1 else 4
    if space[0] == 2 and space[3] == 2:
        return None
    if len(space) < at + 8 * rank:
        raise _damaged("a dataspace is cut short")
    return list(struct.unpack_from(f"<{rank}Q", space, at))
