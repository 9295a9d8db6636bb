"""Perceptrons of scikit-learn, with what their pipelines do before them: the same numbers here."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn", "1.6")

from sklearn.base import clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)

import fastnn
import fastnn.sklearn
import fastnn.tabular

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:Found unknown categories:UserWarning"
)
SMALL = {"hidden_layer_sizes": (8, 5), "max_iter": 5, "random_state": 0}
ROWS = 60
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(ROWS, 4)) * [1, 10, 100, 0.1] + [0, 5, 1, 2]
Y = (X[:, 0] > 0) + (X[:, 1] > 5).astype(int)
GAPS = np.where(RANDOM.random((ROWS, 4)) < 0.15, np.nan, X)
WORDS = np.array([["red", "s"], ["blue", "m"], ["green", "l"], ["blue", "xl"]], object)[RANDOM.integers(0, 4, ROWS)]
CODES = np.where(RANDOM.random((ROWS, 2)) < 0.2, np.nan, RANDOM.integers(0, 5, (ROWS, 2)))
STRANGE = np.vstack([WORDS[:3], [["pink", "s"], ["red", "xxs"]]])


def frame():
    table = pd.DataFrame(GAPS, columns=["a", "b", "c", "d"])
    table["color"], table["size"], table["n"] = WORDS[:, 0], WORDS[:, 1], RANDOM.integers(0, 3, ROWS)
    table.loc[5, "color"] = np.nan
    return table


FRAME = frame()


def numbers_of(estimator, x):
    """What a model of the estimator gives: the probability of the second class alone where there are two."""
    if not hasattr(estimator, "predict_proba"):
        return np.reshape(estimator.predict(x), (len(x), -1))
    found = estimator.predict_proba(x)
    return found[:, 1:] if found.shape[1] == 2 and np.ndim(estimator.classes_[0]) == 0 else found


def check(estimator, x, y, given=None):
    """Fit the estimator, and hold its model to its numbers; float64 leaves rounding alone."""
    estimator = clone(estimator).fit(x, y)
    model = fastnn.from_sklearn(estimator)
    given = x if given is None else given
    np.testing.assert_allclose(model.predict(given), numbers_of(estimator, given), rtol=0, atol=1e-10)
    return model


# ---- perceptrons ----


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_perceptrons_give_the_same_numbers(kind, activation):
    model = check(kind(activation=activation, **SMALL), X / [1, 10, 100, 1], Y)
    assert model.dtype == "float64"


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize(
    "scaler", [StandardScaler(), MinMaxScaler((1, 3)), MaxAbsScaler(), RobustScaler(), None], ids=repr
)
def test_scaled_targets_come_back_in_their_units(scaler, columns):
    y = X[:, 0] * 30 + 500 if columns == 1 else X[:, 1:3] * 30 + 500
    perceptron = MLPRegressor(**SMALL)
    check(TransformedTargetRegressor(make_pipeline(StandardScaler(), perceptron), transformer=scaler), X, y)
    check(make_pipeline(MinMaxScaler(), TransformedTargetRegressor(perceptron, transformer=scaler)), X, y)
    check(TransformedTargetRegressor(fastnn.sklearn.MLPRegressor(**SMALL), transformer=scaler), X, y)


def test_targets_that_no_layer_takes_back_are_refused():
    of_logarithms = TransformedTargetRegressor(MLPRegressor(**SMALL), func=np.log, inverse_func=np.exp)
    with pytest.raises(TypeError, match="TransformedTargetRegressor with FunctionTransformer, whose inverse no layer"):
        fastnn.from_sklearn(of_logarithms.fit(X, np.exp(X[:, 0])))
    with pytest.raises(ValueError, match="its TransformedTargetRegressor is not: call fit first"):
        fastnn.from_sklearn(TransformedTargetRegressor())


def test_two_classes_are_one_column_of_probabilities():
    assert check(MLPClassifier(**SMALL), X, Y > 0).output_shape == (None, 1)


def test_several_labels_and_several_numbers():
    labels = np.column_stack([X[:, 0] > 0, X[:, 1] > 5, X[:, 0] > 1])
    estimator = MLPClassifier(**SMALL).fit(X, labels)
    np.testing.assert_allclose(fastnn.from_sklearn(estimator).predict(X), estimator.predict_proba(X), atol=1e-10)
    check(MLPRegressor(**SMALL), X, X[:, :2] / [1, 10])


@pytest.mark.skipif("loss" not in MLPRegressor().get_params(), reason="scikit-learn has the Poisson loss from 1.7 on")
def test_a_regressor_of_counts_ends_in_an_exponential():
    assert (
        check(MLPRegressor(loss="poisson", **SMALL), X / [1, 10, 100, 1], Y).layers[-1].activation.name == "exponential"
    )


def test_float32_stays_float32():
    estimator = MLPClassifier(**SMALL).fit(X.astype(np.float32), Y)
    model = fastnn.from_sklearn(estimator)
    assert model.dtype == "float32"
    # probabilities of inputs of up to 300: sums of 8 products in float32
    np.testing.assert_allclose(model.predict(X), estimator.predict_proba(X.astype(np.float32)), atol=1e-5)


# ---- scalers and missing values ----

SCALERS = [
    StandardScaler(), StandardScaler(with_mean=False), StandardScaler(with_std=False), MinMaxScaler(),
    MinMaxScaler((-1, 2)), MinMaxScaler((-1, 2), clip=True), MinMaxScaler(clip=True), MaxAbsScaler(), RobustScaler(),
    RobustScaler(with_centering=False), RobustScaler(with_scaling=False),
]  # fmt: skip


@pytest.mark.parametrize("scaler", SCALERS, ids=repr)
def test_scalers(scaler):
    given = 2 * X  # out of the range of the data
    check(make_pipeline(scaler, MLPClassifier(**SMALL)), X, Y, given)
    check(make_pipeline(scaler, "passthrough", StandardScaler(), MLPRegressor(**SMALL)), X, Y, given)


def test_columns_that_are_always_the_same_and_tiny_ones():
    constant = np.column_stack([X, np.full(ROWS, 3.0), np.linspace(0, 1e-12, ROWS)])
    check(make_pipeline(StandardScaler(), MLPRegressor(**SMALL)), constant, Y, constant + 1e-13)


@pytest.mark.parametrize("indicator", [False, True])
@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent", "constant"])
def test_missing_values(strategy, indicator):
    gaps = GAPS.copy()
    gaps[:, 2] = X[:, 2]  # which gets no indicator
    imputer = SimpleImputer(strategy=strategy, add_indicator=indicator)
    check(make_pipeline(imputer, StandardScaler(), MLPClassifier(**SMALL)), gaps, Y)


@pytest.mark.filterwarnings("ignore:Skipping features without any observed values:UserWarning")
def test_a_column_without_a_value_is_left_out():
    gaps = GAPS.copy()
    gaps[:, 1] = np.nan
    check(make_pipeline(SimpleImputer(), StandardScaler(), MLPClassifier(**SMALL)), gaps, Y)


# ---- categories ----

ENCODERS = [
    OneHotEncoder(), OneHotEncoder(handle_unknown="ignore"), OneHotEncoder(drop="first"),
    OneHotEncoder(drop="if_binary", handle_unknown="ignore"), OneHotEncoder(max_categories=2, handle_unknown="ignore"),
    OneHotEncoder(min_frequency=15, handle_unknown="infrequent_if_exist"), OrdinalEncoder(), TargetEncoder(),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan),
]  # fmt: skip


@pytest.mark.parametrize("encoder", ENCODERS, ids=repr)
def test_encoders(encoder):
    pipeline = make_pipeline(encoder, MLPClassifier(**SMALL))
    knows_all = getattr(encoder, "handle_unknown", "") != "error" and getattr(encoder, "unknown_value", 0) == -1
    model = check(pipeline, WORDS, Y > 0, STRANGE if knows_all or isinstance(encoder, TargetEncoder) else None)
    if getattr(encoder, "handle_unknown", "") == "error":
        assert np.isnan(model.predict(STRANGE)).tolist() == [[False]] * 3 + [[True]] * 2
    if isinstance(encoder, OneHotEncoder):
        encoder = clone(encoder).set_params(sparse_output=False)  # which a scaler needs
    check(
        make_pipeline(encoder, StandardScaler(), MLPRegressor(**SMALL)), pd.DataFrame(WORDS, columns=["u", "v"]), Y > 0
    )


@pytest.mark.parametrize(
    "encoder",
    [OneHotEncoder(), OrdinalEncoder(encoded_missing_value=-2), OneHotEncoder(handle_unknown="ignore")],
    ids=repr,
)
def test_a_missing_value_may_be_a_category(encoder):
    check(make_pipeline(encoder, MLPClassifier(**SMALL)), CODES, Y)
    check(make_pipeline(SimpleImputer(strategy="most_frequent"), encoder, MLPClassifier(**SMALL)), CODES, Y)


# ---- groups of columns ----


def test_columns_of_a_frame_become_branches():
    transformer = ColumnTransformer(
        [
            ("num", make_pipeline(SimpleImputer(), StandardScaler()), ["a", "b", "d"]),
            ("cat", OneHotEncoder(handle_unknown="ignore"), ["color", "size"]),
            ("ord", OrdinalEncoder(), ["n"]),
            ("most/seen", make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["color"]),
            ("clipped", MinMaxScaler(clip=True), ["n"]),
        ],
        sparse_threshold=0,
    )
    model = check(make_pipeline(transformer, StandardScaler(), MLPClassifier(**SMALL)), FRAME, Y)
    shuffled = FRAME[["n", "size", "color", "d", "c", "b", "a"]]
    np.testing.assert_array_equal(model.predict(shuffled), model.predict(FRAME))
    assert model.predict(FRAME.drop(columns="c").iloc[0].to_dict()).shape == (1, 3)


def test_columns_by_slices_masks_and_selectors_and_the_remainder():
    table = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    table["color"], table["size"] = WORDS.T
    groups = [
        ("cat", OneHotEncoder(handle_unknown="ignore"), slice("color", "size")),
        ("c", StandardScaler(), make_column_selector(pattern="^c$")),
        ("mask", RobustScaler(), [True, False, False, True, False, False]),
        ("none", StandardScaler(), []),
        ("dropped", "drop", ["b"]),
        ("kept", FunctionTransformer(), ["b"]),
    ]
    check(
        Pipeline([("columns", ColumnTransformer(groups, sparse_threshold=0)), ("mlp", MLPClassifier(**SMALL))]),
        table,
        Y,
    )
    rest = ColumnTransformer(groups[:1], remainder="passthrough", sparse_threshold=0)
    check(make_pipeline(rest, MLPRegressor(**SMALL)), table, Y)


def test_columns_of_an_array_stay_in_one_row():
    both = np.hstack([X.astype(object), WORDS])
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    groups = [
        ("a", StandardScaler(), [2, 0]),
        ("cat", OneHotEncoder(handle_unknown="ignore"), [5]),
        ("r", RobustScaler(), [-3]),
        ("o", make_pipeline(ordinal, StandardScaler()), [4]),
    ]
    transformer = ColumnTransformer(groups, remainder="passthrough", sparse_threshold=0)
    given = both.copy()
    given[:2, 4:] = STRANGE[3:]
    check(make_pipeline(transformer, MLPClassifier(**SMALL)), both, Y, given)
    check(make_pipeline(ColumnTransformer(groups[:1]), MaxAbsScaler(), MLPClassifier(**SMALL)), X, Y)


@pytest.mark.parametrize("indicator", [False, True])
def test_some_columns_of_an_array_may_lack_values(indicator):
    groups = [
        ("d", make_pipeline(SimpleImputer(add_indicator=indicator), RobustScaler()), [3]),
        ("ca", make_pipeline(SimpleImputer(strategy="median", add_indicator=indicator), StandardScaler()), [2, 0]),
    ]
    transformer = ColumnTransformer(groups, remainder=SimpleImputer(strategy="constant", add_indicator=indicator))
    check(make_pipeline(transformer, StandardScaler(), MLPClassifier(**SMALL)), GAPS, Y)


def test_names_of_a_frame_are_the_models():
    table = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    model = check(make_pipeline(StandardScaler(), MLPClassifier(**SMALL)), table, Y)
    assert model.feature_names == ("a", "b", "c", "d")
    np.testing.assert_array_equal(model.predict(table[["d", "c", "b", "a"]]), model.predict(table))


# ---- estimators of fastnn ----


def test_an_estimator_of_fastnn_gives_a_copy_of_its_model():
    estimator = fastnn.sklearn.MLPClassifier(**SMALL).fit(X, Y)
    model = fastnn.from_sklearn(estimator)
    np.testing.assert_array_equal(model.predict(X), estimator.model_.predict(X))
    model.weights[0][...] = 0
    assert estimator.model_.weights[0].any()
    check(make_pipeline(StandardScaler(), fastnn.sklearn.MLPClassifier(**SMALL)), X, Y)


def test_the_best_estimator_of_a_search_counts():
    search = GridSearchCV(
        make_pipeline(StandardScaler(), MLPClassifier(**SMALL)), {"mlpclassifier__alpha": [0.1, 1]}, cv=2
    )
    search.fit(X, Y)
    np.testing.assert_allclose(fastnn.from_sklearn(search).predict(X), search.predict_proba(X), rtol=0, atol=1e-10)


def test_a_model_is_saved_and_read_and_trained(tmp_path_factory):
    model = check(make_pipeline(OneHotEncoder(), MLPClassifier(**SMALL)), WORDS, Y)
    path = tmp_path_factory.mktemp("saved") / "model.fastnn"
    model.save(path)
    loaded = fastnn.load_model(path)
    np.testing.assert_array_equal(loaded.predict(WORDS), model.predict(WORDS))
    loaded.compile("sgd", "sparse_categorical_crossentropy")
    loaded.fit(WORDS, Y, epochs=1, verbose=0)
    table = loaded.layers[1]
    np.testing.assert_array_equal(table.embeddings, model.layers[1].embeddings)  # it stands for the encoder
    np.testing.assert_array_equal(model.freeze()(WORDS), model.predict(WORDS))


# ---- what is refused ----


@pytest.mark.parametrize(
    ("made", "x", "error", "message"),
    [
        (lambda: LogisticRegression(), X, TypeError, "got LogisticRegression"),
        (lambda: make_pipeline(StandardScaler(), LogisticRegression()), X, TypeError, "ends in LogisticRegression"),
        (lambda: make_pipeline(PCA(2), MLPClassifier(**SMALL)), X, TypeError, "step PCA, which no layer does"),
        (lambda: make_pipeline(type("Own", (StandardScaler,), {})(), MLPClassifier(**SMALL)), X, TypeError, "step Own"),
        (
            lambda: make_pipeline(StandardScaler(), SimpleImputer(), MLPClassifier(**SMALL)),
            X, ValueError, "put it first",
        ),
        (
            lambda: make_pipeline(SimpleImputer(missing_values=-1), MLPClassifier(**SMALL)),
            X, ValueError, "missing_values=-1",
        ),
        (
            lambda: make_pipeline(OrdinalEncoder(), OneHotEncoder(), MLPClassifier(**SMALL)),
            WORDS, ValueError, "OneHotEncoder after another step",
        ),
        (
            lambda: make_pipeline(ColumnTransformer([("a", StandardScaler(), [0])], transformer_weights={"a": 2.0}),
                                  MLPClassifier(**SMALL)),
            X, ValueError, "transformer_weights",
        ),
        (
            lambda: make_pipeline(ColumnTransformer([("a", StandardScaler(), [0]), ("b", MinMaxScaler(), [0])]),
                                  MLPClassifier(**SMALL)),
            X, ValueError, "uses a column twice",
        ),
        (
            lambda: make_pipeline(ColumnTransformer([("a", SimpleImputer(), [0]), ("b", OneHotEncoder(), [1])]),
                                  MLPClassifier(**SMALL)),
            X.round(), ValueError, "to a frame",
        ),
        (
            lambda: make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(), MLPClassifier(**SMALL)),
            np.array([["a"], ["a"], ["a"], ["a"], [None], [np.nan]] * (ROWS // 6), object),
            ValueError, "knows None and NaN apart",
        ),
        (
            lambda: make_pipeline(SimpleImputer(add_indicator=True), OrdinalEncoder(), MLPClassifier(**SMALL)),
            CODES, ValueError, "adds or drops columns before an encoder",
        ),
        (lambda: make_pipeline(TargetEncoder(), MLPClassifier(**SMALL)), WORDS, ValueError, "TargetEncoder"),
    ],
)  # fmt: skip
def test_what_no_layer_does_is_named(made, x, error, message):
    estimator = made().fit(x, Y)
    with pytest.raises(error, match=message):
        fastnn.from_sklearn(estimator)


@pytest.mark.parametrize(
    "estimator",
    [MLPClassifier(), make_pipeline(StandardScaler(), MLPRegressor()), fastnn.sklearn.MLPClassifier()],
    ids=repr,
)
def test_what_is_not_fitted_is_refused(estimator):
    with pytest.raises(ValueError, match="must be fitted"):
        fastnn.from_sklearn(estimator)


def test_an_estimator_for_tables_is_refused_fitted_or_not():
    frame = pd.DataFrame(X)
    estimator = fastnn.tabular.TabularRegressor("plain", time_limit=0.1)
    for one in (estimator, estimator.fit(frame, np.abs(X).sum(axis=1)), make_pipeline(StandardScaler(), estimator)):
        with pytest.raises(TypeError, match="a TabularRegressor prepares rows for its networks itself: its save "):
            fastnn.from_sklearn(one)


def test_an_encoder_before_a_network_of_fastnn_whose_columns_lie_elsewhere():
    transformer = ColumnTransformer([("o", OrdinalEncoder(), [1]), ("s", StandardScaler(), [0])])
    estimator = make_pipeline(transformer, fastnn.sklearn.MLPClassifier(**SMALL)).fit(X.round(), Y)
    with pytest.raises(ValueError, match="another order"):
        fastnn.from_sklearn(estimator)


@pytest.mark.parametrize("value", [None, 3, "mlp", np.zeros(3), {}])
def test_other_objects_are_refused_without_scikit_learn(value):
    with pytest.raises(TypeError, match="estimator must be an MLPClassifier"):
        fastnn.from_sklearn(value)


def test_scikit_learn_is_not_imported_for_other_objects():
    script = (
        "import sys, fastnn\ntry: fastnn.from_sklearn(3)\nexcept TypeError: pass\nassert 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
