"""Estimators around a function that builds any network: their arguments, and networks that read frames."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastnn
from fastnn import layers
from fastnn.optimizers import Adam
from fastnn.sklearn import SequentialClassifier, SequentialRegressor

pd = pytest.importorskip("pandas")
X, Y = load_iris(return_X_y=True)


def build(inputs, outputs, units=8, rate=0.0):
    hidden = [layers.Dense(units, "relu"), layers.Dropout(rate)]
    return fastnn.Sequential([fastnn.Input((inputs,)), *hidden, layers.Dense(outputs)])


def people(rows=300):
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"age": random.normal(40, 10, rows), "kind": random.choice(["a", "b", "c"], rows)})
    return frame, np.where((frame.age > 40) ^ (frame.kind == "a"), "yes", "no")


def by_name(outputs, x, width=4):
    ages = layers.Normalization()
    ages.adapt(x[["age"]].to_numpy())
    kinds = [layers.StringLookup(vocabulary=["a", "b", "c"]), layers.Embedding(4, width)]
    branches = layers.Branches({"age": [ages], "kind": kinds})
    return fastnn.Sequential([branches, layers.Dense(32, "relu"), layers.Dense(outputs, "sigmoid")])


# ---- arguments of the function ----


def test_arguments_of_the_function_are_those_of_the_estimator():
    estimator = SequentialClassifier(build, units=16)
    assert estimator.get_params()["units"] == 16
    assert estimator.get_params()["rate"] == 0.0  # the function's default
    assert clone(estimator).set_params(rate=0.5).get_params()["rate"] == 0.5
    estimator.set_params(epochs=1).fit(X, Y)
    assert estimator.model_.layers[1].units == 16


def test_a_search_tries_arguments_of_the_function():
    pipeline = make_pipeline(
        StandardScaler(), SequentialClassifier(build, epochs=60, random_state=0, optimizer=Adam(0.01))
    )
    search = GridSearchCV(pipeline, {"sequentialclassifier__units": [1, 32]}, cv=3).fit(X, Y)
    assert search.best_params_ == {"sequentialclassifier__units": 32}
    assert search.best_estimator_[-1].model_.layers[1].units == 32


def test_an_argument_that_the_function_lacks_is_named():
    with pytest.raises(TypeError, match=r"SequentialClassifier and its function have no argument 'unit'; .*'units'"):
        SequentialClassifier(build, unit=3).fit(X, Y)


def test_a_new_function_brings_its_own_arguments():
    def deep(inputs, outputs, depth=2):
        stack = [layers.Dense(4, "relu") for _ in range(depth)]
        return fastnn.Sequential([fastnn.Input((inputs,)), *stack, layers.Dense(outputs)])

    estimator = SequentialClassifier(build).set_params(build=deep, depth=3, epochs=1).fit(X, Y)
    assert len(estimator.model_.layers) == 5
    assert "units" not in estimator.get_params()


def test_the_function_is_told_what_it_asks_for():
    told = {}

    def asks(inputs, outputs, columns, dtype, x, random_state):
        told.update(inputs=inputs, outputs=outputs, columns=columns, dtype=dtype, rows=len(x), seed=random_state)
        return build(inputs, outputs)

    SequentialRegressor(asks, epochs=1, random_state=7).fit(X, np.c_[Y, Y])
    assert told == {"inputs": 4, "outputs": 2, "columns": None, "dtype": "float64", "rows": 150, "seed": 7}


def test_the_same_random_state_builds_and_trains_the_same_network():
    one, other = (SequentialClassifier(build, rate=0.3, epochs=3, random_state=5).fit(X, Y) for _ in range(2))
    for weights, expected in zip(one.model_.get_weights(), other.model_.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, expected)


# ---- losses and outputs ----


@pytest.mark.parametrize(
    ("y", "outputs", "last"),
    [
        (Y, 3, "softmax"),
        (Y, 3, None),
        (Y, 3, "sigmoid"),
        (Y == 1, 1, "sigmoid"),
        (Y == 1, 1, None),
        (Y == 1, 2, "softmax"),
        (np.stack([Y == 0, Y == 1], axis=1).astype(int), 2, "sigmoid"),
        (np.stack([Y == 0, Y == 1], axis=1).astype(int), 2, None),
    ],
)
def test_the_loss_fits_the_last_activation(y, outputs, last):
    def ends_in(inputs):
        hidden = layers.Dense(32, "relu")
        return fastnn.Sequential([fastnn.Input((inputs,)), hidden, layers.Dense(outputs, last)])

    x = StandardScaler().fit_transform(X)
    estimator = SequentialClassifier(ends_in, epochs=300, random_state=0, optimizer=Adam(0.01)).fit(x, y)
    assert estimator.score(x, y) > 0.9
    probabilities = estimator.predict_proba(x)
    assert probabilities.shape == (150, outputs if y.ndim > 1 else len(np.unique(y)))
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


def test_another_activation_needs_a_loss():
    def ends_in_tanh(inputs):
        return fastnn.Sequential([fastnn.Input((inputs,)), layers.Dense(1, "tanh")])

    with pytest.raises(ValueError, match="loss must be given for a network whose last activation is 'tanh'"):
        SequentialClassifier(ends_in_tanh).fit(X, Y == 1)
    SequentialClassifier(ends_in_tanh, loss="hinge", epochs=1).fit(X, Y == 1)


def test_a_network_of_other_outputs_is_refused():
    with pytest.raises(ValueError, match="build must return a network of 3 outputs for this y, got 5"):
        SequentialClassifier(lambda inputs: build(inputs, 5)).fit(X, Y)
    with pytest.raises(TypeError, match="build must return a Sequential, got list"):
        SequentialClassifier(list).fit(X, Y)


def test_a_function_may_compile_the_network():
    def compiled(inputs, outputs):
        model = build(inputs, outputs)
        model.compile("sgd", fastnn.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        return model

    assert set(SequentialClassifier(compiled, epochs=2).fit(X, Y).history_) == {"loss", "accuracy"}
    with pytest.raises(ValueError, match="build compiles the network: loss and optimizer must be None"):
        SequentialClassifier(compiled, optimizer="adam").fit(X, Y)


def test_several_targets_of_several_classes_are_heads_in_their_order():
    def two(inputs):
        heads = layers.Heads({"kind": [layers.Dense(3)], "first": [layers.Dense(1, "sigmoid")]})
        return fastnn.Sequential([fastnn.Input((inputs,)), layers.Dense(32, "relu"), heads])

    y = np.stack([Y, Y == 0], axis=1)
    estimator = SequentialClassifier(two, epochs=300, random_state=0).fit(X, y)
    assert [classes.tolist() for classes in estimator.classes_] == [[0, 1, 2], [0, 1]]
    assert [p.shape for p in estimator.predict_proba(X)] == [(150, 3), (150, 2)]
    assert estimator.score(X, y) > 0.9
    with pytest.raises(ValueError, match="network of 2 heads for this y, got 0"):
        SequentialClassifier(build).fit(X, y)


# ---- frames that the network reads by column ----


def test_a_network_with_branches_gets_the_frame():
    frame, y = people()
    estimator = SequentialClassifier(by_name, epochs=300, random_state=0, width=3).fit(frame, y)
    assert estimator.score(frame, y) > 0.97
    assert estimator.feature_names_in_.tolist() == ["age", "kind"]
    np.testing.assert_array_equal(estimator.predict_proba(frame[["kind", "age"]]), estimator.predict_proba(frame))
    loaded = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(loaded.predict_proba(frame), estimator.predict_proba(frame))
    with pytest.raises(ValueError, match="yet now missing:\n- kind"):
        estimator.predict(frame[["age"]])


def test_validation_rows_of_a_frame_are_read_as_the_frame():
    frame, y = people()
    estimator = SequentialClassifier(by_name, epochs=2).fit(
        frame[:200], y[:200], validation_data=(frame[200:], y[200:])
    )
    assert len(estimator.history_["val_loss"]) == 2


def test_another_network_gets_numbers():
    frame = pd.DataFrame(X, columns=list("abcd"))
    estimator = SequentialClassifier(build, epochs=2, random_state=0).fit(frame, Y)
    np.testing.assert_array_equal(estimator.predict_proba(frame[list("dcba")]), estimator.predict_proba(frame))
    text = frame.assign(a="x")
    with pytest.raises(TypeError, match=r"'a'.*text"):
        SequentialClassifier(build).fit(text, Y)


# ---- training ----


def test_warm_start_goes_on():
    estimator = SequentialRegressor(epochs=20, random_state=0, warm_start=True).fit(X, Y)
    before = estimator.history_["loss"][-1]
    assert estimator.fit(X, Y).history_["loss"][0] < before * 1.05
    assert estimator.n_iter_ == 20


def test_partial_fit_goes_on_from_call_to_call():
    estimator = SequentialClassifier(build, random_state=0, optimizer=Adam(0.01))
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        estimator.partial_fit(X[:50], Y[:50])
    losses = [estimator.partial_fit(X, Y, classes=[0, 1, 2]).history_["loss"][0] for _ in range(30)]
    assert losses[-1] < losses[0] / 2


def test_a_share_of_the_rows_is_validated():
    estimator = SequentialRegressor(epochs=3, validation_split=0.2).fit(X, Y)
    assert len(estimator.history_["val_loss"]) == 3
