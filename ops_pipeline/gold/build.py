"""The transaction that promotes files to gold.

Belongs here: `commit_gold`: building what files can reach from silver inside the write transaction, writing only what changed, and the
ledger rows with it; and `rebuild`, the same over everything. Does not belong here: which rows a change can reach (`reach`), formulas
(`facts`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from ops_pipeline.clock import utc_now
from ops_pipeline.gold import as_of
from ops_pipeline.gold.dimensions import ensure_instruments, has_renamed, refresh_dates
from ops_pipeline.gold.facts import Fact, fact_of
from ops_pipeline.gold.reach import files_by_ticker, files_of_bulk, reach_of_files, with_siblings
from ops_pipeline.gold.rows import LINEAGE, Feed, feed_of
from ops_pipeline.ops.ingestion import DatasetInjestion, Stage
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.silver.typing_sql import identifier

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from ops_pipeline.recipes.models import Recipe

VALUE_ERRORS = (duckdb.OutOfRangeException, duckdb.ConversionException)
"""What DuckDB raises where a formula cannot take the values; anything else is a fault of ours or of the disk, and ends the run."""


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
    current: bool = False,
) -> list[DatasetInjestion]:
    """Builds the gold rows that the files' changes can reach and writes the files' ledger rows.

    A file that is built again, because a late one was merged before it, keeps the rows that it built before in its counts.

    Args:
        connection: inside the caller's exclusive transaction.
        recipe: the files' dataset; it feeds a gold object.
        bulk: the dataset that continues it. Its files are built by this too: then `recipe` is still the dataset by ticker. A bulk
            dataset that continues none is itself the recipe.
        files: ledger rows that are ready for gold, whole partitions in the order of application.
        run_id: the run that promotes.
        current: whether the rows are what the ledger holds now, as when they were read in the same opening; else they are read again.

    Returns:
        the ledger rows as written; files that another run promoted meanwhile are left out.
    """
    repo = OpsRepo(connection)
    fresh = files if current else repo.get(f.key for f in files).values()
    rows = sorted((r for r in fresh if r.silver_can_promote), key=lambda r: r.order)
    if not rows:
        return []
    now = utc_now()
    before = [(row.gold_rows_created, row.gold_rows_updated) for row in rows]
    of_bulk = rows[0].dataset_key == (bulk or recipe).dataset_key and (bulk or recipe).symbol_column is not None
    for row in rows:
        row.gold_started(bulk if of_bulk and bulk else recipe, run_id, now)
    counts = _reach_and_build(connection, feed_of(connection, recipe, bulk), rows, of_bulk=of_bulk)
    for number, (row, (created, updated)) in enumerate(zip(rows, before, strict=True)):
        more_created, more_updated = counts.get(number, (0, 0))
        row.gold_finished(created + more_created, updated + more_updated, row.silver_from_date, row.silver_to_date)
    repo.upsert(rows, Stage.GOLD)
    return rows


def _reach_and_build(
    connection: duckdb.DuckDBPyConnection, feed: Feed, rows: Sequence[DatasetInjestion], *, of_bulk: bool
) -> dict[int, tuple[int, int]]:
    """Builds what the files can reach; file number -> gold rows that it created and updated."""
    fact, domain = fact_of(feed.recipe), feed.recipe.domain
    if feed.empty:
        return {}
    as_of.ensure_macros(connection, feed)
    renamed = fact.of_instruments and has_renamed(connection, domain)
    if of_bulk:
        files_of_bulk(connection, feed, fact, rows)
    else:
        files_by_ticker(connection, feed, rows)
    if renamed:
        with_siblings(connection, domain)
    since = reach_of_files(connection, feed, fact)
    if renamed:
        # Of a day that one symbol's change reaches, the other symbol's row must be at hand as well: it may be the one that holds.
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE reached AS SELECT * REPLACE (max(build_to) OVER (PARTITION BY number) AS build_to) FROM reached"
        )
    _build(connection, feed, fact, renamed=renamed, since=since)
    counts = _attribute(connection)
    span = connection.execute("SELECT min(date), max(date) FROM built").fetchone()
    acts = _write(connection, fact)
    if acts:
        refresh_dates(connection, None if "D" in acts else span)
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
    fact, feed = fact_of(recipe), feed_of(connection, recipe, bulk)
    if feed.empty:
        return Changes()  # nothing was ever promoted
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE reached AS SELECT 0 AS number, series, DATE '0001-01-01' AS from_date,
            DATE '0001-01-01' AS read_from, DATE '9999-12-31' AS build_to
        FROM ({feed.names(fact.series)} UNION SELECT series FROM ({fact.present})) WHERE ? IS NULL OR list_contains(?, series)""",
        [None if series is None else list(series)] * 2,
    )
    _build(connection, feed, fact, renamed=fact.of_instruments and has_renamed(connection, recipe.domain))
    acts = _write(connection, fact)
    refresh_dates(connection)
    return Changes(acts.get("C", 0), acts.get("U", 0), acts.get("D", 0))


def _build(
    connection: duckdb.DuckDBPyConnection, feed: Feed, fact: Fact, *, renamed: bool = False, since: date | None = None
) -> None:
    """The temp view `built`: every gold row in reach as it must be. `since` is the day that `reach_of_files` gives.

    Its `act` is C, U, N, L for a row whose figures stay and come from another file now, or D for one that silver no longer has.
    """
    recipe = feed.recipe
    day, series = identifier(recipe.date_column or ""), identifier(fact.series)
    if recipe.per_ticker or recipe.symbol_column:
        # Those that the dimension has are most of them, and need not be looked for among all rows.
        new = connection.execute(
            "SELECT series FROM reached EXCEPT SELECT symbol FROM gold.dim_instrument WHERE domain = ?", [recipe.domain]
        ).fetchall()
        if new:
            among = [[name for (name,) in new]]
            found = connection.execute(
                f"SELECT DISTINCT series FROM ({feed.names(fact.series)}) WHERE series IN (SELECT unnest(?))", among
            )
            ensure_instruments(connection, recipe.domain, (row[0] for row in found.fetchall()))
    in_reach = "EXISTS (SELECT 1 FROM reached t WHERE t.series = {0}.series AND {0}.date BETWEEN t.from_date AND t.build_to)"
    needed = f"""SELECT s.*, t.series AS _series FROM {feed.rows()} s
        JOIN (SELECT series, min(read_from) AS low, max(build_to) AS high FROM reached GROUP BY series HAVING {{}}) t
        ON s.{series} = t.series AND s.{day} BETWEEN t.low AND t.high AND {{}}"""
    if since is None:
        series_rows = needed.format("true", "true")
    else:  # a day for all lets DuckDB pass over the blocks before it
        bound = f"DATE '{since}'"
        series_rows = needed.format(f"min(read_from) >= {bound}", f"s.{day} >= {bound}")
        rare = f"SELECT 1 FROM reached WHERE read_from < {bound} LIMIT 1"
        if connection.execute(rare).fetchone():
            series_rows += f" UNION ALL {needed.format(f'min(read_from) < {bound}', 'true')}"
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE computed AS WITH series_rows AS ({series_rows})
        SELECT q.* FROM ({fact.query}) q WHERE {in_reach.format("q")} {fact.one_a_key if renamed else ""}"""
    )
    low, high = connection.execute("SELECT min(from_date), max(build_to) FROM reached").fetchone() or (None, None)
    bounds = "true" if low is None or high is None else f"date BETWEEN DATE '{low.isoformat()}' AND DATE '{high.isoformat()}'"
    nearby = f"{bounds} AND {fact.reached_rows}"
    present = f"SELECT {{}} FROM ({fact.present}) g WHERE {nearby} AND {in_reach.format('g')}"
    # The table alone first: of whose days its rows are is found by joins that take longer to plan than most builds need to look.
    looks = (f"SELECT 1 FROM {fact.table} WHERE {nearby} LIMIT 1", f"{present.format('1')} LIMIT 1")
    if any(connection.execute(look).fetchone() is None for look in looks):
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
        FROM computed c LEFT JOIN (SELECT * FROM {fact.table} WHERE {nearby}) g ON {same}"""
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
