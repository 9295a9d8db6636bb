"""Record what Keras makes of files that export_keras has written: its layers, its variables, and what it answers.

The script needs keras, tensorflow and fastnn. It is run from this folder,

KERAS_BACKEND=tensorflow CUDA_VISIBLE_DEVICES= PYTHONPATH=../..:.. python record_exported.py

and writes exported.json.gz, which tests/exchange/test_to_keras.py compares with the files of today.
"""

import gzip
import io
import json
import tempfile
import zipfile
from pathlib import Path

import h5py
import keras
import keras_models
import numpy as np
import tensorflow as tf

HERE = Path(__file__).parent
SHOWN = 3  # rows whose outputs are recorded


def given(x):
    """Return rows as Keras takes them: text as tensors."""
    if isinstance(x, dict):
        return {name: given(array) for name, array in x.items()}
    return tf.constant(x.tolist()) if x.dtype == object else x


def rounded(outputs):
    """Return outputs of the first rows, by head where there are several, with the digits that float32 has."""
    if isinstance(outputs, dict):
        return {name: rounded(array) for name, array in outputs.items()}
    return [[float(f"{value:.7g}") for value in row] for row in np.asarray(outputs)[:SHOWN]]


def variables(file):
    """Return the shapes of all arrays of a .keras file by their place."""
    found = {}
    with zipfile.ZipFile(file) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as arrays:
        arrays.visititems(lambda path, one: found.update({path: one.shape} if isinstance(one, h5py.Dataset) else {}))
    return found


def recorded(case):
    """Return what Keras makes of the file of one case, and what it answers after one more step."""
    model, x, y = case()
    with tempfile.TemporaryDirectory() as folder:
        path, again = Path(folder) / "model.keras", Path(folder) / "again.keras"
        model.export_keras(path, training=y is not None)
        other = keras.models.load_model(path)
        other.save(again)
        found = {
            "layers": [[type(layer).__name__, layer.name] for layer in other.layers],
            "variables": variables(again),
            "outputs": rounded(other.predict(given(x), verbose=0)),
        }
    if y is not None:
        other.fit(given(x), y, batch_size=keras_models.ROWS, shuffle=False, verbose=0)
        found["next"] = rounded(other.predict(given(x), verbose=0))
    return found


def main():
    """Record all cases into one file."""
    cases = {name: recorded(case) for name, case in keras_models.cases().items()}
    index = {"keras": keras.__version__, "tensorflow": tf.__version__, "cases": cases}
    (HERE / "exported.json.gz").write_bytes(gzip.compress(json.dumps(index).encode(), mtime=0))


if __name__ == "__main__":
    main()
