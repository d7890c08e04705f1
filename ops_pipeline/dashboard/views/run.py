"""One run: figures, timeline, files and errors.

Belongs here: this page. Does not belong here: one file (`file`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from ops_pipeline.dashboard import charts
from ops_pipeline.dashboard import markup as m
from ops_pipeline.dashboard.parts import (
    chart,
    choice,
    files_table,
    filters,
    html,
    offset,
    pager,
    reset_page_on_change,
    sections,
    word,
)
from ops_pipeline.dashboard.repository import PAGE_FILES
from ops_pipeline.dashboard.views.overview import run_tiles
from ops_pipeline.ops.queries import RunFilter
from ops_pipeline.recipes.keys import split_dataset_key

if TYPE_CHECKING:
    from ops_pipeline.dashboard.models import RunDetail
    from ops_pipeline.dashboard.repository import Repository

STATUSES = ["asked", "failed", "not_in_plan", "deferred", "empty", "unchanged", "pending", "promoted"]


def show(repository: Repository) -> None:
    """Draws the page of the run that the address names."""
    asked = st.query_params.get("run_id", "")
    run_id = asked if asked and repository.run(asked) else repository.find_run(asked)
    found = repository.run(run_id) if run_id else None
    if found is None:
        told = f"No run begins with {asked}." if asked else "The address names no run."
        html(m.heading("Run"), m.empty(told, "The page Runs lists them all; on the command line:", "ops-pipeline runs"))
        return
    run = found.summary
    about = f"{m.badge(run.status).text} started {m.markup(run.started)}, {m.seconds(run.seconds)}{_elsewhere(repository, found)}"
    html(m.heading(f"Run {run.run_id[: m.SHORT_ID]}", m.Html(about)), m.tiles(run_tiles(run)))
    html(f'<p class="op-note">Whole id: <code class="op-code">{m.markup(run.run_id)}</code></p>')
    parts = {"Files": _files, "Errors": _errors, "Timeline": _timeline}
    parts[sections(list(parts))](repository, found)


def _elsewhere(repository: Repository, found: RunDetail) -> str:
    if not found.in_dagster:
        return ", by the command line"
    address = f"{repository.settings.dagster_url}/runs/{found.summary.run_id}"
    return f", {m.link('open in Dagster', address).text}"


def _timeline(_: Repository, found: RunDetail) -> None:
    if not found.steps:
        html(
            m.empty(
                "No stage of this run has a time yet.", "A run that has just begun shows its first stage when it is recorded."
            )
        )
        return
    if found.steps_left_out:
        html('<p class="op-note">The run has more files than a picture can hold: these are the first by dataset and ticker.</p>')
    html(m.legend(charts.STEP_COLOURS))
    chart(charts.gantt(found.steps), "When each file of the run was in bronze, silver and gold", key="gantt")


def _errors(repository: Repository, found: RunDetail) -> None:
    page = repository.run_files(found.summary.run_id, RunFilter(only_failures=True), offset=offset(PAGE_FILES, "errors"))
    if not page.items:
        html(m.empty("Nothing failed in this run.", ""))
        return
    columns = [
        m.Column("ticker"),
        m.Column("dataset", "nowrap"),
        m.Column("failed in"),
        m.Column("reason", "wide"),
        m.Column("file"),
    ]
    rows = []
    for f in page.items:
        reasons = (("bronze", f.bronze_error), ("silver", f.silver_errors), ("gold", f.gold_errors))
        layer, reason = next(((name, text) for name, text in reasons if text), ("", "no reason was recorded"))
        rows.append(
            (f.ticker, f.dataset_key, layer, reason, m.link("open", m.address("file", run_id=f.run_id, file_id=f.file_id)))
        )
    html(m.table("Errors of the run", columns, rows))
    pager(page, PAGE_FILES, "errors", "errors")
    command = f"ops-pipeline retry {found.summary.run_id[: m.SHORT_ID]}"
    html(f'<p class="op-note">What is left of this run is repaired by <code class="op-code">{command}</code></p>')


def _files(repository: Repository, found: RunDetail) -> None:
    datasets = repository.datasets()
    parts = [split_dataset_key(key) for key in datasets]
    boxes = filters([1, 2, 1.2, 1.2, 1.2, 1.2])
    with boxes[0]:
        stage = choice("Stage", ["bronze", "silver", "gold"], "stage")
    with boxes[1]:
        dataset = choice("Dataset", datasets, "dataset")
    with boxes[2]:
        variant = choice("Variant", sorted({discriminator for _, _, discriminator in parts}), "variant")
    with boxes[3]:
        source = choice("Source", sorted({source for source, _, _ in parts}), "source")
    with boxes[4]:
        ticker = word("Ticker", "ticker", "any")
    with boxes[5]:
        status = choice("Status", STATUSES, "status")
    wanted = RunFilter(stage=stage, dataset=dataset, discriminator=variant, source=source, ticker=ticker, status=status)
    reset_page_on_change((found.summary.run_id, wanted))
    page = repository.run_files(found.summary.run_id, wanted, offset=offset(PAGE_FILES))
    if page.items:
        html(files_table(page.items, "Files of the run"))
    else:
        html(m.empty("No file of this run matches.", "Widen the filters above."))
    pager(page, PAGE_FILES, "files")
