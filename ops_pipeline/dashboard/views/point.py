"""One point of a chart, explained as `ops-pipeline explain` does: its figures, its file, and every value that it ever had.

Belongs here: drawing the trail. Does not belong here: following it (`gold.explain`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops_pipeline.dashboard import markup as m
from ops_pipeline.dashboard.parts import html

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops_pipeline.dashboard.models import Series
    from ops_pipeline.gold.explain import Trail
    from ops_pipeline.gold.series import Point


def show_facts(found: Series, point: Point, trails: Sequence[Trail]) -> None:
    """What the point is, and the file, request and run that it came from."""
    trail = _trail_of(point, trails)
    file = trail.files.get((point.run_id, point.file_id)) if trail else None
    facts: list[tuple[str, object]] = [
        (name.replace("_", " "), _figure(name, value)) for name, value in point.values.items() if value is not None
    ]
    facts.append(("file", _file(point.run_id, point.file_id)))
    if file is not None:
        asked = m.span(file.requested_from_date, file.requested_to_date)
        facts += [("records in it", file.bronze_rows), ("asked for", asked), ("sha256", (file.bronze_payload_hash or "")[:16])]
    facts += [("run", m.run_link(point.run_id)), ("known since", point.known_at), ("dataset", found.dataset)]
    if trail is not None and trail.before is not None and trail.recipe.date_column and found.kind != "values":
        before = trail.before
        source = m.address("file", run_id=before["run_id"], file_id=before["bronze_file_id"])
        facts.append(("changes rest on", m.link(before[trail.recipe.date_column], source)))
    html(m.subheading(f"Where {point.date} comes from"), m.facts(facts))


def show_versions(name: str, point: Point, trails: Sequence[Trail]) -> None:
    """Every value that the point's row ever had, and since when each was known."""
    trail = _trail_of(point, trails)
    if trail is None:
        return
    columns = [
        m.Column("known at (UTC)", "nowrap"),
        m.Column("what"),
        m.Column("values", "wide"),
        m.Column("file"),
        m.Column("run"),
    ]
    rows = [
        (
            v.change["known_at"],
            m.badge(v.operation, "ok" if v.operation == "created" else "deferred"),
            v.sentence,
            _file(v.change["run_id"], v.change["bronze_file_id"]),
            m.run_link(v.change["run_id"]),
        )
        for v in reversed(trail.versions)
    ]
    about = f"Every value of {name} on {point.date} in {trail.recipe.silver_table}, and since when it was known."
    html(m.subheading("Values until now", about), m.table("Values of the chosen point", columns, rows))


def _trail_of(point: Point, trails: Sequence[Trail]) -> Trail | None:
    """The trail of the row that the point was drawn from: a dataset may have several rows a date."""
    key = point.run_id, point.file_id
    named = [t for t in trails if any((v.change["run_id"], v.change["bronze_file_id"]) == key for v in t.versions)]
    return next(iter(named or trails), None)


def _file(run_id: str, file_id: str) -> m.Html:
    return m.link(file_id[: m.SHORT_ID], m.address("file", run_id=run_id, file_id=file_id))


def _figure(name: str, value: float) -> str:
    """A figure as people write it: shares in per cent, whole numbers whole."""
    if name in ("simple_return", "volatility_20d"):
        return f"{value:.2%}"
    return f"{value:,.0f}" if value.is_integer() else f"{value:,.10g}"
