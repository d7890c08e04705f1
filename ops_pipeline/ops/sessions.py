"""Sessions: the days on which a dataset has data, by rule or by an exchange's list.

Belongs here: what a calendar says about days, without looking anything up. Does not belong here: where an exchange's sessions come from
(`engine.calendars`), and what follows for requests (`watermark`, `periods`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

from ops_pipeline.recipes.models import ONE_DAY


class Sessions(Protocol):
    """A calendar. Days that it cannot know of count as possible sessions: nothing is missed, and nothing is called up to date."""

    @property
    def name(self) -> str:
        """As recipes write it."""
        ...

    @property
    def known_through(self) -> date:
        """The last day that the calendar is about."""
        ...

    def any_between(self, first: date, last: date) -> bool:
        """Whether a session may lie between two days, both included."""
        ...

    def next_from(self, day: date) -> date:
        """The first session that is not before a day."""
        ...

    def last_until(self, day: date) -> date:
        """The last session that is not after a day."""
        ...

    def between(self, first: date, last: date) -> list[date]:
        """The sessions between two days, both included, in order; only those that are known."""
        ...

    def count(self, first: date, last: date) -> int:
        """How many sessions `between` has; none where the first day is behind the last."""
        ...

    def knows(self, day: date) -> bool:
        """Whether the calendar can say of a day whether it is a session."""
        ...


@dataclass(frozen=True, slots=True)
class RuleSessions:
    """Every day, or Monday to Friday.

    Attributes:
        name: `daily` or `weekdays`.
    """

    name: str

    @property
    def known_through(self) -> date:
        """See `Sessions`: a rule has no end."""
        return date.max

    def any_between(self, first: date, last: date) -> bool:
        """See `Sessions`."""
        return self.next_from(first) <= last

    def next_from(self, day: date) -> date:
        """See `Sessions`."""
        past = day.weekday() - 4
        return day + timedelta(days=3 - past) if past > 0 and self.name == "weekdays" else day

    def last_until(self, day: date) -> date:
        """See `Sessions`."""
        past = day.weekday() - 4
        return day - timedelta(days=past) if past > 0 and self.name == "weekdays" else day

    def between(self, first: date, last: date) -> list[date]:
        """See `Sessions`."""
        days = (first + timedelta(days=k) for k in range((last - first).days + 1))
        return [day for day in days if self.name == "daily" or day.weekday() < 5]

    def count(self, first: date, last: date) -> int:
        """See `Sessions`."""
        days = max(0, (last - first).days + 1)
        if self.name == "daily":
            return days
        weeks, rest = divmod(days, 7)
        return weeks * 5 + sum((first + timedelta(days=k)).weekday() < 5 for k in range(rest))

    def knows(self, day: date) -> bool:
        """See `Sessions`."""
        return True


@dataclass(frozen=True, slots=True)
class ExchangeSessions:
    """An exchange's sessions, as a list with known bounds.

    Attributes:
        name: the calendar's code.
        days: the sessions, in order.
        first: the first day that the list is about.
        last: the last one.
    """

    name: str
    days: tuple[date, ...]
    first: date
    last: date

    @property
    def known_through(self) -> date:
        """See `Sessions`."""
        return self.last

    def any_between(self, first: date, last: date) -> bool:
        """See `Sessions`."""
        return self.next_from(first) <= last

    def next_from(self, day: date) -> date:
        """See `Sessions`."""
        if not self.knows(day):
            return day
        place = bisect_left(self.days, day)
        return self.days[place] if place < len(self.days) else self.last + ONE_DAY

    def last_until(self, day: date) -> date:
        """See `Sessions`."""
        if not self.knows(day):
            return day
        place = bisect_right(self.days, day)
        return self.days[place - 1] if place else self.first - ONE_DAY

    def between(self, first: date, last: date) -> list[date]:
        """See `Sessions`."""
        return list(self.days[bisect_left(self.days, first) : bisect_right(self.days, last)])

    def count(self, first: date, last: date) -> int:
        """See `Sessions`."""
        return max(0, bisect_right(self.days, last) - bisect_left(self.days, first))

    def knows(self, day: date) -> bool:
        """See `Sessions`."""
        return self.first <= day <= self.last
