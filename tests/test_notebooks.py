"""Tests that all notebooks run from top to bottom."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def cases():
    """Notebook 2 needs many rollouts, which take minutes with --fast-compile."""
    for path in NOTEBOOKS:
        is_slow = path.stem == "02_a_spot_along_a_curve"
        yield pytest.param(path, id=path.stem, marks=pytest.mark.optimized if is_slow else [])


@pytest.mark.parametrize("path", list(cases()))
def test_notebook_runs_and_draws(path):
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    )
    client.execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", ())]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 3


def test_notebooks_exist():
    assert NOTEBOOKS
