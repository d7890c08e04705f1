"""Which bronze files the ledger names.

Belongs here: the queries that relate the ledger's rows to files on the disk, and renaming those files in it. Does not belong here: the
disk (`bronze`, `maintenance`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from ops_pipeline.ops.sql import LEDGER
from ops_pipeline.ops.wanted import registered

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import duckdb

_NAMED = "bronze_filename IS NOT NULL AND bronze_purged_at IS NULL"
_DATASET = "domain, source, dataset, discriminator"
DatasetParts = tuple[str, str, str, str]


def stored_files(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Every bronze file that a row names and that retention has not deleted, containers once, in order of their names."""
    rows = connection.execute(
        f"SELECT DISTINCT split_part(bronze_filename, '#', 1) FROM {LEDGER} WHERE {_NAMED} ORDER BY 1"
    ).fetchall()
    return [str(name) for (name,) in rows]


def datasets_with_files(connection: duckdb.DuckDBPyConnection) -> dict[DatasetParts, tuple[int, int]]:
    """(domain, source, dataset, discriminator) -> number of different files and bytes of their bodies, as the ledger has them."""
    rows = connection.execute(
        f"SELECT {_DATASET}, count(*), coalesce(sum(size), 0)::BIGINT FROM (SELECT {_DATASET}, max(bronze_bytes) AS size FROM {LEDGER}"
        f" WHERE {_NAMED} GROUP BY {_DATASET}, bronze_filename) GROUP BY {_DATASET} ORDER BY {_DATASET}"
    ).fetchall()
    return {(str(a), str(b), str(c), str(d)): (int(files), int(size)) for a, b, c, d, files, size in rows}


def unpacked_files(connection: duckdb.DuckDBPyConnection, dataset: DatasetParts, before: datetime) -> list[tuple[str, str]]:
    """Files of a dataset that stand alone, all of whose rows ended before a time: (month of the first, name), oldest first."""
    rows = connection.execute(
        f"SELECT strftime(min(bronze_injest_end_time), '%Y-%m'), bronze_filename FROM {LEDGER} WHERE {_NAMED}"
        " AND domain = ? AND source = ? AND dataset = ? AND discriminator = ? AND NOT contains(bronze_filename, '#')"
        " GROUP BY bronze_filename HAVING bool_and(coalesce(bronze_injest_end_time < ?, false)) ORDER BY ALL",
        [*dataset, before],
    ).fetchall()
    return [(str(month), str(name)) for month, name in rows]


def superseded_errors(connection: duckdb.DuckDBPyConnection, before: datetime) -> list[str]:
    """Bodies of failed requests, all of whose rows ended before a time and have a later good answer in their partition."""
    rows = connection.execute(
        f"""WITH good AS (
                SELECT {_DATASET}, ticker, max(bronze_injest_end_time) AS at FROM {LEDGER}
                WHERE bronze_outcome IN ('stored', 'unchanged', 'empty') AND request_complete GROUP BY ALL)
            SELECT f.bronze_filename FROM {LEDGER} f LEFT JOIN good g USING ({_DATASET}, ticker)
            WHERE {_NAMED} GROUP BY f.bronze_filename
            HAVING bool_and(coalesce(f.bronze_outcome = 'failed' AND f.bronze_injest_end_time < ?
                AND f.bronze_injest_end_time < g.at, false)) ORDER BY 1""",
        [before],
    ).fetchall()
    return [str(name) for (name,) in rows]


def names_in_use(connection: duckdb.DuckDBPyConnection, names: list[str]) -> set[str]:
    """Those of the names, of files or of containers, that some row still needs."""
    with registered(connection, "asked_names", pa.table({"name": pa.array(names, pa.string())})):
        rows = connection.execute(
            f"SELECT s.name FROM asked_names s SEMI JOIN (FROM {LEDGER} WHERE {_NAMED}) t ON s.name = t.bronze_filename"
            f" UNION SELECT s.name FROM asked_names s SEMI JOIN (FROM {LEDGER} WHERE {_NAMED}) t"
            " ON s.name = split_part(t.bronze_filename, '#', 1)"
        ).fetchall()
    return {str(name) for (name,) in rows}


def rename_files(connection: duckdb.DuckDBPyConnection, renamed: Mapping[str, str]) -> None:
    """Gives files other names in all rows that name them: where a body lies changes, what the rows say of it does not."""
    table = pa.table({"before": pa.array(list(renamed), pa.string()), "after": pa.array(list(renamed.values()), pa.string())})
    with registered(connection, "renamed_files", table):
        connection.execute(f"UPDATE {LEDGER} SET bronze_filename = r.after FROM renamed_files r WHERE bronze_filename = r.before")


def mark_purged(connection: duckdb.DuckDBPyConnection, names: list[str], at: datetime) -> int:
    """Notes in every row that names one of the files that its body was deleted on purpose; gives the number of rows."""
    with registered(connection, "purged_files", pa.table({"name": pa.array(names, pa.string())})):
        row = connection.execute(
            f"UPDATE {LEDGER} SET bronze_purged_at = ? FROM purged_files p WHERE bronze_filename = p.name AND bronze_purged_at IS NULL",
            [at],
        ).fetchone()
    return int(row[0]) if row else 0
