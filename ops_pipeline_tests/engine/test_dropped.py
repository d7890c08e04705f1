"""Rows that vendors drop from later answers: listed, and nothing else is; over real runs.

Belongs here: `find_dropped` against vendors that drop, refuse, bring back and page. Does not belong here: changed values
(`silver/test_restatements`), whole histories that replace a partition (`test_basis`).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ops_pipeline.cli.app import app
from ops_pipeline.engine.context import Context
from ops_pipeline.engine.dropped import find_dropped
from ops_pipeline.sources import Answer, Request
from ops_pipeline_tests.engine.home import PRICES, asking, key, make_home, prices_recipe, run
from ops_pipeline_tests.engine.vendor import Vendor, body, prices, weekdays

FRIDAY = date(2024, 1, 12)
MONDAY = FRIDAY + timedelta(days=3)
GONE = date(2024, 1, 10)


def without(*days: date, only: str = "AAA", pages: int = 1, garbled: date | None = None) -> Vendor:
    async def fetch(request: Request) -> AsyncIterator[Answer]:
        lost = {str(day) for day in days} if request.ticker == only else set()
        records: list[dict[str, Any]] = [record for record in prices(request) if record["date"] not in lost]
        for record in records:
            if record["date"] == str(garbled):
                record["close"] = "n/a"
        size = max(1, -(-len(records) // pages))
        for page in range(pages):
            part = records[page * size : (page + 1) * size]
            yield Answer(body(part), part=page + 1, last=page + 1 == pages, status_code=200)

    return Vendor(fetch)


def home(folder: Path, *vendors: Vendor, **changes: Any) -> Context:
    """A home after one run a vendor, on Friday, Monday and the days after; each looks ten days back."""
    recipe = prices_recipe(**{"lookback_days": 10} | changes)
    context = make_home(folder, recipes=[recipe], tickers=["AAA", "BBB"], publish="none")
    for number, vendor in enumerate(vendors):
        run(asking(context, vendor), today=FRIDAY if number == 0 else MONDAY + timedelta(days=number - 1), run_id=f"run-{number}")
    return context


def lines(context: Context, **wanted: Any) -> list[tuple[str, str, str, str, str]]:
    return [(r.dataset, r.ticker, r.row_key, r.last_run_id, r.run_id) for r in find_dropped(context, **wanted)]


LINE = (PRICES, "AAA", '{"date":"2024-01-10"}', "run-0", "run-1")


@pytest.mark.parametrize("pages", [1, 3])
def test_a_row_that_a_later_answer_lacks_is_listed_and_stays(tmp_path: Path, pages: int) -> None:
    context = home(tmp_path, without(pages=pages), without(GONE, pages=pages))
    assert lines(context) == [LINE]
    assert lines(context, datasets=[PRICES], ticker="BBB") == lines(context, datasets=["vendor.other"]) == []
    with context.warehouse.reading() as connection:
        found = connection.execute("SELECT count(*) FROM silver.vendor_prices WHERE ticker = 'AAA'").fetchone()
    assert found == (len(weekdays(date(2024, 1, 1), MONDAY)),)


def test_what_comes_back_is_listed_no_more(tmp_path: Path) -> None:
    context = home(tmp_path, without(), without(GONE), without())
    assert lines(context) == []


def test_an_answer_that_never_had_it_and_a_refused_record_drop_nothing(tmp_path: Path) -> None:
    assert lines(home(tmp_path / "never", without(GONE), without(GONE))) == []
    assert lines(home(tmp_path / "refused", without(), without(garbled=GONE))) == []


def test_a_moved_date_of_days_to_come_is_listed(tmp_path: Path) -> None:
    """An earnings calendar: the announcement of the 17th is on the 18th now."""
    days = iter((date(2024, 1, 17), date(2024, 1, 18)))

    async def fetch(_: Request) -> AsyncIterator[Answer]:
        yield Answer(body([{"date": str(next(days)), "close": 1.0}]), status_code=200)

    changes = {"mode": "rolling", "past_days": 7, "future_days": 14, "first_date": None, "calendar": "daily", "lookback_days": 0}
    context = make_home(tmp_path, Vendor(fetch), recipes=[prices_recipe(**changes)], tickers=["AAA"], publish="none")
    for number, day in enumerate((FRIDAY, MONDAY)):
        run(context, key("AAA"), today=day, run_id=f"run-{number}", full=True)
    assert lines(context) == [(PRICES, "AAA", '{"date":"2024-01-17"}', "run-0", "run-1")]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = home(tmp_path, without(), without(GONE))
    for module in ("dropped", "point_in_time", "restatements"):
        monkeypatch.setattr(f"ops_pipeline.cli.{module}.open_ledger", lambda _: context)
    command = CliRunner()

    def told(*words: str) -> str:
        done = command.invoke(app, words)
        assert done.exit_code == 0, done.output
        return done.output

    (row,) = json.loads(told("dropped", "--dataset", PRICES, "--json"))["dropped"]
    assert (row["day"], row["last_run_id"], row["run_id"]) == (str(GONE), "run-0", "run-1")
    listed = told("dropped")
    assert "1 row in silver" in listed
    assert f"dropped hide --dataset {PRICES} --ticker AAA --date {GONE}" in listed
    assert "no row was dropped" in told("dropped", "--ticker", "BBB")
    assert "no row is hidden" in told("dropped", "hidden")

    def refused(*words: str) -> str:
        return str(command.invoke(app, ["dropped", *words, "--dataset", PRICES]).exception)

    assert refused("hide") == refused("restore", "--all", "--date", str(GONE))
    assert refused("hide").startswith("Say which rows: --date DATE")
    assert "none of these rows" in refused("hide", "--date", str(FRIDAY))
    assert "give --yes" in refused("hide", "--all")  # nobody can answer here
    assert len(find_dropped(context)) == 1

    (done,) = json.loads(told("dropped", "hide", "--dataset", PRICES, "--all", "--yes", "--json", "--reason", "cancelled"))[
        "decided"
    ]
    assert (done["ticker"], done["rows"]) == ("AAA", 1)
    (row,) = json.loads(told("dropped", "hidden", "--json"))["hidden"]
    assert (row["day"], row["reason"], row["run_id"]) == (str(GONE), "cancelled", done["run_id"])
    assert "hidden since" in told("explain", "AAA", str(GONE))
    versions = json.loads(told("explain", "AAA", str(GONE), "--json"))["trails"][0]["versions"]
    assert [(v["operation"], v["decision"] and v["decision"]["reason"]) for v in versions] == [
        ("created", None),
        ("hidden", "cancelled"),
    ]
    assert {r["operation"] for r in json.loads(told("restatements", "--json"))["restatements"]} == {"hidden"}
    assert "1 row brought back" in told(
        "dropped", "restore", "--dataset", PRICES, "--ticker", "AAA", "--date", str(GONE), "--yes"
    )
    assert "brought back" in told("explain", "AAA", str(GONE))
    assert "is hidden" in refused("restore", "--all")
