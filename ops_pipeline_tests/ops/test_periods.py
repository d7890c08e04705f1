"""Periods and sessions: the calendar is cut without gap or overlap, and what was answered in time is not asked again."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_pipeline.ops.periods import PeriodAnswers, missing_periods, period_of, periods_between, settled_at
from ops_pipeline.ops.sessions import ExchangeSessions, RuleSessions
from ops_pipeline.ops.watermark import lacking_windows, next_windows, settled_through
from ops_pipeline_tests.lake import recipe
from ops_pipeline_tests.ops.rows import day
from ops_pipeline_tests.ops.test_watermark import spans

DAILY, WEEKDAYS = RuleSessions("daily"), RuleSessions("weekdays")
days = st.dates(date(1990, 1, 1), date(2030, 12, 31))
kinds = st.sampled_from(["year", "quarter", "month"])
WEEK = timedelta(days=7)


@given(kind=kinds, first=days, last=days)
def test_periods_follow_each_other_and_hold_every_day(kind: str, first: date, last: date) -> None:
    periods = periods_between(kind, first, last, DAILY)
    assert bool(periods) == (first <= last)
    for one, next_one in pairwise(periods):
        assert one.to_date + timedelta(days=1) == next_one.from_date
    for period in periods:
        assert period == period_of(kind, period.from_date) == period_of(kind, period.to_date)
        assert (period.to_date - period.from_date).days + 1 in {
            "year": {365, 366}, "quarter": {90, 91, 92}, "month": {28, 29, 30, 31},
        }[kind]  # fmt: skip
    if periods:
        assert periods[0].from_date <= first <= periods[0].to_date
        assert periods[-1].from_date <= last <= periods[-1].to_date


@given(listed=st.sets(st.integers(0, 60)), first=st.integers(-9, 70), last=st.integers(-9, 70))
def test_a_list_of_sessions_agrees_with_looking_at_every_day(listed: set[int], first: int, last: int) -> None:
    sessions = ExchangeSessions("X", tuple(day(k) for k in sorted(listed)), day(0), day(60))
    possible = [k for k in range(first, last + 1) if k in listed or not 0 <= k <= 60]
    assert sessions.any_between(day(first), day(last)) == bool(possible)
    assert sessions.between(day(first), day(last)) == [day(k) for k in possible if 0 <= k <= 60]
    if possible:
        assert sessions.next_from(day(first)) == day(possible[0])
        assert sessions.last_until(day(last)) == day(possible[-1])


@given(first=days, length=st.integers(0, 20))
def test_weekdays_are_a_rule(first: date, length: int) -> None:
    last = first + timedelta(days=length)
    wanted = [d for d in (first + timedelta(days=k) for k in range(length + 1)) if d.weekday() < 5]
    assert WEEKDAYS.between(first, last) == wanted
    assert WEEKDAYS.any_between(first, last) == bool(wanted)
    assert WEEKDAYS.next_from(first).weekday() < 5
    assert WEEKDAYS.last_until(first).weekday() < 5


@given(of=spans(), first=st.integers(-5, 70), end=st.integers(-5, 70), lookback=st.integers(0, 9))
def test_no_window_is_asked_for_holidays_alone(of: list, first: int, end: int, lookback: int) -> None:
    closed = ExchangeSessions("X", (), day(-20), day(200))
    assert next_windows(of, day(first), day(end), calendar=closed) == []
    # A day of the window lacks; what is asked before it is the lookback, and where every day is a session nothing else changes.
    always = ExchangeSessions("X", tuple(day(k) for k in range(-20, 201)), day(-20), day(200))
    found = lacking_windows(of, day(first), day(end), lookback_days=lookback, calendar=always)
    assert [w for w, _ in found] == next_windows(of, day(first), day(end), lookback_days=lookback)
    assert all(w.from_date <= lacks <= w.to_date and (lacks - w.from_date).days <= lookback for w, lacks in found)


@given(after=st.integers(0, 5), moment=st.datetimes(datetime(2020, 1, 1), datetime(2025, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_day_is_settled_from_its_moment_on(after: int, moment: datetime) -> None:
    of = recipe(timezone="America/New_York", settles_at="18:00", settles_after_days=after)
    last = settled_through(of, moment)
    assert settled_at(of, last) <= moment < settled_at(of, last + timedelta(days=1))


MONTHLY = recipe(mode="by_period", period="month", recent_periods=2, cadence="weekly")
MONTHS = periods_between("month", date(2024, 1, 1), date(2024, 4, 10), DAILY)
NOW = datetime(2024, 4, 10, 12, tzinfo=UTC)


def told(at: datetime, data: int = 1) -> PeriodAnswers:
    return PeriodAnswers(1, data, at)


def missing(answers: dict[int, PeriodAnswers], now: datetime = NOW) -> list[int]:
    by_day = {date(2024, month, 1): answer for month, answer in answers.items()}
    return [w.from_date.month for w in missing_periods(MONTHLY, MONTHS, by_day, now)]


def test_what_was_never_answered_is_missing_newest_first() -> None:
    assert missing({}) == [4, 3, 2, 1]
    assert missing({1: told(NOW), 3: told(NOW)}) == [4, 2]
    # Where a period may be empty, an empty answer answers it.
    assert missing({k: told(NOW, data=0) for k in (1, 2, 3, 4)}) == []


def test_the_newest_periods_are_asked_again_by_cadence() -> None:
    answers = {k: told(NOW) for k in (1, 2, 3, 4)}
    assert missing(answers, NOW + timedelta(days=1)) == []
    assert missing(answers, NOW + WEEK) == [4, 3]


def test_a_period_that_was_answered_before_it_was_over_is_asked_again() -> None:
    early, late = datetime(2024, 1, 20, tzinfo=UTC), datetime(2024, 2, 3, tzinfo=UTC)
    rest = {k: told(NOW) for k in (2, 3, 4)}
    assert missing({1: told(early), **rest}) == [1]
    assert missing({1: told(late), **rest}) == []


@pytest.mark.parametrize("expects", [True, False])
def test_an_empty_session_is_missing_where_each_must_have_rows(expects: bool) -> None:
    bulk = recipe(mode="by_period", period="session", every_session=expects)
    session = periods_between("session", date(2024, 4, 9), date(2024, 4, 9), DAILY)
    answers = {date(2024, 4, 9): told(NOW, data=0)}
    assert missing_periods(bulk, session, answers, NOW + WEEK) == (session if expects else [])
