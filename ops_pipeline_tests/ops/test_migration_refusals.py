"""Databases and migrations that are refused, or fail: a clear sentence, and nothing changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops_pipeline.errors import MigrationError, SchemaVersionError
from ops_pipeline.ops.migrations import ensure_current, latest_version, migrate, status
from ops_pipeline.warehouse import Warehouse
from ops_pipeline_tests.ops.databases import A, B, copies, make_legacy, opened, picture, records, run, statements_in

FOREIGN = "CREATE OR REPLACE TABLE ops.schema_migrations AS SELECT {} AS version, '' AS checksum, {} AS applied_at"


def test_a_newer_database_is_refused_by_older_code(tmp_path: Path) -> None:
    path = tmp_path / "ops.duckdb"
    run(path, statements_in(tmp_path / "new", A, "INSERT INTO a VALUES (1);"))
    old = statements_in(tmp_path / "old", A)
    before = picture(path)
    for warehouse in (Warehouse(path), Warehouse(path, schema_version=latest_version(old))):
        with pytest.raises(SchemaVersionError, match=r"ops\.duckdb has schema version 2 and this code knows 1"):
            migrate(warehouse, old, notify=print)
        with pytest.raises(SchemaVersionError):
            ensure_current(warehouse, old, auto=False, notify=print)
        with pytest.raises(SchemaVersionError):
            status(warehouse, old)
    with pytest.raises(SchemaVersionError), Warehouse(path, schema_version=latest_version(old)).transaction() as con:
        con.execute("INSERT INTO a VALUES (2)")
    assert picture(path) == before
    assert copies(path) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE ops.schema_migrations SET checksum = 'other' WHERE version = 1", "0001_step.sql was edited"),
        ("DELETE FROM ops.schema_migrations WHERE version = 1", "recorded migration 0002 and not 0001_step.sql"),
        ("ALTER TABLE ops.schema_migrations RENAME COLUMN checksum TO hash", "is not a table of this project"),
        (FOREIGN.format("'one'", "now()"), "is not a table of this project"),
        (FOREIGN.format("1", "NULL"), "is not a table of this project"),
    ],
)
def test_records_that_do_not_fit_the_files_are_refused(tmp_path: Path, change: str, words: str) -> None:
    path = tmp_path / "ops.duckdb"
    run(path, statements_in(tmp_path / "m", A, B))
    with opened(path) as con:
        con.execute(change)
    before = picture(path)
    folder = statements_in(tmp_path / "m", A, B, "DROP TABLE a;")
    for call in (lambda: run(path, folder), lambda: status(Warehouse(path), folder)):
        with pytest.raises(MigrationError, match=words):
            call()
    assert picture(path) == before


def test_an_edited_migration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ops.duckdb"
    run(path, statements_in(tmp_path / "m", A))
    before = picture(path)
    with pytest.raises(MigrationError, match=r"0001_step\.sql was edited after .*ops\.duckdb got it, nothing was changed"):
        run(path, statements_in(tmp_path / "m", A + "\n-- harmless?", B))
    assert picture(path) == before


def test_a_gap_and_a_duplicate_change_nothing(tmp_path: Path) -> None:
    path = make_legacy(tmp_path / "ops.duckdb")
    before = picture(path)
    folder = statements_in(tmp_path / "m", A, B)
    (folder / "0001_again.sql").write_text(A)
    with pytest.raises(MigrationError, match="same number"):
        run(path, folder)
    (folder / "0001_again.sql").rename(folder / "0004_far.sql")
    with pytest.raises(MigrationError, match="0003 is missing"):
        run(path, folder)
    assert (picture(path), copies(path)) == (before, [])


def test_a_failing_migration_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    path = make_legacy(tmp_path / "ops.duckdb")
    before = picture(path)
    folder = statements_in(
        tmp_path / "m",
        "CREATE SCHEMA gold; CREATE TABLE gold.a (x INTEGER); INSERT INTO gold.a VALUES (1);\n"
        "DROP TABLE ops.gold_build; UPDATE ops.gold_manifest SET note = 'gone';\n-- why\nSELECT * FROM nowhere;",
    )
    with pytest.raises(MigrationError) as caught:
        run(path, folder)
    for word in ("0001_step.sql failed at statement 6", "as it was", str(path), "Table with name nowhere does not exist"):
        assert word in str(caught.value)
    assert picture(path) == before
    assert copies(path) == []


def test_earlier_migrations_of_a_call_stay_when_a_later_one_fails(tmp_path: Path) -> None:
    path = make_legacy(tmp_path / "ops.duckdb")
    folder = statements_in(tmp_path / "m", A, "INSERT INTO a VALUES ('one');")
    with pytest.raises(MigrationError, match=r"0002_step\.sql failed at statement 1"):
        run(path, folder)
    assert [record[0] for record in records(path)] == [1]
    assert len(copies(path)) == 1
    statements_in(folder, A, "INSERT INTO a VALUES (1);")
    assert [m.version for m in run(path, folder).applied] == [2]
    assert picture(path).rows["main.a"] == [(1,)]


def test_a_row_that_breaks_a_key_only_at_the_commit_is_rolled_back(tmp_path: Path) -> None:
    path = tmp_path / "ops.duckdb"
    folder = statements_in(tmp_path / "m", "CREATE TABLE k (x INTEGER PRIMARY KEY); INSERT INTO k VALUES (1), (1);")
    with pytest.raises(MigrationError, match=r"0001_step\.sql failed at"):
        run(path, folder)
    assert picture(path).ddl == ()


@pytest.mark.parametrize(
    "query", ["SELECT 1", "SELECT NULL", "SELECT true WHERE false", "SELECT true, true", "SELECT x FROM nowhere"]
)
def test_a_condition_that_is_no_yes_or_no_fails_the_migration(tmp_path: Path, query: str) -> None:
    path = tmp_path / "ops.duckdb"
    with pytest.raises(MigrationError, match=r"0001_step\.sql failed at statement 2"):
        run(path, statements_in(tmp_path / "m", f"{A}\n-- when: {query}\nDROP TABLE a;"))
    assert picture(path).ddl == ()
