"""The network of a model: its layers, their weights, and what can be said about them without training."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn import config, plan
from fastnn._diagram import Diagram
from fastnn._engine import Engine, Lock
from fastnn._public import Described, ListsWhatIsThere, counted
from fastnn._registry import nearest_names
from fastnn._seeds import next_seed
from fastnn._settings import changes, flag
from fastnn._summary import table, table_of_html
from fastnn._terminal import say
from fastnn._warnings import warn
from fastnn.initializers import Initializer
from fastnn.layers import Branches, Heads, InputLayer
from fastnn.layers._columns import names_at
from fastnn.layers._home import Home
from fastnn.layers.base import (
    Layer,
    Names,
    NotYetError,
    axes_of,
    first_to_compute,
    last_of,
    row_axes,
    set_arrays,
)
from fastnn.layers.container import Container, Parallel, Stack, Stackable

Array = npt.NDArray[Any]


class Network(Described, Stackable, metaclass=ListsWhatIsThere):
    """A stack of layers and the engine that holds their weights; see :class:`fastnn.Sequential`."""

    def __init__(self, layers: Iterable[Layer] | None = None, name: str | None = None) -> None:
        for given in (layers, name):
            if isinstance(given, (Layer, Network)):
                raise TypeError(f"layers must be a list: {type(self).__name__}([...]), got one {type(given).__name__}")
        self.name = name or "sequential"
        self._layers: list[Layer] = []
        self._engine: Engine | None = None
        self._home = Home(Lock(), self._heed, self._names_at)
        self._placed: dict[int, plan.Placed] = {}  # how the layers of a built model were lowered, by the layers' ids
        self._stale = False  # whether a layer has changed since, so that the engine needs another plan
        self._compiled_code: Any = None  # what the engine is set up for
        self._changes_seen = self._lowered_at = changes.last
        self._described = ""  # a description of which a model can be made, as far as is known
        self._first: Layer | None = None
        self._seed = next_seed()
        self._given_names: list[str | None] = []  # the names of layers that are being appended
        self._kept: Engine | None = None  # while a model is built anew: its engine before, which has the weights
        names = Names((), "model")
        with self._appending():
            for layer in layers or ():
                self._append(layer, names)
            self._check_dtypes()
            self._build_if_known()

    def _facts(self) -> str:
        what, engine = f"{self.name!r}, {counted(len(self._layers), 'layer')}", self._engine
        if engine is None:
            return f"{what}, not built"
        return f"{what}, {engine.plan.inputs} -> {engine.plan.outputs}, {counted(self.count_params(), 'parameter')}"

    @property
    def name(self) -> str:
        """What summaries and files call the model."""
        return self._name

    @name.setter
    def name(self, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError(f"name must be a string, got {type(value).__name__}")
        self._name = value

    @property
    def layers(self) -> list[Layer]:
        """The layers, as a new list; :meth:`add` and :meth:`pop` change the model."""
        return list(self._layers)

    # ---- building ----

    def add(self, layer: Layer) -> None:
        """Put a layer on top. The layers below keep their weights; the optimizer's state starts anew.

        Parameters
        ----------
        layer : Layer or Sequential
            A layer that belongs to no other model, or a model, which is copied into a :class:`fastnn.layers.Stack`.
            Where it does not fit, the model stays as it was.
        """
        with self._building_anew() as features, self._appending():
            self._append(layer, Names(self._layers, "model"))
            self._check_dtypes()
            self._build_if_known(features)

    def pop(self) -> Layer:
        """Take the last layer off and return it; the others keep their weights, the optimizer's state starts anew."""
        with self._building_anew() as features:
            if not self._layers:
                raise ValueError("pop needs a layer, but the model has none")
            layer = self._layers[-1]
            try:
                self._layers.pop().attach(None)
                self._build_if_known(features)
            except BaseException:
                layer.attach(self._home)
                self._layers.append(layer)
                raise
        return layer

    @contextmanager
    def _building_anew(self) -> Iterator[Any]:
        """Yield the features of x, if known; in the block the model has no weights, after an error its old ones."""
        with self._home.lock:
            self._catch_up()
            before = self._engine, self._home.views, self._compiled_code, self._first, self._placed
            kept, branches = self._engine, self._branches
            features = None if kept is None else kept.plan.inputs if branches is None else branches.built_widths
            self._kept = kept
            self._forget_weights()
            try:
                yield features
            except BaseException:
                self._engine, self._home.views, self._compiled_code, self._first, self._placed = before
                self._home.built = self._engine is not None
                raise
            finally:
                self._kept = None

    @contextmanager
    def _appending(self) -> Iterator[None]:
        """After an error in the block, the layers that were appended belong to no model, and have their own names."""
        before, self._given_names = len(self._layers), []
        try:
            yield
        except BaseException:
            for layer, name in zip(self._layers[before:], self._given_names, strict=True):
                layer.attach(None)
                vars(layer)["name"] = name
            del self._layers[before:]
            raise
        finally:
            self._given_names = []

    def _append(self, layer: Layer | Network, names: Names) -> None:
        if isinstance(layer, Network):
            layer = Stack(layer, name=names.free(layer.name))
        if not isinstance(layer, Layer):
            raise TypeError(f"layers must be fastnn layers, got {type(layer).__name__}")
        if layer._home is not None or layer._parent is not None:
            raise ValueError(f"layer {layer.name!r} belongs to a model already; make a new one for this model")
        if isinstance(layer, InputLayer) and self._layers:
            raise ValueError("Input must come first in the model")
        if self._heads is not None:
            raise ValueError(
                f"Heads must come last in the model: put {type(layer).__name__} before it, or into its heads"
            )
        if layer.name == "optimizer":
            raise ValueError("name 'optimizer' is taken: in files of models the optimizer's state has it")
        name = layer.name
        names.give(layer)
        self._given_names.append(name)
        layer.attach(self._home)
        self._layers.append(layer)

    def _copied(self) -> tuple[list[Layer], list[Array]]:
        copies = [copy.deepcopy(layer) for layer in self._layers]
        if self._engine is not None and self._branches is None:
            copies[:0] = [InputLayer(self._told_axes or (self._engine.plan.inputs,))]
        weights = self.get_weights()
        first = next((layer for layer in copies if not isinstance(layer, InputLayer)), None)
        if first is not None and self._home.feature_names is not None:
            first._column_names = self._home.feature_names
        return [layer for k, layer in enumerate(copies) if not k or not isinstance(layer, InputLayer)], weights

    def _check_dtypes(self) -> None:
        dtypes = {layer.dtype for layer in self._layers if layer.dtype}
        if len(dtypes) > 1:
            raise ValueError(f"dtype must be the same for all layers of a model, got {' and '.join(sorted(dtypes))}")

    def _forget_weights(self) -> None:
        self._engine = None
        self._home.built, self._home.views = False, {}
        self._compiled_code, self._placed, self._stale = None, {}, False

    def _catch_up(self) -> None:
        """Build what could not be built when its last layer was added: its vocabulary may be known now.

        If the model is built, let the engine run its layers as they are now.
        """
        if self._engine is None or self._stale:
            with self._home.lock:
                if self._engine is None:  # another thread may have built it first
                    self._build_if_known()
                elif self._stale:
                    self._renew("a layer")

    def _build_if_known(self, features: Any = None) -> None:
        """Build where the width of x is known, unless the model is on its way to one that can be built."""
        told = self._layers[0].input_features if self._layers else None
        with suppress(NotYetError):
            if self._layers and (told or features) is not None:
                self._build(told or features)

    def build(self, input_shape: Any) -> None:
        """Create the weights for rows of this shape.

        Parameters
        ----------
        input_shape : tuple or dict
            ``(None, features)`` as in Keras, or ``(features,)``; for a model with branches a dict of such tuples, by
            branch.
        """
        if isinstance(input_shape, Mapping):
            branches = self._branches
            if branches is None:
                raise TypeError("input_shape is a dict, which needs a model that starts with Branches")
            missing = [name for name in branches.columns if name not in input_shape]
            if missing or len(input_shape) > len(branches.columns):
                raise ValueError(f"input_shape must name the branches {', '.join(map(repr, branches.columns))}")
            self._build(
                {str(stack.name): self._features_of(input_shape[stack.name], stack) for stack in branches._layers}
            )
            return
        features = self._features_of(input_shape)
        known = self._layers[0].input_features if self._layers else None
        if known is not None and features != known:
            raise ValueError(f"input_shape says {features} features, but the first layer was made for {known}")
        self._build(features)

    def _features_of(self, input_shape: Any, branch: Container | None = None) -> int:
        """Return the features of a row of this shape, which may count the rows first, of the model or of a branch."""
        stack, told = (self._layers, self._told_axes) if branch is None else (branch._layers, branch.input_axes)
        shape = tuple(input_shape) if isinstance(input_shape, (tuple, list)) else (input_shape,)
        axes = axes_of(shape[1:] if len(shape) > 1 else shape, "input_shape")
        if len(axes) > 1:
            row_axes(stack, told).check(axes, "input_shape")
        return math.prod(axes)

    @property
    def _told_axes(self) -> tuple[int, ...] | None:
        return self._layers[0].input_axes if self._layers else None

    # ---- inputs and outputs with names ----

    @property
    def _branches(self) -> Branches | None:
        """The layer that takes x apart; None where there is none."""
        first = self._first_layer()
        return first if isinstance(first, Branches) else None

    @property
    def _heads(self) -> Heads | None:
        """The layer that gives the outputs names; None where there is none."""
        last = last_of(self._layers)
        return last if isinstance(last, Heads) else None

    def _outputs(self, rows: Array) -> Any:
        """Return the columns of each head under its name, or the rows as they are where there are no heads."""
        heads = self._heads
        return rows if heads is None else heads.split(rows)

    def _build(self, features: Any) -> None:
        with self._home.lock:
            self._build_as(plan.lower(self._layers, features, self._policy()))

    def _build_as(self, lowered: plan.Plan) -> None:
        """Create the weights of the layers as they have just been lowered; the caller holds the lock."""
        names = self._home.feature_names
        if names is not None and len(names) != lowered.inputs:
            raise ValueError(
                f"the model has {len(names)} feature_names, and cannot be built for {lowered.inputs} features: set "
                f"feature_names to None, or to the names of these"
            )
        # named, so that a file does not depend on the default of the day
        vars(self._layers[0])["dtype"] = self._policy()
        engine = Engine(lowered, self._home.lock)
        kept = self._kept
        before = {} if kept is None else {(s.layer, s.name): s.view(kept.parameters) for s in kept.plan.parameters}
        views = {}
        for spec, initializer in zip(lowered.parameters, self._initializers(), strict=True):
            view, own = spec.view(engine.parameters), before.get((spec.layer, spec.name))
            if own is None or own.shape != spec.shape:
                initializer.into(view)
            else:
                view[...] = own
            views[spec.layer, spec.name] = view
        if any(op.outputs == 1 and op.activation == "softmax" for op in lowered.ops):
            warn("softmax over one unit is always 1: use sigmoid, or two units")
        self._engine, self._compiled_code = engine, None
        self._home.built, self._home.views = True, views
        self._take_note(lowered)

    def _take_note(self, lowered: plan.Plan) -> None:
        """Note how the layers were lowered last, which is how the engine runs them."""
        self._placed = {id(layer): placed for layer, placed in zip(self._layers, lowered.layers, strict=True)}
        self._stale, self._first = False, self._first_layer()

    def _initializers(self) -> list[Initializer]:
        """Return the initializer of each parameter, in the order of the layers."""
        return [initializer for layer in self._layers for _, _, initializer in layer.parameters()]

    def _heed(self, layer: Layer, attribute: str, name: Any) -> None:
        """Take note that this attribute of a layer, which was called `name`, has changed: see :meth:`Home.heed`.

        Where the other layers cannot tell the difference, only this layer is lowered, to find what it may lack.
        """
        if attribute in ("name", ""):
            self._check_names()
        outer = layer._outermost
        before = self._placed.get(id(outer))
        if self._engine is not None:
            told = self._layers[0].input_features
            if before is None or not attribute or told not in (None, self._engine.plan.inputs):
                self._renew(f"{attribute} of layer {name!r}")
                return
            now = plan.place(outer, before.inputs, before.axes, before.offset, self._engine.plan.dtype)
            if now.outline != before.outline:
                self._renew(f"{attribute} of layer {name!r}")
                return
            if now != before:
                self._rename_views(before, now)
                self._placed[id(outer)], self._stale = now, True

    def _check_names(self) -> None:
        for name, count in Counter(str(layer.name) for layer in self._layers).items():
            if count > 1 or name == "optimizer":
                raise ValueError(f"name {name!r} is taken: layer names must be unique in a model")

    def _rename_views(self, before: plan.Placed, now: plan.Placed) -> None:
        """Give the parameters of a layer the names that they have now."""
        names = {(a.layer, a.name): (b.layer, b.name) for a, b in zip(before.parameters, now.parameters, strict=True)}
        if any(old != new for old, new in names.items()):
            self._home.views = {names.get(key, key): view for key, view in self._home.views.items()}

    def _renew(self, changed: str) -> None:
        """Let the engine run the layers as they are now, with the weights it has.

        Raises
        ------
        ValueError
            When the weights or the output do not fit any more; the message names what has `changed`.
        """
        with self._home.lock:
            engine, seen = self._engine, changes.last
            if engine is None:
                return
            before = engine.plan
            lowered = plan.lower(self._layers, before.inputs, self._policy())
            if lowered.form != before.form or self._layers[0].input_features not in (None, before.inputs):
                raise ValueError(
                    f"{changed} cannot be set once the model is built: its weights or its output would have another "
                    f"shape; make a new model from get_config"
                )
            if lowered != before:
                engine.set_plan(lowered)
                views = self._home.views.values()
                self._home.views = {(s.layer, s.name): v for s, v in zip(lowered.parameters, views, strict=True)}
                self._compiled_code = None
            self._take_note(lowered)
            self._lowered_at = seen

    def _names_at(self, layer: Layer) -> Sequence[Any] | None:
        """Return the names of the columns that reach one of the layers: see :meth:`Home.names_at`."""
        return names_at(self._layers, layer, self._home.feature_names or self._home.proposed_names)

    def _heed_changes(self) -> bool:
        """Let the engine run the layers as they are now, if a description has changed since; return whether one has."""
        seen = changes.last
        if self._changes_seen is seen:
            return False
        if self._lowered_at is not seen:
            self._renew("a description")
        self._changes_seen = seen
        return True

    def _first_layer(self) -> Layer | None:
        """The first layer that gets numbers of x, once x is prepared."""
        return first_to_compute(self._layers)

    def _policy(self) -> str:
        return next((layer.dtype for layer in self._layers if layer.dtype), None) or config.dtype_policy()

    @property
    def built(self) -> bool:
        """Whether the weights exist."""
        return self._home.built

    @property
    def dtype(self) -> str:
        """Element type of weights and results; ``"float32"`` with the policy ``"mixed_bfloat16"`` too."""
        return str(self._need_engine("dtype").plan.dtype)

    @property
    def input_shape(self) -> Any:
        """The shape ``(None, features)``, as in Keras; for branches a dict of such tuples by name."""
        engine, branches = self._need_engine("input_shape"), self._branches
        if branches is not None:
            return {name: (None, width) for name, width in branches.built_widths.items()}
        return (None, *(self._told_axes or (engine.plan.inputs,)))

    @property
    def output_shape(self) -> Any:
        """The shape ``(None, outputs)``, as in Keras; for heads a dict of such tuples by name."""
        engine, heads = self._need_engine("output_shape"), self._heads
        if heads is not None:
            return {name: (None, width) for name, width in heads.outputs.items()}
        return (None, engine.plan.outputs)

    def _need_engine(self, action: str) -> Engine:
        if self._engine is None or self._stale:
            self._catch_up()
            if self._engine is None:
                raise ValueError(f"{action} needs a built model: {self._why_not_built()}")
        return self._engine

    def _why_not_built(self) -> str:
        """Return what keeps the model from having weights, and what to do."""
        known = self._layers[0].input_features if self._layers else 1
        if known is not None:
            try:
                plan.lower(self._layers, known, self._policy())
            except NotYetError as error:
                return str(error)
        return "give the first layer input_shape=(features,), call build, or fit first"

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """Return the layer of that name, or at that place.

        Parameters
        ----------
        name : str, optional
        index : int, optional
            The layer's place, from 0, or from the end where it is negative. Give either the name or the place.
        """
        if (name is None) == (index is None):
            raise ValueError("get_layer needs either name or index")
        if index is not None:
            if isinstance(index, bool) or not isinstance(index, (int, np.integer)):
                raise TypeError(f"index must be an integer, got {type(index).__name__}")
            if not -len(self._layers) <= index < len(self._layers):
                raise ValueError(f"index must be below {len(self._layers)}, the number of layers, got {index}")
            return self._layers[index]
        names = [str(layer.name) for layer in self._layers]
        if name not in names:
            raise ValueError(f"name {name!r} is no layer of the model; {nearest_names(str(name), names)}")
        return self._layers[names.index(name)]

    @property
    def trainable(self) -> bool:
        """Whether training changes at least one layer; setting it sets it for all layers."""
        return any(layer.trainable for layer in self._layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        trainable = flag("trainable", value)
        for layer in self._layers:
            layer.trainable = trainable

    # ---- weights ----

    @property
    def weights(self) -> list[Array]:
        """Views of all parameters, in the order of the layers: writing to one changes the model.

        The views live as long as the parameters: :meth:`add`, :meth:`pop` and :meth:`build` make new ones, with new
        views; :meth:`reset` keeps them.
        """
        return list(self._home.views.values())

    def _weights_that(self, trainable: bool) -> list[Array]:
        """Return views of the parameters that training changes by their gradients, or of the other parameters."""
        fixed = {(str(layer.name), name) for layer in self._layers for name in layer.non_trainable()}
        return [view for key, view in self._home.views.items() if (key not in fixed) == trainable]

    @property
    def trainable_weights(self) -> list[Array]:
        """Views of the parameters that training changes by their gradients."""
        return self._weights_that(True)

    @property
    def non_trainable_weights(self) -> list[Array]:
        """Views of the other parameters: moving statistics, and those of layers whose ``trainable`` is False."""
        return self._weights_that(False)

    # Names that Keras has for the same lists.
    variables, trainable_variables, non_trainable_variables = weights, trainable_weights, non_trainable_weights

    def get_weights(self) -> list[Array]:
        """Return copies of all parameters, in the order of the layers."""
        with self._home.lock.reading():
            return [view.copy() for view in self._home.views.values()]

    def set_weights(self, weights: Sequence[npt.ArrayLike]) -> None:
        """Set all parameters.

        Parameters
        ----------
        weights : sequence of array-like
            Arrays as :meth:`get_weights` returns them.

        Raises
        ------
        ValueError
            When their number or a shape is wrong; no weight has changed then.
        """
        with self._home.setting_weights():
            self._need_engine("set_weights")
            set_arrays({"/".join(key): view for key, view in self._home.views.items()}, weights)

    def count_params(self) -> int:
        """Return the number of parameters."""
        self._need_engine("count_params")
        return sum(view.size for view in self._home.views.values())

    def _known_inputs(self) -> int | None:
        """Return how many features a row has, where that is known."""
        told = self._layers[0].input_features if self._layers else None
        return self._engine.plan.inputs if self._engine else told

    def _output_axes(self) -> list[tuple[int, ...]]:
        """Return the axes of a row that each layer gives, empty where they are not known yet."""
        known = self._known_inputs()
        found: list[tuple[int, ...]] = []
        if known is not None:
            axes = self._told_axes or (known,)
            with suppress(NotYetError):
                for layer in self._layers:
                    known = layer.build(known)
                    axes = layer.axes_after(axes, known)
                    found.append(axes)
        return found + [()] * (len(self._layers) - len(found))

    def summary(self, print_fn: Callable[[str], Any] | None = None) -> None:
        """Print the layers with their output shapes and numbers of parameters.

        Parameters
        ----------
        print_fn : callable, optional
            Called with each line; by default lines are printed, where there is a standard output.
        """
        out = print_fn or say
        for text in table(self.name, self._summary_rows(), self._views()):
            out(text)

    def _summary_rows(self) -> list[tuple[str, ...]]:
        """Return what the summary says of each layer."""
        rows: list[tuple[str, ...]] = []
        for layer, axes in zip(self._layers, self._output_axes(), strict=True):
            shape = f"(None, {', '.join(map(str, axes)) or '?'})"
            named = f"{layer.name} ({type(layer).__name__})"
            rows.append((named, shape, layer.summary_activation(), layer.summary_count()))
            rows += layer.summary_rows() if isinstance(layer, Parallel) else []
        return rows

    def _views(self) -> list[Array] | None:
        return list(self._home.views.values()) if self._engine else None

    def _repr_html_(self) -> str:
        return table_of_html(self.name, self._summary_rows(), self._views())

    def plot(self) -> Diagram:
        """Draw the network: a box a layer, with its shape and its number of parameters.

        Returns
        -------
        Diagram
            Shown by notebooks; ``diagram.save("network.svg")`` writes it, ``diagram.svg`` is its text.

        Examples
        --------
        >>> import fastnn
        >>> fastnn.Sequential([fastnn.Input((4,)), fastnn.layers.Dense(3)], name="small").plot()
        <Diagram: 'small', 141 x 254 pixels>
        """
        shapes = [", ".join(map(str, axes)) or "?" for axes in self._output_axes()]
        return Diagram(
            self.name, f"{self._known_inputs() or '?'} columns", list(zip(self._layers, shapes, strict=True))
        )
