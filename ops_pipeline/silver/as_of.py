"""What silver held at a time: the state of a dataset's rows by its history, under either clock.

Belongs here: the queries that read one history table, and the macros made of them. Does not belong here: asking them (`gold.as_of`),
and the history's rows (`commit`).

Two clocks:

* known: a row's version counts since its file was stored. What the pipeline really had, and nothing before its first answer.
* available: a version counts since the vendor says that it was public (the recipe's column `available_at`), so that a history loaded today
  can be read as of years ago. A day means its end, in the recipe's zone. A version without that date, and one that changes values without
  a later date (the vendor silently mended an old record), count since we knew them: a mended value must not show before it existed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from ops_pipeline.ops.objects import MOMENT, SqlObject
from ops_pipeline.recipes.answers import ColumnType
from ops_pipeline.silver.typing_sql import identifier, literal

if TYPE_CHECKING:
    from ops_pipeline.recipes.models import Recipe

# The order in which files apply, and with them the versions of a row.
_ORDER = ("known_at", "run_id", "bronze_file_id")


class Clock(StrEnum):
    """Which time of a value is compared with the time asked for."""

    KNOWN = "known"
    AVAILABLE = "available"


def default_clock(recipe: Recipe) -> Clock:
    """Available where the recipe says when the vendor made a record public, else known."""
    return Clock.AVAILABLE if recipe.available_at else Clock.KNOWN


def state_query(recipe: Recipe, clock: Clock, moment: str = MOMENT) -> str:
    """SQL for silver's rows as they stood: silver's own columns, lineage, and the recipe that read each row.

    Args:
        recipe: the dataset's recipe.
        clock: the clock; `available` needs a recipe that declares `available_at`.
        moment: SQL for the time.
    """
    keys = ", ".join(identifier(n) for n in recipe.silver_key)
    own = ", ".join([*(identifier(n) for n, _ in recipe.silver_columns), *_LINEAGE])
    newest_first = ", ".join(f"{c} DESC" for c in _ORDER)
    newest = f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {newest_first}) = 1"
    if clock is Clock.KNOWN:
        versions = f"SELECT * FROM {recipe.history_table} WHERE known_at <= {moment}::TIMESTAMPTZ {newest}"
        return f"SELECT {own} FROM ({versions}) WHERE operation <> 'D'"
    versions = f"SELECT * FROM ({_public_versions(recipe, keys)}) WHERE _public <= {moment}::TIMESTAMPTZ {newest}"
    rows = f"SELECT {own} FROM ({versions}) WHERE operation <> 'D'"
    column = recipe.available_at or ""
    if column not in recipe.silver_key:
        return rows
    # Vintages: the date is a part of the key, and the newest public one is the value of the rest of the key.
    rest = ", ".join(identifier(n) for n in recipe.silver_key if n != column) or "true"
    return f"SELECT * FROM ({rows}) QUALIFY row_number() OVER (PARTITION BY {rest} ORDER BY {identifier(column)} DESC) = 1"


def change_times(recipe: Recipe, clock: Clock) -> str:
    """SQL for the versions of silver's rows with `moment`, since when each counts by the clock."""
    if clock is Clock.KNOWN:
        return f"SELECT *, known_at AS moment FROM {recipe.history_table}"
    keys = ", ".join(identifier(n) for n in recipe.silver_key)
    return f"SELECT *, _public AS moment FROM ({_public_versions(recipe, keys)})"


_LINEAGE = ("bronze_file_id", "run_id", "known_at", "recipe_hash")


def _public_versions(recipe: Recipe, keys: str) -> str:
    """The history with `_public`: since when each version counts."""
    column = next(c for c in recipe.columns if c.name == recipe.available_at)
    said = identifier(column.name)
    if column.type is ColumnType.DATE:
        said = f"timezone({literal(recipe.timezone)}, ({said} + 1)::TIMESTAMP)"
    earlier = f"PARTITION BY {keys} ORDER BY {', '.join(_ORDER)} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
    later = f"_said > coalesce(max(_said) OVER ({earlier}), '-infinity'::TIMESTAMPTZ)"
    return f"""SELECT *, CASE WHEN operation <> 'D' AND {later} THEN least(_said, known_at) ELSE known_at END AS _public
        FROM (SELECT *, {said} AS _said FROM {recipe.history_table})"""


def macros(recipe: Recipe) -> list[SqlObject]:
    """`silver.<table>_as_of(T)` by the dataset's default clock, and `_as_known(T)` where that is not `known`."""
    clock = default_clock(recipe)
    since = "was public by the vendor's word" if clock is Clock.AVAILABLE else "was stored"
    made = [
        SqlObject(
            as_of_macro(recipe),
            "macro",
            state_query(recipe, clock),
            f"{recipe.silver_table} as it stood at a time: of every row the last version that {since} by then.",
        )
    ]
    if clock is not Clock.KNOWN:
        about = f"{recipe.silver_table} as it was stored at a time, whatever the vendor says of when it was public."
        made.append(SqlObject(f"{recipe.silver_table}_as_known", "macro", state_query(recipe, Clock.KNOWN), about))
    return made


def as_of_macro(recipe: Recipe) -> str:
    """The name of the dataset's as-of macro."""
    return f"{recipe.silver_table}_as_of"
