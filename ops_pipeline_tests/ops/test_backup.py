"""The copy before a migration: complete, proven, restorable, and harmless when it cannot be made."""

from __future__ import annotations

import multiprocessing
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ops_pipeline.errors import MigrationError
from ops_pipeline.ops.backup import copy_database, row_counts
from ops_pipeline.ops.migrations import migrate
from ops_pipeline.warehouse import Warehouse
from ops_pipeline_tests.ops.databases import make_legacy, opened, picture, statements_in

MIB = 1024 * 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_legacy(tmp_path / "it's a folder" / "ops [1].duckdb")


def names(path: Path) -> set[str]:
    """The files beside a database, and it, but those of its own log and locks."""
    return {
        f.name
        for f in path.parent.iterdir()
        if not f.name.startswith((f"{path.name}.wal", f"{path.name}.lock", f"{path.name}.turn"))
    }


def output_of(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_copy_lies_beside_the_database_and_says_what_it_is(path: Path) -> None:
    said: list[str] = []
    report = migrate(Warehouse(path), notify=said.append)
    assert report.backup is not None
    assert report.backup.parent == path.parent
    assert re.fullmatch(r"ops \[1\]\.before-0001-\d{8}T\d{6}\.\d{6}Z\.duckdb", report.backup.name)
    assert names(path) == {path.name, report.backup.name}
    assert any(report.restore_command in text for text in said if report.restore_command)


def test_the_printed_command_restores(path: Path) -> None:
    before = picture(path)
    report = migrate(Warehouse(path), notify=print)
    with opened(path) as con:
        # A log that is left behind belongs to the database that is given up.
        con.execute("PRAGMA disable_checkpoint_on_shutdown")
        con.execute("INSERT INTO ops.recipes VALUES ('h', 'k', 't', now())")
    assert path.with_name(path.name + ".wal").stat().st_size > 0
    assert report.restore_command is not None
    subprocess.run(report.restore_command, shell=True, check=True, cwd="/")  # noqa: S602 - the line that a user pastes into a shell
    assert picture(path) == before
    assert migrate(Warehouse(path), notify=print).applied == report.applied


def test_rows_that_are_only_in_the_log_are_copied(path: Path) -> None:
    with opened(path) as con:
        con.execute("PRAGMA disable_checkpoint_on_shutdown")
        con.execute("INSERT INTO ops.gold_build (run_id) VALUES ('late')")
    before = picture(path)
    report = migrate(Warehouse(path), notify=print)
    assert report.backup is not None
    assert picture(report.backup) == before


def test_a_linked_database_is_copied_beside_the_real_one(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link" / "ops.duckdb"
    link.parent.mkdir()
    link.symlink_to(path)
    report = migrate(Warehouse(link), notify=print)
    assert report.backup is not None
    assert report.backup.parent == path.parent


def test_no_other_process_can_write_while_the_copy_is_made(path: Path) -> None:
    """Reading the file in this process would drop DuckDB's own lock on it."""
    program = f"import duckdb; duckdb.connect({str(path)!r})"
    outcomes = []

    def notify(text: str) -> None:
        if text.startswith("The copy is complete"):
            outcomes.append(output_of(sys.executable, "-c", program))

    migrate(Warehouse(path), notify=notify)
    assert [done.returncode for done in outcomes] == [1]
    assert "Could not set lock" in outcomes[0].stderr


def test_what_a_killed_copy_left_is_removed(path: Path) -> None:
    (path.parent / "ops [1].before-0001-20240101T000000.000000Z.duckdb.part").write_bytes(b"half")
    (path.parent / "ops 1.before-0001-20240101T000000.000000Z.duckdb.part").write_bytes(b"another database's")
    report = migrate(Warehouse(path), notify=print)
    assert report.backup is not None
    assert names(path) == {path.name, report.backup.name, "ops 1.before-0001-20240101T000000.000000Z.duckdb.part"}


def test_a_copy_that_holds_other_rows_is_refused(path: Path) -> None:
    with Warehouse(path).connection() as con:
        counts = row_counts(con) | {("ops", "gold_build"): 4, ("ops", "nowhere"): 1}
        with pytest.raises(MigrationError, match=r"the same rows in ops.gold_build, ops.nowhere;"):
            copy_database(con, "0001", counts)
    assert names(path) == {path.name}


def migrate_with_little_room(path: Path, room: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    with pytest.raises(MigrationError, match="could not be copied before its migration, nothing was changed"):
        migrate(Warehouse(path), notify=print)


def enlarge(path: Path) -> None:
    with opened(path) as con:
        con.execute("CREATE TABLE big AS SELECT range AS n, uuid() AS u FROM range(150_000)")
    assert path.stat().st_size > 2 * MIB


def test_a_copy_that_cannot_be_written_changes_nothing(path: Path) -> None:
    enlarge(path)
    before = picture(path)
    child = multiprocessing.get_context("spawn").Process(target=migrate_with_little_room, args=(path, MIB))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert names(path) == {path.name}
    assert picture(path) == before


MIGRATE_ON_A_SMALL_DISK = """
import sys
from pathlib import Path
from ops_pipeline.errors import UserError
from ops_pipeline.ops.migrations import migrate
from ops_pipeline.warehouse import Warehouse

database, folder = Path(sys.argv[1]), Path(sys.argv[2])

def notify(text):
    if text.startswith("The copy is complete"):
        try:
            with (database.parent / "other").open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        except OSError:
            pass

try:
    migrate(Warehouse(database), folder, notify=notify)
except UserError as e:
    sys.exit(str(e))
"""
ON_A_SMALL_DISK = """
set -e
mount -t tmpfs -o size="$1" none "$2"
cp "$3" "$2/ops.duckdb"
status=0
"$4" -c "$5" "$2/ops.duckdb" "$6" || status=$?
rm -f "$2/other"
cp "$2"/* "$7"
exit $status
"""


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (1.5, "could not be copied before its migration, nothing was changed"),
        (3.0, "0001_step.sql failed at"),
    ],
    ids=["while copying", "while migrating"],
)
def test_a_full_disk_changes_nothing(path: Path, tmp_path: Path, times: float, words: str) -> None:
    enlarge(path)
    before = picture(path)
    disk, out = tmp_path / "disk", tmp_path / "after"
    disk.mkdir()
    out.mkdir()
    unshare = shutil.which("unshare")
    if unshare is None or output_of(unshare, "-rm", "true").returncode:
        pytest.skip("this machine lets no one mount a small disk")
    size = int(path.stat().st_size * times)
    folder = statements_in(tmp_path / "m", "DROP TABLE ops.gold_build; CREATE TABLE more AS SELECT n, uuid() AS u FROM big;")
    values = [str(size), str(disk), str(path), sys.executable, MIGRATE_ON_A_SMALL_DISK, str(folder), str(out)]
    done = output_of(unshare, "-rm", "sh", "-c", ON_A_SMALL_DISK, "sh", *values)
    assert done.returncode == 1, done.stderr
    assert words in done.stderr
    assert "No space left on device" in done.stderr
    assert names(out / "ops.duckdb") == {"ops.duckdb"}
    assert picture(out / "ops.duckdb") == before


def test_a_machine_without_cp_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    folder = statements_in(path.parent / "m", "CREATE TABLE a (x INTEGER);")
    before = picture(path)
    with pytest.raises(MigrationError, match="could not be copied"):
        migrate(Warehouse(path), folder, notify=print)
    assert picture(path) == before
