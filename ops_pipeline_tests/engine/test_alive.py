"""Who is alive: a run that goes on is never taken for dead, and a dead one never for alive.

Belongs here: leases, and runs that heal beside runs that fetch. Does not belong here: what healing makes of a dead run (`test_kill`).
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops_pipeline.engine.heal import NEVER_ANSWERED
from ops_pipeline.engine.morning import look
from ops_pipeline.engine.outcome import Outcome
from ops_pipeline.engine.plan import RunOptions
from ops_pipeline.engine.run import run_batch
from ops_pipeline.errors import UserError
from ops_pipeline.ops.ingestion import DatasetInjestion
from ops_pipeline.ops.leases import Leases
from ops_pipeline.sources import Answer, Request
from ops_pipeline_tests.engine.conftest import Start
from ops_pipeline_tests.engine.home import FEBRUARY, assert_tidy, key, latest, ledger, make_home, run
from ops_pipeline_tests.engine.vendor import Vendor, market


def test_a_run_that_fetches_is_not_taken_for_dead(start: Start, tmp_path: Path) -> None:
    """Another process heals a third's rows, and leaves those of the run that waits for its vendor alone."""
    reached, answer = threading.Event(), threading.Event()

    async def slow(request: Request) -> AsyncIterator[Answer]:
        yield Answer(b"[]", part=1, last=False)
        reached.set()
        answer.wait()
        async for full in market(request):
            yield Answer(full.body, part=2)

    dead = start("engine", tmp_path, keys=[["PAGED", "vendor.prices"]], kill_at=["stored %s", 1])
    assert dead.returncode() != 0
    context = make_home(tmp_path, Vendor(slow))
    outcomes: list[Outcome] = []
    waiting = threading.Thread(
        target=lambda: outcomes.extend(run_batch(context, [key()], RunOptions(today=FEBRUARY), run_id="alive"))
    )
    waiting.start()
    try:
        assert reached.wait(60)
        assert {r.run_id for r in ledger(context, "bronze_outcome = 'asked'")} == {"alive"}
        other = start("engine", tmp_path, keys=[["ODD", "vendor.prices"], ["AAA", "vendor.prices"]]).end()
        assert sorted(other) == ["promoted vendor.prices AAA", "promoted vendor.prices ODD"]
        assert [r.bronze_outcome for r in ledger(context, "run_id = 'alive'")] == ["asked"]
        assert [p.stem for p in context.settings.runs_path.glob("*.lease")] == ["alive"]
    finally:
        answer.set()
        waiting.join()
    assert [o.kind.value for o in outcomes] == ["unchanged"]
    assert {r.request_part: r.bronze_outcome for r in ledger(context, "run_id = 'alive'")} == {1: "empty", 2: "stored"}
    assert_tidy(context)


class _Killed(Exception):  # noqa: N818 - the lease of a run that ends by an error stays, unlocked, as a killed one's does
    pass


def test_a_dead_run_leaves_no_false_alarm_where_another_got_the_answer(tmp_path: Path) -> None:
    twin = Vendor(market)
    run(make_home(tmp_path / "twin", twin, tickers=["AAA"]), key())
    context = make_home(tmp_path / "home", tickers=["AAA"], today=FEBRUARY, publish="none")
    with pytest.raises(_Killed), context.leases.held("dead"):
        context.service.record_file_ingestions([DatasetInjestion.open(request, "dead") for request in twin.requests])
        run(context)
        assert [r.run_id for r in ledger(context, "bronze_outcome = 'asked'")] == ["dead"]
        raise _Killed
    run(context)
    [dead] = ledger(context, "run_id = 'dead'")
    assert (dead.bronze_outcome, dead.bronze_error) == ("failed", NEVER_ANSWERED)
    assert dead.bronze_injest_end_time == dead.bronze_injest_start_time
    assert {row["bronze_outcome"] for row in latest(context)} == {"stored"}
    assert context.service.latest_failures() == []
    found = look(context)
    assert (found.is_well, found.problems) == (True, [])
    assert_tidy(context)


def test_a_run_id_that_is_running_is_refused(tmp_path: Path) -> None:
    leases = Leases(tmp_path)
    with leases.held("one"):
        with pytest.raises(UserError, match="already running"), leases.held("one"):
            pass
        assert leases.dead(["one", "two"]) == {"two"}
        leases.forget(["one"])
        assert leases.left_behind() == set()
        assert leases.dead(["one"]) == set()
    assert list(tmp_path.glob("*.lease")) == []


def test_a_lease_stays_behind_a_run_that_failed_and_goes_with_one_that_was_stopped(tmp_path: Path) -> None:
    leases = Leases(tmp_path)
    with pytest.raises(ValueError, match="broke"), leases.held("failed"):
        raise ValueError("broke")
    with pytest.raises(KeyboardInterrupt), leases.held("stopped"):
        raise KeyboardInterrupt
    assert leases.left_behind() == {"failed"}
    with leases.held("failed"):
        assert leases.left_behind() == set()
    assert leases.left_behind() == set()


def test_leases_are_taken_and_looked_at_by_many_at_once(tmp_path: Path) -> None:
    """Looking whether a run is alive must neither stop it from starting nor take its lease away."""
    stop = threading.Event()
    errors: list[str] = []

    def look() -> None:
        leases = Leases(tmp_path)
        while not stop.is_set():
            leases.forget(leases.left_behind())

    def take(name: str) -> None:
        leases = Leases(tmp_path)
        for _ in range(200):
            try:
                with leases.held(name):
                    if Leases(tmp_path).dead([name]):
                        errors.append(f"{name} was taken for dead")
            except UserError as e:
                errors.append(str(e))

    lookers = [threading.Thread(target=look) for _ in range(3)]
    takers = [threading.Thread(target=take, args=(name,)) for name in ("a", "b", "c")]
    for thread in (*lookers, *takers):
        thread.start()
    for thread in takers:
        thread.join()
    stop.set()
    for thread in lookers:
        thread.join()
    assert errors == []
    assert list(tmp_path.glob("*.lease")) == []


def test_what_a_lease_keeps_of_parts(tmp_path: Path) -> None:
    leases = Leases(tmp_path)
    with pytest.raises(ValueError, match="dies"), leases.held("run"):
        leases.note_next_part("run", "1" * 32, "2" * 32)
        leases.note_next_part("run", "2" * 32, "3" * 32)
        raise ValueError("dies")
    (tmp_path / "run.lease").open("a").write("cut")
    assert leases.next_parts("run") == {"1" * 32: "2" * 32, "2" * 32: "3" * 32}
    assert leases.next_parts("none") == {}
    leases.forget(["run", "none"])
    assert leases.next_parts("run") == {}


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("mine")
    with pytest.raises(UserError, match="lease cannot be written"), Leases(tmp_path / "runs").held("run"):
        pass
    context = make_home(tmp_path / "home")
    context.settings.runs_path.write_text("mine")
    with pytest.raises(UserError, match="lease cannot be written"):
        run(context)
