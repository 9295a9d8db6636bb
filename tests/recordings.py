"""What Keras answered (tests/reference, which says how it was asked), and how a case of it is run here."""

import json
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import layers

FOLDER = Path(__file__).parent / "reference"
# Float32: sums of a dozen terms in another order, and differences of such sums, which ten training steps enlarge.
# Float64: the same errors at its precision.
CLOSE = {"float32": {"rtol": 1e-5, "atol": 3e-6}, "float64": {"rtol": 1e-10, "atol": 1e-12}}


class Recording:
    """The cases and the arrays of one kind, as tests/reference/recorder.py writes them."""

    def __init__(self, kind):
        with np.load(FOLDER / f"{kind}.npz") as file:
            flat = {name: file[name] for name in file.files if name != "index"}
            self.index = json.loads(file["index"].tobytes())
        self.cases = self.index["cases"]
        self.arrays = {}
        for key, (dtype, start, shape) in self.index["arrays"].items():
            self.arrays[key] = flat[dtype][start : start + int(np.prod(shape))].reshape(shape)

    def __getitem__(self, key):
        return self.arrays[key]

    def all(self, prefix):
        """Return the arrays prefix0, prefix1, ..."""
        return [self.arrays[f"{prefix}{k}"] for k in range(len(self.arrays)) if f"{prefix}{k}" in self.arrays]

    def pairs(self):
        """Return the parameters of a test: each case in each element type in which Keras was recorded."""
        return [
            pytest.param(name, dtype, id=f"{name}-{dtype}")
            for name in self.cases
            for dtype in CLOSE
            if any(key.startswith(f"{name}/{dtype}/") for key in self.arrays)
        ]


# The files are read once, here: np.load parses headers with ast, which threads of CPython 3.11 cannot do side by side.
KINDS = ("activations", "constraints", "initializers", "layers", "losses", "metrics", "optimizers", "regularizers",
         "schedules", "training")  # fmt: skip
RECORDED = {kind: Recording(kind) for kind in KINDS}


def described(stack):
    """Return the layers that a recorded stack of [class name, config] describes."""
    made = []
    for class_name, config in stack:
        inner = {"layers": described(config["layers"])} if "layers" in config else {}
        made.append(layers.deserialize({"class_name": class_name, "config": config | inner}))
    return made


def build(stack, features, dtype, weights=()):
    """Return a model of a recorded stack, with the weights that the recording started from."""
    model = fastnn.Sequential([layers.Input((features,), dtype=dtype), *described(stack)])
    model.set_weights(weights)
    return model


def of_type(array, dtype):
    """Return an array as Keras was given it: half precision becomes this type, whole numbers stay."""
    return array.astype(dtype) if array.dtype.kind == "f" else array


class Losses(fastnn.callbacks.Callback):
    """Keeps the running loss at the end of each step."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(logs["loss"])


def run_training(recording, name, dtype, close, make_model, x, y, compiled, **fitted):
    """Check ten steps, once with a callback after each and once in one piece: losses, logs and weights are Keras's."""
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
