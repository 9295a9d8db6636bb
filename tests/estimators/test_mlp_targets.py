"""Classes, labels and numbers: what each kind of target makes of the last layer, and what predictions are made of."""

import numpy as np
import pytest
from estimators.perceptrons import (
    ACTIVATIONS,
    MLPClassifier,
    MLPRegressor,
    both,
    digits,
    iris,
    numbers,
    ours,
    unconverged,
)
from sklearn.datasets import make_multilabel_classification, make_regression
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics import roc_auc_score

pytestmark = unconverged


def labels(rows=50):
    return make_multilabel_classification(n_samples=rows, random_state=0)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("classes", [2, 3])
def test_lbfgs_tells_digits_apart(activation, classes):
    x, y = digits(classes)
    model = MLPClassifier(hidden_layer_sizes=50, activation=activation, solver="lbfgs", max_iter=150, random_state=1)
    model.fit(x[:150], y[:150])
    assert model.score(x[:150], y[:150]) > 0.95
    assert model.score(x[150:], y[150:]) > 0.9
    predicted = model.predict(x[150:])
    assert (predicted.shape, predicted.dtype) == ((50,), y.dtype)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_lbfgs_follows_numbers(activation):
    x, y = numbers()
    model = MLPRegressor(
        hidden_layer_sizes=50, activation=activation, solver="lbfgs", max_iter=200, tol=1e-3, random_state=1
    )
    assert model.fit(x, y).score(x, y) > (0.8 if activation == "identity" else 0.98)  # what a line reaches, and more


@pytest.mark.parametrize(
    ("kind", "activation", "outputs"),
    [("binary", "logistic", 1), ("multiclass", "softmax", 3), ("multilabel", "logistic", 5)],
)
def test_what_classes_make_of_the_last_layer(kind, activation, outputs):
    x, y = {"binary": digits(2), "multiclass": digits(3), "multilabel": labels()}[kind]
    model = MLPClassifier(hidden_layer_sizes=(4, 3), max_iter=2, random_state=0).fit(x, y)
    assert model.out_activation_ == activation
    assert (model.n_outputs_, model.n_layers_, model.n_features_in_) == (outputs, 4, x.shape[1])
    assert [kernel.shape for kernel in model.coefs_] == [(x.shape[1], 4), (4, 3), (3, outputs)]
    assert [bias.shape for bias in model.intercepts_] == [(4,), (3,), (outputs,)]
    np.testing.assert_array_equal(model.classes_, np.arange(5) if kind == "multilabel" else np.unique(y))


@pytest.mark.parametrize("targets", [1, 4])
def test_what_numbers_make_of_the_last_layer(targets):
    x, y = numbers(targets)
    model = MLPRegressor(hidden_layer_sizes=(4, 3), max_iter=2, random_state=0).fit(x, y)
    assert (model.out_activation_, model.n_outputs_, model.n_layers_) == ("identity", targets, 4)
    assert model.predict(x).shape == y.shape


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_probabilities(kind):
    x, y = {"binary": digits(2, 50), "multiclass": digits(3, 50), "multilabel": labels()}[kind]
    model = MLPClassifier(hidden_layer_sizes=30, solver="lbfgs", random_state=0).fit(x, y)
    probabilities, logarithms = model.predict_proba(x), model.predict_log_proba(x)
    assert probabilities.shape == (50, 5 if kind == "multilabel" else len(model.classes_))
    np.testing.assert_allclose(logarithms, np.log(probabilities))
    if kind == "multilabel":
        assert np.abs(probabilities.sum(axis=1) - 1).max() > 0.5  # each label is its own question
        np.testing.assert_array_equal(model.predict(x), probabilities > 0.5)
    else:
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
        np.testing.assert_array_equal(model.predict(x), model.classes_[probabilities.argmax(axis=1)])
    np.testing.assert_array_equal(model.predict(x), y)


def test_probabilities_rank_rows():
    x, y = digits(2, rows=50)
    model = MLPClassifier(hidden_layer_sizes=5, activation="logistic", random_state=1).fit(x, y)
    assert roc_auc_score(y, model.predict_proba(x)[:, 1]) == 1


def test_probabilities_that_round_to_one_have_a_finite_loss():
    """The logistic function of 800 is 1, of which a label 0 would have an infinite loss."""
    x = np.array([[1.0], [1.0], [-1.0], [-1.0]])
    for y in ([0, 1, 0, 1], [0, 1, 2, 1], [[0, 1], [1, 0], [0, 0], [1, 1]]):
        model = MLPClassifier(hidden_layer_sizes=2, activation="identity", max_iter=1, random_state=0)
        model.fit(1e5 * x, y)
        assert np.isfinite(model.loss_)
        assert np.isfinite(model.predict_proba(1e5 * x)).all()


@pytest.mark.parametrize(
    "names",
    [
        ["no", "yes"],
        [False, True],
        [-1, 1],
        [1.0, 2.0],
        ["b", "a", "c"],
        [10, 3, 7],
        np.array(["x", "y"], dtype=object),
    ],
    ids=str,
)
def test_classes_may_be_any_values(names):
    """They are sorted in classes_, and predictions are of them."""
    x, y = digits(len(names), rows=60)
    names = np.asarray(names)
    model = MLPClassifier(hidden_layer_sizes=10, solver="lbfgs", random_state=0).fit(x, names[y])
    np.testing.assert_array_equal(model.classes_, np.sort(names))
    assert model.predict(x).dtype == model.classes_.dtype
    np.testing.assert_array_equal(model.predict(x), names[y])


def test_one_class_alone_is_always_predicted():
    model = MLPClassifier(max_iter=2, random_state=0).fit([[1.0], [2.0], [3.0]], ["only"] * 3)
    assert model.predict([[5.0], [-1.0]]).tolist() == ["only"] * 2


@both
def test_a_column_of_targets_is_a_row_of_them_and_is_warned_of(estimator):
    x, y = digits(3)
    settings = {"hidden_layer_sizes": 4, "max_iter": 3, "random_state": 0}
    with pytest.warns(DataConversionWarning, match="column-vector y was passed when a 1d array was expected"):
        column = estimator(**settings).fit(x, y[:, None])
    np.testing.assert_array_equal(column.predict(x), estimator(**settings).fit(x, y).predict(x))


def test_labels_are_learned_by_each_solver():
    x, y = labels()
    model = MLPClassifier(hidden_layer_sizes=50, activation="logistic", solver="lbfgs", alpha=1e-5, random_state=0)
    assert model.fit(x, y).score(x, y) > 0.97
    model = MLPClassifier(
        hidden_layer_sizes=50, activation="logistic", solver="sgd", alpha=1e-5, learning_rate_init=0.2, random_state=0
    )
    for _ in range(100):
        model.partial_fit(x, y, classes=[0, 1, 2, 3, 4])
    assert model.score(x, y) > 0.9


def test_several_numbers_are_followed_at_once():
    x, y = make_regression(n_samples=200, n_targets=5, random_state=11)
    model = MLPRegressor(hidden_layer_sizes=50, solver="lbfgs", max_iter=200, tol=1e-2, random_state=1)
    assert model.fit(x, y).score(x, y) > 0.9
    assert model.predict(x).shape == (200, 5)


@both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_the_type_of_x_is_that_of_the_weights_and_the_outputs(estimator, dtype, solver):
    x, y = digits(2)
    x = x.astype(dtype)
    model = estimator(hidden_layer_sizes=(5, 3), solver=solver, random_state=1, max_iter=5).fit(x[:150], y[:150])
    assert {array.dtype for array in [*model.coefs_, *model.intercepts_]} == {np.dtype(dtype)}
    assert getattr(model, "predict_proba", model.predict)(x[150:]).dtype == dtype


@ours
@both
def test_lbfgs_keeps_the_type_of_x_too(estimator):
    x, y = digits(2)
    model = estimator(hidden_layer_sizes=5, solver="lbfgs", random_state=1, tol=1e-2).fit(x.astype("float32"), y)
    assert {array.dtype for array in [*model.coefs_, *model.intercepts_]} == {np.dtype("float32")}


@both
@pytest.mark.parametrize("dtype", ["int64", "uint8", "float16", "bool"])
def test_other_types_of_x_are_float64(estimator, dtype):
    x, y = digits(2)
    model = estimator(hidden_layer_sizes=5, random_state=1, max_iter=2).fit((16 * x).astype(dtype), y)
    assert {array.dtype for array in [*model.coefs_, *model.intercepts_]} == {np.dtype("float64")}


@both
def test_float32_learns_what_float64_does(estimator):
    x, y = digits(2, rows=360)
    wide, narrow = (
        estimator(hidden_layer_sizes=(5, 3), alpha=1e-5, random_state=1, max_iter=100, tol=1e-3, shuffle=False)
        for _ in range(2)
    )
    wide.fit(x[:300], y[:300])
    narrow.fit(x[:300].astype("float32"), y[:300])
    for name in {"predict", "predict_proba"} & set(dir(wide)):
        one, other = getattr(wide, name)(x[300:]), getattr(narrow, name)(x[300:].astype("float32"))
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-3)


def test_species_of_iris_are_told_apart_by_the_defaults():
    x, y = iris()
    assert MLPClassifier(max_iter=500, random_state=0).fit(x, y).score(x, y) > 0.95
