"""Estimators in packages that build on scikit-learn: skops, SHAP, MAPIE, crepes, imbalanced-learn."""

import sys
import types

import numpy as np
import pytest

pytest.importorskip("crepes")
pytest.importorskip("imblearn")
pytest.importorskip("mapie")
pytest.importorskip("shap")
pytest.importorskip("skops")

import crepes
import shap
import skops.io
from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import make_pipeline as make_sampling_pipeline
from mapie import classification, regression
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastnn
from fastnn import layers
from fastnn.sklearn import MLPClassifier, MLPRegressor, SequentialClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FLOWERS, SPECIES = load_iris(return_X_y=True)
FLOWERS = StandardScaler().fit_transform(FLOWERS)
PATIENTS, PROGRESS = load_diabetes(return_X_y=True)
PATIENTS, PROGRESS = StandardScaler().fit_transform(PATIENTS), PROGRESS / 100
CLASSIFIER = MLPClassifier((8,), learning_rate_init=0.02, max_iter=40, random_state=0)
REGRESSOR = MLPRegressor(hidden_layer_sizes=(8,), learning_rate_init=0.02, max_iter=40, random_state=0)
ROUND = {"train": slice(0, 200), "held": slice(200, 320), "new": slice(320, 442)}


def part(name):
    return PATIENTS[ROUND[name]], PROGRESS[ROUND[name]]


# ---- skops: files that run nothing ----


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in a search over a pipeline"])
@pytest.mark.parametrize("net", [CLASSIFIER, REGRESSOR], ids=["classifier", "regressor"])
def test_skops_keeps_a_network_and_needs_no_trust_but_in_the_estimator(net, inside, tmp_path):
    x, y = (FLOWERS, SPECIES) if net is CLASSIFIER else part("train")
    outer = clone(net)
    if inside:
        pipeline = make_pipeline(StandardScaler(), outer)
        outer = GridSearchCV(pipeline, {f"{type(net).__name__.lower()}__alpha": [1e-4, 1e-2]}, cv=2)
    outer.fit(x, y)
    skops.io.dump(outer, tmp_path / "net.skops")
    strange = skops.io.get_untrusted_types(file=tmp_path / "net.skops")
    ours = [name for name in strange if not name.startswith(("sklearn.", "numpy."))]
    assert ours == [f"fastnn.sklearn._perceptron.{type(net).__name__}"]
    assert inside or strange == ours
    with pytest.raises(skops.io.exceptions.UntrustedTypesFoundException):
        skops.io.load(tmp_path / "net.skops")
    other = skops.io.load(tmp_path / "net.skops", trusted=strange)
    np.testing.assert_array_equal(other.predict(x), outer.predict(x))
    kept, fitted = (each.best_estimator_[-1] if inside else each for each in (outer, other))
    assert fitted.loss_curve_ == kept.loss_curve_
    np.testing.assert_array_equal(fitted.partial_fit(x, y).predict(x), kept.partial_fit(x, y).predict(x))


STATES = {
    "several targets": (CLASSIFIER, np.column_stack([SPECIES, SPECIES > 1])),
    "labels": (CLASSIFIER, np.eye(3, dtype=int)[SPECIES]),
    "two classes": (CLASSIFIER, SPECIES > 1),
    "text": (CLASSIFIER, np.array(["setosa", "versicolor", "virginica"])[SPECIES]),
    "early stopping": (clone(CLASSIFIER).set_params(early_stopping=True), SPECIES),
    "margins": (clone(CLASSIFIER).set_params(loss="hinge"), SPECIES),
    "quantiles": (clone(REGRESSOR).set_params(loss="quantile", quantiles=[0.1, 0.9]), SPECIES),
    "deviations": (clone(REGRESSOR).set_params(loss="gaussian_nll"), SPECIES),
    "lbfgs": (clone(REGRESSOR).set_params(solver="lbfgs"), SPECIES),
}


@pytest.mark.parametrize("case", STATES.values(), ids=STATES)
def test_skops_needs_one_name_for_any_state(case):
    net, y = clone(case[0]).fit(FLOWERS, case[1]), case[1]
    data = skops.io.dumps(net)
    names = [f"fastnn.sklearn._perceptron.{type(net).__name__}"]
    assert skops.io.get_untrusted_types(data=data) == names
    other = skops.io.loads(data, trusted=names)
    np.testing.assert_array_equal(other.predict(FLOWERS), net.predict(FLOWERS))
    assert other.score(FLOWERS, y) == net.score(FLOWERS, y)
    for one in (net, other):
        one.set_params(warm_start=True).fit(FLOWERS, y)
    np.testing.assert_array_equal(other.predict(FLOWERS), net.predict(FLOWERS))


def build(inputs, outputs, units=8):
    return fastnn.Sequential([fastnn.Input((inputs,)), layers.Dense(units, "relu"), layers.Dense(outputs, "softmax")])


def test_skops_keeps_a_network_that_a_function_builds(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "builder", types.ModuleType("builder"))  # skops finds functions by their names
    monkeypatch.setattr(build, "__module__", "builder")
    sys.modules["builder"].build = build
    net = SequentialClassifier(build, epochs=20, units=4, random_state=0).fit(FLOWERS, SPECIES)
    skops.io.dump(net, tmp_path / "net.skops")
    strange = skops.io.get_untrusted_types(file=tmp_path / "net.skops")
    assert strange == ["builder.build", "fastnn.sklearn._sequential.SequentialClassifier"]
    other = skops.io.load(tmp_path / "net.skops", trusted=strange)
    np.testing.assert_array_equal(other.predict_proba(FLOWERS), net.predict_proba(FLOWERS))
    assert other.get_params() == net.get_params()


# ---- SHAP: explainers that ask the model alone ----

EXPLAINERS = {
    "permutation": lambda answers, rows: shap.explainers.Permutation(answers, rows, seed=0),
    "exact": lambda answers, rows: shap.explainers.Exact(answers, rows),
    "partition": lambda answers, rows: shap.explainers.Partition(answers, shap.maskers.Partition(rows)),
    "sampling": lambda answers, rows: shap.explainers.Sampling(answers, rows),
    "kernel": lambda answers, rows: shap.KernelExplainer(answers, rows),
    "picked by shap": lambda answers, rows: shap.Explainer(answers, rows),
}


@pytest.mark.filterwarnings("ignore")  # numba's, llvmlite's and SHAP's own
@pytest.mark.parametrize("explainer", EXPLAINERS.values(), ids=EXPLAINERS)
@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_values_of_shap_add_up_to_the_answer(kind, explainer):
    if kind == "classifier":
        answers, rows = clone(CLASSIFIER).fit(FLOWERS, SPECIES).predict_proba, FLOWERS
    else:
        answers, rows = clone(REGRESSOR).fit(*part("train")).predict, PATIENTS
    found = explainer(answers, rows[:20])(rows[20:24])
    assert np.shape(found.values)[:2] == (4, rows.shape[1])
    np.testing.assert_allclose(found.values.sum(axis=1) + found.base_values, answers(rows[20:24]), atol=1e-4)


# ---- conformal prediction ----


def assert_covers(covered, level=0.9):
    """The share of covered rows is the level, give or take what a hundred rows say."""
    assert abs(np.mean(covered) - level) < 0.1


def test_mapie_gives_intervals_around_a_network():
    split = regression.SplitConformalRegressor(clone(REGRESSOR).fit(*part("train")), confidence_level=0.9)
    split.conformalize(*part("held"))
    x, y = part("new")
    _, bounds = split.predict_interval(x)
    assert_covers((bounds[:, 0, 0] <= y) & (y <= bounds[:, 1, 0]))
    crossed = regression.CrossConformalRegressor(clone(REGRESSOR), confidence_level=0.9, cv=3)
    crossed.fit_conformalize(PATIENTS[:320], PROGRESS[:320])
    _, bounds = crossed.predict_interval(x)
    assert_covers((bounds[:, 0, 0] <= y) & (y <= bounds[:, 1, 0]))


def test_mapie_widens_the_quantiles_of_networks():
    nets = [clone(REGRESSOR).set_params(loss="quantile", quantiles=(q,)).fit(*part("train")) for q in (0.05, 0.95, 0.5)]
    widened = regression.ConformalizedQuantileRegressor(nets, confidence_level=0.9, prefit=True)
    widened.conformalize(*part("held"))
    x, y = part("new")
    _, bounds = widened.predict_interval(x)
    assert_covers((bounds[:, 0, 0] <= y) & (y <= bounds[:, 1, 0]))


def test_mapie_gives_sets_of_classes():
    order = np.random.default_rng(0).permutation(150)
    train, held, new = order[:50], order[50:100], order[100:]
    split = classification.SplitConformalClassifier(
        clone(CLASSIFIER).fit(FLOWERS[train], SPECIES[train]), confidence_level=0.9, conformity_score="lac"
    )
    split.conformalize(FLOWERS[held], SPECIES[held])
    _, sets = split.predict_set(FLOWERS[new])
    assert_covers(sets[np.arange(50), SPECIES[new], 0])


def test_crepes_wraps_both_estimators():
    wrapped = crepes.WrapRegressor(clone(REGRESSOR))
    wrapped.fit(*part("train"))
    wrapped.calibrate(*part("held"))
    x, y = part("new")
    bounds = wrapped.predict_int(x, confidence=0.9)
    assert_covers((bounds[:, 0] <= y) & (y <= bounds[:, 1]))
    order = np.random.default_rng(0).permutation(150)
    train, held, new = order[:50], order[50:100], order[100:]
    classes = crepes.WrapClassifier(clone(CLASSIFIER))
    classes.fit(FLOWERS[train], SPECIES[train])
    classes.calibrate(FLOWERS[held], SPECIES[held], seed=0)
    sets = classes.predict_set(FLOWERS[new], labels=False, confidence=0.9, seed=0)
    assert_covers(sets[np.arange(50), SPECIES[new]])


# ---- imbalanced-learn ----


def test_a_pipeline_of_imbalanced_learn_draws_rows_for_a_network():
    rare = np.r_[0:50, 100:105]
    balanced = make_sampling_pipeline(RandomOverSampler(random_state=0), clone(CLASSIFIER))
    balanced.fit(FLOWERS[rare], SPECIES[rare])
    assert balanced.classes_.tolist() == [0, 2]
    assert balanced.score(FLOWERS[100:], SPECIES[100:]) > 0.9
