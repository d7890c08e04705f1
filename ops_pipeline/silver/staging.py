"""Staging: many stored answers of one dataset become typed rows, outside the database lock.

Belongs here: batching, isolating the file that cannot be read, and each file's profile. Does not belong here: how one format is read
(`readers`), how a value is typed (`typing_sql`), and the target (`commit`).

The common case reads all files in one statement without positions (500,000 JSON records: 0.4 s on two cores; with positions 0.8 s). Files
with refused records or repeated keys are read once more with positions; a file that cannot be read at all is set aside with its reason.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa


from ops_pipeline.silver.readers import (
    READERS,
    StoredAnswer,
    UnreadableError,
    body_of,
    file_named_in,
)
from ops_pipeline.silver.typing_sql import identifier, typed_sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date
    from pathlib import Path

    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.recipes.models import Recipe

# A body shorter than this is looked at before DuckDB sees it: DuckDB reads blanks as an empty array.
_SUSPICIOUSLY_SHORT = 64

# What DuckDB raises about a file's content; anything else it raises is a mistake of ours and must not be blamed on the vendor.
_CONTENT_ERRORS = (
    duckdb.InvalidInputException,
    duckdb.IOException,
    duckdb.ConversionException,
    duckdb.OutOfRangeException,
)


@dataclass(frozen=True, slots=True)
class FileProfile:
    """What one answer holds.

    Attributes:
        rows: records that the recipe reads from it.
        good: records to merge (after the last of equal keys won).
        failed: refused records.
        out_of_window: records outside the requested dates.
        superseded: good records that a later one with the same key in the same file replaced.
        from_date: date of the first good record; None without good records or without date column.
        to_date: date of the last good record.
        unreadable: why the whole answer cannot be read; None when it can.
        first_reason: why the first refused record was refused.
    """

    rows: int = 0
    good: int = 0
    failed: int = 0
    out_of_window: int = 0
    superseded: int = 0
    from_date: date | None = None
    to_date: date | None = None
    unreadable: str | None = None
    first_reason: str | None = None


@dataclass(slots=True)
class Staged:
    """Typed rows of a batch of files of one dataset, ready for one transaction.

    Attributes:
        recipe: the recipe that they were read by.
        files: the batch; a file's number is its place in this list.
        profiles: one a file, in the same order.
        good: file_no, [ticker], the declared columns; one row a key and file.
        rejects: file_no, row_position (from 1), raw_text, reason.
    """

    recipe: Recipe
    files: list[DatasetInjestion]
    profiles: list[FileProfile]
    good: pa.Table
    rejects: pa.Table = field(default_factory=lambda: REJECTS_SCHEMA.empty_table())


REJECTS_SCHEMA = pa.schema(
    [
        ("file_no", pa.int32()),
        ("row_position", pa.int64()),
        ("raw_text", pa.string()),
        ("reason", pa.string()),
    ]
)


def stage(
    recipe: Recipe,
    files: Sequence[DatasetInjestion],
    path_of: dict[tuple[str, str], Path],
) -> Staged:
    """Reads and types the files.

    Args:
        recipe: the dataset's recipe.
        files: ledger rows of stored answers of that dataset, at most one batch.
        path_of: where each file's body is, by the row's primary key.

    Returns:
        typed rows, refused records and one profile a file; an answer that cannot be read has a profile that says why, and no rows.
    """
    connection = duckdb.connect()
    try:
        connection.execute("SET TimeZone = 'UTC'")
        return _Staging(connection, recipe, files, path_of).run()
    finally:
        connection.close()


class _Staging:
    """One batch on one in-memory connection."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        recipe: Recipe,
        files: Sequence[DatasetInjestion],
        path_of: dict[tuple[str, str], Path],
    ) -> None:
        self.connection, self.recipe, self.files = connection, recipe, list(files)
        self.reader = READERS[recipe.answer.format]
        self.answers = [StoredAnswer(i, path_of[f.key]) for i, f in enumerate(self.files)]
        self.unreadable: dict[int, str] = {}
        self.first_reasons: dict[int, str] = {}
        self.superseded: dict[int, int] = {}
        self.keys = ", ".join(["file_no", *map(identifier, recipe.silver_key)])

    def run(self) -> Staged:
        self.connection.register("files_arrow", self._files_table())
        self.connection.execute("CREATE TEMP TABLE files AS SELECT * FROM files_arrow")
        empty = typed_sql(self.recipe, self._no_records(), positioned=True)
        self.connection.execute(f"CREATE TEMP TABLE typed AS SELECT * EXCLUDE (row_position, raw_text, reason) FROM ({empty})")
        self.connection.execute(f"CREATE TEMP TABLE positioned AS SELECT * FROM ({empty})")
        self._read_fast([a for a in self.answers if self._worth_reading(a)])
        self._read_again(self._wanting_positions())
        return self._result()

    def _files_table(self) -> pa.Table:
        return pa.table(
            {
                "file_no": pa.array(range(len(self.files)), pa.int32()),
                "ticker": pa.array([f.ticker for f in self.files], pa.string()),
                "requested_from_date": pa.array([f.requested_from_date for f in self.files], pa.date32()),
                "requested_to_date": pa.array([f.requested_to_date for f in self.files], pa.date32()),
            }
        )

    def _no_records(self) -> str:
        raws = ", ".join(f"NULL::VARCHAR AS r{i}" for i in range(len(self.recipe.columns)))
        more = "NULL::BIGINT AS row_position, NULL::VARCHAR AS raw_text, NULL::VARCHAR AS line_error"
        return f"SELECT NULL::INTEGER AS file_no, {raws}, {more} WHERE false"

    def _worth_reading(self, answer: StoredAnswer) -> bool:
        size = self.files[answer.number].bronze_bytes
        if size is not None and size >= _SUSPICIOUSLY_SHORT:
            return True
        try:
            if body_of(answer.path).strip():
                return True
            self.unreadable[answer.number] = f"the answer is empty ({size or 0} bytes of nothing but blanks)"
        except UnreadableError as e:
            self.unreadable[answer.number] = str(e)
        return False

    def _read_fast(self, answers: Sequence[StoredAnswer]) -> None:
        """Many files a statement; the file that DuckDB blames goes the slow way, and the others are read again."""
        for members, query in self.reader.relations(self.recipe, answers):
            if not query:
                self._read_slowly(members[0])
                continue
            pending = deque([members])
            while pending:
                group = pending.popleft()
                try:
                    sql = query if group is members else next(iter(self.reader.relations(self.recipe, group)))[1]
                    self.connection.execute(f"INSERT INTO typed {typed_sql(self.recipe, sql, positioned=False)}")
                except _CONTENT_ERRORS as e:
                    if len(group) == 1:
                        self._read_slowly(group[0])
                        continue
                    blamed = file_named_in(str(e), group)
                    if blamed is not None:
                        self._read_slowly(blamed)
                        pending.append([a for a in group if a is not blamed])
                    else:
                        half = len(group) // 2
                        pending.extend([group[:half], group[half:]])

    def _read_slowly(self, answer: StoredAnswer) -> None:
        """One file with positions; when that fails too, the answer is not what the recipe says."""
        try:
            query = typed_sql(
                self.recipe,
                self.reader.positioned(self.connection, self.recipe, answer),
                positioned=True,
            )
            self.connection.execute(f"INSERT INTO positioned SELECT * FROM ({query})")
        except UnreadableError as e:
            self.unreadable[answer.number] = str(e)
        except _CONTENT_ERRORS as e:
            self.unreadable[answer.number] = _plain(str(e), answer.path)

    def _wanting_positions(self) -> list[StoredAnswer]:
        """Files with refused records (their text is kept) or with a key that stands twice (the last one wins)."""
        found = self.connection.execute(
            f"SELECT DISTINCT file_no FROM typed WHERE verdict = 'F' UNION SELECT file_no FROM (SELECT {self.keys} FROM typed WHERE verdict = 'G'"
            f" GROUP BY {self.keys} HAVING count(*) > 1)"
        ).fetchall()
        numbers = {row[0] for row in found}
        return [a for a in self.answers if a.number in numbers]

    def _read_again(self, answers: Iterable[StoredAnswer]) -> None:
        for answer in answers:
            self.connection.execute("DELETE FROM typed WHERE file_no = ?", [answer.number])
            self._read_slowly(answer)
        own = "* EXCLUDE (row_position, raw_text, reason)"
        good = self.connection.execute("SELECT file_no, count(*) FROM positioned WHERE verdict = 'G' GROUP BY file_no").fetchall()
        self.connection.execute(
            f"""INSERT INTO typed SELECT {own} FROM positioned WHERE verdict <> 'G'
            UNION ALL SELECT {own} FROM (SELECT * FROM positioned WHERE verdict = 'G'
                QUALIFY row_number() OVER (PARTITION BY {self.keys} ORDER BY row_position DESC) = 1)"""
        )
        kept = dict(
            self.connection.execute("SELECT file_no, count(*) FROM typed WHERE verdict = 'G' GROUP BY file_no").fetchall()
        )
        self.superseded = {number: count - kept.get(number, 0) for number, count in good if count > kept.get(number, 0)}
        self.first_reasons = dict(
            self.connection.execute(
                "SELECT file_no, arg_min(reason, row_position) FROM positioned WHERE verdict = 'F' GROUP BY file_no"
            ).fetchall()
        )

    def _result(self) -> Staged:
        day = identifier(self.recipe.date_column) if self.recipe.date_column else "NULL::DATE"
        found = self.connection.execute(
            f"""SELECT file_no, count(*), count(*) FILTER (verdict = 'G'), count(*) FILTER (verdict = 'F'), count(*) FILTER (verdict = 'W'),
                min({day}) FILTER (verdict = 'G'), max({day}) FILTER (verdict = 'G') FROM typed GROUP BY file_no"""
        ).fetchall()
        by_number = {row[0]: row[1:] for row in found}
        profiles = []
        for number in range(len(self.files)):
            if number in self.unreadable:
                profiles.append(FileProfile(unreadable=self.unreadable[number]))
                continue
            rows, good, failed, outside, first, last = by_number.get(number, (0, 0, 0, 0, None, None))
            twice = self.superseded.get(number, 0)
            profiles.append(
                FileProfile(
                    rows + twice,
                    good,
                    failed,
                    outside,
                    twice,
                    first,
                    last,
                    None,
                    self.first_reasons.get(number),
                )
            )
        columns = ", ".join(["file_no", *(identifier(n) for n, _ in self.recipe.silver_columns)])
        good_rows = self.connection.execute(f"SELECT {columns} FROM typed WHERE verdict = 'G'").to_arrow_table()
        rejects = self.connection.execute(
            "SELECT file_no, row_position, raw_text, reason FROM positioned WHERE verdict = 'F' ORDER BY file_no, row_position"
        ).to_arrow_table()
        return Staged(self.recipe, self.files, profiles, good_rows, rejects.cast(REJECTS_SCHEMA))


def _plain(message: str, path: Path) -> str:
    """DuckDB's message without the machine's path and without its advice, which is for writers of SQL."""
    first = message.split("\n")[0].replace(f' in file "{path}"', "").replace(str(path), "")
    return "the answer cannot be read: " + " ".join(first.split())
