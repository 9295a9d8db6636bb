"""Round trips with Keras itself, which CONTRIBUTING says how to run: they are skipped where Keras is not installed."""

import os
import tempfile
import warnings
from pathlib import Path

import keras_models
import numpy as np
import pytest

import fastnn
from fastnn import layers

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with warnings.catch_warnings():  # of Keras's own imports
    warnings.simplefilter("ignore")
    keras = pytest.importorskip("keras", "3.0", exc_type=ImportError)

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    # Keras warns where it cannot use an optimizer's state.
    pytest.mark.filterwarnings("error:Skipping variable loading"),
    pytest.mark.thread_unsafe(reason="Keras has global state"),
]
KERAS = tuple(int(part) for part in keras.__version__.split(".")[:2])
# Both compute in float32, with sums in other orders.
OUTPUTS = {"rtol": 1e-5, "atol": 1e-5}
# Steps multiply the differences of gradients, most of all where they are divided by their size.
STEPS = {"rtol": 2e-4, "atol": 2e-5}
# What the first Keras 3 lacks, or cannot run itself, by the version that can.
SINCE = {
    "celu": (3, 7), "hard_tanh": (3, 7), "log_sigmoid": (3, 7), "squareplus": (3, 7), "rms normalization": (3, 9),
    "celu of half": (3, 7), "squareplus of two": (3, 7), "tversky": (3, 6), "dice": (3, 6), "muon": (3, 10),
    "muon without some": (3, 10), "nadam": (3, 15), "gathered": (3, 5), "gathered average": (3, 15),
    "weight of one": (3, 5),
    **{f"bins {mode} of {n}": (3, 5) for mode in ("one_hot", "multi_hot", "count") for n in (1, 3)},
    "words one_hot of 3": (3, 5), "keys one_hot of 3": (3, 5),
    **{f"categories {mode} of {n}": (3, 5) for mode in ("one_hot", "count") for n in (1, 3)},
    "frozen": (3, 5), "branches and heads": (3, 5),  # an output with the name of an input
}  # fmt: skip


def skip_before(name):
    if SINCE.get(name, (3, 0)) > KERAS:
        pytest.skip(f"Keras {keras.__version__} has no {name}")


def exported(model, training=True):
    """Return Keras's model of a model here."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.export_keras(path, training=training)
        return keras.models.load_model(path)


def asked(model, x):
    """Return what Keras's model predicts."""
    if isinstance(x, dict):
        return model.predict({name: given(array) for name, array in x.items()}, verbose=0)
    return model.predict(given(x), verbose=0)


def given(x):
    """Return rows as Keras takes them: text as tensors."""
    if isinstance(x, dict):
        return {name: given(array) for name, array in x.items()}
    if x.dtype != object:
        return x
    import tensorflow as tf

    return tf.constant(x.tolist())


def assert_same(found, expected, tolerances=OUTPUTS):
    if isinstance(expected, dict):
        assert set(found) == set(expected)
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], err_msg=name, **tolerances)
    else:
        assert np.shape(found) == np.shape(expected)
        np.testing.assert_allclose(found, expected, **tolerances)


ALL = keras_models.STACKS | keras_models.STACKS_OF_OURS | keras_models.SERVED


@pytest.mark.parametrize("name", ALL)
def test_stacks(name):
    skip_before(name)
    stack, x = ALL[name]()
    model = keras_models.network(stack)
    model.compile("adam", "mse")
    assert_same(asked(exported(model, training=name not in keras_models.SERVED), x), model.predict(x))


@pytest.mark.parametrize("name", keras_models.ACTIVATIONS)
def test_activations(name):
    skip_before(name)
    f, x = keras_models.ACTIVATIONS[name], keras_models.numbers()
    stack = [fastnn.Input((5,)), layers.Dense(4, f), layers.Dense(4), layers.Activation(f), layers.Dense(2)]
    model = keras_models.network(stack)
    assert_same(asked(exported(model), x), model.predict(x))


@pytest.mark.parametrize("name", keras_models.GRAPHS)
def test_graphs(name):
    skip_before(name)
    stack, x, y, compiled = keras_models.GRAPHS[name]()
    model = keras_models.network(stack)
    model.compile(fastnn.optimizers.SGD(0.01, momentum=0.9), **compiled)
    check_training(model, x, y)


def check_training(model, x, y, tolerances=STEPS, **fitted):
    """Compare the outputs of a trained model, then those after one more step in both, and after three more."""
    fitted = {"batch_size": keras_models.ROWS, "shuffle": False, "verbose": 0} | fitted
    model.fit(x, y, epochs=2, **fitted)
    other = exported(model)
    assert_same(asked(other, x), model.predict(x))
    for epochs in (1, 3):
        here = model.fit(x, y, epochs=epochs, **fitted)
        there = other.fit(given(x), y, epochs=epochs, **fitted)
        assert_same(asked(other, x), model.predict(x), tolerances)
        np.testing.assert_allclose(there.history["loss"], here.history["loss"], **tolerances)
        if KERAS > (3, 0):  # whose logs have no losses of single outputs
            assert set(there.history) == set(here.history)
    return other


def test_frozen_layers_of_a_graph():
    skip_before("frozen")
    stack = [
        fastnn.Input((5,)),
        layers.Residual([layers.Dense(5, name="kept")]),
        layers.BatchNormalization(),
        layers.Dense(1),
    ]
    stack[1].trainable = stack[2].trainable = False
    model = keras_models.network(stack)
    model.compile("adam", "mse")
    check_training(model, keras_models.numbers(), keras_models.numbers(10, 1))


@pytest.mark.parametrize("name", keras_models.OPTIMIZERS)
def test_optimizers(name):
    skip_before(name)
    x, y = keras_models.numbers(), keras_models.numbers(10, 2)
    stack = [
        fastnn.Input((5,)),
        layers.Dense(6, "tanh", name="hidden"),
        layers.Dense(3, name="frozen"),
        layers.Dense(2, name="end"),
    ]
    stack[2].trainable = KERAS == (3, 0)  # which trains all layers, whatever a file says
    model = keras_models.network(stack)
    model.compile(keras_models.OPTIMIZERS[name](), "mse")
    check_training(model, x, y)


@pytest.mark.parametrize("name", keras_models.LOSSES)
def test_losses(name):
    skip_before("weight of one" if name == "half mse" else name)
    outputs, f, y, loss = keras_models.LOSSES[name]
    model = keras_models.network([fastnn.Input((5,)), layers.Dense(6, "tanh"), layers.Dense(outputs, f)])
    weight = 0.5 if SINCE["weight of one"] <= KERAS else None
    model.compile(fastnn.optimizers.SGD(0.05), loss, loss_weights=weight)
    check_training(model, keras_models.numbers(), y)


@pytest.mark.parametrize("name", keras_models.METRICS)
def test_metrics(name):
    loss, metric = keras_models.METRICS[name]
    outputs, f, y, loss = keras_models.LOSSES[loss]
    model = keras_models.network([fastnn.Input((5,)), layers.Dense(outputs, f)])
    model.compile("sgd", loss, metrics=[metric], weighted_metrics=[metric])
    x, w = keras_models.numbers(), np.linspace(0.5, 1.5, keras_models.ROWS)
    w = np.ones(keras_models.ROWS) if "iou" in name else w  # of which Keras counts the whole numbers alone
    here = model.evaluate(x, y, sample_weight=w, verbose=0, return_dict=True)
    there = exported(model).evaluate(x, y, sample_weight=w, verbose=0, return_dict=True)
    assert set(here) == set(there)
    for key in here:
        np.testing.assert_allclose(there[key], here[key], err_msg=key, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", keras_models.STACKS | keras_models.STACKS_OF_OURS)
def test_training_of_stacks(name):
    skip_before(name)
    if name == "noise":
        pytest.skip("each library draws its own noise")
    stack, x = ALL[name]()
    model = keras_models.network(stack)
    # On TensorFlow the gradient of an Embedding is a list of rows, of which SGD alone makes what it makes of a sum.
    model.compile(fastnn.optimizers.SGD(0.01, momentum=0.9), "mse")
    check_training(model, x, keras_models.numbers(10, model.output_shape[1]))


# ---- there, and on here ----


def there(name):
    """Return a compiled model that Keras has made, x and y."""
    keras.utils.set_random_seed(3)
    x, y = keras_models.numbers(), keras_models.numbers(10, 2)
    if name == "stack":
        stack = [
            keras.layers.Dense(6, "relu", kernel_regularizer="l2"), keras.layers.BatchNormalization(momentum=0.8),
            keras.layers.Dense(4, "tanh", kernel_constraint="max_norm"), keras.layers.LayerNormalization(),
        ]  # fmt: skip
        model = keras.Sequential([keras.Input((5,)), *stack, keras.layers.Dense(2)])
        model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
        return model, x, y
    if name == "schedule":
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(6, "gelu"), keras.layers.Dense(2)])
        rate = keras.optimizers.schedules.CosineDecay(0.1, 12, warmup_target=0.2, warmup_steps=3)
        model.compile(keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=0.01), "huber")
        return model, x, y
    first, second = keras.Input((5,), name="first"), keras.Input((3,), name="second")
    joined = keras.layers.Concatenate()([keras.layers.Dense(4, "relu")(first), keras.layers.Dense(3)(second)])
    block = keras.layers.Dense(7)(keras.layers.LayerNormalization()(joined))
    trunk = keras.layers.Add()([joined, block])
    outputs = {
        "number": keras.layers.Dense(1, name="number")(trunk),
        "kind": keras.layers.Dense(3, "softmax", name="kind")(trunk),
    }
    model = keras.Model({"first": first, "second": second}, outputs)
    losses = {"number": "mse", "kind": "sparse_categorical_crossentropy"}
    model.compile(keras.optimizers.RMSprop(0.01, momentum=0.5), losses, loss_weights={"number": 2.0, "kind": 0.5})
    x = {"first": x, "second": keras_models.numbers(4, 3)}
    return model, x, {"number": keras_models.numbers(6, 1), "kind": keras_models.whole(3)[:, 0]}


@pytest.mark.parametrize("name", ["stack", "schedule", "graph"])
def test_three_epochs_there_and_three_here_are_six_there(name):
    model, x, y = there(name)
    fitted = {"batch_size": 16, "shuffle": False, "verbose": 0}
    model.fit(x, y, epochs=3, **fitted)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        here = fastnn.load_keras(path)
    assert_same(here.predict(x), asked(model, x))
    here.fit(x, y, epochs=3, **fitted)
    model.fit(x, y, epochs=3, **fitted)
    assert_same(here.predict(x), asked(model, x), STEPS)
    other = exported(here)  # and out again, with the state of nine epochs
    here.fit(x, y, epochs=3, **fitted)
    other.fit(x, y, epochs=3, **fitted)
    assert_same(here.predict(x), asked(other, x), STEPS)
