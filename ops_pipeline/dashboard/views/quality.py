"""Quality: checks made now, and what was refused.

Belongs here: this page. Does not belong here: the checks themselves (`ops`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from ops_pipeline.dashboard import markup as m
from ops_pipeline.dashboard.parts import choice, html, offset, pager
from ops_pipeline.dashboard.repository import PAGE_FILES

if TYPE_CHECKING:
    from ops_pipeline.dashboard.models import CheckResult, Quality
    from ops_pipeline.dashboard.repository import Repository

SHOWN_FINDINGS = 20
_REFUSED = m.Html(
    "What a recipe could not type stays in its file, is counted, and listed here. <code>ops-pipeline rejects list</code> lists the files,"
    " those that were refused as a whole too; once the recipe is mended, <code>ops-pipeline rejects retry</code> takes them in."
)


def show(repository: Repository) -> None:
    """Draws the page."""
    html(m.heading("Quality", "Checks on what is stored, made now, and the records that were refused."))
    table = st.query_params.get("table")
    found = repository.quality(silver_table=table if table and table != "all" else None, offset=offset(PAGE_FILES))
    html(m.subheading("Checks"), _checks(found.checks))
    for check in found.checks:
        if check.findings:
            rows = [(f.where, f.what) for f in check.findings[:SHOWN_FINDINGS]]
            more = f"the first {SHOWN_FINDINGS} of {len(check.findings):,}" if len(check.findings) > SHOWN_FINDINGS else ""
            html(m.subheading(check.sentence, more), m.table(check.sentence, [m.Column("where"), m.Column("what", "wide")], rows))
    html(
        m.subheading("Checks of the data", "Made at the end of each run, of what it touched; what failed comes first."),
        _data(found),
    )
    html(m.subheading("Files, ledger and tables", "Whether all that is stored fits together, as the newest reconcile found it."))
    html(_reconciled(found))
    html(m.subheading("Refused records", _REFUSED))
    _rejects(found)
    html(m.subheading("Unknown fields", "What vendors send and no recipe names; the values stay in bronze."), _drift(found))


def _data(found: Quality) -> str:
    if not found.data_checks:
        return m.empty("No check was made yet.", "A run makes them at its end; ops-pipeline checks --run makes them now.")
    columns = [
        m.Column("result"),
        m.Column("dataset", "nowrap"),
        m.Column("check", "nowrap"),
        m.Column("findings", "num"),
        m.Column("first", "wide"),
        m.Column("checked (UTC)", "nowrap"),
    ]
    rows = [
        (
            m.badge("passed" if c.passed else {"error": "failed", "warn": "warning"}[c.severity]),
            c.dataset_key,
            c.check_name.replace("_", " "),
            c.findings,
            f"{c.first_findings[0].where}: {c.first_findings[0].what}" if c.first_findings else None,
            c.checked_at,
        )
        for c in found.data_checks
    ]
    return m.table("Checks of the data", columns, rows)


def _reconciled(found: Quality) -> str:
    if not found.reconciled:
        return m.empty("Nothing was compared yet.", "Under Dagster it is done weekly; by hand with", "ops-pipeline reconcile")
    columns = [
        m.Column("result"),
        m.Column("what should hold", "wide"),
        m.Column("looked at", "num"),
        m.Column("not looked at", "num"),
        m.Column("found", "num"),
        m.Column("mended", "num"),
        m.Column("compared (UTC)", "nowrap"),
    ]
    rows = [
        (
            m.badge("passed" if not r.left else "failed" if r.kind.is_grave else "warning"),
            r.kind.about,
            r.looked_at,
            r.left_out,
            r.findings,
            r.fixed,
            r.checked_at,
        )
        for r in found.reconciled
    ]
    left = [(r.kind, one) for r in found.reconciled for one in r.first_findings if not one.fixed]
    made = m.table("Files, ledger and tables", columns, rows)
    if left:
        names = [m.Column("finding", "nowrap"), m.Column("where"), m.Column("what", "wide"), m.Column("what to do", "wide")]
        lines = [(kind.value.replace("_", " "), one.where, one.what, one.repair) for kind, one in left[:SHOWN_FINDINGS]]
        made += m.table("What does not fit together", names, lines)
    return made


def _drift(found: Quality) -> str:
    if not found.drift:
        return m.empty("No unknown field was sent.", "Recipes name, or knowingly ignore, every field of every answer.")
    columns = [
        m.Column("dataset", "nowrap"),
        m.Column("field"),
        m.Column("example", "wide"),
        m.Column("first file"),
        m.Column("since (UTC)", "nowrap"),
    ]
    rows = [
        (d.dataset_key, d.field, d.example, m.link("open", m.address("file", run_id=d.run_id, file_id=d.file_id)), d.known_at)
        for d in found.drift
    ]
    return m.table("Unknown fields", columns, rows)


def _checks(checks: list[CheckResult]) -> str:
    rows = [
        (
            m.badge("passed") if not c.findings else m.badge("failed"),
            c.sentence,
            len(c.findings),
        )
        for c in checks
    ]
    return m.table("Checks", [m.Column("result"), m.Column("check", "wide"), m.Column("findings", "num")], rows)


def _rejects(found: Quality) -> None:
    if not found.reasons:
        html(m.empty("No record was refused.", "Every record of every file could be typed."))
        return
    columns = [
        m.Column("table", "nowrap"),
        m.Column("reason", "wide"),
        m.Column("records", "num"),
        m.Column("tickers", "num"),
        m.Column("last (UTC)", "nowrap"),
    ]
    html(m.table("Refused records by reason", columns, [tuple(r.values()) for r in found.reasons]))
    choice("Table", found.tables, "table")
    lines = [
        (
            r.ticker,
            r.silver_tablename,
            r.reason,
            m.link(f"record {r.row_position:,}", m.address("file", run_id=r.run_id, file_id=r.bronze_file_id)),
            (r.raw_text or "")[:300],
            r.rejected_at,
        )
        for r in found.rejects.items
    ]
    names = [
        m.Column("ticker"),
        m.Column("table", "nowrap"),
        m.Column("reason", "wide"),
        m.Column("file", "nowrap"),
        m.Column("as sent", "wide"),
        m.Column("at (UTC)", "nowrap"),
    ]
    html(m.table("Refused records", names, lines))
    pager(found.rejects, PAGE_FILES, "records")
