"""Trains networks that together use everything the engine computes, and compares what each leaves, to the bit.

Tests ask whether the bits depend on the number of threads (`same_on_any_threads`). As a command this compares two
builds, which a change of the engine's shape must leave alike:

    python tests/bits.py before.json             # hashes of each network, for each instruction set that the machine has
    python tests/bits.py after.json before.json  # the same with another build; ends with 1 if any is not what it was

Hashes of one compiler and kind of processor say nothing of another's.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from scipy import sparse

import fastnn
from fastnn import activations, constraints, layers, losses, optimizers, regularizers
from fastnn._engine import build_info

THREADS = (1, 2, 3)
ROWS, FEATURES, CLASSES = 150, 20, 3


def same_on_any_threads(run, threads=(*THREADS, 8)):
    """Return the arrays of run() on one thread; check that each of these numbers of threads gives the same bits."""
    results = []
    for count in threads:
        with fastnn.num_threads(count):
            results.append([np.asarray(array) for array in run()])
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(first, second)
            assert first.tobytes() == second.tobytes()  # zeros and NaN have several bits
    return results[0]


def rows(features=FEATURES, dtype="float32"):
    return np.random.default_rng(features).normal(size=(ROWS, features)).astype(dtype)


def targets(loss):
    """Targets that the loss takes, for CLASSES outputs, or for as many as it needs."""
    generator = np.random.default_rng(1)
    if loss.startswith("sparse"):
        return generator.integers(0, CLASSES, ROWS)
    if "categorical" in loss or "divergence" in loss:  # the loss categorical_hinge takes one-hot rows too
        return np.eye(CLASSES, dtype=np.float32)[generator.integers(0, CLASSES, ROWS)]
    if loss == "quantile":
        return generator.normal(size=(ROWS, 1)).astype(np.float32)
    if "binary" in loss or "hinge" in loss:
        return generator.integers(0, 2, (ROWS, CLASSES)).astype(np.float32)
    return generator.uniform(0.1, 1, (ROWS, CLASSES)).astype(np.float32)


def trained(stack, *, x=None, y=None, loss="mse", optimizer="adam", dtype="float32", batch=32, metrics=()):
    """Fit a network for two epochs; return its weights, losses and predictions, those of a frozen model too."""
    fastnn.utils.set_random_seed(3)
    x = rows(dtype=dtype.replace("mixed_bfloat16", "float32")) if x is None else x
    model = fastnn.Sequential([fastnn.Input((x.shape[1],), dtype=dtype), *stack])
    model.compile(optimizer, loss, metrics=list(metrics))
    y = targets("mse")[:, : model.output_shape[1]] if y is None else y
    history = model.fit(x, y, batch_size=batch, epochs=2, verbose=0).history
    values = [np.asarray(history[name]) for name in sorted(history)]
    evaluated = np.atleast_1d(model.evaluate(x, y, verbose=0))
    frozen = [] if sparse.issparse(x) else [model.freeze()(x)]
    return [*model.get_weights(), *values, evaluated, model.predict(x, verbose=0), *frozen]


def dense(activation="relu", units=33, **settings):
    return layers.Dense(units, activation, **settings)


def with_layers(*middle, **settings):
    """Return a network with these layers between two dense ones."""
    return lambda: trained([dense("tanh", 16), *[make() for make in middle], dense("linear", CLASSES)], **settings)


def branches_and_heads(dtype):
    fastnn.utils.set_random_seed(3)
    left, right = rows(6, dtype), rows(10, dtype)
    branches = {"left": [layers.Input((6,)), dense("relu", 7)], "right": [layers.Input((10,)), dense("tanh", 300)]}
    heads = {"number": [dense("linear", CLASSES)], "class": [dense("tanh", 9), dense("softmax", CLASSES)]}
    model = fastnn.Sequential([layers.Branches(branches, dtype=dtype), dense("silu", 40), layers.Heads(heads)])
    model.compile("adam", {"number": "mse", "class": "sparse_categorical_crossentropy"}, loss_weights=[1.0, 0.5])
    x, y = {"left": left, "right": right}, {"number": targets("mse"), "class": targets("sparse")}
    losses_seen = model.fit(x, y, batch_size=32, epochs=2, verbose=0).history["loss"]
    return [*model.get_weights(), np.asarray(losses_seen), *model.predict(x, verbose=0).values()]


def members(registry):
    """Return one name of each class of a registry."""
    return sorted({member: name for name, member in sorted(registry._members.items())}.values())


NETWORKS = {}
for name in members(activations._registry):
    NETWORKS[f"activation {name}"] = lambda name=name: trained([dense(name), dense("linear", CLASSES)])
for name in members(losses._registry):
    squashed = "softmax" if "categorical" in name or "kl" in name else "sigmoid"
    NETWORKS[f"loss {name}"] = lambda name=name, squashed=squashed: trained(
        [dense(), dense(squashed, 2 * CLASSES if "nll" in name else CLASSES)], loss=name, y=targets(name)
    )
for name in members(optimizers._registry):
    for dtype in ("float32", "float64"):
        NETWORKS[f"optimizer {name} {dtype}"] = lambda name=name, dtype=dtype: trained(
            [dense(), dense("linear", CLASSES)], optimizer=name, dtype=dtype, batch=ROWS if name == "lbfgs" else 32
        )
for name, make in {
    "nesterov": lambda: optimizers.SGD(0.01, momentum=0.9, nesterov=True),
    "amsgrad": lambda: optimizers.Adam(amsgrad=True),
    "centered": lambda: optimizers.RMSprop(centered=True, momentum=0.5),
    "a norm": lambda: optimizers.SGD(0.01, clipnorm=0.1),
    "the norm of all": lambda: optimizers.Adam(global_clipnorm=0.1),
    "values": lambda: optimizers.Adam(clipvalue=0.01),
    "an average": lambda: optimizers.SGD(0.01, use_ema=True, ema_overwrite_frequency=3),
    "accumulation": lambda: optimizers.Adam(gradient_accumulation_steps=3),
    "decay": lambda: optimizers.AdamW(weight_decay=0.1),
    "a schedule": lambda: optimizers.Adam(optimizers.schedules.CosineDecay(0.01, 8)),
}.items():
    NETWORKS[f"optimizer with {name}"] = lambda make=make: trained(
        [dense(), dense("linear", CLASSES)], optimizer=make()
    )
for name, make in {
    "max norm": constraints.MaxNorm,
    "min max norm": constraints.MinMaxNorm,
    "non neg": constraints.NonNeg,
    "unit norm": constraints.UnitNorm,
}.items():
    NETWORKS[f"constraint {name}"] = with_layers(lambda make=make: dense(kernel_constraint=make()))
for name, make in {
    "l1 l2": lambda: regularizers.L1L2(0.01, 0.02),
    "orthogonal rows": lambda: regularizers.OrthogonalRegularizer(0.01, "rows"),
    "orthogonal columns": lambda: regularizers.OrthogonalRegularizer(0.01, "columns"),
}.items():
    NETWORKS[f"regularizer {name}"] = with_layers(lambda make=make: dense(kernel_regularizer=make()))
for name, middle in {
    "batch normalization": [layers.BatchNormalization],
    "layer normalization": [layers.LayerNormalization],
    "rms normalization": [layers.RMSNormalization],
    "dropout": [lambda: layers.Dropout(0.3)],
    "alpha dropout": [lambda: layers.AlphaDropout(0.1)],
    "gaussian dropout": [lambda: layers.GaussianDropout(0.1)],
    "gaussian noise": [lambda: layers.GaussianNoise(0.1)],
    "gated units": [layers.GLU],
    "prelu": [layers.PReLU],
    "scale": [layers.Scale],
    "parametric activation": [lambda: layers.ParametricActivation("selu")],
    "members": [
        lambda: layers.EnsembleScale(32),
        *(
            lambda sharing=sharing: layers.EnsembleDense(9, 32, "relu", sharing)
            for sharing in ("adapted", "full", "none")
        ),
    ],
    "linear embedding": [lambda: layers.LinearEmbedding(7, "relu")],
    "periodic embedding": [layers.PeriodicEmbedding],
    "shared periodic embedding": [
        lambda: layers.PeriodicEmbedding(24, 9, activation="relu", phases=False, share_weights=True)
    ],
    "targets": [lambda: layers.TargetScaling(0.5, 2.0, -1.0, 1.0)],
    "ntk": [lambda: dense("relu", 24, parametrization="ntk")],
    "rescaling": [lambda: layers.Rescaling(0.5, 1)],
    "some columns": [lambda: layers.Normalization(mean=0.5, variance=2.0, columns=[1, 4, 5])],
    "robust columns": [lambda: layers.RobustNormalization([2], center=[0.5], factor=[2.0])],
    "normal columns": [lambda: layers.QuantileNormalization(columns=[2, 3], knots=[[-1.0, 0.0, 0.5, 1.0]] * 2)],
    "mapped bins": [lambda: layers.PiecewiseLinearEncoding(units=3, linear=True, bin_edges=[[-0.5, 0.0, 0.7]] * 16)],
    "columns in bins": [lambda: layers.PiecewiseLinearEncoding(columns=[0, 2], bin_edges=[[-0.5, 0.0, 0.7]] * 2)],
    "softmax": [layers.Softmax],
    "activity regularization": [lambda: layers.ActivityRegularization(0.01, 0.01)],
    "residual": [lambda: layers.Residual([dense("silu", 16), dense("linear", 16)])],
    "many small layers": [lambda: dense("relu", 24)] * 6,
    "a wide layer": [lambda: dense("relu", 1500)],
    "wide layers": [lambda: dense("relu", 700), lambda: dense("tanh", 800)],
}.items():
    for dtype in ("float32", "float64", "mixed_bfloat16"):
        NETWORKS[f"{name} {dtype}"] = with_layers(*middle, dtype=dtype)
for dtype in ("float32", "float64"):
    NETWORKS[f"branches and heads {dtype}"] = lambda dtype=dtype: branches_and_heads(dtype)
NETWORKS["a batch of one"] = with_layers(dense, batch=1)
NETWORKS["784 columns"] = lambda: trained([dense("relu", 128), dense("linear", CLASSES)], x=rows(784))
NETWORKS["a large batch"] = lambda: trained([dense("relu", 300), dense("linear", CLASSES)], x=rows(784), batch=ROWS)
NETWORKS["one column"] = lambda: trained([dense(), dense("linear", 1)])
NETWORKS["an embedding"] = lambda: trained(
    [layers.Embedding(9, 4), layers.Flatten(), dense("linear", CLASSES)],
    x=np.random.default_rng(0).integers(0, 9, (ROWS, 5)),
)
NETWORKS["columns of categories"] = lambda: trained(
    [
        layers.CategoricalEmbedding(4, 3, vocabularies=[range(2), range(4), range(9), range(40)]),
        dense(),
        dense("linear", CLASSES),
    ],
    x=np.random.default_rng(0).integers(0, [2, 5, 10, 40], (ROWS, 4)),
)
NETWORKS["holes"] = lambda: trained(
    [layers.Impute("constant", fill_value=0.5, add_indicator=True), dense(), dense("linear", CLASSES)],
    x=np.where(np.random.default_rng(0).random((ROWS, FEATURES)) < 0.1, np.nan, rows()).astype(np.float32),
)
for features in (60, 3000):
    NETWORKS[f"{features} sparse columns"] = lambda features=features: trained(
        [dense(), dense("linear", CLASSES)],
        x=sparse.random(ROWS, features, 0.05, "csr", dtype=np.float32, random_state=0),
    )


def hashes():
    """A hash of each network's arrays, which are the same on any number of threads."""
    runs = {name: same_on_any_threads(network, THREADS) for name, network in NETWORKS.items()}
    return {name: hashlib.sha256(b"".join(map(np.ndarray.tobytes, run))).hexdigest()[:16] for name, run in runs.items()}


def main(path, reference=None):
    found = {}
    for isa in build_info()["isas_available"]:
        answer = subprocess.run(
            [sys.executable, __file__], env=os.environ | {"FASTNN_ISA": isa}, stdout=subprocess.PIPE, check=True
        )
        found |= {f"{isa}: {name}": value for name, value in json.loads(answer.stdout).items()}
    Path(path).write_text(json.dumps(found, indent=1) + "\n")
    if not reference:
        return 0
    expected = json.loads(Path(reference).read_text())
    both = found.keys() & expected.keys()
    other = sorted(name for name in both if found[name] != expected[name])
    print(f"{len(both)} networks compared, {len(other)} differ", *other, sep="\n    ")
    return 1 if other or not both else 0


if __name__ == "__main__":
    if len(sys.argv) == 1:  # hashes for one instruction set, which FASTNN_ISA names
        print(json.dumps(hashes()))
    else:
        sys.exit(main(*sys.argv[1:3]))
