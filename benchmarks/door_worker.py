"""The processes of the door's measurement: writers and readers, through our door or through dagster-duckdb's resource.

Belongs here: what one process does, and what it notes. Does not belong here: starting them and what the notes mean (`door`).
"""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import duckdb

from ops_pipeline.ops import migrations, queries
from ops_pipeline.ops.ingestion import DatasetInjestion, Stage
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier

    from dagster_duckdb import DuckDBResource

READ_SECONDS = 0.04
"""How long a reader keeps the database: a slow query of a dashboard."""

OURS, THEIRS = "ours", "dagster-duckdb"

# Yields what to do with a connection, and is sent whether it was done.
Steps: TypeAlias = Generator[Callable[[duckdb.DuckDBPyConnection], None], bool, None]
Opening: TypeAlias = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]


@dataclass
class Notes:
    """What a process saw: seconds from asking to having the connection, and from having it to having let go of it."""

    writes: bool
    asked: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    holds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    requests: int = 0
    answers: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


class _TimeIsUpError(Exception):
    """The end came while the resource slept before its next try."""


def door_of(database: Path) -> Warehouse:
    return Warehouse(database, schema_version=migrations.latest_version())


@contextmanager
def _by_resource(resource: DuckDBResource) -> Iterator[duckdb.DuckDBPyConnection]:
    with resource.get_connection() as connection:
        connection.execute("BEGIN")
        yield connection
        connection.execute("COMMIT")


def opening(database: Path, kind: str, *, writes: bool) -> Opening:
    """What the code of a pipeline would call: ours, or the resource's own connection with its own tries."""
    if kind == OURS:
        warehouse = door_of(database)
        return partial(warehouse.transaction, few_rows=True) if writes else warehouse.reading
    from dagster_duckdb import DuckDBResource  # seconds of processor time that our own cells need not pay

    resource = DuckDBResource(database=str(database))
    return (lambda: _by_resource(resource)) if writes else resource.get_connection


def new_rows(name: str, number: int, count: int) -> list[DatasetInjestion]:
    """Requests of a run about to be sent."""
    run = f"{name}-{number // 20:06d}"
    return [
        DatasetInjestion(
            run_id=run, file_id=hashlib.md5(f"{name} {number} {i}".encode(), usedforsecurity=False).hexdigest(), domain="equities",
            source="sample", dataset="eod-prices", discriminator="-", ticker=f"T{i:05d}", request_id=f"{name}-{number}-{i}",
            requested_from_date=date(2010, 1, 1), requested_to_date=date(2010, 6, 30), bronze_injest_start_time=datetime.now(UTC),
            code_version="bench",
        )
        for i in range(count)
    ]  # fmt: skip


def answer(rows: list[DatasetInjestion]) -> None:
    for row in rows:
        digest = hashlib.sha256(row.file_id.encode()).hexdigest()
        row.bronze_received(
            filename=f"sample/eod-prices/{row.ticker}/{row.run_id}/{digest[:16]}.json.gz",
            payload_hash=digest,
            size=20_000,
            stored_at=datetime.now(UTC),
            status_code=200,
        )
        row.bronze_finished(124, date(2010, 1, 4), date(2010, 6, 30))
        row.request_complete = True


def work(
    database: Path, kind: str, name: str, writes: bool, rows: int, seconds: float, ready: Barrier, hand_in: Connection
) -> None:
    """One process: waits for the others, then opens, works and lets go without a pause until the time is up."""
    notes = Notes(writes)
    opened = opening(database, kind, writes=writes)
    steps = _writing(notes, name, rows) if writes else _reading(name)
    with door_of(database).reading() as connection:  # imports and first use are not what is measured
        queries.run_summary(connection, name)
    step = next(steps)
    waiting = False

    def time_is_up(*_: object) -> None:
        if waiting:
            raise _TimeIsUpError

    # The resource may sleep most of a minute before its next try: the end wakes it, and what it waited for in vain is a failure.
    signal.signal(signal.SIGALRM, time_is_up)
    ready.wait()
    began, used = time.perf_counter(), time.process_time()
    if kind != OURS:
        signal.setitimer(signal.ITIMER_REAL, seconds)
    while (asked := time.perf_counter()) - began < seconds:
        done = False
        try:
            waiting = True
            with opened() as connection:
                waiting = False
                had = time.perf_counter()
                step(connection)
            notes.holds.append(time.perf_counter() - had)
            notes.waits.append(had - asked)
            notes.asked.append(asked)
            done = True
        except _TimeIsUpError:
            notes.failures.append("no connection before the end")
            notes.waits.append(time.perf_counter() - asked)
        except (duckdb.Error, RuntimeError) as error:
            notes.failures.append(f"{type(error).__name__}: {error}".splitlines()[0])
        waiting = False
        step = steps.send(done)
    notes.seconds, notes.cpu_seconds = time.perf_counter() - began, time.process_time() - used
    hand_in.send(notes)


def _writing(notes: Notes, name: str, count: int) -> Steps:
    """Batches as a run makes them: the requests before they are sent, then their answers; the rows are ready before the door is asked."""
    number = 0
    while True:
        rows = new_rows(name, number, count)
        number += 1
        if not (yield partial(_ask, rows)):
            continue
        notes.requests += count
        answer(rows)
        if (yield partial(_record, rows)):
            notes.answers += count


def _ask(rows: list[DatasetInjestion], connection: duckdb.DuckDBPyConnection) -> None:
    OpsRepo(connection).ask(rows)


def _record(rows: list[DatasetInjestion], connection: duckdb.DuckDBPyConnection) -> None:
    OpsRepo(connection).upsert(rows, Stage.BRONZE)


def _reading(name: str) -> Steps:
    while True:
        yield partial(_read, f"{name}-000000")


def _read(run: str, connection: duckdb.DuckDBPyConnection) -> None:
    until = time.perf_counter() + READ_SECONDS
    queries.run_summary(connection, run)
    time.sleep(max(0.0, until - time.perf_counter()))
