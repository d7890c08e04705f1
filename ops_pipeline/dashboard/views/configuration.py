"""Settings: what is in effect, and where it comes from; secrets are never shown.

Belongs here: this page. Does not belong here: the settings (`ops_pipeline.settings`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from ops_pipeline import __version__
from ops_pipeline.dashboard import markup as m
from ops_pipeline.dashboard.parts import html
from ops_pipeline.settings import PREFIX, source_variables

if TYPE_CHECKING:
    from ops_pipeline.dashboard.repository import Repository
    from ops_pipeline.recipes.source import SourceDeclaration

MASK = "•••"


def show(repository: Repository) -> None:
    """Draws the page."""
    settings, catalogue = repository.settings, repository.context.catalogue
    html(
        m.heading(
            "Settings",
            f"ops_pipeline {__version__}: what is in effect. Settings are environment variables; keys are never shown.",
        )
    )
    rows: list[tuple[object, ...]] = []
    for name, field in type(settings).model_fields.items():
        variable = f"{PREFIX}{name.upper()}"
        value = getattr(settings, name)
        rows.append(
            (
                variable,
                m.Html(f'<code class="op-code">{m.markup(masked(value))}</code>') if value is not None else None,
                m.badge("set") if os.environ.get(variable) else m.badge("default", "quiet"),
                m.sentence(field.description or ""),
            )
        )
    for variable, value in source_variables().items():
        rows.append(
            (
                variable,
                m.Html(f'<code class="op-code">{m.markup(masked(value))}</code>'),
                m.badge("set"),
                "the plan bought of this source" if variable.upper().endswith("_PLAN") else "another address for this source",
            )
        )
    html(
        m.subheading("Settings"),
        m.table(
            "Settings",
            [m.Column("variable", "nowrap"), m.Column("value", "wide"), m.Column("from"), m.Column("meaning", "wide")],
            rows,
        ),
        m.subheading("Folders"),
        m.facts(
            [
                ("database", settings.database_path),
                ("bronze files", settings.bronze_path),
                ("universe", settings.universe_path),
                ("own recipes", settings.recipes_path),
            ]
        ),
        m.subheading("Sources", "A key is set or not set; what it is stays in the environment."),
        m.table(
            "Sources",
            [
                m.Column("source"),
                m.Column("address"),
                m.Column("key"),
                m.Column("at once", "num"),
                m.Column("datasets", "num"),
                m.Column("about", "wide"),
            ],
            [
                (
                    source.name,
                    masked(source.http.base_url) if source.http else None,
                    _key(source),
                    source.concurrency,
                    sum(r.source == source.name for r in catalogue.recipes.values()),
                    source.description,
                )
                for source in catalogue.sources.values()
            ],
        ),
    )


def masked(value: object) -> str:
    """A setting as text; what an address says of a user, and its query, may be a secret."""
    text = str(value)
    if "://" not in text:
        return text
    parts = urlsplit(text)
    host = parts.netloc.rpartition("@")
    netloc = f"{MASK}@{host[2]}" if host[1] else parts.netloc
    return urlunsplit((parts.scheme, netloc, parts.path, MASK if parts.query else "", MASK if parts.fragment else ""))


def _key(source: SourceDeclaration) -> m.Html | None:
    key = source.http.key if source.http else None
    if key is None:
        return None
    try:
        told = "set" if key.read() is not None else "not set"
    except ValueError:
        told = "unusable"
    return m.Html(
        f'<code class="op-code">{m.markup(key.env)}</code> {m.badge(told, "failed" if told == "unusable" else None).text}'
    )
