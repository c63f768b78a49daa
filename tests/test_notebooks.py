"""Every notebook runs from top to bottom."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def cases():
    """The spot is found by many rollouts, which take minutes if compiled in haste."""
    for path in NOTEBOOKS:
        long = path.stem == "02_a_spot_along_a_curve"
        yield pytest.param(path, id=path.stem, marks=pytest.mark.optimized if long else [])


@pytest.mark.parametrize("path", list(cases()))
def test_notebook_runs_and_draws(path):
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    )
    client.execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", ())]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 3


def test_there_is_a_notebook():
    assert NOTEBOOKS
