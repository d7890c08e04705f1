"""Bringing a database to the schema that the code knows.

Belongs here: which migrations are recorded and which are due, applying them, refusing a database that does not fit. Does not
belong here: reading migration files (`ops.migration_files`), copying the database (`ops.backup`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from ops_pipeline import __version__
from ops_pipeline.clock import utc_now
from ops_pipeline.errors import DatabaseMissingError, MigrationError, SchemaVersionError
from ops_pipeline.ops.backup import copy_database, database_path, restore_command, row_counts
from ops_pipeline.ops.migration_files import (
    Migration,
    MigrationStatement,
    discover,
    latest_version,
    migrations_folder,
    statements,
)
from ops_pipeline.warehouse import Warehouse

__all__ = [
    "Migration",
    "MigrationReport",
    "MigrationStatus",
    "discover",
    "ensure_current",
    "latest_version",
    "migrate",
    "migrations_folder",
    "status",
]

_RECORDS = ("ops", "schema_migrations")
_CREATE_RECORDS = """
CREATE TABLE IF NOT EXISTS ops.schema_migrations (
    version INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL,
    code_version TEXT NOT NULL
)
"""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """One migration of the code, and when the database got it (UTC; None while it is pending)."""

    version: int
    name: str
    applied_at: datetime | None


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What a call changed: the migrations it applied, and the copy it made before them with the shell line that restores it."""

    applied: tuple[Migration, ...] = ()
    backup: Path | None = None
    restore_command: str | None = None


@dataclass(frozen=True, slots=True)
class _Record:
    version: int
    checksum: str
    applied_at: datetime


def status(warehouse: Warehouse, folder: Path | None = None) -> list[MigrationStatus]:
    """Returns every migration of the code and when the database got it; reads only, and works where there is no database yet.

    Raises:
        MigrationError: when the files are wrong, or do not fit what the database has recorded.
        SchemaVersionError: when the database was migrated by newer code.
    """
    migrations = discover(folder)
    _, records = _read(warehouse, migrations)
    applied = {record.version: record.applied_at for record in records}
    return [MigrationStatus(m.version, m.name, applied.get(m.version)) for m in migrations]


def migrate(warehouse: Warehouse, folder: Path | None = None, *, notify: Callable[[str], None]) -> MigrationReport:
    """Applies what is pending in order, each migration in one transaction with its record, to a new database where there is none.

    A database with rows is copied first, and `notify` gets the command that restores the copy. Processes that call this at once
    wait for each other, and one of them applies.

    Raises:
        MigrationError: when the files are wrong or do not fit the database, the copy cannot be made, or a statement fails; a
            failed migration is rolled back whole, earlier ones of the same call stay.
        SchemaVersionError: when the database was migrated by newer code; nothing is changed.
    """
    migrations = discover(folder)
    pending, _ = _read(warehouse, migrations)
    if not pending:
        return MigrationReport()
    with warehouse.connection(check_schema=False) as con:
        # Decided again: another process may have migrated before this one got the lock.
        pending = _pending(migrations, _records(con), database_path(con))
        return _apply(con, pending, notify) if pending else MigrationReport()


def ensure_current(
    warehouse: Warehouse, folder: Path | None = None, *, auto: bool, notify: Callable[[str], None]
) -> MigrationReport:
    """Makes sure that the database has the code's schema: one read when it has, `migrate` when it has not and `auto` allows it.

    Raises:
        MigrationError: when migrations are pending and `auto` is false; also as `migrate`.
        SchemaVersionError: as `migrate`.
    """
    if auto:
        return migrate(warehouse, folder, notify=notify)
    pending, _ = _read(warehouse, discover(folder))
    if pending:
        raise MigrationError(
            f"The database lacks {', '.join(m.filename for m in pending)}: run `ops-pipeline migrate --apply`,"
            " or set OPS_PIPELINE_AUTO_MIGRATE=true to have it done at the start of a run."
        )
    return MigrationReport()


def _read(warehouse: Warehouse, migrations: tuple[Migration, ...]) -> tuple[tuple[Migration, ...], list[_Record]]:
    """Returns the migrations that are due and what the database has recorded; raises as `_pending`."""
    try:
        with warehouse.connection(read_only=True, check_schema=False) as con:
            records = _records(con)
            return _pending(migrations, records, database_path(con)), records
    except DatabaseMissingError:
        return migrations, []


def _records(con: duckdb.DuckDBPyConnection) -> list[_Record]:
    """Returns what the database has recorded, by version; nothing where the table is missing.

    Raises:
        MigrationError: when the table is somebody else's.
    """
    query = "SELECT count(*) FROM duckdb_tables() WHERE database_name = current_database() AND (schema_name, table_name) = (?, ?)"
    if con.execute(query, _RECORDS).fetchall() == [(0,)]:
        return []
    try:
        # Microseconds, because a TIMESTAMPTZ comes back in the session's zone and needs pytz.
        rows = con.execute(
            "SELECT version::INTEGER, checksum::TEXT, epoch_us(applied_at::TIMESTAMPTZ) FROM ops.schema_migrations ORDER BY ALL"
        ).fetchall()
        return [_Record(version, checksum, _EPOCH + timedelta(microseconds=at)) for version, checksum, at in rows]
    except (duckdb.BinderException, duckdb.ConversionException, TypeError) as e:
        raise MigrationError(
            f"ops.schema_migrations in {database_path(con)} is not a table of this project, nothing was changed: rename it. ({e})"
        ) from e


def _pending(migrations: tuple[Migration, ...], records: list[_Record], database: Path) -> tuple[Migration, ...]:
    """Returns the migrations that are due.

    Raises:
        MigrationError: when a recorded migration was edited, or an earlier one is not recorded.
        SchemaVersionError: when one is recorded that the code does not know.
    """
    newest = max((record.version for record in records), default=0)
    if newest > len(migrations):
        raise SchemaVersionError(
            f"The database {database} has schema version {newest} and this code knows {len(migrations)}, nothing was changed:"
            " update ops_pipeline, or restore a copy of the database that was made before the update."
        )
    checksums = {record.version: record.checksum for record in records}
    for migration in migrations[:newest]:
        if migration.version not in checksums:
            raise MigrationError(
                f"The database {database} has recorded migration {newest:04d} and not {migration.filename}, nothing was changed:"
                " restore a copy of the database, or put the missing row back into ops.schema_migrations."
            )
        if checksums[migration.version] != migration.checksum:
            raise MigrationError(
                f"{migration.filename} was edited after {database} got it, nothing was changed:"
                " put its text back, and write the change as a new migration."
            )
    return migrations[newest:]


def _apply(con: duckdb.DuckDBPyConnection, pending: tuple[Migration, ...], notify: Callable[[str], None]) -> MigrationReport:
    """Copies the database if it has rows and applies the migrations; the caller holds the exclusive connection."""
    parsed = [(migration, statements(migration, con)) for migration in pending]
    counts = row_counts(con)
    backup: Path | None = None
    command: str | None = None
    if any(rows for table, rows in counts.items() if table != _RECORDS):
        database = database_path(con)
        notify(f"Copying {database} ({database.stat().st_size / 1e6:.1f} MB) before {pending[0].filename}.")
        backup = copy_database(con, f"{pending[0].version:04d}", counts)
        command = restore_command(backup, database)
        notify(f"The copy is complete. To restore it, stop what uses the database and type: {command}")
    applied: list[Migration] = []
    try:
        for migration, parts in parsed:
            _apply_one(con, migration, parts)
            applied.append(migration)
            notify(f"Applied migration {migration.filename}.")
    except MigrationError:
        if backup is not None and not applied and _still_pending(con, pending[0]):
            # A schedule that tries again each hour would fill the disk with copies of a database that nothing happened to.
            backup.unlink(missing_ok=True)
            notify(f"The copy {backup} was removed, because nothing was changed.")
        raise
    return MigrationReport(tuple(applied), backup, command)


def _apply_one(con: duckdb.DuckDBPyConnection, migration: Migration, parts: list[MigrationStatement]) -> None:
    """Runs one migration and records it, in one transaction."""
    database = database_path(con)
    place = "its start"
    con.begin()
    try:
        con.execute("CREATE SCHEMA IF NOT EXISTS ops")
        con.execute(_CREATE_RECORDS)
        for part in parts:
            place = f"statement {part.number}"
            if all(_holds(con, condition) for condition in part.conditions):
                con.execute(part.statement)
        place = "its record"
        con.execute(
            "INSERT INTO ops.schema_migrations (version, name, checksum, applied_at, code_version) VALUES (?, ?, ?, ?, ?)",
            [migration.version, migration.name, migration.checksum, utc_now(), __version__],
        )
        place = "its commit"
        con.commit()
    except BaseException as e:
        # After an error that DuckDB calls fatal, or a failed commit, there is nothing left to roll back.
        with suppress(duckdb.Error):
            con.rollback()
        if isinstance(e, (duckdb.Error, MigrationError)):
            raise MigrationError(
                f"Migration {migration.filename} failed at {place} and was rolled back, {database} is as it was before it: {e}"
            ) from e
        raise


def _holds(con: duckdb.DuckDBPyConnection, condition: str) -> bool:
    """Returns the answer of a `-- when:` query; anything but one value, true or false, is a slip in the migration."""
    rows = con.execute(condition).fetchall()
    if len(rows) != 1 or len(rows[0]) != 1 or not isinstance(rows[0][0], bool):
        raise MigrationError(f'The query of "-- when: {condition}" returned neither true nor false.')
    return rows[0][0]


def _still_pending(con: duckdb.DuckDBPyConnection, migration: Migration) -> bool:
    """Tells whether a failed migration is certain not to be in the database: a commit can land and fail to say so."""
    try:
        return migration.version not in {record.version for record in _records(con)}
    except (duckdb.Error, MigrationError):
        return False
