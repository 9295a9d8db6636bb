"""Members of an ensemble that workers train: to the bits that they have here, and all of them or none."""

import multiprocessing
import os
import platform
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from scipy import sparse
from trainings import EMA, all_state

import fastnn
from fastnn import _groups, layers, optimizers
from fastnn._engine import build_info
from fastnn.callbacks import Callback, EarlyStopping, History, LambdaCallback, ReduceLROnPlateau

THREADED = pytest.mark.skipif(not build_info()["openmp"], reason="built without OpenMP: there is one thread")
MEMBERS = 5
X = np.random.default_rng(0).normal(size=(90, 6)).astype(np.float32)
Y = (X.sum(axis=1) > 0).astype(np.int32)
FOLDS = [np.flatnonzero(np.arange(90) % MEMBERS != k) for k in range(MEMBERS)]
HELD = [np.arange(90) % MEMBERS == k for k in range(MEMBERS)]


@pytest.fixture(scope="module")
def pool():
    """Two processes that share nothing with this one."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
        yield executor


@pytest.fixture(params=["processes", "threads"])
def executor(request):
    """An executor with two workers."""
    if request.param == "processes":
        yield request.getfixturevalue("pool")
    else:
        with ThreadPoolExecutor(2) as threads:
            yield threads


def members(width=6, dtype="float32", seeds=range(MEMBERS)):
    """Return compiled models of different shapes, which draw numbers in each step; not built without a width."""
    models = []
    for seed in seeds:
        drawn = [fastnn.initializers.GlorotUniform(seed + k) for k in (100, 200)]
        stack = [
            layers.Dense(4 + seed, "tanh", kernel_initializer=drawn[0]),
            layers.BatchNormalization(),
            layers.Dropout(0.2, seed=seed),
            layers.Dense(2, "softmax", kernel_initializer=drawn[1]),
        ]
        first = [fastnn.Input((width,), dtype=dtype)] if width else []
        models.append(fastnn.Sequential([*first, *stack]))
        models[-1]._seed = seed
        optimizer = optimizers.Adam(0.01 * (seed + 1), **EMA)
        models[-1].compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return models


def states(models):
    return [(all_state(model), float(model.optimizer.learning_rate)) for model in models]


class Watch(Callback):
    """Notes what it sees in the worker."""

    def on_train_begin(self, logs=None):
        self.process, self.threads = os.getpid(), fastnn.get_num_threads()


class Fail(Callback):
    """Fails in the third epoch."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 2:
            raise RuntimeError("the third epoch")


def ways():
    """Return arguments of fit by what they try."""
    return {
        "all rows": {},
        "folds": {"rows": FOLDS, "validation_rows": HELD, "validation_freq": [1, 3], "batch_size": 16},
        "validation": {"validation_data": (X[:20], Y[:20], np.ones(20)), "validation_freq": 2, "shuffle": False},
        "each its own": {"epochs": [1, 4, 0, 2, 3], "batch_size": [8, 16, 32, 50, 90], "drop_remainder": True},
        "weights": {"sample_weight": np.linspace(0.5, 1.5, len(X))},
        "classes": {"class_weight": "balanced", "rows": FOLDS},
    }


@pytest.mark.parametrize("way", ways())
def test_workers_train_to_the_bits_of_here(way, executor):
    here, there = members(), members()
    fit = {"x": X, "y": Y, "epochs": 4, "verbose": 0} | ways()[way]
    expected = fastnn.Ensemble(here).fit(**fit)
    found = fastnn.Ensemble(there).fit(**fit, executor=executor)
    assert [one.history for one in found] == [one.history for one in expected]
    assert [one.epoch for one in found] == [one.epoch for one in expected]
    assert states(there) == states(here)
    assert [model.history for model in there] == found
    for models in (here, there):  # what comes next is the same as well
        fastnn.Ensemble(models).fit(X, Y, verbose=0)
    assert states(there) == states(here)


@pytest.mark.parametrize("groups", [1, 3, 5, 8])
def test_the_number_of_groups_changes_nothing(groups, pool):
    here, there = members(), members()
    fastnn.Ensemble(here).fit(X, Y, epochs=2, verbose=0)
    fastnn.Ensemble(there).fit(X, Y, epochs=2, verbose=0, executor=pool, groups=groups)
    assert states(there) == states(here)


@pytest.mark.parametrize("kind", ["sparse", "frame", "float64", "not built"])
def test_workers_read_what_is_read_here(kind, pool):
    pandas = pytest.importorskip("pandas")
    x = {
        "sparse": sparse.csr_matrix(X * (X > 0.5)),
        "frame": pandas.DataFrame(X, columns=list("abcdef")),
        "float64": X.astype(np.float64),
        "not built": X,
    }[kind]
    width, dtype = (None if kind == "not built" else 6), ("float64" if kind == "float64" else "float32")
    here, there = members(width, dtype), members(width, dtype)
    fastnn.Ensemble(here).fit(x, Y, epochs=2, verbose=0)
    fastnn.Ensemble(there).fit(x, Y, epochs=2, verbose=0, executor=pool)
    assert states(there) == states(here)
    assert [model.feature_names for model in there] == [model.feature_names for model in here]


def test_callbacks_come_back_as_the_workers_leave_them(executor):
    def watchers():
        patient = [EarlyStopping("loss", patience=k) for k in (0, 2, 4, 6, 9)]
        return [[one, ReduceLROnPlateau("loss", patience=1), History()] for one in patient]

    told = {"x": X, "y": Y, "epochs": 40, "verbose": 0}
    here, there, mine, theirs = members(), members(), watchers(), watchers()
    fastnn.Ensemble(here).fit(**told, callbacks=mine)
    histories = fastnn.Ensemble(there).fit(**told, callbacks=theirs, executor=executor)
    assert states(there) == states(here)
    assert [model.stop_training for model in there] == [model.stop_training for model in here]
    for model, own, others, history in zip(there, mine, theirs, histories, strict=True):
        assert (own[0].best_epoch, own[0].stopped_epoch) == (others[0].best_epoch, others[0].stopped_epoch)
        assert own[2].history == others[2].history
        assert history is others[2]
        assert others[0].model is model
    # A second fit tells the callbacks of the same models; the models that they knew do not go to the workers with them.
    assert all("model" not in vars(one) for one in _groups._sent(_groups.CallbackList(theirs[0])).callbacks)
    fastnn.Ensemble(here).fit(**told, callbacks=mine)
    fastnn.Ensemble(there).fit(**told, callbacks=theirs, executor=executor)
    assert states(there) == states(here)


@pytest.mark.thread_unsafe(reason="reads what is printed")
def test_the_lines_come_once_all_are_trained(executor, capsys):
    fit = {"x": X, "y": Y, "epochs": [2, 3, 3, 3, 1], "validation_rows": HELD, "validation_freq": 2}
    fastnn.Ensemble(members()).fit(**fit)
    expected = capsys.readouterr().out
    fastnn.Ensemble(members()).fit(**fit, executor=executor)
    assert capsys.readouterr().out == expected
    assert expected.count("mean loss") == 3


def no_pickle():
    """Return a callback that no process can be sent."""
    return LambdaCallback(on_epoch_end=lambda *_: None)


@pytest.mark.parametrize("callback", [Fail, no_pickle])
def test_no_member_changes_where_a_group_fails(callback, pool):
    models = members()
    before = states(models)
    hooks = [[] for _ in models]
    hooks[3] = [callback()]
    with pytest.raises((RuntimeError, AttributeError), match=r"third epoch|pickle") as caught:
        fastnn.Ensemble(models).fit(X, Y, epochs=4, verbose=0, callbacks=hooks, executor=pool)
    assert caught.value.__cause__ is not None  # what happened in the worker
    assert states(models) == before


def test_no_member_of_a_thread_changes_where_another_fails():
    models = members()
    before, hooks = states(models), [[] for _ in models]
    hooks[0] = [Fail()]
    with ThreadPoolExecutor(1) as executor, pytest.raises(RuntimeError, match="third epoch"):
        fastnn.Ensemble(models).fit(X, Y, epochs=4, verbose=0, callbacks=hooks, executor=executor)
    assert states(models) == before


@THREADED
@pytest.mark.thread_unsafe(reason="the number of threads is the process's")
def test_workers_of_this_machine_share_its_threads(pool):
    watchers = [[Watch()] for _ in range(MEMBERS)]
    with fastnn.num_threads(6):
        fastnn.Ensemble(members()).fit(X, Y, verbose=0, callbacks=watchers, executor=pool)
    assert {one.threads for (one,) in watchers} == {3}
    assert os.getpid() not in {one.process for (one,) in watchers}


@THREADED
@pytest.mark.thread_unsafe(reason="changes the environment")
def test_a_worker_keeps_the_threads_that_it_was_given(monkeypatch):
    origin = _groups._Origin(platform.node(), os.getpid() + 1, 3, os.environ.get("OMP_NUM_THREADS"))
    with fastnn.num_threads(2):
        with origin.threads_here():
            assert fastnn.get_num_threads() == 3
        for other in (origin._replace(host="another"), origin._replace(process=os.getpid())):
            with other.threads_here():
                assert fastnn.get_num_threads() == 2
        for setting, threads in (("7", 7), ("0", 2), ("4,2", 2)):  # Dask, Ray and joblib set it for their workers
            monkeypatch.setenv("OMP_NUM_THREADS", setting)
            with origin.threads_here():
                assert fastnn.get_num_threads() == threads


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"executor": 2},
            TypeError,
            "executor must have a method submit, as those of concurrent.futures have",
        ),
        ({"groups": 2}, ValueError, "groups must be given with an executor alone"),
        ({"executor": ThreadPoolExecutor(1), "groups": 0}, ValueError, "groups must be at least 1, got 0"),
        ({"executor": ThreadPoolExecutor(1), "batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(arguments, error, message):
    models = members()
    before = states(models)
    with pytest.raises(error, match=message):
        fastnn.Ensemble(models).fit(X, Y, verbose=0, **arguments)
    assert states(models) == before


@pytest.mark.parametrize(("workers", "groups"), [(None, 5), (2, 2), (9, 5)])
def test_an_executor_says_into_how_many_groups_members_are_cut(workers, groups):
    class Anywhere:
        _max_workers = workers

        def submit(self, function, *arguments):
            raise NotImplementedError

    assert _groups.check_executor(Anywhere(), None, MEMBERS) == groups
