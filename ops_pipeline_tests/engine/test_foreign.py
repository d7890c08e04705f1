"""A program that knows nothing of our lock holds the database: a notebook, a database tool.

Belongs here: what a run does meanwhile and afterwards. Does not belong here: how the door waits (`warehouse` tests).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops_pipeline.engine import queues
from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.engine.plan import RunOptions
from ops_pipeline.engine.run import run_batch
from ops_pipeline.errors import DatabaseBusyError
from ops_pipeline.sources import Answer, Request
from ops_pipeline.warehouse import locks
from ops_pipeline_tests.engine.conftest import Start
from ops_pipeline_tests.engine.home import Snapshot, assert_tidy, bronze_files, contents, key, ledger, make_home, run
from ops_pipeline_tests.engine.processes import Process
from ops_pipeline_tests.engine.vendor import Vendor, body, market, prices

TICKERS = ("AAA", "BBB", "CCC", "DDD")
KEYS = [key(ticker) for ticker in TICKERS]


@pytest.fixture(autouse=True)
def _told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "FIRST_NOTICE_SECONDS", 0.05)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    context = make_home(tmp_path_factory.mktemp("expected"), tickers=TICKERS)
    run(context, *KEYS)
    return contents(context)


def test_held_at_the_start(start: Start, expected: Snapshot, tmp_path: Path) -> None:
    home = tmp_path / "home"
    make_home(home, tickers=TICKERS)
    foreign = start("foreign", home)
    assert foreign.hear() == "open"
    told: queue.Queue[str] = queue.Queue()

    def release() -> None:
        sentences.append(told.get())
        foreign.tell()

    sentences: list[str] = []
    releasing = threading.Thread(target=release, daemon=True)
    releasing.start()
    # Making the home's context migrates, which waits as well: by then nothing else has been opened.
    context = make_home(home, tickers=TICKERS, notify=told.put)
    outcomes = run(context, *KEYS)
    releasing.join()
    assert f"process {foreign.pid} has it open" in sentences[0]
    assert {o.kind for o in outcomes.values()} == {OutcomeKind.PROMOTED}
    assert contents(context) == expected
    assert_tidy(context)


class Intruder:
    """A vendor of which the first request lets a foreign program open the database; the others are answered only then."""

    def __init__(self, start: Start, home: Path) -> None:
        self.start, self.home = start, home
        self.program: Process | None = None
        self.vendor = Vendor(self.fetch)

    async def fetch(self, request: Request) -> AsyncIterator[Answer]:
        if self.program is None:
            self.program = self.start("foreign", self.home)
            assert self.program.hear() == "open"
        yield Answer(body(prices(request)))

    def leave(self) -> None:
        assert self.program is not None
        self.program.tell()
        assert self.program.hear() == "closed"


def test_opened_while_a_run_fetches(start: Start, expected: Snapshot, tmp_path: Path) -> None:
    """Bronze goes on; promotion follows when the database is free."""
    told: queue.Queue[str] = queue.Queue()
    intruder = Intruder(start, tmp_path / "home")
    context = make_home(tmp_path / "home", intruder.vendor, tickers=TICKERS, notify=told.put, batch_files=1)
    seen: list[tuple[str, int]] = []

    def leave() -> None:
        sentence = told.get()
        while len(bronze_files(context)) < len(TICKERS):
            threading.Event().wait(0.01)
        seen.append((sentence, len(bronze_files(context))))
        intruder.leave()

    leaving = threading.Thread(target=leave, daemon=True)
    leaving.start()
    outcomes = run(context, *KEYS)
    leaving.join()
    assert intruder.program is not None
    assert f"process {intruder.program.pid} has it open" in seen[0][0]
    assert {o.kind for o in outcomes.values()} == {OutcomeKind.PROMOTED}
    assert contents(context) == expected
    assert_tidy(context)


@pytest.mark.parametrize(("concurrency", "inbox", "expect_stored"), [(1, 1, {1, 2, 3}), (8, 10_000, {1, 2, 3, 4})])
def test_held_for_too_long(
    concurrency: int,
    inbox: int,
    expect_stored: set[int],
    start: Start,
    expected: Snapshot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The run ends with one sentence; the next one finishes it, and asks nothing again that is on disk."""
    monkeypatch.setattr(queues, "INBOX", inbox)
    monkeypatch.setattr(queues, "WAITING_WEIGHT", inbox)
    home = tmp_path / "home"
    intruder = Intruder(start, home)
    context = make_home(home, intruder.vendor, tickers=TICKERS, database_wait_seconds=0.3, batch_files=1, concurrency=concurrency)
    with pytest.raises(DatabaseBusyError, match="did not let go of it within") as caught:
        run(context, *KEYS)
    assert intruder.program is not None
    assert f"process {intruder.program.pid}" in str(caught.value)
    stored = {name.split("/")[3] for name in bronze_files(context)}
    # With one answer that waits to be recorded, and room for one to be read and one to be committed, no fourth is asked for.
    assert len(stored) in expect_stored
    intruder.leave()
    assert {row.bronze_outcome for row in ledger(context)} == {"asked"}
    vendor = Vendor(market)
    context = make_home(home, vendor, tickers=TICKERS)
    run(context, *KEYS)
    assert {request.ticker for request in vendor.requests} == set(TICKERS) - stored
    assert contents(context) == expected
    assert_tidy(context)


def test_held_for_too_long_at_the_start(start: Start, tmp_path: Path) -> None:
    """Nothing is asked by a run that cannot record that it asks."""
    vendor = Vendor(market)
    context = make_home(tmp_path, vendor, database_wait_seconds=0.2)
    foreign = start("foreign", tmp_path, read_only=True)
    assert foreign.hear() == "open"
    with pytest.raises(DatabaseBusyError, match=f"process {foreign.pid}"):
        run(context)
    assert vendor.requests == []
    foreign.tell()
    assert foreign.hear() == "closed"
    run(context)
    assert_tidy(context)


def test_held_when_everything_is_done(start: Start, tmp_path: Path) -> None:
    """What is left then is tidying up: the run has done what it was asked to."""
    context = make_home(tmp_path, tickers=["AAA"], database_wait_seconds=0.2)
    programs = []

    def open_at(*_: object) -> None:
        programs.append(start("foreign", tmp_path))
        assert programs[0].hear() == "open"

    outcomes = []
    for outcome in run_batch(context, [key()], RunOptions(), run_id="run"):
        outcomes.append(outcome.kind)
        open_at()
    assert outcomes == [OutcomeKind.PROMOTED]
    programs[0].tell()
    programs[0].end()
    assert_tidy(context)
