"""HDF5 files and zip archives of strangers, read a piece at a time, within bounds that follow from the file's size.

h5py reads arrays once the questions here have been asked: where a link leads, how an array lies in the file. Texts are
read in :mod:`fastnn.exchange._hdf5_texts`. Keras writes arrays whole, so arrays in chunks, compressed, in other files
or of other kinds than numbers are refused instead of bounded.
"""

from __future__ import annotations

import io
import math
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._file import MAX_AXES, ModelFileError
from fastnn.exchange._hdf5_texts import Attribute, Texts

_PIECE = 2**20  # bytes that are read at a time
_MOST_DIRECTORY = 2**20  # bytes of an archive's directory, of which one entry makes an object of half a KiB
_ROOM = 2**25  # bytes that a compressed entry, and names, may take beside the size of the file
_MOST_NAMES = 2**14  # names in a list of a file
_LARGEST_TEXT = 2**24  # bytes of a text: a configuration or a vocabulary
_DEEPEST = 64  # names in the path of an array


@contextmanager
def _one_error(what: str) -> Iterator[None]:
    """Raise whatever the libraries for files raise within the block as a ModelFileError."""
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


# ---- HDF5 ----


class Variable(NamedTuple):
    """An array of a file that has been found to lie there whole.

    Attributes
    ----------
    path : str
    shape : tuple of int
    dtype : dtype
    dataset : h5py.Dataset
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    dataset: Any

    def read(self) -> npt.NDArray[Any]:
        """Return the array."""
        with _one_error(f"{self.path[:80]!r}"):
            return np.asarray(self.dataset[()])


class Tree:
    """An HDF5 file: groups, attributes that are texts, and arrays of numbers.

    Parameters
    ----------
    file : binary file
        It stays open as long as the tree is read.
    size : int
        The size of the file in bytes; the arrays that are asked for may not have more bytes together.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        try:
            import h5py
        except ImportError:
            raise ImportError("to read a file of Keras needs h5py: pip install 'fastnn-cpu[keras]'") from None
        self._h5py, self._left = h5py, size
        self._groups: dict[str, Any] = {}  # the groups on the way to what was asked for
        self._texts = Texts(file, size, min(size + _ROOM, _LARGEST_TEXT), _MOST_NAMES)
        with _one_error("its HDF5 part"):
            self._root = h5py.File(file, "r")

    def close(self) -> None:
        """Let go of the file."""
        with _one_error("its HDF5 part"):
            self._root.close()

    def _at(self, path: str) -> Any:
        """Return the group or the array at a path; None where there is none. Links to elsewhere are refused."""
        names = [name for name in path.split("/") if name]
        if len(names) > _DEEPEST:
            raise ModelFileError(f"{path[:80]!r} is nested more than {_DEEPEST} deep")
        here, group = self._root, ""
        for k, name in enumerate(names):
            group = f"{group}/{name}"
            known = self._groups.get(group)
            here = self._within(here, name, path) if known is None else known
            if here is None:
                return None
            if k < len(names) - 1:
                self._groups[group] = here
        return here

    def _within(self, group: Any, name: str, path: str) -> Any:
        """Return what a group holds under a name; None where it holds nothing there."""
        if not isinstance(group, self._h5py.Group) or name in (".", "..") or "\0" in name:
            return None
        with _one_error("its HDF5 part"):
            links, key = group.id.links, name.encode()  # which follow no link, as to ask the group itself would
            if not links.exists(key):
                return None
            if links.get_info(key).type != self._h5py.h5l.TYPE_HARD:
                raise ModelFileError(f"{path[:80]!r} is a link to elsewhere, which Keras does not write")
            return group[name]

    def __contains__(self, path: str) -> bool:
        return self._at(path) is not None

    def children(self, path: str) -> list[str]:
        """Return the names in a group, in no order of meaning; none where there is no group."""
        group = self._at(path)
        if not isinstance(group, self._h5py.Group):
            return []
        with _one_error("its HDF5 part"):
            if len(group) > _MOST_NAMES:
                raise ModelFileError(f"{path[:80]!r} holds more than {_MOST_NAMES} names")
            return list(group)

    def _attribute(self, path: str, name: str) -> Attribute | None:
        """Return an attribute that is text, or a list of texts; None where there is none."""
        group = self._at(path)
        if group is None:
            return None
        with _one_error("its HDF5 part"):
            address = int(self._h5py.h5o.get_info(group.id).addr)
        return self._texts.attribute(address, name)

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

    def variable(self, path: str) -> Variable | None:
        """Return the array of numbers at a path; None where there is none.

        Raises
        ------
        ModelFileError
            When it does not lie in the file whole, or when this and the arrays before have more bytes than the file.
        """
        dataset, h5d = self._at(path), self._h5py.h5d
        if dataset is None:
            return None
        with _one_error(f"{path[:80]!r}"):
            if not isinstance(dataset, self._h5py.Dataset):
                return None
            settings = dataset.id.get_create_plist()
            whole = settings.get_layout() in (h5d.CONTIGUOUS, h5d.COMPACT)
            if not whole or settings.get_external_count() or settings.get_nfilters():
                raise ModelFileError(
                    f"{path[:80]!r} is in chunks, compressed or in another file, and Keras writes arrays whole"
                )
            shape, dtype = dataset.shape, dataset.dtype
            if shape is None or dtype.kind not in "fiu" or dtype.itemsize > 8 or len(shape) > MAX_AXES:
                raise ModelFileError(f"{path[:80]!r} is no array of numbers")
            size = math.prod(shape) * dtype.itemsize
            if size > dataset.id.get_storage_size():
                raise ModelFileError(f"{path[:80]!r} has a shape and no numbers")
        if size > self._left:
            raise ModelFileError(f"{path[:80]!r} would be {size} bytes, more than the file has left for it")
        self._left -= size
        return Variable(path, tuple(map(int, shape)), dtype, dataset)
