"""Reading stored answers into raw text, one relation a format.

Belongs here: how JSON and CSV bodies become records of text, fast for many files at once, and with position and raw text for the few that
need them. Does not belong here: what a body looks like from outside (`bodies`), types and verdicts (`typing_sql`).

A reader yields a relation with _file_no and _r0, _r1, ..., one a declared column; see `typing_sql.typed_sql`. Both ways of reading must
find the same records: where DuckDB's CSV reader and Python's differ, the file is read the slow way only.
"""

from __future__ import annotations

import csv
import re
from io import StringIO
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from ops_pipeline.silver.bodies import LONGEST_LINE, Look, StoredAnswer, UnreadableError, body_of
from ops_pipeline.silver.typing_sql import literal, present_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

    from ops_pipeline.recipes.models import Recipe

# Of a record that cannot be read, so much is shown.
_SHOWN = 120


class Reader(Protocol):
    """How answers of one format become records of text."""

    def examine(self, recipe: Recipe, look: Look) -> tuple[bool, tuple[str, ...]]:
        """Whether the fast way reads this body as the slow one would, and its header.

        Raises:
            UnreadableError: when the body cannot be what the recipe says.
        """
        ...

    def relations(
        self, recipe: Recipe, answers: Sequence[StoredAnswer], *, threads: int
    ) -> Iterator[tuple[list[StoredAnswer], str]]:
        """Groups of files that one fast query of so many threads reads, with that query."""
        ...

    def positioned(self, connection: duckdb.DuckDBPyConnection, recipe: Recipe, answer: StoredAnswer) -> str:
        """A query for one file with _position, _raw_text and _line_error as well."""
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


def _paths(answers: Sequence[StoredAnswer]) -> str:
    return "[" + ", ".join(literal(str(a.path)) for a in answers) + "]"


def _numbers(answers: Sequence[StoredAnswer]) -> str:
    """DuckDB numbers the files of one scan from 0; the batch has numbers of its own."""
    return "[" + ", ".join(str(a.number) for a in answers) + "][file_index::BIGINT + 1]"


class JsonReader:
    """A JSON array of objects."""

    def examine(self, recipe: Recipe, look: Look) -> tuple[bool, tuple[str, ...]]:
        """DuckDB reads an array that was cut behind a comma as if it had ended there, and blanks as an empty array."""
        if look.first != b"[":
            raise UnreadableError(f"the answer is not a JSON array; it begins with {look.beginning(_SHOWN)}")
        if look.last != b"]":
            raise UnreadableError("the JSON array does not end where the answer ends: it was cut, or something follows it")
        return True, ()

    def relations(
        self, recipe: Recipe, answers: Sequence[StoredAnswer], *, threads: int
    ) -> Iterator[tuple[list[StoredAnswer], str]]:
        """All files in one query: extracting a list of paths is faster than reading typed columns, and keeps the record's text at hand."""
        if answers:
            yield list(answers), f"SELECT _file_no, {self._columns(recipe)} FROM ({self._records(recipe, answers)})"

    def positioned(self, connection: duckdb.DuckDBPyConnection, recipe: Recipe, answer: StoredAnswer) -> str:
        """The same with the record's own text; the number of a record is its place in the array."""
        records = self._records(recipe, [answer], ", json::VARCHAR AS _raw_text, row_number() OVER () AS _position")
        return f"SELECT _file_no, {self._columns(recipe)}, _position, _raw_text, NULL::VARCHAR AS _line_error FROM ({records})"

    @staticmethod
    def _records(recipe: Recipe, answers: Sequence[StoredAnswer], more: str = "") -> str:
        # JSON pointers: a path ($."name") gives some characters of a name a meaning of its own, and has no way to write others.
        fields = ", ".join(literal("/" + c.source_field.replace("~", "~0").replace("/", "~1")) for c in recipe.columns)
        return (
            f"SELECT {_numbers(answers)} AS _file_no, json_extract_string(json, [{fields}]) AS v{more}"
            f" FROM read_json_objects({_paths(answers)}, format='array', compression='gzip')"
        )

    @staticmethod
    def _columns(recipe: Recipe) -> str:
        return ", ".join(f"{present_sql(recipe, f'v[{i + 1}]')} AS _r{i}" for i in range(len(recipe.columns)))


class CsvReader:
    """Comma-separated values with a header line; with `unpivot`, one column a series."""

    def examine(self, recipe: Recipe, look: Look) -> tuple[bool, tuple[str, ...]]:
        """The header's names, and whether DuckDB finds the same cells: it strips blanks around quotes, which are a part of the cell."""
        return not look.blank_beside_quote, tuple(self._names(recipe, look.line))

    def relations(
        self, recipe: Recipe, answers: Sequence[StoredAnswer], *, threads: int
    ) -> Iterator[tuple[list[StoredAnswer], str]]:
        """A few files with the same header a query: columns are found by name, never by position.

        Of more than two files a thread, DuckDB reads each with one thread, and then it drops a last line that it should refuse: one with
        a quote that is never closed, with invalid UTF-8, with a cell too many (1.5.5, seen in all three).
        """
        groups: dict[tuple[str, ...], list[StoredAnswer]] = {}
        for answer in answers:
            groups.setdefault(answer.header, []).append(answer)
        for header, members in groups.items():
            for start in range(0, len(members), 2 * threads):
                few = members[start : start + 2 * threads]
                names = [f"c{i}" for i in range(len(header))]
                yield few, self._shape(recipe, header, names, self._scan(few, names), "")

    @staticmethod
    def _scan(answers: Sequence[StoredAnswer], names: Sequence[str]) -> str:
        columns = "{" + ", ".join(f"'{n}': 'VARCHAR'" for n in names) + "}"
        return (
            f"SELECT {_numbers(answers)} AS _file_no, {', '.join(names)} FROM read_csv({_paths(answers)}, auto_detect=false,"
            f" compression='gzip', header=false, skip=1, columns={columns}, delim=',', quote='\"', escape='\"',"
            f" strict_mode=true, null_padding=false)"
        )

    def positioned(self, connection: duckdb.DuckDBPyConnection, recipe: Recipe, answer: StoredAnswer) -> str:
        """Read by Python's csv module: slower, and able to say which line is broken, how, and what it holds."""
        records = self._read(answer.header, body_of(answer))
        names = [f"c{i}" for i in range(len(answer.header))]
        table = pa.table(
            {
                **{
                    n: pa.array([(r[2][i] or None) if r[3] is None else None for r in records], pa.string())
                    for i, n in enumerate(names)
                },
                "_position": pa.array([r[0] for r in records], pa.int64()),
                "_raw_text": pa.array([r[1] for r in records], pa.string()),
                "_line_error": pa.array([r[3] for r in records], pa.string()),
            }
        )
        connection.register("csv_records", table)
        scan = f"SELECT {answer.number}::INTEGER AS _file_no, * FROM csv_records"
        return self._shape(recipe, answer.header, names, scan, ", _position, _raw_text, _line_error")

    @staticmethod
    def _shape(recipe: Recipe, header: Sequence[str], names: Sequence[str], scan: str, more: str) -> str:
        """Columns by header, or pairs of an unpivoted table."""
        by_header = dict(zip(header, names, strict=True))
        unpivot = recipe.answer.unpivot
        if not unpivot:
            cells = [
                present_sql(recipe, by_header[c.source_field]) if c.source_field in by_header else "NULL" for c in recipe.columns
            ]
            columns = ", ".join(f"{cell} AS _r{i}" for i, cell in enumerate(cells))
            return f"SELECT _file_no, {columns}{more} FROM ({scan})"
        series = [h for h in header if h and h not in unpivot.keep]
        fields = {k: by_header[k] for k in unpivot.keep} | {unpivot.name_to: "series", unpivot.value_to: "cell"}
        columns = ", ".join(f"{fields[c.source_field]} AS _r{i}" for i, c in enumerate(recipe.columns))
        pairs = "unnest([" + ", ".join(f"{{'series': {literal(h)}, 'cell': {by_header[h]}}}" for h in series) + "]) AS pair"
        broken = " OR _line_error IS NOT NULL" if more else ""
        # A line that cannot be read is one refused record, not one a series.
        unique = " QUALIFY _line_error IS NULL OR row_number() OVER (PARTITION BY _position) = 1" if more else ""
        keep = ", ".join(by_header[k] for k in unpivot.keep)
        inner = f"SELECT _file_no, {keep}, {pairs}{more} FROM ({scan})"
        return (
            f"SELECT _file_no, {columns}{more} FROM (SELECT * EXCLUDE (pair), pair.series AS series, pair.cell AS cell FROM ({inner}))"
            f" WHERE ({_holds_a_record(recipe.answer.missing)}){broken}{unique}"
        )

    @staticmethod
    def _names(recipe: Recipe, line: bytes) -> list[str]:
        """The header's names without surrounding blanks; an unnamed column has the name ''."""
        if len(line) >= LONGEST_LINE:
            raise UnreadableError(f"the header is longer than {LONGEST_LINE} bytes")
        text = line.decode()
        try:
            names = [n.strip() for n in next(csv.reader([text], strict=True), [])]
        except csv.Error as e:
            raise UnreadableError(f"the header is not one line of valid CSV: {e}") from e
        if not any(names):
            raise UnreadableError("the answer has no header line")
        if "\0" in text:
            raise UnreadableError("the header holds a zero byte")
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

    @staticmethod
    def _read(header: Sequence[str], body: bytes) -> list[tuple[int, str, list[str], str | None]]:
        """[(position, raw text, cells, why the line is broken or None)]."""
        text = body.decode("utf-8-sig")
        consumed: list[str] = []

        def lines() -> Iterator[str]:
            # csv's own idea of lines: str.splitlines would also split at U+2028 and the like, which are text.
            for line in StringIO(text, newline=""):
                consumed.append(line)
                yield line

        # The module's limit is the process's; 128 KiB are too little for a cell that holds a document.
        csv.field_size_limit(max(csv.field_size_limit(), len(body) + 1))
        reader = csv.reader(lines(), strict=True)
        records: list[tuple[int, str, list[str], str | None]] = []
        try:
            for number, cells in enumerate(reader):
                raw = "".join(consumed).rstrip("\r\n")
                consumed.clear()
                if number == 0 or not cells or (len(header) > 1 and not raw.strip()):
                    continue
                while len(cells) > len(header) and not cells[-1]:
                    cells.pop()  # commas behind the last column, as DuckDB takes them
                broken = None if len(cells) == len(header) else f"the line has {len(cells)} cells, the header {len(header)}"
                records.append((len(records) + 1, raw, cells, broken))
        except csv.Error as e:
            raise UnreadableError(f"not valid CSV at line {reader.line_num}: {e}") from e
        if records and records[-1][3] and not text.endswith(("\n", "\r")):
            # Half a line at the end is how a cut transfer looks; what is missing before it cannot be known, so nothing is taken.
            raise UnreadableError("the answer ends in the middle of a line: it was cut")
        return records


def _holds_a_record(missing: Sequence[str]) -> str:
    """Which cells of an unpivoted table are records: all but those that hold a declared marker; an empty cell is NULL here."""
    if not missing:
        return "true"
    markers = ", ".join(literal(m) for m in missing)
    return f"cell NOT IN ({markers})" if "" in missing else f"cell IS NULL OR cell NOT IN ({markers})"


READERS: dict[str, Reader] = {"json": JsonReader(), "csv": CsvReader()}
