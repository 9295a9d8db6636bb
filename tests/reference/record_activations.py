"""Activations: values and derivatives."""

import keras
import numpy as np
import tensorflow as tf
from recorder import DTYPES, Recording, rounded

NAMES = """
    linear relu leaky_relu relu6 elu selu celu gelu silu swish mish sigmoid hard_sigmoid hard_silu
    hard_swish tanh softplus softsign softmax log_softmax exponential glu log_sigmoid hard_tanh
""".split()  # noqa: SIM905 - a list of words reads best as words
# Name -> function, arguments. A function with arguments is a layer in Keras where Keras has one.
CASES = {
    **{name: (name, {}) for name in NAMES},
    "leaky_relu_slope": ("leaky_relu", {"negative_slope": 0.05}),
    "elu_alpha": ("elu", {"alpha": 0.7}),
    "celu_alpha": ("celu", {"alpha": 0.7}),
    "gelu_approximate": ("gelu", {"approximate": True}),
    "relu_max": ("relu", {"negative_slope": 0.1, "max_value": 1.5, "threshold": 0.25}),
}


def main():
    """Record values over the usual range and far out, and the gradient of a weighted sum of them."""
    recording = Recording("activations")
    generator = np.random.default_rng(1)
    usual = rounded(2 * generator.normal(size=(10, 8)))
    far = rounded([-60.0, -20.0, -10.0, -4.0, 4.0, 10.0, 20.0, 60.0])[None]
    x = np.concatenate([usual, far])
    dy = rounded(generator.normal(size=x.shape))
    recording.put("x", x)
    recording.put("dy", dy)
    for name, (function, config) in CASES.items():
        recording.case(name, function=function, config=config)
        for dtype in DTYPES:
            variable = tf.Variable(x.astype(dtype))
            with tf.GradientTape() as tape:
                y = getattr(keras.activations, function)(variable, **config)
                value = tf.reduce_sum(y * dy[:, : y.shape[1]].astype(dtype))
            recording.put(f"{name}/{dtype}/y", np.asarray(y))
            recording.put(f"{name}/{dtype}/dx", np.asarray(tape.gradient(value, variable)))
    recording.save()


if __name__ == "__main__":
    main()
