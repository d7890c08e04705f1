"""What a publication reads from the database.

Belongs here: short openings that together see one state, the list of tables, and writing a part's rows to a file. Does not belong here:
which parts are needed (`publisher`), and their SQL (`layout`).
"""

from __future__ import annotations

import time
from collections import Counter, deque
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from ops_pipeline.errors import UserError
from ops_pipeline.publish.layout import CONTENTS, Column, Layout, Part, Table, day_of, series_of
from ops_pipeline.silver.typing_sql import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ops_pipeline.publish.selection import Selection
    from ops_pipeline.warehouse import Warehouse

    Task = Callable[[duckdb.DuckDBPyConnection], Iterable["Task"]]

HOLD_SECONDS = 0.5
"""An opening ends with the first piece of work after so long: writers wait for it. A piece takes some tenths of a second."""

COMPARED_ROWS = 1024 * 1024
"""Rows of a table that one piece of work compares."""

# Without statistics of every few thousand rows, a reader of one ticker would read a whole file.
_PARQUET = "FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20480"


class PublishError(UserError):
    """The version could not be made; the one before is still current."""


class MovedError(Exception):
    """The database was written between two openings."""


def stamp_of(database: Path) -> list[int]:
    """Figures that change with every write to the database: each commit makes its log longer, and each fold writes the file."""
    found = []
    for path in (database, Path(f"{database}.wal")):
        try:
            about = path.stat()
            found += [about.st_ino, about.st_size, about.st_mtime_ns]
        except FileNotFoundError:
            found += [0, 0, 0]
    return found


def work_off(warehouse: Warehouse, database: Path, tasks: Iterable[Task], *, at_once: bool) -> list[int]:
    """Does the tasks and those that they give, all on one state of the database, letting writers in now and then.

    Args:
        warehouse: the door.
        database: the file behind it.
        tasks: the first pieces of work.
        at_once: in one opening, however long it takes.

    Returns:
        `stamp_of` that state.

    Raises:
        MovedError: when somebody wrote meanwhile.
    """
    left = deque(tasks)
    stamp: list[int] | None = None
    while left:
        with warehouse.reading() as connection:
            present = stamp_of(database)
            if stamp is not None and present != stamp:
                raise MovedError
            stamp, until = present, time.monotonic() + HOLD_SECONDS
            left.extend(left.popleft()(connection))
            while left and (at_once or time.monotonic() < until):
                left.extend(left.popleft()(connection))
    return stamp or []


def list_tables(
    connection: duckdb.DuckDBPyConnection, selection: Selection, days: Mapping[str, str | None]
) -> list[tuple[Table, str | None]]:
    """The selected tables of silver and gold, not yet cut, each with the dataset that it holds."""
    salt = _schema_version(connection)
    datasets = dict(connection.execute("SELECT silver_tablename, dataset_key FROM ops.silver_tables").fetchall())
    columns: dict[str, list[Column]] = {}
    for schema, table, *about in connection.execute(
        """SELECT schema_name, table_name, column_name, data_type, comment FROM duckdb_columns()
        WHERE database_name = current_database() AND schema_name IN ('silver', 'gold') ORDER BY schema_name, table_name, column_index"""
    ).fetchall():
        columns.setdefault(f"{schema}.{table}", []).append(Column(*about))
    tables = connection.execute(
        """SELECT schema_name || '.' || table_name, comment FROM duckdb_tables()
        WHERE database_name = current_database() AND schema_name IN ('silver', 'gold') ORDER BY 1"""
    ).fetchall()
    return [
        (
            Table(name, tuple(columns[name]), day_of(columns[name], days.get(name)), series_of(columns[name]), salt, comment),
            datasets.get(name),
        )
        for name, comment in tables
        if name in selection
    ]


def list_objects(connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """Statements that make the views and table macros of silver and gold."""
    macros = connection.execute(
        """SELECT schema_name, function_name, parameters, macro_definition FROM duckdb_functions()
        WHERE database_name = current_database() AND schema_name IN ('silver', 'gold') AND function_type = 'table_macro' ORDER BY ALL"""
    ).fetchall()
    views = connection.execute(
        """SELECT sql FROM duckdb_views()
        WHERE database_name = current_database() AND schema_name IN ('silver', 'gold') AND NOT internal ORDER BY ALL"""
    ).fetchall()
    made = [
        f"CREATE MACRO {identifier(schema)}.{identifier(name)}({', '.join(parameters)}) AS TABLE {text}"
        for schema, name, parameters, text in macros
    ]
    return (*made, *(str(text) for (text,) in views))


def _schema_version(connection: duckdb.DuckDBPyConnection) -> str:
    """A migration may change rows without setting their times, and another DuckDB hashes differently."""
    version = connection.execute("SELECT max(version)::BIGINT FROM ops.schema_migrations").fetchone()
    return f"{version[0] if version else ''} {duckdb.__version__}"


class Comparison:
    """A table cut into parts, as its rows now are, found in pieces that keep the database for some tenths of a second each.

    Attributes:
        table: the table; once `go_on` was called, with its layout.
    """

    def __init__(self, table: Table, before: Layout | None) -> None:
        """Compares nothing yet; `before` is the layout of the version before."""
        self.table, self._before = table, before
        self._in_all: int | None = None
        self._next = 0
        self._rows: Counter[tuple[int, int]] = Counter()
        self._contents: Counter[tuple[int, int]] = Counter()

    def go_on(self, connection: duckdb.DuckDBPyConnection) -> bool:
        """Looks at the next piece; tells whether rows are left. All pieces must be of one state of the database."""
        if self._in_all is None:
            self._in_all, first, last = connection.execute(self.table.extent_sql()).fetchone() or (0, None, None)
            self.table = self.table.cut(self._in_all, first, last, self._before)
        numbers = None
        if self._in_all > COMPARED_ROWS and self.table.has_row_numbers:
            numbers = self._next, self._next + COMPARED_ROWS
            self._next += COMPARED_ROWS
        for period, share, rows, content in connection.execute(self.table.parts_sql(numbers)).fetchall():
            self._rows[period, share] += rows
            self._contents[period, share] += int(content)
        return self._rows.total() < self._in_all

    @property
    def parts(self) -> list[Part]:
        """The parts, in order; one that tells the columns of a table without rows."""
        found = [self.table.part(*key, rows, str(self._contents[key] % CONTENTS)) for key, rows in sorted(self._rows.items())]
        return found or [self.table.no_rows()]


def write_part(connection: duckdb.DuckDBPyConnection, part: Part, path: Path) -> None:
    """Writes a part's rows into a file.

    Raises:
        PublishError: when the file cannot be written.
    """
    try:
        found = connection.execute(f"COPY ({part.rows_sql()}) TO {literal(str(path))} ({_PARQUET})").fetchone()
    except duckdb.IOException as e:
        reason = str(e).partition("\n")[0].removeprefix("IO Error: ")
        raise PublishError(f"{path}: cannot be written ({reason}). Free space or make the folder writable.") from e
    written = found[0] if found else None
    if written != part.rows:
        raise AssertionError(f"{part.table.name}: {part.rows} rows were found and {written} written to {path.name}")
