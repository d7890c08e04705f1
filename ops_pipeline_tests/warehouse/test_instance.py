from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from ops_pipeline.errors import DatabaseError, DatabaseMissingError
from ops_pipeline.warehouse import Warehouse, WarehouseUsageError
from ops_pipeline.warehouse.instance import Instance
from ops_pipeline_tests.warehouse.conftest import is_locked, is_open_in_this_process


@pytest.mark.parametrize("content", [b"", b"short", b"SQLite format 3\0" + bytes(5000), b"text\n" * 5000])
def test_a_file_that_is_no_database_is_a_sentence_and_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ops.duckdb"
    path.write_bytes(content)
    for opened in (Warehouse(path).reading(), Warehouse(path).connection()):
        with pytest.raises(DatabaseError, match=r"ops\.duckdb is not a DuckDB database: "), opened:
            pass
    assert path.read_bytes() == content
    assert not is_locked(path)


def test_a_folder_in_place_of_the_database_is_a_sentence(tmp_path: Path) -> None:
    for opened in (Warehouse(tmp_path).reading(), Warehouse(tmp_path).connection()):
        with pytest.raises(DatabaseError, match=r"cannot be opened \(.*[Dd]irectory"), opened:
            pass


def test_a_read_of_nothing_says_what_to_run_and_makes_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "ops.duckdb", tmp_path / "no" / "folder" / "ops.duckdb"):
        with (
            pytest.raises(DatabaseMissingError, match=r"no database at .*: run `ops-pipeline run` first"),
            Warehouse(path).reading(),
        ):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_goes_away_before_the_lock_is_missing_too(tmp_path: Path) -> None:
    instance = Instance(tmp_path / "ops.duckdb")
    instance.prepare()
    with pytest.raises(DatabaseMissingError):
        instance.attach(read_only=True)


def test_a_folder_that_cannot_be_made_or_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    # The tests may run as root, whom no permission binds.
    for folder in (tmp_path / "file" / "data", Path("/proc/ops_pipeline")):
        with pytest.raises(DatabaseError, match=r"folder .* cannot be created"), Warehouse(folder / "ops.duckdb").connection():
            pass
    with (
        pytest.raises(DatabaseError, match=r"folder .* cannot be created"),
        Warehouse(tmp_path / "file" / "ops.duckdb").connection(),
    ):
        pass
    with pytest.raises(DatabaseError, match=r"lock file .* cannot be opened"), Warehouse(Path("/proc/ops.duckdb")).connection():
        pass


def test_what_a_killed_creation_or_a_deleted_database_left_is_cleared(database: Path) -> None:
    with Warehouse(database).transaction() as connection:
        connection.execute("INSERT INTO facts VALUES (1, 1)")
    assert Path(f"{database}.wal").exists()
    database.unlink()
    Path(f"{database}.new").write_bytes(b"half of a header")
    with Warehouse(database).connection() as connection:
        assert connection.execute("SELECT count(*) FROM duckdb_tables()").fetchall() == [(0,)]
    assert not Path(f"{database}.new").exists()


def test_a_path_with_odd_letters_works(tmp_path: Path) -> None:
    path = tmp_path / "it's a folder; --" / 'the "data" ü.duckdb'
    with Warehouse(path).transaction() as connection:
        connection.execute("CREATE TABLE facts AS SELECT 1 AS i")
    with Warehouse(path).reading() as connection:
        assert connection.execute("SELECT i FROM facts").fetchall() == [(1,)]


def test_a_relative_path_stays_with_the_folder_of_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    warehouse = Warehouse(Path("ops.duckdb"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with warehouse.connection():
        pass
    assert (tmp_path / "ops.duckdb").exists()


def test_a_damaged_log_is_a_sentence(database: Path) -> None:
    with Warehouse(database).transaction() as connection:
        connection.execute("INSERT INTO facts VALUES (1, 1)")
    log = Path(f"{database}.wal")
    content = log.read_bytes()
    log.write_bytes(content[:30] + b"zzzzzzzz" + content[38:])
    for opened in (Warehouse(database).reading(), Warehouse(database).connection()):
        with pytest.raises(DatabaseError, match=r"cannot be opened \(.*WAL"), opened:
            pass
    assert not is_open_in_this_process(database)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    command = [mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run([umount, str(folder)], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return


def test_a_full_disk_is_a_sentence_and_what_was_committed_stays(small_disk: Path) -> None:
    database = small_disk / "ops.duckdb"
    fill(small_disk / "fill")
    with pytest.raises(DatabaseError, match=r"disk .* is full"), Warehouse(database).connection():
        pass
    assert not database.exists()
    assert not Path(f"{database}.new").exists()
    (small_disk / "fill").unlink()
    warehouse = Warehouse(database)
    with warehouse.transaction() as connection:
        connection.execute("CREATE TABLE facts AS SELECT 1 AS i")
    with pytest.raises(DatabaseError, match=r"disk .* is full"):
        while True:
            with warehouse.transaction() as connection:
                connection.execute("INSERT INTO facts SELECT hash(i) % 1000000 FROM range(5000) r(i)")
    assert not is_locked(database)
    assert not is_open_in_this_process(database)
    with warehouse.reading() as connection:
        assert (connection.execute("SELECT count(*) FROM facts").fetchall()[0][0] - 1) % 5000 == 0


def test_something_else_in_this_process_has_the_file(database: Path) -> None:
    other = duckdb.connect(str(database))
    with pytest.raises(WarehouseUsageError, match="already open in this process"), Warehouse(database).connection():
        pass
    other.close()
