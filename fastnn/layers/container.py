"""What layers that are made of other layers share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._op import Op, ParameterSettings
from fastnn._settings import factor_of
from fastnn.layers._columns import missing_columns, names_at, side_by_side
from fastnn.layers._configurations import deserialize, serialize
from fastnn.layers._preparation import check_preparation
from fastnn.layers.base import Layer, NameAndType, Names, Parameter, Shared, first_to_compute, last_of
from fastnn.layers.input import InputLayer
from fastnn.layers.preprocessing import Values

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fastnn.layers._home import Home


class Stackable(ABC):
    """What a stack can be made of besides a list of layers: a model, of which this module needs to know no more."""

    name: str

    @abstractmethod
    def _copied(self) -> tuple[list[Layer], list[npt.NDArray[Any]]]:
        """Return copies of the layers, of which only the first may be an Input, and copies of the weights, if any."""


class Container(Layer):
    """A layer that holds other layers, each under a name of its own.

    Attributes
    ----------
    layers : list of Layer
        A new list: which layers there are is settled when the container is made.
    """

    def __init__(self, **shared: Unpack[Shared]) -> None:
        super().__init__(**shared)
        self._layers: list[Layer] = []
        self._names = Names((), "block")

    @property
    def layers(self) -> list[Layer]:
        """The layers, as a new list."""
        return list(self._layers)

    def _facts(self) -> str:
        return ", ".join([*([] if self.name is None else [repr(self.name)]), *map(repr, self._layers)])

    def _take_change(self, name: str, value: Any) -> None:
        """Hold a new value of an attribute that every layer has; which layers there are is settled."""
        if name == "trainable":  # sets it for all layers within, as in Keras
            super()._take_change(name, value)
            for layer in self._layers:
                layer._take_change(name, value)
        elif name in ("name", "dtype"):
            self._check_change(name, value)
            vars(self)[name] = getattr(Layer(**{name: value}), name)
        elif name in vars(Layer()):
            super()._take_change(name, value)
        else:
            raise self._not_settable(name)

    def check_name_within(self, layer: Layer, name: Any) -> None:
        """Raise where another of the container's layers has the name."""
        if any(other is not layer and other.name == name for other in self._layers):
            raise ValueError(f"name {name!r} is taken: layer names must be unique in a block")

    def _take(self, layer: Layer) -> None:
        """Make a layer one of this container's, and give it a name where it has none."""
        if layer._home is not None or layer._parent is not None:
            raise ValueError(f"layer {layer.name!r} belongs to a model already; make a new one for this block")
        if layer.must_be_last and not self.in_line:
            raise TypeError(
                f"layers must not hold {type(last_of([layer])).__name__}, which is the last layer of a model"
            )
        if self.in_line and self.must_be_last:
            raise ValueError(f"Heads must come last in the model: put {type(layer).__name__} before it")
        if layer.dtype is not None and self.dtype not in (None, layer.dtype):
            raise ValueError(f"dtype must be the same for all layers of a block, got {self.dtype} and {layer.dtype}")
        self._names.give(layer)
        self.dtype = self.dtype or layer.dtype
        self._layers.append(layer)
        layer._parent = self

    def attach(self, home: Home | None) -> None:
        """Make the container and the layers within part of a model."""
        super().attach(home)
        for layer in self._layers:
            layer.attach(home)

    def parameters(self) -> list[Parameter]:
        """Return the parameters of the layers within, named layer/parameter."""
        return [one._replace(name=f"{layer.name}/{one.name}") for layer in self._layers for one in layer.parameters()]

    def non_trainable(self) -> frozenset[str]:
        """Return the names that the layers within report; all names while the container is not trained."""
        inner = {f"{layer.name}/{name}" for layer in self._layers for name in layer.non_trainable()}
        return super().non_trainable() | inner

    def parameter_settings(self) -> dict[str, ParameterSettings]:
        """Return the settings of the layers within, with multipliers that are multiplied by the container's."""
        settings = {
            f"{layer.name}/{name}": inner
            for layer in self._layers
            for name, inner in layer.parameter_settings().items()
        }
        self._check_factors(settings)
        rates, decays = self.learning_rate_multiplier, self.weight_decay_multiplier
        return {
            name: inner._replace(
                multiplier=inner.multiplier * factor_of(rates, name), decay=inner.decay * factor_of(decays, name)
            )
            for name, inner in settings.items()
        }

    def offsets_within(self, offsets: dict[str, int]) -> dict[str, dict[str, int]]:
        """Return where the parameters of each of the layers lie, by the layer's name."""
        own: dict[str, dict[str, int]] = {str(layer.name): {} for layer in self._layers}
        for path, at in offsets.items():
            layer_name, _, name = path.partition("/")
            own[layer_name][name] = at
        return own

    def lower_inner(self, offsets: dict[str, int]) -> list[list[Op]]:
        """Return the ops of each of the layers, a list a layer."""
        own = self.offsets_within(offsets)
        return [layer.lower_for_training(own[str(layer.name)]) for layer in self._layers]


class Stack(Container):
    """Layers one after the other: a model within a model, a branch, a head, or the inside of a residual block.

    A :class:`fastnn.Sequential` that is given to another one becomes such a layer.

    Parameters
    ----------
    layers : iterable of Layer, or Sequential
        An Input may come first. The stack holds a copy of a Sequential, with copies of its weights where it is built:
        to train one of the two does not change the other.
    **shared
        See :class:`Layer`.

    Attributes
    ----------
    layers : list of Layer
        The layers, each with a name of its own in the stack.

    Examples
    --------
    >>> import fastnn
    >>> trained = fastnn.Sequential([fastnn.Input((4,)), fastnn.layers.Dense(3)])
    >>> model = fastnn.Sequential([trained, fastnn.layers.Softmax()])
    >>> model.layers[0].count_params()
    15
    """

    in_line = True

    def __init__(
        self,
        layers: Iterable[Layer] | Stackable,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(**shared)
        self._initial: list[npt.NDArray[Any]] = []  # initial values of the parameters, in their order
        self._widths: tuple[int, int] = (0, 0)
        self._inner_widths: list[int] = []  # the number of outputs of each of the layers
        if isinstance(layers, Stackable):
            layers, self._initial = layers._copied()
        elif isinstance(layers, Layer) or not isinstance(layers, Iterable):
            raise TypeError(f"layers must be a list of layers, got {type(layers).__name__}")
        for layer in layers:
            self._put(layer)

    def _put(self, given: Any) -> None:
        """Append a layer, the layer that a configuration describes, or a model as a Stack."""
        layer = deserialize(given) if isinstance(given, dict) else given
        if isinstance(layer, Stackable):
            layer = Stack(layer, name=self._names.free(layer.name))
        if not isinstance(layer, Layer) or (isinstance(layer, InputLayer) and self._layers):
            raise TypeError(f"layers must hold fastnn layers, Input only at the start, got {type(layer).__name__}")
        if isinstance(layer, InputLayer):
            self.input_axes = layer.input_axes
            self.dtype = self.dtype or layer.dtype
        else:
            self.input_axes = self.input_axes or (None if self._layers else layer.input_axes)
            self._take(layer)

    @property
    def idle(self) -> bool:  # type: ignore[override]
        """Whether none of the layers computes anything."""
        return all(layer.idle for layer in self._layers)

    @property
    def must_be_last(self) -> bool:  # type: ignore[override]
        """Whether its last layer must be the last one of the model."""
        return bool(self._layers) and self._layers[-1].must_be_last

    def names_within(self, layer: Layer) -> Sequence[Any] | None:
        """Return the names of the columns that reach one of the layers; None where nobody says them."""
        return names_at(self._layers, layer, self._names_told())

    def names_after(self, names: Sequence[Any] | None) -> Sequence[Any] | None:
        """Return the names of the columns after the last of the layers."""
        for layer in self._layers:
            names = layer.names_after(names)
        return names

    def build(self, inputs: int) -> int:
        """Settle the shapes of the layers, one after the other, and return the number of outputs."""
        features, self._inner_widths = inputs, []
        if self.input_features not in (None, inputs):
            raise ValueError(f"{self._called} was made for {self.input_features} features, got {inputs}")
        for layer in self._layers:
            features = layer.build(features)
            self._inner_widths.append(features)
        self._widths = inputs, features
        return features

    def build_alone(self, inputs: int) -> int:
        """Settle the shapes of layers without neighbours, as a branch has them; raise where the layers need some."""
        check_preparation(self._layers, raw=self._parent is not None and self._parent.reads_raw)
        features = Stack.build(self, inputs)
        axes = Stack.axes_after(self, self.input_axes or (inputs,), features)
        if len(axes) > 1:
            raise ValueError(f"the last layer of {self.name!r} must give rows of one axis, got {axes}: add a Flatten")
        return features

    def axes_after(self, axes: tuple[int, ...], outputs: int) -> tuple[int, ...]:
        """Return the axes of a row after the last of the layers."""
        for layer, width in zip(self._layers, self._inner_widths, strict=True):
            axes = layer.axes_after(axes, width)
        return axes

    def parameters(self) -> list[Parameter]:
        """Return the parameters of the layers, named layer/parameter, with values where a built model was given."""
        found = super().parameters()
        if not self._initial:
            return found
        return [
            one._replace(initializer=Values(held)) if held.shape == one.shape else one
            for one, held in zip(found, self._initial, strict=True)
        ]

    @property
    def takes_missing(self) -> bool:  # type: ignore[override]
        """Whether a NaN is a missing value for the first layer that computes."""
        first = first_to_compute(self.layers)
        return first is not None and first.takes_missing

    def missing_columns(self, inputs: int) -> npt.NDArray[np.bool_]:
        """Return in which of `inputs` columns a NaN is a missing value."""
        return missing_columns(self._layers, inputs)

    def check_rows(self, rows: npt.NDArray[Any], name: str, first: int = 0) -> None:
        """Raise where the first layer that computes cannot read the rows."""
        layer = first_to_compute(self._layers)
        if layer is not None:
            layer.check_rows(rows, name, first)

    def lower(self, offsets: dict[str, int]) -> list[Op]:
        """Return the ops of the layers, in their order."""
        return [op for ops in self.lower_inner(offsets) for op in ops]

    def serialized(self, width: int | None) -> list[dict[str, Any]]:
        """Return the layers' configurations, after an Input of this width unless that is None."""
        known = [] if width is None else [InputLayer((width,))]
        return [serialize(layer) for layer in (*known, *self._layers)]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"layers": [serialize(layer) for layer in self._layers]}


class Parallel(Container):
    """Named stacks side by side, whose outputs are joined: the base of branches and heads.

    Parameters
    ----------
    stacks : dict
        A list of layers or a Sequential under the name of each stack.
    argument : str
        What error messages call `stacks`.
    **shared
        See :class:`Layer`.
    """

    takes_input_shape = False
    _layers: list[Stack]  # type: ignore[assignment]

    def __init__(self, stacks: Any, argument: str, **shared: Unpack[NameAndType]) -> None:
        super().__init__(**shared)
        if not isinstance(stacks, dict) or not stacks:
            raise TypeError(
                f"{argument} must be a dict with a list of layers under each name, got {type(stacks).__name__}"
                if not isinstance(stacks, dict)
                else f"{argument} must hold at least one name with a list of layers"
            )
        for key, given in stacks.items():
            if not isinstance(key, str) or not key:
                raise TypeError(f"{argument} must have names as its keys, got {key!r}")
            if isinstance(given, Layer) or (not hasattr(given, "layers") and not isinstance(given, (list, tuple))):
                raise TypeError(
                    f"{argument}[{key!r}] must be a list of layers or a Sequential, got {type(given).__name__}"
                )
            self._take(Stack(given, name=key))

    @property
    def outputs(self) -> dict[str, int]:
        """The number of columns that each stack gives, in the order of the stacks, once the layer is built."""
        return {str(stack.name): stack._widths[1] for stack in self._layers}

    def check_name_within(self, layer: Layer, name: Any) -> None:
        """Raise: a stack keeps its name, by which data and losses find it."""
        raise ValueError(f"name of {layer.name!r} in {self._called} cannot be set: make a new {type(self).__name__}")

    def summary_rows(self) -> list[tuple[str, str, str, str]]:
        """Return a line of the summary for each stack."""
        return [
            (
                f"  {stack.name} ({', '.join(type(layer).__name__ for layer in stack._layers) or 'as it is'})",
                f"(None, {stack._widths[1] or '?'})",
                "",
                stack.summary_count(),
            )
            for stack in self._layers
        ]

    def _lower_joined(self, offsets: dict[str, int], starts: list[int]) -> list[Op]:
        """Return the ops of the stacks, each reading the layer's input from its column of `starts` on, and the join."""
        inner = self.lower_inner(offsets)
        widths = [stack._widths[1] for stack in self._layers]
        some = [ops or [Op("activation", "linear", width, width)] for ops, width in zip(inner, widths, strict=True)]
        return side_by_side(some, starts)
