"""Zip archives of strangers, of which single entries are read, within bounds that follow from the file's size."""

from __future__ import annotations

import io
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from fastnn._file import ModelFileError

_PIECE = 2**20  # bytes that are read at a time
_MOST_DIRECTORY = 2**20  # bytes of an archive's directory, of which one entry makes an object of half a KiB
_ROOM = 2**25  # bytes that a compressed entry may have beside the size of the file
_LARGEST_TEXT = 2**24  # bytes of a text: a configuration or a vocabulary


@contextmanager
def _one_error(what: str) -> Iterator[None]:
    """Raise whatever the library for archives raises within the block as a ModelFileError."""
    try:
        yield
    except ModelFileError:
        raise
    except (
        zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError, ValueError, TypeError,
        KeyError, IndexError, OverflowError,
    ) as error:  # fmt: skip
        raise ModelFileError(f"{what} is damaged: {(str(error) or type(error).__name__).splitlines()[0]}") from error


class _Window(io.RawIOBase):
    """Some bytes of an open file as a file of their own."""

    def __init__(self, file: IO[bytes], start: int, length: int) -> None:
        super().__init__()
        self._file, self._start, self._length, self._at = file, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = memoryview(buffer)[: max(self._length - self._at, 0)]
        self._file.seek(self._start + self._at)
        found = self._file.read(len(wanted))
        wanted[: len(found)] = found
        self._at += len(found)
        return len(found)


class _ShortReads(_Window):
    """A file of which no large piece is read at once, as the directory of a hostile archive would be."""

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._length - self._at if size is None or size < 0 else size
        if wanted > _MOST_DIRECTORY:
            raise ModelFileError("its directory is larger than that of any archive of Keras")
        return super().read(max(wanted, 0)) or b""


def _pieces(file: IO[bytes], size: int) -> Iterator[bytes]:
    """Yield the first `size` bytes of a file, some at a time."""
    file.seek(0)
    while size > 0:
        piece = file.read(min(size, _PIECE))
        if not piece:
            raise ModelFileError("it is cut short")
        size -= len(piece)
        yield piece


# ---- archives ----


class Archive:
    """A zip archive of which single entries are read; nothing is ever unpacked into a folder.

    Parameters
    ----------
    file : binary file
        It stays open.
    size : int
        The size of the file in bytes.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._size = file, size
        with _one_error("its zip archive"):
            entries = zipfile.ZipFile(_ShortReads(file, 0, size)).infolist()
        self._entries = {entry.filename: entry for entry in entries}
        if len(self._entries) != len(entries):
            raise ModelFileError("its archive holds a name twice")
        for name in self._entries:
            if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
                raise ModelFileError(f"its archive holds the name {name[:80]!r}, which leads out of a folder")

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def text(self, name: str) -> bytes:
        """Return the bytes of a small entry."""
        if self._entry(name).file_size > _LARGEST_TEXT:
            raise ModelFileError(f"{name[:80]!r} in its archive has more than {_LARGEST_TEXT} bytes")
        return b"".join(self._unpacked(name))

    def open(self, name: str) -> tuple[IO[bytes], int]:
        """Return an entry as a file that can be read anywhere, and its size; the entry's checksum is right."""
        entry = self._entry(name)
        if entry.compress_type == zipfile.ZIP_STORED:
            for _ in self._unpacked(name):
                pass
            return io.BufferedReader(self._window(entry)), entry.file_size
        unpacked = tempfile.TemporaryFile()  # noqa: SIM115  # the caller closes it
        try:
            for piece in self._unpacked(name):
                unpacked.write(piece)
        except BaseException:
            unpacked.close()
            raise
        return unpacked, entry.file_size

    def _entry(self, name: str) -> zipfile.ZipInfo:
        entry = self._entries.get(name)
        if entry is None:
            raise ModelFileError(f"its archive holds no {name!r}")
        if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ModelFileError(f"{name!r} in its archive is encrypted or compressed in an unusual way")
        if entry.file_size > self._size + _ROOM:
            raise ModelFileError(
                f"{name!r} would be {entry.file_size} bytes, which a file of {self._size} bytes cannot hold"
            )
        return entry

    def _window(self, entry: zipfile.ZipInfo) -> _Window:
        """Return the bytes of an entry as they lie in the file."""
        with _one_error("its zip archive"):
            self._file.seek(entry.header_offset)
            header = self._file.read(30)
            if header[:4] != b"PK\x03\x04":
                raise ModelFileError(f"its archive has no {entry.filename!r} where its directory says")
            start = entry.header_offset + 30 + sum(int.from_bytes(header[k : k + 2], "little") for k in (26, 28))
            if entry.compress_size > self._size - start:
                raise ModelFileError("it is cut short")
        return _Window(self._file, start, entry.compress_size)

    def _unpacked(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of an entry, some at a time; raise in the end where they are not those that were packed."""
        entry = self._entry(name)
        packed = _pieces(io.BufferedReader(self._window(entry)), entry.compress_size)
        checksum = total = 0
        for piece in packed if entry.compress_type == zipfile.ZIP_STORED else _inflated(packed):
            checksum, total = zlib.crc32(piece, checksum), total + len(piece)
            if total > entry.file_size:
                break
            yield piece
        if total != entry.file_size or checksum != entry.CRC:
            raise ModelFileError(f"{name!r} in its archive is damaged: its checksum does not match")


def _inflated(packed: Iterator[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    with _one_error("its zip archive"):
        for piece in packed:
            while piece:
                yield inflater.decompress(piece, _PIECE)
                piece = inflater.unconsumed_tail
        yield inflater.flush()
