"""Networks as plain C: compiled, their outputs and gradients are those of the model; what cannot be written says so."""

import ctypes
import functools
import math
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import fuzz_c
import numpy as np
import pytest

import fastnn
from fastnn import _engine, activations, layers
from fastnn.exchange import _to_c_kernels, _to_c_ops
from fastnn.exchange._to_c_program import literal

WARNINGS = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow", "-Wdouble-promotion"]
ROWS = 20
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")

needs_a_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler: neither cc nor gcc nor clang is on PATH")


def model_of(*stack, inputs=4, dtype="float32"):
    return fastnn.Sequential([layers.Input((inputs,), dtype=dtype), *stack])


def with_activation(f):
    """A network whose activation f reads what a product gives, the row itself, and an activation's result."""
    return model_of(
        layers.Dense(5, f),
        layers.Dense(6),
        layers.Activation(f),
        layers.Rescaling(0.25),
        layers.Activation(f),
        layers.Dense(2),
    )


def before_a_dense(*stack, **told):
    return model_of(*stack, layers.Dense(2), **told)


def codes(columns, count):
    return np.random.default_rng(7).integers(0, count, (ROWS, columns)).astype(np.float32)


FAR = {"smooth_clip": np.inf, "squareplus": 3e38, "sigmoid": np.inf, "tanh": np.inf, "silu": 3e38, "mish": 3e38}


def far(kind):
    """Rows of one number at which the result of an activation is finite, though a square would not be."""
    x = np.array([[1e19], [1e30], [FAR[kind]]], np.float32)
    return np.concatenate([-x, x])


def missing():
    x = np.random.default_rng(8).normal(size=(ROWS, 4))
    x[::3, 1] = x[1::4, 3] = np.nan
    return x


def branched():
    branches = {
        "numbers": [layers.Input((3,)), layers.Dense(4, "silu"), layers.Dropout(0.5)],
        "codes": [layers.Input((2,)), layers.Embedding(6, 3), layers.Dense(2)],
        "same": [layers.Input((2,))],
    }
    return fastnn.Sequential([layers.Branches(branches), layers.Dense(3, "softmax")])


def headed():
    heads = {"class": [layers.Dense(3, "softmax")], "same": [], "value": [layers.Dense(4, "gelu"), layers.Dense(1)]}
    return model_of(layers.Dense(5, "tanh"), layers.Heads(heads))


def mapped_pieces():
    return layers.PiecewiseLinearEncoding(units=2, activation="tanh", linear=True, bin_edges=EDGES)


def members(sharing):
    within = [
        layers.EnsembleDense(5, 3, "relu", sharing=sharing),
        layers.EnsembleDense(2, 3, "softmax", sharing=sharing),
    ]
    return model_of(layers.EnsembleScale(3), *within, layers.EnsembleMean(3))


ACTIVATIONS = [activations.get(kind) for kind in activations._registry.members()]
MOMENTS = {"mean": [1, 2, 3, 4], "variance": [1, 0, 3, 4]}
KNOTS, EDGES = [[-1.5, -0.2, -0.2, 0.5, 1.0]] * 4, [[-1.0, 0.0, 0.5, 1.0]] * 3 + [[-0.5, 0.5]]
# A network for each op and each way in which ops read each other, and its rows where these are not normal numbers.
NETS = {
    **{f"activation {f.name}": functools.partial(with_activation, f) for f in ACTIVATIONS},
    "relu with numbers": lambda: with_activation(activations.ReLU(0.1, 2.0, 0.2)),
    "relu with a ceiling": lambda: with_activation(activations.ReLU(max_value=1.0)),
    "gelu by tanh": lambda: with_activation(activations.GELU(True)),
    "one dense": lambda: model_of(layers.Dense(3)),
    "nothing": lambda: model_of(layers.Activation("linear")),
    "noise alone": lambda: model_of(layers.Dropout(0.5)),
    "blocks and rests": lambda: model_of(layers.Dense(35, "relu"), layers.Dense(19), layers.Dense(1), inputs=7),
    "no bias": lambda: before_a_dense(layers.Dense(17, use_bias=False)),
    "ntk": lambda: before_a_dense(layers.Dense(8, "relu", parametrization="ntk")),
    "noise": lambda: model_of(layers.GaussianNoise(1.0), layers.Dense(3), layers.AlphaDropout(0.2)),
    "layer normalization": lambda: before_a_dense(layers.Dense(9), layers.LayerNormalization()),
    "root mean square": lambda: before_a_dense(layers.Dense(9), layers.RMSNormalization()),
    "unit normalization": lambda: before_a_dense(layers.Dense(9), layers.UnitNormalization()),
    "batch normalization": lambda: before_a_dense(layers.Dense(9), layers.BatchNormalization()),
    "normalization": lambda: before_a_dense(layers.Normalization(**MOMENTS)),
    "inverse": lambda: model_of(layers.Normalization(**MOMENTS, invert=True)),
    "rescaling": lambda: before_a_dense(layers.Rescaling(0.5, 2.0)),
    "robust": lambda: before_a_dense(layers.RobustNormalization(center=[0.5] * 4, factor=[2.0] * 4)),
    "quantiles": lambda: before_a_dense(layers.QuantileNormalization(knots=KNOTS)),
    "pieces": lambda: before_a_dense(layers.PiecewiseLinearEncoding(bin_edges=EDGES)),
    "mapped pieces": lambda: before_a_dense(mapped_pieces()),
    "some columns": lambda: before_a_dense(layers.Normalization(mean=0.5, variance=4.0, columns=[2, 0])),
    "linear embedding": lambda: before_a_dense(layers.LinearEmbedding(3)),
    "periodic": lambda: before_a_dense(layers.PeriodicEmbedding(4, 3)),
    "periodic alone": lambda: before_a_dense(layers.PeriodicEmbedding(4, 3, densely_connected=False)),
    "periodic, shared": lambda: before_a_dense(layers.PeriodicEmbedding(4, 3, phases=False, share_weights=True)),
    "gated": lambda: before_a_dense(layers.Dense(8), layers.GLU(), layers.GLU("gelu")),
    "gated with a line": lambda: before_a_dense(layers.Dense(8), layers.GLU("linear")),
    "prelu": lambda: before_a_dense(layers.Dense(8), layers.PReLU(), layers.PReLU()),
    "parametric": lambda: before_a_dense(layers.Dense(8), layers.ParametricActivation("mish")),
    "parametric by result": lambda: before_a_dense(layers.Dense(8), layers.ParametricActivation("tanh")),
    "scale": lambda: before_a_dense(layers.Scale()),
    "residual": lambda: before_a_dense(
        layers.Residual([layers.Dense(9, "silu"), layers.Dropout(0.1), layers.Dense(4)])
    ),
    "residual of x": lambda: model_of(layers.Residual([layers.Dense(4, "tanh")]), layers.Residual([layers.ReLU()])),
    "residuals within": lambda: model_of(layers.Residual([layers.Residual([layers.Dense(4)]), layers.Dense(4)])),
    "stack": lambda: before_a_dense(layers.Stack([layers.Dense(3), layers.Stack([layers.ReLU()])])),
    **{f"members, {sharing}": functools.partial(members, sharing) for sharing in ("none", "full", "adapted")},
    "units of targets": lambda: model_of(layers.Dense(3), layers.TargetScaling(0.5, 2.0, -1.0, 1.0)),
    "units without ends": lambda: model_of(layers.Dense(3), layers.TargetScaling(0.5, 2.0, clip=False)),
    "heads": headed,
    "branches": branched,
    "embedding": lambda: before_a_dense(layers.Embedding(6, 5), layers.Flatten()),
    "one hot": lambda: before_a_dense(layers.CategoryEncoding(6, "one_hot")),
    "multi hot": lambda: before_a_dense(layers.CategoryEncoding(6, "multi_hot")),
    "counts": lambda: before_a_dense(layers.CategoryEncoding(6, "count")),
    "bins": lambda: before_a_dense(layers.Discretization([-0.5, 0.0, 0.7]), layers.Embedding(4, 3), layers.Flatten()),
    "missing": lambda: before_a_dense(layers.Impute("constant", fill_value=0.25)),
    "missing with marks": lambda: before_a_dense(layers.Impute("constant", add_indicator=True)),
    **{f"far from 0, {kind}": (lambda kind=kind: model_of(layers.Activation(kind), inputs=1)) for kind in FAR},
    "double": lambda: before_a_dense(layers.Dense(19, "gelu"), layers.LayerNormalization(), dtype="float64"),
}
ROWS_OF = {name: codes(4, 6) for name in ("embedding", "one hot", "multi hot", "counts")}
ROWS_OF |= {f"far from 0, {kind}": far(kind) for kind in FAR}
ROWS_OF |= {"missing": missing(), "missing with marks": missing()}
MATRICES = ("blocks and rests", "embedding", "members, none", "members, full", "no bias")
NETS |= {f"{weights} {name}": NETS[name] for weights in ("bfloat16", "int8") for name in MATRICES}


class Written(NamedTuple):
    """A network, what fastnn says of some rows, and the library in which its C is."""

    x: np.ndarray
    y: np.ndarray
    dy: np.ndarray
    dx: np.ndarray
    report: dict
    library: ctypes.CDLL
    name: str

    def call(self, function, *arguments):
        pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in arguments]
        getattr(self.library, f"{self.name}_{function}")(*pointers)

    def predict(self, row):
        y, workspace = self.room(self.y.shape[1]), self.room(self.report["workspace_bytes"] // self.x.itemsize)
        self.call("predict", row, y, workspace)
        return y

    def gradient(self, row, dy):
        y, dx = self.room(self.y.shape[1]), self.room(self.x.shape[1])
        workspace = self.room(self.report["gradient_workspace_bytes"] // self.x.itemsize)
        self.call("gradient", row, dy, y, dx, workspace)
        return y, dx

    def room(self, size):
        """Return memory that is no number anywhere: whoever reads it before it is written is found out."""
        return np.full(size, np.nan, self.x.dtype)


def compiled(folder, texts, library):
    """Compile all files as one, which takes a tenth of the time: their names do not meet."""
    together = folder / "all.c"
    together.write_text("".join(f'#include "{text.name}"\n' for text in texts))
    flags = ["-std=c99", "-O0", *WARNINGS, "-fPIC", "-shared", str(together), "-o", str(library), "-lm"]
    subprocess.run([COMPILER, *flags], check=True, cwd=folder)


@pytest.fixture(scope="module")
def written():
    """The networks, all compiled into one library."""
    with tempfile.TemporaryDirectory() as made:
        folder, found, texts = Path(made), {}, []
        for k, (name, make) in enumerate(NETS.items()):
            model = make()
            fuzz_c.fill(model)
            dtype, plain = model.dtype, name.removeprefix("bfloat16 ").removeprefix("int8 ")
            x = ROWS_OF.get(plain, np.random.default_rng(k).normal(size=(ROWS, model._engine.plan.inputs))).astype(
                dtype
            )
            if "branches" in name:
                x[:, 3:5] = codes(2, 6)
            weights = name.split()[0] if name != plain else None
            texts.append(folder / f"net{k}.c")
            report = model.export_c(texts[-1], weights=weights, gradient=True)
            found[name] = (model, x, report, weights)
        compiled(folder, texts, folder / "all.so")
        library = ctypes.CDLL(str(folder / "all.so"))
        nets = {}
        for k, (name, (model, x, report, weights)) in enumerate(found.items()):
            if weights is not None:
                fuzz_c.store(model, weights)
            nets[name] = Written(x, *fuzz_c.answers(model, x), report, library, f"net{k}")
        yield nets


def tolerance_of(net, name):
    """Return how far numbers may be apart, by their size: exp(x) has the relative error of x times x, about 25."""
    return 1e-12 if net.x.dtype == np.float64 else 1e-4 if name == "activation exponential" else 1e-5


@needs_a_compiler
@pytest.mark.parametrize("name", NETS)
def test_outputs_are_those_of_the_model(written, name):
    net = written[name]
    tolerance = tolerance_of(net, name)
    for row, y in zip(net.x, net.y, strict=True):
        np.testing.assert_allclose(net.predict(row), y, rtol=tolerance, atol=tolerance)


@needs_a_compiler
@pytest.mark.parametrize("name", NETS)
def test_gradients_are_those_of_the_model(written, name):
    net = written[name]
    tolerance = tolerance_of(net, name)
    for row, y, dy, dx in zip(net.x, net.y, net.dy, net.dx, strict=True):
        own_y, own_dx = net.gradient(row, dy)
        np.testing.assert_allclose(own_y, y, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(own_dx, dx, rtol=tolerance, atol=5 * tolerance)


@pytest.mark.parametrize("enum", ["op", "activation"])
def test_every_op_and_activation_of_the_engine_is_in_c_and_in_a_network_here(enum):
    """An op that is new needs its lines of C, and a network above."""
    written = _to_c_ops.OPS if enum == "op" else {"linear", *_to_c_kernels.WHOLE_ROWS, *_to_c_kernels.ELEMENTWISE}
    assert set(written) == set(_engine._ENUMS[enum])
    ops = [op for make in NETS.values() for op in make()._engine.plan.ops]
    assert {op.name if enum == "op" else op.activation for op in ops} == set(_engine._ENUMS[enum])


# ---- other compilers and processors ----

SOME = (
    "residual",
    "branches",
    "heads",
    "quantiles",
    "pieces",
    "bins",
    "missing with marks",
    "double",
    "int8 embedding",
)
SOME += ("bfloat16 members, none", "gelu by tanh", "activation squareplus", "periodic")
CROSS = {"arm-linux-gnueabihf": "qemu-arm", "aarch64-linux-gnu": "qemu-aarch64"}
COMPILERS = [
    "gcc -std=c99",
    "clang -std=c99",
    "g++ -std=c++11",
    "clang++ -std=c++11 -x c++",
    "arm-none-eabi-gcc -std=c99",
]


def exported(folder, names=SOME):
    """Export some networks; return the files, and the models."""
    texts, models = [], []
    for k, name in enumerate(names):
        models.append(NETS[name]())
        fuzz_c.fill(models[-1])
        weights = name.split()[0] if name.startswith(("int8", "bfloat16")) else None
        texts.append(folder / f"net{k}.c")
        models[-1].export_c(texts[-1], weights=weights, gradient=True)
    return texts, models


@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS)
def test_no_compiler_warns(tmp_path_factory, compiler):
    command = compiler.split()
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    folder = tmp_path_factory.mktemp("c")
    texts, _ = exported(folder)
    (folder / "all.c").write_text("".join(f'#include "{text.name}"\n' for text in texts))
    subprocess.run([*command, "-O2", *WARNINGS, "-c", "all.c", "-o", "all.o"], check=True, cwd=folder)


MAIN = """
#include <stdio.h>
#include "net0.c"
int main(void) {
    float x[NET0_INPUTS], y[NET0_OUTPUTS], workspace[NET0_WORKSPACE];
    size_t i, read = 1;
    while (read) {
        for (i = 0; i < NET0_INPUTS && read; i++) {
            read = scanf("%f", x + i) == 1;
        }
        for (i = 0, read ? net0_predict(x, y, workspace) : (void)0; read && i < NET0_OUTPUTS; i++) {
            printf("%.9g ", (double)y[i]);
        }
    }
    return 0;
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("target", CROSS)
def test_outputs_are_the_same_on_other_processors(tmp_path_factory, target):
    compiler, emulator = f"{target}-gcc", CROSS[target]
    for tool in (compiler, emulator):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    for name in ("residual", "gelu by tanh", "quantiles", "pieces"):
        folder = tmp_path_factory.mktemp("c")
        _, (model,) = exported(folder, [name])
        (folder / "main.c").write_text(MAIN)
        subprocess.run([compiler, "-std=c99", "-O2", "-static", "main.c", "-o", "main", "-lm"], check=True, cwd=folder)
        x = np.random.default_rng(2).normal(size=(ROWS, 4)).astype(np.float32)
        told = " ".join(map(repr, x.astype(float).reshape(-1).tolist()))
        answer = subprocess.run(
            [emulator, "./main"], input=told, capture_output=True, check=True, text=True, cwd=folder
        )
        y = np.array(answer.stdout.split(), np.float32).reshape(ROWS, -1)
        np.testing.assert_allclose(y, model.predict(x), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@needs_a_compiler
def test_random_networks_stay_within_their_memory(tmp_path_factory):
    probe = tmp_path_factory.mktemp("c")
    (probe / "probe.c").write_text("int main(void) { return 0; }")
    command = [COMPILER, *fuzz_c.FLAGS, "probe.c", "-o", "probe"]
    if subprocess.run(command, cwd=probe, capture_output=True, check=False).returncode:
        pytest.skip("the compiler has no sanitizers")
    maker = fuzz_c.Maker(0)
    assert fuzz_c.run([maker.model() for _ in range(4)], probe, COMPILER) == []


# ---- files, reports and errors ----


def small():
    return model_of(layers.Dense(3, "relu"), layers.Dense(2))


@pytest.mark.parametrize("value", [0.1, -1 / 3, 1e-42, 3.4028235e38, 16777217.0, -0.0, 5.0, 1e22, 123456.78])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_constants_are_exact(value, kind):
    text = literal(float(kind(value)), "f" if kind is np.float32 else "")
    assert re.fullmatch(r"-?\d+(\.\d+)?(e[-+]\d+)?f?", text)
    assert re.search(r"[.e]", text)  # 5f is no number in C
    assert kind(text.removesuffix("f")).tobytes() == kind(value).tobytes()


def test_numbers_that_are_none_have_names():
    assert [literal(value, "f") for value in (math.inf, -math.inf, math.nan)] == ["INFINITY", "-INFINITY", "NAN"]


def test_the_report_says_what_the_storage_of_weights_changes(tmp_path):
    model, x = small(), np.random.default_rng(0).normal(size=(50, 4))
    path = Path(tempfile.mkdtemp(dir=tmp_path)) / "net.c"
    fuzz_c.fill(model)
    exact = model.export_c(path, rows=x)
    assert (exact["largest_change"], exact["mean_change"]) == (0, 0)
    assert exact["parameters"] == model.count_params()
    assert exact["gradient_workspace_bytes"] == 0
    rough = model.export_c(path, weights="int8", rows=x)
    # A weight is off by at most half of 1 / 127 of the largest of its column: a hundredth of it, in two layers.
    assert 0 < rough["mean_change"] <= rough["largest_change"] < 0.1 * np.abs(model.predict(x)).max()
    assert model.export_c(path)["largest_change"] is None


def test_the_workspace_is_used_again(tmp_path):
    deep = model_of(*[layers.Dense(32, "relu") for _ in range(8)], layers.Dense(1))
    assert deep.export_c(Path(tempfile.mkdtemp(dir=tmp_path)) / "net.c")["workspace_bytes"] == 2 * 32 * 4


def test_the_header_says_what_a_row_is(tmp_path):
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    branched().export_c(folder / "net.c", name="other")
    text = (folder / "net.h").read_text()
    assert "x[3] ... x[4]  codes" in text
    assert "#define OTHER_INPUTS 7" in text
    model = small()
    model.feature_names = ["a */ int bomb; /*", "b\\", "\N{GREEK SMALL LETTER ALPHA}", "d??/"]
    model.export_c(folder / "net.c")
    text = (folder / "net.h").read_text()
    assert "x[0]  a __ int bomb; __" in text
    assert text.isascii()
    assert "??/" not in text


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"filepath": "net.h"}, r"^filepath must end in \.c, got '.*net\.h'$"),
        (
            {"filepath": "math.c"},
            r"^filepath must have another name, got .*: its header would hide that of C's library$",
        ),
        (
            {"filepath": 'a"b.c', "name": "net"},
            r"^filepath must have a name of letters, digits and any of _\.\+-, by which",
        ),
        (
            {"filepath": "n\N{LATIN SMALL LETTER E WITH ACUTE}t.c", "name": "net"},
            r"^filepath must have a name of letters",
        ),
        (
            {"filepath": "my-net.c"},
            r"^the stem of filepath must be a letter, then .*, got 'my-net': give another one as",
        ),
        ({"filepath": "int.c"}, r"^the stem of filepath must be no word of C or C\+\+, got 'int': give another one as"),
        ({"name": "1st"}, r"^name must be a letter, then letters, digits and underscores, got '1st'$"),
        ({"name": "class"}, r"^name must be no word of C or C\+\+, got 'class'"),
        ({"weights": "int4"}, r"^weights must be one of 'float32', 'bfloat16', 'int8', got 'int4'$"),
        ({"weights": "float64"}, r"^weights must be one of 'float32', 'bfloat16', 'int8', got 'float64'$"),
    ],
)
def test_names_and_weights_that_cannot_be_are_one_sentence(tmp_path, told, message):
    told = {"filepath": "net.c"} | told
    path = tmp_path / told["filepath"]
    with pytest.raises(ValueError, match=message):
        small().export_c(**told | {"filepath": path})
    assert not path.exists()


def test_names_of_files_are_no_words_of_the_writer(tmp_path):
    """`real` and `weight` stand for types in the texts of which a file is made."""
    for name in ("real", "weight"):
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        small().export_c(folder / f"{name}.c")
        text = (folder / f"{name}.c").read_text()
        assert f'#include "{name}.h"' in text
        assert f"void {name}_predict(const float *x, float *y, float *workspace) {{" in text


def test_a_model_of_doubles_is_written_in_float_where_that_is_asked_for(tmp_path):
    model, x = NETS["double"](), np.random.default_rng(0).normal(size=(9, 4))
    fuzz_c.fill(model)
    report = model.export_c(Path(tempfile.mkdtemp(dir=tmp_path)) / "net.c", weights="float32", rows=x)
    assert report["numbers"] == "float"
    assert 0 < report["largest_change"] < 1e-6  # rounded weights of float32, in sums of a few products


def test_raw_data_stay_in_python(tmp_path):
    model = fastnn.Sequential([layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot"), layers.Dense(2)])
    model.build((None, 1))
    with pytest.raises(ValueError, match=r"^layer 'string_lookup.*' reads raw data, which is prepared in Python"):
        model.export_c(tmp_path / "net.c")


def test_infinite_weights_have_no_scale(tmp_path):
    model = small()
    model.weights[0][0, 0] = np.inf
    with pytest.raises(ValueError, match=r"^weights='int8' needs finite weights"):
        model.export_c(tmp_path / "net.c", weights="int8")


def test_both_files_are_written_or_none(tmp_path):
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    (folder / "net.c").mkdir()
    with pytest.raises(OSError, match=r"net\.c is no regular file"):
        small().export_c(folder / "net.c")
    assert not (folder / "net.h").exists()
    (folder / "net.h").write_text("kept")
    with pytest.raises(OSError, match=r"net\.c is no regular file"):
        small().export_c(folder / "net.c")
    assert (folder / "net.h").read_text() == "kept"
