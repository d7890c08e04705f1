"""The door to the database under load: 1, 2, 4, 8 writing processes, with and without four constant readers.

Belongs here: making the database, starting the processes of `door_worker`, and the figures of what they noted. Does not belong here:
what one process does (`door_worker`).

    python -m benchmarks.door --seconds 6
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import duckdb

from benchmarks.door_worker import OURS, THEIRS, Notes, door_of, work
from ops_pipeline.ops import migrations

WRITERS = (1, 2, 4, 8)
READERS = (0, 4)
BESIDE_RESOURCE = (1, 8)
SHORT_READS = 30
GRACE_SECONDS = 60.0


@dataclass
class Cell:
    """One load; times in seconds.

    Attributes:
        lost: rows whose transaction had been acknowledged and that are not there at the end, or are there twice.
    """

    kind: str
    writers: int
    readers: int
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    waits: list[float] = field(default_factory=list)
    holds: list[float] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    lost: int = 0

    @property
    def rate(self) -> float:
        """Transactions a second, of all writers together."""
        return len(self.holds) / self.seconds if self.seconds else 0.0

    @property
    def mean(self) -> float:
        """The mean wait."""
        return fmean(self.waits) if self.waits else 0.0

    @property
    def longest(self) -> float:
        """The longest wait."""
        return max(self.waits, default=0.0)

    def wait(self, share: float) -> float:
        """The wait that this share of the transactions did not exceed."""
        ordered = sorted(self.waits)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0

    @property
    def load(self) -> str:
        """The load in words."""
        return f"{self.writers} writers, {self.readers} readers"


def run_cell(cell: Cell, *, seconds: float, rows: int, folder: Path) -> None:
    """Let the processes of one load work on a new database, and add what they saw to the cell."""
    # Not called ops.duckdb: the resource opens it under its stem, and DuckDB would find every `ops.table` ambiguous.
    database = folder / "ledger.duckdb"
    migrations.migrate(door_of(database), notify=lambda _: None)
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(cell.writers + cell.readers)
    notes, processes, pipes = [], [], []
    try:
        for number in range(cell.writers + cell.readers):
            writes = number < cell.writers
            ours, theirs = context.Pipe(duplex=False)
            name = f"{'writer' if writes else 'reader'}-{number}"
            process = context.Process(target=work, args=(database, cell.kind, name, writes, rows, seconds, ready, theirs))
            process.start()
            theirs.close()
            processes.append(process)
            pipes.append(ours)
        for pipe in pipes:
            if not pipe.poll(seconds + GRACE_SECONDS):
                raise TimeoutError(f"a process did not end within {seconds + GRACE_SECONDS:g} s: {cell.load}, {cell.kind}")
            notes.append(pipe.recv())
    finally:
        for process in processes:
            process.join(1.0)
            process.kill()
            process.join()
    _add(cell, notes)
    with door_of(database).reading() as connection:
        asked, answered, distinct = connection.execute(
            "SELECT count(*), count(*) FILTER (bronze_outcome = 'stored'), count(DISTINCT file_id) FROM ops.file_ingestions"
        ).fetchall()[0]
    # A transaction that failed may have landed without its acknowledgement; one that did not fail must have.
    requests, answers = sum(n.requests for n in notes), sum(n.answers for n in notes)
    cell.lost += max(0, requests - asked) + max(0, answers - answered) + (asked - distinct)
    if not cell.failures:
        cell.lost += max(0, asked - requests)


def _add(cell: Cell, notes: Iterable[Notes]) -> None:
    ended = 0.0
    for note in notes:
        if note.writes:
            cell.waits += note.waits
            cell.holds += note.holds
            ended = max(ended, note.seconds)
            cell.cpu_seconds += note.cpu_seconds
        else:
            cell.reads += note.waits
        cell.failures += note.failures
    cell.seconds += ended


def run_cells(
    *,
    seconds: float,
    rows: int,
    repeat: int,
    writers: Sequence[int] = WRITERS,
    readers: Sequence[int] = READERS,
    resource: bool = True,
) -> list[Cell]:
    """Every load, as often as asked for, one after the other so that a slow minute of the machine falls on all."""
    cells = [Cell(OURS, w, r) for r in readers for w in writers]
    if resource:
        cells += [Cell(THEIRS, w, r) for r in readers for w in writers if w in BESIDE_RESOURCE]
    for _ in range(repeat):
        for cell in cells:
            with tempfile.TemporaryDirectory(prefix="door-") as folder:
                run_cell(cell, seconds=seconds, rows=rows, folder=Path(folder))
            print(_line(cell), file=sys.stderr, flush=True)
    return cells


def _line(cell: Cell) -> str:
    waits = [f"{name} {1000 * value:.0f}" for name, value in (
        ("p50", cell.wait(0.5)), ("p99", cell.wait(0.99)), ("max", cell.longest), ("mean", cell.mean),
    )]  # fmt: skip
    hold = 1000 * fmean(cell.holds) if cell.holds else 0
    cpu = 1000 * cell.cpu_seconds / max(1, len(cell.holds))
    reads = f"; reads: {len(cell.reads) / cell.seconds:.0f}/s, longest wait {1000 * max(cell.reads):.0f} ms" if cell.reads else ""
    return (
        f"{cell.kind}, {cell.load}: {cell.rate:.1f} tx/s, wait ms {' '.join(waits)}, hold {hold:.0f} ms, cpu {cpu:.0f} ms, "
        f"{len(cell.failures)} failures, {cell.lost} rows lost or doubled{reads}"
    )


def short_reads(ledger_rows: int) -> tuple[float, float]:
    """Milliseconds of one short read of a ledger of this size: through the door, and by DuckDB's own connect, query and close."""
    with tempfile.TemporaryDirectory(prefix="door-") as folder:
        database = Path(folder) / "ledger.duckdb"
        warehouse = door_of(database)
        migrations.migrate(warehouse, notify=lambda _: None)
        with warehouse.transaction() as connection:
            connection.execute(
                """INSERT INTO ops.file_ingestions BY NAME
                SELECT 'run-' || i // 1000 AS run_id, md5(i::VARCHAR) AS file_id, 'equities' AS domain, 'sample' AS source,
                    'eod-prices' AS dataset, '-' AS discriminator, 'T' || i % 100000 AS ticker, md5('r' || i) AS request_id,
                    'stored' AS bronze_outcome, 245 AS bronze_rows, 'bench' AS code_version
                FROM range(?) r(i)""",
                [ledger_rows],
            )
        warehouse.checkpoint()
        query = "SELECT count(*) FROM ops.file_ingestions WHERE run_id = 'run-1'"

        def ours() -> None:
            with warehouse.reading() as connection:
                connection.execute(query).fetchall()

        def bare() -> None:
            with duckdb.connect(str(database), read_only=True) as connection:
                connection.execute(query).fetchall()

        return _median_ms(ours), _median_ms(bare)


def _median_ms(action: Any) -> float:
    times = []
    for _ in range(SHORT_READS):
        began = time.perf_counter()
        action()
        times.append(1000 * (time.perf_counter() - began))
    return sorted(times)[len(times) // 2]


def measure(*, seconds: float = 6.0, rows: int = 50, repeat: int = 1, ledger_rows: int = 1_000_000) -> list[dict[str, Any]]:
    """The figures of the door.

    Args:
        seconds: how long the processes of one load work.
        rows: ledger rows a transaction.
        repeat: how often every load is measured.
        ledger_rows: size of the ledger whose short reads are timed.
    """
    cells = run_cells(seconds=seconds, rows=rows, repeat=repeat)
    found = []
    for readers in READERS:
        ours = {c.writers: c for c in cells if c.kind == OURS and c.readers == readers}
        theirs = {c.writers: c for c in cells if c.kind == THEIRS and c.readers == readers}
        for cell in ours.values():
            if cell.writers > 1:
                found.append(_row(f"{cell.load}: throughput / that of one writer", cell.rate, ours[1].rate, "tx/s"))
            found.append(_row(f"{cell.load}: longest wait / mean wait", 1000 * cell.longest, 1000 * cell.mean, "ms"))
            found.append(_row(f"{cell.load}: p99 wait / median wait", 1000 * cell.wait(0.99), 1000 * cell.wait(0.5), "ms"))
        for writers, other in theirs.items():
            cell = ours[writers]
            found.append(_row(f"{cell.load}: throughput / {THEIRS}", cell.rate, other.rate, "tx/s"))
            found.append(_row(f"{cell.load}: longest wait / {THEIRS}", 1000 * cell.longest, 1000 * other.longest, "ms"))
            found.append(_row(f"{cell.load}: failures / {THEIRS}", len(cell.failures), len(other.failures), "transactions"))
    mine = [c for c in cells if c.kind == OURS]
    lost = sum(c.lost for c in mine)
    found.append(_row("rows lost or doubled / rows written, all loads", lost, sum(len(c.holds) for c in mine) * rows, "rows"))
    through, bare = short_reads(ledger_rows)
    found.append(_row(f"one short read, ledger of {ledger_rows:,} rows: door / duckdb.connect", through, bare, "ms"))
    return found


def _row(name: str, ours: float, other: float, unit: str) -> dict[str, Any]:
    ratio = round(ours / other, 3) if other else None
    return {"name": f"e. {name}", "ours": round(ours, 2), "other": round(other, 2), "ratio": ratio, "unit": unit}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="how long the processes of one load work")
    parser.add_argument("--rows", type=int, default=50, help="ledger rows a transaction")
    parser.add_argument("--repeat", type=int, default=1, help="how often every load is measured")
    parser.add_argument("--ledger-rows", type=int, default=1_000_000, help="size of the ledger whose short reads are timed")
    given = parser.parse_args(arguments)
    found = measure(seconds=given.seconds, rows=given.rows, repeat=given.repeat, ledger_rows=given.ledger_rows)
    json.dump(found, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
