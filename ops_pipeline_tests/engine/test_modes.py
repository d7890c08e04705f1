"""Every request mode, over real ledgers that real runs wrote: what is asked, what is merged, and when it is asked again.

Belongs here: runs in each mode, exchange calendars, and answers that lack what a calendar expects. Does not belong here: arithmetic on
periods (`ops` tests), windows without a calendar (`test_plan`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops_pipeline.engine.calendars import Calendars
from ops_pipeline.engine.context import Context
from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.engine.plan import RunOptions, due_keys, verdicts
from ops_pipeline.errors import RecipeError
from ops_pipeline.ops.tries import MOST_TRIES, QUIET
from ops_pipeline.sources import Answer, Request
from ops_pipeline_tests.engine.home import asking, assert_tidy, key, make_home, prices_recipe, run
from ops_pipeline_tests.engine.vendor import Vendor, body, price
from ops_pipeline_tests.lake import recipe

AAA = key("AAA")
# Monday; Good Friday is the 29th of March.
MONDAY = date(2024, 3, 25)
SOON = datetime.now(UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """New York's sessions, computed once for this file's tests."""
    home = tmp_path_factory.mktemp("computed")
    listed = prices_recipe(calendar="XNYS", first_date=MONDAY)
    Calendars(home / "calendars", [listed]).of(listed)
    return home / "calendars"


@pytest.fixture(autouse=True)
def _kept(computed: Path, tmp_path: Path) -> None:
    shutil.copytree(computed, tmp_path / "calendars")


def answering(records: Callable[[Request], list[dict[str, object]]]) -> Vendor:
    async def fetch(request: Request) -> AsyncIterator[Answer]:
        yield Answer(body(records(request)))

    return Vendor(fetch)


def sessions(request: Request) -> list[dict[str, object]]:
    """Every day but weekends and Good Friday, of the window."""
    assert request.from_date
    assert request.to_date
    days = (request.from_date + timedelta(days=k) for k in range((request.to_date - request.from_date).days + 1))
    return [price(request.ticker, day) for day in days if day.weekday() < 5 and day != date(2024, 3, 29)]


def make(folder: Path, vendor: Vendor, **changes: Any) -> Context:
    return make_home(folder, vendor, recipes=[prices_recipe(**{"lookback_days": 0} | changes)], tickers=["AAA"])


def silver(context: Context, columns: str = "date") -> list[Any]:
    with context.warehouse.reading() as connection:
        found = connection.execute(f"SELECT {columns} FROM silver.vendor_prices ORDER BY ALL").fetchall()
    return [row[0] if len(row) == 1 else row for row in found]


def due(context: Context, **options: Any) -> bool:
    return due_keys(context, RunOptions(**options)) == [AAA]


# --- modes --------------------------------------------------------------------------------------------------------------------


def test_rolling_asks_for_days_to_come_once_a_period(tmp_path: Path) -> None:
    vendor = answering(sessions)
    context = make(tmp_path, vendor, mode="rolling", past_days=2, future_days=4, calendar="daily", first_date=None)
    assert run(context, today=MONDAY)[AAA].kind is OutcomeKind.PROMOTED
    assert [(r.from_date, r.to_date) for r in vendor.requests] == [(date(2024, 3, 23), date(2024, 3, 29))]
    assert silver(context)[-1] == date(2024, 3, 28)
    assert not due(context, now=SOON)
    assert due(context, now=SOON + timedelta(days=1))
    assert_tidy(context)


def test_last_n_says_how_many(tmp_path: Path) -> None:
    vendor = answering(lambda r: [price(r.ticker, MONDAY)])
    context = make(tmp_path, vendor, mode="last_n", last_n=5, calendar="daily", first_date=None)
    assert run(context, today=None)[AAA].kind is OutcomeKind.PROMOTED
    assert [(r.from_date, r.params) for r in vendor.requests] == [(None, (("{n}", "5"),))]
    assert not due(context, now=SOON)


def test_by_period_asks_each_once_and_the_open_one_again(tmp_path: Path) -> None:
    def statements(request: Request) -> list[dict[str, object]]:
        year = dict(request.params)["{year}"]
        # A fiscal year that ends in the next calendar year is a row of its year all the same.
        return [price(request.ticker, date(int(year) + 1, 1, 28))]

    vendor, this_year = answering(statements), SOON.year
    context = make(tmp_path, vendor, mode="by_period", period="year", first_date=date(this_year - 2, 7, 1), calendar="daily")
    assert run(context, today=None)[AAA].kind is OutcomeKind.PROMOTED
    years = [this_year, this_year - 1, this_year - 2]
    assert [(r.from_date, r.to_date) for r in vendor.requests] == [(date(y, 1, 1), date(y, 12, 31)) for y in years]
    assert silver(context) == [date(y + 1, 1, 28) for y in reversed(years)]
    assert not due(context, now=SOON)
    vendor.requests.clear()
    run(context, today=None, now=SOON + timedelta(days=1), to_date=SOON.date())
    assert [r.from_date for r in vendor.requests] == [date(this_year, 1, 1)]
    run(context, today=None, from_date=date(this_year - 1, 5, 1))
    assert [r.from_date for r in vendor.requests][1:] == [date(this_year, 1, 1), date(this_year - 1, 1, 1)]
    assert_tidy(context)


def test_a_file_a_session_and_none_for_a_holiday(tmp_path: Path) -> None:
    vendor = answering(sessions)
    context = make(tmp_path, vendor, mode="by_period", period="session", calendar="XNYS", first_date=MONDAY)
    run(context, today=date(2024, 4, 1))
    assert {r.from_date == r.to_date for r in vendor.requests} == {True}
    assert silver(context) == [date(2024, 3, 25 + k) for k in range(4)] + [date(2024, 4, 1)]
    assert run(context, today=date(2024, 4, 1))[AAA].kind is OutcomeKind.UP_TO_DATE


def test_vintages_carry_nothing_over(tmp_path: Path) -> None:
    """A vendor that dates whatever was in force on a window's first day with that day, as FRED does."""
    published = {date(2024, 1, 10): 1.0, date(2024, 2, 10): 2.0, date(2024, 3, 10): 3.0}

    def vintages(request: Request) -> list[dict[str, object]]:
        assert request.from_date
        assert request.to_date
        in_force = max((d for d in published if d <= request.from_date), default=None)
        told = {d: v for d, v in published.items() if request.from_date < d <= request.to_date}
        if in_force:
            told[request.from_date] = published[in_force]
        return [{"date": d.isoformat(), "close": v} for d, v in told.items()]

    vendor = answering(vintages)
    context = make(tmp_path, vendor, mode="by_vintage", calendar="daily")
    for today in (date(2024, 1, 20), date(2024, 2, 20), date(2024, 2, 25), date(2024, 3, 20)):
        run(context, today=today)
    assert silver(context, "date, close") == sorted(published.items())
    # The watermark is the newest vintage, which is asked once more as the day before the next.
    assert [(r.from_date, r.to_date) for r in vendor.requests][1:] == [
        (date(2024, 1, 10), date(2024, 2, 20)),
        (date(2024, 2, 10), date(2024, 2, 25)),
        (date(2024, 2, 10), date(2024, 3, 20)),
    ]
    run(context, today=date(2024, 3, 20), from_date=date(2024, 2, 1))
    assert silver(context, "date, close") == sorted(published.items())
    assert_tidy(context)


def test_a_slow_cadence_asks_a_history_once_a_period(tmp_path: Path) -> None:
    context = make(tmp_path, answering(sessions), cadence="monthly", first_date=MONDAY)
    run(context, today=None)
    assert not due(context, now=SOON)
    assert due(context, now=SOON + timedelta(days=32))


# --- calendars ----------------------------------------------------------------------------------------------------------------


def test_holidays_ask_nothing_and_sessions_are_kept_as_dates(tmp_path: Path) -> None:
    vendor = answering(sessions)
    context = make(tmp_path, vendor, calendar="XNYS", first_date=MONDAY)
    run(context, today=date(2024, 3, 28))
    # Good Friday and the weekend: no session can exist. Tuesday asks for Monday on.
    for day in (date(2024, 3, 29), date(2024, 3, 31)):
        assert run(context, today=day)[AAA].kind is OutcomeKind.UP_TO_DATE
        assert not due(context, today=day)
    assert due(context, today=date(2024, 4, 1))
    (kept,) = (tmp_path / "calendars").iterdir()
    assert "2024-03-29" not in json.loads(kept.read_bytes())["days"]
    # The next process reads what is kept, and computes anew what somebody damaged.
    for text in (json.dumps({"first": "2020-01-01", "last": "2024-12-31", "days": ["2024-03-25"]}), "{"):
        kept.write_text(text)
        again = make(tmp_path, vendor, calendar="XNYS", first_date=MONDAY)
        assert due(again, today=date(2024, 4, 1)) == (text == "{")


def test_behind_a_calendars_end_nothing_is_up_to_date(tmp_path: Path) -> None:
    vendor = answering(lambda r: sessions(r)[:1])
    context = make(tmp_path, vendor, calendar="XNYS", first_date=MONDAY, last_date=None)
    years = SOON.year + 3
    run(context, today=date(years, 6, 1))
    (item,) = verdicts(context, [AAA], RunOptions(today=date(years, 6, 1), now=SOON))
    assert item.verdict is not OutcomeKind.UP_TO_DATE
    complete = answering(sessions)
    context = asking(context, complete)
    run(context, today=date(years, 6, 1), full=True)
    outcome = run(context, today=date(years, 6, 1))[AAA]
    assert outcome.kind in (OutcomeKind.UNKNOWN, OutcomeKind.PROMOTED, OutcomeKind.UNCHANGED)
    (item,) = verdicts(context, [AAA], RunOptions(today=date(years, 6, 1)))
    assert item.verdict is OutcomeKind.UNKNOWN
    assert f"XNYS is known through {SOON.year + 1}-12-31 only" in item.reason


def test_a_calendar_that_is_none_is_named(tmp_path: Path) -> None:
    context = make(tmp_path, answering(sessions), calendar="XNYX")
    with pytest.raises(RecipeError, match=r"vendor.prices, field calendar: XNYX is no calendar .*XNYS"):
        run(context)


# --- answers that lack a session ----------------------------------------------------------------------------------------------


def test_a_false_empty_is_asked_again_soon_and_nothing_is_lost(tmp_path: Path) -> None:
    today = date(2024, 3, 28)
    empty, whole = answering(lambda _: []), answering(sessions)
    context = make(tmp_path, empty, calendar="XNYS", first_date=MONDAY)
    assert run(context, today=today)[AAA].kind is OutcomeKind.EMPTY
    # Not at once, and not only tomorrow.
    outcome = run(context, today=today)[AAA]
    assert outcome.kind is OutcomeKind.SUSPECT
    assert "no answer has 2024-03-25, which is a session (asked once" in outcome.reason
    assert not due(context, today=today, now=datetime.now(UTC))
    assert due(context, today=today, now=datetime.now(UTC) + HOUR)
    assert len(empty.requests) == 1
    assert run(asking(context, whole), today=today, now=datetime.now(UTC) + HOUR)[AAA].kind is OutcomeKind.PROMOTED
    assert len(silver(context)) == 4
    assert run(context, today=today)[AAA].kind is OutcomeKind.UP_TO_DATE


def test_an_answer_of_old_rows_alone_is_as_suspect_as_an_empty_one(tmp_path: Path) -> None:
    context = make(tmp_path, answering(sessions), calendar="XNYS", first_date=MONDAY, lookback_days=3)
    run(context, today=date(2024, 3, 26))
    stuck = asking(context, answering(lambda r: [price(r.ticker, date(2024, 3, 26))]))
    run(stuck, today=date(2024, 3, 27))
    assert run(stuck, today=date(2024, 3, 27))[AAA].kind is OutcomeKind.SUSPECT
    # Another session has settled: it is asked for at once.
    assert due(context, today=date(2024, 3, 28))


def test_a_delisted_ticker_ends_up_quiet(tmp_path: Path) -> None:
    vendor = answering(lambda _: [])
    context = make(tmp_path, vendor, calendar="XNYS", first_date=MONDAY)
    day = date(2024, 3, 28)
    # `now` moves on, the ledger's clock does not: each round is asked by name.
    for _ in range(MOST_TRIES):
        run(context, today=day, from_date=MONDAY)
        day += timedelta(days=7)
    outcome = run(context, today=day)[AAA]
    assert outcome.kind is OutcomeKind.VENDOR_HAS_NONE
    assert f"has none for 2024-03-25 (asked {MOST_TRIES} times" in outcome.reason
    assert len(vendor.requests) == MOST_TRIES
    for later in (timedelta(days=1), QUIET - HOUR):
        assert not due(context, today=day + later, now=datetime.now(UTC) + later)
    assert due(context, today=day + QUIET, now=datetime.now(UTC) + QUIET)
    # Where it is named, it is asked.
    run(context, today=day, full=True)
    assert len(vendor.requests) == MOST_TRIES + 1


def test_without_an_exchange_an_empty_answer_is_what_it_was(tmp_path: Path) -> None:
    vendor = answering(lambda _: [])
    context = make(tmp_path, vendor)
    for _ in range(2):
        assert run(context)[AAA].kind is OutcomeKind.EMPTY
    assert not due(context, today=date(2024, 2, 14))


def test_a_vendor_that_now_and_then_answers_with_nothing_loses_nothing(tmp_path: Path) -> None:
    """Twenty tickers, every fifth answer falsely empty: after three hours everything is there."""
    count = 0

    def moody(request: Request) -> list[dict[str, object]]:
        nonlocal count
        count += 1
        return [] if count % 5 == 0 else sessions(request)

    tickers = [f"T{k}" for k in range(20)]
    listed = [recipe(calendar="XNYS", first_date=MONDAY)]
    context = make_home(tmp_path, answering(moody), recipes=listed, tickers=tickers, concurrency=1)
    now = datetime.now(UTC)
    for hours in (0, 1, 3):
        keys = due_keys(context, RunOptions(today=date(2024, 3, 28), now=now + hours * HOUR + timedelta(minutes=1)))
        if keys:
            run(context, *keys, today=date(2024, 3, 28), now=now + hours * HOUR + timedelta(minutes=1))
    with context.warehouse.reading() as connection:
        found = connection.execute("SELECT ticker, count(*) FROM silver.vendor_prices GROUP BY ALL").fetchall()
    assert dict(found) == dict.fromkeys(tickers, 4)
    assert count == 24
