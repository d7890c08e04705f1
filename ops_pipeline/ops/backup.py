"""Verified copies of the whole database file.

Belongs here: copying the file beside itself, proving the copy, naming the command that restores it. Does not belong here:
deciding when a copy is due (`ops.migrations`).
"""

from __future__ import annotations

import glob
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from ops_pipeline.clock import utc_now
from ops_pipeline.errors import MigrationError
from ops_pipeline.files import sync

_UNFINISHED = ".part"
_ALIAS = "verified_copy"
Table = tuple[str, str]


def database_path(con: duckdb.DuckDBPyConnection) -> Path:
    """Returns the path of the file that the connection has open, links resolved."""
    row = con.execute("SELECT path FROM duckdb_databases() WHERE database_name = current_database()").fetchone()
    if row is None or row[0] is None:
        raise MigrationError("The database is in memory and cannot be copied: name a file.")
    return Path(str(row[0])).resolve()


def row_counts(con: duckdb.DuckDBPyConnection, database: str | None = None) -> dict[Table, int]:
    """Returns the rows of every table of an attached database (the connection's own when None) by (schema, table)."""
    tables = con.execute(
        "SELECT database_name, schema_name, table_name FROM duckdb_tables()"
        " WHERE database_name = coalesce(?, current_database()) AND NOT internal AND NOT temporary ORDER BY ALL",
        [database],
    ).fetchall()
    counts: dict[Table, int] = {}
    for catalog, schema, table in tables:
        name = ".".join('"' + part.replace('"', '""') + '"' for part in (catalog, schema, table))
        row = con.execute(f"SELECT count(*) FROM {name}").fetchone()
        counts[schema, table] = int(row[0]) if row else 0
    return counts


def restore_command(copy: Path, database: Path) -> str:
    """Returns the shell line that puts a copy back; the write-ahead log goes first: it belongs to the state that is given up."""
    return f"rm -f -- {shlex.quote(str(log_of(database)))} && cp -- {shlex.quote(str(copy))} {shlex.quote(str(database))}"


def copy_database(con: duckdb.DuckDBPyConnection, label: str, counts: dict[Table, int]) -> Path:
    """Copies the connection's database to `<stem>.before-<label>-<UTC time>.duckdb` beside it and proves the copy.

    The caller holds the warehouse's exclusive connection and no transaction, and passes `row_counts(con)`. The copy has its final
    name only once it is complete, proven and on the disk.

    Raises:
        MigrationError: when the copy cannot be written (a full disk) or does not hold the same rows; what was written is removed.
    """
    database = database_path(con)
    for left in database.parent.glob(f"{glob.escape(database.stem)}.before-*{_UNFINISHED}"):
        left.unlink(missing_ok=True)
    copy = database.with_name(f"{database.stem}.before-{label}-{utc_now():%Y%m%dT%H%M%S.%fZ}.duckdb")
    part = copy.with_name(copy.name + _UNFINISHED)
    try:
        con.execute("CHECKPOINT")
        if (log := log_of(database)).is_file() and log.stat().st_size:
            raise MigrationError(f"{log} holds changes that a checkpoint did not move into {database}: run again.")
        copy_bytes(database, part)
        with _attached(con, part):
            copied = row_counts(con, _ALIAS)
        if copied != counts:
            wrong = sorted(".".join(table) for table in counts.keys() | copied.keys() if counts.get(table) != copied.get(table))
            raise MigrationError(
                f"The copy of {database} that was made before its migration does not hold the same rows in {', '.join(wrong)};"
                " the copy was removed and nothing was changed: check the disk, and run again."
            )
        part.rename(copy)
        sync(copy.parent)
    except (OSError, duckdb.Error) as e:
        raise MigrationError(
            f"{database} could not be copied before its migration, nothing was changed: {str(e).strip()}. Have"
            f" {database.stat().st_size / 1e6:.1f} MB free in {database.parent} and the folder writable, and run again."
        ) from e
    finally:
        part.unlink(missing_ok=True)
    return copy


def copy_bytes(source: Path, target: Path) -> None:
    """Copies a file that DuckDB has open.

    Another process copies, never this one: closing any descriptor of the file drops this process's POSIX locks on it, DuckDB's
    own included, and a foreign process could then open the database for writing beside us (measured).
    """
    command = ["cp", "--", str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603 - fixed program, no shell
    if done.returncode != 0:
        raise OSError(done.stderr.strip() or f"cp ended with status {done.returncode}")
    sync(target)


@contextmanager
def _attached(con: duckdb.DuckDBPyConnection, path: Path) -> Iterator[None]:
    """Opens a copy read-only beside the connection's database, under the name `_ALIAS`."""
    con.execute("ATTACH '{}' AS {} (TYPE duckdb, READ_ONLY)".format(str(path).replace("'", "''"), _ALIAS))
    try:
        yield
    finally:
        con.execute(f"DETACH {_ALIAS}")


def log_of(database: Path) -> Path:
    """Returns where DuckDB keeps the write-ahead log of a database file."""
    return database.with_name(database.name + ".wal")
