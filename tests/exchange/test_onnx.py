"""ONNX files of real exporters, as tests/reference/record_onnx.py wrote them, become models with the same answers."""

import io
import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fastnn

RECORDED = Path(__file__).parents[1] / "reference" / "files_onnx.zip"
# What ONNX Runtime computes in float32, with sums in another order.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def names():
    with zipfile.ZipFile(RECORDED) as file:
        return [name[:-5] for name in file.namelist() if name.endswith(".onnx")]


def recorded(name):
    """Return the bytes of a file, its inputs, and the answers to them."""
    with zipfile.ZipFile(RECORDED) as file:
        data = file.read(f"{name}.onnx")
        with np.load(io.BytesIO(file.read(f"{name}.npz"))) as arrays:
            inputs = {key[3:]: arrays[key] for key in arrays.files if key.startswith("in:")}
            outputs = {key[4:]: arrays[key] for key in arrays.files if key.startswith("out:")}
    return data, inputs, outputs


def load(data, **options):
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(data)
        file.flush()
        return fastnn.load_onnx(file.name, **options)


def predicted(model, inputs):
    """Return the model's outputs by name; columns of an input that are branches of their own are taken in order."""
    widths = model.input_shape
    if isinstance(widths, dict) and set(widths) == set(inputs):
        x = inputs
    else:
        x = np.concatenate([array.reshape(len(array), -1).astype(np.float64) for array in inputs.values()], axis=1)
        x = x.reshape(next(iter(inputs.values())).shape) if len(inputs) == 1 else x
    answer = model.predict(x, verbose=0)
    return answer if isinstance(answer, dict) else {"": answer}


@pytest.mark.parametrize("name", names())
def test_a_file_of_an_exporter_gives_what_onnx_runtime_answers(name):
    data, inputs, outputs = recorded(name)
    model = load(data)
    answers = predicted(model, inputs)
    assert len(answers) == len(outputs)
    for output, array in outputs.items():
        answer = answers.get(output.replace("/", "_"), answers.get(""))
        np.testing.assert_allclose(answer.reshape(array.shape), array, **CLOSE)


def test_the_exporters_versions_are_recorded():
    with zipfile.ZipFile(RECORDED) as file:
        versions = {n.split("/")[0]: json.loads(file.read(n)) for n in file.namelist() if n.endswith("versions.json")}
    assert {"torch", "sklearn", "tensorflow"} == set(versions)
    assert all("onnxruntime" in found for found in versions.values())


def test_the_parts_of_a_network_are_the_layers_that_an_engineer_would_write():
    kinds = {name: [type(layer).__name__ for layer in load(recorded(name)[0]).layers] for name in names()}
    assert kinds["torch/plain_script"] == kinds["torch/plain_dynamo"] == ["InputLayer", "Dense", "Dense"]
    assert kinds["sklearn/two_classes"] == ["InputLayer", "Normalization", "Dense", "Dense"]
    assert kinds["torch/blocks_script"] == [
        "InputLayer", "Dense", "Residual", "Residual", "LayerNormalization", "Dense",
    ]  # fmt: skip
    assert kinds["torch/table_dynamo"] == ["Branches", "Dense", "Heads"]
    assert kinds["torch/gated_script"] == ["InputLayer", "Residual", "Dense", "GLU"]


def test_load_model_knows_a_file_of_onnx_by_its_content(tmp_path):
    data, inputs, outputs = recorded("torch/plain_script")
    path = Path(tempfile.mkdtemp(dir=tmp_path)) / "model.fastnn"
    path.write_bytes(data)
    (answer,) = predicted(fastnn.load_model(path), inputs).values()
    np.testing.assert_allclose(answer, *outputs.values(), **CLOSE)
    path.write_bytes(data[:-9])
    with pytest.raises(fastnn.ModelFileError, match=f"{path} is no whole ONNX model: it is cut short"):
        fastnn.load_model(path)
