"""Files of other programs, recognized by name and by content, so that messages can say what to do with them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

_SUFFIXES = {
    ".keras": "Keras",
    ".h5": "Keras",
    ".hdf5": "Keras",
    ".pb": "TensorFlow",
    ".tflite": "TensorFlow",
    ".pt": "PyTorch",
    ".pth": "PyTorch",
    ".onnx": "ONNX",
    ".pkl": "pickle",
    ".pickle": "pickle",
    ".joblib": "joblib",
    ".npy": "NumPy",
    ".npz": "NumPy",
}
_OURS = (b'"format": "fastnn"', b'"format_version"')  # the first words of our header: one of them may be damaged
_TORCH_1 = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # the number with which files of PyTorch 1.5 and before begin
FROZEN = b"\x89FNN\r\n\x1a\n"  # the first bytes of a file of Predictor.save
_READ = "fastnn.load_keras reads it, and so does load_model"
_MOVE = "give its weights to a model of the same layers here, with set_weights"
_ADVICE = {
    "Keras": _READ,
    "TensorFlow": f"load it there, and {_MOVE}",
    "PyTorch": "fastnn.load_torch reads it, and so does load_model",
    "safetensors": "fastnn.load_torch reads it, and so does load_model",
    "ONNX": "fastnn.load_onnx reads it, and so does load_model",
    "pickle": "load it with what wrote it, and only if you trust whom it comes from",
    "joblib": "load it with joblib.load, and only if you trust whom it comes from",
    "NumPy": "numpy.load reads it, and set_weights takes the arrays",
    "Predictor.save": "fastnn.load_predictor reads it, a frozen network without the layers of a model",
}


def path_of(filepath: str | bytes | os.PathLike[Any], argument: str = "filepath", what: str = "a file") -> str:
    """Return the path of a file, or of a folder, as text.

    Raises
    ------
    TypeError, ValueError
        When it is no path, or empty; the message calls it `argument`.
    """
    try:
        path = os.fsdecode(filepath)
    except TypeError:
        raise TypeError(f"{argument} must be the path of {what}, got {type(filepath).__name__}") from None
    if not path:
        raise ValueError(f"{argument} must be the path of {what}, got an empty one")
    return path


def suffix_of(path: str) -> str:
    """Return the last suffix of a file's name, in lower case, where another program's format uses it; else ""."""
    suffix = Path(path).suffix.lower()
    return suffix if suffix in _SUFFIXES else ""


def check_suffix(filepath: str | os.PathLike[str], argument: str = "filepath", own: str = ".fastnn") -> None:
    """Raise where a file that fastnn is to write has the suffix of another program's format.

    Raises
    ------
    ValueError
        When the suffix is one of these; the message has the name to use.
    """
    path = path_of(filepath, argument)
    suffix = suffix_of(path)
    if suffix:
        better = f"{path[: -len(suffix)]}{own}"
        raise ValueError(
            f"{argument} {path!r} ends as a file of {_SUFFIXES[suffix]} does, and fastnn writes a format of its own: "
            f"use {better!r}"
        )


def _owner_by_content(start: bytes) -> str:
    """Return whose format the first bytes of a file have; empty where that is not known."""
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return "Keras"
    if start.startswith(FROZEN):
        return "Predictor.save"
    if start.startswith(b"PK\x03\x04"):
        name = start[30 : 30 + int.from_bytes(start[26:28], "little")]
        for part, owner in ((b".pkl", "PyTorch"), (b".npy", "NumPy"), (b".json", "Keras"), (b".h5", "Keras")):
            if name.endswith(part):
                return owner
        if b"/data/" in name:  # TorchScript writes its numbers first
            return "PyTorch"
        if name.startswith(b"assets/"):  # the vocabularies of Keras's layers, where somebody has packed a file anew
            return "Keras"
        return "zip"
    if start.startswith(b"\x93NUMPY"):
        return "NumPy"
    if start[4:8] == b"TFL3":
        return "TensorFlow"
    if start.startswith(_TORCH_1):
        return "PyTorch"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**30 and not any(mark in start for mark in _OURS):
        return "safetensors"
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "pickle"
    if start[:1] == b"\x08" and b"\x03" <= start[1:2] <= b"\x14" and start[2:3] in (b"\x12", b"\x1a", b":", b"B"):
        return "ONNX"  # the version of its format, then one of the fields that follow the version
    return ""


def owner_of(filepath: str | os.PathLike[str]) -> str:
    """Return whose format the content of a file has, as ``"Keras"``; empty where it is fastnn's or nobody knows it.

    Raises
    ------
    OSError
        When the file cannot be read.
    """
    path = Path(path_of(filepath))
    if path.is_dir():
        return ""
    with path.open("rb") as file:
        return _owner_by_content(file.read(512))


def kind_of_file(start: bytes, path: str) -> str:
    """Return what a file that is not fastnn's is, and what to do with it; empty where neither content nor name tells.

    Parameters
    ----------
    start : bytes
        The first bytes of the file; 512 are enough.
    path : str
        The path of the file, whose name counts where its content does not tell.
    """
    owner = _owner_by_content(start)
    named = _SUFFIXES.get(suffix_of(path), "")
    if owner in ("", "zip", "pickle") and named:
        owner = named
    if owner == "zip":
        return "a zip file"
    return f"a file of {owner}: {_ADVICE[owner]}" if owner else ""
