"""Layers: outputs, gradients and weights after a training call; raw columns; what noise does on the whole."""

import keras
import numpy as np
import tensorflow as tf
from recorder import DTYPES, Recording, build, normal, rounded, start_weights, use

FEATURES = 8
# Name -> stack of layers.
CASES = {
    "dense": [["Dense", {"units": 5, "activation": "relu"}]],
    "dense_plain": [["Dense", {"units": 5, "use_bias": False}]],
    "activation": [["Activation", {"activation": "softmax"}]],
    "relu": [["ReLU", {"negative_slope": 0.1, "max_value": 1.0, "threshold": 0.2}]],
    "leaky_relu": [["LeakyReLU", {"negative_slope": 0.1}]],
    "elu": [["ELU", {"alpha": 0.6}]],
    "softmax": [["Softmax", {}]],
    "prelu": [["PReLU", {}]],
    "batch": [["BatchNormalization", {}]],
    "batch_plain": [["BatchNormalization", {"momentum": 0.5, "epsilon": 0.1, "center": False, "scale": False}]],
    "layer": [["LayerNormalization", {}]],
    "layer_plain": [["LayerNormalization", {"epsilon": 0.1, "center": False, "scale": False}]],
    "rms": [["RMSNormalization", {}]],
    "rescaling": [["Rescaling", {"scale": 0.5, "offset": -1.0}]],
    "flatten": [["Flatten", {}], ["Dense", {"units": 3}]],
    "reshape": [["Reshape", {"target_shape": [2, 4]}], ["Flatten", {}], ["Dense", {"units": 3}]],
    "residual": [["Residual", {"layers": [["Dense", {"units": 6, "activation": "relu"}], ["Dense", {"units": 8}]]}]],
    "residual_deep": [
        ["Dense", {"units": 6}],
        ["Residual", {"layers": [
            ["LayerNormalization", {}],
            ["Dense", {"units": 6, "activation": "tanh"}],
            ["Residual", {"layers": [["Dense", {"units": 6, "activation": "sigmoid"}]]}],
        ]}],
        ["BatchNormalization", {}],
        ["PReLU", {}],
    ],
}  # fmt: skip
NOISE = {
    "dropout": ["Dropout", {"rate": 0.3}],
    "alpha_dropout": ["AlphaDropout", {"rate": 0.3}],
    "gaussian_noise": ["GaussianNoise", {"stddev": 0.4}],
    "gaussian_dropout": ["GaussianDropout", {"rate": 0.3}],
}
WORDS = ["red", "green", "blue", "green", "red", "green", "violet", "blue", "green"]
LOOKED_UP = ["green", "yellow", "red", "blue", "violet", "orange"]
KEYS = [7, -3, 100, 7, 12, 7, 100, 5000000]
LOOKED_UP_KEYS = [100, 8, 7, 12, -3, 0]
BINS = [0.0, 2.5, 4.0]
# Name -> class, config, the data that it is adapted to, the data that it is then given.
COLUMNS = {
    "normalization": ("Normalization", {}, "numbers", "numbers"),
    "normalization_given": ("Normalization", {"mean": [1.0, 2.0, 3.0], "variance": [4.0, 0.25, 1.0]}, None, "numbers"),
    "normalization_inverted": ("Normalization", {"invert": True}, "numbers", "numbers"),
    "discretization_adapted": ("Discretization", {"num_bins": 4, "epsilon": 0.01}, "numbers", "numbers"),
    "lookup": ("StringLookup", {}, "words", "looked up words"),
    "lookup_limited": ("StringLookup", {"max_tokens": 3}, "words", "looked up words"),
    "lookup_all": (
        "StringLookup", {"num_oov_indices": 0, "vocabulary": sorted({*LOOKED_UP, *WORDS})}, None, "looked up words",
    ),
    "lookup_mask": ("StringLookup", {"mask_token": ""}, "words", "looked up words"),
    "keys": ("IntegerLookup", {}, "keys", "looked up keys"),
    "keys_limited": ("IntegerLookup", {"max_tokens": 3, "num_oov_indices": 2}, "keys", "looked up keys"),
    "keys_mask": ("IntegerLookup", {"mask_token": -3}, "keys", "looked up keys"),
    **{
        f"discretization_{mode}": ("Discretization", {"bin_boundaries": BINS, "output_mode": mode}, None, seen)
        for mode, seen in (("int", "number"), ("one_hot", "number"), ("multi_hot", "numbers"), ("count", "numbers"))
    },
    **{
        f"encoding_{mode}": ("CategoryEncoding", {"num_tokens": 5, "output_mode": mode}, None, seen)
        for mode, seen in (("one_hot", "code"), ("multi_hot", "codes"), ("count", "codes"))
    },
    **{
        f"{name}_{mode}": (kind, {"output_mode": mode}, data, f"looked up {data}")
        for name, kind, data in (("lookup", "StringLookup", "words"), ("keys", "IntegerLookup", "keys"))
        for mode in ("one_hot", "multi_hot", "count")
    },
}  # fmt: skip


def record_stacks(recording):
    """Record outputs and gradients in inference and in training, and the weights after one training call."""
    generator = np.random.default_rng(10)
    x = rounded(1 + 2 * generator.normal(size=(12, FEATURES)))
    dy = normal(generator, 12, FEATURES)
    recording.put("x", x)
    recording.put("dy", dy)
    for name, stack in CASES.items():
        recording.case(name, stack=stack)
        for dtype in DTYPES:
            model = build(stack, FEATURES, dtype)
            weights = start_weights(np.random.default_rng(11), model)
            model.set_weights([w.astype(dtype) for w in weights])
            if dtype == DTYPES[0]:
                recording.put_all(f"{name}/before", weights)
            for mode in ("inference", "training"):
                variable = tf.Variable(x.astype(dtype))
                with tf.GradientTape() as tape:
                    y = model(variable, training=mode == "training")
                    value = tf.reduce_sum(y * dy[:, : y.shape[1]].astype(dtype))
                found = tape.gradient(value, [variable, *[w.value for w in model.trainable_weights]])
                recording.put(f"{name}/{dtype}/{mode}/y", np.asarray(y))
                recording.put_all(f"{name}/{dtype}/{mode}/gradient", [np.asarray(g) for g in found])
            recording.put_all(f"{name}/{dtype}/after", model.get_weights())


def record_embedding(recording):
    """Record the gradient of a table, and its rows."""
    generator = np.random.default_rng(12)
    indices = generator.integers(0, 7, (12, 3)).astype(np.int32)
    table = normal(generator, 7, 4)
    dy = normal(generator, 12, 12)
    for name, array in (("indices", indices), ("table", table), ("dy", dy)):
        recording.put(f"embedding/{name}", array)
    for dtype in DTYPES:
        use(dtype)
        layer = keras.layers.Embedding(7, 4)
        layer.build((None, 3))
        layer.set_weights([table.astype(dtype)])
        with tf.GradientTape() as tape:
            y = tf.reshape(layer(indices), (12, 12))
            value = tf.reduce_sum(y * dy.astype(dtype))
        gradient = tf.convert_to_tensor(tape.gradient(value, layer.trainable_weights[0].value))
        recording.put(f"embedding/{dtype}/y", np.asarray(y))
        recording.put(f"embedding/{dtype}/gradient", np.asarray(gradient))


def record_noise(recording):
    """Record mean, deviation, smallest, largest and share of zeros of each layer's outputs for constants 1 and -0.5."""
    for name, (class_name, config) in NOISE.items():
        recording.case(name, noise=[class_name, config])
        for dtype in DTYPES:
            use(dtype)
            layer = getattr(keras.layers, class_name)(**config, seed=3)
            for value in (1.0, -0.5):
                y = np.asarray(layer(np.full((400, 250), value, dtype), training=True), np.float64)
                statistics = [y.mean(), y.std(), y.min(), y.max(), (y == 0).mean()]
                recording.put(f"{name}/{dtype}/{value}", np.array(statistics))


def record_columns(recording):
    """Record what layers learn from raw columns (of one kind), and what they make of other columns."""
    generator = np.random.default_rng(13)
    numbers = rounded(3 + 2 * generator.normal(size=(50, 3)))
    codes = generator.integers(0, 5, (20, 3)).astype(np.int32)
    given = {
        "numbers": numbers, "number": numbers[:, :1], "codes": codes, "code": codes[:, :1],
        "words": np.array(WORDS)[:, None], "looked up words": np.array(LOOKED_UP)[:, None],
        "keys": np.array(KEYS)[:, None], "looked up keys": np.array(LOOKED_UP_KEYS)[:, None],
    }  # fmt: skip
    recording.index["columns"] = {}
    for name, array in given.items():
        if array.dtype.kind == "U":
            recording.index["columns"][name] = array.tolist()
        else:
            recording.put(f"columns/{name}", array)
    for name, (class_name, config, adapted, seen) in COLUMNS.items():
        recording.case(name, column=[class_name, config], adapted=adapted, seen=seen, learnt={})
        for dtype in DTYPES if class_name == "Normalization" else DTYPES[:1]:
            use(dtype)
            layer = getattr(keras.layers, class_name)(**config)
            kinds = {key: array.astype(dtype) if array.dtype.kind == "f" else array for key, array in given.items()}
            if adapted:
                layer.adapt(kinds[adapted])
            if class_name.endswith("Lookup"):
                words = [str(word) if class_name == "StringLookup" else int(word) for word in layer.get_vocabulary()]
                recording.index["cases"][name]["learnt"] = {"vocabulary": words}
            elif class_name == "Discretization":
                recording.index["cases"][name]["learnt"] = {"bin_boundaries": [float(x) for x in layer.bin_boundaries]}
            recording.put(f"{name}/{dtype}/column", np.asarray(layer(kinds[seen])))


def main():
    """Record all layers into one file."""
    recording = Recording("layers")
    record_stacks(recording)
    record_embedding(recording)
    record_noise(recording)
    record_columns(recording)
    recording.save()


if __name__ == "__main__":
    main()
