"""What the other processes of these tests do: `python -m ops_pipeline_tests.warehouse.worker COMMAND DATABASE ...`.

Each says a line when it has got somewhere and goes on when it is sent a line, so that no test has to sleep.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from ops_pipeline.warehouse import Warehouse, WarehouseUsageError, locks


def say(text: object) -> None:
    print(text, flush=True)


def hold(database: Path, mode: str) -> None:
    warehouse = Warehouse(database)
    with warehouse.reading() if mode == "read" else warehouse.connection():
        say("open")
        sys.stdin.readline()
    say("closed")


def foreign(database: Path, mode: str) -> None:
    connection = duckdb.connect(str(database), read_only=mode == "read")
    say("open")
    sys.stdin.readline()
    connection.close()
    say("closed")


def die_in_transaction(database: Path) -> None:
    with Warehouse(database).transaction() as connection:
        connection.execute("INSERT INTO facts VALUES (666, 0)")
        say("open")
        sys.stdin.readline()


def waits(_: str) -> None:
    say("waits")


def add(database: Path) -> None:
    locks.FIRST_NOTICE_SECONDS = 0.05
    with Warehouse(database, notify=waits).transaction() as connection:
        connection.execute("INSERT INTO facts VALUES (1, 1)")
    say("added")


def append(database: Path, number: str) -> None:
    locks.FIRST_NOTICE_SECONDS = 0.05
    with Warehouse(database, notify=waits).transaction(few_rows=True) as connection:
        connection.execute("INSERT INTO facts VALUES (0, ?)", [int(number)])
    say("appended")


def count(database: Path) -> None:
    locks.FIRST_NOTICE_SECONDS = 0.05
    with Warehouse(database, notify=waits).reading() as connection:
        say(connection.execute("SELECT count(*) FROM facts").fetchall()[0][0])


def write(database: Path, writer: str, count: str) -> None:
    warehouse = Warehouse(database)
    alone = database.with_suffix(".alone")
    say("ready")
    sys.stdin.readline()
    for number in range(int(count)):
        with warehouse.transaction() as connection:
            alone.touch(exist_ok=False)
            connection.execute("INSERT INTO facts VALUES (?, ?)", [int(writer), number])
            alone.unlink()
    say("done")


def read(database: Path, stop: str) -> None:
    warehouse = Warehouse(database)
    alone = database.with_suffix(".alone")
    seen = reads = 0
    say("ready")
    sys.stdin.readline()
    while not Path(stop).exists():
        with warehouse.reading() as connection:
            rows = connection.execute("SELECT count(*) FROM facts").fetchall()[0][0]
            # Part of a slow query's time, so that the readers overlap without a gap.
            time.sleep(0.02)
            if alone.exists() or rows < seen:
                raise AssertionError("a writer was in while this process was reading, or a row went away")
            seen = rows
            reads += 1
    say(reads)


def in_child(action: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        action()
        os._exit(0)
    return pid


def fork_and_leave(database: Path) -> None:
    with Warehouse(database).transaction() as connection:
        connection.execute("INSERT INTO facts VALUES (1, 1)")
        # sys.exit, and not os._exit: the child leaves the parent's blocks and destroys what it can.
        pid = in_child(lambda: sys.exit(0))
        say(os.waitpid(pid, 0)[1])
        sys.stdin.readline()
    say("closed")


def fork_and_use(database: Path) -> None:
    def use() -> None:
        try:
            with Warehouse(database).connection():
                os._exit(1)
        except WarehouseUsageError:
            os._exit(0)

    with Warehouse(database).connection():
        pid = in_child(use)
        say(os.waitpid(pid, 0)[1])


def fork_and_survive(database: Path) -> None:
    def survive() -> None:
        say(os.getpid())  # said by the child itself: by then it has let go of what it inherited
        time.sleep(600)

    with Warehouse(database).connection():
        in_child(survive)
        sys.stdin.readline()


def fork_when_closed(database: Path) -> None:
    def add(number: int) -> None:
        with Warehouse(database).transaction() as connection:
            connection.execute("INSERT INTO facts VALUES (?, ?)", [number, number])

    add(1)
    pid = in_child(lambda: add(2))
    say(os.waitpid(pid, 0)[1])
    add(3)
    say("closed")


COMMANDS: dict[str, Callable[..., None]] = {
    command.__name__: command
    for command in (
        hold,
        add,
        append,
        count,
        foreign,
        die_in_transaction,
        write,
        read,
        fork_and_leave,
        fork_and_use,
        fork_and_survive,
        fork_when_closed,
    )
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
