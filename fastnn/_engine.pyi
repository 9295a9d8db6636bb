import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, final

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from fastnn._head import Head
from fastnn._op import ParameterSettings, Schedule, Traits
from fastnn._sparse_rows import SparseRows
from fastnn.optimizers.base import Hyperparameters, Slot
from fastnn.plan import Plan

_Array = npt.NDArray[Any]
_Targets = _Array | tuple[_Array, _Array]
_Rows = _Array | SparseRows
_Progress = Callable[[int, npt.NDArray[np.float64]], object] | None
_Snapshot = tuple[list[_Array], int, float]

class NotFiniteError(ValueError): ...

MAX_STATE: int
_ENUMS: dict[str, dict[str, int]]

def op_traits(name: str) -> Traits: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def open_block(n: int) -> list[int]: ...
def close_block(block: list[int]) -> None: ...
def build_info() -> dict[str, Any]: ...

PRODUCTS: tuple[str, ...]

def choose_products(choice: str) -> None: ...
def get_products() -> str: ...
def describe_products() -> str: ...
def aligned_zeros(size: int, dtype: npt.DTypeLike) -> _Array: ...
def fill_all(targets: list[_Array], sources: list[_Array]) -> None: ...
def all_finite(x: _Array) -> bool: ...
def scheduled(schedule: Schedule, course: tuple[int, int], step: int) -> float: ...
def _polling(interval: float | None = None) -> tuple[float, int]: ...
def epoch_order(rows: int, seed: int, epoch: int) -> npt.NDArray[np.int64]: ...
def beta(seed: int, step: int, alpha: float) -> float: ...

SPARSE_UNSORTED: int
SPARSE_STARTS: int
SPARSE_COLUMN: int

def check_sparse(starts: _Array, columns: _Array, features: int) -> int: ...
def _packed_product(
    a: _Array,
    b: _Array,
    c: _Array,
    *,
    by_depth: bool = False,
    transposed: bool = False,
    bias: _Array | None = None,
    relu: bool = False,
    bf16: bool = False,
    unit: bool = False,
    blas: int = 0,
    even: bool = True,
    row_range: tuple[int, int] | None = None,
    column_range: tuple[int, int] | None = None,
    depth_range: tuple[int, int] | None = None,
) -> None: ...
def _quotas(root: str | os.PathLike[str] = "/") -> list[float]: ...
def _paced_stretches(
    threads: int, step_seconds: Callable[[int, float], float], seconds: float
) -> list[tuple[float, float, int]]: ...

@disjoint_base
class Lock:
    changes: int
    def __init__(self) -> None: ...
    def acquire(self) -> None: ...
    def release(self) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *error: object) -> None: ...
    def reading(self) -> AbstractContextManager[None]: ...
    @property
    def waiting(self) -> int: ...
    def changed(self) -> None: ...

@final
class Locks:
    def __init__(self, locks: Iterable[Lock], to_read: Iterable[Lock] = ()) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *error: object) -> None: ...

class Engine:
    plan: Plan
    lock: Lock
    parameters: _Array
    slots: tuple[_Array, ...]
    states: tuple[slice[int, int, None], ...]
    functions: Callable[..., None] | None
    iterations: int
    momentum_product: float
    average_swapped: bool
    seed: int
    course: tuple[int, int]
    def __init__(self, plan: Plan, lock: Lock | None = None) -> None: ...
    @property
    def gradients(self) -> _Array: ...
    def set_plan(self, plan: Plan) -> None: ...
    def compile(self, heads: Sequence[Head]) -> None: ...
    def set_optimizer(
        self, name: str, slots: Sequence[Slot], parameter_settings: Sequence[ParameterSettings], goes_on: bool = False
    ) -> None: ...
    def forget(self) -> None: ...
    def give_up(self) -> None: ...
    def snapshot(self) -> _Snapshot: ...
    def restore(self, snapshot: _Snapshot) -> None: ...
    def blend(self, other: Engine, tau: float) -> None: ...
    def use_average(self, *, swap: bool) -> None: ...
    def train(
        self,
        x: _Rows,
        y: _Targets,
        order: npt.NDArray[np.int64] | None,
        batch_size: int,
        hyperparameters: Hyperparameters,
        progress: _Progress = ...,
        weights: _Array | None = ...,
        check_finite: bool = False,
        mixup: float = 0.0,
    ) -> tuple[npt.NDArray[np.float64], int]: ...
    def batch_gradient(
        self, x: _Rows, y: _Targets, training: bool = True, weights: _Array | None = ...
    ) -> npt.NDArray[np.float64]: ...
    def evaluate(
        self,
        x: _Rows,
        y: _Targets,
        progress: _Progress = ...,
        weights: _Array | None = ...,
        batch_size: int = 32,
        check_finite: bool = False,
        order: npt.NDArray[np.int64] | None = ...,
    ) -> npt.NDArray[np.float64]: ...
    def predict(self, x: _Rows, out: _Array, progress: _Progress = ...) -> None: ...
    def forward(self, x: _Rows, training: bool = False) -> _Array: ...
    def backward(self, output_gradient: _Array, inputs: bool = True, weights: bool = True) -> _Array | None: ...
    def freeze(self) -> tuple[Engine, object]: ...
    def apply_gradients(self, hyperparameters: Hyperparameters, gradients: _Array | None = None) -> None: ...
    def _phases(self) -> list[str]: ...

@disjoint_base
class _Task:
    engine: Engine

@final
class TrainingTask(_Task):
    epochs: int
    epochs_done: int
    sums: npt.NDArray[np.float64]
    first_nonfinite: npt.NDArray[np.int64]
    def __init__(
        self,
        engine: Engine,
        x: _Rows,
        y: _Targets,
        weights: _Array | None,
        rows: npt.NDArray[np.int64] | None,
        batch_size: int,
        hyperparameters: Hyperparameters,
        shuffle: tuple[int, int] | None,
        epochs: int,
        most: int = ...,
        mixup: float = 0.0,
    ) -> None: ...

@final
class EvaluationTask(_Task):
    sums: npt.NDArray[np.float64]
    def __init__(
        self,
        engine: Engine,
        x: _Rows,
        y: _Targets,
        weights: _Array | None,
        rows: npt.NDArray[np.int64] | None,
    ) -> None: ...

@final
class PredictionTask(_Task):
    def __init__(self, engine: Engine, x: _Rows, rows: npt.NDArray[np.int64] | None, out: _Array) -> None: ...

def run_many(tasks: list[Any]) -> None: ...
