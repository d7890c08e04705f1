"""Databases that tests of the migrations begin with, and a comparable picture of what one holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb

from ops_pipeline.ops.migrations import MigrationReport, migrate
from ops_pipeline.warehouse import Warehouse

LEGACY_TABLES = (
    "bronze_manifest",
    "dataset_watermarks",
    "file_ingestions",
    "gold_build",
    "gold_manifest",
    "gold_watermarks",
)
LEGACY_ROWS = 3
A = "CREATE TABLE IF NOT EXISTS a (x INTEGER);"
B = "CREATE TABLE IF NOT EXISTS b (x INTEGER);"
VALUES = {
    "BOOLEAN": True,
    "DATE": date(2024, 1, 2),
    "TIMESTAMP WITH TIME ZONE": datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
    "VARCHAR": "x",
}


@contextmanager
def opened(path: Path, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """A plain connection, as a foreign tool has it, under a name that no schema has."""
    with duckdb.connect(path, read_only=read_only) as con:
        name = con.execute("SELECT current_database()").fetchall()[0][0]
        con.execute(f'ALTER DATABASE "{name}" SET ALIAS TO test_database')
        yield con


@dataclass(frozen=True)
class Picture:
    """Tables, sequences and rows, so that two databases compare equal exactly when they hold the same."""

    ddl: tuple[tuple[object, ...], ...]
    sequences: tuple[tuple[object, ...], ...]
    rows: dict[str, list[tuple[object, ...]]]


def picture(path: Path, *, without: frozenset[str] = frozenset()) -> Picture:
    with opened(path, read_only=True) as con:
        tables = con.execute("SELECT schema_name || '.' || table_name, sql FROM duckdb_tables() ORDER BY ALL").fetchall()
        sequences = con.execute("SELECT schema_name, sequence_name FROM duckdb_sequences() ORDER BY ALL").fetchall()
        rows = {name: con.table(name).order("ALL").fetchall() for name, _ in tables if name not in without}
        return Picture(tuple(tables), tuple(sequences), rows)


def make_legacy(path: Path) -> Path:
    """A database as older systems left it: each table has rows, and a sequence as default of its key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with opened(path) as con:
        con.execute("CREATE SCHEMA ops")
        for table in LEGACY_TABLES:
            con.execute(f"CREATE SEQUENCE ops.{table}_id_seq")
            key = f"id BIGINT PRIMARY KEY DEFAULT nextval('ops.{table}_id_seq')"
            con.execute(f"CREATE TABLE ops.{table} ({key}, run_id TEXT NOT NULL, note TEXT)")
            for i in range(LEGACY_ROWS):
                con.table(f"ops.{table}").insert([100 + i, f"r{i}", table])
    return path


def fill(path: Path) -> None:
    """Puts a row into every table of the database but the record of its migrations; values fit the columns' types."""
    with opened(path) as con:
        tables = con.execute(
            "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE table_name <> 'schema_migrations'"
        ).fetchall()
        for (table,) in tables:
            types = [column[1] for column in con.execute(f"DESCRIBE {table}").fetchall()]
            con.table(table).insert([VALUES.get(t, 7) for t in types])


def statements_in(folder: Path, *texts: str) -> Path:
    """Writes migrations 0001_step.sql, 0002_step.sql and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(texts, start=1):
        (folder / f"{number:04d}_step.sql").write_text(text)
    return folder


def run(path: Path, folder: Path | None = None, said: list[str] | None = None) -> MigrationReport:
    return migrate(Warehouse(path), folder, notify=(said if said is not None else []).append)


def records(path: Path) -> list[tuple[object, ...]]:
    with opened(path, read_only=True) as con:
        return con.execute("SELECT version, name, checksum, code_version FROM ops.schema_migrations ORDER BY ALL").fetchall()


def copies(path: Path) -> list[Path]:
    return sorted(path.parent.glob("*.before-*"))
