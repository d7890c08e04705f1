"""Taking merges back: what a late file and a second merge need.

Belongs here: restoring a partition to before a file by the history, and replacing the refused records of files that are merged again. Does
not belong here: which files those are, and merging (`commit`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from ops_pipeline.recipes.models import NO_TICKER, TICKER_COLUMN
from ops_pipeline.silver.typing_sql import identifier

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import duckdb

    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.recipes.universe import PartitionKey
    from ops_pipeline.silver.staged import Staged


def take_back(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, partition: PartitionKey, first: tuple[datetime, str, str]
) -> None:
    """Takes a partition back to before its files at or after `first`: what they changed is undone from the history, and so is that."""
    target, history = recipe.silver_table, recipe.history_table
    where, here = ("true", []) if partition.ticker == NO_TICKER else (f"{TICKER_COLUMN} = ?", [partition.ticker])
    later = f"{where} AND (known_at, run_id, bronze_file_id) >= (?, ?, ?)"
    keys = [identifier(n) for n in recipe.silver_key]
    same = " AND ".join(f"t.{k} = u.{k}" for k in keys)
    own = ", ".join(identifier(n) for n, _ in recipe.silver_columns)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE undone AS SELECT DISTINCT {', '.join(keys)} FROM {history} WHERE {later}", [*here, *first]
    )
    connection.execute(f"DELETE FROM {target} t WHERE EXISTS (SELECT 1 FROM undone u WHERE {same})")
    connection.execute(f"DELETE FROM {history} WHERE {later}", [*here, *first])
    connection.execute(
        f"""INSERT INTO {target} ({own}, bronze_file_id, run_id, known_at, ingested_at)
        SELECT {own}, bronze_file_id, run_id, known_at, merged_at FROM (
            SELECT t.* FROM {history} t WHERE EXISTS (SELECT 1 FROM undone u WHERE {same})
            QUALIFY row_number() OVER (PARTITION BY {", ".join(f"t.{k}" for k in keys)}
                ORDER BY known_at DESC, run_id DESC, bronze_file_id DESC) = 1)
        WHERE operation <> 'D'"""
    )
    connection.execute("DROP TABLE undone")


def replace_rejects(
    connection: duckdb.DuckDBPyConnection,
    staged: Staged,
    rows: Mapping[int, DatasetInjestion],
    merged: set[int],
    rejected_at: datetime,
) -> None:
    """Replaces the refused records of these files, so that merging one again does not double them.

    Args:
        connection: inside the caller's transaction.
        staged: the batch.
        rows: ledger rows by the files' numbers in the batch.
        merged: numbers of those that were merged; a file that failed as a whole has no refused records.
        rejected_at: when (UTC).
    """
    files = pa.table(
        {
            "file_no": pa.array(list(rows), pa.int32()),
            "run_id": pa.array([r.origin[0] for r in rows.values()], pa.string()),
            "file_id": pa.array([r.file_id for r in rows.values()], pa.string()),
            "ticker": pa.array([r.ticker for r in rows.values()], pa.string()),
            "merged": pa.array([n in merged for n in rows], pa.bool_()),
        }
    )
    connection.register("reject_files", files)
    connection.register("rejects", staged.rejects)
    connection.execute(
        """DELETE FROM silver.rejected_rows t
        WHERE EXISTS (SELECT 1 FROM reject_files f WHERE t.run_id = f.run_id AND t.bronze_file_id = f.file_id)"""
    )
    if staged.rejects.num_rows:
        connection.execute(
            """INSERT INTO silver.rejected_rows
            SELECT f.run_id, f.file_id, ?, f.ticker, r.row_position, r.raw_text, r.reason, ?, ?::TIMESTAMPTZ
            FROM rejects r JOIN reject_files f USING (file_no) WHERE f.merged""",
            [staged.recipe.silver_table, staged.recipe.recipe_hash, rejected_at],
        )
    connection.unregister("rejects")
    connection.unregister("reject_files")
