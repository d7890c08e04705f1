"""Which adjusted histories must be asked again as a whole.

Belongs here: the partitions of recipes with `refetch_on_restatement` that hold a restating answer, or whose splits or dividends are newer
than the history, also those of which only the rows of bulk files tell. Does not belong here: the query (`silver.restatements`), and what
happens when the answer is there (`silver.basis`).
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from ops_pipeline.gold.rows import actions_behind
from ops_pipeline.ops.watermark import last_expected
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline.silver.restatements import due_again_query

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime

    import duckdb

    from ops_pipeline.recipes.loading import Catalogue


def due_again(
    connection: duckdb.DuckDBPyConnection, catalogue: Catalogue, keys: Iterable[PartitionKey], now: datetime, today: date | None
) -> dict[PartitionKey, str]:
    """The keys whose whole history is due, with the reason; one query a dataset that declares it, none otherwise."""
    tickers: dict[str, set[str]] = defaultdict(set)
    for key in keys:
        if catalogue.recipes[key.dataset].refetch_on_restatement:
            tickers[key.dataset].add(key.ticker)
    if not tickers:
        return {}
    made = {name for (name,) in connection.execute("SELECT silver_tablename FROM ops.silver_tables").fetchall()}
    due: dict[PartitionKey, str] = {}
    for dataset, wanted in tickers.items():
        recipe = catalogue.recipes[dataset]
        actions = [catalogue.recipes[name] for name in recipe.adjusted_by if name in catalogue.recipes]
        query = due_again_query(recipe, [a for a in actions if a.silver_table in made], "$through")
        given = {"through": last_expected(recipe, now, today)} if "$through" in query else {}
        for ticker, reason in connection.execute(f"SELECT ticker, reason FROM ({query})", given).fetchall():
            if ticker in wanted:
                due.setdefault(PartitionKey(ticker, dataset), f"{reason}: the whole history is asked again")
        bulk = catalogue.recipes.get(recipe.covered_by) if recipe.covered_by else None
        if bulk and bulk.action_columns and {bulk.silver_table, recipe.silver_table} <= made:
            for ticker, day in actions_behind(connection, recipe, bulk):
                if ticker in wanted:
                    reason = f"{bulk.dataset_key} tells of a split or dividend on {day}: the whole history is asked again"
                    due.setdefault(PartitionKey(ticker, dataset), reason)
    return due
