"""A training that is resumed from a backup gives the bits of one that was never interrupted."""

import csv
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from trainings import EMA, HELD, Kill, KilledError, X, Y, all_state, network

import fastnn
from fastnn import callbacks, layers, optimizers
from fastnn.optimizers import schedules

pytestmark = pytest.mark.thread_unsafe(reason="models of the same seed: that is the process's")

OPTIMIZERS = {
    name: kind
    for name, kind in vars(optimizers).items()
    if isinstance(kind, type) and issubclass(kind, optimizers.Optimizer) and name not in ("Optimizer", "LBFGS")
}


@pytest.fixture(autouse=True)
def no_wait_for_disks(monkeypatch):
    """Leaves out the wait until files are on the disk, which hundreds of files here do not need."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def whole_and_resumed(tmp_path, make, kill, used=list, data=None, fit=None, backup=None):
    """Return a training that ran through, and one that was killed and went on in a model of another seed."""
    arguments = {"epochs": 6, "verbose": 0} | (fit or {})
    data = data or (lambda: ({"x": X, "y": Y, "batch_size": 4, "validation_data": HELD}))

    def keeper(folder="backup"):
        return callbacks.BackupAndRestore(tmp_path / folder, **(backup or {}))

    whole = make(seed=0)
    expected = whole.fit(**data(), callbacks=[*used(), keeper("whole")], **arguments)
    killed = make(seed=0)
    with pytest.raises(KilledError):
        killed.fit(**data(), callbacks=[keeper(), *used(), kill], **arguments)
    resumed = make(seed=99)
    history = resumed.fit(**data(), callbacks=[keeper(), *used()], **arguments)
    assert history.epoch == expected.epoch[-len(history.epoch) :] or not history.epoch
    for key, values in history.history.items():
        assert values == expected.history[key][-len(values) :]
    assert all_state(resumed) == all_state(whole)
    assert not (tmp_path / "backup").exists()
    return history


OPTIONS = {
    "plain": {},
    "average": EMA,
    "overwritten": EMA | {"ema_overwrite_frequency": 4},
    "accumulated": {"gradient_accumulation_steps": 4},
    "both": EMA | {"gradient_accumulation_steps": 4},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_on_to_the_same_bits(tmp_path, name, options):
    def make(seed):
        return network(OPTIMIZERS[name](**OPTIONS[options]), seed)

    def used():
        return [callbacks.SwapEMAWeights(swap_on_epoch=True)] if "use_ema" in OPTIONS[options] else []

    whole_and_resumed(tmp_path, make, Kill("on_train_batch_end", 14), used, backup={"save_freq": 5})


SCHEDULES = {
    "cosine": lambda: optimizers.SGD(schedules.CosineDecay(0.1, 20), momentum=0.9),
    "exponential": lambda: optimizers.Adam(schedules.ExponentialDecay(0.1, 5, 0.9)),
    "piecewise": lambda: optimizers.SGD(schedules.PiecewiseConstantDecay([7, 15], [0.1, 0.05, 0.01])),
}
CALLBACKS = {
    "early stopping": lambda: [callbacks.EarlyStopping(patience=2, restore_best_weights=True, min_delta=10.0)],
    "plateau": lambda: [callbacks.ReduceLROnPlateau(patience=1, factor=0.5, min_delta=10.0, cooldown=1)],
    "rates": lambda: [callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9)],
    "swap": lambda: [callbacks.SwapEMAWeights()],
    "swap on epoch": lambda: [callbacks.SwapEMAWeights(swap_on_epoch=True)],
}
KILLS = {
    "between epochs": (Kill, ("on_epoch_begin", 3), {}),
    "after an epoch": (Kill, ("on_epoch_end", 3), {}),
    "in a validation": (Kill, ("on_test_begin", 3), {}),
    "in an epoch": (Kill, ("on_train_batch_end", 16), {"save_freq": 5}),
    "at a batch of a backup": (Kill, ("on_train_batch_begin", 16), {"save_freq": 1}),
    "at the last batch of an epoch": (Kill, ("on_test_begin", 3), {"save_freq": 6}),
    "at the end": (Kill, ("on_train_end", 1), {}),
}


@pytest.mark.parametrize("kill", KILLS)
@pytest.mark.parametrize("used", CALLBACKS)
def test_every_callback_goes_on_wherever_it_was_killed(tmp_path, used, kill):
    kind, arguments, backup = KILLS[kill]
    made = CALLBACKS[used]
    whole_and_resumed(
        tmp_path,
        lambda seed: network(optimizers.SGD(0.05, momentum=0.9, **EMA), seed),
        kind(*arguments),
        made,
        backup=backup,
    )


@pytest.mark.parametrize("kill", ["between epochs", "in an epoch"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_goes_on(tmp_path, schedule, kill):
    kind, arguments, backup = KILLS[kill]
    whole_and_resumed(tmp_path, lambda seed: network(SCHEDULES[schedule](), seed), kind(*arguments), backup=backup)


class Indexed:
    """Batches by number, which the source shuffles after each epoch with a seed of its own."""

    def __init__(self):
        self.rng, self.order = np.random.default_rng(1), np.arange(6)

    def __len__(self):
        return 6

    def __getitem__(self, k):
        rows = slice(4 * self.order[k], 4 * self.order[k] + 4)
        return X[rows], Y[rows]

    def on_epoch_end(self):
        self.rng.shuffle(self.order)


class Loader:
    def __iter__(self):
        return ((X[k : k + 4], Y[k : k + 4]) for k in range(0, 22, 4))


def endless():
    rng = np.random.default_rng(2)
    while True:
        rows = rng.integers(0, 22, 4)
        yield X[rows], Y[rows]


SOURCES = {
    "arrays": lambda: {"x": X, "y": Y, "batch_size": 4},
    "arrays in order": lambda: {"x": X, "y": Y, "batch_size": 4, "shuffle": False},
    "weighted": lambda: {"x": X, "y": Y, "batch_size": 4, "sample_weight": np.linspace(0, 1, 22)},
    "indexed": lambda: {"x": Indexed()},
    "loader": lambda: {"x": Loader()},
    "generator": lambda: {"x": endless()},
}


@pytest.mark.parametrize("kill", ["in a validation", "in an epoch", "at the last batch of an epoch", "at the end"])
@pytest.mark.parametrize("steps", [None, 4])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.filterwarnings("ignore:the data ran out")
def test_every_source_of_data_goes_on_with_its_next_batch(tmp_path, source, steps, kill):
    kind, arguments, backup = KILLS[kill]
    if source == "generator":
        steps = steps or 6  # the source has no end

    def data():
        held = endless() if source == "generator" else HELD
        return SOURCES[source]() | {"validation_data": held, "steps_per_epoch": steps, "validation_steps": 2}

    whole_and_resumed(tmp_path, network, kind(*arguments), data=data, backup=backup)


def test_batch_hooks_go_on_in_groups(tmp_path):
    seen = []

    def make(seed):
        return network(seed=seed, steps_per_execution=2)

    def used():
        seen.append([])
        return [callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs, calls=seen[-1]: calls.append(batch))]

    whole_and_resumed(tmp_path, make, Kill("on_train_batch_end", 6), used, backup={"save_freq": 4})
    # the backup was made after the eighth batch
    assert seen == [[1, 3, 5] * 6, [1, 3, 5, 1, 3, 5], [3, 5, *[1, 3, 5] * 4]]


def test_the_best_of_a_checkpoint_and_the_lines_of_a_file_go_on(tmp_path):
    def used(folder):
        best = callbacks.ModelCheckpoint(folder / "best.fastnn", save_best_only=True, monitor="loss", mode="max")
        return [callbacks.CSVLogger(folder / "log.csv"), best]

    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole, killed, resumed = network(), network(), network(seed=9)
    arguments = {"x": X, "y": Y, "epochs": 6, "verbose": 0}
    whole.fit(callbacks=used(tmp_path / "whole"), **arguments)
    # The file is longer than when the backup was made: the line of the epoch that is trained anew is written again.
    with pytest.raises(KilledError):
        killed.fit(
            callbacks=[*used(tmp_path / "parts"), Kill("on_epoch_end", 3), callbacks.BackupAndRestore(tmp_path / "b")],
            **arguments,
        )
    resumed.fit(callbacks=[*used(tmp_path / "parts"), callbacks.BackupAndRestore(tmp_path / "b")], **arguments)
    assert (tmp_path / "parts/log.csv").read_text() == (tmp_path / "whole/log.csv").read_text()
    with (tmp_path / "parts/log.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == list("012345")
    best = [fastnn.load_model(tmp_path / part / "best.fastnn").get_weights() for part in ("whole", "parts")]
    for left, right in zip(*best, strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_training_that_had_stopped_does_not_go_on(tmp_path):
    def used():
        return [callbacks.EarlyStopping("loss", mode="max", patience=0, restore_best_weights=True)]

    history = whole_and_resumed(tmp_path, network, Kill("on_train_end", 1), used)
    assert history.epoch == []


def function_loss(y_true, y_pred):
    error = y_pred - y_true
    return (error**2).mean(axis=1), 2 * error / error.shape[1]


def of_a_function(seed):
    model = network(seed=seed)
    model.compile("adam", function_loss, metrics=[fastnn.metrics.R2Score(class_aggregation=None)])
    return model


def of_float64(seed):
    fastnn.utils.set_random_seed(seed)
    model = fastnn.Sequential([fastnn.Input((3,), dtype="float64"), layers.Dense(4, "relu"), layers.Dense(1)])
    model.compile("rmsprop", "mae")
    return model


def of_heads(seed):
    fastnn.utils.set_random_seed(seed)
    heads = layers.Heads({"a": [layers.Dense(1)], "b": [layers.GaussianNoise(0.1), layers.Dense(2)]})
    model = fastnn.Sequential([layers.Dense(4, "relu", input_shape=(3,)), heads])
    model.compile("adam", "mse", metrics={"b": [fastnn.metrics.F1Score()]})
    return model


def not_built(seed):
    fastnn.utils.set_random_seed(seed)
    model = fastnn.Sequential([layers.Dense(4, "relu"), layers.Dense(1)])
    model.compile("adam", "mse")
    return model


@pytest.mark.parametrize("kill", ["between epochs", "in an epoch"])
@pytest.mark.parametrize("make", [of_a_function, of_float64, of_heads, not_built])
def test_every_kind_of_model_goes_on(tmp_path, make, kill):
    _, (hook, time), backup = KILLS[kill]
    y = {"a": Y, "b": np.hstack([Y > 0, Y < 0]) * 1.0} if make is of_heads else Y

    def data():
        return {"x": X, "y": y, "batch_size": 4, "validation_split": 0.3}

    whole_and_resumed(tmp_path, make, Kill(hook, time), data=data, fit={"validation_freq": 2}, backup=backup)


def test_rows_of_a_file_that_is_mapped_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr("fastnn.data.feeds.PIECE", 200)
    mapped = np.memmap(tmp_path / "x", np.float64, "w+", shape=(22, 3))
    mapped[:] = X
    _, arguments, backup = KILLS["in an epoch"]
    whole_and_resumed(
        tmp_path, network, Kill(*arguments), data=lambda: {"x": mapped, "y": Y, "batch_size": 4}, backup=backup
    )


def test_a_callback_of_ones_own_is_remembered(tmp_path):
    class Counter(callbacks.Callback):
        def __init__(self):
            self.count, self.sums = 0, np.zeros(2, np.float32)

        def on_epoch_end(self, epoch, logs=None):
            self.count += 1
            self.sums += logs["loss"]

        def get_state(self):
            return {"count": self.count, "deep": [{"sums": self.sums}]}

        def set_state(self, state):
            self.count, self.sums = state["count"], state["deep"][0]["sums"]

    made = []

    def used():
        made.append([Counter(), Counter()])
        return made[-1]

    whole_and_resumed(tmp_path, network, Kill("on_epoch_begin", 4), used)
    for whole, resumed in zip(made[0], made[2], strict=True):
        assert resumed.count == whole.count == 6
        np.testing.assert_array_equal(whole.sums, resumed.sums)


def test_a_backup_that_is_used_again_begins_anew(tmp_path):
    keeper = callbacks.BackupAndRestore(tmp_path / "b", save_freq=2)
    network().fit(X, Y, batch_size=4, epochs=3, verbose=0, callbacks=keeper)
    with pytest.raises(KilledError):
        network().fit(X, Y, batch_size=4, epochs=3, verbose=0, callbacks=[keeper, Kill("on_train_batch_end", 4)])
    assert network().fit(X, Y, batch_size=4, epochs=3, verbose=0, callbacks=keeper).epoch == [0, 1, 2]


@pytest.mark.parametrize(
    ("held", "said"), [({1, 2}, "set"), (np.arange(3), "an array of int64"), (np.array([None]), "an array of object")]
)
def test_a_state_that_no_backup_can_hold_is_refused_before_the_first_step(tmp_path, held, said):
    class Odd(callbacks.Callback):
        def get_state(self):
            return {"seen": held}

    model = network()
    model._ready("fit")
    before = all_state(model)
    with pytest.raises(
        TypeError,
        match=f"the state of a callback may hold numbers, strings and arrays of float32 and float64, got {said}",
    ):
        model.fit(X, Y, verbose=0, callbacks=[callbacks.BackupAndRestore(tmp_path / "b"), Odd()])
    assert all_state(model) == before
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        model.fit(X, Y, verbose=0, callbacks=callbacks.BackupAndRestore(tmp_path / "file"))
    assert all_state(model) == before


REUSED = {
    "early stopping": lambda folder: callbacks.EarlyStopping("loss", patience=1, restore_best_weights=True),
    "plateau": lambda folder: callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=1, factor=0.5),
    "rates": lambda folder: callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
    "swap": lambda folder: callbacks.SwapEMAWeights(swap_on_epoch=True),
    "backup": lambda folder: callbacks.BackupAndRestore(folder / "backup", save_freq=4),
    "file": lambda folder: callbacks.CSVLogger(folder / "log.csv"),
    "checkpoints": lambda folder: callbacks.ModelCheckpoint(folder / "{epoch}-{loss:.5f}.fastnn"),
    "nan": lambda folder: callbacks.TerminateOnNaN(),
}


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize("name", REUSED)
def test_a_callback_that_is_used_again_begins_anew(tmp_path, name, interrupted):
    fit = {"x": X, "y": Y, "batch_size": 4, "epochs": 4, "verbose": 0, "validation_data": HELD}

    def trained(callback):
        model = network(optimizers.SGD(0.05, momentum=0.9, **EMA))
        history = model.fit(callbacks=callback, **fit).history
        return history, all_state(model)

    folders = [tmp_path / "fresh", tmp_path / "used"]
    for folder in folders:
        folder.mkdir()
    expected = trained(REUSED[name](folders[0]))
    callback = REUSED[name](folders[1])
    if interrupted:
        with pytest.raises(KilledError):
            network(optimizers.SGD(0.02, **EMA)).fit(callbacks=[callback, Kill("on_test_begin", 3)], **fit)
        for path in folders[1].glob("backup/*"):
            path.unlink()  # another training, which must not go on from this file
    else:
        network(optimizers.SGD(0.02, **EMA)).fit(callbacks=callback, **fit)
    assert trained(callback) == expected
    if name == "file":
        assert (folders[1] / "log.csv").read_text() == (folders[0] / "log.csv").read_text()


@pytest.mark.parametrize("part", ["fastnn", "state"])
@pytest.mark.parametrize("damage", ["cut", "gone", "empty"])
def test_a_backup_that_lacks_a_part_is_no_backup(tmp_path, part, damage):
    keeper = callbacks.BackupAndRestore(tmp_path, double_checkpoint=True, delete_checkpoint=False)
    network().fit(X, Y, epochs=3, verbose=0, callbacks=keeper)
    newest = max(tmp_path.glob(f"*.{part}"))
    newest.write_bytes(b"" if damage == "empty" else newest.read_bytes()[:-9])
    if damage == "gone":
        newest.unlink()
    assert network().fit(X, Y, epochs=3, verbose=0, callbacks=keeper).epoch == [2]


@pytest.mark.parametrize("removed", [1, 2, 3, 4])
def test_a_kill_while_the_files_are_removed_leaves_whole_backups(tmp_path, monkeypatch, removed):
    left, unlink = removed + 4, Path.unlink  # four files are removed before the last one

    def killing(path, missing_ok=False):
        nonlocal left
        if path.name.startswith("backup-"):
            left -= 1
            if left == 0:
                raise KilledError
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", killing)
    keeper = callbacks.BackupAndRestore(tmp_path, double_checkpoint=True)
    with pytest.raises(KilledError):
        network().fit(X, Y, epochs=4, verbose=0, callbacks=keeper)
    assert network().fit(X, Y, epochs=4, verbose=0, callbacks=keeper).epoch in ([], [3], [0, 1, 2, 3])


def test_what_a_kill_has_left_is_removed_by_the_next_backup(tmp_path):
    for name in (".backup-000003-epoch-000003.state.fastnn-0123456789abcdef.tmp", "backup-000003-epoch-000003.state"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / ".kept.tmp").write_bytes(b"another's")
    model = network()
    with pytest.raises(KilledError):
        model.fit(
            X, Y, epochs=3, verbose=0, callbacks=[callbacks.BackupAndRestore(tmp_path), Kill("on_epoch_begin", 3)]
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".kept.tmp",
        "backup-000005-epoch-000002.fastnn",
        "backup-000005-epoch-000002.state",
    ]


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import trainings as t
calls = int(sys.argv[3])
class Die(t.callbacks.Callback):
    left = calls
    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
keeper = t.callbacks.BackupAndRestore(sys.argv[2], save_freq=3)
t.network().fit(t.X, t.Y, batch_size=4, epochs=6, verbose=0, validation_data=t.HELD, callbacks=[Die(), keeper])
"""


@pytest.mark.slow
@pytest.mark.parametrize("calls", [4, 9, 22])
def test_a_killed_process_goes_on_in_another(tmp_path, calls):
    whole, resumed = network(), network(seed=5)
    fit = {"x": X, "y": Y, "batch_size": 4, "epochs": 6, "verbose": 0, "validation_data": HELD}
    whole.fit(**fit)
    arguments = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path / "b"), str(calls)]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    resumed.fit(callbacks=callbacks.BackupAndRestore(tmp_path / "b", save_freq=3), **fit)
    assert all_state(resumed) == all_state(whole)
