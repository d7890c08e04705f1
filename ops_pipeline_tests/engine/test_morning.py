"""What one is told in the morning, and that the command that repairs something is the one that does."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_pipeline.clock import utc_now
from ops_pipeline.engine.context import Context
from ops_pipeline.engine.morning import Morning, Problem, last_tick, look
from ops_pipeline.engine.published import publish_now
from ops_pipeline.ops.drift import Drift, remember_drift
from ops_pipeline.ops.queries import RunFilter
from ops_pipeline.ops.rejects import refused_files
from ops_pipeline.settings import load_settings
from ops_pipeline.sources import Answer, Request, SourceError
from ops_pipeline_tests.engine.home import FEBRUARY, PRICES, RATES, asking, make_home, run
from ops_pipeline_tests.engine.vendor import Vendor, market

GOOD = ("AAA", "BBB")


def kinds(found: Morning) -> list[tuple[str, str | None, tuple[str, ...]]]:
    return [(problem.kind, problem.dataset, problem.tickers) for problem in found.problems]


def home(folder: Path, *tickers: str, **settings: Any) -> Context:
    return make_home(folder, tickers=tickers or GOOD, **{"today": FEBRUARY, "publish": "none"} | settings)


def test_all_is_well_after_a_run_and_stale_before_it_and_later(tmp_path: Path) -> None:
    context = home(tmp_path)
    before = look(context)
    assert kinds(before) == [("stale", PRICES, GOOD), ("stale", RATES, ())]
    assert (before.newest, before.runs, before.is_well) == (None, [], False)
    assert before.problems[0].repair == f"run --dataset {PRICES} --ticker AAA --ticker BBB"
    run(context)
    after = look(context)
    assert (after.is_well, after.problems, after.wanted, after.requests) == (True, [], 3, 3)
    assert after.newest == after.runs[0]
    later = look(home(tmp_path, today=FEBRUARY + timedelta(days=1)))
    assert kinds(later) == [("stale", PRICES, GOOD), ("stale", RATES, ())]
    assert later.counts == {"stale": 3}


def test_what_failed_is_told_once_with_its_reason_and_the_run_to_retry(tmp_path: Path) -> None:
    context = home(tmp_path, "AAA", "DOWN")
    run(context, run_id="0123456789abcdef")
    found = look(context)
    assert found.problems == [
        Problem("failed", PRICES, ("DOWN",), "bronze: The vendor is down: run again later.", "retry 01234567")
    ]
    assert not found.is_well


async def _over_quota(request: Request) -> AsyncIterator[Answer]:
    if request.ticker in GOOD:
        raise SourceError("The day's quota is used up.", kind="deferred")
    async for answer in market(request):
        yield answer


def test_what_is_deferred_for_want_of_quota_comes_by_itself(tmp_path: Path) -> None:
    context = asking(home(tmp_path), Vendor(_over_quota))
    run(context)
    found = look(context)
    assert kinds(found) == [("deferred", PRICES, GOOD)]
    assert found.is_well


def test_what_is_not_published_is_told(tmp_path: Path) -> None:
    context = home(tmp_path, publish="gold")
    run(context)
    assert [(p.kind, p.repair) for p in look(context).problems] == [("unpublished", "publish")]
    publish_now(context)
    assert look(context).problems == []


def test_refused_records_and_unknown_fields_are_doubtful_and_no_reason_to_fail(tmp_path: Path) -> None:
    context = home(tmp_path, "AAA", "ODD")
    run(context)
    found = look(context)
    assert kinds(found) == [("doubtful", PRICES, ("ODD",))]
    assert found.problems[0].reason == "records that could not be typed: 1"
    assert found.is_well
    drift = Drift(PRICES, "vwap", "1.5", "run", "file", utc_now(), "hash")
    with context.warehouse.transaction() as connection:
        remember_drift(connection, [drift])
        assert found.problems[0].repair == f"rejects list --dataset {PRICES}"
        assert [file.ticker for file in refused_files(connection, RunFilter(dataset=PRICES))] == ["ODD"]
    assert [(p.reason, p.repair) for p in look(context).problems][1:] == [
        ("fields that the recipe does not know: vwap", f"datasets show {PRICES}")
    ]


@pytest.mark.parametrize("tickers", [("AAA", "BBB"), tuple(f"T {n}" for n in range(9))])
def test_a_command_names_a_few_tickers_only(tickers: tuple[str, ...], tmp_path: Path) -> None:
    problem = look(home(tmp_path, *tickers)).problems[0]
    words = shlex.split(problem.repair)
    assert words[:3] == ["run", "--dataset", PRICES]
    assert [w for w in words[3:] if w != "--ticker"] == (list(tickers) if len(tickers) <= 5 else [])


@settings(max_examples=50)
@given(
    moment=st.datetimes(datetime(2024, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds
    hour=st.integers(0, 23),
    zone=st.sampled_from(["America/New_York", "Asia/Tokyo", "Pacific/Chatham", "UTC"]),
)
def test_the_last_tick_is_the_newest_that_is_over(moment: datetime, hour: int, zone: str) -> None:
    tick = last_tick(load_settings(schedule_hour=hour, schedule_timezone=zone), moment)
    assert tick <= moment < tick + timedelta(hours=25)
    local = tick.astimezone(ZoneInfo(zone))
    # Where the clocks skip the hour, it is the hour after.
    assert (local.minute, local.hour in (hour, hour + 1)) == (0, True)
    assert isinstance(local.date(), date)
