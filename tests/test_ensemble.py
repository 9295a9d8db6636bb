"""Members of an ensemble train as they would alone."""

import signal
import threading
import time

import numpy as np
import pytest

import fastnn
from fastnn import _engine, layers
from fastnn.callbacks import BackupAndRestore, CSVLogger, History

SHARED = History()


class Locked(fastnn.callbacks.Callback):
    """Has what cannot be copied."""

    def __init__(self):
        self.lock = threading.Lock()


def members(count=5, seed=3):
    fastnn.utils.set_random_seed(seed)
    models = []
    for k in range(count):
        stack = [layers.Dense(4 + k, "relu"), layers.Dense(1, "sigmoid")]
        models.append(fastnn.Sequential([fastnn.Input((6,)), *stack]))
        models[-1].compile(
            fastnn.optimizers.Adam(1e-3 * (k + 1)), "binary_crossentropy" if k % 2 else "mse", metrics=["mae"]
        )
    return models


def table(rows=203):
    x = np.random.default_rng(0).normal(size=(rows, 6)).astype("float32")
    return x, (x.sum(axis=1, keepdims=True) > 0).astype("float32")


@pytest.mark.thread_unsafe(reason="seeds and threads are the process's")
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_to_the_same_bits_as_alone(threads):
    x, y = table()
    alone, together = members(), members()
    expected = [model.fit(x, y, batch_size=16, epochs=3, verbose=0).history for model in alone]
    with fastnn.num_threads(threads):
        histories = fastnn.Ensemble(together).fit(x, y, batch_size=16, epochs=3, verbose=0)
    assert [history.history for history in histories] == expected
    for model, other in zip(alone, together, strict=True):
        for view, twin in zip(model.weights, other.weights, strict=True):
            np.testing.assert_array_equal(view, twin)
        assert model._engine.iterations == other._engine.iterations


@pytest.mark.thread_unsafe(reason="the number of threads is the process's")
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [2, 7])  # few go one after the other on all threads, many side by side
def test_all_answer_to_the_same_bits_as_alone(count, threads):
    x, y = table()
    ensemble = fastnn.Ensemble(members(count))
    weights = np.random.default_rng(0).random(len(x))
    with fastnn.num_threads(threads):
        predicted = ensemble.predict(x)
        evaluated = ensemble.evaluate(x, y, sample_weight=weights)
        of_rows = ensemble.predict(x, rows=[[k, 9, k] for k in range(count)])
        some = ensemble.evaluate(x, y, rows=[range(k, 40 + k) for k in range(count)], return_dict=True)
    assert predicted.shape == (count, 203, 1)
    for k, model in enumerate(ensemble.models):
        np.testing.assert_array_equal(predicted[k], model.predict(x))
        np.testing.assert_array_equal(of_rows[k], model.predict(x[[k, 9, k]]))
        assert evaluated[k] == model.evaluate(x, y, sample_weight=weights, verbose=0)
        assert some[k] == model.evaluate(x[k : 40 + k], y[k : 40 + k], verbose=0, return_dict=True)


def test_losses_that_depend_on_batches_and_functions_are_evaluated_as_alone():
    x, y = table()
    models = members(3)
    models[0].compile("adam", fastnn.losses.BinaryCrossentropy(reduction="sum"))
    models[1].compile("adam", lambda target, output: (((target - output) ** 2)[:, 0], 2 * (output - target)))
    rows = [range(5, 90)] * 3
    evaluated = fastnn.Ensemble(models).evaluate(x, y, rows=rows)
    assert evaluated == [model.evaluate(x[5:90], y[5:90], verbose=0) for model in models]


def several_outputs(count, columns=3):
    models = [fastnn.Sequential([fastnn.Input((6,)), layers.Dense(columns, "softmax")]) for _ in range(count)]
    for k, model in enumerate(models):
        model.set_weights([np.random.default_rng(k).normal(size=w.shape) for w in model.get_weights()])
    return models


def test_what_members_say_together():
    x, _ = table()
    ensemble = fastnn.Ensemble(several_outputs(5))  # they need not be compiled
    outputs = ensemble.predict(x)
    mean, spread, vote = (ensemble.predict(x, reduce=reduce) for reduce in ("mean", "std", "vote"))
    np.testing.assert_allclose(mean, outputs.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(spread, outputs.std(axis=0), rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(vote[4], np.bincount(outputs[:, 4].argmax(axis=1), minlength=3).astype("f4") / 5)
    assert mean.dtype == spread.dtype == vote.dtype == "float32"


def test_members_with_one_output_vote_for_it_above_a_half():
    ensemble = fastnn.Ensemble(members(5))
    x, _ = table()
    np.testing.assert_array_equal(
        ensemble.predict(x, reduce="vote"), (ensemble.predict(x) > 0.5).mean(axis=0).astype("f4")
    )


def test_members_with_heads_answer_by_name():
    models = [
        fastnn.Sequential(
            [fastnn.Input((6,)), layers.Heads({"kind": [layers.Dense(3, "softmax")], "size": [layers.Dense(1)]})]
        )
        for _ in range(4)
    ]
    x, _ = table()
    ensemble = fastnn.Ensemble(models)
    outputs, mean = ensemble.predict(x), ensemble.predict(x, reduce="mean")
    assert outputs["kind"].shape == (4, 203, 3)
    assert mean["size"].shape == (203, 1)
    np.testing.assert_array_equal(outputs["size"][2], models[2].predict(x)["size"])
    np.testing.assert_array_equal(ensemble.predict(x, rows=[[7]] * 4)[1]["kind"], models[1].predict(x[7:8])["kind"])


def test_members_share_one_conversion_of_the_data():
    x, y = table()
    models = members(3)
    for _ in range(2):
        models.append(fastnn.Sequential([layers.Dense(1)]))  # not built yet
        models[-1].compile("adam", "mse")
    weights = np.ones(len(x))
    first, *others = fastnn.Ensemble(models)._samples("fit", x.astype("f8"), y, weights, check_finite=True)
    for k, samples in enumerate(others, 1):
        assert samples.x is first.x
        if k % 2 == 0:  # with the same loss
            assert samples.y is first.y
            assert samples.weights is first.weights


def test_members_with_vocabularies_of_their_own_read_x_each_in_its_way():
    words = np.array([["red"], ["green"], ["blue"]])
    models = []
    for vocabulary in (["red", "green", "blue"], ["blue", "red", "green"]):
        lookup = layers.StringLookup(vocabulary=vocabulary, output_mode="one_hot")
        models.append(fastnn.Sequential([lookup, layers.Dense(1, kernel_initializer="ones")]))
        models[-1].compile("sgd", "mse")
        models[-1].fit(words, np.zeros((3, 1)), epochs=0, verbose=0)
        models[-1].set_weights([np.arange(4.0)[:, None], np.zeros(1)])
    assert fastnn.Ensemble(models).predict(words)[:, :, 0].tolist() == [[1, 2, 3], [2, 3, 1]]
    alone = [model.evaluate(words, [[0.0], [1.0], [2.0]], verbose=0) for model in models]
    assert fastnn.Ensemble(models).evaluate(words, [[0.0], [1.0], [2.0]]) == alone


def test_bad_arguments_change_nothing():
    x, y = table()
    with pytest.raises(ValueError, match="at least one model"):
        fastnn.Ensemble([])
    with pytest.raises(TypeError, match="Sequential models, got str"):
        fastnn.Ensemble(["adam"])
    model = members(1)[0]
    with pytest.raises(ValueError, match="different objects"):
        fastnn.Ensemble([model, model])
    unbuilt = fastnn.Sequential([layers.Dense(1)])
    unbuilt.compile("adam", "mse")
    with pytest.raises(ValueError, match="finite"):
        fastnn.Ensemble([unbuilt, model]).fit(np.full_like(x, np.nan), y, verbose=0)
    assert not unbuilt.built
    with pytest.raises(RuntimeError, match="compiled model"):
        fastnn.Ensemble([model, fastnn.Sequential([layers.Dense(1, input_shape=(6,))])]).fit(x, y, verbose=0)


class Batches(fastnn.callbacks.Callback):
    """Has a hook for batches."""

    def on_train_batch_end(self, batch, logs=None):
        """Do nothing."""


BAD = {
    "sets missing": ({"rows": [[0]] * 2}, ValueError, "rows must hold the rows of each of the 3 members, got 2 sets"),
    "no sets": ({"rows": 3}, TypeError, "rows must be a sequence with the rows of each member, got int"),
    "empty": ({"rows": [[0], [], [0]]}, ValueError, r"rows\[1\] must hold at least one row, in one axis, got shape"),
    "no bool": ({"rows": [[0], [0], np.zeros(203, bool)]}, ValueError, "all of its bools are False"),
    "bools": ({"rows": [[True]] * 3}, ValueError, r"rows\[0\] must hold a bool for each of the 203 rows of x, got 1"),
    "negative": ({"rows": [[0], [3, -1], [0]]}, IndexError, r"rows\[1\] must hold rows from 0 to 202, got -1"),
    "too large": ({"rows": [[0], [203], [0]]}, IndexError, r"rows\[1\] must hold rows from 0 to 202, got 203"),
    "floats": ({"rows": [[0.0]] * 3}, TypeError, r"rows\[0\] must hold numbers of rows, or a bool for each row, got f"),
    "held": ({"validation_rows": [[0], None, [0]]}, ValueError, r"validation_rows\[1\] must hold at least one row"),
    "held twice": ({"validation_rows": [[0]] * 3, "validation_data": ([], [])}, ValueError, "must not be given both"),
    "held batches": ({"validation_data": iter([])}, ValueError, r"must be \(x, y\) or \(x, y, sample_weight\)"),
    "held shape": ({"validation_data": ([[1.0]], [[1.0]])}, ValueError, "validation_data's x must have 6 features"),
    "batch sizes": ({"batch_size": [1, 2]}, ValueError, "batch_size must be one number or a number for each of the 3"),
    "batch size": ({"batch_size": [1, 0, 2]}, ValueError, r"batch_size\[1\] must be at least 1, got 0"),
    "epochs": ({"epochs": [1, 2.0, 3]}, TypeError, r"epochs\[1\] must be an integer, got float"),
    "weights": ({"sample_weight": [np.ones(203)] * 2}, ValueError, "sample_weight must be one for all or one for each"),
    "weight": ({"sample_weight": np.ones(3)}, ValueError, r"one number a row, shape \(203,\), got \(3,\)"),
    "class": ({"class_weight": [None, "even", None]}, TypeError, "or 'balanced', got 'even'"),
    "hook": ({"callbacks": Batches()}, ValueError, "Batches has a hook for batches, and an ensemble trains whole"),
    "no hook": ({"callbacks": [3]}, TypeError, "callbacks must hold fastnn callbacks, got int"),
    "lists": ({"callbacks": [[], []]}, ValueError, "or one list of callbacks for each of the 3 members"),
    "mixed": ({"callbacks": [[], [], History()]}, ValueError, "or one list of callbacks for each of the 3 members"),
    "twice": ({"callbacks": [[SHARED], [], [SHARED]]}, ValueError, "different objects for different members"),
    "one file": ({"callbacks": CSVLogger("log.csv")}, ValueError, "CSVLogger would write what all members do to one"),
    "copies": ({"callbacks": Locked()}, TypeError, "Locked cannot be copied for each member"),
    "backup": ({"callbacks": [[BackupAndRestore("b")], [], []]}, ValueError, "cannot let an ensemble go on"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_call_that_fails_leaves_all_members_as_they_were(name):
    given, error, sentence = BAD[name]
    x, y = table()
    unbuilt = fastnn.Sequential([layers.Dense(1)])
    unbuilt.compile("adam", "mse")
    models = [*members(2), unbuilt]
    models[0].fit(x, y, verbose=0)
    before = [(model.history, model._progress, model.built and model.get_weights()) for model in models]
    with pytest.raises(error, match=sentence):
        fastnn.Ensemble(models).fit(x, y, verbose=0, **given)
    for model, (history, progress, weights) in zip(models, before, strict=True):
        assert model.history is history
        assert model._progress == progress
        assert model.built == bool(weights)
        for array, kept in zip(weights or [], model.get_weights() if weights else [], strict=True):
            np.testing.assert_array_equal(array, kept)


def test_members_with_other_heads_do_not_answer_together():
    models = several_outputs(1, 4)
    heads = {"a": [layers.Dense(3)], "b": [layers.Dense(1)]}
    models.append(fastnn.Sequential([fastnn.Input((6,)), layers.Heads(heads)]))
    for order in (models, models[::-1]):
        with pytest.raises(ValueError, match="members with the same heads"):
            fastnn.Ensemble(order).predict(table()[0])
        assert len(fastnn.Ensemble(order).predict(table()[0], rows=[[0], [1]])) == 2


def test_lbfgs_is_left_to_a_fit_of_its_own():
    models = members(2)
    models[1].compile(fastnn.optimizers.LBFGS(), "mse")
    with pytest.raises(ValueError, match="LBFGS looks at all rows in every step: train a model with it by its own fit"):
        fastnn.Ensemble(models).fit(*table(), verbose=0)


def test_members_do_not_share_an_optimizer_whose_state_is_of_one_model():
    models = members(3)
    models[2].compile(models[0].optimizer, "mse")
    with pytest.raises(ValueError, match="models 0 and 2 have one Adam object, which can keep the state of one model"):
        fastnn.Ensemble(models).fit(*table(), verbose=0)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda e, x: e.predict(x, reduce="median"), "reduce must be None, 'mean', 'std' or 'vote', got 'median'"),
        (lambda e, x: e.predict(x, "mean", rows=[[0]] * 2), "reduce must be None where rows are given"),
        (lambda e, x: e.predict(x), r"members with the same number of outputs, got \[2, 3\]"),
    ],
)
def test_predictions_that_cannot_be_put_together(call, sentence):
    ensemble = fastnn.Ensemble([*several_outputs(1, 2), *several_outputs(1, 3)])
    with pytest.raises(ValueError, match=sentence):
        call(ensemble, table()[0])


class Recompiler(fastnn.callbacks.Callback):
    """Compiles the model with an optimizer that an ensemble cannot train with."""

    def on_epoch_begin(self, epoch, logs=None):
        """Compile at the start of the second epoch."""
        if epoch == 1:
            self.model.compile(fastnn.optimizers.LBFGS(), "mse")


def test_a_member_that_cannot_go_on_ends_all_with_whole_epochs():
    x, y = table()
    models = members(3)
    with pytest.raises(ValueError, match="LBFGS looks at all rows"):
        fastnn.Ensemble(models).fit(x, y, batch_size=203, epochs=3, callbacks=[[], [Recompiler()], []], verbose=0)
    assert [model._epochs_done for model in models] == [1] * 3
    assert [len(model.history.epoch) for model in models] == [1] * 3
    assert [models[k].optimizer.iterations for k in (0, 2)] == [1] * 2


class Raiser(fastnn.callbacks.Callback):
    """Raises in a hook."""

    def __init__(self, hook):
        setattr(self, hook, self.end)

    def end(self, *arguments):
        raise LookupError("from a hook")


@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_begin", "on_epoch_end", "on_test_begin", "on_train_end"])
def test_an_error_in_a_hook_of_one_member_ends_all_with_whole_epochs(hook):
    x, y = table()
    models = members(3)
    with pytest.raises(LookupError, match="from a hook"):
        fastnn.Ensemble(models).fit(
            x, y, batch_size=203, epochs=2, validation_data=(x, y), callbacks=[[], [Raiser(hook)], []], verbose=0
        )
    steps = {"on_train_begin": 0, "on_epoch_begin": 0, "on_epoch_end": 1, "on_test_begin": 1, "on_train_end": 2}[hook]
    assert [model.optimizer.iterations for model in models] == [steps] * 3
    assert [model._epochs_done for model in models] == [steps] * 3
    assert all(model._run is None for model in models)
    fastnn.Ensemble(models).fit(x, y, verbose=0)


def run_in_threads(*calls):
    """Run the calls at once; all come to their end."""
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_calls_of_many_threads_on_the_same_models_do_not_wait_for_each_other():
    x, y = table(40)
    models = members(4)
    there, back = fastnn.Ensemble(models), fastnn.Ensemble(models[::-1])
    calls = [
        lambda: there.fit(x, y, epochs=20, validation_data=(x, y), verbose=0),
        lambda: back.fit(x, y, epochs=20, verbose=0),
        lambda: [back.predict(x) for _ in range(40)],
        lambda: [there.evaluate(x, y) for _ in range(40)],
    ]
    run_in_threads(*calls)
    assert [model._epochs_done for model in models] == [40] * 4


def test_several_locks_are_held_and_given_back_together():
    locks = [_engine.Lock() for _ in range(3)]
    holding, ended = threading.Event(), threading.Event()

    def hold():
        with _engine.Locks(locks):
            holding.set()
            ended.wait(30)

    def wait():
        holding.wait(30)
        with _engine.Locks(locks[:0:-1]):
            pass

    def end():
        holding.wait(30)
        while not any(lock.waiting for lock in locks):
            time.sleep(0.001)
        ended.set()

    run_in_threads(hold, wait, end)
    with pytest.raises(TypeError, match="Lock"), _engine.Locks([*locks, None]):
        pass
    run_in_threads(wait)  # the locks that had been taken before the error are free


@pytest.mark.parametrize("rows", [0, 1, 2, 5, 1000])
def test_an_order_of_rows_is_fisher_and_yates_with_philox(rows):
    seed, epoch = 2**63 + 11, 7
    words = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(rows).tolist()
    expected = list(range(rows))
    for word, i in zip(words, range(rows - 1, 0, -1), strict=False):
        j = word * (i + 1) >> 64
        expected[i], expected[j] = expected[j], expected[i]
    assert _engine.epoch_order(rows, seed, epoch).tolist() == expected
    assert sorted(expected) == list(range(rows))


def test_any_place_of_an_order_is_as_likely_as_any_other():
    orders = np.stack([_engine.epoch_order(5, 1, epoch) for epoch in range(20_000)])
    for place in range(5):  # 4,000 draws are expected at each place, with a standard deviation of 57
        assert np.abs(np.bincount(orders[:, place], minlength=5) - 4000).max() < 4.5 * 57


@pytest.mark.slow
@pytest.mark.thread_unsafe(reason="sends this process a signal")
# a wide one keeps its thread busy after the calling thread has finished its share
@pytest.mark.parametrize("width", [8, 600])
def test_ctrl_c_ends_it_soon(width, ctrl_c):
    x, y = table(200_000)
    wide = fastnn.Sequential([fastnn.Input((6,)), layers.Dense(width, "relu"), layers.Dense(1, "sigmoid")])
    wide.compile("adam", "mse")
    ensemble = fastnn.Ensemble([*members(7 if width == 8 else 1), wide])
    ensemble.fit(x[:100], y[:100], verbose=0)
    timer = threading.Timer(0.6, signal.raise_signal, [ctrl_c])
    timer.start()
    with fastnn.num_threads(2), pytest.raises(KeyboardInterrupt):
        ensemble.fit(x, y, batch_size=1, epochs=50, verbose=0)  # this would take minutes, if nothing stopped it
    assert wide.optimizer.iterations < 10_000_000
    assert np.isfinite(ensemble.predict(x[:10])).all()
