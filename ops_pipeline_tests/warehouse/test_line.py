from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from ops_pipeline.warehouse import Warehouse, line, locks
from ops_pipeline_tests.warehouse.conftest import StartWorker

WAITING = 6

pytestmark = pytest.mark.skipif(not hasattr(fcntl, "F_OFD_SETLKW"), reason="this system has no locks to make tickets of")


def appended(database: Path) -> list[int]:
    with Warehouse(database).reading() as connection:
        return [number for (number,) in connection.execute("SELECT number FROM facts").fetchall()]


def test_who_asks_first_is_in_first(database: Path, start: StartWorker) -> None:
    holder = start("hold", database, "read")
    assert holder.hear() == "open"
    waiting = []
    for number in range(WAITING):
        waiting.append(start("append", database, number))
        assert waiting[-1].hear() == "waits"
    holder.tell()
    assert [worker.hear() for worker in waiting] == ["appended"] * WAITING
    assert appended(database) == list(range(WAITING))


def test_one_that_dies_in_line_holds_up_nobody(database: Path, start: StartWorker) -> None:
    holder = start("hold", database, "write")
    assert holder.hear() == "open"
    waiting = []
    for number in range(WAITING):
        waiting.append(start("append", database, number))
        assert waiting[-1].hear() == "waits"
    for place in (0, 2, 3):
        waiting[place].kill()
    holder.tell()
    alive = [waiting[place] for place in (1, 4, 5)]
    assert [worker.hear() for worker in alive] == ["appended"] * len(alive)
    # Who stands behind a dead one no longer knows who is in front of that one: the order may slip, the lock does not.
    assert sorted(appended(database)) == [1, 4, 5]


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 8, b"text of another program"])
def test_any_content_of_the_turnstile_file_lets_everybody_in(database: Path, content: bytes) -> None:
    locks.turnstile_path(database).write_bytes(content)
    inside = threading.Lock()
    entered: list[bool] = []

    def enter() -> None:
        with locks.database_lock(database, exclusive=True, notify=print):
            entered.append(inside.acquire(blocking=False))
            inside.release()

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert entered == [True] * 4


def test_whoever_may_only_read_the_file_gets_no_ticket_and_no_error(database: Path) -> None:
    descriptor = os.open(locks.turnstile_path(database), os.O_RDONLY)
    try:
        line.stand_in_line(descriptor, lambda: pytest.fail("waited"))
        line.leave_line(descriptor)
    finally:
        os.close(descriptor)


def test_a_ticket_is_given_back(database: Path) -> None:
    with locks.database_lock(database, exclusive=False, notify=print), Warehouse(database).reading():
        pass
    waited: list[bool] = []
    one = os.open(locks.turnstile_path(database), os.O_RDWR)
    two = os.open(locks.turnstile_path(database), os.O_RDWR)
    try:
        line.stand_in_line(one, lambda: waited.append(True))
        line.leave_line(one)
        line.stand_in_line(two, lambda: waited.append(True))
    finally:
        os.close(one)
        os.close(two)
    assert waited == []
