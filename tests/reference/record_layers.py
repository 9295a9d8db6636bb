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


def record_stacks(recording):
    """Outputs and gradients in inference and in training, and the weights after one training call."""
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
    """The gradient of a table, and its rows."""
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
    """Mean, deviation, smallest, largest, share of zeros, of what each layer makes of a constant 1 and of -0.5."""
    use("float32")
    for name, (class_name, config) in NOISE.items():
        recording.index["cases"][name] = {"noise": [class_name, config]}
        layer = getattr(keras.layers, class_name)(**config, seed=3)
        for value in (1.0, -0.5):
            y = np.asarray(layer(np.full((400, 250), value, np.float32), training=True), np.float64)
            statistics = [y.mean(), y.std(), y.min(), y.max(), (y == 0).mean()]
            recording.put(f"{name}/{value}", np.array(statistics))


def record_columns(recording):
    """Layers that read raw columns: what they learn from data and what they make of it."""
    use("float32")
    generator = np.random.default_rng(13)
    columns = rounded(3 + 2 * generator.normal(size=(50, 3)))
    recording.put("columns/x", columns)
    for name, config in (("adapted", {}), ("inverted", {"invert": True})):
        layer = keras.layers.Normalization(**config)
        layer.adapt(columns.astype(np.float32))
        recording.put(f"columns/normalization/{name}", np.asarray(layer(columns.astype(np.float32))))
    boundaries = [0.0, 2.5, 4.0]
    for mode in ("int", "one_hot", "multi_hot", "count"):
        layer = keras.layers.Discretization(boundaries, output_mode=mode)
        recording.put(f"columns/discretization/{mode}", np.asarray(layer(columns[:, :1].astype(np.float32))))
    layer = keras.layers.Discretization(num_bins=4, epsilon=0.01)
    layer.adapt(columns.astype(np.float32))
    recording.put("columns/discretization/adapted", np.asarray(layer.bin_boundaries, np.float64))
    recording.put("columns/discretization/bins", np.asarray(layer(columns.astype(np.float32))))
    codes = generator.integers(0, 5, (20, 3)).astype(np.int32)
    recording.put("columns/codes", codes)
    for mode in ("one_hot", "multi_hot", "count"):
        layer = keras.layers.CategoryEncoding(num_tokens=5, output_mode=mode)
        given = codes[:, :1] if mode == "one_hot" else codes
        recording.put(f"columns/encoding/{mode}", np.asarray(layer(given)))
    texts = {"words": WORDS, "looked_up": LOOKED_UP, "vocabularies": {}}
    options = {
        "plain": {},
        "limited": {"max_tokens": 3},
        "no_oov": {"num_oov_indices": 0, "vocabulary": sorted({*LOOKED_UP, *WORDS})},
        "mask": {"mask_token": ""},
        "one_hot": {"output_mode": "one_hot"},
        "multi_hot": {"output_mode": "multi_hot"},
        "count": {"output_mode": "count"},
    }
    for name, config in options.items():
        layer = keras.layers.StringLookup(**config)
        if "vocabulary" not in config:
            layer.adapt(np.array(WORDS)[:, None])
        texts["vocabularies"][name] = [str(word) for word in layer.get_vocabulary()]
        recording.put(f"columns/lookup/{name}", np.asarray(layer(np.array(LOOKED_UP)[:, None])))
    recording.index["texts"] = texts | {"options": options, "boundaries": boundaries}


def main():
    """All of them into one file."""
    recording = Recording("layers")
    record_stacks(recording)
    record_embedding(recording)
    record_noise(recording)
    record_columns(recording)
    recording.save()


if __name__ == "__main__":
    main()
