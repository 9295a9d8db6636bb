"""Models as ``.keras`` files, which Keras 3 loads without knowing fastnn.

A file is a zip of ``metadata.json``, ``config.json`` (layers, and what was compiled) and ``model.weights.h5``. The same
model gives the same bytes: the zip has fixed dates, and nothing in it says where or when it was written.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import _file, layers
from fastnn._foreign import path_of
from fastnn._model import Exported
from fastnn.exchange._to_keras_columns import WRITERS as OF_OURS
from fastnn.exchange._to_keras_graph import Tensor
from fastnn.exchange._to_keras_layers import WRITERS as OF_BOTH
from fastnn.exchange._to_keras_training import compile_config, optimizer_state
from fastnn.exchange._to_keras_writer import Writer

SUFFIX = ".keras"
FORMAT_OF = "3.15.0"  # the Keras that has the optimizer's variables in the order of these files
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # the first date that a zip can hold
_MODE = 0o644 << 16


def save(model: Exported, filepath: str | os.PathLike[str], training: bool) -> None:
    """Write a model as Keras would; see :meth:`fastnn.Sequential.export_keras`."""
    path = path_of(filepath)
    if not path.endswith(SUFFIX):
        raise ValueError(f"filepath must end with {SUFFIX}, as Keras reads no other name, got {path!r}")
    with model._home.lock:
        parts = _parts(model, training)
    _file.write(path, lambda: parts)


def _parts(model: Exported, training: bool) -> list[memoryview]:
    """Return the bytes of the file."""
    engine = model._need_engine("export_keras")
    trains = training and model.optimizer is not None
    if model.optimizer is None:
        model._heed_changes()
    else:
        model._ready("export_keras")
    arrays = {f"{spec.layer}/{spec.name}": spec.view(engine.parameters) for spec in engine.plan.parameters}
    policy = str(model.layers[0].dtype)  # which a built model's first layer knows
    writer = Writer(arrays, policy, engine.plan.dtype, trains, OF_BOTH | OF_OURS)
    _write_layers(writer, model)
    described = writer.graph.described(model.name, policy)
    variables = {path: variable.values for path, variable in writer.graph.variables().items()}
    if trains:
        described["compile_config"] = compile_config(model, writer.graph)
        variables |= optimizer_state(model, writer.graph)
    metadata = {"keras_version": FORMAT_OF, "date_saved": "1980-01-01@00:00:00"}
    return [_zipped(metadata, described, _weights(variables))]


def _write_layers(writer: Writer, model: Exported) -> None:
    """Write the layers of a model between its inputs and its outputs."""
    stack = model.layers
    branches, heads = model._branches, model._heads
    inputs = [] if branches is None else list(branches.outputs)
    writer.name(stack, inputs, [] if heads is None else list(heads.outputs))
    x: Tensor | None = None
    if branches is None:
        named = isinstance(stack[0], layers.InputLayer)
        name = writer.names[str(stack[0].name)] if named else writer.graph.free_name("input_layer")
        shape = model.input_shape[1:]
        x = writer.input("", name, shape, stack)
    y = writer.stack(stack, x)
    if heads is None:
        writer.graph.outputs[""] = writer.numbers(y)


def _weights(variables: dict[str, npt.NDArray[Any]]) -> memoryview:
    """Return the bytes of an HDF5 file that holds arrays by path."""
    h5py = _hdf5()
    held = io.BytesIO()
    with h5py.File(held, "w") as file:
        file.create_group("vars")  # of the model itself, which has no variables of its own
        for path, values in variables.items():
            file.create_dataset(path, data=np.asarray(values), track_times=False)
    return held.getbuffer()


def _hdf5() -> Any:
    """Return h5py; raise an error that says where to get it."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError("export_keras needs h5py: pip install 'fastnn-cpu[keras]'") from error
    return h5py


def _zipped(metadata: dict[str, str], config: dict[str, Any], weights: memoryview) -> memoryview:
    """Return the bytes of the zip, in which nothing is compressed, as in Keras's."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_STORED) as archive:
        for name, content in (
            ("metadata.json", json.dumps(metadata).encode()),
            ("config.json", json.dumps(config, allow_nan=False).encode()),
            ("model.weights.h5", weights),
        ):
            entry = zipfile.ZipInfo(name, _FIRST_DATE)
            entry.external_attr, entry.create_system = _MODE, 3
            with archive.open(entry, "w") as member:
                member.write(content)
    return held.getbuffer()
