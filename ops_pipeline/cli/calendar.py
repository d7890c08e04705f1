"""The calendar above `ops-pipeline runs`: a line a month, a character a day.

Belongs here: how days are drawn. Does not belong here: counting their files (`ops.browse`).
"""

from __future__ import annotations

from calendar import monthrange
from datetime import date, timedelta
from typing import TYPE_CHECKING

from ops_pipeline.cli import output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from ops_pipeline.ops.browse import Day

MONTHS = 3
MOST_MONTHS = 24

# Without colours the worst outcome of a day is a letter; with them it is the bar's colour, and its height the number of files.
MARKS = {"ok": "o", "unchanged": "-", "empty": "-", "not_in_plan": "p", "unfinished": "!", "deferred": "!", "failed": "x"}
NOTHING = "."
LEGEND = "o ok  - nothing new  p not in plan  ! deferred, unfinished  x failed  . no run"
_BARS = "▁▂▃▄▅▆▇█"


def span(since: date | None, until: date) -> tuple[date, date]:
    """The days of the calendar: whole months up to a day, as many as asked for, within reason."""
    first = _months_before(until, MONTHS - 1)
    if since is not None:
        first = max(since.replace(day=1), _months_before(until, MOST_MONTHS - 1))
    return first, until


def lines(days: Sequence[Day], until: date) -> list[Text]:
    """The calendar of these days, from the first one's month on; nothing where there is no day."""
    from rich.text import Text

    if not days:
        return []
    out = output.console()
    drawn = out.is_terminal and out.color_system is not None and not out.no_color and out.encoding.lower().startswith("utf")
    by_day = {day.day: day for day in days}
    most = max(day.files for day in days)
    made = [Text("         1   5    10   15   20   25   30", style="dim")]
    month = days[0].day.replace(day=1)
    while month <= until:
        line = Text(f"{month:%Y-%m}  ")
        for number in range(monthrange(month.year, month.month)[1]):
            day = by_day.get(month + timedelta(days=number))
            if day is None:
                line.append("·" if drawn else NOTHING, style="dim")
            elif drawn:
                # The root lets a night of five files be seen beside a first load of thousands.
                height = round((day.files / most) ** 0.5 * (len(_BARS) - 1))
                line.append(_BARS[height], style=output.STYLES["unchanged" if day.worst == "empty" else day.worst])
            else:
                line.append(MARKS[day.worst])
            if month + timedelta(days=number) == until:
                break
        made.append(line)
        month = _months_before(month, -1)
    if drawn:
        legend = Text()
        for worst, word in (
            ("ok", "ok"),
            ("unchanged", "nothing new"),
            ("not_in_plan", "not in plan"),
            ("deferred", "deferred, unfinished"),
            ("failed", "failed"),
        ):
            legend.append("█ ", style=output.STYLES[worst]).append(f"{word}   ", style="dim")
        made.append(legend.append("higher: more files", style="dim"))
    else:
        made.append(Text(LEGEND))
    return made


def _months_before(day: date, months: int) -> date:
    """The first day of the month so many months before a day's."""
    count = day.year * 12 + day.month - 1 - months
    return date(count // 12, count % 12 + 1, 1)
