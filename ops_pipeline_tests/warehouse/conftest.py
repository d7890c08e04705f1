from __future__ import annotations

import contextlib
import fcntl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from ops_pipeline.warehouse import Warehouse, locks

PROJECT = Path(__file__).parents[2]
# Not a limit on speed: it ends a test that would otherwise hang.
HANGS_SECONDS = 120


class Worker:
    """Another process; see worker.py."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ops_pipeline_tests.warehouse.worker", *map(str, arguments)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> int:
        return self.process.wait(HANGS_SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class StartWorker(Protocol):
    def __call__(self, *arguments: object) -> Worker: ...


@pytest.fixture
def start() -> Iterator[StartWorker]:
    with contextlib.ExitStack() as stack:

        def started(*arguments: object) -> Worker:
            worker = Worker(*arguments)
            stack.callback(worker.process.communicate)
            stack.callback(worker.kill)
            return worker

        yield started


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with an empty table, not open."""
    path = tmp_path / "ops.duckdb"
    with Warehouse(path).transaction() as connection:
        connection.execute("CREATE TABLE facts (writer INTEGER, number INTEGER)")
    return path


def is_locked(database: Path, operation: int = fcntl.LOCK_EX) -> bool:
    """Whether a writer (or, with LOCK_SH, a reader) would have to wait."""
    with locks.lock_path(database).open("a") as file:
        try:
            fcntl.flock(file, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def is_open_in_this_process(database: Path) -> bool:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        return False
    links: set[str] = set()
    for link in folder.iterdir():
        with contextlib.suppress(OSError):
            links.add(str(link.readlink()))
    return not links.isdisjoint({str(database), f"{database}.wal", f"{database}.lock", f"{database}.turnstile"})
