"""The check of gold's rows: a few series computed anew from silver and compared, figure by figure.

Belongs here: which series are looked at, and the comparison. Does not belong here: formulas (`facts`), and mending (`build.rebuild`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops_pipeline.gold.dimensions import has_renamed, siblings
from ops_pipeline.gold.facts import fact_of
from ops_pipeline.gold.rows import feed_of
from ops_pipeline.ops.check_results import WAITING_FOR_GOLD_SQL
from ops_pipeline.silver.typing_sql import identifier

if TYPE_CHECKING:
    import duckdb

    from ops_pipeline.recipes.models import Recipe


def sample(
    connection: duckdb.DuckDBPyConnection,
    recipe: Recipe,
    size: int | None,
    salt: str,
    *,
    touched: bool,
    leading: Recipe | None = None,
    bulk: Recipe | None = None,
) -> list[str]:
    """So many series that wait for nothing, with all symbols of their instruments; none where there is nothing to compare.

    Args:
        connection: for reading.
        recipe: the dataset; it feeds a gold object, and its silver table exists.
        size: how many; None: all of them.
        salt: another text chooses other series.
        touched: only those of the registered table `touched`, where series are tickers.
        leading: where the recipe's files continue another dataset's series, that one: the symbols of the files are looked at then.
        bulk: the dataset that continues it; while a file of it waits, nothing can be compared.
    """
    leading = leading or recipe
    fact = fact_of(leading)
    waiting = {ticker for (ticker,) in connection.execute(WAITING_FOR_GOLD_SQL, {"dataset": leading.dataset_key}).fetchall()}
    if waiting and not leading.per_ticker:
        return []
    if bulk and connection.execute(WAITING_FOR_GOLD_SQL, {"dataset": bulk.dataset_key}).fetchone():
        return []
    series = identifier(recipe.symbol_column or fact.series)
    among = f" WHERE {series} IN (SELECT ticker FROM touched)" if touched and recipe.per_ticker else ""
    found = connection.execute(
        f"""SELECT series FROM (SELECT DISTINCT {series} AS series FROM {recipe.silver_table}{among})
        WHERE NOT list_contains($waiting, series) ORDER BY md5(series || $salt) LIMIT coalesce($size, 1000000000)""",
        {"waiting": sorted(waiting), "salt": salt, "size": size},
    ).fetchall()
    chosen = [name for (name,) in found]
    if fact.of_instruments:
        families = siblings(connection, recipe.domain, chosen)
        unready = {name for name in chosen if waiting & set(families.get(name, ()))}
        chosen = [name for name in chosen if name not in unready]
        chosen += [other for name in chosen for other in families.get(name, ())]
    return list(dict.fromkeys(chosen))


def query(connection: duckdb.DuckDBPyConnection, recipe: Recipe, bulk: Recipe | None = None) -> str:
    """SQL for the gold rows of some series that differ from what silver gives, as `where` and `what`. Parameter: $series.

    `bulk` is the dataset that continues the recipe's.
    """
    fact = fact_of(recipe)
    renamed = fact.of_instruments and has_renamed(connection, recipe.domain)
    columns = ", ".join([*fact.key, *fact.values])
    # Of a renamed instrument the rows come under each of its symbols.
    chosen = "list_contains($series, series)"
    same = " AND ".join(f"c.{k} = g.{k}" for k in fact.key)
    differs = " OR ".join(f"c.{v} IS DISTINCT FROM g.{v}" for v in fact.values)
    key = ", ".join(f"coalesce(c.{k}, g.{k})" for k in fact.key)
    first = "CASE " + " ".join(
        f"WHEN c.{v} IS DISTINCT FROM g.{v} THEN '{v} is ' || coalesce(g.{v}::VARCHAR, 'NULL') || ', silver gives '"
        f" || coalesce(c.{v}::VARCHAR, 'NULL')"
        for v in fact.values
    )
    return f"""WITH series_rows AS (SELECT s.*, s.{identifier(fact.series)} AS _series
                FROM {feed_of(connection, recipe, bulk).rows()} s WHERE list_contains($series, s.{identifier(fact.series)})),
            computed AS (SELECT {columns} FROM (SELECT q.* FROM ({fact.query}) q {fact.one_a_key if renamed else ""})),
            present AS (SELECT DISTINCT {columns} FROM ({fact.present}) WHERE {chosen})
        SELECT concat_ws(' ', {key}) AS "where", CASE WHEN g.source IS NULL THEN 'gold lacks this row'
            WHEN c.source IS NULL THEN 'silver gives no such row' ELSE {first} END END AS what
        FROM computed c FULL JOIN present g ON {same} WHERE g.source IS NULL OR c.source IS NULL OR {differs}"""
