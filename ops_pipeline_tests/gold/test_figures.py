"""Gold's figures against an independent computation, on real data, random series and absurd ones."""

from __future__ import annotations

import csv
import gzip
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_pipeline.gold.facts import fact_of
from ops_pipeline.recipes.loading import load_catalogue
from ops_pipeline_tests.gold.reference import Figures, figures
from ops_pipeline_tests.lake import PRICE_GOLD, Lake, body_of, fx_recipe, price_recipe, recipe

START = date(2020, 1, 1)


def _days(count: int) -> list[date]:
    return [START + timedelta(days=n * 3) for n in range(count)]


def _records(prices: list[float | None]) -> list[dict[str, object]]:
    return [{"date": str(day), "close": 10.0, "adjClose": price} for day, price in zip(_days(len(prices)), prices, strict=True)]


def _found(lake: Lake, symbol: str, table: str = "gold.fact_eod") -> list[Figures]:
    which = "instrument_id = (SELECT instrument_id FROM gold.dim_instrument WHERE symbol = ?)"
    volatility = "volatility_20d" if table == "gold.fact_eod" else "NULL AS volatility_20d"
    where = which if table == "gold.fact_eod" else "currency = ?"
    rows = lake.rows(f"SELECT simple_return, log_return, {volatility} FROM {table} WHERE {where} ORDER BY date", [symbol])
    return [Figures(**row) for row in rows]


def _agree(found: list[Figures], wanted: list[Figures]) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.close_to(other), (one, other)


def _packaged(symbol: str) -> list[dict[str, str]]:
    folders = find_spec("bokeh_sampledata")
    assert folders is not None
    path = Path(str(folders.origin)).parent / "_data" / "stocks.csv.gz"
    with gzip.open(path, "rt", newline="") as file:
        return [row for row in csv.DictReader(file) if row["Ticker"] == symbol]


def _through_sample(lake: Lake, symbol: str, rows: list[dict[str, str]]) -> None:
    made = load_catalogue().recipes["sample.eod-prices"]
    records = [
        {"date": r["Date"], "close": float(r["Close"]), "volume": int(float(r["Volume"])), "adjClose": float(r["Adj Close"])}
        for r in rows
    ]
    lake.through(made, body_of(list(reversed(records))), ticker=symbol)


@pytest.mark.parametrize("symbol", ["AAPL", "IBM"])
def test_the_sample_s_first_rows(lake: Lake, symbol: str) -> None:
    rows = _packaged(symbol)[:120]
    _through_sample(lake, symbol, rows)
    _agree(_found(lake, symbol), figures([float(row["Adj Close"]) for row in rows]))
    (first,) = lake.rows("SELECT * FROM gold.fact_eod ORDER BY date LIMIT 1")
    assert (first["simple_return"], first["log_return"], first["volatility_20d"]) == (None, None, None)
    assert (str(first["date"]), first["close"], first["source"]) == (rows[0]["Date"], float(rows[0]["Close"]), "sample")
    assert (first["adjusted_close"], first["volume"]) == (float(rows[0]["Adj Close"]), int(float(rows[0]["Volume"])))


def test_figures_worked_out_once_and_written_down(lake: Lake) -> None:
    _through_sample(lake, "AAPL", _packaged("AAPL")[:22])
    rows = lake.rows("SELECT date, simple_return, log_return, volatility_20d FROM gold.fact_eod ORDER BY date")
    by_day = {str(row.pop("date")): row for row in rows}
    assert by_day["2000-03-02"]["simple_return"] == pytest.approx(-0.06377100759728449, rel=1e-12)
    assert by_day["2000-03-02"]["log_return"] == pytest.approx(-0.06589518242357562, rel=1e-12)
    assert [row["volatility_20d"] is None for row in rows] == [True] * 20 + [False] * 2
    assert by_day["2000-03-29"]["volatility_20d"] == pytest.approx(0.040263066864870446, rel=1e-12)


_prices = st.one_of(
    st.floats(0.01, 1e6),
    st.floats(0.01, 1e6),
    st.floats(0.01, 1e6),
    st.sampled_from([1.0, None, 0.0, -1.5, 1e-320, 1e300, 5e-324]),
)
_series = st.lists(st.one_of(st.floats(1, 200), st.floats(1, 200), _prices), min_size=1, max_size=60)


@given(series=st.lists(_series, min_size=1, max_size=4))
@settings(max_examples=15)
def test_random_series(shared_lake: Lake, series: list[list[float | None]]) -> None:
    shared_lake.clear()
    made = price_recipe()
    rows = [shared_lake.stored(made, body_of(_records(prices)), ticker=f"T{n}") for n, prices in enumerate(series)]
    shared_lake.record(made, rows)
    shared_lake.to_silver(made)
    shared_lake.to_gold(made)
    for n, prices in enumerate(series):
        _agree(_found(shared_lake, f"T{n}"), figures(prices))


def test_absurd_prices_of_one_ticker_fail_nobody(lake: Lake) -> None:
    made = price_recipe()
    absurd: list[float | None] = [1e300, 1e-320, 1e300, 1.7e308, 5e-324, 0.0, -1.0, None, 1.0, 2.0]
    rows = [lake.stored(made, body_of(_records(p)), ticker=t) for t, p in (("BAD", absurd), ("GOOD", [1.0, 1.5]))]
    lake.record(made, rows)
    lake.to_silver(made)
    lake.to_gold(made)
    assert [row.simple_return for row in _found(lake, "GOOD")] == [None, 0.5]
    _agree(_found(lake, "BAD"), figures(absurd))
    assert [row.simple_return for row in _found(lake, "BAD")][-3:] == [None, None, 1.0]


def test_a_gap_in_the_window_leaves_the_volatility_open_until_it_has_passed(lake: Lake) -> None:
    prices: list[float | None] = [100.0 + n % 7 for n in range(70)]
    prices[30] = None  # two returns are missing: into the gap and out of it
    lake.through(price_recipe(), body_of(_records(prices)))
    known = [n for n, row in enumerate(_found(lake, "AAA")) if row.volatility_20d is not None]
    assert known == [*range(20, 30), *range(51, 70)]


def test_a_missing_adjusted_close_is_never_the_close(lake: Lake) -> None:
    gold = {"object": "fact_eod", "columns": {"close": "close"}}
    lake.through(recipe(gold=gold), body_of(_records([1.0, 2.0])))
    rows = lake.rows("SELECT close, adjusted_close, volume, simple_return, log_return, volatility_20d FROM gold.fact_eod")
    assert (
        rows
        == [{"close": 10.0} | dict.fromkeys(["adjusted_close", "volume", "simple_return", "log_return", "volatility_20d"])] * 2
    )


def test_a_day_without_close_is_no_fact_and_fails_nobody(lake: Lake) -> None:
    columns: list[dict[str, Any]] = [
        {"name": "date", "type": "date", "required": True},
        {"name": "close", "type": "double"},
        {"name": "adj_close", "type": "double", "from": "adjClose"},
        {"name": "volume", "type": "integer"},
    ]
    made = recipe(columns=columns, gold=PRICE_GOLD)
    records = _records([1.0, 2.0, 4.0])
    records[1]["close"] = None
    row = lake.through(made, body_of(records))
    assert [r.simple_return for r in _found(lake, "AAA")] == [None, 1.0]
    assert (row.gold_rows_created, row.status) == (2, "promoted")


def test_rates(lake: Lake) -> None:
    made = fx_recipe()
    usd, jpy = [1.5, 1.25, 1.0, 2.0], [100.0, None, 125.0, 120.0]
    lines = [f"{day},{u},{j or 'N/A'},\n" for day, u, j in zip(_days(4), usd, jpy, strict=True)]
    lake.through(made, ("Date,USD,JPY,\n" + "".join(lines)).encode())
    assert [row.simple_return for row in _found(lake, "USD", "gold.fact_fx")] == [None, 1.25 / 1.5 - 1, 1.0 / 1.25 - 1, 1.0]
    _agree(_found(lake, "JPY", "gold.fact_fx"), list(map(_no_volatility, figures([100.0, 125.0, 120.0]))))
    keys = lake.rows("SELECT DISTINCT base_currency, source FROM gold.fact_fx")
    assert keys == [{"base_currency": "EUR", "source": "vendor"}]


def _no_volatility(row: Figures) -> Figures:
    return Figures(row.simple_return, row.log_return, None)


def test_a_recipe_without_gold_feeds_nothing() -> None:
    with pytest.raises(ValueError, match=r"vendor\.prices feeds no gold object"):
        fact_of(recipe())


def test_columns_may_have_the_names_of_gold_s_own(lake: Lake) -> None:
    columns: list[dict[str, Any]] = [
        {"name": "series", "type": "date", "required": True, "from": "date"},
        {"name": "date", "type": "text"},
        {"name": "adjusted_close", "type": "double", "from": "close"},
        {"name": "close", "type": "double", "from": "adjClose"},
        {"name": "source", "type": "text"},
        {"name": "order", "type": "integer"},
    ]
    gold = {"object": "fact_eod", "columns": {"close": "adjusted_close", "adjusted_close": "close", "volume": "order"}}
    made = recipe(columns=columns, key=["series"], date_column="series", gold=gold)
    lake.through(made, body_of(_records([1.0, 1.5])))
    rows = lake.rows("SELECT close, adjusted_close, simple_return, source FROM gold.fact_eod ORDER BY date")
    assert [tuple(row.values()) for row in rows] == [(10.0, 1.0, None, "vendor"), (10.0, 1.5, 0.5, "vendor")]
