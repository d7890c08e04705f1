from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ops_pipeline.errors import BackupError, DatabaseMissingError, UserError
from ops_pipeline.maintenance import backup as backup_module
from ops_pipeline.maintenance.backup import back_up, backups, read_manifest, restore
from ops_pipeline_tests.engine.home import JANUARY, bronze_files, contents, key, ledger, make_home, run


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_lost_home_comes_back_whole_and_goes_on_where_it_was(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    run(home, today=JANUARY)
    before, files, rows = contents(home, lineage=True), bronze_files(home), ledger(home)
    made = back_up(home, tmp_path / "backups")
    shutil.rmtree(tmp_path / "home")
    # The home is made again as its user would, without the data.
    again = make_home(tmp_path / "home")
    (tmp_path / "home" / "universe.yaml").unlink()
    done = restore(again, made.folder)
    assert contents(again, lineage=True) == before
    assert bronze_files(again) == files
    assert ledger(again) == rows
    assert done.configuration == ["universe.yaml"]
    assert made.bronze_files == len({row.bronze_filename for row in rows if row.bronze_filename})
    assert {outcome.kind for outcome in run(again, key(), today=JANUARY).values()} == {"up_to_date"}


def test_what_came_after_the_backup_is_kept_beside_what_is_put_back(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    run(home, key(), today=JANUARY)
    before = contents(home)
    made = back_up(home, tmp_path / "backups")
    run(home, key())
    later = contents(home)
    assert later != before
    done = restore(home, made.folder)
    assert contents(home) == before
    assert done.kept is not None
    shutil.copy(done.kept, home.settings.database_path)
    assert contents(home) == later


def test_each_bronze_file_is_copied_once_and_old_backups_go(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    run(home, key(), today=JANUARY)
    first = back_up(home, tmp_path / "backups")
    run(home, key())
    second = back_up(home, tmp_path / "backups", keep=1)
    assert first.bronze_copied > 0
    assert second.bronze_copied == (second.bronze_files or 0) - (first.bronze_files or 0) > 0
    assert second.dropped == [first.folder]
    assert backups(tmp_path / "backups") == [second.folder]
    mirror = tmp_path / "backups" / "bronze"
    assert len([p for p in mirror.rglob("*") if p.is_file()]) == second.bronze_files


def test_bronze_files_that_are_gone_are_named(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    run(home, key(), today=JANUARY)
    name = next(row.bronze_filename for row in ledger(home) if row.bronze_filename)
    home.store.path(name).unlink()
    made = back_up(home, tmp_path / "backups")
    assert (made.bronze_missing, made.bronze_missing_count) == ([name], 1)


def test_a_copy_that_does_not_hold_the_same_rows_is_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make_home(tmp_path / "home")
    run(home, key(), today=JANUARY)
    empty = make_home(tmp_path / "empty")
    real = backup_module.copy_bytes
    # As when a disk gives back what it should not: the copy is a database, and not this one.
    monkeypatch.setattr(backup_module, "copy_bytes", lambda source, target: real(empty.settings.database_path, target))
    with pytest.raises(BackupError, match=r"same rows in .*ops\.file_ingestions"):
        back_up(home, tmp_path / "backups")
    assert everything(tmp_path / "backups") == {}


def test_a_damaged_backup_is_refused_and_the_database_stays(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    run(home, key(), today=JANUARY)
    made = back_up(home, tmp_path / "backups", bronze=False)
    copy = made.folder / "ops.duckdb"
    body = bytearray(copy.read_bytes())
    body[len(body) // 2] ^= 1
    copy.write_bytes(body)
    before = contents(home, lineage=True)
    with pytest.raises(BackupError, match="damaged"):
        restore(home, made.folder)
    assert contents(home, lineage=True) == before


def test_no_restore_under_a_run_that_goes_on(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    run(home, key(), today=JANUARY)
    made = back_up(home, tmp_path / "backups", bronze=False)
    with home.leases.held("a-run"), pytest.raises(UserError, match="a-run"):
        restore(home, made.folder)
    restore(home, made.folder)


def test_a_manifest_cannot_write_outside_the_home(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    run(home, key(), today=JANUARY)
    made = back_up(home, tmp_path / "backups", bronze=False)
    outside = made.folder / "home" / ".." / ".." / "evil"
    (made.folder / "home").mkdir(exist_ok=True)
    outside.write_text("evil")
    manifest = read_manifest(made.folder)
    (made.folder / "manifest.json").write_text(json.dumps({**manifest, "configuration": ["../../evil"]}))
    assert restore(home, made.folder).configuration == []
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("what", ["nothing", "a folder of backups"])
def test_what_is_no_backup_is_refused_with_a_hint(tmp_path: Path, what: str) -> None:
    home = make_home(tmp_path / "home")
    run(home, key(), today=JANUARY)
    place, hint = tmp_path / "nowhere", "ops-pipeline backup"
    if what == "a folder of backups":
        made = back_up(home, tmp_path / "backups", bronze=False)
        place, hint = tmp_path / "backups", str(made.folder)
    with pytest.raises(BackupError, match=hint):
        restore(home, place)


def test_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    home.settings.database_path.unlink()
    with pytest.raises(DatabaseMissingError):
        back_up(home, tmp_path / "backups")
    assert everything(tmp_path / "backups") == {}
    with pytest.raises(BackupError, match="inside the bronze folder"):
        back_up(home, home.settings.bronze_path / "backups")
