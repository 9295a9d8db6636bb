from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from fastnn._engine import Engine
from fastnn.data.arrays import RowReader

def get_include() -> str: ...
def _polling(interval: float | None = None) -> tuple[float, int]: ...

@disjoint_base
class Predictor:
    def __init__(
        self,
        engine: Engine,
        reads: RowReader | None = None,
        heads: dict[str, int] | None = None,
    ) -> None: ...
    @property
    def inputs(self) -> int: ...
    @property
    def outputs(self) -> int: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def address(self) -> int: ...
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
