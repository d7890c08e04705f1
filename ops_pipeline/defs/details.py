"""What the Dagster UI shows beside figures: descriptions, links to the dashboard, the first rows, where columns come from.

Belongs here: texts and metadata that help somebody who looks. Does not belong here: counts and outcomes (`events`).
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import duckdb
from dagster import MetadataValue, TableColumnDep, TableColumnLineage, TableRecord

from ops_pipeline.gold.series import newest_rows

if TYPE_CHECKING:
    from dagster import RawMetadataValue

    from ops_pipeline.engine.context import Context
    from ops_pipeline.engine.outcome import Outcome
    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.recipes.models import Recipe

FEW_KEYS: Final = 20
"""Up to so many keys, a run also tells rows and the origin of columns: these cost a read and a longer event, and events are what a large
run spends its time on."""

SHOWN_ROWS: Final = 5

ABOUT: Final = {
    "bronze": """Every answer of a vendor, as received: compressed, never overwritten, one row each in the ledger `ops.file_ingestions`.

**Materializing a partition** asks the vendor for what is missing, from the day after the last good row (the watermark). A partition is one
ticker and one dataset, such as `sample.eod-prices|AAPL`; a dataset that is asked as a whole has the ticker `-`. A partition that is up to
date is asked nothing. One that fails turns red with the vendor's words and holds up no other.""",
    "silver": """Answers typed and merged, one table a dataset: `silver.<source>_<dataset>`. Each row names the file that it came from
(`bronze_file_id`, `run_id`) and the time since when it is known (`known_at`).

Records that cannot be typed stand in `silver.rejected_rows` with the reason; every change of a row stands in
`silver.<source>_<dataset>_history`. Files apply in the order in which they were stored, however they were fetched and retried.""",
    "gold": """Tables for analysis: `gold.fact_eod` (prices with returns and volatility), `gold.fact_fx` (exchange rates),
`gold.fact_series` (economic series), `gold.dim_instrument`, `gold.dim_date`. The formulas stand in the columns' comments.

Only what a change can reach is built anew, and a row built so is bit for bit the row of a whole rebuild.""",
}


def dashboard_address(context: Context, page: str, **query: str) -> str:
    """The address of a page of the dashboard, whether or not it is running."""
    return f"{context.settings.dashboard_url}/{page}" + (f"?{urlencode(query)}" if query else "")


def links(context: Context, layer: str, outcome: Outcome) -> dict[str, RawMetadataValue]:
    """Addresses of the partition's and the newest file's page in the dashboard; texts alone, nothing is read."""
    key = outcome.key
    found: dict[str, RawMetadataValue] = {
        "dashboard": MetadataValue.url(dashboard_address(context, "partition", dataset=key.dataset, ticker=key.ticker))
    }
    if outcome.files and layer == "bronze":
        newest = outcome.files[-1]
        found["file"] = MetadataValue.url(dashboard_address(context, "file", run_id=newest.run_id, file_id=newest.file_id))
    return found


def seconds(layer: str, files: list[DatasetInjestion] | tuple[DatasetInjestion, ...]) -> float | None:
    """How long the layer took over these files, from the first start to the last end; None where no file got there."""
    starts = [t for f in files if (t := getattr(f, f"{layer}_injest_start_time"))]
    ends = [t for f in files if (t := getattr(f, f"{layer}_injest_end_time"))]
    return round((max(ends) - min(starts)).total_seconds(), 3) if starts and ends else None


def closer_look(context: Context, layer: str, outcome: Outcome) -> dict[str, RawMetadataValue]:
    """The newest rows of silver, and where the columns of silver and gold come from; for runs over few keys."""
    recipe = context.catalogue.recipes.get(outcome.key.dataset)
    if recipe is None or layer == "bronze" or (layer == "gold" and not recipe.gold):
        return {}
    found: dict[str, RawMetadataValue] = {"dagster/column_lineage": column_lineage(recipe, layer)}
    if layer == "silver":
        records = _newest(context, recipe, outcome.key.ticker)
        if records:
            found["newest_rows"] = MetadataValue.table(records)
    return found


def column_lineage(recipe: Recipe, layer: str) -> TableColumnLineage:
    """Which fields of the answer fill silver's columns, or which columns of silver gold's."""
    if layer == "silver":
        return TableColumnLineage({c.name: [TableColumnDep("bronze", c.source_field)] for c in recipe.columns})
    parts = dict(recipe.gold.columns) if recipe.gold else {}
    price = parts.get("rate") or parts.get("adjusted_close")
    origins = {name: [column] for name, column in parts.items()}
    if recipe.date_column:
        origins["date"] = [recipe.date_column]
    if price:
        derived = ["simple_return", "log_return"] + ([] if "rate" in parts else ["volatility_20d"])
        origins |= {name: [price] for name in derived}
    return TableColumnLineage({name: [TableColumnDep("silver", c) for c in columns] for name, columns in origins.items()})


def _newest(context: Context, recipe: Recipe, ticker: str) -> list[TableRecord]:
    try:
        with context.warehouse.reading() as connection:
            names, rows = newest_rows(connection, recipe, ticker, limit=SHOWN_ROWS)
    except duckdb.CatalogException:
        return []  # nothing of this dataset was promoted yet
    return [TableRecord({n: _plain(v) for n, v in zip(names, row, strict=True)}) for row in rows]


def _plain(value: object) -> str | int | float | bool:
    if isinstance(value, bool | int | float | str):
        return value
    return value.isoformat() if isinstance(value, date | datetime) else "" if value is None else str(value)
