"""What a gap is: covered days, calendars and holes, against counting day by day."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_pipeline.ops.gaps import MOST_HOLES, Gap, GapKind, gaps_of, hole_windows
from ops_pipeline.ops.sessions import ExchangeSessions, RuleSessions, Sessions
from ops_pipeline.ops.watermark import Span, Window, islands

START, END = date(2024, 1, 1), date(2024, 2, 29)


def days_between(first: date, last: date) -> list[date]:
    return [first + timedelta(days=k) for k in range((last - first).days + 1)]


DAYS = days_between(START, END)
CALENDARS: list[Sessions] = [
    RuleSessions("daily"),
    RuleSessions("weekdays"),
    ExchangeSessions("XAAA", tuple(d for d in DAYS if d.weekday() < 5 and d.day % 9), START, END),
]
spans = st.lists(st.tuples(st.integers(0, 59), st.integers(0, 20)), max_size=4).map(
    lambda found: islands(Span(DAYS[a], DAYS[min(a + n, 59)], DAYS[a]) for a, n in found)
)


@pytest.mark.parametrize("sessions", CALENDARS, ids=lambda s: s.name)
@given(first=st.integers(0, 59), length=st.integers(-3, 59))
def test_sessions_are_counted_as_one_by_one(sessions: Sessions, first: int, length: int) -> None:
    last = DAYS[first] + timedelta(days=length)
    assert sessions.count(DAYS[first], last) == len(sessions.between(DAYS[first], last))


@pytest.mark.parametrize("sessions", CALENDARS, ids=lambda s: s.name)
@given(covered=spans, hole=st.none() | st.sampled_from(DAYS))
def test_a_gap_is_every_session_that_nothing_has_and_no_other(sessions: Sessions, covered: list[Span], hole: date | None) -> None:
    holes = [Gap(hole, hole, 1, GapKind.HOLE)] if hole and sessions.between(hole, hole) else []
    found = gaps_of(covered, START, END, sessions, holes)
    lacking = {day for gap in found for day in sessions.between(gap.from_date, gap.to_date)}
    stored = {day for span in covered for day in days_between(span.from_date, span.to_date)} - {h.from_date for h in holes}
    assert lacking == set(sessions.between(START, END)) - stored
    assert sum(gap.sessions for gap in found) == len(lacking), "a session was counted twice"
    assert found == sorted(found)


def test_kinds_tell_where_a_gap_lies() -> None:
    covered = [Span(DAYS[10], DAYS[12], DAYS[10]), Span(DAYS[20], DAYS[22], DAYS[20])]
    kinds = [gap.kind for gap in gaps_of(covered, START, END, CALENDARS[0])]
    assert kinds == [GapKind.BEGINNING, GapKind.HOLE, GapKind.END]
    assert [gap.kind for gap in gaps_of([], START, END, CALENDARS[0])] == [GapKind.ALL]


def test_many_holes_are_asked_for_as_one_window_and_few_with_their_overlap() -> None:
    covered = [Span(START, END, START)]
    holes = [Gap(day, day, 1, GapKind.HOLE) for day in DAYS[5 : 5 + 2 * MOST_HOLES : 2]]
    few = hole_windows(holes, covered, START, END, 3)
    assert few[0] == (Window(DAYS[2], DAYS[5]), DAYS[5])
    assert len(few) == MOST_HOLES
    more = [*holes, Gap(DAYS[40], DAYS[41], 2, GapKind.HOLE)]
    assert hole_windows(more, covered, START, END, 3) == [(Window(DAYS[2], DAYS[41]), DAYS[5])]
    # Where covered days end at the hole, the ordinary windows ask for it; what is not expected is not asked for.
    assert hole_windows(holes[:1], [Span(START, DAYS[5], START)], START, DAYS[4], 3) == []
    assert hole_windows(holes[:1], [Span(START, DAYS[4], START), Span(DAYS[6], END, DAYS[6])], START, END, 3) == []
