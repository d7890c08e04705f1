"""Parts that several pages share: filters whose state is in the address, pagers, charts with a name, tables of runs and files.

Belongs here: thin calls of Streamlit. Does not belong here: what only one page has (`views`), markup (`markup`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from ops_pipeline.dashboard import markup as m

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ops_pipeline.dashboard.charts import Chart
    from ops_pipeline.dashboard.models import Page
    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.ops.queries import RunSummary

ANY = "all"


def html(*texts: str) -> None:
    """Our own markup."""
    st.html("".join(texts))


def chart(drawn: Chart, about: str, **options: Any) -> Any:
    """A chart over the page's width; `about` says what it shows to those who cannot see it."""
    return st.altair_chart(drawn, width="stretch", alt=about, **options)


def choice(label: str, options: Sequence[str], key: str, *, any_word: str | None = ANY) -> str | None:
    """One of some words, or any; its state is in the address under `key`."""
    listed = [any_word, *options] if any_word else list(options)
    chosen = st.selectbox(label, listed, key=key, bind="query-params", filter_mode="contains" if len(listed) > 8 else None)
    return None if chosen == any_word else chosen


def stop(label: str, options: Sequence[str], key: str, about: str) -> str:
    """One of some words in their order, by a slider that begins at the last; its state is in the address under `key`."""
    return str(st.select_slider(label, options, value=options[-1], key=key, bind="query-params", help=about))


def word(label: str, key: str, placeholder: str = "") -> str | None:
    """A text to look for; its state is in the address under `key`."""
    given = st.text_input(label, key=key, bind="query-params", placeholder=placeholder)
    return (given or "").strip() or None


def flag(label: str, key: str) -> bool:
    """A switch; its state is in the address under `key`."""
    return st.toggle(label, key=key, bind="query-params")


def offset(length: int, key: str = "page") -> int:
    """Where the page begins that the address names; the first page for anything that is no number."""
    text = st.query_params.get(key, "1")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 1
    return max(0, number - 1) * length


def pager(page: Page[Any], length: int, what: str, key: str = "page") -> None:
    """Which part of a list is shown, and buttons to the parts before and after it; nothing where the list is one page."""
    if not page.more and not page.offset:
        return
    number = page.offset // length + 1

    def go(to: int) -> None:
        st.query_params[key] = str(to)

    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("← back", key=f"{key}-back", disabled=number == 1, on_click=go, args=(number - 1,))
        st.button("next →", key=f"{key}-next", disabled=not page.more, on_click=go, args=(number + 1,))
        shown = f"{what} {page.offset + 1:,} to {page.offset + len(page.items):,}" if page.items else f"no more {what}"
        st.html(f'<p class="op-note">{shown}</p>', width="content")


def filters(widths: Sequence[float]) -> list[Any]:
    """Places for filters side by side, two in a row on a phone; a page has one such row."""
    with st.container(key="filters"):
        return list(st.columns(list(widths), vertical_alignment="bottom"))


def sections(names: Sequence[str], key: str = "tab") -> str:
    """Which part of the page is open; its state is in the address under `key`."""
    chosen = st.segmented_control(
        "Part of the page", names, default=names[0], required=True, key=key, bind="query-params", label_visibility="collapsed"
    )
    return chosen or names[0]


def reset_page_on_change(state: object, key: str = "page") -> None:
    """Goes back to the first page when a filter changed: page 7 of another list means nothing."""
    before = st.session_state.get(f"{key}-state")
    if before is not None and before != state and key in st.query_params:
        del st.query_params[key]
    st.session_state[f"{key}-state"] = state


def runs_table(runs: Iterable[RunSummary]) -> str:
    """The table of runs."""
    columns = [
        m.Column("run"),
        m.Column("status"),
        m.Column("started (UTC)", "nowrap"),
        m.Column("duration", "num"),
        m.Column("files", "num"),
        m.Column("stored", "num"),
        m.Column("failed", "num"),
        m.Column("deferred", "num"),
        m.Column("not in plan", "num"),
        m.Column("empty", "num"),
        m.Column("unchanged", "num"),
        m.Column("silver created", "num"),
        m.Column("updated", "num"),
        m.Column("refused", "num"),
        m.Column("gold rows", "num"),
    ]
    rows = [
        (
            m.run_link(r.run_id),
            m.badge(r.status),
            r.started,
            m.seconds(r.seconds),
            r.files,
            r.bronze.get("stored", 0),
            m.badge(f"{r.failed_files:,}", "failed") if r.failed_files else 0,
            r.bronze.get("deferred", 0),
            r.bronze.get("not_in_plan", 0),
            r.bronze.get("empty", 0),
            r.bronze.get("unchanged", 0),
            r.silver_rows.get("created", 0),
            r.silver_rows.get("updated", 0),
            r.silver_rows.get("failed", 0),
            r.gold_rows.get("created", 0) + r.gold_rows.get("updated", 0),
        )
        for r in runs
    ]
    return m.table("Runs", columns, rows)


def file_link(file: DatasetInjestion) -> m.Html:
    """A file's name in short, which leads to its content and its ledger row."""
    return m.link(file.file_id[: m.SHORT_ID], m.address("file", run_id=file.run_id, file_id=file.file_id))


def partition_link(ticker: str, dataset: str, label: str) -> m.Html:
    """A link to one partition's history."""
    return m.link(label, m.address("partition", dataset=dataset, ticker=ticker))


def files_table(files: Iterable[DatasetInjestion], label: str, *, of_one: bool = False) -> str:
    """Files with what became of them in each layer: of one run, with their partitions, or of one partition, with their runs."""
    columns = [
        m.Column("file"),
        *([m.Column("run")] if of_one else [m.Column("ticker"), m.Column("dataset", "nowrap")]),
        m.Column("status"),
        m.Column("asked at (UTC)", "nowrap"),
        m.Column("took", "num"),
        m.Column("bronze dates", "nowrap"),
        m.Column("rows", "num"),
        m.Column("bytes", "num"),
        m.Column("silver created", "num"),
        m.Column("updated", "num"),
        m.Column("unchanged", "num"),
        m.Column("refused", "num"),
        m.Column("gold created", "num"),
        m.Column("updated", "num"),
        m.Column("reason", "wide"),
    ]

    def row(f: DatasetInjestion) -> tuple[object, ...]:
        began, ended = f.bronze_injest_start_time, f.bronze_injest_end_time
        silver = f.silver_injest_end_time is not None
        gold = f.gold_injest_end_time is not None
        return (
            file_link(f),
            *([m.run_link(f.run_id)] if of_one else [partition_link(f.ticker, f.dataset_key, f.ticker), f.dataset_key]),
            m.badge(f.status),
            began,
            m.seconds((ended - began).total_seconds()) if began and ended else None,
            m.span(f.bronze_from_date, f.bronze_to_date),
            f.bronze_rows,
            m.size(f.bronze_bytes),
            f.silver_rows_created if silver else None,
            f.silver_rows_updated if silver else None,
            f.silver_rows_unchanged if silver else None,
            f.silver_rows_failed if silver else None,
            f.gold_rows_created if gold else None,
            f.gold_rows_updated if gold else None,
            f.error,
        )

    return m.table(label, columns, [row(f) for f in files])
