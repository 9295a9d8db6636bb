"""Every loss of the registry, through the same properties: formula, gradient, weights, configuration."""

import numpy as np
import pytest

import fastnn
from fastnn import layers, losses

ROWS = 24

# Losses whose constants or inputs deserve more than one setting; every other loss is tested with its defaults.
SETTINGS = {
    "Huber": [{}, {"delta": 0.3}],
    "BinaryCrossentropy": [{}, {"label_smoothing": 0.2}, {"from_logits": True, "label_smoothing": 0.1}],
    "CategoricalCrossentropy": [{}, {"label_smoothing": 0.2}, {"from_logits": True, "label_smoothing": 0.1}],
    "SparseCategoricalCrossentropy": [{}, {"from_logits": True}, {"ignore_class": -1}, {"ignore_class": 2}],
    "BinaryFocalCrossentropy": [
        {},
        {"apply_class_balancing": True, "alpha": 0.4, "gamma": 0.5},
        {"from_logits": True, "gamma": 0.0},
        {"from_logits": True, "label_smoothing": 0.1},
    ],
    "CategoricalFocalCrossentropy": [
        {},
        {"alpha": [0.1, 0.2, 0.3, 0.4], "gamma": 0.7},
        {"from_logits": True, "label_smoothing": 0.1},
        {"gamma": 0.0},
    ],
    "Quantile": [{"quantiles": [0.1, 0.6]}, {"quantiles": 0.5}],
    "Tversky": [{}, {"alpha": 0.3, "beta": 0.7}],
    "GaussianNLL": [{}, {"full": True, "epsilon": 0.1}],
    "Poisson": [{}, {"epsilon": 0.1}, {"epsilon": 1e-30}],
}
REGISTERED = sorted(set(losses._registry._members.values()), key=lambda member: member.__name__)
CASES = [
    pytest.param(member(**config), id=f"{member.__name__}-{k}")
    for member in REGISTERED
    for k, config in enumerate(SETTINGS.get(member.__name__, [{}]))
]


def sample(loss, rows=ROWS, outputs=4, seed=0):
    """Return outputs and targets in the loss's domain, away from places where its derivative jumps."""
    generator = np.random.default_rng(seed)
    y = generator.normal(size=(rows, outputs))
    columns = loss.target_columns(outputs)
    name = type(loss).__name__
    if loss.targets == losses.LABELS:
        t = generator.integers(0, outputs, rows).astype(np.int32)
        t[:3] = t[:3] if loss.ignore_class is None else loss.ignore_class
    elif name.startswith(("Categorical", "KLD")):
        t = np.eye(outputs)[generator.integers(0, outputs, rows)]
        t[rows // 2 :] = generator.dirichlet(np.ones(outputs), rows - rows // 2)
    elif "Hinge" in name or name.startswith(("Binary", "Tversky", "Dice")):
        t = generator.integers(0, 2, (rows, columns)).astype(float)
    elif name in ("Poisson", "MeanSquaredLogarithmicError"):
        t = generator.integers(0, 5, (rows, columns)).astype(float)
    else:
        t = generator.normal(size=(rows, columns))
    of_probabilities = "rossentropy" in name or name in ("KLDivergence", "Tversky", "Dice")
    if of_probabilities and not getattr(loss, "from_logits", False):
        y = generator.uniform(0.05, 0.95, size=y.shape)
    elif name in ("Poisson", "MeanSquaredLogarithmicError"):
        y = np.exp(y)
    return y, t


def engine_of(loss, outputs=4, dtype="float64", activation=None):
    """Return an engine with output f(input + 0): the bias's gradient is the gradient by the value before f."""
    model = fastnn.Sequential([layers.Dense(outputs, activation, input_shape=(outputs,), dtype=dtype)])
    model.layers[0].kernel[...] = np.eye(outputs)
    model._engine.compile([loss.head(outputs)])
    return model._engine


def bias_gradient(engine, outputs=4):
    return engine.gradients[engine.plan.parameters[1].offset :][:outputs].copy()


def differences(loss, y, t, step=1e-6):
    """Return the derivative of the loss of these rows by each output."""
    gradient = np.zeros(y.shape)
    for index in np.ndindex(*y.shape):
        ends = []
        for sign in (1, -1):
            moved = y.copy()
            moved[index] += sign * step
            ends.append(loss(t, moved))
        gradient[index] = (ends[0] - ends[1]) / (2 * step)
    return gradient


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", CASES)
def test_the_engine_computes_the_formula(loss, dtype):
    y, t = (array.astype(dtype) if array.dtype == np.float64 else array for array in sample(loss))
    expected = loss(t, y)
    # Float64: the same terms, rounded in another order. Float32: the same inputs, but a softmax rounded to 24 bits.
    tolerance = 1e-6 if dtype == "float32" else 1e-13
    sums = engine_of(loss, dtype=dtype).evaluate(y, t)
    assert abs(sums[0] / ROWS - expected) <= tolerance * max(1, abs(expected))


@pytest.mark.parametrize("loss", CASES)
def test_the_gradient_is_that_of_the_formula(loss):
    engine = engine_of(loss)
    y, t = sample(loss)
    for i in range(6):
        row, target = y[i : i + 1], t[i : i + 1]
        sums = engine.batch_gradient(row, target)
        assert abs(sums[0] - loss(target, row)) <= 1e-13 * max(1, abs(sums[0]))
        expected = differences(loss, row, target)[0]
        # Central differences with step 1e-6: 1e-12 from the third derivative, 1e-10 from rounding of the loss.
        np.testing.assert_allclose(bias_gradient(engine), expected, rtol=1e-6, atol=2e-8 * max(1, abs(sums[0])))


CROSSENTROPIES = [loss for loss in CASES if type(loss.values[0]).__name__.endswith("ategoricalCrossentropy")]


# A row of up to 64 bytes, of up to 128 and a longer one are computed in three ways.
@pytest.mark.parametrize("columns", [2, 8, 9, 10, 16, 17, 31, 32, 33, 50])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", CROSSENTROPIES)
def test_crossentropies_of_rows_of_any_width(loss, dtype, columns):
    """Loss and gradient p sum(t) - t of logits; tolerances are some roundings of terms of up to 20."""
    generator = np.random.default_rng(columns)
    z = (3 * generator.normal(size=(ROWS, columns))).astype(dtype)
    _, t = sample(loss, outputs=columns)
    t = t if loss.targets == losses.LABELS else t.astype(dtype)
    wide = z.astype("float64") - z.max(1, keepdims=True)
    p = np.exp(wide) / np.exp(wide).sum(1, keepdims=True)
    smoothing = getattr(loss, "label_smoothing", 0.0)
    labels = loss.targets == losses.LABELS
    counts = t != loss.ignore_class if labels else np.ones(ROWS, bool)
    targets = np.eye(columns)[np.where(counts, t, 0)] if labels else t * (1 - smoothing) + smoothing / columns
    targets = targets * counts[:, None]
    gradient = (p * targets.sum(1, keepdims=True) - targets).sum(0) / counts.sum()
    engine = engine_of(loss, columns, dtype, None if getattr(loss, "from_logits", False) else "softmax")
    value = engine.batch_gradient(z, t)[0] / ROWS
    expected, tolerance = -(targets * np.log(p)).sum() / counts.sum(), 1e-6 if dtype == "float32" else 1e-14
    assert abs(value - expected) < 10 * tolerance * max(1, expected)
    np.testing.assert_allclose(bias_gradient(engine, columns), gradient, rtol=10 * tolerance, atol=tolerance)


@pytest.mark.parametrize("loss", CASES)
def test_rows_know_nothing_of_each_other(loss):
    engine = engine_of(loss)
    y, t = sample(loss)
    weights = np.random.default_rng(3).uniform(0, 2, ROWS)
    counts = loss._counts(t) if loss.targets == losses.LABELS else np.ones(ROWS)
    total = np.zeros(5)
    for i in np.flatnonzero(counts):
        sums = engine.batch_gradient(y[i : i + 1], t[i : i + 1])
        total += weights[i] * np.r_[sums[0], bias_gradient(engine)]
    sums = engine.batch_gradient(y, t, weights=weights)
    together = np.r_[sums[0] / ROWS, bias_gradient(engine)]
    np.testing.assert_allclose(together, total / counts.sum(), rtol=1e-12, atol=1e-13)
    assert abs(sums[0] / ROWS - loss(t, y, weights)) <= 1e-12 * max(1, abs(sums[0]))


@pytest.mark.parametrize("reduction", ["mean", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("loss", [losses.MeanSquaredError, losses.SparseCategoricalCrossentropy])
def test_reductions(loss, reduction):
    loss = loss(reduction=reduction)
    y, t = sample(loss)
    y = np.abs(y)
    weights = np.random.default_rng(3).uniform(0, 2, ROWS)
    engine = engine_of(loss)
    for given in (None, weights):
        expected = loss(t, y, given)
        sums = engine.batch_gradient(y, t, weights=given)
        assert abs(sums[0] / ROWS - expected) <= 1e-13 * abs(expected)
        slope = (loss(t, y + 1e-6, given) - loss(t, y - 1e-6, given)) / 2e-6
        assert abs(bias_gradient(engine).sum() - slope) < 1e-7 * max(1, abs(expected))


@pytest.mark.parametrize("loss", CASES)
def test_rows_without_weight_and_batches_without_a_row_that_counts(loss):
    engine = engine_of(loss)
    y, t = sample(loss)
    sums = engine.batch_gradient(y, t, weights=np.zeros(ROWS))
    assert sums[0] == 0
    assert not bias_gradient(engine).any()
    if getattr(loss, "ignore_class", None) is not None:
        sums = engine.batch_gradient(y[:3], t[:3])
        assert sums[0] == 0
        assert not bias_gradient(engine).any()


FUSED = [
    ("sigmoid", losses.BinaryCrossentropy()),
    ("sigmoid", losses.BinaryCrossentropy(label_smoothing=0.3)),
    ("softmax", losses.CategoricalCrossentropy()),
    ("softmax", losses.CategoricalCrossentropy(label_smoothing=0.3)),
    ("softmax", losses.SparseCategoricalCrossentropy()),
    ("softmax", losses.SparseCategoricalCrossentropy(ignore_class=2)),
]


@pytest.mark.parametrize(("activation", "loss"), FUSED)
def test_loss_and_activation_as_one_are_the_loss_of_the_activation(activation, loss):
    """Fused with the activation, the loss reads logits; alone it reads probabilities, none of which is clipped here."""
    z, t = sample(loss, seed=1)
    z = np.random.default_rng(1).normal(size=z.shape)
    function = {"sigmoid": lambda z: 1 / (1 + np.exp(-z)), "softmax": lambda z: np.exp(z) / np.exp(z).sum(1)[:, None]}

    def of_logits(t, z):
        return loss(t, function[activation](z))

    engine = engine_of(loss, activation=activation)
    for i in range(6):
        sums = engine.batch_gradient(z[i : i + 1], t[i : i + 1])
        assert abs(sums[0] - of_logits(t[i : i + 1], z[i : i + 1])) < 1e-13
        expected = differences(of_logits, z[i : i + 1], t[i : i + 1])[0]
        np.testing.assert_allclose(bias_gradient(engine), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("loss", CASES)
def test_the_configuration_goes_there_and_back(loss):
    again = losses.get(losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    y, t = sample(loss)
    assert again(t, y) == loss(t, y)


@pytest.mark.parametrize("member", REGISTERED)
def test_names_and_reduction(member):
    assert type(losses.get(member.name)) is member
    loss = member(name="mine", reduction="sum")
    assert loss.name == "mine"
    assert losses.get(losses.serialize(loss)).get_config() == loss.get_config()
    with pytest.raises(ValueError, match=r"reduction must name how .* 'none'"):
        member(reduction="none")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: losses.Huber(delta=0), ValueError, "delta must be more than 0"),
        (lambda: losses.Huber(delta="1"), TypeError, "delta must be a number, got str"),
        (lambda: losses.BinaryCrossentropy(label_smoothing=1.5), ValueError, "label_smoothing must be from 0 to 1"),
        (lambda: losses.BinaryCrossentropy(from_logits=1), TypeError, "from_logits must be True or False, got 1"),
        (lambda: losses.Quantile([0.5, 2]), ValueError, "quantiles must be from 0 to 1, got 2"),
        (lambda: losses.Quantile([]), ValueError, "quantiles must hold at least one number"),
        (lambda: losses.Quantile([0.1, 0.9]).head(3), ValueError, "a loss of 2 quantiles needs 2 outputs .* got 3"),
        (lambda: losses.GaussianNLL().head(3), ValueError, "needs a mean and a variance for each target, got 3"),
        (lambda: losses.GaussianNLL(epsilon=float("nan")), ValueError, "epsilon must be at least 1e-30, got nan"),
        (lambda: losses.CategoricalFocalCrossentropy(alpha=[1, 2]).head(3), ValueError, "for each of the 3 outputs"),
        (lambda: losses.SparseCategoricalCrossentropy(ignore_class="a"), TypeError, "must be an integer or None"),
        (lambda: losses.SparseCategoricalCrossentropy(ignore_class=2**40), ValueError, "must fit 32 bits"),
        (lambda: losses.get("hubert"), ValueError, "did you mean 'huber'"),
        (lambda: losses.get(losses.Loss()), TypeError, "derive from .*CustomLoss, got Loss, which has no rule"),
        (lambda: losses.get(losses.CustomLoss), TypeError, "got CustomLoss, which has no rule"),
    ],
)
def test_bad_arguments_get_one_sentence(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("loss", [losses.MeanSquaredError(), losses.FunctionLoss(lambda t, y: ((t - y)[:, 0], t - y))])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[1, 2], [3, 4], [5, 6]], np.ones((2, 3))), ValueError, "same number of rows, got 2 rows and 3 rows"),
        ((np.ones((2, 3)), np.ones((2, 2))), ValueError, r"y_true must have shape \(2, 2\)"),
        ((np.ones((2, 1)), np.ones((2, 1)), [3.0]), ValueError, r"sample_weight must .*, shape \(2,\), got \(1,\)"),
        ((1.0, 2.0), ValueError, r"y_pred must have shape \(rows, outputs\), got a scalar"),
        ((["a"], [1.0]), TypeError, "y_true must hold real numbers, got text"),
    ],
)
def test_a_loss_by_itself_checks_as_fit_does(loss, arguments, error, message):
    with pytest.raises(error, match=message):
        loss(*arguments)


def test_a_loss_by_itself_takes_rows_of_any_axes():
    images = np.arange(8.0).reshape(2, 2, 2)
    assert losses.MeanSquaredError()(images + 1, images) == 1
    assert losses.MeanSquaredError()([1.0, 2.0], [[1.0], [3.0]], [[0.0], [1.0]]) == 0.5


@pytest.mark.parametrize(("label", "message"), [(-1, "row 1 is -1"), (0.7, "row 1 is 0.7"), (5, "row 1 is 5")])
def test_a_loss_by_itself_checks_labels(label, message):
    loss = losses.SparseCategoricalCrossentropy()
    with pytest.raises(ValueError, match=f"y_true must hold .*, but {message}"):
        loss([0, label], np.full((2, 3), 1 / 3))


def test_targets_that_a_loss_is_not_made_for_are_named():
    model = fastnn.Sequential([layers.Dense(2, input_shape=(3,))])
    x = np.ones((4, 3))
    for loss, y, message in [
        ("hinge", np.full((4, 2), 0.5), "y must hold -1 and 1, or 0 and 1, for hinge"),
        ("binary_crossentropy", np.full((4, 2), 2.0), "must lie between 0 and 1 for binary_crossentropy, but row 0"),
        (losses.Quantile([0.1, 0.9]), np.ones((4, 2)), r"y must have shape \(4, 1\) for quantile and 2 outputs"),
        (losses.SparseCategoricalCrossentropy(ignore_class=-1), [0, 1, -1, 2], "labels from 0 to 1, but row 3 is 2"),
    ]:
        model.compile("sgd", loss)
        with pytest.raises(ValueError, match=message):
            model.fit(x, y, verbose=0)


def test_quantiles_and_variances_are_learnt():
    """The data are y = 2 x + (1 + x) noise, whose quantiles are known, and data with noise of one size everywhere."""
    generator = np.random.default_rng(0)
    x = generator.uniform(0, 1, (4000, 1)).astype(np.float32)
    y = 2 * x + (1 + x) * generator.normal(size=x.shape).astype(np.float32) / 4

    def fitted(loss, outputs, y):
        initializer = fastnn.initializers.GlorotUniform(1)
        model = fastnn.Sequential([layers.Dense(outputs, input_shape=(1,), kernel_initializer=initializer)])
        model.compile(fastnn.optimizers.Adam(0.02), loss)
        model.fit(x, y, batch_size=400, epochs=150, verbose=0)
        return model.predict(np.array([[0.0], [1.0]]))

    quantiles = fitted(losses.Quantile([0.1, 0.5, 0.9]), 3, y)
    # Quantiles lie 1.2816 deviations from the mean; the deviation is 0.25 at x = 0 and 0.5 at x = 1. With 4,000 rows
    # the error is about 0.02.
    np.testing.assert_allclose(quantiles, [[-0.32, 0, 0.32], [2 - 0.64, 2, 2 + 0.64]], atol=0.08)
    even = y - x * (y - 2 * x) / (1 + x)  # the noise has deviation 1/4 everywhere
    likely = fitted(losses.GaussianNLL(), 2, even)
    np.testing.assert_allclose(likely[:, 0], [0, 2], atol=0.05)
    np.testing.assert_allclose(np.log1p(np.exp(likely[:, 1])), [0.0625, 0.0625], rtol=0.15)


ONE_OUTPUT = [
    {"loss": "categorical_crossentropy"},
    {"loss": losses.CategoricalCrossentropy(from_logits=True)},
    {"loss": "categorical_focal_crossentropy"},
    {"loss": "sparse_categorical_crossentropy"},
    {"loss": "cosine_similarity"},
    {"loss": "mse", "metrics": ["categorical_accuracy"]},
    {"loss": "mse", "metrics": ["top_k_categorical_accuracy"]},
    {"loss": "mse", "weighted_metrics": ["cosine_similarity"]},
]


@pytest.mark.parametrize("arguments", ONE_OUTPUT, ids=lambda arguments: str(list(arguments.values())[-1]))
@pytest.mark.parametrize("head", [False, True])
def test_what_compares_outputs_warns_where_there_is_one(arguments, head):
    last = layers.Heads({"a": [layers.Dense(1)]}) if head else layers.Dense(1)
    model = fastnn.Sequential([layers.Input((3,)), last])
    if head:
        arguments = {key: {"a": value} for key, value in arguments.items()}
    with pytest.warns(UserWarning, match="compares outputs with each other, and there is one"):
        model.compile("adam", **arguments)


@pytest.mark.parametrize(
    ("loss", "plain", "weighted", "gradient"),
    [
        (losses.Tversky(0.3, 0.7), 0.49716601, 0.78928071, [-0.09126555, 0.10253289, 0.09442324, -0.08478823]),
        (losses.Dice(), 0.51364523, 0.80311888, [-0.11831276, 0.06687243, 0.06463528, -0.11080331]),
    ],
    ids=["Tversky", "Dice"],
)
def test_overlap_of_rows_is_that_of_keras(loss, plain, weighted, gradient):
    """Keras 3.15 on JAX, with axis=-1."""
    t = np.array([[1.0, 0, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0]])
    y = np.array([[0.9, 0.2, 0.4, 0.1], [0.3, 0.1, 0.6, 0.8], [0.2, 0.1, 0.0, 0.3]])
    assert loss(t, y) == pytest.approx(plain, rel=1e-6)
    assert loss(t, y, [1.0, 0.5, 2.0]) == pytest.approx(weighted, rel=1e-6)
    engine = engine_of(loss)
    engine.batch_gradient(y, t)
    a, b, c, d = gradient
    by_outputs = np.array([[a, b, a, b], [c, c, d, d], [0, 0, 0, 0]])
    np.testing.assert_allclose(bias_gradient(engine), by_outputs.sum(axis=0), rtol=1e-5)
    with pytest.raises(ValueError, match="axis must be -1, the outputs of a row, got None: each row has a loss"):
        type(loss)(axis=None)
