"""Records what Keras 3 computes for layers beyond Dense, for tests/test_reference_layers.py.

Needs keras and tensorflow:

KERAS_BACKEND=tensorflow CUDA_VISIBLE_DEVICES= python tests/reference/record_layers.py
"""

import re
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

CASES = {
    "layer": lambda: keras.layers.LayerNormalization(),
    "layer_plain": lambda: keras.layers.LayerNormalization(epsilon=0.1, center=False, scale=False),
    "rms": lambda: keras.layers.RMSNormalization(),
    "batch": lambda: keras.layers.BatchNormalization(),
    "batch_plain": lambda: keras.layers.BatchNormalization(momentum=0.5, epsilon=0.1, center=False, scale=False),
}


def main():
    """Outputs and gradients in inference and in training, and the weights after one training call."""
    generator = np.random.default_rng(0)
    x = (1 + 2 * generator.normal(size=(12, 9))).astype(np.float32)
    dy = generator.normal(size=x.shape).astype(np.float32)
    arrays = {"x": x, "dy": dy, "keras": np.array(keras.__version__)}
    source = (Path(__file__).parents[2] / "fastnn" / "__init__.py").read_text()
    arrays["fastnn"] = np.array(re.search(r'__version__ = "(.*)"', source)[1])
    for name, make in CASES.items():
        layer = make()
        layer.build(x.shape)
        weights = [(0.5 + generator.random(w.shape)).astype(np.float32) for w in layer.weights]
        layer.set_weights(weights)
        for mode in ("inference", "training"):
            with tf.GradientTape() as tape:
                variable = tf.Variable(x)
                y = layer(variable, training=mode == "training")
                value = tf.reduce_sum(y * dy)
            found = tape.gradient(value, [variable, *[w.value for w in layer.trainable_weights]])
            arrays[f"{name}/{mode}/y"] = np.asarray(y)
            for k, gradient in enumerate(found):
                arrays[f"{name}/{mode}/gradient{k}"] = np.asarray(gradient)
        for k, (before, after) in enumerate(zip(weights, layer.get_weights(), strict=True)):
            arrays[f"{name}/before{k}"], arrays[f"{name}/after{k}"] = before, after
    np.savez_compressed(Path(__file__).with_name("layers.npz"), **arrays)


if __name__ == "__main__":
    main()
