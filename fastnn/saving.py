"""Models as files, to the bits that uninterrupted training gives; :mod:`fastnn._stored` says what a file holds."""

from __future__ import annotations

import os

from fastnn._file import ModelFileError
from fastnn._public import publish
from fastnn._stored import from_bytes as from_bytes  # pickles of models name the function here
from fastnn._stored import to_bytes as to_bytes  # its inverse
from fastnn.models import Sequential, load_model, save_model

__all__ = ["ModelFileError", "load_model", "load_weights", "save_model"]


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
    model.load_weights(filepath)


publish(__name__, __all__)
