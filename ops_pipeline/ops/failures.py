"""What failed, and what is left of a run.

Belongs here: the queries that a retry, the schedules' pause and the check on failed partitions share. Does not belong here: asking again
(`engine.plan`), figures for people (`queries`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops_pipeline.ops.sql import LEDGER
from ops_pipeline.ops.watermark import Span, Window, islands
from ops_pipeline.recipes.models import NO_DISCRIMINATOR
from ops_pipeline.recipes.universe import PartitionKey

if TYPE_CHECKING:
    from datetime import datetime

    import duckdb

MAX_FAILURES = 100_000

_PARTITION = "source, dataset, discriminator, ticker"
# A request that got no good answer. What a later promotion of the same file healed stands in silver, whatever its first row says.
_AGAIN = f"""bronze_outcome IN ('asked', 'failed', 'deferred') OR (silver_errors IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM {LEDGER} h WHERE h.promotion_kind <> 'first' AND h.origin_run_id = coalesce(f.origin_run_id, f.run_id)
        AND h.file_id = f.file_id AND h.silver_errors IS NULL AND h.silver_injest_end_time IS NOT NULL))"""


@dataclass(frozen=True, slots=True)
class Failure:
    """A partition whose latest attempt failed or was deferred.

    Attributes:
        partition: the partition.
        layer: bronze, silver or gold: the first that failed.
        deferred: for want of quota, which is no failure.
        reason: one sentence.
        run_id: the run that tried.
        at: when it gave up.
    """

    partition: PartitionKey
    layer: str
    deferred: bool
    reason: str
    run_id: str
    at: datetime


def latest_failures(connection: duckdb.DuckDBPyConnection, *, limit: int = MAX_FAILURES) -> list[Failure]:
    """Partitions whose latest file failed or was deferred, in order; a file that failed before a good one does not count.

    Only partitions that ever had a failure are sorted by time, so the cost is one scan of four columns, whatever the ledger's age.
    """
    rows = _dicts(
        connection,
        f"""WITH suspects AS (
            SELECT DISTINCT {_PARTITION} FROM {LEDGER}
            WHERE bronze_outcome IN ('failed', 'deferred') OR silver_errors IS NOT NULL OR gold_errors IS NOT NULL
        ),
        latest AS (
            SELECT {_PARTITION}, arg_max(
                {{'outcome': bronze_outcome, 'bronze': bronze_error, 'silver': silver_errors, 'gold': gold_errors,
                'bronze_run': run_id, 'silver_run': silver_run_id, 'gold_run': gold_run_id, 'bronze_end': bronze_injest_end_time,
                'silver_end': silver_injest_end_time, 'gold_end': gold_injest_end_time}},
                {{'a': coalesce(bronze_injest_end_time, bronze_injest_start_time), 'b': silver_injest_end_time, 'c': run_id,
                'd': request_part}}) AS f
            FROM {LEDGER} SEMI JOIN suspects USING ({_PARTITION}) GROUP BY {_PARTITION}
        )
        SELECT {_PARTITION}, f.* FROM (SELECT {_PARTITION}, unnest(f) FROM latest) f
        WHERE outcome IN ('failed', 'deferred') OR silver IS NOT NULL OR gold IS NOT NULL
        ORDER BY {_PARTITION} LIMIT ?""",
        [max(1, min(limit, MAX_FAILURES))],
    )
    return [_failure(row) for row in rows]


def _failure(row: dict[str, Any]) -> Failure:
    unanswered = row["outcome"] in ("failed", "deferred")
    layer = "bronze" if unanswered else "silver" if row["silver"] is not None else "gold"
    return Failure(
        partition=_partition(row),
        layer=layer,
        deferred=row["outcome"] == "deferred",
        reason=row[layer] or "no reason was recorded",
        run_id=row[f"{layer}_run"] or row["bronze_run"],
        at=row[f"{layer}_end"] or row["bronze_end"],
    )


def left_of(connection: duckdb.DuckDBPyConnection, run_id: str) -> dict[PartitionKey, list[Window | None]]:
    """What a run asked or promoted without coming to a good end, less what later runs have got since.

    A request that failed, was deferred, got no answer, or whose answer silver refused is left, unless requests that were sent after it
    and were answered in full cover its days. A file of the run that waits for silver or gold is left as long as it waits.

    Returns:
        partition -> the windows to ask for, as they were asked; None stands for a request without dates. An empty list: files wait.
    """
    rows = _dicts(
        connection,
        f"""WITH mine AS (
            SELECT {_PARTITION}, request_id, any_value(requested_from_date) AS from_date, any_value(requested_to_date) AS to_date,
                min(bronze_injest_start_time) AS started, bool_or({_AGAIN}) AS again,
                bool_or((bronze_can_promote AND silver_errors IS NULL) OR silver_can_promote) AS waits
            FROM {LEDGER} f WHERE (run_id = $run OR silver_run_id = $run OR gold_run_id = $run)
            GROUP BY {_PARTITION}, request_id HAVING again OR waits
        ),
        answered AS (
            SELECT {_PARTITION}, {{'from_date': any_value(requested_from_date), 'to_date': any_value(requested_to_date)}} AS days,
                min(bronze_injest_start_time) AS started
            FROM {LEDGER} f SEMI JOIN mine USING ({_PARTITION}) WHERE promotion_kind = 'first'
            GROUP BY {_PARTITION}, run_id, request_id HAVING bool_and(NOT ({_AGAIN}) AND request_complete)
        ),
        later AS (
            SELECT {_PARTITION}, request_id, list(answered.days) AS answers
            FROM mine JOIN answered USING ({_PARTITION}) WHERE answered.started > mine.started GROUP BY {_PARTITION}, request_id
        )
        SELECT mine.*, answers FROM mine LEFT JOIN later USING ({_PARTITION}, request_id) ORDER BY {_PARTITION}, from_date, to_date""",
        {"run": run_id},
    )
    left: dict[PartitionKey, list[Window | None]] = {}
    for row in rows:
        begin, end = row["from_date"], row["to_date"]
        window = Window(begin, end) if begin and end else None
        if row["again"] and not _covered(window, row["answers"] or []):
            left.setdefault(_partition(row), []).append(window)
        elif row["waits"]:
            left.setdefault(_partition(row), [])
    return left


def _covered(window: Window | None, answers: list[dict[str, Any]]) -> bool:
    """Whether answers to later requests cover the window's days; any answer will do where there are no days."""
    if window is None:
        return bool(answers)
    spans = [Span(a["from_date"], a["to_date"], a["from_date"]) for a in answers if a["from_date"] and a["to_date"]]
    return any(island.from_date <= window.from_date and window.to_date <= island.to_date for island in islands(spans))


def _partition(row: dict[str, Any]) -> PartitionKey:
    tail = "" if row["discriminator"] == NO_DISCRIMINATOR else f".{row['discriminator']}"
    return PartitionKey(row["ticker"], f"{row['source']}.{row['dataset']}{tail}")


def _dicts(connection: duckdb.DuckDBPyConnection, sql: str, parameters: object) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = connection.execute(sql, parameters).to_arrow_table().to_pylist()
    return rows
