"""What a release is made of: what index pages show, what a build says, and an engine whose OpenMP is missing.

The tests of an sdist and a wheel need them built: `python -m build` and FASTNN_DIST=dist.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

import fastnn
from fastnn import _engine

pytestmark = pytest.mark.thread_unsafe(reason="starts processes, and reads what is built once")

ROOT = Path(__file__).parent.parent
CHECKOUT = pytest.mark.skipif(not (ROOT / "setup.py").is_file(), reason="needs the source beside the tests")
BUILDS = pytest.mark.skipif(
    importlib.util.find_spec("Cython") is None or importlib.util.find_spec("setuptools") is None,
    reason="needs what builds fastnn",
)


@pytest.fixture
def wheel():
    """Return the wheel in $FASTNN_DIST."""
    folder = os.environ.get("FASTNN_DIST")
    if folder is None:
        pytest.skip("needs FASTNN_DIST, a folder with a wheel")
    (path,) = Path(folder).glob("*.whl")
    return path


@pytest.fixture
def metadata(wheel):
    """Return the wheel's METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))


def setup(*arguments, **environment):
    """Run setup.py with these arguments and environment variables; return the finished process."""
    return subprocess.run(
        [sys.executable, "setup.py", "-q", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


def relative_links(text):
    """Return the links of a page in Markdown that lead to a file beside it."""
    found = re.findall(r"\]\(([^)\s]+)|(?:href|src|srcset)=\"([^\"]+)\"", text)
    return [link for pair in found for link in pair if link and not re.match(r"[a-z]+:|#", link)]


@CHECKOUT
@BUILDS
def test_page_of_an_index_has_whole_addresses_to_files_of_this_version():
    read_here = (ROOT / "README.md").read_text(encoding="utf-8")
    done = setup("--long-description")
    assert done.returncode == 0, done.stderr
    assert relative_links(done.stdout) == []
    for link in relative_links(read_here):
        address = rf"https://\S+/(?:blob|raw)/v{re.escape(fastnn.__version__)}/{re.escape(link)}"
        assert re.search(rf"{address}[)\"]", done.stdout)


def test_wheel_says_where_the_project_lives_and_under_which_licences(wheel, metadata):
    assert metadata["License-Expression"] == "BSD-3-Clause AND CC-BY-4.0"
    with zipfile.ZipFile(wheel) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist() if "/licenses/" in name}
    assert {name.partition("/licenses/")[2] for name in texts} == {"LICENSE", "fastnn/datasets/LICENSE"}
    assert any("Creative Commons Attribution 4.0 International" in text for text in texts.values())
    urls = {entry.partition(",")[0] for entry in metadata.get_all("Project-URL")}
    assert urls == {"Homepage", "Documentation", "Source", "Issues", "Changelog"}
    assert relative_links(metadata.get_payload()) == []


def test_wheel_names_no_folder_of_its_build(wheel):
    folders = [os.fsencode(folder) + b"/" for folder in {tempfile.gettempdir(), Path.home(), ROOT}]
    with zipfile.ZipFile(wheel) as archive:
        found = [name for name in archive.namelist() if any(folder in archive.read(name) for folder in folders)]
    assert found == []


@CHECKOUT
@BUILDS
def test_build_without_a_compiler_says_so_first(tmp_path):
    folder = tempfile.mkdtemp(dir=tmp_path)
    done = setup("build_ext", "--build-lib", folder, "--build-temp", folder, CC="no-such-compiler")
    assert done.returncode != 0
    first = (done.stdout + done.stderr).splitlines()[0]
    assert first.startswith("error: building fastnn needs a C compiler, gcc or clang, and none works here: install one")
    assert "no-such-compiler" in first
    assert "openmp" not in done.stderr


# GNU OpenMP under a name of the same length, which no system has: in a copy of the engine.
@pytest.mark.skipif(sys.platform != "linux", reason="reads an ELF file")
def test_import_without_openmp_says_what_to_install(tmp_path):
    engine = Path(_engine.__file__).read_bytes()
    if b"libgomp.so.1" not in engine or b"libgomp-" in engine:  # auditwheel names its copy libgomp-<hash>.so.1.0.0
        pytest.skip("the engine was built without GNU OpenMP, or with a copy of its own")
    package = Path(fastnn.__file__).parent
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    shutil.copytree(package, folder / "fastnn", ignore=shutil.ignore_patterns("__pycache__", "lib"))
    (folder / "fastnn" / Path(_engine.__file__).name).write_bytes(engine.replace(b"libgomp.so.1", b"libgomp.so.0"))
    for statement in ("import fastnn", "from fastnn.keras import layers", "import fastnn.predictor"):
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {statement}"],
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            capture_output=True,
            text=True,
        )
        assert done.stderr.splitlines()[-1].startswith(
            "ImportError: fastnn was built with the OpenMP library libgomp.so.0, which this system does not have or "
            "cannot load: install it (Debian, Ubuntu: apt install libgomp1;"
        )


# GNU OpenMP says its settings as it is loaded; what it is asked for must be there by then, whoever loads the engine.
@pytest.mark.skipif(sys.platform != "linux" or "gcc" not in _engine.build_info()["compiler"], reason="GNU OpenMP's")
@pytest.mark.parametrize(("given", "spins"), [({}, 10_000), ({"GOMP_SPINCOUNT": "77"}, 77)], ids=["ours", "user's"])
def test_threads_of_openmp_wait_for_a_bounded_time(given, spins):
    if not _engine.build_info()["openmp"]:
        pytest.skip("a serial build")
    kept = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", "import fastnn.config, os; print(os.environ.get('GOMP_SPINCOUNT'))"],
        env=kept | given | {"OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
    )
    assert re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr) == [str(spins)]
    assert done.stdout == f"{given.get('GOMP_SPINCOUNT')}\n"


@CHECKOUT
def test_workflow_builds_every_platform_of_the_page():
    yaml = pytest.importorskip("yaml")
    if not (path := ROOT / ".github/workflows/wheels.yml").is_file():
        pytest.skip("needs the workflows beside the tests")
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    jobs = workflow["jobs"]
    assert set(jobs["publish"]["needs"]) == {"sdist", "wheels"}
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert workflow["permissions"] == {"contents": "read"}
    built = {entry["platform"] for entry in jobs["wheels"]["strategy"]["matrix"]["include"]}
    rows = re.findall(r"^\| .*? \| `(\w+)` \|", (ROOT / "docs/wheels.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert built == set(rows)


@CHECKOUT
def test_recipe_has_the_version_and_the_licences():
    if not (path := ROOT / "recipe/meta.yaml").is_file():
        pytest.skip("needs the recipe beside the tests")
    recipe, settings = path.read_text(encoding="utf-8"), (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'set version = "(.+)"', recipe)[1] == fastnn.__version__
    assert re.search(r"license: (.+)", recipe)[1] == re.search(r'^license = "(.+?)"', settings, re.MULTILINE)[1]
    for need in re.findall(r'"([a-z]+>=[\d.]+)"', re.search(r"^requires = \[(.+)\]", settings, re.MULTILINE)[1]):
        assert need.replace(">=", " >=") in recipe
