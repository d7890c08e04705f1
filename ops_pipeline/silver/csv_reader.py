"""Reading CSV answers into raw text.

Belongs here: finding lines and cells, fast for many files at once, and with position and raw text for the few that need them. Does not
belong here: what a body looks like from outside (`bodies`), types and verdicts (`typing_sql`).
"""

from __future__ import annotations

import csv
from io import StringIO
from itertools import zip_longest
from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa

from ops_pipeline.silver.bodies import LONGEST_LINE, Look, StoredAnswer, UnreadableError, body_of
from ops_pipeline.silver.typing_sql import literal, present_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

    from ops_pipeline.recipes.answers import AnswerFormat
    from ops_pipeline.recipes.models import Recipe


# Of a field's value, so much is kept as an example.
_EXAMPLE = 80


class CsvReader:
    """Lines of cells, with or without a header; with `unpivot`, one column a series."""

    minds_quotes: ClassVar[bool] = True

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
                yield few, self._shape(recipe, header, names, self._scan(recipe.answer, few, names), "")

    @staticmethod
    def _scan(answer: AnswerFormat, answers: Sequence[StoredAnswer], names: Sequence[str]) -> str:
        columns = "{" + ", ".join(f"'{n}': 'VARCHAR'" for n in names) + "}"
        paths = "[" + ", ".join(literal(str(a.path)) for a in answers) + "]"
        # DuckDB numbers the files of one scan from 0; the batch has numbers of its own.
        numbers = "[" + ", ".join(str(a.number) for a in answers) + "][file_index::BIGINT + 1]"
        return (
            f"SELECT {numbers} AS _file_no, {', '.join(names)} FROM read_csv({paths}, auto_detect=false,"
            f" compression='gzip', header=false, skip={int(answer.header)}, columns={columns}, delim={literal(answer.delimiter)},"
            f" quote='\"', escape='\"', strict_mode=true, null_padding=false)"
        )

    def positioned(self, connection: duckdb.DuckDBPyConnection, recipe: Recipe, answer: StoredAnswer) -> str:
        """Read by Python's csv module: slower, and able to say which line is broken, how, and what it holds."""
        records = self._read(recipe.answer, answer.header, body_of(answer))
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

    def shapes(
        self, connection: duckdb.DuckDBPyConnection, recipe: Recipe, answer: StoredAnswer
    ) -> dict[int, dict[str, str | None]]:
        """The header's names; of an unpivoted table none, because its headers are values."""
        if recipe.answer.unpivot:
            return {}
        lines = (cells for _, _, cells, broken in self._read(recipe.answer, answer.header, body_of(answer)) if broken is None)
        first = [cell[:_EXAMPLE] for cell in next(lines, [])]
        return {_number_of(answer.header): {name: text for name, text in zip_longest(answer.header, first) if name}}

    @staticmethod
    def _shape(recipe: Recipe, header: Sequence[str], names: Sequence[str], scan: str, more: str) -> str:
        """Columns by header, or pairs of an unpivoted table."""
        by_header = dict(zip(header, names, strict=True))
        if recipe.answer.trim:
            trimmed = ", ".join(f"nullif(trim({n}, ' \t'), '') AS {n}" for n in names)
            scan = f"SELECT * REPLACE ({trimmed}) FROM ({scan})"
        unpivot = recipe.answer.unpivot
        shape = f"{_number_of(header)}::UBIGINT AS _shape"
        if not unpivot:
            cells = [
                present_sql(recipe, c, by_header[c.source_field]) if c.source_field in by_header else "NULL"
                for c in recipe.columns
            ]
            columns = ", ".join(f"{cell} AS _r{i}" for i, cell in enumerate(cells))
            return f"SELECT _file_no, {columns}, {shape}{more} FROM ({scan})"
        series = [h for h in header if h and h not in unpivot.keep]
        fields = {k: by_header[k] for k in unpivot.keep} | {unpivot.name_to: "series", unpivot.value_to: "cell"}
        # The answer's own markers are no records here; a column's are no values, as everywhere.
        own = recipe.model_copy(update={"answer": recipe.answer.model_copy(update={"missing": []})})
        columns = ", ".join(f"{present_sql(own, c, fields[c.source_field])} AS _r{i}" for i, c in enumerate(recipe.columns))
        pairs = "unnest([" + ", ".join(f"{{'series': {literal(h)}, 'cell': {by_header[h]}}}" for h in series) + "]) AS pair"
        broken = " OR _line_error IS NOT NULL" if more else ""
        # A line that cannot be read is one refused record, not one a series.
        unique = " QUALIFY _line_error IS NULL OR row_number() OVER (PARTITION BY _position) = 1" if more else ""
        keep = ", ".join(by_header[k] for k in unpivot.keep)
        inner = f"SELECT _file_no, {keep}, {pairs}{more} FROM ({scan})"
        spread = f"SELECT * EXCLUDE (pair), pair.series AS series, pair.cell AS cell FROM ({inner})"
        return (
            f"SELECT _file_no, {columns}, {shape}{more} FROM ({spread})"
            f" WHERE ({_holds_a_record(recipe.answer.missing)}){broken}{unique}"
        )

    @staticmethod
    def _names(recipe: Recipe, line: bytes) -> list[str]:
        """The header's names without surrounding blanks; an unnamed column has the name ''."""
        if len(line) >= LONGEST_LINE:
            raise UnreadableError(f"the header is longer than {LONGEST_LINE} bytes")
        text = line.decode()
        answer = recipe.answer
        try:
            names = [
                n.strip()
                for n in next(csv.reader([text], strict=True, delimiter=answer.delimiter, skipinitialspace=answer.trim), [])
            ]
        except csv.Error as e:
            raise UnreadableError(f"the {'header' if answer.header else 'first line'} is not one line of valid CSV: {e}") from e
        if not answer.header:
            return CsvReader._positions(recipe, names)
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
    def _positions(recipe: Recipe, cells: Sequence[str]) -> list[str]:
        """Names for the columns of a table without header: their positions."""
        absent = [c for c in recipe.columns if c.required and int(c.source_field) >= len(cells)]
        if absent:
            raise UnreadableError(
                f"the first line has {len(cells)} cells, and none at position {absent[0].source_field}, where {absent[0].name} should be"
            )
        return [str(n) for n in range(len(cells))]

    @staticmethod
    def _read(answer: AnswerFormat, header: Sequence[str], body: bytes) -> list[tuple[int, str, list[str], str | None]]:
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
        reader = csv.reader(lines(), strict=True, delimiter=answer.delimiter, skipinitialspace=answer.trim)
        records: list[tuple[int, str, list[str], str | None]] = []
        try:
            for number, cells in enumerate(reader):
                raw = "".join(consumed).rstrip("\r\n")
                consumed.clear()
                if (number == 0 and answer.header) or not cells or (len(header) > 1 and not raw.strip()):
                    continue
                while len(cells) > len(header) and not cells[-1]:
                    cells.pop()  # commas behind the last column, as DuckDB takes them
                first = "header" if answer.header else "first line"
                broken = None if len(cells) == len(header) else f"the line has {len(cells)} cells, the {first} {len(header)}"
                records.append((len(records) + 1, raw, cells, broken))
        except csv.Error as e:
            raise UnreadableError(f"not valid CSV at line {reader.line_num}: {e}") from e
        if records and records[-1][3] and not text.endswith(("\n", "\r")):
            # Half a line at the end is how a cut transfer looks; what is missing before it cannot be known, so nothing is taken.
            raise UnreadableError("the answer ends in the middle of a line: it was cut")
        return records


def _number_of(header: Sequence[str]) -> int:
    """The shape of every record below such a header."""
    return hash(tuple(header)) & (2**63 - 1)


def _holds_a_record(missing: Sequence[str]) -> str:
    """Which cells of an unpivoted table are records: all but those that hold a declared marker; an empty cell is NULL here."""
    if not missing:
        return "true"
    markers = ", ".join(literal(m) for m in missing)
    return f"cell NOT IN ({markers})" if "" in missing else f"cell IS NULL OR cell NOT IN ({markers})"
