"""Ledger rows that tests put together: one builder a stage of a file's life, and strategies that generate whole ledgers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from ops_pipeline.ops.ingestion import DatasetInjestion, RowCounts
from ops_pipeline.recipes.loading import load_catalogue
from ops_pipeline.recipes.models import Recipe
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline.sources import Request

CATALOGUE = load_catalogue()
PRICES = CATALOGUE.recipes["sample.eod-prices"]
RATES = CATALOGUE.recipes["sample.fx-rates"]

DAY = date(2024, 1, 1)  # a Monday
NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)

HOSTILE = (
    "O'Brien",
    'a"b',
    "x'; DROP TABLE ops.file_ingestions; --",
    "' OR '1'='1",
    "%",
    "_",
    "?",
    "$1",
    "{ticker}",
    "\\",
    "🦆",
    "na\u00efve",
    "nai\u0308ve",  # the same to the eye
    "\u017f",  # a capital S to who ignores case
    "BTC/USD",
    "../../etc/passwd",
    "NULL",
    "x" * 200,
)


def day(offset: int) -> date:
    return DAY + timedelta(days=offset)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def recipe(**changed: Any) -> Recipe:
    """The price recipe with other fields."""
    return Recipe.model_validate({**PRICES.model_dump(by_alias=True), **changed})


def request(ticker: str = "AAPL", dataset: str = "sample.eod-prices", first: int = 0, last: int = 9, **params: str) -> Request:
    source, name, *rest = dataset.split(".")
    return Request("equities", source, name, rest[0] if rest else "-", ticker, day(first), day(last), tuple(params.items()))


def asked(run: str = "run-1", *, part: int = 1, minute: float = 0, **of: Any) -> DatasetInjestion:
    """A request that was sent; `of` says which, see `request`."""
    row = DatasetInjestion.open(request(**of), run, part=part)
    row.bronze_injest_start_time = at(minute)
    return row


def stored(
    run: str = "run-1",
    *,
    data: tuple[int, int] | None = (0, 9),
    rows: int | None = None,
    body: str | None = None,
    complete: bool = True,
    minute: float = 0,
    **of: Any,
) -> DatasetInjestion:
    """An answer with good rows on these days (None: records, and none of them good), stored one minute after it was asked."""
    row = asked(run, minute=minute, **of)
    receive(row, body if body is not None else f"{row.file_id}@{minute}", minute + 1)
    count = rows if rows is not None else (data[1] - data[0] + 1 if data else 3)
    row.bronze_finished(count, *((day(data[0]), day(data[1])) if data else (None, None)))
    row.request_complete = complete
    return row


def receive(row: DatasetInjestion, body: str, minute: float) -> None:
    row.bronze_received(
        filename=f"{row.source}/{row.dataset}/{row.run_id}/{row.file_id}.json.gz",
        payload_hash=hashlib.sha256(body.encode()).hexdigest(),
        size=len(body),
        stored_at=at(minute),
        status_code=200,
    )


def empty(run: str = "run-1", **more: Any) -> DatasetInjestion:
    return stored(run, data=None, rows=0, **more)


def unchanged(run: str = "run-1", **more: Any) -> DatasetInjestion:
    row = stored(run, **more)
    row.bronze_unchanged(row.bronze_rows)
    return row


def failed(run: str = "run-1", *, error: str = "the source said no", **of: Any) -> DatasetInjestion:
    row = asked(run, **of)
    row.bronze_failed(error, 500)
    return row


def deferred(run: str = "run-1", **of: Any) -> DatasetInjestion:
    row = asked(run, **of)
    row.bronze_deferred("the quota of the day is used up")
    return row


def merged(
    row: DatasetInjestion, *, run: str | None = None, minute: float = 10, gold: bool = True, **counts: int
) -> DatasetInjestion:
    """The row after silver; by default every record made a new row."""
    row.silver_started(PRICES, run or row.run_id, at(minute))
    row.silver_finished(
        RowCounts(**(counts or {"created": row.bronze_rows})),
        row.bronze_from_date,
        row.bronze_to_date,
        gold="gold.fact_eod" if gold else None,
    )
    row.silver_injest_end_time = at(minute + 1)
    return row


def refused(row: DatasetInjestion, *, run: str | None = None, minute: float = 10, error: str = "refused") -> DatasetInjestion:
    row.silver_started(PRICES, run or row.run_id, at(minute))
    row.silver_failed(error)
    row.silver_injest_end_time = at(minute + 1)
    return row


def built(
    row: DatasetInjestion, *, run: str | None = None, minute: float = 20, created: int = 0, updated: int = 0
) -> DatasetInjestion:
    """The row after gold."""
    row.gold_started(PRICES, run or row.run_id, at(minute))
    row.gold_finished(created, updated, row.silver_from_date, row.silver_to_date)
    row.gold_injest_end_time = at(minute + 1)
    return row


def again(row: DatasetInjestion, run: str, kind: str = "retry") -> DatasetInjestion:
    """The row that a later promotion of the same file inserts: bronze copied, silver and gold not begun."""
    bronze = {n: getattr(row, n) for n in DatasetInjestion.model_fields if not n.startswith(("silver_", "gold_"))}
    return DatasetInjestion(**{**bronze, "run_id": run, "promotion_kind": kind, "origin_run_id": row.run_id})


# --- strategies ---------------------------------------------------------------------------------------------------------------

texts = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))

PARTITIONS = (
    PartitionKey("AAPL", "sample.eod-prices"),
    PartitionKey("O'Brien", "sample.eod-prices"),
    PartitionKey("AAPL", "sample.eod-prices.raw"),
    PartitionKey("-", "sample.fx-rates"),
)


_HEALED: dict[str, Callable[[DatasetInjestion], DatasetInjestion]] = {
    "healed": merged,
    "healing begun": lambda copy: copy,
    "healing failed": refused,
}


@st.composite
def answered(draw: st.DrawFn, partition: PartitionKey, run: str, first: int, last: int) -> list[DatasetInjestion]:
    """The rows of one request, of one or more parts, each with any fate; healed refusals come with the row that healed them."""
    of = {"ticker": partition.ticker, "dataset": partition.dataset, "first": first, "last": last}
    rows: list[DatasetInjestion] = []
    complete = draw(st.sampled_from([True, True, True, False]))
    for part in range(1, draw(st.integers(1, 3)) + 1):
        fate = draw(
            st.sampled_from(
                ["good"] * 8 + ["nothing good", "unchanged", "empty", "failed", "deferred", "asked", "refused", *_HEALED]
            )
        )
        low = draw(st.integers(first, last))
        days = None if fate == "nothing good" else (low, draw(st.integers(low, last)))
        build = {"unchanged": unchanged, "empty": empty, "failed": failed, "deferred": deferred, "asked": asked}.get(fate)
        row = build(run, part=part, **of) if build else stored(run, part=part, data=days, **of)
        if fate not in ("failed", "deferred", "asked"):
            row.request_complete = complete
        if fate in ("refused", *_HEALED):
            refused(row)
        rows.append(row)
        if fate in _HEALED:
            rows.append(_HEALED[fate](again(row, f"{run}-healer")))
    return rows


@st.composite
def ledgers(draw: st.DrawFn, partitions: tuple[PartitionKey, ...] = PARTITIONS[:1], most: int = 6) -> list[DatasetInjestion]:
    """Rows of a few requests of these partitions, their days within two months of `DAY`; no primary key twice."""
    rows: dict[tuple[str, str], DatasetInjestion] = {}
    windows: list[tuple[int, int]] = []
    for _ in range(draw(st.integers(0, most))):
        if windows and draw(st.booleans()):
            first, last = draw(st.sampled_from(windows))  # asked again, in the same run or another
        else:
            first = draw(st.integers(0, 50))
            last = draw(st.integers(first, min(60, first + 20)))
            windows.append((first, last))
        run = draw(st.sampled_from(["run-1", "run-2", "run-3"]))
        request_rows = draw(answered(draw(st.sampled_from(partitions)), run, first, last))
        if not any(row.key in rows for row in request_rows):
            rows.update({row.key: row for row in request_rows})
    return list(rows.values())
