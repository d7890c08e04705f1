"""Silver's tables: their shape, its changes, and names that could collide with the pipeline's own."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from ops_pipeline.ops.ingestion import RowCounts
from ops_pipeline_tests.lake import DATE_COLUMN, FIRST_KNOWN, FX_UNPIVOT, Lake, body_of, fx_recipe, recipe, snapshot_recipe

MADE = recipe(max_reject_share=0.5)
LEFT_OUT = ("run_id", "bronze_file_id", "known_at", "ingested_at")


def _day(day: int, close: object = 1.0) -> dict[str, object]:
    return {"date": f"2020-01-{day:02d}", "close": close}


@pytest.mark.parametrize("late", [False, True])
def test_changed_columns_stop_merging_with_a_sentence_and_move_nothing(lake: Lake, late: bool) -> None:
    known = FIRST_KNOWN + timedelta(days=1)
    first = lake.through(MADE, body_of([_day(2)]), known_at=known)
    before = {name: rows for name, rows in lake.picture().items() if name.startswith("silver.") or name == "ops.silver_tables"}
    changed = recipe(max_reject_share=0.5, columns=[DATE_COLUMN, {"name": "close", "type": "text"}])
    second = lake.put(changed, body_of([_day(2, 9.0)]), run_id="run-2", known_at=known + timedelta(hours=-1 if late else 1))
    lake.to_silver(changed, "promoter")
    after = lake.picture()
    assert {name: after[name] for name in before} == before
    assert lake.row(first) == first
    second = lake.row(second)
    assert second.silver_counts == RowCounts()
    assert (second.bronze_can_promote, second.status) == (True, "failed")
    assert second.silver_errors is not None
    assert second.silver_errors.startswith(
        "the columns of vendor.prices changed, and silver.vendor_prices holds rows of the earlier"
    )
    lake.to_silver(MADE, "promoter")  # the recipe's columns are restored
    assert [row.silver_counts for row in lake.ledger()] in (
        [RowCounts(created=1), RowCounts(updated=1)],
        [RowCounts(updated=1), RowCounts(created=1)],
    )


def test_columns_may_change_while_nothing_is_merged(lake: Lake) -> None:
    row = lake.through(MADE, body_of([_day(2, "1.5 USD")]))
    assert row.silver_errors is not None
    mended = recipe(columns=[DATE_COLUMN, {"name": "close", "type": "text", "required": True}])
    lake.to_silver(mended, "promoter")
    assert lake.row(row).silver_counts == RowCounts(created=1)
    assert lake.table(mended.silver_table, without=LEFT_OUT) == [("AAA", date(2020, 1, 2), "1.5 USD")]
    assert lake.rows("SELECT columns_hash FROM ops.silver_tables") == [{"columns_hash": mended.columns_hash}]


def test_a_file_that_the_recipe_reads_differently_since_is_refused_with_a_sentence(lake: Lake) -> None:
    body = b"Date,USD,JPY\n2020-01-02,1.5,-\n"
    row = lake.put(fx_recipe(), body)
    lake.to_silver(fx_recipe())
    mended = fx_recipe(answer={"format": "csv", "missing": ["-"], "unpivot": FX_UNPIVOT})
    lake.to_silver(mended)
    row = lake.row(row)
    assert row.silver_errors is not None
    assert row.silver_errors.startswith("the file holds 1 records now and held 2 when it was recorded")
    assert row.silver_counts == RowCounts()
    assert lake.table(mended.silver_table) == []


def test_two_datasets_and_their_histories_have_tables_of_their_own(lake: Lake) -> None:
    yearly = recipe(discriminator="annual")
    for made in (MADE, yearly):
        lake.put(made, body_of([_day(2)]))
        lake.to_silver(made)
    assert [len(lake.table(table)) for made in (MADE, yearly) for table in (made.silver_table, made.history_table)] == [1] * 4


@pytest.mark.parametrize(
    "name", ["act", "series", "verdict", "reason", "number", "order", "t", "s", "f", "u", "operation_", "file_no"]
)
def test_hostile_column_names_pass_through_every_statement(lake: Lake, name: str) -> None:
    made = snapshot_recipe(
        max_reject_share=1,
        columns=[{"name": name, "type": "text", "required": True}, {"name": f"{name}_2", "type": "integer"}],
        key=[name],
    )
    bodies = [
        [{name: "x", f"{name}_2": 1}],
        [{name: "x", f"{name}_2": 2}, {name: "y"}, {name: None}],
        [{name: "x", f"{name}_2": 3}],
    ]
    rows = [lake.put(made, body_of(body), run_id=f"run-{n}") for n, body in enumerate(bodies)]
    lake.to_silver(made, pending=[rows[0], rows[2]])
    lake.to_silver(made, pending=[rows[1]])
    assert [lake.row(row).silver_counts.total for row in rows] == [1, 3, 1]
    assert lake.table(made.silver_table, without=LEFT_OUT) == [("x", 3), ("y", None)]


def test_silver_writes_only_its_own_columns_of_the_ledger(lake: Lake) -> None:
    row = lake.put(MADE, body_of([_day(2)]))
    staged = lake.stage(MADE, [row])
    lake.execute(
        "UPDATE ops.file_ingestions SET bronze_redacted = true, bronze_status_code = 203, code_version = 'x', gold_errors = 'y'"
    )
    lake.commit(staged)
    after = lake.row(row)
    assert (after.bronze_redacted, after.bronze_status_code, after.code_version, after.gold_errors) == (True, 203, "x", "y")


def test_the_tables_explain_themselves(lake: Lake) -> None:
    made = recipe(
        description="It's a test.", columns=[{**DATE_COLUMN, "comment": "the day's end"}, {"name": "close", "type": "double"}]
    )
    lake.put(made, body_of([{"date": "2020-01-02", "close": 1}]))
    lake.to_silver(made)
    (about,) = lake.rows("SELECT comment FROM duckdb_tables() WHERE schema_name = 'silver' AND table_name = 'vendor_prices'")
    assert about["comment"] == "It's a test."
    found = lake.rows(
        "SELECT column_name, data_type, is_nullable, comment FROM duckdb_columns() WHERE table_name = 'vendor_prices' ORDER BY column_index"
    )
    assert [(c["column_name"], c["data_type"], c["is_nullable"]) for c in found] == [
        ("ticker", "VARCHAR", False),
        ("date", "DATE", False),
        ("close", "DOUBLE", True),
        ("bronze_file_id", "VARCHAR", False),
        ("run_id", "VARCHAR", False),
        ("known_at", "TIMESTAMP WITH TIME ZONE", False),
        ("ingested_at", "TIMESTAMP WITH TIME ZONE", False),
    ]
    assert found[1]["comment"] == "the day's end"
    assert all(c["comment"] for c in found if c["column_name"] != "close")
