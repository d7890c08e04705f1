"""What failed last, and what is left of a run, from ledgers put together row by row."""

from __future__ import annotations

import pytest
from hypothesis import given

from ops_pipeline.ops.failures import latest_failures, left_of
from ops_pipeline.ops.ingestion import DatasetInjestion, Stage
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.ops.watermark import Window
from ops_pipeline.recipes.models import NO_TICKER
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline_tests.ops.rows import (
    again,
    asked,
    at,
    built,
    day,
    deferred,
    empty,
    failed,
    ledgers,
    merged,
    refused,
    stored,
    unchanged,
)

AAPL = PartitionKey("AAPL", "sample.eod-prices")


def done(run: str, **of: object) -> DatasetInjestion:
    """A file that went all the way."""
    return built(merged(stored(run, **of)))  # type: ignore[arg-type]


def put(repo: OpsRepo, *rows: DatasetInjestion) -> None:
    for row in rows:
        if row.bronze_outcome in ("failed", "deferred") and row.bronze_injest_start_time:
            row.bronze_injest_end_time = row.bronze_injest_start_time
    repo.upsert(rows, Stage.BRONZE)


def failures(repo: OpsRepo) -> list[tuple[str, str, str, bool]]:
    return [(f.partition.ticker, f.layer, f.run_id, f.deferred) for f in latest_failures(repo.connection)]


def left(repo: OpsRepo, run: str) -> dict[str, list[tuple[int, int] | None]]:
    """Ticker -> windows as offsets from the first day."""
    found = left_of(repo.connection, run)
    return {
        p.ticker: [w and ((w.from_date - day(0)).days, (w.to_date - day(0)).days) for w in windows]
        for p, windows in found.items()
    }


# --- what failed last -----------------------------------------------------------------------------------------------------------


def test_each_layer_and_who_failed_it(repo: OpsRepo) -> None:
    gold = merged(stored("c", ticker="GOLD"), run="d")
    gold.gold_run_id, gold.gold_errors, gold.gold_injest_end_time = "e", "not a number", at(30)
    rows = [failed("a", ticker="BRONZE"), refused(stored("a", ticker="SILVER"), run="b"), gold, deferred("a", ticker="QUOTA")]
    put(repo, *rows, done("a", ticker="GOOD"), empty("a", ticker="EMPTY"), asked("a", ticker="ASKED"))
    assert failures(repo) == [
        ("BRONZE", "bronze", "a", False),
        ("GOLD", "gold", "e", False),
        ("QUOTA", "bronze", "a", True),
        ("SILVER", "silver", "b", False),
    ]
    reasons = {f.partition.ticker: (f.reason, f.at) for f in latest_failures(repo.connection)}
    assert reasons["BRONZE"] == ("the source said no", at(0))
    assert reasons["SILVER"] == ("refused", at(11))
    assert reasons["GOLD"] == ("not a number", at(30))
    assert len(latest_failures(repo.connection, limit=1)) == 1


@pytest.mark.parametrize("good", [done, unchanged, empty, stored])
def test_only_the_latest_attempt_counts(repo: OpsRepo, good: object) -> None:
    put(repo, failed("a"), good("b", minute=5))  # type: ignore[operator]
    assert failures(repo) == []
    put(repo, failed("c", minute=10))
    assert failures(repo) == [("AAPL", "bronze", "c", False)]


def test_a_file_that_was_healed_failed_no_more(repo: OpsRepo) -> None:
    row = refused(stored("a"))
    put(repo, row)
    assert failures(repo) == [("AAPL", "silver", "a", False)]
    put(repo, merged(again(row, "b"), minute=50))
    assert failures(repo) == []


def test_a_request_that_another_run_got_an_answer_to_meanwhile_is_none(repo: OpsRepo) -> None:
    late = failed("a")
    late.bronze_injest_end_time = at(5)
    repo.upsert([late, done("b", minute=1)], Stage.BRONZE)
    assert failures(repo) == []
    narrow = failed("a", ticker="NARROW")
    narrow.bronze_injest_end_time = at(5)
    repo.upsert([narrow, done("b", ticker="NARROW", last=8, minute=1)], Stage.BRONZE)
    put(repo, failed("a", ticker="BEFORE", minute=3), done("b", ticker="BEFORE", minute=0))
    assert failures(repo) == [("BEFORE", "bronze", "a", False), ("NARROW", "bronze", "a", False)]


def test_what_a_dead_run_had_not_seen_recorded_yet_is_no_failure(repo: OpsRepo) -> None:
    """Answered at minute 1, recorded a moment later: the run that asked in between died."""
    dead = asked("a", minute=1.2)
    dead.bronze_unanswered("it died")
    assert dead.bronze_injest_end_time == at(1.2)
    put(repo, dead, done("b"))
    assert failures(repo) == []
    dead = asked("c", minute=9)
    dead.bronze_unanswered("it died")
    put(repo, dead)
    assert failures(repo) == [("AAPL", "bronze", "c", False)]


# --- what is left of a run ------------------------------------------------------------------------------------------------------


def test_what_had_no_good_end_is_left(repo: OpsRepo) -> None:
    gold = merged(stored("a", ticker="GOLD"))
    put(
        repo,
        *(failed("a", ticker="F", first=3, last=7), deferred("a", ticker="D"), asked("a", ticker="A"), gold),
        *(refused(stored("a", ticker="S")), stored("a", ticker="WAITS"), done("a", ticker="GOOD"), unchanged("a", ticker="U")),
        *(empty("a", ticker="E"), failed("b", ticker="OTHER")),
    )
    ten = [(0, 9)]
    assert left(repo, "a") == {"F": [(3, 7)], "D": ten, "A": ten, "S": ten, "GOLD": [], "WAITS": []}
    assert left(repo, "b") == {"OTHER": ten}
    assert left(repo, "c") == {}


def test_a_run_that_only_promoted_answers_for_what_it_promoted(repo: OpsRepo) -> None:
    put(repo, refused(stored("a"), run="b"))
    assert left(repo, "b") == {"AAPL": [(0, 9)]}


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ([(0, 9)], {}),
        ([(0, 12)], {}),
        ([(0, 5), (6, 12)], {}),
        ([(0, 5)], {"AAPL": [(0, 9)]}),
        ([(2, 20)], {"AAPL": [(0, 9)]}),
        ([(0, 4), (6, 9)], {"AAPL": [(0, 9)]}),
    ],
)
def test_what_later_runs_got_is_not_left(
    repo: OpsRepo, later: list[tuple[int, int]], expected: dict[str, list[tuple[int, int]]]
) -> None:
    put(repo, failed("a"), *(done(f"b{i}", first=f, last=t, minute=5) for i, (f, t) in enumerate(later)))
    assert left(repo, "a") == expected


def test_what_was_there_before_the_run_asked_again_is_left(repo: OpsRepo) -> None:
    put(repo, done("before", minute=-5), failed("a", minute=0))
    assert left(repo, "a") == {"AAPL": [(0, 9)]}


@pytest.mark.parametrize("bad", [failed, deferred, asked])
def test_a_later_attempt_in_vain_helps_nothing(repo: OpsRepo, bad: object) -> None:
    put(repo, failed("a"), bad("b", minute=5), refused(stored("c", minute=6)))  # type: ignore[operator]
    put(repo, stored("d", part=1, complete=False, minute=7))
    assert left(repo, "a") == {"AAPL": [(0, 9)]}


def test_one_bad_part_leaves_the_whole_request(repo: OpsRepo) -> None:
    put(repo, done("a", part=1, complete=False), failed("a", part=2), failed("a", first=20, last=29))
    assert left(repo, "a") == {"AAPL": [(0, 9), (20, 29)]}


def test_a_request_without_dates(repo: OpsRepo) -> None:
    row = failed("a", ticker=NO_TICKER)
    row.requested_from_date = row.requested_to_date = None
    put(repo, row)
    assert left(repo, "a") == {NO_TICKER: [None]}
    answer = stored("b", ticker=NO_TICKER, minute=5)
    answer.requested_from_date = answer.requested_to_date = None
    put(repo, answer)
    assert left(repo, "a") == {}


def test_a_healed_file_is_not_left(repo: OpsRepo) -> None:
    row = refused(stored("a"))
    put(repo, row, merged(again(row, "b"), minute=50))
    assert left(repo, "a") == {}


@given(ledgers())
def test_asking_for_what_is_left_leaves_nothing(shared: OpsRepo, rows: list[DatasetInjestion]) -> None:
    shared.connection.execute("BEGIN")
    try:
        shared.upsert(rows, Stage.BRONZE)
        for run in ("run-1", "run-2", "run-3"):
            windows = [w for w in left_of(shared.connection, run).get(AAPL, []) if isinstance(w, Window)]
            begun = {(r.requested_from_date, r.requested_to_date) for r in rows if r.run_id == run}
            assert {(w.from_date, w.to_date) for w in windows} <= begun
            offsets = [((w.from_date - day(0)).days, (w.to_date - day(0)).days) for w in windows]
            shared.upsert(
                [done(f"{run}-again", first=f, last=t, data=(f, t), minute=100) for f, t in dict.fromkeys(offsets)], Stage.BRONZE
            )
            assert left_of(shared.connection, run).get(AAPL, []) == []
    finally:
        shared.connection.execute("ROLLBACK")
