"""The headers of objects in HDF5 files, read from the file's bytes, each number checked before it is used.

HDF5 File Format Specification, version 3.0: II.A superblock, IV.A.1 object headers, IV.A.2.b dataspaces.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

from fastnn._file import ModelFileError

NOWHERE = 2**64 - 1
_MOST_BLOCKS = 2**8  # pieces of an object's header
_MOST_MESSAGES = 2**15  # messages of a header
_CONTINUATION = 0x10


def damaged(what: str) -> ModelFileError:
    """Return the error about a file that is not whole."""
    return ModelFileError(f"its HDF5 part is damaged: {what}")


class Headers:
    """An HDF5 file as its objects' headers.

    Parameters
    ----------
    file : binary file
    size : int
        The size of the file in bytes.

    Attributes
    ----------
    size : int
    root : int
        The address of the root group's header.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self.size = file, size
        start = self.bytes_at(0, 48)
        if start[:8] != b"\x89HDF\r\n\x1a\n" or start[8] > 3:
            raise damaged("it does not begin as HDF5 does")
        if start[8] < 2:
            widths, base, place = start[13:15], 24 + 4 * start[8], 64 + 4 * start[8]
        else:
            widths, base, place = start[9:11], 12, 36
        if widths != b"\x08\x08":
            raise damaged("its addresses do not have eight bytes")
        if struct.unpack_from("<Q", start, base)[0]:
            raise ModelFileError("its HDF5 part begins with something else, which Keras does not write")
        self.root: int = struct.unpack("<Q", self.bytes_at(place, 8))[0]

    def check(self, at: int, count: int) -> None:
        """Raise where the file does not have bytes at a place."""
        if count > self.size or at > self.size - count:
            raise damaged("it is cut short, or points beyond its end")

    def bytes_at(self, at: int, count: int) -> bytes:
        """Return bytes of the file; raise where it does not have them."""
        self.check(at, count)
        self._file.seek(at)
        found = self._file.read(count)
        if len(found) != count:
            raise damaged("it is cut short")
        return found

    def messages(self, address: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield kind, flags and content of each message of an object's header."""
        prefix = self.bytes_at(address, 16)
        if prefix[:4] == b"OHDR":
            flags = prefix[5]
            at = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
            width = 1 << (flags & 3)
            block = at + width, int.from_bytes(self.bytes_at(at, width), "little")
            layout = struct.Struct("<BHB2x" if flags & 4 else "<BHB")
        elif prefix[0] == 1:
            block, layout = (address + 16, struct.unpack_from("<I", prefix, 8)[0]), struct.Struct("<HHB3x")
        else:
            raise damaged("an object has no header")
        blocks, seen, left = [block], set[int](), _MOST_MESSAGES
        while blocks:
            start, length = blocks.pop()
            if start in seen or len(seen) >= _MOST_BLOCKS:
                raise damaged("the header of an object goes round, or never ends")
            seen.add(start)
            content = self.bytes_at(start, length)
            if layout.size < 8 and content[:4] == b"OCHK":
                content = content[4:-4]
            at = 0
            while at + layout.size <= len(content):
                kind, count, flags = layout.unpack_from(content, at)
                at += layout.size
                data = content[at : at + count]
                if len(data) < count:
                    raise damaged("a message of a header is cut short")
                at += count
                left -= 1
                if left < 0:
                    raise damaged("the header of an object has too many messages")
                if kind == _CONTINUATION and count >= 16:
                    blocks.append(struct.unpack_from("<QQ", data))
                yield kind, flags, data


def lengths_of(space: bytes) -> list[int] | None:
    """Return the lengths of the axes of a dataspace, none for a single value; None where it holds nothing."""
    if len(space) < 4 or space[0] not in (1, 2):
        raise damaged("a dataspace is of an unknown kind")
    rank, at = space[1], 8 if space[0] == 1 else 4
    if space[0] == 2 and space[3] == 2:
        return None
    if len(space) < at + 8 * rank:
        raise damaged("a dataspace is cut short")
    return list(struct.unpack_from(f"<{rank}Q", space, at))
