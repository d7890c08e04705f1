"""What a command does not load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from ops_pipeline.cli import main
sys.argv = ["ops-pipeline", "run", "--home", sys.argv[1], "--ticker", "FB"]
try:
    main()
finally:
    print("loaded:", *sorted({"pandas", "numpy"} & set(sys.modules)))
    try:
        import numpy
    except ModuleNotFoundError as e:
        print(e)
"""


def test_a_run_loads_neither_pandas_nor_numpy(tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="only where pandas is installed can it be loaded by mistake")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "home")], capture_output=True, text=True, check=True, timeout=300
    )
    assert "promoted" in done.stdout
    assert "loaded:\nNo module named 'numpy' (left out of this program" in done.stdout
