"""Losses and metrics in Python, and models of one and of several heads that are compiled with them."""

import numpy as np

import fastnn
from fastnn import layers, losses, metrics

ROWS, FEATURES, OUTPUTS = 40, 5, 3


def squared(y_true, y_pred):
    """The mean squared error."""
    error = y_pred - y_true
    return (error**2).mean(axis=1), 2 * error / error.shape[1]


def squared_of_batch(y_true, y_pred):
    """The mean squared error, as one number for the batch."""
    error = y_pred - y_true
    return (error**2).mean(), 2 * error / error.size


def crossentropy(labels, logits):
    """The cross-entropy of integer classes."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(labels))
    gradient = np.exp(log_p)
    gradient[rows, labels] -= 1
    return -log_p[rows, labels], gradient


def error_of_row(y_true, y_pred):
    return np.abs(y_pred - y_true).mean(axis=1)


def error_of_batch(y_true, y_pred):
    return np.abs(y_pred - y_true).mean()


def right(labels, y_pred):
    return y_pred.argmax(axis=1) == labels


class Scaled(losses.CustomLoss):
    """A loss with a configuration of its own."""

    def __init__(self, factor=1.0, **settings):
        super().__init__(**settings)
        self.factor = factor

    def call(self, y_true, y_pred):
        values, gradient = squared(y_true, y_pred)
        return self.factor * values, self.factor * gradient

    def get_config(self):
        return {"factor": self.factor, **super().get_config()}


class Within(metrics.CustomMetric):
    """A metric with a configuration of its own."""

    direction = "up"

    def __init__(self, distance=0.5, name=None):
        super().__init__(name)
        self.distance = distance

    def call(self, y_true, y_pred):
        return (np.abs(y_pred - y_true) < self.distance).mean(axis=1)

    def get_config(self):
        return {"distance": self.distance, **super().get_config()}


def data(rows=ROWS, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, FEATURES))
    return x, generator.normal(size=(rows, OUTPUTS)), generator.integers(0, OUTPUTS, rows)


def dense(units, activation=None, seed=0, **settings):
    return layers.Dense(
        units, activation, kernel_initializer=fastnn.initializers.GlorotUniform(seed), dtype="float64", **settings
    )


def plain():
    return [dense(7, "tanh", 1, input_shape=(FEATURES,)), dense(OUTPUTS, None, 2)]


def normalized():
    return [
        dense(8, None, 1, input_shape=(FEATURES,)),
        layers.BatchNormalization(dtype="float64"),
        layers.Activation("relu", dtype="float64"),
        layers.Dropout(0.3, seed=4, dtype="float64"),
        dense(OUTPUTS, None, 2),
    ]


def penalized():
    return [
        dense(6, "gelu", 1, input_shape=(FEATURES,), kernel_regularizer=fastnn.regularizers.L2(0.01)),
        dense(4, "tanh", 3, activity_regularizer=fastnn.regularizers.L1L2(0.01, 0.03)),
        dense(
            OUTPUTS,
            "tanh",
            2,
            bias_regularizer=fastnn.regularizers.L1(0.02),
            activity_regularizer=fastnn.regularizers.L2(0.05),
        ),
    ]


def wide():
    """A model whose kernels take every path: products cut up by columns and by parts, and one by rows at the end."""
    return [dense(600, "relu", 1, input_shape=(FEATURES,)), dense(500, "tanh", 2), dense(OUTPUTS, "softmax", 3)]


def heads():
    trunk = dense(6, "tanh", 1, input_shape=(FEATURES,))
    ends = {"a": [dense(OUTPUTS, None, 2)], "b": [dense(OUTPUTS, "softmax", 3)], "c": [dense(OUTPUTS, None, 4)]}
    return [trunk, layers.Heads(ends)]


def model_of(make, loss, optimizer=None, **settings):
    model = fastnn.Sequential(make())
    model._seed = 11
    model.compile(optimizer or fastnn.optimizers.Adam(0.01), loss, **settings)
    return model


def assert_same_weights(a, b, atol=1e-10):
    for left, right_ in zip(a.get_weights(), b.get_weights(), strict=True):
        # Both are sums of the same numbers, rounded differently. The gradient of a bias before a batch normalization is
        # rounding alone, and Adam still makes steps of the size of its rate: such a bias moves no output.
        np.testing.assert_allclose(left, right_, rtol=1e-9, atol=atol)
