"""Models for the tests of Keras's files: each layer, activation, loss, metric and optimizer that Keras has too."""

import functools

import numpy as np

import fastnn
from fastnn import activations, layers, losses, metrics, optimizers
from fastnn.optimizers import schedules

ROWS, FEATURES = 40, 5


def numbers(seed=0, features=FEATURES):
    return np.random.default_rng(seed).normal(size=(ROWS, features)).astype(np.float32)


def whole(below, columns=1, seed=1):
    return np.random.default_rng(seed).integers(0, below, (ROWS, columns))


def words(columns=1, seed=2):
    found = np.array(["red", "green", "blue", "grey"])[np.random.default_rng(seed).integers(0, 4, (ROWS, columns))]
    return found.astype(object)


def adapted(layer, x):
    layer.adapt(x)
    return layer


def _stack(*middle, end=True):
    """Layers after an Input of numbers; a last Dense makes two outputs of them."""
    return [fastnn.Input((FEATURES,)), *middle, *([layers.Dense(2, name="end")] if end else [])]


L2, L1 = fastnn.regularizers.L2(0.01), fastnn.regularizers.L1(0.02)

# name -> (the layers of a new model, x)
STACKS = {
    "dense": lambda: (_stack(layers.Dense(4, "relu", name="hidden")), numbers()),
    "without a bias": lambda: (_stack(layers.Dense(4, "tanh", use_bias=False)), numbers()),
    "penalties": lambda: (
        _stack(
            layers.Dense(
                4, "gelu", kernel_regularizer=L2, bias_regularizer=L1, activity_regularizer=L2,
                kernel_constraint=fastnn.constraints.MaxNorm(1.0), bias_constraint="non_neg",
            ),
            layers.Dense(3, activations.ELU(0.5), activity_regularizer=L1, kernel_constraint="unit_norm"),
            layers.Activation("tanh", activity_regularizer=L2),
            layers.ActivityRegularization(0.01, 0.02),
            layers.Dense(3, kernel_regularizer=fastnn.regularizers.OrthogonalRegularizer(0.1)),
        ),
        numbers(),
    ),
    "initializers": lambda: (
        _stack(
            layers.Dense(4, kernel_initializer="he_normal", bias_initializer=fastnn.initializers.Constant(0.1)),
            layers.Dense(4, kernel_initializer=fastnn.initializers.Orthogonal(0.5, seed=1)),
            layers.Dense(3, bias_initializer=fastnn.initializers.Constant([0.1, 0.2, 0.3])),
        ),
        numbers(),
    ),
    "rectifiers": lambda: (
        _stack(
            layers.Dense(6), layers.PReLU(fastnn.initializers.Constant(0.3)), layers.ReLU(2.0, 0.1, 0.2),
            layers.LeakyReLU(0.4), layers.ELU(0.7), layers.Softmax(),
        ),
        numbers(),
    ),
    "normalizations": lambda: (
        _stack(
            layers.BatchNormalization(momentum=0.8, gamma_regularizer=L2), layers.Dense(6),
            layers.LayerNormalization(beta_constraint="non_neg"), layers.UnitNormalization(), layers.Dense(4),
            layers.BatchNormalization(center=False, scale=False), layers.LayerNormalization(scale=False),
        ),
        numbers(),
    ),
    "rms normalization": lambda: (_stack(layers.Dense(4), layers.RMSNormalization()), numbers()),
    "frozen": lambda: (_frozen(), numbers()),
    "noise": lambda: (
        _stack(
            layers.GaussianNoise(0.1), layers.Dense(4, "selu"), layers.AlphaDropout(0.2), layers.Dropout(0.3, seed=4),
            layers.GaussianDropout(0.1), layers.Dropout(0.0),
        ),
        numbers(),
    ),
    "axes": lambda: (
        [
            fastnn.Input((4, 3)), layers.Activation("tanh"), layers.Rescaling(0.5, 1.0), layers.Reshape((2, -1)),
            layers.Dropout(0.0), layers.Flatten(), layers.Dense(2),
        ],
        numbers(3, 12).reshape(ROWS, 4, 3),
    ),
    "normalization adapted": lambda: (
        _stack(adapted(layers.Normalization(), 3 * numbers() + 1), layers.Dense(3)), 3 * numbers() + 1,
    ),
    "normalization given": lambda: (
        _stack(layers.Normalization(mean=[1.0] * FEATURES, variance=[2.0, 0.0, 1.0, 3.0, 4.0], invert=True)), numbers(),
    ),
    "normalization of columns": lambda: (
        _stack(adapted(layers.Normalization(columns=[3, 1]), 3 * numbers() + 1)), 3 * numbers() + 1,
    ),
    "embedding": lambda: ([fastnn.Input((3,)), layers.Embedding(7, 4), layers.Dense(2)], whole(7, 3)),
    "embedding of one": lambda: (
        [fastnn.Input((1,)), layers.Embedding(7, 4, embeddings_regularizer=L2), layers.Dense(2)], whole(7),
    ),
    "embedding of bins": lambda: (
        [fastnn.Input((2,)), layers.Discretization([-1.0, 0.0, 1.0]), layers.Embedding(4, 3), layers.Dense(2)],
        numbers(features=2),
    ),
    **{
        f"bins {mode} of {columns}": lambda mode=mode, columns=columns: (
            [
                fastnn.Input((columns,)), adapted(layers.Discretization(num_bins=4, output_mode=mode), numbers()),
                layers.Dense(2),
            ],
            numbers(features=columns),
        )
        for mode in ("int", "one_hot", "multi_hot", "count") for columns in (1, 3)
    },
    **{
        f"categories {mode} of {columns}": lambda mode=mode, columns=columns: (
            [fastnn.Input((columns,)), layers.CategoryEncoding(6, mode), layers.Dense(2)], whole(6, columns),
        )
        for mode in ("one_hot", "multi_hot", "count") for columns in (1, 3)
    },
    **{
        f"{kind} {mode} of {columns}": lambda kind=kind, mode=mode, columns=columns: (
            [fastnn.Input((columns,)), _lookup(kind, mode), layers.Dense(2)],
            words(columns) if kind == "words" else whole(5, columns) * 10**6,
        )
        for kind in ("words", "keys") for mode in ("int", "one_hot", "multi_hot", "count") for columns in (1, 3)
    },
    "several unknown keys": lambda: (
        [
            fastnn.Input((2,)), layers.IntegerLookup(num_oov_indices=3, vocabulary=[1, 2], mask_token=0),
            layers.Embedding(8, 2), layers.Dense(2),
        ],
        whole(9, 2),
    ),
    "nested": lambda: (
        [
            fastnn.Input((FEATURES,)),
            fastnn.Sequential([layers.Dense(4, "relu"), layers.BatchNormalization()], name="inner"),
            layers.Dense(4), layers.Stack([layers.Dense(3, name="dense"), layers.Dropout(0.0)]), layers.Dense(2),
        ],
        numbers(),
    ),
    "residual": lambda: (
        _stack(
            layers.Dense(4), layers.Residual([layers.Dense(6, "relu"), layers.LayerNormalization(), layers.Dense(4)]),
            layers.Residual([layers.BatchNormalization(), layers.Residual([layers.Dense(4, "tanh")])]),
        ),
        numbers(),
    ),
    "tangent kernel": lambda: (_stack(layers.Dense(4, "relu", parametrization="ntk")), numbers()),
}  # fmt: skip


# the same of layers that Keras lacks, and that are written as several of its own
STACKS_OF_OURS = {
    "scale": lambda: (_stack(layers.Scale(scale_regularizer=L2, scale_constraint="non_neg")), numbers()),
    "parametric activation": lambda: (
        _stack(layers.Dense(4), layers.ParametricActivation("tanh", fastnn.initializers.Constant(0.4))),
        numbers(),
    ),
    "gated": lambda: (_stack(layers.Dense(8), layers.GLU("silu"), layers.GLU(activity_regularizer=L2)), numbers()),
    "linear embedding": lambda: (_stack(layers.LinearEmbedding(3, "relu")), numbers()),
    "linear embedding of columns": lambda: (_stack(layers.LinearEmbedding(3, columns=[4, 1])), numbers()),
    "periodic embedding": lambda: (_stack(layers.PeriodicEmbedding(4, 3, 0.3, "relu")), numbers()),
    "periodic embedding of columns": lambda: (
        _stack(
            layers.PeriodicEmbedding(
                4, 3, phases=False, densely_connected=False, share_weights=True, columns=[0, 2], activity_regularizer=L2
            )
        ),
        numbers(),
    ),
    "robust normalization": lambda: (
        _stack(layers.RobustNormalization(center=[1.0, 2, 3, 4, 5], factor=[2.0, 0, 0.5, 1, 3])),
        numbers(),
    ),
    "robust normalization of columns": lambda: (
        _stack(adapted(layers.RobustNormalization([3, 0], clip=None), numbers())),
        numbers(),
    ),
    "impute": lambda: (
        _stack(layers.Impute("constant", [0.1, 0.2, 0.3, 0.4, 0.5], add_indicator=True)),
        np.where(numbers(20) > 1, np.nan, numbers()).astype(np.float32),
    ),
    **{
        f"ensemble {sharing}": lambda sharing=sharing: (
            _stack(
                layers.EnsembleScale(3),
                layers.EnsembleDense(4, 3, "softmax" if sharing == "none" else "gelu", sharing=sharing),
            ),
            numbers(),
        )
        for sharing in ("adapted", "full", "none")
    },
}
# the same of layers that Keras cannot train as they are trained here
SERVED = {
    "targets": lambda: (
        _stack(layers.Dense(2), layers.TargetScaling([1.0, 2.0], [3.0, 4.0], [-1.0, -2.0], [4.0, 3.0]), end=False),
        numbers(),
    ),
    "mean": lambda: (_stack(layers.EnsembleDense(2, 5, sharing="none"), layers.EnsembleMean(5), end=False), numbers()),
    "noise by a schedule": lambda: (_stack(layers.Dropout(schedules.FlatCosine(0.2))), numbers()),
}


def _frozen():
    stack = _stack(layers.Dense(4, name="kept"), layers.BatchNormalization(), layers.Dense(3, "relu"))
    stack[1].trainable = stack[2].trainable = False
    return stack


def _lookup(kind, mode):
    if kind == "words":
        return layers.StringLookup(vocabulary=["blue", "red", "green"], output_mode=mode)
    seen = np.array([[0], [10**6], [10**6], [3 * 10**6]])
    return adapted(layers.IntegerLookup(output_mode=mode, max_tokens=4, pad_to_max_tokens=mode != "int"), seen)


ACTIVATIONS = {
    **{name: name for name in (
        "celu", "elu", "exponential", "gelu", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu", "linear",
        "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softmax", "softplus",
        "softsign", "squareplus", "tanh", "smooth_clip", "cos",
    )},
    "relu of three": activations.ReLU(0.2, 1.5, 0.3), "leaky": activations.LeakyReLU(0.05),
    "elu of half": activations.ELU(0.5),
    "celu of half": activations.CELU(0.5), "gelu by tanh": activations.GELU(approximate=True),
    "squareplus of two": activations.Squareplus(2.0), "clip at half": activations.SmoothClip(0.5),
}  # fmt: skip


def branches():
    """Four inputs, one of them as it is, and one trunk."""
    inputs = {
        "size": [layers.Input((3,)), adapted(layers.Normalization(), numbers(4, 3)), layers.Dense(4, "relu")],
        "kind": [layers.Input((1,)), layers.StringLookup(vocabulary=["red", "blue"]), layers.Embedding(3, 2)],
        "code": [layers.Input((2,)), layers.Embedding(5, 2), layers.Dense(3), layers.Dense(2)],
        "rest": [layers.Input((2,))],
    }
    x = {"size": numbers(4, 3), "kind": words(), "code": whole(5, 2), "rest": numbers(5, 2)}
    return [layers.Branches(inputs), layers.Dense(6, "tanh")], x


def heads(trunk, x):
    """Three outputs after a trunk, their targets, and a loss for each."""
    outputs = {
        "price": [layers.Dense(4, "relu"), layers.Dense(1)],
        "kind": [layers.Dense(3, "softmax")],
        "as_it_is": [],
    }
    y = {"price": numbers(6, 1), "kind": whole(3, seed=7)[:, 0], "as_it_is": numbers(8, 6)}
    compiled = {
        "loss": {"price": "mse", "kind": "sparse_categorical_crossentropy", "as_it_is": "mae"},
        "loss_weights": {"price": 2.0, "kind": 0.5, "as_it_is": 1.0},
        "metrics": {"kind": ["accuracy"], "price": ["mae", "mse"]},
    }
    return [*trunk, layers.Heads(outputs)], x, y, compiled


GRAPHS = {
    "branches": lambda: (*_with_end(*branches()), numbers(9, 1), {"loss": "mse"}),
    "heads": lambda: heads([fastnn.Input((FEATURES,)), layers.Dense(6, "relu")], numbers()),
    "branches and heads": lambda: heads(*branches()),
    "one branch": lambda: (
        [layers.Branches({"only": [layers.Input((FEATURES,)), layers.Dense(3)]}), layers.Dense(1)],
        {"only": numbers()}, numbers(9, 1), {"loss": "mse"},
    ),
    "one head": lambda: (
        [fastnn.Input((FEATURES,)), layers.Heads({"only": [layers.Dense(1, "sigmoid")]})],
        numbers(), {"only": whole(2)}, {"loss": {"only": "binary_crossentropy"}, "metrics": {"only": ["accuracy"]}},
    ),
}  # fmt: skip


def _with_end(stack, x):
    return [*stack, layers.Dense(1)], x


# name -> what makes an optimizer
OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.1),
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True, clipnorm=0.5),
    "adam": lambda: optimizers.Adam(0.02, global_clipnorm=0.5),
    "amsgrad": lambda: optimizers.Adam(0.02, amsgrad=True, clipvalue=0.1),
    "adamw": lambda: optimizers.AdamW(0.02, 0.1, 0.8, 0.95, 1e-5),
    "nadam": lambda: optimizers.Nadam(0.02),
    "adamax": lambda: optimizers.Adamax(0.02),
    "rmsprop": lambda: optimizers.RMSprop(0.02),
    "rmsprop centered": lambda: optimizers.RMSprop(0.02, 0.8, 0.5, centered=True),
    "adagrad": lambda: optimizers.Adagrad(0.1, 0.2),
    "adadelta": lambda: optimizers.Adadelta(1.0),
    "lion": lambda: optimizers.Lion(0.01),
    "adafactor": lambda: optimizers.Adafactor(0.05),
    "muon": lambda: optimizers.Muon(0.05),
    "muon without some": lambda: optimizers.Muon(0.05, exclude_layers=["end", "hid"], adam_weight_decay=None),
    "average": lambda: optimizers.SGD(0.1, use_ema=True, ema_momentum=0.6),
    "average in place": lambda: optimizers.Adam(0.05, use_ema=True, ema_momentum=0.6, ema_overwrite_frequency=2),
    "gathered": lambda: optimizers.Adam(0.05, gradient_accumulation_steps=2),
    "gathered average": lambda: optimizers.RMSprop(0.05, gradient_accumulation_steps=2, use_ema=True),
    "exponential": lambda: optimizers.SGD(schedules.ExponentialDecay(0.2, 3, 0.5, staircase=True)),
    "inverse time": lambda: optimizers.SGD(schedules.InverseTimeDecay(0.2, 3, 0.5)),
    "pieces": lambda: optimizers.SGD(schedules.PiecewiseConstantDecay([2, 4], [0.2, 0.1, 0.05])),
    "polynomial": lambda: optimizers.SGD(schedules.PolynomialDecay(0.2, 5, 0.01, 2.0, cycle=True)),
    "cosine": lambda: optimizers.Adam(schedules.CosineDecay(0.01, 6, 0.1, warmup_target=0.1, warmup_steps=2)),
    "cosine restarts": lambda: optimizers.SGD(schedules.CosineDecayRestarts(0.2, 2, 1.5, 0.9, 0.1)),
}

# name -> (outputs, last activation, targets, loss)
_ONE_HOT = np.eye(3, dtype=np.float32)[whole(3, seed=11)[:, 0]]
_SIGNS = 2 * whole(2, 3, seed=12) - 1
_POSITIVE = np.abs(numbers(13, 3)) + 0.1
LOSSES = {
    "mse": (3, "linear", numbers(10, 3), losses.MeanSquaredError()),
    "mse sum": (3, "linear", numbers(10, 3), losses.MeanSquaredError(reduction="sum")),
    "half mse": (3, "linear", numbers(10, 3), losses.HalfMeanSquaredError()),
    "mae": (3, "linear", numbers(10, 3), losses.MeanAbsoluteError()),
    "mape": (3, "softplus", _POSITIVE, losses.MeanAbsolutePercentageError()),
    "msle": (3, "softplus", _POSITIVE, losses.MeanSquaredLogarithmicError()),
    "huber": (3, "linear", numbers(10, 3), losses.Huber(0.5, name="mine")),
    "log cosh": (3, "linear", numbers(10, 3), losses.LogCosh()),
    "poisson": (3, "softplus", _POSITIVE, losses.Poisson()),
    "kld": (3, "softmax", _ONE_HOT * 0.9 + 0.03, losses.KLDivergence()),
    "hinge": (3, "linear", _SIGNS, losses.Hinge()),
    "squared hinge": (3, "linear", _SIGNS, losses.SquaredHinge()),
    "categorical hinge": (3, "linear", _ONE_HOT, losses.CategoricalHinge()),
    "cosine similarity": (3, "linear", numbers(10, 3), losses.CosineSimilarity()),
    "binary": (3, "sigmoid", whole(2, 3), losses.BinaryCrossentropy(label_smoothing=0.1)),
    "binary logits": (1, "linear", whole(2), losses.BinaryCrossentropy(from_logits=True)),
    "binary focal": (
        3, "sigmoid", whole(2, 3), losses.BinaryFocalCrossentropy(apply_class_balancing=True, alpha=0.3, gamma=1.5),
    ),
    "categorical": (3, "softmax", _ONE_HOT, losses.CategoricalCrossentropy(label_smoothing=0.2)),
    "categorical logits": (3, "linear", _ONE_HOT, losses.CategoricalCrossentropy(from_logits=True)),
    "categorical focal": (3, "softmax", _ONE_HOT, losses.CategoricalFocalCrossentropy(gamma=1.0)),
    "sparse": (3, "softmax", whole(3)[:, 0], losses.SparseCategoricalCrossentropy()),
    "sparse ignoring": (
        3, "linear", whole(3)[:, 0], losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1),
    ),
    "tversky": (3, "sigmoid", whole(2, 3), losses.Tversky(0.3, 0.7)),
    "dice": (3, "sigmoid", whole(2, 3), losses.Dice()),
}  # fmt: skip

# name -> (the loss it stands beside, the metric)
METRICS = {
    **{
        name: ("mse", getattr(metrics, name)())
        for name in (
            "MeanSquaredError", "RootMeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError",
            "MeanSquaredLogarithmicError", "LogCoshError", "CosineSimilarity", "R2Score",
        )
    },
    **{name: ("poisson", getattr(metrics, name)()) for name in ("Poisson", "KLDivergence")},
    **{name: ("hinge", getattr(metrics, name)()) for name in ("Hinge", "SquaredHinge")},
    **{
        name: ("categorical", getattr(metrics, name)())
        for name in ("CategoricalHinge", "CategoricalAccuracy", "CategoricalCrossentropy")
    },
    **{
        name: ("sparse", getattr(metrics, name)())
        for name in ("SparseCategoricalAccuracy", "SparseCategoricalCrossentropy")
    },
    **{
        name: ("binary", getattr(metrics, name)())
        for name in (
            "BinaryAccuracy", "BinaryCrossentropy", "AUC", "Precision", "Recall", "TruePositives", "TrueNegatives",
            "FalsePositives", "FalseNegatives",
        )
    },
    "accuracy": ("sparse", "accuracy"), "acc": ("binary", "acc"), "by name": ("mse", "mae"), "auc": ("binary", "auc"),
    "top k": ("categorical", metrics.TopKCategoricalAccuracy(2)),
    "sparse top k": ("sparse", metrics.SparseTopKCategoricalAccuracy(2, name="two")),
    "auc pr": ("binary", metrics.AUC(50, curve="PR", name="pr")),
    "precision above": ("binary", metrics.Precision([0.3, 0.6])),
    "recall of a class": ("binary", metrics.Recall(class_id=1)),
    "precision at recall": ("binary", metrics.PrecisionAtRecall(0.5)),
    "recall at precision": ("binary", metrics.RecallAtPrecision(0.5)),
    "sensitivity": ("binary", metrics.SensitivityAtSpecificity(0.5)),
    "specificity": ("binary", metrics.SpecificityAtSensitivity(0.5)),
    "f1": ("categorical", metrics.F1Score("macro")), "fbeta": ("categorical", metrics.FBetaScore(beta=2.0)),
    "iou": ("sparse", metrics.IoU(3, [0, 2], sparse_y_pred=False)),
    "mean iou": ("sparse", metrics.MeanIoU(3, sparse_y_pred=False)),
    "one hot mean iou": ("categorical", metrics.OneHotMeanIoU(3)),
}  # fmt: skip


def network(stack, seed=3):
    """Return a model whose weights are all random, moving statistics too."""
    fastnn.utils.set_random_seed(seed)
    model = fastnn.Sequential(stack)
    generator = np.random.default_rng(seed)
    model.set_weights([w + 0.1 * generator.random(w.shape) for w in model.get_weights()])
    return model


def cases():
    """Return for each name what makes a model, x and y; it has trained for two epochs, unless y is None."""

    def of_stack(make, trains):
        stack, x = make()
        model = network(stack)
        if not trains:
            return model, x, None
        return trained(model, x, numbers(10, model.output_shape[1]), {"loss": "mse"})

    def trained(model, x, y, compiled, optimizer=None):
        model.compile(optimizer or optimizers.SGD(0.01, momentum=0.9), **compiled)
        model.fit(x, y, epochs=2, batch_size=ROWS, shuffle=False, verbose=0)
        return model, x, y

    def of_graph(make):
        stack, x, y, compiled = make()
        return trained(network(stack), x, y, compiled)

    def of_optimizer(make):
        stack = [
            fastnn.Input((FEATURES,)),
            layers.Dense(6, "tanh", name="hidden"),
            layers.Dense(3, name="frozen"),
            layers.Dense(2, name="end"),
        ]
        stack[2].trainable = False
        return trained(network(stack), numbers(), numbers(10, 2), {"loss": "mse"}, make())

    return {
        **{
            name: functools.partial(of_stack, make, name not in SERVED and name != "noise")
            for name, make in (STACKS | STACKS_OF_OURS | SERVED).items()
        },
        **{name: functools.partial(of_graph, make) for name, make in GRAPHS.items()},
        **{f"trained by {name}": functools.partial(of_optimizer, make) for name, make in OPTIMIZERS.items()},
    }
