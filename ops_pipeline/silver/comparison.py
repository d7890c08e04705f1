"""A silver table beside the one that a replay made: what is the same, what differs and by which files, and taking its place.

Belongs here: SQL over both tables. Does not belong here: making the other one (`engine.replay`), and the ledger (`ops.replays`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.ops.sql import LEDGER
from ops_pipeline.silver.tables import LINEAGE, ensure_tables
from ops_pipeline.silver.typing_sql import identifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from ops_pipeline.recipes.models import Recipe

REJECTS = "silver.rejected_rows"


@dataclass(frozen=True, slots=True)
class ColumnSums:
    """One column of both tables: rows with their keys as one sum each, which no order changes. None: there is no such column."""

    column: str
    standing: int | None
    replayed: int | None

    @property
    def same(self) -> bool:
        """Whether both hold the same."""
        return self.standing == self.replayed


@dataclass(frozen=True, slots=True)
class FileDifference:
    """Rows of one file that differ.

    Attributes:
        bronze_file_id: the file that the row rests on, of the replayed table where it is there.
        run_id: the run that fetched it.
        added: keys that only the replayed table has.
        missing: keys that only the standing one has.
        changed: keys whose values differ.
    """

    bronze_file_id: str
    run_id: str
    added: int
    missing: int
    changed: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both tables.

    Attributes:
        standing_rows: rows of the table that stands.
        replayed_rows: rows of the replayed one.
        columns: every column of either.
        files: the files by which they differ, at most `limit` of them, those with most rows first.
        history_same: whether both tell the same changes by the same files.
        rejects_same: whether both refused the same records of the same files.
    """

    standing_rows: int
    replayed_rows: int
    columns: list[ColumnSums]
    files: list[FileDifference]
    history_same: bool
    rejects_same: bool = True

    @property
    def identical(self) -> bool:
        """Whether no row differs, lineage and history included."""
        return self.standing_rows == self.replayed_rows and self.history_same and all(c.same for c in self.columns)


def compare(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, replayed: str, tickers: Sequence[str] | None, *, limit: int = 20
) -> Comparison:
    """The dataset's table beside that of the attached catalog `replayed`, over all tickers or these."""
    table = recipe.silver_table
    here, there = _columns(connection, table), _columns(connection, table, replayed)
    keys = [identifier(n) for n in recipe.silver_key]
    rows, sums = _sums(connection, table, here, keys, tickers) if here else (0, {})
    new_rows, new_sums = _sums(connection, f"{replayed}.{table}", there, keys, tickers) if there else (0, {})
    columns = [ColumnSums(n, sums.get(n), new_sums.get(n)) for n in dict.fromkeys([*here, *there])]
    # A table that was never made, or has other keys, has no row to set beside another.
    comparable = set(recipe.silver_key) <= set(here) and there
    files = _by_file(connection, recipe, replayed, [c for c in here if c in there], tickers, limit) if comparable else []
    same_history = _history(connection, recipe, replayed, tickers)
    return Comparison(rows, new_rows, columns, files, same_history, _rejects(connection, recipe, replayed, tickers))


def _columns(connection: duckdb.DuckDBPyConnection, table: str, catalog: str | None = None) -> list[str]:
    """Own columns and lineage, without the times of merging."""
    schema, name = table.split(".")
    found = connection.execute(
        "SELECT column_name FROM duckdb_columns() WHERE database_name = coalesce(?, current_database()) AND schema_name = ?"
        " AND table_name = ? ORDER BY column_index",
        [catalog, schema, name],
    ).fetchall()
    return [n for (n,) in found if n not in ("ingested_at", "merged_at", "recipe_hash")]


def _only(tickers: Sequence[str] | None, alias: str = "") -> tuple[str, list[list[str]]]:
    return ("true", []) if tickers is None else (f"{alias}ticker IN (SELECT unnest(?::VARCHAR[]))", [list(tickers)])


def _sums(
    connection: duckdb.DuckDBPyConnection, table: str, columns: list[str], keys: list[str], tickers: Sequence[str] | None
) -> tuple[int, dict[str, int]]:
    own = [k for k in keys if k.strip('"') in columns]
    where, parameters = _only(tickers)
    sums = ", ".join(f"coalesce(bit_xor(hash({', '.join([*own, identifier(c)])})), 0)" for c in columns)
    row = connection.execute(f"SELECT count(*), {sums} FROM {table} WHERE {where}", parameters).fetchone() or (0,)
    return int(row[0]), dict(zip(columns, row[1:], strict=True))


def _by_file(
    connection: duckdb.DuckDBPyConnection,
    recipe: Recipe,
    replayed: str,
    columns: list[str],
    tickers: Sequence[str] | None,
    limit: int,
) -> list[FileDifference]:
    same = " AND ".join(f"t.{identifier(k)} = s.{identifier(k)}" for k in recipe.silver_key)
    differs = f"({', '.join(f's.{identifier(c)}' for c in columns)}) IS DISTINCT FROM ({', '.join(f't.{identifier(c)}' for c in columns)})"
    where, parameters = _only(tickers)
    found = connection.execute(
        f"""SELECT coalesce(s.bronze_file_id, t.bronze_file_id), coalesce(s.run_id, t.run_id),
            count(*) FILTER (t.ingested_at IS NULL), count(*) FILTER (s.ingested_at IS NULL),
            count(*) FILTER (t.ingested_at IS NOT NULL AND s.ingested_at IS NOT NULL)
        FROM (FROM {recipe.silver_table} WHERE {where}) t FULL JOIN (FROM {replayed}.{recipe.silver_table} WHERE {where}) s ON {same}
        WHERE t.ingested_at IS NULL OR s.ingested_at IS NULL OR {differs}
        GROUP BY 1, 2 ORDER BY count(*) DESC, 1, 2 LIMIT ?""",
        [*parameters, *parameters, limit],
    ).fetchall()
    return [FileDifference(*row) for row in found]


def _history(connection: duckdb.DuckDBPyConnection, recipe: Recipe, replayed: str, tickers: Sequence[str] | None) -> bool:
    table = recipe.history_table
    here, there = _columns(connection, table), _columns(connection, table, replayed)
    if not here or here != there:
        return here == there
    keys = [identifier(n) for n in recipe.silver_key]
    lineage = [n for n, _, _ in LINEAGE]
    mine, others = (_sums(connection, name, here, [*keys, *lineage], tickers) for name in (table, f"{replayed}.{table}"))
    return mine == others


def _rejects(connection: duckdb.DuckDBPyConnection, recipe: Recipe, replayed: str, tickers: Sequence[str] | None) -> bool:
    where, parameters = _only(tickers)
    sums = [
        connection.execute(
            f"""SELECT count(*), bit_xor(hash(run_id, bronze_file_id, row_position, raw_text, reason)) FROM {table}
            WHERE silver_tablename = ? AND {where}""",
            [recipe.silver_table, *parameters],
        ).fetchone()
        for table in (REJECTS, f"{replayed}.{REJECTS}")
    ]
    return sums[0] == sums[1]


def rows_without_body(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, replayed: str, tickers: Sequence[str] | None
) -> tuple[int, tuple[str, str] | None]:
    """Standing rows that rest on files whose bodies are gone and that no replayed file has: how many, and the (run, file) of one."""
    present = set(_columns(connection, recipe.silver_table))
    if not set(recipe.silver_key) <= present or not _columns(connection, recipe.silver_table, replayed):
        return 0, None
    where, parameters = _only(tickers, "t.")
    same = " AND ".join(f"t.{identifier(k)} = s.{identifier(k)}" for k in recipe.silver_key)
    row = connection.execute(
        f"""SELECT count(*), min(t.run_id), arg_min(t.bronze_file_id, t.run_id) FROM {recipe.silver_table} t
        SEMI JOIN (FROM {LEDGER} WHERE bronze_purged_at IS NOT NULL) f ON f.run_id = t.run_id AND f.file_id = t.bronze_file_id
        WHERE {where} AND NOT EXISTS (SELECT 1 FROM {replayed}.{recipe.silver_table} s WHERE {same})""",
        parameters,
    ).fetchone()
    return (int(row[0]), (row[1], row[2])) if row and row[0] else (0, None)


def take_place(connection: duckdb.DuckDBPyConnection, recipe: Recipe, replayed: str, tickers: Sequence[str] | None) -> None:
    """Puts the replayed rows, history and refused records where the standing ones were; inside the caller's transaction.

    Over all tickers the tables are made anew, in the recipe's shape; over some, theirs alone are replaced.
    """
    repo = OpsRepo(connection)
    where, parameters = _only(tickers)
    tables = (recipe.silver_table, recipe.history_table)
    if tickers is None:
        for table in tables:
            connection.execute(f"DROP TABLE IF EXISTS {table}")
        repo.forget_silver_table(recipe)
    ensure_tables(repo, recipe)
    for table in tables:
        if tickers is not None:
            connection.execute(f"DELETE FROM {table} WHERE {where}", parameters)
        connection.execute(f"INSERT INTO {table} BY NAME FROM {replayed}.{table} WHERE {where}", parameters)
    take_rejects(connection, recipe, replayed, tickers)


def take_rejects(connection: duckdb.DuckDBPyConnection, recipe: Recipe, replayed: str, tickers: Sequence[str] | None) -> None:
    """Puts the refused records of the replay where the standing ones were; inside the caller's transaction."""
    where, parameters = _only(tickers)
    connection.execute(f"DELETE FROM {REJECTS} WHERE silver_tablename = ? AND {where}", [recipe.silver_table, *parameters])
    connection.execute(
        f"INSERT INTO {REJECTS} BY NAME FROM {replayed}.{REJECTS} WHERE silver_tablename = ? AND {where}",
        [recipe.silver_table, *parameters],
    )
