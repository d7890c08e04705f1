"""The one door to the ledger: each call opens, works and closes."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import pytest

from ops_pipeline.errors import DatabaseMissingError
from ops_pipeline.ops.ingestion import Stage
from ops_pipeline.ops.queries import RunFilter
from ops_pipeline.ops.service import OpsService
from ops_pipeline.ops.watermark import Span
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline.warehouse import Warehouse
from ops_pipeline_tests.ops.rows import DAY, PRICES, asked, at, built, day, failed, merged, recipe, stored

AAPL = PartitionKey("AAPL", "sample.eod-prices")
OF = recipe(first_date=DAY, last_date=None, lookback_days=3)


def test_a_files_life_through_the_service(service: OpsService) -> None:
    row = asked()
    service.ask([row], [PRICES, PRICES])
    assert service.run_files("run-1") == [row]
    row = stored()
    service.record_file_ingestion(row)
    assert service.promotable_files(Stage.SILVER, [AAPL]) == [row]
    merged(row)
    service.record_file_ingestion(row, Stage.SILVER)
    assert service.promotable_files(Stage.SILVER, [AAPL]) == []
    assert service.promotable_files(Stage.GOLD, [AAPL]) == [row]
    built(row, created=10)
    service.record_file_ingestions([row], Stage.GOLD)
    assert service.run_files("run-1", RunFilter(status="promoted")) == [row]
    assert service.last_answers([AAPL]) == {AAPL: at(1)}
    summary = service.run_summary("run-1")
    assert summary is not None
    assert (summary.status, summary.gold_rows["created"]) == ("ok", 10)
    assert service.list_runs() == [summary]
    assert service.find_runs("run") == ["run-1"]
    assert [c["to_date"] for c in service.coverage()] == [day(9)]


def test_next_from_dates(service: OpsService) -> None:
    assert service.next_from_date(OF, "AAPL") == DAY
    service.record_file_ingestions([stored(), failed(ticker="IBM"), stored("run-2", first=20, last=29, data=(20, 29))])
    assert service.islands([AAPL]) == {AAPL: [Span(DAY, day(9), DAY), Span(day(20), day(29), day(20))]}
    assert service.next_from_date(OF, "AAPL") == day(7)
    assert service.next_from_date(OF, "AAPL", lookback_days=0) == day(10)
    assert service.next_from_date(OF, "AAPL", lookback_days=99) == DAY
    assert service.next_from_date(OF, "AAPL", floor=day(25)) == day(27)
    assert service.next_from_date(OF, "AAPL", floor=day(50)) == day(50)
    assert service.next_from_date(recipe(first_date=day(-9), last_date=None), "AAPL") == day(-9)
    assert service.next_from_date(OF, "IBM") == DAY


def test_a_dataset_without_watermark_has_no_next_from_date(service: OpsService) -> None:
    snapshot = recipe(mode="snapshot", first_date=None, dataset="profile")
    assert service.next_from_date(snapshot, "AAPL") is None
    keys = {AAPL: OF, PartitionKey("AAPL", "sample.profile"): snapshot, PartitionKey("x'", "sample.eod-prices"): OF}
    assert service.next_from_dates(keys) == {AAPL: DAY, PartitionKey("x'", "sample.eod-prices"): DAY}
    assert service.next_from_dates({}) == {}


def test_without_a_database_everything_is_due_and_nothing_is_made(tmp_path: Path) -> None:
    service = OpsService(Warehouse(tmp_path / "ops.duckdb"))
    assert service.next_from_date(OF, "AAPL") == DAY
    with pytest.raises(DatabaseMissingError):
        service.list_runs()
    assert not (tmp_path / "ops.duckdb").exists()


def test_nothing_to_record_opens_nothing(tmp_path: Path) -> None:
    service = OpsService(Warehouse(tmp_path / "ops.duckdb"))
    service.ask([])
    service.record_file_ingestions([])
    assert list(tmp_path.iterdir()) == []


def test_a_batch_is_recorded_whole_or_not_at_all(service: OpsService, tmp_path: Path) -> None:
    bad = stored("run-2")
    bad.request_part = 2**40  # does not fit its column
    with pytest.raises(duckdb.Error):
        service.record_file_ingestions([stored("run-1"), bad])
    assert service.list_runs() == []
    # Nothing is left open: a foreign process could write now.
    duckdb.connect(tmp_path / "ops.duckdb").close()


def test_the_floor_and_the_first_date_are_days_of_the_recipe(service: OpsService) -> None:
    assert service.next_from_date(recipe(first_date=date(1999, 1, 4)), "AAPL", floor=date(1990, 1, 1)) == date(1999, 1, 4)
