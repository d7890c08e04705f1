"""The data: prices, rates and any other series, each point with the file that it came from.

Belongs here: this page. Does not belong here: reading the series (`gold.series`), drawing (`charts`).
"""

from __future__ import annotations

from datetime import date, time, timedelta
from typing import TYPE_CHECKING

import streamlit as st

from ops_pipeline.dashboard import charts
from ops_pipeline.dashboard import markup as m
from ops_pipeline.dashboard.parts import chart, choice, filters, html, stop
from ops_pipeline.dashboard.views import point
from ops_pipeline.gold.series import numeric_columns
from ops_pipeline.silver.as_of import Clock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ops_pipeline.dashboard.models import Series
    from ops_pipeline.dashboard.repository import Repository
    from ops_pipeline.gold.series import Point
    from ops_pipeline.recipes.models import Recipe

SPANS = {"1 year": 366, "3 months": 92, "5 years": 1827, "all": None}
PRICES = ("close", "split_adjusted_close", "adjusted_close")
NOW = "now"
FEW_POINTS = 60
"""Up to so many, bars are easier to read than a line: quarterly and yearly figures."""


def show(repository: Repository) -> None:
    """Draws the page."""
    html(
        m.heading(
            "Data", "Series from gold, or from silver where a dataset feeds no fact. Click a point to see where it came from."
        )
    )
    recipes = repository.context.catalogue.recipes
    drawable = {
        key: recipes[key]
        for key in repository.datasets()
        if key in recipes and recipes[key].date_column and (recipes[key].gold or numeric_columns(recipes[key]))
    }
    drawable = {key: recipe for key, recipe in drawable.items() if repository.series_names(recipe)}
    if not drawable:
        html(m.empty("No series is stored yet.", "Fetch what the universe lists with", "ops-pipeline run"))
        return
    first, second, third, fourth = filters([2, 1.6, 1.4, 1.8])
    with first:
        recipe = drawable[choice("Dataset", list(drawable), "dataset", any_word=None) or next(iter(drawable))]
    names = repository.series_names(recipe)
    with second:
        name = (choice("Ticker or series", names, "series", any_word=None) if names != [""] else "") or names[0]
    with third:
        column = _column(recipe)
    with fourth:
        # A year of daily prices is a chart, a year of yearly figures is one bar.
        few = len(repository.series(recipe, name, column, None).points) <= FEW_POINTS
        span = choice("Time", [*(["all"] if few else []), *(s for s in SPANS if not few or s != "all")], "span", any_word=None)
    as_of = _as_of(repository, recipe, name)
    found = _series(repository, recipe, name, column, SPANS[span or "1 year"], as_of)
    if not found.points:
        html(m.empty("There is no point in this span.", "Choose a longer one, or fetch the dataset with", "ops-pipeline run"))
        return
    _draw(repository, recipe, found)


def _column(recipe: Recipe) -> str:
    """The column that is drawn: one of the prices that the dataset has, the fact's own, or one of silver's."""
    match recipe.gold.object if recipe.gold else None:
        case "fact_eod":
            columns = [name for name in PRICES if recipe.gold and name in recipe.gold.columns]
        case "fact_fx":
            columns = ["rate"]
        case "fact_series":
            columns = ["value", "change"]
        case _:
            columns = numeric_columns(recipe)
    return choice("Figure", columns, "column", any_word=None) or columns[0]


def _as_of(repository: Repository, recipe: Recipe, name: str) -> datetime | None:
    """The time that the slider stands at; None for the present, and where nothing ever changed, so that there is no slider."""
    past = repository.past(recipe, name)
    stops = {
        f"{moment:%Y-%m-%d}" if moment.time() == time() else f"{moment:%Y-%m-%d %H:%M:%S}Z": moment for moment in past.times[:-1]
    }
    if not stops:
        return None
    public = past.clock is Clock.AVAILABLE
    chosen = stop(
        "As of",
        [*stops, NOW],
        "as_of",
        "What was public then, by the vendor's word."
        if public
        else "What was stored then: a stop for each time at which a value changed.",
    )
    if chosen in stops:
        said = "what was public then by the vendor's word" if public else "what was stored by then, and nothing that came later"
        html(m.note(f"As of {chosen}: {said}. Of a time between two stops the earlier one holds."))
    return stops.get(chosen)


def _series(repository: Repository, recipe: Recipe, name: str, column: str, days: int | None, as_of: datetime | None) -> Series:
    """The span's points; it ends with the last point there is, not today: a series may have ended long ago."""
    whole = repository.series(recipe, name, column, None, as_of)
    if days is None or not whole.points:
        return whole
    since = whole.points[-1].date - timedelta(days=days)
    return type(whole)(whole.dataset, whole.name, whole.kind, whole.column, [p for p in whole.points if p.date > since])


def _draw(repository: Repository, recipe: Recipe, found: Series) -> None:
    points = found.points
    chosen = _chosen(points)
    trails = repository.explained(recipe, found.name, chosen.date)
    title = found.name or found.dataset
    few = found.kind == "values" and len(points) <= FEW_POINTS
    drawn = charts.line(points, found.column, found.column.replace("_", " "), chosen=chosen.date, bars=few)
    over, beside = st.columns([3, 1])
    with over:
        html(m.subheading(title, f"{len(points):,} points, {points[0].date} to {points[-1].date}"))
        picked = chart(
            drawn, f"{title}: {found.column} over time", key="series-chart", on_select="rerun", selection_mode=["point"]
        )
        _take(picked, points)
    with beside:
        point.show_facts(found, chosen, trails)
    point.show_versions(title, chosen, trails)
    if found.kind == "prices" and any(p.values["volume"] for p in points):
        html(m.subheading("Volume"))
        chart(charts.bars(points, "volume", "shares"), f"{title}: volume a session")
    if found.kind in ("prices", "rates"):
        html(m.subheading("Return", "Simple return on the adjusted close, session to session." if found.kind == "prices" else ""))
        chart(charts.bars(points, "simple_return", "return", percent=True), f"{title}: simple return a session")
    if found.kind == "prices" and any(p.values["volatility_20d"] for p in points):
        html(m.subheading("Volatility", "Sample standard deviation of the last 20 log returns, daily."))
        chart(charts.line(points, "volatility_20d", "volatility", chosen=None, percent=True), f"{title}: 20-day volatility")


def _chosen(points: Sequence[Point]) -> Point:
    """The point that the address names, or the nearest before it; else the newest."""
    try:
        wanted = date.fromisoformat(st.query_params.get("point", ""))
    except ValueError:
        return points[-1]
    return next((p for p in reversed(points) if p.date <= wanted), points[0])


def _take(picked: object, points: Sequence[Point]) -> None:
    """Puts a clicked point into the address, which draws the page anew with it."""
    selection = getattr(picked, "selection", None) or {}
    clicked = next(iter(selection.get("point") or []), None)
    if not isinstance(clicked, dict) or clicked == st.session_state.get("clicked"):
        return
    st.session_state["clicked"] = clicked
    moment = clicked.get("date")
    day = date(1970, 1, 1) + timedelta(milliseconds=moment) if isinstance(moment, int | float) else None
    if day and points[0].date <= day <= points[-1].date:
        st.query_params["point"] = day.isoformat()
        st.rerun()
