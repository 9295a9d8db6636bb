"""NaN and infinity in x, looked for before the training or while the first epoch trains on it."""

import numpy as np
import pytest
from classifier import Watcher, X, Y, network, same

import fastnn
from fastnn import layers, loop
from fastnn.data import arrays, feeds

pytestmark = pytest.mark.thread_unsafe(reason="sets the seed that the process's models start from")


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
    """Make every fit that may look at x while it trains do so, whatever the sizes."""
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
    monkeypatch.setattr(loop, "CHECKED_AT_ONCE", 2**60)
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
    monkeypatch.setattr(arrays, "LARGE", 0)
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


def engine_looks(model, feed, copied):
    check = loop.FiniteCheck(model)
    check.settle(feed, model._engine, copied)
    return check.waits


def test_small_data_and_large_models_are_looked_through_before():
    model = network()
    large = np.ones((400_000, 3), np.float32)
    for x, waits in ((X, False), (large, True)):
        feed = feeds.ArrayFeed(feeds.Samples(x), 32)
        assert engine_looks(model, feed, 2**19) is waits
    assert not engine_looks(model, feed, 2**20)
