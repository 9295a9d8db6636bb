"""What a model reads: arrays, frames and dicts of them, as rows for the engine; columns of frames go by their names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from fastnn import plan
from fastnn._engine import Lock
from fastnn._registry import nearest_names
from fastnn._settings import changes
from fastnn._sparse_rows import SparseRows
from fastnn.data import arrays, frames
from fastnn.data.feeds import gives_batches
from fastnn.layers._columns import adapted, check_order, missing_columns
from fastnn.layers._preparation import form_of, prepared, raw_reader, raw_readers
from fastnn.layers.base import Layer, in_line, row_axes
from fastnn.network import Network

SETTLED = nullcontext()  # where nobody learns names
_MOST_HEADS = 64  # longer lists are rows
_NO_FRAMES = (np.ndarray, float, int, str, list, type(None))


def _has_frames(values: Any, *, within: bool = False) -> bool:
    """Return whether values are a frame, hold frames, or are batches that may; with `within` whether they hold some."""
    if type(values) is np.ndarray or values is None:
        return False
    if not within and (frames.is_frame(values) or gives_batches(values)):
        return True
    held: Iterable[Any] = ()
    if isinstance(values, (list, tuple)):
        held = values if len(values) <= _MOST_HEADS else ()
    elif frames.has_names(values) and not frames.is_frame(values):
        held = values.values()
    return any(type(one) not in _NO_FRAMES and frames.is_frame(one) for one in held)


def _different(value: Any, argument: str) -> tuple[str, ...]:
    """Return names that are set; raise where they are no different texts."""
    if isinstance(value, (str, Mapping, Set)) or not isinstance(value, Iterable):
        raise TypeError(f"{argument} must be a list of names, or None, got {value!r}")
    names = tuple(value)
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{argument} must be a list of text, or None, got {value!r:.80}")
    if len(set(names)) < len(names):
        twice = next(name for k, name in enumerate(names) if name in names[:k])
        raise ValueError(f"{argument} must be different names, got {twice!r} twice")
    return tuple(map(str, names))


class Reader(Network):
    """A network that reads what users have; see :class:`fastnn.Sequential`."""

    def __init__(self, layers: Iterable[Layer] | None = None, name: str | None = None) -> None:
        self._naming = Lock()  # held by the thread whose call may settle the names of the columns
        self._depth = 0  # how many blocks of such a call are open
        self._proposed_elsewhere: dict[str, tuple[str, ...]] = {}  # those of frames in other places than x
        self._as_it_is: tuple[object, bool] | None = None  # what :meth:`_takes_arrays` knows
        super().__init__(layers, name)

    # ---- columns by name ----

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """The names of the columns of x in their order; None where the model knows none.

        The first data frame that the model is trained on, or that its first layers are adapted to, says the names,
        where all of them are text. From then on the columns of frames go by their names, whatever their order; those of
        arrays, and of frames with other names than text, by their place. The names are saved with the model. A list of
        as many names as x has features sets them, and None forgets them. A model with :class:`Branches`, which say what
        they take, has None.
        """
        return self._home.feature_names or next((names for _, names in self._adapted()), None)

    @feature_names.setter
    def feature_names(self, value: Any) -> None:
        names = None if value is None else self._checked_names(value)
        if names is not None:
            check_order(self._layers, names, "the model")
        with self._naming:
            self._take_names(names)
            if names is None:
                for layer in in_line(self._layers):
                    layer.forget_names()

    def _take_names(self, names: tuple[str, ...] | None) -> None:
        """Know x's columns by these names; raise, and know those before, where a layer found its columns by others."""
        before, self._home.feature_names = self._home.feature_names, names
        try:
            self._renew("feature_names")
        except BaseException:
            self._home.feature_names = before
            raise

    @property
    def column_names(self) -> dict[str, tuple[str, ...]]:
        """The names of the columns of frames in other places than x, by place.

        A place is ``"y"``, a head's y (``"y['price']"``), or what a dict has for a branch (``"x['sizes']"``). The first
        frame of several columns that the model is trained on in such a place says the names, where all of them are
        text; from then on the columns of frames there go by their names, whatever their order, as those of x do by
        :attr:`feature_names`. The names are saved with the model. A dict of lists takes the place of all, and an empty
        one forgets them.
        """
        return self._adapted_in_branches() | self._home.column_names

    @column_names.setter
    def column_names(self, value: Any) -> None:
        names = self._checked_column_names(value)
        with self._naming:
            self._home.column_names = names

    def _checked_column_names(self, value: Any) -> dict[str, tuple[str, ...]]:
        """Return names by place that are set; raise where the model has no such place."""
        if not isinstance(value, Mapping):
            raise TypeError(f"column_names must be a dict of lists of names by place, got {value!r:.80}")
        heads = [] if self._heads is None else list(self._heads.outputs)
        places = [f"y[{head!r}]" for head in heads] or ["y"]
        if self._branches is not None:
            places += [f"x[{key!r}]" for keys in self._branches.columns.values() for key in keys]
        for place in value:
            if place not in places:
                raise ValueError(f"column_names has {place!r}, which is no place; {nearest_names(str(place), places)}")
        return {place: _different(names, f"column_names[{place!r}]") for place, names in value.items()}

    def _adapted_in_branches(self) -> dict[str, tuple[str, ...]]:
        """Return the names that layers were adapted to, by the place of the frame that reaches them."""
        found = {}
        for stack in () if self._branches is None else self._branches._layers:
            keys = self._branches.columns[str(stack.name)] if self._branches is not None else []
            names = next((names for _, names in adapted(stack._layers)), None)
            if len(keys) == 1 and names is not None:
                found[f"x[{keys[0]!r}]"] = names
        return found

    def _checked_names(self, value: Any) -> tuple[str, ...]:
        """Return the names that are set; raise where they cannot be those of x's columns."""
        names = _different(value, "feature_names")
        if self._branches is not None:
            raise ValueError("feature_names must be None for a model with Branches, whose columns say what each takes")
        known = self._known_inputs()
        if known not in (None, len(names)):
            raise ValueError(f"feature_names must have {known} names, one a feature of x, got {len(names)}")
        return names

    def _adapted(self) -> Iterator[tuple[Layer, tuple[str, ...]]]:
        return adapted(self._layers) if self._branches is None else iter(())

    def _learning(self, x: Any, y: Any = None) -> AbstractContextManager[None]:
        """Return a context in which frames may say the names of the columns, which hold from its end on.

        They do not where the block fails. Another thread that comes to learn names waits meanwhile: it must not go by
        names that may not stay. Whoever predicts does not wait.
        """
        of_arrays = type(x) is np.ndarray and (y is None or type(y) is np.ndarray)
        return SETTLED if of_arrays or not (_has_frames(x) or _has_frames(y)) else self._settling()

    @contextmanager
    def _settling(self) -> Iterator[None]:
        with self._naming:
            if not self._depth:
                self._proposed_elsewhere = {}
            self._depth += 1
            try:
                yield
                if self._depth == 1:
                    self._home.feature_names = self._home.proposed_names or self._home.feature_names
                    self._home.column_names = self._home.column_names | self._proposed_elsewhere
            finally:
                self._depth -= 1
                if not self._depth:
                    self._home.proposed_names = None

    def _learned(self, x: Any, name: str = "x") -> Any:
        """Return x as :meth:`_by_name` does; in a block of :meth:`_learning`, a frame may say the names."""
        if self._home.feature_names is not None or self._branches is not None or not frames.is_frame(x):
            return self._by_name(x, name)
        proposed = self._home.proposed_names
        if proposed is None:
            proposed = self.feature_names or frames.text_names(x, name)
            if proposed is not None:
                check_order(self._layers, proposed, "the model")
            self._home.proposed_names = proposed
        return x if proposed is None else frames.in_order(x, proposed, name)

    def _by_name(self, x: Any, name: str = "x") -> Any:
        """Return a frame with its columns in the order in which the model knows them; anything else as it is."""
        if isinstance(x, (np.ndarray, list)) or self._branches is not None or not frames.is_frame(x):
            return x
        names = self.feature_names
        return x if names is None else frames.in_order(x, names, name)

    def _learn(self, x: Any, y: Any, names: tuple[str, str]) -> None:
        """Learn the names of columns from frames as :meth:`_convert` does, where another model has converted them."""
        with self._learning(x, y):
            self._learned(x, names[0])
            if self._branches is not None and _has_frames(x, within=True):
                self._parts_in_place(x, "x", (), names[0], learns=True)
            self._targets_in_place(y, names[1], learns=True)

    def _in_place(self, place: str, values: Any, name: str, learns: bool) -> Any:
        """Return a frame in another place than x with its columns in the order in which the model knows them.

        Where the call `learns`, it is in a block of :meth:`_learning`, and the frame may say the names.
        """
        if type(values) is np.ndarray or not frames.is_frame(values):
            return values
        known = self.column_names
        if learns:
            known = self._proposed_elsewhere | known
            names = frames.text_names(values, name)
            if place not in known and names is not None and len(names) > 1:
                self._proposed_elsewhere[place] = names
        return frames.in_place(values, known, place, name)

    def _parts_in_place(self, values: Any, place: str, keys: Iterable[Any], name: str, learns: bool) -> Any:
        """Return a dict, or a list with an item for each key, with the columns of frames in it in their order."""
        if isinstance(values, (list, tuple)):
            pairs = list(zip(keys, values, strict=False))
            found = [self._in_place(f"{place}[{key!r}]", one, f"{name}[{key!r}]", learns) for key, one in pairs]
            return found + list(values[len(pairs) :])
        return {
            key: self._in_place(f"{place}[{key!r}]", one, f"{name}[{key!r}]", learns) for key, one in values.items()
        }

    def _targets_in_place(self, y: Any, name: str, learns: bool) -> Any:
        """Return y with the columns of its frames in the order in which the model knows them."""
        if self._heads is None:
            return self._in_place("y", y, name, learns)
        return self._parts_in_place(y, "y", self._heads.outputs, name, learns) if _has_frames(y, within=True) else y

    # ---- rows ----

    def _inputs(
        self, x: Any, dtype: str, *, check_finite: bool, name: str = "x", defer: bool = False, learns: bool = False
    ) -> tuple[Any, Any]:
        """X as the engine reads it, and its features, by branch where it has names."""
        engine = self._engine
        if engine is not None and self._takes_arrays() and engine.reads(x, engine.plan.inputs, check_finite):
            return x, engine.plan.inputs
        branches = self._branches
        if not isinstance(x, np.ndarray):
            arrays.check_names(x, None if branches is None else branches.columns, name)
            x = self._by_name(x, name)
        if branches is not None and frames.has_names(x):
            x = self._parts_in_place(x, "x", (), name, learns) if _has_frames(x, within=True) else x
            widths = branches.built_widths if engine else branches.widths
            return arrays.named_inputs(
                x,
                branches.columns,
                widths,
                dtype,
                check_finite=check_finite,
                name=name,
                prepare=branches.prepared,
                missing=branches.with_missing,
                together=branches.together,
            )
        raw = None if branches is None else raw_reader([branches])
        if raw is not None:
            raise TypeError(f"{name} must be a dict of arrays or a data frame: layer {raw.name!r} reads raw data")
        known = engine.plan.inputs if engine else None
        x = prepared(self._layers, x, name)
        first = self._first or self._first_layer()
        one_feature = (known or (self._layers[0].input_features if self._layers else None)) == 1
        if one_feature and not frames.is_frame(x) and (x if hasattr(x, "ndim") else frames.as_array(x, name)).ndim == 1:
            missing = first is not None and first.takes_missing
            x = frames.real_array(x, name, missing=missing)[:, None]  # rows of one feature, as in Keras
        if type(x) is not np.ndarray or x.ndim > 2:
            x = row_axes(self._layers, self._told_axes).one_axis(x, name)
        if first is None or not first.takes_missing:
            rows = arrays.inputs(x, known, dtype, check_finite=check_finite, name=name, defer=defer)
        else:
            rows = arrays.inputs(x, known, dtype, check_finite=False, name=name, defer=defer, missing=True)
            if check_finite:
                arrays.require_finite(rows, name, missing=self._missing_columns(rows.shape[1]))
        return rows, rows.shape[1]

    def _form_of_x(self) -> tuple[Any, ...] | None:
        """Return what the conversion of x depends on; None where the model is not built."""
        engine, branches = self._engine, self._branches
        if engine is None:
            return None
        inputs, first = engine.plan.inputs, self._first_layer()
        missing = self._missing_columns(inputs).tobytes() if first is not None and first.takes_missing else b""
        taken: list[Any] = [] if branches is None else [str(branches.columns), str(branches.built_widths)]
        taken += map(form_of, raw_readers(self._layers))
        axes = self._told_axes or ()
        shape = axes if len(axes) > 1 else ()
        return (engine.plan.dtype, inputs, shape, self.feature_names, tuple(self.column_names.items()), missing, *taken)

    def _missing_columns(self, inputs: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return in which of `inputs` columns of x a NaN is a missing value."""
        branches = self._branches
        return missing_columns(self._layers, inputs) if branches is None else branches.missing_columns(inputs)

    def _takes_arrays(self) -> bool:
        """Whether finite numbers in an array are x as the engine reads it; settled until a description changes."""
        seen = changes.last
        if self._as_it_is is None or self._as_it_is[0] is not seen:
            self._as_it_is = seen, raw_reader(self._layers) is None and self._takes_any_number()
        return self._as_it_is[1]

    def _take_note(self, lowered: plan.Plan) -> None:
        """Note how the layers were lowered last; how they read x is settled anew."""
        super()._take_note(lowered)
        self._as_it_is = None

    def _takes_any_number(self) -> bool:
        """Whether the first layer asks no more of x than that it is finite."""
        first = self._first or self._first_layer()
        return first is None or (type(first).check_rows is Layer.check_rows and not first.takes_missing)

    def _checked(self, rows: Any, name: str = "x") -> Any:
        """Return the rows, once the first layer has found in them what it needs."""
        first = self._first or self._first_layer()
        if first is not None and not (type(rows) is np.ndarray and self._takes_arrays()):
            if isinstance(rows, SparseRows):
                first.check_sparse(name)
            elif not self._takes_any_number():
                for start, some in arrays.looked_at(rows):
                    first.check_rows(some, name, start)
        return rows
