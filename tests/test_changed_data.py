"""Indices among the data that somebody changes while the engine runs on them: an exception, never memory out of bounds.

The tests ask for little more than to end: under AddressSanitizer (.ci/sanitize) they say that nothing else was touched.
"""

import contextlib
import threading

import numpy as np
import pytest
import scipy.sparse

import fastnn
from fastnn import layers, losses
from fastnn._engine import TrainingTask, run_many

ROWS, CLASSES, FEATURES = 96, 3, 40
ODD = [2**31 - 1, -(2**31), -1, CLASSES, 255, 2**30, FEATURES]


def network(loss=None, metrics=(), **settings):
    model = fastnn.Sequential(
        [fastnn.Input((FEATURES,), **settings), layers.Dense(16, "relu"), layers.Dense(CLASSES, "softmax")]
    )
    model.compile("adam", loss or losses.SparseCategoricalCrossentropy(), metrics=list(metrics))
    return model


def labels():
    return np.arange(ROWS, dtype=np.int32) % CLASSES


def sparse_rows(dtype=np.float32):
    return scipy.sparse.random(ROWS, FEATURES, 0.2, "csr", dtype=dtype, random_state=0)


class Change(fastnn.callbacks.Callback):
    """Changes an array in the middle of a fit."""

    def __init__(self, change, hook="on_epoch_begin", at=1):
        super().__init__()
        self.change, self.at = change, at
        setattr(self, hook, self.look)

    def look(self, number, logs=None):
        if number == self.at:
            self.change()


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("metric", ["sparse_categorical_crossentropy", "accuracy", "sparse_top_k_categorical_accuracy"])
def test_rows_with_a_label_that_is_no_class_and_is_ignored_are_left_out_of_metrics(odd, metric):
    model = network(losses.SparseCategoricalCrossentropy(ignore_class=odd), [metric])
    plain = network(metrics=[metric])
    plain.set_weights(model.get_weights())
    x, y = np.random.default_rng(0).random((ROWS, FEATURES), np.float32), labels()
    expected = plain.evaluate(x[::2], y[::2], verbose=0)
    y[1::2] = odd
    if 0 <= odd < CLASSES:
        pytest.skip("a class like the others to a metric")
    np.testing.assert_allclose(model.evaluate(x, y, verbose=0), expected, rtol=1e-6)
    fitted = model.fit(x, y, batch_size=32, verbose=0).history
    assert all(np.isfinite(values).all() for values in fitted.values())


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_train_batch_end"])
@pytest.mark.parametrize("ignored", [None, -7])
def test_a_label_changed_during_fit_ends_it_and_is_named(odd, hook, ignored):
    model, y = network(losses.SparseCategoricalCrossentropy(ignore_class=ignored), ["accuracy"]), labels()
    x = np.ones((ROWS, FEATURES), np.float32)

    def change():
        y[50:] = odd

    says = rf"y must hold labels from 0 to 2, but one became {odd}; data must not change"
    with pytest.raises(ValueError, match=says):
        model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=[Change(change, hook)])
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    model.fit(x, labels(), verbose=0)


@pytest.mark.parametrize("odd", ODD[:3] + ODD[-1:])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 16, 8192], ids=["column", "panel", "rows that rest"])
def test_a_column_of_sparse_rows_changed_during_fit_ends_it_and_is_named(odd, dtype, width):
    model = fastnn.Sequential(
        [fastnn.Input((FEATURES,), dtype=dtype), layers.Dense(width), layers.Dense(CLASSES, "softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    x = sparse_rows(dtype)

    def change():
        x.indices[200:] = odd

    says = rf"x's indices must lie between 0 and {FEATURES - 1}, but one became {odd}; data must not change"
    with pytest.raises(ValueError, match=says):
        model.fit(x, labels(), batch_size=16, epochs=3, verbose=0, callbacks=[Change(change)])
    model.fit(sparse_rows(dtype), labels(), verbose=0)


def test_starts_of_sparse_rows_are_the_engines_own():
    x = sparse_rows()
    x.indptr = x.indptr.astype(np.int64)
    x.indices = x.indices.astype(np.int32)
    model, same = network(), network()
    same.set_weights(model.get_weights())

    def change():
        x.indptr[1:] = 2**40

    model.fit(x, labels(), epochs=3, shuffle=False, verbose=0, callbacks=[Change(change)])
    same.fit(sparse_rows(), labels(), epochs=3, shuffle=False, verbose=0)
    for left, right in zip(model.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_an_order_changed_during_a_run_ends_it():
    model, x = network(), np.ones((ROWS, FEATURES), np.float32)
    model.fit(x, labels(), verbose=0)
    order = np.tile(np.arange(ROWS, dtype=np.int64), 40_000)

    def change(done, sums):
        order[:] = -1

    with pytest.raises(IndexError, match="order must hold rows from 0 to 95, but one became -1; data must"):
        model._engine.train(x, labels(), order, 32, model.optimizer.hyperparameters(), change)


def test_a_label_changed_while_an_ensemble_trains_ends_it():
    members, y = [network() for _ in range(3)], labels()
    x = np.ones((ROWS, FEATURES), np.float32)
    stop = threading.Event()

    def spoil():
        while not stop.wait(0.001):
            y[40:50] = 77

    thread = threading.Thread(target=spoil, daemon=True)
    thread.start()
    try:
        with pytest.raises(ValueError, match="must hold labels from 0 to 2"):
            fastnn.Ensemble(members).fit(x, y, epochs=10**6, verbose=0)
    finally:
        stop.set()
        thread.join(30)


def test_each_engine_counts_its_steps_where_the_data_of_one_end_the_run_of_many():
    models = [network() for _ in range(3)]
    engines = [model._engine for model in models]
    x = np.ones((ROWS, FEATURES), np.float32)
    odd = np.where(np.arange(ROWS) == 40, 255, labels()).astype(np.int32)
    pairs = [(x, odd), (x, labels()), (x, odd)]
    rates = models[0].optimizer.hyperparameters()
    tasks = [
        TrainingTask(engine, *pair, None, None, 32, rates, None, 1) for engine, pair in zip(engines, pairs, strict=True)
    ]
    with pytest.raises(ValueError, match="one became 255"):
        run_many(tasks)
    assert [engine.iterations for engine in engines] == [1, 3, 1]


@pytest.mark.parametrize("kind", ["labels", "columns"])
def test_indices_that_another_thread_changes_all_the_time_do_no_harm(kind):
    """A fuzzer: values right and wrong come and go while fit, evaluate and predict read them."""
    model, y, x = network(metrics=["accuracy"]), labels(), sparse_rows()
    array, limit = (y, CLASSES) if kind == "labels" else (x.indices, FEATURES)
    right, stop = array.copy(), threading.Event()

    def spoil():
        generator = np.random.default_rng(0)
        while not stop.is_set():
            places = generator.integers(0, len(array), 5)
            array[places] = generator.choice([limit, -1, 2**31 - 1, -(2**31), 2**20])
            array[:] = right

    thread = threading.Thread(target=spoil, daemon=True)
    thread.start()
    calls = [
        lambda: model.fit(x, y, batch_size=16, epochs=2, verbose=0),
        lambda: model.evaluate(x, y, verbose=0),
        lambda: model.predict(x, verbose=0),
    ]
    try:
        for call in calls * 60:
            with contextlib.suppress(ValueError):  # whether the change is noticed is a matter of chance
                call()
    finally:
        stop.set()
        thread.join(30)
    assert np.isfinite(model.predict(np.ones((1, FEATURES)), verbose=0)).all()
