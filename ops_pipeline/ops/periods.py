"""Periods: the years, quarters, months or sessions that the mode by_period asks for one by one.

Belongs here: pure arithmetic: which periods there are, and which of them are asked, given what was answered. Does not belong here: reading
the ledger (`tries`), and a run's options (`engine.asking`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from ops_pipeline.ops.watermark import Window, due_by_cadence
from ops_pipeline.recipes.models import ONE_DAY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ops_pipeline.ops.sessions import Sessions
    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.recipes.modes import PeriodKind

_MONTHS = {"year": 12, "quarter": 3, "month": 1}


@dataclass(frozen=True, slots=True)
class PeriodAnswers:
    """What the ledger says of one period of a partition.

    Attributes:
        answers: complete answers to requests for it.
        data: those of them that held records, and that silver did not refuse.
        last_at: when the last of the answers came.
    """

    answers: int
    data: int
    last_at: datetime


def period_of(kind: PeriodKind, day: date) -> Window:
    """The period that a day falls into; a session is one day."""
    if kind == "session":
        return Window(day, day)
    months = _MONTHS[kind]
    month = (day.month - 1) // months * months + 1
    first = date(day.year, month, 1)
    # The first of any month plus 31 days falls into the next month.
    last = first
    for _ in range(months):
        last = (last.replace(day=1) + timedelta(days=31)).replace(day=1)
    return Window(first, last - ONE_DAY)


def periods_between(kind: PeriodKind, first: date, last: date, sessions: Sessions) -> list[Window]:
    """Every period that a day between two belongs to, in order; none when the first day is behind the last."""
    if kind == "session":
        return [Window(day, day) for day in sessions.between(first, last)]
    periods = []
    day = first
    while day <= last:
        period = period_of(kind, day)
        periods.append(period)
        day = period.to_date + ONE_DAY
    return periods


def missing_periods(
    recipe: Recipe, periods: Sequence[Window], answered: Mapping[date, PeriodAnswers], now: datetime, today: date | None = None
) -> list[Window]:
    """The periods to ask for, newest first.

    A period is done when it was answered after its data had settled; an empty answer will do, unless each session must have rows. The
    newest ones, and one that was answered too early, are asked again once in each period of the cadence.

    Args:
        recipe: declares the kind of period, how many are asked again, and when data settle.
        periods: every period, in order.
        answered: a period's first day -> its answers.
        now: the time now, with a zone.
        today: a day to pretend.
    """
    again = {period.from_date for period in periods[max(0, len(periods) - recipe.periods_asked_again) :]}
    missing = []
    for period in reversed(periods):
        told = answered.get(period.from_date)
        if told is None or (recipe.expects_every_session and not told.data):
            missing.append(period)
            continue
        too_early = told.last_at < settled_at(recipe, period.to_date)
        if (too_early or period.from_date in again) and due_by_cadence(recipe, told.last_at, now, today):
            missing.append(period)
    return missing


def settled_at(recipe: Recipe, day: date) -> datetime:
    """The time at which a day's data are final (the inverse of `watermark.settled_through`)."""
    settled = day + timedelta(days=recipe.settles_after_days)
    return datetime.combine(settled, recipe.settles_at, ZoneInfo(recipe.timezone)).astimezone(UTC)


def placeholder_values(recipe: Recipe, window: Window | None) -> dict[str, str]:
    """What a request can fill into its templates besides ticker and dates: `n`, or the period's `year`, `quarter` and `month`."""
    if recipe.last_n is not None:
        return {"n": str(recipe.last_n)}
    if recipe.period is None or window is None:
        return {}
    first = window.from_date
    return {"year": f"{first.year:04}", "quarter": str((first.month + 2) // 3), "month": f"{first.month:02}"}
