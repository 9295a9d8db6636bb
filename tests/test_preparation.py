"""Layers that prepare raw columns, and those that change no number: formulas, Keras's values, files, bad arguments."""

import copy
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import _stored, layers

MODES = ["one_hot", "multi_hot", "count"]


def outputs(layer, x, dtype="float32"):
    return fastnn.Sequential([fastnn.Input((x.shape[1],), dtype=dtype), layer]).predict(x)


def encoded(categories, tokens, mode):
    """Return the one-hot vectors of each row's categories, joined as output_mode says; -1 has a vector of zeros."""
    vectors = np.array(categories)[..., None] == np.arange(tokens)
    if mode == "one_hot":
        return vectors.reshape(len(vectors), -1)
    return vectors.sum(axis=1) if mode == "count" else vectors.any(axis=1)


# ---- shapes ----


@pytest.mark.parametrize("first", [[], [layers.Rescaling(0.5)], [layers.Dropout(0.3), layers.Activation("tanh")]])
def test_images_are_flattened(first):
    x = np.random.default_rng(0).random((20, 4, 5, 2), np.float32)
    y = np.arange(20) % 3
    before = copy.deepcopy(first)
    told = fastnn.Sequential([fastnn.Input((4, 5, 2)), *before, layers.Flatten(), layers.Dense(3, "softmax")])
    flat = fastnn.Sequential.from_config(told.get_config())
    flat.set_weights(told.get_weights())
    flat._seed = told._seed
    for model, data in ((told, x), (flat, x.reshape(20, 40))):
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(data, y, epochs=2, batch_size=6, verbose=0)
    np.testing.assert_array_equal(told.predict(x), flat.predict(x.reshape(20, 40)))
    np.testing.assert_array_equal(told.predict(x.transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3)), told.predict(x))


def test_flattened_rows_are_views():
    x = np.zeros((3, 4, 5), np.float32)
    model = fastnn.Sequential([fastnn.Input((4, 5)), layers.Flatten(), layers.Dense(2)])
    assert np.shares_memory(model._inputs(x, "float32", check_finite=True)[0], x)


def test_reshape_and_shapes_of_a_model_that_was_told_none():
    x = np.random.default_rng(0).random((6, 4, 3))
    stack = [layers.Reshape((2, -1)), layers.Activation("relu"), layers.Reshape((12,)), layers.Dense(2)]
    model = fastnn.Sequential(stack)
    model.compile("sgd", "mse")
    model.fit(x, np.zeros((6, 2)), verbose=0)
    np.testing.assert_array_equal(model.predict(x), model.predict(x.reshape(6, 12)))
    assert [stack[0]._axes, stack[2]._axes] == [(2, 6), (12,)]
    built = fastnn.Sequential([layers.Flatten(), layers.Dense(1)])
    built.build((None, 4, 3))
    assert built.layers[1].kernel.shape == (12, 1)
    assert fastnn.Sequential([layers.Flatten(input_shape=(4, 3)), layers.Dense(1)]).predict(x).shape == (6, 1)


def test_shapes_in_files(tmp_path):
    model = fastnn.Sequential([fastnn.Input((4, 3)), layers.Reshape((-1,)), layers.Dense(2)])
    model.save(tmp_path / "model.fastnn")
    loaded = fastnn.load_model(tmp_path / "model.fastnn")
    x = np.random.default_rng(0).random((6, 4, 3))
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert loaded.get_config() == model.get_config()


SHAPE_ERRORS = {
    "dense": (lambda: fastnn.Sequential([fastnn.Input((4, 3)), layers.Dense(2)]), "'dense' needs rows of one axis"),
    "softmax": (lambda: fastnn.Sequential([fastnn.Input((4, 3)), layers.Activation("softmax"), layers.Flatten()]),
                "'activation' needs rows of one axis"),
    "end": (lambda: fastnn.Sequential([fastnn.Input((4, 3)), layers.Activation("relu")]).reset(), "add a Flatten"),
    "length": (lambda: fastnn.Sequential([fastnn.Input((5,)), layers.Reshape((2, 3))]), "cannot make .2, 3. of 5"),
    "rest": (lambda: fastnn.Sequential([fastnn.Input((5,)), layers.Reshape((2, -1))]), "cannot make"),
    "two": (lambda: layers.Reshape((-1, -1)), "target_shape must hold"),
    "zero": (lambda: layers.Reshape((0, 3)), "target_shape must hold"),
    "bool": (lambda: layers.Reshape((True,)), "target_shape must hold"),
    "format": (lambda: layers.Flatten("channels_first"), "data_format"),
    "input": (lambda: fastnn.Input((4, 0)), "at least 1"),
    "none": (lambda: fastnn.Input(()), "shape must be"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(SHAPE_ERRORS))
def test_shapes_that_cannot_be(case):
    make, message = SHAPE_ERRORS[case]
    with pytest.raises(ValueError, match=message):
        make()


def test_rows_of_other_shapes():
    model = fastnn.Sequential([fastnn.Input((4, 3)), layers.Flatten(), layers.Dense(2)])
    with pytest.raises(ValueError, match=r"x must have rows of shape \(4, 3\), got \(3, 4\)"):
        model.predict(np.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match="12 features a row, as the model was built for, got 11"):
        model.predict(np.zeros((2, 11)))
    plain = fastnn.Sequential([layers.Dense(2)])
    for call in (lambda: plain.build((None, 4, 3)), lambda: plain.fit(np.zeros((2, 4, 3)), np.zeros((2, 2)))):
        plain.compile("sgd", "mse")
        with pytest.raises(ValueError, match="start the model with a Flatten"):
            call()
    assert not plain.built


# ---- categories ----


@settings(max_examples=40)
@given(
    mode=st.sampled_from(MODES),
    tokens=st.sampled_from([1, 2, 7, 40]),
    columns=st.sampled_from([1, 2, 5]),
    rows=st.sampled_from([1, 3, 100]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_categories_as_columns(mode, tokens, columns, rows, dtype):
    x = np.random.default_rng(rows).integers(0, tokens, (rows, columns))
    result = outputs(layers.CategoryEncoding(tokens, mode), x, dtype)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, encoded(x, tokens, mode))


@settings(max_examples=40)
@given(
    mode=st.sampled_from(["int", *MODES]),
    bounds=st.lists(st.floats(-3, 3, width=32, allow_subnormal=False), max_size=9).map(sorted),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_bins(mode, bounds, dtype):
    x = np.random.default_rng(len(bounds)).normal(size=(30, 3)).astype(dtype)
    x[: len(bounds), 0] = bounds
    x[-1] = [np.inf, -np.inf, np.nan]
    bins = np.digitize(x, bounds)
    expected = (bins if mode == "int" else encoded(bins, len(bounds) + 1, mode)).astype(dtype)
    own = {"int": slice(2, None), "one_hot": slice(2 * (len(bounds) + 1), None)}.get(mode, slice(None))
    expected[-1, own] = np.nan  # these columns would count the NaN
    layer = layers.Discretization(bounds, output_mode=mode)
    np.testing.assert_array_equal(outputs(layer, x, dtype), expected)


def test_a_missing_value_gives_no_answer():
    """Every layer passes a NaN on, so that nobody takes what follows from it for an answer."""
    for tail in ([layers.Embedding(3, 2)], []):
        model = fastnn.Sequential([fastnn.Input((2,)), layers.Discretization([0.0, 1.0]), *tail, layers.Dense(1)])
        x = np.array([[0.5, 0.5], [0.5, np.nan]], np.float32)
        for predict in (model.predict, model.freeze()):
            np.testing.assert_array_equal(np.isnan(predict(x)), [[False], [True]])


def test_bins_that_keras_finds():
    """The bins are those that Keras 3.15 finds in the same data."""
    data = np.arange(50) ** 2 % 37 / 4
    layer = layers.Discretization(num_bins=4)
    layer.adapt(data)
    assert layer.bin_boundaries == (1.75, 4.0, 6.75)
    layer = layers.Discretization(num_bins=5, epsilon=0.1)
    layer.adapt(data.reshape(25, 2))
    assert layer.bin_boundaries == (1.0, 2.75, 6.249999046325684, 7.0)


@pytest.mark.parametrize("epsilon", [0.01, 0.3, 1e-3])
@pytest.mark.parametrize("piece", [64, 1000])
def test_bins_do_not_depend_on_how_many_numbers_are_sorted_at_a_time(piece, epsilon, monkeypatch):
    random = np.random.default_rng(0)
    columns = [random.normal(size=5000), random.integers(-3, 3, 5000), np.zeros(3000), random.normal(size=999) * 1e-42]
    columns += [np.repeat([1e38, -1e38, 0.0], 999), np.arange(70)]

    def boundaries(column):
        layer = layers.Discretization(num_bins=5, epsilon=epsilon)
        layer.adapt(column)
        return layer.bin_boundaries

    at_once = [boundaries(column) for column in columns]
    monkeypatch.setattr("fastnn.layers.categories.PIECE", piece)
    assert [boundaries(column) for column in columns] == at_once


def test_adapted_bins_share_the_data_out():
    data = np.random.default_rng(0).normal(size=(5000, 1))
    layer = layers.Discretization(num_bins=8)
    layer.adapt(data)
    counts = np.bincount(outputs(layer, data)[:, 0].astype(int), minlength=8)
    assert np.abs(counts - 625).max() <= 0.011 * 5000  # the error is epsilon, and one quantile at the end


def test_training_on_bins():
    """An Embedding of bins, and bins as columns, learn a step that a line cannot."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(400, 2)).astype(np.float32)
    y = ((x[:, 0] > 0.5) ^ (x[:, 1] < -0.3)).astype(np.float32)
    for tail in ([layers.Embedding(12, 4)], []):
        bins = layers.Discretization(num_bins=12, output_mode="int" if tail else "one_hot")
        bins.adapt(x)
        model = fastnn.Sequential([bins, *tail, layers.Dense(16, "tanh"), layers.Dense(1, "sigmoid")])
        model.compile(fastnn.optimizers.Adam(0.02), "binary_crossentropy", metrics=["accuracy"])
        model.fit(x, y, epochs=25, verbose=0)
        assert model.evaluate(x, y, verbose=0)[1] > 0.9
        frozen = model.freeze()
        np.testing.assert_array_equal(frozen(x), model.predict(x))


@pytest.mark.parametrize("first", [layers.Discretization([0.0, 0.5]), layers.CategoryEncoding(3, "count")])
def test_categories_have_no_gradient(first):
    model = fastnn.Sequential([fastnn.Input((2,), dtype="float64"), copy.deepcopy(first), layers.Dense(2)])
    x = np.array([[0.0, 1.0], [2.0, 2.0]])
    features = outputs(type(first)(**{k: v for k, v in first.get_config().items() if k != "name"}), x, "float64")
    model.forward(x)
    dy = np.array([[1.0, 2.0], [-1.0, 0.5]])
    np.testing.assert_array_equal(model.backward(dy), np.zeros((2, 2)))
    np.testing.assert_allclose(model.gradients[0], features.T @ dy, rtol=1e-14)


def test_numbers_that_are_no_categories():
    layer = layers.CategoryEncoding(3)
    model = fastnn.Sequential([fastnn.Input((2,)), layer, layers.Dense(1)])
    for bad in (3, -1, 0.5, np.nan):
        with pytest.raises(
            ValueError, match="x must hold whole numbers from 0 to 2 for layer 'category_encoding', but row 1"
        ):
            model.predict([[0, 1], [2, bad]])
    hidden = fastnn.Sequential([fastnn.Input((2,)), layers.Rescaling(1.0), layers.CategoryEncoding(3, "one_hot")])
    result = hidden.predict([[1, 3], [-1, 2]])
    np.testing.assert_array_equal(result, [[0, 1, 0, np.nan, np.nan, np.nan], [np.nan, np.nan, np.nan, 0, 0, 1]])


# ---- lookups ----

TEXT = ["b", "a", "c", "a", "", "[UNK]", "d", "d", "zz"]


@pytest.mark.parametrize(
    ("arguments", "vocabulary", "indices"),
    [  # the vocabularies that Keras 3.15 makes of the same data
        ({}, ["[UNK]", "d", "a", "zz", "c", "b", ""], [2, 0, 6]),
        ({"mask_token": ""}, ["", "[UNK]", "d", "a", "zz", "c", "b"], [3, 1, 0]),
        ({"max_tokens": 4}, ["[UNK]", "d", "a", "zz"], [2, 0, 0]),
        ({"num_oov_indices": 2, "mask_token": "zz"}, ["zz", "[UNK]", "[UNK]", "d", "a", "c", "b", ""], [4, None, 7]),
    ],
)
def test_text_that_keras_looks_up(arguments, vocabulary, indices):
    layer = layers.StringLookup(**arguments)
    layer.adapt(TEXT)
    assert layer.get_vocabulary() == vocabulary
    assert layer.vocabulary_size() == len(vocabulary)
    assert layer.get_vocabulary(include_special_tokens=False) == [v for v in vocabulary if v in TEXT[:5] + TEXT[6:] and
                                                                  v != arguments.get("mask_token")]  # fmt: skip
    found = layer([["a", "q", ""]])[0].tolist()
    assert [f if i is not None else None for f, i in zip(found, indices, strict=True)] == indices


def test_numbers_that_keras_looks_up():
    layer = layers.IntegerLookup(num_oov_indices=3, mask_token=0)
    layer.adapt([5, 7, 7, -3, 100, 100, -1, 0])
    assert layer.get_vocabulary() == [0, -1, -1, -1, 100, 7, 5, -3]
    np.testing.assert_array_equal(layer([5, 99, 98, -8, -1, 0]), [6, 1, 3, 2, 3, 0])
    np.testing.assert_array_equal(layer(np.array([[5.0], [99.0]])), [[6], [1]])
    large = layers.IntegerLookup(vocabulary=[2**62, -(2**62), 2**24 + 1])
    np.testing.assert_array_equal(large([2**24 + 1, 2**24, 2**62, 2**62 - 1]), [3, 0, 1, 0])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("oov", [0, 1, 3])
@pytest.mark.parametrize("mask", [None, "m"])
@pytest.mark.parametrize("most", [None, 9])
def test_tokens_as_columns(mode, oov, mask, most):
    """The layer is called alone, and as part of a model."""
    layer = layers.StringLookup(
        vocabulary=["a", "b", "c"], num_oov_indices=oov, mask_token=mask, output_mode=mode, max_tokens=most,
        pad_to_max_tokens=most is not None,
    )  # fmt: skip
    known = ["a", "b", "c"] + (["m"] if mask else []) + (["x", "y"] if oov else [])
    tokens = np.random.default_rng(0).choice(known, (20, 3))
    categories = layer.prepare(tokens)
    assert (categories[tokens == "m"] == -1).all()
    for place, token in enumerate("abc"):
        assert (categories[tokens == token] == oov + place).all()
    assert ((categories[np.isin(tokens, ["x", "y"])] >= 0) & (categories[np.isin(tokens, ["x", "y"])] < oov)).all()
    expected = encoded(categories, most or 3 + oov, mode)
    np.testing.assert_array_equal(layer(tokens), expected)
    np.testing.assert_array_equal(outputs(layer, tokens), expected)


@pytest.mark.parametrize("kind", [list, np.array, lambda v: np.array(v, object), lambda v: np.char.encode(v, "utf-8")])
def test_kinds_of_text(kind):
    layer = layers.StringLookup(vocabulary=["grün", "rot"])
    np.testing.assert_array_equal(layer(kind(["rot", "grün", "blau"])), [2, 1, 0])
    np.testing.assert_array_equal(layer(kind([["rot"], ["blau"]])), [[2], [0]])


def test_inverse():
    words = layers.StringLookup(vocabulary=["a", "b"], mask_token="m", invert=True)
    np.testing.assert_array_equal(words([[0, 1], [2, 3], [4, -1]]), [["m", "[UNK]"], ["a", "b"], ["[UNK]", "[UNK]"]])
    codes = layers.IntegerLookup(vocabulary=[5, 9], invert=True)
    np.testing.assert_array_equal(codes([2, 1, 0, 3]), [9, 5, -1, -1])
    with pytest.raises(ValueError, match="call it alone"):
        fastnn.Sequential([fastnn.Input((1,)), words])
    with pytest.raises(TypeError, match="whole numbers"):
        words([0.5])


def colours(rows=60):
    generator = np.random.default_rng(0)
    x = generator.choice(["red", "green", "blue", "grey"], (rows, 2))
    return x, ((x[:, 0] == "red") | (x[:, 1] == "blue")).astype(np.float32)


@pytest.mark.parametrize("mode", ["int", "one_hot"])
def test_a_model_of_text_columns(mode, tmp_path):
    x, y = colours()
    lookup = layers.StringLookup(output_mode=mode)
    lookup.adapt(x)
    embedding = [layers.Embedding(lookup.vocabulary_size(), 3)] if mode == "int" else []
    model = fastnn.Sequential([lookup, *embedding, layers.Dense(8, "tanh"), layers.Dense(1, "sigmoid")])
    model.compile(fastnn.optimizers.Adam(0.05), "binary_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=20, validation_split=0.2, verbose=0)
    assert model.evaluate(x, y, verbose=0)[1] > 0.95
    model.save(tmp_path / "model.fastnn")
    loaded = fastnn.load_model(tmp_path / "model.fastnn")
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert loaded.layers[0].get_vocabulary() == lookup.get_vocabulary()
    np.testing.assert_array_equal(fastnn.clone_model(model).layers[0]([["red"]]), lookup([["red"]]))
    with pytest.raises(TypeError, match="x must hold text for layer 'string_lookup', got dtype int"):
        model.predict([[1, 2]])
    with pytest.raises(ValueError, match="belongs to a model that is built: call adapt before"):
        lookup.adapt(x)
    frozen = model.freeze()
    for predictor in (frozen, pickle.loads(pickle.dumps(frozen))):
        np.testing.assert_array_equal(predictor(x), model.predict(x))
        np.testing.assert_array_equal(predictor(x[0]), model.predict(x[:1])[0])


def test_lookups_come_first():
    for stack in (
        [layers.Dense(2), layers.IntegerLookup(vocabulary=[1])],
        [layers.Rescaling(1.0), layers.IntegerLookup(vocabulary=[1])],
        [layers.Residual([layers.IntegerLookup(vocabulary=[1])])],
        [layers.IntegerLookup(vocabulary=[1], output_mode="count"), layers.IntegerLookup(vocabulary=[1])],
    ):
        with pytest.raises(ValueError, match="must be the first of a model or of a branch"):
            fastnn.Sequential([fastnn.Input((2,)), *stack])
    chained = [layers.IntegerLookup(vocabulary=[5, 6]), layers.IntegerLookup(vocabulary=[2], output_mode="one_hot")]
    np.testing.assert_array_equal(outputs_of(chained, [[5], [6], [7]]), [[1, 0], [0, 1], [1, 0]])


def outputs_of(stack, x):
    return fastnn.Sequential([fastnn.Input((len(x[0]),)), *stack]).predict(x)


BAD = {
    "tokens": (lambda: layers.CategoryEncoding(0), ValueError, "num_tokens must be at least 1"),
    "many": (lambda: layers.CategoryEncoding(2**24 + 1), ValueError, "at most 2\\*\\*24"),
    "mode": (lambda: layers.CategoryEncoding(3, "one-hot"), ValueError, "did you mean 'one_hot'"),
    "int": (lambda: layers.CategoryEncoding(3, "int"), ValueError, "output_mode 'int' is unknown"),
    "neither": (lambda: layers.Discretization(), ValueError, "needs bin_boundaries, or num_bins"),
    "both": (lambda: layers.Discretization([1, 2, 3], num_bins=3), ValueError, "fewer than num_bins"),
    "falling": (lambda: layers.Discretization([2, 1]), ValueError, "finite numbers that rise"),
    "nan": (lambda: layers.Discretization([np.nan]), ValueError, "finite numbers that rise"),
    "words": (lambda: layers.Discretization(["a"]), TypeError, "bin_boundaries must hold real numbers"),
    "epsilon": (lambda: layers.Discretization(num_bins=3, epsilon=0), ValueError, "epsilon must lie"),
    "unadapted": (lambda: outputs(layers.Discretization(num_bins=3), np.ones((1, 1))), ValueError, "call adapt"),
    "given": (lambda: layers.Discretization([1.0]).adapt([1.0]), ValueError, "adapt\\(\\) would have no effect"),
    "no data": (lambda: layers.Discretization(num_bins=2).adapt([]), ValueError, "at least one number"),
    "inf": (lambda: layers.Discretization(num_bins=2).adapt([np.inf]), ValueError, "only finite"),
    "hole": (lambda: layers.Normalization().adapt([[1.0, 2.0], [3.0, np.nan]]), ValueError,
             r"row 1 holds nan in column 1, .* leave such rows out, or fill them first, with an Impute"),
    "names": (lambda: layers.Normalization().adapt([["a"]]), TypeError, "data must hold real numbers, got text"),
    "idf": (lambda: layers.StringLookup(output_mode="tf_idf"), ValueError, "output_mode 'tf_idf' is unknown"),
    "path": (lambda: layers.StringLookup(vocabulary="words.txt"), TypeError, "must be a list of tokens, got str"),
    "empty": (lambda: layers.StringLookup(vocabulary=[]), ValueError, "at least one token"),
    "twice": (lambda: layers.StringLookup(vocabulary=["a", "a"]), ValueError, "once, got 'a' more than once"),
    "mask": (lambda: layers.StringLookup(vocabulary=["a", ""], mask_token=""), ValueError, "only at the start"),
    "number": (lambda: layers.StringLookup(vocabulary=[1]), TypeError, "vocabulary must hold text, got int"),
    "text": (lambda: layers.IntegerLookup(vocabulary=["a"]), TypeError, "vocabulary must hold whole numbers"),
    "wide": (lambda: layers.IntegerLookup(vocabulary=[2**63]), ValueError, "64 bits"),
    "limit": (lambda: layers.StringLookup(max_tokens=2, vocabulary=["a", "b"]), ValueError, "at most 1 tokens"),
    "few": (lambda: layers.StringLookup(max_tokens=1), ValueError, "max_tokens must lie"),
    "pad": (lambda: layers.StringLookup(pad_to_max_tokens=True), ValueError, "needs max_tokens"),
    "invert": (lambda: layers.StringLookup(invert=True, output_mode="count"), ValueError, "'int' where invert"),
    "encoding": (lambda: layers.StringLookup(encoding="utf-99"), ValueError, "encoding must be that of a text"),
    "bytes": (lambda: layers.StringLookup(encoding="hex"), ValueError, "encoding must be that of a text"),
    "beyond 64 bits": (lambda: layers.IntegerLookup(num_oov_indices=2**65), ValueError, "num_oov_indices must be"),
    "beyond memory": (lambda: layers.Input((2**70,)), ValueError, "shape must be below"),
    "static": (lambda: layers.StringLookup(vocabulary=["a"]).adapt(["b"]), ValueError,
               "adapt\\(\\) would have no effect"),
    "nothing": (lambda: layers.StringLookup().adapt(["[UNK]"]), ValueError, "at least one token"),
    "early": (lambda: layers.StringLookup()(["a"]), ValueError, "has no vocabulary yet"),
    "unknown": (lambda: layers.StringLookup(vocabulary=["a"], num_oov_indices=0)([["a"], ["b"]]), ValueError,
                "num_oov_indices is 0, but row 1 holds 'b'"),
    "missing": (lambda: layers.StringLookup(vocabulary=["a"])(np.array(["a", None], object)), TypeError,
                r"for this StringLookup, but row 1 holds None: fill it first, as with fillna\(\"\"\)"),
    "NaN": (lambda: layers.StringLookup().adapt(np.array(["a", np.nan], object)), TypeError,
            r"for this StringLookup, but row 1 holds nan: fill it first, as with fillna\(\"\"\)"),
    "codes": (lambda: layers.StringLookup().adapt([1, 2]), TypeError, "for whole numbers there is IntegerLookup"),
    "words as codes": (lambda: layers.IntegerLookup().adapt(["a"]), TypeError, "for text there is StringLookup"),
    "gap": (lambda: layers.IntegerLookup().adapt([1, np.nan]), ValueError, r"row 1 holds nan: fill it first"),
    "masked text": (lambda: layers.StringLookup().adapt(np.ma.masked_array(["a", "b"], [0, 1])), ValueError,
                    "data has masked values"),
    "cube": (lambda: layers.StringLookup(vocabulary=["a"])([[["a"]]]), ValueError, "must have shape"),
    "half": (lambda: layers.IntegerLookup(vocabulary=[1])([1.0, 0.5]), ValueError, "row 1 holds 0.5"),
    "unsigned": (lambda: layers.IntegerLookup(vocabulary=[1])(np.array([2**63], np.uint64)), ValueError, "with a sign"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_arguments(case):
    make, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        make()


HOSTILE = [
    ("StringLookup", {"vocabulary": [1, 2]}),
    ("StringLookup", {"vocabulary": "passwords"}),
    ("StringLookup", {"vocabulary": ["a", "a"]}),
    ("StringLookup", {"num_oov_indices": -1}),
    ("StringLookup", {"encoding": 3}),
    ("StringLookup", {"vocabulary": None}),
    ("IntegerLookup", {"vocabulary": [10**30]}),
    ("Discretization", {"bin_boundaries": [2.0, 1.0]}),
    ("Discretization", {"bin_boundaries": None}),
    ("Discretization", {"bin_boundaries": [[1.0]]}),
    ("CategoryEncoding", {"num_tokens": 10**12}),
    ("Flatten", {"input_shape": [2**40, 2**40]}),
    ("Reshape", {"target_shape": [7]}),
    ("Reshape", {"target_shape": {}}),
]


@pytest.mark.parametrize(("kind", "changes"), HOSTILE)
def test_hostile_files(kind, changes, tmp_path, monkeypatch):
    first = {
        "StringLookup": lambda: layers.StringLookup(vocabulary=["a", "b"], output_mode="multi_hot"),
        "IntegerLookup": lambda: layers.IntegerLookup(vocabulary=[4, 5], output_mode="multi_hot"),
        "Discretization": lambda: layers.Discretization([0.0, 1.0], output_mode="count"),
        "CategoryEncoding": lambda: layers.CategoryEncoding(3),
        "Flatten": lambda: layers.Flatten(input_shape=(1, 3)),
        "Reshape": lambda: layers.Reshape((3,)),
    }[kind]()
    features = 3 if kind in ("Flatten", "Reshape") else 1
    model = fastnn.Sequential([*([] if kind == "Flatten" else [fastnn.Input((features,))]), first, layers.Dense(2)])
    config = json.loads(json.dumps(model.get_config()))
    entry = next(e for e in config["layers"] if e["class_name"] == kind)
    entry["config"].update(changes)
    monkeypatch.setattr(model, "get_config", lambda: config)
    # the check would keep such a file from being written
    monkeypatch.setattr(_stored, "_description", lambda model: (config, None))
    model.save(tmp_path / "model.fastnn")
    with pytest.raises(fastnn.ModelFileError):
        fastnn.load_model(tmp_path / "model.fastnn")


# ---- in branches ----


def table(rows=200):
    generator = np.random.default_rng(0)
    x = {
        "colour": generator.choice(["red", "green", "blue"], rows),
        "code": generator.choice([404, 200, 10**12], (rows, 2)),
        "age": generator.normal(40, 10, rows),
        "image": generator.random((rows, 3, 4)),
    }
    return x, ((x["colour"] == "red") ^ (x["age"] > 45) ^ (x["code"][:, 0] == 10**12)).astype(np.float32)


def branched(x):
    colour, code = layers.StringLookup(), layers.IntegerLookup(output_mode="count")
    age = layers.Discretization(num_bins=6, output_mode="one_hot")
    for layer, name in ((colour, "colour"), (code, "code"), (age, "age")):
        layer.adapt(x[name])
    branches = {
        "colour": [colour, layers.Embedding(colour.vocabulary_size(), 3)],
        "code": [layers.Input((2,)), code],
        "age": [age],
        "image": [layers.Input((3, 4)), layers.Flatten(), layers.Dense(2)],
    }
    model = fastnn.Sequential(
        [layers.Branches(branches), layers.Dense(32, "tanh"), layers.Dense(16, "tanh"), layers.Dense(1, "sigmoid")]
    )
    model.compile(fastnn.optimizers.Adam(0.02), "binary_crossentropy", metrics=["accuracy"])
    return model


def test_raw_columns_in_branches(tmp_path):
    x, y = table()
    fastnn.utils.set_random_seed(0)
    model = branched(x)
    model.fit(x, y, epochs=120, verbose=0)
    assert model.evaluate(x, y, verbose=0)[1] > 0.9
    model.save(tmp_path / "model.fastnn")
    np.testing.assert_array_equal(fastnn.load_model(tmp_path / "model.fastnn").predict(x), model.predict(x))
    unseen = {name: values[:1] for name, values in x.items()} | {"colour": ["mauve"]}
    assert np.isfinite(model.predict(unseen)).all()


def test_raw_columns_that_cannot_be():
    x, y = table(20)
    model = branched(x)
    with pytest.raises(
        TypeError, match=r"x\['colour'\] must hold text for layer 'string_lookup', but row 0 holds None"
    ):
        model.fit(x | {"colour": [None] * 20}, y)
    with pytest.raises(ValueError, match=r"x\['image'\] must have rows of shape \(3, 4\), got \(4, 3\)"):
        model.fit(x | {"image": np.zeros((20, 4, 3))}, y)
    assert not model.built
    model.fit(x, y, verbose=0)
    with pytest.raises(
        TypeError, match="x must be a dict of arrays or a data frame: layer 'string_lookup' reads raw data"
    ):
        model.predict(np.zeros((2, 16)))
    frozen = model.freeze()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(frozen))(x), model.predict(x))
    with pytest.raises(
        TypeError, match=r"^x must be a dict of arrays or a data frame, as a branch of the model reads raw"
    ):
        frozen(np.zeros((2, 16), np.float32))
