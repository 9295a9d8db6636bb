"""What every layer has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn import constraints, regularizers
from fastnn._settings import Setting
from fastnn.config import check_policy
from fastnn.initializers import Initializer
from fastnn.layers._op import Op, Rule
from fastnn.sparse import SparseRows

if TYPE_CHECKING:
    from fastnn.constraints import Constraint
    from fastnn.network import Network
    from fastnn.regularizers import Regularizer


def check_width(name: str, value: Any) -> int:
    """A positive integer, or an error that names the argument."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return int(value)


def features_of(shape: Any, argument: str) -> int:
    """The number of features of an input shape ``(features,)`` or ``features``."""
    if isinstance(shape, (tuple, list)):
        if len(shape) != 1:
            raise ValueError(
                f"{argument} must be (features,): rows of a dense network have one axis, got {tuple(shape)}"
            )
        shape = shape[0]
    return check_width(argument, shape)


class Layer:
    """One stage of a :class:`fastnn.Sequential`.

    Attributes
    ----------
    name : str or None
        Unique within its model; given by the model where the user gave none.
    dtype : str or None
        ``"float32"`` or ``"float64"``; None follows the model.
    trainable : bool
        Whether training changes its parameters; a change counts from the next :meth:`fastnn.Sequential.compile` on.
    learning_rate_multiplier : float
        The optimizer's learning rate counts so many times for this layer, 1 at first; a change counts from the next
        compile on.
    input_features : int or None
        Width of its input, where it was told (`input_shape`).
    """

    takes_sparse = False  # whether its input may be sparse rows
    learning_rate_multiplier = Setting()
    must_be_last = False  # whether no layer may follow it

    def __init__(self, name: str | None = None, dtype: Any = None, input_shape: Any = None) -> None:
        if name is not None and (not isinstance(name, str) or not name or "/" in name):
            raise ValueError(f"name must be a non-empty string without '/', got {name!r}")
        self.name = name
        self._penalties: tuple[str, ...] = ()  # names of arguments
        self.trainable = True
        self.learning_rate_multiplier = 1.0
        self.dtype = None if dtype is None else check_policy(dtype)
        self.input_features = None if input_shape is None else features_of(input_shape, "input_shape")
        self._model: Network | None = None
        self._parent: Layer | None = None  # the block it is a layer of

    def attach(self, model: Network | None) -> None:
        """Make the layer part of a model, or of none."""
        self._model = model

    def build(self, inputs: int) -> int:
        """Settle the shapes for `inputs` features; returns the number of outputs."""
        raise NotImplementedError

    def parameters(self) -> list[tuple[str, tuple[int, ...], Initializer]]:
        """Name, shape and initializer of each parameter, once built."""
        return []

    def check_input(self, rows: npt.NDArray[Any] | SparseRows, name: str) -> None:
        """Raise where x, which this layer is the first to get, is not what it needs."""
        if not isinstance(rows, SparseRows):
            self.check_rows(rows, name)
        elif not self.takes_sparse:
            kind = type(self).__name__
            raise TypeError(f"{name} is sparse, which needs a Dense first layer, got {kind} {self.name!r}")

    def check_rows(self, rows: npt.NDArray[Any], name: str) -> None:
        """Raise where dense rows of x are not what this layer, the first to get them, needs."""

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """The engine's ops, given where the parameters lie."""
        raise NotImplementedError

    def lower_for_training(self, offsets: dict[str, int]) -> list[Op]:
        """As :meth:`lower`, marked as frozen where the layer is not trained."""
        ops = self.lower(offsets)
        return ops if self.trainable else [op._replace(frozen=True) for op in ops]

    def non_trainable(self) -> frozenset[str]:
        """The names of the parameters that training leaves alone or changes in a way of its own."""
        return frozenset() if self.trainable else frozenset(name for name, _, _ in self.parameters())

    def training_rule(self, parameter: str) -> Rule:
        """How training changes the parameter of that name."""
        shape = next(shape for name, shape, _ in self.parameters() if name == parameter)
        penalty: Regularizer | None = getattr(self, f"{parameter}_regularizer", None)
        constraint: Constraint | None = getattr(self, f"{parameter}_constraint", None)
        return Rule(
            multiplier=self.learning_rate_multiplier,
            l1=penalty.l1 if penalty else 0.0,
            l2=penalty.l2 if penalty else 0.0,
            constraint=constraint.code(shape) if constraint else 0,
            norm=constraint.norm if constraint else (0.0, 0.0, 0.0),
        )

    def _set_penalties(self, **given: Any) -> None:
        """Keep what is given for the arguments ``<parameter>_regularizer`` and ``<parameter>_constraint``."""
        for argument, value in given.items():
            known: Any = regularizers if argument.endswith("_regularizer") else constraints
            setattr(self, argument, known.get(value, argument))
        self._penalties = tuple(given)

    def _penalty_config(self) -> dict[str, Any]:
        """Those arguments, where they are not None."""
        held = {argument: getattr(self, argument) for argument in self._penalties}
        return {
            argument: (regularizers if argument.endswith("_regularizer") else constraints).serialize(value)
            for argument, value in held.items()
            if value is not None
        }

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, JSON-able."""
        config: dict[str, Any] = {"name": self.name, "dtype": self.dtype}
        if self.input_features is not None:
            config["input_shape"] = [self.input_features]
        if not self.trainable:
            config["trainable"] = False
        if self.learning_rate_multiplier != 1:
            config["learning_rate_multiplier"] = self.learning_rate_multiplier
        return config | self._penalty_config()

    def get_weights(self) -> list[npt.NDArray[Any]]:
        """Copies of the layer's parameters, in the order of :meth:`parameters`."""
        return [self._weight(name).copy() for name, _, _ in self.parameters()] if self._model else []

    def count_params(self) -> int:
        """The number of the layer's parameters."""
        return sum(int(np.prod(shape)) for _, shape, _ in self.parameters()) if self._model else 0

    def _weight(self, name: str) -> npt.NDArray[Any]:
        if self._model is None or not self._model.built:
            raise ValueError(f"layer {self.name!r} has no {name} yet: build the model first")
        if self._parent is not None:
            return self._parent._weight(f"{self.name}/{name}")
        return self._model._weight(str(self.name), name)
