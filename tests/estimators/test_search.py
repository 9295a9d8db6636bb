"""EnsembleSearchCV: the results of scikit-learn's searches, to the bit, from fits that run together."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn")

import scipy.sparse
import sklearn
from estimators.searches import FLOWERS, PATIENTS, PROGRESS, SPECIES, both, classifier, line, regressor, same, stack
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, TransformerMixin, clone, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold, RandomizedSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from fastnn import _members, losses
from fastnn.callbacks import Callback
from fastnn.sklearn import (
    EnsembleSearchCV,
    MLPRegressor,
    SequentialClassifier,
    SequentialRegressor,
    _search,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.thread_unsafe(reason="scikit-learn's configuration and NumPy's global generator are the process's"),
]


def squares(wanted, got):
    """Return a loss that the engine has to ask Python for, and its gradient."""
    return np.mean((wanted - got) ** 2, axis=1), 2 * (got - wanted) / got.shape[1]


class Scales(TransformerMixin, BaseEstimator):
    """A step that counts how often it is fitted."""

    fits = 0

    def __init__(self, by=1.0):
        self.by = by

    def fit(self, X, y=None, sample_weight=None):  # noqa: N803
        type(self).fits += 1
        self.scale_ = self.by * np.average(np.abs(X), axis=0, weights=sample_weight)
        return self

    def transform(self, X):  # noqa: N803
        return X / self.scale_


# ---- the results are those of scikit-learn's searches ----

SEARCHES = {
    "shapes and rates": (
        classifier(),
        {"hidden_layer_sizes": [(3,), (8, 4)], "learning_rate_init": [0.01, 0.1], "activation": ["relu", "tanh"]},
    ),
    "solvers, L-BFGS among them": (classifier(), {"solver": ["adam", "sgd", "lbfgs", "rmsprop"]}),
    "early stopping": (
        classifier(max_iter=60, n_iter_no_change=3),
        {"early_stopping": [True, False], "tol": [1e-3, 0.1], "validation_fraction": [0.2]},
    ),
    "learning rates that fall": (
        classifier(solver="sgd", max_iter=40, tol=0.01, n_iter_no_change=2),
        {"learning_rate": ["constant", "invscaling", "adaptive"]},
    ),
    "batches and orders": (classifier(), {"batch_size": [7, 20], "shuffle": [True, False], "max_iter": [3, 9]}),
    "noise and normalization": (
        classifier(),
        {"dropout": [0.0, 0.3], "normalization": [None, "batch", "layer"], "class_weight": ["balanced", {0: 3.0}]},
    ),
    "seeds": (classifier(), {"random_state": [0, 1, np.random.RandomState(2)]}),
    "losses": (
        regressor(),
        {"loss": ["squared_error", "huber", "quantile", "gaussian_nll", losses.MeanAbsoluteError(), squares]},
    ),
    "one grid after the other": (classifier(), [{"alpha": [0.1, 1.0]}, {"solver": ["sgd"], "momentum": [0.0, 0.5]}]),
    "a function that builds": (SequentialClassifier(stack, epochs=5, random_state=0), {"units": [3, 5]}),
    "a function that builds, with validation": (
        SequentialRegressor(line, epochs=5, random_state=0),
        {"validation_split": [0.0, 0.3], "optimizer": ["adam", "sgd"]},
    ),
}


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_results_are_those_of_one_fit_after_the_other(search):
    estimator, grid = search
    x, y = (FLOWERS, SPECIES) if is_classifier(estimator) else (PATIENTS, PROGRESS)
    both(estimator, grid, x, y, return_train_score=True)


@pytest.mark.parametrize("form", [np.float32, scipy.sparse.csr_matrix, "pandas", list])
def test_x_has_any_form(form):
    if form == "pandas":
        x = pytest.importorskip("pandas").DataFrame(FLOWERS, columns=list("abcd"))
        ours, _ = both(classifier(), {"alpha": [0.01, 1.0]}, x, SPECIES)
        assert list(ours.feature_names_in_) == list("abcd")
    else:
        both(classifier(), {"alpha": [0.01, 1.0]}, form(FLOWERS), SPECIES)


def test_several_targets_are_scored():
    both(regressor(), {"alpha": [0.01, 1.0]}, PATIENTS, np.stack([PROGRESS, -PROGRESS], axis=1))


def test_candidates_that_numpys_generator_seeds_draw_from_it_in_their_order():
    np.random.seed(3)  # noqa: NPY002  # what scikit-learn draws from
    ours = EnsembleSearchCV(classifier(random_state=None), {"alpha": [0.1, 1.0]}, cv=3).fit(FLOWERS, SPECIES)
    np.random.seed(3)  # noqa: NPY002  # what scikit-learn draws from
    theirs = GridSearchCV(classifier(random_state=None), {"alpha": [0.1, 1.0]}, cv=3).fit(FLOWERS, SPECIES)
    same(ours.cv_results_, theirs.cv_results_)


def test_candidates_are_drawn_from_distributions():
    space = {"alpha": loguniform(1e-4, 1.0), "hidden_layer_sizes": [(3,), (5,)]}
    ours = EnsembleSearchCV(classifier(), space, n_iter=4, cv=3, random_state=1).fit(FLOWERS, SPECIES)
    theirs = RandomizedSearchCV(classifier(), space, n_iter=4, cv=3, random_state=1).fit(FLOWERS, SPECIES)
    same(ours.cv_results_, theirs.cv_results_)


def test_a_distribution_needs_a_number_of_candidates():
    with pytest.raises(TypeError, match="alpha"):
        EnsembleSearchCV(classifier(), {"alpha": loguniform(1e-4, 1.0)}).fit(FLOWERS, SPECIES)


# ---- the fits run together ----


def test_all_candidates_and_folds_are_in_one_call_into_the_engine(monkeypatch):
    sizes = []
    monkeypatch.setattr(
        _members, "run_many", lambda tasks, run=_members.run_many: (sizes.append(len(tasks)), run(tasks))
    )
    EnsembleSearchCV(classifier(), {"alpha": [0.01, 0.1], "max_iter": [2, 5]}, cv=3, refit=False).fit(FLOWERS, SPECIES)
    assert sizes == [12, 12, 6, 6, 6]


def test_a_large_search_runs_in_parts(monkeypatch):
    monkeypatch.setattr(_search, "AT_ONCE", 4)
    both(classifier(), {"alpha": [0.01, 0.1, 1.0]}, FLOWERS, SPECIES)


def test_the_time_of_a_fit_is_its_share_of_the_work():
    grid = {"hidden_layer_sizes": [(2,), (200,)], "max_iter": [40]}
    found = EnsembleSearchCV(classifier(), grid, cv=3, refit=False).fit(FLOWERS, SPECIES)
    small, large = found.cv_results_["mean_fit_time"]
    assert 0 < small < large


def test_a_callback_sees_its_own_fit():
    class Stops(Callback):
        def __init__(self, after):
            self.after = after

        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch + 1 == self.after

    grid = {"callbacks": [[Stops(2)], [Stops(5)], None]}
    scoring = make_scorer(accuracy_score)
    ours, _ = both(
        classifier(),
        grid,
        FLOWERS,
        SPECIES,
        scoring=lambda net, x, y: {"n": net.n_iter_, "s": scoring(net, x, y)},
        refit="s",
    )
    assert ours.cv_results_["mean_test_n"].tolist() == [2, 5, 12]


def test_a_callback_that_looks_at_batches_is_called():
    class Counts(Callback):
        def __init__(self, most):
            self.most = most

        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch + 1 == self.most

    both(classifier(batch_size=10), {"callbacks": [[Counts(2)], [Counts(3)]]}, FLOWERS, SPECIES)


def test_ctrl_c_ends_the_search():
    class Interrupts(Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    search = EnsembleSearchCV(classifier(), {"callbacks": [None, [Interrupts()]]}, cv=3)
    with pytest.raises(KeyboardInterrupt):
        search.fit(FLOWERS, SPECIES)
    assert not hasattr(search, "cv_results_")


def test_a_classs_own_fit_is_called():
    class Doubled(MLPRegressor):
        def fit(self, X, y):  # noqa: N803
            return super().fit(X, 2 * y)

    grid = {"net": [regressor(), Doubled(max_iter=3, random_state=0)]}
    both(Pipeline([("net", regressor())]), grid, PATIENTS, PROGRESS)


# ---- pipelines ----


def test_steps_before_the_network_are_fitted_once_a_fold_and_setting():
    Scales.fits = 0
    grid = {"scales__by": [1.0, 2.0], "mlpclassifier__alpha": [0.01, 0.1, 1.0]}
    EnsembleSearchCV(make_pipeline(Scales(), classifier()), grid, cv=3, refit=False).fit(FLOWERS, SPECIES)
    assert Scales.fits == 2 * 3


PIPELINES = {
    "parameters of both": (
        make_pipeline(StandardScaler(), classifier()),
        {"standardscaler__with_mean": [True, False], "mlpclassifier__alpha": [0.01, 1.0]},
    ),
    "other steps": (
        Pipeline([("scale", "passthrough"), ("net", classifier())]),
        {"scale": [StandardScaler(), MinMaxScaler(), "passthrough"], "net__alpha": [0.01, 1.0]},
    ),
    "other last steps": (
        Pipeline([("scale", StandardScaler()), ("net", LogisticRegression())]),
        {"net": [classifier(), LogisticRegression(), SequentialClassifier(stack, epochs=3, random_state=0)]},
    ),
    "pipelines in pipelines": (
        make_pipeline(StandardScaler(), make_pipeline(MinMaxScaler(), classifier())),
        {"pipeline__minmaxscaler__clip": [True, False], "pipeline__mlpclassifier__alpha": [0.01, 1.0]},
    ),
    "no step before": (make_pipeline(classifier()), {"mlpclassifier__alpha": [0.01, 1.0]}),
    "steps with jobs of their own": (
        make_pipeline(ColumnTransformer([("a", StandardScaler(), [0, 1]), ("b", MinMaxScaler(), [2])]), classifier()),
        {"mlpclassifier__alpha": [0.01, 1.0]},
    ),
}


@pytest.mark.parametrize("search", PIPELINES.values(), ids=PIPELINES)
def test_pipelines_give_the_same_results(search):
    ours, theirs = both(*search, FLOWERS, SPECIES, return_train_score=True)
    np.testing.assert_array_equal(ours.predict(FLOWERS), theirs.predict(FLOWERS))


def test_a_pipeline_that_cannot_be_compared_is_fitted_for_each_candidate():
    from sklearn.preprocessing import FunctionTransformer

    both(
        make_pipeline(FunctionTransformer(lambda x: 2 * x), classifier()),
        {"mlpclassifier__alpha": [0.1, 1.0]},
        FLOWERS,
        SPECIES,
    )


WEIGHTS = np.linspace(0.5, 2.0, len(SPECIES))


def test_arguments_of_steps_reach_them():
    net = make_pipeline(Scales(), classifier())
    both(net, {"mlpclassifier__alpha": [0.1, 1.0]}, FLOWERS, SPECIES, {"mlpclassifier__sample_weight": WEIGHTS})
    both(net, {"mlpclassifier__alpha": [0.1, 1.0]}, FLOWERS, SPECIES, {"scales__sample_weight": WEIGHTS})


def test_arguments_that_no_step_has_raise_scikit_learns_sentence():
    search = EnsembleSearchCV(make_pipeline(classifier()), {"mlpclassifier__alpha": [0.1]}, cv=3, error_score="raise")
    with pytest.raises(ValueError, match="does not accept the sample_weight parameter"):
        search.fit(FLOWERS, SPECIES, sample_weight=WEIGHTS)


@pytest.mark.parametrize("scaled", [True, False])
def test_metadata_is_routed_through_a_pipeline(scaled):
    with sklearn.config_context(enable_metadata_routing=True):
        net = make_pipeline(
            Scales().set_fit_request(sample_weight=scaled), classifier().set_fit_request(sample_weight=True)
        )
        scoring = make_scorer(accuracy_score).set_score_request(sample_weight=True)
        both(net, {"mlpclassifier__alpha": [0.1, 1.0]}, FLOWERS, SPECIES, {"sample_weight": WEIGHTS}, scoring=scoring)


def test_rows_to_validate_on_are_transformed_once_a_fold_and_setting():
    with sklearn.config_context(enable_metadata_routing=True):
        net = classifier(early_stopping=True, n_iter_no_change=2).set_fit_request(X_val=True, y_val=True)
        pipeline = Pipeline([("scale", Scales()), ("net", net)], transform_input=["X_val"])
        grid = {"scale__by": [1.0, 3.0], "net__alpha": [0.1, 1.0]}
        ours, theirs = both(pipeline, grid, FLOWERS, SPECIES, {"X_val": FLOWERS[:20], "y_val": SPECIES[:20]})
    assert ours.best_estimator_[-1].validation_scores_ == theirs.best_estimator_[-1].validation_scores_


def test_rows_to_validate_on_are_not_transformed_without_routing():
    pipeline = Pipeline([("scale", StandardScaler()), ("net", classifier())], transform_input=["X_val"])
    search = EnsembleSearchCV(pipeline, {"net__alpha": [0.1]}, cv=3, error_score="raise")
    with pytest.raises(ValueError, match="can only be set if metadata routing is enabled"):
        search.fit(FLOWERS, SPECIES)


# ---- what a search is told ----


def test_weights_of_rows_are_split_with_the_rows():
    ours, _ = both(classifier(), {"alpha": [0.1, 1.0]}, FLOWERS, SPECIES, {"sample_weight": WEIGHTS})
    plain = EnsembleSearchCV(classifier(), {"alpha": [0.1, 1.0]}, cv=3).fit(FLOWERS, SPECIES)
    assert (ours.best_estimator_.coefs_[0] != plain.best_estimator_.coefs_[0]).any()


def test_metadata_is_routed_to_the_estimator_the_scorer_and_the_splitter():
    groups = np.arange(len(SPECIES)) % 5
    with sklearn.config_context(enable_metadata_routing=True):
        net = classifier().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        options = {"cv": GroupKFold(3), "scoring": None}
        both(net, {"alpha": [0.1, 1.0]}, FLOWERS, SPECIES, {"sample_weight": WEIGHTS, "groups": groups}, **options)


def test_groups_reach_the_splitter():
    both(
        classifier(), {"alpha": [0.1, 1.0]}, FLOWERS, SPECIES, {"groups": np.arange(len(SPECIES)) % 5}, cv=GroupKFold(3)
    )


@pytest.mark.parametrize("refit", [False, "accuracy", "neg_log_loss", lambda results: 1])
def test_several_scores(refit):
    scoring = ["accuracy", "neg_log_loss"]
    ours, _ = both(classifier(), {"alpha": [0.01, 1.0, 5.0]}, FLOWERS, SPECIES, scoring=scoring, refit=refit)
    assert set(ours.scorer_) == set(scoring)
    assert hasattr(ours, "best_estimator_") == hasattr(ours, "refit_time_") == (refit is not False)


def test_one_score_without_a_last_fit():
    ours, _ = both(classifier(), {"alpha": [0.01, 1.0]}, FLOWERS, SPECIES, refit=False)
    assert not hasattr(ours, "best_estimator_")
    with pytest.raises(AttributeError, match="has no attribute 'predict'"):
        ours.predict(FLOWERS)


@pytest.mark.filterwarnings("ignore:One or more of the test scores")
def test_fits_that_fail_get_the_score_of_an_error():
    class Fails(Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise OverflowError("enough")

    grid = {"hidden_layer_sizes": [(4,), (0,)], "callbacks": [None, [Fails()]]}
    with pytest.warns(FitFailedWarning, match="9 fits failed out of a total of 12") as caught:
        ours, _ = both(classifier(), grid, FLOWERS, SPECIES, error_score=-1)
    for said in "OverflowError: enough", "hidden_layer_sizes must be > 0":
        assert any(said in str(one.message) for one in caught)
    assert ours.cv_results_["mean_test_score"][1:].tolist() == [-1, -1, -1]


@pytest.mark.parametrize(
    ("grid", "error"), [({"hidden_layer_sizes": [(4,), (0,)]}, ValueError), ({"widths": [(4,)]}, ValueError)]
)
def test_errors_are_raised_where_they_are_asked_for(grid, error):
    search = EnsembleSearchCV(classifier(), grid, cv=3, error_score="raise")
    with pytest.raises(error, match=next(iter(grid))):
        search.fit(FLOWERS, SPECIES)
    assert not hasattr(search, "cv_results_")


@pytest.mark.parametrize("estimator", [LogisticRegression(), make_pipeline(StandardScaler(), LogisticRegression())])
def test_a_search_without_any_network_is_refused(estimator):
    with pytest.raises(TypeError, match=r"trains the estimators of fastnn\.sklearn"):
        EnsembleSearchCV(estimator, {}).fit(FLOWERS, SPECIES)


def test_more_is_printed_where_that_is_asked_for(capsys):
    EnsembleSearchCV(classifier(), {"alpha": [0.1, 1.0]}, cv=3, verbose=3).fit(FLOWERS, SPECIES)
    printed = capsys.readouterr().out
    assert "Fitting 3 folds for each of 2 candidates, totalling 6 fits" in printed
    assert printed.count("END") == 6


# ---- a search is an estimator ----


def fitted():
    return EnsembleSearchCV(classifier(), {"alpha": [0.1, 1.0]}, cv=3).fit(FLOWERS, SPECIES)


def test_a_search_answers_with_its_best_estimator():
    search = fitted()
    best = search.best_estimator_
    for method in ("predict", "predict_proba", "predict_log_proba"):
        np.testing.assert_array_equal(getattr(search, method)(FLOWERS), getattr(best, method)(FLOWERS))
    assert search.score(FLOWERS, SPECIES) == best.score(FLOWERS, SPECIES)
    np.testing.assert_array_equal(search.classes_, [0, 1, 2])
    assert search.n_features_in_ == 4
    alone = clone(classifier(**search.best_params_)).fit(FLOWERS, SPECIES)
    np.testing.assert_array_equal(best.coefs_[0], alone.coefs_[0])


def test_a_search_is_copied_and_pickled():
    search = fitted()
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict_proba(FLOWERS), search.predict_proba(FLOWERS))
    same(again.cv_results_, search.cv_results_)
    with pytest.raises(NotFittedError):
        clone(search).predict(FLOWERS)


def test_a_search_has_the_parameters_of_what_it_searches():
    search = EnsembleSearchCV(classifier(alpha=0.5), {"alpha": [0.1, 1.0]}, n_iter=2)
    assert search.get_params()["estimator__alpha"] == 0.5
    assert search.set_params(estimator__alpha=0.25).estimator.alpha == 0.25
    assert is_classifier(search)
    assert repr(search).startswith("EnsembleSearchCV(estimator=MLPClassifier(alpha=0.25")
    assert "MLPClassifier" in search._repr_html_()


def test_a_search_takes_part_in_another():
    inner = EnsembleSearchCV(classifier(), {"alpha": [0.1, 1.0]}, cv=3)
    outer = GridSearchCV(inner, {"estimator__max_iter": [3, 6]}, cv=3).fit(FLOWERS, SPECIES)
    theirs = GridSearchCV(
        GridSearchCV(classifier(), {"alpha": [0.1, 1.0]}, cv=3), {"estimator__max_iter": [3, 6]}, cv=3
    ).fit(FLOWERS, SPECIES)
    same(outer.cv_results_, theirs.cv_results_)


WATCHED = {
    "alone": (classifier(max_iter=3), {"alpha": [0.1, 1.0]}),
    "in pipelines": (
        make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), classifier(max_iter=3))),
        {"pipeline__mlpclassifier__alpha": [0.1, 1.0], "pipeline__mlpclassifier__solver": ["adam", "lbfgs"]},
    ),
}


@pytest.mark.skipif(
    not hasattr(EnsembleSearchCV, "set_callbacks"), reason="needs scikit-learn 1.9, which has callbacks"
)
@pytest.mark.parametrize("depth", [0, 1, None], ids=["the search", "its fits", "all"])
@pytest.mark.parametrize("case", WATCHED.values(), ids=WATCHED)
def test_callbacks_of_scikit_learn_see_the_search_and_what_it_fits(case, depth):
    get_context_path = pytest.importorskip("sklearn.callback._callback_context").get_context_path

    class Look:
        max_propagation_depth = depth

        def __init__(self):
            self.ended = []

        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            path = [(one.task_name, one.task_id, one.estimator_name) for one in get_context_path(context)]
            shared = any("transform" in task or "Scaler" in name for task, _, name in path)  # by all pipelines
            if not shared:
                self.ended.append([str(name).replace("EnsembleSearchCV", "GridSearchCV") for name in path])

    seen = []
    for search in (EnsembleSearchCV, GridSearchCV):
        look = Look()
        search(*case, cv=3).set_callbacks(look).fit(FLOWERS, SPECIES)
        seen.append(sorted(look.ended))
    assert seen[0] == seen[1]
    epochs = sum("'epoch'" in path[-1] for path in seen[0])
    assert (epochs > 0) == (depth is None or (depth == 1 and case is WATCHED["alone"]))


PIPELINE = make_pipeline(StandardScaler(), classifier(max_iter=80, match_columns=False))
SEARCH = EnsembleSearchCV(PIPELINE, {"mlpclassifier__alpha": [1e-4, 1e-3]}, cv=2, error_score="raise")


@pytest.mark.slow
@pytest.mark.contract
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # by scikit-learn, of a y with infinity
@pytest.mark.parametrize(
    ("estimator", "check"),
    [pytest.param(one, check, id=check.func.__name__) for one, check in estimator_checks_generator(SEARCH)],
)
def test_scikit_learns_checks_of_a_pipeline_that_is_searched(estimator, check):
    check(estimator)
