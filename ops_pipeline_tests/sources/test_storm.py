"""A vendor with every fault at once: after a few runs everything is there, and everything once.

Belongs here: a universe against all of `faults` at once. Does not belong here: each fault by itself (`test_http`, `test_http_runs`).
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path
from zlib import crc32

import pytest

from ops_pipeline.clock import utc_now
from ops_pipeline.engine.context import Context
from ops_pipeline.engine.outcome import Outcome, OutcomeKind
from ops_pipeline.engine.plan import RunOptions, due_keys
from ops_pipeline.engine.run import new_run_id, run_batch
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline.sources import http
from ops_pipeline_tests.engine.home import assert_tidy
from ops_pipeline_tests.engine.vendor import price, weekdays
from ops_pipeline_tests.faults import ODD, PASSING
from ops_pipeline_tests.sources.http_home import FIRST, LAST, make_home
from ops_pipeline_tests.vendor_server import Reply, Seen, VendorServer

# Every weekday must have rows, so that an empty answer is suspect, as with an exchange's calendar.
EXPECTING = {"every_session": True}
SESSIONS = weekdays(FIRST, LAST)
TICKERS = [f"T{k:03}" for k in range(200)]
OF_A_HUNDRED = 5
STORMY_ANSWERS = 4
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "FIRST_PAUSE_SECONDS", 0.001)


def options(round_number: int) -> RunOptions:
    """A run so many days later."""
    return RunOptions(today=LAST, now=utc_now() + round_number * DAY)


def run(context: Context, round_number: int, keys: list[PartitionKey] | None = None) -> dict[str, Outcome]:
    """One run over everything, or over these keys; outcomes by ticker."""
    wanted = list(context.universe()) if keys is None else keys
    return {o.key.ticker: o for o in run_batch(context, wanted, options(round_number), run_id=new_run_id())}


def expected(tickers: list[str]) -> list[tuple[object, ...]]:
    rows = [(t, r["date"], r["close"], r["volume"]) for t in tickers for r in (price(t, day) for day in SESSIONS)]
    return sorted(rows, key=lambda row: row[:2])


def silver(context: Context) -> list[tuple[object, ...]]:
    with context.warehouse.reading() as connection:
        return connection.execute(
            "SELECT ticker, date::VARCHAR, close, volume FROM silver.vendor_prices ORDER BY ticker, date"
        ).fetchall()


def figures(context: Context) -> tuple[int, int]:
    with context.warehouse.reading() as connection:
        found = connection.execute("SELECT count(*), count(DISTINCT (instrument_id, date)) FROM gold.fact_eod").fetchone()
    assert found
    return found


def test_under_every_passing_fault_at_once_each_ticker_ends_complete(vendor: VendorServer, tmp_path: Path) -> None:
    """Of a hundred answers five have each of the faults, four fifths of all; runs follow each other until nothing is left.

    Behind a ticker's fourth answer the storm is over, or a few unlucky ones would keep the test going.
    """
    faults, met = list(PASSING.items()), Counter[str]()

    def stormy(seen: Seen) -> Reply:
        lot = crc32(f"{seen.ticker}/{seen.attempt}/lot".encode()) % 100 // OF_A_HUNDRED
        if seen.attempt <= STORMY_ANSWERS and lot < len(faults):
            name, fault = faults[lot]
        else:
            odd = list(ODD.items())
            name, fault = odd[crc32(f"{seen.ticker}/{seen.attempt}/odd".encode()) % len(odd)]
        met[name] += 1
        return fault(seen)

    vendor.answer = stormy
    context = make_home(tmp_path, vendor.url, TICKERS, recipe=EXPECTING, concurrency=16, attempts=5, timeout_seconds=0.25)
    first = run(context, 0)
    assert {o.kind for o in first.values()} == {OutcomeKind.PROMOTED, OutcomeKind.FAILED, OutcomeKind.EMPTY}
    for outcome in first.values():
        assert outcome.kind is not OutcomeKind.FAILED or outcome.reason, outcome
    rounds = 1
    while keys := due_keys(context, options(rounds)):
        before = len(vendor.seen)
        told = run(context, rounds, keys if rounds % 2 else None)
        # What is complete is not asked again by a run over everything.
        assert {seen.ticker for seen in vendor.seen[before:]} == {key.ticker for key in keys}
        assert {t for t, o in told.items() if o.kind is not OutcomeKind.UP_TO_DATE} == {key.ticker for key in keys}
        rounds += 1
        assert rounds < 10, "it does not end"
    assert set(met) == {*PASSING, *ODD}, "every fault was met"
    assert {o.kind for o in run(context, rounds).values()} == {OutcomeKind.UP_TO_DATE}
    assert silver(context) == expected(TICKERS)
    assert figures(context) == (len(TICKERS) * len(SESSIONS),) * 2
    assert_tidy(context)
