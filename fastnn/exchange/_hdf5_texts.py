"""Attributes of HDF5 files that are texts (HDF5 File Format Specification, version 3.0: IV.A.2.m, III.E)."""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

from fastnn._file import ModelFileError
from fastnn.exchange._hdf5_headers import NOWHERE, Headers, damaged, lengths_of

_MOST_OBJECTS = 2**17  # texts of a collection
_ATTRIBUTE, _MANY_ATTRIBUTES = 0x0C, 0x15
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


class Texts:
    """The attributes of an HDF5 file.

    Parameters
    ----------
    headers : Headers
        The file.
    most : int
        How many bytes the texts of one attribute may have.
    most_texts : int
        How many texts an attribute may have.
    """

    def __init__(self, headers: Headers, most: int, most_texts: int) -> None:
        self._headers, self._most, self._most_texts = headers, most, most_texts
        self._collections: dict[int, dict[int, tuple[int, int]]] = {}

    def attribute(self, address: int, name: str) -> Attribute | None:
        """Return the attribute of the object whose header lies at this address; None where it has none of the name.

        Raises
        ------
        ModelFileError
            When the attribute is no text, or the file is damaged.
        """
        wanted = name.encode()
        for kind, flags, data in self._headers.messages(address):
            if kind == _MANY_ATTRIBUTES and self._are_elsewhere(data):
                raise ModelFileError("it keeps its attributes as the newest HDF5 does, and Keras does not")
            if kind == _ATTRIBUTE:
                if flags & 2:
                    raise damaged("an attribute is shared")
                found = self._parsed(data, wanted)
                if found is not None:
                    return found
        return None

    @staticmethod
    def _are_elsewhere(data: bytes) -> bool:
        """Return whether attributes lie in a heap of their own, by the message about them."""
        at = 4 if len(data) > 1 and data[1] & 1 else 2
        return len(data) >= at + 8 and struct.unpack_from("<Q", data, at)[0] != NOWHERE

    def _parsed(self, data: bytes, wanted: bytes) -> Attribute | None:
        """Return the attribute of a message where it has the name."""
        if len(data) < 9:
            raise damaged("an attribute is cut short")
        version, flags, *sizes = struct.unpack_from("<BBHHH", data)
        if version not in (1, 2, 3) or (version > 1 and flags):
            raise damaged("an attribute is of an unknown kind")
        at, parts = 9 if version == 3 else 8, []
        for size in sizes:
            part = data[at : at + size]
            if len(part) < size:
                raise damaged("an attribute is cut short")
            parts.append(part)
            at += size + (-size % 8 if version == 1 else 0)
        name, kind, space = parts
        if name.rstrip(b"\0") != wanted:
            return None
        lengths = lengths_of(space)
        count = 0 if lengths is None else math.prod(lengths)
        if count > self._most_texts:
            raise ModelFileError(f"its attribute {wanted.decode()!r} has more than {self._most_texts} texts")
        return Attribute(self._texts(kind, data[at:], count, wanted.decode()), lengths == [])

    def _texts(self, kind: bytes, data: bytes, count: int, name: str) -> list[bytes]:
        """Return the texts of an attribute of this type."""
        if count == 0:
            return []
        if len(kind) < 8:
            raise damaged("a type is cut short")
        of, bits, size = kind[0] & 15, kind[1], struct.unpack_from("<I", kind, 4)[0]
        if of == _FIXED and 0 < size <= len(data) // count:
            return [data[k * size : (k + 1) * size].rstrip(b"\0") for k in range(count)]
        if of != _ANY_LENGTH or bits & 15 != 1:
            raise ModelFileError(f"its attribute {name!r} is no text")
        if len(data) < 16 * count:
            raise damaged("an attribute is cut short")
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
            raise damaged("a text is longer than its place")
        return self._headers.bytes_at(start, length).partition(b"\0")[0]

    def _objects(self, address: int) -> dict[int, tuple[int, int]]:
        """Return place and size of each text of the collection at an address, by its number."""
        start = self._headers.bytes_at(address, 16)
        size = struct.unpack_from("<Q", start, 8)[0]
        if start[:5] != b"GCOL\x01" or size > self._headers.size - address:
            raise damaged("a collection of texts is not where it should be")
        found: dict[int, tuple[int, int]] = {}
        at, end = address + 16, address + size
        while at + 16 <= end:
            number, _, length = struct.unpack("<HH4xQ", self._headers.bytes_at(at, 16))
            if number == 0:
                break
            if length > end - at - 16 or len(found) >= _MOST_OBJECTS:
                raise damaged("a collection of texts is longer than its place")
            found[number] = at + 16, length
            at += 16 + length + -length % 8
        return found
