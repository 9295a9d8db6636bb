"""What the recording scripts share: one file of arrays a kind, and networks that train for ten steps in Keras.

The scripts need keras and tensorflow, and are run from this folder, each by itself or all by

KERAS_BACKEND=tensorflow CUDA_VISIBLE_DEVICES= python record_all.py

A recorded file holds the cases, in Keras's own names (``{"class_name": ..., "config": ...}``: fastnn reads the same),
the arrays each case was given and those Keras answered with, and the versions of both libraries. The tests in
tests/test_keras_reference.py read their cases from the file, so a case is written down once, here.
"""

import json
import re
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

HERE = Path(__file__).parent
DTYPES = ("float32", "float64")
ROWS, BATCH, EPOCHS = 44, 9, 2  # five steps an epoch, the last of them with 8 rows: ten steps


class Recording:
    """The cases and arrays of one kind, and where they are written.

    Each element type has one flat array in the file, and ``index`` says where in it an array lies: a thousand small
    arrays cost a few bytes each, and reading them needs no parsing of a thousand headers.
    """

    def __init__(self, kind):
        source = (HERE.parents[1] / "fastnn" / "__init__.py").read_text()
        self.kind = kind
        self.index = {
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "fastnn": re.search(r'__version__ = "(.*)"', source)[1],
            "cases": {},
            "arrays": {},
        }
        self.flat = {}
        self.sizes = {}

    def case(self, name, **description):
        """Write down a case; what it holds must be JSON."""
        if name in self.index["cases"]:
            raise ValueError(f"case {name!r} of {self.kind} is there twice")
        self.index["cases"][name] = description

    def put(self, key, array):
        """Write down one array (or a number) under its key."""
        array = np.asarray(array)
        if array.dtype == np.int64:
            array = array.astype(np.int32)
        dtype = str(array.dtype)
        if key in self.index["arrays"]:
            raise ValueError(f"array {key!r} of {self.kind} is there twice")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"array {key!r} of {self.kind} is not finite")
        start = self.sizes.get(dtype, 0)
        self.index["arrays"][key] = [dtype, start, list(array.shape)]
        self.flat.setdefault(dtype, []).append(array.ravel())
        self.sizes[dtype] = start + array.size

    def put_all(self, prefix, arrays):
        """Write down a list of arrays as prefix0, prefix1, ..."""
        for k, array in enumerate(arrays):
            self.put(f"{prefix}{k}", array)

    def save(self):
        """Write the file."""
        text = np.frombuffer(json.dumps(self.index).encode(), np.uint8)
        flat = {dtype: np.concatenate(parts) for dtype, parts in self.flat.items()}
        np.savez_compressed(HERE / f"{self.kind}.npz", index=text, **flat)


def rounded(array):
    """Return the nearest numbers of half precision, which every element type holds, and which are small in a file."""
    return np.asarray(array).astype(np.float16)


def normal(generator, *shape):
    """Return rounded normal numbers."""
    return rounded(generator.normal(size=shape))


def use(dtype):
    """Set the element type: the policy of layers does not follow floatx once a layer has been made."""
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)


def make(module, case):
    """Return the Keras object that a case describes."""
    return getattr(module, case["class_name"])(**case["config"])


def build(stack, features, dtype):
    """Return a Keras model of a stack of ``[class name, config]``; "Residual" adds a block's input to its output."""
    use(dtype)
    inputs = keras.Input((features,), dtype=dtype)
    return keras.Model(inputs, apply(stack, inputs))


def apply(stack, tensor):
    """Return the stack on top of a symbolic tensor."""
    for class_name, config in stack:
        if class_name == "Residual":
            tensor = keras.layers.Add()([tensor, apply(config["layers"], tensor)])
        else:
            tensor = getattr(keras.layers, class_name)(**config)(tensor)
    return tensor


def start_weights(generator, model):
    """Return initial numbers for each weight: around one for scales and variances, around zero for the others."""
    scales = ("gamma", "scale", "variance", "moving_variance")
    return [
        rounded(0.5 + generator.random(w.shape) if w.name in scales else 0.6 * generator.normal(size=w.shape))
        for w in model.weights
    ]


class Losses(keras.callbacks.Callback):
    """Keeps the running loss at the end of each step."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_end(self, batch, logs=None):
        """Keep the loss."""
        self.values.append(logs["loss"])


def train(recording, name, stack, x, y, compiled, fitted=None, seed=0, dtypes=DTYPES):
    """Ten steps of a stack in both element types: what it started from, each step's loss, the logs, the weights.

    Parameters
    ----------
    compiled, fitted : dict
        Arguments of compile and fit; callables in `compiled` are called, for objects that serve one model only.
    dtypes : sequence of str
        Those that Keras offers.
    """
    fitted = dict(fitted or {})
    for dtype in dtypes:
        model = build(stack, x.shape[1], dtype)
        before = start_weights(np.random.default_rng(seed), model)
        model.set_weights([w.astype(dtype) for w in before])
        arguments = {key: value() if callable(value) else value for key, value in compiled.items()}
        model.compile(**arguments, run_eagerly=True, jit_compile=False)
        steps = Losses()
        target = y.astype(dtype) if y.dtype.kind == "f" else y
        arrays = {k: v.astype(dtype) if isinstance(v, np.ndarray) else v for k, v in fitted.items()}
        history = model.fit(
            x.astype(dtype), target, **{"batch_size": BATCH, "epochs": EPOCHS} | arrays,
            shuffle=False, verbose=0, callbacks=[steps],
        )  # fmt: skip
        if dtype == DTYPES[0]:
            recording.put_all(f"{name}/before", before)
        recording.put(f"{name}/{dtype}/losses", np.array(steps.values, dtype))
        for key, values in history.history.items():
            recording.put(f"{name}/{dtype}/logs/{key}", np.array(values, dtype))
        recording.put_all(f"{name}/{dtype}/after", model.get_weights())
    return model
