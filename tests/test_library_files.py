"""Files of frozen networks: they are written whole, and whatever their bytes are, C and Python say what is wrong."""

import json
import os
import pickle
import random
import zlib
from pathlib import Path

import fuzz_library
import libraries
import numpy as np
import pytest

import fastnn
from fastnn import _frozen, layers
from fastnn.__main__ import main

LIBRARY = libraries.opened()
ORIGINALS = fuzz_library.originals()


def network(*middle, dtype="float32"):
    return fastnn.Sequential([fastnn.Input((3,), dtype=dtype), layers.Dense(4, "tanh"), *middle, layers.Dense(2)])


def unique(tmp_path, name="network.fnn"):
    """A path that no other thread of a test has."""
    folder = tmp_path / os.urandom(8).hex()
    folder.mkdir()
    return folder / name


def data_of(model, tmp_path):
    path = unique(tmp_path)
    model.freeze().save(path)
    return path.read_bytes()


def reasons(data, tmp_path):
    """What C says of bytes, and what Python does."""
    path = unique(tmp_path)
    path.write_bytes(data)
    with pytest.raises(fastnn.ModelFileError) as theirs:
        fastnn.load_predictor(path)
    with pytest.raises(ValueError, match="cannot be loaded: ") as ours:
        libraries.Loaded(LIBRARY, data)
    assert not LIBRARY.fnn_load(os.fsencode(path))
    of_file = LIBRARY.fnn_error_message().decode()
    reason = str(ours.value).partition("cannot be loaded: ")[2]
    assert of_file == f"{path} cannot be loaded: {reason}"
    return reason, str(theirs.value).partition(": ")[2]


# ---- the way there and back ----


def test_a_file_gives_back_names_and_how_x_is_read(tmp_path):
    model = fuzz_library.graph("float64")
    predictor, path = model.freeze(), unique(tmp_path)
    predictor.save(path)
    again = fastnn.load_predictor(path)
    x = {"a": np.random.default_rng(0).normal(size=(4, 3)), "b": [[1, 2], [3, 4], [5, 6], [7, 8]]}
    expected = predictor(x)
    for one in (again, pickle.loads(pickle.dumps(again))):
        answer = one(x)
        assert list(answer) == list(expected) == ["y", "z"]
        for name, values in expected.items():
            np.testing.assert_array_equal(answer[name], values)
    assert repr(again) == repr(predictor)
    again.save(path.with_name("again.fnn"))
    assert path.with_name("again.fnn").read_bytes() == path.read_bytes()


def test_raw_data_are_read_by_python(tmp_path):
    rows = [["red", "a"], ["green", "b"], ["blue", "a"], ["pink", "c"], [None, "a"]]
    layer = layers.CategoricalEmbedding(one_hot_limit=2, units=3)
    layer.adapt(rows[:3])
    predictor, path = fastnn.Sequential([fastnn.Input((2,)), layer, layers.Dense(2)]).freeze(), unique(tmp_path)
    predictor.save(path)
    np.testing.assert_array_equal(fastnn.load_predictor(path)(rows), predictor(rows))
    with libraries.Loaded(LIBRARY, path.read_bytes()) as loaded:
        np.testing.assert_array_equal(loaded(layer.prepare(rows)), predictor(rows))


def test_columns_of_frames_go_by_their_names(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.random.default_rng(0).normal(size=(20, 3)), columns=["a", "b", "c"])
    model, path = network(), unique(tmp_path)
    model.compile("sgd", "mse")
    model.fit(frame, np.zeros((20, 2)), verbose=0)
    model.freeze().save(path)
    expected = model.predict(frame, verbose=0)
    np.testing.assert_array_equal(fastnn.load_predictor(path)(frame[["c", "a", "b"]]), expected)


def test_mixed_precision_rounds_as_before(tmp_path):
    stack = [layers.Dense(600, "relu", dtype="mixed_bfloat16"), layers.Dense(600), layers.Dense(2)]
    model = fastnn.Sequential([fastnn.Input((600,), dtype="mixed_bfloat16"), *stack])
    x = np.random.default_rng(0).normal(size=(30, 600)).astype(np.float32)
    with libraries.Loaded(LIBRARY, data_of(model, tmp_path)) as loaded:
        np.testing.assert_array_equal(loaded(x), model.freeze()(x))


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = unique(tmp_path)
    network().freeze().save(path)
    before = path.read_bytes()
    unsaved = network(layers.Dense(5)).freeze()
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        unsaved.save(path.parent / "none" / "network.fnn")
    with pytest.raises(ValueError, match=r"ends as a file of ONNX does, .* use '.*network\.fnn'"):
        unsaved.save(path.with_suffix(".onnx"))
    assert path.read_bytes() == before
    assert [child.name for child in path.parent.iterdir()] == [path.name]
    unsaved.save(path)
    assert path.read_bytes() != before


# ---- what is refused ----


def rebuilt(data, change):
    """Return a file with a right checksum, after `change` of its parts."""
    parts = fuzz_library.Parts(data)
    change(parts)
    return parts.join()


def with_field(k, field, value):
    def change(parts):
        parts.ops[k][field] = value

    return change


REFUSED = {
    "another name": (with_field(0, 0, b"dance"), "its step 0, dance, has a name or an activation that this fastnn"),
    "no name": (
        with_field(0, 0, b"\xff\n%s"),
        "its step 0, ??%s, has a name or an activation that this fastnn".replace("%", "?"),
    ),
    "another activation": (
        with_field(1, 1, b"tahn"),
        "its step 1, dense, has a name or an activation that this fastnn",
    ),
    "a mode": (with_field(0, 2, b"divide"), "its step 0, dense, has a mode that this fastnn does not know"),
    "no inputs": (with_field(0, 3, 0), "its step 0, dense, must have 1 to 2**48 inputs and outputs"),
    "a kernel outside": (with_field(0, 5, 64), "its step 0, dense, has a kernel or a bias that lies outside"),
    "a kernel between lines": (with_field(1, 5, 24), "its step 1, dense, has a kernel or a bias that lies outside"),
    "no kernel": (with_field(0, 5, -1), "its step 0, dense, needs a kernel"),
    "a later input": (with_field(0, 9, 1), "its step 0, dense, must read x or an op before it"),
    "its own output": (with_field(1, 9, 1), "its step 1, dense, must read x or an op before it"),
    "columns that are not there": (with_field(1, 10, 1), "its step 0, dense, must be read as a whole by ops after it"),
    "part of x": (with_field(0, 10, 1), "its step 0, dense, and the others must read the whole of x"),
    "an addition": (with_field(0, 11, 0), "its step 0, dense, must not add anything"),
    "no join": (with_field(0, 12, 1), "its step 0, dense, must be joined in a join after it"),
    "constants": (with_field(0, 18, 1), "its step 0, dense, has constants that the file has not"),
    "no output": (lambda parts: parts.ops.pop(), ""),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_step_that_does_not_fit_is_named(kind, tmp_path):
    change, sentence = REFUSED[kind]
    data = rebuilt(data_of(network(), tmp_path), change)
    if not sentence:  # what is left is a network too
        with libraries.Loaded(LIBRARY, data) as loaded:
            assert loaded.outputs == 4
        return
    reason, of_python = reasons(data, tmp_path)
    assert reason.startswith(sentence)
    assert of_python == reason


def test_steps_share_no_parameters(tmp_path):
    """Else a small file could ask for any number of products."""
    model = fastnn.Sequential([fastnn.Input((64,)), layers.Dense(64), layers.Dense(64)])

    def again(parts):
        parts.ops += [[*parts.ops[1]] for _ in range(9)]
        for k, op in enumerate(parts.ops):
            op[9] = k - 1

    sentence = "its step 2, dense, has parameters that other steps have too"
    assert reasons(rebuilt(data_of(model, tmp_path), again), tmp_path) == (sentence, sentence)


def test_bytes_that_are_no_whole_file(tmp_path):
    data = data_of(network(), tmp_path)
    for given, reason in {
        data[:-1]: "it is cut short",
        data[:100]: "it is cut short",
        data + b"\0": "its size is not that which it says",
        data[:-1] + bytes([data[-1] ^ 1]): "it is damaged: its checksum does not match",
        data[:8] + b"\x02" + data[9:]: "its format has version 2, and this fastnn reads version 1",
        data[:24] + b"\x05" + data[25:]: "its numbers have a type that this fastnn does not know",
    }.items():
        assert reasons(given, tmp_path) == (reason, reason)


def test_files_of_others_are_named(tmp_path):
    path = unique(tmp_path, "model.fastnn")
    network().save(path)
    with pytest.raises(fastnn.ModelFileError, match=r"it is a model, which fastnn\.load_model reads, and whose freeze"):
        fastnn.load_predictor(path)
    (path.parent / "file.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(fastnn.ModelFileError, match=r"it is a file of Keras: .*, and Predictor\.save writes"):
        fastnn.load_predictor(path.parent / "file.h5")
    with pytest.raises(IsADirectoryError, match="a frozen network is one file"):
        fastnn.load_predictor(path.parent)
    network().freeze().save(path.with_name("network.fnn"))
    with pytest.raises(fastnn.ModelFileError, match=r"a file of Predictor\.save: fastnn\.load_predictor reads it"):
        fastnn.load_model(path.with_name("network.fnn"))


def described(data, change):
    """Return a file whose text for Python is changed."""
    parts = fuzz_library.Parts(data)
    text = json.loads(parts.text)
    change(text)
    parts.text = json.dumps(text).encode()
    return parts.join()


TEXTS = {
    "no heads": lambda text: text.pop("heads"),
    "other heads": lambda text: text.update(heads={"y": 3}),
    "heads that are no sizes": lambda text: text.update(heads={"y": -2, "z": 4}),
    "no reading": lambda text: text.update(reads=None),
    "no axes": lambda text: text["reads"].update(axes=[[3, "a"], False]),
    "branches without columns": lambda text: text["reads"].update(widths={"a": 3}),
    "other branches": lambda text: text["reads"].update(
        columns={"a": ["a"]}, widths={"a": 7}, branch_axes={"a": [None, False]}
    ),
    "a layer that is none": lambda text: text["reads"].update(
        prepare={"": [{"layer": {"class_name": "os"}, "names": []}]}
    ),
    "a layer of numbers": lambda text: text["reads"].update(
        prepare={"": [{"layer": layers.serialize(layers.Dense(2)), "names": None}]}
    ),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_that_does_not_fit_is_refused_by_python_alone(kind, tmp_path):
    path = unique(tmp_path)
    path.write_bytes(described(data_of(network(), tmp_path), TEXTS[kind]))
    with pytest.raises(fastnn.ModelFileError):
        fastnn.load_predictor(path)
    with libraries.Loaded(LIBRARY, path.read_bytes()) as loaded:
        assert (loaded.inputs, loaded.outputs) == (3, 2)


def test_rows_may_not_be_wider_than_the_file_pays_for(tmp_path):
    model = fastnn.Sequential([fastnn.Input((2,)), layers.CategoryEncoding(2**24, "one_hot")])
    with pytest.raises(
        ValueError, match=r"cannot be saved, .*: its rows are wider than a file of its size may ask for"
    ):
        model.freeze().save(unique(tmp_path))


def test_a_checksum_is_that_of_zip_files(tmp_path):
    data = data_of(network(), tmp_path)
    assert int.from_bytes(data[12:16], "little") == zlib.crc32(data[:12] + bytes(4) + data[16:])


@pytest.mark.parametrize("seed", range(5))
def test_changed_files_run_or_are_refused(seed):
    """A slice of tests/fuzz_library.py, whose command makes more of them."""
    for number in range(60):
        chance = random.Random(10_000 * seed + number)
        fuzz_library.outcome(LIBRARY, fuzz_library.mutant(chance.choice(ORIGINALS), chance), chance)


def test_mutants_are_whole_files_where_nothing_is_changed():
    for data in ORIGINALS:
        assert fuzz_library.Parts(data).join() == data
        assert _frozen.parse(data).parameters.size >= 0


@pytest.mark.thread_unsafe(reason="catches what is printed")
def test_the_command_says_what_a_compiler_needs(capsys):
    def said(*options):
        main(["config", *options])
        return capsys.readouterr().out.split()

    include, folder, link, path, library = said("--cflags", "--libs", "--library")
    assert Path(include.removeprefix("-I"), "fastnn_predictor.h").is_file()
    assert Path(folder.removeprefix("-L")) == Path(library).parent
    assert (link, path) == ("-lfastnn", f"-Wl,-rpath,{Path(library).parent}")
    assert Path(*said("--pkgconfigdir"), "fastnn.pc").is_file()
    assert Path(*said("--cmakedir"), "fastnnConfig.cmake").is_file()
    with pytest.raises(SystemExit):
        said()
    assert "say what to print: --cflags, --libs, --library, --pkgconfigdir or --cmakedir" in capsys.readouterr().err
