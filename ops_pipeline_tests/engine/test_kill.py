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
from ops_pipeline_tests.engine.conftest import Start
from ops_pipeline_tests.engine.home import (
    FEBRUARY,
    JANUARY,
    Snapshot,
    assert_tidy,
    bronze_files,
    contents,
    latest,
    make_home,
    run,
)
from ops_pipeline_tests.engine.processes import Process
from ops_pipeline_tests.warehouse.conftest import is_locked

SETTINGS = {"batch_files": 4}
# Every boundary of a run that nothing has to be finished for, in the order in which they are first passed.
BOUNDARIES = (
    "started",
    "healed %d requests",
    "asked %d requests",
    "asking %s",
    "storing %s",
    "stored %s",
    "read %d answers",
    "recording %d files",
    "recorded %d files",
    "staged %d files",
    "merging %d files",
    "merged %d files",
    "building gold from %d files",
    "built gold from %d files",
    "folding the log",
    "finished",
)
LATER = {"stored %s": [8], "recorded %d files": [2], "merged %d files": [2], "built gold from %d files": [2]}
HEALING = ("settling %d rows", "read %d answers", "recording %d files", "recorded %d files", "healed %d requests")


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
    process = Process("engine", home, settings=SETTINGS, days={"today": str(FEBRUARY)}, kill_at=[boundary, occurrence])
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
    process = Process("engine", tmp_path / "home", settings=SETTINGS, days={"today": str(FEBRUARY)}, steps=True)
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


def test_killed_between_the_parts_of_an_answer(january: Path, undisturbed: tuple[Any, ...], tmp_path: Path) -> None:
    """What is on disk of the pages counts only when it is all of them."""
    for stored in (2, 3):
        home = tmp_path / str(stored)
        shutil.copytree(january, home)
        alone = {"settings": SETTINGS, "days": {"today": str(FEBRUARY)}, "keys": [["PAGED", "vendor.prices"]]}
        process = Process("engine", home, **alone, kill_at=["stored %s", stored])
        assert process.returncode() == -signal.SIGKILL
        asked = Process("engine", home, **alone, steps=True).end()
        assert asked.count("step asking %s") == (0 if stored == 3 else 1)
        assert_heals(home, undisturbed)


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
