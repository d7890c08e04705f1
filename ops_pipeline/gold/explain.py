"""Where a number comes from: from gold back to silver's row, the file, the request and the run, with the values that stood before.

Belongs here: putting the trail of one ticker and day together, and its values in words. Does not belong here: printing it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ops_pipeline.gold.facts import fact_of
from ops_pipeline.ops.decisions import decisions_of
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.ops.wanted import dicts
from ops_pipeline.recipes.models import TICKER_COLUMN
from ops_pipeline.silver.typing_sql import identifier

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    import duckdb

    from ops_pipeline.ops.decisions import Decision
    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.recipes.models import Recipe

# A row that changed more often than this is told by its newest changes.
MOST_VERSIONS = 100

_NOT_A_FIGURE = {
    "bronze_file_id", "run_id", "known_at", "ingested_at", "built_at", "merged_at", "recipe_hash", "operation", "series",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Version:
    """One change of a silver row.

    Attributes:
        operation: created, updated or deleted, by an answer; hidden or brought back, by a decision of yours.
        change: its line in the history, lineage included.
        changed: column -> (old, new) where the version before had another value.
        decision: since when it counts, by whom and why, where it is one; None: an answer made the change.
    """

    operation: str
    change: dict[str, Any]
    changed: dict[str, tuple[Any, Any]]
    decision: Decision | None = None

    @property
    def sentence(self) -> str:
        """What changed, such as `close 10.0 -> 10.5`; of a row that was new, its values; of a decision, why it was made."""
        if self.decision is not None:
            return f"{figures(self.change)}; {decided(self.decision)}"
        return ", ".join(f"{name} {word(old)} -> {word(new)}" for name, (old, new) in self.changed.items()) or figures(
            self.change
        )


@dataclass(frozen=True, slots=True)
class Trail:
    """Where one dataset's numbers of a ticker and day come from.

    Attributes:
        recipe: the dataset's recipe.
        gold: the gold row; None where the dataset feeds none, or it is not built.
        gold_table: its table.
        silver: the silver row; None where the history holds only that it was deleted or hidden.
        key: the silver row's key.
        versions: every change of that row, oldest first: what was known when.
        before: the last earlier row of the series: returns are computed against it.
        files: ledger rows of the files that are named in any of these, by (run_id, file_id).
    """

    recipe: Recipe
    gold: dict[str, Any] | None
    gold_table: str | None
    silver: dict[str, Any] | None
    key: dict[str, Any]
    versions: list[Version]
    before: dict[str, Any] | None
    files: dict[tuple[str, str], DatasetInjestion] = field(default_factory=dict)


def explain(connection: duckdb.DuckDBPyConnection, recipes: Iterable[Recipe], series: str, day: date) -> list[Trail]:
    """The trails of a ticker (or a currency) and day, one for every silver row of it in these datasets."""
    made = {name for (name,) in connection.execute("SELECT silver_tablename FROM ops.silver_tables").fetchall()}
    return [
        trail
        for recipe in recipes
        if recipe.silver_table in made and recipe.date_column is not None and series_column(recipe) is not None
        for trail in _trails(connection, recipe, series, day)
    ]


def figures(row: dict[str, Any]) -> str:
    """A row's own columns, lineage left out, such as `date 2012-09-19, close 702.1`."""
    return ", ".join(f"{name} {word(value)}" for name, value in row.items() if name not in _NOT_A_FIGURE)


def word(value: Any) -> str:
    """A value as SQL people expect it."""
    if value is None:
        return "NULL"
    return value.isoformat(sep=" ") if isinstance(value, datetime) else str(value)


def decided(decision: Decision) -> str:
    """Who decided and why, such as `decided by ada: cancelled trade`."""
    by = f"decided by {decision.decided_by}" if decision.decided_by else "decided"
    return f"{by}: {decision.reason}" if decision.reason else f"{by}, without a reason given"


def series_column(recipe: Recipe) -> str | None:
    """The silver column that names a series: the ticker, or what the gold object calls one (a currency); None: there is none."""
    if recipe.per_ticker:
        return TICKER_COLUMN
    if recipe.symbol_column is not None:
        return recipe.symbol_column
    return fact_of(recipe).series if recipe.gold else None


def _trails(connection: duckdb.DuckDBPyConnection, recipe: Recipe, series: str, day: date) -> list[Trail]:
    where = f"{identifier(series_column(recipe) or '')} = ? AND {identifier(recipe.date_column or '')} = ?"
    found = dicts(
        connection,
        f"SELECT * FROM {recipe.history_table} WHERE {where} ORDER BY known_at DESC, run_id DESC, bronze_file_id DESC LIMIT ?",
        [series, day, MOST_VERSIONS],
    )[::-1]
    if not found:
        return []
    rows = {
        _key(recipe, row): row for row in dicts(connection, f"SELECT * FROM {recipe.silver_table} WHERE {where}", [series, day])
    }
    gold = _gold(connection, recipe, series, day)
    before = _before(connection, recipe, series, day) if recipe.gold else None
    decisions = {
        (d.run_id, d.file_id): d for d in decisions_of(connection, {(row["run_id"], row["bronze_file_id"]) for row in found})
    }
    trails = []
    for key in sorted({_key(recipe, row) for row in found}, key=str):
        changes = [row for row in found if _key(recipe, row) == key]
        silver = rows.get(key)
        told = gold if _comes_from(recipe, gold, silver) else None
        named_key = dict(zip(recipe.silver_key, key, strict=True))
        trail = Trail(recipe, told, recipe.gold_table, silver, named_key, _versions(recipe, changes, decisions), before)
        named = [row for row in (told, silver, before, *changes) if row]
        trail.files.update(OpsRepo(connection).get({(row["run_id"], row["bronze_file_id"]) for row in named}))
        trails.append(trail)
    return trails


def _comes_from(recipe: Recipe, gold: dict[str, Any] | None, silver: dict[str, Any] | None) -> bool:
    """Whether the gold row is made of this silver row: of two datasets that continue each other, one gave it."""
    if gold is None or silver is None:
        return False
    same = all(gold[name] == silver[name] for name in ("run_id", "bronze_file_id"))
    return same or (recipe.symbol_column is None and recipe.covered_by is None)


def _key(recipe: Recipe, row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in recipe.silver_key)


def _versions(recipe: Recipe, changes: list[dict[str, Any]], decisions: dict[tuple[str, str], Decision]) -> list[Version]:
    words = {"C": "created", "U": "updated", "D": "deleted"}
    by_decision = {"C": "brought back", "D": "hidden"}
    own = [name for name, _ in recipe.silver_columns]
    made: list[Version] = []
    for row in changes:
        earlier = made[-1].change if made else None
        changed = (
            {name: (earlier[name], row[name]) for name in own if earlier[name] != row[name]}
            if earlier is not None and row["operation"] == "U"
            else {}
        )
        decision = decisions.get((row["run_id"], row["bronze_file_id"]))
        made.append(Version((by_decision if decision else words)[row["operation"]], row, changed, decision))
    return made


def _gold(connection: duckdb.DuckDBPyConnection, recipe: Recipe, series: str, day: date) -> dict[str, Any] | None:
    if recipe.gold is None:
        return None
    rows = dicts(connection, f"SELECT * FROM ({fact_of(recipe).present}) WHERE series = ? AND date = ?", [series, day])
    return rows[0] if rows else None


def _before(connection: duckdb.DuckDBPyConnection, recipe: Recipe, series: str, day: date) -> dict[str, Any] | None:
    column, when = identifier(series_column(recipe) or ""), identifier(recipe.date_column or "")
    rows = dicts(
        connection,
        f"SELECT * FROM {recipe.silver_table} WHERE {column} = ? AND {when} < ? ORDER BY {when} DESC LIMIT 1",
        [series, day],
    )
    return rows[0] if rows else None
