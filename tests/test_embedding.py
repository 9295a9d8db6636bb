"""The examples that embed a frozen network compile without a warning, run, and find what Python finds."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnn

EMBED = Path(__file__).parents[1] / "examples" / "embed"
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.thread_unsafe(reason="sets the process-wide seed, and compiles"),
    pytest.mark.skipif(not EMBED.is_dir(), reason="needs the examples beside the tests"),
]


@pytest.fixture(scope="module")
def landscape():
    """The module of that name, and its network after a short training."""
    sys.path.insert(0, str(EMBED))
    try:
        import landscape
    finally:
        sys.path.remove(str(EMBED))
    return landscape, landscape.learn(epochs=30)


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
    """Python's own network has this height there, and no slope; a valley of the formula is near."""
    module, network = landscape
    value, slope = network.value_and_gradient(np.array(point))
    assert value == pytest.approx(height, abs=1e-10)  # twelve digits were printed
    np.testing.assert_allclose(slope, 0, atol=1e-6)
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


@pytest.mark.parametrize("name", ["descent"])
def test_programs_say_in_a_sentence_what_is_wrong(name, tmp_path):
    source, language, tool = {
        "descent": ("descent.c", "-std=c11", compiler("cc", "gcc")),
    }[name]
    run(tool, language, "-pthread", EMBED / source, *flags("--cflags", "--libs"), "-lm", "-o", name, folder=tmp_path)
    done = subprocess.run([tmp_path / name, "nothing.fnn"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "nothing.fnn" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_cmake_builds_the_folder(file, tmp_path):
    cmake, made = compiler("cmake"), tmp_path / "build"
    run(cmake, "-S", EMBED, "-B", made, f"-Dfastnn_DIR={flags('--cmakedir')[0]}", folder=tmp_path)
    run(cmake, "--build", made, folder=tmp_path)
    assert run(made / "descent", file, 4, 1, folder=tmp_path).startswith(tuple("123456789"))


def test_the_file_of_the_landscape_is_what_the_command_writes(landscape, file):
    again = fastnn.load_predictor(file)
    points = landscape[0].VALLEYS
    np.testing.assert_array_equal(again(points), landscape[1](points))
