"""A fit that fails, is interrupted, or runs beside others: what it leaves is whole, or as it was."""

import pickle
import threading

import numpy as np
import pytest
from sklearn.datasets import load_iris

import fastnn
from fastnn import callbacks, layers, optimizers
from fastnn.sklearn import MLPClassifier, MLPRegressor, SequentialClassifier

pd = pytest.importorskip("pandas")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True, as_frame=True)
SHORT = {"hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 0}


class StoppedError(Exception):
    pass


class Raise(callbacks.Callback):
    """Raises an error at the end of an epoch."""

    def __init__(self, error=StoppedError, epoch=1):
        self.error, self.epoch = error, epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch >= self.epoch:
            raise self.error


def build(inputs, outputs):
    return fastnn.Sequential([layers.Input((inputs,)), layers.Dense(8, "relu"), layers.Dense(outputs)])


MAKERS = {
    "adam": lambda: MLPClassifier(**SHORT),
    "batch": lambda: MLPClassifier(**SHORT, normalization="batch", dropout=0.1),
    "adaptive": lambda: MLPClassifier(**SHORT, solver="sgd", learning_rate="adaptive", n_iter_no_change=1, tol=10.0),
    "invscaling": lambda: MLPClassifier(**SHORT, solver="sgd", learning_rate="invscaling"),
    "early": lambda: MLPClassifier(**SHORT, early_stopping=True),
    "numbers": lambda: MLPRegressor(**SHORT),
    "sequential": lambda: SequentialClassifier(build, epochs=4, random_state=0),
}


def whole_state(estimator):
    """Return all that an estimator is: its arguments and attributes, the network, the optimizer and its state."""
    state = dict(vars(estimator))
    state.pop("callbacks", None)
    model = state.pop("model_", None)
    found = {name: pickle.dumps(value) for name, value in state.items() if name != "build"}
    if model is not None:
        engine = model._engine
        found["network"] = [array.tobytes() for array in (engine.parameters, *engine.slots)]
        found["steps"] = engine.iterations, model._epochs_done, model._seed
        found["model"] = id(model), repr(model.optimizer.get_config()), [repr(one.get_config()) for one in model.layers]
    return found


def failing(estimator, how, again):
    """Return a call that fails, by the name of how it does so."""
    wide = pd.concat([X, X.iloc[:, :1].rename(columns={X.columns[0]: "width"})], axis=1)
    estimator.set_params(callbacks=[Raise()] if how == "callback" else None)
    if again:
        estimator.set_params(warm_start=True)
    calls = {
        "callback": lambda: estimator.fit(X, Y),
        "columns": lambda: estimator.fit(wide if again else X.assign(a="text"), Y),
        "missing": lambda: estimator.fit(X.assign(a=np.nan), Y),
        "weights": lambda: estimator.fit(X, Y, sample_weight=np.zeros(len(X))),
        "rows": lambda: estimator.fit(X, Y[:-1]),
        "validation": lambda: estimator.fit(X, Y, validation_data=(X.iloc[:, :2], Y)),
        "infinite": lambda: estimator.fit(X * 1e308, Y),
    }
    return calls[how]


HOW = ["callback", "columns", "missing", "weights", "rows", "validation", "infinite"]


@pytest.mark.filterwarnings("ignore:the loss is not finite", "ignore:overflow", "ignore:invalid value")
@pytest.mark.parametrize("again", [False, True], ids=["anew", "warm"])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))
def test_a_failed_fit_leaves_a_fitted_estimator_as_it_was(make, how, again):
    estimator = make().fit(X, Y)
    call = failing(estimator, how, again)
    before = whole_state(estimator)
    with pytest.raises((StoppedError, ValueError, TypeError)):
        call()
    assert whole_state(estimator) == before
    estimator.set_params(callbacks=None).fit(X, Y)


@pytest.mark.filterwarnings("ignore:the loss is not finite", "ignore:overflow", "ignore:invalid value")
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))
def test_a_failed_fit_leaves_an_unfitted_estimator_unfitted(make, how):
    estimator = make()
    call = failing(estimator, how, again=False)
    before = set(vars(estimator))
    with pytest.raises((StoppedError, ValueError, TypeError)):
        call()
    assert set(vars(estimator)) == before
    assert not any(hasattr(estimator, name) for name in ("classes_", "feature_names_in_", "n_features_in_", "model_"))


@pytest.mark.parametrize(
    "change",
    [
        {"solver": "sgd"},
        {"learning_rate_init": 0.5},
        {"beta_1": 0.5},
        {"alpha": 1.0},
        {"solver": optimizers.Lion()},
        {"early_stopping": True, "validation_fraction": 0.001, "solver": "sgd"},
        {"num_threads": 0, "solver": "sgd"},
    ],
    ids=str,
)
def test_a_failed_warm_start_with_other_settings_leaves_the_network_as_it_was(change):
    estimator = MLPClassifier(**SHORT, warm_start=True).fit(X, Y)
    answers, config = estimator.predict_proba(X), repr(estimator.model_.optimizer.get_config())
    kept = estimator.model_, whole_state(estimator)["network"]
    estimator.set_params(**change, callbacks=[Raise()])
    with pytest.raises((StoppedError, ValueError)):
        estimator.fit(X, Y)
    assert estimator.model_ is kept[0]
    assert repr(estimator.model_.optimizer.get_config()) == config
    assert whole_state(estimator)["network"] == kept[1]
    estimator.set_params(num_threads=None)
    np.testing.assert_array_equal(estimator.predict_proba(X), answers)


@pytest.mark.parametrize("settings", [{}, {"solver": "sgd", "learning_rate": "invscaling"}], ids=str)
def test_a_failed_partial_fit_leaves_the_estimator_as_it_was(settings):
    estimator = MLPClassifier(**SHORT | settings).partial_fit(X, Y, classes=[0, 1, 2]).partial_fit(X, Y)
    before = whole_state(estimator)
    with pytest.raises(ValueError, match=r"classes not in `self.classes_`"):
        estimator.partial_fit(X, Y + 1)
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.partial_fit(X.rename(columns={X.columns[0]: "width"}), Y)
    estimator.set_params(callbacks=[Raise(epoch=0)])
    for rows in (X.index, X.index[::2]):  # fewer rows have another factor of the penalty
        with pytest.raises(StoppedError):
            estimator.partial_fit(X.loc[rows], Y[rows])
    estimator.set_params(callbacks=None)
    assert whole_state(estimator) == before


@pytest.mark.parametrize(("alpha", "then"), [(0.0, 0.5), (0.5, 0.0), (0.5, 1.0)])
def test_a_failed_call_leaves_the_penalty_as_it_was(alpha, then):
    estimator = MLPClassifier(**SHORT, alpha=alpha, warm_start=True).fit(X, Y)
    before = whole_state(estimator)["model"]
    estimator.set_params(alpha=then, callbacks=[Raise()])
    with pytest.raises(StoppedError):
        estimator.fit(X, Y)
    assert whole_state(estimator)["model"] == before
    estimator.set_params(callbacks=None).fit(X, Y)
    assert whole_state(estimator)["model"] != before


# ---- Ctrl-C ----


@pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))
def test_ctrl_c_keeps_the_weights_of_the_last_epoch(make):
    estimator = make().set_params(callbacks=[Raise(KeyboardInterrupt)])
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        estimator.fit(X, Y)
    assert len(estimator.predict(X)) == len(X)
    if hasattr(estimator, "loss_curve_"):
        assert len(estimator.loss_curve_) == 2


# ---- threads ----


def in_threads(*calls):
    """Run the calls at once, each in a thread of its own; return what went wrong."""
    errors, ready = [], threading.Barrier(len(calls))

    def run(call):
        ready.wait()
        try:
            call()
        except Exception as error:  # noqa: BLE001  # of whatever kind: the test shows it
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_threads_that_fit_one_estimator_leave_the_fit_of_one_of_them():
    estimator = MLPClassifier(**SHORT)
    few = X.iloc[:, :3]
    errors = in_threads(*[lambda: estimator.fit(X, Y), lambda: estimator.fit(few, Y.astype(str))] * 4)
    assert errors == []
    rows, labels = (X, Y) if estimator.n_features_in_ == 4 else (few, Y.astype(str))
    alone = MLPClassifier(**SHORT).fit(rows, labels)
    np.testing.assert_array_equal(estimator.predict_proba(rows), alone.predict_proba(rows))
    np.testing.assert_array_equal(estimator.classes_, alone.classes_)
    assert estimator.loss_curve_ == alone.loss_curve_


def test_a_thread_predicts_while_another_fits():
    estimator = MLPClassifier(**SHORT).fit(X, Y)
    expected = estimator.predict_proba(X)

    def predict():
        for _ in range(30):
            np.testing.assert_array_equal(estimator.predict_proba(X), expected)

    errors = in_threads(predict, predict, *[lambda: [estimator.fit(X, Y) for _ in range(5)]] * 2)
    assert errors == []


@pytest.mark.parametrize("changes", ["invscaling", "adaptive"])
def test_a_rate_that_the_epochs_change_is_a_number(changes):
    schedule = fastnn.optimizers.schedules.ExponentialDecay(0.01, 10, 0.9)
    classifier = MLPClassifier(solver="sgd", learning_rate=changes, learning_rate_init=schedule)
    with pytest.raises(
        ValueError, match=rf"'{changes}' changes learning_rate_init, .* a number then, got ExponentialD"
    ):
        classifier.fit([[0.0], [1.0]] * 9, [0, 1] * 9)
    assert not hasattr(classifier, "model_")
