"""The model file: exact round trips, and one exception for whatever else the bytes may be."""

import contextlib
import copy
import hashlib
import json
import os
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import _foreign, layers
from fastnn.tabular import TabularRegressor

X = np.random.default_rng(0).normal(size=(50, 3))
Y = np.arange(50) % 2


def trained(dtype="float32", epochs=2):
    model = fastnn.Sequential(
        [fastnn.Input((3,), dtype=dtype), layers.Dense(4, "tanh"), layers.Dense(2), layers.Activation("softmax")]
    )
    model.compile(fastnn.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(X, Y, epochs=epochs, verbose=0)
    return model


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_resumes_exactly(dtype, tmp_path):
    model = trained(dtype)
    model.save(tmp_path / "m.fastnn")
    loaded = fastnn.load_model(tmp_path / "m.fastnn")
    assert loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    for each in (model, loaded):
        each.fit(X, Y, epochs=4, initial_epoch=2, verbose=0)
    for a, b in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_models_not_built_or_not_compiled_round_trip(tmp_path):
    fastnn.Sequential([layers.Dense(2)]).save(tmp_path / "a")
    assert not fastnn.load_model(tmp_path / "a").built
    model = fastnn.Sequential([layers.Dense(2, input_shape=(3,))])
    model.save(tmp_path / "b")
    np.testing.assert_array_equal(fastnn.load_model(tmp_path / "b").predict(X), model.predict(X))


def test_safetensors_reads_our_weights(tmp_path):
    from safetensors.numpy import load_file

    model = trained()
    model.save(tmp_path / "m.safetensors")
    tensors = load_file(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(tensors["dense/kernel"], model.layers[1].kernel)
    assert "optimizer/velocity/dense_1/bias" in tensors


def refused(path, data):
    path.write_bytes(data)
    with pytest.raises(fastnn.ModelFileError):
        fastnn.load_model(path)


@pytest.mark.slow
def test_every_changed_byte_and_every_cut_is_refused(tmp_path):
    trained().save(tmp_path / "m")
    good = (tmp_path / "m").read_bytes()
    for place in range(len(good)):
        refused(tmp_path / "bad", good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
    for length in range(len(good)):
        refused(tmp_path / "bad", good[:length])
    refused(tmp_path / "bad", good + b"\0")


# What begins as a file of torch.save is for PyTorch to judge; tests/exchange/test_torch.py says what it gets without.
@given(data=st.binary(max_size=200).filter(lambda data: _foreign._owner_by_content(data) != "PyTorch"))
def test_random_bytes_are_refused(data, tmp_path_factory):
    refused(tmp_path_factory.getbasetemp() / "random", data)


def resigned(path, change):
    """The file with its header's parsed form changed, and a checksum that is right again: what a stranger can make."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, payload = json.loads(data[8 : 8 + length]), data[8 + length :]
    before = header["__metadata__"]["sha256"]
    change(header)
    if header["__metadata__"]["sha256"] == before:  # where they differ, only the checksum was changed
        header["__metadata__"]["sha256"] = "0" * 64
    blank = json.dumps(header).encode()
    prefix = len(blank).to_bytes(8, "little")
    digest = hashlib.sha256(prefix + blank + payload).hexdigest()
    return prefix + blank.replace(b"0" * 64, digest.encode(), 1) + payload


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300)
@given(data=st.data())
def test_hostile_configurations_are_refused_or_load(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / f"hostile{np.random.default_rng().integers(2**60)}"
    trained(epochs=0).save(path)
    part = data.draw(st.sampled_from(["config", "compile", "training"]))

    def change(header):
        config = json.loads(header["__metadata__"][part])
        node = config
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            key = data.draw(st.sampled_from(keys))
            if isinstance(node[key], (dict, list)) and node[key] and data.draw(st.booleans()):
                node = node[key]
                continue
            node[key] = data.draw(values)
            break
        header["__metadata__"][part] = json.dumps(config)

    path.write_bytes(resigned(path, change))
    with contextlib.suppress(fastnn.ModelFileError):  # any other exception fails the test
        assert isinstance(fastnn.load_model(path), fastnn.Sequential)
    path.unlink()


lengths = st.sampled_from([0, 1, 2**31, 2**61, 2**62]) | st.integers(-1, 5)
shapes = st.lists(lengths, max_size=5) | lengths.map(lambda length: [length] * 100)
digests = st.text(st.characters(codec=None), min_size=64, max_size=64) | st.sampled_from(["\ud800" * 64, "A" * 64])


@settings(max_examples=300)
@given(data=st.data())
def test_hostile_headers_are_refused(data, tmp_path_factory):
    """An entry of the header says something false, or describes one more array of no bytes but any shape."""
    path = tmp_path_factory.getbasetemp() / f"header{np.random.default_rng().integers(2**60)}"
    trained(epochs=0).save(path)

    def change(header):
        name = data.draw(st.sampled_from(sorted(header)))
        key = data.draw(st.sampled_from(sorted(header[name])))
        if data.draw(st.booleans()):
            header[name][key] = data.draw({"shape": shapes, "sha256": digests}.get(key, values) | values)
        else:
            end = max(entry["data_offsets"][1] for other, entry in header.items() if other != "__metadata__")
            header["more"] = {"dtype": "F32", "shape": data.draw(shapes), "data_offsets": [end, end]}

    path.write_bytes(resigned(path, change))
    with contextlib.suppress(fastnn.ModelFileError):  # any other exception fails the test
        assert isinstance(fastnn.load_model(path), fastnn.Sequential)
    path.unlink()


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h["dense/kernel"].update(shape=[2**40, 2**40]),
        lambda h: h["dense/kernel"].update(shape=[-3, -4]),
        lambda h: h["dense/kernel"].update(data_offsets=[0, 2**63]),
        lambda h: h["dense/kernel"].update(dtype="F16"),
        lambda h: h.update({"more/kernel": h.pop("dense/kernel")}),
        lambda h: h["__metadata__"].update(format_version="2"),
        lambda h: h["__metadata__"].update(config="[" * 100_000),
        lambda h: h["__metadata__"].update(config='{"a": NaN}'),
        lambda h: h["__metadata__"].pop("training"),
        lambda h: h["__metadata__"].update(sha256="\ud800" * 64),
        lambda h: h.update(more={"dtype": "F32", "shape": [0, 2**61, 2**61], "data_offsets": [312, 312]}),
        lambda h: h.update(more={"dtype": "F32", "shape": [0] * 100, "data_offsets": [312, 312]}),
    ],
)
def test_absurd_headers_are_refused(change, tmp_path):
    trained().save(tmp_path / "m")
    refused(tmp_path / "m", resigned(tmp_path / "m", change))


@pytest.mark.parametrize(
    ("make", "name", "shape"),
    [
        (lambda: layers.Dense(2, use_bias=False), "dense/kernel", (0, 2)),
        (lambda: layers.Embedding(3, 2), "embedding/embeddings", (3, 2)),
        (lambda: layers.Activation("relu"), None, ()),
        (lambda: layers.Branches({"a": [layers.Dense(2, use_bias=False)]}), "branches/a/dense/kernel", (0, 2)),
    ],
)
def test_rows_without_features_are_refused(make, name, shape, tmp_path):
    """Such rows fit the checksum and the arrays, but sizes are divided by the number of features."""
    path = tmp_path / "m"
    fastnn.Sequential([make()]).save(path)
    size = 4 * int(np.prod(shape)) if name else 0
    path.write_bytes(path.read_bytes() + bytes(size))

    def change(header):
        training = json.loads(header["__metadata__"]["training"])
        header["__metadata__"]["training"] = json.dumps(training | {"built": [0, "float32"]})
        if name:
            header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [0, size]}

    refused(path, resigned(path, change))


def test_a_model_that_is_built_and_says_it_is_not(tmp_path):
    """The weights of such a model would be made before anybody has counted them."""
    trained().save(tmp_path / "m")

    def change(header):
        training = json.loads(header["__metadata__"]["training"])
        header["__metadata__"]["training"] = json.dumps(training | {"built": None})

    refused(tmp_path / "m", resigned(tmp_path / "m", change))


def test_a_file_of_a_model_in_training_is_whole(tmp_path):
    """Reading or writing all of a model's weights waits for the run of another thread, and that run for it."""
    model = fastnn.Sequential([fastnn.Input((1,)), fastnn.layers.Dense(20000)])
    model.compile(fastnn.optimizers.SGD(0.001), "mse")
    model.set_weights([np.zeros((1, 20000)), np.zeros(20000)])
    x, y, done = np.zeros((4, 1), np.float32), np.full((4, 20000), 1e5, np.float32), threading.Event()

    def train():
        while not done.is_set():
            model.train_on_batch(x, y)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        for _ in range(20):
            model.save(tmp_path / "m")
            for bias in (
                fastnn.load_model(tmp_path / "m").get_weights()[1],
                model.get_weights()[1],
                model.layers[-1].get_weights()[1],
                copy.deepcopy(model).get_weights()[1],
            ):
                assert bias.min() == bias.max()  # all biases are alike after every whole step
    finally:
        done.set()
        thread.join()


def test_a_file_keeps_its_mode_and_the_links_to_it(tmp_path):
    target, link = tmp_path / "m", tmp_path / "link"
    trained().save(target)
    target.chmod(0o600)
    link.symlink_to(target)
    trained().save(link)
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o600
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe is no regular file"):
        trained().save(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        trained().save(tmp_path / "no" / "m")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "m", "pipe"]


@pytest.mark.thread_unsafe(reason="patches the os module")
def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    model = trained()
    model.save(tmp_path / "m")
    before = (tmp_path / "m").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            trained().save(tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer["branches"].pop("text"),
        lambda layer: layer["branches"].update(more=[]),
        lambda layer: layer["branches"]["text"][0]["config"].update(input_shape=[2**40]),
        lambda layer: layer.update(branches=[1, 2]),
        lambda layer: layer.update(branches={"numbers": "abc"}),
        lambda layer: layer["branches"].update(text=[{"class_name": "Heads", "config": {"heads": {"a": []}}}]),
        lambda layer: layer.update(columns={"numbers": [{"a": 1}]}),
        lambda layer: layer.update(columns=7),
    ],
)
def test_hostile_branches_are_refused(change, tmp_path):
    path = tmp_path / "model.fastnn"
    branches = layers.Branches({"numbers": [layers.Input((5,)), layers.Dense(4)], "text": [layers.Input((2,))]})
    fastnn.Sequential([branches, layers.Heads({"a": [layers.Dense(1)]})]).save(path)

    def edit(header):
        config = json.loads(header["__metadata__"]["config"])
        change(config["layers"][0]["config"])
        header["__metadata__"]["config"] = json.dumps(config)

    refused(path, resigned(path, edit))


_AT_PATHS = {
    "save": lambda model, path: model.save(path),
    "save_weights": lambda model, path: model.save_weights(path),
    "load_weights": lambda model, path: model.load_weights(path),
    "load_model": lambda model, path: fastnn.load_model(path),
    "load_keras": lambda model, path: fastnn.load_keras(path),
    "load_torch": lambda model, path: fastnn.models.load_torch(path),
    "load_onnx": lambda model, path: fastnn.load_onnx(path),
    "load_predictor": lambda model, path: fastnn.load_predictor(path),
    "Predictor.save": lambda model, path: model.freeze().save(path),
    "export_c": lambda model, path: model.export_c(path),
    "export_torch": lambda model, path: model.export_torch(path),
    "export_keras": lambda model, path: model.export_keras(path),
    "export_onnx": lambda model, path: model.export_onnx(path),
    "Diagram.save": lambda model, path: model.plot().save(path),
    "CSVLogger": lambda model, path: fastnn.callbacks.CSVLogger(path),
    "ModelCheckpoint": lambda model, path: fastnn.callbacks.ModelCheckpoint(path),
    "BackupAndRestore": lambda model, path: fastnn.callbacks.BackupAndRestore(path),
    "TensorBoard": lambda model, path: fastnn.callbacks.TensorBoard(path),
    "TabularRegressor.load": lambda model, path: TabularRegressor.load(path),
}


@pytest.mark.parametrize("call", list(_AT_PATHS))
def test_what_is_no_path_is_named(call):
    model = fastnn.Sequential([fastnn.Input((3,)), layers.Dense(2)])
    for path, error, found in ((3, TypeError, "int"), (None, TypeError, "NoneType"), ("", ValueError, "an empty one")):
        with pytest.raises(error, match=f"(path|name|dir) must be the path of (a file|a folder), got {found}$"):
            _AT_PATHS[call](model, path)


def test_a_path_may_be_bytes(tmp_path):
    path = os.fsencode(tmp_path / f"{threading.get_ident()}.fastnn")
    model = fastnn.Sequential([fastnn.Input((3,)), layers.Dense(2)])
    model.save(path)
    np.testing.assert_array_equal(fastnn.load_model(path).predict(X), model.predict(X))
    frozen = path.replace(b".fastnn", b".fnn")
    model.freeze().save(frozen)
    np.testing.assert_array_equal(fastnn.load_predictor(frozen)(X), model.predict(X))
