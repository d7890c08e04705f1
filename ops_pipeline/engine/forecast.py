"""What a plan will cost the vendors' quotas, before anything is sent: requests, what is left, and how many nights it takes.

Belongs here: the figures a source, from the planned requests and the counts that all processes share. Does not belong here: how they are
shown (`cli.planning`), and the limits themselves (`recipes.limits`, `sources.limits`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from ops_pipeline.clock import utc_now
from ops_pipeline.sources.limits import SharedLimits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from ops_pipeline.engine.context import Context
    from ops_pipeline.engine.plan import PlannedKey
    from ops_pipeline.recipes.limits import Limits
    from ops_pipeline.sources.limits import Left

# Whoever would wait for ten years wants another plan, and not a figure.
MOST_NIGHTS = 3_660


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the planned requests of one source come to.

    Attributes:
        source: its name.
        plan: the plan in force; None where it has none.
        requests: that are planned. One may take several calls: pages, or windows in pieces.
        quotas: what is left of each, now; empty: the source has none.
        paused_until: the vendor wants to be left alone until then; None: it does not.
        first_night: requests for which there is room in a run now.
        nights: runs, one a night and this one included, after which all have been sent; None: more than `MOST_NIGHTS`.
        seconds: that the first run takes at least, by what may be sent in a second or a minute.
    """

    source: str
    plan: str | None
    requests: int
    quotas: list[Left]
    paused_until: datetime | None
    first_night: int
    nights: int | None
    seconds: float


def forecasts(context: Context, planned: Iterable[PlannedKey], now: datetime | None = None) -> list[Forecast]:
    """The forecast of every source of which something would be asked, in the order in which they come.

    Raises:
        UserError: what was asked of a source so far cannot be read.
    """
    symbols: dict[str, list[str | None]] = {}
    for item in planned:
        for request in item.requests:
            per_ticker = item.recipe is not None and item.recipe.per_ticker
            symbols.setdefault(request.source, []).append(request.ticker if per_ticker else None)
    return [_forecast(context, source, mine, now or utc_now()) for source, mine in symbols.items()]


def _forecast(context: Context, source: str, symbols: Sequence[str | None], now: datetime) -> Forecast:
    declaration = context.catalogue.sources[source]
    limits = declaration.limits_in_force
    shared = SharedLimits(context.settings.limits_path, source, limits)
    try:
        quotas, known, paused = shared.left(), shared.symbols_asked(), shared.paused_until()
    finally:
        shared.close()
    nights = nights_of(limits, quotas, known, symbols, now, paused)
    first = nights[0] if nights else 0
    return Forecast(
        source=source,
        plan=declaration.plan,
        requests=len(symbols),
        quotas=quotas,
        paused_until=paused,
        first_night=first,
        nights=len(nights) if sum(nights) == len(symbols) else None,
        seconds=max((first / calls * seconds for seconds, calls in limits.rolling if seconds < 3600), default=0.0),
    )


def nights_of(
    limits: Limits,
    quotas: Sequence[Left],
    known: dict[str, set[str]],
    symbols: Sequence[str | None],
    now: datetime,
    paused: datetime | None = None,
) -> list[int]:
    """How many of the requests each night has room for, until all are sent, or for `MOST_NIGHTS`.

    A run does not wait for the next hour: what an hour has room for is what a night has room for. How large answers will be nobody knows,
    so bytes count only where they are used up.

    Args:
        limits: what the plan allows.
        quotas: what is left of it.
        known: period -> symbols that were asked about in it: these cost no further one.
        symbols: of each request; None: it is about no symbol.
        now: of the first night.
        paused: until when nothing is sent.
    """
    zone = ZoneInfo(limits.reset_zone)
    left = {(q.period, q.what): q.left for q in quotas}
    amounts = {(q.period, q.what): q.amount for q in quotas}
    seen = {period: set(known.get(period, ())) for period in ("day", "month")}
    waiting, night = list(symbols), now
    served: list[int] = []
    while waiting and len(served) < MOST_NIGHTS:
        taken, waiting = _one_night(left, seen, waiting) if paused is None or paused <= night else (0, waiting)
        served.append(taken)
        before, night = night.astimezone(zone), night + timedelta(days=1)
        over = {"hour", "day"} | ({"month"} if night.astimezone(zone).month != before.month else set())
        for (period, what), amount in amounts.items():
            if period in over:
                left[period, what] = amount
        for period in over & seen.keys():
            seen[period].clear()
    return served


def _one_night(
    left: dict[tuple[str, str], int], seen: dict[str, set[str]], waiting: list[str | None]
) -> tuple[int, list[str | None]]:
    """How many requests there is room for, and those that are left; takes them from what is left."""
    if any(what == "bytes" and amount <= 0 for (_, what), amount in left.items()):
        return 0, waiting
    calls = min((amount for (_, what), amount in left.items() if what == "calls"), default=len(waiting))
    counted = [period for period, what in left if what == "symbols"]
    skipped: list[str | None] = []
    taken = position = 0
    if counted:
        while taken < calls and position < len(waiting):
            symbol = waiting[position]
            position += 1
            new = [period for period in counted if symbol is not None and symbol not in seen[period]]
            if any(left[period, "symbols"] <= 0 for period in new):
                skipped.append(symbol)
                continue
            for period in new:
                left[period, "symbols"] -= 1
                seen[period].add(symbol or "")
            taken += 1
    else:
        taken = position = min(calls, len(waiting))
    for period, what in left:
        if what == "calls":
            left[period, what] -= taken
    return taken, skipped + waiting[position:]
