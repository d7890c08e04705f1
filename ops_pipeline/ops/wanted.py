"""Tables of wanted keys, lent to queries, and the rows that come back.

Belongs here: turning keys of Python into a table that a query joins, and rows into Python's. Does not belong here: which rows are wanted
(`repo`, `queries`, `failures`).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ops_pipeline.ops.columns import COLUMNS, from_arrow
from ops_pipeline.ops.sql import LEDGER
from ops_pipeline.recipes.keys import split_dataset_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import duckdb

    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.recipes.universe import PartitionKey


@contextmanager
def registered(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> Iterator[None]:
    """Lends a table to queries under a name, for the length of the block."""
    connection.register(name, table)
    try:
        yield
    finally:
        connection.unregister(name)


def dicts(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
) -> list[dict[str, Any]]:
    """The rows of a query, each by the names of its columns."""
    rows: list[dict[str, Any]] = connection.execute(sql, parameters).to_arrow_table().to_pylist()
    return rows


def partition_table(partitions: Sequence[PartitionKey], recipe_hashes: Mapping[str, str] | None = None) -> pa.Table:
    """The partitions as a table with the place of each as `number`. No partition may come twice where rows are joined to it.

    Args:
        partitions: the partitions.
        recipe_hashes: dataset key -> hash of a recipe; given, it is the column `recipe_hash`, null for a dataset that is not among them.
    """
    names: dict[str, int] = {}
    codes = pa.array([names.setdefault(p.dataset, len(names)) for p in partitions], pa.int32())
    split = [split_dataset_key(name) for name in names]
    columns: dict[str, Any] = {
        "number": pa.array(range(len(partitions)), pa.int64()),
        "ticker": pa.array([p.ticker for p in partitions], pa.string()),
    }
    for place, name in enumerate(("source", "dataset", "discriminator")):
        columns[name] = pa.DictionaryArray.from_arrays(codes, pa.array([s[place] for s in split], pa.string()))
    if recipe_hashes is not None:
        columns["recipe_hash"] = pa.DictionaryArray.from_arrays(
            codes, pa.array([recipe_hashes.get(name) for name in names], pa.string())
        )
    return pa.table(columns)


def whole_rows(
    connection: duckdb.DuckDBPyConnection, row_numbers: Sequence[int], where: str = "true", parameters: Sequence[Any] = ()
) -> list[DatasetInjestion]:
    """The rows with these `rowid`s, in their order; the numbers must come from the same transaction, or under the same lock.

    Which rows are wanted is asked first, with the few columns that this takes: one query for both unpacks all 56 columns of every row that
    it looks at (measured on a million rows, for 500 recent ones: 330 ms against 62).

    Args:
        connection: an open one.
        row_numbers: the `rowid`s.
        where: what is true of all these rows and of few others, on columns of the ledger: numbers alone let DuckDB pass over blocks of
            rows at the ends, and of rows that lie far apart it unpacks all between (measured on ten million: 2.6 s against 0.07).
        parameters: of `where`.
    """
    if not row_numbers:
        return []
    with registered(connection, "wanted_numbers", pa.table({"number": pa.array(row_numbers, pa.int64())})):
        found = connection.execute(
            f"SELECT t.rowid, {', '.join(COLUMNS)} FROM {LEDGER} t SEMI JOIN wanted_numbers w ON t.rowid = w.number WHERE {where}",
            list(parameters),
        ).to_arrow_table()
    number, *columns = found.columns
    rows = dict(zip(number.to_pylist(), from_arrow(columns), strict=True))
    return [rows[number] for number in row_numbers]
