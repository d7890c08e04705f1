"""Two pictures made of markup, so that every square of them is a link: a year of days, and tickers by datasets.

Belongs here: their layout. Does not belong here: charts with axes (`charts`), other markup (`markup`).
"""

from __future__ import annotations

from datetime import date, timedelta
from html import escape
from math import sqrt
from typing import TYPE_CHECKING

from ops_pipeline.clock import utc_now
from ops_pipeline.dashboard.markup import address, counts, sessions_behind
from ops_pipeline.dashboard.markup import share as percent
from ops_pipeline.dashboard.models import UNKNOWN
from ops_pipeline.ops.worst import GRAVITY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops_pipeline.dashboard.models import Cell
    from ops_pipeline.ops.browse import Day

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_SMALLEST, _LARGEST = 6, 16


def year_of_days(days: Sequence[Day], year: int) -> str:
    """A year, one column a week: the colour of a square is the worst of its day, its size the number of files."""
    known = {d.day: d for d in days}
    most = max((d.files for d in days), default=1)
    first = date(year, 1, 1)
    cells = ["<span></span>", *(f"<span>{name if n % 2 == 0 else ''}</span>" for n, name in enumerate(_WEEKDAYS))]
    monday = first - timedelta(days=first.weekday())
    # A year that goes on ends with this week, and a phone shows its end: the newest runs.
    last = min(date(year, 12, 31), max([utc_now().date(), *known]))
    while monday <= last:
        week = [monday + timedelta(days=n) for n in range(7)]
        begins = next((d for d in week if d.day == 1 and d.year == year), None)
        cells.append(f"<span>{f'{begins:%b}' if begins else ''}</span>")
        cells += [_day(d, known.get(d), most) if d.year == year else "<span></span>" for d in week]
        monday += timedelta(days=7)
    legend = "".join(f'<span><b class="op-fill-{word}"></b>{word.replace("_", " ")}</span>' for word in GRAVITY)
    return (
        f'<div class="op-scroll op-late" tabindex="0" role="region" aria-label="Calendar of {year}">'
        f'<div class="op-year">{"".join(cells)}</div></div><div class="op-legend">{legend}<span>larger: more files</span></div>'
    )


def _day(day: date, it: Day | None, most: int) -> str:
    if it is None:
        return "<i></i>"
    side = _SMALLEST + (_LARGEST - _SMALLEST) * sqrt(it.files / most)
    what = {word.replace("_", " "): count for word, count in it.outcomes.items()}
    told = f"{day:%a} {day.isoformat()}: {counts(what)}; {it.files:,} files in {it.runs:,} runs, {it.rows:,} rows"
    square = f'<b class="op-fill-{it.worst}" style="width:{side:.0f}px;height:{side:.0f}px"></b>'
    target = escape(address("runs", year=day.year, dates=[day.isoformat()] * 2), quote=True)
    return f'<a href="{target}" title="{escape(told, quote=True)}" aria-label="{escape(told, quote=True)}">{square}</a>'


def coverage_map(rows: Sequence[Sequence[Cell]]) -> str:
    """Tickers by datasets: the share of expected sessions that is covered, with the number of gaps; each square leads to its partition."""
    datasets = sorted({c.dataset for row in rows for c in row})
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in datasets)
    body = []
    for row in rows:
        if not row:
            continue
        mine = {c.dataset: c for c in row}
        squares = "".join(_square(mine.get(name)) for name in datasets)
        body.append(f'<tr><th scope="row">{escape(row[0].ticker)}</th>{squares}</tr>')
    return (
        '<div class="op-scroll" tabindex="0" role="region" aria-label="Share of expected sessions covered, by ticker and dataset">'
        f'<table class="op-table op-heat" style="width:auto"><thead><tr><th scope="col">ticker</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _square(cell: Cell | None) -> str:
    if cell is None:
        return "<td></td>"
    share = cell.share
    if share is None or cell.refused:
        words, ground = "not in plan" if cell.refused else UNKNOWN, "color-mix(in srgb, #8795a5 14%, transparent)"
    else:
        gaps = f" <small>{len(cell.gaps)} gap{'s' if len(cell.gaps) > 1 else ''}</small>" if cell.gaps else ""
        words = f"{percent(share)}{gaps}"
        mixed = f"color-mix(in srgb, #2f9e6e {max(0.0, share - 0.5) * 200:.0f}%, {_low(share)})"
        ground = f"color-mix(in srgb, {mixed} 42%, transparent)"
    span = f"{cell.from_date} to {cell.to_date}" if cell.from_date else "no data"
    told = escape(
        f"{cell.ticker} {cell.dataset}: {span}, {sessions_behind(cell.behind)}, {cell.failed:,} files failed", quote=True
    )
    target = escape(address("partition", dataset=cell.dataset, ticker=cell.ticker), quote=True)
    return f'<td><a href="{target}" title="{told}" style="background:{ground}">{words}</a></td>'


def _low(share: float) -> str:
    return f"color-mix(in srgb, #d9a13b {min(1.0, share * 2) * 100:.0f}%, #d64545)"
