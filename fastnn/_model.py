"""What others may ask of a model: the rooms beside the model know these protocols, and no class of models.

Loops, callbacks and files stand below the model, and must not know its class. Users see the model under Keras's names;
names of the package's own begin with an underscore, and are written down here. mypy checks that nobody asks a model for
more.
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
    from fastnn._engine import Engine, Lock
    from fastnn._op import ParameterSettings
    from fastnn.callbacks import CallbackList, History
    from fastnn.data.feeds import Order, Samples
    from fastnn.layers import Branches, Heads, Layer
    from fastnn.layers._home import Home
    from fastnn.optimizers import Optimizer

    Array = npt.NDArray[np.float32 | np.float64]


class Ready(NamedTuple):
    """A model that can run as it was compiled.

    Attributes
    ----------
    engine : Engine
        The model's engine, set up for the losses, the metrics and the optimizer as they are.
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
        The number of the optimizer's steps.
    momentum_product : float
        The product of Nadam's momenta so far.
    seed : int
        The model's seed, of which orders of rows and noise are made.
    epochs_done : int
        The number of the next order of rows.
    average_swapped : bool
        Whether the model shows the average of its weights, and the weights themselves are kept in the average's place.
    course : tuple of int
        The first step and the number of steps of the last fit, of which schedules may go by the share.
    """

    iterations: int
    momentum_product: float
    seed: int
    epochs_done: int
    average_swapped: bool
    course: tuple[int, int] = (0, 0)


class Run(Protocol):
    """A ``fit`` that is going on."""

    def state(self) -> dict[str, Any]:
        """Return where the run is, in JSON's types and arrays."""

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from the result of :meth:`state`."""

    def resume_callbacks(self, state: dict[str, Any]) -> None:
        """Give the callbacks what they knew when the state was taken."""


class Model(Protocol):
    """A model that can be run: what the loops over batches, and the callbacks, ask of it.

    Attributes
    ----------
    stop_training, stop_evaluating, stop_predicting : bool
        A callback sets one to end the call.
    history : History or None
        The history of the last ``fit``.
    _home : Home
        The model's lock and parameters.
    _engine : Engine or None
        The model's engine; None before the model is built.
    _goals : tuple of Goal
        What the model is trained for; empty before it is compiled, or where it was compiled without a loss.
    _steps_per_execution : int
        The number of batches for which batch hooks are called once.
    _seed, _epochs_done : int
        What makes orders of rows: the model's seed, and the number of its next order.
    _run : Run or None
        The ``fit`` that is going on.
    _course : tuple of int
        The first step and the number of steps of that ``fit``, or of the last one.
    _looked_at : Layout or None
        The layout whose metrics have seen the first rows of the run.
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
    _course: tuple[int, int]
    _looked_at: goals.Layout | None

    @property
    def optimizer(self) -> Optimizer | None:
        """The optimizer that the model was compiled with."""

    @property
    def metrics_names(self) -> list[str]:
        """The names of the logs of an epoch."""

    def _need_engine(self, action: str) -> Engine:
        """Return the engine of a built model; raise ValueError, which names the `action`, where there is none."""

    def _ready(self, action: str) -> Ready:
        """Return the engine, set up as the model is now; raise RuntimeError where the model is not compiled.

        Whoever holds the model's lock knows that no other thread sets the engine up anew meanwhile.
        """

    def _look_at_first_rows(self, ready: Ready, samples: Samples, batch: int, order: Order | None = None) -> None:
        """Raise before the first step of a run where a metric cannot take the first rows, or their outputs."""

    def _parameter_settings(self) -> list[ParameterSettings]:
        """Return how each of the parameters is trained."""

    def _outputs(self, rows: Array) -> Any:
        """Return the outputs as the user gets them: a dict where outputs have names."""

    def _metric_direction(self, key: str) -> str | None:
        """Return ``"up"`` or ``"down"``, where a log is better; None where its metric does not say."""


class Member(Model, Protocol):
    """A model that is trained together with others: what an ensemble asks of it."""

    def _form(self) -> tuple[Any, ...] | None:
        """Return what the conversion of x and y depends on; None where that cannot be said, or there is no loss."""

    def _form_of_x(self) -> tuple[Any, ...] | None:
        """Return what the conversion of x depends on; None where that cannot be said."""

    def _convert(
        self, action: str, x: Any, y: Any, *, check_finite: bool, names: tuple[str, str] = ("x", "y")
    ) -> tuple[Any, Any]:
        """Return X and y as the engine reads them; build the model from x where that is still to be done."""

    def _inputs(self, x: Any, dtype: str, *, check_finite: bool) -> tuple[Any, Any]:
        """Return X as the engine reads it, and its features."""

    def _checked(self, rows: Any, name: str = "x") -> Any:
        """Return the rows, once the first layer has found in them what it needs."""

    def _learn(self, x: Any, y: Any, names: tuple[str, str]) -> None:
        """Learn the names of columns from frames as :meth:`_convert` does, where another model has converted them."""

    def _weighted(self, samples: Samples, class_weight: Any, *, all_rows: bool = False) -> Samples:
        """Return the samples with the weights of their classes."""

    def _check_mixup(self, x: Any) -> None:
        """Raise where rows of this x, or their targets, cannot be mixed."""

    def _as_it_was_on_error(self, x: Any, y: Any = None) -> AbstractContextManager[bool]:
        """Yield whether the model was built before; a call that fails within leaves an unbuilt model unbuilt.

        Frames say the names of the model's columns, unless the call fails.
        """

    def _begin(self, hooks: CallbackList, params: dict[str, Any]) -> History:
        """Tell the callbacks what fit is about to do; return the History among them, or one that joins them."""

    def _result(self, logs: dict[str, Any], return_dict: bool) -> Any:
        """Return the logs as ``evaluate`` does."""


class Kept(Model, Protocol):
    """A model that is written to files and read from them.

    Attributes
    ----------
    _described : str
        A description of which a model can be made, as far as is known.
    _progress : Progress
        Where training stands; setting it in a compiled model that is set up lets training go on from there.
    _naming : Lock
        The lock of whoever may change the names of columns; it is taken before the model's own.
    """

    _described: str
    _progress: Progress
    _naming: Lock

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """The names of the columns of x; None where the model knows none."""

    def _checked_names(self, value: Any) -> tuple[str, ...]:
        """Return names of columns that are to be set; raise where the model cannot have them."""

    def _take_names(self, names: tuple[str, ...] | None) -> None:
        """Know x's columns by these names; raise, and know those before, where a layer found its columns by others."""

    def _checked_column_names(self, value: Any) -> dict[str, tuple[str, ...]]:
        """Return names of columns by place that are to be set; raise where the model cannot have them."""

    @property
    def built(self) -> bool:
        """Whether the weights exist."""

    @property
    def dtype(self) -> str:
        """The element type of the weights."""

    def get_config(self) -> dict[str, Any]:
        """Return the layers' configurations, JSON-able."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return a model of the layers that :meth:`get_config` described."""

    def compile(self, *arguments: Any, **named: Any) -> None:
        """Say how to train."""

    def _compile_config(self) -> dict[str, Any] | None:
        """Return what ``compile`` was told, JSON-able; None before it was called."""

    def _build(self, features: Any) -> None:
        """Create the weights."""

    def _catch_up(self) -> None:
        """Create the weights where x's width has become known since; let the engine run the layers as they are now."""

    def _heed_changes(self) -> bool:
        """Let the engine run the layers as they are now."""

    def _has_state_of(self, optimizer: Optimizer) -> bool:
        """Return whether the engine's slots and step count are those of this optimizer."""

    def _restore(self, path: str | os.PathLike[str]) -> None:
        """Take over the whole state that a file holds of a model like this one."""


class Exported(Model, Protocol):
    """A model that is written in formats of others.

    Attributes
    ----------
    _progress : Progress
        Where training stands.
    """

    _progress: Progress

    @property
    def layers(self) -> list[Layer]:
        """The layers, as a new list."""

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """The names of the columns of x; None where the model knows none."""

    @property
    def column_names(self) -> dict[str, tuple[str, ...]]:
        """The names of the columns of frames in other places than x, by place."""

    @property
    def dtype(self) -> str:
        """The element type of the weights."""

    @property
    def input_shape(self) -> Any:
        """The shape of x: ``(None, *axes)`` of a row, or a dict of such tuples by branch."""

    @property
    def _branches(self) -> Branches | None:
        """The layer that takes x apart; None where there is none."""

    @property
    def _heads(self) -> Heads | None:
        """The layer that gives the outputs names; None where there is none."""

    def _heed_changes(self) -> bool:
        """Let the engine run the layers as they are now."""
