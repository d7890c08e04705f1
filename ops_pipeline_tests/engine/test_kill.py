"""kill -9 anywhere, and then a rerun: as if nothing had happened.

Belongs here: dying processes. Does not belong here: stopping in order (`test_stop`), disks that refuse (`test_disk`).
"""

from __future__ import annotations

import random
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ops_pipeline.engine.context import Context
from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline_tests.engine.conftest import Start
from ops_pipeline_tests.engine.home import (
    FEBRUARY,
    JANUARY,
    RATES,
    Snapshot,
    assert_tidy,
    bronze_files,
    contents,
    key,
    latest,
    ledger,
    make_home,
    prices_recipe,
    run,
)
from ops_pipeline_tests.engine.processes import Process
from ops_pipeline_tests.engine.vendor import Vendor, market
from ops_pipeline_tests.warehouse.conftest import is_locked

SETTINGS: dict[str, Any] = {"batch_files": 4}
RUN: dict[str, Any] = {"settings": SETTINGS, "days": {"today": str(FEBRUARY)}, "fold_always": True}
# Every boundary of a run that nothing has to be finished for, in the order in which they are first passed.
BOUNDARIES = (
    "started",
    "healed %d requests",
    "folding the log",
    "folded the log",
    "asked %d requests",
    "asking %s",
    "storing %s",
    "stored %s",
    "read %d answers",
    "recording %d files",
    "recorded %d files",
    "merging %d files",
    "merged %d files",
    "building gold from %d files",
    "built gold from %d files",
    "committed %d files",
    "finished",
)
LATER = {
    "stored %s": [8],
    "folding the log": [2],
    "folded the log": [2],
    "recorded %d files": [2],
    "merged %d files": [2],
    "built gold from %d files": [2],
}
HEALING = (
    "settling %d rows",
    "read %d answers",
    "recording %d files",
    "recorded %d files",
    "committed %d files",
    "healed %d requests",
)


@pytest.fixture(scope="module")
def january(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that holds January: February restates its end."""
    folder = tmp_path_factory.mktemp("january")
    run(make_home(folder, **SETTINGS), today=JANUARY)
    return folder


def state(context: Context) -> tuple[Snapshot, dict[str, bytes], list[dict[str, Any]]]:
    return contents(context), bronze_files(context), latest(context)


@pytest.fixture(scope="module")
def undisturbed(january: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    folder = tmp_path_factory.mktemp("undisturbed") / "home"
    shutil.copytree(january, folder)
    context = make_home(folder, **SETTINGS)
    run(context)
    assert_tidy(context)
    return state(context)


def killed(home: Path, boundary: str, occurrence: int) -> None:
    """A run that ends at the n-th passing of a boundary."""
    process = Process("engine", home, **RUN, kill_at=[boundary, occurrence])
    assert process.returncode() == -signal.SIGKILL, f"{boundary} was not passed {occurrence} times"


def assert_heals(home: Path, undisturbed: tuple[Any, ...]) -> None:
    """The rerun's end is the undisturbed run's, and nothing is left of the dead one."""
    assert not is_locked(home / "ops.duckdb")
    context = make_home(home, **SETTINGS)
    run(context)
    assert_tidy(context)
    tables, files, rows = state(context)
    assert tables == undisturbed[0]
    assert files == undisturbed[1]
    assert rows == undisturbed[2]


def test_every_boundary_is_named_here(january: Path, tmp_path: Path) -> None:
    shutil.copytree(january, tmp_path / "home")
    process = Process("engine", tmp_path / "home", **RUN, steps=True)
    passed = [line.removeprefix("step ") for line in process.end() if line.startswith("step ")]
    assert list(dict.fromkeys(passed)) == list(BOUNDARIES)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_killed_at_a_boundary(boundary: str, january: Path, undisturbed: tuple[Any, ...], tmp_path: Path) -> None:
    occurrences = [1, *LATER.get(boundary, [])]

    def scenario(occurrence: int) -> None:
        home = tmp_path / str(occurrence)
        shutil.copytree(january, home)
        killed(home, boundary, occurrence)
        assert_heals(home, undisturbed)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(scenario, occurrences))


@pytest.mark.parametrize("boundary", HEALING)
def test_the_rerun_is_killed_too(boundary: str, january: Path, undisturbed: tuple[Any, ...], tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(january, home)
    killed(home, "stored %s", 6)
    killed(home, boundary, 1)
    assert_heals(home, undisturbed)


@pytest.mark.parametrize(("ticker", "stored", "asked_again"), [("PAGED", 2, 1), ("PAGED", 3, 0), ("DOWN", 1, 1)])
def test_killed_between_storing_and_recording(
    ticker: str, stored: int, asked_again: int, january: Path, undisturbed: tuple[Any, ...], tmp_path: Path
) -> None:
    """What is on disk counts when it is the whole answer, all its parts and no error."""
    home = tmp_path / "home"
    shutil.copytree(january, home)
    alone: dict[str, Any] = {"settings": SETTINGS, "days": {"today": str(FEBRUARY)}, "keys": [[ticker, "vendor.prices"]]}
    process = Process("engine", home, **alone, kill_at=["stored %s", stored])
    assert process.returncode() == -signal.SIGKILL
    assert Process("engine", home, **alone, steps=True).end().count("step asking %s") == asked_again
    assert_heals(home, undisturbed)


def test_killed_while_it_asks_again_for_what_is_stored(january: Path, tmp_path: Path) -> None:
    """The bytes are on disk, and an earlier row names them: the dead run has no file of its own."""
    home = tmp_path / "home"
    shutil.copytree(january, home)
    context = make_home(home, **SETTINGS)
    before = contents(context, lineage=True)
    given: dict[str, Any] = {"settings": SETTINGS, "days": {"today": str(JANUARY)}, "options": {"full": True}}
    process = Process("engine", home, **given, kill_at=["stored %s", 6])
    assert process.returncode() == -signal.SIGKILL
    outcomes = run(context, today=JANUARY, full=True)
    assert {o.kind for k, o in outcomes.items() if k.ticker in ("AAA", "-", "PAGED", "ODD")} == {OutcomeKind.UNCHANGED}
    assert contents(context, lineage=True) == before
    assert_tidy(context)


def test_killed_and_retried_under_the_same_run_id(january: Path, undisturbed: tuple[Any, ...], tmp_path: Path) -> None:
    """As Dagster retries a step: the lease is the retry's own by then, and its rows are the earlier attempt's all the same."""
    home = tmp_path / "home"
    shutil.copytree(january, home)
    given: dict[str, Any] = {"settings": SETTINGS, "days": {"today": str(FEBRUARY)}, "run_id": "same"}
    process = Process("engine", home, **given, kill_at=["stored %s", 8])
    assert process.returncode() == -signal.SIGKILL
    vendor = Vendor(market)
    context = make_home(home, vendor, **SETTINGS)
    run(context, run_id="same")
    assert {r.ticker for r in vendor.requests} == {"DOWN"}
    assert {row.run_id for row in ledger(context, f"requested_to_date = DATE '{FEBRUARY}'")} == {"same"}
    assert_tidy(context)
    assert state(context) == undisturbed


def test_killed_over_a_dataset_that_is_gone(january: Path, tmp_path: Path) -> None:
    """The next run has no recipe to read the answer by: it says so, keeps the body, and goes on."""
    home = tmp_path / "home"
    shutil.copytree(january, home)
    process = Process(
        "engine", home, settings=SETTINGS, days={"today": str(FEBRUARY)}, keys=[["-", RATES]], kill_at=["stored %s", 1]
    )
    assert process.returncode() == -signal.SIGKILL
    context = make_home(home, recipes=[prices_recipe()], tickers=["AAA"])
    assert run(context)[key("AAA")].kind is OutcomeKind.PROMOTED
    row = ledger(context, f"dataset = 'rates' AND requested_to_date = DATE '{FEBRUARY}'")[0]
    assert row.bronze_error == "no recipe declares the dataset vendor.rates any more; the body is kept"
    assert row.bronze_filename in bronze_files(context)
    assert_tidy(context)
    context = make_home(home, tickers=["AAA"])
    assert run(context)[key("-")].kind is OutcomeKind.PROMOTED
    assert_tidy(context)


def test_two_runs_heal_the_same_dead_one(start: Start, january: Path, undisturbed: tuple[Any, ...], tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(january, home)
    killed(home, "stored %s", 8)
    both = [start("engine", home, settings=SETTINGS, days={"today": str(FEBRUARY)}, wait=True) for _ in range(2)]
    for process in both:
        assert process.hear() == "ready"
    for process in both:
        process.tell()
    for process in both:
        process.end()
    context = make_home(home, **SETTINGS)
    assert_tidy(context)
    assert contents(context) == undisturbed[0]
    assert bronze_files(context) == undisturbed[1]


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment(seed: int, start: Start, january: Path, undisturbed: tuple[Any, ...], tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(january, home)
    process = start("engine", home, settings=SETTINGS, days={"today": str(FEBRUARY)}, wait=True)
    assert process.hear() == "ready"
    process.tell()
    time.sleep(random.Random(seed).uniform(0.02, 0.9))
    process.kill()
    assert_heals(home, undisturbed)
