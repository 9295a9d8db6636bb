"""When the perceptrons' training ends, what it says of it, and what it has counted by then."""

import numpy as np
import pytest
from estimators.perceptrons import MLPClassifier, both, digits, iris, numbers, unconverged
from sklearn.exceptions import ConvergenceWarning

SOLVERS = ["sgd", "adam", "lbfgs"]
X, Y = digits(2, rows=100)
NEVER_ENOUGH = 1e9  # a tol that no epoch's improvement reaches


@both
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_training_ends_before_max_iter_once_the_loss_has_settled(estimator, solver):
    model = estimator(hidden_layer_sizes=20, solver=solver, tol=0.01, max_iter=3000, random_state=0).fit(X, Y)
    assert 12 <= model.n_iter_ < 3000
    assert len(model.loss_curve_) == model.n_iter_


@both
@pytest.mark.parametrize("early_stopping", [False, True], ids=["loss", "score"])
@pytest.mark.parametrize("patience", [1, 2, 5, 10])
def test_n_iter_no_change_epochs_may_bring_nothing(estimator, patience, early_stopping):
    """The first epoch is always better than none; then `patience` epochs are borne, and one more ends it."""
    model = estimator(
        hidden_layer_sizes=4, tol=NEVER_ENOUGH, max_iter=3000, n_iter_no_change=patience, early_stopping=early_stopping
    )
    assert model.fit(X, Y).n_iter_ == 1 + patience + 1


@both
def test_an_infinite_n_iter_no_change_never_ends_it(estimator):
    model = estimator(hidden_layer_sizes=4, tol=NEVER_ENOUGH, max_iter=60, n_iter_no_change=np.inf, solver="sgd")
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(60\) reached"):
        model.fit(X, Y)
    assert model.n_iter_ == 60


@both
def test_the_last_epoch_of_max_iter_may_be_the_one_that_ends_it(estimator):
    """Then nothing is missing, and no warning is given: warnings are errors here."""
    model = estimator(hidden_layer_sizes=4, tol=NEVER_ENOUGH, n_iter_no_change=3, max_iter=5).fit(X, Y)
    assert model.n_iter_ == 5


@both
@pytest.mark.parametrize("solver", SOLVERS)
def test_an_end_at_max_iter_is_warned_of(estimator, solver):
    model = estimator(solver=solver, max_iter=3, random_state=0, n_iter_no_change=np.inf)
    with pytest.warns(ConvergenceWarning) as warnings:
        model.fit(*iris())
    assert model.n_iter_ == 3
    assert len(warnings) == 1
    words = "failed to converge after 3 iteration" if solver == "lbfgs" else "hasn't converged yet"
    assert words in str(warnings[0].message)


@both
def test_the_warning_names_the_line_that_called_fit(estimator):
    with pytest.warns(ConvergenceWarning) as warnings:
        estimator(hidden_layer_sizes=4, max_iter=1).fit(X, Y)
    assert len(warnings) == 1


@both
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_max_fun_limits_lbfgs_whatever_max_iter_is(estimator, activation):
    model = estimator(
        hidden_layer_sizes=50, activation=activation, solver="lbfgs", max_iter=150, max_fun=10, tol=0, random_state=1
    )
    with pytest.warns(ConvergenceWarning):
        model.fit(*(digits(3) if estimator is MLPClassifier else numbers()))
    assert 1 <= model.n_iter_ <= 10


@both
def test_lbfgs_ends_where_the_gradient_is_below_tol(estimator):
    rough, fine = (
        estimator(hidden_layer_sizes=8, solver="lbfgs", tol=tol, random_state=0, max_iter=2000) for tol in (1e-1, 1e-3)
    )
    assert rough.fit(X, Y).n_iter_ < fine.fit(X, Y).n_iter_
    assert fine.loss_ < rough.loss_


@both
def test_an_adaptive_rate_is_divided_by_five_until_it_is_tiny(estimator):
    """1e-3, 2e-4, 4e-5, 8e-6, 1.6e-6, 3.2e-7: six rates of three epochs, after a first one, which counts as good."""
    model = estimator(
        hidden_layer_sizes=4, tol=NEVER_ENOUGH, max_iter=3000, n_iter_no_change=2, solver="sgd",
        learning_rate="adaptive", momentum=0, random_state=0,
    )  # fmt: skip
    assert model.fit(X, Y).n_iter_ == 1 + 6 * 3
    lowered = -np.diff(model.loss_curve_)
    # So short a way has nearly one slope: each epoch lowers the loss by as much as its rate is.
    np.testing.assert_allclose(lowered[[4, 7, 10, 13, 16]] / lowered[[1, 4, 7, 10, 13]], 1 / 5, rtol=0.2)


@both
def test_an_adaptive_rate_needs_sgd(estimator):
    """Adam has one rate, and stops at once."""
    model = estimator(
        hidden_layer_sizes=4, tol=NEVER_ENOUGH, max_iter=3000, n_iter_no_change=2, learning_rate="adaptive"
    )
    assert model.fit(X, Y).n_iter_ == 4


@both
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_what_training_has_counted(estimator, solver):
    model = estimator(hidden_layer_sizes=10, solver=solver, batch_size=30, max_iter=500, tol=1e-2, random_state=0).fit(
        X, Y
    )
    assert model.t_ == model.n_iter_ * 100  # the rows seen
    assert isinstance(model.n_iter_, int)
    assert isinstance(model.loss_curve_, list)
    assert model.loss_ == model.loss_curve_[-1]
    assert model.best_loss_ == min(model.loss_curve_)
    assert model.validation_scores_ is None
    assert model.best_validation_score_ is None


@both
def test_what_lbfgs_has_counted(estimator):
    model = estimator(hidden_layer_sizes=4, solver="lbfgs", random_state=0, max_iter=500, tol=1e-3).fit(X, Y)
    assert 1 <= model.n_iter_ < 500
    assert model.t_ == 0  # lbfgs sees all rows each time
    assert np.isfinite(model.loss_)


@both
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_the_epochs_loss_is_the_mean_over_rows_not_batches(estimator, solver):
    """Steps of next to nothing: whatever the batches, the mean loss over all rows is the same."""
    settings = {"solver": solver, "learning_rate_init": 1e-300, "max_iter": 1, "alpha": 0, "random_state": 0}
    with pytest.warns(ConvergenceWarning):
        losses = [estimator(hidden_layer_sizes=4, batch_size=size, **settings).fit(X, Y).loss_ for size in (100, 30, 1)]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-12)


@both
@unconverged
def test_the_penalty_is_divided_by_the_rows_of_a_batch(estimator):
    settings = {
        "hidden_layer_sizes": 4,
        "learning_rate_init": 1e-300,
        "max_iter": 1,
        "random_state": 0,
        "solver": "sgd",
    }
    for rows in (100, 25):
        plain, penalized = (estimator(batch_size=rows, alpha=alpha, **settings).fit(X, Y) for alpha in (0, 0.5))
        squares = sum((kernel**2).sum() for kernel in plain.coefs_)
        np.testing.assert_allclose(penalized.loss_ - plain.loss_, 0.5 * 0.5 * squares / rows, rtol=1e-9)


@unconverged
@both
@pytest.mark.parametrize("early_stopping", [False, True])
def test_verbose_prints_each_epoch_and_why_it_ended(estimator, early_stopping, capsys):
    settings = {"tol": NEVER_ENOUGH, "n_iter_no_change": 1, "early_stopping": early_stopping, "random_state": 0}
    model = estimator(hidden_layer_sizes=4, verbose=True, **settings).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    for epoch, loss in enumerate(model.loss_curve_, 1):
        assert f"Iteration {epoch}, loss = {loss:.8f}" in lines
    for score in model.validation_scores_ or []:
        assert f"Validation score: {score:.6f}" in lines
    what = "Validation score" if early_stopping else "Training loss"
    assert lines[-1].startswith(f"{what} did not improve more than tol=")
    assert lines[-1].endswith("for 1 consecutive epochs. Stopping.")
    estimator(hidden_layer_sizes=4, verbose=False, **settings).fit(X, Y)
    assert capsys.readouterr().out == ""


@unconverged
@both
def test_verbose_prints_an_epoch_of_partial_fit(estimator, capsys):
    model = estimator(hidden_layer_sizes=2, solver="sgd", max_iter=2, verbose=10, random_state=0).fit(X, Y)
    capsys.readouterr()
    model.partial_fit(X, Y)
    assert capsys.readouterr().out.startswith("Iteration 1, loss = ")


@both
def test_verbose_prints_the_rates_of_an_adaptive_one(estimator, capsys):
    model = estimator(
        hidden_layer_sizes=4,
        tol=NEVER_ENOUGH,
        n_iter_no_change=1,
        solver="sgd",
        learning_rate="adaptive",
        verbose=True,
        random_state=0,
    )
    model.fit(X, Y)
    said = capsys.readouterr().out
    assert "Setting learning rate to 0.000200" in said
    assert "Learning rate too small. Stopping." in said


@both
def test_shuffle_changes_the_training_and_random_state_settles_it(estimator):
    def kernel(**settings):
        with pytest.warns(ConvergenceWarning):
            return estimator(hidden_layer_sizes=3, max_iter=1, batch_size=1, **settings).fit(X[:20], Y[:20]).coefs_[0]

    for shuffle in (True, False):
        one, other = (kernel(shuffle=shuffle, random_state=0) for _ in range(2))
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(kernel(shuffle=True, random_state=0), kernel(shuffle=False, random_state=0))
    assert not np.array_equal(kernel(random_state=0), kernel(random_state=1))
    assert not np.array_equal(kernel(), kernel())


@both
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("line", ["Iteration 1", "Iteration 3"])
def test_ctrl_c_ends_training_and_keeps_it(estimator, line, early_stopping, monkeypatch):
    """It comes while the line of an epoch is written."""

    def write(text):
        if line in text:
            raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdout.write", write)
    model = estimator(hidden_layer_sizes=4, verbose=True, early_stopping=early_stopping, random_state=0)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model.fit(X, Y)
    assert model.n_iter_ == int(line[-1])
    assert model.predict(X).shape == Y.shape
    assert np.isfinite(model.loss_)
