"""Layers beyond Dense: gradients by central differences, formulas, bits over threads, files, frozen models."""

import math

import numpy as np
import pytest
import scipy.sparse
from bits import same_on_any_threads
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import layers

HIDDEN = {
    "dense": lambda: layers.Dense(7, "tanh"),
    "wide": lambda: layers.Dense(190, "tanh"),
    "activation": lambda: layers.Activation("sigmoid"),
    "dropout": lambda: layers.Dropout(0.3),
    "alpha": lambda: layers.AlphaDropout(0.2, seed=3),
    "gaussian": lambda: layers.GaussianDropout(0.2),
    "noise": lambda: layers.GaussianNoise(0.3),
    "layer": lambda: layers.LayerNormalization(),
    "plain": lambda: layers.LayerNormalization(center=False, scale=False),
    "rms": lambda: layers.RMSNormalization(),
    "unit": lambda: layers.UnitNormalization(),
    "batch": lambda: layers.BatchNormalization(),
    "rescaling": lambda: layers.Rescaling(0.5, -1.0),
    "normalization": lambda: layers.Normalization(mean=1.0, variance=4.0),
    "inverse": lambda: layers.Normalization(mean=1.0, variance=4.0, invert=True),
    "prelu": lambda: layers.PReLU(),
    "scale": lambda: layers.Scale(),
    "parametric": lambda: layers.ParametricActivation("gelu"),
    "member": lambda: layers.EnsembleDense(6, 1, "tanh"),
    "targets": lambda: layers.TargetScaling(0.5, 2.0, -3.0, 4.0),
    "ntk": lambda: layers.Dense(4, "tanh", parametrization="ntk"),
    "residual": None,  # network makes the block
    "doubled": lambda: layers.Residual([layers.Dropout(0.0)]),
    "fixed": lambda: layers.BatchNormalization(center=False, scale=False),
}


def block(features, *inner):
    """Return a residual block whose last layer is as wide as its input."""
    return layers.Residual([*inner, layers.Dense(features)])


def network(names, features=5, dtype="float32", outputs=3, seed=0):
    model = fastnn.Sequential([fastnn.Input((features,), dtype=dtype)])
    width = features
    for name in names:
        if name == "residual":
            inner = block(width, layers.Activation("tanh"), layers.BatchNormalization())
            model.add(block(width, layers.LayerNormalization(), layers.Dense(190, "tanh"), layers.Dense(width), inner))
        else:
            model.add(HIDDEN[name]())
        width = getattr(model.layers[-1], "units", width)
    model.add(layers.Dense(outputs))
    generator = np.random.default_rng(seed)
    for view in model.weights:
        view[...] = 0.5 + generator.random(view.shape) if view.ndim == 1 else generator.normal(size=view.shape) / 2
    model._seed = seed
    return model


def slope(value, array, index, step):
    """Return the derivative of value() by one element, by central differences."""
    kept = array[index]
    array[index] = kept + step
    above = value()
    array[index] = kept - step
    below = value()
    array[index] = kept
    return (above - below) / (2 * step)


STACKS = st.lists(st.sampled_from(sorted(HIDDEN)), min_size=1, max_size=5)


@settings(max_examples=60)
@given(names=STACKS, training=st.booleans(), rows=st.sampled_from([2, 5, 33]), threads=st.sampled_from([1, 2, 3]))
@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
def test_gradients_by_central_differences(names, training, rows, threads):
    fastnn.set_num_threads(threads)
    model = network(names, dtype="float64")
    generator = np.random.default_rng(rows)
    x, dy = generator.normal(size=(rows, 5)), generator.normal(size=(rows, 3))
    state = model.get_weights()

    def value():
        result = float((model.forward(x, training=training) * dy).sum())
        for view, kept in zip(model.non_trainable_weights, fixed, strict=True):
            view[...] = kept  # a training pass moved the statistics
        return result

    fixed = [view.copy() for view in model.non_trainable_weights]
    model.set_weights(state)
    value()
    dx = model.backward(dy)
    gradients = [g.copy() for g in model.gradients]
    moving = {id(view) for view in model.non_trainable_weights}
    pairs = [(x, dx)] + [(v, g) for v, g in zip(model.weights, gradients, strict=True) if id(v) not in moving]
    for array, gradient in pairs:
        for index in zip(*(generator.integers(0, n, 3) for n in array.shape), strict=True):
            # A batch of two rows has columns whose deviation is small beside epsilon's root: second derivatives to 1e4.
            # A kink (of PReLU) within the step is passed by with a smaller one.
            wanted = [pytest.approx(slope(value, array, index, step), rel=2e-4, abs=2e-5) for step in (1e-5, 1e-7)]
            assert gradient[index] in wanted


@settings(max_examples=15)
@given(names=STACKS, batch=st.sampled_from([7, 32, 300]))
@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
def test_bits_do_not_depend_on_threads(names, batch):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(320, 5)).astype(np.float32), generator.normal(size=(320, 3)).astype(np.float32)

    def trained():
        model = network(names)
        model.compile("adam", "mse")
        losses = model.fit(x, y, batch_size=batch, epochs=2, verbose=0).history["loss"]
        predicted = model.predict(x)
        np.testing.assert_array_equal(model.freeze()(x), predicted)
        np.testing.assert_array_equal(model.forward(x), predicted)
        return [*model.get_weights(), losses, predicted]

    same_on_any_threads(trained)


@settings(max_examples=10)
@given(names=STACKS)
def test_a_saved_model_goes_on_as_if_it_had_not_been(names, tmp_path_factory):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(64, 5)).astype(np.float32), generator.normal(size=(64, 3)).astype(np.float32)
    model = network(names)
    model.compile("adam", "mse")
    model.fit(x, y, verbose=0)
    path = tmp_path_factory.mktemp("models") / "model.fastnn"
    model.save(path)
    other = fastnn.load_model(path)
    assert other.get_config() == model.get_config()
    for each in (model, other):
        each.fit(x, y, verbose=0)
    for a, b in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    lines = []
    model.summary(lines.append)
    assert len(lines) == len(names) + 8


def training_output(layer, x, seed=11):
    model = fastnn.Sequential([fastnn.Input((x.shape[1],), dtype="float64"), layer])
    model._seed = seed
    np.testing.assert_array_equal(model.forward(x), x)  # outside of training nothing is changed
    np.testing.assert_array_equal(model.predict(x), x)
    return model, model.forward(x, training=True)


def test_dropout_keeps_the_rate_and_the_mean():
    x = np.ones((2000, 500))
    model, y = training_output(layers.Dropout(0.3), x)
    assert set(np.unique(y)) == {0.0, 1 / 0.7}
    # A million trials: the standard deviation of the share is 0.0005; five of these are allowed.
    assert abs((y == 0).mean() - 0.3) < 0.0025
    assert np.abs((y == 0).mean(axis=0) - 0.3).max() < 5 * np.sqrt(0.21 / 2000)
    assert np.abs((y == 0).mean(axis=1) - 0.3).max() < 5 * np.sqrt(0.21 / 500)
    np.testing.assert_array_equal(model.forward(x[:7], training=True), y[:7])  # row, step and seed alone decide
    model._engine.iterations += 1
    again = model.forward(x, training=True)
    # Masks of two steps are independent: they agree where both keep or both drop, 0.58 of the time.
    assert abs((again == y).mean() - 0.58) < 0.0025


def test_seeds_of_layers():
    x = np.ones((50, 64))
    _, first = training_output(layers.Dropout(0.5), x, seed=1)
    _, other = training_output(layers.Dropout(0.5), x, seed=2)
    _, own = training_output(layers.Dropout(0.5, seed=4), x, seed=1)
    _, same = training_output(layers.Dropout(0.5, seed=4), x, seed=2)
    assert (first != other).any()
    np.testing.assert_array_equal(own, same)


@pytest.mark.parametrize(
    ("layer", "mean", "variance"),
    [
        (lambda: layers.GaussianNoise(0.5), 2.0, 0.25),
        (lambda: layers.GaussianDropout(0.2), 2.0, 4 * 0.25),
    ],
    ids=["noise", "dropout"],
)
def test_gaussian_layers_have_their_moments(layer, mean, variance):
    _, y = training_output(layer(), np.full((2000, 500), 2.0))
    z = (y - mean) / np.sqrt(variance)
    # A million normal numbers: standard errors 0.001, 0.0014, 0.0024 and 0.0049; five of each are allowed.
    assert abs(z.mean()) < 0.005
    assert abs(z.var() - 1) < 0.007
    assert abs((z**3).mean()) < 0.0125
    assert abs((z**4).mean() - 3) < 0.05
    assert abs((z[:, :-1] * z[:, 1:]).mean()) < 0.005  # neighbours are uncorrelated
    assert abs((z[:, :-16] * z[:, 16:]).mean()) < 0.005  # so are the two numbers that one draw gives


def test_alpha_dropout_keeps_mean_and_variance():
    x = np.random.default_rng(0).normal(size=(2000, 500))
    _, y = training_output(layers.AlphaDropout(0.1), x)
    assert abs(y.mean()) < 0.006
    assert abs(y.var() - 1) < 0.02


def philox(counter, key):
    """Philox4x32-10, computed with Python's integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.999])
def test_the_mask_is_philox(rate):
    # The known answer of the authors' Random123 for a counter and key of ones.
    ones = 0xFFFFFFFF
    assert philox([ones] * 4, [ones] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    model, _ = training_output(layers.Dropout(rate, seed=(7 << 32) + 5), np.ones((3, 150)))
    model._engine.iterations = (2 << 32) + 9
    kept = model.forward(np.ones((3, 150)), training=True) > 0
    for row in range(3):
        for column in range(150):
            block, upper, word, lane = column // 128, column % 128 // 64, column % 64 // 16, column % 16
            number = philox([block * 16 + lane, row, 9, 2], [5, 7])[word]
            assert kept[row, column] == ((number >> 16 * upper) % 2**16 >= round(rate * 2**16))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 4e-6), ("float64", 1e-14)])
def test_normal_numbers_are_box_and_mullers(dtype, tolerance):
    x = np.zeros((3, 150), dtype)
    model = fastnn.Sequential([fastnn.Input((150,), dtype=dtype), layers.GaussianNoise(1.0, seed=(7 << 32) + 5)])
    normals = model.forward(x, training=True)
    for row in range(3):
        for column in range(150):
            block, word, lane = column // 64, column % 64 // 16, column % 16
            numbers = philox([block * 16 + lane, row, 0, 0], [5, 7])
            first, second = numbers[word & 2], numbers[word | 1]
            radius = math.sqrt(-2 * math.log(((first >> 1) + 1) / 2**31))
            angle = math.pi * ((second & ~3) - (second >> 31 << 32)) / 2**33  # within a quarter of the circle
            point = (math.cos(angle), math.sin(angle))[:: -1 if second & 2 else 1]
            expected = (-radius if second & 1 else radius) * point[word & 1]
            # The absolute error of the radius is that of its square, divided by the radius.
            assert abs(normals[row, column] - expected) <= tolerance * (1 / radius + radius)


def test_normal_numbers_reach_into_their_tails():
    x = np.zeros((4000, 1000), np.float32)
    model = fastnn.Sequential([fastnn.Input((1000,)), layers.GaussianNoise(1.0, seed=3)])
    z = np.abs(model.forward(x, training=True).ravel())
    assert np.isfinite(z).all()
    # the count among four million lies within five standard deviations of the expected one
    for limit in (1, 2, 3, 4, 4.5):
        expected = z.size * math.erfc(limit / math.sqrt(2))
        assert abs((z > limit).sum() - expected) < 5 * math.sqrt(expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normalizations_by_their_formulas(dtype):
    generator = np.random.default_rng(0)
    x = (3 + 2 * generator.normal(size=(50, 70))).astype(dtype)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for layer, axis, centered in (
        (layers.LayerNormalization(epsilon=0.1), 1, True),
        (layers.RMSNormalization(epsilon=0.1), 1, False),
        (layers.BatchNormalization(momentum=0.9, epsilon=0.1), 0, True),
    ):
        model = fastnn.Sequential([fastnn.Input((70,), dtype=dtype), layer])
        for view in model.trainable_weights:
            view[...] = generator.normal(size=view.shape)
        weights = [w.astype(np.float64) for w in model.trainable_weights]
        wide = x.astype(np.float64)
        mean = wide.mean(axis, keepdims=True) if centered else 0
        variance = np.square(wide - mean).mean(axis, keepdims=True)
        expected = (wide - mean) / np.sqrt(variance + 0.1) * weights[0] + (weights[1] if len(weights) > 1 else 0)
        np.testing.assert_allclose(model.forward(x, training=True), expected, rtol=tolerance, atol=tolerance)
        if axis == 0:
            moving = model.non_trainable_weights
            np.testing.assert_allclose(moving[0], 0.1 * mean[0], rtol=tolerance)
            np.testing.assert_allclose(moving[1], 0.9 + 0.1 * variance[0], rtol=tolerance)
            expected = (wide - moving[0]) / np.sqrt(moving[1] + 0.1) * weights[0] + weights[1]
            np.testing.assert_allclose(model.predict(x), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_unit_normalization_is_that_of_keras(dtype):
    """Keras 3.15 on JAX; a row of zeros stays one."""
    x = np.array([[3.0, -4.0, 0.0], [0.1, 0.2, 0.2], [1e-3, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype)
    dy = np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.25], [2.0, 1.0, 0.0], [1.0, 0.0, 0.0]], dtype)
    model = fastnn.Sequential([fastnn.Input((3,), dtype=dtype), layers.UnitNormalization()])
    y = [[0.6, -0.8, 0.0], [1 / 3, 2 / 3, 2 / 3], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    dx = [[0.32, 0.24, 0.6], [-3.5185184, 1.2962963, 0.46296296], [0.0, 1000.0, 0.0]]
    np.testing.assert_allclose(model.forward(x), y, rtol=1e-6)
    np.testing.assert_allclose(model.predict(x), y, rtol=1e-6)
    np.testing.assert_allclose(model.freeze()(x), y, rtol=1e-6)
    model.forward(x)
    np.testing.assert_allclose(model.backward(dy)[:3], dx, rtol=1e-5, atol=1e-4 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_frozen_layers_do_not_change(optimizer):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(64, 5)), generator.normal(size=(64, 3))
    model = network(["dense", "batch", "wide", "layer"])
    model.layers[1].trainable = model.layers[2].trainable = False
    model.compile(optimizer, "mse")
    before = model.get_weights()
    model.fit(x, y, epochs=2, verbose=0)
    model.forward(x)
    model.backward(np.ones((64, 3)))
    model.apply_gradients()
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.weights, strict=True)]
    assert changed == [False] * 6 + [True] * 6
    assert len(model.trainable_weights) == 6
    model.layers[1].trainable = model.layers[2].trainable = True
    model.compile(optimizer, "mse")
    model.fit(x, y, verbose=0)
    assert not any(np.array_equal(a, b) for a, b in zip(before, model.weights, strict=True))


@pytest.mark.parametrize("name", [name for name in HIDDEN if name != "residual"])
def test_training_leaves_alone_what_is_not_trained(name):
    model = network([name], features=4, outputs=4)
    x = np.random.default_rng(0).normal(size=(12, 4))
    model.compile("sgd", "mse")
    layer = model.layers[1]
    names, before = [parameter.name for parameter in layer.parameters()], layer.get_weights()
    model.fit(x, x, verbose=0)
    for key, now, kept in zip(names, layer.weights, before, strict=True):
        moves = key not in layer.non_trainable() or key.startswith("moving")  # statistics that follow the batches
        assert np.array_equal(now, kept) != moves


def test_moving_statistics_are_not_the_optimizers():
    model = network(["batch"])
    model.compile("adam", "mse")
    x = np.random.default_rng(0).normal(size=(64, 5))
    model.forward(x)
    model.backward(np.ones((64, 3)))
    before = [w.copy() for w in model.non_trainable_weights]
    model.apply_gradients()
    for a, b in zip(before, model.non_trainable_weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_members_of_an_ensemble_train_as_alone():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(64, 5)).astype(np.float32), generator.normal(size=(64, 3)).astype(np.float32)
    names = ["dense", "dropout", "batch", "layer"]
    alone, together = ([network(names, seed=s) for s in (1, 2, 3)] for _ in range(2))
    for model in [*alone, *together]:
        model.compile("adam", "mse")
    for model in alone:
        model.fit(x, y, epochs=2, verbose=0)
    fastnn.Ensemble(together).fit(x, y, epochs=2, verbose=0)
    for a, b in zip(alone, together, strict=True):
        for one, other in zip(a.weights, b.weights, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: layers.Dropout(1.0), ValueError, "rate must be from 0 to below 1, got 1.0"),
        (lambda: layers.Dropout("x"), TypeError, "rate must be a number, got str"),
        (lambda: layers.Dropout(0.5, seed=-1), ValueError, "seed must be an integer"),
        (lambda: layers.GaussianNoise(-1), ValueError, "stddev must be at least 0, got -1"),
        (lambda: layers.BatchNormalization(momentum=2), ValueError, "momentum must be from 0 to 1, got 2"),
        (lambda: layers.BatchNormalization(center="no"), TypeError, "center must be True or False, got 'no'"),
        (lambda: layers.Dense(2, use_bias="no"), TypeError, "use_bias must be True or False, got 'no'"),
        (lambda: layers.Dense(2).count_params(), ValueError, "no number of parameters yet: build the model first"),
        (lambda: fastnn.Sequential([layers.Layer(input_shape=(2,))]), TypeError, "layers must be .* Layer is none"),
    ],
)
def test_bad_arguments_get_one_sentence(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()


def test_fifty_residual_blocks_train():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(256, 16))
    y = np.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:3]
    fastnn.utils.set_random_seed(1)
    blocks = [
        layers.Residual([layers.LayerNormalization(), layers.Dense(32, "relu"), layers.Dense(16)]) for _ in range(50)
    ]
    model = fastnn.Sequential([fastnn.Input((16,)), *blocks, layers.Dense(1)])
    model.compile(fastnn.optimizers.Adam(1e-3), "mse")
    losses = model.fit(x, y, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.2 * losses[0]
    assert len(model.layers[1].layers[1].kernel) == 16  # the layers in the block see their weights


def test_an_activation_does_not_reach_into_the_source_of_a_block():
    x = np.random.default_rng(0).normal(size=(6, 4))
    first = layers.Dense(4)
    model = fastnn.Sequential(
        [fastnn.Input((4,), dtype="float64"), first, layers.Residual([layers.Activation("relu")])]
    )
    z = x @ first.kernel
    for y in (model.predict(x), model.forward(x), model.freeze()(x)):
        np.testing.assert_allclose(y, z + np.maximum(z, 0), rtol=1e-12)


def test_a_block_that_changes_the_width_is_refused():
    with pytest.raises(ValueError, match=r"'residual' adds its input to its output: .* 4 features.* got 5"):
        fastnn.Sequential([fastnn.Input((4,)), layers.Residual([layers.Dense(5)])])


def test_a_frozen_layer_within_a_block():
    model = fastnn.Sequential([fastnn.Input((4,)), layers.Residual([layers.Dense(6), layers.Dense(4)])])
    model.layers[1].layers[0].trainable = False
    model.compile("adam", "mse")
    before = model.get_weights()
    x = np.random.default_rng(0).normal(size=(32, 4))
    model.fit(x, x**2, verbose=0)
    assert [np.array_equal(a, b) for a, b in zip(before, model.weights, strict=True)] == [True, True, False, False]
    clone = fastnn.clone_model(model)
    assert clone.get_config() == model.get_config()
    assert not clone.layers[1].layers[0].trainable
    assert not np.array_equal(clone.weights[0], model.weights[0])


def test_normalization_adapts():
    generator = np.random.default_rng(0)
    x = 3 + 2 * generator.normal(size=(100, 4))
    x[:, 3] = 7  # a column without deviation, which counts as 1
    layer, inverse = layers.Normalization(), layers.Normalization(invert=True)
    model = fastnn.Sequential([fastnn.Input((4,), dtype="float64"), layer])
    back = fastnn.Sequential([fastnn.Input((4,), dtype="float64"), inverse])
    np.testing.assert_array_equal(model.predict(x), x)
    for each in (layer, inverse):  # once more when the layers are in a model that is built
        each.adapt(x)
    y = (x - x.mean(0)) / np.where(x.std(0) == 0, 1, x.std(0))
    np.testing.assert_allclose(model.predict(x), y, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(back.predict(model.predict(x)), x, rtol=1e-10)
    early = layers.Normalization()
    early.adapt(x)
    np.testing.assert_array_equal(
        fastnn.Sequential([fastnn.Input((4,), dtype="float64"), early]).predict(x), model.predict(x)
    )
    given = layers.Normalization(mean=x.mean(0), variance=x.var(0))
    copy = layers.deserialize(layers.serialize(given))
    other = fastnn.Sequential([fastnn.Input((4,), dtype="float64"), copy])
    np.testing.assert_allclose(other.predict(x), model.predict(x), rtol=1e-12, atol=1e-12)
    assert model.trainable_weights == []
    with pytest.raises(ValueError, match="data must have 4 features a row, got 3"):
        layer.adapt(x[:, :3])
    with pytest.raises(ValueError, match="variance is missing"):
        layers.Normalization(mean=1.0)


def test_statistics_of_a_normalization():
    """The statistics have shape (1, features) as in Keras, before and after the model is built; they are copies."""
    layer = layers.Normalization()
    assert layer.mean is None
    assert layer.variance is None
    assert layer.get_weights() == []
    layer.adapt([1.0, 3.0])  # values of shape (rows,) are one column
    model = None
    for _ in range(2):
        np.testing.assert_array_equal(layer.mean, [[2.0]])
        np.testing.assert_array_equal(layer.variance, [[1.0]])
        for ours, theirs in zip(layer.get_weights(), ([2.0], [1.0]), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        layer.mean[...] = 9
        model = model or fastnn.Sequential([fastnn.Input((1,)), layer])
    np.testing.assert_array_equal(model.predict([[5.0], [1.0]]), [[3.0], [-1.0]])
    layer.set_weights([[0.0], [4.0]])
    np.testing.assert_array_equal(layer.variance, [[4.0]])
    with pytest.raises(AttributeError):
        layer.mean = 0.0
    np.testing.assert_array_equal(layers.Normalization(mean=[1, 2], variance=[3, 4]).mean, [[1.0, 2.0]])
    with pytest.raises(ValueError, match="data must have shape"):
        layer.adapt(1.0)


@pytest.mark.parametrize("entries", [9, 700])
@pytest.mark.parametrize("training", [False, True])
def test_embedding_by_its_formula(entries, training):
    generator = np.random.default_rng(0)
    model = fastnn.Sequential([fastnn.Input((3,), dtype="float64"), layers.Embedding(entries, 30)])
    table = model.weights[0]
    table[...] = generator.normal(size=table.shape)
    x, dy = generator.integers(0, entries, (50, 3)), generator.normal(size=(50, 90))
    np.testing.assert_array_equal(model.forward(x, training=training), table[x].reshape(50, 90))
    np.testing.assert_array_equal(model.predict(x), table[x].reshape(50, 90))
    np.testing.assert_array_equal(model.freeze()(x.astype(float)), table[x].reshape(50, 90))
    assert not model.backward(dy).any()
    expected = np.zeros_like(table)
    np.add.at(expected, x.ravel(), dy.reshape(150, 30))
    np.testing.assert_allclose(model.gradients[0], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
def test_embedding_trains_to_the_same_bits(tmp_path):
    generator = np.random.default_rng(0)
    x = generator.integers(0, 40, (256, 2))
    y = (x[:, :1] % 3 == x[:, 1:] % 3).astype(np.float32)
    results = []
    for threads in (1, 2, 3):
        fastnn.set_num_threads(threads)
        fastnn.utils.set_random_seed(0)
        model = fastnn.Sequential([layers.Embedding(40, 8), layers.Dense(32, "relu"), layers.Dense(1, "sigmoid")])
        model.compile(fastnn.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
        model.fit(x, y, epochs=40, verbose=0)
        results.append(model.get_weights())
    assert model.evaluate(x, y, verbose=0)[1] > 0.95
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
    model.save(tmp_path / "model.fastnn")
    np.testing.assert_array_equal(fastnn.load_model(tmp_path / "model.fastnn").predict(x), model.predict(x))
    for call in (lambda bad: model.fit(bad, y, verbose=0), model.predict, lambda bad: model.evaluate(bad, y)):
        for wrong in (40, -1, 1.5):
            bad = x.astype(float)
            bad[7, 1] = wrong
            with pytest.raises(ValueError, match=f"whole numbers from 0 to 39 .* row 7 holds {wrong}"):
                call(bad)
    with pytest.raises(ValueError, match="Embedding must be the first layer"):
        fastnn.Sequential([fastnn.Input((2,)), layers.Dense(2), layers.Embedding(3, 2)])


@pytest.mark.parametrize("name", ["BatchNormalization", "LayerNormalization", "RMSNormalization", "Normalization"])
def test_the_axis_of_a_normalization_is_that_of_the_features(name):
    make = getattr(layers, name)
    for axis in (-1, 1, [-1]):
        assert make(axis).get_config() == make().get_config() | {"name": None}
    for axis in (0, 0.99, [1, 2], True):
        with pytest.raises(ValueError, match="axis must be -1 or 1, the features of a row, got"):
            make(axis)


def test_the_factor_of_an_ntk_kernel_lies_outside_of_it():
    x = np.random.default_rng(0).normal(size=(7, 9))
    model = fastnn.Sequential([fastnn.Input((9,), dtype="float64"), layers.Dense(4, "tanh", parametrization="ntk")])
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(model.predict(x), np.tanh(x @ kernel / 3 + bias), rtol=1e-13)
    with pytest.raises(ValueError, match=r"parametrization must name a way to scale the kernel, got 'ntl'.*'ntk'"):
        layers.Dense(4, parametrization="ntl")
    with pytest.raises(TypeError, match="sparse"):
        model.predict(scipy.sparse.csr_matrix(x))


def test_a_scale_weighs_columns():
    x = np.random.default_rng(0).normal(size=(7, 3))
    model = fastnn.Sequential([fastnn.Input((3,), dtype="float64"), layers.Scale()])
    model.layers[1].set_weights([[2.0, -1.0, 0.0]])
    np.testing.assert_array_equal(model.predict(x), x * [2.0, -1.0, 0.0])
    upstream = np.random.default_rng(1).normal(size=(7, 3))
    model.forward(x)
    model.backward(upstream)
    np.testing.assert_allclose(model.gradients[0], (upstream * x).sum(axis=0), rtol=1e-14)
