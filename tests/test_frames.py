"""Data frames, of pandas, of polars and of any library with columns under names: as x, y and weights, everywhere."""

import datetime
from decimal import Decimal

import numpy as np
import pandas
import polars
import pytest

import fastnn
from fastnn import frames, layers

COLUMNS = {
    "age": [20, 30, 40, 50, 60, 35],
    "income": [1.0, 2.5, 3.0, 0.0, 1.5, -2.0],
    "owner": [True, False, True, True, False, False],
}
X = np.column_stack([np.asarray(values, float) for values in COLUMNS.values()])
TARGETS = {"price": [1.0, 2.0, 0.5, 0.0, 1.0, 3.0], "sold": [0, 1, 1, 0, 1, 0]}
WEIGHTS = [1.0, 2.0, 0.5, 1.0, 1.0, 0.0]


class Table:
    """What an Arrow table has: `columns` are the columns themselves, `column_names` their names."""

    def __init__(self, columns):
        self._columns = {name: np.asarray(values) for name, values in columns.items()}
        self.column_names = list(columns)
        self.columns = list(self._columns.values())

    def __getitem__(self, name):
        return self._columns[name]

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
    """Histories, evaluations and predictions, bit by bit."""
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
    """x of several dtypes, y and weights as one column."""
    frame, series = FRAMES[library], SERIES[library]
    y, weights = np.array(TARGETS["price"]), np.array(WEIGHTS)
    found = everything(plain(), frame(COLUMNS), series(TARGETS["price"]), series(WEIGHTS))
    assert_same(found, everything(plain(), X, y, weights))
    assert_same(everything(plain(), frame(COLUMNS), frame({"price": TARGETS["price"]}), series(WEIGHTS)), found)


@each
def test_columns_go_to_branches_and_heads(library):
    """From frames, from dicts of their columns, and from arrays; what no branch and no head takes may be in a frame."""
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
    with pytest.raises(ValueError, match="x must be finite, but row 1 holds a NaN"):
        model.fit(frame({"age": [1.0, float("nan")], "income": [1.0, 2.0], "owner": [1, 2]}), [0, 1], verbose=0)
    with pytest.raises(ValueError, match="x has no 'income', which the branch 'numbers' takes"):
        with_names().predict(frame({"age": [1.0], "owner": [1]}))
    with pytest.raises(ValueError, match="y has nothing for 'sold'"):
        with_names().evaluate(frame(COLUMNS), frame({"price": TARGETS["price"]}), verbose=0)
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_missing_values_of_pandas_and_polars():
    """NaN in what predict gives; a sentence before fit."""
    nullable = pandas.DataFrame({"age": pandas.array([1, None], "Int64"), "income": [1.0, 2.0], "owner": [1, 0]})
    for frame in (nullable, polars.DataFrame({"age": [1, None], "income": [1.0, 2.0], "owner": [1, 0]})):
        np.testing.assert_array_equal(np.isnan(plain().predict(frame))[:, 0], [False, True])
        np.testing.assert_array_equal(np.isnan(with_names().predict(frame)["price"])[:, 0], [False, True])
        with pytest.raises(ValueError, match="x must be finite, but row 1"):
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
    """A frame of polars as a whole turns dates beside numbers into integers."""
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
    """A null of theirs is NaN, as one of any other column."""
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
        with pytest.raises(TypeError, match=r"x is a LazyFrame, whose rows are not there yet: pass x.collect\(\)"):
            model.predict(lazy)
        with pytest.raises(TypeError, match="x is a LazyFrame"):
            model.freeze()(lazy)
    with pytest.raises(TypeError, match="y is a LazyFrame"):
        plain().fit(X, lazy, verbose=0)
