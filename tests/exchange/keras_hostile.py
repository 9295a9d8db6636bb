"""Files that look like Keras's and are made to do harm, each built from a small file that is whole."""

import functools
import io
import json
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np

DENSE = {"class_name": "Dense", "config": {"name": "dense", "units": 3, "activation": "relu"}}
INPUT = {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, 4], "dtype": "float32"}}
OPTIMIZER = {"class_name": "Adam", "config": {"learning_rate": 0.01}}
COMPILED = {"optimizer": OPTIMIZER, "loss": "mse", "metrics": ["mae"]}
_BOMB = 160 * 2**20  # bytes, more than the bound of a small file


def layer(kind, **config):
    """Return the configuration of a layer."""
    return {"class_name": kind, "config": {"name": kind.lower(), **config}}


def sequential(*layers):
    """Return the configuration of a stack."""
    return {"class_name": "Sequential", "config": {"name": "s", "layers": [INPUT, *layers]}}


def weights(change=lambda file: None):
    """Return model.weights.h5 of a stack of one Dense, changed by a function."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        own = file.create_group("layers/dense/vars")
        own["0"], own["1"] = np.ones((4, 3), "f4"), np.zeros(3, "f4")
        state = file.create_group("optimizer/vars")
        state["0"], state["1"] = np.int64(2), np.float32(0.01)
        for k, shape in enumerate([(4, 3), (4, 3), (3,), (3,)]):
            state[str(k + 2)] = np.zeros(shape, "f4")
        change(file)
    return memory.getvalue()


def archive(config=None, arrays=None, compression=zipfile.ZIP_STORED, more=(), version="3.15.1"):
    """Return a .keras of a configuration, or of the text of one, and of the bytes of its arrays."""
    described = sequential(DENSE) | {"compile_config": COMPILED} if config is None else config
    text = described if isinstance(described, (str, bytes)) else json.dumps(described)
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", compression) as file:
        file.writestr("metadata.json", json.dumps({"keras_version": version}))
        file.writestr("config.json", text)
        file.writestr("model.weights.h5", weights() if arrays is None else arrays)
        for name, content in more:
            file.writestr(name, content)
    return memory.getvalue()


def whole_h5(change=lambda file: None, config=None):
    """Return an .h5 of a stack of one Dense, changed by a function."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file.attrs["model_config"] = json.dumps(sequential(DENSE) if config is None else config)
        file.attrs["keras_version"] = "2.15.0"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = ["dense"]
        own = group.create_group("dense")
        own.attrs["weight_names"] = ["dense/kernel:0", "dense/bias:0"]
        own["dense/kernel:0"], own["dense/bias:0"] = np.ones((4, 3), "f4"), np.zeros(3, "f4")
        change(file)
    return memory.getvalue()


def replaced(name, make):
    """Return a change of a file that puts something else in the place of the kernel."""

    def change(file):
        del file[name]
        make(file, name)

    return change


KERNEL, KERNEL_OF_H5 = "layers/dense/vars/0", "model_weights/dense/dense/kernel:0"


def _bombed_chunks(file, name):
    file.create_dataset(name, (2**14, 2**14), "f4", chunks=(2**12, 2**12), compression="gzip", fillvalue=0)


def _virtual(file, name):
    layout = h5py.VirtualLayout((4, 3), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4, 3))
    file.create_virtual_dataset(name, layout)


def _unwritten(file, name):
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    space = h5py.h5s.create_simple((2**20, 2**20))
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.IEEE_F32LE, space, settings)


def _shared_array():
    """Return an archive of 200 layers whose kernels are one array of the file."""
    layers = [layer("Dense", units=256, use_bias=True) for _ in range(200)]
    for k, one in enumerate(layers):
        one["config"]["name"] = f"dense_{k}"

    def change(file):
        for k in range(200):
            own = file.require_group("layers/dense" + (f"_{k}" if k else "") + "/vars")
            if k == 0:
                del own["0"], own["1"]
                own["0"], own["1"] = np.ones((256, 256), "f4"), np.zeros(256, "f4")
            else:
                own["0"], own["1"] = file["layers/dense/vars/0"], file["layers/dense/vars/1"]

    config = sequential(*layers)
    config["config"]["layers"][0] = layer("InputLayer", batch_shape=[None, 256])
    return archive(config, weights(change))


def _long_names():
    """Return an .h5 whose list of names has a thousand times the same long text, which the file holds once."""
    count, size = 1000, 2**20

    def change(file):
        file["model_weights"].attrs["long"] = "n" * size
        file["model_weights"]["dense"].attrs["weight_names"] = ["short"] * count

    content = bytearray(whole_h5(change))
    collections = [struct.pack("<Q", at) for at in _all_places(content, b"GCOL\x01\0\0\0")]
    # a text's place is its length, the collection and the number in it
    places = {length: [] for length in (size, 5)}
    for length, found in places.items():
        for at in _all_places(content, struct.pack("<I", length)):
            if content[at + 4 : at + 12] in collections:
                found.append(at)
    (long,) = places[size]
    for at in places[5]:
        content[at : at + 16] = content[long : long + 16]
    return bytes(content)


def _all_places(content, what):
    found, at = [], content.find(what)
    while at >= 0:
        found.append(at)
        at = content.find(what, at + 1)
    return found


def deep(depth):
    """Return JSON of lists within each other."""
    return '{"class_name": "Sequential", "config": ' + "[" * depth + "]" * depth + "}"


def nested(depth):
    """Return models within each other."""
    model = DENSE
    for k in range(depth):
        model = {"class_name": "Sequential", "config": {"name": f"m{k}", "layers": [model]}}
    return sequential(model)


def zipped(entries, compression=zipfile.ZIP_DEFLATED):
    """Return a zip archive of these entries."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", compression) as file:
        for name, content in entries:
            file.writestr(name, content)
    return memory.getvalue()


def _directory():
    """Return an archive with very many entries."""
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    entries = entry * 60000
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, 13, 0) + b"metadata.json"
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 60000, 60000, len(entries), len(local), 0)
    return local + entries + end


def _flagged(name, offset, value):
    """Return an archive in whose directory two bytes of an entry are changed."""
    content = bytearray(archive())
    at = content.rfind(name.encode()) - 46
    content[at + offset : at + offset + 2] = struct.pack("<H", value)
    return bytes(content)


def _damaged():
    content = bytearray(archive())
    at = content.find(np.ones(4, "f4").tobytes())
    content[at] ^= 1
    return bytes(content)


def _lying_size():
    """Return an archive whose directory says that the arrays are much longer than they are."""
    content = bytearray(archive())
    at = content.rfind(b"model.weights.h5") - 46
    content[at + 24 : at + 28] = struct.pack("<I", 2**31)
    return bytes(content)


@functools.cache
def _zeros(size):
    """Return so many zeros, compressed as an entry of an archive is."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = bytes(2**20)
    return b"".join([packer.compress(piece) for _ in range(size // 2**20)] + [packer.flush()])


def _bomb(name, claimed):
    """Return an archive with one entry of 160 MiB of zeros, for which its directory gives another size."""
    packed = _zeros(_BOMB)
    checksum = zlib.crc32(b"")
    fields = (20, 0, 8, 0, 0, checksum, len(packed), claimed, len(name), 0)
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", *fields) + name.encode() + packed
    central = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, *fields, 0, 0, 0, 0, 0) + name.encode()
    others = archive()
    end = others.rfind(b"PK\x05\x06")
    count, _, offset = struct.unpack("<HII", others[end + 10 : end + 20])
    directory = others[offset:end]
    kept = b"".join(one for one in _entries(directory) if name.encode() not in one)
    moved = len(local)
    shifted = b"".join(
        one[:42] + struct.pack("<I", struct.unpack("<I", one[42:46])[0] + moved) + one[46:] for one in _entries(kept)
    )
    body = local + others[:offset]
    full = shifted + central
    return body + full + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(full), len(body), 0)


def _entries(directory):
    found = []
    while directory:
        length = 46 + sum(struct.unpack("<3H", directory[28:34]))
        found.append(directory[:length])
        directory = directory[length:]
    return found


def kernel(make):
    """Return what writes an archive with something else in the place of the kernel."""
    return lambda: archive(arrays=weights(replaced(KERNEL, make)))


def created(*arguments, **options):
    """Return what creates such an array."""
    return lambda file, name: file.create_dataset(name, *arguments, **options)


def put(value):
    """Return what puts a value, or a link, in a place."""
    return lambda file, name: file.__setitem__(name, value)


def arrays(change):
    """Return what writes an archive whose arrays are changed."""
    return lambda: archive(arrays=weights(change))


def h5(change):
    """Return what writes a changed .h5."""
    return lambda: whole_h5(change)


def names_of_h5(*names):
    """Return what writes an .h5 with these names of weights."""
    return h5(lambda file: file["model_weights/dense"].attrs.__setitem__("weight_names", list(names)))


def text(content):
    """Return what writes an archive with this configuration, or the text of one."""
    return lambda: archive(content)


def stack(*layers):
    """Return what writes an archive of these layers."""
    return text(sequential(*layers))


def compiled(**settings):
    """Return what writes an archive of a model that was compiled so."""
    return text(sequential(DENSE) | {"compile_config": COMPILED | settings})


def graph(*layers, end):
    """Return what writes an archive of a graph."""
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [[end, 0, 0]]}
    return text({"class_name": "Functional", "config": {"name": "g", "layers": [INPUT, *layers], **ends}})


def reading(kind, name, *sources, **config):
    """Return a layer of a graph."""
    return layer(kind, **config | {"name": name}) | {"inbound_nodes": [[[source, 0, 0, {}] for source in sources]]}


def parts(part, count):
    """Return what writes a configuration that repeats a part."""
    return lambda: archive('{"class_name": "Sequential", "config": [' + part * count + "1]}")


def entry(name, content):
    """Return what writes an archive with one more entry."""
    return lambda: archive(more=[(name, content)])


LINK = h5py.ExternalLink("/etc/passwd", "x")
LAMBDA = layer("Lambda", function={"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None}})
OWN = {"module": "my.layers", "class_name": "Dense", "config": {"units": 3}, "registered_name": "my>Dense"}
FUNCTION = {"module": "builtins", "class_name": "function", "config": "mine", "registered_name": "function"}
MARSHALLED = {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}
WIDE = {"layers": [layer("InputLayer", batch_shape=[None, 2**40]), layer("Normalization", mean=0.0, variance=1.0)]}
VOCABULARY = ("assets/layers/string_lookup/vocabulary.txt", "a\n" * 2**19)
LOOKUP = sequential(layer("StringLookup", vocabulary=None))
# name: what writes the file, and what the message says
HOSTILE = {
    "external link": (kernel(put(LINK)), "is a link to elsewhere"),
    "soft link to itself": (kernel(put(h5py.SoftLink("/" + KERNEL))), "is a link to elsewhere"),
    "external storage": (kernel(created((4, 3), "f4", external=[("/etc/passwd", 0, 48)])), "in another file"),
    "virtual": (kernel(_virtual), "in chunks, compressed or in another"),
    "compressed chunks": (kernel(_bombed_chunks), "in chunks, compressed"),
    "unwritten": (kernel(_unwritten), "has a shape and no numbers"),
    "texts of any length": (kernel(created((4, 3), h5py.string_dtype())), "is no array of numbers"),
    "references": (kernel(created((4, 3), h5py.ref_dtype)), "is no array of numbers"),
    "regions": (kernel(created((4, 3), h5py.regionref_dtype)), "is no array of numbers"),
    "lists of any length": (kernel(created((4, 3), h5py.vlen_dtype("f4"))), "is no array of numbers"),
    "records": (kernel(created((4, 3), [("a", "f4")])), "is no array of numbers"),
    "whole numbers": (kernel(put(np.ones((4, 3), "i4"))), "is int32, and weights here are float32"),
    "another shape": (kernel(put(np.ones((3, 4), "f4"))), "has weights of shapes"),
    "no kernel": (arrays(lambda file: file.__delitem__(KERNEL)), "under their numbers"),
    "state of another": (arrays(lambda file: file.__delitem__("optimizer/vars/5")), "the state of its Adam does not"),
    "state too much": (
        arrays(lambda file: file.__setitem__("optimizer/vars/6", np.zeros(3))),
        "more state than its Adam",
    ),
    "half a step": (arrays(replaced("optimizer/vars/0", put(np.float64(2.5)))), "steps must be a whole number"),
    "one array for many layers": (_shared_array, "more than the file has left for it"),
    "one text for many names": (_long_names, "is a list of very long texts"),
    "link in h5": (h5(replaced(KERNEL_OF_H5, put(LINK))), "is a link to elsewhere"),
    "names that lead out": (names_of_h5("../../../x", "dense/bias:0"), "which it does not hold"),
    "names of others": (names_of_h5("dense/bias:0", "dense/kernel:0"), "has weights of shapes"),
    "no text": (h5(lambda file: file.attrs.__setitem__("model_config", np.ones(3))), "is no text"),
    "no configuration": (h5(lambda file: file.attrs.__delitem__("model_config")), "does not say which layers there"),
    "cut short": (lambda: whole_h5()[:-900], "is damaged: "),
    "deep JSON": (text(deep(10**5)), "is nested more than 32 deep"),
    "many brackets": (parts("[],", 300000), "lists and dicts"),
    "many numbers": (parts("1.5,", 2**21), "has more than 1048576 entries"),
    "many texts": (parts('"a",', 2**20), "has more than 1048576 entries"),
    "a key twice": (text('{"class_name": "Sequential", "class_name": "Sequential"}'), "names a key twice"),
    "no JSON": (text("{"), "is not valid JSON"),
    "a list": (text("[1]"), "has no 'class_name'"),
    "no class": (text({"config": {}}), "has no 'class_name'"),
    "no layers": (text({"class_name": "Sequential", "config": {}}), "has no 'layers'"),
    "a layer that is a number": (stack(3), "has no 'class_name'"),
    "a subclass": (text({"class_name": "MyModel", "config": {}}), "it is a MyModel, whose Python code"),
    "many layers": (stack(*[layer("Dropout", rate=0.5)] * 5000), "has more than 4096 layers"),
    "models in models": (text(nested(40)), "nested more than 32 deep"),
    "wide": (stack(layer("Dense", units=2**40)), "has weights of shapes"),
    "very wide": (stack(layer("Dense", units=2**61), layer("Dense", units=2**61)), "name 'dense' is taken|shapes"),
    "many columns": (text({"class_name": "Sequential", "config": WIDE}), "reads 1099511627776 columns, more than"),
    "negative": (stack(layer("Dense", units=-3)), "'dense' is a Dense that cannot be made here: units must be"),
    "Lambda": (stack(LAMBDA), "'lambda' is a Lambda, a Python function, and nothing of a file is run"),
    "own class": (stack(OWN), "is a Dense of the user's own, whose Python code is not in the file"),
    "own activation": (stack(layer("Dense", units=3, activation=FUNCTION)), "made here: activation 'mine' is unknown"),
    "operation": (stack(layer("Arctan")), "layer 'arctan' is a Arctan, and no layer here is one"),
    "convolution": (stack(layer("Conv2D", filters=3)), "layer 'conv2d' is a Conv2D: no convolutions here"),
    "own loss": (compiled(loss=FUNCTION), "its loss 'mine' is none of fastnn's own: give custom_objects"),
    "marshalled loss": (compiled(loss=MARSHALLED), "its loss '__lambda__' is none of fastnn's own"),
    "many thresholds": (compiled(metrics=[layer("AUC", num_thresholds=2**30)]), "thresholds"),
    "own optimizer": (compiled(optimizer=layer("my>Mine")), "its optimizer is Mine, which fastnn has not"),
    "loop": (graph(reading("Add", "a", "x", "b"), reading("Dropout", "b", "a", rate=0.5), end="b"), "has a loop"),
    "missing layer": (graph(end="b"), "its graph names a layer 'b'"),
    "vocabulary of a bomb": (
        lambda: archive(LOOKUP, None, zipfile.ZIP_DEFLATED, [VOCABULARY]),
        "more than 262144 tokens",
    ),
    "zip bomb in the configuration": (lambda: _bomb("config.json", 2**20), "checksum does not match"),
    "zip bomb in the arrays": (lambda: _bomb("model.weights.h5", 2**20), "checksum does not match"),
    "honest zip bomb": (lambda: _bomb("model.weights.h5", _BOMB), "would be 167772160 bytes, which a file"),
    "large configuration": (lambda: _bomb("config.json", 2**25), "has more than 16777216 bytes"),
    "names out of the folder": (entry("../x", "1"), "leads out of a folder"),
    "absolute names": (entry("/etc/x", "1"), "leads out of a folder"),
    "many entries": (_directory, "directory is larger than"),
    "encrypted": (lambda: _flagged("config.json", 8, 1), "is encrypted or compressed in an unusual way"),
    "another compression": (lambda: _flagged("config.json", 10, 12), "is encrypted or compressed in an unusual way"),
    "damaged": (_damaged, "checksum does not match"),
    "lying size": (_lying_size, "would be 2147483648 bytes"),
    "no arrays": (lambda: zipped([("config.json", json.dumps(sequential(DENSE)))]), "holds no 'model.weights.h5'"),
    "archive of nothing": (lambda: zipped([("a.json", "{}")]), "holds no 'model.weights.h5'"),
    "cut archive": (lambda: archive()[:-30], "its zip archive is damaged"),
}


def twice():
    """Return an archive that holds a name twice; zipfile warns while it is written."""
    content = bytearray(archive(more=[("configXjson", "{}")]))
    at = content.find(b"configXjson")
    while at >= 0:
        content[at : at + 11] = b"config.json"
        at = content.find(b"configXjson")
    return bytes(content)


HOSTILE["a name twice"] = (twice, "holds a name twice")


def write_all(folder):
    """Write all files into a folder, under numbers."""
    for k, (make, _) in enumerate(HOSTILE.values()):
        (Path(folder) / str(k)).write_bytes(make())


def with_file(content, read):
    """Return what `read` makes of the path of a file with this content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m"
        path.write_bytes(content)
        return read(path)
