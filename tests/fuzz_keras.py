"""Damaged and changed files of Keras: each is read, or refused in one sentence, without a crash, a hang or much memory.

As a command it makes as many as it is told, some at a time in processes of their own, so that a crash is found too:

python tests/fuzz_keras.py --count 200000
"""

import argparse
import copy
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np

import fastnn

REFERENCE = Path(__file__).parent / "reference"
VALUES = [
    None, True, False, 0, -1, 1, 2, 7, 2**31, 2**53, 2**63, 2**200, -(2**40), 0.5, -0.0, 1e-300, 1e308, "", "x", "a/b",
    "..", "relu", "softmax", "mse", "float64", "float16", "Dense", "Sequential", "Functional", "Lambda", "Add",
    "Concatenate", "Embedding", "Normalization", "\ud7ff\0", "n" * 3000, [], {}, [None, 4], [None], [[]], [0, 0],
    {"class_name": "Dense", "config": {"units": 2**40}}, {"class_name": "L2", "config": {"l2": -1}},
]  # fmt: skip
DTYPES = [
    "f4",
    "f8",
    "f2",
    "i4",
    "u1",
    "S3",
    "c8",
    "?",
    h5py.string_dtype(),
    h5py.ref_dtype,
    h5py.vlen_dtype("f4"),
    [("a", "f4")],
]
SHAPES = [(), (0,), (1,), (3,), (4, 3), (3, 4), (5, 5), (1, 1, 1), (2, 0)]
_MOST_BYTES = 32_000  # of a file that is changed
_MOST_ROWS = 2**20  # elements of outputs that are looked at


def seeds():
    """Return the recorded files by name, without the largest ones."""
    found = {}
    for path in sorted(REFERENCE.glob("files_keras*.tar.xz")):
        with tarfile.open(path) as archive:
            for member in archive.getmembers():
                if member.name.endswith((".keras", ".h5")) and member.size < _MOST_BYTES:
                    found[f"{path.name.split('.')[0]}/{member.name}"] = archive.extractfile(member).read()
    return found


# ---- changes ----


def places(tree, path=()):
    """Yield the path of each value of JSON."""
    yield path
    if isinstance(tree, (dict, list)):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield from places(tree[key], (*path, key))


def at(tree, path):
    """Return the value at a path."""
    for key in path:
        tree = tree[key]
    return tree


def change_json(generator, tree):
    """Return JSON with one to three values changed, moved, doubled or left out."""
    tree = copy.deepcopy(tree)
    for _ in range(generator.integers(1, 4)):
        paths = [path for path in places(tree) if path]
        if not paths:
            return tree
        path = paths[generator.integers(len(paths))]
        holder, key = at(tree, path[:-1]), path[-1]
        way = generator.integers(7)
        if way < 3:
            holder[key] = copy.deepcopy(VALUES[generator.integers(len(VALUES))])
        elif way == 3:
            holder[key] = copy.deepcopy(at(tree, paths[generator.integers(len(paths))]))
        elif way == 4:
            del holder[key]
        elif way == 5 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif isinstance(holder, dict):
            holder[str(VALUES[generator.integers(len(VALUES))])[:20]] = holder.pop(key)
    return tree


def change_bytes(generator, content):
    """Return bytes of which some are changed, moved or cut off, most of them where a file has its structure."""
    content = bytearray(content)
    if generator.random() < 0.05:
        return bytes(content[: generator.integers(len(content) + 1)])
    for _ in range(generator.integers(1, 5)):
        most = len(content) if generator.random() < 0.5 else min(len(content), 4096)
        start = generator.integers(most)
        way = generator.integers(4)
        if way == 0:
            content[start] ^= 1 << generator.integers(8)
        elif way == 1:
            content[start] = (0, 1, 0x7F, 0x80, 0xFF)[generator.integers(5)]
        elif way == 2:
            number = int((0, 1, 2**16, 2**31 - 1, 2**32 - 1, 2**40, 2**63, 2**64 - 1)[generator.integers(8)])
            width = (2, 4, 8)[generator.integers(3)]
            content[start : start + width] = (number % 256**width).to_bytes(width, "little")
        else:
            other, length = generator.integers(most), generator.integers(1, 64)
            content[start : start + length] = content[other : other + length]
    return bytes(content)


def change_tree(generator, content):
    """Return an HDF5 file with another array, link, name or attribute in a place."""
    memory = io.BytesIO(content)
    with h5py.File(memory, "r+") as file:
        names = []
        file.visit(names.append)
        name = names[generator.integers(len(names))]
        way = generator.integers(6)
        if way == 0:
            del file[name]
        elif way == 1:
            del file[name]
            file[name] = (h5py.SoftLink("/" + name), h5py.ExternalLink("other.h5", "/"))[generator.integers(2)]
        elif way == 2:
            other = names[generator.integers(len(names))]
            if not name.startswith(other) and not other.startswith(name):
                del file[name]
                file[name] = file[other]
        elif way == 3:
            del file[name]
            dtype, shape = DTYPES[generator.integers(len(DTYPES))], SHAPES[generator.integers(len(SHAPES))]
            options = {"chunks": True, "compression": "gzip"} if shape and 0 not in shape and way % 2 else {}
            file.create_dataset(name, shape, dtype, **options if generator.random() < 0.3 else {})
        elif way == 4 and isinstance(file[name], h5py.Dataset):
            held = file[name][()]
            del file[name]
            file[name] = np.asarray(held, ("f8", "f2", "i4", ">f4")[generator.integers(4)])
        else:
            holder = file[name] if generator.random() < 0.7 else file
            keys = [*holder.attrs, "weight_names", "layer_names", "name"]
            given = [["a"], ["x/y", "../z"], [], "text", np.ones(3), b"\xff", ["n" * 100] * 50]
            holder.attrs[keys[generator.integers(len(keys))]] = given[generator.integers(len(given))]
    return memory.getvalue()


def change_h5(generator, content):
    """Return a changed HDF5 file: its JSON, what it holds, or its bytes."""
    way = generator.integers(4)
    if way == 0:
        memory = io.BytesIO(content)
        with h5py.File(memory, "r+") as file:
            keys = [key for key in ("model_config", "training_config") if key in file.attrs]
            if keys:
                key = keys[generator.integers(len(keys))]
                file.attrs[key] = json.dumps(change_json(generator, json.loads(file.attrs[key])))[:60000]
        return memory.getvalue()
    return change_tree(generator, content) if way == 1 else change_bytes(generator, content)


def change_archive(generator, content):
    """Return a changed archive: its configuration, its arrays, its entries or its bytes."""
    way = generator.integers(8)
    if way == 0:
        return change_bytes(generator, content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    if way < 4:
        entries["config.json"] = json.dumps(change_json(generator, json.loads(entries["config.json"]))).encode()
    elif way < 6:
        entries["model.weights.h5"] = change_h5(generator, entries["model.weights.h5"])
    elif way == 6:
        name = list(entries)[generator.integers(len(entries))]
        entries[name] = change_bytes(generator, entries[name])
    else:
        name = list(entries)[generator.integers(len(entries))]
        entries[("../x", "config.json", "model.weights.h5", "a/" + name)[generator.integers(4)]] = entries.pop(name)
    memory = io.BytesIO()
    with zipfile.ZipFile(
        memory, "w", zipfile.ZIP_DEFLATED if generator.random() < 0.3 else zipfile.ZIP_STORED
    ) as archive:
        for name, held in entries.items():
            archive.writestr(name, held)
    return memory.getvalue()


def mutant(files, number):
    """Return the name of a recorded file and a change of it, always the same; None where h5py makes none."""
    generator = np.random.default_rng(number)
    name = sorted(files)[generator.integers(len(files))]
    change = change_archive if name.endswith(".keras") else change_h5
    try:
        return name, change(generator, files[name])
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        return None


# ---- what is done with each ----


def try_one(path, weights):
    """Read a file, as one of weights as well where that is said; raise where anything but one sentence comes of it."""
    try:
        model = fastnn.load_keras(path)
    except fastnn.ModelFileError as error:
        if "\n" in str(error):
            raise AssertionError(f"more than a line: {error}") from error
    else:
        shape = model.input_shape if model.built else {}
        if isinstance(shape, tuple) and np.prod(shape[1:], dtype=float) < _MOST_ROWS:
            with np.errstate(all="ignore"):
                model.get_config()
    if not weights:
        return
    other = fastnn.Sequential([fastnn.Input((4,)), fastnn.layers.Dense(5, use_bias=False), fastnn.layers.Dense(3)])
    try:
        other.load_weights(path)
    except fastnn.ModelFileError as error:
        if "\n" in str(error):
            raise AssertionError(f"more than a line: {error}") from error


def work(first, count, status):
    """Try mutants one after the other, writing down which is tried."""
    files, failed = seeds(), 0
    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / "m"
        for number in range(first, first + count):
            status.write_text(str(number))
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            changed = mutant(files, number)
            if changed is None:
                continue
            name, content = changed
            path.write_bytes(content)
            signal.alarm(30)
            try:
                try_one(path, number % 4 == 0)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is a defect that is written down
                failed += 1
                print(f"{number} {name}: {type(error).__name__}: {error}", flush=True)  # noqa: T201
            signal.alarm(0)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
            if grown > 2 * len(content) + 2**26:
                failed += 1
                print(f"{number} {name}: took {grown} bytes", flush=True)  # noqa: T201
    return failed


def main():
    """Try as many mutants as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=2000)
    parser.add_argument("--status", type=Path)
    given = parser.parse_args()
    if given.status is not None:
        sys.exit(bool(work(given.first, given.count, given.status)))
    started, bad = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder:
        status, number, end = Path(folder) / "status", given.first, given.first + given.count
        while number < end:
            some = min(given.at_once, end - number)
            command = [sys.executable, __file__, "--first", str(number), "--count", str(some), "--status", str(status)]
            done = subprocess.run(command, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
            bad += done.returncode == 1
            if done.returncode < 0:
                bad, number = bad + 1, int(status.read_text()) + 1
                print(f"{number - 1}: ended by signal {-done.returncode}", flush=True)  # noqa: T201
            else:
                number += some
    print(f"{given.count} mutants in {time.monotonic() - started:.0f} s, {bad} with defects")  # noqa: T201
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
