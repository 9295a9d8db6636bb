"""Damaged and made-up ONNX files, for load_onnx: each loads or raises a ModelFileError, in bounded memory and time.

    python tests/fuzz_onnx.py --mutants 200000 --seed 1

Mutants are made of the recorded files (tests/reference/files_onnx.zip): of their messages, so that most of them are
still protobuf, or of their bytes. A mutant that fails otherwise is written to ``mutant.onnx`` in the working folder.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import onnx

import fastnn

RECORDED = Path(__file__).parent / "reference" / "files_onnx.zip"
SLACK = 64 * 2**20  # bytes that reading a small file may take
LONGEST = 10.0  # seconds that a mutant may take: the longest loops are those of a few thousand nodes
DIMS = [0, 1, 2, 3, 7, 8, -1, -(2**63), 2**31, 2**40, 2**62, 2**63 - 1]
NUMBERS = [0.0, 1.0, -1.0, 0.5, 6.0, 1e-12, 1e30, -3.4e38, float("inf"), float("nan")]


def originals() -> list[bytes]:
    """Return the recorded files."""
    with zipfile.ZipFile(RECORDED) as file:
        return [file.read(name) for name in file.namelist() if name.endswith(".onnx")]


# ---- changes ----


def of_bytes(data: bytes, chance: random.Random) -> bytes:
    """Return bytes some of which are others, missing or there twice."""
    array = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 5, 20])):
        at = chance.randrange(len(array))
        how = chance.random()
        if how < 0.6:
            array[at] = chance.choice(
                [0, 1, 127, 128, 255, chance.randrange(256), array[at] ^ (1 << chance.randrange(8))]
            )
        elif how < 0.75:
            del array[at : at + chance.randrange(1, 9)]
        elif how < 0.9:
            array[at:at] = array[at : at + chance.randrange(1, 40)]
        else:
            del array[at:]
        if not array:
            return b""
    return bytes(array)


def names_of(graph) -> list[str]:
    """Return all names of values in a graph."""
    found = [value.name for value in graph.input] + [tensor.name for tensor in graph.initializer]
    return found + [name for node in graph.node for name in node.output] or [""]


def change_node(model, chance: random.Random) -> None:
    """Give a node another operator, other inputs or outputs, or another place."""
    graph = model.graph
    if not graph.node:
        return
    node = chance.choice(graph.node)
    how = chance.randrange(9)
    if how == 0:
        node.op_type = chance.choice(operators())
    elif how == 1 and node.input:
        node.input[chance.randrange(len(node.input))] = chance.choice(names_of(graph))
    elif how == 2 and len(node.input) > 1:
        first, last = node.input[0], node.input[1]
        node.input[0], node.input[1] = last, first
    elif how == 3 and node.input:
        del node.input[chance.randrange(len(node.input)) :]
    elif how == 4:
        node.input.append(chance.choice([*names_of(graph), ""]))
    elif how == 5 and node.output:
        node.output[0] = chance.choice(names_of(graph))
    elif how == 6:
        graph.node.remove(node)
    elif how == 7:
        graph.node.insert(chance.randrange(len(graph.node)), node)
    else:
        node.output.append(f"more{chance.randrange(9)}")


def insert_node(model, chance: random.Random) -> None:
    """Put a node of any operator between a node and one of its inputs."""
    graph = model.graph
    readers = [node for node in graph.node if node.input]
    if not readers:
        return
    node = chance.choice(readers)
    at, place = list(graph.node).index(node), chance.randrange(len(node.input))
    new = onnx.helper.make_node(
        chance.choice(operators()),
        [node.input[place], *chance.choices(names_of(graph), k=chance.randrange(3))],
        [f"new{chance.randrange(10**6)}"],
    )
    node.input[place] = new.output[0]
    graph.node.insert(at, new)


_OPERATORS: list[str] = []


def operators() -> list[str]:
    """Return the names of ONNX's operators, those that load_onnx knows several times."""
    if not _OPERATORS:
        from fastnn.exchange._onnx_operators import OPERATORS

        _OPERATORS.extend(sorted({schema.name for schema in onnx.defs.get_all_schemas()}))
        _OPERATORS.extend([name for _, name in sorted(OPERATORS)] * 3)
    return _OPERATORS


def change_attribute(model, chance: random.Random) -> None:
    """Change, add or take an attribute of a node."""
    if not model.graph.node:
        return
    node = chance.choice(model.graph.node)
    if node.attribute and chance.random() < 0.7:
        attribute = chance.choice(node.attribute)
        how = chance.randrange(6)
        if how == 0:
            attribute.i = chance.choice(DIMS)
        elif how == 1:
            attribute.f = chance.choice(NUMBERS)
        elif how == 2:
            attribute.type = chance.randrange(15)
        elif how == 3:
            attribute.ints.extend(chance.choices(DIMS, k=chance.randrange(1, 9)))
        elif how == 4:
            node.attribute.remove(attribute)
        else:
            attribute.name = chance.choice(
                ["axis", "axes", "perm", "alpha", "beta", "transA", "to", "value", "epsilon"]
            )
        return
    names = [
        "axis",
        "axes",
        "perm",
        "alpha",
        "beta",
        "transA",
        "transB",
        "to",
        "min",
        "max",
        "keepdims",
        "epsilon",
        "split",
    ]
    value = chance.choice([chance.choice(DIMS), chance.choice(NUMBERS), chance.choices(DIMS, k=3), "text"])
    node.attribute.append(onnx.helper.make_attribute(chance.choice(names), value))


def change_tensor(model, chance: random.Random) -> None:
    """Change shape, type, bytes, name or place of a tensor."""
    tensors = [*model.graph.initializer]
    tensors += [a.t for node in model.graph.node for a in node.attribute if a.HasField("t")]
    if not tensors:
        return
    tensor = chance.choice(tensors)
    how = chance.randrange(8)
    if how == 0 and tensor.dims:
        tensor.dims[chance.randrange(len(tensor.dims))] = chance.choice(DIMS)
    elif how == 1:
        tensor.dims.extend(chance.choices([1, 1, 0, 2, 2**40], k=chance.randrange(1, 12)))
    elif how == 2:
        tensor.data_type = chance.randrange(24)
    elif how == 3:
        tensor.raw_data = tensor.raw_data[: chance.randrange(len(tensor.raw_data) + 1)]
    elif how == 4:
        tensor.int64_data.extend(chance.choices(DIMS, k=chance.randrange(1, 5)))
    elif how == 5:
        tensor.name = chance.choice(names_of(model.graph))
    elif how == 6:
        change_place(tensor, chance)
    elif len(tensor.raw_data) >= 4:
        values = bytearray(tensor.raw_data)
        at = 4 * chance.randrange(len(values) // 4)
        values[at : at + 4] = onnx.helper.np.float32(chance.choice(NUMBERS)).tobytes()
        tensor.raw_data = bytes(values)


def change_place(tensor, chance: random.Random) -> None:
    """Say that the numbers of a tensor lie in another file."""
    tensor.data_location = onnx.TensorProto.EXTERNAL
    if chance.random() < 0.5:
        tensor.ClearField("raw_data")
    places = ["/etc/passwd", "../x", "a/../../x", "net.data", "", ".", "/dev/zero", "\0", "fastnn" * 999]
    for key, value in (("location", chance.choice(places)), ("offset", "0"), ("length", str(chance.choice(DIMS)))):
        tensor.external_data.add(key=key, value=value)


def change_declarations(model, chance: random.Random) -> None:
    """Change inputs, outputs, versions."""
    graph = model.graph
    how = chance.randrange(7)
    if how == 0 and model.opset_import:
        model.opset_import[0].version = chance.choice([0, 1, 6, 7, 9, 11, 13, 18, 24, 28, 29, 2**40, -1])
    elif how == 1 and graph.input:
        kind = chance.choice(graph.input).type.tensor_type
        kind.elem_type = chance.randrange(24)
    elif how == 2 and graph.input:
        kind = chance.choice(graph.input).type.tensor_type
        if kind.shape.dim:
            chance.choice(kind.shape.dim).dim_value = chance.choice(DIMS)
    elif how == 3 and graph.input:
        chance.choice(graph.input).type.tensor_type.shape.dim.add(dim_value=chance.choice(DIMS))
    elif how == 4 and graph.output:
        chance.choice(graph.output).name = chance.choice(names_of(graph))
    elif how == 5 and graph.input:
        graph.input.append(chance.choice(graph.input))
    elif graph.output:
        graph.output.add(name=chance.choice(names_of(graph)))


CHANGES = [change_node, insert_node, change_attribute, change_tensor, change_declarations]


def mutant(data: bytes, chance: random.Random) -> bytes:
    """Return a changed file."""
    if chance.random() < 0.25:
        return of_bytes(data, chance)
    model = onnx.load_from_string(data)
    for _ in range(chance.choice([1, 1, 1, 2, 3, 6])):
        chance.choice(CHANGES)(model, chance)
    changed = model.SerializeToString()
    return of_bytes(changed, chance) if chance.random() < 0.05 else changed


# ---- runs ----


def outcome(path: Path) -> str:
    """Return what becomes of a file: the kind of its error, or ``"loads"``; raise where it is none of these."""
    try:
        model = fastnn.load_onnx(path)
    except fastnn.ModelFileError as error:
        text = str(error)
        if error.__cause__ is not None:
            raise AssertionError(f"nobody has thought of this file: {text[:200]!r}") from error
        if len(text) > 2000 or "\n" in text.replace(str(path), ""):
            raise AssertionError(f"the message is no sentence: {text[:200]!r}") from error
        return "unfit" if "no model of fastnn" in text else "damaged"
    if model.count_params() < 0:
        raise AssertionError("a model that is none")
    return "loads"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, files = random.Random(options.seed), originals()
    counts: dict[str, int] = {}
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutant.onnx"
        for data in files:
            path.write_bytes(data)
            outcome(path)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(options.mutants):
            data = mutant(chance.choice(files), chance)
            path.write_bytes(data)
            started = time.perf_counter()
            try:
                kind = outcome(path)
            except BaseException:
                Path("mutant.onnx").write_bytes(data)
                raise
            counts[kind] = counts.get(kind, 0) + 1
            slowest = max(slowest, time.perf_counter() - started)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
            if slowest > LONGEST or grown > SLACK + 2 * len(data):
                Path("mutant.onnx").write_bytes(data)
                raise AssertionError(f"it took {slowest:.1f} s, or memory has grown by {grown} bytes")
    memory = f"memory grew by {grown / 2**20:.0f} MiB"
    sys.stdout.write(f"{options.mutants} mutants: {counts}; the slowest took {slowest:.2f} s, {memory}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
