"""The documentation's code that needs other packages, and the notebooks of the examples."""

import json
from pathlib import Path

import pytest

pytest.importorskip("distributed")
pytest.importorskip("mapie")
pytest.importorskip("nbclient")
pytest.importorskip("ray")
pytest.importorskip("rich")

import nbclient
import nbformat
from pages import RUN_PAGE, run

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("page", ["sklearn.md", "clusters.md"])
def test_all_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    run(RUN_PAGE, tmp_path, ROOT / "docs" / page, "all", warnings="ignore")


@pytest.mark.filterwarnings("ignore")  # of the kernel's connection
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_to_its_end_without_a_warning(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    assert all(cell.outputs == [] for cell in notebook.cells if cell.cell_type == "code"), "results are not kept"
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"] == []
    assert "<span>Fitted</span>" in json.dumps(outputs)


def test_every_notebook_is_in_the_documentation():
    page = (ROOT / "docs" / "examples.md").read_text()
    assert NOTEBOOKS
    assert all(f"examples/{path.name}" in page for path in NOTEBOOKS)
