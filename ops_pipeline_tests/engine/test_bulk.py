"""Bulk files: one answer a session for all symbols, which feeds all of them and continues the history of the tickers that have one.

Belongs here: which tickers are asked beside such files, what gold is made of, and where it came from. Does not belong here: the recipe's
rules (`recipes` tests), periods (`test_modes`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops_pipeline.clock import utc_now
from ops_pipeline.engine import covering
from ops_pipeline.engine.context import Context
from ops_pipeline.engine.gaps import find_gaps
from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.engine.plan import RunOptions, verdicts
from ops_pipeline.engine.replay import replay
from ops_pipeline.gold.as_of import gold_as_of
from ops_pipeline.gold.build import rebuild
from ops_pipeline.gold.explain import explain
from ops_pipeline.recipes.models import NO_TICKER, Recipe
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline.sources import Answer, Request, SourceError
from ops_pipeline_tests.engine.home import asking, assert_tidy, contents, key, ledger, make_home, run
from ops_pipeline_tests.engine.vendor import Vendor, body, price, weekdays
from ops_pipeline_tests.lake import DATE_COLUMN, price_recipe, recipe

BULK, SPLITS = "vendor.bulk", "vendor.splits"
FIRST, SEEDED = date(2024, 1, 1), date(2024, 1, 31)
WEEK = weekdays(date(2024, 2, 1), date(2024, 2, 6))
SYMBOLS = ("AAA", "BBB", "ZZZ")
COLUMNS = [
    {"name": "symbol", "type": "text", "required": True},
    DATE_COLUMN,
    {"name": "last", "type": "double", "required": True, "from": "close"},
    {"name": "adjusted", "type": "double", "from": "adjClose"},
    {"name": "shares", "type": "double", "from": "volume"},
]
GOLD = {"object": "fact_eod", "columns": {"close": "last", "adjusted_close": "adjusted", "volume": "shares"}}
SPLIT_COLUMNS = [DATE_COLUMN, {"name": "numerator", "type": "double", "required": True}]


def recipes(**changes: Any) -> list[Recipe]:
    own = price_recipe(**{"first_date": FIRST, "lookback_days": 3, "calendar": "weekdays", "covered_by": BULK} | changes)
    bulk = recipe(
        dataset="bulk", per_ticker=False, mode="by_period", period="session", calendar="weekdays", first_date=SEEDED,
        columns=COLUMNS, key=["symbol", "date"], symbol_column="symbol", gold=GOLD,
    )  # fmt: skip
    splits = recipe(dataset="splits", mode="snapshot", first_date=None, columns=SPLIT_COLUMNS)
    return [own, bulk, *([splits] if "adjusted_by" in changes else [])]


class Market(Vendor):
    """Prices by ticker and by session; every so often a symbol is not in the file, or the file is not there."""

    def __init__(self) -> None:
        super().__init__(self._answers)
        self.lacking: set[tuple[str, date]] = set()
        self.down: set[date] = set()
        self.splits: dict[str, date] = {}
        self.factor = 1.0

    async def _answers(self, request: Request) -> AsyncIterator[Answer]:
        if request.dataset == "splits":
            day = self.splits.get(request.ticker)
            yield Answer(body([{"date": day.isoformat(), "numerator": 2}] if day else []))
            return
        days = weekdays(request.from_date, request.to_date)
        if request.dataset == "bulk":
            (day,) = days
            if day in self.down:
                raise SourceError("The file is not there yet.", kind="transient", status_code=503)
            yield Answer(body([{"symbol": s, **self.price(s, day)} for s in SYMBOLS if (s, day) not in self.lacking]))
            return
        yield Answer(body([self.price(request.ticker, day) for day in days]))

    def price(self, ticker: str, day: date) -> dict[str, Any]:
        record = price(ticker, day)
        return {**record, "close": float(str(record["close"])) * self.factor}

    def asked(self) -> list[tuple[str, str, date | None, date | None]]:
        """What was asked since the last time: dataset, ticker and window."""
        told = sorted((r.dataset, r.ticker, r.from_date, r.to_date) for r in self.requests if r.dataset != "splits")
        self.requests.clear()
        return told


@pytest.fixture
def market() -> Market:
    return Market()


@pytest.fixture
def home(tmp_path: Path, market: Market) -> Context:
    """Both tickers have their own history through January, and there is a first file."""
    context = make_home(tmp_path, market, recipes=recipes(), tickers=SYMBOLS[:2])
    run(context, today=SEEDED)
    assert market.asked() == [("bulk", NO_TICKER, SEEDED, SEEDED), *(("prices", t, FIRST, SEEDED) for t in SYMBOLS[:2])]
    return context


def fact(context: Context) -> dict[str, list[tuple[date, float]]]:
    with context.warehouse.reading() as connection:
        found = connection.execute(
            "SELECT symbol, list((f.date, f.close) ORDER BY f.date) FROM gold.fact_eod f JOIN gold.dim_instrument USING (instrument_id)"
            " GROUP BY symbol ORDER BY symbol"
        ).fetchall()
    return dict(found)


def expected(ticker: str, last: date, factor: float = 1.0) -> list[tuple[date, float]]:
    return [(day, float(str(price(ticker, day)["close"])) * factor) for day in weekdays(FIRST, last)]


def both_and(last: date, *files: date) -> dict[str, list[tuple[date, float]]]:
    """The wanted tickers through a day, and the symbol that nobody asked for on the days of the files."""
    return {
        **{t: expected(t, last) for t in SYMBOLS[:2]},
        "ZZZ": [(d, price_) for d, price_ in expected("ZZZ", last) if d in (SEEDED, *files)],
    }


def verdict(context: Context, ticker: str, today: date) -> tuple[OutcomeKind | None, str]:
    (item,) = verdicts(context, [key(ticker)], RunOptions(today=today))
    return item.verdict, item.reason


def assert_gold_is_what_silver_gives(context: Context) -> None:
    """A whole rebuild changes nothing, and as of now is what stands."""
    own, bulk = (context.catalogue.recipes[name] for name in ("vendor.prices", BULK))
    with context.warehouse.connection(), context.warehouse.transaction() as connection:
        changes = rebuild(connection, own, bulk=bulk)
        assert (changes.created, changes.updated, changes.deleted) == (0, 0, 0)
        moment = connection.execute("SELECT now()").fetchone()
        assert moment
        rows = gold_as_of(connection, own, moment[0], bulk=bulk).table.num_rows
        macro = connection.execute("SELECT count(*) FROM gold.fact_eod_as_of(now())").fetchone()
        stored = connection.execute("SELECT count(*) FROM gold.fact_eod").fetchone()
    assert (rows,) == stored == macro


def test_a_files_symbols_continue_the_tickers_that_are_wanted(home: Context, market: Market) -> None:
    for day in WEEK[:2]:
        run(home, PartitionKey(NO_TICKER, BULK), today=day)
        kind, reason = verdict(home, "AAA", day)
        assert (kind, reason) == (OutcomeKind.UP_TO_DATE, f"covered by {BULK} through {day}")
        # Together with what covers it the order does not matter: the session's file is awaited.
        run(home, today=day)
    assert market.asked() == [("bulk", NO_TICKER, day, day) for day in WEEK[:2]]
    pretended = replace(home, settings=home.settings.model_copy(update={"today": WEEK[1]}))
    assert find_gaps(pretended, list(home.universe()), utc_now()).found == [], "what the files hold is no gap"
    assert fact(home) == both_and(WEEK[1], *WEEK[:2])
    with home.warehouse.reading() as connection:
        assert connection.execute("SELECT count(*), count(DISTINCT symbol) FROM silver.vendor_bulk").fetchone() == (9, 3)
        returns = connection.execute("SELECT count(*) FROM gold.fact_eod WHERE simple_return IS NULL").fetchone()
        assert returns == (3,), "of the first day alone: the two join without a seam"
    rows = ledger(home, "dataset = 'bulk'")
    told = [(r.bronze_rows, r.silver_counts.created, r.gold_tablename, r.gold_rows_created) for r in rows]
    assert told == [(3, 3, "gold.fact_eod", 1), *[(3, 3, "gold.fact_eod", 3)] * 2], "the first adds nothing to the histories"
    assert_gold_is_what_silver_gives(home)
    assert_tidy(home)


def test_a_number_leads_to_its_bulk_file(home: Context) -> None:
    run(home, today=WEEK[0])
    with home.warehouse.reading() as connection:
        (trail,) = explain(connection, home.catalogue.recipes.values(), "AAA", WEEK[0])
        both = explain(connection, home.catalogue.recipes.values(), "AAA", SEEDED)
    assert trail.gold is not None
    assert trail.recipe.dataset_key == BULK
    assert {file.ticker for file in trail.files.values()} == {NO_TICKER}
    assert {t.recipe.dataset_key: t.gold is not None for t in both} == {"vendor.prices": True, BULK: False}


def test_a_session_in_one_run_is_asked_of_the_file_alone(home: Context, market: Market) -> None:
    """While the newest file is not there, its tickers are not asked one by one, but for a week at most."""
    run(home, today=WEEK[0])
    market.asked()
    market.down = set(WEEK[1:])
    for day in WEEK[1:3]:
        run(home, today=day)
        assert {dataset for dataset, *_ in market.asked()} == {"bulk"}
        assert verdict(home, "AAA", day)[1] == f"covered by {BULK} through {WEEK[0]}; its file of {WEEK[1]} is awaited"
    late = WEEK[1] + covering.WAITED_FOR
    market.down |= set(weekdays(WEEK[-1], late))
    run(home, today=late)
    assert {(d, t) for d, t, *_ in market.asked() if d == "prices"} == {("prices", "AAA"), ("prices", "BBB")}
    assert fact(home) == both_and(late, WEEK[0])
    # When the files come after all, the tickers' own rows stand.
    market.down.clear()
    run(home, today=late)
    assert fact(home) == both_and(late, *weekdays(WEEK[0], late))
    assert_gold_is_what_silver_gives(home)


def test_a_ticker_that_a_file_lacks_is_asked_by_itself(home: Context, market: Market) -> None:
    market.lacking = {("BBB", WEEK[1])}
    for day in WEEK[:3]:
        run(home, PartitionKey(NO_TICKER, BULK), today=day)
    market.asked()
    run(home, today=WEEK[2])
    # From the end of its own history, so that this has no hole.
    assert market.asked() == [("prices", "BBB", SEEDED - timedelta(days=2), WEEK[2])]
    assert fact(home) == both_and(WEEK[2], *WEEK[:3])
    run(home, today=WEEK[3])
    assert market.asked() == [("bulk", NO_TICKER, WEEK[3], WEEK[3])]
    assert fact(home) == both_and(WEEK[3], *WEEK[:4])
    assert_gold_is_what_silver_gives(home)


def test_a_new_ticker_gets_its_own_history_first(tmp_path: Path, home: Context, market: Market) -> None:
    for day in WEEK[:2]:
        run(home, today=day)
    market.asked()
    wider = make_home(tmp_path, market, recipes=recipes(), tickers=SYMBOLS)
    run(wider, today=WEEK[1])
    assert market.asked() == [("prices", "ZZZ", FIRST, WEEK[1])]
    run(wider, today=WEEK[2])
    assert fact(wider) == {t: expected(t, WEEK[2]) for t in SYMBOLS}
    assert_gold_is_what_silver_gives(wider)


def test_without_the_files_wanted_every_ticker_is_asked(tmp_path: Path, home: Context, market: Market) -> None:
    run(home, today=WEEK[0])
    market.asked()
    (tmp_path / "universe.yaml").write_text("datasets:\n  vendor.prices: [AAA, BBB]\n", encoding="utf-8")
    run(home, today=WEEK[1])
    assert [(d, t) for d, t, *_ in market.asked()] == [("prices", "AAA"), ("prices", "BBB")]


def test_a_split_makes_the_whole_history_due_and_no_basis_is_mixed(tmp_path: Path, market: Market) -> None:
    listed = recipes(refetch_on_restatement=True, adjusted_by=[SPLITS])
    context = make_home(tmp_path, market, recipes=listed, tickers=SYMBOLS[:2])
    for day in (SEEDED, *WEEK[:2]):
        run(context, today=day)
    assert [(d, t) for d, t, *_ in market.asked() if d == "prices"] == [("prices", "AAA"), ("prices", "BBB")]
    market.splits, market.factor = {"AAA": WEEK[2]}, 0.5
    run(context, today=WEEK[2], full=True)  # the snapshot of splits is due, and with it the split comes
    market.asked()
    run(context, key("AAA"), today=WEEK[2])
    assert fact(context)["AAA"] == expected("AAA", WEEK[2], 0.5)
    assert_gold_is_what_silver_gives(context)


def test_without_its_splits_nothing_covers_an_adjusted_history(tmp_path: Path, market: Market) -> None:
    context = make_home(tmp_path, market, recipes=recipes(refetch_on_restatement=True, adjusted_by=[SPLITS]), tickers=SYMBOLS[:2])
    (tmp_path / "universe.yaml").write_text(
        f"datasets:\n  vendor.prices: [AAA, BBB]\n  {BULK}:\n  {SPLITS}: [AAA]\n", encoding="utf-8"
    )
    run(context, today=SEEDED)
    run(context, today=WEEK[0])
    market.asked()
    run(context, today=WEEK[1])
    assert [(d, t) for d, t, *_ in market.asked()] == [("bulk", NO_TICKER), ("prices", "BBB")]


def test_a_restated_file_changes_gold_and_a_replay_changes_nothing(home: Context, market: Market) -> None:
    for day in WEEK[:2]:
        run(home, today=day)
    market.factor = 1.5
    run(home, PartitionKey(NO_TICKER, BULK), today=WEEK[1], from_date=WEEK[1])
    assert fact(home)["AAA"] == [*expected("AAA", WEEK[0]), *expected("AAA", WEEK[1], 1.5)[-1:]]
    newest = ledger(home, "dataset = 'bulk'")[-1]
    assert (newest.silver_counts.updated, newest.gold_rows_updated) == (3, 3)
    assert_gold_is_what_silver_gives(home)
    before = contents(home)
    for name, run_id in (("vendor.prices", "replay-1"), (BULK, "replay-2")):
        told = replay(home, home.catalogue.recipes[name], run_id)
        assert told.gold is not None
        assert (told.gold.created, told.gold.updated, told.gold.deleted) == (0, 0, 0)
    assert contents(home) == before


def test_a_run_that_stops_before_gold_is_finished_by_the_next(home: Context, market: Market) -> None:
    run(home, today=WEEK[0], layers=frozenset({"bronze"}))
    run(home, today=WEEK[0], layers=frozenset({"silver"}))
    assert fact(home) == both_and(SEEDED)
    market.asked()
    run(asking(home, market), today=WEEK[0])
    assert market.asked() == []
    assert fact(home) == both_and(WEEK[0], WEEK[0])
    assert_tidy(home)


class Paying(Market):
    """Files that tell of the dividends of their day: from a dividend on, prices before it are adjusted anew."""

    def __init__(self) -> None:
        super().__init__()
        self.paid: dict[str, date] = {}
        self.now = SEEDED

    def price(self, ticker: str, day: date) -> dict[str, Any]:
        on = self.paid.get(ticker, date.max)
        record = price(ticker, day)
        close = float(str(record["close"]))
        return {**record, "adjClose": close / 2 if day < on <= self.now else close, "dividend": 1.0 if day == on else 0.0}


def paying(*, covered: bool = True) -> list[Recipe]:
    own, bulk = recipes(refetch_on_restatement=True, covered_by=BULK if covered else None)[:2]
    columns = [*COLUMNS, {"name": "dividend", "type": "double"}]
    told = Recipe.model_validate(bulk.model_dump(by_alias=True) | {"columns": columns, "action_columns": {"dividend": 0}})
    return [own, told] if covered else [told]


def adjusted(context: Context, ticker: str) -> dict[date, float | None]:
    with context.warehouse.reading() as connection:
        found = connection.execute(
            "SELECT f.date, f.adjusted_close FROM gold.fact_eod f JOIN gold.dim_instrument USING (instrument_id) WHERE symbol = ?",
            [ticker],
        ).fetchall()
    return dict(found)


def test_a_dividend_in_a_file_ends_its_cover_and_no_two_bases_meet(tmp_path: Path) -> None:
    market = Paying()
    context = make_home(tmp_path, market, recipes=paying(), tickers=SYMBOLS[:2])
    market.paid = {"AAA": WEEK[1], "ZZZ": WEEK[1]}
    for day in (SEEDED, *WEEK[:2]):
        market.now = day
        run(context, today=day)
    assert max(adjusted(context, "AAA")) == WEEK[0], "the file's row is on another basis than the history: it waits for that"
    assert max(adjusted(context, "BBB")) == WEEK[1]
    closes = {day: float(str(price("ZZZ", day)["close"])) for day in (SEEDED, *WEEK[:2])}
    assert adjusted(context, "ZZZ") == {day: closes[day] if day == WEEK[1] else None for day in closes}, "of its own files alone"
    assert_gold_is_what_silver_gives(context)
    market.asked()
    market.now = WEEK[2]
    run(context, today=WEEK[2])
    assert market.asked() == [("bulk", NO_TICKER, WEEK[2], WEEK[2]), ("prices", "AAA", FIRST, WEEK[2])]
    told = adjusted(context, "AAA")
    assert told == {day: market.price("AAA", day)["adjClose"] for day in weekdays(FIRST, WEEK[2])}, "one basis, through today"
    assert verdict(context, "AAA", WEEK[2])[0] is OutcomeKind.UP_TO_DATE
    assert_gold_is_what_silver_gives(context)


def test_only_the_files_feed_gold_where_nobody_asks_for_a_ticker(tmp_path: Path) -> None:
    """With and without a dataset by ticker beside them; what comes by itself later takes the place of the files' rows before it."""
    for name, covered in (("beside", True), ("alone", False)):
        market = Paying()
        context = make_home(tmp_path / name, market, recipes=paying(covered=covered), tickers=[])
        for day in (SEEDED, *WEEK[:2]):
            run(context, PartitionKey(NO_TICKER, BULK), today=day)
        days = (SEEDED, *WEEK[:2])
        assert fact(context) == {t: [p for p in expected(t, WEEK[1]) if p[0] in days] for t in SYMBOLS}
        with context.warehouse.reading() as connection:
            (trail, *_) = explain(connection, context.catalogue.recipes.values(), "ZZZ", WEEK[0])
        assert trail.gold is not None
    context = make_home(tmp_path / "beside", market, recipes=paying(), tickers=["ZZZ"])
    run(context, key("ZZZ"), today=WEEK[0], from_date=WEEK[0])
    assert fact(context)["ZZZ"] == [p for p in expected("ZZZ", WEEK[1]) if p[0] >= WEEK[0]], (
        "before its own first day nothing of files"
    )
    assert_gold_is_what_silver_gives(context)


def test_files_that_only_continue_leave_the_others_in_silver(tmp_path: Path, market: Market) -> None:
    own, bulk = recipes()
    narrow = Recipe.model_validate(bulk.model_dump(by_alias=True) | {"continues_only": True})
    context = make_home(tmp_path, market, recipes=[own, narrow], tickers=SYMBOLS[:2])
    for day in (SEEDED, WEEK[0]):
        run(context, today=day)
    assert fact(context) == {t: expected(t, WEEK[0]) for t in SYMBOLS[:2]}
    wide = make_home(tmp_path, market, recipes=[own, bulk], tickers=SYMBOLS[:2])
    run(wide, today=WEEK[1])
    assert fact(wide) == both_and(WEEK[1], *WEEK[:2]), "a symbol that is new in gold comes with its earlier days"


def test_a_symbol_with_few_days_stands_in_gold_as_after_a_rebuild(tmp_path: Path, market: Market) -> None:
    """More sessions than a formula looks back: one symbol is in every file, one in a few of them."""
    days = weekdays(SEEDED, SEEDED + timedelta(days=110))
    market.lacking = {("ZZZ", day) for n, day in enumerate(days) if n % 25 and day != days[-1]}
    context = make_home(tmp_path, market, recipes=recipes(), tickers=[])
    run(context, PartitionKey(NO_TICKER, BULK), today=days[-2])
    run(context, PartitionKey(NO_TICKER, BULK), today=days[-1])
    assert [len(rows) for rows in fact(context).values()] == [len(days), len(days), 5]
    assert_gold_is_what_silver_gives(context)


class Latest(Paying):
    """The newest session of all symbols in one answer, asked without dates."""

    async def _answers(self, request: Request) -> AsyncIterator[Answer]:
        if request.dataset == "bulk":
            yield Answer(body([{"symbol": s, **self.price(s, self.now)} for s in SYMBOLS]))
            return
        async for answer in super()._answers(request):
            yield answer


def test_a_daily_answer_without_dates_covers_the_days_on_which_it_was_asked(tmp_path: Path) -> None:
    market = Latest()
    own, bulk = paying()
    daily = Recipe.model_validate(bulk.model_dump(by_alias=True) | {"mode": "snapshot", "period": None, "first_date": None})
    context = make_home(tmp_path, market, recipes=[own, daily], tickers=SYMBOLS[:2])
    for market.now in (SEEDED, *WEEK[:2]):
        run(context, today=market.now, now=datetime.combine(market.now, time(23), UTC))
    assert [(d, t) for d, t, *_ in market.asked() if d == "prices"] == [("prices", "AAA"), ("prices", "BBB")], (
        "for their histories"
    )
    assert fact(context) == both_and(WEEK[1], *WEEK[:2])
    # A day on which nobody asked is missed for good: the tickers are asked for by themselves.
    market.now = WEEK[3]
    run(context, today=market.now, now=datetime.combine(market.now, time(23), UTC))
    run(context, today=market.now, now=datetime.combine(market.now, time(23, 30), UTC))
    later = WEEK[3] + covering.WAITED_FOR
    market.asked()
    market.now = later
    run(context, today=later, now=datetime.combine(later, time(23), UTC))
    assert [(d, t) for d, t, *_ in market.asked() if d == "prices"] == [("prices", "AAA"), ("prices", "BBB")]
    assert {t: rows for t, rows in fact(context).items() if t != "ZZZ"} == {t: expected(t, later) for t in SYMBOLS[:2]}
    assert_gold_is_what_silver_gives(context)
