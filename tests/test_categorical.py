"""Tables of columns of categories as one layer: a formula over Python's values, all kinds of frames, files, errors."""

import copy
import itertools
import pickle
import sys

import narwhals
import numpy as np
import pandas
import polars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import layers
from fastnn.data import values
from fastnn.data.frames import as_array

arrow = pytest.importorskip("pyarrow", exc_type=ImportError)

NAN = float("nan")
# Columns of all kinds, with values that the layer is adapted to, and rows with missing and unknown ones.
KNOWN = {
    "letter": (["a", "b", "c", "a"], ["c", None, "z", "b"]),
    "answer": (["yes", "no", None, "yes"], ["no", "yes", None, "perhaps"]),
    "number": ([10**15, 3, 5, 4], [3, 10**15, 8, 5]),
    "bool": ([True, False, True, True], [False, True, True, False]),
    "code": ([1.0, NAN, 3.0, 2.0], [NAN, 2.0, 4.0, 1.0]),
    "nothing": ([None, None, None, None], [None, "new", None, None]),
    "one": (["same"] * 4, ["same", "other", None, "same"]),
}
LIBRARIES = {
    "pandas": pandas.DataFrame,
    "pandas of objects": lambda columns: pandas.DataFrame(columns, dtype=object),
    "pandas of categoricals": lambda columns: pandas.DataFrame(columns).astype("category"),
    "pandas on Arrow": lambda columns: pandas.DataFrame(columns).convert_dtypes(dtype_backend="pyarrow"),
    "polars": polars.DataFrame,
    "Arrow": lambda columns: arrow.table({name: arrow.array(c, from_pandas=True) for name, c in columns.items()}),
}


def seen(column=None):
    names = KNOWN if column is None else column
    return {name: KNOWN[name][0] for name in names}


def later(column=None):
    names = KNOWN if column is None else column
    return {name: KNOWN[name][1] for name in names}


def is_missing(value):
    return value is None or value != value


def formula(adapted, rows, limit, binary, embeddings):
    """Return the layer's output for columns of Python's values, one value after the other."""
    signs, ones, vectors, offset = [], [], [], 0
    for before, column in zip(adapted, rows, strict=True):
        known = sorted({v for v in before if not is_missing(v)}, key=lambda v: (isinstance(v, str), v))
        if len(known) > limit:
            entries = [1 if is_missing(v) else known.index(v) + 2 if v in known else 0 for v in column]
            vectors.append(embeddings[[offset + entry for entry in entries]])
            offset += len(known) + 2
        elif len(known) == 2 and binary == "sign":
            signs.append(np.array([[-1.0, 1.0][known.index(v)] if v in known else 0.0 for v in column])[:, None])
        else:
            ones.append(np.array([[float(v == one) for one in known] for v in column]).reshape(len(column), -1))
    return np.hstack([*signs, *ones, *vectors])


def adapted_layer(data, *given, **more):
    layer = layers.CategoricalEmbedding(*given, **more)
    layer.adapt(data)
    return layer


# ---- values of columns ----


@pytest.mark.parametrize("make", LIBRARIES.values(), ids=LIBRARIES)
def test_columns_of_any_library_have_the_same_values(make):
    frame, rows = make(seen()), make(later())
    layer = adapted_layer(frame, 3, 2)
    assert layer.vocabularies == (
        ("a", "b", "c"), ("no", "yes"), (3, 4, 5, 10**15), (False, True), (1, 2, 3), (), ("same",)
    )  # fmt: skip
    plain = adapted_layer(np.array(list(seen().values()), object).T, 3, 2)
    expected = plain.prepare(np.array(list(later().values()), object).T)
    np.testing.assert_array_equal(layer.prepare(rows), expected)


def test_categoricals_of_all_kinds_and_arrays_of_text():
    letters = np.array(["b", "a", "c", "a"])
    unused = pandas.Categorical(letters, categories=["z", "c", "b", "a"], ordered=True)
    same = [
        letters, letters.tolist(), letters.astype(object), unused, pandas.Series(unused),
        polars.Series(letters.tolist(), dtype=polars.Categorical), arrow.array(letters.tolist()).dictionary_encode(),
        polars.Series(letters.tolist(), dtype=polars.Enum(["z", "c", "a", "b"])),
    ]  # fmt: skip
    same += [letters.astype("T")] if hasattr(np.dtypes, "StringDType") else []
    for column in same:
        assert values.distinct(column, "x") == ["a", "b", "c"]
        np.testing.assert_array_equal(values.Vocabulary(["a", "c"]).find(column, "x"), [values.UNKNOWN, 0, 1, 0])


def test_categories_of_other_kinds_stand_for_their_text():
    intervals = pandas.cut([0.5, 1.5, 2.5, NAN], [0, 1, 2, 3])
    days = pandas.Categorical(pandas.to_datetime(["2026-01-02", "2026-01-01", None]))
    assert values.distinct(intervals, "x") == ["(0, 1]", "(1, 2]", "(2, 3]"]
    assert values.distinct(days, "x") == ["2026-01-01 00:00:00", "2026-01-02 00:00:00"]
    np.testing.assert_array_equal(values.Vocabulary(["(1, 2]"]).find(intervals, "x"), [-2, 0, -2, -1])


def test_columns_of_pandas_are_read_as_arrays_of_objects_are():
    generator = np.random.default_rng(0)
    pool = ["a", "b", "1", "", 1, 2, 0.5, True, None, NAN, pandas.NA, np.float32(0.5), np.int8(3)]
    for kinds in (pool, pool[:4] + pool[8:11], pool[4:]):
        objects = np.array([kinds[k] for k in generator.integers(0, len(kinds), 300)] + [None], object)
        known = values.Vocabulary(values.distinct(objects[:50], "x"))
        for column in (pandas.Series(objects), pandas.Index(objects), pandas.Series(objects).astype("category")):
            assert values.distinct(column[:50], "x") == list(known.values)
            np.testing.assert_array_equal(known.find(column, "x"), known.find(objects, "x"))


def test_text_of_polars_takes_no_more_room_than_its_longest():
    words = polars.Series(["a" * 10**6, *["b"] * 1000])
    for column in (words, narwhals.from_native(words, series_only=True)):
        assert as_array(column, "x").dtype == object


def test_equal_numbers_are_one_value_whatever_their_type():
    known = values.Vocabulary(values.distinct([2, True, 2.0, np.int8(7)], "x"))
    assert known.values == (True, 2, 7)
    for column in (np.array([1, 2], "u1"), np.array([1.0, 2.0]), np.array([True, 2.0], object), pandas.array([1, 2])):
        np.testing.assert_array_equal(known.find(column, "x"), [0, 1])


def test_all_missing_values_are_the_same():
    missing = [None, NAN, np.nan, np.float32("nan"), pandas.NA, pandas.NaT]
    known = values.Vocabulary(["a"])
    np.testing.assert_array_equal(known.find(np.array([*missing, "a", "b"], object), "x"), [*[-1] * 6, 0, -2])
    assert values.distinct(np.array(missing, object), "x") == []


@pytest.mark.thread_unsafe(reason="traces its own thread")
@pytest.mark.parametrize("kind", [str, "category", int, object, float])
def test_nothing_in_python_is_done_for_each_row(kind):
    """The lines of Python that run do not depend on the number of rows, as far as that does not change the values."""
    column = np.random.default_rng(0).integers(0, 20, 4000)
    whole = pandas.Series(column).astype(kind)
    if kind in (object, float):  # values that are in no vocabulary
        whole[::3] = NAN

    def lines(rows):
        count = itertools.count()

        def trace(frame, event, argument):
            if "fastnn" in frame.f_code.co_filename:
                next(count)
                return trace
            return None

        frame = pandas.DataFrame({"a": whole[:rows]})
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            adapted_layer(frame).prepare(frame)
        finally:
            sys.settrace(before)
        return next(count)

    assert lines(4000) == lines(400)


# ---- the layer ----

SETS = [("letter",), ("answer", "bool"), ("number",), ("answer", "letter"), ("code", "answer"), ("number", "one"),
        tuple(KNOWN)]  # fmt: skip


@pytest.mark.parametrize("names", SETS, ids=" ".join)
@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_bfloat16"])
@pytest.mark.parametrize("binary", ["sign", "one_hot"])
def test_the_engine_gives_the_formula(names, dtype, binary):
    layer = adapted_layer(pandas.DataFrame(seen(names)), 3, 2, binary)
    model = fastnn.Sequential([fastnn.Input((len(names),), dtype=dtype), layer])
    rows = pandas.DataFrame(later(names))
    expected = formula(seen(names).values(), later(names).values(), 3, binary, layer.embeddings)
    np.testing.assert_array_equal(model.predict(rows), expected)
    np.testing.assert_array_equal(layer(rows), expected)
    np.testing.assert_array_equal(model.freeze()(rows), expected)
    np.testing.assert_array_equal(model.freeze()(list(zip(*later(names).values(), strict=True))), expected)


@settings(max_examples=30)
@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b", "c", "d", 1, 2, 2.5, None, True]), min_size=6, max_size=6), min_size=1
    ),
    st.integers(0, 5),
    st.sampled_from(["sign", "one_hot"]),
)
def test_any_columns(columns, limit, binary):
    table = np.array([np.array(c, object) for c in columns]).T
    layer = adapted_layer(table[:4], limit, 3, binary)
    rows = [[None if is_missing(v) else v for v in column] for column in columns]
    for vocabulary, column in zip(layer.vocabularies, columns, strict=True):
        for k, value in enumerate(column):  # a kind of value that the column does not know is an error
            kinds = {isinstance(v, str) for v in vocabulary}
            if not is_missing(value) and kinds and isinstance(value, str) not in kinds:
                with pytest.raises(TypeError, match=r"^column \d+ of x must hold (text|numbers), as the data did"):
                    layer.prepare(table[k : k + 1])
                return
    if sum(map(len, layer.vocabularies)):
        model = fastnn.Sequential([fastnn.Input((len(columns),)), layer])
        expected = formula([c[:4] for c in columns], rows, limit, binary, layer.embeddings)
        np.testing.assert_array_equal(model.predict(table), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_is_that_of_branches_of_known_layers(dtype):
    """The layer's ops are those of CategoryEncoding and Embedding, and train to the same bits."""
    generator = np.random.default_rng(0)
    sizes = [2, 4, 9, 40]
    x = generator.integers(0, sizes, (320, 4))
    y = generator.normal(size=(320, 2))
    start = [generator.normal(size=(53, 3)), generator.normal(size=(11, 2)), np.zeros(2)]
    layer = layers.CategoricalEmbedding(4, 3, vocabularies=[range(size) for size in sizes])
    first = fastnn.Input((4,), dtype=dtype)
    whole = fastnn.Sequential([first, layer, layers.Dense(2)])
    numbers = layer.prepare(x)
    parts = {"sign": numbers[:, :1], "one": numbers[:, 1:2], "many": numbers[:, 2:]}
    stacks = {
        "sign": [fastnn.Input((1,))],
        "one": [fastnn.Input((1,)), layers.CategoryEncoding(4)],
        "many": [fastnn.Input((2,)), layers.Embedding(53, 3)],
    }
    apart = fastnn.Sequential([layers.Branches(stacks, dtype=dtype), layers.Dense(2)])
    results = []
    for model, rows in ((whole, x), (apart, parts)):
        model.set_weights(start)
        model._seed = 0
        model.compile(fastnn.optimizers.Adam(0.01), "mse")
        losses = model.fit(rows, y, epochs=3, verbose=0).history["loss"]
        results.append([*model.get_weights(), np.array(losses), model.predict(rows)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_gradients_by_central_differences():
    layer = adapted_layer(pandas.DataFrame(seen()), 2, 3)
    rows = pandas.DataFrame(later())
    model = fastnn.Sequential([fastnn.Input((7,), dtype="float64"), layer, layers.Dense(4, "tanh"), layers.Dense(1)])
    dy = np.random.default_rng(0).normal(size=(4, 1))
    model.forward(rows)
    model.backward(dy)
    for array, gradient in zip(model.weights, [g.copy() for g in model.gradients], strict=True):
        for index in np.ndindex(array.shape):
            kept, ends = array[index], []
            for step in (1e-6, -1e-6):
                array[index] = kept + step
                ends.append(float((model.forward(rows) * dy).sum()))
            array[index] = kept
            # the rounding of a sum of order one, 1e-16, over the step, and a second derivative times its square
            np.testing.assert_allclose(gradient[index], (ends[0] - ends[1]) / 2e-6, rtol=1e-6, atol=1e-8)


def frame_and_targets(rows=200):
    generator = np.random.default_rng(1)
    frame = pandas.DataFrame(
        {
            "city": generator.choice([f"city {k}" for k in range(30)], rows),
            "size": generator.normal(size=rows),
            "colour": generator.choice(["red", "green", None], rows),
        }
    )
    return frame, (frame["colour"] == "red").to_numpy(float) + (frame["city"] < "city 2").to_numpy()


def branched(frame):
    kinds = adapted_layer(frame[["city", "colour"]], units=4)
    stacks = {("city", "colour"): [kinds], "size": [fastnn.Input((1,)), layers.Dense(2)]}
    return fastnn.Sequential([layers.Branches(stacks), layers.Dense(16, "relu"), layers.Dense(1)])


def plain(frame):
    return fastnn.Sequential(
        [adapted_layer(frame[["city", "colour"]], units=4), layers.Dense(16, "relu"), layers.Dense(1)]
    )


@pytest.mark.parametrize("make", [plain, branched])
def test_a_model_from_start_to_file(make, tmp_path):
    frame, y = frame_and_targets()
    x = frame if make is branched else frame[["city", "colour"]]
    fastnn.utils.set_random_seed(0)
    model = make(frame)
    model.compile(fastnn.optimizers.Adam(0.01), "mse")
    history = model.fit(x, y, epochs=60, validation_data=(x[:50], y[:50]), verbose=0).history
    assert history["loss"][-1] < 0.05 * history["loss"][0]
    answers = model.predict(x)
    model.save(tmp_path / "model.fastnn")
    for same in (fastnn.load_model(tmp_path / "model.fastnn"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(same.predict(x), answers)
        np.testing.assert_array_equal(same.predict(x[x.columns[::-1]]), answers)
    frozen = pickle.loads(pickle.dumps(model.freeze()))
    np.testing.assert_array_equal(frozen(x), answers)
    np.testing.assert_array_equal(frozen(x[x.columns[::-1]]), answers)
    np.testing.assert_array_equal(
        frozen(x.to_dict("records")[0]) if make is branched else frozen(x.iloc[0]), answers[0]
    )
    clone = fastnn.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone.predict(x), answers)


def test_members_with_the_same_vocabularies_share_what_x_becomes():
    frame, y = frame_and_targets()
    members = [branched(frame), branched(frame), branched(frame[:20])]
    for member in members:
        member.build({"city_colour": 2, "size": 1})
        member.compile("adam", "mse")
    one, same, other = fastnn.Ensemble(members)._samples("fit", frame, y, None, check_finite=True)
    assert one.x is same.x
    assert not np.array_equal(one.x, other.x)
    predicted = fastnn.Ensemble(members)._rows_to_predict(frame)
    assert predicted[0] is predicted[1] is not predicted[2]


def test_a_file_holds_any_values(tmp_path):
    vocabularies = (("", "\ud800", "a\0b", "ü", "1"), (-(2**63), 2**63 - 1, 2**64, 0.1, 1e308), (False, True))
    model = fastnn.Sequential([fastnn.Input((3,)), layers.CategoricalEmbedding(0, vocabularies=vocabularies)])
    model.save(tmp_path / "model.fastnn")
    loaded = fastnn.load_model(tmp_path / "model.fastnn")
    assert loaded.layers[-1].vocabularies == vocabularies
    assert [[type(value) for value in column] for column in loaded.layers[-1].vocabularies] == [
        [type(value) for value in column] for column in vocabularies
    ]
    rows = list(itertools.product(*vocabularies))
    np.testing.assert_array_equal(loaded.predict(rows), model.predict(rows))


def test_members_of_an_ensemble():
    frame, y = frame_and_targets()
    members = []
    for rows in (slice(0, 150), slice(50, 200)):
        members.append(branched(frame[rows]))
        members[-1].build({"city_colour": 2, "size": 1})
        members[-1].compile("adam", "mse")
    alone = [copy.deepcopy(member) for member in members]
    ensemble = fastnn.Ensemble(members)
    ensemble.fit(frame, y, epochs=2, verbose=0)
    for k, model in enumerate(alone):
        model.fit(frame, y, epochs=2, verbose=0)
        np.testing.assert_array_equal(ensemble.predict(frame)[k], model.predict(frame))


def test_rates_of_the_embeddings():
    frame, y = frame_and_targets()
    model = branched(frame)
    layer = model.layers[0].layers[0].layers[0]
    model.build({"city_colour": 2, "size": 1})
    before = layer.embeddings.copy()
    layer.learning_rate_multiplier = {"embeddings": 0.0}
    model.compile(fastnn.optimizers.SGD(0.1), "mse")
    model.fit(frame, y, verbose=0)
    np.testing.assert_array_equal(layer.embeddings, before)
    layer.learning_rate_multiplier = 1.0
    model.fit(frame, y, verbose=0)
    assert (layer.embeddings[2:] != before[2:]).any()
    np.testing.assert_array_equal(layer.embeddings[:2], before[:2])  # no row is unknown or missing


def test_what_follows_is_adapted_to_what_the_layer_gives():
    frame, _ = frame_and_targets()
    layer = adapted_layer(frame[["colour"]])
    scale = layers.Normalization()
    scale.adapt(layer(frame[["colour"]]))
    outputs = fastnn.Sequential([fastnn.Input((1,)), layer, scale]).predict(frame[["colour"]])
    np.testing.assert_allclose([outputs.mean(), outputs.std()], [0, 1], atol=1e-6)
    with pytest.raises(ValueError, match=r"^this CategoricalEmbedding has no embeddings yet: build the model first"):
        adapted_layer(frame[["city"]])(frame[["city"]])


# ---- some of the columns ----


def raw_frame(rows=60):
    generator = np.random.default_rng(2)
    return pandas.DataFrame(
        {
            "age": generator.normal(40, 10, rows),
            "city": generator.choice([f"city {k}" for k in range(12)], rows),
            "income": generator.normal(1e6, 1e5, rows),
            "colour": generator.choice(["red", "green", "blue"], rows),
            "owner": generator.choice([True, False], rows),
        }
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [["owner", "city", "colour"], [1, 3, 4]], ids=["names", "indices"])
@pytest.mark.parametrize("make", LIBRARIES.values(), ids=LIBRARIES)
def test_a_raw_frame_is_one_line_of_layers(make, columns, dtype, tmp_path):
    given = raw_frame()
    if make is LIBRARIES["pandas of categoricals"]:
        frame = given.astype({"city": "category", "colour": "category", "owner": "category"})
    else:
        frame = make(given.to_dict("list"))
    kinds = adapted_layer(frame, units=2, columns=columns)
    assert kinds.vocabularies[1:] == (("blue", "green", "red"), (False, True))
    scale = layers.Normalization(columns=["age", "income"])
    scale.adapt(frame)
    model = fastnn.Sequential([fastnn.Input((5,), dtype=dtype), kinds, scale, layers.Dense(3)])
    numbers = given[["age", "income"]].to_numpy()
    scaled = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    made = formula(*[[given[name].tolist() for name in ("city", "colour", "owner")]] * 2, 9, "sign", kinds.embeddings)
    expected = np.hstack([scaled, made]) @ model.layers[-1].kernel.astype(float)
    # float32 holds incomes to 0.06, of a deviation of 1e5; sums of ten products
    np.testing.assert_allclose(model.predict(frame), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(kinds(frame), np.hstack([numbers, made]), rtol=1e-7)
    moved = given[["owner", "income", "age", "colour", "city"]]
    model.save(tmp_path / "model.fastnn")
    np.testing.assert_array_equal(fastnn.load_model(tmp_path / "model.fastnn").predict(moved), model.predict(frame))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model.freeze()))(moved), model.predict(frame))


def test_the_other_columns_are_numbers():
    frame = raw_frame()
    kinds = adapted_layer(frame, columns=["city", "owner"])
    with pytest.raises(TypeError, match=r"^x\['colour'\] must hold real numbers, got text: row 0 holds"):
        kinds.prepare(frame)
    with pytest.raises(ValueError, match="takes the column 'town', which its input has not"):
        adapted_layer(frame, columns=["town"])
    with pytest.raises(ValueError, match=r"^x must have 2 columns for this CategoricalEmbedding, got 1"):
        layers.CategoricalEmbedding(vocabularies=[["a"], ["b"]], columns=[0]).prepare([["a", 1]])
    model = fastnn.Sequential([fastnn.Input((5,)), adapted_layer(frame, columns=["city", "colour", "owner"])])
    frame.loc[7, "age"] = NAN
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"^x must be finite, but row 7 holds a NaN"):
        model.fit(frame, np.zeros((60, 19)))


# ---- what bad input gets ----

ADAPT = {
    "dates": (pandas.DataFrame({"a": pandas.date_range("2026-01-01", periods=2)}), TypeError,
              r"^data\['a'\] must hold text, whole numbers or bools as categories, got dtype datetime64"),
    "objects": ([[{}], [{}]], TypeError, "^column 0 of data must hold .*, but it holds {}, of type dict$"),
    "tuples": (pandas.DataFrame({"a": [(1, 2), (3, 4)]}), TypeError, r"holds \([13], [24]\), of type tuple"),
    "bytes": (np.array([["a"]], "S"), TypeError, r"^column 0 of data must hold text, .* got dtype \|S1"),
    "an infinity": (np.array([[1.0], [np.inf]]), ValueError, "text or finite numbers as categories, got inf"),
    "intervals": ([[pandas.Interval(0, 1)]], TypeError, "^column 0 of data .* of type Interval"),
    "three axes": (np.zeros((2, 2, 2)), ValueError, r"^data must have shape \(rows,\) or \(rows, columns\), got"),
    "no column": (pandas.DataFrame(index=[0, 1]), ValueError, r"^data must have shape .* got \(2, 0\)"),
    "no row": (pandas.DataFrame({"a": []}), ValueError, "^data must have at least one row$"),
    "lengths": ([["a", "b"], ["a"]], ValueError, "^data must have rows of one length"),
}  # fmt: skip


@pytest.mark.parametrize("case", ADAPT)
def test_data_that_cannot_be_adapted_to(case):
    data, error, sentence = ADAPT[case]
    layer = adapted_layer([["a"]])
    with pytest.raises(error, match=sentence):
        layer.adapt(data)
    assert layer.vocabularies == (("a",),)


def test_rows_that_cannot_be_looked_up():
    layer = adapted_layer(pandas.DataFrame({"a": ["x", "y"], "b": [1, 2]}))
    with pytest.raises(TypeError, match=r"^x\['a'\] must hold text, as the data did .*, but it holds numbers: 1$"):
        layer.prepare(pandas.DataFrame({"a": [1, 2], "b": [1, 2]}))
    with pytest.raises(TypeError, match=r"^x\['b'\] must hold numbers, as the data did .*, but it holds text: '1'$"):
        layer.prepare(pandas.DataFrame({"a": ["x", "y"], "b": ["1", "2"]}))
    with pytest.raises(ValueError, match=r"^x must have 2 columns for this CategoricalEmbedding, got 1"):
        layer.prepare(["x", "y"])
    with pytest.raises(ValueError, match="lacks 'b' and has 'c' besides"):
        layer.prepare(pandas.DataFrame({"a": ["x", "y"], "c": [1, 2]}))
    with pytest.raises(ValueError, match=r"^x must have as many rows in each column, got 2 and 1"):
        layer.prepare({"a": ["x", "y"], "b": [1]})
    with pytest.raises(ValueError, match="has vocabularies for 2 columns, its input has 3"):
        fastnn.Sequential([fastnn.Input((3,)), layer])


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"one_hot_limit": -1}, ValueError, "one_hot_limit must be at least 0, got -1"),
        ({"units": 0}, ValueError, "units must be at least 1, got 0"),
        ({"binary": "sine"}, ValueError, "binary 'sine' is unknown; did you mean 'sign'"),
        ({"vocabularies": "ab"}, TypeError, "vocabularies must be a list with the values of each column, got str"),
        ({"vocabularies": ["ab"]}, TypeError, r"vocabularies\[0\] must be a list of values, got str"),
        ({"vocabularies": []}, ValueError, "vocabularies must hold the values of at least one column"),
        ({"vocabularies": [["a", "a"]]}, ValueError, r"vocabularies\[0\] must hold each value once, got 'a' more than"),
        ({"vocabularies": [[None]]}, TypeError, r"vocabularies\[0\] must hold text.* NoneType"),
    ],
    ids=str,
)
def test_bad_arguments(arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        layers.CategoricalEmbedding(**arguments)


def test_a_layer_of_a_built_model_is_not_adapted():
    layer = adapted_layer([["a"]])
    fastnn.Sequential([fastnn.Input((1,)), layer])
    with pytest.raises(ValueError, match="belongs to a model that is built: call adapt before"):
        layer.adapt([["b"]])
    assert layer.vocabularies == (("a",),)


# ---- values that no row of the training has ----


def test_embeddings_that_no_row_has_become_the_mean_of_those_that_rows_have():
    frame = pandas.DataFrame({"few": ["u", "v"] * 3, "one": list("aabaac"), "other": [*"xyzx", None, "y"]})
    vocabularies = [["u", "v"], [*"abcde"], [*"xyz"]]
    layer = layers.CategoricalEmbedding(2, 3, vocabularies=vocabularies)
    model = fastnn.Sequential([layers.Input((3,)), layer])
    before = model.get_weights()[0]
    layer.fill_unseen(frame)
    (after,), entries = model.get_weights(), {"one": before[2:7], "other": before[9:12]}
    one = (4 * entries["one"][0] + entries["one"][1] + entries["one"][2]) / 6
    other = (before[8] + 2 * entries["other"][0] + 2 * entries["other"][1] + entries["other"][2]) / 6
    unseen = {0: one, 1: one, 5: one, 6: one, 7: other}  # unknown, missing, "d", "e"; unknown
    for place in range(12):
        # sums of six float32
        np.testing.assert_allclose(after[place], unseen.get(place, before[place]), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(model.predict(frame.assign(one="new"))[:, 1:4], np.tile(one, (6, 1)), rtol=1e-6)


def test_filling_embeddings_needs_a_model_that_is_built_and_changes_nothing_where_it_fails():
    layer = layers.CategoricalEmbedding(0, 2, vocabularies=[["a", "b"]])
    with pytest.raises(ValueError, match="has no embeddings yet: build the model first"):
        layer.fill_unseen(["a"])
    model = fastnn.Sequential([layers.Input((1,)), layer])
    before = model.get_weights()[0]
    with pytest.raises((TypeError, ValueError), match="data"):
        layer.fill_unseen([["a", "b"]])
    np.testing.assert_array_equal(model.get_weights()[0], before)
    columns = layers.CategoricalEmbedding(vocabularies=[["a", "b"]])
    columns.fill_unseen(["a"])  # a column of signs, which has no embedding
