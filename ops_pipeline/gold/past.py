"""Series as they stood at an earlier time, and the times at which they changed.

Belongs here: bounded queries for one series, for a chart with a slider. Does not belong here: whole tables as of a time (`as_of`), and
series as they are (`series`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import duckdb

from ops_pipeline.gold.as_of import gold_query
from ops_pipeline.gold.rows import feed_of
from ops_pipeline.gold.series import FX_COLUMNS, PRICE_COLUMNS, SERIES_COLUMNS, Point, points, series_column
from ops_pipeline.silver.as_of import change_times, default_clock, state_query
from ops_pipeline.silver.typing_sql import identifier

if TYPE_CHECKING:
    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.silver.as_of import Clock

MAX_TIMES = 500
"""A slider of more stops than pixels cannot be set."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

GOLD_COLUMNS = {"fact_eod": PRICE_COLUMNS, "fact_fx": FX_COLUMNS, "fact_series": SERIES_COLUMNS}


@dataclass(frozen=True, slots=True)
class Past:
    """When a series changed, by the dataset's default clock.

    Attributes:
        clock: known (since we stored it) or available (since the vendor made it public).
        times: the newest times at which it changed, in order.
    """

    clock: Clock
    times: list[datetime]


def past_of(connection: duckdb.DuckDBPyConnection, recipe: Recipe, name: str) -> Past:
    """The times at which a series of a dataset changed; none where nothing was ever merged of it."""
    clock = default_clock(recipe)
    where, given = _where(recipe, name)
    try:
        found = connection.execute(
            f"""SELECT DISTINCT epoch_us(moment) FROM ({change_times(recipe, clock)}) WHERE {where} AND moment IS NOT NULL
            ORDER BY 1 DESC LIMIT {MAX_TIMES}""",
            given,
        ).fetchall()
    except duckdb.CatalogException:
        found = []
    return Past(clock, [_EPOCH + timedelta(microseconds=us) for (us,) in reversed(found)])


def points_as_of(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, name: str, column: str, moment: datetime, bulk: Recipe | None = None
) -> list[Point]:
    """The points of one series as they stood at a time, by the dataset's default clock: of gold where it feeds a fact, else of silver.

    `bulk` is the dataset that continues it.

    Raises:
        ValueError: for a silver dataset without dates.
    """
    clock = default_clock(recipe)
    if recipe.gold is not None:
        query = f"SELECT * FROM ({gold_query(feed_of(connection, recipe, bulk), clock, '$moment')}) WHERE series = $series"
        return points(connection, query, "date", GOLD_COLUMNS[recipe.gold.object], {"series": name, "moment": moment})
    if recipe.date_column is None:
        raise ValueError(f"{recipe.dataset_key} has no dates")
    where, given = _where(recipe, name)
    query = f"SELECT * FROM ({state_query(recipe, clock, '$moment')}) WHERE {where}"
    return points(connection, query, recipe.date_column, (column,), {**given, "moment": moment})


def _where(recipe: Recipe, name: str) -> tuple[str, dict[str, object]]:
    column = series_column(recipe)
    return ("true", {}) if column is None else (f"{identifier(column)}::VARCHAR = $series", {"series": name})
