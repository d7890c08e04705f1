"""Files that silver refused, in part or as a whole, as they stand now.

Belongs here: the queries. Does not belong here: reading such a file again (`engine.rejects`), and putting refused records there
(`silver.undo`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ops_pipeline.ops.queries import MAX_LIMIT, RunFilter, file_conditions
from ops_pipeline.ops.sql import DATASET_KEY_SQL, LEDGER
from ops_pipeline.ops.wanted import dicts

if TYPE_CHECKING:
    from datetime import datetime

    import duckdb


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A file whose latest promotion refused records of it, or all of it.

    Attributes:
        dataset: the dataset key.
        ticker: whose answer it is.
        run_id: the run that fetched it; with `file_id` what silver rows point at.
        file_id: the file.
        whole: whether it was refused as a whole; silver then has nothing of it.
        refused: refused records; of a file that was refused as a whole None, since nothing of it was counted.
        records: records of the file.
        reason: the most frequent reason, or why the whole file was refused.
        refused_at: when (UTC).
        recipe_hash: the recipe that refused: `ops.recipes`.
        filename: below the bronze folder.
    """

    dataset: str
    ticker: str
    run_id: str
    file_id: str
    whole: bool
    refused: int | None
    records: int
    reason: str
    refused_at: datetime
    recipe_hash: str
    filename: str

    @property
    def key(self) -> tuple[str, str]:
        """(run_id, file_id) of the row that fetched it."""
        return self.run_id, self.file_id


@dataclass(frozen=True, slots=True)
class RefusedRecord:
    """A refused record: its place in the file, counted from 1, the text as the vendor sent it, and why."""

    record: int
    reason: str
    text: str | None


_COLUMNS = ", ".join(f.name for f in fields(RefusedFile))


def refused_files(
    connection: duckdb.DuckDBPyConnection,
    wanted: RunFilter | None = None,
    *,
    run_id: str | None = None,
    file_id: str | None = None,
    limit: int | None = MAX_LIMIT,
) -> list[RefusedFile]:
    """Files of which something is refused, newest first. What a later promotion of a file refuses counts, and no earlier one.

    Args:
        connection: of the warehouse.
        wanted: dataset, ticker, source and discriminator count.
        run_id: only files that this run fetched or promoted.
        file_id: only files whose id begins with this.
        limit: at most so many; None: all.
    """
    conditions, parameters = file_conditions(wanted or RunFilter())
    if run_id:
        conditions += " AND ? IN (run_id, origin_run_id, silver_run_id)"
        parameters.append(run_id)
    if file_id:
        conditions += " AND starts_with(f.file_id, ?)"
        parameters.append(file_id)
    rows = dicts(
        connection,
        f"""WITH suspects AS (
            SELECT DISTINCT coalesce(origin_run_id, run_id) AS origin, file_id FROM {LEDGER} f
            WHERE (silver_rows_failed > 0 OR silver_errors IS NOT NULL) AND {conditions}
        ), latest AS (
            SELECT s.origin, arg_max(f.rowid, f.silver_injest_end_time) AS number FROM {LEDGER} f
            JOIN suspects s ON s.origin = coalesce(f.origin_run_id, f.run_id) AND s.file_id = f.file_id
            WHERE f.silver_injest_end_time IS NOT NULL GROUP BY s.origin, s.file_id
        ), reasons AS (
            SELECT run_id, bronze_file_id, mode(reason) AS reason FROM silver.rejected_rows GROUP BY run_id, bronze_file_id
        ), files AS (
            SELECT {DATASET_KEY_SQL} AS dataset, ticker, l.origin AS run_id, f.file_id, silver_errors IS NOT NULL AS whole,
                CASE WHEN silver_errors IS NULL THEN silver_rows_failed END AS refused, bronze_rows AS records,
                coalesce(silver_errors, r.reason, 'no reason was kept') AS reason, silver_injest_end_time AS refused_at,
                silver_recipe_hash AS recipe_hash, bronze_filename AS filename
            FROM {LEDGER} f JOIN latest l ON f.rowid = l.number
            LEFT JOIN reasons r ON r.run_id = l.origin AND r.bronze_file_id = f.file_id
            WHERE silver_rows_failed > 0 OR silver_errors IS NOT NULL
        )
        SELECT {_COLUMNS} FROM files ORDER BY refused_at DESC, dataset, ticker, run_id, file_id LIMIT ?""",
        [*parameters, limit],
    )
    return [RefusedFile(**row) for row in rows]


def refused_records(connection: duckdb.DuckDBPyConnection, file: RefusedFile, *, limit: int = 50) -> list[RefusedRecord]:
    """The first refused records of a file, by their place in it."""
    rows: list[tuple[Any, ...]] = connection.execute(
        """SELECT row_position, reason, raw_text FROM silver.rejected_rows WHERE run_id = ? AND bronze_file_id = ?
        ORDER BY row_position, reason LIMIT ?""",
        [*file.key, limit],
    ).fetchall()
    return [RefusedRecord(*row) for row in rows]
