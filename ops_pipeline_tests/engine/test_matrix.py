"""The crash matrix: many kills at chosen and at random moments, beside other runs and on disks that refuse.

Belongs here: scenarios drawn by number, a few in the suite and hundreds where CRASH_KILLS says so (`make crash`). Does not
belong here: each boundary by itself (`test_kill`), one fault by itself (`test_disk`).

After each scenario the next run heals, and tables, bronze files and the ledger's latest rows are an undisturbed run's.
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

from ops_pipeline.engine.context import Context
from ops_pipeline_tests.bronze.test_disk import mounted
from ops_pipeline_tests.engine.home import FEBRUARY, JANUARY, assert_tidy, bronze_files, contents, latest, make_home, run
from ops_pipeline_tests.engine.nursery import Nursery
from ops_pipeline_tests.engine.test_disk import fill
from ops_pipeline_tests.engine.test_kill import BOUNDARIES
from ops_pipeline_tests.warehouse.conftest import is_locked

SETTINGS: dict[str, Any] = {"batch_files": 4}
KILLS = int(os.environ.get("CRASH_KILLS", "8"))
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
    return contents(context), bronze_files(context), latest(context)


class Matrix:
    """Kills so far, by scenario."""

    def __init__(self, chance: random.Random, nursery: Nursery) -> None:
        self.chance, self.nursery = chance, nursery
        self.kills: Counter[str] = Counter()
        self.refused = 0

    def dies(self, home: Path, name: str, *, boundary: bool, others: int = 0) -> None:
        """One run that is killed, at a boundary or at any moment; one that ended before, or was refused by the disk, is no kill."""
        if boundary:
            where = self.chance.choice(BOUNDARIES)
            given = {**GIVEN, "kill_at": [where, self.chance.randint(1, 6) if where in REPEATED else 1]}
            status, rest = self.nursery.run(home, given, others=others)
        else:
            status, rest = self.nursery.run(home, GIVEN, others=others, kill_after=self.chance.uniform(0.01, 0.5))
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
def matrix() -> Iterator[Matrix]:
    nursery = Nursery()
    yield Matrix(random.Random(int(os.environ.get("CRASH_SEED", "1"))), nursery)
    nursery.end()


def assert_same(context: Context, undisturbed: tuple[Any, ...], *, alone: bool, where: str) -> None:
    """The undisturbed run's tables, files and latest rows.

    Runs beside each other each get an answer of their own: refused records stand there once an answer, a later answer that repeats an
    earlier one has counts of its own, and the killed run's request may be failed after another run has got its answer. The hash, name and
    error of each request's latest good answer are the same.
    """
    tables, files, rows = undisturbed
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
    )
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
        assert_same(context, undisturbed, alone=scenario != matrix.beside_two_others, where=where)
        shutil.rmtree(home)
        number += 1
        if number % 20 == 0:
            print(f"{number} scenarios, {matrix.kills.total()} kills, {matrix.refused} refused by the disk", flush=True)
    print(
        f"{number} scenarios, {matrix.kills.total()} kills, {matrix.refused} refused by the disk, all healed: {dict(matrix.kills)}"
    )
