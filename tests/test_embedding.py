"""The examples that embed a frozen network compile without a warning, run, and find what Python finds."""

import ctypes
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from embedding import EMBED, imported_examples

import fastnn

WARNINGS = ["-Wall", "-Wextra", "-Werror"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.thread_unsafe(reason="sets the process-wide seed, and compiles"),
    pytest.mark.skipif(not EMBED.is_dir(), reason="needs the examples beside the tests"),
]


@pytest.fixture(scope="module")
def landscape():
    """The module of that name, and its network after a short training."""
    with imported_examples() as importer:
        module = importer("landscape")
    return module, module.learn(epochs=30)


@pytest.fixture(scope="module")
def file(landscape, tmp_path_factory):
    path = tmp_path_factory.mktemp("landscape") / "landscape.fnn"
    landscape[1].save(path)
    return path


def compiler(*names):
    """The first of these compilers that is here."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"needs {' or '.join(names)}")
    return found


def run(*command, folder):
    done = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def flags(*wanted):
    return run(sys.executable, "-m", "fastnn", "config", *wanted, folder=None).split()


def numbers(text):
    return [float(word) for word in re.findall(r"-?\d+(?:\.\d+)?(?:[eE][-+]\d+)?", text)]


def assert_valley(landscape, height, point):
    """Python's own network has this height there, no slope, and curves upward; a valley of the formula is near."""
    module, network = landscape
    value, slope = network.value_and_gradient(np.array(point))
    assert value == pytest.approx(height, abs=1e-10)  # twelve digits were printed
    np.testing.assert_allclose(slope, 0, atol=1e-6)
    assert np.linalg.eigvalsh(network.hessian(np.array(point))[1]).min() > 0
    assert np.linalg.norm(module.VALLEYS - point, axis=1).min() < 0.2  # of a network trained for a second


@pytest.mark.parametrize("start", [(4, 1), (-1, 4), (-3, -4)], ids=str)
def test_c_descends_to_where_python_sees_no_slope(landscape, file, tmp_path, start):
    options = ["-std=c11", "-pedantic", *WARNINGS, "-O2"]
    run(
        compiler("cc", "gcc"),
        *options,
        EMBED / "descent.c",
        *flags("--cflags", "--libs"),
        "-lm",
        "-o",
        "descent",
        folder=tmp_path,
    )
    told = run(tmp_path / "descent", file, *start, folder=tmp_path)
    steps, height, slope, *point = numbers(told)
    assert steps < 10_000
    assert slope < 1e-6
    assert_valley(landscape, height, point)


def test_c_plus_plus_finds_all_valleys_on_several_threads(landscape, file, tmp_path):
    options = ["-std=c++17", "-pedantic", *WARNINGS, "-O2", "-pthread"]
    run(
        compiler("c++", "g++"),
        *options,
        EMBED / "valleys.cpp",
        *flags("--cflags", "--libs"),
        "-o",
        "valleys",
        folder=tmp_path,
    )
    lines = run(tmp_path / "valleys", file, folder=tmp_path).splitlines()
    found = [numbers(line)[:3] for line in lines]
    for height, *point in found:
        assert_valley(landscape, height, point)
    near = [np.linalg.norm(landscape[0].VALLEYS - point, axis=1).argmin() for _, *point in found]
    assert sorted(near) == [0, 1, 2, 3]


@pytest.mark.parametrize("start", [(3, 3), (-2, 2)], ids=str)
def test_fortran_converges_as_newton_does(landscape, file, tmp_path, start):
    options = ["-std=f2018", *WARNINGS, "-fcheck=all", "-O2"]
    run(compiler("gfortran"), *options, EMBED / "newton.f90", *flags("--libs"), "-o", "newton", folder=tmp_path)
    lines = run(tmp_path / "newton", file, *start, folder=tmp_path).splitlines()
    _, height, slope, *point = numbers(lines[-1])
    assert slope < 1e-10
    assert_valley(landscape, height, point)
    slopes = [numbers(line)[2] for line in lines]
    assert slopes[-1] < slopes[-2] ** 1.5  # twice as many digits a step, but for those that float64 has not
    for line in (lines[0], lines[-1]):  # what the program was told of the way is what Python says there
        _, height, slope, *point = numbers(line)
        value, gradient = landscape[1].value_and_gradient(np.array(point))
        assert value == pytest.approx(height, rel=1e-14)
        assert np.linalg.norm(gradient) == pytest.approx(slope, rel=0.06, abs=1e-14)  # two digits were printed


@pytest.mark.parametrize("name", ["descent", "valleys"])
def test_programs_say_in_a_sentence_what_is_wrong(name, tmp_path):
    source, language, tool = {
        "descent": ("descent.c", "-std=c11", compiler("cc", "gcc")),
        "valleys": ("valleys.cpp", "-std=c++17", compiler("c++", "g++")),
    }[name]
    run(tool, language, "-pthread", EMBED / source, *flags("--cflags", "--libs"), "-lm", "-o", name, folder=tmp_path)
    done = subprocess.run([tmp_path / name, "nothing.fnn"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "nothing.fnn" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_cmake_builds_the_folder(file, tmp_path):
    cmake, made = compiler("cmake"), tmp_path / "build"
    compiler("c++", "g++")
    run(cmake, "-S", EMBED, "-B", made, f"-Dfastnn_DIR={flags('--cmakedir')[0]}", folder=tmp_path)
    run(cmake, "--build", made, folder=tmp_path)
    assert run(made / "descent", file, 4, 1, folder=tmp_path).startswith(tuple("123456789"))


def test_the_external_for_casadi_gives_what_python_gives(landscape, file, tmp_path):
    """By its functions as CasADi would call them: tests/bridges has CasADi itself."""
    options = ["-std=c11", "-pedantic", *WARNINGS, "-O2", "-shared", "-fPIC", f'-DNETWORK="{file}"']
    run(
        compiler("cc", "gcc"),
        *options,
        EMBED / "casadi_network.c",
        *flags("--cflags", "--libs"),
        "-o",
        "network.so",
        folder=tmp_path,
    )
    library, point, u = ctypes.CDLL(str(tmp_path / "network.so")), np.array([1.5, -2.0]), np.array([0.7])
    network, unused = landscape[1], np.zeros(1)

    def call(name, *given, shapes):
        getattr(library, f"{name}_incref")()
        sizes = [ctypes.c_longlong() for _ in range(4)]
        getattr(library, f"{name}_work")(*map(ctypes.byref, sizes))
        made, room = [np.zeros(shape) for shape in shapes], np.zeros(sizes[3].value + 1)
        pointers = [(ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays)) for arrays in (given, made)]
        assert getattr(library, name)(*pointers, None, room.ctypes.data_as(ctypes.c_void_p), 0) == 0
        getattr(library, f"{name}_decref")()
        return made

    np.testing.assert_array_equal(call("network", point, shapes=[1])[0], network(point))
    jacobian = network.jacobian(point)[1]
    np.testing.assert_array_equal(call("jac_network", point, unused, shapes=[(2, 1)])[0], jacobian.T)  # by columns
    np.testing.assert_array_equal(call("adj1_network", point, unused, u, shapes=[2])[0], network.vjp(point, u)[1])
    hessian, _, transposed = call("jac_adj1_network", point, unused, u, unused, shapes=[(2, 2), 1, 2])
    np.testing.assert_allclose(hessian, 0.7 * network.hessian(point)[1], rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(transposed, jacobian[0])


def test_the_file_of_the_landscape_is_what_the_command_writes(landscape, file):
    again = fastnn.load_predictor(file)
    points = landscape[0].VALLEYS
    np.testing.assert_array_equal(again(points), landscape[1](points))
