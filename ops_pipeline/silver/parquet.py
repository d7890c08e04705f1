"""Reading stored Parquet files into raw text.

Belongs here: unpacking them to where DuckDB can read them, their columns, and their values as the text that `typing_sql` types. Does not
belong here: formats of text (`readers`), and types and verdicts (`typing_sql`).

Values become text although they have types, so that one set of rules decides what a column takes: DuckDB writes a number so that reading it
gives the same number again, and a time at midnight is written as its day, which loses nothing.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

import duckdb

from ops_pipeline.silver.bodies import StoredAnswer, UnreadableError, unpack
from ops_pipeline.silver.typing_sql import identifier, literal, present_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.silver.readers import Fields

_EXAMPLE: Final = 80
_TIMES: Final = ("TIMESTAMP", "DATETIME")


def examined(connection: duckdb.DuckDBPyConnection, recipe: Recipe, answer: StoredAnswer, folder: Path) -> StoredAnswer:
    """The answer unpacked into the folder, with its columns' names and types.

    Raises:
        UnreadableError: it is damaged or no Parquet file, or lacks a required column.
    """
    path = folder / f"{answer.number}.parquet"
    unpack(answer, path)
    try:
        found = connection.execute(f"DESCRIBE SELECT * FROM {_scan([path])}").fetchall()
    except duckdb.Error as e:
        raise UnreadableError(f"the answer is not a Parquet file that can be read: {_first(e, path)}") from None
    header = tuple(name for name, *_ in found)
    absent = [c.source_field for c in recipe.columns if c.required and c.source_field not in header]
    if absent:
        raise UnreadableError(f"the file lacks the required column {absent[0]!r}; it holds {', '.join(header)[:200]}")
    return replace(answer, path=path, header=header, types=tuple(str(kind) for _, kind, *_ in found))


class ParquetReader:
    """A Parquet file: one record a row."""

    def relations(
        self, recipe: Recipe, answers: Sequence[StoredAnswer], *, threads: int
    ) -> Iterator[tuple[list[StoredAnswer], str]]:
        """All files with the same columns a query."""
        groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[StoredAnswer]] = {}
        for answer in answers:
            groups.setdefault((answer.header, answer.types), []).append(answer)
        for members in groups.values():
            numbers = "[" + ", ".join(str(a.number) for a in members) + "][file_index::BIGINT + 1]"
            scan = _scan([a.path for a in members])
            yield members, f"SELECT {numbers} AS _file_no, {_columns(recipe, members[0])} FROM {scan}"

    def shapes(self, connection: duckdb.DuckDBPyConnection, recipe: Recipe, answer: StoredAnswer) -> dict[int, Fields]:
        """The columns' names, with the beginning of the first row's values."""
        cells = ", ".join(f"left(CAST({identifier(name)} AS VARCHAR), {_EXAMPLE})" for name in answer.header)
        first = connection.execute(f"SELECT {cells} FROM {_scan([answer.path])} LIMIT 1").fetchone() or ()
        return {_shape(answer): dict(zip_longest(answer.header, first))}

    def positioned(self, connection: duckdb.DuckDBPyConnection, recipe: Recipe, answer: StoredAnswer) -> str:
        """The same with the number of the row and its values as a JSON text."""
        record = ", ".join(f"{literal(name)}: {identifier(name)}" for name in answer.header)
        return (
            f"SELECT {answer.number}::INTEGER AS _file_no, {_columns(recipe, answer)}, file_row_number + 1 AS _position,"
            f" to_json({{{record}}})::VARCHAR AS _raw_text, NULL::VARCHAR AS _line_error"
            f" FROM {_scan([answer.path], 'file_row_number = true')}"
        )


def _columns(recipe: Recipe, answer: StoredAnswer) -> str:
    types = dict(zip(answer.header, answer.types, strict=True))
    cells = []
    for number, column in enumerate(recipe.columns):
        kind = types.get(column.source_field)
        cell = "NULL" if kind is None else present_sql(recipe, column, _text(identifier(column.source_field), kind))
        cells.append(f"{cell} AS _r{number}")
    return f"{', '.join(cells)}, {_shape(answer)}::UBIGINT AS _shape"


def _shape(answer: StoredAnswer) -> int:
    """The shape of every row of a file."""
    return hash(answer.header) & (2**63 - 1)


def _text(cell: str, kind: str) -> str:
    """A value as text; a time that is the beginning of a day as that day."""
    if kind.startswith(_TIMES):
        return f"CASE WHEN date_trunc('day', {cell}) = {cell} THEN CAST(CAST({cell} AS DATE) AS VARCHAR) ELSE CAST({cell} AS VARCHAR) END"
    return f"CAST({cell} AS VARCHAR)"


def _scan(paths: Sequence[Path], more: str = "") -> str:
    listed = ", ".join(literal(str(path)) for path in paths)
    options = "hive_partitioning = false, union_by_name = false" + (f", {more}" if more else "")
    return f"read_parquet([{listed}], {options})"


def _first(error: duckdb.Error, path: Path) -> str:
    return " ".join(str(error).split("\n")[0].replace(f"'{path}'", "it").replace(str(path), "it").split())
