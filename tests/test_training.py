"""What fit, evaluate and predict are given, and what they do with it."""

import warnings

import numpy as np
import pytest
from classifier import Watcher, X, Y, network, same

import fastnn
from fastnn import layers
from fastnn.data import arrays, feeds

VALIDATION = (X[:7], Y[:7])

pytestmark = pytest.mark.thread_unsafe(reason="sets the seed that the process's models start from")


class Batches:
    """A source of batches by number, which Keras calls a PyDataset."""

    def __init__(self, size=4, parts=2):
        self.size, self.parts, self.begun, self.ended = size, parts, 0, 0

    def __len__(self):
        return -(-len(X) // self.size)

    def __getitem__(self, k):
        rows = slice(k * self.size, (k + 1) * self.size)
        return (X[rows], Y[rows], np.ones(len(X[rows])))[: self.parts]

    def on_epoch_begin(self):
        self.begun += 1

    def on_epoch_end(self):
        self.ended += 1


def batches(size=4, count=None):
    source = Batches(size)
    return (source[k] for k in range(len(source) if count is None else count))


# ---- iterables of batches ----


@pytest.mark.parametrize("source", [Batches, lambda: list(batches()).__iter__(), batches, lambda: Batches(parts=3)])
def test_batches_of_an_iterable_are_those_of_the_arrays(source):
    arrays, given = network(), network()
    arrays.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
    history = given.fit(source(), shuffle=False, verbose=0)
    same(arrays, given)
    assert history.epoch == [0]
    assert given.evaluate(source(), verbose=0) == pytest.approx(given.evaluate(X, Y, verbose=0))
    np.testing.assert_array_equal(given.predict(source()), given.predict(X))


def test_a_loader_is_started_anew_each_epoch_and_told_of_it():
    class Loader:
        def __iter__(self):
            return batches()

    arrays, given, indexed = network(), network(), network()
    source = Batches()
    arrays.fit(X, Y, batch_size=4, epochs=3, shuffle=False, verbose=0, validation_data=VALIDATION)
    given.fit(Loader(), epochs=3, verbose=0, validation_data=Loader())
    indexed.fit(source, epochs=3, verbose=0, shuffle=False)
    same(arrays, given)
    same(arrays, indexed)
    assert (source.begun, source.ended) == (3, 3)


def test_indexed_batches_are_shuffled_and_keep_their_rows_together():
    class Recorder(Batches):
        def __init__(self):
            super().__init__()
            self.asked = []

        def __getitem__(self, k):
            self.asked.append(k)
            return super().__getitem__(k)

    source = Recorder()
    network().fit(source, epochs=4, verbose=0)
    first, epochs = source.asked[0], [source.asked[1 + 5 * k : 6 + 5 * k] for k in range(4)]
    assert first == 0  # the data are checked before anything changes
    assert all(sorted(epoch) == list(range(5)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_steps_per_epoch_goes_on_where_the_last_epoch_ended():
    once, steps = network(), network()
    once.fit(X, Y, batch_size=4, epochs=1, verbose=0, shuffle=False)
    watcher = Watcher()
    with pytest.warns(UserWarning, match="ran out, 1 steps before"):
        steps.fit(X, Y, batch_size=4, epochs=3, steps_per_epoch=2, verbose=0, shuffle=False, callbacks=watcher)
    same(once, steps)
    numbers = [call for call in watcher.calls if call.startswith(("epoch", "end"))]
    # the order of hooks is Keras's
    assert numbers == ["epoch 0", "end 0", "end 1", "epoch 1", "end 0", "end 1", "epoch 2", "end 0"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generator = network()
        generator.fit(batches(), epochs=2, steps_per_epoch=2, verbose=0)
    assert generator._engine.iterations == 4


def test_a_generator_that_ends_ends_the_training():
    with pytest.warns(UserWarning, match="the data ran out"):
        history = network().fit(batches(count=3), epochs=5, verbose=0)
    assert history.epoch == [0]


def test_steps_of_evaluate_and_predict():
    model = network()
    assert model.evaluate(X, Y, batch_size=4, steps=2, verbose=0) == model.evaluate(X[:8], Y[:8], verbose=0)
    assert model.evaluate(batches(), steps=2, verbose=0) == pytest.approx(model.evaluate(X[:8], Y[:8], verbose=0))
    np.testing.assert_array_equal(model.predict(X, batch_size=4, steps=2), model.predict(X[:8]))


def test_steps_without_a_batch_size_go_over_all_rows():
    whole, steps = network(), network()
    watcher = Watcher()
    whole.fit(X, Y, batch_size=7, epochs=2, validation_data=VALIDATION, verbose=0)
    given = {"validation_data": VALIDATION, "validation_steps": 2, "callbacks": watcher}
    steps.fit(X, Y, steps_per_epoch=3, epochs=2, verbose=0, **given)
    same(whole, steps)
    assert [call for call in watcher.calls if call[:3] in ("end", "tes")] == 2 * [
        "end 0", "end 1", "end 2", "test 0", "test 1",
    ]  # fmt: skip
    assert whole.history.history["val_loss"] == pytest.approx(steps.history.history["val_loss"])
    split = network()
    split.fit(X, Y, validation_split=0.25, steps_per_epoch=2, validation_steps=2, verbose=0, callbacks=watcher)
    assert watcher.calls[-1] == "test 1"
    assert split._engine.iterations == 2
    assert whole.evaluate(X, Y, steps=3, verbose=0) == pytest.approx(whole.evaluate(X, Y, verbose=0))
    np.testing.assert_array_equal(whole.predict(X, steps=3), whole.predict(X))


@pytest.mark.parametrize(
    ("loss", "weights"),
    [
        (fastnn.losses.SparseCategoricalCrossentropy(reduction="sum"), None),
        (fastnn.losses.SparseCategoricalCrossentropy(ignore_class=2), None),
        (fastnn.losses.SparseCategoricalCrossentropy(reduction="mean_with_sample_weight"), np.arange(1.0, 21)),
    ],
    ids=["sum", "ignore_class", "mean_with_sample_weight"],
)
def test_evaluate_is_the_mean_over_batches_as_fit_is(loss, weights):
    model = network(optimizer=fastnn.optimizers.SGD(0.0), loss=loss)
    given = {"batch_size": 8, "sample_weight": weights, "verbose": 0}
    y = np.sort(Y)  # sorted, so that batches ignore different numbers of rows
    history = model.fit(X, y, validation_data=(X, y, weights), shuffle=False, **given).history
    parts = [slice(0, 8), slice(8, 16), slice(16, 20)]
    losses = [model.test_on_batch(X[p], y[p], None if weights is None else weights[p])[0] for p in parts]
    assert history["loss"] == pytest.approx([np.average(losses, weights=[8, 8, 4])], rel=1e-5)
    assert history["val_loss"] == pytest.approx(history["loss"], rel=1e-5)
    evaluated = model.evaluate(X, y, return_dict=True, **given)
    assert evaluated["loss"] == pytest.approx(history["loss"][0], rel=1e-5)
    assert evaluated["accuracy"] == pytest.approx(history["accuracy"][0])


@pytest.mark.parametrize("built", [True, False])
def test_an_array_of_rows_of_one_feature(built):
    model = fastnn.Sequential([layers.Dense(1, input_shape=(1,))])
    if not built:
        model = fastnn.Sequential.from_config(model.get_config())
    model.compile("sgd", "mse")
    column, row = X[:, :1], np.ascontiguousarray(X[:, 0])
    assert model.train_on_batch(row, X[:, 1]) > 0
    assert model.evaluate(row, Y, verbose=0) == model.evaluate(column, Y, verbose=0)
    np.testing.assert_array_equal(model.predict(row), model.predict(column))
    model.fit(list(row), Y, verbose=0)
    with pytest.raises(ValueError, match="x must have two axes"):
        network().predict(row)


def test_a_torch_loader_gives_batches():
    torch = pytest.importorskip("torch")
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), batch_size=4
    )
    arrays, given = network(), network()
    arrays.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    given.fit(loader, epochs=2, verbose=0)
    same(arrays, given)


# ---- when hooks and validations happen ----


def test_steps_per_execution_and_batch_hooks():
    plain, watched = network(), network(steps_per_execution=2)
    plain.fit(X, Y, batch_size=4, epochs=2, verbose=0)
    watcher = Watcher()
    watched.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=[[watcher]])
    same(plain, watched)
    # the order of hooks is Keras's
    assert watcher.calls[:7] == ["epoch 0", "begin 0", "end 1", "begin 2", "end 3", "begin 4", "end 5"]


def test_an_attribute_of_a_callback_is_a_hook_too():
    seen = []
    hook = fastnn.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append((batch, logs["loss"])))
    history = network().fit(X, Y, batch_size=8, verbose=0, callbacks=hook).history
    assert [batch for batch, _ in seen] == [0, 1, 2]
    assert seen[-1][1] == history["loss"][0]


def test_without_a_batch_hook_an_epoch_is_one_call_into_the_engine():
    class Counting:
        def __init__(self, engine):
            self.engine, self.calls = engine, 0

        def __getattr__(self, name):
            return getattr(self.engine, name)

        def train(self, *arguments):
            self.calls += 1
            return self.engine.train(*arguments)

    model = network()
    model._ready("fit")
    model._engine = counting = Counting(model._engine)
    counting.seed = 0
    model.fit(X, Y, batch_size=2, epochs=3, verbose=0, callbacks=[fastnn.callbacks.Callback()])
    assert counting.calls == 3


def test_a_batch_hook_ends_the_epoch():
    model = network()
    hook = fastnn.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: setattr(model, "stop_training", batch == 1)
    )
    model.fit(X, Y, batch_size=4, epochs=9, verbose=0, callbacks=hook)
    assert model._engine.iterations == 2


@pytest.mark.parametrize(("frequency", "epochs"), [(2, [1, 3]), ([1, 4], [0, 3]), (9, [])])
def test_validation_freq(frequency, epochs):
    seen = []
    hook = fastnn.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(epoch) if "val_loss" in logs else None
    )
    network().fit(X, Y, epochs=4, validation_data=VALIDATION, validation_freq=frequency, verbose=0, callbacks=hook)
    assert seen == epochs


def test_validation_batches_and_steps():
    model, watcher = network(optimizer=fastnn.optimizers.SGD(0.0)), Watcher()
    history = model.fit(
        X, Y, validation_data=(X, Y), validation_batch_size=3, validation_steps=2, verbose=0, callbacks=watcher
    )
    assert [call for call in watcher.calls if call.startswith("test")] == ["test 0", "test 1"]
    assert history.history["val_loss"][0] == pytest.approx(model.evaluate(X[:6], Y[:6], verbose=0)[0])


def test_hooks_of_predict_see_the_outputs():
    parts = []
    hook = fastnn.callbacks.LambdaCallback(on_predict_batch_end=lambda batch, logs: parts.append(logs["outputs"]))
    model = network()
    whole = model.predict(X, batch_size=8, callbacks=hook)
    assert [len(part) for part in parts] == [8, 8, 4]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(whole, model.predict(X))


# ---- arrays too large to be held twice ----


@pytest.mark.parametrize("kind", ["uint8", ">f4", "fortran", "strided"])
def test_large_arrays_of_another_form_are_converted_piece_by_piece(kind, monkeypatch):
    x = (np.arange(300 * 6) % 251).reshape(300, 6).astype(np.uint8)
    given = {
        "uint8": x,
        ">f4": x.astype(">f4"),
        "fortran": np.asfortranarray(x, np.float32),
        "strided": np.repeat(x, 2, axis=1).astype(np.float32)[:, ::2],
    }[kind]
    y = np.arange(300) % 4

    def trained(values):
        fastnn.utils.set_random_seed(1)
        model = fastnn.Sequential([layers.Rescaling(1 / 255, input_shape=(6,)), layers.Dense(4, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(values, y, batch_size=7, epochs=2, verbose=0, validation_split=0.1, validation_batch_size=5)
        return model

    whole = trained(x.astype(np.float32))
    monkeypatch.setattr(arrays, "LARGE", 0)
    monkeypatch.setattr(arrays, "_PIECE", 50 * 6 * 4)
    monkeypatch.setattr(feeds, "PIECE", 20 * 6 * 4)
    assert isinstance(arrays.inputs(given, 6, "float32", check_finite=True, defer=True), arrays.Deferred)
    piecewise = trained(given)
    same(whole, piecewise)
    np.testing.assert_array_equal(whole.predict(x.astype(np.float32)), piecewise.predict(given))
    assert piecewise.evaluate(given, y, verbose=0) == pytest.approx(whole.evaluate(x, y, verbose=0), rel=1e-6)


def test_a_nan_deep_in_a_large_array_is_named_by_its_row(monkeypatch):
    monkeypatch.setattr(arrays, "LARGE", 0)
    monkeypatch.setattr(arrays, "_PIECE", 3 * 4 * 4)
    x = X.astype(np.float64)
    x[17, 1] = np.nan
    model = network()
    before = model.get_weights()
    with pytest.raises(ValueError, match="x must be finite, but row 17"):
        model.fit(x, Y, verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# ---- what bad arguments get ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": -1}, "epochs must be at least 0"),
        ({"steps_per_epoch": 0}, "steps_per_epoch must be at least 1"),
        ({"validation_steps": 0.5}, "validation_steps must be an integer"),
        ({"validation_batch_size": 0}, "validation_batch_size must be at least 1"),
        ({"validation_freq": 0}, "validation_freq must be at least 1"),
        ({"shuffle": "batch"}, "shuffle must be True or False"),
        ({"sample_weight": np.ones(3)}, "sample_weight must hold one number a row"),
        ({"sample_weight": np.full(20, np.nan)}, "sample_weight must be finite, but row 0"),
        ({"sample_weight": ["a"] * 20}, "sample_weight must hold real numbers"),
        ({"class_weight": {9: 1.0}}, "class_weight names class 9, but the classes go from 0 to 3"),
        ({"class_weight": [1.0, 2.0]}, "class_weight must be a dict"),
        ({"class_weight": {"a": 1.0}}, "class_weight must have class numbers as its keys"),
        ({"class_weight": {0.5: 1.0}}, "class_weight must have class numbers as its keys, got 0.5"),
        ({"class_weight": {0: np.inf}}, "class_weight of class 0 must be a finite number"),
        ({"class_weight": {0: 1.0}, "sample_weight": np.ones(20)}, "must not be given both"),
        ({"validation_data": X}, "validation_data must be"),
        ({"validation_data": (X, Y, np.ones(3))}, "validation_data's sample_weight must hold one number a row"),
        ({"callbacks": ["history"]}, "callbacks must hold fastnn callbacks, got str"),
        ({"x": lambda: batches(), "y": Y}, "y must not be given where x gives batches, as a generator does"),
        ({"x": lambda: batches(), "y": None, "batch_size": 4}, "batch_size must not be given where x gives batches"),
        (
            {"x": lambda: batches(), "y": None, "validation_split": 0.5},
            "validation_split must not be given where x gives",
        ),
        ({"x": lambda: iter(()), "y": None}, "must give at least one batch"),
        ({"x": lambda: iter([(X, Y, None, None)]), "y": None}, "the first batch must be x, "),
        ({"x": lambda: iter([(X, Y[:3])]), "y": None}, "the first batch's y must have the same number of rows"),
    ],
)
@pytest.mark.parametrize("built", [True, False])
def test_a_call_that_fails_leaves_the_model_as_it_was(arguments, message, built):
    model = fastnn.Sequential([layers.Dense(4, "softmax", input_shape=(3,) if built else None)])
    model.compile("adam", "sparse_categorical_crossentropy")
    before = model.get_weights() if built else None
    if "x" in arguments:
        arguments = arguments | {"x": arguments["x"]()}
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(**({"x": X, "y": Y, "verbose": 0} | arguments))
    assert model.built == built
    if built:
        for a, b in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        assert model._engine.iterations == 0


def test_a_bad_batch_is_named_when_it_comes():
    good = list(batches())
    good[2] = (good[2][0][:, :2], good[2][1])
    model = network()
    with pytest.raises(ValueError, match="batch 2's x must have 3 features"):
        model.fit(iter(good), verbose=0)
    assert model._engine.iterations == 2


# ---- compiled without a loss ----


def own_loop(model, x, y, steps=5):
    for _ in range(steps):
        model.backward(2 * (model.forward(x, training=True) - y) / y.size)
        model.apply_gradients()


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "muon"])
def test_a_loop_of_ones_own_needs_no_loss(optimizer, tmp_path):
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    model = fastnn.Sequential([fastnn.Input((3,)), layers.Dense(8, "relu"), layers.Dense(2)])
    other = fastnn.clone_model(model)
    other.set_weights(model.get_weights())
    model.compile(optimizer)
    other.compile(optimizer, "mse")
    own_loop(model, x, x[:, :2])
    model.save(tmp_path / "m")
    model = fastnn.load_model(tmp_path / "m")
    assert model.loss is None
    own_loop(model, x, x[:, :2])
    own_loop(other, x, x[:, :2], 10)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), other.get_weights(), strict=True))
    assert model.optimizer.iterations == 10


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x, y: m.fit(x, y, verbose=0),
        lambda m, x, y: m.evaluate(x, y, verbose=0),
        lambda m, x, y: m.train_on_batch(x, y),
        lambda m, x, y: m.test_on_batch(x, y),
        lambda m, x, y: fastnn.Ensemble([m]).fit(x, y, verbose=0),
    ],
)
def test_what_needs_a_loss_says_so(call):
    x = np.ones((4, 3), np.float32)
    model = fastnn.Sequential([fastnn.Input((3,)), layers.Dense(2)])
    model.compile("sgd", "mse")
    model.compile("sgd")  # this call takes the loss away
    with pytest.raises(RuntimeError, match="needs a loss, and the model was compiled without"):
        call(model, x, x[:, :2])
    with pytest.raises(ValueError, match=r"metrics, weighted_metrics and loss_weights need loss="):
        model.compile("sgd", metrics=["mae"])
    own_loop(model, x, x[:, :2])


def test_a_model_with_heads_is_trained_without_losses():
    x = np.ones((4, 3), np.float32)
    model = fastnn.Sequential([fastnn.Input((3,)), layers.Heads({"a": [layers.Dense(2)], "b": [layers.Dense(1)]})])
    model.compile(fastnn.optimizers.SGD(1.0))
    before = model.forward(x)
    model.backward({"a": np.ones((4, 2)), "b": np.zeros((4, 1))})
    model.apply_gradients()
    after = model.predict(x)
    assert not np.array_equal(before["a"], after["a"])
    np.testing.assert_array_equal(before["b"], after["b"])


@pytest.mark.parametrize("training", [False, True])
def test_forward_reads_no_labels_where_the_loss_ignores_some(training):
    """forward once looked for ignored labels, though it has no labels."""
    model = fastnn.Sequential([fastnn.Input((3,)), layers.Dense(2, "softmax")])
    model.compile("sgd", fastnn.losses.SparseCategoricalCrossentropy(ignore_class=1))
    x = np.ones((4, 3), np.float32)
    np.testing.assert_allclose(model.forward(x, training=training), model.predict(x), rtol=1e-6)
