"""The checks of the data: each is seen to pass and to fail, over everything and over what a run touched."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ops_pipeline.engine.checks import check_after_run, check_now, standing_results
from ops_pipeline.engine.context import Context
from ops_pipeline.ops.check_results import CheckResult
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.recipes.checks import Declared, Kind
from ops_pipeline.recipes.loading import load_catalogue
from ops_pipeline.recipes.models import Recipe
from ops_pipeline.silver import checks as silver_checks
from ops_pipeline.silver.tables import ensure_tables
from ops_pipeline.sources import Answer, Request
from ops_pipeline_tests.engine.home import PRICES, make_home, run
from ops_pipeline_tests.engine.vendor import Vendor, weekdays
from ops_pipeline_tests.lake import DATE_COLUMN, PRICE_COLUMNS, Lake, price_recipe, recipe

SPLITS = "vendor.splits"
FRIDAY, LATER = date(2024, 1, 19), date(2024, 1, 26)
BAR = [{"name": name, "type": "double"} for name in ("open", "high", "low")]


def bars(**changes: Any) -> Recipe:
    about = {"first_date": date(2024, 1, 1), "calendar": "weekdays", "columns": [*PRICE_COLUMNS, *BAR]}
    return price_recipe(**about | changes)


def splits() -> Recipe:
    columns = [DATE_COLUMN, {"name": "ratio", "type": "double", "required": True}]
    return recipe(dataset="splits", columns=columns, first_date=date(2024, 1, 1))


class Exchange(Vendor):
    """Every price is 100 every day, but for what a test says."""

    def __init__(self) -> None:
        super().__init__(self.answer)
        self.other: dict[tuple[str, date], dict[str, object]] = {}

    async def answer(self, request: Request) -> AsyncIterator[Answer]:
        days = weekdays(request.from_date, request.to_date)
        if request.dataset == "splits":
            yield Answer(json.dumps([{"date": "2024-01-10", "ratio": 10}]).encode(), status_code=200)
            return
        usual = {"open": 100, "high": 101, "low": 99, "close": 100, "adjClose": 100, "volume": 7}
        records = [{"date": str(d), **usual, **self.other.get((request.ticker, d), {})} for d in days]
        yield Answer(json.dumps(records).encode(), status_code=200)


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with good data, for copies."""
    folder = tmp_path_factory.mktemp("good")
    made(folder, Exchange(), bars())
    return folder / "home"


@pytest.fixture
def home(tmp_path: Path, good: Path, exchange: Exchange) -> Context:
    shutil.copytree(good, tmp_path / "home")
    return make_home(tmp_path / "home", exchange, tickers=["AAA", "BBB"], recipes=[bars()], today=FRIDAY)


def made(folder: Path, exchange: Exchange, *recipes: Recipe) -> Context:
    context = make_home(folder / "home", exchange, tickers=["AAA", "BBB"], recipes=recipes, today=FRIDAY)
    run(context, today=FRIDAY)
    return context


def spoil(home: Context, *statements: str) -> None:
    with home.warehouse.transaction() as connection:
        for statement in statements:
            connection.execute(statement)


def failing(results: list[CheckResult]) -> dict[str, CheckResult]:
    return {r.check_name: r for r in results if not r.passed}


ROW = "WHERE ticker = 'AAA' AND date = DATE '2024-01-09'"
SILVER = "UPDATE silver.vendor_prices SET"
# What is done to good data; the check that must find it, how often, and what it says of it; the other checks that find it as well.
SPOILT: dict[Kind, tuple[list[str], int, str, set[Kind]]] = {
    Kind.KEYS: (
        [f"INSERT INTO silver.vendor_prices SELECT * FROM silver.vendor_prices {ROW}"],
        1,
        "AAA 2024-01-09: 2 rows",
        set(),
    ),
    Kind.REQUIRED: (
        ["ALTER TABLE silver.vendor_prices ALTER close DROP NOT NULL", f"{SILVER} close = NULL {ROW}"],
        1,
        "AAA 2024-01-09: no close",
        {Kind.GOLD},
    ),
    Kind.RECORDS: (
        ["UPDATE ops.file_ingestions SET bronze_rows = bronze_rows + 1 WHERE ticker = 'BBB'"],
        1,
        "16 records read, 15 accounted for",
        set(),
    ),
    Kind.BARS: ([f"{SILVER} low = 100.5 {ROW}"], 1, "AAA 2024-01-09: low 100.5 is above open 100.0", set()),
    Kind.PRICES: ([f"{SILVER} adj_close = 0 {ROW}"], 1, "AAA 2024-01-09: adj_close is 0.0", {Kind.GOLD}),
    Kind.JUMPS: ([f"{SILVER} adj_close = 1000 {ROW}"], 2, "AAA 2024-01-09: adj_close 100.0 to 1000.0", {Kind.GOLD}),
    Kind.VOLUMES: ([f"{SILVER} volume = -1 {ROW}"], 1, "AAA 2024-01-09: volume is -1", {Kind.GOLD}),
    Kind.TRADED: ([f"{SILVER} volume = 0 {ROW}"], 1, "AAA 2024-01-09: volume is 0", {Kind.GOLD}),
    Kind.FRESH: (
        ["DELETE FROM silver.vendor_prices WHERE ticker = 'AAA' AND date > DATE '2024-01-12'"],
        1,
        "AAA: the newest row is of 2024-01-12, rows are expected up to 2024-01-19",
        {Kind.GOLD},
    ),
    Kind.GOLD: (
        ["UPDATE gold.fact_eod SET volume = 8 WHERE date = DATE '2024-01-09'"],
        2,
        "2024-01-09: volume is 8, silver gives 7",
        set(),
    ),
}


def test_every_kind_is_seen_to_fail() -> None:
    assert set(SPOILT) == set(Kind)


@pytest.mark.parametrize("kind", SPOILT)
def test_a_check_passes_on_good_data_and_finds_bad_ones(home: Context, kind: Kind) -> None:
    good = check_now(home)
    assert {r.check_name for r in good} == {k.value for k in Kind}
    assert not failing(good)
    statements, count, said, others = SPOILT[kind]
    spoil(home, *statements)
    found = failing(check_now(home))
    assert set(found) == {kind.value, *(k.value for k in others)}
    result = found[kind.value]
    assert (result.dataset_key, result.layer, result.severity) == (PRICES, kind.layer, kind.severity)
    assert result.findings == count == len(result.first_findings)
    assert said in f"{result.first_findings[0].where}: {result.first_findings[0].what}"
    with home.warehouse.reading() as connection:
        stored = standing_results(home, connection)
    assert failing(stored) == found
    assert [r.passed for r in stored] == sorted(r.passed for r in stored)


def test_a_bar_is_as_wide_as_its_prices(home: Context) -> None:
    rows = {
        "high = 99.5": "open 100.0 is above high 99.5",
        "low = 102, open = 103, close = 103, high = 101": "low 102.0 is above high 101.0",
        "close = 101.5": "close 101.5 is above high 101.0",
        "low = 100.00001": None,
        "open = NULL": None,
        "high = NULL, low = NULL": None,
    }
    days = weekdays(date(2024, 1, 8), FRIDAY)
    spoil(home, *(f"{SILVER} {row} WHERE ticker = 'AAA' AND date = DATE '{d}'" for row, d in zip(rows, days, strict=False)))
    [result] = check_now(home, kinds=[Kind.BARS])
    expected = [(f"AAA {day}", wrong) for wrong, day in zip(rows.values(), days, strict=False) if wrong]
    assert [(f.where, f.what) for f in result.first_findings] == expected


def test_a_corporate_action_explains_a_jump(tmp_path: Path, exchange: Exchange) -> None:
    for day in weekdays(date(2024, 1, 1), date(2024, 1, 9)):
        exchange.other["AAA", day] = {"adjClose": 1000}
    home = made(tmp_path, exchange, bars(checks={"actions": [SPLITS]}), splits())
    assert not failing(check_now(home, kinds=[Kind.JUMPS]))
    spoil(home, "DELETE FROM silver.vendor_splits")
    assert failing(check_now(home, kinds=[Kind.JUMPS]))[Kind.JUMPS].first_findings[0].where == "AAA 2024-01-10"


def test_where_sessions_need_no_rows_the_answers_tell_how_fresh_it_is(tmp_path: Path, exchange: Exchange) -> None:
    home = made(tmp_path, exchange, splits())
    assert not failing(check_now(home))
    spoil(
        home, "UPDATE ops.file_ingestions SET bronze_injest_end_time = TIMESTAMPTZ '2024-01-14 12:00:00+00' WHERE ticker = 'AAA'"
    )
    found = failing(check_now(home))
    assert set(found) == {Kind.FRESH.value}
    assert [(f.where, f.what) for f in found[Kind.FRESH].first_findings] == [("AAA", "the newest answer is of 2024-01-14")]


# --- after a run ------------------------------------------------------------------------------------------------------------------


def test_after_a_run_what_it_touched_is_looked_at_and_a_finding_stays_until_it_is_mended(
    home: Context, exchange: Exchange
) -> None:
    told: list[str] = []
    assert check_after_run(home, "no-such-run", told.append) == []
    assert {r.partitions for r in check_now(home)} == {None}
    # The first new row jumps from the last old one, and one row behind it is broken.
    exchange.other["AAA", date(2024, 1, 22)] = {"adjClose": 1000}
    exchange.other["AAA", date(2024, 1, 24)] = {"low": 100.5}
    run(home, today=LATER, run_id="second")
    second = {r.check_name: r for r in check_after_run(home, "second", told.append)}
    assert set(failing(list(second.values()))) == {Kind.BARS.value, Kind.JUMPS.value}
    assert second[Kind.JUMPS].findings == 2
    assert {name for name, r in second.items() if r.partitions == 2} == {
        k.value for k in Kind if k not in (Kind.FRESH, Kind.RECORDS)
    }
    assert {r.run_id for r in second.values()} == {"second"}
    assert told == [
        f"checks of the data found errors ({PRICES} {Kind.BARS.value}: 1); `ops-pipeline checks` shows them",
    ]
    run(home, today=date(2024, 2, 2), run_id="third")
    third = {r.check_name: r for r in check_after_run(home, "third", told.append)}
    assert third[Kind.BARS].findings == 1, "nobody mended it"
    assert (third[Kind.BARS].partitions, third[Kind.PRICES].partitions) == (None, 2)
    exchange.other.clear()
    run(home, today=date(2024, 2, 2), run_id="fourth", full=True)
    assert not failing(check_after_run(home, "fourth", told.append))


def test_rows_that_wait_for_gold_are_not_missed_there(home: Context) -> None:
    run(home, today=LATER, run_id="second", layers=frozenset({"bronze", "silver"}))
    results = check_after_run(home, "second", lambda _: None)
    assert not failing(results)
    assert Kind.GOLD.value not in {r.check_name for r in results}


# --- declaring --------------------------------------------------------------------------------------------------------------------


def test_a_recipe_says_what_is_checked_and_how_grave_it_is(home: Context, tmp_path: Path, exchange: Exchange) -> None:
    block = {"severity": {"prices_do_not_jump": "error", "sessions_have_volume": "skip"}, "jump_factor": 1.5, "bars": []}
    other = make_home(tmp_path / "home", exchange, tickers=["AAA", "BBB"], recipes=[bars(checks=block)], today=FRIDAY)
    spoil(home, f"{SILVER} adj_close = 160 {ROW}", f"{SILVER} volume = 0 {ROW}", f"{SILVER} low = 200 {ROW}")
    found = failing(check_now(other))
    assert found[Kind.JUMPS].severity == "error"
    assert not {Kind.TRADED.value, Kind.BARS.value} & set(found)
    check_now(home)
    with home.warehouse.reading() as connection:
        assert Kind.TRADED.value in {r.check_name for r in standing_results(home, connection)}
        assert Kind.TRADED.value not in {r.check_name for r in standing_results(other, connection)}


def test_a_recipe_without_the_block_keeps_its_text() -> None:
    assert '"checks"' not in bars().text
    assert '"checks":{"sample":9}' in bars(checks={"sample": 9}).text
    assert bars().recipe_hash != bars(checks={"sample": 9}).recipe_hash


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"prices": ["date"]}, "checks: prices: date must be a column of type double or integer"),
        ({"bars": [{"low": "low", "high": "top"}]}, "checks: bars: top must be"),
        ({"severity": {"prices_are_nice": "warn"}}, "prices_are_positive"),
        ({"severity": {"prices_are_positive": "fatal"}}, "'error', 'warn' or 'skip'"),
        ({"jump_factor": 1}, "greater than 1"),
        ({"unknown": 1}, "Extra inputs"),
    ],
)
def test_a_wrong_block_is_refused_by_what_is_wrong(block: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bars(checks=block)


def test_what_follows_from_packaged_recipes_are_checks_that_can_be_made(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    recipes = {name: one for name, one in load_catalogue().recipes.items() if Declared(one).prices or name == "fmp.profile"}
    with lake.warehouse.transaction() as connection:
        connection.execute("CREATE TEMP TABLE touched (ticker TEXT, from_date DATE, to_date DATE)")
        connection.execute("CREATE TEMP TABLE expected (ticker TEXT, day DATE)")
        for one in recipes.values():
            ensure_tables(OpsRepo(connection), one)
            declared = Declared(one)
            for kind in set(declared.kinds()) - {Kind.RECORDS, Kind.GOLD}:
                if kind is not Kind.FRESH or declared.rows_every_session:
                    for touched in (False, True):
                        assert connection.execute(silver_checks.query(one, kind, touched=touched)).fetchall() == []
    assert [bar.high for bar in Declared(recipes["fmp.eod-prices.dividend-adjusted"]).bars] == ["adj_high"]
