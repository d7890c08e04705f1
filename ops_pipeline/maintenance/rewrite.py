"""Rewriting the database: DuckDB's files keep the room of what was deleted, and never shrink.

Belongs here: a new file with the same contents, proven, in the place of the old one. Does not belong here: folding the log
(`warehouse.log`).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from ops_pipeline.errors import BackupError
from ops_pipeline.files import sync
from ops_pipeline.ops.backup import log_of, row_counts
from ops_pipeline.warehouse import CATALOG, FULL_COMPRESSION, QUICK_COMPRESSION, attach_statement

if TYPE_CHECKING:
    from pathlib import Path

    from ops_pipeline.engine.context import Context

_FRESH = "rewritten"
# What makes two databases the same beside their rows; the text of a table names its columns, types, checks and keys.
_SHAPE = """
SELECT 'table', schema_name, table_name, sql, comment FROM duckdb_tables() WHERE database_name = $1 AND NOT internal AND NOT temporary
UNION ALL
SELECT 'view', schema_name, view_name, sql, comment FROM duckdb_views() WHERE database_name = $1 AND NOT internal AND NOT temporary
UNION ALL
SELECT 'macro', schema_name, function_name, macro_definition, parameters::VARCHAR FROM duckdb_functions()
    WHERE database_name = $1 AND NOT internal
UNION ALL
SELECT 'column', schema_name, table_name || '.' || column_name, data_type || coalesce(column_default, '') || is_nullable, comment
    FROM duckdb_columns() WHERE database_name = $1 AND NOT internal
UNION ALL
SELECT 'index', schema_name, index_name, sql, comment FROM duckdb_indexes() WHERE database_name = $1
ORDER BY ALL
"""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What a rewrite brought.

    Attributes:
        before: bytes of the database before.
        after: bytes of the new file.
        replaced: whether the new file is in place; one that is not smaller is thrown away.
    """

    before: int
    after: int
    replaced: bool


def rewrite(context: Context) -> Rewritten:
    """Writes the database anew and puts the new file in place, if it is smaller. Everybody else waits meanwhile.

    A killed rewrite leaves the old database or the new one, whole.

    Raises:
        BackupError: too little space, or the new file does not hold what the old one holds; the database is as it was.
        DatabaseError: when there is no database, or it cannot be opened.
    """
    database = context.settings.database_path.resolve()
    with context.warehouse.reading():
        pass  # the sentence for a database that is not there, before one is made
    fresh = database.with_name(f"{database.name}.compacting")
    try:
        with context.warehouse.replacing() as (connection, by):
            connection.execute(f"CHECKPOINT {CATALOG}")
            before, free = database.stat().st_size, shutil.disk_usage(database.parent).free
            if free < before:
                raise BackupError(
                    f"Rewriting {database} may need {before / 1e6:.0f} MB beside it, and {free / 1e6:.0f} MB are free: free some space."
                )
            _write(connection, fresh)
            after = fresh.stat().st_size
            if after < before:
                by(fresh)
    except (OSError, duckdb.Error) as e:
        raise BackupError(f"{database} could not be rewritten and is as it was: {str(e).strip().rstrip('.')}.") from e
    finally:
        for left in (fresh, log_of(fresh)):
            left.unlink(missing_ok=True)
    return Rewritten(before, after, replaced=after < before)


def _write(connection: duckdb.DuckDBPyConnection, fresh: Path) -> None:
    for left in (fresh, log_of(fresh)):
        left.unlink(missing_ok=True)
    connection.execute(attach_statement(fresh, _FRESH, read_only=False))
    connection.execute(FULL_COMPRESSION)
    try:
        connection.execute(f"COPY FROM DATABASE {CATALOG} TO {_FRESH}")
        connection.execute(f"CHECKPOINT {_FRESH}")
        wrong = _differences(connection)
    finally:
        connection.execute(QUICK_COMPRESSION)
        connection.execute(f"DETACH {_FRESH}")
    if wrong:
        raise BackupError(f"The rewritten database differs in {wrong}, and was thrown away; the database is as it was.")
    sync(fresh)


def _differences(connection: duckdb.DuckDBPyConnection) -> str:
    """What the new file does not hold as the old one does; empty when they are alike."""
    old, new = (row_counts(connection, name) for name in (CATALOG, _FRESH))
    wrong = {".".join(table) for table in old.keys() | new.keys() if old.get(table) != new.get(table)}
    before, after = (set(map(tuple, connection.execute(_SHAPE, [name]).fetchall())) for name in (CATALOG, _FRESH))
    wrong |= {f"{kind} {schema}.{name}" for kind, schema, name, *_ in before ^ after}
    return ", ".join(sorted(wrong)[:5])
