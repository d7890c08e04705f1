"""What vendors changed afterwards, and which rows stand on an adjustment basis that is known to be old: two views a dataset.

Belongs here: their SQL, and reading them. Does not belong here: asking the history again (`engine.refetch`), and printing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops_pipeline.ops.decisions import DECISIONS
from ops_pipeline.ops.objects import SqlObject
from ops_pipeline.ops.sql import LEDGER
from ops_pipeline.ops.wanted import dicts
from ops_pipeline.recipes.models import TICKER_COLUMN
from ops_pipeline.silver.typing_sql import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    import duckdb

    from ops_pipeline.recipes.models import Recipe

RESTATEMENTS = "silver.restatements"
MIXED_BASIS = "silver.mixed_basis"


def restatements_view(recipe: Recipe) -> SqlObject:
    """`silver.<table>_restatements`: one line for every value that a later file changed or removed."""
    order = "known_at, run_id, bronze_file_id"
    keys = ", ".join(identifier(n) for n in recipe.silver_key)
    values = [n for n, _ in recipe.silver_columns if n not in recipe.silver_key]
    before = ", ".join(f"lag({identifier(n)}) OVER versions AS {identifier('_was_' + n)}" for n in values)
    changes = ", ".join(
        f"{{'name': {literal(n)}, 'old': {identifier('_was_' + n)}::VARCHAR,"
        f" 'new': CASE WHEN operation = 'U' THEN {identifier(n)}::VARCHAR END}}"
        for n in values
    )
    own_key = ", ".join(f"{identifier(n)} := {identifier(n)}" for n in recipe.key)
    # Names with a blank are no column's, whatever a recipe calls its own.
    query = f"""SELECT {literal(recipe.dataset_key)} AS dataset, {TICKER_COLUMN if recipe.per_ticker else "'-'"} AS ticker,
            {identifier(recipe.date_column) if recipe.date_column else "NULL::DATE"} AS date,
            to_json(struct_pack({own_key}))::VARCHAR AS row_key, "one change".name AS column_name, "one change".old AS old_value,
            "one change".new AS new_value, CASE operation WHEN 'U' THEN 'updated' ELSE 'deleted' END AS operation,
            known_at, run_id, bronze_file_id, "file before" AS previous_file_id
        FROM (SELECT *, unnest([{changes}]) AS "one change"
            FROM (SELECT *, {before + ", " if before else ""}lag(bronze_file_id) OVER versions AS "file before" FROM {recipe.history_table}
                WINDOW versions AS (PARTITION BY {keys} ORDER BY {order})) WHERE operation <> 'C')
        WHERE "one change".old IS DISTINCT FROM "one change".new"""
    about = "Values that a vendor changed or removed after they were stored: when, which file, old and new value."
    return SqlObject(f"{recipe.silver_table}_restatements", "view", query, about, part_of=RESTATEMENTS)


def due_again_query(recipe: Recipe, actions: Iterable[Recipe], through: str = "current_date") -> str:
    """SQL for the partitions whose whole history is due: ticker, day (rows before it are affected; NULL: all), and the reason.

    Args:
        recipe: declares `refetch_on_restatement`.
        actions: the recipes of the datasets in `adjusted_by` that have a silver table.
        through: SQL for the last day up to which an action has taken effect.
    """
    mine = f"source = {literal(recipe.source)} AND dataset = {literal(recipe.dataset)} AND discriminator = {literal(recipe.discriminator)}"
    held = f"""SELECT ticker, NULL::DATE AS day, 'an answer restates stored rows' AS reason
        FROM {LEDGER} WHERE {mine} AND silver_hold = 'held' GROUP BY ticker"""
    # An unchanged answer to a request for everything is the whole history once more.
    asked = f"""SELECT f.ticker, max(f.bronze_injest_end_time) FILTER (_whole) AS known_at, min(f.requested_from_date) AS first_day,
            max(f.requested_to_date) FILTER (_whole) AS last_day
        FROM (SELECT *, silver_hold = 'whole' OR (bronze_outcome = 'unchanged'
                AND requested_from_date <= min(requested_from_date) FILTER (silver_hold = 'whole') OVER (PARTITION BY ticker)) AS _whole
            FROM {LEDGER} WHERE {mine} AND promotion_kind = 'first' AND bronze_outcome IN ('stored', 'unchanged')
                AND silver_errors IS NULL) f GROUP BY f.ticker"""
    parts = [held]
    for action in actions:
        day = identifier(action.date_column or "")
        parts.append(
            f"""SELECT a.ticker, max(a.day) AS day, {literal(f"a row of {action.dataset_key} is newer than the history")} AS reason
            FROM (SELECT {TICKER_COLUMN} AS ticker, {day} AS day, max(known_at) AS known_at FROM {action.history_table} GROUP BY ALL) a
            JOIN ({asked}) w ON w.ticker = a.ticker
            WHERE a.day > w.first_day AND a.day <= {through}
                AND (w.known_at IS NULL OR a.known_at > w.known_at OR a.day > w.last_day) GROUP BY a.ticker"""
        )
    return " UNION ALL ".join(parts)


def mixed_basis_view(recipe: Recipe, actions: Iterable[Recipe]) -> SqlObject:
    """`silver.<table>_mixed_basis`: rows whose adjusted values stand on a basis that is known to be old, until the refetch lands."""
    day = identifier(recipe.date_column or "")
    query = f"""SELECT {literal(recipe.dataset_key)} AS dataset, s.{TICKER_COLUMN} AS ticker, s.{day} AS date, d.reason
        FROM {recipe.silver_table} s JOIN ({due_again_query(recipe, actions)}) d
            ON d.ticker = s.{TICKER_COLUMN} AND (d.day IS NULL OR s.{day} < d.day)"""
    about = "Rows whose adjusted values stand on a basis that is known to be old, until the whole history has been asked again."
    return SqlObject(f"{recipe.silver_table}_mixed_basis", "view", query, about, part_of=MIXED_BASIS)


@dataclass(frozen=True, slots=True)
class Restatements:
    """What vendors changed afterwards.

    Attributes:
        rows: lines of the view, newest first.
        total: how many there are.
        mixed: (dataset, ticker, reason) -> number of rows on a basis that is known to be old.
    """

    rows: list[dict[str, Any]]
    total: int
    mixed: dict[tuple[str, str, str], int]


def read_restatements(
    connection: duckdb.DuckDBPyConnection,
    *,
    dataset: str | None = None,
    ticker: str | None = None,
    since: date | None = None,
    limit: int = 100,
) -> Restatements:
    """The values that were changed or removed after they were stored, and the rows that wait for a refetch.

    Args:
        connection: for reading.
        dataset: only this dataset key.
        ticker: only this ticker.
        since: only changes that were stored on or after this day (UTC).
        limit: at most so many lines.
    """
    made = {name for (name,) in connection.execute("SELECT part_of FROM ops.sql_objects WHERE part_of IS NOT NULL").fetchall()}
    if RESTATEMENTS not in made:
        return Restatements([], 0, {})
    given = {name: value for name, value in (("dataset", dataset), ("ticker", ticker)) if value is not None}
    narrowed = " AND ".join(["true", *(f"{name} = ${name}" for name in given)])
    when = " AND known_at >= $since::DATE" if since else ""
    dated = given | ({"since": since} if since else {})
    source = f"FROM {RESTATEMENTS} WHERE {narrowed}{when}"
    total = connection.execute(f"SELECT count(*) {source}", dated).fetchone() or (0,)
    # The view stands in published databases as well, which have nothing of `ops`.
    by_decision = f"(run_id, bronze_file_id) IN (SELECT (run_id, file_id) FROM {DECISIONS})"
    rows = dicts(
        connection,
        f"""SELECT * REPLACE (CASE WHEN {by_decision} THEN 'hidden' ELSE operation END AS operation)
        {source} ORDER BY known_at DESC, dataset, ticker, row_key, column_name LIMIT $limit""",
        {**dated, "limit": limit},
    )
    mixed = []
    if MIXED_BASIS in made:
        mixed = connection.execute(
            f"SELECT dataset, ticker, reason, count(*) FROM {MIXED_BASIS} WHERE {narrowed} GROUP BY ALL ORDER BY ALL", given
        ).fetchall()
    return Restatements(rows, total[0], {(d, t, r): n for d, t, r, n in mixed})
