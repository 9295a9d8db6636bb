"""Columns of frames in other places than x, by their names: y, the y of a head, and what a dict has for a branch."""

import copy
import pickle
import threading

import numpy as np
import pandas
import polars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import layers

arrow = pytest.importorskip("pyarrow", exc_type=ImportError)

LIBRARIES = {"pandas": pandas.DataFrame, "polars": polars.DataFrame, "Arrow": arrow.table}
each = pytest.mark.parametrize("make", LIBRARIES.values(), ids=LIBRARIES)
X = np.array([[0.0, 1.0], [1.0, 0.5], [0.5, -1.0], [2.0, 0.0]])
Y = {"price": [1.0, 2.0, 0.5, 3.0], "days": [3.0, 1.0, 0.0, 2.0], "rooms": [4.0, 4.0, 1.0, 2.0]}
SIZES = {"width": [1.0, 2.0, 3.0, 4.0], "height": [0.5, 0.25, 0.0, 1.0]}


def uniform(seed):
    return fastnn.initializers.RandomUniform(-0.5, 0.5, seed=seed)


def dense(units, seed, **options):
    return layers.Dense(units, kernel_initializer=uniform(seed), **options)


def of_numbers():
    return fastnn.Sequential([layers.Input((2,)), dense(4, 1), dense(3, 2)])


def of_heads():
    heads = layers.Heads({"sale": [dense(3, 3)], "left": [dense(1, 4)]})
    return fastnn.Sequential([layers.Input((2,)), dense(4, 1), heads])


def of_branches():
    branches = layers.Branches({"sizes": [layers.Input((2,)), dense(3, 5)], "age": [layers.Input((1,))]})
    return fastnn.Sequential([branches, dense(3, 6)])


# By place: a model, and what is given to it as x and y where a frame is in that place.
PLACES = {
    "y": (of_numbers, lambda frame: (X, frame), Y),
    "y['sale']": (of_heads, lambda frame: (X, {"sale": frame, "left": X[:, :1]}), Y),
    "y['sale'] in a list": (of_heads, lambda frame: (X, [frame, X[:, :1]]), Y),
    "x['sizes']": (of_branches, lambda frame: ({"sizes": frame, "age": X[:, 0]}, np.stack(list(Y.values()), 1)), SIZES),
}
places = pytest.mark.parametrize("place", PLACES)


def compiled(place):
    model = PLACES[place][0]()
    model.compile("sgd", "mse")
    model._seed = 1
    return model


def at(place):
    """Return the name of a place."""
    return place.removesuffix(" in a list")


def moved(columns):
    names = list(columns)
    return {name: columns[name] for name in names[1:] + names[:1]}


def trained(place):
    model = compiled(place)
    x, y = PLACES[place][1](pandas.DataFrame(PLACES[place][2]))
    model.fit(x, y, verbose=0)
    return model


DOORS = {
    "fit": lambda model, x, y: model.fit(x, y, verbose=0).history,
    "fit in batches": lambda model, x, y: model.fit(((x, y) for _ in range(2)), verbose=0).history,
    "validation_data": lambda model, x, y: model.fit(x, y, validation_data=(x, y), verbose=0).history,
    "train_on_batch": lambda model, x, y: model.train_on_batch(x, y),
    "test_on_batch": lambda model, x, y: model.test_on_batch(x, y),
    "evaluate": lambda model, x, y: model.evaluate(x, y, verbose=0),
    "evaluate in batches": lambda model, x, y: model.evaluate(((x, y) for _ in range(2)), verbose=0),
    "Ensemble.fit": lambda model, x, y: fastnn.Ensemble([model]).fit(x, y, verbose=0)[0].history,
    "Ensemble.evaluate": lambda model, x, y: fastnn.Ensemble([model]).evaluate(x, y),
}
OF_X = {
    "predict": lambda model, x, y: model.predict(x),
    "forward": lambda model, x, y: model.forward(x, training=True),
    "freeze": lambda model, x, y: model.freeze()(x),
    "Ensemble.predict": lambda model, x, y: fastnn.Ensemble([model]).predict(x),
}
TEACHERS = ("fit", "fit in batches", "validation_data", "train_on_batch", "Ensemble.fit")
every = pytest.mark.parametrize(
    ("place", "door"),
    [(place, door) for place in PLACES for door in DOORS | (OF_X if place.startswith("x") else {})],
)


@each
@every
def test_a_frame_whose_columns_have_moved_gives_the_same(place, door, make):
    _, arguments, columns = PLACES[place]
    call = (DOORS | OF_X)[door]
    wanted = call(trained(place), *arguments(make(columns)))
    np.testing.assert_equal(call(trained(place), *arguments(make(moved(columns)))), wanted)


@every
def test_a_frame_of_other_columns_is_one_sentence_and_changes_nothing(place, door):
    _, arguments, columns = PLACES[place]
    first = next(iter(columns))
    frame = pandas.DataFrame(columns)
    for other, sentence in (
        (frame.drop(columns=first), f"lacks '{first}'"),
        (frame.assign(more=1.0), "has 'more' besides"),
        (frame.rename(columns={first: f"{first}s"}), f"lacks '{first}' and has '{first}s' besides; did you mean"),
    ):
        model = trained(place)
        before = fastnn.saving.to_bytes(model)
        with pytest.raises(ValueError, match="must have the columns of column_names") as caught:
            (DOORS | OF_X)[door](model, *arguments(other))
        assert f"{at(place)} must have the columns of column_names[{at(place)!r}], but {sentence}" in str(caught.value)
        assert fastnn.saving.to_bytes(model) == before


@places
@pytest.mark.parametrize("door", TEACHERS)
def test_the_first_frame_says_the_names(place, door):
    _, arguments, columns = PLACES[place]
    model = compiled(place)
    assert model.column_names == {}
    DOORS[door](model, *arguments(pandas.DataFrame(columns)))
    assert model.column_names == {at(place): tuple(columns)}
    assert model.feature_names is None
    DOORS[door](model, *arguments(pandas.DataFrame(moved(columns))))
    assert model.column_names == {at(place): tuple(columns)}


@places
def test_validation_rows_go_by_the_names_of_the_rows_that_are_trained_on(place):
    _, arguments, columns = PLACES[place]
    x, y = arguments(pandas.DataFrame(columns))
    held = [arguments(pandas.DataFrame(one)) for one in (columns, moved(columns))]
    logs = [compiled(place).fit(x, y, validation_data=rows, verbose=0).history for rows in held]
    assert logs[0] == logs[1]


@places
def test_arrays_and_frames_without_text_as_names_go_by_place(place):
    _, arguments, columns = PLACES[place]
    array = np.stack(list(columns.values()), 1)
    logs = [
        trained(place).evaluate(*arguments(given), verbose=0)
        for given in (array, pandas.DataFrame(array), pandas.DataFrame(columns))
    ]
    assert logs[0] == logs[1] == logs[2]
    model = compiled(place)
    model.fit(*arguments(pandas.DataFrame(array)), verbose=0)
    assert model.column_names == {}


def test_one_column_goes_by_place():
    model = fastnn.Sequential([layers.Input((2,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(X, pandas.DataFrame({"price": Y["price"]}), verbose=0)
    assert model.column_names == {}
    model.evaluate(X, pandas.DataFrame({"Price": Y["price"]}), verbose=0)


@places
@pytest.mark.parametrize("built", [False, True])
def test_a_call_that_fails_teaches_nothing(place, built):
    _, arguments, columns = PLACES[place]
    model = compiled(place)
    if built:
        model.fit(*arguments(np.stack(list(columns.values()), 1)), verbose=0)
    x, y = arguments(pandas.DataFrame(columns))
    for call in (
        lambda: model.fit(x, y, sample_weight=np.ones(3), verbose=0),
        lambda: model.fit(x, y, validation_data=(X, X), verbose=0),
        lambda: model.train_on_batch(x, y, np.ones(3)),
        lambda: fastnn.Ensemble([model]).fit(x, y, sample_weight=np.ones(3), verbose=0),
    ):
        with pytest.raises((ValueError, TypeError)):
            call()
        assert model.column_names == {}


def test_each_member_of_an_ensemble_learns_the_names():
    for place, (_, arguments, columns) in PLACES.items():
        members = [compiled(place) for _ in range(3)]
        fastnn.Ensemble(members).fit(*arguments(pandas.DataFrame(columns)), verbose=0)
        assert [model.column_names for model in members] == [{at(place): tuple(columns)}] * 3
        members[0].column_names = {at(place): tuple(moved(columns))}
        frame = pandas.DataFrame(columns)
        alone = [copy.deepcopy(model).evaluate(*arguments(frame), verbose=0) for model in members]
        assert fastnn.Ensemble(members).evaluate(*arguments(frame)) == alone
        assert alone[0] != alone[1]


@places
def test_names_are_saved_copied_and_loaded(place, tmp_path):
    model = trained(place)
    names = {at(place): tuple(PLACES[place][2])}
    model.save(tmp_path / "model.fastnn")
    model.save_weights(tmp_path / "weights.fastnn")
    other = PLACES[place][0]()
    other.build((None, 3 if place.startswith("x") else 2))
    other.load_weights(tmp_path / "weights.fastnn")
    for one in (
        fastnn.load_model(tmp_path / "model.fastnn"),
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        fastnn.Sequential.from_config(model.get_config()),
        fastnn.clone_model(model),
        other,
    ):
        assert one.column_names == names


def test_names_can_be_set_and_forgotten():
    model = of_heads()
    model.column_names = {"y['sale']": ["a", "b", "c"]}
    assert model.column_names == {"y['sale']": ("a", "b", "c")}
    model.column_names = {}
    assert model.column_names == {}
    for value, error, sentence in (
        (["a"], TypeError, r"column_names must be a dict of lists of names by place, got \['a'\]"),
        ({"y": ["a"]}, ValueError, r"column_names has 'y', which is no place; known are y"),
        ({"y['sale']": "ab"}, TypeError, r"column_names\[.*\] must be a list of names"),
        ({"y['sale']": ["a", 1]}, TypeError, r"column_names\[.*\] must be a list of text"),
        ({"y['sale']": ["a", "a"]}, ValueError, r"column_names\[.*\] must be different names, got 'a' twice"),
    ):
        with pytest.raises(error, match=sentence):
            model.column_names = value
    assert model.column_names == {}


def test_a_branch_reads_the_columns_that_its_layer_was_adapted_to():
    normalization = layers.Normalization()
    normalization.adapt(pandas.DataFrame(SIZES))
    model = fastnn.Sequential([layers.Branches({"sizes": [normalization]}), dense(1, 1)])
    model.build({"sizes": 2})
    assert model.column_names == {"x['sizes']": tuple(SIZES)}
    for ask in (model.predict, model.freeze()):
        wanted = ask({"sizes": np.stack(list(SIZES.values()), 1)})
        for columns in (SIZES, moved(SIZES)):
            np.testing.assert_array_equal(ask({"sizes": pandas.DataFrame(columns)}), wanted)


def test_initialize_learns_the_names_and_goes_by_them():
    started = []
    for columns in (SIZES, moved(SIZES)):
        model = compiled("x['sizes']")
        model.build({"sizes": 2, "age": 1})
        model.column_names = {}
        for one in (SIZES, columns):
            model.initialize({"sizes": pandas.DataFrame(one), "age": X[:, 0]})
        assert model.column_names == {"x['sizes']": tuple(SIZES)}
        started.append(model.get_weights())
    np.testing.assert_equal(started[0], started[1])


def test_a_thread_that_predicts_teaches_nothing_while_another_trains():
    model, seen = compiled("x['sizes']"), []
    x, y = PLACES["x['sizes']"][1](pandas.DataFrame(SIZES))
    model.fit({"sizes": X, "age": X[:, 0]}, y, verbose=0)
    with model._learning(x, y):
        thread = threading.Thread(target=lambda: seen.append(model.predict(x)))
        thread.start()
        thread.join()
    assert len(seen) == 1
    assert model.column_names == {}


@settings(max_examples=20, deadline=None)
@given(st.permutations(list(Y)), st.permutations(list(SIZES)))
def test_any_permutation_is_read_as_the_first_frame(of_y, of_sizes):
    model = of_branches()
    model.compile("sgd", "mse")
    x, y = {"sizes": pandas.DataFrame(SIZES), "age": X[:, 0]}, pandas.DataFrame(Y)
    model.fit(x, y, verbose=0)
    wanted = model.evaluate(x, y, verbose=0)
    for frame in (pandas.DataFrame, polars.DataFrame):
        sizes, numbers = (
            frame({name: columns[name] for name in names}) for columns, names in ((SIZES, of_sizes), (Y, of_y))
        )
        assert model.evaluate({"sizes": sizes, "age": X[:, 0]}, numbers, verbose=0) == wanted
