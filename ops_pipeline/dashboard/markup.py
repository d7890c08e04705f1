"""Tables, tiles and links as markup that is safe to show.

Belongs here: turning values into HTML, each of them escaped; how a number, a size, a moment and an absent value look. Does not belong
here: what is shown (`views`), colours (`theme`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from ops_pipeline.dashboard.theme import TONES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SHORT_ID = 8
"""As many digits of an id as tables show, and as the command line shows."""

ABSENT = "–"  # noqa: RUF001 - a dash for what is not there, longer than a minus sign


@dataclass(frozen=True, slots=True)
class Html:
    """Markup that is escaped already; everything else is taken for text."""

    text: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, and how its cells lie."""

    name: str
    kind: str = ""  # num, nowrap, wide


def markup(value: object) -> str:
    """A value as HTML: numbers grouped, moments to the second in UTC, nothing for what is absent."""
    match value:
        case Html():
            return value.text
        case None:
            return f'<span class="op-quiet">{ABSENT}</span>'
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.6g}"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}Z"
        case date():
            return value.isoformat()
        case _:
            return escape(str(value))


def sentence(text: str) -> Html:
    """A text of the program, in which names and commands stand between backticks."""
    return Html(re.sub(r"`([^`]+)`", r'<code class="op-code">\1</code>', escape(text)))


def size(count: int | None) -> str:
    """Bytes as people say them."""
    if count is None:
        return ABSENT
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{count:,} B" if unit == "B" else f"{amount:,.1f} {unit}"
        amount /= 1000
    raise AssertionError("the last unit takes everything")


def seconds(taken: float) -> str:
    """A duration as people say it."""
    if taken < 60:
        return f"{taken:.2f} s" if taken < 10 else f"{taken:.1f} s"
    minutes, rest = divmod(round(taken), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def span(low: date | None, high: date | None) -> Html:
    """Two days, or one where both are the same; a line breaks between them and not at their hyphens."""
    if low is None or high is None:
        return Html(markup(None))
    days = [low] if low == high else [low, high]
    return Html(" to ".join(f'<span class="op-nowrap">{day.isoformat()}</span>' for day in days))


def share(part: float | None) -> str:
    """A share in per cent, never rounded up to the whole: of 99.98 % something is missing."""
    return ABSENT if part is None else f"{int(part * 1000) / 10:g} %"


def sessions_behind(count: int) -> str:
    """How far something is behind, in words."""
    return f"{count:,} session{'' if count == 1 else 's'} behind"


def address(page: str, /, **query: object) -> str:
    """The address of a page with its state; what is None or empty is left out, a list gives a parameter several times."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"/{page}" + (f"?{urlencode(given, doseq=True)}" if given else "")


def link(label: object, target: str) -> Html:
    """A link, in this window."""
    return Html(f'<a href="{escape(target, quote=True)}">{markup(label)}</a>')


def run_link(run_id: str) -> Html:
    """The beginning of a run's id, which leads to the run."""
    return link(run_id[:SHORT_ID], address("run", run_id=run_id))


def badge(word: str, tone: str | None = None) -> Html:
    """A status in its colour; the word itself says what it is."""
    return Html(f'<span class="op-badge op-{tone or TONES.get(word, "quiet")}">{escape(word.replace("_", " "))}</span>')


def counts(figures: dict[str, int]) -> str:
    """Figures by name, those that are nought left out."""
    return ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in figures.items() if number) or "none"


def heading(title: str, about: object = "") -> str:
    """The head of a page."""
    below = f"<p>{markup(about)}</p>" if about else ""
    return f'<div class="op-head"><h1>{escape(title)}</h1>{below}</div>'


def subheading(title: str, about: object = "") -> str:
    """The head of a part of a page."""
    below = f'<p class="op-note">{markup(about)}</p>' if about else ""
    return f'<h2 class="op-h2">{escape(title)}</h2>{below}'


def note(text: object) -> str:
    """A sentence in small print."""
    return f'<p class="op-note">{markup(text)}</p>'


def tiles(items: Iterable[tuple[str, object, object]]) -> str:
    """Figures side by side: name, value, and a line that explains it."""
    made = []
    for name, value, detail in items:
        below = f'<div class="op-detail">{markup(detail)}</div>' if detail not in (None, "") else ""
        figure = f'<div class="op-name">{escape(name)}</div><div class="op-figure">{markup(value)}</div>'
        made.append(f'<div class="op-tile">{figure}{below}</div>')
    return f'<div class="op-tiles">{"".join(made)}</div>'


def facts(items: Iterable[tuple[str, object]]) -> str:
    """Names and values, one a line."""
    rows = "".join(f'<tr><th scope="row">{escape(n)}</th><td>{markup(v)}</td></tr>' for n, v in items)
    return f'<table class="op-facts"><tbody>{rows}</tbody></table>'


def table(label: str, columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> str:
    """A table that scrolls sideways where it is too wide; `label` names it for those who cannot see it."""

    def kind(column: Column) -> str:
        return f' class="op-{column.kind}"' if column.kind else ""

    head = "".join(f'<th scope="col"{kind(c)}>{escape(c.name)}</th>' for c in columns)
    body = "".join(
        "<tr>" + "".join(f"<td{kind(c)}>{markup(v)}</td>" for c, v in zip(columns, row, strict=True)) + "</tr>" for row in rows
    )
    named = f'tabindex="0" role="region" aria-label="{escape(label, quote=True)}"'
    return f'<div class="op-scroll" {named}><table class="op-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def legend(colours: Mapping[str, str]) -> str:
    """What the colours of a chart mean; it wraps where the page is narrow."""
    entries = "".join(f'<span style="color:{colour}"><b></b><i>{escape(word)}</i></span>' for word, colour in colours.items())
    return f'<div class="op-legend">{entries}</div>'


def empty(title: str, advice: str, command: str = "") -> str:
    """What stands where there is nothing to show: why, and what to run."""
    told = f" <code>{escape(command)}</code>" if command else ""
    return f'<div class="op-empty"><strong>{escape(title)}</strong>{sentence(advice).text}{told}</div>'
