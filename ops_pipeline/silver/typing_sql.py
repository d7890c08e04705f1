"""The SQL that types a vendor's text: one expression a column, and why a record is refused.

Belongs here: casts that never bend a value silently, and their reasons. Does not belong here: reading files (`readers`) and merging
(`commit`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops_pipeline.recipes.models import TICKER_COLUMN, ColumnType

if TYPE_CHECKING:
    from ops_pipeline.recipes.models import Column, Recipe


def literal(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def value_sql(column: Column, raw: str) -> str:
    """The typed value of a raw text, NULL where the text is not exactly a value of the type.

    DuckDB's own casts are kinder than money allows: they round 1.5 to the integer 2, read NaN and infinity as numbers, and cut the time off
    a timestamp to make a date.
    """
    match column.type:
        case ColumnType.TEXT:
            return raw
        case ColumnType.DOUBLE:
            return f"CASE WHEN isfinite(TRY_CAST({raw} AS DOUBLE)) THEN TRY_CAST({raw} AS DOUBLE) END"
        case ColumnType.INTEGER:
            return f"CASE WHEN trunc(TRY_CAST({raw} AS DOUBLE)) = TRY_CAST({raw} AS DOUBLE) THEN TRY_CAST({raw} AS BIGINT) END"
        case ColumnType.DATE:
            return f"CASE WHEN length({raw}) = 10 AND isfinite(TRY_CAST({raw} AS DATE)) THEN TRY_CAST({raw} AS DATE) END"
        case ColumnType.TIMESTAMP | ColumnType.BOOLEAN:
            return f"TRY_CAST({raw} AS {column.type.sql})"


def present_sql(recipe: Recipe, raw: str) -> str:
    """The raw text, NULL where it is one of the recipe's missing markers."""
    if not recipe.answer.missing:
        return raw
    markers = ", ".join(literal(m) for m in recipe.answer.missing)
    return f"CASE WHEN {raw} NOT IN ({markers}) THEN {raw} END"


def bad_sql(column: Column, raw: str) -> str:
    """Whether a column refuses its record: a text that is no value of the type, or no value where one is required."""
    bad = f"{identifier(column.name)} IS NULL"
    return bad if column.required else f"({raw} IS NOT NULL AND {bad})"


def reason_sql(column: Column, raw: str) -> str:
    """The sentence for a refused record."""
    return (
        f"CASE WHEN {raw} IS NULL THEN {literal(f'{column.name} is missing')}"
        f" ELSE {literal(f'{column.name}: ')} || left({raw}, 80) || {literal(f' is not of type {column.type.value}')} END"
    )


def typed_sql(recipe: Recipe, source: str, *, positioned: bool) -> str:
    """A query that types the records of `source`.

    Args:
        recipe: declares the columns.
        source: a relation with file_no and r0, r1, ... (the raw text of each declared column, NULL where absent), and, when positioned,
            row_position (from 1, in the file's order), raw_text and line_error (why the line itself cannot be read, or NULL).
        positioned: whether position, raw text and reason are wanted; they cost twice the time, so only files that need them pay.

    Returns:
        a query with file_no, [ticker], the declared columns, verdict ('G' good, 'F' failed, 'W' out of window), and when positioned
        row_position, raw_text and reason. It joins the relation `files` (file_no, ticker, requested_from_date, requested_to_date).
    """
    raws = {c.name: f"r{i}" for i, c in enumerate(recipe.columns)}
    values = ", ".join(f"{value_sql(c, raws[c.name])} AS {identifier(c.name)}" for c in recipe.columns)
    bad = " OR ".join(bad_sql(c, raws[c.name]) for c in recipe.columns)
    reason = (
        "CASE " + " ".join(f"WHEN {bad_sql(c, raws[c.name])} THEN {reason_sql(c, raws[c.name])}" for c in recipe.columns) + " END"
    )
    outside = "false"
    if recipe.date_column:
        day = identifier(recipe.date_column)
        outside = f"coalesce({day} < requested_from_date OR {day} > requested_to_date, false)"
    own = ", ".join(identifier(name) for name, _ in recipe.silver_columns if name != TICKER_COLUMN)
    ticker = f"{TICKER_COLUMN}, " if recipe.per_ticker else ""
    extra = f", row_position, raw_text, coalesce(line_error, {reason}) AS reason" if positioned else ""
    broken = "line_error IS NOT NULL OR " if positioned else ""
    return f"""
        SELECT file_no, {ticker}{own}, CASE WHEN {outside} THEN 'W' WHEN {broken}{bad} THEN 'F' ELSE 'G' END AS verdict{extra}
        FROM (SELECT s.*, f.ticker, f.requested_from_date, f.requested_to_date, {values} FROM ({source}) s JOIN files f USING (file_no))
    """
