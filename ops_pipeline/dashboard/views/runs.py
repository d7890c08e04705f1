"""The runs: a calendar of days and a table.

Belongs here: this page. Does not belong here: one run (`run`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from ops_pipeline.dashboard import markup as m
from ops_pipeline.dashboard.grids import year_of_days
from ops_pipeline.dashboard.parts import choice, filters, flag, html, offset, pager, reset_page_on_change, runs_table, word
from ops_pipeline.ops.queries import RunFilter

if TYPE_CHECKING:
    from datetime import date

    from ops_pipeline.dashboard.repository import Repository

PAGE_RUNS = 25


def show(repository: Repository) -> None:
    """Draws the page."""
    years = repository.years()
    if not years:
        html(m.heading("Runs"), m.empty("There is no run yet.", "Start one with", "ops-pipeline run"))
        return
    html(m.heading("Runs", "Every run with its figures, newest first; days are in UTC."))
    first, second, third, fourth, fifth = filters([1.1, 2, 1.4, 2, 1.3])
    with first:
        year = choice("Year of the calendar", [str(y) for y in years], "year", any_word=None)
    with second:
        dataset = choice("Dataset", repository.datasets(), "dataset")
    with third:
        ticker = word("Ticker", "ticker", "any")
    with fourth:
        between = st.date_input("Started between", value=[], key="dates", bind="query-params", format="YYYY-MM-DD")
    with fifth:
        failed = flag("Only failures", "failed")
    since, until = _span(between)
    wanted = RunFilter(since=since, until=until, dataset=dataset, ticker=ticker, only_failures=failed)
    days = repository.calendar(int(year or years[0]), RunFilter(dataset=dataset, ticker=ticker))
    html(year_of_days(days, int(year or years[0])))
    reset_page_on_change(wanted)
    page = repository.runs(wanted, limit=PAGE_RUNS, offset=offset(PAGE_RUNS))
    if not page.items:
        html(m.empty("No run matches.", "Widen the filters above."))
    else:
        html(runs_table(page.items))
    pager(page, PAGE_RUNS, "runs")


def _span(between: tuple[date, ...]) -> tuple[date | None, date | None]:
    """The two days of a date input; a single one is the first."""
    return (between[0] if between else None), (between[1] if len(between) > 1 else None)
