"""The daily schedule and the sensor of the universe."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from ops_pipeline_tests.defs.homes import EOD, TICKERS, UNIVERSE, Faulty, Lake, make_home

CELLS = [f"{EOD}|{t}" for t in TICKERS]


def tick(lake: Lake, moment: datetime) -> dg.RunRequest | dg.SkipReason:
    schedule = lake.defs.resolve_schedule_def("daily")
    with dg.build_schedule_context(instance=lake.instance, scheduled_execution_time=moment) as context:
        data = schedule.evaluate_tick(context)
    return data.run_requests[0] if data.run_requests else dg.SkipReason(data.skip_message)


def test_the_tick_asks_for_what_is_due_in_one_run_and_the_run_does_it(lake: Lake) -> None:
    request = tick(lake, datetime(2026, 1, 5, 22, tzinfo=UTC))
    assert isinstance(request, dg.RunRequest)
    assert request.run_config["ops"]["lake"]["config"]["partitions"] == CELLS
    result = lake.defs.resolve_job_def("batch").execute_in_process(
        instance=lake.instance, run_config=request.run_config, tags=request.tags
    )
    assert result.success
    assert {cell for _, cell in lake.told(result)} == set(CELLS)
    for layer in ("bronze", "silver", "gold"):
        assert [lake.status(layer)[c] for c in CELLS] == ["MATERIALIZED"] * 3
    assert lake.rows("SELECT count(*) FROM ops.file_ingestions") == [(3,)]
    skipped = tick(lake, datetime(2026, 1, 6, 22, tzinfo=UTC))
    assert isinstance(skipped, dg.SkipReason)
    assert "nothing is due" in str(skipped.skip_message)


def test_a_repeated_tick_has_the_same_run_key(lake: Lake) -> None:
    moment = datetime(2026, 1, 5, 22, tzinfo=UTC)
    one, two = tick(lake, moment), tick(lake, moment)
    assert isinstance(one, dg.RunRequest)
    assert isinstance(two, dg.RunRequest)
    assert one.run_key == two.run_key
    assert one.run_config == two.run_config


def test_only_the_failed_key_is_due_again(lake: Lake, source: Faulty) -> None:
    source.failing = {"IBM"}
    assert not lake.batch().success
    request = tick(lake, datetime(2026, 1, 6, 22, tzinfo=UTC))
    assert isinstance(request, dg.RunRequest)
    assert request.run_config["ops"]["lake"]["config"]["partitions"] == [CELLS[1]]


def test_a_schedule_on_a_home_without_database_finds_everything_due(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        request = tick(Lake(make_home(tmp_path / "home"), instance), datetime(2026, 1, 5, 22, tzinfo=UTC))
        assert isinstance(request, dg.RunRequest)
        assert len(request.run_config["ops"]["lake"]["config"]["partitions"]) == 3


def test_a_broken_universe_skips_the_tick_with_its_sentence(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        lake = Lake(make_home(tmp_path / "home"), instance)
        (tmp_path / "home" / "universe.yaml").write_text("datasets:\n  nothing.such: [A]\n")
        skipped = tick(lake, datetime(2026, 1, 5, 22, tzinfo=UTC))
        assert isinstance(skipped, dg.SkipReason)
        assert "nothing.such" in str(skipped.skip_message)


def test_schedule_and_sensor_run_by_default(lake: Lake) -> None:
    assert lake.defs.resolve_schedule_def("daily").default_status is dg.DefaultScheduleStatus.RUNNING
    assert lake.defs.resolve_sensor_def("universe").default_status is dg.DefaultSensorStatus.RUNNING


def test_the_sensor_keeps_the_tickers_in_step(tmp_path: Path) -> None:
    context = make_home(tmp_path / "home")
    sensor = Lake(context, dg.DagsterInstance.ephemeral()).defs.resolve_sensor_def("universe")
    with dg.DagsterInstance.ephemeral() as instance:

        def step() -> None:
            with dg.build_sensor_context(instance=instance) as sensor_context:
                data = sensor.evaluate_tick(sensor_context)
            for request in data.dynamic_partitions_requests or []:
                if isinstance(request, dg.AddDynamicPartitionsRequest):
                    instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
                else:
                    for key in request.partition_keys:
                        instance.delete_dynamic_partition(request.partitions_def_name, key)

        step()
        assert set(instance.get_dynamic_partitions("tickers")) == set(TICKERS)
        (tmp_path / "home" / "universe.yaml").write_text(UNIVERSE.replace("IBM", "BRK.B") + "  sample.fx-rates:\n")
        step()
        assert set(instance.get_dynamic_partitions("tickers")) == {"AAPL", "MSFT", "BRK.B", "-"}
        step()
        assert set(instance.get_dynamic_partitions("tickers")) == {"AAPL", "MSFT", "BRK.B", "-"}
