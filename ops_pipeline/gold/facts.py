"""What each fact is: its columns as SQL over one silver table.

Belongs here: one `Fact` per gold object, with the formulas that the tables' column comments state. Does not belong here: which rows are
rebuilt and how they are written (`build`).

Every formula looks at a fixed number of earlier rows of the same series and adds them up in a fixed order, so that a row built in an
increment is bit for bit the row of a full rebuild. DuckDB's windowed stddev_samp is not: its result depends on where the frame's partition
begins (seen: 88,340 of 2,000,000 rows differ by up to 2e-16), hence the sums over twenty lags, written out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops_pipeline.recipes.models import TICKER_COLUMN
from ops_pipeline.silver.typing_sql import identifier, literal

if TYPE_CHECKING:
    from ops_pipeline.recipes.models import GoldTarget, Recipe

VOLATILITY_WINDOW = 20
# Columns of fact_eod, from the least adjusted to the most.
PRICES = ("close", "split_adjusted_close", "adjusted_close")


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact table over one silver table.

    Attributes:
        table: the gold table.
        key: gold columns that identify a row, date last.
        values: gold columns that follow from silver, compared to find what changed.
        series: silver columns that identify a series (a ticker, a currency).
        reach: how many later rows of a series a change can reach; a row looks back as many.
        query: SQL that computes every gold column, and the series' name as `series`, from the relation `series_rows` (silver's rows
            with the series' name as `_series`, which no recipe's column can be called). Rows of a renamed instrument may come twice,
            under its old and its new symbol: see `one_a_key`.
        present: SQL for the fact's rows that this dataset feeds, with the series' name as `series`.
    """

    table: str
    key: tuple[str, ...]
    values: tuple[str, ...]
    series: str
    reach: int
    query: str
    present: str

    @property
    def of_instruments(self) -> bool:
        """Whether its rows are instruments', whose symbols may change."""
        return "instrument_id" in self.key

    @property
    def one_a_key(self) -> str:
        """The clause that keeps one row a key of the query's: a renamed instrument's by its later symbol."""
        if not self.of_instruments:
            return ""
        return f"QUALIFY row_number() OVER (PARTITION BY {', '.join(self.key)} ORDER BY preference) = 1"

    @property
    def reached_rows(self) -> str:
        """A condition on the table's rows that holds for all of the series in the temp table `reached`, and for few others.

        Which rows are a series' is found by joining days; without this, that is done for every row of the fact (ten times the time at a
        million rows).
        """
        if not self.of_instruments:
            return "true"
        return "instrument_id IN (SELECT instrument_id FROM gold.dim_instrument WHERE symbol IN (SELECT series FROM reached))"


def fact_of(recipe: Recipe) -> Fact:
    """The fact that a recipe feeds.

    Raises:
        ValueError: when the recipe feeds none.
    """
    if recipe.gold is None or recipe.date_column is None:
        raise ValueError(f"{recipe.dataset_key} feeds no gold object")
    return {"fact_eod": _eod, "fact_fx": _fx, "fact_series": _series}[recipe.gold.object](recipe, recipe.gold)


def _returns(price: str) -> str:
    """Simple and log return on a price; NULL where either price is absent or not positive, or their ratio is no double above zero."""
    ratio = f"{price} / lag({price}) OVER series_by_date"
    # DuckDB's ln() raises on zero, and 1e-320 / 1e300 is zero: one absurd price must not fail every other ticker's build.
    both = f"{price} > 0 AND lag({price}) OVER series_by_date > 0 AND isfinite({ratio}) AND {ratio} > 0"
    return f"CASE WHEN {both} THEN {ratio} - 1 END AS simple_return, CASE WHEN {both} THEN ln({ratio}) END AS log_return"


def _eod(recipe: Recipe, gold: GoldTarget) -> Fact:
    day, source, domain = identifier(recipe.date_column or ""), literal(recipe.source), literal(recipe.domain)
    # Never one for another: each is what the vendor says that it is, or NULL.
    close, split_adjusted, adjusted = (
        identifier(gold.columns[part]) if part in gold.columns else "NULL::DOUBLE" for part in PRICES
    )
    # A day without the least adjusted price that the vendor sends is no fact.
    least = next(part for part in PRICES if part in gold.columns)
    volume = identifier(gold.columns["volume"]) if "volume" in gold.columns else "NULL::BIGINT"
    returns = ["log_return", *(f"r{k}" for k in range(1, VOLATILITY_WINDOW))]
    earlier = ", ".join(f"lag(log_return, {k}) OVER series_by_date AS r{k}" for k in range(1, VOLATILITY_WINDOW))
    mean = f"({' + '.join(returns)}) / {VOLATILITY_WINDOW}"
    squares = " + ".join(f"({r} - mean) * ({r} - mean)" for r in returns)
    valid = "BETWEEN i.rows_from AND i.rows_to"
    query = f"""
        SELECT i.instrument_id, r.date, {source} AS source, r.close, r.split_adjusted_close, r.adjusted_close, r.volume,
            r.simple_return, r.log_return, sqrt(({squares}) / {VOLATILITY_WINDOW - 1}) AS volatility_20d, r.bronze_file_id,
            r.run_id, r.known_at, r.series, i.preference
        FROM (SELECT *, {mean} AS mean FROM (SELECT *, {earlier} FROM (
                SELECT _series AS series, {day} AS date, {close} AS close, {split_adjusted} AS split_adjusted_close,
                    {adjusted} AS adjusted_close, {volume} AS volume, {_returns(adjusted)}, bronze_file_id, run_id, known_at
                FROM series_rows WINDOW series_by_date AS (PARTITION BY _series ORDER BY {day})
            ) WINDOW series_by_date AS (PARTITION BY series ORDER BY date))) r
        JOIN gold.instrument_rows i ON i.symbol = r.series AND i.domain = {domain} AND r.date {valid}
        WHERE r.{least} IS NOT NULL"""
    present = f"""
        SELECT g.*, i.symbol AS series FROM gold.fact_eod g
        JOIN gold.instrument_rows i ON i.instrument_id = g.instrument_id AND i.domain = {domain} AND g.date {valid}
        WHERE g.source = {source}"""
    return Fact(
        table="gold.fact_eod",
        key=("instrument_id", "source", "date"),
        values=("close", "split_adjusted_close", "adjusted_close", "volume", "simple_return", "log_return", "volatility_20d"),
        series=TICKER_COLUMN,
        reach=VOLATILITY_WINDOW,
        query=query,
        present=present,
    )


def _fx(recipe: Recipe, gold: GoldTarget) -> Fact:
    day, rate, source = identifier(recipe.date_column or ""), identifier(gold.columns["rate"]), literal(recipe.source)
    query = f"""
        SELECT * FROM (SELECT 'EUR' AS base_currency, _series AS currency, {day} AS date, {source} AS source, {rate} AS rate,
                {_returns(rate)}, bronze_file_id, run_id, known_at, _series AS series
            FROM series_rows WINDOW series_by_date AS (PARTITION BY _series ORDER BY {day}))
        WHERE rate IS NOT NULL"""
    return Fact(
        table="gold.fact_fx",
        key=("base_currency", "currency", "source", "date"),
        values=("rate", "simple_return", "log_return"),
        series=gold.columns["currency"],
        reach=1,
        query=query,
        present=f"SELECT *, currency AS series FROM gold.fact_fx WHERE source = {source}",
    )


def _series(recipe: Recipe, gold: GoldTarget) -> Fact:
    day, value, source = identifier(recipe.date_column or ""), identifier(gold.columns["value"]), literal(recipe.source)
    change = f"{value} - lag({value}) OVER series_by_date"
    query = f"""
        SELECT *, series AS series_id FROM (SELECT _series AS series, {day} AS date, {source} AS source, {value} AS value,
                CASE WHEN isfinite({change}) THEN {change} END AS change, bronze_file_id, run_id, known_at
            FROM series_rows WINDOW series_by_date AS (PARTITION BY _series ORDER BY {day}))
        WHERE value IS NOT NULL"""
    return Fact(
        table="gold.fact_series",
        key=("series_id", "source", "date"),
        values=("value", "change"),
        series=TICKER_COLUMN,
        reach=1,
        query=query,
        present=f"SELECT *, series_id AS series FROM gold.fact_series WHERE source = {source}",
    )
