"""Searches on several workers of one machine: the same results as on one, each worker on its share of threads."""

import os
import subprocess
import sys

import joblib
import jobs
import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_validate

import fastnn
from fastnn._engine import build_info
from fastnn.sklearn import MLPClassifier, MLPRegressor, SequentialClassifier

pytestmark = [
    pytest.mark.slow,  # loky's workers take a second or two to start
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.thread_unsafe(reason="starts processes of its own"),
]

FLOWERS, SPECIES = load_iris(return_X_y=True)
NET = MLPClassifier((8,), learning_rate_init=0.02, max_iter=20, random_state=0)
GRID = {"alpha": [1e-4, 1e-2, 1.0], "activation": ["relu", "tanh"]}
WIDE = MLPRegressor(hidden_layer_sizes=(256,), max_iter=3, random_state=0)


@pytest.fixture(scope="module")
def alone():
    """The search on one worker, with which the others are compared."""
    return GridSearchCV(NET, GRID, cv=3).fit(FLOWERS, SPECIES)


def assert_same_search(search, alone):
    for name in ("split0_test_score", "mean_test_score", "rank_test_score"):
        np.testing.assert_array_equal(search.cv_results_[name], alone.cv_results_[name])
    np.testing.assert_array_equal(search.predict_proba(FLOWERS), alone.predict_proba(FLOWERS))


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_a_search_on_several_workers_finds_what_one_finds(backend, count, alone):
    with joblib.parallel_config(backend=backend):
        assert_same_search(GridSearchCV(NET, GRID, cv=3, n_jobs=count).fit(FLOWERS, SPECIES), alone)


def test_networks_of_a_function_in_a_script_are_searched_by_workers():
    net = SequentialClassifier(jobs.builder(), epochs=5, random_state=0)
    grid = {"units": [4, 16], "epochs": [2, 5]}
    alone, search = (GridSearchCV(net, grid, cv=3, n_jobs=count).fit(FLOWERS, SPECIES) for count in (1, 2))
    assert_same_search(search, alone)


@pytest.mark.parametrize("count", [2, 4])
def test_workers_of_loky_have_their_share_of_the_threads(count):
    measure = joblib.delayed(jobs.measure(WIDE))
    with joblib.parallel_config(backend="loky"):
        told = joblib.Parallel(n_jobs=count)(measure(delay=0.3) for _ in range(2 * count))
    processes, allowed, started = map(set, zip(*told, strict=True))
    assert os.getpid() not in processes
    assert allowed == {jobs.share(count)}
    assert max(started) <= jobs.share(count)


def test_workers_of_loky_take_the_number_that_the_user_gives_them():
    measure = joblib.delayed(jobs.measure(WIDE))
    with joblib.parallel_config(backend="loky", inner_max_num_threads=3):
        told = joblib.Parallel(n_jobs=2)(measure() for _ in range(2))
    assert {allowed for _, allowed, _ in told} == {3 if build_info()["openmp"] else 1}


def test_jobs_that_are_threads_keep_to_the_number_of_the_estimators():
    """Threads of one process share the setting; an estimator that has its own number lets nobody use more."""
    seen = []

    class Look(fastnn.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(fastnn.get_num_threads())

    fastnn.set_num_threads(2)
    net = clone(WIDE).set_params(num_threads=1, callbacks=[Look()])
    with joblib.parallel_config(backend="threading"):
        cross_validate(net, jobs.ROWS, jobs.ANSWERS, cv=4, n_jobs=2)
    assert set(seen) == {1}
    assert len(seen) == 12
    assert fastnn.get_num_threads() == (2 if build_info()["openmp"] else 1)


FORKED = """
import warnings

import joblib
import fastnn
import sklearn
from jobs import ANSWERS, ROWS
from fastnn.sklearn import MLPRegressor
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

warnings.filterwarnings("ignore", category=sklearn.exceptions.ConvergenceWarning)
warnings.filterwarnings("ignore", "This process", DeprecationWarning)
fastnn.set_num_threads(2)
net = MLPRegressor(hidden_layer_sizes=(256,), max_iter=3, random_state=0).fit(ROWS, ANSWERS)
expected = net.score(ROWS, ANSWERS)

def child(threads):
    before = fastnn.get_num_threads()
    if threads:
        fastnn.set_num_threads(threads)
    return before, net.score(ROWS, ANSWERS), clone(net).fit(ROWS, ANSWERS).score(ROWS, ANSWERS)

def search(jobs):
    return GridSearchCV(net, {"alpha": [1e-4, 1e-2]}, cv=2, n_jobs=jobs).fit(ROWS, ANSWERS).best_score_

with joblib.parallel_config(backend="multiprocessing"):
    for threads in (None, 2):
        for before, *scores in joblib.Parallel(n_jobs=2)(joblib.delayed(child)(threads) for _ in range(4)):
            assert scores == [expected, expected]
            assert threads or before == 1
    assert search(2) == search(1)
assert net.score(ROWS, ANSWERS) == expected
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_workers_that_are_forked_from_a_trained_parent_go_on():
    """The parent's threads of OpenMP do not exist in forked workers, which begin with one thread and may have more."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    result = subprocess.run(
        [sys.executable, "-c", FORKED], env=environment, timeout=120, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
