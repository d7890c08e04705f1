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

    DuckDB's own casts are kinder than money allows: they round 1.5 to the integer 2, read NaN and infinity as numbers, read 1_000 as a
    thousand and 'epoch' as a day, and cut the time off a timestamp to make a date. Years outside 1 to 9999 are refused because neither
    Python nor Arrow's date of a caller can hold them.
    """
    match column.type:
        case ColumnType.TEXT:
            return raw
        case ColumnType.DOUBLE:
            number = f"TRY_CAST({raw} AS DOUBLE)"
            return f"CASE WHEN isfinite({number}) AND NOT contains({raw}, '_') THEN {number} END"
        case ColumnType.INTEGER:
            number = f"TRY_CAST({raw} AS DOUBLE)"
            # 9007199254740993.5 rounds to a whole double, and a JSON 9007199254740993.0 was a rounded double before it was text:
            # beyond 2^53 only plain digits say which integer is meant.
            exact = f"(abs({number}) < 9007199254740992 OR NOT regexp_matches({raw}, '[.eE]'))"
            return f"CASE WHEN trunc({number}) = {number} AND {exact} AND NOT contains({raw}, '_') THEN TRY_CAST({raw} AS BIGINT) END"
        case ColumnType.DATE:
            day = f"TRY_CAST({raw} AS DATE)"
            return f"CASE WHEN length({raw}) = 10 AND {day}::VARCHAR = {raw} THEN {day} END"
        case ColumnType.TIMESTAMP:
            time = f"TRY_CAST({raw} AS TIMESTAMPTZ)"
            known = f"{time} BETWEEN TIMESTAMPTZ '0001-01-01 00:00:00+00' AND TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'"
            return f"CASE WHEN regexp_matches({raw}, '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}') AND {known} THEN {time} END"
        case ColumnType.BOOLEAN:
            return f"TRY_CAST({raw} AS BOOLEAN)"


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

    The pipeline's own columns begin with an underscore, which no recipe's column may: a vendor's field may well be named `reason`.

    Args:
        recipe: declares the columns.
        source: a relation with _file_no and _r0, _r1, ... (the raw text of each declared column, NULL where absent), and, when positioned,
            _position (from 1, in the file's order), _raw_text and _line_error (why the line itself cannot be read, or NULL).
        positioned: whether position, raw text and reason are wanted; they cost twice the time, so only files that need them pay.

    Returns:
        a query with _file_no, [ticker], the declared columns, _verdict ('G' good, 'F' failed, 'W' out of window), and when positioned
        _position, _raw_text and _reason. It joins the relation `files` (_file_no, ticker, _asked_from, _asked_to).
    """
    raws = {c.name: f"_r{i}" for i, c in enumerate(recipe.columns)}
    values = ", ".join(f"{value_sql(c, raws[c.name])} AS {identifier(c.name)}" for c in recipe.columns)
    bad = " OR ".join(bad_sql(c, raws[c.name]) for c in recipe.columns)
    reason = (
        "CASE " + " ".join(f"WHEN {bad_sql(c, raws[c.name])} THEN {reason_sql(c, raws[c.name])}" for c in recipe.columns) + " END"
    )
    outside = "false"
    if recipe.date_column:
        day = identifier(recipe.date_column)
        outside = f"coalesce({day} < _asked_from OR {day} > _asked_to, false)"
    own = ", ".join(identifier(name) for name, _ in recipe.silver_columns if name != TICKER_COLUMN)
    ticker = f"{TICKER_COLUMN}, " if recipe.per_ticker else ""
    extra = f", _position, _raw_text, coalesce(_line_error, {reason}) AS _reason" if positioned else ""
    broken = "_line_error IS NOT NULL OR " if positioned else ""
    return f"""
        SELECT _file_no, {ticker}{own}, CASE WHEN {outside} THEN 'W' WHEN {broken}{bad} THEN 'F' ELSE 'G' END AS _verdict{extra}
        FROM (SELECT s.*, f.ticker, f._asked_from, f._asked_to, {values} FROM ({source}) s JOIN files f USING (_file_no))
    """
