"""Estimators for tables: raw frames in, answers out; files, frozen copies, intervals, importances."""

import pickle
import re
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

import fastnn
from fastnn.tabular import TabularClassifier, TabularRegressor, _presets, _training

pd = pytest.importorskip("pandas")

pytestmark = pytest.mark.thread_unsafe(reason="a preset is shortened, and warnings are those of the process")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Presets of few epochs and narrow layers, which are all that a test of something else needs."""
    small = {
        name: replace(preset, hidden=(32, 32), epochs=(24, 24), batch=64) for name, preset in _presets.PRESETS.items()
    }
    monkeypatch.setattr(_presets, "PRESETS", small)


def table(rows=240, seed=0):
    """Return a frame of all kinds of columns, numbers that depend on some of them, and labels."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "number": random.normal(size=rows),
            "missing": np.where(random.random(rows) < 0.2, np.nan, random.normal(size=rows)),
            "infinite": np.where(random.random(rows) < 0.1, np.inf, random.normal(size=rows)),
            "text": random.choice(["red", "green", "blue", None], rows),
            "many": random.choice([f"v{k}" for k in range(30)], rows),
            "category": pd.Categorical(random.choice(list("abc"), rows)),
            "flag": random.random(rows) < 0.5,
            "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 9000, rows), unit="h"),
        }
    )
    y = 3 * frame.number + 2 * (frame.text == "red") + frame.flag + 10.0
    return frame, y, np.where(y > y.median(), "high", "low")


FRAME, NUMBERS, LABELS = table()
KINDS = [(TabularClassifier, LABELS), (TabularRegressor, NUMBERS)]
each = pytest.mark.parametrize(("kind", "y"), KINDS, ids=["classifier", "regressor"])


@each
@pytest.mark.parametrize("preset", list(_presets.PRESETS))
def test_a_raw_frame_goes_in_and_answers_come_out(kind, y, preset):
    fitted = kind(preset, random_state=0).fit(FRAME, y)
    assert fitted.score(FRAME, y) > (0.3 if preset == "tabm-mini" else 0.7)  # after a tenth of its epochs
    again = kind(preset, random_state=0).fit(FRAME, y)
    np.testing.assert_array_equal(again.predict(FRAME), fitted.predict(FRAME))


@each
def test_columns_are_matched_by_name(kind, y):
    fitted = kind(random_state=0).fit(FRAME, y)
    np.testing.assert_array_equal(fitted.predict(FRAME[FRAME.columns[::-1]]), fitted.predict(FRAME))
    with pytest.raises(ValueError, match=r"yet now missing:\n- many"):
        fitted.predict(FRAME.drop(columns="many"))


@each
def test_one_row_and_unseen_values_have_answers(kind, y):
    fitted = kind(random_state=0).fit(FRAME, y)
    row = FRAME.iloc[:1].assign(text="purple", many=None, number=np.nan, infinite=-np.inf, when=pd.NaT)
    assert fitted.predict(row).shape == (1,)
    np.testing.assert_array_equal(fitted.predict(FRAME.iloc[[5]]), fitted.predict(FRAME)[5:6])


@each
@pytest.mark.parametrize("bagging", ["folds", "seeds"])
def test_members_are_trained_at_once_and_answer_together(kind, y, bagging):
    fitted = kind(n_ensemble=3, bagging=bagging, random_state=0).fit(FRAME, y)
    assert len(fitted.models_) == 3
    assert fitted.leaderboard_["member"] == [0, 1, 2]
    assert fitted.leaderboard_["rows"] == [160 if bagging == "folds" else 192] * 3
    assert fitted.score(FRAME, y) > 0.8
    assert not np.array_equal(*[model.get_weights()[-2] for model in fitted.models_[:2]])


def test_folds_hold_each_row_back_once_and_share_out_classes():
    labels = np.repeat([0, 1], [80, 20])
    splits = _training.folds(labels, 100, 5, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(np.concatenate([split.held for split in splits])), np.arange(100))
    for split in splits:
        assert labels[split.held].sum() == 4
        assert not np.intersect1d(split.rows, split.held).size


@pytest.mark.parametrize(
    ("labels", "held"),
    [([0] * 50 + [1] * 10, 12), ([0, 0, 0, 1], 1), ([0, 1], 2), ([0, 0, 1, 2], 1)],
    ids=["shares", "a class of one row", "one row each", "one to hold back"],
)
def test_a_split_leaves_each_class_a_row(labels, held):
    labels = np.array(labels)
    split = _training.one_split(labels, len(labels), 0.2, np.random.default_rng(0))
    assert len(split.held) == held
    assert set(labels[split.rows]) == set(labels)


@each
def test_rows_to_validate_on_may_be_given(kind, y):
    held = {"X_val": FRAME[160:], "y_val": y[160:]}
    fitted = kind(random_state=0).fit(FRAME[:160], y[:160], **held)
    assert fitted.leaderboard_["rows"] == [160]
    weighted = kind(random_state=0).fit(FRAME[:160], y[:160], **held, sample_weight_val=np.arange(80) % 2)
    other = {"X_val": FRAME[161::2], "y_val": y[161::2]}
    fitted = kind(random_state=0).fit(FRAME[:160], y[:160], **other)
    np.testing.assert_array_equal(weighted.predict(FRAME), fitted.predict(FRAME))
    with pytest.raises(ValueError, match="X_val and y_val must be given together, got X_val alone"):
        kind().fit(FRAME, y, X_val=FRAME)


@each
def test_large_tables_have_fewer_epochs(kind, y, monkeypatch):
    preset = replace(_presets.PRESETS["fast"], full_rows=96)
    assert [preset.for_rows(rows).epochs[0] for rows in (96, 97, 192, 96 * 3, 10**6)] == [24, 23, 12, 8, 8]
    monkeypatch.setitem(_presets.PRESETS, "fast", preset)
    fitted = kind("fast", random_state=0, n_ensemble=2, bagging="seeds").fit(FRAME, y)
    assert fitted.leaderboard_["epochs"] == [96 * 24 // fitted.leaderboard_["rows"][0]] * 2


METRICS = [(TabularClassifier, "log_loss"), (TabularClassifier, "error"), (TabularRegressor, "rmse")]


@pytest.mark.parametrize(("kind", "metric"), METRICS)
def test_the_members_have_the_weights_of_their_best_epochs(kind, metric):
    y = LABELS if kind is TabularClassifier else NUMBERS
    fitted = kind(random_state=0, eval_metric=metric).fit(FRAME[:160], y[:160], X_val=FRAME[160:], y_val=y[160:])
    scores = np.array(fitted.history_[0]["val_score"])
    more = metric == "error"
    best = len(scores) - np.argmax((scores if more else -scores)[::-1])  # of equal ones the last
    assert fitted.leaderboard_["best_epoch"] == [best]
    found = fitted.models_[0].evaluate(
        fitted.preparation_(fitted._table_of(FRAME[160:], reset=False)), fitted._encoded(np.asarray(y[160:])),
        verbose=0, return_dict=True,
    )  # fmt: skip
    assert found["score"] == pytest.approx(scores[best - 1], abs=1e-6)


@each
def test_a_refit_trains_on_all_rows(kind, y):
    one, all_rows = (kind(random_state=0, refit=refit).fit(FRAME, y) for refit in (False, True))
    assert not np.array_equal(one.models_[0].get_weights()[-2], all_rows.models_[0].get_weights()[-2])
    assert all_rows.score(FRAME, y) > 0.8


@each
def test_no_epoch_begins_after_the_time_limit(kind, y, monkeypatch):
    now = iter(range(10**6))
    monkeypatch.setattr(_training, "clock", lambda: next(now))
    monkeypatch.setattr(_training.Watch, "epochs_until", lambda *_: 24)
    fitted = kind(random_state=0, time_limit=5).fit(FRAME, y)
    assert fitted.leaderboard_["epochs"][0] <= 5


class Clock:
    """An epoch takes a second, and nothing else takes time."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def after(self, method):
        def on_epoch_end(callback, epoch, logs=None):
            self.now += 1
            return method(callback, epoch, logs)

        return on_epoch_end


@pytest.fixture
def ticking(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(_training, "clock", clock)
    for kind in (_training.Watch, _training.BestEpoch):
        monkeypatch.setattr(kind, "on_epoch_end", clock.after(kind.on_epoch_end))
    return clock


@each
def test_schedules_end_within_the_time_limit(kind, y, ticking):
    steps = []
    build = _presets.compile_for

    def compiled(model, preset, planned, *others, **named):
        steps.append((preset.epochs[0], planned // preset.steps(192)))
        build(model, preset, planned, *others, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_presets, "compile_for", compiled)
        fitted = kind(random_state=0, time_limit=12).fit(FRAME, y)
    assert steps == [(24, 24), (9, 9)]  # two seconds for the trial; of ten that are left 95 %
    assert fitted.leaderboard_["epochs"] == [9]
    assert ticking.now == 2 + 9


@each
@pytest.mark.parametrize("settings", [{}, {"tune": 2}, {"n_ensemble": 2}, {"refit": True}], ids=str)
def test_a_time_limit_that_is_no_limit_changes_nothing(kind, y, settings, ticking):
    limited = kind(random_state=0, time_limit=1e6, **settings).fit(FRAME, y)
    free = kind(random_state=0, **settings).fit(FRAME, y)
    np.testing.assert_array_equal(limited.predict(FRAME), free.predict(FRAME))


def test_what_is_trained_later_has_its_share_of_the_time(ticking):
    fitted = TabularRegressor(random_state=0, time_limit=18, refit=True).fit(FRAME, NUMBERS)
    assert fitted.leaderboard_["epochs"] == [7]  # of 16 seconds that are left, 95 % of the half


@each
def test_a_search_is_at_least_as_good_as_the_preset_on_the_validation_rows(kind, y):
    fitted = kind(random_state=0, tune=5).fit(FRAME, y)
    metric = "log_loss" if kind is TabularClassifier else "rmse"
    scores = fitted.candidates_[metric]
    assert len(scores) == 6
    alone = kind(random_state=0).fit(FRAME, y)
    assert alone.leaderboard_[metric] == scores[:1]  # the preset is among the candidates, and is trained to its end
    assert fitted.candidates_["epochs"][0] == 24
    assert fitted.leaderboard_[metric] == [min(scores)]
    assert sorted(fitted.candidates_["epochs"])[-1] == 24
    assert sum(epochs < 24 for epochs in fitted.candidates_["epochs"]) >= 3  # half of them ended early
    assert len(fitted.models_) == 1
    assert len(kind(random_state=0, tune=2, n_ensemble=2).fit(FRAME, y).models_) == 2
    with pytest.raises(ValueError, match="tune searches among networks like RealMLP, which preset='plain' is not"):
        kind("plain", tune=2).fit(FRAME, y)


def test_a_race_stops_the_worse_halves():
    class Seen:
        def __init__(self, loss):
            self.loss = loss

    race = _training.Race([Seen(loss) for loss in (5.0, 1.0, 2.0, 4.0)], epochs=15)
    alive = [0, 1, 2, 3]
    for epoch in range(1, 16):
        alive = [place for place in alive if race.arrived(place, epoch)]
        if epoch == 4:
            assert alive == [0, 1, 2]
    assert alive == [0, 1, 2]  # of three that are left two go on, and the first one whatever it does


@each
def test_weights_of_rows_count(kind, y):
    weights = np.where(np.arange(len(y)) < 120, 1.0, 0.0)
    swapped = np.where(weights > 0, y, y[::-1])
    fitted = kind(random_state=0).fit(FRAME, swapped, sample_weight=weights)
    assert fitted.score(FRAME[:120], swapped[:120]) > 0.8


def test_class_weights_count():
    rare = np.where(NUMBERS.quantile(0.9) < NUMBERS, "rare", "usual")
    counts = [
        (TabularClassifier(class_weight=weight, random_state=0).fit(FRAME, rare).predict(FRAME) == "rare").sum()
        for weight in ({"rare": 100.0}, {"usual": 100.0})
    ]
    assert counts[0] > counts[1]


def test_probabilities_are_scaled_by_the_temperature_that_suits_the_validation_rows():
    held, y_held = FRAME[160:], LABELS[160:]
    fitted = TabularClassifier(random_state=0).fit(FRAME[:160], LABELS[:160], X_val=held, y_val=y_held)
    logs = np.log(fitted.predict_proba(held)) * fitted.temperature_
    places = (y_held == fitted.classes_[1]).astype(int)

    def loss(temperature):
        z = np.exp(logs / temperature)
        z = np.log(z / z.sum(axis=1, keepdims=True))
        return -(81 / 82 * z[np.arange(len(z)), places] + 1 / 82 * z.mean(axis=1)).mean()  # of 80 rows

    assert loss(fitted.temperature_) <= min(loss(fitted.temperature_ * 1.1), loss(fitted.temperature_ / 1.1)) + 1e-6
    np.testing.assert_allclose(fitted.predict_proba(held).sum(axis=1), 1.0)


def test_intervals_cover_the_rows_that_were_held_back():
    fitted = TabularRegressor(n_ensemble=4, random_state=0).fit(FRAME, NUMBERS)
    sizes = np.sort(np.abs(fitted.residuals_[:, 0]))
    interval = fitted.predict_interval(FRAME, coverage=0.8)
    reach = sizes[int(np.ceil(241 * 0.8)) - 1]
    np.testing.assert_allclose((interval[:, 1] - interval[:, 0]) / 2, reach)
    quantiles = fitted.predict_quantiles(FRAME, (0.1, 0.9))
    np.testing.assert_allclose(
        quantiles - fitted.predict(FRAME)[:, None], [np.quantile(fitted.residuals_, (0.1, 0.9))] * 240
    )
    with pytest.raises(ValueError, match=r"coverage must lie between 0 and 1, got 90"):
        fitted.predict_interval(FRAME, 90)
    with pytest.raises(ValueError, match=r"quantiles must be numbers between 0 and 1"):
        fitted.predict_quantiles(FRAME, [50])
    with pytest.warns(UserWarning, match="needs more than 240 rows"):
        fitted.predict_interval(FRAME, 0.999)


def test_answers_stay_within_the_range_of_y():
    fitted = TabularRegressor(random_state=0).fit(FRAME, NUMBERS)
    found = fitted.predict(FRAME.assign(number=FRAME.number * 1e6))
    assert found.min() >= NUMBERS.min()
    assert found.max() <= NUMBERS.max()


@pytest.mark.parametrize("settings", [{}, {"n_ensemble": 2}, {"refit": True}], ids=["one", "two", "refit"])
def test_a_category_that_no_row_of_the_training_has_gets_the_mean_of_its_column(settings):
    frame = FRAME.assign(some=np.where(np.arange(len(FRAME)) % 3 == 0, None, FRAME["many"]))
    fitted = TabularRegressor(random_state=0, **settings).fit(frame, NUMBERS)
    assert fitted.preparation_.sizes == [32, 32]
    for model in fitted.models_:
        table = model.layers[0].layers[-1].layers[-1].get_weights()[0]
        values, others = table[2:32], table[34:]
        assert (values.min(axis=0) < table[0]).all()
        assert (table[0] < values.max(axis=0)).all()
        np.testing.assert_array_equal(table[0], table[1])  # nothing is missing there: both are the mean
        assert (table[32] != table[33]).any()  # here missing values have been trained
        assert (others.min(axis=0) < table[32]).all()
    # a mean of random numbers is near 0: that of 30 entries weighted by what rows have is no plain mean
    if settings == {"refit": True}:
        counts = FRAME["many"].value_counts().reindex(sorted(FRAME["many"].unique())).to_numpy()
        np.testing.assert_allclose(table[0], np.average(values, axis=0, weights=counts), rtol=1e-4, atol=1e-6)


def test_several_numbers_a_row():
    y = np.column_stack([NUMBERS, -NUMBERS])
    fitted = TabularRegressor(random_state=0).fit(FRAME, y)
    assert fitted.predict(FRAME).shape == (240, 2)
    assert fitted.score(FRAME, y) > 0.8
    assert fitted.predict_interval(FRAME).shape == (240, 2, 2)


@each
def test_the_columns_that_matter_have_the_importance(kind, y):
    fitted = kind(random_state=0).fit(FRAME, y)
    importances = dict(zip(fitted.feature_names_in_, fitted.feature_importances_, strict=True))
    assert max(importances, key=importances.get) == "number"
    assert importances["number"] > 3 * abs(importances["infinite"])


@each
@pytest.mark.parametrize("arguments", [{}, {"n_ensemble": 2, "refit": True}], ids=["one", "several"])
def test_a_file_and_a_pickle_and_a_frozen_copy_answer_alike(kind, y, arguments, tmp_path):
    fitted = kind(random_state=0, **arguments).fit(FRAME, y)
    fitted.save(tmp_path / "table.fastnn")
    again = kind.load(tmp_path / "table.fastnn")
    assert again.get_params() == fitted.get_params()
    for other in (again, pickle.loads(pickle.dumps(fitted)), fitted.freeze()):
        np.testing.assert_array_equal(other.predict(FRAME), fitted.predict(FRAME))
        if kind is TabularClassifier:
            np.testing.assert_array_equal(other.predict_proba(FRAME), fitted.predict_proba(FRAME))
    np.testing.assert_array_equal(again.feature_importances_, fitted.feature_importances_)
    assert again.leaderboard_ == fitted.leaderboard_
    if kind is TabularRegressor:
        np.testing.assert_array_equal(again.predict_interval(FRAME), fitted.predict_interval(FRAME))
        with pytest.raises(AttributeError, match="predict_proba is there for classes"):
            fitted.freeze().predict_proba(FRAME)


@pytest.mark.parametrize("labels", [[0, 1], [0.0, 1.0], [True, False], ["u", "v"]], ids=str)
def test_labels_of_every_kind_are_kept_in_files(labels, tmp_path):
    y = np.array(labels)[(LABELS == "high").astype(int)]
    weights = dict.fromkeys(labels, 2.0)
    fitted = TabularClassifier(random_state=0, class_weight=weights).fit(FRAME, y)
    fitted.save(tmp_path / "table.fastnn")
    again = TabularClassifier.load(tmp_path / "table.fastnn")
    assert again.classes_.dtype == fitted.classes_.dtype
    assert again.class_weight == weights
    np.testing.assert_array_equal(again.predict(FRAME), fitted.predict(FRAME))


def test_files_of_something_else_are_refused_in_a_sentence(tmp_path):
    fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))]).save(tmp_path / "model.fastnn")
    with pytest.raises(fastnn.ModelFileError, match=r"holds a model, which fastnn\.load_model reads"):
        TabularClassifier.load(tmp_path / "model.fastnn")
    TabularRegressor(random_state=0).fit(FRAME, NUMBERS).save(tmp_path / "table.fastnn")
    with pytest.raises(fastnn.ModelFileError, match="holds a TabularRegressor, not a TabularClassifier"):
        TabularClassifier.load(tmp_path / "table.fastnn")
    model = fastnn.Sequential([fastnn.layers.Dense(1, input_shape=(2,))])
    for read in (fastnn.load_model, model.load_weights):
        with pytest.raises(
            fastnn.ModelFileError, match=r"holds an estimator for tables: .*TabularRegressor\.load reads"
        ):
            read(tmp_path / "table.fastnn")


@each
def test_learning_curves_are_drawn(kind, y):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    axes = kind(random_state=0, n_ensemble=2).fit(FRAME, y).plot()
    assert len(axes.lines) == 4
    assert axes.get_xlabel() == "epoch"
    matplotlib.pyplot.close(axes.figure)


def test_a_line_says_how_training_went(capsys):
    TabularClassifier(random_state=0, verbose=1).fit(FRAME, LABELS)
    assert re.fullmatch(r"TabularClassifier: 24 epochs, the best \d+, log_loss [\d.e-]+\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("kind", "frame", "y", "sentence"),
    [
        (TabularClassifier, FRAME[:0], LABELS[:0], "X has no rows"),
        (TabularClassifier, FRAME[[]], LABELS, "X has no columns"),
        (TabularRegressor, FRAME.set_axis([*"abcdefga"], axis=1), NUMBERS, "X has 2 columns named 'a'"),
        (TabularClassifier, FRAME[:1], LABELS[:1], "fit needs at least two rows, got 1 sample"),
        (TabularClassifier, FRAME, ["u"] * 240, "y must have at least two classes, got one class, 'u'"),
        (TabularRegressor, FRAME, [2.5] * 240, "y must hold different numbers, got 2.5 in all rows"),
        (TabularRegressor, FRAME, [np.nan] * 240, "Input y contains NaN"),
        (TabularRegressor, FRAME.assign(many=[{1}] * 240), NUMBERS, r"X\['many'\] holds \{1\} in row 0"),
        (TabularClassifier, FRAME, np.column_stack([LABELS, LABELS]), "y must be one label a row"),
    ],
    ids=[
        "no rows",
        "no columns",
        "one name twice",
        "one row",
        "one class",
        "one number",
        "NaN",
        "objects",
        "two columns",
    ],
)
def test_bad_input_gets_a_sentence(kind, frame, y, sentence):
    estimator = kind()
    with pytest.raises((ValueError, TypeError), match=sentence):
        estimator.fit(frame, y)
    assert not hasattr(estimator, "models_")


@pytest.mark.parametrize("arguments", [{"eval_metric": "eror"}, {"preset": "realmlp"}, {"validation": 1.5}], ids=str)
def test_bad_arguments_are_named(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        TabularClassifier(**arguments).fit(FRAME, LABELS)


@each
def test_a_column_that_tells_y_is_warned_of(kind, y):
    with pytest.warns(UserWarning, match=r"X\['answer'\] tells y"):
        kind(random_state=0).fit(FRAME.assign(answer=y), y)


@each
def test_the_bits_do_not_depend_on_threads(kind, y):
    answers = [kind(random_state=0, n_ensemble=2, num_threads=k).fit(FRAME, y).predict(FRAME) for k in (1, 2)]
    np.testing.assert_array_equal(*answers)


@pytest.mark.slow
def test_a_large_frame_is_read_in_at_most_three_times_its_memory(monkeypatch):
    small = {"fast": replace(_presets.PRESETS["fast"], hidden=(8,), epochs=(1, 1), batch=4096)}
    monkeypatch.setattr(_presets, "PRESETS", _presets.PRESETS | small)
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(200_000, 50))).add_prefix("c")
    y = frame.c0.to_numpy()
    tracemalloc.start()
    try:
        fitted = TabularRegressor("fast", random_state=0).fit(frame, y + random.normal(size=len(y)))
        fitted.predict(frame)
        assert tracemalloc.get_traced_memory()[1] <= 3 * frame.memory_usage().sum()
    finally:
        tracemalloc.stop()
