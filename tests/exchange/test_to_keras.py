"""Files for Keras: what they hold, and what is refused. tests/exchange_live/ lets Keras itself read them."""

import gzip
import io
import json
import tempfile
import zipfile
from pathlib import Path

import h5py
import keras_models
import numpy as np
import pytest

import fastnn
from fastnn import layers, losses, metrics, optimizers
from fastnn.optimizers import schedules

pytestmark = pytest.mark.thread_unsafe(reason="models are made from a seed, which is the process's")


def contents(path):
    """Return the configuration of a file, and its arrays by path."""
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["metadata.json", "config.json", "model.weights.h5"]
        config = json.loads(archive.read("config.json"))
        arrays = {}
        with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
            file.visititems(
                lambda path, found: arrays.update({path: found[()]} if isinstance(found, h5py.Dataset) else {})
            )
    return config, arrays


def exported(model, **options):
    with tempfile.TemporaryDirectory() as folder:  # one for each call, which may be one of several at once
        path = Path(folder) / "model.keras"
        model.export_keras(path, **options)
        return contents(path)


def compiled(*stack, optimizer="sgd", loss="mse", **arguments):
    model = fastnn.Sequential([fastnn.Input((4,)), *(stack or [layers.Dense(2, name="end")])])
    model.compile(optimizer, loss, **arguments)
    return model


# ---- what Keras made of the same files: tests/reference/record_exported.py ----

RECORDED = json.loads(gzip.decompress((Path(__file__).parents[1] / "reference" / "exported.json.gz").read_bytes()))
CASES = keras_models.cases()
# Float32, with sums in other orders; a step of training adds the differences of two gradients.
OUTPUTS, STEP = {"rtol": 1e-5, "atol": 1e-5}, {"rtol": 2e-4, "atol": 3e-5}


def assert_close(found, expected, tolerances):
    if isinstance(expected, dict):
        assert set(found) == set(expected)
        for name in expected:
            np.testing.assert_allclose(found[name][: len(expected[name])], expected[name], **tolerances)
    else:
        np.testing.assert_allclose(found[: len(expected)], expected, **tolerances)


@pytest.mark.parametrize("name", CASES)
def test_keras_has_the_same_layers_variables_and_answers(name):
    model, x, y = CASES[name]()
    keras = RECORDED["cases"][name]
    config, arrays = exported(model, training=y is not None)
    entries = [entry for entry in config["config"]["layers"] if entry["module"] == "keras.layers"]
    found = [[entry["class_name"], entry["config"]["name"]] for entry in entries]
    # the layers of a Sequential are without its Input
    assert found[len(found) - len(keras["layers"]) :] == keras["layers"]
    shapes = {place: list(array.shape) for place, array in arrays.items()}
    assert shapes == {place: shape for place, shape in keras["variables"].items() if place in shapes or y is not None}
    assert_close(model.predict(x), keras["outputs"], OUTPUTS)
    if y is not None:
        model.fit(x, y, batch_size=keras_models.ROWS, shuffle=False, verbose=0)
        assert_close(model.predict(x), keras["next"], STEP)


# ---- out, and in again ----

NOT_READ = (*keras_models.STACKS_OF_OURS, *keras_models.SERVED)  # what is several layers in Keras


def again(model, **options):
    """Return the model of the file that a model writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.export_keras(path, **options)
        return fastnn.load_keras(path)


@pytest.mark.parametrize("name", [name for name in CASES if name not in NOT_READ])
def test_the_way_out_and_in_changes_nothing(name):
    model, x, y = CASES[name]()
    other = again(model)
    assert_close(other.predict(x), model.predict(x), {"rtol": 0, "atol": 0})
    assert other.get_compile_config() == model.get_compile_config()
    if y is not None:
        for one in (model, other):
            one.fit(x, y, epochs=3, batch_size=keras_models.ROWS, shuffle=False, verbose=0)
        # The rate of Adam and its kin is read in full, and what is not is rounded to float32 once.
        assert_close(other.predict(x), model.predict(x), {"rtol": 1e-5, "atol": 1e-6})


@pytest.mark.parametrize("name", [name for name in keras_models.ACTIVATIONS if "clip" not in name])
def test_activations_come_in_again(name):
    f, x = keras_models.ACTIVATIONS[name], keras_models.numbers()
    model = keras_models.network([fastnn.Input((5,)), layers.Dense(4, f), layers.Dense(4), layers.Activation(f)])
    assert_close(again(model).predict(x), model.predict(x), {"rtol": 0, "atol": 0})


@pytest.mark.parametrize("name", [name for name in keras_models.LOSSES if name != "half mse"])
def test_losses_come_in_again(name):
    outputs, f, _, loss = keras_models.LOSSES[name]
    model = compiled(layers.Dense(outputs, f), loss=loss, loss_weights=0.5)
    assert again(model).get_compile_config() == model.get_compile_config()


@pytest.mark.parametrize("name", keras_models.METRICS)
def test_metrics_come_in_again(name):
    loss, metric = keras_models.METRICS[name]
    outputs, f, y, loss = keras_models.LOSSES[loss]
    model = keras_models.network([fastnn.Input((5,)), layers.Dense(outputs, f)])
    model.compile("sgd", loss, metrics=[metric], weighted_metrics=[metric])
    here, there = (
        one.evaluate(keras_models.numbers(), y, verbose=0, return_dict=True) for one in (model, again(model))
    )
    assert here.keys() == there.keys()
    for key in here:
        np.testing.assert_array_equal(there[key], here[key])


# ---- what a file holds ----


def test_a_stack_is_a_sequential():
    stack = [layers.Dense(3, "relu"), layers.BatchNormalization(), layers.Dense(2, name="end")]
    model = keras_models.network([fastnn.Input((4,)), *stack])
    config, arrays = exported(model)
    assert (config["module"], config["class_name"]) == ("keras", "Sequential")
    assert "compile_config" not in config
    names = [layer["config"]["name"] for layer in config["config"]["layers"]]
    assert names == ["input_layer", "dense", "batch_normalization", "end"]
    places = [
        "dense/vars/0",
        "dense/vars/1",
        *(f"batch_normalization/vars/{k}" for k in range(4)),
        *("dense_1/vars/0", "dense_1/vars/1"),
    ]
    assert set(arrays) == {f"layers/{place}" for place in places}
    for place, own in zip(places, model.get_weights(), strict=True):
        np.testing.assert_array_equal(arrays[f"layers/{place}"], own)


def test_a_graph_has_the_names_of_inputs_and_outputs():
    stack, _, _, arguments = keras_models.GRAPHS["branches and heads"]()
    model = keras_models.network(stack)
    model.compile("adam", **arguments)
    config, _ = exported(model)
    assert (config["module"], config["class_name"]) == ("keras.src.models.functional", "Functional")
    assert config["config"]["input_layers"] == {name: [name, 0, 0] for name in ("size", "kind", "code", "rest")}
    outputs = config["config"]["output_layers"]
    assert list(outputs) == ["price", "kind", "as_it_is"]
    assert outputs["price"] == ["price", 0, 0]
    assert outputs["kind"] != ["kind", 0, 0]  # which is an input's name
    assert config["compile_config"]["loss"]["price"]["class_name"] == "MeanSquaredError"


def test_a_graph_says_of_its_layers_alone_whether_they_are_trained():
    """Keras sets what the model's own configuration says for all layers."""
    stack = [fastnn.Input((5,)), layers.Residual([layers.Dense(5, name="kept")]), layers.Dense(1, name="end")]
    stack[1].trainable = False
    model = keras_models.network(stack)
    model.compile("adam", "mse")
    config, arrays = exported(model)
    assert "trainable" not in config["config"]
    entries = {entry["name"]: entry["config"] for entry in config["config"]["layers"]}
    assert (entries["kept"]["trainable"], entries["end"]["trainable"]) == (False, True)
    state = [path for path in arrays if path.startswith("optimizer")]
    assert len(state) == 2 + 2 * 2  # steps and rate, two slots of a kernel and a bias
    other = again(model)
    assert len(other.trainable_weights) == 2


def test_names_are_such_as_keras_can_have():
    """TensorFlow takes letters, digits and a few signs; operations have names that Keras counts itself."""
    stack = [layers.Dense(3, "cos", name="size (cm)"), layers.Dense(3, name="cos"), layers.Dense(2, name="_end")]
    model = keras_models.network([fastnn.Input((5,)), *stack, layers.Heads({"a b": [], "c": [layers.Dense(1)]})])
    config, _ = exported(model)
    assert [entry["name"] for entry in config["config"]["layers"]] == [
        "input_layer", "size__cm_", "cos", "cos_layer", "layer_end", "a_b", "c",
    ]  # fmt: skip
    assert config["config"]["output_layers"] == {"a b": ["a_b", 0, 0], "c": ["c", 0, 0]}


def test_the_same_model_gives_the_same_bytes():
    model = compiled(optimizer="adam")
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder) / "one.keras", Path(folder) / "other.keras"
        for path in paths:
            model.export_keras(path)
        assert paths[0].read_bytes() == paths[1].read_bytes()


def own_function(y_true, y_pred):
    return ((y_pred - y_true) ** 2).mean(axis=1), 2 * (y_pred - y_true) / y_pred.shape[1]


def with_multiplier():
    layer = layers.Dense(2, name="end")
    layer.learning_rate_multiplier = {"bias": 0.5}
    return compiled(layer)


REFUSED = {
    "a layer": (
        lambda: compiled(layers.QuantileNormalization(knots=[[0.0, 1.0]] * 4)),
        "QuantileNormalization .*: Keras",
    ),
    "a hash": (
        lambda: fastnn.Sequential(
            [fastnn.Input((1,)), layers.StringLookup(num_oov_indices=2, vocabulary=["a"]), layers.Dense(1)]
        ),
        "StringLookup 'string_lookup' with num_oov_indices=2: Keras shares",
    ),
    "a rate": (
        lambda: compiled(layers.Dropout(schedules.FlatCosine(0.1, 10))),
        "the schedule FlatCosine of Dropout 'dropout'",
    ),
    "a loss": (lambda: compiled(loss=losses.GaussianNLL()), "the loss GaussianNLL: Keras has no such loss"),
    "a function": (lambda: compiled(loss=own_function), "the loss 'own_function': it is a function in Python"),
    "an epsilon": (lambda: compiled(loss=losses.Poisson(epsilon=0.1)), "the loss Poisson with its own epsilon"),
    "a smoothing": (
        lambda: compiled(loss=losses.BinaryCrossentropy(label_smoothing=schedules.CosineDecay(0.1, 10))),
        "the schedule of label_smoothing in the loss BinaryCrossentropy",
    ),
    "a metric": (
        lambda: compiled(metrics=[metrics.FunctionMetric(lambda t, y: 0.0, name="mine")]),
        "the metric 'mine'",
    ),
    "L-BFGS": (lambda: compiled(optimizer=optimizers.LBFGS()), "the optimizer LBFGS: Keras has no such"),
    "a schedule": (
        lambda: compiled(optimizer=optimizers.SGD(schedules.OneCycle(0.1, 100))),
        "the schedule OneCycle: Keras",
    ),
    "a share": (
        lambda: compiled(optimizer=optimizers.SGD(schedules.CosineDecay(0.1))),
        "the schedule CosineDecay by the share",
    ),
    "a decay": (
        lambda: compiled(optimizer=optimizers.AdamW(0.1, schedules.CosineDecay(0.1, 10))),
        "a schedule of weight_decay",
    ),
    "an exclusion": (
        lambda: compiled(optimizer=optimizers.AdamW(weight_decay_exclusions=["bias"])),
        "the weight decay of end/bias",
    ),
    "a multiplier": (with_multiplier, "the learning_rate_multiplier of end/bias: Keras trains all"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_keras_lacks_is_named_before_a_file_is_written(name):
    make, sentence = REFUSED[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(b"before")
        with pytest.raises(ValueError, match=f"^export_keras cannot write {sentence}"):
            make().export_keras(path)
        assert [file.name for file in Path(folder).iterdir()] == ["model.keras"]
        assert path.read_bytes() == b"before"


def test_without_training_a_file_says_nothing_of_it():
    model = compiled(layers.Dropout(schedules.FlatCosine(0.1, 10)), loss=own_function)
    config, arrays = exported(model, training=False)
    assert "compile_config" not in config
    assert not any(path.startswith("optimizer") for path in arrays)
    assert config["config"]["layers"][1]["config"]["rate"] == 0.1


def test_a_name_must_be_one_that_keras_reads():
    with pytest.raises(ValueError, match=r"^filepath must end with \.keras, .* got .*model\.h5"):
        compiled().export_keras("model.h5")


def test_a_model_must_be_built():
    with pytest.raises(ValueError, match=r"^export_keras needs a built model"):
        fastnn.Sequential([layers.Dense(1)]).export_keras("model.keras")
