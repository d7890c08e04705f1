"""When a session is final, across time zones and clocks that change, and when a dataset without watermark is due."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_pipeline.ops.watermark import cadence_period, due_by_cadence, last_expected, settled_through
from ops_pipeline.recipes.models import Recipe
from ops_pipeline_tests.ops.rows import recipe

# The last two change their clocks at midnight, and once did so from the day after back to the day before.
ZONES = (
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Kathmandu",
    "Pacific/Kiritimati",
    "Pacific/Niue",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "America/St_Johns",
)
moments = st.datetimes(datetime(1999, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds
settling = st.builds(
    lambda zone, at, days: recipe(timezone=zone, settles_at=at, settles_after_days=days),
    st.sampled_from(ZONES),
    st.sampled_from([time(0, 0), time(0, 30), time(1, 30), time(2, 30), time(16, 0), time(23, 59)]),
    st.integers(0, 3),
)


@given(of=settling, now=moments, seconds=st.integers(0, 3 * 86_400))
def test_what_is_settled_stays_settled(of: Recipe, now: datetime, seconds: int) -> None:
    assert settled_through(of, now) <= settled_through(of, now + timedelta(seconds=seconds))


@given(zone=st.sampled_from(ZONES), at=st.sampled_from([time(0, 0), time(1, 30), time(23, 59)]), year=st.integers(2000, 2025))
def test_what_is_settled_stays_settled_through_every_change_of_the_clocks(zone: str, at: time, year: int) -> None:
    of, place = recipe(timezone=zone, settles_at=at), ZoneInfo(zone)
    hours = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(hours=h) for h in range(366 * 24)]
    for before, after in pairwise(hours):
        if before.astimezone(place).utcoffset() != after.astimezone(place).utcoffset():
            steps = [before + timedelta(minutes=m) for m in range(-180, 240, 10)]
            days = [settled_through(of, moment) for moment in steps]
            assert days == sorted(days)


@given(of=settling, now=moments)
def test_a_session_is_settled_from_its_hour_on(of: Recipe, now: datetime) -> None:
    last = settled_through(of, now)
    zone = ZoneInfo(of.timezone)

    def final(session: date) -> datetime:
        day = session + timedelta(days=of.settles_after_days)
        return datetime.combine(day, of.settles_at, zone).astimezone(UTC)

    assert final(last) <= now < final(last + timedelta(days=1))


@pytest.mark.parametrize(
    ("zone", "at", "after", "now", "settled"),
    [
        ("America/New_York", time(18), 0, datetime(2024, 1, 10, 22, 59, tzinfo=UTC), date(2024, 1, 9)),
        ("America/New_York", time(18), 0, datetime(2024, 1, 10, 23, 0, tzinfo=UTC), date(2024, 1, 10)),
        ("America/New_York", time(18), 0, datetime(2024, 7, 10, 21, 59, tzinfo=UTC), date(2024, 7, 9)),
        ("America/New_York", time(18), 0, datetime(2024, 7, 10, 22, 0, tzinfo=UTC), date(2024, 7, 10)),
        ("America/New_York", time(9), 1, datetime(2024, 7, 10, 12, 59, tzinfo=UTC), date(2024, 7, 8)),
        ("America/New_York", time(9), 1, datetime(2024, 7, 10, 13, 0, tzinfo=UTC), date(2024, 7, 9)),
        ("Europe/Berlin", time(16, 30), 0, datetime(2024, 7, 10, 14, 30, tzinfo=UTC), date(2024, 7, 10)),
        ("Asia/Tokyo", time(16), 0, datetime(2024, 7, 10, 6, 59, tzinfo=UTC), date(2024, 7, 9)),
        ("Asia/Tokyo", time(16), 0, datetime(2024, 7, 10, 7, 0, tzinfo=UTC), date(2024, 7, 10)),
        # Ahead of UTC by 14 hours: the session of the 11th ends there while the 10th goes on in London.
        ("Pacific/Kiritimati", time(18), 0, datetime(2024, 7, 11, 4, 0, tzinfo=UTC), date(2024, 7, 11)),
        ("UTC", time(0), 0, datetime(2024, 7, 10, 0, 0, tzinfo=UTC), date(2024, 7, 10)),
        # The half hour after one comes twice on this morning; the first one counts.
        ("America/New_York", time(1, 30), 0, datetime(2024, 11, 3, 5, 45, tzinfo=UTC), date(2024, 11, 3)),
        ("America/New_York", time(1, 30), 0, datetime(2024, 11, 3, 6, 10, tzinfo=UTC), date(2024, 11, 3)),
        # Half past two does not exist on this morning.
        ("America/New_York", time(2, 30), 0, datetime(2024, 3, 10, 7, 29, tzinfo=UTC), date(2024, 3, 9)),
        ("America/New_York", time(2, 30), 0, datetime(2024, 3, 10, 7, 30, tzinfo=UTC), date(2024, 3, 10)),
    ],
)
def test_settled_through(zone: str, at: time, after: int, now: datetime, settled: date) -> None:
    assert settled_through(recipe(timezone=zone, settles_at=at, settles_after_days=after), now) == settled
    # The caller's own zone does not matter.
    assert (
        settled_through(recipe(timezone=zone, settles_at=at, settles_after_days=after), now.astimezone(ZoneInfo(zone))) == settled
    )


def test_a_pretended_day_is_over_in_every_zone() -> None:
    now, day = datetime(2024, 7, 10, tzinfo=UTC), date(2010, 6, 30)
    for zone in ZONES:
        assert settled_through(recipe(timezone=zone, settles_at=time(23, 59)), now, day) == day
        assert settled_through(recipe(timezone=zone, settles_after_days=2), now, day) == date(2010, 6, 28)


def test_nothing_is_expected_behind_the_last_date() -> None:
    now = datetime(2024, 7, 10, tzinfo=UTC)
    assert last_expected(recipe(last_date=date(2013, 3, 1)), now) == date(2013, 3, 1)
    assert last_expected(recipe(last_date=date(2013, 3, 1)), now, date(2010, 6, 30)) == date(2010, 6, 30)
    assert last_expected(recipe(last_date=None), now, date(2010, 6, 30)) == date(2010, 6, 30)
    assert last_expected(recipe(last_date=None, timezone="UTC", settles_at=time(0)), now) == date(2024, 7, 10)


# --- cadence --------------------------------------------------------------------------------------------------------------------

dates = st.dates(date(2000, 1, 1), date(2030, 12, 31))


@given(one=dates, other=dates)
def test_periods_are_what_a_calendar_says(one: date, other: date) -> None:
    def same(cadence: str) -> bool:
        return cadence_period(cadence, one) == cadence_period(cadence, other)

    assert same("daily") == (one == other)
    assert same("weekly") == (one - timedelta(days=one.weekday()) == other - timedelta(days=other.weekday()))
    assert same("monthly") == (one.replace(day=1) == other.replace(day=1))
    assert same("quarterly") == ((one.year, (one.month + 2) // 3) == (other.year, (other.month + 2) // 3))


@given(one=dates, other=dates, cadence=st.sampled_from(["daily", "weekly", "monthly", "quarterly"]))
def test_periods_follow_each_other(one: date, other: date, cadence: str) -> None:
    if one <= other:
        assert cadence_period(cadence, one) <= cadence_period(cadence, other)


def test_a_week_over_new_year_is_one_period() -> None:
    assert cadence_period("weekly", date(2024, 12, 30)) == cadence_period("weekly", date(2025, 1, 5)) == (2025, 1)


def test_an_unknown_cadence_is_an_error() -> None:
    with pytest.raises(ValueError, match="'hourly'"):
        cadence_period("hourly", date(2024, 1, 1))


def test_a_dataset_is_due_once_a_period_of_its_own_zone() -> None:
    tokyo = recipe(timezone="Asia/Tokyo", cadence="daily")
    answered = datetime(2024, 7, 10, 14, 59, tzinfo=UTC)  # 23:59 in Tokyo
    assert due_by_cadence(tokyo, None, answered)
    assert not due_by_cadence(tokyo, answered, answered)
    assert due_by_cadence(tokyo, answered, answered + timedelta(minutes=1))
    weekly = recipe(timezone="Asia/Tokyo", cadence="weekly")
    assert not due_by_cadence(weekly, answered, answered + timedelta(days=4))
    assert due_by_cadence(weekly, answered, datetime(2024, 7, 14, 15, 0, tzinfo=UTC))  # Monday in Tokyo


def test_a_pretended_day_decides_what_is_due() -> None:
    of = recipe(timezone="UTC", cadence="monthly")
    answered = datetime(2024, 7, 10, tzinfo=UTC)
    assert not due_by_cadence(of, answered, datetime(2024, 9, 1, tzinfo=UTC), date(2024, 7, 31))
    assert due_by_cadence(of, answered, answered, date(2024, 8, 1))
