"""Data frames, of pandas, of polars and of any library with columns under names: as x, y and weights, everywhere."""

import datetime
import itertools
from decimal import Decimal

import numpy as np
import pandas
import polars
import pytest

import fastnn
from fastnn import layers
from fastnn.data import arrays, frames

COLUMNS = {
    "age": [20, 30, 40, 50, 60, 35],
    "income": [1.0, 2.5, 3.0, 0.0, 1.5, -2.0],
    "owner": [True, False, True, True, False, False],
}
X = np.column_stack([np.asarray(values, float) for values in COLUMNS.values()])
TARGETS = {"price": [1.0, 2.0, 0.5, 0.0, 1.0, 3.0], "sold": [0, 1, 1, 0, 1, 0]}
WEIGHTS = [1.0, 2.0, 0.5, 1.0, 1.0, 0.0]


class Table:
    """Stands for an Arrow table: `columns` are the columns themselves, `column_names` their names."""

    def __init__(self, columns):
        self._columns = {name: np.asarray(values) for name, values in columns.items()}
        self.column_names = list(columns)
        self.columns = list(self._columns.values())

    def __getitem__(self, name):
        return self._columns[name]

    def select(self, names):
        return Table({name: self._columns[name] for name in names})

    def __array__(self, dtype=None, copy=None):
        return np.asarray(np.column_stack(self.columns), dtype)


FRAMES = {"pandas": pandas.DataFrame, "polars": polars.DataFrame, "table": Table}
SERIES = {"pandas": pandas.Series, "polars": polars.Series, "table": np.array}
each = pytest.mark.parametrize("library", FRAMES)


def plain():
    model = fastnn.Sequential([layers.Input((3,)), layers.Dense(4, "tanh"), layers.Dense(1)])
    for k, view in enumerate(model.weights):
        view[...] = np.random.default_rng(k).normal(size=view.shape)
    model._seed = 1
    model.compile("adam", "mse", metrics=["mae"])
    return model


def with_names():
    branches = layers.Branches(
        {"numbers": [layers.Dense(3, "tanh")], "owner": [layers.Embedding(2, 2)]},
        columns={"numbers": ["age", "income"]},
    )
    model = fastnn.Sequential(
        [branches, layers.Heads({"price": [layers.Dense(1)], "sold": [layers.Dense(1, "sigmoid")]})]
    )
    model.build({"numbers": 2, "owner": 1})
    for k, view in enumerate(model.weights):
        view[...] = np.random.default_rng(k).normal(size=view.shape) / 10
    model._seed = 1
    model.compile("adam", {"price": "mse", "sold": "binary_crossentropy"})
    return model


def assert_same(frames, arrays):
    """Check that histories, evaluations and predictions are equal, bit by bit."""
    for ours, theirs in zip(frames, arrays, strict=True):
        assert type(ours) is type(theirs)
        if isinstance(ours, dict):
            assert list(ours) == list(theirs)
            ours, theirs = list(ours.values()), list(theirs.values())
        np.testing.assert_array_equal(ours, theirs)


def everything(model, x, y, weights):
    first = model.fit(x, y, batch_size=4, epochs=2, sample_weight=weights, validation_data=(x, y, weights), verbose=0)
    second = model.fit(x, y, batch_size=4, validation_split=0.5, sample_weight=weights, verbose=0)
    return [
        first.history, second.history, model.evaluate(x, y, sample_weight=weights, verbose=0),
        model.train_on_batch(x, y, weights), model.test_on_batch(x, y, weights), model.predict(x),
        model.predict_on_batch(x), model.freeze()(x),
    ]  # fmt: skip


@each
def test_frames_are_as_arrays(library):
    """Frames give what arrays give: x of several dtypes, y and weights as one column."""
    frame, series = FRAMES[library], SERIES[library]
    y, weights = np.array(TARGETS["price"]), np.array(WEIGHTS)
    found = everything(plain(), frame(COLUMNS), series(TARGETS["price"]), series(WEIGHTS))
    assert_same(found, everything(plain(), X, y, weights))
    assert_same(everything(plain(), frame(COLUMNS), frame({"price": TARGETS["price"]}), series(WEIGHTS)), found)


@each
def test_columns_go_to_branches_and_heads(library):
    """Frames, dicts of columns, and arrays give the same; a frame may hold columns that no branch and no head takes."""
    frame, series = FRAMES[library], SERIES[library]
    x = {"age": X[:, 0], "income": X[:, 1], "owner": X[:, 2]}
    y = {name: np.array(values) for name, values in TARGETS.items()}
    weights = {"price": np.array(WEIGHTS), "sold": np.ones(6)}
    wanted = everything(with_names(), x, y, weights)
    more = {"name": list("abcdef")}
    found = everything(
        with_names(), frame(COLUMNS | more), frame(TARGETS | more), frame({"price": WEIGHTS, "sold": [1.0] * 6})
    )
    assert_same(found, wanted)
    found = everything(
        with_names(), {name: series(values) for name, values in COLUMNS.items()},
        {name: series(values) for name, values in TARGETS.items()}, {"price": series(WEIGHTS)},
    )  # fmt: skip
    assert_same(found, wanted)


@each
def test_layers_adapt_to_frames(library):
    frame = FRAMES[library](COLUMNS)
    for make in (layers.Normalization, lambda: layers.Discretization(num_bins=3)):
        of_frame, of_array = make(), make()
        of_frame.adapt(frame)
        of_array.adapt(X)
        one, other = (fastnn.Sequential([layers.Input((3,)), layer]) for layer in (of_frame, of_array))
        np.testing.assert_array_equal(one.predict(frame), other.predict(X))


@each
def test_text_in_frames(library):
    words = layers.StringLookup(vocabulary=["a", "b", "c"], output_mode="one_hot")
    frame = FRAMES[library]({"word": ["a", "b", "a", "d"], "number": [1, 2, 3, 4]})
    model = fastnn.Sequential([layers.Branches({"word": [words], "number": [layers.Rescaling(1.0)]})])
    model.build({"word": 1, "number": 1})
    np.testing.assert_array_equal(
        model.predict(frame), [[0, 1, 0, 0, 1], [0, 0, 1, 0, 2], [0, 1, 0, 0, 3], [1, 0, 0, 0, 4]]
    )
    learnt = layers.StringLookup()
    learnt.adapt(frame["word"])
    assert learnt.get_vocabulary()[:2] == ["[UNK]", "a"]


@each
def test_what_is_no_number_is_named(library):
    frame = FRAMES[library]
    model = plain()
    before = model.get_weights()
    with pytest.raises(TypeError, match=r"x\['city'\] must hold real numbers, got text"):
        model.fit(frame({"age": [1, 2], "income": [1.0, 2.0], "city": ["a", "b"]}), [0, 1], verbose=0)
    with pytest.raises(ValueError, match=r"x\['age'\] must be finite, but row 1 holds a NaN"):
        model.fit(frame({"age": [1.0, float("nan")], "income": [1.0, 2.0], "owner": [1, 2]}), [0, 1], verbose=0)
    with pytest.raises(ValueError, match="x has no 'income', which the branch 'numbers' takes"):
        with_names().predict(frame({"age": [1.0], "owner": [1]}))
    with pytest.raises(ValueError, match="y has nothing for 'sold'"):
        with_names().evaluate(frame(COLUMNS), frame({"price": TARGETS["price"]}), verbose=0)
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_missing_values_of_pandas_and_polars():
    """A missing value gives NaN in predict, and a sentence before fit."""
    nullable = pandas.DataFrame({"age": pandas.array([1, None], "Int64"), "income": [1.0, 2.0], "owner": [1, 0]})
    for frame in (nullable, polars.DataFrame({"age": [1, None], "income": [1.0, 2.0], "owner": [1, 0]})):
        np.testing.assert_array_equal(np.isnan(plain().predict(frame))[:, 0], [False, True])
        np.testing.assert_array_equal(np.isnan(with_names().predict(frame)["price"])[:, 0], [False, True])
        with pytest.raises(ValueError, match=r"x\['age'\] must be finite, but row 1"):
            plain().fit(frame, [0, 1], verbose=0)


NO_NUMBERS = {
    "date": ([datetime.date(2020, 1, 1), None], "got datetime data", "row 0 holds datetime.date"),
    "datetime": ([datetime.datetime(2020, 1, 1)] * 2, "got datetime data", "got datetime data"),
    "duration": ([datetime.timedelta(1)] * 2, "got duration data", "got duration data"),
    "time": ([datetime.time(1)] * 2, "row 0 holds datetime.time", "row 0 holds datetime.time"),
    "text": (["a", "b"], "got text: row 0 holds 'a'; a StringLookup layer", "got text: row 0 holds 'a'"),
}


@pytest.mark.parametrize("kind", NO_NUMBERS)
def test_columns_are_looked_at_one_by_one(kind):
    """A frame of polars, read as a whole, turns dates beside numbers into integers."""
    values, *messages = NO_NUMBERS[kind]
    for make, message in zip((polars.DataFrame, pandas.DataFrame), messages, strict=True):
        for columns in ({"age": [1.0, 2.0], "bad": values}, {"bad": values}):
            frame = make(columns)
            width = layers.Input((len(columns),))
            model = fastnn.Sequential([width, layers.Dense(1)])
            branches = layers.Branches({"all": [width]}, columns={"all": list(columns)})
            named = fastnn.Sequential([branches, layers.Dense(1)])
            for run in (model.predict, named.predict, layers.Normalization().adapt):
                with pytest.raises(TypeError, match=rf"\['bad'\] must hold real numbers, (but )?{message}"):
                    run(frame)


@pytest.mark.parametrize("beside", [{}, {"age": [1.0, 2.0]}])
def test_decimals_and_nullable_bools_are_numbers(beside):
    """A null among decimals or bools is NaN, as a null of any other column."""
    decimals = [Decimal("1.5"), None]
    for frame, wanted in (
        (polars.DataFrame({**beside, "it": decimals}), 1.5),
        (polars.DataFrame({**beside, "it": [True, None]}), 1.0),
        (pandas.DataFrame({**beside, "it": pandas.array([True, None], "boolean")}), 1.0),
    ):
        array = frames.real_array(frame, "x")
        np.testing.assert_array_equal(array[:, -1], [wanted, np.nan])
        np.testing.assert_array_equal(frames.real_array(frame["it"], "x"), array[:, -1])
    with pytest.raises(ValueError, match="y must be finite, but row 1 holds a NaN"):
        plain().fit(X[:3], pandas.Series([True, None, False], dtype="boolean"), verbose=0)


def test_objects_that_are_numbers():
    row = pandas.DataFrame({"age": [20], "income": [1.0], "owner": [True], "name": ["a"]}).iloc[0][:3].to_frame().T
    assert set(map(str, row.dtypes)) == {"object"}
    for x in (row, row.to_numpy(), [[Decimal(20), 1.0, np.True_]]):
        np.testing.assert_array_equal(plain().predict(x), plain().predict([[20.0, 1.0, 1.0]]))
    with pytest.raises(ValueError, match="got one beyond float64's range"):
        plain().predict([[10**400, 1, 1]])
    with pytest.raises(TypeError, match=r"x\['age'\] must hold real numbers, but row 1 holds None: fill it first"):
        plain().predict(pandas.DataFrame({"age": [1, None], "income": [1.0, 2.0], "owner": [1, 0]}, dtype=object))


def test_rows_go_by_place_not_by_index():
    """The index of pandas means nothing here, in x or in y."""
    x = pandas.DataFrame(COLUMNS, index=[5, 3, 1, 0, 2, 4])
    y = pandas.Series(TARGETS["price"], index=[0, 1, 2, 3, 4, 5])
    assert plain().evaluate(x, y, verbose=0) == plain().evaluate(X, TARGETS["price"], verbose=0)


def test_queries_that_have_not_run_are_refused():
    lazy = polars.DataFrame(COLUMNS).lazy()
    for model in (plain(), with_names()):
        with pytest.raises(
            TypeError, match=r"x is a LazyFrame, whose rows are not there yet: pass what its collect\(\) gives"
        ):
            model.predict(lazy)
        with pytest.raises(TypeError, match="x is a LazyFrame"):
            model.freeze()(lazy)
    with pytest.raises(TypeError, match="y is a LazyFrame"):
        plain().fit(X, lazy, verbose=0)


# ---- odd columns ----

TEXT = "must hold real numbers, got text: row 0 holds 'a'; a StringLookup layer makes numbers of text"
C = r"x\['c'\] "
NUMBERS = C + "must hold real numbers, "
A = [1.0, 2.0, 3.0]
NAN = np.nan


def frame_of(names, *values):
    """Return a frame of pandas, in which a name may occur twice."""
    return pandas.concat([pandas.Series(column) for column in values], axis=1, keys=range(len(names))).set_axis(
        names, axis=1
    )


def nullable(*values, dtype):
    return pandas.Series(list(values), dtype=dtype)


def pandas_names():
    """Return what columns of pandas with odd names give: rows, or the sentence about them."""
    flags, levels = nullable(True, None, False, dtype="boolean"), pandas.MultiIndex.from_tuples
    return {
        "a name twice": (frame_of(["a", "a", "b"], A, [4.0, 5, 6], [7, 8, 9]), [[1, 4, 7], [2, 5, 8], [3, 6, 9]]),
        "a name twice beside nullable bools": (
            frame_of(["a", "a", "flag"], A, [4.0, 5, 6], flags), [[1, 4, 1], [2, 5, NAN], [3, 6, 0]],
        ),
        "a name twice beside integers with a null": (
            frame_of(["a", "n", "a"], A, nullable(1, None, 3, dtype="Int64"), A), [[1, 1, 1], [2, NAN, 2], [3, 3, 3]],
        ),
        "a name twice beside objects": (
            frame_of(["a", "a"], A, nullable(1, 2.5, True, dtype=object)), [[1, 1], [2, 2.5], [3, 1]],
        ),
        "text under a name twice": (frame_of(["a", "a"], A, list("abc")), rf"column 1 of x \('a'\) {TEXT}"),
        "dates under a name twice": (
            frame_of(["a", "a"], A, pandas.date_range("2020", periods=3)),
            r"column 1 of x \('a'\) must hold real numbers, got datetime data",
        ),
        "names on two levels": (frame_of(levels([("a", "x"), ("a", "y")]), A, flags), [[1, 1], [2, NAN], [3, 0]]),
        "text on two levels": (
            frame_of(levels([("a", "x"), ("a", "y")]), A, list("abc")), rf"x\[\('a', 'y'\)\] {TEXT}",
        ),
        "names that are numbers": (frame_of([1, 0], A, flags), [[1, 1], [2, NAN], [3, 0]]),
        "names that are missing": (frame_of([None, NAN, "a"], A, A, flags), [[1, 1, 1], [2, 2, NAN], [3, 3, 0]]),
        "names of attributes": (
            frame_of(["columns", "column_names", "dtypes", "iloc"], A, A, flags, A),
            [[1, 1, 1, 1], [2, 2, NAN, 2], [3, 3, 0, 3]],
        ),
        "no columns": (pandas.DataFrame(index=range(3)), r"x must have at least one feature, got shape \(3, 0\)"),
    }  # fmt: skip


def pandas_types():
    """Return what columns of pandas of odd types give: rows, or the sentence about them."""
    one = {"a": A}
    return {
        "categories of numbers": (
            pandas.DataFrame(one | {"c": pandas.Categorical([7, None, 5])}), [[1, 7], [2, NAN], [3, 5]],
        ),
        "categories of numbers beside integers": (
            pandas.DataFrame({"a": [1, 2, 3], "c": pandas.Categorical([7, None, 5])}), [[1, 7], [2, NAN], [3, 5]],
        ),
        "categories of text": (pandas.DataFrame(one | {"c": pandas.Categorical(list("abc"))}), C + TEXT),
        "sparse": (pandas.DataFrame(one | {"c": pandas.arrays.SparseArray([0, 0, 5.0])}), [[1, 0], [2, 0], [3, 5]]),
        "objects with None": (
            pandas.DataFrame(one | {"c": nullable(1, None, 3, dtype=object)}),
            NUMBERS + "but row 1 holds None: fill it first",
        ),
        "lists": (
            pandas.DataFrame(one | {"c": [[1.0], [2.0], [3.0]]}),
            NUMBERS + r"but row 0 holds \[1.0\], of type list: make columns of them, as with numpy",
        ),
        "dates with a zone": (
            pandas.DataFrame(one | {"c": pandas.date_range("2020", periods=3, tz="UTC")}),
            NUMBERS + "but row 0 holds Timestamp",
        ),
        "periods": (
            pandas.DataFrame(one | {"c": pandas.period_range("2020", periods=3)}),
            NUMBERS + "but row 0 holds Period",
        ),
        "intervals": (
            pandas.DataFrame(one | {"c": pandas.interval_range(0, 3)}),
            NUMBERS + "but row 0 holds Interval",
        ),
        "complex": (pandas.DataFrame(one | {"c": [1j, 2, 3]}), NUMBERS + "got complex data"),
        "integers past 2**63": (pandas.DataFrame({"a": [2**63, -1, 2**70]}), [[2.0**63], [-1], [2.0**70]]),
    }  # fmt: skip


def polars_frames():
    one = {"a": A}
    return {
        "nulls": (polars.DataFrame(one | {"c": [1, None, 3]}), [[1, 1], [2, NAN], [3, 3]]),
        "nothing but nulls": (polars.DataFrame(one | {"c": [None] * 3}), [[1, NAN], [2, NAN], [3, NAN]]),
        "categories of text": (
            polars.DataFrame(one | {"c": polars.Series(list("abc"), dtype=polars.Categorical)}), C + TEXT,
        ),
        "enumeration": (
            polars.DataFrame(one | {"c": polars.Series(list("abc"), dtype=polars.Enum(list("abc")))}),
            C + TEXT,
        ),
        "lists": (
            polars.DataFrame(one | {"c": [[1, 2]] * 3}),
            NUMBERS + r"but row 0 holds array\(\[1, 2\]\), of type ndarray: make columns of them",
        ),
        "arrays": (
            polars.DataFrame(one | {"c": polars.Series([[1, 2]] * 3, dtype=polars.Array(polars.Int64, 2))}),
            C + r"must hold one number a row, got rows of shape \(2,\): make columns of them",
        ),
        "nothing but arrays": (
            polars.DataFrame({"c": polars.Series([[1, 2]] * 3, dtype=polars.Array(polars.Int64, 2))}),
            C + r"must hold one number a row, got rows of shape \(2,\): make columns of them",
        ),
        "structs": (
            polars.DataFrame(one | {"c": [{"x": 1, "y": 2}] * 3}),
            C + r"must hold one number a row, got rows of shape \(2,\)",
        ),
        "bytes": (polars.DataFrame(one | {"c": [b"a"] * 3}), NUMBERS + "got text: row 0 holds b'a'"),
        "no columns": (polars.DataFrame(), "x must have at least one feature, got shape"),
    }  # fmt: skip


def arrow_tables():
    arrow = pytest.importorskip("pyarrow", exc_type=ImportError)
    a = arrow.array(A)

    def beside(values, kind=None):
        return arrow.table({"a": a, "c": arrow.array(values, kind)})

    return {
        "numbers": (beside([4, 5, 6]), [[1, 4], [2, 5], [3, 6]]),
        "a batch of a table": (arrow.record_batch([a, a], ["a", "c"]), [[1, 1], [2, 2], [3, 3]]),
        "a name twice": (arrow.table([a, arrow.array([4, 5, 6])], ["a", "a"]), [[1, 4], [2, 5], [3, 6]]),
        "a name twice beside bools with a null": (
            arrow.table([a, a, arrow.array([True, None, False])], ["a", "a", "c"]), [[1, 1, 1], [2, 2, NAN], [3, 3, 0]],
        ),
        "text under a name twice": (
            arrow.table([a, arrow.array(list("abc"))], ["a", "a"]), rf"column 1 of x \('a'\) {TEXT}",
        ),
        "integers with a null": (beside([1, None, 3]), [[1, 1], [2, NAN], [3, 3]]),
        "decimals with a null": (beside([Decimal("1.5"), None, Decimal(3)]), [[1, 1.5], [2, NAN], [3, 3]]),
        "nothing but nulls": (beside([None] * 3), [[1, NAN], [2, NAN], [3, NAN]]),
        "half": (beside(np.array([1, 2, 3], "f2")), [[1, 1], [2, 2], [3, 3]]),
        "dictionary with a null": (
            arrow.table({"a": a, "c": arrow.array([7, None, 5]).dictionary_encode()}), [[1, 7], [2, NAN], [3, 5]],
        ),
        "chunks of dictionaries": (
            arrow.table({"c": arrow.chunked_array([arrow.array(c).dictionary_encode() for c in ([7], [None, 5])])}),
            [[7], [NAN], [5]],
        ),
        "dictionary of numbers": (arrow.table({"c": arrow.array([7, 5, 7]).dictionary_encode()}), [[7], [5], [7]]),
        "dictionary of text": (
            arrow.table({"a": a, "c": arrow.array(list("abc")).dictionary_encode()}), C + TEXT,
        ),
        "lists": (
            beside([[1, 2]] * 3),
            NUMBERS + r"but row 0 holds array\(\[1, 2\]\), of type ndarray: make columns of them",
        ),
        "times": (beside([datetime.datetime(2020, 1, 1)] * 3), NUMBERS + "got datetime data"),
    }  # fmt: skip


def of_narwhals():
    """Return frames of other libraries as narwhals wraps them."""
    narwhals = pytest.importorskip("narwhals")
    tables = {f"{name} of polars": frame for name, frame in polars_frames().items() if name != "no columns"}
    tables |= {f"{name} of Arrow": table for name, table in arrow_tables().items() if "a name" not in name}
    return {
        name: (narwhals.from_native(frame, eager_only=True), wanted)
        for name, (frame, wanted) in tables.items()
        if "batch" not in name
    }


def pandas_on_arrow():
    arrow = pytest.importorskip("pyarrow", exc_type=ImportError)

    def beside(values, kind):
        return pandas.DataFrame({"a": A, "c": pandas.array(values, dtype=pandas.ArrowDtype(kind))})

    return {
        "integers": (beside([1, None, 3], arrow.int64()), [[1, 1], [2, NAN], [3, 3]]),
        "bools": (beside([True, None, False], arrow.bool_()), [[1, 1], [2, NAN], [3, 0]]),
        "decimals": (beside([Decimal("1.5"), None, Decimal(3)], arrow.decimal128(5, 2)), [[1, 1.5], [2, NAN], [3, 3]]),
        "text": (beside(list("abc"), arrow.string()), C + TEXT),
        "lists": (
            beside([[1]] * 3, arrow.list_(arrow.int64())),
            NUMBERS + r"but row 0 holds array\(\[1\]\), of type ndarray: make columns of them",
        ),
        "times": (beside([1, 2, 3], arrow.timestamp("s")), NUMBERS + "got datetime data"),
        "a name twice": (
            beside([1, None, 3], arrow.int64()).set_axis(["a", "a"], axis=1), [[1, 1], [2, NAN], [3, 3]],
        ),
    }  # fmt: skip


LIBRARIES = [pandas_names, pandas_types, pandas_on_arrow, polars_frames, arrow_tables, of_narwhals]


@pytest.mark.parametrize("library", LIBRARIES)
def test_odd_columns_are_the_right_array_or_one_sentence_that_names_them(library):
    """The array never has more or fewer features than the frame has columns."""
    for kind, (frame, wanted) in library().items():
        if not isinstance(wanted, str):
            found = arrays.inputs(frame, None, "float64", check_finite=False)
            np.testing.assert_array_equal(found, wanted, err_msg=kind)
            continue
        with pytest.raises((TypeError, ValueError), match=f"^{wanted}") as caught:
            arrays.inputs(frame, None, "float64", check_finite=False)
        assert "\n" not in str(caught.value), kind


def test_a_name_twice_in_a_model():
    """Where a name must say which column, a sentence names the two; where none must, columns go by their place."""
    frame = frame_of(["a", "a", "flag"], A, [4.0, 5.0, 6.0], nullable(True, False, True, dtype="boolean"))
    model = fastnn.Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(frame.to_numpy(), A, verbose=0)
    np.testing.assert_array_equal(model.predict(frame), model.predict(frame.to_numpy()))
    for call, name in ((lambda: model.fit(frame, A, verbose=0), "x"), (lambda: layers.Impute().adapt(frame), "data")):
        with pytest.raises(ValueError, match=f"^{name} has 2 columns named 'a': give each a name of its own"):
            call()
    assert model.feature_names is None

    named = fastnn.Sequential([layers.Branches({"flag": [], "a": [fastnn.Input((1,))]}), layers.Dense(1)])
    named.compile("sgd", "mse")
    with pytest.raises(ValueError, match="x has 2 columns named 'a': give each a name of its own"):
        named.fit(frame, A, verbose=0)
    with pytest.raises(ValueError, match="y has 2 columns named 'price': give each a name of its own"):
        with_names().evaluate(COLUMNS, frame_of(["price", "price", "sold"], *[[0] * 6] * 3), verbose=0)


@each
def test_a_missing_number_is_named_by_row_and_column(library):
    """Every check for NaN names row and column, also in x so large that training starts before all of it is checked."""
    rows = 1_000_000
    values = {"age": np.zeros(rows), "income": np.zeros(rows), "owner": np.zeros(rows)}
    values["income"][rows - 2] = np.nan
    few = FRAMES[library]({name: column[-3:] for name, column in values.items()})
    many = FRAMES[library](values)
    here, there = (rf"x\['income'\] must be finite, but row {row} holds" for row in (1, rows - 2))
    two = {name: values[:3] for name, values in TARGETS.items()}
    for make, x, y, match in (
        (plain, few, A, here),
        (plain, many, np.zeros(rows), there),
        (with_names, few, two, here),
    ):
        with pytest.raises(ValueError, match=f"^{match}"):
            make().fit(x, y, verbose=0)
        with pytest.raises(ValueError, match=f"^{match}"):
            make().evaluate(x, y, verbose=0)
        with pytest.raises(ValueError, match=f"^{match}"):
            make().predict(x, check_finite=True)
    with pytest.raises(ValueError, match=rf"^validation_data's {here}"):
        plain().fit(X, np.zeros(6), validation_data=(few, np.zeros(3)), verbose=0)
    with pytest.raises(ValueError, match=r"^y\['price'\] must be finite, but row 1 holds"):
        plain().fit(X[:2], FRAMES[library]({"price": [1.0, np.nan]}), verbose=0)
    model = fastnn.Sequential([layers.Branches({"numbers": []}), layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"^x\['numbers'\]\['income'\] must be finite, but row 1 holds"):
        model.fit({"numbers": few}, np.zeros(3), verbose=0)


@pytest.mark.parametrize("as_narwhals", [False, True])
def test_nulls_of_a_dictionary_of_arrow_are_not_taken_for_a_word(as_narwhals):
    """NumPy reads each null as the first word of the dictionary."""
    arrow = pytest.importorskip("pyarrow", exc_type=ImportError)
    table = arrow.table({"word": arrow.array(["a", None, "b"]).dictionary_encode()})
    table = pytest.importorskip("narwhals").from_native(table) if as_narwhals else table
    for words, name in ((table, r"data\['word'\]"), (table["word"], "data")):
        with pytest.raises(TypeError, match=f"^{name} must hold text for this StringLookup, but row 1 holds None"):
            layers.StringLookup().adapt(words)


@each
def test_what_is_no_token_is_named_by_row_and_column(library):
    make = FRAMES[library]
    with pytest.raises(
        TypeError, match=r"^data\['b'\] must hold text for this StringLookup, but row 1 holds (None|nan): f"
    ):
        layers.StringLookup().adapt(make({"a": ["x", "y"], "b": np.array(["x", None], object)}))
    with pytest.raises(ValueError, match=r"^data\['b'\] must hold whole numbers for this IntegerLookup, but row 1 hol"):
        layers.IntegerLookup().adapt(make({"a": [1, 2], "b": [1.0, 1.5]}))
    with pytest.raises(TypeError, match=r"^data\['b'\] must hold text for this StringLookup, got dtype int64; for who"):
        layers.StringLookup().adapt(make({"a": ["x", "y"], "b": [1, 2]}))
    codes = layers.IntegerLookup()  # float64 would make one code of these two
    codes.adapt(make({"a": np.array([2**60 + 1, 2**60]), "b": [1.0, 2.0]}))
    assert codes.get_vocabulary(include_special_tokens=False) == [2**60 + 1, 2**60, 2, 1]
    lookup = layers.IntegerLookup()
    lookup.adapt(np.array([2**60 + 1, 2**60], object))  # pandas holds such integers among other objects
    assert lookup.get_vocabulary(include_special_tokens=False) == [2**60 + 1, 2**60]


# ---- any two columns beside each other ----

WHOLE, HALVES, FLAGS = [3, 0, 5], [0.5, 2.0, -1.25], [True, False, True]


def pandas_columns():
    each = {dtype: pandas.Series(WHOLE, dtype=dtype) for dtype in ("int8", "float32", "Int64")}
    each |= {"bool": pandas.Series(FLAGS), "object": pandas.Series(HALVES, dtype=object)}
    each["sparse"] = pandas.Series(pandas.arrays.SparseArray([0.0, 0.0, 2.5]))
    each |= {f"{dtype} with a null": pandas.Series([3, None, 5], dtype=dtype) for dtype in ("float64", "Int64")}
    each["boolean with a null"] = pandas.Series([True, None, False], dtype="boolean")
    for name, values in (("whole", [3, None, 5]), ("halves", [0.5, None, 2.5])):
        each[f"category of {name} with a null"] = pandas.Series(pandas.Categorical(values))
    return each, lambda one, two: frame_of(["a", "a"], one, two), pandas.Series.tolist


def polars_columns():
    kinds = [polars.Int8, polars.UInt64, polars.Float32, polars.Int64]
    each = {str(kind): polars.Series(WHOLE, dtype=kind) for kind in kinds}
    each |= {f"{kind} with a null": polars.Series([3, None, 5], dtype=kind) for kind in kinds}
    each |= {"bool": polars.Series(FLAGS), "bool with a null": polars.Series([True, None, False])}
    each["decimals with a null"] = polars.Series([Decimal("0.5"), None, Decimal(2)])
    return each, lambda one, two: polars.DataFrame({"a": one, "b": two}), polars.Series.to_list


def arrow_columns():
    arrow = pytest.importorskip("pyarrow", exc_type=ImportError)
    kinds = [arrow.int8(), arrow.uint64(), arrow.float32()]
    each = {str(kind): arrow.array(WHOLE, kind) for kind in kinds}
    each |= {f"{kind} with a null": arrow.array([3, None, 5], kind) for kind in kinds}
    each |= {"bool": arrow.array(FLAGS), "bool with a null": arrow.array([True, None, False])}
    each["decimals with a null"] = arrow.array([Decimal("0.5"), None, Decimal(2)])
    each["dictionary with a null"] = arrow.array([0.5, None, 2.5]).dictionary_encode()
    return each, lambda one, two: arrow.table([one, two], ["a", "a"]), lambda column: column.to_pylist()


@pytest.mark.skipif(not hasattr(polars, "Int128"), reason="this polars has no integers of 128 bits")
def test_integers_of_128_bits_are_numbers_or_one_sentence():
    """Some versions of polars give such integers to NumPy, others do not."""
    frame = polars.DataFrame({"a": A, "c": polars.Series([1, 2, 3], dtype=polars.Int128)})
    sentence = None
    try:
        found = arrays.inputs(frame, None, "float64", check_finite=False)
    except (TypeError, ValueError) as error:
        sentence = str(error)
    if sentence is None:
        np.testing.assert_array_equal(found, np.column_stack([A, [1, 2, 3]]))
    else:
        assert "must be what NumPy can read, but of this Series it says: cannot convert" in sentence


@pytest.mark.parametrize("library", [pandas_columns, polars_columns, arrow_columns])
def test_two_columns_of_any_kinds_keep_their_numbers_and_their_nulls(library):
    """Libraries find one dtype for all columns of a frame, in which a null may become a number such as -2**63."""
    columns, beside, listed = library()
    for one, two in itertools.combinations_with_replacement(columns.values(), 2):
        found = arrays.inputs(beside(one, two), None, "float64", check_finite=False)
        wanted = [[NAN if frames.is_null(value) else float(value) for value in listed(c)] for c in (one, two)]
        np.testing.assert_array_equal(found, np.transpose(wanted), err_msg=f"{one} {two}")
