"""How often something was asked for in vain, and when it is asked again.

Belongs here: the rule for answers that lack a session which the calendar expects, and the ledger's queries that it rests on: there is no
state but the ledger's rows. Does not belong here: which sessions are lacking (`watermark`, `periods`, `gaps`).

A vendor now and then answers with nothing where there is something. So a session that no complete answer has given yet is asked for again
soon: after an hour, then after twice as long each time, up to a day. What is lacking after the eighth answer is taken as not there
(a delisted ticker, a halted one), and asked for once in thirty days.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from ops_pipeline.ops.periods import PeriodAnswers
from ops_pipeline.ops.sql import HEALED_SQL, LEDGER, SAME_PARTITION
from ops_pipeline.ops.wanted import partition_table, registered

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import duckdb

    from ops_pipeline.recipes.universe import PartitionKey

FIRST_PAUSE = timedelta(hours=1)
LONGEST_PAUSE = timedelta(days=1)
MOST_TRIES = 8
QUIET = timedelta(days=30)

_COMPLETE = """bool_and(f.bronze_outcome IN ('stored', 'unchanged', 'empty') AND f.bronze_error IS NULL AND f.request_complete
    AND f.silver_errors IS NULL)"""


@dataclass(frozen=True, slots=True)
class Tries:
    """Complete answers to requests that asked for a session which none of them gave.

    Attributes:
        count: how many.
        last_at: when the last one came.
        asked_through: the last day that any of them asked for.
    """

    count: int
    last_at: datetime
    asked_through: date

    @property
    def in_vain(self) -> bool:
        """So many that the vendor is taken to have none."""
        return self.count >= MOST_TRIES


def pause_after(count: int) -> timedelta:
    """How long a session that so many answers lacked is left alone."""
    if count >= MOST_TRIES:
        return QUIET
    return min(FIRST_PAUSE * (1 << max(0, count - 1)), LONGEST_PAUSE)


def asked_again_at(tries: Tries, end: date) -> datetime:
    """When a session is asked for once more.

    At once where a later session has settled since, which is asked for in any case; but not where the vendor is taken to have none.

    Args:
        tries: the answers so far.
        end: the last day that can be asked for now.
    """
    if tries.asked_through < end and not tries.in_vain:
        return tries.last_at
    return tries.last_at + pause_after(tries.count)


def tries_of(
    connection: duckdb.DuckDBPyConnection, lacking: Sequence[tuple[PartitionKey, date]]
) -> dict[tuple[PartitionKey, date], Tries]:
    """The answers in vain for each session that its partition lacks; one that was never asked for is left out."""
    if not lacking:
        return {}
    days = pa.array([day for _, day in lacking], pa.date32())
    table = partition_table([partition for partition, _ in lacking]).append_column("day", days)
    with registered(connection, "wanted", table):
        found = connection.execute(
            f"""SELECT number, count(*), max(answered_at), max(asked_to) FROM (
                SELECT w.number, max(f.bronze_injest_end_time) AS answered_at, max(f.requested_to_date) AS asked_to
                FROM {LEDGER} f JOIN wanted w ON {SAME_PARTITION} AND f.requested_from_date <= w.day AND f.requested_to_date >= w.day
                WHERE f.promotion_kind = 'first' AND f.requested_to_date >= ?
                GROUP BY w.number, f.run_id, f.request_id HAVING {_COMPLETE})
            GROUP BY number""",
            [min(day for _, day in lacking)],
        ).fetchall()
    return {lacking[number]: Tries(count, at, through) for number, count, at, through in found}


def last_tried(
    connection: duckdb.DuckDBPyConnection, requests: Sequence[tuple[PartitionKey, date | None, date | None]]
) -> dict[int, datetime]:
    """Place of a request -> when any of its days was last asked for and answered, were it by an error; one never asked for is left out."""
    table = partition_table([partition for partition, _, _ in requests])
    for name, place in (("from_date", 1), ("to_date", 2)):
        table = table.append_column(name, pa.array([request[place] for request in requests], pa.date32()))
    with registered(connection, "wanted", table):
        found = connection.execute(
            f"""SELECT w.number, max(f.bronze_injest_end_time) FROM {LEDGER} f JOIN wanted w ON {SAME_PARTITION}
            WHERE f.promotion_kind = 'first' AND f.bronze_outcome IN ('stored', 'unchanged', 'empty', 'failed')
                AND (w.from_date IS NULL OR f.requested_from_date IS NULL
                    OR (f.requested_from_date <= w.to_date AND f.requested_to_date >= w.from_date))
            GROUP BY w.number"""
        ).fetchall()
    return dict(found)


def answers_by_period(
    connection: duckdb.DuckDBPyConnection, partitions: Iterable[PartitionKey]
) -> dict[PartitionKey, dict[date, PeriodAnswers]]:
    """Partition -> a requested period's first day -> its complete answers; one that silver refused counts when something healed it."""
    wanted = list(dict.fromkeys(partitions))
    with registered(connection, "wanted", partition_table(wanted)):
        found = connection.execute(
            f"""WITH healed AS ({HEALED_SQL})
            SELECT number, asked_from, count(*), count(*) FILTER (has_data), max(answered_at) FROM (
                SELECT w.number, any_value(f.requested_from_date) AS asked_from, max(f.bronze_injest_end_time) AS answered_at,
                    bool_or(f.bronze_outcome IN ('stored', 'unchanged')) AS has_data
                FROM {LEDGER} f JOIN wanted w ON {SAME_PARTITION}
                LEFT JOIN healed h ON h.origin_run_id = f.run_id AND h.file_id = f.file_id
                WHERE f.promotion_kind = 'first' AND f.requested_from_date IS NOT NULL
                GROUP BY w.number, f.run_id, f.request_id
                HAVING bool_and(f.bronze_outcome IN ('stored', 'unchanged', 'empty') AND f.bronze_error IS NULL AND f.request_complete
                    AND (f.silver_errors IS NULL OR h.file_id IS NOT NULL)))
            GROUP BY number, asked_from"""
        ).fetchall()
    told: dict[PartitionKey, dict[date, PeriodAnswers]] = {}
    for number, asked_from, answers, data, at in found:
        told.setdefault(wanted[number], {})[asked_from] = PeriodAnswers(answers, data, at)
    return told


def last_asked(connection: duckdb.DuckDBPyConnection, partitions: Iterable[PartitionKey]) -> dict[PartitionKey, datetime]:
    """When each partition was last answered in full, whatever the answer held."""
    wanted = list(dict.fromkeys(partitions))
    with registered(connection, "wanted", partition_table(wanted)):
        found = connection.execute(
            f"""SELECT w.number, max(f.bronze_injest_end_time) FROM {LEDGER} f JOIN wanted w ON {SAME_PARTITION}
            WHERE f.promotion_kind = 'first' AND f.bronze_outcome IN ('stored', 'unchanged', 'empty') AND f.bronze_error IS NULL
                AND f.request_complete AND f.silver_errors IS NULL GROUP BY w.number"""
        ).fetchall()
    return {wanted[number]: at for number, at in found}
