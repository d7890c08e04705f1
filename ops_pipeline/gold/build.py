"""The transaction that promotes files to gold.

Belongs here: `commit_gold`: which rows a change can reach, building them from silver inside the write transaction, writing only what
changed, and the ledger rows with it; and `rebuild`, the same over everything. Does not belong here: formulas (`facts`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from ops_pipeline.clock import utc_now
from ops_pipeline.gold.dimensions import ensure_instruments, refresh_dates
from ops_pipeline.gold.facts import Fact, fact_of
from ops_pipeline.ops.ingestion import DatasetInjestion, Stage
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.recipes.models import NO_TICKER, TICKER_COLUMN
from ops_pipeline.silver.typing_sql import identifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from ops_pipeline.recipes.models import Recipe


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows of a fact that a build wrote."""

    created: int = 0
    updated: int = 0
    deleted: int = 0


def commit_gold(
    connection: duckdb.DuckDBPyConnection,
    recipe: Recipe,
    files: Sequence[DatasetInjestion],
    run_id: str,
) -> list[DatasetInjestion]:
    """Builds the gold rows that the files' changes can reach and writes the files' ledger rows.

    Args:
        connection: inside the caller's exclusive transaction.
        recipe: the files' dataset; it feeds a gold object.
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
    for row in rows:
        row.gold_started(recipe, run_id, now)
    fact = fact_of(recipe)
    _register_files(connection, rows)
    _touched_series(connection, recipe, fact)
    _build(connection, recipe, fact)
    counts = _attribute(connection)
    _write(connection, fact)
    refresh_dates(connection)
    for number, row in enumerate(rows):
        created, updated = counts.get(number, (0, 0))
        row.gold_finished(created, updated, row.silver_from_date, row.silver_to_date)
    repo.upsert(rows, Stage.GOLD)
    connection.unregister("gold_files")
    return rows


def rebuild(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> Changes:
    """Computes every gold row of a dataset anew from silver and writes those that differ; inside the caller's transaction."""
    fact = fact_of(recipe)
    series = identifier(fact.series)
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE touched AS SELECT {series} AS series, DATE '0001-01-01' AS from_date, DATE '9999-12-31' AS to_date,
            DATE '0001-01-01' AS read_from, DATE '9999-12-31' AS build_to FROM {recipe.silver_table} GROUP BY {series}"""
    )
    _build(connection, recipe, fact)
    changes = Changes(
        *(
            int(n)
            for n in (
                connection.execute(
                    "SELECT count(*) FILTER (act = 'C'), count(*) FILTER (act = 'U'), count(*) FILTER (act = 'D') FROM built"
                ).fetchone()
                or ()
            )
        )
    )
    _write(connection, fact)
    refresh_dates(connection)
    return changes


def _register_files(connection: duckdb.DuckDBPyConnection, rows: Sequence[DatasetInjestion]) -> None:
    connection.register(
        "gold_files",
        pa.table(
            {
                "number": pa.array(range(len(rows)), pa.int32()),
                "ticker": pa.array([r.ticker for r in rows], pa.string()),
                "from_date": pa.array([r.silver_from_date for r in rows], pa.date32()),
                "to_date": pa.array([r.silver_to_date for r in rows], pa.date32()),
            }
        ),
    )


def _touched_series(connection: duckdb.DuckDBPyConnection, recipe: Recipe, fact: Fact) -> None:
    """The temp table `touched`: per series the dates that changed, from where silver must be read, and how far the change reaches.

    Dates are found by counting the series' own rows, so that sparse series get as much as dense ones and no more.
    """
    day, series = identifier(recipe.date_column or ""), identifier(fact.series)
    if recipe.per_ticker:
        ranges = f"SELECT ticker AS {TICKER_COLUMN}, min(from_date) AS from_date, max(to_date) AS to_date FROM gold_files GROUP BY ticker"
        joined = f"{recipe.silver_table} s JOIN ranges r ON s.{TICKER_COLUMN} = r.{TICKER_COLUMN}"
    else:
        ranges = "SELECT min(from_date) AS from_date, max(to_date) AS to_date FROM gold_files"
        joined = f"{recipe.silver_table} s CROSS JOIN ranges r"
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE touched AS WITH ranges AS ({ranges})
        SELECT s.{series} AS series, any_value(r.from_date) AS from_date, any_value(r.to_date) AS to_date,
            coalesce(list_min(max(s.{day}, {fact.reach + 1}) FILTER (s.{day} < r.from_date)), any_value(r.from_date)) AS read_from,
            coalesce(list_max(min(s.{day}, {fact.reach}) FILTER (s.{day} > r.to_date)), any_value(r.to_date)) AS build_to
        FROM {joined} GROUP BY s.{series}"""
    )


def _build(connection: duckdb.DuckDBPyConnection, recipe: Recipe, fact: Fact) -> None:
    """The temp table `built`: every gold row in reach as it must be, with act C, U, N, or D for one that silver no longer has."""
    day, series = identifier(recipe.date_column or ""), identifier(fact.series)
    if recipe.per_ticker:
        symbols = [row[0] for row in connection.execute("SELECT series FROM touched").fetchall()]
        ensure_instruments(connection, recipe.domain, (s for s in symbols if s != NO_TICKER))
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE computed AS
        WITH series_rows AS (SELECT s.*, t.series FROM {recipe.silver_table} s JOIN touched t ON s.{series} = t.series
            AND s.{day} BETWEEN t.read_from AND t.build_to)
        SELECT q.* FROM ({fact.query}) q JOIN touched t ON q.series = t.series AND q.date BETWEEN t.from_date AND t.build_to"""
    )
    same = " AND ".join(f"g.{k} = c.{k}" for k in fact.key)
    differs = f"({', '.join(f'c.{v}' for v in fact.values)}) IS DISTINCT FROM ({', '.join(f'g.{v}' for v in fact.values)})"
    low_high = connection.execute("SELECT min(from_date), max(build_to) FROM touched").fetchone() or (None, None)
    bounds = (
        "" if low_high[0] is None else f"WHERE date BETWEEN DATE '{low_high[0].isoformat()}' AND DATE '{low_high[1].isoformat()}'"
    )
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE built AS SELECT c.*, CASE WHEN g.built_at IS NULL THEN 'C' WHEN {differs} THEN 'U' ELSE 'N' END AS act
        FROM computed c LEFT JOIN (SELECT * FROM {fact.table} {bounds}) g ON {same}"""
    )
    name = (
        "(SELECT i.instrument_id, t.* FROM touched t JOIN gold.dim_instrument i ON i.symbol = t.series AND i.domain = '{recipe.domain}')"
        if recipe.per_ticker
        else "touched"
    )
    mine = "g.instrument_id = t.instrument_id" if recipe.per_ticker else "g.currency = t.series"
    columns = [*fact.key, "series", "act"]
    connection.execute(
        f"""INSERT INTO built ({", ".join(columns)}) SELECT {", ".join(f"g.{k}" for k in fact.key)}, t.series, 'D'
        FROM {fact.table} g JOIN {name} t ON {mine} AND g.date BETWEEN t.from_date AND t.build_to AND g.source = '{recipe.source}'
        WHERE NOT EXISTS (SELECT 1 FROM computed c WHERE {same})"""
    )


def _attribute(connection: duckdb.DuckDBPyConnection) -> dict[int, tuple[int, int]]:
    """File number -> (created, updated): each changed row belongs to the newest file that reaches it."""
    found = connection.execute(
        f"""SELECT number, count(*) FILTER (act = 'C'), count(*) FILTER (act = 'U') FROM (
            SELECT b.series, b.date, b.act, max(f.number) AS number FROM built b
            JOIN gold_files f ON (f.ticker = b.series OR f.ticker = '{NO_TICKER}') AND f.from_date <= b.date
            WHERE b.act IN ('C', 'U') GROUP BY b.series, b.date, b.act) GROUP BY number"""
    ).fetchall()
    return {number: (created, updated) for number, created, updated in found}


def _write(connection: duckdb.DuckDBPyConnection, fact: Fact) -> None:
    """Writes what changed and nothing else."""
    now = [utc_now()]
    same = " AND ".join(f"t.{k} = s.{k}" for k in fact.key)
    lineage = ("bronze_file_id", "run_id", "known_at")
    columns = [*fact.key, *fact.values, *lineage]
    acts = dict(connection.execute("SELECT act, count(*) FROM built GROUP BY act").fetchall())
    if acts.get("D"):
        connection.execute(f"DELETE FROM {fact.table} t WHERE EXISTS (SELECT 1 FROM built s WHERE s.act = 'D' AND {same})")
    if acts.get("U"):
        connection.execute(
            f"""MERGE INTO {fact.table} t USING (SELECT * FROM built WHERE act = 'U') s ON {same}
            WHEN MATCHED THEN UPDATE SET {", ".join(f"{c} = s.{c}" for c in [*fact.values, *lineage])}, built_at = ?::TIMESTAMPTZ""",
            now,
        )
    if acts.get("C"):
        connection.execute(
            f"INSERT INTO {fact.table} ({', '.join(columns)}, built_at) SELECT {', '.join(columns)}, ?::TIMESTAMPTZ FROM built WHERE act = 'C'",
            now,
        )
    for name in ("touched", "computed", "built"):
        connection.execute(f"DROP TABLE {name}")
