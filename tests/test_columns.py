"""Columns of data frames by their names: whatever their order in a frame, a model reads what it was taught to read."""

import copy
import pickle
import threading

import narwhals
import numpy as np
import pandas
import polars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import layers
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


# ---- models ----


X = pandas.DataFrame(COLUMNS)
MOVED = X[["owner", "age", "income"]]
Y = [1.0, 2.0, 0.5]


def untrained(*first):
    model = fastnn.Sequential(
        [*first, layers.Dense(4, "tanh", kernel_initializer=uniform(1)), layers.Dense(1, kernel_initializer=uniform(2))]
    )
    model.compile("sgd", "mse", metrics=["mae"])
    model._seed = 1
    return model


def uniform(seed):
    return fastnn.initializers.RandomUniform(-0.1, 0.1, seed=seed)


def trained():
    model = untrained()
    model.fit(X, Y, verbose=0)
    return model


def ensemble_fit(model, x, y):
    return [history.history for history in fastnn.Ensemble([model]).fit(x, y, verbose=0)]


DOORS = {
    "fit": lambda model, x: model.fit(x, Y, verbose=0).history,
    "fit in batches": lambda model, x: model.fit(((x, Y) for _ in range(2)), verbose=0).history,
    "validation_data": lambda model, x: model.fit(X, Y, validation_data=(x, Y), verbose=0).history,
    "validation in batches": lambda model, x: model.fit(X, Y, validation_data=iter([(x, Y)]), verbose=0).history,
    "train_on_batch": lambda model, x: model.train_on_batch(x, Y),
    "train_on_batch with weights": lambda model, x: model.train_on_batch(x, Y, [1.0, 2.0, 1.0]),
    "evaluate": lambda model, x: model.evaluate(x, Y, verbose=0),
    "evaluate in batches": lambda model, x: model.evaluate(((x, Y) for _ in range(2)), verbose=0),
    "test_on_batch": lambda model, x: model.test_on_batch(x, Y),
    "predict": lambda model, x: model.predict(x),
    "predict in batches": lambda model, x: model.predict(x for _ in range(2)),
    "predict with callbacks": lambda model, x: model.predict(x, batch_size=2, callbacks=[]),
    "predict_on_batch": lambda model, x: model.predict_on_batch(x),
    "call": lambda model, x: model(x),
    "call in training": lambda model, x: model(x, training=True),
    "forward": lambda model, x: model.forward(x),
    "backward": lambda model, x: (model.forward(x, training=True), model.backward(np.ones((3, 1))))[1],
    "freeze": lambda model, x: model.freeze()(x),
    "Ensemble.fit": lambda model, x: ensemble_fit(model, x, Y),
    "Ensemble.predict": lambda model, x: fastnn.Ensemble([model]).predict(x),
    "Ensemble.evaluate": lambda model, x: fastnn.Ensemble([model]).evaluate(x, Y),
}  # fmt: skip
TEACHERS = {
    name: door
    for name, door in DOORS.items()
    if name.startswith(("fit", "train_on_batch")) or name in ("call in training", "backward", "Ensemble.fit")
}
doors = pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
teachers = pytest.mark.parametrize("teach", TEACHERS.values(), ids=TEACHERS)


@each
@doors
def test_a_frame_whose_columns_have_moved_gives_the_same(make, door):
    x, moved = (make({name: list(frame[name]) for name in frame}) for frame in (X, MOVED))
    np.testing.assert_equal(door(trained(), moved), door(trained(), x))


@doors
def test_a_frame_of_other_columns_is_one_sentence_and_changes_nothing(door):
    for frame, sentence in (
        (X[["age", "owner"]], "lacks 'income'"),
        (X.assign(city=1.0), "has 'city' besides; known are age, income, owner"),
        (
            MOVED.rename(columns={"income": "incomes"}),
            "lacks 'income' and has 'incomes' besides; did you mean 'income'?",
        ),
    ):
        model = trained()
        before = fastnn.saving.to_bytes(model)
        with pytest.raises(ValueError, match="x must have the columns of feature_names, but ") as caught:
            door(model, frame)
        assert str(caught.value).endswith(f"x must have the columns of feature_names, but {sentence}")
        assert fastnn.saving.to_bytes(model) == before


@doors
def test_arrays_and_frames_without_text_as_names_go_by_place(door):
    wanted = door(trained(), X.to_numpy())
    for frame in (X.set_axis([0, 1, 2], axis=1), X.set_axis(["owner", 1, "age"], axis=1)):
        np.testing.assert_equal(door(trained(), frame), wanted)


def test_a_row_of_a_frame_goes_by_its_labels():
    """A Predictor takes a row as a Series of pandas, whose labels are the names of the columns."""
    model = trained()
    frozen, wanted = model.freeze(), model.predict(X)
    for row in range(3):
        for one in (X.iloc[row], MOVED.iloc[row], X.iloc[row].to_numpy(), X.iloc[row].set_axis([2, 1, 0])):
            np.testing.assert_array_equal(frozen(one), wanted[row])
    with pytest.raises(ValueError, match=r"^x must have the columns of feature_names, but lacks 'owner'$"):
        frozen(X.iloc[0][:2])
    one = fastnn.Sequential([layers.Dense(1)])
    one.compile("sgd", "mse")
    one.fit(X[["age"]], Y, verbose=0)
    rows = pandas.Series([1.0, 2.0], index=["a", "b"])  # labels of rows mean nothing
    np.testing.assert_array_equal(one.freeze()(rows), one.predict(rows))


@teachers
def test_the_first_frame_that_teaches_says_the_names(teach):
    model = untrained(layers.Input((3,)))
    model.predict(MOVED)
    model.evaluate(MOVED, Y, verbose=0)
    teach(model, X.to_numpy())
    assert model.feature_names is None
    for x in (X, MOVED, X.to_numpy()):
        teach(model, x)
        assert model.feature_names == NAMES


def test_each_member_of_an_ensemble_learns_the_names():
    members = [untrained(layers.Input((3,))) for _ in range(3)]
    members[1].fit(MOVED, Y, verbose=0)
    weights = members[1].get_weights()[0]
    fastnn.Ensemble(members).fit(X, Y, verbose=0, shuffle=False)
    assert [model.feature_names for model in members] == [NAMES, tuple(MOVED), NAMES]
    alone = untrained(layers.Input((3,)))
    alone.fit(MOVED, Y, verbose=0)
    np.testing.assert_array_equal(alone.get_weights()[0], weights)
    alone.fit(MOVED, Y, verbose=0, shuffle=False)
    np.testing.assert_array_equal(alone.get_weights()[0], members[1].get_weights()[0])


def test_a_model_that_is_not_built_learns_its_width_and_the_names():
    for x in (X, iter([(X, Y)])):
        model = untrained()
        model.fit(x, None if x is not X else Y, verbose=0)
        assert (model.input_shape, model.feature_names) == ((None, 3), NAMES)


FAILURES = {
    "y": lambda model: model.fit(X, [1.0], verbose=0),
    "y of a batch": lambda model: model.train_on_batch(X, [1.0]),
    "y of the first batch": lambda model: model.fit(iter([(X, [1.0])]), verbose=0),
    "weights": lambda model: model.fit(X, Y, sample_weight=[1.0], verbose=0),
    "weights of a batch": lambda model: model.train_on_batch(X, Y, [1.0]),
    "validation": lambda model: model.fit(X, Y, validation_data=(X, [1.0]), verbose=0),
    "validation after batches": lambda model: model.fit(iter([(X, Y)]), validation_data=(X, [1.0]), verbose=0),
    "columns of the validation": lambda model: model.fit(X, Y, validation_data=(X[["age"]], Y), verbose=0),
    "classes": lambda model: model.fit(X, Y, class_weight="unbalanced", verbose=0),
    "a NaN": lambda model: model.fit(X.replace(20.0, np.nan), Y, verbose=0),
    "another member": lambda model: fastnn.Ensemble([model, untrained(layers.Input((4,)))]).fit(X, Y, verbose=0),
    "two of a name": lambda model: model.fit(X.set_axis(["a", "b", "a"], axis=1), Y, verbose=0),
}  # fmt: skip


@pytest.mark.parametrize("fail", FAILURES.values(), ids=FAILURES)
def test_a_failed_call_leaves_the_names_as_they_were(fail):
    for model in (untrained(), untrained(layers.Input((3,)))):
        with pytest.raises((ValueError, TypeError)):
            fail(model)
        assert model.feature_names is None
        model.fit(MOVED, Y, verbose=0)
        assert model.feature_names == tuple(MOVED)


@pytest.mark.parametrize("teach", ["fit", "fit in batches", "train_on_batch", "train_on_batch with weights"])
def test_a_metric_that_refuses_the_first_rows_leaves_names_and_model_as_they_were(teach):
    for first in ((), (layers.Input((3,)),)):
        model = untrained(*first)
        model.compile("sgd", "mse", metrics=["auc"])
        with pytest.raises(ValueError, match="metric 'auc' needs"):
            DOORS[teach](model, X * 100)
        assert (model.feature_names, model.built) == (None, bool(first))


def test_names_are_saved_copied_and_loaded(tmp_path):
    model = trained()
    model.save(tmp_path / "a.fastnn")
    model.save_weights(tmp_path / "weights.fastnn")
    unknown = fastnn.Sequential.from_config(model.get_config() | {"feature_names": None})
    unknown.build((None, 3))
    unknown.load_weights(tmp_path / "weights.fastnn")
    copies = [
        fastnn.load_model(tmp_path / "a.fastnn"), fastnn.load_model(tmp_path / "a.fastnn", compile=False),
        pickle.loads(pickle.dumps(model)), copy.deepcopy(model), unknown,
    ]  # fmt: skip
    for one in copies:
        assert one.feature_names == NAMES
        np.testing.assert_array_equal(one.predict(MOVED), model.predict(X))
    frozen = pickle.loads(pickle.dumps(model.freeze()))
    np.testing.assert_array_equal(frozen(MOVED), model.predict(X))
    for one in (fastnn.clone_model(model), fastnn.models.model_from_json(model.to_json())):
        assert one.feature_names == NAMES
    model.feature_names = None
    assert "feature_names" not in model.get_config()
    model.save(tmp_path / "a.fastnn")
    assert fastnn.load_model(tmp_path / "a.fastnn").feature_names is None
    without = fastnn.Sequential.from_config(model.get_config())
    assert without.feature_names is None
    copies[0].load_weights(tmp_path / "a.fastnn")  # a file without names says nothing of them
    assert copies[0].feature_names == NAMES


def test_weights_come_with_the_names_of_their_columns(tmp_path):
    trained().save(tmp_path / "a.fastnn")
    model = untrained()
    model.fit(MOVED, Y, verbose=0)
    model.load_weights(tmp_path / "a.fastnn")
    assert model.feature_names == NAMES
    np.testing.assert_array_equal(model.predict(MOVED), trained().predict(X))


@pytest.mark.parametrize("names", ["abc", ["a", "b"], ["a", "b", "b"], ["a", 1, "b"], {"a": 1}, 3, []])
def test_a_file_with_odd_names_is_refused(tmp_path, names):
    model = trained()
    config = model.get_config() | {"feature_names": names}
    model.get_config = lambda: config
    model.save_weights(tmp_path / "a.fastnn")
    del model.get_config
    for load in (fastnn.load_model, model.load_weights):
        with pytest.raises(fastnn.ModelFileError, match="feature_names"):
            load(tmp_path / "a.fastnn")
    assert model.feature_names == NAMES


def test_names_can_be_set_and_forgotten():
    model = untrained(layers.Input((3,)))
    for wrong, sentence in (
        ("age", "feature_names must be a list of names, or None, got 'age'"),
        ({"age", "income"}, "feature_names must be a list of names, or None, got {"),
        (["age", 1, "b"], "feature_names must be a list of text, or None"),
        (["age", "b"], "feature_names must have 3 names, one a feature of x, got 2"),
        (["age", "b", "age"], "feature_names must be different names, got 'age' twice"),
    ):
        with pytest.raises((TypeError, ValueError), match=sentence):
            model.feature_names = wrong
        assert model.feature_names is None
    model.feature_names = X.columns
    assert model.feature_names == NAMES
    np.testing.assert_array_equal(model.predict(MOVED), model.predict(X.to_numpy()))
    model.feature_names = None
    np.testing.assert_array_equal(model.predict(MOVED), model.predict(MOVED.to_numpy()))
    branches = fastnn.Sequential([layers.Branches({"a": [layers.Input((1,))]}), layers.Dense(1)])
    with pytest.raises(ValueError, match="feature_names must be None for a model with Branches"):
        branches.feature_names = ["a"]
    told = untrained()
    told.feature_names = ["age", "income"]
    with pytest.raises(ValueError, match="the model has 2 feature_names, and cannot be built for 3 features"):
        told.fit(X.to_numpy(), Y, verbose=0)
    assert not told.built


def test_a_model_within_a_model_brings_its_names():
    model = untrained(trained())
    assert model.feature_names == NAMES
    model.fit(MOVED, Y, verbose=0)
    assert model.feature_names == NAMES
    late = fastnn.Sequential([layers.Input((2,)), layers.Dense(3), trained()])
    assert late.feature_names is None


def test_training_that_goes_on_from_a_backup_reads_the_columns_that_it_had(tmp_path):
    class Stop(fastnn.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    def fit(model, x, *callbacks):
        backup = fastnn.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
        model.fit(x, Y, epochs=4, verbose=0, callbacks=[backup, *callbacks])

    with pytest.raises(KeyboardInterrupt):
        fit(untrained(), X, Stop())
    with pytest.raises(
        fastnn.ModelFileError, match="reads the columns 'age', 'income', 'owner', and this one reads 'ow"
    ):
        fit(untrained(), MOVED)
    model = untrained()
    fit(model, X.to_numpy())
    assert model.feature_names == NAMES


# ---- layers that are adapted ----


def normalization():
    layer = layers.Normalization()
    layer.adapt(X)
    return layer


def imputation(add_indicator=False):
    layer = layers.Impute("mean", add_indicator=add_indicator)
    layer.adapt(X)
    return layer


ADAPTED = {
    "Normalization": lambda: [normalization()],
    "Impute": lambda: [imputation()],
    "Impute with indicators": lambda: [imputation(add_indicator=True)],
    "after layers that leave columns in place": lambda: [
        layers.Rescaling(1.0), layers.GaussianNoise(0.0), imputation(), normalization(),
    ],
    "in a model within": lambda: [fastnn.Sequential([normalization()])],
}  # fmt: skip


@pytest.mark.parametrize("make", ADAPTED.values(), ids=ADAPTED)
def test_columns_that_a_layer_was_adapted_to_are_those_that_the_model_reads(make):
    """Statistics of one order of columns and training on another gave wrong answers."""
    model, plain = untrained(*make()), untrained(*make())
    assert model.feature_names == NAMES
    for one, x in ((model, MOVED), (plain, X.to_numpy())):
        one.fit(x, Y, verbose=0)
    np.testing.assert_array_equal(model.predict(MOVED), plain.predict(X.to_numpy()))
    assert pickle.loads(pickle.dumps(model)).feature_names == NAMES
    model.feature_names = None
    assert model.feature_names is None
    np.testing.assert_array_equal(model.predict(MOVED), plain.predict(MOVED.to_numpy()))


def test_a_layer_of_a_model_that_knows_its_columns_is_adapted_in_their_order():
    layer = layers.Normalization()
    model = untrained(layer)
    model.fit(X, Y, verbose=0)
    layer.adapt(MOVED)
    np.testing.assert_allclose(layer.mean, [X.mean()])
    layer.adapt(X.to_numpy())
    assert model.feature_names == NAMES


def test_what_an_imputation_gives_alone_goes_by_name():
    layer = imputation()
    np.testing.assert_array_equal(layer(MOVED), layer(X))
    with pytest.raises(ValueError, match="values must have the columns of this Impute's data, but lacks 'age'"):
        layer(X[["income", "owner"]])


def test_layers_after_others_say_no_names_of_x():
    hidden = pandas.DataFrame(np.arange(8.0).reshape(2, 4), columns=list("abcd"))
    late = layers.Normalization()
    late.adapt(hidden)
    model = fastnn.Sequential([layers.Input((3,)), layers.Dense(4), late])
    assert model.feature_names is None


def test_layers_that_were_adapted_to_different_orders_are_refused():
    other = layers.Impute("mean")
    other.adapt(MOVED)
    model = untrained(other, normalization())
    with pytest.raises(
        ValueError, match="was adapted to the columns 'age', 'income', 'owner', and the model reads them"
    ):
        model.fit(X, Y, verbose=0)
    told = untrained(normalization())
    with pytest.raises(ValueError, match="and the model reads them in the order 'owner', 'age', 'income': adapt it"):
        told.feature_names = list(MOVED)
    assert told.feature_names == NAMES
    with pytest.raises(
        ValueError, match="and the branch 'x' reads them in the order 'owner', 'age', 'income': adapt it"
    ):
        layers.Branches({"x": [normalization()]}, columns={"x": list(MOVED)})


def test_a_layer_of_a_branch_is_adapted_in_the_order_of_the_branch():
    layer = layers.Normalization()
    branches = layers.Branches({"x": [layer]}, columns={"x": list(NAMES)})
    layer.adapt(MOVED)
    np.testing.assert_allclose(layer.mean, [X.mean()])
    model = untrained(branches)
    model.fit(MOVED.assign(more="text"), Y, verbose=0)
    assert model.feature_names is None
    np.testing.assert_array_equal(model.predict(MOVED), model.predict(X.to_numpy()))


# ---- threads ----


@pytest.mark.thread_unsafe(reason="starts threads of its own")
def test_a_thread_waits_for_names_that_may_not_stay():
    """While a fit may yet fail, another thread neither reads nor learns names; the other trains as if it came first."""
    model = untrained(layers.Input((3,)))
    inside, others, go = threading.Event(), [], threading.Event()

    def batches():
        yield X, Y

    def validation():
        inside.set()
        go.wait(30)
        yield X, [1.0]

    def fails():
        with pytest.raises(ValueError, match="must have the same number of rows"):
            model.fit(batches(), validation_data=validation(), verbose=0)

    failing = threading.Thread(target=fails)
    failing.start()
    assert inside.wait(30)
    assert model.feature_names is None
    learning = threading.Thread(target=lambda: others.append(model.train_on_batch(MOVED, Y)))
    learning.start()
    np.testing.assert_array_equal(
        model.predict(MOVED), model.predict(MOVED.to_numpy())
    )  # whoever predicts does not wait
    assert not others
    go.set()
    failing.join(30)
    learning.join(30)
    assert model.feature_names == tuple(MOVED)
    assert len(others) == 1


# ---- any frame ----

KINDS = {
    "pandas": [
        ("int8", int), ("Int64", int), ("float32", float), ("Float64", float), ("boolean", bool), ("category", int),
    ],
    "polars": [
        (polars.Int16, int), (polars.UInt64, int), (polars.Float64, float), (polars.Float32, float),
        (polars.Boolean, bool),
    ],
    "Arrow": [
        (arrow.int32(), int), (arrow.uint64(), int), (arrow.float64(), float), (arrow.bool_(), bool),
        (arrow.dictionary(arrow.int8(), arrow.int64()), int),
    ],
}  # fmt: skip
VALUES = {int: st.integers(0, 100), float: st.integers(-64, 64).map(lambda n: n / 8), bool: st.booleans()}


def column_of(library, values, dtype):
    if library == "polars":
        return polars.Series(values, dtype=dtype)
    return arrow.array(values, dtype) if library == "Arrow" else pandas.Series(values, dtype=dtype)


@st.composite
def frames_with_permutations(draw):
    """Draw a frame's columns in a library's types, perhaps with nulls, an order of them, and that library."""
    library = draw(st.sampled_from(sorted(KINDS)))
    names = draw(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6, unique=True))
    rows, columns = draw(st.integers(1, 5)), {}
    for name in names:
        dtype, kind = draw(st.sampled_from(KINDS[library]))
        value = VALUES[kind] if str(dtype) in ("int8", "float32") else VALUES[kind] | st.none()
        columns[name] = column_of(library, draw(st.lists(value, min_size=rows, max_size=rows)), dtype)
    return library, columns, draw(st.permutations(names))


MAKERS = {"pandas": pandas.DataFrame, "polars": polars.DataFrame, "Arrow": arrow.table}


@settings(max_examples=40)
@given(frames_with_permutations())
def test_predictions_of_any_permutation_are_those_of_the_frame(drawn):
    library, columns, order = drawn
    frame, moved = (MAKERS[library]({name: columns[name] for name in names}) for names in (columns, order))
    kernel = np.linspace(-1, 1, len(columns))[:, None]
    model = fastnn.Sequential(
        [layers.Input((len(columns),)), layers.Impute("constant", fill_value=3.0), layers.Dense(1)]
    )
    model.set_weights([kernel, [0.5]])
    model.compile("sgd", "mse")
    rows = np.column_stack([[3.0 if v is None else float(v) for v in listed(column)] for column in columns.values()])
    model.train_on_batch(frame, np.zeros(len(rows)))
    wanted = model.predict(rows)
    for x in (frame, moved, narwhals.from_native(moved)):
        np.testing.assert_array_equal(model.predict(x), wanted)
        np.testing.assert_array_equal(model.freeze()(x), wanted)


def listed(column):
    values = column.to_pylist() if isinstance(column, arrow.Array) else list(column)
    return [None if frames.is_null(value) or value != value else value for value in values]
