"""scikit-learn's callbacks, which it has from 1.9 on: what they are told of a network's training."""

import numpy as np
import pytest

pytest.importorskip("sklearn.callback", reason="needs scikit-learn 1.9, which has callbacks")

from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastnn
from fastnn import layers
from fastnn.sklearn import MLPClassifier, MLPRegressor, SequentialClassifier

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.thread_unsafe(reason="a listener of scikit-learn's is the process's"),
]

FLOWERS, SPECIES = load_iris(return_X_y=True)
FLOWERS = StandardScaler().fit_transform(FLOWERS)


def classifier(**parameters):
    usual = {"hidden_layer_sizes": (8,), "learning_rate_init": 0.02, "max_iter": 10, "random_state": 0}
    return MLPClassifier(**usual | parameters)


class Look:
    """A callback that keeps what it is told, and stops training after so many epochs."""

    def __init__(self, stop_after=None):
        self.calls, self.fitted, self.stop_after = [], [], stop_after

    def setup(self, estimator, context):
        self.calls.append(("setup", context.task_name, context.max_subtasks))

    def teardown(self, estimator, context):
        self.calls.append(("teardown", context.task_name, context.max_subtasks))

    def on_fit_task_begin(self, estimator, context):
        self.calls.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):  # noqa: N803
        self.calls.append(("end", context.task_name, context.task_id))
        self.told = estimator, X, y, metadata
        self.fitted.append(fitted_estimator)
        return context.task_id + 1 == self.stop_after


def test_each_epoch_is_a_task():
    look = Look()
    net = classifier(max_iter=3).set_callbacks(look)
    assert net.fit(FLOWERS, SPECIES) is net
    epochs = [(what, "epoch", number) for number in range(3) for what in ("begin", "end")]
    whole = [("setup", "fit", 3), ("begin", "fit", 0), *epochs, ("end", "fit", 0), ("teardown", "fit", 3)]
    assert look.calls == whole
    assert look.told[0] is net


def test_callbacks_change_nothing_of_the_training():
    alone = classifier().fit(FLOWERS, SPECIES)
    watched = classifier().set_callbacks(Look(), ScoringMonitor(scoring="accuracy")).fit(FLOWERS, SPECIES)
    np.testing.assert_array_equal(watched.predict_proba(FLOWERS), alone.predict_proba(FLOWERS))
    assert watched.loss_curve_ == alone.loss_curve_
    assert vars(watched).keys() - vars(alone).keys() == {"_skl_callbacks"}


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_an_estimator_of_an_epoch_is_what_a_training_of_so_many_epochs_gives(solver):
    look = Look()
    classifier(solver=solver, max_iter=5).set_callbacks(look).fit(FLOWERS, SPECIES)
    for epochs, fitted in enumerate(look.fitted[:-1], 1):
        alone = classifier(solver=solver, max_iter=epochs).fit(FLOWERS, SPECIES)
        np.testing.assert_array_equal(fitted.predict_proba(FLOWERS), alone.predict_proba(FLOWERS))
        assert fitted.n_iter_ == len(fitted.loss_curve_) == epochs
        assert fitted.classes_.tolist() == [0, 1, 2]


def test_networks_of_any_kind_tell_of_their_epochs():
    def build(inputs, outputs):
        return fastnn.Sequential([fastnn.Input((inputs,)), layers.Dense(8, "relu"), layers.Dense(outputs, "softmax")])

    look, mixed = Look(), np.random.default_rng(0).permutation(150)
    net = SequentialClassifier(build, epochs=3, random_state=0, validation_split=0.2).set_callbacks(look)
    net.fit(FLOWERS[mixed], SPECIES[mixed])
    assert [fitted.n_iter_ for fitted in look.fitted] == [1, 2, 3, 3]
    assert [len(fitted.history_["val_loss"]) for fitted in look.fitted] == [1, 2, 3, 3]
    np.testing.assert_array_equal(look.fitted[-1].predict_proba(FLOWERS), net.predict_proba(FLOWERS))
    assert not np.array_equal(look.fitted[0].predict_proba(FLOWERS), net.predict_proba(FLOWERS))
    np.testing.assert_array_equal(look.told[1], FLOWERS[mixed][:120])


def test_an_estimator_of_an_epoch_has_the_best_weights_so_far_where_training_stops_early():
    look = Look()
    net = classifier(early_stopping=True, max_iter=12).set_callbacks(look).fit(FLOWERS, SPECIES)
    estimator, x, y, _ = look.told
    assert estimator is net
    assert len(x) == len(y) == 135  # a tenth is held back
    np.testing.assert_array_equal(look.fitted[-1].predict_proba(FLOWERS), net.predict_proba(FLOWERS))
    best = [fitted.best_validation_score_ for fitted in look.fitted]
    assert best == sorted(best)


def test_a_callback_ends_the_training():
    net = classifier(max_iter=50).set_callbacks(Look(stop_after=4)).fit(FLOWERS, SPECIES)
    assert net.n_iter_ == 4
    alone = classifier(max_iter=4).fit(FLOWERS, SPECIES)
    np.testing.assert_array_equal(net.predict_proba(FLOWERS), alone.predict_proba(FLOWERS))


def test_a_callback_that_fails_leaves_the_estimator_as_it_was():
    class Fails(Look):
        def on_fit_task_end(self, estimator, context):
            raise RuntimeError("no more")

    look = Fails()
    net = classifier().set_callbacks(look)
    with pytest.raises(RuntimeError, match="no more"):
        net.fit(FLOWERS, SPECIES)
    assert look.calls[-1][0] == "teardown"
    with pytest.raises(NotFittedError):
        net.predict(FLOWERS)
    assert vars(net).keys() == vars(classifier().set_callbacks(look)).keys()


def test_a_fit_that_fails_tells_the_callbacks_nothing():
    look = Look()
    with pytest.raises(ValueError, match="NaN"):
        classifier().set_callbacks(look).fit(np.full_like(FLOWERS, np.nan), SPECIES)
    assert look.calls == []


def test_callbacks_see_weights_and_the_names_of_columns():
    pandas = pytest.importorskip("pandas")
    frame, weights = pandas.DataFrame(FLOWERS, columns=list("abcd")), np.arange(150.0) + 1
    for early_stopping in (False, True):
        look, monitor = Look(), ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
        net = classifier(early_stopping=early_stopping, max_iter=4).set_callbacks(look, monitor)
        net.fit(frame, SPECIES, sample_weight=weights)
        _, x, y, metadata = look.told
        assert x.columns.tolist() == list("abcd")
        assert (SPECIES[x.index] == y).all()
        np.testing.assert_array_equal(metadata["sample_weight"], weights[x.index])
        last = monitor.get_logs().data[0]
        assert last["accuracy"] == pytest.approx(net.score(x, y, weights[x.index]))


def test_a_monitor_logs_the_score_of_each_epoch():
    monitor = ScoringMonitor(scoring="r2")
    x, y = load_diabetes(return_X_y=True)
    net = MLPRegressor(hidden_layer_sizes=(8,), learning_rate_init=0.02, max_iter=10, random_state=0)
    net.set_callbacks(monitor).fit(x, y / 100)
    epochs = [row["r2"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(epochs) == 10
    assert epochs[-1] == net.score(x, y / 100)
    assert epochs[-1] > epochs[0]


@pytest.mark.parametrize("jobs", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_a_monitor_of_a_network_logs_all_of_a_search(jobs):
    monitor = ScoringMonitor(scoring="accuracy")
    pipeline = make_pipeline(StandardScaler(), classifier(max_iter=4).set_callbacks(monitor))
    search = GridSearchCV(pipeline, {"mlpclassifier__alpha": [1e-4, 1e-2]}, cv=3, n_jobs=jobs).fit(FLOWERS, SPECIES)
    runs = monitor.get_logs(select="all")
    rows = [row for run in runs for row in run.data]
    epochs = [row for row in rows if row["task_name"] == "epoch"]
    assert len(epochs) == (2 * 3 + 1) * 4
    assert {run.estimator_name for run in runs} == {"GridSearchCV"}
    assert len({row["task_id_path"] for row in rows}) == len(rows)
    assert search.score(FLOWERS, SPECIES) in {row["accuracy"] for row in epochs if row["task_id"] == 3}


@pytest.mark.parametrize("jobs", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_bars_go_on_through_a_search_over_a_pipeline(jobs, capsys):
    pytest.importorskip("rich")
    pipeline = make_pipeline(StandardScaler(), classifier(max_iter=4))
    search = GridSearchCV(pipeline, {"mlpclassifier__alpha": [1e-4, 1e-2]}, cv=2, n_jobs=jobs)
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(FLOWERS, SPECIES)
    shown = capsys.readouterr().out
    assert "GridSearchCV" in shown
    assert "MLPClassifier" in shown
    assert not hasattr(search.best_estimator_[-1], "_skl_callbacks")


def test_a_bar_of_a_network_reaches_its_end(capsys):
    pytest.importorskip("rich")
    classifier(max_iter=4).set_callbacks(ProgressBar()).fit(FLOWERS, SPECIES)
    shown = capsys.readouterr().out
    assert "MLPClassifier" in shown
    assert "100%" in shown


def test_a_network_tells_its_callbacks_inside_an_estimator_that_knows_none():
    look = Look()
    VotingClassifier([("net", classifier(max_iter=2).set_callbacks(look))]).fit(FLOWERS, SPECIES)
    ends = [call[1:] for call in look.calls if call[0] == "end"]
    assert ends == [("epoch", 0), ("epoch", 1), ("fit", 0)]
