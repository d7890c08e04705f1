"""Remembering schema drift: `ops.schema_drift`, one row a dataset and field.

Belongs here: the SQL of that table. Does not belong here: finding unknown fields (`silver.drift`) and showing them (`cli`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import duckdb

_COLUMNS = "dataset_key, field, example, run_id, file_id, known_at, recipe_hash"


@dataclass(frozen=True, slots=True)
class Drift:
    """A field that a vendor sends and the recipe did not know.

    Attributes:
        dataset_key: the dataset.
        field: the field's name, or its position in records that are arrays.
        example: the beginning of one of its values.
        run_id: the run that fetched the first file with it.
        file_id: that file.
        known_at: when that file was stored (UTC).
        recipe_hash: the recipe that did not know it.
    """

    dataset_key: str
    field: str
    example: str | None
    run_id: str
    file_id: str
    known_at: datetime
    recipe_hash: str


def remember_drift(connection: duckdb.DuckDBPyConnection, found: Sequence[Drift]) -> None:
    """Adds fields that no row tells of yet; inside the caller's transaction."""
    if not found:
        return
    connection.register(
        "found_drift",
        pa.table(
            {
                "dataset_key": pa.array([d.dataset_key for d in found], pa.string()),
                "field": pa.array([d.field for d in found], pa.string()),
                "example": pa.array([d.example for d in found], pa.string()),
                "run_id": pa.array([d.run_id for d in found], pa.string()),
                "file_id": pa.array([d.file_id for d in found], pa.string()),
                "known_at": pa.array([d.known_at for d in found], pa.timestamp("us", tz="UTC")),
                "recipe_hash": pa.array([d.recipe_hash for d in found], pa.string()),
            }
        ),
    )
    connection.execute(
        f"""INSERT INTO ops.schema_drift ({_COLUMNS}) SELECT {_COLUMNS} FROM found_drift f
        WHERE NOT EXISTS (SELECT 1 FROM ops.schema_drift d WHERE d.dataset_key = f.dataset_key AND d.field = f.field)"""
    )
    connection.unregister("found_drift")


def list_drift(
    connection: duckdb.DuckDBPyConnection, dataset_key: str | None = None, *, limit: int = 1000, offset: int = 0
) -> list[Drift]:
    """Drift seen, of one dataset or of all, the newest first."""
    found = connection.execute(
        f"""SELECT {_COLUMNS} FROM ops.schema_drift WHERE ? IS NULL OR dataset_key = ?
        ORDER BY known_at DESC, dataset_key, field LIMIT ? OFFSET ?""",
        [dataset_key, dataset_key, limit, offset],
    ).fetchall()
    return [Drift(*row) for row in found]
