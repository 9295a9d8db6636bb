"""Models layer by layer: any layer may come first, and what is there so far is a model, or says what it lacks."""

import copy
import sys
from functools import partial

import numpy as np
import pytest

import fastnn
from fastnn import layers

EXAMPLES = {
    "InputLayer": {"shape": (4,)},
    "Dense": {"units": 3},
    "Activation": {"activation": "relu"},
    "Branches": {"branches": {"a": [layers.Input((4,)), layers.Dense(2)]}},
    "Discretization": {"bin_boundaries": [0.0, 1.0]},
    "Impute": {"strategy": "constant"},
    "RobustNormalization": {"center": [0.5] * 4, "factor": [2.0] * 4},
    "QuantileNormalization": {"knots": [[0.0, 0.5, 2.0]] * 4},
    "PiecewiseLinearEncoding": {"bin_edges": [[0.0, 0.5, 2.0]] * 4},
    "TargetScaling": {"mean": 1.0, "deviation": 2.0, "low": -9.0, "high": 9.0},
    "CategoryEncoding": {"num_tokens": 3},
    "StringLookup": {"vocabulary": ["a"]},
    "CategoricalEmbedding": {"vocabularies": [[1, 2], [1, 2, 3], [1], [0, 1]], "one_hot_limit": 1, "units": 1},
    "IntegerLookup": {"vocabulary": [1, 2]},
    "Reshape": {"target_shape": (2, 2)},
    "Dropout": {"rate": 0.5},
    "AlphaDropout": {"rate": 0.5},
    "GaussianDropout": {"rate": 0.5},
    "GaussianNoise": {"stddev": 0.5},
    "Heads": {"heads": {"a": [layers.Dense(2)]}},
    "Embedding": {"input_dim": 3, "output_dim": 2},
    "Rescaling": {"scale": 0.5},
    "Residual": {"layers": [layers.Dense(4)]},
    "Stack": {"layers": [layers.Dense(4)]},
    "LinearEmbedding": {"units": 3},
    "EnsembleDense": {"units": 3, "members": 2},
    "EnsembleMean": {"members": 2},
    "EnsembleScale": {"members": 2},
    "ParametricActivation": {"activation": "relu"},
}
MEMBERS = layers._registry.members()
KEEP_AXES = ("Activation", "ActivityRegularization", "Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise",
             "ReLU", "LeakyReLU", "ELU", "Rescaling")  # fmt: skip


def make(name, **more):
    """Return a new layer of this class; a list of layers in its arguments is copied."""
    return getattr(layers, name)(**copy.deepcopy(EXAMPLES.get(name, {})), **more)


def rows_for(name, axes=(4,)):
    """Return three rows that the layer takes."""
    if name == "StringLookup":
        return np.full((3, *axes), "a")
    return {"a": np.ones((3, 4))} if name == "Branches" else np.ones((3, *axes))


def assert_whole(model, rows, tmp_path):
    """Check all that a model without compile can be asked for, before and after it has been a file."""
    assert model.built
    outputs = model.predict(rows)
    model.save(tmp_path / "model.fastnn")
    for same in (fastnn.load_model(tmp_path / "model.fastnn"), copy.deepcopy(model)):
        for a, b in zip(np.atleast_1d(same.predict(rows)), np.atleast_1d(outputs), strict=True):
            np.testing.assert_equal(a, b)
    lines = []
    model.summary(print_fn=lines.append)
    assert any(str(model.layers[-1].name) in line for line in lines)
    assert fastnn.clone_model(model).count_params() == model.count_params()


def assert_waits(model, rows, lacks, tmp_path):
    """Check that a model that is not whole says so where a whole one is needed, and works everywhere else."""
    assert not model.built
    for action in (model.predict, model.forward, lambda rows: model.count_params(), lambda rows: model.reset()):
        with pytest.raises(ValueError, match=f"needs a built model: .*{lacks}"):
            action(rows)
    model.compile("sgd", "mse")
    model.save(tmp_path / "model.fastnn")
    for same in (fastnn.load_model(tmp_path / "model.fastnn"), copy.deepcopy(model), fastnn.clone_model(model)):
        assert [type(layer) for layer in same.layers] == [type(layer) for layer in model.layers]
        assert not same.built
    lines = []
    model.summary(print_fn=lines.append)
    assert lines[-1] == "Not built yet"


@pytest.mark.parametrize("kind", MEMBERS, ids=lambda kind: kind.__name__)
def test_every_layer_may_be_the_first_one_added(kind, tmp_path):
    name = kind.__name__
    alone, after = fastnn.Sequential(), fastnn.Sequential()
    takes_shape = name not in ("Branches", "Heads", "InputLayer")
    alone.add(make(name, **({"input_shape": (4,)} if takes_shape else {})))
    if name == "InputLayer":
        assert_waits(alone, np.ones((3, 4)), "no layer beside its Input", tmp_path)
        return
    if name == "Reshape":  # rows have two axes until a Flatten follows
        assert_waits(alone, np.ones((3, 4)), "add a Flatten", tmp_path)
        alone.add(layers.Flatten())
    elif name == "Heads":
        alone.build((None, 4))
    assert_whole(alone, rows_for(name), tmp_path)
    if takes_shape:
        after.add(fastnn.Input((4,)))
        after.add(make(name))
        assert after.built == (name != "Reshape")


@pytest.mark.parametrize("name", [*KEEP_AXES, "Flatten", "Reshape"])
def test_every_layer_that_may_follow_an_input_of_several_axes_may_be_added_to_it(name, tmp_path):
    model = fastnn.Sequential()
    model.add(fastnn.Input((2, 2)))
    model.add(make(name))
    if name == "Flatten":
        assert_whole(model, rows_for(name, (2, 2)), tmp_path)
    else:
        assert_waits(model, rows_for(name, (2, 2)), r"rows of one axis, got \(2, 2\): add a Flatten", tmp_path)
    if name != "Flatten":
        model.add(layers.Flatten())
    model.add(layers.Dense(3))
    assert_whole(model, rows_for(name, (2, 2)), tmp_path)


def test_the_layers_that_leave_rows_as_they_are_are_a_model_that_gives_them_back():
    x = np.arange(8.0, dtype="float32").reshape(2, 2, 2)
    model = fastnn.Sequential([layers.Flatten(input_shape=(2, 2))])
    np.testing.assert_array_equal(model.predict(x), x.reshape(2, 4))
    np.testing.assert_array_equal(model.freeze()(x.reshape(2, 4)), x.reshape(2, 4))
    model.compile("sgd", "mse")
    assert model.fit(x, x.reshape(2, 4) + 1, verbose=0).history["loss"] == [1.0]


def test_an_empty_model_waits_for_layers(tmp_path):
    assert_waits(fastnn.Sequential(), np.ones((3, 4)), "no layer: add one", tmp_path)


ADAPTED = {
    "StringLookup": ({"output_mode": "multi_hot"}, "vocabulary", [["a"], ["b"]]),
    "IntegerLookup": ({"output_mode": "multi_hot"}, "vocabulary", [[3], [4]]),
    "CategoricalEmbedding": ({"binary": "one_hot"}, "vocabularies", [["a"], ["b"]]),
    "Discretization": ({"num_bins": 2}, "bin_boundaries", [[3.0], [4.0]]),
    "Impute": ({}, "fill_value", [[3.0], [np.nan]]),
    "RobustNormalization": ({}, "center", [[3.0], [4.0]]),
    "QuantileNormalization": ({}, "knots", [[3.0], [4.0]]),
    "PiecewiseLinearEncoding": ({}, "bin_edges", [[3.0], [4.0]]),
    "TargetScaling": ({}, "mean", [[3.0], [4.0]]),
}


@pytest.mark.parametrize("name", ADAPTED)
def test_a_layer_may_be_adapted_after_it_was_added(name, tmp_path):
    arguments, learnt, rows = ADAPTED[name]
    layer, rows = getattr(layers, name)(**arguments), np.array(rows)
    model = fastnn.Sequential()
    for one in (fastnn.Input((1,)), layer, layers.Dense(2)):
        model.add(one)
    assert_waits(model, rows, f"no {learnt} yet", tmp_path)
    layer.adapt(rows)
    model.save(tmp_path / "model.fastnn")
    assert_whole(model, rows, tmp_path)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6, 7])
def test_every_prefix_of_a_model_is_there_while_it_is_built_and_while_it_is_taken_apart(k):
    stack = [fastnn.Input((2, 2)), layers.Rescaling(0.5), layers.Flatten(), layers.Dense(4), layers.PReLU(),
             layers.Residual([layers.Dense(4)]), layers.Heads({"a": [layers.Dense(1)], "b": []})]  # fmt: skip
    model = fastnn.Sequential()
    for layer in stack:
        model.add(layer)
    assert model.built
    while len(model.layers) > k:
        model.pop()
    assert model.built == (k > 2)
    assert len(model.weights) == sum(len(layer.parameters()) for layer in model.layers if model.built)


@pytest.mark.parametrize("told", [True, False], ids=["Input", "no Input"])
def test_a_trained_model_gets_another_head(told):
    """Weights and moving statistics of the layers that stay are those that training left."""
    x = np.random.default_rng(0).normal(size=(60, 4))
    stack = [layers.Dense(8, "relu"), layers.BatchNormalization(), layers.Residual([layers.Dense(8)]), layers.Dense(1)]
    model = fastnn.Sequential([fastnn.Input((4,)), *stack] if told else stack)
    model.compile("adam", "mse")
    model.fit(x, x[:, :1], epochs=2, verbose=0)
    learnt = [array for layer in stack[:-1] for array in layer.get_weights()]
    assert len(learnt) == 8
    assert model.pop() is stack[-1]
    assert model.output_shape == (None, 8)
    model.add(layers.Dense(3, "softmax"))
    for kept, before in zip([a for layer in stack[:-1] for a in layer.get_weights()], learnt, strict=True):
        np.testing.assert_array_equal(kept, before)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, np.arange(60) % 3, verbose=0)
    assert model.optimizer.iterations == 2


def test_branches_whose_widths_were_told_to_build_get_other_heads():
    branches = layers.Branches({"a": [layers.Dense(3)], "b": [layers.Dense(2)]})
    model = fastnn.Sequential([branches, layers.Dense(4, "relu"), layers.Dense(1)])
    x = {"a": np.ones((8, 2)), "b": np.ones((8, 5))}
    model.build({"a": 2, "b": 5})
    before = model.get_weights()
    model.pop()
    model.add(layers.Heads({"p": [layers.Dense(1)], "q": [layers.Dense(2)]}))
    for kept, old in zip(model.get_weights()[:6], before[:6], strict=True):
        np.testing.assert_array_equal(kept, old)
    assert model.predict(x)["q"].shape == (8, 2)


@pytest.mark.thread_unsafe(reason="sets the seed of the process")
def test_layers_that_are_added_one_by_one_get_the_weights_of_a_list():
    weights = []
    for one_by_one in (False, True):
        fastnn.utils.set_random_seed(5)
        stack = [fastnn.Input((4,)), layers.Dense(8), layers.PReLU(), layers.Dense(2)]
        model = fastnn.Sequential([] if one_by_one else stack)
        for layer in stack if one_by_one else []:
            model.add(layer)
        weights.append(model.get_weights())
    for added, listed in zip(*weights, strict=True):
        np.testing.assert_array_equal(added, listed)


@pytest.mark.parametrize("change", ["add", "pop"])
def test_a_change_that_fails_leaves_the_model_as_it_was(change, monkeypatch):
    model = fastnn.Sequential([fastnn.Input((4,)), layers.Dense(3), layers.Dense(2)])
    model.compile("sgd", "mse")
    x, held, before = np.ones((2, 4)), list(model.layers), model.get_weights()
    answers = model.predict(x)

    def refuse(*arguments):
        raise MemoryError

    monkeypatch.setattr("fastnn.network.Engine", refuse)
    layer = layers.Dense(1)
    with pytest.raises(MemoryError):
        model.add(layer) if change == "add" else model.pop()
    monkeypatch.undo()
    assert model.layers == held
    assert layer.name is None
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(model.predict(x), answers)
    assert [len(one.get_weights()) for one in model.layers] == [0, 2, 2]


def calls(run):
    """How many functions are called, which a clock would tell less exactly."""
    count = 0

    def hook(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(hook)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


MANY = {
    "layers": lambda n: [fastnn.Input((1,)), *(layers.Dense(1) for _ in range(n))],
    "layers with names and types": lambda n: [
        fastnn.Input((1,)),
        *(layers.Dense(1, name=f"a{k}", dtype="float32" if k > n / 2 else None) for k in range(n)),
    ],
    "penalties": lambda n: [fastnn.Input((1,)), *(layers.Dense(1, kernel_regularizer="l2") for _ in range(n))],
    "layers of a block": lambda n: [fastnn.Input((1,)), layers.Residual([layers.Dense(1) for _ in range(n)])],
    "blocks": lambda n: [fastnn.Input((1,)), *(layers.Residual([layers.Dense(1)]) for _ in range(n))],
    "heads": lambda n: [fastnn.Input((1,)), layers.Heads({f"a{k}": [layers.Dense(1)] for k in range(n)})],
    "branches": lambda n: [layers.Branches({f"a{k}": [layers.Input((1,)), layers.Dense(1)] for k in range(n)})],
    "metrics": lambda n: [fastnn.Input((1,)), layers.Dense(1)],
}


@pytest.mark.thread_unsafe(reason="counts the calls of one thread")
@pytest.mark.parametrize("kind", MANY)
def test_four_times_the_parts_are_four_times_the_work(kind):
    def whole(n):
        model = fastnn.Sequential(MANY[kind](n))
        model.compile("adam", "mse", metrics=["mae"] * n if kind == "metrics" else None)
        model._ready("fit")
        fastnn._stored.from_bytes(fastnn._stored.to_bytes(model), fastnn.Sequential)
        model.set_weights(model.get_weights())
        model.summary(print_fn=str)

    few, many = (calls(lambda n=n: whole(n)) for n in (40, 160))
    assert many < 4.05 * few


@pytest.fixture
def lowered(monkeypatch):
    """The layers of each lowering so far."""
    seen, lower = [], fastnn.plan.lower

    def look(layers, *arguments):
        seen.append(list(layers))
        return lower(layers, *arguments)

    monkeypatch.setattr(fastnn.plan, "lower", look)
    return seen


FIRST_USES = {
    "fit": lambda model, x, y: model.fit(x, y, verbose=0, validation_data=(x, y)),
    "train_on_batch": lambda model, x, y: model.train_on_batch(x, y),
    "train_on_batch with weights": lambda model, x, y: model.train_on_batch(x, y, np.ones(len(x))),
    "fit of batches": lambda model, x, y: model.fit(iter([(x, y)]), verbose=0),
    "an ensemble's fit": lambda model, x, y: fastnn.Ensemble([model]).fit(x, y, verbose=0),
}


@pytest.mark.thread_unsafe(reason="counts the lowerings of one thread")
@pytest.mark.parametrize("use", FIRST_USES)
@pytest.mark.parametrize("first", [[], [fastnn.Input((4,))]], ids=["from x", "from Input"])
def test_a_model_is_lowered_once(use, first, lowered):
    model = fastnn.Sequential([*copy.deepcopy(first), layers.Dense(3, "relu"), layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    x, y = np.ones((8, 4)), np.ones((8, 1))
    FIRST_USES[use](model, x, y)
    model.evaluate(x, y, verbose=0)
    model.predict(x)
    model.fit(x, y, verbose=0)
    assert len(lowered) == 1


SETTINGS = {
    "activation": ("activation", "tanh", None),
    "use of a regularizer": ("kernel_regularizer", "l2", None),
    "initializer": ("kernel_initializer", "ones", None),
    "name": ("name", "other_{}", None),
    "of a layer in a block": ("activation", "tanh", lambda layer: layer.layers[0]),
    "name of a layer in a block": ("name", "inner_{}", lambda layer: layer.layers[0]),
}


def set_of_all(model, setting):
    name, value, within = SETTINGS[setting]
    for k, layer in enumerate(model.layers[1:]):
        setattr(within(layer) if within else layer, name, value.format(k))


def of_many_layers(n, setting):
    within = SETTINGS[setting][2]
    made = [layers.Residual([layers.Dense(4)]) if within else layers.Dense(4) for _ in range(n)]
    model = fastnn.Sequential([fastnn.Input((4,)), *made])
    model.compile("sgd", "mse")
    return model


@pytest.mark.thread_unsafe(reason="counts the lowerings of one thread")
@pytest.mark.parametrize("setting", SETTINGS)
def test_attributes_of_all_layers_are_lowered_at_the_next_use(setting, lowered):
    model, x = of_many_layers(6, setting), np.ones((2, 4))
    model.fit(x, x, verbose=0)
    lowered.clear()
    set_of_all(model, setting)
    assert not lowered
    answers = model.predict(x)
    assert len(lowered) <= 1
    again = fastnn.Sequential.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again.predict(x), answers)
    lowered.clear()
    model.fit(x, x, verbose=0)
    assert len(lowered) <= 1
    names = [f"{layer.name}/{name}" for layer in model.layers for name, _, _ in layer.parameters()]
    assert ["/".join(key) for key in model._home.views] == names


@pytest.mark.thread_unsafe(reason="counts the calls of one thread")
@pytest.mark.parametrize("setting", ["activation", "use of a regularizer", "initializer", "of a layer in a block"])
def test_attributes_of_four_times_the_layers_are_four_times_the_work(setting):
    few, many = (calls(partial(set_of_all, of_many_layers(n, setting), setting)) for n in (10, 40))
    assert many < 4.05 * few
