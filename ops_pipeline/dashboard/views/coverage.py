"""What is covered: tickers by datasets, gaps, staleness.

Belongs here: this page. Does not belong here: one partition (`partition`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops_pipeline.dashboard import markup as m
from ops_pipeline.dashboard.grids import coverage_map
from ops_pipeline.dashboard.models import LATE_SESSIONS, UNKNOWN
from ops_pipeline.dashboard.parts import choice, filters, html, offset, pager, partition_link, reset_page_on_change, word
from ops_pipeline.ops.queries import RunFilter

if TYPE_CHECKING:
    from ops_pipeline.dashboard.models import Cell
    from ops_pipeline.dashboard.repository import Repository

PAGE_TICKERS = 40


def show(repository: Repository) -> None:
    """Draws the page."""
    html(m.heading("Coverage", "The share of expected sessions that complete requests cover, by ticker and dataset."))
    first, second, _ = filters([2, 1.4, 3])
    with first:
        dataset = choice("Dataset", repository.datasets(), "dataset")
    with second:
        ticker = word("Ticker", "ticker", "any")
    wanted = RunFilter(dataset=dataset, ticker=ticker)
    reset_page_on_change(wanted)
    page = repository.coverage(wanted, limit=PAGE_TICKERS, offset=offset(PAGE_TICKERS))
    cells = [c for row in page.items for c in row]
    if not cells:
        if dataset or ticker:
            html(m.empty("No partition matches.", "Widen the filters, or fetch it with", "ops-pipeline run"))
        else:
            html(m.empty("Nothing is stored yet.", "Fetch what the universe lists with", "ops-pipeline run"))
        return
    html(coverage_map(page.items))
    html(m.subheading("Figures"))
    html(coverage_table(cells))
    pager(page, PAGE_TICKERS, "tickers")


def verdict(cell: Cell) -> m.Html:
    """One word for a partition."""
    if cell.failed and cell.to_date is None:
        return m.badge("failed")
    if cell.refused:
        return m.badge("not_in_plan")
    if cell.gaps:
        return m.badge("gaps", "warn")
    if not cell.sessions:
        return m.badge(UNKNOWN, "quiet")
    if cell.behind > LATE_SESSIONS:
        return m.badge("stale")
    return m.badge("late") if cell.behind else m.badge("complete", "ok")


def coverage_table(cells: list[Cell]) -> str:
    """Partitions with their dates, gaps and files; a click leads to the partition's history."""
    columns = [
        m.Column("ticker"),
        m.Column("dataset", "nowrap"),
        m.Column("state"),
        m.Column("from", "nowrap"),
        m.Column("to", "nowrap"),
        m.Column("covered", "num"),
        m.Column("sessions behind", "num"),
        m.Column("gaps"),
        m.Column("files", "num"),
        m.Column("failed", "num"),
        m.Column("waiting", "num"),
        m.Column("last answer (UTC)", "nowrap"),
    ]
    rows = [
        (
            partition_link(c.ticker, c.dataset, c.ticker),
            c.dataset,
            verdict(c),
            c.from_date,
            c.to_date,
            m.share(c.share),
            c.behind if c.sessions else None,
            m.Html("<br>".join(m.span(a, b).text for a, b in c.gaps[:3]) + (" …" if len(c.gaps) > 3 else "")) if c.gaps else None,
            c.files,
            c.failed,
            c.pending,
            c.last_answer,
        )
        for c in cells
    ]
    return m.table("Coverage", columns, rows)
