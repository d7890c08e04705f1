"""What a vendor's plan does not hold: asked once, remembered, told apart from failures, and asked again when that may help."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from ops_pipeline.engine.context import Context
from ops_pipeline.engine.morning import look
from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.engine.plan import RunOptions, plan, verdicts
from ops_pipeline.ops.refusals import MANY_KEYS, REMEMBERED
from ops_pipeline.recipes.loading import Catalogue
from ops_pipeline.recipes.source import SourceDeclaration
from ops_pipeline.sources import Answer, Request, SourceError
from ops_pipeline.sources.base import ErrorKind
from ops_pipeline_tests.engine.home import FEBRUARY, JANUARY, PRICES, asking, key, ledger, make_home, prices_recipe, run
from ops_pipeline_tests.engine.vendor import Vendor, market

TIERS = {name: {"floor": "2024-01-01"} for name in ("basic", "premium")}


def on_plan(context: Context, plan: str) -> Context:
    """The home of somebody who bought this plan."""
    given = {"name": "vendor", "description": "A vendor.", "client": "sample", "plan": plan, "plans": TIERS}
    declaration = SourceDeclaration.model_validate(given)
    return replace(context, catalogue=Catalogue({"vendor": declaration}, context.catalogue.recipes))


def refusing(refuses: Callable[[Request], bool], kind: ErrorKind = "plan") -> Vendor:
    async def fetch(request: Request) -> AsyncIterator[Answer]:
        if refuses(request):
            raise SourceError("HTTP 402: Premium only", kind=kind, status_code=402, body=b"Premium only")
        async for answer in market(request):
            yield answer

    return Vendor(fetch)


def home(folder: Path, tickers: Iterable[str], vendor: Vendor, **more: int) -> Context:
    return on_plan(make_home(folder, vendor, tickers=tickers, recipes=[prices_recipe()], publish="none", **more), "basic")


def test_a_refused_ticker_is_asked_once_and_told_apart_until_another_plan_is_bought(tmp_path: Path) -> None:
    vendor = refusing(lambda request: request.ticker == "BBB")
    context = home(tmp_path, ("AAA", "BBB"), vendor)
    told = run(context, today=JANUARY)
    assert [told[key(t)].kind for t in ("AAA", "BBB")] == [OutcomeKind.PROMOTED, OutcomeKind.NOT_IN_PLAN]
    (row,) = ledger(context, "ticker = 'BBB'")
    assert (row.status, row.bronze_error_kind, row.source_plan, row.bronze_status_code) == ("not_in_plan", "plan", "basic", 402)
    (summary,) = context.service.list_runs()
    assert (summary.bronze, summary.failed_files, summary.status) == ({"stored": 1, "not_in_plan": 1}, 0, "not_in_plan")

    vendor.requests.clear()
    told = run(context)
    assert told[key("BBB")].kind is OutcomeKind.NOT_IN_PLAN
    assert told[key("BBB")].reason.startswith("the plan basic does not hold this, the vendor said on ")
    assert [request.ticker for request in vendor.requests] == ["AAA"]
    found = look(replace(context, settings=context.settings.model_copy(update={"today": FEBRUARY})))
    assert [(p.kind, p.tickers, p.repair) for p in found.problems] == [
        ("not_in_plan", ("BBB",), f"due --dataset {PRICES} --verdict not_in_plan")
    ]
    assert found.is_well

    bought = asking(on_plan(context, "premium"), Vendor(market))
    assert run(bought)[key("BBB")].kind is OutcomeKind.PROMOTED
    assert run(asking(context, Vendor(market)))[key("BBB")].kind is OutcomeKind.UP_TO_DATE  # what came after the refusal ended it


def test_a_refusal_is_forgotten_after_its_time_and_by_whoever_wants_an_answer(tmp_path: Path) -> None:
    vendor = refusing(lambda _: True)
    context = home(tmp_path, ("AAA",), vendor)
    run(context)
    now = datetime.now(UTC)

    def asked(**options: Any) -> int:
        (item,) = plan(context, [key()], RunOptions(**{"today": FEBRUARY, "now": now} | options))
        return len(item.requests)

    assert asked() == asked(now=now + REMEMBERED - timedelta(hours=1)) == 0
    assert asked(now=now + REMEMBERED + timedelta(hours=1)) == 1
    assert [asked(force=True), asked(full=True), asked(from_date=JANUARY)] == [1, 1, 1]


def test_a_retry_asks_again(tmp_path: Path) -> None:
    vendor = refusing(lambda _: True)
    context = home(tmp_path, ("AAA",), vendor)
    run(context, run_id="first")
    assert run(context, windows=context.service.left_of("first"))[key()].files[0].bronze_error == "HTTP 402: Premium only"
    assert len(vendor.requests) == 2


def test_days_that_the_plan_does_not_hold_do_not_keep_later_ones_from_being_asked(tmp_path: Path) -> None:
    vendor = refusing(lambda request: request.from_date is not None and request.from_date < JANUARY)
    context = home(tmp_path, ("AAA",), vendor)
    run(context, today=FEBRUARY, from_date=date(2024, 2, 5))
    assert run(context)[key()].kind is OutcomeKind.NOT_IN_PLAN  # the earlier days
    vendor.requests.clear()
    later = run(context, today=FEBRUARY + timedelta(days=1))[key()]
    assert later.kind is OutcomeKind.PROMOTED
    assert [request.from_date for request in vendor.requests] == [date(2024, 2, 12)]


def test_a_dataset_that_the_vendor_refuses_as_a_whole_costs_as_many_requests_as_are_under_way(tmp_path: Path) -> None:
    tickers = [f"T{n:03}" for n in range(60)]
    vendor = refusing(lambda _: True, "plan_dataset")
    context = home(tmp_path, tickers, vendor, concurrency=4)
    told = run(context)
    assert len(vendor.requests) <= 8  # those of the declaration's concurrency were under way
    assert {outcome.kind for outcome in told.values()} == {OutcomeKind.NOT_IN_PLAN}
    vendor.requests.clear()
    told = run(context)
    assert vendor.requests == []
    assert {outcome.kind for outcome in told.values()} == {OutcomeKind.NOT_IN_PLAN}
    assert f"does not hold {PRICES}" in told[key("T059")].reason
    assert look(replace(context, settings=context.settings.model_copy(update={"today": FEBRUARY}))).counts == {"not_in_plan": 60}


def test_many_refused_tickers_in_a_row_end_the_asking_and_with_none_answered_the_dataset(tmp_path: Path) -> None:
    tickers = [f"T{n:03}" for n in range(3 * MANY_KEYS)]
    vendor = refusing(lambda _: True)
    context = home(tmp_path, tickers, vendor)
    told = run(context)
    assert MANY_KEYS <= len(vendor.requests) < 2 * MANY_KEYS
    kinds = [told[key(t)].kind for t in tickers]
    assert (kinds[0], kinds[-1]) == (OutcomeKind.NOT_IN_PLAN, OutcomeKind.DEFERRED)
    assert "the plan does not hold 20 tickers of vendor.prices in a row" in told[key(tickers[-1])].reason
    found = verdicts(context, list(context.universe()), RunOptions(today=FEBRUARY))
    assert {item.verdict for item in found} == {OutcomeKind.NOT_IN_PLAN}


def test_where_some_tickers_are_answered_the_others_are_asked_night_after_night_until_all_are_known(tmp_path: Path) -> None:
    tickers = [f"T{n:03}" for n in range(70)]
    vendor = refusing(lambda request: request.ticker != "T069")
    context = home(tmp_path, tickers, vendor)
    run(context, key("T069"))
    nights = []
    for _ in range(5):  # a night asks MANY_KEYS of them, and those that are under way by then
        vendor.requests.clear()
        run(context)
        nights.append(len(vendor.requests))
    assert sum(nights) == 69
    assert nights[-1] == 0
    assert max(nights) < 2 * MANY_KEYS
