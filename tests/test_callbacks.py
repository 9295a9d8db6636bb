"""Callbacks: what each does to a training, with Keras's arguments and meaning."""

import copy
import csv
import pickle
import sys
import types

import numpy as np
import pytest

import fastnn
from fastnn import callbacks, layers

X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
Y = np.arange(20) % 4


def network(seed=0, optimizer="adam", **compile_arguments):
    fastnn.utils.set_random_seed(seed)
    model = fastnn.Sequential(
        [layers.Dense(5, "tanh", input_shape=(3,)), layers.Dropout(0.2), layers.Dense(4, "softmax")]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], **compile_arguments)
    return model


def same(a, b):
    for left, right in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def play(callback, values, key="val_loss", model=None, **params):
    """Show a callback a training of which only one log matters; return the epochs it saw and the model."""
    model = model or network()
    model.stop_training = False
    callback.set_model(model)
    callback.set_params({"epochs": len(values), "steps": 1, "verbose": 0} | params)
    callback.on_train_begin({})
    seen = 0
    for epoch, value in enumerate(values):
        callback.on_epoch_begin(epoch, {})
        model.set_weights([np.full_like(weight, value) for weight in model.get_weights()])
        callback.on_epoch_end(epoch, {key: value})
        seen += 1
        if model.stop_training:
            break
    callback.on_train_end({})
    return seen, model


# ---- EarlyStopping: epochs as keras 3.15 runs them on the same logs ----


@pytest.mark.parametrize(
    ("arguments", "values", "epochs"),
    [
        ({}, [3, 2, 1, 1.5, 0], 4),
        ({"patience": 2}, [3, 2, 2.5, 2.4, 0], 4),
        ({"patience": 2}, [3, 2, 2.5, 1, 1.5, 1.4, 9], 6),
        ({"min_delta": 0.5}, [3, 2.6, 1], 2),
        ({"mode": "max"}, [1, 2, 3, 2, 9], 4),
        ({"baseline": 0.5}, [3, 2, 1], 3),
        ({"patience": 1, "start_from_epoch": 3}, [1, 2, 3, 4, 5, 6], 5),
        ({"patience": 0}, [1, 2], 2),
    ],
)
def test_early_stopping_stops_when_keras_does(arguments, values, epochs):
    seen, _ = play(callbacks.EarlyStopping(**arguments), values)
    assert seen == epochs


def test_early_stopping_restores_the_best_weights():
    callback = callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    seen, model = play(callback, [3, 1, 2, 2, 5])
    assert (seen, callback.best_epoch, callback.stopped_epoch, callback.best) == (4, 1, 3, 1)
    assert all((weight == 1).all() for weight in model.get_weights())
    _, model = play(callbacks.EarlyStopping(patience=9, restore_best_weights=True), [3, 1, 2])
    # the callback restores the best weights also where it did not stop the training
    assert all((weight == 1).all() for weight in model.get_weights())


@pytest.mark.parametrize(("ties", "best", "copies"), [("first", 1, [0, 1]), ("last", 4, [0, 1, 3, 4])])
def test_a_best_epoch_costs_one_copy_of_the_weights(ties, best, copies, monkeypatch):
    callback = callbacks.EarlyStopping(patience=9, restore_best_weights=True, ties=ties)
    model, values, seen = network(), [3.0, 1.0, 2.0, 1.0, 1.0, 4.0], []
    get_weights = model.get_weights

    def counted():
        seen.append(len(model.history.epoch))
        return get_weights()

    def logged(epoch, logs):
        logs["val_loss"] = values[epoch]

    told = callbacks.LambdaCallback(on_epoch_end=logged)
    monkeypatch.setattr(model, "get_weights", counted)
    model.fit(X, Y, epochs=6, verbose=0, validation_data=(X, Y), batch_size=4, callbacks=[told, callback])
    assert (callback.best_epoch, callback.best, seen) == (best, 1.0, copies)
    stopping = callbacks.EarlyStopping(patience=2, ties=ties)
    assert play(stopping, [3, 1, 1, 1, 0])[0] == 4  # patience counts from the first of equal epochs


def test_early_stopping_in_a_fit(capsys):
    model = network(optimizer=fastnn.optimizers.SGD(0.0))
    stopper = callbacks.EarlyStopping("loss", patience=2, verbose=1, min_delta=1e-3)
    history = model.fit(X, Y, epochs=20, verbose=0, shuffle=False, callbacks=[stopper], batch_size=20)
    assert history.epoch[-1] < 19
    assert "early stopping" in capsys.readouterr().out


def test_the_metric_says_whether_more_is_better():
    model = network()
    model._ready("fit")
    callback = callbacks.EarlyStopping("val_accuracy")
    seen, _ = play(callback, [0.1, 0.2, 0.3, 0.2, 0.9], "val_accuracy", model)
    assert seen == 4
    with pytest.raises(ValueError, match="cannot tell whether more or less of 'val_charm' is better"):
        play(callbacks.EarlyStopping("val_charm"), [1.0, 2.0], "val_charm")


def test_a_log_that_is_missing_is_named():
    with pytest.warns(UserWarning, match="watches 'val_loss', which is not in the logs; there are loss"):
        seen, _ = play(callbacks.EarlyStopping(), [1, 2], "loss")
    assert seen == 2


MONITORS = {
    "early stopping": callbacks.EarlyStopping,
    "plateau": callbacks.ReduceLROnPlateau,
    "checkpoint": lambda monitor: callbacks.ModelCheckpoint("kept.fastnn", monitor, save_best_only=True),
    "checkpoint of batches": lambda monitor: callbacks.ModelCheckpoint(
        "kept.fastnn", monitor, save_best_only=True, save_freq=2
    ),
}


@pytest.mark.filterwarnings("error:.*will not be in the logs")
@pytest.mark.parametrize("kind", MONITORS)
def test_a_log_that_will_not_be_there_is_named_before_the_first_step(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for monitor, near in [("val_acc", "did you mean 'val_accuracy'"), ("acc", "did you mean 'accuracy'")]:
        model = network()
        before = model.get_weights()
        near = near if kind != "checkpoint of batches" else "" if monitor == "acc" else "no validation"
        with pytest.raises(UserWarning, match=f"watches '{monitor}', which will not be in the logs; .*{near}"):
            model.fit(X, Y, verbose=0, validation_data=(X, Y), callbacks=MONITORS[kind](monitor))
        for ours, was in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(ours, was)
    with pytest.raises(UserWarning, match=r"watches 'val_loss', .*; no validation comes before"):
        network().fit(X, Y, verbose=0, callbacks=MONITORS[kind]("val_loss"))


@pytest.mark.parametrize("kind", MONITORS)
def test_a_metric_without_a_direction_is_refused_before_the_first_step(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = network()
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[fastnn.metrics.FunctionMetric(charm)])
    before = model.get_weights()
    with pytest.raises(ValueError, match="cannot tell whether more or less of 'charm' is better"):
        model.fit(X, Y, verbose=0, callbacks=MONITORS[kind]("charm"))
    np.testing.assert_array_equal(model.get_weights()[0], before[0])


def charm(y_true, y_pred):
    return y_pred.max(axis=1)


@pytest.mark.parametrize(
    ("path", "error", "says"),
    [
        ("{val_acc:.2f}", KeyError, "did you mean 'val_accuracy'"),
        ("{lr}", KeyError, "known are"),
        ("{}", ValueError, "must hold names of logs in braces"),
        ("{epoch", ValueError, "must hold names of logs in braces"),
        ("{val_loss:d}", ValueError, "must hold names of logs in braces"),
        ("{batch}", KeyError, "not in the logs"),
    ],
)
def test_a_path_that_cannot_be_made_is_refused_before_the_first_step(path, error, says, tmp_path):
    model = network()
    before = model.get_weights()
    with pytest.raises(error, match=says):
        model.fit(
            X, Y, verbose=0, validation_data=(X, Y), callbacks=callbacks.ModelCheckpoint(tmp_path / f"{path}.fastnn")
        )
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    assert not list(tmp_path.iterdir())


def test_a_log_that_is_missing_is_named_once_a_fit():
    stopper, model = callbacks.EarlyStopping("val_acc"), network()
    for others, says in [([], "will not be in the logs"), ([Adding()], "is not in the logs; there are")]:
        with pytest.warns(UserWarning, match=says) as caught:
            model.fit(X, Y, verbose=0, callbacks=[stopper, *others])
        assert len(caught) == 1


class Adding(callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs["charm"] = 0.5 - epoch


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "adding", [Adding, lambda: callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(charm=0.5))]
)
def test_a_log_that_another_callback_adds_may_be_watched(adding, tmp_path):
    keeper = callbacks.ModelCheckpoint(tmp_path / "{charm}.fastnn", "charm", save_best_only=True, mode="min")
    network().fit(X, Y, verbose=0, callbacks=[adding(), keeper])
    assert (tmp_path / "0.5.fastnn").exists()
    scheduler = callbacks.LearningRateScheduler(lambda epoch, rate: 0.25)
    keeper = callbacks.ModelCheckpoint(tmp_path / "{learning_rate}.fastnn")
    network().fit(X, Y, verbose=0, callbacks=[scheduler, keeper])
    assert (tmp_path / "0.25.fastnn").exists()


# ---- learning rates ----


@pytest.mark.parametrize(
    ("arguments", "values", "rates"),
    [
        ({"patience": 1, "factor": 0.5}, [3, 3, 3, 3], [1, 0.5, 0.25, 0.125]),
        ({"patience": 2, "factor": 0.5}, [3, 3, 3, 3, 3], [1, 1, 0.5, 0.5, 0.25]),
        ({"patience": 1, "factor": 0.5, "cooldown": 2}, [3, 3, 3, 3, 3, 3], [1, 0.5, 0.5, 0.25, 0.25, 0.125]),
        ({"patience": 1, "factor": 0.5, "min_lr": 0.4}, [3, 3, 3, 3], [1, 0.5, 0.4, 0.4]),
        ({"patience": 1, "factor": 0.5, "min_delta": 0.1}, [3, 2.95, 1], [1, 0.5, 0.5]),
    ],
)
def test_reduce_lr_on_plateau_reduces_when_keras_does(arguments, values, rates):
    model = network(optimizer=fastnn.optimizers.SGD(1.0))
    callback = callbacks.ReduceLROnPlateau(**arguments)
    callback.set_model(model)
    callback.on_train_begin({})
    seen = []
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {"val_loss": value})
        seen.append(model.optimizer.learning_rate)
    assert seen == pytest.approx(rates)


def test_learning_rates_are_set_and_logged():
    model = network(optimizer=fastnn.optimizers.SGD(1.0))
    history = model.fit(
        X, Y, epochs=3, verbose=0, callbacks=callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5)
    )
    assert history.history["learning_rate"] == [0.5, 0.25, 0.125]
    by_epoch = callbacks.LearningRateScheduler(lambda epoch: 1 / (1 + epoch))  # the old form of Keras's schedules
    assert model.fit(X, Y, epochs=2, verbose=0, callbacks=by_epoch).history["learning_rate"] == [1.0, 0.5]

    def broken(epoch, rate):
        raise TypeError("from within")

    with pytest.raises(TypeError, match="from within"):
        model.fit(X, Y, verbose=0, callbacks=callbacks.LearningRateScheduler(broken))
    with pytest.raises(ValueError, match="schedule must return a finite float for epoch 0, got 'fast'"):
        model.fit(X, Y, verbose=0, callbacks=callbacks.LearningRateScheduler(lambda epoch, rate: "fast"))
    with pytest.raises(TypeError, match="schedule must be a function"):
        callbacks.LearningRateScheduler(0.1)


# ---- files ----


def test_checkpoints_are_named_by_their_logs_and_load(tmp_path):
    model = network()
    keeper = callbacks.ModelCheckpoint(tmp_path / "kept" / "{epoch:02d}-{val_loss:.3f}.fastnn")
    history = model.fit(X, Y, epochs=2, validation_data=(X, Y), verbose=0, callbacks=keeper).history
    names = [f"{k + 1:02d}-{loss:.3f}.fastnn" for k, loss in enumerate(history["val_loss"])]
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == names
    again = fastnn.load_model(tmp_path / "kept" / names[1])
    same(model, again)
    model.fit(X, Y, verbose=0)
    again.fit(X, Y, verbose=0)
    same(model, again)
    with pytest.raises(KeyError, match="names 'charm', which is not in the logs; known are accuracy, epoch, loss"):
        model.fit(X, Y, verbose=0, callbacks=callbacks.ModelCheckpoint(tmp_path / "{charm}.fastnn"))


def test_the_best_checkpoint_is_kept(tmp_path):
    path = tmp_path / "best.fastnn"
    play(callbacks.ModelCheckpoint(path, save_best_only=True), [3, 1, 2])
    assert (fastnn.load_model(path).get_weights()[0] == 1).all()
    play(callbacks.ModelCheckpoint(path, save_best_only=True, initial_value_threshold=0.5), [3, 2])
    assert (fastnn.load_model(path).get_weights()[0] == 1).all()
    play(callbacks.ModelCheckpoint(path, save_best_only=True, save_weights_only=True, mode="max"), [3, 2])
    assert (fastnn.load_model(path).get_weights()[0] == 3).all()
    assert fastnn.load_model(path).optimizer is None


def test_checkpoints_by_batches(tmp_path):
    keeper = callbacks.ModelCheckpoint(str(tmp_path / "{epoch}-{batch}.fastnn"), save_freq=3)
    network().fit(X, Y, epochs=2, batch_size=4, verbose=0, callbacks=keeper)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1-3.fastnn", "2-1.fastnn", "2-4.fastnn"]


class KilledError(Exception):
    pass


@pytest.mark.parametrize("arguments", [{}, {"double_checkpoint": True}, {"save_freq": 5}])
@pytest.mark.parametrize("optimizer", ["adam", fastnn.optimizers.Nadam])
def test_a_training_that_was_killed_goes_on_to_the_same_bits(tmp_path, arguments, optimizer):
    def made(seed):
        return network(seed, optimizer if isinstance(optimizer, str) else optimizer())

    def kill(epoch, logs):
        if epoch == 3:
            raise KilledError

    whole = made(0)
    whole.fit(X, Y, epochs=6, batch_size=4, verbose=0)
    killed = made(0)
    with pytest.raises(KilledError):
        killed.fit(
            X,
            Y,
            epochs=6,
            batch_size=4,
            verbose=0,
            callbacks=[
                callbacks.BackupAndRestore(tmp_path / "b", **arguments),
                callbacks.LambdaCallback(on_epoch_begin=kill),
            ],
        )
    assert len(list((tmp_path / "b").glob("*.fastnn"))) == (2 if "double_checkpoint" in arguments else 1)
    resumed = made(seed=99)  # another process would not know the seed either
    history = resumed.fit(
        X, Y, epochs=6, batch_size=4, verbose=0, callbacks=callbacks.BackupAndRestore(tmp_path / "b", **arguments)
    )
    assert history.epoch == [3, 4, 5]
    same(whole, resumed)
    assert not (tmp_path / "b").exists()


def test_a_damaged_backup_falls_back_or_raises(tmp_path):
    def train(epochs, **arguments):
        model = network()
        history = model.fit(
            X,
            Y,
            epochs=epochs,
            verbose=0,
            callbacks=callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False, **arguments),
        )
        return history.epoch

    assert train(3, double_checkpoint=True) == [0, 1, 2]
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-9])
    assert train(3, double_checkpoint=True) == [2]
    for path in tmp_path.iterdir():
        path.write_bytes(b"no model")
    with pytest.raises(fastnn.ModelFileError):
        train(3)
    (tmp_path / "another.txt").write_text("kept")
    for path in tmp_path.glob("backup-*"):
        path.unlink()
    network().fit(X, Y, verbose=0, callbacks=callbacks.BackupAndRestore(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["another.txt"]  # cleaning up removed only fastnn's files


def test_a_backup_of_another_model_is_refused(tmp_path):
    network().fit(X, Y, verbose=0, callbacks=callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False))
    other = fastnn.Sequential([layers.Dense(4, "softmax", input_shape=(3,))])
    other.compile("adam", "sparse_categorical_crossentropy")
    before = other.get_weights()
    with pytest.raises(fastnn.ModelFileError, match="holds a model of other layers than this one"):
        other.fit(X, Y, verbose=0, callbacks=callbacks.BackupAndRestore(tmp_path))
    np.testing.assert_array_equal(before[0], other.get_weights()[0])
    with pytest.raises(fastnn.ModelFileError, match="trained by another optimizer than SGD"):
        network(optimizer="sgd").fit(X, Y, verbose=0, callbacks=callbacks.BackupAndRestore(tmp_path))


@pytest.mark.parametrize("append", [False, True])
def test_a_csv_file_has_a_line_an_epoch(tmp_path, append):
    path = tmp_path / "log.csv"
    for _ in range(2):
        history = network().fit(
            X, Y, epochs=2, verbose=0, callbacks=callbacks.CSVLogger(path, separator=";", append=append)
        )
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    assert len(rows) == (4 if append else 2)
    assert list(rows[0]) == ["epoch", "accuracy", "loss", "val_accuracy", "val_loss"]  # Keras's columns
    assert [float(row["loss"]) for row in rows[-2:]] == history.history["loss"]
    assert rows[0]["val_loss"] == "NA"


# ---- other callbacks ----


def test_terminate_on_nan_ends_at_the_batch(capsys):
    model = fastnn.Sequential([layers.Dense(1, input_shape=(3,))])
    model.compile(fastnn.optimizers.SGD(1e30), "mse")
    with pytest.warns(RuntimeWarning, match="the loss is not finite from epoch 1, step 3 on"):
        history = model.fit(X, Y, batch_size=4, epochs=9, verbose=0, callbacks=callbacks.TerminateOnNaN())
    assert len(history.epoch) == 1
    assert model._engine.iterations < 5
    assert "Invalid loss, terminating training" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="training ends here"):
        model.fit(X, Y, batch_size=4, verbose=0, callbacks=callbacks.TerminateOnNaN(raise_error=True))


def test_the_average_is_in_the_model_where_it_is_evaluated():
    def made():
        return network(optimizer=fastnn.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9))

    plain, swapped = made(), made()
    plain.fit(X, Y, epochs=3, verbose=0)
    history = swapped.fit(
        X, Y, epochs=3, verbose=0, validation_data=(X, Y), callbacks=callbacks.SwapEMAWeights()
    ).history
    same(plain, swapped)  # with and without the callback, the end of fit puts the average in
    assert history["val_loss"][-1] == pytest.approx(plain.evaluate(X, Y, verbose=0)[0])
    for stop in (99, 1):
        seen, model = [], made()
        hook = callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs, model=model, seen=seen, stop=stop: (
                seen.append(model.get_weights()),
                setattr(model, "stop_training", epoch == stop),
            )
        )
        model.fit(X, Y, epochs=3, verbose=0, callbacks=[callbacks.SwapEMAWeights(swap_on_epoch=True), hook])
        for a, b in zip(seen[-1], model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        if stop == 99:
            same(plain, model)
    with pytest.raises(ValueError, match="SwapEMAWeights needs an optimizer made with use_ema=True"):
        network().fit(X, Y, verbose=0, callbacks=callbacks.SwapEMAWeights())


def test_hooks_of_evaluate_and_predict():
    seen = []
    names = ("on_test_begin", "on_test_end", "on_predict_begin", "on_predict_end")
    hook = callbacks.LambdaCallback(**{name: lambda logs, name=name: seen.append(name) for name in names})
    model = network()
    model.fit(X, Y, verbose=0, validation_split=0.5, callbacks=hook)
    model.evaluate(X, Y, verbose=0, callbacks=hook)
    model.predict(X, callbacks=hook)
    assert seen == ["on_test_begin", "on_test_end"] * 2 + ["on_predict_begin", "on_predict_end"]


def test_a_history_of_ones_own_is_the_history():
    own = callbacks.History()
    model = network()
    assert model.fit(X, Y, epochs=2, verbose=0, callbacks=[own]) is own
    assert model.history is own
    assert own.epoch == [0, 1]


def fake_module(monkeypatch, name, **members):
    module = types.ModuleType(name)
    module.__dict__.update(members)
    module.__spec__ = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, name, module)
    return module


def test_tensorboard_gets_keras_names(tmp_path, monkeypatch):
    written = []

    class Writer:
        def __init__(self, folder, filename_suffix):
            self.folder = folder.rsplit("/", 1)[-1]

        def add_scalar(self, name, value, step):
            written.append((self.folder, name, step))

        def add_histogram(self, name, values, step):
            written.append((self.folder, name, step))

        def close(self):
            written.append((self.folder, "closed", -1))

    fake_module(monkeypatch, "tensorboardX", SummaryWriter=Writer)
    board = callbacks.TensorBoard(tmp_path, histogram_freq=1, update_freq=2, write_steps_per_second=True)
    network().fit(X, Y, batch_size=8, verbose=0, validation_data=(X, Y), callbacks=board)
    assert ("train", "epoch_loss", 0) in written
    assert ("train", "epoch_learning_rate", 0) in written
    assert ("train", "epoch_steps_per_second", 0) in written
    assert ("validation", "epoch_accuracy", 0) in written
    assert [entry for entry in written if entry[1] == "batch_loss"] == [("train", "batch_loss", 1)]
    assert ("train", "dense/kernel/histogram", 0) in written
    assert {entry[0] for entry in written if entry[1] == "closed"} == {"train", "validation"}


def test_mlflow_gets_parameters_and_logs(monkeypatch):
    calls = []
    fake_module(
        monkeypatch,
        "mlflow",
        active_run=lambda: None,
        start_run=lambda: calls.append("start"),
        end_run=lambda status="FINISHED": calls.append(status),
        log_params=lambda values: calls.append(values),
        log_metrics=lambda values, step: calls.append((sorted(values), step)),
        log_artifact=lambda path: calls.append(path.rsplit("/", 1)[-1]),
    )
    network().fit(X, Y, epochs=2, verbose=0, callbacks=callbacks.MLflowLogger(log_model=True))
    assert calls[0] == "start"
    assert calls[1]["optimizer"] == "Adam"
    assert calls[1]["epochs"] == 2
    assert calls[2:] == [(["accuracy", "loss"], 0), (["accuracy", "loss"], 1), "model.fastnn", "FINISHED"]
    calls.clear()
    stop = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        network().fit(X, Y, verbose=0, callbacks=[callbacks.MLflowLogger(), stop])
    assert calls[-1] == "FAILED"


@pytest.mark.parametrize(("name", "module"), [("TensorBoard", "tensorboardX"), ("MLflowLogger", "mlflow")])
def test_an_extra_that_is_missing_is_named(name, module, monkeypatch):
    for absent in (module, "torch"):
        monkeypatch.setitem(sys.modules, absent, None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'fastnn-cpu\[(tensorboard|mlflow)\]'"):
        getattr(callbacks, name)()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: callbacks.EarlyStopping(mode="least"), "mode must be 'auto', 'min' or 'max', got 'least'"),
        (lambda: callbacks.EarlyStopping(patience=-1), "patience must be at least 0"),
        (lambda: callbacks.EarlyStopping(ties="later"), "ties must be 'first' or 'last', got 'later'"),
        (lambda: callbacks.EarlyStopping(restore_best_weights=1), "restore_best_weights must be True or False, got 1"),
        (lambda: callbacks.CSVLogger("x", append="no"), "append must be True or False, got 'no'"),
        (lambda: callbacks.EarlyStopping(monitor=3), "monitor must be the name of a log, got int"),
        (lambda: callbacks.ReduceLROnPlateau(factor=1.0), "factor must lie between 0 and 1, got 1.0"),
        (lambda: callbacks.ModelCheckpoint("x", save_freq="batch"), "save_freq must be 'epoch' or a number of batches"),
        (lambda: callbacks.BackupAndRestore(""), "backup_dir must be the path of a folder"),
        (lambda: callbacks.CSVLogger("x", separator=", "), "separator must be one character"),
        (lambda: callbacks.TensorBoard("x", update_freq="step"), "update_freq must be 'epoch', 'batch' or a number"),
        (lambda: callbacks.LambdaCallback(on_epoch_ends=print), "did you mean 'on_epoch_end'"),
        (lambda: callbacks.LambdaCallback(on_epoch_end=3), "on_epoch_end must be a function, got int"),
    ],
)
def test_bad_arguments_get_a_sentence(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


# ---- copies of models, and their weights in files ----


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_trains_on_to_the_same_bits(copied):
    model = network(steps_per_execution=3)
    model.fit(X, Y, epochs=2, verbose=0)
    other = copied(model)
    same(model, other)
    model.fit(X, Y, epochs=2, verbose=0)
    other.fit(X, Y, epochs=2, verbose=0)
    same(model, other)
    assert other.get_compile_config() == model.get_compile_config()
    assert not copied(fastnn.Sequential([layers.Dense(2)])).built


def test_weights_in_files(tmp_path):
    model, other = network(0), network(1)
    model.fit(X, Y, verbose=0)
    for save in (model.save, model.save_weights):
        save(tmp_path / "w.fastnn")
        other.reset()
        other.load_weights(tmp_path / "w.fastnn")
        same(model, other)
    assert (tmp_path / "w.fastnn").stat().st_size < 3000 + 4 * model.count_params()
    small = fastnn.Sequential([layers.Dense(4, input_shape=(3,))])
    before = small.get_weights()
    with pytest.raises(fastnn.ModelFileError, match="does not hold the arrays of this model: 'dense_1/bias'"):
        small.load_weights(tmp_path / "w.fastnn")
    np.testing.assert_array_equal(before[0], small.get_weights()[0])


def test_reset_starts_over():
    fastnn.utils.set_random_seed(5)
    model = network(0, fastnn.optimizers.Adam(0.01))
    model.fit(X, Y, epochs=2, verbose=0)
    trained = model.get_weights()
    model.reset()
    assert model._engine.iterations == 0
    assert (trained[0] != model.get_weights()[0]).all()
    model.fit(X, Y, verbose=0)
    assert model.optimizer.learning_rate == 0.01


def test_callbacks_sent_to_another_process_are_those_of_a_process_alone():
    sent = pickle.loads(pickle.dumps(callbacks.CallbackList(callbacks.History())))
    assert sent.ranks is callbacks.CallbackList(None).ranks
