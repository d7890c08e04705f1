"""The check that lists partitions left failed: inside a run and by hand."""

from __future__ import annotations

import dagster as dg

from ops_pipeline_tests.defs.homes import EOD, LAYERS, TICKERS, UNIVERSE, Faulty, Lake

CELLS = [f"{EOD}|{t}" for t in TICKERS]
NAME = "no_partitions_left_failed"


def by_hand(lake: Lake, layer: str, name: str = NAME) -> dg.AssetCheckEvaluation:
    check = dg.AssetCheckKey(dg.AssetKey(layer), name)
    job = lake.defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection=[], asset_check_selection={check})
    result = job.execute_in_process(instance=lake.instance)
    [evaluation] = result.get_asset_check_evaluations()
    return evaluation


def test_a_failed_partition_is_listed_with_its_reason_and_its_repair(lake: Lake, source: Faulty) -> None:
    source.failing, source.unreadable = {"IBM"}, {"MSFT"}
    result = lake.batch(partitions=CELLS)
    checks = lake.checks(result)
    assert {layer: checks[layer, NAME].passed for layer in LAYERS} == {"bronze": False, "silver": True, "gold": True}
    for found in (checks["bronze", NAME], by_hand(lake, "bronze")):
        assert not found.passed
        assert found.severity is dg.AssetCheckSeverity.WARN
        assert found.metadata["findings"].value == 2
        listed = str(found.metadata["first"].value)
        assert "`sample.eod-prices/IBM`: the vendor does not answer for IBM" in listed
        assert f"ops-pipeline retry {result.run_id[:8]}" in listed
    source.failing, source.unreadable = set(), set()
    assert lake.batch(partitions=CELLS).success
    assert by_hand(lake, "bronze").passed


def test_what_silver_refused_is_silvers(lake: Lake) -> None:
    assert lake.batch(partitions=CELLS).success
    with lake.context.warehouse.transaction() as connection:
        connection.execute("UPDATE ops.file_ingestions SET silver_errors = 'refused' WHERE ticker = 'IBM'")
    assert {layer: by_hand(lake, layer).passed for layer in LAYERS} == {"bronze": True, "silver": False, "gold": True}


def test_what_nobody_wants_any_more_is_not_listed(lake: Lake, source: Faulty) -> None:
    source.failing = {"IBM"}
    lake.batch(partitions=CELLS)
    lake.context.settings.universe_path.write_text(UNIVERSE.replace("IBM, ", ""), encoding="utf-8")
    assert by_hand(lake, "bronze").passed


def test_a_check_of_the_data_tells_its_datasets_and_is_as_grave_as_the_recipe_says(lake: Lake) -> None:
    result = lake.batch(partitions=CELLS)
    assert lake.checks(result)["silver", "prices_are_positive"].passed
    assert lake.rows("SELECT DISTINCT run_id FROM ops.check_results") == [(result.run_id,)]
    with lake.context.warehouse.transaction() as connection:
        connection.execute(
            "UPDATE silver.sample_eod_prices SET close = -close, volume = 0 WHERE ticker = 'IBM' AND date = '2013-01-03'"
        )
    found = by_hand(lake, "silver", "prices_are_positive")
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert found.metadata["findings"].value == 1
    assert "`sample.eod-prices IBM 2013-01-03`: close is -" in str(found.metadata["first"].value)
    assert "| `sample.eod-prices` | error | 1 |" in str(found.metadata["datasets"].value)
    found = by_hand(lake, "silver", "sessions_have_volume")
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
