"""What a plan costs the quotas: requests, what is left, nights."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from ops_pipeline.engine.forecast import MOST_NIGHTS, forecasts, nights_of
from ops_pipeline.engine.plan import RunOptions, plan
from ops_pipeline.recipes.limits import Limits
from ops_pipeline.recipes.loading import Catalogue
from ops_pipeline.recipes.source import SourceDeclaration
from ops_pipeline.sources.limits import Left, Permit, SharedLimits
from ops_pipeline_tests.engine.home import FEBRUARY, make_home, prices_recipe

NOW = datetime(2026, 11, 28, 22, tzinfo=UTC)
NEVER = NOW + timedelta(days=1)


def nights(limits: dict[str, int], requests: int, used: dict[str, int] | None = None, **more: object) -> list[int]:
    known = Limits(**limits)
    quotas = [
        Left(period, what, amount, (used or {}).get(f"{what} a {period}", 0), NEVER) for period, what, amount in known.quotas
    ]
    if known.per_hour:
        quotas.append(Left("hour", "calls", known.per_hour, (used or {}).get("calls a hour", 0), NEVER))
    symbols = [f"T{n}" for n in range(requests)]
    return nights_of(known, quotas, more.get("known", {}), symbols, NOW, more.get("paused"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limits", "requests", "used", "expected"),
    [
        ({}, 5000, {}, [5000]),
        ({"per_second": 1, "per_minute": 300}, 5000, {}, [5000]),
        ({"per_day": 250}, 1000, {}, [250, 250, 250, 250]),
        ({"per_day": 250}, 300, {"calls a day": 240}, [10, 250, 40]),
        ({"per_hour": 50, "per_day": 1000}, 120, {"calls a hour": 30}, [20, 50, 50]),
        # Three nights of November are left, the last of which ends the month's calls.
        ({"per_month": 100}, 150, {"calls a month": 90}, [10, 0, 0, 100, *[0] * 30, 40]),
        ({"symbols_per_month": 2}, 5, {}, [2, 0, 0, 2, *[0] * 30, 1]),
        ({"bytes_per_day": 1000}, 7, {"bytes a day": 1000}, [0, 7]),
        ({"bytes_per_day": 1000}, 7, {"bytes a day": 999}, [7]),
    ],
)
def test_nights_are_those_that_the_quotas_need(
    limits: dict[str, int], requests: int, used: dict[str, int], expected: list[int]
) -> None:
    assert nights(limits, requests, used) == expected


def test_symbols_that_were_asked_about_cost_no_further_one() -> None:
    used = {"symbols a month": 2}
    assert nights({"symbols_per_month": 2}, 2, used, known={"month": {"T0", "T1"}}) == [2]
    assert nights({"symbols_per_month": 2}, 3, used, known={"month": {"T0", "T2"}}) == [2, 0, 0, 1]


def test_a_pause_that_the_vendor_wants_and_a_wait_that_nobody_sits_out() -> None:
    assert nights({"per_day": 10}, 15, paused=NOW + timedelta(hours=30)) == [0, 0, 10, 5]
    endless = nights({"per_month": 1}, 1000)
    assert len(endless) == MOST_NIGHTS
    assert sum(endless) < 1000


def test_the_forecast_counts_what_every_process_used(tmp_path: Path) -> None:
    context = make_home(tmp_path, tickers=[f"T{n}" for n in range(8)], recipes=[prices_recipe()])
    given = {"name": "vendor", "description": "A vendor.", "client": "http", "http": {"base_url": "https://vendor.invalid"}}
    plans = {"plan": "basic", "plans": {"basic": {"limits": {"per_minute": 2, "per_day": 5}}}}
    declaration = SourceDeclaration.model_validate(given | plans)
    context = replace(context, catalogue=Catalogue({"vendor": declaration}, context.catalogue.recipes))
    shared = SharedLimits(context.settings.limits_path, "vendor", declaration.limits_in_force)
    permit = shared.take("T0", 30)
    assert isinstance(permit, Permit)
    shared.close()
    planned = plan(context, list(context.universe()), RunOptions(today=FEBRUARY))
    (found,) = forecasts(context, planned)
    (day,) = found.quotas
    assert (found.source, found.plan, found.requests, day.left, day.used) == ("vendor", "basic", 8, 4, 1)
    assert (found.first_night, found.nights, found.seconds) == (4, 2, 120)
    assert forecasts(context, []) == []
    assert plan(context, list(context.universe()), RunOptions(today=date(2023, 12, 31)))[0].requests == []
