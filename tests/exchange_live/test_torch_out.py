"""Networks that go to PyTorch: the text runs there and gives the same outputs; they come in again."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import activations, layers

torch = pytest.importorskip("torch", "2.4")  # the first with RMSNorm
safetensors = pytest.importorskip("safetensors.torch")

pytestmark = pytest.mark.thread_unsafe(reason="PyTorch's own threads are the process's")
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(9, 4))
MISSING = np.where(RANDOM.random((9, 4)) < 0.3, np.nan, X)
WHOLE = RANDOM.integers(0, 3, (9, 4))
EDGES = [[0.0, 1.0], [-1.0, 0.0, 0.5], [-0.5, 0.1], [-2.0, -1.0, 1.0, 2.0]]
MOMENTS = {"mean": [1, 2, 3, 4], "variance": [1, 0, 3, 4]}
FUNCTIONS = [activations.get(kind) for kind in activations._registry.members()] + [
    activations.ReLU(0.1, 2.0, 0.5), activations.ReLU(max_value=2.0), activations.ReLU(0.25), activations.ELU(0.3),
    activations.CELU(0.3), activations.Squareplus(0.5), activations.SmoothClip(1.5), activations.GELU(True),
]  # fmt: skip


def branches():
    return layers.Branches(
        {
            "size": [layers.Input((2,)), layers.Dense(3, "relu")],
            "kind": [layers.Input((1,)), layers.Embedding(3, 2)],
            "rest": [layers.Input((1,))],
        }
    )


# Stacks that begin with 4 columns, and rows where these are not normal numbers.
CASES = {
    **{repr(f): (lambda f=f: [layers.Dense(5, f), layers.Dense(6), layers.Activation(f)], X) for f in FUNCTIONS},
    **{
        f"{kind}, far from 0": (lambda kind=kind: [layers.Activation(kind)], X * 1e30)
        for kind in ("smooth_clip", "squareplus", "sigmoid", "tanh", "silu", "mish")
    },
    "ActivityRegularization": (lambda: [layers.ActivityRegularization(0.1), layers.Dense(2)], X),
    "noise": (
        lambda: [layers.Dropout(0.5), layers.AlphaDropout(0.1), layers.GaussianNoise(0.5), layers.GaussianDropout(0.5)],
        X,
    ),
    "BatchNormalization": (lambda: [layers.BatchNormalization(momentum=0.75)], X),
    "BatchNormalization, alone": (lambda: [layers.BatchNormalization(center=False, scale=False, epsilon=0.5)], X),
    "BatchNormalization, scale": (lambda: [layers.BatchNormalization(center=False)], X),
    "BatchNormalization, center": (lambda: [layers.BatchNormalization(scale=False)], X),
    "LayerNormalization": (lambda: [layers.LayerNormalization()], X),
    "LayerNormalization, alone": (lambda: [layers.LayerNormalization(center=False, scale=False)], X),
    "LayerNormalization, scale": (lambda: [layers.LayerNormalization(center=False)], X),
    "LayerNormalization, center": (lambda: [layers.LayerNormalization(scale=False)], X),
    "RMSNormalization": (lambda: [layers.RMSNormalization()], X),
    "UnitNormalization": (lambda: [layers.UnitNormalization()], X),
    "Branches": (lambda: [branches(), layers.Dense(2)], np.column_stack([X[:, :2], WHOLE[:, 0], X[:, 3]])),
    "Heads": (lambda: [layers.Heads({"a": [layers.Dense(1)], "b.c": [layers.Dense(3, "softmax")], "same": []})], X),
    **{
        f"CategoryEncoding, {mode}": (lambda mode=mode: [layers.CategoryEncoding(3, mode)], WHOLE)
        for mode in ("one_hot", "multi_hot", "count")
    },
    **{
        f"Discretization, {mode}": (lambda mode=mode: [layers.Discretization([-0.5, 0.0, 0.7], output_mode=mode)], X)
        for mode in ("int", "one_hot", "multi_hot", "count")
    },
    "Dense, no bias": (lambda: [layers.Dense(3, use_bias=False)], X),
    "Dense, ntk": (lambda: [layers.Dense(3, "relu", parametrization="ntk")], X),
    "Embedding": (lambda: [layers.Embedding(3, 2), layers.Dense(2)], WHOLE),
    **{
        f"Ensemble, {s}, {f}": (
            lambda f=f, s=s: [
                layers.EnsembleScale(2),
                layers.EnsembleDense(3, 2, f, sharing=s),
                layers.EnsembleMean(2),
            ],
            X,
        )
        for f in ("relu", "softmax")
        for s in ("adapted", "full", "none")
    },
    "Flatten": (lambda: [layers.Reshape((2, 2)), layers.Activation("tanh"), layers.Flatten(), layers.Dense(2)], X),
    "GLU": (lambda: [layers.Dense(16), layers.GLU(), layers.GLU("silu"), layers.GLU("linear")], X),
    "Impute": (lambda: [layers.Impute("constant", [1.0, 2.0, 3.0, 4.0])], MISSING),
    "Impute, indicator": (lambda: [layers.Impute("constant", 7.0, add_indicator=True)], MISSING),
    "Impute, columns": (
        lambda: [layers.Impute("constant", 7.0, add_indicator=True, columns=[1, 2])],
        np.nan_to_num(MISSING),
    ),
    "LinearEmbedding": (lambda: [layers.LinearEmbedding(3, "relu")], X),
    "LinearEmbedding, columns": (lambda: [layers.LinearEmbedding(3, columns=[2, 1])], X),
    "Normalization": (lambda: [layers.Normalization(**MOMENTS)], X),
    "Normalization, inverted": (lambda: [layers.Normalization(**MOMENTS, invert=True)], X),
    "Normalization, columns": (lambda: [layers.Normalization(columns=[1, 3])], X),
    "PReLU": (lambda: [layers.PReLU()], X),
    "ParametricActivation": (lambda: [layers.ParametricActivation("mish")], X),
    "PeriodicEmbedding": (lambda: [layers.PeriodicEmbedding(5, 2)], X),
    "PeriodicEmbedding, columns": (lambda: [layers.PeriodicEmbedding(5, 2, columns=[0, 3])], X),
    "PeriodicEmbedding, PLR": (
        lambda: [layers.PeriodicEmbedding(5, 2, 0.1, "relu", phases=False, densely_connected=False)],
        X,
    ),
    "PeriodicEmbedding, shared": (lambda: [layers.PeriodicEmbedding(5, 2, share_weights=True, phases=False)], X),
    "Piecewise": (lambda: [layers.PiecewiseLinearEncoding(bin_edges=EDGES)], X),
    "Piecewise, columns": (lambda: [layers.PiecewiseLinearEncoding(bin_edges=EDGES[1:3], columns=[0, 2])], X),
    "Piecewise, units": (lambda: [layers.PiecewiseLinearEncoding(bin_edges=EDGES, units=3, activation="relu")], X),
    "Piecewise, linear": (
        lambda: [layers.PiecewiseLinearEncoding(bin_edges=EDGES[:2], units=3, linear=True, columns=[1, 3])],
        X,
    ),
    "Quantiles": (lambda: [layers.QuantileNormalization(knots=np.sort(X[:5].T))], X),
    "Quantiles, equal": (lambda: [layers.QuantileNormalization(knots=[[0.0, 0.0, 0.0]] * 4)], np.sign(np.round(X))),
    "Quantiles, one": (lambda: [layers.QuantileNormalization(knots=[[0.0]] * 4)], np.sign(np.round(X))),
    "Rescaling": (lambda: [layers.Rescaling(0.5, 3.0)], X),
    "Residual": (
        lambda: [layers.Dense(4), layers.Residual([layers.Dense(4, "relu"), layers.Dense(4)]), layers.Dense(4)],
        X,
    ),
    "Residual, nested": (lambda: [layers.Residual([layers.Residual([layers.Scale()]), layers.Dropout(0.1)])], X),
    "RobustNormalization": (lambda: [layers.RobustNormalization(center=[0.5] * 4, factor=[2.0] * 4)], X),
    "RobustNormalization, columns": (lambda: [layers.RobustNormalization([3], None, [0.5], [2.0])], X),
    "Scale": (lambda: [layers.Scale()], X),
    "Stack": (lambda: [layers.Stack([layers.Dense(3), layers.Stack([layers.ReLU()])]), layers.Dense(1)], X),
    "TargetScaling": (lambda: [layers.Dense(2), layers.TargetScaling([1.0, 2.0], [3.0, 4.0], -1.0, [2.0, 9.0])], X),
    "TargetScaling, no ends": (lambda: [layers.TargetScaling(100.0, 7.0, clip=False)], X),
}
READS_TEXT = {"CategoricalEmbedding", "IntegerLookup", "StringLookup"}


def built(make, dtype):
    stack = make()
    vars(stack[0])["dtype"] = dtype
    model = fastnn.Sequential(stack)
    if not model.built:
        model.build((None, 4))
    random = np.random.default_rng(3)
    for spec, weight in zip(model._engine.plan.parameters, model.weights, strict=True):
        drawn = random.normal(size=weight.shape) / np.sqrt(max(weight.shape[0], 1))
        weight[...] = np.abs(drawn) + 0.5 if "variance" in spec.name else drawn
    return model


def there(model, path):
    """The module that the text makes, with the weights of the file."""
    text = model.export_torch(path)
    scope = {}
    exec(text, scope)
    scope["model"].load_state_dict(safetensors.load_file(path))
    return scope["model"]


def joined(answer):
    return np.column_stack(
        [part.reshape(len(part), -1) for part in (answer.values() if isinstance(answer, dict) else [answer])]
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_the_module_gives_the_same_outputs(name, dtype):
    make, rows = CASES[name]
    model = built(make, dtype)
    with tempfile.TemporaryDirectory() as folder:
        module = there(model, Path(folder) / "net.safetensors")
        again = built(make, dtype)
        again.set_weights([np.ones_like(weight) for weight in again.get_weights()])
        if again.weights:
            fastnn.load_torch(Path(folder) / "net.safetensors", again)
    assert not module.training
    given = rows.astype(dtype)
    with torch.no_grad():
        answer = module(torch.from_numpy(given))
    answer = {key: part.numpy() for key, part in answer.items()} if isinstance(answer, dict) else answer.numpy()
    wanted = joined(model.predict(given, verbose=0))
    # float32: sums of a dozen terms in another order; softplus of PyTorch is x above 20, which is off by 2e-9
    tolerance = 1e-5 if dtype == "float32" else 1e-8
    np.testing.assert_allclose(joined(answer), wanted, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(joined(again.predict(given, verbose=0)), wanted)


def test_every_layer_is_there_or_reads_text():
    used = set()

    def look(members):
        for layer in members:
            used.add(type(layer).__name__)
            look(layer._layers)

    for make, _ in CASES.values():
        look(make())
    parents = {
        "Layer",
        "Input",
        "deserialize",
        "serialize",
        "ELU",
        "LeakyReLU",
        "Softmax",
    }  # kinds of Activation, and names
    assert set(layers.__all__) - used - parents - READS_TEXT == {"InputLayer"}


def test_layers_that_read_text_are_refused_and_no_file_is_written(tmp_path):
    layer = layers.CategoricalEmbedding(vocabularies=[["a", "b"]])
    model = fastnn.Sequential([fastnn.Input((1,)), layer, layers.Dense(1)])
    with pytest.raises(ValueError, match="reads raw data"):
        model.export_torch(tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


def test_the_text_says_what_to_do(tmp_path):
    model = fastnn.Sequential([fastnn.Input((4,)), layers.Dense(3, "tanh")], name="a 'name'\n")
    text = model.export_torch(tmp_path / "net.safetensors")
    assert "load_state_dict(load_file('net.safetensors'))" in text
    assert text.splitlines()[0] == repr("a 'name'\n").join(["# The network ", " of fastnn, for PyTorch. Its weights:"])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_steps_of_training_are_the_same(optimizer, tmp_path):
    """Weights differ by rounding alone after 12 steps in float64, where batches are whole."""
    make = lambda: [layers.Dense(8, "tanh"), layers.Residual([layers.Dense(8, "silu")]), layers.Dense(2)]  # noqa: E731
    model = built(make, "float64")
    module = there(model, tmp_path / "net.safetensors").train()
    theirs = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer](module.parameters(), 0.01)
    ours = {"sgd": fastnn.optimizers.SGD(0.01), "adam": fastnn.optimizers.Adam(0.01, epsilon=1e-8)}[optimizer]
    model.compile(ours, "mse")
    x, y = np.random.default_rng(1).normal(size=(32, 4)), np.random.default_rng(2).normal(size=(32, 2))
    model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
    for _ in range(3):
        for start in range(0, 32, 8):
            theirs.zero_grad()
            rows = slice(start, start + 8)
            torch.nn.functional.mse_loss(module(torch.from_numpy(x[rows])), torch.from_numpy(y[rows])).backward()
            theirs.step()
    # Adam: its epsilon is added before the bias is corrected here, as in Keras
    np.testing.assert_allclose(module(torch.from_numpy(x)).detach().numpy(), model.predict(x), atol=1e-5)
