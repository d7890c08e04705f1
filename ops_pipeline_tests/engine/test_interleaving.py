"""One run in the middle of another, at every point where no lock is held: the result is always that of the files one after the other.

Belongs here: two runs in one process, interleaved on purpose. Does not belong here: races of real processes (`test_processes`).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops_pipeline.engine.context import steps
from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.sources import Answer, Request
from ops_pipeline_tests.engine import model
from ops_pipeline_tests.engine.home import assert_tidy, bronze_files, key, ledger, make_home, run
from ops_pipeline_tests.engine.vendor import Vendor, body, weekdays

UNLOCKED = (
    "asked %d requests",
    "read %d answers",
    "committed %d files",
)


def version(number: int) -> Vendor:
    """A vendor of one opinion about the first week of the year."""

    async def fetch(request: Request) -> AsyncIterator[Answer]:
        days = weekdays(request.from_date, request.to_date)[number : number + 3]
        yield Answer(body([{"date": str(day), "close": float(number + 1), "volume": 1, "adjClose": 1.0} for day in days]))

    return Vendor(fetch)


@contextmanager
def at(boundary: str, action: Callable[[], object]) -> Iterator[None]:
    """Does something when a run first passes a boundary; the runs that it starts pass it undisturbed."""
    done: list[object] = []

    # A filter and no handler: handlers are locked while they work, and the runs that the action starts pass boundaries too.
    def once(record: logging.LogRecord) -> bool:
        if record.msg == boundary and not done:
            done.append(None)
            action()
        return True

    level = steps.level
    steps.setLevel(logging.DEBUG)
    steps.addFilter(once)
    try:
        yield
    finally:
        steps.removeFilter(once)
        steps.setLevel(level)
    assert done, f"{boundary} was not passed"


@pytest.mark.parametrize("boundary", UNLOCKED)
@pytest.mark.parametrize("between", [1, 2])
def test_another_run_at_a_boundary(boundary: str, between: int, tmp_path: Path) -> None:
    """The other runs promote the first one's file with their own, or theirs come before it, or make it late."""
    context = make_home(tmp_path, version(0), tickers=["AAA"])
    others = [make_home(tmp_path, version(number), tickers=["AAA"]) for number in range(1, between + 1)]
    kinds: list[OutcomeKind] = []

    def interfere() -> None:
        kinds.extend(run(other, key(), full=True)[key()].kind for other in others)

    with at(boundary, interfere):
        outcome = run(context, key(), full=True)[key()]
    assert (outcome.kind, *kinds) == (OutcomeKind.PROMOTED,) * (between + 1)
    # What the outcome shows is what the ledger says, whoever did it.
    shown = {row.key: row for row in outcome.files}
    known = {row.key: row for row in ledger(context)}
    assert {k: row.silver_counts for k, row in shown.items()} == {k: known[k].silver_counts for k in shown}
    assert {row.status for row in shown.values()} == {"promoted"}
    assert_tidy(context)
    expected = model.apply(known.values(), bronze_files(context))
    with context.warehouse.reading() as connection:
        silver = connection.execute(
            "SELECT ticker, date, close, volume, adj_close, bronze_file_id, run_id, known_at FROM silver.vendor_prices"
        ).fetchall()
        gold = connection.execute("SELECT date, close FROM gold.fact_eod").fetchall()
    assert {(r[0], r[1]): ((r[2], r[3], r[4]), (r[5], r[6], r[7])) for r in silver} == expected.rows
    assert dict(gold) == {day: values[0] for (_, day), (values, _) in expected.rows.items()}
    assert {f: (known[f].silver_rows_created, known[f].silver_rows_updated) for f in known} == expected.counts


def test_another_run_between_every_staging_and_its_commit(tmp_path: Path) -> None:
    """Each time the partition has moved on when the lock is there: staged again until it has not."""
    context = make_home(tmp_path, version(0), tickers=["AAA"])
    first, second = (make_home(tmp_path, version(number), tickers=["AAA"]) for number in (1, 2))

    with (
        at("read %d answers", lambda: run(first, key(), full=True)),
        at("staged %d files", lambda: run(second, key(), full=True)),
    ):
        outcome = run(context, key(), full=True)[key()]
    assert outcome.kind is OutcomeKind.PROMOTED
    assert_tidy(context)
    files = ledger(context)
    expected = model.apply(files, bronze_files(context))
    assert {f.key: (f.silver_rows_created, f.silver_rows_updated) for f in files} == expected.counts
