"""What a decision about rows does to silver: hiding rows that the vendor dropped, and bringing them back.

Belongs here: the SQL, at the decision's place among the files of its partition. Does not belong here: making a decision
(`engine.decisions`), keeping it (`ops.decisions`), and merging files (`commit`).

A hidden row leaves silver as a row does that a whole history lacks: with a line in the history, of the decision and its time. So a replay
repeats it, a late file is merged before it, reading as of an earlier time has the row, and a later answer that holds it brings it back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from ops_pipeline.ops.decisions import DECISIONS, Decision, decisions_of
from ops_pipeline.ops.wanted import dicts
from ops_pipeline.recipes.models import NO_TICKER, TICKER_COLUMN
from ops_pipeline.silver.staged import FileProfile, Staged
from ops_pipeline.silver.typing_sql import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import duckdb

    from ops_pipeline.ops.ingestion import DatasetInjestion, RowCounts
    from ops_pipeline.recipes.models import Recipe


def row_key_sql(recipe: Recipe, alias: str) -> str:
    """SQL for a row's key without its ticker, as the JSON by which rows are named to people and in decisions."""
    return f"to_json(struct_pack({', '.join(f'{identifier(n)} := {alias}.{identifier(n)}' for n in recipe.key)}))::VARCHAR"


def staged_decisions(recipe: Recipe, rows: Sequence[DatasetInjestion], like: pa.Table | None = None) -> Staged:
    """Decisions as a batch beside those that are read from files: they hold no records; `like` gives the columns of good rows."""
    profiles = [FileProfile(rows=row.bronze_rows, from_date=row.bronze_from_date, to_date=row.bronze_to_date) for row in rows]
    good = pa.table({"_file_no": pa.array([], pa.int32())}) if like is None else like.slice(0, 0)
    return Staged(recipe, list(rows), profiles, good)


def apply_decisions(
    connection: duckdb.DuckDBPyConnection,
    recipe: Recipe,
    rows: Mapping[int, DatasetInjestion],
    counts: Mapping[int, RowCounts],
    merged_at: datetime,
) -> None:
    """Carries decisions out, no two of which touch one row, and counts what they did.

    Rows that are not there, or there already, are left alone: of an earlier recipe's key, or answered in the meantime.

    Args:
        connection: inside the caller's transaction.
        recipe: the dataset's recipe.
        rows: ledger rows by number.
        counts: what became of them, to be filled.
        merged_at: when (UTC).
    """
    kinds = {(d.run_id, d.file_id): d.decision for d in decisions_of(connection, [row.origin for row in rows.values()])}
    for number, row in rows.items():
        kind = kinds.get(row.origin)
        if kind == "hide":
            counts[number].deleted = _hide(connection, recipe, row, merged_at)
        else:
            counts[number].created = _restore(connection, recipe, row, merged_at) if kind else 0
            counts[number].unchanged = row.bronze_rows - counts[number].created


def _mine(recipe: Recipe, row: DatasetInjestion) -> tuple[str, dict[str, object]]:
    """The condition on rows `t` that a decision is about, with its parameters; its days let DuckDB skip most of a long table."""
    run_id, file_id = row.origin
    day = identifier(recipe.date_column or "")
    ticker = "" if row.ticker == NO_TICKER else f"t.{TICKER_COLUMN} = $ticker AND "
    given: dict[str, object] = {"run": run_id, "file": file_id, "low": row.bronze_from_date, "high": row.bronze_to_date}
    where = f"""{ticker}t.{day}::DATE BETWEEN $low AND $high
        AND {row_key_sql(recipe, "t")} IN (SELECT row_key FROM {DECISIONS} WHERE run_id = $run AND file_id = $file)"""
    return where, given | ({"ticker": row.ticker} if ticker else {})


def _lineage(given: dict[str, object], row: DatasetInjestion, recipe: Recipe, merged_at: datetime) -> dict[str, object]:
    return given | {"known": row.bronze_injest_end_time, "merged": merged_at, "recipe": recipe.recipe_hash}


_HISTORY_LINE = """$file AS bronze_file_id, $run AS run_id, $known::TIMESTAMPTZ AS known_at, $merged::TIMESTAMPTZ AS merged_at,
    $recipe AS recipe_hash"""


def _hide(connection: duckdb.DuckDBPyConnection, recipe: Recipe, row: DatasetInjestion, merged_at: datetime) -> int:
    where, given = _mine(recipe, row)
    own = ", ".join(f"t.{identifier(n)}" for n, _ in recipe.silver_columns)
    connection.execute(
        f"""INSERT INTO {recipe.history_table} BY NAME SELECT {own}, {_HISTORY_LINE}, 'D' AS operation
        FROM {recipe.silver_table} t WHERE {where}""",
        _lineage(given, row, recipe, merged_at),
    )
    gone = connection.execute(f"DELETE FROM {recipe.silver_table} t WHERE {where}", given).fetchone()
    return int(gone[0]) if gone else 0


def _restore(connection: duckdb.DuckDBPyConnection, recipe: Recipe, row: DatasetInjestion, merged_at: datetime) -> int:
    """Only what a decision has hidden, and nothing has changed since, comes back: with the values that it had then."""
    where, given = _mine(recipe, row)
    own = ", ".join(identifier(n) for n, _ in recipe.silver_columns)
    keys = ", ".join(f"t.{identifier(n)}" for n in recipe.silver_key)
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE brought_back AS SELECT * FROM (SELECT t.* FROM {recipe.history_table} t WHERE {where}
            QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY t.known_at DESC, t.run_id DESC, t.bronze_file_id DESC) = 1) h
        WHERE operation = 'D' AND (run_id, bronze_file_id) IN (SELECT (run_id, file_id) FROM {DECISIONS} WHERE decision = 'hide')""",
        given,
    )
    lineage = _lineage({name: given[name] for name in ("run", "file")}, row, recipe, merged_at)
    connection.execute(
        f"INSERT INTO {recipe.history_table} BY NAME SELECT {own}, {_HISTORY_LINE}, 'C' AS operation FROM brought_back", lineage
    )
    del lineage["recipe"]
    back = connection.execute(
        f"""INSERT INTO {recipe.silver_table} BY NAME SELECT {own}, $file AS bronze_file_id, $run AS run_id,
            $known::TIMESTAMPTZ AS known_at, $merged::TIMESTAMPTZ AS ingested_at FROM brought_back""",
        lineage,
    ).fetchone()
    connection.execute("DROP TABLE brought_back")
    return int(back[0]) if back else 0


def hidden_rows(connection: duckdb.DuckDBPyConnection, recipe: Recipe, ticker: str | None = None) -> list[Decision]:
    """The decisions by which rows of a dataset are hidden now, by ticker and day."""
    own = TICKER_COLUMN if recipe.per_ticker else literal(NO_TICKER)
    keys = ", ".join(f"t.{identifier(n)}" for n in recipe.silver_key)
    narrowed = f"t.{TICKER_COLUMN} IN (SELECT ticker FROM mine) AND " if recipe.per_ticker else ""
    rows = dicts(
        connection,
        f"""WITH mine AS (FROM {DECISIONS} WHERE dataset_key = $dataset AND decision = 'hide' AND coalesce(ticker = $ticker, true)),
        newest AS (SELECT {own} AS ticker, {row_key_sql(recipe, "t")} AS row_key, t.operation, t.run_id, t.bronze_file_id AS file_id
            FROM {recipe.history_table} t WHERE {narrowed}t.{identifier(recipe.date_column or "")}::DATE IN (SELECT day FROM mine)
            QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY t.known_at DESC, t.run_id DESC, t.bronze_file_id DESC) = 1)
        SELECT m.* FROM mine m SEMI JOIN (FROM newest WHERE operation = 'D') n USING (ticker, row_key, run_id, file_id)
        ORDER BY m.ticker, m.day, m.row_key""",
        {"dataset": recipe.dataset_key, "ticker": ticker},
    )
    return [Decision(**row) for row in rows]
