"""Which gold rows files can change: per file and series, from the first day that changed to the last one that a formula carries it to.

Belongs here: the relation `gold_files` (file, ticker, days) for files by ticker and for bulk files, and the temp table `reached` that
follows from it. Does not belong here: the rows themselves (`rows`), building and writing them (`build`).

Beside bulk files work is bounded by what changed, and not by how much there is: of a file the rows count that it brought, and how far back
a series must be read is looked up in the newest days first. Without that a session of 10,000 symbols cost 2.2 s of the processor behind 250
sessions, and more with each year.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from ops_pipeline.gold.dimensions import siblings
from ops_pipeline.gold.rows import action_told
from ops_pipeline.recipes.models import TICKER_COLUMN
from ops_pipeline.silver.typing_sql import identifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from ops_pipeline.gold.facts import Fact
    from ops_pipeline.gold.rows import Feed
    from ops_pipeline.ops.ingestion import DatasetInjestion

END = date(9999, 12, 31)
_GOLD_FILES = pa.schema([("number", pa.int32()), ("ticker", pa.string()), ("from_date", pa.date32()), ("to_date", pa.date32())])


def files_by_ticker(connection: duckdb.DuckDBPyConnection, feed: Feed, rows: Sequence[DatasetInjestion]) -> None:
    """The temp table `gold_files` for files of one ticker each, or of a dataset without tickers.

    Beside bulk files a ticker's own file can move the day from which these count, so it reaches to the end; and what brings the first own
    row takes the place of all rows of bulk files before it.
    """
    _files(connection, [(n, r.ticker, r.silver_from_date, END if feed.bulk else r.silver_to_date) for n, r in enumerate(rows)])
    if feed.bulk is None or not feed.own:
        return
    day, bulk_day = identifier(feed.recipe.date_column or ""), identifier(feed.bulk.date_column or "")
    symbol = identifier(feed.bulk.symbol_column or "")
    connection.execute(
        f"""UPDATE gold_files SET from_date = least(gold_files.from_date, b.first_day)
        FROM (SELECT {TICKER_COLUMN} AS ticker, min({day}) AS first_day FROM {feed.recipe.silver_table}
            WHERE {TICKER_COLUMN} IN (SELECT ticker FROM gold_files) GROUP BY ALL) o
        JOIN (SELECT {symbol} AS ticker, min({bulk_day}) AS first_day FROM {feed.bulk.silver_table}
            WHERE {symbol} IN (SELECT ticker FROM gold_files) GROUP BY ALL) b USING (ticker)
        WHERE o.ticker = gold_files.ticker AND gold_files.from_date <= o.first_day"""
    )


def files_of_bulk(connection: duckdb.DuckDBPyConnection, feed: Feed, fact: Fact, rows: Sequence[DatasetInjestion]) -> None:
    """The temp table `gold_files` for bulk files: the symbols whose rows they brought or changed, and that count.

    A symbol that gold does not have yet is built from its first row on, and so is one for which a row of the file tells, or told, of a
    corporate action: its earlier adjusted prices are on another basis then.
    """
    bulk = feed.bulk
    if bulk is None:
        _files(connection, [])
        return
    day, symbol = identifier(bulk.date_column or ""), identifier(bulk.symbol_column or "")
    connection.register(
        "brought",
        pa.table(
            {
                "number": pa.array(range(len(rows)), pa.int32()),
                "file_id": pa.array([r.file_id for r in rows], pa.string()),
                "run_id": pa.array([r.origin[0] for r in rows], pa.string()),
            }
        ),
    )
    low = min((r.silver_from_date for r in rows if r.silver_from_date), default=END)
    high = max((r.silver_to_date for r in rows if r.silver_to_date), default=date.min)
    join, counts = feed.counting(bulk)
    acted = "false"
    if bulk.action_columns:
        acted = f"""EXISTS (SELECT 1 FROM {bulk.history_table} h WHERE h.{symbol} = b.{symbol} AND h.{day} = b.{day}
            AND ({action_told(bulk, "h")}))"""
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE gold_files AS SELECT f.number, b.{symbol} AS ticker, min(b.{day}) AS from_date,
            max(b.{day}) AS to_date, bool_or({acted}) AS acted
        FROM {bulk.silver_table} b JOIN brought f ON f.run_id = b.run_id AND f.file_id = b.bronze_file_id {join}
        WHERE b.{day} BETWEEN ? AND ? AND ({counts}) GROUP BY ALL""",
        [low, high],
    )
    connection.unregister("brought")
    connection.execute("CREATE OR REPLACE TEMP TABLE from_the_first AS SELECT ticker FROM gold_files WHERE acted")
    present = f"SELECT series FROM ({fact.present}) p WHERE {{}}"
    recent = present.format(f"p.date >= DATE '{low - _window(fact)}'") if low < END else present.format("false")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE absent AS SELECT ticker FROM gold_files EXCEPT {recent}")
    if connection.execute("SELECT 1 FROM absent LIMIT 1").fetchone():
        earlier = present.format("p.series IN (SELECT ticker FROM absent)")
        connection.execute(f"INSERT INTO from_the_first SELECT ticker FROM absent EXCEPT {earlier}")
    if connection.execute("SELECT 1 FROM from_the_first LIMIT 1").fetchone():
        connection.execute(
            f"""UPDATE gold_files SET from_date = b.first_day, to_date = DATE '{END}'
            FROM (SELECT {symbol} AS ticker, min({day}) AS first_day FROM {bulk.silver_table}
                WHERE {symbol} IN (SELECT ticker FROM from_the_first) GROUP BY ALL) b
            WHERE b.ticker = gold_files.ticker"""
        )
    for name in ("absent", "from_the_first"):
        connection.execute(f"DROP TABLE {name}")


def with_siblings(connection: duckdb.DuckDBPyConnection, domain: str) -> None:
    """Lets each file of `gold_files` touch the other symbols of its instruments as well."""
    found = connection.execute("SELECT number, ticker, from_date, to_date FROM gold_files").fetchall()
    others = siblings(connection, domain, (ticker for _, ticker, *_ in found))
    more = [(n, other, since, until) for n, ticker, since, until in found for other in others.get(ticker, ())]
    if more:
        _files(connection, [*found, *more])


def reach_of_files(connection: duckdb.DuckDBPyConnection, feed: Feed, fact: Fact) -> date | None:
    """The temp table `reached`: per file and series, the first day that changed, from where silver must be read, and the last day reached.

    Days are found by counting the series' own rows, so that sparse series get as much as dense ones and no more: the farthest of the
    so many nearest days, which DuckDB keeps in a heap, without sorting the series.

    Returns:
        a day since which most series have all rows that are needed, so that earlier ones need to be looked at for the others alone;
        None: of no use.
    """
    recipe = feed.recipe
    day, series = f"s.{identifier(recipe.date_column or '')}", identifier(fact.series)
    if recipe.per_ticker or recipe.symbol_column:
        wanted, mine = "SELECT DISTINCT ticker AS series FROM gold_files", "f.ticker = w.series"
    else:
        wanted, mine = f"{feed.names(fact.series)} UNION SELECT series FROM ({fact.present})", "true"
    found = f"""WITH wanted AS MATERIALIZED ({wanted})
        SELECT f.number, w.series, f.from_date,
            coalesce(list_min(max({day}, {fact.reach + 1}) FILTER ({day} < f.from_date)), f.from_date) AS read_from,
            coalesce(list_max(min({day}, {fact.reach}) FILTER ({day} > f.to_date)), f.to_date) AS build_to
        FROM {{}} f JOIN wanted w ON {mine} LEFT JOIN {{}} s ON s.{series} = w.series
        GROUP BY f.number, w.series, f.from_date, f.to_date"""
    usual: date | None
    (usual,) = connection.execute("SELECT quantile_disc(from_date, 0.1) FROM gold_files").fetchone() or (None,)
    if feed.bulk is None or usual is None:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE reached AS {found.format('gold_files', feed.rows())}")
        connection.execute("DROP TABLE gold_files")
        return None
    since: date = usual - _window(fact)
    newest = f"(SELECT * FROM {feed.rows()} s WHERE {day} >= DATE '{since}')"
    ordinary = f"(SELECT * FROM gold_files WHERE from_date >= DATE '{usual}')"
    enough = f"HAVING count(*) FILTER ({day} < f.from_date) > {fact.reach}"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE reached AS {found.format(ordinary, newest)} {enough}")
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE left_files AS FROM gold_files f ANTI JOIN reached r ON (r.number, r.series) = (f.number, f.ticker)"
    )
    if connection.execute("SELECT 1 FROM left_files LIMIT 1").fetchone():
        rare = f"(SELECT * FROM {feed.rows()} s WHERE s.{series} IN (SELECT ticker FROM left_files))"
        connection.execute(f"INSERT INTO reached {found.format('left_files', rare)}")
    for name in ("gold_files", "left_files"):
        connection.execute(f"DROP TABLE {name}")
    return since


def _window(fact: Fact) -> timedelta:
    """Calendar days that hold as many sessions as a formula looks back, and some more."""
    return timedelta(days=3 * (fact.reach + 1))


def _files(connection: duckdb.DuckDBPyConnection, rows: Sequence[tuple[int, str, date | None, date | None]]) -> None:
    columns = list(zip(*rows, strict=True)) or [()] * len(_GOLD_FILES)
    table = pa.table([pa.array(list(v), f.type) for v, f in zip(columns, _GOLD_FILES, strict=True)], schema=_GOLD_FILES)
    connection.register("listed_files", table)
    connection.execute("CREATE OR REPLACE TEMP TABLE gold_files AS SELECT * FROM listed_files")
    connection.unregister("listed_files")
