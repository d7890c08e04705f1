"""The ledger's side of a replay.

Belongs here: which files are read again, and the rows of their later promotion. Does not belong here: reading them (`engine.replay`) and
what silver makes of them (`silver.comparison`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops_pipeline.ops.columns import COLUMNS, PRIMARY_KEY
from ops_pipeline.ops.sql import LEDGER
from ops_pipeline.recipes.keys import split_dataset_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import duckdb

    from ops_pipeline.ops.ingestion import DatasetInjestion, PromotionKind

_SAME_FILE = " AND ".join(f"f.{c} = s.{c}" for c in PRIMARY_KEY)


def replayable(
    connection: duckdb.DuckDBPyConnection, dataset_key: str, tickers: Sequence[str] | None = None
) -> list[tuple[str, str]]:
    """Primary keys of the dataset's stored good answers and of decisions, partition by partition in the order in which they apply."""
    source, dataset, discriminator = split_dataset_key(dataset_key)
    mine, listed = ("ticker IN (SELECT unnest(?::VARCHAR[]))", [list(tickers)]) if tickers is not None else ("true", [])
    return connection.execute(
        f"""SELECT run_id, file_id FROM {LEDGER} WHERE source = ? AND dataset = ? AND discriminator = ? AND {mine}
            AND (promotion_kind = 'decision' OR (promotion_kind = 'first' AND bronze_outcome IN ('stored', 'unchanged', 'empty')
                AND bronze_filename IS NOT NULL AND bronze_purged_at IS NULL))
        ORDER BY ticker, bronze_injest_end_time, run_id, file_id""",
        [source, dataset, discriminator, *listed],
    ).fetchall()


def recipes_used(connection: duckdb.DuckDBPyConnection, dataset_key: str) -> list[tuple[str, str, datetime]]:
    """(hash, text, since when) of the recipes by which the dataset was ever read, the newest first."""
    return connection.execute(
        "SELECT recipe_hash, recipe_text, first_used_at FROM ops.recipes WHERE dataset_key = ? ORDER BY first_used_at DESC, recipe_hash",
        [dataset_key],
    ).fetchall()


def unpromoted(row: DatasetInjestion) -> DatasetInjestion:
    """The row as it was before any promotion."""
    fields = type(row).model_fields
    blank = {n: fields[n].default for n in fields if n.startswith(("silver_", "gold_"))}
    return row.model_copy(update=blank | {"bronze_can_promote": False})


def lost_files(connection: duckdb.DuckDBPyConnection, replayed: str, *, limit: int = 20) -> list[tuple[str, str, str]]:
    """Files that silver rests on and that the replay could not promote: (run, file, reason)."""
    return connection.execute(
        f"""SELECT s.run_id, s.file_id, coalesce(s.bronze_error, s.silver_errors) FROM {replayed}.{LEDGER} s
        JOIN {LEDGER} f ON {_SAME_FILE}
        WHERE coalesce(s.bronze_error, s.silver_errors) IS NOT NULL AND f.silver_errors IS NULL AND NOT f.bronze_can_promote
        ORDER BY ALL LIMIT ?""",
        [limit],
    ).fetchall()


def record_replay(connection: duckdb.DuckDBPyConnection, replayed: str, run_id: str, kind: PromotionKind) -> None:
    """Takes the promotions of another ledger over, inside the caller's transaction.

    A file that was never promoted before has its row filled; each other one gets a row of its own. Runs that fetched the same request
    twice have the same file id, and a run has one row a file id: the rows of the older ones have the run's id with a number behind it.

    Args:
        connection: inside the caller's transaction.
        replayed: catalog of the other ledger, attached.
        run_id: the replay's.
        kind: what the later promotion is.
    """
    # What waits for a whole history is said by first rows alone, which a later release finds.
    own = ("run_id", "promotion_kind", "origin_run_id", "silver_hold")
    copied = ", ".join(f"s.{c}" for c in COLUMNS if c not in own)
    names = ", ".join(c for c in COLUMNS if c not in own)
    connection.execute(
        f"""INSERT INTO {LEDGER} (run_id, promotion_kind, origin_run_id, {names})
        SELECT ? || CASE WHEN s.n = 1 THEN '' ELSE '.' || s.n END, ?, s.run_id, {copied}
        FROM (SELECT s.*, row_number() OVER (PARTITION BY s.file_id ORDER BY s.bronze_injest_end_time DESC, s.run_id DESC) AS n
            FROM {replayed}.{LEDGER} s JOIN {LEDGER} f ON {_SAME_FILE}
            WHERE s.bronze_outcome = 'stored' AND NOT f.bronze_can_promote) s""",
        [run_id, kind],
    )
    written = ", ".join(f"{c} = s.{c}" for c in COLUMNS if c not in PRIMARY_KEY)
    connection.execute(
        f"UPDATE {LEDGER} AS f SET {written} FROM {replayed}.{LEDGER} s WHERE {_SAME_FILE} AND f.bronze_can_promote"
    )
