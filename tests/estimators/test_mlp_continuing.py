"""Training goes on: warm starts, partial_fit, and what both keep of the training before."""

import pickle
import re

import joblib
import numpy as np
import pytest
from estimators.perceptrons import (
    MLPClassifier,
    MLPRegressor,
    both,
    digits,
    diverging,
    iris,
    numbers,
    ours,
    unconverged,
    weights_and_counts,
    weights_of,
)
from sklearn.exceptions import ConvergenceWarning

pytestmark = unconverged

X, Y = iris()
THREE_CLASSES = np.repeat([0, 1, 2], [40, 40, 70])


@both
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_a_fit_begins_anew_and_a_warm_start_goes_on(estimator, solver):
    settings = {"hidden_layer_sizes": 5, "solver": solver, "random_state": 0, "max_iter": 5, "tol": 0}
    cold = estimator(**settings).fit(X, Y)
    once = weights_of(cold).copy()
    np.testing.assert_array_equal(weights_of(cold.fit(X, Y)), once)
    warm = estimator(warm_start=True, **settings).fit(X, Y)
    first = warm.loss_
    np.testing.assert_array_equal(weights_of(warm), once)
    assert warm.fit(X, Y).loss_ < first
    assert not np.array_equal(weights_of(warm), once)


@both
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_each_warm_start_may_take_max_iter_iterations(estimator, solver):
    model = estimator(solver=solver, warm_start=True, max_iter=3, n_iter_no_change=np.inf, random_state=0, tol=0)
    for iterations in (3, 3, 6):
        model.set_params(max_iter=iterations)
        with pytest.warns(ConvergenceWarning):
            model.fit(X, Y)
        assert model.n_iter_ == iterations


@both
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_a_warm_start_appends_to_the_curve_and_counts_on(estimator, solver):
    model = estimator(hidden_layer_sizes=4, solver=solver, warm_start=True, max_iter=3, random_state=0).fit(X, Y)
    curve = model.loss_curve_[:]
    model.fit(X, Y)
    assert model.loss_curve_[:3] == curve
    assert (len(model.loss_curve_), model.n_iter_, model.t_) == (6, 3, 6 * len(X))
    assert model.best_loss_ == min(model.loss_curve_)
    model.set_params(warm_start=False).fit(X, Y)
    assert (len(model.loss_curve_), model.t_) == (3, 3 * len(X))


def test_a_warm_start_accepts_the_same_classes_in_other_rows():
    model = MLPClassifier(hidden_layer_sizes=2, solver="lbfgs", warm_start=True, random_state=42, tol=1e-2)
    model.fit(X, Y).fit(X, Y).fit(X, THREE_CLASSES)


@pytest.mark.parametrize("classes", [[0, 1], [0, 1, 3], [0, 1, 2, 3], [0, 1, 2, 3, 4]], ids=str)
def test_a_warm_start_refuses_other_classes(classes):
    model = MLPClassifier(hidden_layer_sizes=2, solver="lbfgs", warm_start=True, random_state=42, tol=1e-2).fit(X, Y)
    before = weights_of(model).copy()
    other = np.resize(np.sort(np.resize(classes, 150)), 150)
    said = (
        "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
        f"Previously got [0 1 2], `y` has {np.unique(other)}"
    )
    with pytest.raises(ValueError, match=re.escape(said)):
        model.fit(X, other)
    np.testing.assert_array_equal(weights_of(model), before)
    assert model.score(X, Y) > 0.6


@both
def test_each_warm_start_of_lbfgs_is_better(estimator):
    model = estimator(hidden_layer_sizes=5, solver="lbfgs", warm_start=True, max_iter=10, random_state=0, tol=0)
    losses = [model.fit(X, Y).loss_ for _ in range(4)]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("classes", [2, 3])
def test_epochs_of_partial_fit_learn_what_fit_does(classes):
    x, y = digits(classes)
    settings = {"solver": "sgd", "random_state": 1, "alpha": 1e-5, "learning_rate_init": 0.2}
    fitted, partial = MLPClassifier(max_iter=100, tol=0, **settings).fit(x, y), MLPClassifier(**settings)
    for _ in range(100):
        partial.partial_fit(x, y, classes=np.unique(y))
    np.testing.assert_array_equal(partial.predict(x), fitted.predict(x))
    assert partial.score(x, y) > 0.95


@pytest.mark.parametrize("momentum", [0, 0.9])
def test_partial_fit_keeps_the_momentum(momentum):
    """With all rows in a batch their order is nothing but the order of a sum."""
    x, y = numbers()
    settings = {
        "solver": "sgd", "random_state": 1, "learning_rate_init": 0.01, "batch_size": len(x), "momentum": momentum
    }  # fmt: skip
    fitted, partial = MLPRegressor(max_iter=100, **settings).fit(x, y), MLPRegressor(**settings)
    for _ in range(100):
        partial.partial_fit(x, y)
    np.testing.assert_allclose(partial.predict(x), fitted.predict(x))
    np.testing.assert_allclose(partial.loss_curve_, fitted.loss_curve_)
    assert partial.score(x, y) > 0.65


@both
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_a_partial_fit_is_one_epoch(estimator, solver):
    model = estimator(hidden_layer_sizes=4, solver=solver, random_state=0, max_iter=7)
    classes = {"classes": [0, 1, 2]} if estimator is MLPClassifier else {}
    for call in range(1, 4):
        assert model.partial_fit(X, Y, **classes) is model
        assert (model.n_iter_, len(model.loss_curve_), model.t_) == (1, call, call * len(X))


@both
def test_partial_fit_goes_on_from_fit(estimator):
    model = estimator(hidden_layer_sizes=4, random_state=0, max_iter=7).fit(X, Y)
    before = model.loss_
    for _ in range(10):
        model.partial_fit(X, Y)
    assert model.loss_ < before
    assert (len(model.loss_curve_), model.t_) == (17, 17 * len(X))


@both
def test_partial_fit_takes_batches_of_any_size(estimator):
    model = estimator(hidden_layer_sizes=4, random_state=0)
    for rows in (3, 150, 1):
        model.partial_fit(X[:rows], Y[:rows], **({"classes": [0, 1, 2]} if estimator is MLPClassifier else {}))
    assert model.t_ == 154


def test_partial_fit_needs_classes_once():
    model = MLPClassifier(solver="sgd")
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        model.partial_fit(X, Y)
    assert not hasattr(model, "classes_")
    model.partial_fit(X, Y, classes=[0, 1, 2])
    model.partial_fit(X, Y)


def test_partial_fit_refuses_classes_that_it_was_not_told_of():
    with pytest.raises(ValueError, match=re.escape("`y` has classes not in `self.classes_`")):
        MLPClassifier(solver="sgd").partial_fit([[3, 2], [1, 6]], [1, 0], classes=[2])
    model = MLPClassifier(solver="sgd", random_state=0).partial_fit([[3, 2]], [0], classes=[0, 1])
    before = weights_of(model).copy()
    with pytest.raises(ValueError, match=r"`classes=.*` is not the same as on last call to partial_fit"):
        model.partial_fit([[3, 2]], [0], classes=[1, 2])
    with pytest.raises(ValueError, match=re.escape("`y` has classes not in `self.classes_`")):
        model.partial_fit([[3, 2]], [5])
    np.testing.assert_array_equal(weights_of(model), before)


def test_partial_fit_may_see_a_class_late():
    model = MLPClassifier(random_state=0)
    model.partial_fit([[1], [2], [3]], ["a", "b", "c"], classes=["a", "b", "c", "d"])
    model.partial_fit([[4]], ["d"])
    assert model.predict_proba([[4]]).shape == (1, 4)
    assert model.score([[1], [2], [3], [4]], list("abcd")) > 0


def test_partial_fit_with_no_step_is_not_there():
    assert not hasattr(MLPClassifier(solver="lbfgs"), "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit"):
        MLPClassifier(solver="lbfgs").partial_fit  # noqa: B018


@ours
def test_partial_fit_with_no_step_is_not_there_for_numbers_either():
    assert not hasattr(MLPRegressor(solver="lbfgs"), "partial_fit")


@both
@pytest.mark.parametrize("schedule", ["constant", "invscaling"])
def test_the_rate_follows_the_rows_of_all_fits(estimator, schedule):
    """After two fits of four rows the next step has the rate after eight: worked out here, without a hidden layer."""
    model = estimator(
        hidden_layer_sizes=(), solver="sgd", learning_rate=schedule, max_iter=1, power_t=0.25, warm_start=True,
        momentum=0, random_state=0, alpha=0,
    )  # fmt: skip
    x, y = np.array([[3.0, 2.0], [1.0, 6.0], [5.0, 6.0], [-2.0, -4.0]]), np.array([1, 1, 1, 0])
    model.fit(x, y).fit(x, y)
    kernel, bias = model.coefs_[0].copy(), model.intercepts_[0].copy()
    residuals = (model.predict_proba(x)[:, 1] if estimator is MLPClassifier else model.predict(x)) - y
    model.partial_fit(x, y)
    rate = 0.001 / (8 + 1) ** 0.25 if schedule == "invscaling" else 0.001
    np.testing.assert_allclose(model.coefs_[0] - kernel, -rate * (x.T @ residuals)[:, None] / 4, rtol=1e-9)
    np.testing.assert_allclose(model.intercepts_[0] - bias, -rate * residuals.mean(), rtol=1e-9)


@both
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("by", ["pickle", "joblib"])
def test_a_stored_model_goes_on_as_if_it_had_not_been_stored(estimator, solver, by, tmp_path):
    model = estimator(hidden_layer_sizes=6, solver=solver, random_state=42, max_iter=20, shuffle=False).fit(X, Y)
    if by == "joblib":
        joblib.dump(model, tmp_path / "model")
    stored = pickle.loads(pickle.dumps(model)) if by == "pickle" else joblib.load(tmp_path / "model")
    np.testing.assert_array_equal(stored.predict(X), model.predict(X))
    for _ in range(5):
        model.partial_fit(X, Y)
        stored.partial_fit(X, Y)
    np.testing.assert_array_equal(weights_of(stored), weights_of(model))
    assert stored.loss_curve_ == model.loss_curve_
    assert stored.t_ == model.t_


def test_a_stored_model_learns_another_target():
    model = MLPRegressor(hidden_layer_sizes=42, random_state=42, learning_rate_init=0.01).fit([[2]], [4])
    stored = pickle.loads(pickle.dumps(model))
    for _ in range(200):
        stored.partial_fit([[2]], [1])
    np.testing.assert_allclose(stored.predict([[2]]), [1], rtol=1e-4)
    assert model.predict([[2]]) > 3


@ours
@both
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_a_warm_start_keeps_the_optimizers_state(estimator, solver):
    """scikit-learn begins it anew. Here fits of two and of three epochs are one of five."""
    settings = {"hidden_layer_sizes": 5, "solver": solver, "random_state": 0, "shuffle": False}
    whole = estimator(max_iter=5, **settings).fit(X, Y)
    parts = estimator(max_iter=2, warm_start=True, **settings).fit(X, Y).set_params(max_iter=3).fit(X, Y)
    np.testing.assert_array_equal(weights_of(parts), weights_of(whole))
    assert parts.loss_curve_ == whole.loss_curve_


@both
@pytest.mark.parametrize(
    ("name", "first", "then"),
    [
        ("alpha", 0.0, 10.0), ("learning_rate_init", 1e-300, 0.1), ("momentum", 0.0, 0.5), ("batch_size", 200, 10),
        ("learning_rate", "constant", "invscaling"), ("solver", "adam", "sgd"), ("solver", "sgd", "lbfgs"),
        ("nesterovs_momentum", True, False),
    ],
)  # fmt: skip
def test_a_warm_start_goes_on_with_the_settings_of_today(estimator, name, first, then):
    x, y = np.tile(X, (2, 1)), np.tile(Y, 2)
    settings = {"hidden_layer_sizes": 5, "solver": "sgd", "random_state": 0, "shuffle": False, "max_iter": 2, "tol": 0}
    changed, kept = (estimator(warm_start=True, **(settings | {name: first})).fit(x, y) for _ in range(2))
    changed.set_params(**{name: then}).fit(x, y)
    assert not np.allclose(weights_of(changed), weights_of(kept.fit(x, y)), rtol=1e-9)


@both
def test_the_rate_of_a_warm_start_begins_anew(estimator):
    """A training whose rate has become tiny is followed by one at `learning_rate_init`."""
    model = estimator(
        hidden_layer_sizes=4, solver="sgd", learning_rate="adaptive", tol=1e9, n_iter_no_change=1, warm_start=True,
        random_state=0,
    )  # fmt: skip
    model.fit(X, Y)
    before = weights_of(model).copy()
    model.set_params(max_iter=1).fit(X, Y)
    assert np.abs(weights_of(model) - before).max() > 1e-5


@ours
@both
@pytest.mark.parametrize(
    ("name", "value"),
    [("hidden_layer_sizes", (4, 4)), ("activation", "tanh"), ("dropout", 0.5), ("normalization", "batch")],
)
def test_training_that_goes_on_cannot_change_the_network(estimator, name, value):
    model = estimator(hidden_layer_sizes=4, warm_start=True, max_iter=1, random_state=0).fit(X, Y)
    stored = pickle.loads(pickle.dumps(model))
    stored.fit(X, Y)
    with pytest.raises(ValueError, match=f"training that goes on cannot change {name}, which was "):
        stored.set_params(**{name: value}).fit(X, Y)
    stored.set_params(warm_start=False).fit(X, Y)


@ours
@both
def test_partial_fit_stops_early_with_rows_to_validate_on(estimator):
    """The calls go on until the score has not improved for as long as may be; then the best weights are back."""
    model = estimator(
        hidden_layer_sizes=6, early_stopping=True, n_iter_no_change=3, learning_rate_init=0.05, random_state=0
    )
    held = np.arange(len(X)) % 3 == 0
    classes = {"classes": [0, 1, 2]} if estimator is MLPClassifier else {}
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True without validation_data"):
        model.partial_fit(X, Y, **classes)
    for call in range(1, 500):  # noqa: B007
        model.partial_fit(X[~held], Y[~held], validation_data=(X[held], Y[held]), **classes)
        if model.stopped_:
            break
    assert len(model.validation_scores_) == call < 499
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.score(X[held], Y[held]) == pytest.approx(model.best_validation_score_, rel=1e-12)
    assert pickle.loads(pickle.dumps(model)).stopped_


@ours
@both
@diverging
def test_a_warm_start_keeps_the_best_weights_of_all_fits(estimator):
    """A second training at a rate that spoils everything leaves those of the first. scikit-learn spoils both."""
    model = estimator(
        hidden_layer_sizes=6, early_stopping=True, learning_rate_init=0.01, warm_start=True, random_state=0
    ).fit(X, Y)
    before, best = weights_of(model).copy(), model.best_validation_score_
    model.set_params(learning_rate_init=1e4).fit(X, Y)
    assert model.best_validation_score_ == best
    np.testing.assert_array_equal(weights_of(model), before)


@weights_and_counts
@both
def test_partial_fit_weighs_rows(estimator):
    """Two of the three kinds weigh nothing: what is learned is the third."""
    x = np.repeat([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]], 10, axis=0)
    y = np.tile([0, 1, 2, 2, 2], 6)
    model = estimator(hidden_layer_sizes=10, random_state=0, learning_rate_init=0.01)
    classes = {"classes": [0, 1, 2]} if estimator is MLPClassifier else {}
    for _ in range(200):
        model.partial_fit(x, y, sample_weight=(y == 0) + 1e-6, **classes)
    np.testing.assert_allclose(model.predict(x), 0, atol=0.05)


@ours
@both
@diverging
@pytest.mark.parametrize("fails", ["diverges", "another network", "wrong columns", "wrong weights"])
@pytest.mark.parametrize("call", ["fit", "warm start", "partial_fit"])
def test_a_call_that_fails_leaves_the_model_as_it_was(estimator, call, fails):
    if (fails, call) == ("another network", "fit"):
        pytest.skip("fit begins anew with any network")
    settings = {"hidden_layer_sizes": 5, "activation": "identity", "solver": "sgd", "max_iter": 5, "batch_size": 50}
    model = estimator(warm_start=call == "warm start", **settings).fit(X, Y)
    state, predicted = (model.loss_curve_[:], model.n_iter_, model.t_, model.loss_), model.predict(X)
    weights = weights_of(model).copy()
    x, weight = (X[:, 1:] if fails == "wrong columns" else X), {}
    if fails == "wrong columns" and call == "fit":
        x = x[:100]
    if fails == "wrong weights":
        weight = {"sample_weight": -np.ones(3)}
    if fails == "diverges":
        model.set_params(learning_rate_init=1e300)
    if fails == "another network":
        model.set_params(hidden_layer_sizes=(3, 3))
    with pytest.raises(ValueError, match=r"."):
        (model.partial_fit if call == "partial_fit" else model.fit)(x, Y, **weight)
    np.testing.assert_array_equal(weights_of(model), weights)
    np.testing.assert_array_equal(model.predict(X), predicted)
    assert (model.loss_curve_, model.n_iter_, model.t_, model.loss_) == state
    model.set_params(**settings, learning_rate_init=0.001).partial_fit(X, Y)
    assert model.t_ == state[2] + len(X)
