"""Estimators inside scikit-learn's own tools: pipelines, searches, meta-estimators, selection, inspection, copies."""

import pickle

import joblib
import numpy as np
import pytest

pytest.importorskip("sklearn")

import sklearn
from sklearn import calibration, ensemble, feature_selection, inspection, model_selection, multiclass, multioutput
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 (it makes HalvingRandomSearchCV importable)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import get_scorer, roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.utils.validation import check_is_fitted

import fastnn
from fastnn import layers
from fastnn.sklearn import MLPClassifier, MLPRegressor, SequentialClassifier, SequentialRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.thread_unsafe(reason="scikit-learn's configuration and NumPy's global generator are the process's"),
]

FLOWERS, SPECIES = load_iris(return_X_y=True)
FLOWERS = StandardScaler().fit_transform(FLOWERS)
PATIENTS, PROGRESS = load_diabetes(return_X_y=True)
PATIENTS, PROGRESS = StandardScaler().fit_transform(PATIENTS)[:200], PROGRESS[:200] / 100


def classifier(**parameters):
    """Return a small network that learns the irises in a moment."""
    usual = {"hidden_layer_sizes": (8,), "learning_rate_init": 0.02, "max_iter": 40, "random_state": 0}
    return MLPClassifier(**usual | parameters)


def regressor(**parameters):
    usual = {"hidden_layer_sizes": (8,), "learning_rate_init": 0.02, "max_iter": 60, "random_state": 0}
    return MLPRegressor(**usual | parameters)


def first_kernel(fitted):
    """Return how much each column counts: the sum of its weights' sizes in the first layer."""
    return np.abs(fitted.coefs_[0]).sum(axis=1)


# ---- meta-estimators ----

CLASSIFIERS = {
    "Pipeline": lambda: make_pipeline(StandardScaler(), classifier()),
    "BaggingClassifier": lambda: ensemble.BaggingClassifier(classifier(), n_estimators=3, random_state=0),
    "AdaBoostClassifier": lambda: ensemble.AdaBoostClassifier(classifier(), n_estimators=3, random_state=0),
    "VotingClassifier": lambda: ensemble.VotingClassifier(
        [("net", classifier()), ("line", LogisticRegression())], voting="soft"
    ),
    "StackingClassifier": lambda: ensemble.StackingClassifier([("net", classifier()), ("deep", classifier())], cv=2),
    "OneVsRestClassifier": lambda: multiclass.OneVsRestClassifier(classifier()),
    "OneVsOneClassifier": lambda: multiclass.OneVsOneClassifier(classifier()),
    "OutputCodeClassifier": lambda: multiclass.OutputCodeClassifier(classifier(), code_size=4, random_state=0),
    "CalibratedClassifierCV": lambda: calibration.CalibratedClassifierCV(classifier(), cv=3),
    "GridSearchCV": lambda: model_selection.GridSearchCV(classifier(), {"alpha": [1e-4, 1e-2]}, cv=2),
    "RandomizedSearchCV": lambda: model_selection.RandomizedSearchCV(
        classifier(), {"hidden_layer_sizes": [(4,), (8,), (8, 4)], "activation": ["tanh", "relu"]}, n_iter=3, cv=2
    ),
    "HalvingRandomSearchCV": lambda: model_selection.HalvingRandomSearchCV(
        classifier(), {"alpha": [1e-4, 1e-3, 1e-2]}, cv=2, min_resources=40, random_state=0
    ),
    "HalvingGridSearchCV over epochs": lambda: model_selection.HalvingGridSearchCV(
        classifier(), {"alpha": [1e-4, 1e-3, 1e-2]}, cv=2, resource="max_iter", min_resources=10, max_resources=30
    ),
    "SelectFromModel": lambda: make_pipeline(
        feature_selection.SelectFromModel(classifier(), importance_getter=first_kernel, max_features=2), classifier()
    ),
    "RFE": lambda: feature_selection.RFE(classifier(), n_features_to_select=2, importance_getter=first_kernel),
    "RFECV": lambda: feature_selection.RFECV(classifier(), cv=2, importance_getter=first_kernel),
    "SequentialFeatureSelector": lambda: make_pipeline(
        feature_selection.SequentialFeatureSelector(classifier(max_iter=15), n_features_to_select=2, cv=2), classifier()
    ),
}


@pytest.mark.parametrize("make", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_a_classifier_works_inside(make):
    outer = make()
    assert is_classifier(outer)
    outer.fit(FLOWERS, SPECIES)
    assert outer.score(FLOWERS, SPECIES) > 0.9
    assert set(outer.predict(FLOWERS)) == {0, 1, 2}


REGRESSORS = {
    "Pipeline": lambda: make_pipeline(StandardScaler(), regressor()),
    "TransformedTargetRegressor": lambda: TransformedTargetRegressor(regressor(), func=np.log, inverse_func=np.exp),
    "TransformedTargetRegressor's scaler": lambda: TransformedTargetRegressor(
        regressor(), transformer=StandardScaler()
    ),
    "BaggingRegressor": lambda: ensemble.BaggingRegressor(regressor(), n_estimators=3, random_state=0),
    "AdaBoostRegressor": lambda: ensemble.AdaBoostRegressor(regressor(), n_estimators=3, random_state=0),
    "VotingRegressor": lambda: ensemble.VotingRegressor([("net", regressor()), ("line", Ridge())]),
    "StackingRegressor": lambda: ensemble.StackingRegressor([("net", regressor()), ("line", Ridge())], cv=2),
    "GridSearchCV": lambda: model_selection.GridSearchCV(
        regressor(), {"alpha": [1e-4, 1e-2]}, cv=2, scoring=["r2", "neg_mean_absolute_error"], refit="r2"
    ),
    "RFE": lambda: feature_selection.RFE(regressor(), n_features_to_select=7, importance_getter=first_kernel),
}


@pytest.mark.parametrize("make", REGRESSORS.values(), ids=REGRESSORS)
def test_a_regressor_works_inside(make):
    outer = make()
    assert is_regressor(outer)
    outer.fit(PATIENTS, PROGRESS)
    assert outer.score(PATIENTS, PROGRESS) > 0.4
    assert outer.predict(PATIENTS).shape == (200,)


def test_targets_one_by_one_and_in_chains():
    two = np.stack([SPECIES, SPECIES == 1], axis=1)
    for outer in (
        multioutput.MultiOutputClassifier(classifier()),
        multioutput.ClassifierChain(classifier(), order=[1, 0]),
    ):
        assert (outer.fit(FLOWERS, two).predict(FLOWERS) == two).mean() > 0.9
    both = np.stack([PROGRESS, -PROGRESS], axis=1)
    for outer in (multioutput.MultiOutputRegressor(regressor()), multioutput.RegressorChain(regressor())):
        assert outer.fit(PATIENTS, both).score(PATIENTS, both) > 0.4


def test_rows_without_a_class_are_labelled_by_what_is_known():
    some = np.where(np.arange(150) % 3 == 0, SPECIES, -1)
    outer = SelfTrainingClassifier(classifier(), max_iter=3).fit(FLOWERS, some)
    assert (outer.transduction_ != -1).sum() > 100
    assert outer.score(FLOWERS, SPECIES) > 0.8


def test_meta_estimators_go_on_training_in_parts():
    one_a_class = multiclass.OneVsRestClassifier(classifier())
    one_a_target = multioutput.MultiOutputClassifier(classifier())
    for _ in range(60):
        one_a_class.partial_fit(FLOWERS, SPECIES, classes=[0, 1, 2])
        one_a_target.partial_fit(FLOWERS, SPECIES[:, None], classes=[[0, 1, 2]])
    assert one_a_class.score(FLOWERS, SPECIES) > 0.9
    assert one_a_target.score(FLOWERS, SPECIES[:, None]) > 0.9


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "categorical_hinge"])
def test_margins_are_calibrated_and_scored(loss):
    calibrated = calibration.CalibratedClassifierCV(classifier(loss=loss), cv=3).fit(FLOWERS, SPECIES)
    np.testing.assert_allclose(calibrated.predict_proba(FLOWERS).sum(axis=1), 1)
    assert calibrated.score(FLOWERS, SPECIES) > 0.9
    two = SPECIES > 1
    net = classifier(loss=loss).fit(FLOWERS, two)
    ranked = roc_auc_score(two, net.decision_function(FLOWERS))
    assert get_scorer("roc_auc")(net, FLOWERS, two) == ranked > 0.9
    assert get_scorer("average_precision")(net, FLOWERS, two) > 0.9


def test_a_fitted_network_is_calibrated_as_it_is():
    net = classifier().fit(FLOWERS[::2], SPECIES[::2])
    before = net.predict_proba(FLOWERS)
    calibrated = calibration.CalibratedClassifierCV(FrozenEstimator(net)).fit(FLOWERS[1::2], SPECIES[1::2])
    assert calibrated.score(FLOWERS, SPECIES) > 0.85
    np.testing.assert_array_equal(net.predict_proba(FLOWERS), before)


def test_thresholds_of_a_fitted_classifier_are_tuned():
    positive = (SPECIES == 1).astype(int)
    tuned = model_selection.TunedThresholdClassifierCV(classifier(), scoring="balanced_accuracy", cv=2, random_state=0)
    assert tuned.fit(FLOWERS, positive).score(FLOWERS, positive) > 0.85
    frozen = model_selection.FixedThresholdClassifier(classifier().fit(FLOWERS, positive), threshold=0.0)
    assert frozen.fit(FLOWERS, positive).predict(FLOWERS).all()


# ---- validation ----


def test_cross_validation_scores_every_fold_and_returns_its_estimators():
    found = model_selection.cross_validate(
        classifier(), FLOWERS, SPECIES, cv=3, scoring=["accuracy", "neg_log_loss", "roc_auc_ovr"], return_estimator=True
    )
    assert found["test_accuracy"].min() > 0.85
    assert found["test_roc_auc_ovr"].min() > 0.95
    assert all(fitted.n_iter_ > 0 for fitted in found["estimator"])
    answers = model_selection.cross_val_predict(classifier(), FLOWERS, SPECIES, cv=3, method="predict_proba")
    np.testing.assert_allclose(answers.sum(axis=1), 1)


def test_curves_of_learning_and_validation():
    mixed = {"cv": 3, "shuffle": True, "random_state": 0}
    sizes, train, test = model_selection.learning_curve(classifier(), FLOWERS, SPECIES, **mixed)
    assert train.shape == test.shape == (len(sizes), 3)
    assert test[-1].mean() > 0.85
    grown = model_selection.learning_curve(classifier(), FLOWERS, SPECIES, exploit_incremental_learning=True, **mixed)
    assert grown[1].shape == (5, 3)
    train, test = model_selection.validation_curve(
        classifier(), FLOWERS, SPECIES, param_name="max_iter", param_range=[1, 60], cv=3
    )
    assert test[1].mean() > test[0].mean() + 0.1
    score, others, chance = model_selection.permutation_test_score(
        classifier(), FLOWERS, SPECIES, cv=2, n_permutations=5, random_state=0
    )
    assert score > others.max() + 0.2
    assert chance == pytest.approx(1 / 6)


def test_a_search_reports_a_candidate_that_cannot_be_fitted():
    search = model_selection.GridSearchCV(classifier(), {"alpha": [1e-4, -1]}, cv=2)
    with pytest.warns(sklearn.exceptions.FitFailedWarning), pytest.warns(UserWarning, match="non-finite"):
        search.fit(FLOWERS, SPECIES)
    assert search.best_params_ == {"alpha": 1e-4}
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True]


# ---- columns of several kinds ----

KINDS = np.array(["setosa", "versicolor", "virginica"])


def mixed_frame(library):
    frames = pytest.importorskip(library)
    columns = dict(zip(("a", "b", "c", "d"), FLOWERS.T, strict=True))
    return frames.DataFrame(columns | {"soil": KINDS[(SPECIES + (np.arange(150) % 10 == 0)) % 3]})


def prepared(sparse):
    numbers = ("numbers", StandardScaler(), ["a", "b", "c"])
    return ColumnTransformer([numbers, ("soil", OneHotEncoder(sparse_output=sparse), ["soil"])], sparse_threshold=1.0)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_column_transformer_hands_its_names_on(library):
    frame = mixed_frame(library)
    if library == "polars" and tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 9):
        pytest.skip(f"ColumnTransformer of scikit-learn {sklearn.__version__} does not read this version of polars")
    pipeline = make_pipeline(prepared(sparse=False), classifier()).set_output(transform=library)
    pipeline.fit(frame, KINDS[SPECIES])
    names = ["numbers__a", "numbers__b", "numbers__c", *(f"soil__soil_{kind}" for kind in KINDS)]
    assert pipeline[-1].feature_names_in_.tolist() == names
    assert pipeline[:-1].get_feature_names_out().tolist() == names
    assert pipeline.score(frame, KINDS[SPECIES]) > 0.9
    assert pipeline.classes_.tolist() == KINDS.tolist()


def test_a_column_transformer_hands_sparse_rows_on():
    frame = mixed_frame("pandas")
    sparse = make_pipeline(prepared(sparse=True), classifier(solver="lbfgs")).fit(frame, SPECIES)
    dense = make_pipeline(prepared(sparse=False), classifier(solver="lbfgs")).fit(frame, SPECIES)
    assert sparse[:-1].transform(frame).format == "csr"
    np.testing.assert_allclose(sparse.predict_proba(frame), dense.predict_proba(frame), atol=0.05)
    assert sparse.score(frame, SPECIES) > 0.9


# ---- metadata ----


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


WEIGHTS = np.where(SPECIES == 1, 5.0, 0.5)


def test_weights_reach_a_network_through_a_search_and_a_pipeline(routing):
    net = classifier().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    scaler = StandardScaler().set_fit_request(sample_weight=False)
    scorer = get_scorer("accuracy").set_score_request(sample_weight=True)
    grid = {"mlpclassifier__alpha": [1e-4, 1e-2]}
    search = model_selection.GridSearchCV(make_pipeline(scaler, net), grid, cv=2, scoring=scorer)
    search.fit(FLOWERS, SPECIES, sample_weight=WEIGHTS)
    scaled = search.best_estimator_[0].transform(FLOWERS)
    alone = clone(search.best_estimator_[-1]).fit(scaled, SPECIES, sample_weight=WEIGHTS)
    np.testing.assert_array_equal(search.predict_proba(FLOWERS), alone.predict_proba(scaled))
    without = clone(alone).fit(scaled, SPECIES)
    assert not np.array_equal(alone.predict_proba(scaled), without.predict_proba(scaled))
    found = model_selection.cross_validate(net, FLOWERS, SPECIES, cv=2, params={"sample_weight": WEIGHTS})
    assert found["test_score"].min() > 0.8


def test_validation_rows_reach_a_network_through_a_search(routing):
    rows = FLOWERS[::3], SPECIES[::3]
    net = classifier(max_iter=8).set_fit_request(validation_data=True)
    search = model_selection.GridSearchCV(net, {"alpha": [1e-4, 1e-2]}, cv=2)
    search.fit(FLOWERS, SPECIES, validation_data=rows)
    fitted = search.best_estimator_
    assert len(fitted.validation_scores_) == 8
    assert fitted.validation_scores_[-1] == fitted.score(*rows)


def network(inputs, outputs):
    last = layers.Dense(outputs, "softmax" if outputs > 1 else "linear")
    return fastnn.Sequential([layers.Input((inputs,)), layers.Dense(8, "relu"), last])


SEQUENTIAL = {"epochs": 8, "random_state": 0}
SCALED = {
    "MLPClassifier": (classifier(max_iter=8), FLOWERS, SPECIES),
    "MLPRegressor": (regressor(max_iter=8), PATIENTS, PROGRESS),
    "SequentialClassifier": (SequentialClassifier(network, **SEQUENTIAL), FLOWERS, SPECIES),
    "SequentialRegressor": (SequentialRegressor(network, **SEQUENTIAL), PATIENTS, PROGRESS),
}


@pytest.mark.parametrize("case", SCALED.values(), ids=SCALED)
def test_a_pipeline_transforms_the_rows_to_validate_on(case, routing):
    net, x, y = case
    x, weights = 100 * x + 50, np.arange(float(len(x[::3])))
    net = clone(net).set_fit_request(X_val=True, y_val=True, sample_weight_val=True)
    pipeline = Pipeline([("scale", StandardScaler()), ("net", net)], transform_input=["X_val"])
    pipeline.fit(x, y, X_val=x[::3], y_val=y[::3], sample_weight_val=weights)
    scaled = pipeline[0].transform(x)
    alone = clone(net).fit(scaled, y, validation_data=(scaled[::3], y[::3], weights))
    np.testing.assert_array_equal(pipeline.predict(x), alone.predict(scaled))
    if hasattr(alone, "history_"):
        assert pipeline[-1].history_ == alone.history_
    else:
        assert pipeline[-1].validation_scores_ == alone.validation_scores_


def test_weights_that_nobody_asked_for_are_refused(routing):
    search = model_selection.GridSearchCV(classifier(), {"alpha": [1e-4]}, cv=2)
    with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
        search.fit(FLOWERS, SPECIES, sample_weight=WEIGHTS)


def test_a_network_says_which_metadata_it_takes(routing):
    requests = classifier().set_fit_request(sample_weight="weight").get_metadata_routing()
    assert requests.fit.requests["sample_weight"] == "weight"
    assert requests.score.requests.keys() == {"sample_weight"}
    assert {"classes", "sample_weight"} <= requests.partial_fit.requests.keys()
    assert regressor().get_metadata_routing().fit.requests.keys() >= {"sample_weight"}


# ---- arrays as other processes send them ----


def unaligned(values):
    """Return the values in memory that begins at an odd address, as a part of a message may."""
    copy = np.frombuffer(bytearray(values.nbytes + 1), np.uint8)[1:].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def read_only(values):
    copy = values.copy()
    copy.flags.writeable = False
    return copy


FORMS = {
    "unaligned": unaligned,
    "read-only": read_only,
    "unaligned and read-only": lambda values: np.frombuffer(b"." + values.tobytes(), np.uint8)[1:].view(values.dtype),
    "in the other byte order": lambda values: values.astype(values.dtype.newbyteorder()),
    "column by column": np.asfortranarray,
    "every other number": lambda values: np.repeat(values, 2, axis=-1)[..., ::2],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_arrays_may_lie_in_memory_as_they_like(form, dtype):
    x, y, weights = PATIENTS.astype(dtype), PROGRESS.astype(dtype), np.arange(200.0) + 1
    given = [form(values).reshape(values.shape) for values in (x, y, weights)]
    x = x if given[0].dtype.isnative else x.astype(np.float64)  # as scikit-learn's check reads it
    settings = {"max_iter": 5, "early_stopping": True}
    plain = regressor(**settings).fit(x, y, weights, validation_data=(x, y, weights))
    net = regressor(**settings).fit(*given, validation_data=tuple(given))
    for one in (net, plain):
        one.partial_fit(*(given if one is net else (x, y, weights)), validation_data=(x, y))
    np.testing.assert_array_equal(net.predict(given[0]), plain.predict(x))
    np.testing.assert_array_equal(net.predict(given[0][:1]), plain.predict(x[:1]))
    assert net.validation_scores_ == plain.validation_scores_


# ---- copies ----


def by_joblib(fitted, folder):
    joblib.dump(fitted, folder / "net.joblib", compress=3)
    return joblib.load(folder / "net.joblib")


def mapped_by_joblib(fitted, folder):
    joblib.dump(fitted, folder / "net.joblib")
    return joblib.load(folder / "net.joblib", mmap_mode="r")


COPIES = {
    "pickle": lambda fitted, folder: pickle.loads(pickle.dumps(fitted)),
    "joblib": by_joblib,
    "joblib's maps": mapped_by_joblib,
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("make", [classifier, regressor])
def test_a_copy_answers_with_the_same_bits_and_trains_on(make, copy, tmp_path):
    x, y = (FLOWERS, SPECIES) if make is classifier else (PATIENTS, PROGRESS)
    fitted = make(warm_start=True).fit(x, y)
    other = copy(fitted, tmp_path)
    answer = "predict_proba" if make is classifier else "predict"
    np.testing.assert_array_equal(getattr(other, answer)(x), getattr(fitted, answer)(x))
    assert other.get_params() == fitted.get_params()
    assert other.loss_curve_ == fitted.loss_curve_
    np.testing.assert_array_equal(getattr(other.fit(x, y), answer)(x), getattr(fitted.fit(x, y), answer)(x))


def test_a_clone_of_a_fitted_network_has_its_arguments_alone():
    fitted = classifier(alpha=0.5).fit(FLOWERS, SPECIES)
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError, match="not fitted yet"):
        copy.predict(FLOWERS)
    check_is_fitted(fitted)
    with pytest.raises(NotFittedError):
        check_is_fitted(copy)


# ---- what people look at ----


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in a pipeline"])
@pytest.mark.parametrize("make", [classifier, regressor])
def test_the_html_of_a_notebook_says_whether_it_is_fitted(make, inside):
    net = make(alpha=0.25)
    outer = make_pipeline(StandardScaler(), net) if inside else net
    assert "Not fitted" in outer._repr_html_()
    html = outer.fit(FLOWERS, SPECIES)._repr_html_()
    assert "Not fitted" not in html
    assert "<span>Fitted</span>" in html
    assert type(net).__name__ in html
    assert "alpha" in html
    assert "0.25" in html


def test_the_repr_is_the_call_that_makes_the_same():
    assert repr(MLPClassifier()) == "MLPClassifier()"
    made = MLPClassifier(alpha=0.5, hidden_layer_sizes=(4,))
    assert eval(repr(made)).get_params() == made.get_params()


def test_columns_that_count_are_found_by_permuting_them():
    noise = np.random.default_rng(0).normal(size=(150, 2))
    wide = np.hstack([FLOWERS, noise])
    net = classifier().fit(wide, SPECIES)
    found = inspection.permutation_importance(net, wide, SPECIES, n_repeats=5, random_state=0)
    assert found.importances_mean[4:].max() < found.importances_mean[2:4].min()


def test_dependence_on_a_column_is_that_of_the_answers():
    net = regressor().fit(PATIENTS, PROGRESS)
    found = inspection.partial_dependence(net, PATIENTS, [2], grid_resolution=5)
    at = found["grid_values"][0][0]
    moved = PATIENTS.copy()
    moved[:, 2] = at
    np.testing.assert_allclose(found["average"][0, 0], net.predict(moved).mean())


def test_displays_are_drawn():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    from sklearn.metrics import ConfusionMatrixDisplay, PredictionErrorDisplay, RocCurveDisplay

    net = classifier().fit(FLOWERS[:, :2], SPECIES)
    one = classifier().fit(FLOWERS, SPECIES == 1)
    numbers = regressor().fit(PATIENTS, PROGRESS)
    inspection.DecisionBoundaryDisplay.from_estimator(net, FLOWERS[:, :2], grid_resolution=10)
    inspection.PartialDependenceDisplay.from_estimator(numbers, PATIENTS, [0, (0, 1)], grid_resolution=5)
    calibration.CalibrationDisplay.from_estimator(one, FLOWERS, SPECIES == 1)
    RocCurveDisplay.from_estimator(one, FLOWERS, SPECIES == 1)
    ConfusionMatrixDisplay.from_estimator(net, FLOWERS[:, :2], SPECIES)
    PredictionErrorDisplay.from_estimator(numbers, PATIENTS, PROGRESS)
    model_selection.LearningCurveDisplay.from_estimator(net, FLOWERS[:, :2], SPECIES, cv=2)
    pyplot.close("all")
