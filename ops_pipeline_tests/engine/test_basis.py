"""Adjustment bases never mix: a split, a dividend, restatements, and a process that dies on the way."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ops_pipeline.engine.context import Context
from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.engine.plan import RunOptions, due_keys
from ops_pipeline.recipes.models import Recipe
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline.sources import Answer, Request
from ops_pipeline_tests.engine.home import PRICES, ledger, make_home, prices_recipe, run
from ops_pipeline_tests.engine.vendor import Vendor, weekdays
from ops_pipeline_tests.lake import DATE_COLUMN, recipe

ACTIONS = "vendor.splits"
KEY, OTHER, SPLITS = PartitionKey("AAA", PRICES), PartitionKey("BBB", PRICES), PartitionKey("AAA", ACTIONS)
MONDAY, LATER = date(2024, 1, 22), date(2024, 1, 26)


def adjusted(**changes: Any) -> Recipe:
    return prices_recipe(**{"refetch_on_restatement": True, "adjusted_by": [ACTIONS], "lookback_days": 3} | changes)


def splits() -> Recipe:
    columns = [DATE_COLUMN, {"name": "ratio", "type": "double", "required": True}]
    return recipe(dataset="splits", columns=columns, first_date=date(2024, 1, 1), lookback_days=0)


@dataclass
class Exchange:
    """A vendor whose adjusted closes follow from its splits; the raw close of AAA and BBB is 100 every day."""

    ratios: dict[date, float] = field(default_factory=dict)
    listed: dict[date, float] = field(default_factory=dict)
    without: set[date] = field(default_factory=set)
    cut: bool = False

    async def fetch(self, request: Request) -> AsyncIterator[Answer]:
        days = weekdays(request.from_date, request.to_date)
        if request.dataset == "splits":
            records = [{"date": str(d), "ratio": r} for d, r in self.listed.items() if d in days]
        else:
            records = [
                {"date": str(d), "close": 100, "volume": 1, "adjClose": self.adjusted(d, request.ticker)}
                for d in days[-3 if self.cut and len(days) > 8 else 0 :]
                if d not in self.without
            ]
        yield Answer(json.dumps(records).encode(), status_code=200)

    def adjusted(self, day: date, ticker: str) -> float:
        price = 100.0
        for when, ratio in self.ratios.items() if ticker == "AAA" else ():
            price = price / ratio if day < when else price
        return price


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest.fixture
def home(tmp_path: Path, exchange: Exchange) -> Context:
    return make_home(tmp_path / "home", Vendor(exchange.fetch), tickers=["AAA", "BBB"], recipes=[adjusted(), splits()])


def rows(home: Context, sql: str) -> list[dict[str, Any]]:
    with home.warehouse.reading() as connection:
        found: list[dict[str, Any]] = connection.execute(sql).to_arrow_table().to_pylist()
        return found


def assert_one_basis(home: Context, exchange: Exchange, *, ratios: dict[date, float]) -> None:
    """Every adjusted price is of the basis of these splits, in silver and gold, and no return is the split."""
    was, exchange.ratios = exchange.ratios, ratios
    for row in rows(home, "SELECT date, adj_close FROM silver.vendor_prices WHERE ticker = 'AAA'"):
        assert row["adj_close"] == exchange.adjusted(row["date"], "AAA"), row
    exchange.ratios = was
    assert rows(home, "SELECT date FROM gold.fact_eod WHERE simple_return NOT BETWEEN -0.02 AND 0.02") == [] or not ratios


def split(exchange: Exchange, day: date, ratio: float) -> None:
    # Raw closes are flat, so an adjusted history of one basis steps at the split itself and nowhere else.
    exchange.ratios[day] = ratio


def holds(home: Context) -> list[str | None]:
    return [row.silver_hold for row in ledger(home, "dataset = 'prices' AND ticker = 'AAA'")]


def basis(home: Context) -> set[tuple[bool, float]]:
    found = rows(
        home, "SELECT DISTINCT date < DATE '2024-01-24' AS early, adj_close FROM silver.vendor_prices WHERE ticker = 'AAA'"
    )
    return {(r["early"], r["adj_close"]) for r in found}


def test_a_split_is_held_and_the_whole_history_replaces_the_partition(home: Context, exchange: Exchange) -> None:
    run(home, KEY, OTHER, today=MONDAY)
    exchange.ratios[date(2024, 1, 24)] = 2.0
    held = run(home, KEY, OTHER, today=LATER)
    assert (held[KEY].kind, held[OTHER].kind) == (OutcomeKind.UNCHANGED, OutcomeKind.PROMOTED)
    assert "held" in held[KEY].reason
    assert holds(home) == ["whole", "held"]
    assert basis(home) == {(True, 100.0)}  # the old basis, alone
    flagged = rows(home, "SELECT DISTINCT ticker, reason FROM silver.mixed_basis")
    assert flagged == [{"ticker": "AAA", "reason": "an answer restates stored rows"}]
    assert KEY in due_keys(home, RunOptions(today=LATER))
    assert OTHER not in due_keys(home, RunOptions(today=LATER))
    done = run(home, KEY, today=LATER)
    assert done[KEY].kind is OutcomeKind.PROMOTED
    assert holds(home) == ["whole", "released", "whole"]
    assert basis(home) == {(True, 50.0), (False, 100.0)}
    assert rows(home, "FROM silver.mixed_basis") == []
    assert run(home, KEY, today=LATER)[KEY].kind is OutcomeKind.UP_TO_DATE
    changed = rows(home, "SELECT DISTINCT column_name, old_value, new_value FROM silver.restatements")
    assert changed == [{"column_name": "adj_close", "old_value": "100.0", "new_value": "50.0"}]
    built = rows(
        home,
        """SELECT f.date, f.adjusted_close, s.adj_close FROM gold.fact_eod f JOIN gold.dim_instrument i USING (instrument_id)
        FULL JOIN silver.vendor_prices s ON s.ticker = i.symbol AND s.date = f.date WHERE f.adjusted_close IS DISTINCT FROM s.adj_close""",
    )
    assert built == []


def test_what_the_whole_history_lacks_is_deleted_counted_and_kept_in_the_history(home: Context, exchange: Exchange) -> None:
    run(home, KEY, today=MONDAY)
    exchange.ratios[date(2024, 1, 24)], exchange.without = 2.0, {date(2024, 1, 1), date(2024, 1, 10)}
    run(home, KEY, today=LATER)
    [outcome] = run(home, KEY, today=LATER).values()
    assert sum(f.silver_rows_deleted for f in outcome.files) == 2
    for table in ("silver.vendor_prices", "gold.fact_eod"):
        assert rows(home, f"SELECT date FROM {table} WHERE date IN (DATE '2024-01-01', DATE '2024-01-10')") == []
    gone = rows(
        home,
        "SELECT date, new_value FROM silver.restatements WHERE operation = 'deleted' AND column_name = 'close' ORDER BY date",
    )
    assert gone == [{"date": date(2024, 1, 1), "new_value": None}, {"date": date(2024, 1, 10), "new_value": None}]


def test_a_new_split_makes_the_history_due_where_no_overlap_differs(home: Context, exchange: Exchange) -> None:
    keys = [KEY, OTHER, SPLITS]
    run(home, *keys, today=MONDAY)
    exchange.listed[date(2024, 1, 24)] = 2.0  # the vendor lists it, and scales its prices days later
    run(home, *keys, today=LATER)
    assert holds(home) == ["whole", None]
    [flag] = rows(home, "SELECT ticker, max(date) AS last, any_value(reason) AS reason FROM silver.mixed_basis GROUP BY ticker")
    assert (flag["ticker"], flag["last"]) == ("AAA", date(2024, 1, 23))
    assert ACTIONS in flag["reason"]
    assert [k for k in due_keys(home, RunOptions(today=LATER)) if k.dataset == PRICES] == [KEY]
    exchange.ratios = dict(exchange.listed)
    run(home, KEY, today=LATER)
    assert basis(home) == {(True, 50.0), (False, 100.0)}
    assert [k for k in due_keys(home, RunOptions(today=LATER)) if k.dataset == PRICES] == []
    assert rows(home, "FROM silver.mixed_basis") == []


def test_a_history_that_shrank_to_nothing_replaces_nothing(home: Context, exchange: Exchange) -> None:
    run(home, KEY, today=MONDAY)
    before = basis(home)
    exchange.ratios[date(2024, 1, 24)], exchange.cut = 2.0, True
    run(home, KEY, today=LATER)
    [outcome] = run(home, KEY, today=LATER).values()
    assert outcome.kind is OutcomeKind.FAILED
    assert "cut answer" in outcome.reason
    assert basis(home) == before
    exchange.cut = False
    run(home, KEY, today=LATER)
    assert basis(home) == {(True, 50.0), (False, 100.0)}


def test_a_promotion_that_dies_leaves_the_hold_to_the_next_run(home: Context, exchange: Exchange) -> None:
    run(home, KEY, today=MONDAY)
    exchange.ratios[date(2024, 1, 24)] = 2.0
    for _ in range(
        2
    ):  # fetched and recorded, never promoted: as after a kill between the layers; first the overlap, then all of it
        run(home, KEY, today=LATER, layers=frozenset({"bronze"}))
        run(home, KEY, today=LATER, layers=frozenset({"silver", "gold"}))
    assert holds(home) == ["whole", "released", "whole"]
    assert basis(home) == {(True, 50.0), (False, 100.0)}
