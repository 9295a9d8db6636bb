"""Files of safetensors from strangers: damaged ones and those made to do harm are refused in one sentence."""

import json
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from fuzz_safetensors import model, packed, read_all, seed_file

import fastnn
from fastnn.exchange import _safetensors

HEADER, PAYLOAD = seed_file()
ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def with_entry(**changed):
    """A file of one tensor of eight bytes, whose entry says something else."""
    return packed(json.dumps({"0.bias": ENTRY | changed}).encode(), bytes(8))


def nested(depth):
    return packed(b'{"a":' + b"[" * depth + b"]" * depth + b"}", b"")


def twice(text):
    return packed(text[:-1] + b"," + text[1:], PAYLOAD)


HOSTILE = {
    "empty": (b"", "its header does not fit the file"),
    "a length of 2**63": (b"\xff" * 7 + b"\x7f" + b"{}", "its header does not fit the file"),
    "a length of 2**64 - 1": (b"\xff" * 8 + b"{}", "its header does not fit the file"),
    "a header beyond the file": (packed(b"{}", b"", 3), "its header does not fit the file"),
    "a long header": (packed(b"{}" + b" " * _safetensors.MAX_HEADER, b""), "its header has 8388610 bytes"),
    "no JSON": (packed(b"{]", b""), "not valid JSON"),
    "a list": (packed(b"[1, 2]", b""), "must be a dict of tensors"),
    "no text": (packed(b'{"\xff": 1}', b""), "not text"),
    "keys twice": (twice(json.dumps(HEADER).encode()), "names a key twice"),
    "deep": (nested(100_000), "nested more than 32 deep"),
    "many items": (packed(b'{"a":[' + b"1," * 2**21 + b"1]}", b""), "more than 1048576 items"),
    "many lists": (packed(b'{"a":[' + b"[]," * (2**18 + 9) + b"1]}", b""), "lists and dicts"),
    "numbers of many digits": (packed(b'{"a":' + b"9" * 5000 + b"}", b""), "not valid JSON|must have dtype"),
    "NaN": (with_entry(shape=float("nan")), "no JSON number"),
    "metadata of numbers": (packed(b'{"__metadata__": {"a": 1}}', b""), "metadata must be strings"),
    "an entry of text": (packed(b'{"a": "F32"}', b""), "must have dtype, shape and data_offsets"),
    "an entry without a shape": (packed(b'{"a": {"dtype": "F32", "data_offsets": [0, 0]}}', b""), "must have dtype"),
    "a dtype of a list": (with_entry(dtype=["F32"]), "of the wrong kind"),
    "a shape of text": (with_entry(shape="22"), "of the wrong kind"),
    "one offset": (with_entry(data_offsets=[0]), "of the wrong kind"),
    "a huge shape": (with_entry(shape=[2**31, 2**31]), "not as many as its shape says"),
    "a shape that overflows": (with_entry(shape=[2**61, 2**61, 2**61]), "not as many as its shape says"),
    "a length of 2**62": (with_entry(shape=[2**62]), "whole number from 0"),
    "a negative length": (with_entry(shape=[-2]), "whole number from 0"),
    "two negative lengths": (with_entry(shape=[-2, -1]), "whole number from 0"),
    "a length of a half": (with_entry(shape=[0.5]), "whole number from 0"),
    "a length of true": (with_entry(shape=[True, 2]), "whole number from 0"),
    "many axes": (with_entry(shape=[1] * 33 + [2]), "33 axes|34 axes"),
    "negative offsets": (with_entry(data_offsets=[-8, 0]), "whole number from 0"),
    "offsets that turn round": (with_entry(data_offsets=[8, 0]), "not as many as its shape says"),
    "offsets beyond the file": (
        with_entry(shape=[4], data_offsets=[0, 16]),
        "its tensors have 16 bytes, and it holds 8",
    ),
    "a hole": (with_entry(shape=[1], data_offsets=[4, 8]), "do not begin where"),
    "bytes of nobody": (with_entry(shape=[1], data_offsets=[0, 4]), "its tensors have 4 bytes, and it holds 8"),
    "overlapping tensors": (
        packed(json.dumps({"a": ENTRY, "b": ENTRY | {"data_offsets": [4, 12]}}).encode(), bytes(12)),
        "do not begin where",
    ),
    "the same bytes twice": (packed(json.dumps({"a": ENTRY, "b": ENTRY}).encode(), bytes(8)), "do not begin where"),
}


def written(data):
    """The path of a file of its own with these bytes."""
    path = Path(tempfile.mkdtemp()) / "net.safetensors"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_made_to_do_harm_is_refused(name):
    data, message = HOSTILE[name]
    path = written(data)
    with pytest.raises(fastnn.ModelFileError, match=f"net.safetensors is no whole safetensors file: .*({message})"):
        fastnn.load_torch(path)


@pytest.mark.thread_unsafe(reason="memory is traced for the whole process")
@pytest.mark.parametrize("name", [n if n != "many lists" else pytest.param(n, marks=pytest.mark.slow) for n in HOSTILE])
def test_it_takes_little_memory(name):
    """At most twice the file and 64 MiB: the header of 8 MiB becomes text, and then objects."""
    path = written(HOSTILE[name][0])
    size = path.stat().st_size
    tracemalloc.start()
    try:
        with pytest.raises(fastnn.ModelFileError):
            fastnn.load_torch(path)
        assert tracemalloc.get_traced_memory()[1] <= 2 * size + 2**26
    finally:
        tracemalloc.stop()


@pytest.mark.thread_unsafe(reason="memory is traced for the whole process")
@pytest.mark.parametrize(
    "text", [b"\\ud83d\\ude00" * 600_000, "\U0001f600".encode() + b"a" * (2**23 - 20), b"1," * 2**20]
)
def test_a_header_that_grows_when_it_is_read(text):
    header = b'{"a":[' + text + b"1]}" if text.startswith(b"1") else b'{"' + text + b'": 1}'
    path = written(packed(header, b""))
    tracemalloc.start()
    try:
        with pytest.raises(fastnn.ModelFileError):
            fastnn.load_torch(path)
        assert tracemalloc.get_traced_memory()[1] <= 2 * len(header) + 2**26
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", ["I64", "U8", "BOOL", "F8_E4M3", "F4", "X"])
def test_weights_that_are_no_floats_are_refused(dtype):
    size = {"I64": 8, "U8": 1, "BOOL": 1, "F8_E4M3": 1}.get(dtype, 3)
    entry = {"dtype": dtype, "shape": [1, 1], "data_offsets": [0, size]}
    path = written(packed(json.dumps({"weight": entry}).encode(), bytes(size)))
    with pytest.raises(fastnn.ModelFileError, match=f"element type {dtype}, and weights are floats"):
        fastnn.load_torch(path)


def test_sixteen_bits_become_float32_exactly():
    """All finite numbers of both kinds, infinities, and one NaN."""
    patterns = np.arange(2**16, dtype="<u2")
    for dtype, wanted in (
        ("F16", patterns.view("<f2").astype(np.float32)),
        ("BF16", (patterns.astype(np.uint32) << 16).view(np.float32)),
    ):
        entry = {"dtype": dtype, "shape": [2**8, 2**8], "data_offsets": [0, 2**17]}
        tensors = _safetensors.Tensors(written(packed(json.dumps({"weight": entry}).encode(), patterns.tobytes())))
        array = tensors["weight"]
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array.ravel(), wanted)


def test_tensors_may_lie_in_another_order_and_be_empty():
    header = {
        "b": {"dtype": "F64", "shape": [1], "data_offsets": [4, 12]},
        "a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
        "c": {"dtype": "F32", "shape": [0, 5], "data_offsets": [12, 12]},
    }
    payload = np.float32(2).tobytes() + np.float64(3).tobytes()
    tensors = _safetensors.Tensors(written(packed(json.dumps(header).encode() + b"   ", payload)))
    assert (tensors["a"], tensors["b"], tensors["c"].shape) == (2, [3], (0, 5))
    assert tensors["b"].dtype == np.float64


def test_a_header_of_640_bytes_is_no_pickle():
    """The first two bytes of the file are those of a pickle of protocol 2 then."""
    text = json.dumps(HEADER).encode()
    path = written(packed(text + b" " * (640 - len(text)), PAYLOAD))
    assert path.read_bytes()[:2] == b"\x80\x02"
    np.testing.assert_array_equal(fastnn.load_torch(path, model()).layers[1].kernel.T.ravel(), np.arange(12))


def test_what_safetensors_writes_is_read_and_what_is_written_it_reads():
    from safetensors.numpy import load_file, save_file

    arrays = {"b": np.ones((2, 3), np.float32), "a.c": np.arange(4.0), "empty": np.zeros((0, 2), np.float32)}
    path = written(b"")
    save_file(arrays, path)
    tensors, other = _safetensors.Tensors(path), written(b"")
    _safetensors.write(other, arrays, {"format": "pt"})
    again = load_file(other)
    for name, array in arrays.items():
        for found in (tensors[name], again[name]):
            np.testing.assert_array_equal(found, array)
            assert found.dtype == array.dtype


def test_a_file_that_changes_between_two_tensors_is_refused():
    data = packed(json.dumps(HEADER).encode(), PAYLOAD)
    path = written(data)
    tensors = _safetensors.Tensors(path)
    path.write_bytes(data + b" ")
    with pytest.raises(fastnn.ModelFileError, match="changed while it was read"):
        tensors["0.bias"]


def test_some_changed_files_are_read_or_refused():
    """A slice of tests/fuzz_safetensors.py, whose command reads more."""
    assert 200 < read_all(400, 7, tempfile.mkdtemp()) < 400
