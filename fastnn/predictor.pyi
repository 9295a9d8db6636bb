import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from fastnn._engine import Engine
from fastnn.data.arrays import RowReader
from fastnn.plan import Plan

def get_include() -> str: ...
def get_library() -> str: ...
def _thaw(
    plan: Plan,
    parameters: npt.NDArray[Any],
    reads: RowReader | None = None,
    heads: dict[str, int] | None = None,
    rounded: tuple[str, dict[int, Any]] | None = None,
    report: dict[str, Any] | None = None,
) -> Predictor: ...
def _polling(interval: float | None = None) -> tuple[float, int]: ...

@disjoint_base
class Predictor:
    def __init__(
        self,
        engine: Engine,
        reads: RowReader | None = None,
        heads: dict[str, int] | None = None,
        report: dict[str, Any] | None = None,
    ) -> None: ...
    @property
    def inputs(self) -> int: ...
    @property
    def outputs(self) -> int: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def address(self) -> int: ...
    @property
    def report(self) -> dict[str, Any]: ...
    def save(self, filepath: str | os.PathLike[str]) -> None: ...
    def __call__(self, x: Any, out: npt.NDArray[Any] | None = None) -> Any: ...
    def vjp(
        self, x: Any, u: Any, out: Sequence[npt.NDArray[Any] | None] | None = None
    ) -> tuple[Any, npt.NDArray[Any]]: ...
    def value_and_gradient(
        self, x: Any, output: int = 0, out: Sequence[npt.NDArray[Any] | None] | None = None
    ) -> tuple[Any, npt.NDArray[Any]]: ...
    def jacobian(
        self, x: Any, out: Sequence[npt.NDArray[Any] | None] | None = None
    ) -> tuple[Any, npt.NDArray[Any]]: ...
    def jvp(self, x: Any, v: Any, out: Sequence[npt.NDArray[Any] | None] | None = None) -> tuple[Any, Any]: ...
    def hvp(
        self, x: Any, v: Any, u: Any, out: Sequence[npt.NDArray[Any] | None] | None = None
    ) -> tuple[Any, npt.NDArray[Any]]: ...
    def hessian(
        self, x: Any, output: int = 0, out: Sequence[npt.NDArray[Any] | None] | None = None
    ) -> tuple[Any, npt.NDArray[Any]]: ...
