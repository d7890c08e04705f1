"""A run that is stopped in order: what is stored is recorded, the rest is marked, nothing is left, and the next run completes it.

Belongs here: closing the generator, interrupts. Does not belong here: runs that die (`test_kill`).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ops_pipeline.bronze.store import StoredFile
from ops_pipeline.engine import fetch
from ops_pipeline.engine.context import Context
from ops_pipeline.engine.fetch import STOPPED
from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.engine.plan import RunOptions
from ops_pipeline.engine.run import run_batch
from ops_pipeline.errors import DatabaseBusyError
from ops_pipeline.sources import Answer, Request
from ops_pipeline_tests.engine.conftest import Start
from ops_pipeline_tests.engine.home import (
    FEBRUARY,
    asking,
    assert_tidy,
    contents,
    key,
    latest,
    ledger,
    make_home,
    run,
)
from ops_pipeline_tests.engine.vendor import Vendor, body, market, prices
from ops_pipeline_tests.warehouse.conftest import is_locked

TICKERS = ("AAA", "BBB", "CCC", "DDD", "EEE")
KEYS = [key(ticker) for ticker in TICKERS]
OPTIONS = RunOptions(today=FEBRUARY)


async def slow(request: Request) -> AsyncIterator[Answer]:
    """Answers AAA and BBB at once, and the others never."""
    if request.ticker not in ("AAA", "BBB"):
        await asyncio.Event().wait()
    async for answer in market(request):
        yield answer


def home(tmp_path: Path, vendor: Vendor, **settings: Any) -> Context:
    # A batch is taken when it is full: the two that are answered make one.
    return make_home(tmp_path / "home", vendor, tickers=TICKERS, batch_files=2, **settings)


def assert_stopped(context: Context) -> None:
    assert_tidy(context)
    assert not is_locked(context.settings.database_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Context:
    context = make_home(tmp_path_factory.mktemp("undisturbed"), tickers=TICKERS)
    run(context, *KEYS)
    return context


def assert_completed(context: Context, undisturbed: Context) -> None:
    """The next run asks for what the stopped one had not, and the end is the undisturbed one's."""
    vendor = Vendor(market)
    run(asking(context, vendor), *KEYS)
    assert {r.ticker for r in vendor.requests} == {"CCC", "DDD", "EEE"}
    assert_tidy(context)
    assert contents(context) == contents(undisturbed)
    assert latest(context) == latest(undisturbed)


def test_closed_after_the_first_outcome(tmp_path: Path, undisturbed: Context) -> None:
    vendor = Vendor(slow)
    context = home(tmp_path, vendor, concurrency=2)  # so that EEE is not even asked for
    with closing(run_batch(context, KEYS, OPTIONS, run_id="stopped")) as outcomes:
        assert next(outcomes).kind is OutcomeKind.PROMOTED
    assert_stopped(context)
    assert vendor.open == 0
    rows = {row.ticker: row for row in ledger(context)}
    assert {t: row.bronze_outcome for t, row in rows.items()} == {
        "AAA": "stored", "BBB": "stored", "CCC": "failed", "DDD": "failed", "EEE": "failed"
    }  # fmt: skip
    assert {rows[t].bronze_error for t in ("CCC", "DDD", "EEE")} == {STOPPED}
    assert_completed(context, undisturbed)


def test_dropped_before_the_first_outcome(tmp_path: Path) -> None:
    """A generator that nobody asked anything of has done nothing."""
    context = home(tmp_path, Vendor(slow))
    run_batch(context, KEYS, OPTIONS, run_id="never").close()
    assert ledger(context) == []
    assert not context.settings.runs_path.exists()


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, RuntimeError])
def test_the_caller_raises(interrupt: type[BaseException], tmp_path: Path, undisturbed: Context) -> None:
    context = home(tmp_path, Vendor(slow))
    with pytest.raises(interrupt), closing(run_batch(context, KEYS, OPTIONS, run_id="stopped")) as outcomes:
        for _ in outcomes:
            raise interrupt
    assert_stopped(context)
    assert_completed(context, undisturbed)


def test_an_interrupt_into_the_generator(tmp_path: Path, undisturbed: Context) -> None:
    """As Ctrl-C does that comes while the run is waited for."""
    context = home(tmp_path, Vendor(slow))
    outcomes = run_batch(context, KEYS, OPTIONS, run_id="stopped")
    next(outcomes)
    with pytest.raises(KeyboardInterrupt):
        outcomes.throw(KeyboardInterrupt)
    assert_stopped(context)
    assert_completed(context, undisturbed)


def test_what_is_being_stored_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Context) -> None:
    """No thread can be stopped in the middle of a write: the file comes to be, so its row must say so."""
    go_on, vendor = threading.Event(), Vendor(slow)
    context = make_home(tmp_path / "home", vendor, tickers=TICKERS, batch_files=1)
    store = context.store.store

    def slowly(**given: Any) -> StoredFile:
        assert "BBB" not in given["folder"] or go_on.wait(60)
        return store(**given)

    monkeypatch.setattr(context.store, "store", slowly)
    monkeypatch.setattr(fetch, "SMALL_BODY", 0)  # all are stored in threads, as large ones are
    outcomes = run_batch(context, KEYS, OPTIONS, run_id="stopped")
    assert next(outcomes).key == key("AAA")
    stopping = threading.Thread(target=outcomes.close)
    stopping.start()
    while vendor.open > 1:  # the stop has reached all but the one that is being stored
        time.sleep(0.01)
    go_on.set()
    stopping.join()
    assert_stopped(context)
    rows = {row.ticker: row for row in ledger(context)}
    assert (rows["BBB"].bronze_outcome, rows["BBB"].request_complete) == ("stored", True)
    assert_completed(context, undisturbed)


def test_stopped_between_the_parts_of_an_answer(tmp_path: Path) -> None:
    """The part that came keeps its row; the request does not count."""
    second = threading.Event()

    async def paged(request: Request) -> AsyncIterator[Answer]:
        records = prices(request)
        if request.ticker == "CCC":
            yield Answer(body(records[:10]), part=1, last=False)
            second.set()
        async for answer in slow(request):
            yield answer

    context = make_home(tmp_path / "home", Vendor(paged), tickers=TICKERS, batch_files=1)
    with closing(run_batch(context, KEYS, OPTIONS, run_id="stopped")) as outcomes:
        next(outcomes)
        assert second.wait(60)
    assert_stopped(context)
    parts = {r.request_part: (r.bronze_outcome, r.bronze_error) for r in ledger(context, "ticker = 'CCC'")}
    assert parts == {1: ("stored", None), 2: ("failed", STOPPED)}
    assert not any(r.request_complete for r in ledger(context, "ticker = 'CCC'"))
    vendor = Vendor(market)
    run(asking(context, vendor), *KEYS)
    assert {r.ticker for r in vendor.requests} == {"CCC", "DDD", "EEE"}
    assert_tidy(context)


def test_stopped_while_a_foreign_program_holds_the_database(start: Start, tmp_path: Path, undisturbed: Context) -> None:
    """What cannot be recorded is told, and finished by the next run."""
    context = home(tmp_path, Vendor(slow), database_wait_seconds=0.2)
    outcomes = run_batch(context, KEYS, OPTIONS, run_id="stopped")
    next(outcomes)
    next(outcomes)
    foreign = start("foreign", context.settings.home)
    assert foreign.hear() == "open"
    with pytest.raises(DatabaseBusyError, match=f"process {foreign.pid}"):
        outcomes.close()
    foreign.tell()
    foreign.end()
    assert {r.ticker for r in ledger(context, "bronze_outcome = 'asked'")} == {"CCC", "DDD", "EEE"}
    assert_completed(context, undisturbed)


def test_a_retry_under_the_same_run_id_goes_on(tmp_path: Path) -> None:
    """Asked to fetch everything again, the second attempt leaves out what the first completed."""
    context = home(tmp_path, Vendor(slow))
    with closing(run_batch(context, KEYS, RunOptions(today=FEBRUARY, full=True), run_id="same")) as outcomes:
        next(outcomes)
    vendor = Vendor(market)
    told = run(asking(context, vendor), *KEYS, run_id="same", full=True)
    assert {r.ticker for r in vendor.requests} == {"CCC", "DDD", "EEE"}
    assert told[key("CCC")].kind is OutcomeKind.PROMOTED
    assert_tidy(context)
    assert {r.run_id for r in ledger(context)} == {"same"}
