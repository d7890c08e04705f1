"""Series as they stood: the stops of the slider, and at each of them what the layer held then."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ops_pipeline.gold import past, series
from ops_pipeline.silver.as_of import Clock
from ops_pipeline_tests.lake import PRICE_COLUMNS, Lake, body_of, fx_recipe, price_recipe


def rows(*closes: float, **more: Any) -> bytes:
    return body_of(
        [{"date": f"2024-01-{n + 2:02}", "close": c, "volume": 10, "adjClose": c, **more} for n, c in enumerate(closes)]
    )


def test_a_stop_for_each_change_and_gold_as_it_stood_at_each(lake: Lake) -> None:
    recipe = price_recipe()
    first = lake.through(recipe, rows(10.0, 11.0), ticker="AAA", run_id="r1")
    lake.through(recipe, rows(1.0), ticker="BBB", run_id="r2")
    lake.through(recipe, rows(10.0, 11.0), ticker="AAA", run_id="r3")  # changes nothing: no stop
    third = lake.through(recipe, rows(10.0, 12.0, 13.2), ticker="AAA", run_id="r4")
    with lake.warehouse.reading() as connection:
        found = past.past_of(connection, recipe, "AAA")
        assert (found.clock, found.times) == (Clock.KNOWN, [first.bronze_injest_end_time, third.bronze_injest_end_time])
        then = past.points_as_of(connection, recipe, "AAA", "close", found.times[0])
        assert [p.values["close"] for p in then] == [10.0, 11.0]
        assert {(p.run_id, p.file_id) for p in then} == {("r1", first.file_id)}
        assert past.points_as_of(connection, recipe, "AAA", "close", found.times[0] - timedelta(seconds=1)) == []
        # At the last stop it is what it is now.
        assert past.points_as_of(connection, recipe, "AAA", "close", found.times[1]) == series.price_points(
            connection, recipe, "AAA"
        )
        assert past.past_of(connection, price_recipe(dataset="never-stored"), "AAA").times == []


def test_by_the_vendors_word_where_the_recipe_has_it(lake: Lake) -> None:
    columns = [*PRICE_COLUMNS, {"name": "published", "type": "timestamp"}]
    recipe = price_recipe(gold=None, available_at="published", columns=columns)
    lake.through(recipe, rows(10.0, published="2020-02-01T12:00:00+00:00"), ticker="AAA", run_id="r1")
    lake.through(recipe, rows(11.0, published="2020-03-01T12:00:00+00:00"), ticker="AAA", run_id="r2")
    with lake.warehouse.reading() as connection:
        found = past.past_of(connection, recipe, "AAA")
        assert (found.clock, [t.month for t in found.times]) == (Clock.AVAILABLE, [2, 3])
        (point,) = past.points_as_of(connection, recipe, "AAA", "close", found.times[0])
    assert point.values == {"close": 10.0}


def test_of_a_dataset_without_tickers_one_series_is_read(lake: Lake) -> None:
    recipe = fx_recipe()
    lake.through(recipe, b"Date,USD,JPY\n2024-01-02,1.1,160\n", run_id="r1")
    lake.through(recipe, b"Date,USD,JPY\n2024-01-02,1.1,161\n", run_id="r2")
    with lake.warehouse.reading() as connection:
        assert len(past.past_of(connection, recipe, "USD").times) == 1
        times = past.past_of(connection, recipe, "JPY").times
        assert [past.points_as_of(connection, recipe, "JPY", "rate", t)[0].values["rate"] for t in times] == [160.0, 161.0]
