"""What people look through beside runs and their files: days, datasets, one partition's history, refused records.

Belongs here: read-only queries with explicit limits that only people need. Does not belong here: runs and their files (`queries`), what
a run decides on (`repo`, `failures`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ops_pipeline.ops.queries import MAX_LIMIT, RunFilter, file_conditions
from ops_pipeline.ops.sql import DATASET_KEY_SQL, LEDGER, STATUS_SQL
from ops_pipeline.ops.wanted import dicts, whole_rows
from ops_pipeline.ops.worst import worst
from ops_pipeline.recipes.keys import split_dataset_key

if TYPE_CHECKING:
    from datetime import date, datetime

    import duckdb

    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.recipes.universe import PartitionKey


@dataclass(frozen=True, slots=True)
class Day:
    """The files that were asked for on one day (UTC); rows as read from the answers, bytes before compression."""

    day: date
    runs: int
    files: int
    failed: int
    deferred: int
    not_in_plan: int
    empty: int
    unchanged: int
    waiting: int
    rows: int
    bytes: int

    @property
    def worst(self) -> str:
        """The worst that happened, by the rule that names runs too."""
        return worst(self.outcomes)

    @property
    def outcomes(self) -> dict[str, int]:
        """Word of `worst.GRAVITY` -> files."""
        bad = {"failed": self.failed, "unfinished": self.waiting, "deferred": self.deferred, "not_in_plan": self.not_in_plan}
        nothing_new = {"empty": self.empty, "unchanged": self.unchanged}
        return bad | {"ok": self.files - sum(bad.values()) - sum(nothing_new.values())} | nothing_new


@dataclass(frozen=True, slots=True)
class DatasetState:
    """What is stored of a dataset; rows are those of silver by the ledger's count, bytes before compression.

    Attributes:
        dataset: the dataset key.
        tickers: partitions that have a file.
        to_date: the latest date in an answer.
        last_answer: when an answer last came that was no error.
        failed_files: files that failed, whatever became of them since.
    """

    dataset: str
    tickers: int
    files: int
    failed_files: int
    from_date: date | None
    to_date: date | None
    last_answer: datetime | None
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that could not be typed: where it stands, as the vendor sent it, and why."""

    run_id: str
    bronze_file_id: str
    silver_tablename: str
    ticker: str
    row_position: int
    raw_text: str | None
    reason: str
    rejected_at: datetime


def days(connection: duckdb.DuckDBPyConnection, since: date, until: date, wanted: RunFilter | None = None) -> list[Day]:
    """The days of a span, both ends included, on which something was asked for, in order."""
    where, parameters = file_conditions(wanted or RunFilter())
    rows = dicts(
        connection,
        f"""SELECT bronze_injest_start_time::DATE AS day, count(DISTINCT run_id) AS runs, count(*) AS files,
            count(*) FILTER (status = 'failed') AS failed, count(*) FILTER (status = 'deferred') AS deferred,
            count(*) FILTER (status = 'not_in_plan') AS not_in_plan,
            count(*) FILTER (status = 'empty') AS empty, count(*) FILTER (status = 'unchanged') AS unchanged,
            count(*) FILTER (status IN ('asked', 'pending')) AS waiting,
            sum(bronze_rows)::BIGINT AS rows, coalesce(sum(bronze_bytes), 0)::BIGINT AS bytes
        FROM (SELECT *, {STATUS_SQL} AS status FROM {LEDGER} WHERE promotion_kind = 'first' AND {where}
            AND bronze_injest_start_time >= ?::DATE AND bronze_injest_start_time < ?::DATE + 1)
        GROUP BY day ORDER BY day""",
        [*parameters, since, until],
    )
    return [Day(**row) for row in rows]


def first_and_last_day(connection: duckdb.DuckDBPyConnection) -> tuple[date, date] | None:
    """The first and the last day (UTC) on which something was asked for; None for an empty ledger."""
    row = connection.execute(
        f"SELECT min(bronze_injest_start_time)::DATE, max(bronze_injest_start_time)::DATE FROM {LEDGER} WHERE promotion_kind = 'first'"
    ).fetchone()
    return (row[0], row[1]) if row and row[0] else None


def dataset_states(connection: duckdb.DuckDBPyConnection) -> list[DatasetState]:
    """Every dataset that the ledger knows, in order."""
    rows = dicts(
        connection,
        f"""SELECT {DATASET_KEY_SQL} AS dataset,
            count(DISTINCT ticker) AS tickers, count(*) FILTER (promotion_kind = 'first') AS files,
            count(*) FILTER (promotion_kind = 'first' AND {STATUS_SQL} = 'failed') AS failed_files,
            min(bronze_from_date) AS from_date, max(bronze_to_date) AS to_date,
            max(bronze_injest_end_time) FILTER (promotion_kind <> 'decision'
                AND bronze_outcome IN ('stored', 'unchanged', 'empty')) AS last_answer,
            sum(silver_rows_created - silver_rows_deleted)::BIGINT AS rows,
            coalesce(sum(bronze_bytes) FILTER (promotion_kind = 'first'), 0)::BIGINT AS bytes
        FROM {LEDGER} f GROUP BY source, f.dataset, discriminator ORDER BY source, f.dataset, discriminator""",
        [],
    )
    return [DatasetState(**row) for row in rows]


def dataset_keys(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Every dataset key that the ledger knows, in order."""
    # The few different ones first: a million texts put together, to be thrown away, take twice the time.
    found = connection.execute(
        f"SELECT {DATASET_KEY_SQL} FROM (SELECT DISTINCT source, dataset, discriminator FROM {LEDGER}) ORDER BY 1"
    ).fetchall()
    return [key for (key,) in found]


def covered_tickers(
    connection: duckdb.DuckDBPyConnection, wanted: RunFilter | None = None, *, limit: int = 40, offset: int = 0
) -> list[str]:
    """A page of the tickers that have a file, in order; `-` stands for the datasets that have none."""
    where, parameters = file_conditions(wanted or RunFilter())
    found = connection.execute(
        f"SELECT DISTINCT ticker FROM {LEDGER} WHERE promotion_kind = 'first' AND {where} ORDER BY ticker LIMIT ? OFFSET ?",
        [*parameters, max(1, min(limit, MAX_LIMIT)), max(0, offset)],
    ).fetchall()
    return [ticker for (ticker,) in found]


def partition_files(
    connection: duckdb.DuckDBPyConnection, partition: PartitionKey, *, limit: int = 100, offset: int = 0
) -> list[DatasetInjestion]:
    """A page of one partition's files, newest first."""
    where = "source = ? AND dataset = ? AND discriminator = ? AND ticker = ?"
    parameters = [*split_dataset_key(partition.dataset), partition.ticker]
    found = connection.execute(
        f"""SELECT rowid FROM {LEDGER} WHERE {where}
        ORDER BY coalesce(bronze_injest_end_time, bronze_injest_start_time) DESC NULLS FIRST, run_id, file_id LIMIT ? OFFSET ?""",
        [*parameters, max(1, min(limit, MAX_LIMIT)), max(0, offset)],
    ).fetchall()
    return whole_rows(connection, [number for (number,) in found], where, parameters)


def rejects(
    connection: duckdb.DuckDBPyConnection,
    *,
    silver_table: str | None = None,
    ticker: str | None = None,
    limit: int = 50,
    offset: int = 0,
) -> list[Reject]:
    """A page of refused records, newest first."""
    rows = dicts(
        connection,
        f"""SELECT {", ".join(f.name for f in fields(Reject))} FROM silver.rejected_rows
        WHERE ($table IS NULL OR silver_tablename = $table) AND ($ticker IS NULL OR ticker = $ticker)
        ORDER BY rejected_at DESC, run_id, bronze_file_id, row_position LIMIT $limit OFFSET $offset""",
        {"table": silver_table, "ticker": ticker, "limit": max(1, min(limit, MAX_LIMIT)), "offset": max(0, offset)},
    )
    return [Reject(**row) for row in rows]


def rejects_by_reason(connection: duckdb.DuckDBPyConnection, *, limit: int = 20) -> list[dict[str, Any]]:
    """Refused records by table and reason: `silver_tablename`, `reason`, `records`, `tickers`, `last`; the most frequent first."""
    return dicts(
        connection,
        """SELECT silver_tablename, reason, count(*) AS records, count(DISTINCT ticker) AS tickers, max(rejected_at) AS last
        FROM silver.rejected_rows GROUP BY ALL ORDER BY records DESC, silver_tablename, reason LIMIT ?""",
        [max(1, min(limit, MAX_LIMIT))],
    )
