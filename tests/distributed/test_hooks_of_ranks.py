"""Callbacks of ranks that train together, here threads: who is called, what they read, and backups."""

import numpy as np
import pytest
from ranks_of_threads import on_ranks, raised
from trainings import Kill, KilledError, all_state

import fastnn
from fastnn import callbacks, layers, optimizers
from fastnn.distributed import data_parallel

pytestmark = pytest.mark.thread_unsafe(reason="models of the same seed: that is the process's")

RNG = np.random.default_rng(8)
X = RNG.normal(size=(50, 6)).astype(np.float32)
Y = np.tanh(X[:, :2])


def networks(size, optimizer=optimizers.Adam):
    models = []
    for _ in range(size):
        fastnn.utils.set_random_seed(1)
        models.append(fastnn.Sequential([fastnn.Input((6,)), layers.Dense(40, "relu"), layers.Dense(2)]))
        models[-1].compile(optimizer(0.01), "mse")
    return models


def fitted(size, used=lambda rank: None, settings=None, **told):
    """(history, state) of each rank, or what it raised."""
    models = networks(size)

    def run(rank):
        arguments = {"batch_size": 16, "epochs": 3, "verbose": 0, "validation_data": (X, Y)} | told
        history = models[rank].fit(X, Y, callbacks=used(rank), **arguments)
        return history.history, all_state(models[rank])

    return on_ranks(size, run, **{"shards": 12} | (settings or {}))


@pytest.mark.parametrize("hook", ["on_epoch_end", "on_train_batch_end"])
def test_a_rank_that_stops_stops_all(hook):
    def used(rank):
        def stop(number, logs):
            if rank == 1 and number == 1:
                callback.model.stop_training = True

        callback = callbacks.LambdaCallback(**{hook: stop})
        return callback

    found = fitted(3, used, epochs=9)
    assert found[0] == found[1] == found[2]
    assert len(found[0][0]["loss"]) == (2 if hook == "on_epoch_end" else 1)


def test_batch_hooks_on_one_rank_change_nothing():
    plain, seen = fitted(2)[0], []
    found = fitted(
        2, lambda rank: callbacks.LambdaCallback(on_train_batch_end=lambda *a: seen.append(a)) if rank else None
    )
    assert found == [plain, plain]
    assert [batch for batch, _ in seen] == [0, 1, 2, 3] * 3


def test_first_rank_only_calls_hooks_on_rank_0():
    called = []

    class Writer(callbacks.Callback):
        first_rank_only = True

        def __init__(self, rank):
            self.rank = rank

        def on_epoch_end(self, epoch, logs=None):
            self.model.predict(X)  # a call of this rank alone
            called.append((self.rank, epoch))

    assert not raised_any(fitted(3, Writer))
    assert called == [(0, 0), (0, 1), (0, 2)]


def raised_any(found):
    return [one for one in found if isinstance(one, Exception)]


def test_files_are_written_by_rank_0(tmp_path):
    def used(rank):
        folder = tmp_path / str(rank)
        folder.mkdir()
        return [callbacks.ModelCheckpoint(folder / "{epoch}.fastnn"), callbacks.CSVLogger(folder / "log.csv")]

    assert not raised_any(fitted(2, used))
    assert sorted(path.name for path in (tmp_path / "0").iterdir()) == ["1.fastnn", "2.fastnn", "3.fastnn", "log.csv"]
    assert list((tmp_path / "1").iterdir()) == []


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_shares_of_the_optimizer_end_with_the_same_state(tmp_path, ranks):
    """Rank 0 writes the whole state after the first epoch, of which it has updated a part."""
    alone = fitted(1, lambda rank: callbacks.ModelCheckpoint(tmp_path / "alone{epoch}.fastnn"))[0]

    def used(rank):
        return callbacks.ModelCheckpoint(tmp_path / f"ranks{ranks}-{{epoch}}.fastnn")

    found = fitted(ranks, used, {"shard_optimizer": True})
    assert found == [alone] * ranks
    one, other = (fastnn.load_model(tmp_path / name) for name in ("alone1.fastnn", f"ranks{ranks}-1.fastnn"))
    assert all_state(one)[:2] == all_state(other)[:2]


@pytest.mark.parametrize(
    ("told", "sentence"),
    [({"global_clipnorm": 0.1}, "global_clipnorm, Adafactor"), ({"use_ema": True}, "keeps an average of the weights")],
)
def test_shares_are_not_for_steps_that_need_whole_parameters(told, sentence):
    models = networks(2, lambda rate: optimizers.Adam(rate, **told))
    found = raised(on_ranks(2, lambda rank: models[rank].fit(X, Y, verbose=0), shards=12, shard_optimizer=True))
    assert all(sentence in one for one in found), found


@pytest.mark.parametrize("save_freq", ["epoch", 3])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_a_backup_of_three_ranks_is_gone_on_with_by_others(tmp_path, ranks, save_freq):
    def keeper(rank):
        return callbacks.BackupAndRestore(tmp_path / "backup", save_freq)

    history, state = fitted(1)[0]
    killed = fitted(3, lambda rank: [keeper(rank), Kill("on_train_batch_end" if save_freq == 3 else "on_epoch_end", 2)])
    assert any(isinstance(one, KilledError) for one in killed)
    found = fitted(ranks, keeper)
    assert not raised_any(found)
    assert [one[1] for one in found] == [state] * ranks
    assert [one[0]["loss"][-1] for one in found] == [history["loss"][-1]] * ranks
    assert not (tmp_path / "backup").exists()


def test_a_backup_with_other_shards_says_which(tmp_path):
    def keeper(rank):
        return callbacks.BackupAndRestore(tmp_path / "backup")

    fitted(2, lambda rank: [keeper(rank), Kill("on_epoch_end", 2)])
    found = raised(fitted(2, keeper, {"shards": 6}))
    assert all("shards=12, and this one has shards=6" in sentence for sentence in found)
    model = networks(1)[0]
    with pytest.raises(ValueError, match="go on within data_parallel"):
        model.fit(X, Y, verbose=0, callbacks=keeper(0))


def test_a_backup_that_a_rank_does_not_see_is_named(tmp_path):
    def keeper(rank):
        return callbacks.BackupAndRestore(tmp_path / str(rank))

    fitted(2, lambda rank: [keeper(rank), Kill("on_epoch_end", 3)])
    found = raised(fitted(2, keeper))
    assert found[0] == found[1]
    assert "rank 1 would begin with epoch 1, step 0, and rank 0 with epoch" in found[0]


def test_hooks_of_one_process_see_no_ranks():
    model = networks(1)[0]
    seen = []
    with data_parallel():
        hook = callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(model.evaluate(X, Y, verbose=0)))
        model.fit(X, Y, verbose=0, callbacks=hook)
    assert len(seen) == 1
