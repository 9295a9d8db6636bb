"""Sequential: what a user calls, what it returns, and what bad input gets."""

import copy
import inspect
import json
import warnings

import numpy as np
import pytest

import fastnn
import fastnn as tf
from fastnn import layers
from fastnn.callbacks import Callback


def digits():
    (x_train, y_train), (x_test, y_test) = fastnn.datasets.load_digits()
    return (x_train / np.float32(16), y_train), (x_test / np.float32(16), y_test)


def small(**compile_arguments):
    model = fastnn.Sequential([layers.Dense(5, "relu", input_shape=(3,)), layers.Dense(4, "softmax")])
    given = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
    model.compile(**(given | compile_arguments))
    return model


X = np.random.default_rng(0).normal(size=(20, 3))
Y = np.arange(20) % 4


@pytest.mark.thread_unsafe(reason="sets the process-wide seed")
@pytest.mark.parametrize("seed", range(5))
def test_the_listing_reaches_97_percent(seed):
    (x_train, y_train), (x_test, y_test) = digits()
    tf.utils.set_random_seed(seed)
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Dense(128, activation="relu", input_shape=(64,)),
            tf.keras.layers.Dense(128, activation="relu"),
            tf.keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x_train, y_train, epochs=15, batch_size=32, verbose=0)
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    assert accuracy >= 0.97
    assert history.history["loss"][-1] < history.history["loss"][0] / 10
    assert loss < 0.2


@pytest.mark.thread_unsafe(reason="sets the process-wide seed")
def test_two_moons_and_a_regression_converge():
    tf.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    angle, side = generator.uniform(0, np.pi, 1000), np.arange(1000) % 2
    x = np.c_[np.cos(angle) * (1 - 2 * side) + side, np.sin(angle) * (1 - 2 * side) + side / 2]
    x += 0.1 * generator.normal(size=x.shape)
    model = fastnn.Sequential([layers.Dense(32, "tanh", input_shape=(2,)), layers.Dense(1, "sigmoid")])
    model.compile(fastnn.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
    model.fit(x, side, epochs=60, verbose=0)
    assert model.evaluate(x, side, verbose=0)[1] > 0.97

    model = fastnn.Sequential([layers.Dense(1, input_shape=(2,))])
    model.compile(fastnn.optimizers.SGD(0.1), "half_mse")
    model.fit(x, x @ [2.0, -3.0] + 1, epochs=100, verbose=0)
    np.testing.assert_allclose(model.layers[0].kernel[:, 0], [2, -3], atol=1e-3)


def test_results_have_keras_shapes_and_names():
    model = small()
    history = model.fit(X, Y, epochs=3, batch_size=6, validation_split=0.25, verbose=0, initial_epoch=1)
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert history.epoch == [1, 2]
    assert history.params == {"epochs": 3, "steps": 3, "verbose": 0}
    result = model.evaluate(X, Y, verbose=0, return_dict=True)
    assert list(result) == ["loss", "accuracy"]
    assert model.evaluate(X, Y, verbose=0) == list(result.values())
    assert isinstance(small(metrics=None).evaluate(X, Y, verbose=0), float)
    assert model.predict(X).shape == (20, 4)
    np.testing.assert_array_equal(model(X), model.predict_on_batch(X))
    np.testing.assert_array_equal(model(X, training=False), model(X))
    assert model.count_params() == 3 * 5 + 5 + 5 * 4 + 4


@pytest.mark.thread_unsafe(reason="captures what the process prints")
@pytest.mark.parametrize(("verbose", "expected"), [(0, ""), (1, "Epoch 2/2: 3/3 - "), (2, "3/3 - ")])
def test_verbose(verbose, expected, capsys):
    small().fit(X, Y, epochs=2, batch_size=8, verbose=verbose)
    printed = capsys.readouterr().out
    assert expected in printed
    assert bool(printed) == bool(verbose)


def test_summary_lists_layers_and_parameters():
    lines = []
    small().summary(print_fn=lines.append)
    assert any("dense_1 (Dense)" in line and line.rstrip().endswith("24") for line in lines)
    assert lines[-1].startswith("Parameters: 44")


def test_the_summary_of_a_model_without_weights_knows_no_numbers_of_parameters():
    lines = []
    stack = layers.Residual([layers.Dense(3)])
    fastnn.Sequential([layers.Dense(3), layers.Dropout(0.1), stack]).summary(print_fn=lines.append)
    assert [line.split()[-1] for line in lines[4:7]] == ["?", "0", "?"]
    lines.clear()
    fastnn.Sequential([layers.Dense(3), layers.Heads({"a": [layers.Dense(1)]})]).summary(print_fn=lines.append)
    assert [line.split()[-1] for line in lines[4:7]] == ["?"] * 3


def test_names_weights_and_config_round_trip():
    model = small()
    assert [layer.name for layer in model.layers] == ["dense", "dense_1"]
    other = fastnn.Sequential.from_config(json.loads(json.dumps(model.get_config())))
    other.set_weights(model.get_weights())
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    model.layers[0].kernel[...] = 0  # kernel is a view: the model changes
    assert not model.get_weights()[0].any()


def test_layers_are_named_as_in_keras():
    """Classes that Keras has get the names of Keras 3.15. Each model and each block counts its layers by itself."""
    model = fastnn.Sequential(
        [
            fastnn.Input((4,)), layers.BatchNormalization(), layers.Dense(4), layers.ReLU(), layers.LeakyReLU(),
            layers.ELU(), layers.PReLU(), layers.Dense(8), layers.GLU(), layers.RMSNormalization(),
            layers.LayerNormalization(), layers.GaussianNoise(0.1),
            layers.BatchNormalization(name="batch_normalization_1"),
            layers.Residual([layers.Dense(3), layers.Dense(4)]), layers.BatchNormalization(),
        ]
    )  # fmt: skip
    assert [layer.name for layer in model.layers] == [
        "input_layer", "batch_normalization", "dense", "re_lu", "leaky_re_lu", "elu", "p_re_lu", "dense_1", "glu",
        "rms_normalization", "layer_normalization", "gaussian_noise", "batch_normalization_1", "residual",
        "batch_normalization_2",
    ]  # fmt: skip
    assert [layer.name for layer in model.get_layer("residual").layers] == ["dense", "dense_1"]


def test_a_layer_that_does_not_fit_gets_no_name():
    model = fastnn.Sequential([layers.Dense(2, dtype="float64")])
    layer = layers.Dense(2, dtype="float32")
    with pytest.raises(ValueError, match="dtype must be the same for all layers"):
        model.add(layer)
    assert layer.name is None
    assert len(model.layers) == 1


def test_a_name_that_files_need_is_refused():
    for make in (lambda: fastnn.Sequential([layers.Dense(1, name="optimizer")]),
                 lambda: fastnn.Sequential([layers.Residual([layers.Dense(1)], name="optimizer")])):  # fmt: skip
        with pytest.raises(ValueError, match="name 'optimizer' is taken: in files of models"):
            make()
    with pytest.raises(ValueError, match="name 'a' is taken: layer names must be unique in a model"):
        fastnn.Sequential([layers.Dense(1, name="a"), layers.Dense(1, name="a")])
    with pytest.raises(ValueError, match="name 'a' is taken: layer names must be unique in a block"):
        layers.Residual([layers.Dense(1, name="a"), layers.Dense(1, name="a")])


def test_a_block_may_hold_a_layer_named_optimizer(tmp_path):
    block = layers.Residual([layers.Dense(3, name="optimizer")])
    model = fastnn.Sequential([fastnn.Input((3,)), block, layers.Dense(1, "sigmoid")])
    model.compile("adam", "mse")
    model.fit(X, Y[:, None], verbose=0)
    model.save(tmp_path / "model")
    loaded = fastnn.load_model(tmp_path / "model")
    loaded.load_weights(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_a_model_without_input_shape_is_built_by_fit():
    model = fastnn.Sequential([layers.Dense(4, "softmax")])
    with pytest.raises(ValueError, match="predict needs a built model"):
        model.predict(X)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(X, Y, verbose=0)
    assert model.layers[0].kernel.shape == (3, 4)


def test_train_on_batch_is_one_step_of_fit():
    one, other = small(), small()
    other.set_weights(one.get_weights())
    one.fit(X, Y, batch_size=20, shuffle=False, verbose=0)
    loss, accuracy = other.train_on_batch(X, Y)
    assert 0 <= accuracy <= 1
    assert loss > 0
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a, b)


BAD = {
    "features": (X[:, :2], Y, ValueError, "x must have 3 features a row.* got 2"),
    "one axis": (X[0], Y, ValueError, r"x must have two axes \(rows, features\), got shape \(3,\)"),
    "lengths": (X, Y[:-1], ValueError, "same number of rows, got 20 rows and 19 rows"),
    "label too large": (X, Y + 1, ValueError, "labels from 0 to 3, but row 3 is 4"),
    "label negative": (X, Y - 1, ValueError, "labels from 0 to 3, but row 0 is -1"),
    "label not whole": (X, Y + 0.5, ValueError, "integer class labels, but row 0 is 0.5"),
    "NaN": (np.where(np.arange(60).reshape(20, 3) == 31, np.nan, X), Y, ValueError, "x must be finite, but row 10"),
    "infinity": (X * 1e300, Y, ValueError, "x must be finite"),
    "empty": (X[:0], Y[:0], ValueError, "at least one row"),
    "complex": (X + 1j, Y, TypeError, "got complex data"),
    "object": (
        np.where(np.arange(60).reshape(20, 3) == 31, None, X),
        Y,
        TypeError,
        "but row 10 holds None: fill it first",
    ),
    "object as y": (X, [*Y[:-1], None], TypeError, "y must hold real numbers, but row 19 holds None"),
    "text": ([[1, 2, 3], [4, 5, "x"]], [0, 1], TypeError, "got text: row 1 holds 'x'; a StringLookup layer"),
    "ragged": (
        [[1, 2, 3], [1, 2]],
        [0, 1],
        ValueError,
        "x must have rows of one length, but row 1 has 2 values and row 0",
    ),
    "ragged y": (X[:2], [[1, 2], [1]], ValueError, "y must have rows of one length, but row 1 has 1 values"),
    "masked": (
        np.ma.masked_equal(X, X[0, 0]),
        Y,
        ValueError,
        r"x has masked values.*: fill them first, as with its filled\(\)",
    ),
    "masked y": (X, np.ma.masked_equal(Y, 0), ValueError, "y has masked values"),
    "no targets": (X, None, ValueError, "y is missing"),
    "one-hot": (X, np.eye(4)[Y], ValueError, "need categorical_crossentropy"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("call", ["fit", "evaluate", "train_on_batch"])
def test_bad_data_gets_one_sentence_and_changes_nothing(case, call):
    x, y, error, sentence = BAD[case]
    model = small()
    before, state = model.get_weights(), copy.copy(model._epochs_done)
    with pytest.raises(error, match=sentence):
        getattr(model, call)(x, y)
    assert model._epochs_done == state
    for a, b in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("attempt", "error", "sentence"),
    [
        (lambda: layers.Dense(3, "rleu"), ValueError, "did you mean 'relu'"),
        (lambda: layers.Dense(0), ValueError, "units must be at least 1, got 0"),
        (lambda: layers.Dense(1, input_dim=0), ValueError, "input_dim must be at least 1, got 0"),
        (lambda: layers.Dense(1, input_dim=3, input_shape=(3,)), ValueError, "only one of the two may be given"),
        (
            lambda: layers.Dense(3, kernel_initializer="he_norml"),
            ValueError,
            "kernel_initializer 'he_norml' is unknown",
        ),
        (lambda: small(loss="mze"), ValueError, "loss 'mze' is unknown; did you mean 'mse'"),
        (lambda: small(optimizer="adan"), ValueError, "did you mean 'adam'"),
        (lambda: small(metrics=["acuracy"]), ValueError, "metric 'acuracy' is unknown"),
        (lambda: small(metrics=["mse"]), ValueError, "needs targets shaped like the output"),
        (lambda: small().fit(X, Y, epochs=1.5), TypeError, "epochs must be an integer, got float"),
        (lambda: small().fit(X, Y, batch_size=0), ValueError, "batch_size must be at least 1"),
        (lambda: small().fit(X, Y, verbose=3), ValueError, "verbose must be"),
        (lambda: small().fit(X, Y, validation_split=1.5), ValueError, "validation_split must lie between"),
        (lambda: small().set_weights([1]), ValueError, "weights must hold 4 arrays, got 1"),
        (lambda: small().backward([[1.0]]), RuntimeError, "needs a forward pass"),
        (lambda: fastnn.optimizers.Adam(-1), ValueError, "learning_rate must be at least 0, got -1"),
        (lambda: fastnn.Sequential([layers.Dense(2**40, input_shape=(2**40,))]), ValueError, "cannot be addressed"),
        (lambda: fastnn.set_num_threads(0), ValueError, "n must be an integer from 1 to 256"),
        (lambda: fastnn.Sequential(name=3), TypeError, "name must be a string, got int"),
        (lambda: fastnn.Sequential.from_config({}), ValueError, "a list of layers under 'layers', .* got nothing"),
        (lambda: fastnn.Sequential.from_config([]), TypeError, "config must be a dict, .* got list"),
        (lambda: small(loss=fastnn.losses.Loss()), TypeError, "got [A-Z][A-Za-z]*, which has no rule"),
        (lambda: small(optimizer=fastnn.optimizers.Optimizer(0.1)), TypeError, "got [A-Z][A-Za-z]*, which has no rule"),
        (lambda: setattr(small(), "trainable", "no"), TypeError, "trainable must be True or False, got 'no'"),
        (lambda: small().forward(X, training="no"), TypeError, "training must be True or False, got 'no'"),
        (lambda: fastnn.datasets.load_digits(by_writer="no"), TypeError, "by_writer must be True or False, got 'no'"),
        (lambda: fastnn.Sequentail, AttributeError, "did you mean 'Sequential'"),
        (lambda: fastnn.utils.to_categorical([0, 1], 2.7), TypeError, "num_classes must be an integer, got float"),
        (lambda: fastnn.utils.to_categorical([0, 1], "3"), TypeError, "num_classes must be an integer, got str"),
        (lambda: fastnn.utils.to_categorical([0, 1], -1), ValueError, "num_classes must be at least 1, got -1"),
        (lambda: fastnn.utils.to_categorical([0, 3], 3), ValueError, "x holds the label 3; with num_classes=3"),
    ],
)
def test_bad_arguments_get_one_sentence(attempt, error, sentence):
    with pytest.raises(error, match=sentence) as caught:
        attempt()
    assert "\n" not in str(caught.value)


def test_arguments_of_keras_that_change_nothing():
    model = fastnn.Sequential([layers.Dense(12, input_dim=3), layers.Dropout(0.5), layers.Dense(4)])
    model.compile("sgd", "mse", run_eagerly=True, jit_compile=False, auto_scale_loss=False)
    assert model.count_params() == 4 * 12 + 13 * 4
    assert (model(X, training=True) != model(X, training=None)).any()
    assert layers.deserialize(layers.serialize(model.layers[0])).input_axes == (3,)


@pytest.mark.parametrize(
    ("base", "method", "use"),
    [
        (layers.Layer, "call", lambda rule: fastnn.Sequential([layers.Residual([rule()])])),
        (fastnn.regularizers.L2, "__call__", lambda rule: layers.Dense(1, kernel_regularizer=rule())),
        (fastnn.constraints.Constraint, "__call__", lambda rule: layers.Dense(1, bias_constraint=rule)),
        (fastnn.optimizers.schedules.LearningRateSchedule, "__call__", lambda rule: fastnn.optimizers.SGD(rule())),
    ],
)
def test_rules_written_in_python_are_refused_not_ignored(base, method, use):
    rule = type("Mine", (base,), {method: lambda self, x: x})
    with pytest.raises(TypeError, match=rf"Mine has a {method} in Python, which it cannot call"):
        use(rule)
    preset = type(
        "Preset", (fastnn.regularizers.L2,), {"__init__": lambda self: fastnn.regularizers.L2.__init__(self, 3)}
    )
    # a user's class may preset its arguments
    assert layers.Dense(1, kernel_regularizer=preset()).kernel_regularizer.l2 == 3


def test_fit_needs_compile_and_softmax_of_one_unit_warns():
    with pytest.raises(RuntimeError, match="fit needs a compiled model"):
        fastnn.Sequential([layers.Dense(1, input_shape=(3,))]).fit(X, Y)
    with pytest.warns(UserWarning, match="softmax over one unit"):
        fastnn.Sequential([layers.Dense(1, "softmax", input_shape=(3,))])


def test_a_loss_that_turns_nan_is_reported_once():
    model = fastnn.Sequential([layers.Dense(1, input_shape=(3,))])
    model.compile(fastnn.optimizers.SGD(1e30), "mse")
    with pytest.warns(RuntimeWarning, match=r"not finite from epoch 1, step \d") as caught:
        model.fit(X, X[:, 0], epochs=5, batch_size=2, verbose=0)
    assert len(caught) == 1


class OwnLoop(Callback):
    """A callback of the user, whose line calls fastnn again."""

    def on_epoch_end(self, epoch, logs=None):
        with pytest.warns(UserWarning, match="softmax over one unit") as caught:
            fastnn.Sequential([layers.Dense(1, "softmax", input_shape=(3,))])
        assert caught[0].filename == __file__


def test_warnings_point_to_the_users_line():
    """The user's line is found from any depth: from a constructor, from fit, from callbacks of fastnn and the user."""
    batches = ((X[:4], Y[:4]) for _ in range(2))
    diverging = fastnn.Sequential([layers.Dense(1, input_shape=(3,))])
    diverging.compile(fastnn.optimizers.SGD(1e30), "mse")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        line = inspect.currentframe().f_lineno
        fastnn.Sequential([layers.Dense(1, "softmax", input_shape=(3,))])
        diverging.fit(X, X[:, 0], epochs=5, batch_size=2, verbose=0)
        small().fit(X, Y, verbose=0, callbacks=fastnn.callbacks.EarlyStopping("loose"))
        small().fit(batches, steps_per_epoch=3, verbose=0)
        fastnn.Sequential().add(layers.Dense(1, "softmax", input_shape=(3,)))
    assert [entry.filename for entry in caught] == [__file__] * 5
    assert [entry.lineno - line for entry in caught] == [1, 2, 3, 4, 5]
    small().fit(X, Y, verbose=0, callbacks=OwnLoop())


@pytest.mark.parametrize(
    ("labels", "shape"),
    [
        ([0, 1], (2, 2)),
        ([[0], [1]], (2, 2)),
        ([[0, 1], [1, 0]], (2, 2, 2)),
        ([[[0], [1]]], (1, 2, 2)),
        (1, (2,)),
        ([[0]], (1, 1)),
        (np.array([True, False]), (2, 2)),
    ],
)
def test_to_categorical_has_the_shapes_of_keras(labels, shape):
    rows = fastnn.utils.to_categorical(labels)
    assert rows.shape == shape
    np.testing.assert_array_equal(rows.argmax(axis=-1).ravel(), np.ravel(labels))
    assert fastnn.utils.to_categorical(labels, np.int64(5)).shape == (*shape[:-1], 5)


def test_to_categorical_takes_whole_floats_alone():
    np.testing.assert_array_equal(fastnn.utils.to_categorical([0.0, 2.0]), [[1, 0, 0], [0, 0, 1]])
    for bad in ([0.5], [np.nan], [np.inf], [1e300]):
        with pytest.raises(TypeError, match=r"^x must hold whole class labels, got "):
            fastnn.utils.to_categorical(bad)


def test_check_finite_can_be_left_out():
    x = X.copy()
    x[3, 1] = np.nan
    with pytest.warns(RuntimeWarning, match="not finite"):
        small().fit(x, Y, verbose=0, check_finite=False)


@pytest.mark.parametrize("bad", [{"validation_split": 2.0}, {"validation_data": (X[:, :2], Y)}, {"validation_data": X}])
def test_bad_validation_leaves_a_model_that_was_not_built_so(bad):
    model = fastnn.Sequential([layers.Dense(4, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="validation"):
        model.fit(X, Y, verbose=0, **bad)
    assert not model.built


def test_a_layer_that_does_not_fit_leaves_the_model_as_it_was():
    model = fastnn.Sequential([fastnn.Input((3,)), fastnn.layers.Dense(1)])
    model.compile("adam", "mse")
    x = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
    model.fit(x, x[:, :1], verbose=0)
    before = model.predict(x)
    misfit = fastnn.layers.Dense(2, kernel_regularizer=fastnn.regularizers.OrthogonalRegularizer())
    with pytest.raises(ValueError, match="at least two rows"):
        model.add(misfit)
    assert len(model.layers) == 2
    assert misfit.name is None
    np.testing.assert_array_equal(model.predict(x), before)
    model.fit(x, x[:, :1], verbose=0)
    assert model.optimizer.iterations == 2
    other = fastnn.Sequential([fastnn.Input((3,)), misfit])  # the layer may enter another model
    assert other.predict(x).shape == (20, 2)


def test_layers_are_found_and_hold_their_weights():
    model = small()
    assert model.get_layer("dense_1") is model.layers[1] is model.get_layer(index=-1)
    dense = model.get_layer("dense")
    kernel, bias = dense.weights
    dense.set_weights([np.ones((3, 5)), np.zeros(5)])
    assert (kernel == 1).all()
    assert (dense.kernel == 1).all()
    assert [w.shape for w in dense.trainable_weights] == [(3, 5), (5,)]
    assert dense.non_trainable_weights == []
    model.trainable = False
    assert not model.trainable
    assert [w.shape for w in dense.non_trainable_weights] == [(3, 5), (5,)]
    assert bias.shape == (5,)
    with pytest.raises(ValueError, match="weights for dense/bias must have shape"):
        dense.set_weights([np.zeros((3, 5)), np.zeros(4)])
    assert (kernel == 1).all()
    for arguments, message in [
        ({}, "needs either name or index"),
        ({"name": "dense_3"}, "did you mean"),
        ({"index": 9}, "index must be below 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.get_layer(**arguments)
