"""Configurations that Keras wrote: recorded ones of Keras 3, and those of Keras 2 as its files have them."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import layers

RECORDED = json.loads((Path(__file__).parent / "reference" / "configs.json").read_text())["models"]


def of_keras_2(class_name, **config):
    """Return the configuration of a layer as tf.keras 2.15 writes it."""
    return {"class_name": class_name, "config": {"trainable": True, "dtype": "float32", **config}}


ZEROS, ONES = ({"class_name": name, "config": {}} for name in ("Zeros", "Ones"))
GLOROT = {"class_name": "GlorotUniform", "config": {"seed": None}}
NONE = ("regularizer", "constraint")
DENSE = {"use_bias": True, "kernel_initializer": GLOROT, "bias_initializer": ZEROS, "activity_regularizer": None} | {
    f"{parameter}_{what}": None for parameter in ("kernel", "bias") for what in NONE
}
NORMALIZATION = {"name": "norm", "axis": [1], "momentum": 0.99, "epsilon": 0.001, "center": True, "scale": True,
                 "beta_initializer": ZEROS, "gamma_initializer": ONES, "moving_mean_initializer": ZEROS,
                 "moving_variance_initializer": ONES, "beta_regularizer": None, "gamma_regularizer": None,
                 "beta_constraint": None, "gamma_constraint": None}  # fmt: skip
KERAS_2 = {
    "name": "sequential",
    "layers": [
        of_keras_2("InputLayer", batch_input_shape=[None, 28, 28], sparse=False, ragged=False, name="flatten_input"),
        of_keras_2("Flatten", name="flatten", batch_input_shape=[None, 28, 28], data_format="channels_last"),
        of_keras_2("Dense", name="dense", units=8, activation="relu", **DENSE | {
            "kernel_initializer": {"class_name": "VarianceScaling", "config": {
                "scale": 2.0, "mode": "fan_in", "distribution": "truncated_normal", "seed": None}},
            "kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.0099}},
            "kernel_constraint": {"class_name": "MaxNorm", "config": {"max_value": 2, "axis": 0}},
        }),
        of_keras_2("BatchNormalization", **NORMALIZATION),
        of_keras_2("Dropout", name="dropout", rate=0.2, noise_shape=None, seed=None),
        of_keras_2("Dense", name="dense_1", units=10, activation="softmax", **DENSE),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDED)
def test_a_model_of_keras_is_made_of_its_json_and_answers_the_same(name):
    recorded = RECORDED[name]
    model = fastnn.models.model_from_json(recorded["json"])
    assert model.built
    assert model.name == json.loads(recorded["json"])["config"]["name"]
    weights = [np.array(array, "float32") for array in recorded["weights"]]
    if name == "every layer of numbers":  # Keras counts the given statistics of a normalization among no weights
        weights[:0] = [np.arange(4.0), np.arange(1.0, 5.0)]
    model.set_weights(weights)
    outputs = model.predict(np.array(recorded["x"], "float32"))
    np.testing.assert_allclose(outputs, np.array(recorded["outputs"]), rtol=1e-5, atol=1e-6)
    again = fastnn.models.model_from_json(model.to_json())
    assert again.get_config() == model.get_config()


def test_what_keras_said_of_a_layer_is_said_here():
    model = fastnn.models.model_from_json(RECORDED["images"]["json"])
    dense = model.get_layer(index=2)
    assert dense.kernel_regularizer.l1 == pytest.approx(0.01)
    assert dense.kernel_initializer.seed == 3
    assert dense.bias_constraint.max_value == 2
    assert model.input_shape == (None, 3, 2)


def test_a_configuration_of_keras_2_is_read():
    before = copy.deepcopy(KERAS_2)
    model = fastnn.Sequential.from_config(KERAS_2)
    assert before == KERAS_2
    assert model.count_params() == 784 * 8 + 8 + 4 * 8 + 8 * 10 + 10
    assert [layer.name for layer in model.layers[1:]] == ["flatten", "dense", "norm", "dropout", "dense_1"]
    assert model.layers[2].kernel_regularizer.l2 == pytest.approx(0.0099)
    alone = {"name": "m", "layers": KERAS_2["layers"][1:]}  # Keras before 2.2 wrote a model without the input layer
    assert fastnn.Sequential.from_config(alone).predict(np.ones((2, 28, 28))).shape == (2, 10)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (("Dense", {"units": 2, "lora_rank": 4}), "of a Dense says lora_rank=4, which it cannot do here"),
        (("Embedding", {"input_dim": 2, "output_dim": 2, "mask_zero": True}), "Embedding says mask_zero=True, which"),
        (("Dropout", {"rate": 0.5, "noise_shape": [1, 4]}), r"Dropout says noise_shape=\[1, 4\], which it cannot"),
        (("Dense", {"units": 2, "unit": 3}), "of a Dense says unit=3, which it has not; did you mean 'units'"),
        (
            ("Dense", {"units": 2, "dtype": {"class_name": "DTypePolicy", "config": {"name": "float16"}}}),
            "dtype must be",
        ),
        (("Conv2D", {"filters": 2}), "layer 'Conv2D' is unknown"),
    ],
)
def test_what_a_layer_cannot_do_here_is_named(layer, said):
    with pytest.raises(ValueError, match=said):
        layers.deserialize({"class_name": layer[0], "config": layer[1]})


def test_lookups_of_keras_are_read():
    config = {"max_tokens": None, "num_oov_indices": 1, "mask_token": None, "oov_token": "[UNK]", "invert": False,
              "output_mode": "int", "sparse": False, "pad_to_max_tokens": False, "idf_weights": None,
              "vocabulary": ["a", "b"], "vocabulary_size": 3, "vocabulary_dtype": "string", "encoding": "utf-8",
              "dtype": {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "string"}}}  # fmt: skip
    layer = layers.deserialize({"module": "keras.layers", "class_name": "StringLookup", "config": config})
    assert layer(["b", "c"]).tolist() == [2, 0]


@pytest.mark.parametrize(
    "text", ["[]", '{"class_name": "Functional", "config": {}}', "{}", '{"config": {"layers": []}}']
)
def test_json_of_something_else_is_refused(text):
    with pytest.raises(ValueError, match="json_string must describe a Sequential"):
        fastnn.models.model_from_json(text)
    with pytest.raises(TypeError, match="json_string must be a string"):
        fastnn.models.model_from_json(json.loads(text))
