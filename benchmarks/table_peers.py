"""What benchmarks/tables.py compares: fastnn's presets and its peers, one function for each.

A function takes a frame and y to train on, the same to validate on, the task, a seed and a number of threads. It
returns a function of a raw frame: numbers (rows,), or probabilities (rows, classes).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Peer(NamedTuple):
    """A model, the package that it needs, whether it is fastnn's, and whether it trains on validation rows too."""

    name: str
    package: str
    fit: Callable[..., Callable]
    ours: bool = False
    trains_on_all: bool = False


def categories(x) -> list[str]:
    """The columns that are no numbers."""
    return [name for name in x.columns if x[name].dtype == object]


def typed(x):
    """A function that makes categories of a frame's columns of text, with the values of x."""
    import pandas

    known = {name: pandas.CategoricalDtype(sorted(x[name].dropna().unique())) for name in categories(x)}
    return lambda frame: frame.astype(known)


def filled(x):
    """A function that fills numbers with the medians of x, and flags those that miss in x."""
    import pandas

    names = [name for name in x.columns if x[name].dtype != object]
    medians, flagged = x[names].median(), [name for name in names if x[name].isna().any()]

    def convert(frame):
        flags = frame[flagged].isna().astype(np.float64).add_suffix("_missing")
        return pandas.concat([frame.fillna(medians), flags], axis=1)

    return convert


def answers(model, convert, task) -> Callable:
    """A function of a raw frame."""
    method = model.predict if task == "numbers" else model.predict_proba
    return lambda frame: method(convert(frame))


# ---- fastnn ----


def ours(**settings: Any) -> Callable:
    """One of fastnn's presets."""

    def fit(x, y, x_val, y_val, task, seed, threads):
        from fastnn.tabular import TabularClassifier, TabularRegressor

        kind = TabularRegressor if task == "numbers" else TabularClassifier
        model = kind(random_state=seed, num_threads=threads, **settings).fit(x, y, X_val=x_val, y_val=y_val)
        return answers(model, lambda frame: frame, task)

    return fit


def ours_of_folds(**settings: Any) -> Callable:
    """An ensemble over folds of all rows that are given."""

    def fit(x, y, x_val, y_val, task, seed, threads):
        import pandas

        from fastnn.tabular import TabularClassifier, TabularRegressor

        kind = TabularRegressor if task == "numbers" else TabularClassifier
        rows, labels = pandas.concat([x, x_val], ignore_index=True), np.concatenate([y, y_val])
        model = kind(random_state=seed, num_threads=threads, **settings).fit(rows, labels)
        return answers(model, lambda frame: frame, task)

    return fit


# ---- trees ----


def lightgbm(x, y, x_val, y_val, task, seed, threads):
    import lightgbm

    convert = typed(x)
    kind = lightgbm.LGBMRegressor if task == "numbers" else lightgbm.LGBMClassifier
    model = kind(n_estimators=1000, n_jobs=threads, random_state=seed, verbose=-1)
    stop = lightgbm.early_stopping(50, verbose=False)
    model.fit(convert(x), y, eval_set=[(convert(x_val), y_val)], callbacks=[stop])
    return answers(model, convert, task)


def catboost(x, y, x_val, y_val, task, seed, threads):
    import catboost

    names = categories(x)
    kind = catboost.CatBoostRegressor if task == "numbers" else catboost.CatBoostClassifier
    settings = {"early_stopping_rounds": 50, "verbose": 0, "allow_writing_files": False}
    model = kind(thread_count=threads, random_seed=seed, **settings)

    def convert(frame):
        return frame.fillna(dict.fromkeys(names, "missing"))

    model.fit(convert(x), y, cat_features=names, eval_set=(convert(x_val), y_val))
    return answers(model, convert, task)


def xgboost(x, y, x_val, y_val, task, seed, threads):
    import xgboost

    convert = typed(x)
    kind = xgboost.XGBRegressor if task == "numbers" else xgboost.XGBClassifier
    settings = {"n_estimators": 1000, "early_stopping_rounds": 50, "enable_categorical": True}
    model = kind(n_jobs=threads, random_state=seed, **settings)
    model.fit(convert(x), y, eval_set=[(convert(x_val), y_val)], verbose=False)
    return answers(model, convert, task)


def histogram(x, y, x_val, y_val, task, seed, threads):
    from sklearn import ensemble

    known = typed(x)
    large = [name for name in categories(x) if x[name].nunique() > 255]  # more than it takes: as numbers

    def convert(frame):
        frame = known(frame)
        return frame.assign(**{name: frame[name].cat.codes.astype(float).replace(-1, np.nan) for name in large})

    kind = f"HistGradientBoosting{'Regressor' if task == 'numbers' else 'Classifier'}"
    model = getattr(ensemble, kind)(max_iter=1000, early_stopping=True, n_iter_no_change=50, random_state=seed)
    model.fit(convert(x), y, X_val=convert(x_val), y_val=y_val)
    return answers(model, convert, task)


# ---- networks of others ----


def perceptron(x, y, x_val, y_val, task, seed, threads):
    """scikit-learn's, whose early stopping holds rows of its own back: a quarter of all that are given."""
    import pandas
    from sklearn.compose import TransformedTargetRegressor, make_column_transformer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    rows, labels = pandas.concat([x, x_val], ignore_index=True), np.concatenate([y, y_val])
    names, fill = categories(x), filled(rows)

    def convert(frame):
        return fill(frame).fillna(dict.fromkeys(names, "missing"))

    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=100, sparse_output=False)
    columns = make_column_transformer((one_hot, names), remainder=StandardScaler())
    settings = {"early_stopping": True, "validation_fraction": 0.25, "random_state": seed}
    if task == "numbers":
        pipeline = make_pipeline(columns, MLPRegressor(**settings))
        model = TransformedTargetRegressor(pipeline, transformer=StandardScaler())
    else:
        model = make_pipeline(columns, MLPClassifier(**settings))
    return answers(model.fit(convert(rows), labels), convert, task)


def pytabkit(kind: str) -> Callable:
    """A network of the package of RealMLP's authors."""

    def fit(x, y, x_val, y_val, task, seed, threads):
        import logging

        import pytabkit
        import torch

        for name in ("pytorch_lightning", "lightning.pytorch"):
            logging.getLogger(name).setLevel(logging.ERROR)
        torch.set_num_threads(threads)
        convert = filled(x)
        chosen = getattr(pytabkit, f"{kind}_{'Regressor' if task == 'numbers' else 'Classifier'}")
        model = chosen(device="cpu", n_threads=threads, random_state=seed)
        model.fit(convert(x), y, convert(x_val), y_val, cat_col_names=categories(x))
        return answers(model, convert, task)

    return fit


PEERS = [
    Peer("fastnn", "fastnn", ours(), ours=True),
    Peer("fastnn fast", "fastnn", ours(preset="fast"), ours=True),
    Peer("fastnn plain", "fastnn", ours(preset="plain"), ours=True),
    Peer("fastnn of 8", "fastnn", ours_of_folds(n_ensemble=8), ours=True, trains_on_all=True),
    Peer("LightGBM", "lightgbm", lightgbm),
    Peer("CatBoost", "catboost", catboost),
    Peer("XGBoost", "xgboost", xgboost),
    Peer("HistGradientBoosting", "sklearn", histogram),
    Peer("scikit-learn MLP", "sklearn", perceptron, trains_on_all=True),
    Peer("RealMLP-TD", "pytabkit", pytabkit("RealMLP_TD")),
]
