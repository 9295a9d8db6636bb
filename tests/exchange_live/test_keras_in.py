"""Files of the Keras that is installed, read as the recorded ones are: CONTRIBUTING says how to run this."""

import io
import os
import tarfile
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest

import fastnn

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with warnings.catch_warnings():  # of Keras's own imports
    warnings.simplefilter("ignore")
    pytest.importorskip("keras", exc_type=ImportError)
    from reference import record_keras_files as recorder

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.thread_unsafe(reason="Keras has global state")]
CASES = {**recorder.CASES, **dict(recorder.optimizer_cases())}
# float32 in another order of summation; training repeats it in some dozen steps
ANSWERS, TRAINED = 1e-5, 2e-5


def made(name):
    """Return the files and the arrays that the recorder makes of a case."""
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as archive:
        recorder.record(archive, name, CASES[name])
    memory.seek(0)
    with tarfile.open(fileobj=memory) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive.getmembers()}
    return files, np.load(io.BytesIO(files.pop(f"{name}.npz")))


def by_name(arrays, what):
    """Return an array, or a dict of arrays by name."""
    found = {key.partition(":")[2]: arrays[key] for key in arrays.files if key.partition(":")[0] == what}
    return found.get("", found)


def weights_of(layers):
    """Return the weights of the layers that hold no others, by name and number."""
    found = {}
    for layer in layers:
        if hasattr(layer, "layers"):
            found |= weights_of(layer.layers)
        else:
            found |= {f"{layer.name}:{k}": array for k, array in enumerate(layer.get_weights())}
    return found


@pytest.mark.parametrize("name", [name for name in CASES if name != "ftrl"])
def test_what_keras_saves_answers_and_trains_on_here_as_there(name):
    files, arrays = made(name)
    x, y, after = by_name(arrays, "x"), by_name(arrays, "y"), by_name(arrays, "after")
    for file in [file for file in files if file in (f"{name}.keras", f"{name}.h5")]:
        if name == "words" and file.endswith(".h5"):
            continue  # it does not hold the vocabularies
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / file
            path.write_bytes(files[file])
            model = fastnn.load_model(path)
        outputs, wanted = model.predict(x), by_name(arrays, "out")
        if isinstance(wanted, dict) and not isinstance(outputs, dict):
            (wanted,) = wanted.values()
        for key in wanted if isinstance(wanted, dict) else [...]:
            np.testing.assert_allclose(outputs[key], wanted[key], atol=ANSWERS)
        if after and not (name.startswith("legacy") and file.endswith(".keras")):  # which holds no state of these
            model.fit(x, y, batch_size=recorder.BATCH, epochs=recorder.EPOCHS, shuffle=False, verbose=0)
            trained = weights_of(model.layers)
            for key, array in after.items():
                atol = 1e-4 if name == "nadam" else TRAINED  # Keras 2 counts its momenta otherwise
                np.testing.assert_allclose(trained[key], array, atol=atol, err_msg=f"{file} {key}")
