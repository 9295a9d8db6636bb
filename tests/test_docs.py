"""What the documentation says: its code runs, and the page about Keras names what both have and what is missing.

Everything that runs does so in processes of its own: examples write files, and doctest takes hold of standard output.
"""

import fnmatch
import functools
import inspect
import json
import operator
import re
import sys
from pathlib import Path

import pytest
from pages import RUN_PAGE, run

import fastnn
import fastnn.distributed
from fastnn._absent import AREAS as AREAS_OF_ERRORS
from fastnn._absent import Row
from fastnn.layers.base import SharedWithPenalty
from fastnn.optimizers.base import Shared

ROOT = Path(__file__).parent.parent
NAMES = json.loads((Path(__file__).parent / "reference" / "names.json").read_text())["names"]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LATER = fastnn.distributed, fastnn.sklearn, fastnn.tabular  # what "import fastnn" leaves out
REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.rst"))
pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="needs the documentation beside the tests")

SPECIAL = {
    "keras": "keras",
    "keras.layers.Layer": "Layer",
    "keras.optimizers.Optimizer": "Optimizer",
    "keras.losses.Loss": "Loss",
    "keras.metrics.Metric": "Metric",
}
MODEL = fastnn.Sequential([fastnn.Input((2,)), fastnn.layers.Dense(1)])
HOLDERS = {
    "keras": fastnn,
    "Sequential": MODEL,
    "Layer": MODEL.layers[1],
    "Optimizer": fastnn.optimizers.SGD(),
    "Loss": fastnn.losses.Huber(),
    "Metric": fastnn.metrics.AUC(),
}

ALONE = pytest.mark.thread_unsafe(reason="in a process of its own: four at once would tell nothing new")


# ---- code in pages and in docstrings ----

RUN_DOCSTRINGS = """
import doctest, importlib, pkgutil, sys
import fastnn
failed = 0
for module in [fastnn, *(importlib.import_module(m.name) for m in pkgutil.walk_packages(fastnn.__path__, "fastnn."))]:
    failed += doctest.testmod(module, extraglobs={"fastnn": fastnn}).failed
sys.exit(failed > 0)
"""


@ALONE
@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_code_of_pages_runs(page, tmp_path):
    run(RUN_PAGE, tmp_path, page)


@ALONE
@pytest.mark.slow
def test_examples_of_docstrings_give_what_they_say(tmp_path):
    run(RUN_DOCSTRINGS, tmp_path)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page):
    text = re.sub("```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert target.startswith("https://") or (page.parent / target).exists(), target


PACKAGES = (
    "activations", "callbacks", "config", "constraints", "datasets", "initializers", "layers", "losses", "metrics",
    "models", "optimizers", "optimizers.schedules", "regularizers", "saving", "utils",
)  # fmt: skip
# Public names of those modules that are no part of the interface.
INTERNAL = {
    "ActivationFunction", "CallbackList", "check_dtype", "check_policy", "fit_to",
    "variable_dtype",
}  # fmt: skip


def interface():
    """Return every public class and function."""
    for module in [fastnn, *(sys.modules[f"fastnn.{package}"] for package in PACKAGES)]:
        own = [name for name, member in vars(module).items() if getattr(member, "__module__", "") == module.__name__]
        for name in getattr(module, "__all__", own):
            member = getattr(module, name)
            documented = not name.startswith("_") and name not in INTERNAL
            if documented and (inspect.isclass(member) or inspect.isfunction(member)):
                yield f"{module.__name__}.{name}", member


def test_every_public_name_is_in_the_reference_of_the_site():
    """Under one of its names at least; and what the reference lists is there."""
    text = "\n".join(page.read_text() for page in REFERENCE)
    listed = re.findall(r"^ {3}~fastnn\.([\w.]+)$", text, re.MULTILINE)
    assert len(listed) == len(set(listed))
    found = {id(operator.attrgetter(name)(fastnn)) for name in listed}
    estimators = [(name, getattr(m, name)) for m in LATER for name in m.__all__]
    assert [name for name, member in [*interface(), *estimators] if id(member) not in found] == []


# the arguments that the base class describes
SHARED = [*SharedWithPenalty.__optional_keys__, *Shared.__optional_keys__]


def test_docstrings_name_every_argument_and_give_an_example():
    gaps = set()
    for name, member in interface():
        text = inspect.getdoc(member) if member.__doc__ else ""
        try:
            arguments = inspect.signature(member).parameters.values()
        except ValueError:  # the constructor of a built-in class has no signature
            arguments = ()
        named = [a.name for a in arguments if a.kind != a.VAR_KEYWORD]
        described = " ".join(re.findall(r"^([\w, *]+?)(?: :.*)?$", text, re.MULTILINE)).replace(",", " ").split()
        described += SHARED if "**shared" in described else []
        gaps |= {f"{name}: {argument}" for argument in named if argument not in described}
        gaps |= {f"{name}: example"} if ">>>" not in text else set()
    assert sorted(gaps) == []


# ---- the page about Keras ----


@functools.lru_cache
def tables():
    """Return for each area the text before its table, and its rows: names or patterns, what fastnn has, the note."""
    found = {}
    for section in re.split(r"^### ", (ROOT / "docs" / "keras.md").read_text(), flags=re.MULTILINE)[1:]:
        heading = re.match("`(.*)`", section)[1]
        area = SPECIAL.get(heading, heading.removeprefix("keras."))
        intro, _, rest = section.partition("| Keras |")
        lines = [line for line in rest.partition("\n## ")[0].splitlines()[2:] if line.startswith("|")]
        rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
        found[area] = intro, [(spans(first), has, note) for first, has, note in rows]
    return found


def spans(text):
    return re.findall("`([^`]+)`", text)


def holder(area):
    return HOLDERS[area] if area in HOLDERS else operator.attrgetter(area)(fastnn)


def has(area, name):
    try:
        return hasattr(holder(area), name)
    except AttributeError:  # fastnn has no such package
        return False


def missing_arguments(area, name):
    """Return the arguments that Keras takes and fastnn does not."""
    member = getattr(holder(area), name)
    arguments = NAMES[area].get(name)
    if arguments is None or not callable(member):
        return set()
    taken = set(inspect.signature(member).parameters)
    if "constants" in taken:
        taken |= set(inspect.signature(type(member)).parameters)
    return set(arguments) - taken


def without(text):
    """Return the arguments in code after the word "without", with remarks in brackets among them."""
    lists = re.findall(r"[Ww]ithout ((?:`\w+`(?: \([^)]*\))?(?:, | and )?)+)", " ".join(text.split()))
    return set(spans("".join(lists)))


AREAS = pytest.mark.parametrize("area", NAMES)

# Names on the page that Keras 3 lacks, or has on instances alone: set by a model, of older versions, of TensorFlow.
OTHERS = {
    "Sequential": {"stop_training", "optimizer", "history", "name", "fit_generator", "evaluate_generator",
                   "predict_generator", "predict_classes", "predict_proba", "to_yaml", "save_model"},
    "Layer": {"input_shape", "output_shape"},
    "Optimizer": {"minimize", "get_gradients", "get_weights", "weights", "decay"},
    "Metric": {"reset_states"},
    "keras": {"Functional", "math", "constant", "GradientTape", "convert_to_tensor", "function", "data", "io", "nn",
              "distribute", "lite", "saved_model", "estimator"},
    "layers": {"ThresholdedReLU", "DenseFeatures"},
    "regularizers": {"l1l2"},
    "constraints": {"maxnorm", "nonneg", "unitnorm"},
    "optimizers": {"legacy", "experimental"},
    "optimizers.schedules": {"get"},
    "losses": {"mse", "mae", "mape", "msle", "kld", "logcosh", "Reduction"},
    "metrics": {"mse", "mae", "mape", "msle", "MeanTensor", "MeanRelativeError"},
    "callbacks": {"experimental", "BaseLogger"},
    "models": {"model_from_yaml", "Functional"},
    "utils": {"np_utils"},
    "config": {"list_physical_devices", "threading", "experimental"},
}  # fmt: skip


@AREAS
def test_every_name_of_keras_is_on_the_page(area):
    patterns = [name for names, _, _ in tables()[area][1] for name in names]
    assert [name for name in NAMES[area] if not any(fnmatch.fnmatchcase(name, p) for p in patterns)] == []
    assert {p for p in patterns if not fnmatch.filter(NAMES[area], p)} == OTHERS.get(area, set()) - NAMES[area].keys()


@AREAS
def test_the_page_says_what_errors_say(area):
    page = [Row(" ".join(names), has, note) for names, has, note in tables()[area][1] if has != "same"]
    assert page == list(AREAS_OF_ERRORS[area])


@AREAS
def test_the_page_is_right_about_what_there_is(area):
    for names, says, _ in tables()[area][1]:
        for name in names:
            if says == "same":
                assert has(area, name), f"{name} is not there"
            else:
                members = [] if area not in HOLDERS and not has("keras", area) else dir(holder(area))
                exact = [member for member in members if member in NAMES[area]]
                assert fnmatch.filter(exact, name) == [], f"{name} is there"
        for other in spans(says):
            assert operator.attrgetter(other.removeprefix("fastnn."))(fastnn) if other.startswith("fastnn.") else True
            assert other.startswith("fastnn.") or has(area, other), f"{other} is not there"


@AREAS
def test_the_page_lists_missing_arguments(area):
    intro, rows = tables()[area]
    throughout = without(intro)
    for names, says, note in rows:
        if says == "same":
            lacking = set().union(*(missing_arguments(area, name) for name in names)) - throughout
            assert lacking == without(note) - throughout, f"{', '.join(names)}"


@pytest.mark.parametrize(
    "package", ["fastnn", *(f"fastnn.{p}" for p in ("layers", "losses", "metrics", "optimizers", "callbacks"))]
)
def test_every_public_name_of_fastnn_is_on_the_page(package):
    page = set(spans(re.sub("```.*?```", "", (ROOT / "docs" / "keras.md").read_text(), flags=re.DOTALL)))
    module = sys.modules[package]
    names = [name for name in module.__all__ if not (name.isupper() and not callable(getattr(module, name)))]
    assert [name for name in names if name not in page | {"distributed", "keras", "sklearn", "tabular"}] == []


@pytest.mark.skipif(not (ROOT / "src_c").is_dir(), reason="needs the source beside the tests")
def test_the_layout_names_the_files_that_there_are():
    """The layout has a row for each file of the package and the engine; other files of src_c share the kernels' row."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text[text.index("| where | what |") : text.index("## Words")]
    named = {Path(name).name for name in re.findall(r"[\w./]+\.(?:py|pyx|pxi|pxd|c|h|inc)\b", table)}
    kinds = ("*.py", "*.pyx", "*.pxi", "*.pxd", "*.c", "*.h", "*.inc")
    there = {
        path.name
        for kind in kinds
        for place in ("docs", "fastnn", "src_c", "tests")
        for path in (ROOT / place).rglob(kind)
    }
    assert named - there - {"setup.py"} == set()
    inner = {path.name for kind in kinds for path in (ROOT / "fastnn").glob(kind)}
    assert inner - named - {"__init__.py"} == set()
