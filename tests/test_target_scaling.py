"""TargetScaling: the network learns standardized targets, and everything else is in the units of the targets."""

import pickle

import numpy as np
import pytest
from bits import same_on_any_threads
from trainings import all_state

import fastnn
from fastnn import layers, losses, metrics, optimizers

pytestmark = pytest.mark.thread_unsafe(reason="models of the same seed: that is the process's")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4))
Y = np.column_stack([3000 + 500 * X.sum(axis=1), 0.02 * X[:, 0] - 7]) + RNG.normal(size=(90, 2)) * (50, 0.002)
HELD = 3 * RNG.normal(size=(40, 4)), Y[:40]  # far outside what training has seen, so that predictions reach the bounds
LOSSES = [
    losses.MeanSquaredError(), losses.HalfMeanSquaredError(), losses.MeanAbsoluteError(), losses.Huber(0.3),
    losses.LogCosh(), losses.MeanSquaredError(reduction="sum"),
]  # fmt: skip


def statistics(y=Y):
    return y.mean(axis=0), y.std(axis=0), y.min(axis=0), y.max(axis=0)


def standardized(y):
    mean, deviation, *_ = statistics()
    return (y - mean) / deviation


def in_units(z, clip=True):
    mean, deviation, low, high = statistics()
    y = mean + deviation * z
    return np.clip(y, low, high) if clip else y


def network(scaled=True, policy="float64", loss="mse", optimizer=None, seed=0, outputs=2, **compiled):
    fastnn.utils.set_random_seed(seed)
    stack = [fastnn.Input((4,), dtype=policy), layers.Dense(16, "tanh"), layers.Dropout(0.1), layers.Dense(outputs)]
    if scaled:
        stack.append(layers.TargetScaling())
        stack[-1].adapt(Y[:, :outputs])
    model = fastnn.Sequential(stack)
    model.compile(optimizer or optimizers.Adam(0.02), loss, **compiled)
    return model


def fit(model, y=Y, **given):
    return model.fit(X, y, **{"epochs": 3, "batch_size": 16, "verbose": 0} | given).history


@pytest.mark.parametrize("policy", ["float32", "float64", "mixed_bfloat16"])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{loss.name} {loss.reduction}")
def test_the_network_learns_standardized_targets(loss, policy):
    dtype = "float64" if policy == "float64" else "float32"
    scaled, plain = network(True, policy, loss), network(False, policy, loss)
    weights = 0.5 + np.random.default_rng(1).random(len(X))
    history = fit(scaled, sample_weight=weights)
    # y as the engine reads it, standardized in float64
    other = fit(plain, standardized(Y.astype(dtype).astype(np.float64)), sample_weight=weights)
    assert all_state(scaled) == all_state(plain)
    assert history["loss"] == other["loss"]
    z = plain.predict(HELD[0]).astype(np.float64)
    # rounding of mean + deviation z in the model's dtype, relative to the mean
    tolerance = {"float32": 3e-7, "float64": 1e-15}[dtype] * np.abs(statistics()[0])
    assert (np.abs(scaled.predict(HELD[0]) - in_units(z)) <= tolerance).all()
    assert (in_units(z) != in_units(z, clip=False)).any()


def test_losses_of_evaluations_and_metrics_are_those_of_predictions():
    model = network(metrics=["mae", metrics.RootMeanSquaredError()])
    history = fit(model, validation_data=HELD)
    p = model.predict(HELD[0])
    expected = {
        "loss": np.mean((standardized(p) - standardized(HELD[1])) ** 2),
        "mae": np.mean(np.abs(p - HELD[1])),
        "root_mean_squared_error": np.sqrt(np.mean((p - HELD[1]) ** 2)),
    }
    found = model.evaluate(*HELD, verbose=0, return_dict=True)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12)
        np.testing.assert_allclose(history[f"val_{name}"][-1], value, rtol=1e-12)


def test_training_is_not_clipped():
    model = network(optimizer=optimizers.SGD(0.0), metrics=["mae"])
    model.layers[2].rate = 0.0
    model.layers[3].set_weights([5 * model.layers[3].get_weights()[0], np.ones(2)])
    apart = network(False)
    apart.layers[2].rate = 0.0
    apart.set_weights(model.get_weights())
    z = apart.predict(X)
    assert (in_units(z) != in_units(z, clip=False)).any()
    history = fit(model, epochs=1)
    np.testing.assert_allclose(history["loss"][0], np.mean((z - standardized(Y)) ** 2), rtol=1e-12)
    np.testing.assert_allclose(history["mae"][0], np.abs(in_units(z, clip=False) - Y).mean(), rtol=1e-12)
    np.testing.assert_allclose(model.forward(X, training=True), in_units(z, clip=False), rtol=1e-12)
    np.testing.assert_allclose(model.forward(X), in_units(z), rtol=1e-12)
    model.layers[-1].clip = False
    np.testing.assert_allclose(model.predict(X), in_units(z, clip=False), rtol=1e-12)


@pytest.mark.parametrize("training", [False, True])
def test_gradients_are_central_differences(training):
    model = network()
    model.layers[2].rate = 0.0
    direction = RNG.normal(size=(40, 2)) / Y.std(axis=0)
    model.forward(HELD[0], training=training)
    found = model.backward(direction)
    step, expected = 1e-6, np.empty_like(HELD[0])
    for column in range(4):
        shift = step * np.eye(4)[column]
        ahead, behind = (model.forward(HELD[0] + sign * shift, training=training) for sign in (1, -1))
        expected[:, column] = ((ahead - behind) / (2 * step) * direction).sum(axis=1)
    # the second differences of tanh's layers are of order 1, and outputs of order 1e3 have rounding of 1e-13 / step
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_frozen_saved_and_copied_models_answer_in_the_same_units(tmp_path):
    model = network(policy="float32", metrics=["mae"])
    fit(model)
    expected = model.predict(HELD[0])
    model.save(tmp_path / "m.fastnn")
    for other in (fastnn.load_model(tmp_path / "m.fastnn"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.predict(HELD[0]), expected)
        assert other.evaluate(*HELD, verbose=0) == model.evaluate(*HELD, verbose=0)
        assert other.get_config() == model.get_config()
    np.testing.assert_array_equal(model.freeze()(HELD[0].astype(np.float32)), expected)
    again = fastnn.Sequential.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again.predict(HELD[0]), expected)


def test_members_of_an_ensemble_train_as_alone():
    together, alone = [[network(seed=seed) for seed in (1, 2)] for _ in range(2)]
    fastnn.Ensemble(together).fit(X, Y, epochs=3, batch_size=16, verbose=0, validation_data=HELD)
    for model in alone:
        fit(model)
    assert list(map(all_state, together)) == list(map(all_state, alone))


def test_the_bits_do_not_depend_on_threads():
    def run():
        model = network(policy="float32", metrics=["mae"])
        history = fit(model, validation_data=HELD)
        return [*model.get_weights(), model.predict(HELD[0]), *history.values()]

    same_on_any_threads(run)


def test_each_head_may_have_its_own_units():
    def make(scaled):
        fastnn.utils.set_random_seed(0)
        own = {"price": [layers.Dense(1)], "kind": [layers.Dense(3, "softmax")], "weight": [layers.Dense(1)]}
        for name, y in (("price", Y[:, :1]), ("weight", Y[:, 1:])):
            if scaled:
                own[name].append(layers.TargetScaling())
                own[name][-1].adapt(y)
        model = fastnn.Sequential([fastnn.Input((4,), dtype="float64"), layers.Dense(8, "tanh"), layers.Heads(own)])
        wanted = {"price": "mse", "kind": "sparse_categorical_crossentropy", "weight": "mae"}
        model.compile(optimizers.Adam(0.02), wanted, metrics={"price": ["mae"]})
        return model

    z, kinds = standardized(Y), np.arange(len(X)) % 3
    scaled, plain = make(True), make(False)
    fit(scaled, {"price": Y[:, 0], "kind": kinds, "weight": Y[:, 1]})
    fit(plain, {"price": z[:, 0], "kind": kinds, "weight": z[:, 1]})
    # the standardized targets of NumPy and of the engine differ by a rounding
    for one, other in zip(scaled.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    found, other = scaled.predict(HELD[0]), plain.predict(HELD[0])
    expected = in_units(np.hstack([other["price"], other["weight"]]))
    np.testing.assert_allclose(np.hstack([found["price"], found["weight"]]), expected, rtol=1e-9)
    np.testing.assert_allclose(found["kind"], other["kind"], rtol=1e-9)


def test_quantiles_of_one_target_share_its_units():
    quantiles = losses.Quantile([0.1, 0.5, 0.9])
    fastnn.utils.set_random_seed(0)
    scaling = layers.TargetScaling()
    scaling.adapt(Y[:, 0])
    model = fastnn.Sequential([fastnn.Input((4,), dtype="float64"), layers.Dense(3), scaling])
    model.compile("adam", quantiles)
    fit(model, Y[:, 0])
    p = model.predict(X)
    mean, deviation = Y[:, 0].mean(), Y[:, 0].std()
    expected = quantiles((Y[:, 0] - mean) / deviation, (p - mean) / deviation)
    np.testing.assert_allclose(model.evaluate(X, Y[:, 0], verbose=0), expected, rtol=1e-12)
    scaling.mean = [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match="TargetScaling must have one mean and one deviation for the outputs of quant"):
        fit(model, Y[:, 0])


def test_lbfgs_minimizes_the_loss_of_standardized_targets():
    scaled, plain = (network(one, optimizer=optimizers.LBFGS()) for one in (True, False))
    for model in (scaled, plain):
        model.layers[2].rate = 0.0
    for model, y in ((scaled, Y), (plain, standardized(Y))):
        model.fit(X, y, epochs=20, verbose=0)
    for one, other in zip(scaled.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_numbers_that_are_set_count_from_the_next_call_on():
    model = network()
    fit(model)
    model.layers[-1].clip = False
    z = standardized(model.predict(X))
    mean, deviation, *_ = statistics()
    model.layers[-1].mean, model.layers[-1].deviation = 2 * mean, 2 * deviation
    np.testing.assert_allclose(model.predict(X), 2 * in_units(z, clip=False), rtol=1e-12)
    before = model.evaluate(X, Y * 2, verbose=0)
    np.testing.assert_allclose(before, np.mean((z - standardized(Y)) ** 2), rtol=1e-12)


def test_a_target_that_never_varies_has_deviation_1():
    scaling = layers.TargetScaling()
    scaling.adapt([[5.0], [5.0]])
    assert (scaling.mean, scaling.deviation, scaling.low, scaling.high) == ((5.0,), (1.0,), (5.0,), (5.0,))


def test_nan_stays_nan():
    model = network(policy="float32")
    assert np.isnan(model.predict(np.full((1, 4), np.nan))).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: network(loss="binary_crossentropy"), ValueError,
         r"TargetScaling needs a loss of differences, as mean_squared_error, and binary_crossentropy is none: Normal"),
        (lambda: network(loss="mape"), ValueError, "TargetScaling needs a loss of differences"),
        (lambda: network(loss=lambda t, y: (((y - t) ** 2).mean(), y)), ValueError, "TargetScaling needs a loss"),
        (lambda: layers.TargetScaling().adapt([[1.0], [np.nan]]), ValueError, "data must be finite, but row 1 is nan"),
        (lambda: layers.TargetScaling().adapt([]), ValueError, "data must have shape"),
        (lambda: layers.TargetScaling(deviation=0.0), ValueError, "deviation must be greater than 0, got 0.0"),
        (lambda: layers.TargetScaling(low=[0, 5], high=[1, 4]), ValueError, "low must be at most high, got 5.0 and"),
        (lambda: network().layers[-1].adapt(Y), ValueError, "belongs to a model that is built: call adapt before"),
        (lambda: network(outputs=3), ValueError, "has mean for 2 outputs, its input has 3"),
        (lambda: fit(fastnn.Sequential([layers.Dense(2), layers.TargetScaling()])), RuntimeError, "compile"),
    ],
)  # fmt: skip
def test_what_cannot_be_scaled_is_one_sentence(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_layer_that_is_not_adapted_says_so():
    model = fastnn.Sequential([layers.Dense(2), layers.TargetScaling()])
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match="has no mean yet: call adapt with the targets before"):
        fit(model)
    assert not model.built
