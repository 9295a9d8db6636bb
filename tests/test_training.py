"""What fit, evaluate and predict are given, and what they do with it."""

import warnings

import numpy as np
import pytest

import fastnn
from fastnn import data, feeds, layers, loop, row_weights

X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
Y = np.arange(20) % 4
VALIDATION = (X[:7], Y[:7])

pytestmark = pytest.mark.thread_unsafe(reason="sets the seed that the process's models start from")


def network(seed=0, **compile_arguments):
    fastnn.utils.set_random_seed(seed)
    model = fastnn.Sequential([layers.Dense(5, "tanh", input_shape=(3,)), layers.Dense(4, "softmax")])
    given = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
    model.compile(**(given | compile_arguments))
    return model


def same(a, b):
    for left, right in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


class Watcher(fastnn.callbacks.Callback):
    """Writes down which hooks are called."""

    def __init__(self):
        self.calls = []

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(f"epoch {epoch}")

    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append(f"begin {batch}")

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(f"end {batch}")

    def on_test_batch_end(self, batch, logs=None):
        self.calls.append(f"test {batch}")


class Batches:
    """What Keras calls a PyDataset: batches by their number."""

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


# ---- weights of rows and classes ----


def test_a_weight_of_two_is_a_row_given_twice_where_the_batch_is_one():
    weights = np.where(np.arange(20) < 5, 2.0, 1.0)
    weighted, repeated = (network(optimizer=fastnn.optimizers.SGD(0.5)) for _ in range(2))
    twice = np.r_[0:20, 0:5]
    # A weighted loss is divided by the number of rows, as in Keras: 20 here, 25 there.
    repeated.optimizer.learning_rate *= 25 / 20
    weighted.fit(X, Y, batch_size=20, epochs=3, sample_weight=weights, verbose=0, shuffle=False)
    repeated.fit(X[twice], Y[twice], batch_size=25, epochs=3, verbose=0, shuffle=False)
    for a, b in zip(weighted.get_weights(), repeated.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)  # float32 sums in another order


@pytest.mark.parametrize("one_hot", [False, True])
def test_class_weights_are_the_weights_of_their_rows(one_hot):
    loss = "categorical_crossentropy" if one_hot else "sparse_categorical_crossentropy"
    by_class, by_row = network(loss=loss), network(loss=loss)
    y = np.eye(4)[Y] if one_hot else Y
    by_class.fit(X, y, batch_size=8, epochs=2, class_weight={0: 3.0, 2: 0.5}, verbose=0)
    by_row.fit(X, y, batch_size=8, epochs=2, sample_weight=np.array([3, 1, 0.5, 1])[Y], verbose=0)
    same(by_class, by_row)


@pytest.mark.parametrize("kind", [float, np.float32, np.bool_, bool])
def test_classes_of_any_whole_number(kind):
    """As scikit-learn's compute_class_weight gives them for such labels."""
    weights = row_weights.class_weights({kind(0): 3.0, kind(1): 0.5}, np.array([1, 0, 1], np.int32), 2, "float32")
    np.testing.assert_array_equal(weights, [0.5, 3.0, 0.5])


def test_class_weights_may_name_classes_that_these_rows_lack():
    model, other = network(), network()
    rows = Y < 2
    weighted = model.train_on_batch(X[rows], Y[rows], class_weight={0: 2.0, 1: 3.0, 3: 4.0})
    assert weighted == other.train_on_batch(X[rows], Y[rows], sample_weight=Y[rows] + 2.0)
    with pytest.raises(ValueError, match="names class 4, but the classes go from 0 to 3"):
        model.train_on_batch(X[rows], Y[rows], class_weight={4: 2.0})


def test_class_weights_of_a_binary_target():
    model = fastnn.Sequential([layers.Dense(1, "sigmoid", input_shape=(3,))])
    model.compile("sgd", "binary_crossentropy")
    y = (Y > 2).astype(float)
    plain = model.evaluate(X, y, verbose=0)
    assert model.train_on_batch(X, y, class_weight={0: 2.0, 1: 2.0}) == pytest.approx(2 * plain, rel=1e-5)


@pytest.mark.parametrize("shape", ["labels", "one-hot", "binary"])
def test_balanced_class_weights_are_those_of_scikit_learn(shape):
    labels = np.array([0, 0, 0, 0, 0, 2, 2, 3]) if shape != "binary" else np.array([0, 1, 1, 1, 1, 1, 1, 1])
    _, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    expected = len(labels) / (len(counts) * counts[places])  # compute_class_weight's formula, of the classes in y
    y = np.eye(4)[labels] if shape == "one-hot" else labels[:, None] if shape == "binary" else labels
    given = row_weights.class_weights("balanced", np.asarray(y, np.int32), 1 if shape == "binary" else 4, "float64")
    np.testing.assert_allclose(given, expected)
    assert given.sum() == pytest.approx(len(labels))


def test_balanced_class_weights_train_as_their_weights_do():
    x, y = np.random.default_rng(0).random((20, 4)), np.arange(20) % 5 == 0
    trained = []
    for settings in ({"class_weight": "balanced"}, {"sample_weight": np.where(y, 20 / (2 * 4), 20 / (2 * 16))}):
        fastnn.utils.set_random_seed(1)
        single = fastnn.Sequential([layers.Dense(1, "sigmoid", input_shape=(4,))])
        single.compile("sgd", "binary_crossentropy")
        single.fit(x, y, epochs=2, verbose=0, **settings)
        trained.append(single.get_weights()[0])
    np.testing.assert_array_equal(*trained)


def test_balanced_class_weights_need_all_rows():
    x, y = np.ones((4, 4), np.float32), np.ones(4, np.float32)
    single = fastnn.Sequential([layers.Dense(1, input_shape=(4,))])
    single.compile("sgd", "mse")
    for attempt in (
        lambda: single.train_on_batch(x, y, class_weight="balanced"),
        lambda: single.fit(iter([(x, y)]), class_weight="balanced", verbose=0),
    ):
        with pytest.raises(ValueError, match="class_weight='balanced' needs all rows at once"):
            attempt()
    with pytest.raises(TypeError, match="class_weight must be a dict of class to weight, or 'balanced', got 'balance'"):
        single.fit(x, y, class_weight="balance", verbose=0)


def test_weights_count_in_evaluate_and_in_validation_data():
    model = network()
    weights = np.arange(20.0)
    rows = np.array([model.test_on_batch(X[k : k + 1], Y[k : k + 1])[0] for k in range(20)])
    expected = (weights * rows).mean()  # by the number of rows, as Keras's default reduction
    assert model.evaluate(X, Y, sample_weight=weights, verbose=0)[0] == pytest.approx(expected, rel=1e-5)
    assert model.test_on_batch(X, Y, weights)[0] == pytest.approx(expected, rel=1e-5)
    assert model.evaluate(X, Y, verbose=0)[0] == pytest.approx(rows.mean(), rel=1e-5)
    still = network(optimizer=fastnn.optimizers.SGD(0.0))
    history = still.fit(X, Y, validation_data=(X, Y, weights), verbose=0).history
    assert history["val_loss"][0] == pytest.approx(still.evaluate(X, Y, sample_weight=weights, verbose=0)[0])


def test_a_validation_split_splits_the_weights():
    weights = np.where(np.arange(20) < 15, 1.0, 7.0)
    history = network().fit(X, Y, validation_split=0.25, sample_weight=weights, verbose=0).history
    plain = network().fit(X, Y, validation_split=0.25, verbose=0).history
    assert history["loss"] == plain["loss"]
    assert history["val_loss"][0] == pytest.approx(7 * plain["val_loss"][0], rel=1e-5)


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
    assert first == 0  # looked at before anything changes
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
    assert numbers == ["epoch 0", "end 0", "end 1", "epoch 1", "end 0", "end 1", "epoch 2", "end 0"]  # Keras's
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
    y = np.sort(Y)  # so that batches ignore more or fewer rows
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
    assert watcher.calls[:7] == ["epoch 0", "begin 0", "end 1", "begin 2", "end 3", "begin 4", "end 5"]  # Keras's


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
    monkeypatch.setattr(data, "LARGE", 0)
    monkeypatch.setattr(data, "_PIECE", 50 * 6 * 4)
    monkeypatch.setattr(feeds, "PIECE", 20 * 6 * 4)
    assert isinstance(data.inputs(given, 6, "float32", check_finite=True, defer=True), data.Deferred)
    piecewise = trained(given)
    same(whole, piecewise)
    np.testing.assert_array_equal(whole.predict(x.astype(np.float32)), piecewise.predict(given))
    assert piecewise.evaluate(given, y, verbose=0) == pytest.approx(whole.evaluate(x, y, verbose=0), rel=1e-6)


def test_a_nan_deep_in_a_large_array_is_named_by_its_row(monkeypatch):
    monkeypatch.setattr(data, "LARGE", 0)
    monkeypatch.setattr(data, "_PIECE", 3 * 4 * 4)
    x = X.astype(np.float64)
    x[17, 1] = np.nan
    model = network()
    before = model.get_weights()
    with pytest.raises(ValueError, match="x must be finite, but row 17"):
        model.fit(x, Y, verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# ---- NaN and infinity in x, looked for while the first epoch trains on it ----


def frozen(layer):
    layer.trainable = False
    return layer


FIRST_LAYERS = {
    "small": lambda: [layers.Dense(8, "relu")],
    "frozen": lambda: [frozen(layers.Dense(8, "relu"))],
    "in parts": lambda: [layers.Dense(128, "relu")],
    "in parts, frozen": lambda: [frozen(layers.Dense(128, "relu"))],
    "packed": lambda: [layers.Dense(400, "relu")],
    "packed, frozen": lambda: [frozen(layers.Dense(400, "relu"))],
    "bfloat16": lambda: [layers.Dense(400, "relu", dtype="mixed_bfloat16")],
    "batch normalization": lambda: [layers.BatchNormalization(), layers.Dense(8)],
    "layer normalization": lambda: [layers.LayerNormalization(), layers.Dense(8)],
    "fixed normalization": lambda: [layers.Normalization(mean=0.5, variance=1.0)],
    "relu": lambda: [layers.Activation("relu"), layers.Dense(8)],
    "dropout": lambda: [layers.Dropout(0.5), layers.Dense(8)],
    "residual": lambda: [layers.Residual([layers.Dense(8, "relu"), layers.Dense(700)])],
}


def state_of(model):
    engine = model._engine
    arrays = [engine.parameters, *engine.slots]
    return [array.copy() for array in arrays], engine.iterations, engine.momentum_product, model.history


@pytest.fixture
def while_training(monkeypatch):
    """Every fit that may look at x while it trains does so, whatever the sizes."""
    monkeypatch.setattr(loop, "CHECKED_AT_ONCE", 0)
    monkeypatch.setattr(loop, "COPIES_WORTH", 0)


@pytest.mark.parametrize("first", FIRST_LAYERS)
@pytest.mark.parametrize("threads", [1, 3])
def test_a_number_that_is_not_finite_is_found_wherever_it_lies_and_training_is_taken_back(
    first, threads, while_training
):
    generator = np.random.default_rng(5)
    x = generator.uniform(0, 3, (300, 700)).astype(np.float32)
    y = generator.integers(0, 4, 300)

    def made():
        fastnn.utils.set_random_seed(0)
        optimizer = fastnn.optimizers.Nadam(1e-3, use_ema=True)
        model = fastnn.Sequential([*FIRST_LAYERS[first](), layers.BatchNormalization(), layers.Dense(4, "softmax")])
        model.compile(optimizer, "sparse_categorical_crossentropy")
        with fastnn.num_threads(threads):
            model.fit(x, y, batch_size=100, verbose=0)
        return model

    model = made()
    for batch in (7, 32, 150):
        arrays, *rest = state_of(model)
        row, column = generator.integers(300), generator.integers(700)
        held, x[row, column] = x[row, column], generator.choice([np.nan, np.inf, -np.inf])
        with fastnn.num_threads(threads), pytest.raises(ValueError, match=f"x must be finite, but row {row} holds"):
            model.fit(x, y, batch_size=batch, epochs=2, verbose=0)
        x[row, column] = held
        arrays_after, *rest_after = state_of(model)
        assert rest_after == rest
        for before, after in zip(arrays, arrays_after, strict=True):
            np.testing.assert_array_equal(before, after)
    undisturbed = made()
    for each in (model, undisturbed):
        each.fit(x, y, batch_size=50, verbose=0)
    same(model, undisturbed)


@pytest.mark.parametrize("first", FIRST_LAYERS)
@pytest.mark.parametrize("rows", [300, 2500])
def test_evaluate_finds_a_number_that_is_not_finite_wherever_it_lies(first, rows, while_training):
    generator = np.random.default_rng(6)
    x = generator.uniform(0, 3, (rows, 70)).astype(np.float32)
    stack = FIRST_LAYERS[first]() if first != "residual" else [layers.Residual([layers.Dense(70)])]
    model = fastnn.Sequential([*stack, layers.Dense(4)])
    model.compile("adam", "mse")
    model.build(70)
    y = model.predict(x, verbose=0)
    assert model.evaluate(x, y, verbose=0) == 0
    for threads in (1, 2):
        row, column = generator.integers(rows), generator.integers(70)
        held, x[row, column] = x[row, column], generator.choice([np.nan, np.inf, -np.inf])
        with fastnn.num_threads(threads), pytest.raises(ValueError, match=f"x must be finite, but row {row} holds"):
            model.evaluate(x, y, verbose=0)
        x[row, column] = held


def test_evaluate_looks_through_x_before_where_callbacks_would_see_it_begin_and_where_it_reads_a_part(while_training):
    x = X.copy()
    x[19, 2] = np.nan
    model, watcher = network(), Watcher()
    for arguments in ({"callbacks": [watcher]}, {"steps": 1, "batch_size": 4}):
        with pytest.raises(ValueError, match="x must be finite, but row 19 holds"):
            model.evaluate(x, Y, verbose=0, **arguments)
    assert not watcher.calls


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_looking_while_training_changes_no_bit(dtype, while_training, monkeypatch):
    x = np.random.default_rng(1).normal(size=(500, 40)).astype(dtype)
    y = (x[:, 0] > 0).astype(int)

    def trained():
        fastnn.utils.set_random_seed(0)
        model = fastnn.Sequential([layers.Dense(9, "relu", dtype=dtype), layers.Dense(2, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x, y, epochs=2, verbose=0, validation_split=0.1)
        return model

    looked = trained()
    monkeypatch.setattr(loop, "check_later", lambda *_: False)
    same(looked, trained())


def test_a_model_that_was_not_built_is_not_after_a_bad_row(while_training):
    x = X.copy()
    x[13, 2] = np.inf
    model = fastnn.Sequential([layers.Dense(4, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="x must be finite, but row 13 holds"):
        model.fit(x, Y, batch_size=3, verbose=0)
    assert not model.built
    assert model.history is None
    model.fit(X[:, :2], Y, verbose=0)


def test_a_bad_row_of_the_part_held_back_is_named_by_its_number_in_x(while_training):
    x = X.copy()
    x[17, 0] = np.nan
    model = network()
    with pytest.raises(ValueError, match="x must be finite, but row 17 holds"):
        model.fit(x, Y, validation_split=0.25, verbose=0)
    assert model._engine.iterations == 0


def test_a_bad_row_of_an_array_that_is_converted_piece_by_piece(while_training, monkeypatch):
    monkeypatch.setattr(data, "LARGE", 0)
    monkeypatch.setattr(feeds, "PIECE", 3 * 4 * 4)
    x = X.astype(np.float64)
    x[17, 1] = 1e300
    model = network()
    before = model.get_weights()
    with pytest.raises(ValueError, match="x must be finite, but row 17 holds a NaN, an infinity or a number beyond"):
        model.fit(x, Y, batch_size=2, verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("compiled", "arguments"),
    [
        ({}, {"callbacks": [Watcher()]}),
        ({}, {"steps_per_epoch": 2}),
        ({}, {"epochs": 0}),
        ({"optimizer": fastnn.optimizers.LBFGS()}, {}),
        ({"metrics": [lambda t, y: 0.0]}, {}),
    ],
    ids=["callbacks", "a part of x", "no epoch", "LBFGS", "functions"],
)
def test_where_steps_could_be_seen_x_is_looked_through_before(compiled, arguments, while_training):
    x = X.copy()
    x[19, 2] = np.nan
    model = network(**compiled)
    model.fit(X, Y, epochs=0, verbose=0)
    history = model.history
    with pytest.raises(ValueError, match="x must be finite, but row 19 holds"):
        model.fit(x, Y, verbose=0, **arguments)
    assert model.history is history
    assert not arguments.get("callbacks", [Watcher()])[0].calls


def test_small_data_and_large_models_are_looked_through_before():
    model = network()
    large = np.ones((400_000, 3), np.float32)
    for x, waits in ((X, False), (large, True)):
        feed = feeds.ArrayFeed(feeds.Samples(x), 32)
        assert loop.check_later(model._engine, feed, 2**19) is waits
    assert not loop.check_later(model._engine, feed, 2**20)


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
    model.compile("sgd")  # takes the loss away
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
    """It has none, and looked for those that are ignored."""
    model = fastnn.Sequential([fastnn.Input((3,)), layers.Dense(2, "softmax")])
    model.compile("sgd", fastnn.losses.SparseCategoricalCrossentropy(ignore_class=1))
    x = np.ones((4, 3), np.float32)
    np.testing.assert_allclose(model.forward(x, training=training), model.predict(x), rtol=1e-6)


@pytest.mark.parametrize("action", ["fit", "train_on_batch", "class_weight", "generator"])
def test_negative_weights_are_trained_with_and_warned_of(action):
    x, y, weights = np.ones((4, 2)), np.array([0.0, 1.0, 0.0, 1.0]), np.array([1.0, 1.0, -0.5, 1.0])
    model = fastnn.Sequential([fastnn.Input((2,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    calls = {
        "fit": lambda: model.fit(x, y, sample_weight=weights, verbose=0),
        "train_on_batch": lambda: model.train_on_batch(x, y, weights),
        "class_weight": lambda: model.fit(x, y, class_weight={0: -1.0}, verbose=0),
        "generator": lambda: model.fit(iter([(x, y, weights)]), verbose=0),
    }
    row = 0 if action == "class_weight" else 2
    before = model.get_weights()[0]
    with pytest.warns(UserWarning, match=f"_weight has negative weights, the first in row {row}"):
        calls[action]()
    assert (model.get_weights()[0] != before).any()
