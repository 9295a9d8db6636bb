"""Whole training runs, step by step, beside a plain NumPy implementation in float64."""

import numpy as np
import pytest

import fastnn
from fastnn import layers


def activate(name, z):
    return fastnn.activations.get(name)(z)


def derivative(name, y, dy):
    if name == "relu":
        return dy * (y > 0)
    if name == "sigmoid":
        return dy * y * (1 - y)
    if name == "tanh":
        return dy * (1 - y * y)
    if name == "softmax":
        return y * (dy - (dy * y).sum(axis=1, keepdims=True))
    return dy


class Reference:
    """A dense network in NumPy, with gradient descent or Adam."""

    def __init__(self, weights, activations):
        self.weights = [w.copy() for w in weights]
        self.activations = activations
        self.m = [np.zeros_like(w) for w in weights]
        self.v = [np.zeros_like(w) for w in weights]
        self.t = 0

    def gradients(self, x, target, loss):
        outputs = [x]
        for k, name in enumerate(self.activations):
            outputs.append(activate(name, outputs[-1] @ self.weights[2 * k] + self.weights[2 * k + 1]))
        y, rows = outputs[-1], len(x)
        if loss == "sparse_categorical_crossentropy":
            value = -np.log(y[np.arange(rows), target]).mean()
            dz = (y - np.eye(y.shape[1])[target]) / rows
        elif loss == "half_mse":
            value = np.square(y - target).sum() / (2 * rows)
            dz = derivative(self.activations[-1], y, (y - target) / rows)
        else:
            value = np.square(y - target).mean()
            dz = derivative(self.activations[-1], y, 2 * (y - target) / y.size)
        gradients = []
        for k in reversed(range(len(self.activations))):
            gradients[:0] = [outputs[k].T @ dz, dz.sum(axis=0)]
            if k:
                dz = derivative(self.activations[k - 1], outputs[k], dz @ self.weights[2 * k].T)
        return value, gradients

    def adam(self, gradients, rate=1e-3, b1=0.9, b2=0.999, epsilon=1e-7):
        self.t += 1
        step = rate * np.sqrt(1 - b2**self.t) / (1 - b1**self.t)
        for w, g, m, v in zip(self.weights, gradients, self.m, self.v, strict=True):
            m += (1 - b1) * (g - m)
            v += (1 - b2) * (g * g - v)
            w -= step * m / (np.sqrt(v) + epsilon)

    def descend(self, gradients, rate=0.01):
        for w, g in zip(self.weights, gradients, strict=True):
            w -= rate * g


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize(
    ("widths", "activations", "loss"),
    [
        ((7, 33, 17, 5), ("relu", "tanh", "softmax"), "sparse_categorical_crossentropy"),
        ((64, 128, 128, 10), ("relu", "relu", "softmax"), "sparse_categorical_crossentropy"),
        ((3, 20, 2), ("sigmoid", "linear"), "mse"),
        ((5, 1), ("linear",), "half_mse"),
        ((4, 6, 3), ("tanh", "softmax"), "mse"),
    ],
)
def test_training_equals_numpy(widths, activations, loss, optimizer):
    generator = np.random.default_rng(3)
    rows, batch = 75, 32  # the last batch has 11 rows
    x = generator.normal(size=(rows, widths[0]))
    sparse = loss.startswith("sparse")
    y = generator.integers(0, widths[-1], rows) if sparse else generator.normal(size=(rows, widths[-1]))
    model = fastnn.Sequential(
        [
            fastnn.Input((widths[0],), dtype="float64"),
            *(layers.Dense(n, a) for n, a in zip(widths[1:], activations, strict=True)),
        ]
    )
    model.compile(optimizer, loss)
    reference = Reference(model.get_weights(), activations)
    for _ in range(4):
        history = model.fit(x, y, batch_size=batch, epochs=1, shuffle=False, verbose=0)
        total = 0.0
        for start in range(0, rows, batch):
            part = slice(start, start + batch)
            value, gradients = reference.gradients(x[part], y[part], loss)
            total += value * len(x[part])
            reference.adam(gradients) if optimizer == "adam" else reference.descend(gradients)
        # 1e-10: both work in float64; sums in another order differ by a few ulp, which Adam's division can enlarge.
        assert history.history["loss"][0] == pytest.approx(total / rows, rel=1e-10)
        for ours, theirs in zip(model.weights, reference.weights, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 7, 300])
@pytest.mark.parametrize("activation", ["linear", "relu", "sigmoid", "tanh", "softmax"])
@pytest.mark.parametrize(
    "loss",
    ["mse", "half_mse", "binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy"],
)
@pytest.mark.parametrize("from_logits", [False, True])
def test_gradients_by_central_differences(batch, activation, loss, from_logits):
    if from_logits and "crossentropy" not in loss:
        return
    fitting = {"binary_crossentropy": "sigmoid", "mse": activation, "half_mse": activation}
    last = "linear" if from_logits else fitting.get(loss, "softmax")
    generator = np.random.default_rng(batch)
    model = fastnn.Sequential([fastnn.Input((4,), dtype="float64"), layers.Dense(5, activation), layers.Dense(3, last)])
    for view in model.weights:
        view[...] = 0.5 * generator.normal(size=view.shape)  # small weights, so that no probability is clipped at 1e-7
    config = {"from_logits": True} if from_logits else {}
    objective = fastnn.losses.get({"class_name": loss, "config": config})
    model.compile("sgd", objective)
    x = generator.normal(size=(batch, 4))
    y = generator.integers(0, 3, batch) if loss.startswith("sparse") else generator.dirichlet(np.ones(3), batch)
    target = np.ascontiguousarray(y, np.int32 if loss.startswith("sparse") else np.float64)
    model._ready("test")
    model._engine.batch_gradient(x, target)
    step, probe = 1e-5, np.random.default_rng(9)
    for view, gradient in zip(model.weights, model.gradients, strict=True):
        for index in zip(*(probe.integers(0, n, 4) for n in view.shape), strict=True):
            kept = view[index]
            view[index] = kept + step
            above = objective(y, model.predict(x))
            view[index] = kept - step
            below = objective(y, model.predict(x))
            view[index] = kept
            # 1e-6 relative: the error of central differences in float64 (truncation step^2, rounding 1e-16 / step).
            assert gradient[index] == pytest.approx((above - below) / (2 * step), rel=1e-6, abs=2e-9)
