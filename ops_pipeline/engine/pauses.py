"""Keys that are left alone for a while, since the vendor did not give what the calendar expects.

Belongs here: taking the requests of a plan out whose pause is not over, and saying so. Does not belong here: how long a pause is
(`ops.tries`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops_pipeline.engine.outcome import OutcomeKind
from ops_pipeline.errors import DatabaseMissingError
from ops_pipeline.ops.tries import asked_again_at, tries_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from ops_pipeline.engine.context import Context
    from ops_pipeline.engine.plan import PlannedKey
    from ops_pipeline.ops.tries import Tries


def pause(context: Context, items: Sequence[PlannedKey], now: datetime) -> None:
    """Takes out the requests for sessions that the vendor did not give a short while ago, or so often that it has none.

    A key that is left without requests gets its verdict, `suspect` or `vendor_has_none`, with what was tried and when it is asked again. A
    hole inside covered days is no verdict on the key.
    """
    wanted = [(item.key, day) for item in items for _, day in item.lacking]
    if not wanted:
        return
    try:
        with context.warehouse.reading() as connection:
            told = tries_of(connection, wanted)
    except DatabaseMissingError:
        return
    for item in items:
        early: dict[str, tuple[datetime, date, Tries]] = {}
        for request, day in item.lacking:
            tries = told.get((item.key, day))
            if tries is not None:
                again = asked_again_at(tries, request.to_date or day)
                if again > now:
                    early[request.request_id] = again, day, tries
                elif not early:
                    item.reason = f"no answer has {day}, which is a session ({_asked(tries)})"
        item.requests = [request for request in item.requests if request.request_id not in early]
        inner = item.inner & early.keys()
        early = {name: waiting for name, waiting in early.items() if name not in inner}
        if inner and not early and not item.requests:
            item.reason += "; `ops-pipeline gaps` lists what no answer has"
        if early and not item.requests:
            again, day, tries = min(early.values(), key=lambda waiting: waiting[0])
            none = all(waiting.in_vain for _, _, waiting in early.values())
            item.verdict = OutcomeKind.VENDOR_HAS_NONE if none else OutcomeKind.SUSPECT
            what = f"the vendor has none for {day}" if none else f"no answer has {day}, which is a session"
            item.reason = f"{what} ({_asked(tries)}); asked again from {again:%Y-%m-%d %H:%M} UTC"


def _asked(tries: Tries) -> str:
    times = "once" if tries.count == 1 else f"{tries.count} times"
    return f"asked {times}, last {tries.last_at:%Y-%m-%d %H:%M} UTC"
