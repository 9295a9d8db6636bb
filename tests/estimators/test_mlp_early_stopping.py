"""Early stopping: rows held out, a score of them after each epoch, and the weights of the best epoch in the end."""

import warnings

import numpy as np
import pytest
from estimators.perceptrons import (
    MLPClassifier,
    MLPRegressor,
    both,
    digits,
    diverging,
    iris,
    unconverged,
    weights_and_counts,
    weights_of,
)
from sklearn.datasets import make_classification, make_multilabel_classification, make_regression

X, Y = digits(2, rows=100)


@both
def test_what_early_stopping_leaves(estimator):
    model = estimator(tol=0.2, max_iter=3000, solver="sgd", early_stopping=True, random_state=0).fit(X, Y)
    assert model.n_iter_ < 3000
    assert model.best_loss_ is None
    assert isinstance(model.validation_scores_, list)
    assert len(model.validation_scores_) == len(model.loss_curve_) == model.n_iter_
    assert model.best_validation_score_ == max(model.validation_scores_)
    # What ended it: 11 epochs none of which was better than the best one before by `tol`.
    assert max(model.validation_scores_[-11:]) < model.best_validation_score_ + 0.2
    assert model.t_ == model.n_iter_ * 90  # only rows that train are counted


@both
@unconverged
def test_the_weights_are_those_of_the_best_epoch(estimator):
    settings = {"early_stopping": True, "shuffle": False, "random_state": 4, "learning_rate_init": 0.05}
    model = estimator(hidden_layer_sizes=6, **settings).fit(*iris())
    best = int(np.argmax(model.validation_scores_)) + 1
    assert best < model.n_iter_
    same = estimator(hidden_layer_sizes=6, max_iter=best, **settings).fit(*iris())
    np.testing.assert_array_equal(weights_of(model), weights_of(same))


@both
@unconverged
def test_the_held_out_rows_follow_validation_fraction_and_random_state(estimator):
    def scores(**settings):
        return estimator(early_stopping=True, max_iter=5, **settings).fit(*iris()).validation_scores_

    assert scores(random_state=0) == scores(random_state=0)
    assert scores(random_state=0) != scores(random_state=1)
    assert scores(random_state=0) != scores(random_state=0, validation_fraction=0.5)


def test_the_classes_are_held_out_in_proportion():
    with pytest.raises(ValueError, match="The least populated class"):
        MLPClassifier(early_stopping=True).fit([[1, 2], [2, 3], [3, 4], [4, 5]], [0, 0, 0, 1])


def test_one_held_out_row_is_too_few():
    x, y = make_regression(n_samples=2, n_features=5, random_state=0)
    with pytest.raises(ValueError, match=r"The validation set is too small. Increase 'validation_fraction'"):
        MLPRegressor(early_stopping=True, random_state=0).fit(x, y)


def test_classes_with_names_are_scored():
    x, y = make_classification(200, 10, n_classes=3, n_informative=5, random_state=42)
    model = MLPClassifier(early_stopping=True, max_iter=50, random_state=42)
    model.fit(x, np.array(["low", "middle", "high"], dtype=object)[y])
    assert len(model.validation_scores_) == model.n_iter_
    assert np.isfinite(model.validation_scores_).all()
    assert model.best_validation_score_ > 0.5


def test_several_labels_are_not_held_out_in_proportion():
    x, y = make_multilabel_classification(n_samples=50, random_state=0)
    model = MLPClassifier(early_stopping=True, random_state=0).fit(x, y)
    assert model.predict(x).shape == y.shape
    # The share of rows all of whose labels are right, of five rows.
    np.testing.assert_allclose(np.asarray(model.validation_scores_) * 5 % 1, 0, atol=1e-9)


def test_names_of_columns_are_kept_while_scoring():
    pandas = pytest.importorskip("pandas")
    x = pandas.DataFrame(np.random.default_rng(0).normal(size=(10, 2)), columns=["length", "width"])
    y = pandas.Series(np.tile([0, 1], 5), name="kind")
    for estimator in (MLPClassifier, MLPRegressor):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # "X does not have valid feature names"
            model = estimator(early_stopping=True, validation_fraction=0.2, random_state=0, tol=0.1).fit(x, y)
        assert list(model.feature_names_in_) == ["length", "width"]


@diverging
@unconverged
def test_a_score_that_is_no_number_is_nan_and_ends_nothing():
    """A training that diverges is scored NaN, and leaves the last weights whose score was a number."""
    model = MLPRegressor(
        activation="identity", solver="sgd", learning_rate_init=1, max_iter=20, early_stopping=True, random_state=0
    )
    x, y = iris()
    model.fit(x * 2, y)
    assert isinstance(model.validation_scores_[-1], float)
    assert np.isnan(model.validation_scores_[-1])
    assert np.isfinite(weights_of(model)).all()


@both
@unconverged
def test_a_warm_start_goes_on_with_its_scores(estimator):
    model = estimator(max_iter=10, random_state=0, warm_start=True, early_stopping=True).fit(*iris())
    scores = model.validation_scores_[:]
    model.set_params(max_iter=20).fit(*iris())
    assert model.validation_scores_[: len(scores)] == scores
    assert len(model.validation_scores_) == len(scores) + model.n_iter_


@weights_and_counts
@both
def test_weights_of_one_weigh_nothing(estimator):
    x, y = iris()
    settings = {"early_stopping": True, "tol": 1e-2, "learning_rate_init": 0.01, "batch_size": 10, "random_state": 42}
    plain, weighted = (estimator(hidden_layer_sizes=10, **settings) for _ in range(2))
    plain.fit(x, y)
    weighted.fit(x, y, sample_weight=np.ones(len(y)))
    np.testing.assert_allclose(weighted.predict(x), plain.predict(x))
    np.testing.assert_allclose(weighted.validation_scores_, plain.validation_scores_)


@weights_and_counts
@both
@unconverged
def test_held_out_rows_are_scored_with_their_weights(estimator):
    """Rows with wrong targets weigh next to nothing: neither what is learned nor the score knows of them."""
    x, y = iris()
    wrong = np.random.default_rng(0).permutation(len(y))[:60]
    weight = np.ones(len(y))
    weight[wrong] = 1e-9
    y = y.copy()
    y[wrong] = (y[wrong] + 1) % 3
    model = estimator(early_stopping=True, random_state=0, max_iter=100, learning_rate_init=0.01)
    assert model.fit(x, y, sample_weight=weight).best_validation_score_ > 0.85


@both
def test_lbfgs_holds_nothing_out(estimator):
    x, y = iris()
    settings = {"solver": "lbfgs", "random_state": 0, "hidden_layer_sizes": 5, "max_iter": 2000, "tol": 1e-2}
    one = estimator(early_stopping=True, **settings).fit(x, y)
    np.testing.assert_array_equal(weights_of(one), weights_of(estimator(**settings).fit(x, y)))
