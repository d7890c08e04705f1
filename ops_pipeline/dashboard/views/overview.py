"""The first page: did it run, what failed, how fresh is what.

Belongs here: this page. Does not belong here: its figures (`models.Overview`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from ops_pipeline.dashboard import charts
from ops_pipeline.dashboard import markup as m
from ops_pipeline.dashboard.parts import chart, html, partition_link

if TYPE_CHECKING:
    from ops_pipeline.dashboard.models import Freshness, Overview
    from ops_pipeline.dashboard.repository import Repository
    from ops_pipeline.ops.failures import Failure
    from ops_pipeline.ops.queries import RunSummary

_TONES = {"fresh": "ok", "late": "warn", "stale": "failed"}


def show(repository: Repository) -> None:
    """Draws the page."""
    found = repository.overview()
    if found is None:
        html(
            m.heading("Overview"),
            m.empty("Nothing was asked for yet.", "Fetch the built-in sample data with", "ops-pipeline run"),
        )
        return
    run = found.newest
    about = m.Html(f"Newest run {m.run_link(run.run_id).text} {m.badge(run.status).text}, started {m.markup(run.started)}")
    html(m.heading("Overview", about), m.tiles(run_tiles(run)))
    html(m.subheading("Freshness", "How far each dataset reaches, and how far a run could have brought it by now."))
    html(_freshness(found.freshness))
    _failures(found)
    if len(found.days) > 1:
        rows, size = st.columns(2)
        with rows:
            html(m.subheading("Rows read a day"))
            chart(charts.growth(found.days, "rows", "rows"), "Rows read from answers, one bar a day")
        with size:
            html(m.subheading("Bytes stored a day"))
            chart(charts.growth(found.days, "bytes", "bytes"), "Bytes of answers, one bar a day")


def run_tiles(run: RunSummary) -> list[tuple[str, object, object]]:
    """A run's figures: files, rows, failures a layer, duration."""
    silver, gold = run.silver_rows, run.gold_rows
    failed = [
        f"{n:,} in {layer}"
        for layer, n in (
            ("bronze", run.bronze.get("failed", 0)),
            ("silver", run.silver_failed_files),
            ("gold", run.gold_failed_files),
        )
        if n
    ]
    failures = m.Html(f'<span class="op-{"failed" if run.failed_files else "ok"}">{run.failed_files:,}</span>')
    return [
        ("Files", run.files, f"{run.datasets:,} datasets, {run.tickers:,} tickers"),
        ("Answers", run.bronze.get("stored", 0), m.counts({k: v for k, v in run.bronze.items() if k != "stored"})),
        ("Rows read", run.bronze_rows, m.size(run.bronze_bytes)),
        (
            "Silver rows",
            silver.get("created", 0) + silver.get("updated", 0),
            m.counts({k: silver.get(k, 0) for k in ("created", "updated", "failed", "deleted")}),
        ),
        ("Gold rows", gold.get("created", 0) + gold.get("updated", 0), m.counts(gold)),
        ("Failures", failures, ", ".join(failed) or "in no layer"),
        ("Duration", m.seconds(run.seconds), "first request to last step"),
    ]


def _freshness(found: list[Freshness]) -> str:
    columns = [
        m.Column("dataset", "nowrap"),
        m.Column("state"),
        m.Column("reaches", "nowrap"),
        m.Column("expected", "nowrap"),
        m.Column("sessions behind", "num"),
        m.Column("last answer (UTC)", "nowrap"),
        m.Column("tickers", "num"),
        m.Column("files", "num"),
        m.Column("failed ever", "num"),
        m.Column("silver rows", "num"),
        m.Column("raw bytes", "num"),
    ]
    rows = [
        (
            m.link(f.state.dataset, m.address("coverage", dataset=f.state.dataset)),
            m.badge(f.verdict, _TONES.get(f.verdict, "quiet")),
            f.state.to_date,
            f.expected,
            f.behind if f.expected else None,
            f.state.last_answer,
            f.state.tickers,
            f.state.files,
            f.state.failed_files,
            f.state.rows,
            m.size(f.state.bytes),
        )
        for f in found
    ]
    return m.table("Freshness of the datasets", columns, rows)


def _failures(found: Overview) -> None:
    if not found.failures:
        html(m.subheading("Failures"), '<p class="op-note">No wanted partition is left failed.</p>')
        return
    more = " Only the first are shown; the page Quality lists more." if found.more_failures else ""
    html(
        m.subheading("Failures", f"Wanted partitions whose latest attempt failed; the next run asks for them again.{more}"),
        failures_table(found.failures),
    )


def failures_table(failures: list[Failure]) -> str:
    """Partitions that are left failed, with the reason and the command that repairs each."""
    columns = [
        m.Column("ticker"),
        m.Column("dataset", "nowrap"),
        m.Column("layer"),
        m.Column("reason", "wide"),
        m.Column("run"),
        m.Column("at (UTC)", "nowrap"),
        m.Column("repair", "nowrap"),
    ]
    rows = [
        (
            partition_link(f.partition.ticker, f.partition.dataset, f.partition.ticker),
            f.partition.dataset,
            f.layer,
            f.reason,
            m.run_link(f.run_id),
            f.at,
            m.Html(f'<code class="op-code">ops-pipeline retry {m.markup(f.run_id[: m.SHORT_ID])}</code>'),
        )
        for f in failures
    ]
    return m.table("Failures", columns, rows)
