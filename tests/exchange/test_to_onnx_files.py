"""Files of ONNX: versions of operators, names, what metadata says, and what cannot be written."""

import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx_answers import answers, assert_same_answers, exported, newest_opset, session_of, with_weights

import fastnn
from fastnn import activations, layers
from fastnn.exchange import _to_onnx

GENERATOR = np.random.default_rng(1)
X = GENERATOR.normal(size=(6, 4))
NAMES = ("get", "serialize", "deserialize", "glu", "linear")


def network(**first):
    return fastnn.Sequential([layers.Dense(8, "relu", input_shape=(4,), **first), layers.Dense(3, "softmax")])


def of_everything(dtype):
    """A model in which every activation and every normalization has a head."""
    functions = [name for name in activations.__all__ if name.islower() and name not in NAMES]
    heads = {name: [layers.Activation(name)] for name in functions} | {
        "batch": [layers.BatchNormalization()],
        "layer": [layers.LayerNormalization()],
        "rms": [layers.RMSNormalization()],
        "unit": [layers.UnitNormalization()],
        "members": [layers.EnsembleScale(3), layers.EnsembleDense(2, 3, "softmax")],
        "bins": [layers.Discretization([0.0, 0.5], output_mode="count")],
        "learned": [layers.PReLU(), layers.ParametricActivation("elu")],
        "gated": [layers.GLU("gelu")],
    }
    return with_weights(fastnn.Sequential([layers.Input((4,), dtype=dtype), layers.Heads(heads)]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("opset", range(_to_onnx.OLDEST, _to_onnx.NEWEST + 1))
def test_every_version_of_the_operators(opset, dtype):
    if opset > newest_opset():
        pytest.skip("the installed onnx or ONNX Runtime is older than this version of the operators")
    message = assert_same_answers(of_everything(dtype), X, opset=opset)
    assert message.opset_import[0].version == opset


@pytest.mark.parametrize(
    ("opset", "error", "message"),
    [
        (12, ValueError, "opset must lie between 13 and"),
        (99, ValueError, "got 99"),
        (True, TypeError, "opset must be an integer, got bool"),
        ("18", TypeError, "opset must be an integer, got str"),
    ],
)
def test_a_version_that_is_not_supported(opset, error, message, tmp_path):
    with pytest.raises(error, match=message):
        network().export_onnx(tmp_path / "opset.onnx", opset=opset)
    assert not (tmp_path / "opset.onnx").exists()


def test_names_and_versions():
    message = exported(network(name="hidden"))
    assert (message.producer_name, message.producer_version) == ("fastnn", fastnn.__version__)
    assert [node.name for node in message.graph.node] == ["hidden/Gemm", "hidden/Relu", "dense/Gemm", "dense/Softmax"]
    assert [one.name for one in message.graph.initializer] == [
        "hidden/kernel", "hidden/bias", "dense/kernel", "dense/bias"
    ]  # fmt: skip
    assert message.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "rows"
    assert (message.opset_import[0].version, message.ir_version) == (18, 8)


def test_an_ensemble_stays_apart_from_its_first_layer_to_its_mean():
    dense = [layers.EnsembleDense(8, 4, "relu"), layers.EnsembleDense(3, 4, "softmax", sharing="none")]
    model = fastnn.Sequential([layers.Input((3,)), layers.EnsembleScale(4), *dense, layers.EnsembleMean(4)])
    kinds = [node.op_type for node in exported(model).graph.node]
    assert kinds == [
        *("Unsqueeze", "Mul"),
        *("Mul", "MatMul", "Mul", "Add", "Relu"),
        *("Transpose", "MatMul", "Transpose", "Add", "Softmax"),
        "ReduceMean",
    ]


def test_names_of_columns_are_told():
    frame = pd.DataFrame(X, columns=["age", "income", "height", "weight"])
    model = fastnn.Sequential([layers.Dense(2)])
    model.compile("sgd", "mse")
    model.fit(frame, pd.DataFrame(X[:, :2], columns=["a", "b"]), verbose=0)
    message = exported(model)
    told = {one.key: json.loads(one.value) for one in message.metadata_props}
    assert told == {"input_columns": {"x": list(frame.columns)}, "output_columns": {"y": ["a", "b"]}}
    assert json.loads(message.graph.input[0].doc_string.removeprefix("columns: ")) == list(frame.columns)


def test_an_output_with_the_name_of_an_input():
    branches = layers.Branches({"price": [layers.Input((2,))], "y": [layers.Input((2,))]})
    model = fastnn.Sequential([branches, layers.Heads({"price": [layers.Dense(1)]})])
    message = exported(model)
    assert [one.name for one in message.graph.output] == ["price_output"]
    x = {"price": X[:, :2], "y": X[:, 2:]}
    np.testing.assert_allclose(
        answers(session_of(message), x)["price_output"], model.predict(x)["price"], rtol=1e-5, atol=1e-6
    )


def test_equal_models_give_equal_bytes():
    model, found = of_everything("float32"), []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "equal.onnx"
            fastnn.models.clone_model(model)  # draws numbers: nothing of the file depends on them
            model.export_onnx(str(path))
            found.append(path.read_bytes())
    assert found[0] == found[1]


def test_mixed_precision_is_written_as_float32():
    model = network(dtype="mixed_bfloat16")
    session = session_of(exported(model))
    # weights of 8 bits of mantissa in products of 4 and 8 terms
    np.testing.assert_allclose(answers(session, X)["y"], model.predict(X), atol=0.03)
    assert session.get_inputs()[0].type == "tensor(float)"


def test_weights_are_those_of_the_moment():
    model = network()
    before = answers(session_of(exported(model)), X)["y"]
    with_weights(model, 5)
    after = answers(session_of(exported(model)), X)["y"]
    assert np.abs(before - after).max() > 1e-3
    np.testing.assert_allclose(after, model.predict(X), rtol=1e-5, atol=1e-6)


# ---- raw columns ----


def frame_of(**columns):
    return pd.DataFrame(columns)


def test_a_table_of_text_and_numbers_has_an_input_a_column():
    frame = frame_of(city=["Rome", "Oslo", None, "Bern"], age=[3.0, 4.0, 5.0, 6.0], code=[1, 2, 1, 7])
    categories = layers.CategoricalEmbedding(one_hot_limit=2, columns=["city", "code"])
    categories.adapt(frame)
    model = with_weights(fastnn.Sequential([layers.Input((3,)), categories, layers.Dense(2)]))
    message = exported(model)
    kinds = {one.name: one.type.tensor_type.elem_type for one in message.graph.input}
    assert kinds == {"city": onnx.TensorProto.STRING, "age": onnx.TensorProto.FLOAT, "code": onnx.TensorProto.FLOAT}
    rows = frame_of(city=["Bern", "Paris", None], age=[1.0, 2.0, 3.0], code=[7.0, 9.0, np.nan])
    text = np.array(["Bern", "Paris", ""], object)[:, None]  # the empty text stands for a missing one
    given = {"city": text, "age": rows["age"].to_numpy()[:, None], "code": rows["code"].to_numpy()[:, None]}
    found = answers(session_of(message), given)["y"]
    np.testing.assert_allclose(found, model.predict(rows), rtol=1e-5, atol=1e-6)


def test_text_and_numbers_in_one_column(tmp_path):
    categories = layers.CategoricalEmbedding(vocabularies=[["a", 1]])
    model = fastnn.Sequential([layers.Input((1,)), categories])
    with pytest.raises(ValueError, match="column '0' has text and numbers as values"):
        model.export_onnx(tmp_path / "mixed.onnx")
    assert not (tmp_path / "mixed.onnx").exists()


def test_unknown_text_that_a_checksum_tells_apart(tmp_path):
    lookup = layers.StringLookup(num_oov_indices=3, vocabulary=["a"], name="words")
    model = fastnn.Sequential([layers.Input((1,)), lookup, layers.Embedding(4, 2)])
    with pytest.raises(ValueError, match="layer 'words' cannot be exported with num_oov_indices=3: the CRC-32"):
        model.export_onnx(tmp_path / "checksum.onnx")


def test_what_no_vocabulary_holds_is_nan():
    for rest in ([layers.Embedding(2, 3)], [layers.CategoryEncoding(2, "one_hot")], []):
        lookup = layers.StringLookup(num_oov_indices=0, vocabulary=["a", "b"])
        model = fastnn.Sequential([layers.Input((1,)), lookup, *(rest or [layers.Rescaling(1)])])
        found = answers(session_of(exported(model)), np.array([["b"], ["c"]], object))["y"]
        assert np.isnan(found[1]).all()
        np.testing.assert_array_equal(found[:1], model.predict(np.array([["b"]], object)))


@pytest.mark.parametrize("make", [lambda: layers.Embedding(3, 2), lambda: layers.CategoryEncoding(3)])
def test_a_number_that_is_no_category_is_nan(make):
    model = fastnn.Sequential([layers.Input((1,)), make()])
    session = session_of(exported(model))
    assert session.get_inputs()[0].type == "tensor(int64)"
    numbers = np.array([[2], [-1], [3], [-4], [2**40]])
    found = answers(session, numbers)["y"]
    np.testing.assert_allclose(found[:1], model.predict(numbers[:1]))
    assert np.isnan(found[1:]).all()


def test_an_embedding_beside_a_head_of_numbers():
    heads = layers.Heads({"a": [layers.Embedding(3, 2)], "b": [layers.Dense(1)]})
    model = fastnn.Sequential([layers.Input((2,)), heads])
    x = GENERATOR.integers(0, 3, (5, 2))
    session = session_of(assert_same_answers(model, x))
    assert session.get_inputs()[0].type == "tensor(float)"
    wrong = answers(session, np.array([[0.5, np.nan], [-1, 3], [np.inf, -np.inf], [2, -0.0]]))["a"]
    assert np.isnan(wrong[:3]).all()
    assert np.isfinite(wrong[3]).all()


# ---- files ----


def test_a_model_that_is_not_built(tmp_path):
    with pytest.raises(ValueError, match="export_onnx needs a built model"):
        fastnn.Sequential([layers.Dense(1)]).export_onnx(tmp_path / "unbuilt.onnx")
    assert not (tmp_path / "unbuilt.onnx").exists()


def test_weights_that_one_message_cannot_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(_to_onnx, "_LARGEST", 100)
    with pytest.raises(ValueError, match="export_onnx needs weights of less than 2 GiB"):
        network().export_onnx(tmp_path / "large.onnx")
    assert not (tmp_path / "large.onnx").exists()


def test_constants_that_one_message_cannot_hold(tmp_path, monkeypatch):
    """A table has one more row in a graph, of NaN."""
    model = fastnn.Sequential([layers.Input((1,)), layers.Embedding(16, 4)])
    monkeypatch.setattr(_to_onnx, "_LARGEST", model._engine.parameters.nbytes)
    with pytest.raises(ValueError, match=r"export_onnx needs weights of less than 2 GiB, .* got 304 bytes"):
        model.export_onnx(tmp_path / "larger.onnx")


def test_a_failed_export_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "kept.onnx"
    path.write_bytes(b"before")
    with pytest.raises(ValueError, match="needs a built model"):
        fastnn.Sequential([layers.Dense(1)]).export_onnx(path)
    assert path.read_bytes() == b"before"
    assert [one.name for one in tmp_path.iterdir()] == ["kept.onnx"]


def test_onnx_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r"export_onnx needs onnx: pip install 'fastnn-cpu\[onnx\]'"):
        network().export_onnx(tmp_path / "missing.onnx")
