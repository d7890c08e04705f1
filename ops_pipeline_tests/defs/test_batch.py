"""One untagged run over many keys."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from ops_pipeline.clock import utc_now
from ops_pipeline.defs.batch import INLINE_KEYS, BatchConfig, read_keys, run_config
from ops_pipeline.errors import UserError
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline_tests.defs.homes import EOD, FX, LAYERS, SESSIONS, TICKERS, Faulty, Lake, failure, make_home

CELLS = [f"{EOD}|{t}" for t in TICKERS]
COUNTS = dict.fromkeys(TICKERS, SESSIONS)


def test_a_batch_materializes_each_layer_of_each_key_once(lake: Lake) -> None:
    result = lake.batch(partitions=CELLS)
    assert result.success
    assert sorted(lake.told(result)) == sorted((layer, cell) for layer in LAYERS for cell in CELLS)
    for layer in LAYERS:
        told = {cell: status for cell, status in lake.status(layer).items() if status is not None}
        assert told == dict.fromkeys(CELLS, "MATERIALIZED")
    assert dict(lake.rows("SELECT ticker, count(*) FROM silver.sample_eod_prices GROUP BY ticker")) == COUNTS
    assert dict(lake.rows("SELECT ticker, bronze_rows FROM ops.file_ingestions")) == COUNTS
    assert {r[0] for r in lake.rows("SELECT DISTINCT run_id FROM ops.file_ingestions")} == {result.run_id}


def test_without_keys_a_batch_takes_what_is_due(lake: Lake) -> None:
    assert sorted(lake.told(lake.batch())) == sorted((layer, cell) for layer in LAYERS for cell in CELLS)
    again = lake.batch()
    assert again.success
    assert lake.told(again) == []


def test_a_key_that_did_not_change_writes_no_event(lake: Lake) -> None:
    lake.batch(partitions=CELLS[:2])
    again = lake.batch(partitions=CELLS)
    assert again.success
    assert {cell for _, cell in lake.told(again)} == {CELLS[2]}


def test_a_failing_key_fails_alone_and_the_run_says_which(lake: Lake, source: Faulty) -> None:
    source.failing = {"IBM"}
    result = lake.batch(partitions=CELLS)
    assert not result.success
    assert {cell for _, cell in lake.told(result)} == {CELLS[0], CELLS[2]}
    for layer in LAYERS:
        status = lake.status(layer)
        assert (status[CELLS[0]], status[CELLS[1]], status[CELLS[2]]) == ("MATERIALIZED", "FAILED", "MATERIALIZED")
    assert "1 of 3 keys failed" in failure(result)
    assert "the vendor does not answer for IBM" in failure(result)


def test_where_dagster_no_longer_takes_planned_events_the_run_still_fails_and_names_the_key(
    lake: Lake, source: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops_pipeline.defs.events.DagsterEvent", object())
    source.failing = {"IBM"}
    result = lake.batch(partitions=CELLS)
    assert not result.success
    assert "the vendor does not answer for IBM" in failure(result)
    status = lake.status("gold")
    assert [status[c] for c in CELLS] == ["MATERIALIZED", None, "MATERIALIZED"]


def test_a_long_run_keeps_no_event_in_memory_and_every_one_in_the_log(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops_pipeline.defs.assets.KEPT_EVENTS", 4)
    result = lake.batch(partitions=CELLS)
    assert result.success
    assert sorted(lake.told(result)) == sorted((layer, cell) for layer in LAYERS for cell in CELLS)
    held = [e for e in result.all_events if e.event_type_value == "ASSET_MATERIALIZATION"]
    assert len(held) == len(CELLS) * len(LAYERS) % 4
    for layer in LAYERS:
        assert [lake.status(layer)[c] for c in CELLS] == ["MATERIALIZED"] * 3


def test_the_run_ends_with_how_many_keys_came_to_what(lake: Lake, source: Faulty) -> None:
    source.failing = {"IBM"}
    result = lake.batch(partitions=[*CELLS, f"{FX}|AAPL"])
    said = "2 promoted, 1 not applicable, 1 failed"
    assert lake.tags(result) == {"kind": "batch", "failed": "1", "outcomes": said, "vendor.sample": "yes"}
    logged = [e.user_message for e in lake.instance.all_logs(result.run_id)]
    assert f"4 keys: {said}" in logged


def test_a_key_that_fails_in_bronze_after_storing_keeps_its_body(lake: Lake, source: Faulty) -> None:
    source.unreadable = {"MSFT"}
    result = lake.batch(partitions=CELLS)
    assert not result.success
    [(outcome, error, filename)] = lake.rows(
        "SELECT bronze_outcome, bronze_error, bronze_filename FROM ops.file_ingestions WHERE ticker = 'MSFT'"
    )
    assert outcome == "failed"
    assert "not a JSON array" in str(error)
    assert lake.context.store.read(str(filename)) == b"<html>not what was asked for</html>"


def test_layers_of_a_batch_stand_in_its_config(lake: Lake) -> None:
    bronze = lake.batch(partitions=CELLS, layers=["bronze"])
    assert bronze.success
    assert {layer for layer, _ in lake.told(bronze)} == {"bronze"}
    rest = lake.batch(partitions=CELLS, layers=["silver", "gold"])
    assert rest.success
    assert {layer for layer, _ in lake.told(rest)} == {"silver", "gold"}
    assert lake.rows("SELECT count(*) FROM gold.fact_eod") == [(sum(COUNTS.values()),)]


def test_tickers_and_datasets_that_dagster_does_not_know_are_added(tmp_path: Path) -> None:
    context = make_home(tmp_path / "home")
    with dg.DagsterInstance.ephemeral() as instance:
        lake = Lake(context, instance)
        assert lake.batch(partitions=CELLS).success
        assert set(instance.get_dynamic_partitions("tickers")) == set(TICKERS)
        assert instance.get_dynamic_partitions("datasets") == [EOD]
        assert lake.status("gold")[CELLS[0]] == "MATERIALIZED"


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"partitions": ["AAPL"]}, "is not a partition"),
        ({"partitions": ["nothing.such|AAPL"]}, "there is no dataset 'nothing.such'"),
        ({"partitions": CELLS, "layers": ["copper"]}, "none of bronze, silver, gold"),
        ({"partitions": CELLS, "as_of": "yesterday"}, "is not a time"),
        ({"partitions": CELLS, "as_of": "2026-01-01T00:00:00"}, "no time zone"),
        ({"partitions": CELLS, "from_date": "01/02/2020"}, "is not a day"),
        ({"partitions_file": "nothing.json"}, "key list cannot be read"),
    ],
)
def test_a_wrong_config_fails_with_a_sentence(lake: Lake, config: dict[str, object], sentence: str) -> None:
    result = lake.batch(**config)
    assert not result.success
    assert sentence in failure(result)


def test_a_long_key_list_is_a_file_that_its_content_names(tmp_path: Path) -> None:
    keys = [PartitionKey(f"T{i}", EOD) for i in range(INLINE_KEYS + 1)]
    config = run_config(tmp_path, keys, utc_now())["ops"]["lake"]["config"]
    assert "partitions" not in config
    assert read_keys(tmp_path, BatchConfig(**config)) == keys
    assert run_config(tmp_path, keys, utc_now())["ops"]["lake"]["config"]["partitions_file"] == config["partitions_file"]
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / config["partitions_file"]).write_text("[]")
    with pytest.raises(UserError, match="does not hold what its name says"):
        read_keys(tmp_path, BatchConfig(**config))
    with pytest.raises(UserError):
        read_keys(tmp_path, BatchConfig(partitions_file="../universe.yaml"))


def test_a_short_key_list_is_readable_in_the_config(tmp_path: Path) -> None:
    keys = [PartitionKey("AAPL", EOD), PartitionKey("-", FX)]
    config = run_config(tmp_path, keys, utc_now())["ops"]["lake"]["config"]
    assert config["partitions"] == [f"{EOD}|AAPL", f"{FX}|-"]
    assert read_keys(tmp_path, BatchConfig(**config)) == keys


def test_two_steps_equal_one(tmp_path: Path) -> None:
    tables = {}
    for name, days in (("one", [date(2013, 3, 1)]), ("two", [date(2013, 1, 31), date(2013, 3, 1)])):
        for day in days:
            context = make_home(tmp_path / name, today=day)
            with dg.DagsterInstance.ephemeral() as instance:
                assert Lake(context, instance).batch(partitions=CELLS).success
        with dg.DagsterInstance.ephemeral() as instance:
            lake = Lake(context, instance)
            tables[name] = (
                lake.rows(
                    "SELECT * EXCLUDE (bronze_file_id, run_id, known_at, ingested_at) FROM silver.sample_eod_prices ORDER BY ALL"
                ),
                lake.rows("SELECT * EXCLUDE (bronze_file_id, run_id, known_at, built_at) FROM gold.fact_eod ORDER BY ALL"),
            )
    assert tables["one"] == tables["two"]
