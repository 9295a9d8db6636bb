"""Branches and heads by their names: dicts, data frames, losses, logs, files, and sentences on what does not fit."""

import importlib
import pickle

import numpy as np
import pytest

import fastnn
from fastnn import layers


def multimodal(seed=0, built=False):
    """Return a compiled model of three kinds of input and three kinds of output, and its data."""
    fastnn.utils.set_random_seed(seed)
    branches = layers.Branches(
        {
            "numbers": [layers.BatchNormalization(), layers.Dense(8, "relu")],
            "kind": [layers.Embedding(6, 3)],
            "text": [],
        }
    )
    heads = layers.Heads(
        {
            "price": [layers.Dense(1)],
            "type": [layers.Dense(4, "relu"), layers.Dense(3, "softmax")],
            "flags": [layers.Dense(2, "sigmoid")],
        }
    )
    model = fastnn.Sequential([branches, layers.Dense(16, "relu"), layers.Dropout(0.1), heads])
    if built:
        model.build({"numbers": 5, "kind": (1,), "text": (None, 20)})
    model.compile(
        fastnn.optimizers.Adam(0.01),
        {"price": "mse", "type": "sparse_categorical_crossentropy", "flags": "binary_crossentropy"},
        loss_weights={"price": 0.5, "flags": 2},
        metrics={"type": ["accuracy"], "price": ["mae", "mse"]},
    )
    generator = np.random.default_rng(1)
    x = {
        "numbers": generator.normal(size=(90, 5)).astype("float32"),
        "kind": generator.integers(0, 6, 90),
        "text": generator.normal(size=(90, 20)),
    }
    y = {
        "price": x["numbers"][:, 0] + x["kind"],
        "type": (x["kind"] % 3).astype(np.int8),
        "flags": np.stack([x["numbers"][:, 1] > 0, x["text"][:, 0] > 0], axis=1),
    }
    return model, x, y


def test_names_all_the_way(tmp_path):
    model, x, y = multimodal()
    history = model.fit(x, y, epochs=30, verbose=0, validation_split=0.2).history
    keys = ["loss", "price_loss", "type_loss", "flags_loss", "price_mae", "price_mse", "type_accuracy"]
    assert list(history) == keys + [f"val_{key}" for key in keys]
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    logs = model.evaluate(x, y, verbose=0, return_dict=True)
    assert model.metrics_names == list(logs) == keys
    assert logs["loss"] == pytest.approx(0.5 * logs["price_loss"] + logs["type_loss"] + 2 * logs["flags_loss"])
    assert logs["price_mse"] == pytest.approx(logs["price_loss"])
    output = model.predict(x)
    assert {name: array.shape for name, array in output.items()} == {
        "price": (90, 1),
        "type": (90, 3),
        "flags": (90, 2),
    }
    assert logs["type_accuracy"] == pytest.approx((output["type"].argmax(axis=1) == y["type"]).mean())
    assert logs["price_mae"] == pytest.approx(np.abs(output["price"][:, 0] - y["price"]).mean(), rel=1e-6)

    # A matrix with the branches' columns side by side, and lists in the order of the heads, give equal results.
    matrix = np.column_stack([x["numbers"], x["kind"], x["text"]])
    np.testing.assert_array_equal(model.predict(matrix)["flags"], output["flags"])
    assert model.evaluate(matrix, list(y.values()), verbose=0, return_dict=True) == logs

    frozen = model.freeze()
    for predictor in (frozen, pickle.loads(pickle.dumps(frozen))):
        for name, values in predictor(x).items():
            np.testing.assert_array_equal(values, output[name])
    assert frozen(matrix[0].astype("float32"))["price"].shape == (1,)
    assert frozen(matrix, out=np.empty((90, 6), "float32"))["type"].shape == (90, 3)

    model.save(tmp_path / "model.fastnn")
    loaded = fastnn.load_model(tmp_path / "model.fastnn")
    assert loaded.get_config() == model.get_config()
    assert loaded.evaluate(x, y, verbose=0, return_dict=True) == logs
    for each in (model, loaded):
        each.fit(x, y, verbose=0)
        each.train_on_batch(x, y)
    for a, b in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert fastnn.clone_model(model).predict(x)["price"].shape == (90, 1)

    lines = []
    model.summary(lines.append)
    assert [line.split("  ")[1].strip() for line in lines if line.startswith("  ")] == [
        "numbers (BatchNormalization, Dense)", "kind (Embedding)", "text (as it is)",
        "price (Dense)", "type (Dense, Dense)", "flags (Dense)",
    ]  # fmt: skip


def test_weights_of_rows_by_head_are_those_of_the_formula():
    model, x, y = multimodal(built=True)
    generator = np.random.default_rng(2)
    weights = {"price": generator.random(90), "flags": generator.random(90)}
    logs = model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
    output = model.predict(x)
    rows = {
        "price": np.square(output["price"][:, 0] - y["price"]) * weights["price"],
        "type": -np.log(output["type"][np.arange(90), y["type"]]),
        "flags": -np.log(np.where(y["flags"], output["flags"], 1 - output["flags"])).mean(axis=1) * weights["flags"],
    }
    for name, values in rows.items():
        assert logs[f"{name}_loss"] == pytest.approx(values.mean(), rel=1e-5)  # outputs rounded to float32
    alike = model.evaluate(x, y, sample_weight=[weights["price"], None, weights["flags"]], verbose=0, return_dict=True)
    assert alike == logs
    everywhere = model.evaluate(x, y, sample_weight=weights["price"], verbose=0, return_dict=True)
    assert everywhere["type_loss"] == pytest.approx((rows["type"] * weights["price"]).mean(), rel=1e-5)
    with pytest.raises(ValueError, match="sample_weight names 'prices', which is no head; did you mean 'price'"):
        model.fit(x, y, sample_weight={"prices": weights["price"]})


def test_weighted_metrics_have_keras_names_and_the_weights():
    model, x, y = multimodal(built=True)
    model.compile(
        "adam",
        {"price": "mse", "type": "sparse_categorical_crossentropy", "flags": "bce"},
        metrics={"price": ["mae"], "flags": ["mse"]},
        weighted_metrics={"price": ["mae", "mse"], "type": ["accuracy"]},
    )
    weights = np.random.default_rng(2).random(90)
    logs = model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
    keys = ["price_mae", "flags_mse", "price_weighted_mae", "price_mse", "type_accuracy"]
    assert list(logs)[4:] == keys
    output = model.predict(x)
    errors = np.abs(output["price"][:, 0] - y["price"])
    hits = output["type"].argmax(axis=1) == y["type"]
    expected = [
        errors.mean(), np.square(output["flags"] - y["flags"]).mean(), np.average(errors, weights=weights),
        np.average(errors**2, weights=weights), np.average(hits, weights=weights),
    ]  # fmt: skip
    np.testing.assert_allclose([logs[key] for key in keys], expected, rtol=1e-5)  # outputs rounded to float32

    plain = fastnn.Sequential([layers.Input((5,)), layers.Dense(1)])
    plain.compile("sgd", "mse", metrics=["mae"], weighted_metrics=["mae", "mse"])
    assert plain.metrics_names == ["loss", "mae", "weighted_mae", "mse"]


def test_batches_of_dicts_train_as_arrays_do():
    model, x, y = multimodal(built=True)
    other, *_ = multimodal(built=True)

    def batches():
        for start in range(0, 90, 32):
            rows = slice(start, start + 32)
            yield tuple({name: values[rows] for name, values in each.items()} for each in (x, y))

    one = model.fit(x, y, shuffle=False, verbose=0, validation_data=(x, y)).history
    two = other.fit(batches(), verbose=0, validation_data=(x, y)).history
    assert one == two
    for a, b in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    for name, values in model.predict(batches()).items():
        np.testing.assert_array_equal(values, other.predict(x)[name])


def test_members_of_an_ensemble_train_as_alone():
    alone, together = [[multimodal(seed, built=True)[0] for seed in (1, 2)] for _ in range(2)]
    _, x, y = multimodal()
    for model in alone:
        model.fit(x, y, epochs=2, verbose=0)
    ensemble = fastnn.Ensemble(together)
    ensemble.fit(x, y, epochs=2, verbose=0)
    assert ensemble.predict(x)["type"].shape == (2, 90, 3)
    for a, b in zip(alone, together, strict=True):
        for one, other in zip(a.weights, b.weights, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_of_a_data_frame(library):
    frames = importlib.import_module(library)
    frame = frames.DataFrame(
        {"age": [20, 30, 40, 50], "income": [1.0, 2.5, 3.0, 0.0], "city": [0, 2, 1, 2], "id": ["a", "b", "c", "d"]}
    )
    branches = layers.Branches(
        {"numbers": [layers.Rescaling(1.0)], "city": [layers.Embedding(3, 2)]}, columns={"numbers": ["age", "income"]}
    )
    model = fastnn.Sequential([branches])
    model.compile("sgd", "mse")
    model.fit(frame, np.zeros((4, 4)), verbose=0, epochs=0)
    output = model.predict(frame)
    np.testing.assert_array_equal(output[:, :2], [[20, 1], [30, 2.5], [40, 3], [50, 0]])
    table = model.weights[0]
    np.testing.assert_array_equal(output[:, 2:], table[[0, 2, 1, 2]])
    by_name = {"age": frame["age"], "income": frame["income"], "city": np.array([0, 2, 1, 2])}
    np.testing.assert_array_equal(model.predict(by_name), output)


def test_a_branch_takes_the_weights_of_a_trained_model():
    text = fastnn.Sequential([layers.Input((20,)), layers.Dense(6, "relu"), layers.Dense(2)])
    branches = layers.Branches({"text": text, "numbers": [layers.Input((3,))]})
    model = fastnn.Sequential([branches])
    generator = np.random.default_rng(0)
    x = {"text": generator.normal(size=(5, 20)), "numbers": generator.normal(size=(5, 3))}
    np.testing.assert_array_equal(model.predict(x)[:, :2], text.predict(x["text"]))
    model.weights[0][...] = 0
    assert text.weights[0].any()  # the stack holds a copy of the weights
    assert model.layers[0].layers[0].layers[0].kernel is model.weights[0]


def test_frozen_branches_do_not_change():
    model, x, y = multimodal()
    model.layers[0].layers[1].trainable = False
    model.fit(x, y, verbose=0, epochs=0)
    before = model.get_weights()
    model.fit(x, y, verbose=0, epochs=2)
    names = ["/".join(key) for key in model._home.views]
    same = [name for name, a, b in zip(names, before, model.weights, strict=True) if np.array_equal(a, b)]
    assert same == ["branches/kind/embedding/embeddings"]


def dense(**heads):
    return fastnn.Sequential([layers.Input((2,)), layers.Heads({name: [layers.Dense(n)] for name, n in heads.items()})])


X, Y = {"numbers": np.ones((4, 5)), "kind": np.zeros(4), "text": np.ones((4, 20))}, np.ones((4, 2))
SENTENCES = {
    "branches a list": (lambda: layers.Branches([[]]), TypeError, "branches must be a dict .* got list"),
    "no branches": (lambda: layers.Branches({}), TypeError, "branches must hold at least one name"),
    "a layer": (
        lambda: layers.Branches({"a": layers.Dense(1)}),
        TypeError,
        r"branches\['a'\] must be a list of layers",
    ),
    "a number": (lambda: layers.Heads({1: []}), TypeError, "heads must have names as its keys, got 1"),
    "a slash": (lambda: layers.Heads({"a/b": []}), ValueError, "name must be a non-empty string without '/'"),
    "columns of none": (
        lambda: layers.Branches({"text": []}, columns={"test": ["a"]}),
        ValueError,
        "columns names the branch 'test', which is none; did you mean 'text'",
    ),
    "columns a string": (
        lambda: layers.Branches({"text": []}, columns={"text": "abc"}),
        TypeError,
        r"columns\['text'\] must be a list of names, got 'abc'",
    ),
    "a layer after heads": (
        lambda: dense(a=1).add(layers.Dense(1)),
        ValueError,
        "Heads must come last in the model: put Dense before it",
    ),
    "heads in a block": (
        lambda: layers.Residual([layers.Heads({"a": []})]),
        TypeError,
        "layers must not hold Heads, which is the last layer of a model",
    ),
    "missing branch": (
        lambda: multimodal()[0].fit({"number": X["numbers"], "kind": X["kind"], "text": X["text"]}, {}),
        ValueError,
        "x has no 'numbers', which the branch 'numbers' takes; did you mean 'number'",
    ),
    "unused name": (
        lambda: multimodal()[0].fit(X | {"sound": X["text"]}, {}),
        ValueError,
        "x holds 'sound', which no branch takes",
    ),
    "rows": (
        lambda: multimodal()[0].fit(X | {"kind": np.zeros(3)}, {}),
        ValueError,
        "x must have as many rows under each name, got 4 and 3",
    ),
    "width": (
        lambda: trained().predict(X | {"text": np.ones((4, 3))}),
        ValueError,
        "x must have 20 features for the branch 'text', got 3",
    ),
    "not a row of the table": (
        lambda: trained().predict(X | {"kind": np.full(4, 6)}),
        ValueError,
        r"x\['kind'\] must hold whole numbers from 0 to 5 for layer 'embedding', but row 0 holds 6",
    ),
    "not finite": (
        lambda: multimodal()[0].fit(X | {"text": np.full((4, 20), np.nan)}, {}),
        ValueError,
        r"x\['text'\] must be finite, but row 0",
    ),
    "text": (
        lambda: trained().predict(X | {"kind": np.array(["a"] * 4)}),
        TypeError,
        r"x\['kind'\] must hold real numbers, got text",
    ),
    "a matrix before there are widths": (
        lambda: multimodal()[0].fit(np.ones((4, 26)), {}),
        ValueError,
        "cannot tell which of 26 features belong to which branch .* start each branch with an Input",
    ),
    "a dict without branches": (
        lambda: dense(a=1).predict({"a": [[1, 2]]}),
        TypeError,
        "x is a dict, which needs a model that starts with Branches",
    ),
    "loss for no head": (
        lambda: dense(price=1).compile("sgd", {"prize": "mse"}),
        ValueError,
        "loss names 'prize', which is no head; did you mean 'price'",
    ),
    "head without a loss": (
        lambda: dense(price=1, kind=2).compile("sgd", {"price": "mse"}),
        ValueError,
        "loss has nothing for 'kind': it needs 'price', 'kind'",
    ),
    "list of losses": (
        lambda: dense(price=1, kind=2).compile("sgd", ["mse"]),
        ValueError,
        "loss must have an entry for each of 'price', 'kind', got 1",
    ),
    "weights": (
        lambda: dense(price=1).compile("sgd", "mse", {"price": "2"}),
        TypeError,
        r"loss_weights\['price'\] must be a number, got '2'",
    ),
    "metrics in the place of weights": (
        lambda: fastnn.Sequential([layers.Dense(1)]).compile("sgd", "mse", ["mae"]),
        TypeError,
        r"loss_weights must be a number, got 'mae'; metrics are passed as metrics=\[...\]",
    ),
    "metrics a list of names": (
        lambda: dense(price=1, kind=2).compile("sgd", "mse", metrics=["mae"]),
        ValueError,
        "metrics must have an entry for each of 'price', 'kind', got 1",
    ),
    "no y": (
        lambda: multimodal()[0].fit(X),
        ValueError,
        "y is missing: it must be a dict with 'price', 'type', 'flags'",
    ),
    "y without a head": (
        lambda: multimodal()[0].fit(X, {"price": Y[:, 0], "type": Y[:, 0]}),
        ValueError,
        "y has nothing for 'flags'",
    ),
    "y of a head": (
        lambda: multimodal()[0].fit(X, {"price": Y[:, 0], "type": 5 * Y[:, 0], "flags": Y}),
        ValueError,
        r"y\['type'\] must hold labels from 0 to 2, but row 0 is 5",
    ),
    "x a list": (
        lambda: multimodal()[0].fit([np.ones((4, 5)), np.ones(4), np.ones((4, 20))], Y),
        TypeError,
        "x is a list of arrays, but a model with branches needs a dict of them with 'numbers', 'kind', 'text'",
    ),
    "y an array": (
        lambda: multimodal()[0].fit(X, Y),
        TypeError,
        "y must be a dict by head or a list in their order, got ndarray",
    ),
    "gradient of a head": (
        lambda: dense(price=1).backward({"price": np.ones((4, 2))}),
        ValueError,
        r"grad\['price'\] must have shape \(rows, 1\), got \(4, 2\)",
    ),
    "widths": (
        lambda: layers.Heads({"a": [layers.Input((3,)), layers.Dense(1)]}).build(2),
        ValueError,
        "head 'a' was made for 3 features, got 2",
    ),
    "build of a branch": (
        lambda: multimodal()[0].build({"numbers": 5, "kind": 1}),
        ValueError,
        "input_shape must name the branches 'numbers', 'kind', 'text'",
    ),
}


def trained():
    model, x, y = multimodal()
    model.fit(x, y, verbose=0)
    return model


@pytest.mark.parametrize("case", SENTENCES)
def test_what_does_not_fit_gets_one_sentence(case):
    act, error, sentence = SENTENCES[case]
    with pytest.raises(error, match=sentence):
        act()


def test_a_failed_call_leaves_the_model_as_it_was():
    model, x, y = multimodal()
    config = model.get_config()
    with pytest.raises(ValueError, match="labels"):
        model.fit(x, y | {"type": np.full(90, 3)})
    with pytest.raises(ValueError, match="whole numbers"):
        model.fit(x | {"kind": np.full(90, 6)}, y)
    assert model.get_config() == config
    with pytest.raises(ValueError, match="validation_split"):
        model.fit(x, y, validation_split=2.0)
    assert not model.built
    x["text"] = x["text"][:, :7]
    model.fit(x, y, verbose=0)  # the data are wider than before
    assert model.count_params() == trained().count_params() - 13 * 16


# ---- several columns, and rows as dicts ----

FLATS = {"rooms": [2.0, 3.0, 5.0, 1.0], "area": [50.0, 80.0, 120.0, 30.0], "age": [10.0, 0.0, 60.0, 5.0]}
PLACES = ["hill", "harbour", "hill", "station"]


def of_columns(text=True):
    """Return a model of three numbers that are normalized together, beside a place as text or as a category."""
    normalization = layers.Normalization()
    normalization.adapt(np.column_stack(list(FLATS.values())))
    words = layers.StringLookup(vocabulary=["hill", "harbour"], output_mode="one_hot")
    place = [words] if text else [layers.Embedding(3, 2)]
    return fastnn.Sequential(
        [layers.Branches({("rooms", "area", "age"): [normalization], "place": place}), layers.Dense(1)]
    )


@pytest.mark.parametrize("library", ["pandas", "polars", None])
def test_a_tuple_of_columns_is_one_branch(library, tmp_path):
    """A tuple of names takes what `columns` would take, through one Normalization; the model's file keeps that."""
    make = importlib.import_module(library).DataFrame if library else dict
    x = make(FLATS | {"place": PLACES})
    model = of_columns()
    model.compile("sgd", "mse")
    model.fit(x, np.ones(4), verbose=0)
    branches = model.layers[0]
    assert branches.columns == {"rooms_area_age": list(FLATS), "place": ["place"]}
    assert branches.built_widths == {"rooms_area_age": 3, "place": 1}
    numbers = np.column_stack(list(FLATS.values()))
    normal = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    one_hot = [[0, 1, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]
    kernel, bias = model.weights[-2:]
    np.testing.assert_allclose(model.predict(x), np.hstack([normal, one_hot]) @ kernel + bias, rtol=1e-5)

    model.save(tmp_path / "m.fastnn")
    for other in (fastnn.load_model(tmp_path / "m.fastnn"), fastnn.Sequential.from_config(model.get_config())):
        assert other.layers[0].columns == branches.columns
    np.testing.assert_array_equal(fastnn.load_model(tmp_path / "m.fastnn").predict(x), model.predict(x))
    with pytest.raises(ValueError, match="x has no 'area', which the branch 'rooms_area_age' takes"):
        model.predict({"rooms": [1], "age": [1], "place": ["hill"]})


def test_columns_on_several_levels_are_taken_by_their_tuples(tmp_path):
    pandas = pytest.importorskip("pandas")
    names = pandas.MultiIndex.from_tuples([("flat", "rooms"), ("flat", "area"), ("house", "rooms")])
    frame = pandas.DataFrame(np.arange(6.0).reshape(2, 3), columns=names)
    columns = {"flat": [("flat", "rooms"), ("flat", "area")], "house": [("house", "rooms")]}
    model = fastnn.Sequential([layers.Branches({"house": [], "flat": []}, columns=columns), layers.Dense(1)])
    model.build({"house": 1, "flat": 2})
    np.testing.assert_array_equal(model.predict(frame), model.predict(frame.to_numpy()[:, [2, 0, 1]]))
    model.save(tmp_path / "m.fastnn")
    np.testing.assert_array_equal(fastnn.load_model(tmp_path / "m.fastnn").predict(frame), model.predict(frame))


@pytest.mark.parametrize(
    ("branches", "columns"),
    [
        ({("a", "b"): [], "a_b": []}, None),
        ({"a_b": [], ("a", "b"): []}, None),
        ({("a", "b"): [], ("a_b",): []}, None),
        ({("a", "b"): []}, {"a_b": ["c"]}),
    ],
)
def test_two_branches_of_one_name_are_refused(branches, columns):
    with pytest.raises(ValueError, match=r"branches must have a name each, but 'a_b' stands for two: give columns="):
        layers.Branches(branches, columns)


ROW = {"rooms": 2, "area": np.float32(50), "age": np.array(10.0)}


@pytest.mark.parametrize("text", [True, False])
def test_a_dict_of_scalars_is_one_row(text):
    """The dict is one row in predict, and in a frozen model, which takes a row without an axis of rows."""
    model = of_columns(text)
    model.build({"rooms_area_age": 3, "place": 1})
    place = "hill" if text else 1
    answer = model.predict({name: [float(value)] for name, value in ROW.items()} | {"place": [place]})
    row = ROW | {"place": place}
    for found in (model.predict(row), model(row), model.forward(row), model.predict_on_batch(row)):
        np.testing.assert_array_equal(found, answer)
    if not text:
        frozen = model.freeze()
        np.testing.assert_array_equal(frozen(row), answer[0])
        out = np.empty(1, np.float32)
        assert frozen(row, out=out) is out
        np.testing.assert_array_equal(out, answer[0])
    model.compile("sgd", "mse")
    assert model.evaluate(row, [0.0], verbose=0) == pytest.approx(answer[0, 0] ** 2)
    assert model.train_on_batch(row, [0.0]) == pytest.approx(answer[0, 0] ** 2)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"area": [50.0]}, r"x\['rooms'\] must have shape \(rows,\) or \(rows, features\), got \(\)"),
        ({"area": "large"}, r"x\['area'\] must hold real numbers, got text: row 0 holds 'large'"),
        ({"area": None}, r"x\['area'\] must hold real numbers, but row 0 holds None: fill it first"),
        (
            {"place": None},
            r"x\['place'\] must hold text for layer 'string_lookup', but row 0 holds None: fill it first",
        ),
        ({"city": "hill"}, "x holds 'city', which no branch takes"),
    ],
)
def test_what_is_no_row_of_scalars_gets_one_sentence(row, sentence):
    model = of_columns()
    model.build({"rooms_area_age": 3, "place": 1})
    with pytest.raises((TypeError, ValueError), match=sentence):
        model.predict(ROW | {"place": "hill"} | row)
