"""The files of models: configuration, weights and the state of training, from which training goes on to the same bits.

The container is that of :mod:`fastnn._file`, whose metadata holds ``config``, ``compile`` and ``training`` (JSON).
Nothing in a file is ever executed, and what it says is bounded by what it holds before anything is made.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fastnn import _file, goals, layers, optimizers, plan
from fastnn import config as config_module
from fastnn._draws import undrawn
from fastnn._engine import fill_all
from fastnn._file import ModelFileError
from fastnn._foreign import check_suffix
from fastnn._model import Kept, Progress
from fastnn.data import frames
from fastnn.layers._columns import Line
from fastnn.layers.base import NotYetError

AnyModel = TypeVar("AnyModel", bound=Kept)

_MOST_MADE = 2**20  # most things that a configuration may ask for beyond what the file holds: at most 64 bytes each
_MAKE = ("num_thresholds", "num_classes")  # arguments that ask for that many things
_EACH = 200  # the number of things for a metric without such an argument: the default of num_thresholds


# ---- writing ----


def _tensors(model: Kept, training: bool = True) -> dict[str, npt.NDArray[Any]]:
    """Return every array of the file under its name: weights, then optimizer slots where the file is for training."""
    engine = model._engine
    tensors: dict[str, npt.NDArray[Any]] = {}
    if engine is None:
        return tensors
    for spec in engine.plan.parameters:
        tensors[f"{spec.layer}/{spec.name}"] = spec.view(engine.parameters)
    optimizer = model.optimizer
    if optimizer is not None and training and model._has_state_of(optimizer):
        for slot, flat in zip(optimizer.slots, engine.slots, strict=True):
            for spec in engine.plan.parameters:
                kept = spec._replace(shape=optimizer.slot_shape(slot.name, spec.shape))
                tensors[f"optimizer/{slot.name}/{spec.layer}/{spec.name}"] = kept.view(flat)
    return tensors


def _description(model: Kept) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return what the file says of the layers and of training; raise ValueError where load_model would refuse that.

    A description that was checked is not checked again. Whether a user's own classes can be made again is not known
    here.
    """
    if model._engine is not None:
        if model.optimizer is None:
            model._heed_changes()
        else:
            model._ready("save")
    told = model.get_config(), model._compile_config()
    described = json.dumps(told)
    if described == model._described:
        return told
    try:
        config, compiled = _file.parse_json(described.encode(), "the description")
        again = _described(config)
        if model._engine is not None:
            held = model._engine.plan
            policy = config_module.MIXED if held.bfloat16 else held.dtype
            if plan.lower(again, held.inputs, policy).parameters != held.parameters:
                raise ValueError("its layers would have other weights")
        if compiled is not None:
            optimizers.get(compiled["optimizer"])
            goals.check_serialized(model._goals)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{model.name!r} cannot be saved, as load_model would refuse the file: {error}") from error
    model._described = described
    return told


def contents(model: Kept, training: bool) -> tuple[dict[str, str], dict[str, npt.NDArray[Any]]]:
    """Return what a file holds of a model: metadata, and arrays; without `training` not how to train it further."""
    model._catch_up()
    config, compiled = _description(model) if training else (model.get_config(), None)
    engine, arrays = model._engine, _tensors(model, training)
    _check_asked_for(compiled, sum(array.nbytes for array in arrays.values()))
    progress = model._progress
    if not training:
        progress = progress._replace(iterations=0, momentum_product=1.0, average_swapped=False, course=(0, 0))
    built = None if engine is None else [engine.plan.inputs, engine.plan.dtype]
    metadata = {
        "config": json.dumps(config),
        "compile": json.dumps(compiled),
        "training": json.dumps({"built": built} | progress._asdict()),
    }
    return metadata, arrays


def _parts(model: Kept, training: bool) -> list[Any]:
    """Return the bytes of a file, one buffer after the other."""
    return _file.parts(*contents(model, training))


def to_bytes(model: Kept) -> bytes:
    """Return the bytes that :func:`save` would write; :func:`from_bytes` reads them."""
    with model._home.lock:
        return b"".join(_parts(model, True))


def save(model: Kept, filepath: str | os.PathLike[str], training: bool = True) -> None:
    """Write a model to one file; see :func:`fastnn.saving.save_model`."""
    check_suffix(filepath)
    with model._home.lock:
        _file.write(filepath, lambda: _parts(model, training))


# ---- reading ----


# turns what a file says of compile into the arguments of compile
_Compiled = Callable[[dict[str, Any]], dict[str, Any]]


def load(filepath: str | os.PathLike[str], kind: type[AnyModel], compiled: _Compiled | None) -> AnyModel:
    """Return the model of a file, as an instance of this class; without `compiled` it is not compiled."""
    return _checked_restore(*_file.read(filepath), str(filepath), kind, compiled)


def from_bytes(data: bytes, kind: type[AnyModel], functions: dict[str, Any] | None = None) -> AnyModel:
    """Return the model of the bytes that :func:`to_bytes` returned; errors as for :func:`fastnn.load_model`.

    `functions` holds the losses and metrics that are Python, which the bytes only name.
    """
    with _file.one_exception("the bytes given"):
        parsed = _file.parse(io.BytesIO(data), len(data), "the bytes given")
    return _checked_restore(*parsed, "the bytes given", kind, lambda config: config | (functions or {}))


def of_contents(
    metadata: dict[str, str], arrays: dict[str, npt.NDArray[Any]], path: str, kind: type[AnyModel]
) -> AnyModel:
    """Return the model of what :func:`contents` returned; messages call the file `path`."""
    return _checked_restore(metadata, arrays, path, kind, None)


def _configuration(metadata: dict[str, str]) -> Any:
    """Return the configuration of a file's model."""
    if "estimator" in metadata:
        raise ModelFileError(
            "it holds an estimator for tables: fastnn.tabular.TabularClassifier.load or TabularRegressor.load reads it"
        )
    return _file.parse_json(metadata["config"].encode(), "its configuration")


def _checked_restore(
    metadata: dict[str, str],
    arrays: dict[str, npt.NDArray[Any]],
    path: str,
    kind: type[AnyModel],
    compiled: _Compiled | None,
) -> AnyModel:
    with _file.one_exception(path):
        return _restore(metadata, arrays, kind, compiled)


def load_weights(model: Kept, filepath: str | os.PathLike[str]) -> None:
    """Set the weights of a model from a file; see :meth:`fastnn.Sequential.load_weights`."""
    metadata, arrays = _file.read(filepath)
    weights = {name: array for name, array in arrays.items() if not name.startswith("optimizer/")}
    with model._naming, model._home.setting_weights():
        model._need_engine("load_weights")
        with _file.one_exception(str(filepath)):
            described = _configuration(metadata)
            names = described.get("feature_names")
            names = model.feature_names if names is None else model._checked_names(names)
            elsewhere = described.get("column_names")
            elsewhere = model._home.column_names if elsewhere is None else model._checked_column_names(elsewhere)
        before = model._home.feature_names
        model._take_names(names)
        try:
            _fill(_tensors(model, training=False), weights, str(filepath))
        except BaseException:
            model._take_names(before)
            raise
        model._home.column_names = elsewhere


def restore(model: AnyModel, path: str | os.PathLike[str], kind: type[AnyModel]) -> None:
    """Put the whole state of a file into a compiled model of the same layers, optimizer and loss.

    Parameters
    ----------
    model : Kept
        A model that is built and compiled. Its optimizer gets the numbers of the file.
    path : path-like
    kind : type
        The class of the model that the file holds.

    Raises
    ------
    ModelFileError
        When the file is no whole model, or one of another configuration; the model is as it was then.
    """
    functions = goals.arguments(model._goals) if goals.called(model._goals) else {}
    take_over(model, _checked_restore(*_file.read(path), str(path), kind, lambda config: config | functions), path)


def take_over(model: AnyModel, saved: AnyModel, path: Any) -> None:
    """Put the whole state of a model into another one of the same layers; errors, as :func:`restore`'s, name a path."""
    if saved._engine is None or model._engine is None or saved.get_config()["layers"] != model.get_config()["layers"]:
        raise ModelFileError(f"{path} holds a model of other layers than this one")
    if type(saved.optimizer) is not type(model.optimizer):
        raise ModelFileError(f"{path} was trained by another optimizer than {type(model.optimizer).__name__}")
    names, here = saved.feature_names, model.feature_names
    if names is not None and here is not None and names != here:
        raise ModelFileError(
            f"{path} holds a model that reads the columns {frames.listed(names)}, and this one reads "
            f"{frames.listed(here)}: set its feature_names to those of the file before it reads a frame"
        )
    numbers: Any = saved.optimizer
    vars(model.optimizer).update({key: value for key, value in vars(numbers).items() if key != "_engine"})
    with model._naming, model._home.setting_weights():
        model._ready("restore")
        _fill(_tensors(model), _tensors(saved), str(path))
        model._progress, model._home.feature_names = saved._progress, names or here
        model._home.column_names = model._home.column_names | saved._home.column_names


def _fill(wanted: dict[str, npt.NDArray[Any]], arrays: dict[str, npt.NDArray[Any]], path: str) -> None:
    """Copy arrays into a model's arrays: all of them, or none where one does not fit."""
    if set(arrays) != set(wanted):
        odd = sorted(set(arrays) ^ set(wanted))[0]
        raise ModelFileError(f"{path} does not hold the arrays of this model: {odd!r} is in one of them alone")
    for name, array in arrays.items():
        if array.shape != wanted[name].shape:
            raise ModelFileError(f"{path} holds {name} of shape {array.shape}, the model's is {wanted[name].shape}")
    fill_all(list(wanted.values()), [np.require(arrays[name], view.dtype, ["C", "A"]) for name, view in wanted.items()])


def _asked_for(value: Any, each: int = 0) -> int:
    """Return how many things a configuration makes that its file does not hold; `each` counts per list entry."""
    if isinstance(value, dict):
        numbers = (number for key, number in value.items() if key in _MAKE and isinstance(number, int))
        return sum(max(number, 0) for number in numbers) + sum(_asked_for(inner, each) for inner in value.values())
    if isinstance(value, list):
        own = each * sum(isinstance(entry, (str, dict)) for entry in value)
        return own + sum(_asked_for(entry, each) for entry in value)
    return 0


def _check_asked_for(compiled: Any, held: int) -> None:
    """Raise where what a model is compiled with takes much more memory than the `held` bytes of its arrays."""
    asked, most = _asked_for(compiled, _EACH), _MOST_MADE + held
    if asked > most:
        raise ModelFileError(
            f"its metrics keep {asked} numbers, and a file of this size may ask for {most}: give them fewer thresholds "
            f"or classes"
        )


def _expected_bytes(described: list[layers.Layer], features: int, item: int) -> int:
    """Return the bytes of the weights that the layers ask for, counted before anything is allocated."""
    total = 0
    for layer in described:
        features = layer.build(features)
        total += sum(math.prod(shape) for _, shape, _ in layer.parameters()) * item
    return total


def _described(config: Any) -> list[layers.Layer]:
    """Return the layers of a model's configuration, which know the names of its columns."""
    return Line([layers.deserialize(entry) for entry in config["layers"]], config.get("feature_names"))


def _builds(described: list[layers.Layer]) -> bool:
    """Return whether a model of these layers has weights from the start."""
    if not described or described[0].input_features is None:
        return False
    try:
        plan.lower(described, described[0].input_features, "float32")
    except NotYetError:
        return False
    return True


def _check_described(config: Any, built: Any, weights: dict[str, npt.NDArray[Any]]) -> None:
    """Raise where the layers of a configuration would have other weights than the file holds."""
    described = _described(config)
    if built is None:
        if _builds(described):
            raise ModelFileError("it says that its model is not built, and its layers that it is")
        return
    features, dtype = _file.size(built[0], "the number of features", 1), built[1]
    held = sum(array.nbytes for array in weights.values())
    if dtype not in _file.DTYPES or held != _expected_bytes(described, features, np.dtype(dtype).itemsize):
        raise ModelFileError("its weights are not those that its configuration describes")
    if described[0].input_features not in (None, features):
        raise ModelFileError("the first layer's input_shape is not the width that it was built for")


def _restore(
    metadata: dict[str, str],
    arrays: dict[str, npt.NDArray[Any]],
    kind: type[AnyModel],
    arguments: _Compiled | None,
) -> AnyModel:
    config = _configuration(metadata)
    compiled = _file.parse_json(metadata["compile"].encode(), "its training configuration")
    if arguments is None:
        compiled, arrays = None, {n: array for n, array in arrays.items() if not n.startswith("optimizer/")}
    training = _file.parse_json(metadata["training"].encode(), "its training state")
    weights = {name: array for name, array in arrays.items() if not name.startswith("optimizer/")}
    built = training["built"]
    _check_asked_for(compiled, sum(array.nbytes for array in arrays.values()))
    _check_described(config, built, weights)
    with undrawn():  # the arrays come next
        model = kind.from_config(config)
        if built is not None and not model.built:
            model._build(built[0])
    if compiled is not None:
        model.compile(**(arguments(compiled) if arguments else {}))
    if built is not None:
        if model.dtype != built[1]:
            raise ModelFileError(f"it says {built[1]}, and its layers say {model.dtype}")
        if compiled is not None:
            model._ready("load_model")
    wanted = _tensors(model)
    if set(weights) != {name for name in wanted if not name.startswith("optimizer/")} or not set(arrays) <= set(wanted):
        raise ModelFileError("its arrays are not those that its configuration describes")
    for name, array in arrays.items():
        if array.shape != wanted[name].shape or array.dtype.itemsize != wanted[name].dtype.itemsize:
            raise ModelFileError(f"{name} has shape {array.shape}, its configuration says {wanted[name].shape}")
    for name, array in arrays.items():
        wanted[name][...] = array
    model._progress = _progress_of(training)
    return model


def _progress_of(training: dict[str, Any]) -> Progress:
    """Return where training stood, as a file says it."""
    product = training.get("momentum_product", 1.0)
    if not isinstance(product, float) or not 0 <= product <= 1:
        raise ModelFileError(f"momentum_product must be a number from 0 to 1, got {str(product)[:40]}")
    first, steps = training.get("course", (0, 0))
    if not isinstance(first, int) or abs(first) >= 2**53:
        raise ModelFileError(f"the first step of the last fit must be an integer below 2**53, got {str(first)[:40]}")
    return Progress(
        _file.size(training["iterations"], "iterations"),
        product,
        _file.size(training["seed"], "the seed"),
        _file.size(training["epochs_done"], "epochs_done"),
        training.get("average_swapped") is True,
        (first, _file.size(steps, "the steps of the last fit")),
    )
