"""Runs that Dagster gave partitions to: one cell, a range, a backfill."""

from __future__ import annotations

from dataclasses import replace

import dagster as dg

from ops_pipeline import read
from ops_pipeline.recipes.checks import Kind
from ops_pipeline_tests.defs.homes import (
    EOD,
    FX,
    LAYERS,
    SESSIONS,
    SINCE,
    TICKERS,
    UNTIL,
    Faulty,
    Lake,
    failure,
    materializations,
)

CHECKS = ("every_record_is_accounted_for", "silver_holds_what_the_ledger_counted")
CELLS = [f"{EOD}|{t}" for t in TICKERS]


def test_one_cell(lake: Lake) -> None:
    settings = lake.context.settings.model_copy(update={"publish": "gold"})
    lake = replace(lake, context=replace(lake.context, settings=settings))
    result = lake.materialize(CELLS[0])
    assert result.success
    with read.lake(settings.home) as published:
        assert published.gold("fact_eod").rows == SESSIONS
    assert lake.told(result) == [(layer, CELLS[0]) for layer in LAYERS]
    event = next(
        e for e in result.all_events if e.asset_key == dg.AssetKey("silver") and e.event_type_value == "ASSET_MATERIALIZATION"
    )
    told = {k: v.value for k, v in event.materialization.metadata.items()}
    assert told["rows_created"] == SESSIONS
    assert told["rows_failed"] == 0
    assert told["dagster/table_name"] == "silver.sample_eod_prices"
    columns = {c.name: (c.type, c.description, c.constraints.nullable) for c in told["dagster/column_schema"].columns}
    assert columns["adj_close"] == ("double", "close adjusted for splits and dividends, in USD", True)
    assert columns["date"] == ("date", "trading session", False)
    assert {"ticker", "bronze_file_id", "run_id", "known_at", "ingested_at"} <= set(columns)
    assert (told["from_date"], told["to_date"]) == (str(SINCE), str(UNTIL))
    assert told["seconds"] > 0
    assert told["dashboard"] == "http://127.0.0.1:8501/partition?dataset=sample.eod-prices&ticker=AAPL"
    rows = [record.data for record in event.materialization.metadata["newest_rows"].records]
    assert [row["date"] for row in rows] == ["2013-03-01", "2013-02-28", "2013-02-27", "2013-02-26", "2013-02-25"]
    assert rows[0]["ticker"] == "AAPL"
    origins = told["dagster/column_lineage"].deps_by_column
    assert [(d.asset_key.to_user_string(), d.column_name) for d in origins["adj_close"]] == [("bronze", "adjClose")]
    assert lake.tags(result)["vendor.sample"] == "yes"


def test_gold_tells_which_columns_of_silver_it_is_made_of_and_bronze_leads_to_the_file(lake: Lake) -> None:
    result = lake.materialize(CELLS[0])
    told = {m.asset_key.to_user_string(): m.metadata for m in materializations(lake.instance, result.run_id)}
    origins = told["gold"]["dagster/column_lineage"].value.deps_by_column
    assert {name: [d.column_name for d in deps] for name, deps in origins.items()} == {
        "date": ["date"], "close": ["close"], "adjusted_close": ["adj_close"], "volume": ["volume"],
        "simple_return": ["adj_close"], "log_return": ["adj_close"], "volatility_20d": ["adj_close"],
    }  # fmt: skip
    ((run_id, file_id),) = lake.rows("SELECT run_id, file_id FROM ops.file_ingestions WHERE ticker = 'AAPL'")
    assert told["bronze"]["file"].value == f"http://127.0.0.1:8501/file?run_id={run_id}&file_id={file_id}"


def test_every_asset_says_what_it_is_and_where_its_code_stands(lake: Lake) -> None:
    for spec in lake.defs.resolve_all_asset_specs():
        assert len(spec.description or "") > 200
        assert spec.owners
        assert spec.kinds
        assert spec.metadata["dashboard"].value == "http://127.0.0.1:8501/coverage"
        assert "dagster/code_references" in spec.metadata


def test_a_cell_that_is_done_or_does_not_apply_closes_and_succeeds(lake: Lake) -> None:
    assert lake.materialize(CELLS[0]).success
    again = lake.materialize(CELLS[0])
    assert again.success
    assert lake.outcomes(again) == {CELLS[0]: "up_to_date"}
    odd = lake.materialize(f"{FX}|AAPL")
    assert odd.success
    assert lake.outcomes(odd) == {f"{FX}|AAPL": "not_applicable"}, "though it has left the grid, as in an old run executed again"
    gone = lake.materialize("nothing.such|AAPL")
    assert not gone.success
    assert "there is no dataset 'nothing.such'" in failure(gone)


def test_a_range_with_one_bad_key(lake: Lake, source: Faulty) -> None:
    assert lake.materialize(CELLS[0]).success
    source.failing = {"IBM"}
    result = lake.materialize(CELLS[0], CELLS[2])
    assert not result.success
    for layer in LAYERS:
        status = lake.status(layer)
        assert [status[c] for c in CELLS] == ["MATERIALIZED", "FAILED", "MATERIALIZED"]
    source.failing = set()
    healed = lake.materialize(CELLS[0], CELLS[2])
    assert healed.success
    assert lake.outcomes(healed) == {CELLS[0]: "up_to_date", CELLS[1]: "promoted", CELLS[2]: "up_to_date"}
    for layer in LAYERS:
        assert {lake.status(layer)[c] for c in CELLS} == {"MATERIALIZED"}


def test_one_layer_at_a_time(lake: Lake) -> None:
    for layer in LAYERS:
        result = lake.materialize(CELLS[1], assets=(layer,))
        assert result.success
        assert lake.told(result) == [(layer, CELLS[1])]
    assert lake.rows("SELECT count(*) FROM gold.fact_eod") == [(SESSIONS,)]


def test_silver_alone_before_bronze_has_nothing_to_do(lake: Lake, source: Faulty) -> None:
    result = lake.materialize(CELLS[1], assets=("silver",))
    assert result.success
    assert source.asked == []


def test_a_key_without_quota_closes_and_is_no_failure(lake: Lake, source: Faulty) -> None:
    source.deferring = {"IBM"}
    result = lake.materialize(CELLS[0], CELLS[2])
    assert result.success
    assert lake.outcomes(result) == {CELLS[0]: "promoted", CELLS[1]: "deferred", CELLS[2]: "promoted"}
    assert sorted(lake.told(result)) == sorted((layer, cell) for layer in LAYERS for cell in CELLS)
    assert lake.tags(result) == {"failed": "0", "outcomes": "2 promoted, 1 deferred", "vendor.sample": "yes"}
    single = lake.materialize(CELLS[1])
    assert single.success
    assert lake.outcomes(single) == {CELLS[1]: "deferred"}
    assert lake.told(lake.batch(partitions=CELLS)) == [], "nobody planned these events, and nothing changed"


def test_the_checks_are_evaluated_by_the_run(lake: Lake) -> None:
    found = {key: c.passed for key, c in lake.checks(lake.materialize(CELLS[0])).items()}
    of_data = {(kind.layer, kind.value): True for kind in Kind if kind is not Kind.RECORDS}
    assert (
        found
        == {("silver", name): True for name in CHECKS}
        | {(layer, "no_partitions_left_failed"): True for layer in LAYERS}
        | of_data
    )
    one_layer = lake.checks(lake.materialize(CELLS[0], assets=("bronze",)))
    assert set(one_layer) == {("bronze", "no_partitions_left_failed")}


def test_the_checks_find_a_row_that_nobody_counted(lake: Lake) -> None:
    lake.materialize(CELLS[0])
    with lake.context.warehouse.transaction() as connection:
        connection.execute("DELETE FROM silver.sample_eod_prices WHERE date = DATE '2013-01-03'")
        connection.execute("UPDATE ops.file_ingestions SET silver_rows_created = silver_rows_created - 2")
    again = lake.materialize(CELLS[0])
    found = {key: c.passed for key, c in lake.checks(again).items() if key[1] in (*CHECKS, "no_partitions_left_failed")}
    assert found == {("silver", name): False for name in CHECKS} | {
        (layer, "no_partitions_left_failed"): True for layer in LAYERS
    }
