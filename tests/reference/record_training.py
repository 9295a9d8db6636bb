"""Whole training runs: deep mixed stacks, and what fit does with weights, classes and held-back rows."""

import keras
import numpy as np
from recorder import BATCH, DTYPES, EPOCHS, ROWS, Losses, Recording, make, normal, rounded, start_weights, train, use

L2 = {"class_name": "L2", "config": {"l2": 0.015625}}
MAX_NORM = {"class_name": "MaxNorm", "config": {"max_value": 1.5}}
SMALL = [["Dense", {"units": 6, "activation": "tanh"}], ["Dense", {"units": 3, "activation": "softmax"}]]
MIXED = [
    ["Dense", {"units": 8, "activation": "gelu", "kernel_regularizer": L2, "kernel_constraint": MAX_NORM}],
    ["BatchNormalization", {}],
    ["Residual", {"layers": [
        ["LayerNormalization", {}],
        ["Dense", {"units": 8, "activation": "silu"}],
        ["Dense", {"units": 8}],
    ]}],
    ["PReLU", {}],
    ["Dense", {"units": 4, "activation": "elu", "activity_regularizer": L2}],
    ["Dense", {"units": 3, "activation": "softmax"}],
]  # fmt: skip
FROZEN = [
    ["Dense", {"units": 6, "activation": "tanh", "trainable": False}],
    ["BatchNormalization", {"trainable": False}],
    ["Dense", {"units": 3, "activation": "softmax"}],
]
SGD = {"class_name": "SGD", "config": {"learning_rate": 0.1}}
ADAMW = {
    "class_name": "AdamW",
    "config": {
        "learning_rate": 0.01, "weight_decay": 0.03125, "beta_1": 0.875, "beta_2": 0.96875, "global_clipnorm": 0.5,
        "use_ema": True, "ema_momentum": 0.75,
    },
}  # fmt: skip
SPARSE = {"class_name": "SparseCategoricalCrossentropy", "config": {}}
# Name -> stack, optimizer, arguments of compile, arguments of fit ("weights": the recorded sample weights).
CASES = {
    "mixed_sgd": (MIXED, SGD, {"metrics": ["accuracy"]}, {}),
    "mixed_adamw": (MIXED, ADAMW, {"metrics": ["accuracy"]}, {}),
    "frozen": (FROZEN, SGD, {}, {}),
    "accuracy": (SMALL, SGD, {"metrics": ["accuracy", "sparse_categorical_crossentropy"]}, {}),
    "sample_weight": (SMALL, SGD, {"metrics": ["accuracy"]}, {"sample_weight": "weights"}),
    "class_weight": (SMALL, SGD, {"metrics": ["accuracy"]}, {"class_weight": {"0": 0.5, "1": 2.0, "2": 1.25}}),
    "weighted_metrics": (
        SMALL, SGD, {"metrics": ["accuracy"], "weighted_metrics": ["sparse_categorical_crossentropy"]},
        {"sample_weight": "weights"},
    ),
    "validation_split": (SMALL, SGD, {"metrics": ["accuracy"]}, {"validation_split": 0.25, "batch_size": 7}),
    "validation_split_weights": (
        SMALL, SGD, {"metrics": ["accuracy"]},
        {"validation_split": 0.25, "batch_size": 7, "sample_weight": "weights"},
    ),
    "validation_freq": (
        SMALL, SGD, {}, {"validation_split": 0.25, "validation_freq": 2, "epochs": 4, "validation_batch_size": 5},
    ),
}  # fmt: skip


def branches(dtype):
    """Three named inputs, joined, one of them a row of categories, and two heads."""
    use(dtype)
    numbers, more = keras.Input((4,), name="numbers"), keras.Input((3,), name="more")
    codes = keras.Input((2,), name="codes", dtype="int32")
    left = keras.layers.Dense(5, "relu", name="left")(numbers)
    right = keras.layers.Dense(4, "tanh", name="right")(more)
    table = keras.layers.Flatten()(keras.layers.Embedding(7, 3, name="table")(codes))
    joined = keras.layers.Dense(6, "relu", name="trunk")(keras.layers.Concatenate()([left, right, table]))
    price = keras.layers.Dense(1, name="price")(joined)
    kind = keras.layers.Dense(3, "softmax", name="kind")(joined)
    return keras.Model({"numbers": numbers, "more": more, "codes": codes}, {"price": price, "kind": kind})


def record_branches(recording):
    """Record ten steps of a model with three inputs and two heads, each with its own loss and weight."""
    generator = np.random.default_rng(15)
    arrays = {"numbers": normal(generator, ROWS, 4), "more": normal(generator, ROWS, 3)}
    arrays["codes"] = generator.integers(0, 7, (ROWS, 2)).astype(np.int32)
    targets = {"price": normal(generator, ROWS, 1), "kind": generator.integers(0, 3, ROWS).astype(np.int32)}
    for name, array in (arrays | targets).items():
        recording.put(f"branches/{name}", array)
    for dtype in DTYPES:
        model = branches(dtype)
        layers = [model.get_layer(name) for name in ("left", "right", "table", "trunk", "price", "kind")]
        weights = [w for layer in layers for w in start_weights(np.random.default_rng(16), layer)]
        for layer in layers:
            layer.set_weights([w.astype(dtype) for w in start_weights(np.random.default_rng(16), layer)])
        if dtype == DTYPES[0]:
            recording.put_all("branches/before", weights)
        model.compile(
            optimizer=make(keras.optimizers, SGD),
            loss={"price": "mse", "kind": "sparse_categorical_crossentropy"},
            loss_weights={"price": 0.5, "kind": 2.0},
            metrics={"price": ["mae"], "kind": ["accuracy"]},
            run_eagerly=True,
            jit_compile=False,
        )
        steps = Losses()
        history = model.fit(
            {name: array if name == "codes" else array.astype(dtype) for name, array in arrays.items()},
            {"price": targets["price"].astype(dtype), "kind": targets["kind"]},
            batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0, callbacks=[steps],
        )  # fmt: skip
        recording.put(f"branches/{dtype}/losses", np.array(steps.values, dtype))
        for key, values in history.history.items():
            recording.put(f"branches/{dtype}/logs/{key}", np.array(values, dtype))
        after = [w for layer in layers for w in layer.get_weights()]
        recording.put_all(f"branches/{dtype}/after", after)


def main():
    """Record every run with the same rows."""
    recording = Recording("training")
    generator = np.random.default_rng(14)
    x, y = normal(generator, ROWS, 5), generator.integers(0, 3, ROWS).astype(np.int32)
    weights = rounded(generator.random(ROWS) + 0.25)
    for name, array in (("x", x), ("y", y), ("weights", weights)):
        recording.put(name, array)
    for name, (stack, optimizer, compiled, fitted) in CASES.items():
        recording.case(name, stack=stack, optimizer=optimizer, compile=compiled, fit=fitted)
        given = dict(fitted)
        if "sample_weight" in given:
            given["sample_weight"] = weights
        if "class_weight" in given:
            given["class_weight"] = {int(k): v for k, v in given["class_weight"].items()}
        arguments = {
            "optimizer": lambda case=optimizer: make(keras.optimizers, case),
            "loss": lambda: make(keras.losses, SPARSE),
        }
        train(recording, name, stack, x, y, arguments | compiled, given)
    record_branches(recording)
    recording.save()


if __name__ == "__main__":
    main()
