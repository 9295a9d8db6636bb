"""Ensembles whose members are columns of one network and share weights: formulas, losses, and TabM's own code."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import callbacks, initializers, layers, losses, optimizers

with np.load(Path(__file__).parent / "reference" / "tables.npz") as file:
    RECORDED = {key: file[key] for key in file.files if key.startswith("TabM")}
MEMBERS = 3


def sequential(stack, inputs=4, dtype="float64"):
    return fastnn.Sequential([fastnn.Input((inputs,), dtype=dtype), *stack])


def ensemble(outputs, activation=None, *, mean=True):
    """Return the layers of an ensemble with every way to share weights."""
    return [
        layers.EnsembleScale(MEMBERS),
        layers.EnsembleDense(7, MEMBERS, "tanh"),
        layers.EnsembleDense(5, MEMBERS, "gelu", "full"),
        layers.EnsembleDense(outputs, MEMBERS, activation, "none"),
        *([layers.EnsembleMean(MEMBERS)] if mean else []),
    ]


@pytest.mark.parametrize(("name", "sharing"), [("TabM", "adapted"), ("TabM heads", "none")])
def test_members_are_those_of_tabm(name, sharing):
    x, upstream, y, dx = (RECORDED[f"{name}/{part}"] for part in ("x", "upstream", "y", "dx"))
    model = sequential([layers.EnsembleScale(4), layers.EnsembleDense(5, 4, sharing=sharing)], x.shape[1])
    shapes = [array.shape for array in model.get_weights()]

    def as_here(values):  # a kernel that is shared is that of a Linear of PyTorch there; r stands behind it
        found = [RECORDED[f"{name}/{values}{k}"] for k in range(len(shapes))]
        found = [found[0], found[2], found[1].T, *found[3:]] if sharing == "adapted" else found
        return [array.reshape(shape) for array, shape in zip(found, shapes, strict=True)]

    model.set_weights(as_here("p"))
    close = {"rtol": 1e-12, "atol": 1e-14}
    np.testing.assert_allclose(model.forward(x), y, **close)
    np.testing.assert_allclose(model.backward(upstream), dx, **close)
    for found, expected in zip(model.gradients, as_here("dp"), strict=True):
        np.testing.assert_allclose(found, expected, **close)


def answers(layer, x, weights):
    """Return what a layer of members makes of x of shape (rows, members, inputs), by its formula."""
    w = dict(zip((name for name, _, _ in layer.parameters()), weights, strict=True))
    k, inputs = x.shape[1:]
    if layer.sharing == "adapted":
        z = (x * w["scale_in"].reshape(k, inputs)) @ w["kernel"] * w["scale_out"].reshape(k, -1)
        return layer.activation(z + w["bias"].reshape(k, -1))
    kernel = w["kernel"].reshape(-1, inputs, layer.units)
    return layer.activation(np.einsum("rki,kiu->rku", x, np.broadcast_to(kernel, (k, *kernel.shape[1:])))
                            + w["bias"].reshape(-1, layer.units))  # fmt: skip


@given(
    sharing=st.sampled_from(["adapted", "full", "none"]),
    sizes=st.tuples(st.integers(1, 60), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40)),
    activation=st.sampled_from([None, "relu", "mish", "softmax"]),
    dtype=st.sampled_from(["float32", "float64"]),
)
@settings(max_examples=60)
@pytest.mark.filterwarnings("ignore:softmax over one unit")
def test_formula_of_members_in_every_path(sharing, sizes, activation, dtype):
    rows, members, inputs, units = sizes
    layer = layers.EnsembleDense(units, members, activation, sharing, bias_initializer="random_normal")
    model = sequential([layer], members * inputs, dtype)
    generator = np.random.default_rng(sizes)
    for view in model.weights:
        view[...] += 0.1 * generator.normal(size=view.shape)
    x = generator.normal(size=(rows, members * inputs)).astype(dtype)
    wide = [weight.astype("float64") for weight in model.get_weights()]
    expected = answers(layer, x.astype("float64").reshape(rows, members, inputs), wide).reshape(rows, -1)
    # Sums of up to 40 products of numbers of about 1.
    close = {"rtol": 0, "atol": 3e-5 if dtype == "float32" else 1e-13}
    for y in (model.predict(x), model.freeze()(x), model.forward(x)):
        np.testing.assert_allclose(y, expected, **close)


# ---- the loss ----

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(150, 4))
CLASSES = GENERATOR.integers(0, 3, 150)
CASES = {
    "regression": (None, losses.MeanSquaredError(), GENERATOR.normal(size=(150, 2))),
    "classes": ("softmax", losses.CategoricalCrossentropy(label_smoothing=0.1), np.eye(3)[CLASSES]),
    "labels": ("softmax", losses.SparseCategoricalCrossentropy(), CLASSES),
    "logits": (None, losses.SparseCategoricalCrossentropy(from_logits=True), CLASSES),
    "binary": ("sigmoid", losses.BinaryCrossentropy(), (CLASSES[:, None] > 1).astype(float)),
}


@pytest.mark.parametrize("clipnorm", [None, 1e9], ids=["at once", "stored"])
@pytest.mark.parametrize("case", CASES)
def test_the_loss_is_the_mean_of_the_members_losses(case, clipnorm):
    activation, loss, y = CASES[case]
    outputs = y.shape[1] if y.ndim > 1 else 3
    model = sequential(ensemble(outputs, activation))
    alone = sequential(ensemble(outputs, activation, mean=False))
    for view in model.weights:
        view[...] += 0.1 * GENERATOR.normal(size=view.shape)
    weight = GENERATOR.random(len(X))

    def value():
        alone.set_weights(model.get_weights())
        members = np.moveaxis(alone.predict(X).reshape(len(X), MEMBERS, outputs), 1, 0)
        return float(np.mean([loss(y, member, sample_weight=weight) for member in members]))

    alone.set_weights(model.get_weights())
    np.testing.assert_allclose(
        model.predict(X), alone.predict(X).reshape(len(X), MEMBERS, outputs).mean(axis=1), rtol=1e-12, atol=1e-15
    )
    model.compile(optimizers.SGD(1.0, clipnorm=clipnorm), loss)
    np.testing.assert_allclose(model.evaluate(X, y, sample_weight=weight, verbose=0), value(), rtol=1e-12)
    before = model.get_weights()
    history = model.fit(X, y, batch_size=len(X), epochs=1, sample_weight=weight, shuffle=False, verbose=0).history
    gradients = [a - b for a, b in zip(before, model.get_weights(), strict=True)]
    model.set_weights(before)
    np.testing.assert_allclose(history["loss"], value(), rtol=1e-12)
    for view, gradient in zip(model.weights, gradients, strict=True):
        for index in GENERATOR.choice(view.size, min(view.size, 6), replace=False):
            kept, step = view.flat[index], 1e-6
            view.flat[index] = kept + step
            above = value()
            view.flat[index] = kept - step
            below = value()
            view.flat[index] = kept
            # The truncation is step² times a third derivative of some tens; the rounding is 1e-16 / step.
            np.testing.assert_allclose(gradient.flat[index], (above - below) / (2 * step), rtol=1e-6, atol=1e-9)


def test_members_learn_scaled_targets():
    y = 50 + 7 * GENERATOR.normal(size=(150, 1))
    scaling = layers.TargetScaling()
    scaling.adapt(y)
    model, alone = sequential([*ensemble(1), scaling]), sequential(ensemble(1, mean=False))
    alone.set_weights(model.get_weights())
    model.compile(optimizers.SGD(0.0), "mse", metrics=["mae"])
    z = (y - y.mean()) / y.std()
    members = alone.predict(X)
    mean = y.mean() + y.std() * members.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict(X), np.clip(mean, y.min(), y.max()), rtol=1e-12)
    found = model.fit(X, y, epochs=1, shuffle=False, verbose=0).history
    np.testing.assert_allclose(found["loss"], ((members - z) ** 2).mean(), rtol=1e-12)
    np.testing.assert_allclose(found["mae"], abs(mean - y).mean(), rtol=1e-12)
    drawn = np.clip(members, z.min(), z.max())
    found = model.evaluate(X, y, verbose=0, return_dict=True)
    np.testing.assert_allclose(found["loss"], ((drawn - z) ** 2).mean(), rtol=1e-12)
    np.testing.assert_allclose(found["mae"], abs(np.clip(mean, y.min(), y.max()) - y).mean(), rtol=1e-12)


def test_noise_before_the_mean_is_left_out_of_an_evaluation():
    model = sequential([layers.Dense(6), layers.Dropout(0.5), layers.EnsembleMean(3)])
    plain = sequential([layers.Dense(6), layers.EnsembleMean(3)])
    plain.set_weights(model.get_weights())
    y, found = GENERATOR.normal(size=(150, 2)), []
    for one in (model, plain):
        one.compile("sgd", "mse")
        found.append(one.evaluate(X, y, verbose=0))
    assert found[0] == found[1]
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))


def test_backward_of_a_gradient_by_the_mean():
    model, dy = sequential([layers.Dense(6), layers.EnsembleMean(MEMBERS)]), GENERATOR.normal(size=(150, 2))
    model.forward(X)
    expected = np.tile(dy / MEMBERS, (1, MEMBERS)) @ model.layers[1].kernel.T
    np.testing.assert_allclose(model.backward(dy), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("width", [5, 330])
def test_members_train_alike_on_any_threads(width):
    """A wide last layer is a phase of its own, and the mean a phase after it."""
    answers = []
    before = fastnn.get_num_threads()
    for threads in (1, 2, 3):
        fastnn.set_num_threads(threads)
        fastnn.utils.set_random_seed(0)
        stack = [layers.EnsembleScale(2), layers.EnsembleDense(40, 2, "relu"), layers.Dense(width * 2)]
        model = sequential([*stack, layers.EnsembleMean(2)], dtype="float32")
        model.compile(optimizers.Adam(0.01), "mse", metrics=["mae"])
        y = np.zeros((len(X), width), "float32")
        history = model.fit(X, y, batch_size=64, epochs=2, validation_data=(X, y), verbose=0).history
        answers.append([*model.get_weights(), *map(np.array, history.values())])
    fastnn.set_num_threads(before)
    for other in answers[1:]:
        for ours, theirs in zip(answers[0], other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_metrics_are_those_of_the_mean():
    model = sequential(ensemble(3, "softmax"))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    found = model.evaluate(X, CLASSES, verbose=0, return_dict=True)["accuracy"]
    np.testing.assert_allclose(found, (model.predict(X).argmax(axis=1) == CLASSES).mean(), rtol=1e-12)


def test_an_ensemble_is_saved_with_its_members(tmp_path):
    model = sequential(ensemble(3, "softmax"))
    model.compile(optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(X, CLASSES, epochs=2, verbose=0, callbacks=[callbacks.EarlyStopping("loss", restore_best_weights=True)])
    model.save(tmp_path / "m.fastnn")
    loaded = fastnn.load_model(tmp_path / "m.fastnn")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    np.testing.assert_array_equal(loaded.freeze()(X), model.predict(X))


def test_kernels_of_ones_own_start_as_those_of_a_dense_layer():
    layer = layers.EnsembleDense(30, 50, sharing="none", kernel_initializer=initializers.GlorotUniform())
    sequential([layer], 50 * 20)
    limit = np.sqrt(6 / (20 + 30))
    kernel = layer.get_weights()[0]
    assert 0.99 * limit < abs(kernel).max() <= limit
    assert len(np.unique(kernel)) > 0.9 * kernel.size  # no two members have the same


def test_what_an_ensemble_refuses():
    with pytest.raises(ValueError, match=r"is of 3 members, whose columns .* got 4: begin .* with an EnsembleScale"):
        sequential([layers.EnsembleDense(2, 3)])
    with pytest.raises(ValueError, match=r"sharing must say what the members share, got 'ful'.*'full'"):
        layers.EnsembleDense(2, 3, sharing="ful")
    with pytest.raises(ValueError, match=r"EnsembleMean must be the last layer of the model"):
        sequential([layers.EnsembleMean(2), layers.Dense(1)])
    model = sequential(ensemble(1))
    with pytest.raises(ValueError, match=r"loss must be one of fastnn's own beside an EnsembleMean"):
        model.compile("sgd", lambda y, p: (0.0, p))


# ---- some of the members ----

PRUNED_X = np.random.default_rng(5).normal(size=(40, 3))
PRUNED_Y = np.tanh(PRUNED_X[:, :1] + PRUNED_X[:, 1:2])


def trained_ensemble(sharing="adapted", scaled=False):
    """Five members with factors of their own everywhere."""
    hidden = [layers.EnsembleDense(4, 5, "tanh", sharing), layers.Dropout(0.1)]
    stack = [layers.EnsembleScale(5), *hidden, layers.EnsembleDense(1, 5, sharing="none"), layers.EnsembleMean(5)]
    end = [layers.TargetScaling(0.5, 2.0, clip=False)] if scaled else []
    model = fastnn.Sequential([fastnn.Input((3,), dtype="float64"), *stack, *end])
    generator = np.random.default_rng(1)
    for view in model.weights:
        view[...] = generator.normal(size=view.shape)
    model.compile("adam", "mse")
    return model


def answers_of_members(model):
    """Return what each member says, from models of one member each."""
    alone = []
    for member in range(5):
        chosen = [layer.weights_of([member]) if hasattr(layer, "weights_of") else [] for layer in model.layers]
        config = model.get_config()
        for described in config["layers"]:
            described["config"] = {k: 1 if k == "members" else v for k, v in described["config"].items()}
        one = fastnn.Sequential.from_config(config)
        one.set_weights([array for arrays in chosen for array in arrays])
        alone.append(one.predict(PRUNED_X))
    return np.stack(alone)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("sharing", ["adapted", "full", "none"])
def test_pruning_keeps_the_members_that_do_best_together(sharing, scaled):
    model = trained_ensemble(sharing, scaled)
    each = answers_of_members(model)
    np.testing.assert_allclose(each.mean(axis=0), model.predict(PRUNED_X), rtol=1e-12)
    chosen, losses = [], []
    for _ in range(5):
        left = [member for member in range(5) if member not in chosen]
        found = [np.mean((each[[*chosen, member]].mean(axis=0) - PRUNED_Y) ** 2) for member in left]
        chosen.append(left[int(np.argmin(found))])
        losses.append(min(found))
    for members in (1, 3, 5):
        pruned = fastnn.models.prune_members(model, PRUNED_X, PRUNED_Y, members)
        wanted = each[sorted(chosen[:members])].mean(axis=0)
        np.testing.assert_allclose(pruned.predict(PRUNED_X), wanted, rtol=1e-12)
        assert pruned.count_params() < model.count_params() or members == 5
    fewest = next((k for k in range(1, 5) if losses[k] >= losses[k - 1]), 5)
    free = fastnn.models.prune_members(model, PRUNED_X, PRUNED_Y)
    np.testing.assert_allclose(free.predict(PRUNED_X), each[sorted(chosen[:fewest])].mean(axis=0), rtol=1e-12)


def test_what_cannot_be_pruned_is_refused_in_a_sentence():
    model, plain = trained_ensemble(), fastnn.Sequential([fastnn.Input((3,)), layers.Dense(1)])
    with pytest.raises(ValueError, match="members must be at most 5, as many as the model has, got 6"):
        fastnn.models.prune_members(model, PRUNED_X, PRUNED_Y, 6)
    with pytest.raises(ValueError, match="model must have an EnsembleScale and an EnsembleMean"):
        fastnn.models.prune_members(plain, PRUNED_X, PRUNED_Y)
    with pytest.raises(TypeError, match="model must be a Sequential model, got int"):
        fastnn.models.prune_members(3, PRUNED_X, PRUNED_Y)
    stack = [layers.EnsembleScale(2), layers.LayerNormalization(), layers.EnsembleMean(2)]
    strange = fastnn.Sequential([fastnn.Input((3,)), *stack])
    strange.compile("adam", "mse")
    with pytest.raises(ValueError, match="layer 'layer_normalization' has weights that are of no member"):
        fastnn.models.prune_members(strange, PRUNED_X, PRUNED_X)
