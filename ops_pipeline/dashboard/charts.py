"""Charts as Vega-Lite through Altair, whose renderer comes with Streamlit: nothing is fetched.

Belongs here: what is drawn from a page model. Does not belong here: reading, and where a chart stands (`views`).
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import altair as alt

from ops_pipeline.dashboard.theme import BAR, COLOURS, LINE, STAGE_COLOURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops_pipeline.dashboard.models import Step, WatermarkStep
    from ops_pipeline.gold.series import Point
    from ops_pipeline.ops.browse import Day

Chart = alt.Chart | alt.LayerChart | alt.FacetChart

LABELLED_STEPS = 45
AXIS_HEIGHT = 70
"""What an axis with its title takes of a chart's height, in pixels; the rest is the bars'."""

# Vega gives nought the unit of its neighbours: 0M.
_BARE_ZERO = "datum.value === 0 ? '0' : datum.label"

STEP_COLOURS = {**STAGE_COLOURS, "failed": COLOURS["failed"]}


def _values(rows: list[dict[str, Any]]) -> alt.Data:
    return alt.Data(values=rows)  # type: ignore[no-untyped-call]


def _chart(rows: list[dict[str, Any]], height: int | alt.Step) -> alt.Chart:
    return alt.Chart(_values(rows)).properties(height=height)


def growth(days: Sequence[Day], figure: str, title: str) -> Chart:
    """Bars a day."""
    rows = [{"day": d.day.isoformat(), "value": getattr(d, figure)} for d in days]
    drawn: alt.Chart = (
        _chart(rows, 150)
        .mark_bar(color=LINE, opacity=0.85)
        .encode(
            x=alt.X(
                "utcyearmonthdate(day):T", title=None, axis=alt.Axis(format="%d %b", tickCount=6), scale=alt.Scale(type="utc")
            ),
            y=alt.Y("value:Q", title=title, axis=alt.Axis(format="~s", tickCount=3, labelExpr=_BARE_ZERO)),
            tooltip=["day:N", alt.Tooltip("value:Q", title=title, format=",")],
        )
    )
    return drawn


def gantt(steps: Sequence[Step]) -> Chart:
    """When each file was in which stage; failed ones are red."""
    places = {label: number for number, label in enumerate(dict.fromkeys(s.label for s in steps))}
    labelled = len(places) <= LABELLED_STEPS
    began = min(s.start for s in steps)
    # A stage of a millisecond would be invisible.
    shortest = max(0.004, (max(s.end for s in steps) - began).total_seconds() * 0.006)
    rows = [
        {
            "file": s.label,
            "place": places[s.label],
            "stage": "failed" if s.status == "failed" else s.stage,
            "from": (s.start - began).total_seconds(),
            "to": max((s.end - began).total_seconds(), (s.start - began).total_seconds() + shortest),
            "seconds": (s.end - s.start).total_seconds(),
            "status": s.status,
        }
        for s in steps
    ]
    y = (
        alt.Y(
            "file:N", sort=list(places), title=None, axis=alt.Axis(labelLimit=200, ticks=False, domain=False, labelOverlap=False)
        )
        if labelled
        else alt.Y("place:O", title="files in order of start", axis=alt.Axis(labels=False, ticks=False))
    )
    drawn: alt.Chart = (
        _chart(rows, 22 * len(places) + AXIS_HEIGHT if labelled else 420)
        .mark_bar(cornerRadius=2, height={"band": 0.72} if labelled else {"band": 1})
        .encode(
            x=alt.X("from:Q", title="seconds after the run began", axis=alt.Axis(tickCount=6)),
            x2="to:Q",
            y=y,
            color=alt.Color(
                "stage:N",
                scale=alt.Scale(domain=list(STEP_COLOURS), range=list(STEP_COLOURS.values())),
                legend=None,  # the page has one that wraps on a phone
            ),
            tooltip=["file:N", "stage:N", "status:N", alt.Tooltip("seconds:Q", format=".3f")],
        )
    )
    return drawn


def watermark(steps: Sequence[WatermarkStep]) -> Chart:
    """How far the partition was known, over the time of knowing."""
    rows = [
        {
            "known": s.known_at.isoformat(),
            "at": f"{s.known_at:%Y-%m-%d %H:%M:%S}Z",
            "watermark": s.watermark.isoformat(),
            "day": s.watermark.isoformat(),
            "file": s.file_id[:8],
            "run": s.run_id[:8],
        }
        for s in steps
        if s.watermark
    ]
    drawn: alt.Chart = (
        _chart(rows, 190)
        .mark_line(interpolate="step-after", point=alt.OverlayMarkDef(size=38, filled=True, color=LINE), color=LINE)
        .encode(
            x=alt.X("known:T", title="stored at (UTC)", scale=alt.Scale(type="utc"), axis=alt.Axis(format="%d %b", tickCount=6)),
            y=alt.Y("watermark:T", title="watermark", scale=alt.Scale(type="utc"), axis=alt.Axis(format="%Y-%m-%d")),
            tooltip=[
                alt.Tooltip("at:N", title="stored at"),
                alt.Tooltip("day:N", title="watermark"),
                "file:N",
                "run:N",
            ],
        )
    )
    return drawn


def line(
    points: Sequence[Point], column: str, title: str, *, chosen: date | None, bars: bool = False, percent: bool = False
) -> Chart:
    """A column over time; a click on a point chooses it (selection `point`), a rule marks the chosen one."""
    rows = [
        {"date": p.date.isoformat(), "day": f"{p.date:%a %d %b %Y}", "value": value, "file": p.file_id[:8], "run": p.run_id[:8]}
        for p in points
        if (value := p.values.get(column)) is not None
    ]
    axis = alt.Axis(tickCount=5, format=".1%") if percent else alt.Axis(tickCount=5)
    base = alt.Chart(_values(rows)).encode(
        x=alt.X("date:T", title=None, scale=alt.Scale(type="utc")),
        y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=bars), axis=axis),
        tooltip=["day:N", alt.Tooltip("value:Q", title=title, format=".2%" if percent else ",.6g"), "file:N", "run:N"],
    )
    picked = alt.selection_point(name="point", fields=["date"], nearest=True, on="click", empty=False)
    drawn = (
        base.mark_bar(color=LINE, size=max(3, min(24, 480 // max(1, len(rows)))))
        if bars
        else base.mark_line(color=LINE, strokeWidth=1.4)
    )
    # Invisible points carry the selection and the tooltip: a line alone has none of its own dates.
    layers = [drawn, base.mark_point(size=60, opacity=0, filled=True).add_params(picked)]
    if chosen:
        layers.append(
            alt.Chart(_values([{"date": chosen.isoformat()}]))
            .mark_rule(strokeDash=[4, 3], color="#98a2ae")
            .encode(x=alt.X("date:T", scale=alt.Scale(type="utc")))
        )
    return alt.layer(*layers).properties(height=300)


def bars(points: Sequence[Point], column: str, title: str, *, percent: bool = False, height: int = 110) -> Chart:
    """A figure a date; red below nought."""
    rows = [
        {"date": p.date.isoformat(), "day": f"{p.date:%a %d %b %Y}", "value": p.values[column]}
        for p in points
        if p.values.get(column) is not None
    ]
    number = ".2%" if percent else "~s"
    drawn: alt.Chart = (
        _chart(rows, height)
        .mark_bar(size=max(1, min(12, 700 // max(1, len(rows)))))
        .encode(
            x=alt.X("date:T", title=None, scale=alt.Scale(type="utc")),
            y=alt.Y("value:Q", title=title, axis=alt.Axis(format=".0%" if percent else "~s", tickCount=3, labelExpr=_BARE_ZERO)),
            color=alt.condition("datum.value < 0", alt.value(COLOURS["failed"]), alt.value(COLOURS["ok"] if percent else BAR)),
            tooltip=[
                "day:N",
                alt.Tooltip("value:Q", title=title, format=number if percent else ","),
            ],
        )
    )
    return drawn
