"""Models as files, to the bits that uninterrupted training gives; :mod:`fastnn._stored` says what is in them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from fastnn import _stored, goals
from fastnn._file import ModelFileError
from fastnn._public import publish
from fastnn._stored import from_bytes as from_bytes  # pickles of models name it here
from fastnn.models import Sequential

__all__ = ["ModelFileError", "load_model", "load_weights", "save_model"]


def save_model(model: Sequential, filepath: str | os.PathLike[str], training: bool = True) -> None:
    """Write a model to one file: configuration, weights and optimizer state, so that training resumes exactly.

    Parameters
    ----------
    model : Sequential
    filepath : path-like
        By convention ``*.fastnn``. A file that exists is replaced only once the new one is whole and on the disk.
    training : bool, default True
        Whether to write what :meth:`fastnn.Sequential.compile` was told, and the state of the optimizer.

    Raises
    ------
    ValueError
        When the name is one of another format, as ``model.keras``: the file would not be what it says.
    OSError
        When the file cannot be written; an existing one is as it was.
    ValueError
        When no model could be made of what the file would say, as with a layer of a class of one's own.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))])
    >>> fastnn.saving.save_model(model, "model.fastnn")
    """
    _stored.save(model, filepath, training)


def load_model(
    filepath: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,  # noqa: A002  # Keras's name
) -> Sequential:
    """The model of a file that :meth:`fastnn.Sequential.save` wrote.

    Parameters
    ----------
    filepath : path-like
    custom_objects : dict, optional
        By their names, the Python functions and the classes that were losses or metrics of the model. A file holds
        none of their code.
    compile : bool, default True
        Whether to compile the model as it was and to read the state of its optimizer.

    Returns
    -------
    Sequential
        Compiled if it was; further training gives the bits that uninterrupted training would have given.

    Raises
    ------
    ModelFileError
        When the bytes are not a whole, unchanged model, whatever they are; or when a function that the file names is
        not among `custom_objects`.
    OSError
        When the file cannot be read.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))])
    >>> model.save("model.fastnn")
    >>> fastnn.load_model("model.fastnn").count_params()
    3
    """
    objects = {} if custom_objects is None else custom_objects
    if not isinstance(objects, Mapping) or not all(isinstance(name, str) for name in objects):
        raise TypeError(f"custom_objects must be a dict of name to function or class, got {custom_objects!r}")

    def compiled(config: dict[str, Any]) -> dict[str, Any]:
        return goals.with_objects(config, objects)

    return _stored.load(filepath, Sequential, compiled if compile else None)


def load_weights(model: Sequential, filepath: str | os.PathLike[str]) -> None:
    """Set the weights of a model from a file; see :meth:`fastnn.Sequential.load_weights`.

    Parameters
    ----------
    model : Sequential
    filepath : path-like

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))])
    >>> model.save_weights("weights.fastnn")
    >>> fastnn.saving.load_weights(model, "weights.fastnn")
    """
    _stored.load_weights(model, filepath)


publish(__name__, __all__)
