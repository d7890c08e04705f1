"""One file: the raw answer, and its ledger row.

Belongs here: this page. Does not belong here: reading the file (`artifact`).
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import streamlit as st

from ops_pipeline.dashboard import artifact as art
from ops_pipeline.dashboard import markup as m
from ops_pipeline.dashboard.models import Page
from ops_pipeline.dashboard.parts import html, offset, pager, partition_link, sections

if TYPE_CHECKING:
    from ops_pipeline.dashboard.artifact import Artifact
    from ops_pipeline.dashboard.repository import Repository
    from ops_pipeline.ops.ingestion import DatasetInjestion

MOST_NODES = 1500
"""Of a tree on one page; a browser shows more only slowly."""


def show(repository: Repository) -> None:
    """Draws the page of the file that the address names."""
    run_id, file_id = st.query_params.get("run_id", ""), st.query_params.get("file_id", "")
    row = repository.file(run_id, file_id) if run_id and file_id else None
    if row is None:
        html(m.heading("File"), m.empty("The ledger knows no such file.", "Open one from the page of a run."))
        return
    partition = partition_link(row.ticker, row.dataset_key, f"{row.ticker} {row.dataset_key}")
    about = f"{m.badge(row.status).text} {partition.text}, run {m.run_link(row.run_id).text}"
    html(m.heading(f"File {row.file_id[: m.SHORT_ID]}", m.Html(about)), m.tiles(_tiles(row)))
    if row.error:
        html(f'<p class="op-failed" style="margin:0.4rem 0 0">{escape(row.error)}</p>')
    if sections(["Content", "Ledger row"]) == "Content":
        _content(repository, row)
    else:
        html(m.facts((name, getattr(row, name)) for name in type(row).model_fields))


def _tiles(row: DatasetInjestion) -> list[tuple[str, object, object]]:
    asked = m.span(row.requested_from_date, row.requested_to_date)
    return [
        ("Records read", row.bronze_rows, m.size(row.bronze_bytes)),
        (
            "Asked for",
            m.Html(f'<span style="font-size:0.95rem">{asked.text}</span>'),
            f"HTTP {row.bronze_status_code}" if row.bronze_status_code else "",
        ),
        (
            "Dates in it",
            m.Html(f'<span style="font-size:0.95rem">{m.span(row.bronze_from_date, row.bronze_to_date).text}</span>'),
            f"known at {m.markup(row.bronze_injest_end_time) if row.bronze_injest_end_time else m.ABSENT}",
        ),
        ("Silver", row.silver_rows_created + row.silver_rows_updated, m.counts(_silver(row))),
        ("Gold", row.gold_rows_created + row.gold_rows_updated, row.gold_tablename or "feeds none"),
    ]


def _silver(row: DatasetInjestion) -> dict[str, int]:
    words = ("created", "updated", "unchanged", "failed", "superseded", "out_of_window", "deleted")
    return {word: getattr(row, f"silver_rows_{word}") for word in words}


def _content(repository: Repository, row: DatasetInjestion) -> None:
    if row.is_decision:
        html(
            m.empty(
                "No answer, but a decision about rows that the vendor dropped.",
                "The chosen point's versions tell who made it and why.",
            )
        )
        return
    if row.bronze_filename is None:
        html(m.empty("No answer is stored.", "The request failed before an answer came, or it is still under way."))
        return
    found = art.open_artifact(repository.context.store, row.bronze_filename)
    html(f'<p class="op-note">{escape(row.bronze_filename)}, {m.size(found.size)}</p>')
    if found.problem:
        st.warning(found.problem)
    length = found.page_length
    begin = min(offset(length), max(0, found.length - 1) // length * length)
    if found.kind == "json":
        records = found.document[begin : begin + length] if isinstance(found.document, list) else found.document
        html(f'<div class="op-tree">{Tree().of(records, first=begin)}</div>')
        what = "records"
    elif found.kind == "csv":
        html(_table(found, begin))
        what = "lines"
    elif found.text:
        html(
            f'<pre class="op-text" tabindex="0" aria-label="Text of the file">{escape(found.text[begin : begin + length])}</pre>'
        )
        what = "characters"
    else:
        return
    shown = min(length, found.length - begin)
    pager(Page([None] * shown, begin, begin + length < found.length), length, what)


def _table(found: Artifact, begin: int) -> str:
    width = len(found.header)
    columns = [m.Column("line", "num"), *(m.Column(name, "nowrap") for name in found.header)]
    rows = [
        (begin + number + 2, *(cells + [""] * width)[:width])
        for number, cells in enumerate(found.rows[begin : begin + found.page_length])
    ]
    return m.table("Lines of the file", columns, rows)


class Tree:
    """A JSON value as nested lists that open and close, at most so many nodes."""

    def __init__(self, most: int = MOST_NODES) -> None:
        """Counts from nought."""
        self.left = most

    def of(self, value: Any, *, first: int = 0, depth: int = 0) -> str:
        """The value's markup; `first` is the number of a list's first element."""
        self.left -= 1
        if isinstance(value, dict):
            items = [(escape(str(k)), v) for k, v in value.items()]
        elif isinstance(value, list):
            items = [(str(first + n), v) for n, v in enumerate(value)]
        else:
            return escape("null" if value is None else repr(value) if not isinstance(value, str) else f'"{value}"')
        made = []
        for name, item in items:
            if self.left <= 0:
                made.append("<div>… and more, not shown</div>")
                break
            inside = self.of(item, depth=depth + 1)
            if isinstance(item, dict | list) and item:
                opened = " open" if depth == 0 and len(items) <= 3 else ""
                brief = f"{len(item):,} {'fields' if isinstance(item, dict) else 'elements'}"
                made.append(
                    f"<details{opened}><summary>{name} <span>{_brief(item) or brief}</span></summary><div>{inside}</div></details>"
                )
            else:
                made.append(f"<div><b>{name}</b> {inside}</div>")
        return "".join(made) or ("{}" if isinstance(value, dict) else "[]")


def _brief(item: Any) -> str:
    """The first plain fields of a record, so that a list of records can be read without opening each."""
    if not isinstance(item, dict):
        return ""
    plain = [f"{k}: {v}" for k, v in item.items() if not isinstance(v, dict | list)][:4]
    return escape(", ".join(plain)[:110])
