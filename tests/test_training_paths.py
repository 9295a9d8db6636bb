"""Every way to split a training step into phases gives the formula's gradients, and the same bits for any threads."""

import numpy as np
import pytest
from bits import same_on_any_threads
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import layers
from fastnn._engine import build_info

# Widths on both sides of the plan's limits for small, wide and large layers, and some without small divisors.
WIDTHS = st.sampled_from([1, 3, 17, 32, 64, 100, 129, 257, 300])
ACTIVATIONS = st.sampled_from(["linear", "relu", "sigmoid", "tanh", "softmax"])


def network(widths, activations, dtype):
    hidden = [layers.Dense(n, a) for n, a in zip(widths[1:], activations, strict=True)]
    model = fastnn.Sequential([fastnn.Input((widths[0],), dtype=dtype), *hidden])
    generator = np.random.default_rng(list(widths))
    for view in model.weights:
        view[...] = generator.normal(size=view.shape) / np.sqrt(view.shape[0])
    return model


def derivative(name, y, dy):
    if name == "softmax":
        return y * (dy - (dy * y).sum(axis=1, keepdims=True))
    return dy * {"linear": 1.0, "relu": y > 0, "sigmoid": y * (1 - y), "tanh": 1 - y * y}[name]


def reference(model, activations, x, dy):
    """Return outputs and all gradients by the formulas, in float64."""
    functions = {
        "linear": lambda z: z,
        "relu": lambda z: np.maximum(z, 0),
        "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
        "tanh": np.tanh,
        "softmax": lambda z: np.exp(z - z.max(1, keepdims=True)) / np.exp(z - z.max(1, keepdims=True)).sum(1)[:, None],
    }
    weights = [w.astype(np.float64) for w in model.get_weights()]
    values = [x.astype(np.float64)]
    for kernel, bias, name in zip(weights[::2], weights[1::2], activations, strict=True):
        values.append(functions[name](values[-1] @ kernel + bias))
    gradients, output = [], values[-1]
    for k in reversed(range(len(activations))):
        dz = derivative(activations[k], values[k + 1], dy)
        gradients[:0] = [values[k].T @ dz, dz.sum(axis=0)]
        dy = dz @ weights[2 * k].T
    return output, gradients, dy


@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
@pytest.mark.filterwarnings("ignore:softmax over one unit")
@settings(deadline=None, max_examples=60)
@given(
    widths=st.lists(WIDTHS, min_size=2, max_size=5),
    names=st.lists(ACTIVATIONS, min_size=4, max_size=4),
    rows=st.sampled_from([1, 2, 7, 32, 33, 100, 256, 257, 300]),
    threads=st.sampled_from([1, 2, 3, 8]),
)
def test_gradients_of_any_stack(widths, names, rows, threads):
    activations = names[: len(widths) - 1]
    model = network(widths, activations, "float64")
    generator = np.random.default_rng(rows)
    x, dy = generator.normal(size=(rows, widths[0])), generator.normal(size=(rows, widths[-1]))
    output, gradients, dx = reference(model, activations, x, dy)
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(threads)
    try:
        # Float64 sums of a few hundred terms in another order.
        np.testing.assert_allclose(model.forward(x), output, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(model.backward(dy), dx, rtol=1e-9, atol=1e-11)
        for ours, theirs in zip(model.gradients, gradients, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)
    finally:
        fastnn.set_num_threads(before)


@settings(deadline=None, max_examples=30)
@given(
    widths=st.lists(st.sampled_from([10, 64, 129, 200, 257, 300]), min_size=2, max_size=4),
    rows=st.sampled_from([40, 64, 128, 200, 257]),
    threads=st.sampled_from([1, 2, 3, 8]),
)
@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
def test_gradients_of_float32(widths, rows, threads):
    """Some paths exist in float32 alone. A relu would not do: rounding turns some of its units on or off."""
    activations = ["tanh", "sigmoid", "linear"][: len(widths) - 1]
    model = network(widths, activations, "float32")
    generator = np.random.default_rng(rows)
    x, dy = (generator.normal(size=(rows, n)).astype(np.float32) for n in (widths[0], widths[-1]))
    output, gradients, dx = reference(model, activations, x, dy.astype(np.float64))
    with fastnn.num_threads(threads):
        ours = [model.forward(x), model.backward(dy), *model.gradients]
    for actual, expected in zip(ours, [output, dx, *gradients], strict=True):
        # Three layers' sums of up to 300 terms, each rounded to 6e-8 of the largest.
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("widths", "batch"),
    [
        ((30, 64, 64, 2), 32),  # small kernels: cut up by rows
        ((784, 128, 128, 10), 32),  # wide kernels and a small batch: cut into parts
        ((784, 128, 128, 10), 400),  # a batch that is too large for parts
        ((64, 256, 32, 256, 300, 5), 17),  # small and wide layers in turn
        ((256, 300, 1800, 300, 10), 40),  # a large layer between wide ones
        ((300, 1800, 300), 64),  # a large layer first and last
        ((100, 300, 250, 64, 10), 150),  # kernels that many rows make large, whose tiles are rows or columns
        ((200, 300, 200, 10), 64),  # fewer rows do where the layers are larger
    ],
)
def test_bits_do_not_depend_on_threads(widths, batch, dtype):
    generator = np.random.default_rng(0)
    x = generator.random((3 * batch + 5, widths[0])).astype(dtype)
    y = generator.integers(0, widths[-1], len(x))
    names = ["relu", "tanh", "relu", "sigmoid", "relu"][: len(widths) - 2]

    def trained():
        model = network(widths, [*names, "softmax"], dtype)
        model.compile("adam", "sparse_categorical_crossentropy")
        history = model.fit(x, y, batch_size=batch, epochs=2, shuffle=False, verbose=0)
        return [*model.get_weights(), history.history["loss"]]

    same_on_any_threads(trained)


def test_mixed_bfloat16_trains_as_well_as_float32():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(512, 512)).astype("float32")
    y = (x @ generator.normal(size=(512, 4))).argmax(axis=1)
    losses, predictions = {}, {}
    for policy in ("float32", "mixed_bfloat16"):
        stack = [layers.Dense(1100, "relu", dtype=policy), layers.Dense(600, "relu"), layers.Dense(4, "softmax")]
        model = fastnn.Sequential([fastnn.Input((512,), dtype=policy), *stack])
        for view in model.weights:
            view[...] = np.random.default_rng(view.size).normal(size=view.shape) / np.sqrt(view.shape[0])
        model.compile("adam", "sparse_categorical_crossentropy")
        assert model.dtype == "float32"
        predictions[policy] = model.predict(x)
        losses[policy] = model.fit(x, y, batch_size=64, epochs=8, shuffle=False, verbose=0).history["loss"]
    difference = np.abs(predictions["float32"] - predictions["mixed_bfloat16"]).max()
    assert 0 < difference < 0.05  # operands are rounded to 8 bits, and sums have a thousand of them
    np.testing.assert_allclose(losses["mixed_bfloat16"], losses["float32"], rtol=0.1, atol=0.01)
    assert losses["mixed_bfloat16"][-1] < 0.1 * losses["mixed_bfloat16"][0]


def test_mixed_bfloat16_rounds_smaller_layers_in_training_alone():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(256, 40)).astype("float32")
    y = np.sin(x[:, :1]) + x[:, 1:2]
    kernel = generator.normal(size=(40, 256)).astype("float32") / 6
    steps, predictions = {}, {}
    for policy in ("float32", "mixed_bfloat16"):
        model = fastnn.Sequential(
            [fastnn.Input((40,), dtype=policy), layers.Dense(256, "tanh"), layers.Dense(64, "tanh"), layers.Dense(1)]
        )
        for view in model.weights:
            view[...] = np.resize(kernel, view.shape)
        model.compile("sgd", "mse")
        predictions[policy] = model.predict(x)
        steps[policy] = [model.train_on_batch(x[:rows], y[:rows]) for rows in (64, 256)], model.get_weights()
    np.testing.assert_array_equal(predictions["mixed_bfloat16"], predictions["float32"])
    (few, many), weights = steps["mixed_bfloat16"]
    assert few == steps["float32"][0][0]  # a batch of few rows is not rounded
    assert np.isclose(many, steps["float32"][0][1], rtol=0.01)  # operands have 8 bits
    rounds = build_info()["isa"] in ("avx512_bf16", "amx_bf16")
    assert (many != steps["float32"][0][1]) == rounds
    for one, other in zip(weights, steps["float32"][1], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_bfloat16"])
@pytest.mark.parametrize("rows", [20, 200])
def test_products_that_take_the_factor_before_them(dtype, rows):
    """Networks of ntk layers beside such with the factor within the kernel; 200 rows are packed, 20 are not."""
    generator = np.random.default_rng(rows)
    x, dy = generator.normal(size=(rows, 40)), generator.normal(size=(rows, 3))
    answers = {}
    for parametrization in ("standard", "ntk"):
        stack = []
        for units in (300, 256, 600, 500):  # the last kernel is a large one
            stack += [layers.Dense(units, "tanh", parametrization=parametrization), layers.Dropout(0.2, seed=units)]
        model = fastnn.Sequential([fastnn.Input((40,), dtype=dtype), *stack, layers.Dense(3)])
        widths = [40, 300, 256, 600, 500]
        for place, view in enumerate(model.weights[:-2]):
            start = np.random.default_rng(place).normal(size=view.shape)
            factor = widths[place // 2] ** -0.5 if place % 2 == 0 else 1.0
            view[...] = start * (factor if parametrization == "standard" else 1.0)
        model.weights[-2][...] = np.random.default_rng(9).normal(size=(500, 3)) / 20
        y = model.forward(x, training=True)
        dx = model.backward(dy)
        gradients = [np.array(each) for each in model.gradients]
        if parametrization == "ntk":  # dy/dW is the factor times what it is where W has the factor within
            for layer, width in enumerate(widths[:4]):
                gradients[2 * layer] = gradients[2 * layer] * width**0.5
        answers[parametrization] = [y, dx, *gradients]
    # sums of hundreds of products of relative error 2**-24, or 2**-9 of operands that are rounded to bfloat16
    tolerance = {"float32": 1e-5, "float64": 1e-13, "mixed_bfloat16": 2e-2}[dtype]
    for one, other in zip(answers["ntk"], answers["standard"], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(other).max())


@pytest.mark.thread_unsafe(reason="the policy is the process's")
def test_the_default_policy_is_kept_in_the_file(tmp_path):
    fastnn.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = fastnn.Sequential([fastnn.Input((3,)), layers.Dense(2)])
    finally:
        fastnn.config.set_dtype_policy("float32")
    model.save(tmp_path / "model.fastnn")
    loaded = fastnn.load_model(tmp_path / "model.fastnn")
    assert loaded.layers[0].dtype == "mixed_bfloat16"
    with pytest.raises(ValueError, match="mixed_bfloat16"):
        fastnn.config.set_dtype_policy("bfloat8")


@pytest.mark.thread_unsafe(reason="threads are the process's")
def test_more_threads_between_forward_and_backward():
    model = network((300, 200, 3), ["relu", "linear"], "float64")
    x, dy = np.ones((40, 300)), np.ones((40, 3))
    with fastnn.num_threads(1):
        model.forward(x)
        expected = model.backward(dy)
        model.forward(x)
        with fastnn.num_threads(8):
            np.testing.assert_array_equal(model.backward(dy), expected)


def test_another_network_may_run_while_a_large_one_trains():
    """A progress function may run another network, which enters and leaves the processor's matrix unit."""
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(3000, 600)).astype(np.float32), generator.normal(size=(3000, 1)).astype(np.float32)

    def trained(epochs, progress=None):
        model = fastnn.Sequential([fastnn.Input((600,)), layers.Dense(600, "relu"), layers.Dense(1)])
        weights = np.random.default_rng(1)
        model.set_weights([weights.normal(size=w.shape) * 0.04 for w in model.weights])
        model.compile("adam", "mse")
        model.train_on_batch(x[:32], y[:32])
        order, rates = np.tile(np.arange(3000), epochs), model.optimizer.hyperparameters()
        model._engine.train(x, y, order, 64, rates, progress)
        return model.get_weights()

    other = fastnn.Sequential([fastnn.Input((600,)), layers.Dense(600, "relu"), layers.Dense(1)])
    calls, epochs = [], 1
    while not calls:  # until a run takes longer than the 20 ms between two calls
        epochs *= 2
        together = trained(epochs, lambda steps, sums: calls.append(other.predict(x[:200], verbose=0)))
    alone = trained(epochs)
    for ours, theirs in zip(together, alone, strict=True):
        np.testing.assert_array_equal(ours, theirs)
