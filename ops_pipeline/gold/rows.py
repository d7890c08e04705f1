"""The silver rows that a fact is computed from: a dataset's own, and those of the bulk files that continue it.

Belongs here: that relation, and the names of its series. Does not belong here: formulas (`facts`), which rows are built anew (`build`,
`reach`), which dataset continues which (`recipes.bulk`).

A ticker's own history and the bulk files meet at one day only, the last own one: before it nothing of the bulk files counts, so that an
adjusted history that was asked again as a whole stands on one basis. A symbol that was never asked for by itself has the files' rows alone.

Where the files tell of corporate actions (`action_columns`), no two bases meet: behind an own history rows count up to the first action,
with which the ticker is asked by itself again; of a symbol without one, adjusted prices before its last action are NULL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.recipes.models import TICKER_COLUMN
from ops_pipeline.silver.typing_sql import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    import duckdb

    from ops_pipeline.recipes.models import Recipe

LINEAGE = ("bronze_file_id", "run_id", "known_at")
ADJUSTED = ("split_adjusted_close", "adjusted_close")


def silver_table(recipe: Recipe) -> str:
    """The table of a recipe's rows as they are."""
    return recipe.silver_table


@dataclass(frozen=True, slots=True)
class Feed:
    """What a fact's rows come from.

    Attributes:
        recipe: the dataset by ticker, whose names the rows have; or a bulk one that continues none.
        own: whether anything was ever promoted of it by ticker.
        bulk: the dataset of bulk files, where anything was ever promoted of it.
    """

    recipe: Recipe
    own: bool
    bulk: Recipe | None

    @property
    def empty(self) -> bool:
        """Whether there are no rows of either."""
        return not self.own and self.bulk is None

    def rows(self, table: Callable[[Recipe], str] = silver_table) -> str:
        """SQL that can stand where a table does: the columns that the fact takes, by the names that they have in the recipe's table.

        Args:
            table: gives each of the two datasets as SQL.

        Raises:
            ValueError: when there are no rows of either.
        """
        if self.bulk is None:
            if not self.own:
                raise ValueError(f"nothing was ever promoted of {self.recipe.dataset_key}")
            return table(self.recipe)
        if not self.own:
            return f"({self._of_files(self.bulk, table)})"
        names = [TICKER_COLUMN, self.recipe.date_column or "", *self._taken.values(), *LINEAGE]
        own = ", ".join(f"s.{identifier(name)}" for name in names)
        return f"(SELECT {own} FROM {table(self.recipe)} s UNION ALL {self._of_files(self.bulk, table)})"

    def names(self, series: str) -> str:
        """SQL for the names of all series, as `series`.

        Args:
            series: the column that tells those of the recipe's table apart.
        """
        own = [f"SELECT {identifier(series)} AS series FROM {self.recipe.silver_table}"] if self.own else []
        if self.bulk is None or (self.own and self.bulk.continues_only):
            return own[0] if own else "SELECT NULL::VARCHAR AS series WHERE false"
        if self.bulk.continues_only:
            return "SELECT NULL::VARCHAR AS series WHERE false"
        return " UNION ".join(
            [*own, f"SELECT {identifier(self.bulk.symbol_column or '')} AS series FROM {self.bulk.silver_table}"]
        )

    def counting(self, bulk: Recipe, table: Callable[[Recipe], str] = silver_table) -> tuple[str, str]:
        """Which rows of the bulk files have a place among all: SQL that joins each ticker's last own day, and a condition, on rows `b`."""
        if not self.own:
            return "", "true" if not bulk.continues_only else "false"
        day, symbol = identifier(bulk.date_column or ""), identifier(bulk.symbol_column or "")
        join = f" LEFT JOIN ({last_days(self.recipe, table)}) o ON o.{TICKER_COLUMN} = b.{symbol}"
        return join, f"b.{day} > o.last_day" + ("" if bulk.continues_only else " OR o.last_day IS NULL")

    @property
    def _taken(self) -> dict[str, str]:
        return self.recipe.gold.columns if self.recipe.gold else {}

    def _of_files(self, bulk: Recipe, table: Callable[[Recipe], str]) -> str:
        day, symbol = identifier(bulk.date_column or ""), identifier(bulk.symbol_column or "")
        given, types = bulk.gold.columns if bulk.gold else {}, dict(self.recipe.silver_columns)
        actions = action_told(bulk, "a")
        joins, counts = self.counting(bulk, table)
        last_day = "o.last_day" if self.own else "NULL::DATE"
        if actions:
            ends = f"LEFT JOIN ({last_days(self.recipe, table)}) e ON e.{TICKER_COLUMN} = a.{symbol}" if self.own else ""
            behind = f"FILTER (a.{day} > e.last_day)" if self.own else "FILTER (false)"
            joins += f""" LEFT JOIN (SELECT a.{symbol} AS symbol, min(a.{day}) {behind} AS next_action, max(a.{day}) AS last_action
                FROM {table(bulk)} a {ends} WHERE {actions} GROUP BY ALL) x ON x.symbol = b.{symbol}"""
            counts = f"({counts}) AND ({last_day} IS NULL OR x.next_action IS NULL OR b.{day} < x.next_action)"
        parts = []
        for part, name in self._taken.items():
            value = f"TRY_CAST(b.{identifier(given[part])} AS {types[name]})"
            if actions and part in ADJUSTED:
                value = f"CASE WHEN {last_day} IS NOT NULL OR x.last_action IS NULL OR b.{day} >= x.last_action THEN {value} END"
            parts.append(f"{value} AS {identifier(name)}")
        lineage = [f"b.{c}" for c in LINEAGE]
        own_day = identifier(self.recipe.date_column or "")
        return f"""SELECT {", ".join([f"b.{symbol} AS {TICKER_COLUMN}", f"b.{day} AS {own_day}", *parts, *lineage])}
            FROM {table(bulk)} b{joins} WHERE {counts}"""


def where_it_is(connection: duckdb.DuckDBPyConnection, recipe: Recipe | None) -> Recipe | None:
    """The recipe, where something was ever promoted of it."""
    return recipe if recipe is not None and OpsRepo(connection).silver_columns_hash(recipe.silver_table) is not None else None


def feed_of(connection: duckdb.DuckDBPyConnection, recipe: Recipe, bulk: Recipe | None = None) -> Feed:
    """What there is of a dataset and of the one that continues it; a bulk dataset alone is its own continuation."""
    if recipe.symbol_column is not None:
        return Feed(recipe, False, where_it_is(connection, recipe))
    return Feed(recipe, where_it_is(connection, recipe) is not None, where_it_is(connection, bulk))


def last_days(recipe: Recipe, table: Callable[[Recipe], str] = silver_table) -> str:
    """SQL for the last day that each ticker has of its own dataset."""
    return f"SELECT {TICKER_COLUMN}, max({identifier(recipe.date_column or '')}) AS last_day FROM {table(recipe)} GROUP BY {TICKER_COLUMN}"


def actions_behind(connection: duckdb.DuckDBPyConnection, recipe: Recipe, bulk: Recipe) -> list[tuple[str, date]]:
    """(ticker, day) of the first action behind a ticker's own history of which the bulk files' rows tell; both tables exist."""
    day, symbol = identifier(bulk.date_column or ""), identifier(bulk.symbol_column or "")
    return connection.execute(
        f"""SELECT b.{symbol}, min(b.{day}) FROM {bulk.silver_table} b JOIN ({last_days(recipe)}) o ON o.{TICKER_COLUMN} = b.{symbol}
        WHERE b.{day} > o.last_day AND ({action_told(bulk, "b")}) GROUP BY ALL"""
    ).fetchall()


def action_told(bulk: Recipe, alias: str) -> str:
    """SQL for whether a row of bulk files tells of a corporate action of its day; empty where they tell of none."""
    return " OR ".join(f"{alias}.{identifier(name)} <> {literal_number(none)}" for name, none in bulk.action_columns.items())


def literal_number(value: float) -> str:
    """A number as SQL, exact."""
    return f"{literal(repr(float(value)))}::DOUBLE"
