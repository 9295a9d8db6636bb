"""Columns of data frames by their names: whatever their order in a frame, a model reads what it was taught to read."""

import narwhals
import numpy as np
import pandas
import polars
import pytest

from fastnn.data import frames

arrow = pytest.importorskip("pyarrow", exc_type=ImportError)

LIBRARIES = {
    "pandas": pandas.DataFrame,
    "pandas on Arrow": lambda columns: pandas.DataFrame(columns).convert_dtypes(dtype_backend="pyarrow"),
    "polars": polars.DataFrame,
    "Arrow": arrow.table,
    "a batch of Arrow": arrow.record_batch,
    "pandas of narwhals": lambda columns: narwhals.from_native(pandas.DataFrame(columns)),
    "polars of narwhals": lambda columns: narwhals.from_native(polars.DataFrame(columns)),
    "Arrow of narwhals": lambda columns: narwhals.from_native(arrow.table(columns)),
}
each = pytest.mark.parametrize("make", LIBRARIES.values(), ids=LIBRARIES)
COLUMNS = {"age": [20.0, 30.0, 40.0], "income": [1.0, 2.5, 3.0], "owner": [0.0, 1.0, 1.0]}
NAMES = tuple(COLUMNS)


def array_of(frame):
    return frames.real_array(frame, "x")


# ---- the function that puts columns in order ----


@each
def test_columns_are_put_in_the_order_of_names(make):
    frame = make(COLUMNS)
    assert frames.text_names(frame) == NAMES
    assert frames.in_order(frame, NAMES) is frame
    moved = frames.in_order(make(dict(reversed(COLUMNS.items()))), NAMES)
    assert frames.text_names(moved) == NAMES
    np.testing.assert_array_equal(array_of(moved), array_of(frame))


@each
def test_a_missing_and_an_extra_column_are_named(make):
    for columns, sentence in (
        (("age", "income", "owner", "city"), "X must have the columns of names, but lacks 'city'"),
        (("age", "income"), "X must have the columns of names, but has 'owner' besides; known are age, income"),
        (
            ("age", "incomes", "owner"),
            "X must have the columns of names, but lacks 'incomes' and has 'income' besides; did you mean 'incomes'?",
        ),
    ):
        with pytest.raises(ValueError, match="X must") as caught:
            frames.in_order(make(COLUMNS), columns, "X", "names")
        assert str(caught.value) == sentence
    many = {f"c{k}": [0.0] for k in range(40)}
    with pytest.raises(ValueError, match=r"besides$") as caught:
        frames.in_order(make(many), ["a", "b"] + [f"d{k}" for k in range(60)])
    assert "and 52 more and has 'c0', " in str(caught.value)
    assert "and 30 more besides" in str(caught.value)


def test_names_that_are_no_text_go_by_place():
    for names in ([0, 1, 2], ["age", 1, "owner"], [("a", "b"), ("a", "c"), ("b", "c")], ["age", None, "owner"]):
        frame = pandas.DataFrame(np.zeros((2, 3)), columns=names)
        assert frames.text_names(frame) is None
        assert frames.in_order(frame, NAMES) is frame
    assert frames.text_names(pandas.DataFrame(index=range(3))) is None


def test_two_columns_of_one_name_are_one_sentence():
    for frame in (
        pandas.DataFrame(np.zeros((2, 3)), columns=["age", "age", "owner"]),
        arrow.table([[1], [2], [3]], ["age", "age", "owner"]),
    ):
        for call in (frames.text_names, lambda x: frames.in_order(x, ("age", "owner"))):
            with pytest.raises(ValueError, match=r"^x has 2 columns named 'age': give each a name of its own$"):
                call(frame)
