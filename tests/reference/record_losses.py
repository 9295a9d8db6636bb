"""Losses: values, gradients by the predictions, sample weights, and training through each."""

import keras
import numpy as np
import tensorflow as tf
from recorder import DTYPES, ROWS, Recording, make, normal, rounded, train, use

# Name -> class, config, kind of data (see `data`), last activation of the network that trains with it.
CASES = {
    "mse": ("MeanSquaredError", {}, "real", "linear"),
    "mae": ("MeanAbsoluteError", {}, "real", "linear"),
    "mape": ("MeanAbsolutePercentageError", {}, "positive", "softplus"),
    "msle": ("MeanSquaredLogarithmicError", {}, "positive", "softplus"),
    "huber": ("Huber", {}, "real", "linear"),
    "huber_delta": ("Huber", {"delta": 0.3}, "real", "linear"),
    "log_cosh": ("LogCosh", {}, "real", "linear"),
    "poisson": ("Poisson", {}, "positive", "exponential"),
    "kl_divergence": ("KLDivergence", {}, "soft", "softmax"),
    "bce": ("BinaryCrossentropy", {}, "binary", "sigmoid"),
    "bce_smoothing": ("BinaryCrossentropy", {"label_smoothing": 0.2}, "binary", "sigmoid"),
    "bce_logits": ("BinaryCrossentropy", {"from_logits": True}, "binary logits", "linear"),
    "bce_logits_smoothing": (
        "BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.2}, "binary logits", "linear",
    ),
    "cce": ("CategoricalCrossentropy", {}, "soft", "softmax"),
    "cce_smoothing": ("CategoricalCrossentropy", {"label_smoothing": 0.2}, "one-hot", "softmax"),
    "cce_logits": ("CategoricalCrossentropy", {"from_logits": True}, "soft logits", "linear"),
    "cce_logits_smoothing": (
        "CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.2}, "one-hot logits", "linear",
    ),
    "scce": ("SparseCategoricalCrossentropy", {}, "labels", "softmax"),
    "scce_logits": ("SparseCategoricalCrossentropy", {"from_logits": True}, "labels logits", "linear"),
    "scce_ignore": ("SparseCategoricalCrossentropy", {"ignore_class": 1}, "labels", "softmax"),
    "scce_ignore_minus": ("SparseCategoricalCrossentropy", {"ignore_class": -1}, "missing labels", "softmax"),
    "scce_logits_ignore": (
        "SparseCategoricalCrossentropy", {"from_logits": True, "ignore_class": 1}, "labels logits", "linear",
    ),
    "binary_focal": ("BinaryFocalCrossentropy", {}, "binary", "sigmoid"),
    "binary_focal_gamma": ("BinaryFocalCrossentropy", {"gamma": 3.0, "label_smoothing": 0.1}, "binary", "sigmoid"),
    "binary_focal_balanced": (
        "BinaryFocalCrossentropy", {"apply_class_balancing": True, "alpha": 0.3, "gamma": 1.0}, "binary", "sigmoid",
    ),
    "binary_focal_logits": (
        "BinaryFocalCrossentropy", {"from_logits": True, "apply_class_balancing": True}, "binary logits", "linear",
    ),
    "categorical_focal": ("CategoricalFocalCrossentropy", {}, "one-hot", "softmax"),
    "categorical_focal_gamma": (
        "CategoricalFocalCrossentropy", {"alpha": 0.5, "gamma": 3.0, "label_smoothing": 0.1}, "one-hot", "softmax",
    ),
    "categorical_focal_logits": ("CategoricalFocalCrossentropy", {"from_logits": True}, "one-hot logits", "linear"),
    "hinge": ("Hinge", {}, "signs", "linear"),
    "hinge_binary": ("Hinge", {}, "binary logits", "linear"),
    "squared_hinge": ("SquaredHinge", {}, "signs", "linear"),
    "categorical_hinge": ("CategoricalHinge", {}, "one-hot logits", "linear"),
    "cosine_similarity": ("CosineSimilarity", {}, "real", "linear"),
}  # fmt: skip
OUTPUTS = 4


def data(kind, generator, rows):
    """Return targets and predictions for a kind of loss."""
    scores = normal(generator, rows, OUTPUTS)
    exponentials = np.exp(scores.astype(np.float64))
    shares = rounded(exponentials / exponentials.sum(axis=1, keepdims=True))
    labels = generator.integers(0, OUTPUTS, rows).astype(np.int32)
    soft = generator.multinomial(64, np.full(OUTPUTS, 1 / OUTPUTS), rows) / 64  # each row has a sum of exactly one
    kind, _, logits = kind.partition(" logits")
    target, prediction = {
        "real": (normal(generator, rows, OUTPUTS), scores),
        "positive": (rounded(0.2 + generator.gamma(2.0, 1.0, (rows, OUTPUTS))), rounded(0.1 + np.exp(scores / 2))),
        "binary": (rounded(generator.integers(0, 2, (rows, OUTPUTS))), rounded(1 / (1 + 1 / exponentials))),
        "soft": (rounded(soft), shares),
        "one-hot": (rounded(np.eye(OUTPUTS)[labels]), shares),
        "labels": (labels, shares),
        "missing labels": (np.where(generator.random(rows) < 0.3, -1, labels).astype(np.int32), shares),
        "signs": (rounded(2 * generator.integers(0, 2, (rows, OUTPUTS)) - 1), scores),
    }[kind]
    return target, scores if logits else prediction


def main():
    """Record each loss by itself on twelve rows, then ten steps of a network that minimizes the loss."""
    recording = Recording("losses")
    x = normal(np.random.default_rng(2), ROWS, 5)
    weights = rounded(np.random.default_rng(3).random(12) + 0.25)
    recording.put("x", x)
    recording.put("weights", weights)
    for name, (class_name, config, kind, activation) in CASES.items():
        stack = [["Dense", {"units": 6, "activation": "tanh"}], ["Dense", {"units": OUTPUTS, "activation": activation}]]
        case = {"class_name": class_name, "config": config}
        recording.case(name, stack=stack, **case)
        target, prediction = data(kind, np.random.default_rng(4), 12)
        recording.put(f"{name}/target", target)
        recording.put(f"{name}/prediction", prediction)
        for dtype in DTYPES:
            use(dtype)
            loss = make(keras.losses, case | {"config": config | {"dtype": dtype}})
            given = target.astype(dtype) if target.dtype.kind == "f" else target
            for kind_of_mean, sample_weight in (("plain", None), ("weighted", weights.astype(dtype))):
                variable = tf.Variable(prediction.astype(dtype))
                with tf.GradientTape() as tape:
                    value = loss(given, variable, sample_weight)
                recording.put(f"{name}/{dtype}/{kind_of_mean}/value", np.asarray(value))
                gradient = tape.gradient(value, variable)
                recording.put(f"{name}/{dtype}/{kind_of_mean}/gradient", np.asarray(gradient))
        y = data(kind, np.random.default_rng(5), ROWS)[0]
        recording.put(f"{name}/y", y)
        compiled = {"optimizer": lambda: keras.optimizers.SGD(0.05), "loss": lambda case=case: make(keras.losses, case)}
        train(recording, name, stack, x, y, compiled)
    recording.save()


if __name__ == "__main__":
    main()
