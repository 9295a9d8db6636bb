"""Layers that take some of their input's columns: formulas, gradients, columns by index and by name, files, errors."""

import re
from statistics import NormalDist

import numpy as np
import pandas
import pytest
from bits import same_on_any_threads

import fastnn
from fastnn import layers
from fastnn._op import Op
from fastnn.layers._columns import OfColumns, side_by_side

WIDTH = 5
X = np.random.default_rng(0).normal(size=(12, WIDTH))
NAMES = ("age", "income", "height", "weight", "score")
FRAME = pandas.DataFrame(X, columns=NAMES)
MOVED = FRAME[["score", "weight", "age", "height", "income"]]
Y = X @ np.arange(1.0, 6.0)


class Twice(OfColumns):
    """y = (2 x, 3 x), of ops that each read the columns that are taken: a layer that changes their number."""

    keeps_width = False

    def build_taken(self, inputs):
        self._features = inputs
        return 2 * inputs

    def lower_taken(self, offsets):
        n = self._features
        scaled = [Op("columns", "linear", n, n, mode="scale", numbers=(0.0, by, 0.0)) for by in (2.0, 3.0)]
        return side_by_side([[op] for op in scaled], [0, 0])


def halved(columns):
    """Return the layer y = x / 2 of some columns."""
    return layers.Normalization(mean=0.0, variance=4.0, columns=columns)


def constants(columns, each):
    """Return the same constants for each of the columns that are taken."""
    return [each] * (WIDTH if columns is None else len(columns))


def robust(columns):
    center, factor = constants(columns, 0.25), constants(columns, 2.0)
    return layers.RobustNormalization(columns, center=center, factor=factor)


def clipped(x):
    z = 2 * (x - 0.25)
    return z / np.sqrt(1 + (z / 3) ** 2)


KNOTS = np.array([-2.0, -0.7, 0.0, 0.0, 0.4, 0.5, 3.0])


def normal(columns):
    return layers.QuantileNormalization(columns=columns, knots=constants(columns, KNOTS))


def scores(x):
    """Return what scikit-learn's QuantileTransformer makes of x, from its documentation."""
    shares = np.linspace(0, 1, len(KNOTS))
    p = (np.interp(x, KNOTS, shares) - np.interp(-x, -KNOTS[::-1], -shares[::-1])) / 2
    z = np.vectorize(NormalDist().inv_cdf)(np.clip(p, 1e-7, 1 - 1e-7))
    return np.where(x <= KNOTS[0], -END, np.where(x >= KNOTS[-1], END, z))


END = 5.199337582605575  # scikit-learn's bound of a normal distribution
EDGES = [-1.5, -0.5, 0.2, 0.3, 2.0]


def binned(columns):
    return layers.PiecewiseLinearEncoding(columns=columns, bin_edges=constants(columns, EDGES))


def pieces(x):
    """Return the encoding of each column of x, after the formula of the paper."""
    parts = []
    for column in x.T:
        for t in range(1, len(EDGES)):
            e = (column - EDGES[t - 1]) / (EDGES[t] - EDGES[t - 1])
            e = np.maximum(e, 0) if t > 1 else e
            parts.append(np.minimum(e, 1) if t < len(EDGES) - 1 else e)
    return np.stack(parts, axis=1)


def mapped(columns):
    """Return an encoding of bins that are mapped; test_columns_of_numbers.py has the formula."""
    edges = constants(columns, EDGES)
    return layers.PiecewiseLinearEncoding(units=2, activation="tanh", linear=True, columns=columns, bin_edges=edges)


def filled(columns):
    return layers.Impute("constant", constants(columns, 0.5), columns=columns)


def flagged(columns):
    return layers.Impute("constant", 0.5, add_indicator=True, columns=columns)


# The layers of the family, and what they make of the columns that they take. tests/test_impute.py has missing values.
FAMILY = {
    "Impute": (filled, lambda x: x),
    "Impute with indicators": (flagged, lambda x: np.hstack([x, np.zeros_like(x)])),
    "Normalization": (halved, lambda x: x / 2),
    "RobustNormalization": (robust, clipped),
    "QuantileNormalization": (normal, scores),
    "PiecewiseLinearEncoding": (binned, pieces),
    "ops side by side": (Twice, lambda x: np.hstack([2 * x, 3 * x])),
}
CHOICES = [None, [0], [1, 2], [3, 4], [0, 2, 4], [4, 1], [4, 3, 2, 1, 0]]
CLOSE = {"rtol": 1e-13, "atol": 1e-14}  # a few operations in float64


def wanted(name, columns, x):
    """Return what a layer of the family makes of rows, in NumPy."""
    make, formula = FAMILY[name]
    places = sorted(range(x.shape[1]) if columns is None else columns)
    if make(None).keeps_columns:
        y = x.copy()
        y[:, places] = formula(x[:, places])
        return y
    return np.hstack([np.delete(x, places, axis=1), formula(x[:, places])])


@pytest.mark.parametrize("columns", CHOICES, ids=str)
@pytest.mark.parametrize("name", FAMILY)
def test_a_layer_takes_its_columns_and_leaves_the_others(name, columns):
    layer = FAMILY[name][0](columns)
    model = fastnn.Sequential([layers.Input((WIDTH,), dtype="float64"), layer])
    np.testing.assert_allclose(model.predict(X), wanted(name, columns, X), **CLOSE)
    np.testing.assert_array_equal(model.freeze()(X), model.predict(X))
    np.testing.assert_array_equal(model.freeze()(X[0]), model.predict(X[:1]).squeeze(0))
    single = fastnn.Sequential([layers.Input((WIDTH,)), FAMILY[name][0](columns)])
    # 2e-6: in float32 a number lies 1e-7 from where it was, and scores rise twenty times as fast at the ends
    np.testing.assert_allclose(single.predict(X), wanted(name, columns, X), rtol=2e-6, atol=2e-6)


def behind_a_dense(layer):
    return [layers.Dense(WIDTH, "tanh"), layer]


def within_a_block(layer):
    kept = layer.keeps_columns
    return [layers.Dense(WIDTH, "tanh"), layers.Residual([layer] if kept else [layer, layers.Dense(WIDTH)])]


def in_one_of_two_heads(layer):
    return [layers.Dense(WIDTH, "tanh"), layers.Heads({"a": [layer, layers.Dense(2)], "b": [layers.Dense(3)]})]


def after_another(layer):
    return [layers.Dense(WIDTH), halved([2, 1]), layer]


@pytest.mark.parametrize("place", [behind_a_dense, within_a_block, in_one_of_two_heads, after_another])
@pytest.mark.parametrize("columns", CHOICES, ids=str)
@pytest.mark.parametrize("make", [*(make for make, _ in FAMILY.values()), mapped])
def test_gradients_by_central_differences(make, columns, place):
    model = fastnn.Sequential([layers.Input((WIDTH,), dtype="float64"), *place(make(columns))])
    generator, x = np.random.default_rng(1), X.copy()
    for view in model.trainable_weights:
        view[...] = generator.normal(size=view.shape) / 2
    y = model.forward(x)
    dy = {key: generator.normal(size=part.shape) for key, part in y.items()} if isinstance(y, dict) else None
    dy = generator.normal(size=y.shape) if dy is None else dy

    def value():
        y = model.forward(x)
        return sum((y[key] * dy[key]).sum() for key in y) if isinstance(y, dict) else (y * dy).sum()

    value()
    found = [model.backward(dy), *(gradient.copy() for gradient in model.gradients)]
    fixed = {id(view) for view in model.non_trainable_weights}
    for gradient, at in zip(found, [x, *model.weights], strict=True):
        if id(at) in fixed:
            continue
        direction = generator.normal(size=gradient.shape)
        before, values = at.copy(), []
        for step in (1e-6, -1e-6):
            at[...] = before + step * direction
            values.append(value())
        at[...] = before
        # The difference of two sums of about a hundred numbers of size 1 has an error of about 1e-14 / 1e-6.
        np.testing.assert_allclose((values[0] - values[1]) / 2e-6, (gradient * direction).sum(), rtol=1e-6, atol=1e-6)


def test_bits_do_not_depend_on_threads():
    def trained():
        model = fastnn.Sequential([layers.Input((WIDTH,)), Twice([0, 3]), halved([1, 5]), layers.Dense(4, "relu")])
        model.compile("adam", "mse")
        model._seed = 3
        for view in model.weights:
            view[...] = np.linspace(-1, 1, view.size).reshape(view.shape)
        model.fit(X, X[:, :4], epochs=2, batch_size=5, verbose=0)
        return model.get_weights()

    same_on_any_threads(trained)


# ---- columns by name ----


def untrained(*stack):
    model = fastnn.Sequential([*stack, layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("name", FAMILY)
def test_the_first_frame_says_where_columns_lie(name, tmp_path):
    by_name, by_index = (untrained(FAMILY[name][0](columns)) for columns in (["weight", "income"], [1, 3]))
    assert not by_name.built
    by_index.fit(FRAME.to_numpy(), Y, epochs=0, verbose=0)
    by_name.fit(FRAME, Y, epochs=0, verbose=0)
    by_name.set_weights(by_index.get_weights())
    expected = by_index.predict(FRAME.to_numpy())
    for model in (by_name, by_name.freeze()):
        for frame in (FRAME, MOVED, FRAME.to_numpy()):
            result = model(frame) if model is not by_name else model.predict(frame)
            np.testing.assert_array_equal(result, expected)
    by_name.feature_names = None
    by_name.layers[-1].learning_rate_multiplier = 2.0
    np.testing.assert_array_equal(by_name.predict(FRAME.to_numpy()), expected)


def test_a_model_with_columns_by_name_is_saved_with_their_names(tmp_path):
    model = untrained(layers.Normalization(mean=1.0, variance=4.0, columns=["weight", "income"]))
    model.fit(FRAME, Y, verbose=0)
    model.save(tmp_path / "model.fastnn")
    loaded = fastnn.load_model(tmp_path / "model.fastnn")
    assert loaded.layers[0].columns == ("weight", "income")
    np.testing.assert_array_equal(loaded.predict(MOVED), model.predict(FRAME))
    again = fastnn.Sequential.from_config(model.get_config())
    again.build((None, WIDTH))
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again.predict(MOVED), model.predict(FRAME))
    again.load_weights(tmp_path / "model.fastnn")
    within = fastnn.Sequential([model, layers.Rescaling(2.0)])
    np.testing.assert_array_equal(within.predict(MOVED), 2 * model.predict(FRAME))


def test_a_layer_finds_its_columns_after_others_by_the_names_that_are_left():
    by_name = untrained(halved(["age"]), Twice(["income"]), Twice(["score", "age"]), halved(["weight"]))
    by_index = untrained(halved([0]), Twice([1]), Twice([0, 3]), halved([1]))
    by_name.fit(FRAME, Y, epochs=0, verbose=0)
    by_index.fit(X, Y, epochs=0, verbose=0)
    by_name.set_weights(by_index.get_weights())
    np.testing.assert_array_equal(by_name.predict(MOVED), by_index.predict(X))
    gone = untrained(Twice(["income"]), halved(["income"]))
    with pytest.raises(ValueError, match=r"^layer 'normalization' takes the column 'income', which its input has not"):
        gone.fit(FRAME, Y, verbose=0)
    assert gone.feature_names is None
    assert not gone.built


def test_batches_and_members_of_ensembles_go_by_name():
    def model():
        fastnn.utils.set_random_seed(4)
        known = layers.RobustNormalization(["weight", "income"])
        known.adapt(FRAME)
        return untrained(layers.Input((WIDTH,)), known, layers.LinearEmbedding(2, columns=["age"]), layers.Dense(3))

    one, other, ensemble = model(), model(), fastnn.Ensemble([model(), model()])
    one.fit(FRAME, Y, batch_size=6, epochs=2, shuffle=False, verbose=0)
    halves = [(FRAME[:6], Y[:6]), (MOVED[6:], Y[6:])]
    other.fit((half for _ in range(2) for half in halves), steps_per_epoch=2, epochs=2, verbose=0)
    ensemble.fit(FRAME, Y, batch_size=6, epochs=2, shuffle=False, verbose=0)
    for each in (other, *ensemble.models):
        assert each.feature_names == NAMES
        for ours, wanted in zip(each.get_weights(), one.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, wanted)
    one.initialize(MOVED)
    np.testing.assert_array_equal(one.predict(FRAME), one.predict(MOVED))


def test_a_branch_knows_the_columns_that_it_takes():
    def model(columns, other):
        branches = layers.Branches({("age", "score", "weight"): [halved(columns), Twice(other)], "income": []})
        return untrained(branches)

    by_name, by_index = model(["weight"], ["score"]), model([2], [1])
    for each in (by_name, by_index):
        each.fit(FRAME, Y, epochs=0, verbose=0)
    by_name.set_weights(by_index.get_weights())
    np.testing.assert_array_equal(by_name.predict(MOVED), by_index.predict(FRAME))


def test_feature_names_that_say_otherwise_than_a_layer_was_built_by_are_refused():
    model = untrained(halved(["weight", "income"]))
    model.fit(FRAME, Y, verbose=0)
    with pytest.raises(ValueError, match=r"takes the columns 'weight', 'income', which are the columns 1, 3 of its "):
        model.feature_names = list(MOVED)
    assert model.feature_names == NAMES
    model.feature_names = ["a", "income", "b", "weight", "c"]
    assert model.predict(X).shape == (12, 1)


def test_a_normalization_is_adapted_to_its_columns_alone():
    layer = layers.Normalization(columns=["weight", "income"])
    layer.adapt(MOVED.assign(score="text"))
    np.testing.assert_allclose(layer.mean, [X[:, [3, 1]].mean(axis=0)])
    model = untrained(layer)
    model.fit(FRAME, Y, epochs=0, verbose=0)
    assert model.feature_names == tuple(MOVED)
    expected = MOVED.to_numpy().copy()
    expected[:, [1, 4]] -= X[:, [3, 1]].mean(axis=0)
    expected[:, [1, 4]] /= X[:, [3, 1]].std(axis=0)
    kernel, bias = model.layers[-1].get_weights()
    np.testing.assert_allclose(model.predict(FRAME), expected @ kernel + bias, rtol=1e-4, atol=1e-5)
    by_index = layers.Normalization(columns=[3, 1])
    by_index.adapt(X)
    np.testing.assert_allclose(by_index.mean, layer.mean[:, ::-1])


# ---- errors, and changes ----


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("age", "columns must be a list of names or indices, got 'age'"),
        (3, "columns must be a list of names or indices, got 3"),
        ({"age": 1}, "columns must be a list of names or indices, got {'age': 1}"),
        ([], "columns must hold at least one name or index, or be None for all columns"),
        ([1.0], "columns must hold names or indices, got 1.0"),
        ([True], "columns must hold names or indices, got True"),
        ([-1], "columns must hold indices of at least 0, got -1"),
        (["age", "age"], "columns must be different columns, got 'age' twice"),
    ],
)
def test_what_is_no_list_of_columns_is_refused(columns, message):
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(message)}$"):
        layers.Normalization(columns=columns)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["incme"], "layer 'normalization' takes the column 'incme', which its input has not; did you mean 'income'?"),
        ([5], "columns of layer 'normalization' must hold indices below 5, the number of columns of its input, got 5"),
        (["age", 0], "columns of layer 'normalization' must be different columns, got 0 twice"),
    ],
)
def test_a_column_that_is_not_there_is_refused_in_one_sentence(columns, message):
    model = untrained(layers.Normalization(mean=0.0, variance=1.0, columns=columns))
    exactly = f"^{re.escape(message)}$"
    with pytest.raises(ValueError, match=exactly):
        model.fit(FRAME, Y, verbose=0)
    assert not model.built
    assert model.feature_names is None
    alone = layers.Normalization(columns=columns, name="normalization")
    with pytest.raises(ValueError, match=exactly):
        alone.adapt(FRAME)


def test_names_of_which_nobody_has_said_where_they_lie_are_refused():
    model = untrained(halved(["income"]))
    message = r"^layer 'normalization' takes the column 'income' by name, but the columns of its input have no names"
    for call in (lambda: model.fit(X, Y, verbose=0), lambda: model.build((WIDTH,))):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(ValueError, match=r"^this Normalization takes the column 'income' by name, but the columns"):
        layers.Normalization(columns=["income"]).adapt(X)
    model.feature_names = NAMES
    model.fit(X, Y, verbose=0)
    assert model.predict(MOVED).shape == (12, 1)
    late = fastnn.Sequential([layers.Input((WIDTH,)), layers.Dense(3), halved(["income"])])
    assert not late.built
    late.feature_names = NAMES
    with pytest.raises(ValueError, match=message.replace("^", "^predict needs a built model: ")):
        late.predict(FRAME)


def test_columns_may_be_set_until_the_model_is_built():
    layer = halved([1])
    model = fastnn.Sequential([layer])
    layer.columns = range(2, 4)
    assert layer.columns == (2, 3)
    model.build((WIDTH,))
    np.testing.assert_allclose(model.predict(X), wanted("Normalization", [2, 3], X), rtol=1e-6)
    with pytest.raises(ValueError, match=r"^columns of layer 'normalization' cannot be set once the model is built"):
        layer.columns = [0]
    layer.name = "halves"
    np.testing.assert_allclose(model.predict(X), wanted("Normalization", [2, 3], X), rtol=1e-6)
