"""Reading stored answers into raw text, one relation a format.

Belongs here: how JSON and CSV bodies become records of text, fast for many files at once, and with position and raw text for the few that
need them. Does not belong here: types and verdicts (`typing_sql`).

A reader yields a relation with file_no and r0, r1, ..., one a declared column; see `typing_sql.typed_sql`.
"""

from __future__ import annotations

import csv
import gzip
import re
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from ops_pipeline.silver.typing_sql import literal, present_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import duckdb

    from ops_pipeline.recipes.models import Recipe


class UnreadableError(Exception):
    """A stored answer is not what the recipe says; the text says why."""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A file to read: its number in the batch and where it is."""

    number: int
    path: Path


class Reader(Protocol):
    """How answers of one format become records of text."""

    def relations(self, recipe: Recipe, answers: Sequence[StoredAnswer]) -> Iterator[tuple[list[StoredAnswer], str]]:
        """Groups of files that one fast query reads, with that query; may raise UnreadableError for a group of one file."""
        ...

    def positioned(
        self,
        connection: duckdb.DuckDBPyConnection,
        recipe: Recipe,
        answer: StoredAnswer,
    ) -> str:
        """A query for one file with row_position, raw_text and line_error as well."""
        ...


def body_of(path: Path) -> bytes:
    """The stored body.

    Raises:
        UnreadableError: when the file is gone or damaged.
    """
    try:
        with gzip.open(path, "rb") as f:
            return f.read()
    except (OSError, EOFError, gzip.BadGzipFile) as e:
        raise UnreadableError(f"the stored file cannot be read: {e}") from e


_FILE_IN_MESSAGE = re.compile(r'in file "([^"]+)"|file: ?"?([^\s"]+\.gz)')


def file_named_in(message: str, answers: Sequence[StoredAnswer]) -> StoredAnswer | None:
    """The file that DuckDB's message blames, if it names one of these."""
    for match in _FILE_IN_MESSAGE.finditer(message):
        name = match.group(1) or match.group(2)
        for answer in answers:
            if str(answer.path) == name:
                return answer
    return None


def _paths(answers: Sequence[StoredAnswer]) -> str:
    return "[" + ", ".join(literal(str(a.path)) for a in answers) + "]"


def _numbers(answers: Sequence[StoredAnswer]) -> str:
    """DuckDB numbers the files of one scan from 0; the batch has numbers of its own."""
    return "[" + ", ".join(str(a.number) for a in answers) + "][file_index::BIGINT + 1]"


class JsonReader:
    """A JSON array of objects."""

    def relations(self, recipe: Recipe, answers: Sequence[StoredAnswer]) -> Iterator[tuple[list[StoredAnswer], str]]:
        """All files in one query: extracting a list of paths is faster than reading typed columns, and keeps the record's text at hand."""
        if answers:
            yield (
                list(answers),
                f"SELECT file_no, {self._columns(recipe)} FROM ({self._records(recipe, answers)})",
            )

    def positioned(
        self,
        connection: duckdb.DuckDBPyConnection,
        recipe: Recipe,
        answer: StoredAnswer,
    ) -> str:
        """The same with the record's own text; the number of a record is its place in the array."""
        records = self._records(
            recipe,
            [answer],
            ", json::VARCHAR AS raw_text, row_number() OVER () AS row_position",
        )
        return f"SELECT file_no, {self._columns(recipe)}, row_position, raw_text, NULL::VARCHAR AS line_error FROM ({records})"

    @staticmethod
    def _records(recipe: Recipe, answers: Sequence[StoredAnswer], more: str = "") -> str:
        fields = ", ".join(literal('$."' + c.source_field.replace('"', '\\"') + '"') for c in recipe.columns)
        return f"SELECT {_numbers(answers)} AS file_no, json_extract_string(json, [{fields}]) AS v{more} FROM read_json_objects({_paths(answers)}, format='array')"

    @staticmethod
    def _columns(recipe: Recipe) -> str:
        return ", ".join(f"{present_sql(recipe, f'v[{i + 1}]')} AS r{i}" for i in range(len(recipe.columns)))


class CsvReader:
    """Comma-separated values with a header line; with `unpivot`, one column a series."""

    def relations(self, recipe: Recipe, answers: Sequence[StoredAnswer]) -> Iterator[tuple[list[StoredAnswer], str]]:
        """One query for all files with the same header: columns are found by name, never by position."""
        groups: dict[tuple[str, ...], list[StoredAnswer]] = {}
        for answer in answers:
            try:
                groups.setdefault(tuple(self._header(recipe, answer.path)), []).append(answer)
            except UnreadableError:
                yield [answer], ""  # the slow path says why
        for header, members in groups.items():
            names = [f"c{i}" for i in range(len(header))]
            columns = "{" + ", ".join(f"'{n}': 'VARCHAR'" for n in names) + "}"
            scan = (
                f"SELECT {_numbers(members)} AS file_no, {', '.join(names)} FROM read_csv({_paths(members)}, auto_detect=false, header=false, skip=1,"
                f" columns={columns}, delim=',', quote='\"', escape='\"', strict_mode=true, null_padding=false)"
            )
            yield members, self._shape(recipe, header, names, scan, "")

    def positioned(
        self,
        connection: duckdb.DuckDBPyConnection,
        recipe: Recipe,
        answer: StoredAnswer,
    ) -> str:
        """Read by Python's csv module: slower, and able to say which line is broken, how, and what it holds."""
        header, records = self._read(recipe, body_of(answer.path))
        names = [f"c{i}" for i in range(len(header))]
        table = pa.table(
            {
                **{
                    n: pa.array(
                        [(r[2][i] or None) if r[3] is None else None for r in records],
                        pa.string(),
                    )
                    for i, n in enumerate(names)
                },
                "row_position": pa.array([r[0] for r in records], pa.int64()),
                "raw_text": pa.array([r[1] for r in records], pa.string()),
                "line_error": pa.array([r[3] for r in records], pa.string()),
            }
        )
        connection.register("csv_records", table)
        scan = f"SELECT {answer.number} AS file_no, * FROM csv_records"
        return self._shape(recipe, header, names, scan, ", row_position, raw_text, line_error")

    @staticmethod
    def _shape(
        recipe: Recipe,
        header: Sequence[str],
        names: Sequence[str],
        scan: str,
        more: str,
    ) -> str:
        """Columns by header, or pairs of an unpivoted table."""
        by_header = dict(zip(header, names, strict=True))
        if not recipe.answer.unpivot:
            columns = ", ".join(
                f"{present_sql(recipe, by_header[c.source_field]) if c.source_field in by_header else 'NULL'} AS r{i}"
                for i, c in enumerate(recipe.columns)
            )
            return f"SELECT file_no, {columns}{more} FROM ({scan})"
        unpivot = recipe.answer.unpivot
        series = [h for h in header if h and h not in unpivot.keep]
        fields = {k: by_header[k] for k in unpivot.keep} | {
            unpivot.name_to: "series",
            unpivot.value_to: "cell",
        }
        columns = ", ".join(f"{fields[c.source_field]} AS r{i}" for i, c in enumerate(recipe.columns))
        pairs = "unnest([" + ", ".join(f"{{'series': {literal(h)}, 'cell': {by_header[h]}}}" for h in series) + "]) AS pair"
        broken = " OR line_error IS NOT NULL" if more else ""
        # A line that cannot be read is one refused record, not one a series.
        unique = " QUALIFY line_error IS NULL OR row_number() OVER (PARTITION BY row_position) = 1" if more else ""
        keep = ", ".join(by_header[k] for k in unpivot.keep)
        missing = (
            f"cell NOT IN ({', '.join(literal(m) for m in recipe.answer.missing)}) OR cell IS NULL"
            if recipe.answer.missing
            else "true"
        )
        inner = f"SELECT file_no, {keep}, {pairs}{more} FROM ({scan})"
        return (
            f"SELECT file_no, {columns}{more} FROM (SELECT * EXCLUDE (pair), pair.series AS series, pair.cell AS cell FROM ({inner}))"
            f" WHERE ({missing}){broken}{unique}"
        )

    def _header(self, recipe: Recipe, path: Path) -> list[str]:
        try:
            with gzip.open(path, "rb") as f:
                line = f.readline(1 << 20)
        except (OSError, EOFError) as e:
            raise UnreadableError(f"the stored file cannot be read: {e}") from e
        return self._names(recipe, line)

    @staticmethod
    def _names(recipe: Recipe, line: bytes) -> list[str]:
        """The header's names without byte-order mark and surrounding blanks; an unnamed column has the name ''."""
        try:
            text = line.decode("utf-8-sig")
        except UnicodeDecodeError as e:
            raise UnreadableError(f"not valid UTF-8 at byte {e.start} of the header") from e
        names = [n.strip() for n in next(csv.reader([text.rstrip("\r\n")]), [])]
        if not any(names):
            raise UnreadableError("the answer has no header line")
        repeated = sorted({n for n in names if n and names.count(n) > 1})
        if repeated:
            raise UnreadableError(f"the header names {repeated[0]!r} twice")
        unpivot = recipe.answer.unpivot
        needed = unpivot.keep if unpivot else [c.source_field for c in recipe.columns if c.required]
        absent = [n for n in needed if n not in names]
        if absent:
            raise UnreadableError(
                f"the header lacks the required column {absent[0]!r}; it holds {', '.join(n for n in names if n)[:200]}"
            )
        if unpivot and not [n for n in names if n and n not in unpivot.keep]:
            raise UnreadableError("the header names no series to unpivot")
        return names

    def _read(self, recipe: Recipe, body: bytes) -> tuple[list[str], list[tuple[int, str, list[str], str | None]]]:
        """(header, [(position, raw text, cells, why the line is broken or None)])."""
        first, _, _ = body.partition(b"\n")
        header = self._names(recipe, first)
        try:
            text = body.decode("utf-8-sig")
        except UnicodeDecodeError as e:
            raise UnreadableError(f"not valid UTF-8 at byte {e.start}") from e
        lines = text.splitlines(keepends=True)
        reader = csv.reader(StringIO(text), strict=True)
        records: list[tuple[int, str, list[str], str | None]] = []
        begin = 0
        try:
            for number, cells in enumerate(reader):
                raw, begin = (
                    "".join(lines[begin : reader.line_num]).rstrip("\r\n"),
                    reader.line_num,
                )
                if number == 0 or not cells:
                    continue
                broken = None if len(cells) == len(header) else f"the line has {len(cells)} cells, the header {len(header)}"
                records.append((len(records) + 1, raw, cells, broken))
        except csv.Error as e:
            raise UnreadableError(f"not valid CSV at line {reader.line_num}: {e}") from e
        if records and records[-1][3] and not text.endswith("\n"):
            # Half a line at the end is how a cut transfer looks; what is missing before it cannot be known, so nothing is taken.
            raise UnreadableError("the answer ends in the middle of a line: it was cut")
        return header, records


READERS: dict[str, Reader] = {"json": JsonReader(), "csv": CsvReader()}
