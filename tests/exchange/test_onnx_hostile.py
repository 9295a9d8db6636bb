"""ONNX files that are damaged or made to do harm: one ModelFileError in one sentence, in little memory."""

import os
import random
import re
import tempfile
import tracemalloc
from itertools import pairwise
from pathlib import Path

import fuzz_onnx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import fastnn

SLACK = 64 * 2**20


def a_model(**changes):
    """Return a message of a small network; keywords replace parts of its graph."""
    parts = {
        "nodes": [helper.make_node("Gemm", ["x", "w"], ["h"], "first"), helper.make_node("Relu", ["h"], ["y"], "last")],
        "tensors": [numpy_helper.from_array(np.ones((2, 3), np.float32), "w")],
        "inputs": [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 2])],
        "outputs": [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        "functions": [],
    } | changes
    graph = helper.make_graph(parts["nodes"], "g", parts["inputs"], parts["outputs"], parts["tensors"])
    opsets = [helper.make_opsetid("", changes.get("opset", 15)), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=parts["functions"])


def refusal(data, folder=None, traced=False):
    """Return why a file is refused; where it is `traced`, reading must not take much memory."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        path = Path(folder or own) / f"{random.randrange(10**12)}.onnx"
        path.write_bytes(data)
        if traced:
            tracemalloc.start()
        try:
            with pytest.raises(fastnn.ModelFileError) as caught:
                fastnn.load_onnx(path)
            assert not traced or tracemalloc.get_traced_memory()[1] < 2 * len(data) + SLACK
        finally:
            if traced:
                tracemalloc.stop()
    assert caught.value.__cause__ is None  # somebody has thought of it
    message = str(caught.value)
    assert len(message) < 2000
    return message.replace(str(path), "PATH")


def with_tensor(**fields):
    """Return the bytes of a network whose kernel has other fields."""
    model = a_model()
    tensor = model.graph.initializer[0]
    for name, value in fields.items():
        if isinstance(value, list):
            del getattr(tensor, name)[:]
            getattr(tensor, name).extend(value)
        else:
            setattr(tensor, name, value)
    return model.SerializeToString()


def constant(op, values, **attributes):
    """Return a network in which a node computes something of a constant of whole numbers."""
    node = helper.make_node(op, ["shape"], ["big"], **attributes)
    tensor = numpy_helper.from_array(np.asarray(values, np.int64), "shape")
    nodes = [node, helper.make_node("Add", ["x", "big"], ["y"])]
    return a_model(nodes=nodes, tensors=[tensor]).SerializeToString()


def expanded():
    nodes = [
        helper.make_node("Expand", ["w", "shape"], ["big"]),
        helper.make_node("Mul", ["x", "big"], ["y"]),
    ]
    shape = numpy_helper.from_array(np.array([2**20, 2**20, 2, 3]), "shape")
    tensors = [numpy_helper.from_array(np.ones((2, 3), np.float32), "w"), shape]
    return a_model(nodes=nodes, tensors=tensors).SerializeToString()


def chain(count, op="Tanh"):
    names = ["x", *(f"h{k}" for k in range(count - 1)), "y"]
    return [helper.make_node(op, [a], [b]) for a, b in pairwise(names)]


def doubling(depth):
    """Return functions, the first of which calls the second twice, and so on."""
    opset = [helper.make_opsetid("", 15), helper.make_opsetid("own", 1)]
    functions = []
    for k in range(depth):
        inner = ("Tanh", "") if k == depth - 1 else (f"f{k + 1}", "own")
        calls = [helper.make_node(inner[0], [a], [b], domain=inner[1]) for a, b in ["at", "tu", "uv", "vb"]]
        functions.append(helper.make_function("own", f"f{k}", ["a"], ["b"], calls, opset))
    return functions


def calls(functions):
    nodes = [helper.make_node("f0", ["x"], ["y"], domain="own")]
    return a_model(nodes=nodes, functions=functions, tensors=[]).SerializeToString()


def endless():
    opset = [helper.make_opsetid("own", 1)]
    node = helper.make_node("f0", ["a"], ["b"], domain="own")
    return calls([helper.make_function("own", "f0", ["a"], ["b"], [node], opset)])


def nested(depth):
    """Return a node whose attribute is a graph with such a node, and so on: bytes alone, as protobuf stops at 100."""
    inner = b""
    for _ in range(depth):
        attribute = b"\x0a\x01b\xa0\x01\x05" + b"\x32" + varint(len(inner)) + inner
        node = b"\x0a\x01x\x12\x01y\x22\x02If\x2a" + varint(len(attribute)) + attribute
        inner = b"\x0a" + varint(len(node)) + node
    tail = a_model(nodes=[]).graph.SerializeToString()
    graph = inner + tail
    return b"\x08\x08\x3a" + varint(len(graph)) + graph + b"\x42\x02\x10\x0f"


def varint(number):
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def packed_zeros(count, data_type):
    """Return a tensor whose numbers are a byte each in the file."""
    tensor = TensorProto(name="w", dims=[1, count], data_type=data_type)
    tensor.int32_data.extend([0] * count)
    nodes = [helper.make_node("Cast", ["w"], ["z"], to=11), helper.make_node("Add", ["x", "z"], ["y"])]
    return a_model(nodes=nodes, tensors=[tensor]).SerializeToString()


def wide(length, *nodes):
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", length])]
    return a_model(inputs=inputs, nodes=list(nodes), tensors=[]).SerializeToString()


def listed(count):
    node = helper.make_node("Split", ["x"], ["y"], axis=1, split=[1] * count)
    return a_model(nodes=[node], tensors=[]).SerializeToString()


def renamed(**names):
    """Return a network some of whose names are others: ``first_input``, ``second_output``, ..."""
    model = a_model()
    first, second = model.graph.node
    if "reads" in names:
        first.input[0] = names["reads"]
    if "gives" in names:
        second.output[0] = names["gives"]
    if "output" in names:
        model.graph.output[0].name = names["output"]
    return model.SerializeToString()


HOSTILE = {
    "nothing": (lambda: b"", "it holds 0 graphs"),
    "text": (lambda: b"name,value\n" * 9, "kind|cut short"),
    "zeros": (lambda: bytes(1000), "it holds 0 graphs"),
    "a number without an end": (lambda: b"\x08" + b"\xff" * 99, "a number in it has no end"),
    "a group": (lambda: b"\x0b\x0c", "a field has the kind 3"),
    "two graphs": (lambda: a_model().SerializeToString() * 2, "it holds 2 graphs"),
    "a shape without numbers": (lambda: with_tensor(dims=[2**19, 2**19], raw_data=b""), r"524288\) and float32 has 0"),
    "a shape beyond all": (lambda: with_tensor(dims=[2**62, 4]), "which no array can have"),
    "a negative length": (lambda: with_tensor(dims=[-2, -3]), r"has the shape \[-2, -3\]"),
    "many axes": (lambda: with_tensor(dims=[1] * 50), "which no array can have"),
    "too few bytes": (lambda: with_tensor(raw_data=b"\0" * 23), "has 23 bytes"),
    "another type": (lambda: with_tensor(data_type=11), "float64 has 24 bytes"),
    "texts": (lambda: with_tensor(data_type=8, raw_data=b""), r"node 'first' \(Gemm\)|texts"),
    "an unknown type": (lambda: with_tensor(data_type=99), "the type of number 99"),
    "numbers in two places": (lambda: with_tensor(float_data=[0.0] * 6), "has its numbers in two places"),
    "a value of itself": (lambda: renamed(reads="h"), "reads 'h', which nothing before it gives"),
    "a value of later": (lambda: renamed(reads="y"), "reads 'y', which nothing before it gives"),
    "a value twice": (lambda: renamed(gives="h", output="h"), "gives 'h' twice"),
    "an output of nothing": (lambda: renamed(output="z"), "its output 'z' is given by no node"),
    "a tensor twice": (lambda: a_model(tensors=[*a_model().graph.initializer] * 2).SerializeToString(), "'w' twice"),
    "a name of a megabyte": (lambda: renamed(reads="x" * 2**20), "more than 4096 bytes"),
    "no text": (lambda: a_model().SerializeToString().replace(b"first", b"\xff\xfe\xfd\xfc\xfb"), "a name is not text"),
    "a ConstantOfShape of terabytes": (lambda: constant("ConstantOfShape", [2**20, 2**20]), "far more memory"),
    "an Expand of terabytes": (expanded, "far more memory"),
    "a byte for 8": (lambda: packed_zeros(6 * 2**20, 6), "far more memory"),
    "a width of terabytes": (lambda: wide(2**39, helper.make_node("Relu", ["x"], ["y"])), "far more memory"),
    "20,000 nodes": (lambda: a_model(nodes=chain(20_000)).SerializeToString(), "more memory|more than"),
    "many layers": (lambda: a_model(nodes=chain(1_100), tensors=[]).SerializeToString(), "more than 1024 layers"),
    "40,000 outputs": (lambda: a_model(outputs=[*a_model().graph.output] * 40_000).SerializeToString(), "more memory"),
    "a list of 262,144": (lambda: listed(2**18), "more memory|are not 1 of 2"),
    "functions that double": (lambda: calls(doubling(8)), "more memory|more than 16384 nodes"),
    "functions without an end": (endless, "call each other more than 8 deep"),
    "graphs in graphs": (lambda: nested(2000), r"node 'y' \(If\) is of an operator that no layer has|twice"),
    "an opset of tomorrow": (lambda: a_model(opset=1000).SerializeToString(), "it is of opset 1000, and fastnn reads"),
    "an opset of old": (lambda: a_model(opset=1).SerializeToString(), "it is of opset 1, and fastnn reads"),
}  # fmt: skip


# those that would take much memory; to trace all of them takes a minute
LARGE = [
    "a ConstantOfShape of terabytes",
    "an Expand of terabytes",
    "a byte for 8",
    "a width of terabytes",
    "a shape beyond all",
]


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.thread_unsafe(reason="tracemalloc is the process's")
def test_a_file_that_is_made_to_do_harm_is_refused(what):
    make, said = HOSTILE[what]
    message = refusal(make(), traced=what in LARGE)
    assert message.startswith(("PATH is no whole ONNX model: ", "PATH computes what no model of fastnn does: "))
    assert re.search(said, message), message


def test_a_file_that_is_cut_short_is_refused_wherever_it_ends():
    data = a_model().SerializeToString()
    for end in range(0, len(data) - 8, 7):
        assert "no whole ONNX model" in refusal(data[:end])


# ---- files beside the model ----


def beside(location, **more):
    """Return the bytes of a network whose kernel lies in another file."""
    model = a_model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return model.SerializeToString()


@pytest.fixture
def folder():
    """A folder with a file of numbers beside it and links to it within."""
    with tempfile.TemporaryDirectory() as outer:
        inner = Path(outer) / "models"
        (inner / "deep").mkdir(parents=True)
        numbers = np.arange(6, dtype=np.float32).tobytes()
        for place in (Path(outer) / "secret", inner / "good", inner / "deep" / "good"):
            place.write_bytes(numbers)
        (inner / "link").symlink_to(Path(outer) / "secret")
        (inner / "folder").symlink_to(outer)
        os.mkfifo(inner / "pipe")
        yield inner


PLACES = {
    "/etc/passwd": "not in its folder",
    "../secret": "not in its folder",
    "deep/../../secret": "not in its folder",
    "link": "no file in its folder",
    "folder/secret": "no file in its folder",
    "pipe": "no file",
    "deep": "no file",
    "": "not in its folder",
    ".": "no",
    "good\0": "not in its folder",
    "missing": "no file in its folder",
}


@pytest.mark.parametrize("location", PLACES)
def test_numbers_are_read_from_the_models_folder_alone(location, folder):
    assert re.search(PLACES[location], refusal(beside(location), folder))


@pytest.mark.parametrize(
    ("offset", "length"), [("0", "25"), ("25", "0"), ("-4", "24"), ("x", "24"), ("4", "24"), ("0", "9" * 30)]
)
def test_numbers_beyond_the_end_of_their_file_are_refused(offset, length, folder):
    assert "no whole ONNX model" in refusal(beside("good", offset=offset, length=length), folder)


@pytest.mark.parametrize("location", ["good", "deep/good"])
def test_numbers_beside_a_model_are_read(location, folder):
    path = folder / f"{random.randrange(10**12)}.onnx"  # threads share the folder
    path.write_bytes(beside(location, offset="0", length="24"))
    kernel = fastnn.load_onnx(path).get_weights()[0]
    np.testing.assert_array_equal(kernel, np.arange(6).reshape(2, 3))


def test_a_folder_and_a_file_that_is_not_there_are_named(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder: an ONNX model is a file"):
        fastnn.load_onnx(tmp_path)
    with pytest.raises(FileNotFoundError):
        fastnn.load_onnx(tmp_path / "none.onnx")


# ---- memory and mutants ----


@pytest.mark.parametrize(("dtype", "transposed"), [(np.float32, 0), (np.float32, 1), (np.float16, 1), (np.float64, 0)])
@pytest.mark.thread_unsafe(reason="tracemalloc is the process's")
def test_a_large_file_takes_twice_its_bytes(dtype, transposed):
    kernel = np.random.default_rng(0).normal(size=(800, 3000)).astype(dtype)
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], transB=transposed)]
    width = kernel.shape[1 if transposed else 0]
    kind = TensorProto.DOUBLE if dtype is np.float64 else TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("x", kind, ["rows", width])]
    data = a_model(nodes=nodes, inputs=inputs, tensors=[numpy_helper.from_array(kernel, "w")]).SerializeToString()
    with tempfile.TemporaryDirectory() as own:
        path = Path(own) / "net.onnx"
        path.write_bytes(data)
        tracemalloc.start()
        model = fastnn.load_onnx(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2 * len(data) + 2**23  # pieces of a megabyte, a few times
    np.testing.assert_array_equal(model.get_weights()[0], kernel.T if transposed else kernel)


@pytest.mark.parametrize("seed", range(4))
def test_mutants_of_recorded_files_load_or_raise_one_exception(seed):
    chance, files = random.Random(seed), fuzz_onnx.originals()
    with tempfile.TemporaryDirectory() as own:
        path = Path(own) / "mutant.onnx"
        for _ in range(60):
            path.write_bytes(fuzz_onnx.mutant(chance.choice(files), chance))
            assert fuzz_onnx.outcome(path) in ("loads", "unfit", "damaged")


def test_what_is_read_is_what_the_onnx_package_reads():
    from fastnn.exchange._onnx_files import Reader

    for data in fuzz_onnx.originals():
        message = onnx.load_from_string(data)
        with tempfile.TemporaryFile() as file:
            file.write(data)
            reader = Reader(file, len(data), None)
            graph = reader.model()
            assert [node.op for node in graph.nodes] == [node.op_type for node in message.graph.node]
            assert [node.inputs for node in graph.nodes] == [list(node.input) for node in message.graph.node]
            for tensor in message.graph.initializer:
                if tensor.data_type != TensorProto.STRING:
                    found = graph.tensors[tensor.name].array(reader.budget)
                    np.testing.assert_array_equal(found, numpy_helper.to_array(tensor))
