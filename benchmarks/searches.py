"""EnsembleSearchCV beside GridSearchCV, over our perceptron and scikit-learn's: 2,000 rows, 24 candidates, 5 folds.

    python benchmarks/searches.py                # some minutes; the machine must have nothing else to do
    python benchmarks/searches.py --rounds 5     # more rounds: the ratios are medians of those within a round
    python benchmarks/searches.py --quick        # a few epochs, the scores alone: no clock is read

The command fails where EnsembleSearchCV is less than 10 times as fast as GridSearchCV over scikit-learn's perceptron,
or where its scores are not those of GridSearchCV over ours.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("PYTHONWARNINGS", "ignore")  # of fits that have not converged, in workers too

from sklearn import datasets, neural_network
from sklearn.model_selection import GridSearchCV

from fastnn.sklearn import EnsembleSearchCV, MLPClassifier

BOUND = 10.0
GRID = {
    "hidden_layer_sizes": [(16,), (32,), (64,), (32, 16)],
    "alpha": [1e-4, 1e-3, 1e-2],
    "learning_rate_init": [1e-3, 1e-2],
}
OURS, THEIRS = "EnsembleSearchCV", "GridSearchCV, scikit-learn's MLPClassifier"


def searches(epochs: int) -> dict[str, Callable[[], Any]]:
    """The searches by their names; each is to be fitted once."""
    options = {"random_state": 0, "max_iter": epochs}
    ours, theirs = MLPClassifier(**options), neural_network.MLPClassifier(**options)
    return {
        OURS: lambda: EnsembleSearchCV(ours, GRID),
        "GridSearchCV, our MLPClassifier": lambda: GridSearchCV(ours, GRID),
        "GridSearchCV, our MLPClassifier, n_jobs=2": lambda: GridSearchCV(ours, GRID, n_jobs=2),
        THEIRS: lambda: GridSearchCV(theirs, GRID),
        f"{THEIRS}, n_jobs=2": lambda: GridSearchCV(theirs, GRID, n_jobs=2),
    }


def same_scores(x: Any, y: Any) -> bool:
    """Whether the search gives the scores of GridSearchCV over the same estimator, to the bit."""
    ours, one_by_one, *_ = searches(epochs=5).values()
    first, second = (search().fit(x, y).cv_results_["mean_test_score"] for search in (ours, one_by_one))
    print(f"scores are {'the same' if (first == second).all() else 'DIFFERENT'}", flush=True)
    return bool((first == second).all())


def measure(x: Any, y: Any, rounds: int) -> float:
    """How many times as long scikit-learn's search takes: the median over rounds, which are on the screen."""
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, search in searches(epochs=200).items():
            start = time.perf_counter()
            search().fit(x, y)
            times.setdefault(name, []).append(time.perf_counter() - start)
            ratio = times[name][-1] / times[OURS][-1]
            print(f"{name:60} {times[name][-1]:8.2f} s   {ratio:6.2f} times ours", flush=True)
    ratios = {
        name: statistics.median(b / a for a, b in zip(times[OURS], of, strict=True)) for name, of in times.items()
    }
    for name, ratio in ratios.items():
        print(f"{name:60} {statistics.median(times[name]):8.2f} s   {ratio:6.2f} times ours, medians of {rounds}")
    return ratios[THEIRS]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the scores alone: no clock is read")
    parser.add_argument("--rounds", type=int, default=3, help="how often each search runs")
    given = parser.parse_args()
    x, y = datasets.make_classification(2000, 30, n_informative=12, random_state=0)
    if not same_scores(x, y):
        return 1
    return 0 if given.quick or measure(x, y, given.rounds) >= BOUND else 1


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")
    sys.exit(main())
