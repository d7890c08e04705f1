"""How a table is cut into files.

Belongs here: the parts of a table (`Part`), how large they are, and the SQL that finds a part's rows and tells whether they changed. Does
not belong here: running it (`export`), versions and their folders.

A part is a span of days and, in large tables, a share of the tickers. The newest year is cut by months, or is whole where it is small; the
years before it make spans of one or more years. So a day's new rows rewrite one month of all tickers, and a ticker that is loaded anew
rewrites its share of every span and nothing else.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ops_pipeline.silver.typing_sql import identifier

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE_ROWS = 128 * 1024
"""Rows that a file is meant for. Smaller files cost readers more openings, larger ones cost a small change more rewriting."""

NEWEST_FILE_ROWS = FILE_ROWS // 8
"""The same in the newest parts, of which a ticker that is loaded anew rewrites one a month."""

SPAN_YEARS = 8
"""Years before the newest one that make a span at least: they seldom change but by a ticker that is loaded anew, which rewrites its share
of each span."""

SMALL_YEAR_ROWS = 8 * 1024
"""A newest year of fewer rows is not cut by months."""

# When each row was last written. Whoever writes a row sets it, so that it tells of every change but a deletion.
STAMPS = ("ingested_at", "merged_at", "built_at", "rejected_at")

# So many different sums of rows' hashes there are.
CONTENTS = 2**64
# What a file's name depends on besides its rows.
_FORMAT = "1"
_ALL, _UNDATED = -2, -1


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the database describes it."""

    name: str
    type: str
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table is cut.

    Attributes:
        newest: the year from which on the cuts are finer; None: the table is not cut by days.
        monthly: whether they are months, instead of years.
        years: how many years make a span before that; a power of two.
        shares: shares of the tickers in such a span, or in the whole table where it is not cut by days; a power of two.
        newest_shares: the same in the newest parts.
    """

    newest: int | None = None
    monthly: bool = False
    years: int = 1
    shares: int = 1
    newest_shares: int = 1


@dataclass(frozen=True, slots=True)
class Table:
    """A table that is published.

    Attributes:
        name: schema and name.
        columns: in order.
        day: the column of days or times by which it is cut.
        series: the column by which it is shared out.
        salt: what changes when everything must be written anew, such as the schema's version.
        comment: what it holds.
        layout: how it is cut.
    """

    name: str
    columns: tuple[Column, ...]
    day: str | None = None
    series: str | None = None
    salt: str = ""
    comment: str | None = None
    layout: Layout = Layout()

    @property
    def quoted(self) -> str:
        """The name as SQL takes it."""
        return ".".join(identifier(part) for part in self.name.split("."))

    def cut(self, rows: int, first_year: int | None, last_year: int | None, before: Layout | None) -> Table:
        """The table with its layout.

        Args:
            rows: how many there are.
            first_year: of the oldest row; None where no row has a day.
            last_year: of the newest row.
            before: the present layout; it is kept as long as it is not far off, since changing it rewrites the table.
        """
        # A table that was whole stays so until it has twice the rows: one that grows and shrinks must not go to and fro.
        if rows <= FILE_ROWS * (2 if before == Layout() else 1):
            return replace(self, layout=Layout())
        if before is None or before == Layout():
            before = Layout(years=0, shares=0, newest_shares=0)
        if self.day is None or first_year is None or last_year is None:
            return replace(self, layout=Layout(shares=self._shares(rows, before.shares)))
        a_year = rows // max(1, last_year - first_year + 1)
        years = max(SPAN_YEARS, _near(FILE_ROWS // max(1, a_year), before.years))
        monthly = a_year > SMALL_YEAR_ROWS * (1 if before.monthly else 2)
        return replace(
            self,
            layout=Layout(
                newest=last_year,
                monthly=monthly,
                years=years,
                shares=self._shares(a_year * years, before.shares),
                newest_shares=self._shares(a_year // 12 if monthly else a_year, before.newest_shares, NEWEST_FILE_ROWS),
            ),
        )

    def _shares(self, rows: int, before: int, each: int = 0) -> int:
        return _near(-(-rows // (each or FILE_ROWS)), before) if self.series is not None else 1

    # --- SQL ------------------------------------------------------------------------------------------------------------------

    @property
    def has_row_numbers(self) -> bool:
        """Whether `rowid` is DuckDB's own number of a row, and no column."""
        return all(c.name.lower() != "rowid" for c in self.columns)

    def parts_sql(self, numbers: tuple[int, int] | None = None) -> str:
        """The query for every part that holds rows: period, share, number of rows, and a sum that changes with them.

        Args:
            numbers: of the rows from this number on and below that one alone; DuckDB passes over the blocks of the others.
        """
        period, share = str(_ALL), "0"
        cut = self.layout
        if cut.newest is not None and self.day is not None:
            year, month = f"year({identifier(self.day)})", f"month({identifier(self.day)})" if cut.monthly else "0"
            period = f"""CASE WHEN {year} >= {cut.newest} THEN {year} * 100 + {month}
                WHEN {year} >= 1 THEN {year} // {cut.years} * {cut.years * 100} ELSE {_UNDATED} END"""
        if self.series is not None and max(cut.shares, cut.newest_shares) > 1:
            shares = (
                f"CASE WHEN period >= {cut.newest * 100} THEN {cut.newest_shares} ELSE {cut.shares} END"
                if cut.newest
                else cut.shares
            )
            share = f"(series % ({shares}))::INTEGER"
        stamp = next((c.name for c in self.columns if c.name in STAMPS), None)
        # A row's stamp alone would do for one row; its key is hashed with it, so that no two rows can exchange theirs unseen.
        hashed = [c for c in (self.series, self.day, stamp) if c] if stamp else [c.name for c in self.columns]
        series = f"hash({identifier(self.series)})" if self.series else "0::UBIGINT"
        among = "true" if numbers is None else f"rowid >= {numbers[0]} AND rowid < {numbers[1]}"
        return f"""SELECT period, {share} AS share, count(*) AS rows, (sum(hash_of_row) % {CONTENTS})::VARCHAR AS content
            FROM (SELECT ({period})::INTEGER AS period, {series} AS series,
                hash({", ".join(identifier(c) for c in hashed)}) AS hash_of_row FROM {self.quoted} WHERE {among})
            GROUP BY period, share"""

    def extent_sql(self) -> str:
        """The query for the number of rows, and the first and last year."""
        if self.day is None:
            return f"SELECT count(*), NULL, NULL FROM {self.quoted}"
        day = identifier(self.day)
        return f"SELECT count(*), year(min({day})), year(max({day})) FROM {self.quoted}"

    def part(self, period: int, share: int, rows: int, content: str) -> Part:
        """A part that a row of `parts_sql` tells of."""
        newest = self.layout.newest is not None and period >= self.layout.newest * 100
        return Part(self, period, share, self.layout.newest_shares if newest else self.layout.shares, rows, content)

    def no_rows(self) -> Part:
        """The part of a table without rows: a file that tells its columns."""
        return Part(self, _ALL, 0, 1, 0, "0")


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a table, which make a file.

    Attributes:
        table: the table.
        period: the first year times 100, plus the month where the year is cut; -1: rows without a day, or with one before the year 1;
            -2: all days.
        share: which share of the tickers, of how many `shares`.
        rows: how many.
        content: a number that changes with the rows.
    """

    table: Table
    period: int
    share: int
    shares: int
    rows: int
    content: str

    @property
    def file_name(self) -> str:
        """The name of the file that holds these very rows: such as 2024-05-3of8-0123456789ab.parquet."""
        columns = "\x1f".join(f"{c.name} {c.type}" for c in self.table.columns)
        of = (_FORMAT, self.table.salt, self.table.name, columns, str(self.period), f"{self.share}/{self.shares}", str(self.rows))
        content = hashlib.sha256("\x1e".join([*of, self.content]).encode()).hexdigest()[:12]
        return "-".join([*self._labels(), f"{content}.parquet"])

    @property
    def _years(self) -> tuple[int, int]:
        """The first year, and the first one behind the part."""
        first, cut = self.period // 100, self.table.layout
        if cut.newest is None or first >= cut.newest:
            return first, first + 1
        return first, min(first + cut.years, cut.newest)

    def _labels(self) -> list[str]:
        first, behind = self._years
        days = f"{first:04d}" if behind == first + 1 else f"{first:04d}to{behind - 1:04d}"
        labels = ["all"] if self.period == _ALL else ["undated"] if self.period == _UNDATED else [days]
        if self.period > 0 and self.period % 100:
            labels.append(f"{self.period % 100:02d}")
        return [*labels, f"{self.share}of{self.shares}"] if self.shares > 1 else labels

    def rows_sql(self) -> str:
        """The query for the rows, in an order that lets readers skip most of a file."""
        order = [identifier(c) for c in (self.table.series, self.table.day) if c]
        by = f" ORDER BY {', '.join(order)}" if self.table.series else ""
        return f"SELECT * FROM {self.table.quoted} WHERE {' AND '.join(self._conditions()) or 'true'}{by}"

    def _conditions(self) -> list[str]:
        found = []
        if self.table.day is not None and self.period != _ALL:
            found.append(self._days(identifier(self.table.day)))
        if self.table.series is not None and self.shares > 1:
            found.append(f"hash({identifier(self.table.series)}) % {self.shares} = {self.share}")
        return found

    def _days(self, day: str) -> str:
        if self.period == _UNDATED:
            return f"coalesce(year({day}), 0) < 1"
        (first, behind), month = self._years, self.period % 100
        if behind > 9999:  # which cannot be written as a day
            return f"year({day}) >= {first} AND year({day}) < {behind}" + (f" AND month({day}) = {month}" if month else "")
        kind = next(c.type for c in self.table.columns if c.name == self.table.day)
        low = f"{max(1, first):04d}-{month or 1:02d}-01"
        high = f"{behind:04d}-01-01" if month in (0, 12) else f"{first:04d}-{month + 1:02d}-01"
        # Written as bounds, not as year(...) = 2024: DuckDB then skips what it knows to lie outside.
        return f"{day} >= '{low}'::{kind} AND {day} < '{high}'::{kind}"


def _near(needed: int, before: int) -> int:
    """The power of two from `needed` on, or the present one where that is not far off: another one rewrites the table."""
    found = 1
    while found < needed:
        found *= 2
    return before if found <= before * 2 and before <= found * 4 else found


def day_of(columns: Sequence[Column], preferred: str | None) -> str | None:
    """The column by which a table is cut: the one that is given, else `date`, where it holds days or times."""
    for name in (preferred, "date"):
        for column in columns:
            if column.name == name and column.type.startswith(("DATE", "TIMESTAMP")):
                return name
    return None


def series_of(columns: Sequence[Column]) -> str | None:
    """The column by which a table is shared out."""
    return next((c.name for c in columns if c.name in ("ticker", "instrument_id")), None)
