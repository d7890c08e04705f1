"""A program that prints an exchange's sessions: `python -m ops_pipeline.recipes.exchange XNYS 2000-01-01 2027-12-31`.

Belongs here: the only use of exchange_calendars. It is imported in a process of its own, since it brings pandas, which takes seconds to
import and which no run needs. Does not belong here: keeping what it prints (`engine.calendars`).
"""

from __future__ import annotations

import json
import sys
from datetime import date
from typing import Any

UNKNOWN_CALENDAR = 3
"""Exit status for a name that is no calendar; what is printed then are the names that are."""


def sessions_of(name: str, first: date, last: date) -> dict[str, Any]:
    """A calendar's sessions between two days, and the days of these for which it is known.

    Raises:
        ValueError: the name is no calendar's, or the calendar knows none of the days.
    """
    import exchange_calendars as xcals
    import pandas as pd

    if name not in xcals.get_calendar_names(include_aliases=True):
        raise ValueError(f"{name} is no calendar of exchange_calendars")
    kind = type(xcals.get_calendar(name))
    low, high = kind.bound_min(), kind.bound_max()
    begin = max(pd.Timestamp(first), low) if low is not None else pd.Timestamp(first)
    end = min(pd.Timestamp(last), high) if high is not None else pd.Timestamp(last)
    calendar = xcals.get_calendar(name, start=begin, end=end)
    days = [day.date().isoformat() for day in calendar.sessions]
    return {"first": begin.date().isoformat(), "last": end.date().isoformat(), "days": days}


def names() -> list[str]:
    """Every name that a recipe may use, aliases included."""
    import exchange_calendars as xcals

    return sorted(xcals.get_calendar_names(include_aliases=True))


def _main() -> int:
    name, first, last = sys.argv[1:]
    if name not in names():
        sys.stdout.write(json.dumps(names()))
        return UNKNOWN_CALENDAR
    sys.stdout.write(json.dumps(sessions_of(name, date.fromisoformat(first), date.fromisoformat(last))))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
