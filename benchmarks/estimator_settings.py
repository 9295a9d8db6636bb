"""The settings of estimators.py: which fits, predictions and copies are measured, on which data."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.sparse
import sklearn.neural_network as theirs
from sklearn import datasets
from sklearn.base import clone

import fastnn.sklearn as ours

Pair = tuple[Callable[[], Any], Callable[[], Any]]
KINDS = {"classes": "MLPClassifier", "numbers": "MLPRegressor"}
SMALL = 400  # rows of a fit, where only results are compared: whole batches, as the penalty of a shorter one differs


@functools.cache
def data(name: str) -> tuple[Any, Any]:
    """X and y of a problem."""
    if name == "digits":
        x, y = datasets.load_digits(return_X_y=True)
        return x / 16, y
    if name == "twenty rows":
        x, y = data("digits")
        return x[:20], y[:20] % 2
    if name == "table":
        return datasets.make_classification(100_000, 30, n_informative=15, random_state=0)
    if name == "table of numbers":
        x, y = datasets.make_regression(100_000, 30, n_informative=15, random_state=0)
        return x, y / y.std()
    if name == "sparse":
        x = scipy.sparse.random(4000, 5000, 0.005, "csr", random_state=np.random.RandomState(0))
        return x, np.asarray(x[:, :50].sum(axis=1)).ravel() > 0.05
    if name == "several labels":
        return datasets.make_multilabel_classification(2000, 30, n_classes=6, random_state=0)
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return (x - x.mean(axis=0)) / x.std(axis=0), y


@dataclass(frozen=True)
class Setting:
    """One line of the table.

    Attributes
    ----------
    name : str
    problem : str
        The name of the data.
    do : str
        "fit", or what a trained estimator does.
    kind : {"classes", "numbers"}
    options : dict
        The estimator's arguments.
    rows : int, optional
        How many rows the call is given; default: all.
    weighted : bool
        Whether rows have weights.
    dtype : str
        Of X.
    bound : float
        How many times faster fastnn must be, each with the number of threads that suits it best.
    tolerance : float
        By how much results may differ in small, relative to the greatest of them.
    """

    name: str
    problem: str = "digits"
    do: str = "fit"
    kind: str = "classes"
    options: dict[str, Any] = field(default_factory=dict)
    rows: int | None = None
    weighted: bool = False
    dtype: str = "float64"
    bound: float = 1.0
    tolerance: float = 1e-5

    def difference(self, first: Any, second: Any) -> float:
        """By how much two results differ, relative to the greatest number of the second."""
        one, other = (self._numbers(result) for result in (first, second))
        return float(np.abs(one - other).max() / max(np.abs(other).max(), 1e-30))

    def _numbers(self, result: Any) -> np.ndarray:
        if isinstance(result, bytes):
            result = pickle.loads(result)
        if isinstance(result, np.ndarray):
            return result.astype(float).ravel()
        if self.do == "copy":
            return np.array(result.hidden_layer_sizes)
        if not hasattr(result, "predict"):
            return np.array([float(result)])
        x = self.x_and_y(SMALL)[0]
        answers = result.predict_proba(x) if self.kind == "classes" else result.predict(x)
        return np.concatenate([[result.loss_], np.ravel(answers)])

    def x_and_y(self, most: int | None = None) -> tuple[Any, Any]:
        """The rows of the call, at most so many."""
        x, y = data(self.problem)
        rows = min(count for count in (most, self.rows, x.shape[0]) if count)
        return x[:rows].astype(self.dtype), y[:rows]


def pair_of(setting: Setting, small: bool) -> Pair:
    """What is measured, ours and scikit-learn's; in small, both are to return the same."""
    first, second = (_action(setting, library, small) for library in (ours, theirs))
    return first, second


def _action(setting: Setting, library: Any, small: bool) -> Callable[[], Any]:
    options = {"random_state": 0} | setting.options
    if small:
        options |= {"shuffle": False, "max_iter": 3}
    make = functools.partial(getattr(library, KINDS[setting.kind]), **options)
    x, y = setting.x_and_y(SMALL if small else None)
    weights = {"sample_weight": np.where(np.arange(x.shape[0]) % 2, 0.5, 1.5)} if setting.weighted else {}
    if setting.do == "fit":
        return lambda: make().fit(x, y, **weights)
    return _with_trained(setting, make, x, y)


def _with_trained(setting: Setting, make: Callable[..., Any], x: Any, y: Any) -> Callable[[], Any]:
    """What an estimator that is trained already does."""
    known = replace(setting, rows=None, dtype="float32" if setting.dtype == "float32" else "float64").x_and_y(SMALL)
    if setting.do == "fit a copy":
        made = make()
        return lambda: clone(made).fit(x, y)
    if setting.do == "fit again":
        made = make(warm_start=True).fit(*known)
        return lambda: made.fit(x, y)
    trained = make(max_iter=5, shuffle=False).fit(*known)
    if setting.do == "partial_fit":
        return lambda: trained.partial_fit(x, y)
    if setting.do == "score":
        return lambda: trained.score(x, y)
    if setting.do == "copy":
        return lambda: clone(trained)
    if setting.do == "pickle":
        return lambda: pickle.dumps(trained)
    if setting.do == "unpickle":
        state = pickle.dumps(trained)
        return lambda: pickle.loads(state)
    return lambda: getattr(trained, setting.do)(x)


def _fits() -> list[Setting]:
    long, short = {"max_iter": 20}, {"max_iter": 5}
    listed = [
        Setting("digits, defaults", bound=5),
        Setting("table of 100,000 rows, 3 epochs", "table", options={"max_iter": 3}, bound=5),
        Setting("table of 100,000 numbers, 3 epochs", "table of numbers", "fit", "numbers", {"max_iter": 3}, bound=5),
        Setting("breast_cancer, defaults", "breast_cancer"),
        Setting("iris, defaults", "iris"),
        Setting("diabetes, defaults", "diabetes", "fit", "numbers"),
        Setting("20 rows, defaults", "twenty rows"),
        Setting("20 rows, 1 epoch", "twenty rows", options={"max_iter": 1}),
        Setting("20 rows of numbers, 1 epoch", "twenty rows", "fit", "numbers", {"max_iter": 1}),
        Setting("20 rows of numbers, 10 epochs", "twenty rows", "fit", "numbers", {"max_iter": 10}),
        Setting("20 rows, defaults, of a clone", "twenty rows", "fit a copy"),
        Setting("sparse x, 4,000 x 5,000", "sparse", options={"max_iter": 3}),
        Setting("several labels", "several labels", options=long),
        Setting("digits, float32", options=long, dtype="float32"),
        Setting("table, float32, 3 epochs", "table", options={"max_iter": 3}, dtype="float32"),
        Setting("digits, sgd", options={"solver": "sgd"} | long),
        Setting("digits, sgd adaptive", options={"solver": "sgd", "learning_rate": "adaptive"} | long),
        Setting("digits, sgd invscaling", options={"solver": "sgd", "learning_rate": "invscaling"} | long),
        Setting("digits, lbfgs", options={"solver": "lbfgs"} | long),
        Setting("iris, lbfgs", "iris", options={"solver": "lbfgs", "max_iter": 100}),
        Setting("diabetes, lbfgs", "diabetes", "fit", "numbers", {"solver": "lbfgs"} | long),
        Setting("20 rows, lbfgs", "twenty rows", options={"solver": "lbfgs"}),
        Setting("digits, early_stopping", options={"early_stopping": True} | long),
        Setting("digits, sample_weight", options=long, weighted=True),
        # Adam's moments go on here, and start anew in scikit-learn
        Setting("digits, warm_start", do="fit again", options=short, tolerance=0.05),
        Setting("digits, tanh", options={"activation": "tanh"} | long),
        Setting("digits, logistic", options={"activation": "logistic"} | long),
    ]
    for batch in (1, 8, 32, 1797):
        epochs = {1: 1, 8: 3, 32: 5}.get(batch, 20)
        listed.append(Setting(f"digits, batch_size={batch}", options={"batch_size": batch, "max_iter": epochs}))
    for sizes in ((), (5,), (256, 256, 256)):
        options = {"hidden_layer_sizes": sizes} | (short if len(sizes) == 3 else long)
        listed.append(Setting(f"digits, hidden_layer_sizes={sizes}", options=options))
    listed.append(
        Setting("iris, lbfgs, hidden_layer_sizes=()", "iris", options={"solver": "lbfgs", "hidden_layer_sizes": ()})
    )
    return listed


def _calls() -> list[Setting]:
    listed = [Setting(f"partial_fit, {rows:,} rows", do="partial_fit", rows=rows) for rows in (1, 32, 1000)]
    for do in ("predict", "predict_proba"):
        listed += [Setting(f"{do}, {rows:,} rows", "table", do, rows=rows) for rows in (1, 100, 10_000, 100_000)]
    listed += [
        Setting("predict of numbers, 1 row", "diabetes", "predict", "numbers", rows=1),
        Setting("predict, float32, 10,000 rows", "table", "predict", rows=10_000, dtype="float32"),
        Setting("predict_proba of integers, 1 row", "digits", "predict_proba", rows=1, dtype="int64"),
        Setting("predict, sparse x", "sparse", "predict"),
        Setting("score, 1,797 rows", do="score"),
        Setting("clone", do="copy"),
        Setting("pickle.dumps", do="pickle"),
        Setting("pickle.loads", do="unpickle"),
    ]
    return listed


SETTINGS = [*_fits(), *_calls()]
