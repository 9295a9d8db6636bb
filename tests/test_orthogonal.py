"""OrthogonalRegularizer: its formula and gradient in NumPy beside the engine, on every path of a training step.

tests/test_keras_reference.py has it beside Keras.
"""

import copy

import numpy as np
import pytest
import scipy.sparse
from bits import same_on_any_threads

import fastnn
from fastnn import layers, optimizers, regularizers

FACTOR = 0.7
SHAPES = [(2, 2), (3, 5), (77, 131), (131, 50), (49, 96), (700, 800)]  # some of more than one tile, of 48 vectors
MODES = ["rows", "columns"]


def cosines_of(vectors):
    """Return the cosines of each vector (row) with every other, 0 with itself; and 1 / norms."""
    inverses = 1 / np.maximum(np.sqrt(np.square(vectors).sum(axis=1, keepdims=True)), 1e-7)
    products = (vectors * inverses) @ (vectors * inverses).T
    np.fill_diagonal(products, 0)
    return products, inverses


def formula(matrix, mode):
    products, _ = cosines_of(matrix if mode == "rows" else matrix.T)
    return FACTOR * np.abs(products).sum() / (len(products) * (len(products) - 1))


def gradient(matrix, mode):
    """Return the gradient by the vectors: by the normalized ones, then through the division by max(norm, 1e-7)."""
    vectors = matrix if mode == "rows" else matrix.T
    products, inverses = cosines_of(vectors)
    units = vectors * inverses
    by_unit = 2 * FACTOR * np.sign(products) @ units / (len(products) * (len(products) - 1))
    along = np.where(inverses < 1e7, (by_unit * units).sum(axis=1, keepdims=True) * units, 0)
    result = (by_unit - along) * inverses
    return result if mode == "rows" else result.T


def orthogonal(mode):
    return regularizers.OrthogonalRegularizer(FACTOR, mode)


def model_of(shape, dtype="float64", optimizer="sgd", rows=20, **given):
    """Return a model whose second layer has a kernel of that shape and the arguments, and data for it."""
    generator = np.random.default_rng(shape)
    model = fastnn.Sequential(
        [fastnn.Input((4,), dtype=dtype), layers.Dense(shape[0], "tanh"), layers.Dense(shape[1], **given)]
    )
    for view in model.weights:
        view[...] = generator.normal(size=view.shape)
    model.compile(optimizer, "mse")
    model._seed = 0
    x, y = generator.normal(size=(rows, 4)).astype(dtype), generator.normal(size=(rows, shape[1])).astype(dtype)
    return model, x, y


def batch_gradient(model, x, y):
    """Return the loss and the gradients of a batch."""
    engine, _, _ = model._ready("test")
    loss = engine.batch_gradient(x, y)[0] / len(x)
    return loss, [g.copy() for g in model.gradients]


@pytest.mark.parametrize("mode", MODES)
def test_it_is_its_formula(mode):
    matrix = np.random.default_rng(0).normal(size=(6, 4))
    vectors = matrix if mode == "rows" else matrix.T
    n, total = len(vectors), 0.0
    for i in range(n):
        for j in range(i):
            total += abs(vectors[i] @ vectors[j]) / np.linalg.norm(vectors[i]) / np.linalg.norm(vectors[j])
    assert orthogonal(mode)(matrix) == pytest.approx(FACTOR * total / (n * (n - 1) / 2), rel=1e-13)
    assert formula(matrix, mode) == pytest.approx(orthogonal(mode)(matrix), rel=1e-13)
    q = np.linalg.qr(matrix)[0]
    assert regularizers.OrthogonalRegularizer(mode="columns")(q) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_loss_and_gradient_are_the_formulas(mode, shape, dtype):
    model, x, y = model_of(shape, dtype, kernel_regularizer=orthogonal(mode))
    plain, _, _ = model_of(shape, dtype)
    kernel = model.layers[2].kernel.astype(np.float64)
    expected = plain.evaluate(x, y, verbose=0) + formula(kernel, mode)
    # Sums of up to 800 products: float32 is off by 6e-8 of the sum of their sizes.
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=tolerance)
    loss, gradients = batch_gradient(model, x, y)
    assert loss == pytest.approx(expected, rel=tolerance)
    _, others = batch_gradient(plain, x, y)
    for k in (0, 1, 3):
        np.testing.assert_array_equal(gradients[k], others[k])
    difference, by_formula = gradients[2].astype(np.float64) - others[2], gradient(kernel, mode)
    if dtype == "float64":
        np.testing.assert_allclose(difference, by_formula, rtol=1e-9, atol=1e-13)
    else:  # a product within 1e-6 of 0 may have another sign, which changes a gradient by no more than such a share
        atol = 1e-5 * np.abs(others[2]).max() + 1e-2 * np.abs(by_formula).max()
        np.testing.assert_allclose(difference, by_formula, atol=atol)
    assert model.train_on_batch(x, y) == pytest.approx(loss, rel=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", MODES)
def test_parallel_vectors_and_short_ones(mode, dtype):
    """One vector is zeros, one shorter than 1e-7, and two are parallel: their gradients along each other are 0."""
    shape = (6, 5)
    model, x, y = model_of(shape, dtype, kernel_regularizer=orthogonal(mode))
    plain, _, _ = model_of(shape, dtype)
    for either in (model, plain):
        kernel = either.layers[2].kernel
        vectors = kernel if mode == "rows" else kernel.T
        vectors[0], vectors[2] = 0, 1e-9 * vectors[2]
        vectors[4] = -2 * vectors[3]
    kernel = model.layers[2].kernel.astype(np.float64)
    assert model.evaluate(x, y, verbose=0) - plain.evaluate(x, y, verbose=0) == pytest.approx(
        formula(kernel, mode), rel=1e-4 if dtype == "float32" else 1e-11
    )
    difference = batch_gradient(model, x, y)[1][2].astype(np.float64) - batch_gradient(plain, x, y)[1][2]
    # The gradient by a vector of no length is 1e7 times the gradient by a vector of length 1.
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-11, "atol": 1e-13}
    np.testing.assert_allclose(difference, gradient(kernel, mode), **close)


def distant(generator, shape):
    """Return a matrix whose vectors are at least 0.02 away from right angles, where the penalty has no kink."""
    while True:
        matrix = generator.normal(size=shape)
        if all((np.abs(cosines_of(m)[0] + np.eye(len(m))) > 0.02).all() for m in (matrix, matrix.T)):
            return matrix


def central(model, x, y, view, step=1e-6):
    """Return the gradient of the loss by a view, by central differences."""
    result = np.empty(view.shape)
    for index in np.ndindex(*view.shape):
        kept = view[index]
        view[index] = kept + step
        above = model.evaluate(x, y, verbose=0)
        view[index] = kept - step
        below = model.evaluate(x, y, verbose=0)
        view[index] = kept
        result[index] = (above - below) / (2 * step)
    return result


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(2, 3), (5, 4), (3, 9)], ids=str)
def test_gradients_by_central_differences(shape, mode):
    model, x, y = model_of(shape, kernel_regularizer=orthogonal(mode))
    model.layers[2].kernel[...] = distant(np.random.default_rng(shape), shape)
    _, gradients = batch_gradient(model, x, y)
    for view, analytic in zip(model.weights, gradients, strict=True):
        # The error is step² times a third derivative, and the rounding of the loss divided by the step.
        np.testing.assert_allclose(analytic, central(model, x, y, view), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("mode", MODES)
def test_tables_and_layers_of_blocks_have_it(mode):
    generator = np.random.default_rng(3)
    model = fastnn.Sequential(
        [
            fastnn.Input((2,), dtype="float64"),
            layers.Embedding(4, 3, embeddings_regularizer=orthogonal(mode)),
            layers.Residual([layers.Dense(6, "tanh", kernel_regularizer=orthogonal(mode), bias_regularizer="l2")]),
        ]
    )
    for view in model.weights:
        view[...] = distant(generator, view.shape) if view.ndim == 2 else 0.1
    x, y = generator.integers(0, 4, (9, 2)).astype(np.float64), generator.normal(size=(9, 6))
    model.compile("sgd", "mse")
    _, gradients = batch_gradient(model, x, y)
    for view, analytic in zip(model.weights, gradients, strict=True):
        np.testing.assert_allclose(analytic, central(model, x, y, view), rtol=1e-5, atol=1e-8)
    penalties = [formula(view, mode) for view in model.weights if view.ndim == 2]
    penalties.append(0.01 * np.square(model.weights[-1]).sum())
    with_them = model.evaluate(x, y, verbose=0)
    model.layers[1].embeddings_regularizer = model.layers[2].layers[0].kernel_regularizer = None
    model.layers[2].layers[0].bias_regularizer = None
    model.compile("sgd", "mse")
    assert with_them - model.evaluate(x, y, verbose=0) == pytest.approx(sum(penalties), rel=1e-11)


STEPS = {
    "sgd": lambda: optimizers.SGD(0.1),
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "clipvalue": lambda: optimizers.SGD(0.1, clipvalue=0.01),
    "clipnorm": lambda: optimizers.SGD(0.1, clipnorm=0.05),
    "global": lambda: optimizers.Adam(0.1, global_clipnorm=0.05, use_ema=True, ema_overwrite_frequency=2),
    "accumulated": lambda: optimizers.RMSprop(0.01, gradient_accumulation_steps=2),
    "adafactor": lambda: optimizers.Adafactor(0.1),
    "muon": lambda: optimizers.Muon(0.1),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("mode", MODES)
def test_steps_take_the_whole_gradient(mode, name):
    """A step is what the optimizer makes of the whole gradient, penalty included; other tests check the gradient."""
    given = {"kernel_regularizer": orthogonal(mode), "kernel_constraint": "unit_norm", "bias_constraint": "non_neg"}
    fused, x, y = model_of((60, 70), optimizer=STEPS[name](), **given)
    apart, _, _ = model_of((60, 70), optimizer=STEPS[name](), **copy.deepcopy(given))
    for _ in range(4):
        fused.train_on_batch(x, y)
        batch_gradient(apart, x, y)
        engine, _, optimizer = apart._ready("test")
        engine.apply_gradients(optimizer.hyperparameters())
    for a, b in zip(fused.get_weights(), apart.get_weights(), strict=True):
        # Clipping by norms sums the squares of a stripe in pieces where the gradient comes in pieces.
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("mode", MODES)
def test_a_sparse_input_trains_as_a_dense_one(mode):
    """The kernel is so large that rows without a gradient would rest, but the penalty gives each row a gradient."""
    features, units = (1100, 480) if mode == "rows" else (33000, 16)
    generator = np.random.default_rng(8)
    x = scipy.sparse.random(24, features, density=0.01, format="csr", random_state=generator, dtype=np.float64)
    y = generator.normal(size=(24, units))
    weights = generator.normal(size=(features, units))
    trained = []
    for given in (x, x.toarray()):
        model = fastnn.Sequential(
            [fastnn.Input((features,), dtype="float64"), layers.Dense(units, kernel_regularizer=orthogonal(mode))]
        )
        model.weights[0][...] = weights
        model.compile(optimizers.Adam(0.01), "mse")
        model.fit(given, y, batch_size=8, shuffle=False, verbose=0)
        trained.append([*model.get_weights(), np.array(model.history.history["loss"])])
    for a, b in zip(*trained, strict=True):
        # A sparse product sums in another order than a dense one; Adam divides small gradients by their size.
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)
    assert not (trained[0][0] == weights).any()


@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", MODES)
def test_bits_do_not_depend_on_threads(mode, dtype):
    given = {"kernel_regularizer": orthogonal(mode), "kernel_constraint": "max_norm"}

    def trained():
        model, x, y = model_of((190, 170), dtype, optimizers.Adam(clipnorm=0.1), rows=30, **given)
        model.fit(x, y, batch_size=10, epochs=2, verbose=0)
        return [*model.get_weights(), model.history.history["loss"], model.evaluate(x, y, verbose=0)]

    same_on_any_threads(trained)


def test_members_of_an_ensemble_train_as_alone():
    members = [model_of((60, 70), kernel_regularizer=orthogonal(mode)) for mode in MODES]
    _, x, y = members[0]
    fastnn.Ensemble([model for model, _, _ in members]).fit(x, y, batch_size=8, epochs=2, verbose=0)
    for (model, _, _), mode in zip(members, MODES, strict=True):
        alone, _, _ = model_of((60, 70), kernel_regularizer=orthogonal(mode))
        alone.fit(x, y, batch_size=8, epochs=2, verbose=0)
        for a, b in zip(model.get_weights(), alone.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("mode", MODES)
def test_lbfgs_lowers_it(mode):
    model, x, y = model_of((4, 3), optimizer=optimizers.LBFGS(), kernel_regularizer=orthogonal(mode))
    before = model.evaluate(x, y, verbose=0)
    history = model.fit(x, y, epochs=30, verbose=0).history["loss"]
    assert history[-1] < 0.8 * before
    assert history[-1] == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_training_turns_vectors_to_right_angles(mode):
    given = {"kernel_regularizer": regularizers.OrthogonalRegularizer(20.0, mode)}
    angles = []
    for arguments in (given, {}):
        model, x, y = model_of((5, 5), optimizer=optimizers.SGD(0.002), **arguments)
        model.fit(x, y, epochs=500, verbose=0)
        angles.append(formula(model.layers[2].kernel, mode))
    assert angles[0] < 0.1 * angles[1]


def test_it_is_stored_and_a_layer_at_rest_has_none(tmp_path):
    regularizer = regularizers.OrthogonalRegularizer(0.25, mode="columns")
    assert regularizers.get(regularizers.serialize(regularizer)).get_config() == {"factor": 0.25, "mode": "columns"}
    assert regularizers.get("orthogonal_regularizer").get_config() == {"factor": 0.01, "mode": "rows"}
    model, x, y = model_of((5, 6), "float32", kernel_regularizer=regularizer)
    model.save(tmp_path / "model.fastnn")
    loaded = fastnn.load_model(tmp_path / "model.fastnn")
    assert loaded.get_config() == model.get_config()
    assert loaded.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
    plain, _, _ = model_of((5, 6), "float32")
    model.layers[2].trainable = False
    model.compile("sgd", "mse")
    assert model.evaluate(x, y, verbose=0) == plain.evaluate(x, y, verbose=0)  # evaluate adds no penalty, as in Keras
    assert model.train_on_batch(x, y) == plain.train_on_batch(x, y)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: regularizers.OrthogonalRegularizer(-1), "factor must be at least 0, got -1"),
        (lambda: regularizers.OrthogonalRegularizer(mode="row"), "mode 'row' is unknown; did you mean 'rows'"),
        (lambda: orthogonal("rows")([1.0, 2.0]), r"two axes, as a kernel; x has shape \(2,\)"),
        (lambda: orthogonal("rows")([[1.0, 2.0]]), r"at least two rows to compare; x has shape \(1, 2\)"),
        (lambda: model_of((4, 1), kernel_regularizer=orthogonal("columns")), "two columns to compare; kernel of layer"),
        (lambda: model_of((1, 4), kernel_regularizer=orthogonal("rows")), r"two rows .* 'dense_1' has shape \(1, 4\)"),
        (lambda: model_of((3, 4), bias_regularizer="orthogonal_regularizer"), "two axes, as a kernel; bias of layer"),
        (lambda: layers.Dense(2, activity_regularizer=orthogonal("rows")), "activity_regularizer cannot be an Orthog"),
    ],
)
def test_bad_uses_get_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
