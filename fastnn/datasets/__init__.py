"""Real data sets that are part of the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn._public import publish
from fastnn._settings import flag

__all__ = ["load_digits"]

Array = npt.NDArray[Any]


def load_digits(*, by_writer: bool = False) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Load handwritten digits, 8 × 8 pixels: 5,620 rows.

    Parameters
    ----------
    by_writer : bool, default False
        True gives the original split: 3,823 rows of 30 writers to train on, 1,797 rows of 13 other writers to test on,
        which is harder (about two points of accuracy). False holds back every fifth row of all, so that both parts have
        all writers.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        x has dtype uint8, values from 0 to 16 and shape (rows, 64), pixels row by row; y has dtype uint8, values from 0
        to 9 and shape (rows,).

    Notes
    -----
    The data are from E. Alpaydin and C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI Machine Learning
    Repository (1998), https://doi.org/10.24432/C50P49, licence CC BY 4.0. ``datasets/README.md`` says how the file was
    made.

    Examples
    --------
    >>> (x_train, y_train), (x_test, y_test) = load_digits()
    >>> x_train.shape[1], int(y_test.max())
    (64, 9)
    """
    by_writer = flag("by_writer", by_writer)
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
        train, test = (file["x_train"], file["y_train"]), (file["x_test"], file["y_test"])
    if by_writer:
        return train, test
    x, y = np.concatenate([train[0], test[0]]), np.concatenate([train[1], test[1]])
    held = np.arange(len(x)) % 5 == 4
    return (x[~held], y[~held]), (x[held], y[held])


publish(__name__, __all__)
