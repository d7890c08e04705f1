"""Answers that were stored before: the same bytes again change nothing, and are told from bytes that only were the latest once.

Belongs here: what counts as `unchanged`. Does not belong here: vendors that misbehave (`test_sources`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import date
from pathlib import Path

from ops_pipeline.engine.context import Context
from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.sources import Answer, Request
from ops_pipeline_tests.engine.home import (
    assert_tidy,
    bronze_files,
    contents,
    key,
    ledger,
    make_home,
    prices_recipe,
    run,
)
from ops_pipeline_tests.engine.vendor import Fetch, Vendor, body


def saying(*answers: Answer) -> Fetch:
    async def said(_: Request) -> AsyncIterator[Answer]:
        for answer in answers:
            yield answer

    return said


def changes(context: Context) -> object:
    """Silver and gold with every column: what even an update that changes no value would show in."""
    return contents(context, lineage=True)


def test_the_same_bytes_again(tmp_path: Path) -> None:
    context = make_home(tmp_path, tickers=("AAA", "PAGED", "EMPTY"))
    run(context)
    before = changes(context)
    for _ in range(2):
        outcomes = run(context, full=True)
        assert outcomes[key("AAA")].kind is OutcomeKind.UNCHANGED
        assert [f.bronze_outcome for f in outcomes[key("AAA")].files] == ["unchanged"]
        assert outcomes[key("PAGED")].kind is OutcomeKind.UNCHANGED
        assert outcomes[key("EMPTY")].kind is OutcomeKind.EMPTY
        assert changes(context) == before
        # An unchanged payload moves nothing, and nothing moves back.
        assert {p: o.kind for p, o in run(context).items() if p.ticker != "EMPTY"} == dict.fromkeys(
            (p for p in outcomes if p.ticker != "EMPTY"), OutcomeKind.UP_TO_DATE
        )
    assert_tidy(context)


def test_the_same_bytes_by_another_recipe_are_merged_again(tmp_path: Path) -> None:
    """`unchanged` is a matter of the recipe, too, and stays so over a row that was unchanged itself."""
    before = make_home(tmp_path, recipes=[prices_recipe()], tickers=["AAA"])
    for expected in ("stored", "unchanged", "unchanged"):
        (outcome,) = run(before, full=True).values()
        assert [f.bronze_outcome for f in outcome.files] == [expected]
    after = make_home(tmp_path, recipes=[prices_recipe(max_reject_share=0.2)], tickers=["AAA"])
    for expected in ("stored", "unchanged"):
        (outcome,) = run(after, full=True).values()
        assert [f.bronze_outcome for f in outcome.files] == [expected]
        assert outcome.kind is OutcomeKind.UNCHANGED


def test_a_then_b_then_a_again(tmp_path: Path) -> None:
    """The same bytes as an earlier file's are not those of the latest."""
    closes = iter((1.0, 2.0, 1.0, 1.0))

    async def moody(request: Request) -> AsyncIterator[Answer]:
        yield Answer(body([{"date": "2024-01-02", "close": next(closes), "volume": 1, "adjClose": 1.0}]))

    context = make_home(tmp_path, Vendor(moody), tickers=["AAA"])
    kinds = [run(context, key(), full=True)[key()].kind for _ in range(4)]
    assert kinds == [OutcomeKind.PROMOTED] * 3 + [OutcomeKind.UNCHANGED]
    assert len(bronze_files(context)) == 2
    with context.warehouse.reading() as connection:
        assert connection.execute("SELECT close FROM silver.vendor_prices").fetchall() == [(1.0,)]
        history = connection.execute("SELECT close, operation FROM silver.vendor_prices_history ORDER BY known_at").fetchall()
    assert history == [(1.0, "C"), (2.0, "U"), (1.0, "U")]


def test_a_file_recorded_meanwhile_by_another_run_counts(tmp_path: Path) -> None:
    """Between planning and recording another run stores something else: then the answer is not the latest once more."""
    answers: list[Callable[[], object]] = []
    day = date(2024, 1, 2)

    def record(close: float) -> bytes:
        return body([{"date": day.isoformat(), "close": close, "volume": 1, "adjClose": 1.0}])

    async def answered(request: Request) -> AsyncIterator[Answer]:
        if answers:
            await asyncio.to_thread(answers.pop())
        yield Answer(record(1.0))

    context = make_home(tmp_path, Vendor(answered), tickers=["AAA"])
    run(context, key(), full=True)
    other = make_home(tmp_path, Vendor(saying(Answer(record(2.0)))), tickers=["AAA"])
    answers.append(lambda: run(other, key(), full=True))
    outcome = run(context, key(), full=True)[key()]
    assert (outcome.kind, [f.bronze_outcome for f in outcome.files]) == (OutcomeKind.PROMOTED, ["stored"])
    assert [row.silver_rows_updated for row in ledger(context)] == [0, 1, 1]
    with context.warehouse.reading() as connection:
        assert connection.execute("SELECT close FROM silver.vendor_prices").fetchall() == [(1.0,)]
