"""The view of what vendors changed afterwards, against values known by hand."""

from __future__ import annotations

from datetime import timedelta

from ops_pipeline.silver.restatements import read_restatements
from ops_pipeline_tests.lake import FIRST_KNOWN, Lake, body_of, recipe, snapshot_recipe


def test_every_changed_value_is_a_line_with_both_values(lake: Lake) -> None:
    with lake.warehouse.reading() as connection:
        assert read_restatements(connection).total == 0
    prices, profiles = recipe(), snapshot_recipe()
    first = {"date": "2024-01-02", "close": 10, "volume": 5, "adjClose": None}
    for number, record in enumerate(
        (first, first, {**first, "close": 10.5, "adjClose": 9}, {**first, "close": 10.5, "adjClose": 9})
    ):
        known_at = FIRST_KNOWN + timedelta(days=number)
        lake.through(prices, body_of([record]), run_id=f"run-{number}", known_at=known_at)
        lake.through(
            profiles, body_of([{"symbol": "AAA", "name": f"name {number // 2}"}]), run_id=f"p{number}", known_at=known_at
        )
    with lake.warehouse.reading() as connection:
        found = read_restatements(connection)
        assert found.total == 3
        lines = [(r["dataset"], r["ticker"], r["row_key"], r["column_name"], r["old_value"], r["new_value"]) for r in found.rows]
        assert lines == [
            ("vendor.prices", "AAA", '{"date":"2024-01-02"}', "adj_close", None, "9.0"),
            ("vendor.prices", "AAA", '{"date":"2024-01-02"}', "close", "10.0", "10.5"),
            ("vendor.profiles", "-", '{"symbol":"AAA"}', "name", "name 0", "name 1"),
        ]
        assert {(r["known_at"], r["operation"]) for r in found.rows} == {(FIRST_KNOWN + timedelta(days=2), "updated")}
        assert found.rows[0]["run_id"] == "run-2"
        assert found.rows[0]["previous_file_id"] == found.rows[0]["bronze_file_id"]  # the same request, asked again
        assert read_restatements(connection, dataset="vendor.profiles").total == 1
        assert read_restatements(connection, ticker="AAA", since=(FIRST_KNOWN + timedelta(days=3)).date()).total == 0
        assert len(read_restatements(connection, limit=1).rows) == 1
