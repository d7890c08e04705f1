"""What is asked next: exactly the missing days, each hole once, and an end to asking."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_pipeline.ops.ingestion import DatasetInjestion
from ops_pipeline.ops.watermark import (
    Span,
    Window,
    expected_sessions,
    good_spans,
    islands,
    next_from_date,
    next_windows,
    start_date,
)
from ops_pipeline_tests.ops.rows import DAY, day, empty, stored
from ops_pipeline_tests.ops.test_watermark import covered, spans

days = st.integers(-5, 70).map(day)


def between(first: date, last: date) -> set[date]:
    return {first + timedelta(days=k) for k in range((last - first).days + 1)}


def inside(windows: list[Window]) -> set[date]:
    return set().union(*(between(w.from_date, w.to_date) for w in windows))


@given(of=spans(), first=days, end=days, floor=st.none() | days)
def test_windows_ask_for_every_missing_day_and_close_each_hole_on_its_first_row(
    of: list[Span], first: date, end: date, floor: date | None
) -> None:
    windows = next_windows(of, first, end, floor=floor)
    start = start_date(first, floor)
    present = covered(of)
    assert inside(windows) >= between(start, end) - present
    for window in windows:
        assert start <= window.from_date <= window.to_date <= end
        assert window.from_date not in present
        # What is asked again is what lies between a hole and the first good row behind it.
        for known in between(window.from_date, window.to_date) & present:
            island = next(i for i in islands(of) if i.from_date <= known <= i.to_date)
            assert known <= island.data_from
            assert window.to_date == min(island.data_from, end)


@given(of=spans(), first=days, end=days, lookback=st.integers(0, 20), floor=st.none() | days)
def test_the_first_window_begins_on_the_next_from_date(
    of: list[Span], first: date, end: date, lookback: int, floor: date | None
) -> None:
    windows = next_windows(of, first, end, lookback_days=lookback, floor=floor)
    if windows:
        assert windows[0].from_date == next_from_date(of, first, lookback_days=lookback, floor=floor)
    plain = next_windows(of, first, end, floor=floor)
    assert [w.to_date for w in windows] == [w.to_date for w in plain]
    for wide, narrow in zip(windows, plain, strict=True):
        start = start_date(first, floor)
        assert wide.from_date == max(start, narrow.from_date - timedelta(days=lookback))


@given(of=spans(), first=days, end=days)
def test_weekends_alone_are_not_asked_for_at_the_end(of: list[Span], first: date, end: date) -> None:
    daily, weekdays = next_windows(of, first, end), next_windows(of, first, end, calendar="weekdays")
    assert weekdays == daily or weekdays == daily[:-1]
    if weekdays != daily:
        assert all(d.weekday() >= 5 for d in between(daily[-1].from_date, daily[-1].to_date))


@given(first=days, last=days, calendar=st.sampled_from(["daily", "weekdays"]))
def test_expected_sessions_agrees_with_counting(first: date, last: date, calendar: str) -> None:
    counted = [d for d in between(first, last) if calendar == "daily" or d.weekday() < 5]
    assert expected_sessions(calendar, first, last) == bool(counted)


def test_a_hole_behind_the_day_that_is_pretended_is_still_asked() -> None:
    of = [Span(day(0), day(9), day(0)), Span(day(40), day(50), day(40))]
    assert next_windows(of, DAY, day(20)) == [Window(day(10), day(20))]
    assert next_windows([Span(day(0), day(9), day(0)), Span(day(15), day(50), day(30))], DAY, day(20)) == [
        Window(day(10), day(20))
    ]
    assert next_windows(of, DAY, day(60)) == [Window(day(10), day(40)), Window(day(51), day(60))]


def test_nothing_is_asked_before_the_floor() -> None:
    assert next_windows([], DAY, day(20), floor=day(15)) == [Window(day(15), day(20))]
    assert next_windows([Span(day(0), day(9), day(0))], DAY, day(20), floor=day(15)) == [Window(day(15), day(20))]
    assert next_windows([], DAY, day(20), floor=day(-100)) == [Window(DAY, day(20))]
    assert next_windows([], DAY, day(10), floor=day(15)) == []


@pytest.mark.parametrize("lookback", [1, 5, 400])
def test_the_lookback_reaches_back_from_the_next_from_date_and_not_before_the_start(lookback: int) -> None:
    of = [Span(day(0), day(9), day(0))]
    assert next_windows(of, DAY, day(12), lookback_days=lookback) == [Window(day(max(0, 10 - lookback)), day(12))]
    assert next_windows(of, DAY, day(9), lookback_days=lookback) == []


# --- a vendor that answers ------------------------------------------------------------------------------------------------------


class Vendor:
    """Has rows on some days, for ever the same."""

    def __init__(self, has: frozenset[int]) -> None:
        self.has = has
        self.asked = 0

    def answer(self, window: Window) -> DatasetInjestion:
        self.asked += 1
        first, last = (window.from_date - DAY).days, (window.to_date - DAY).days
        found = [d for d in self.has if first <= d <= last]
        run = f"run-{self.asked}"
        if not found:
            return empty(run, first=first, last=last)
        return stored(run, first=first, last=last, rows=len(found), data=(min(found), max(found)))


@settings(max_examples=200)
@given(
    has=st.frozensets(st.integers(0, 60)),
    history=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=4),
    first=st.integers(-10, 40),
    lookback=st.integers(0, 7),
    calendar=st.sampled_from(["daily", "weekdays"]),
)
def test_one_round_of_asking_closes_every_hole(
    has: frozenset[int], history: list[tuple[int, int]], first: int, lookback: int, calendar: str
) -> None:
    """Whatever was asked before, in whatever order, and wherever the first date has moved since."""
    vendor = Vendor(has)
    rows = [vendor.answer(Window(day(min(w)), day(max(w)))) for w in history]
    end = day(60)

    def due() -> list[Window]:
        return next_windows(good_spans(rows), day(first), end, lookback_days=lookback, calendar=calendar)

    rows += [vendor.answer(w) for w in due()]
    left = due()
    # What may be left is the tail behind the last row that the vendor has: it is due again when sessions are expected there.
    assert len(left) <= 1
    behind = [d for d in has if d >= first]
    if behind:
        assert next_from_date(good_spans(rows), day(first)) > day(max(behind))
    if left:
        assert left[0].to_date == end
        assert not {d for d in has if left[0].from_date + timedelta(days=lookback) <= day(d)}
    rows += [vendor.answer(w) for w in left]
    assert due() == left


def test_moving_the_first_date_back_asks_for_the_earlier_days_once() -> None:
    vendor = Vendor(frozenset(range(20, 61)))  # listed on day 20
    rows = [vendor.answer(Window(day(20), day(60)))]
    assert next_windows(good_spans(rows), day(20), day(60)) == []
    hole = next_windows(good_spans(rows), day(0), day(60))
    assert hole == [Window(day(0), day(20))]  # up to the first row that is known: its return proves the answer whole
    rows.append(vendor.answer(hole[0]))
    assert next_windows(good_spans(rows), day(0), day(60)) == []
    assert next_from_date(good_spans(rows), day(0)) == day(61)


def test_days_that_a_vendor_never_has_do_not_come_back() -> None:
    """The last answer stopped on a Friday, the next began on a Monday: the weekend between them is asked about once."""
    friday, monday = day(4), day(7)
    rows = [stored("run-1", first=0, last=4, data=(0, 4)), stored("run-2", first=7, last=11, data=(7, 11))]
    hole = next_windows(good_spans(rows), DAY, day(11), calendar="weekdays")
    assert hole == [Window(friday + timedelta(days=1), monday)]
    rows.append(stored("run-3", first=5, last=7, data=(7, 7)))
    assert next_windows(good_spans(rows), DAY, day(11), calendar="weekdays") == []
