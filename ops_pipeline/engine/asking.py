"""Which requests a key gets, by its recipe's mode.

Belongs here: the modes, each as one decision from what the ledger knows. Does not belong here: reading the ledger and what else keeps a key
from being asked (`plan`), arithmetic (`ops.watermark`, `ops.periods`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from ops_pipeline.ops.gaps import hole_windows
from ops_pipeline.ops.periods import missing_periods, period_of, periods_between, placeholder_values
from ops_pipeline.ops.watermark import Window, due_by_cadence, lacking_windows, last_expected, start_date
from ops_pipeline.recipes.modes import OWN_CALENDARS, RequestMode
from ops_pipeline.sources import Request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from ops_pipeline.engine.plan import RunOptions
    from ops_pipeline.ops.gaps import Gap
    from ops_pipeline.ops.periods import PeriodAnswers
    from ops_pipeline.ops.sessions import Sessions
    from ops_pipeline.ops.watermark import Span
    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.recipes.universe import Expected, PartitionKey


@dataclass(frozen=True, slots=True)
class Wish:
    """A request that a key may get.

    Attributes:
        window: its days; None: it has none.
        lacks: the first session in it that no answer has given, where each session must have rows; such a request keeps the pauses of
            `ops.tries`.
        inner: it lies inside days that are covered: the key is up to date all the same.
    """

    window: Window | None
    lacks: date | None = None
    inner: bool = False


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a key's mode asks for.

    Attributes:
        wishes: its requests, in order.
        reason: why, or why there are none, in a few words.
        end: the last day that could be asked for; None for a mode without days.
        unknown: the calendar cannot say whether there are sessions up to the end.
    """

    wishes: list[Wish]
    reason: str
    end: date | None = None
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What the ledger says of one key.

    Attributes:
        spans: the days that its answers cover.
        answered_at: when it was last answered.
        periods: answers by the first day of their period.
        again: why the whole history is due though it was asked before; None where it is not.
        holes: sessions inside the covered days that silver lacks, where each must have rows.
    """

    spans: Sequence[Span] = ()
    answered_at: datetime | None = None
    periods: Mapping[date, PeriodAnswers] = field(default_factory=dict)
    again: str | None = None
    holes: Sequence[Gap] = ()


def wishes_of(
    recipe: Recipe, told: Told, sessions: Sessions, options: RunOptions, now: datetime, *, floor: date | None
) -> Wishes:
    """The requests of one key."""
    match recipe.mode:
        case RequestMode.WINDOW | RequestMode.BY_VINTAGE:
            return _windows(recipe, told, sessions, options, now, floor)
        case RequestMode.BY_PERIOD:
            return _periods(recipe, told, sessions, options, now, floor)
        case RequestMode.ROLLING:
            present = _present(recipe, options, now)
            past, future = timedelta(days=recipe.past_days or 0), timedelta(days=recipe.future_days or 0)
            return _by_cadence(recipe, told, options, now, Window(present - past, present + future))
        case RequestMode.LAST_N | RequestMode.SNAPSHOT:
            return _by_cadence(recipe, told, options, now, None)


def within(options: RunOptions, expected: Expected | None) -> RunOptions:
    """The options for a key of which data are expected up to a day only: nothing behind it is asked."""
    if expected is None or expected.until is None:
        return options
    return replace(options, to_date=min(expected.until, options.to_date or expected.until))


def beginning(recipe: Recipe, since: date | None) -> Recipe:
    """The recipe with its first date where a symbol's own days begin."""
    if since is None or recipe.first_date is None or since <= recipe.first_date:
        return recipe
    return recipe.model_copy(update={"first_date": since})


def _present(recipe: Recipe, options: RunOptions, now: datetime) -> date:
    return options.today or now.astimezone(ZoneInfo(recipe.timezone)).date()


def _by_cadence(recipe: Recipe, told: Told, options: RunOptions, now: datetime, window: Window | None) -> Wishes:
    if options.full or due_by_cadence(recipe, told.answered_at, now, options.today):
        return Wishes([Wish(window)], "never asked" if told.answered_at is None else f"due {recipe.cadence}")
    return Wishes([], f"already answered in this period ({recipe.cadence})")


def _windows(recipe: Recipe, told: Told, sessions: Sessions, options: RunOptions, now: datetime, floor: date | None) -> Wishes:
    """A dataset with a watermark: every hole and the tail."""
    if recipe.first_date is None:
        return Wishes([], "the recipe declares no first date")
    by_vintage = recipe.mode is RequestMode.BY_VINTAGE
    end = last_expected(recipe, now, options.today)
    if options.to_date is not None:
        end = min(end, options.to_date)
    start = start_date(recipe.first_date, floor)
    # The day before is asked too: what a vendor dates on the first day of a window of vintages may be older (`silver` leaves it out).
    early = timedelta(days=1 if by_vintage else 0)
    if options.full or options.from_date is not None:
        begin = start if options.full or options.from_date is None else max(start, options.from_date - early)
        if begin > end:
            return Wishes([], f"nothing is settled between {begin} and {end}")
        return Wishes([Wish(Window(begin, end))], "asked in full" if options.full else f"asked from {begin}")
    if told.again is not None and start <= end:
        return Wishes([Wish(Window(start, end))], told.again, end)
    if recipe.calendar in OWN_CALENDARS:
        calendar: str | Sessions = recipe.calendar
    else:
        calendar, end = sessions, sessions.last_until(end)
    unknown = not sessions.knows(end)
    lookback = recipe.lookback_days if options.lookback_days is None else options.lookback_days
    found = lacking_windows(
        told.spans, recipe.first_date, end, lookback_days=max(lookback, early.days), floor=floor, calendar=calendar
    )
    holes = hole_windows(told.holes, told.spans, start, end, lookback)
    if (
        (found or holes)
        and recipe.cadence != "daily"
        and told.spans
        and not due_by_cadence(recipe, told.answered_at, now, options.today)
    ):
        return Wishes([], f"already answered in this period ({recipe.cadence})", end)
    if not found and not holes and options.lookback_days and end >= start and told.spans:
        # The overlap that a user asked for by name though nothing new is expected.
        return Wishes([Wish(Window(max(start, end - timedelta(days=lookback - 1)), end))], f"looked back {lookback} days", end)
    inner = [Wish(window, day, inner=True) for window, day in holes]
    if not found:
        reason = f"everything through {end} is stored"
        if inner:
            reason += f", but for {len(inner)} {'hole' if len(inner) == 1 else 'holes'}"
        return Wishes(inner, reason, end, unknown)
    reason = f"nothing stored since {found[0][0].from_date}" if told.spans else "nothing stored yet"
    return Wishes([*inner, *(Wish(window, _lacks(recipe, sessions, day)) for window, day in found)], reason, end, unknown)


def _lacks(recipe: Recipe, sessions: Sessions, day: date) -> date | None:
    """The first session from a day on, where each must have rows and the calendar knows it."""
    if not recipe.expects_every_session:
        return None
    session = sessions.next_from(day)
    return session if sessions.knows(session) else None


def _periods(recipe: Recipe, told: Told, sessions: Sessions, options: RunOptions, now: datetime, floor: date | None) -> Wishes:
    """One request a period; which ones are missing is what the ledger says."""
    if recipe.first_date is None or recipe.period is None:
        return Wishes([], "the recipe declares no first date")
    by_session = recipe.period == "session"
    end = last_expected(recipe, now, options.today) if by_session else _present(recipe, options, now)
    end = min([end, *(day for day in (recipe.last_date, options.to_date) if day is not None)])
    start = start_date(recipe.first_date, floor)
    if options.from_date is not None and not options.full:
        start = max(start, options.from_date)
    periods = periods_between(recipe.period, start, end, sessions) if start <= end else []
    unknown = by_session and not sessions.knows(end)
    if options.full or options.from_date is not None:
        again = [Wish(period) for period in reversed(periods)]
        return Wishes(again, "asked in full" if options.full else f"asked from {start}", end)
    missing = missing_periods(recipe, periods, told.periods, now, options.today)
    if not missing:
        newest = periods[-1] if periods else period_of(recipe.period, start)
        name = f"every {recipe.period} through {newest.to_date} is answered" if periods else f"no {recipe.period} is over yet"
        return Wishes([], name, end, unknown)
    wishes = [Wish(period, period.from_date if recipe.expects_every_session else None) for period in missing]
    new = sum(period.from_date not in told.periods for period in missing)
    reason = f"{new} of {len(periods)} {recipe.period}s never answered" if new else f"{len(missing)} {recipe.period}s asked again"
    return Wishes(wishes, reason, end, unknown)


def request_of(recipe: Recipe, key: PartitionKey, window: Window | None) -> Request:
    """A request as it is sent: what its templates name and its window does not say goes along under its name in braces."""
    values = placeholder_values(recipe, window)
    if recipe.request is not None and values:
        values = {name: text for name, text in values.items() if name in recipe.request.placeholders}
    constants = recipe.request.constants if recipe.request else ()
    return Request(
        domain=recipe.domain,
        source=recipe.source,
        dataset=recipe.dataset,
        discriminator=recipe.discriminator,
        ticker=key.ticker,
        from_date=window.from_date if window else None,
        to_date=window.to_date if window else None,
        params=(*constants, *((f"{{{name}}}", text) for name, text in values.items())) if values else constants,
    )
