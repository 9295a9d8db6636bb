"""Every part of the library beside values recorded from Keras 3 (tests/reference, which says how they are made)."""

import json
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import (
    activations,
    constraints,
    initializers,
    layers,
    losses,
    metrics,
    optimizers,
    regularizers,
    schedules,
)

FOLDER = Path(__file__).parent / "reference"
# float32: sums of a dozen terms in another order, and differences of such sums; ten steps of training enlarge them.
# float64: the same at its precision, where Keras does not hold a constant of its own in float32.
CLOSE = {"float32": {"rtol": 1e-5, "atol": 3e-6}, "float64": {"rtol": 1e-10, "atol": 1e-12}}

# Recorded, and not on this side yet.
WAITING = {
    "activations": [
        "celu", "celu_alpha", "elu", "elu_alpha", "exponential", "gelu", "gelu_approximate", "glu", "hard_sigmoid",
        "hard_silu", "hard_swish", "hard_tanh", "leaky_relu", "leaky_relu_slope", "log_sigmoid", "log_softmax",
        "mish", "relu6", "relu_max", "selu", "silu", "softplus", "softsign", "swish",
    ],
    "losses": [
        "mape", "msle", "poisson",
    ],
    "metrics": [
        "auc", "auc_flat", "auc_logits", "auc_pr", "auc_thresholds", "auc_thresholds_pr", "bce", "bce_logits",
        "binary_accuracy", "binary_accuracy_threshold", "categorical_accuracy", "categorical_hinge", "cce",
        "cosine_similarity", "f1", "f1_macro", "f1_micro", "f1_threshold", "f1_weighted", "false_negatives",
        "false_positives", "fbeta", "hinge", "kl_divergence", "log_cosh", "mae", "mape", "mse", "msle", "poisson",
        "precision", "precision_class", "precision_threshold", "precision_top_k", "r2", "r2_each", "r2_variance",
        "recall", "recall_class", "recall_threshold", "rmse", "scce", "scce_logits", "sparse_categorical_accuracy",
        "sparse_top_k", "squared_hinge", "top_k", "true_negatives", "true_positives",
    ],
    "layers": [
        "elu", "flatten", "leaky_relu", "relu", "reshape", "softmax",
    ],
    "regularizers": [
        "orthogonal_columns", "orthogonal_rows",
    ],
    "places": [
        "activity",
    ],
    "training": [
        "accuracy", "mixed_adamw", "mixed_sgd", "weighted_metrics",
    ],
}  # fmt: skip


class Recording:
    """The cases and the arrays of one kind, as tests/reference/recorder.py writes them."""

    def __init__(self, kind):
        with np.load(FOLDER / f"{kind}.npz") as file:
            flat = {name: file[name] for name in file.files if name != "index"}
            self.index = json.loads(file["index"].tobytes())
        self.cases = {k: v for k, v in self.index["cases"].items() if k not in WAITING.get(kind, ())}
        self.arrays = {}
        for key, (dtype, start, shape) in self.index["arrays"].items():
            self.arrays[key] = flat[dtype][start : start + int(np.prod(shape))].reshape(shape)

    def __getitem__(self, key):
        return self.arrays[key]

    def all(self, prefix):
        """The arrays prefix0, prefix1, ..."""
        return [self.arrays[f"{prefix}{k}"] for k in range(len(self.arrays)) if f"{prefix}{k}" in self.arrays]

    def pairs(self):
        """The parameters of a test: each case in each element type that Keras has it in."""
        return [
            pytest.param(name, dtype, id=f"{name}-{dtype}")
            for name in self.cases
            for dtype in CLOSE
            if any(key.startswith(f"{name}/{dtype}/") for key in self.arrays)
        ]


# Read once, here: np.load parses headers with ast, which threads of CPython 3.11 cannot do side by side.
KINDS = ("activations", "constraints", "initializers", "layers", "losses", "metrics", "optimizers", "regularizers",
         "schedules", "training")  # fmt: skip
RECORDED = {kind: Recording(kind) for kind in KINDS}


def described(stack):
    """The layers that a recorded stack of [class name, config] describes."""
    made = []
    for class_name, config in stack:
        inner = {"layers": described(config["layers"])} if "layers" in config else {}
        made.append(layers.deserialize({"class_name": class_name, "config": config | inner}))
    return made


def build(stack, features, dtype, weights=()):
    """A model of a recorded stack, with the weights that it was recorded from."""
    model = fastnn.Sequential([layers.Input((features,), dtype=dtype), *described(stack)])
    model.set_weights(weights)
    return model


def of_type(array, dtype):
    """Recorded in half precision, as it was given to Keras; whole numbers stay."""
    return array.astype(dtype) if array.dtype.kind == "f" else array


class Losses(fastnn.callbacks.Callback):
    """The running loss at the end of each step."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(logs["loss"])


def check_training(recording, name, dtype, make_model, x, y, compiled, close=None, **fitted):
    """Ten steps, once with a callback that looks at each and once in one piece: losses, logs, weights are Keras's."""
    close = close or CLOSE[dtype]
    after = recording.all(f"{name}/{dtype}/after")
    for steps in (Losses(), None):
        model = make_model()
        model.compile(**compiled())
        arguments = {"batch_size": 9, "epochs": 2} | fitted
        history = model.fit(x, y, **arguments, shuffle=False, verbose=0, callbacks=[steps] if steps else None).history
        if steps:
            np.testing.assert_allclose(steps.values, recording[f"{name}/{dtype}/losses"], **close)
        logs = f"{name}/{dtype}/logs/"
        wanted = {key.removeprefix(logs): recording[key] for key in recording.arrays if key.startswith(logs)}
        assert sorted(history) == sorted(wanted)
        for key, values in wanted.items():
            np.testing.assert_allclose(history[key], values, err_msg=key, **close)
        assert len(model.weights) == len(after)
        for ours, theirs in zip(model.weights, after, strict=True):
            np.testing.assert_allclose(ours, theirs, **close)


def from_case(module, case):
    return module.get({"class_name": case["class_name"], "config": case["config"]})


def test_recordings_name_their_versions():
    for recording in RECORDED.values():
        assert recording.index["keras"].startswith("3.")
        assert recording.index["fastnn"].count(".") == 2


# ---- activations ----

ACTIVATIONS = RECORDED["activations"]


@pytest.mark.parametrize(("name", "dtype"), ACTIVATIONS.pairs())
def test_activation(name, dtype):
    case = ACTIVATIONS.cases[name]
    x = ACTIVATIONS["x"].astype(dtype)
    activation = activations.get({"class_name": case["function"], "config": case["config"]})
    model = fastnn.Sequential([layers.Input((x.shape[1],), dtype=dtype), layers.Activation(activation)])
    wanted = ACTIVATIONS[f"{name}/{dtype}/y"]
    np.testing.assert_allclose(model.forward(x), wanted, **CLOSE[dtype])
    found = model.backward(ACTIVATIONS["dy"][:, : wanted.shape[1]].astype(dtype))
    np.testing.assert_allclose(found, ACTIVATIONS[f"{name}/{dtype}/dx"], **CLOSE[dtype])
    np.testing.assert_allclose(activation(x), wanted, **CLOSE[dtype])


# ---- initializers ----

INITIALIZERS = RECORDED["initializers"]


@pytest.mark.parametrize("name", INITIALIZERS.cases)
def test_initializer(name):
    case = INITIALIZERS.cases[name]
    initializer = from_case(initializers, case)
    if not case["random"]:
        wanted = INITIALIZERS[f"{name}/values"]
        np.testing.assert_array_equal(initializer(wanted.shape), wanted)
        return
    draws = np.array(INITIALIZERS.all(f"{name}/"))
    initializer = initializers.get(initializers.serialize(initializer) | {"config": case["config"] | {"seed": 1}})
    values = initializer(tuple(INITIALIZERS["shape"].tolist()), dtype="float64")
    mean, deviation, low, high = values.mean(), values.std(), values.min(), values.max()
    found = np.array([mean, deviation, low, high, *np.quantile(values, np.arange(1, 8) / 8)])
    # 150,000 numbers: a mean or a quantile of theirs has a standard error below 0.5 % of the deviation; six of them.
    scale = draws[:, 1].mean()
    average = draws.mean(axis=0)
    np.testing.assert_allclose(found[[0, 1, *range(4, 11)]], average[[0, 1, *range(4, 11)]], rtol=0, atol=0.03 * scale)
    # The ends: bounded distributions come near their bound, those of a normal lie within one deviation of each other.
    np.testing.assert_allclose(found[2:4], average[2:4], rtol=0, atol=1.0 * scale)


# ---- losses ----

LOSSES = RECORDED["losses"]


def close_for_loss(name, dtype):
    """The tolerance; Keras holds the log 2 of log-cosh in float32, also where all else is float64."""
    return {"rtol": 1e-8} if (name, dtype) == ("log_cosh", "float64") else CLOSE[dtype]


@pytest.mark.parametrize(("name", "dtype"), LOSSES.pairs())
def test_loss(name, dtype):
    """The value and the gradient by each prediction, without and with a weight a row.

    The predictions are the kernel of a layer that sees the identity matrix, so its gradient is theirs; a step of
    gradient descent with a rate that is a power of two shows it.
    """
    target, prediction = (of_type(LOSSES[f"{name}/{kind}"], dtype) for kind in ("target", "prediction"))
    rows, outputs = prediction.shape
    rate, close = 1024.0, close_for_loss(name, dtype)
    for kind, weights in (("plain", None), ("weighted", LOSSES["weights"].astype(dtype))):
        loss = from_case(losses, LOSSES.cases[name])
        model = fastnn.Sequential([layers.Input((rows,), dtype=dtype), layers.Dense(outputs, use_bias=False)])
        model.set_weights([prediction])
        model.compile(optimizers.SGD(rate), loss)
        weighted = {} if weights is None else {"sample_weight": weights}
        value = model.train_on_batch(np.eye(rows, dtype=dtype), target, **weighted)
        np.testing.assert_allclose(value, LOSSES[f"{name}/{dtype}/{kind}/value"], **close)
        gradient = (prediction.astype("float64") - model.weights[0]) / rate
        np.testing.assert_allclose(gradient, LOSSES[f"{name}/{dtype}/{kind}/gradient"], **close)
    plain = loss(target, prediction)
    np.testing.assert_allclose(plain, LOSSES[f"{name}/{dtype}/plain/value"], **close)


@pytest.mark.parametrize(("name", "dtype"), LOSSES.pairs())
def test_training_with_loss(name, dtype):
    case = LOSSES.cases[name]
    x, y = LOSSES["x"].astype(dtype), of_type(LOSSES[f"{name}/y"], dtype)
    before = LOSSES.all(f"{name}/before")
    check_training(
        LOSSES, name, dtype, lambda: build(case["stack"], x.shape[1], dtype, before), x, y,
        lambda: {"optimizer": optimizers.SGD(0.05), "loss": from_case(losses, case)},
        close_for_loss(name, dtype),
    )  # fmt: skip


# ---- metrics ----

METRICS = RECORDED["metrics"]


@pytest.mark.parametrize(("name", "dtype"), METRICS.pairs())
def test_metric(name, dtype):
    """The result over the first one, two and three batches, as evaluate gives it without and with weights."""
    case = METRICS.cases[name]
    target, prediction = (of_type(METRICS[f"{case['data']}/{kind}"], dtype) for kind in ("target", "prediction"))
    weights = METRICS["weights"].astype(dtype)
    outputs = prediction.shape[1]
    model = fastnn.Sequential([layers.Input((outputs,), dtype=dtype), layers.Activation("linear")])
    labels = target.dtype.kind == "i"
    loss = "sparse_categorical_crossentropy" if labels else "mse"
    plain, weighted = from_case(metrics, case), from_case(metrics, case)
    weighted.name = "weighted"
    model.compile("sgd", loss, metrics=[plain], weighted_metrics=[weighted])
    rows = 0
    for batch, size in enumerate(METRICS["sizes"]):
        rows += size
        part = slice(0, rows)
        seen = model.evaluate(
            prediction[part], target[part], batch_size=16, sample_weight=weights[part], return_dict=True, verbose=0
        )
        for key, kind in ((plain.name, "plain"), ("weighted", "weighted")):
            wanted = METRICS[f"{name}/{dtype}/{kind}"][batch]
            np.testing.assert_allclose(seen[key], wanted, err_msg=f"{kind}, {rows} rows", **CLOSE["float32"])


# ---- optimizers and schedules ----

OPTIMIZERS, SCHEDULES = RECORDED["optimizers"], RECORDED["schedules"]


@pytest.mark.parametrize(("name", "dtype"), OPTIMIZERS.pairs())
def test_optimizer(name, dtype):
    case = OPTIMIZERS.cases[name]
    x, y = OPTIMIZERS["x"].astype(dtype), OPTIMIZERS["y"].astype(dtype)
    before = OPTIMIZERS.all(f"{name}/before")
    # Of 0.9, 0.999 and the like (and of Nadam's 0.96) Keras holds some in float32, also where all else is float64.
    # Muon's cases leave those of Adam, which trains the biases, as they are.
    rounded = case["defaults"] or case["class_name"] in ("Nadam", "Muon")
    close = CLOSE["float32"] if rounded else CLOSE[dtype]
    check_training(
        OPTIMIZERS, name, dtype, lambda: build(case["stack"], x.shape[1], dtype, before), x, y,
        lambda: {"optimizer": from_case(optimizers, case), "loss": "mse"}, close,
    )  # fmt: skip


@pytest.mark.parametrize(("name", "dtype"), SCHEDULES.pairs())
def test_schedule(name, dtype):
    case = SCHEDULES.cases[name]

    def made():
        return schedules.deserialize({"class_name": case["class_name"], "config": case["config"]})

    schedule, close = made(), CLOSE["float32"]  # Keras computes rates in float32, also where all else is float64
    rates = [schedule(step) for step in range(30)]
    np.testing.assert_allclose(rates, SCHEDULES[f"{name}/{dtype}/rates"], **close)
    x, y = SCHEDULES["x"].astype(dtype), SCHEDULES["y"].astype(dtype)
    before = SCHEDULES.all(f"{name}/before")
    check_training(
        SCHEDULES, name, dtype, lambda: build(case["stack"], x.shape[1], dtype, before), x, y,
        lambda: {"optimizer": optimizers.Adam(made(), beta_1=0.875, beta_2=0.96875), "loss": "mse"}, close,
    )  # fmt: skip


# ---- layers ----

LAYERS = RECORDED["layers"]
STACKS = [pair for pair in LAYERS.pairs() if "stack" in LAYERS.cases[pair.values[0]]]


@pytest.mark.parametrize(("name", "dtype"), STACKS)
def test_layer(name, dtype):
    x, close = LAYERS["x"].astype(dtype), CLOSE[dtype]
    model = build(LAYERS.cases[name]["stack"], x.shape[1], dtype, LAYERS.all(f"{name}/before"))
    for mode in ("inference", "training"):
        wanted = LAYERS[f"{name}/{dtype}/{mode}/y"]
        np.testing.assert_allclose(model.forward(x, training=mode == "training"), wanted, **close)
        gradients = LAYERS.all(f"{name}/{dtype}/{mode}/gradient")
        found = model.backward(LAYERS["dy"][:, : wanted.shape[1]].astype(dtype))
        np.testing.assert_allclose(found, gradients[0], **close)
        trained = [g for g, w in zip(model.gradients, model.weights, strict=True)
                   if any(w is t for t in model.trainable_weights)]  # fmt: skip
        assert len(trained) == len(gradients) - 1
        for ours, theirs in zip(trained, gradients[1:], strict=True):
            np.testing.assert_allclose(ours, theirs, **close)
    for ours, theirs in zip(model.weights, LAYERS.all(f"{name}/{dtype}/after"), strict=True):
        np.testing.assert_allclose(ours, theirs, **close)


@pytest.mark.parametrize("dtype", CLOSE)
def test_embedding(dtype):
    """Recorded on whole numbers; here they are rows of the model's dtype."""
    indices, table, dy = (LAYERS[f"embedding/{name}"] for name in ("indices", "table", "dy"))
    model = fastnn.Sequential([layers.Input((indices.shape[1],), dtype=dtype), layers.Embedding(*table.shape)])
    model.set_weights([table])
    np.testing.assert_allclose(model.forward(indices), LAYERS[f"embedding/{dtype}/y"], **CLOSE[dtype])
    model.backward(dy.astype(dtype))
    np.testing.assert_allclose(model.gradients[0], LAYERS[f"embedding/{dtype}/gradient"], **CLOSE[dtype])


@pytest.mark.parametrize("name", [name for name, case in LAYERS.cases.items() if "noise" in case])
@pytest.mark.parametrize("value", [1.0, -0.5])
def test_noise(name, value):
    model = fastnn.Sequential([layers.Input((250,), dtype="float32"), *described([LAYERS.cases[name]["noise"]])])
    y = model.forward(np.full((400, 250), value), training=True).astype("float64")
    mean, deviation, low, high, zeros = LAYERS[f"{name}/{value}"]
    # 100,000 numbers: the standard error of their mean is 0.3 % of the deviation, of their deviation 0.2 % of itself.
    np.testing.assert_allclose([y.mean(), y.std()], [mean, deviation], rtol=0, atol=0.02 * deviation)
    assert (y == 0).mean() == pytest.approx(zeros, abs=0.01)
    if name in ("dropout", "alpha_dropout"):  # two values only
        np.testing.assert_allclose([y.min(), y.max()], [low, high], rtol=1e-5, atol=1e-6)
        assert len(np.unique(y)) == 2


@pytest.mark.parametrize("kind", ["adapted", "inverted"])
def test_normalization(kind):
    x = LAYERS["columns/x"]
    layer = layers.Normalization(invert=kind == "inverted")
    layer.adapt(x)
    found = fastnn.Sequential([layers.Input((x.shape[1],)), layer]).predict(x)
    np.testing.assert_allclose(found, LAYERS[f"columns/normalization/{kind}"], **CLOSE["float32"])


# ---- regularizers and constraints ----

REGULARIZERS, CONSTRAINTS = RECORDED["regularizers"], RECORDED["constraints"]


@pytest.mark.parametrize(("name", "dtype"), REGULARIZERS.pairs())
def test_regularizer(name, dtype):
    matrix = REGULARIZERS["matrix"].astype(dtype)
    matrix = matrix[:, :3] if "orthogonal" in name else matrix
    value = from_case(regularizers, REGULARIZERS.cases[name])(matrix)
    np.testing.assert_allclose(value, REGULARIZERS[f"{name}/{dtype}/value"], **CLOSE[dtype])


PLACES = [
    pytest.param(name, place, dtype, id=f"{name}-{place}-{dtype}")
    for name, dtype in (pair.values for pair in REGULARIZERS.pairs())
    for place in REGULARIZERS.cases[name]["stacks"]
    if place not in WAITING.get("places", ())
]


@pytest.mark.parametrize(("name", "place", "dtype"), PLACES)
def test_training_with_regularizer(name, place, dtype):
    stack, before = REGULARIZERS.cases[name]["stacks"][place], REGULARIZERS.all(f"{name}/{place}/before")
    x, y = REGULARIZERS["x"].astype(dtype), REGULARIZERS["y"].astype(dtype)
    check_training(
        REGULARIZERS, f"{name}/{place}", dtype, lambda: build(stack, x.shape[1], dtype, before), x, y,
        lambda: {"optimizer": optimizers.SGD(0.1), "loss": "mse"},
    )  # fmt: skip


@pytest.mark.parametrize(("name", "dtype"), CONSTRAINTS.pairs())
def test_constraint(name, dtype):
    case = CONSTRAINTS.cases[name]
    found = from_case(constraints, case)(CONSTRAINTS["matrix"].astype(dtype))
    np.testing.assert_allclose(found, CONSTRAINTS[f"{name}/{dtype}/matrix"], **CLOSE[dtype])
    x, y = CONSTRAINTS["x"].astype(dtype), CONSTRAINTS["y"].astype(dtype)
    before = CONSTRAINTS.all(f"{name}/before")
    check_training(
        CONSTRAINTS, name, dtype, lambda: build(case["stack"], x.shape[1], dtype, before), x, y,
        lambda: {"optimizer": optimizers.SGD(0.1), "loss": "mse"},
    )  # fmt: skip


# ---- whole runs ----

TRAINING = RECORDED["training"]


@pytest.mark.parametrize(("name", "dtype"), TRAINING.pairs())
def test_training(name, dtype):
    case = TRAINING.cases[name]
    x, y = TRAINING["x"].astype(dtype), TRAINING["y"]
    fitted = dict(case["fit"])
    if "sample_weight" in fitted:
        fitted["sample_weight"] = TRAINING["weights"].astype(dtype)
    if "class_weight" in fitted:
        fitted["class_weight"] = {int(label): weight for label, weight in fitted["class_weight"].items()}
    before = TRAINING.all(f"{name}/before")
    check_training(
        TRAINING, name, dtype, lambda: build(case["stack"], x.shape[1], dtype, before), x, y,
        lambda: {"optimizer": from_case(optimizers, case["optimizer"]), "loss": "sparse_categorical_crossentropy"}
        | case["compile"],
        **fitted,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", CLOSE)
def test_branches_and_heads(dtype):
    """Two named inputs, joined; two heads, each with its own loss, weight and metric."""
    x = {name: TRAINING[f"branches/{name}"].astype(dtype) for name in ("numbers", "more")}
    y = {name: of_type(TRAINING[f"branches/{name}"], dtype) for name in ("price", "kind")}

    def made():
        model = fastnn.Sequential(
            [
                layers.Branches(
                    {
                        "numbers": [layers.Input((4,), dtype=dtype), layers.Dense(5, "relu")],
                        "more": [layers.Input((3,), dtype=dtype), layers.Dense(4, "tanh")],
                    }
                ),
                layers.Dense(6, "relu"),
                layers.Heads({"price": [layers.Dense(1)], "kind": [layers.Dense(3, "softmax")]}),
            ]
        )
        model.set_weights(TRAINING.all("branches/before"))
        return model

    check_training(
        TRAINING, "branches", dtype, made, x, y,
        lambda: {
            "optimizer": optimizers.SGD(0.1),
            "loss": {"price": "mse", "kind": "sparse_categorical_crossentropy"},
            "loss_weights": {"price": 0.5, "kind": 2.0},
            "metrics": {"price": ["mae"], "kind": ["accuracy"]},
        },
    )  # fmt: skip
