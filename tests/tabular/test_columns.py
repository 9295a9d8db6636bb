"""Raw columns of every kind as numbers and codes."""

import datetime
import json

import numpy as np
import pytest

from fastnn.tabular import _columns
from fastnn.tabular._preparation import Preparation, Table

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")


def prepared(frame, *, scaling="robust", limit=None, most=0):
    return Preparation.learned(Table.of(frame), scaling, limit, most)


def robust(x):
    """(x - median) / (upper quartile - lower quartile), or over half of the range where that is zero."""
    lower, middle, upper = np.quantile(x, [0.25, 0.5, 0.75])
    return (x - middle) / (upper - lower or (x.max() - x.min()) / 2)


X = np.array([3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0, 6.0])


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (X, robust(X)),
        (np.array([0.0] * 7 + [4.0]), robust(np.array([0.0] * 7 + [4.0]))),
        (np.arange(8), robust(np.arange(8))),
        (list(map(float, range(8))), robust(np.arange(8))),
        (pd.array([*range(8)], dtype="Int64"), robust(np.arange(8))),
        (np.arange(8, dtype=object), robust(np.arange(8))),
        (np.arange(8) * 1e6 + 1e12, robust(np.arange(8))),  # float32 alone would see one number
        (pd.to_timedelta(np.arange(8), unit="h"), robust(np.arange(8))),
    ],
    ids=["floats", "mostly one", "integers", "list", "nullable", "objects", "far from zero", "durations"],
)
def test_numbers_are_scaled_by_median_and_quartiles(values, wanted):
    frame = pd.DataFrame({"a": values})
    found = prepared(frame)(Table.of(frame))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, 0], wanted, rtol=1e-6, atol=1e-6)  # float32


def test_standard_scaling_and_the_limit():
    frame = pd.DataFrame({"a": X})
    wanted = (X - X.mean()) / X.std()
    np.testing.assert_allclose(prepared(frame, scaling="standard")(Table.of(frame))[:, 0], wanted, rtol=1e-5)
    wanted = robust(X) / np.sqrt(1 + (robust(X) / 3) ** 2)
    np.testing.assert_allclose(prepared(frame, limit=3.0)(Table.of(frame))[:, 0], wanted, rtol=1e-5)


def test_a_missing_number_is_the_median_and_has_a_flag():
    frame = pd.DataFrame({"a": [1.0, 2.0, np.nan, 4.0, 6.0]})
    found = prepared(frame)(Table.of(frame))
    filled = np.array([1.0, 2.0, 3.0, 4.0, 6.0])
    np.testing.assert_allclose(found, np.column_stack([robust(filled), robust(np.array([0, 0, 1.0, 0, 0]))]), rtol=1e-6)


def test_infinities_are_the_ends_of_what_fit_has_seen():
    frame = pd.DataFrame({"a": [1.0, np.inf, -np.inf, 4.0, 7.0]})
    preparation = prepared(frame)
    found = preparation(Table.of(pd.DataFrame({"a": [np.inf, -np.inf, 7.0, 1.0]})))[:, 0]
    assert found[0] == found[2]
    assert found[1] == found[3]


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_dates_become_several_numbers(library):
    times = [datetime.datetime(2024, 2, 29, 6), datetime.datetime(2023, 12, 31), datetime.datetime(1969, 7, 20, 18)]
    frame = library.DataFrame({"t": times})
    names = dict(zip(_columns.TimeColumn.parts, _columns.TimeColumn().numbers(frame["t"], "t"), strict=True))
    assert names["year"].tolist() == [2024, 2023, 1969]
    assert names["month"].tolist() == [2, 12, 7]
    assert names["day"].tolist() == [29, 31, 20]
    assert names["weekday"].tolist() == [one.weekday() for one in times]
    assert names["hour"].tolist() == [6, 0, 18]
    epoch = datetime.datetime(1970, 1, 1)
    assert names["days"].tolist() == [(one - epoch) / datetime.timedelta(days=1) for one in times]
    assert prepared(frame).widths == (6, 0, 0)


@pytest.mark.parametrize(
    "values",
    [
        [datetime.date(2024, 1, 1), datetime.date(2024, 1, 3), None],
        pd.to_datetime(["2024-01-01", "2024-01-03", None]),
        pd.to_datetime(["2024-01-01 01:00", "2024-01-03 01:00", None]).tz_localize("Europe/Berlin"),
        [datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc), datetime.datetime(2024, 1, 3), None],
    ],
    ids=["dates", "times", "zone", "objects"],
)
def test_a_missing_time_is_missing_in_all_parts(values):
    frame = pd.DataFrame({"t": pd.Series(values, dtype=object if isinstance(values, list) else None)})
    preparation = prepared(frame)
    assert preparation.columns[0].kind == "times"
    found = preparation(Table.of(frame))
    assert np.isfinite(found).all()
    assert preparation.widths == (4, 0, 0)  # the days, the day of the month, the weekday, and one flag for all of them


CLOCK = [datetime.time(8, 30), datetime.time(0, 0, 1, 500_000), None, datetime.time(23, 59)]


@pytest.mark.parametrize(
    "values",
    [CLOCK, pl.Series(CLOCK), [datetime.timedelta(seconds=s) for s in (30_600, 1.5)] + CLOCK[2:]],
    ids=["objects", "polars", "beside durations"],
)
def test_times_of_day_are_seconds_since_midnight(values):
    frame = (
        pl.DataFrame({"t": values})
        if isinstance(values, pl.Series)
        else pd.DataFrame({"t": pd.Series(values, dtype=object)})
    )
    (column,) = prepared(frame).columns
    assert column.kind == "durations"
    (found,) = column.numbers(Table.of(frame).columns[0][1], "t")
    np.testing.assert_array_equal(found, [30_600, 1.5, np.nan, 86_340])


@pytest.mark.parametrize("dtype", [None, object], ids=["a column of periods", "objects"])
def test_periods_are_the_times_at_which_they_begin(dtype):
    periods = pd.Series(pd.period_range("2023-11", periods=4, freq="M"), dtype=dtype)
    periods[2] = pd.NaT
    wanted = prepared(pd.DataFrame({"t": periods.astype("period[M]").dt.to_timestamp()}))
    found = prepared(pd.DataFrame({"t": periods}))
    assert found.columns[0].kind == "times"
    table = Table.of(pd.DataFrame({"t": periods}))
    np.testing.assert_array_equal(found(table), wanted(table))
    assert found.widths == wanted.widths


def codes_of(learned, later):
    preparation = prepared(learned)
    return preparation(Table.of(later))[:, preparation.widths[0] :].astype(int).ravel().tolist()


@pytest.mark.parametrize(
    ("values", "later", "wanted"),
    [
        (["b", "a", None, "b"], ["a", "b", "c", None], [2, 3, 0, 1]),
        ([True, False, True, True], [False, True, None, True], [2, 3, 1, 3]),
        (pd.Categorical(["b", "a", None, "b"]), pd.Categorical(["a", "b", "c", None]), [2, 3, 0, 1]),
        (pd.Categorical(["b", "a", None, "b"]), ["a", "b", "c", None], [2, 3, 0, 1]),
        (pd.Categorical([1, 2, 1, 1]), [1.0, 2.0, np.nan, 3.0], [2, 3, 1, 0]),
        (["a", 1, 2.5, "a"], ["1", 1.0, "2.5", "a"], [0, 2, 0, 4]),
        (pd.array(["b", "a", None, "b"], dtype="string"), ["a", "b", "c", None], [2, 3, 0, 1]),
        (pd.array([True, None, False, True], dtype="boolean"), [False, True, None, True], [2, 3, 1, 3]),
    ],
    ids=["text", "booleans", "categorical", "later text", "numbers", "mixed", "string dtype", "nullable booleans"],
)
def test_categories_have_codes_of_unknown_and_missing_ones_0_and_1(values, later, wanted):
    assert codes_of(pd.DataFrame({"a": values}), pd.DataFrame({"a": later})) == wanted


def test_categories_of_polars():
    frame = pl.DataFrame({"a": pl.Series(["b", "a", None, "b"], dtype=pl.Categorical)})
    assert codes_of(frame, frame) == [3, 2, 1, 3]
    assert codes_of(frame, pl.DataFrame({"a": ["a", "z"]})) == [2, 0]


def test_few_categories_become_scaled_columns_of_zeros_and_ones():
    values = np.array(["a", "b", "c", "a", "a", None, "a", "a"], object)
    found = prepared(pd.DataFrame({"a": values}), most=3, limit=3.0)(Table.of(pd.DataFrame({"a": values})))
    for place, value in enumerate("abc"):
        column = robust((values == value).astype(float))
        np.testing.assert_allclose(found[:, place], column / np.sqrt(1 + (column / 3) ** 2), rtol=1e-6)


def test_two_categories_become_one_column_of_signs():
    values = np.array(["a", "b", "a", "a", None, "b"], object)
    frame = pd.DataFrame({"a": values})
    found = prepared(frame, most=3)(Table.of(frame))
    signs = (values == "b").astype(float) - (values == "a")
    np.testing.assert_allclose(found[:, 0], robust(signs), rtol=1e-6)


def test_embeddings_of_several_columns_lie_one_after_the_other():
    frame = pd.DataFrame({"a": ["u", "v", None, "u"], "b": ["v", "w", "v", "x"]})
    preparation = prepared(frame)
    assert preparation.widths == (0, 0, 2)
    assert preparation.sizes == [4, 5]
    np.testing.assert_array_equal(preparation(Table.of(frame)), [[2, 6], [3, 7], [1, 6], [2, 8]])


def test_arrays_have_columns_by_place():
    array = np.array([[1.0, "a"], [2.0, "b"], [4.0, "a"]], object)
    assert prepared(array)(Table.of(array))[:, 1].tolist() == [2, 3, 2]


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        ({"a": [1.0] * 30}, r"X\['a'\] is constant"),
        ({"a": [np.nan] * 30}, r"X\['a'\] is constant"),
        ({"a": ["u"] * 30}, r"X\['a'\] is constant"),
        ({"a": [f"id{k}" for k in range(30)]}, r"X\['a'\] has another value in each row"),
        ({"a": np.arange(30)[::-1]}, r"X\['a'\] counts the rows"),
    ],
    ids=["constant", "all missing", "one text", "identifiers", "a counter"],
)
def test_a_column_that_says_nothing_is_warned_of(frame, sentence):
    frame = pd.DataFrame(frame)
    with pytest.warns(UserWarning, match=sentence):
        preparation = prepared(frame)
    assert np.isfinite(preparation(Table.of(frame))).all()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([{"u": 1}, "v"], r"X\['a'\] holds \{'u': 1\} in row 0, of type dict, but an argument must be a string or a"),
        ([1j, 2j], r"X\['a'\] must hold real numbers, strings or dates, got dtype complex128"),
    ],
    ids=["dicts", "complex"],
)
def test_a_column_of_other_things_is_refused_by_name(values, sentence):
    with pytest.raises(TypeError, match=sentence):
        prepared(pd.DataFrame({"a": values}))


@pytest.mark.parametrize(
    ("learned", "later", "sentence"),
    [
        ([1.0, 2.0], ["u", "v"], r"X\['a'\] must hold real numbers, got text"),
        (pd.to_datetime(["2024-01-01", "2024-01-02"]), [1.0, 2.0], r"X\['a'\] must hold times, as in fit, got numbers"),
    ],
    ids=["text for numbers", "numbers for times"],
)
def test_a_later_column_of_another_kind_is_refused_by_name(learned, later, sentence):
    preparation = prepared(pd.DataFrame({"a": learned}))
    with pytest.raises(TypeError, match=sentence):
        preparation(Table.of(pd.DataFrame({"a": later})))


@pytest.mark.parametrize("later", [[None] * 2, [np.nan] * 2, [pd.NaT] * 2, pd.array([None] * 2, dtype="Int64")])
@pytest.mark.parametrize("learned", [pd.to_datetime(["2024-01-01", "2025-01-02"]), pd.to_timedelta([1, 2], unit="h")])
def test_a_later_column_without_a_value_is_of_any_kind(learned, later):
    preparation = prepared(pd.DataFrame({"a": learned}))
    assert np.isfinite(preparation(Table.of(pd.DataFrame({"a": later})))).all()


def test_a_preparation_is_json():
    frame = pd.DataFrame(
        {
            "a": [1.0, np.nan, 3.5],
            "b": ["u", "v", "u"],
            "t": pd.to_datetime(["2024-01-01", "2025-02-03", None]),
            "d": pd.to_timedelta([1, 2, 4], unit="h"),
            "c": ["u", "v", "w"],
        }
    )
    preparation = prepared(frame, limit=3.0, most=2)
    again = Preparation.from_config(json.loads(json.dumps(preparation.get_config())))
    np.testing.assert_array_equal(again(Table.of(frame)), preparation(Table.of(frame)))
    assert again.sources() == preparation.sources() == [0, 0, *[2] * 5, 3, 1, 4]
