"""Several numbers of each column, and activations whose strength is learned: their formulas, and their papers' code."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import activations, initializers, layers, losses, optimizers

with np.load(Path(__file__).parent / "reference" / "tables.npz") as file:
    RECORDED = {key: file[key] for key in file.files}
# For each case of tests/reference/record_tables.py the layer that it is.
PERIODIC = {"frequencies": 4, "units": 5, "phases": False, "densely_connected": False}
RECORDED_LAYERS = {
    "PBLD": lambda: layers.PeriodicEmbedding(5, 2),
    "PLR": lambda: layers.PeriodicEmbedding(activation="relu", **PERIODIC),
    "PL": lambda: layers.PeriodicEmbedding(**PERIODIC),
    "PLR lite": lambda: layers.PeriodicEmbedding(activation="relu", share_weights=True, **PERIODIC),
    "L": lambda: layers.LinearEmbedding(4),
    "LR": lambda: layers.LinearEmbedding(4, "relu"),
}


def alone(layer, columns, dtype="float64"):
    return fastnn.Sequential([fastnn.Input((columns,), dtype=dtype), layer])


def of_case(name, values, shapes):
    """Return recorded parameters, or their gradients, in fastnn's shapes.

    A shared map is a Linear of PyTorch there, whose kernel is transposed.
    """
    parts = [RECORDED[f"{name}/{values}{k}"] for k in range(len(shapes))]
    return [
        (p.T if name == "PLR lite" and k == 1 else p).reshape(s)
        for k, (p, s) in enumerate(zip(parts, shapes, strict=True))
    ]


@pytest.mark.parametrize("name", RECORDED_LAYERS)
def test_embeddings_are_those_of_their_papers(name):
    x, upstream, y, dx = (RECORDED[f"{name}/{part}"] for part in ("x", "upstream", "y", "dx"))
    if name == "PBLD":  # pytabkit puts x behind the numbers of its columns
        y, upstream = np.roll(y, 3, axis=1), np.roll(upstream, 3, axis=1)
    model = alone(RECORDED_LAYERS[name](), x.shape[1])
    shapes = [array.shape for array in model.get_weights()]
    model.set_weights(of_case(name, "p", shapes))
    close = {"rtol": 1e-12, "atol": 1e-14}
    np.testing.assert_allclose(model.forward(x), y, **close)
    np.testing.assert_allclose(model.backward(upstream), dx, **close)
    for found, expected in zip(model.gradients, of_case(name, "dp", shapes), strict=True):
        np.testing.assert_allclose(found, expected, **close)


# ---- formulas in NumPy, in every path ----


def embedded(layer, x, weights):
    """Return what a PeriodicEmbedding or a LinearEmbedding makes of rows, by its formula."""
    rows, columns = x.shape
    if isinstance(layer, layers.LinearEmbedding):
        kernel, bias = weights
        return layer.activation(x[:, :, None] * kernel + bias.reshape(kernel.shape)).reshape(rows, -1)
    frequencies, kernel, bias = weights[0], *weights[-2:]
    z = 2 * np.pi * x[:, :, None] * frequencies
    h = np.cos(z + weights[1].reshape(frequencies.shape)) if layer.phases else np.concatenate([np.cos(z), np.sin(z)], 2)
    maps = 1 if layer.share_weights else columns
    y = np.einsum(
        "rjm,jmu->rju", h, np.broadcast_to(kernel.reshape(maps, h.shape[2], -1), (columns, *h.shape[2:], layer.units))
    )
    y = layer.activation(y + bias.reshape(maps, -1)).reshape(rows, -1)
    return np.hstack([x, y]) if layer.densely_connected else y


KINDS = st.one_of(
    st.builds(
        lambda *given: ("LinearEmbedding", given[0], {}),
        st.fixed_dictionaries({"units": st.integers(1, 40)}),
    ),
    st.tuples(
        st.just("PeriodicEmbedding"),
        st.fixed_dictionaries({"frequencies": st.integers(1, 40), "units": st.integers(1, 40)}),
        st.fixed_dictionaries({name: st.booleans() for name in ("phases", "densely_connected", "share_weights")}),
    ),
)


@given(
    kind=KINDS,
    rows=st.integers(1, 70),
    columns=st.integers(1, 40),
    activation=st.sampled_from([None, "relu", "gelu", "tanh"]),
    dtype=st.sampled_from(["float32", "float64"]),
)
@settings(max_examples=60)
def test_formula_of_embeddings_in_every_path(kind, rows, columns, activation, dtype):
    name, sizes, switches = kind
    layer = getattr(layers, name)(**sizes, activation=activation, **switches)
    model = alone(layer, columns, dtype)
    x = np.random.default_rng([rows, columns]).normal(size=(rows, columns)).astype(dtype)
    y = model.predict(x)
    expected = embedded(layer, x.astype("float64"), [w.astype("float64") for w in model.get_weights()])
    # Sums of up to 80 terms of about 0.1, each with errors of some ulp; beyond that relu and tanh lose nothing.
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 if dtype == "float32" else 1e-13)
    for other in (model.freeze()(x), model.forward(x), np.vstack([model.predict(x[k : k + 1]) for k in range(rows)])):
        np.testing.assert_allclose(other, y, rtol=0, atol=1e-6 if dtype == "float32" else 1e-14)


# ---- gradients ----


def slopes(value, array, indices, step=1e-6):
    """Yield the derivative of value() by some elements of an array, by central differences."""
    for index in indices:
        kept = array.flat[index]
        array.flat[index] = kept + step
        above = value()
        array.flat[index] = kept - step
        below = value()
        array.flat[index] = kept
        yield (above - below) / (2 * step)


STACKS = {
    "linear": lambda: [layers.LinearEmbedding(19, "tanh")],
    "waves": lambda: [layers.PeriodicEmbedding(5, 3, 0.3)],
    "sines": lambda: [layers.PeriodicEmbedding(17, 2, 0.3, "gelu", phases=False, densely_connected=False)],
    "shared": lambda: [layers.PeriodicEmbedding(5, 18, 0.3, "tanh", share_weights=True)],
    "shared sines": lambda: [layers.PeriodicEmbedding(3, 2, 0.3, phases=False, share_weights=True)],
    "some": lambda: [layers.PeriodicEmbedding(4, 2, 0.3, columns=[1, 4]), layers.LinearEmbedding(2, columns=[0])],
    "parametric": lambda: [layers.Dense(7), *(layers.ParametricActivation(f) for f in ("selu", "mish", "cos"))],
}


@pytest.mark.parametrize("clipnorm", [None, 1e9], ids=["at once", "stored"])
@pytest.mark.parametrize("stack", STACKS)
def test_gradients_by_central_differences(stack, clipnorm):
    """A step of gradient descent shows the gradients; where they are clipped they are stored before."""
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(23, 6)), generator.normal(size=(23, 2))
    model = fastnn.Sequential([fastnn.Input((6,), dtype="float64"), layers.Scale(), *STACKS[stack](), layers.Dense(2)])
    for view in model.weights:
        view[...] += 0.1 * generator.normal(size=view.shape)
    model.compile(optimizers.SGD(1.0, clipnorm=clipnorm), losses.MeanSquaredError())
    before = model.get_weights()
    model.fit(x, y, batch_size=23, epochs=1, shuffle=False, verbose=0)
    gradients = [a - b for a, b in zip(before, model.get_weights(), strict=True)]
    model.set_weights(before)
    for view, gradient in zip(model.weights, gradients, strict=True):
        some = generator.choice(view.size, min(view.size, 12), replace=False)
        numeric = list(slopes(lambda: ((model.predict(x) - y) ** 2).mean(), view, some))
        # The truncation is step² times a third derivative of some tens; the rounding is 1e-16 / step.
        np.testing.assert_allclose(gradient.flat[some], numeric, rtol=1e-6, atol=1e-8)


# ---- what layers promise besides ----


def test_periodic_embedding_starts_as_the_paper_says():
    fastnn.utils.set_random_seed(0)
    layer = layers.PeriodicEmbedding(16, 3, 0.1)
    alone(layer, 500)
    frequencies, phases, kernel, bias = layer.get_weights()
    assert frequencies.shape == (500, 16)
    # 8000 numbers: the standard error of a deviation is below 1 %.
    assert abs(frequencies.std() / 0.1 - 1) < 0.05
    for values, limit in ((phases, np.pi), (kernel, 0.25), (bias, 0.25)):
        assert abs(values).max() <= limit
        assert abs(values).max() > 0.98 * limit


def test_factors_of_rates_go_by_the_names_of_parameters():
    x, y = np.random.default_rng(0).normal(size=(8, 2)), np.zeros((8, 8))
    layer = layers.PeriodicEmbedding()
    model = alone(layer, 2)
    layer.learning_rate_multiplier = {"frequencies": 0.0, "phases": 0.1, "kernel": 0.0, "bias": 0.0}
    model.compile(optimizers.SGD(0.1), "mse")
    before = model.get_weights()
    model.fit(x, y, verbose=0)
    changed = [bool((a != b).any()) for a, b in zip(before, model.get_weights(), strict=True)]
    assert changed == [False, True, False, False]
    layer.learning_rate_multiplier = {"frequency": 0.1}
    with pytest.raises(ValueError, match=r"no parameter 'frequency'.*'frequencies'"):
        model.compile("sgd", "mse")


def test_columns_that_are_not_named_come_first():
    x = np.random.default_rng(0).normal(size=(5, 4))
    model = alone(layers.LinearEmbedding(2, columns=[3, 0]), 4)
    kernel, bias = model.get_weights()
    expected = [x[:, 1:3], x[:, :1] * kernel[0] + bias[:2], x[:, 3:] * kernel[1] + bias[2:]]
    np.testing.assert_allclose(model.predict(x), np.hstack(expected), rtol=1e-14)


@pytest.mark.parametrize("f", ["mish", "selu", "gelu"])
@pytest.mark.parametrize("reads_x", [True, False])
def test_a_step_of_a_parametric_activation(f, reads_x):
    """The gradient of alpha comes with that by the input, or alone where the layer reads x."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(70, 300)), random.normal(size=(70, 300))
    layer = layers.ParametricActivation(f, initializers.RandomUniform(-0.5, 1.5, seed=1))
    before = [] if reads_x else [layers.Rescaling(1.0)]
    model = fastnn.Sequential([fastnn.Input((300,), dtype="float64"), *before, layer])
    model.compile(fastnn.optimizers.SGD(1.0), "mse")
    (alpha,) = model.get_weights()
    plain = fastnn.Sequential([fastnn.Input((300,), dtype="float64"), layers.Activation(f)]).predict(x)
    dy = 2 * (x + alpha * (plain - x) - y) / y.size
    model.train_on_batch(x, y)
    np.testing.assert_allclose(alpha - model.get_weights()[0], (dy * (plain - x)).sum(axis=0), rtol=0, atol=1e-14)


@pytest.mark.parametrize("make", [layers.ParametricActivation, lambda f: layers.LinearEmbedding(2, f),
                                  lambda f: layers.PeriodicEmbedding(activation=f)])  # fmt: skip
def test_activations_of_whole_rows_are_refused(make):
    with pytest.raises(ValueError, match=r"activation must work element by element in a .*, got 'softmax'"):
        make("softmax")


@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 300),
    f=st.sampled_from([f for f in map(activations.get, activations._registry._members) if f.elementwise]),
)
@settings(max_examples=40)
def test_parametric_activation(rows, columns, f):
    generator = np.random.default_rng([rows, columns])
    x, dy = generator.normal(size=(rows, columns)), generator.normal(size=(rows, columns))
    layer = layers.ParametricActivation(f, initializers.RandomUniform(-0.5, 1.5))
    model, plain = alone(layer, columns), alone(layers.Activation(f), columns)
    alpha = layer.get_weights()[0]
    for y in (model.predict(x), model.freeze()(x), model.forward(x)):
        np.testing.assert_allclose(y, x + alpha * (f(x) - x), rtol=1e-12, atol=1e-13)
    fx = plain.forward(x)
    df = plain.backward(np.ones_like(x))
    np.testing.assert_allclose(model.backward(dy), dy * (1 + alpha * (df - 1)), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(model.gradients[0], (dy * (fx - x)).sum(axis=0), rtol=1e-11, atol=1e-12)


def test_a_parametric_activation_begins_as_the_activation():
    x = 10 * np.random.default_rng(0).normal(size=(50, 7))
    model, plain = alone(layers.ParametricActivation("selu"), 7), alone(layers.Activation("selu"), 7)
    np.testing.assert_array_equal(model.predict(x), plain.predict(x))


def test_members_of_an_ensemble_are_trained_as_alone():
    def make(seed):
        fastnn.utils.set_random_seed(seed)
        stack = [layers.PeriodicEmbedding(4, 2), layers.Dense(8), layers.ParametricActivation("mish"), layers.Dense(1)]
        model = fastnn.Sequential([fastnn.Input((3,)), *stack])
        model.compile(optimizers.Adam(0.01), "mse")
        return model

    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(60, 3)), generator.normal(size=(60, 1))
    together = fastnn.Ensemble([make(seed) for seed in range(3)])
    together.fit(x, y, epochs=2, verbose=0, shuffle=False)
    for seed, member in enumerate(together.models):
        model = make(seed)
        model.fit(x, y, epochs=2, verbose=0, shuffle=False)
        for ours, theirs in zip(member.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
