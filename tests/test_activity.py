"""Penalties of outputs: their part in the loss and their gradients, on every layer and every path of the engine.

tests/test_graph.py has them in random stacks, tests/test_keras_reference.py beside Keras.
"""

import numpy as np
import pytest
import scipy.sparse

import fastnn
from fastnn import layers, regularizers

PENALTY = {"l1": 0.03, "l2": 0.02}

# Every layer that takes a penalty of its outputs, after a Dense of six units.
TAKERS = {
    "dense": lambda **given: layers.Dense(4, "relu", **given),
    "gelu": lambda **given: layers.Dense(4, "gelu", **given),
    "softmax dense": lambda **given: layers.Dense(4, "softmax", **given),
    "activation": lambda **given: layers.Activation("tanh", **given),
    "relu": lambda **given: layers.ReLU(negative_slope=0.1, **given),
    "leaky relu": lambda **given: layers.LeakyReLU(**given),
    "elu": lambda **given: layers.ELU(**given),
    "softmax": lambda **given: layers.Softmax(**given),
    "glu": lambda **given: layers.GLU("silu", **given),
    "scale": lambda **given: layers.Scale("ones", **given),
    "prelu": lambda **given: layers.PReLU("ones", **given),
    "parametric": lambda **given: layers.ParametricActivation("tanh", **given),
    "members": lambda **given: layers.EnsembleScale(2, **given),
    "dense members": lambda **given: layers.EnsembleDense(2, 3, "softmax", **given),
    "linear embedding": lambda **given: layers.LinearEmbedding(3, "tanh", **given),
    "periodic embedding": lambda **given: layers.PeriodicEmbedding(4, 2, **given),
    "batch": lambda **given: layers.BatchNormalization(**given),
    "layer": lambda **given: layers.LayerNormalization(**given),
    "rms": lambda **given: layers.RMSNormalization(**given),
    "dropout": lambda **given: layers.Dropout(0.4, **given),
    "no dropout": lambda **given: layers.Dropout(0.0, **given),
    "alpha dropout": lambda **given: layers.AlphaDropout(0.4, **given),
    "gaussian dropout": lambda **given: layers.GaussianDropout(0.4, **given),
    "gaussian noise": lambda **given: layers.GaussianNoise(0.4, **given),
}


def l1_l2():
    return regularizers.L1L2(**PENALTY)


def formula(outputs):
    """Return the penalty of a batch of outputs, as the loss contains it."""
    values = np.asarray(outputs, np.float64)
    return (PENALTY["l1"] * np.abs(values).sum() + PENALTY["l2"] * np.square(values).sum()) / len(values)


def model_of(stack, features, dtype="float64"):
    """Return a model whose weights are the same whatever the layers' penalties."""
    model = fastnn.Sequential([fastnn.Input((features,), dtype=dtype), *stack])
    generator = np.random.default_rng(features)
    for view in model.weights:
        view[...] = generator.normal(size=view.shape) / np.sqrt(len(view)) if view.ndim > 1 else 0.5
    model._seed = 0
    return model


def rows_for(model, rows, features, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, features)).astype(model.dtype)
    return x, generator.normal(size=(rows, model._engine.plan.outputs)).astype(model.dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("place", ["inside", "last"])
@pytest.mark.parametrize("name", TAKERS)
def test_the_loss_holds_the_penalty_of_every_layer_that_takes_one(name, place, dtype):
    def made(**given):
        after = [layers.Dense(3)] if place == "inside" else []
        return model_of([layers.Dense(6), TAKERS[name](**given), *after], 5, dtype)

    model, plain = made(activity_regularizer=l1_l2()), made()
    layer, shown = model.layers[2], plain.layers[:3]
    assert layer.get_config()["activity_regularizer"] == regularizers.serialize(l1_l2())
    x, y = rows_for(model, 300, 5)  # more rows than a tile of an evaluation holds
    outputs = fastnn.Sequential([layers.deserialize(layers.serialize(each)) for each in shown])
    outputs.set_weights([view for each in shown for view in each.weights])
    for each in (model, plain):
        each.compile("sgd", "mse")
    expected = plain.evaluate(x, y, verbose=0) + formula(outputs.predict(x))
    # Float32 sums of a thousand terms in another order.
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=tolerance)
    np.testing.assert_array_equal(model.predict(x), plain.predict(x))
    np.testing.assert_array_equal(model.freeze()(x), plain.predict(x))
    # While training, layers add their noise and normalize by the statistics of the batch.
    outputs._seed = 0
    trained = outputs.forward(x, training=True)
    expected = plain.train_on_batch(x, y) + formula(trained)
    assert model.train_on_batch(x, y) == pytest.approx(expected, rel=tolerance)


def test_an_embedding_takes_one():
    table, x = np.arange(12.0).reshape(4, 3) - 5, np.array([[0, 3], [1, 1], [2, 0]])
    model = fastnn.Sequential(
        [fastnn.Input((2,), dtype="float64"), layers.Embedding(4, 3, activity_regularizer=l1_l2())]
    )
    model.set_weights([table])
    y = table[x].reshape(3, 6)  # so that the mean squared error is zero
    model.compile(fastnn.optimizers.SGD(1.0), "mse")
    assert model.evaluate(x, y, verbose=0) == pytest.approx(formula(y), rel=1e-13)
    model.train_on_batch(x, y)
    uses = np.bincount(x.ravel(), minlength=4)[:, None]
    gradient = uses * (PENALTY["l1"] * np.sign(table) + 2 * PENALTY["l2"] * table) / 3
    np.testing.assert_allclose(model.get_weights()[0], table - gradient, rtol=1e-13)


# Kernels for every path: a small one; wide ones, shared out by inputs; large ones, shared out by columns; each with a
# small batch and with a large one, whose products are not shared out.
@pytest.mark.parametrize("batch", [7, 130])
@pytest.mark.parametrize("widths", [(3, 5, 4), (20, 257, 131), (9, 700, 800)], ids=str)
@pytest.mark.parametrize("activation", [None, "tanh", "softmax", "silu"])
@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
def test_loss_and_gradients_are_their_formulas_on_any_number_of_threads(widths, batch, activation):
    results = []
    for threads in (1, 2, 3):
        fastnn.set_num_threads(threads)
        gradients, losses = [], []
        for penalty in (None, l1_l2()):
            stack = [
                layers.Dense(widths[1], activation, activity_regularizer=penalty),
                layers.Dense(widths[2], activation, activity_regularizer=penalty),
                layers.Dense(2),
            ]
            model = model_of(stack, widths[0])
            x, y = rows_for(model, batch, widths[0])
            model.compile("sgd", "mse")
            engine, _, _ = model._ready("fit")
            losses.append(engine.batch_gradient(x, y)[0] / batch)
            gradients.append([g.copy() for g in model.gradients])
        # The penalties add the gradients of these two outputs, which backward of models that end there gives.
        added = [np.zeros_like(g) for g in gradients[0]]
        for end in (1, 2):
            part = model_of([layers.Dense(width, activation) for width in widths[1 : end + 1]], widths[0])
            part.set_weights(model.get_weights()[: 2 * end])
            outputs = part.forward(x)
            losses[0] += formula(outputs)
            part.backward((PENALTY["l1"] * np.sign(outputs) + 2 * PENALTY["l2"] * outputs) / batch)
            for total, gradient in zip(added, part.gradients, strict=False):
                total += gradient
        # Float64 sums of a thousand terms in another order.
        assert losses[1] == pytest.approx(losses[0], rel=1e-12)
        for plain, penalized, difference in zip(*gradients, added, strict=True):
            np.testing.assert_allclose(penalized, plain + difference, rtol=1e-9, atol=1e-13)
        results.append([np.array(losses[1]), *gradients[1]])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_last_softmax_is_computed_where_it_has_a_penalty():
    """A cross-entropy computes the last softmax itself, from its input, unless the softmax has a penalty."""
    losses = []
    for penalty in (None, l1_l2()):
        model = model_of([layers.Dense(6, "tanh"), layers.Dense(4, "softmax", activity_regularizer=penalty)], 5)
        x, _ = rows_for(model, 50, 5)
        y = np.arange(50) % 4
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        losses.append((*model.evaluate(x, y, verbose=0), model.train_on_batch(x, y)[0]))
        predicted = model_of([layers.Dense(6, "tanh"), layers.Dense(4, "softmax")], 5).predict(x)
    plain, penalized = losses
    # The cross-entropy clips probabilities 1e-7 away from 0 and 1.
    assert penalized[0] == pytest.approx(plain[0] + formula(predicted), rel=1e-6)
    assert penalized[2] == pytest.approx(penalized[0], rel=1e-13)
    assert penalized[1] == plain[1]


def test_weights_of_rows_do_not_count_for_it_and_the_last_batch_is_divided_by_its_own_rows():
    model = model_of([layers.ActivityRegularization(**PENALTY)], 5)
    model.compile("sgd", "mse")
    x, _ = rows_for(model, 44, 5)
    found = model.fit(x, x, batch_size=9, epochs=1, shuffle=False, verbose=0, sample_weight=np.zeros(44)).history[
        "loss"
    ]
    # The mean of the batches' losses, each counted with its rows, is the mean over all rows at once.
    assert found[0] == pytest.approx(formula(x), rel=1e-13)
    assert model.evaluate(x, x, batch_size=9, verbose=0) == pytest.approx(formula(x), rel=1e-13)


def test_a_layer_that_is_not_trained_keeps_its_penalty():
    model = model_of([layers.Dense(6, "tanh"), layers.Dense(4, activity_regularizer=l1_l2()), layers.Dense(2)], 5)
    model.layers[2].trainable = False
    model.compile(fastnn.optimizers.SGD(0.1), "mse")
    plain = model_of([layers.Dense(6, "tanh"), layers.Dense(4), layers.Dense(2)], 5)
    plain.compile("sgd", "mse")
    x, y = rows_for(model, 20, 5)
    cut = fastnn.Sequential([fastnn.Input((5,), dtype="float64"), layers.Dense(6, "tanh"), layers.Dense(4)])
    cut.set_weights(model.get_weights()[:4])
    expected = plain.evaluate(x, y, verbose=0) + formula(cut.predict(x))
    before = model.get_weights()
    assert model.train_on_batch(x, y) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_array_equal(model.get_weights()[2], before[2])
    assert not np.array_equal(model.get_weights()[0], before[0])


def test_it_is_part_of_losses_alone_not_of_forward_and_backward():
    stacks = [[layers.Dense(4, "tanh", activity_regularizer=given), layers.Dense(2)] for given in (None, l1_l2())]
    results = []
    for stack in stacks:
        model = model_of(stack, 5)
        x, dy = rows_for(model, 6, 5)
        results.append([model.forward(x, training=True), model.backward(dy), *model.gradients])
    for plain, penalized in zip(*results, strict=True):
        np.testing.assert_array_equal(plain, penalized)


def test_an_activity_regularization_is_the_penalty_of_the_layer_before_it():
    one = model_of([layers.Dense(6, "tanh", activity_regularizer=regularizers.L1(0.03)), layers.Dense(2)], 5)
    two = model_of(
        [layers.Dense(6), layers.Activation("tanh"), layers.ActivityRegularization(0.03), layers.Dense(2)], 5
    )
    both = model_of(
        [
            layers.Dense(6, "tanh", activity_regularizer=regularizers.L1(0.01)),
            layers.ActivityRegularization(l1=0.02),
            layers.Dense(2),
        ],
        5,
    )
    x, y = rows_for(one, 40, 5)
    histories = []
    for model in (one, two, both):
        assert len(model._engine.plan.ops) == 2  # the penalty costs no op of its own
        model.compile("adam", "mse")
        histories.append(model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0).history["loss"])
    assert histories[0] == histories[1] == pytest.approx(histories[2], rel=1e-12)
    assert layers.deserialize(layers.serialize(two.layers[3])).get_config() == two.layers[3].get_config()


def test_a_penalty_before_an_activation_is_one_of_its_input():
    model = model_of([layers.Dense(6, activity_regularizer=l1_l2()), layers.Activation("relu"), layers.Dense(2)], 5)
    plain = model_of([layers.Dense(6), layers.Activation("relu"), layers.Dense(2)], 5)
    x, y = rows_for(model, 40, 5)
    for each in (model, plain):
        each.compile("sgd", "mse")
    kernel, bias = model.get_weights()[:2]
    expected = plain.evaluate(x, y, verbose=0) + formula(x @ kernel + bias)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-12)


def test_files_and_copies_keep_it_and_a_changed_factor_counts_from_the_next_call(tmp_path):
    stack = [
        layers.Residual([layers.Dense(5, "tanh", activity_regularizer="l1")]),
        layers.Dropout(0.5, activity_regularizer="l2"),
        layers.ActivityRegularization(l2=0.25),
        layers.Dense(2),
    ]
    model = model_of(stack, 5)
    model.compile("sgd", "mse")
    x, y = rows_for(model, 30, 5)
    expected = model.evaluate(x, y, verbose=0)
    model.save(tmp_path / "model.fastnn")
    loaded = fastnn.load_model(tmp_path / "model.fastnn")
    assert loaded.get_config() == model.get_config()
    assert loaded.evaluate(x, y, verbose=0) == expected
    stack[1].activity_regularizer.l2 = stack[2].activity_regularizer.l2 = 0.0
    assert model.evaluate(x, y, verbose=0) < expected
    stack[1].activity_regularizer.l2 = 0.01
    stack[2].activity_regularizer.l2 = 0.25
    assert model.evaluate(x, y, verbose=0) == expected


def test_a_loss_in_python_is_joined_by_it():
    def squares(y, p):
        return np.square(p - y).mean(axis=1), 2 * (p - y) / y.shape[1]

    histories = []
    for loss in ("mse", squares):
        stack = [
            layers.Dense(6, "tanh", activity_regularizer=l1_l2()),
            layers.Dense(2, "sigmoid", activity_regularizer="l1"),
        ]
        model = model_of(stack, 5)
        x, y = rows_for(model, 44, 5)
        model.compile("sgd", loss)
        losses = model.fit(x, y, batch_size=9, epochs=2, shuffle=False, verbose=0).history["loss"]
        histories.append([*losses, model.evaluate(x, y, verbose=0)])
    # Both are the same sums, rounded differently.
    assert histories[1] == pytest.approx(histories[0], rel=1e-12)


def test_sparse_rows_are_dense_ones():
    x = scipy.sparse.random(60, 40, 0.1, "csr", np.float32, 0)
    y = np.arange(60) % 3
    histories = []
    for rows in (x, x.toarray()):
        model = model_of([layers.Dense(8, "relu", activity_regularizer=l1_l2()), layers.Dense(3)], 40, "float32")
        model.compile(fastnn.optimizers.Adam(clipnorm=0.5), "sparse_categorical_crossentropy")
        histories.append(model.fit(rows, y, batch_size=13, epochs=2, shuffle=False, verbose=0).history["loss"])
    assert histories[0] == histories[1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: layers.Dense(2, activity_regularizer="l3"), ValueError, "activity_regularizer 'l3' is unknown"),
        (lambda: layers.ActivityRegularization(l1=-1), ValueError, "l1 must be at least 0, got -1"),
        (
            lambda: setattr(layers.Flatten(), "activity_regularizer", "l2"),
            ValueError,
            "Flatten takes no activity_regularizer: put an ActivityRegularization",
        ),
    ],
)
def test_bad_arguments_get_one_sentence(call, error, message):
    with pytest.raises(error, match=message):
        call()
