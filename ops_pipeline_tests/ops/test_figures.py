"""Coverage, the checks of the ledger, filters of any spelling, and lists of runs read in two ways."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_pipeline.ops import queries
from ops_pipeline.ops.ingestion import DatasetInjestion, Stage
from ops_pipeline.ops.queries import RunFilter
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.warehouse import Warehouse
from ops_pipeline_tests.ops.golden import TOMORROW, golden
from ops_pipeline_tests.ops.rows import (
    DAY,
    HOSTILE,
    NOON,
    PARTITIONS,
    PRICES,
    at,
    day,
    ledgers,
    merged,
    stored,
)


@pytest.fixture
def connection(warehouse: Warehouse) -> Iterator[duckdb.DuckDBPyConnection]:
    with warehouse.connection() as connection:
        OpsRepo(connection).upsert(golden(), Stage.BRONZE)
        yield connection


def runs(connection: duckdb.DuckDBPyConnection, limit: int = 20, offset: int = 0, **wanted: object) -> str:
    return "".join(s.run_id for s in queries.list_runs(connection, RunFilter(**wanted), limit=limit, offset=offset))  # type: ignore[arg-type]


def files(connection: duckdb.DuckDBPyConnection, run: str, limit: int = 100, offset: int = 0, **wanted: object) -> list[str]:
    found = queries.run_files(connection, run, RunFilter(**wanted), limit=limit, offset=offset)  # type: ignore[arg-type]
    return [row.ticker for row in found]


# --- coverage -------------------------------------------------------------------------------------------------------------------


def test_coverage(connection: duckdb.DuckDBPyConnection) -> None:
    nothing = {"from_date": None, "to_date": None, "holes": 0, "failed_files": 0, "pending_files": 0, "not_in_plan_files": 0}
    prices = {**nothing, "dataset": "sample.eod-prices"}
    expected = [
        {**prices, "ticker": "AAPL", "files": 3, "from_date": DAY, "to_date": day(9), "last_answer": at(TOMORROW + 1)},
        {**prices, "ticker": "IBM", "files": 1, "failed_files": 1, "last_answer": at(3)},
        {**prices, "ticker": "MSFT", "files": 1, "last_answer": at(TOMORROW)},
        {**prices, "ticker": "O'Brien", "files": 1, "failed_files": 1, "from_date": DAY, "to_date": day(4), "last_answer": at(3)},
        {
            "dataset": "sample.fx-rates",
            "ticker": "-",
            "files": 2,
            "failed_files": 1,
            "pending_files": 0,
            "not_in_plan_files": 0,
            "holes": 0,
            "from_date": day(2),
            "to_date": day(3),
            "last_answer": at(TOMORROW + 2),
        },
    ]
    assert queries.coverage(connection) == expected
    assert queries.coverage(connection, limit=2, offset=1) == expected[1:3]
    assert queries.coverage(connection, RunFilter(dataset="sample.fx-rates")) == expected[4:]
    assert queries.coverage(connection, RunFilter(ticker="O'Brien")) == expected[3:4]


def test_coverage_shows_holes(warehouse: Warehouse) -> None:
    rows = [stored(first=first, last=last, data=(first, last)) for first, last in [(0, 9), (10, 19), (40, 49), (60, 69)]]
    with warehouse.connection() as connection:
        OpsRepo(connection).upsert(rows, Stage.BRONZE)
        [found] = queries.coverage(connection)
    assert (found["from_date"], found["to_date"], found["holes"]) == (day(0), day(69), 2)


def test_files_that_wait_are_pending(warehouse: Warehouse) -> None:
    with warehouse.connection() as connection:
        OpsRepo(connection).upsert([stored("a"), merged(stored("b"))], Stage.BRONZE)
        assert [(c["files"], c["pending_files"]) for c in queries.coverage(connection)] == [(2, 2)]


# --- checks ---------------------------------------------------------------------------------------------------------------------


def test_a_file_whose_records_do_not_add_up_is_found(connection: duckdb.DuckDBPyConnection) -> None:
    assert queries.unaccounted_files(connection) == []
    connection.execute("UPDATE ops.file_ingestions SET silver_rows_unchanged = 3 WHERE ticker = $1", ["O'Brien"])
    (finding,) = queries.unaccounted_files(connection)
    assert finding.what == "5 records read, 6 accounted for"
    assert finding.where.startswith("a/")


def test_a_table_with_more_or_fewer_rows_than_the_ledger_says_is_found(connection: duckdb.DuckDBPyConnection) -> None:
    assert queries.miscounted_tables(connection) == []  # no silver table yet
    OpsRepo(connection).remember_silver_table(PRICES)
    connection.execute(f"CREATE TABLE {PRICES.silver_table} AS SELECT * FROM range(9)")  # 7 and 3 created, 1 deleted
    assert queries.miscounted_tables(connection) == []
    connection.execute(f"DELETE FROM {PRICES.silver_table} WHERE range = 0")
    assert queries.miscounted_tables(connection) == [queries.Finding(PRICES.silver_table, "8 rows, the ledger says 9")]


# --- hostile values -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [*HOSTILE, ".", "..", "a.b.c.d", "no-dots"])
def test_filters_of_any_spelling_are_values(warehouse: Warehouse, text: str) -> None:
    row = stored(text, ticker=text)
    with warehouse.connection() as connection:
        OpsRepo(connection).upsert([row, stored("plain")], Stage.BRONZE)
        assert runs(connection, ticker=text) == text
        assert files(connection, text) == files(connection, text, ticker=text) == [text]
        assert files(connection, "plain", ticker=text) == []
        assert runs(connection, dataset=text) == ""
        assert files(connection, text, dataset=text) == []
        assert files(connection, text, status=text) == []
        assert queries.coverage(connection, RunFilter(dataset=text)) == []
        assert [c["ticker"] for c in queries.coverage(connection, RunFilter(ticker=text))] == [text]
        assert queries.find_runs(connection, text) == [text]
        assert len(queries.list_runs(connection)) == 2


# --- lists and summaries --------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(rows=ledgers(PARTITIONS[1:2], most=8), promoter=st.sampled_from(["run-1", "run-2", "run-9"]))
def test_lists_and_summaries_agree_whichever_way_they_are_read(
    rows: list[DatasetInjestion], promoter: str, shared: OpsRepo
) -> None:
    """A list without filter reads the page's rows; one for a ticker reads the ticker's: here both are all rows."""
    connection = shared.connection
    for row in rows:
        if row.bronze_can_promote and row.bronze_rows:
            merged(row, run=promoter)
    connection.execute("BEGIN")
    try:
        shared.upsert(rows, Stage.BRONZE)
        known = {
            r for row in rows for r in (row.silver_run_id, row.gold_run_id, row.promotion_kind == "first" and row.run_id) if r
        }
        listed = queries.list_runs(connection)
        assert {s.run_id for s in listed} == known
        assert listed == sorted(listed, key=lambda s: (-(s.started or NOON).timestamp(), s.run_id))
        assert listed == [queries.run_summary(connection, s.run_id) for s in listed]
        assert listed == queries.list_runs(connection, RunFilter(ticker="O'Brien"))
        assert listed == queries.list_runs(connection, RunFilter(dataset="sample.eod-prices"))
        failed = [s for s in listed if s.failed_files]
        assert failed == queries.list_runs(connection, RunFilter(only_failures=True))
        assert failed == queries.list_runs(connection, RunFilter(only_failures=True, ticker="O'Brien"))
        assert listed[1:3] == queries.list_runs(connection, limit=2, offset=1)
    finally:
        connection.execute("ROLLBACK")
