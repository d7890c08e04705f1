"""What a command does not load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ops_pipeline_tests.cli.command import ok
from ops_pipeline_tests.sources.own_home import make_home

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


OWN = """
import json
import pandas, pyarrow

def fetch(request):
    frame = pyarrow.table({"date": ["2013-02-01"], "close": [1.5]}).to_pandas()
    return frame.to_json(orient="records").encode()
"""


def test_a_source_of_the_users_own_may_load_both(tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="only where pandas is installed can it be wanted")
    make_home(tmp_path, {"client": "python", "python": {"call": "own.py:fetch"}}, {"first_date": "2013-01-01", "last_date": None})
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "own.py").write_text(OWN)
    told = ok("run", "--home", tmp_path, "--today", "2013-03-01", "--json", fresh=True).document
    assert told["keys"] == {"promoted": 1}
