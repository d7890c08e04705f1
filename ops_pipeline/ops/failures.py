"""What failed, what is left of a run, and what was answered.

Belongs here: the queries that retries, schedules and the check on failed partitions share. Does not belong here: asking again
(`engine.plan`), figures for people (`queries`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ops_pipeline.ops.sql import HEALED_SQL, LEDGER, NOT_IN_PLAN_SQL, SAME_PARTITION
from ops_pipeline.ops.wanted import dicts, registered
from ops_pipeline.ops.watermark import Span, Window, islands
from ops_pipeline.recipes.keys import join_dataset_key, split_dataset_key
from ops_pipeline.recipes.universe import PartitionKey

if TYPE_CHECKING:
    from collections.abc import Container, Iterable
    from datetime import datetime

    import duckdb

MAX_FAILURES = 100_000
# Runs record answers in batches: a run that died may have asked for what another had got a moment before.
_RECORDED_WITHIN = timedelta(minutes=1)

_PARTITION = "source, dataset, discriminator, ticker"
_REFUSED = ("failed", "deferred")
_FAILED = "bronze_outcome IN ('failed', 'deferred') OR silver_errors IS NOT NULL OR gold_errors IS NOT NULL"
_JOIN_HEALED = """LEFT JOIN healed h ON f.silver_errors IS NOT NULL AND h.origin_run_id = coalesce(f.origin_run_id, f.run_id)
    AND h.file_id = f.file_id"""
# A request that got no good answer.
_AGAIN = "f.bronze_outcome IN ('asked', 'failed', 'deferred') OR (f.silver_errors IS NOT NULL AND h.file_id IS NULL)"


@dataclass(frozen=True, slots=True)
class Failure:
    """A partition whose latest attempt failed, was deferred, or was refused by the plan.

    Attributes:
        partition: the partition.
        layer: bronze, silver or gold: the first that failed.
        deferred: for want of quota, which is no failure.
        not_in_plan: the vendor said that the plan does not hold it, which is none either.
        reason: one sentence.
        run_id: the run that tried.
        at: when it gave up.
    """

    partition: PartitionKey
    layer: str
    deferred: bool
    not_in_plan: bool
    reason: str
    run_id: str
    at: datetime

    @property
    def is_one(self) -> bool:
        """Whether it failed indeed."""
        return not self.deferred and not self.not_in_plan


def latest_failures(connection: duckdb.DuckDBPyConnection, *, limit: int = MAX_FAILURES) -> list[Failure]:
    """Partitions whose latest file failed or was deferred, in order; a file that failed before a good one does not count.

    Neither does a request that runs beside got a full answer to after it had been sent, though it was given up later than that.

    On a ledger of a million rows it costs 1.3 to 1.9 times the barest query for each partition's latest row: only partitions that ever
    had a failure are put in order, and texts are read of the rows that are given.
    """
    rows = dicts(
        connection,
        f"""WITH suspects AS (SELECT DISTINCT {_PARTITION} FROM {LEDGER} WHERE {_FAILED}),
        latest AS (
            SELECT arg_max(rowid, {{'a': coalesce(bronze_injest_end_time, bronze_injest_start_time), 'b': silver_injest_end_time,
                'c': run_id, 'd': request_part}}) AS latest_row
            FROM {LEDGER} SEMI JOIN suspects USING ({_PARTITION}) WHERE promotion_kind <> 'decision' GROUP BY {_PARTITION}
        )
        SELECT {_PARTITION}, bronze_outcome, bronze_error, {NOT_IN_PLAN_SQL} AS not_in_plan,
            silver_errors, gold_errors, run_id, silver_run_id, gold_run_id,
            bronze_injest_start_time, bronze_injest_end_time, silver_injest_end_time, gold_injest_end_time, request_id,
            requested_from_date, requested_to_date
        FROM {LEDGER} WHERE rowid IN (SELECT latest_row FROM latest) AND ({_FAILED}) ORDER BY {_PARTITION} LIMIT ?""",
        [max(1, min(limit, MAX_FAILURES))],
    )
    answered = _answered_beside(connection, [row for row in rows if row["bronze_outcome"] in _REFUSED])
    return [_failure(row) for row in rows if (row["run_id"], row["request_id"]) not in answered]


def left_failed(
    connection: duckdb.DuckDBPyConnection, wanted: Container[PartitionKey], *, limit: int = MAX_FAILURES
) -> list[Failure]:
    """Wanted partitions whose latest attempt failed indeed; what nobody wants any more is never asked again, so nobody could mend it.

    With a limit, those among so many of `latest_failures`.
    """
    return [failure for failure in latest_failures(connection, limit=limit) if failure.is_one and failure.partition in wanted]


def _answered_beside(connection: duckdb.DuckDBPyConnection, refused: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Those of the requests, as (run_id, request_id), that another run got a full answer to since they were sent."""
    if not refused:
        return set()
    table = pa.table(
        {n: [row[n] for row in refused] for n in ("source", "dataset", "discriminator", "ticker", "run_id", "request_id")}
        | {
            "from_date": pa.array([row["requested_from_date"] for row in refused], pa.date32()),
            "to_date": pa.array([row["requested_to_date"] for row in refused], pa.date32()),
            "since": pa.array(map(_asked_since, refused), pa.timestamp("us", "UTC")),
        }
    )
    with registered(connection, "wanted", table):
        found = connection.execute(
            f"""WITH healed AS ({HEALED_SQL})
            SELECT DISTINCT run_id, request_id FROM (
                SELECT w.run_id, w.request_id FROM {LEDGER} f JOIN wanted w ON {SAME_PARTITION}
                    AND (f.request_id = w.request_id OR (f.requested_from_date <= w.from_date AND f.requested_to_date >= w.to_date))
                {_JOIN_HEALED} WHERE f.promotion_kind = 'first'
                GROUP BY w.run_id, w.request_id, f.run_id, f.request_id
                HAVING bool_and(NOT ({_AGAIN}) AND f.request_complete AND f.bronze_injest_end_time >= w.since))"""
        ).fetchall()
    return set(found)


def _asked_since(row: dict[str, Any]) -> datetime:
    """Since when another's answer is as good as the one that this request did not get; one that died ended when it was asked."""
    started: datetime
    ended: datetime
    started, ended = row["bronze_injest_start_time"], row["bronze_injest_end_time"]
    since: datetime = started - _RECORDED_WITHIN if started == ended else started or ended
    return since


def _failure(row: dict[str, Any]) -> Failure:
    layer = "gold" if row["silver_errors"] is None else "silver"
    reason, run, at = row[f"{layer}_errors"], row[f"{layer}_run_id"], row[f"{layer}_injest_end_time"]
    if row["bronze_outcome"] in _REFUSED:
        layer, reason, run, at = "bronze", row["bronze_error"], None, None
    return Failure(
        partition=_partition(row),
        layer=layer,
        deferred=row["bronze_outcome"] == "deferred",
        not_in_plan=row["not_in_plan"],
        reason=reason or "no reason was recorded",
        run_id=run or row["run_id"],
        at=at or row["bronze_injest_end_time"],
    )


def left_of(connection: duckdb.DuckDBPyConnection, run_id: str) -> dict[PartitionKey, list[Window | None]]:
    """What a run asked or promoted without coming to a good end, less what later runs have got since.

    A request that failed, was deferred, got no answer, or whose answer silver refused is left, unless requests that were sent after it
    and were answered in full cover its days. A file of the run that waits for silver or gold is left as long as it waits.

    Returns:
        partition -> the windows to ask for, as they were asked; None stands for a request without dates. An empty list: files wait.
    """
    rows = dicts(
        connection,
        f"""WITH healed AS ({HEALED_SQL}),
        mine AS (
            SELECT {_PARTITION}, request_id, any_value(requested_from_date) AS from_date, any_value(requested_to_date) AS to_date,
                min(bronze_injest_start_time) AS started, bool_or({_AGAIN}) AS again,
                bool_or((bronze_can_promote AND silver_errors IS NULL) OR silver_can_promote) AS waits
            FROM {LEDGER} f {_JOIN_HEALED} WHERE (run_id = $run OR silver_run_id = $run OR gold_run_id = $run)
            GROUP BY {_PARTITION}, request_id HAVING again OR waits
        ),
        answered AS (
            SELECT {_PARTITION}, {{'from_date': any_value(requested_from_date), 'to_date': any_value(requested_to_date)}} AS days,
                min(bronze_injest_start_time) AS started
            FROM {LEDGER} f SEMI JOIN mine USING ({_PARTITION}) {_JOIN_HEALED}
            WHERE promotion_kind = 'first' AND bronze_injest_start_time > (SELECT min(started) FROM mine)
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


def answered_windows(
    connection: duckdb.DuckDBPyConnection, windows: Iterable[tuple[PartitionKey, Window]]
) -> set[tuple[PartitionKey, Window]]:
    """Those of the windows that one request, for the same days or more, was answered for in full, whatever the answer held."""
    wanted = [(p.ticker, *split_dataset_key(p.dataset), w.from_date, w.to_date) for p, w in windows]
    names = ("ticker", "source", "dataset", "discriminator", "from_date", "to_date")
    kinds = (*[pa.string()] * 4, *[pa.date32()] * 2)
    table = pa.table({n: pa.array([row[i] for row in wanted], kinds[i]) for i, n in enumerate(names)})
    with registered(connection, "wanted_windows", table):
        rows = dicts(
            connection,
            f"""WITH healed AS ({HEALED_SQL})
            SELECT DISTINCT {_PARTITION}, from_date, to_date FROM (
                SELECT {_PARTITION}, w.from_date, w.to_date FROM {LEDGER} f JOIN wanted_windows w USING ({_PARTITION}) {_JOIN_HEALED}
                WHERE f.promotion_kind = 'first' AND f.requested_from_date <= w.from_date AND f.requested_to_date >= w.to_date
                GROUP BY {_PARTITION}, w.from_date, w.to_date, f.run_id, f.request_id
                HAVING bool_and(NOT ({_AGAIN}) AND f.request_complete))""",
            [],
        )
    return {(_partition(row), Window(row["from_date"], row["to_date"])) for row in rows}


def _covered(window: Window | None, answers: list[dict[str, Any]]) -> bool:
    """Whether answers to later requests cover the window's days; any answer will do where there are no days."""
    if window is None:
        return bool(answers)
    spans = [Span(a["from_date"], a["to_date"], a["from_date"]) for a in answers if a["from_date"] and a["to_date"]]
    return any(island.from_date <= window.from_date and window.to_date <= island.to_date for island in islands(spans))


def _partition(row: dict[str, Any]) -> PartitionKey:
    return PartitionKey(row["ticker"], join_dataset_key(row["source"], row["dataset"], row["discriminator"]))
