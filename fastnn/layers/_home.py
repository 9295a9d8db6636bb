"""The model that a layer belongs to, as far as the layer knows it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from fastnn._engine import Lock

if TYPE_CHECKING:
    from fastnn.layers.base import Layer


class Home:
    """What layers know of the model they belong to: its parameters, and the method that takes a change over.

    The copy of a layer belongs to no model.

    A layer holds no reference to the model itself: that would be a circle, and the memory of a model that nobody needs
    any more would stay until the garbage collector runs.

    Parameters
    ----------
    heed, names_at : method, optional
        The model's methods that take note of a change of a layer, and that say the names of the columns which reach a
        layer; weak references to them are held.

    Attributes
    ----------
    lock : fastnn._engine.Lock
        The lock of whoever runs the engine, or reads or changes the parameters as a whole.
    built : bool
        Whether the parameters exist.
    views : dict of (str, str) to numpy.ndarray
        The parameters, by layer and name, once the model is built.
    feature_names : tuple of str or None
        The names of the columns of x in their order, where the model knows them.
    proposed_names : tuple of str or None
        The names that a call on its way has learned, and that stay unless it fails.
    column_names : dict of str to tuple of str
        Those of frames in other places, such as ``"y"``; replaced as a whole.
    """

    def __init__(
        self,
        lock: Lock,
        heed: Callable[[Layer, str, Any], None] | None = None,
        names_at: Callable[[Layer], Sequence[Any] | None] | None = None,
    ) -> None:
        self.lock = lock
        self._heed = None if heed is None else weakref.WeakMethod(heed)
        self._names_at = None if names_at is None else weakref.WeakMethod(names_at)
        self.built = False
        self.views: dict[tuple[str, str], npt.NDArray[Any]] = {}
        self.feature_names: tuple[str, ...] | None = None
        self.proposed_names: tuple[str, ...] | None = None
        self.column_names: dict[str, tuple[str, ...]] = {}

    def heed(self, layer: Layer, attribute: str, name: Any) -> None:
        """Let the engine run the layer as it is now, from its next use on; errors name `attribute` of layer `name`.

        Raises
        ------
        ValueError
            When the model's weights, or another layer, do not fit the layer as it is now.
        """
        heed = None if self._heed is None else self._heed()
        if heed is not None:
            heed(layer, attribute, name)

    def names_at(self, layer: Layer) -> Sequence[Any] | None:
        """Return the names of the columns that reach a layer of the model; None where nobody says them."""
        names_at = None if self._names_at is None else self._names_at()
        return None if names_at is None else names_at(layer)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(None), ()

    @contextmanager
    def setting_weights(self) -> Iterator[None]:
        """Hold the lock to change weights; afterwards, what a forward pass left in the engine counts as outdated."""
        with self.lock:
            self.lock.changed()
            yield
