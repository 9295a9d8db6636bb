"""Stacks of every layer, and rows for each: what is written as ONNX, and read again."""

import numpy as np
from onnx_answers import with_weights

import fastnn
from fastnn import layers

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(9, 4))
MISSING = np.where(GENERATOR.random((9, 4)) < 0.3, np.nan, X)
WHOLE = GENERATOR.integers(0, 3, (9, 4))
WORDS = np.array([["red", "a"], ["green", "b"], ["blue", "a"], ["pink", "c"], ["red", "a"]], object)
NUMBERS = np.array([[404, 1], [200, 7], [-5, 1], [10**15, 2], [404, 404]])
EDGES = [[0.0, 1.0], [-1.0, 0.0, 0.5], [-0.5, 0.1], [-2.0, -1.0, 1.0, 2.0]]


def adapted(layer, data):
    layer.adapt(data)
    return layer


def of_columns(make, **more):
    """Stacks of a layer that takes all columns, or some of them."""
    return [(lambda columns=columns: [make(columns=columns, **more)], X) for columns in (None, [1, 3], [2])]


# Stacks that have a layer of this class in them, and rows for each.
CASES = {
    "Activation": [(lambda: [layers.Activation("tanh")], X)],
    "ActivityRegularization": [(lambda: [layers.ActivityRegularization(0.1)], X)],
    "AlphaDropout": [(lambda: [layers.AlphaDropout(0.1), layers.Dense(2)], X)],
    "BatchNormalization": [
        (lambda: [layers.BatchNormalization()], X),
        (lambda: [layers.BatchNormalization(center=False, scale=False, epsilon=0.5)], X),
        (lambda: [layers.Rescaling(1.0, 5000.0), layers.BatchNormalization(moving_mean_initializer="ones")], X),
    ],
    "Branches": [
        (
            lambda: [
                layers.Branches(
                    {
                        "size": [layers.Input((2,)), layers.Dense(3, "relu")],
                        "kind": [layers.Input((1,)), layers.Embedding(3, 2)],
                        "rest": [layers.Input((2,))],
                    }
                ),
                layers.Dense(2),
            ],
            {"size": X[:, :2], "kind": WHOLE[:, :1], "rest": X[:, 2:]},
        )
    ],
    "CategoricalEmbedding": [
        (lambda: [adapted(layers.CategoricalEmbedding(one_hot_limit=1), WORDS[:3])], WORDS),
        (lambda: [adapted(layers.CategoricalEmbedding(one_hot_limit=2, units=3), WORDS[:3])], WORDS),
        (lambda: [adapted(layers.CategoricalEmbedding(binary="one_hot"), WORDS[:3])], WORDS),
        (lambda: [adapted(layers.CategoricalEmbedding(one_hot_limit=2), WHOLE[:4, :2]), layers.Dense(2)], WHOLE[:, :2]),
        (lambda: [layers.CategoricalEmbedding(1, 2, columns=[1, 2], vocabularies=[[0, 1], [0.1, 2]])], MISSING),
    ],
    "CategoryEncoding": [
        (lambda mode=mode: [layers.CategoryEncoding(3, mode)], WHOLE) for mode in ("one_hot", "multi_hot", "count")
    ],
    "Dense": [
        (lambda: [layers.Dense(3)], X),
        (lambda: [layers.Dense(3, "relu", use_bias=False), layers.Dense(1)], X),
    ],
    "Discretization": [
        (lambda mode=mode: [layers.Discretization([-0.5, 0.0, 0.7], output_mode=mode)], MISSING)
        for mode in ("int", "one_hot", "multi_hot", "count")
    ]
    + [
        (lambda: [layers.Discretization([]), layers.Embedding(1, 2)], X),
        (lambda: [layers.Discretization(np.linspace(-2, 2, 200)), layers.Embedding(201, 2)], MISSING),
    ],
    "Dropout": [(lambda: [layers.Dropout(0.5), layers.Dense(2), layers.Dropout(0.5)], X)],
    "ELU": [(lambda: [layers.ELU(0.3)], X)],
    "Embedding": [
        (lambda: [layers.Embedding(3, 2)], WHOLE),
        (lambda: [layers.Embedding(3, 2)], WHOLE[:, :1]),
    ],
    "EnsembleDense": [
        (lambda f=f, s=s: [layers.EnsembleScale(2), layers.EnsembleDense(3, 2, f, sharing=s)], X)
        for f in ("relu", "softmax")
        for s in ("adapted", "full", "none")
    ],
    "EnsembleMean": [(lambda: [layers.EnsembleMean(2)], X)],
    "EnsembleScale": [(lambda: [layers.EnsembleScale(3)], X)],
    "Flatten": [(lambda: [layers.Input((2, 2)), layers.Flatten(), layers.Dense(2)], X.reshape(-1, 2, 2))],
    "GLU": [(lambda: [layers.GLU("silu")], X)],
    "GaussianDropout": [(lambda: [layers.GaussianDropout(0.5), layers.Dense(1)], X)],
    "GaussianNoise": [(lambda: [layers.GaussianNoise(0.5)], X)],
    "Heads": [
        (lambda: [layers.Heads({"price": [layers.Dense(1)], "kind": [layers.Dense(3, "softmax")]})], X),
        (lambda: [layers.Dense(2), layers.Heads({"a": [], "b": [], "c": [layers.ReLU()]})], X),
    ],
    "Impute": [
        (lambda: [layers.Impute("constant", [1.0, 2.0, 3.0, 4.0])], MISSING),
        (lambda: [layers.Impute("constant", 7.0, add_indicator=True), layers.Dense(2)], MISSING),
        (lambda: [layers.Impute("constant", 7.0, add_indicator=True, columns=[1, 2])], np.nan_to_num(MISSING)),
    ],
    "Input": [(lambda: [layers.Input((4,)), layers.Dense(1)], X)],
    "IntegerLookup": [
        (lambda m=m, n=n: [layers.IntegerLookup(None, n, 1, vocabulary=[200, 404], output_mode=m)], NUMBERS)
        for m in ("int", "one_hot", "multi_hot", "count")
        for n in (1, 3)
    ],
    "LayerNormalization": [
        (lambda: [layers.LayerNormalization()], X),
        (lambda: [layers.LayerNormalization(epsilon=0.1, center=False, scale=False)], X),
    ],
    "LeakyReLU": [(lambda: [layers.LeakyReLU(0.1)], X)],
    "LinearEmbedding": [
        *of_columns(lambda **k: layers.LinearEmbedding(3, "relu", **k)),
        (lambda: [layers.LinearEmbedding(1)], X),
    ],
    "Normalization": [
        *of_columns(lambda **k: layers.Normalization(**k)),
        (lambda: [layers.Normalization(mean=[1, 2, 3, 4], variance=[4, 0, 1e-30, 1], invert=True)], X),
    ],
    "PReLU": [(lambda: [layers.PReLU()], X)],
    "ParametricActivation": [(lambda: [layers.ParametricActivation("mish")], X)],
    "PeriodicEmbedding": [
        *of_columns(lambda **k: layers.PeriodicEmbedding(5, 2, **k)),
        (lambda: [layers.PeriodicEmbedding(5, 2, 0.1, "relu", phases=False, densely_connected=False)], X),
        (lambda: [layers.PeriodicEmbedding(5, 2, share_weights=True, phases=False)], X),
    ],
    "PiecewiseLinearEncoding": [
        (lambda: [layers.PiecewiseLinearEncoding(bin_edges=EDGES)], X),
        (lambda: [layers.PiecewiseLinearEncoding(bin_edges=EDGES[1:3], columns=[0, 2])], X),
        (lambda: [layers.PiecewiseLinearEncoding(bin_edges=EDGES, units=3, activation="relu")], X),
        (lambda: [layers.PiecewiseLinearEncoding(bin_edges=EDGES, units=3, linear=True)], X),
        (lambda: [layers.PiecewiseLinearEncoding(bin_edges=EDGES)], MISSING),
    ],
    "QuantileNormalization": [
        (lambda: [layers.QuantileNormalization(knots=np.sort(X[:5].T))], MISSING),
        (lambda: [adapted(layers.QuantileNormalization(), np.round(X * 2))], np.round(X * 2)),
        (lambda: [adapted(layers.QuantileNormalization(columns=[1]), np.sort(np.tile(X, (30, 1))))], X),
        (lambda: [layers.QuantileNormalization(knots=[[0.0, 0.0, 0.0]] * 4)], np.sign(np.round(X))),
    ],
    "RMSNormalization": [(lambda: [layers.RMSNormalization()], X)],
    "ReLU": [(lambda: [layers.ReLU(1.0, 0.5, 0.25)], X), (lambda: [layers.ReLU(threshold=0.5)], X)],
    "Rescaling": [(lambda: [layers.Rescaling(0.5, 3.0)], X), (lambda: [layers.Rescaling(2)], X)],
    "Reshape": [(lambda: [layers.Input((4,)), layers.Reshape((2, 2)), layers.Flatten()], X)],
    "Residual": [
        (lambda: [layers.Residual([layers.Dense(8, "relu"), layers.Dense(4)]), layers.Dense(1)], X),
        (lambda: [layers.Residual([layers.Dropout(0)]), layers.Residual([layers.Residual([layers.Scale()])])], X),
        (lambda: [layers.Residual([layers.Normalization(columns=[1])])], X),
    ],
    "RobustNormalization": [
        (lambda: [adapted(layers.RobustNormalization(), X)], X * 100),
        (lambda: [adapted(layers.RobustNormalization([0, 3], None), X)], X),
    ],
    "Scale": [(lambda: [layers.Scale()], X)],
    "Softmax": [(lambda: [layers.Softmax()], X)],
    "Stack": [(lambda: [layers.Stack([layers.Dense(3), layers.Stack([layers.ReLU()])]), layers.Dense(1)], X)],
    "StringLookup": [
        (lambda m=m: [layers.StringLookup(None, 1, "a", vocabulary=["red", "blue"], output_mode=m)], WORDS)
        for m in ("int", "one_hot", "multi_hot", "count")
    ]
    + [(lambda: [layers.StringLookup(vocabulary=["red", "a"]), layers.Embedding(9, 2), layers.Dense(1)], WORDS)],
    "TargetScaling": [
        (lambda: [layers.Dense(2), layers.TargetScaling([1.0, 2.0], [3.0, 4.0], -1.0, [2.0, 9.0])], X),
        (lambda: [layers.TargetScaling(100.0, 7.0, clip=False)], X),
    ],
    "UnitNormalization": [(lambda: [layers.UnitNormalization()], X)],
}
NO_LAYERS = {"InputLayer": "what Input returns", "Layer": "the base of all", "deserialize": "", "serialize": ""}
PAIRS = [(name, k) for name, cases in CASES.items() for k in range(len(cases))]


def built(name, k, dtype):
    make, x = CASES[name][k]
    stack = make()
    vars(stack[0])["dtype"] = dtype
    model = fastnn.Sequential(stack)
    if not model.built:
        model.build({key: values.shape for key, values in x.items()} if isinstance(x, dict) else x.shape)
    return with_weights(model) if model.weights else model, x
