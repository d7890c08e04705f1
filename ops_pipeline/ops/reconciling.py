"""The ledger set beside the disk, silver and gold.

Belongs here: the queries of a reconcile. Does not belong here: the disk (`maintenance.reconcile_files`), what is done about what they find
(`maintenance.repair`), and keeping it (`ops.reconcile_results`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ops_pipeline.ops.columns import COLUMNS, from_arrow, sql_types
from ops_pipeline.ops.sql import DATASET_KEY_SQL, LEDGER, REBUILT_WITHOUT_SQL, UNPACKED_NAME
from ops_pipeline.ops.wanted import dicts, registered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import duckdb

    from ops_pipeline.ops.ingestion import DatasetInjestion

# More are not listed: whoever has mended so many looks again.
MOST = 10_000
_STORED = "bronze_filename IS NOT NULL AND bronze_purged_at IS NULL"
_NAME = pa.schema([("name", pa.string()), ("unpacked", pa.string())])
_ORIGIN = "coalesce(f.origin_run_id, f.run_id)"


def unnamed_files(connection: duckdb.DuckDBPyConnection, names: Iterable[tuple[str, str]]) -> list[str]:
    """Those of the files on the disk, given as (name, name before it was packed), that no row names."""
    with registered(connection, "disk_files", _names(names)):
        found = connection.execute(
            f"""SELECT d.name FROM disk_files d
            ANTI JOIN (SELECT DISTINCT {UNPACKED_NAME} AS name FROM {LEDGER} WHERE bronze_filename IS NOT NULL) f ON d.unpacked = f.name
            ORDER BY d.name"""
        ).fetchall()
    return [name for (name,) in found]


def missing_files(connection: duckdb.DuckDBPyConnection, names: Iterable[tuple[str, str]]) -> list[str]:
    """Files that rows name, and that are not among those on the disk."""
    with registered(connection, "disk_files", _names(names)):
        found = connection.execute(
            f"""SELECT DISTINCT bronze_filename FROM {LEDGER} f ANTI JOIN disk_files d ON d.name = f.bronze_filename
            WHERE {_STORED} ORDER BY bronze_filename"""
        ).fetchall()
    return [name for (name,) in found]


def rows_naming(connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> list[DatasetInjestion]:
    """Rows that name one of the files as stored, in the order of the names and then as the files apply."""
    with registered(connection, "asked_names", pa.table({"name": pa.array(names, pa.string())})):
        found = connection.execute(
            f"""SELECT {", ".join(COLUMNS)} FROM {LEDGER} f SEMI JOIN asked_names s ON s.name = f.bronze_filename WHERE {_STORED}
            ORDER BY bronze_filename, bronze_injest_end_time, run_id, file_id"""
        ).to_arrow_table()
    return from_arrow(found.columns)


def hashes(connection: duckdb.DuckDBPyConnection, most: int | None, salt: str, always: Sequence[str]) -> tuple[list[Any], int]:
    """(name, hashes of the body that its rows have) of stored files, and how many there are in all.

    Args:
        connection: of the warehouse.
        most: a random choice of so many; None: all.
        salt: another one chooses others.
        always: names that are chosen in any case.
    """
    files = (
        f"SELECT bronze_filename AS name, list(DISTINCT bronze_payload_hash) AS hashes FROM {LEDGER} WHERE {_STORED} GROUP BY ALL"
    )
    total = connection.execute(f"SELECT count(*) FROM ({files})").fetchone() or (0,)
    with registered(connection, "asked_names", pa.table({"name": pa.array(always, pa.string())})):
        chosen = connection.execute(
            f"""SELECT name, hashes FROM ({files}) ORDER BY name NOT IN (SELECT name FROM asked_names), hash(name || ?) LIMIT ?""",
            [salt, None if most is None else most + len(always)],
        ).fetchall()
    return chosen, int(total[0])


def wrong_columns(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Columns of the ledger that are missing or of another type than the code writes, each with a sentence."""
    present = dict(
        connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = current_database() AND schema_name = 'ops'"
            " AND table_name = 'file_ingestions'"
        ).fetchall()
    )
    wrong = {}
    for name, kind in sql_types().items():
        if name not in present:
            wrong[name] = f"the column {name} of {LEDGER} is missing"
        elif present[name] != kind and (present[name], kind) != ("INTEGER", "BIGINT"):
            wrong[name] = f"the column {name} of {LEDGER} is {present[name]} and should be {kind}"
    return wrong


@dataclass(frozen=True, slots=True)
class SilverTable:
    """A dataset's table in silver: its name with the schema, its dataset, and whether it and its history are there."""

    name: str
    dataset: str
    is_there: bool


def silver_tables(connection: duckdb.DuckDBPyConnection) -> list[SilverTable]:
    """The tables that promotions have made."""
    found = connection.execute(
        """SELECT silver_tablename, dataset_key, (SELECT count(*) FROM duckdb_tables() WHERE database_name = current_database()
            AND schema_name || '.' || table_name IN (silver_tablename, silver_tablename || '_history')) = 2
        FROM ops.silver_tables ORDER BY silver_tablename"""
    ).fetchall()
    return [SilverTable(*row) for row in found]


def tables_with_lineage(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Tables of silver and gold whose rows name their file."""
    found = connection.execute(
        """SELECT schema_name || '.' || table_name FROM duckdb_columns() JOIN duckdb_tables() USING (database_name, schema_name, table_name)
        WHERE database_name = current_database() AND schema_name IN ('silver', 'gold')
            AND column_name IN ('bronze_file_id', 'run_id') GROUP BY ALL HAVING count(*) = 2 ORDER BY ALL"""
    ).fetchall()
    return [name for (name,) in found]


def rows_of_unknown_files(connection: duckdb.DuckDBPyConnection, table: str) -> list[tuple[str, str, int]]:
    """(run, file, number of rows) of a table's rows whose file no row of the ledger knows. The name is one that DuckDB gave."""
    return connection.execute(
        f"""SELECT run_id, bronze_file_id, rows FROM (SELECT run_id, bronze_file_id, count(*) AS rows FROM {table} GROUP BY ALL) t
        ANTI JOIN {LEDGER} f ON f.run_id = t.run_id AND f.file_id = t.bronze_file_id ORDER BY ALL LIMIT {MOST}"""
    ).fetchall()


@dataclass(frozen=True, slots=True)
class Miscount:
    """A file whose counts are not what silver's history and its refused records tell.

    Attributes:
        key: of the row with its latest promotion.
        counted: created, updated, deleted and refused rows as the ledger has them.
        found: the same, as they are.
        records: that the file holds.
        accounted: of these, what the ledger's six counts sum up to.
    """

    key: tuple[str, str]
    counted: tuple[int, int, int, int]
    found: tuple[int, int, int, int]
    records: int
    accounted: int

    @property
    def what(self) -> str:
        """One sentence."""
        names = ("created", "updated", "deleted", "refused")
        differing = [
            f"{n} {c:,} where there are {f:,}" for n, c, f in zip(names, self.counted, self.found, strict=True) if c != f
        ]
        if self.records != self.accounted:
            differing.append(f"{self.records:,} records read and {self.accounted:,} accounted for")
        return "the ledger says " + ", ".join(differing)


_ACCOUNTED = """silver_rows_created + silver_rows_updated + silver_rows_unchanged + silver_rows_failed + silver_rows_superseded
    + silver_rows_out_of_window"""


def miscounts(connection: duckdb.DuckDBPyConnection, table: SilverTable) -> list[Miscount]:
    """Files of a silver table whose latest promotion is miscounted.

    A file whose body is gone, and whose partition a replay has built since without it, stands in no history any more.
    """
    rows = dicts(
        connection,
        f"""WITH promoted AS (
            SELECT run_id, file_id, {_ORIGIN} AS origin, silver_injest_end_time, bronze_rows,
                [silver_rows_created, silver_rows_updated, silver_rows_deleted, silver_rows_failed] AS counted, {_ACCOUNTED} AS accounted
            FROM {LEDGER} f WHERE silver_tablename = $table AND silver_errors IS NULL AND silver_injest_end_time IS NOT NULL
        ), latest AS (SELECT DISTINCT ON (origin, file_id) * FROM promoted ORDER BY silver_injest_end_time DESC),
        told AS (
            SELECT run_id, bronze_file_id, count(*) FILTER (operation = 'C') AS created, count(*) FILTER (operation = 'U') AS updated,
                count(*) FILTER (operation = 'D') AS deleted FROM {table.name}_history GROUP BY ALL
        ), refused AS (
            SELECT run_id, bronze_file_id, count(*) AS failed FROM silver.rejected_rows WHERE silver_tablename = $table GROUP BY ALL
        ), compared AS (
            SELECT l.run_id, l.file_id, counted, bronze_rows AS records, accounted,
                [coalesce(t.created, 0), coalesce(t.updated, 0), coalesce(t.deleted, 0), coalesce(r.failed, 0)] AS found
            FROM latest l LEFT JOIN told t ON t.run_id = l.origin AND t.bronze_file_id = l.file_id
            LEFT JOIN refused r ON r.run_id = l.origin AND r.bronze_file_id = l.file_id
            WHERE (l.run_id, l.file_id) NOT IN ({REBUILT_WITHOUT_SQL})
        )
        FROM compared WHERE counted <> found OR records <> accounted ORDER BY ALL LIMIT {MOST}""",
        {"table": table.name},
    )
    return [
        Miscount((r["run_id"], r["file_id"]), tuple(r["counted"]), tuple(r["found"]), r["records"], r["accounted"]) for r in rows
    ]


def earlier_miscounts(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str, str]]:
    """(run, file, dataset key) of promotions that are not their file's latest and whose counts do not add up."""
    yield from connection.execute(
        f"""SELECT run_id, file_id, {DATASET_KEY_SQL} FROM {LEDGER} f
        WHERE silver_injest_end_time IS NOT NULL AND silver_errors IS NULL AND bronze_rows <> {_ACCOUNTED}
            AND EXISTS (SELECT 1 FROM {LEDGER} l WHERE l.file_id = f.file_id AND coalesce(l.origin_run_id, l.run_id) = {_ORIGIN}
                AND l.silver_errors IS NULL AND l.silver_injest_end_time > f.silver_injest_end_time)
        ORDER BY ALL LIMIT {MOST}"""
    ).fetchall()


def _names(names: Iterable[tuple[str, str]]) -> pa.Table:
    columns = list(zip(*names, strict=True)) or [(), ()]
    return pa.table([pa.array(list(column), pa.string()) for column in columns], schema=_NAME)
