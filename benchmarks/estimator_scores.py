"""The scores of estimators.py: on data sets of scikit-learn, over seeds, ours and scikit-learn's."""

from __future__ import annotations

import csv
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.neural_network as theirs
from estimator_settings import KINDS, data
from sklearn import datasets
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import fastnn
import fastnn.sklearn as ours

MEASURES = {"classes": "accuracy", "numbers": "R²"}


@dataclass(frozen=True)
class Scores:
    """The scores of the rows that were held back, for each seed."""

    name: str
    measure: str
    ours: list[float]
    theirs: list[float]
    rows: int  # that were held back

    @property
    def difference(self) -> float:
        """The mean score of ours less that of scikit-learn's."""
        return statistics.mean(self.ours) - statistics.mean(self.theirs)

    @property
    def spread(self) -> float:
        """The standard deviation of a score over seeds: the greater of both."""
        return max(statistics.stdev(self.ours), statistics.stdev(self.theirs))

    @property
    def same(self) -> bool:
        """Whether the means differ by less than the scores of one estimator do; a row in doubt counts for nothing."""
        return abs(self.difference) <= max(self.spread, 1.0 / self.rows)


def california(path: Path) -> tuple[Any, Any]:
    """The numbers of a CSV file of California's housing: all columns but the last two, and the last but one as y."""
    with path.open() as file:
        rows = [row[:-1] for row in list(csv.reader(file))[1:] if all(row[:-1])]
    table = np.array(rows, float)
    return table[:, :-1], table[:, -1] / 1e5


def problems(path: Path | None) -> list[tuple[str, str, tuple[Any, Any], dict[str, Any]]]:
    """Name, kind, x and y, and the estimators' arguments beside the defaults."""
    short = {"max_iter": 20}
    found = [
        *((name, "classes", data(name), {}) for name in ("digits", "iris", "wine", "breast_cancer")),
        ("iris, lbfgs", "classes", data("iris"), {"solver": "lbfgs"}),
        ("digits, sgd", "classes", data("digits"), {"solver": "sgd", "learning_rate_init": 0.1, "max_iter": 50}),
        ("digits, early_stopping", "classes", data("digits"), {"early_stopping": True}),
        ("make_moons", "classes", datasets.make_moons(1000, noise=0.2, random_state=0), {}),
        ("make_circles", "classes", datasets.make_circles(1000, noise=0.1, factor=0.6, random_state=0), {}),
        ("7 classes, 54 columns, 10,000 rows", "classes", many_classes(), short),
        ("diabetes", "numbers", data("diabetes"), {"learning_rate_init": 0.05}),
        ("diabetes, lbfgs", "numbers", data("diabetes"), {"solver": "lbfgs", "alpha": 10.0, "max_iter": 50}),
        ("make_friedman1", "numbers", datasets.make_friedman1(1000, noise=0.5, random_state=0), {}),
    ]
    if path is not None:
        found.append(("California's housing", "numbers", california(path), short))
    return found


def many_classes() -> tuple[Any, Any]:
    return datasets.make_classification(10_000, 54, n_informative=20, n_classes=7, random_state=0)


def score(library: Any, kind: str, parts: list[Any], options: dict[str, Any], seed: int) -> float:
    """Train on rows, and score the rows that were held back."""
    x, held, y, wanted = parts
    return float(getattr(library, KINDS[kind])(random_state=seed, **options).fit(x, y).score(held, wanted))


def compare_scores(seeds: int, path: Path | None) -> list[Scores]:
    """The scores of both libraries on all problems; x has columns of mean 0 and deviation 1."""
    found = []
    for name, kind, (x, y), options in problems(path):
        parts = train_test_split(x, y, test_size=0.25, random_state=0, stratify=y if kind == "classes" else None)
        scaler = StandardScaler().fit(parts[0])
        parts[:2] = scaler.transform(parts[0]), scaler.transform(parts[1])
        with threadpool_limits(1), fastnn.num_threads(1):  # small fits, which threads of a BLAS make slower
            of = [[score(library, kind, parts, options, seed) for seed in range(seeds)] for library in (ours, theirs)]
        found.append(Scores(name, MEASURES[kind], *of, len(parts[1])))
        say_scores(found[-1:])
    return found


def say_scores(scores: list[Scores]) -> None:
    for one in scores:
        means = statistics.mean(one.ours), statistics.mean(one.theirs)
        print(
            f"{'ok  ' if one.same else 'MISS'} {one.name:36} {one.measure} {means[0]:.4f} beside {means[1]:.4f}, "
            f"spread {one.spread:.4f}",
            flush=True,
        )
