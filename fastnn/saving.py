"""The model file: safetensors with a checksum, written atomically, safe to load from a stranger.

Layout (the safetensors format, so its readers see the weights): 8 bytes, the little-endian length of the header; the
header, JSON; the arrays, one after the other, in the header's order. ``__metadata__`` holds strings: ``format``,
``format_version``, ``config``, ``compile``, ``training`` (JSON) and ``sha256``, the digest of everything in the
file with its own 64 characters as zeros. Nothing in a file is ever executed.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import goals, layers, plan
from fastnn._public import publish
from fastnn.layers.base import NotYetError
from fastnn.models import Sequential

__all__ = ["ModelFileError", "load_model", "load_weights", "save_model"]

FORMAT, VERSION = "fastnn", "1"
MAX_HEADER = 100 * 2**20  # bytes, as in safetensors
MAX_DEPTH = 32  # of nested brackets in JSON
MAX_AXES = 8  # of an array; the layers' parameters have one or two
_DTYPES = {"float32": "F32", "float64": "F64"}
_BLANK = "0" * 64


class ModelFileError(ValueError):
    """The file is not a whole, unchanged fastnn model.

    Examples
    --------
    >>> import fastnn
    >>> issubclass(fastnn.ModelFileError, ValueError)
    True
    """


# ---- writing ----


def _view(flat: npt.NDArray[Any], offset: int, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    return flat[offset : offset + math.prod(shape)].reshape(shape)


def _tensors(model: Sequential, training: bool = True) -> dict[str, npt.NDArray[Any]]:
    """Every array of the file under its name: weights, then optimizer slots where the file is for training."""
    engine = model._engine
    tensors: dict[str, npt.NDArray[Any]] = {}
    if engine is None:
        return tensors
    for spec in engine.plan.parameters:
        tensors[f"{spec.layer}/{spec.name}"] = _view(engine.parameters, spec.offset, spec.shape)
    optimizer = model.optimizer
    slots = optimizer.slots if optimizer is not None and training else ()
    if optimizer is not None and len(engine.slots) == len(slots):
        for slot, flat in zip(slots, engine.slots, strict=True):
            for spec in engine.plan.parameters:
                shape = optimizer.slot_shape(slot.name, spec.shape)
                tensors[f"optimizer/{slot.name}/{spec.layer}/{spec.name}"] = _view(flat, spec.offset, shape)
    return tensors


def _bytes(array: npt.NDArray[Any]) -> Any:
    """The array's memory as bytes, without a copy."""
    return array.reshape(-1).view(np.uint8).data if array.size else b""


def _header(model: Sequential, tensors: Mapping[str, npt.NDArray[Any]], digest: str, training: bool) -> bytes:
    engine = model._engine
    state = {
        "built": None if engine is None else [engine.plan.inputs, engine.plan.dtype],
        "iterations": 0 if engine is None else int(engine.iterations),
        "momentum_product": 1.0 if engine is None else float(engine.momentum_product),
        "seed": model._seed,
        "epochs_done": model._epochs_done,
        "average_swapped": training and engine is not None and engine.average_swapped,
    }
    metadata = {
        "format": FORMAT,
        "format_version": VERSION,
        "config": json.dumps(model.get_config()),
        "compile": json.dumps(model._compile_config() if training else None),
        "training": json.dumps(state),
        "sha256": digest,
    }
    header: dict[str, Any] = {"__metadata__": metadata}
    offset = 0
    for name, array in tensors.items():
        end = offset + array.nbytes
        header[name] = {"dtype": _DTYPES[array.dtype.name], "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    return text + b" " * (-len(text) % 8)


def _parts(model: Sequential, training: bool) -> list[Any]:
    """The bytes of a file, one buffer after the other."""
    model._build_if_waiting()
    little = {n: np.ascontiguousarray(a, a.dtype.newbyteorder("<")) for n, a in _tensors(model, training).items()}
    digest = hashlib.sha256()
    blank = _header(model, little, _BLANK, training)
    length = len(blank).to_bytes(8, "little")
    arrays = [_bytes(array) for array in little.values()]
    for part in (length, blank, *arrays):
        digest.update(part)
    return [length, _header(model, little, digest.hexdigest(), training), *arrays]


def to_bytes(model: Sequential) -> bytes:
    """What :func:`save_model` would write; :func:`from_bytes` reads it."""
    with model._home.lock:
        return b"".join(_parts(model, True))


def save_model(model: Sequential, filepath: str | os.PathLike[str], training: bool = True) -> None:
    """Write a model to one file: configuration, weights and optimizer state, so that training resumes exactly.

    Parameters
    ----------
    model : Sequential
    filepath : path-like
        By convention ``*.fastnn``. A file that exists is replaced only once the new one is whole and on the disk.
    training : bool, default True
        Whether to write what :meth:`fastnn.Sequential.compile` was told, and the state of the optimizer.

    Raises
    ------
    OSError
        When the file cannot be written; an existing one is as it was.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))])
    >>> fastnn.saving.save_model(model, "model.fastnn")
    """
    target = Path(os.path.realpath(filepath))  # what a link points to is replaced, not the link
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{filepath} cannot be written: there is no folder {target.parent}")
    if target.exists() and not target.is_file():
        raise OSError(f"{filepath} is no regular file, which a model could replace")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        with model._home.lock, temporary.open("xb") as file:
            for part in _parts(model, training):
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# ---- reading ----


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ModelFileError("the header names a key twice")
    return result


def _parse_json(text: str, what: str) -> Any:
    """JSON without duplicate keys, deep nesting or numbers that are none."""
    depth = deepest = 0
    quoted = escaped = False
    for character in text:
        if quoted:
            quoted, escaped = escaped or character != '"', character == "\\" and not escaped
        elif character == '"':
            quoted = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    if deepest > MAX_DEPTH:
        raise ModelFileError(f"{what} is nested more than {MAX_DEPTH} deep")

    def refuse(number: str) -> Any:
        raise ModelFileError(f"{what} holds {number}, which is no JSON number")

    try:
        return json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=refuse)
    except ValueError as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{what} is not valid JSON") from None


def _size(value: Any, what: str, low: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value < 2**62:
        raise ModelFileError(f"{what} must be a whole number from {low} to 2**62, got {str(value)[:40]}")
    return value


def _check_entries(header: dict[str, Any], payload: int) -> None:
    """Arrays must lie one after the other, without holes, and fill the file to its last byte."""
    expected = 0
    for name, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ModelFileError(f"the header's entry {name[:80]!r} must have dtype, shape and data_offsets")
        item = {"F32": 4, "F64": 8}.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
        shape, offsets = entry["shape"], entry["data_offsets"]
        if item is None or not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
            raise ModelFileError(
                f"the header's entry {name[:80]!r} has a dtype, shape or data_offsets of the wrong kind"
            )
        if len(shape) > MAX_AXES:
            raise ModelFileError(f"{name[:80]!r} has {len(shape)} axes, more than {MAX_AXES}")
        count = item
        for length in shape:
            count *= _size(length, f"a length of {name[:80]!r}")
        start, end = _size(offsets[0], "an offset"), _size(offsets[1], "an offset")
        if start != expected or end - start != count:
            raise ModelFileError(f"the bytes of {name[:80]!r} do not lie where its shape says")
        expected = end
    if expected != payload:
        raise ModelFileError(f"the file should hold {expected} bytes of arrays, and holds {payload}")


@contextmanager
def _one_exception(path: str) -> Iterator[None]:
    """What bytes that are no model make fail within, whatever it is, as a ModelFileError.

    The checksum is no signature: whoever made the file may have put anything into it.
    """
    try:
        yield
    except ModelFileError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, MemoryError) as error:
        raise ModelFileError(f"{path} does not describe a model: {error}") from error


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, str], dict[str, npt.NDArray[Any]]]:
    """The metadata and the arrays of a file whose checksum is right."""
    with Path(path).open("rb") as file, _one_exception(str(path)):
        return _parse(file, os.fstat(file.fileno()).st_size, str(path))


def _parse(
    file: io.BufferedReader | io.BytesIO, total: int, path: str
) -> tuple[dict[str, str], dict[str, npt.NDArray[Any]]]:
    prefix = file.read(8)
    if prefix.startswith((b"PK\x03\x04", b"\x89HDF")):
        raise ModelFileError(
            f"{path} is no fastnn model but a zip or HDF5 file, as Keras writes: load it there, and give its weights "
            f"to a model of the same layers here, with set_weights"
        )
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > min(MAX_HEADER, total - 8):
        raise ModelFileError(f"{path} is cut short or no fastnn model: its header does not fit the file")
    raw = file.read(length)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise ModelFileError(f"{path} is no fastnn model: its header is not text") from None
    header = _parse_json(text, "the header")
    metadata = header.pop("__metadata__", None) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ModelFileError(f"{path} is no fastnn model: its header does not say so")
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ModelFileError("the header's metadata must be strings")
    if metadata.get("format_version") != VERSION:
        raise ModelFileError(
            f"the file's format version is {metadata.get('format_version')!r}; this fastnn reads '{VERSION}'"
        )
    claimed = metadata.get("sha256", "")
    if not re.fullmatch("[0-9a-f]{64}", claimed) or raw.count(claimed.encode()) != 1:
        raise ModelFileError("the header must hold one sha256 of 64 hexadecimal digits")
    _check_entries(header, total - 8 - length)
    digest = hashlib.sha256(prefix)
    digest.update(raw.replace(claimed.encode(), _BLANK.encode()))
    payload = bytearray(total - 8 - length)
    if file.readinto(payload) != len(payload):
        raise ModelFileError(f"{path} is cut short")
    digest.update(payload)
    if digest.hexdigest() != claimed:
        raise ModelFileError(f"{path} is damaged: its checksum does not match")
    arrays = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        dtype = np.dtype("<f4" if entry["dtype"] == "F32" else "<f8")
        arrays[name] = np.frombuffer(payload, dtype, count=(end - start) // dtype.itemsize, offset=start).reshape(
            entry["shape"]
        )
    return metadata, arrays


def load_model(
    filepath: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,  # noqa: A002  # Keras's name
) -> Sequential:
    """The model of a file that :meth:`fastnn.Sequential.save` wrote.

    Parameters
    ----------
    filepath : path-like
    custom_objects : dict, optional
        By their names, the Python functions and the classes that were losses or metrics of the model. A file holds
        none of their code.
    compile : bool, default True
        Whether to compile the model as it was and to read the state of its optimizer.

    Returns
    -------
    Sequential
        Compiled if it was; further training gives the bits that uninterrupted training would have given.

    Raises
    ------
    ModelFileError
        When the bytes are not a whole, unchanged model, whatever they are; or when a function that the file names is
        not among `custom_objects`.
    OSError
        When the file cannot be read.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))])
    >>> model.save("model.fastnn")
    >>> fastnn.load_model("model.fastnn").count_params()
    3
    """
    objects = {} if custom_objects is None else custom_objects
    if not isinstance(objects, Mapping) or not all(isinstance(name, str) for name in objects):
        raise TypeError(f"custom_objects must be a dict of name to function or class, got {custom_objects!r}")

    def compiled(config: dict[str, Any]) -> dict[str, Any]:
        return goals.with_objects(config, objects)

    return _checked_restore(*_read(filepath), str(filepath), Sequential, compiled if compile else None)


def from_bytes(data: bytes, kind: type[Sequential] = Sequential, functions: dict[str, Any] | None = None) -> Sequential:
    """The model of the bytes that :func:`to_bytes` gave; errors as for :func:`load_model`.

    `functions` stands for what the bytes say of losses and metrics, where those are Python.
    """
    with _one_exception("the bytes given"):
        parsed = _parse(io.BytesIO(data), len(data), "the bytes given")
    return _checked_restore(*parsed, "the bytes given", kind, lambda config: config | (functions or {}))


_Compiled = Callable[[dict[str, Any]], dict[str, Any]]  # the arguments of compile, from what a file says of them


def _checked_restore(
    metadata: dict[str, str],
    arrays: dict[str, npt.NDArray[Any]],
    path: str,
    kind: type[Sequential],
    compiled: _Compiled | None,
) -> Sequential:
    with _one_exception(path):
        return _restore(metadata, arrays, kind, compiled)


def load_weights(model: Sequential, filepath: str | os.PathLike[str]) -> None:
    """Set the weights of a model from a file; see :meth:`fastnn.Sequential.load_weights`.

    Parameters
    ----------
    model : Sequential
    filepath : path-like

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))])
    >>> model.save_weights("weights.fastnn")
    >>> fastnn.saving.load_weights(model, "weights.fastnn")
    """
    model._need_engine("load_weights")
    _, arrays = _read(filepath)
    weights = {name: array for name, array in arrays.items() if not name.startswith("optimizer/")}
    with model._home.setting_weights():
        _fill(_tensors(model, training=False), weights, str(filepath))


def restore(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Put the whole state of a file into a compiled model of the same layers, optimizer and loss.

    Parameters
    ----------
    model : Sequential
        Built and compiled. Its optimizer gets the numbers it had.
    path : path-like

    Raises
    ------
    ModelFileError
        When the file is no whole model, or one of another configuration; the model is as it was then.
    """
    functions = goals.arguments(model._goals) if goals.called(model._goals) else {}
    saved = _checked_restore(*_read(path), str(path), Sequential, lambda config: config | functions)
    if saved._engine is None or model._engine is None or saved.get_config()["layers"] != model.get_config()["layers"]:
        raise ModelFileError(f"{path} holds a model of other layers than this one")
    if type(saved.optimizer) is not type(model.optimizer):
        raise ModelFileError(f"{path} was trained by another optimizer than {type(model.optimizer).__name__}")
    numbers: Any = saved.optimizer
    vars(model.optimizer).update({key: value for key, value in vars(numbers).items() if key != "_engine"})
    with model._home.setting_weights():
        model._ready("restore")
        _fill(_tensors(model), _tensors(saved), str(path))
        model._seed, model._epochs_done = saved._seed, saved._epochs_done
        model._engine.iterations = saved._engine.iterations
        model._engine.momentum_product = saved._engine.momentum_product
        model._engine.average_swapped = saved._engine.average_swapped


def _fill(wanted: dict[str, npt.NDArray[Any]], arrays: dict[str, npt.NDArray[Any]], path: str) -> None:
    """Copy arrays into those of a model, all or none."""
    if set(arrays) != set(wanted):
        odd = sorted(set(arrays) ^ set(wanted))[0]
        raise ModelFileError(f"{path} does not hold the arrays of this model: {odd!r} is in one of them alone")
    for name, array in arrays.items():
        if array.shape != wanted[name].shape:
            raise ModelFileError(f"{path} holds {name} of shape {array.shape}, the model's is {wanted[name].shape}")
    for name, array in arrays.items():
        wanted[name][...] = array


def _expected_bytes(config: Any, features: int, item: int) -> int:
    """Bytes of the weights that the configuration asks for, counted before anything is allocated."""
    total = 0
    for entry in config["layers"]:
        layer = layers.deserialize(entry)
        features = layer.build(features)
        total += sum(math.prod(shape) for _, shape, _ in layer.parameters()) * item
    return total


def _builds(config: Any) -> bool:
    """Whether a model of this configuration has weights from the start."""
    described = [layers.deserialize(entry) for entry in config["layers"]]
    if not described or described[0].input_features is None:
        return False
    try:
        plan.lower(described, described[0].input_features, "float32")
    except NotYetError:
        return False
    return True


def _restore(
    metadata: dict[str, str],
    arrays: dict[str, npt.NDArray[Any]],
    kind: type[Sequential],
    arguments: _Compiled | None,
) -> Sequential:
    config = _parse_json(metadata["config"], "the configuration")
    compiled = _parse_json(metadata["compile"], "the training configuration")
    if arguments is None:
        compiled, arrays = None, {n: array for n, array in arrays.items() if not n.startswith("optimizer/")}
    training = _parse_json(metadata["training"], "the training state")
    weights = {name: array for name, array in arrays.items() if not name.startswith("optimizer/")}
    built = training["built"]
    if built is not None:
        features, dtype = _size(built[0], "the number of features", 1), built[1]
        held = sum(array.nbytes for array in weights.values())
        if dtype not in _DTYPES or held != _expected_bytes(config, features, np.dtype(dtype).itemsize):
            raise ModelFileError("the weights in the file are not those its configuration describes")
        first = config["layers"][0]["config"].get("input_shape")
        if first is not None and math.prod(layers.base.axes_of(first, "input_shape")) != features:
            raise ModelFileError("the first layer's input_shape is not the width the model was built for")
    elif _builds(config):
        raise ModelFileError("the file says that its model is not built, and its layers that it is")
    model = kind.from_config(config)
    if compiled is not None:
        model.compile(**(arguments(compiled) if arguments else {}))
    if built is not None:
        if not model.built:
            model._build(features)
        if model.dtype != dtype:
            raise ModelFileError(f"the file says {dtype}, its layers say {model.dtype}")
        if compiled is not None:
            model._ready("load_model")
    wanted = _tensors(model)
    if set(weights) != {name for name in wanted if not name.startswith("optimizer/")} or not set(arrays) <= set(wanted):
        raise ModelFileError("the arrays in the file are not those its configuration describes")
    for name, array in arrays.items():
        if array.shape != wanted[name].shape or array.dtype.itemsize != wanted[name].dtype.itemsize:
            raise ModelFileError(f"{name} has shape {array.shape}, the configuration says {wanted[name].shape}")
    for name, array in arrays.items():
        wanted[name][...] = array
    model._seed, model._epochs_done = _size(training["seed"], "the seed"), _size(training["epochs_done"], "epochs_done")
    if model._engine is not None:
        model._engine.iterations = _size(training["iterations"], "iterations")
        product = training.get("momentum_product", 1.0)
        if not isinstance(product, float) or not 0 <= product <= 1:
            raise ModelFileError(f"momentum_product must be a number from 0 to 1, got {str(product)[:40]}")
        model._engine.momentum_product = product
        model._engine.average_swapped = compiled is not None and training.get("average_swapped") is True
    return model


publish(__name__, __all__)
