"""Tickers that need no request, since bulk files hold their days.

Belongs here: which tickers of a dataset with `covered_by` have every session behind their own history in the bulk dataset's rows. Does not
belong here: what such rows become (`gold.rows`), and the other decisions of a plan (`plan`).

All or nothing: a ticker that the files lack on one session is asked as if there were no files, from the end of its own history, so that
this history has no hole and stands on one adjustment basis. So is one for which the files tell of a split or dividend behind it
(`action_columns`): the basis of its history is old then.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from ops_pipeline.gold.rows import action_told
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.ops.wanted import registered
from ops_pipeline.ops.watermark import Span, last_expected
from ops_pipeline.recipes.models import NO_TICKER, ONE_DAY
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline.silver.typing_sql import identifier

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date, datetime

    import duckdb

    from ops_pipeline.engine.context import Context
    from ops_pipeline.ops.sessions import Sessions
    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.recipes.universe import Universe

# A session's bulk file may come late or fail for a night or two: for so long its tickers are not asked for one by one.
WAITED_FOR = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Cover:
    """What bulk files spare a ticker.

    Attributes:
        span: the days behind its own history.
        reason: by which dataset, in a few words.
    """

    span: Span
    reason: str


def coverable(context: Context, universe: Universe, datasets: Iterable[str]) -> dict[str, Sessions]:
    """The sessions of those datasets that wanted bulk files may cover; none, as a rule."""
    recipes = [context.catalogue.recipes[name] for name in datasets]
    wanted = [r for r in recipes if r.covered_by and PartitionKey(NO_TICKER, r.covered_by) in universe]
    return {r.dataset_key: context.calendars.of(r) for r in wanted}


def covers(
    connection: duckdb.DuckDBPyConnection,
    context: Context,
    universe: Universe,
    coverable: Mapping[str, Sessions],
    islands: Mapping[PartitionKey, Sequence[Span]],
    keys: Iterable[PartitionKey],
    now: datetime,
    today: date | None,
) -> dict[PartitionKey, Cover]:
    """The covered ones among the keys; a ticker without a history of its own never is, as it is asked for that.

    Args:
        connection: for reading.
        context: the home.
        universe: the wanted partitions.
        coverable: from `coverable`, made without the lock: a calendar may have to be computed.
        islands: the days that each key's own answers cover.
        keys: the keys in question.
        now: the time that decides what is settled.
        today: a day to pretend.
    """
    recipes = context.catalogue.recipes
    found: dict[PartitionKey, Cover] = {}
    for dataset, sessions in coverable.items():
        recipe = recipes[dataset]
        bulk = recipes[recipe.covered_by or ""]
        if OpsRepo(connection).silver_columns_hash(bulk.silver_table) is None:
            continue
        # Without its splits at hand nothing would tell that a history's basis is old.
        ends = {
            key: islands[key][-1].to_date
            for key in keys
            if key.dataset == dataset
            and key in islands
            and all(PartitionKey(key.ticker, n) in universe for n in recipe.adjusted_by)
        }
        found.update(_covered(connection, bulk, sessions, ends, sessions.last_until(last_expected(recipe, now, today))))
    return found


def _covered(
    connection: duckdb.DuckDBPyConnection, bulk: Recipe, calendar: Sessions, ends: Mapping[PartitionKey, date], end: date
) -> dict[PartitionKey, Cover]:
    behind = {key: day for key, day in ends.items() if day < end}
    if not behind:
        return {}
    day, symbol = identifier(bulk.date_column or ""), identifier(bulk.symbol_column or "")
    first = min(behind.values()) + ONE_DAY
    (newest,) = connection.execute(f"SELECT max({day}) FROM {bulk.silver_table} WHERE {day} <= ?", [end]).fetchone() or (None,)
    if newest is None or newest <= end - WAITED_FOR:
        return {}  # no file for so long: they spare nothing
    found = connection.execute(f"SELECT DISTINCT {day} FROM {bulk.silver_table} WHERE {day} >= ?", [first]).fetchall()
    answered = {answered_day for (answered_day,) in found}
    sessions = calendar.between(first, end)
    awaited = [d for d in sessions if d not in answered and d > end - WAITED_FOR]
    # The files' rows behind a day on which they tell of an action are on another basis than the history before it.
    action = f"b.{day} > w.since AND ({action_told(bulk, 'b')})" if bulk.action_columns else "false"
    expected = pa.table({"day": pa.array([d for d in sessions if d not in awaited], pa.date32())})
    table = pa.table(
        {
            "number": pa.array(range(len(behind)), pa.int32()),
            "ticker": pa.array([key.ticker for key in behind], pa.string()),
            "since": pa.array(list(behind.values()), pa.date32()),
        }
    )
    with registered(connection, "expected", expected), registered(connection, "wanted", table):
        # What is awaited is no reason to ask.
        found = connection.execute(
            f"""SELECT w.number FROM wanted w LEFT JOIN (SELECT w.number, count(*) AS held FROM wanted w
                    JOIN {bulk.silver_table} b ON b.{symbol} = w.ticker AND b.{day} > w.since
                    JOIN expected e ON e.day = b.{day} WHERE b.{day} >= ? GROUP BY w.number) h USING (number)
            JOIN (SELECT w.since, count(e.day) AS due FROM (SELECT DISTINCT since FROM wanted) w LEFT JOIN expected e ON e.day > w.since
                GROUP BY w.since) d ON d.since = w.since
            WHERE coalesce(h.held, 0) = d.due
            AND NOT EXISTS (SELECT 1 FROM {bulk.silver_table} b WHERE b.{symbol} = w.ticker AND {action})""",
            [first],
        ).fetchall()
    late = f"; its file of {awaited[0]} is awaited" if awaited else ""
    reason = f"covered by {bulk.dataset_key} through {newest}{late}"
    keys = list(behind)
    return {keys[n]: Cover(Span(behind[keys[n]] + ONE_DAY, end, behind[keys[n]] + ONE_DAY), reason) for (n,) in found}
