"""The perceptrons take scikit-learn's steps: from the same random_state, the same weights and losses epoch by epoch.

That holds where rows are not shuffled, as the engine draws the order of rows in its own way, and where all batches have
as many rows and weigh as much: scikit-learn divides by the rows and the weights of each batch, fastnn by those of a
whole batch and of all rows. What is asserted over all combinations is the whole of an update: initial weights, forward,
loss, penalty, gradient, weights of rows, optimizer and learning rate.
"""

import numpy as np
import pytest
from estimators.perceptrons import (
    ACTIVATIONS,
    MLPClassifier,
    MLPRegressor,
    both,
    has_weights_and_counts,
    ours,
    unconverged,
    weights_of,
)
from sklearn import neural_network
from sklearn.linear_model import Ridge

pytestmark = unconverged
weights_and_counts = has_weights_and_counts(neural_network.MLPRegressor)

ROWS, BATCH = 60, 20
SOLVERS = {
    "sgd": {"solver": "sgd", "momentum": 0.0},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False},
    "nesterov": {"solver": "sgd", "momentum": 0.8},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.3},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.5, "n_iter_no_change": 1},
    "adam": {"solver": "adam"},
    "adam with other settings": {"solver": "adam", "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3},
    # A penalty that keeps trials of the line search from outputs that are 1 to the last bit: there scikit-learn's log
    # loss is cut off, at 36, and no longer the function of which it gives the slope.
    "lbfgs": {"solver": "lbfgs", "alpha": 5.0},
}
TARGETS = [
    *["binary", "multiclass", "multilabel", "number", "numbers"],
    *[pytest.param(target, marks=weights_and_counts) for target in ("counts", "columns of counts")],
]

STOCHASTIC = [name for name in SOLVERS if name != "lbfgs"]
# With several numbers scikit-learn's L-BFGS gets the mean of the halved squares, and the slopes of their sum.
FOR_LBFGS = [target for target in TARGETS if target != "numbers"]


def data(target):
    """ROWS rows of seven columns and a target of that kind."""
    generator = np.random.default_rng(5)
    x = generator.normal(size=(ROWS, 7))
    signal = x @ generator.normal(size=(7, 3)) + 0.1 * generator.normal(size=(ROWS, 3))
    return x, {
        "binary": (signal[:, 0] > 0.5).astype(int),
        "multiclass": signal.argmax(axis=1),
        "multilabel": (signal > 0.3).astype(int),
        "number": signal[:, 0],
        "numbers": signal,
        "counts": generator.poisson(np.exp(0.3 * signal[:, 0])),
        "columns of counts": generator.poisson(np.exp(0.3 * signal)),
    }[target]


def pair(target, **settings):
    """The perceptron for that target, and scikit-learn's, with the same settings."""
    name = "MLPClassifier" if target in ("binary", "multiclass", "multilabel") else "MLPRegressor"
    if "counts" in target:
        settings["loss"] = "poisson"
    settings = {
        "hidden_layer_sizes": (9, 5),
        "batch_size": BATCH,
        "shuffle": False,
        "learning_rate_init": 0.01,
        "alpha": 0.01,  # large enough that a penalty divided by the wrong number of rows shows
        "max_iter": 8,
        "random_state": 3,
    } | settings
    tested = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}[name]
    return tested(**settings), getattr(neural_network, name)(**settings)


def tolerances(solver):
    """How far two runs may be apart that differ in nothing but the order of their sums.

    A sum rounds to 1e-16 of its terms. 24 steps of SGD and of Adam add such differences up; Adam divides a gradient by
    its size, which for a gradient near zero, of a hidden unit that hardly any row activates, multiplies its rounding by
    up to the gradients' range, 1e5 here. L-BFGS picks directions from differences of gradients, which cancel their
    leading digits: each iteration multiplies what the one before has left.
    """
    return {"rtol": 1e-7, "atol": 1e-9} if solver == "lbfgs" else {"rtol": 1e-10, "atol": 1e-11}


def outputs(model, x):
    return model.predict_proba(x) if hasattr(model, "predict_proba") else model.predict(x)


def assert_same_training(actual, expected, x, **tolerance):
    np.testing.assert_allclose(weights_of(actual), weights_of(expected), **tolerance)
    np.testing.assert_allclose(outputs(actual, x), outputs(expected, x), **tolerance)
    np.testing.assert_allclose(actual.loss_, expected.loss_, **tolerance)
    assert (actual.n_iter_, actual.t_) == (expected.n_iter_, expected.t_)
    if expected.solver != "lbfgs":
        np.testing.assert_allclose(actual.loss_curve_, expected.loss_curve_, **tolerance)
        np.testing.assert_allclose(actual.best_loss_, expected.best_loss_, **tolerance)


def check_steps(activation, solver, target, weighted):
    x, y = data(target)
    # The sum of the weights of a batch is not its number of rows, so that they weigh against the penalty too.
    weights = np.tile(np.random.default_rng(6).uniform(0.5, 4.0, BATCH), ROWS // BATCH)
    weight = {"sample_weight": weights} if weighted else {}
    actual, expected = pair(target, activation=activation, **SOLVERS[solver])
    assert_same_training(actual.fit(x, y, **weight), expected.fit(x, y, **weight), x, **tolerances(solver))


weighted = pytest.mark.parametrize(
    "weighted", [False, pytest.param(True, marks=weights_and_counts)], ids=["plain", "weighted"]
)


@weighted
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("solver", STOCHASTIC)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_step_is_scikit_learns(activation, solver, target, weighted):
    check_steps(activation, solver, target, weighted)


@weighted
@pytest.mark.parametrize("target", FOR_LBFGS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_iteration_of_lbfgs_is_scikit_learns(activation, target, weighted):
    check_steps(activation, "lbfgs", target, weighted)


@ours
def test_lbfgs_finds_the_optimum_for_several_numbers():
    """Its value and its slopes are of one function here. Without a hidden layer that is ridge regression's."""
    x, y = data("numbers")
    model = MLPRegressor(hidden_layer_sizes=(), solver="lbfgs", alpha=3.0, tol=1e-9, random_state=0).fit(x, y)
    np.testing.assert_allclose(model.coefs_[0], Ridge(3.0).fit(x, y).coef_.T, rtol=1e-4)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("solver", STOCHASTIC)
def test_partial_fit_takes_them_one_epoch_at_a_time(solver, target):
    x, y = data(target)
    actual, expected = pair(target, activation="tanh", **SOLVERS[solver])
    classes = {"classes": np.unique(y)} if hasattr(actual, "predict_proba") and target != "multilabel" else {}
    if target == "multilabel":
        classes = {"classes": np.arange(3)}
    for _ in range(8):
        actual.partial_fit(x, y, **classes)
        assert_same_training(actual, expected.partial_fit(x, y, **classes), x, **tolerances(solver))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("solver", STOCHASTIC)
def test_early_stopping_holds_the_same_rows_out(solver, target):
    """They are train_test_split's, in its order; the scores and the weights kept are those of the best epoch."""
    x, y = data(target)
    actual, expected = pair(
        target, activation="tanh", **SOLVERS[solver], early_stopping=True, validation_fraction=BATCH / ROWS
    )
    actual.fit(x, y)
    expected.fit(x, y)
    tolerance = tolerances(solver)
    np.testing.assert_allclose(actual.validation_scores_, expected.validation_scores_, **tolerance)
    np.testing.assert_allclose(actual.best_validation_score_, expected.best_validation_score_, **tolerance)
    np.testing.assert_allclose(actual.loss_curve_, expected.loss_curve_, **tolerance)
    np.testing.assert_allclose(weights_of(actual), weights_of(expected), **tolerance)
    assert (actual.n_iter_, actual.t_, actual.best_loss_) == (expected.n_iter_, expected.t_, None)


@both
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [(), 4, (6,), [5, 4, 3], np.array([4, 2])], ids=str)
def test_random_state_draws_the_same_initial_weights(estimator, activation, hidden):
    """One step at a rate that rounds away leaves the weights that the training began with."""
    x, y = data("binary")
    settings = {
        "hidden_layer_sizes": hidden, "activation": activation, "random_state": np.random.RandomState(8), "max_iter": 1,
        "learning_rate_init": 1e-300, "solver": "sgd",
    }  # fmt: skip
    actual = estimator(**settings).fit(x, y)
    settings["random_state"] = np.random.RandomState(8)
    expected = getattr(neural_network, estimator.__name__)(**settings).fit(x, y)
    for name in ("coefs_", "intercepts_"):
        assert len(getattr(actual, name)) == len(getattr(expected, name)) == np.size(hidden) + 1
        for one, other in zip(getattr(actual, name), getattr(expected, name), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("solver", STOCHASTIC)
def test_float32_trains_as_scikit_learn_does_in_float32(solver, target):
    x, y = data(target)
    x = x.astype(np.float32)
    actual, expected = pair(target, activation="tanh", **SOLVERS[solver])
    actual.fit(x, y)
    expected.fit(x, y)
    # Float32 rounds to 6e-8 of each term; what that becomes through 24 steps is as in `tolerances`.
    np.testing.assert_allclose(outputs(actual, x), outputs(expected, x), rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(actual.loss_, expected.loss_, rtol=2e-3)
