"""A source's limits: kept by many processes together, counted by the vendor; quotas, pauses, and a key that is refused.

Belongs here: when a call is sent, waits, or is left to a later run; what a plan allows. Does not belong here: what an error is
(`test_http`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ops_pipeline.engine.context import build_context
from ops_pipeline.errors import SettingsError, UserError
from ops_pipeline.recipes.limits import Limits
from ops_pipeline.recipes.loading import load_catalogue
from ops_pipeline.recipes.source import SourceDeclaration
from ops_pipeline.settings import load_settings
from ops_pipeline.sources import Request, SourceError
from ops_pipeline.sources.gate import REFUSED_KEYS
from ops_pipeline.sources.http import HttpClient
from ops_pipeline.sources.limits import Permit, Refusal, SharedLimits
from ops_pipeline_tests.sources.http_home import FIRST, KEY, LAST, VARIABLE, make_home, run, write_recipe
from ops_pipeline_tests.vendor_server import Reply, Seen, VendorServer

NOON = datetime(2026, 3, 7, 12, tzinfo=UTC).timestamp()
PROCESSES = 8


@pytest.fixture(autouse=True)
def _a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


class Clock:
    """The time, which a test moves."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def limited(folder: Path, url: str, **limits: Any) -> None:
    """A home's source with limits."""
    write_recipe(folder, url)
    path = folder / "recipes" / "vendor.yaml"
    declared = json.loads(path.read_text(encoding="utf-8"))
    declared["source"]["limits"] = limits
    path.write_text(json.dumps(declared), encoding="utf-8")


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[Callable[..., tuple[SharedLimits, Clock]]]:
    made: list[SharedLimits] = []
    clock = Clock()

    def one(**limits: Any) -> tuple[SharedLimits, Clock]:
        made.append(SharedLimits(tmp_path / "limits", "vendor", Limits(**limits), clock=clock))
        return made[-1], clock

    yield one
    for limits in made:
        limits.close()


def taken(limits: SharedLimits, symbol: str | None = None) -> Permit:
    permit = limits.take(symbol, 30)
    assert isinstance(permit, Permit), permit
    limits.arrived(permit)
    return permit


def refused(limits: SharedLimits, symbol: str | None = None) -> Refusal:
    refusal = limits.take(symbol, 30)
    assert isinstance(refusal, Refusal), refusal
    return refusal


# --- many processes ---------------------------------------------------------------------------------------------------------------

CHILD = """
import asyncio, sys
from pathlib import Path
from ops_pipeline.recipes.loading import load_catalogue
from ops_pipeline.sources import Request
from ops_pipeline.sources.http import HttpClient
from datetime import date

async def main(home, name, calls):
    known = load_catalogue(home / "recipes")
    client = HttpClient(known.sources["vendor"], known.recipes, counts=home / "limits")
    async def ask(k):
        async for _ in client.fetch(Request("equities", "vendor", "prices", "-", f"{name}-{k}", date(2024, 1, 1), date(2024, 1, 5))):
            pass
    await asyncio.gather(*(ask(k) for k in range(calls)))
    await client.aclose()

asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
"""


def test_eight_processes_together_never_exceed_the_limit_as_the_vendor_counts(vendor: VendorServer, tmp_path: Path) -> None:
    came: list[float] = []

    def counted(seen: Seen) -> Reply:
        came.append(time.monotonic())
        return Reply(b"[]")

    vendor.answer = counted
    limited(tmp_path, vendor.url, per_second=20)
    children = [subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), f"P{k}", "8"]) for k in range(PROCESSES)]
    assert [child.wait(300) for child in children] == [0] * PROCESSES
    assert len(came) == PROCESSES * 8
    came.sort()
    assert max(sum(1 for other in came[k:] if other < first + 1) for k, first in enumerate(came)) <= 20


def test_a_killed_process_gives_its_calls_back(tmp_path: Path, counting: Callable[..., tuple[SharedLimits, Clock]]) -> None:
    limits, clock = counting(per_minute=2)
    script = (
        "import sys, time; from pathlib import Path; from ops_pipeline.recipes.limits import Limits;"
        "from ops_pipeline.sources.limits import SharedLimits;"
        f"l = SharedLimits(Path(sys.argv[1]), 'vendor', Limits(per_minute=2), clock=lambda: {NOON});"
        "l.take(None, 3600); l.take(None, 3600); print('asked', flush=True); time.sleep(600)"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "limits")], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"asked\n"
    assert refused(limits).seconds == 60  # they may be over now at the earliest
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    clock.now += 30
    assert refused(limits).seconds == 60  # the vendor may have counted them until now
    clock.now += 61
    taken(limits)


# --- windows and quotas -----------------------------------------------------------------------------------------------------------


def test_a_call_counts_until_so_long_after_its_answer_began(counting: Callable[..., tuple[SharedLimits, Clock]]) -> None:
    limits, clock = counting(per_second=2, per_minute=3)
    first = limits.take(None, 30)
    assert isinstance(first, Permit)
    taken(limits)
    clock.now += 0.5
    limits.arrived(first)
    clock.now += 0.6
    taken(limits)  # the second is over since 1.1 s
    refusal = refused(limits)
    assert refusal.why == "3 calls a minute"
    assert refusal.seconds == pytest.approx(60 - 1.1)
    clock.now += 59.9
    taken(limits)


def test_days_and_months_begin_in_the_vendors_zone(counting: Callable[..., tuple[SharedLimits, Clock]]) -> None:
    limits, clock = counting(per_day=2, per_month=3, reset_zone="America/New_York")
    taken(limits)
    taken(limits)
    refusal = refused(limits)
    assert (refusal.why, refusal.at) == ("2 calls a day", datetime(2026, 3, 8, 5, tzinfo=UTC))
    clock.now = refusal.at.timestamp() - 1
    refused(limits)
    clock.now += 1
    taken(limits)
    # The day on which clocks go forward is an hour short, and April begins in summer time.
    assert (refused(limits).why, refused(limits).at) == ("3 calls a month", datetime(2026, 4, 1, 4, tzinfo=UTC))
    assert [(q.period, q.left, q.resets_at.hour) for q in limits.left()] == [("day", 1, 4), ("month", 0, 4)]


def test_a_call_around_midnight_counts_on_both_days(counting: Callable[..., tuple[SharedLimits, Clock]]) -> None:
    limits, clock = counting(per_day=1)
    clock.now = datetime(2026, 3, 7, 23, 59, 59, tzinfo=UTC).timestamp()
    permit = limits.take(None, 30)
    assert isinstance(permit, Permit)
    clock.now += 2
    limits.arrived(permit)
    assert refused(limits).why == "1 calls a day"


def test_known_symbols_may_be_asked_when_no_new_one_may(counting: Callable[..., tuple[SharedLimits, Clock]]) -> None:
    limits, _ = counting(symbols_per_month=2)
    for symbol in ("AAA", "BBB", "AAA", None):
        taken(limits, symbol)
    assert refused(limits, "CCC").why == "2 symbols a month"
    taken(limits, "BBB")
    assert [(q.what, q.used) for q in limits.left()] == [("symbols", 2)]


def test_bytes_are_counted_as_they_came(vendor: VendorServer, tmp_path: Path) -> None:
    vendor.answer = lambda _: Reply(b"[" + b" " * 998 + b"]")
    limited(tmp_path, vendor.url, bytes_per_day=1500)
    told = asyncio.run(_several(tmp_path, "AAA", "BBB", "CCC"))
    assert [isinstance(one, SourceError) for one in told] == [False, False, True]
    assert "1,500 bytes a day" in str(told[2])
    assert len(vendor.seen) == 2


async def _several(home: Path, *tickers: str) -> list[object]:
    known = load_catalogue(home / "recipes")
    client = HttpClient(known.sources["vendor"], known.recipes, counts=home / "limits")
    told: list[object] = []
    for ticker in tickers:
        try:
            told += [one async for one in client.fetch(Request("equities", "vendor", "prices", "-", ticker, FIRST, LAST))]
        except SourceError as e:
            told.append(e)
    await client.aclose()
    return told


def test_a_clock_that_was_put_back_blocks_nobody_for_long(counting: Callable[..., tuple[SharedLimits, Clock]]) -> None:
    limits, clock = counting(per_second=1)
    taken(limits)
    clock.now -= 3600
    assert refused(limits).seconds == 1
    clock.now += 1.001
    taken(limits)


def test_counts_that_cannot_be_read_say_which_file(tmp_path: Path, counting: Callable[..., tuple[SharedLimits, Clock]]) -> None:
    limits, _ = counting(per_day=2)
    (tmp_path / "limits").mkdir()
    (tmp_path / "limits" / "vendor.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match=r"vendor\.sqlite, which counts what vendor was asked, cannot be used"):
        limits.take(None, 30)


# --- runs -------------------------------------------------------------------------------------------------------------------------


def test_a_quota_that_runs_out_defers_the_rest_and_a_later_run_asks_for_it(vendor: VendorServer, tmp_path: Path) -> None:
    make_home(tmp_path, vendor.url, [])
    tickers = [f"T{k}" for k in range(6)]
    context = make_home(tmp_path, vendor.url, tickers)
    limited(tmp_path, vendor.url, per_day=4)
    context = build_context(load_settings(home=tmp_path))
    told = run(context)
    assert sorted(o.kind.value for o in told.values()) == ["deferred"] * 2 + ["promoted"] * 4
    assert {o.reason.partition(" (")[2] for o in told.values() if o.kind.value == "deferred"} == {
        "4 calls a day); a later run asks for this."
    }
    assert len(vendor.seen) == 4
    limited(tmp_path, vendor.url, per_day=100)  # a larger plan
    again = run(build_context(load_settings(home=tmp_path)))
    assert {o.kind.value for o in again.values()} == {"promoted", "up_to_date"}
    assert len(vendor.seen) == 6


def test_the_vendors_long_pause_is_everybodys(vendor: VendorServer, tmp_path: Path) -> None:
    vendor.when(Reply(status=429, headers={"Retry-After": "86400"}), ticker="T0")
    context = make_home(tmp_path, vendor.url, [f"T{k}" for k in range(5)], concurrency=1)
    told = run(context)
    assert {o.kind.value for o in told.values()} == {"deferred"}
    assert "left alone for 86400 s" in told["T0"].reason
    assert "(the pause that it asked for)" in told["T4"].reason
    assert {o.kind.value for o in run(build_context(load_settings(home=tmp_path))).values()} == {"deferred"}
    assert len(vendor.seen) == 1


def test_the_vendors_short_pause_stops_other_calls_too(vendor: VendorServer, tmp_path: Path) -> None:
    vendor.when(Reply(status=429, headers={"Retry-After": "1"}), ticker="T0", attempts=[1])
    came: dict[str, float] = {}
    plain = vendor.answer

    def noted(seen: Seen) -> Reply:
        came[seen.ticker] = time.monotonic()
        return plain(seen)

    vendor.answer = noted
    begun = time.monotonic()
    told = run(make_home(tmp_path, vendor.url, ["T0", "T1"], concurrency=1))
    assert {o.kind.value for o in told.values()} == {"promoted"}
    assert min(came.values()) >= begun + 1


def test_a_text_about_the_quota_ends_the_asking_of_a_run(vendor: VendorServer, tmp_path: Path) -> None:
    vendor.when(Reply(b'{"info": "Limit Reach"}'), ticker="T1")
    context = make_home(tmp_path, vendor.url, [f"T{k}" for k in range(5)], concurrency=1)
    told = run(context)
    assert [told[f"T{k}"].kind.value for k in range(5)] == ["promoted", *["deferred"] * 4]
    vendor.recover()
    assert {o.kind.value for o in run(context).values()} == {"up_to_date", "promoted"}


def test_a_refused_key_stops_the_asking_and_is_said_once(
    vendor: VendorServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.when(Reply(b'{"message": "bad key"}', status=401))
    context = make_home(tmp_path, vendor.url, [f"T{k}" for k in range(20)], concurrency=1)
    with caplog.at_level(logging.WARNING, "ops_pipeline.sources"):
        told = run(context)
    assert sorted(o.kind.value for o in told.values()) == ["deferred"] * (20 - REFUSED_KEYS) + ["failed"] * REFUSED_KEYS
    assert len(vendor.seen) == REFUSED_KEYS
    sentence = f"refused the key {REFUSED_KEYS} times in a row and is not asked further by this run: check {VARIABLE}"
    assert all(sentence in o.reason for o in told.values() if o.kind.value == "deferred")
    assert len([record for record in caplog.records if sentence in record.message]) == 1
    vendor.recover()
    assert {o.kind.value for o in run(context).values()} == {"promoted"}


def test_single_refusals_of_the_key_between_answers_stop_nothing(vendor: VendorServer, tmp_path: Path) -> None:
    for ticker in ("T1", "T3", "T5", "T7"):
        vendor.when(Reply(status=401), ticker=ticker)
    told = run(make_home(tmp_path, vendor.url, [f"T{k}" for k in range(9)], concurrency=1))
    assert sorted(o.kind.value for o in told.values()) == ["failed"] * 4 + ["promoted"] * 5


# --- plans ------------------------------------------------------------------------------------------------------------------------

PLANS = {"free": {"floor": "2022-01-01", "limits": {"per_day": 250}}, "pro": {"limits": {"per_minute": 300}}}
SOURCE = {"name": "acme", "description": "Acme.", "client": "http", "http": {"base_url": "https://api.acme.example"}}


def test_a_plan_brings_its_limits_and_its_earliest_date() -> None:
    source = SourceDeclaration.model_validate(
        {**SOURCE, "floor": "1990-01-01", "limits": {"per_day": 9}, "plan": "free", "plans": PLANS}
    )
    assert (source.limits_in_force.per_day, str(source.earliest)) == (250, "2022-01-01")
    pro = source.on_plan("pro")
    assert (pro.limits_in_force.per_day, pro.limits_in_force.per_minute, str(pro.earliest)) == (None, 300, "1990-01-01")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"plans": PLANS}, "name one of free, pro"),
        ({"plan": "gold", "plans": PLANS}, "name one of free, pro"),
        ({"plan": "free", "plans": {"free": {}}}, "a `floor` or both"),
        ({"limits": {"per_day": 0}}, "per_day"),
        ({"limits": {"per_fortnight": 1}}, "per_fortnight"),
        ({"limits": {"reset_zone": "Mars/Olympus"}}, "not an IANA time zone"),
    ],
)
def test_limits_and_plans_that_make_no_sense(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        SourceDeclaration.model_validate({**SOURCE, **changed})


def test_a_variable_changes_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "acme.yaml").write_text(json.dumps({"source": {**SOURCE, "plan": "free", "plans": PLANS}}), encoding="utf-8")
    monkeypatch.setenv("OPS_PIPELINE_SOURCE_ACME_PLAN", "pro")
    assert build_context(load_settings(home=tmp_path)).catalogue.sources["acme"].plan == "pro"
    monkeypatch.setenv("OPS_PIPELINE_SOURCE_ACME_PLAN", "platinum")
    with pytest.raises(SettingsError, match=r"OPS_PIPELINE_SOURCE_ACME_PLAN: plan: name one of free, pro\. Change or unset it\."):
        build_context(load_settings(home=tmp_path))
