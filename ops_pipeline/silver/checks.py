"""The checks of silver's rows, each one query over a dataset's table.

Belongs here: their SQL. Does not belong here: which checks a dataset has (`recipes.checks`), when they are made and what becomes of the
result (`engine.checks`).

Every query gives one row a finding: `where` it is, and `what` is wrong. `touched` stands for a registered table of partitions with the
first and last day that may have changed (ticker, from_date, to_date), `expected` for one of wanted tickers and the last day of which rows
are expected (ticker, day).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops_pipeline.recipes.checks import Declared, Kind
from ops_pipeline.recipes.models import TICKER_COLUMN
from ops_pipeline.silver.typing_sql import identifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops_pipeline.recipes.checks import Bar
    from ops_pipeline.recipes.models import Recipe

# Vendors round adjusted prices one by one: a low may end a hair above its close.
_ROUNDING = "0.000001"


def query(recipe: Recipe, kind: Kind, *, touched: bool, actions: Sequence[Recipe] = ()) -> str:
    """The SQL of one check of a dataset.

    Args:
        recipe: the dataset; its silver table exists.
        kind: one of those that `Declared.kinds` lists and that look at silver's rows alone.
        touched: only rows of the registered table `touched`.
        actions: the recipes of the datasets on whose days prices may jump; their silver tables exist.

    Raises:
        ValueError: for a check that is made elsewhere.
    """
    declared = Declared(recipe)
    rows = _touched(recipe) if touched else recipe.silver_table
    match kind:
        case Kind.KEYS:
            keys = ", ".join(identifier(k) for k in recipe.silver_key)
            return f"""SELECT {_where(recipe)} AS "where", count(*) || ' rows' AS what FROM {rows} GROUP BY {keys} HAVING count(*) > 1"""
        case Kind.REQUIRED:
            lacking = [(c.name, f"{identifier(c.name)} IS NULL") for c in recipe.columns if c.required]
            return _rows_where(recipe, rows, [(condition, f"'no {name}'") for name, condition in lacking])
        case Kind.BARS:
            return _rows_where(recipe, rows, [wrong for bar in declared.bars for wrong in _bar(bar)])
        case Kind.PRICES:
            return _rows_where(recipe, rows, [_not(f"{identifier(c)} > 0", c) for c in declared.prices])
        case Kind.VOLUMES:
            return _rows_where(recipe, rows, [_not(f"{identifier(c)} >= 0", c) for c in declared.volumes])
        case Kind.TRADED:
            return _rows_where(recipe, rows, [(f"{identifier(c)} = 0", f"'{c} is 0'") for c in declared.volumes])
        case Kind.JUMPS:
            return _jumps(recipe, declared, actions, touched=touched and recipe.per_ticker)
        case Kind.FRESH:
            return _stale(recipe, declared.stale_after_days)
        case _:
            raise ValueError(f"{kind} is no check of silver's rows")


def _where(recipe: Recipe, table: str = "") -> str:
    """What names a row: its key, ticker first."""
    return f"concat_ws(' ', {', '.join(f'{table}{identifier(k)}' for k in recipe.silver_key)})"


def _touched(recipe: Recipe) -> str:
    """The rows that a run may have changed; all of them where rows have no days and no tickers."""
    mine = [f"s.{TICKER_COLUMN} = t.ticker"] if recipe.per_ticker else []
    if recipe.date_column:
        day = f"s.{identifier(recipe.date_column)}"
        mine.append(f"{day} BETWEEN coalesce(t.from_date, DATE '0001-01-01') AND coalesce(t.to_date, DATE '9999-12-31')")
    return f"(SELECT s.* FROM {recipe.silver_table} s SEMI JOIN touched t ON {' AND '.join(mine) or 'true'})"


def _rows_where(recipe: Recipe, rows: str, wrong: Sequence[tuple[str, str]]) -> str:
    """Rows for which a condition is true, once each, with the SQL that says what is wrong."""
    what = f"CASE {' '.join(f'WHEN {condition} THEN {said}' for condition, said in wrong)} END"
    return (
        f"""SELECT "where", what FROM (SELECT {_where(recipe)} AS "where", {what} AS what FROM {rows}) WHERE what IS NOT NULL"""
    )


def _not(good: str, column: str) -> tuple[str, str]:
    return f"NOT ({good} AND isfinite({identifier(column)}::DOUBLE))", f"'{column} is ' || {identifier(column)}"


def _bar(bar: Bar) -> list[tuple[str, str]]:
    low, high = identifier(bar.low), identifier(bar.high)
    found = []
    for column in (bar.high, bar.open, bar.close):
        if column:
            value = identifier(column)
            found.append((_above(low, value), f"'{bar.low} ' || {low} || ' is above {column} ' || {value}"))
            if column != bar.high:
                found.append((_above(value, high), f"'{column} ' || {value} || ' is above {bar.high} ' || {high}"))
    return found


def _above(one: str, other: str) -> str:
    return f"{one} - {other} > {_ROUNDING} * greatest(abs({one}), abs({other}))"


def _jumps(recipe: Recipe, declared: Declared, actions: Sequence[Recipe], *, touched: bool) -> str:
    day, price = identifier(recipe.date_column or ""), identifier(declared.jump_column or "")
    series = ", ".join(identifier(k) for k in recipe.silver_key if k != recipe.date_column)
    window = f"({f'PARTITION BY {series} ' if series else ''}ORDER BY {day})"
    factor = repr(float(declared.block.jump_factor))
    rows = recipe.silver_table
    if touched:
        # From the row before the first changed one to the row behind the last: these two jumps may be new as well.
        rows = f"""(SELECT s.* FROM {rows} s JOIN (SELECT t.ticker,
                    coalesce(max(s.{day}) FILTER (s.{day} < t.from_date), t.from_date, DATE '0001-01-01') AS first_day,
                    coalesce(min(s.{day}) FILTER (s.{day} > t.to_date), t.to_date, DATE '9999-12-31') AS last_day
                FROM touched t JOIN {rows} s ON s.{TICKER_COLUMN} = t.ticker GROUP BY t.ticker, t.from_date, t.to_date) t
            ON s.{TICKER_COLUMN} = t.ticker AND s.{day} BETWEEN t.first_day AND t.last_day)"""
    days = " UNION ALL ".join(
        f"SELECT {TICKER_COLUMN} AS ticker, {identifier(a.date_column or '')} AS day FROM {a.silver_table}" for a in actions
    )
    explained = (
        f" AND NOT EXISTS (SELECT 1 FROM ({days}) a WHERE a.ticker = j.{TICKER_COLUMN} AND a.day > j._day AND a.day <= j.{day})"
        if days and recipe.per_ticker
        else ""
    )
    return f"""SELECT {_where(recipe, "j.")} AS "where", '{declared.jump_column} ' || j._price || ' to ' || j.{price} AS what
        FROM (SELECT *, lag({price}) OVER {window} AS _price, lag({day}) OVER {window} AS _day FROM {rows} WHERE {price} > 0) j
        WHERE (j.{price} / j._price > {factor} OR j._price / j.{price} > {factor}){explained}"""


def _stale(recipe: Recipe, days: int) -> str:
    newest = f"max(s.{identifier(recipe.date_column or '')})"
    mine = f"s.{TICKER_COLUMN} = e.ticker" if recipe.per_ticker else "true"
    return f"""SELECT e.ticker AS "where", 'the newest row is of ' || {newest} || ', rows are expected up to ' || e.day AS what
        FROM {recipe.silver_table} s JOIN expected e ON {mine} GROUP BY e.ticker, e.day HAVING {newest} < e.day - {int(days)}"""
