"""libfastnn: C programs, and whoever calls C, get the bits of Python from files that Python has written."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import libraries
import numpy as np
import pytest
from onnx_cases import PAIRS, built

import fastnn
from fastnn import layers
from fastnn.predictor import get_include, get_library

LIBRARY = libraries.opened()
COMPILER = shutil.which("cc") or shutil.which("gcc")
compiles = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")
on_elf = pytest.mark.skipif(sys.platform != "linux", reason="reads ELF files")

PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <fastnn_predictor.h>

/* Reads rows of x and of u from a file, and writes rows of y and of the gradient of u . y. */
int main(int count, char **arguments) {
    const fnn_predictor *network = count == 5 ? fnn_load(arguments[1]) : NULL;
    if (!network) {
        fprintf(stderr, "%s\n", fnn_error_message());
        return 1;
    }
    const size_t rows = (size_t)atol(arguments[2]), inputs = fnn_inputs(network), outputs = fnn_outputs(network);
    const size_t size = fnn_is_double(network) ? sizeof(double) : sizeof(float);
    char *x = (char *)malloc(rows * inputs * size), *u = (char *)malloc(rows * outputs * size);
    char *y = (char *)malloc(rows * outputs * size), *gradient = (char *)malloc(rows * inputs * size);
    FILE *given = fopen(arguments[3], "rb"), *made = fopen(arguments[4], "wb");
    if (fread(x, inputs * size, rows, given) != rows || fread(u, outputs * size, rows, given) != rows ||
        fnn_predict(network, x, rows, y) || fnn_vjp(network, x, rows, u, NULL, gradient)) {
        fprintf(stderr, "failed: %s\n", fnn_error_message());
        return 2;
    }
    fwrite(y, outputs * size, rows, made);
    fwrite(gradient, inputs * size, rows, made);
    fclose(given);
    fclose(made);
    fnn_free(network);
    free(x), free(u), free(y), free(gradient);
    return 0;
}
"""


def network(dtype="float32"):
    stack = [layers.Dense(33, "gelu"), layers.LayerNormalization(), layers.Residual([layers.Dense(33, "relu")])]
    return fastnn.Sequential([fastnn.Input((7,), dtype=dtype), *stack, layers.Dense(3, "softmax")])


def saved(predictor, path):
    predictor.save(path)
    return path.read_bytes()


def unique(tmp_path, name):
    """A path that no other thread of a test has."""
    folder = tmp_path / os.urandom(8).hex()
    folder.mkdir()
    return folder / name


def printed(*command, **settings):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def config(*options):
    return printed(sys.executable, "-m", "fastnn", "config", *options).strip()


def answers_of(program, predictor, folder, rows=5):
    """What a program like PROGRAM says of random rows, and what Python does; it runs with an empty environment."""
    generator = np.random.default_rng(rows)
    predictor.save(folder / "network.fnn")
    x = generator.normal(size=(rows, predictor.inputs)).astype(predictor.dtype)
    u = generator.normal(size=(rows, predictor.outputs)).astype(predictor.dtype)
    (folder / "given").write_bytes(x.tobytes() + u.tobytes())
    kept = {name: os.environ[name] for name in ("LD_PRELOAD", "ASAN_OPTIONS", "FASTNN_ISA") if name in os.environ}
    printed(program, folder / "network.fnn", rows, folder / "given", folder / "made", env=kept)
    y, gradient = predictor.vjp(x, u)
    return np.fromfile(folder / "made", predictor.dtype), np.concatenate([y.ravel(), gradient.ravel()])


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """PROGRAM, compiled and linked by the flags of pkg-config."""
    if shutil.which("pkg-config") is None:
        pytest.skip("needs pkg-config")
    folder = tmp_path_factory.mktemp("program")
    (folder / "program.c").write_text(PROGRAM)
    environment = os.environ | {"PKG_CONFIG_PATH": config("--pkgconfigdir")}
    flags = shlex.split(printed("pkg-config", "--cflags", "--libs", "fastnn", env=environment))
    strict = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror"]
    printed(COMPILER, *strict, folder / "program.c", "-o", folder / "program", *flags)
    return folder / "program"


@compiles
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_c_program_gives_pythons_bits_without_python(program, dtype, tmp_path):
    folder = unique(tmp_path, "x").parent
    np.testing.assert_array_equal(*answers_of(program, network(dtype).freeze(), folder))


@compiles
def test_an_instruction_set_that_is_not_there_is_named(program, tmp_path):
    path = unique(tmp_path, "network.fnn")
    network().freeze().save(path)
    kept = {name: os.environ[name] for name in ("LD_PRELOAD", "ASAN_OPTIONS") if name in os.environ}
    command = [program, path, "1", path, path.with_name("made")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=kept | {"FASTNN_ISA": "avx3"})
    assert done.returncode == 1
    assert done.stderr == "FASTNN_ISA is avx3, which this processor or this library has not\n"


@compiles
def test_flags_of_the_command_line_do_as_well_and_for_cplusplus(tmp_path):
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    source = unique(tmp_path, "program.cpp")
    source.write_text(PROGRAM)
    flags = shlex.split(config("--cflags", "--libs"))
    strict = ["-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers"]
    printed(compiler, *strict, source, "-o", source.with_suffix(""), *flags)
    np.testing.assert_array_equal(*answers_of(source.with_suffix(""), network().freeze(), source.parent))


CMAKE = """
    cmake_minimum_required(VERSION 3.10)
    project(program C)
    find_package(fastnn 0.2 REQUIRED)
    add_executable(program program.c)
    target_link_libraries(program fastnn::fastnn)
"""


@compiles
@pytest.mark.slow
def test_cmake_finds_it(tmp_path):
    if shutil.which("cmake") is None:
        pytest.skip("needs CMake")
    source = unique(tmp_path, "program.c")
    source.write_text(PROGRAM)
    (source.parent / "CMakeLists.txt").write_text(textwrap.dedent(CMAKE))
    build = source.parent / "build"
    printed("cmake", "-S", source.parent, "-B", build, f"-Dfastnn_DIR={config('--cmakedir')}")
    printed("cmake", "--build", build)
    np.testing.assert_array_equal(*answers_of(build / "program", network().freeze(), source.parent))
    (source.parent / "CMakeLists.txt").write_text(textwrap.dedent(CMAKE).replace("0.2", "0.3"))
    again = ["cmake", "-S", source.parent, "-B", source.parent / "other", f"-Dfastnn_DIR={config('--cmakedir')}"]
    assert subprocess.run([*map(str, again)], capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "k"), PAIRS, ids=lambda value: str(value))
def test_every_layer_has_the_same_bits(name, k, dtype, tmp_path):
    model, x = built(name, k, dtype)
    predictor = model.freeze()
    reads = predictor.__reduce__()[1][2]
    rows = reads(x, predictor.inputs, dtype)  # numbers, of what is raw
    path = unique(tmp_path, "network.fnn")
    with libraries.Loaded(LIBRARY, saved(predictor, path)) as loaded:
        assert (loaded.inputs, loaded.outputs, loaded.dtype) == (predictor.inputs, predictor.outputs, predictor.dtype)
        y = loaded(rows)
        u = np.random.default_rng(0).normal(size=y.shape).astype(dtype)
        v = np.random.default_rng(1).normal(size=rows.shape).astype(dtype)
        derivatives = loaded.vjp(rows, u), loaded.jvp(rows, v), loaded.hvp(rows, v, u), (y, loaded.jacobian(rows))
    expected = predictor(x), fastnn.load_predictor(path)(x)
    for answer in expected:
        both = np.hstack(list(answer.values())) if isinstance(answer, dict) else answer
        np.testing.assert_array_equal(y, both)
    for again, _ in derivatives:
        np.testing.assert_array_equal(again, y)
    if not reads.prepare:  # Python differentiates by x as C has it
        of_python = predictor.vjp(rows, u), predictor.jvp(rows, v), predictor.hvp(rows, v, u), predictor.jacobian(rows)
        for (_, ours), (_, theirs) in zip(derivatives, of_python, strict=True):
            both = np.concatenate([*theirs.values()], axis=1) if isinstance(theirs, dict) else theirs
            np.testing.assert_array_equal(ours, both)


def test_threads_call_one_network_at_once(tmp_path):
    predictor = network().freeze()
    x = np.random.default_rng(0).normal(size=(400, 7)).astype(np.float32)
    expected = predictor(x)
    data = saved(predictor, unique(tmp_path, "network.fnn"))
    with libraries.Loaded(LIBRARY, data) as loaded, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda k: loaded(x[k : k + 1]) if k < 400 else loaded(x), range(408)))
    np.testing.assert_array_equal(np.concatenate(answers[:400]), expected)
    for answer in answers[400:]:
        np.testing.assert_array_equal(answer, expected)


@pytest.mark.thread_unsafe(reason="sets the number of threads of the library")
def test_the_number_of_threads_changes_no_bits(tmp_path):
    model = fastnn.Sequential([fastnn.Input((64,)), layers.Dense(256, "relu"), layers.Dense(8)])
    x = np.random.default_rng(0).normal(size=(2000, 64)).astype(np.float32)
    with libraries.Loaded(LIBRARY, saved(model.freeze(), unique(tmp_path, "network.fnn"))) as loaded:
        try:
            answers = []
            for count in (1, 2, 3):
                set_to = LIBRARY.fnn_set_threads(count)
                assert set_to in (1, count)  # the serial library has one
                answers.append(loaded(x))
            assert LIBRARY.fnn_set_threads(0) >= 1
            assert LIBRARY.fnn_set_threads(-1) == LIBRARY.fnn_set_threads(257) == -1
            said = LIBRARY.fnn_error_message()
            assert said == b"threads must be a number from 1 to 256, or 0 for all processors, got 257"
        finally:
            LIBRARY.fnn_set_threads(1)
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])


# ---- what is wrong is said ----


def test_the_version_is_that_of_the_package():
    assert LIBRARY.fnn_library_version().decode() == fastnn.__version__


def test_files_that_cannot_be_read(tmp_path):
    for path, reason in {
        tmp_path: "cannot be loaded: it is no file",
        tmp_path / "none": "cannot be read: No such file or directory",
        Path(__file__): "cannot be loaded: it is no network that Predictor.save wrote",
        Path("/dev/null"): "cannot be loaded: it is no file",
    }.items():
        assert not LIBRARY.fnn_load(os.fsencode(path))
        assert LIBRARY.fnn_error_message().decode() == f"{path} {reason}"
    assert not LIBRARY.fnn_load(None)
    assert LIBRARY.fnn_error_message() == b"path must be the name of a file, got NULL"


def test_arrays_that_are_missing(tmp_path):
    x = np.ones((2, 7), np.float32)
    with libraries.Loaded(LIBRARY, saved(network().freeze(), unique(tmp_path, "network.fnn"))) as loaded:
        for call, sentence in {
            (None, x.ctypes.data, 2, x.ctypes.data): "predictor must be a network that fnn_load returned, got NULL",
            (loaded.handle, None, 2, x.ctypes.data): "x and y must be arrays, got NULL",
            (loaded.handle, x.ctypes.data, 2, None): "x and y must be arrays, got NULL",
        }.items():
            assert LIBRARY.fnn_predict(*call) == -1
            assert LIBRARY.fnn_error_message().decode() == sentence
        assert LIBRARY.fnn_predict(loaded.handle, None, 0, None) == 0
        assert LIBRARY.fnn_vjp(loaded.handle, x.ctypes.data, 2, None, None, x.ctypes.data) == -1
        assert LIBRARY.fnn_error_message() == b"x and u must be arrays, got NULL"
    LIBRARY.fnn_free(None)


def test_an_empty_path_is_named():
    assert not LIBRARY.fnn_load(b"")
    assert LIBRARY.fnn_error_message() == b"path must be the name of a file, got an empty one"


def test_a_message_belongs_to_its_thread():
    assert not LIBRARY.fnn_load(b"/none")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(LIBRARY.fnn_error_message).result() == b""
    assert b"/none" in LIBRARY.fnn_error_message()


def test_functions_take_predictors_of_python(tmp_path):
    del tmp_path
    predictor = network().freeze()
    x, y = np.ones((2, 7), np.float32), np.empty((2, 3), np.float32)
    assert LIBRARY.fnn_predict(predictor.address, x.ctypes.data, 2, y.ctypes.data) == 0
    np.testing.assert_array_equal(y, predictor(x))


# ---- what is in the library ----


def declared():
    """The functions that the public header declares."""
    text = re.sub(r"/\*.*?\*/", "", Path(get_include(), "fastnn_predictor.h").read_text(), flags=re.DOTALL)
    return set(re.findall(r"\b(fnn_\w+)\(", text))


@on_elf
def test_it_shows_its_functions_alone_with_their_version():
    if shutil.which("nm") is None:
        pytest.skip("needs nm, of binutils")
    lines = printed("nm", "-D", "--defined-only", get_library()).splitlines()
    names = {line.split()[-1] for line in lines if " A " not in line}
    assert names == {f"{name}@@FASTNN_0.2" for name in declared()}


@on_elf
def test_it_is_called_by_its_file_and_is_hardened():
    if shutil.which("readelf") is None:
        pytest.skip("needs readelf, of binutils")
    listing = printed("readelf", "--wide", "--dynamic", "--segments", get_library())
    assert re.search(r"\(SONAME\).*\[libfastnn\.so\.0\]", listing)
    assert Path(get_library()).name == "libfastnn.so.0"
    assert not re.search(r"\((?:RUNPATH|RPATH)\)|libpython", listing)
    assert "GNU_RELRO" in listing
    assert "NODELETE" in listing
