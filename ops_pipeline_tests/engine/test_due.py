"""When a key is due: snapshots by their cadence, windows by what the ledger says of their last answer.

Belongs here: `due_keys` over real ledgers, and snapshots. Does not belong here: which windows are asked (`test_plan`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops_pipeline.engine.context import Context
from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.engine.plan import RunOptions, due_keys, plan
from ops_pipeline.errors import UniverseError
from ops_pipeline.recipes.models import NO_TICKER
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline.sources import Answer, Request
from ops_pipeline_tests.engine.home import (
    FEBRUARY,
    FIRST,
    asking,
    assert_tidy,
    key,
    ledger,
    make_home,
    prices_recipe,
    run,
)
from ops_pipeline_tests.engine.vendor import Vendor, body, market, prices
from ops_pipeline_tests.lake import snapshot_recipe

AAA = key("AAA")


def windows(context: Context, *keys: PartitionKey, **options: Any) -> list[tuple[date | None, date | None]]:
    """The windows that would be asked of one key, or of several, in order."""
    chosen = RunOptions(**{"today": FEBRUARY} | options)
    return [(r.from_date, r.to_date) for item in plan(context, keys or [AAA], chosen) for r in item.requests]


def make(tmp_path: Path, vendor: Vendor | None = None, **recipe: Any) -> Context:
    return make_home(tmp_path, vendor or Vendor(market), recipes=[prices_recipe(**recipe)], tickers=["AAA"])


# --- snapshots ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cadence", "days"), [("daily", 1), ("quarterly", 92)])
def test_a_snapshot_is_due_once_a_period(cadence: str, days: int, tmp_path: Path) -> None:
    names = iter(("Anna", "Anna", "Bert"))

    async def profiles(_: Request) -> AsyncIterator[Answer]:
        yield Answer(body([{"symbol": "AAA", "name": next(names)}]))

    vendor = Vendor(profiles)
    context = make_home(tmp_path, vendor, recipes=[snapshot_recipe(cadence=cadence)])
    (profile,) = context.universe()
    assert run(context, today=None)[profile].kind is OutcomeKind.PROMOTED
    (first,) = ledger(context)
    assert first.bronze_injest_end_time is not None
    now, later = first.bronze_injest_end_time, first.bronze_injest_end_time + timedelta(days=days)
    assert run(context, today=None, now=now)[profile].kind is OutcomeKind.UP_TO_DATE
    assert due_keys(context, RunOptions(now=now)) == []
    assert due_keys(context, RunOptions(now=later)) == [profile]
    assert run(context, today=None, now=later)[profile].kind is OutcomeKind.UNCHANGED
    assert run(context, today=None, full=True)[profile].kind is OutcomeKind.PROMOTED
    assert [(r.from_date, r.to_date) for r in vendor.requests] == [(None, None)] * 3
    with context.warehouse.reading() as connection:
        assert connection.execute("SELECT symbol, name FROM silver.vendor_profiles").fetchall() == [("AAA", "Bert")]
    assert_tidy(context)


# --- what is due --------------------------------------------------------------------------------------------------------------


def due(context: Context, **options: Any) -> list[str]:
    return [k.ticker for k in due_keys(context, RunOptions(**{"today": FEBRUARY} | options))]


def test_what_is_due(tmp_path: Path) -> None:
    context = make_home(tmp_path)
    assert due(context) == ["AAA", "PAGED", "ODD", "EMPTY", "DOWN", NO_TICKER]
    run(context)
    # An answer that was empty up to today need not be asked for again before tomorrow; one that failed has to.
    assert due(context) == ["DOWN"]
    assert set(due(context, today=FEBRUARY + timedelta(days=1))) == {"AAA", "PAGED", "ODD", "EMPTY", "DOWN", NO_TICKER}
    # On Saturday nothing new is expected of what is complete.
    friday = FEBRUARY + timedelta(days=2)
    run(context, today=friday)
    assert due(context, today=friday + timedelta(days=1)) == ["EMPTY", "DOWN"]


def test_a_part_that_failed_is_due(tmp_path: Path) -> None:
    async def cut(request: Request) -> AsyncIterator[Answer]:
        yield Answer(body(prices(request)[:3]), part=1, last=False)

    context = make(tmp_path, Vendor(cut))
    run(context)
    assert due(context) == ["AAA"]
    run(asking(context, Vendor(market)))
    assert due(context) == []


def test_an_answer_that_silver_refused_is_due(tmp_path: Path) -> None:
    async def refused(request: Request) -> AsyncIterator[Answer]:
        yield Answer(body([{**record, "close": "?"} for record in prices(request)]))

    context = make(tmp_path, Vendor(refused))
    assert run(context)[AAA].failed_layer == "silver"
    assert due(context) == ["AAA"]


def test_what_lies_before_a_span_asked_by_name_is_due(tmp_path: Path) -> None:
    context = make(tmp_path)
    run(context, from_date=FEBRUARY)
    assert windows(context) == [(FIRST, FEBRUARY)]
    assert due(context) == ["AAA"]


def test_an_answer_that_lags_is_not_due_before_the_next_session(tmp_path: Path) -> None:
    """A vendor that publishes a day late: what it has is stored, and the day it lacks is asked for tomorrow."""

    async def late(request: Request) -> AsyncIterator[Answer]:
        yield Answer(body(prices(request)[1:]))

    context = make(tmp_path, Vendor(late))
    run(context)
    assert windows(context) == [(date(2024, 2, 11), FEBRUARY)]
    assert due(context) == []
    assert due(context, today=FEBRUARY + timedelta(days=1)) == ["AAA"]


def test_holes_that_the_vendor_cannot_fill_are_asked_once_a_session(tmp_path: Path) -> None:
    known = [FIRST, date(2024, 1, 10), date(2024, 1, 22), FEBRUARY]

    async def single_days_only(request: Request) -> AsyncIterator[Answer]:
        yield Answer(body(prices(request) if request.from_date == request.to_date else []))

    context = make(tmp_path, Vendor(single_days_only), lookback_days=0)
    for day in known:
        run(context, from_date=day, to_date=day)
    assert len(windows(context)) == 3
    assert due(context) == ["AAA"]
    run(context)
    assert len(windows(context)) == 3, "no row came, so they are holes still"
    assert due(context) == []
    assert due(context, today=FEBRUARY + timedelta(days=1)) == ["AAA"]


def test_a_universe_file_that_a_setting_names_must_exist(tmp_path: Path) -> None:
    context = make_home(tmp_path / "home", universe_file=tmp_path / "nowhere.yaml")
    with pytest.raises(UniverseError, match="OPS_PIPELINE_UNIVERSE_FILE names this file, which does not exist"):
        context.universe()
