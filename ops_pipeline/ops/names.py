"""Which bronze files the ledger names.

Belongs here: the queries that relate the ledger's rows to files on the disk, and renaming those files in it. Does not belong here: the
disk (`bronze`, `maintenance`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


def stored_files(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Every bronze file that a row names and that retention has not deleted, containers once, in order of their names."""
    rows = connection.execute(
        "SELECT DISTINCT split_part(bronze_filename, '#', 1) FROM ops.file_ingestions"
        " WHERE bronze_filename IS NOT NULL AND bronze_purged_at IS NULL ORDER BY 1"
    ).fetchall()
    return [str(name) for (name,) in rows]
