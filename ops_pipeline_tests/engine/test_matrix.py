"""The crash matrix: many kills at chosen and at random moments, beside other runs and on disks that refuse.

Belongs here: scenarios drawn by number, a few in the suite and hundreds where CRASH_KILLS says so (`make crash`). Does not
belong here: each boundary by itself (`test_kill`), one fault by itself (`test_disk`).

After each scenario the next run heals, and tables, bronze files, the ledger's latest rows and what counts as failed are an undisturbed
run's. A Dagster run that died is failed by the sweep.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterRunStatus

from ops_pipeline.defs.sweep import fail_dead_runs
from ops_pipeline.engine.context import Context
from ops_pipeline_tests.bronze.test_disk import mounted
from ops_pipeline_tests.engine.dagster_worker import instance_of
from ops_pipeline_tests.engine.home import FEBRUARY, JANUARY, assert_tidy, bronze_files, contents, latest, make_home, run
from ops_pipeline_tests.engine.nursery import Nursery
from ops_pipeline_tests.engine.test_disk import fill
from ops_pipeline_tests.engine.test_kill import BOUNDARIES
from ops_pipeline_tests.warehouse.conftest import is_locked

SETTINGS: dict[str, Any] = {"batch_files": 4}
KILLS = int(os.environ.get("CRASH_KILLS", "7"))
DAGSTER: dict[str, Any] = {"settings": {**SETTINGS, "today": str(FEBRUARY), "publish": "none"}, "dagster": True}
GIVEN: dict[str, Any] = {"settings": SETTINGS, "days": {"today": str(FEBRUARY)}}
REJECTS = "silver.rejected_rows"
ANSWER = ("ticker", "dataset", "request_id", "request_part", "bronze_filename", "bronze_payload_hash", "bronze_error")
# Boundaries that one run passes more than once.
REPEATED = ("asking %s", "storing %s", "stored %s")


@pytest.fixture(scope="module")
def january(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("january")
    run(make_home(folder, **SETTINGS), today=JANUARY)
    return folder


@pytest.fixture(scope="module")
def undisturbed(january: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    folder = tmp_path_factory.mktemp("undisturbed") / "home"
    shutil.copytree(january, folder)
    context = make_home(folder, **SETTINGS)
    run(context)
    return contents(context), bronze_files(context), latest(context), left_failed(context)


def left_failed(context: Context) -> list[tuple[str, str, str]]:
    """What the user is told to repair."""
    return [(str(f.partition), f.layer, f.reason) for f in context.service.latest_failures()]


@pytest.fixture(scope="module")
def empty_instance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of which only Dagster's storage is there: making it takes longer than a run."""
    folder = tmp_path_factory.mktemp("instance")
    with instance_of(folder):
        return folder / "dagster"


class Matrix:
    """Kills so far, by scenario."""

    def __init__(self, chance: random.Random, nursery: Nursery, empty_instance: Path) -> None:
        self.chance, self.nursery, self.empty_instance = chance, nursery, empty_instance
        self.kills: Counter[str] = Counter()
        self.refused = self.marked = 0

    def __str__(self) -> str:
        done = f"{self.kills.total()} kills, {self.refused} refused by the disk, {self.marked} Dagster runs marked as failed"
        return f"{done}, {dict(self.kills)}"

    def dies(
        self, home: Path, name: str, *, boundary: bool, others: int = 0, given: dict[str, Any] = GIVEN, once: str | None = None
    ) -> None:
        """One run that is killed, at a boundary or at any moment (`once` there is such a file); one that ended before is no kill."""
        if boundary:
            where = self.chance.choice(BOUNDARIES)
            occurrence = self.chance.randint(1, 6) if where in REPEATED else 1
            status, rest = self.nursery.run(home, {**given, "kill_at": [where, occurrence]}, others=others)
        else:
            status, rest = self.nursery.run(home, given, others=others, kill_after=self.chance.uniform(0.01, 0.5), once=once)
        assert status in (-signal.SIGKILL, 0, 2), f"{name}: the run ended with {status}"
        assert rest == [0] * others, f"{name}: the runs beside the killed one ended with {rest}"
        self.kills[name] += status == -signal.SIGKILL
        self.refused += status == 2

    def alone(self, home: Path, *, boundary: bool) -> None:
        self.dies(home, "at a boundary" if boundary else "at any moment", boundary=boundary)

    def twice(self, home: Path, *, boundary: bool) -> None:
        """The run that heals is killed as well."""
        for _ in range(2):
            self.dies(home, "the healing run too", boundary=boundary)

    def beside_two_others(self, home: Path, *, boundary: bool) -> None:
        self.dies(home, "beside two other runs", boundary=boundary, others=2)

    def on_a_full_disk(self, home: Path, *, boundary: bool) -> None:
        with own_disk(home, "size=64m") as disk:
            filler = fill(disk, self.chance.choice((0, 4096, 40_000)))
            self.dies(home, "with the bronze disk full", boundary=boundary)
            filler.unlink()

    def on_a_read_only_disk(self, home: Path, *, boundary: bool) -> None:
        with own_disk(home, "size=64m") as disk:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            try:
                self.dies(home, "with bronze read-only", boundary=boundary)
            finally:
                subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)

    def of_dagster(self, home: Path, *, boundary: bool) -> None:
        """A run of Dagster's; the next one of whatever kind heals, and the sweep fails what Dagster takes for unfinished."""
        shutil.copytree(self.empty_instance, home / "dagster")
        # Most of a short run of Dagster's is its beginning: three in four are killed behind it.
        once = "runs/steps/*.lease" if self.chance.random() < 0.75 else None
        self.dies(home, "a Dagster run", boundary=boundary, given=DAGSTER, once=once)
        context = make_home(home, **SETTINGS)
        run(context)
        begun = {path.stem for path in (context.settings.runs_path / "steps").glob("*.lease")}
        with instance_of(home) as instance:
            unfinished = {r.run_id for r in instance.get_runs() if not r.is_finished}
            assert set(fail_dead_runs(context, instance, grace_seconds=0)) == unfinished & begun
            assert {r.status for r in instance.get_runs() if r.run_id in begun} <= {DagsterRunStatus.FAILURE}
        self.marked += len(unfinished & begun)


@contextmanager
def own_disk(home: Path, options: str) -> Iterator[Path]:
    """The home's bronze folder on a disk of its own for the length of the block."""
    bronze = home / "bronze"
    kept = home / "kept"
    shutil.copytree(bronze, kept)
    shutil.rmtree(bronze)
    bronze.mkdir()
    with ExitStack() as stack:
        stack.enter_context(mounted(bronze, options))
        shutil.copytree(kept, bronze, dirs_exist_ok=True)
        yield bronze
        shutil.rmtree(kept)
        shutil.copytree(bronze, kept)
    shutil.rmtree(bronze)
    kept.rename(bronze)


@pytest.fixture
def matrix(empty_instance: Path) -> Iterator[Matrix]:
    nursery = Nursery()
    yield Matrix(random.Random(int(os.environ.get("CRASH_SEED", "1"))), nursery, empty_instance)
    nursery.end()


def assert_same(context: Context, undisturbed: tuple[Any, ...], *, alone: bool, where: str) -> None:
    """The undisturbed run's tables, files and latest rows.

    Runs beside each other each get an answer of their own, and a request whose second part found no room is asked again as a
    whole: refused records stand there once an answer, a later answer that repeats an earlier one has counts of its own, and of
    a request that died in one run and was answered in another, either row may be the latest. The hash, name and error of each
    request's latest good answer are the same, and so is what counts as failed.
    """
    tables, files, rows, failed = undisturbed
    assert left_failed(context) == failed, where
    found, mine = contents(context), latest(context)
    if not alone:
        good = {(row["ticker"], row["request_id"], row["request_part"]): row for row in latest(context, good=True)}
        mine = [good.get((row["ticker"], row["request_id"], row["request_part"]), row) for row in mine]
        found, tables = ({n: sorted(set(v)) if n == REJECTS else v for n, v in some.items()} for some in (found, tables))
        mine, rows = ([{n: row[n] for n in ANSWER} for row in some] for some in (mine, rows))
    assert found == tables, where
    assert bronze_files(context) == files, where
    assert mine == rows, where


def test_killed_in_every_way(january: Path, undisturbed: tuple[Any, ...], matrix: Matrix, tmp_path: Path) -> None:
    scenarios: tuple[Callable[..., None], ...] = (
        matrix.alone,
        matrix.twice,
        matrix.beside_two_others,
        matrix.on_a_full_disk,
        matrix.on_a_read_only_disk,
        matrix.of_dagster,
    )
    # Where answers are got again: by the runs beside, or because the disk took the first part of a request and not the next.
    again = (matrix.beside_two_others, matrix.on_a_full_disk)
    number = 0
    while matrix.kills.total() < KILLS:
        home = tmp_path / "home"
        shutil.copytree(january, home)
        scenario = scenarios[number % len(scenarios)]
        boundary = bool(number // len(scenarios) % 2)
        scenario(home, boundary=boundary)
        where = f"scenario {number}, {scenario.__name__}, boundary {boundary}"
        assert not is_locked(home / "ops.duckdb"), where
        context = make_home(home, **SETTINGS)
        run(context)
        assert_tidy(context)
        assert_same(context, undisturbed, alone=scenario not in again, where=where)
        shutil.rmtree(home)
        number += 1
        if number % 20 == 0:
            print(f"{number} scenarios: {matrix}", flush=True)
    print(f"{number} scenarios, all healed: {matrix}")
