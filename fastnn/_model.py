"""What others may ask of a model: the rooms beside it know these protocols, and no class of models.

Loops, callbacks and files stand below the model, so its class is none of their business. Users see the model too, and
Keras's names alone: so what is the package's own begins with an underscore, and is written down here. Nobody asks a
model for more; mypy says so.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import os

    import numpy as np
    import numpy.typing as npt
    from typing_extensions import Self

    from fastnn import goals
    from fastnn._engine import Engine
    from fastnn._op import Rule
    from fastnn.callbacks import History
    from fastnn.data.feeds import Samples
    from fastnn.layers._home import Home
    from fastnn.optimizers import Optimizer

    Array = npt.NDArray[np.float32 | np.float64]


class Ready(NamedTuple):
    """A model that can run as it was compiled.

    Attributes
    ----------
    engine : Engine
        Set up for the losses, the metrics and the optimizer as they are.
    layout : goals.Layout
        How to read the sums that the engine returns.
    optimizer : Optimizer
    """

    engine: Engine
    layout: goals.Layout
    optimizer: Optimizer


class Progress(NamedTuple):
    """Where training stands, besides the weights and the optimizer's slots.

    Attributes
    ----------
    iterations : int
        The optimizer's steps.
    momentum_product : float
        Of Nadam's momenta so far.
    seed : int
        The model's, of which orders of rows and noise are made.
    epochs_done : int
        The number of the next order of rows.
    average_swapped : bool
        Whether the model shows the average of its weights, and keeps the weights themselves in its place.
    """

    iterations: int
    momentum_product: float
    seed: int
    epochs_done: int
    average_swapped: bool


class Run(Protocol):
    """A ``fit`` that is going on."""

    def state(self) -> dict[str, Any]:
        """Where it is, in JSON's types and arrays."""

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""

    def resume_callbacks(self, state: dict[str, Any]) -> None:
        """Give the callbacks what they knew then."""


class Model(Protocol):
    """A model that can be run: what the loops over batches ask of it, and the callbacks.

    Attributes
    ----------
    stop_training, stop_evaluating, stop_predicting : bool
        A callback sets one to end the call.
    history : History or None
        Of the last ``fit``.
    _home : Home
        Its lock and its parameters.
    _engine : Engine or None
        None before the model is built.
    _goals : tuple of Goal
        What it is trained for; empty before it is compiled, or where it was compiled without a loss.
    _steps_per_execution : int
        Batch hooks are called once for so many batches.
    _seed, _epochs_done : int
        Of the orders of rows: the model's number, and which of its orders is the next.
    _run : Run or None
        The ``fit`` that is going on.
    """

    name: str
    stop_training: bool
    stop_evaluating: bool
    stop_predicting: bool
    history: History | None
    _home: Home
    _engine: Engine | None
    _goals: tuple[goals.Goal, ...]
    _steps_per_execution: int
    _seed: int
    _epochs_done: int
    _run: Run | None

    @property
    def optimizer(self) -> Optimizer | None:
        """What the model was compiled with."""

    @property
    def metrics_names(self) -> list[str]:
        """The names of the logs of an epoch."""

    def _need_engine(self, action: str) -> Engine:
        """The engine of a built model; ValueError, naming the `action`, where there is none."""

    def _ready(self, action: str) -> Ready:
        """The engine, set up as the model is now; RuntimeError where it is not compiled."""

    def _running(self, action: str) -> AbstractContextManager[Ready]:
        """The same, and no other thread sets the engine up anew within."""

    def _look_at_first_rows(self, ready: Ready, samples: Samples, batch: int) -> None:
        """Raise before the first step of a run where a metric cannot take the first rows, or their outputs."""

    def _rules(self) -> list[Rule]:
        """How each of the parameters is trained."""

    def _outputs(self, rows: Array) -> Any:
        """The outputs as the user gets them: a dict where they have names."""

    def _metric_direction(self, key: str) -> str | None:
        """``"up"`` or ``"down"``: where a log is better; None where its metric does not say."""


class Member(Model, Protocol):
    """A model that is trained together with others: what an ensemble asks of it."""

    def _form(self) -> tuple[Any, ...] | None:
        """What the conversion of x and y depends on; None where the model is not built, or has no loss."""

    def _convert(self, action: str, x: Any, y: Any, *, check_finite: bool) -> tuple[Any, Any]:
        """X and y as the engine reads them, building the model from x where that is still to be done."""

    def _checked(self, rows: Any) -> Any:
        """The rows, once the first layer has found in them what it needs."""

    def _as_it_was_on_error(self) -> AbstractContextManager[bool]:
        """Whether the model was built before; a call that fails within leaves one that was not so."""


class Kept(Model, Protocol):
    """A model that is written to files and read from them.

    Attributes
    ----------
    _described : str
        A description that is known to be one of which a model can be made.
    _progress : Progress
        To set it, of a compiled model that is set up, is to go on from there.
    """

    _described: str
    _progress: Progress

    @property
    def built(self) -> bool:
        """Whether the weights exist."""

    @property
    def dtype(self) -> str:
        """Of the weights."""

    def get_config(self) -> dict[str, Any]:
        """The layers, JSON-able."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """A model of such layers."""

    def compile(self, *arguments: Any, **named: Any) -> None:
        """Say how to train."""

    def _compile_config(self) -> dict[str, Any] | None:
        """What ``compile`` was told, JSON-able; None before it."""

    def _build(self, features: Any) -> None:
        """Create the weights."""

    def _catch_up(self) -> None:
        """Create them where the width of x has become known since; let the engine run the layers as they are now."""

    def _heed_changes(self) -> bool:
        """Let the engine run the layers as they are now."""

    def _has_state_of(self, optimizer: Optimizer) -> bool:
        """Whether the engine's slots and step count are those of this optimizer."""

    def _restore(self, path: str | os.PathLike[str]) -> None:
        """Take over the whole state that a file holds of a model like this one."""
