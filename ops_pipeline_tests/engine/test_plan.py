"""What is asked, and what is not: options, holes, what waits to be promoted.

Belongs here: plans over a real ledger that real runs wrote. Does not belong here: the arithmetic of dates (`ops` tests), and what is due
(`test_due`).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops_pipeline.engine.calendars import Calendars
from ops_pipeline.engine.context import Context
from ops_pipeline.engine.outcome import Outcome, OutcomeKind
from ops_pipeline.engine.plan import RunOptions, due_keys, plan
from ops_pipeline.ops.sessions import Sessions
from ops_pipeline.recipes.models import NO_TICKER, Recipe
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline_tests.engine.home import (
    FEBRUARY,
    FIRST,
    JANUARY,
    PRICES,
    RATES,
    asking,
    assert_tidy,
    contents,
    key,
    ledger,
    make_home,
    prices_recipe,
    run,
)
from ops_pipeline_tests.engine.vendor import Vendor, market
from ops_pipeline_tests.warehouse.conftest import is_locked

AAA = key("AAA")
LAYERS = ("bronze", "silver", "gold")


def test_calendars_are_looked_up_while_the_database_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look at an exchange's calendar takes seconds, and nobody else must wait for it."""
    context = make(tmp_path, every_session=True)
    run(context, today=JANUARY)
    free, look_up = [], Calendars.of

    def watched(calendars: Calendars, recipe: Recipe) -> Sessions:
        free.append(not is_locked(context.settings.database_path))
        return look_up(calendars, recipe)

    monkeypatch.setattr(Calendars, "of", watched)
    run(context)
    assert len(free) > 1
    assert all(free)


def windows(context: Context, *keys: PartitionKey, **options: Any) -> list[tuple[date | None, date | None]]:
    """The windows that would be asked of one key, or of several, in order."""
    chosen = RunOptions(**{"today": FEBRUARY} | options)
    return [(r.from_date, r.to_date) for item in plan(context, keys or [AAA], chosen) for r in item.requests]


def make(tmp_path: Path, vendor: Vendor | None = None, **recipe: Any) -> Context:
    return make_home(tmp_path, vendor or Vendor(market), recipes=[prices_recipe(**recipe)], tickers=["AAA"])


# --- windows ------------------------------------------------------------------------------------------------------------------


def test_nothing_stored_yet(tmp_path: Path) -> None:
    context = make(tmp_path)
    assert windows(context) == [(FIRST, FEBRUARY)]
    assert windows(context, today=None, now=datetime(2024, 1, 10, 12, tzinfo=UTC)) == [(FIRST, date(2024, 1, 10))]
    assert windows(context, to_date=date(2024, 1, 5)) == [(FIRST, date(2024, 1, 5))]
    assert windows(context, from_date=date(2024, 1, 5)) == [(date(2024, 1, 5), FEBRUARY)]
    assert windows(context, from_date=date(2023, 1, 5)) == [(FIRST, FEBRUARY)]
    assert windows(context, from_date=FEBRUARY + timedelta(days=1)) == []
    assert windows(context, today=FIRST - timedelta(days=1)) == []
    assert windows(context, today=FIRST - timedelta(days=1), full=True) == []
    # Named twice, a key is asked once.
    assert windows(context, AAA, AAA) == [(FIRST, FEBRUARY)]


def test_the_time_that_decides_is_the_recipes_own(tmp_path: Path) -> None:
    context = make(tmp_path, timezone="America/New_York", settles_at="18:00", settles_after_days=1)
    before, after = datetime(2024, 1, 10, 22, 59, tzinfo=UTC), datetime(2024, 1, 10, 23, tzinfo=UTC)
    assert windows(context, today=None, now=before) == [(FIRST, date(2024, 1, 8))]
    assert windows(context, today=None, now=after) == [(FIRST, date(2024, 1, 9))]
    assert windows(context, now=before) == [(FIRST, FEBRUARY - timedelta(days=1))]


def test_after_a_run(tmp_path: Path) -> None:
    context = make(tmp_path)
    run(context, today=JANUARY)
    assert windows(context, today=JANUARY) == []
    assert windows(context, today=date(2024, 1, 15)) == []
    # The day after the watermark, less the recipe's three days.
    assert windows(context) == [(date(2024, 1, 29), FEBRUARY)]
    assert windows(context, lookback_days=0) == [(date(2024, 2, 1), FEBRUARY)]
    assert windows(context, lookback_days=5) == [(date(2024, 1, 27), FEBRUARY)]
    assert windows(context, lookback_days=5000) == [(FIRST, FEBRUARY)]
    assert windows(context, today=JANUARY, lookback_days=5) == [(date(2024, 1, 27), JANUARY)]
    assert windows(context, today=JANUARY, full=True) == [(FIRST, JANUARY)]
    assert windows(context, today=JANUARY, full=True, to_date=date(2024, 1, 9)) == [(FIRST, date(2024, 1, 9))]
    assert windows(context, today=JANUARY, from_date=date(2024, 1, 20)) == [(date(2024, 1, 20), JANUARY)]
    assert windows(context, layers=frozenset({"silver", "gold"})) == []


def test_a_span_asked_again_moves_nothing_back(tmp_path: Path) -> None:
    context = make(tmp_path)
    run(context)
    for again in ({"from_date": FIRST, "to_date": date(2024, 1, 9)}, {"full": True, "to_date": JANUARY}, {"lookback_days": 9}):
        run(context, **again)
        assert windows(context) == []
    assert windows(context, today=FEBRUARY + timedelta(days=1)) == [(date(2024, 2, 12), FEBRUARY + timedelta(days=1))]


def test_a_hole_is_filled_and_never_asked_again(tmp_path: Path) -> None:
    vendor = Vendor(market)
    context = make(tmp_path, vendor, lookback_days=0)
    run(context, today=date(2024, 1, 9))
    run(context, from_date=date(2024, 1, 20), to_date=date(2024, 1, 31))
    vendor.requests.clear()
    # Friday 19 to Saturday 20 belong to nobody: the hole's window ends on the first row behind it, and so proves it closed.
    expected = [(date(2024, 1, 10), date(2024, 1, 22)), (date(2024, 2, 1), FEBRUARY)]
    assert windows(context) == expected
    outcome = run(context)[AAA]
    assert (outcome.kind, len(outcome.files)) == (OutcomeKind.PROMOTED, 2)
    assert [(r.from_date, r.to_date) for r in vendor.requests] == expected
    assert windows(context) == []
    undisturbed = make_home(tmp_path / "undisturbed", recipes=[prices_recipe()], tickers=["AAA"])
    run(undisturbed)

    def values(home: Context) -> list[tuple[str, ...]]:
        return [
            row[:-1] for row in contents(home)["silver.vendor_prices"] if row[1] not in ("2024-01-29", "2024-01-30", "2024-01-31")
        ]

    assert values(context) == values(undisturbed)


def test_an_earlier_first_date_becomes_due(tmp_path: Path) -> None:
    run(make(tmp_path, first_date=date(2024, 1, 15), lookback_days=0))
    assert windows(make(tmp_path, lookback_days=0)) == [(FIRST, date(2024, 1, 15))]


def test_the_vendors_floor(tmp_path: Path) -> None:
    recipe = prices_recipe()
    context = make_home(tmp_path, recipes=[recipe], tickers=["AAA"], floor=date(2024, 1, 15))
    assert windows(context) == [(date(2024, 1, 15), FEBRUARY)]
    assert windows(context, full=True) == [(date(2024, 1, 15), FEBRUARY)]
    run(context)
    assert windows(context) == []


def test_a_dead_series_is_complete_behind_its_last_date(tmp_path: Path) -> None:
    context = make(tmp_path, last_date=JANUARY)
    assert windows(context) == [(FIRST, JANUARY)]
    run(context)
    assert windows(context) == []


def test_what_an_earlier_run_completed_is_not_asked_again(tmp_path: Path) -> None:
    context = make(tmp_path)
    run(context, run_id="first", full=True)
    assert windows(context, full=True) == [(FIRST, FEBRUARY)]
    assert windows(context, full=True, after_runs=frozenset({"first"})) == []
    (item,) = plan(context, [AAA], RunOptions(today=FEBRUARY, full=True, after_runs=frozenset({"first"})))
    assert (item.verdict, item.reason) == (OutcomeKind.UP_TO_DATE, "the run that this one continues has the answer")


# --- keys that are not asked --------------------------------------------------------------------------------------------------


def test_keys_that_do_not_apply(tmp_path: Path) -> None:
    vendor = Vendor(market)
    context = make_home(tmp_path, vendor, tickers=["AAA"])
    wrong = {
        PartitionKey("AAA", "vendor.none"): "no recipe declares",
        PartitionKey(NO_TICKER, PRICES): "ticker by ticker",
        PartitionKey("AAA", RATES): "as a whole",
        PartitionKey("ZZZ", PRICES): "the universe does not list ZZZ",
    }
    outcomes = run(context, *wrong)
    for partition, sentence in wrong.items():
        assert outcomes[partition].kind is OutcomeKind.NOT_APPLICABLE
        assert sentence in outcomes[partition].reason
    assert vendor.requests == []
    assert ledger(context) == []
    assert_tidy(context)


def test_planning_without_a_database(tmp_path: Path) -> None:
    context = make_home(tmp_path, tickers=["AAA"])
    context.settings.database_path.unlink()
    assert windows(context, AAA, key(NO_TICKER)) == [(FIRST, FEBRUARY)] * 2
    assert due_keys(context, RunOptions(today=FEBRUARY)) == [AAA, key(NO_TICKER)]
    assert not context.settings.database_path.exists()


def test_planning_writes_nothing(tmp_path: Path) -> None:
    context = make_home(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    plan(context, list(context.universe()), RunOptions(today=FEBRUARY))
    due_keys(context, RunOptions(today=FEBRUARY))
    # The turnstile counts who asked for the database, readers too.
    after = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".turnstile"}
    assert after == {p: t for p, t in before.items() if p in after}


# --- layers -------------------------------------------------------------------------------------------------------------------


def run_layers(context: Context, *layers: str, **options: Any) -> Outcome:
    return run(context, AAA, layers=frozenset(layers), **options)[AAA]


def count(context: Context, table: str) -> int:
    return len(contents(context).get(table, []))


def test_layers_one_after_the_other(tmp_path: Path) -> None:
    """Each layer does its own work, on what the layer before has ready."""
    vendor = Vendor(market)
    context = make(tmp_path, vendor)
    assert run_layers(context, "silver", "gold").kind is OutcomeKind.UP_TO_DATE
    assert vendor.requests == []
    outcome = run_layers(context, "bronze")
    assert outcome.kind is OutcomeKind.PROMOTED
    assert [outcome.advanced(layer) for layer in LAYERS] == [True, False, False]
    assert (count(context, "silver.vendor_prices"), count(context, "gold.fact_eod")) == (0, 0)
    assert run_layers(context, "bronze").kind is OutcomeKind.UP_TO_DATE
    assert run_layers(context, "gold").kind is OutcomeKind.UP_TO_DATE
    outcome = run_layers(context, "silver")
    assert outcome.kind is OutcomeKind.PROMOTED
    assert outcome.advanced("silver")
    assert not outcome.advanced("gold")
    assert count(context, "silver.vendor_prices") > 0
    assert count(context, "gold.fact_eod") == 0
    outcome = run_layers(context, "gold")
    assert outcome.kind is OutcomeKind.PROMOTED
    assert outcome.advanced("gold")
    assert count(context, "gold.fact_eod") == count(context, "silver.vendor_prices")
    assert run_layers(context, *LAYERS).kind is OutcomeKind.UP_TO_DATE
    assert len(vendor.requests) == 1
    assert_tidy(context)


@pytest.mark.parametrize("days", [1, 2])
def test_what_waits_is_promoted_with_what_is_new(days: int, tmp_path: Path) -> None:
    context = make(tmp_path)
    for day in range(days):
        run_layers(context, "bronze", today=JANUARY + timedelta(days=day))
    outcome = run_layers(context, *LAYERS)
    assert outcome.kind is OutcomeKind.PROMOTED
    assert len(outcome.files) == days + 1
    assert {f.status for f in outcome.files} == {"promoted"}
    stepwise = make_home(tmp_path / "stepwise", recipes=[prices_recipe()], tickers=["AAA"])
    for day in range(days):
        run_layers(stepwise, *LAYERS, today=JANUARY + timedelta(days=day))
    run_layers(stepwise, *LAYERS)
    assert contents(context) == contents(stepwise)


def test_what_waits_is_promoted_when_nothing_is_new(tmp_path: Path) -> None:
    context = make_home(tmp_path)
    run(context, layers=frozenset({"bronze"}))
    keys = due_keys(context, RunOptions(today=FEBRUARY))
    assert set(keys) == {key(t) for t in ("AAA", "PAGED", "ODD", "DOWN", NO_TICKER)}
    vendor = Vendor(market)
    outcomes = run(asking(context, vendor), *keys)
    assert {r.ticker for r in vendor.requests} == {"DOWN"}
    assert {k.ticker for k, o in outcomes.items() if o.kind is OutcomeKind.PROMOTED} == {"AAA", "PAGED", "ODD", NO_TICKER}
    assert_tidy(context)


def test_gold_of_a_recipe_that_has_none_any_more_does_not_wait(tmp_path: Path) -> None:
    run(make(tmp_path), layers=frozenset({"bronze", "silver"}))
    without = make(tmp_path, gold=None)
    assert run(without)[AAA].kind is OutcomeKind.UP_TO_DATE
    assert due_keys(without, RunOptions(today=FEBRUARY)) == []
