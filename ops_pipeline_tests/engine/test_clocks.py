"""Tokyo, New York and round-the-clock crypto in one run, in the weeks in which clocks change, with bars that move until the close.

Belongs here: which sessions are asked for and stored at a moment, by each market's own clock. Does not belong here: one calendar by itself
(`test_modes`), arithmetic on days (`ops` tests).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from ops_pipeline.engine.context import Context
from ops_pipeline.sources import Answer, Request
from ops_pipeline_tests.engine.home import assert_tidy, make_home, run
from ops_pipeline_tests.engine.vendor import Vendor, body, weekdays
from ops_pipeline_tests.lake import recipe

FIRST, END = date(2024, 2, 26), date(2024, 12, 31)
MARKETS: dict[str, dict[str, Any]] = {
    "tokyo": {"calendar": "XTKS", "timezone": "Asia/Tokyo", "settles_at": "15:30"},
    "new-york": {"calendar": "XNYS", "timezone": "America/New_York", "settles_at": "16:30"},
    "crypto": {"calendar": "24/7", "timezone": "UTC", "settles_at": "00:00", "settles_after_days": 1},
}
# As the exchanges announced them: computing the calendars takes longer than the test (`test_modes` does it).
HOLIDAYS = {
    "XTKS": "03-20 04-29 05-03 05-06 07-15 08-12 09-16 09-23 10-14 11-04 12-31",
    "XNYS": "03-29 05-27 06-19 07-04 09-02 11-28 12-25",
}


def days_of(calendar: str) -> list[date]:
    """The sessions of the months in question."""
    if calendar == "24/7":
        return [FIRST + timedelta(days=k) for k in range((END - FIRST).days + 1)]
    closed = {date.fromisoformat(f"2024-{day}") for day in HOLIDAYS[calendar].split()}
    return [day for day in weekdays(FIRST, END) if day not in closed]


class Exchange(Vendor):
    """Answers with every session of the window and with the bar of a day that is not over, whose close is another one in each answer."""

    def __init__(self) -> None:
        super().__init__(self._answers)
        self.settled: dict[str, date] = {}

    async def _answers(self, request: Request) -> AsyncIterator[Answer]:
        assert request.from_date
        last = self.settled[request.dataset]
        days = days_of(MARKETS[request.dataset]["calendar"])
        bars = [{"date": d.isoformat(), "close": float(d.toordinal())} for d in days if request.from_date <= d <= last]
        live = [{"date": d.isoformat(), "close": len(self.requests)} for d in days if last < d <= last + timedelta(days=2)]
        yield Answer(body([*bars, *live]))


def write_calendars(home: Path) -> None:
    """The sessions of all markets, as the home keeps them once they were computed."""
    (home / "calendars").mkdir(parents=True)
    for market in MARKETS.values():
        name = market["calendar"]
        file = f"{name.replace('/', '-')}-2020-{datetime.now(UTC).year + 1}-{version('exchange_calendars')}.json"
        days = [day.isoformat() for day in days_of(name)]
        (home / "calendars" / file).write_text(json.dumps({"first": str(FIRST), "last": str(END), "days": days}))


@pytest.fixture
def markets(tmp_path: Path) -> tuple[Context, Exchange]:
    write_calendars(tmp_path)
    vendor = Exchange()
    recipes = [recipe(dataset=name, first_date=FIRST, lookback_days=2, **market) for name, market in MARKETS.items()]
    return make_home(tmp_path, vendor, recipes=recipes, tickers=["AAA"]), vendor


def stored(context: Context) -> dict[str, list[tuple[date, float]]]:
    """Sessions and closes in silver, market by market."""
    with context.warehouse.reading() as connection:
        return {
            name: connection.execute(f"SELECT date, close FROM silver.vendor_{name.replace('-', '_')} ORDER BY date").fetchall()
            for name in MARKETS
        }


# The newest settled day of each market. New York's clocks go forward on 10 March and back on 3 November; Tokyo is closed on 4 November;
# crypto never is.
MOMENTS = {
    "2024-03-08 06:29": "03-07 03-07 03-07",  # Tokyo's Friday is not settled
    "2024-03-08 06:30": "03-08 03-07 03-07",
    "2024-03-08 21:29": "03-08 03-07 03-07",  # New York: 16:29, winter time
    "2024-03-08 21:30": "03-08 03-08 03-07",
    "2024-03-11 20:29": "03-11 03-08 03-10",
    "2024-03-11 20:30": "03-11 03-11 03-10",  # 16:30 in summer time, an hour earlier
    "2024-11-04 20:30": "11-01 11-01 11-03",  # winter time again, and Tokyo is closed
    "2024-11-04 21:30": "11-01 11-04 11-03",
}


def test_three_markets_in_one_run_each_by_its_own_clock(markets: tuple[Context, Exchange]) -> None:
    context, vendor = markets
    before: dict[str, date] = {}
    for moment, expected in MOMENTS.items():
        vendor.settled = {name: date.fromisoformat(f"2024-{day}") for name, day in zip(MARKETS, expected.split(), strict=True)}
        vendor.requests.clear()
        run(context, today=None, now=datetime.fromisoformat(f"{moment}+00:00"))
        # Nothing is asked before a new session can exist, and nothing of a live bar is kept.
        assert {r.dataset for r in vendor.requests} == {n for n, day in vendor.settled.items() if day != before.get(n)}, moment
        for name, rows in stored(context).items():
            days = [d for d in days_of(MARKETS[name]["calendar"]) if d <= vendor.settled[name]]
            assert rows == [(d, float(d.toordinal())) for d in days], (moment, name)
        before = vendor.settled
    assert_tidy(context)
