"""Who is compared: one module a library, written as an expert in it would.

A module offers some of `train`, `train_sparse`, `infer`, `gradient`, `jacobian`, `many` and `adam`; each takes a `Job`
and returns closures. `version` says what is installed. A module is imported only in a worker process of its own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

OURS = "fastnn"
ONE_THREAD = "one thread"  # what `costs` of ours may add to a workload's own way
REFERENCE = "numpy-textbook"  # for --quick alone: Adam's epsilon where PyTorch and optax put it
TEXTBOOK = {"torch", "torch-compile", "jax", "jax-scan", REFERENCE}

# name: module, options of the job, environment of the worker
PEERS: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    OURS: ("ours", {}, {}),
    "torch": ("pytorch", {}, {}),
    "torch-compile": ("pytorch", {"compiled": True}, {"TORCHINDUCTOR_COMPILE_THREADS": "1"}),
    "jax": ("jax_optax", {}, {}),
    "jax-scan": ("jax_optax", {"scan": True}, {}),
    "keras-tf": ("keras_fit", {}, {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}),
    "keras-jax": ("keras_fit", {}, {"KERAS_BACKEND": "jax"}),
    "sklearn": ("sklearn_mlp", {}, {}),
    "onnxruntime": ("onnx_runtime", {}, {}),
    "numpy": ("plain_numpy", {}, {}),
    "casadi": ("casadi_net", {}, {}),
    "casadi-compiled": ("casadi_net", {"compiled": True}, {}),
    "l4casadi": ("casadi_net", {"torch": True}, {}),
    REFERENCE: ("plain_numpy", {"textbook": True}, {}),
}
OF_DERIVATIVES = {"casadi", "casadi-compiled", "l4casadi"}
APART = {OURS, REFERENCE} | OF_DERIVATIVES  # no peers of compare.py
# These size their thread pools by the CPUs they may use, and by nothing else that is public.
BY_AFFINITY = {"jax", "jax-scan", "keras-tf", "keras-jax"}


class UnsupportedError(Exception):
    """The peer cannot do this workload, by its nature."""


@dataclass
class Job:
    """What a peer is asked to do."""

    workload: Any
    threads: int
    x: Any = None  # an array; of train_sparse a scipy.sparse matrix
    y: np.ndarray | None = None
    weights: list[np.ndarray] = field(default_factory=list)
    shuffle: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    def orders(self) -> Callable[[], np.ndarray]:
        """A function that gives the order of the rows of the next epoch."""
        generator = np.random.default_rng(7)
        rows = np.arange(self.workload.rows, dtype=np.int32)
        return (lambda: generator.permutation(rows)) if self.shuffle else (lambda: rows)


@dataclass
class Training:
    epoch: Callable[[], Any]
    weights: Callable[[], list[np.ndarray]]


@dataclass
class Inference:
    native: Callable[[np.ndarray], Any]  # the rows as the peer likes them best, made before the clock starts
    call: Callable[[Any], Any]
    numpy: Callable[[Any], np.ndarray] = np.asarray


def load(name: str) -> Any:
    return importlib.import_module(f"peers.{PEERS[name][0]}")
