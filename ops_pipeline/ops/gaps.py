"""Gaps: expected sessions that a partition does not have, and the requests that may fill them.

Belongs here: pure arithmetic on covered days, sessions and holes. Does not belong here: finding the holes inside covered days
(`silver.gaps`), how often each was asked for (`tries`).
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from ops_pipeline.ops.watermark import Window, islands
from ops_pipeline.recipes.models import ONE_DAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from ops_pipeline.ops.sessions import Sessions
    from ops_pipeline.ops.watermark import Span

# A thinly traded ticker lacks hundreds of sessions: more holes than this are asked for as one window.
MOST_HOLES = 8


class GapKind(StrEnum):
    """Where a gap lies: before everything stored, within it, or at its end; `all` where nothing is stored."""

    ALL = "all"
    BEGINNING = "beginning"
    HOLE = "hole"
    END = "end"


class Gap(NamedTuple):
    """Expected sessions in a row that are not there.

    Attributes:
        from_date: the first of them.
        to_date: the last.
        sessions: how many.
        kind: where they lie.
    """

    from_date: date
    to_date: date
    sessions: int
    kind: GapKind


def gaps_of(spans: Sequence[Span], start: date, end: date, sessions: Sessions, holes: Iterable[Gap] = ()) -> list[Gap]:
    """The gaps of one partition, in order.

    Args:
        spans: the days that its complete requests cover.
        start: the first day of which data are expected.
        end: the last one.
        sessions: its calendar.
        holes: sessions inside the covered days that silver lacks, where each must have rows.
    """
    found = [hole for hole in holes if start <= hole.from_date and hole.to_date <= end and _is_inside(hole, spans)]
    covered = start - ONE_DAY
    for island in islands(spans):
        if island.from_date > end:
            break
        kind = GapKind.HOLE if covered >= start else GapKind.BEGINNING
        found += _between(sessions, covered + ONE_DAY, island.from_date - ONE_DAY, kind)
        covered = max(covered, island.to_date)
    found += _between(sessions, covered + ONE_DAY, end, GapKind.END if covered >= start else GapKind.ALL)
    return sorted(found)


def hole_windows(
    holes: Iterable[Gap], spans: Sequence[Span], start: date, end: date, lookback_days: int
) -> list[tuple[Window, date]]:
    """The windows that ask for holes inside covered days again, each with the first session that it lacks.

    As other windows they begin the lookback earlier, so that an answer on another adjustment basis is noticed by its overlap.
    """
    mine = [hole for hole in holes if start <= hole.from_date and hole.to_date <= end and _is_inside(hole, spans)]
    if len(mine) > MOST_HOLES:
        mine = [Gap(mine[0].from_date, mine[-1].to_date, sum(hole.sessions for hole in mine), GapKind.HOLE)]
    lookback = timedelta(days=lookback_days)
    return [(Window(max(start, hole.from_date - lookback), hole.to_date), hole.from_date) for hole in mine]


def _is_inside(hole: Gap, spans: Iterable[Span]) -> bool:
    """Whether covered days reach over the hole; where they end at it, the windows of `watermark` ask for it."""
    return any(span.from_date <= hole.from_date and hole.to_date <= span.to_date for span in spans)


def _between(sessions: Sessions, first: date, last: date, kind: GapKind) -> list[Gap]:
    count = sessions.count(first, last) if first <= last else 0
    return [Gap(sessions.next_from(first), sessions.last_until(last), count, kind)] if count else []
