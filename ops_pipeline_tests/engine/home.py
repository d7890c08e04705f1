"""Homes for the engine's tests, runs over them, and what they leave.

Belongs here: making a home with recipes of code and a vendor of ours, running it, reading its tables, files and ledger. Does not belong
here: expectations, vendors (`vendor`), other processes (`worker`).
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from ops_pipeline.engine.context import Context, build_context
from ops_pipeline.engine.outcome import Outcome
from ops_pipeline.engine.plan import RunOptions
from ops_pipeline.engine.run import new_run_id, run_batch
from ops_pipeline.ops.ingestion import DatasetInjestion
from ops_pipeline.ops.sql import LEDGER
from ops_pipeline.recipes.loading import Catalogue
from ops_pipeline.recipes.models import NO_TICKER, Recipe
from ops_pipeline.recipes.source import SourceDeclaration
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline.settings import load_settings
from ops_pipeline.sources import Source
from ops_pipeline.warehouse.log import ROOM_TO_FOLD_BYTES
from ops_pipeline_tests.engine.vendor import Vendor, market
from ops_pipeline_tests.lake import fx_recipe, price_recipe
from ops_pipeline_tests.template import place_migrated

PRICES, RATES = "vendor.prices", "vendor.rates"
FIRST = date(2024, 1, 1)
JANUARY = date(2024, 1, 31)
FEBRUARY = date(2024, 2, 14)
MARKET = ("AAA", "PAGED", "ODD", "EMPTY", "DOWN")

# What tells one run from another, and nothing else: the rest of every table must not depend on what happened on the way.
LINEAGE = {"run_id", "known_at", "ingested_at", "merged_at", "built_at", "rejected_at"}
TABLES = (
    "silver.vendor_prices",
    "silver.vendor_prices_history",
    "silver.vendor_rates",
    "silver.vendor_rates_history",
    "silver.rejected_rows",
    "gold.fact_eod",
    "gold.fact_fx",
    "gold.dim_instrument",
    "gold.dim_date",
)
# Of a ledger row, what does not depend on who did it and when.
_DONE_BY = {"run_id", "silver_run_id", "gold_run_id", "bronze_status_code", "code_version", "origin_run_id"}

Snapshot = dict[str, list[tuple[str, ...]]]


def prices_recipe(**changes: Any) -> Recipe:
    """A dataset by ticker that looks back three days, and takes an answer with a few refused records."""
    return price_recipe(**{"first_date": FIRST, "lookback_days": 3, "calendar": "weekdays", "max_reject_share": 0.5} | changes)


def rates_recipe(**changes: Any) -> Recipe:
    """A dataset without tickers."""
    return fx_recipe(**{"first_date": FIRST, "calendar": "weekdays"} | changes)


def make_home(
    folder: Path,
    source: Source | None = None,
    *,
    tickers: Iterable[str] = MARKET,
    recipes: Iterable[Recipe] | None = None,
    concurrency: int = 8,
    floor: date | None = None,
    notify: Callable[[str], None] | None = None,
    **settings: Any,
) -> Context:
    """The context of a home, migrated; the universe lists the tickers for each dataset that has some."""
    listed = list(recipes) if recipes is not None else [prices_recipe(), rates_recipe()]
    folder.mkdir(parents=True, exist_ok=True)
    names = ", ".join(tickers)
    lines = [f"  {r.dataset_key}: [{names}]" if r.per_ticker else f"  {r.dataset_key}:" for r in listed]
    universe, text = folder / "universe.yaml", "\n".join(["datasets:", *lines, ""])
    if not universe.exists() or universe.read_text() != text:  # other processes of the test may be reading it
        universe.write_text(text)
    declaration = SourceDeclaration(name="vendor", description="A vendor.", client="sample", concurrency=concurrency, floor=floor)
    vendor = source or Vendor(market)
    context = replace(
        build_context(load_settings(home=folder, **settings), notify=notify),
        catalogue=Catalogue({"vendor": declaration}, {r.dataset_key: r for r in listed}),
        open_source=lambda *_: vendor,
    )
    place_migrated(context.settings.database_path)
    context.migrate(lambda _: None)
    return context


def asking(context: Context, vendor: Source) -> Context:
    """The same home with another vendor."""
    return replace(context, open_source=lambda *_: vendor)


def key(ticker: str = "AAA") -> PartitionKey:
    return PartitionKey(ticker, RATES if ticker == NO_TICKER else PRICES)


def run(context: Context, *keys: PartitionKey, run_id: str | None = None, **options: Any) -> dict[PartitionKey, Outcome]:
    """One run over the keys, or over the whole universe, to its end; up to mid-February where no day is given."""
    chosen = RunOptions(**{"today": FEBRUARY} | options)
    outcomes = list(run_batch(context, keys or list(context.universe()), chosen, run_id=run_id or new_run_id()))
    told = {outcome.key: outcome for outcome in outcomes}
    assert len(told) == len(outcomes), "a key was told twice"
    # Every opening replays the log, and a test opens often: folded once, that costs a sixth less in all. Not where a test fills the disk.
    if shutil.disk_usage(context.settings.database_path.parent).free > ROOM_TO_FOLD_BYTES:
        context.warehouse.checkpoint()
    return told


def ledger(context: Context, where: str = "true") -> list[DatasetInjestion]:
    """Ledger rows in the order in which their files apply."""
    query = f"SELECT * FROM {LEDGER} WHERE {where} ORDER BY bronze_injest_end_time, run_id, file_id"
    with context.warehouse.reading() as connection:
        rows = connection.execute(query).to_arrow_table().to_pylist()
    return [DatasetInjestion.from_row(row) for row in rows]


def bronze_files(context: Context) -> dict[str, bytes]:
    """Every file of the bronze store, temporary ones included, with its body."""
    root = context.settings.bronze_path
    return {p.relative_to(root).as_posix(): gzip.decompress(p.read_bytes()) for p in root.rglob("*") if p.is_file()}


def contents(context: Context, *, lineage: bool = False) -> Snapshot:
    """Every row of silver and gold as text, without the columns that tell one run from another."""
    found: Snapshot = {}
    with context.warehouse.reading() as connection:
        for table in TABLES:
            schema, name = table.split(".")
            columns = [
                row[0]
                for row in connection.execute(
                    "SELECT column_name FROM duckdb_columns() WHERE schema_name = ? AND table_name = ? ORDER BY column_index",
                    [schema, name],
                ).fetchall()
                if lineage or row[0] not in LINEAGE
            ]
            if columns:
                rows = connection.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
                found[table] = sorted(tuple(map(str, row)) for row in rows)
    return found


def latest(context: Context, *, good: bool = False) -> list[dict[str, Any]]:
    """The ledger's latest row, or latest `good` one, of each partition, request and part: its outcome, file, dates, counts and errors."""
    where = "bronze_outcome IN ('stored', 'unchanged', 'empty')" if good else "true"
    newest = {(row.partition, row.request_id, row.request_part): row for row in ledger(context, where)}
    shown = []
    for _, row in sorted(newest.items()):
        fields = {n: v for n, v in row.model_dump().items() if n not in _DONE_BY and not n.endswith("_time")}
        shown.append(fields)
    return shown


def assert_tidy(context: Context) -> None:
    """Nothing is left of any run but what it did."""
    root = context.settings.bronze_path
    assert [row.key for row in ledger(context, "bronze_outcome = 'asked'")] == []
    assert list(context.settings.runs_path.glob("*.lease")) == []
    assert list((root / ".tmp").rglob("*")) == []
    named = {row.bronze_filename for row in ledger(context)}
    assert set(bronze_files(context)) <= named, "a file that no ledger row names"
    wrong = [
        row.key
        for row in ledger(context, "bronze_outcome = 'stored' AND silver_injest_end_time IS NOT NULL AND silver_errors IS NULL")
        if row.silver_counts.total != row.bronze_rows
    ]
    assert wrong == []
