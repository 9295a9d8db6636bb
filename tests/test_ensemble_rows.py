"""Each member of an ensemble has rows, weights, numbers, validation and callbacks of its own, as if it were alone."""

import signal
import threading

import numpy as np
import pytest
import scipy.sparse

import fastnn
from fastnn import _members, layers
from fastnn.callbacks import Callback, EarlyStopping, ReduceLROnPlateau

ROWS, MEMBERS = 60, 5


@pytest.fixture(scope="module")
def table():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(ROWS, 6)).astype("float32")
    return x, (x.sum(axis=1, keepdims=True) + generator.normal(size=(ROWS, 1)) > 0).astype("float32")


def members(metrics=("mae",), rate=1e-2):
    models = []
    for k in range(MEMBERS):
        model = fastnn.Sequential([fastnn.Input((6,)), layers.Dense(8, "relu"), layers.Dropout(0.1)])
        model.add(layers.Dense(1, "sigmoid"))
        generator = np.random.default_rng(k)
        model.set_weights([generator.normal(size=w.shape) for w in model.get_weights()])
        model._seed = 100 + k
        model.compile(fastnn.optimizers.Adam(rate), "binary_crossentropy", metrics=list(metrics))
        models.append(model)
    return models


def assert_same(models, others):
    for model, other in zip(models, others, strict=True):
        for array, twin in zip(model.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(array, twin)
        assert model._progress == other._progress


def folds(generator):
    return [np.flatnonzero(np.arange(ROWS) % MEMBERS != k) for k in range(MEMBERS)]


def bootstraps(generator):
    return [generator.integers(0, ROWS, ROWS) for _ in range(MEMBERS)]


SETS = {
    "folds": folds,
    "leave one out": lambda generator: [np.delete(np.arange(ROWS), k) for k in range(MEMBERS)],
    "bootstraps": bootstraps,
    "masks": lambda generator: list(generator.random((MEMBERS, ROWS)) < 0.5),
    "a table": lambda generator: generator.integers(0, ROWS, (MEMBERS, 20)),
    "lists": lambda generator: [[3, 3, 3], [5], range(10, 40), (1, 2), np.uint8([0, 59])],
    "some have all": lambda generator: [None, [1, 2], None, np.arange(9), None],
}


def own(rows):
    """The rows as an index of an array."""
    return slice(None) if rows is None else np.asarray(rows)


@pytest.mark.thread_unsafe(reason="the number of threads is the process's")
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("kind", SETS)
def test_rows_of_its_own(table, kind, threads):
    x, y = table
    rows = SETS[kind](np.random.default_rng(1))
    alone, together = members(), members()
    expected = [
        model.fit(x[own(r)], y[own(r)], epochs=3, batch_size=8, verbose=0).history
        for model, r in zip(alone, rows, strict=True)
    ]
    with fastnn.num_threads(threads):
        histories = fastnn.Ensemble(together).fit(x, y, epochs=3, batch_size=8, verbose=0, rows=rows)
    assert [history.history for history in histories] == expected
    assert_same(alone, together)


def test_rows_of_its_own_in_the_order_that_they_have(table):
    x, y = table
    rows = bootstraps(np.random.default_rng(2))
    alone, together = members(), members()
    for model, r in zip(alone, rows, strict=True):
        model.fit(x[r], y[r], epochs=2, shuffle=False, verbose=0)
    fastnn.Ensemble(together).fit(x, y, epochs=2, shuffle=False, verbose=0, rows=rows)
    assert_same(alone, together)


def test_rows_of_sparse_x_come_as_often_as_they_are_named():
    dense = np.random.default_rng(0).normal(size=(ROWS, 40)).astype("float32")
    dense[np.random.default_rng(1).random(dense.shape) < 0.8] = 0
    dense[7] = 1  # a batch of this row alone has more entries than any batch of different rows
    x, y = scipy.sparse.csr_matrix(dense), dense[:, :1]
    rows = [[7] * 40, np.arange(30), [7, 8] * 20]
    alone, together = [], []
    for k in range(2 * len(rows)):
        model = fastnn.Sequential([fastnn.Input((40,)), layers.Dense(4, "tanh"), layers.Dense(1)])
        model.compile("adam", "mse")
        if k >= len(rows):
            model.set_weights(alone[k - len(rows)].get_weights())
            model._seed = alone[k - len(rows)]._seed
        (alone if k < len(rows) else together).append(model)
    for model, r in zip(alone, rows, strict=True):
        model.fit(x[r], y[r], epochs=2, verbose=0)
    fastnn.Ensemble(together).fit(x, y, epochs=2, verbose=0, rows=rows)
    assert_same(alone, together)


def test_numbers_of_its_own(table):
    x, y = table
    batches, epochs = [4, 8, 16, 60, 100], np.array([1, 4, 0, 3, 2])
    alone, together = members(), members()
    expected = [
        model.fit(x, y, batch_size=batch, epochs=int(end), verbose=0).history
        for model, batch, end in zip(alone, batches, epochs, strict=True)
    ]
    histories = fastnn.Ensemble(together).fit(x, y, batch_size=batches, epochs=epochs, verbose=0)
    assert [history.history for history in histories] == expected
    assert_same(alone, together)


def shared_weights(generator):
    return generator.random(ROWS)


def table_of_weights(generator):
    return generator.random((MEMBERS, ROWS))


def listed_weights(generator):
    return [None, *generator.random((MEMBERS - 1, ROWS))]


@pytest.mark.parametrize("weights", [shared_weights, table_of_weights, listed_weights], ids=lambda make: make.__name__)
def test_weights_of_its_own(table, weights):
    x, y = table
    weights = weights(np.random.default_rng(3))
    of_each = [weights] * MEMBERS if np.ndim(weights[0]) == 0 and weights[0] is not None else list(weights)
    rows = bootstraps(np.random.default_rng(1))
    held = [np.setdiff1d(np.arange(ROWS), r) for r in rows]
    alone, together = members(), members()
    expected = []
    for model, w, r, v in zip(alone, of_each, rows, held, strict=True):
        some, validation = (None, (x[v], y[v])) if w is None else (w[r], (x[v], y[v], w[v]))
        fitted = model.fit(x[r], y[r], epochs=2, sample_weight=some, validation_data=validation, verbose=0)
        expected.append(fitted.history)
    histories = fastnn.Ensemble(together).fit(
        x, y, epochs=2, sample_weight=weights, rows=rows, validation_rows=held, verbose=0
    )
    assert [history.history for history in histories] == expected
    assert_same(alone, together)


@pytest.mark.parametrize(
    "weights", ["balanced", {0: 2.0, 1: 0.5}, ["balanced", None, {1: 3.0}, "balanced", {0: 0.1}]], ids=str
)
def test_weights_of_classes(table, weights):
    x, y = table
    rows = bootstraps(np.random.default_rng(1))
    alone, together = members(), members()
    of_each = weights if isinstance(weights, list) else [weights] * MEMBERS
    expected = [
        model.fit(x[r], y[r], epochs=2, class_weight=w, verbose=0).history
        for model, w, r in zip(alone, of_each, rows, strict=True)
    ]
    histories = fastnn.Ensemble(together).fit(x, y, epochs=2, class_weight=weights, rows=rows, verbose=0)
    assert [history.history for history in histories] == expected
    assert_same(alone, together)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
def test_validation_of_all(table, reduction):
    x, y = table
    weights = np.random.default_rng(0).random(20)
    alone, together = members(), members()
    for model in (*alone, *together):
        model.compile("adam", fastnn.losses.BinaryCrossentropy(reduction=reduction), metrics=["accuracy"])
    given = {"epochs": 4, "batch_size": 8, "validation_data": (x[40:], y[40:], weights), "validation_freq": 2}
    expected = [model.fit(x[:40], y[:40], verbose=0, **given).history for model in alone]
    histories = fastnn.Ensemble(together).fit(x[:40], y[:40], verbose=0, **given)
    assert [history.history for history in histories] == expected
    assert len(histories[0].history["val_loss"]) == 2
    assert_same(alone, together)


@pytest.mark.parametrize("watch", [EarlyStopping, ReduceLROnPlateau])
def test_callbacks_of_its_own(table, watch):
    x, y = table
    rows = folds(None)
    held = [np.setdiff1d(np.arange(ROWS), r) for r in rows]
    chosen = {EarlyStopping: {"restore_best_weights": True}, ReduceLROnPlateau: {"factor": 0.3}}[watch]
    alone, together, copied = members(rate=0.1), members(rate=0.1), members(rate=0.1)
    single = [watch(patience=1, **chosen) for _ in alone]
    expected = []
    for model, callback, r, v in zip(alone, single, rows, held, strict=True):
        fitted = model.fit(x[r], y[r], epochs=12, validation_data=(x[v], y[v]), callbacks=callback, verbose=0)
        expected.append(fitted.history)
    lists = [[watch(patience=1, **chosen)] for _ in together]
    given = {"epochs": 12, "rows": rows, "validation_rows": held, "verbose": 0}
    histories = fastnn.Ensemble(together).fit(x, y, callbacks=lists, **given)
    assert [history.history for history in histories] == expected
    assert [one[0].get_state() for one in lists if watch is ReduceLROnPlateau] == [
        one.get_state() for one in single if watch is ReduceLROnPlateau
    ]
    assert_same(alone, together)
    shared = watch(patience=1, **chosen)
    assert [h.history for h in fastnn.Ensemble(copied).fit(x, y, callbacks=shared, **given)] == expected
    assert_same(alone, copied)
    assert not hasattr(shared, "model")
    if watch is EarlyStopping:
        ends = {len(history.epoch) for history in histories}
        assert len(ends) > 1  # members have stopped at different epochs, the others have gone on
        assert [one[0].best_epoch for one in lists] == [one.best_epoch for one in single]


class Stop(Callback):
    """Ends the training after an epoch, and takes note of its hooks."""

    def __init__(self, epoch):
        self.epoch, self.seen = epoch, []

    def on_train_begin(self, logs=None):
        self.seen.append("begin")

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(epoch)
        self.model.stop_training = epoch == self.epoch

    def on_train_end(self, logs=None):
        self.seen.append(f"end {logs['loss']}")


def test_a_member_that_has_stopped_takes_no_more_steps_and_is_told_of_its_end(table):
    x, y = table
    together = members()
    stops = [Stop(k) for k in range(MEMBERS)]
    histories = fastnn.Ensemble(together).fit(x, y, epochs=4, callbacks=[[stop] for stop in stops], verbose=0)
    for k, (stop, history) in enumerate(zip(stops, histories, strict=True)):
        epochs = list(range(min(k + 1, 4)))
        assert stop.seen == ["begin", *epochs, f"end {history.history['loss'][-1]}"]
        assert together[k].optimizer.iterations == 2 * len(epochs)
        assert together[k].history is history


@pytest.mark.thread_unsafe(reason="sends this process a signal")
def test_ctrl_c_leaves_whole_steps_and_the_history_of_whole_epochs(table, ctrl_c, monkeypatch):
    def run_and_be_stopped(tasks):
        threading.Timer(0.05, signal.raise_signal, [ctrl_c]).start()
        run_many(tasks)

    run_many = _members.run_many
    monkeypatch.setattr(_members, "run_many", run_and_be_stopped)
    monkeypatch.setattr(_members, "MOST_EPOCHS", 10**6)  # one call takes seconds: the signal comes within it
    x, y = table
    models = members()
    with pytest.raises(KeyboardInterrupt):
        fastnn.Ensemble(models).fit(x, y, epochs=10**8, batch_size=8, verbose=0)
    for model in models:
        assert model._epochs_done < 10**5  # epochs are too short for a run to ask within one: it is asked between them
        assert len(model.history.epoch) == model._epochs_done
        assert 0 <= model.optimizer.iterations - 8 * model._epochs_done <= 8  # steps of the epoch that was ended


def test_a_line_an_epoch_counts_the_members_that_train(table, capsys):
    x, y = table
    fastnn.Ensemble(members()).fit(x, y, epochs=[1, 2, 3, 3, 1], validation_data=(x, y))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" of ")[1].split(":")[0] for line in lines] == ["5 models", "3 models", "2 models"]
    assert all(line.startswith(f"Epoch {k}/3 - ") and "validation" in line for k, line in enumerate(lines, 1))


def test_a_loss_that_is_not_finite_is_warned_of(table):
    x, y = table
    models = members()
    models[1].compile(fastnn.optimizers.SGD(1e30), "mse")
    models[1].pop()
    models[1].add(layers.Dense(1))
    with pytest.warns(RuntimeWarning, match="not finite from epoch"):
        histories = fastnn.Ensemble(models).fit(x, y, epochs=3, verbose=0)
    assert np.isfinite(histories[0].history["loss"]).all()
    assert not np.isfinite(histories[1].history["loss"][-1])
