"""How tables are cut: every row is in one part, a change is seen in its part and in no other, and layouts do not go to and fro."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_pipeline.publish import database, layout
from ops_pipeline.publish.database import Comparison
from ops_pipeline.publish.layout import Column, Layout, Part, Table

COLUMNS = (Column("ticker", "VARCHAR"), Column("date", "DATE"), Column("close", "DOUBLE"), Column("ingested_at", "TIMESTAMP"))
DAYS = st.one_of(
    st.none(), st.builds(lambda y, m, d: f"{y}-{m}-{d}", st.integers(1990, 2026), st.integers(1, 12), st.integers(1, 28))
)
ODD_DAYS = st.sampled_from(["infinity", "-infinity", "0044-03-15 (BC)", "0001-01-01", "9998-12-31", "9999-12-31", "12000-06-01"])
ROWS = st.lists(st.tuples(st.sampled_from(["A", "B", "C", "D", "E"]), st.one_of(DAYS, DAYS, ODD_DAYS)), max_size=60)


def make(rows: list[tuple[Any, Any]]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(
        "CREATE SCHEMA silver; CREATE TABLE silver.t (ticker VARCHAR, date DATE, close DOUBLE, ingested_at TIMESTAMP)"
    )
    for number, (ticker, day) in enumerate(rows):
        connection.execute("INSERT INTO silver.t VALUES (?, ?::DATE, ?, '2024-01-01')", [ticker, day, number])
    return connection


def table(**changes: Any) -> Table:
    return replace(Table("silver.t", COLUMNS, day="date", series="ticker"), **changes)


def parts_of(connection: duckdb.DuckDBPyConnection, given_table: Table, before: Layout | None) -> tuple[Table, list[Part]]:
    comparison = Comparison(given_table, before)
    while comparison.go_on(connection):
        pass
    return comparison.table, comparison.parts


def closes(connection: duckdb.DuckDBPyConnection, part: Part) -> list[float]:
    return [row[0] for row in connection.execute(f"SELECT close FROM ({part.rows_sql()})").fetchall()]


@pytest.fixture(autouse=True)
def _small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "FILE_ROWS", 8)
    monkeypatch.setattr(layout, "NEWEST_FILE_ROWS", 8)
    monkeypatch.setattr(layout, "SMALL_YEAR_ROWS", 1)


@settings(max_examples=40)
@given(rows=ROWS, day=st.booleans(), series=st.booleans(), data=st.data())
def test_every_row_is_in_one_part_and_a_change_is_seen_there_alone(
    rows: list[tuple[Any, Any]], day: bool, series: bool, data: st.DataObject
) -> None:
    connection = make(rows)
    given_table = table(day="date" if day else None, series="ticker" if series else None)
    cut, parts = parts_of(connection, given_table, None)
    held = {part.file_name: closes(connection, part) for part in parts}
    assert len(held) == len(parts), "two parts have one name"
    assert Counter(close for part in held.values() for close in part) == Counter(map(float, range(len(rows))))
    assert all(len(held[part.file_name]) == part.rows for part in parts)
    assert parts_of(connection, given_table, cut.layout) == (cut, parts)
    if not rows:
        return
    close = float(data.draw(st.integers(0, len(rows) - 1)))
    if data.draw(st.booleans()):
        connection.execute("UPDATE silver.t SET ingested_at = '2024-01-02' WHERE close = ?", [close])
    else:
        connection.execute("DELETE FROM silver.t WHERE close = ?", [close])
    # In the same layout: a row less may be a layout less.
    again = [cut.part(*row) for row in connection.execute(cut.parts_sql()).fetchall()]
    changed = {name for name, closes_there in held.items() if close in closes_there}
    assert held.keys() - {part.file_name for part in again} == changed


@settings(max_examples=40)
@given(rows=ROWS, gone=st.sets(st.integers(0, 59)), piece=st.integers(1, 20))
def test_pieces_come_to_the_same_as_the_whole(rows: list[tuple[Any, Any]], gone: set[int], piece: int) -> None:
    connection = make(rows)
    connection.execute("DELETE FROM silver.t WHERE list_contains(?, close)", [list(map(float, gone))])
    whole = parts_of(connection, table(), None)
    with pytest.MonkeyPatch.context() as small:
        small.setattr(database, "COMPARED_ROWS", piece)
        assert parts_of(connection, table(), None) == whole


def test_a_column_called_rowid_is_no_number_of_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = make([("A", f"2024-01-{day:02}") for day in range(1, 10)])
    connection.execute("ALTER TABLE silver.t ADD COLUMN rowid INTEGER DEFAULT 7")
    odd = table(columns=(*COLUMNS, Column("rowid", "INTEGER")))
    whole = parts_of(connection, odd, None)
    monkeypatch.setattr(database, "COMPARED_ROWS", 2)
    assert parts_of(connection, odd, None) == whole


def test_two_rows_that_exchange_their_times_are_seen() -> None:
    connection = make([("A", "2024-01-01"), ("A", "2024-01-02")])
    connection.execute("UPDATE silver.t SET ingested_at = '2024-02-02' WHERE close = 0")
    before = parts_of(connection, table(), None)[1]
    connection.execute("UPDATE silver.t SET ingested_at = CASE close WHEN 0 THEN '2024-01-01' ELSE '2024-02-02' END::TIMESTAMP")
    assert parts_of(connection, table(), None)[1] != before


def test_a_table_without_times_is_compared_by_its_rows() -> None:
    connection = make([("A", "2024-01-01")])
    plain = table(columns=COLUMNS[:3])
    before = parts_of(connection, plain, None)[1]
    connection.execute("UPDATE silver.t SET close = 7")
    assert parts_of(connection, plain, None)[1] != before


def test_a_migration_and_another_column_write_everything_anew() -> None:
    connection = make([("A", "2024-01-01")])
    names = {
        parts_of(connection, table(**changes), None)[1][0].file_name for changes in ({}, {"salt": "3"}, {"columns": COLUMNS[:3]})
    }
    assert len(names) == 3


def test_a_day_more_rewrites_one_month_and_a_ticker_its_share() -> None:
    tickers = [f"T{number:02}" for number in range(16)]
    connection = make([(t, f"{y}-{m:02}-15") for t in tickers for y in (2022, 2023, 2024) for m in range(1, 13)])
    cut, before = parts_of(connection, table(), None)
    assert cut.layout == Layout(newest=2024, monthly=True, years=8, shares=256, newest_shares=2)
    names = {part.file_name for part in before}
    for ticker in tickers:
        connection.execute("INSERT INTO silver.t VALUES (?, '2024-12-16', -1, '2024-12-17')", [ticker])
    days = [part for part in parts_of(connection, table(), cut.layout)[1] if part.file_name not in names]
    assert {part.period for part in days} == {202412}
    connection.execute("UPDATE silver.t SET ingested_at = '2024-12-18' WHERE ticker = 'T03' AND close >= 0")
    names |= {part.file_name for part in days}
    one = [part for part in parts_of(connection, table(), cut.layout)[1] if part.file_name not in names]
    assert sorted(part.period for part in one) == [201600, *range(202401, 202413)]


def test_years_of_few_rows_share_a_file_and_file_names_tell_them() -> None:
    connection = make([("A", f"{year}-06-0{day}") for year in range(1999, 2027) for day in (1, 2)])
    cut, parts = parts_of(connection, table(series=None), None)
    assert (cut.layout.years, cut.layout.monthly) == (8, False)
    assert [part.file_name.rsplit("-", 1)[0] for part in parts] == [
        "1992to1999", "2000to2007", "2008to2015", "2016to2023", "2024to2025", "2026",
    ]  # fmt: skip


@pytest.mark.parametrize(("rows", "before", "cut"), [
    (8, None, False), (9, None, True), (16, Layout(), False), (17, Layout(), True), (9, Layout(newest=2026), True),
    (8, Layout(newest=2026), False),
])  # fmt: skip
def test_a_table_is_cut_late_and_joined_late(rows: int, before: Layout | None, cut: bool) -> None:
    assert (table().cut(rows, 2026, 2026, before).layout != Layout()) is cut


@pytest.mark.parametrize(("needed", "before", "kept"), [(4, 4, True), (8, 4, True), (9, 4, False), (2, 8, True), (2, 16, False)])
def test_a_number_of_shares_is_kept_as_long_as_it_is_not_far_off(needed: int, before: int, kept: bool) -> None:
    found = table(day=None).cut(needed * 8, None, None, Layout(shares=before)).layout.shares
    assert (found == before) is kept
