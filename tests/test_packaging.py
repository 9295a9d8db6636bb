"""What is installed, and what importing it does to a process.

The tests of an sdist and a wheel need them built: `python -m build` and FASTNN_DIST=dist.
"""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import fastnn
from fastnn import _engine
from fastnn.predictor import get_library

pytestmark = pytest.mark.thread_unsafe(reason="starts processes, and reads what is installed once")

ROOT = Path(__file__).parent.parent
CHECKOUT = pytest.mark.skipif(not (ROOT / "src_c").is_dir(), reason="needs the source beside the tests")
WHEEL_LIMIT = 4_500_000  # bytes: an engine for five instruction sets, for Python and as a library for C, and the digits

BUILT = {".so", ".pyc", ".pyd", ".o"}
SOURCE_ONLY = {".c", ".h", ".inc", ".pyx", ".pxd"}


def built(pattern):
    """Return the one file in $FASTNN_DIST that matches."""
    folder = os.environ.get("FASTNN_DIST")
    if folder is None:
        pytest.skip("needs FASTNN_DIST, a folder with an sdist and a wheel")
    (path,) = Path(folder).glob(pattern)
    return path


@pytest.fixture
def sdist_names():
    with tarfile.open(built("*.tar.gz")) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture
def wheel_names():
    with zipfile.ZipFile(built("*.whl")) as archive:
        return set(archive.namelist())


@CHECKOUT
def test_sdist_holds_every_file_that_is_built_or_tested(sdist_names):
    folders = ("fastnn", "src_c", "tests", "benchmarks", "docs")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    made = {ROOT / "fastnn/lib", ROOT / "docs/reference/generated"}  # libfastnn, and what finds it; the site's stubs
    files = [path for path in files if not made & set(path.parents)]
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in files
        if path.suffix not in BUILT and not any(part.startswith((".", "__pycache__")) for part in path.parts[1:])
    }
    wanted |= {"setup.py", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md"}
    assert wanted - sdist_names == set()


def test_sdist_holds_nothing_that_was_built(sdist_names):
    assert [name for name in sdist_names if Path(name).suffix in BUILT or name.endswith("_engine.c")] == []


def test_wheel_holds_the_types_and_the_digits_and_no_source(wheel_names):
    assert {"fastnn/py.typed", "fastnn/_engine.pyi"} <= wheel_names
    published = {"fastnn/predictor.pxd", "fastnn/include/fastnn_predictor.h"}  # headers that embedders compile against
    published.add("fastnn/exchange/_to_c_kernels.inc")  # of which exported C is made
    assert {name for name in wheel_names if Path(name).suffix in SOURCE_ONLY} == published
    assert {name.split("/")[0].partition("-")[0] for name in wheel_names} == {"fastnn", "fastnn_cpu"}
    assert any(name.startswith("fastnn/datasets/") and not name.endswith(".py") for name in wheel_names)


def test_wheel_holds_the_library_and_what_tells_compilers_of_it(wheel_names):
    library = {"libfastnn.dylib"} if sys.platform == "darwin" else {"libfastnn.so", "libfastnn.so.0"}
    told = {"pkgconfig/fastnn.pc", "cmake/fastnn/fastnnConfig.cmake", "cmake/fastnn/fastnnConfigVersion.cmake"}
    found = {name.removeprefix("fastnn/lib/") for name in wheel_names if name.startswith("fastnn/lib/")}
    assert found == library | told


def test_wheel_is_small():
    assert built("*.whl").stat().st_size < WHEEL_LIMIT


def test_version_is_the_same_everywhere():
    version = importlib.metadata.version("fastnn-cpu")
    assert fastnn.__version__ == version
    if (ROOT / "CHANGELOG.md").exists():
        assert re.search(rf"^## \[{re.escape(version)}\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
        assert re.search(rf"^version: {re.escape(version)}$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)


def test_runtime_needs_numpy_and_scipy_only():
    requirements = [line for line in importlib.metadata.requires("fastnn-cpu") if "extra ==" not in line]
    assert {re.match("[a-z]+", line)[0] for line in requirements} == {"numpy", "scipy"}


@CHECKOUT
def test_what_is_named_to_install_is_this_project():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    named = {
        name
        for path in [*pages, *(ROOT / "fastnn").rglob("*.py"), *(ROOT / "examples").glob("*.py")]
        for name in re.findall(r"pip\s+install\s+(?:-\S+\s+)*'?(fastnn[\w-]*)", path.read_text())
    }
    assert named == {"fastnn-cpu"}


# The other project's files in our folder, which project's __init__.py is there, the message, and a line that raises it.
CLIENT = "client.py of another project called fastnn"
BOTH = "client.py, nn of another project called fastnn"
MIXED = [
    (("client.py", "utils/__init__.py"), "ours", CLIENT, "import fastnn"),
    (("client.py", "utils/__init__.py"), "ours", CLIENT, "from fastnn.keras import layers"),
    (("client.py", "nn/__init__.py"), "theirs", BOTH, "import fastnn.keras"),
    (("client.py", "nn/__init__.py"), "theirs", BOTH, "from fastnn import layers"),
    ((), "none", "no __init__.py", "import fastnn.keras"),
    ((), "none", "no __init__.py", "from fastnn import layers"),
]


@pytest.mark.parametrize(("theirs", "init", "says", "statement"), MIXED)
def test_files_of_the_other_project_are_named_at_import(theirs, init, says, statement, tmp_path):
    folder = tmp_path / "fastnn"
    for source in Path(fastnn.__file__).parent.rglob("*"):
        if source.is_file() and source.suffix != ".pyc":
            target = folder / source.relative_to(Path(fastnn.__file__).parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source)
    if init != "ours":
        (folder / "__init__.py").unlink()
    for name in (*theirs, *(["__init__.py"] if init == "theirs" else [])):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("")
    # Python prefers a whole package in site-packages to a folder without __init__.py.
    alone = "import sys, numpy; sys.path = [path for path in sys.path if not path.endswith('-packages')]"
    result = subprocess.run(
        [sys.executable, "-c", f"{alone}; {statement}"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: the folder {folder} holds {says}: run `pip uninstall fastnn fastnn-cpu`")


@pytest.mark.skipif(sys.platform != "linux", reason="reads an ELF file")
def test_extension_exports_its_init_function_only():
    command = ["nm", "--dynamic", "--defined-only", "--portability", _engine.__file__]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    exported = [line.split()[0] for line in listing.splitlines()]
    assert [name for name in exported if not name.startswith("__asan_")] == ["PyInit__engine"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF files")
@pytest.mark.parametrize("path", [_engine.__file__, fastnn.predictor.__file__, get_library()], ids=os.path.basename)
def test_what_is_loaded_looks_for_libraries_nowhere_and_is_read_only_once_loaded(path):
    if shutil.which("readelf") is None:
        pytest.skip("needs readelf, of binutils")
    command = ["readelf", "--wide", "--dynamic", "--segments", path]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    places = re.findall(r"\((?:RUNPATH|RPATH)\).*\[(.*)\]", listing)
    # a repaired wheel has a folder of its own for the OpenMP library that it brings
    assert all(re.fullmatch(r"\$ORIGIN/(\.\./)+fastnn_cpu\.libs", place) for place in places)
    assert "GNU_RELRO" in listing
    assert re.search(r"\((?:FLAGS|FLAGS_1|BIND_NOW)\).*(?:BIND_NOW|NOW)|\(BIND_NOW\)", listing)


def run_python(code):
    """Return what `code` prints in a fresh interpreter."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_import_loads_nothing_optional():
    optional = (
        *("sklearn", "joblib", "narwhals", "pandas", "polars", "pyarrow"),
        *("matplotlib", "safetensors", "torch", "tensorflow", "keras", "mpi4py"),
        "scipy",  # needed always, but it takes as long to import as fastnn does
    )
    code = f"import fastnn, sys; print([name for name in {optional} if name in sys.modules])"
    assert run_python(code) == "[]\n"


@pytest.mark.parametrize("old", [False, True], ids=["absent", "old"])
def test_estimators_without_scikit_learn_say_what_to_install(old):
    code = f"""
import inspect, sys, types
if {old}:
    for name in ("sklearn", "sklearn.utils", "sklearn.utils.validation"):
        sys.modules[name] = types.ModuleType(name)
else:
    sys.modules["sklearn"] = None
import fastnn
assert not hasattr(fastnn, "sklearn")
inspect.getmembers(fastnn)
for statement in ("import fastnn.sklearn", "from fastnn import sklearn", "fastnn.sklearn.MLPClassifier()"):
    try:
        exec(statement)
    except Exception as error:
        print(type(error).__name__, error)
"""
    sentence = "fastnn.sklearn needs scikit-learn 1.6 or newer: pip install 'fastnn-cpu[sklearn]'"
    errors = "ImportError", "ImportError", "AttributeError"
    assert run_python(code) == "".join(f"{error} {sentence}\n" for error in errors)


# A library linked with -ffast-math sets flush-to-zero for the whole process as it is loaded. The engine flushes
# denormals too, but must put the mode back.
FLOATING_POINT_MODE = """
import threading
import numpy as np
import fastnn

def check(when):
    assert 5e-324 + 0.0 != 0.0, f"denormals are zero {when}"
    assert float.fromhex("0x1p-1022") / 2 != 0.0, f"denormals are flushed {when}"
    assert np.float32(1e-40) * np.float32(1) != 0, f"float32 denormals are flushed {when}"
    assert 1.0 + 2.0**-53 == 1.0 and 1.0 + 3 * 2.0**-53 == 1.0 + 2.0**-51, f"another rounding {when}"

check("after import")
model = fastnn.Sequential([fastnn.layers.Dense(64, activation="relu", input_shape=(32,)), fastnn.layers.Dense(1)])
model.compile(optimizer="adam", loss="mse")
x = np.random.default_rng(0).random((512, 32), np.float32)
model.fit(x, x[:, :1], epochs=1, verbose=0)
model.predict(x, verbose=0)
check("after training")
thread = threading.Thread(target=check, args=("in another thread",))
thread.start()
thread.join()
print("kept")
"""


def test_floating_point_mode_is_kept():
    assert run_python(FLOATING_POINT_MODE) == "kept\n"


@CHECKOUT
def test_c_code_knows_no_python_and_allocates_nothing():
    forbidden = re.compile(r'#include\s*[<"]Python\.h|\b(malloc|calloc|realloc|alloca|printf|abort|exit|assert)\s*\(')
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for path in sorted((ROOT / "src_c").rglob("*.*"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if forbidden.search(line)
    ]
    assert found == []


@CHECKOUT
def test_build_asks_for_no_fast_math_and_no_native_code():
    code = [line for line in (ROOT / "setup.py").read_text().splitlines() if not line.lstrip().startswith("#")]
    assert not re.search("fast-math|march=native|Ofast", "\n".join(code))
