"""What a model reads: arrays, frames and dicts of them, as rows for the engine; columns of frames go by their names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from fastnn._engine import Lock
from fastnn._sparse_rows import SparseRows
from fastnn.data import arrays, frames
from fastnn.data.feeds import gives_batches
from fastnn.layers._columns import adapted, check_order
from fastnn.layers._preparation import prepared, raw_reader
from fastnn.layers.base import Layer, in_line, row_axes
from fastnn.network import Network

_SETTLED = nullcontext()  # where nobody learns names


class Reader(Network):
    """A network that reads what users have; see :class:`fastnn.Sequential`."""

    def __init__(self, layers: Iterable[Layer] | None = None, name: str | None = None) -> None:
        self._naming = Lock()  # held by the thread whose call may settle the names of the columns
        self._depth = 0  # how many blocks of such a call are open
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
                    layer._column_names = None

    def _take_names(self, names: tuple[str, ...] | None) -> None:
        """Know x's columns by these names; raise, and know those before, where a layer found its columns by others."""
        before, self._home.feature_names = self._home.feature_names, names
        try:
            self._renew("feature_names")
        except BaseException:
            self._home.feature_names = before
            raise

    def _checked_names(self, value: Any) -> tuple[str, ...]:
        """Return the names that are set; raise where they cannot be those of x's columns."""
        if isinstance(value, (str, Mapping, Set)) or not isinstance(value, Iterable):
            raise TypeError(f"feature_names must be a list of names, or None, got {value!r}")
        names = tuple(value)
        if not names or not all(isinstance(name, str) for name in names):
            raise TypeError(f"feature_names must be a list of text, or None, got {value!r:.80}")
        if len(set(names)) < len(names):
            twice = next(name for k, name in enumerate(names) if name in names[:k])
            raise ValueError(f"feature_names must be different names, got {twice!r} twice")
        if self._branches is not None:
            raise ValueError("feature_names must be None for a model with Branches, whose columns say what each takes")
        known = self._engine.plan.inputs if self._engine else self._layers[0].input_features if self._layers else None
        if known not in (None, len(names)):
            raise ValueError(f"feature_names must have {known} names, one a feature of x, got {len(names)}")
        return tuple(map(str, names))

    def _adapted(self) -> Iterator[tuple[Layer, tuple[str, ...]]]:
        return adapted(self._layers) if self._branches is None else iter(())

    def _learning(self, x: Any) -> AbstractContextManager[None]:
        """Return a context in which a frame may say the names of the columns, which hold from its end on.

        They do not where the block fails. Another thread that comes to learn names waits meanwhile: it must not go by
        names that may not stay. Whoever predicts does not wait.
        """
        if type(x) is np.ndarray or self._home.feature_names is not None or self._branches is not None:
            return _SETTLED
        return self._settling() if frames.is_frame(x) or gives_batches(x) else _SETTLED

    @contextmanager
    def _settling(self) -> Iterator[None]:
        with self._naming:
            self._depth += 1
            try:
                yield
                if self._depth == 1 and self._home.proposed_names is not None:
                    self._home.feature_names = self._home.proposed_names
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

    # ---- rows ----

    def _inputs(
        self, x: Any, dtype: str, *, check_finite: bool, name: str = "x", defer: bool = False
    ) -> tuple[Any, Any]:
        """X as the engine reads it, and its features, by branch where it has names."""
        engine, branches = self._engine, self._branches
        if not isinstance(x, np.ndarray):
            arrays.check_names(x, None if branches is None else branches.columns, name)
            x = self._by_name(x, name)
        if branches is not None and frames.has_names(x):
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
                arrays.require_finite(rows, name, missing=first.missing_columns(rows.shape[1]))
        return rows, rows.shape[1]

    def _form_of_x(self) -> tuple[Any, ...] | None:
        """Return what the conversion of x depends on; None where the model is not built, or a layer reads raw data."""
        engine, branches = self._engine, self._branches
        if engine is None or raw_reader(self._layers) is not None:
            return None
        inputs, first = engine.plan.inputs, self._first_layer()
        takes_missing = first is not None and first.takes_missing
        missing = np.asarray(first.missing_columns(inputs)).tobytes() if first is not None and takes_missing else b""
        taken = [] if branches is None else [str(branches.columns), str(branches.built_widths)]
        axes = self._told_axes or ()
        shape = axes if len(axes) > 1 else ()
        return (engine.plan.dtype, inputs, shape, self.feature_names, missing, *taken)

    def _takes_any_number(self) -> bool:
        """Whether the first layer asks no more of x than that it is finite."""
        first = self._first or self._first_layer()
        return first is None or (type(first).check_rows is Layer.check_rows and not first.takes_missing)

    def _checked(self, rows: Any, name: str = "x") -> Any:
        """Return the rows, once the first layer has found in them what it needs."""
        first = self._first or self._first_layer()
        if first is not None:
            if isinstance(rows, SparseRows):
                first.check_sparse(name)
            elif not self._takes_any_number():
                for start, some in arrays.looked_at(rows):
                    first.check_rows(some, name, start)
        return rows
