"""Which days count as covered, and how far the watermark may go: laws on generated ledgers, with sets of days as the oracle."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ops_pipeline.ops.ingestion import DatasetInjestion
from ops_pipeline.ops.watermark import Span, good_spans, islands, next_from_date, watermark
from ops_pipeline_tests.ops.rows import (
    DAY,
    PARTITIONS,
    again,
    answered,
    asked,
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

days = st.integers(-5, 65).map(day)


@st.composite
def spans(draw: st.DrawFn) -> list[Span]:
    result = []
    for _ in range(draw(st.integers(0, 7))):
        first, last = sorted(draw(st.tuples(st.integers(0, 60), st.integers(0, 60))))
        result.append(Span(day(first), day(last), day(draw(st.integers(first, last)))))
    return result


def covered(of: list[Span]) -> set[date]:
    return {s.from_date + timedelta(days=k) for s in of for k in range((s.to_date - s.from_date).days + 1)}


def reach(present: set[date], first: date) -> date | None:
    """The last day of the unbroken run that begins on `first`."""
    end = first
    while end in present:
        end += timedelta(days=1)
    return end - timedelta(days=1) if end > first else None


# --- the cover ------------------------------------------------------------------------------------------------------------------


@given(of=spans())
def test_islands_hold_the_same_days_and_are_apart(of: list[Span]) -> None:
    joined = islands(of)
    assert covered(joined) == covered(of)
    assert all(one.to_date + timedelta(days=1) < other.from_date for one, other in pairwise(joined))
    assert islands(joined) == joined
    assert islands(reversed(of)) == joined


@given(of=spans())
def test_an_island_knows_its_first_good_row(of: list[Span]) -> None:
    for island in islands(of):
        assert island.data_from == min(s.data_from for s in of if island.from_date <= s.from_date <= island.to_date)


@given(of=spans(), first=days)
def test_the_watermark_is_the_end_of_the_unbroken_cover_from_the_first_date(of: list[Span], first: date) -> None:
    assert watermark(of, first) == reach(covered(of), first)


@given(of=spans(), first=days, floor=st.none() | days, lookback=st.integers(0, 30))
def test_the_next_from_date_follows_from_the_watermark(of: list[Span], first: date, floor: date | None, lookback: int) -> None:
    start = max(first, floor or first)
    known = reach(covered(of), start)
    asked_from = next_from_date(of, first, lookback_days=lookback, floor=floor)
    if known is None:
        assert asked_from == start
    else:
        assert asked_from == max(start, known + timedelta(days=1 - lookback))
    assert asked_from >= start


@given(of=spans(), more=spans(), first=days)
def test_good_rows_never_move_the_watermark_back(of: list[Span], more: list[Span], first: date) -> None:
    before, after = watermark(of, first), watermark([*of, *more], first)
    assert before is None or (after is not None and after >= before)
    assert next_from_date([*of, *more], first) >= next_from_date(of, first)


@given(of=spans(), first=days, back=st.integers(1, 20))
def test_a_first_date_that_moves_back_makes_the_earlier_days_due(of: list[Span], first: date, back: int) -> None:
    earlier = first - timedelta(days=back)
    assume(earlier not in covered(of))
    assert next_from_date(of, earlier) == earlier


# --- which rows count -----------------------------------------------------------------------------------------------------------

partition = PARTITIONS[0]


def count_by_hand(rows: list[DatasetInjestion]) -> list[Span]:
    """The rule of the ledger's contract, the long way round."""
    healed = {
        r.origin for r in rows if r.promotion_kind != "first" and r.status in ("pending", "promoted") and r.silver_injest_end_time
    }
    requests = defaultdict(list)
    for row in rows:
        if row.promotion_kind == "first":
            requests[row.run_id, row.request_id].append(row)
    result = []
    for parts in requests.values():
        whole = all(p.request_complete for p in parts)
        answers = all(p.bronze_outcome in ("stored", "unchanged", "empty") for p in parts)
        refusals = [p for p in parts if p.silver_errors is not None and p.key not in healed]
        good = [p for p in parts if p.bronze_outcome == "stored" and p.bronze_from_date]
        if whole and answers and not refusals and good:
            first = parts[0].requested_from_date
            assert first is not None
            result.append(
                Span(
                    first,
                    max(p.bronze_to_date for p in good if p.bronze_to_date),
                    min(p.bronze_from_date for p in good if p.bronze_from_date),
                )
            )
    return result


@given(rows=ledgers())
def test_a_request_counts_when_it_is_whole_and_good(rows: list[DatasetInjestion]) -> None:
    assert sorted(good_spans(rows)) == sorted(count_by_hand(rows))
    assert sorted(good_spans(rows[::-1])) == sorted(good_spans(rows))


@given(rows=ledgers(), first=days)
def test_the_watermark_never_passes_the_last_good_row_and_never_a_day_not_asked(
    rows: list[DatasetInjestion], first: date
) -> None:
    known = watermark(good_spans(rows), first)
    if known is not None:
        stored_days = [r.bronze_to_date for r in rows if r.bronze_outcome == "stored" and r.bronze_to_date]
        assert known <= max(stored_days)
        answers = [r for r in rows if r.bronze_outcome == "stored" and r.requested_from_date and r.requested_to_date]
        for k in range((known - first).days + 1):
            today = first + timedelta(days=k)
            assert any(r.requested_from_date <= today <= r.requested_to_date for r in answers)  # type: ignore[operator]


@given(rows=ledgers(), more=answered(partition, "run-more", 5, 30))
def test_a_request_that_ends_badly_or_half_done_moves_nothing(rows: list[DatasetInjestion], more: list[DatasetInjestion]) -> None:
    assume(not count_by_hand(more))
    assert islands(good_spans([*rows, *more])) == islands(good_spans(rows))


@pytest.mark.parametrize(
    "bad",
    [
        asked,
        failed,
        deferred,
        empty,
        unchanged,
        lambda run, **of: refused(stored(run, **of)),
        lambda run, **of: stored(run, data=None, rows=5, **of),  # records, and no session of them is settled
        lambda run, **of: stored(run, complete=False, **of),
    ],
    ids=["asked", "failed", "deferred", "empty", "unchanged", "refused by silver", "unsettled", "incomplete"],
)
def test_nothing_but_good_rows_moves_the_watermark(bad: Callable[..., DatasetInjestion]) -> None:
    before = [stored("run-1", data=(0, 9), last=9)]
    after = [*before, bad("run-2", first=10, last=19)]
    assert watermark(good_spans(before), DAY) == watermark(good_spans(after), DAY) == day(9)
    assert next_from_date(good_spans(after), DAY) == day(10)


def test_an_error_inside_a_covered_span_takes_nothing_back() -> None:
    rows = [stored("run-1"), failed("run-2"), refused(stored("run-3"))]
    assert watermark(good_spans(rows), DAY) == day(9)


def test_only_the_settled_part_of_an_answer_counts() -> None:
    row = stored(data=(0, 6), last=9)
    assert row.requested_to_date == day(9)
    assert watermark(good_spans([row]), DAY) == day(6)


def test_days_before_the_first_good_row_count_as_asked() -> None:
    row = stored(data=(5, 9))
    assert good_spans([row]) == [Span(DAY, day(9), day(5))]
    assert watermark(good_spans([row]), DAY) == day(9)


def test_a_part_that_is_missing_holds_the_whole_request() -> None:
    first, second = stored(part=1, data=(5, 9)), stored(part=2, data=(0, 4))
    assert watermark(good_spans([first, second]), DAY) == day(9)
    for late in (asked(part=2), failed(part=2), refused(stored(part=2, data=(0, 4)))):
        assert watermark(good_spans([first, late]), DAY) is None
    second.request_complete = False
    assert watermark(good_spans([first, second]), DAY) is None


def test_an_empty_or_unchanged_part_does_not_spoil_the_others() -> None:
    for more in (empty(part=2), unchanged(part=2)):
        assert watermark(good_spans([stored(part=1, data=(0, 4)), more]), DAY) == day(4)


def test_the_same_request_in_two_runs_is_two_requests() -> None:
    half = [stored("run-1", part=1), failed("run-1", part=2)]
    assert good_spans(half) == []
    assert good_spans([*half, stored("run-2", part=1)]) == [Span(DAY, day(9), DAY)]


def test_a_later_request_counts_only_behind_the_earlier_one() -> None:
    rows = [stored("run-1", first=0, last=9, data=(0, 9)), stored("run-3", first=15, last=19, data=(15, 19))]
    assert watermark(good_spans(rows), DAY) == day(9)
    rows.append(stored("run-4", first=10, last=15, data=(10, 15)))
    assert watermark(good_spans(rows), DAY) == day(19)


def test_a_refusal_that_a_later_promotion_healed_counts_again() -> None:
    bad = refused(stored())
    assert good_spans([bad]) == []
    copy = again(bad, "run-2")
    assert good_spans([bad, copy]) == []  # begun and not finished
    assert good_spans([bad, refused(again(bad, "run-2"))]) == []
    assert good_spans([bad, merged(again(bad, "run-2"))]) == [Span(DAY, day(9), DAY)]
    assert good_spans([bad, merged(again(stored("run-9"), "run-2"))]) == []  # healed another run's file


def test_a_later_promotion_alone_covers_nothing() -> None:
    assert good_spans([merged(again(stored(), "run-2", kind="replay"))]) == []
