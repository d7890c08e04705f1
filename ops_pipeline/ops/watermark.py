"""From-dates: what is covered, what is asked next, and when a session is settled.

Belongs here: pure arithmetic on dates and ledger rows, without SQL, clock or network. Does not belong here: reading the ledger (`repo`)
and deciding about a run's keys (`engine.plan`).

The rules, in one place:

* a request counts when all its parts are stored without error and without unhealed silver errors, and at least one part holds a good row;
* it covers the days from its requested from-date to the last good row's date, never to the requested to-date and never to today; when that
  date lies before the from-date, it covers nothing;
* the watermark is the end of the contiguous cover that begins at the first date: nothing behind a hole counts;
* the next from-date is the day after the watermark, less the lookback, never before the first date or the vendor's floor.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from ops_pipeline.recipes.models import ONE_DAY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.ops.sessions import Sessions
    from ops_pipeline.recipes.models import Recipe


class Span(NamedTuple):
    """Days that complete good requests cover. A tuple, since a plan makes one for each of 100,000 partitions.

    Attributes:
        from_date: first day asked for.
        to_date: date of the last good row.
        data_from: date of the first good row.
    """

    from_date: date
    to_date: date
    data_from: date


@dataclass(frozen=True, slots=True)
class Window:
    """Days to ask for, both ends included."""

    from_date: date
    to_date: date


def good_spans(rows: Iterable[DatasetInjestion]) -> list[Span]:
    """One span for every request of one partition that counts (the same rule as the SQL of `spans`)."""
    requests: dict[tuple[str, str], list[DatasetInjestion]] = defaultdict(list)
    healed: set[tuple[str, str]] = set()
    for row in rows:
        if row.promotion_kind == "first":
            requests[row.run_id, row.request_id].append(row)
        elif row.silver_errors is None and row.silver_injest_end_time is not None:
            healed.add(row.origin)
    spans = []
    for parts in requests.values():
        asked = parts[0].requested_from_date
        firsts = [p.bronze_from_date for p in parts if p.bronze_outcome == "stored" and p.bronze_from_date]
        lasts = [p.bronze_to_date for p in parts if p.bronze_outcome == "stored" and p.bronze_to_date]
        if asked and firsts and lasts and max(lasts) >= asked and all(_good(p, healed) for p in parts):
            spans.append(Span(asked, max(lasts), min(firsts)))
    return spans


def _good(row: DatasetInjestion, healed: set[tuple[str, str]]) -> bool:
    stored = row.bronze_outcome in ("stored", "unchanged", "empty") and row.bronze_error is None and row.request_complete
    return stored and (row.silver_errors is None or row.origin in healed)


def islands(spans: Iterable[Span]) -> list[Span]:
    """The spans joined where they overlap or touch, in order, with at least one uncovered day between two of them."""
    joined: list[Span] = []
    for span in sorted(spans):
        last = joined[-1] if joined else None
        if last and span.from_date <= last.to_date + ONE_DAY:
            joined[-1] = Span(last.from_date, max(last.to_date, span.to_date), min(last.data_from, span.data_from))
        else:
            joined.append(span)
    return joined


def watermark(spans: Iterable[Span], first_date: date) -> date | None:
    """The last day of the contiguous cover that begins at or before the first date; None when the first date is not covered."""
    for island in islands(spans):
        if island.from_date <= first_date <= island.to_date:
            return island.to_date
    return None


def start_date(first_date: date, floor: date | None) -> date:
    """The earliest day worth asking for: the recipe's first date, or the vendor's floor where that is later."""
    return max(first_date, floor) if floor else first_date


def next_from_date(spans: Iterable[Span], first_date: date, *, lookback_days: int = 0, floor: date | None = None) -> date:
    """The day after the watermark, less the lookback, never before the first date or the floor."""
    start = start_date(first_date, floor)
    covered = watermark(spans, start)
    return start if covered is None else max(start, covered + ONE_DAY - timedelta(days=lookback_days))


def next_windows(
    spans: Iterable[Span],
    first_date: date,
    end: date,
    *,
    lookback_days: int = 0,
    floor: date | None = None,
    calendar: str | Sessions = "daily",
) -> list[Window]:
    """What is left to ask for up to `end`: every hole, then the tail; empty when everything expected is covered.

    A hole's window ends on the first row behind it, not the day before: an answer that reaches that row proves the hole closed,
    while one that stops on a Friday could not tell a weekend from missing data. An exchange's calendar can: a hole without a session in it
    is none.
    """
    return [w for w, _ in lacking_windows(spans, first_date, end, lookback_days=lookback_days, floor=floor, calendar=calendar)]


def lacking_windows(
    spans: Iterable[Span],
    first_date: date,
    end: date,
    *,
    lookback_days: int = 0,
    floor: date | None = None,
    calendar: str | Sessions = "daily",
) -> list[tuple[Window, date]]:
    """The windows of `next_windows`, each with the first day in it that nothing covers."""
    start = start_date(first_date, floor)
    windows = []
    covered = start - ONE_DAY
    for island in islands(spans):
        if island.from_date > end:
            break
        first = covered + ONE_DAY
        last = island.from_date - ONE_DAY
        if first <= last and (isinstance(calendar, str) or calendar.any_between(first, last)):
            windows.append((Window(_less(first, lookback_days, start), min(island.data_from, end)), first))
        covered = max(covered, island.to_date)
    if covered < end and expected_sessions(calendar, covered + ONE_DAY, end):
        windows.append((Window(_less(covered + ONE_DAY, lookback_days, start), end), covered + ONE_DAY))
    return windows


def _less(day: date, lookback_days: int, start: date) -> date:
    return max(start, day - timedelta(days=lookback_days)) if day > start else day


def expected_sessions(calendar: str | Sessions, from_date: date, to_date: date) -> bool:
    """Whether the calendar has a session between two days, both included: `daily` has one every day, `weekdays` from Monday to Friday."""
    if to_date < from_date:
        return False
    if not isinstance(calendar, str):
        return calendar.any_between(from_date, to_date)
    if calendar == "daily" or (to_date - from_date).days >= 2:
        return True
    return any((from_date + timedelta(days=k)).weekday() < 5 for k in range((to_date - from_date).days + 1))


def settled_through(recipe: Recipe, now: datetime, today: date | None = None) -> date:
    """The latest session whose data are final.

    Args:
        recipe: declares the time zone, the local time and the days after the session at which data settle.
        now: the time now, with a zone.
        today: a day to pretend; it is then the end of that day in the recipe's own zone, so the day itself is settled.
    """
    delay = timedelta(days=recipe.settles_after_days)
    if today is not None:
        return today - delay
    zone = ZoneInfo(recipe.timezone)
    day = now.astimezone(zone).date() + ONE_DAY
    # Instants, not wall clocks: where clocks go back, an hour that comes twice must not make a settled session unsettled again.
    while datetime.combine(day, recipe.settles_at, zone).astimezone(UTC) > now:
        day -= ONE_DAY
    return day - delay


def last_expected(recipe: Recipe, now: datetime, today: date | None = None) -> date:
    """The latest day that may be asked for: settled, and not behind the dataset's last date."""
    settled = settled_through(recipe, now, today)
    return min(settled, recipe.last_date) if recipe.last_date else settled


def cadence_period(cadence: str, day: date) -> tuple[int, int]:
    """The period of the cadence that a day falls into; two days in one period compare equal."""
    match cadence:
        case "daily":
            return day.year, day.timetuple().tm_yday
        case "weekly":
            return day.isocalendar()[:2]
        case "monthly":
            return day.year, day.month
        case "quarterly":
            return day.year, (day.month - 1) // 3
    raise ValueError(f"unknown cadence {cadence!r}")


def due_by_cadence(recipe: Recipe, last_answer: datetime | None, now: datetime, today: date | None = None) -> bool:
    """Whether a dataset without watermark was not yet answered in the present period of its cadence, in the recipe's zone."""
    if last_answer is None:
        return True
    zone = ZoneInfo(recipe.timezone)
    present = today or now.astimezone(zone).date()
    return cadence_period(recipe.cadence, last_answer.astimezone(zone).date()) != cadence_period(recipe.cadence, present)
