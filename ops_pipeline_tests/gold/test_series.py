"""Series for charts: from gold or silver, bounded, each point with its file."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from ops_pipeline.gold import series
from ops_pipeline_tests.lake import Lake, body_of, fx_recipe, price_recipe, snapshot_recipe


def prices(*closes: float) -> bytes:
    return body_of([{"date": f"2024-01-{n + 2:02}", "close": c, "volume": 10, "adjClose": c} for n, c in enumerate(closes)])


def test_prices_come_from_gold_with_file_run_and_time(tmp_path: Path) -> None:
    lake, recipe = Lake(tmp_path), price_recipe()
    row = lake.through(recipe, prices(10.0, 11.0, 12.1), ticker="AAA", run_id="r1")
    with lake.warehouse.reading() as connection:
        assert series.series_names(connection, recipe) == ["AAA"]
        found = series.price_points(connection, recipe, "AAA")
        assert [p.date.day for p in found] == [2, 3, 4]
        assert [p.values["close"] for p in found] == [10.0, 11.0, 12.1]
        assert found[0].values["simple_return"] is None
        assert found[1].values["simple_return"] == pytest.approx(0.1)
        assert {(p.file_id, p.run_id, p.known_at) for p in found} == {(row.file_id, "r1", row.bronze_injest_end_time)}
        assert [p.date.day for p in series.price_points(connection, recipe, "AAA", limit=2)] == [3, 4]
        assert [p.date.day for p in series.price_points(connection, recipe, "AAA", date(2024, 1, 4))] == [4]
        assert series.price_points(connection, recipe, "'; DROP TABLE gold.fact_eod; --") == []


def test_rates_of_one_currency(tmp_path: Path) -> None:
    lake, recipe = Lake(tmp_path), fx_recipe()
    lake.through(recipe, b"Date,USD,JPY\n2024-01-02,1.1,160\n2024-01-03,1.2,N/A\n")
    with lake.warehouse.reading() as connection:
        assert series.series_names(connection, recipe) == ["JPY", "USD"]
        assert [p.values["rate"] for p in series.fx_points(connection, recipe, "USD")] == [1.1, 1.2]


def test_observations_with_their_change(tmp_path: Path) -> None:
    lake, recipe = Lake(tmp_path), price_recipe(gold={"object": "fact_series", "columns": {"value": "close"}})
    lake.through(recipe, prices(10.0, 11.5), ticker="GDP")
    with lake.warehouse.reading() as connection:
        found = series.observation_points(connection, recipe, "GDP")
    assert [p.values for p in found] == [{"value": 10.0, "change": None}, {"value": 11.5, "change": 1.5}]


def test_the_newest_rows_of_a_ticker(tmp_path: Path) -> None:
    lake, recipe = Lake(tmp_path), price_recipe()
    lake.through(recipe, prices(10.0, 11.5, 12.0), ticker="AAA")
    with lake.warehouse.reading() as connection:
        names, rows = series.newest_rows(connection, recipe, "AAA", limit=2)
    assert names == ["ticker", "date", "close", "volume", "adj_close"]
    assert rows == [("AAA", date(2024, 1, 4), 12.0, 10, 12.0), ("AAA", date(2024, 1, 3), 11.5, 10, 11.5)]


def test_any_number_of_silver_and_nothing_else(tmp_path: Path) -> None:
    lake, recipe = Lake(tmp_path), price_recipe(gold=None)
    assert series.numeric_columns(recipe) == ["close", "volume", "adj_close"]
    with lake.warehouse.reading() as connection:
        assert series.series_names(connection, recipe) == []  # there is no table yet
    lake.through(recipe, prices(10.0), ticker="AAA")
    with lake.warehouse.reading() as connection:
        assert [p.values for p in series.silver_points(connection, recipe, "AAA", "volume")] == [{"volume": 10.0}]
        with pytest.raises(ValueError, match="no series"):
            series.silver_points(connection, recipe, "AAA", 'close" FROM x; --')
        with pytest.raises(ValueError, match="no series"):
            series.silver_points(connection, snapshot_recipe(), "AAA", "name")
