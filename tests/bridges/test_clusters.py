"""Searches and ensembles on workers of Dask and Ray: the same results as on one, on the threads that each was given."""

import os
from concurrent.futures import Executor

import joblib
import jobs
import numpy as np
import pytest

pytest.importorskip("distributed")
pytest.importorskip("ray")

import distributed
import ray
from ray.util.joblib import register_ray
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastnn
from fastnn.sklearn import MLPClassifier, MLPRegressor, SequentialClassifier

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of the clusters, which live in processes and threads of their own
    pytest.mark.thread_unsafe(reason="a cluster is the process's"),
]

FLOWERS, SPECIES = load_iris(return_X_y=True)
PIPELINE = make_pipeline(StandardScaler(), MLPClassifier((8,), learning_rate_init=0.02, max_iter=20, random_state=0))
GRID = {"mlpclassifier__alpha": [1e-4, 1e-2, 1.0], "mlpclassifier__activation": ["relu", "tanh"]}
WIDE = MLPRegressor(hidden_layer_sizes=(256,), max_iter=3, random_state=0)


@pytest.fixture(scope="module")
def dask_client():
    """Two workers of Dask, each a process with one thread for tasks."""
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def ray_cluster():
    """Ray on two processors of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(num_cpus=2, object_store_memory=10**8, include_dashboard=False, log_to_driver=False)
        register_ray()
        yield
        ray.shutdown()


CLUSTERS = {"dask": "dask_client", "ray": "ray_cluster"}


@pytest.fixture(params=CLUSTERS)
def backend(request):
    """The name of joblib's backend of a cluster that runs."""
    request.getfixturevalue(CLUSTERS[request.param])
    return request.param


def test_a_search_on_a_cluster_finds_what_one_process_finds(backend):
    alone = GridSearchCV(PIPELINE, GRID, cv=3).fit(FLOWERS, SPECIES)
    search = GridSearchCV(PIPELINE, GRID, cv=3, n_jobs=-1)
    with joblib.parallel_backend(backend):
        search.fit(FLOWERS, SPECIES)
    for name in ("split0_test_score", "mean_test_score", "rank_test_score"):
        np.testing.assert_array_equal(search.cv_results_[name], alone.cv_results_[name])
    np.testing.assert_array_equal(search.predict_proba(FLOWERS), alone.predict_proba(FLOWERS))


def test_networks_of_a_function_are_searched_on_a_cluster(backend):
    net = SequentialClassifier(jobs.builder(), epochs=5, random_state=0)
    alone = GridSearchCV(net, {"units": [4, 16]}, cv=3).fit(FLOWERS, SPECIES)
    search = GridSearchCV(net, {"units": [4, 16]}, cv=3, n_jobs=2)
    with joblib.parallel_backend(backend):
        search.fit(FLOWERS, SPECIES)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(search.predict_proba(FLOWERS), alone.predict_proba(FLOWERS))


def test_fitted_networks_come_back_from_a_cluster(backend):
    with joblib.parallel_backend(backend):
        found = cross_validate(PIPELINE, FLOWERS, SPECIES, cv=3, n_jobs=2, return_estimator=True)
    for fitted in found["estimator"]:
        assert fitted.score(FLOWERS, SPECIES) > 0.8
        assert fitted[-1].loss_ == fitted[-1].loss_curve_[-1]


def test_workers_of_a_cluster_keep_to_one_thread_each(backend):
    """Dask's nanny and Ray set OMP_NUM_THREADS of their workers, which fastnn reads when it is imported there."""
    measure = joblib.delayed(jobs.measure(WIDE))
    with joblib.parallel_backend(backend):
        told = joblib.Parallel(n_jobs=2)(measure(delay=0.3) for _ in range(4))
    processes, allowed, started = map(set, zip(*told, strict=True))
    assert os.getpid() not in processes
    assert allowed == started == {int(os.environ.get("OMP_NUM_THREADS", 1))}


def test_a_worker_of_ray_with_two_processors_uses_two(ray_cluster):
    measure = joblib.delayed(jobs.measure(WIDE))
    with joblib.parallel_backend("ray", ray_remote_args={"num_cpus": 2}):
        told = joblib.Parallel(n_jobs=1)(measure() for _ in range(2))
    assert {allowed for _, allowed, _ in told} == {2}


def test_workers_of_dask_that_are_threads_find_what_one_finds():
    fastnn.set_num_threads(2)
    net = clone(PIPELINE).set_params(mlpclassifier__num_threads=1)
    alone = cross_validate(net, FLOWERS, SPECIES, cv=4)
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None)
    with cluster, distributed.Client(cluster), joblib.parallel_backend("dask"):
        found = cross_validate(net, FLOWERS, SPECIES, cv=4, n_jobs=2)
    np.testing.assert_array_equal(found["test_score"], alone["test_score"])
    assert fastnn.get_num_threads() == 2


class OnRay(Executor):
    """An executor of Ray's tasks."""

    def submit(self, function, *arguments):
        return ray.remote(num_cpus=1)(function).remote(*arguments).future()


def members():
    models = []
    for seed in range(5):
        kernels = [fastnn.initializers.GlorotUniform(seed + k) for k in (0, 100)]
        models.append(
            fastnn.Sequential(
                [
                    fastnn.Input((4,)),
                    fastnn.layers.Dense(8 + seed, "tanh", kernel_initializer=kernels[0]),
                    fastnn.layers.Dropout(0.1, seed=seed),
                    fastnn.layers.Dense(3, "softmax", kernel_initializer=kernels[1]),
                ]
            )
        )
        models[-1]._seed = seed
        models[-1].compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return models


@pytest.mark.parametrize("groups", [2, None])
def test_an_ensemble_on_a_cluster_ends_with_the_bits_of_one_process(backend, groups, request):
    def watchers():
        return [[fastnn.callbacks.EarlyStopping(patience=k)] for k in range(5)]

    executor = OnRay() if backend == "ray" else request.getfixturevalue("dask_client").get_executor()
    parts = np.arange(len(FLOWERS)) % 5
    rows = [np.flatnonzero(parts != k) for k in range(5)]
    fit = {"x": FLOWERS, "y": SPECIES, "epochs": 8, "rows": rows, "validation_rows": [parts == k for k in range(5)]}
    here, there, mine, theirs = members(), members(), watchers(), watchers()
    expected = fastnn.Ensemble(here).fit(**fit, callbacks=mine, verbose=0)
    found = fastnn.Ensemble(there).fit(**fit, callbacks=theirs, verbose=0, executor=executor, groups=groups)
    assert [one.history for one in found] == [one.history for one in expected]
    assert [one.best_epoch for (one,) in theirs] == [one.best_epoch for (one,) in mine]
    for model, twin in zip(there, here, strict=True):
        assert model._engine.parameters.tobytes() == twin._engine.parameters.tobytes()
        assert [slot.tobytes() for slot in model._engine.slots] == [slot.tobytes() for slot in twin._engine.slots]


def test_a_group_on_ray_has_the_threads_of_its_processors(ray_cluster):
    class Watch(fastnn.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.told = os.getpid(), fastnn.get_num_threads()

    class Wide(Executor):
        def submit(self, function, *arguments):
            return ray.remote(num_cpus=2)(function).remote(*arguments).future()

    watchers = [[Watch()] for _ in range(5)]
    fastnn.Ensemble(members()).fit(FLOWERS, SPECIES, callbacks=watchers, verbose=0, executor=Wide(), groups=2)
    processes, threads = map(set, zip(*(one.told for (one,) in watchers), strict=True))
    assert os.getpid() not in processes
    assert threads == {int(os.environ.get("OMP_NUM_THREADS", 2))}


def test_a_group_that_fails_on_a_cluster_says_why(backend, request):
    class Fail(fastnn.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise RuntimeError("the first epoch")

    executor = OnRay() if backend == "ray" else request.getfixturevalue("dask_client").get_executor()
    models = members()
    before = [model.get_weights() for model in models]
    with pytest.raises(RuntimeError, match="the first epoch"):
        fastnn.Ensemble(models).fit(FLOWERS, SPECIES, callbacks=Fail(), verbose=0, executor=executor, groups=2)
    for model, weights in zip(models, before, strict=True):
        for one, other in zip(model.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(one, other)
