"""What the estimators have beside scikit-learn's: class weights, losses, layers, optimizers, callbacks, targets."""

import copy
import io
import pickle

import joblib
import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import load_iris
from sklearn.preprocessing import scale

import fastnn
from fastnn import callbacks, losses, optimizers
from fastnn.sklearn import MLPClassifier, MLPRegressor, SequentialClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, SPECIES = load_iris(return_X_y=True)
X = scale(X)
NAMES = np.array(["setosa", "versicolor", "virginica"])[SPECIES]
TWO = np.where(SPECIES == 2, "virginica", "other")
LABELS = np.stack([SPECIES == 0, X[:, 0] > 0], axis=1).astype(int)
SEVERAL = np.stack([NAMES, TWO], axis=1)
NUMBERS = X @ [1.0, -2.0, 0.5, 0.0] + 3
SHORT = {"hidden_layer_sizes": (16,), "learning_rate_init": 0.02, "max_iter": 40, "random_state": 0}


def classifier(**settings):
    return MLPClassifier(**SHORT | settings)


def regressor(**settings):
    return MLPRegressor(**SHORT | settings)


def assert_same_weights(one, other):
    for mine, theirs in zip(one.model_.get_weights(), other.model_.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


# ---- weights of classes ----


@pytest.mark.parametrize(
    ("class_weight", "y", "weights"),
    [
        ({"other": 1, "virginica": 3}, TWO, np.where(TWO == "other", 1.0, 3.0)),
        ({0: 1.0, 1: 2.0, 2: 4.0}, SPECIES, 2.0**SPECIES),
        ("balanced", TWO, np.where(TWO == "other", 0.75, 1.5)),
        ([dict.fromkeys(np.unique(NAMES), 1), {"other": 1, "virginica": 3}], SEVERAL, 1.0 + 2 * (TWO != "other")),
        (["balanced", "balanced"], SEVERAL, np.where(TWO == "other", 0.75, 1.5)),
    ],
    ids=["text", "integers", "balanced", "list of dicts", "list of balanced"],
)
def test_the_weight_of_a_class_is_that_of_its_rows(class_weight, y, weights):
    by_class = classifier(class_weight=class_weight, max_iter=5).fit(X, y)
    assert_same_weights(by_class, classifier(max_iter=5).fit(X, y, sample_weight=weights))


def test_weights_of_classes_and_of_rows_are_multiplied():
    rows = np.random.default_rng(0).uniform(0.5, 2, len(X))
    both = classifier(class_weight={0: 1, 1: 2, 2: 3}, max_iter=5).fit(X, SPECIES, rows)
    assert_same_weights(both, classifier(max_iter=5).fit(X, SPECIES, rows * (SPECIES + 1)))


def test_balanced_classes_have_the_same_sum_of_weights():
    rows = np.where(TWO == "other", 1.0, 5.0)
    balanced = classifier(class_weight="balanced", max_iter=5, alpha=0).fit(X, TWO, rows)
    by_hand = classifier(max_iter=5, alpha=0).fit(X, TWO, np.where(TWO == "other", 1 / 100, 1 / 50))
    for mine, theirs in zip(balanced.coefs_, by_hand.coefs_, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10)


def test_a_list_of_class_weights_has_one_for_each_target():
    with pytest.raises(ValueError, match="class_weight must have one for each of 2 columns of y, got 1"):
        classifier(class_weight=["balanced"]).fit(X, SEVERAL)


# ---- losses ----

CLASS_LOSSES = [
    *("binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy"),
    *("binary_focal_crossentropy", "categorical_focal_crossentropy", "hinge", "squared_hinge", "categorical_hinge"),
    *("mse", "mae", "huber", "log_cosh", "kl_divergence", "cosine_similarity", "poisson"),
    losses.BinaryCrossentropy(from_logits=True),
    losses.BinaryCrossentropy(label_smoothing=0.1),
    losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
    losses.SparseCategoricalCrossentropy(from_logits=True),
    losses.BinaryFocalCrossentropy(from_logits=True, gamma=1.0),
    losses.CategoricalFocalCrossentropy(from_logits=True),
]


@pytest.mark.parametrize("y", [TWO, NAMES], ids=["two", "three"])
@pytest.mark.parametrize("loss", CLASS_LOSSES, ids=str)
def test_any_loss_of_classes_tells_them_apart(loss, y):
    estimator = classifier(loss=loss).fit(X, y)
    assert estimator.score(X, y) > 0.85
    if "hinge" in str(loss):
        return
    probabilities, logarithms = estimator.predict_proba(X), estimator.predict_log_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    assert probabilities.min() >= 0
    np.testing.assert_array_equal(estimator.classes_[probabilities.argmax(axis=1)], estimator.predict(X))
    np.testing.assert_allclose(np.exp(logarithms), probabilities, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("y", [TWO, NAMES, LABELS], ids=["two", "three", "labels"])
def test_logarithms_of_logits_are_finite_where_probabilities_round_to_none(y):
    loss = losses.BinaryCrossentropy(from_logits=True)
    estimator = classifier(loss=loss, hidden_layer_sizes=(), max_iter=5).fit(X, y)
    assert np.isfinite(estimator.predict_log_proba(1e5 * X)).all()


HINGES = ["hinge", "squared_hinge", "categorical_hinge"]


@pytest.mark.parametrize("loss", HINGES)
def test_a_margin_decides_at_zero(loss):
    estimator = classifier(loss=loss).fit(X, TWO)
    outputs = estimator.model_.predict(X, verbose=0)
    margins = estimator.decision_function(X)
    np.testing.assert_array_equal(margins, outputs[:, 0] if loss != HINGES[2] else outputs[:, 1] - outputs[:, 0])
    np.testing.assert_array_equal(estimator.predict(X) == "virginica", margins > 0)
    assert ((margins > 0) & (margins < 0.5)).any()
    assert estimator.out_activation_ == "identity"


@pytest.mark.parametrize("loss", HINGES)
def test_of_several_classes_the_one_of_the_greatest_margin_is_predicted(loss):
    estimator = classifier(loss=loss).fit(X, NAMES)
    margins = estimator.decision_function(X)
    assert margins.shape == (150, 3)
    np.testing.assert_array_equal(estimator.classes_[margins.argmax(axis=1)], estimator.predict(X))


def test_margins_of_several_targets_and_of_labels():
    several = classifier(loss="hinge").fit(X, np.column_stack([NAMES, TWO]))
    assert [margins.shape for margins in several.decision_function(X)] == [(150, 3), (150,)]
    labels = classifier(loss="hinge").fit(X, LABELS)
    np.testing.assert_array_equal(labels.decision_function(X) > 0, labels.predict(X) == 1)


@pytest.mark.parametrize("fitted", [False, True])
def test_a_loss_has_either_margins_or_probabilities(fitted):
    methods = ["decision_function", "predict_proba"]
    for loss, (there, absent) in {"hinge": methods, None: methods[::-1]}.items():
        estimator = classifier(loss=loss, max_iter=2)
        if fitted:
            estimator.fit(X, TWO)
        assert hasattr(estimator, there)
        with pytest.raises(AttributeError, match=f"has no attribute '{absent}'") as raised:
            getattr(estimator, absent)
        assert f"use {there}" in str(raised.value.__cause__)


@pytest.mark.parametrize("loss", ["gaussian_nll", losses.Quantile((0.1, 0.9))], ids=str)
def test_a_loss_of_numbers_is_none_of_classes(loss):
    with pytest.raises(ValueError, match=r"loss must be one for classes, got .*, which is for numbers"):
        classifier(loss=loss).fit(X, TWO)


@pytest.mark.parametrize("loss", ["categorical_crossentropy", "sparse_categorical_crossentropy", "categorical_hinge"])
def test_labels_of_which_any_may_hold_have_no_loss_over_classes(loss):
    with pytest.raises(ValueError, match=f"loss='{loss}' needs y with one class a row, got 2 columns of 0 and 1"):
        classifier(loss=loss).fit(X, LABELS)


@pytest.mark.parametrize("loss", ["mae", "huber", "log_cosh", losses.Huber(0.5), "mean_squared_error"], ids=str)
def test_any_loss_of_numbers_follows_them(loss):
    assert regressor(loss=loss, max_iter=150, tol=0.0).fit(X, NUMBERS).score(X, NUMBERS) > 0.9


@pytest.mark.parametrize("targets", [1, 2])
def test_quantiles_do_not_cross_and_hold_their_share(targets):
    y = NUMBERS + np.random.default_rng(0).normal(size=len(X))
    y = y if targets == 1 else np.stack([y, -y], axis=1)
    estimator = regressor(loss="quantile", quantiles=(0.9, 0.2, 0.5), max_iter=150, tol=0.0).fit(X, y)
    quantiles = estimator.predict_quantiles(X)
    assert quantiles.shape == (len(X), 3) if targets == 1 else (len(X), 2, 3)
    assert (quantiles[..., 1] <= quantiles[..., 2]).all()
    assert (quantiles[..., 2] <= quantiles[..., 0]).all()
    assert estimator.predict(X).shape == y.shape
    shares = (y[..., None] <= quantiles).mean(axis=0)
    np.testing.assert_allclose(shares, np.broadcast_to([0.9, 0.2, 0.5], shares.shape), atol=0.12)


def test_methods_of_other_losses_say_which_loss_they_need():
    with pytest.raises(AttributeError) as raised:
        regressor().predict_quantiles  # noqa: B018
    assert "predict_quantiles needs loss='quantile', got loss='squared_error'" in str(raised.value.__cause__)
    with pytest.raises(ValueError, match="return_std needs loss='gaussian_nll', got loss='squared_error'"):
        regressor(max_iter=1).fit(X, NUMBERS).predict(X, return_std=True)


@pytest.mark.parametrize("targets", [1, 2])
def test_the_spread_of_numbers_is_learned(targets):
    random = np.random.default_rng(0)
    x = random.uniform(-1, 1, (600, 1))
    deviation = np.where(x[:, 0] > 0, 1.0, 0.1)
    y = 2 * x[:, 0] + deviation * random.normal(size=600)
    y = y if targets == 1 else np.stack([y, -y], axis=1)
    estimator = regressor(loss="gaussian_nll", max_iter=150, tol=0.0).fit(x, y)
    mean, deviations = estimator.predict([[-0.5], [0.5]], return_std=True)
    assert mean.shape == deviations.shape == ((2,) if targets == 1 else (2, 2))
    assert deviations[0].max() < 0.3  # it is 0.1, and then 1
    assert abs(deviations[1] - 1).max() < 0.2


def test_several_counts_have_a_rate_each():
    counts = np.random.default_rng(0).poisson(np.exp(X[:, :2])).astype(float)
    estimator = regressor(loss="poisson", hidden_layer_sizes=()).fit(X, counts)
    assert estimator.predict(X).shape == counts.shape
    assert estimator.predict(X).min() > 0
    assert estimator.out_activation_ == "exp"


# ---- layers ----


def kinds(estimator):
    return [type(layer).__name__ for layer in estimator.model_.layers[1:]]


def test_normalization_dropout_and_activations_are_layers():
    estimator = classifier(
        hidden_layer_sizes=(8, 4), normalization="batch", dropout=[0.2, 0.0], activation=["tanh", "relu"]
    )
    estimator.set_params(max_iter=2).fit(X, NAMES)
    hidden = ["Dense", "BatchNormalization", "Activation"]
    assert kinds(estimator) == [*hidden, "Dropout", *hidden, "Dense"]
    assert [layer.activation.name for layer in estimator.model_.layers if hasattr(layer, "activation")] == [
        *("linear", "tanh", "linear", "relu"),
        "softmax",
    ]
    assert kinds(classifier(normalization="layer", max_iter=2).fit(X, NAMES))[1] == "LayerNormalization"
    assert kinds(classifier(dropout=0.5, hidden_layer_sizes=(4, 4), max_iter=2).fit(X, NAMES)).count("Dropout") == 2


@pytest.mark.parametrize("name", ["activation", "dropout"])
def test_a_list_has_a_value_for_each_hidden_layer(name):
    with pytest.raises(ValueError, match=f"{name} must have a value for each of 2 hidden layers, got 1"):
        classifier(hidden_layer_sizes=(4, 4), **{name: ["relu"] if name == "activation" else [0.1]}).fit(X, NAMES)


def test_initializers_draw_from_random_state():
    settings = {"kernel_initializer": "he_normal", "bias_initializer": "ones", "max_iter": 1}
    fits = [classifier(random_state=seed, **settings).fit(X, NAMES) for seed in (0, 0, 1)]
    assert_same_weights(fits[0], fits[1])
    assert not np.array_equal(fits[0].coefs_[0], fits[2].coefs_[0])
    assert abs(fits[0].intercepts_[0] - 1).max() < 0.05


def test_the_last_activation_may_be_chosen():
    estimator = regressor(output_activation="softplus", max_iter=2).fit(X, NUMBERS)
    assert estimator.out_activation_ == "softplus"
    assert estimator.predict(10 * X).min() >= 0


# ---- optimizers ----


@pytest.mark.parametrize(
    "settings",
    [
        {"solver": "adamw"},
        {"solver": "adamax", "learning_rate_init": 0.05},
        {"solver": optimizers.RMSprop(0.01)},
        {"solver": optimizers.LBFGS()},
        {"learning_rate_init": optimizers.schedules.ExponentialDecay(0.05, 20, 0.9)},
        {"solver": "nadam", "learning_rate_init": optimizers.schedules.CosineDecay(0.05, 100)},
    ],
    ids=str,
)
def test_any_optimizer_trains(settings):
    estimator = classifier(**settings)
    before = repr(estimator)
    assert estimator.fit(X, NAMES).score(X, NAMES) > 0.9
    assert repr(estimator) == before
    if not isinstance(estimator.solver, str):
        assert estimator.model_.optimizer is not estimator.solver


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"solver": "adamm"}, r"solver must be .*'adamm'.*[Aa]dam"),
        ({"activation": "rellu"}, r"activation.*'rellu'.*relu"),
        ({"loss": "binary_crossentropi"}, r"loss.*'binary_crossentropi'.*[Bb]inary"),
        ({"normalization": "batches"}, r"'normalization' parameter .* must be a str among .*'batch'.* Got 'batches'"),
        ({"kernel_initializer": "he_norml"}, r"initializer.*'he_norml'.*[Hh]e_?[Nn]ormal"),
        ({"output_activation": "sigmod"}, r"activation.*'sigmod'.*sigmoid"),
        ({"callbacks": 3}, r"'callbacks' parameter .* must be .* Got 3"),
        ({"dropout": [1.5]}, r"rate must be .* got 1.5"),
        ({"num_threads": 0}, r"'num_threads' parameter .* Got 0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_unknown_name_is_told_with_the_nearest_known_one(settings, message):
    estimator = classifier(**settings)
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, NAMES)
    assert not hasattr(estimator, "model_")


# ---- callbacks ----


class Recorder(callbacks.Callback):
    def __init__(self):
        self.epochs = []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(logs["loss"])


def test_callbacks_are_copied_and_called():
    given = Recorder()
    estimator = classifier(callbacks=[given], max_iter=3).fit(X, NAMES)
    assert given.epochs == []
    assert not hasattr(given, "model")
    assert len(estimator.callbacks_[0].epochs) == 3
    assert classifier(callbacks=given, max_iter=2).fit(X, NAMES).callbacks_[0].epochs  # one without a list


@pytest.mark.parametrize("make", [classifier, regressor])
@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}, {"solver": "lbfgs"}], ids=str)
def test_callbacks_see_the_loss_of_validation_rows(make, settings):
    y, settings = NAMES if make is classifier else NUMBERS, {"max_iter": 4} | settings
    rows = {"X_val": X[::3], "y_val": y[::3], "sample_weight_val": np.arange(50.0)}
    estimator = make(callbacks=callbacks.History(), **settings).fit(X, y, **rows)
    history = estimator.callbacks_[0].history
    assert len(history["val_loss"]) == estimator.n_iter_
    assert_same_weights(estimator, make(**settings).fit(X, y, **rows))
    stopped = make(callbacks=callbacks.EarlyStopping("val_loss", min_delta=1e6), **settings).fit(X, y, **rows)
    assert stopped.n_iter_ == 2


def test_callbacks_see_the_loss_of_rows_that_are_held_back():
    estimator = classifier(callbacks=callbacks.History(), early_stopping=True, max_iter=4).fit(X, NAMES)
    assert len(estimator.callbacks_[0].history["val_loss"]) == 4
    assert_same_weights(estimator, classifier(early_stopping=True, max_iter=4).fit(X, NAMES))


def test_a_schedule_may_be_the_rate_of_dropout():
    schedule = optimizers.schedules.FlatCosine(0.5)
    estimator = classifier(dropout=schedule, max_iter=6).fit(X, NAMES)
    constant = classifier(dropout=0.5, max_iter=6).fit(X, NAMES)
    assert estimator.loss_curve_[:2] == constant.loss_curve_[:2]
    assert estimator.loss_curve_ != constant.loss_curve_


def test_callbacks_end_training_and_change_the_rate(tmp_path):
    log = tmp_path / "log.csv"
    halved = callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    stop = callbacks.EarlyStopping("loss", min_delta=1e6, patience=2)
    estimator = classifier(callbacks=[halved, stop, callbacks.CSVLogger(log)]).fit(X, NAMES)
    assert estimator.n_iter_ == 3
    assert estimator.model_.optimizer.learning_rate == pytest.approx(0.02 / 2**3)
    assert len(log.read_text().splitlines()) == 1 + estimator.n_iter_


def test_a_pickle_has_no_callbacks_of_a_training():
    estimator = pickle.loads(pickle.dumps(classifier(callbacks=[callbacks.TerminateOnNaN()], max_iter=2).fit(X, NAMES)))
    assert not hasattr(estimator, "callbacks_")
    assert estimator.callbacks[0].__class__ is callbacks.TerminateOnNaN


# ---- targets ----


def test_several_targets_of_several_classes_have_a_head_each():
    estimator = classifier().fit(X, SEVERAL)
    assert [list(classes) for classes in estimator.classes_] == [list(np.unique(NAMES)), ["other", "virginica"]]
    probabilities = estimator.predict_proba(X)
    assert [each.shape for each in probabilities] == [(150, 3), (150, 2)]
    for each, logarithms in zip(probabilities, estimator.predict_log_proba(X), strict=True):
        np.testing.assert_allclose(each.sum(axis=1), 1)
        np.testing.assert_allclose(np.exp(logarithms), each)
    answers = estimator.predict(X)
    assert answers.shape == SEVERAL.shape
    assert answers.dtype.kind == "U"
    assert estimator.score(X, SEVERAL) == (answers == SEVERAL).all(axis=1).mean() > 0.9


@pytest.mark.parametrize(
    "loss", ["categorical_crossentropy", losses.BinaryCrossentropy(from_logits=True), "hinge"], ids=str
)
def test_heads_may_have_any_loss(loss):
    assert classifier(loss=loss).fit(X, SEVERAL).score(X, SEVERAL) > 0.85


def test_several_targets_may_be_of_different_kinds():
    pandas = pytest.importorskip("pandas")
    y = pandas.DataFrame({"kind": SPECIES, "name": NAMES, "wide": SPECIES > 0})
    estimator = classifier(max_iter=100).fit(X, y)
    assert [one.dtype.kind for one in estimator.classes_] == ["i", "U", "b"]
    answers = estimator.predict(X)
    assert [type(value) for value in answers[0]] == [int, str, bool]
    assert estimator.score(X, y) > 0.9
    assert [one.shape for one in estimator.predict_proba(X)] == [(150, 3), (150, 3), (150, 2)]
    copy = pickle.loads(pickle.dumps(estimator))
    assert (copy.predict(X) == answers).all()
    weighted = classifier(class_weight="balanced", warm_start=True).fit(X, y)
    assert weighted.fit(X, y).predict(X).shape == (150, 3)


def test_two_columns_of_two_numbers_are_targets_of_their_own_unless_these_are_0_and_1():
    y = np.column_stack([SPECIES > 0, SPECIES > 1])
    labels, targets = classifier(max_iter=100).fit(X, y), classifier(max_iter=100).fit(X, np.where(y, 2, 1))
    np.testing.assert_array_equal(labels.classes_, [0, 1])
    np.testing.assert_array_equal(targets.classes_, [[1, 2], [1, 2]])
    assert set(np.unique(targets.predict(X))) == {1, 2}


def test_parts_of_several_targets_are_told_the_classes_of_each():
    y = np.column_stack([SPECIES, SPECIES > 1])
    classes = [np.array([0, 1, 2]), [1, 0]]
    estimator = (
        classifier().partial_fit(X[:60], y[:60], classes=classes).partial_fit(X, y).partial_fit(X, y, None, classes)
    )
    assert [list(one) for one in estimator.classes_] == [[0, 1, 2], [0, 1]]
    for wrong in ([[0, 1, 2], [0, 1, 2]], [[0, 1, 2]], [0, 1]):
        with pytest.raises(ValueError, match="is not the same as on last call to partial_fit"):
            estimator.partial_fit(X, y, classes=wrong)
    with pytest.raises(
        ValueError, match=r"classes must be a list of the classes of each of 2 targets, got \[0, 1, 2\]"
    ):
        classifier().partial_fit(X, y, classes=[0, 1, 2])


def test_several_targets_stop_early_and_are_weighed():
    settings = {"early_stopping": True, "class_weight": ["balanced", "balanced"]}
    estimator = classifier(**settings).fit(X, SEVERAL, sample_weight=np.ones(150))
    assert len(estimator.validation_scores_) == estimator.n_iter_
    assert estimator.best_validation_score_ == max(estimator.validation_scores_)


def test_labels_of_which_any_may_hold():
    estimator = classifier(max_iter=100).fit(X, LABELS)
    assert set(np.unique(estimator.predict(X))) == {0, 1}
    assert estimator.predict_proba(X).shape == LABELS.shape
    assert estimator.score(X, LABELS) > 0.9
    sparse = classifier(max_iter=100).fit(X, scipy.sparse.csr_matrix(LABELS))
    assert_same_weights(estimator, sparse)


# ---- rows to validate on ----


@pytest.mark.parametrize("weights", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("make", [classifier, regressor])
def test_scores_of_validation_rows_are_recorded_and_decide_nothing(make, weights):
    y = NAMES if make is classifier else NUMBERS
    held = (X[::3], y[::3]) + ((np.arange(50.0),) if weights else ())
    estimator = make(max_iter=5).fit(X, y, validation_data=held)
    assert len(estimator.validation_scores_) == 5
    assert estimator.validation_scores_[-1] == pytest.approx(estimator.score(*held))
    assert estimator.best_validation_score_ is None
    assert_same_weights(estimator, make(max_iter=5).fit(X, y))


@pytest.mark.parametrize("weights", [None, np.arange(50.0)], ids=["plain", "weighted"])
@pytest.mark.parametrize("make", [classifier, regressor])
def test_validation_rows_may_be_arguments_of_their_own(make, weights):
    y = NAMES if make is classifier else NUMBERS
    apart = {"X_val": X[::3], "y_val": y[::3], "sample_weight_val": weights}
    estimator = make(max_iter=5).fit(X, y, **apart)
    together = make(max_iter=5).fit(X, y, validation_data=tuple(apart.values()))
    assert estimator.validation_scores_ == together.validation_scores_
    classes = {"classes": np.unique(y)} if make is classifier else {}
    parts = make(early_stopping=True).partial_fit(X, y, **classes, **apart).partial_fit(X, y, **apart)
    assert len(parts.validation_scores_) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"X_val": X}, "X_val and y_val must be given together, got X_val alone"),
        ({"sample_weight_val": np.ones(150)}, "X_val and y_val must be given together, got sample_weight_val alone"),
        (
            {"X_val": X, "y_val": NAMES, "validation_data": (X, NAMES)},
            "validation_data must be None where X_val is given",
        ),
    ],
)
def test_validation_rows_are_given_once_and_whole(given, message):
    with pytest.raises(ValueError, match=message):
        classifier().fit(X, NAMES, **given)


def test_validation_rows_decide_with_early_stopping():
    wrong = np.roll(np.unique(NAMES), 1)[SPECIES]
    estimator = classifier(early_stopping=True, n_iter_no_change=2).fit(X, NAMES, validation_data=(X, wrong))
    assert estimator.n_iter_ < 40
    assert estimator.best_validation_score_ == max(estimator.validation_scores_)
    assert estimator.score(X, wrong) == pytest.approx(estimator.best_validation_score_)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (X, "validation_data must be \\(X, y\\) or \\(X, y, sample_weight\\)"),
        ((X[:, :2], NAMES), "X has 2 features, but MLPClassifier is expecting 4 features"),
        ((X, np.full(150, "rose")), "classes not in `self.classes_`"),
        ((X, NAMES[:-1]), "inconsistent numbers of samples"),
        ((X, NAMES, np.ones(3)), "sample_weight"),
    ],
    ids=["no tuple", "columns", "classes", "rows", "weights"],
)
def test_validation_rows_are_checked_before_training(held, message):
    estimator = classifier()
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, NAMES, validation_data=held)
    assert not hasattr(estimator, "classes_")
    assert not hasattr(estimator, "n_features_in_")


# ---- rows, threads, copies ----


@pytest.mark.parametrize("form", ["csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "csc_array", "coo_array"])
def test_sparse_rows_give_what_dense_ones_do(form):
    rows = np.where(np.abs(X) > 0.7, X, 0)
    sparse = getattr(scipy.sparse, form)(rows)
    estimator = classifier(max_iter=5).fit(sparse, NAMES, validation_data=(sparse, NAMES))
    dense = classifier(max_iter=5).fit(rows, NAMES)
    np.testing.assert_allclose(estimator.predict_proba(sparse), dense.predict_proba(rows), rtol=1e-9)
    assert estimator.score(sparse, NAMES) == dense.score(rows, NAMES)


@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
def test_the_number_of_threads_holds_while_a_method_runs():
    seen = []
    look = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(fastnn.get_num_threads()))
    before = fastnn.get_num_threads()
    alone = classifier(num_threads=1, callbacks=[look], max_iter=2).fit(X, NAMES)
    assert seen == [1, 1]
    assert fastnn.get_num_threads() == before
    assert_same_weights(alone, classifier(num_threads=3, max_iter=2).fit(X, NAMES))


def by_joblib(estimator):
    file = io.BytesIO()
    joblib.dump(estimator, file)
    return joblib.load(io.BytesIO(file.getvalue()))


@pytest.mark.parametrize("by", [copy.deepcopy, by_joblib], ids=["deepcopy", "joblib"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: classifier(normalization="batch", dropout=0.1, solver="adamw").fit(X, SEVERAL),
        lambda: regressor(loss="quantile", activation=["gelu"]).fit(X.astype(np.float32), NUMBERS),
        lambda: regressor(loss="gaussian_nll", early_stopping=True).fit(X, NUMBERS),
        lambda: SequentialClassifier(epochs=2, loss="hinge").fit(X, NAMES),
    ],
    ids=["heads", "quantiles", "spread", "sequential"],
)
def test_a_copy_answers_with_the_same_bits(make, by):
    estimator = make()
    other = by(estimator)
    np.testing.assert_array_equal(other.predict(X), estimator.predict(X))
    assert other.model_ is not estimator.model_
    assert_same_weights(other, estimator)
    assert getattr(other, "loss_curve_", None) == getattr(estimator, "loss_curve_", None)


def test_a_warm_start_keeps_the_optimizers_state():
    settings = {"tol": 0.0, "shuffle": False, "solver": optimizers.Adam(0.01)}
    at_once = classifier(max_iter=8, **settings).fit(X, NAMES)
    in_two = classifier(max_iter=4, warm_start=True, **settings).fit(X, NAMES).fit(X, NAMES)
    assert_same_weights(at_once, in_two)
    assert in_two.t_ == 8 * len(X)
