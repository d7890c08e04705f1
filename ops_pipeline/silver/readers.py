"""Reading stored answers into raw text, one relation a format.

Belongs here: what a reader of one format does, and which one reads what. Does not belong here: the readers themselves (`json_reader`,
`csv_reader`, `parquet`), what a body looks like from outside (`bodies`), types and verdicts (`typing_sql`).

A reader yields a relation with _file_no, _r0, _r1, ..., one a declared column, and _shape; see `typing_sql.typed_sql`. Both ways of
reading must find the same records: where DuckDB's CSV reader and Python's differ, the file is read the slow way only.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias

from ops_pipeline.silver.csv_reader import CsvReader
from ops_pipeline.silver.json_reader import JsonReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.silver.bodies import Look, StoredAnswer


# The names of a record's fields, each with the beginning of one value of it.
Fields: TypeAlias = dict[str, str | None]


class Reader(Protocol):
    """How answers of one format become records of text."""

    def relations(
        self, recipe: Recipe, answers: Sequence[StoredAnswer], *, threads: int
    ) -> Iterator[tuple[list[StoredAnswer], str]]:
        """Groups of files that one fast query of so many threads reads, with that query."""
        ...

    def positioned(self, connection: duckdb.DuckDBPyConnection, recipe: Recipe, answer: StoredAnswer) -> str:
        """A query for one file with _position, _raw_text and _line_error as well."""
        ...

    def shapes(self, connection: duckdb.DuckDBPyConnection, recipe: Recipe, answer: StoredAnswer) -> dict[int, Fields]:
        """The fields of each shape that a record of the file has; see _shape."""
        ...


class TextReader(Reader, Protocol):
    """A reader of a format that is text.

    Attributes:
        minds_quotes: whether it wants to know of blanks beside double quotes.
    """

    minds_quotes: ClassVar[bool]

    def examine(self, recipe: Recipe, look: Look) -> tuple[bool, tuple[str, ...]]:
        """Whether the fast way reads this body as the slow one would, and its header.

        Raises:
            UnreadableError: when the body cannot be what the recipe says.
        """
        ...


_FILE_IN_MESSAGE = re.compile(r'in file "([^"]+)"|file: ?"?([^\s"]+\.gz)')


def file_named_in(message: str, answers: Sequence[StoredAnswer]) -> StoredAnswer | None:
    """The file that DuckDB's message blames, if it names one of these."""
    for match in _FILE_IN_MESSAGE.finditer(message):
        name = match.group(1) or match.group(2)
        for answer in answers:
            if str(answer.path) == name:
                return answer
    return None


TEXT_READERS: dict[str, TextReader] = {"json": JsonReader(), "csv": CsvReader()}
