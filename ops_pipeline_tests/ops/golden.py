"""A small ledger of four runs, and its sums worked out by hand."""

from __future__ import annotations

from ops_pipeline.ops.ingestion import DatasetInjestion
from ops_pipeline.ops.queries import RunSummary
from ops_pipeline_tests.ops.rows import (
    PRICES,
    again,
    asked,
    at,
    built,
    deferred,
    empty,
    failed,
    merged,
    refused,
    stored,
    unchanged,
)

FX = {"ticker": "-", "dataset": "sample.fx-rates"}
TOMORROW, NEXT_WEEK = 24 * 60, 7 * 24 * 60


def golden() -> list[DatasetInjestion]:
    """Run a fetches four files and promotes one; run b, a day later, promotes another; run c replays; run d has only asked."""
    apple = stored("a", ticker="AAPL", body="x" * 100, data=(0, 9))
    built(merged(apple, minute=10, created=7, updated=1, failed=1, out_of_window=1), minute=20, created=7, updated=2)
    brien = stored("a", ticker="O'Brien", body="y" * 50, minute=2, data=(0, 4))
    merged(brien, run="b", minute=TOMORROW + 5, created=3, unchanged=2, deleted=1)
    brien.gold_started(PRICES, "b", at(TOMORROW + 9))
    brien.gold_failed("out of memory")
    brien.gold_injest_end_time = at(TOMORROW + 10)
    no = failed("a", ticker="IBM", minute=1)
    no.bronze_injest_end_time = at(3)
    same = unchanged("b", ticker="AAPL", body="x" * 100, minute=TOMORROW, data=(0, 9))
    rates = refused(stored("b", body="z" * 20, minute=TOMORROW + 1, rows=6, data=(2, 3), **FX), minute=TOMORROW + 6)
    later = deferred("b", ticker="MSFT", minute=TOMORROW)
    later.bronze_injest_end_time = at(TOMORROW)
    replay = merged(again(apple, "c", "replay"), minute=NEXT_WEEK, created=7, updated=1, failed=1, out_of_window=1)
    owed = asked("d", ticker="AAPL", minute=NEXT_WEEK + 1)
    return [apple, brien, no, empty("a", body="", minute=4, **FX), same, rates, later, replay, owed]


NO_SILVER = dict.fromkeys(("created", "updated", "unchanged", "failed", "superseded", "out_of_window", "deleted"), 0)
NO_GOLD = dict.fromkeys(("created", "updated", "failed"), 0)

RUN_A = RunSummary(
    run_id="a",
    started=at(0),
    ended=at(21),
    files=4,
    datasets=2,
    tickers=3,
    bronze={"stored": 2, "empty": 1, "failed": 1},
    bronze_rows=15,
    bronze_bytes=150,
    silver_files=1,
    silver_rows={**NO_SILVER, "created": 7, "updated": 1, "failed": 1, "out_of_window": 1},
    gold_files=1,
    gold_rows={**NO_GOLD, "created": 7, "updated": 2},
)
RUN_B = RunSummary(
    run_id="b",
    started=at(TOMORROW),
    ended=at(TOMORROW + 10),
    files=4,
    datasets=2,
    tickers=3,
    bronze={"stored": 1, "unchanged": 1, "deferred": 1},
    bronze_rows=16,
    bronze_bytes=120,
    silver_files=1,
    silver_failed_files=1,
    silver_rows={**NO_SILVER, "created": 3, "unchanged": 2, "deleted": 1},
    gold_failed_files=1,
    gold_rows=NO_GOLD,
)
RUN_C = RunSummary(
    run_id="c",
    started=at(NEXT_WEEK),
    ended=at(NEXT_WEEK + 1),
    files=1,
    datasets=1,
    tickers=1,
    silver_files=1,
    silver_rows={**NO_SILVER, "created": 7, "updated": 1, "failed": 1, "out_of_window": 1},
    gold_rows=NO_GOLD,
)
RUN_D = RunSummary(
    run_id="d",
    started=at(NEXT_WEEK + 1),
    ended=None,
    files=1,
    datasets=1,
    tickers=1,
    bronze={"asked": 1},
    silver_rows=NO_SILVER,
    gold_rows=NO_GOLD,
)
