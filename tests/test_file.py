"""Files on the disk: whole or not there, with the mode they had, nothing left behind, and those of others named."""

import io
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnn
from fastnn import _file, layers
from fastnn._foreign import kind_of_file
from fastnn._stored import from_bytes, to_bytes


def small(**compiled):
    model = fastnn.Sequential([layers.Dense(2, input_shape=(3,))])
    model.compile("adam", "mse", **compiled)
    return model


# ---- writing ----

WRITER = """
import sys, time
from fastnn import _file
def parts():
    yield b"first"
    print("written", flush=True)
    time.sleep(60)
_file.write(sys.argv[1], parts)
"""


def writer(target):
    """Start a process that is in the middle of writing this file."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "written\n"
    return process


def end(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


@pytest.mark.thread_unsafe(reason="sets the mode that new files of the process get")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o444, None])
def test_a_file_that_is_being_written_has_the_mode_of_the_one_it_replaces(mode, tmp_path):
    target, modes = tmp_path / "model.fastnn", []
    if mode is not None:
        target.write_bytes(b"")
        target.chmod(mode)

    def parts():
        yield b"first"
        (temporary,) = [path for path in tmp_path.iterdir() if path != target]
        modes.append(temporary.stat().st_mode & 0o777)

    before = os.umask(0o022)
    try:
        _file.write(target, parts)
    finally:
        os.umask(before)
    modes.append(target.stat().st_mode & 0o777)
    assert modes == [0o644 if mode is None else mode] * 2


@pytest.mark.thread_unsafe(reason="starts processes of its own")
def test_the_next_save_removes_what_dead_writers_left_and_nothing_of_a_living_one(tmp_path):
    mine, others = tmp_path / ".mine.tmp", tmp_path / ".other.0123456789abcdef.tmp"
    mine.touch()
    others.touch()
    dead, living = writer(tmp_path / "a.fastnn"), writer(tmp_path / "b.fastnn")
    try:
        end(dead)
        assert len(list(tmp_path.glob(".*.fastnn-*.tmp"))) == 2
        small().save(tmp_path / "c.fastnn")
        (kept,) = tmp_path.glob(".*.fastnn-*.tmp")
        assert kept.name.startswith(".b.fastnn.")
        assert mine.exists()
        assert others.exists()
    finally:
        end(living)
    small().save(tmp_path / "c.fastnn")
    assert sorted(path.name for path in tmp_path.iterdir()) == [mine.name, others.name, "c.fastnn"]


@pytest.mark.thread_unsafe(reason="starts processes of its own")
def test_a_backup_that_was_killed_leaves_no_folder_behind(tmp_path):
    folder = tmp_path / "backup"
    folder.mkdir()
    end(writer(folder / "backup-000001-epoch-000001.fastnn"))
    keeper = fastnn.callbacks.BackupAndRestore(folder)
    small().fit(np.ones((4, 3)), np.ones((4, 2)), epochs=1, verbose=0, callbacks=[keeper])
    assert not folder.exists()


def test_a_writer_whose_new_file_is_taken_for_a_leftover_makes_another_one(tmp_path, monkeypatch):
    lock, locked = _file.fcntl.flock, []

    def too_late(descriptor, operation):
        locked.append(operation)
        if len(locked) == 1:  # the writer is about to take its first lock
            _file.remove_leftovers(tmp_path)
        lock(descriptor, operation)

    monkeypatch.setattr(_file.fcntl, "flock", too_late)
    small().save(tmp_path / "model.fastnn")
    assert len(locked) > 2
    assert [path.name for path in tmp_path.iterdir()] == ["model.fastnn"]


def test_where_a_file_system_has_no_locks_files_are_written_and_none_removed(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError("no locks")

    left = tmp_path / ".a.fastnn-0123456789abcdef.tmp"
    left.touch()
    monkeypatch.setattr(_file.fcntl, "flock", refuse)
    small().save(tmp_path / "model.fastnn")
    assert fastnn.load_model(tmp_path / "model.fastnn").built
    assert left.exists()


@pytest.mark.thread_unsafe(reason="limits the files of the process")
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "model.fastnn"
    small().save(target)
    before, limits = target.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    large = fastnn.Sequential([layers.Dense(100, input_shape=(100,))])
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            large.save(target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.fastnn"]


@pytest.mark.parametrize("name", ["a" * 240 + ".fastnn", "é" * 120 + ".fastnn", "\udcff" * 240, "a\nb"])
def test_every_name_that_a_file_may_have_is_taken(name, tmp_path):
    model = small()
    for _ in range(2):  # once as a new file, once replacing one
        model.save(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    np.testing.assert_equal(fastnn.load_model(tmp_path / name).get_weights(), model.get_weights())


@pytest.mark.parametrize("gone", ["target", "folder"])
def test_what_is_deleted_while_the_model_is_written(gone, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    target = folder / "model.fastnn"
    small().save(target)

    def parts():
        for path in list(folder.iterdir()) if gone == "folder" else [target]:
            path.unlink()
        if gone == "folder":
            folder.rmdir()
        return [b"whole"]

    if gone == "target":
        _file.write(target, parts)
        assert target.read_bytes() == b"whole"
    else:
        with pytest.raises(FileNotFoundError):
            _file.write(target, parts)


@pytest.mark.slow
def test_a_kill_at_any_time_leaves_a_whole_file(tmp_path):
    target = tmp_path / "model.fastnn"
    model = fastnn.Sequential([layers.Dense(1000, input_shape=(1000,))])
    model.save(target)
    target.chmod(0o600)
    for k in range(40):
        child = os.fork()
        if child == 0:
            while True:
                model.save(target)
        time.sleep(0.005 + 0.001 * k)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert fastnn.load_model(target).count_params() == model.count_params()
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())
    model.save(target)
    assert [path.name for path in tmp_path.iterdir()] == ["model.fastnn"]


# ---- names and contents of others ----


@pytest.mark.parametrize(
    "name", ["m.keras", "m.h5", "w.weights.h5", "m.PT", "m.onnx", "m.pkl", "a.b/m.npz", "m.tflite"]
)
def test_a_name_of_another_format_is_refused_with_the_one_to_use(name, tmp_path):
    stem = name.rsplit(".", 1)[0]
    for write in (small().save, small().save_weights, fastnn.callbacks.ModelCheckpoint):
        with pytest.raises(ValueError, match=f"filepath '{tmp_path}/{name}' ends as a file of .*use '.*{stem}.fastnn'"):
            write(tmp_path / name)
    assert not list(tmp_path.iterdir())


def zipped(*names):
    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "x")

    return write


def saved(save):
    memory = io.BytesIO()
    save(memory, np.ones(3))
    return memory.getvalue()


OLD_TORCH = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + b"and no more"
FOREIGN = {
    "PyTorch by name": (
        "m.pth",
        lambda path: path.write_bytes(pickle.dumps({1: 2}, 2)),
        "of PyTorch: fastnn.load_torch",
    ),
    "pickle": ("m", lambda path: path.write_bytes(pickle.dumps({1: 2})), "of pickle: .*only if you trust"),
    "joblib": ("m.joblib", lambda path: path.write_bytes(pickle.dumps({1: 2})), "of joblib: .*joblib.load"),
    "ONNX by name": ("m.onnx", lambda path: path.write_bytes(b"\x0a\x0a" * 99), "of ONNX: fastnn.load_onnx reads it"),
    "npz": ("m", lambda path: path.write_bytes(saved(np.savez)), "of NumPy: numpy.load reads it"),
    "npy": ("m", lambda path: path.write_bytes(saved(np.save)), "of NumPy: numpy.load reads it"),
    "TFLite": ("m", lambda path: path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(99)), "of TensorFlow: load it there"),
    "zip": ("m", zipped("a.txt"), "it is a zip file"),
    "text": ("m.txt", lambda path: path.write_text("name,value\n" * 9), "is cut short or something else"),
    "empty": ("m.fastnn", lambda path: path.write_bytes(b""), "is cut short or something else"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_others_is_called_what_it_is(kind, tmp_path):
    name, write, said = FOREIGN[kind]
    write(tmp_path / name)
    for load in (fastnn.load_model, small().load_weights):
        with pytest.raises(fastnn.ModelFileError, match=f"{tmp_path}/{name} is no whole model of fastnn: .*{said}"):
            load(tmp_path / name)


@pytest.mark.parametrize(
    "write",
    [zipped("m/data.pkl", "m/data/0"), zipped("m/data/0", "m/data.pkl"), lambda path: path.write_bytes(OLD_TORCH)],
)
def test_files_of_pytorch_need_it(write, tmp_path):
    write(tmp_path / "m")
    with pytest.raises((ImportError, fastnn.ModelFileError), match=f"{tmp_path}/m is (a|no whole) file of torch.save"):
        fastnn.load_model(tmp_path / "m")  # PyTorch may be there or not
    with pytest.raises(fastnn.ModelFileError, match=r"of PyTorch: fastnn\.load_torch reads it"):
        small().load_weights(tmp_path / "m")


def test_the_safetensors_of_others_and_folders_are_named(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.ones(3)}, tmp_path / "m.safetensors")
    with pytest.raises(fastnn.ModelFileError, match=r"m.safetensors is no .*a safetensors file of something else"):
        small().load_weights(tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match=r"m.safetensors has the module .*which is no linear layer"):
        fastnn.load_model(tmp_path / "m.safetensors")
    with pytest.raises(IsADirectoryError, match="is a folder: a model of fastnn is one file"):
        fastnn.load_model(tmp_path)
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(IsADirectoryError, match="is a SavedModel of TensorFlow"):
        fastnn.load_model(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.9, 0.999])
def test_the_error_of_a_file_that_is_cut_short_names_it(share, tmp_path):
    path = tmp_path / "model.fastnn"
    data = to_bytes(small())
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(fastnn.ModelFileError, match=f"{path} is no whole model of fastnn: .*cut short"):
        fastnn.load_model(path)


# ---- memory ----


def changed(model, **parts):
    """Return the bytes of a model with other parts of its metadata, and a checksum that is right."""
    data = to_bytes(model)
    metadata, arrays = _file.parse(io.BytesIO(data), len(data), "m")
    kept = {key: value for key, value in metadata.items() if key not in ("format", "format_version", "sha256")}
    return b"".join(_file.parts(kept | {key: json.dumps(value) for key, value in parts.items()}, arrays))


def load_within(data):
    """Load the bytes or return the error; loading must not take much more memory than the bytes do."""
    tracemalloc.start()
    try:
        from_bytes(data, fastnn.Sequential)
    except fastnn.ModelFileError as error:
        return str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**26 + len(data)
    return ""


def described(name, **arguments):
    return {"class_name": name, "config": arguments}


NUMBERS = [2**12, 2**20, 10**8, 2**31 - 1, 2**62, 2**70]
METRICS = [
    lambda n: described("AUC", num_thresholds=n),
    lambda n: described("PrecisionAtRecall", recall=0.5, num_thresholds=n),
    lambda n: described("RecallAtPrecision", precision=0.5, num_thresholds=n),
    lambda n: described("SensitivityAtSpecificity", specificity=0.5, num_thresholds=n),
    lambda n: described("SpecificityAtSensitivity", sensitivity=0.5, num_thresholds=n),
    lambda n: described("MeanIoU", num_classes=n),
    lambda n: described("OneHotMeanIoU", num_classes=n),
    lambda n: described("IoU", num_classes=n, target_class_ids=[0]),
    lambda n: described("TopKCategoricalAccuracy", k=n),
    lambda n: described("R2Score", num_regressors=n),
]
LAYERS = [
    lambda n: described("StringLookup", vocabulary=["a"], num_oov_indices=n),
    lambda n: described("IntegerLookup", vocabulary=[1], num_oov_indices=n),
    lambda n: described("IntegerLookup", vocabulary=[1], max_tokens=n, pad_to_max_tokens=True, output_mode="one_hot"),
    lambda n: described("CategoricalEmbedding", vocabularies=[["a"]], one_hot_limit=n, units=n),
    lambda n: described("Discretization", num_bins=n),
    lambda n: described("CategoryEncoding", num_tokens=n, input_shape=[4]),
    lambda n: described("Dense", units=n, input_shape=[4]),
    lambda n: described("Dense", units=1, input_shape=[n]),
    lambda n: described("Embedding", input_dim=n, output_dim=n, input_shape=[4]),
    lambda n: described("Reshape", target_shape=[n], input_shape=[n]),
    lambda n: described("Activation", activation="relu", input_shape=[n]),
    lambda n: described("BatchNormalization", input_shape=[n]),
]


@pytest.mark.thread_unsafe(reason="traces the memory of the process")
@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_in_a_small_file_make_nothing_large(number):
    for make in METRICS:
        compiled = small().get_compile_config() | {"metrics": [make(number)] * 10}
        load_within(changed(small(), compile=compiled))
    for make in LAYERS:
        model = fastnn.Sequential([layers.Dense(2)])
        load_within(changed(model, config={"name": "m", "layers": [make(number)]}))
    compiled = small().get_compile_config()
    compiled["optimizer"] = described("LBFGS", max_corrections=number, max_line_search=number)
    load_within(changed(small(), compile=compiled))


def test_a_model_that_asks_for_more_than_a_file_may_is_not_saved(tmp_path):
    model = small(metrics=[fastnn.metrics.AUC(num_thresholds=2**20, name=name) for name in "ab"])
    with pytest.raises(fastnn.ModelFileError, match=r"its metrics keep .* numbers, and a file of this size"):
        model.save(tmp_path / "m")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("unit", ["[],", "{},", '{"a":[]},', '"[",', "[[[[]]]],"])
@pytest.mark.parametrize("part", ["header", "config", "compile"])
def test_brackets_are_counted_before_anything_is_made_of_them(unit, part, monkeypatch):
    monkeypatch.setattr(_file, "MAX_BRACKETS", 100)
    made = []
    monkeypatch.setattr(_file, "_no_duplicates", lambda pairs: made.append(pairs) or dict(pairs))
    text = f"[{','.join([unit[:-1]] * 101)}]"
    header = json.dumps({"__metadata__": json.loads(text)}).encode()
    data = (
        changed(small(), **{part: json.loads(text)})
        if part != "header"
        else b"".join([len(header).to_bytes(8, "little"), header])
    )
    with pytest.raises(fastnn.ModelFileError) as refused:
        from_bytes(data, fastnn.Sequential)
    assert ("more than 100 lists and dicts" in str(refused.value)) == (unit != '"[",')
    assert part != "header" or not made or unit == '"[",'


def test_refused_memory_is_no_bad_file(tmp_path, monkeypatch):
    path = tmp_path / "m.fastnn"
    small().save(path)

    def refuse(*arguments, **named):
        raise MemoryError("no memory")

    for place in ("fastnn.network.Engine", "fastnn._file.np.frombuffer"):
        with monkeypatch.context() as patch:
            patch.setattr(place, refuse)
            for load in (fastnn.load_model, lambda path: from_bytes(path.read_bytes(), fastnn.Sequential)):
                with pytest.raises(MemoryError, match="no memory"):
                    load(path)


@given(start=st.binary(max_size=80), suffix=st.sampled_from(["", ".pt", ".keras", ".fastnn", ".PKL"]))
def test_whatever_a_file_begins_with_is_looked_at_without_an_error(start, suffix):
    assert isinstance(kind_of_file(start, "m" + suffix), str)
    text = start.decode("latin-1").encode()
    try:
        expected = json.loads(text.decode(), parse_constant=lambda name: 1 / 0)
    except (ValueError, ZeroDivisionError):
        with pytest.raises(fastnn.ModelFileError):
            _file.parse_json(text, "it")
    else:
        assert _file.parse_json(text, "it") == expected


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=50)
@given(value=values, ascii_only=st.booleans())
def test_brackets_and_quotes_within_text_are_text(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert _file.parse_json(text, "it") == value
