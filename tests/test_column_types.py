"""Columns of each type in frames of each library: their numbers, or one sentence that says what to do."""

import datetime
from decimal import Decimal

import narwhals
import numpy as np
import pandas
import polars
import pytest

import fastnn
from fastnn import layers
from fastnn.data import frames

arrow = pytest.importorskip("pyarrow", exc_type=ImportError)

NAN, D, SECOND = np.nan, Decimal, datetime.timedelta(seconds=1)
DAY, NOON, THEN = datetime.date(2020, 1, 1), datetime.time(12), datetime.datetime(2020, 1, 1)
A = [1.0, 2.0, 3.0]

TEXT = "got text: row [01] holds '[ab]'; a StringLookup layer makes numbers of text"
TIMES = "make numbers of dates and times first, such as the year, the weekday, or the hours since one of them"
DURATIONS = "make numbers of durations first, such as how many days or seconds they last"
ROWS = (
    "(but row 0 holds array.*, of type ndarray: make columns of them|one number a row, got rows of shape .*: make col)"
)

# Each row: what a column holds, what becomes of it, and the type in each library; a library without one is left out.
TYPES = {
    "integers": (
        [1, 2, 3], A,
        {"pandas": "int8", "on Arrow": arrow.int64(), "polars": polars.Int64, "Arrow": arrow.int32()},
    ),
    "integers with a null": (
        [1, None, 3], [1, NAN, 3],
        {"pandas": "Int64", "on Arrow": arrow.int64(), "polars": polars.Int32, "Arrow": arrow.int64()},
    ),
    "unsigned integers with a null": (
        [1, None, 3], [1, NAN, 3],
        {"pandas": "UInt64", "on Arrow": arrow.uint64(), "polars": polars.UInt64, "Arrow": arrow.uint64()},
    ),
    "fractions with a null and a NaN": (
        [0.5, None, NAN], [0.5, NAN, NAN],
        {"pandas": "Float64", "on Arrow": arrow.float64(), "polars": polars.Float64, "Arrow": arrow.float64()},
    ),
    "fractions of 32 bits with a null": (
        [0.5, None, 3], [0.5, NAN, 3],
        {"pandas": "Float32", "on Arrow": arrow.float32(), "polars": polars.Float32, "Arrow": arrow.float32()},
    ),
    "bools": (
        [True, False, True], [1, 0, 1],
        {"pandas": "bool", "on Arrow": arrow.bool_(), "polars": polars.Boolean, "Arrow": arrow.bool_()},
    ),
    "bools with a null": (
        [True, None, False], [1, NAN, 0],
        {"pandas": "boolean", "on Arrow": arrow.bool_(), "polars": polars.Boolean, "Arrow": arrow.bool_()},
    ),
    "decimals with a null": (
        [D("1.5"), None, D("2.25")], [1.5, NAN, 2.25],
        {"on Arrow": arrow.decimal128(5, 2), "polars": polars.Decimal(5, 2), "Arrow": arrow.decimal256(5, 2)},
    ),
    "decimals": ([D("1.5"), D(2), D(3)], [1.5, 2, 3], {"pandas": "object", "polars": polars.Decimal(5, 2)}),
    "categories of numbers with a null": (
        [7, None, 5], [7, NAN, 5],
        {
            "pandas": "category", "on Arrow": arrow.dictionary(arrow.int32(), arrow.int64()),
            "Arrow": arrow.dictionary(arrow.int8(), arrow.float64()),
        },
    ),
    "categories of bools with a null": ([True, None, False], [1, NAN, 0], {"pandas": "category"}),
    "nothing but nulls": (
        [None] * 3, [NAN] * 3,
        {"pandas": "Int64", "on Arrow": arrow.null(), "polars": polars.Null, "Arrow": arrow.null()},
    ),
    "categories of text": (
        ["a", None, "b"], TEXT,
        {
            "pandas": "category", "on Arrow": arrow.dictionary(arrow.int32(), arrow.string()),
            "polars": polars.Categorical, "Arrow": arrow.dictionary(arrow.int32(), arrow.string()),
        },
    ),
    "an enumeration of text": (["a", None, "b"], TEXT, {"polars": polars.Enum(["a", "b"])}),
    "text": (
        ["a", "b", None], TEXT,
        {"pandas": "str", "on Arrow": arrow.string(), "polars": polars.String, "Arrow": arrow.large_string()},
    ),
    "text of pandas' own type": ([None, "a", "b"], TEXT, {"pandas": "string"}),
    "text among numbers": ([1.0, "a", 2.0], TEXT, {"pandas": "object", "polars": polars.Object}),
    "dates": (
        [DAY, None, DAY], TIMES,
        {"pandas": "object", "on Arrow": arrow.date32(), "polars": polars.Date, "Arrow": arrow.date64()},
    ),
    "instants": (
        [THEN, None, THEN], TIMES,
        {
            "pandas": "datetime64[ns]", "on Arrow": arrow.timestamp("us"), "polars": polars.Datetime,
            "Arrow": arrow.timestamp("s"),
        },
    ),
    "instants with a zone": (
        [THEN, None, THEN], TIMES,
        {
            "pandas": "datetime64[ns, UTC]", "on Arrow": arrow.timestamp("us", "UTC"),
            "polars": polars.Datetime("us", "UTC"), "Arrow": arrow.timestamp("us", "UTC"),
        },
    ),
    "times of a day": (
        [NOON, None, NOON], TIMES,
        {"pandas": "object", "on Arrow": arrow.time64("us"), "polars": polars.Time, "Arrow": arrow.time64("us")},
    ),
    "periods": ([THEN, THEN, THEN], TIMES, {"pandas": "period[D]"}),
    "durations": (
        [SECOND, None, SECOND], DURATIONS,
        {
            "pandas": "timedelta64[ns]", "on Arrow": arrow.duration("us"), "polars": polars.Duration,
            "Arrow": arrow.duration("s"),
        },
    ),
    "durations among objects": ([SECOND, SECOND, SECOND], DURATIONS, {"pandas": "object"}),
    "pandas.NA among objects": ([1, pandas.NA, 3], "but row 1 holds <NA>: fill it first", {"pandas": "object"}),
    "lists": (
        [[1, 2]] * 3, ROWS,
        {
            "on Arrow": arrow.list_(arrow.int64()), "polars": polars.List(polars.Int64),
            "Arrow": arrow.list_(arrow.int64()),
        },
    ),
    "arrays": ([[1, 2]] * 3, ROWS, {"polars": polars.Array(polars.Int64, 2), "Arrow": arrow.list_(arrow.int64(), 2)}),
}  # fmt: skip


def series_of_pandas(values, dtype):
    if dtype == "period[D]":
        return pandas.Series(values).dt.to_period("D")
    if dtype == "Float64":  # a NaN that is a number, beside a null
        return pandas.Series(pandas.arrays.FloatingArray(np.array([0.5, 1, NAN]), np.array([False, True, False])))
    if "UTC" in dtype:
        return pandas.Series(values).dt.tz_localize("UTC")
    return pandas.Series(values, dtype=dtype)


def on_arrow(values, dtype):
    chunks = arrow.chunked_array([arrow.array(values, dtype)])
    return pandas.Series(pandas.arrays.ArrowExtensionArray(chunks))


def frame_of(library, values, dtype):
    if library == "polars":
        return polars.DataFrame({"a": A, "c": polars.Series(values, dtype=dtype)})
    if library == "Arrow":
        return arrow.table({"a": A, "c": arrow.array(values, dtype)})
    return pandas.DataFrame({"a": A, "c": (on_arrow if library == "on Arrow" else series_of_pandas)(values, dtype)})


CASES = {f"{kind} in {library}": (kind, library) for kind, row in TYPES.items() for library in row[2]}


@pytest.mark.parametrize("wrap", [lambda frame: frame, narwhals.from_native], ids=["itself", "of narwhals"])
@pytest.mark.parametrize("case", CASES)
def test_a_column_becomes_its_numbers_or_one_sentence(case, wrap):
    kind, library = CASES[case]
    values, wanted, dtypes = TYPES[kind]
    frame = wrap(frame_of(library, values, dtypes[library]))
    model = fastnn.Sequential([layers.Input((2,), dtype="float64"), layers.Rescaling(1.0)])
    model.compile("sgd", "mse")
    filled = layers.Impute("constant", fill_value=-1.0)
    frozen = model.freeze()
    if not isinstance(wanted, str):
        for call in (model.predict, frozen, model.forward):
            np.testing.assert_array_equal(call(frame), np.column_stack([A, wanted]))
        np.testing.assert_array_equal(filled(frame)[:, 1], np.nan_to_num(wanted, nan=-1.0))
        if np.isnan(wanted).any():
            with pytest.raises(ValueError, match=r"^x\['c'\] must be finite, but row \d holds a NaN"):
                model.fit(frame, np.zeros((3, 2)), verbose=0)
            assert model.feature_names is None
        return
    if "pandas.NA" in kind and wrap is narwhals.from_native:
        return  # narwhals calls the column one that may have nulls
    for call in (
        model.predict,
        frozen,
        lambda x: model.fit(x, np.zeros((3, 2)), verbose=0),
        layers.Normalization().adapt,
    ):
        with pytest.raises(
            (TypeError, ValueError), match=rf"^(x|data)\['c'\] must (hold )?(real numbers, )?.*{wanted}"
        ) as caught:
            call(frame)
        assert "\n" not in str(caught.value)
    assert model.feature_names is None


# ---- frames of one column, of no rows, of no columns ----

LIBRARIES = {
    "pandas": (pandas.DataFrame, lambda frame: frame[:0]),
    "polars": (polars.DataFrame, lambda frame: frame[:0]),
    "Arrow": (arrow.table, lambda frame: frame.slice(0, 0)),
    "a batch of Arrow": (arrow.record_batch, lambda frame: frame.slice(0, 0)),
}


@pytest.mark.parametrize("wrap", [lambda frame: frame, narwhals.from_native], ids=["itself", "of narwhals"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_frames_without_rows_or_columns_and_of_one_column(library, wrap):
    wrap = wrap if library != "a batch of Arrow" else lambda frame: frame  # which narwhals does not take
    make, without_rows = LIBRARIES[library]
    frame = make({"a": [1.0, 2.0], "b": [3, 4]})
    model = fastnn.Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(wrap(frame), [1.0, 2.0], verbose=0)
    none = wrap(without_rows(frame))
    assert model.predict(none).shape == model.freeze()(none).shape == (0, 1)
    for call in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=r"^x must have at least one row, got shape \(0, 2\)$"):
            call(none, [], verbose=0)
    with pytest.raises(ValueError, match=r"^x must have the columns of feature_names, but lacks 'a', 'b'$"):
        model.predict(wrap(make({})))
    new = fastnn.Sequential([layers.Dense(1)])
    new.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"^x must have at least one feature, got shape \(0, 0\)$"):
        new.fit(wrap(make({})), [], verbose=0)
    one = wrap(make({"a": [1.0, 2.0]}))
    new.fit(one, [1.0, 2.0], verbose=0)
    assert new.feature_names == ("a",)
    assert new.predict(one).shape == new.freeze()(one).shape == (2, 1)
    with pytest.raises(ValueError, match=r"but lacks 'a' and has 'c' besides; known are a$"):
        new.predict(wrap(make({"c": [1.0]})))


@pytest.mark.parametrize("wrap", [lambda frame: frame, narwhals.from_native], ids=["itself", "narwhals"])
def test_a_missing_category_beside_whole_numbers_stays_missing(wrap):
    """Asked for a frame as a whole, pandas makes some whole number of the missing one."""
    kinds = pandas.Categorical([7, None], categories=[7])
    frame = pandas.DataFrame({"count": np.array([1, 2], "int8"), "kind": kinds})
    np.testing.assert_array_equal(frames.real_array(wrap(frame), "x"), [[1, 7], [2, np.nan]])
