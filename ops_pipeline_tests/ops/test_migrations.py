"""Migrations against real database files and real processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from duckdb import DuckDBPyConnection

from ops_pipeline import __version__
from ops_pipeline.clock import utc_now
from ops_pipeline.errors import MigrationError
from ops_pipeline.ops.migrations import MigrationReport, discover, ensure_current, migrate, status
from ops_pipeline.warehouse import Warehouse
from ops_pipeline_tests.ops.databases import (
    LEGACY_ROWS,
    LEGACY_TABLES,
    A,
    B,
    copies,
    fill,
    make_legacy,
    opened,
    picture,
    records,
    run,
    statements_in,
)

RECORDS = frozenset({"ops.schema_migrations"})


def forget_records(path: Path) -> None:
    with opened(path) as con:
        con.execute("DROP TABLE ops.schema_migrations")


def test_from_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ops.duckdb"
    said: list[str] = []
    report = run(path, said=said)
    assert report.applied == discover()
    assert report.backup is None
    assert report.restore_command is None
    assert said == [f"Applied migration {m.filename}." for m in discover()]
    assert records(path) == [(m.version, m.name, m.checksum, __version__) for m in discover()]
    assert {"ops.file_ingestions", "ops.recipes", "ops.silver_tables", "silver.rejected_rows"} <= picture(path).rows.keys()


def test_from_every_legacy_table_with_rows(tmp_path: Path) -> None:
    path = make_legacy(tmp_path / "ops.duckdb")
    before = picture(path)
    assert {len(rows) for rows in before.rows.values()} == {LEGACY_ROWS}
    report = run(path)
    after = picture(path)
    assert not {f"ops.{table}" for table in LEGACY_TABLES} - {"ops.file_ingestions"} & after.rows.keys()
    assert after.rows["ops.file_ingestions"] == []
    assert after.sequences == ()
    new = tmp_path / "new.duckdb"
    run(new)
    assert after.ddl == picture(new).ddl
    assert copies(path) == [report.backup]
    assert report.backup is not None
    assert picture(report.backup) == before


def test_twice_in_a_row(tmp_path: Path) -> None:
    path = make_legacy(tmp_path / "ops.duckdb")
    run(path)
    before, files = picture(path), copies(path)
    said: list[str] = []
    assert run(path, said=said) == MigrationReport()
    assert (picture(path), copies(path), said) == (before, files, [])


def test_every_migration_can_run_again_on_a_database_with_rows(tmp_path: Path) -> None:
    path = tmp_path / "ops.duckdb"
    run(path)
    fill(path)
    before = picture(path, without=RECORDS)
    assert all(len(rows) == 1 for rows in before.rows.values())
    forget_records(path)
    report = run(path)
    assert report.applied == discover()
    assert picture(path, without=RECORDS) == before
    assert report.backup is not None
    assert picture(report.backup, without=RECORDS).rows == before.rows


def test_a_database_without_rows_is_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "ops.duckdb"
    run(path, statements_in(tmp_path / "m", A))
    report = run(path, statements_in(tmp_path / "m", A, B))
    assert [m.version for m in report.applied] == [2]
    assert report.backup is None


def migrate_together(path: Path, barrier: Barrier, results: SimpleQueue[tuple[int, bool]]) -> None:
    barrier.wait()
    report = run(path)
    results.put((len(report.applied), report.backup is not None))


def test_two_processes_at_once(tmp_path: Path) -> None:
    path = make_legacy(tmp_path / "ops.duckdb")
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.SimpleQueue()
    children = [context.Process(target=migrate_together, args=(path, barrier, results)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert sorted(results.get() for _ in children) == [(0, False), (len(discover()), True)]
    assert len(records(path)) == len(discover())
    assert len(copies(path)) == 1


def die_after_the_first(path: Path, folder: Path) -> None:
    def notify(text: str) -> None:
        if text.startswith("Applied"):
            os.kill(os.getpid(), signal.SIGKILL)

    migrate(Warehouse(path), folder, notify=notify)


def test_a_process_that_is_killed_between_two_migrations(tmp_path: Path) -> None:
    path = tmp_path / "ops.duckdb"
    folder = statements_in(tmp_path / "m", A, B)
    child = multiprocessing.get_context("spawn").Process(target=die_after_the_first, args=(path, folder))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert [s.applied_at is None for s in status(Warehouse(path), folder)] == [False, True]
    assert [m.version for m in run(path, folder).applied] == [2]


@pytest.mark.parametrize(("answer", "rows"), [("true", [(1,), (2,)]), ("false", [(1,)])])
def test_a_condition_decides_over_its_statement(tmp_path: Path, answer: str, rows: list[tuple[int]]) -> None:
    path = tmp_path / "ops.duckdb"
    lines = [A, "INSERT INTO a VALUES (1);", f"-- when: SELECT {answer}", "INSERT INTO a VALUES (2);"]
    run(path, statements_in(tmp_path / "m", "\n".join(lines)))
    assert picture(path).rows["main.a"] == rows


def test_a_condition_sees_what_the_statements_before_it_did(tmp_path: Path) -> None:
    path = tmp_path / "ops.duckdb"
    seen = "-- when: SELECT count(*) = 1 FROM a\nINSERT INTO a VALUES (7);"
    run(path, statements_in(tmp_path / "m", "\n".join([A, seen, "INSERT INTO a VALUES (1);", seen, seen])))
    assert picture(path).rows["main.a"] == [(1,), (7,)]


def test_status_without_a_database(tmp_path: Path) -> None:
    path = tmp_path / "data" / "ops.duckdb"
    assert [(s.version, s.applied_at) for s in status(Warehouse(path))] == [(m.version, None) for m in discover()]
    assert not path.exists()


def test_status_tells_when(tmp_path: Path) -> None:
    path = tmp_path / "ops.duckdb"
    run(path, statements_in(tmp_path / "m", A))
    first, second = status(Warehouse(path), statements_in(tmp_path / "m", A, B))
    assert first.applied_at is not None
    assert first.applied_at.utcoffset() == timedelta(0)
    assert timedelta(0) <= utc_now() - first.applied_at < timedelta(minutes=5)
    assert second.applied_at is None


def test_ensure_current_applies_only_where_it_may(tmp_path: Path) -> None:
    path = tmp_path / "ops.duckdb"
    with pytest.raises(MigrationError) as caught:
        ensure_current(Warehouse(path), auto=False, notify=print)
    for word in ("0001_create_ops_file_ingestions.sql", "`ops-pipeline migrate --apply`", "OPS_PIPELINE_AUTO_MIGRATE"):
        assert word in str(caught.value)
    assert not path.exists()
    assert ensure_current(Warehouse(path), auto=True, notify=print).applied == discover()
    assert ensure_current(Warehouse(path), auto=False, notify=print) == MigrationReport()


class Counting(Warehouse):
    opened: list[bool]

    @contextmanager
    def connection(self, *, read_only: bool = False, check_schema: bool = True) -> Iterator[DuckDBPyConnection]:
        self.opened.append(read_only)
        with super().connection(read_only=read_only, check_schema=check_schema) as con:
            yield con


@pytest.mark.parametrize("auto", [True, False])
def test_nothing_pending_costs_one_read(tmp_path: Path, auto: bool) -> None:
    path = tmp_path / "ops.duckdb"
    run(path)
    warehouse = Counting(path)
    warehouse.opened = []
    ensure_current(warehouse, auto=auto, notify=print)
    assert warehouse.opened == [True]
