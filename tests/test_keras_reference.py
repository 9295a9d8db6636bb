"""Every part of the library beside values recorded from Keras 3 (tests/reference, which says how they are made)."""

from fnmatch import fnmatch
from typing import NamedTuple

import numpy as np
import pytest
from recordings import CLOSE, RECORDED, build, described, from_case, of_type, run_training

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
)
from fastnn.optimizers import schedules


class Difference(NamedTuple):
    """Cases of a kind that agree less closely than CLOSE in float64, and the reason; a test checks that they do."""

    kind: str
    cases: tuple[str, ...]  # patterns of names
    close: dict[str, float]
    reason: str


CONSTANT = {"rtol": 2e-7, "atol": 2e-8}  # a float32 has a relative error of 6e-8
DIFFERENCES = [
    Difference(
        "activations", ("leaky_relu*",), CONSTANT,
        "TensorFlow holds the slope of a leaky ReLU in float32, also for numbers in float64.",
    ),
    Difference("layers", ("leaky_relu",), CONSTANT, "The layer is that activation."),
    Difference("training", ("mixed*",), CONSTANT, "A layer has the activation GELU, see above."),
    Difference(
        "activations", ("gelu*",), CONSTANT,
        "TensorFlow holds the square root of two and 0.044715 of a GELU in float32, also for numbers in float64.",
    ),
    Difference(
        "losses", ("log_cosh",), CONSTANT,
        "Keras holds the logarithm of two in float32, also where all else is float64.",
    ),
    Difference("metrics", ("log_cosh",), CONSTANT, "The metric is the mean of that loss."),
    Difference(
        "metrics", ("iou", "mean_iou", "one_hot_mean_iou"), CONSTANT,
        "Keras divides intersections by unions in float32; and unless it is told a dtype, as here, it cuts the weights "
        "of rows to whole numbers, where fastnn counts them as they are.",
    ),
    Difference(
        "optimizers", ("adam", "adamw", "adamax", "adagrad", "nadam*", "muon*"), CLOSE["float32"],
        "Keras holds some constants of these rules (of 0.999, 0.1, Nadam's 0.96 and the like) in float32, also where "
        "all else is float64; with constants that float32 holds exactly the others agree to 1e-10.",
    ),
    Difference(
        "schedules", ("*",), CLOSE["float32"],
        "Keras computes learning rates in float32, also where all else is float64.",
    ),
]  # fmt: skip
# Members of fastnn that Keras lacks, or has as something else than a class that one case here could name.
OWN = {
    "HalfMeanSquaredError": "a loss of textbooks",
    "Impute": "no layer of Keras",
    "CategoricalEmbedding": "no layer of Keras",
    "Scale": "no layer of Keras",
    "ParametricActivation": "no layer of Keras",
    "EnsembleDense": "no layer of Keras",
    "EnsembleMean": "no layer of Keras",
    "EnsembleScale": "no layer of Keras",
    "LinearEmbedding": "no layer of Keras",
    "PeriodicEmbedding": "no layer of Keras",
    "RobustNormalization": "no layer of Keras",
    "QuantileNormalization": "no layer of Keras",
    "PiecewiseLinearEncoding": "no layer of Keras",
    "TargetScaling": "no layer of Keras",
    "SmoothClip": "no activation of Keras: the function in 50 digits is in tests/kernels/test_activations.py",
    "cos": "no activation of Keras: the function in 50 digits is in tests/kernels/test_activations.py",
    "RandomSign": "no initializer of Keras",
    "TemperatureScaledCrossentropy": "no metric of Keras",
    "Quantile": "no loss of Keras",
    "GaussianNLL": "no loss of Keras",
    "LBFGS": "no optimizer of Keras",
    "OneCycle": "no schedule of Keras",
    "FlatCosine": "no schedule of Keras",
    "CosineLog": "no schedule of Keras",
    "GLU": "a function of Keras: the case is among the activations",
    "ActivityRegularization": "changes the loss alone: the cases are among the regularizers",
    "InputLayer": "every recorded network has one",
    "Embedding": "a test of its own, as its input are whole numbers; and it is trained in a branch",
    "Branches": "a functional model of Keras: the case is among the training runs",
    "Heads": "a functional model of Keras: the case is among the training runs",
    "Squareplus": "the function in 50 digits is in tests/kernels/test_activations.py",
    "Tversky": "numbers of Keras are in tests/test_losses.py",
    "Dice": "numbers of Keras are in tests/test_losses.py",
    "UnitNormalization": "numbers of Keras are in tests/test_layers.py",
    "Stack": "a Sequential of Keras within another: the case is among the configurations",
}

# Cases that are recorded in float32 alone.
ONLY_FLOAT32 = {
    ("metrics", "top_k", "sparse_top_k"): "TensorFlow finds the largest k of float32 only.",
    ("regularizers", "orthogonal_*"): "Keras computes the regularizer in float32 only.",
    ("layers", "discretization*", "encoding*", "lookup*", "keys*"): "The results are whole numbers.",
}


def closeness(kind, name, dtype):
    """Return the tolerance of a case."""
    for difference in DIFFERENCES if dtype == "float64" else ():
        if difference.kind == kind and any(fnmatch(name, pattern) for pattern in difference.cases):
            return difference.close
    return CLOSE[dtype]


def test_recordings_name_their_versions():
    for recording in RECORDED.values():
        assert recording.index["keras"].startswith("3.")
        assert recording.index["fastnn"].count(".") == 2


# ---- activations ----

ACTIVATIONS = RECORDED["activations"]


def check_activation(name, dtype, close):
    case = ACTIVATIONS.cases[name]
    x = ACTIVATIONS["x"].astype(dtype)
    if case["function"] == "glu":
        layer, function = layers.GLU(), activations.glu
    else:
        function = activations.get({"class_name": case["function"], "config": case["config"]})
        layer = layers.Activation(function)
    model = fastnn.Sequential([layers.Input((x.shape[1],), dtype=dtype), layer])
    wanted = ACTIVATIONS[f"{name}/{dtype}/y"]
    np.testing.assert_allclose(model.forward(x), wanted, **close)
    found = model.backward(ACTIVATIONS["dy"][:, : wanted.shape[1]].astype(dtype))
    np.testing.assert_allclose(found, ACTIVATIONS[f"{name}/{dtype}/dx"], **close)
    np.testing.assert_allclose(function(x), wanted, **close)


@pytest.mark.parametrize(("name", "dtype"), ACTIVATIONS.pairs())
def test_activation(name, dtype):
    check_activation(name, dtype, closeness("activations", name, dtype))


# ---- initializers ----

INITIALIZERS = RECORDED["initializers"]


@pytest.mark.parametrize(("name", "dtype"), INITIALIZERS.pairs())
def test_initializer(name, dtype):
    case = INITIALIZERS.cases[name]
    initializer = from_case(initializers, case)
    if not case["random"]:
        wanted = INITIALIZERS[f"{name}/{dtype}/values"]
        np.testing.assert_array_equal(initializer(wanted.shape, dtype=dtype), wanted)
        return
    draws = np.array(INITIALIZERS.all(f"{name}/{dtype}/"))
    initializer = initializers.get(initializers.serialize(initializer) | {"config": case["config"] | {"seed": 1}})
    values = initializer(tuple(INITIALIZERS["shape"].tolist()), dtype=dtype).astype("float64")
    mean, deviation, low, high = values.mean(), values.std(), values.min(), values.max()
    found = np.array([mean, deviation, low, high, *np.quantile(values, np.arange(1, 8) / 8)])
    # A mean or a quantile of 150,000 numbers has a standard error below 0.5 % of the deviation; six of these are
    # allowed.
    scale = draws[:, 1].mean()
    average = draws.mean(axis=0)
    np.testing.assert_allclose(found[[0, 1, *range(4, 11)]], average[[0, 1, *range(4, 11)]], rtol=0, atol=0.03 * scale)
    # Extremes: those of a bounded distribution come near its bound, two of a normal lie within one deviation.
    np.testing.assert_allclose(found[2:4], average[2:4], rtol=0, atol=1.0 * scale)


# ---- losses ----

LOSSES = RECORDED["losses"]


def check_loss(name, dtype, close):
    """Check the value and the gradient by each prediction, without and with a weight for each row.

    The predictions are the kernel of a layer that sees the identity matrix, so its gradient is theirs; a step of
    gradient descent with a rate that is a power of two shows it.
    """
    target, prediction = (of_type(LOSSES[f"{name}/{kind}"], dtype) for kind in ("target", "prediction"))
    rows, outputs = prediction.shape
    rate = 1024.0
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
def test_loss(name, dtype):
    check_loss(name, dtype, closeness("losses", name, dtype))


@pytest.mark.parametrize(("name", "dtype"), LOSSES.pairs())
def test_training_with_loss(name, dtype):
    case = LOSSES.cases[name]
    x, y = LOSSES["x"].astype(dtype), of_type(LOSSES[f"{name}/y"], dtype)
    before = LOSSES.all(f"{name}/before")
    run_training(
        LOSSES, name, dtype, closeness("losses", name, dtype),
        lambda: build(case["stack"], x.shape[1], dtype, before), x, y,
        lambda: {"optimizer": optimizers.SGD(0.05), "loss": from_case(losses, case)},
    )  # fmt: skip


# ---- metrics ----

METRICS = RECORDED["metrics"]


def metric_data(name, dtype):
    kind = METRICS.cases[name]["data"]
    target, prediction = (of_type(METRICS[f"{kind}/{part}"], dtype) for part in ("target", "prediction"))
    return target, prediction, METRICS["weights"].astype(dtype)


def check_metric(name, dtype, close):
    """Check the result after one, two and three batches, as update_state gives it, without and with weights."""
    target, prediction, weights = metric_data(name, dtype)
    for kind in ("plain", "weighted"):
        metric, start = from_case(metrics, METRICS.cases[name]), 0
        for batch, size in enumerate(METRICS["sizes"]):
            part = slice(start, start + size)
            metric.update_state(target[part], prediction[part], weights[part] if kind == "weighted" else None)
            wanted = METRICS[f"{name}/{dtype}/{kind}"][batch]
            np.testing.assert_allclose(metric.result(), wanted, err_msg=f"{kind}, batch {batch}", **close)
            start += size


@pytest.mark.parametrize(("name", "dtype"), METRICS.pairs())
def test_metric(name, dtype):
    check_metric(name, dtype, closeness("metrics", name, dtype))


@pytest.mark.parametrize(("name", "dtype"), METRICS.pairs())
def test_metric_in_a_model(name, dtype):
    """In a model, evaluate gives the recorded results, which the engine computes over the rows so far."""
    case, close = METRICS.cases[name], closeness("metrics", name, dtype)
    target, prediction, weights = metric_data(name, dtype)
    outputs = prediction.shape[1]
    model = fastnn.Sequential([layers.Input((outputs,), dtype=dtype), layers.Activation("linear")])
    loss = "sparse_categorical_crossentropy" if target.dtype.kind == "i" else "mse"
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
            np.testing.assert_allclose(seen[key], wanted, err_msg=f"{kind}, {rows} rows", **close)


# ---- optimizers and schedules ----

OPTIMIZERS, SCHEDULES = RECORDED["optimizers"], RECORDED["schedules"]


def check_optimizer(name, dtype, close):
    case = OPTIMIZERS.cases[name]
    x, y = OPTIMIZERS["x"].astype(dtype), OPTIMIZERS["y"].astype(dtype)
    before = OPTIMIZERS.all(f"{name}/before")
    run_training(
        OPTIMIZERS, name, dtype, close, lambda: build(case["stack"], x.shape[1], dtype, before), x, y,
        lambda: {"optimizer": from_case(optimizers, case), "loss": "mse"},
    )  # fmt: skip


@pytest.mark.parametrize(("name", "dtype"), OPTIMIZERS.pairs())
def test_optimizer(name, dtype):
    check_optimizer(name, dtype, closeness("optimizers", name, dtype))


def check_schedule(name, dtype, close):
    case = SCHEDULES.cases[name]

    def made():
        return schedules.deserialize({"class_name": case["class_name"], "config": case["config"]})

    schedule = made()
    rates = [schedule(step) for step in range(30)]
    np.testing.assert_allclose(rates, SCHEDULES[f"{name}/{dtype}/rates"], **close)
    x, y = SCHEDULES["x"].astype(dtype), SCHEDULES["y"].astype(dtype)
    before = SCHEDULES.all(f"{name}/before")
    run_training(
        SCHEDULES, name, dtype, close, lambda: build(case["stack"], x.shape[1], dtype, before), x, y,
        lambda: {"optimizer": optimizers.Adam(made(), beta_1=0.875, beta_2=0.96875), "loss": "mse"},
    )  # fmt: skip


@pytest.mark.parametrize(("name", "dtype"), SCHEDULES.pairs())
def test_schedule(name, dtype):
    check_schedule(name, dtype, closeness("schedules", name, dtype))


# ---- layers ----

LAYERS = RECORDED["layers"]
STACKS = [pair for pair in LAYERS.pairs() if "stack" in LAYERS.cases[pair.values[0]]]


def check_layer(name, dtype, close):
    x = LAYERS["x"].astype(dtype)
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


@pytest.mark.parametrize(("name", "dtype"), STACKS)
def test_layer(name, dtype):
    check_layer(name, dtype, closeness("layers", name, dtype))


@pytest.mark.parametrize("dtype", CLOSE)
def test_embedding(dtype):
    """The case is recorded on whole numbers; here x holds them in the model's dtype."""
    indices, table, dy = (LAYERS[f"embedding/{name}"] for name in ("indices", "table", "dy"))
    model = fastnn.Sequential([layers.Input((indices.shape[1],), dtype=dtype), layers.Embedding(*table.shape)])
    model.set_weights([table])
    np.testing.assert_allclose(model.forward(indices), LAYERS[f"embedding/{dtype}/y"], **CLOSE[dtype])
    model.backward(dy.astype(dtype))
    np.testing.assert_allclose(model.gradients[0], LAYERS[f"embedding/{dtype}/gradient"], **CLOSE[dtype])


@pytest.mark.parametrize(("name", "dtype"), [p for p in LAYERS.pairs() if "noise" in LAYERS.cases[p.values[0]]])
@pytest.mark.parametrize("value", [1.0, -0.5])
def test_noise(name, dtype, value):
    model = fastnn.Sequential([layers.Input((250,), dtype=dtype), *described([LAYERS.cases[name]["noise"]])])
    y = model.forward(np.full((400, 250), value), training=True).astype("float64")
    mean, deviation, low, high, zeros = LAYERS[f"{name}/{dtype}/{value}"]
    # 100,000 numbers: the mean's standard error is 0.3 % of the deviation, the deviation's is 0.2 % of itself.
    np.testing.assert_allclose([y.mean(), y.std()], [mean, deviation], rtol=0, atol=0.02 * deviation)
    assert (y == 0).mean() == pytest.approx(zeros, abs=0.01)
    if name in ("dropout", "alpha_dropout"):  # the output has two values only
        np.testing.assert_allclose([y.min(), y.max()], [low, high], rtol=1e-5, atol=1e-6)
        assert len(np.unique(y)) == 2


@pytest.mark.parametrize(("name", "dtype"), [p for p in LAYERS.pairs() if "column" in LAYERS.cases[p.values[0]]])
def test_column(name, dtype):
    """A layer learns from raw columns what Keras learns, and makes of other columns what Keras makes."""
    case = LAYERS.cases[name]

    def column(kind):
        texts = LAYERS.index["columns"].get(kind)
        return of_type(LAYERS[f"columns/{kind}"], dtype) if texts is None else np.array(texts)

    (layer,) = described([case["column"]])
    if case["adapted"]:
        layer.adapt(column(case["adapted"]))
    learnt = dict(case["learnt"])
    if "vocabulary" in learnt:
        assert layer.get_vocabulary() == learnt["vocabulary"]
    if "bin_boundaries" in learnt:
        np.testing.assert_allclose(layer.bin_boundaries, learnt["bin_boundaries"], **CLOSE[dtype])
    seen = column(case["seen"])
    model = fastnn.Sequential([layers.Input((seen.shape[1],), dtype=dtype), layer, layers.Activation("linear")])
    np.testing.assert_allclose(model.predict(seen), LAYERS[f"{name}/{dtype}/column"], **CLOSE[dtype])


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
]


@pytest.mark.parametrize(("name", "place", "dtype"), PLACES)
def test_training_with_regularizer(name, place, dtype):
    stack, before = REGULARIZERS.cases[name]["stacks"][place], REGULARIZERS.all(f"{name}/{place}/before")
    x, y = REGULARIZERS["x"].astype(dtype), REGULARIZERS["y"].astype(dtype)
    run_training(
        REGULARIZERS, f"{name}/{place}", dtype, CLOSE[dtype], lambda: build(stack, x.shape[1], dtype, before), x, y,
        lambda: {"optimizer": optimizers.SGD(0.1), "loss": "mse"},
    )  # fmt: skip


@pytest.mark.parametrize(("name", "dtype"), CONSTRAINTS.pairs())
def test_constraint(name, dtype):
    case = CONSTRAINTS.cases[name]
    found = from_case(constraints, case)(CONSTRAINTS["matrix"].astype(dtype))
    np.testing.assert_allclose(found, CONSTRAINTS[f"{name}/{dtype}/matrix"], **CLOSE[dtype])
    x, y = CONSTRAINTS["x"].astype(dtype), CONSTRAINTS["y"].astype(dtype)
    before = CONSTRAINTS.all(f"{name}/before")
    run_training(
        CONSTRAINTS, name, dtype, CLOSE[dtype], lambda: build(case["stack"], x.shape[1], dtype, before), x, y,
        lambda: {"optimizer": optimizers.SGD(0.1), "loss": "mse"},
    )  # fmt: skip


# ---- whole runs ----

TRAINING = RECORDED["training"]


def check_training(name, dtype, close):
    case = TRAINING.cases[name]
    x, y = TRAINING["x"].astype(dtype), TRAINING["y"]
    fitted = dict(case["fit"])
    if "sample_weight" in fitted:
        fitted["sample_weight"] = TRAINING["weights"].astype(dtype)
    if "class_weight" in fitted:
        fitted["class_weight"] = {int(label): weight for label, weight in fitted["class_weight"].items()}
    before = TRAINING.all(f"{name}/before")
    run_training(
        TRAINING, name, dtype, close, lambda: build(case["stack"], x.shape[1], dtype, before), x, y,
        lambda: {"optimizer": from_case(optimizers, case["optimizer"]), "loss": "sparse_categorical_crossentropy"}
        | case["compile"],
        **fitted,
    )  # fmt: skip


@pytest.mark.parametrize(("name", "dtype"), TRAINING.pairs())
def test_training(name, dtype):
    check_training(name, dtype, closeness("training", name, dtype))


@pytest.mark.parametrize("dtype", CLOSE)
def test_branches_and_heads(dtype):
    """Three named inputs, one a row of categories, are joined; each of two heads has a loss, weight and metric."""
    x = {name: of_type(TRAINING[f"branches/{name}"], dtype) for name in ("numbers", "more", "codes")}
    y = {name: of_type(TRAINING[f"branches/{name}"], dtype) for name in ("price", "kind")}

    def made():
        model = fastnn.Sequential(
            [
                layers.Branches(
                    {
                        "numbers": [layers.Input((4,), dtype=dtype), layers.Dense(5, "relu")],
                        "more": [layers.Input((3,), dtype=dtype), layers.Dense(4, "tanh")],
                        "codes": [layers.Input((2,), dtype=dtype), layers.Embedding(7, 3)],
                    }
                ),
                layers.Dense(6, "relu"),
                layers.Heads({"price": [layers.Dense(1)], "kind": [layers.Dense(3, "softmax")]}),
            ]
        )
        model.set_weights(TRAINING.all("branches/before"))
        return model

    run_training(
        TRAINING, "branches", dtype, CLOSE[dtype], made, x, y,
        lambda: {
            "optimizer": optimizers.SGD(0.1),
            "loss": {"price": "mse", "kind": "sparse_categorical_crossentropy"},
            "loss_weights": {"price": 0.5, "kind": 2.0},
            "metrics": {"price": ["mae"], "kind": ["accuracy"]},
        },
    )  # fmt: skip


# ---- what is recorded, and what differs ----

CHECKS = {
    "activations": check_activation, "losses": check_loss, "metrics": check_metric, "optimizers": check_optimizer,
    "schedules": check_schedule, "layers": check_layer, "training": check_training,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (difference.kind, name)
        for difference in DIFFERENCES
        for name, dtype in (pair.values for pair in RECORDED[difference.kind].pairs())
        if dtype == "float64" and any(fnmatch(name, pattern) for pattern in difference.cases)
    ],
)
def test_differences_are_there(kind, name):
    """A case listed as a difference must differ: one that agrees like the others needs no reason for not doing so."""
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        CHECKS[kind](name, "float64", CLOSE["float64"])


def test_cases_are_recorded_in_both_types():
    """Exceptions are cases for which Keras offers no float64, or to which the type makes no difference."""
    single, excused = set(), set()
    for kind, recording in RECORDED.items():
        for name in recording.index["cases"]:
            if not any(key.startswith(f"{name}/") and "float64/" in key for key in recording.arrays):
                single.add((kind, name))
            for place, *patterns in ONLY_FLOAT32:
                if place == kind and any(fnmatch(name, pattern) for pattern in patterns):
                    excused.add((kind, name))
    assert single == excused


def named_classes(value):
    """Return every class and function that a description of cases names."""
    if isinstance(value, dict):
        own = {value[key] for key in ("class_name", "function") if key in value}
        return own.union(*map(named_classes, value.values()))
    if isinstance(value, list):
        own = {value[0]} if len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict) else set()
        return own.union(*map(named_classes, value))
    return set()


@pytest.mark.parametrize(
    ("kind", "module"),
    [("activations", activations), ("constraints", constraints), ("initializers", initializers), ("layers", layers),
     ("losses", losses), ("metrics", metrics), ("optimizers", optimizers), ("regularizers", regularizers),
     ("schedules", schedules)],
)  # fmt: skip
def test_all_that_keras_has_is_recorded(kind, module):
    there = {name.lower() for name in named_classes(RECORDED[kind].index["cases"])}
    for member in module._registry.members():
        names = {key for key, other in module._registry._members.items() if other is member}
        own = member.__name__ if isinstance(member, type) else member.name
        assert bool(names & there) != (own in OWN), f"{own} has no recorded case and no reason, or both"
