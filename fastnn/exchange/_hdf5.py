"""HDF5 files of strangers: groups, attributes that are texts, and arrays of numbers, as far as Keras writes such.

The library for HDF5 believes what a damaged file says: it asks for as much memory as a text claims to have, and follows
addresses that go round for ever. So the few structures that files of Keras consist of are read here, and each of their
numbers is checked before it is used (HDF5 File Format Specification, version 3.0: III.A.1 B-trees, III.B symbol nodes,
III.D local heaps, IV.A.2 messages). Keras writes arrays whole, so arrays in chunks, compressed, in other files or of
other kinds than numbers are refused.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._file import MAX_AXES, ModelFileError
from fastnn.exchange._hdf5_headers import NOWHERE, Headers, damaged, lengths_of
from fastnn.exchange._hdf5_texts import Attribute, Texts

_ROOM = 2**25  # bytes that the texts of an attribute may have beside the size of the file
_LARGEST_TEXT = 2**24  # bytes of the texts of an attribute: a configuration
_MOST_NAMES = 2**14  # names in a list, or in a group
_MOST_NODES = 2**12  # nodes of the tree of a group
_DEEPEST = 64  # names in the path of an array
_SPACE, _LINKS, _TYPE, _LINK, _EXTERNAL, _LAYOUT, _FILTERS, _SYMBOLS = 1, 2, 3, 6, 7, 8, 11, 17
_HARD, _ELSEWHERE = 0, -1
_COMPACT, _CONTIGUOUS = 0, 1  # classes of layouts
_WHOLE_NUMBERS, _FLOATS = 0, 1  # classes of types
# where the bits of a floating-point number lie, by its size: all, exponent and mantissa, each with its width; the bias
_IEEE = {
    2: (0, 16, 10, 5, 0, 10, 15),
    4: (0, 32, 23, 8, 0, 23, 127),
    8: (0, 64, 52, 11, 0, 52, 1023),
}


class Variable(NamedTuple):
    """An array of a file that has been found to lie there whole.

    Attributes
    ----------
    path : str
    shape : tuple of int
    dtype : dtype
    place : int or bytes
        Where in the file its numbers begin, or its numbers.
    headers : Headers
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    place: int | bytes
    headers: Headers

    def read(self) -> npt.NDArray[Any]:
        """Return the array, which cannot be written."""
        size = math.prod(self.shape) * self.dtype.itemsize
        held = self.place if isinstance(self.place, bytes) else self.headers.bytes_at(self.place, size)
        return np.frombuffer(held, self.dtype, math.prod(self.shape)).reshape(self.shape)


class Tree:
    """An HDF5 file.

    Parameters
    ----------
    file : binary file
        It stays open as long as the tree is read.
    size : int
        The size of the file in bytes; the arrays that are asked for may not have more bytes together.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._left = size
        self._headers = Headers(file, size)
        self._texts = Texts(self._headers, min(size + _ROOM, _LARGEST_TEXT), _MOST_NAMES)
        self._groups: dict[int, dict[str, tuple[int, int]]] = {}  # what groups hold, by the addresses of their headers

    # ---- groups ----

    def _at(self, path: str) -> int | None:
        """Return the address of the group or the array at a path; None where there is none."""
        here, names = self._headers.root, [name for name in path.split("/") if name]
        if len(names) > _DEEPEST:
            raise ModelFileError(f"{path[:80]!r} is nested more than {_DEEPEST} deep")
        for name in names:
            kind, address = self._group(here).get(name, (_HARD, NOWHERE))
            if kind != _HARD:
                raise ModelFileError(f"{path[:80]!r} is a link to elsewhere, which Keras does not write")
            if address == NOWHERE:
                return None
            here = address
        return here

    def __contains__(self, path: str) -> bool:
        return self._at(path) is not None

    def children(self, path: str) -> list[str]:
        """Return the names in a group, in no order of meaning; none where there is no group."""
        address = self._at(path)
        return [] if address is None else list(self._group(address))

    def _group(self, address: int) -> dict[str, tuple[int, int]]:
        """Return kind and address of what a group holds, by name; nothing where the address is no group's."""
        if address not in self._groups:
            found: dict[str, tuple[int, int]] = {}
            for name, kind, place in self._links(address):
                if len(found) >= _MOST_NAMES:
                    raise ModelFileError(f"a group of it holds more than {_MOST_NAMES} names")
                found[name.decode("utf-8", "replace")] = kind, place
            self._groups[address] = found
        return self._groups[address]

    def _links(self, address: int) -> Iterator[tuple[bytes, int, int]]:
        """Yield name, kind and address of each link of a group."""
        for kind, _, data in self._headers.messages(address):
            if kind == _SYMBOLS and len(data) >= 16:
                yield from self._symbols(*struct.unpack_from("<QQ", data))
            elif kind == _LINK:
                yield _link(data)
            elif kind == _LINKS:
                at = 10 if len(data) > 1 and data[1] & 1 else 2
                if len(data) >= at + 8 and struct.unpack_from("<Q", data, at)[0] != NOWHERE:
                    raise ModelFileError("a group of it is of HDF5's newest kind, which Keras does not write")

    def _symbols(self, tree: int, heap: int) -> Iterator[tuple[bytes, int, int]]:
        """Yield the links of a group of the oldest kind, from the tree and the heap of its names."""
        start = self._headers.bytes_at(heap, 32)
        size, names = struct.unpack_from("<Q", start, 8)[0], struct.unpack_from("<Q", start, 24)[0]
        if start[:4] != b"HEAP":
            raise damaged("a group has no names")
        texts = self._headers.bytes_at(names, size)
        waiting, seen = [tree], set[int]()
        while waiting:
            node = waiting.pop()
            if node in seen or len(seen) >= _MOST_NODES:
                raise damaged("a group goes round, or never ends")
            seen.add(node)
            start = self._headers.bytes_at(node, 8)
            if start[:4] == b"SNOD":
                yield from self._entries(node, struct.unpack_from("<H", start, 6)[0], texts)
            elif start[:5] == b"TREE\0":
                count = struct.unpack_from("<H", start, 6)[0]
                places = struct.unpack(f"<{2 * count}Q", self._headers.bytes_at(node + 24, 16 * count))
                waiting += places[1::2][::-1]
            else:
                raise damaged("a group is not where it should be")

    def _entries(self, node: int, count: int, texts: bytes) -> Iterator[tuple[bytes, int, int]]:
        """Yield the links of a node of a group."""
        content = self._headers.bytes_at(node + 8, 40 * count)
        for k in range(count):
            name, address, cached = struct.unpack_from("<QQI", content, 40 * k)
            end = texts.find(b"\0", name) if name < len(texts) else -1
            if end < 0:
                raise damaged("a name is not where it should be")
            yield texts[name:end], _ELSEWHERE if cached == 2 else _HARD, address

    # ---- attributes ----

    def _attribute(self, path: str, name: str) -> Attribute | None:
        address = self._at(path)
        return None if address is None else self._texts.attribute(address, name)

    def text(self, path: str, name: str) -> bytes | None:
        """Return the attribute of a group that is a text; None where there is none."""
        found = self._attribute(path, name)
        return found.texts[0] if found is not None and found.single and found.texts else None

    def names(self, path: str, name: str) -> list[str] | None:
        """Return the attribute of a group that is a list of names, which may be in parts: name0, name1, ..."""
        whole = self._attribute(path, name)
        if whole is not None:
            parts = [whole]
        else:
            parts, left = [], _MOST_NAMES
            while (part := self._attribute(path, f"{name}{len(parts)}")) is not None and left > 0:
                left -= len(part.texts) + 1
                parts.append(part)
            if not parts:
                return None
        return [one.decode("utf-8", "replace") for part in parts for one in part.texts]

    # ---- arrays ----

    def variable(self, path: str) -> Variable | None:
        """Return the array of numbers at a path; None where there is none.

        Raises
        ------
        ModelFileError
            When it does not lie in the file whole, or when this and the arrays before have more bytes than the file.
        """
        address = self._at(path)
        if address is None:
            return None
        held: dict[int, bytes] = {}
        for kind, flags, data in self._headers.messages(address):
            if kind in (_SPACE, _TYPE, _EXTERNAL, _LAYOUT, _FILTERS):
                held[kind] = b"" if flags & 2 else data
        if _LAYOUT not in held:
            return None  # a group
        lengths, dtype = lengths_of(held.get(_SPACE, b"")), _dtype(held.get(_TYPE, b""))
        if lengths is None or dtype is None or len(lengths) > MAX_AXES:
            raise ModelFileError(f"{path[:80]!r} is no array of numbers")
        size = math.prod(lengths) * dtype.itemsize
        place = None if _EXTERNAL in held or _FILTERS in held else _place(held[_LAYOUT], size)
        if place is None:
            raise ModelFileError(
                f"{path[:80]!r} is in chunks, compressed or in another file, and Keras writes arrays whole"
            )
        if place == NOWHERE:
            raise ModelFileError(f"{path[:80]!r} has a shape and no numbers")
        if size > self._left:
            raise ModelFileError(f"{path[:80]!r} would be {size} bytes, more than the file has left for it")
        if isinstance(place, int) and size:
            self._headers.check(place, size)
        self._left -= size
        return Variable(path, tuple(lengths), dtype, place, self._headers)


def _link(data: bytes) -> tuple[bytes, int, int]:
    """Return name, kind and address of a link from its message."""
    if len(data) < 4 or data[0] != 1:
        raise damaged("a link is of an unknown kind")
    flags, at, kind = data[1], 2, _HARD
    if flags & 8:
        kind, at = data[at], at + 1
    at += (8 if flags & 4 else 0) + (1 if flags & 16 else 0)
    width = 1 << (flags & 3)
    length = int.from_bytes(data[at : at + width], "little")
    at += width
    name = data[at : at + length]
    if len(name) < length or (kind == _HARD and len(data) < at + length + 8):
        raise damaged("a link is cut short")
    return name, kind, struct.unpack_from("<Q", data, at + length)[0] if kind == _HARD else NOWHERE


def _dtype(kind: bytes) -> np.dtype[Any] | None:
    """Return the type of numbers as NumPy knows it; None for any other type."""
    if len(kind) < 12:
        return None
    of, bits, size = kind[0] & 15, kind[1], struct.unpack_from("<I", kind, 4)[0]
    order = ">" if bits & 1 else "<"
    if of == _WHOLE_NUMBERS and size in (1, 2, 4, 8) and struct.unpack_from("<HH", kind, 8) == (0, 8 * size):
        return np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}")
    whole = of == _FLOATS and size in _IEEE and len(kind) >= 20 and not bits & 64
    if whole and struct.unpack_from("<HHBBBBI", kind, 8) == _IEEE[size]:
        return np.dtype(f"{order}f{size}")
    return None


def _place(layout: bytes, size: int) -> int | bytes | None:
    """Return where an array lies, or its bytes, from the message about its layout; None where it lies in pieces."""
    if len(layout) < 4 or layout[0] not in (3, 4):
        return None
    if layout[1] == _COMPACT:
        held = layout[4 : 4 + struct.unpack_from("<H", layout, 2)[0]]
        return held if len(held) >= size else NOWHERE
    if layout[1] != _CONTIGUOUS or len(layout) < 18:
        return None
    address, held_bytes = struct.unpack_from("<QQ", layout, 2)
    return int(address) if held_bytes >= size else NOWHERE
