"""A database that has every migration and no row, made once a process and copied for each test that starts with one."""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path

from ops_pipeline.ops.migrations import migrate
from ops_pipeline.warehouse import Warehouse

# Lives as long as the process, and goes with it.
_folder = tempfile.TemporaryDirectory(prefix="ops-pipeline-template-")


@functools.cache
def migrated_database() -> Path:
    """The file; copy it, do not write it."""
    path = Path(_folder.name) / "ops.duckdb"
    warehouse = Warehouse(path)
    migrate(warehouse, notify=lambda _: None)
    warehouse.checkpoint()
    return path


def place_migrated(path: Path) -> Path:
    """A migrated database at the path, unless there is one already: a copy costs a fifth of running the migrations."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(migrated_database(), path)
    return path
