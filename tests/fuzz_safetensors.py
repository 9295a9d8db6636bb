"""Files of safetensors that somebody has changed on purpose: load_torch reads them or says why not, and nothing else.

``python tests/fuzz_safetensors.py --mutants 200000`` reads as many changed files. A mutant has a header that
is JSON but says something else (numbers at the edges of what fits, other types and shapes, keys twice, deep nesting), a
changed length or other bytes, or is cut short. tests/exchange/test_safetensors.py reads some of them.
"""

import argparse
import json
import random
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np

import fastnn

EDGES = (
    -1,
    0,
    1,
    2,
    3,
    4,
    7,
    16,
    2**31 - 1,
    2**31,
    2**32,
    2**53 + 1,
    2**61,
    2**62,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    1e308,
)
OTHERS = (None, True, False, 0.5, -0.0, "", "F32", [], {}, [[]], {"a": 1}, "\ud7ff", "x" * 300)
DTYPES = ("F32", "F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "F4", "float32", "")


def seed_file():
    """A file as PyTorch writes it: two linear layers and what lies between them."""
    arrays = {
        "0.weight": np.arange(12.0, dtype="<f4").reshape(4, 3),
        "0.bias": np.zeros(4, "<f4"),
        "2.weight": np.ones((2, 4), "<f4"),
        "2.bias": np.ones(2, "<f4"),
    }
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, array in arrays.items():
        end = offset + array.nbytes
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    return header, b"".join(array.tobytes() for array in arrays.values())


def packed(text, payload, length=None):
    return (len(text) if length is None else length).to_bytes(8, "little") + text + payload


def changed_header(chance, header):
    """Change one thing of a header in place."""
    names = [name for name in header if name != "__metadata__"]
    name = chance.choice(names)
    entry = header[name]
    kind = chance.randrange(9)
    if kind == 0:
        entry["data_offsets"] = [chance.choice(EDGES), chance.choice(EDGES)]
    elif kind == 1:
        entry["shape"] = [chance.choice(EDGES) for _ in range(chance.randrange(5))]
    elif kind == 2:
        entry["dtype"] = chance.choice(DTYPES)
    elif kind == 3:
        entry[chance.choice(list(entry))] = chance.choice(OTHERS)
    elif kind == 4:
        header[chance.choice([*names, "__metadata__"])] = chance.choice(OTHERS)
    elif kind == 5:
        del header[chance.choice([*names, "__metadata__"])]
    elif kind == 6:
        header[chance.choice(["2.running_mean", "0.weight.", ".", "0", "é" * 9, "9" * 30 + ".weight"])] = header.pop(
            name
        )
    elif kind == 7:
        entry["data_offsets"][chance.randrange(2)] += chance.choice((-8, -4, -1, 1, 4, 8))
    else:
        entry["shape"] = chance.choice((entry["shape"][::-1], [*entry["shape"], 1], [1, *entry["shape"]], [0]))


def changed_text(chance, text):
    """Return JSON as no writer of it would make it."""
    kind = chance.randrange(5)
    if kind == 0:
        depth = chance.choice((10, 31, 33, 1000, 20000))
        return text[:-1] + b',"deep":' + b"[" * depth + b"]" * depth + b"}"
    if kind == 1:
        return text[:-1] + b"," + text[1:]  # each key twice
    if kind == 2:
        return text.replace(b"[", b"[" + b"9" * chance.choice((20, 400, 5000)) + b",", 1)
    if kind == 3:
        return text + b" " * chance.randrange(20)
    at = chance.randrange(len(text))
    return text[:at] + chance.choice((b"NaN", b"Infinity", b"\\ud800", b"\xff", b"\0", b"//", b",,")) + text[at:]


def mutant(chance):
    """Return the bytes of one changed file."""
    header, payload = seed_file()
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        if len(header) > 1 and all(
            isinstance(entry, dict) and "shape" in entry for key, entry in header.items() if key[0] != "_"
        ):
            try:
                changed_header(chance, header)
            except (TypeError, IndexError, KeyError, AttributeError):
                break  # two changes of one thing that do not go together
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    if chance.random() < 0.2:
        text = changed_text(chance, text)
    data = bytearray(packed(text, payload))
    kind = chance.randrange(6)
    if kind == 0:
        data[:8] = (chance.choice(EDGES[:-2]) % 2**64).to_bytes(8, "little")
    elif kind == 1:
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
    elif kind == 2:
        del data[chance.randrange(len(data) + 1) :]
    elif kind == 3:
        data += bytes(chance.randrange(9))
    return bytes(data)


def model():
    return fastnn.Sequential([fastnn.Input((3,)), fastnn.layers.Dense(4, "relu"), fastnn.layers.Dense(2)])


def read_all(count, seed, folder):
    """Read `count` mutants, and return how many were refused; any other exception than the documented ones goes on."""
    chance, path, given = random.Random(seed), Path(folder) / "mutant", model()
    refused = 0
    for _ in range(count):
        data = mutant(chance)
        path.write_bytes(data)
        before = given.get_weights()
        try:
            if chance.random() < 0.5:
                fastnn.load_torch(path, given)
            else:
                fastnn.load_torch(path, activation="relu")
        except (fastnn.ModelFileError, ValueError):
            refused += 1
            assert all(
                np.array_equal(a, b, equal_nan=True) for a, b in zip(before, given.get_weights(), strict=True)
            ), data
    return refused


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        read_all(10, given.seed, folder)  # imports what there is to import
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        refused = read_all(given.mutants, given.seed, folder)
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used
    sys.stdout.write(f"{given.mutants} mutants read, {refused} refused; the most memory at once grew by {more} KiB\n")


if __name__ == "__main__":
    main()
