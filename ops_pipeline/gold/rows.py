"""The silver rows that a fact is computed from: a dataset's own, and behind each ticker's last one those of the bulk files.

Belongs here: that relation. Does not belong here: formulas (`facts`), which rows are built anew (`build`), which dataset continues which
(`recipes.bulk`).

A ticker's own history and the bulk files meet at one day only, the last own one: before it nothing of the bulk files counts, so that an
adjusted history that was asked again as a whole stands on one basis, and a symbol that was never asked for by itself has no rows here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.recipes.models import TICKER_COLUMN
from ops_pipeline.silver.typing_sql import identifier

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb

    from ops_pipeline.recipes.models import Recipe

LINEAGE = ("bronze_file_id", "run_id", "known_at")


def where_it_is(connection: duckdb.DuckDBPyConnection, recipe: Recipe | None) -> Recipe | None:
    """The recipe, where something was ever promoted of it."""
    return recipe if recipe is not None and OpsRepo(connection).silver_columns_hash(recipe.silver_table) is not None else None


def silver_rows(recipe: Recipe, bulk: Recipe | None, table: Callable[[Recipe], str] = lambda r: r.silver_table) -> str:
    """SQL that can stand where a table does: the columns that the recipe's fact takes, by the names that they have in its silver table.

    Args:
        recipe: the dataset; it feeds a gold object.
        bulk: the dataset that continues it, whose table exists; None: the dataset alone, with all its columns.
        table: gives each of the two as SQL.
    """
    if bulk is None:
        return table(recipe)
    day, bulk_day = identifier(recipe.date_column or ""), identifier(bulk.date_column or "")
    symbol = identifier(bulk.symbol_column or "")
    taken, given = (r.gold.columns if r.gold else {} for r in (recipe, bulk))
    types = dict(recipe.silver_columns)
    lineage = ", ".join(f"{{0}}.{c}" for c in LINEAGE)
    own = [f"s.{TICKER_COLUMN}", f"s.{day}", *(f"s.{identifier(name)}" for name in taken.values()), lineage.format("s")]
    theirs = [
        f"b.{symbol} AS {TICKER_COLUMN}",
        f"b.{bulk_day} AS {day}",
        *(f"TRY_CAST(b.{identifier(given[part])} AS {types[name]}) AS {identifier(name)}" for part, name in taken.items()),
        lineage.format("b"),
    ]
    return f"""(SELECT {", ".join(own)} FROM {table(recipe)} s UNION ALL SELECT {", ".join(theirs)} FROM {table(bulk)} b
        JOIN ({last_days(recipe, table)}) o ON o.{TICKER_COLUMN} = b.{symbol} AND b.{bulk_day} > o.last_day)"""


def last_days(recipe: Recipe, table: Callable[[Recipe], str] = lambda r: r.silver_table) -> str:
    """SQL for the last day that each ticker has of its own dataset."""
    return f"SELECT {TICKER_COLUMN}, max({identifier(recipe.date_column or '')}) AS last_day FROM {table(recipe)} GROUP BY {TICKER_COLUMN}"
