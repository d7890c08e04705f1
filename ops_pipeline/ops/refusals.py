"""What vendors said that the plan does not hold, as the ledger remembers it.

Belongs here: which refusals still count, and what they are about. Does not belong here: leaving requests out (`engine.not_in_plan`), and
how a refusal is known (`sources.http_errors`).

There is no state but the ledger's rows. A refusal counts for `REMEMBERED` under the plan that was in force, and until the same days, or
more, are answered after all: then the vendor has thought better of it, or the user forced it. It is about the request's days, since a plan
may hold the recent years of a ticker and not the earlier ones: a request that asks for all of these days again would be refused again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from ops_pipeline.ops.sql import LEDGER, NOT_IN_PLAN_SQL, PLAN_KINDS_SQL
from ops_pipeline.ops.wanted import dicts
from ops_pipeline.recipes.keys import join_dataset_key
from ops_pipeline.recipes.models import NO_TICKER
from ops_pipeline.recipes.universe import PartitionKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb

REMEMBERED = timedelta(days=30)
# Of a dataset that gave no answer for so long it is taken that it gave none under this plan.
ANSWERED_WITHIN = timedelta(days=100)
# So many refused keys of a dataset that never answered: the plan does not hold the dataset, whether or not the vendor says it so.
MANY_KEYS = 20

_DATASET = "source, dataset, discriminator"
_ANSWERED = "promotion_kind = 'first' AND bronze_outcome IN ('stored', 'unchanged', 'empty') AND bronze_injest_end_time > $within"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the plan does not hold.

    Attributes:
        at: when the vendor said so.
        plan: the plan that was in force; None where the source has none.
        from_date: the first day that was asked for; None for a request without days.
        to_date: the last one.
    """

    at: datetime
    plan: str | None
    from_date: date | None
    to_date: date | None

    def covers(self, from_date: date | None, to_date: date | None) -> bool:
        """Whether a request for these days asks for all that was refused."""
        if self.from_date is None or self.to_date is None or from_date is None or to_date is None:
            return True
        return from_date <= self.from_date and to_date >= self.to_date

    @property
    def until(self) -> datetime:
        """When it is forgotten."""
        return self.at + REMEMBERED


@dataclass(frozen=True, slots=True)
class Refusals:
    """All that counts at a time.

    Attributes:
        keys: of single partitions.
        datasets: of whole datasets, the latest each.
    """

    keys: dict[PartitionKey, list[Refusal]] = field(default_factory=dict)
    datasets: dict[str, Refusal] = field(default_factory=dict)


def plan_refusals(connection: duckdb.DuckDBPyConnection, plans: Mapping[str, str | None], now: datetime) -> Refusals:
    """The refusals that count.

    A vendor that answers for one key of a dataset in the very run in which it refuses the whole dataset, or later, meant that key alone.

    Args:
        connection: of the warehouse.
        plans: source -> the plan in force.
        now: what was said longer than `REMEMBERED` ago is forgotten.
    """
    found = Refusals()
    since = now - REMEMBERED
    # The usual ledger has none: then a look at one column is all (a million rows: the whole query took 370 ms of processor time).
    some = f"SELECT 1 FROM {LEDGER} WHERE bronze_error_kind IN ({PLAN_KINDS_SQL}) AND bronze_injest_end_time > ? LIMIT 1"
    if connection.execute(some, [since]).fetchone() is None:
        return found
    rows = dicts(
        connection,
        f"""WITH refused AS MATERIALIZED (
            SELECT {_DATASET}, ticker, run_id, requested_from_date AS from_date, requested_to_date AS to_date, source_plan,
                bronze_error_kind AS kind, max(bronze_injest_end_time) AS told_at
            FROM {LEDGER} WHERE {NOT_IN_PLAN_SQL} AND promotion_kind = 'first' AND bronze_injest_end_time > $since GROUP BY ALL
        ),
        -- Of a dataset's answers few facts count: each refusal beside each answer were millions of pairs.
        good AS MATERIALIZED (
            SELECT {_DATASET}, run_id, source_plan, max(bronze_injest_end_time) AS told_at
            FROM {LEDGER} SEMI JOIN refused USING ({_DATASET}) WHERE {_ANSWERED} GROUP BY ALL
        ),
        mine AS MATERIALIZED (
            SELECT {_DATASET}, ticker, requested_from_date AS from_date, requested_to_date AS to_date, bronze_injest_end_time AS told_at
            FROM {LEDGER} SEMI JOIN refused USING ({_DATASET}, ticker) WHERE {_ANSWERED}
        )
        SELECT {_DATASET}, ticker, from_date, to_date, source_plan, kind, told_at,
            EXISTS (FROM mine g WHERE {_same("ticker")} AND g.told_at > r.told_at AND (r.from_date IS NULL OR g.from_date IS NULL
                OR (g.from_date <= r.from_date AND g.to_date >= r.to_date))) AS answered,
            EXISTS (FROM good g WHERE {_same()} AND (g.told_at > r.told_at OR g.run_id = r.run_id)) AS dataset_answers,
            EXISTS (FROM good g WHERE {_same()} AND g.source_plan IS NOT DISTINCT FROM r.source_plan) AS dataset_answered
        FROM refused r ORDER BY told_at""",
        {"since": since, "within": now - ANSWERED_WITHIN},
    )
    silent: dict[str, set[str]] = {}
    for row in rows:
        if row["answered"] or row["source_plan"] != plans.get(row["source"]):
            continue
        dataset = join_dataset_key(row["source"], row["dataset"], row["discriminator"])
        refusal = Refusal(row["told_at"], row["source_plan"], row["from_date"], row["to_date"])
        found.keys.setdefault(PartitionKey(row["ticker"], dataset), []).append(refusal)
        if not row["dataset_answered"] and row["ticker"] != NO_TICKER:
            silent.setdefault(dataset, set()).add(row["ticker"])
        if (row["kind"] == "plan_dataset" and not row["dataset_answers"]) or len(silent.get(dataset, ())) >= MANY_KEYS:
            found.datasets[dataset] = refusal
    return found


def _same(*more: str) -> str:
    return " AND ".join(f"g.{name} = r.{name}" for name in ("source", "dataset", "discriminator", *more))
