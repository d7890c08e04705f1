"""Vendors that misbehave: their key fails with one sentence, every other key is promoted, and the next run asks for what failed.

Belongs here: errors and answers of every kind, parts. Does not belong here: answers that repeat (`test_repeats`), and how values are typed
(`silver` tests).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from ops_pipeline.engine import fetch
from ops_pipeline.engine.context import Context
from ops_pipeline.engine.outcome import Outcome, OutcomeKind
from ops_pipeline.errors import UserError
from ops_pipeline.sources import Answer, Request, SourceError
from ops_pipeline_tests.engine.home import (
    FEBRUARY,
    FIRST,
    asking,
    assert_tidy,
    bronze_files,
    contents,
    key,
    latest,
    ledger,
    make_home,
    run,
)
from ops_pipeline_tests.engine.vendor import Fetch, Vendor, body, market, prices

BAD = key("BAD")
GOOD = [key("AAA"), key("BBB")]
TICKERS = ("AAA", "BAD", "BBB")
SECRET = "apikey=s3cr3t"
HTML = b"<html><body>Too many requests</body></html>"


def bad(misbehave: Fetch) -> Fetch:
    """A vendor whose answers for BAD are another's."""

    async def answers(request: Request) -> AsyncIterator[Answer]:
        async for answer in (misbehave if request.ticker == "BAD" else market)(request):
            yield answer

    return answers


def raising(error: BaseException) -> Fetch:
    async def answers(_: Request) -> AsyncIterator[Answer]:
        raise error
        yield Answer(b"")  # makes it a generator

    return answers


def saying(*answers: Answer) -> Fetch:
    async def said(_: Request) -> AsyncIterator[Answer]:
        for answer in answers:
            yield answer

    return said


async def cut(request: Request) -> AsyncIterator[Answer]:
    yield Answer(body(prices(request))[:-20], status_code=200)


async def without_values(request: Request) -> AsyncIterator[Answer]:
    yield Answer(body([{**record, "close": None} for record in prices(request)]), status_code=200)


class WeirdError(Exception):
    """Of a client's own."""


# Ticker -> its vendor, what its reason says, and the body that is kept.
FAILURES: dict[str, tuple[Fetch, str, bytes | None]] = {
    "PERMANENT": (raising(SourceError("No such symbol: remove it.", kind="permanent", status_code=404)), "No such symbol", None),
    "TRANSIENT": (
        raising(SourceError("The vendor is down: run again.", kind="transient", status_code=503, body=HTML)),
        "The vendor is down",
        HTML,
    ),
    "EXCEPTION": (raising(WeirdError(f"GET https://vendor/?{SECRET}")), "the source failed with WeirdError", None),
    "GROUP": (raising(ExceptionGroup(SECRET, [ValueError(SECRET)])), "the source failed with ExceptionGroup", None),
    "CANCELLED": (raising(asyncio.CancelledError(SECRET)), "the source failed with CancelledError", None),
    "SILENT": (saying(), "ended before its last part", None),
    "TEXT": (saying(Answer("text")), "the source failed with", None),  # type: ignore[arg-type]
    "PART2": (saying(Answer(b"[]", part=2)), "gave part 2 where part 1 was due", None),
    "PART0": (saying(Answer(b"[]", part=0)), "gave part 0 where part 1 was due", None),
    "NOTHING": (saying(Answer(b"", status_code=200)), "empty", b""),
    "BLANKS": (saying(Answer(b" \n", status_code=200)), "empty", b" \n"),
    "HTML": (saying(Answer(HTML, status_code=200)), "the answer", HTML),
}
BAD_TICKERS = (*FAILURES, "CUT", "DEFERRED", "EMPTY", "REFUSED")


async def zoo(request: Request) -> AsyncIterator[Answer]:
    """Every way to misbehave, by ticker."""
    others: dict[str, Fetch] = {
        "CUT": cut,
        "DEFERRED": raising(SourceError("The quota is used up until midnight.", kind="deferred", status_code=429)),
        "EMPTY": saying(Answer(b"[]", status_code=200)),
        "REFUSED": without_values,
    }
    fetch = FAILURES[request.ticker][0] if request.ticker in FAILURES else others.get(request.ticker, market)
    async for answer in fetch(request):
        yield answer


async def well_again(request: Request) -> AsyncIterator[Answer]:
    yield Answer(body(prices(request)), status_code=200)


@pytest.mark.parametrize("concurrency", [1, 8])
def test_what_fails_fails_alone_and_is_asked_again(concurrency: int, tmp_path: Path) -> None:
    tickers = ("AAA", *BAD_TICKERS, "BBB")
    context = make_home(tmp_path / "home", Vendor(zoo), tickers=tickers, concurrency=concurrency)
    keys = [key(ticker) for ticker in tickers]
    outcomes = {k.ticker: outcome for k, outcome in run(context, *keys).items()}
    assert_tidy(context)
    assert {outcomes[k.ticker].kind for k in GOOD} == {OutcomeKind.PROMOTED}
    rows = {row.ticker: row for row in ledger(context)}
    for ticker, (_, sentence, kept) in FAILURES.items():
        outcome, row = outcomes[ticker], rows[ticker]
        assert (outcome.kind, outcome.failed_layer) == (OutcomeKind.FAILED, "bronze"), ticker
        assert sentence in outcome.reason
        assert (row.bronze_outcome, row.bronze_error, row.request_complete) == ("failed", outcome.reason, False), ticker
        assert (row.bronze_rows, row.bronze_can_promote) == (0, False)
        assert (bronze_files(context)[row.bronze_filename] if row.bronze_filename else None) == kept, ticker
    assert [rows[t].bronze_status_code for t in ("PERMANENT", "TRANSIENT", "DEFERRED", "HTML")] == [404, 503, 429, 200]
    assert (outcomes["CUT"].kind, outcomes["CUT"].failed_layer) == (OutcomeKind.FAILED, "bronze")
    assert rows["CUT"].bronze_filename is not None
    assert (outcomes["DEFERRED"].kind, outcomes["DEFERRED"].reason) == (
        OutcomeKind.DEFERRED,
        "The quota is used up until midnight.",
    )
    assert rows["DEFERRED"].bronze_outcome == "deferred"
    assert outcomes["EMPTY"].kind is OutcomeKind.EMPTY
    assert (outcomes["REFUSED"].kind, outcomes["REFUSED"].failed_layer) == (OutcomeKind.FAILED, "silver")
    assert "records refused" in outcomes["REFUSED"].reason
    for path in context.settings.home.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()

    # A vendor that is well again is asked for what failed, and for nothing else.
    vendor = Vendor(well_again)
    again = run(asking(context, vendor), *keys)
    assert vendor.windows == sorted((ticker, FIRST, FEBRUARY) for ticker in BAD_TICKERS)
    assert {again[key(ticker)].kind for ticker in BAD_TICKERS} == {OutcomeKind.PROMOTED}
    assert {again[k].kind for k in GOOD} == {OutcomeKind.UP_TO_DATE}
    assert_tidy(context)
    undisturbed = make_home(tmp_path / "undisturbed", Vendor(well_again), tickers=tickers)
    run(undisturbed, *keys)
    assert contents(context) == contents(undisturbed)
    # A file that silver refused stays in the ledger as that, beside the one that came later.
    assert [row for row in latest(context) if row["ticker"] != "REFUSED"] == [
        row for row in latest(undisturbed) if row["ticker"] != "REFUSED"
    ]


def run_with(context: Context, misbehave: Fetch) -> Outcome:
    """A run in which BAD misbehaves: the others are promoted. Gives BAD's outcome."""
    outcomes = run(asking(context, Vendor(bad(misbehave))), *GOOD, BAD)
    assert {outcomes[k].kind for k in GOOD} == {OutcomeKind.PROMOTED}
    assert_tidy(context)
    return outcomes[BAD]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Context:
    context = make_home(tmp_path_factory.mktemp("undisturbed"), tickers=TICKERS)
    run(context, *GOOD, BAD)
    return context


def test_a_part_that_fails_after_another_was_stored(tmp_path: Path) -> None:
    """What came is promoted, but the request does not count, and is asked again as a whole."""

    async def second_fails(request: Request) -> AsyncIterator[Answer]:
        yield Answer(body(prices(request)[:10]), part=1, last=False, status_code=200)
        raise SourceError("Page 2 timed out.", kind="transient", body=b"timeout")

    async def in_pages(request: Request) -> AsyncIterator[Answer]:
        yield Answer(body(prices(request)[:10]), part=1, last=False, status_code=200)
        yield Answer(body(prices(request)[10:]), part=2, status_code=200)

    context = make_home(tmp_path / "home", tickers=TICKERS)
    outcome = run_with(context, second_fails)
    assert (outcome.kind, outcome.failed_layer, outcome.reason) == (OutcomeKind.FAILED, "bronze", "Page 2 timed out.")
    first, second = sorted(outcome.files, key=lambda f: f.request_part)
    assert (first.status, first.silver_counts.created, first.request_complete) == ("promoted", 10, False)
    assert (second.bronze_outcome, second.request_complete) == ("failed", False)
    vendor = Vendor(bad(in_pages))
    context = asking(context, vendor)
    outcome = run(context, *GOOD, BAD)[BAD]
    assert vendor.windows == [("BAD", FIRST, FEBRUARY)]
    assert outcome.kind is OutcomeKind.PROMOTED
    assert {f.request_part: (f.bronze_outcome, f.request_complete) for f in outcome.files} == {
        1: ("stored", True),
        2: ("stored", True),
    }
    run(context, *GOOD, BAD)
    assert vendor.windows == [("BAD", FIRST, FEBRUARY)], "complete now, so not asked again"
    assert_tidy(context)


def test_an_answer_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MAX_PARTS", 20)

    async def endless(request: Request) -> AsyncIterator[Answer]:
        part = 0
        while True:
            part += 1
            yield Answer(body(prices(request)[:5]), part=part, last=False)

    context = make_home(tmp_path / "home", tickers=TICKERS)
    outcome = run_with(context, endless)
    assert outcome.kind is OutcomeKind.FAILED
    assert "has no end" in outcome.reason
    assert len(outcome.files) == 21
    assert not any(f.request_complete for f in outcome.files)


def test_parts_after_the_last_are_not_asked_for(tmp_path: Path) -> None:
    async def talkative(request: Request) -> AsyncIterator[Answer]:
        async for answer in market(request):
            yield answer
        raise WeirdError("asked for more than there is")

    vendor = Vendor(talkative)
    context = make_home(tmp_path / "home", vendor, tickers=TICKERS)
    assert {o.kind for o in run(context, *GOOD, BAD).values()} == {OutcomeKind.PROMOTED}
    assert vendor.open == 0, "a client's generator was left open"


class Stubborn(Vendor):
    async def aclose(self) -> None:
        raise WeirdError("cannot be closed")


def test_a_client_that_cannot_be_closed(tmp_path: Path) -> None:
    context = make_home(tmp_path / "home", Stubborn(market), tickers=TICKERS)
    assert {o.kind for o in run(context, *GOOD).values()} == {OutcomeKind.PROMOTED}


class Iterating:
    """An iterator that is no generator."""

    def __init__(self, answers: list[Answer]) -> None:
        self.answers = answers

    def __aiter__(self) -> Iterating:
        return self

    async def __anext__(self) -> Answer:
        if not self.answers:
            raise StopAsyncIteration
        return self.answers.pop(0)


def test_a_client_of_another_make(tmp_path: Path) -> None:
    vendor = Vendor(market)
    vendor.fetch = lambda request: Iterating([Answer(body(prices(request)))])  # type: ignore[method-assign]
    context = make_home(tmp_path / "home", vendor, tickers=TICKERS)
    assert {o.kind for o in run(context, *GOOD).values()} == {OutcomeKind.PROMOTED}


@pytest.mark.parametrize("at", ["opening", "asking"])
def test_a_client_that_cannot_work_at_all(at: str, tmp_path: Path, undisturbed: Context) -> None:
    """The user has to change something: the run ends with that sentence, and the next one finishes it."""
    context = make_home(tmp_path / "home", tickers=TICKERS)
    sentence = UserError("Set VENDOR_API_KEY.")

    def refuse(*_: object) -> Vendor:
        raise sentence

    broken = replace(context, open_source=refuse) if at == "opening" else asking(context, Vendor(bad(raising(sentence))))
    with pytest.raises(UserError, match="VENDOR_API_KEY"):
        run(broken, *GOOD, BAD)
    run(context, *GOOD, BAD)
    assert_tidy(context)
    assert contents(context) == contents(undisturbed)


def test_a_damaged_file_is_made_whole_when_its_answer_comes_again(tmp_path: Path) -> None:
    context = make_home(tmp_path / "home", tickers=TICKERS)
    run(context, *GOOD, BAD)
    (row,) = ledger(context, "ticker = 'BAD'")
    path = context.store.path(row.bronze_filename or "")
    whole = path.read_bytes()
    path.write_bytes(whole[:40])
    outcomes = run(context, *GOOD, BAD, full=True)
    assert {outcomes[k].kind for k in (*GOOD, BAD)} == {OutcomeKind.UNCHANGED}
    assert path.read_bytes() == whole
