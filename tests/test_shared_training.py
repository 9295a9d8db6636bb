"""One training that several processes share: the engine's part, with threads for ranks (ranks.py)."""

import numpy as np
import pytest
import ranks
from bits import CLASSES, dense, rows, targets
from scipy import sparse

from fastnn import constraints, layers, optimizers, regularizers
from fastnn._engine import add, share_of, tree_nodes

ROWS, FEATURES, SHARDS = 100, 20, 24  # three batches of 32 rows and one of 4, which leaves most shards empty

X, LABELS = rows()[:ROWS], targets("sparse")[:ROWS]
NUMBERS = targets("mse")[:ROWS]
WEIGHTS = np.random.default_rng(5).uniform(0.5, 2, ROWS).astype("float32")
SPARSE = sparse.random(ROWS, 300, 0.05, "csr", dtype=np.float32, random_state=0)
CODES = np.random.default_rng(0).integers(0, 9, (ROWS, 5))


def plain(*middle):
    return lambda: [dense("tanh", 16), *[make() for make in middle], dense("linear", CLASSES)]


def classes(*middle):
    return lambda: [*[make() for make in middle], dense("relu", 33), dense("softmax", CLASSES)]


SPARSE_LABELS = {"loss": "sparse_categorical_crossentropy", "metrics": ("accuracy",)}
# Of each network: its layers, x, y, what it is compiled with and trained with.
NETWORKS = {
    "dense": (classes(), X, LABELS, SPARSE_LABELS, {}),
    "wide": (plain(lambda: dense("relu", 1500)), X, NUMBERS, {}, {}),
    "large": (plain(lambda: dense("relu", 700), lambda: dense("tanh", 800)), X, NUMBERS, {}, {"batch": 50}),
    "sparse": (classes(), SPARSE, LABELS, SPARSE_LABELS, {}),
    "embedding": (lambda: [layers.Embedding(9, 4), layers.Flatten(), dense("linear", CLASSES)], CODES, NUMBERS, {}, {}),
    "dropout": (plain(lambda: layers.Dropout(0.3), lambda: layers.GaussianNoise(0.1)), X, NUMBERS, {}, {}),
    "normalized rows": (plain(layers.LayerNormalization, layers.PReLU, layers.Scale), X, NUMBERS, {}, {}),
    "normalized columns": (
        plain(lambda: layers.BatchNormalization(), dense, layers.BatchNormalization),
        X,
        NUMBERS,
        {},
        {},
    ),
    "normalized first": (lambda: [layers.BatchNormalization(), dense("linear", CLASSES)], X, NUMBERS, {}, {}),
    "parametric": (plain(lambda: layers.ParametricActivation("selu")), X, NUMBERS, {}, {}),
    "members": (
        plain(lambda: layers.EnsembleScale(32), lambda: layers.EnsembleDense(9, 32, "relu", "none")),
        X,
        NUMBERS,
        {},
        {},
    ),
    "expansions": (plain(lambda: layers.LinearEmbedding(7, "relu"), layers.PeriodicEmbedding), X, NUMBERS, {}, {}),
    "weights of rows": (classes(), X, LABELS, SPARSE_LABELS, {"weights": WEIGHTS}),
    "penalties": (
        plain(
            lambda: dense(kernel_regularizer=regularizers.L1L2(0.01, 0.02)),
            lambda: dense(kernel_regularizer=regularizers.OrthogonalRegularizer(0.01, "rows")),
            lambda: layers.ActivityRegularization(0.01, 0.01),
        ),
        X,
        NUMBERS,
        {},
        {},
    ),
    "constraints": (
        plain(lambda: dense(kernel_constraint=constraints.MaxNorm(1.0)), lambda: dense(bias_constraint="non_neg")),
        X,
        NUMBERS,
        {},
        {},
    ),
    "squares": (plain(), X, NUMBERS, {"metrics": ("r2_score", "mae")}, {}),
}
OPTIMIZERS = {
    "SGD": optimizers.SGD,
    "AdamW": lambda: optimizers.AdamW(weight_decay=0.1),
    "Muon": optimizers.Muon,
    "Adafactor": optimizers.Adafactor,
    "a norm": lambda: optimizers.SGD(0.1, clipnorm=0.1),
    "the norm of all": lambda: optimizers.Adam(global_clipnorm=0.1),
    "values": lambda: optimizers.Adam(clipvalue=0.01),
    "an average": lambda: optimizers.SGD(0.01, use_ema=True, ema_overwrite_frequency=3),
    "accumulation": lambda: optimizers.Adam(gradient_accumulation_steps=3),
    "accumulation and a norm": lambda: optimizers.Adam(gradient_accumulation_steps=3, clipnorm=0.1),
}
for name, optimizer in OPTIMIZERS.items():
    NETWORKS[f"optimizer {name}"] = (plain(), X, NUMBERS, {"optimizer": optimizer}, {})
WHOLE = {"Muon", "Adafactor", "a norm", "the norm of all", "accumulation and a norm"}
SHAREABLE = [name for name in NETWORKS if name != "constraints" and name.removeprefix("optimizer ") not in WHOLE]


def network(name, dtype="float32"):
    """Return a function that makes the model, x, y, and what it is trained with."""
    stack, x, y, compiling, training = NETWORKS[name]
    compiling = {"optimizer": optimizers.Adam, **compiling}
    numbers = dtype.replace("mixed_bfloat16", "float32")
    x = x.astype(numbers) if x.dtype.kind == "f" else x
    return (lambda: ranks.model_of(stack, features=x.shape[1], dtype=dtype, **compiling)), x, y, training


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.tobytes() == other.tobytes()  # zeros have several bits


@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_bfloat16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_bits_are_those_of_one_process(name, dtype):
    make, x, y, training = network(name, dtype)
    (alone,), (sums,), _ = ranks.train_ranks(make, x, y, 1, SHARDS, **training)
    for count in (2, 3):
        models, their_sums, _ = ranks.train_ranks(make, x, y, count, SHARDS, **training)
        for model in models:
            assert_same(ranks.state(model), ranks.state(alone))
        for epoch, whole in enumerate(sums):  # each rank has the sums of its shards
            np.testing.assert_array_equal(np.concatenate([rank[epoch] for rank in their_sums]), whole)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["normalized columns", "normalized first"])
def test_each_shard_may_have_moments_of_its_own(name, dtype):
    make, x, y, training = network(name, dtype)
    (alone,), _, _ = ranks.train_ranks(make, x, y, 1, SHARDS, moments="shard", **training)
    (of_batch,), _, _ = ranks.train_ranks(make, x, y, 1, SHARDS, **training)
    assert (alone._engine.parameters != of_batch._engine.parameters).any()
    for count in (2, 3):
        for model in ranks.train_ranks(make, x, y, count, SHARDS, moments="shard", **training)[0]:
            assert_same(ranks.state(model), ranks.state(alone))


@pytest.mark.parametrize("moments", ["batch", "shard"])
def test_moments_are_those_of_numpy(moments):
    """A batch of 30 rows, of which four shards have 7, 8, 7 and 8."""
    make = network("normalized first", "float64")[0]
    before, (mean, variance) = make().get_weights(), make().get_weights()[2:4]
    x, y = X[:30].astype("float64"), NUMBERS[:30]
    (model, _), _, exchanges = ranks.train_ranks(make, x, y, 2, 4, moments=moments, epochs=1)
    rows = x[np.random.default_rng(0).permutation(30)]
    parts = [rows] if moments == "batch" else [rows[7 * k + k // 2 : 7 * (k + 1) + (k + 1) // 2] for k in range(4)]
    means, variances = (np.mean([of(part, axis=0) for part in parts], axis=0) for of in (np.mean, np.var))
    after = model.get_weights()
    np.testing.assert_allclose(after[2], 0.99 * mean + 0.01 * means, rtol=1e-12)  # sums of 30 numbers in double
    np.testing.assert_allclose(after[3], 0.99 * variance + 0.01 * variances, rtol=1e-12)
    assert (after[0] != before[0]).all()
    assert len(exchanges[0].calls) == (3 if moments == "batch" else 2)


@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_bfloat16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_one_shard_is_the_plain_fit(name, dtype):
    make, x, y, training = network(name, dtype)
    plain_model = make()
    sums = ranks.train(plain_model, x, y, **training)
    (alone,), (shard_sums,), _ = ranks.train_ranks(make, x, y, 1, 1, **training)
    assert_same(ranks.state(alone), ranks.state(plain_model))
    np.testing.assert_array_equal(np.concatenate(shard_sums), sums)


@pytest.mark.parametrize("name", NETWORKS)
def test_shards_have_the_gradient_of_the_whole(name):
    make, x, y, training = network(name, "float64")
    plain_model = make()
    ranks.train(plain_model, x, y, **training)
    (alone,), _, _ = ranks.train_ranks(make, x, y, 1, 8, **training)
    # Eight steps of sums in another order: some hundred roundings of 1e-16, which a division by a small root enlarges.
    np.testing.assert_allclose(alone._engine.parameters, plain_model._engine.parameters, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SHAREABLE)
def test_each_rank_updates_its_share(name, dtype):
    make, x, y, training = network(name, dtype)
    (alone,), _, _ = ranks.train_ranks(make, x, y, 1, SHARDS, **training)
    models, _, exchanges = ranks.train_ranks(make, x, y, 3, SHARDS, shared_updates=True, **training)
    size = len(alone._engine.parameters)
    for rank, model in enumerate(models):
        assert_same(ranks.state(model, slots=False), ranks.state(alone, slots=False))
        share = slice(*share_of(size, rank, 3, alone._engine.parameters.itemsize))
        for slot, whole in zip(model._engine.slots, alone._engine.slots, strict=True):
            assert slot[share].tobytes() == whole[share].tobytes()
            initial = whole.dtype.type(0)
            assert (np.delete(slot, np.r_[share]) == initial).all()  # memory of others' shares is never touched
    calls = [call for call in exchanges[0].calls if call != "total"]  # of moments
    assert calls == ["share total", "gather"] * (len(calls) // 2)


@pytest.mark.parametrize("name", ["dense", "sparse", "weights of rows", "dropout"])
def test_ranks_may_have_their_own_rows_alone(name):
    make, x, y, training = network(name)
    whole = ranks.train_ranks(make, x, y, 2, SHARDS, **training)
    sharded = ranks.train_ranks(make, x, y, 2, SHARDS, sharded=True, **training)
    for model, other in zip(whole[0], sharded[0], strict=True):
        assert_same(ranks.state(model), ranks.state(other))
    np.testing.assert_array_equal(np.concatenate(whole[1]), np.concatenate(sharded[1]))


def test_a_step_has_a_phase_for_the_reduction():
    make, x, y, training = network("dense")
    (alone,), _, _ = ranks.train_ranks(make, x, y, 1, 4, **training)
    assert alone._engine._phases() == ["turn", "gradients", "reduction", "update"]
    (alone,), _, _ = ranks.train_ranks(make, x, y, 1, 4, shared_updates=True, **training)
    assert alone._engine._phases() == ["turn", "gradients", "reduction", "update", "gather", "transpose"]
    ranks.train(alone, x, y)
    assert alone._engine._phases() == ["turn", "gradients"]


@pytest.mark.parametrize("name", ["dense", "optimizer accumulation", "optimizer a norm", "optimizer Muon"])
def test_an_error_of_the_exchange_leaves_the_last_whole_step(name):
    make, x, y, _ = network(name)
    model, one_step = make(), make()

    class Failing(ranks.Exchange):
        def total(self, parts):
            super().total(parts)
            if len(self.calls) == 2:
                raise ConnectionError("the network is gone")

    with pytest.raises(ConnectionError, match="the network is gone"):
        ranks.train(model, x, y, exchange=Failing(ranks.Meeting(1), 0, 8), epochs=1)
    order = np.random.default_rng(0).permutation(ROWS)[:32]
    ranks.train(one_step, x[order], y[order], exchange=ranks.Exchange(ranks.Meeting(1), 0, 8), epochs=0)
    engine, _, optimizer = one_step._ready("fit")
    samples = one_step._samples("fit", x, y, None, check_finite=True)
    exchange = ranks.Exchange(ranks.Meeting(1), 0, 8)
    engine.train(samples.x, samples.y, order, 32, optimizer.hyperparameters(), exchange=exchange)
    assert_same(ranks.state(model), ranks.state(one_step))
    assert model._engine.iterations == 1
    ranks.train(model, x, y, epochs=1)  # it can go on, alone


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - set(SHAREABLE)))
def test_updates_that_need_all_gradients_are_not_shared_out(name):
    make, x, y, _ = network(name)
    model = make()
    before = model._engine.parameters.copy()
    with pytest.raises(ValueError, match="own elements: not with clipnorm"):
        ranks.train(model, x, y, exchange=ranks.Exchange(ranks.Meeting(1), 0, 8, shared_updates=True))
    np.testing.assert_array_equal(model._engine.parameters, before)


@pytest.mark.parametrize(
    ("first", "count", "shards", "message"),
    [
        (0, 1, 0, "shards must be from 1 to 65536, got 0"),
        (0, 1, 65537, "shards must be from 1 to 65536, got 65537"),
        (0, 3, 8, "equal blocks of the 8 shards, got 0 and 3"),
        (1, 2, 8, "equal blocks of the 8 shards, got 1 and 2"),
        (8, 2, 8, "equal blocks of the 8 shards, got 8 and 2"),
        (0, 0, 8, "equal blocks of the 8 shards, got 0 and 0"),
    ],
)
def test_shards_are_equal_blocks(first, count, shards, message):
    with pytest.raises(ValueError, match=message):
        tree_nodes(shards, first, count)
    model = network("dense")[0]()
    exchange = ranks.Exchange(ranks.Meeting(1), 0, 8)
    exchange.first, exchange.count, exchange.shards = first, count, shards
    with pytest.raises(ValueError, match=message):
        ranks.train(model, X, LABELS, exchange=exchange)


@pytest.mark.parametrize("shards", [1, 2, 8, 12, 24, 65536])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 8])
def test_nodes_of_all_ranks_make_the_tree(shards, count):
    if shards % count:
        pytest.skip("the shards are no equal blocks")
    each = shards // count
    nodes = [node for rank in range(count) for node in tree_nodes(shards, rank * each, each)]
    assert [a for a, _ in nodes] == [0, *(b for _, b in nodes[:-1])]
    assert nodes[-1][1] == shards

    def is_node(a, b, node):
        middle = (a + b) // 2
        return (a, b) == node or (b - a > 1 and is_node(*((a, middle) if node[1] <= middle else (middle, b)), node))

    assert all(is_node(0, shards, node) for node in nodes)


def test_shares_cover_the_parameters():
    for size, count, itemsize in [(1000, 3, 4), (5, 4, 8), (0, 2, 4), (2**50, 7, 4)]:
        shares = [share_of(size, rank, count, itemsize) for rank in range(count)]
        assert [low for low, _ in shares] == [0, *(high for _, high in shares[:-1])]
        assert shares[-1][1] == size
        assert all(low * itemsize % 64 == 0 for low, _ in shares)
    with pytest.raises(ValueError, match="rank must be below ranks"):
        share_of(10, 2, 2, 4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_are_added_as_the_engine_adds(dtype):
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 100_001)).astype(dtype)
    out = np.empty_like(a)
    add(a, b, out)
    np.testing.assert_array_equal(out, a + b)
    add(a, b, a)
    np.testing.assert_array_equal(a, out)
    tiny = np.full(3, np.finfo(dtype).smallest_normal / 4, dtype)
    add(tiny, tiny, tiny)
    np.testing.assert_array_equal(tiny, 0)  # denormal numbers count as zero
    with pytest.raises(ValueError, match="of one type and length"):
        add(a, b[1:], out)
    with pytest.raises(ValueError, match="of one type and length"):
        add(a.astype("int32"), b, out)
    out.setflags(write=False)
    with pytest.raises(ValueError, match="out must be writable"):
        add(a, b, out)
