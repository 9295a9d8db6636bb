"""Mixup: steps on mixtures of the rows of a batch, beside NumPy."""

import numpy as np
import pytest
from bits import same_on_any_threads
from trainings import KilledError, all_state

import fastnn
from fastnn import callbacks, layers, losses, optimizers
from fastnn._engine import beta, epoch_order

pytestmark = pytest.mark.thread_unsafe(reason="models of the same seed: that is the process's")

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(22, 3)), np.eye(3)[RNG.integers(0, 3, 22)]
ALPHA, BATCH = 0.4, 8
GIVEN = {"epochs": 3, "batch_size": BATCH, "verbose": 0}
IGNORING = losses.SparseCategoricalCrossentropy(ignore_class=2)


def log_gamma_variate(words, which, alpha):
    """Marsaglia and Tsang's method: four words a trial, and every second block is that of the other variate."""
    d = alpha + 1 - 1 / 3
    for trial in range(len(words) // 8):
        u = ((words[4 * (2 * trial + which - 1) :][:4] >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        normal = np.sqrt(-2 * np.log(u[0])) * np.cos(2 * np.pi * u[1])
        v = (1 + normal / np.sqrt(9 * d)) ** 3
        if v > 0 and np.log(u[2]) < 0.5 * normal**2 + d - d * v + d * np.log(v):
            return np.log(d * v) + np.log(u[3]) / alpha
    raise AssertionError("no trial of so many was taken")


def share_of(seed, step, alpha):
    words = np.random.Philox(key=np.array([seed, step], np.uint64)).random_raw(400)
    one, other = (log_gamma_variate(words, which, alpha) for which in (1, 2))
    return 1 / (1 + np.exp(other - one))


@pytest.mark.parametrize("alpha", [0.05, 0.4, 1.0, 3.0])
def test_shares_are_their_formula(alpha):
    for step in range(100):
        np.testing.assert_allclose(beta(7, step, alpha), share_of(7, step, alpha), rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 2.0, 50.0])
def test_shares_have_their_distribution(alpha):
    stats = pytest.importorskip("scipy.stats")
    found = np.array([beta(1, step, alpha) for step in range(4000)])
    assert ((found >= 0) & (found <= 1)).all()
    # the seed is fixed: a sample of the distribution is this far from it in one of a thousand seeds
    assert stats.kstest(found, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def network(dtype="float64", seed=0, loss="categorical_crossentropy", scaled=False, activation=False, **compiled):
    fastnn.utils.set_random_seed(seed)
    stack = [fastnn.Input((3,), dtype=dtype), layers.Dense(6, "tanh"), layers.Dropout(0.2)]
    last = layers.Dense(3) if scaled or activation else layers.Dense(3, "softmax")
    more = [layers.TargetScaling(0.3, 2.0, clip=False)] * scaled + [layers.Activation("softmax")] * activation
    model = fastnn.Sequential([*stack, last, *more])
    model.compile(optimizers.Adam(0.05), loss, **compiled)
    return model


def mixed(model, x, y, dtype):
    """Return the mixture of a batch that the next step of the model trains on."""
    seed, step = ~model._seed & (2**64 - 1), model._engine.iterations
    share, partners = beta(seed, step, ALPHA), epoch_order(len(x), seed, step)
    own, rest = np.dtype(dtype).type(share), np.dtype(dtype).type(1 - share)
    return [own * part + rest * part[partners] for part in (x.astype(dtype), y.astype(dtype))]


def by_hand(model, x=X, y=Y, weights=None, dtype="float64", epochs=3):
    found = []
    for epoch in range(epochs):
        order = epoch_order(len(x), model._seed, epoch)
        for start in range(0, len(x), BATCH):
            rows = order[start : start + BATCH]
            own = None if weights is None else weights[rows]
            found.append(model.train_on_batch(*mixed(model, x[rows], y[rows], dtype), sample_weight=own))
    model._epochs_done = epochs
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("loss", "scaled"), [("categorical_crossentropy", False), ("mse", False), ("mse", True)])
def test_steps_are_those_of_mixed_batches(dtype, loss, scaled):
    weights = 0.5 + np.random.default_rng(1).random(22)
    mixing, apart = (network(dtype, loss=loss, scaled=scaled, metrics=["mae"]) for _ in range(2))
    history = mixing.fit(X, Y, mixup=ALPHA, sample_weight=weights, **GIVEN).history
    found = by_hand(apart, weights=weights, dtype=dtype)
    assert all_state(mixing) == all_state(apart)
    rows = np.tile([8, 8, 6], 3)
    for k, name in enumerate(("loss", "mae")):
        values = np.array(found)[:, k] * rows
        np.testing.assert_allclose(history[name], values.reshape(3, 3).sum(axis=1) / 22, rtol=1e-12)


def test_heads_mix_their_targets():
    def make():
        fastnn.utils.set_random_seed(0)
        heads = layers.Heads({"a": [layers.Dense(3, "softmax")], "b": [layers.Dense(1)]})
        model = fastnn.Sequential([fastnn.Input((3,), dtype="float64"), layers.Dense(6, "tanh"), heads])
        model.compile("sgd", {"a": "categorical_crossentropy", "b": "mse"})
        return model

    mixing, apart = make(), make()
    b = X[:, :1] * 2
    mixing.fit(X, {"a": Y, "b": b}, mixup=ALPHA, **GIVEN)
    for epoch in range(3):
        order = epoch_order(22, apart._seed, epoch)
        for start in range(0, 22, BATCH):
            rows = order[start : start + BATCH]
            x, a = mixed(apart, X[rows], Y[rows], "float64")
            apart.train_on_batch(x, {"a": a, "b": mixed(apart, X[rows], b[rows], "float64")[1]})
    assert all_state(mixing)[0] == all_state(apart)[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("apart", [False, True])  # a softmax that the loss does not take over
def test_labels_are_mixed_as_their_one_hot_rows(dtype, apart):
    weights, states, logs = 0.5 + np.random.default_rng(1).random(22), [], []
    for loss, y in [("categorical_crossentropy", Y), ("sparse_categorical_crossentropy", Y.argmax(axis=1))]:
        metrics = ["accuracy", loss, *([] if apart else [callable_metric("sparse" in loss)])]
        model = network(dtype, loss=loss, metrics=metrics, activation=apart)
        history = model.fit(X, y, mixup=ALPHA, sample_weight=weights, validation_data=(X, y), **GIVEN).history
        logs.append([*history.values()])
        states.append(model.get_weights())
    # probabilities of labels are clipped before their row is divided by its sum, and those of targets afterwards
    near = 1e-5 if dtype == "float32" else 1e-12
    for one, other in zip(*states, strict=True):
        np.testing.assert_allclose(one, other, rtol=near if apart else 0)
    np.testing.assert_allclose(*logs, rtol=near)


def callable_metric(sparse):
    kind = fastnn.metrics.SparseTopKCategoricalAccuracy if sparse else fastnn.metrics.TopKCategoricalAccuracy
    return kind(k=2, name="top")


def test_labels_beside_targets_are_mixed():
    def make(loss):
        fastnn.utils.set_random_seed(0)
        heads = layers.Heads({name: [layers.Dense(n, kind)] for name, n, kind in HEADS})
        model = fastnn.Sequential([fastnn.Input((3,), dtype="float64"), layers.Dense(6, "tanh"), heads])
        model.compile("sgd", {"a": loss, "b": "mse", "c": loss})
        return model

    one_hot, labels = make("categorical_crossentropy"), make("sparse_categorical_crossentropy")
    b, c = X[:, :1] * 2, np.eye(4)[np.arange(22) % 4]
    one_hot.fit(X, {"a": Y, "b": b, "c": c}, mixup=ALPHA, **GIVEN)
    labels.fit(X, {"a": Y.argmax(axis=1), "b": b, "c": c.argmax(axis=1)}, mixup=ALPHA, **GIVEN)
    assert all_state(one_hot)[0] == all_state(labels)[0]


HEADS = [("a", 3, "softmax"), ("b", 1, "linear"), ("c", 4, "softmax")]


def test_a_label_that_is_no_class_ends_the_run_before_it_changes_anything():
    model = network(loss="sparse_categorical_crossentropy")
    before = all_state(model)
    with pytest.raises(ValueError, match="label"):
        model.fit(X, np.where(np.arange(22) == 7, 3, 0), mixup=ALPHA, **GIVEN | {"batch_size": 22})
    assert all_state(model) == before


def test_branches_and_columns_read_the_mixed_rows():
    def make():
        fastnn.utils.set_random_seed(0)
        branches = {"p": [fastnn.Input((2,)), layers.Dense(4)], "q": [fastnn.Input((1,)), layers.Dense(2)]}
        model = fastnn.Sequential([layers.Branches(branches), layers.Activation("tanh"), layers.Dense(3, "softmax")])
        model.compile("sgd", "categorical_crossentropy")
        return model

    mixing, apart = make(), make()
    split = [{"p": X[:, :2], "q": X[:, 2:]}]
    mixing.fit(split[0], Y, mixup=ALPHA, shuffle=False, epochs=1, batch_size=22, verbose=0)
    x, y = mixed(apart, X, Y, "float32")
    apart.train_on_batch({"p": x[:, :2], "q": x[:, 2:]}, y)
    assert all_state(mixing)[0] == all_state(apart)[0]


def test_the_bits_do_not_depend_on_threads():
    x, y = (np.random.default_rng(2).normal(size=(150, n)).astype(np.float32) for n in (90, 3))

    def run():
        fastnn.utils.set_random_seed(0)
        model = fastnn.Sequential([fastnn.Input((90,)), layers.Dense(300, "relu"), layers.Dense(3)])
        model.compile("adam", "mse")
        history = model.fit(x, y, epochs=2, batch_size=64, mixup=0.5, verbose=0).history
        return [*model.get_weights(), *history.values()]

    same_on_any_threads(run)


def test_members_of_an_ensemble_mix_as_alone():
    together, alone = [[network(seed=seed) for seed in (1, 2)] for _ in range(2)]
    fastnn.Ensemble(together).fit(X, Y, mixup=ALPHA, drop_remainder=True, **GIVEN)
    for model in alone:
        model.fit(X, Y, mixup=ALPHA, drop_remainder=True, **GIVEN)
    assert list(map(all_state, together)) == list(map(all_state, alone))


def test_batches_of_generators_and_hooks_and_resumed_fits_mix_alike(tmp_path):
    whole, watched, fed, resumed = (network() for _ in range(4))
    given = GIVEN | {"shuffle": False, "mixup": ALPHA}
    whole.fit(X, Y, **given)
    watched.fit(X, Y, callbacks=[callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)], **given)
    batches = [(X[start : start + BATCH], Y[start : start + BATCH]) for start in range(0, 22, BATCH)]
    fed.fit((batch for _ in range(3) for batch in batches), epochs=3, steps_per_epoch=3, mixup=ALPHA, verbose=0)
    assert all_state(whole)[:2] == all_state(watched)[:2] == all_state(fed)[:2]

    def kill(epoch, logs):
        if epoch == 1:
            raise KilledError

    killed = network()
    keeper = callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(KilledError):
        killed.fit(X, Y, callbacks=[keeper, callbacks.LambdaCallback(on_epoch_end=kill)], **given)
    resumed.fit(X, Y, callbacks=[callbacks.BackupAndRestore(tmp_path)], **given)
    assert all_state(resumed) == all_state(whole)


def test_only_fit_mixes():
    mixing, plain = network(), network()
    mixing.fit(X, Y, mixup=ALPHA, epochs=0, verbose=0)
    for model in (mixing, plain):
        model.fit(X, Y, **GIVEN)
        model.train_on_batch(X, Y)
    assert all_state(mixing) == all_state(plain)
    assert mixing.fit(X, Y, mixup=ALPHA, validation_data=(X, Y), **GIVEN).history["val_loss"][-1] == mixing.evaluate(
        X, Y, verbose=0
    )


def test_a_nan_is_found_in_the_rows_that_are_given():
    x = np.random.default_rng(0).normal(size=(2000, 600))  # so large that the engine looks for it
    x[1234, 5] = np.nan
    fastnn.utils.set_random_seed(0)
    model = fastnn.Sequential([fastnn.Input((600,), dtype="float64"), layers.Dense(1)])
    model.compile("sgd", "mse")
    before = all_state(model)
    with pytest.raises(ValueError, match="x must be finite, but row 1234 holds a NaN"):
        model.fit(x, x[:, :1] * 0, mixup=ALPHA, verbose=0)
    assert all_state(model) == before


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: network(loss=IGNORING).fit(X, Y.argmax(axis=1), mixup=0.4, verbose=0),
         "mixup cannot mix these rows: the loss has an ignore_class, which a mixture may have a share of"),
        (lambda: network(loss=losses.FunctionLoss(lambda t, y: (0.0, y))).fit(X, Y, mixup=0.4, verbose=0),
         "is a Python function, which would be shown rows that are not mixed"),
        (lambda: embedding().fit(np.ones((4, 1)), np.ones((4, 2)), mixup=0.4, verbose=0), "the model takes categories"),
        (lambda: network().fit(X, Y, mixup=-0.1, verbose=0), "mixup must be at least 0, got -0.1"),
        (lambda: fastnn.Ensemble([network(loss=IGNORING)]).fit(X, Y.argmax(axis=1), mixup=0.4, verbose=0),
         "the loss has an ignore_class"),
    ],
)  # fmt: skip
def test_what_cannot_be_mixed_is_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_sparse_rows_are_not_mixed():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(ValueError, match="x is sparse: give dense rows"):
        network().fit(sparse.csr_matrix(X), Y, mixup=0.4, verbose=0)


def embedding():
    model = fastnn.Sequential([fastnn.Input((1,)), layers.Embedding(3, 2)])
    model.compile("sgd", "mse")
    return model
