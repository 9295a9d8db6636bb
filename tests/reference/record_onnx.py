"""Write tests/reference/files_onnx.zip: files of real exporters, inputs, and what ONNX Runtime answers.

    python tests/reference/record_onnx.py torch        # torch, onnxscript, onnxruntime
    python tests/reference/record_onnx.py sklearn      # scikit-learn, skl2onnx, onnxruntime
    python tests/reference/record_onnx.py tensorflow   # tensorflow-cpu, tf2onnx, onnxruntime

Each command replaces the entries of its exporters and leaves the others: no environment has all of them.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

PLACE = Path(__file__).parent / "files_onnx.zip"
ROWS = 5


def answers(data: bytes, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what ONNX Runtime computes: all outputs that are arrays of numbers."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    given = session.run(names, inputs)
    # a ZipMap gives a list of dicts
    arrays = [
        np.array([list(d.values()) for d in a]) if isinstance(a, list) and a and isinstance(a[0], dict) else a
        for a in given
    ]
    return {n: a for n, a in zip(names, arrays, strict=True) if isinstance(a, np.ndarray) and a.dtype.kind == "f"}


class Recording:
    """The entries of one kind of exporter."""

    def __init__(self, kind: str, packages: list[str]) -> None:
        self.kind = kind
        self.entries: dict[str, bytes] = {
            f"{kind}/versions.json": json.dumps({name: importlib.metadata.version(name) for name in packages}).encode()
        }

    def add(self, name: str, data: bytes, inputs: dict[str, np.ndarray]) -> None:
        """Add a file with inputs and the answers to them."""
        buffer = io.BytesIO()
        outputs = answers(data, inputs)
        arrays = {f"in:{n}": a for n, a in inputs.items()} | {f"out:{n}": a for n, a in outputs.items()}
        np.savez_compressed(buffer, **arrays)
        self.entries[f"{self.kind}/{name}.onnx"] = data
        self.entries[f"{self.kind}/{name}.npz"] = buffer.getvalue()

    def write(self) -> None:
        """Replace the entries of this kind in the file."""
        kept = {}
        if PLACE.exists():
            with zipfile.ZipFile(PLACE) as old:
                kept = {n: old.read(n) for n in old.namelist() if not n.startswith(f"{self.kind}/")}
        with zipfile.ZipFile(PLACE, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new:
            for name, data in sorted((kept | self.entries).items()):
                new.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)


# ---- PyTorch ----


def torch_classes():
    """Return classes of modules whose graphs branch and join."""
    import torch
    from torch import nn

    class Blocks(nn.Module):
        """Residual blocks with normalizations before and after them."""

        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 3)
            self.blocks = nn.ModuleList(
                [nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 8)) for _ in range(2)]
            )
            self.norm = nn.LayerNorm(8, elementwise_affine=False)

        def forward(self, x):
            h = self.first(x)
            for block in self.blocks:
                h = h + block(h)
            return self.last(self.norm(h)).softmax(-1)

    class Gated(nn.Module):
        """A SwiGLU with two kernels, after a root mean square normalization in arithmetic, and a GLU."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(4) + 0.5)
            self.up, self.gate, self.down, self.out = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 4), nn.Linear(4, 6)

        def forward(self, x):
            h = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight
            h = x + self.down(nn.functional.silu(self.gate(h)) * self.up(h))
            return nn.functional.glu(self.out(h), -1)

    class Table(nn.Module):
        """Numbers and categories, two outputs."""

        def __init__(self):
            super().__init__()
            self.tables = nn.ModuleList([nn.Embedding(5, 3), nn.Embedding(7, 2)])
            self.norm, self.body = nn.BatchNorm1d(4), nn.Linear(9, 8)
            self.price, self.kind = nn.Linear(8, 1), nn.Linear(8, 3)

        def forward(self, numbers, codes):
            columns = [self.norm(numbers), *(table(codes[:, k]) for k, table in enumerate(self.tables))]
            h = torch.relu(self.body(torch.cat(columns, 1)))
            return self.price(h).squeeze(-1), self.kind(h).log_softmax(-1)

    return Blocks, Gated, Table


def torch_modules():
    """Return modules by name, each with its example inputs."""
    import torch
    from torch import nn

    blocks, gated, table = torch_classes()
    functions = [
        nn.ReLU(), nn.LeakyReLU(0.1), nn.PReLU(), nn.PReLU(6), nn.ELU(0.7), nn.SELU(), nn.CELU(0.5), nn.GELU(),
        nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.Hardsigmoid(), nn.Hardtanh(), nn.ReLU6(),
        nn.Sigmoid(), nn.Tanh(), nn.Softplus(), nn.Softsign(), nn.LogSigmoid(),
    ]  # fmt: skip
    activations = [layer for f in functions for layer in (nn.Linear(6, 6), f)]
    rows = torch.randn(ROWS, 4)
    return {
        "plain": (nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2)), (rows,)),
        "activations": (nn.Sequential(nn.Linear(4, 6), *activations, nn.Linear(6, 2)), (rows,)),
        "norms": (
            nn.Sequential(
                nn.BatchNorm1d(4), nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 1)
            ),
            (rows,),
        ),
        "image": (
            nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.GELU(), nn.Linear(5, 3)),
            (torch.randn(ROWS, 3, 4),),
        ),
        "blocks": (blocks(), (rows,)),
        "gated": (gated(), (rows,)),
        "table": (table(), (rows, torch.tensor([[0, 6], [1, 0], [4, 3], [2, 2], [3, 1]]))),
    }


def record_torch() -> None:
    """Write the files of both exporters of PyTorch."""
    import torch

    torch.manual_seed(0)
    recording = Recording("torch", ["torch", "onnx", "onnxscript", "onnxruntime"])
    for name, (module, inputs) in torch_modules().items():
        module.train()
        for _ in range(3):  # so that moving statistics are not 0 and 1
            module(*inputs)
        module.eval()
        named = [f"x{k}" for k in range(len(inputs))]
        for exporter in ("script", "dynamo", "dynamo_raw"):
            data = exported(module, inputs, named, exporter)
            recording.add(f"{name}_{exporter}", data, {n: x.numpy() for n, x in zip(named, inputs, strict=True)})
    recording.write()


def exported(module, inputs, names, exporter: str, opset: int | None = None) -> bytes:
    """Return the bytes that an exporter of PyTorch writes."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "net.onnx")
        common = {"input_names": names, "opset_version": opset or (13 if exporter == "script" else None)}
        if exporter == "script":
            torch.onnx.export(
                module, inputs, path, dynamo=False, dynamic_axes={name: {0: "rows"} for name in names}, **common
            )
        else:
            rows = torch.export.Dim("rows")
            torch.onnx.export(
                module, inputs, path, dynamo=True, external_data=False, optimize=exporter == "dynamo", verbose=False,
                dynamic_shapes=tuple({0: rows} for _ in inputs), **common,
            )  # fmt: skip
        return Path(path).read_bytes()


# ---- scikit-learn ----


def record_sklearn() -> None:
    """Write files of skl2onnx: perceptrons after scalers, classifiers of two and more classes."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, RobustScaler, StandardScaler

    generator = np.random.default_rng(0)
    x = generator.normal(size=(60, 4)).astype(np.float32)
    classes = np.array(["a", "b", "c"])[generator.integers(0, 3, 60)]
    cases = {
        "two_classes": (
            StandardScaler(),
            MLPClassifier(hidden_layer_sizes=[5], max_iter=20),
            (x[:, 0] > 0).astype(int),
        ),
        "texts": (MinMaxScaler(), MLPClassifier(hidden_layer_sizes=[5, 4], activation="tanh", max_iter=20), classes),
        "regressor": (
            RobustScaler(),
            MLPRegressor(hidden_layer_sizes=[5], activation="logistic", max_iter=20),
            x[:, 0],
        ),
        "identity": (MaxAbsScaler(), MLPRegressor(hidden_layer_sizes=[5], activation="identity", max_iter=20), x[:, 1]),
        "labels": (Normalizer(), MLPClassifier(hidden_layer_sizes=[5], max_iter=20), generator.integers(0, 2, (60, 3))),
        "linear": (StandardScaler(), LinearRegression(), x[:, 0]),
        "logistic": (StandardScaler(), LogisticRegression(), classes),
    }
    recording = Recording("sklearn", ["scikit-learn", "skl2onnx", "onnx", "onnxruntime"])
    for name, (scaler, model, y) in cases.items():
        fitted = make_pipeline(scaler, model).fit(x, y)
        options = {"zipmap": False} if hasattr(model, "classes_") and name != "labels" else None
        data = to_onnx(fitted, x[:1], options={id(model): options} if options else None).SerializeToString()
        recording.add(name, data, {"X": x[:ROWS]})
    double = make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=[5], max_iter=20)).fit(x, x[:, 0])
    wide = x[:ROWS].astype(np.float64)
    recording.add("double", to_onnx(double, wide[:1]).SerializeToString(), {"X": wide})
    recording.write()


# ---- Keras and TensorFlow ----


def keras_models():
    """Return models of Keras by name, each with inputs."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(ROWS, 4)).astype(np.float32)
    codes = generator.integers(0, 5, (ROWS, 2)).astype(np.float32)
    names = ["relu", "leaky_relu", "elu", "selu", "softplus", "softsign", "silu", "mish", "tanh", "sigmoid", "relu6"]
    names += ["hard_sigmoid", "hard_silu", "log_sigmoid", "hard_tanh", "exponential"]
    plain = keras.Sequential([keras.Input((4,)), layers.Dense(8, "relu"), layers.Dense(3, "softmax")])
    functions = keras.Sequential([keras.Input((4,)), *(layers.Dense(6, name) for name in names), layers.Dense(2)])
    norms = keras.Sequential(
        [keras.Input((4,)), layers.Rescaling(0.5, 0.1),
         layers.Dense(8), layers.BatchNormalization(), layers.ReLU(), layers.LayerNormalization(),
         layers.Dense(8, "tanh"), layers.BatchNormalization(), layers.Dense(8), layers.PReLU(), layers.Dense(8),
         layers.RMSNormalization(), layers.Dense(8), layers.UnitNormalization(), layers.Dense(1)]
    )  # fmt: skip
    first, second = layers.Input((4,), name="numbers"), layers.Input((2,), name="codes")
    h = layers.Concatenate()([layers.Dense(6, "relu")(first), layers.Flatten()(layers.Embedding(5, 3)(second))])
    h = layers.Add()([h, layers.Dense(12, "tanh")(h)])
    graph = keras.Model(
        [first, second], [layers.Dense(1, name="price")(h), layers.Dense(3, "log_softmax", name="k")(h)]
    )
    for model in (plain, functions, norms, graph):
        model.set_weights([w + generator.uniform(0.1, 0.4, w.shape).astype(w.dtype) for w in model.get_weights()])
    return {"plain": (plain, [x]), "functions": (functions, [x]), "norms": (norms, [x]), "graph": (graph, [x, codes])}


def record_tensorflow() -> None:
    """Write files of tf2onnx and of Keras's own export."""
    import tensorflow as tf
    import tf2onnx

    recording = Recording("tensorflow", ["tensorflow-cpu", "keras", "tf2onnx", "onnx", "onnxruntime"])
    for name, (model, inputs) in keras_models().items():
        model(inputs if len(inputs) > 1 else inputs[0])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.onnx"
            model.export(str(path), format="onnx", verbose=False)
            add_as_named(recording, f"{name}_keras", path.read_bytes(), inputs)
        signature = [tf.TensorSpec((None, a.shape[1]), tf.float32, name=f"x{k}") for k, a in enumerate(inputs)]

        @tf.function(input_signature=signature)
        def function(*arrays, model=model):
            return model(list(arrays) if len(arrays) > 1 else arrays[0])

        data, _ = tf2onnx.convert.from_function(function, signature, opset=9 if name == "plain" else 15)
        add_as_named(recording, f"{name}_tf2onnx", data.SerializeToString(), inputs)
    recording.write()


def add_as_named(recording: Recording, name: str, data: bytes, inputs: list[np.ndarray]) -> None:
    """Add a file whose inputs have the names that the exporter gave them."""
    import onnx

    named = [value.name for value in onnx.load_from_string(data).graph.input]
    widths = [value.type.tensor_type.shape.dim[1].dim_value for value in onnx.load_from_string(data).graph.input]
    arrays = {n: next(a for a in inputs if a.shape[1] == width) for n, width in zip(named, widths, strict=True)}
    recording.add(name, data, arrays)


if __name__ == "__main__":
    {"torch": record_torch, "sklearn": record_sklearn, "tensorflow": record_tensorflow}[sys.argv[1]]()
