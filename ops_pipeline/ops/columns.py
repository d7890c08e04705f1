"""The ledger's columns, derived from the fields of `DatasetInjestion`.

Belongs here: the list of columns, which stage writes which, and the Arrow and SQL types. Does not belong here: what a column means
(`ingestion`) and SQL statements (`repo`, `sql`).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ops_pipeline.ops.ingestion import DatasetInjestion, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

COLUMNS: tuple[str, ...] = tuple(DatasetInjestion.model_fields)
_every_column = itemgetter(*COLUMNS)
PRIMARY_KEY = ("run_id", "file_id")

# Promoting clears the flag of the layer before: the flag belongs to the stage that consumes it.
_CONSUMED = {"bronze_can_promote": Stage.SILVER, "silver_can_promote": Stage.GOLD}


@cache
def stage_columns(stage: Stage) -> tuple[str, ...]:
    """The columns that a stage may write in a row that exists."""
    written = []
    for name in COLUMNS:
        owner = Stage(name.split("_")[0]) if name.split("_")[0] in set(Stage) else Stage.BRONZE
        if name in PRIMARY_KEY:
            continue
        if owner is stage or _CONSUMED.get(name) is stage:
            written.append(name)
    return tuple(written)


_ARROW: dict[type, pa.DataType] = {
    str: pa.string(), int: pa.int64(), bool: pa.bool_(), date: pa.date32(), datetime: pa.timestamp("us", tz="UTC"),
}  # fmt: skip
_SQL: dict[type, str] = {str: "VARCHAR", int: "BIGINT", bool: "BOOLEAN", date: "DATE", datetime: "TIMESTAMP WITH TIME ZONE"}


def _base_type(annotation: Any) -> type:
    """The plain type of a field: `date` of `date | None`, `str` of a Literal."""
    for candidate in (datetime, date, bool, int, str):
        if annotation is candidate or candidate in getattr(annotation, "__args__", ()):
            return candidate
    return str


@cache
def arrow_schema() -> pa.Schema:
    """The Arrow schema of the ledger, from the model's fields."""
    return pa.schema([(name, _ARROW[_base_type(field.annotation)]) for name, field in DatasetInjestion.model_fields.items()])


def sql_types() -> dict[str, str]:
    """Column name -> SQL type that the migrations must have made (an INTEGER column may hold a BIGINT field)."""
    return {name: _SQL[_base_type(field.annotation)] for name, field in DatasetInjestion.model_fields.items()}


def to_arrow(rows: Iterable[DatasetInjestion]) -> pa.Table:
    """The rows as an Arrow table with every column of the ledger."""
    listed = [_every_column(vars(row)) for row in rows]
    columns = zip(*listed, strict=True) if listed else [()] * len(COLUMNS)
    schema = arrow_schema()
    return pa.table([pa.array(c, type=kind) for c, kind in zip(columns, schema.types, strict=True)], schema=schema)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def values(column: pa.ChunkedArray) -> list[Any]:
    """The column's values in Python; times and dates by way of integers, some twenty times as fast as `to_pylist` makes them."""
    if pa.types.is_timestamp(column.type):
        return [None if n is None else _EPOCH + timedelta(microseconds=n) for n in column.cast(pa.int64()).to_pylist()]
    if pa.types.is_date32(column.type):
        numbers = column.cast(pa.int32()).to_pylist()
        known: dict[int | None, date | None] = {n: _EPOCH.date() + timedelta(days=n) for n in set(numbers) - {None}}
        return [known.get(n) for n in numbers]
    plain: list[Any] = column.to_pylist()
    return plain


def from_arrow(columns: Sequence[pa.ChunkedArray]) -> list[DatasetInjestion]:
    """The objects of rows that hold every column, in the ledger's order."""
    return [DatasetInjestion.from_row(dict(zip(COLUMNS, row, strict=True))) for row in zip(*map(values, columns), strict=True)]
