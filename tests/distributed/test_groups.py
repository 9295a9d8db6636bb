"""Ranks that train together, as threads: the same bits for any number of ranks, and sentences where they cannot."""

import numpy as np
import pytest
from ranks_of_threads import on_ranks, raised

import fastnn
from fastnn import callbacks, layers, optimizers
from fastnn.distributed import data_parallel, rank, size

pytestmark = pytest.mark.thread_unsafe(reason="models of the same seed: that is the process's")

RNG = np.random.default_rng(5)
X = RNG.normal(size=(90, 6)).astype(np.float32)
Y = np.argmax(X @ RNG.normal(size=(6, 3)), axis=1)
HELD = X[:20] + 1, Y[:20]


def network(seed=1, optimizer="adam", units=12, **compiled):
    fastnn.utils.set_random_seed(seed)
    model = fastnn.Sequential(
        [fastnn.Input((6,)), layers.Dense(units, "relu"), layers.Dropout(0.2), layers.Dense(3, "softmax")]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], **compiled)
    return model


def networks(size, **told):
    """Models of one seed, made one after the other: the seeds are the process's."""
    return [network(**told) for _ in range(size)]


def fitted(size, models=None, settings=None, **told):
    """(weights, logs, evaluation, prediction) of each rank, or what it raised."""
    models = models or networks(size)

    def run(rank):
        arguments = {"x": X, "y": Y, "batch_size": 16, "epochs": 2, "verbose": 0, "validation_data": HELD}
        given = {key: value(rank) if callable(value) else value for key, value in (arguments | told).items()}
        history = models[rank].fit(**given)
        logs = models[rank].evaluate(X, Y, verbose=0)
        return models[rank].flat_weights.tobytes(), history.history, logs, models[rank].predict(X).tobytes()

    return on_ranks(size, run, **{"shards": 12} | (settings or {}))


@pytest.fixture(scope="module")
def one():
    return fitted(1)[0]


@pytest.mark.parametrize("ranks", [2, 3, 4, 6, 12])
def test_any_number_of_ranks_gives_the_bits_of_one(one, ranks):
    assert all(found == one for found in fitted(ranks))


def test_the_logs_are_those_of_a_plain_fit(one):
    model = network()
    model.fit(X, Y, batch_size=16, epochs=2, verbose=0)
    loss, accuracy = model.evaluate(X, Y, verbose=0)
    assert one[2] == pytest.approx([loss, accuracy], rel=1e-4)  # sums of 12 parts are rounded elsewhere


def test_one_shard_is_a_plain_fit_to_the_bit():
    model = network()
    history = model.fit(X, Y, batch_size=16, epochs=2, verbose=0, validation_data=HELD)
    weights, logs, *_ = fitted(1, settings={"shards": 1})[0]
    assert weights == model.flat_weights.tobytes()
    assert logs == history.history


def test_the_block_alone_is_a_group_of_one(one):
    model = network()
    with data_parallel(shards=12):
        history = model.fit(X, Y, batch_size=16, epochs=2, verbose=0, validation_data=HELD)
    assert (model.flat_weights.tobytes(), history.history) == one[:2]
    assert (rank(), size()) == (0, 1)


@pytest.mark.parametrize(("wire", "tolerance"), [(None, 1e-4), ("bfloat16", 1e-4)])
def test_fast_sums_are_those_of_the_exact_ones_within_rounding(one, wire, tolerance):
    found = fitted(3, settings={"reduction": "fast", "wire": wire, "shards": None})
    assert len({weights for weights, *_ in found}) == 1
    expected = np.frombuffer(one[0], np.float32)
    # a few steps of Adam of 0.001 each: rounded sums differ by far less than a step
    np.testing.assert_allclose(np.frombuffer(found[0][0], np.float32), expected, atol=tolerance, rtol=1e-3)


def test_models_without_a_seed_begin_with_the_weights_of_rank_0():
    models = [network(seed) for seed in (1, 2, 3)]  # the last seed is that of the process, the same for all ranks
    found = fitted(3, models)
    assert len({weights for weights, *_ in found}) == 1
    assert found[0] == fitted(1, [network(1)])[0]


def test_batches_of_a_generator_are_shared_out(one):
    def batches(rank):
        return ((X[k : k + 16], Y[k : k + 16]) for _ in range(2) for k in range(0, 90, 16))

    told = {"x": batches, "y": None, "batch_size": None, "steps_per_epoch": 6}
    first, *others = [fitted(ranks, **told) for ranks in (1, 2, 3)]
    assert all(found == first[0] for ranks in others for found in ranks)


def test_rows_of_each_rank_are_its_part_of_every_batch():
    def own(array):
        return lambda rank: np.concatenate([array[k + 6 * rank : k + 6 * rank + 6] for k in range(0, 72, 12)])

    whole = fitted(2, x=X[:72], y=Y[:72], batch_size=12, shuffle=False, validation_data=None)
    told = {"x": own(X), "y": own(Y), "batch_size": 12, "shuffle": False, "validation_data": None}
    models = networks(2)

    def run(rank):
        given = {key: value(rank) if callable(value) else value for key, value in told.items()}
        history = models[rank].fit(**given, epochs=2, verbose=0)
        return models[rank].flat_weights.tobytes(), history.history

    found = on_ranks(2, run, shards=12, sharded=True)
    assert found == [one[:2] for one in whole]


def test_a_generator_that_ends_early_on_a_rank_is_named():
    def batches(rank):
        return ((X[k : k + 16], Y[k : k + 16]) for k in range(0, 64 if rank == 1 else 90, 16))

    with pytest.warns(UserWarning, match="the data ran out"):
        found = fitted(2, x=batches, y=None, batch_size=None, epochs=1, steps_per_epoch=6)
    assert all("batches of as many rows on all ranks" in sentence for sentence in raised(found))


# ---- what does not fit ----


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"x": lambda rank: X[: 90 - rank], "y": lambda rank: Y[: 90 - rank]}, "x.rows is 90 on rank 0, and 89 on"),
        ({"epochs": lambda rank: 1 + rank}, "epochs is 1 on rank 0, and 2 on rank 1"),
        ({"batch_size": lambda rank: 16 + rank}, "x.rows of a batch is 16 on rank 0, and 17 on rank 1"),
        ({"shuffle": lambda rank: rank == 0}, "shuffle is True on rank 0, and False on rank 1"),
        ({"validation_data": lambda rank: HELD if rank else None}, "validation is None on rank 0"),
        ({"class_weight": lambda rank: {0: 1.0 + rank}}, "class_weight is '{0: 1.0}' on rank 0, and '{0: 2.0}'"),
        ({"sample_weight": lambda rank: np.ones(90) * 2 if rank else None}, "x.sample_weight is False on rank 0"),
    ],
)
def test_ranks_are_told_what_differs(told, sentence):
    found = raised(fitted(2, **told))
    assert found[0] == found[1]
    assert sentence in found[0]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda rank: network(units=12 + rank), "layers[1].units is 12 on rank 0, and 13 on rank 1"),
        (
            lambda rank: network(optimizer=optimizers.Adam(0.1 + rank)),
            "compile.optimizer.learning_rate is 0.1 on rank 0",
        ),
        (lambda rank: network(optimizer="sgd" if rank else "adam"), "compile.optimizer.class_name is 'Adam' on rank 0"),
    ],
)
def test_ranks_with_other_models_are_told_so(make, sentence):
    models = [make(0), make(1)]
    before = [model.flat_weights.tobytes() for model in models]
    found = raised(fitted(2, models))
    assert found[0] == found[1]
    assert sentence in found[0]
    assert [model.flat_weights.tobytes() for model in models] == before


def test_an_argument_that_one_rank_cannot_use_is_told_to_all_and_the_ranks_stay_in_step():
    models = networks(2)

    def run(rank):
        with pytest.raises((ValueError, RuntimeError)) as error:
            models[rank].fit(X, Y[: 90 - rank], verbose=0)
        models[rank].fit(X, Y, batch_size=16, verbose=0)
        return str(error.value), models[rank].flat_weights.tobytes()

    (first, weights), (second, others) = on_ranks(2, run)
    assert first.startswith("rank 1 failed: ValueError: ")
    assert second in first
    assert weights == others


def test_an_error_in_a_hook_ends_the_other_ranks():
    def broken(rank):
        def hook(epoch, logs):
            if rank == 1:
                raise KeyError("of rank 1")

        return callbacks.LambdaCallback(on_epoch_end=hook)

    found = fitted(3, callbacks=broken)
    assert [type(one) for one in found] == [RuntimeError, KeyError, RuntimeError]
    assert raised(found)[0] == "rank 1 failed: KeyError: 'of rank 1'"


def test_other_calls_on_other_ranks_are_named():
    models = networks(2)
    found = raised(on_ranks(2, lambda rank: models[rank].predict(X) if rank else None))
    assert all("came to predict and rank 0 to the end of data_parallel" in sentence for sentence in found)


@pytest.mark.parametrize("call", ["train_on_batch", "apply_gradients"])
def test_calls_of_one_rank_are_refused(call):
    model = network()
    with data_parallel(), pytest.raises(RuntimeError, match=f"{call} would change the model of this rank alone"):
        getattr(model, call)(*(X, Y) if call == "train_on_batch" else ())


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"reduction": "quick"}, "reduction must be 'exact' or 'fast', got 'quick'"),
        ({"wire": "bfloat16"}, "needs reduction='fast'"),
        ({"shards": 4, "reduction": "fast"}, "needs reduction='exact'"),
        ({"shards": 0}, "shards must be"),
        ({"moments": "rank"}, "moments must be 'batch' or 'shard', got 'rank'"),
    ],
)
def test_arguments_of_the_block_are_checked(told, sentence):
    with pytest.raises(ValueError, match=sentence), data_parallel(**told):
        pass


def test_blocks_cannot_be_nested():
    with data_parallel(), pytest.raises(RuntimeError, match="within data_parallel"), data_parallel():
        pass


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"mixup": 0.2}, "mixup mixes rows that different ranks hold"),
        ({"optimizer": "lbfgs"}, "LBFGS"),
        ({"loss": lambda y, p: (np.ones(len(y)), p)}, "is a Python function"),
    ],
)
def test_what_cannot_be_shared_out_is_said(told, sentence):
    model = network()
    model.compile(told.get("optimizer", "adam"), told.get("loss", "mse"))
    with data_parallel(), pytest.raises(ValueError, match=sentence):
        model.fit(X, np.eye(3, dtype=np.float32)[Y], mixup=told.get("mixup", 0.0), verbose=0)
