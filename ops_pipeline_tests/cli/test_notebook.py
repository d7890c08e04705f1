"""The example notebook, run as its readers run it, in a kernel of its own."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from ops_pipeline_tests.cli.command import PROJECT

NOTEBOOK = PROJECT / "docs" / "notebooks" / "first-look.ipynb"


def test_the_example_notebook_runs_to_its_end(whole_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPS_PIPELINE_HOME", str(whole_home))
    # Kernels look for their own files below the user's home, and write there.
    for name in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, resources={"metadata": {"path": str(PROJECT)}}, timeout=300, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "\n".join(str(output.get("data", {}).get("text/plain", output.get("text", ""))) for output in outputs)
    assert "fact_eod" in text
    assert {"AAPL", "IBM", "MSFT"} <= set(text.split())


def test_the_notebook_is_committed_without_results() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
