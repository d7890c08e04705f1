"""One partition: its coverage, how its watermark moved, its files and what they restated.

Belongs here: this page. Does not belong here: one file (`file`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from ops_pipeline.dashboard import charts
from ops_pipeline.dashboard import markup as m
from ops_pipeline.dashboard.parts import chart, files_table, html, offset, pager
from ops_pipeline.dashboard.repository import PAGE_FILES
from ops_pipeline.dashboard.views.coverage import verdict
from ops_pipeline.recipes.universe import PartitionKey

if TYPE_CHECKING:
    from ops_pipeline.dashboard.models import Cell
    from ops_pipeline.dashboard.repository import Repository


def show(repository: Repository) -> None:
    """Draws the page of the partition that the address names."""
    partition = PartitionKey(st.query_params.get("ticker", ""), st.query_params.get("dataset", ""))
    known = len(partition.dataset.split(".")) in (2, 3) and all(partition.dataset.split("."))
    found = repository.partition(partition, offset=offset(PAGE_FILES)) if known else None
    if found is None or found.cell is None:
        html(m.heading("Partition"), m.empty("The ledger knows no such partition.", "Open one from the page Coverage."))
        return
    recipe = repository.context.catalogue.recipes.get(partition.dataset)
    title = partition.dataset if partition.ticker == "-" else f"{partition.ticker} · {partition.dataset}"
    about = recipe.description if recipe else "No recipe of this name is known any more."
    chart_link = m.link("chart of its data", m.address("data", dataset=partition.dataset, series=_series(partition.ticker)))
    html(
        m.heading(title, m.Html(f"{verdict(found.cell).text} {m.markup(about)} {chart_link.text}")),
        m.tiles(_tiles(found.cell)),
    )
    if found.cell.gaps:
        spans = [(m.span(a, b),) for a, b in found.cell.gaps[:50]]
        html(m.subheading("Gaps", "Days between covered ones that no complete request covers; the next run asks for them."))
        html(m.table("Gaps", [m.Column("days", "nowrap")], spans))
    if any(s.watermark for s in found.steps):
        html(m.subheading("Watermark", "The last day of the contiguous cover, after each file; flat where a file moved nothing."))
        chart(charts.watermark(found.steps), "The watermark after each file, over the time at which the file was stored")
    restated = [f for f in found.files.items if f.silver_rows_updated or f.silver_rows_deleted]
    if restated:
        told = ", ".join(
            f"{m.run_link(f.run_id).text}: {f.silver_rows_updated:,} updated, {f.silver_rows_deleted:,} deleted"
            for f in restated[:10]
        )
        html(m.subheading("Restatements", m.Html(f"Files that changed rows silver already had: {told}")))
    html(m.subheading("Files", "Newest first."), files_table(found.files.items, "Files of the partition", of_one=True))
    pager(found.files, PAGE_FILES, "files")


def _series(ticker: str) -> str | None:
    return None if ticker == "-" else ticker


def _tiles(cell: Cell) -> list[tuple[str, object, object]]:
    small = '<span style="font-size:1rem">{}</span>'
    return [
        ("Covered", m.share(cell.share), f"{cell.covered:,} of {cell.sessions:,} sessions"),
        ("From", m.Html(small.format(m.markup(cell.from_date))), "first date in an answer"),
        ("To", m.Html(small.format(m.markup(cell.to_date))), m.sessions_behind(cell.behind) if cell.sessions else ""),
        ("Gaps", len(cell.gaps), ""),
        ("Files", cell.files, f"{cell.failed:,} failed, {cell.pending:,} waiting"),
        ("Last answer", m.Html(small.format(m.markup(cell.last_answer))), ""),
    ]
