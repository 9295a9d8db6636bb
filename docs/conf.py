"""How Sphinx builds the site: ``sphinx-build -W --keep-going -n docs build/site``."""

import importlib
import inspect
import re
from pathlib import Path

import fastnn

ROOT = Path(__file__).parent.parent

project = "fastnn"
author = "The fastnn developers"
copyright = author  # noqa: A001 # Sphinx's name for the line at the foot of a page
version = release = fastnn.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["reference/generated/*.md"]
templates_path = ["_templates"]
nitpicky = True

# ---- pages in Markdown ----

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3  # a link to page.md#a-heading leads there, as it does where the repository is browsed
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Pages link to files of the repository by their paths, which hold where the repository is browsed. Those of these files
# that are pages of the site as well are linked to as such.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    **{f"benchmarks/{page.name}": f"performance/{page.stem.lower()}.md" for page in (ROOT / "benchmarks").glob("*.md")},
}


def link_to_pages(app, docname, source):
    """Turn links to files outside ``docs`` into links to the site's pages of them."""
    folder = (ROOT / "docs" / docname).parent

    def page(link):
        target = (folder / link[1]).resolve()
        name = target.relative_to(ROOT).as_posix() if target.is_relative_to(ROOT) else ""
        return f"](/{PAGES[name]}{link[2] or ''})" if name in PAGES else link[0]

    source[0] = re.sub(r"\]\((\.\./[^)#\s]+)(#[^)]*)?\)", page, source[0])


# ---- the reference ----

autosummary_generate = True
autodoc_typehints = "none"  # a docstring says types with shapes and defaults, which signatures cannot
autodoc_member_order = "groupwise"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
suppress_warnings = [
    "autosummary.import_cycle",  # names are whole: more than one module has a Poisson
    "config.cache",  # the function that templates call cannot be kept
]
CALLED = {"fastnn.Predictor", "fastnn.layers.Layer", "fastnn.losses.Loss"}
# What a class has for its engine and its files alone is not shown.
HIDDEN = {
    "bound", "build", "build_taken", "check", "compile_from_config", "describe", "from_config", "get_compile_config",
    "get_config", "idle", "lower", "lower_for_training", "lower_taken", "parameters", "takes_activity_regularizer",
    "takes_sparse",
}  # fmt: skip
PUBLIC = set(re.findall(r"^ {3}~(fastnn\.[\w.]+)$", "\n".join(
    page.read_text() for page in (ROOT / "docs" / "reference").glob("*.rst")
), re.MULTILINE))  # fmt: skip


def member(path):
    """Return what has this name."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


CLASSES = [described for described in map(member, sorted(PUBLIC)) if inspect.isclass(described)]


def public_base(described):
    """Return the nearest public class that this one is derived from."""
    return next((base for base in described.__mro__[1:] if base in CLASSES), object)


def name_public_base(app, name, obj, options, bases):
    """Name that class in the place of those that only share code."""
    bases[:] = [public_base(obj)]


def shown(path):
    """Return the methods and properties of a class that its public base has not; scikit-learn's own are said there."""
    described = member(path)
    attributes = re.search(r"^Attributes\n-+\n(.*?)(^\w+\n-+$|\Z)", inspect.getdoc(described), re.MULTILINE | re.DOTALL)
    listed = re.findall(r"^(\w+) : ", attributes[1] if attributes else "", re.MULTILINE)
    listed += ["build"] * (path == "fastnn.Sequential")
    names = [name for name in dir(described) if not name.startswith("_") and not name.endswith("_request")]
    members = {name: inspect.getattr_static(described, name) for name in names if name not in HIDDEN or name in listed}
    homes = {name: next(c for c in described.__mro__ if name in vars(c)) for name in members}
    calls = (
        ["__call__"] if "__call__" in vars(described) and described.__name__ in ("Predictor", "Layer", "Loss") else []
    )
    return calls + [
        name
        for name, found in members.items()
        if not homes[name].__module__.startswith("sklearn.")
        if name in listed or not issubclass(public_base(described), homes[name])
        if inspect.getdoc(found) and not isinstance(found, (bool, int, str, tuple, dict))
    ]


def derived(path):
    """Return whether a class has a public base that its page may name."""
    return public_base(member(path)) is not object


autosummary_context = {"shown": shown, "derived": derived}


def resolve(app, env, node, contnode):
    """Lead from ``Sequential.fit`` to ``fastnn.Sequential.fit``; a name that several classes have stays text."""
    if node.get("refdomain") != "py":
        return None
    domain, target = env.get_domain("py"), node["reftarget"]
    found = [
        name for name in domain.objects if name.endswith(f".{target}") and {name, name.rpartition(".")[0]} & PUBLIC
    ]
    if len(found) != 1:
        return contnode if found else None
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", found[0], node, contnode)


# ---- the look ----

html_theme = "pydata_sphinx_theme"
html_title = "fastnn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = False
html_theme_options = {
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navigation_depth": 3,
    "show_nav_level": 1,
    "navbar_align": "left",
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"index": [], "start": [], "changelog": [], "examples": []}


def setup(app):
    """Connect what pages and docstrings are read through."""
    app.connect("source-read", link_to_pages)
    app.connect("autodoc-process-bases", name_public_base)
    app.connect("missing-reference", resolve)
