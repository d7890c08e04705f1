"""What we knew when: silver and gold as of a time.

Belongs here: gold's as-of macros, and reading either layer as of a time with the sentence about what the answer rests on. Does not belong
here: the history's queries (`silver.as_of`), formulas (`facts`), and printing.

Gold as of a time is what the builder makes of silver as of that time: the same SQL over other rows. Identity is today's: a rename that we
learnt of later is applied to the past as well, since it moves no figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops_pipeline.errors import UserError
from ops_pipeline.gold.facts import fact_of
from ops_pipeline.gold.rows import Feed, feed_of
from ops_pipeline.ops.objects import MOMENT, SqlObject, ensure_objects
from ops_pipeline.silver.as_of import Clock, default_clock, state_query
from ops_pipeline.silver.typing_sql import identifier

if TYPE_CHECKING:
    from datetime import date, datetime

    import duckdb
    import pyarrow as pa

    from ops_pipeline.recipes.models import Recipe


@dataclass(frozen=True, slots=True)
class AsOf:
    """A layer as of a time.

    Attributes:
        table: the rows, in the order of their key.
        clock: by which clock.
        basis: what the answer rests on, in one sentence.
        truncated: whether there are more rows than the limit.
    """

    table: pa.Table
    clock: Clock
    basis: str
    truncated: bool = False


def gold_query(feed: Feed, clock: Clock, moment: str = MOMENT) -> str:
    """SQL for the gold rows that come from a feed, as they stood; `series` is the ticker or currency.

    Args:
        feed: where the rows come from; not empty.
        clock: of the feed's recipe; bulk files go by their default one.
        moment: the time, as SQL.

    Raises:
        ValueError: when the recipe feeds no gold object.
    """
    fact = fact_of(feed.recipe)
    columns = ", ".join([*fact.key, *fact.values, "bronze_file_id", "run_id", "known_at", "series"])
    rows = feed.rows(lambda r: f"({state_query(r, clock if r is feed.recipe else default_clock(r), moment)})")
    return f"""WITH series_rows AS (SELECT *, {identifier(fact.series)} AS _series FROM {rows})
        SELECT {columns} FROM ({fact.query}) {fact.one_a_key}"""


def ensure_macros(connection: duckdb.DuckDBPyConnection, feed: Feed) -> None:
    """Makes `gold.<silver table>_as_of(T)` and, over all datasets that feed the fact, `gold.<fact>_as_of(T)`."""
    table = fact_of(feed.recipe).table
    about = f"{table} as it stood at a time: what the builder makes of silver as it stood then, by each dataset's default clock."
    query = gold_query(feed, default_clock(feed.recipe))
    ensure_objects(connection, [SqlObject(f"gold.{feed.recipe.table}_as_of", "macro", query, about, part_of=f"{table}_as_of")])


def silver_as_of(
    connection: duckdb.DuckDBPyConnection,
    recipe: Recipe,
    moment: datetime,
    *,
    clock: Clock | None = None,
    ticker: str | None = None,
    day: date | None = None,
    limit: int | None = None,
) -> AsOf:
    """Silver's rows of a dataset as they stood.

    Args:
        connection: for reading.
        recipe: the dataset's recipe.
        moment: the time, with a zone.
        clock: default: available where the recipe declares `available_at`, else known.
        ticker: only this ticker, where the dataset has tickers.
        day: only this day, where the dataset has dates.
        limit: at most so many rows.

    Raises:
        UserError: nothing was ever stored of the dataset, it has no such clock, or no tickers or dates where one is given.
    """
    where = {"ticker" if recipe.per_ticker else None: ticker, recipe.date_column: day}
    return _read(connection, recipe, moment, clock, where, ", ".join(map(identifier, recipe.silver_key)), limit)


def gold_as_of(
    connection: duckdb.DuckDBPyConnection,
    recipe: Recipe,
    moment: datetime,
    *,
    clock: Clock | None = None,
    ticker: str | None = None,
    day: date | None = None,
    limit: int | None = None,
    bulk: Recipe | None = None,
) -> AsOf:
    """The gold rows that a dataset feeds as they stood; arguments and errors as of `silver_as_of`, a currency being a `ticker` here.

    `bulk` is the dataset that continues it.
    """
    if recipe.gold is None:
        raise UserError(f"{recipe.dataset_key} feeds no gold table; ask for its silver rows.")
    feed = feed_of(connection, recipe, bulk)
    return _read(connection, recipe, moment, clock, {"series": ticker, "date": day}, "series, date", limit, feed)


def _read(
    connection: duckdb.DuckDBPyConnection,
    recipe: Recipe,
    moment: datetime,
    clock: Clock | None,
    where: dict[str | None, Any],
    order: str,
    limit: int | None,
    feed: Feed | None = None,
) -> AsOf:
    if moment.tzinfo is None:
        raise UserError(f"{moment} names no time zone; write one, such as {moment.isoformat()}+00:00.")
    clock = clock or default_clock(recipe)
    if clock is Clock.AVAILABLE and recipe.available_at is None:
        raise UserError(
            f"the recipe of {recipe.dataset_key} does not say when a record became public (available_at); use the clock known."
        )
    unusable = [str(value) for name, value in where.items() if name is None and value is not None]
    if unusable:
        raise UserError(f"{recipe.dataset_key} cannot be narrowed to {unusable[0]}: its rows have no such column.")
    told = feed.bulk if feed and feed.bulk and not feed.own else recipe  # whose history says what the answer rests on
    if not _is_table(connection, told.history_table):
        raise UserError(f"nothing was ever stored of {recipe.dataset_key}; run it first.")
    query = gold_query(feed, clock, "$moment") if feed else state_query(recipe, clock, "$moment")
    given = {name: value for name, value in where.items() if name is not None and value is not None}
    conditions = " AND ".join(["true", *(f"{identifier(name)} = ${name}" for name in given)])
    cut = f" LIMIT {limit + 1}" if limit is not None else ""
    found = connection.execute(
        f"SELECT * FROM ({query}) WHERE {conditions} ORDER BY {order}{cut}", {"moment": moment, **given}
    ).to_arrow_table()
    truncated = limit is not None and found.num_rows > limit
    table = found.slice(0, limit) if truncated else found
    return AsOf(table, clock, _basis(connection, told, clock, moment), truncated)


def _is_table(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    schema, table = name.split(".")
    found = connection.execute(
        "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = ? AND table_name = ?",
        [schema, table],
    ).fetchone()
    return found is not None


def _basis(connection: duckdb.DuckDBPyConnection, recipe: Recipe, clock: Clock, moment: datetime) -> str:
    first, last = connection.execute(
        f"SELECT epoch_us(min(known_at)), epoch_us(max(known_at) FILTER (known_at <= ?)) FROM {recipe.history_table}", [moment]
    ).fetchone() or (None, None)
    if first is None:
        return f"Nothing was ever merged of {recipe.dataset_key}."
    if clock is Clock.AVAILABLE:
        said = f"when the vendor says that each record was public ({recipe.available_at}); what it does not date counts since it was stored"
        if last is None:
            return f"Before the first answer, stored {_time(first)}: rests on the values stored since, and on {said}."
        return f"Rests on {said}."
    if last is None:
        return f"Before the first answer, stored {_time(first)}: nothing was known of {recipe.dataset_key} then, so there are no rows."
    return f"Rests on what was stored by then; the newest change that counts was stored {_time(last)}."


def _time(microseconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(microseconds / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
