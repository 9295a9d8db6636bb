"""A step worked out by hand, gradients by differences, and losses by their formulas."""

import numpy as np
import pytest
from estimators.perceptrons import (
    ACTIVATIONS,
    MLPClassifier,
    MLPRegressor,
    both,
    digits,
    unconverged,
    weights_and_counts,
    weights_of,
)
from scipy.special import expit, log_softmax, xlogy
from sklearn.linear_model import PoissonRegressor
from sklearn.metrics import mean_poisson_deviance

pytestmark = unconverged


def set_weights(model, kernels, biases):
    """Writes into the arrays, which are those that the model computes with."""
    for name, values in (("coefs_", kernels), ("intercepts_", biases)):
        for array, value in zip(getattr(model, name), values, strict=True):
            array[...] = value


def test_a_step_worked_out_by_hand():
    """One row, two logistic units, a logistic output; label 0, rate 0.1, alpha 0.2."""
    x, kernel, bias = np.array([[0.5, -1.0]]), np.array([[0.2, -0.4], [0.1, 0.3]]), np.array([0.1, 0.0])
    last_kernel, last_bias = np.array([[0.5], [-0.25]]), np.array([0.2])
    model = MLPClassifier(
        hidden_layer_sizes=2, activation="logistic", solver="sgd", learning_rate_init=0.1, alpha=0.2, momentum=0
    )
    model.partial_fit(x, [0], classes=[0, 1])
    set_weights(model, [kernel, last_kernel], [bias, last_bias])

    # The sums of the hidden units are 0.5 * 0.2 - 1 * 0.1 + 0.1 = 0.1 and -0.5 * 0.4 - 1 * 0.3 + 0 = -0.5.
    hidden = np.array([0.52497919, 0.37754067])  # 1 / (1 + exp(-0.1)), 1 / (1 + exp(0.5))
    # The output's sum is 0.52497919 * 0.5 - 0.37754067 * 0.25 + 0.2 = 0.36810443.
    output = 0.59100086
    np.testing.assert_allclose(model.predict_proba(x), [[1 - output, output]], rtol=1e-7)

    model.partial_fit(x, [0])
    # With the log loss and a logistic output, the gradient by the output's sum is output - label.
    below = output * last_kernel[:, 0] * hidden * (1 - hidden)
    np.testing.assert_allclose(below, [0.07369073, -0.03472185], rtol=1e-6)
    np.testing.assert_allclose(model.coefs_[1], last_kernel - 0.1 * (output * hidden[:, None] + 0.2 * last_kernel))
    np.testing.assert_allclose(model.intercepts_[1], last_bias - 0.1 * output, rtol=1e-7)
    np.testing.assert_allclose(model.coefs_[0], kernel - 0.1 * (x.T * below + 0.2 * kernel), rtol=1e-7)
    np.testing.assert_allclose(model.intercepts_[0], bias - 0.1 * below, rtol=1e-7)
    squares = (kernel**2).sum() + (last_kernel**2).sum()
    np.testing.assert_allclose(model.loss_, -np.log(1 - output) + 0.1 * squares, rtol=1e-7)


def objective(kind, x, y, alpha, activation, kernels, biases, weight):
    """scikit-learn's objective, from its formula: the weighted mean of the rows' losses, and the penalty."""
    function = {"identity": lambda z: z, "logistic": expit, "tanh": np.tanh, "relu": lambda z: np.maximum(z, 0)}
    z = function[activation](x @ kernels[0] + biases[0]) @ kernels[1] + biases[1]
    y = y.reshape(len(x), -1)
    rows = {
        "number": lambda: 0.5 * (z - y) ** 2,
        "counts": lambda: xlogy(y, y) - y * z - y + np.exp(z),
        "binary": lambda: np.logaddexp(0, z) - y * z,
        "multilabel": lambda: np.logaddexp(0, z) - y * z,
        "multiclass": lambda: -np.take_along_axis(log_softmax(z, axis=1), y, axis=1),
    }[kind]()
    penalty = 0.5 * alpha * sum((kernel**2).sum() for kernel in kernels)
    return (weight @ rows.sum(axis=1) + penalty) / weight.sum()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    "kind",
    ["number", "binary", "multilabel", "multiclass", pytest.param("counts", marks=weights_and_counts)],
)
def test_a_step_is_the_slope_of_the_objective(kind, activation):
    """A step of gradient descent over all rows, divided by the rate, against differences of the formula."""
    generator = np.random.default_rng(42)
    x, weight = generator.random((6, 4)), np.ones(6)
    y = {
        "number": generator.normal(size=6),
        "counts": np.arange(6) % 4,
        "binary": np.arange(6) % 2,
        "multiclass": np.arange(6) % 3,
        "multilabel": generator.integers(2, size=(6, 3)),
    }[kind]
    settings = {
        "hidden_layer_sizes": 5, "activation": activation, "solver": "sgd", "momentum": 0, "alpha": 0.3,
        "learning_rate_init": 1e-3, "random_state": 1,
    }  # fmt: skip
    estimator = MLPRegressor if kind in ("number", "counts") else MLPClassifier
    model = estimator(**settings, **({"loss": "poisson"} if kind == "counts" else {}))
    classes = np.arange(3 if kind == "multilabel" else np.max(y) + 1)
    model.partial_fit(x, y, **({"classes": classes} if estimator is MLPClassifier else {}))
    kernels, biases = ([array.copy() for array in arrays] for arrays in (model.coefs_, model.intercepts_))
    model.partial_fit(x, y)
    loss = objective(kind, x, y, 0.3, activation, kernels, biases, weight)
    np.testing.assert_allclose(model.loss_, loss, rtol=1e-12)
    for before, after in zip(kernels + biases, model.coefs_ + model.intercepts_, strict=True):
        slopes = np.empty_like(before)
        for at in np.ndindex(before.shape):
            kept = before[at]
            losses = []
            for change in (1e-5, -1e-5):
                before[at] = kept + change
                losses.append(objective(kind, x, y, 0.3, activation, kernels, biases, weight))
            before[at] = kept
            slopes[at] = (losses[0] - losses[1]) / 2e-5
        np.testing.assert_allclose((before - after) / 1e-3, slopes, rtol=1e-5, atol=1e-8)


@both
def test_a_larger_alpha_has_smaller_weights(estimator):
    x, y = digits(2, rows=100)
    sizes = [
        [
            np.abs(kernel).sum()
            for kernel in estimator(hidden_layer_sizes=10, alpha=alpha, random_state=1).fit(x, y).coefs_
        ]
        for alpha in (0, 1, 10)
    ]
    assert np.all(np.diff(sizes, axis=0) < 0)


@weights_and_counts
def test_the_poisson_loss_is_half_the_deviance():
    generator = np.random.default_rng(0)
    x, y, weight = generator.normal(size=(200, 3)), generator.poisson(2.0, 200), generator.uniform(0.1, 10, 200)
    assert 0 in y
    for weights in (None, weight):
        model = MLPRegressor(
            loss="poisson",
            hidden_layer_sizes=4,
            alpha=0,
            random_state=0,
            max_iter=1,
            learning_rate_init=1e-300,
            batch_size=200,
        ).fit(x, y, sample_weight=weights)
        assert model.out_activation_ == "exp"
        half = mean_poisson_deviance(y, model.predict(x), sample_weight=weights) / 2
        np.testing.assert_allclose(model.loss_, half, rtol=1e-12)


@weights_and_counts
@pytest.mark.parametrize("seed", range(3))
def test_a_poisson_perceptron_of_one_linear_unit_is_poisson_regression(seed):
    x = np.linspace(0, 1, 100)[:, None]
    y = np.random.default_rng(seed).poisson(np.exp(x[:, 0] + 1))
    expected = PoissonRegressor(alpha=0, tol=1e-7).fit(x, y).predict(x)
    settings = {"activation": "identity", "alpha": 0, "solver": "lbfgs", "tol": 1e-7, "random_state": seed}
    poisson, squared = (
        MLPRegressor(loss=loss, hidden_layer_sizes=1, **settings).fit(x, y) for loss in ("poisson", "squared_error")
    )
    np.testing.assert_allclose(poisson.predict(x), expected, rtol=1e-4)
    assert not np.allclose(squared.predict(x), expected, rtol=1e-4)  # a line is no exponential


@weights_and_counts
@both
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_a_weight_is_how_often_a_row_is_there(estimator, solver):
    """Zero weights are rows that are not there, whole ones rows given so often, against the penalty too."""
    generator = np.random.default_rng(3)
    x, times = generator.normal(size=(30, 4)), generator.integers(0, 4, 30)
    y = generator.integers(3, size=30)
    repeated = np.repeat(np.arange(30), times)
    settings = {"hidden_layer_sizes": 6, "activation": "tanh", "solver": solver, "alpha": 0.5, "random_state": 0}
    settings |= {"max_iter": 20, "batch_size": "auto", "shuffle": False}
    weighted = estimator(**settings).fit(x, y, sample_weight=times)
    there = estimator(**settings).fit(x[repeated], y[repeated])
    np.testing.assert_allclose(weights_of(weighted), weights_of(there), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(weighted.loss_, there.loss_, rtol=1e-8)


@weights_and_counts
@both
def test_weights_weigh_the_rows_against_the_penalty(estimator):
    """All weights times ten are ten times the rows: the penalty is a tenth."""
    x, y = digits(2, rows=50)
    settings = {"hidden_layer_sizes": 5, "random_state": 0, "max_iter": 5, "shuffle": False}
    one = estimator(alpha=10.0, **settings).fit(x, y, sample_weight=np.full(50, 10.0))
    other = estimator(alpha=1.0, **settings).fit(x, y)
    np.testing.assert_allclose(weights_of(one), weights_of(other), rtol=1e-9)


@weights_and_counts
@both
@pytest.mark.parametrize(
    "weight", [np.zeros(50), np.ones(49), np.ones((50, 2)), np.full(50, np.nan)], ids=lambda w: str(w[:1])
)
def test_weights_that_cannot_be(estimator, weight):
    x, y = digits(2, rows=50)
    with pytest.raises(ValueError, match=r"(?i)sample.?weight"):
        estimator().fit(x, y, sample_weight=weight)
