"""Arrays that go by scikit-learn's check: those alone which it would return as they are."""

import datetime

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="fastnn.sklearn needs scikit-learn")

import pandas
import polars
from sklearn.utils import check_array, check_random_state, check_X_y

from fastnn.sklearn import MLPClassifier, MLPRegressor
from fastnn.sklearn._plain import is_plain, is_plain_column, plain_rows, random_numbers

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = np.random.default_rng(0).normal(size=(12, 3))
Y = np.arange(12) % 3
PLAIN = {"float64": X, "float32": X.astype("float32"), "rows of a larger one": np.vstack([X, X])[3:15]}
OTHER = {
    "a list": X.tolist(),
    "integers": X.astype(int),
    "columns first": np.asfortranarray(X),
    "another order of bytes": X.astype(">f8"),
    "a subclass": np.ma.masked_array(X),
    "one axis": X[:, 0],
    "three axes": X[:, :, None],
    "no rows": X[:0],
    "no columns": X[:, :0],
    "NaN": np.where(X > 1, np.nan, X),
    "infinity": np.where(X > 1, np.inf, X),
}


@pytest.mark.parametrize("x", PLAIN.values(), ids=PLAIN)
def test_scikit_learn_returns_a_plain_array_as_it_is(x):
    assert is_plain(x)
    assert check_X_y(x, Y, dtype=(np.float64, np.float32))[0] is x


@pytest.mark.parametrize("x", OTHER.values(), ids=OTHER)
def test_scikit_learn_looks_at_any_other(x):
    assert not is_plain(x)


CONVERTED = {
    "integers": OTHER["integers"],
    "columns first": OTHER["columns first"],
    "every second row": X[::2],
    "truth": X > 0,
    "a list of lists": [[1, 2.5], [3, 4]],
    "a list of tuples": [(1, 2), (3, 4)],
}
LEFT = {name: OTHER[name] for name in OTHER if name not in CONVERTED and name != "a list"}
LEFT |= {"words": X.astype(str), "a list of words": [["a", "b"]], "a list of numbers": [1.0, 2.0]}


@pytest.mark.parametrize("x", [*PLAIN.values(), *CONVERTED.values()], ids=[*PLAIN, *CONVERTED])
def test_rows_become_what_the_check_makes_of_them(x):
    rows, checked = plain_rows(x), check_array(x, dtype=(np.float64, np.float32))
    assert rows.dtype == checked.dtype
    np.testing.assert_array_equal(rows, checked)


@pytest.mark.parametrize("x", LEFT.values(), ids=LEFT)
def test_what_may_be_refused_is_left_to_the_check(x):
    assert plain_rows(x) is None


@pytest.mark.parametrize(
    "y", [Y, Y.astype("uint8"), Y > 1, Y / 2, (Y / 2).astype("float32")], ids=lambda y: str(y.dtype)
)
def test_a_column_of_finite_numbers_is_plain(y):
    assert is_plain_column(y)
    assert check_X_y(X, y, multi_output=True)[1] is y


@pytest.mark.parametrize("y", [Y.tolist(), Y[:, None], Y.astype(str), Y.astype(object), np.where(Y, 1.0, np.nan)])
def test_another_column_is_not_plain(y):
    assert not is_plain_column(y)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_a_plain_array_takes_the_place_of_a_frame_of_an_earlier_fit(kind):
    pandas = pytest.importorskip("pandas")
    estimator = kind(hidden_layer_sizes=(4,), tol=100, n_iter_no_change=1, random_state=0).fit(
        pandas.DataFrame(X, columns=list("abc")), Y
    )
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        estimator.predict(X)
    estimator.fit(X[:, :2].copy(), Y)
    assert estimator.n_features_in_ == 2
    assert not hasattr(estimator, "feature_names_in_")
    with pytest.raises(ValueError, match=r"X has 3 features, but .* is expecting 2 features"):
        estimator.predict(X)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        estimator.fit(X, Y[:-1])


TIMES = {
    "dates of NumPy": np.arange(12).astype("datetime64[D]"),
    "durations of NumPy": np.arange(12).astype("timedelta64[s]"),
    "dates of Python": np.array([datetime.date(2020, 1, 1)] * 12, object),
    "a column of pandas": pandas.Series(pandas.date_range("2020-01-01", periods=12)),
    "dates with a zone": pandas.Series(pandas.date_range("2020-01-01", periods=12, tz="UTC")),
    "a column of polars": polars.Series([datetime.date(2020, 1, 1)] * 12),
}


@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
def test_times_are_no_numbers(times):
    """scikit-learn's checks take most of them for numbers: nanoseconds or days since 1970."""
    with pytest.raises(TypeError, match=r"^y must hold real numbers, .*make numbers of (dates|durations)"):
        MLPRegressor(max_iter=1).fit(X, times)
    rows = np.asarray(times)[:, None]
    with pytest.raises(TypeError, match=r"^X must hold real numbers, "):
        MLPClassifier(max_iter=1).fit(rows, Y)
    net = MLPClassifier(max_iter=1).fit(X[:, :1], Y)
    with pytest.raises(TypeError, match=r"^X must hold real numbers, "):
        net.predict(rows)


def test_a_query_is_no_frame_yet():
    query = polars.DataFrame(X).lazy()
    with pytest.raises(TypeError, match=r"^X is a LazyFrame, whose rows are not there yet: pass what its collect"):
        MLPClassifier().fit(query, Y)
    with pytest.raises(TypeError, match=r"^X is a LazyFrame"):
        MLPClassifier(max_iter=1).fit(X, Y).predict(query)


def test_text_in_a_frame_is_told_what_makes_numbers_of_it():
    frame = pandas.DataFrame({"kind": list("abc") * 4})
    with pytest.raises(TypeError, match=r"^X\['kind'\] must hold real numbers, got text: .*OneHotEncoder"):
        MLPClassifier().fit(frame, Y)


@pytest.mark.parametrize("seed", [0, 7, np.int64(42), 2**32 - 1, True])
def test_random_numbers_of_a_seed_are_those_of_scikit_learn(seed):
    ours, theirs = random_numbers(seed), check_random_state(seed)
    np.testing.assert_array_equal(ours.uniform(size=1500), theirs.uniform(size=1500))
    np.testing.assert_array_equal(ours.normal(size=3), theirs.normal(size=3))
    assert ours.randint(2**31 - 1) == theirs.randint(2**31 - 1)


def test_other_random_states_are_what_scikit_learn_makes_of_them():
    own = np.random.RandomState(3)
    assert random_numbers(own) is own
    assert random_numbers(None) is check_random_state(None)
    with pytest.raises(ValueError, match="Seed must be between"):
        random_numbers(-1)
    with pytest.raises(ValueError, match="cannot be used to seed"):
        random_numbers("seed")
