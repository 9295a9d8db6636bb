"""Classification heads of checkpoints of Hugging Face transformers: the dense layers behind an encoder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn import _file, layers
from fastnn._file import ModelFileError
from fastnn.exchange._network import Found, names_of
from fastnn.exchange._safetensors import Tensors
from fastnn.layers.base import Layer

Array = npt.NDArray[Any]
MAX_JSON = 2**23  # bytes of a configuration or of an index
_TANH = ("bart", "camembert", "data2vec-text", "longformer", "mbart", "roberta", "xlm-roberta", "xlm-roberta-xl")
_OF_POOLERS = ("tanh", "gelu", "relu", "silu")  # names that mean the same in transformers and here


class Form(NamedTuple):
    """The modules of a head, in their order, and what lies between two; None where the configuration says it."""

    modules: tuple[str, ...]
    activation: str | None


# The names that transformers gives heads; the first whose modules a file all has counts.
FORMS = (
    Form(("classifier.dense", "classifier.out_proj"), None),  # RoBERTa, and ELECTRA, which differ in the activation
    Form(("classification_head.dense", "classification_head.out_proj"), "tanh"),  # BART
    Form(("pre_classifier", "classifier"), "relu"),  # DistilBERT
    Form(("classifier",), None),  # BERT, ALBERT, DeBERTa
    Form(("score",), None),  # GPT-2, Llama
)


class Checkpoint:
    """A checkpoint of one file of safetensors or of several, with its configuration.

    Parameters
    ----------
    path : path-like
        A file of safetensors, or the folder in which ``save_pretrained`` has put it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        place = Path(os.fsdecode(path))
        self.folder = place if place.is_dir() else place.parent
        self.path = str(place)
        index = self.folder / "model.safetensors.index.json"
        single = self.folder / "model.safetensors" if place.is_dir() else place
        self._files = _indexed(index) if not single.exists() and index.exists() else {}
        self._opened: dict[Path, Tensors] = {}
        self.names = set(self._files) or set(self._open(single).entries)
        self._single = single
        configuration = self.folder / "config.json"
        self.config = _json(configuration) if configuration.exists() else {}

    def _open(self, path: Path) -> Tensors:
        if path not in self._opened:
            self._opened[path] = Tensors(path)
        return self._opened[path]

    def array(self, name: str) -> Array:
        """Return a tensor, of which the file alone is read in which it lies."""
        tensors = self._open(self._files.get(name, self._single))
        if name not in tensors.entries:
            raise ModelFileError(f"{self.path} has an index that names {name[:80]!r}, which lies in none of its files")
        return tensors[name]

    def linear(self, module: str) -> list[Array]:
        """Return the kernel of a linear module, and its bias where it has one."""
        kernel = self.array(f"{module}.weight").T
        arrays = [kernel, *([self.array(f"{module}.bias")] if f"{module}.bias" in self.names else [])]
        if kernel.ndim != 2 or not all(kernel.shape) or (arrays[1:] and arrays[1].shape != kernel.shape[1:]):
            shapes = ", ".join(str(array.shape) for array in arrays)
            raise ModelFileError(
                f"{self.path} has {module!r} with arrays of shapes {shapes}, which are no linear layer's"
            )
        return arrays


def _json(path: Path) -> dict[str, Any]:
    """Return the dict that a small file of JSON holds."""
    if path.stat().st_size > MAX_JSON:
        raise ModelFileError(f"{path} has {path.stat().st_size} bytes, more than {MAX_JSON}")
    try:
        found = _file.parse_json(path.read_bytes(), "the file", finite=False)
    except ModelFileError as error:
        raise ModelFileError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ModelFileError(f"{path} must hold a dict, got {type(found).__name__}")
    return found


def _indexed(path: Path) -> dict[str, Path]:
    """Return in which file of an index's own folder each tensor lies."""
    found = _json(path).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise ModelFileError(f"{path} must hold a dict 'weight_map'")
    for name in found.values():
        if not isinstance(name, str) or not name or Path(name).name != name or name in (".", ".."):
            raise ModelFileError(f"{path} names the file {str(name)[:80]!r}, which is none of its folder")
    return {name: path.parent / file for name, file in found.items()}


def read(
    path: str | os.PathLike[str], activation: Any, output_activation: Any, pooler: bool
) -> tuple[Found, tuple[str, ...] | None]:
    """Return the layers of a checkpoint's head, and the names of its labels; see load_transformers_head."""
    checkpoint = Checkpoint(path)
    form = next(
        (one for one in FORMS if all(f"{module}.weight" in checkpoint.names for module in one.modules)),
        None,
    )
    if form is None:
        known = ", ".join(".".join([form.modules[-1], "weight"]) for form in FORMS)
        raise ModelFileError(
            f"{path} has no classification head that is known, which begins with one of {known}; its tensors are "
            f"{names_of(sorted(checkpoint.names, key=len), 4)}"
        )
    modules = list(form.modules)
    functions = [_between(checkpoint, form, activation)] if len(modules) > 1 else []
    if activation is not None and len(modules) == 1:
        raise ValueError(f"activation stands between two layers, and the head of {path} is one: {modules[0]}")
    if pooler:
        modules.insert(0, _pooler_of(checkpoint))
        functions.insert(0, _after_pooler(checkpoint))
    functions.append(output_activation)
    weights = [checkpoint.linear(module) for module in modules]
    for (a, *_), (b, *_), one, other in zip(weights, weights[1:], modules, modules[1:], strict=False):
        if a.shape[1] != b.shape[0]:
            raise ModelFileError(f"{path} has {one!r} of {a.shape[1]} outputs before {other!r} of {b.shape[0]} inputs")
    dtype = "float64" if all(array.dtype == np.float64 for arrays in weights for array in arrays) else "float32"
    found: list[tuple[Layer, Sequence[Array]]] = []
    for module, arrays, function in zip(modules, weights, functions, strict=True):
        name = module.replace(".", "_")
        layer = layers.Dense(arrays[0].shape[1], function, use_bias=len(arrays) > 1, name=name)
        found.append((layer, arrays))
    first = layers.Input((weights[0][0].shape[0],), dtype=dtype)
    return Found([first, *(layer for layer, _ in found)], found), _labels(checkpoint, weights[-1][0].shape[1])


def _between(checkpoint: Checkpoint, form: Form, given: Any) -> Any:
    """Return what lies between the two layers of a head."""
    if given is not None or form.activation is not None:
        return form.activation if given is None else given
    kind = checkpoint.config.get("model_type")
    known = {"electra": "gelu"} | dict.fromkeys(_TANH, "tanh")
    if not isinstance(kind, str) or kind not in known:
        said = "has no config.json beside it" if kind is None else f"is of the model_type {str(kind)[:40]!r}"
        raise ValueError(
            f"{checkpoint.path} {said}, so that it is not known what lies between {' and '.join(form.modules)}: give "
            f"activation= (RoBERTa has 'tanh', ELECTRA 'gelu')"
        )
    return known[kind]


def _pooler_of(checkpoint: Checkpoint) -> str:
    """Return the name of the module that the encoder ends with: pooler.dense, and pooler in ALBERT."""
    ends = ("pooler.dense.weight", "pooler.weight")
    found = sorted(name for name in checkpoint.names if f".{name}".endswith(tuple(f".{end}" for end in ends)))
    if len(found) != 1:
        said = names_of(found) if found else "none"
        raise ValueError(f"{checkpoint.path} must have one pooler for pooler=True, and has {said}")
    return found[0].removesuffix(".weight")


def _after_pooler(checkpoint: Checkpoint) -> str:
    """Return the activation of the encoder's pooler: BERT's is tanh, and DeBERTa's configuration says its own."""
    of_kind = "gelu" if checkpoint.config.get("model_type") in ("deberta", "deberta-v2") else "tanh"
    given = checkpoint.config.get("pooler_hidden_act", of_kind)
    if given not in _OF_POOLERS:
        raise ValueError(
            f"{checkpoint.folder / 'config.json'} has the pooler_hidden_act {str(given)[:40]!r}, which is none of "
            f"{', '.join(_OF_POOLERS)}: give the head what the pooler gives, without pooler=True"
        )
    return str(given)


def _labels(checkpoint: Checkpoint, outputs: int) -> tuple[str, ...] | None:
    """Return the labels in the order of the outputs, as the configuration has them; None where it has none."""
    given = checkpoint.config.get("id2label")
    if given is None:
        return None
    if not isinstance(given, dict) or given.keys() != {str(k) for k in range(outputs)}:
        raise ModelFileError(
            f"{checkpoint.folder / 'config.json'} must have id2label for the {outputs} outputs, got {str(given)[:60]}"
        )
    return tuple(str(given[str(k)]) for k in range(outputs))
