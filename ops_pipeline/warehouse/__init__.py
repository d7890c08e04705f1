"""The one door to DuckDB: who may open the database file, read or write, and for how long.

Belongs here: locks between processes and threads, opening and closing, transactions, waiting for foreign programs. Does not
belong here: any table of ours but the schema version, any statement about data. No other package calls `duckdb.connect` on the
database.
"""

from __future__ import annotations

from ops_pipeline.warehouse.door import Warehouse
from ops_pipeline.warehouse.instance import (
    CATALOG,
    FULL_COMPRESSION,
    QUICK_COMPRESSION,
    WarehouseUsageError,
    attach_statement,
    half_of_threads,
)

__all__ = [
    "CATALOG",
    "FULL_COMPRESSION",
    "QUICK_COMPRESSION",
    "Warehouse",
    "WarehouseUsageError",
    "attach_statement",
    "half_of_threads",
]
