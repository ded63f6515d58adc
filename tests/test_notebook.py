"""The quickstart notebook runs from top to bottom, and its results show themselves."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of Jupyter's own machinery
def test_quickstart_runs(tmp_path):
    notebook = nbformat.read(ROOT / "docs" / "quickstart.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    assert (tmp_path / "quickstart-report" / "report.html").is_file()
    kinds = [
        kind for cell in notebook.cells for output in cell.get("outputs", ())
        for kind in output.get("data", {})
    ]  # fmt: skip
    assert kinds.count("text/html") >= 5
    assert kinds.count("image/png") >= 3
