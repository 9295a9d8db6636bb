"""Files for Keras: what they hold, and what is refused. tests/exchange_live/ lets Keras itself read them."""

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
