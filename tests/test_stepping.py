"""The parts of a step, and whole buffers of weights: what they compute, what they refuse, and what threads may do."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastnn
from fastnn import layers, optimizers

ROWS = 20


def network(dtype="float32", units=5, seed=0, name=None, more=()):
    """Return a network whose parameters have odd sizes, so that the buffer has room between them."""
    stack = [
        layers.Dense(units, "tanh"),
        layers.BatchNormalization(),
        layers.PReLU(),
        layers.Dense(2, name=name),
        *more,
    ]
    model = fastnn.Sequential([fastnn.Input((3,), dtype=dtype), *stack])
    generator = np.random.default_rng(seed)
    for view in model.weights:
        view[...] = generator.uniform(0.1, 1, view.shape)
    return model


def rows(width, dtype="float32", seed=1):
    return np.random.default_rng(seed).normal(size=(ROWS, width)).astype(dtype)


def between(flat, model):
    """Return where the buffer belongs to no weight."""
    free = np.ones(flat.size, bool)
    for spec in model._engine.plan.parameters:
        free[spec.place] = False
    return free


# ---- flat_weights, flat_gradients ----


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_flat_buffers_hold_all_parameters_in_their_order_and_nothing_else(dtype):
    model = network(dtype)
    model.forward(rows(3, dtype))
    model.backward(rows(2, dtype))
    for flat, views in ((model.flat_weights, model.weights), (model.flat_gradients, model.gradients)):
        assert flat.dtype == dtype
        assert flat.ndim == 1
        free = between(flat, model)
        assert free.any()
        assert not flat[free].any()
        np.testing.assert_array_equal(flat[~free], np.concatenate([view.ravel() for view in views]))
        places = [flat.ctypes.data <= view.ctypes.data < flat.ctypes.data + flat.nbytes for view in views]
        assert all(places)


def test_flat_buffers_are_written_in_place_and_set():
    model = network()
    theta = model.flat_weights.copy()
    model.flat_weights += 1
    np.testing.assert_array_equal(model.weights[0].ravel(), (theta + 1)[: model.weights[0].size])
    model.flat_weights = 2 * theta.astype(np.float64)
    np.testing.assert_array_equal(model.flat_weights, 2 * theta)
    view = model.flat_weights
    model.flat_weights = view[::-1]  # a view of the buffer itself
    np.testing.assert_array_equal(view, 2 * theta[::-1])
    model.flat_gradients = theta
    model.flat_gradients *= 3
    np.testing.assert_array_equal(model.flat_gradients, 3 * theta)
    np.testing.assert_array_equal(model.gradients[0].ravel(), 3 * theta[: model.weights[0].size])


@pytest.mark.parametrize("optimizer", ["adam", "muon", "adafactor", optimizers.SGD(0.1, global_clipnorm=0.1)])
def test_what_is_written_between_the_parameters_has_no_effect(optimizer):
    found = []
    for value in (0.0, np.nan):
        fastnn_seed = 3
        model = network("float64", 33)
        model._seed = fastnn_seed
        model.compile(optimizers.get(optimizers.serialize(optimizers.get(optimizer))), "mse")
        for flat in (model.flat_weights, model.flat_gradients):
            flat[between(flat, model)] = value
        model.fit(rows(3), rows(2), batch_size=8, epochs=2, verbose=0)
        model.forward(rows(3), training=True)
        model.backward(rows(2))
        model.apply_gradients()
        found.append([*model.get_weights(), *model.gradients, model.predict(rows(3)), model.freeze()(rows(3))])
        assert model.evaluate(rows(3), rows(2), verbose=0) > 0
    for plain, filled in zip(*found, strict=True):
        assert plain.tobytes() == filled.tobytes()


def test_setting_flat_weights_outdates_a_forward_pass():
    model = network()
    model.forward(rows(3))
    model.flat_weights = model.flat_weights.copy()
    with pytest.raises(RuntimeError, match="backward needs a forward pass"):
        model.backward(rows(2))


@pytest.mark.parametrize("attribute", ["flat_weights", "flat_gradients"])
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.zeros(3), ValueError, r"must have shape \(\d+,\), got \(3,\)"),
        (lambda flat: np.full(flat.shape, 1e300), ValueError, "must lie in the range of float32"),
        (lambda flat: np.full(flat.shape, "a"), TypeError, "must hold real numbers"),
        (lambda flat: flat * 1j, TypeError, "must hold real numbers, got complex data"),
    ],
)
def test_what_is_no_flat_buffer_is_refused(attribute, value, error, message):
    model = network()
    before = model.flat_weights.copy()
    with pytest.raises(error, match=f"^{attribute} {message}"):
        setattr(model, attribute, value(before) if callable(value) else value)
    np.testing.assert_array_equal(model.flat_weights, before)
    with pytest.raises(ValueError, match=f"{attribute} needs a built model"):
        getattr(fastnn.Sequential([layers.Dense(1)]), attribute)


# ---- apply_gradients ----


@pytest.mark.parametrize("make", [lambda: optimizers.Adam(0.1), lambda: optimizers.SGD(0.1, clipnorm=0.5)])
def test_a_step_with_given_gradients_is_that_with_the_same_gradients_in_place(make):
    given, in_place = network(), network()
    for model in (given, in_place):
        model.compile(make())
    for seed in range(3):
        gradient = np.random.default_rng(seed).normal(size=given.flat_weights.shape)
        given.apply_gradients(gradient)
        in_place.flat_gradients[:] = gradient
        in_place.apply_gradients()
        np.testing.assert_array_equal(given.flat_gradients, in_place.flat_gradients)
    for one, other in zip(given.get_weights(), in_place.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert given.optimizer.iterations == 3


def test_gradients_that_cannot_be_applied_change_nothing():
    model = network()
    with pytest.raises(RuntimeError, match="apply_gradients needs a compiled model"):
        model.apply_gradients()
    model.compile("adam")
    model.flat_gradients[:] = 1
    before = model.flat_weights.copy()
    for wrong, error in ((np.zeros(3), ValueError), (["a"], TypeError), (model.gradients, (ValueError, TypeError))):
        with pytest.raises(error, match="gradients"):
            model.apply_gradients(wrong)
    np.testing.assert_array_equal(model.flat_weights, before)
    assert (model.flat_gradients == 1).all()
    assert model.optimizer.iterations == 0


# ---- backward: by the inputs, by the parameters, by both ----

STACKS = {
    "small": lambda: [layers.Dense(7, "tanh"), layers.Dense(2)],
    "wide": lambda: [layers.Dense(300, "relu"), layers.Dense(300, "tanh"), layers.Dense(2)],
    "normalized": lambda: [layers.Dense(7), layers.BatchNormalization(), layers.Dropout(0.3), layers.Dense(2)],
    "residual": lambda: [layers.Dense(3), layers.Residual([layers.Dense(3, "silu")]), layers.Dense(2)],
    "no dense first": lambda: [layers.LayerNormalization(), layers.Dense(2)],
}


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("features", [3, 400])
def test_each_half_of_a_backward_pass_is_that_of_the_whole(stack, features):
    model = fastnn.Sequential(
        [fastnn.Input((features,)), *STACKS[stack]()]
        if stack != "residual" or features == 3
        else [fastnn.Input((features,)), layers.Dense(3), *STACKS[stack]()]
    )
    x, dy = rows(features), rows(2)
    model.forward(x, training=True)
    by_inputs = model.backward(dy)
    by_weights = model.flat_gradients.copy()
    model.flat_gradients[:] = 7
    assert model.backward(dy, weights=False).tobytes() == by_inputs.tobytes()
    assert (model.flat_gradients == 7).all()
    model.flat_gradients[:] = 0
    assert model.backward(dy, inputs=False) is None
    assert model.flat_gradients.tobytes() == by_weights.tobytes()


def test_a_backward_pass_says_which_rows_it_needs():
    model = network()
    model.forward(rows(3), training=True)
    with pytest.raises(
        ValueError, match=rf"^grad must have the {ROWS} rows of the last forward pass, got shape \(4, 2\)"
    ):
        model.backward(rows(2)[:4])
    model.backward(np.asfortranarray(rows(2)))
    model.forward(rows(3)[:0], training=True)
    with pytest.raises(RuntimeError, match="backward needs a forward pass of rows"):
        model.backward(rows(2)[:0])


def test_what_a_backward_pass_is_to_compute_is_checked():
    model = network()
    model.forward(rows(3))
    with pytest.raises(ValueError, match="backward needs inputs=True or weights=True"):
        model.backward(rows(2), inputs=False, weights=False)
    for name in ("inputs", "weights"):
        with pytest.raises(TypeError, match=f"{name} must be True or False, got 1"):
            model.backward(rows(2), **{name: 1})
    assert model.backward(rows(2)).shape == (ROWS, 3)


# ---- blend, copy_weights_from ----


@pytest.mark.parametrize(("dtype", "rounding"), [("float32", 2e-7), ("float64", 4e-16)])
@pytest.mark.parametrize("tau", [0, 0.005, 0.5, 1, np.float32(0.25)])
def test_a_blend_is_its_formula(dtype, rounding, tau):
    target, model = network(dtype, seed=1), network(dtype, seed=2, name="another")
    before, theirs = target.get_weights(), model.get_weights()
    target.blend(model, tau)
    for old, other, new in zip(before, theirs, target.get_weights(), strict=True):
        wanted = float(tau) * other.astype(np.float64) + (1 - float(tau)) * old
        np.testing.assert_allclose(new, wanted, rtol=rounding)  # weights are positive: two products and a sum
    for kept, now in zip(theirs, model.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, now)


def test_weights_that_are_copied_are_the_others_to_the_bit():
    target, model = network(seed=1), network(seed=2)
    target.weights[0][0, 0], target.weights[1][0] = np.inf, np.nan
    model.weights[2][0] = np.nan
    target.copy_weights_from(model)
    assert target.flat_weights.tobytes() == model.flat_weights.tobytes()
    target.copy_weights_from(target)
    target.blend(target, 0.3)
    assert target.flat_weights.tobytes() == model.flat_weights.tobytes()


def test_a_blend_outdates_a_forward_pass_and_leaves_the_optimizer_alone():
    target, model = network(seed=1), network(seed=2)
    target.compile("adam", "mse")
    target.train_on_batch(rows(3), rows(2))
    slots = [slot.copy() for slot in target.optimizer.variables]
    target.forward(rows(3))
    model.forward(rows(3))
    target.blend(model, 0.5)
    model.backward(rows(2))  # which has only been read
    with pytest.raises(RuntimeError, match="backward needs a forward pass"):
        target.backward(rows(2))
    for before, now in zip(slots, target.optimizer.variables, strict=True):
        np.testing.assert_array_equal(before, now)
    assert target.optimizer.iterations == 1


@pytest.mark.parametrize(
    "call", [lambda one, other: one.blend(other, 0.5), lambda one, other: one.copy_weights_from(other)]
)
@pytest.mark.parametrize(
    ("other", "error", "message"),
    [
        (lambda: network(units=6), ValueError, r"has kernel of layer 'dense', shape \(3, 6\), in place of kernel"),
        (lambda: network("float64"), ValueError, "other must have weights of float32, as this model, got float64"),
        (
            lambda: fastnn.Sequential([fastnn.Input((3,)), layers.Dense(5)]),
            ValueError,
            "lacks gamma of layer 'batch_normalization'",
        ),
        (
            lambda: network(more=[layers.Dense(9)]),
            ValueError,
            r"has kernel of layer '.*', shape \(2, 9\), besides",
        ),
        (lambda: fastnn.Sequential([layers.Dense(5)]), ValueError, "other in .* needs a built model"),
        (lambda: network().get_weights(), TypeError, "other must be a Sequential, got list"),
    ],
)
def test_a_model_with_other_weights_is_refused(call, other, error, message):
    model = network()
    before = model.flat_weights.copy()
    with pytest.raises(error, match=message):
        call(model, other())
    np.testing.assert_array_equal(model.flat_weights, before)


@pytest.mark.parametrize("tau", [-0.1, 1.5, np.nan, "a", True, None])
def test_a_tau_that_is_no_share_is_refused(tau):
    with pytest.raises((ValueError, TypeError), match="tau must be"):
        network().blend(network(), tau)


def test_models_that_blend_with_each_other_do_not_wait_for_ever():
    """Each thread needs both locks, in the other's order; and others train, predict and copy meanwhile."""
    one, other = network(seed=1), network(seed=2)
    for model in (one, other):
        model.compile("sgd", "mse")
    calls = [
        lambda: one.blend(other, 0.3),
        lambda: other.blend(one, 0.3),
        lambda: one.copy_weights_from(other),
        lambda: one.train_on_batch(rows(3), rows(2)),
        lambda: other.predict(rows(3)),
    ]
    with ThreadPoolExecutor(len(calls)) as pool:
        for done in [pool.submit(lambda call=call: [call() for _ in range(200)]) for call in calls]:
            done.result(60)


def test_a_loss_in_python_may_blend_its_model_into_another_and_not_another_into_its_model():
    model, target, seen = network(seed=1), network(seed=2), []

    def loss(y, predicted):
        before = target.flat_weights.copy()
        target.blend(model, 0.5)
        seen.append((before, target.flat_weights.copy()))
        with pytest.raises(RuntimeError, match="running in this thread"):
            model.blend(target, 0.5)
        return np.square(predicted - y).mean(axis=1), 2 * (predicted - y) / y.shape[1]

    model.compile(optimizers.SGD(0.0), loss)
    theirs = model.flat_weights.copy()
    trained = np.zeros(theirs.size, bool)
    for spec in model._engine.plan.parameters:  # the others are moving statistics, which the step moves
        trained[spec.place] = spec.trainable
    model.train_on_batch(rows(3), rows(2))
    assert seen
    for before, after in seen:
        np.testing.assert_allclose(after[trained], (before + theirs)[trained] / 2, rtol=3e-7)  # rounded twice


def test_weights_need_not_be_finite():
    """Keras's set_weights takes them too: a search over weights may come there, and sees NaN in the outputs."""
    model = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1)])
    flat = np.full_like(model.flat_weights, np.nan)
    model.flat_weights = flat
    assert np.isnan(model.get_weights()[0]).all()
    model.set_weights([np.full((2, 1), np.inf), np.zeros(1)])
    assert np.isinf(model.flat_weights[:2]).all()
