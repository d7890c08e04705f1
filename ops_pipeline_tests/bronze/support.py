"""What the bronze tests share.

Belongs here: looking at a store from outside, and Python processes of our own. Does not belong here: expectations.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ops_pipeline
from ops_pipeline.bronze import BronzeStore

FILE_ID = "0123456789abcdef0123456789abcdef"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(ops_pipeline.__file__).parents[1])}


def run_python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def put(store: BronzeStore, body: bytes, folder: str = "a/b") -> str:
    return store.store(folder=folder, file_id=FILE_ID, body=body, extension="bin", run_id="run").filename


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
