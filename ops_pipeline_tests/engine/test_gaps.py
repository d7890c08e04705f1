"""Holes that answers leave in the middle: found, asked for again after pauses, filled, or left alone in the end; over real runs.

Belongs here: what runs do about gaps, and what `find_gaps` says of them. Does not belong here: the arithmetic (`ops/test_gaps`), gaps at
the end (`test_modes`).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ops_pipeline.cli.app import app
from ops_pipeline.engine.context import Context
from ops_pipeline.engine.gaps import GapState, find_gaps
from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.engine.plan import RunOptions, due_keys
from ops_pipeline.ops import tries
from ops_pipeline.ops.gaps import GapKind
from ops_pipeline.ops.tries import QUIET
from ops_pipeline.sources import Answer, Request
from ops_pipeline_tests.engine.home import FEBRUARY, PRICES, asking, assert_tidy, key, make_home, prices_recipe, run
from ops_pipeline_tests.engine.vendor import Vendor, body, prices

AAA, BBB = key("AAA"), key("BBB")
LOST = (date(2024, 1, 10), date(2024, 1, 11))
HOUR = timedelta(hours=1)


def without(*days: date, only: str = "AAA") -> Vendor:
    """The vendor's prices, but for some days of one ticker."""

    async def fetch(request: Request) -> AsyncIterator[Answer]:
        lost = {day.isoformat() for day in days} if request.ticker == only else set()
        yield Answer(body([record for record in prices(request) if record["date"] not in lost]), status_code=200)

    return Vendor(fetch)


def home(folder: Path, vendor: Vendor, **changes: Any) -> Context:
    recipe = prices_recipe(**{"every_session": True, "lookback_days": 1} | changes)
    return make_home(folder, vendor, recipes=[recipe], tickers=["AAA", "BBB"], today=FEBRUARY, publish="none")


def later(hours: float) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


def listed(context: Context, now: datetime | None = None) -> list[tuple[str, GapKind, date, date, int, GapState, int]]:
    found = find_gaps(context, list(context.universe()), now or datetime.now(UTC)).found
    return [(g.key.ticker, g.gap.kind, g.gap.from_date, g.gap.to_date, g.gap.sessions, g.state, g.tries) for g in found]


def due(context: Context, now: datetime) -> bool:
    return due_keys(context, RunOptions(today=FEBRUARY, now=now)) == [AAA]


def test_a_hole_is_asked_for_again_after_a_pause_and_filled(tmp_path: Path) -> None:
    context = home(tmp_path, without(*LOST))
    run(context)
    assert listed(context) == [("AAA", GapKind.HOLE, *LOST, 2, GapState.WAITS, 1)]
    outcome = run(context)[AAA]
    assert (outcome.kind, outcome.reason) == (
        OutcomeKind.UP_TO_DATE,
        f"everything through {FEBRUARY} is stored, but for 1 hole; `ops-pipeline gaps` lists what no answer has",
    )
    assert not due(context, later(0.9))
    assert due(context, later(1.1))
    # Still without them: twice as long.
    run(context, now=later(1.1))
    assert listed(context)[0][5:] == (GapState.WAITS, 2)
    assert not due(context, later(1.9))
    assert due(context, later(2.1))
    vendor = without()
    outcome = run(asking(context, vendor), now=later(2.1))[AAA]
    assert outcome.kind is OutcomeKind.PROMOTED
    # The day before goes along: an answer on another adjustment basis shows by it.
    assert vendor.windows == [("AAA", date(2024, 1, 9), LOST[1])]
    assert listed(context) == []
    assert run(context, now=later(100))[AAA].kind is OutcomeKind.UP_TO_DATE
    assert_tidy(context)


def test_what_the_vendor_does_not_have_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "MOST_TRIES", 2)
    vendor = without(*LOST)
    context = home(tmp_path, vendor)
    run(context)
    run(context, AAA, from_date=LOST[0], to_date=LOST[1])
    assert listed(context) == [("AAA", GapKind.HOLE, *LOST, 2, GapState.VENDOR_HAS_NONE, 2)]
    asked = len(vendor.requests)
    # New sessions do not bring it back, and the key itself is as up to date as any.
    now = later(24 * 7)
    assert run(context, today=FEBRUARY + timedelta(days=1), now=now)[AAA].kind is OutcomeKind.PROMOTED
    assert [r.ticker for r in vendor.requests[asked:]] == ["AAA", "BBB"]
    assert run(context, today=FEBRUARY + timedelta(days=1), now=now)[AAA].kind is OutcomeKind.UP_TO_DATE
    assert due_keys(context, RunOptions(today=FEBRUARY + timedelta(days=1), now=datetime.now(UTC) + QUIET + HOUR)) == [AAA]


def test_gaps_at_the_end_and_between_answers_are_listed_with_the_command_that_fills_them(tmp_path: Path) -> None:
    context = home(tmp_path, without(), every_session=None)
    assert {line[1] for line in listed(context)} == {GapKind.ALL}
    run(context, AAA, today=date(2024, 1, 12))
    run(context, AAA, from_date=date(2024, 2, 1))
    run(context, BBB)
    (hole,) = find_gaps(context, [AAA, BBB], datetime.now(UTC)).found
    assert (hole.gap.kind, hole.gap.from_date, hole.gap.to_date, hole.gap.sessions, hole.state, hole.tries) == (
        GapKind.HOLE, date(2024, 1, 15), date(2024, 1, 31), 13, GapState.DUE, 0
    )  # fmt: skip
    words = shlex.split(hole.repair)
    assert words == ["run", "--dataset", PRICES, "--ticker", "AAA", "--from", "2024-01-15", "--to", "2024-01-31"]
    run(context, AAA, from_date=hole.gap.from_date, to_date=hole.gap.to_date)
    assert listed(context) == []


def test_sessions_asked_one_by_one(tmp_path: Path) -> None:
    empty_days = {date(2024, 2, 7), date(2024, 2, 8)}

    async def fetch(request: Request) -> AsyncIterator[Answer]:
        yield Answer(body([] if request.from_date in empty_days else prices(request)), status_code=200)

    context = home(tmp_path, Vendor(fetch), mode="by_period", period="session", first_date=date(2024, 2, 1), lookback_days=0)
    run(context, AAA)
    waiting = [line for line in listed(context) if line[0] == "AAA"]
    assert waiting == [("AAA", GapKind.HOLE, date(2024, 2, 7), date(2024, 2, 8), 2, GapState.WAITS, 1)]
    # They keep their pause, though later sessions have settled.
    assert run(context, AAA)[AAA].kind is OutcomeKind.SUSPECT


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    def ask(context: Context, *words: str) -> tuple[int, str]:
        monkeypatch.setattr("ops_pipeline.cli.gaps.open_home", lambda *_, **__: context)
        result = CliRunner().invoke(app, ["gaps", *words])
        return result.exit_code, result.stdout if "--json" in words else result.output

    return ask


def test_the_command(tmp_path: Path, ask: Callable[..., tuple[int, str]]) -> None:
    context = home(tmp_path, without(*LOST))
    run(context)
    status, said = ask(context, "--json")
    (gap,) = json.loads(said)["gaps"]
    assert (status, gap["ticker"], gap["from"], gap["sessions"], gap["state"]) == (0, "AAA", "2024-01-10", 2, "waits")
    assert gap["repair"].startswith(f"run --dataset {PRICES} --ticker AAA --from 2024-01-10")
    status, said = ask(context)
    assert (status, "asked once" in said, "1 gap, 2 sessions, 1 key" in said) == (0, True, True)
    assert "no gap" in ask(context, "--ticker", "BBB")[1]
    assert "lists no such partition" in ask(context, "--ticker", "CCC")[1]
    # A key that is there twice is no gap and must not be.
    with context.warehouse.transaction() as connection:
        connection.execute("CREATE TABLE twice AS SELECT * FROM silver.vendor_prices WHERE ticker = 'BBB' LIMIT 1")
        connection.execute("CREATE OR REPLACE TABLE silver.vendor_prices AS FROM silver.vendor_prices UNION ALL FROM twice")
    status, said = ask(context, "--json")
    assert (status, [d["found"] for d in json.loads(said)["duplicates"]]) == (1, ["2 rows"])
