"""The SQL that types a vendor's text: one expression a column, and why a record is refused.

Belongs here: casts that never bend a value silently, and their reasons. Does not belong here: reading files (`readers`) and merging
(`commit`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops_pipeline.recipes.answers import EPOCHS, TIMESTAMP_TEXT, ColumnType
from ops_pipeline.recipes.models import TICKER_COLUMN
from ops_pipeline.recipes.modes import RequestMode

if TYPE_CHECKING:
    from ops_pipeline.recipes.answers import Column
    from ops_pipeline.recipes.models import Recipe


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
            return f"{raw}::VARCHAR"  # of a column that a file lacks, NULL alone would be an integer
        case ColumnType.DOUBLE:
            number = f"TRY_CAST({raw} AS DOUBLE)"
            return f"CASE WHEN isfinite({number}) AND NOT contains({raw}, '_') THEN {number} END"
        case ColumnType.INTEGER:
            number = f"TRY_CAST({raw} AS DOUBLE)"
            # 9007199254740993.5 rounds to a whole double, and a JSON 9007199254740993.0 was a rounded double before it was text:
            # beyond 2^53 only plain digits say which integer is meant.
            exact = f"(abs({number}) < 9007199254740992 OR NOT regexp_matches({raw}, '[.eE]'))"
            return f"CASE WHEN trunc({number}) = {number} AND {exact} AND NOT contains({raw}, '_') THEN TRY_CAST({raw} AS BIGINT) END"
        case ColumnType.DATE if not column.format:
            day = f"TRY_CAST({raw} AS DATE)"
            return f"CASE WHEN length({raw}) = 10 AND {day}::VARCHAR = {raw} THEN {day} END"
        case ColumnType.DATE:
            return _day_sql(column, raw)
        case ColumnType.TIMESTAMP:
            return _moment_sql(column, raw)
        case ColumnType.BOOLEAN:
            return f"TRY_CAST({raw} AS BOOLEAN)"


_FIRST, _LAST = "TIMESTAMPTZ '0001-01-01 00:00:00+00'", "TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'"
# A text that names no zone; whatever else begins as a date must name one that DuckDB knows.
_LOCAL = "'^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?)?$'"
_DATED = "'^[0-9]{4}-[0-9]{2}-[0-9]{2}'"


def _day_sql(column: Column, raw: str) -> str:
    """The day of a text that is not written as 2026-10-30."""
    if column.format in EPOCHS or column.format == TIMESTAMP_TEXT:
        return f"({_moment_sql(column, raw)} AT TIME ZONE {literal(column.zone or 'UTC')})::DATE"
    day = f"try_strptime({raw}, {literal(column.format)})::DATE"
    return f"CASE WHEN {day} BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' THEN {day} END"


def _moment_sql(column: Column, raw: str) -> str:
    """The moment that a text names; one without zone is local time of the column's zone.

    An hour that daylight saving skips is read as the one after it, one that it repeats as the second.
    """
    local = literal(column.zone or "UTC")
    if column.format in EPOCHS:
        count = "1000" if column.format == "epoch_ms" else "1"
        number = f"TRY_CAST({raw} AS DOUBLE)"
        # Outside these seconds to_timestamp() raises, and so would one absurd value for every other file of the batch.
        known = f"{number} / {count} BETWEEN -62135596800 AND 253402300799 AND NOT contains({raw}, '_')"
        return f"CASE WHEN {known} THEN to_timestamp({number} / {count}) END"
    if column.format and column.format != TIMESTAMP_TEXT:
        parsed = f"try_strptime({raw}, {literal(column.format)})"
        time = parsed if "%z" in column.format else f"timezone({local}, {parsed})"
        return f"CASE WHEN {time} BETWEEN {_FIRST} AND {_LAST} THEN {time} END"
    time = f"TRY_CAST({raw} AS TIMESTAMPTZ)"
    if column.zone and column.zone != "UTC":
        time = f"CASE WHEN regexp_matches({raw}, {_LOCAL}) THEN timezone({local}, TRY_CAST({raw} AS TIMESTAMP)) ELSE {time} END"
    return f"CASE WHEN regexp_matches({raw}, {_DATED}) AND {time} BETWEEN {_FIRST} AND {_LAST} THEN {time} END"


def present_sql(recipe: Recipe, column: Column, raw: str) -> str:
    """The raw text, NULL where it is one of the recipe's or the column's missing markers."""
    absent = []
    if recipe.answer.missing or column.missing:
        absent.append(f"{raw} IN ({', '.join(literal(m) for m in [*recipe.answer.missing, *column.missing])})")
    if column.zero_is_missing:
        absent.append(f"coalesce(TRY_CAST({raw} AS DOUBLE) = 0, false)")
    return f"CASE WHEN NOT ({' OR '.join(absent)}) THEN {raw} END" if absent else raw


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


def _outside_sql(recipe: Recipe) -> str:
    """Whether a record lies outside what its file was asked for."""
    if recipe.date_column is None or (recipe.mode is RequestMode.BY_PERIOD and recipe.period != "session"):
        return "false"  # a fiscal year is no calendar year: what a vendor counts to a period is its own affair
    day = identifier(recipe.date_column)
    outside = f"{day} < _asked_from OR {day} > _asked_to"
    if recipe.mode is RequestMode.BY_VINTAGE and recipe.first_date is not None:
        # Vendors clip the dates of vintages to the window: on its first day stands what was in force by then, whatever its real date. Only
        # the history's first window has nothing before it.
        outside += f" OR ({day} = _asked_from AND _asked_from > DATE '{recipe.first_date.isoformat()}')"
    return f"coalesce({outside}, false)"


def typed_sql(recipe: Recipe, source: str, *, positioned: bool) -> str:
    """A query that types the records of `source`.

    The pipeline's own columns begin with an underscore, which no recipe's column may: a vendor's field may well be named `reason`.

    Args:
        recipe: declares the columns.
        source: a relation with _file_no, _r0, _r1, ... (the raw text of each declared column, NULL where absent) and _shape (a number for
            the fields that the record has), and, when positioned, _position (from 1, in the file's order), _raw_text and _line_error (why
            the line itself cannot be read, or NULL).
        positioned: whether position, raw text and reason are wanted; they cost twice the time, so only files that need them pay.

    Returns:
        a query with _file_no, [ticker], the declared columns, _verdict ('G' good, 'F' failed, 'W' out of window) and _shape, and when
        positioned _position, _raw_text and _reason. It joins the relation `files` (_file_no, ticker, _asked_from, _asked_to).
    """
    raws = {c.name: f"_r{i}" for i, c in enumerate(recipe.columns)}
    values = ", ".join(f"{value_sql(c, raws[c.name])} AS {identifier(c.name)}" for c in recipe.columns)
    bad = " OR ".join(bad_sql(c, raws[c.name]) for c in recipe.columns)
    reason = (
        "CASE " + " ".join(f"WHEN {bad_sql(c, raws[c.name])} THEN {reason_sql(c, raws[c.name])}" for c in recipe.columns) + " END"
    )
    outside = _outside_sql(recipe)
    own = ", ".join(identifier(name) for name, _ in recipe.silver_columns if name != TICKER_COLUMN)
    ticker = f"{TICKER_COLUMN}, " if recipe.per_ticker else ""
    extra = f", _position, _raw_text, coalesce(_line_error, {reason}) AS _reason" if positioned else ""
    broken = "_line_error IS NOT NULL OR " if positioned else ""
    return f"""
        SELECT _file_no, {ticker}{own}, CASE WHEN {outside} THEN 'W' WHEN {broken}{bad} THEN 'F' ELSE 'G' END AS _verdict, _shape{extra}
        FROM (SELECT s.*, f.ticker, f._asked_from, f._asked_to, {values} FROM ({source}) s JOIN files f USING (_file_no))
    """
