"""Random networks go through real exporters and come in as ONNX: where their packages are installed."""

import random
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from reference import record_onnx  # the functions that call exporters

import fastnn

pytestmark = [
    pytest.mark.thread_unsafe(reason="exporters change what is global"),
    pytest.mark.filterwarnings("ignore"),  # of the exporters
]
CLOSE = {"rtol": 1e-4, "atol": 2e-5}  # random networks of up to a dozen layers enlarge the rounding of float32


def loaded(data, **options):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        path.write_bytes(data)
        return fastnn.load_onnx(path, **options)


def check(data, inputs, outputs):
    """Hold the model of a file to given outputs."""
    model = loaded(data)
    x = inputs if len(inputs) > 1 else next(iter(inputs.values()))
    answer = model.predict(x, verbose=0)
    found = list(answer.values()) if isinstance(answer, dict) else [answer]
    assert len(found) == len(outputs)
    for one, other in zip(found, outputs, strict=True):
        np.testing.assert_allclose(one.reshape(other.shape), other, **CLOSE)


# ---- PyTorch ----


def functions():
    from torch import nn

    return [
        nn.ReLU, nn.ReLU6, nn.LeakyReLU, lambda: nn.LeakyReLU(0.3), nn.PReLU, nn.ELU, lambda: nn.ELU(0.5), nn.SELU,
        lambda: nn.CELU(2.0), nn.GELU, lambda: nn.GELU("tanh"), nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid,
        nn.Hardtanh, lambda: nn.Hardtanh(-2, 0.5), nn.Sigmoid, nn.Tanh, nn.Softplus, lambda: nn.Softplus(2.0),
        nn.Softsign, nn.LogSigmoid, nn.Tanhshrink, nn.Identity, nn.Dropout, nn.Softmin, lambda: nn.Softmax(-1),
    ]  # fmt: skip


def random_layers(chance, width, depth):
    """Return modules from rows of a width on, and the width that they end with."""
    from torch import nn

    class Added(nn.Module):
        """x + f(x)."""

        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return x + self.inner(x)

    found = []
    for _ in range(depth):
        kind = chance.randrange(9)
        if kind < 3:
            new = chance.choice([4, 5, 8])
            found.append(nn.Linear(width, new, bias=chance.random() < 0.8))
            width = new
        elif kind < 6:
            found.append(chance.choice(functions())())
        elif kind == 6:
            found.append(chance.choice([nn.LayerNorm(width), nn.BatchNorm1d(width), nn.LayerNorm(width, bias=False)]))
        elif kind == 7:
            inner, last = random_layers(chance, width, 2)
            found.append(Added(nn.Sequential(*inner, nn.Linear(last, width))))
        else:
            found += [nn.Linear(width, 2 * width), nn.GLU()]
    return found, width


@pytest.mark.parametrize("exporter", ["script", "dynamo", "dynamo_raw"])
@pytest.mark.parametrize("seed", range(12))
def test_random_modules_of_pytorch(seed, exporter):
    torch = pytest.importorskip("torch", "2.2")
    if exporter != "script":
        pytest.importorskip("onnxscript")
    chance = random.Random(seed)
    torch.manual_seed(seed)
    inner, width = random_layers(chance, 4, chance.randrange(2, 9))
    module = torch.nn.Sequential(torch.nn.Linear(4, 4), *inner, torch.nn.Linear(width, 2))
    x = torch.randn(16, 4)
    module.train()
    for _ in range(3):
        module(x)
    module.eval()
    with torch.no_grad():
        wanted = module(x).numpy()
    check(record_onnx.exported(module, (x,), ["x"], exporter), {"x": x.numpy()}, [wanted])


@pytest.mark.parametrize("opset", [9, 11, 13, 15, 17, 18, 19, 20])
def test_versions_of_the_operators(opset):
    torch = pytest.importorskip("torch", "2.2")
    torch.manual_seed(0)
    nn = torch.nn
    module = nn.Sequential(
        nn.Linear(4, 6), nn.ReLU6(), nn.Linear(6, 6), nn.LayerNorm(6), nn.Dropout(), nn.Linear(6, 6), nn.BatchNorm1d(6),
        nn.PReLU(6), nn.Linear(6, 6), nn.SiLU(), nn.Linear(6, 6), nn.GLU(), nn.Linear(3, 4), nn.Softmax(-1),
    ).eval()  # fmt: skip
    x = torch.randn(16, 4)
    with torch.no_grad():
        wanted = module(x).numpy()
    check(record_onnx.exported(module, (x,), ["x"], "script", opset), {"x": x.numpy()}, [wanted])


def test_weights_beside_the_model_and_a_model_of_one_row(tmp_path):
    torch = pytest.importorskip("torch", "2.2")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(40, 60), torch.nn.Tanh(), torch.nn.Linear(60, 3)).eval()
    x = torch.randn(1, 40)
    path = tmp_path / "beside.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (x,), str(path), dynamo=True, external_data=True, verbose=False)
    assert path.with_suffix(".onnx.data").exists()
    many = torch.randn(20, 40)
    with torch.no_grad():
        np.testing.assert_allclose(fastnn.load_onnx(path).predict(many.numpy()), module(many).numpy(), **CLOSE)


# ---- scikit-learn ----


@pytest.mark.parametrize("seed", range(6))
def test_random_perceptrons_of_scikit_learn(seed):
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

    chance, generator = random.Random(seed), np.random.default_rng(seed)
    x = generator.normal(size=(80, 5)).astype(np.float32)
    kind = chance.choice([MLPClassifier, MLPRegressor])
    y = x[:, 0] if kind is MLPRegressor else generator.integers(0, chance.choice([2, 3]), 80)
    scaler = chance.choice([StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler])()
    activation = chance.choice(["relu", "tanh", "logistic", "identity"])
    fitted = make_pipeline(scaler, kind(hidden_layer_sizes=[6, 4], activation=activation, max_iter=30)).fit(x, y)
    options = {"zipmap": chance.random() < 0.5} if kind is MLPClassifier else None
    message = skl2onnx.to_onnx(fitted, x[:1], options={id(fitted.steps[-1][1]): options} if options else None)
    wanted = fitted.predict_proba(x) if kind is MLPClassifier else fitted.predict(x)
    check(message.SerializeToString(), {"X": x}, [wanted])


# ---- Keras ----


@pytest.mark.parametrize("seed", range(4))
def test_random_models_of_keras(seed):
    pytest.importorskip("tf2onnx")
    keras = pytest.importorskip("keras")
    chance = random.Random(seed)
    keras.utils.set_random_seed(seed)
    names = ["relu", "leaky_relu", "elu", "selu", "softplus", "softsign", "silu", "mish", "tanh", "relu6", "hard_silu"]
    inner = [
        layer
        for _ in range(4)
        for layer in (
            keras.layers.Dense(6, chance.choice(names)),
            chance.choice([keras.layers.BatchNormalization, keras.layers.LayerNormalization, keras.layers.PReLU])(),
        )
    ]
    model = keras.Sequential([keras.Input((4,)), *inner, keras.layers.Dense(2)])
    generator = np.random.default_rng(seed)
    model.set_weights([w + generator.uniform(0.1, 0.4, w.shape).astype(w.dtype) for w in model.get_weights()])
    x = generator.normal(size=(16, 4)).astype(np.float32)
    wanted = np.array(model(x))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        model.export(str(path), format="onnx", verbose=False)
        check(path.read_bytes(), {"x": x}, [wanted])


# ---- PaddlePaddle ----


@pytest.mark.parametrize("opset", [11, 15, 17])
def test_a_network_of_paddlepaddle(opset, tmp_path, monkeypatch):
    paddle = pytest.importorskip("paddle")
    pytest.importorskip("paddle2onnx")
    monkeypatch.chdir(tmp_path)  # the exporter leaves files where it runs
    nn = paddle.nn
    paddle.seed(0)
    hidden = [nn.Linear(8, 32), nn.BatchNorm1D(32), nn.GELU(), nn.Dropout(0.2), nn.Linear(32, 16), nn.LayerNorm(16)]
    network = nn.Sequential(*hidden, nn.Hardswish(), nn.Linear(16, 3), nn.Softmax())
    network.eval()
    x = paddle.randn([20, 8])
    spec = [paddle.static.InputSpec([None, 8], "float32", "x")]
    paddle.onnx.export(network, "network", input_spec=spec, opset_version=opset)
    check(Path("network.onnx").read_bytes(), {"x": x.numpy()}, [network(x).numpy()])
