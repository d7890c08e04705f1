"""The dashboard's pages on a large ledger, each beside the barest SQL for what it shows.

Belongs here: the pairs of part d that are pages. Does not belong here: the ledger (`ledger_rows`), the measuring (`ledger`).

Ours is what the page asks of its repository, with nothing kept from one view to the next: door, page models and paging included. The
other side is SQL written here, its rows fetched as tuples through the same door.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks import ledger_barest as barest
from ops_pipeline.dashboard.repository import PAGE_FILES, Repository
from ops_pipeline.ops.queries import RunFilter
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_L = "ops.file_ingestions"
_RUNS, _TICKERS = 25, 40
_PARTITION = "source, dataset, discriminator, ticker"

NEWEST_RUNS = f"""SELECT run_id, min(bronze_injest_start_time) AS started FROM {_L} GROUP BY run_id
    ORDER BY started DESC, run_id LIMIT {{}}"""
DATASETS = f"""SELECT source, dataset, discriminator, count(DISTINCT ticker), count(*), count(*) FILTER (bronze_outcome = 'failed'),
    min(bronze_from_date), max(bronze_to_date), max(bronze_injest_end_time) FILTER (bronze_outcome IN ('stored', 'unchanged', 'empty')),
    sum(silver_rows_created - silver_rows_deleted), sum(bronze_bytes) FROM {_L} GROUP BY ALL ORDER BY ALL"""
FAILURES = f"""SELECT * FROM (SELECT {_PARTITION}, arg_max(
            {{'o': bronze_outcome, 'e': bronze_error, 's': silver_errors, 'g': gold_errors,
            'r': run_id}},
            {{'a': coalesce(bronze_injest_end_time, bronze_injest_start_time), 'b': silver_injest_end_time, 'c': run_id}}) AS last
    FROM {_L} GROUP BY ALL)
    WHERE last.o IN ('failed', 'deferred') OR last.s IS NOT NULL OR last.g IS NOT NULL ORDER BY ALL LIMIT 1000"""
DAYS = f"""SELECT bronze_injest_start_time::DATE AS day, count(DISTINCT run_id), count(*),
    count(*) FILTER (bronze_outcome = 'failed' OR silver_errors IS NOT NULL OR gold_errors IS NOT NULL),
    count(*) FILTER (bronze_outcome = 'deferred'), count(*) FILTER (bronze_outcome = 'empty'),
    count(*) FILTER (bronze_outcome = 'unchanged'), count(*) FILTER (bronze_outcome = 'asked' OR bronze_can_promote OR silver_can_promote),
    sum(bronze_rows), sum(bronze_bytes) FROM {_L} WHERE promotion_kind = 'first' GROUP BY day ORDER BY day"""
EXTENT = f"SELECT min(bronze_injest_start_time), max(bronze_injest_start_time) FROM {_L}"
KEYS = f"SELECT DISTINCT source, dataset, discriminator FROM {_L} ORDER BY ALL"
TICKERS = f"SELECT DISTINCT ticker FROM {_L} ORDER BY ticker LIMIT {_TICKERS + 1}"
FILE = f"SELECT * FROM {_L} WHERE run_id = ? AND file_id = ?"
HISTORY = f"""SELECT * FROM {_L} WHERE source = ? AND dataset = ? AND ticker = ?
    ORDER BY coalesce(bronze_injest_end_time, bronze_injest_start_time) DESC LIMIT 500"""


@dataclass
class Page:
    """One page: what it asks, the SQL that it needs, and the size that both must agree on."""

    name: str
    ours: Callable[[], Any]
    other: Callable[[], Any]
    same: Callable[[Any, Any], bool]


def pages(home: Path) -> Iterator[Page]:
    """Every page of the dashboard that reads the ledger."""
    repository = Repository(load_settings(home=home), kept_seconds=0)
    everything = RunFilter()
    # Of the newest runs one that is complete.
    run = repository.runs(everything, limit=5).items[4].run_id
    file = repository.run_files(run, everything).items[0]
    key = PartitionKey(file.ticker, file.dataset_key)

    def sql(*queries: str | tuple[str, list[Any]]) -> list[list[tuple[Any, ...]]]:
        with repository.context.warehouse.reading() as connection:
            return [
                connection.execute(*q).fetchall() if isinstance(q, tuple) else connection.execute(q).fetchall() for q in queries
            ]

    cover = barest.ISLANDS
    files = barest.RUN_FILES.partition("LIMIT")[0] + "LIMIT {}"

    def of_tickers(names: list[str]) -> str:
        listed = ", ".join(f"'{name}'" for name in names)
        return f"SELECT * FROM ({barest.COVERAGE.partition('ORDER BY')[0]}) WHERE ticker IN ({listed}) ORDER BY ALL"

    def coverage() -> list[list[tuple[Any, ...]]]:
        (names,) = sql(TICKERS)
        first = [name for (name,) in names[:_TICKERS]]
        listed = ", ".join(f"'{name}'" for name in first)
        return [names, *sql(of_tickers(first), cover.replace(_L, f"(FROM {_L} WHERE ticker IN ({listed}))"))]

    yield Page(
        "overview: newest run, freshness, failures, growth",
        repository.overview,
        lambda: sql(NEWEST_RUNS.format(1), (barest.SUMMARY, [run]), EXTENT, DATASETS, FAILURES, DAYS),
        lambda ours, other: len(ours.freshness) == len(other[3]) and len(ours.days) == len(other[5]),
    )

    def runs() -> list[list[tuple[Any, ...]]]:
        extent, keys, days, newest = sql(EXTENT, KEYS, DAYS, NEWEST_RUNS.format(_RUNS + 1))
        listed = ", ".join(f"'{name}'" for name, _ in newest)
        return [extent, keys, days, *sql(barest.SUMMARY.replace("run = ?", f"run IN ({listed})"))]

    yield Page(
        f"runs: a year of days and {_RUNS} runs",
        lambda: (
            repository.years(),
            repository.datasets(),
            repository.calendar(2020, everything),
            repository.runs(everything, limit=_RUNS),
        ),
        runs,
        lambda ours, other: len(ours[1]) == len(other[1]) and len(ours[2]) == len(other[2]),
    )
    yield Page(
        "run: its figures, timeline and first files",
        lambda: (repository.run(run), repository.run_files(run, everything)),
        lambda: sql((barest.SUMMARY, [run]), (files.format(401), [run] * 3), (files.format(PAGE_FILES + 1), [run] * 3)),
        lambda ours, other: len(ours[1].items) == min(PAGE_FILES, len(other[2])),
    )
    yield Page(
        "file: its ledger row",
        lambda: repository.file(file.run_id, file.file_id),
        lambda: sql((FILE, [file.run_id, file.file_id])),
        lambda ours, other: ours is not None and len(other[0]) == 1,
    )
    yield Page(
        f"coverage: {_TICKERS} tickers with their holes",
        lambda: repository.coverage(everything, limit=_TICKERS),
        coverage,
        lambda ours, other: sum(map(len, ours.items)) == len(other[1]),
    )
    yield Page(
        "partition: cover, files and watermark steps",
        lambda: repository.partition(key),
        lambda: sql(
            (HISTORY, [file.source, file.dataset, file.ticker]),
            cover.replace(
                _L, f"(FROM {_L} WHERE ticker = '{file.ticker}' AND dataset = '{file.dataset}' AND source = '{file.source}')"
            ),
        ),
        lambda ours, other: len(ours.files.items) == min(PAGE_FILES, len(other[0])),
    )
    yield Page(
        "data: the datasets to choose from",
        repository.datasets,
        lambda: sql(KEYS),
        lambda ours, other: len(ours) == len(other[0]),
    )
    yield Page(
        "quality: records accounted for, partitions left failed, refused records",
        repository.quality,
        lambda: sql(barest.UNACCOUNTED, FAILURES, "SELECT * FROM silver.rejected_rows ORDER BY rejected_at DESC LIMIT 51"),
        lambda ours, other: bool(ours.checks[0].findings) == bool(other[0]),
    )
