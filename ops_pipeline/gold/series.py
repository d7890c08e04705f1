"""Series for people: what a chart draws, each point with the file that it came from.

Belongs here: bounded, read-only queries on facts and silver tables. Does not belong here: building facts (`build`), drawing them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from ops_pipeline.gold.facts import fact_of
from ops_pipeline.silver.typing_sql import identifier

if TYPE_CHECKING:
    from datetime import date, datetime

    from ops_pipeline.recipes.models import Recipe

MAX_POINTS = 10_000


@dataclass(frozen=True, slots=True)
class Point:
    """One date of a series.

    Attributes:
        date: the session or day.
        values: figures by column; what is absent is None.
        file_id: the file that the row came from, as the ledger names it.
        run_id: the run that fetched the file.
        known_at: when the file was stored (UTC).
    """

    date: date
    values: dict[str, float | None]
    file_id: str
    run_id: str
    known_at: datetime


PRICE_COLUMNS = ("close", "split_adjusted_close", "adjusted_close", "volume", "simple_return", "volatility_20d")
FX_COLUMNS = ("rate", "simple_return")
SERIES_COLUMNS = ("value", "change")


def series_names(connection: duckdb.DuckDBPyConnection, recipe: Recipe, *, limit: int = 5000) -> list[str]:
    """The series of a dataset's silver table: its tickers, or the values of its first key column that is no date.

    None where there is no table yet.     A table with one row a date and nothing else in its key is one series, whose name is empty.
    """
    column = series_column(recipe)
    try:
        if column is None:
            return [""] if connection.execute(f"SELECT 1 FROM {recipe.silver_table} LIMIT 1").fetchone() else []
        found = connection.execute(
            f"SELECT DISTINCT {identifier(column)}::VARCHAR FROM {recipe.silver_table} ORDER BY 1 LIMIT ?", [limit]
        ).fetchall()
    except duckdb.CatalogException:
        return []
    return [name for (name,) in found]


def series_column(recipe: Recipe) -> str | None:
    """The silver column that tells a dataset's series apart; None where the whole table is one."""
    return next((name for name in recipe.silver_key if name != recipe.date_column), None)


def numeric_columns(recipe: Recipe) -> list[str]:
    """The silver columns that a chart can draw, in the recipe's order."""
    return [c.name for c in recipe.columns if c.type in ("double", "integer") and c.name not in recipe.silver_key]


def price_points(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, ticker: str, since: date | None = None, *, limit: int = MAX_POINTS
) -> list[Point]:
    """The newest points of an instrument's prices in `gold.fact_eod`, in order of date, those under its earlier symbols included."""
    query = f"SELECT * FROM ({fact_of(recipe).present}) WHERE series = $series"
    return points(connection, query, "date", PRICE_COLUMNS, {"series": ticker}, since, limit)


def fx_points(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, currency: str, since: date | None = None, *, limit: int = MAX_POINTS
) -> list[Point]:
    """The newest points of a currency's rates against the euro in `gold.fact_fx`, in order of date."""
    query = "SELECT * FROM gold.fact_fx WHERE currency = $series AND source = $source"
    return points(connection, query, "date", FX_COLUMNS, _of(recipe, currency), since, limit)


def observation_points(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, series_id: str, since: date | None = None, *, limit: int = MAX_POINTS
) -> list[Point]:
    """The newest observations of an economic series in `gold.fact_series`, in order of date."""
    query = "SELECT * FROM gold.fact_series WHERE series_id = $series AND source = $source"
    return points(connection, query, "date", SERIES_COLUMNS, _of(recipe, series_id), since, limit)


def silver_points(
    connection: duckdb.DuckDBPyConnection,
    recipe: Recipe,
    series: str,
    column: str,
    since: date | None = None,
    *,
    limit: int = MAX_POINTS,
) -> list[Point]:
    """The newest points of one numeric column of silver, in order of date.

    Raises:
        ValueError: for a column that the recipe does not have, or a dataset without dates.
    """
    if column not in numeric_columns(recipe) or recipe.date_column is None:
        raise ValueError(f"{recipe.dataset_key} has no series of {column!r}")
    name = series_column(recipe)
    where = "true" if name is None else f"{identifier(name)}::VARCHAR = $series"
    query = f"SELECT * FROM {recipe.silver_table} WHERE {where}"
    parameters: dict[str, object] = {} if name is None else {"series": series}
    return points(connection, query, recipe.date_column, (column,), parameters, since, limit)


def newest_rows(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, ticker: str, *, limit: int = 5
) -> tuple[list[str], list[tuple[object, ...]]]:
    """The names of a silver table's own columns, and its newest rows of one ticker, or of the whole dataset where it has none.

    Raises:
        duckdb.CatalogException: when the table does not exist yet.
    """
    names = [name for name, _ in recipe.silver_columns]
    where, parameters = ("ticker = ?", [ticker]) if recipe.per_ticker else ("true", [])
    order = f"ORDER BY {identifier(recipe.date_column)} DESC" if recipe.date_column else "ORDER BY known_at DESC"
    found = connection.execute(
        f"""SELECT {", ".join(identifier(n) for n in names)} FROM {recipe.silver_table} WHERE {where} {order}
        LIMIT {max(1, min(limit, MAX_POINTS))}""",
        parameters,
    ).fetchall()
    return names, found


def _of(recipe: Recipe, series: str) -> dict[str, object]:
    return {"series": series, "source": recipe.source}


def points(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    day: str,
    columns: tuple[str, ...],
    parameters: dict[str, object],
    since: date | None = None,
    limit: int = MAX_POINTS,
) -> list[Point]:
    """The newest points of a query's rows, in order of date; the rows have lineage, the day and the columns."""
    listed = ", ".join(f"{identifier(c)}::DOUBLE" for c in columns)
    bound = "" if since is None else f"AND {identifier(day)} >= $since"
    given = parameters if since is None else {**parameters, "since": since}
    found = connection.execute(
        f"""SELECT {identifier(day)}, bronze_file_id, run_id, known_at, {listed} FROM ({query}) WHERE true {bound}
        ORDER BY {identifier(day)} DESC LIMIT {max(1, min(limit, MAX_POINTS))}""",
        given,
    ).fetchall()
    return [
        Point(row[0], dict(zip(columns, row[4:], strict=True)), file_id=row[1], run_id=row[2], known_at=row[3])
        for row in reversed(found)
    ]
