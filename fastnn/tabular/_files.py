"""A fitted estimator for tables as one file: its preparation and its networks; nothing in it is ever executed."""

from __future__ import annotations

import json
import os
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fastnn import _file, _stored
from fastnn._file import ModelFileError
from fastnn._foreign import check_suffix, path_of
from fastnn.models import Sequential

Array = npt.NDArray[Any]
AnyEstimator = TypeVar("AnyEstimator")
_OF_LABELS = "biufU"  # kinds of labels that a file can hold; objects must be strings


def labels_as_json(labels: Array) -> dict[str, Any]:
    """Return labels as JSON."""
    texts = labels.dtype.kind == "O" and all(isinstance(label, str) for label in labels)
    if labels.dtype.kind not in _OF_LABELS and not texts:
        raise TypeError(f"classes of a file must be numbers, booleans or strings, got dtype {labels.dtype}")
    return {"dtype": labels.dtype.str, "values": labels.tolist()}


def labels_of_json(config: dict[str, Any]) -> Array:
    """Return the labels that :func:`labels_as_json` was given."""
    dtype = np.dtype(config["dtype"])
    if dtype.kind not in f"{_OF_LABELS}O" or not all(
        isinstance(value, (str, int, float)) for value in config["values"]
    ):
        raise ModelFileError("its classes are no labels")
    return np.array(config["values"], dtype)


def _as_json(name: str, value: Any) -> Any:
    """Return an argument of an estimator as JSON."""
    if name == "class_weight" and isinstance(value, dict):
        keys = np.array(list(value))
        return [labels_as_json(keys), [float(weight) for weight in value.values()]]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (np.integer, np.floating, np.bool_)):
        return value.item()
    raise TypeError(f"{name} must be a number or a string in an estimator that is saved, got {type(value).__name__}")


def _of_json(name: str, value: Any) -> Any:
    if name == "class_weight" and isinstance(value, list):
        return dict(zip(labels_of_json(value[0]).tolist(), value[1], strict=True))
    return value


def save(estimator: Any, filepath: str | os.PathLike[str]) -> None:
    """Write a fitted estimator to one file; see :meth:`fastnn.tabular.TabularClassifier.save`."""
    filepath = path_of(filepath)
    check_suffix(filepath)
    arguments = {name: _as_json(name, value) for name, value in estimator.get_params().items()}
    learned, arrays = estimator._as_learned()
    described = {"class": type(estimator).__name__, "arguments": arguments, "learned": learned}
    metadata = {"estimator": json.dumps(described)}
    arrays = {f"learned/{name}": array for name, array in arrays.items()}
    for place, model in enumerate(estimator.models_):
        own, weights = _stored.contents(model, training=False)
        metadata[f"member_{place}"] = json.dumps(own)
        arrays |= {f"member_{place}/{name}": array for name, array in weights.items()}
    _file.write(filepath, lambda: _file.parts(metadata, arrays))


def load(kind: type[AnyEstimator], filepath: str | os.PathLike[str]) -> AnyEstimator:
    """Return the estimator of a file; see :meth:`fastnn.tabular.TabularClassifier.load`."""
    path = path_of(filepath)
    metadata, arrays = _file.read(path)
    with _file.one_exception(path):
        if "estimator" not in metadata:
            raise ModelFileError("it holds a model, which fastnn.load_model reads, and no estimator for tables")
        described = _file.parse_json(metadata["estimator"].encode(), "its description", finite=False)
        if described["class"] != kind.__name__:
            raise ModelFileError(f"it holds a {str(described['class'])[:40]}, not a {kind.__name__}")
        arguments = {name: _of_json(name, value) for name, value in described["arguments"].items()}
        estimator: Any = kind(**arguments)
        members = sum(name.startswith("member_") for name in metadata)
        estimator.models_ = [_member(metadata, arrays, place, path) for place in range(members)]
        learned = {name.removeprefix("learned/"): one for name, one in arrays.items() if name.startswith("learned/")}
        estimator._take_learned(described["learned"], learned)
    return estimator


def _member(metadata: dict[str, str], arrays: dict[str, Array], place: int, path: str) -> Sequential:
    """Return a network of a file."""
    prefix = f"member_{place}/"
    own = _file.parse_json(metadata[f"member_{place}"].encode(), "the description of a member")
    weights = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    return _stored.of_contents(own, weights, path, Sequential)
