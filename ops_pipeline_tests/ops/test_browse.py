"""What people look through: days, datasets, one partition's history, refused records."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from ops_pipeline.ops import browse
from ops_pipeline.ops.ingestion import DatasetInjestion
from ops_pipeline.ops.queries import RunFilter, coverage, list_runs, run_files
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline.sources import Request
from ops_pipeline_tests.lake import Lake, body_of, price_recipe, recipe

DAY = datetime(2024, 1, 1, tzinfo=UTC)


def prices(*days: str, close: object = 1.5) -> bytes:
    return body_of([{"date": day, "close": close, "volume": 10, "adjClose": 1.5} for day in days])


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Two datasets; on the first day all is well, on the second one ticker fails and one record is refused."""
    made = Lake(tmp_path)
    annual = recipe(dataset="prices", discriminator="annual", max_reject_share=1)
    made.through(price_recipe(), prices("2024-01-02", "2024-01-03"), ticker="AAA", run_id="r1")
    made.through(price_recipe(), prices("2024-01-02"), ticker="BBB", run_id="r1")
    made.through(annual, prices("2023-12-31")[:-1] + b', {"date": "2022-12-31", "close": "high"}]', ticker="AAA", run_id="r2")
    failed = DatasetInjestion.open(Request("equities", "vendor", "prices", "-", "BBB", None, None, ()), "r2")
    failed.bronze_failed("the vendor is closed")
    made.service.record_file_ingestions([failed])
    for run, day in (("r1", "2024-01-05"), ("r2", "2024-01-06")):
        made.execute(
            "UPDATE ops.file_ingestions SET bronze_injest_start_time = ?::TIMESTAMPTZ WHERE run_id = ?",
            [f"{day} 23:59:59+00", run],
        )
    return made


def test_days_count_files_by_outcome_and_name_the_worst(lake: Lake) -> None:
    with lake.warehouse.reading() as connection:
        found = browse.days(connection, date(2024, 1, 1), date(2024, 1, 31))
        assert [(d.day, d.runs, d.files, d.failed, d.worst) for d in found] == [
            (date(2024, 1, 5), 1, 2, 0, "ok"),
            (date(2024, 1, 6), 1, 2, 1, "failed"),
        ]
        assert found[0].rows == 3
        assert browse.days(connection, date(2024, 1, 6), date(2024, 1, 6), RunFilter(ticker="AAA"))[0].worst == "ok"
        assert browse.days(connection, date(2024, 1, 7), date(2024, 2, 1)) == []
    lake.execute("UPDATE ops.file_ingestions SET bronze_error_kind = 'plan' WHERE bronze_outcome = 'failed'")
    with lake.warehouse.reading() as connection:
        (refused,) = browse.days(connection, date(2024, 1, 6), date(2024, 1, 6), RunFilter(ticker="BBB"))
        assert (refused.files, refused.not_in_plan, refused.worst) == (1, 1, "not_in_plan")
        assert [(r.run_id, r.status) for r in list_runs(connection)] == [("r2", "not_in_plan"), ("r1", "ok")]
        assert browse.first_and_last_day(connection) == (date(2024, 1, 5), date(2024, 1, 6))


def test_datasets_with_what_they_hold(lake: Lake) -> None:
    with lake.warehouse.reading() as connection:
        found = {s.dataset: s for s in browse.dataset_states(connection)}
    assert list(found) == ["vendor.prices", "vendor.prices.annual"]
    it = found["vendor.prices"]
    assert (it.tickers, it.files, it.failed_files, it.rows, it.to_date) == (2, 3, 1, 3, date(2024, 1, 3))
    assert found["vendor.prices.annual"].rows == 1


def test_one_partitions_files_newest_first_in_pages(lake: Lake) -> None:
    partition = PartitionKey("BBB", "vendor.prices")
    with lake.warehouse.reading() as connection:
        assert [f.run_id for f in browse.partition_files(connection, partition)] == ["r2", "r1"]
        assert [f.run_id for f in browse.partition_files(connection, partition, limit=1, offset=1)] == ["r1"]
        assert browse.partition_files(connection, PartitionKey("'; --", "vendor.prices")) == []


def test_refused_records_one_by_one_and_by_reason(lake: Lake) -> None:
    with lake.warehouse.reading() as connection:
        (refused,) = browse.rejects(connection)
        assert (refused.ticker, refused.silver_tablename, refused.row_position) == ("AAA", "silver.vendor_prices_annual", 2)
        assert browse.rejects(connection, silver_table="silver.other") == []
        assert browse.rejects(connection, ticker="AAA", offset=1) == []
        (reason,) = browse.rejects_by_reason(connection)
        assert (reason["records"], reason["tickers"], reason["reason"]) == (1, 1, refused.reason)


def test_tickers_in_pages_and_their_coverage(lake: Lake) -> None:
    with lake.warehouse.reading() as connection:
        assert browse.covered_tickers(connection) == ["AAA", "BBB"]
        assert browse.covered_tickers(connection, limit=1, offset=1) == ["BBB"]
        assert browse.covered_tickers(connection, RunFilter(discriminator="annual")) == ["AAA"]
        found = coverage(connection, tickers=["AAA"])
        assert [(r["dataset"], r["ticker"]) for r in found] == [("vendor.prices", "AAA"), ("vendor.prices.annual", "AAA")]
        assert coverage(connection, tickers=[]) == []


def test_runs_and_files_by_source_and_variant(lake: Lake) -> None:
    with lake.warehouse.reading() as connection:
        assert [r.run_id for r in list_runs(connection, RunFilter(discriminator="annual"))] == ["r2"]
        assert list_runs(connection, RunFilter(source="another")) == []
        assert [f.ticker for f in run_files(connection, "r2", RunFilter(discriminator="annual"))] == ["AAA"]
