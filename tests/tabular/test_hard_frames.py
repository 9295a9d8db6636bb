"""Columns of raw tables as they come: one fit of a table that has all of them, and later tables that differ in one."""

import datetime
import decimal
import warnings
from dataclasses import replace

import numpy as np
import pytest

from fastnn.tabular import TabularClassifier, TabularRegressor, _presets

pd = pytest.importorskip("pandas")

ROWS, LATER = 90, 6
RANDOM = np.random.default_rng(0)
DAYS = [datetime.date(1960, 1, 1) + datetime.timedelta(days=int(k)) for k in RANDOM.integers(0, 30_000, ROWS)]
NORMAL = RANDOM.normal(size=ROWS)
NAT, NAN, INF = pd.NaT, np.nan, np.inf


def with_holes(values, hole):
    return [hole if k % 5 == 0 else value for k, value in enumerate(values)]


# Columns that fit sees, and the values of later ones that differ from all of theirs.
NUMBERS = {
    "plain": NORMAL,
    "infinities": np.select([NORMAL > 1, NORMAL < -1], [INF, -INF], NORMAL),
    "huge": NORMAL * 1e300,
    "tiny": NORMAL * 1e-300,
    "an outlier": np.where(np.arange(ROWS) == 7, 1e30, NORMAL),
    "nearly constant": (np.arange(ROWS) == 7) * 1.0,
    "missing": with_holes(NORMAL, NAN),
    "nullable": pd.array(with_holes(RANDOM.integers(0, 9, ROWS).tolist(), None), dtype="Int64"),
    "none among objects": pd.Series(with_holes(NORMAL.tolist(), None), dtype=object),
    "decimals": [decimal.Decimal(int(k)) / 8 for k in RANDOM.integers(0, 99, ROWS)],
    "wide integers": RANDOM.integers(10**17, 10**18, ROWS),
    "unsigned": RANDOM.integers(0, 2**63, ROWS).astype(np.uint64) * np.uint64(2),
    "half precision": NORMAL.astype(np.float16),
    "sparse": pd.arrays.SparseArray((NORMAL > 1) * 1.0),
    "on arrow": pd.array(with_holes(NORMAL.tolist(), None), dtype="double[pyarrow]"),
    "a copy": NORMAL,
    "all infinite but one": np.where(np.arange(ROWS) < 3, np.arange(ROWS), INF),
}  # fmt: skip
TEXTS = {
    "few": RANDOM.choice(["u", "v", "w"], ROWS),
    "many": [f"v{k}" for k in RANDOM.integers(0, 60, ROWS)],
    "text with none": pd.Series(with_holes(RANDOM.choice(["u", "v"], ROWS).tolist(), None), dtype=object),
    "empty text": RANDOM.choice(["", " ", "a"], ROWS),
    "zero bytes": pd.Series(RANDOM.choice(["a\0", "a"], ROWS).tolist(), dtype=object),
    "lone surrogates": pd.Series(RANDOM.choice(["\udcff", "\ud800", "a"], ROWS).tolist(), dtype=object),
    "text beside numbers": pd.Series([k if k % 2 else str(k) for k in range(8)] * (ROWS // 8 + 1), dtype=object)[:ROWS],
    "categorical": pd.Categorical(RANDOM.choice(["u", "v"], ROWS), categories=["v", "never", "u"], ordered=True),
    "categorical of intervals": pd.cut(NORMAL, 4),
}  # fmt: skip
FLAGS = {
    "bool": NORMAL > 0,
    "nullable bool": pd.array(with_holes((NORMAL > 0).tolist(), None), dtype="boolean"),
    "categorical of numbers": pd.Categorical(RANDOM.integers(0, 5, ROWS)),
    "bool objects": pd.Series(with_holes((NORMAL > 0).tolist(), None), dtype=object),
}
TIMES = {
    "dates": pd.Series(with_holes(DAYS, None), dtype=object),
    "times": with_holes(pd.to_datetime(DAYS).tolist(), NAT),
    "times of a zone": pd.to_datetime(DAYS).tz_localize("America/New_York", nonexistent="NaT"),
    "seconds": pd.to_datetime(DAYS).astype("datetime64[s]"),
}
DURATIONS = {
    "durations": with_holes(pd.to_timedelta(RANDOM.integers(0, 10**6, ROWS), unit="s").tolist(), NAT),
    "duration objects": pd.Series([datetime.timedelta(seconds=k * k) for k in range(ROWS)], dtype=object),
}  # fmt: skip
NOTHING = {
    "constant": 3.0,
    "constant text": "a",
    "all missing": NAN,
    "all none": pd.Series([None] * ROWS, dtype=object),
    "all NaT": NAT,
    "identifiers": [f"id{k}" for k in range(ROWS)],
}
# What a later column of a kind may hold.
LATERS = {
    "numbers": [[NAN] * LATER, [INF, -INF] * 3, [1e308, -1e308] * 3, [0] * LATER, pd.array([None] * LATER, "Int64")],
    "texts": [[None] * LATER, ["never seen"] * LATER, pd.Categorical(["u", "other", None] * 2)],
    "flags": [[None] * LATER, [True] * LATER, pd.array([True, None] * 3, dtype="boolean")],
    "times": [[NAT] * LATER, pd.to_datetime(["1700-01-01", "2200-12-31"] * 3), pd.date_range("2024", periods=LATER)],
    "durations": [[NAT] * LATER, pd.to_timedelta([10**5, -5, 0] * 2, unit="D")],
    "nothing": [[NAN] * LATER, [None] * LATER],
}  # fmt: skip
KINDS = {"numbers": NUMBERS, "texts": TEXTS, "flags": FLAGS, "times": TIMES, "durations": DURATIONS, "nothing": NOTHING}
CASES = [(kind, name) for kind, columns in KINDS.items() for name in columns]
FRAME = pd.concat([pd.DataFrame(columns, index=range(ROWS)) for columns in KINDS.values()], axis=1)
Y = 2 * NORMAL + (FRAME["few"] == "u")


@pytest.fixture(scope="module", params=[TabularRegressor, TabularClassifier])
def fitted(request):
    """An estimator that has seen the table, after few epochs of a narrow network."""
    y = Y if request.param is TabularRegressor else np.where(Y > 0, "high", "low")
    presets = _presets.PRESETS
    small = {name: replace(preset, hidden=(32, 32), epochs=(24, 24), batch=64) for name, preset in presets.items()}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        patch.setattr(_presets, "PRESETS", small)
        estimator = request.param(random_state=0).fit(FRAME, y)
    for name in NOTHING:
        assert any(f"X[{name!r}]" in str(warning.message) for warning in told), name
    return estimator


def answers(estimator, frame):
    found = estimator.predict_proba(frame) if hasattr(estimator, "predict_proba") else estimator.predict(frame)
    assert np.isfinite(found).all()
    return found


def test_what_was_seen_is_learned(fitted):
    y = Y if isinstance(fitted, TabularRegressor) else np.where(Y > 0, "high", "low")
    assert fitted.score(FRAME, y) > 0.3  # of few epochs, among many columns that say nothing
    one = answers(fitted, FRAME.iloc[:1])
    np.testing.assert_allclose(one, answers(fitted, FRAME)[:1], rtol=1e-5, atol=1e-6)  # the order of sums


@pytest.mark.parametrize(("kind", "name"), CASES, ids=[name for _, name in CASES])
def test_a_later_column_may_be_another(fitted, kind, name):
    few = FRAME.iloc[:LATER]
    before = answers(fitted, few)
    for later in LATERS[kind]:
        column = pd.Series(later, index=few.index, dtype=object if type(later) is list and None in later else None)
        found = answers(fitted, few.assign(**{name: column}))
        assert kind != "nothing" or (found == before).all()  # a column that was left out
