"""Files of frozen networks that somebody has changed on purpose: fnn_load runs them or says what is wrong.

``python tests/fuzz_library.py --mutants 100000`` loads as many changed files, also in a build of .ci/sanitize. A
mutant is a file whose checksum is right, but some of whose sizes, places, names, constants or weights are others, or
some of whose steps are missing, doubled or in another order. What loads must answer: a row the same alone and among
others, and the same to Python. tests/test_library_files.py does some of this.
"""

import argparse
import random
import struct
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

import libraries
import numpy as np
from onnx_cases import PAIRS, built

import fastnn
from fastnn import _frozen, layers
from fastnn._engine import _ENUMS
from fastnn._file import ModelFileError, one_exception

HEAD, OP = struct.Struct("<8sIIQIIQQQQQ56x"), struct.Struct("<24s24s24sQQqqqqqQqqQ4dQ")
SIZES = [0, 1, 2, 3, 5, 16, 255, 256, 2**20, 2**24, 2**31, 2**32, 2**47, 2**48, 2**48 + 1, 2**62, 2**63 - 1, 2**63]
SIZES += [2**64 - 2, 2**64 - 1, 2**64 - 64]
NUMBERS = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 3.0, 16.0, 1e-310, 2.0**31, 2.0**48, 2.0**53, 1e300]
NUMBERS += [np.inf, -np.inf, np.nan]
NAMES = (
    [*_ENUMS["op"]],
    [*_ENUMS["activation"]],
    [*_ENUMS["column_factor"], *_ENUMS["encoding"], *_ENUMS["noise_kind"], ""],
)
MOST_NUMBERS = 2**20  # of rows and outputs of a mutant that is run


def graph(dtype="float32"):
    """A network whose steps are no chain: branches, a block, columns that are taken, noise, heads."""
    inner = {"a": [layers.Input((3,)), layers.Dense(5, "gelu")], "b": [layers.Input((2,)), layers.Dropout(0.1)]}
    heads = {"y": [layers.Dense(2)], "z": [layers.Dense(4, "tanh"), layers.Dense(3, "softmax")]}
    block = layers.Residual([layers.Dense(7, "relu"), layers.LayerNormalization(), layers.Dense(7)])
    scaled = layers.RobustNormalization(center=[0.5, 1.0], factor=[2.0, 3.0], columns=[1, 4])
    stack = [layers.Branches(inner, dtype=dtype), block, scaled, layers.AlphaDropout(0.1), layers.Heads(heads)]
    return fastnn.Sequential(stack)


def originals():
    """The bytes of files of every layer."""
    models = [built(name, k, dtype)[0] for dtype in ("float32", "float64") for name, k in PAIRS]
    models += [graph(), graph("float64"), fastnn.Sequential([fastnn.Input((64,)), layers.Dense(64, "relu")])]
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            model.freeze().save(Path(folder, "network.fnn"))
            files.append(Path(folder, "network.fnn").read_bytes())
    return files


# ---- mutants ----


class Parts:
    """A file in its parts, which may be changed; :meth:`join` makes a file of them again."""

    def __init__(self, data):
        self.head = list(HEAD.unpack_from(data))
        element, count, constants, text, parameters = self.head[4], *self.head[7:]
        at = HEAD.size
        self.ops = [list(OP.unpack_from(data, at + k * OP.size)) for k in range(count)]
        at += -(-count * OP.size // 64) * 64
        self.constants = list(struct.unpack_from(f"<{constants}d", data, at))
        at += -(-constants * 8 // 64) * 64
        self.text = data[at : at + text]
        at += -(-text // 64) * 64
        self.parameters = bytearray(data[at : at + parameters * element])

    def join(self, *, counts=True, checksum=True):
        """Return the bytes; without `counts` the head says what it said."""
        parts = [b"".join(OP.pack(*op) for op in self.ops), struct.pack(f"<{len(self.constants)}d", *self.constants)]
        body = b"".join(part + bytes(-len(part) % 64) for part in (*parts, self.text)) + bytes(self.parameters)
        if counts:
            size = len(self.parameters) // self.head[4]
            self.head[7:] = len(self.ops), len(self.constants), len(self.text), size
            self.head[3] = HEAD.size + len(body)
        if not checksum:
            return HEAD.pack(*self.head) + body
        self.head[2] = 0
        self.head[2] = zlib.crc32(HEAD.pack(*self.head) + body)
        return HEAD.pack(*self.head) + body


def changed_op(chance, parts):
    op = chance.choice(parts.ops)
    field = chance.randrange(len(op))
    if field < 3:
        name = chance.choice(NAMES[field]).encode()
        op[field] = chance.choice([name, name, op[field][: chance.randrange(9)], bytes(chance.randbytes(24))])
    elif 14 <= field < 18:
        op[field] = chance.choice([*NUMBERS, op[field] + 1, op[field] * 2, -op[field]])
    else:
        signed = field in (5, 6, 7, 8, 9, 11, 12)
        near = [op[field] + 1, op[field] - 1, op[field] * 2, op[field] // 2, op[field] + 16, op[field] + 64]
        value = chance.choice([*near, *near, *SIZES, chance.choice(parts.ops)[field], chance.randrange(len(parts.ops))])
        op[field] = (value + 2**63) % 2**64 - 2**63 if signed else value % 2**64


def other_width(chance, parts):
    """Change the width between two steps on both sides: most other widths of a step alone are refused at once."""
    k = chance.randrange(len(parts.ops))
    before = parts.ops[k][4]
    after = min(max(1, chance.choice([before - 1, before + 1, before * 2, before // 2, 1])), 2**62)
    for op in parts.ops:
        for field in (3, 4):
            op[field] = after if op[field] == before else op[field]


def moved_op(chance, parts):
    """Leave a step out, or put it elsewhere, or double it; places of others follow or not."""
    k, to = chance.randrange(len(parts.ops)), chance.randrange(len(parts.ops))
    op = parts.ops[k]
    kind = chance.randrange(3)
    if kind == 0 and len(parts.ops) > 1:
        del parts.ops[k]
    elif kind == 1:
        parts.ops.insert(to, [*op])
    else:
        parts.ops[k], parts.ops[to] = parts.ops[to], op
    if chance.random() < 0.5:
        for index, each in enumerate(parts.ops):
            each[9] = index - 1


def changed_constant(chance, parts):
    if parts.constants:
        place = chance.randrange(len(parts.constants))
        parts.constants[place] = chance.choice([*NUMBERS, parts.constants[place] + 1, parts.constants[place] - 1])
        if chance.random() < 0.2:
            del parts.constants[place]


def changed_weights(chance, parts):
    if parts.parameters and chance.random() < 0.5:
        del parts.parameters[chance.randrange(len(parts.parameters)) // 8 * 8 :]
    for _ in range(chance.randrange(4) if parts.parameters else 0):
        parts.parameters[chance.randrange(len(parts.parameters))] = chance.choice([0, 127, 128, 255])


def changed_head(chance, parts):
    field = chance.choice([4, 5, 6])
    parts.head[field] = chance.choice([4, 8] if field == 4 else [0, 1, 2, 3, 4] if field == 5 else [*SIZES, 3, 4, 6])


CHANGES = (
    [changed_op] * 8 + [other_width] * 3 + [moved_op] * 2 + [changed_constant] * 3 + [changed_weights, changed_head]
)


def mutant(data, chance):
    """Return a changed copy of a file."""
    if chance.random() < 0.05:
        raw = bytearray(data[: chance.randrange(len(data))] if chance.random() < 0.5 else data)
        for _ in range(chance.randrange(1, 4)):
            if raw:
                raw[chance.randrange(min(len(raw), 2 * HEAD.size))] = chance.randrange(256)
        return bytes(raw)
    parts = Parts(data)
    for _ in range(chance.choice([1, 1, 1, 2, 2, 3, 5])):
        chance.choice(CHANGES)(chance, parts)
    if chance.random() < 0.05:
        field = chance.choice([1, 3, 7, 8, 9, 10])
        parts.join()
        parts.head[field] = chance.choice([*SIZES, parts.head[field] + 1, parts.head[field] * 2]) % 2 ** (
            32 if field == 1 else 64
        )
        return parts.join(counts=False)
    return parts.join(checksum=chance.random() < 0.99)


# ---- what becomes of them ----


def odd_rows(chance, rows, columns, dtype):
    x = np.array([chance.choice([0, 1, 2, -1, 0.5, 3.25, chance.gauss(0, 3)]) for _ in range(rows * columns)], float)
    for _ in range(chance.randrange(3)):
        x[chance.randrange(len(x))] = chance.choice([np.nan, np.inf, -np.inf, 1e30, -1e-40, 2.0**24])
    with np.errstate(over="ignore"):
        return x.reshape(rows, columns).astype(dtype)


def same(one, other):
    np.testing.assert_array_equal(one, other, strict=True)


def run(library, loaded, chance, widths):
    """Let a network that loads answer and differentiate; return the rows and the answers."""
    wide = widths + loaded.inputs
    rows = max(1, min(chance.choice([1, 2, 3, 50]), MOST_NUMBERS // wide))
    x = odd_rows(chance, rows, loaded.inputs, loaded.dtype)
    u = odd_rows(chance, rows, loaded.outputs, loaded.dtype)
    y = loaded(x)
    same(loaded(x[-1:]), y[-1:])
    again, gradient = loaded.vjp(x, u)
    same(again, y)
    same(loaded.vjp(x[-1:], u[-1:])[1], gradient[-1:])
    if wide * min(loaded.inputs, loaded.outputs) <= MOST_NUMBERS // 16:
        for name in ("jacobian", "jvp", "hvp"):
            differentiate(library, loaded, name, x, u)
    return x, y


def differentiate(library, loaded, name, x, u):
    """Call one of the other derivatives; those that this version has not say so."""
    rows, n, m = len(x), loaded.inputs, loaded.outputs
    v = np.ones((rows, n), loaded.dtype)
    given, sizes = {"jacobian": ([], (m, m * n)), "jvp": ([v], (m, m)), "hvp": ([v, u], (m, n))}[name]
    made = [np.empty((rows, size), loaded.dtype) for size in sizes]
    arrays = [array.ctypes.data for array in (*given, *made)]
    if getattr(library, f"fnn_{name}")(loaded.handle, x.ctypes.data, rows, *arrays):
        assert b"is not among what" in library.fnn_error_message()


def refusal(data):
    """Return what Python says of bytes that it does not load; None where it does."""
    try:
        with one_exception("a file"):
            _frozen.parse(data)
    except ModelFileError as error:
        return str(error)
    return None


def outcome(library, data, chance):
    """Load a mutant and run it; "loads", "loads in C" where the text is not for Python, or "refused"."""
    try:
        loaded = libraries.Loaded(library, data)
    except ValueError as error:
        sentence = str(error)
        assert sentence.startswith("the network in memory cannot be loaded: "), sentence
        assert sentence.isprintable(), sentence
        theirs = refusal(data) or "Python loads it"
        assert sentence.partition(": ")[2] in theirs, (sentence, theirs)
        return "refused"
    with loaded:
        widths = sum(op[4] for op in Parts(data).ops)
        x, y = run(library, loaded, chance, widths)
        if refusal(data):
            return "loads in C"
        plan, parameters, *_ = _frozen.parse(data)
        same(fastnn.predictor._thaw(plan, parameters)(x), y)
    return "loads"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    library, files, counts = libraries.opened(), originals(), {}
    for number in range(given.mutants):
        chance = random.Random(given.seed * 10**9 + number)
        data = mutant(chance.choice(files), chance)
        try:
            found = outcome(library, data, chance)
        except BaseException:
            Path("mutant.fnn").write_bytes(data)
            sys.stderr.write(f"mutant {number} of seed {given.seed} is in mutant.fnn\n")
            raise
        counts[found] = counts.get(found, 0) + 1
    found = ", ".join(f"{count} {what}" for what, count in counts.items())
    sys.stdout.write(f"{given.mutants} mutants of {len(files)} files: {found}\n")


if __name__ == "__main__":
    main()
