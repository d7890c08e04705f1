"""The stages together: what overlaps, what waits for whom, and what a full queue does to stopping.

Belongs here: whole runs whose queues are small. Does not belong here: the queues alone (`test_queues`), stopping in general (`test_stop`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ops_pipeline.bronze.store import StoredFile
from ops_pipeline.engine import fetch, pipeline, promote
from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.engine.plan import RunOptions
from ops_pipeline.engine.promote import Promoter
from ops_pipeline.engine.read import Read
from ops_pipeline.engine.run import run_batch
from ops_pipeline.errors import DatabaseError
from ops_pipeline.ops.ingestion import DatasetInjestion
from ops_pipeline.sources import Answer, Request
from ops_pipeline.warehouse import Warehouse
from ops_pipeline_tests.engine.home import FEBRUARY, assert_tidy, contents, key, ledger, make_home, run
from ops_pipeline_tests.engine.vendor import Vendor, market

TICKERS = tuple(f"T{number:02}" for number in range(12))
KEYS = [key(ticker) for ticker in TICKERS]
OPTIONS = RunOptions(today=FEBRUARY)


def test_the_next_answers_are_fetched_and_read_while_a_batch_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first commit waits for answers that are fetched, and for a portion that is read, after it began."""
    committing, read_since = threading.Event(), threading.Event()
    take, read = Promoter.take, Promoter.read

    def slow_take(self: Promoter, batch: Read, *others: Any, **last: bool) -> object:
        if not committing.is_set():
            committing.set()
            assert read_since.wait(60), "nothing was read during the commit"
        return take(self, batch, *others, **last)

    def watched_read(self: Promoter, rows: list[DatasetInjestion]) -> Read:
        found = read(self, rows)
        if committing.is_set():
            read_since.set()
        return found

    async def later(request: Request) -> AsyncIterator[Answer]:
        if request.ticker >= "T06":
            await asyncio.to_thread(committing.wait, 60)
        async for answer in market(request):
            yield answer

    monkeypatch.setattr(Promoter, "take", slow_take)
    monkeypatch.setattr(Promoter, "read", watched_read)
    context = make_home(tmp_path / "home", Vendor(later), tickers=TICKERS, batch_files=2)
    assert {o.kind for o in run(context, *KEYS).values()} == {OutcomeKind.PROMOTED}
    assert_tidy(context)


def test_the_last_batch_folds_the_log_in_its_own_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promote, "LOG_BYTES_LEFT", 0)
    left = _logs_at_folds(monkeypatch)
    context = make_home(tmp_path / "home", Vendor(market), tickers=TICKERS, batch_files=2)
    assert {o.kind for o in run(context, *KEYS).values()} == {OutcomeKind.PROMOTED}
    assert left[-2:] == [0, 0]
    assert all(left[:-2])


def test_a_long_log_is_folded_between_batches_and_not_in_the_last_ones_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "LOG_BYTES", 1)
    monkeypatch.setattr(promote, "LOG_BYTES_TOGETHER", -1)
    left = _logs_at_folds(monkeypatch)
    context = make_home(tmp_path / "home", Vendor(market), tickers=TICKERS, batch_files=2)
    assert {o.kind for o in run(context, *KEYS).values()} == {OutcomeKind.PROMOTED}
    assert left[-1] == 0, "nothing was left to the end of the run"
    assert all(left[:-1]), "batches folded in their own openings"
    assert_tidy(context)


def test_a_log_that_cannot_be_folded_fails_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    open_it = Warehouse.connection

    def connection(self: Warehouse, *, log_bytes: float | None = None, **more: Any) -> object:
        if log_bytes == 0:  # the fold at the end asks for no log at all
            raise DatabaseError("the disk is full")
        return open_it(self, log_bytes=log_bytes, **more)

    monkeypatch.setattr("ops_pipeline.engine.run.LOG_BYTES_LEFT", 0)
    monkeypatch.setattr(promote, "LOG_BYTES_TOGETHER", -1)
    monkeypatch.setattr(Warehouse, "connection", connection)
    context = make_home(tmp_path / "home", Vendor(market), tickers=TICKERS)
    assert {o.kind for o in run(context, *KEYS).values()} == {OutcomeKind.PROMOTED}
    assert "the database's log was not folded: the disk is full" in caplog.text
    assert_tidy(context)


def _logs_at_folds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long the log was whenever the run considered to fold it in an opening of its own."""
    found: list[int] = []
    fold = Promoter.fold

    def watched(self: Promoter, longest: int) -> None:
        found.append(self.context.warehouse.log_size())
        fold(self, longest)

    monkeypatch.setattr(Promoter, "fold", watched)
    return found


def test_outcomes_that_nobody_takes_hold_the_run_and_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = make_home(tmp_path / "expected", Vendor(market), tickers=TICKERS)
    run(expected, *KEYS)
    monkeypatch.setattr(pipeline, "TOLD", 1)
    context = make_home(tmp_path / "home", Vendor(market), tickers=TICKERS, batch_files=1)
    told = []
    with closing(run_batch(context, KEYS, OPTIONS, run_id="slow")) as outcomes:
        for outcome in outcomes:
            told.append(outcome.key)
            threading.Event().wait(0.05)  # a caller slower than the run
    assert sorted(told) == sorted(KEYS)
    assert contents(context) == contents(expected)


def test_stopped_while_the_outcomes_are_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody takes outcomes any more: the run records what it has, and ends."""
    monkeypatch.setattr(pipeline, "TOLD", 1)
    context = make_home(tmp_path / "home", Vendor(market), tickers=TICKERS, batch_files=1)
    with closing(run_batch(context, KEYS, OPTIONS, run_id="stopped")) as outcomes:
        next(outcomes)
        threading.Event().wait(0.5)  # the queue is full by now
    assert_tidy(context)
    run(context, *KEYS)
    assert {row.status for row in ledger(context) if row.run_id != "stopped"} <= {"promoted", "empty"}
    assert {row.ticker for row in ledger(context, "bronze_outcome = 'stored'")} == set(TICKERS)


@pytest.mark.parametrize(
    ("body_limit", "slow_seconds", "on_the_loop"),
    [(fetch.SMALL_BODY, 60.0, 12), (10, 60.0, 0), (fetch.SMALL_BODY, 0.0, 1)],
    ids=["small ones", "large ones", "slow disk"],
)
def test_small_bodies_are_stored_on_the_loop_while_the_disk_is_quick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body_limit: int, slow_seconds: float, on_the_loop: int
) -> None:
    monkeypatch.setattr(fetch, "SMALL_BODY", body_limit)
    monkeypatch.setattr(fetch, "SLOW_SECONDS", slow_seconds)
    context = make_home(tmp_path / "home", tickers=TICKERS)
    threads, store = [], context.store.store

    def watched(**given: Any) -> StoredFile:
        threads.append(threading.current_thread().name)
        return store(**given)

    monkeypatch.setattr(context.store, "store", watched)
    assert {o.kind for o in run(context, *KEYS).values()} == {OutcomeKind.PROMOTED}
    assert len(threads) == 12
    assert threads.count("ops-pipeline-run") == on_the_loop
