"""The transaction that promotes files to gold.

Belongs here: `commit_gold`: which rows a change can reach, building them from silver inside the write transaction, writing only what
changed, and the ledger rows with it; and `rebuild`, the same over everything. Does not belong here: formulas (`facts`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from ops_pipeline.clock import utc_now
from ops_pipeline.gold import as_of
from ops_pipeline.gold.dimensions import ensure_instruments, has_renamed, refresh_dates, siblings
from ops_pipeline.gold.facts import Fact, fact_of
from ops_pipeline.gold.rows import LINEAGE, last_days, silver_rows, where_it_is
from ops_pipeline.ops.ingestion import DatasetInjestion, Stage
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.recipes.models import TICKER_COLUMN
from ops_pipeline.silver.typing_sql import identifier

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import duckdb

    from ops_pipeline.recipes.models import Recipe


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows of a fact that a build wrote; rows whose figures stayed and only their lineage moved are not counted."""

    created: int = 0
    updated: int = 0
    deleted: int = 0


def commit_gold(
    connection: duckdb.DuckDBPyConnection,
    recipe: Recipe,
    files: Sequence[DatasetInjestion],
    run_id: str,
    *,
    bulk: Recipe | None = None,
) -> list[DatasetInjestion]:
    """Builds the gold rows that the files' changes can reach and writes the files' ledger rows.

    A file that is built again, because a late one was merged before it, keeps the rows that it built before in its counts.

    Args:
        connection: inside the caller's exclusive transaction.
        recipe: the files' dataset; it feeds a gold object.
        bulk: the dataset that continues it. Its files are built by this too: then `recipe` is still the dataset by ticker.
        files: ledger rows that are ready for gold, whole partitions in the order of application.
        run_id: the run that promotes.

    Returns:
        the ledger rows as written; files that another run promoted meanwhile are left out.
    """
    repo = OpsRepo(connection)
    fresh = repo.get(f.key for f in files)
    rows = sorted((r for r in fresh.values() if r.silver_can_promote), key=lambda r: r.order)
    if not rows:
        return []
    now = utc_now()
    before = [(row.gold_rows_created, row.gold_rows_updated) for row in rows]
    of_bulk = bulk is not None and rows[0].dataset_key == bulk.dataset_key
    for row in rows:
        row.gold_started(bulk if of_bulk and bulk else recipe, run_id, now)
    counts = (
        {}
        if of_bulk and not where_it_is(connection, recipe)
        else _reach_and_build(connection, recipe, rows, bulk, of_bulk=of_bulk)
    )
    refresh_dates(connection)
    for number, (row, (created, updated)) in enumerate(zip(rows, before, strict=True)):
        more_created, more_updated = counts.get(number, (0, 0))
        row.gold_finished(created + more_created, updated + more_updated, row.silver_from_date, row.silver_to_date)
    repo.upsert(rows, Stage.GOLD)
    return rows


def _reach_and_build(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, rows: Sequence[DatasetInjestion], bulk: Recipe | None, *, of_bulk: bool
) -> dict[int, tuple[int, int]]:
    """Builds what the files can reach; file number -> gold rows that it created and updated."""
    fact, bulk = fact_of(recipe), where_it_is(connection, bulk)
    as_of.ensure_macros(connection, recipe, bulk)
    renamed = fact.of_instruments and has_renamed(connection, recipe.domain)
    by_ticker = [(n, row.ticker) for n, row in enumerate(rows)]
    listed = _touched_by_bulk(connection, recipe, bulk, rows) if of_bulk and bulk else by_ticker
    _register_files(connection, rows, listed, siblings(connection, recipe.domain, (t for _, t in listed)) if renamed else {})
    _reach_of_files(connection, recipe, fact, bulk)
    connection.unregister("gold_files")
    if renamed:
        # Of a day that one symbol's change reaches, the other symbol's row must be at hand as well: it may be the one that holds.
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE reached AS SELECT * REPLACE (max(build_to) OVER (PARTITION BY number) AS build_to) FROM reached"
        )
    _build(connection, recipe, fact, bulk, renamed=renamed)
    counts = _attribute(connection)
    _write(connection, fact)
    return counts


def rebuild(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, series: Iterable[str] | None = None, *, bulk: Recipe | None = None
) -> Changes:
    """Computes gold rows of a dataset anew from silver and writes those that differ; inside the caller's transaction.

    Args:
        connection: inside the caller's exclusive transaction.
        recipe: the dataset; it feeds a gold object.
        series: of these series alone, and with all symbols of an instrument among them; None: every row.
        bulk: the dataset that continues it.
    """
    fact, bulk = fact_of(recipe), where_it_is(connection, bulk)
    if OpsRepo(connection).silver_columns_hash(recipe.silver_table) is None:
        return Changes()  # nothing was ever promoted
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE reached AS SELECT 0 AS number, series, DATE '0001-01-01' AS from_date,
            DATE '0001-01-01' AS read_from, DATE '9999-12-31' AS build_to
        FROM (SELECT {identifier(fact.series)} AS series FROM {recipe.silver_table} UNION SELECT series FROM ({fact.present}))
        WHERE ? IS NULL OR list_contains(?, series)""",
        [None if series is None else list(series)] * 2,
    )
    _build(connection, recipe, fact, bulk, renamed=fact.of_instruments and has_renamed(connection, recipe.domain))
    acts = _write(connection, fact)
    refresh_dates(connection)
    return Changes(acts.get("C", 0), acts.get("U", 0), acts.get("D", 0))


def _touched_by_bulk(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, bulk: Recipe, rows: Sequence[DatasetInjestion]
) -> list[tuple[int, str]]:
    """(file number, ticker): the tickers whose own history a bulk file continues, and whose rows it may have changed."""
    day, symbol = identifier(bulk.date_column or ""), identifier(bulk.symbol_column or "")
    listed: list[tuple[int, str]] = []
    for number, row in enumerate(rows):
        found = connection.execute(
            f"""SELECT DISTINCT o.{TICKER_COLUMN} FROM ({last_days(recipe)}) o SEMI JOIN {bulk.silver_table} b
            ON b.{symbol} = o.{TICKER_COLUMN} AND b.{day} > o.last_day AND b.{day} BETWEEN ? AND ?""",
            [row.silver_from_date, row.silver_to_date],
        ).fetchall()
        listed += [(number, ticker) for (ticker,) in found]
    return listed


def _register_files(
    connection: duckdb.DuckDBPyConnection,
    rows: Sequence[DatasetInjestion],
    touched: Iterable[tuple[int, str]],
    others: Mapping[str, Sequence[str]],
) -> None:
    """The relation `gold_files`: a file once for each ticker that it touches, and once for each other symbol of its instruments."""
    listed = [(n, ticker, rows[n]) for n, own in touched for ticker in (own, *others.get(own, ()))]
    connection.register(
        "gold_files",
        pa.table(
            {
                "number": pa.array([n for n, _, _ in listed], pa.int32()),
                "ticker": pa.array([ticker for _, ticker, _ in listed], pa.string()),
                "from_date": pa.array([r.silver_from_date for _, _, r in listed], pa.date32()),
                "to_date": pa.array([r.silver_to_date for _, _, r in listed], pa.date32()),
            }
        ),
    )


def _reach_of_files(connection: duckdb.DuckDBPyConnection, recipe: Recipe, fact: Fact, bulk: Recipe | None) -> None:
    """The temp table `reached`: per file and series, the first day that changed, from where silver must be read, and the last day reached.

    Days are found by counting the series' own rows, so that sparse series get as much as dense ones and no more: the farthest of the
    so many nearest days, which DuckDB keeps in a heap, without sorting the series.
    """
    day, series = f"s.{identifier(recipe.date_column or '')}", identifier(fact.series)
    if recipe.per_ticker:
        wanted, mine = "SELECT DISTINCT ticker AS series FROM gold_files", "f.ticker = w.series"
    else:
        wanted, mine = f"SELECT {series} AS series FROM {recipe.silver_table} UNION SELECT series FROM ({fact.present})", "true"
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE reached AS WITH wanted AS MATERIALIZED ({wanted})
        SELECT f.number, w.series, f.from_date,
            coalesce(list_min(max({day}, {fact.reach + 1}) FILTER ({day} < f.from_date)), f.from_date) AS read_from,
            coalesce(list_max(min({day}, {fact.reach}) FILTER ({day} > f.to_date)), f.to_date) AS build_to
        FROM gold_files f JOIN wanted w ON {mine} LEFT JOIN {silver_rows(recipe, bulk)} s ON s.{series} = w.series
        GROUP BY f.number, w.series, f.from_date, f.to_date"""
    )


def _build(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, fact: Fact, bulk: Recipe | None = None, *, renamed: bool = False
) -> None:
    """The temp view `built`: every gold row in reach as it must be.

    Its `act` is C, U, N, L for a row whose figures stay and come from another file now, or D for one that silver no longer has.
    """
    day, series = identifier(recipe.date_column or ""), identifier(fact.series)
    if recipe.per_ticker:
        found = connection.execute(
            f"SELECT DISTINCT s.{series} FROM {recipe.silver_table} s SEMI JOIN reached t ON s.{series} = t.series"
        ).fetchall()
        ensure_instruments(connection, recipe.domain, (row[0] for row in found))
    in_reach = "EXISTS (SELECT 1 FROM reached t WHERE t.series = {0}.series AND {0}.date BETWEEN t.from_date AND t.build_to)"
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE computed AS
        WITH series_rows AS (SELECT s.*, t.series AS _series FROM {silver_rows(recipe, bulk)} s
            JOIN (SELECT series, min(read_from) AS low, max(build_to) AS high FROM reached GROUP BY series) t
            ON s.{series} = t.series AND s.{day} BETWEEN t.low AND t.high)
        SELECT q.* FROM ({fact.query}) q WHERE {in_reach.format("q")} {fact.one_a_key if renamed else ""}"""
    )
    low, high = connection.execute("SELECT min(from_date), max(build_to) FROM reached").fetchone() or (None, None)
    bounds = "true" if low is None or high is None else f"date BETWEEN DATE '{low.isoformat()}' AND DATE '{high.isoformat()}'"
    present = f"SELECT {{}} FROM ({fact.present}) g WHERE {bounds} AND {in_reach.format('g')}"
    if connection.execute(f"{present.format('1')} LIMIT 1").fetchone() is None:
        # Nothing to compare with, as always when days are added at the end: the rows need not be copied once more.
        connection.execute("CREATE OR REPLACE TEMP VIEW built AS SELECT *, 'C' AS act FROM computed")
        return
    same = " AND ".join(f"g.{k} = c.{k}" for k in fact.key)
    # The same file as silver's row: a gold row follows it even where its figures stay.
    differs = f"({', '.join(f'c.{v}' for v in fact.values)}) IS DISTINCT FROM ({', '.join(f'g.{v}' for v in fact.values)})"
    moved = f"({', '.join(f'c.{v}' for v in LINEAGE)}) IS DISTINCT FROM ({', '.join(f'g.{v}' for v in LINEAGE)})"
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE compared AS SELECT c.*,
            CASE WHEN g.built_at IS NULL THEN 'C' WHEN {differs} THEN 'U' WHEN {moved} THEN 'L' ELSE 'N' END AS act
        FROM computed c LEFT JOIN (SELECT * FROM {fact.table} WHERE {bounds}) g ON {same}"""
    )
    keys = ", ".join(fact.key)
    gone = f"{present.format('g.*')} AND NOT EXISTS (SELECT 1 FROM computed c WHERE {same})"
    connection.execute(
        f"INSERT INTO compared ({keys}, series, act) SELECT {keys}, min(series), 'D' FROM ({gone}) GROUP BY {keys}"
    )
    connection.execute("CREATE OR REPLACE TEMP VIEW built AS SELECT * FROM compared")


def _attribute(connection: duckdb.DuckDBPyConnection) -> dict[int, tuple[int, int]]:
    """File number -> (created, updated): each row whose figures changed belongs to the newest file that reaches it."""
    found = connection.execute(
        """SELECT number, count(*) FILTER (act = 'C'), count(*) FILTER (act = 'U') FROM (
            SELECT b.series, b.date, b.act, max(t.number) AS number FROM built b
            JOIN reached t ON t.series = b.series AND b.date BETWEEN t.from_date AND t.build_to
            WHERE b.act IN ('C', 'U') GROUP BY b.series, b.date, b.act) GROUP BY number"""
    ).fetchall()
    return {number: (created, updated) for number, created, updated in found}


def _write(connection: duckdb.DuckDBPyConnection, fact: Fact) -> dict[str, int]:
    """Writes what changed and nothing else; gives how many rows had which act."""
    now = [utc_now()]
    same = " AND ".join(f"t.{k} = s.{k}" for k in fact.key)
    columns = ", ".join([*fact.key, *fact.values, *LINEAGE])
    acts: dict[str, int] = dict(connection.execute("SELECT act, count(*) FROM built GROUP BY act").fetchall())
    if acts.get("D"):
        connection.execute(f"DELETE FROM {fact.table} t WHERE EXISTS (SELECT 1 FROM built s WHERE s.act = 'D' AND {same})")
    if acts.get("U") or acts.get("L"):
        connection.execute(
            f"""MERGE INTO {fact.table} t USING (SELECT * FROM built WHERE act IN ('U', 'L')) s ON {same}
            WHEN MATCHED THEN UPDATE SET {", ".join(f"{c} = s.{c}" for c in [*fact.values, *LINEAGE])}, built_at = ?::TIMESTAMPTZ""",
            now,
        )
    if acts.get("C"):
        connection.execute(
            f"INSERT INTO {fact.table} ({columns}, built_at) SELECT {columns}, ?::TIMESTAMPTZ FROM built WHERE act = 'C'", now
        )
    connection.execute("DROP VIEW built")
    for name in ("reached", "computed", "compared"):
        connection.execute(f"DROP TABLE IF EXISTS {name}")
    return acts
