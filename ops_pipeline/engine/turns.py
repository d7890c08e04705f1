"""Which requests come first where a quota may end before they do.

Belongs here: the order of a source's requests, so that the newest sessions are there and nothing starves. Does not belong here: which
requests there are (`plan`) and sending them (`fetch`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from ops_pipeline.ops.tries import last_tried
from ops_pipeline.recipes.modes import RequestMode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops_pipeline.engine.context import Context
    from ops_pipeline.engine.fetch import Asked

# One turn in so many is the longest waiting one's, whatever it asks for: where every night has more new sessions than there is quota,
# holes and profiles would wait for ever.
EVERY = 5
_NEVER = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that wants its turn.

    Attributes:
        session: the last day that it asks for; None: it asks for no sessions.
        tried_at: when any of its days was last asked for, with whatever answer; None: never.
    """

    session: date | None
    tried_at: datetime | None


def turns(waiting: Sequence[Waiting], day: date) -> list[int]:
    """The order of requests, as their places: newest sessions first, then the longest waiting; one in `EVERY` the longest waiting of all.

    What asks for no sessions comes behind the newest ones. A failed try counts as one: what always fails must not always be first.

    Args:
        waiting: the requests; among equals the order given holds.
        day: of the run. The longest waiting one's turn is another one each day, so that it comes even where the quota has room for one.
    """
    sessions = [w.session.toordinal() for w in waiting if w.session is not None]
    newest = max(sessions, default=0)

    def since(place: int) -> datetime:
        return waiting[place].tried_at or _NEVER

    def new(place: int) -> tuple[int, bool, datetime]:
        session = waiting[place].session
        return -(newest if session is None else session.toordinal()), session is None, since(place)

    places = range(len(waiting))
    by_session, by_wait = iter(sorted(places, key=new)), iter(sorted(places, key=since))
    ordered: dict[int, None] = {}
    for turn in places:
        line = by_wait if (turn + day.toordinal()) % EVERY == 0 else by_session
        ordered[next(place for place in line if place not in ordered)] = None
    return list(ordered)


def in_turn(context: Context, asked: Sequence[Asked], now: datetime) -> list[Asked]:
    """The requests, those of every source with a quota in the order of their turns."""
    scarce = {name for name in {one.request.source for one in asked} if context.catalogue.sources[name].limits_in_force.scarce}
    if not scarce:
        return list(asked)
    mine = {name: [one for one in asked if one.request.source == name] for name in sorted(scarce)}
    ordered = [one for one in asked if one.request.source not in scarce]
    with context.warehouse.reading() as connection:
        for listed in mine.values():
            tried = last_tried(connection, [(one.partition, one.request.from_date, one.request.to_date) for one in listed])
            waiting = [Waiting(_session(one), tried.get(place)) for place, one in enumerate(listed)]
            ordered += [listed[place] for place in turns(waiting, now.date())]
    return ordered


def _session(asked: Asked) -> date | None:
    """The last day of a request for sessions; what is asked by its cadence alone asks for none, also where it names days to come."""
    mode = asked.recipe.mode
    return asked.request.to_date if mode.has_watermark or mode is RequestMode.BY_PERIOD else None
