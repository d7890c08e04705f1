"""What came in and is to be doubted: refused records, and fields that no recipe knows.

Belongs here: read-only queries since a time. Does not belong here: what failed (`failures`), remembering drift (`drift`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops_pipeline.ops.sql import DATASET_KEY_SQL, LEDGER
from ops_pipeline.ops.wanted import dicts

if TYPE_CHECKING:
    from datetime import datetime

    import duckdb


@dataclass(frozen=True, slots=True)
class Refused:
    """Records of a dataset that could not be typed: how many, of which tickers, and where they went."""

    dataset: str
    silver_table: str
    records: int
    tickers: tuple[str, ...]


def refused_since(connection: duckdb.DuckDBPyConnection, since: datetime) -> list[Refused]:
    """Records that were refused by promotions since a time, by dataset."""
    rows = dicts(
        connection,
        f"""SELECT {DATASET_KEY_SQL} AS dataset, any_value(silver_tablename) AS silver_table,
            sum(silver_rows_failed)::BIGINT AS records, list_sort(list(DISTINCT ticker)) AS tickers
        FROM {LEDGER} f WHERE silver_rows_failed > 0 AND silver_injest_end_time >= ?::TIMESTAMPTZ
        GROUP BY source, f.dataset, discriminator ORDER BY dataset""",
        [since],
    )
    return [Refused(r["dataset"], r["silver_table"], r["records"], tuple(r["tickers"])) for r in rows]


def drift_since(connection: duckdb.DuckDBPyConnection, since: datetime) -> dict[str, list[str]]:
    """Dataset -> fields that its vendor sent for the first time since then and that its recipe does not know."""
    rows = dicts(
        connection,
        """SELECT dataset_key, list_sort(list(field)) AS fields FROM ops.schema_drift WHERE known_at >= ?::TIMESTAMPTZ
        GROUP BY dataset_key ORDER BY dataset_key""",
        [since],
    )
    return {r["dataset_key"]: r["fields"] for r in rows}
