"""Three markets of one vendor over HTTP, in the weeks in which clocks change, with what goes wrong in prices.

Belongs here: a split in adjusted prices, a price a hundred times too high and bars that move until the close, all in the same runs. Does
not belong here: each rule by itself (`engine.test_basis`, `engine.test_checks`, `engine.test_clocks`), quotas (`test_limits`), and answers
that are no answers (`test_storm`).
"""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from ops_pipeline.engine.checks import check_now
from ops_pipeline.engine.context import Context, build_context
from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.engine.plan import RunOptions
from ops_pipeline.engine.run import new_run_id, run_batch
from ops_pipeline.recipes.checks import Kind
from ops_pipeline.settings import load_settings
from ops_pipeline_tests.engine.home import assert_tidy
from ops_pipeline_tests.engine.test_clocks import FIRST, MARKETS, MOMENTS, days_of, write_calendars
from ops_pipeline_tests.sources.http_home import RECIPE, VARIABLE
from ops_pipeline_tests.template import place_migrated
from ops_pipeline_tests.vendor_server import Reply, Seen, VendorServer

SPLIT_ON, WRONG_ON = date(2024, 3, 11), date(2024, 3, 8)
Closes = dict[date, float]


class Exchange:
    """Answers by market with all settled days of the window, newest first, and with the bars of days that are not over."""

    def __init__(self) -> None:
        self.settled: dict[str, date] = {}
        self.answers = 0

    def __call__(self, seen: Seen) -> Reply:
        self.answers += 1
        market = seen.path.strip("/")
        first, last = seen.window
        assert first
        assert last
        settled = self.settled[market]
        days = [d for d in days_of(MARKETS[market]["calendar"]) if first <= d <= settled + timedelta(days=1)]
        # A live bar's close is another one in each answer.
        closes = {d: self.close(market, d) if d <= settled else float(self.answers) for d in days}
        return Reply(json.dumps([{"date": str(d), "close": close} for d, close in sorted(closes.items(), reverse=True)]).encode())

    def close(self, market: str, day: date) -> float:
        close = float(day.toordinal() - FIRST.toordinal() + 100)
        if market == "tokyo" and day == WRONG_ON:
            return close * 100
        if market == "new-york" and day < SPLIT_ON <= self.settled[market]:
            return close / 4
        return close

    def expected(self, market: str) -> Closes:
        return {d: self.close(market, d) for d in days_of(MARKETS[market]["calendar"]) if d <= self.settled[market]}


def make_home(folder: Path, url: str) -> Context:
    write_calendars(folder)
    more: dict[str, dict[str, Any]] = {
        "new-york": {"refetch_on_restatement": True},
        "tokyo": {"checks": {"jump_column": "close", "jump_factor": 5}},
    }
    recipes = [
        {k: v for k, v in RECIPE.items() if k != "gold"}
        | {"dataset": name, "first_date": str(FIRST), "lookback_days": 5, "columns": RECIPE["columns"][:2], **market}
        | {"request": {"path": f"/{name}", "params": RECIPE["request"]["params"]}, **more.get(name, {})}
        for name, market in MARKETS.items()
    ]
    http = {"base_url": url, "key": {"env": VARIABLE, "query": "apikey"}}
    source = {"name": "vendor", "description": "A vendor.", "client": "http", "http": http}
    (folder / "recipes").mkdir()
    (folder / "recipes" / "vendor.yaml").write_text(json.dumps({"source": source, "recipes": recipes}), encoding="utf-8")
    wanted = {f"vendor.{name}": ["AAA"] for name in MARKETS}
    (folder / "universe.yaml").write_text(json.dumps({"datasets": wanted}), encoding="utf-8")
    context = build_context(load_settings(home=folder))
    place_migrated(context.settings.database_path)
    context.migrate(lambda _: None)
    return context


def stored(context: Context, market: str) -> Closes:
    with context.warehouse.reading() as connection:
        return dict(connection.execute(f"SELECT date, close FROM silver.vendor_{market.replace('-', '_')}").fetchall())


def test_a_split_a_wrong_price_and_live_bars_in_the_weeks_of_changing_clocks(vendor: VendorServer, tmp_path: Path) -> None:
    exchange = Exchange()
    vendor.answer = exchange
    context = make_home(tmp_path, vendor.url)
    for moment in ("2024-03-08 21:30", "2024-03-11 20:29", "2024-03-11 20:30", "2024-11-04 21:30"):
        days = MOMENTS[moment].split()
        exchange.settled = {name: date.fromisoformat(f"2024-{day}") for name, day in zip(MARKETS, days, strict=True)}
        options = RunOptions(now=datetime.fromisoformat(f"{moment}+00:00"))
        asked: list[int] = []
        for _ in range(3):  # the split's first answer is held, the next run asks for the whole history, then nothing is left
            before = len(vendor.seen)
            told = list(run_batch(context, list(context.universe()), options, run_id=new_run_id()))
            assert not [outcome for outcome in told if outcome.kind is OutcomeKind.FAILED], moment
            asked.append(len(vendor.seen) - before)
        assert asked[-1] == 0, (moment, asked)
        for market in MARKETS:
            assert stored(context, market) == exchange.expected(market), (moment, market)
        if moment == "2024-03-11 20:30":
            assert asked[1] == 1, "New York alone is asked again, as a whole"
    wrong = {r.dataset_key: r.first_findings for r in check_now(context, kinds=[Kind.JUMPS]) if not r.passed}
    assert list(wrong) == ["vendor.tokyo"]
    assert any(str(WRONG_ON) in finding.where for finding in wrong["vendor.tokyo"])
    assert_tidy(context)
