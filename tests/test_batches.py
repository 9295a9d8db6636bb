"""What fit does with batches: the last one that is not full."""

import numpy as np
import pytest
from trainings import all_state, network

import fastnn
from fastnn import callbacks

pytestmark = pytest.mark.thread_unsafe(reason="models of the same seed: that is the process's")

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(22, 3)).astype(np.float32), RNG.normal(size=(22, 1)).astype(np.float32)
GIVEN = {"epochs": 3, "verbose": 0, "batch_size": 4}


def epoch_orders(model, rows):
    return [fastnn._engine.epoch_order(rows, model._seed, epoch) for epoch in range(3)]


def test_the_rows_that_do_not_fill_a_batch_are_left_out():
    dropping, by_hand = network(), network()
    history = dropping.fit(X, Y, drop_remainder=True, **GIVEN).history
    losses = [
        [by_hand.train_on_batch(X[rows], Y[rows])[0] for rows in order[:20].reshape(5, 4)]
        for order in epoch_orders(by_hand, 22)
    ]
    by_hand._epochs_done = 3
    assert all_state(dropping) == all_state(by_hand)
    np.testing.assert_allclose(history["loss"], np.mean(losses, axis=1), rtol=1e-6)  # losses are float32
    assert dropping.optimizer.iterations == 15


def test_nothing_is_left_out_of_full_batches_nor_the_only_batch():
    for batch in (11, 22, 64):
        models = [network(), network()]
        for model, drop in zip(models, (True, False), strict=True):
            model.fit(X, Y, epochs=2, batch_size=batch, drop_remainder=drop, verbose=0)
        assert all_state(models[0]) == all_state(models[1])


@pytest.mark.parametrize("shuffle", [True, False])
def test_members_of_an_ensemble_leave_the_same_rows_out(shuffle):
    rows = [None, np.array([0, 3, 5, 5, 9, 12, 20, 21, 1])]
    together, alone = [network(seed=1), network(seed=2)], [network(seed=1), network(seed=2)]
    histories = fastnn.Ensemble(together).fit(X, Y, rows=rows, shuffle=shuffle, drop_remainder=True, **GIVEN)
    for model, own, history in zip(alone, rows, histories, strict=True):
        x, y = (X, Y) if own is None else (X[own], Y[own])
        expected = model.fit(x, y, shuffle=shuffle, drop_remainder=True, **GIVEN)
        assert history.history == expected.history
    assert list(map(all_state, together)) == list(map(all_state, alone))


def test_batch_hooks_and_deferred_rows_see_the_same_steps(tmp_path):
    models = [network() for _ in range(3)]
    np.save(tmp_path / "x.npy", X.astype(np.float64))
    on_disk = np.load(tmp_path / "x.npy", mmap_mode="r")
    seen = []
    watch = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    models[0].fit(X, Y, drop_remainder=True, **GIVEN)
    models[1].fit(X, Y, drop_remainder=True, callbacks=[watch], **GIVEN)
    models[2].fit(on_disk, Y, drop_remainder=True, **GIVEN)
    assert seen == [*range(5)] * 3
    assert all_state(models[0]) == all_state(models[1]) == all_state(models[2])


def test_all_rows_are_checked_though_some_are_left_out():
    x = X.copy()
    x[-1, 0] = np.nan
    model = network()
    with pytest.raises(ValueError, match="x must be finite"):
        model.fit(x, Y, drop_remainder=True, shuffle=False, **GIVEN)


def test_drop_remainder_goes_with_rows_and_is_true_or_false():
    model = network()
    with pytest.raises(ValueError, match="drop_remainder must not be given where x gives batches"):
        model.fit(iter([(X, Y)]), drop_remainder=True, verbose=0)
    with pytest.raises(TypeError, match="drop_remainder must be True or False, got 1"):
        model.fit(X, Y, drop_remainder=1)
