"""Models of ONNX files: ``load`` is what :func:`fastnn.load_onnx` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fastnn._file import ModelFileError
from fastnn._foreign import path_of
from fastnn._registry import nearest_names
from fastnn.exchange._onnx_files import Graph, Reader
from fastnn.exchange._onnx_graph import Evaluation
from fastnn.exchange._onnx_layers import Builder, Weights
from fastnn.exchange._onnx_rows import Rows, UnfitError
from fastnn.exchange._onnx_values import Flow, Unknown
from fastnn.layers import Layer

Model = TypeVar("Model")


@contextmanager
def _one_exception(path: str) -> Iterator[None]:
    """Raise what is wrong with a file, or does not fit, as a ModelFileError that names the file."""
    try:
        yield
    except ModelFileError as error:
        raise ModelFileError(f"{path} is no whole ONNX model: {error}") from None
    except UnfitError as error:
        raise ModelFileError(f"{path} computes what no model of fastnn does: {error}") from None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
        raise ModelFileError(f"{path} is no whole ONNX model: {error!s:.200}") from error


@dataclass
class Found:
    """A network of a file, as :class:`fastnn.exchange._network.Found`; weights are read as they are set.

    Attributes
    ----------
    layers : list of Layer
    weights : list of Weights
    feature_names : None
    """

    layers: list[Layer]
    weights: list[Weights]
    feature_names: tuple[str, ...] | None = None

    def fill(self) -> None:
        """Set the weights of the layers, which belong to a model that is built."""
        for weights in self.weights:
            weights.set()


def load(path: str | os.PathLike[str], make: Callable[[Found], Model], output: str | Sequence[str] | None) -> Model:
    """Return the model that `make` makes of the layers and weights of a file."""
    path = path_of(path)
    place = Path(path)
    if place.is_dir():
        raise IsADirectoryError(f"{path} is a folder: an ONNX model is a file")
    with place.open("rb") as file, _one_exception(str(path)):
        reader = Reader(file, os.fstat(file.fileno()).st_size, place.parent)
        try:
            return _made(reader, make, output)
        finally:
            reader.folder.close()


def _made(reader: Reader, make: Callable[[Found], Model], output: str | Sequence[str] | None) -> Model:
    graph = reader.model()
    wanted = _outputs(graph, Evaluation(graph, reader.budget), output)
    builder = Builder(reader.budget, _dtype(graph))
    try:
        return make(Found(builder.heads(wanted), builder.weights))
    except (ModelFileError, UnfitError):
        raise
    except ValueError as error:  # of a layer that the steps do not fit
        raise UnfitError(str(error)) from error


def _dtype(graph: Graph) -> str:
    """Return the dtype of the model: float64 where an input or a matrix of the file is."""
    double = any(value.data_type == 11 for value in graph.inputs) or any(
        tensor.data_type == 11 and len(tensor.shape) == 2 for tensor in graph.tensors.values()
    )
    return "float64" if double else "float32"


def _outputs(graph: Graph, found: Evaluation, output: str | Sequence[str] | None) -> dict[str, Rows]:
    """Return the steps that give the outputs of the model: those named, or all but labels of classes."""
    names = [value.name for value in graph.outputs]
    if len(set(names)) != len(names) or not names:
        raise ModelFileError(f"it has {len(names)} outputs, of {len(set(names))} names")
    for name in names:
        if name not in found.values:
            raise ModelFileError(f"its output {name[:80]!r} is given by no node")
    if output is not None:
        wanted = [output] if isinstance(output, str) else list(output)
        for name in wanted:
            if name not in names:
                raise UnfitError(f"output names {name!r}, which it does not give; {nearest_names(str(name), names)}")
    else:
        values = {name: found.values[name] for name in names}
        labels = {
            n for n, v in values.items() if (isinstance(v, Unknown) and v.label) or (isinstance(v, Flow) and v.flag)
        }
        wanted = [name for name in names if name not in labels]
        wanted = wanted or names
    steps: dict[str, Rows] = {}
    for name in dict.fromkeys(wanted):
        value: Any = found.values[name]
        if isinstance(value, Unknown):
            raise UnfitError(f"{value.why}, for the output {name[:80]!r}")
        if not isinstance(value, Flow):
            raise UnfitError(f"its output {name[:80]!r} does not depend on x")
        try:
            steps[name] = value.rows()
        except UnfitError as error:
            giver = next((f"{node}: " for node in graph.nodes if name in node.outputs), "")
            raise UnfitError(f"{giver}{error}, for the output {name[:80]!r}") from None
        if len(value.axes) > 1 and np.count_nonzero([axis != 1 for axis in value.axes]) > 1:
            raise UnfitError(
                f"the output {name[:80]!r} has rows of shape {value.axes}, and those of a model have one axis"
            )
    return steps
