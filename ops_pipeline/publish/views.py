"""A version's lake.duckdb: a view a table, for programs that speak SQL.

Belongs here: making the file. Does not belong here: the Parquet files (`database`), and reading (`ops_pipeline.read`).

The views name the version's own files: a connection sees one state for as long as it is open, whatever is published meanwhile, and DuckDB's
lock on the file keeps that state from being removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from ops_pipeline.files import sync
from ops_pipeline.publish.versions import LAKE, literally
from ops_pipeline.silver.typing_sql import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ops_pipeline.publish.manifest import Manifest, PublishedTable


def write_views(folder: Path, manifest: Manifest) -> None:
    """Makes lake.duckdb in a version's folder, whose Parquet files must be there."""
    path = folder / LAKE
    path.unlink(missing_ok=True)
    connection = duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"})
    try:
        connection.execute(f"ATTACH {literal(str(path))} AS lake (TYPE duckdb); USE lake")
        for statement in _statements(folder, manifest.tables):
            connection.execute(statement)
        _make_objects(connection, manifest.objects)
        connection.execute("USE memory; DETACH lake")
    finally:
        connection.close()
    # Opened for writing it would keep every other reader out: whoever forgets READ_ONLY is told so.
    path.chmod(0o444)
    sync(path)


def _make_objects(connection: duckdb.DuckDBPyConnection, statements: Iterable[str]) -> None:
    """Makes the database's own views and macros, in whatever order they need one another; those over tables left out are left out."""
    left = list(statements)
    while left:
        failed = []
        for statement in left:
            try:
                connection.execute(statement)
            except duckdb.Error:
                failed.append(statement)
        if len(failed) == len(left):
            return
        left = failed


def _statements(folder: Path, tables: Mapping[str, PublishedTable]) -> Iterable[str]:
    for schema in dict.fromkeys(name.partition(".")[0] for name in tables):
        yield f"CREATE SCHEMA IF NOT EXISTS {identifier(schema)}"
    for name, table in tables.items():
        schema, _, short = name.partition(".")
        view = f"{identifier(schema)}.{identifier(short)}"
        yield f"CREATE VIEW {view} AS SELECT * FROM read_parquet({literal(f'{literally(folder / schema / short)}/*.parquet')})"
        if table.comment:
            yield f"COMMENT ON VIEW {view} IS {literal(table.comment)}"
        for column in table.columns:
            if column.comment:
                yield f"COMMENT ON COLUMN {view}.{identifier(column.name)} IS {literal(column.comment)}"
