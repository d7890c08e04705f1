from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ops_pipeline.errors import BackupError, DatabaseMissingError
from ops_pipeline.maintenance import rewrite as rewrite_module
from ops_pipeline.maintenance.rewrite import rewrite
from ops_pipeline.warehouse import Warehouse, WarehouseUsageError
from ops_pipeline_tests.cli.command import PROJECT, environment
from ops_pipeline_tests.engine.home import JANUARY, contents, key, ledger, make_home, run


def _waste(warehouse: Warehouse) -> None:
    """What a large table leaves in the file when it goes."""
    with warehouse.connection() as connection:
        connection.execute("CREATE TABLE silver.waste AS SELECT hash(i) AS h, i FROM range(1500000) r(i); CHECKPOINT warehouse")
        # Free blocks at the end of the file DuckDB gives back itself.
        connection.execute("CREATE TABLE silver.behind AS SELECT hash(i) AS h FROM range(150000) r(i); CHECKPOINT warehouse")
        connection.execute("DROP TABLE silver.waste; CHECKPOINT warehouse")


def _left(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir() if ".compacting" in p.name}


def test_the_room_of_what_was_deleted_is_given_back_and_all_else_stays(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    run(home, today=JANUARY)
    _waste(home.warehouse)
    before, rows = contents(home, lineage=True), ledger(home)
    done = rewrite(home)
    assert done.replaced
    assert done.after == home.settings.database_path.stat().st_size < done.before / 2
    assert contents(home, lineage=True) == before
    assert ledger(home) == rows
    assert _left(tmp_path) == set()
    assert not rewrite(home).replaced
    # Keys, checks and defaults came along: the next run writes as if nothing had been.
    assert {outcome.kind for outcome in run(home, key()).values()} == {"promoted"}


def _compressions(warehouse: Warehouse) -> set[str]:
    with warehouse.reading() as connection:
        return {kind for (kind,) in connection.execute("SELECT compression FROM pragma_storage_info('silver.texts')").fetchall()}


def test_texts_are_written_quickly_and_compacted_small(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    run(home, today=JANUARY)
    for _ in range(2):  # a process that has compacted goes on writing quickly
        with home.warehouse.connection() as connection:
            connection.execute("CREATE OR REPLACE TABLE silver.texts AS SELECT md5(i::VARCHAR) AS text FROM range(100000) r(i)")
            connection.execute("CHECKPOINT warehouse")
        assert "FSST" not in _compressions(home.warehouse)
        assert rewrite(home).replaced
        assert "FSST" in _compressions(home.warehouse)


def test_a_new_file_that_differs_is_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make_home(tmp_path)
    run(home, key(), today=JANUARY)
    _waste(home.warehouse)
    before = contents(home, lineage=True)
    real = rewrite_module.row_counts

    def one_row_less(connection: object, name: str) -> dict[tuple[str, str], int]:
        counts = real(connection, name)  # type: ignore[arg-type]
        if name == "rewritten":
            counts["silver", "vendor_prices"] -= 1
        return counts

    monkeypatch.setattr(rewrite_module, "row_counts", one_row_less)
    with pytest.raises(BackupError, match=r"silver\.vendor_prices"):
        rewrite(home)
    assert contents(home, lineage=True) == before
    assert _left(tmp_path) == set()


def test_no_space_no_rewrite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make_home(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(BackupError, match="free some space"):
        rewrite(home)


def test_nothing_to_rewrite(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    home.settings.database_path.unlink()
    with pytest.raises(DatabaseMissingError):
        rewrite(home)
    assert not home.settings.database_path.exists()


def test_not_inside_a_block_that_has_it_open(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    with home.warehouse.reading(), pytest.raises(WarehouseUsageError), home.warehouse.replacing():
        pass


KILLED = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace
from ops_pipeline.maintenance import rewrite
from ops_pipeline.settings import load_settings
from ops_pipeline.engine.context import build_context

def kill(*_): os.kill(os.getpid(), signal.SIGKILL)
where = sys.argv[2]
if where == "before the rename":
    import ops_pipeline.warehouse.door as door
    door.put_in_place = kill
elif where == "behind the rename":
    import ops_pipeline.warehouse.successor as successor
    successor.sync = kill
else:
    rewrite._differences = kill
rewrite.rewrite(build_context(load_settings(home=Path(sys.argv[1]))))
"""


@pytest.mark.parametrize("where", ["while writing", "before the rename", "behind the rename"])
def test_killed_the_database_is_the_old_one_or_the_new_one(tmp_path: Path, where: str) -> None:
    home = make_home(tmp_path)
    run(home, key(), today=JANUARY)
    _waste(home.warehouse)
    before, size = contents(home, lineage=True), home.settings.database_path.stat().st_size
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), where], env=environment(), cwd=PROJECT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert contents(home, lineage=True) == before
    assert (home.settings.database_path.stat().st_size < size) == (where == "behind the rename")
    assert rewrite(home).replaced == (where != "behind the rename")
    assert contents(home, lineage=True) == before
    assert _left(tmp_path) == set()
