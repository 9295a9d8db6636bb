"""Files that Keras writes, with what their models answer and how their training goes on.

The script is no part of record_all.py: it is run by itself, once in an environment of each version whose files count,

KERAS_BACKEND=tensorflow CUDA_VISIBLE_DEVICES= python record_keras_files.py

and writes files_keras<version>.tar.xz beside itself: ``<case>.keras``, ``<case>.h5``, ``<case>.weights.h5`` and
``<case>.npz``. The arrays are ``x`` (``x:<name>`` where there are several inputs), ``y``, what the model answers
(``out`` or ``out:<name>``) and ``after:<layer>:<k>``, its weights after as many epochs more as the file has had.
Batches come in the order of the rows, and nothing is drawn, so that training goes on the same anywhere.
"""

import io
import json
import sys
import tarfile
import tempfile
from pathlib import Path

import keras
import numpy as np

HERE = Path(__file__).parent
NEW = not keras.__version__.startswith("2.")
EPOCHS, BATCH, ROWS = 3, 8, 20
layers, optimizers, schedules = keras.layers, keras.optimizers, keras.optimizers.schedules


def has(name, module=layers):
    """Return whether this version has a layer or an optimizer."""
    return hasattr(module, name)


def mlp(seed=0):
    """Return a small classifier of four numbers."""
    return keras.Sequential([
        keras.Input((4,)),
        # a bias would have no gradient, and Adam's steps along it would be those of rounding
        layers.Dense(5, use_bias=False, kernel_regularizer=keras.regularizers.L2(0.01)),
        layers.BatchNormalization(momentum=0.9),
        layers.Activation("tanh"),
        layers.Dense(3, activation="softmax"),
    ])  # fmt: skip


def every_layer():
    """Return a stack of every layer of numbers that both libraries have."""
    stack = [
        keras.Input((4,)),
        layers.Rescaling(0.5, offset=1.0),
        layers.GaussianNoise(0.1),
        layers.Dense(6, activation="gelu", use_bias=False, kernel_constraint=keras.constraints.MaxNorm(3.0)),
        layers.LayerNormalization(epsilon=1e-5),
        layers.ReLU(max_value=6.0, negative_slope=0.1, threshold=0.0),
        layers.LeakyReLU(**({"negative_slope": 0.2} if NEW else {"alpha": 0.2})),
        layers.ELU(alpha=0.5),
        layers.PReLU(alpha_initializer="uniform"),
        layers.Softmax(),
        layers.Activation("tanh"),
        layers.UnitNormalization(),
        layers.AlphaDropout(0.1),
        layers.GaussianDropout(0.1),
        layers.Dropout(0.3, seed=3),
        layers.ActivityRegularization(l1=0.1),
        layers.Reshape((2, 3)),
        layers.Flatten(),
        layers.BatchNormalization(scale=False, epsilon=1e-4),
        layers.Dense(5, activation="swish", kernel_initializer="he_normal", bias_regularizer="l1"),
        layers.Dense(2, activation=keras.activations.sigmoid, activity_regularizer="l2"),
    ]
    if has("RMSNormalization"):
        stack[3:3] = [layers.RMSNormalization()]
    if has("Identity"):
        stack[3:3] = [layers.Identity()]
    if has("ThresholdedReLU"):
        stack[3:3] = [layers.ThresholdedReLU(theta=0.2)]
    return keras.Sequential(stack, name="every_layer")


def nested():
    """Return a model of models, one of which is not trained."""
    base = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, activation="relu"), layers.BatchNormalization(), layers.Dense(4)],
        name="base",
    )
    base.trainable = False
    inner = keras.Sequential([layers.Dense(4, activation="tanh"), keras.Sequential([layers.Dense(3)], name="deep")])
    return keras.Sequential([base, layers.Dense(4), inner, layers.Dense(2)])


def images():
    """Return a model of rows of two axes."""
    return keras.Sequential([layers.Flatten(input_shape=(3, 2)), layers.Dense(3, name="logits")])


def residual():
    """Return a graph with residual blocks, one of them within another."""
    inputs = keras.Input((4,))
    x = layers.Dense(6, activation="relu")(inputs)
    y = layers.LayerNormalization()(x)
    y = layers.Dense(6, activation="relu")(y)
    y = layers.Add()([y, layers.Dense(6, name="within")(y)])
    x = layers.Add()([x, layers.Dense(6)(y)])
    x = layers.add([layers.BatchNormalization()(x), x])
    return keras.Model(inputs, layers.Dense(2)(x))


def two_inputs():
    """Return a graph of numbers and categories."""
    numbers, kinds = keras.Input((3,), name="numbers"), keras.Input((2,), name="kinds", dtype="int32")
    embedded = layers.Flatten()(layers.Embedding(5, 2, embeddings_regularizer="l2")(kinds))
    joined = layers.Concatenate()([layers.Dense(4, activation="relu")(numbers), embedded])
    return keras.Model([numbers, kinds], layers.Dense(1)(layers.Dense(4, activation="tanh")(joined)))


def wide_and_deep():
    """Return a graph whose one input goes two ways, beside another one."""
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    deep = layers.Dense(4, activation="relu")(layers.Dense(4, activation="relu")(a))
    return keras.Model({"a": a, "b": b}, layers.Dense(1)(layers.concatenate([a, deep, b])))


def two_heads():
    """Return a graph with two outputs."""
    inputs = keras.Input((4,), name="rows")
    x = layers.Dense(5, activation="relu")(inputs)
    number = layers.Dense(1, name="number")(layers.Dense(3, activation="relu")(x))
    return keras.Model(inputs, [layers.Dense(3, activation="softmax", name="kind")(x), number])


def prepared():
    """Return a stack that normalizes by what it has adapted to."""
    normalization = layers.Normalization()
    normalization.adapt(rows_of(4) * 3 + 1)
    return keras.Sequential([keras.Input((4,)), normalization, layers.Dense(2)])


def given():
    """Return a stack that normalizes by what it was told."""
    told = layers.Normalization(mean=[0.0, 1.0, 2.0, 3.0], variance=[1.0, 2.0, 3.0, 4.0])
    return keras.Sequential([keras.Input((4,)), told, layers.Dense(2)])


def words():
    """Return a graph that reads raw columns: words, codes, numbers in bins."""
    word, code = keras.Input((1,), name="word", dtype="string"), keras.Input((1,), name="code", dtype="int64")
    number = keras.Input((1,), name="number")
    mode = "multi_hot" if keras.__version__.startswith("3.0") else "one_hot"  # 3.0 adds an axis
    of_words = layers.StringLookup(output_mode=mode)
    of_words.adapt(np.array([["red"], ["green"], ["red"], ["blue"]]))
    of_codes = layers.IntegerLookup(output_mode="multi_hot", num_oov_indices=1)
    of_codes.adapt(np.array([[7], [7], [12], [40]]))
    bins = layers.Discretization(num_bins=3, output_mode=mode)
    bins.adapt(np.linspace(-2.0, 2.0, 50)[:, None])
    told = layers.Discretization(bin_boundaries=[-0.5, 0.5])
    encoded = layers.CategoryEncoding(num_tokens=3, output_mode=mode)(told(number))
    joined = layers.Concatenate()([of_words(word), of_codes(code), bins(number), encoded])
    return keras.Model([word, code, number], layers.Dense(2)(joined))


def embedded_words():
    """Return a stack of a vocabulary, which it was told, and an embedding."""
    lookup = layers.StringLookup(vocabulary=["b", "a", "ü"], mask_token="", num_oov_indices=1)
    return keras.Sequential([
        keras.Input((2,), dtype="string"), lookup, layers.Embedding(5, 3), layers.Flatten(), layers.Dense(2),
    ])  # fmt: skip


def rows_of(features, rows=ROWS, seed=7):
    """Return rows of numbers."""
    return np.round(np.random.default_rng(seed).normal(size=(rows, features)), 3).astype("float32")


def words_of(rows=ROWS):
    """Return columns of words, codes and numbers."""
    take = np.arange(rows) % 5
    return {
        "word": np.array(["red", "blue", "green", "none", "red"])[take][:, None],
        "code": np.array([7, 12, 40, 41, 7])[take][:, None],
        "number": rows_of(1),
    }


KINDS = np.arange(2 * ROWS).reshape(ROWS, 2) % 5
CLASSES = (np.arange(ROWS) * 7 % 3).astype("int32")
CROSSENTROPY = {"loss": "sparse_categorical_crossentropy"}
# name: the model, x, and what it is compiled with and trained on, where it is
CASES = {
    "every_layer": (every_layer, lambda: rows_of(4), None),
    "images": (images, lambda: rows_of(6).reshape(ROWS, 3, 2), None),
    "nested": (nested, lambda: rows_of(4), lambda: ({"optimizer": "adam", "loss": "mse"}, rows_of(2, seed=9))),
    "residual": (residual, lambda: rows_of(4), lambda: ({"optimizer": "adam", "loss": "mse"}, rows_of(2, seed=9))),
    "two_inputs": (
        two_inputs,
        lambda: {"numbers": rows_of(3), "kinds": KINDS.astype("int32")},
        # Keras 3 does not write the delta of a Huber
        lambda: (
            {"optimizer": "sgd", "loss": keras.losses.Huber(**{} if NEW else {"delta": 0.7}), "metrics": ["mae"]},
            rows_of(1, seed=9),
        ),
    ),
    "wide_and_deep": (wide_and_deep, lambda: {"a": rows_of(3), "b": rows_of(2, seed=8)}, None),
    "two_heads": (
        two_heads,
        lambda: rows_of(4),
        lambda: (
            {
                "optimizer": optimizers.RMSprop(0.01, momentum=0.5, centered=True),
                "loss": {"kind": "sparse_categorical_crossentropy", "number": keras.losses.MeanSquaredError()},
                "loss_weights": {"kind": 0.5, "number": 2.0},
                "metrics": {"kind": ["accuracy"], "number": ["mae", keras.metrics.RootMeanSquaredError()]},
            },
            {"kind": CLASSES, "number": rows_of(1, seed=9)},
        ),
    ),
    "prepared": (prepared, lambda: rows_of(4), None),
    "given": (given, lambda: rows_of(4), None),
    "words": (words, words_of, None),
    "embedded_words": (embedded_words, lambda: np.array([["a", "b"], ["ü", ""], ["x", "a"]] * 4), None),
}
OPTIMIZERS = {
    "adam": lambda: optimizers.Adam(0.01, clipnorm=1.0),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True),
    "sgd": lambda: optimizers.SGD(0.05),
    "sgd_nesterov": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "rmsprop": lambda: optimizers.RMSprop(0.005, rho=0.8),
    "adamw": lambda: optimizers.AdamW(0.01, weight_decay=0.02),
    "adagrad": lambda: optimizers.Adagrad(0.05),
    "adadelta": lambda: optimizers.Adadelta(0.5),
    "adamax": lambda: optimizers.Adamax(0.01),
    "nadam": lambda: optimizers.Nadam(0.01),
    "adafactor": lambda: optimizers.Adafactor(0.05),
    "lion": lambda: optimizers.Lion(0.001),
    "muon": lambda: optimizers.Muon(0.01, exclude_layers=["dense_1"]),
    "ftrl": lambda: optimizers.Ftrl(0.05),
    "average": lambda: optimizers.SGD(0.05, momentum=0.5, use_ema=True, ema_momentum=0.8),
    "accumulation": lambda: optimizers.Adam(0.01, gradient_accumulation_steps=3),
    "cosine": lambda: optimizers.Adam(schedules.CosineDecay(0.02, 15, alpha=0.1, warmup_target=0.04, warmup_steps=4)),
    "exponential": lambda: optimizers.SGD(schedules.ExponentialDecay(0.1, 4, 0.9, staircase=True), momentum=0.9),
    "piecewise": lambda: optimizers.Lion(schedules.PiecewiseConstantDecay([5, 12], [0.01, 0.005, 0.001])),
    "polynomial": lambda: optimizers.Adamax(schedules.PolynomialDecay(0.02, 14, 0.001, power=2.0)),
    "inverse": lambda: optimizers.AdamW(schedules.InverseTimeDecay(0.02, 3, 0.5), weight_decay=0.1),
    "legacy_adam": lambda: optimizers.legacy.Adam(0.01, decay=0.05),
    "legacy_sgd": lambda: optimizers.legacy.SGD(0.05, momentum=0.9),
    "legacy_adamax": lambda: optimizers.legacy.Adamax(0.01),
}
MISSING = {"muon": "Muon", "lion": "Lion", "piecewise": "Lion"}


def optimizer_cases():
    """Yield the name and the case of each optimizer that this version has."""
    for name, make in OPTIMIZERS.items():
        if name in MISSING and not has(MISSING[name], optimizers):
            continue
        if (NEW and name.startswith("legacy")) or (not NEW and name in ("accumulation", "adafactor")):
            continue  # Keras 2.15 has a defect in Adafactor's shapes, and no accumulation
        if name == "accumulation" and keras.__version__.startswith("3.0"):
            continue

        def settings(make=make):
            return {"optimizer": make(), **CROSSENTROPY, "metrics": ["accuracy"]}, CLASSES

        yield name, (mlp, lambda: rows_of(4), settings)


def start(model):
    """Give all weights numbers that differ, in the order in which Keras lists them."""
    generator, values = np.random.default_rng(3), []
    if not all(hasattr(weight, "name") for weight in model.weights):
        return  # Keras 2 lists vocabularies among the weights
    names = [(getattr(weight, "path", None) or weight.name) for weight in model.weights]
    for name, weight in zip(names, model.get_weights(), strict=True):
        kept = any(word in name for word in ("mean", "variance", "count", "seed")) and "moving" not in name
        drawn = np.round(generator.random(weight.shape) - (0 if "variance" in name else 0.5), 3)
        values.append(weight if kept or weight.dtype.kind != "f" else drawn.astype(weight.dtype))
    model.set_weights(values)


def leaves(model):
    """Yield the layers of a model and of the models within it."""
    for layer in model.layers:
        yield from leaves(layer) if hasattr(layer, "layers") else [layer]


def put_file(archive, name, content):
    """Write a file into the archive."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def put(arrays, key, value):
    """Write down an array, or arrays by name."""
    for name, array in value.items() if isinstance(value, dict) else [("", value)]:
        array = np.asarray(array)
        arrays[f"{key}:{name}" if name else key] = array.astype("float32") if array.dtype == np.float64 else array


def record(archive, name, case):
    """Write the files of one case."""
    make, rows, compiled = case
    keras.utils.set_random_seed(1)
    keras.backend.clear_session()
    model, x, arrays = make(), rows(), {}
    if not model.built:
        model.build((None, 4))
    start(model)
    if compiled is not None:
        settings, y = compiled()
        model.compile(**settings)
        model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0)
        put(arrays, "y", y)
    put(arrays, "x", x)
    answers = model(x if isinstance(x, dict) else keras.ops.convert_to_tensor(x) if NEW else x)
    if isinstance(answers, (list, tuple)):
        answers = dict(zip(model.output_names, answers, strict=True))
    put(arrays, "out", {k: np.asarray(v) for k, v in answers.items()} if isinstance(answers, dict) else answers)
    with tempfile.TemporaryDirectory() as folder:
        # Keras 2 writes weights of two kinds, by the name
        for suffix in (".keras", ".h5", ".weights.h5") if NEW else (".keras", ".h5", ".weights.h5", "_weights.h5"):
            path = Path(folder) / f"{name}{suffix}"
            try:
                (model.save_weights if "weights" in suffix else model.save)(path)
            except (NotImplementedError, ValueError, AttributeError) as error:  # of words in .h5
                sys.stderr.write(f"{name}{suffix}: {error}\n")
                continue
            put_file(archive, path.name, path.read_bytes())
    if compiled is not None:
        model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0)
        for layer in leaves(model):
            for k, weight in enumerate(layer.get_weights()):
                arrays[f"after:{layer.name}:{k}"] = weight
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    put_file(archive, f"{name}.npz", stream.getvalue())


def main():
    """Write the files of all cases."""
    version = keras.__version__
    target = HERE / f"files_keras{'_'.join(version.split('.')[:2])}.tar.xz"  # the files have much in common
    with tarfile.open(target, "w:xz", preset=9) as archive:
        put_file(archive, "versions.json", json.dumps({"keras": version, "numpy": np.__version__}).encode())
        for name, case in {**CASES, **dict(optimizer_cases())}.items():
            record(archive, name, case)


if __name__ == "__main__":
    main()
