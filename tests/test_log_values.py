"""Logs that are no ordinary number: NaN, infinity, and arrays of a value for each class; in every callback."""

import csv
import json
import struct
import sys
import types

import numpy as np
import pytest

import fastnn
from fastnn import callbacks, layers

pytestmark = pytest.mark.thread_unsafe(reason="models of the same seed: that is the process's")

NAN, INF = float("nan"), float("inf")
X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)


def network(outputs=1, metrics=None):
    fastnn.utils.set_random_seed(0)
    model = fastnn.Sequential([layers.Dense(outputs, "sigmoid", input_shape=(3,))])
    model.compile(fastnn.optimizers.SGD(0.1), "binary_crossentropy", metrics=metrics)
    return model


# ---- NaN ----


def early_stopping(tmp_path, mode):
    return callbacks.EarlyStopping("score", mode=mode, patience=9, restore_best_weights=True)


def checkpoint(tmp_path, mode):
    return callbacks.ModelCheckpoint(tmp_path / "best.fastnn", "score", mode=mode, save_best_only=True)


def plateau(tmp_path, mode):
    return callbacks.ReduceLROnPlateau("score", mode=mode, patience=9)


COMPARING = [early_stopping, checkpoint, plateau]


def test_every_callback_that_compares_is_among_them(tmp_path):
    kinds = {kind for kind in vars(callbacks).values() if isinstance(kind, type)}
    comparing = {kind for kind in kinds if issubclass(kind, callbacks.monitor.Monitor)}
    assert comparing == {type(make(tmp_path, "min")) for make in COMPARING}


@pytest.mark.parametrize("make", COMPARING)
@pytest.mark.parametrize(
    ("mode", "scores", "best"),
    [
        ("max", [NAN, 0.5, 0.9, 0.7], 0.9),
        ("min", [NAN, 0.5, 0.9, 0.4], 0.4),
        ("max", [0.5, NAN, 0.9, NAN], 0.9),
        ("min", [0.5, NAN, NAN, 0.9], 0.5),
        ("min", [NAN, INF, 3.0], 3.0),
        ("max", [NAN, -INF, -3.0], -3.0),
        ("min", [NAN, NAN], None),
        ("max", [np.array([NAN, 1.0]), np.array([0.5, 0.25])], 0.375),
    ],
)
def test_nan_is_never_better_than_a_number(tmp_path, make, mode, scores, best):
    callback = make(tmp_path, mode)
    feed = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(score=scores[epoch]))
    history = network().fit(X, X[:, :1] > 0, epochs=len(scores), verbose=0, callbacks=[feed, callback])
    assert len(history.epoch) == len(scores)
    assert callback.best == best
    assert (tmp_path / "best.fastnn").exists() == (make is checkpoint and best is not None)


def test_epochs_of_nan_count_as_epochs_without_improvement():
    feed = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(score=NAN))
    stopper = callbacks.EarlyStopping("score", mode="min", patience=3)
    history = network().fit(X, X[:, :1] > 0, epochs=9, verbose=0, callbacks=[feed, stopper])
    assert len(history.epoch) == 3


# ---- a value for each class ----


def written_by_tensorboard(folder):
    """Tag and step of each scalar in the event files of a folder."""
    event = pytest.importorskip("tensorboardX.proto.event_pb2").Event
    found = []
    for path in folder.iterdir():
        raw, at = path.read_bytes(), 0
        while at < len(raw):
            size = struct.unpack("<Q", raw[at : at + 8])[0]
            read = event.FromString(raw[at + 12 : at + 12 + size])
            found += [(value.tag, read.step) for value in read.summary.value]
            at += 16 + size
    return sorted(found)


def targets(classes):
    return (np.arange(60)[:, None] % (np.arange(classes) + 2) == 0) * 1.0


@pytest.mark.parametrize("classes", [1, 4, 30])
def test_every_callback_takes_a_metric_of_classes(tmp_path, monkeypatch, classes):
    mlflow = types.ModuleType("mlflow")
    logged = []
    for name in ("active_run", "start_run", "end_run", "log_params"):
        setattr(mlflow, name, lambda *arguments: None)
    mlflow.log_metrics = lambda values, step: logged.append(values)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    watching = {"monitor": "val_f1_score", "mode": "max"}
    stopper = callbacks.EarlyStopping(patience=5, restore_best_weights=True, **watching)
    used = [
        stopper,
        callbacks.ReduceLROnPlateau(patience=5, **watching),
        callbacks.ModelCheckpoint(tmp_path / "best.fastnn", save_best_only=True, verbose=1, **watching),
        callbacks.ModelCheckpoint(tmp_path / "{epoch}-{val_f1_score:.2f}.fastnn"),
        callbacks.CSVLogger(tmp_path / "log.csv"),
        callbacks.MLflowLogger(),
        callbacks.TerminateOnNaN(),
        callbacks.BackupAndRestore(tmp_path / "backup"),
    ]
    y = targets(classes)
    model = network(classes, [fastnn.metrics.F1Score(threshold=0.5)])
    history = model.fit(X, y, epochs=3, verbose=0, validation_data=(X, y), callbacks=used).history
    assert np.shape(history["val_f1_score"]) == (3, classes)
    assert json.loads(json.dumps(history)) == history
    assert stopper.best == pytest.approx(np.mean(history["val_f1_score"], axis=1).max())
    assert fastnn.load_model(tmp_path / "best.fastnn").count_params() == 4 * classes
    for epoch, value in enumerate(np.mean(history["val_f1_score"], axis=1)):
        assert (tmp_path / f"{epoch + 1}-{value:.2f}.fastnn").exists()
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [json.loads(row["val_f1_score"]) for row in rows] == history["val_f1_score"]
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4
    names = ["f1_score"] if classes == 1 else [f"f1_score_{k}" for k in range(classes)]
    assert set(names) <= set(logged[0])


def test_tensorboard_writes_a_scalar_for_each_class(tmp_path):
    pytest.importorskip("tensorboardX")
    model = network(2, [fastnn.metrics.F1Score()])
    model.fit(X, targets(2), verbose=0, callbacks=callbacks.TensorBoard(tmp_path))
    assert {("epoch_f1_score_0", 0), ("epoch_f1_score_1", 0)} <= set(written_by_tensorboard(tmp_path / "train"))


def test_fits_of_the_same_second_write_tensorboard_files_of_their_own(tmp_path):
    pytest.importorskip("tensorboardX")
    model = network()
    for epoch in range(3):
        board = callbacks.TensorBoard(tmp_path)
        model.fit(X, X[:, :1] > 0, initial_epoch=epoch, epochs=epoch + 1, verbose=0, callbacks=board)
    losses = [step for tag, step in written_by_tensorboard(tmp_path / "train") if tag == "epoch_loss"]
    assert losses == [0, 1, 2]


def test_an_interruption_loses_no_epoch_of_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX")
    model, board = network(), callbacks.TensorBoard(tmp_path, update_freq="batch")

    def interrupt(epoch, logs):
        if epoch == 2:
            raise KeyboardInterrupt

    fit = {"x": X, "y": X[:, :1] > 0, "batch_size": 30, "verbose": 0}
    with pytest.raises(KeyboardInterrupt):
        model.fit(epochs=3, callbacks=[board, callbacks.LambdaCallback(on_epoch_begin=interrupt)], **fit)
    assert ("epoch_loss", 1) in written_by_tensorboard(tmp_path / "train")
    model.fit(callbacks=board, **fit)
    batches = [step for tag, step in written_by_tensorboard(tmp_path / "train") if tag == "batch_loss"]
    assert batches == [0, 0, 1, 1, 2, 3]  # each training counts from 0


def test_tensorboard_takes_lbfgs_which_has_no_learning_rate(tmp_path):
    pytest.importorskip("tensorboardX")
    model = network()
    model.compile(fastnn.optimizers.LBFGS(), "mse")
    model.fit(X, X[:, :1] > 0, verbose=0, callbacks=callbacks.TensorBoard(tmp_path))
    assert [tag for tag, _ in written_by_tensorboard(tmp_path / "train")] == ["epoch_loss"]
