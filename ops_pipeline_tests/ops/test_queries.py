"""Figures about runs: a small ledger whose sums are worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import duckdb
import pytest

from ops_pipeline.ops import queries
from ops_pipeline.ops.ingestion import Stage
from ops_pipeline.ops.queries import RunFilter, RunSummary
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.warehouse import Warehouse
from ops_pipeline_tests.ops.golden import RUN_A, RUN_B, RUN_C, RUN_D, golden
from ops_pipeline_tests.ops.rows import (
    HOSTILE,
    NOON,
    asked,
    merged,
    stored,
)


@pytest.fixture
def connection(warehouse: Warehouse) -> Iterator[duckdb.DuckDBPyConnection]:
    with warehouse.connection() as connection:
        OpsRepo(connection).upsert(golden(), Stage.BRONZE)
        yield connection


@pytest.mark.parametrize("expected", [RUN_A, RUN_B, RUN_C, RUN_D], ids=lambda s: s.run_id)
def test_a_runs_figures(connection: duckdb.DuckDBPyConnection, expected: RunSummary) -> None:
    assert queries.run_summary(connection, expected.run_id) == expected


def test_what_follows_from_the_figures() -> None:
    assert [(s.status, s.failed_files, s.seconds) for s in (RUN_A, RUN_B, RUN_C, RUN_D)] == [
        ("failed", 1, 21 * 60),
        ("failed", 2, 10 * 60),
        ("ok", 0, 60),
        ("unfinished", 0, 0),
    ]


def test_a_run_that_no_file_knows_has_no_summary(connection: duckdb.DuckDBPyConnection) -> None:
    for run in ("", "A", *HOSTILE):
        assert queries.run_summary(connection, run) is None
        assert queries.run_files(connection, run) == []
        assert queries.find_runs(connection, run or "?") == []


# --- lists of runs --------------------------------------------------------------------------------------------------------------


def runs(connection: duckdb.DuckDBPyConnection, limit: int = 20, offset: int = 0, **wanted: object) -> str:
    return "".join(s.run_id for s in queries.list_runs(connection, RunFilter(**wanted), limit=limit, offset=offset))  # type: ignore[arg-type]


def test_runs_are_listed_newest_first_with_their_figures(connection: duckdb.DuckDBPyConnection) -> None:
    assert queries.list_runs(connection) == [RUN_D, RUN_C, RUN_B, RUN_A]


def test_pages_are_parts_of_the_whole_list(connection: duckdb.DuckDBPyConnection) -> None:
    assert [runs(connection, limit=3, offset=o) for o in (0, 3, 6)] == ["dcb", "a", ""]
    assert runs(connection, limit=1, offset=2) == "b"
    assert runs(connection, offset=-1) == "dcba"
    assert runs(connection, limit=0) == "d"  # a page has one row at least
    assert runs(connection, limit=10**9) == "dcba"


def test_runs_are_filtered_by_the_day_they_started(connection: duckdb.DuckDBPyConnection) -> None:
    today = NOON.date()
    assert runs(connection, since=today) == "dcba"
    assert runs(connection, since=today + timedelta(days=1)) == "dcb"
    assert runs(connection, since=today + timedelta(days=2)) == "dc"
    assert runs(connection, until=today) == "a"
    assert runs(connection, until=today + timedelta(days=1), since=today + timedelta(days=1)) == "b"
    assert runs(connection, until=today - timedelta(days=1)) == ""


def test_a_day_is_a_day_of_utc(warehouse: Warehouse) -> None:
    row = asked("late")
    row.bronze_injest_start_time = NOON.replace(hour=23, minute=59, second=59)
    with warehouse.connection() as connection:
        OpsRepo(connection).ask([row])
        assert runs(connection, since=NOON.date()) == runs(connection, until=NOON.date()) == "late"
        assert runs(connection, since=NOON.date() + timedelta(days=1)) == ""


def test_runs_are_filtered_by_failure_dataset_and_ticker(connection: duckdb.DuckDBPyConnection) -> None:
    assert runs(connection, only_failures=True) == "ba"
    assert runs(connection, dataset="sample.fx-rates") == "ba"
    assert runs(connection, dataset="sample.fx-rates", only_failures=True) == "b"
    assert runs(connection, ticker="O'Brien") == "ba"
    assert runs(connection, ticker="MSFT") == "b"
    assert runs(connection, dataset="sample.fx-rates", ticker="AAPL") == ""


def test_a_filtered_runs_figures_are_those_of_the_files_wanted(connection: duckdb.DuckDBPyConnection) -> None:
    newest, oldest = queries.list_runs(connection, RunFilter(ticker="O'Brien"))
    assert (newest.run_id, newest.files, newest.bronze, newest.silver_rows["created"]) == ("b", 1, {}, 3)
    assert (oldest.run_id, oldest.files, oldest.bronze, oldest.bronze_bytes) == ("a", 1, {"stored": 1}, 50)


def test_runs_that_started_together_stand_in_the_order_of_their_ids(warehouse: Warehouse) -> None:
    with warehouse.connection() as connection:
        OpsRepo(connection).ask([asked(r) for r in ("c", "a", "b")])
        assert runs(connection) == "abc"


def test_runs_are_found_by_the_beginning_of_their_id(warehouse: Warehouse) -> None:
    with warehouse.connection() as connection:
        rows = [asked("ab-1"), asked("ab-2"), asked("a%"), merged(stored("ac"), run="ab-3")]
        OpsRepo(connection).upsert(rows, Stage.BRONZE)
        assert queries.find_runs(connection, "ab") == ["ab-1", "ab-2", "ab-3"]
        assert queries.find_runs(connection, "a%") == ["a%"]
        assert queries.find_runs(connection, "%") == queries.find_runs(connection, "_b") == []
        assert queries.find_runs(connection, "ab", limit=2) == ["ab-1", "ab-2"]


# --- a run's files --------------------------------------------------------------------------------------------------------------


def files(connection: duckdb.DuckDBPyConnection, run: str, limit: int = 100, offset: int = 0, **wanted: object) -> list[str]:
    found = queries.run_files(connection, run, RunFilter(**wanted), limit=limit, offset=offset)  # type: ignore[arg-type]
    return [row.ticker for row in found]


def test_a_runs_files_are_those_that_it_moved_in_any_stage(connection: duckdb.DuckDBPyConnection) -> None:
    assert files(connection, "a") == ["AAPL", "IBM", "O'Brien", "-"]
    assert files(connection, "b") == ["AAPL", "MSFT", "O'Brien", "-"]
    assert files(connection, "c") == ["AAPL"]
    assert files(connection, "d") == ["AAPL"]


def test_files_come_back_whole(connection: duckdb.DuckDBPyConnection) -> None:
    known = {row.key: row for row in golden()}
    for run in "abcd":
        for row in queries.run_files(connection, run):
            assert row == known[row.key]


def test_files_of_a_stage_are_those_that_the_run_moved_in_it(connection: duckdb.DuckDBPyConnection) -> None:
    assert files(connection, "a", stage="bronze") == ["AAPL", "IBM", "O'Brien", "-"]
    assert files(connection, "a", stage="silver") == files(connection, "a", stage="gold") == ["AAPL"]
    assert files(connection, "b", stage="bronze") == ["AAPL", "MSFT", "-"]
    assert files(connection, "b", stage="silver") == ["O'Brien", "-"]
    assert files(connection, "b", stage="gold") == ["O'Brien"]
    assert files(connection, "c", stage="bronze") == []  # a replay fetches nothing
    assert files(connection, "c", stage="silver") == ["AAPL"]
    assert files(connection, "a", stage="x' OR '1'='1") == []


@pytest.mark.parametrize("summary", [RUN_A, RUN_B, RUN_C, RUN_D], ids=lambda s: s.run_id)
def test_the_lists_have_as_many_files_as_the_summary_says(connection: duckdb.DuckDBPyConnection, summary: RunSummary) -> None:
    run = summary.run_id
    assert len(files(connection, run)) == summary.files
    assert len(files(connection, run, stage="bronze")) == sum(summary.bronze.values())
    assert len(files(connection, run, stage="silver")) == summary.silver_files + summary.silver_failed_files
    assert len(files(connection, run, stage="gold")) == summary.gold_files + summary.gold_failed_files
    failures = {s: len(files(connection, run, stage=s, only_failures=True)) for s in ("bronze", "silver", "gold")}
    assert failures == {
        "bronze": summary.bronze.get("failed", 0),
        "silver": summary.silver_failed_files,
        "gold": summary.gold_failed_files,
    }
    assert len(files(connection, run, only_failures=True)) == summary.failed_files


def test_files_are_filtered_by_status(connection: duckdb.DuckDBPyConnection) -> None:
    assert files(connection, "a", status="promoted") == ["AAPL"]
    assert files(connection, "a", status="failed") == ["IBM", "O'Brien"]
    assert files(connection, "a", status="empty") == ["-"]
    assert files(connection, "b", status="unchanged") == ["AAPL"]
    assert files(connection, "b", status="deferred") == ["MSFT"]
    assert files(connection, "d", status="asked") == ["AAPL"]
    assert files(connection, "b", status="failed", stage="silver", ticker="-", dataset="sample.fx-rates") == ["-"]


def test_a_failure_belongs_to_the_run_in_which_it_happened(connection: duckdb.DuckDBPyConnection) -> None:
    """Run a fetched O'Brien's file without fault, and run b failed to build gold from it."""
    assert files(connection, "a", only_failures=True) == ["IBM"]
    assert files(connection, "b", only_failures=True) == ["O'Brien", "-"]


def test_pages_of_files(connection: duckdb.DuckDBPyConnection) -> None:
    assert [files(connection, "a", limit=3, offset=o) for o in (-3, 0, 3, 6)] == [
        ["AAPL", "IBM", "O'Brien"],
        ["AAPL", "IBM", "O'Brien"],
        ["-"],
        [],
    ]
