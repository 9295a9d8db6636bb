"""Stacks of layers as Keras describes them (``Sequential.to_json``), their weights, and what they answer.

They are written as JSON: configs.json is {"keras": version, "models": {name: {"json", "weights", "x", "outputs"}}}.
"""

import json
from pathlib import Path

import keras
import numpy as np

layers = keras.layers
STACKS = {
    "images": lambda: [
        keras.Input((3, 2)),
        layers.Flatten(),
        layers.Dense(
            4,
            activation="relu",
            kernel_initializer=keras.initializers.HeNormal(seed=3),
            kernel_regularizer=keras.regularizers.L1L2(0.01, 0.02),
            bias_constraint=keras.constraints.MaxNorm(2.0),
        ),
        layers.BatchNormalization(),
        layers.Dropout(0.2),
        layers.Dense(3, activation="softmax"),
    ],
    "every layer of numbers": lambda: [
        keras.Input((4,)),
        layers.Rescaling(0.5, offset=1.0),
        layers.Normalization(mean=[0.0, 1.0, 2.0, 3.0], variance=[1.0, 2.0, 3.0, 4.0]),
        layers.GaussianNoise(0.1),
        layers.Dense(4, "gelu", use_bias=False),
        layers.LayerNormalization(),
        layers.RMSNormalization(),
        layers.ReLU(max_value=6.0),
        layers.LeakyReLU(negative_slope=0.1),
        layers.ELU(alpha=0.5),
        layers.PReLU(),
        layers.Softmax(),
        layers.Activation("tanh"),
        layers.AlphaDropout(0.1),
        layers.GaussianDropout(0.1, seed=7),
        layers.ActivityRegularization(l1=0.1),
        layers.Reshape((2, 2)),
        layers.Flatten(),
        layers.Dense(
            2,
            kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "uniform"),
            kernel_regularizer=keras.regularizers.OrthogonalRegularizer(),
            activity_regularizer="l2",
        ),
        layers.Dense(1, activation=keras.activations.sigmoid),
    ],
    "categories": lambda: [keras.Input((2,)), layers.Embedding(5, 3), layers.Flatten(), layers.Dense(2)],
    "bins": lambda: [
        keras.Input((1,)),
        layers.Discretization(bin_boundaries=[0.0, 1.0], output_mode="one_hot"),
        layers.Dense(2),
    ],
    "tokens": lambda: [keras.Input((1,)), layers.CategoryEncoding(4, output_mode="multi_hot"), layers.Dense(2)],
    "a model in a model": lambda: [
        keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="relu")], name="base"),
        layers.Softmax(),
    ],
    "without an input": lambda: [layers.Dense(3), layers.Dense(2)],
}
ROWS = {"categories": lambda x: np.abs(x * 5) % 5 // 1, "tokens": lambda x: np.abs(x * 4) % 4 // 1}


def main():
    """Record all stacks."""
    models = {}
    for name, make in STACKS.items():
        generator = np.random.default_rng(0)
        model = keras.Sequential(make(), name=name.replace(" ", "_"))
        model.build((None, *(model.input_shape[1:] if model.built else (4,))))
        shapes = [weight.shape for weight in model.weights]
        weights = [np.round(0.5 + generator.random(shape), 3) for shape in shapes]
        model.set_weights(weights)
        x = ROWS.get(name, lambda x: x)(np.round(generator.normal(size=(3, *model.input_shape[1:])), 3))
        models[name] = {
            "json": model.to_json(),
            "weights": [weight.tolist() for weight in weights],
            "x": x.tolist(),
            "outputs": np.asarray(model(x.astype("float32"))).tolist(),
        }
    text = json.dumps({"keras": keras.__version__, "models": models}, indent=0, sort_keys=True)
    Path(__file__).with_name("configs.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
