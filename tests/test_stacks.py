"""A model within a model: a stack of its layers, with the weights that it had."""

import copy
import pickle

import numpy as np
import pytest

import fastnn
from fastnn import layers

X = np.random.default_rng(0).normal(size=(20, 2, 2)).astype("float32")
Y = np.arange(20) % 3


def inner(built=True, **options):
    shape = {"input_shape": (2, 2)} if built else {}
    return fastnn.Sequential([layers.Flatten(**shape), layers.Dense(4, "relu"), layers.Dense(3)], **options)


def softmax(values):
    e = np.exp(values - values.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_a_trained_model_gets_a_softmax_on_top():
    model = inner()
    model.compile("adam", fastnn.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(X, Y, epochs=2, verbose=0)
    probability_model = fastnn.Sequential([model, layers.Softmax()])
    assert probability_model.built
    np.testing.assert_allclose(probability_model(X[:5]), softmax(model.predict(X[:5])), rtol=1e-5)
    added = fastnn.Sequential()
    added.add(model)
    added.add(layers.Softmax())
    np.testing.assert_array_equal(added.predict(X), probability_model.predict(X))
    for a, b in zip(probability_model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def same_answers(one, other, x=X):
    np.testing.assert_array_equal(one.predict(x), other.predict(x))


@pytest.mark.parametrize("copied", ["file", "deepcopy", "pickle", "weights and config", "json"])
def test_it_is_copied_in_every_way_and_trains_on(copied, tmp_path):
    model = fastnn.Sequential([inner(name="base"), layers.Dropout(0.2), layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(X, Y, epochs=1, verbose=0)
    if copied == "file":
        model.save(tmp_path / "model.fastnn")
        other = fastnn.load_model(tmp_path / "model.fastnn")
    elif copied in ("weights and config", "json"):
        json = model.to_json()
        other = fastnn.models.model_from_json(json) if copied == "json" else fastnn.clone_model(model)
        assert other.count_params() == model.count_params()
        other.set_weights(model.get_weights())
    else:
        other = copy.deepcopy(model) if copied == "deepcopy" else pickle.loads(pickle.dumps(model))
    same_answers(other, model)
    assert other.get_config() == model.get_config()
    assert other.get_layer("base").layers[1].units == 4
    if copied not in ("weights and config", "json"):
        for each in (model, other):
            each.fit(X, Y, epochs=3, initial_epoch=1, verbose=0)
        same_answers(other, model)


def test_the_model_that_was_given_stays_by_itself():
    base = inner()
    model = fastnn.Sequential([base, layers.Softmax()])
    before = base.get_weights()
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(X, Y, verbose=0)
    for a, b in zip(base.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(model.get_weights(), before, strict=True))
    base.set_weights(model.layers[0].get_weights())
    np.testing.assert_allclose(model.predict(X), softmax(base.predict(X)), rtol=1e-5)
    again = fastnn.Sequential([base, layers.Dense(2)])
    assert [layer.name for layer in again.layers] == ["sequential", "dense"]


def test_weights_are_kept_when_layers_are_added_later():
    base = inner()
    model = fastnn.Sequential([base])
    for layer in (layers.Dense(5), layers.Dense(3)):
        model.add(layer)
        for a, b in zip(model.layers[0].get_weights(), base.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    model.pop()
    model.pop()
    same_answers(model, base)


def test_models_within_models_within_models(tmp_path):
    base = inner(name="base")
    twice = fastnn.Sequential([fastnn.Sequential([base, layers.Dense(4)], name="middle"), layers.Dense(2)])
    flat = fastnn.Sequential(
        [layers.Flatten(input_shape=(2, 2)), layers.Dense(4, "relu"), layers.Dense(3), layers.Dense(4), layers.Dense(2)]
    )
    flat.set_weights(twice.get_weights())
    same_answers(twice, flat)
    twice.save(tmp_path / "m.fastnn")
    same_answers(fastnn.load_model(tmp_path / "m.fastnn"), twice)
    for a, b in zip(twice.get_layer("middle").layers[0].get_weights(), base.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert next(iter(twice._home.views)) == ("middle", "base/dense/kernel")
    for each in (twice, flat):
        each.compile("adam", "mse")
        each.fit(X, np.ones((20, 2)), shuffle=False, verbose=0)
    same_answers(twice, flat)


def test_a_model_that_is_not_built_is_built_within_the_other():
    model = fastnn.Sequential([inner(built=False), layers.Softmax()])
    assert not model.built
    model.build((None, 2, 2))
    assert model.predict(X).shape == (20, 3)
    known = fastnn.Sequential([fastnn.Input((2, 2)), inner(built=False), layers.Softmax()])
    known.set_weights(model.get_weights())
    same_answers(known, model)


def test_the_summary_has_a_line_of_it():
    lines = []
    fastnn.Sequential([inner(name="base"), layers.Softmax()]).summary(print_fn=lines.append)
    assert lines[4].split() == ["base", "(Stack)", "(None,", "3)", "35"]


def test_trainable_is_that_of_all_its_layers():
    base = inner()
    base.trainable = False
    model = fastnn.Sequential([base, layers.Dense(3, "softmax")])
    assert len(model.trainable_weights) == 2
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = model.layers[0].get_weights()
    model.fit(X, Y, verbose=0)
    for a, b in zip(model.layers[0].get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    model.layers[0].trainable = True
    assert len(model.trainable_weights) == 6
    model.layers[0].layers[1].trainable = False
    assert len(model.trainable_weights) == 4
    assert len(fastnn.clone_model(model).trainable_weights) == 4
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(X, Y, verbose=0)
    now = model.layers[0].get_weights()
    assert [(a != b).any() for a, b in zip(now, before, strict=True)] == [False, False, True, True]


@pytest.mark.parametrize("place", ["first", "after an Input"])
@pytest.mark.parametrize("kind", ["lookup", "branches", "embedding", "axes"])
def test_what_only_a_first_layer_can_do_is_done_within_the_first_model(kind, place):
    stacks = {
        "lookup": [layers.StringLookup(vocabulary=["a", "b"], output_mode="multi_hot"), layers.Dense(2)],
        "branches": [layers.Branches({"a": [layers.Dense(2)], "b": [layers.Input((1,))]}), layers.Dense(2)],
        "embedding": [layers.Embedding(3, 2), layers.Dense(2)],
        "axes": [layers.Rescaling(0.5), layers.Flatten(), layers.Dense(2)],
    }
    x = {"lookup": np.array([["a"], ["c"]]), "branches": {"a": np.ones((2, 2)), "b": np.ones(2)},
         "embedding": np.array([[0, 2], [1, 1]]), "axes": X[:2]}[kind]  # fmt: skip
    shape = {"lookup": (None, 1), "branches": {"a": (None, 2), "b": (None, 1)}, "embedding": (None, 2)}
    base = fastnn.Sequential(stacks[kind])
    base.build(shape.get(kind, (None, 2, 2)))
    expected = softmax(base.predict(x))
    first = [] if place == "first" or kind == "branches" else [fastnn.Input(shape.get(kind, (None, 2, 2))[1:])]
    model = fastnn.Sequential([*first, base, layers.Softmax()])
    if kind == "branches":
        model.build(shape["branches"])
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-5)
    if kind == "embedding":
        with pytest.raises(ValueError, match="from 0 to 2"):
            model.predict(x + 1, check_finite=True)


def test_heads_may_lie_within_the_last_model():
    heads = fastnn.Sequential([layers.Dense(3), layers.Heads({"a": [layers.Dense(1)], "b": [layers.Dense(2)]})])
    model = fastnn.Sequential([fastnn.Input((4,)), heads])
    assert {name: rows.shape for name, rows in model.predict(np.ones((5, 4))).items()} == {"a": (5, 1), "b": (5, 2)}
    model.compile("sgd", {"a": "mse", "b": "mse"})
    assert model.fit(np.ones((5, 4)), {"a": np.ones((5, 1)), "b": np.ones((5, 2))}, verbose=0).history.keys() == {
        "loss", "a_loss", "b_loss",
    }  # fmt: skip
    with pytest.raises(ValueError, match="Heads must come last"):
        model.add(layers.Dense(1))
    for place in (lambda: layers.Residual([heads]), lambda: layers.Branches({"a": [heads]})):
        with pytest.raises(TypeError, match="must not hold Heads, which is the last layer"):
            place()


REFUSED = {
    "width": (lambda: fastnn.Sequential([fastnn.Input((5,)), inner()]), "'sequential' was made for 4 features, got 5"),
    "dtype": (lambda: fastnn.Sequential([fastnn.Input((2, 2), dtype="float64"), inner()]), "dtype must be the same"),
    "one layer": (lambda: fastnn.Sequential(layers.Dense(3)), r"must be a list: Sequential\(\[...\]\), got one Dense"),
    "two layers": (lambda: fastnn.Sequential(layers.Dense(3), layers.Dense(1)), "layers must be a list"),
    "a model": (lambda: fastnn.Sequential(inner()), r"must be a list: Sequential\(\[...\]\), got one Sequential"),
    "a list and a layer": (lambda: fastnn.Sequential([layers.Dense(3)], layers.Dense(1)), "layers must be a list"),
    "raw data": (lambda: fastnn.Sequential([layers.Dense(3, input_shape=(2,)), fastnn.Sequential(
        [layers.IntegerLookup(vocabulary=[1])])]), "must be the first of a model or of a branch: it reads raw data"),
    "names": (lambda: fastnn.Sequential([inner(name="a"), layers.Dense(1, name="a")]), "name 'a' is taken"),
    "not a list": (lambda: layers.Stack(layers.Dense(1)), "layers must be a list of layers, got Dense"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_stacks_that_cannot_be(case):
    make, message = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_layers_of_a_model_that_could_not_be_made_are_free_again():
    first, second = layers.Dense(3, input_shape=(2,)), layers.Dense(2)
    for bad in ("no layer", fastnn.Input((2,)), layers.Embedding(2, 2)):
        with pytest.raises((TypeError, ValueError)):
            fastnn.Sequential([first, second, bad])
        assert first.name is None
    assert fastnn.Sequential([first, second]).predict([[1.0, 2.0]]).shape == (1, 2)


def test_many_models_within_one_have_names_of_their_own():
    model = fastnn.Sequential([inner(), fastnn.Sequential([layers.Dense(4)]), fastnn.Sequential([layers.Dense(2)])])
    assert [layer.name for layer in model.layers] == ["sequential", "sequential_1", "sequential_2"]
    assert fastnn.clone_model(model).count_params() == model.count_params()
