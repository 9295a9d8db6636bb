"""Frames of several libraries in the estimators: columns by name, and what a column may hold."""

import numpy as np
import pytest
import scipy.sparse

import fastnn
from fastnn import layers
from fastnn.sklearn import MLPClassifier, MLPRegressor, SequentialClassifier

pd = pytest.importorskip("pandas")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RANDOM = np.random.default_rng(0)
COLUMNS = {name: RANDOM.normal(size=60) for name in ("height", "age", "weight")}
SWAPPED = {name: COLUMNS[name] for name in ("weight", "height", "age")}
Y = COLUMNS["height"] - 2 * COLUMNS["age"]
SHORT = {"hidden_layer_sizes": (6,), "max_iter": 3, "random_state": 0}


def frame_of(library, columns):
    if library == "pandas":
        return pd.DataFrame(columns)
    if library == "pyarrow":
        return pytest.importorskip("pyarrow").table(columns)
    polars = pytest.importorskip("polars").DataFrame(columns)
    return polars if library == "polars" else pytest.importorskip("narwhals").from_native(polars)


def build(inputs, outputs):
    return fastnn.Sequential([layers.Input((inputs,)), layers.Dense(4, "relu"), layers.Dense(outputs)])


MAKERS = {
    "classifier": lambda: MLPClassifier(**SHORT),
    "regressor": lambda: MLPRegressor(**SHORT),
    "sequential": lambda: SequentialClassifier(build, epochs=3, random_state=0),
}
LIBRARIES = ["pandas", "polars", "pyarrow", "narwhals"]
libraries = pytest.mark.parametrize("library", LIBRARIES)
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))


def fitted(make, library="pandas"):
    estimator = make()
    estimator.fit(frame_of(library, COLUMNS), target(estimator))
    return estimator


def target(estimator):
    return Y if isinstance(estimator, MLPRegressor) else np.where(Y > 0, "tall", "small")


CALLS = {
    "predict": lambda estimator, frame: estimator.predict(frame),
    "predict_proba": lambda estimator, frame: estimator.predict_proba(frame),
    "score": lambda estimator, frame: estimator.score(frame, target(estimator)),
    "partial_fit": lambda estimator, frame: estimator.partial_fit(frame, target(estimator)).model_.get_weights(),
    "validation_data": lambda estimator, frame: estimator.fit(
        frame_of("pandas", COLUMNS), target(estimator), validation_data=(frame, target(estimator))
    ).predict(frame_of("pandas", COLUMNS)),
}


def calls(estimator, names=tuple(CALLS)):
    return {name: CALLS[name] for name in names if name != "predict_proba" or hasattr(estimator, name)}


@makers
@libraries
def test_columns_are_matched_by_name_in_every_call(library, make):
    assert list(fitted(make, library).feature_names_in_) == list(COLUMNS)
    for name, call in calls(fitted(make)).items():
        expected = call(fitted(make, library), frame_of("pandas", COLUMNS))
        found = call(fitted(make, library), frame_of(library, SWAPPED))
        if name in ("predict", "predict_proba", "score"):
            found, expected = [found], [expected]
        for mine, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(mine, theirs, err_msg=name)


@makers
@libraries
def test_missing_and_extra_columns_are_scikit_learns_sentence(library, make):
    without_age = {name: values for name, values in SWAPPED.items() if name != "age"}
    wrong = [
        (without_age, r"Feature names seen at fit time, yet now missing:\n- age"),
        (COLUMNS | {"iq": Y}, r"Feature names unseen at fit time:\n- iq"),
        (
            without_age | {"Age": Y},
            r"unseen at fit time:\n- Age\nFeature names seen at fit time, yet now missing:\n- age",
        ),
    ]
    estimator = fitted(make, library)
    before = [array.copy() for array in estimator.model_.get_weights()]
    for columns, message in wrong:
        for call in calls(estimator).values():
            with pytest.raises(ValueError, match=message):
                call(estimator, frame_of(library, columns))
    for mine, theirs in zip(estimator.model_.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@libraries
def test_a_new_fit_forgets_the_names_of_the_last(library):
    estimator = fitted(MAKERS["classifier"], library)
    estimator.fit(frame_of(library, {"a": Y, "b": -Y}), Y > 0)
    assert list(estimator.feature_names_in_) == ["a", "b"]
    estimator.fit(np.stack([Y, -Y], axis=1), Y > 0)
    assert not hasattr(estimator, "feature_names_in_")
    assert estimator.n_features_in_ == 2


@makers
def test_another_order_is_refused_where_columns_are_not_matched(make):
    estimator = make().set_params(match_columns=False)
    estimator.fit(frame_of("pandas", COLUMNS), target(estimator))
    for call in calls(estimator).values():
        with pytest.raises(ValueError, match="Feature names must be in the same order as they were in fit"):
            call(estimator, frame_of("pandas", SWAPPED))


def test_arrays_after_frames_and_frames_after_arrays_are_warned_of():
    array = np.stack(list(COLUMNS.values()), axis=1)
    with pytest.warns(UserWarning, match="X does not have valid feature names, but MLPClassifier was fitted with"):
        answers = fitted(MAKERS["classifier"]).predict(array)
    np.testing.assert_array_equal(answers, fitted(MAKERS["classifier"]).predict(frame_of("pandas", COLUMNS)))
    estimator = MLPClassifier(**SHORT).fit(array, Y > 0)
    with pytest.warns(UserWarning, match="X has feature names, but MLPClassifier was fitted without"):
        estimator.predict(frame_of("pandas", COLUMNS))


# ---- what a column may hold ----

KINDS = {
    "nullable floats": lambda values: pd.array(values, dtype="Float64"),
    "nullable integers": lambda values: pd.array(np.arange(60), dtype="Int32"),
    "nullable booleans": lambda values: pd.array(values > 0, dtype="boolean"),
    "booleans": lambda values: values > 0,
    "small floats": lambda values: values.astype(np.float32),
    "bytes": lambda values: np.arange(60, dtype=np.uint8),
    "objects": lambda values: pd.Series(list(values), dtype=object),
    "categories of numbers": lambda values: pd.Categorical(np.arange(60) % 3),
    "sparse": lambda values: pd.arrays.SparseArray(np.where(values > 1, values, 0)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_numbers_of_any_kind_are_numbers(kind):
    frame = pd.DataFrame(COLUMNS | {"age": KINDS[kind](COLUMNS["age"])})
    plain = frame.astype(np.float64)
    expected = MLPClassifier(**SHORT).fit(plain, Y > 0)
    found = MLPClassifier(**SHORT).fit(frame, Y > 0)
    np.testing.assert_array_equal(found.predict_proba(frame), expected.predict_proba(plain))
    np.testing.assert_array_equal(
        found.predict_proba(frame[["weight", "age", "height"]]), expected.predict_proba(plain)
    )


def test_a_frame_of_float32_trains_in_float32():
    for library in LIBRARIES:
        frame = frame_of(library, {name: values.astype(np.float32) for name, values in COLUMNS.items()})
        assert MLPRegressor(**SHORT).fit(frame, Y).coefs_[0].dtype == np.float32


MISSING = {
    "nullable floats": lambda: pd.DataFrame(COLUMNS | {"age": pd.array([None, *range(59)], dtype="Float64")}),
    "nullable booleans": lambda: pd.DataFrame(COLUMNS | {"age": pd.array([None, *[True] * 59], dtype="boolean")}),
    "NaN": lambda: pd.DataFrame(COLUMNS | {"age": [np.nan, *range(59)]}),
    "polars": lambda: frame_of("polars", COLUMNS | {"age": [None, *range(59)]}),
    "narwhals": lambda: frame_of("narwhals", COLUMNS | {"age": [None, *range(59)]}),
    "pyarrow": lambda: frame_of("pyarrow", COLUMNS | {"age": [None, *range(59)]}),
}


@pytest.mark.parametrize("kind", MISSING)
def test_missing_values_are_scikit_learns_sentence(kind):
    frame = MISSING[kind]()
    estimator = MLPClassifier(**SHORT)
    with pytest.raises(
        ValueError, match=r"Input X contains NaN.\nMLPClassifier does not accept missing values encoded as NaN"
    ):
        estimator.fit(frame, Y > 0)
    assert not hasattr(estimator, "feature_names_in_")
    estimator = fitted(MAKERS["classifier"])
    with pytest.raises(ValueError, match="Input X contains NaN"):
        estimator.predict(frame)


REFUSED = {
    "text": (lambda: pd.Series(["old", "young"] * 30), "text"),
    "categories of text": (lambda: pd.Categorical(["old", "young"] * 30), "text"),
    "dates": (lambda: pd.date_range("2020-01-01", periods=60), "date"),
    "durations": (lambda: pd.to_timedelta(np.arange(60), unit="s"), "duration"),
    "complex numbers": (lambda: COLUMNS["age"] * 1j, "omplex"),
}


@pytest.mark.parametrize("kind", REFUSED)
@makers
def test_columns_that_are_no_numbers_are_named(make, kind):
    values, message = REFUSED[kind]
    frame = pd.DataFrame(COLUMNS | {"age": values()})
    estimator = make()
    with pytest.raises((TypeError, ValueError), match=rf"X\['age'\].*{message}|Complex data not supported"):
        estimator.fit(frame, target(estimator))
    assert not hasattr(estimator, "model_")


def test_a_frame_of_y_and_a_series_are_its_values():
    frame = frame_of("pandas", COLUMNS)
    by_array = MLPRegressor(**SHORT).fit(frame, np.stack([Y, -Y], axis=1))
    by_frame = MLPRegressor(**SHORT).fit(frame, pd.DataFrame({"a": Y, "b": -Y}))
    np.testing.assert_array_equal(by_frame.predict(frame), by_array.predict(frame))
    polars = pytest.importorskip("polars")
    by_series = MLPRegressor(**SHORT).fit(frame, polars.Series(Y))
    np.testing.assert_array_equal(by_series.predict(frame), MLPRegressor(**SHORT).fit(frame, Y).predict(frame))


def test_a_sparse_matrix_has_no_names():
    assert not hasattr(MLPClassifier(**SHORT).fit(scipy.sparse.eye(60, format="csr"), Y > 0), "feature_names_in_")
