"""scikit-learn's checks of estimators, with no expected failure: for every estimator, and several settings of it."""

import inspect
from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import estimator_checks_generator

import fastnn.sklearn
from fastnn import callbacks, losses, optimizers
from fastnn.sklearn import EnsembleSearchCV, MLPClassifier, MLPRegressor, SequentialClassifier, SequentialRegressor

pytestmark = [
    pytest.mark.thread_unsafe(reason="scikit-learn's checks catch the warnings of the process"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),  # some checks ask for one iteration
    pytest.mark.filterwarnings("ignore:invalid value encountered in cast"),  # scikit-learn looks at an infinite y
    pytest.mark.filterwarnings("ignore:the Poisson loss is for y of at least 0:UserWarning"),  # one asks for any y
]


SHORT = {"hidden_layer_sizes": (16,), "learning_rate_init": 0.02, "max_iter": 60}


def of(kind, **settings):
    return kind(**SHORT | settings)


def estimator_of(name):
    """Return an estimator of the package with its defaults, around a small one where it searches."""
    kind = getattr(fastnn.sklearn, name)
    if "param_grid" not in inspect.signature(kind).parameters:
        return kind()
    return kind(of(MLPRegressor, random_state=0), {"alpha": [1e-4, 1e-2]}, cv=2, error_score="raise")


# ---- settings ----

WEIGHTS_ARE_ROWS = ("check_sample_weight_equivalence_on_dense_data", "check_sample_weight_equivalence_on_sparse_data")
FITS_AGAIN = ("check_supervised_y_2d", "check_classifiers_multilabel_representation_invariance")
CALL_PARTIAL_FIT = (
    "check_fit_score_takes_y",
    "check_estimators_partial_fit_n_features",
    "check_n_features_in_after_fitting",
)


@dataclass
class Setting:
    """An estimator, the checks that cannot hold of it, by their names, and the reason."""

    estimator: BaseEstimator
    without: tuple[str, ...] = ()
    reason: str = ""


SETTINGS = [
    Setting(of(MLPClassifier, solver="sgd", learning_rate="adaptive", num_threads=1)),
    Setting(of(MLPClassifier, solver="lbfgs", alpha=0.3, hidden_layer_sizes=(4,), max_iter=30)),
    Setting(of(MLPClassifier, hidden_layer_sizes=(16, 8), activation=["tanh", "swish"], solver="adamw")),
    Setting(of(MLPClassifier, solver=optimizers.Lion(0.003), normalization="layer")),
    Setting(
        of(MLPClassifier, normalization="batch"),
        WEIGHTS_ARE_ROWS,
        "the statistics of a batch are those of its rows, whatever they weigh",
    ),
    Setting(of(MLPClassifier, dropout=0.1), WEIGHTS_ARE_ROWS, "each of several equal rows has noise of its own"),
    Setting(of(MLPClassifier, class_weight="balanced")),
    Setting(of(MLPClassifier, hidden_layer_sizes=(), learning_rate_init=0.1)),
    Setting(of(MLPClassifier, loss="hinge")),
    Setting(of(MLPClassifier, loss=losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1))),
    Setting(of(MLPClassifier, loss="mse", callbacks=[callbacks.EarlyStopping("loss", patience=30)])),
    Setting(of(MLPClassifier, warm_start=True), FITS_AGAIN, "they compare fits, of which the second goes on"),
    Setting(
        of(MLPClassifier, early_stopping=True, validation_fraction=0.5),
        (*WEIGHTS_ARE_ROWS, *CALL_PARTIAL_FIT),
        "rows are held back whatever they weigh, and partial_fit wants rows to decide with",
    ),
    Setting(
        of(
            MLPRegressor,
            solver="sgd",
            learning_rate="invscaling",
            power_t=0.3,
            learning_rate_init=0.05,
            hidden_layer_sizes=(),
        ),
        WEIGHTS_ARE_ROWS,
        "the learning rate follows the number of rows",
    ),
    Setting(of(MLPRegressor, solver="lbfgs", alpha=0.3, hidden_layer_sizes=(4,), max_iter=30)),
    Setting(of(MLPRegressor, loss="poisson", max_iter=200, tol=0.0)),
    Setting(of(MLPRegressor, loss="quantile")),
    Setting(of(MLPRegressor, loss="gaussian_nll")),
    Setting(of(MLPRegressor, loss=losses.Huber(2.0), num_threads=1)),
    Setting(of(MLPRegressor, learning_rate_init=optimizers.schedules.ExponentialDecay(0.05, 20, 0.9))),
    Setting(of(MLPRegressor, hidden_layer_sizes=(), learning_rate_init=0.5)),
    Setting(of(MLPRegressor, normalization="layer", activation="gelu", kernel_initializer="he_normal")),
    Setting(
        of(MLPRegressor, normalization="batch"),
        WEIGHTS_ARE_ROWS,
        "the statistics of a batch are those of its rows, whatever they weigh",
    ),
    Setting(of(MLPRegressor, dropout=[0.1]), WEIGHTS_ARE_ROWS, "each of several equal rows has noise of its own"),
    Setting(of(MLPRegressor, warm_start=True), FITS_AGAIN, "they compare fits, of which the second goes on"),
    Setting(
        of(MLPRegressor, early_stopping=True, validation_fraction=0.5),
        (*WEIGHTS_ARE_ROWS, *CALL_PARTIAL_FIT),
        "rows are held back whatever they weigh, and partial_fit wants rows to decide with",
    ),
    Setting(SequentialClassifier(optimizer=optimizers.Adam(0.02), epochs=40, class_weight="balanced")),
    Setting(SequentialClassifier(loss="squared_hinge", optimizer=optimizers.Adam(0.02), epochs=40)),
    Setting(
        EnsembleSearchCV(of(MLPClassifier, random_state=0), {"alpha": [1e-4, 1e-2]}, cv=2, error_score="raise"),
    ),
    Setting(SequentialRegressor(optimizer=optimizers.Adam(0.02), epochs=40, loss="huber")),
]


def with_checks(settings):
    """Parametrize as scikit-learn's parametrize_with_checks does, without the checks that a setting is without."""
    return pytest.mark.parametrize(
        ("estimator", "check"),
        [
            pytest.param(estimator, check, id=f"{' '.join(str(estimator).split())}-{check.func.__name__}")
            for setting in settings
            for estimator, check in estimator_checks_generator(setting.estimator)
            if check.func.__name__ not in setting.without
        ],
    )


@with_checks([Setting(estimator_of(name)) for name in fastnn.sklearn.__all__])
def test_every_estimator_keeps_the_contract(estimator, check):
    check(estimator)


@pytest.mark.slow
@with_checks(SETTINGS)
def test_settings_keep_the_contract(estimator, check):
    check(estimator)


def test_checks_that_cannot_hold_are_named_rightly_and_have_a_reason():
    for setting in SETTINGS:
        names = {check.func.__name__ for _, check in estimator_checks_generator(setting.estimator)}
        assert bool(setting.without) == bool(setting.reason)
        assert not setting.without or names & set(setting.without), setting.estimator


# ---- checks that scikit-learn runs for its own estimators alone ----


@pytest.mark.parametrize("name", fastnn.sklearn.__all__)
def test_other_columns_get_scikit_learns_sentences(name):
    """scikit-learn's check demands an error of columns in another order, which is what match_columns=False is for."""
    pytest.importorskip("pandas")
    estimator = estimator_of(name)
    settings = {argument: False for argument in estimator.get_params() if argument.endswith("match_columns")}
    estimator_checks.check_dataframe_column_names_consistency(name, estimator.set_params(**settings))


@pytest.mark.parametrize("name", fastnn.sklearn.__all__)
def test_columns_in_another_order_are_matched_by_name(name):
    """Users are promised the right answers of columns in another order: by default the names say which is which."""
    pd = pytest.importorskip("pandas")
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(60, 4)), columns=["d", "a", "c", "b"])
    y = frame.a - 2 * frame.b
    estimator = estimator_of(name)
    estimator.fit(frame, y > 0 if is_classifier(estimator) else y)
    np.testing.assert_array_equal(estimator.predict(frame[["a", "b", "c", "d"]]), estimator.predict(frame))
