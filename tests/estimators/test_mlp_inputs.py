"""What the perceptrons read, and what they refuse."""

import numpy as np
import pytest
import scipy.sparse
from estimators.perceptrons import (
    MLPClassifier,
    MLPRegressor,
    both,
    digits,
    diverging,
    iris,
    ours,
    unconverged,
    weights_of,
)
from sklearn.exceptions import NotFittedError

X, Y = digits(2, rows=50)
CONTAINERS = [
    getattr(scipy.sparse, f"{kind}_{container}") for kind in ("csr", "csc", "coo") for container in ("matrix", "array")
]


@both
@unconverged
@pytest.mark.parametrize("container", CONTAINERS, ids=lambda container: container.__name__)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_sparse_rows_are_the_rows(estimator, container, solver):
    settings = {"hidden_layer_sizes": 15, "solver": solver, "random_state": 1, "max_iter": 20}
    dense, sparse = estimator(**settings).fit(X, Y), estimator(**settings).fit(container(X), Y)
    for name in {"predict", "predict_proba"} & set(dir(dense)):
        expected = getattr(dense, name)(X)
        for model, rows in ((dense, container(X)), (sparse, X), (sparse, container(X))):
            np.testing.assert_allclose(getattr(model, name)(rows), expected, rtol=1e-5, atol=1e-6)


@both
@pytest.mark.parametrize("early_stopping", [False, True])
def test_sparse_rows_are_held_out_and_given_in_parts(estimator, early_stopping):
    settings = {"hidden_layer_sizes": 5, "random_state": 1, "tol": 0.1}
    rows = scipy.sparse.csr_array(X)
    model = estimator(early_stopping=early_stopping, **settings).fit(rows, Y)
    dense = estimator(early_stopping=early_stopping, **settings).fit(X, Y)
    np.testing.assert_allclose(weights_of(model), weights_of(dense), rtol=1e-6, atol=1e-9)
    if not early_stopping:
        model.partial_fit(rows, Y)
        np.testing.assert_allclose(weights_of(model), weights_of(dense.partial_fit(X, Y)), rtol=1e-6, atol=1e-9)


@both
@pytest.mark.parametrize("hidden", [5, (5,), [5], np.array([5]), np.int64(5)], ids=repr)
@unconverged
def test_hidden_layers_may_be_given_in_any_form(estimator, hidden):
    model = estimator(hidden_layer_sizes=hidden, max_iter=1).fit(X, Y)
    assert [kernel.shape for kernel in model.coefs_] == [(64, 5), (5, 1)]


@both
@unconverged
def test_no_hidden_layer_is_a_linear_model(estimator):
    model = estimator(hidden_layer_sizes=(), max_iter=1).fit(X, Y)
    assert [kernel.shape for kernel in model.coefs_] == [(64, 1)]
    assert model.n_layers_ == 2


@both
@pytest.mark.parametrize("hidden", [(3, 0), [-1, 2], 0, -4, 2.5, "many"], ids=repr)
def test_hidden_layers_that_cannot_be(estimator, hidden):
    with pytest.raises((ValueError, TypeError), match="hidden_layer_sizes"):
        estimator(hidden_layer_sizes=hidden).fit(X, Y)


@both
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("activation", "ghost"), ("solver", "ghost"), ("alpha", -1), ("batch_size", 0), ("batch_size", "many"),
        ("learning_rate", "ghost"), ("learning_rate_init", -1), ("learning_rate_init", 0.0), ("power_t", -1),
        ("max_iter", 0), ("max_iter", 1.5), ("shuffle", "yes"), ("random_state", "seed"), ("tol", -1), ("verbose", -1),
        ("warm_start", "yes"), ("momentum", -0.1), ("momentum", 1.1), ("nesterovs_momentum", "yes"),
        ("early_stopping", "yes"), ("validation_fraction", -0.1), ("validation_fraction", 1.0), ("beta_1", 1.0),
        ("beta_1", -0.1), ("beta_2", 1.0), ("beta_2", -0.1), ("epsilon", 0.0), ("n_iter_no_change", 0),
        ("n_iter_no_change", 2.5), ("max_fun", 0),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_named_when_fitting(estimator, name, value):
    model = estimator(**{name: value})
    with pytest.raises((ValueError, TypeError), match=name):
        model.fit(X, Y)
    assert not hasattr(model, "coefs_")


def test_a_loss_that_is_not_known():
    for loss in ("ghost", 3):
        with pytest.raises((ValueError, TypeError), match="loss"):
            MLPRegressor(loss=loss).fit(X, Y)


@both
def test_a_batch_larger_than_the_rows_is_warned_of(estimator):
    settings = {"hidden_layer_sizes": 4, "random_state": 0, "tol": 0.5, "shuffle": False}
    with pytest.warns(UserWarning, match="larger than sample size. It is going to be clipped"):
        model = estimator(batch_size=51, **settings).fit(X, Y)
    np.testing.assert_array_equal(weights_of(model), weights_of(estimator(batch_size=50, **settings).fit(X, Y)))


@both
@unconverged
def test_auto_is_a_batch_of_at_most_two_hundred_rows(estimator):
    x, y = np.tile(X, (5, 1)), np.tile(Y, 5)
    settings = {"hidden_layer_sizes": 4, "random_state": 0, "max_iter": 2, "shuffle": False}
    for rows, size in ((150, 150), (250, 200)):
        auto, same = (estimator(batch_size=b, **settings).fit(x[:rows], y[:rows]) for b in ("auto", size))
        np.testing.assert_array_equal(weights_of(auto), weights_of(same))


@unconverged
@diverging
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_weights_that_end_as_no_numbers_are_an_error(solver):
    generator = np.random.default_rng(0)
    x = np.finfo(float).max * generator.uniform(size=(10, 2))
    words = (
        r"Solver produced (non-finite parameter weights|a loss that is not finite). "
        r"The input data may contain large values and need to be preprocessed."
    )
    with pytest.raises(ValueError, match=words):
        MLPRegressor(solver=solver).fit(x, generator.normal(size=10))


@both
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(estimator, value):
    x = X.copy()
    x[3, 2] = value
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        estimator().fit(x, Y)
    y = Y.astype(float)
    y[3] = value
    with pytest.raises(ValueError, match=r"Input y contains (NaN|infinity)"):
        MLPRegressor().fit(X, y)


@both
def test_nothing_is_predicted_before_a_fit(estimator):
    with pytest.raises(NotFittedError, match=f"This {estimator.__name__} instance is not fitted yet"):
        estimator().predict(X)
    for name in ("coefs_", "intercepts_", "n_iter_", "loss_curve_", "classes_"):
        assert not hasattr(estimator(), name)


@both
@unconverged
def test_other_columns_than_in_fit_are_refused(estimator):
    model = estimator(hidden_layer_sizes=3, max_iter=1, warm_start=True).fit(X, Y)
    words = f"X has 63 features, but {estimator.__name__} is expecting 64 features as input"
    for call in (model.predict, lambda x: model.partial_fit(x, Y), lambda x: model.fit(x, Y)):
        with pytest.raises(ValueError, match=words):
            call(X[:, :63])


def test_numbers_are_no_classes():
    with pytest.raises(ValueError, match="Unknown label type"):
        MLPClassifier().fit(X, np.linspace(0, 1, 50))


@both
@unconverged
def test_a_fit_leaves_what_it_is_given_as_it_was(estimator):
    x, y = iris()
    kept, settings = x.copy(), estimator(max_iter=2, hidden_layer_sizes=[3])
    before = settings.get_params()
    settings.fit(x, y)
    np.testing.assert_array_equal(x, kept)
    assert settings.get_params() == before


@ours
@unconverged
def test_counts_below_zero_are_warned_of():
    """scikit-learn asks for y >= 0 too; without it its loss is NaN, though it trains."""
    model = MLPRegressor(loss="poisson", max_iter=2, random_state=0)
    for call in (model.fit, model.partial_fit):
        with pytest.warns(UserWarning, match="the Poisson loss is for y of at least 0, got -1"):
            call(X, Y - 1)
    assert np.isfinite(model.loss_curve_).all()
