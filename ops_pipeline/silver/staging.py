"""Staging: many stored answers of one dataset become typed rows, outside the database lock.

Belongs here: batching, isolating the file that cannot be read, and each file's profile. Does not belong here: how one format is read
(`readers`), how a value is typed (`typing_sql`), and the target (`commit`).

The common case reads all files in one statement without positions (500,000 JSON records: 0.4 s on two cores; with positions 0.8 s). Files
with refused records or repeated keys are read once more with positions; a file that cannot be read at all is set aside with its reason.
Every body is looked at from outside first: see `bodies` for what DuckDB would swallow.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from ops_pipeline.ops.wanted import registered
from ops_pipeline.silver.bodies import OWN_WORDS, Look, StoredAnswer, UnreadableError, look_at
from ops_pipeline.silver.drift import lacking_column, unknown_fields
from ops_pipeline.silver.parquet import ParquetReader, examined
from ops_pipeline.silver.readers import TEXT_READERS, file_named_in
from ops_pipeline.silver.staged import REJECTS_SCHEMA, FileProfile, Staged
from ops_pipeline.silver.typing_sql import identifier, typed_sql
from ops_pipeline.warehouse import half_of_threads

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.silver.readers import Reader, TextReader

# What DuckDB raises about a file's content; anything else it raises is a mistake of ours and must not be blamed on the vendor.
_CONTENT_ERRORS = (
    duckdb.InvalidInputException,
    duckdb.IOException,
    duckdb.ConversionException,
    duckdb.OutOfRangeException,
    UnicodeDecodeError,  # its message quotes the content, and the content is no text
)
# Unpacking lets go of the interpreter lock; more threads than this only wait for the disk.
_LOOKERS = 4
# Unpacking a smaller body takes less than handing it to another thread, which waits for the interpreter lock.
_SMALL = 256 * 1024
# Of an answer that is not what the recipe says, so much is shown.
_SHOWN = 120


def staging_connection() -> duckdb.DuckDBPyConnection:
    """An in-memory database to read answers with; making one takes longer than reading a few files, so keep it for many batches."""
    connection = duckdb.connect()
    # Reading goes on beside committing: each has half of the processors.
    connection.execute(f"SET TimeZone = 'UTC'; SET threads = {half_of_threads(connection)}")
    return connection


def stage(
    recipe: Recipe,
    files: Sequence[DatasetInjestion],
    path_of: dict[tuple[str, str], Path],
    *,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> Staged:
    """Reads and types the files.

    Args:
        recipe: the dataset's recipe.
        files: ledger rows of stored answers of that dataset, at most one batch.
        path_of: where each file's body is, by the row's primary key.
        connection: from `staging_connection`, for one caller at a time; None: one for this batch alone.

    Returns:
        typed rows, refused records and one profile a file; an answer that cannot be read has a profile that says why, and no rows.
    """
    if connection is not None:
        return _Staging(connection, recipe, files, path_of).run()
    with contextlib.closing(staging_connection()) as own:
        return _Staging(own, recipe, files, path_of).run()


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
        self.text_reader: TextReader | None = TEXT_READERS.get(recipe.answer.format)
        self.reader: Reader = self.text_reader or ParquetReader()
        self.answers = [StoredAnswer(i, path_of[f.key], f.bronze_bytes) for i, f in enumerate(self.files)]
        self.unreadable: dict[int, str] = {}
        self.first_reasons: dict[int, str] = {}
        self.superseded: dict[int, int] = {}
        self.fast: list[pa.Table] = []
        self.slow = False  # whether the table `positioned` is there: most batches read no file the slow way
        self.keys = ", ".join(["_file_no", *map(identifier, recipe.silver_key)])

    def run(self) -> Staged:
        self.connection.register("files_arrow", self._files_table())
        self.connection.execute("CREATE OR REPLACE TEMP TABLE files AS SELECT * FROM files_arrow")
        if self.text_reader:
            return self._read(self._examined(self.text_reader))
        # Only a file of its own can be read in any order, as this format wants it.
        with tempfile.TemporaryDirectory(prefix="ops-pipeline-") as folder:
            return self._read(self._unpacked(Path(folder)))

    def _read(self, fast: Sequence[StoredAnswer]) -> Staged:
        self._read_fast(fast)
        # As Arrow tables, lent to the queries that follow: to write a table costs a quarter of reading.
        typed = pa.concat_tables(self.fast or [self._typed(self._no_records())])
        with registered(self.connection, "typed", typed):
            again = self._wanting_positions()
            for answer in again:
                self._read_slowly(answer)
            if not self.slow:
                return self._result(typed)
            typed = self._with_slow(again)
        with registered(self.connection, "typed", typed):
            return self._result(typed)

    def _typed(self, source: str) -> pa.Table:
        return self.connection.execute(typed_sql(self.recipe, source, positioned=False)).to_arrow_table()

    def _files_table(self) -> pa.Table:
        return pa.table(
            {
                "_file_no": pa.array(range(len(self.files)), pa.int32()),
                "ticker": pa.array([f.ticker for f in self.files], pa.string()),
                "_asked_from": pa.array([f.requested_from_date for f in self.files], pa.date32()),
                "_asked_to": pa.array([f.requested_to_date for f in self.files], pa.date32()),
            }
        )

    def _no_records(self) -> str:
        raws = ", ".join(f"NULL::VARCHAR AS _r{i}" for i in range(len(self.recipe.columns)))
        more = "NULL::BIGINT AS _position, NULL::VARCHAR AS _raw_text, NULL::VARCHAR AS _line_error"
        return f"SELECT NULL::INTEGER AS _file_no, {raws}, NULL::UBIGINT AS _shape, {more} WHERE false"

    def _unpacked(self, folder: Path) -> list[StoredAnswer]:
        """The Parquet files as DuckDB can read them; those that it cannot are set aside with the reason."""
        whole = []
        for number, answer in enumerate(self.answers):
            try:
                self.answers[number] = examined(self.connection, self.recipe, answer, folder)
                whole.append(self.answers[number])
            except UnreadableError as e:
                self.unreadable[number] = str(e)
        return whole

    def _examined(self, reader: TextReader) -> list[StoredAnswer]:
        """The answers that the fast way may read; the others are read the slow way here, or set aside with the reason."""
        looks = self._looks(quotes=reader.minds_quotes)
        fast = []
        for number, look in enumerate(looks):
            if isinstance(look, UnreadableError):
                self.unreadable[number] = str(look)
                continue
            try:
                fits, header = reader.examine(self.recipe, look)
            except UnreadableError as e:
                self.unreadable[number] = str(e)
                continue
            answer = self.answers[number] = replace(self.answers[number], header=header)
            if fits:
                fast.append(answer)
            else:
                self._read_slowly(answer)
        return fast

    def _looks(self, *, quotes: bool) -> list[Look | UnreadableError]:
        if all(answer.size is not None and answer.size <= _SMALL for answer in self.answers):
            return [_look(answer, quotes) for answer in self.answers]
        with ThreadPoolExecutor(min(_LOOKERS, len(self.answers) or 1)) as pool:
            return list(pool.map(_look, self.answers, repeat(quotes)))

    def _read_fast(self, answers: Sequence[StoredAnswer]) -> None:
        """Many files a statement; the file that DuckDB blames goes the slow way, and the others are read again."""
        found = self.connection.execute("SELECT current_setting('threads')").fetchone()
        threads = int(found[0]) if found else 1
        for members, query in self.reader.relations(self.recipe, answers, threads=threads):
            pending = deque([members])
            while pending:
                group = pending.popleft()
                try:
                    sql = query if group is members else next(iter(self.reader.relations(self.recipe, group, threads=threads)))[1]
                    self.fast.append(self._typed(sql))
                except (duckdb.Error, UnicodeDecodeError) as e:
                    if not self._about_content(e):
                        raise
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
        if not self.slow:
            empty = typed_sql(self.recipe, self._no_records(), positioned=True)
            self.connection.execute(f"CREATE OR REPLACE TEMP TABLE positioned AS {empty}")
            self.slow = True
        try:
            query = typed_sql(self.recipe, self.reader.positioned(self.connection, self.recipe, answer), positioned=True)
            self.connection.execute(f"INSERT INTO positioned SELECT * FROM ({query})")
        except UnreadableError as e:
            self.unreadable[answer.number] = str(e)
        except UnicodeDecodeError:
            self.unreadable[answer.number] = "the answer cannot be read: it is not valid UTF-8"
        except duckdb.Error as e:
            if not self._about_content(e):
                raise
            self.unreadable[answer.number] = _plain(str(e), answer)

    def _about_content(self, error: Exception) -> bool:
        """Whether DuckDB blames what a file holds; errors of the libraries below its Parquet reader have no type of their own."""
        return isinstance(error, _CONTENT_ERRORS) or (self.text_reader is None and type(error) is duckdb.Error)

    def _wanting_positions(self) -> list[StoredAnswer]:
        """Files read fast that have refused records (their text is kept) or a repeated key (the last one wins)."""
        found = self.connection.execute(
            f"SELECT DISTINCT _file_no FROM typed WHERE _verdict = 'F' UNION SELECT _file_no FROM (SELECT {self.keys} FROM typed"
            f" WHERE _verdict = 'G' GROUP BY {self.keys} HAVING count(*) > 1)"
        ).fetchall()
        wanting = {row[0] for row in found}
        return [a for a in self.answers if a.number in wanting]

    def _with_slow(self, again: Iterable[StoredAnswer]) -> pa.Table:
        """The relation `typed` with the files that were read slowly, those of `again` for what was read of them before."""
        own = "* EXCLUDE (_position, _raw_text, _reason)"
        typed = self.connection.execute(
            f"""SELECT * FROM typed WHERE NOT list_contains(?::INTEGER[], _file_no)
            UNION ALL SELECT {own} FROM positioned WHERE _verdict <> 'G'
            UNION ALL SELECT {own} FROM (SELECT * FROM positioned WHERE _verdict = 'G'
                QUALIFY row_number() OVER (PARTITION BY {self.keys} ORDER BY _position DESC) = 1)""",
            [[answer.number for answer in again]],
        ).to_arrow_table()
        self.superseded = dict(
            self.connection.execute(
                f"""SELECT _file_no, count(*) - count(DISTINCT ({self.keys})) AS twice FROM positioned WHERE _verdict = 'G'
                GROUP BY _file_no HAVING twice > 0"""
            ).fetchall()
        )
        self.first_reasons = dict(
            self.connection.execute(
                "SELECT _file_no, first(_reason ORDER BY _position, _reason) FROM positioned WHERE _verdict = 'F' GROUP BY _file_no"
            ).fetchall()
        )
        return typed

    def _lacking(self, number: int) -> str | None:
        """An answer whose every record is refused may be another answer than the recipe's: then that is told once, by the column's name."""
        return lacking_column(self.recipe, self.reader.shapes(self.connection, self.recipe, self.answers[number]))

    def _result(self, typed: pa.Table) -> Staged:
        """What the relation `typed`, which is this table, and the refused records come to."""
        unknown = unknown_fields(self.connection, self.recipe, self.reader, self.answers)
        day = identifier(self.recipe.date_column) if self.recipe.date_column else "NULL::DATE"
        found = self.connection.execute(
            f"""SELECT _file_no, count(*), count(*) FILTER (_verdict = 'G'), count(*) FILTER (_verdict = 'F'),
                count(*) FILTER (_verdict = 'W'), min({day}) FILTER (_verdict = 'G'), max({day}) FILTER (_verdict = 'G')
            FROM typed GROUP BY _file_no"""
        ).fetchall()
        by_number = {row[0]: row[1:] for row in found}
        profiles = []
        for number in range(len(self.files)):
            if number in self.unreadable:
                profiles.append(FileProfile(unreadable=self.unreadable[number]))
                continue
            rows, good, failed, outside, first, last = by_number.get(number, (0, 0, 0, 0, None, None))
            twice = self.superseded.get(number, 0)
            reason = self.first_reasons.get(number)
            lacking = self._lacking(number) if failed and failed == rows else None
            profiles.append(FileProfile(rows + twice, good, failed, outside, twice, first, last, None, reason, lacking))
        names = ["_file_no", *(name for name, _ in self.recipe.silver_columns)]
        if sum(profile.good for profile in profiles) < typed.num_rows:
            columns = ", ".join(map(identifier, names))
            typed = self.connection.execute(f"SELECT {columns} FROM typed WHERE _verdict = 'G'").to_arrow_table()
        return Staged(self.recipe, self.files, profiles, typed.select(names), self._rejects(), unknown)

    def _rejects(self) -> pa.Table:
        if not self.slow:
            return REJECTS_SCHEMA.empty_table()
        found = self.connection.execute(
            "SELECT _file_no AS file_no, _position AS row_position, _raw_text AS raw_text, _reason AS reason"
            " FROM positioned WHERE _verdict = 'F' ORDER BY _file_no, _position, _reason"
        )
        return found.to_arrow_table().cast(REJECTS_SCHEMA)


def _look(answer: StoredAnswer, quotes: bool) -> Look | UnreadableError:
    try:
        return look_at(answer, quotes=quotes)
    except UnreadableError as e:
        return e


def _plain(message: str, answer: StoredAnswer) -> str:
    """DuckDB's message without the machine's path and without its advice, which is for writers of SQL; or a reader's own sentence."""
    named = f' in file "{answer.path}"'
    if OWN_WORDS in message:
        return f"{message.partition(OWN_WORDS)[2].partition(named)[0]}; it begins with {look_at(answer).beginning(_SHOWN)}"
    first = message.split("\n")[0].replace(named, "").replace(str(answer.path), "")
    return "the answer cannot be read: " + " ".join(first.split())
