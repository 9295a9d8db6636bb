"""What all layers share: their base class, the names a model gives them, and checks of their input."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt

from fastnn import constraints, regularizers
from fastnn._op import Op, ParameterSettings
from fastnn._registry import check_known_method, nearest_names
from fastnn._settings import Description, Factors, changes, factor_of, flag
from fastnn.config import check_policy
from fastnn.data.frames import RowAxes, real_array
from fastnn.initializers import Initializer

if TYPE_CHECKING:
    from fastnn.constraints import Constraint
    from fastnn.layers._home import Home
    from fastnn.regularizers import Regularizer


# Matches between the words of a class name: BatchNormalization, RMSNormalization, PReLU (Keras: "Re" is a word).
_WORDS = re.compile("(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class NameAndType(TypedDict, total=False):
    """The keyword arguments of every layer; :class:`Layer` describes them."""

    name: str | None
    dtype: Any


class Shared(NameAndType, total=False):
    """The keyword arguments that layers share which may be the first of a model."""

    input_shape: Any


class SharedWithPenalty(Shared, total=False):
    """The keyword arguments that layers share whose outputs may have a penalty."""

    activity_regularizer: Any


class Parameter(NamedTuple):
    """A parameter of a layer: its name in the layer, its shape and what its first values come from."""

    name: str
    shape: tuple[int, ...]
    initializer: Initializer


class NotYetError(ValueError):
    """A stack of layers cannot run as it is, but with more layers, or once a layer is adapted, it may."""


# attributes that models read before they train
_OF_TRAINING = ("trainable", "learning_rate_multiplier", "weight_decay_multiplier")


class Names:
    """The names that are taken in a model or a block.

    Parameters
    ----------
    layers : iterable of Layer
        The layers that the model or the block has from the start.
    place : str
        What messages call the model or the block: ``"model"`` or ``"block"``.
    """

    def __init__(self, layers: Iterable[Layer], place: str) -> None:
        self._taken = {layer.name for layer in layers}
        self._place = place
        # for each class, the least number that may be free: no search from 0 for each layer
        self._numbers: dict[str, int] = {}

    def free(self, base: str) -> str:
        """Return `base` where no layer has that name, else `base` with the first number that is free."""
        for k in itertools.count(self._numbers.get(base, 0)):
            name = f"{base}_{k}" if k else base
            if name not in self._taken:
                self._numbers[base] = k
                return name
        raise AssertionError  # names do not end

    def give(self, layer: Layer) -> None:
        """Give a layer without a name the one Keras would: its class in snake case, ``_1`` for the second, and so on.

        Raises
        ------
        ValueError
            When another layer has the name.
        """
        if layer.name is None:
            vars(layer)["name"] = self.free(_WORDS.sub("_", type(layer).__name__).lower())
        elif layer.name in self._taken:
            raise ValueError(f"name {layer.name!r} is taken: layer names must be unique in a {self._place}")
        self._taken.add(layer.name)


def check_name(name: Any) -> None:
    """Raise where `name` cannot be the name of a layer."""
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"name must be a non-empty string without '/', got {name!r}")


def check_width(name: str, value: Any) -> int:
    """Return a positive integer; raise an error that names the argument where `value` is none."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}")
    if not 1 <= value < 2**62:
        raise ValueError(f"{name} must be {'at least 1' if value < 1 else 'below 2**62'}, got {value}")
    return int(value)


def check_axis(axis: Any) -> None:
    """Raise unless `axis`, or the one in a list of one as Keras's configurations have it, is that of the features."""
    given = axis[0] if isinstance(axis, (list, tuple)) and len(axis) == 1 else axis
    if isinstance(given, (bool, float)) or given not in (-1, 1):
        raise ValueError(f"axis must be -1 or 1, the features of a row, got {axis!r}")


def axes_of(shape: Any, argument: str) -> tuple[int, ...]:
    """Return the axes of an input shape: ``(features,)``, ``features``, or several axes, which a Flatten makes one."""
    axes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if not axes:
        raise ValueError(f"{argument} must be (features,), got ()")
    return tuple(check_width(argument, length) for length in axes)


def row_axes(layers: Iterable[Layer], told: tuple[int, ...] | None) -> RowAxes:
    """Return the axes of the rows that these layers read; `told` is the shape of a row that their Input gives."""
    reader = next((layer for layer in in_line(layers) if not layer.keeps_axes), None)
    return RowAxes(told, reader is not None and reader.takes_axes)


def in_line(layers: Iterable[Layer]) -> Iterator[Layer]:
    """Yield the layers one after the other; a model in their midst yields its own layers in its place."""
    for layer in layers:
        if layer.in_line:
            yield from in_line(layer._layers)
        else:
            yield layer


def last_of(layers: Sequence[Layer]) -> Layer | None:
    """Return the last layer, which may lie within a model in the last place; None where there is none."""
    last = layers[-1] if layers else None
    return last_of(last._layers) if last is not None and last.in_line else last


def first_to_compute(layers: Iterable[Layer]) -> Layer | None:
    """Return the layer that gets x once x has been prepared; None where there is none."""
    for layer in layers:
        found = first_to_compute(layer._layers) if layer.in_line else None if layer.idle else layer
        if found is not None:
            return found
    return None


def set_arrays(views: dict[str, npt.NDArray[Any]], arrays: Sequence[npt.ArrayLike]) -> None:
    """Copy arrays into views: all of them, or none where one does not fit."""
    from fastnn._engine import fill_all

    given = list(arrays)
    if len(given) != len(views):
        raise ValueError(f"weights must hold {len(views)} arrays, got {len(given)}")
    pairs = zip(views.items(), given, strict=True)
    fill_all(list(views.values()), [copy_like(view, values, f"weights for {name}") for (name, view), values in pairs])


def copy_like(view: npt.NDArray[Any], values: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    """Return a copy of values in the dtype of a view, which they must have the shape of; messages call them `name`."""
    array = real_array(values, name, "")
    if array.shape != view.shape:
        raise ValueError(f"{name} must have shape {view.shape}, got {array.shape}")
    with np.errstate(over="ignore"):
        copy = array.astype(view.dtype, "C")  # copied, as the array may lie in the memory of the view
    if array.dtype != view.dtype and np.isinf(copy).sum() > np.isinf(array).sum():
        raise ValueError(f"{name} must lie in the range of {view.dtype}")
    return copy


class Layer(Description):
    """One stage of a :class:`fastnn.Sequential`.

    A constructor's arguments are attributes that may be set later, which counts from the next call on. Setting one that
    would give the weights or the output another shape raises once the model is built.

    Parameters
    ----------
    name : str, optional
    dtype : {"float32", "float64", "mixed_bfloat16"}, optional
    input_shape : tuple of int, optional
        The shape ``(features,)`` of a row, where the layer is the first; several axes before a :class:`Flatten`.
    activity_regularizer : str or Regularizer, optional
        A penalty of the layer's outputs, where the layer takes one, which is divided by the rows of the batch and added
        to the loss.

    Attributes
    ----------
    name : str or None
        Unique within the layer's model or block, which gives a name where the user gave none. May be set.
    dtype : str or None
        ``"float32"``, ``"float64"`` or ``"mixed_bfloat16"``; None follows the model.
    trainable : bool
        Whether training changes the layer's parameters.
    learning_rate_multiplier, weight_decay_multiplier : float or dict of str to float
        Factors on the optimizer's learning rate and weight decay for this layer, default 1; a dict has factors of
        single parameters, as in ``{"bias": 0.1}``. The learning rate's factor counts in the weight decay too.
    input_axes : tuple of int or None
        The shape of a row of the layer's input, where `input_shape` gave one.

    Examples
    --------
    >>> import fastnn
    >>> layer = fastnn.layers.Dense(1, name="head", input_shape=(4,))
    >>> layer.trainable = False
    """

    takes_sparse = False  # whether the layer's input may be sparse rows
    prepares = False  # whether the layer reads raw data, before the engine runs: see Lookup.prepare
    reads_together = False  # whether a layer that prepares reads all columns of its branch at once, not one by one
    reads_raw = False  # whether the layers within this layer may read raw data
    idle = False  # whether the layer only prepares the data or passes them on
    takes_missing = False  # whether a NaN in the layer's input is a missing value
    takes_axes = False  # whether rows may have several axes, which the layer changes
    keeps_axes = False  # whether rows may have several axes, which the layer leaves as they are
    # the names of the input's columns in their order, where the layer was adapted to a frame that has names
    _column_names: tuple[str, ...] | None = None
    learning_rate_multiplier = Factors()
    weight_decay_multiplier = Factors()
    must_be_last = False  # whether no layer may follow this one
    in_line = False  # whether the layers within this one stand in line with those around it
    _layers: Sequence[Layer] = ()  # the layers within this one
    takes_activity_regularizer = False
    takes_input_shape = True
    _area = "Layer"
    _KEPT: ClassVar[frozenset[str]] = frozenset({"_home", "_parent", *_OF_TRAINING})

    def __init__(
        self,
        *,
        name: str | None = None,
        dtype: Any = None,
        input_shape: Any = None,
        activity_regularizer: Any = None,
        **unknown: Any,
    ) -> None:
        given = {"input_shape": input_shape, "activity_regularizer": activity_regularizer}
        unknown |= {name: v for name, v in given.items() if v is not None and not getattr(self, f"takes_{name}")}
        for argument in unknown:
            near = nearest_names(argument, self._argument_names())
            raise TypeError(f"{type(self).__name__} has no argument {argument!r}; {near}")
        if name is not None:
            check_name(name)
        check_known_method(self, "call", "layers")
        self.name = name
        # names of the constructor's arguments that hold penalties and constraints
        self._penalties: tuple[str, ...] = ()
        self.trainable = True
        self.learning_rate_multiplier = self.weight_decay_multiplier = 1.0
        self.dtype = None if dtype is None else check_policy(dtype)
        self.input_axes: tuple[int, ...] | None = None if input_shape is None else axes_of(input_shape, "input_shape")
        self._home: Home | None = None
        self._parent: Layer | None = None  # the block that this layer is part of
        self._activity: Regularizer | None = None
        if self.takes_activity_regularizer:
            self._set_penalties(activity_regularizer=activity_regularizer)

    @property
    def _built(self) -> bool:
        """Whether the layer has parameters, as it has in a model that is built."""
        return self._home is not None and self._home.built

    @property
    def _outermost(self) -> Layer:
        """The block of the model that the layer lies in, however deep; the layer itself where it lies in none."""
        return self if self._parent is None else self._parent._outermost

    @property
    def keeps_columns(self) -> bool:
        """Whether the columns of the output are those of the input, each in its place."""
        return self.idle or self.keeps_axes

    def names_within(self, layer: Layer) -> Sequence[Any] | None:
        """Return the names of the columns that one of the layers within this one reads; None where nobody says them."""
        return self._names_told()

    def names_after(self, names: Sequence[Any] | None) -> Sequence[Any] | None:
        """Return the names of the output's columns, where `names` are those of the input's; None where none has one."""
        return names if self.keeps_columns else None

    def forget_names(self) -> None:
        """Forget the names of the columns that the layer was adapted to."""
        self._column_names = None

    def _names_told(self) -> Sequence[Any] | None:
        """Return the names of the columns that reach the layer in its model or branch; None where nobody says them."""
        if self._parent is not None:
            return self._parent.names_within(self)
        return None if self._home is None else self._home.names_at(self)

    @property
    def _called(self) -> str:
        """What messages call the layer, whose name may still be None before the layer is in a model."""
        return f"this {type(self).__name__}" if self.name is None else f"layer {self.name!r}"

    @property
    def activity_regularizer(self) -> Regularizer | None:
        """The penalty of the layer's outputs, divided by the rows of the batch.

        None where the layer takes no such penalty; an :class:`ActivityRegularization` may follow that layer.
        """
        return self._activity

    @activity_regularizer.setter
    def activity_regularizer(self, value: Any) -> None:
        penalty = regularizers.get(value, "activity_regularizer")
        if penalty is not None and not self.takes_activity_regularizer:
            raise ValueError(
                f"{type(self).__name__} takes no activity_regularizer: put an ActivityRegularization layer after it"
            )
        if isinstance(penalty, regularizers.OrthogonalRegularizer):
            raise ValueError(
                "activity_regularizer cannot be an OrthogonalRegularizer, which is for kernels: use L1, L2 or L1L2"
            )
        self._activity = penalty

    # ---- changes after construction ----

    def _change(self, name: str, value: Any) -> None:
        """Set an attribute as if the layer had been made with it, in the layer's model too, or not at all."""
        home = self._home
        with home.lock if home else nullcontext():
            before = vars(self).copy()
            self._take_change(name, value)
            try:
                if home is not None and name not in _OF_TRAINING:
                    home.heed(self, name, before["name"])
            except BaseException:
                vars(self).clear()
                vars(self).update(before)
                if home is not None:
                    home.heed(self, "", None)  # this layer and those after it may have been built for another width
                raise
            if home is not None:  # without a home no model has read the layer
                changes.note()

    def _take_change(self, name: str, value: Any) -> None:
        """Check a value that is set, and hold it."""
        found = getattr(type(self), name, None)
        if name == "trainable":
            vars(self)[name] = flag(name, value)
        elif isinstance(found, Factors) or (isinstance(found, property) and found.fset is not None):
            object.__setattr__(self, name, value)
        else:
            self._check_change(name, value)
            made = vars(self._made_with(name, value))
            vars(self).update({key: held for key, held in made.items() if key not in self._KEPT})

    def _not_settable(self, name: str) -> AttributeError:
        if self._built and any(name == parameter for parameter, _, _ in self.parameters()):
            return AttributeError(f"{name} of {self._called} cannot be set: give its values to set_weights")
        return super()._not_settable(name)

    def _check_change(self, name: str, value: Any) -> None:
        """Raise where the layer's model or block rules out this name or dtype."""
        if name == "dtype" and (self._home or self._parent):
            raise ValueError(f"dtype of {self._called} must be set before the layer is in a model or a block")
        if name == "name":
            check_name(value)
            if self._parent is not None:
                self._parent.check_name_within(self, value)

    def check_name_within(self, layer: Layer, name: Any) -> None:
        """Raise where `layer`, one of the layers within this one, cannot have this name."""

    @property
    def input_features(self) -> int | None:
        """The width of the layer's input, where `input_shape` gave one."""
        return None if self.input_axes is None else math.prod(self.input_axes)

    @input_features.setter
    def input_features(self, features: int | None) -> None:
        self.input_axes = None if features is None else (features,)

    def axes_after(self, axes: tuple[int, ...], outputs: int) -> tuple[int, ...]:
        """Return the axes of a row of the output, which has `outputs` features, where a row of the input has `axes`."""
        if self.keeps_axes:
            return axes
        if len(axes) > 1:
            raise ValueError(f"layer {self.name!r} needs rows of one axis, got {axes}: put a Flatten before it")
        return (outputs,)

    def attach(self, home: Home | None) -> None:
        """Make the layer part of the model whose home this is, or of no model for None."""
        self._home = home

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Raise TypeError: a layer by itself computes nothing.

        Parameters
        ----------
        inputs, options : ignored
            The arguments that the call has in Keras.
        """
        kind = type(self).__name__
        raise TypeError(
            f"{kind} is no function, and there are no free graphs of layers: Sequential([..., {kind}(...)])(x) "
            f"computes; Branches, Heads and Residual are what joins and splits"
        )

    def build(self, inputs: int) -> int:
        """Settle the parameters' shapes for `inputs` features, and return the number of outputs."""
        raise TypeError(f"layers must be fastnn's own, which the engine computes; {type(self).__name__} is none")

    def parameters(self) -> list[Parameter]:
        """Return name, shape and initializer of each parameter, once the layer is built."""
        return []

    def check_sparse(self, name: str) -> None:
        """Raise where sparse rows reach the layer, the first to get x, and it cannot read them."""
        if not self.takes_sparse:
            kind = type(self).__name__
            raise TypeError(f"{name} is sparse, which needs a Dense first layer, got {kind} {self.name!r}")

    def check_rows(self, rows: npt.NDArray[Any], name: str, first: int = 0) -> None:
        """Raise where dense rows of x, the first of which has number `first`, are not what the first layer needs."""

    def prepare(self, values: Any, name: str) -> npt.NDArray[Any]:
        """Return the numbers that a layer which `prepares` makes of raw data."""
        raise NotImplementedError

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return the engine's ops; `offsets` says where each parameter lies."""
        raise NotImplementedError

    def lower_for_training(self, offsets: dict[str, int]) -> list[Op]:
        """Return the ops of :meth:`lower`, frozen where the layer is not trained, with the penalty of the outputs."""
        if self._penalties:
            self.parameter_settings()  # raises where a penalty or a constraint does not fit its parameter
        ops = self.lower(offsets)
        if self._activity is not None:
            ops[-1] = ops[-1]._replace(activity=(self._activity.l1, self._activity.l2))
        return ops if self.trainable else [op._replace(frozen=True) for op in ops]

    def non_trainable(self) -> frozenset[str]:
        """Return the names of the parameters that training leaves alone or changes in a way of its own."""
        return frozenset() if self.trainable else frozenset(name for name, _, _ in self.parameters())

    def parameter_settings(self) -> dict[str, ParameterSettings]:
        """Return how training changes each parameter, by the parameter's name."""
        settings = {name: self._settings_of(name, shape) for name, shape, _ in self.parameters()}
        self._check_factors(settings)
        return settings

    def _check_factors(self, known: Collection[str]) -> None:
        """Raise where a factor is one of a parameter that the layer lacks; `known` are the names of those it has."""
        for attribute in _OF_TRAINING[1:]:
            factors = getattr(self, attribute)
            for parameter in factors if isinstance(factors, dict) else ():
                if parameter not in known:
                    nearest = nearest_names(parameter, list(known))
                    raise ValueError(f"{attribute} of layer {self.name!r} has no parameter {parameter!r}; {nearest}")

    def _settings_of(self, parameter: str, shape: tuple[int, ...]) -> ParameterSettings:
        penalty: Regularizer | None = getattr(self, f"{parameter}_regularizer", None)
        constraint: Constraint | None = getattr(self, f"{parameter}_constraint", None)
        return ParameterSettings(
            multiplier=factor_of(self.learning_rate_multiplier, parameter),
            decay=factor_of(self.weight_decay_multiplier, parameter),
            l1=penalty.l1 if penalty else 0.0,
            l2=penalty.l2 if penalty else 0.0,
            cosines=penalty.cosines(shape, f"{parameter} of layer {self.name!r}") if penalty else (0.0, False),
            constraint=constraint.engine_name(shape) if constraint else "unconstrained",
            norm=constraint.norm if constraint else (0.0, 0.0, 0.0),
        )

    def _set_penalties(self, **given: Any) -> None:
        """Hold the arguments ``<parameter>_regularizer``, ``<parameter>_constraint`` and `activity_regularizer`."""
        for argument, value in given.items():
            known: Any = regularizers if argument.endswith("_regularizer") else constraints
            setattr(self, argument, known.get(value, argument))
        self._penalties += tuple(given)

    def _penalty_config(self) -> dict[str, Any]:
        """Return the configurations of the penalties and constraints that are not None, by argument."""
        held = {argument: getattr(self, argument) for argument in self._penalties}
        return {
            argument: (regularizers if argument.endswith("_regularizer") else constraints).serialize(value)
            for argument, value in held.items()
            if value is not None
        }

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, JSON-able."""
        config: dict[str, Any] = {"name": self.name, "dtype": self.dtype}
        if self.input_axes is not None:
            config["input_shape"] = list(self.input_axes)
        if not self.trainable:
            config["trainable"] = False
        for attribute in _OF_TRAINING[1:]:
            if getattr(self, attribute) != 1:
                config[attribute] = getattr(self, attribute)
        return config | self._penalty_config()

    def get_weights(self) -> list[npt.NDArray[Any]]:
        """Return copies of the layer's parameters, in the order of ``weights``."""
        if self._home is None:
            return []
        with self._home.lock.reading():
            return [self._weight(name).copy() for name, _, _ in self.parameters()]

    @property
    def weights(self) -> list[npt.NDArray[Any]]:
        """Views of the layer's parameters, once its model is built: writing to one changes the model."""
        return [self._weight(name) for name, _, _ in self.parameters()] if self._built else []

    @property
    def trainable_weights(self) -> list[npt.NDArray[Any]]:
        """Views of the parameters that training changes by their gradients."""
        return self._weights_that(trainable=True)

    @property
    def non_trainable_weights(self) -> list[npt.NDArray[Any]]:
        """Views of the parameters that training leaves alone or changes in a way of its own."""
        return self._weights_that(trainable=False)

    variables, trainable_variables, non_trainable_variables = weights, trainable_weights, non_trainable_weights

    def _weights_that(self, *, trainable: bool) -> list[npt.NDArray[Any]]:
        fixed = self.non_trainable()
        names = [name for name, _, _ in self.parameters()]
        return [view for name, view in zip(names, self.weights, strict=False) if (name not in fixed) == trainable]

    def set_weights(self, weights: Sequence[npt.ArrayLike]) -> None:
        """Set the layer's parameters from arrays as :meth:`get_weights` gives them; errors are the model's."""
        with self._home.setting_weights() if self._home else nullcontext():
            set_arrays({f"{self.name}/{name}": self._weight(name) for name, _, _ in self.parameters()}, weights)

    def count_params(self) -> int:
        """Return the number of the layer's parameters, once its model is built."""
        if self._is_open():
            raise ValueError(f"layer {self.name!r} has no number of parameters yet: build the model first")
        return sum(math.prod(shape) for _, shape, _ in self.parameters())

    def _is_open(self) -> bool:
        """Whether the shapes of the layer's parameters are not known yet."""
        return bool(self.parameters()) and not self._built

    def summary_activation(self) -> str:
        """Return the name of the layer's activation for the summary, empty where it has none."""
        return str(getattr(getattr(self, "activation", None), "name", ""))

    def summary_count(self) -> str:
        """Return the number of the layer's parameters for the summary, ``"?"`` where it is not known."""
        return "?" if self._is_open() else f"{self.count_params():,}"

    def _weight(self, name: str) -> npt.NDArray[Any]:
        if self._home is None or not self._home.built:
            raise ValueError(f"{self._called} has no {name} yet: build the model first")
        if self._parent is not None:
            return self._parent._weight(f"{self.name}/{name}")
        return self._home.views[str(self.name), name]
